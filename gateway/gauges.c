#include "gauges.h"

#include "base/log.h"
#include "base/metric.h"
#include "callers.h"

#include <stdlib.h>

enum {
    OFTEN_MS = 15000,
    SELDOM_MS = 300000, /* what changes in hours */
    DEADLINE_MS = 6000,
    REST =
        20, /* a statement rests so many times as long as it took: a large backlog costs 5 % of a connection */
};

typedef void take(struct gauges *g, const struct pg_rows *rows);

static take take_publications, take_runs, take_last_run, take_breakers, take_totals, take_aggregates,
    take_unmatched, take_alerts, take_drift;

/* What is asked: each by itself, again when it is due. */
static const struct question {
    enum sql sql;
    int64_t every_ms;
    take *take;
} questions[] = {
    {SQL_GAUGE_PUBLICATIONS, OFTEN_MS,  take_publications},
    {SQL_GAUGE_RUNS,         OFTEN_MS,  take_runs        },
    {SQL_GAUGE_LAST_RUN,     OFTEN_MS,  take_last_run    },
    {SQL_GAUGE_BREAKERS,     OFTEN_MS,  take_breakers    },
    {SQL_GAUGE_TOTALS,       OFTEN_MS,  take_totals      },
    {SQL_GAUGE_AGGREGATES,   OFTEN_MS,  take_aggregates  },
    {SQL_GAUGE_UNMATCHED,    SELDOM_MS, take_unmatched   },
    {SQL_GAUGE_ALERTS,       OFTEN_MS,  take_alerts      },
    {SQL_GAUGE_DRIFT,        OFTEN_MS,  take_drift       },
};

struct gauges {
    struct server *server;
    struct links *links;
    const struct platforms *platforms;
    struct asking {
        struct gauges *gauges;
        const struct question *question;
        bool asked;
        int64_t asked_boot_us, next_boot_us;
    } askings[countof(questions)];
};

/* All series of one metric, gathered before any is shown: several rows may be told as one, and what no row names is 0. */
struct sheet {
    const struct gauges *gauges;
    enum metric metric;
    size_t nplatforms, nwords; /* nplatforms: with that of no platform, which is the last */
    double *cells;
};

static void ask(struct asking *a, struct pg *pg);
static void after_answer(void *asking, const struct pg_rows *rows, const struct err *err);

static void count_total(struct sheet *results, struct sheet *checked, const struct pg_rows *rows, size_t i);
static void take_kind(struct gauges *g, const struct pg_rows *rows, const char *kind, enum metric metric,
                      bool by_platform);
static void take_cut_short(struct gauges *g, const struct pg_rows *rows);
static void take_aggregate_runs(struct gauges *g, const struct pg_rows *rows);

static struct sheet sheet_open(const struct gauges *g, enum metric metric, bool by_platform);
static double *sheet_at(struct sheet *s, struct span platform, struct span word);
static void sheet_show(struct sheet *s);

struct gauges *gauges_open(struct server *server, struct links *links, const struct platforms *platforms)
{
    struct gauges *g = calloc(1, sizeof(*g));

    if (!g)
        abort();
    g->server = server;
    g->links = links;
    g->platforms = platforms;
    for (size_t i = 0; i < countof(questions); i++)
        g->askings[i] = (struct asking){.gauges = g, .question = &questions[i]};
    return g;
}

void gauges_close(struct gauges *g)
{
    free(g);
}

void gauges_turn(void *gauges)
{
    struct gauges *g = gauges;
    int64_t now_us = server_boot_us(g->server);

    for (struct asking *a = g->askings; a < g->askings + countof(g->askings); a++) {
        struct pg *pg = a->asked || now_us < a->next_boot_us ? NULL : links_pg_least(g->links);

        if (pg)
            ask(a, pg);
    }
}

static void ask(struct asking *a, struct pg *pg)
{
    struct arena *arena = arena_open(256);

    a->asked = true;
    a->asked_boot_us = server_boot_us(a->gauges->server);
    caller_enter(&caller_operator, pg, arena);
    pg_send(pg, a->question->sql, NULL, a->asked_boot_us + DEADLINE_MS * INT64_C(1000), after_answer, a);
    arena_close(arena);
}

