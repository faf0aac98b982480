#include "day.h"

#include "base/log.h"
#include "base/now.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

enum {
    COUNT_WAIT_MS = 22000, /* a little more than what the server is given: below */
    ROUNDS = 2,
};
#define COUNT_TIMEOUT "set local statement_timeout = 20000"
_Static_assert(COUNT_WAIT_MS + 3000 < LOCK_TRUST_MS, "what became of a count is still written");

/* One day at work. */
struct work {
    struct session *session;
    struct lock lock;
    int64_t day;
    char date[DAY_TEXT_BYTES]; /* the same */
    bool partial, verified;
    unsigned attempt;
    int64_t began_us;
    struct day_result *result;
    struct span hash;
    size_t chunk;                      /* aggregates that are taken at a time */
    struct pg_rows *drifts;            /* of the chunk at work, which lies behind this one: */
    char *after_user, *after_platform; /* NULL: it is the first */
    struct err why;                    /* of a failure */
};

struct alert {
    const char *type, *category, *title;
};
static const struct alert dead = {"aggregate_dead", "SYSTEM_HEALTH", "cannot be aggregated"},
                          unverified = {"aggregate_unverified", "DATA_QUALITY", "aggregates do not hold"};

typedef enum status transaction(struct work *w, struct err *err);

static void begin_work(struct work *w, struct session *s, const struct day_task *task, size_t chunk,
                       struct day_result *result);
static void end_work(struct work *w);
static enum status take_lock(struct work *w, struct err *err);
static enum status make_and_verify(struct work *w, struct err *err);
static enum status make(struct work *w, struct err *err);
static enum day_outcome outcome_of(const struct pg_rows *rows);
static enum status verify(struct work *w, struct err *err);
static enum status look_for_marks(struct work *w, struct err *err);
static enum status compare_first(struct work *w, struct err *err);
static enum status compare_rest(struct work *w, bool flagged, struct err *err);
static bool go_on(struct work *w);
static enum status compare(struct work *w, struct err *err);
static enum status flag(struct work *w, struct err *err);
static struct span last_drift(const struct work *w, size_t column);
static void put_drifts(const struct work *w, struct pg_args *args);
static void tell_drifts(const struct work *w);
static enum status judge(struct work *w, struct err *err);
static bool is_attempt(const struct err *err);
static bool is_passing(const struct err *err);
static enum status note_failure(struct work *w, struct err *err);
static enum status write_failure(struct work *w, struct err *err);
static enum status raise_alert(struct work *w, const struct alert *alert, const char *message,
                               struct err *err);
static enum status note(struct work *w, const char *status, int64_t next_us, struct err *err);
static enum status fenced(struct work *w, transaction *inner, struct err *err);
static enum status keep_locks(struct work *w, struct err *err);
static enum status renew_locks(struct work *w, struct err *err);
static void roll_back(struct session *s);

static const char *const outcome_names[DAY_OUTCOMES] = {
    [DAY_CREATED] = "created",     [DAY_UPDATED] = "updated", [DAY_UNCHANGED] = "unchanged",
    [DAY_LOCK_HELD] = "lock_held", [DAY_FAILED] = "failed",   [DAY_DEAD] = "dead",
    [DAY_PUT_OFF] = "put_off",
};

const char *day_outcome_name(enum day_outcome outcome)
{
    return outcome_names[outcome];
}

bool day_parse(const char *text, int64_t *ret_day)
{
    struct tm t = {.tm_isdst = 0};
    char again[DAY_TEXT_BYTES];
    int64_t day;

    if (strlen(text) != DAY_TEXT_BYTES - 1 || strspn(text, "0123456789-") != DAY_TEXT_BYTES - 1 ||
        text[0] == '-' || !strptime(text, "%Y-%m-%d", &t))
        return false;
    day = timegm(&t) / 86400;
    day_text(day, again);
    if (strcmp(again, text) != 0) /* there is no 30th of February */
        return false;
    *ret_day = day;
    return true;
}

void day_text(int64_t day, char ret[DAY_TEXT_BYTES])
{
    time_t at = (time_t)(day * 86400);
    struct tm t;

    gmtime_r(&at, &t);
    strftime(ret, DAY_TEXT_BYTES, "%Y-%m-%d", &t);
}

