/* What was kept long enough is forgotten, and nothing that is still needed. */
#include "support/world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int up(void **state)
{
    *state = world_open();
    return 0;
}

static int reset(void **state)
{
    world_reset(*state);
    world_sql(*state, "update settle.job_fences set watermark = now() where name = 'publications'");
    return 0;
}

static int down(void **state)
{
    world_close(*state);
    return 0;
}

static struct outcome maintain(struct world *w, const char *flag)
{
    struct outcome o = world_wait(w, world_spawn(w, "settle-reconciler", "maintain", "--json", flag, NULL));

    if (o.status != 0)
        fail_msg("maintain ended with %d: %s", o.status, o.err);
    return o;
}

static long number(const struct outcome *o, const char *key)
{
    const json_t *value = json_object_get(o->json, key);

    if (!json_is_integer(value))
        fail_msg("no number \"%s\" in:\n%s", key, o->out);
    return (long)json_integer_value(value);
}

/* A UUIDv7 of that many days ago, as SQL; seed: a text that makes it another one. */
static const char *id_of(unsigned days, const char *seed)
{
    static char text[300];

    snprintf(
        text, sizeof(text),
        "encode(substring(int8send((extract(epoch from now() - interval '%u days') * 1000)::bigint) from 3)"
        " || '\\x7000'::bytea || substring(sha256('%s') from 1 for 8), 'hex')::uuid",
        days, seed);
    return text;
}

/* Webhooks of one post, stored within a minute so many days ago; body: null where a delivery has the bytes. */
static void receipts(struct world *w, const char *post, unsigned n, unsigned days, const char *body)
{
    world_sql(w,
              "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id,"
              "  external_post_id, decisive, received_at, stored_at, body)"
              " select sha256(('%s' || %u || g)::bytea), 'default', 'tiktok', %s, '%s', 0, t, t, %s"
              " from generate_series(1, %u) g,"
              "  lateral (select now() - interval '%u days' - g * interval '1 millisecond') as at (t)",
              post, days, id_of(days, post), post, body, n, days);
}

/* Of the post's webhooks, if there are any. */
static void delivery(struct world *w, const char *post, unsigned days)
{
    world_sql(
        w,
        "insert into settle.webhook_deliveries (id, source, platform, received_at, stored_at, headers,"
        "  body)"
        " select coalesce((select delivery_id from settle.webhook_receipts where external_post_id = '%s'"
        "                  limit 1), %s), 'default', 'tiktok', t, t, '', ''"
        " from (values (now() - interval '%u days')) as at (t)",
        post, id_of(days, post), days);
}

/* More than one chunk of what must stay lies before what must go. */
static void test_webhooks_are_forgotten_unless_their_publication_is_open(void **state)
{
    struct world *w = *state;
    struct outcome o;

    world_publication(w, "tiktok", "open", "retry", 60);
    world_publication(w, "tiktok", "settled", "success", 60);
    receipts(w, "open", 5500, 90, "''");
    receipts(w, "settled", 5010, 40, "''");
    receipts(w, "nobodys", 10, 40, "''");
    receipts(w, "settled", 7, 30, "''");
    o = maintain(w, "--dry-run");
    assert_int_equal(number(&o, "receipts_forgotten"), 5020);
    assert_int_equal(world_count(w, "select count(*) from settle.webhook_receipts"), 5500 + 5020 + 7);
    o = maintain(w, NULL);
    assert_int_equal(number(&o, "receipts_forgotten"), 5020);
    assert_string_equal(world_sql(w, "select external_post_id, count(*) from settle.webhook_receipts"
                                     " group by 1 order by 1"),
                        "open|5500\nsettled|7");
    o = maintain(w, NULL);
    assert_int_equal(number(&o, "receipts_forgotten"), 0);
    world_sql(w,
              "update settle.publish_logs set status = 'failed', settled_at = now() where status = 'retry'");
    o = maintain(w, NULL);
    assert_int_equal(number(&o, "receipts_forgotten"), 5500);
}

static void test_the_settings_say_how_long(void **state)
{
    struct world *w = *state;
    struct outcome o;

    receipts(w, "settled", 3, 30, "''");
    o = maintain(w, NULL);
    assert_int_equal(number(&o, "receipts_forgotten"), 0);
    setenv("SETTLE_RETENTION_RECEIPT_DAYS", "29", 1);
    o = maintain(w, NULL);
    unsetenv("SETTLE_RETENTION_RECEIPT_DAYS");
    assert_int_equal(number(&o, "receipts_forgotten"), 3);
}

