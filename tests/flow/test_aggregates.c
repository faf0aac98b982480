/* Daily aggregates say what their raw rows say, whatever is changed, killed, run twice or falsified. */
#include "support/shim.h"

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
    world_avoid_midnight();
    world_reset(*state);
    return 0;
}

static int down(void **state)
{
    world_close(*state);
    return 0;
}

static struct outcome aggregates(struct world *w, const char *verb, const char *flag)
{
    return world_wait(w, world_spawn(w, "settle-reconciler", "aggregates", verb, "--json", flag, NULL));
}

static struct outcome backfill(struct world *w, const char *from, const char *to, const char *flag)
{
    return world_wait(w, world_spawn(w, "settle-reconciler", "aggregates", "backfill", "--from", from, "--to",
                                     to, "--batch-delay-ms", "0", "--json", flag, NULL));
}

static struct outcome done(struct outcome o)
{
    if (o.status != 0)
        fail_msg("it ended with %d: %s%s", o.status, o.out, o.err);
    return o;
}

static long number(const struct outcome *o, const char *key)
{
    const json_t *value = json_object_get(o->json, key);

    if (!json_is_integer(value))
        fail_msg("no number \"%s\" in:\n%s%s", key, o->out, o->err);
    return (long)json_integer_value(value);
}

/* So many days ago, as "2026-01-31". */
static const char *day(struct world *w, unsigned ago)
{
    return world_sql(w, "select (now() at time zone 'UTC')::date - %u", ago);
}

/* A publication of one tenant on each of these days, settled half a minute after noon; its webhook, and a cost. */
static void raw_days(struct world *w, unsigned from, unsigned to)
{
    world_sql(w,
              "insert into settle.publish_logs (platform, user_id_str, status, external_post_id, "
              "requested_at, settled_at)"
              " select 'tiktok', 'anna', 'success', 'post-' || n, noon, noon + interval '30 s'"
              " from generate_series(%u, %u) as n,"
              "  lateral (select date_trunc('day', now(), 'UTC') - n * interval '1 day' + interval '12:00') "
              "as at (noon);"
              "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, "
              "external_post_id, decisive,"
              "  received_at, stored_at, headers, body)"
              " select sha256(external_post_id::bytea), 'default', 'tiktok', gen_random_uuid(), "
              "external_post_id, 1,"
              "  settled_at, settled_at, '', '' from settle.publish_logs where user_id_str = 'anna';"
              "insert into settle.cost_records (user_id_str, platform, cost, timestamp, idempotency_key)"
              " select 'anna', 'tiktok', 0.25, requested_at, external_post_id from settle.publish_logs"
              "  where user_id_str = 'anna'",
              from, to);
}

/* All that is told of days, but when and by whom it was made. */
static const char *content(struct world *w)
{
    return world_sql(
        w, "select md5(coalesce(string_agg((to_jsonb(a) - array['verified_at', 'last_run_id', 'created_at',"
           " 'updated_at', 'aggregated_at'])::text, ' ' order by a), '')) from settle.daily_aggregates as a"
           " union all"
           " select coalesce(string_agg(concat(date, verification_status, is_partial, attempts), ' '"
           " order by date), '') from settle.aggregate_days");
}

/* And whether any of it was as much as touched. */
static const char *versions(struct world *w)
{
    return world_sql(w, "select md5(coalesce(string_agg(a::text || a.xmin || a.ctid, ' ' order by a), ''))"
                        " from settle.daily_aggregates as a"
                        " union all"
                        " select md5(coalesce(string_agg(d::text || d.xmin || d.ctid, ' ' order by d), ''))"
                        " from settle.aggregate_days as d"
                        " union all"
                        " select concat((select count(*) from settle.dirty_days), ' ',"
                        "  (select count(*) from settle.alerts))");
}

/* "counts|status" of the tenant's row of a day. */
static const char *row_of(struct world *w, const char *date)
{
    return world_sql(
        w,
        "select publication_count, success_count, failed_count, webhook_count, cost_total,"
        " verification_status from settle.daily_aggregates where date = '%s' and user_id_str = 'anna'",
        date);
}

static long connections(struct world *w)
{
    return world_count(w, "select pg_stat_clear_snapshot(); select count(*) from pg_stat_activity"
                          " where application_name = 'settle-reconciler'");
}

static void test_a_day_holds_what_happened_on_it_in_utc(void **state)
{
    struct world *w = *state;

    world_sql(w, "alter database settle set timezone = 'Pacific/Chatham'");
    setenv("TZ", "America/St_Johns", 1);
    world_sql(
        w,
        "set timezone = 'UTC';"
        "insert into settle.publish_logs (platform, user_id_str, status, external_post_id, requested_at, "
        "settled_at)"
        " values ('tiktok', 'anna', 'success', 'a', '2024-02-29 00:00:00', '2024-02-29 00:00:01'),"
        "  ('tiktok', 'anna', 'failed', 'b', '2024-02-29 23:59:59.999999', '2024-03-01 00:00:02'),"
        "  ('tiktok', 'anna', 'processing', 'c', '2024-02-29 12:00:00', null),"
        "  ('youtube', 'bert', 'pending', 'd', '2024-02-29 12:00:00', null),"
        "  ('tiktok', 'anna', 'success', 'e', '2024-02-28 23:59:59.999999', '2024-02-29 12:00:00'),"
        "  ('tiktok', 'anna', 'success', 'f', '2024-03-01 00:00:00', '2024-03-01 00:00:00');"
        "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id, "
        "decisive,"
        "  received_at, stored_at, headers, body)"
        " select sha256((coalesce(post, '') || at)::bytea), 'default', 'tiktok', gen_random_uuid(), post, 1, "
        "at, at + "
        "late, '', ''"
        " from (values ('e', timestamptz '2024-02-29 00:00:00', interval '1 s'),"
        "  ('a', '2024-02-29 23:59:59.999999', '59 minutes'), ('a', '2024-02-29 12:00:00', '40 days'),"
        "  ('nobodys', '2024-02-29 12:00:00', '-2 hours'), (null, '2024-02-29 12:00:01', '1 hour'),"
        "  ('a', '2024-03-01 00:00:00', '-30 minutes'), ('a', '2024-02-28 23:59:59.999999', '2 hours'))"
        "  as r (post, at, late);"
        "insert into settle.cost_records (user_id_str, platform, cost, timestamp, idempotency_key)"
        " values ('anna', 'tiktok', 0.004999, '2024-02-29 00:00:00', 'a'),"
        "  ('anna', 'tiktok', 0.000001, '2024-02-29 23:59:59.999999', 'b'),"
        "  ('anna', null, 1.994999, '2024-02-29 12:00:00', 'c'), ('anna', 'tiktok', 9, '2024-03-01', 'd')");
    done(backfill(w, "2024-02-29", "2024-02-29", NULL));
    assert_string_equal(
        world_sql(
            w, "select user_id_str, platform, publication_count, success_count, failed_count, avg_settle_ms,"
               " webhook_count, cost_total, source_count, verification_status from settle.daily_aggregates"
               " order by 1, 2"),
        "|tiktok|0|0|0||2|0.00|2|verified\n"
        "anna||0|0|0||0|1.99|1|verified\n"
        "anna|tiktok|3|1|1|1500|3|0.01|8|verified\n"
        "bert|youtube|1|0|0||0|0.00|1|verified");
    done(backfill(w, "2023-12-31", "2024-01-01", NULL));
    assert_string_equal(world_sql(w,
                                  "select publication_count, webhook_count, cost_total, verification_status"
                                  " from settle.daily_totals where date < '2024-02-01' order by date"),
                        "0|0|0.00|verified\n0|0|0.00|verified");
    unsetenv("TZ");
    world_sql(w, "alter database settle reset timezone");
}

