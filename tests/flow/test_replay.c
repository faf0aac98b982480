/* Publications are decided anew when the words of a descriptor have changed: planned first, never too many, once. */
#include "support/world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* What the lists of the test's descriptor say. */
static void set_words(struct world *w, const char *success, const char *failure)
{
    char command[700];

    snprintf(command, sizeof(command),
             "mkdir -p %s/platforms && sed 's/^success: .*/success: [%s]/;s/^failure: .*/failure: [%s]/'"
             " %s/shared/platforms/tiktok.yaml > %s/platforms/tiktok.yaml",
             w->dir, success, failure, getenv("SETTLE_TOP"), w->dir);
    assert_int_equal(system(command), 0);
    snprintf(command, sizeof(command), "%s/platforms", w->dir);
    setenv("SETTLE_PLATFORMS_FOLDER", command, 1);
}

static int up(void **state)
{
    *state = world_open();
    return 0;
}

static int reset(void **state)
{
    world_reset(*state);
    set_words(*state, "published, done", "failed");
    return 0;
}

static int down(void **state)
{
    world_close(*state);
    return 0;
}

/* A webhook as it was stored under the rules of its day; minutes: how long ago. */
static void webhook(struct world *w, const char *post, const char *word, int decisive, unsigned minutes)
{
    world_sql(
        w,
        "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id,"
        " decisive, event_status, received_at, stored_at, headers, body)"
        " select sha256(('%s' || '%s')::bytea), 'default', 'tiktok', gen_random_uuid(), '%s', %d, '%s', t, "
        "t, '', ''"
        " from (values (now() - interval '%u minutes')) as at (t)",
        post, word, post, decisive, word, minutes);
}

static struct outcome replay(struct world *w, const char *a, const char *b)
{
    return world_wait(w,
                      world_spawn(w, "settle-reconciler", "replay", "--json", "--actor", "anna", a, b, NULL));
}

static long planned(const struct outcome *o, const char *change)
{
    long n = -1;

    if (json_unpack(o->json, "{s:{s:{s:{s:I}}}}", "plan", "by_platform", "tiktok", change, &n) != 0)
        return 0;
    return n;
}

static long number(const struct outcome *o, const char *key)
{
    return (long)json_integer_value(json_object_get(o->json, key));
}

/* All rows with what they rest on, but for when that was written. */
static const char *all(struct world *w)
{
    return world_sql(w, "select string_agg(concat_ws(':', external_post_id, status,"
                        " extra_metadata ->> 'reconciliation_reason'), ' ' order by external_post_id)"
                        " from settle.publish_logs");
}

static long events(struct world *w)
{
    return world_count(w, "select count(*) from settle.social_sync_ledger");
}

/* Five posts under the words "done" and "failed", settled; then "failed" means nothing, "halted" is a failure, and
 * "done" one too. */
static void settle_then_change_words(struct world *w)
{
    static const char *const posts[] = {"p1", "p2", "p3", "p4", "p5"};

    for (size_t i = 0; i < countof(posts); i++)
        world_publication(w, "tiktok", posts[i], "processing", 30);
    webhook(w, "p1", "done", 1, 50);
    webhook(w, "p2", "failed", -1, 50);
    webhook(w, "p3", "halted", 0, 50);
    webhook(w, "p4", "published", 1, 60);
    webhook(w, "p4", "failed", -1, 50);
    assert_int_equal(world_reconcile(w, NULL).status, 0); /* p5 by time-out: its webhook is still to come */
    webhook(w, "p5", "halted", 0, 1);
    assert_string_equal(all(w),
                        "p1:success:webhook_confirmed p2:failed:webhook_reported_failure p3:processing "
                        "p4:failed:webhook_reported_failure p5:failed:webhook_timeout");
    set_words(w, "published", "done, halted");
}

static const char after_words[] = "p1:failed:webhook_reported_failure p2:failed:webhook_reported_failure "
                                  "p3:failed:webhook_reported_failure "
                                  "p4:success:webhook_confirmed p5:failed:late_webhook";

