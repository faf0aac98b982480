/* insights: one round over the tenants' insights tasks, and a way to set one going again. */
#include "batch.h"
#include "command.h"
#include "ending.h"
#include "json.h"
#include "tasks.h"

#include "base/log.h"
#include "base/number.h"

#include <inttypes.h>
#include <stdio.h>
#include <sysexits.h>

#include <jansson.h>

enum { DUE_SHOWN = 1000, INTERVAL_BYTES = 16 };

struct job {
    struct session_options common;
    struct session session;
    const char *verb;
    int64_t task_id; /* 0: none is named */
    struct tasks_done done;
    int64_t duration_ms;
    const char *outcome; /* done, failed, lock_held, fence_lost, interrupted, dry_run */
    json_t *due;         /* of a dry run */
};

static int run(int argc, char **argv);
static error_t parse_option(int key, char *value, struct argp_state *state);
static error_t check(const struct job *j, const struct argp_state *state);
static int64_t task_number(const char *text, const struct argp_state *state);
static enum status check_task(struct job *j, struct err *err);
static void run_round(struct job *j, struct err *err);
static void show_due(struct job *j, struct err *err);
static json_t *due_json(const struct pg_rows *rows, size_t at);
static void end_run(struct job *j, const struct err *err);
static enum status write_end(void *ctx, size_t rows, struct err *err);
static enum status write_run(struct job *j, struct err *err);
static enum status write_cycle(struct job *j, struct err *err);
static const char *interval_of(const struct job *j, char ret[INTERVAL_BYTES]);
static int64_t skipped(const struct tasks_done *d);
static int report(const struct job *j, const struct err *err);
static json_t *report_json(const struct job *j);
static json_t *could_not_json(const struct tasks_done *d);
static void report_text(const struct job *j);
static void trigger(struct job *j, struct err *err);

const struct command insights_command = {"insights",
                                         "do the tenants' insights tasks that are due, set one going", run};

enum { OPTION_TASK = 1 };

static const struct argp_option option_table[] = {
    {"task", OPTION_TASK, "ID", 0, "Of run: this one alone, due or not, unless it is paused", 1},
    {NULL,   0,           NULL, 0, NULL,                                                      0},
};
static const struct argp argp = {
    .options = option_table,
    .parser = parse_option,
    .children = session_children,
    .args_doc = "run\ntrigger ID",
    .doc =
        "run asks the platforms about each task that is due, at most insights.at_once at one time and for "
        "insights.batch_seconds: what is not begun by then waits for the next round. A task that fails is "
        "due again "
        "in a day, and after three failures in a row, or five in a week, waits for a person: trigger ID sets "
        "it going "
        "again. Safe to repeat and to kill; only one round runs at a time.\vExit codes: 0 done (also with "
        "tasks that "
        "failed), 65 there is no such task, 69 a store is down, 75 told to end, or overtaken, 78 settings.",
};

static int run(int argc, char **argv)
{
    struct job j = {.outcome = ""};
    struct err err = {0};
    int code;

    session_options_init(&j.common);
    argp_parse(&argp, argc, argv, 0, NULL, &j);
    if (session_open(&j.session, "insights", &j.common, NULL, 0, &err) ||
        tasks_check(j.session.config, &err)) {
        log_error("not_started", LOG_ERR(&err));
        session_close(&j.session);
        return exit_code(&err);
    }
    if (j.task_id && check_task(&j, &err)) {
        log_error("run_failed", LOG_ERR(&err));
        code = exit_code(&err);
    } else if (strcmp(j.verb, "trigger") == 0) {
        trigger(&j, &err);
        code = exit_code(&err);
    } else {
        run_round(&j, &err);
        code = report(&j, &err);
    }
    json_decref(j.due);
    session_close(&j.session);
    return code;
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct job *j = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &j->common;
        return 0;
    case OPTION_TASK:
        j->task_id = task_number(value, state);
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 1)
            return ARGP_ERR_UNKNOWN;
        if (state->arg_num == 0)
            j->verb = value;
        else
            j->task_id = task_number(value, state);
        return 0;
    case ARGP_KEY_END:
        return check(j, state);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Without a word it is run: so serve starts each job. */