static void test_run_again_or_beside_itself_it_changes_nothing(void **state)
{
    struct world *w = *state;
    struct process first, second;
    const char *before, *written;
    struct outcome o;

    raw_days(w, 0, 9);
    first = world_spawn(w, "settle-reconciler", "aggregates", "run", NULL);
    second = world_spawn(w, "settle-reconciler", "aggregates", "backfill", "--from", day(w, 7), "--to",
                         day(w, 1), "--batch-delay-ms", "0", NULL);
    (void)done(world_wait(w, first));
    (void)done(world_wait(w, second));
    done(aggregates(w, "run", NULL)); /* what one found locked by the other it left to it */
    assert_int_equal(
        world_count(w, "select count(*) from settle.daily_totals where publication_count = 1"
                       " and webhook_count = 1 and cost_total = 0.25 and verification_status = 'verified'"),
        7);
    before = content(w);
    written = versions(w);
    o = done(aggregates(w, "run", NULL));
    assert_int_equal(number(&o, "unchanged"), 7);
    done(backfill(w, day(w, 7), day(w, 1), NULL));
    done(aggregates(w, "verify", NULL));
    assert_string_equal(content(w), before);
    assert_string_equal(versions(w), written);
    world_sql(w, "truncate settle.daily_aggregates, settle.aggregate_days");
    done(aggregates(w, "run", NULL));
    assert_string_equal(content(w), before);
}

static void test_all_of_them_at_once_change_nothing(void **state)
{
    static const char *const verbs[] = {"run", "run", "verify", "verify"};
    struct world *w = *state;
    struct process at_once[countof(verbs) + 2];
    const char *written;

    raw_days(w, 0, 9);
    at_once[0] = world_spawn(w, "settle-reconciler", "aggregates", "run", NULL);
    at_once[1] = world_spawn(w, "settle-reconciler", "aggregates", "run", NULL);
    (void)done(world_wait(w, at_once[0]));
    (void)done(world_wait(w, at_once[1]));
    assert_int_equal(world_count(w,
                                 "select count(*) from settle.job_runs where job_name = 'aggregates'"
                                 " and (status, outcome) in (('success', 'done'), ('skipped', 'lock_held'))"),
                     2);
    assert_int_equal(
        world_count(w, "select count(*) from settle.daily_totals where publication_count = 1"
                       " and webhook_count = 1 and cost_total = 0.25 and verification_status = 'verified'"),
        7);
    done(backfill(w, day(w, 9), day(w, 8), NULL));
    written = versions(w);
    for (size_t i = 0; i < countof(verbs); i++)
        at_once[i] = world_spawn(w, "settle-reconciler", "aggregates", verbs[i], NULL);
    for (size_t i = countof(verbs); i < countof(at_once); i++)
        at_once[i] = world_spawn(w, "settle-reconciler", "aggregates", "backfill", "--from", day(w, 9),
                                 "--to", day(w, 1), "--batch-delay-ms", "0", "--max-concurrent", "2", NULL);
    for (size_t i = 0; i < countof(at_once); i++)
        (void)done(world_wait(w, at_once[i]));
    assert_string_equal(versions(w), written);
}

static void test_after_an_outage_a_week_is_made_and_the_rest_is_named(void **state)
{
    struct world *w = *state;
    struct outcome o;

    raw_days(w, 0, 12);
    done(backfill(w, day(w, 12), day(w, 4), NULL));
    o = done(aggregates(w, "run", NULL));
    assert_int_equal(number(&o, "days_backfilled"), 3);
    assert_int_equal(number(&o, "created"), 3);
    assert_int_equal(number(&o, "older_missing_days"), 0);
    world_sql(w, "delete from settle.aggregate_days where date > (now() at time zone 'UTC')::date - 11;"
                 "delete from settle.daily_aggregates where date > (now() at time zone 'UTC')::date - 11");
    o = done(aggregates(w, "run", NULL));
    assert_int_equal(number(&o, "days_backfilled"), 7);
    assert_int_equal(number(&o, "older_missing_days"), 3);
    assert_string_equal(json_string_value(json_array_get(json_object_get(o.json, "older_missing_dates"), 0)),
                        day(w, 10));
    assert_int_equal(world_count(w, "select count(*) from settle.daily_totals"), 9);
}

/* Within a week all is hashed again; before, what writes marks. */
static void test_what_was_edited_or_deleted_is_seen(void **state)
{
    struct world *w = *state;
    struct outcome o;

    raw_days(w, 0, 20);
    done(backfill(w, day(w, 16), day(w, 15), NULL));
    done(aggregates(w, "run", NULL));
    world_sql(w, "set session_replication_role = replica;" /* around all marks */
                 "update settle.publish_logs set status = 'failed' where external_post_id = 'post-2';"
                 "delete from settle.publish_logs where external_post_id = 'post-3';"
                 "update settle.cost_records set cost = 0.75 where idempotency_key = 'post-4';"
                 "delete from settle.webhook_receipts where external_post_id = 'post-5';"
                 "set session_replication_role = default;"
                 "update settle.cost_records set cost = 0.5 where idempotency_key = 'post-15';"
                 "delete from settle.publish_logs where external_post_id = 'post-16'");
    o = done(aggregates(w, "run", NULL));
    assert_int_equal(number(&o, "updated"), 6);
    assert_string_equal(row_of(w, day(w, 2)), "1|0|1|1|0.25|verified");
    assert_string_equal(row_of(w, day(w, 3)), "0|0|0|0|0.25|verified");
    assert_string_equal(row_of(w, day(w, 4)), "1|1|0|1|0.75|verified");
    assert_string_equal(row_of(w, day(w, 5)), "1|1|0|0|0.25|verified");
    assert_string_equal(row_of(w, day(w, 15)), "1|1|0|1|0.50|verified");
    assert_string_equal(row_of(w, day(w, 16)), "0|0|0|0|0.25|verified");
    done(aggregates(w, "verify", NULL));
}

static void test_late_webhooks_are_seen_on_their_day(void **state)
{
    struct world *w = *state;
    struct outcome o;

    raw_days(w, 0, 20);
    done(backfill(w, day(w, 14), day(w, 14), NULL));
    done(aggregates(w, "run", NULL));
    world_sql(
        w, "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id,"
           " decisive, received_at, headers, body)"
           " select sha256('spooled'), 'default', 'tiktok', gen_random_uuid(), 'post-14', 0,"
           " date_trunc('day', now(), 'UTC') - interval '14 days' + interval '23:59:59.999999', '', ''");
    o = done(aggregates(w, "run", NULL));
    assert_int_equal(number(&o, "updated"), 1);
    assert_string_equal(row_of(w, day(w, 14)), "1|1|0|2|0.25|verified");
}

/* plpgsql that runs before an aggregate of that day is written. */
static void meddle(struct world *w, const char *date, const char *what)
{
    world_sql(w,
              "create function public.\"meddle %s\"() returns trigger language plpgsql as $$ begin %s; "
              "return new; end $$;"
              "create trigger \"meddle %s\" before insert on settle.daily_aggregates for each row"
              " when (new.date = '%s') execute function public.\"meddle %s\"()",
              date, what, date, date, date);
}

static void meddle_no_more(struct world *w, const char *date)
{
    world_sql(w, "drop function public.\"meddle %s\" cascade", date);
}

