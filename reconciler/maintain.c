/* maintain: what has to be done from time to time and decides nothing: forgets refused requests that were kept long
 * enough or take too much room, and has WebSub subscriptions renewed. Needs no lock: two at once do the same work in
 * halves. */
#include "command.h"
#include "session.h"

#include "base/log.h"
#include "base/now.h"

#include <errno.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include <jansson.h>

enum { CHUNK_ROWS = 1000 /* of up to 4 MiB each, out of line */ };

struct options {
    const char *config_path, *gateway;
    bool dry_run, json;
};

struct job {
    const struct options *options;
    struct config *config;
    struct pg *pg;
    struct arena *arena;
    int64_t nforgotten, ntrimmed; /* for their age, for their room */
    bool subscribes;              /* some source has topics */
    int subscribe_code;
};

static int run(int argc, char **argv);
static error_t parse_option(int key, char *value, struct argp_state *state);
static int work(struct job *j);
static enum status keep_house(struct job *j, struct err *err);
static enum status connect_pg(struct job *j, struct err *err);
static enum status forget_refused(struct job *j, struct err *err);
static enum status count_refused(struct job *j, struct err *err);
static enum status trim_refused(struct job *j, struct err *err);
static enum status trim_sender(struct job *j, struct span platform, struct span source, int64_t bytes,
                               struct err *err);
static bool has_topics(const struct config *c);
static int renew_subscriptions(struct job *j);
static const char *find_gateway(const struct job *j);
static int exit_code_of(pid_t child);
static int report(const struct job *j, const struct err *err);
static void report_json(const struct job *j, bool failed);
static void report_text(const struct job *j, bool failed);

const struct command maintain_command = {"maintain", "forget old refused requests, renew subscriptions", run};

enum { OPTION_CONFIG = 1, OPTION_GATEWAY, OPTION_DRY_RUN, OPTION_JSON };

static const struct argp_option option_table[] = {
    {"config",  OPTION_CONFIG,  "FILE", 0, "Read settings from FILE (default: $SETTLE_CONFIG)", 1},
    {"gateway", OPTION_GATEWAY, "PATH", 0,
     "settle-gateway, which renews (default: beside this program, or on the PATH)",             1},
    {"dry-run", OPTION_DRY_RUN, NULL,   0, "Change nothing, print what would be done",          1},
    {"json",    OPTION_JSON,    NULL,   0, "Print the report as JSON",                          1},
    {NULL,      0,              NULL,   0, NULL,                                                0},
};
static const struct argp argp = {
    .options = option_table,
    .parser = parse_option,
    .doc =
        "Forgets refused requests that are older than refused.keep_hours, and the oldest of a source beyond "
        "refused.megabytes_per_source; where a source has topics it runs settle-gateway "
        "subscribe --due, which asks WebSub hubs again before their leases end. Run it each hour, safe to "
        "repeat and to "
        "kill.\vIt logs in to Postgres as settle_maintain. Exit codes: 0 done, 69 a store or every hub is "
        "down, 75 some "
        "hub did not take it, 78 settings.",
};

static int run(int argc, char **argv)
{
    struct options o = {.json = false};
    struct job j = {.options = &o};
    struct err err = {0};
    int code;

    argp_parse(&argp, argc, argv, 0, NULL, &o);
    j.config = config_open(o.config_path, environ, NULL, 0, &err);
    if (!j.config) {
        log_error("not_started", LOG_ERR(&err));
        return exit_code(&err);
    }
    log_open("settle-reconciler", j.config->log.level);
    j.arena = arena_open(4096);
    code = work(&j);
    arena_close(j.arena);
    pg_close(j.pg);
    config_close(j.config);
    return code;
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case OPTION_CONFIG:
        o->config_path = value;
        return 0;
    case OPTION_GATEWAY:
        o->gateway = value;
        return 0;
    case OPTION_DRY_RUN:
        o->dry_run = true;
        return 0;
    case OPTION_JSON:
        o->json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\" is no option", value);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Subscriptions are renewed also where forgetting failed: neither needs the other. */
