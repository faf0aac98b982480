/* The batch against a Postgres of a few lines: what is sent when, and what becomes of it when it is refused or lost. */
#include "support/test.h"

#include "base/now.h"
#include "batch.h"
#include "health.h"
#include "ingest.h"

#include <stdlib.h>

enum { NCONNECTIONS = 2, NDELIVERIES = 100, MAX_ROWS = 8 };

/* One connection: holds at most one statement, answered when the test says so. */
struct pg {
    bool up;
    size_t nwaiting;
    pg_done *done;
    void *ctx;
    size_t nrows;
    struct span keys[BATCH_ROWS_MAX];
    bool unread[BATCH_ROWS_MAX]; /* the row comes without what was read from its body */
    bool bare[BATCH_ROWS_MAX];   /* the row comes without its body */
    size_t nshared;              /* bodies that come in rows of their own */
    struct span shared[BATCH_ROWS_MAX];
};

struct pg_rows {
    struct span keys[BATCH_ROWS_MAX];
    size_t n;
};

static struct pg connections[NCONNECTIONS];
static size_t nstatements, ndropped;
static int64_t boot_us = SECOND_US;

/* What batch.c needs of the gateway and of the store, in place of the real ones. */

size_t links_npg(const struct links *l)
{
    (void)l;
    return NCONNECTIONS;
}

struct pg *links_pg(const struct links *l, size_t i)
{
    (void)l;
    return connections[i].up ? &connections[i] : NULL;
}

bool links_pg_is_up(const struct links *l)
{
    (void)l;
    return connections[0].up || connections[1].up;
}

void links_drop_pg(struct links *l, const struct pg *pg)
{
    (void)l;
    (void)pg;
    ndropped++;
}

void links_praise_pg(struct links *l, const struct pg *pg)
{
    (void)l;
    (void)pg;
}

int64_t server_boot_us(struct server *s)
{
    (void)s;
    return boot_us;
}

void server_again(struct server *s)
{
    (void)s;
}

size_t pg_waiting(const struct pg *pg)
{
    return pg->nwaiting;
}

static struct span element(const char **at)
{
    uint32_t raw;
    int32_t len;
    struct span value;

    memcpy(&raw, *at, 4);
    len = (int32_t)__builtin_bswap32(raw);
    *at += 4;
    value = len < 0 ? SPAN_NONE : (struct span){*at, (size_t)len};
    *at += value.len;
    return value;
}

static size_t elements(const struct pg_args *args, int arg)
{
    uint32_t n;

    memcpy(&n, args->values[arg] + 12, 4);
    return __builtin_bswap32(n);
}

void pg_send(struct pg *pg, enum sql sql, const struct pg_args *args, int64_t deadline_boot_us, pg_done *done,
             void *ctx)
{
    const char *keys = args->values[0] + 20, *posts = args->values[4] + 20; /* behind the head of an array */
    const char *bodies = args->values[15] + 20, *shared;

    assert_int_equal(args->n, sql == SQL_RECEIPT_ACCEPT_SHARED ? 22 : 16);
    assert_int_equal(sql_texts[sql].nparameters, args->n);
    assert_int_equal(pg->nwaiting, 0);
    assert_true(deadline_boot_us > SECOND_US);
    pg->nrows = elements(args, 0);
    pg->nshared = sql == SQL_RECEIPT_ACCEPT_SHARED ? elements(args, 21) : 0;
    for (size_t i = 0; i < pg->nrows; i++) {
        pg->keys[i] = element(&keys);
        pg->unread[i] = element(&posts).at == NULL;
        pg->bare[i] = element(&bodies).at == NULL;
    }
    shared = pg->nshared > 0 ? args->values[21] + 20 : NULL;
    for (size_t i = 0; i < pg->nshared; i++)
        pg->shared[i] = element(&shared);
    pg->nwaiting = 1;
    pg->done = done;
    pg->ctx = ctx;
    nstatements++;
}

size_t pg_nrows(const struct pg_rows *rows)
{
    return rows->n;
}

