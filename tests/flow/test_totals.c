/* What all runs together have done, on the metrics page: it outlives the runs, their rows, whoever was killed, and the gateway. */
#include "support/world.h"

#include "base/now.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

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

/* A gateway that has just begun asks at once: nothing is waited for but its first answers. */
static void look(struct world *w)
{
    if (w->gateway)
        world_gateway_stop(w);
    world_gateway(w, NULL);
    world_until(10, world_metric(w, "settle_reconcile_runs_total{outcome=\"done\"}") >= 0);
}

static void assert_metric(struct world *w, const char *series, double want)
{
    double got = world_metric(w, series);

    if (got != want)
        fail_msg("%s is %g, not %g", series, got, want);
}

/* Each question is answered by itself. */
static void await_metric(struct world *w, const char *series, double want)
{
    int64_t until = world_deadline(60);

    while (world_metric(w, series) != want && now_boot_us() < until)
        world_look_again(INT64_MAX, series);
    assert_metric(w, series, want);
}

static void receipt(struct world *w, const char *platform, const char *post, int decisive, const char *age)
{
    world_sql(
        w,
        "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id,"
        "  event_status, decisive, received_at, stored_at, headers, body)"
        " values (sha256('%s'), 'default', '%s', gen_random_uuid(), '%s', 'a word', %d,"
        "  now() - interval '%s', now() - interval '%s', '', '')",
        post, platform, post, decisive, age, age);
}

/* What stands in run_totals is what the reports of all runs say, by whatever way they ended. */
static void assert_totals_are_the_reports(struct world *w)
{
    assert_string_equal(
        world_sql(w, "with said as ("
                     "  select p.key as platform, w.word, sum((p.value ->> w.key)::bigint) as n"
                     "  from settle.job_runs, jsonb_each(report -> 'by_platform') p,"
                     "    (values ('success', 'marked_success'), ('failed', 'marked_failed'),"
                     "      ('skipped', 'skipped'), ('corrected', 'corrected')) w (word, key)"
                     "  group by 1, 2)"
                     " select count(*) from said full join"
                     "  (select * from settle.run_totals where kind = 'result') t using (platform, word)"
                     " where coalesce(said.n, 0) <> coalesce(t.n, 0)"),
        "0");
}

static void test_runs_are_counted_by_platform_and_result(void **state)
{
    struct world *w = *state;

    world_publication(w, "tiktok", "good", "processing", 20);
    world_publication(w, "tiktok", "silent", "processing", 20);
    world_publication(w, "tiktok", "unclear", "processing", 20);
    world_publication(w, "instagram", "bad", "processing", 20);
    receipt(w, "tiktok", "good", 1, "12 minutes");
    receipt(w, "tiktok", "unclear", 0, "12 minutes");
    receipt(w, "instagram", "bad", -1, "12 minutes");
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    receipt(w, "tiktok", "silent", 1, "0 minutes");
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    look(w);

    await_metric(w, "settle_reconcile_checked_total{platform=\"tiktok\"}", 4); /* the unclear one twice */
    await_metric(w, "settle_reconcile_checked_total{platform=\"instagram\"}", 1);
    await_metric(w, "settle_reconcile_results_total{platform=\"tiktok\",result=\"success\"}", 1);
    await_metric(w, "settle_reconcile_results_total{platform=\"tiktok\",result=\"failed\"}", 1);
    await_metric(w, "settle_reconcile_results_total{platform=\"tiktok\",result=\"skipped\"}", 2);
    await_metric(w, "settle_reconcile_results_total{platform=\"tiktok\",result=\"corrected\"}", 1);
    await_metric(w, "settle_reconcile_results_total{platform=\"instagram\",result=\"failed\"}", 1);
    await_metric(w, "settle_reconcile_decided_total{platform=\"tiktok\",reason=\"webhook_timeout\"}", 1);
    await_metric(w, "settle_reconcile_decided_total{platform=\"tiktok\",reason=\"late_webhook\"}", 1);
    await_metric(w, "settle_reconcile_runs_total{outcome=\"done\"}", 2);
    await_metric(w, "settle_reconcile_last_run_publications{platform=\"tiktok\",result=\"checked\"}", 1);
    await_metric(w, "settle_reconcile_last_run_publications{platform=\"tiktok\",result=\"corrected\"}", 1);
    await_metric(w, "settle_reconcile_last_run_publications{platform=\"instagram\",result=\"failed\"}", 0);
    await_metric(w, "settle_reconcile_last_run_publications{platform=\"tiktok\",result=\"unclear\"}", 1);
    world_until(10,
                world_metric(w, "settle_job_last_success_timestamp_seconds{job_name=\"publications\"}") > 0);
    await_metric(w, "settle_job_lock_held{job_name=\"publications\"}", 0);
    await_metric(w, "settle_job_last_success_timestamp_seconds{job_name=\"maintain\"}", 0);
    assert_totals_are_the_reports(w);
}

