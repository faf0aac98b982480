#include "schedule.h"

#include "batch.h"

#include "base/doc.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>

#define DAYS_AGAIN "10 minutes" /* after a run that left days undone, at the soonest */

/* One row a job. */
static const struct job_kind kinds[] = {
    {"publications", offsetof(struct config, schedules.publications), LOAD_PUBLICATIONS, false},
    {"maintain",     offsetof(struct config, schedules.maintain),     LOAD_NONE,         false},
    {"aggregates",   offsetof(struct config, schedules.aggregates),   LOAD_DAYS,         true },
    {"insights",     offsetof(struct config, schedules.insights),     LOAD_TASKS,        false},
    {"stats",        offsetof(struct config, schedules.stats),        LOAD_NONE,         false},
    {"alerts",       offsetof(struct config, schedules.alerts),       LOAD_NONE,         false},
};
_Static_assert(countof(kinds) <= JOBS_MAX, "struct schedule holds them all");

static const char *const pace_words[] = {
    [PACE_SCHEDULE] = "schedule", [PACE_BUSY] = "busy", [PACE_IDLE] = "idle"};
static const char *const status_words[] = {
    [RUN_SUCCESS] = "success", [RUN_FAILED] = "failed", [RUN_SKIPPED] = "skipped"};

/* What one transaction under the fence writes. */
struct write {
    struct session *session;
    const struct schedule_row *row;
    int64_t next_due_us;
    int64_t now_us; /* of the database: of the plan, of who begins to lead */
    const struct id *run_id;
    const char *word; /* trigger, or type of event */
    const struct schedule_ending *ending;
    enum pace pace;
    uint64_t written;
};

static enum status plan_all(void *ctx, size_t rows, struct err *err);
static enum status read_now(struct session *s, int64_t *ret, struct err *err);
static enum status start_all(void *ctx, size_t rows, struct err *err);
static const struct job_kind *kind_of(struct span name);
static void read_row(const struct pg_rows *rows, size_t i, struct schedule_row *ret);
static enum run_state state_of(const struct pg_rows *rows, size_t i);
static void copy_text(struct span text, char *ret, size_t size);
static enum status write_take(void *ctx, size_t rows, struct err *err);
static enum status write_skip(void *ctx, size_t rows, struct err *err);
static enum status write_wake(void *ctx, size_t rows, struct err *err);
static void put_move(const struct write *w, struct pg_args *args);
static enum status write_end(void *ctx, size_t rows, struct err *err);
static enum status end_killed(struct write *w, struct err *err);
static enum status choose_pace(struct write *w, struct err *err);
static enum status pace_of_publications(struct write *w, struct err *err);
static enum status pace_of_tasks(struct write *w, struct err *err);
static enum status time_of_days(struct write *w, struct err *err);
static void put_interval(const struct write *w, enum pace pace, struct pg_args *args);
static int64_t interval_us(const struct cron_text *cron, int64_t due_us);
static int64_t idle_us_of(const struct config *c, const struct job_kind *kind);
static enum pace pace_by_load(const struct config *c, const struct pg_rows *load);
static enum status write_note(void *ctx, size_t rows, struct err *err);
static enum status under_fence(struct write *w, batch_work *work, struct err *err);
static const struct cron_text *cron_of(const struct session *s, const struct job_kind *kind);
static int64_t next_of(const struct cron_text *cron, int64_t after_us);

enum status schedule_plan(struct session *s, int64_t *ret_now_us, struct err *err)
{
    struct write w = {.session = s};

    if (under_fence(&w, plan_all, err))
        return err->code;
    if (ret_now_us)
        *ret_now_us = w.now_us;
    return OK;
}

static enum status plan_all(void *ctx, size_t rows, struct err *err)
{
    struct write *w = ctx;
    struct session *s = w->session;

    (void)rows;
    if (read_now(s, &w->now_us, err))
        return err->code;
    for (size_t i = 0; i < countof(kinds); i++) {
        const struct cron_text *cron = cron_of(s, &kinds[i]);
        struct pg_args args;

        pg_args_init(&args, s->arena);
        pg_arg_text(&args, span_of(kinds[i].name));
        pg_arg_text(&args, span_of(cron->text));
        pg_arg_time(&args, next_of(cron, w->now_us));
        if (pg_run(s->pg, SQL_SCHEDULE_PLAN, &args, WAIT_MS, NULL, err))
            return err_in(err, "planning job %s", kinds[i].name);
    }
    return OK;
}