struct span pg_bytes(const struct pg_rows *rows, size_t row, size_t column)
{
    assert_int_equal(column, 0);
    return rows->keys[row];
}

/* The first byte of a key is the number of its delivery. */

static struct platform platform = {
    .name = {"instagram", 9}
};
static struct source source = {
    .name = {"default", 7},
      .nsecrets = 1
};
static struct delivery deliveries[NDELIVERIES];
static struct receipt receipts[NDELIVERIES][2];
static struct event events[NDELIVERIES][2];
static struct {
    unsigned times;
    enum status failure;
} ended[NDELIVERIES];
static struct batch *batch;

static void on_done(struct delivery *d, const struct err *failure)
{
    size_t i = (size_t)(d - deliveries);

    ended[i].times++;
    ended[i].failure = failure ? failure->code : OK;
}

static int begin(void **state)
{
    const struct batch_config config = {.max_rows = MAX_ROWS, .commit_timeout_ms = 2000, .done = on_done};

    (void)state;
    memset(connections, 0, sizeof(connections));
    memset(ended, 0, sizeof(ended));
    memset(receipts, 0, sizeof(receipts));
    nstatements = ndropped = 0;
    connections[0].up = true;
    for (size_t i = 0; i < NDELIVERIES; i++) {
        deliveries[i] = (struct delivery){
            .arena = arena_open(1024),
            .id = {.bytes = {(uint8_t)i}},
            .platform = &platform,
            .source = &source,
            .body = { "x",                    1},
            .receipts = receipts[i],
            .nreceipts = 1
        };
        for (size_t k = 0; k < 2; k++) {
            events[i][k] = (struct event){
                .post_id = {"p", 1},
                  .happened_us = TIME_NONE
            };
            memset(events[i][k].dedup_key, 0, DEDUP_KEY_BYTES);
            events[i][k].dedup_key[0] = (uint8_t)i;
            events[i][k].dedup_key[1] = (uint8_t)k;
            receipts[i][k].delivery = &deliveries[i];
            receipts[i][k].event = &events[i][k];
        }
    }
    batch = batch_open(NULL, NULL, &config);
    return 0;
}

static int end(void **state)
{
    (void)state;
    batch_close(batch);
    for (size_t i = 0; i < NDELIVERIES; i++)
        arena_close(deliveries[i].arena);
    return 0;
}

static void add(size_t first, size_t n)
{
    for (size_t i = first; i < first + n; i++)
        batch_add(batch, &deliveries[i]);
}

static void commit(struct pg *pg)
{
    struct pg_rows rows = {.n = pg->nrows};

    memcpy(rows.keys, pg->keys, sizeof(rows.keys));
    assert_int_equal(pg->nwaiting, 1);
    pg->nwaiting = 0;
    pg->done(pg->ctx, &rows, NULL);
}

static void refuse(struct pg *pg, enum status code, const char *sqlstate)
{
    struct err err = {.code = code, .text = "so says the test"};

    memcpy(err.sqlstate, sqlstate, strlen(sqlstate) + 1);
    assert_int_equal(pg->nwaiting, 1);
    pg->nwaiting = 0;
    pg->done(pg->ctx, NULL, &err);
}

static void expect_ended(size_t first, size_t n, enum status failure)
{
    for (size_t i = first; i < first + n; i++)
        if (ended[i].times != 1 || ended[i].failure != failure)
            fail_msg("delivery %zu ended %u times, with %s", i, ended[i].times,
                     status_name(ended[i].failure));
}

static void test_what_came_in_one_turn_goes_in_one_statement(void **state)
{
    (void)state;
    add(0, 5);
    assert_int_equal(nstatements, 0); /* not before the end of the turn */
    batch_turn(batch);
    assert_int_equal(nstatements, 1);
    assert_int_equal(connections[0].nrows, 5);
    add(5, 3);
    batch_turn(batch);
    assert_int_equal(nstatements, 1); /* the connection is at work: they wait and gather */
    expect_ended(0, 0, OK);
    commit(&connections[0]);
    expect_ended(0, 5, OK);
    batch_turn(batch);
    assert_int_equal(connections[0].nrows, 3);
    commit(&connections[0]);
    expect_ended(5, 3, OK);
}