/* Counters must not fall, nor jump up from 0: who adds up their growth would see runs that never were. */
static void test_counters_outlive_the_rows_and_the_process_that_shows_them(void **state)
{
    struct world *w = *state;
    static const char series[] = "settle_reconcile_results_total{platform=\"tiktok\",result=\"failed\"}";
    pid_t admin;

    world_publication(w, "tiktok", "silent", "processing", 20);
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    world_sql(w, "delete from settle.job_runs");
    look(w);
    assert_metric(w, series, 1);
    admin = world_child(w, "admin");
    kill(admin, SIGKILL);
    world_until(10, (assert_metric(w, series, 1), world_child(w, "admin") > 0) &&
                        world_child(w, "admin") != admin &&
                        world_api(w, "GET", "/alerts", NULL).status == 200);
    assert_metric(w, series, 1);

    world_kill(w, POSTGRES);
    world_gateway_stop(w);
    setenv("SETTLE_SPOOL_FOLDER", w->dir, 1); /* ready all the same */
    setenv("SETTLE_UNSAFE_OK", "true", 1);    /* it may lie on anything */
    world_gateway(w, NULL);
    unsetenv("SETTLE_UNSAFE_OK");
    unsetenv("SETTLE_SPOOL_FOLDER");
    assert_metric(w, series, -1); /* not known is not 0 */
    world_servers(w);
    world_until(20, world_metric(w, series) >= 0);
    assert_metric(w, series, 1);
}

/* Killed while it waits for its second publication. False: it waited for so long that it ended by itself. */
static bool kill_a_run(struct world *w)
{
    struct process run;
    bool killed;

    world_publication(w, "tiktok", "first", "processing", 30);
    world_publication(w, "tiktok", "held", "processing", 20);
    world_sql(w, "begin; select from settle.publish_logs where external_post_id = 'held' for update");
    run = world_spawn(w, "settle-reconciler", "publications", "--batch-size", "1", NULL);
    world_until(10,
                world_ended(run) ||
                    world_count(w, "select pg_stat_clear_snapshot(); select count(*) from pg_stat_activity"
                                   " where application_name = 'settle-reconciler'"
                                   " and wait_event_type = 'Lock'") == 1);
    kill(run.pid, SIGKILL);
    killed = world_wait(w, run).status == 128 + SIGKILL;
    world_sql(w, "commit");
    world_until(10, world_count(w, "select count(*) from pg_stat_activity"
                                   " where application_name = 'settle-reconciler'") == 0);
    return killed;
}

static void test_a_killed_run_counts_with_what_it_did_and_its_lock_is_seen(void **state)
{
    struct world *w = *state;

    world_until(120, kill_a_run(w))
    {
        world_reset(w);
    }
    look(w);
    await_metric(w, "settle_job_lock_held{job_name=\"publications\"}", 1);
    await_metric(w, "settle_reconcile_results_total{platform=\"tiktok\",result=\"failed\"}", 1);
    await_metric(w, "settle_job_cut_short_total{job_name=\"publications\"}", 0);

    world_sql(
        w, "update settle.job_fences set lease_until = now() - interval '1 second' where holder is not null");
    world_redis(w, "flushall", NULL);
    look(w);
    await_metric(w, "settle_job_lock_expired{job_name=\"publications\"}", 1);
    await_metric(w, "settle_job_lock_held{job_name=\"publications\"}", 0);

    assert_int_equal(world_reconcile(w, NULL).status, 0);
    look(w);
    await_metric(w, "settle_job_cut_short_total{job_name=\"publications\"}", 1);
    await_metric(w, "settle_reconcile_runs_total{outcome=\"killed\"}", 1);
    await_metric(w, "settle_job_lock_expired{job_name=\"publications\"}", 0);
    await_metric(w, "settle_reconcile_results_total{platform=\"tiktok\",result=\"failed\"}", 2);
    assert_totals_are_the_reports(w);
}