/* While a run writes the aggregates of that day. */
static int kill_at(struct world *w, const char *date)
{
    struct process killed;
    int status;

    meddle(w, date, "perform pg_sleep(60)");
    killed = world_spawn(w, "settle-reconciler", "aggregates", "run", NULL);
    world_until(10, world_count(w, "select pg_stat_clear_snapshot(); select count(*) from pg_stat_activity"
                                   " where wait_event = 'PgSleep'") == 1);
    kill(killed.pid, SIGKILL);
    status = world_wait(w, killed).status;
    world_sql(w, "select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'PgSleep'");
    world_until(15, world_count(w, "select pg_stat_clear_snapshot(); select count(*) from pg_stat_activity"
                                   " where wait_event = 'PgSleep'") == 0);
    meddle_no_more(w, date);
    return status;
}

/* As if all locks of whoever was killed had run out. */
static void expire(struct world *w)
{
    world_sql(w, "update settle.job_fences set lease_until = now() - interval '1 second'");
    world_redis(w, "flushall", NULL);
}

/* Stored within the hour it is not late; but the day was aggregated between, and then nothing ran for two weeks. Killed and
 * held up it stays due: it bears no mark. */
static void test_what_came_over_midnight_is_seen_after_a_long_outage(void **state)
{
    struct world *w = *state;
    struct outcome o;

    raw_days(w, 14, 14);
    done(backfill(w, day(w, 14), day(w, 14), NULL));
    world_sql(
        w, "update settle.job_fences set watermark = date_trunc('day', now(), 'UTC') - interval '13 days'"
           "  + interval '5 minutes' where name = 'aggregates';"
           "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id,"
           " decisive, received_at, stored_at, headers, body)"
           " select sha256('spooled'), 'default', 'tiktok', gen_random_uuid(), 'post-14', 0,"
           "  midnight - interval '1 us', midnight + interval '20 minutes', '', ''"
           " from (values (date_trunc('day', now(), 'UTC') - interval '13 days')) as at (midnight)");
    assert_int_equal(kill_at(w, day(w, 14)), 128 + SIGKILL);
    expire(w);
    world_sql(w,
              "update settle.job_fences set holder = 'h', lease_until = now() + interval '29 s'"
              " where name = 'aggregates:%s'",
              day(w, 14));
    o = done(aggregates(w, "run", NULL));
    assert_int_equal(number(&o, "lock_held"), 1);
    world_sql(w, "update settle.job_fences set holder = null");
    o = done(aggregates(w, "run", NULL));
    assert_int_equal(number(&o, "updated"), 1);
    assert_string_equal(row_of(w, day(w, 14)), "1|1|0|2|0.25|verified");
    o = done(aggregates(w, "run", NULL));
    assert_int_equal(number(&o, "days"), 7);
}

/* Its publication is registered, or named, long after a webhook came; or is given to somebody else, or removed. */
static void test_webhooks_follow_their_publication_to_its_tenant(void **state)
{
    static const struct {
        const char *change, *want; /* tenants with webhooks on that day */
    } steps[] = {
        {"insert into settle.publish_logs (platform, user_id_str, external_post_id) values ('tiktok', "
         "'bert', "
         "'post-14')",                                                                    "[bert]"},
        {"update settle.publish_logs set user_id_str = 'carl' where user_id_str = 'bert'",         "[carl]"},
        {"update settle.publish_logs set external_post_id = 'other' where user_id_str = 'carl'",   "[]"    },
        {"update settle.publish_logs set external_post_id = 'post-14' where user_id_str = 'carl'", "[carl]"},
        {"delete from settle.publish_logs where user_id_str = 'carl'",                             "[]"    },
    };
    struct world *w = *state;
    struct outcome o;

    raw_days(w, 14, 14);
    world_sql(w, "delete from settle.publish_logs");
    done(backfill(w, day(w, 14), day(w, 14), NULL));
    assert_string_equal(
        world_sql(w, "select '[' || user_id_str || ']' from settle.daily_aggregates where webhook_count = 1"),
        "[]");
    for (size_t i = 0; i < countof(steps); i++) {
        world_sql(w, "%s", steps[i].change);
        o = done(aggregates(w, "run", NULL));
        assert_int_equal(number(&o, "updated"), 1);
        assert_string_equal(world_sql(w,
                                      "select '[' || user_id_str || ']' from settle.daily_aggregates"
                                      " where date = '%s' and webhook_count = 1",
                                      day(w, 14)),
                            steps[i].want);
    }
    done(aggregates(w, "verify", NULL));
}

/* Each in its own transaction, as their writers do it. */
static void test_verdicts_on_old_publications_repair_their_days(void **state)
{
    struct world *w = *state;
    const char *id;

    raw_days(w, 14, 15);
    world_sql(w, "update settle.publish_logs set status = 'failed', extra_metadata = '{\"reconciled\": true,"
                 " \"reconciliation_reason\": \"webhook_timeout\"}' where external_post_id = 'post-14';"
                 "delete from settle.webhook_receipts where external_post_id = 'post-14'");
    done(backfill(w, day(w, 15), day(w, 14), NULL));
    assert_string_equal(row_of(w, day(w, 14)), "1|0|1|0|0.25|verified");
    world_sql(
        w, "update settle.job_fences set watermark = now() where name = 'publications';"
           "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id,"
           " event_status, decisive, received_at, headers, body)"
           " values (sha256('late'), 'default', 'tiktok', gen_random_uuid(), 'post-14', 'published', 1, "
           "now(), '', '')");
    done(world_reconcile(w, NULL));
    done(aggregates(w, "run", NULL));
    assert_string_equal(row_of(w, day(w, 14)), "1|1|0|0|0.25|verified");

    id = world_sql(w, "select id from settle.publish_logs where external_post_id = 'post-15'");
    done(world_wait(w,
                    world_spawn(w, "settle-reconciler", "override", id, "failed", "--reason", "seen", NULL)));
    assert_int_equal(world_count(w, "select count(*) from settle.dirty_days where date = '%s'", day(w, 15)),
                     1);
    done(aggregates(w, "run", NULL));
    assert_string_equal(row_of(w, day(w, 15)), "1|0|1|1|0.25|verified");
    done(world_wait(w, world_spawn(w, "settle-reconciler", "override", id, "none", "--reason", "no", NULL)));
    done(aggregates(w, "run", NULL));
    assert_string_equal(row_of(w, day(w, 15)), "1|1|0|1|0.25|verified");
    assert_int_equal(world_count(w, "select count(*) from settle.dirty_days"), 0);
}

static void test_what_retention_forgets_still_counts(void **state)
{
    struct world *w = *state;

    raw_days(w, 0, 40);
    done(backfill(w, day(w, 40), day(w, 39), NULL));
    world_sql(w,
              "update settle.job_fences set watermark = now() where name = 'publications';"
              "update settle.aggregate_days set verification_status = 'pending' where date = '%s'",
              day(w, 39));
    done(world_wait(w, world_spawn(w, "settle-reconciler", "maintain", NULL)));
    assert_int_equal(
        world_count(w, "select count(*) from settle.webhook_receipts where external_post_id = 'post-40'"), 0);
    assert_int_equal(
        world_count(w, "select count(*) from settle.webhook_receipts where external_post_id = 'post-39'"), 1);
    done(aggregates(w, "run", NULL));
    assert_string_equal(row_of(w, day(w, 40)), "1|1|0|1|0.25|verified");
    done(world_wait(w, world_spawn(w, "settle-reconciler", "maintain", NULL))); /* now that it is verified */
    assert_int_equal(
        world_count(w, "select count(*) from settle.webhook_receipts where external_post_id = 'post-39'"), 0);
    done(aggregates(w, "run", NULL));
    done(aggregates(w, "verify", NULL));
}

