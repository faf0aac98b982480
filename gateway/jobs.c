#include "jobs.h"

#include "base/arena.h"
#include "base/doc.h"
#include "base/log.h"
#include "domain/encoding.h"
#include "evloop.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGUMENTS_MAX = 20, FIRST_BUFFER_BYTES = 4096 };

struct jobs {
    struct server *server;
    const struct config *config;
    char *program;
    char **environment; /* of every child */
    struct deadlines deadlines, graces;
    struct child *children;
    size_t nchildren;
};

/* Ends when it is gone and its output is at its end, whichever comes last. */
struct child {
    struct jobs *jobs;
    struct child *next;
    struct id run_id;
    uint64_t tenant;
    pid_t pid;
    int output_fd, pid_fd;
    struct watch *output_watch, *pid_watch; /* NULL once there is nothing more to come */
    struct deadline deadline;
    bool timed_out, too_long;
    int status; /* of waitpid, once pid_watch is NULL */
    char *output;
    size_t len, room;
    job_done *done;
    void *ctx;
};

static char *find_program(const struct config *config);
static char **make_environment(const struct config *config);
static bool is_passed_on(const char *variable);
static char *variable(const char *name, const char *value);

static enum status start(const struct child *wanted, char **arguments, struct span actor, struct err *err);
static enum status check_room(const struct child *wanted, struct err *err);
static void write_arguments(const struct job_request *request, struct arena *arena, char **ret);
static enum status spawn(struct child *c, char **arguments, struct err *err);
static int spawn_with(struct child *c, char **arguments, int output);
static void watch_child(struct child *c);
static void on_output(void *child);
static void make_room(struct child *c);
static void on_gone(void *child);
static void after_deadline(void *child);
static void after_grace(void *child);
static void end_if_over(struct child *c);
static enum status judge(const struct child *c, struct err *err);
static void child_free(struct child *c);

struct jobs *jobs_open(struct server *server, const struct config *config)
{
    struct jobs *j = calloc(1, sizeof(*j));

    if (!j)
        abort();
    j->server = server;
    j->config = config;
    j->program = find_program(config);
    j->environment = make_environment(config);
    deadlines_open(&j->deadlines, server_loop(server), JOB_DEADLINE_MS);
    deadlines_open(&j->graces, server_loop(server), JOB_GRACE_MS);
    return j;
}

void jobs_close(struct jobs *j)
{
    struct err err;

    if (!j)
        return;
    err_cause(&err, UNAVAILABLE, "run_failed", "the gateway stops; the run goes on, see /publishing/runs");
    while (j->children) {
        struct child *c = j->children;

        if (c->done)
            c->done(c->ctx, SPAN_NONE, &err);
        child_free(c);
    }
    deadlines_close(&j->deadlines);
    deadlines_close(&j->graces);
    for (char **v = j->environment; *v; v++)
        free(*v);
    free(j->environment);
    free(j->program);
    free(j);
}

enum status jobs_reconcile(struct jobs *j, const struct job_request *request, job_done *done, void *ctx,
                           struct err *err)
{
    struct arena *arena = arena_open(1024);
    char *arguments[ARGUMENTS_MAX];
    const struct child wanted = {
        .jobs = j, .run_id = request->run_id, .tenant = request->tenant, .done = done, .ctx = ctx};
    enum status status;

    write_arguments(request, arena, arguments);
    status = start(&wanted, arguments, request->actor, err);
    arena_close(arena);
    return status;
}

enum status jobs_override(struct jobs *j, const struct override_request *request, job_done *done, void *ctx,
                          struct err *err)
{
    struct arena *arena = arena_open(1024);
    const struct child wanted = {
        .jobs = j, .run_id = request->run_id, .tenant = request->tenant, .done = done, .ctx = ctx};
    char run_id[ID_TEXT_BYTES], log_id[ID_TEXT_BYTES];
    enum status status;

