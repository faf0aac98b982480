#include "batch.h"

#include "base/log.h"
#include "base/metric.h"
#include "base/now.h"
#include "health.h"
#include "store/sqlstate.h"

#include <assert.h>
#include <stdlib.h>

enum {
    CONFLICTS_MAX =
        2, /* statements that Postgres undid for the sake of others; then the sender has to try again */
    FLIGHT_BYTES_MAX = 4 * 1024 * 1024, /* of bodies in one statement, if it holds more than one receipt */
    LIVE_FLIGHTS = 4,                   /* between two of the backlog, while live ones wait */
    BLAMES_MAX = 64, /* deliveries of the backlog that fail in a row: then it is none's fault */
    FLIGHT_ARENA_BYTES = 128 * 1024,
};

enum result { RESULT_STORED, RESULT_SPLIT, RESULT_FAILED }; /* the words of BATCHES, in its order */

/* The receipts of one statement. */
struct flight {
    struct batch *batch;
    struct pg *pg;       /* while it is under way */
    struct flight *next; /* among the halves that wait to be sent, or the spare ones */
    struct arena *arena; /* owns the parameters' bytes */
    struct receipt *receipts[BATCH_ROWS_MAX];
    size_t n;
    bool is_backlog;
    struct receipt_rows rows;
};

struct queue {
    struct receipt *first, **last;
    size_t n;
    struct flight *halves; /* of its refused flights: they go before the rest */
};

struct batch {
    struct server *server;
    struct links *links;
    struct batch_config config;
    struct queue queue, backlog;
    size_t nbacklog;  /* flights of the backlog that are under way */
    unsigned nlive;   /* flights since the last one of the backlog */
    unsigned nblamed; /* deliveries of the backlog that failed alone, in a row and in this minute */
    int64_t blame_again_us;
    struct flight *spare;
    size_t nunder_way; /* receipts in flights */
};

static const struct err overdue = {.code = UNAVAILABLE, .text = "no commit in time"};

static struct pg *idle_connection(const struct batch *b);
static void flush(struct batch *b, struct pg *pg);
static bool has_work(const struct batch *b);
static bool is_backlogs_turn(const struct batch *b);
static bool is_empty(const struct queue *q);
static struct flight *next_flight(struct batch *b);
static struct flight *pop_half(struct queue *q);
static size_t of_one_delivery(const struct receipt *first);
static void send_flight(struct flight *f);
static void put_row(struct receipt_rows *rows, const struct receipt *r);
static void after_flush(void *flight, const struct pg_rows *stored, const struct err *err);
static bool may_be_ones_fault(struct flight *f, const struct err *err);
static void mark_new(struct flight *f, const struct pg_rows *stored);
static struct receipt *find_unmarked(struct flight *f, struct span key);
static bool is_conflict(const struct err *err);
static bool is_lost(const struct err *err);
static void wait_again(struct flight *f, const struct err *err);
static unsigned tries_max(const struct batch *b, const struct err *err);
static void refuse(struct flight *f, const struct err *err);
static void halve(struct flight *f);
static struct queue *queue_of(const struct flight *f);
static void end_all(struct flight *f, const struct err *failure);
static void receipt_end(struct batch *b, struct receipt *r, const struct err *failure);
static void drop_overdue(struct batch *b);
static void drop_overdue_of(struct flight *f);
static void queue_push(struct queue *q, struct receipt *r);
static void queue_push_front(struct queue *q, struct receipt *r);
static struct receipt *queue_pop(struct queue *q);
static struct flight *flight_take(struct batch *b);
static void flight_give_back(struct flight *f);

struct batch *batch_open(struct server *server, struct links *links, const struct batch_config *config)
{
    struct batch *b = calloc(1, sizeof(*b));

    if (!b)
        abort();
    b->server = server;
    b->links = links;
    b->config = *config;
    assert(config->max_rows >= 1 && config->max_rows <= BATCH_ROWS_MAX);
    b->queue.last = &b->queue.first;
    b->backlog.last = &b->backlog.first;
    return b;
}

void batch_close(struct batch *b)
{
    const struct err closing = {.code = UNAVAILABLE, .text = "the gateway ends"};
    struct flight *f;
    struct receipt *r;

    if (!b)
        return;
    assert(b->nunder_way == 0);
    while ((f = pop_half(&b->queue)) || (f = pop_half(&b->backlog)))
        end_all(f, &closing);
    while ((r = queue_pop(&b->queue)) || (r = queue_pop(&b->backlog)))
        receipt_end(b, r, &closing);
    while ((f = b->spare)) {
        b->spare = f->next;
        arena_close(f->arena);
        free(f);
    }
    free(b);
}