static void test_a_full_batch_leaves_at_once_and_no_fuller_one_ever(void **state)
{
    (void)state;
    add(0, MAX_ROWS);
    assert_int_equal(nstatements, 1);
    add(MAX_ROWS, 2 * MAX_ROWS);
    batch_turn(batch);
    assert_int_equal(nstatements, 1);
    commit(&connections[0]);
    batch_turn(batch);
    assert_int_equal(connections[0].nrows, MAX_ROWS);
    connections[1].up = true;
    batch_turn(batch);
    assert_int_equal(connections[1].nrows, MAX_ROWS);
    commit(&connections[1]);
    commit(&connections[0]);
    expect_ended(0, 3 * MAX_ROWS, OK);
}

static void test_one_refused_receipt_costs_no_neighbour(void **state)
{
    struct pg *pg = &connections[0];
    size_t nsent = 0;

    (void)state;
    add(0, 7);
    for (batch_turn(batch); pg->nwaiting > 0; batch_turn(batch)) {
        bool poisoned = false;
        for (size_t i = 0; i < pg->nrows; i++)
            poisoned |= pg->keys[i].at[0] == 3 && !pg->unread[i];
        if (poisoned)
            refuse(pg, REJECTED, "22P05");
        else
            commit(pg);
        assert_true(++nsent < 20);
    }
    expect_ended(0, 7, OK);
    assert_string_equal(receipts[3][0].refusal, "refused by Postgres (22P05)");
    assert_null(receipts[2][0].refusal);
    assert_int_equal(ndropped, 0);
}

static void test_a_receipt_refused_even_bare_is_our_fault(void **state)
{
    (void)state;
    add(0, 1);
    batch_turn(batch);
    refuse(&connections[0], REJECTED, "54000");
    batch_turn(batch);
    assert_true(connections[0].unread[0]);
    refuse(&connections[0], REJECTED, "54000");
    expect_ended(0, 1, BROKEN);
}

static void test_a_deadlock_is_tried_once_more_on_the_same_connection(void **state)
{
    (void)state;
    add(0, 2);
    batch_turn(batch);
    refuse(&connections[0], UNAVAILABLE, "40P01");
    assert_int_equal(ndropped, 0);
    batch_turn(batch);
    assert_int_equal(connections[0].nrows, 2);
    refuse(&connections[0], UNAVAILABLE, "40P01");
    expect_ended(0, 2, UNAVAILABLE);
}

static void test_what_a_lost_connection_took_goes_again_on_another(void **state)
{
    (void)state;
    add(0, 3);
    batch_turn(batch);
    connections[0].up = false;
    connections[1].up = true;
    add(3, 1);
    refuse(&connections[0], UNAVAILABLE, "");
    batch_turn(batch);
    assert_int_equal(connections[1].nrows, 4);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(connections[1].keys[i].at[0], i); /* those that came first stay first */
    commit(&connections[1]);
    expect_ended(0, 4, OK);
}

/* Cut one after the other: what was lost with each goes by a new one. What is lost again may be the reason. */
static void test_what_each_connection_has_lost_goes_by_one_more_and_no_further(void **state)
{
    (void)state;
    add(0, 3);
    for (size_t i = 0; i < NCONNECTIONS; i++) {
        batch_turn(batch);
        refuse(&connections[0], UNAVAILABLE, i % 2 ? "57P01" : "");
    }
    batch_turn(batch);
    commit(&connections[0]);
    expect_ended(0, 3, OK);
    add(3, 1);
    for (size_t i = 0; i <= NCONNECTIONS; i++) {
        batch_turn(batch);
        refuse(&connections[0], UNAVAILABLE, "");
    }
    expect_ended(3, 1, UNAVAILABLE);
}

