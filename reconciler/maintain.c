/* maintain: what has to be done from time to time and decides nothing: forgets what was kept long enough or takes too much
 * room, and has WebSub subscriptions renewed. */
#include "batch.h"
#include "command.h"
#include "ending.h"
#include "identities.h"
#include "json.h"
#include "retention.h"
#include "round.h"
#include "session.h"

#include "base/log.h"
#include "base/now.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include <jansson.h>

enum {
    CHUNK_ROWS = 1000, /* of up to 4 MiB each, out of line */
    LOOK_AGAIN_MS = 100,
};

struct options {
    struct session_options common;
    const char *gateway;
    bool identities; /* that alone */
};

struct job {
    const struct options *options;
    struct session session;
    int64_t nforgotten, ntrimmed; /* refused requests: for their age, for their room */
    int64_t forgotten[FORGOTTEN_KINDS];
    bool store_failed;
    bool subscribes; /* some source has topics */
    int subscribe_code;
    const char *outcome; /* done, failed, lock_held, fence_lost, interrupted, dry_run */
};

/* One sender who has too much, and what the batch at work did about it. */
struct trim {
    struct job *job;
    struct span platform, source;
    int64_t bytes; /* still too much */
    int64_t nrows, nbytes;
};

/* The batch at work, of those too old. */
struct forget {
    struct job *job;
    size_t asked;
    uint64_t n;
};

static int run(int argc, char **argv);
static error_t parse_option(int key, char *value, struct argp_state *state);
static void work(struct job *j, struct err *err);
static enum status keep_house(struct job *j, struct err *err);
static enum status keep_refused(struct job *j, struct err *err);
static enum status forget_refused(struct job *j, struct err *err);
static enum status forget_batch(void *ctx, size_t rows, struct err *err);
static enum status count_refused(struct job *j, struct err *err);
static enum status trim_refused(struct job *j, struct err *err);
static enum status trim_sender(struct trim *t, struct err *err);
static enum status trim_batch(void *ctx, size_t rows, struct err *err);
static enum status in_batch(struct job *j, batch_work *batch, void *ctx, struct err *err);
static bool has_topics(const struct config *c);
static int renew_subscriptions(struct job *j);
static const char *find_gateway(struct job *j);
static int exit_code_of(struct job *j, pid_t child);
static void end_run(struct job *j, const struct err *err);
static const char *outcome_of(const struct job *j, const struct err *err);
static enum status write_end(void *ctx, size_t rows, struct err *err);
static int report(const struct job *j, const struct err *err);
static int64_t all_forgotten(const struct job *j);
static json_t *report_json(const struct job *j);
static void report_text(const struct job *j);

const struct command maintain_command = {"maintain", "forget what was kept long enough, renew subscriptions",
                                         run};

enum { OPTION_GATEWAY = 1 };

static const struct argp_option option_table[] = {
    {"gateway", OPTION_GATEWAY, "PATH", 0,
     "settle-gateway, which renews (default: beside this program, or on the PATH)", 1},
    {NULL,      0,              NULL,   0, NULL,                                    0},
};
static const struct argp argp = {
    .options = option_table,
    .parser = parse_option,
    .children = session_children,
    .args_doc = "\nidentities",
    .doc =
        "Forgets refused requests that are older than refused.keep_hours, and the oldest of a source beyond "
        "refused.megabytes_per_source; after retention.receipt_days webhooks, poll answers and workers' "
        "results, unless their publication is open or rests on a person's verdict; after "
        "retention.ledger_days the ledger, runs, the scheduler's events and resolved alerts; after "
        "retention.cost_days costs; notes on polls and leases of settled publications. Where a source has "
        "topics it runs settle-gateway subscribe --due, which asks "
        "WebSub hubs again before their leases end. Run it each hour, safe to repeat and to kill; only one "
        "runs at a time. identities gives the task logs that older tools have written the one form of their "
        "tenants' names, user_id_str, and counts what names there are.\vIt logs in to Postgres as "
        "settle_maintain. Exit codes: 0 done, 69 a store or every hub is down, 75 some hub did not take it, "
        "or it was told to end, 78 settings.",
};

