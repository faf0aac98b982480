/* aggregates: the daily aggregates: makes those that are missing or whose raw rows changed, fills in old days, verifies all
 * against a second count. */
#include "batch.h"
#include "command.h"
#include "crew.h"
#include "day.h"
#include "ending.h"
#include "json.h"
#include "progress.h"

#include "base/log.h"
#include "base/now.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include <jansson.h>

enum {
    NAMES_MAX = 100,  /* dates that a report names, of each kind */
    DAYS_MAX = 36600, /* of one command: a hundred years */
    BATCH_MAX = 366,
    CHUNK_MAX = 20000, /* of at most 1 kB each, some of it twice: far below the 64 MiB that a run may have */
    CHUNK = 10000,
    PAUSE_STEP_MS = 100,
    FINDINGS = 1, /* exit code of verify */
};

enum verb { RUN, BACKFILL, VERIFY };

struct options {
    struct session_options common;
    enum verb verb;
    int64_t from, to; /* days; NO_DAY: not given */
    bool to_today, include_today, repair;
    unsigned batch_days, pause_ms, concurrent, chunk;
};
#define NO_DAY INT64_MIN

struct due {
    struct day_task task;
    bool missing, skip;
};

struct job {
    const struct options *options;
    struct session session;
    struct progress progress;
    struct due *days;
    size_t ndays, ndone;
    int64_t today;
    int64_t counts[DAY_OUTCOMES];
    int64_t nread, nbackfilled, ndirty, ndrifts;
    json_t *made, *failed, *unverified; /* dates, at most NAMES_MAX each */
    int64_t nunverified, nrepaired;
    size_t nheld;   /* of ndone: days that verify has not looked at, as others were at work on them */
    int64_t nolder; /* complete days before the last 7 that were never aggregated */
    json_t *older;
    bool usage; /* the range cannot be: told already */
    const char *outcome;
    const struct err *why; /* it ended before its time; OK: it did not */
};

static int run(int argc, char **argv);
static error_t parse_option(int key, char *value, struct argp_state *state);
static void parse_word(struct options *o, const char *value, const struct argp_state *state);
static int64_t parse_day(const char *value, const char *option, const struct argp_state *state);
static void check_options(const struct options *o, const struct argp_state *state);
static enum status work(struct job *j, struct err *err);
static bool range_can_be(struct job *j, struct err *err);
static const char *scope_of(struct job *j);
static enum status find_days(struct job *j, struct err *err);
static enum status find_due(struct job *j, struct err *err);
static enum status mark_late(struct job *j, struct err *err);
static enum status write_late(void *ctx, size_t rows, struct err *err);
static enum status find_older(struct job *j, struct err *err);
static void list_range(struct job *j);
static enum status list_aggregated(struct job *j, struct err *err);
static void begin_events(struct job *j);
static enum status write_begin(void *ctx, size_t rows, struct err *err);
static enum status do_days(struct job *j, struct err *err);
static enum status do_day(struct job *j, const struct due *d, struct err *err);
static enum status do_batches(struct job *j, struct err *err);
static enum status do_batch(struct job *j, struct crew *crew, struct err *err);
static enum status make_day(struct job *j, const struct due *d, struct err *err);
static void count_day(struct job *j, const struct due *d, const struct day_result *r);
static enum status check_day(struct job *j, const struct due *d, struct err *err);
static void tell(struct job *j);
static enum status pause_between(struct job *j, struct err *err);
static void add_date(json_t *list, int64_t day);
static void end_run(struct job *j, const struct err *err);
static const char *outcome_of(const struct job *j, const struct err *err);
static bool has_failed(const struct job *j);
static enum status write_end(void *ctx, size_t rows, struct err *err);
static bool has_looked_at_all(const struct job *j);
static enum status move_watermark(struct session *s, struct err *err);
static enum status write_event(struct job *j, const char *type, struct err *err);
static struct span reason_of(struct job *j);
static int report(const struct job *j, const struct err *err);
static json_t *report_json(const struct job *j);
static void report_text(const struct job *j);
static void print_dates(const char *what, const json_t *dates, int64_t of);