static enum status read_now(struct session *s, int64_t *ret, struct err *err)
{
    struct pg_rows *rows;
    struct pg_args args;

    pg_args_init(&args, s->arena);
    pg_arg_text(&args, span_of(s->job));
    if (pg_run(s->pg, SQL_CLOCK_READ, &args, WAIT_MS, &rows, err))
        return err->code;
    *ret = pg_time(rows, 0, 0);
    pg_rows_free(rows);
    return OK;
}

enum status schedule_start(struct session *s, int64_t since_us, struct err *err)
{
    struct write w = {.session = s, .now_us = since_us};

    return under_fence(&w, start_all, err);
}

static enum status start_all(void *ctx, size_t rows, struct err *err)
{
    const struct write *w = ctx;
    struct session *s = w->session;

    (void)rows;
    for (size_t i = 0; i < countof(kinds); i++) {
        struct pg_args args;

        pg_args_init(&args, s->arena);
        pg_arg_text(&args, span_of(kinds[i].name));
        pg_arg_time(&args, w->now_us);
        if (kinds[i].at_start && pg_run(s->pg, SQL_SCHEDULE_START, &args, WAIT_MS, NULL, err))
            return err_in(err, "starting job %s", kinds[i].name);
    }
    return OK;
}

enum status schedule_read(struct session *s, struct schedule *ret, struct err *err)
{
    struct pg_rows *rows;

    *ret = (struct schedule){.n = 0};
    if (pg_run(s->pg, SQL_SCHEDULE_READ, NULL, WAIT_MS, &rows, err))
        return err_in(err, "reading the schedule");
    for (size_t i = 0; i < pg_nrows(rows) && ret->n < JOBS_MAX; i++) {
        struct schedule_row *row = &ret->rows[ret->n];

        row->kind = kind_of(pg_bytes(rows, i, 0));
        ret->now_us = pg_time(rows, i, 9);
        if (!row->kind) /* of another version */
            continue;
        row->now_us = ret->now_us;
        read_row(rows, i, row);
        ret->n++;
    }
    pg_rows_free(rows);
    return OK;
}

static const struct job_kind *kind_of(struct span name)
{
    for (size_t i = 0; i < countof(kinds); i++)
        if (span_eq(name, span_of(kinds[i].name)))
            return &kinds[i];
    return NULL;
}

static void read_row(const struct pg_rows *rows, size_t i, struct schedule_row *ret)
{
    struct span pace = pg_bytes(rows, i, 8);

    ret->next_due_us = pg_time(rows, i, 2);
    ret->is_wanted = pg_int(rows, i, 10) != 0;
    ret->run_id = pg_uuid(rows, i, 3);
    ret->state = state_of(rows, i);
    copy_text(pg_bytes(rows, i, 5), ret->holder, sizeof(ret->holder));
    copy_text(pg_bytes(rows, i, 7), ret->error, sizeof(ret->error));
    for (size_t p = 0; p < countof(pace_words); p++)
        if (span_eq(pace, span_of(pace_words[p])))
            ret->pace = (enum pace)p;
}

static enum run_state state_of(const struct pg_rows *rows, size_t i)
{
    struct span status = pg_bytes(rows, i, 4);

    if (pg_is_null(rows, i, 3))
        return RUN_NONE;
    if (!status.at)
        return RUN_LOST;
    if (span_eq(status, SPAN("running")))
        return pg_int(rows, i, 6) ? RUN_ALIVE : RUN_DEAD;
    if (span_eq(status, SPAN("success")))
        return RUN_SUCCESS;
    return span_eq(status, SPAN("skipped")) ? RUN_SKIPPED : RUN_FAILED;
}

static void copy_text(struct span text, char *ret, size_t size)
{
    size_t len = text.len < size - 1 ? text.len : size - 1;

    if (len > 0)
        memcpy(ret, text.at, len);
    ret[len] = '\0';
}

