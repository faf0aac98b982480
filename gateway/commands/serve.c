/* serve: opens every socket, says where, and runs the processes until TERM or INT. */
#include "auth.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/notify.h"
#include "base/now.h"
#include "command.h"
#include "health.h"
#include "keys.h"
#include "listen.h"
#include "parent.h"
#include "reused.h"
#include "storms.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

struct options {
    struct common_options common;
    const char *workers;
    const char *ports_file; /* NULL: none */
};

/* What one kind of process listens at and does. */
struct role {
    const char *name;
    int (*run)(const struct process *self);
    bool enabled;
    const struct address *listen;
    unsigned nprocesses;
    char at[LISTEN_NAME_BYTES]; /* where it really listens */
    bool loopback_only;
};

enum { NROLES = 3, PROCESSES_MAX = 64 + 2 }; /* as many workers as an operator may set, and the other two */

static int run(int argc, char **argv);
static error_t parse_option(int key, char *value, struct argp_state *state);
static enum status serve(struct settings *settings, const char *ports_file, int *ret_exit_code,
                         struct err *err);
static void open_notify(void);
static enum status check_spool(const struct config *c, struct err *err);
static enum status share_memory(const struct settings *settings, size_t nchildren, struct err *err);
static enum status listen_all(struct role *role, const struct listen_handed *handed, struct child *children,
                              struct err *err);
static enum status check_names(const struct listen_handed *handed, const struct role *roles, struct err *err);
static enum status check_admin(int fd, struct err *err);
static enum status write_ports(const char *path, const struct role *roles, struct err *err);

const struct command serve_command = {"serve", "take webhooks; serve API, health and metrics", run};

enum { OPTION_PORTS_FILE = OPTION_OWN };

static const struct argp_option option_table[] = {
    {"workers",    'w',               "N",    0, "Ingest processes",                        1},
    {"ports-file", OPTION_PORTS_FILE, "PATH", 0, "Write where it listens to PATH, as JSON", 1},
    {NULL,         0,                 NULL,   0, NULL,                                      0},
};
static const struct argp argp = {
    .options = option_table,
    .parser = parse_option,
    .children = common_children,
    .doc = "Takes the platforms' webhooks, stores each one durably in Postgres, and only then answers 2xx. "
           "TERM ends it "
           "when what it has taken is answered; HUP makes it read descriptors, sources and secrets again."
           "\vExit codes: 0 ended by TERM, 64 usage, 69 an address or the spool's disk is not to be had now, "
           "78 settings.",
};

static int run(int argc, char **argv)
{
    struct options o = {.workers = NULL};
    struct settings settings;
    struct err err = {0};
    int code;

    argp_parse(&argp, argc, argv, 0, NULL, &o);
    code = command_open(&settings, &o.common, o.workers);
    if (code)
        return code;
    code = EX_OK;
    if (serve(&settings, o.ports_file, &code, &err)) {
        log_error("start_failed", LOG_ERR(&err));
        code = command_code(&err, EX_CONFIG);
    }
    settings_close(&settings);
    return code;
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case 'w':
        o->workers = value;
        return 0;
    case OPTION_PORTS_FILE:
        o->ports_file = value;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\" is no option; a command stands before its options", value);
        return 0;
    default:
        return command_parse(key, value, &o->common, state);
    }
}

/* The file is written, whole at once, when all sockets listen: {"ingest": "127.0.0.1:43210", ...}. */
static enum status serve(struct settings *settings, const char *ports_file, int *ret_exit_code,
                         struct err *err)
{
    const struct config *c = settings->config;
    struct role roles[NROLES] = {
        {"ingest", ingest_run, c->ingest.enabled, &c->ingest.listen,   c->ingest.workers,          ""},
        {"admin",  admin_run,  c->admin.enabled,  &c->admin.listen,    1,                          "", !c->admin.keys_required},
        {"monitor",        monitor_run,          c->monitor.enabled,         &c->monitor.listen, 1, "" },
    };
    struct child children[PROCESSES_MAX] = {0};
    struct listen_handed handed;
    size_t nchildren = 0;

    open_notify();
    if (listen_take_handed(&handed, err) || check_names(&handed, roles, err) || check_spool(c, err))
        return err->code;
    if (c->admin.enabled && !c->admin.keys_required)
        log_warn("api_without_keys", LOG_TEXT("setting", "admin.keys_required: false"),
                 LOG_TEXT("why", "whoever is on this machine may do all"));
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
    settings_log_idle(settings->platforms);
    *ret_exit_code = parent_run(children, nchildren, settings);
    return OK;
}

/* Webhooks are worth more than what a manager wants to hear. */
static void open_notify(void)
{
    struct err err = {0};

    if (notify_open(&err))
        log_warn("notify_off", LOG_ERR(&err),
                 LOG_TEXT("cure", "unset NOTIFY_SOCKET, or let the service manager listen there"));
}

static enum status check_spool(const struct config *c, struct err *err)
{
    bool too_fast;

    if (command_check_spool(c, &too_fast, err))
        return err->code;
    if (too_fast)
        log_warn("spool_sync_too_fast", LOG_TEXT("folder", c->spool.folder));
    return OK;
}

static enum status listen_all(struct role *role, const struct listen_handed *handed, struct child *children,
                              struct err *err)
{
    bool is_handed = listen_count(handed, role->name) > 0;
    int fds[PROCESSES_MAX];

    if (!is_handed && role->loopback_only && auth_check_listener(role->listen, err))
        return err->code;
    if (is_handed ? listen_hand_out(handed, role->name, role->nprocesses, fds, err)
                  : listen_open(role->listen, role->nprocesses, fds, err))
        return err->code;
    if (role->loopback_only && check_admin(fds[0], err))
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
    if (!status)
        status = storms_open(err);
    if (!status)
        status = reused_open(err);
    keys_take(settings->platforms);
    storms_take(settings->platforms);
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