const struct command aggregates_command = {"aggregates", "aggregate days, fill in old ones, verify them",
                                           run};

enum {
    OPTION_FROM = 1,
    OPTION_TO,
    OPTION_INCLUDE_TODAY,
    OPTION_BATCH_SIZE,
    OPTION_BATCH_DELAY,
    OPTION_MAX_CONCURRENT,
    OPTION_CHUNK,
    OPTION_REPAIR
};

static const struct argp_option option_table[] = {
    {"from",           OPTION_FROM,           "DATE", 0, "The first day, as 2026-01-31 (backfill, verify)",      1},
    {"to",             OPTION_TO,             "DATE", 0, "The last day, or today (backfill, verify)",            1},
    {"include-today",  OPTION_INCLUDE_TODAY,  NULL,   0, "Also the day that is not over (backfill)",             1},
    {"batch-size",     OPTION_BATCH_SIZE,     "DAYS", 0, "Days between pauses, 1 to 366 (backfill; default: 7)", 1},
    {"batch-delay-ms", OPTION_BATCH_DELAY,    "MS",   0,
     "How long a pause is, 0 to 60000 (backfill; default: 1000)",                                                1},
    {"max-concurrent", OPTION_MAX_CONCURRENT, "N",    0,
     "How many days at once, each on a connection of its own, 1 to 8 (backfill; default: 1)",                    1},
    {"chunk",          OPTION_CHUNK,          "ROWS", 0,
     "How many rows it takes into its memory at a time, 1 to 20000: aggregates that do not hold. Raw rows "
     "stay in "
     "Postgres, which adds them up (default: 10000)",                                                            1},
    {"repair",         OPTION_REPAIR,         NULL,   0, "Make what does not hold anew (verify)",                1},
    {NULL,             0,                     NULL,   0, NULL,                                                   0},
};
static const struct argp argp = {
    .options = option_table,
    .parser = parse_option,
    .children = session_children,
    .args_doc = "[run]\nbackfill --from DATE --to DATE\nverify [--from DATE] [--to DATE] [--repair]",
    .doc =
        "Daily aggregates, by UTC day, tenant and platform. run makes yesterday's, those missing of the last "
        "7 "
        "complete days, those of days whose raw rows changed since, however old, and tries again what "
        "failed. "
        "backfill makes all days of a range, in batches with pauses; run again it goes on. verify counts "
        "each aggregated day a second time and flags what does not hold. What is as it should be is not "
        "written.\vExit codes: 0 done, or it runs elsewhere, 1 verify found what does not hold, 64 usage, 69 "
        "Postgres is down, 75 some day failed and is tried again, or it was told to end, 78 settings.",
};

static const char *const job_names[] = {
    [RUN] = "aggregates", [BACKFILL] = "aggregates_backfill", [VERIFY] = "aggregates_verify"};