static int work(struct job *j)
{
    struct err err = {0};

    if (keep_house(j, &err))
        log_error("refused_not_forgotten", LOG_ERR(&err));
    j->subscribes = has_topics(j->config);
    if (j->subscribes)
        j->subscribe_code = renew_subscriptions(j);
    return report(j, &err);
}

static enum status keep_house(struct job *j, struct err *err)
{
    if (connect_pg(j, err) || (j->options->dry_run ? count_refused(j, err) : forget_refused(j, err)))
        return err->code;
    return trim_refused(j, err);
}

static enum status connect_pg(struct job *j, struct err *err)
{
    const struct pg_config pg = {
        .url = j->config->database.url,
        .user = "settle_maintain",
        .application = "settle-reconciler maintain",
        .connect_timeout_s = 5,
        .statement_timeout_ms = STATEMENT_MS,
        .prepare = j->config->database.prepare,
        .read_only = j->options->dry_run,
        .unsafe_ok = j->config->unsafe_ok,
    };

    j->pg = pg_connect(&pg, err);
    return j->pg ? OK : err->code;
}

/* Small chunks: none holds its locks for long, and a kill costs the last one. */
static enum status forget_refused(struct job *j, struct err *err)
{
    uint64_t n = CHUNK_ROWS;

    while (n == CHUNK_ROWS) {
        struct pg_rows *rows;
        struct pg_args args;

        arena_reset(j->arena);
        pg_args_init(&args, j->arena);
        pg_arg_int(&args, j->config->refused.keep_hours);
        pg_arg_int(&args, CHUNK_ROWS);
        if (pg_run(j->pg, SQL_REFUSED_FORGET, &args, WAIT_MS, &rows, err))
            return err_in(err, "forgetting refused requests");
        n = pg_affected(rows);
        pg_rows_free(rows);
        j->nforgotten += (int64_t)n;
    }
    return OK;
}

static enum status count_refused(struct job *j, struct err *err)
{
    struct pg_rows *rows;
    struct pg_args args;

    pg_args_init(&args, j->arena);
    pg_arg_int(&args, j->config->refused.keep_hours);
    if (pg_run(j->pg, SQL_REFUSED_COUNT, &args, WAIT_MS, &rows, err))
        return err_in(err, "counting refused requests");
    j->nforgotten = pg_int(rows, 0, 0);
    pg_rows_free(rows);
    return OK;
}

/* Who has too much is found once; what comes meanwhile is for the next time. */
static enum status trim_refused(struct job *j, struct err *err)
{
    enum status status = OK;
    struct pg_rows *excess;
    struct pg_args args;

    arena_reset(j->arena);
    pg_args_init(&args, j->arena);
    pg_arg_int(&args, j->config->refused.megabytes_per_source);
    if (pg_run(j->pg, SQL_REFUSED_EXCESS, &args, WAIT_MS, &excess, err))
        return err_in(err, "measuring refused requests");
    for (size_t i = 0; status == OK && i < pg_nrows(excess); i++)
        status = trim_sender(j, pg_bytes(excess, i, 0), pg_bytes(excess, i, 1), pg_int(excess, i, 2), err);
    pg_rows_free(excess);
    return status;
}

static enum status trim_sender(struct job *j, struct span platform, struct span source, int64_t bytes,
                               struct err *err)
{
    bool dry = j->options->dry_run;
    int64_t n = 1;

    while (n > 0 && bytes > 0) {
        struct pg_rows *rows;
        struct pg_args args;

        arena_reset(j->arena);
        pg_args_init(&args, j->arena);
        pg_arg_text(&args, platform);
        pg_arg_text(&args, source);
        pg_arg_int(&args, bytes);
        if (!dry)
            pg_arg_int(&args, CHUNK_ROWS);
        if (pg_run(j->pg, dry ? SQL_REFUSED_TRIM_COUNT : SQL_REFUSED_TRIM, &args, WAIT_MS, &rows, err))
            return err_in(err, "forgetting refused requests beyond their room");
        n = pg_int(rows, 0, 0);
        bytes = dry ? 0 : bytes - pg_int(rows, 0, 1);
        pg_rows_free(rows);
        j->ntrimmed += n;
    }
    return OK;
}

