#include "session.h"

#include "base/log.h"
#include "base/now.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

static error_t parse_option(int key, char *value, struct argp_state *state);
static void watch_signals(void);
static void on_signal(int signal);
static enum status connect_stores(struct session *s, struct err *err);
static enum status steady_plans(struct session *s, struct err *err);
static struct redis *connect_redis(const char *url);
static enum status read_clock(struct session *s, struct err *err);
static enum status note_run(struct session *s, const char *scope, struct err *err);
static void runs_under(const struct session *s, struct pg_args *ret);
static void note_skip(struct session *s, const char *scope);
static void run_args(struct session *s, const char *scope, struct pg_args *ret);

/* Room for a page of 1,000 rows with what is written of it: kept from batch to batch. */
enum { ARENA_BYTES = 4 << 20 };

enum { OPTION_DRY_RUN = 1000, OPTION_JSON, OPTION_RUN_ID, OPTION_TRIGGER, OPTION_ACTOR, OPTION_CONFIG };

static const struct argp_option option_table[] = {
    {"config",  OPTION_CONFIG,  "FILE", 0, "Read settings from FILE (default: $SETTLE_CONFIG)",    2},
    {"dry-run", OPTION_DRY_RUN, NULL,   0, "Change nothing, print what would be done",             2},
    {"json",    OPTION_JSON,    NULL,   0, "Print the report as JSON",                             2},
    {"run-id",  OPTION_RUN_ID,  "UUID", 0, "Id of the run (default: a new one)",                   2},
    {"trigger", OPTION_TRIGGER, "WORD", 0, "schedule, startup, backfill, manual (default) or api", 2},
    {"actor",   OPTION_ACTOR,   "NAME", 0, "Who asked for it, for the record (default: cli)",      2},
    {NULL,      0,              NULL,   0, NULL,                                                   0},
};
static const struct argp argp = {.options = option_table, .parser = parse_option};
const struct argp_child session_children[] = {
    {&argp, 0, NULL, 0},
    {NULL,  0, NULL, 0},
};

/* Runs of another name under the lock of a job. */
static const struct {
    const char *run_name, *job;
} guests[] = {
    {"replay",     "publications"},
    {"identities", "maintain"    },
};

static volatile sig_atomic_t stopping;

