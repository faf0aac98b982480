#include "gauges.h"

#include "base/log.h"
#include "base/metric.h"
#include "callers.h"

#include <stdlib.h>

enum { INTERVAL_MS = 15000, DEADLINE_MS = 6000 };

/* The words of PUBLICATIONS, in its order. */
static const char *const states[] = {"pending", "scheduled", "processing", "retry", "success", "failed"};

/* The words of BREAKER_STATE, in its order. */
static const char *const breaker_states[] = {"closed", "open", "half_open"};

struct gauges {
    struct server *server;
    struct links *links;
    const struct platforms *platforms;
    int64_t next_boot_us;
    unsigned asked; /* statements that are not answered yet */
};

static void ask(struct gauges *g, struct pg *pg, enum sql sql, pg_done *done);
static void after_publications(void *gauges, const struct pg_rows *rows, const struct err *err);
static void after_runs(void *gauges, const struct pg_rows *rows, const struct err *err);
static void after_breakers(void *gauges, const struct pg_rows *rows, const struct err *err);
static void set_breaker(size_t platform, struct span state, double transitions);
static void after_any(struct gauges *g, const struct err *err);
static size_t state_of(struct span word);

struct gauges *gauges_open(struct server *server, struct links *links, const struct platforms *platforms)
{
    struct gauges *g = calloc(1, sizeof(*g));

    if (!g)
        abort();
    g->server = server;
    g->links = links;
    g->platforms = platforms;
    return g;
}

void gauges_close(struct gauges *g)
{
    free(g);
}

void gauges_turn(void *gauges)
{
    struct gauges *g = gauges;
    struct pg *pg = links_pg_least(g->links);

    if (!pg || g->asked > 0 || server_boot_us(g->server) < g->next_boot_us)
        return;
    ask(g, pg, SQL_GAUGE_PUBLICATIONS, after_publications);
    ask(g, pg, SQL_GAUGE_RUNS, after_runs);
    ask(g, pg, SQL_GAUGE_BREAKERS, after_breakers);
}

static void ask(struct gauges *g, struct pg *pg, enum sql sql, pg_done *done)
{
    struct arena *arena = arena_open(256);

    g->asked++;
    caller_enter(&caller_operator, pg, arena);
    pg_send(pg, sql, NULL, server_boot_us(g->server) + DEADLINE_MS * INT64_C(1000), done, g);
    arena_close(arena);
}

/* Rows of platforms that have no descriptor (any more) count together, as platform="". */
static void after_publications(void *gauges, const struct pg_rows *rows, const struct err *err)
{
    struct gauges *g = gauges;
    size_t nplatforms = platforms_count(g->platforms);
    double(*counts)[countof(states)];

    after_any(g, err);
    if (err)
        return;
    counts = calloc(nplatforms + 1, sizeof(*counts));
    if (!counts)
        abort();
    for (size_t i = 0; i < pg_nrows(rows); i++) {
        const struct platform *p = platforms_find(g->platforms, pg_bytes(rows, i, 0));

        counts[p ? p->index : nplatforms][state_of(pg_bytes(rows, i, 1))] += pg_float(rows, i, 2);
    }
    for (size_t p = 0; p <= nplatforms; p++)
        for (size_t state = 0; state < countof(states); state++)
            metric_set(PUBLICATIONS, p < nplatforms ? p : METRIC_NO_PLATFORM, state, counts[p][state]);
    free(counts);
}

static void after_runs(void *gauges, const struct pg_rows *rows, const struct err *err)
{
    after_any(gauges, err);
    if (err || pg_nrows(rows) == 0)
        return;
    metric_set(RUN_LAST_SUCCESS, METRIC_NO_PLATFORM, 0, pg_float(rows, 0, 0));
    metric_set(RUN_DURATION, METRIC_NO_PLATFORM, 0, pg_float(rows, 0, 1));
}

/* A platform that was never asked, or never failed, has no row: its breaker is closed. */
static void after_breakers(void *gauges, const struct pg_rows *rows, const struct err *err)
{
    struct gauges *g = gauges;

    after_any(g, err);
    if (err)
        return;
    for (size_t p = 0; p < platforms_count(g->platforms); p++) {
        size_t row = 0;

        while (row < pg_nrows(rows) && !span_eq(pg_bytes(rows, row, 0), platforms_at(g->platforms, p)->name))
            row++;
        if (row < pg_nrows(rows))
            set_breaker(p, pg_bytes(rows, row, 1), pg_float(rows, row, 2));
        else
            set_breaker(p, SPAN("closed"), 0);
    }
}

static void set_breaker(size_t platform, struct span state, double transitions)
{
    for (size_t i = 0; i < countof(breaker_states); i++)
        metric_set(BREAKER_STATE, platform, i, span_eq(state, span_of(breaker_states[i])));
    metric_set(BREAKER_TRANSITIONS, platform, 0, transitions);
}

/* The pause begins at the answer: a count that takes long on a large backlog does not follow on itself. */
static void after_any(struct gauges *g, const struct err *err)
{
    g->asked--;
    g->next_boot_us = server_boot_us(g->server) + INTERVAL_MS * INT64_C(1000);
    if (err)
        log_warn("gauges_failed", LOG_ERR(err));
}

static size_t state_of(struct span word)
{
    size_t state = 0;

    while (state + 1 < countof(states) && !span_eq(word, span_of(states[state])))
        state++;
    return state;
}
