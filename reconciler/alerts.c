/* alerts: what is told by the state of things, and not by a run that sees it happen. Each rule finds the subjects for
 * which it holds; an alert opens for each, is counted while it holds, and is resolved when it does not any more. */
#include "command.h"
#include "round.h"

#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    SHOWN_MAX = 1000, /* of a dry run: subjects that the report names */
    SUBJECT_BYTES = 256,
};

/* One row a rule: find tells in the order of their names for which subjects it holds (sql/queries/rule_*.sql). */
static const struct rule {
    const char *type; /* of its alerts; a word of settle_alerts_open */
    enum sql find;
    const char *subject; /* what it is about; of a user only that tenant sees it, and operators */
    const char *category, *severity, *title;
} rules[] = {
    {"insights_reconcile_failed",   SQL_RULE_RECONCILE_FAILED,   "user",            "SYSTEM_HEALTH", "MEDIUM",
     "Insights tasks could not all be made"               },
    {"insights_reconcile_repeated", SQL_RULE_RECONCILE_REPEATED, "user",            "SYSTEM_HEALTH", "MEDIUM",
     "Insights tasks are repaired again and again"        },
    {"insights_coverage",           SQL_RULE_INSIGHTS_COVERAGE,  "user",            "SYSTEM_HEALTH", "MEDIUM",
     "Connected insights platforms have no active task"   },
    {"scheduler_stats_drift",       SQL_RULE_STATS_DRIFT,        "scheduler_stats", "DATA_QUALITY",  "MEDIUM",
     "The scheduler's totals do not agree with its events"},
};

enum count { OPENED, AGAIN, QUIET, RESOLVED, COUNTS };
static const char *const count_names[COUNTS] = {"opened", "again", "quiet", "resolved"};

/* The walk of one rule through its subjects, and what the batch at work has found. */
struct walk {
    struct round *round;
    const struct rule *rule;
    size_t after_len;
    char after[SUBJECT_BYTES]; /* the subject that the next batch begins behind */
    int64_t holds, counts[COUNTS];
    struct hits {
        struct pg_rows *rows; /* which the spans borrow */
        struct span *subjects, *messages, *payloads;
        size_t n;
        bool is_last;
        int64_t counts[COUNTS];
    } hits;
};

static int run(int argc, char **argv);
static enum status work(struct round *r, struct err *err);
static enum status judge(struct walk *w, struct err *err);
static enum status judge_batch(void *ctx, size_t rows, struct err *err);
static enum status find(struct walk *w, size_t rows, struct err *err);
static enum status write_down(struct walk *w, struct err *err);
static void go_on(struct walk *w);
static void show(const struct walk *w);
static json_t *rule_json(const struct walk *w, const struct err *err);
static void print(const struct round *r);

static const struct round_kind kind = {
    .job = "alerts",
    .doc = "Looks whether the rules hold by which tenants and operators are alerted: a repair of insights "
           "tasks that failed, or is done three times within an hour; insights platforms that are connected "
           "and have had no active task for 30 minutes; totals of the scheduler that have been off its "
           "events for 10 minutes. An alert opens once for each tenant that a rule holds for, and is "
           "resolved when it does not any more. Run it every five minutes, beside `stats`, safe to repeat "
           "and to kill; only one runs at a time.\vExit codes: 0 done, or it runs elsewhere, 69 Postgres is "
           "down, 70 a rule could not be judged (the others were), 75 told to end, or overtaken, 78 "
           "settings.",
    .work = work,
    .print = print,
};

const struct command alerts_command = {"alerts", "open and resolve the alerts that rules tell", run};

static int run(int argc, char **argv)
{
    return round_run(&kind, argc, argv);
}

/* A rule that fails does not hold up the others; the run has failed then. */
static enum status work(struct round *r, struct err *err)
{
    json_t *told = json_array();

    json_object_set_new(r->report, "rules", told);
    if (r->options->dry_run)
        json_object_set_new(r->report, "holds", json_array());
    for (size_t i = 0; i < countof(rules) && !session_stopping(); i++) {
        struct walk w = {.round = r, .rule = &rules[i]};
        struct err failure = {0};
        enum status status = judge(&w, &failure);

        json_array_append_new(told, rule_json(&w, &failure));
        r->nread += w.holds;
        if (status == OK)
            continue;
        if (!err->code)
            *err = failure;
        if (!round_goes_on(&failure)) {
            *err = failure;
            return failure.code;
        }
        log_warn("rule_failed", LOG_TEXT("rule", rules[i].type), LOG_ERR(&failure));
    }
    return err->code;
}

static enum status judge(struct walk *w, struct err *err)
{
    bool is_last = false;

    w->round->session.suspect_rows = 0; /* of another rule */
    while (!is_last && !session_stopping()) {
        enum status status = round_batch(w->round, judge_batch, w, err);

        if (status == OK)
            go_on(w);
        is_last = w->hits.is_last;
        pg_rows_free(w->hits.rows);
        w->hits.rows = NULL;
        if (status)
            return err_in(err, "rule %s", w->rule->type);
    }
    return OK;
}

static enum status judge_batch(void *ctx, size_t rows, struct err *err)
{
    struct walk *w = ctx;

    pg_rows_free(w->hits.rows);
    w->hits = (struct hits){.rows = NULL};
    return find(w, rows, err) || write_down(w, err) ? err->code : OK;
}