void batch_add(struct batch *b, struct delivery *d)
{
    struct pg *pg;

    d->nwaiting = 0;
    for (struct receipt *r = d->receipts; r < d->receipts + d->nreceipts; r++) {
        if (r->seen)
            continue;
        d->nwaiting++;
        queue_push(&b->queue, r);
    }
    assert(d->nwaiting > 0);
    /* A full batch does not wait for the end of the turn: Postgres works on it while we read on. */
    while (b->queue.n >= b->config.max_rows && (pg = idle_connection(b)))
        flush(b, pg);
}

void batch_add_backlog(struct batch *b, struct delivery *d)
{
    d->nwaiting = d->nreceipts;
    for (struct receipt *r = d->receipts; r < d->receipts + d->nreceipts; r++)
        queue_push(&b->backlog, r);
}

bool batch_is_idle(const struct batch *b)
{
    return is_empty(&b->queue);
}

bool batch_is_done(const struct batch *b)
{
    return batch_is_idle(b) && b->nunder_way == 0;
}

void batch_turn(void *batch)
{
    struct batch *b = batch;
    struct pg *pg;

    drop_overdue(b);
    while (has_work(b) && (pg = idle_connection(b)))
        flush(b, pg);
    if (batch_is_done(b) || !links_pg_is_up(b->links)) /* without a store nothing can be stuck */
        health_wrote(server_boot_us(b->server));
    metric_set(QUEUE_WAITING, METRIC_NO_PLATFORM, 0, (double)(b->queue.n + b->nunder_way));
}

static bool has_work(const struct batch *b)
{
    return !batch_is_idle(b) || is_backlogs_turn(b);
}

static bool is_backlogs_turn(const struct batch *b)
{
    return !is_empty(&b->backlog) && b->nbacklog == 0 && (is_empty(&b->queue) || b->nlive >= LIVE_FLIGHTS);
}

static bool is_empty(const struct queue *q)
{
    return q->n == 0 && !q->halves;
}

static struct pg *idle_connection(const struct batch *b)
{
    for (size_t i = 0; i < links_npg(b->links); i++) {
        struct pg *pg = links_pg(b->links, i);
        if (pg && pg_waiting(pg) == 0)
            return pg;
    }
    return NULL;
}

static void flush(struct batch *b, struct pg *pg)
{
    struct flight *f = next_flight(b);

    f->pg = pg;
    b->nunder_way += f->n;
    b->nbacklog += f->is_backlog;
    send_flight(f);
}

static struct flight *next_flight(struct batch *b)
{
    bool is_backlog = is_backlogs_turn(b);
    struct queue *from = is_backlog ? &b->backlog : &b->queue;
    struct flight *f = pop_half(from);
    size_t bytes = 0;

    b->nlive = is_backlog ? 0 : b->nlive + 1;
    if (f)
        return f;
    f = flight_take(b);
    f->is_backlog = is_backlog;
    while (from->first) {
        size_t n = of_one_delivery(from->first);
        bytes += from->first->delivery->body.len;
        if (f->n > 0 && (f->n + n > b->config.max_rows || bytes > FLIGHT_BYTES_MAX))
            break;
        while (n-- > 0)
            f->receipts[f->n++] = queue_pop(from);
    }
    return f;
}

static struct flight *pop_half(struct queue *q)
{
    struct flight *f = q->halves;

    if (f)
        q->halves = f->next;
    return f;
}

/* They go together, and alone if they are more than a statement usually takes: each flight brings their body. */
static size_t of_one_delivery(const struct receipt *first)
{
    size_t n = 0;

    for (const struct receipt *r = first; r && r->delivery == first->delivery && n < BATCH_ROWS_MAX;
         r = r->next)
        n++;
    return n;
}

static void send_flight(struct flight *f)
{
    struct batch *b = f->batch;
    struct pg_args args;
    enum sql statement;

    receipt_rows_clear(&f->rows);
    for (size_t i = 0; i < f->n; i++)
        put_row(&f->rows, f->receipts[i]);
    pg_args_init(&args, f->arena);
    statement = receipt_rows_args(&f->rows, &args);
    pg_send(f->pg, statement, &args, server_boot_us(b->server) + (int64_t)b->config.commit_timeout_ms * 1000,
            after_flush, f);
}

static void put_row(struct receipt_rows *rows, const struct receipt *r)
{
    const struct delivery *d = r->delivery;
    const struct receipt_origin origin = {
        .delivery_id = d->id,
        .platform = d->platform->name,
        .source = d->source->name,
        .key_id = d->key_id.at ? d->key_id.at : d->source->secrets[d->verified.secret].key_id,
        .received_us = d->received_us,
        .headers = d->headers,
        .body = d->body,
        .is_shared = d->nreceipts > 1, /* whichever of its receipts is stored when */
    };

    receipt_rows_add(rows, &origin, r->event, r->refusal);
}