int64_t day_of(int64_t wall_us)
{
    return wall_us / (86400 * SECOND_US);
}

enum status day_aggregate(struct session *s, const struct day_task *task, size_t chunk,
                          struct day_result *ret, struct err *err)
{
    struct work w;

    begin_work(&w, s, task, chunk, ret);
    if (take_lock(&w, err) || make_and_verify(&w, err))
        (void)!judge(&w, err);
    end_work(&w);
    return err->code;
}

enum status day_verify(struct session *s, const struct day_task *task, size_t chunk, struct day_result *ret,
                       struct err *err)
{
    struct work w;

    begin_work(&w, s, task, chunk, ret);
    ret->outcome = DAY_UNCHANGED;
    if ((!s->options->dry_run && take_lock(&w, err)) || verify(&w, err)) {
        if (err->cause && strcmp(err->cause, "lock_held") == 0) {
            ret->outcome = DAY_LOCK_HELD;
            *err = (struct err){.code = OK};
        }
    }
    end_work(&w);
    return err->code;
}

static void begin_work(struct work *w, struct session *s, const struct day_task *task, size_t chunk,
                       struct day_result *result)
{
    *w = (struct work){.session = s,
                       .day = task->day,
                       .partial = task->partial,
                       .attempt = task->attempts + 1,
                       .chunk = chunk,
                       .result = result,
                       .began_us = session_now_us(s)};
    *result = (struct day_result){.outcome = DAY_FAILED};
    day_text(task->day, w->date);
    arena_reset(s->arena);
}

static void end_work(struct work *w)
{
    pg_rows_free(w->drifts);
    free(w->after_user);
    free(w->after_platform);
    if (w->lock.epoch)
        lock_release(&w->lock);
}

static enum status take_lock(struct work *w, struct err *err)
{
    struct session *s = w->session;
    struct pg_args args;
    char name[32];

    snprintf(name, sizeof(name), "aggregates:%s", w->date);
    pg_args_init(&args, s->arena);
    pg_arg_text(&args, span_of(name));
    if (pg_run(s->pg, SQL_FENCE_ADD, &args, WAIT_MS, NULL, err) ||
        lock_acquire(&w->lock, s->pg, s->lock.redis, name, s->holder, err))
        return err->code;
    if (!w->lock.redis) /* not waited for again with each day */
        s->lock.redis = NULL;
    return OK;
}

/* A day may change between its two counts; then it is made once more before it is called unverified. */
static enum status make_and_verify(struct work *w, struct err *err)
{
    for (int round = 1; round <= ROUNDS; round++) {
        if (renew_locks(w, err) || fenced(w, make, err))
            return err_in(err, "statement aggregate_day of %s", w->date);
        if (w->verified)
            return OK;
        if (compare_first(w, err))
            return err->code;
        if (w->result->ndrifts == 0)
            break;
    }
    return compare_rest(w, true, err);
}

static enum status make(struct work *w, struct err *err)
{
    struct session *s = w->session;
    enum day_outcome outcome;
    struct pg_rows *rows;
    struct pg_args args;

    pg_args_init(&args, s->arena);
    pg_arg_date(&args, w->day);
    pg_arg_bool(&args, w->partial);
    pg_arg_uuid(&args, &s->options->run_id);
    if (pg_command(s->pg, COUNT_TIMEOUT, WAIT_MS, err) ||
        pg_run(s->pg, SQL_AGGREGATE_DAY, &args, COUNT_WAIT_MS, &rows, err))
        return err->code;
    outcome = outcome_of(rows);
    w->result->nread = pg_int(rows, 0, 2);
    w->verified = pg_int(rows, 0, 4);
    w->hash = arena_copy(s->arena, pg_bytes(rows, 0, 5));
    pg_rows_free(rows);
    if (w->result->outcome == DAY_FAILED ||
        outcome != DAY_UNCHANGED) /* a second round says less than the first */
        w->result->outcome = outcome;
    return outcome == DAY_UNCHANGED ? OK : note(w, "success", TIME_NONE, err);
}

static enum day_outcome outcome_of(const struct pg_rows *rows)
{
    if (!pg_int(rows, 0, 3))
        return DAY_CREATED;
    return pg_int(rows, 0, 0) + pg_int(rows, 0, 1) > 0 ? DAY_UPDATED : DAY_UNCHANGED;
}