static int run(int argc, char **argv)
{
    struct options o = {
        .from = NO_DAY, .to = NO_DAY, .batch_days = 7, .pause_ms = 1000, .concurrent = 1, .chunk = CHUNK};
    struct job j = {.options = &o, .outcome = "failed"};
    struct err err = {0};
    int code;

    session_options_init(&o.common);
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    j.made = json_array();
    j.failed = json_array();
    j.unverified = json_array();
    j.older = json_array();
    if (session_open(&j.session, job_names[o.verb], &o.common, NULL, 0, &err) == OK)
        (void)!work(&j, &err);
    end_run(&j, &err);
    code = report(&j, &err);
    json_decref(j.made);
    json_decref(j.failed);
    json_decref(j.unverified);
    json_decref(j.older);
    free(j.days);
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
    case OPTION_FROM:
        o->from = parse_day(value, "from", state);
        return 0;
    case OPTION_TO:
        o->to_today = strcmp(value, "today") == 0;
        o->to = o->to_today ? NO_DAY : parse_day(value, "to", state);
        return 0;
    case OPTION_INCLUDE_TODAY:
        o->include_today = true;
        return 0;
    case OPTION_BATCH_SIZE:
        o->batch_days = option_number(value, 1, BATCH_MAX, "batch-size", state);
        return 0;
    case OPTION_BATCH_DELAY:
        o->pause_ms = option_number(value, 0, 60000, "batch-delay-ms", state);
        return 0;
    case OPTION_MAX_CONCURRENT:
        o->concurrent = option_number(value, 1, CREW_MAX, "max-concurrent", state);
        return 0;
    case OPTION_CHUNK:
        o->chunk = option_number(value, 1, CHUNK_MAX, "chunk", state);
        return 0;
    case OPTION_REPAIR:
        o->repair = true;
        return 0;
    case ARGP_KEY_ARG:
        parse_word(o, value, state);
        return 0;
    case ARGP_KEY_END:
        check_options(o, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void parse_word(struct options *o, const char *value, const struct argp_state *state)
{
    static const char *const words[] = {[RUN] = "run", [BACKFILL] = "backfill", [VERIFY] = "verify"};

    for (size_t i = 0; i < countof(words) && state->arg_num == 0; i++)
        if (strcmp(words[i], value) == 0) {
            o->verb = (enum verb)i;
            return;
        }
    argp_error(state, "want run, backfill or verify, not \"%s\"", value);
}

static int64_t parse_day(const char *value, const char *option, const struct argp_state *state)
{
    int64_t day = NO_DAY;

    if (!day_parse(value, &day))
        argp_error(state, "--%s: want a day as 2026-01-31, not \"%s\"", option, value);
    return day;
}

static void check_options(const struct options *o, const struct argp_state *state)
{
    bool has_from = o->from != NO_DAY, has_to = o->to != NO_DAY || o->to_today;

    if (o->verb == RUN && (has_from || has_to))
        argp_error(state, "run finds its days by itself: for others there is backfill");
    if (o->verb == BACKFILL && (!has_from || !has_to))
        argp_error(state, "backfill wants --from and --to");
    if (o->verb != BACKFILL && (o->include_today || o->concurrent > 1))
        argp_error(state, "--%s is for backfill", o->include_today ? "include-today" : "max-concurrent");
    if (o->verb != VERIFY && o->repair)
        argp_error(state, "--repair is for verify");
    if (has_from && o->to != NO_DAY && o->to < o->from)
        argp_error(state, "--to is before --from");
    if (o->to_today && o->verb == BACKFILL && !o->include_today)
        argp_error(state, "today is not over: --include-today makes a part of its aggregates");
}

static enum status work(struct job *j, struct err *err)
{
    struct session *s = &j->session;
    bool dry_run = s->options->dry_run;

    j->today = day_of(s->began_us);
    if (!range_can_be(j, err) || (!dry_run && session_begin(s, scope_of(j), err)))
        return err->code;
    begin_events(j);
    if (find_days(j, err))
        return err->code;
    if (dry_run && j->options->verb != VERIFY) {
        for (size_t i = 0; i < j->ndays; i++)
            add_date(j->made, j->days[i].task.day);
    } else if (do_days(j, err)) {
        return err->code;
    }
    return j->options->verb == RUN ? find_older(j, err) : OK;
}

/* By the database's clock: so not when the options are read. */
static bool range_can_be(struct job *j, struct err *err)
{
    const struct options *o = j->options;
    int64_t last = o->to_today ? j->today : o->to;

    if (o->verb != BACKFILL)
        return true;
    if (last > j->today)
        (void)!err_cause(err, REJECTED, "usage", "--to lies in the future");
    else if (last == j->today && !o->include_today)
        (void)!err_cause(err, REJECTED, "usage",
                         "today is not over: --include-today makes a part of its aggregates");
    else if (o->from > last || last - o->from >= DAYS_MAX)
        (void)!err_cause(err, REJECTED, "usage", "--from to --to is no range of at most %d days", DAYS_MAX);
    j->usage = err->code != OK;
    return !j->usage;
}

static const char *scope_of(struct job *j)
{
    const struct options *o = j->options;
    char from[DAY_TEXT_BYTES] = "", to[DAY_TEXT_BYTES] = "";

    if (o->from != NO_DAY)
        day_text(o->from, from);
    if (o->to != NO_DAY || o->to_today)
        day_text(o->to_today ? j->today : o->to, to);
    return arena_print(j->session.arena, "{\"from\":\"%s\",\"to\":\"%s\"}", from, to);
}

static enum status find_days(struct job *j, struct err *err)
{
    if (j->options->verb == RUN)
        return mark_late(j, err) || find_due(j, err) ? err->code : OK;
    if (j->options->verb == VERIFY)
        return list_aggregated(j, err);
    list_range(j);
    return OK;
}

/* Receipts are stored by the gateway, which marks nothing. */
static enum status mark_late(struct job *j, struct err *err)
{
    bool refused;

    if (j->session.options->dry_run)
        return OK;
    if (batch_do(&j->session, write_late, j, &refused, err) || refused)
        return err_in(err, "looking for late webhooks");
    return OK;
}

static enum status write_late(void *ctx, size_t rows, struct err *err)
{
    struct job *j = ctx;
    struct session *s = &j->session;
    struct pg_args args;

    (void)rows;
    pg_args_init(&args, s->arena);
    pg_arg_time(&args, s->watermark_us);
    pg_arg_time(&args, s->began_us);
    return pg_run(s->pg, SQL_AGGREGATE_LATE, &args, WAIT_MS, NULL, err);
}

static enum status find_due(struct job *j, struct err *err)
{
    struct pg_rows *rows;
    struct pg_args args;

    pg_args_init(&args, j->session.arena);
    pg_arg_time(&args, j->session.watermark_us);
    if (pg_run(j->session.pg, SQL_AGGREGATE_DUE, &args, WAIT_MS, &rows, err))
        return err_in(err, "finding days that are due");
    j->ndays = pg_nrows(rows);
    j->days = calloc(j->ndays + 1, sizeof(*j->days));
    if (!j->days)
        abort();
    for (size_t i = 0; i < j->ndays; i++) {
        struct due *d = &j->days[i];
        char date[DAY_TEXT_BYTES];

        snprintf(date, sizeof(date), "%.*s", SPAN_ARG(pg_bytes(rows, i, 0)));
        (void)day_parse(date, &d->task.day);
        d->missing = span_eq(pg_bytes(rows, i, 1), SPAN("missing"));
        d->task.attempts = (unsigned)pg_int(rows, i, 2);
    }
    pg_rows_free(rows);
    return OK;
}

static enum status find_older(struct job *j, struct err *err)
{
    struct session *s = &j->session;
    struct span names;
    struct pg_rows *rows;
    struct pg_args args;

    pg_args_init(&args, s->arena);
    pg_arg_int(&args, NAMES_MAX);
    if (pg_run(s->pg, SQL_AGGREGATE_MISSING, &args, WAIT_MS, &rows, err))
        return err_in(err, "looking for days that were never aggregated");
    j->nolder = pg_int(rows, 0, 0);
    names = pg_bytes(rows, 0, 1);
    for (size_t at = 0; at + DAY_TEXT_BYTES - 1 <= names.len; at += DAY_TEXT_BYTES)
        json_array_append_new(j->older, json_stringn(names.at + at, DAY_TEXT_BYTES - 1));
    if (j->nolder > 0)
        log_warn("days_missing", LOG_INT("days", j->nolder), LOG_SPAN("dates", names));
    pg_rows_free(rows);
    return OK;
}

static void list_range(struct job *j)
{
    const struct options *o = j->options;
    int64_t last = o->to_today ? j->today : o->to;

    j->ndays = (size_t)(last - o->from + 1);
    j->days = calloc(j->ndays, sizeof(*j->days));
    if (!j->days)
        abort();
    for (size_t i = 0; i < j->ndays; i++) {
        int64_t day = o->from + (int64_t)i;

        j->days[i].task = (struct day_task){.day = day, .partial = day == j->today};
    }
}

static enum status list_aggregated(struct job *j, struct err *err)
{
    const struct options *o = j->options;
    struct session *s = &j->session;
    char from[DAY_TEXT_BYTES] = "", to[DAY_TEXT_BYTES] = "";
    struct pg_rows *rows;
    struct pg_args args;

    if (o->from != NO_DAY)
        day_text(o->from, from);
    if (o->to != NO_DAY || o->to_today)
        day_text(o->to_today ? j->today : o->to, to);
    pg_args_init(&args, s->arena);
    pg_arg_text(&args, from[0] ? span_of(from) : SPAN_NONE);
    pg_arg_text(&args, to[0] ? span_of(to) : SPAN_NONE);
    if (pg_run(s->pg, SQL_AGGREGATE_LIST, &args, WAIT_MS, &rows, err))
        return err_in(err, "listing aggregated days");
    j->ndays = pg_nrows(rows);
    j->days = calloc(j->ndays + 1, sizeof(*j->days));
    if (!j->days)
        abort();
    for (size_t i = 0; i < j->ndays; i++) {
        char date[DAY_TEXT_BYTES];

        snprintf(date, sizeof(date), "%.*s", SPAN_ARG(pg_bytes(rows, i, 0)));
        (void)day_parse(date, &j->days[i].task.day);
        j->days[i].skip = pg_int(rows, i, 1);
        j->days[i].task.partial = pg_int(rows, i, 2);
    }
    pg_rows_free(rows);
    return OK;
}

/* To the log and the scheduler's events. */
static void begin_events(struct job *j)
{
    struct err err = {0};
    bool refused;

    log_info("job_started", LOG_TEXT("job", j->session.run_name),
             LOG_ID("run_id", &j->session.options->run_id));
    if (j->session.lock.epoch && (batch_do(&j->session, write_begin, j, &refused, &err) || refused))
        log_warn("event_not_written", LOG_ERR(&err));
}

static enum status write_begin(void *ctx, size_t rows, struct err *err)
{
    (void)rows;
    return write_event(ctx, "job_started", err);
}

static enum status do_days(struct job *j, struct err *err)
{
    const struct options *o = j->options;

    progress_begin(&j->progress, now_boot_us());
    if (o->concurrent > 1) {
        (void)!do_batches(j, err);
    } else {
        while (j->ndone < j->ndays && !session_stopping())
            if (do_day(j, &j->days[j->ndone], err))
                break;
    }
    progress_end(&j->progress);
    return err->code;
}

static enum status do_day(struct job *j, const struct due *d, struct err *err)
{
    if (j->options->verb == VERIFY ? check_day(j, d, err) : make_day(j, d, err))
        return err->code;
    j->ndone++;
    tell(j);
    return pause_between(j, err);
}

static enum status do_batches(struct job *j, struct err *err)
{
    struct crew *crew = crew_open(j->options->concurrent, &j->options->common, j->options->chunk, err);

    while (crew && j->ndone < j->ndays && !session_stopping())
        if (do_batch(j, crew, err))
            break;
    crew_close(crew);
    return err->code;
}

static enum status do_batch(struct job *j, struct crew *crew, struct err *err)
{
    const struct due *days = &j->days[j->ndone];
    size_t left = j->ndays - j->ndone, n = left < j->options->batch_days ? left : j->options->batch_days;
    struct crew_day batch[BATCH_MAX];

    for (size_t i = 0; i < n; i++)
        batch[i].task = days[i].task;
    (void)!crew_make(crew, &j->session.lock, batch, n, err);
    for (size_t i = 0; i < n; i++)
        if (batch[i].done) {
            count_day(j, &days[i], &batch[i].result);
            j->ndone++;
        }
    tell(j);
    return err->code ? err->code : pause_between(j, err);
}

static enum status make_day(struct job *j, const struct due *d, struct err *err)
{
    struct day_result r;

    if (day_aggregate(&j->session, &d->task, j->options->chunk, &r, err))
        return err->code;
    count_day(j, d, &r);
    return OK;
}

static void count_day(struct job *j, const struct due *d, const struct day_result *r)
{
    j->counts[r->outcome]++;
    j->nread += r->nread;
    j->nbackfilled += d->missing && r->outcome == DAY_CREATED;
    if (r->outcome == DAY_CREATED || r->outcome == DAY_UPDATED)
        add_date(j->made, d->task.day);
    if (r->outcome == DAY_FAILED || r->outcome == DAY_DEAD || r->outcome == DAY_PUT_OFF)
        add_date(j->failed, d->task.day);
    if (r->ndrifts > 0) {
        j->nunverified++;
        add_date(j->unverified, d->task.day);
    }
}

/* What is marked changes with the next run, and no drift is told of it. */
static enum status check_day(struct job *j, const struct due *d, struct err *err)
{
    struct day_result r = {.stale = true};

    if (!d->skip && day_verify(&j->session, &d->task, j->options->chunk, &r, err))
        return err->code;
    if (r.stale) {
        j->ndirty++;
        if (!j->options->repair || j->session.options->dry_run)
            return OK;
        return make_day(j, d, err);
    }
    if (r.outcome == DAY_LOCK_HELD) {
        j->counts[r.outcome]++;
        j->nheld++;
    }
    if (r.ndrifts == 0)
        return OK;
    j->nunverified++;
    j->ndrifts += (int64_t)r.ndrifts;
    add_date(j->unverified, d->task.day);
    if (!j->options->repair || j->session.options->dry_run)
        return OK;
    if (day_aggregate(&j->session, &d->task, j->options->chunk, &r, err))
        return err->code;
    j->counts[r.outcome]++;
    j->nrepaired += r.ndrifts == 0 && r.outcome != DAY_LOCK_HELD && r.outcome <= DAY_UNCHANGED;
    return OK;
}

static void tell(struct job *j)
{
    bool batch_ends = j->ndone % j->options->batch_days == 0 || j->ndone == j->ndays;

    if (j->progress.terminal) {
        if (progress_due(&j->progress) || batch_ends)
            progress_count(j->options->verb == VERIFY ? "days verified" : "days aggregated",
                           (int64_t)j->ndone);
        return;
    }
    if (j->options->verb == BACKFILL ? batch_ends : progress_due(&j->progress)) {
        char text[64];

        snprintf(text, sizeof(text), "%s %zu/%zu days",
                 j->options->verb == VERIFY ? "Verified" : "Aggregated", j->ndone, j->ndays);
        log_info("progress", LOG_TEXT("text", text), LOG_INT("done", (int64_t)j->ndone),
                 LOG_INT("of", (int64_t)j->ndays));
    }
}

/* Between the batches of a backfill the database has time for others. */
static enum status pause_between(struct job *j, struct err *err)
{
    const struct options *o = j->options;
    int64_t until_us = now_boot_us() + o->pause_ms * INT64_C(1000);

    if (o->verb != BACKFILL || j->ndone % o->batch_days != 0 || j->ndone == j->ndays)
        return OK;
    while (now_boot_us() < until_us && !session_stopping()) {
        if (lock_renew(&j->session.lock, err))
            return err->code;
        (void)poll(NULL, 0, PAUSE_STEP_MS);
    }
    return OK;
}

static void add_date(json_t *list, int64_t day)
{
    char date[DAY_TEXT_BYTES];

    if (json_array_size(list) >= NAMES_MAX)
        return;
    day_text(day, date);
    json_array_append_new(list, json_string(date));
}

static void end_run(struct job *j, const struct err *err)
{
    struct err end = {0};
    bool refused;

    j->outcome = outcome_of(j, err);
    j->why = err;
    if (err->code && !j->usage)
        log_error("job_failed", LOG_TEXT("job", j->session.run_name), LOG_ERR(err));
    else if (!j->usage)
        log_info("job_completed", LOG_TEXT("job", j->session.run_name), LOG_TEXT("outcome", j->outcome),
                 LOG_INT("days", (int64_t)j->ndone));
    if (j->session.lock.epoch && (batch_do(&j->session, write_end, j, &refused, &end) || refused))
        log_warn("end_not_written", LOG_ERR(&end));
}

static const char *outcome_of(const struct job *j, const struct err *err)
{
    const char *outcome = ending_outcome(&j->session, err);
    bool at_end = err->code == OK && !session_stopping();

    if (at_end && has_failed(j))
        return "failed";
    return at_end && !j->options->common.dry_run && j->options->verb == VERIFY && j->nunverified > 0
               ? "drift"
               : outcome;
}

static bool has_failed(const struct job *j)
{
    return j->counts[DAY_FAILED] + j->counts[DAY_DEAD] + j->counts[DAY_PUT_OFF] > 0;
}

static enum status write_end(void *ctx, size_t rows, struct err *err)
{
    struct job *j = ctx;
    struct session *s = &j->session;
    bool done = strcmp(j->outcome, "done") == 0 || strcmp(j->outcome, "drift") == 0;
    const struct ending end = {
        .outcome = j->outcome,
        .success = done,
        .nread = j->nread,
        .report = json_line(report_json(j), s->arena),
        .error_code = done                  ? NULL
                      : session_stopping()  ? "signal"
                      : j->why->code == OK  ? "days" /* each was tried: schedule_days goes by it */
                      : j->why->sqlstate[0] ? j->why->sqlstate
                                            : "error",
        .message = reason_of(j),
    };

    (void)rows;
    if (ending_write(s, &end, err) || (has_looked_at_all(j) && move_watermark(s, err)))
        return err->code;
    return write_event(j, done ? "job_completed" : "job_failed", err);
}

/* A day that failed is looked at again for its attempts. */
static bool has_looked_at_all(const struct job *j)
{
    return j->options->verb == RUN && j->why->code == OK && j->ndone == j->ndays &&
           j->counts[DAY_LOCK_HELD] + j->counts[DAY_PUT_OFF] == 0;
}

/* Not before: days are due by it that bear no mark. */
static enum status move_watermark(struct session *s, struct err *err)
{
    struct pg_args args;

    pg_args_init(&args, s->arena);
    pg_arg_text(&args, span_of(s->job));
    pg_arg_int(&args, s->lock.epoch);
    pg_arg_time(&args, s->began_us);
    return pg_run(s->pg, SQL_FENCE_ADVANCE, &args, WAIT_MS, NULL, err);
}

static enum status write_event(struct job *j, const char *type, struct err *err)
{
    struct session *s = &j->session;
    bool ended = j->why != NULL;
    struct pg_args args;

    pg_args_init(&args, s->arena);
    pg_arg_text(&args, span_of(type));
    pg_arg_text(&args, span_of(s->run_name));
    pg_arg_uuid(&args, &s->options->run_id);
    pg_arg_text(&args, span_of(s->options->trigger));
    pg_arg_text(&args, ended ? span_of(j->outcome) : SPAN_NONE);
    pg_arg_text(&args, ended ? reason_of(j) : SPAN_NONE);
    return pg_run(s->pg, SQL_EVENT_RUN, &args, WAIT_MS, NULL, err);
}

/* Why it did not do all that it was to do. */
static struct span reason_of(struct job *j)
{
    int64_t failed = j->counts[DAY_FAILED] + j->counts[DAY_DEAD] + j->counts[DAY_PUT_OFF];

    if (j->why->code)
        return span_of(j->why->text);
    if (failed > 0)
        return span_of(arena_print(j->session.arena, "%" PRId64 " days failed", failed));
    return SPAN_NONE;
}

static int report(const struct job *j, const struct err *err)
{
    bool drifts = j->options->verb == VERIFY && j->nunverified > j->nrepaired;

    if (j->options->common.json) {
        json_t *all = report_json(j);

        json_dumpf(all, stdout, 0);
        putchar('\n');
        json_decref(all);
    } else if (!err->code || strcmp(j->outcome, "lock_held") == 0) {
        report_text(j);
    }
    if (err->code && strcmp(j->outcome, "lock_held") != 0)
        fprintf(stderr, "settle-reconciler aggregates: %s\n", err->text);
    if (j->usage)
        return EX_USAGE;
    if (err->code)
        return exit_code(err);
    return session_stopping() || has_failed(j) ? EX_TEMPFAIL : drifts ? FINDINGS : EX_OK;
}

static json_t *report_json(const struct job *j)
{
    char id[ID_TEXT_BYTES];
    json_t *all;

    id_text(&j->options->common.run_id, id);
    all = json_pack("{ss ss sb sI sI}", "outcome", j->outcome, "run_id", id, "dry_run",
                    (int)j->options->common.dry_run, "days", (json_int_t)j->ndays, "days_done",
                    (json_int_t)(j->ndone - j->nheld));
    for (int i = 0; i < DAY_OUTCOMES; i++)
        json_object_set_new(all, day_outcome_name((enum day_outcome)i), json_integer(j->counts[i]));
    json_object_set_new(all, "records_read", json_integer(j->nread));
    json_object_set(all, j->options->common.dry_run ? "due_dates" : "dates", j->made);
    json_object_set(all, "failed_dates", j->failed);
    json_object_set_new(all, "unverified", json_integer(j->nunverified));
    json_object_set(all, "unverified_dates", j->unverified);
    if (j->options->verb == RUN) {
        json_object_set_new(all, "days_backfilled", json_integer(j->nbackfilled));
        json_object_set_new(all, "older_missing_days", json_integer(j->nolder));
        json_object_set(all, "older_missing_dates", j->older);
    }
    if (j->options->verb == VERIFY) {
        json_object_set_new(all, "drifted_rows", json_integer(j->ndrifts));
        json_object_set_new(all, "stale", json_integer(j->ndirty));
        json_object_set_new(all, "repaired", json_integer(j->nrepaired));
    }
    return all;
}

static void report_text(const struct job *j)
{
    bool dry_run = j->options->common.dry_run;

    if (strcmp(j->outcome, "lock_held") == 0) {
        puts("nothing was done: it runs elsewhere");
        return;
    }
    if (j->options->verb == VERIFY) {
        printf("%zu of %zu days verified, %" PRId64 " do not hold, %" PRId64
               " changed since they were made\n",
               j->ndone - j->nheld, j->ndays, j->nunverified, j->ndirty);
        if (j->nheld > 0)
            printf("%zu not looked at: others were at work on them\n", j->nheld);
        print_dates("do not hold", j->unverified, j->nunverified);
        if (j->options->repair)
            printf("%" PRId64 " repaired\n", j->nrepaired);
        return;
    }
    if (dry_run) {
        printf("%zu days would be aggregated\n", j->ndays);
        print_dates("these", j->made, (int64_t)j->ndays);
        return;
    }
    printf("%zu of %zu days done: %" PRId64 " created, %" PRId64 " updated, %" PRId64 " unchanged\n",
           j->ndone, j->ndays, j->counts[DAY_CREATED], j->counts[DAY_UPDATED], j->counts[DAY_UNCHANGED]);
    print_dates("failed", j->failed, j->counts[DAY_FAILED] + j->counts[DAY_DEAD] + j->counts[DAY_PUT_OFF]);
    print_dates("unverified", j->unverified, j->nunverified);
    print_dates("never aggregated, for backfill", j->older, j->nolder);
}

static void print_dates(const char *what, const json_t *dates, int64_t of)
{
    if (json_array_size(dates) == 0)
        return;
    printf("%s:", what);
    for (size_t i = 0; i < json_array_size(dates); i++)
        printf(" %s", json_string_value(json_array_get(dates, i)));
    printf("%s\n", of > (int64_t)json_array_size(dates) ? " and more" : "");
}
