/*
 * One runner at a time, and none that can do mass damage: locks, fences, kills, the guard.
 */
#include "support/shim.h"

#include "base/now.h"

#include <signal.h>
#include <stdio.h>

#define RUN_A "0190a0a0-aaaa-7222-8333-444455556666"
#define RUN_B "0190a0a0-bbbb-7222-8333-444455556666"

/* Holds one row as another tool's open transaction does, until the commit. */
static void hold(struct world *w, const char *post)
{
    world_sql(w, "begin; select from settle.publish_logs where external_post_id = '%s' for update", post);
}

static int up(void **state)
{
    *state = world_open();
    return 0;
}

static int reset(void **state)
{
    world_reset(*state);
    return 0;
}

static int down(void **state)
{
    world_close(*state);
    return 0;
}

static void publications(struct world *w, const char *prefix, unsigned n)
{
    world_sql(w,
              "insert into settle.publish_logs (platform, user_id_str, status, external_post_id, updated_at)"
              " select 'instagram', 'u', 'processing', '%s' || g, now() - interval '20 minutes'"
              " from generate_series(1, %u) g",
              prefix, n);
}

static void webhooks(struct world *w, const char *prefix)
{
    world_sql(
        w,
        "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id,"
        "  event_status, decisive, received_at, headers, body)"
        " select sha256(external_post_id::bytea), source, platform, gen_random_uuid(), external_post_id,"
        "  'published', 1, now(), '', '' from settle.publish_logs where external_post_id like '%s%%'",
        prefix);
}

static const char *word(const struct outcome *run, const char *key)
{
    const char *text = json_string_value(json_object_get(run->json, key));

    return text ? text : "";
}

static long number(const struct outcome *run, const char *key)
{
    return (long)json_integer_value(json_object_get(run->json, key));
}

static struct process start(struct world *w, const char *run_id)
{
    return world_spawn(w, "settle-reconciler", "publications", "--json", "--run-id", run_id, NULL);
}

/* Sessions of reconcilers (or others), in our own open transaction too. */
static long sessions(struct world *w, const char *condition)
{
    return world_count(w, "select pg_stat_clear_snapshot(); select count(*) from pg_stat_activity where %s",
                       condition);
}

static bool waits(struct world *w)
{
    return sessions(w, "application_name = 'settle-reconciler' and wait_event_type = 'Lock'") == 1;
}

static bool gone(struct world *w)
{
    return sessions(w, "application_name = 'settle-reconciler'") == 0;
}

/* As if the holder's lease had run out. */
static void expire(struct world *w)
{
    world_sql(w, "update settle.job_fences set lease_until = now() - interval '1 second'");
    world_redis(w, "del", "settle:lock:publications", NULL);
}

static void test_of_two_at_once_one_works_and_the_other_says_so(void **state)
{
    struct world *w = *state;
    struct process first;
    struct outcome run;

    publications(w, "p", 3);
    hold(w, "p2");
    first = start(w, RUN_A);
    world_until(5, waits(w));
    run = world_reconcile(w, NULL);
    world_sql(w, "commit");
    assert_int_equal(run.status, 0);
    assert_string_equal(word(&run, "outcome"), "lock_held");
    assert_int_equal(number(&run, "total_checked"), 0);
    assert_string_equal(world_sql(w, "select status, outcome from settle.job_runs where id <> '" RUN_A "'"),
                        "skipped|lock_held");

    run = world_wait(w, first);
    assert_int_equal(run.status, 0);
    assert_int_equal(number(&run, "marked_failed") + number(&run, "left_out"),
                     3); /* it may have waited too long */

    world_kill(w, REDIS); /* the fence alone does the same */
    world_sql(
        w, "update settle.job_fences set holder = 'somebody', lease_until = now() + interval '30 seconds'");
    run = world_reconcile(w, NULL);
    assert_string_equal(word(&run, "outcome"), "lock_held");
    world_servers(w);
}

static void test_a_held_row_is_left_out_and_does_not_stop_the_run(void **state)
{
    struct world *w = *state;
    struct outcome run;

    publications(w, "p", 4);
    hold(w, "p2");
    /* It is waited for as long as lock_timeout, each time with half as many rows. */
    run = world_reconcile(w, "--batch-size", "4", NULL);
    world_sql(w, "commit");
    assert_int_equal(run.status, 0);
    assert_int_equal(number(&run, "marked_failed"), 3);
    assert_int_equal(number(&run, "left_out"), 1);
    assert_int_equal(number(&run, "total_checked"), 3);
    run = world_reconcile(w, NULL);
    assert_int_equal(number(&run, "marked_failed"), 1);
}