/* A dry run flags nothing. */
static enum status verify(struct work *w, struct err *err)
{
    if (compare_first(w, err) || (w->result->ndrifts > 0 && look_for_marks(w, err)))
        return err->code;
    if (w->result->stale) {
        w->result->ndrifts = 0;
        return OK;
    }
    return compare_rest(w, !w->session->options->dry_run, err);
}

/* Who changed raw rows that the count has seen marked the day in the same transaction; and while the day is ours nobody takes
 * a mark away. */
static enum status look_for_marks(struct work *w, struct err *err)
{
    struct session *s = w->session;
    struct pg_rows *rows;
    struct pg_args args;

    pg_args_init(&args, s->arena);
    pg_arg_text(&args, span_of(w->date));
    pg_arg_text(&args, span_of(w->date));
    if (pg_run(s->pg, SQL_AGGREGATE_LIST, &args, WAIT_MS, &rows, err))
        return err_in(err, "statement aggregate_list of %s", w->date);
    w->result->stale = pg_nrows(rows) > 0 && pg_int(rows, 0, 1);
    pg_rows_free(rows);
    return OK;
}

static enum status compare_first(struct work *w, struct err *err)
{
    w->result->ndrifts = 0;
    return compare(w, err);
}

/* What the chunk at work has found, and the chunks behind it: each is flagged before the next one is taken. */
static enum status compare_rest(struct work *w, bool flagged, struct err *err)
{
    do {
        if (flagged && fenced(w, flag, err))
            return err_in(err, "statement aggregate_flag of %s", w->date);
        tell_drifts(w);
    } while (go_on(w) && compare(w, err) == OK);
    return err->code;
}

/* Only a chunk that is full has others behind it. */
static bool go_on(struct work *w)
{
    char *user, *platform;

    if (pg_nrows(w->drifts) < w->chunk)
        return false;
    user = strndup(last_drift(w, 0).at, last_drift(w, 0).len);
    platform = strndup(last_drift(w, 1).at, last_drift(w, 1).len);
    if (!user || !platform)
        abort();
    free(w->after_user);
    free(w->after_platform);
    w->after_user = user;
    w->after_platform = platform;
    arena_reset(w->session->arena);
    return true;
}

/* In a snapshot of its own. */
static enum status compare(struct work *w, struct err *err)
{
    struct session *s = w->session;
    struct pg_args args;

    pg_rows_free(w->drifts);
    w->drifts = NULL;
    pg_args_init(&args, s->arena);
    pg_arg_date(&args, w->day);
    pg_arg_int(&args, (int64_t)w->chunk);
    pg_arg_text(&args, w->after_user ? span_of(w->after_user) : SPAN_NONE);
    pg_arg_text(&args, w->after_platform ? span_of(w->after_platform) : SPAN_NONE);
    if (renew_locks(w, err) || pg_command(s->pg, "begin read only", WAIT_MS, err))
        return err->code;
    if (pg_command(s->pg, COUNT_TIMEOUT, WAIT_MS, err) ||
        pg_run(s->pg, SQL_AGGREGATE_COMPARE, &args, COUNT_WAIT_MS, &w->drifts, err)) {
        roll_back(s);
        return err_in(err, "statement aggregate_compare of %s", w->date);
    }
    w->result->ndrifts += pg_nrows(w->drifts);
    return pg_command(s->pg, "commit", WAIT_MS, err);
}

static enum status flag(struct work *w, struct err *err)
{
    struct session *s = w->session;
    bool ends = pg_nrows(w->drifts) < w->chunk;
    struct pg_args args;

    pg_args_init(&args, s->arena);
    pg_arg_text(&args, span_of(w->date));
    put_drifts(w, &args);
    pg_arg_text(&args, w->after_user ? span_of(w->after_user) : SPAN_NONE);
    pg_arg_text(&args, w->after_platform ? span_of(w->after_platform) : SPAN_NONE);
    pg_arg_text(&args, ends ? SPAN_NONE : last_drift(w, 0));
    pg_arg_text(&args, ends ? SPAN_NONE : last_drift(w, 1));
    pg_arg_int(&args, (int64_t)w->result->ndrifts);
    if (pg_run(s->pg, SQL_AGGREGATE_FLAG, &args, WAIT_MS, NULL, err))
        return err->code;
    if (!ends || w->result->ndrifts == 0)
        return OK;
    return raise_alert(w, &unverified,
                       arena_print(s->arena,
                                   "%zu aggregates are not what a second count of the raw rows finds",
                                   w->result->ndrifts),
                       err);
}