/* What the publications job has not looked at may still correct what it has failed by time-out. */
static void test_webhooks_that_nobody_has_looked_at_stay(void **state)
{
    struct world *w = *state;
    struct outcome o;

    world_publication(w, "tiktok", "settled", "failed", 60);
    receipts(w, "settled", 4, 40, "''");
    receipts(w, "settled", 3, 37, "''");
    world_sql(
        w, "update settle.job_fences set watermark = now() - interval '38 days' where name = 'publications'");
    o = maintain(w, "--dry-run");
    assert_int_equal(number(&o, "receipts_forgotten"), 4);
    o = maintain(w, NULL);
    assert_int_equal(number(&o, "receipts_forgotten"), 4);
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    o = maintain(w, NULL);
    assert_int_equal(number(&o, "receipts_forgotten"), 3);
}

/* Taken back after months, a verdict of a person still leaves the publication as it was, and what came meanwhile
 * decides. */
static void test_a_verdict_of_a_person_can_be_taken_back_after_all(void **state)
{
    struct world *w = *state;
    const char *id = world_publication(w, "tiktok", "post", "processing", 30);
    struct outcome o;

    assert_int_equal(
        world_wait(w, world_spawn(w, "settle-reconciler", "override", id, "failed", "--reason", "seen", NULL))
            .status,
        0);
    receipts(w, "post", 1, 39, "''");
    world_sql(w,
              "update settle.webhook_receipts set decisive = 1, event_status = 'published';"
              "update settle.publication_reports set id = %s, reported_at = now() - interval '40 days'",
              id_of(40, "report"));
    o = maintain(w, NULL);
    assert_int_equal(number(&o, "receipts_forgotten"), 0);
    assert_int_equal(number(&o, "reports_forgotten"), 0);
    assert_int_equal(
        world_wait(w, world_spawn(w, "settle-reconciler", "override", id, "none", "--reason", "no", NULL))
            .status,
        0);
    assert_string_equal(world_sql(w, "select status from settle.publish_logs"), "success");
    o = maintain(w, NULL);
    assert_int_equal(number(&o, "receipts_forgotten"), 1);
    assert_int_equal(number(&o, "reports_forgotten"), 1); /* the undo is of today */
}

static void test_answers_to_polls_go_like_webhooks(void **state)
{
    static const struct {
        const char *post, *status;
        unsigned days;
    } cases[] = {
        {"open",    "processing", 40},
        {"settled", "success",    40},
        {"young",   "success",    30}
    };
    struct world *w = *state;
    struct outcome o;

    for (size_t i = 0; i < countof(cases); i++) {
        const char *id = world_publication(w, "tiktok", cases[i].post, cases[i].status, 60);

        world_sql(w,
                  "insert into settle.publication_reports (id, source, log_id, platform, external_post_id,"
                  "  witness, status, decisive, reported_at, actor)"
                  " values (%s, 'default', '%s', 'tiktok', '%s', 'poll', 'done', 0,"
                  "  now() - interval '%u days', 'a')",
                  id_of(cases[i].days, cases[i].post), id, cases[i].post, cases[i].days);
    }
    o = maintain(w, "--dry-run");
    assert_int_equal(number(&o, "reports_forgotten"), 1);
    o = maintain(w, NULL);
    assert_int_equal(number(&o, "reports_forgotten"), 1);
    assert_string_equal(world_sql(w, "select string_agg(external_post_id, ' ' order by external_post_id)"
                                     " from settle.publication_reports"),
                        "open young");
}

/* The bytes of a delivery are needed as long as one of its receipts is. */
static void test_deliveries_go_with_the_last_of_their_receipts(void **state)
{
    struct world *w = *state;
    struct outcome o;

    world_publication(w, "tiktok", "open", "processing", 60);
    receipts(w, "open", 2, 90, "null");
    delivery(w, "open", 90);
    receipts(w, "nobodys", 2, 40, "null");
    delivery(w, "nobodys", 40);
    delivery(w, "young", 10);
    o = maintain(w, NULL);
    assert_int_equal(number(&o, "receipts_forgotten"), 2);
    assert_int_equal(number(&o, "deliveries_forgotten"), 1);
    assert_int_equal(world_count(w, "select count(*) from settle.webhook_deliveries"), 2);
}