static void test_what_is_falsified_by_hand_is_found_and_repaired(void **state)
{
    struct world *w = *state;
    struct outcome o;
    const char *before;

    raw_days(w, 0, 12);
    done(backfill(w, day(w, 12), day(w, 9), NULL));
    before = content(w);
    world_sql(w, "update settle.daily_aggregates set success_count = 7 where date = '%s';", day(w, 9));
    world_sql(w, "update settle.daily_aggregates set cost_total = 0.27 where date = '%s'", day(w, 10));
    world_sql(w, "delete from settle.daily_aggregates where date = '%s'", day(w, 11));
    world_sql(
        w,
        "insert into settle.daily_aggregates select (jsonb_populate_record(a, '{\"user_id_str\": \"x\"}')).*"
        " from settle.daily_aggregates as a where date = '%s'",
        day(w, 12));
    o = aggregates(w, "verify", "--dry-run");
    assert_int_equal(o.status, 1);
    assert_int_equal(world_count(w, "select count(*) from settle.daily_aggregates"
                                    " where verification_status <> 'verified'"),
                     0);
    o = aggregates(w, "verify", NULL);
    assert_int_equal(o.status, 1);
    assert_int_equal(number(&o, "unverified"), 4);
    assert_string_equal(row_of(w, day(w, 9)), "1|7|0|1|0.25|unverified");
    assert_string_equal(
        world_sql(w, "select verify_diff from settle.daily_aggregates where date = '%s'", day(w, 9)),
        "{\"success_count\": [7, 1]}");
    assert_int_equal(
        world_count(w, "select count(*) from settle.aggregate_days where verification_status = 'unverified'"),
        4);
    assert_int_equal(world_count(w, "select count(*) from settle.alerts where type = 'aggregate_unverified'"),
                     4);
    o = done(aggregates(w, "verify", "--repair"));
    assert_int_equal(number(&o, "repaired"), 4);
    assert_string_equal(content(w), before);
    done(aggregates(w, "verify", NULL));
}

/* However few rows it takes at a time, and whether or not they come out even. */
static void test_what_does_not_hold_is_taken_in_chunks(void **state)
{
    static const char *const chunks[] = {"1", "2", "3", "4", "5"};
    struct world *w = *state;
    struct outcome o;

    world_sql(w, "insert into settle.publish_logs (platform, user_id_str, requested_at)"
                 " select platform, 'user-' || n, date_trunc('day', now(), 'UTC') - interval '9 days'"
                 " from generate_series(1, 3) as n, unnest(array['tiktok', 'youtube']) as platform");
    done(backfill(w, day(w, 9), day(w, 9), NULL));
    for (size_t i = 0; i < countof(chunks); i++) {
        world_sql(w, "update settle.daily_aggregates set failed_count = 7"
                     " where (user_id_str, platform) <> ('user-1', 'youtube')"
                     "  and (user_id_str, platform) <> ('user-3', 'youtube')");
        o = world_wait(w, world_spawn(w, "settle-reconciler", "aggregates", "verify", "--json", "--chunk",
                                      chunks[i], NULL));
        assert_int_equal(o.status, 1);
        assert_int_equal(number(&o, "drifted_rows"), 4);
        assert_string_equal(
            world_sql(w, "select string_agg(concat_ws(' ', user_id_str, platform), ',' order by user_id_str,"
                         " platform) from settle.daily_aggregates where verification_status = 'verified'"),
            "user-1 youtube,user-3 youtube");
        assert_string_equal(world_sql(w, "select verification_status, drift_rows from settle.aggregate_days"),
                            "unverified|4");
        world_sql(w, "delete from settle.daily_aggregates where (user_id_str, platform) in"
                     " (('user-1', 'tiktok'), ('user-2', 'youtube'), ('user-3', 'youtube'))");
        for (int again = 1; again <= 2; again++) { /* told twice they are no more */
            o = world_wait(w, world_spawn(w, "settle-reconciler", "aggregates", "verify", "--json", "--chunk",
                                          chunks[i], NULL));
            assert_int_equal(number(&o, "drifted_rows"), 5);
            assert_string_equal(
                world_sql(w,
                          "select verification_status, drift_rows, missing_rows from settle.aggregate_days"),
                "unverified|5|3");
        }
        o = done(world_wait(w, world_spawn(w, "settle-reconciler", "aggregates", "verify", "--repair",
                                           "--json", "--chunk", chunks[i], NULL)));
        assert_int_equal(number(&o, "repaired"), 1);
        assert_int_equal(world_count(w, "select count(*) from settle.daily_aggregates"
                                        " where verification_status = 'verified' and failed_count = 0"),
                         6);
        assert_string_equal(
            world_sql(w, "select verification_status, drift_rows, missing_rows from settle.aggregate_days"),
            "verified|0|0");
    }
    assert_string_equal(world_sql(w, "select count(*), sum(occurrences) from settle.alerts"), "1|20");
}

/* What came since is the next run's: on a day that is not over, and on one that changes while others are counted. */
static void test_what_changed_since_is_no_drift(void **state)
{
    struct world *w = *state;
    struct outcome o;

    raw_days(w, 0, 3);
    done(backfill(w, day(w, 3), "today", "--include-today"));
    world_sql(w, "insert into settle.publish_logs (platform, user_id_str) values ('tiktok', 'bert')");
    o = done(aggregates(w, "verify", NULL));
    assert_int_equal(number(&o, "stale"), 1);
    assert_int_equal(world_count(w, "select count(*) from settle.alerts"), 0);
    o = done(aggregates(w, "verify", "--repair"));
    assert_int_equal(world_count(w, "select publication_count from settle.daily_totals where is_partial"), 2);
    done(aggregates(w, "verify", NULL));
    world_sql(
        w, "update settle.aggregate_days set date = date - 30 where is_partial;" /* as if the day were over */
           "update settle.daily_aggregates set date = date - 30 where is_partial");
    done(aggregates(w, "verify", "--repair"));
    assert_int_equal(world_count(w, "select count(*) from settle.aggregate_days where is_partial"), 0);

    world_sql(w,
              "create function public.change() returns trigger language plpgsql security definer as $$ begin"
              " update settle.publish_logs set status = 'failed' where external_post_id = 'post-2';"
              " return new; end $$;"
              "create trigger change before update on settle.job_fences for each row"
              " when (new.name = 'aggregates:%s' and old.holder is null) execute function public.change()",
              day(w, 2));
    o = done(aggregates(w, "verify", NULL));
    world_sql(w, "drop trigger change on settle.job_fences; drop function public.change()");
    assert_int_equal(number(&o, "stale"), 1);
    assert_int_equal(number(&o, "drifted_rows"), 0);
    done(aggregates(w, "run", NULL));
    assert_string_equal(row_of(w, day(w, 2)), "1|0|1|1|0.25|verified");
    assert_int_equal(world_count(w, "select count(*) from settle.alerts"), 0);
}

