#include "refused.h"

#include "base/log.h"
#include "base/now.h"
#include "ingest.h"

#include <stdlib.h>

enum {
    KEPT_A_SECOND = 5, /* of one source */
    KEPT_AT_ONCE = 50,
    KEPT_BYTES = 64 * 1024 * 1024, /* in DAY_US, by all workers together */
    ROW_BYTES = 512,               /* what a row costs besides headers and body */
    WAITING_MAX = 64,
    TIMEOUT_MS = 2000,
};

#define DAY_US (24 * 3600 * SECOND_US)

/* What one source may still have kept. */
struct bucket {
    double tokens;
    int64_t filled_us; /* boot time, as the next; 0: never */
    int64_t day_us;    /* when its present day began */
    size_t bytes;      /* kept in that day */
};

struct refused {
    struct server *server;
    struct links *links;
    const struct batch *batch;
    const struct platforms *platforms;
    struct bucket **buckets; /* by platform index, then by place among its sources */
    size_t bytes_a_day;      /* this worker's share */
    struct delivery *first, **last;
    size_t nwaiting, nunder_way;
};

static bool take_token(struct refused *r, const struct delivery *d);
static bool take_bytes(const struct refused *r, struct bucket *b, size_t n);
static struct span kept_body(const struct delivery *d);
static void give_up(struct refused *r);
static void send_first(struct refused *r, struct pg *pg);
static void after_add(void *refused, const struct pg_rows *rows, const struct err *err);

struct refused *refused_open(struct server *server, struct links *links, const struct batch *batch,
                             const struct platforms *platforms, unsigned nworkers)
{
    size_t n = platforms_count(platforms);
    struct refused *r = calloc(1, sizeof(*r));

    if (!r || !(r->buckets = calloc(n + 1, sizeof(struct bucket *))))
        abort();
    r->server = server;
    r->links = links;
    r->batch = batch;
    r->platforms = platforms;
    r->bytes_a_day = KEPT_BYTES / nworkers;
    r->last = &r->first;
    for (size_t i = 0; i < n; i++) {
        r->buckets[i] = calloc(platforms_at(platforms, i)->nsources + 1, sizeof(struct bucket));
        if (!r->buckets[i])
            abort();
    }
    return r;
}

void refused_close(struct refused *r)
{
    if (!r)
        return;
    give_up(r);
    for (size_t i = 0; i < platforms_count(r->platforms); i++)
        free(r->buckets[i]);
    free(r->buckets);
    free(r);
}

void refused_keep(struct refused *r, struct delivery *d, const struct err *why)
{
    struct err *copy;

    if (r->nwaiting == WAITING_MAX || server_is_draining(r->server) || !take_token(r, d)) {
        delivery_end(d);
        return;
    }
    copy = arena_alloc(d->arena, sizeof(*copy));
    *copy = *why;
    d->failure = copy;
    d->next = NULL;
    *r->last = d;
    r->last = &d->next;
    r->nwaiting++;
}

static bool take_token(struct refused *r, const struct delivery *d)
{
    struct bucket *b = &r->buckets[d->platform->index][d->source - d->platform->sources];
    int64_t now_us = server_boot_us(r->server);

    if (b->filled_us == 0)
        b->tokens = KEPT_AT_ONCE;
    else
        b->tokens += (double)(now_us - b->filled_us) * KEPT_A_SECOND / SECOND_US;
    b->filled_us = now_us;
    if (b->tokens > KEPT_AT_ONCE)
        b->tokens = KEPT_AT_ONCE;
    if (b->tokens < 1 || !take_bytes(r, b, ROW_BYTES + d->headers.len + kept_body(d).len))
        return false;
    b->tokens -= 1;
    return true;
}

static bool take_bytes(const struct refused *r, struct bucket *b, size_t n)
{
    if (b->day_us == 0 || b->filled_us - b->day_us >= DAY_US) {
        b->day_us = b->filled_us;
        b->bytes = 0;
    }
    if (b->bytes + n > r->bytes_a_day)
        return false;
    b->bytes += n;
    return true;
}

static struct span kept_body(const struct delivery *d)
{
    return (struct span){d->body.at,
                         d->body.len < REFUSED_BODY_MAX_BYTES ? d->body.len : REFUSED_BODY_MAX_BYTES};
}

/* One at a time, and behind all that was accepted. */
void refused_turn(void *refused)
{
    struct refused *r = refused;
    struct pg *pg = links_pg_least(r->links);

    if (server_is_draining(r->server))
        give_up(r);
    else if (r->first && pg && pg_waiting(pg) == 0 && r->nunder_way == 0 && batch_is_idle(r->batch))
        send_first(r, pg);
}

/* They were answered: no drain waits for what may never be kept. */
static void give_up(struct refused *r)
{
    struct delivery *d;

    while ((d = r->first)) {
        r->first = d->next;
        delivery_end(d);
    }
    r->last = &r->first;
    r->nwaiting = 0;
}

static void send_first(struct refused *r, struct pg *pg)
{
    struct delivery *d = r->first;
    struct pg_args args;

    r->first = d->next;
    if (!r->first)
        r->last = &r->first;
    r->nwaiting--;
    pg_args_init(&args, d->arena);
    pg_arg_uuid(&args, &d->id);
    pg_arg_text(&args, d->source->name);
    pg_arg_text(&args, d->platform->name);
    pg_arg_time(&args, d->received_us);
    pg_arg_text(&args, span_of(d->failure->cause));
    pg_arg_text(&args, span_of(d->failure->text));
    pg_arg_bytes(&args, d->headers);
    pg_arg_bytes(&args, kept_body(d));
    r->nunder_way++;
    pg_send(pg, SQL_REFUSED_ADD, &args, server_boot_us(r->server) + TIMEOUT_MS * 1000, after_add, r);
    delivery_end(d);
}

static void after_add(void *refused, const struct pg_rows *rows, const struct err *err)
{
    struct refused *r = refused;

    (void)rows;
    r->nunder_way--;
    if (err)
        log_warn("refused_not_kept", LOG_ERR(err));
    else if (r->first)
        server_again(r->server);
}