static bool has_topics(const struct config *c)
{
    for (size_t i = 0; i < c->nsources; i++)
        if (c->sources[i].ntopics > 0)
            return true;
    return false;
}

/* A child: it needs the sources' secrets, a login of its own and the network, which this program does without. Its report
 * goes where its talk goes: stdout is for ours. */
static int renew_subscriptions(struct job *j)
{
    const char *program = find_gateway(j);
    const char *words[8] = {program, "subscribe", "--due"};
    posix_spawn_file_actions_t files;
    size_t n = 3;
    pid_t child;
    int failure;

    if (j->options->config_path) {
        words[n++] = "--config";
        words[n++] = j->options->config_path;
    }
    if (j->options->dry_run)
        words[n++] = "--dry-run";
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
    failure = posix_spawnp(&child, program, &files, NULL, (char *const *)(uintptr_t)words, environ);
    posix_spawn_file_actions_destroy(&files);
    if (failure == 0)
        return exit_code_of(child);
    log_error("subscribe_not_started", LOG_TEXT("path", program), LOG_TEXT("why", strerrordesc_np(failure)));
    return EX_UNAVAILABLE;
}

static const char *find_gateway(const struct job *j)
{
    char own[4000], *slash;
    const char *beside;
    ssize_t len = readlink("/proc/self/exe", own, sizeof(own) - 1);

    if (j->options->gateway)
        return j->options->gateway;
    own[len > 0 ? len : 0] = '\0';
    slash = strrchr(own, '/');
    if (slash)
        *slash = '\0';
    beside = arena_print(j->arena, "%s/settle-gateway", own);
    return access(beside, X_OK) == 0 ? beside : "settle-gateway";
}

static int exit_code_of(pid_t child)
{
    int status;

    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return EX_SOFTWARE;
    return WIFEXITED(status) ? WEXITSTATUS(status) : EX_SOFTWARE;
}

/* The worse of both ends is the exit code: what failed here first, then what the child says. */
static int report(const struct job *j, const struct err *err)
{
    if (j->options->json)
        report_json(j, err->code != OK);
    else
        report_text(j, err->code != OK);
    return err->code ? exit_code(err) : j->subscribe_code;
}

static void report_json(const struct job *j, bool failed)
{
    json_t *all = json_pack("{sb sI sI sb sb}", "dry_run", (int)j->options->dry_run, "refused_forgotten",
                            (json_int_t)j->nforgotten, "refused_trimmed", (json_int_t)j->ntrimmed,
                            "store_failed", (int)failed, "subscriptions_checked", (int)j->subscribes);

    if (j->subscribes)
        json_object_set_new(all, "subscribe_exit_code", json_integer(j->subscribe_code));
    json_dumpf(all, stdout, 0);
    putchar('\n');
    json_decref(all);
}

/* A number stands only for what was really done, or is known to be there to do. */
static void report_text(const struct job *j, bool failed)
{
    const char *would = j->options->dry_run ? "would be " : "", *subscriptions = "no source has topics";

    if (!failed || j->nforgotten + j->ntrimmed > 0)
        printf("refused requests: %" PRId64 " %sforgotten for their age, %" PRId64 " for their room\n",
               j->nforgotten, would, j->ntrimmed);
    if (failed)
        puts("refused requests: Postgres failed, see above; the next run goes on");
    if (j->subscribes && j->subscribe_code)
        subscriptions = j->options->dry_run ? "not known, see above" : "some were not renewed, see above";
    else if (j->subscribes)
        subscriptions = j->options->dry_run ? "none was renewed; above stands which would be" : "up to date";
    printf("subscriptions: %s\n", subscriptions);
}