static void test_guard_and_lock_are_told_apart(void **state)
{
    struct world *w = *state;

    world_sql(
        w,
        "insert into settle.publish_logs (platform, user_id_str, status, updated_at)"
        " select 'tiktok', 'u', 'processing', now() - interval '20 minutes' from generate_series(1, 1101)");
    assert_int_equal(world_reconcile(w, NULL).status, 75);
    world_sql(w, "update settle.job_fences set holder = 'somebody', lease_until = now() + interval '1 minute'"
                 " where name = 'publications'");
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    look(w);
    await_metric(w, "settle_reconcile_runs_total{outcome=\"guard\"}", 1);
    await_metric(w, "settle_reconcile_runs_total{outcome=\"lock_held\"}", 1);
    await_metric(w, "settle_reconcile_runs_total{outcome=\"done\"}", 0);
    await_metric(w, "settle_reconcile_checked_total{platform=\"tiktok\"}", 0);
    await_metric(w, "settle_job_lock_held{job_name=\"publications\"}", 1);
}

static void test_what_could_not_be_asked_says_why(void **state)
{
    struct world *w = *state;

    world_publication(w, "tiktok", "silent", "processing", 20);
    world_sql(w, "insert into settle.platform_connections"
                 " (user_id_str, platform, account, token, key_id, expires_at, connected)"
                 " values ('user-1', 'tiktok', 'default', decode(repeat('00', 60), 'hex'), repeat('0', 16),"
                 "  now() - interval '1 day', true)");
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    look(w);
    await_metric(w, "settle_missing_reason_total{reason=\"auth_error\"}", 1);
    await_metric(w, "settle_missing_reason_total{reason=\"circuit_open\"}", 0);
    await_metric(w, "settle_polls_total{result=\"done\"}", 0);
    await_metric(w, "settle_reconcile_results_total{platform=\"tiktok\",result=\"skipped\"}", 1);
}

static void test_what_waits_too_long_is_seen(void **state)
{
    struct world *w = *state;

    world_publication(w, "tiktok", "old", "processing", 25 * 60.0);
    world_publication(w, "tiktok", "young", "processing", 23 * 60.0);
    world_publication(w, "tiktok", "waits for its worker", "pending", 50 * 60.0);
    world_publication(w, "elsewhere", "again", "retry", 25 * 60.0);
    receipt(w, "instagram", "nobodys", 1, "73 hours");
    receipt(w, "instagram", "perhaps not yet", 1, "71 hours");
    receipt(w, "tiktok", "old", 1, "73 hours");
    look(w);
    await_metric(w, "settle_publications_stuck{platform=\"tiktok\"}", 1);
    await_metric(w, "settle_publications_stuck{platform=\"\"}", 1);
    world_until(
        10, world_metric(w, "settle_publications_oldest_seconds{platform=\"tiktok\",state=\"processing\"}") >=
                25 * 3600.0);
    assert_true(
        world_metric(w, "settle_publications_oldest_seconds{platform=\"tiktok\",state=\"processing\"}") <
        26 * 3600.0);
    world_until(
        10, world_metric(w, "settle_publications_oldest_seconds{platform=\"tiktok\",state=\"pending\"}") >=
                50 * 3600.0);
    await_metric(w, "settle_publications_oldest_seconds{platform=\"instagram\",state=\"processing\"}", 0);
    world_until(10, world_metric(w, "settle_receipts_unmatched{platform=\"instagram\"}") == 1);
    await_metric(w, "settle_receipts_unmatched{platform=\"tiktok\"}", 0);
}

/* The API's role comes in where the workers' may not: that is no store for a webhook. */
static void test_a_store_that_only_the_api_reaches_is_none(void **state)
{
    struct world *w = *state;

    look(w);
    world_until(10, world_metric(w, "settle_store_up{store=\"postgres\"}") == 2);
    world_sql(w, "alter role settle_gateway set default_transaction_read_only = on");
    world_sql(w, "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'settle_gateway'");
    world_until(20, world_metric(w, "settle_store_up{store=\"postgres\"}") == 0);
    assert_int_equal(world_api(w, "GET", "/alerts", NULL).status, 200);
    world_sql(w, "alter role settle_gateway reset all");
    world_until(20, world_metric(w, "settle_store_up{store=\"postgres\"}") == 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_runs_are_counted_by_platform_and_result, reset),
        cmocka_unit_test_setup(test_counters_outlive_the_rows_and_the_process_that_shows_them, reset),
        cmocka_unit_test_setup(test_a_killed_run_counts_with_what_it_did_and_its_lock_is_seen, reset),
        cmocka_unit_test_setup(test_guard_and_lock_are_told_apart, reset),
        cmocka_unit_test_setup(test_what_could_not_be_asked_says_why, reset),
        cmocka_unit_test_setup(test_what_waits_too_long_is_seen, reset),
        cmocka_unit_test_setup(test_a_store_that_only_the_api_reaches_is_none, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