/* Column 0: user_id_str, 1: platform; there is one. */
static struct span last_drift(const struct work *w, size_t column)
{
    return pg_bytes(w->drifts, pg_nrows(w->drifts) - 1, column);
}

static void put_drifts(const struct work *w, struct pg_args *args)
{
    size_t n = pg_nrows(w->drifts);
    struct span *columns[3];

    for (size_t c = 0; c < countof(columns); c++) {
        columns[c] = arena_alloc(args->arena, n * sizeof(struct span) + 1);
        for (size_t i = 0; i < n; i++)
            columns[c][i] = pg_bytes(w->drifts, i, c);
    }
    pg_arg_texts(args, columns[0], n);
    pg_arg_texts(args, columns[1], n);
    pg_arg_jsons(args, columns[2], n);
}

/* The first few of a day. */
static void tell_drifts(const struct work *w)
{
    enum { TOLD = 5 };

    for (size_t i = 0; i < pg_nrows(w->drifts) && i < TOLD && !w->after_user; i++)
        log_error("aggregate_unverified", LOG_TEXT("date", w->date),
                  LOG_SPAN("user_id_str", pg_bytes(w->drifts, i, 0)),
                  LOG_SPAN("platform", pg_bytes(w->drifts, i, 1)),
                  LOG_SPAN("differs", pg_bytes(w->drifts, i, 2)), LOG_INT("of", (int64_t)w->result->ndrifts));
}

/* What a failure means: of this day alone, or of the run. */
static enum status judge(struct work *w, struct err *err)
{
    w->why = *err;
    err->code = OK;
    if (w->why.cause && strcmp(w->why.cause, "lock_held") == 0) {
        w->result->outcome = DAY_LOCK_HELD;
        return note(w, "skipped", TIME_NONE, err);
    }
    if (is_passing(&w->why)) {
        w->result->outcome = DAY_PUT_OFF;
        log_warn("day_put_off", LOG_TEXT("date", w->date), LOG_ERR(&w->why));
        return OK;
    }
    if (is_attempt(&w->why))
        return note_failure(w, err);
    *err = w->why;
    return err->code;
}

/* What other days do not share, or share no longer when their turn comes: content that is refused, a fault of ours, a day too
 * large for its time. A store that is down is none. */
static bool is_attempt(const struct err *err)
{
    return err->code == REJECTED || (err->code == BROKEN && err->sqlstate[0]) ||
           strcmp(err->sqlstate, "57014") == 0; /* query_canceled: statement_timeout */
}

/* Somebody held a row, or was overtaken: the day is as good as before. */
static bool is_passing(const struct err *err)
{
    return strcmp(err->sqlstate, "55P03") == 0 || strncmp(err->sqlstate, "40", 2) == 0;
}

static enum status note_failure(struct work *w, struct err *err)
{
    w->result->outcome = w->attempt < DAY_ATTEMPTS ? DAY_FAILED : DAY_DEAD;
    log_error("day_failed", LOG_TEXT("date", w->date), LOG_INT("attempt", w->attempt),
              LOG_BOOL("dead", w->result->outcome == DAY_DEAD), LOG_ERR(&w->why));
    if (fenced(w, write_failure, err))
        return err_in(err, "noting that %s failed", w->date);
    return OK;
}

static enum status write_failure(struct work *w, struct err *err)
{
    struct session *s = w->session;
    struct pg_args args;
    struct pg_rows *rows;
    int64_t next_us;

    pg_args_init(&args, s->arena);
    pg_arg_text(&args, span_of(w->date));
    pg_arg_int(&args, w->attempt);
    pg_arg_text(&args, span_of(w->why.sqlstate));
    pg_arg_text(&args, span_of(w->why.text));
    pg_arg_uuid(&args, &s->options->run_id);
    if (pg_run(s->pg, SQL_AGGREGATE_FAIL, &args, WAIT_MS, &rows, err))
        return err->code;
    next_us = pg_time(rows, 0, 0);
    pg_rows_free(rows);
    if (note(w, w->result->outcome == DAY_DEAD ? "dead" : "failed", next_us, err))
        return err->code;
    return w->result->outcome == DAY_DEAD ? raise_alert(w, &dead, w->why.text, err) : OK;
}