enum status schedule_take(struct session *s, const struct schedule_row *row, const struct id *run_id,
                          const char *trigger, bool *ret_taken, struct err *err)
{
    struct write w = {.session = s, .row = row, .run_id = run_id, .word = trigger};

    *ret_taken = under_fence(&w, write_take, err) == OK && w.written == 1;
    return err->code;
}

static enum status write_take(void *ctx, size_t rows, struct err *err)
{
    struct write *w = ctx;
    struct session *s = w->session;
    struct pg_rows *taken;
    struct pg_args args;

    (void)rows;
    pg_args_init(&args, s->arena);
    pg_arg_text(&args, span_of(w->row->kind->name));
    pg_arg_time(&args, w->row->next_due_us);
    pg_arg_time(&args, next_of(cron_of(s, w->row->kind), w->row->now_us));
    pg_arg_uuid(&args, w->run_id);
    pg_arg_text(&args, span_of(w->word));
    if (pg_run(s->pg, SQL_SCHEDULE_TAKE, &args, WAIT_MS, &taken, err))
        return err_in(err, "taking a due time of job %s", w->row->kind->name);
    w->written = pg_affected(taken);
    pg_rows_free(taken);
    return OK;
}

enum status schedule_skip(struct session *s, const struct schedule_row *row, struct err *err)
{
    struct write w = {.session = s, .row = row};

    return under_fence(&w, write_skip, err);
}

static enum status write_skip(void *ctx, size_t rows, struct err *err)
{
    struct write *w = ctx;
    struct pg_args args;

    (void)rows;
    put_move(w, &args);
    if (pg_run(w->session->pg, SQL_SCHEDULE_SKIP, &args, WAIT_MS, NULL, err))
        return err_in(err, "skipping a due time of job %s", w->row->kind->name);
    return OK;
}

bool schedule_is_too_late(const struct session *s, const struct schedule_row *row)
{
    int64_t idle_us = row->pace == PACE_IDLE ? idle_us_of(s->config, row->kind) : 0;
    int64_t most_us = next_of(cron_of(s, row->kind), row->now_us + idle_us);

    return most_us != TIME_NONE && row->next_due_us > most_us;
}

enum status schedule_wake(struct session *s, const struct schedule_row *row, struct err *err)
{
    struct write w = {.session = s, .row = row};

    return under_fence(&w, write_wake, err);
}

static enum status write_wake(void *ctx, size_t rows, struct err *err)
{
    struct write *w = ctx;
    struct pg_args args;

    (void)rows;
    put_move(w, &args);
    put_interval(w, w->row->pace, &args);
    put_interval(w, PACE_SCHEDULE, &args);
    if (pg_run(w->session->pg, SQL_SCHEDULE_WAKE, &args, WAIT_MS, NULL, err))
        return err_in(err, "waking job %s", w->row->kind->name);
    return OK;
}

/* To the next one by its schedule. */
static void put_move(const struct write *w, struct pg_args *args)
{
    struct session *s = w->session;

    pg_args_init(args, s->arena);
    pg_arg_text(args, span_of(w->row->kind->name));
    pg_arg_time(args, w->row->next_due_us);
    pg_arg_time(args, next_of(cron_of(s, w->row->kind), w->row->now_us));
}

enum status schedule_end(struct session *s, const struct schedule_row *row,
                         const struct schedule_ending *ending, struct err *err)
{
    struct write w = {.session = s, .row = row, .ending = ending, .next_due_us = TIME_NONE};

    return under_fence(&w, write_end, err);
}

static enum status write_end(void *ctx, size_t rows, struct err *err)
{
    struct write *w = ctx;
    struct session *s = w->session;
    const struct schedule_ending *e = w->ending;
    struct pg_args args;