/* Older than what the next run reads again in any case. */
static void age_webhooks(struct world *w)
{
    world_sql(w, "update settle.webhook_receipts set stored_at = now() - interval '5 minutes';"
                 "update settle.job_fences set watermark = now() - interval '6 minutes'");
}

static void test_a_late_webhook_of_a_held_row_is_not_forgotten(void **state)
{
    struct world *w = *state;
    struct outcome run;

    publications(w, "p", 3);
    world_reconcile(w, NULL);
    webhooks(w, "p");
    age_webhooks(w);
    hold(w, "p2");
    run = world_reconcile(w, "--batch-size", "4", NULL);
    world_sql(w, "commit");
    assert_int_equal(run.status, 0);
    assert_int_equal(number(&run, "corrected"), 2);
    assert_int_equal(number(&run, "left_out"), 1);
    run = world_reconcile(w, NULL);
    assert_int_equal(number(&run, "corrected"), 1);
}

static void test_a_late_webhook_of_a_row_that_changes_meanwhile_is_not_forgotten(void **state)
{
    struct world *w = *state;
    struct process first;
    struct outcome run;

    publications(w, "p", 1);
    world_reconcile(w, NULL);
    webhooks(w, "p");
    age_webhooks(w);
    hold(w, "p1");
    first = start(w, RUN_A);
    world_until(5, waits(w));
    world_sql(w, "update settle.publish_logs set updated_at = now()");
    world_sql(w, "commit");
    run = world_wait(w, first);
    assert_int_equal(number(&run, "changed_meanwhile"), 1);
    run = world_reconcile(w, NULL);
    assert_int_equal(number(&run, "corrected"), 1);
}

static void test_a_row_held_for_a_while_is_settled_with_the_others(void **state)
{
    struct world *w = *state;
    struct process first;
    struct outcome run;
    const char *began;
    char retried[128];

    publications(w, "p", 4);
    hold(w, "p2");
    first = start(w, RUN_A);
    world_until(5, waits(w));
    began =
        world_sql(w, "select xact_start from pg_stat_activity where application_name = 'settle-reconciler'");
    snprintf(retried, sizeof(retried), "wait_event_type = 'Lock' and xact_start > '%s'", began);
    world_until(10, sessions(w, retried) == 1);
    world_sql(w, "commit");
    run = world_wait(w, first);
    assert_int_equal(run.status, 0);
    assert_string_equal(word(&run, "outcome"), "done");
    assert_int_equal(number(&run, "marked_failed"), 4);
}

/* A run that stood still for so long that it must say how far it has come. */
static struct outcome run_that_takes_long(struct world *w, const char *const *before)
{
    struct shim *shim = shim_open(w);
    struct process run;
    struct outcome end;

    publications(w, before[0] ? "t" : "p", 1);
    hold(w, before[0] ? "t1" : "p1");
    run = before[0]
              ? world_spawn(w, before[0], before[1], before[2], "settle-reconciler", "publications", NULL)
              : world_spawn(w, "settle-reconciler", "publications", NULL);
    world_until(5, waits(w));
    shim_sleep(shim, 11 * SECOND_US);
    world_sql(w, "commit");
    end = world_wait(w, run);
    shim_close(shim);
    assert_int_equal(end.status, 0);
    return end;
}

static void expect_said(const char *said, const char *what)
{
    if (!strstr(said, what))
        fail_msg("no \"%s\" in %s", what, said);
}

static void test_how_far_a_run_has_come_is_drawn_on_a_terminal_and_logged_elsewhere(void **state)
{
    static const char on_terminal[] =
        "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    struct world *w = *state;
    struct outcome run = run_that_takes_long(w, (const char *const[]){"python3", "-c", on_terminal});

    expect_said(run.out, "\r[##############################] 100 %  1 rows, ");
    expect_said(run.out, "\r\033[K");
    assert_null(strstr(run.out, "\"progress\""));

    run = run_that_takes_long(w, (const char *const[]){NULL});
    expect_said(run.err, "\"event\":\"progress\"");
    expect_said(run.err, "\"read\":1,");
    assert_null(strchr(run.err, '\r'));
    assert_null(strchr(run.out, '\r'));
}

static void test_a_row_that_changes_meanwhile_is_left_to_the_next_run(void **state)
{
    struct world *w = *state;
    struct process first;
    struct outcome run;

    publications(w, "p", 2);
    hold(w, "p1");
    first = start(w, RUN_A);
    world_until(5, waits(w));
    world_sql(w, "update settle.publish_logs set updated_at = now() where external_post_id = 'p1'");
    world_sql(w, "commit");
    run = world_wait(w, first);
    assert_int_equal(run.status, 0);
    assert_int_equal(number(&run, "marked_failed"), 1);
    assert_int_equal(number(&run, "changed_meanwhile"), 1);
    assert_int_equal(world_count(w, "select count(*) from settle.social_sync_ledger"), 1);
}