static void test_a_day_that_fails_holds_up_no_other(void **state)
{
    struct world *w = *state;
    struct outcome o;

    raw_days(w, 0, 9);
    meddle(w, day(w, 4), "raise exception 'injected'");
    for (int attempt = 1; attempt <= 3; attempt++) {
        o = aggregates(w, "run", NULL);
        assert_int_equal(o.status, 75);
        assert_int_equal(number(&o, attempt < 3 ? "failed" : "dead"), 1);
        assert_int_equal(
            world_count(w, "select count(*) from settle.daily_totals where verification_status = 'verified'"),
            6);
        o = done(aggregates(w, "run", NULL)); /* not before its time */
        assert_int_equal(number(&o, "days"), 6);
        world_sql(w,
                  "update settle.aggregate_days set next_attempt_at = now() where attempts between 1 and 2");
    }
    assert_string_equal(
        world_sql(w,
                  "select string_agg(concat_ws(' ', status, attempt, error_code, target_date = '%s',"
                  " next_attempt_at > started_at), ',' order by started_at) from settle.job_runs"
                  " where job_name = 'aggregate_day' and status <> 'success'",
                  day(w, 4)),
        "failed 1 P0001 t t,failed 2 P0001 t t,dead 3 P0001 t");
    assert_int_equal(world_count(w,
                                 "select count(*) from settle.job_runs where error_message like"
                                 " 'statement aggregate_day of %s: %%injected%%'",
                                 day(w, 4)),
                     3);
    assert_string_equal(world_sql(w, "select type, subject_id, status from settle.alerts"),
                        world_sql(w, "select 'aggregate_dead', '%s', 'OPEN'", day(w, 4)));
    world_sql(w, "update settle.publish_logs set status = 'failed' where external_post_id = 'post-4'");
    o = aggregates(w, "run", NULL);
    assert_int_equal(number(&o, "failed"), 1); /* new data begins its attempts anew */
    meddle_no_more(w, day(w, 4));
    done(backfill(w, day(w, 4), day(w, 4), NULL));
    assert_string_equal(row_of(w, day(w, 4)), "1|0|1|1|0.25|verified");
    assert_int_equal(world_count(w, "select count(*) from settle.aggregate_days where attempts > 0"), 0);

    world_sql(w,
              "update settle.aggregate_days set attempts = 3, failed_at = now(), next_attempt_at = null"
              " where date = '%s'",
              day(w, 4));
    o = done(aggregates(w, "run", NULL));
    assert_int_equal(number(&o, "days"), 6); /* dead is dead */
    world_sql(w, "update settle.publish_logs set status = 'success' where external_post_id = 'post-4'");
    o = done(aggregates(w, "run", NULL));
    assert_int_equal(number(&o, "updated"), 1);
    assert_string_equal(row_of(w, day(w, 4)), "1|1|0|1|0.25|verified");
    assert_int_equal(world_count(w, "select count(*) from settle.aggregate_days where attempts > 0"), 0);
}

/* The store's word, the statement's name, and the scheduler's events of those that nobody scheduled. */
static void test_what_a_run_did_is_in_its_row_and_the_events(void **state)
{
    struct world *w = *state;

    raw_days(w, 0, 2);
    done(aggregates(w, "run", NULL));
    world_sql(w, "revoke select on settle.dirty_days from settle_reconciler");
    assert_int_equal(aggregates(w, "run", NULL).status, 70);
    world_sql(w, "grant select on settle.dirty_days to settle_reconciler");
    assert_string_equal(
        world_sql(w, "select status, error_code, error_message like '%%late webhooks%%dirty_days%%'"
                     " from settle.job_runs where job_name = 'aggregates' order by started_at"),
        "success||\nfailed|42501|t");
    done(backfill(w, day(w, 9), day(w, 8), NULL));
    done(aggregates(w, "verify", NULL));
    assert_string_equal(
        world_sql(w,
                  "select event_type, job_id, job_type, event_data ->> 'trigger', event_data ->> 'outcome',"
                  " error_message like '%%permission denied%%', check_duration_seconds >= 0"
                  " from settle.scheduler_event_logs order by id"),
        "job_started|aggregates|one_time|manual|||\n"
        "job_completed|aggregates|one_time|manual|done||t\n"
        "job_started|aggregates|one_time|manual|||\n"
        "job_failed|aggregates|one_time|manual|failed|t|t\n"
        "job_started|aggregates_backfill|one_time|manual|||\n"
        "job_completed|aggregates_backfill|one_time|manual|done||t\n"
        "job_started|aggregates_verify|one_time|manual|||\n"
        "job_completed|aggregates_verify|one_time|manual|done||t");
}

/* A lease of 30 s is what a killed run leaves behind: the test ends it. */
static void test_killed_in_the_middle_the_next_one_ends_as_if_it_had_not_been(void **state)
{
    struct world *w = *state;
    const char *undisturbed;
    struct outcome o;

    raw_days(w, 0, 9);
    done(aggregates(w, "run", NULL));
    undisturbed = content(w);
    world_sql(w, "truncate settle.daily_aggregates, settle.aggregate_days");
    assert_int_equal(kill_at(w, day(w, 4)), 128 + SIGKILL);
    assert_int_equal(world_count(w, "select count(*) from settle.daily_totals"), 3);
    if (!getenv("SETTLE_TEST_LONG"))
        expire(w);
    world_until(40, (o = done(aggregates(w, "run", NULL)), number(&o, "days_done") == 7));
    assert_int_equal(number(&o, "created"), 4);
    assert_string_equal(content(w), undisturbed);
    assert_string_equal(world_sql(w,
                                  "select string_agg(outcome, ',' order by started_at) from settle.job_runs"
                                  " where job_name = 'aggregates' and status <> 'skipped'"),
                        "done,interrupted,done");
}

/* Its processes end with it, each when the day is that it is at; nothing of theirs stays in the way. */
static void test_a_backfill_killed_with_its_crew_is_made_up_for(void **state)
{
    struct world *w = *state;
    struct process killed;
    const char *undisturbed;

    raw_days(w, 0, 9);
    done(backfill(w, day(w, 9), day(w, 1), NULL));
    undisturbed = content(w);
    world_sql(w, "truncate settle.daily_aggregates, settle.aggregate_days");
    meddle(w, day(w, 6), "perform pg_sleep(3600)");
    meddle(w, day(w, 4), "perform pg_sleep(3600)");
    killed = world_spawn(w, "settle-reconciler", "aggregates", "backfill", "--from", day(w, 9), "--to",
                         day(w, 1), "--max-concurrent", "2", NULL);
    world_until(15, world_count(w, "select pg_stat_clear_snapshot(); select count(*) from pg_stat_activity"
                                   " where wait_event = 'PgSleep'") == 2);
    kill(killed.pid, SIGKILL);
    assert_int_equal(world_wait(w, killed).status, 128 + SIGKILL);
    world_sql(w, "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'PgSleep'");
    world_until(20, connections(w) == 0);
    meddle_no_more(w, day(w, 6));
    meddle_no_more(w, day(w, 4));
    world_sql(w, "update settle.job_fences set lease_until = now() - interval '1 second'"
                 " where name = 'aggregates_backfill'");
    world_redis(w, "flushall", NULL);
    done(backfill(w, day(w, 9), day(w, 1), NULL));
    assert_string_equal(content(w), undisturbed);
}

static void test_a_day_that_another_has_is_left_to_it(void **state)
{
    struct world *w = *state;
    struct outcome o;

    raw_days(w, 0, 9);
    done(aggregates(w, "run", NULL));
    world_sql(w,
              "update settle.publish_logs set status = 'failed';"
              "update settle.job_fences set holder = 'h', lease_until = now() + interval '29 s' where name = "
              "'aggregates:%s'",
              day(w, 4));
    o = done(aggregates(w, "run", NULL));
    assert_int_equal(number(&o, "lock_held"), 1);
    assert_int_equal(number(&o, "updated"), 6);
    assert_string_equal(
        world_sql(w, "select target_date = '%s', outcome from settle.job_runs where status = 'skipped'",
                  day(w, 4)),
        "t|lock_held");
    o = done(aggregates(w, "verify", NULL));
    assert_int_equal(number(&o, "lock_held"), 0); /* it is marked: there is nothing to look at */
    world_sql(w, "delete from settle.dirty_days");
    o = done(aggregates(w, "verify", NULL));
    assert_int_equal(number(&o, "lock_held"), 1);
    assert_int_equal(number(&o, "days"), 7);
    assert_int_equal(number(&o, "days_done"), 6);
    assert_int_equal(number(&o, "unverified"), 0);
    o = done(world_wait(w, world_spawn(w, "settle-reconciler", "aggregates", "verify", NULL)));
    assert_non_null(strstr(o.out, "6 of 7 days verified"));
    assert_non_null(strstr(o.out, "1 not looked at"));
    world_sql(w, "update settle.job_fences set holder = null");
    o = done(aggregates(w, "run", NULL));
    assert_int_equal(number(&o, "updated"), 1);
}