static void test_a_full_disk_is_not_tried_again(void **state)
{
    (void)state;
    add(0, 2);
    batch_turn(batch);
    refuse(&connections[0], UNAVAILABLE, "53100");
    expect_ended(0, 2, UNAVAILABLE);
    assert_int_equal(ndropped, 1);
}

static void test_who_was_answered_already_costs_no_statement(void **state)
{
    (void)state;
    connections[0].up = false;
    add(0, 3);
    deliveries[0].gave_up = deliveries[1].gave_up = true;
    batch_turn(batch);
    expect_ended(0, 2, UNAVAILABLE);
    connections[0].up = true;
    batch_turn(batch);
    assert_int_equal(connections[0].nrows, 1);
    commit(&connections[0]);
    expect_ended(2, 1, OK);
}

static void test_halves_wait_no_longer_than_their_senders(void **state)
{
    (void)state;
    add(0, 4);
    batch_turn(batch);
    connections[0].up = false;
    refuse(&connections[0], REJECTED, "22P05");
    deliveries[0].gave_up = deliveries[1].gave_up = deliveries[3].gave_up = true;
    batch_turn(batch);
    expect_ended(0, 2, UNAVAILABLE);
    expect_ended(3, 1, UNAVAILABLE);
    connections[0].up = true;
    batch_turn(batch);
    assert_int_equal(connections[0].nrows, 1);
    commit(&connections[0]);
    expect_ended(2, 1, OK);
    assert_true(batch_is_idle(batch));
}

static void test_a_delivery_ends_with_the_last_of_its_receipts(void **state)
{
    (void)state;
    add(0, MAX_ROWS - 2);
    deliveries[90].nreceipts = 2;
    deliveries[91].nreceipts = 2;
    receipts[91][0].seen = true;
    add(91, 1); /* one of two: the other is stored already */
    add(90, 1); /* no room for both of its receipts in the first flight */
    assert_int_equal(connections[0].nrows, MAX_ROWS - 1);
    commit(&connections[0]);
    expect_ended(91, 1, OK);
    assert_int_equal(ended[90].times, 0);
    batch_turn(batch);
    refuse(&connections[0], REJECTED, "22P05");
    batch_turn(batch);
    assert_int_equal(connections[0].nrows, 1);
    commit(&connections[0]);
    assert_int_equal(ended[90].times, 0);
    batch_turn(batch);
    commit(&connections[0]);
    expect_ended(90, 1, OK);
    assert_true(receipts[90][1].is_new);
    assert_false(receipts[91][0].is_new);
}

static void test_a_delivery_with_several_receipts_sends_its_body_once(void **state)
{
    struct pg *pg = &connections[0];

    (void)state;
    add(2, MAX_ROWS - 3);
    deliveries[90].nreceipts = deliveries[91].nreceipts = 2;
    deliveries[90].body = SPAN("ninety");
    deliveries[91].body = SPAN("ninety-one");
    add(90, 2); /* one of the second would have room */
    assert_int_equal(pg->nrows, MAX_ROWS - 1);
    for (size_t i = 0; i < MAX_ROWS - 1; i++)
        assert_int_equal(pg->bare[i], i >= MAX_ROWS - 3);
    assert_int_equal(pg->nshared, 1);
    assert_true(span_eq(pg->shared[0], SPAN("ninety")));
    commit(pg);
    batch_turn(batch);
    assert_int_equal(pg->nrows, 2);
    assert_int_equal(pg->nshared, 1);
    assert_true(span_eq(pg->shared[0], SPAN("ninety-one")));
    commit(pg);
    expect_ended(90, 2, OK);
    add(1, 1);
    batch_turn(batch);
    assert_int_equal(pg->nshared, 0); /* the next one needs no more than before */
    assert_false(pg->bare[0]);
    commit(pg);
}