static void test_todays_words_take_effect_on_what_was_settled(void **state)
{
    struct world *w = *state;
    struct outcome o;
    long before;

    settle_then_change_words(w);
    before = events(w);
    o = replay(w, NULL, NULL);
    assert_int_equal(o.status, 0);
    assert_int_equal(planned(&o, "success -> failed"), 1);
    assert_int_equal(planned(&o, "failed -> success"), 1);
    assert_int_equal(planned(&o, "open -> failed"), 1);
    assert_int_equal(planned(&o, "other evidence"), 1);      /* p5 */
    assert_int_equal(planned(&o, "evidence is unclear"), 1); /* p2: it stays as it was */
    assert_string_equal(all(w), after_words);
    assert_int_equal(events(w), before + 4);
    assert_int_equal(
        world_count(w, "select count(*) from settle.social_sync_ledger where event_type ="
                       " 'publish_reconciled' and metadata @> '{\"replayed\": true}' and actor = 'anna' and"
                       " run_id = (select id from settle.job_runs where job_name = 'replay')"),
        4);
    assert_string_equal(world_sql(w, "select status || '|' || outcome || '|' || (report #>> '{plan,planned}')"
                                     " from settle.job_runs where job_name = 'replay'"),
                        "success|done|3");

    o = replay(w, NULL, NULL);
    assert_int_equal(o.status, 0);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(o.json, "plan"), "planned")), 0);
    assert_int_equal(events(w), before + 4); /* once is enough */
}

/* The publications job weighs receipts as they were stored, and looks a day back: it must not undo a replay. */
static void test_other_jobs_leave_what_was_replayed(void **state)
{
    struct world *w = *state;

    settle_then_change_words(w);
    assert_int_equal(replay(w, NULL, NULL).status, 0);
    world_sql(w, "update settle.job_fences set watermark = now() - interval '2 days'");
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_string_equal(all(w), after_words);
    set_words(w, "published, done", "failed"); /* and back again */
    assert_int_equal(replay(w, NULL, NULL).status, 0);
    assert_int_equal(
        world_count(w, "select count(*) from settle.publish_logs where (external_post_id, status) in"
                       " (('p1', 'success'), ('p2', 'failed'), ('p4', 'failed'))"),
        3);
}

static void test_a_dry_run_writes_nothing(void **state)
{
    struct world *w = *state;
    struct outcome o;
    long before;
    const char *rows;

    settle_then_change_words(w);
    before = events(w);
    rows = all(w);
    o = replay(w, "--dry-run", NULL);
    assert_int_equal(o.status, 0);
    assert_int_equal(planned(&o, "success -> failed"), 1);
    assert_string_equal(all(w), rows);
    assert_int_equal(events(w), before);
    assert_int_equal(world_count(w, "select count(*) from settle.job_runs where job_name = 'replay'"), 0);
    o = world_wait(w, world_spawn(w, "settle-reconciler", "replay", "--dry-run", NULL));
    assert_non_null(strstr(o.out, "plan: of 5 publications 3 change"));
    assert_non_null(strstr(o.out, "success -> failed"));
}

static void test_only_what_is_named_is_decided(void **state)
{
    struct world *w = *state;
    char id[40], later[40];
    struct outcome o;

    settle_then_change_words(w);
    snprintf(id, sizeof(id), "%s",
             world_sql(w, "select id from settle.publish_logs where external_post_id = 'p1'"));
    snprintf(later, sizeof(later), "%s",
             world_sql(w, "select to_char(now() - interval '10 minutes', 'YYYY-MM-DD\"T\"HH24:MI:SSOF:00')"));
    o = replay(w, "--platform", "instagram");
    assert_int_equal(o.status, 0);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(o.json, "plan"), "looked_at")), 0);
    o = replay(w, "--from", later);
    assert_int_equal(o.status, 0);
    assert_int_equal(number(&o, "corrected"), 1); /* p5 */
    o = replay(w, "--id", id);
    assert_int_equal(o.status, 0);
    assert_int_equal(planned(&o, "success -> failed"), 1);
    assert_string_equal(all(w),
                        "p1:failed:webhook_reported_failure p2:failed:webhook_reported_failure p3:processing "
                        "p4:failed:webhook_reported_failure p5:failed:late_webhook");
    assert_int_equal(replay(w, "--id", "no-uuid").status, 64);
    assert_int_equal(replay(w, "--from", "yesterday").status, 64);
    assert_int_equal(replay(w, "--receipt", "abc").status, 64);
    o = replay(w, "--receipt", "00000000000000000000000000000000000000000000000000000000000000ab");
    assert_int_equal(o.status, 65);
    assert_string_equal(json_string_value(json_object_get(o.json, "outcome")), "not_found");
}

static void test_overrides_and_what_others_have_settled_stay(void **state)
{
    struct world *w = *state;
    const char *id = world_publication(w, "tiktok", "p1", "processing", 30);

    world_publication(w, "tiktok", "p2", "success", 30); /* by another tool */
    webhook(w, "p1", "done", 1, 40);
    webhook(w, "p2", "done", 1, 40);
    assert_int_equal(world_wait(w, world_spawn(w, "settle-reconciler", "override", id, "success", "--reason",
                                               "seen", NULL))
                         .status,
                     0);
    set_words(w, "published", "done");
    assert_int_equal(replay(w, "--force", NULL).status, 0);
    assert_string_equal(all(w), "p1:success:manual_override p2:success");
}