static void test_a_holder_frozen_past_its_lease_writes_nothing_when_it_wakes(void **state)
{
    struct world *w = *state;
    struct process frozen;
    struct outcome run;

    publications(w, "p", 5);
    hold(w, "p5");
    frozen = start(w, RUN_A);
    world_until(5, waits(w));
    kill(frozen.pid, SIGSTOP);
    world_sql(w, "commit");
    /* its transaction lives until idle_in_transaction_session_timeout ends it */
    world_until(15, gone(w));
    expire(w);
    run = world_wait(w, start(w, RUN_B));
    assert_int_equal(run.status, 0);
    assert_int_equal(number(&run, "marked_failed"), 5);

    kill(frozen.pid, SIGCONT);
    run = world_wait(w, frozen);
    assert_true(run.status == 69 || run.status == 75);
    assert_int_equal(
        world_count(w, "select count(*) from settle.social_sync_ledger where run_id = '" RUN_A "'"), 0);
    assert_string_equal(world_sql(w, "select status, outcome from settle.job_runs where id = '" RUN_A "'"),
                        "failed|interrupted");
}

/* The holder is alive and connected, but between two of its batches somebody else has taken the fence. */
static void test_a_holder_whose_fence_was_taken_stops(void **state)
{
    struct world *w = *state;
    struct process first, thief;
    struct outcome run;
    long by_first;

    publications(w, "p", 200);
    world_sql(w, "update settle.publish_logs set updated_at = updated_at - interval '1 minute'"
                 " where external_post_id = 'p7'");
    hold(w, "p7"); /* the oldest: the first batch */
    /* Ready before the other waits, which it does for two seconds only. */
    thief = world_spawn(w, "psql", "-U", "postgres", "-d", w->database_url, "-c",
                        "do $$ begin while not exists (select from pg_stat_activity"
                        "  where application_name = 'settle-reconciler' and wait_event_type = 'Lock') loop"
                        "  perform pg_sleep(0.01), pg_stat_clear_snapshot(); end loop;"
                        " update settle.job_fences set epoch = epoch + 1, holder = 'thief',"
                        "  lease_until = clock_timestamp() + interval '30 seconds'; end $$",
                        NULL);
    world_until(5, sessions(w, "wait_event = 'PgSleep'") == 1);
    first = world_spawn(w, "settle-reconciler", "publications", "--json", "--batch-size", "1", "--run-id",
                        RUN_A, NULL);
    world_until(5, sessions(w, "wait_event_type = 'Lock'") == 2);
    world_sql(w, "commit");
    run = world_wait(w, first);
    assert_int_equal(world_wait(w, thief).status, 0);

    assert_int_equal(run.status, 75);
    assert_string_equal(word(&run, "outcome"), "fence_lost");
    by_first = world_count(w, "select count(*) from settle.social_sync_ledger");
    assert_int_equal(number(&run, "marked_failed"), by_first);
    assert_true(by_first >= 1 && by_first < 200);
    assert_string_equal(world_sql(w, "select status from settle.job_runs where id = '" RUN_A "'"), "running");

    expire(w);
    run = world_wait(w, start(w, RUN_B));
    assert_int_equal(number(&run, "marked_failed"), 200 - by_first);
    assert_int_equal(world_count(w, "select count(distinct entity_id) from settle.social_sync_ledger"), 200);
}

static void test_a_killed_run_is_resumed_by_the_next(void **state)
{
    struct world *w = *state;
    struct process first;
    struct outcome run;

    publications(w, "p", 5);
    world_sql(w, "update settle.publish_logs set updated_at = updated_at - interval '1 minute'"
                 " where external_post_id <> 'p3'");
    hold(w, "p3"); /* the youngest */
    first = world_spawn(w, "settle-reconciler", "publications", "--json", "--batch-size", "1", "--run-id",
                        RUN_A, NULL);
    world_until(5, waits(w));
    assert_string_equal(world_sql(w, "select status, report ->> 'marked_failed', report ->> 'outcome'"
                                     " from settle.job_runs"),
                        "running|4|running"); /* what it has done so far can be seen */
    kill(first.pid, SIGKILL);
    world_sql(w, "commit");
    assert_int_equal(world_wait(w, first).status, 128 + SIGKILL);
    world_until(15, gone(w));

    run = world_reconcile(w, NULL);
    assert_string_equal(word(&run, "outcome"), "lock_held");
    expire(w);
    run = world_reconcile(w, NULL);
    assert_int_equal(run.status, 0);
    assert_int_equal(number(&run, "marked_failed"), 1);
    assert_string_equal(world_sql(w, "select status, outcome, report ->> 'timed_out' from settle.job_runs"
                                     " where id = '" RUN_A "'"),
                        "failed|interrupted|4");
}