/* Either half may be the first to be stored, so both bring the body. */
static void test_the_halves_of_a_delivery_bring_its_body_each(void **state)
{
    struct pg *pg = &connections[0];

    (void)state;
    deliveries[90].nreceipts = 2;
    add(90, 1);
    batch_turn(batch);
    assert_int_equal(pg->nrows, 2);
    refuse(pg, REJECTED, "22P05");
    for (size_t i = 0; i < 2; i++) {
        batch_turn(batch);
        assert_int_equal(pg->nrows, 1);
        assert_int_equal(pg->nshared, 1);
        commit(pg);
    }
    expect_ended(90, 1, OK);
}

/* As many events as a delivery may hold, many more than a statement usually takes. */
static void test_a_delivery_of_many_receipts_goes_alone_and_whole(void **state)
{
    static struct receipt many[EVENTS_MAX];
    static struct event their_events[EVENTS_MAX];
    struct pg *pg = &connections[0];

    (void)state;
    for (size_t i = 0; i < EVENTS_MAX; i++) {
        their_events[i] = events[90][0];
        their_events[i].dedup_key[2] = (uint8_t)i;
        their_events[i].dedup_key[3] = (uint8_t)(i >> 8);
        many[i] = (struct receipt){.delivery = &deliveries[90], .event = &their_events[i]};
    }
    deliveries[90].receipts = many;
    deliveries[90].nreceipts = EVENTS_MAX;
    connections[0].up = false;
    add(0, 2);
    add(90, 1);
    connections[0].up = true;
    batch_turn(batch);
    assert_int_equal(pg->nrows, 2);
    commit(pg);
    expect_ended(0, 2, OK);
    batch_turn(batch);
    add(2, 1);
    assert_int_equal(pg->nrows, EVENTS_MAX);
    assert_int_equal(pg->nshared, 1);
    commit(pg);
    expect_ended(90, 1, OK);
    batch_turn(batch);
    assert_int_equal(pg->nrows, 1);
    commit(pg);
    expect_ended(2, 1, OK);
}

/* One that names a thousand events must not fill the queue for all. */
static void test_large_bodies_go_alone_and_once(void **state)
{
    static char large[3 * 1024 * 1024];
    const size_t nlarge = 20;

    (void)state;
    connections[0].up = false;
    for (size_t i = 0; i < nlarge; i++) {
        deliveries[i].nreceipts = 2;
        deliveries[i].body = (struct span){large, sizeof(large)};
    }
    add(0, nlarge);
    for (size_t i = nlarge; i < nlarge + 2; i++)
        deliveries[i].body = (struct span){large, sizeof(large)};
    add(nlarge, 2);
    connections[0].up = true;
    batch_turn(batch);
    assert_int_equal(connections[0].nrows, 2); /* a second would make the statement too large */
    assert_int_equal(connections[0].nshared, 1);
    for (; connections[0].nwaiting > 0; batch_turn(batch))
        commit(&connections[0]);
    expect_ended(0, nlarge + 2, OK);
}

static void test_only_what_the_commit_returns_is_new(void **state)
{
    struct pg *pg = &connections[0];

    (void)state;
    events[1][0] = events[0][0]; /* the same event twice in one statement */
    add(0, 4);
    batch_turn(batch);
    pg->keys[1] = pg->keys[3];
    pg->nrows = 2;
    commit(pg);
    expect_ended(0, 4, OK);
    assert_true(receipts[0][0].is_new);
    assert_false(receipts[1][0].is_new);
    assert_false(receipts[2][0].is_new);
    assert_true(receipts[3][0].is_new);
}

/* By what the watchdog tells a writer that hangs. */
static void test_a_statement_without_an_end_shows_and_an_absent_store_does_not(void **state)
{
    const int64_t stuck_us = HEALTH_STUCK_MS * INT64_C(1000);
    struct err err;

    (void)state;
    assert_int_equal(health_open(1, &err), OK);
    health_join(0, HEALTH_INGEST, boot_us);
    boot_us += stuck_us; /* nothing came in all that time */
    health_turn(boot_us);
    batch_turn(batch);
    assert_true(health_ingest_goes_on(boot_us));

    add(0, 2);
    batch_turn(batch);
    boot_us += stuck_us;
    health_turn(boot_us);
    batch_turn(batch);
    assert_false(health_ingest_goes_on(boot_us));
    refuse(&connections[0], UNAVAILABLE, "57014");
    assert_true(health_ingest_goes_on(boot_us));
    batch_turn(batch);

    connections[0].up = false;
    add(2, 1);
    boot_us += stuck_us;
    health_turn(boot_us);
    batch_turn(batch);
    assert_true(health_ingest_goes_on(boot_us));
    boot_us = SECOND_US;
}