/* Of what was forgotten nobody knows what it would mean today. */
static void test_what_rests_on_forgotten_evidence_stays(void **state)
{
    struct world *w = *state;

    world_publication(w, "tiktok", "p1", "processing", 30);
    webhook(w, "p1", "halted", 0, 50);
    webhook(w, "p1", "done", 1, 40);
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    world_sql(w, "delete from settle.webhook_receipts where event_status = 'done'");
    set_words(w, "published", "done, halted");
    assert_int_equal(replay(w, NULL, NULL).status, 0);
    assert_string_equal(all(w), "p1:success:webhook_confirmed");
}

static void test_the_guard_stops_before_the_first_write(void **state)
{
    struct world *w = *state;
    struct outcome o;

    world_sql(w,
              "insert into settle.publish_logs (platform, user_id_str, status, external_post_id, updated_at)"
              " select 'tiktok', 'u', 'processing', 'g' || g, now() - interval '20 minutes'"
              " from generate_series(1, 1001) g");
    world_sql(
        w, "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id,"
           "  event_status, decisive, received_at, headers, body)"
           " select sha256(external_post_id::bytea), source, platform, gen_random_uuid(), external_post_id,"
           "  'done', 1, now(), '', '' from settle.publish_logs");
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    set_words(w, "published", "done");
    o = replay(w, NULL, NULL);
    assert_int_equal(o.status, 75);
    assert_string_equal(json_string_value(json_object_get(o.json, "outcome")), "guard");
    assert_non_null(strstr(json_string_value(json_object_get(o.json, "message")), "--force"));
    assert_int_equal(world_count(w, "select count(*) from settle.publish_logs where status = 'success'"),
                     1001);
    o = replay(w, "--force", NULL);
    assert_int_equal(o.status, 0);
    assert_int_equal(number(&o, "corrected"), 1001);
    assert_int_equal(world_count(w, "select count(*) from settle.publish_logs where status = 'failed'"),
                     1001);
}

/* Killed while it writes its second publication. False: its statement was ended for taking long, and so it ended by itself. */
static bool kill_one_at_p4(struct world *w)
{
    struct process first;
    long before, after;
    bool killed;

    settle_then_change_words(w);
    before = events(w);
    world_sql(w, "create function public.wait_at_p4() returns trigger language plpgsql as $$ begin"
                 " if new.metadata ->> 'external_post_id' = 'p4' then perform pg_sleep(60); end if;"
                 " return new; end $$;"
                 "create trigger slow before insert on settle.social_sync_ledger"
                 " for each row execute function public.wait_at_p4()");
    first = world_spawn(w, "settle-reconciler", "replay", "--batch-size", "1", NULL);
    world_until(10,
                world_ended(first) ||
                    world_count(w, "select pg_stat_clear_snapshot(); select count(*) from pg_stat_activity"
                                   " where wait_event = 'PgSleep'") == 1);
    kill(first.pid, SIGKILL);
    killed = world_wait(w, first).status == 128 + SIGKILL;
    world_sql(w, "select pg_terminate_backend(pid) from pg_stat_activity"
                 " where application_name = 'settle-reconciler'");
    world_until(15, world_count(w, "select pg_stat_clear_snapshot(); select count(*) from pg_stat_activity"
                                   " where application_name = 'settle-reconciler'") == 0);
    after = events(w);
    world_sql(w, "drop trigger slow on settle.social_sync_ledger; drop function public.wait_at_p4()");
    assert_true(!killed || (after > before && after < before + 4));
    return killed;
}

/* Its row says that it runs, and its lease has run out. */
static void kill_one_in_the_middle(struct world *w)
{
    world_until(120, kill_one_at_p4(w))
    {
        world_reset(w);
        set_words(w, "published, done", "failed");
    }
    world_sql(w, "update settle.job_fences set lease_until = now() - interval '1 second'");
    world_redis(w, "del", "settle:lock:publications", NULL);
    assert_string_equal(world_sql(w, "select status from settle.job_runs where job_name = 'replay'"),
                        "running");
}

static void test_killed_in_the_middle_the_next_one_ends_it(void **state)
{
    struct world *w = *state;

    kill_one_in_the_middle(w);
    assert_int_equal(replay(w, NULL, NULL).status, 0);
    assert_string_equal(all(w), after_words);
    assert_int_equal(world_count(w, "select count(*) from settle.social_sync_ledger"
                                    " where metadata @> '{\"replayed\": true}'"),
                     4); /* none twice */
    assert_string_equal(world_sql(w,
                                  "select string_agg(outcome, ',' order by started_at) from settle.job_runs"
                                  " where job_name = 'replay'"),
                        "interrupted,done");
}