static void test_a_signal_ends_the_run_after_its_batch(void **state)
{
    struct world *w = *state;
    struct process first;
    struct outcome run;

    publications(w, "p", 5);
    world_sql(w, "update settle.publish_logs set updated_at = updated_at - interval '1 minute'"
                 " where external_post_id = 'p1'");
    hold(w, "p1"); /* in the first batch */
    first = world_spawn(w, "settle-reconciler", "publications", "--json", "--batch-size", "2", "--run-id",
                        RUN_A, NULL);
    world_until(5, waits(w));
    kill(first.pid, SIGTERM);
    world_sql(w, "commit");
    run = world_wait(w, first);
    assert_int_equal(run.status, 75);
    assert_string_equal(word(&run, "outcome"), "interrupted");
    assert_string_equal(word(&run, "stopped_by"), "signal");
    assert_int_equal(number(&run, "marked_failed"), 2);
    assert_int_equal(world_count(w, "select count(*) from settle.publish_logs where status = 'failed'"), 2);
    assert_string_equal(world_sql(w, "select status, outcome, error_code from settle.job_runs"),
                        "failed|interrupted|signal");
    run = world_reconcile(w, NULL); /* the lock was given back */
    assert_string_equal(word(&run, "outcome"), "done");
}

static void test_the_guard_holds_for_ten_runs_and_force_overrules_it(void **state)
{
    struct world *w = *state;
    struct outcome run;

    publications(w, "silent", 1300);
    publications(w, "known", 200);
    webhooks(w, "known");
    for (int i = 0; i < 10; i++) {
        run = world_reconcile(w, NULL);
        assert_int_equal(run.status, 75);
        assert_string_equal(word(&run, "outcome"), "guard");
        assert_string_equal(word(&run, "stopped_by"), "guard");
        assert_non_null(strstr(word(&run, "message"), "--force"));
        assert_int_equal(number(&run, "marked_success"), i == 0 ? 200 : 0);
        assert_int_equal(number(&run, "marked_failed"), 0);
        assert_int_equal(number(&run, "held_by_guard"), 1300);
    }
    assert_string_equal(world_sql(w, "select type, severity, occurrences from settle.alerts"),
                        "publications_guard|CRITICAL|10");
    run = world_reconcile(w, "--dry-run", NULL);
    assert_string_equal(word(&run, "stopped_by"), "guard");

    run = world_reconcile(w, "--force", NULL);
    assert_int_equal(run.status, 0);
    assert_int_equal(number(&run, "marked_failed"), 1300);
}

static void test_the_guard_holds_bit_by_bit_too(void **state)
{
    struct world *w = *state;
    struct outcome run;

    publications(w, "one", 600);
    run = world_reconcile(w, NULL);
    assert_int_equal(number(&run, "marked_failed"), 600);
    publications(w, "two", 400);
    run = world_reconcile(w, NULL);
    assert_int_equal(number(&run, "marked_failed"), 400);
    publications(w, "three", 1);
    run = world_reconcile(w, NULL);
    assert_int_equal(run.status, 75);
    assert_int_equal(number(&run, "marked_failed"), 0);

    world_sql(w, "update settle.job_runs set finished_at = finished_at - interval '61 minutes'");
    run = world_reconcile(w, NULL);
    assert_int_equal(run.status, 0);
    assert_int_equal(number(&run, "marked_failed"), 1);
}

/* 20 % of many is more than 1,000. */
static void test_the_guard_lets_a_usual_share_pass(void **state)
{
    struct world *w = *state;
    struct outcome run;

    publications(w, "silent", 1300);
    publications(w, "known", 5300);
    webhooks(w, "known");
    run = world_reconcile(w, NULL);
    assert_int_equal(run.status, 0);
    assert_int_equal(number(&run, "marked_failed"), 1300);
    assert_int_equal(number(&run, "marked_success"), 5300);

    publications(w, "more", 20); /* 1,320 of the hour's 6,620 */
    run = world_reconcile(w, NULL);
    assert_int_equal(run.status, 0);
    publications(w, "too many", 30);
    run = world_reconcile(w, NULL);
    assert_int_equal(run.status, 75);
}

