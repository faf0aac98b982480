/* stats: measures what alerts and metrics go by, and keeps since when it has been so: how far the scheduler's totals are
 * off its events, and which tenants have insights platforms connected without an active task. Mends nothing: totals are
 * mended by POST /api/scheduler/dashboard/cumulative-stats/reconcile, tasks are made by .../platform-insights/reconcile/U. */
#include "command.h"
#include "round.h"

#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    DRIFT_CYCLES_MAX = 1, /* what drift_note.sql calls drifted is more than this */
    TENANT_BYTES = 256,
};

/* The columns of drift_read.sql, and parameters of drift_note.sql. */
enum drift { DRIFT_CYCLES, DRIFT_TOTAL = 7, DRIFTS = DRIFT_TOTAL };
static const char *const drift_names[DRIFTS] = {"total_check_cycles",        "cumulative_tasks_found",
                                                "cumulative_tasks_executed", "cumulative_tasks_failed",
                                                "cumulative_tasks_skipped",  "cumulative_job_completed",
                                                "cumulative_job_failed"};

struct measure {
    struct round *round;
    int64_t drift[DRIFTS + 1];
    int64_t drifted_since_us; /* TIME_NONE: it has not, or it is not known */
};

/* The walk through the tenants, and what the batch at work has found. */
struct walk {
    struct round *round;
    size_t after_len;
    char after[TENANT_BYTES]; /* the tenant that the next batch begins behind */
    int64_t ntenants, ngaps;
    struct pg_rows *found; /* all the batch's tenants */
    size_t nfound, nlacking;
    bool is_last;
};

static int run(int argc, char **argv);
static enum status work(struct round *r, struct err *err);
static enum status measure_drift(struct round *r, struct err *err);
static enum status drift_batch(void *ctx, size_t rows, struct err *err);
static enum status note_drift(struct measure *m, struct err *err);
static json_t *drift_json(const struct measure *m);
static enum status find_gaps(struct round *r, struct err *err);
static enum status gap_batch(void *ctx, size_t rows, struct err *err);
static enum status note_gaps(struct walk *w, struct err *err);
static void go_on(struct walk *w);
static void print(const struct round *r);

static const struct round_kind kind = {
    .job = "stats",
    .doc = "Counts the scheduler's totals anew from its events, and which tenants have more insights "
           "platforms connected than active tasks; keeps both, and since when it has been so, for the "
           "metrics and for the rules of `alerts`. Changes neither totals nor tasks. Run it every five "
           "minutes, safe to repeat and to kill; only one runs at a time.\vExit codes: 0 done, or it runs "
           "elsewhere, 69 Postgres is down, 75 told to end, or overtaken, 78 settings.",
    .work = work,
    .print = print,
};

const struct command stats_command = {"stats", "measure what alerts and metrics go by", run};

static int run(int argc, char **argv)
{
    return round_run(&kind, argc, argv);
}

static enum status work(struct round *r, struct err *err)
{
    if (measure_drift(r, err) || session_stopping())
        return err->code;
    return find_gaps(r, err);
}

static enum status measure_drift(struct round *r, struct err *err)
{
    struct measure m = {.round = r, .drifted_since_us = TIME_NONE};
    int64_t cycles;

    if (round_batch(r, drift_batch, &m, err))
        return err_in(err, "measuring the scheduler's totals");
    cycles = m.drift[DRIFT_CYCLES];
    json_object_set_new(r->report, "drift", drift_json(&m));
    if (llabs(cycles) > DRIFT_CYCLES_MAX)
        log_warn("stats_drift", LOG_INT("cycles", cycles),
                 LOG_INT("total_check_cycles", m.drift[DRIFT_TOTAL]));
    return OK;
}

static enum status drift_batch(void *ctx, size_t rows, struct err *err)
{
    struct measure *m = ctx;
    struct session *s = &m->round->session;
    struct pg_rows *read;

    (void)rows;
    if (pg_run(s->pg, SQL_DRIFT_READ, NULL, WAIT_MS, &read, err))
        return err->code;
    for (size_t i = 0; i <= DRIFTS; i++)
        m->drift[i] = pg_int(read, 0, i);
    pg_rows_free(read);
    return s->options->dry_run ? OK : note_drift(m, err);
}

static enum status note_drift(struct measure *m, struct err *err)
{
    struct session *s = &m->round->session;
    struct pg_rows *noted;
    struct pg_args args;

    pg_args_init(&args, s->arena);
    for (size_t i = 0; i <= DRIFTS; i++)
        pg_arg_int(&args, m->drift[i]);
    if (pg_run(s->pg, SQL_DRIFT_NOTE, &args, WAIT_MS, &noted, err))
        return err->code;
    m->drifted_since_us = pg_time(noted, 0, 0);
    pg_rows_free(noted);
    return OK;
}

