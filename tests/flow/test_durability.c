/* What happens to webhooks under load while something ends: a 200 must mean stored, whatever it was. Here without a spool;
 * test_kills.c kills with one. */
#include "support/load.h"

#include "base/now.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    SENDERS = 16,
    CUTS = 10,
    LOCK_MS = 1900, /* Postgres lets ours wait for 2 s */
    LOCKS_MAX = 10
};

static int up(void **state)
{
    *state = world_open();
    return 0;
}

static int reset(void **state)
{
    struct world *w = *state;

    if (w->gateway)
        world_kill(w, GATEWAY);
    world_servers(w);
    world_reset(w);
    return 0;
}

static int down(void **state)
{
    world_close(*state);
    return 0;
}

static void wait_for_acks(struct load *l, unsigned n)
{
    unsigned target = load_so_far(l).acked + n;

    world_until(60, load_so_far(l).acked >= target);
}

static void test_a_worker_that_dies_is_replaced_and_loses_nothing(void **state)
{
    struct world *w = *state;
    struct load *l;
    struct load_count count;

    world_gateway(w, "--workers", "2", NULL);
    l = load_start(w, SENDERS);
    for (unsigned i = 0; i < 5; i++) {
        wait_for_acks(l, 100);
        kill(world_child(w, "ingest"), SIGKILL);
    }
    wait_for_acks(l, 500);
    count = load_stop(l, w);
    assert_int_equal(count.wrong, 0);
    assert_true(count.unknown > 0);
    assert_int_equal(world_gateway_stop(w), 0);
}

static void test_a_drain_answers_all_that_was_read(void **state)
{
    struct world *w = *state;

    for (unsigned i = 0; i < 5; i++) {
        struct load *l;
        struct load_count count;

        world_gateway(w, NULL);
        l = load_start(w, SENDERS);
        wait_for_acks(l, 300);
        assert_int_equal(world_gateway_stop(w), 0);
        count = load_stop(l, w);
        assert_int_equal(count.wrong, 0);
        assert_true(load_few_refused(count));
        assert_in_range(count.unknown, 0,
                        world_times_count() ? 0 : SENDERS / 2); /* who came too late for it */
        world_reset(w);
    }
}

/* Somebody else, we, holds the table until senders were told that it is not known. False: for so long that Postgres let nobody wait
 * any longer, and there was no commit to wait for. */
static bool drains_behind_a_lock(struct world *w)
{
    pid_t worker;
    struct load *l;
    struct load_count count;
    int64_t locked_us, held_us;
    bool waits;
    unsigned refused;
    long stored;

    world_gateway(w, NULL);
    worker = world_child(w, "ingest");
    l = load_start(w, SENDERS);
    wait_for_acks(l, 100);
    refused = load_so_far(l).refused; /* at a slow start */
    locked_us = now_boot_us();
    world_sql(w, "begin; lock table settle.webhook_receipts");
    world_until(10, world_count(w, "select pg_stat_clear_snapshot(); select count(*) from pg_stat_activity"
                                   " where usename = 'settle_gateway' and wait_event_type = 'Lock'") > 0);
    kill(w->gateway, SIGTERM);
    world_until(20, load_so_far(l).refused > refused);
    waits = kill(worker, 0) == 0;
    world_sql(w, "commit");
    held_us = now_boot_us() - locked_us;
    world_until(60, world_ended((struct process){.pid = w->gateway}));
    assert_int_equal(world_gateway_stop(w), 0);
    stored = world_count(w, "select count(*) from settle.webhook_receipts");
    count = load_stop(l, w);
    assert_int_equal(count.wrong, 0);
    if (held_us > LOCK_MS * INT64_C(1000))
        return false;
    assert_true(waits);
    assert_true(stored > (long)count.acked);
    if (world_times_count()) /* else some begin again before it ends, and some come too late for it */
        assert_true(count.unknown == 0 && count.refused <= SENDERS);
    return true;
}

/* The commit takes longer than any haste would allow, and than its senders are kept waiting. What they were told is that it is not
 * known; it is stored all the same, before the gateway ends. */
static void test_a_drain_waits_for_the_commits_under_way(void **state)
{
    struct world *w = *state;
    bool judged = false;

    for (unsigned i = 0; i < LOCKS_MAX && !judged; i++) {
        world_reset(w);
        judged = drains_behind_a_lock(w);
    }
    assert_true(judged);
}

static void test_postgres_killed_costs_503s_and_comes_back_by_itself(void **state)
{
    struct world *w = *state;
    struct load *l;
    struct load_count count;

    world_gateway(w, NULL);
    l = load_start(w, SENDERS);
    wait_for_acks(l, 300);
    world_kill(w, POSTGRES);
    world_until(20, load_so_far(l).refused > SENDERS);
    world_servers(w);
    wait_for_acks(l, 300);
    count = load_stop(l, w);
    assert_int_equal(count.wrong, 0); /* our fault is never a 4xx */
    assert_int_equal(count.unknown, 0);
}

/* What was under way goes by the other connection, which may end just then, or by the next one, which comes within the deadline,
 * unless the machine is so busy that it does not: then it is told so, and stored when it comes again. */
static void test_connections_that_are_cut_cost_nothing(void **state)
{
    struct world *w = *state;
    struct load *l;
    struct load_count count;
    unsigned refused = 0, cost = 0;

    world_gateway(w, NULL);
    l = load_start(w, SENDERS);
    for (unsigned i = 0; i < CUTS; i++) {
        wait_for_acks(l,
                      100); /* of connections that have stored something: lost, they are tried again soon */
        world_sql(w,
                  "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'settle_gateway'");
        wait_for_acks(l, 100);
        cost += load_so_far(l).refused > refused;
        refused = load_so_far(l).refused;
    }
    wait_for_acks(l, 300);
    count = load_stop(l, w);
    print_message("%u of %d cuts cost anything: %u were refused\n", cost, CUTS, count.refused);
    assert_int_equal(count.wrong, 0);
    assert_in_range(cost, 0, world_times_count() ? CUTS / 5 : CUTS);
    assert_int_equal(count.unknown, 0);
}

static void test_a_frozen_postgres_is_answered_503_and_given_up(void **state)
{
    struct world *w = *state;
    struct load *l;
    struct load_count count;

    setenv("SETTLE_INGEST_COMMIT_TIMEOUT_MS", "300", 1);
    world_gateway(w, NULL);
    unsetenv("SETTLE_INGEST_COMMIT_TIMEOUT_MS");
    l = load_start(w, SENDERS);
    wait_for_acks(l, 300);
    world_freeze(w, POSTGRES);
    world_until(20, load_so_far(l).refused >= 2 * SENDERS);
    world_thaw(w, POSTGRES);
    wait_for_acks(l, 300);
    count = load_stop(l, w);
    assert_int_equal(count.wrong, 0);
    assert_int_equal(count.unknown, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_worker_that_dies_is_replaced_and_loses_nothing, reset),
        cmocka_unit_test_setup(test_a_drain_answers_all_that_was_read, reset),
        cmocka_unit_test_setup(test_a_drain_waits_for_the_commits_under_way, reset),
        cmocka_unit_test_setup(test_postgres_killed_costs_503s_and_comes_back_by_itself, reset),
        cmocka_unit_test_setup(test_connections_that_are_cut_cost_nothing, reset),
        cmocka_unit_test_setup(test_a_frozen_postgres_is_answered_503_and_given_up, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