    (void)rows;
    w->pace = PACE_SCHEDULE;
    w->next_due_us = TIME_NONE;
    if (end_killed(w, err) || choose_pace(w, err))
        return err->code;
    pg_args_init(&args, s->arena);
    pg_arg_text(&args, span_of(w->row->kind->name));
    pg_arg_uuid(&args, &w->row->run_id);
    pg_arg_text(&args, span_of(status_words[e->state]));
    if (e->exit_code >= 0)
        pg_arg_int(&args, e->exit_code);
    else
        pg_arg_bytes(&args, SPAN_NONE);
    pg_arg_text(&args, span_of(e->error));
    pg_arg_text(&args, span_of(pace_words[w->pace]));
    pg_arg_time(&args, w->next_due_us);
    put_interval(w, w->row->pace, &args);
    put_interval(w, w->pace, &args);
    if (pg_run(s->pg, SQL_SCHEDULE_END, &args, WAIT_MS, NULL, err))
        return err_in(err, "ending a run of job %s", w->row->kind->name);
    return OK;
}

static enum status end_killed(struct write *w, struct err *err)
{
    struct pg_args args;

    if (!w->ending->was_killed)
        return OK;
    pg_args_init(&args, w->session->arena);
    pg_arg_uuid(&args, &w->row->run_id);
    pg_arg_text(&args, span_of(w->ending->error));
    return pg_run(w->session->pg, SQL_RUN_KILL, &args, WAIT_MS, NULL, err);
}

/* A pace after a run that went to its end: of others, such as one that the guard has stopped, more would come of the same. */
static enum status choose_pace(struct write *w, struct err *err)
{
    bool done = w->ending->state == RUN_SUCCESS;

    if (w->row->next_due_us == TIME_NONE)
        return OK;
    switch (w->row->kind->follows) {
    case LOAD_PUBLICATIONS:
        return done ? pace_of_publications(w, err) : OK;
    case LOAD_TASKS:
        return done ? pace_of_tasks(w, err) : OK;
    case LOAD_DAYS:
        return time_of_days(w, err);
    case LOAD_NONE:
        break;
    }
    return OK;
}

static enum status pace_of_publications(struct write *w, struct err *err)
{
    struct session *s = w->session;
    const struct config *c = s->config;
    const struct cron_text *cron = cron_of(s, w->row->kind);
    struct pg_rows *load;
    struct pg_args args;
    int64_t now_us = 0, due_us = w->row->next_due_us;
    enum pace pace;

    pg_args_init(&args, s->arena);
    pg_arg_uuid(&args, &w->row->run_id);
    pg_arg_int(&args, c->reconcile.since_minutes);
    pg_arg_int(&args, c->serve.busy_rows);
    if (read_now(s, &now_us, err) || pg_run(s->pg, SQL_SCHEDULE_LOAD, &args, WAIT_MS, &load, err))
        return err_in(err, "measuring how many publications wait");
    pace = pace_by_load(c, load);
    pg_rows_free(load);
    if (pace == PACE_BUSY && now_us + c->serve.busy_seconds * SECOND_US < due_us)
        due_us = now_us + c->serve.busy_seconds * SECOND_US;
    else if (pace == PACE_IDLE && now_us + c->serve.idle_seconds * SECOND_US > due_us)
        due_us = next_of(cron, now_us + c->serve.idle_seconds * SECOND_US);
    if (due_us == w->row->next_due_us)
        return OK;
    w->pace = pace;
    w->next_due_us = due_us;
    return OK;
}

/* Counted from the due time that the run had, so that idle rounds keep to the schedule's minutes. */
static enum status pace_of_tasks(struct write *w, struct err *err)
{
    struct session *s = w->session;
    const struct cron_text *cron = cron_of(s, w->row->kind);
    int64_t idle_us = idle_us_of(s->config, w->row->kind), due_us = w->row->next_due_us;
    int64_t scheduled_us = interval_us(cron, due_us);
    struct pg_rows *rows;
    bool any;

    if (pg_run(s->pg, SQL_INSIGHTS_ANY, NULL, WAIT_MS, &rows, err))
        return err_in(err, "looking for insights tasks");
    any = pg_int(rows, 0, 0) != 0;
    pg_rows_free(rows);
    if (any || idle_us <= scheduled_us || scheduled_us == 0)
        return OK;
    w->pace = PACE_IDLE;
    w->next_due_us = next_of(cron, due_us - scheduled_us + idle_us - 1);
    return OK;
}