static void test_the_ledger_and_runs_are_kept_longer(void **state)
{
    struct world *w = *state;
    struct outcome o;

    world_sql(w, "insert into settle.social_sync_ledger (timestamp, event_type, entity_type, entity_id)"
                 " select now() - days * interval '1 day', 'publish_reconciled', 'publish_log', '1'"
                 " from generate_series(1, 1000) as days");
    world_sql(w, "insert into settle.job_runs (id, job_name, actor, trigger, status, holder, started_at)"
                 " select gen_random_uuid(), 'publications', 'cron', 'schedule', status, 'h', now() - days * "
                 "interval '1 day'"
                 " from (values ('success', 401), ('running', 401), ('failed', 399)) as run (status, days)");
    world_sql(w, "insert into settle.scheduler_event_logs (event_type, event_date)"
                 " select 'start', now() - days * interval '1 day' from generate_series(398, 403) as days");
    world_sql(
        w,
        "insert into settle.platform_insights_execution_logs (task_id, status, execution_date)"
        " select %ld, 'success', now() - days * interval '1 day' from generate_series(399, 402) as days",
        world_count(w, "insert into settle.platform_insights_tasks (user_id, platform) values ('u', 'gsc') "
                       "returning id"));
    world_sql(
        w, "insert into settle.alerts (source, type, category, severity, dedupe_key, title, message, status, "
           "created_at, resolved_at)"
           " select 's', 't', 'FRAUD', 'LOW', days::text, 't', 'm', status, now() - interval '500 days',"
           " case status when 'RESOLVED' then now() - days * interval '1 day' end"
           " from (values ('RESOLVED', 401), ('RESOLVED', 399), ('OPEN', 401)) as alert (status, days)");
    o = maintain(w, "--dry-run");
    assert_int_equal(number(&o, "alerts_forgotten"), 1);
    assert_int_equal(number(&o, "insights_logs_forgotten"), 3);
    assert_int_equal(number(&o, "ledger_forgotten"), 601);
    assert_int_equal(number(&o, "runs_forgotten"), 1);
    assert_int_equal(number(&o, "events_forgotten"), 4);
    o = maintain(w, NULL);
    assert_int_equal(number(&o, "alerts_forgotten"), 1);
    assert_string_equal(world_sql(w, "select string_agg(status, ' ' order by status) from settle.alerts"),
                        "OPEN RESOLVED");
    assert_int_equal(number(&o, "insights_logs_forgotten"), 3);
    assert_int_equal(number(&o, "ledger_forgotten"), 601);
    assert_int_equal(number(&o, "runs_forgotten"), 1);
    assert_int_equal(number(&o, "events_forgotten"), 4);
    assert_int_equal(world_count(w, "select count(*) from settle.social_sync_ledger"), 399);
    assert_string_equal(world_sql(w, "select string_agg(status, ' ' order by status) from settle.job_runs"
                                     " where job_name = 'publications'"),
                        "failed running");
    assert_int_equal(world_count(w, "select records_read from settle.job_runs where job_name = 'maintain'"),
                     610);
}

static void test_notes_on_settled_publications_are_forgotten(void **state)
{
    struct world *w = *state;
    struct outcome o;

    world_publication(w, "tiktok", "open", "processing", 60);
    world_publication(w, "tiktok", "settled", "success", 60);
    world_sql(
        w,
        "insert into settle.publish_polls (id, source, external_post_id, asked_at, next_at, outcome, tries)"
        " select id, source, external_post_id, now() - interval '1 minute', now(), 'working', 1"
        " from settle.publish_logs"
        " union all select gen_random_uuid(), 'default', 'gone', now() - interval '1 minute', now(), 'done', "
        "1");
    world_sql(w, "insert into settle.publish_leases (id, source, platform, worker_id, taken_at, lease_until)"
                 " select id, source, platform, 'worker', now() - interval '1 minute', now() from "
                 "settle.publish_logs");
    world_publication(w, "tiktok", "held", "failed", 60); /* its worker may yet name another post */
    world_publication(w, "tiktok", "of a wrong clock", "failed", 60);
    world_sql(w, "insert into settle.publish_leases (id, source, platform, worker_id, lease_until)"
                 " select id, source, platform, 'worker', now() + case external_post_id"
                 "  when 'held' then interval '24 hours' else interval '26 hours' end"
                 " from settle.publish_logs where status = 'failed'");
    world_sql(w,
              "insert into settle.poll_budgets values ('u', 'tiktok', 'old', now() - interval '2 hours', 5),"
              " ('u', 'tiktok', 'now', now() - interval '1 minute', 5)");
    o = maintain(w, "--dry-run");
    assert_int_equal(number(&o, "polls_forgotten"), 2);
    assert_int_equal(number(&o, "leases_forgotten"), 2);
    assert_int_equal(number(&o, "budgets_forgotten"), 1);
    o = maintain(w, NULL);
    assert_int_equal(number(&o, "polls_forgotten"), 2);
    assert_int_equal(number(&o, "leases_forgotten"), 2);
    assert_int_equal(number(&o, "budgets_forgotten"), 1);
    assert_string_equal(
        world_sql(w, "select (select string_agg(external_post_id, ' ') from settle.publish_polls),"
                     " (select string_agg(p.external_post_id, ' ' order by id) from settle.publish_leases"
                     "  join settle.publish_logs as p using (id)),"
                     " (select string_agg(account, ' ') from settle.poll_budgets)"),
        "open|open held|now");
}

