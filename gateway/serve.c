#include "serve.h"

#include "auth.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/now.h"
#include "health.h"
#include "keys.h"
#include "listen.h"
#include "notify.h"
#include "parent.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What one kind of process listens at and does. */
struct role {
    const char *name;
    int (*run)(const struct process *self);
    bool enabled;
    const struct address *listen;
    unsigned nprocesses;
    char at[LISTEN_NAME_BYTES]; /* where it really listens */
};

enum { NROLES = 3, PROCESSES_MAX = 64 + 2 }; /* as many workers as an operator may set, and the other two */

static enum status share_memory(const struct settings *settings, size_t nchildren, struct err *err);
static enum status listen_all(struct role *role, const struct listen_handed *handed, struct child *children,
                              struct err *err);
static enum status check_names(const struct listen_handed *handed, const struct role *roles, struct err *err);
static enum status check_admin(int fd, struct err *err);
static enum status write_ports(const char *path, const struct role *roles, struct err *err);

enum status serve(struct settings *settings, const char *ports_file, int *ret_exit_code, struct err *err)
{
    const struct config *c = settings->config;
    struct role roles[NROLES] = {
        {"ingest",  ingest_run,  c->ingest.enabled,  &c->ingest.listen,  c->ingest.workers, ""},
        {"admin",   admin_run,   c->admin.enabled,   &c->admin.listen,   1,                 ""},
        {"monitor", monitor_run, c->monitor.enabled, &c->monitor.listen, 1,                 ""},
    };
    struct child children[PROCESSES_MAX] = {0};
    struct listen_handed handed;
    size_t nchildren = 0;

    if (notify_open(err) || listen_take_handed(&handed, err) || check_names(&handed, roles, err))
        return err->code;
    if (geteuid() == 0)
        log_warn("runs_as_root", LOG_TEXT("why", "nothing here needs it: give it a user of its own"));
    for (struct role *r = roles; r < roles + NROLES; r++) {
        if (!r->enabled)
            continue;
        if (listen_all(r, &handed, children + nchildren, err))
            return err_in(err, "%s", r->name);
        for (unsigned i = 0; i < r->nprocesses; i++, nchildren++) {
            struct process *p = &children[nchildren].process;
            *p = (struct process){r->name, settings, p->listener, nchildren};
        }
    }
    if (nchildren == 0)
        return err_set(err, INVALID, "nothing is to be served: ingest, admin and monitor are all off");
    if (share_memory(settings, nchildren, err) || (ports_file && write_ports(ports_file, roles, err)))
        return err->code;
    *ret_exit_code = parent_run(children, nchildren, settings);
    return OK;
}

static enum status listen_all(struct role *role, const struct listen_handed *handed, struct child *children,
                              struct err *err)
{
    bool is_handed = listen_count(handed, role->name) > 0;
    int fds[PROCESSES_MAX];

    if (!is_handed && role->run == admin_run && auth_check_listener(role->listen, err))
        return err->code;
    if (is_handed ? listen_hand_out(handed, role->name, role->nprocesses, fds, err)
                  : listen_open(role->listen, role->nprocesses, fds, err))
        return err->code;
    if (role->run == admin_run && check_admin(fds[0], err))
        return err->code;
    for (unsigned i = 0; i < role->nprocesses; i++) {
        children[i].process.listener = fds[i];
        children[i].run = role->run;
    }
    listen_name(fds[0], role->at);
    log_info("listening", LOG_TEXT("role", role->name), LOG_TEXT("at", role->at),
             LOG_INT("processes", role->nprocesses), LOG_BOOL("handed", is_handed));
    return OK;
}

/* At a socket nobody takes from, callers would wait for ever. */
static enum status check_names(const struct listen_handed *handed, const struct role *roles, struct err *err)
{
    for (size_t i = 0; i < handed->n; i++) {
        const struct role *r = roles;

        while (r < roles + NROLES && !(r->enabled && strcmp(r->name, handed->at[i].role) == 0))
            r++;
        if (r == roles + NROLES)
            return err_set(err, INVALID,
                           "a socket named \"%s\" was handed over: want FileDescriptorName= ingest, admin or "
                           "monitor, of "
                           "those that are on",
                           handed->at[i].role);
    }
    return OK;
}

static enum status check_admin(int fd, struct err *err)
{
    char room[LISTEN_NAME_BYTES];
    struct address at = listen_address(fd, room);

    return auth_check_listener(&at, err);
}

/* Before the first fork: all processes count and show their health in it. */
static enum status share_memory(const struct settings *settings, size_t nchildren, struct err *err)
{
    size_t n = platforms_count(settings->platforms);
    const char **names = calloc(n + 1, sizeof(names[0]));
    enum status status;

    if (!names)
        abort();
    for (size_t i = 0; i < n; i++)
        names[i] = platforms_at(settings->platforms, i)->name.at;
    status = metric_open(names, n, nchildren + 1, err);
    if (!status)
        status = health_open(nchildren, err);
    if (!status)
        status = keys_open(settings->platforms, err);
    keys_take(settings->platforms);
    metric_set(START_TIME, METRIC_NO_PLATFORM, 0, (double)now_wall_us() / SECOND_US);
    free(names);
    return status;
}

static enum status write_ports(const char *path, const struct role *roles, struct err *err)
{
    const char *separator = "{";
    char fresh[4096];
    FILE *out;

    snprintf(fresh, sizeof(fresh), "%s.new", path);
    out = fopen(fresh, "we");
    if (!out)
        return err_set(err, INVALID, "cannot write \"%s\": %s", fresh, strerror(errno));
    for (const struct role *r = roles; r < roles + NROLES; r++) {
        if (!r->enabled)
            continue;
        fprintf(out, "%s\"%s\": \"%s\"", separator, r->name, r->at);
        separator = ", ";
    }
    fputs("}\n", out);
    if (fclose(out) != 0 || rename(fresh, path) != 0) /* whoever sees the file sees it whole */
        return err_set(err, INVALID, "cannot write \"%s\": %s", path, strerror(errno));
    return OK;
}