static error_t check(const struct job *j, const struct argp_state *state)
{
    struct job *changed = state->input;
    bool triggers = j->verb && strcmp(j->verb, "trigger") == 0;

    if (!j->verb)
        changed->verb = "run";
    else if (!triggers && strcmp(j->verb, "run") != 0)
        argp_error(state, "want run or trigger ID, not \"%s\"", j->verb);
    if (triggers && j->task_id == 0)
        argp_error(state, "which task?");
    if (!triggers && state->arg_num > 1)
        argp_error(state, "run takes no more words; --task ID names one task");
    return 0;
}

static int64_t task_number(const char *text, const struct argp_state *state)
{
    uint64_t number = 0;

    if (!number_parse(span_of(text), 1, INT64_MAX, &number))
        argp_error(state, "\"%s\" is no task's number", text);
    return (int64_t)number;
}

/* REJECTED: the one that is named is not there. */
static enum status check_task(struct job *j, struct err *err)
{
    struct session *s = &j->session;
    struct pg_rows *rows;
    struct pg_args args;
    bool there;

    pg_args_init(&args, s->arena);
    pg_arg_int(&args, j->task_id);
    if (pg_run(s->pg, SQL_INSIGHTS_EXISTS, &args, WAIT_MS, &rows, err))
        return err->code;
    there = pg_int(rows, 0, 0) != 0;
    pg_rows_free(rows);
    return there ? OK : err_set(err, REJECTED, "there is no insights task %" PRId64, j->task_id);
}

/* ---- run ---- */

static void run_round(struct job *j, struct err *err)
{
    struct session *s = &j->session;
    const struct tasks_scope scope = {.task_id = j->task_id};

    if (j->common.dry_run) {
        show_due(j, err);
        j->outcome = err->code ? "failed" : "dry_run";
        return;
    }
    if (session_begin(s, j->task_id ? arena_print(s->arena, "{\"task_id\":%" PRId64 "}", j->task_id) : "{}",
                      err)) {
        j->outcome = ending_outcome(s, err);
        return;
    }
    (void)!tasks_do(s, &scope, &j->done, err);
    end_run(j, err);
}

static void show_due(struct job *j, struct err *err)
{
    struct session *s = &j->session;
    struct pg_rows *rows;
    struct pg_args args;

    pg_args_init(&args, s->arena);
    if (j->task_id)
        pg_arg_int(&args, j->task_id);
    else
        pg_arg_bytes(&args, SPAN_NONE); /* null has no type of its own */
    pg_arg_int(&args, DUE_SHOWN);
    if (tasks_count(s, &j->done, err) || pg_run(s->pg, SQL_INSIGHTS_DUE, &args, WAIT_MS, &rows, err))
        return;
    j->due = json_array();
    for (size_t i = 0; i < pg_nrows(rows); i++)
        json_array_append_new(j->due, due_json(rows, i));
    pg_rows_free(rows);
}

static json_t *due_json(const struct pg_rows *rows, size_t at)
{
    struct span user = pg_bytes(rows, at, 1), platform = pg_bytes(rows, at, 2),
                status = pg_bytes(rows, at, 3);
    json_t *task =
        json_pack("{sI ss% ss% ss%}", "id", (json_int_t)pg_int(rows, at, 0), "user_id", user.at, user.len,
                  "platform", platform.at, platform.len, "status", status.at, status.len);
    char time[TIME_TEXT_BYTES];

    if (!pg_is_null(rows, at, 4)) {
        time_text(pg_time(rows, at, 4), time, sizeof(time));
        json_object_set_new(task, "next_check", json_string(time));
    }
    return task;
}