static int run(int argc, char **argv)
{
    struct options o = {.gateway = NULL};
    struct job j = {.options = &o, .outcome = ""};
    struct err err = {0};
    int code;

    session_options_init(&o.common);
    o.common.login = "settle_maintain";
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    if (o.identities)
        return identities_run(&o.common);
    if (session_open(&j.session, "maintain", &o.common, NULL, 0, &err) && err.code == INVALID) {
        log_error("not_started", LOG_ERR(&err));
        session_close(&j.session);
        return exit_code(&err);
    }
    j.session.batch_rows = CHUNK_ROWS;
    work(&j, &err);
    code = report(&j, &err);
    session_close(&j.session);
    return code;
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->common;
        return 0;
    case OPTION_GATEWAY:
        o->gateway = value;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0 || strcmp(value, "identities") != 0)
            argp_error(state, "want identities or nothing, not \"%s\"", value);
        o->identities = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Subscriptions are renewed also where Postgres cannot be reached: neither needs the other. And first, because leases end,
 * while what is forgotten an hour later harms nobody; the first time that may take long. */
static void work(struct job *j, struct err *err)
{
    bool dry_run = j->options->common.dry_run;

    if (err->code == OK && !dry_run && session_begin(&j->session, "{}", err) && err->code != UNAVAILABLE) {
        j->outcome = outcome_of(j, err);
        j->store_failed = err->code != BUSY;
        log_warn("maintain_not_begun", LOG_ERR(err));
        return;
    }
    j->subscribes = has_topics(j->session.config);
    if (j->subscribes && !session_stopping())
        j->subscribe_code = renew_subscriptions(j);
    if (err->code == OK && keep_house(j, err) == OK)
        err->code = OK;
    j->store_failed = err->code != OK;
    if (err->code)
        log_error("not_forgotten", LOG_ERR(err));
    end_run(j, err);
}

/* What is wrong with refused requests alone keeps nothing else: it is told at the end. */
static enum status keep_house(struct job *j, struct err *err)
{
    struct err first = {0};
    enum status refused = keep_refused(j, &first), kept;

    if (refused && !round_goes_on(&first)) {
        *err = first;
        return refused;
    }
    j->session.suspect_rows = 0; /* of refused requests */
    kept = retention_keep(&j->session, j->forgotten, err);
    if (!refused)
        return kept;
    if (kept && !round_goes_on(err)) {
        log_error("not_forgotten", LOG_ERR(&first));
        return kept;
    }
    if (kept)
        log_error("not_forgotten", LOG_ERR(err));
    *err = first;
    return refused;
}

static enum status keep_refused(struct job *j, struct err *err)
{
    if (j->options->common.dry_run ? count_refused(j, err) : forget_refused(j, err))
        return err->code;
    return trim_refused(j, err);
}

/* Small chunks: none holds its locks for long, and a kill costs the last one. */
static enum status forget_refused(struct job *j, struct err *err)
{
    struct forget f = {.job = j};

    do {
        if (in_batch(j, forget_batch, &f, err))
            return err_in(err, "forgetting refused requests");
        j->nforgotten += (int64_t)f.n;
    } while (f.n == f.asked && !session_stopping());
    return OK;
}

static enum status forget_batch(void *ctx, size_t rows, struct err *err)
{
    struct forget *f = ctx;
    struct session *s = &f->job->session;
    struct pg_rows *gone;
    struct pg_args args;

    f->asked = rows;
    pg_args_init(&args, s->arena);
    pg_arg_int(&args, s->config->refused.keep_hours);
    pg_arg_int(&args, (int64_t)rows);
    if (pg_run(s->pg, SQL_REFUSED_FORGET, &args, WAIT_MS, &gone, err))
        return err->code;
    f->n = pg_affected(gone);
    pg_rows_free(gone);
    return OK;
}

static enum status count_refused(struct job *j, struct err *err)
{
    struct session *s = &j->session;
    struct pg_rows *rows;
    struct pg_args args;

    pg_args_init(&args, s->arena);
    pg_arg_int(&args, s->config->refused.keep_hours);
    if (pg_run(s->pg, SQL_REFUSED_COUNT, &args, WAIT_MS, &rows, err))
        return err_in(err, "counting refused requests");
    j->nforgotten = pg_int(rows, 0, 0);
    pg_rows_free(rows);
    return OK;
}