void session_options_init(struct session_options *o)
{
    *o = (struct session_options){
        .trigger = "manual", .actor = "cli", .login = "settle_reconciler", .run_id = id_make(now_wall_us())};
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    static const char *const triggers[] = {"schedule", "startup", "backfill", "manual", "api"};
    struct session_options *o = state->input;

    switch (key) {
    case OPTION_CONFIG:
        o->config_path = value;
        return 0;
    case OPTION_DRY_RUN:
        o->dry_run = true;
        return 0;
    case OPTION_JSON:
        o->json = true;
        return 0;
    case OPTION_RUN_ID:
        if (!id_parse(span_of(value), &o->run_id))
            argp_error(state, "--run-id: \"%s\" is not a UUID", value);
        return 0;
    case OPTION_ACTOR:
        o->actor = value;
        return 0;
    case OPTION_TRIGGER:
        for (size_t i = 0; i < countof(triggers); i++)
            if (strcmp(value, triggers[i]) == 0) {
                o->trigger = triggers[i];
                return 0;
            }
        argp_error(state, "--trigger: want schedule, startup, backfill, manual or api, not \"%s\"", value);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

unsigned option_number(const char *text, unsigned least, unsigned most, const char *option,
                       const struct argp_state *state)
{
    char *end;
    unsigned long number;

    errno = 0;
    number = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || number < least || number > most)
        argp_error(state, "--%s: want a number from %u to %u, not \"%s\"", option, least, most, text);
    return (unsigned)number;
}

enum status session_open(struct session *s, const char *job, const struct session_options *options,
                         const struct config_flag *flags, size_t nflags, struct err *err)
{
    *s = (struct session){.options = options, .job = job, .run_name = job, .arena = arena_open(ARENA_BYTES)};
    watch_signals();
    s->config = config_open(options->config_path, environ, flags, nflags, err);
    if (!s->config)
        return err->code;
    log_open("settle-reconciler", s->config->log.level);
    s->platforms = platforms_load(s->config->platforms.folder, err);
    if (!s->platforms)
        return err->code;
    s->batch_rows = s->config->reconcile.batch_size;

    if (connect_stores(s, err) || steady_plans(s, err))
        return err->code;
    return read_clock(s, err);
}

/* Without SA_RESTART: a wait ends early and its batch goes on, the next one does not begin. */
static void watch_signals(void)
{
    struct sigaction stop = {.sa_handler = on_signal}, ignore = {.sa_handler = SIG_IGN};

    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
}

static void on_signal(int signal)
{
    (void)signal;
    stopping = 1;
}

bool session_stopping(void)
{
    return stopping;
}

static enum status connect_stores(struct session *s, struct err *err)
{
    const struct pg_config pg = {
        .url = s->config->database.url,
        .user = s->options->login,
        .application = "settle-reconciler",
        .connect_timeout_s = 5,
        .statement_timeout_ms = STATEMENT_MS,
        .prepare = s->config->database.prepare,
        .lazy = true,
        .read_only = s->options->dry_run,
        .unsafe_ok = s->config->unsafe_ok,
    };

    s->pg = pg_connect(&pg, err);
    if (!s->pg)
        return err->code;
    if (s->config->redis.url && !s->options->dry_run)
        s->redis = connect_redis(s->config->redis.url);
    return OK;
}

/* Pages are small and follow an index: parallel workers and compiled expressions only cost. */
static enum status steady_plans(struct session *s, struct err *err)
{
    if (pg_command(s->pg, "set max_parallel_workers_per_gather = 0", WAIT_MS, err) ||
        pg_command(s->pg, "set jit = off", WAIT_MS, err))
        return err->code;
    return OK;
}

static struct redis *connect_redis(const char *url)
{
    struct err err = {0};
    struct redis *redis = redis_open(url, 1000, &err);

    if (!redis)
        log_warn("redis_away", LOG_ERR(&err), LOG_TEXT("consequence", "the fence in Postgres alone decides"));
    return redis;
}

static enum status read_clock(struct session *s, struct err *err)
{
    struct pg_rows *rows;
    struct pg_args args;

    pg_args_init(&args, s->arena);
    pg_arg_text(&args, span_of(s->job));
    if (pg_run(s->pg, SQL_CLOCK_READ, &args, WAIT_MS, &rows, err))
        return err_in(err, "reading the database's clock");
    s->began_us = pg_time(rows, 0, 0);
    s->watermark_us = pg_time(rows, 0, 1);
    s->began_boot_us = now_boot_us();
    pg_rows_free(rows);
    return OK;
}

int64_t session_now_us(const struct session *s)
{
    return s->began_us + now_boot_us() - s->began_boot_us;
}

enum status session_begin(struct session *s, const char *scope, struct err *err)
{
    if (session_lock(s, err)) {
        if (err->code == BUSY)
            note_skip(s, scope);
        return err->code;
    }
    if (note_run(s, scope, err) == OK)
        return OK;
    lock_release(&s->lock); /* without its row it is no run, and the row of that id may be another's */
    s->lock.epoch = 0;
    return err->code;
}

enum status session_lock(struct session *s, struct err *err)
{
    enum status status;

    session_holder(getpid(), &s->options->run_id, s->holder);
    status = lock_acquire(&s->lock, s->pg, s->redis, s->job, s->holder, err);
    s->watermark_us = s->lock.watermark_us;
    if (s->redis && !s->lock.redis)
        log_warn("redis_away", LOG_TEXT("consequence", "the fence in Postgres alone decides"));
    return status;
}

void session_holder(pid_t pid, const struct id *run_id, char ret[HOLDER_BYTES])
{
    char host[64] = "", run[ID_TEXT_BYTES];

    gethostname(host, sizeof(host) - 1);
    host[40] = '\0'; /* leaves room for the rest of the holder */
    id_text(run_id, run);
    snprintf(ret, HOLDER_BYTES, "%s:%d:%s", host, (int)pid, run);
}

void session_mend_redis(struct session *s)
{
    if (!s->config->redis.url || s->lock.redis)
        return;
    redis_close(s->redis);
    s->redis = connect_redis(s->config->redis.url);
    s->lock.redis = s->redis;
}

/* The statement checks the fence itself. */
static enum status note_run(struct session *s, const char *scope, struct err *err)
{
    struct pg_rows *rows;
    struct pg_args args;
    uint64_t begun;

    run_args(s, scope, &args);
    pg_arg_int(&args, s->lock.epoch);
    pg_arg_time(&args, s->began_us);
    runs_under(s, &args);
    if (pg_run(s->pg, SQL_RUN_BEGIN, &args, WAIT_MS, &rows, err))
        return err_in(err, "writing the row of the run");
    begun = pg_affected(rows);
    pg_rows_free(rows);
    if (begun == 0)
        return err_cause(err, BUSY, "fence_lost", "job %s lost its lock before it began", s->job);
    return OK;
}

/* A killed run is ended by whoever takes its lock next, under whatever name. */
static void runs_under(const struct session *s, struct pg_args *ret)
{
    struct span names[countof(guests) + 1] = {span_of(s->job)};
    size_t n = 1;

    for (size_t i = 0; i < countof(guests); i++)
        if (strcmp(guests[i].job, s->job) == 0)
            names[n++] = span_of(guests[i].run_name);
    pg_arg_texts(ret, names, n);
}

static void note_skip(struct session *s, const char *scope)
{
    struct pg_args args;
    struct err err = {0};

    run_args(s, scope, &args);
    if (pg_run(s->pg, SQL_RUN_SKIP, &args, WAIT_MS, NULL, &err))
        log_warn("skip_not_noted", LOG_ERR(&err));
}

/* The parameters that both kinds of rows begin with. */
static void run_args(struct session *s, const char *scope, struct pg_args *ret)
{
    pg_args_init(ret, s->arena);
    pg_arg_uuid(ret, &s->options->run_id);
    pg_arg_text(ret, span_of(s->run_name));
    pg_arg_json(ret, span_of(scope));
    pg_arg_text(ret, span_of(s->options->actor));
    pg_arg_text(ret, span_of(s->options->trigger));
    pg_arg_text(ret, span_of(s->holder));
}

void session_close(struct session *s)
{
    if (s->lock.epoch)
        lock_release(&s->lock);
    redis_close(s->redis);
    pg_close(s->pg);
    platforms_close(s->platforms);
    config_close(s->config);
    arena_close(s->arena);
    *s = (struct session){0};
}

int exit_code(const struct err *err)
{
    if (err->cause && strcmp(err->cause, "lock_held") == 0)
        return EX_OK;
    switch (err->code) {
    case OK:
        return EX_OK;
    case INVALID:
        return EX_CONFIG;
    case REJECTED:
        return EX_DATAERR;
    case UNAVAILABLE:
        return EX_UNAVAILABLE;
    case BUSY:
        return EX_TEMPFAIL;
    case FORGED:
    case BROKEN:
        break;
    }
    return EX_SOFTWARE;
}