/* One open alert a day and kind. */
static enum status raise_alert(struct work *w, const struct alert *alert, const char *message,
                               struct err *err)
{
    struct session *s = w->session;
    struct id id = id_make(session_now_us(s));
    struct pg_args args;

    pg_args_init(&args, s->arena);
    pg_arg_uuid(&args, &id);
    pg_arg_text(&args, SPAN("settle-reconciler"));
    pg_arg_text(&args, span_of(alert->type));
    pg_arg_text(&args, span_of(alert->category));
    pg_arg_text(&args, SPAN("HIGH"));
    pg_arg_text(&args, span_of(arena_print(s->arena, "%s:%s", alert->type, w->date)));
    pg_arg_text(&args, SPAN("day"));
    pg_arg_text(&args, span_of(w->date));
    pg_arg_text(&args, SPAN_NONE);
    pg_arg_text(&args, span_of(arena_print(s->arena, "%s: %s", w->date, alert->title)));
    pg_arg_text(&args, span_of(message));
    pg_arg_json(&args, SPAN_NONE);
    return pg_run(s->pg, SQL_ALERT_RAISE, &args, WAIT_MS, NULL, err);
}

/* The day's row in job_runs. */
static enum status note(struct work *w, const char *status, int64_t next_us, struct err *err)
{
    struct session *s = w->session;
    struct id id = id_make(session_now_us(s));
    bool made = strcmp(status, "success") == 0, failed = w->why.code != OK && w->lock.epoch != 0;
    struct pg_args args;

    pg_args_init(&args, s->arena);
    pg_arg_uuid(&args, &id);
    pg_arg_text(&args, SPAN("aggregate_day"));
    pg_arg_text(&args, span_of(w->date));
    pg_arg_uuid(&args, &s->options->run_id);
    pg_arg_text(&args, span_of(s->options->actor));
    pg_arg_text(&args, span_of(s->options->trigger));
    pg_arg_text(&args, span_of(status));
    pg_arg_int(&args, w->attempt);
    pg_arg_text(&args, span_of(s->holder));
    pg_arg_int(&args, w->lock.epoch);
    pg_arg_text(&args, span_of(day_outcome_name(w->result->outcome)));
    pg_arg_int(&args, w->result->nread);
    pg_arg_text(&args, made ? w->hash : SPAN_NONE);
    pg_arg_text(&args, failed ? span_of(w->why.sqlstate) : SPAN_NONE);
    pg_arg_text(&args, failed ? span_of(w->why.text) : SPAN_NONE);
    pg_arg_time(&args, next_us);
    pg_arg_time(&args, w->began_us);
    return pg_run(s->pg, SQL_AGGREGATE_NOTE, &args, WAIT_MS, NULL, err);
}

/* The fence's answer is read before anything is written. */
static enum status fenced(struct work *w, transaction *inner, struct err *err)
{
    struct session *s = w->session;

    if (keep_locks(w, err) || pg_command(s->pg, "begin", WAIT_MS, err))
        return err->code;
    if (lock_check(&w->lock, err) || inner(w, err)) {
        roll_back(s);
        return err->code;
    }
    return pg_command(s->pg, "commit", WAIT_MS, err);
}

static enum status keep_locks(struct work *w, struct err *err)
{
    struct session *s = w->session;

    if (s->lock.epoch && lock_renew(&s->lock, err))
        return err->code;
    return w->lock.epoch ? lock_renew(&w->lock, err) : OK;
}

/* Before a count: with a lease that is some seconds old already, it could take longer than that is trusted. */
static enum status renew_locks(struct work *w, struct err *err)
{
    struct session *s = w->session;

    if (s->lock.epoch && lock_renew_now(&s->lock, err))
        return err->code;
    return w->lock.epoch ? lock_renew_now(&w->lock, err) : OK;
}

static void roll_back(struct session *s)
{
    struct err ignored;

    if (pg_command(s->pg, "rollback", WAIT_MS,
                   &ignored)) /* the connection is gone, and the transaction with it */
        return;
}