static void after_flush(void *flight, const struct pg_rows *stored, const struct err *err)
{
    struct flight *f = flight;
    struct batch *b = f->batch;

    b->nunder_way -= f->n;
    health_wrote(server_boot_us(b->server));
    b->nbacklog -= f->is_backlog;
    if (!err) {
        metric_add(BATCHES, METRIC_NO_PLATFORM, RESULT_STORED, 1);
        health_flushed(true, server_boot_us(b->server));
        links_praise_pg(b->links, f->pg);
        b->nblamed = f->is_backlog ? 0 : b->nblamed;
        mark_new(f, stored);
        end_all(f, NULL);
        return;
    }
    if (err->code != REJECTED && may_be_ones_fault(f, err)) {
        metric_add(BATCHES, METRIC_NO_PLATFORM, RESULT_SPLIT, 1);
        halve(f);
        server_again(b->server);
        return;
    }
    if (err->code == UNAVAILABLE && !is_conflict(err))
        links_drop_pg(b->links, f->pg); /* lost, read-only, ending: a fresh one may be better */
    if (err->code == REJECTED) {
        metric_add(BATCHES, METRIC_NO_PLATFORM, RESULT_SPLIT, 1);
        refuse(f, err);
        return;
    }
    metric_add(BATCHES, METRIC_NO_PLATFORM, RESULT_FAILED, 1);
    if (!is_conflict(err))
        health_flushed(false, server_boot_us(b->server));
    log_warn("batch_failed", LOG_INT("receipts", (int64_t)f->n), LOG_ERR(err));
    if (err->code == UNAVAILABLE && (is_conflict(err) || is_lost(err)))
        wait_again(f, err);
    else
        end_all(f, err);
}

/* What is in the spool was acknowledged, and is sent in the same company again and again: one that Postgres cannot take must not
 * hold up the others. Where each one fails it is nobody's, and to go on halving would only cost statements. */
static bool may_be_ones_fault(struct flight *f, const struct err *err)
{
    struct batch *b = f->batch;
    int64_t now_us = server_boot_us(b->server);

    if (!f->is_backlog || !sqlstate_is_of_rows(err))
        return false;
    if (now_us >= b->blame_again_us) {
        b->blame_again_us = now_us + MINUTE_US;
        b->nblamed = 0;
    }
    if (f->receipts[0]->delivery != f->receipts[f->n - 1]->delivery)
        return b->nblamed < BLAMES_MAX;
    b->nblamed++; /* a delivery is stored as a whole or stays */
    return false;
}

static void mark_new(struct flight *f, const struct pg_rows *stored)
{
    size_t nnew = pg_nrows(stored);
    bool all = nnew == f->n; /* the usual case: spares the comparing */

    for (size_t i = 0; i < nnew; i++) {
        struct receipt *r = all ? f->receipts[i] : find_unmarked(f, pg_bytes(stored, i, 0));
        r->is_new = true;
        metric_add(RECEIPTS_STORED, r->delivery->platform->index, 0, 1);
    }
}

/* Of two receipts with the same key in one statement the first counts as new. */
static struct receipt *find_unmarked(struct flight *f, struct span key)
{
    size_t i = 0;

    while (f->receipts[i]->is_new || memcmp(key.at, f->receipts[i]->event->dedup_key, DEDUP_KEY_BYTES) != 0)
        i++;
    return f->receipts[i];
}

/* Deadlock, serialization: Postgres undid this statement only to let another pass. */
static bool is_conflict(const struct err *err)
{
    return strncmp(err->sqlstate, "40", 2) == 0;
}

/* Nothing was heard of the statement, or its server process was told to end. */
static bool is_lost(const struct err *err)
{
    return err->sqlstate[0] == '\0' || strncmp(err->sqlstate, "57P", 3) == 0;
}

/* Perhaps it was committed: the primary key makes sending it again harmless. */
static void wait_again(struct flight *f, const struct err *err)
{
    struct batch *b = f->batch;
    unsigned most = tries_max(b, err);

    for (size_t i = f->n; i-- > 0;) { /* from the last: the queue keeps their order */
        struct receipt *r = f->receipts[i];
        if (r->delivery->gave_up || ++r->tries >= most)
            receipt_end(b, r, err);
        else
            queue_push_front(queue_of(f), r);
    }
    flight_give_back(f);
    server_again(b->server);
}