/* Each batch is a transaction of its own: a kill costs the one at work. */
static void test_killed_in_the_middle_the_next_one_goes_on(void **state)
{
    struct world *w = *state;
    struct process first;
    struct outcome o;
    long left;

    receipts(w, "old", 5000, 41, "''");
    receipts(w, "later", 10, 40, "''");
    world_sql(w, "create function public.wait_here() returns trigger language plpgsql as $$ begin"
                 " perform pg_sleep(60); return old; end $$;"
                 "create trigger slow before delete on settle.webhook_receipts for each row"
                 " when (old.external_post_id = 'later') execute function public.wait_here()");
    first = world_spawn(w, "settle-reconciler", "maintain", NULL);
    world_until(10, world_count(w, "select pg_stat_clear_snapshot(); select count(*) from pg_stat_activity"
                                   " where wait_event = 'PgSleep'") == 1);
    kill(first.pid, SIGKILL);
    assert_int_equal(world_wait(w, first).status, 128 + SIGKILL);
    world_sql(w, "select pg_terminate_backend(pid) from pg_stat_activity"
                 " where application_name = 'settle-reconciler'");
    world_until(15, world_count(w, "select pg_stat_clear_snapshot(); select count(*) from pg_stat_activity"
                                   " where application_name = 'settle-reconciler'") == 0);
    left = world_count(w, "select count(*) from settle.webhook_receipts");
    assert_true(left >= 10 && left < 5010); /* the batches before are done */
    world_sql(w, "drop trigger slow on settle.webhook_receipts; drop function public.wait_here();"
                 "update settle.job_fences set lease_until = now() - interval '1 second'");
    world_redis(w, "del", "settle:lock:maintain", NULL);
    o = maintain(w, NULL);
    assert_int_equal(number(&o, "receipts_forgotten"), left);
    assert_string_equal(
        world_sql(w, "select string_agg(outcome, ',' order by started_at) from settle.job_runs"),
        "interrupted,done");
}

static struct outcome identities(struct world *w, const char *flag)
{
    struct outcome o =
        world_wait(w, world_spawn(w, "settle-reconciler", "maintain", "identities", "--json", flag, NULL));

    if (o.status != 0)
        fail_msg("maintain identities ended with %d: %s", o.status, o.err);
    return o;
}

static void assert_counts(const struct outcome *o, const long want[7])
{
    static const char *const names[] = {
        "total_rows",
        "rows_with_user_id_str",
        "rows_with_legacy_user_id",
        "backfilled_from_legacy_int",
        "unresolved_legacy_rows",
        "rows_without_any_identity",
        "rows_with_conflicting_identity",
    };

    for (size_t i = 0; i < countof(names); i++)
        if (number(o, names[i]) != want[i])
            fail_msg("%s: %ld instead of %ld", names[i], number(o, names[i]), want[i]);
}

/* More rows than a chunk has. Each of which that names somebody in another form is named in the one form, and nothing else
 * changes. */