static void stop_before(struct shim *shim, struct process p, const char *word)
{
    shim_signal(shim, word, 1, SIGSTOP);
    kill(p.pid, SIGCONT);
    world_until(20, shim_halted(p.pid));
}

/* Nine seconds after the locks were renewed it begins, and it takes all of its twenty: in the one case the first one, which
 * then is cancelled, in the other the second one. */
static void test_a_count_may_take_all_its_time(void **state)
{
    static const int64_t old_us = 9 * SECOND_US, count_us = 20 * SECOND_US;
    struct world *w = *state;

    for (int second = 0; second < 2; second++) {
        struct shim *shim = shim_open(w);
        struct process p;
        struct outcome o;

        world_reset(w);
        raw_days(w, 7, 7);
        world_sql(w, "create function public.cancel() returns trigger language plpgsql as"
                     " 'begin raise exception using errcode = ''57014''; end'");
        if (!second)
            world_sql(w, "create trigger cancel before insert on settle.daily_aggregates for each row"
                         " execute function public.cancel()");
        shim_signal(shim, "aggregates:", 1, SIGSTOP); /* the lock of the first day */
        p = world_spawn(w, "settle-reconciler", "aggregates", "run", "--json", NULL);
        shim_hide(shim);
        world_until(20, shim_halted(p.pid));
        if (second)
            stop_before(shim, p, "commit");
        shim_sleep(shim, old_us);
        stop_before(shim, p, second ? "aggregate_compare" : "aggregate_day");
        shim_sleep(shim, old_us + count_us);
        shim_signal(shim, NULL, 0, 0);
        kill(p.pid, SIGCONT);
        o = world_wait(w, p);
        shim_close(shim);
        world_sql(w, "drop function public.cancel cascade");
        if (number(&o, "days_done") != 7)
            fail_msg("the %s count: %s", second ? "second" : "first", o.err);
        assert_int_equal(o.status, second ? 0 : 75);
        assert_int_equal(world_count(w, "select sum(attempts) from settle.aggregate_days"), !second);
    }
}

/* The newer ones were not tried: `serve` has the job run again for them soon, and not when that day's next attempt is. */
static void test_a_run_cut_short_says_so_whatever_failed_before(void **state)
{
    struct world *w = *state;

    raw_days(w, 0, 9);
    meddle(w, day(w, 6), "raise exception 'injected'");
    meddle(w, day(w, 4), "raise exception 'no room' using errcode = '53100'");
    assert_int_equal(aggregates(w, "run", NULL).status, 69);
    meddle_no_more(w, day(w, 6));
    meddle_no_more(w, day(w, 4));
    assert_string_equal(world_sql(w, "select concat_ws(' ', status, error_code, report ->> 'failed',"
                                     " report ->> 'days_done') from settle.job_runs"
                                     " where job_name = 'aggregates'"),
                        "failed 53100 1 3");
}

static void test_a_store_that_is_down_is_no_attempt(void **state)
{
    struct world *w = *state;

    raw_days(w, 0, 2);
    world_kill(w, POSTGRES);
    assert_int_equal(aggregates(w, "run", NULL).status, 69);
    world_servers(w);
    done(aggregates(w, "run", NULL));
    assert_int_equal(
        world_count(w, "select count(*) from settle.job_runs where attempt <> 1 or status <> 'success'"), 0);
}

static void test_backfill_keeps_to_its_range(void **state)
{
    static const struct {
        const char *from, *to, *flag;
    } wrong[] = {
        {"2024-03-02", "2024-03-01", NULL             },
        {"2024-02-30", "2024-03-01", NULL             },
        {"2024-02-1",  "2024-03-01", NULL             },
        {"2024-02-01", "today",      NULL             },
        {"2024-02-01", "9999-12-31", "--include-today"},
        {"2024-02-01", "2024-02-02", "--repair"       },
    };
    struct world *w = *state;
    struct outcome o;

    for (size_t i = 0; i < countof(wrong); i++)
        assert_int_equal(backfill(w, wrong[i].from, wrong[i].to, wrong[i].flag).status, 64);
    assert_int_equal(backfill(w, "2024-02-01", day(w, 0), NULL).status, 64);
    assert_int_equal(world_count(w, "select count(*) from settle.job_runs"), 0);

    raw_days(w, 0, 10);
    o = done(backfill(w, day(w, 9), "today", "--include-today"));
    assert_non_null(strstr(o.err, "\"Aggregated 7/10 days\""));
    assert_non_null(strstr(o.err, "\"Aggregated 10/10 days\""));
    assert_string_equal(
        world_sql(w, "select string_agg(date::text, ' ') from settle.daily_totals where is_partial"),
        day(w, 0));
    world_sql(
        w, "update settle.aggregate_days set date = date - 30 where is_partial;" /* as if the day were over */
           "update settle.daily_aggregates set date = date - 30 where is_partial");
    done(aggregates(w, "run", NULL));
    assert_int_equal(world_count(w, "select count(*) from settle.aggregate_days where is_partial"), 0);
    assert_int_equal(world_count(w, "select count(*) from settle.daily_aggregates where is_partial"), 0);
}

/* KiB that a process has had at most. */
static long memory_of(pid_t pid)
{
    char path[64], line[128];
    long kib = 0;
    FILE *from;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    from = fopen(path, "re");
    assert_non_null(from);
    while (fgets(line, sizeof(line), from))
        if (strncmp(line, "VmHWM:", 6) == 0)
            kib = strtol(line + 6, NULL, 10);
    fclose(from);
    return kib;
}

/* Told to end in a pause it has done no more than its first batch; run again it goes on. */
static void test_a_backfill_pauses_between_batches_and_goes_on_when_it_is_run_again(void **state)
{
    struct world *w = *state;
    struct process p;
    struct outcome o;

    raw_days(w, 0, 20);
    p = world_spawn(w, "settle-reconciler", "aggregates", "backfill", "--from", day(w, 20), "--to", day(w, 1),
                    "--batch-delay-ms", "60000", "--json", NULL);
    world_until(20, world_said(w, p, "\"Aggregated 7/20 days\""));
    world_until(
        20,
        world_count(w, "select count(*) from pg_stat_activity where application_name ="
                       " 'settle-reconciler' and clock_timestamp() - state_change > interval '1 s'") == 1);
    assert_int_equal(connections(w), 1);
#if !defined(__SANITIZE_ADDRESS__)
    assert_in_range(memory_of(p.pid), 1, 64 * 1024);
#endif
    kill(p.pid, SIGTERM);
    o = world_wait(w, p);
    assert_int_equal(o.status, 75);
    assert_int_equal(number(&o, "days_done"), 7);
    assert_int_equal(world_count(w, "select count(*) from settle.daily_totals"), 7);
    o = done(backfill(w, day(w, 20), day(w, 1), NULL));
    assert_int_equal(number(&o, "unchanged"), 7);
    assert_int_equal(number(&o, "created"), 13);
}