/* Where connections are cut one after the other, a statement may meet with each end; then a fresh one is worth a try. No more: it
 * may be what ends them. */
static unsigned tries_max(const struct batch *b, const struct err *err)
{
    return is_conflict(err) ? CONFLICTS_MAX : (unsigned)links_npg(b->links) + 1;
}

/* Some receipt of the flight holds what Postgres does not take: halved until it stands alone, then stored as
 * bytes only. One bad message must not cost its neighbours. */
static void refuse(struct flight *f, const struct err *err)
{
    struct batch *b = f->batch;
    struct receipt *alone = f->receipts[0];

    server_again(b->server);
    if (f->n > 1) {
        halve(f);
        return;
    }
    log_warn("receipt_refused", LOG_ID("delivery_id", &alone->delivery->id),
             LOG_SPAN("platform", alone->delivery->platform->name), LOG_ERR(err));
    if (alone->refusal) { /* even its bytes: nothing of the sender's is left in it that could be at fault */
        const struct err broken = {.code = BROKEN, .text = "Postgres refuses the bare bytes of a receipt"};
        receipt_end(b, alone, &broken);
    } else {
        alone->refusal = arena_print(alone->delivery->arena, "refused by Postgres (%s)", err->sqlstate);
        queue_push_front(queue_of(f), alone);
    }
    flight_give_back(f);
}

static void halve(struct flight *f)
{
    struct queue *q = queue_of(f);
    struct flight *second = flight_take(f->batch);

    second->n = f->n / 2;
    second->is_backlog = f->is_backlog;
    f->n -= second->n;
    memcpy(second->receipts, f->receipts + f->n, second->n * sizeof(second->receipts[0]));
    arena_reset(f->arena);
    second->next = q->halves;
    f->next = second;
    q->halves = f;
}

/* What comes from the spool waits for the others in whatever pieces. */
static struct queue *queue_of(const struct flight *f)
{
    return f->is_backlog ? &f->batch->backlog : &f->batch->queue;
}

static void end_all(struct flight *f, const struct err *failure)
{
    for (size_t i = 0; i < f->n; i++)
        receipt_end(f->batch, f->receipts[i], failure);
    flight_give_back(f);
}

static void receipt_end(struct batch *b, struct receipt *r, const struct err *failure)
{
    struct delivery *d = r->delivery;

    if (failure && !d->failure) {
        struct err *copy = arena_alloc(d->arena, sizeof(*copy));
        *copy = *failure;
        d->failure = copy;
    }
    if (--d->nwaiting == 0)
        b->config.done(d, d->failure);
}

/* The queue is in order of arrival, so those whose deadline has passed stand at its head. Halves may hold any. */
static void drop_overdue(struct batch *b)
{
    struct flight **at = &b->queue.halves, *f;

    while ((f = *at)) {
        drop_overdue_of(f);
        if (f->n > 0) {
            at = &f->next;
        } else {
            *at = f->next;
            flight_give_back(f);
        }
    }
    while (b->queue.first && b->queue.first->delivery->gave_up)
        receipt_end(b, queue_pop(&b->queue), &overdue);
}

static void drop_overdue_of(struct flight *f)
{
    size_t n = f->n;

    f->n = 0;
    for (size_t i = 0; i < n; i++)
        if (f->receipts[i]->delivery->gave_up)
            receipt_end(f->batch, f->receipts[i], &overdue);
        else
            f->receipts[f->n++] = f->receipts[i];
}

static void queue_push(struct queue *q, struct receipt *r)
{
    r->next = NULL;
    *q->last = r;
    q->last = &r->next;
    q->n++;
}

static void queue_push_front(struct queue *q, struct receipt *r)
{
    r->next = q->first;
    q->first = r;
    if (!r->next)
        q->last = &r->next;
    q->n++;
}

static struct receipt *queue_pop(struct queue *q)
{
    struct receipt *r = q->first;

    if (!r)
        return NULL;
    q->first = r->next;
    if (!q->first)
        q->last = &q->first;
    q->n--;
    return r;
}

static struct flight *flight_take(struct batch *b)
{
    struct flight *f = b->spare;

    if (f) {
        b->spare = f->next;
    } else {
        f = calloc(1, sizeof(*f));
        if (!f)
            abort();
        f->batch = b;
        f->arena = arena_open(FLIGHT_ARENA_BYTES);
    }
    f->next = NULL;
    f->n = 0;
    f->is_backlog = false;
    return f;
}

static void flight_give_back(struct flight *f)
{
    arena_reset(f->arena);
    f->next = f->batch->spare;
    f->batch->spare = f;
}