/* What the spool brings back: key by key, live webhooks keep four flights of five. */
static void test_a_backlog_gets_one_flight_in_five_while_live_ones_wait(void **state)
{
    struct pg *pg = &connections[0];
    size_t nlive = 0, nbacklog = 0, live = 0;

    (void)state;
    for (size_t i = 60; i < NDELIVERIES; i++)
        batch_add_backlog(batch, &deliveries[i]);
    add(0, 40);
    live = 40;
    batch_turn(batch);
    for (size_t turns = 0; turns < 7; turns++) {
        bool is_backlog = pg->keys[0].at[0] >= 60;
        nbacklog += is_backlog;
        nlive += !is_backlog;
        for (size_t i = 0; i < pg->nrows; i++) /* never in one statement */
            assert_int_equal(pg->keys[i].at[0] >= 60, is_backlog);
        commit(pg);
        if (live < 56) {
            add(live, MAX_ROWS);
            live += MAX_ROWS;
        }
        batch_turn(batch);
    }
    assert_int_equal(nbacklog, 1);
    assert_int_equal(nlive, 6);
    for (; pg->nwaiting > 0; batch_turn(batch))
        commit(pg);
    expect_ended(0, live, OK);
    expect_ended(60, NDELIVERIES - 60, OK);
}

static void test_a_backlog_takes_one_connection(void **state)
{
    (void)state;
    connections[1].up = true;
    for (size_t i = 20; i < NDELIVERIES; i++)
        batch_add_backlog(batch, &deliveries[i]);
    batch_turn(batch);
    assert_int_equal(connections[0].nwaiting, 1);
    assert_int_equal(connections[1].nwaiting, 0); /* kept for who is in a hurry */
    assert_true(batch_is_idle(batch));
    batch_add(batch, &deliveries[0]);
    batch_turn(batch);
    assert_int_equal(connections[1].keys[0].at[0], 0);
    commit(&connections[1]);
    expect_ended(0, 1, OK);
    for (; connections[0].nwaiting > 0; batch_turn(batch))
        commit(&connections[0]);
    expect_ended(20, NDELIVERIES - 20, OK);
}

/* Halves are flights of the backlog too: one at a time, and the other connection is kept for who is in a hurry. */
static void test_halves_of_a_backlog_fly_one_at_a_time(void **state)
{
    struct pg *first = &connections[0], *second = &connections[1];

    (void)state;
    second->up = true;
    for (size_t i = 0; i < 3 * MAX_ROWS; i++)
        batch_add_backlog(batch, &deliveries[i]);
    batch_turn(batch);
    refuse(first, REJECTED, "22P05");
    batch_turn(batch);
    assert_int_equal(first->nrows, MAX_ROWS / 2);
    for (; first->nwaiting > 0; batch_turn(batch)) {
        assert_int_equal(second->nwaiting, 0);
        commit(first);
    }
    expect_ended(0, 3 * MAX_ROWS, OK);
}

/* What is safe in the spool and is sent in pieces waits for live webhooks as any other of it. */
static void test_a_refused_backlog_lets_live_webhooks_go_first(void **state)
{
    struct pg *pg = &connections[0];
    size_t nbacklog = 0;

    (void)state;
    for (size_t i = 60; i < 60 + MAX_ROWS; i++)
        batch_add_backlog(batch, &deliveries[i]);
    batch_turn(batch);
    add(0, 4 * MAX_ROWS);
    refuse(pg, REJECTED, "22P05");
    for (size_t nlive = 0; nlive < 4; batch_turn(batch)) {
        batch_turn(batch);
        nbacklog += pg->keys[0].at[0] >= 60;
        nlive += pg->keys[0].at[0] < 60;
        commit(pg);
    }
    assert_int_equal(nbacklog, 0);
    for (; pg->nwaiting > 0; batch_turn(batch))
        commit(pg);
    expect_ended(0, 4 * MAX_ROWS, OK);
    expect_ended(60, MAX_ROWS, OK);
}

