#include "support/test.h"

#include "health.h"

#include <sys/wait.h>
#include <unistd.h>

enum { NOW = 1000000000, STALE_US = HEALTH_STALE_MS * 1000 };

/* A child process takes `place`, and says whether it can store. */
static void child(size_t place, enum health_role role, int64_t boot_us, bool can_store)
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        health_join(place, role, boot_us);
        if (can_store)
            health_can_store(true);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void test_processes_tell_each_other(void **state)
{
    struct err err;

    (void)state;
    assert_int_equal(health_nplaces(), 0);
    assert_false(health_draining());
    assert_int_equal(health_open(3, &err), OK);
    assert_int_equal(health_nplaces(), 3);

    child(1, HEALTH_INGEST, NOW, true);
    assert_int_equal(health_place(0, NOW).role, HEALTH_NOBODY);
    assert_int_equal(health_place(1, NOW).role, HEALTH_INGEST);
    assert_true(health_place(1, NOW).can_store);
}

static void test_a_loop_that_does_not_turn_shows(void **state)
{
    (void)state;
    assert_true(health_place(1, NOW + STALE_US - 1).turned_lately);
    assert_false(health_place(1, NOW + STALE_US).turned_lately);
}

static void test_a_successor_does_not_inherit_a_connection(void **state)
{
    (void)state;
    child(1, HEALTH_INGEST, NOW + STALE_US, false);
    assert_true(health_place(1, NOW + STALE_US).turned_lately);
    assert_false(health_place(1, NOW + STALE_US).can_store);
}

static void test_a_spool_is_a_store(void **state)
{
    (void)state;
    health_join(1, HEALTH_INGEST, NOW);
    assert_false(health_place(1, NOW).can_store);
    assert_false(health_place(1, NOW).has_spool);
    health_can_spool(true);
    health_flushed(false, NOW);
    assert_true(health_place(1, NOW).can_store);
    assert_true(health_place(1, NOW).can_spool);
    health_can_spool(false);
    assert_true(health_place(1, NOW).has_spool);
    assert_false(health_place(1, NOW).can_spool);
    assert_false(health_place(1, NOW).can_store);
    health_can_spool(true);
    health_join(1, HEALTH_INGEST, NOW); /* a successor's is not open yet */
    assert_false(health_place(1, NOW).can_store);
}

static void flush_at(bool good, int64_t boot_us)
{
    health_join(2, HEALTH_INGEST, NOW);
    health_can_store(true);
    health_flushed(good, boot_us);
}

static void test_a_failed_commit_counts_until_a_good_one_or_for_a_while(void **state)
{
    const int64_t over_us = NOW + HEALTH_FAILED_MS * INT64_C(1000);

    (void)state;
    flush_at(false, NOW);
    assert_false(health_place(2, NOW).can_store);
    assert_false(health_place(2, over_us - 1).can_store);
    assert_true(health_place(2, over_us).can_store);
    health_flushed(true, NOW + 1);
    assert_true(health_place(2, NOW + 1).can_store);
    flush_at(false, NOW);
    health_join(2, HEALTH_INGEST, NOW); /* a successor has failed in nothing yet */
    health_can_store(true);
    assert_true(health_place(2, NOW).can_store);
}

/* What the watchdog is fed by. Place 1 has stopped turning; place 2 turns. */
static void test_a_worker_that_hangs_shows_and_one_that_waits_for_nothing_does_not(void **state)
{
    const int64_t stuck_us = HEALTH_STUCK_MS * INT64_C(1000);
    int64_t now = NOW + 10 * stuck_us;

    (void)state;
    assert_false(health_ingest_goes_on(now));
    child(1, HEALTH_INGEST, now, false);
    health_join(2, HEALTH_INGEST, now);
    assert_true(health_ingest_goes_on(now)); /* although neither can store */
    health_flushed(false, now);
    assert_true(health_ingest_goes_on(now)); /* a store that fails is no fault of ours */
    assert_false(health_ingest_goes_on(now + STALE_US));

    child(1, HEALTH_ADMIN, now, false); /* only ingest counts */
    for (int64_t at = now; at < now + stuck_us; at += STALE_US) {
        health_turn(at);
        assert_true(health_ingest_goes_on(at));
    }
    now += stuck_us;
    health_turn(now);
    assert_false(health_ingest_goes_on(now)); /* its loop turns, and nothing gets done */
    health_wrote(now);
    assert_true(health_ingest_goes_on(now));
}

static void test_a_drain_is_seen_by_all(void **state)
{
    (void)state;
    health_drain();
    assert_true(health_draining());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_processes_tell_each_other),
        cmocka_unit_test(test_a_loop_that_does_not_turn_shows),
        cmocka_unit_test(test_a_successor_does_not_inherit_a_connection),
        cmocka_unit_test(test_a_spool_is_a_store),
        cmocka_unit_test(test_a_failed_commit_counts_until_a_good_one_or_for_a_while),
        cmocka_unit_test(test_a_worker_that_hangs_shows_and_one_that_waits_for_nothing_does_not),
        cmocka_unit_test(test_a_drain_is_seen_by_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