/* Who has too much is found once; what comes meanwhile is for the next time. */
static enum status trim_refused(struct job *j, struct err *err)
{
    struct session *s = &j->session;
    enum status status = OK;
    struct pg_rows *excess;
    struct pg_args args;

    arena_reset(s->arena);
    pg_args_init(&args, s->arena);
    pg_arg_int(&args, s->config->refused.megabytes_per_source);
    if (pg_run(s->pg, SQL_REFUSED_EXCESS, &args, WAIT_MS, &excess, err))
        return err_in(err, "measuring refused requests");
    for (size_t i = 0; status == OK && i < pg_nrows(excess); i++) {
        struct trim t = {.job = j,
                         .platform = pg_bytes(excess, i, 0),
                         .source = pg_bytes(excess, i, 1),
                         .bytes = pg_int(excess, i, 2)};
        status = trim_sender(&t, err);
    }
    pg_rows_free(excess);
    return status;
}

static enum status trim_sender(struct trim *t, struct err *err)
{
    do {
        if (in_batch(t->job, trim_batch, t, err))
            return err_in(err, "forgetting refused requests beyond their room");
        t->bytes -= t->nbytes;
        t->job->ntrimmed += t->nrows;
    } while (t->nrows > 0 && t->bytes > 0 && !t->job->options->common.dry_run && !session_stopping());
    return OK;
}

static enum status trim_batch(void *ctx, size_t rows, struct err *err)
{
    struct trim *t = ctx;
    struct session *s = &t->job->session;
    bool dry = s->options->dry_run;
    struct pg_rows *gone;
    struct pg_args args;

    pg_args_init(&args, s->arena);
    pg_arg_text(&args, t->platform);
    pg_arg_text(&args, t->source);
    pg_arg_int(&args, t->bytes);
    if (!dry)
        pg_arg_int(&args, (int64_t)rows);
    if (pg_run(s->pg, dry ? SQL_REFUSED_TRIM_COUNT : SQL_REFUSED_TRIM, &args, WAIT_MS, &gone, err))
        return err->code;
    t->nrows = pg_int(gone, 0, 0);
    t->nbytes = dry ? 0 : pg_int(gone, 0, 1);
    pg_rows_free(gone);
    return OK;
}

static enum status in_batch(struct job *j, batch_work *batch, void *ctx, struct err *err)
{
    bool refused;

    if (batch_do(&j->session, batch, ctx, &refused, err))
        return err->code;
    return refused ? err->code : OK;
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
    const struct session_options *o = &j->options->common;
    const char *program = find_gateway(j);
    const char *words[8] = {program, "subscribe", "--due"};
    posix_spawn_file_actions_t files;
    size_t n = 3;
    pid_t child;
    int failure;

    if (o->config_path) {
        words[n++] = "--config";
        words[n++] = o->config_path;
    }
    if (o->dry_run)
        words[n++] = "--dry-run";
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
    failure = posix_spawnp(&child, program, &files, NULL, (char *const *)(uintptr_t)words, environ);
    posix_spawn_file_actions_destroy(&files);
    if (failure == 0)
        return exit_code_of(j, child);
    log_error("subscribe_not_started", LOG_TEXT("path", program), LOG_TEXT("why", strerrordesc_np(failure)));
    return EX_UNAVAILABLE;
}

static const char *find_gateway(struct job *j)
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
    beside = arena_print(j->session.arena, "%s/settle-gateway", own);
    return access(beside, X_OK) == 0 ? beside : "settle-gateway";
}

/* Hubs may take long to answer: the lock is kept meanwhile. One that was lost stops nothing here. */
static int exit_code_of(struct job *j, pid_t child)
{
    struct lock *lock = &j->session.lock;
    struct err err = {0};
    int status;
    pid_t ended;

    while ((ended = waitpid(child, &status, WNOHANG)) == 0) {
        (void)poll(NULL, 0, LOOK_AGAIN_MS);
        if (session_stopping())
            kill(child, SIGTERM);
        if (lock->epoch && err.code == OK && lock_renew(lock, &err))
            log_warn("lock_lost", LOG_ERR(&err));
    }
    return ended == child && WIFEXITED(status) ? WEXITSTATUS(status) : EX_SOFTWARE;
}