/* The pause begins at the answer: what takes long on a large backlog does not follow on itself. */
static void after_answer(void *asking, const struct pg_rows *rows, const struct err *err)
{
    struct asking *a = asking;
    int64_t now_us = server_boot_us(a->gauges->server), rest_us = REST * (now_us - a->asked_boot_us);
    int64_t every_us = (err ? OFTEN_MS : a->question->every_ms) * 1000;

    a->asked = false;
    a->next_boot_us = now_us + (rest_us > every_us ? rest_us : every_us);
    if (err)
        log_warn("gauges_failed", LOG_ERR(err));
    else
        a->question->take(a->gauges, rows);
}

/* Rows of platforms that have no descriptor (any more) are told together, as platform="", here and below. */
static void take_publications(struct gauges *g, const struct pg_rows *rows)
{
    struct sheet counts = sheet_open(g, PUBLICATIONS, true),
                 oldest = sheet_open(g, PUBLICATIONS_OLDEST, true),
                 stuck = sheet_open(g, PUBLICATIONS_STUCK, true);

    for (size_t i = 0; i < pg_nrows(rows); i++) {
        struct span platform = pg_bytes(rows, i, 0), state = pg_bytes(rows, i, 1);
        double *count = sheet_at(&counts, platform, state), *age = sheet_at(&oldest, platform, state);

        if (count)
            *count += pg_float(rows, i, 2);
        if (age && *age < pg_float(rows, i, 3))
            *age = pg_float(rows, i, 3);
        if (!span_eq(state, SPAN("pending")))
            *sheet_at(&stuck, platform, SPAN("")) += pg_float(rows, i, 4);
    }
    sheet_show(&counts);
    sheet_show(&oldest);
    sheet_show(&stuck);
}

static void take_runs(struct gauges *g, const struct pg_rows *rows)
{
    static const struct {
        size_t column;
        enum metric metric;
    } gauges[] = {
        {1, JOB_LAST_RUN    },
        {2, JOB_LAST_SUCCESS},
        {4, JOB_LOCK_HELD   },
        {5, JOB_LOCK_EXPIRED}
    };

    (void)g;
    for (size_t i = 0; i < pg_nrows(rows); i++) {
        struct span job = pg_bytes(rows, i, 0);

        for (size_t k = 0; k < countof(gauges); k++) {
            size_t word = metric_find_word(gauges[k].metric, job);

            if (word != SIZE_MAX)
                metric_set(gauges[k].metric, METRIC_NO_PLATFORM, word, pg_float(rows, i, gauges[k].column));
        }
        if (span_eq(job, SPAN("publications"))) {
            metric_set(RUN_LAST_SUCCESS, METRIC_NO_PLATFORM, 0, pg_float(rows, i, 2));
            metric_set(RUN_DURATION, METRIC_NO_PLATFORM, 0, pg_float(rows, i, 3));
        }
    }
}

static void take_last_run(struct gauges *g, const struct pg_rows *rows)
{
    static const char *const columns[] = {NULL,        "success", "failed", "skipped",
                                          "corrected", "retry",   "unclear"};
    struct sheet last = sheet_open(g, RECONCILE_LAST, true);

    for (size_t i = 0; i < pg_nrows(rows); i++)
        for (size_t column = 1; column < countof(columns); column++) {
            struct span platform = pg_bytes(rows, i, 0);

            *sheet_at(&last, platform, span_of(columns[column])) += pg_float(rows, i, column);
            if (column <= 3)
                *sheet_at(&last, platform, SPAN("checked")) += pg_float(rows, i, column);
        }
    sheet_show(&last);
}