/* The row of the run and the cycle's event are one transaction: who was overtaken writes neither. */
static void end_run(struct job *j, const struct err *err)
{
    struct session *s = &j->session;
    struct err end = {0};
    bool refused = false;

    j->outcome = ending_outcome(s, err);
    j->duration_ms = (session_now_us(s) - s->began_us) / 1000;
    s->batch_rows = 1;
    if (batch_do(s, write_end, j, &refused, &end) || refused)
        log_warn("end_not_written", LOG_ERR(&end));
}

static enum status write_end(void *ctx, size_t rows, struct err *err)
{
    struct job *j = ctx;

    (void)rows;
    if (write_run(j, err))
        return err->code;
    return j->task_id ? OK : write_cycle(j, err); /* one task is no round */
}

static enum status write_run(struct job *j, struct err *err)
{
    struct session *s = &j->session;
    bool done = strcmp(j->outcome, "done") == 0;
    const struct ending end = {
        .outcome = j->outcome,
        .success = done,
        .nread = j->done.succeeded + j->done.failed + j->done.held,
        .report = json_line(report_json(j), s->arena),
        .error_code = done                 ? NULL
                      : session_stopping() ? "signal"
                                           : "error",
    };

    return ending_write(s, &end, err);
}

static enum status write_cycle(struct job *j, struct err *err)
{
    struct session *s = &j->session;
    const struct tasks_done *d = &j->done;
    char run_id[ID_TEXT_BYTES], interval[INTERVAL_BYTES];
    struct pg_args args;

    id_text(&s->options->run_id, run_id);
    pg_args_init(&args, s->arena);
    pg_arg_text(&args, span_of(interval_of(j, interval)));
    pg_arg_int(&args, d->found);
    pg_arg_int(&args, d->succeeded);
    pg_arg_int(&args, d->failed);
    pg_arg_int(&args, skipped(d));
    pg_arg_json(&args, span_of(arena_print(s->arena, "{\"platform_insights\":%" PRId64 "}", d->found)));
    pg_arg_int(&args, j->duration_ms);
    pg_arg_int(&args, d->active);
    pg_arg_int(&args, 0);
    pg_arg_json(&args,
                span_of(arena_print(s->arena, "{\"run_id\":\"%s\",\"outcome\":\"%s\"}", run_id, j->outcome)));
    return pg_run(s->pg, SQL_CYCLE_ADD, &args, WAIT_MS, NULL, err);
}

/* Minutes between rounds by the settings; NULL: there is no schedule. */
static const char *interval_of(const struct job *j, char ret[INTERVAL_BYTES])
{
    const struct config *c = j->session.config;
    const struct cron *cron = &c->schedules.insights.cron;
    int64_t first_us, next_us;

    if (!c->schedules.insights.text[0])
        return NULL;
    first_us = cron_next(cron, j->session.began_us);
    next_us = first_us == TIME_NONE ? TIME_NONE : cron_next(cron, first_us);
    if (next_us == TIME_NONE)
        return NULL;
    if (j->done.active == 0 && c->insights.idle_minutes > 0)
        snprintf(ret, INTERVAL_BYTES, "%u", c->insights.idle_minutes);
    else
        snprintf(ret, INTERVAL_BYTES, "%.2f", (double)(next_us - first_us) / (double)MINUTE_US);
    return ret;
}

/* Those that wait for a person are passed over by each round. */
static int64_t skipped(const struct tasks_done *d)
{
    return d->stuck + d->held + d->paused;
}

static int report(const struct job *j, const struct err *err)
{
    if (err->code && strcmp(j->outcome, "lock_held") != 0)
        log_error("run_failed", LOG_ERR(err));
    if (j->common.json) {
        json_t *all = report_json(j);

        json_dumpf(all, stdout, JSON_COMPACT);
        puts("");
        json_decref(all);
    } else {
        report_text(j);
    }
    if (err->code)
        return exit_code(err);
    return session_stopping() ? EX_TEMPFAIL : EX_OK;
}

