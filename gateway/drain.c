#include "drain.h"

#include "base/log.h"
#include "base/now.h"
#include "dedupe.h"
#include "reused.h"
#include "spool.h"
#include "store/sqlstate.h"

#include <assert.h>
#include <stdlib.h>

enum {
    LOOK_MS = 250,  /* while there are records */
    IDLE_MS = 2000, /* for files without a holder */
    REST_MS = 1000, /* after Postgres did not take them */
    COMPLAIN_S = 60,
};

struct drain {
    struct ingest *ingest;
    struct spool_page *page; /* at work; NULL: none */
    bool asked;
    size_t nleft; /* deliveries of the page in the batch */
    int64_t look_again_us, complain_again_us;
    uint64_t nstayed; /* since the last line about them */
};

static bool is_time(const struct drain *n);
static void after_read(void *drain, struct spool_page *page);
static bool send_record(struct drain *n, size_t at);
static void stay(struct drain *n, const struct spool_record *r, const char *why);
static void give_back(struct drain *n);

struct drain *drain_open(struct ingest *ingest)
{
    struct drain *n = calloc(1, sizeof(*n));

    if (!n)
        abort();
    n->ingest = ingest;
    return n;
}

void drain_close(struct drain *n)
{
    assert(!n || !n->page);
    free(n);
}

void drain_turn(void *drain)
{
    struct drain *n = drain;

    if (!n->page && !n->asked && is_time(n)) {
        n->asked = true;
        spool_read(n->ingest->spool, after_read, n);
    }
}

static bool is_time(const struct drain *n)
{
    struct ingest *g = n->ingest;

    return server_boot_us(g->server) >= n->look_again_us && links_pg_is_up(g->links) &&
           !server_is_draining(g->server);
}

static void after_read(void *drain, struct spool_page *page)
{
    struct drain *n = drain;
    struct ingest *g = n->ingest;

    n->asked = false;
    if (page->n == 0) {
        bool more = spool_nrecords(g->spool) > 0 && !spool_is_drained(g->spool);
        n->look_again_us = server_boot_us(g->server) + (more ? LOOK_MS : IDLE_MS) * INT64_C(1000);
        return;
    }
    n->look_again_us = 0;
    n->page = page;
    n->nleft = 1; /* till all are sent: none ends the page before */
    for (size_t i = 0; i < page->n; i++)
        n->nleft += send_record(n, i);
    if (--n->nleft == 0)
        give_back(n);
    server_again(g->server);
}

/* False: it stays where it is. */
static bool send_record(struct drain *n, size_t at)
{
    struct ingest *g = n->ingest;
    const struct spool_record *r = &n->page->records[at];
    const struct platform *p = platforms_find(g->platforms, r->platform);
    const struct source *s = p ? platform_source(p, r->source) : NULL;
    struct delivery *d;

    if (!s) {
        stay(n, r, p ? "its source is not configured" : "its platform is not configured");
        return false;
    }
    d = delivery_again(g, p, s, r);
    d->drain = n;
    d->drain_at = at;
    batch_add_backlog(g->batch, d);
    return true;
}

void drain_on_commit(struct delivery *d, const struct err *failure)
{
    struct drain *n = d->drain;
    struct ingest *g = n->ingest;

    if (!failure) {
        n->page->stored[d->drain_at] = true;
        dedupe_remember(g->dedupe, d);
        reused_look(d);
    } else if (failure->code == UNAVAILABLE && !sqlstate_is_of_rows(failure)) {
        n->page->again = true;
    } else {
        stay(n, &n->page->records[d->drain_at], failure->text);
    }
    delivery_end(d);
    if (--n->nleft == 0)
        give_back(n);
}

/* It was acknowledged: never dropped, however long it takes until somebody sees to it. */
static void stay(struct drain *n, const struct spool_record *r, const char *why)
{
    int64_t now_us = server_boot_us(n->ingest->server);

    n->nstayed++;
    if (now_us < n->complain_again_us)
        return;
    log_error("spool_record_stays", LOG_ID("delivery_id", &r->delivery_id), LOG_SPAN("platform", r->platform),
              LOG_SPAN("source", r->source), LOG_INT("records", (int64_t)n->nstayed), LOG_TEXT("why", why));
    n->complain_again_us = now_us + COMPLAIN_S * SECOND_US;
    n->nstayed = 0;
}

static void give_back(struct drain *n)
{
    struct spool_page *page = n->page;

    if (page->again)
        n->look_again_us = server_boot_us(n->ingest->server) + REST_MS * INT64_C(1000);
    n->page = NULL;
    spool_return(n->ingest->spool, page);
}