    id_text(&request->run_id, run_id);
    id_text(&request->log_id, log_id);
    status = start(&wanted,
                   (char *[]){
                       arena_print(arena, "settle-reconciler"),
                       arena_print(arena, "override"),
                       arena_print(arena, "--json"),
                       arena_print(arena, "--trigger=api"),
                       arena_print(arena, "--actor=%.*s", SPAN_ARG(request->actor)),
                       arena_print(arena, "--run-id=%s", run_id),
                       arena_print(arena, "--reason=%.*s", SPAN_ARG(request->reason)),
                       arena_print(arena, "%s", log_id),
                       arena_print(arena, "%.*s", SPAN_ARG(request->verdict)),
                       NULL,
                   },
                   request->actor, err);
    arena_close(arena);
    return status;
}

enum status jobs_replay(struct jobs *j, const struct replay_request *request, job_done *done, void *ctx,
                        struct err *err)
{
    struct arena *arena = arena_open(1024);
    const struct child wanted = {
        .jobs = j, .run_id = request->run_id, .tenant = request->tenant, .done = done, .ctx = ctx};
    struct span key =
        encoding_write(ENCODING_HEX, (const uint8_t *)request->receipt.at, request->receipt.len, arena);
    char run_id[ID_TEXT_BYTES];
    enum status status;

    id_text(&request->run_id, run_id);
    status = start(&wanted,
                   (char *[]){
                       arena_print(arena, "settle-reconciler"),
                       arena_print(arena, "replay"),
                       arena_print(arena, "--json"),
                       arena_print(arena, "--trigger=api"),
                       arena_print(arena, "--actor=%.*s", SPAN_ARG(request->actor)),
                       arena_print(arena, "--run-id=%s", run_id),
                       arena_print(arena, "--receipt=%.*s", SPAN_ARG(key)),
                       request->dry_run ? arena_print(arena, "--dry-run") : NULL,
                       NULL,
                   },
                   request->actor, err);
    arena_close(arena);
    return status;
}

static enum status start(const struct child *wanted, char **arguments, struct span actor, struct err *err)
{
    struct child *c;

    if (check_room(wanted, err))
        return err->code;
    c = calloc(1, sizeof(*c));
    if (!c)
        abort();
    *c = *wanted;
    if (spawn(c, arguments, err)) {
        free(c);
        return err->code;
    }
    watch_child(c);
    log_info("run_started", LOG_ID("run_id", &c->run_id), LOG_TEXT("command", arguments[1]),
             LOG_INT("child", c->pid), LOG_SPAN("actor", actor));
    return OK;
}

static enum status check_room(const struct child *wanted, struct err *err)
{
    size_t nown = 0, ntenants = 0;

    for (const struct child *c = wanted->jobs->children; c; c = c->next) {
        nown += c->tenant == wanted->tenant;
        ntenants += c->tenant != 0;
    }
    if (wanted->tenant && nown >= JOBS_OF_TENANT)
        return err_cause(err, BUSY, "caller_busy", "%d runs of the tenant are under way", JOBS_OF_TENANT);
    if (wanted->jobs->nchildren == JOBS_MAX || (wanted->tenant && ntenants >= JOBS_OF_TENANTS))
        return err_cause(err, BUSY, "overload", "as many runs are under way as may be");
    return OK;
}

/* Beside our own program, as installed, unless the settings say where. */
static char *find_program(const struct config *config)
{
    char own[4000], *slash, *ret;
    ssize_t len = readlink("/proc/self/exe", own, sizeof(own) - 1);

    own[len > 0 ? len : 0] = '\0';
    slash = strrchr(own, '/');
    if (slash)
        *slash = '\0';
    if ((config->admin.reconciler ? asprintf(&ret, "%s", config->admin.reconciler)
                                  : asprintf(&ret, "%s/settle-reconciler", own)) < 0)
        abort();
    return ret;
}