static json_t *report_json(const struct job *j)
{
    const struct tasks_done *d = &j->done;
    char run_id[ID_TEXT_BYTES];
    json_t *all;

    id_text(&j->common.run_id, run_id);
    all = json_pack("{ss ss sI sI sI sI sI sI sI sI sI sI sI so sb}", "outcome", j->outcome, "run_id", run_id,
                    "duration_ms", (json_int_t)j->duration_ms, "tasks_found", (json_int_t)d->found,
                    "tasks_executed", (json_int_t)d->succeeded, "tasks_failed", (json_int_t)d->failed,
                    "tasks_skipped", (json_int_t)skipped(d), "needs_intervention", (json_int_t)d->stuck,
                    "leased", (json_int_t)d->leased, "held", (json_int_t)d->held, "timed_out",
                    (json_int_t)d->timed_out, "cut_off", (json_int_t)d->cut_off, "lost", (json_int_t)d->lost,
                    "could_not", could_not_json(d), "ran_out", (int)d->ran_out);
    if (j->due)
        json_object_set(all, "due", j->due);
    return all;
}

static json_t *could_not_json(const struct tasks_done *d)
{
    json_t *reasons = json_object();

    for (int i = MISSING_NONE + 1; i < MISSING_REASONS; i++)
        if (d->could_not[i] > 0)
            json_object_set_new(reasons, missing_name((enum missing)i), json_integer(d->could_not[i]));
    if (d->config_errors > 0)
        json_object_set_new(reasons, "config_error", json_integer(d->config_errors));
    return reasons;
}

static void report_text(const struct job *j)
{
    const struct tasks_done *d = &j->done;

    if (strcmp(j->outcome, "lock_held") == 0) {
        puts("nothing was done: it runs elsewhere");
        return;
    }
    printf("insights tasks: %" PRId64 " due, %" PRId64 " done, %" PRId64 " failed, %" PRId64
           " not asked, %" PRId64 " at work elsewhere, %" PRId64 " wait for a person\n",
           d->found, d->succeeded, d->failed, d->held + d->paused, d->leased, d->stuck);
    for (size_t i = 0; i < json_array_size(j->due); i++) {
        json_t *task = json_array_get(j->due, i);

        printf("  %" JSON_INTEGER_FORMAT " %s %s\n", json_integer_value(json_object_get(task, "id")),
               json_string_value(json_object_get(task, "platform")),
               json_string_value(json_object_get(task, "user_id")));
    }
    if (d->ran_out)
        puts("its time was over before the work: the next round goes on");
}

/* ---- trigger ---- */

static void trigger(struct job *j, struct err *err)
{
    struct session *s = &j->session;
    struct pg_rows *rows;
    struct pg_args args;

    pg_args_init(&args, s->arena);
    pg_arg_text(&args, SPAN("platform_insights"));
    pg_arg_int(&args, j->task_id);
    pg_arg_text(&args, span_of(j->common.actor));
    if (j->common.dry_run) {
        printf("task %" PRId64 " would be active and due (dry run: nothing was changed)\n", j->task_id);
        return;
    }
    if (pg_run(s->pg, SQL_TASK_TRIGGER, &args, WAIT_MS, &rows, err)) {
        log_error("run_failed", LOG_ERR(err));
        return;
    }
    if (pg_nrows(rows) == 0) {
        (void)err_set(err, REJECTED, "there is no insights task %" PRId64 " any more", j->task_id);
        log_error("run_failed", LOG_ERR(err));
    } else if (j->common.json) {
        printf("%.*s\n", SPAN_ARG(pg_bytes(rows, 0, 1)));
    } else {
        printf("task %" PRId64 " is active and due\n", j->task_id);
    }
    pg_rows_free(rows);
}