/* A platform that was never asked, or never failed, has no row: its breaker is closed. */
static void take_breakers(struct gauges *g, const struct pg_rows *rows)
{
    for (size_t p = 0; p < platforms_count(g->platforms); p++) {
        struct span state = SPAN("closed");
        double transitions = 0, closings = 0;

        for (size_t row = 0; row < pg_nrows(rows); row++)
            if (span_eq(pg_bytes(rows, row, 0), platforms_at(g->platforms, p)->name)) {
                state = pg_bytes(rows, row, 1);
                transitions = pg_float(rows, row, 2);
                closings = pg_float(rows, row, 3);
            }
        for (size_t word = 0; word < metric_nwords(BREAKER_STATE); word++)
            metric_set(BREAKER_STATE, p, word, span_eq(state, metric_word(BREAKER_STATE, word)));
        metric_set(BREAKER_TRANSITIONS, p, 0, transitions);
        metric_set(BREAKER_CLOSINGS, p, 0, closings);
    }
}

static void take_totals(struct gauges *g, const struct pg_rows *rows)
{
    struct sheet results = sheet_open(g, RECONCILE_RESULTS, true),
                 checked = sheet_open(g, RECONCILE_CHECKED, true);

    for (size_t i = 0; i < pg_nrows(rows); i++)
        count_total(&results, &checked, rows, i);
    sheet_show(&results);
    sheet_show(&checked);
    take_kind(g, rows, "reason", RECONCILE_DECIDED, true);
    take_kind(g, rows, "outcome", RECONCILE_RUNS, false);
    take_kind(g, rows, "poll", POLLS, false);
    take_kind(g, rows, "missing", MISSING_REASON, false);
    take_cut_short(g, rows);
    take_aggregate_runs(g, rows);
}

enum total_column { TOTAL_JOB, TOTAL_KIND, TOTAL_WORD, TOTAL_PLATFORM, TOTAL_N };

static void count_total(struct sheet *results, struct sheet *checked, const struct pg_rows *rows, size_t i)
{
    struct span word = pg_bytes(rows, i, TOTAL_WORD), platform = pg_bytes(rows, i, TOTAL_PLATFORM);
    double *cell = sheet_at(results, platform, word);

    if (!cell || !span_eq(pg_bytes(rows, i, TOTAL_JOB), SPAN("publications")) ||
        !span_eq(pg_bytes(rows, i, TOTAL_KIND), SPAN("result")))
        return;
    *cell += pg_float(rows, i, TOTAL_N);
    if (span_eq(word, SPAN("success")) || span_eq(word, SPAN("failed")) || span_eq(word, SPAN("skipped")))
        *sheet_at(checked, platform, SPAN("")) += pg_float(rows, i, TOTAL_N);
}

/* Of the publications job: what stands under this kind. */
static void take_kind(struct gauges *g, const struct pg_rows *rows, const char *kind, enum metric metric,
                      bool by_platform)
{
    struct sheet s = sheet_open(g, metric, by_platform);

    for (size_t i = 0; i < pg_nrows(rows); i++) {
        double *cell = sheet_at(&s, pg_bytes(rows, i, TOTAL_PLATFORM), pg_bytes(rows, i, TOTAL_WORD));

        if (cell && span_eq(pg_bytes(rows, i, TOTAL_JOB), SPAN("publications")) &&
            span_eq(pg_bytes(rows, i, TOTAL_KIND), span_of(kind)))
            *cell += pg_float(rows, i, TOTAL_N);
    }
    sheet_show(&s);
}

static void take_cut_short(struct gauges *g, const struct pg_rows *rows)
{
    struct sheet s = sheet_open(g, JOB_CUT_SHORT, false);

    for (size_t i = 0; i < pg_nrows(rows); i++) {
        double *cell = sheet_at(&s, SPAN(""), pg_bytes(rows, i, TOTAL_JOB));

        if (cell && span_eq(pg_bytes(rows, i, TOTAL_KIND), SPAN("outcome")) &&
            span_eq(pg_bytes(rows, i, TOTAL_WORD), SPAN("killed")))
            *cell += pg_float(rows, i, TOTAL_N);
    }
    sheet_show(&s);
}