static json_t *drift_json(const struct measure *m)
{
    json_t *drift = json_object();
    char since[TIME_TEXT_BYTES];

    for (size_t i = 0; i < DRIFTS; i++)
        json_object_set_new(drift, drift_names[i], json_integer(m->drift[i]));
    if (m->drifted_since_us != TIME_NONE) {
        time_text(m->drifted_since_us, since, sizeof(since));
        json_object_set_new(drift, "since", json_string(since));
    }
    return drift;
}

static enum status find_gaps(struct round *r, struct err *err)
{
    struct walk w = {.round = r};
    enum status status = OK;

    r->session.suspect_rows = 0; /* of what was measured before */
    while (status == OK && !w.is_last && !session_stopping()) {
        status = round_batch(r, gap_batch, &w, err);
        if (status == OK)
            go_on(&w);
        pg_rows_free(w.found);
        w.found = NULL;
    }
    r->nread = w.ntenants;
    json_object_set_new(r->report, "tenants", json_integer(w.ntenants));
    json_object_set_new(r->report, "tenants_without_active_task", json_integer(w.ngaps));
    return status ? err_in(err, "looking for tenants without an active task") : OK;
}

static enum status gap_batch(void *ctx, size_t rows, struct err *err)
{
    struct walk *w = ctx;
    struct session *s = &w->round->session;
    struct pg_args args;

    pg_rows_free(w->found);
    w->found = NULL;
    pg_args_init(&args, s->arena);
    pg_arg_text(&args, (struct span){w->after, w->after_len});
    pg_arg_int(&args, (int64_t)rows);
    if (pg_run(s->pg, SQL_GAP_FIND, &args, WAIT_MS, &w->found, err))
        return err->code;
    w->nfound = pg_nrows(w->found);
    w->is_last = w->nfound < rows;
    return note_gaps(w, err);
}

static enum status note_gaps(struct walk *w, struct err *err)
{
    struct session *s = &w->round->session;
    struct span *tenants = arena_alloc(s->arena, (w->nfound + 1) * sizeof(*tenants));
    int16_t *connected = arena_alloc(s->arena, (w->nfound + 1) * sizeof(*connected)),
            *active = arena_alloc(s->arena, (w->nfound + 1) * sizeof(*active));
    struct pg_args args;

    w->nlacking = 0;
    for (size_t i = 0; i < w->nfound; i++) {
        int64_t has = pg_int(w->found, i, 1), does = pg_int(w->found, i, 2);

        if (does >= has)
            continue;
        tenants[w->nlacking] = pg_bytes(w->found, i, 0);
        connected[w->nlacking] = (int16_t)has;
        active[w->nlacking++] = (int16_t)does;
    }
    if (s->options->dry_run)
        return OK;
    pg_args_init(&args, s->arena);
    pg_arg_text(&args, (struct span){w->after, w->after_len});
    pg_arg_text(&args, w->is_last ? SPAN_NONE : pg_bytes(w->found, w->nfound - 1, 0));
    pg_arg_texts(&args, tenants, w->nlacking);
    pg_arg_smalls(&args, connected, w->nlacking);
    pg_arg_smalls(&args, active, w->nlacking);
    return pg_run(s->pg, SQL_GAP_NOTE, &args, WAIT_MS, NULL, err);
}

/* Once its batch is committed. */
static void go_on(struct walk *w)
{
    w->ntenants += (int64_t)w->nfound;
    w->ngaps += (int64_t)w->nlacking;
    if (!w->is_last) {
        struct span last = pg_bytes(w->found, w->nfound - 1, 0);

        w->after_len = last.len < sizeof(w->after) ? last.len : sizeof(w->after);
        memcpy(w->after, last.at, w->after_len);
    }
}

static void print(const struct round *r)
{
    const json_t *drift = json_object_get(r->report, "drift");
    const char *since = json_string_value(json_object_get(drift, "since"));

    if (drift)
        printf("check cycles: the total is off the events by %" JSON_INTEGER_FORMAT "%s%s\n",
               json_integer_value(json_object_get(drift, drift_names[DRIFT_CYCLES])),
               since ? ", by more than one since " : "", since ? since : "");
    printf("tenants with insights platforms: %" JSON_INTEGER_FORMAT ", %" JSON_INTEGER_FORMAT
           " with fewer active tasks than platforms\n",
           json_integer_value(json_object_get(r->report, "tenants")),
           json_integer_value(json_object_get(r->report, "tenants_without_active_task")));
}