/* Rows that wait for no webhook make no time-out usual. */
static void test_the_guard_counts_no_pending_rows(void **state)
{
    struct world *w = *state;
    struct outcome run;

    publications(w, "pending", 6000);
    world_sql(w, "update settle.publish_logs set status = 'pending', external_post_id = null");
    publications(w, "silent", 1100);
    run = world_reconcile(w, NULL);
    assert_int_equal(run.status, 75);
    assert_int_equal(number(&run, "marked_failed"), 0);
}

/* A page of open rows none of which is wanted is not the last. */
static void test_rows_behind_many_unwanted_ones_are_found(void **state)
{
    struct world *w = *state;
    struct outcome run;

    publications(w, "pending", 60);
    world_sql(w, "update settle.publish_logs set status = 'pending', external_post_id = null,"
                 "  updated_at = updated_at - interval '1 minute'");
    publications(w, "p", 3);
    run = world_reconcile(w, "--batch-size", "10", NULL);
    assert_int_equal(number(&run, "marked_failed"), 3);
}

/* The clock was ahead and is right again: a lease that should have ended long ago lies in the future. */
static void test_a_lease_from_the_future_is_over(void **state)
{
    struct world *w = *state;
    struct outcome run;

    world_sql(w, "update settle.job_fences set holder = 'somebody', lease_until = now() + interval '1 hour'");
    run = world_reconcile(w, NULL);
    assert_string_equal(word(&run, "outcome"), "done");
}

/* The database's clock is a day ahead: every open row looks stale. */
static void test_a_wrong_clock_fails_nothing(void **state)
{
    struct world *w = *state;
    struct outcome run;

    publications(w, "p", 3000);
    world_sql(w, "update settle.publish_logs set updated_at = now() - interval '1 day'");
    run = world_reconcile(w, NULL);
    assert_int_equal(run.status, 75);
    assert_int_equal(world_count(w, "select count(*) from settle.publish_logs where status = 'failed'"), 0);
}

/* The clock was ahead and is right again: the watermark lies in the future. */
static void test_a_watermark_from_the_future_is_no_harm(void **state)
{
    struct world *w = *state;
    struct outcome run;

    publications(w, "p", 1);
    run = world_reconcile(w, NULL);
    assert_int_equal(number(&run, "marked_failed"), 1);
    world_sql(w, "update settle.job_fences set watermark = now() + interval '1 hour'");
    webhooks(w, "p");
    world_sql(w, "update settle.webhook_receipts set stored_at = now() - interval '40 minutes'");
    run = world_reconcile(w, NULL);
    assert_int_equal(number(&run, "corrected"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_of_two_at_once_one_works_and_the_other_says_so, reset),
        cmocka_unit_test_setup(test_a_held_row_is_left_out_and_does_not_stop_the_run, reset),
        cmocka_unit_test_setup(test_a_late_webhook_of_a_held_row_is_not_forgotten, reset),
        cmocka_unit_test_setup(test_a_late_webhook_of_a_row_that_changes_meanwhile_is_not_forgotten, reset),
        cmocka_unit_test_setup(test_a_row_held_for_a_while_is_settled_with_the_others, reset),
        cmocka_unit_test_setup(test_how_far_a_run_has_come_is_drawn_on_a_terminal_and_logged_elsewhere,
                               reset),
        cmocka_unit_test_setup(test_a_row_that_changes_meanwhile_is_left_to_the_next_run, reset),
        cmocka_unit_test_setup(test_a_holder_frozen_past_its_lease_writes_nothing_when_it_wakes, reset),
        cmocka_unit_test_setup(test_a_holder_whose_fence_was_taken_stops, reset),
        cmocka_unit_test_setup(test_a_killed_run_is_resumed_by_the_next, reset),
        cmocka_unit_test_setup(test_a_signal_ends_the_run_after_its_batch, reset),
        cmocka_unit_test_setup(test_the_guard_holds_for_ten_runs_and_force_overrules_it, reset),
        cmocka_unit_test_setup(test_the_guard_holds_bit_by_bit_too, reset),
        cmocka_unit_test_setup(test_the_guard_lets_a_usual_share_pass, reset),
        cmocka_unit_test_setup(test_the_guard_counts_no_pending_rows, reset),
        cmocka_unit_test_setup(test_rows_behind_many_unwanted_ones_are_found, reset),
        cmocka_unit_test_setup(test_a_lease_from_the_future_is_over, reset),
        cmocka_unit_test_setup(test_a_wrong_clock_fails_nothing, reset),
        cmocka_unit_test_setup(test_a_watermark_from_the_future_is_no_harm, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