/* Once a day would be a day late for what a kill, a store that was away or another's lock has left undone. */
static enum status time_of_days(struct write *w, struct err *err)
{
    struct session *s = w->session;
    struct pg_rows *rows;
    struct pg_args args;
    int64_t again_us;

    pg_args_init(&args, s->arena);
    pg_arg_uuid(&args, &w->row->run_id);
    pg_arg_bool(&args, w->ending->state == RUN_SUCCESS);
    pg_arg_text(&args, SPAN(DAYS_AGAIN));
    if (pg_run(s->pg, SQL_SCHEDULE_DAYS, &args, WAIT_MS, &rows, err))
        return err_in(err, "looking for days that are to be tried again");
    again_us = pg_time(rows, 0, 0);
    pg_rows_free(rows);
    if (again_us != TIME_NONE && again_us < w->row->next_due_us)
        w->next_due_us = again_us;
    return OK;
}

/* Minutes between two rounds, where they are those of the settings; else null, and the event tells of due times. */
static void put_interval(const struct write *w, enum pace pace, struct pg_args *args)
{
    struct session *s = w->session;
    int64_t us = pace == PACE_IDLE ? idle_us_of(s->config, w->row->kind)
                                   : interval_us(cron_of(s, w->row->kind), w->row->next_due_us);
    bool told = w->row->kind->follows == LOAD_TASKS && us > 0;

    pg_arg_text(args,
                told ? span_of(arena_print(s->arena, "%.2f", (double)us / (double)MINUTE_US)) : SPAN_NONE);
}

/* Behind that due time; 0: there is none. */
static int64_t interval_us(const struct cron_text *cron, int64_t due_us)
{
    int64_t next_us = due_us == TIME_NONE ? TIME_NONE : next_of(cron, due_us);

    return next_us == TIME_NONE ? 0 : next_us - due_us;
}

static int64_t idle_us_of(const struct config *c, const struct job_kind *kind)
{
    return kind->follows == LOAD_TASKS ? c->insights.idle_minutes * MINUTE_US
                                       : c->serve.idle_seconds * SECOND_US;
}

static enum pace pace_by_load(const struct config *c, const struct pg_rows *load)
{
    int64_t poll_ms = c->reconcile.poll_seconds * INT64_C(1000);
    bool cut_short = pg_int(load, 0, 3) > 0 && pg_int(load, 0, 2) >= poll_ms;
    bool many = pg_int(load, 0, 0) >= c->serve.busy_rows;

    if (c->serve.busy_seconds > 0 && (many || cut_short))
        return PACE_BUSY;
    return c->serve.idle_seconds > 0 && !pg_int(load, 0, 1) ? PACE_IDLE : PACE_SCHEDULE;
}

enum status schedule_note(struct session *s, const char *type, struct err *err)
{
    struct write w = {.session = s, .word = type};

    return under_fence(&w, write_note, err);
}

static enum status write_note(void *ctx, size_t rows, struct err *err)
{
    struct write *w = ctx;
    struct session *s = w->session;
    struct span holder = doc_quote(span_of(s->holder), s->arena);
    struct pg_args args;

    (void)rows;
    pg_args_init(&args, s->arena);
    pg_arg_text(&args, span_of(w->word));
    pg_arg_json(&args, span_of(arena_print(s->arena, "{\"holder\":%.*s,\"epoch\":%" PRId64 "}",
                                           SPAN_ARG(holder), s->lock.epoch)));
    return pg_run(s->pg, SQL_EVENT_ADD, &args, WAIT_MS, NULL, err);
}

/* One statement or two on one row: what is refused stays refused. */
static enum status under_fence(struct write *w, batch_work *work, struct err *err)
{
    bool refused;

    *err = (struct err){.code = OK};
    w->session->batch_rows = 1;
    if (batch_do(w->session, work, w, &refused, err))
        return err->code;
    if (!refused)
        *err = (struct err){.code = OK};
    return err->code;
}

static const struct cron_text *cron_of(const struct session *s, const struct job_kind *kind)
{
    return (const struct cron_text *)((const char *)s->config + kind->at);
}

static int64_t next_of(const struct cron_text *cron, int64_t after_us)
{
    return cron->text[0] ? cron_next(&cron->cron, after_us) : TIME_NONE;
}