/* Of its three commands together; their days have rows of their own, of which only a lock that was held is told. */
static void take_aggregate_runs(struct gauges *g, const struct pg_rows *rows)
{
    struct sheet runs = sheet_open(g, AGGREGATES_RUNS, false),
                 skips = sheet_open(g, AGGREGATES_LOCK_SKIPS, false);

    for (size_t i = 0; i < pg_nrows(rows); i++) {
        struct span job = pg_bytes(rows, i, TOTAL_JOB), word = pg_bytes(rows, i, TOTAL_WORD);
        bool of_run = span_eq(job, SPAN("aggregates")) || span_eq(job, SPAN("aggregates_backfill")) ||
                      span_eq(job, SPAN("aggregates_verify"));
        double *cell = sheet_at(&runs, SPAN(""), word);

        if (!span_eq(pg_bytes(rows, i, TOTAL_KIND), SPAN("outcome")))
            continue;
        if (of_run && cell)
            *cell += pg_float(rows, i, TOTAL_N);
        if ((of_run || span_eq(job, SPAN("aggregate_day"))) && span_eq(word, SPAN("lock_held")))
            *sheet_at(&skips, SPAN(""), SPAN("")) += pg_float(rows, i, TOTAL_N);
    }
    sheet_show(&runs);
    sheet_show(&skips);
}

static void take_aggregates(struct gauges *g, const struct pg_rows *rows)
{
    static const char *const states[] = {"unverified", "dead", "failed"};

    (void)g;
    metric_set(AGGREGATES_LAST_SUCCESS, METRIC_NO_PLATFORM, 0, pg_float(rows, 0, 0));
    for (size_t i = 0; i < countof(states); i++)
        metric_set(AGGREGATES_DAYS, METRIC_NO_PLATFORM, metric_find_word(AGGREGATES_DAYS, span_of(states[i])),
                   pg_float(rows, 0, i + 1));
}

static void take_unmatched(struct gauges *g, const struct pg_rows *rows)
{
    struct sheet s = sheet_open(g, RECEIPTS_UNMATCHED, true);

    for (size_t i = 0; i < pg_nrows(rows); i++)
        *sheet_at(&s, pg_bytes(rows, i, 0), SPAN("")) += pg_float(rows, i, 1);
    sheet_show(&s);
}

static void take_alerts(struct gauges *g, const struct pg_rows *rows)
{
    struct sheet s = sheet_open(g, ALERTS_OPEN, false);

    for (size_t i = 0; i < pg_nrows(rows); i++) {
        double *cell = sheet_at(&s, SPAN(""), pg_bytes(rows, i, 0));

        *(cell ? cell : sheet_at(&s, SPAN(""), SPAN("other"))) += pg_float(rows, i, 1);
    }
    sheet_show(&s);
}

static void take_drift(struct gauges *g, const struct pg_rows *rows)
{
    (void)g;
    if (pg_nrows(rows) > 0)
        metric_set(STATS_DRIFT, METRIC_NO_PLATFORM, 0, pg_float(rows, 0, 0));
}

static struct sheet sheet_open(const struct gauges *g, enum metric metric, bool by_platform)
{
    struct sheet s = {.gauges = g,
                      .metric = metric,
                      .nplatforms = by_platform ? platforms_count(g->platforms) + 1 : 1,
                      .nwords = metric_nwords(metric)};

    s.cells = calloc(s.nplatforms * s.nwords, sizeof(*s.cells));
    if (!s.cells)
        abort();
    return s;
}

/* word: empty of a metric that has none. NULL: the metric has no such word. */
static double *sheet_at(struct sheet *s, struct span platform, struct span word)
{
    const struct platform *p = s->nplatforms > 1 ? platforms_find(s->gauges->platforms, platform) : NULL;
    size_t at = metric_find_word(s->metric, word);

    if (at == SIZE_MAX)
        return NULL;
    return &s->cells[(p ? p->index : s->nplatforms - 1) * s->nwords + at];
}

/* And gives its memory back. */
static void sheet_show(struct sheet *s)
{
    for (size_t p = 0; p < s->nplatforms; p++)
        for (size_t word = 0; word < s->nwords; word++)
            metric_set(s->metric, p + 1 < s->nplatforms ? p : METRIC_NO_PLATFORM, word,
                       s->cells[p * s->nwords + word]);
    free(s->cells);
}