static void test_a_backlog_that_is_refused_is_split_and_one_that_is_lost_goes_again(void **state)
{
    struct pg *pg = &connections[0];
    size_t nsent = 0;

    (void)state;
    for (size_t i = 0; i < 6; i++)
        batch_add_backlog(batch, &deliveries[i]);
    batch_turn(batch);
    refuse(pg, UNAVAILABLE, "");
    for (batch_turn(batch); pg->nwaiting > 0; batch_turn(batch)) {
        bool poisoned = false;
        for (size_t i = 0; i < pg->nrows; i++)
            poisoned |= pg->keys[i].at[0] == 3 && !pg->unread[i];
        if (poisoned)
            refuse(pg, REJECTED, "22P05");
        else
            commit(pg);
        assert_true(++nsent < 20);
    }
    expect_ended(0, 6, OK);
    assert_non_null(receipts[3][0].refusal);
    for (size_t i = 10; i < 14; i++)
        batch_add_backlog(batch, &deliveries[i]);
    for (size_t i = 0; i <= NCONNECTIONS; i++) {
        batch_turn(batch);
        refuse(pg, UNAVAILABLE, "");
    }
    expect_ended(10, 4, UNAVAILABLE); /* they stay in the spool */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_came_in_one_turn_goes_in_one_statement, begin, end),
        cmocka_unit_test_setup_teardown(test_a_full_batch_leaves_at_once_and_no_fuller_one_ever, begin, end),
        cmocka_unit_test_setup_teardown(test_one_refused_receipt_costs_no_neighbour, begin, end),
        cmocka_unit_test_setup_teardown(test_a_receipt_refused_even_bare_is_our_fault, begin, end),
        cmocka_unit_test_setup_teardown(test_a_deadlock_is_tried_once_more_on_the_same_connection, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_what_a_lost_connection_took_goes_again_on_another, begin, end),
        cmocka_unit_test_setup_teardown(test_what_each_connection_has_lost_goes_by_one_more_and_no_further,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_a_full_disk_is_not_tried_again, begin, end),
        cmocka_unit_test_setup_teardown(test_who_was_answered_already_costs_no_statement, begin, end),
        cmocka_unit_test_setup_teardown(test_halves_wait_no_longer_than_their_senders, begin, end),
        cmocka_unit_test_setup_teardown(test_a_delivery_ends_with_the_last_of_its_receipts, begin, end),
        cmocka_unit_test_setup_teardown(test_a_delivery_with_several_receipts_sends_its_body_once, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_the_halves_of_a_delivery_bring_its_body_each, begin, end),
        cmocka_unit_test_setup_teardown(test_a_delivery_of_many_receipts_goes_alone_and_whole, begin, end),
        cmocka_unit_test_setup_teardown(test_large_bodies_go_alone_and_once, begin, end),
        cmocka_unit_test_setup_teardown(test_a_statement_without_an_end_shows_and_an_absent_store_does_not,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_only_what_the_commit_returns_is_new, begin, end),
        cmocka_unit_test_setup_teardown(test_a_backlog_gets_one_flight_in_five_while_live_ones_wait, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_a_backlog_takes_one_connection, begin, end),
        cmocka_unit_test_setup_teardown(test_halves_of_a_backlog_fly_one_at_a_time, begin, end),
        cmocka_unit_test_setup_teardown(test_a_refused_backlog_lets_live_webhooks_go_first, begin, end),
        cmocka_unit_test_setup_teardown(
            test_a_backlog_that_is_refused_is_split_and_one_that_is_lost_goes_again, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