static void test_older_rows_get_their_tenants_names(void **state)
{
    struct world *w = *state;
    char before[64];
    struct outcome o;

    world_sql(w, "insert into settle.monitoring_tasks (id, task_title) values (1, 't');"
                 "insert into settle.task_execution_logs (task_id, user_id, user_id_str, status) "
                 "select 1, n, null, 'success' from generate_series(1, 6000) as n union all "
                 "select 1, null, 'anna', 'success' from generate_series(1, 100) union all "
                 "values (1, 456, 'user_clerk_456', 'success'), (1, 7, '7', 'failed'), (1, null, ' bert ', "
                 "'success'), "
                 "(1, -3, null, 'success'), (1, null, null, 'success')");
    snprintf(before, sizeof(before), "%s",
             world_sql(w, "select md5(string_agg(l::text, ',' order by id)) "
                          "from settle.task_execution_logs as l"));
    o = identities(w, "--dry-run");
    assert_int_equal(number(&o, "mended"), 6001);
    assert_counts(&o, (long[]){6105, 103, 6003, 1, 6001, 1, 1});
    assert_string_equal(before, world_sql(w, "select md5(string_agg(l::text, ',' order by id)) "
                                             "from settle.task_execution_logs as l"));
    o = identities(w, NULL);
    assert_int_equal(number(&o, "mended"), 6001);
    assert_counts(&o, (long[]){6105, 6103, 6003, 6001, 1, 1, 1});
    assert_string_equal(
        world_sql(w, "select count(*) filter (where user_id_str = user_id::text), "
                     "string_agg(coalesce(user_id_str, '-'), ' ' order by id) "
                     "filter (where user_id_str is distinct from user_id::text and user_id_str <> 'anna' "
                     "or user_id_str is null) from settle.task_execution_logs"),
        "6001|user_clerk_456 bert - -");
    assert_string_equal(
        world_sql(w, "select job_name, status, outcome, records_read, actor from settle.job_runs"),
        "identities|success|done|6105|cli");
    o = identities(w, NULL);
    assert_int_equal(number(&o, "mended"), 0);
    assert_counts(&o, (long[]){6105, 6103, 6003, 6001, 1, 1, 1});
}

/* Rows that are hidden would be taken for none. */
static void test_a_policy_that_hides_older_rows_is_told_of(void **state)
{
    struct world *w = *state;
    struct outcome o;

    world_sql(w, "alter policy programs on settle.task_execution_logs to settle_operator");
    o = world_wait(w, world_spawn(w, "settle-reconciler", "maintain", "identities", "--json", NULL));
    world_sql(w, "alter policy programs on settle.task_execution_logs to settle_reconciler, settle_operator, "
                 "settle_maintain, settle_readonly, postgres");
    assert_int_equal(o.status, 70);
    assert_non_null(strstr(o.err, "run_failed"));
}

static void test_what_is_wrong_with_refused_requests_keeps_nothing_else(void **state)
{
    struct world *w = *state;
    struct outcome o;

    receipts(w, "settled", 3, 40, "''");
    world_sql(w,
              "insert into settle.refused_requests (id, source, platform, received_at, cause, headers, body)"
              " values (gen_random_uuid(), 'default', 'tiktok', now() - interval '1 year', 'test', '', '');"
              "create function public.refuse() returns trigger language plpgsql as"
              " 'begin raise exception ''not this one''; end';"
              "create trigger refuse before delete on settle.refused_requests for each row"
              " execute function public.refuse()");
    o = world_wait(w, world_spawn(w, "settle-reconciler", "maintain", "--json", NULL));
    world_sql(w, "drop function public.refuse cascade");
    assert_int_not_equal(o.status, 0);
    assert_non_null(strstr(o.err, "not this one"));
    assert_string_equal(json_string_value(json_object_get(o.json, "outcome")), "failed");
    assert_int_equal(number(&o, "receipts_forgotten"), 3);
    assert_string_equal(world_sql(w, "select status from settle.job_runs"), "failed");
    o = maintain(w, NULL);
    assert_int_equal(number(&o, "refused_forgotten"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_webhooks_are_forgotten_unless_their_publication_is_open, reset),
        cmocka_unit_test_setup(test_the_settings_say_how_long, reset),
        cmocka_unit_test_setup(test_webhooks_that_nobody_has_looked_at_stay, reset),
        cmocka_unit_test_setup(test_a_verdict_of_a_person_can_be_taken_back_after_all, reset),
        cmocka_unit_test_setup(test_answers_to_polls_go_like_webhooks, reset),
        cmocka_unit_test_setup(test_deliveries_go_with_the_last_of_their_receipts, reset),
        cmocka_unit_test_setup(test_the_ledger_and_runs_are_kept_longer, reset),
        cmocka_unit_test_setup(test_notes_on_settled_publications_are_forgotten, reset),
        cmocka_unit_test_setup(test_killed_in_the_middle_the_next_one_goes_on, reset),
        cmocka_unit_test_setup(test_what_is_wrong_with_refused_requests_keeps_nothing_else, reset),
        cmocka_unit_test_setup(test_older_rows_get_their_tenants_names, reset),
        cmocka_unit_test_setup(test_a_policy_that_hides_older_rows_is_told_of, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