/* Whoever has the lock next ends the row: a killed replay does not run for ever, and a killed run does not either. */
static void test_the_publications_job_ends_a_killed_replay(void **state)
{
    struct world *w = *state;

    kill_one_in_the_middle(w);
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_string_equal(world_sql(w,
                                  "select status, outcome, error_code, error_message like '%%has found that'"
                                  " from settle.job_runs where job_name = 'replay'"),
                        "failed|interrupted|killed|t");
    world_sql(w, "update settle.job_runs set status = 'running' where job_name = 'publications'");
    assert_int_equal(replay(w, NULL, NULL).status, 0);
    assert_int_equal(world_count(w, "select count(*) from settle.job_runs where status = 'running'"), 0);
}

static void test_it_waits_for_nobody(void **state)
{
    struct world *w = *state;
    struct outcome o;

    settle_then_change_words(w);
    world_sql(w, "update settle.job_fences set epoch = epoch + 1, holder = 'elsewhere',"
                 " lease_until = now() + interval '55 seconds' where name = 'publications'");
    o = replay(w, NULL, NULL);
    assert_int_equal(o.status, 0);
    assert_string_equal(json_string_value(json_object_get(o.json, "outcome")), "lock_held");
    assert_string_equal(world_sql(w, "select status from settle.job_runs where job_name = 'replay'"),
                        "skipped");
}

static void test_the_api_replays_a_receipt(void **state)
{
    struct world *w = *state;
    char path[160], key[80];
    struct reply r;

    settle_then_change_words(w);
    webhook(w, "nobodys", "done", 1, 5);
    world_gateway(w, NULL);
    snprintf(key, sizeof(key), "%s",
             world_sql(w, "select encode(dedup_key, 'hex') from settle.webhook_receipts"
                          " where external_post_id = 'p1'"));
    snprintf(path, sizeof(path), "/publishing/receipts/%s/replay", key);
    assert_int_equal(world_api(w, "GET", path, NULL).status, 405);
    strcat(path, "?dry_run=true");
    r = world_api(w, "POST", path, "{}");
    assert_int_equal(r.status, 200);
    assert_string_equal(json_string_value(json_object_get(r.json, "outcome")), "dry_run");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(r.json, "plan"), "planned")), 1);
    *strchr(path, '?') = '\0';
    r = world_api(w, "POST", path, "{}");
    assert_int_equal(r.status, 200);
    assert_int_equal(json_integer_value(json_object_get(r.json, "corrected")), 1);
    assert_string_equal(all(w),
                        "p1:failed:webhook_reported_failure p2:failed:webhook_reported_failure p3:processing "
                        "p4:failed:webhook_reported_failure p5:failed:webhook_timeout");
    assert_string_equal(world_sql(w,
                                  "select trigger, actor, scope ->> 'receipt' = '%s' from settle.job_runs"
                                  " where job_name = 'replay'",
                                  key),
                        "api|local|t");
    assert_int_equal(world_count(w, "select count(*) from settle.social_sync_ledger where actor = 'local'"
                                    " and metadata @> '{\"replayed\": true}'"),
                     1);

    snprintf(path, sizeof(path), "/publishing/receipts/%064d/replay", 0);
    r = world_api(w, "POST", path, "{}");
    assert_int_equal(r.status, 404);
    snprintf(path, sizeof(path), "/publishing/receipts/%s/replay",
             world_sql(w, "select encode(dedup_key, 'hex') from settle.webhook_receipts"
                          " where external_post_id = 'nobodys'"));
    r = world_api(w, "POST", path, "{}");
    assert_int_equal(r.status, 409);
    assert_non_null(strstr(r.body, "unmatched"));
    assert_int_equal(world_count(w, "select count(*) from settle.job_runs where job_name = 'replay'"), 1);
    assert_int_equal(world_gateway_stop(w), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_todays_words_take_effect_on_what_was_settled, reset),
        cmocka_unit_test_setup(test_other_jobs_leave_what_was_replayed, reset),
        cmocka_unit_test_setup(test_a_dry_run_writes_nothing, reset),
        cmocka_unit_test_setup(test_only_what_is_named_is_decided, reset),
        cmocka_unit_test_setup(test_overrides_and_what_others_have_settled_stay, reset),
        cmocka_unit_test_setup(test_what_rests_on_forgotten_evidence_stays, reset),
        cmocka_unit_test_setup(test_the_guard_stops_before_the_first_write, reset),
        cmocka_unit_test_setup(test_killed_in_the_middle_the_next_one_ends_it, reset),
        cmocka_unit_test_setup(test_the_publications_job_ends_a_killed_replay, reset),
        cmocka_unit_test_setup(test_it_waits_for_nobody, reset),
        cmocka_unit_test_setup(test_the_api_replays_a_receipt, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