static enum status find(struct walk *w, size_t rows, struct err *err)
{
    struct session *s = &w->round->session;
    struct hits *h = &w->hits;
    struct pg_args args;
    size_t nrows;

    pg_args_init(&args, s->arena);
    pg_arg_text(&args, (struct span){w->after, w->after_len});
    pg_arg_int(&args, (int64_t)rows);
    if (pg_run(s->pg, w->rule->find, &args, WAIT_MS, &h->rows, err))
        return err->code;
    nrows = pg_nrows(h->rows);
    h->is_last = nrows < rows;
    h->subjects = arena_alloc(s->arena, (nrows + 1) * sizeof(*h->subjects));
    h->messages = arena_alloc(s->arena, (nrows + 1) * sizeof(*h->messages));
    h->payloads = arena_alloc(s->arena, (nrows + 1) * sizeof(*h->payloads));
    for (size_t i = 0; i < nrows; i++) {
        if (pg_is_null(h->rows, i, 1))
            continue;
        h->subjects[h->n] = pg_bytes(h->rows, i, 0);
        h->messages[h->n] = pg_bytes(h->rows, i, 1);
        h->payloads[h->n++] = pg_bytes(h->rows, i, 2);
    }
    return OK;
}

static enum status write_down(struct walk *w, struct err *err)
{
    struct session *s = &w->round->session;
    struct hits *h = &w->hits;
    bool dry_run = s->options->dry_run;
    struct pg_rows *counts;
    struct pg_args args;

    pg_args_init(&args, s->arena);
    pg_arg_text(&args, span_of(w->rule->type));
    pg_arg_text(&args, (struct span){w->after, w->after_len});
    pg_arg_text(&args, h->is_last ? SPAN_NONE : pg_bytes(h->rows, pg_nrows(h->rows) - 1, 0));
    pg_arg_texts(&args, h->subjects, h->n);
    if (!dry_run) {
        pg_arg_texts(&args, h->messages, h->n);
        pg_arg_jsons(&args, h->payloads, h->n);
        pg_arg_text(&args, span_of(w->rule->category));
        pg_arg_text(&args, span_of(w->rule->severity));
        pg_arg_text(&args, span_of(w->rule->title));
        pg_arg_text(&args, span_of(w->rule->subject));
        pg_arg_uuid(&args, &s->options->run_id);
        pg_arg_text(&args, span_of(s->options->actor));
    }
    if (pg_run(s->pg, dry_run ? SQL_ALERT_FORESEE : SQL_ALERT_JUDGE, &args, WAIT_MS, &counts, err))
        return err->code;
    for (size_t i = 0; i < COUNTS; i++)
        h->counts[i] = pg_int(counts, 0, i);
    pg_rows_free(counts);
    return OK;
}

/* Once its batch is committed. */
static void go_on(struct walk *w)
{
    const struct hits *h = &w->hits;

    w->holds += (int64_t)h->n;
    for (size_t i = 0; i < COUNTS; i++)
        w->counts[i] += h->counts[i];
    if (w->round->options->dry_run)
        show(w);
    if (!h->is_last) {
        struct span last = pg_bytes(h->rows, pg_nrows(h->rows) - 1, 0);

        w->after_len = last.len < sizeof(w->after) ? last.len : sizeof(w->after);
        memcpy(w->after, last.at, w->after_len);
    }
}

static void show(const struct walk *w)
{
    const struct hits *h = &w->hits;
    json_t *holds = json_object_get(w->round->report, "holds");

    for (size_t i = 0; i < h->n && json_array_size(holds) < SHOWN_MAX; i++)
        json_array_append_new(holds, json_pack("{ss ss% ss%}", "rule", w->rule->type, "subject",
                                               h->subjects[i].at, h->subjects[i].len, "message",
                                               h->messages[i].at, h->messages[i].len));
}

static json_t *rule_json(const struct walk *w, const struct err *err)
{
    json_t *told = json_pack("{ss sI}", "rule", w->rule->type, "holds", (json_int_t)w->holds);

    for (size_t i = 0; i < COUNTS; i++)
        json_object_set_new(told, count_names[i], json_integer(w->counts[i]));
    if (err->code)
        json_object_set_new(told, "error", json_string(err->text));
    return told;
}

static void print(const struct round *r)
{
    json_t *one;
    size_t i;

    if (r->options->dry_run)
        puts("dry run: nothing was changed; this would be");
    json_array_foreach(json_object_get(r->report, "rules"), i, one) {
        const char *error = json_string_value(json_object_get(one, "error"));

        printf("%s: holds for %" JSON_INTEGER_FORMAT, json_string_value(json_object_get(one, "rule")),
               json_integer_value(json_object_get(one, "holds")));
        for (size_t c = 0; c < COUNTS; c++)
            printf(", %" JSON_INTEGER_FORMAT " %s", json_integer_value(json_object_get(one, count_names[c])),
                   count_names[c]);
        printf("%s%s\n", error ? "; failed: " : "", error ? error : "");
    }
    json_array_foreach(json_object_get(r->report, "holds"), i, one)
        printf("  %s %s: %s\n", json_string_value(json_object_get(one, "rule")),
               json_string_value(json_object_get(one, "subject")),
               json_string_value(json_object_get(one, "message")));
}