/* A leap year, in which one day fails; how many it makes at once changes nothing in what it makes. */
static void test_a_year_is_filled_in_over_the_connections_it_was_given(void **state)
{
    struct world *w = *state;
    struct process p;
    struct outcome o;
    long most = 0;

    world_sql(w, "insert into settle.publish_logs (platform, user_id_str, requested_at)"
                 " select 'tiktok', 'anna', noon from generate_series(timestamptz '2024-01-01 12:00Z',"
                 "  '2024-12-31 12:00Z', interval '1 day') as noon");
    meddle(w, "2024-02-29", "raise exception 'injected'");
    p = world_spawn(w, "settle-reconciler", "aggregates", "backfill", "--from", "2024-01-01", "--to",
                    "2024-12-31", "--batch-size", "100", "--batch-delay-ms", "0", "--max-concurrent", "3",
                    "--json", NULL);
    world_until(
        300, (most = connections(w) > most ? connections(w) : most, world_said(w, p, "\"job_completed\"")));
    o = world_wait(w, p);
    assert_int_equal(o.status, 75);
    assert_in_range(most, 2, 1 + 3);
    assert_int_equal(number(&o, "created"), 365);
    assert_int_equal(number(&o, "failed"), 1);
    assert_non_null(strstr(o.err, "\"Aggregated 100/366 days\""));
    assert_non_null(strstr(o.err, "\"Aggregated 366/366 days\""));
    meddle_no_more(w, "2024-02-29");
    o = done(backfill(w, "2024-02-28", "2024-03-01", NULL));
    assert_int_equal(number(&o, "created"), 1);
    assert_int_equal(number(&o, "unchanged"), 2);
    assert_int_equal(world_count(w, "select count(*) from settle.daily_totals where publication_count = 1"
                                    " and verification_status = 'verified'"),
                     366);
}

static void test_a_dry_run_only_says_what_it_would_do(void **state)
{
    struct world *w = *state;
    struct outcome o;

    raw_days(w, 0, 9);
    o = done(aggregates(w, "run", "--dry-run"));
    assert_int_equal(number(&o, "days"), 7);
    assert_int_equal(json_array_size(json_object_get(o.json, "due_dates")), 7);
    o = done(backfill(w, day(w, 9), day(w, 2), "--dry-run"));
    assert_int_equal(number(&o, "days"), 8);
    assert_int_equal(world_count(w, "select (select count(*) from settle.aggregate_days)"
                                    " + (select count(*) from settle.job_runs)"),
                     0);
}

/* Whoever begins to lead starts it at once, whenever it is due; and its events are not told twice. */
static void test_serve_makes_up_for_the_nights_it_slept_through(void **state)
{
    struct world *w = *state;

    raw_days(w, 0, 9);
    setenv("SETTLE_SCHEDULES_PUBLICATIONS", "", 1);
    setenv("SETTLE_SCHEDULES_MAINTAIN", "", 1);
    setenv("SETTLE_SCHEDULES_INSIGHTS", "", 1);
    for (int start = 1; start <= 2; start++) {
        struct process serve = world_spawn(w, "settle-reconciler", "serve", NULL);

        world_until(20,
                    world_count(w, "select count(*) from settle.scheduler_event_logs"
                                   " where event_type = 'job_completed' and job_id = 'aggregates'") == start);
        kill(serve.pid, SIGTERM);
        done(world_wait(w, serve));
    }
    unsetenv("SETTLE_SCHEDULES_PUBLICATIONS");
    unsetenv("SETTLE_SCHEDULES_MAINTAIN");
    unsetenv("SETTLE_SCHEDULES_INSIGHTS");
    assert_string_equal(world_sql(w, "select trigger, status, report ->> 'days_backfilled',"
                                     " report ->> 'unchanged' from settle.job_runs"
                                     " where job_name = 'aggregates' order by started_at"),
                        "startup|success|7|0\nstartup|success|0|7");
    assert_string_equal(
        world_sql(w, "select string_agg(event_type, ' ' order by id) from settle.scheduler_event_logs"
                     " where job_id = 'aggregates'"),
        "job_scheduled job_started job_completed job_scheduled job_started job_completed");
    assert_string_equal(
        world_sql(w, "select next_due > now() from settle.job_schedule where job = 'aggregates'"), "t");
}

/* With a schedule that has no other due time while this test runs. */
static struct process serve_days(struct world *w)
{
    struct process p;

    setenv("SETTLE_SCHEDULES_PUBLICATIONS", "", 1);
    setenv("SETTLE_SCHEDULES_MAINTAIN", "", 1);
    setenv("SETTLE_SCHEDULES_INSIGHTS", "", 1);
    setenv("SETTLE_SCHEDULES_STATS", "", 1);
    setenv("SETTLE_SCHEDULES_ALERTS", "", 1);
    setenv("SETTLE_SCHEDULES_AGGREGATES",
           world_sql(w, "select to_char(now() + interval '180 days', '\"0 0 1\" FMMM \"*\"')"), 1);
    p = world_spawn(w, "settle-reconciler", "serve", NULL);
    unsetenv("SETTLE_SCHEDULES_PUBLICATIONS");
    unsetenv("SETTLE_SCHEDULES_MAINTAIN");
    unsetenv("SETTLE_SCHEDULES_INSIGHTS");
    unsetenv("SETTLE_SCHEDULES_STATS");
    unsetenv("SETTLE_SCHEDULES_ALERTS");
    unsetenv("SETTLE_SCHEDULES_AGGREGATES");
    return p;
}

static long ended_runs(struct world *w)
{
    return world_count(w, "select count(*) from settle.scheduler_event_logs where job_id = 'aggregates'"
                          " and event_type in ('job_completed', 'job_failed', 'job_cancelled')");
}

static void assert_due(struct world *w, const char *when)
{
    const char *holds = world_sql(
        w, "select next_due - now() from settle.job_schedule where job = 'aggregates' and %s", when);

    if (!holds[0])
        fail_msg("it is due %s, not: %s",
                 world_sql(w, "select next_due - now() from settle.job_schedule where job = 'aggregates'"),
                 when);
}

/* The next due time has come, and whatever is to be tried again is. */
static void let_it_be_due(struct world *w)
{
    world_sql(w, "update settle.aggregate_days set next_attempt_at = now() where next_attempt_at is not null;"
                 "update settle.job_schedule set next_due = now() where job = 'aggregates'");
}

static void test_serve_tries_a_day_again_when_it_is_due_to_be(void **state)
{
    struct world *w = *state;
    struct process serve;

    raw_days(w, 0, 9);
    meddle(w, day(w, 4), "raise exception 'not today'");
    serve = serve_days(w);
    for (int attempt = 1; attempt <= 2; attempt++) {
        world_until(20, ended_runs(w) == attempt);
        assert_int_equal(world_count(w, "select attempts from settle.aggregate_days where attempts > 0"),
                         attempt);
        assert_due(w, "next_due = (select next_attempt_at from settle.aggregate_days where attempts > 0)");
        let_it_be_due(w);
    }
    world_until(20, ended_runs(w) == 3); /* a dead day is tried no more */
    assert_due(w, "next_due > now() + interval '100 days'");
    meddle_no_more(w, day(w, 4));
    kill(serve.pid, SIGTERM);
    done(world_wait(w, serve));
}

