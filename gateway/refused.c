#include "refused.h"

#include "base/log.h"
#include "base/now.h"
#include "ingest.h"

#include <stdlib.h>

enum {
    ROW_BYTES = 512, /* what a row costs besides headers and body */
    WAITING_MAX = 512,
    WAITING_BYTES_MAX = 16 * 1024 * 1024,
    ROWS_MAX = 64,                         /* of one statement */
    STATEMENT_BYTES_MAX = 4 * 1024 * 1024, /* if it holds more than one row */
    STATEMENT_ARENA_BYTES = 64 * 1024,
    TIMEOUT_MS = 2000,
    RUBBISH_PARTS = 4,
};

/* The parameters of refused_add.sql. */
struct columns {
    struct id id[ROWS_MAX];
    int64_t received_us[ROWS_MAX];
    struct span source[ROWS_MAX], platform[ROWS_MAX], cause[ROWS_MAX], detail[ROWS_MAX];
    struct span headers[ROWS_MAX], body[ROWS_MAX];
};

struct refused {
    struct server *server;
    struct links *links;
    const struct batch *batch;
    struct senders *senders;
    struct quota_limits limits, rubbish_limits; /* this worker's share */
    struct delivery *first, **last;
    size_t nwaiting, waiting_bytes;
    bool under_way;
    struct arena *arena; /* of a statement's parameters, until they are sent */
    struct columns columns;
};

static bool may_keep(struct refused *r, const struct delivery *d);
static bool is_rubbish(const struct delivery *d);
static size_t bytes_of(const struct delivery *d);
static void give_up(struct refused *r);
static struct delivery *pop(struct refused *r);
static void send_first(struct refused *r, struct pg *pg);
static void put_row(struct columns *c, size_t i, const struct delivery *d);
static void put_columns(struct pg_args *args, const struct columns *c, size_t n);
static void after_add(void *refused, const struct pg_rows *rows, const struct err *err);

struct refused *refused_open(struct server *server, struct links *links, const struct batch *batch,
                             struct senders *senders, const struct config *config)
{
    struct refused *r = calloc(1, sizeof(*r));

    if (!r)
        abort();
    r->server = server;
    r->links = links;
    r->batch = batch;
    r->senders = senders;
    r->limits = (struct quota_limits){
        .per_second = (double)config->refused.inserts_per_second / config->ingest.workers,
        .bytes = config->refused.megabytes_per_source * (size_t)1024 * 1024 / config->ingest.workers,
        .keep_us = config->refused.keep_hours * 60 * MINUTE_US,
    };
    r->rubbish_limits = r->limits;
    r->rubbish_limits.per_second /= RUBBISH_PARTS;
    r->rubbish_limits.bytes /= RUBBISH_PARTS;
    r->last = &r->first;
    r->arena = arena_open(STATEMENT_ARENA_BYTES);
    return r;
}

void refused_close(struct refused *r)
{
    if (!r)
        return;
    give_up(r);
    arena_close(r->arena);
    free(r);
}

void refused_keep(struct refused *r, struct delivery *d, const struct err *why)
{
    struct err *copy;

    if (!may_keep(r, d)) {
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
    r->waiting_bytes += bytes_of(d);
}

static bool may_keep(struct refused *r, const struct delivery *d)
{
    struct sender *sender = senders_find(r->senders, d->platform, d->source);
    int64_t now_us = server_boot_us(r->server);

    return sender && !server_is_draining(r->server) && r->nwaiting < WAITING_MAX &&
           r->waiting_bytes + bytes_of(d) <= WAITING_BYTES_MAX &&
           (!is_rubbish(d) || quota_take(&sender->rubbish, &r->rubbish_limits, now_us, bytes_of(d))) &&
           quota_take(&sender->kept, &r->limits, now_us, bytes_of(d));
}

/* It has no signature that any secret could fit. */
static bool is_rubbish(const struct delivery *d)
{
    return d->verified.refusal == REFUSAL_HEADER_MISSING || d->verified.refusal == REFUSAL_HEADER_TWICE ||
           d->verified.refusal == REFUSAL_MALFORMED;
}

static size_t bytes_of(const struct delivery *d)
{
    return ROW_BYTES + d->headers.len + d->body.len;
}

/* One statement at a time, and behind all that was accepted. */
void refused_turn(void *refused)
{
    struct refused *r = refused;
    struct pg *pg = links_pg_least(r->links);

    if (server_is_draining(r->server))
        give_up(r);
    else if (r->first && pg && pg_waiting(pg) == 0 && !r->under_way && batch_is_idle(r->batch))
        send_first(r, pg);
}

/* They were answered: no drain waits for what may never be kept. */
static void give_up(struct refused *r)
{
    while (r->first)
        delivery_end(pop(r));
}

static struct delivery *pop(struct refused *r)
{
    struct delivery *d = r->first;

    r->first = d->next;
    if (!r->first)
        r->last = &r->first;
    r->nwaiting--;
    r->waiting_bytes -= bytes_of(d);
    return d;
}

/* The parameters are libpq's own when pg_send returns, so what they were made of may end. */
static void send_first(struct refused *r, struct pg *pg)
{
    struct delivery *sent[ROWS_MAX];
    struct pg_args args;
    size_t n = 0, bytes = 0;

    while (n < ROWS_MAX && r->first && (n == 0 || bytes + bytes_of(r->first) <= STATEMENT_BYTES_MAX)) {
        bytes += bytes_of(r->first);
        sent[n] = pop(r);
        put_row(&r->columns, n, sent[n]);
        n++;
    }
    pg_args_init(&args, r->arena);
    put_columns(&args, &r->columns, n);
    r->under_way = true;
    pg_send(pg, SQL_REFUSED_ADD, &args, server_boot_us(r->server) + TIMEOUT_MS * 1000, after_add, r);
    arena_reset(r->arena);
    for (size_t i = 0; i < n; i++)
        delivery_end(sent[i]);
}

static void put_row(struct columns *c, size_t i, const struct delivery *d)
{
    c->id[i] = d->id;
    c->source[i] = d->source->name;
    c->platform[i] = d->platform->name;
    c->received_us[i] = d->received_us;
    c->cause[i] = span_of(d->failure->cause);
    c->detail[i] = span_of(d->failure->text);
    c->headers[i] = d->headers;
    c->body[i] = d->body;
}

/* In the order of refused_add.sql. */
static void put_columns(struct pg_args *args, const struct columns *c, size_t n)
{
    pg_arg_uuids(args, c->id, n);
    pg_arg_texts(args, c->source, n);
    pg_arg_texts(args, c->platform, n);
    pg_arg_times(args, c->received_us, n);
    pg_arg_texts(args, c->cause, n);
    pg_arg_texts(args, c->detail, n);
    pg_arg_bytess(args, c->headers, n);
    pg_arg_bytess(args, c->body, n);
}

static void after_add(void *refused, const struct pg_rows *rows, const struct err *err)
{
    struct refused *r = refused;

    (void)rows;
    r->under_way = false;
    if (err)
        log_warn("refused_not_kept", LOG_ERR(err));
    else if (r->first)
        server_again(r->server);
}