static char **make_environment(const struct config *config)
{
    size_t n = 0, nours = 0;
    char **ret;

    while (environ[n])
        n++;
    ret = calloc(n + 4, sizeof(*ret));
    if (!ret)
        abort();
    for (size_t i = 0; i < n; i++)
        if (is_passed_on(environ[i]) && !(ret[nours++] = strdup(environ[i])))
            abort();
    if (config_file(config)) /* which an option may have named */
        ret[nours++] = variable("SETTLE_CONFIG", config_file(config));
    ret[nours++] = variable("SETTLE_DATABASE_URL", config->admin.reconciler_database_url);
    if (config->redis.url)
        ret[nours++] = variable("SETTLE_REDIS_URL", config->redis.url);
    return ret;
}

/* What the reconciler needs and what it needs not know: the webhooks' secrets. PG... is libpq's share of the URL. */
static bool is_passed_on(const char *variable)
{
    static const char *const prefixes[] = {
        "PATH=",
        "LANG=",
        "TZ=",
        "PG",
        "SETTLE_RECONCILE_",
        "SETTLE_FETCH_",
        "SETTLE_CONNECTIONS_",
        "SETTLE_PLATFORMS_",
        "SETTLE_LOG_",
        "SETTLE_DATABASE_PREPARE=",
        "SETTLE_UNSAFE_OK=",
    };

    for (size_t i = 0; i < countof(prefixes); i++)
        if (strncmp(variable, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

static char *variable(const char *name, const char *value)
{
    char *ret;

    if (asprintf(&ret, "%s=%s", name, value) < 0)
        abort();
    return ret;
}

static void write_arguments(const struct job_request *request, struct arena *arena, char **ret)
{
    char run_id[ID_TEXT_BYTES];
    size_t n = 0;

    id_text(&request->run_id, run_id);
    ret[n++] = arena_print(arena, "settle-reconciler");
    ret[n++] = arena_print(arena, "publications");
    ret[n++] = arena_print(arena, "--json");
    ret[n++] = arena_print(arena, "--trigger=api");
    ret[n++] = arena_print(arena, "--actor=%.*s", SPAN_ARG(request->actor));
    ret[n++] = arena_print(arena, "--run-id=%s", run_id);
    if (request->since_minutes > 0)
        ret[n++] = arena_print(arena, "--since-minutes=%u", request->since_minutes);
    if (request->platform.at)
        ret[n++] = arena_print(arena, "--platform=%.*s", SPAN_ARG(request->platform));
    if (request->dry_run)
        ret[n++] = arena_print(arena, "--dry-run");
    if (request->force)
        ret[n++] = arena_print(arena, "--force");
    ret[n] = NULL;
}

static enum status spawn(struct child *c, char **arguments, struct err *err)
{
    int ends[2], failure;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return err_set(err, BROKEN, "no pipe for the reconciler: %s", strerrordesc_np(errno));
    failure = spawn_with(c, arguments, ends[1]);
    close(ends[1]);
    c->output_fd = ends[0];
    if (failure) {
        close(ends[0]);
        return err_set(err, BROKEN, "\"%s\" cannot be started: %s", c->jobs->program,
                       strerrordesc_np(failure));
    }
    return OK;
}

/* Its standard error is ours, its input nothing; it has no other descriptor and blocks no signal. */
static int spawn_with(struct child *c, char **arguments, int output)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none;
    int failure;

    sigemptyset(&none);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
    failure = posix_spawn(&c->pid, c->jobs->program, &files, &attributes, arguments, c->jobs->environment);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    return failure;
}

static void watch_child(struct child *c)
{
    struct jobs *j = c->jobs;
    h2o_loop_t *loop = server_loop(j->server);

    c->pid_fd = pidfd_open(c->pid, 0);
    if (c->pid_fd < 0)
        abort(); /* the connection cap leaves descriptors free for this */
    c->output_watch = watch_open(loop, c->output_fd, on_output, c);
    c->pid_watch = watch_open(loop, c->pid_fd, on_gone, c);
    deadline_set(&j->deadlines, &c->deadline, after_deadline, c);
    c->next = j->children;
    j->children = c;
    j->nchildren++;
}

static void on_output(void *child)
{
    struct child *c = child;
    char rest[4096];
    ssize_t n;

    for (;;) {
        if (c->len == JOB_OUTPUT_MAX)
            c->too_long = true; /* read on, or the child would wait for us for ever */
        else
            make_room(c);
        n = c->too_long ? read(c->output_fd, rest, sizeof(rest))
                        : read(c->output_fd, c->output + c->len, c->room - c->len);
        if (n <= 0)
            break;
        if (!c->too_long)
            c->len += (size_t)n;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    watch_close(c->output_watch);
    c->output_watch = NULL;
    end_if_over(c);
}

static void make_room(struct child *c)
{
    if (c->len < c->room)
        return;
    c->room = c->room ? 2 * c->room : FIRST_BUFFER_BYTES;
    c->output = realloc(c->output, c->room);
    if (!c->output)
        abort();
}

static void on_gone(void *child)
{
    struct child *c = child;

    if (waitpid(c->pid, &c->status, WNOHANG) != c->pid)
        return;
    watch_close(c->pid_watch);
    c->pid_watch = NULL;
    end_if_over(c);
}

static void after_deadline(void *child)
{
    struct child *c = child;

    log_warn("run_too_long", LOG_ID("run_id", &c->run_id), LOG_INT("child", c->pid));
    c->timed_out = true;
    if (c->pid_watch)
        kill(c->pid, SIGTERM);
    deadline_set(&c->jobs->graces, &c->deadline, after_grace, c);
}

static void after_grace(void *child)
{
    struct child *c = child;

    if (c->pid_watch)
        kill(c->pid, SIGKILL);
}

static void end_if_over(struct child *c)
{
    struct err err = {.code = OK};

    if (c->output_watch || c->pid_watch)
        return;
    judge(c, &err);
    log_info("run_ended", LOG_ID("run_id", &c->run_id), LOG_INT("child", c->pid),
             LOG_INT("exit", WIFEXITED(c->status) ? WEXITSTATUS(c->status) : 128 + WTERMSIG(c->status)),
             LOG_TEXT("cause", err.cause));
    if (c->done)
        c->done(c->ctx, err.code ? SPAN_NONE : (struct span){c->output, c->len}, err.code ? &err : NULL);
    child_free(c);
}

/* The report tells how a run ended; the exit code alone cannot tell a lock that is held from a run that is done. */
static enum status judge(const struct child *c, struct err *err)
{
    struct arena *arena = arena_open(4096);
    struct span outcome = SPAN_NONE;
    struct doc report;

    if (c->len > 0 && !c->too_long && doc_parse(&report, (struct span){c->output, c->len}, arena, NULL) == OK)
        outcome = doc_text(&report, doc_member(&report, 0, SPAN("outcome")), arena);
    if (span_eq(outcome, SPAN("lock_held")))
        err_cause(err, BUSY, "lock_held", "another run of the job is under way");
    else if (span_eq(outcome, SPAN("not_found")))
        err_cause(err, INVALID, "not_found", "there is none with this id");
    else if (span_eq(outcome, SPAN("not_overridden")))
        err_cause(err, INVALID, "not_overridden", "no verdict of a person stands");
    else if (span_eq(outcome, SPAN("unmatched")))
        err_cause(err, INVALID, "unmatched", "its post is no publication's");
    else if (c->timed_out)
        err_cause(err, UNAVAILABLE, "run_timeout", "it was asked to end after %d minutes; the next goes on",
                  JOB_DEADLINE_MS / 60000);
    else if (!span_eq(outcome, SPAN("done")) && !span_eq(outcome, SPAN("guard")) &&
             !span_eq(outcome, SPAN("dry_run")))
        err_cause(err, UNAVAILABLE, "run_failed",
                  "the run did not end well; see /publishing/runs and the log");
    arena_close(arena);
    return err->code;
}

static void child_free(struct child *c)
{
    struct child **at = &c->jobs->children;

    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    c->jobs->nchildren--;
    deadline_clear(&c->deadline);
    watch_close(c->output_watch);
    watch_close(c->pid_watch);
    close(c->output_fd);
    close(c->pid_fd);
    free(c->output);
    free(c);
}