/* A kill of all that runs, and of the store. What always fails comes ever later; what another does is looked after. */
static void test_serve_makes_up_for_a_night_that_was_cut_short(void **state)
{
    struct world *w = *state;
    struct process serve;

    raw_days(w, 0, 9);
    meddle(w, day(w, 4), "perform pg_sleep(3600)");
    serve = serve_days(w);
    world_until(20, world_count(w, "select pg_stat_clear_snapshot(); select count(*) from pg_stat_activity"
                                   " where wait_event = 'PgSleep'") == 1);
    kill(serve.pid, SIGKILL);
    world_wait(w, serve);
    world_crash(w);
    world_servers(w);
    meddle_no_more(w, day(w, 4));
    expire(w);
    serve = serve_days(w);
    world_until(60, ended_runs(w) == 1);
    assert_due(w, "next_due < now() + interval '11 minutes'");

    world_sql(w, "update settle.job_fences set holder = 'h', lease_until = now() + interval '29 s'"
                 " where name = 'aggregates'");
    let_it_be_due(w);
    world_until(20, ended_runs(w) == 2);
    assert_due(w, "next_due < now() + interval '11 minutes'");
    world_sql(w,
              "update settle.job_fences set holder = null where name = 'aggregates';"
              "update settle.job_fences set holder = 'h', lease_until = now() + interval '29 s'"
              " where name = 'aggregates:%s'",
              day(w, 2));
    let_it_be_due(w);
    world_until(20, ended_runs(w) == 3);
    assert_due(w, "next_due < now() + interval '11 minutes'");
    world_sql(w, "update settle.job_fences set holder = null where name like 'aggregates:%%'");
    let_it_be_due(w);
    world_until(20, ended_runs(w) == 4);
    assert_due(w, "next_due > now() + interval '100 days'");
    assert_int_equal(world_count(w, "select count(*) from settle.aggregate_days"
                                    " where verification_status = 'verified'"),
                     7);
    kill(serve.pid, SIGTERM);
    done(world_wait(w, serve));
}

static void assert_metric(struct world *w, const char *series, double want)
{
    double got = world_metric(w, series);

    if (got != want)
        fail_msg("%s is %.16g, not %.16g", series, got, want);
}

/* A gateway that has just begun asks at once. */
static void look(struct world *w)
{
    if (w->gateway)
        world_gateway_stop(w);
    world_gateway(w, NULL);
    world_until(10, world_metric(w, "settle_aggregates_lock_skips_total") >= 0 &&
                        world_metric(w, "settle_aggregates_last_success_timestamp_seconds") > 0);
}

static void test_metrics_tell_how_far_it_has_come_and_what_is_wrong(void **state)
{
    struct world *w = *state;

    raw_days(w, 0, 20);
    done(backfill(w, day(w, 3), day(w, 3), NULL));
    done(backfill(w, day(w, 20), day(w, 9), NULL)); /* old ones move nothing */
    done(backfill(w, day(w, 0), "today", "--include-today"));
    world_sql(w,
              "update settle.daily_aggregates set success_count = 7 where date = '%s';"
              "update settle.aggregate_days set attempts = 3, failed_at = now() where date = '%s'",
              day(w, 9), day(w, 10));
    world_sql(w,
              "update settle.aggregate_days set attempts = 1, failed_at = now() where date in ('%s', '%s')",
              day(w, 11), day(w, 12));
    assert_int_equal(aggregates(w, "verify", NULL).status, 1);
    world_sql(w,
              "update settle.job_fences set holder = 'h', lease_until = now() + interval '25 s' where name ="
              " 'aggregates'");
    done(aggregates(w, "run", NULL));
    world_sql(w,
              "update settle.job_fences set holder = null where name = 'aggregates';"
              "update settle.job_fences set holder = 'h', lease_until = now() + interval '25 s' where name ="
              " 'aggregates:%s'",
              day(w, 15));
    done(backfill(w, day(w, 15), day(w, 15), NULL));
    look(w);
    assert_metric(w, "settle_aggregates_last_success_timestamp_seconds",
                  (double)world_count(
                      w, "select extract(epoch from date_trunc('day', now(), 'UTC') - interval '2 days')"));
    assert_metric(w, "helix_aggregation_last_success_timestamp",
                  world_metric(w, "settle_aggregates_last_success_timestamp_seconds"));
    assert_metric(w, "settle_aggregates_dates{state=\"unverified\"}", 1);
    assert_metric(w, "settle_aggregates_dates{state=\"dead\"}", 1);
    assert_metric(w, "settle_aggregates_dates{state=\"failed\"}", 2);
    assert_metric(w, "settle_aggregates_runs_total{outcome=\"done\"}", 4);
    assert_metric(w, "settle_aggregates_runs_total{outcome=\"drift\"}", 1);
    assert_metric(w, "settle_aggregates_runs_total{outcome=\"lock_held\"}", 1);
    assert_metric(w, "settle_aggregates_lock_skips_total", 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_day_holds_what_happened_on_it_in_utc, reset),
        cmocka_unit_test_setup(test_run_again_or_beside_itself_it_changes_nothing, reset),
        cmocka_unit_test_setup(test_all_of_them_at_once_change_nothing, reset),
        cmocka_unit_test_setup(test_after_an_outage_a_week_is_made_and_the_rest_is_named, reset),
        cmocka_unit_test_setup(test_what_was_edited_or_deleted_is_seen, reset),
        cmocka_unit_test_setup(test_late_webhooks_are_seen_on_their_day, reset),
        cmocka_unit_test_setup(test_what_came_over_midnight_is_seen_after_a_long_outage, reset),
        cmocka_unit_test_setup(test_webhooks_follow_their_publication_to_its_tenant, reset),
        cmocka_unit_test_setup(test_verdicts_on_old_publications_repair_their_days, reset),
        cmocka_unit_test_setup(test_what_retention_forgets_still_counts, reset),
        cmocka_unit_test_setup(test_what_is_falsified_by_hand_is_found_and_repaired, reset),
        cmocka_unit_test_setup(test_what_does_not_hold_is_taken_in_chunks, reset),
        cmocka_unit_test_setup(test_what_changed_since_is_no_drift, reset),
        cmocka_unit_test_setup(test_a_day_that_fails_holds_up_no_other, reset),
        cmocka_unit_test_setup(test_what_a_run_did_is_in_its_row_and_the_events, reset),
        cmocka_unit_test_setup(test_killed_in_the_middle_the_next_one_ends_as_if_it_had_not_been, reset),
        cmocka_unit_test_setup(test_a_backfill_killed_with_its_crew_is_made_up_for, reset),
        cmocka_unit_test_setup(test_a_day_that_another_has_is_left_to_it, reset),
        cmocka_unit_test_setup(test_a_count_may_take_all_its_time, reset),
        cmocka_unit_test_setup(test_a_run_cut_short_says_so_whatever_failed_before, reset),
        cmocka_unit_test_setup(test_a_store_that_is_down_is_no_attempt, reset),
        cmocka_unit_test_setup(test_backfill_keeps_to_its_range, reset),
        cmocka_unit_test_setup(test_a_backfill_pauses_between_batches_and_goes_on_when_it_is_run_again,
                               reset),
        cmocka_unit_test_setup(test_a_year_is_filled_in_over_the_connections_it_was_given, reset),
        cmocka_unit_test_setup(test_a_dry_run_only_says_what_it_would_do, reset),
        cmocka_unit_test_setup(test_serve_makes_up_for_the_nights_it_slept_through, reset),
        cmocka_unit_test_setup(test_serve_tries_a_day_again_when_it_is_due_to_be, reset),
        cmocka_unit_test_setup(test_serve_makes_up_for_a_night_that_was_cut_short, reset),
        cmocka_unit_test_setup(test_metrics_tell_how_far_it_has_come_and_what_is_wrong, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