static void end_run(struct job *j, const struct err *err)
{
    struct err end = {0};

    j->outcome = outcome_of(j, err);
    if (j->session.lock.epoch && in_batch(j, write_end, j, &end))
        log_warn("end_not_written", LOG_ERR(&end));
}

static const char *outcome_of(const struct job *j, const struct err *err)
{
    bool unsubscribed = err->code == OK && !session_stopping() && j->subscribe_code != EX_OK;

    return unsubscribed ? "failed" : ending_outcome(&j->session, err);
}

static enum status write_end(void *ctx, size_t rows, struct err *err)
{
    struct job *j = ctx;
    struct session *s = &j->session;
    bool done = strcmp(j->outcome, "done") == 0;
    const struct ending end = {
        .outcome = j->outcome,
        .success = done,
        .nread = all_forgotten(j),
        .report = json_line(report_json(j), s->arena),
        .error_code = done                 ? NULL
                      : j->store_failed    ? "error"
                      : session_stopping() ? "signal"
                                           : "subscribe",
    };

    (void)rows;
    return ending_write(s, &end, err);
}

static int64_t all_forgotten(const struct job *j)
{
    int64_t all = j->nforgotten + j->ntrimmed;

    for (size_t i = 0; i < FORGOTTEN_KINDS; i++)
        all += j->forgotten[i];
    return all;
}

/* The worse of both ends is the exit code: what failed here first, then what the child says. */
static int report(const struct job *j, const struct err *err)
{
    json_t *all = report_json(j);

    if (j->options->common.json) {
        json_dumpf(all, stdout, 0);
        putchar('\n');
    } else {
        report_text(j);
    }
    json_decref(all);
    if (err->code)
        return exit_code(err);
    return j->subscribe_code ? j->subscribe_code : session_stopping() ? EX_TEMPFAIL : EX_OK;
}

static json_t *report_json(const struct job *j)
{
    json_t *all =
        json_pack("{ss sb sI sI sb sb}", "outcome", j->outcome, "dry_run", (int)j->options->common.dry_run,
                  "refused_forgotten", (json_int_t)j->nforgotten, "refused_trimmed", (json_int_t)j->ntrimmed,
                  "store_failed", (int)j->store_failed, "subscriptions_checked", (int)j->subscribes);

    for (int i = 0; i < FORGOTTEN_KINDS; i++) {
        char key[32];

        snprintf(key, sizeof(key), "%s_forgotten", forgotten_name((enum forgotten)i));
        json_object_set_new(all, key, json_integer((json_int_t)j->forgotten[i]));
    }
    if (j->subscribes)
        json_object_set_new(all, "subscribe_exit_code", json_integer(j->subscribe_code));
    return all;
}

/* A number stands only for what was really done, or is known to be there to do. */
static void report_text(const struct job *j)
{
    bool dry_run = j->options->common.dry_run;
    const char *would = dry_run ? "would be " : "", *subscriptions = "no source has topics";

    if (strcmp(j->outcome, "lock_held") == 0) {
        puts("nothing was done: it runs elsewhere");
        return;
    }
    if (!j->store_failed || j->nforgotten + j->ntrimmed > 0)
        printf("refused requests: %" PRId64 " %sforgotten for their age, %" PRId64 " for their room\n",
               j->nforgotten, would, j->ntrimmed);
    for (int i = 0; i < FORGOTTEN_KINDS; i++)
        if (j->forgotten[i] > 0)
            printf("%s: %" PRId64 " %sforgotten for their age\n", forgotten_name((enum forgotten)i),
                   j->forgotten[i], would);
    if (j->store_failed)
        puts("Postgres failed, see above; the next run goes on");
    if (j->subscribes && j->subscribe_code)
        subscriptions = dry_run ? "not known, see above" : "some were not renewed, see above";
    else if (j->subscribes)
        subscriptions = dry_run ? "none was renewed; above stands which would be" : "up to date";
    printf("subscriptions: %s\n", subscriptions);
}
