/* Costs come in once, however often they are sent, and what is told of days says how far it can be relied on. */
#include "support/world.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    PAGE_ROWS = 1000,
    EXPORT_ROWS = 12000,
    CUT_ROWS = 48000, /* what fits into the buffers on the way is little of them */
    EXPORT_ROWS_LONG = 1000000,
    GROWTH_KIB_MAX = 4096,
    CURL_PARTIAL = 18,
    CURL_CUT = 56
};

/* The server's zone, the program's and the client's are none of UTC. */
static int up(void **state)
{
    struct world *w = *state = world_open();

    world_sql(w, "alter database settle set timezone = 'Pacific/Chatham'");
    setenv("TZ", "America/St_Johns", 1);
    return world_gateway(w, NULL);
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

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "(none)";
}

static void assert_refused(const struct reply *r, long status, const char *cause, const char *field)
{
    const char *type = text_of(r->json, "type");
    json_t *errors = json_object_get(r->json, "errors");

    if (r->status != status || !strrchr(type, ':') || strcmp(strrchr(type, ':') + 1, cause) != 0)
        fail_msg("not %ld %s: %ld %s", status, cause, r->status, r->body);
    if (field &&
        (json_array_size(errors) != 1 || strcmp(text_of(json_array_get(errors, 0), "field"), field) != 0))
        fail_msg("not one error of %s: %s", field, r->body);
}

static struct reply ask(struct world *w, const char *path)
{
    struct reply r = world_api(w, "GET", path, NULL);

    if (r.status != 200)
        fail_msg("%s: %ld %s", path, r.status, r.body);
    return r;
}

static void done(struct outcome o)
{
    if (o.status != 0)
        fail_msg("it ended with %d: %s%s", o.status, o.out, o.err);
}

static void backfill(struct world *w, const char *from, const char *to, const char *flag)
{
    done(world_wait(w, world_spawn(w, "settle-reconciler", "aggregates", "backfill", "--from", from, "--to",
                                   to, "--batch-delay-ms", "0", flag, NULL)));
}

/* So many days ago, as "2026-01-31". */
static const char *day(struct world *w, int ago)
{
    return world_sql(w, "select (now() at time zone 'UTC')::date - %d", ago);
}

/* Costs. */

static struct reply post_costs(struct world *w, const char *user, const char *records)
{
    size_t size = strlen(records) + 300;
    char *body = malloc(size);
    struct reply r;

    assert_non_null(body);
    snprintf(body, size, "{\"user_id_str\":\"%s\",\"records\":[%s]}", user, records);
    r = world_api(w, "POST", "/analytics/costs", body);
    free(body);
    return r;
}

static void assert_counts(const struct reply *r, int received, int stored)
{
    if (r->status != 200 || json_integer_value(json_object_get(r->json, "received")) != received ||
        json_integer_value(json_object_get(r->json, "stored")) != stored ||
        json_integer_value(json_object_get(r->json, "repeated")) != received - stored)
        fail_msg("not %d of %d: %ld %s", stored, received, r->status, r->body);
}

static const char *record(struct world *w, const char *key, const char *cost, int days_ago, const char *more)
{
    return world_sql(w,
                     "select '{\"timestamp\":\"' || (now() at time zone 'UTC')::date - %d || "
                     "'T23:59:59.999999Z\",\"cost\":%s,\"idempotency_key\":\"%s\"%s}'",
                     days_ago, cost, key, more);
}

static void test_costs_are_stored_once(void **state)
{
    struct world *w = *state;
    const char *two = world_sql(
        w, "select '%s,%s'",
        record(w, "a", "\"0.000001\"", 3,
               ",\"platform\":\"tiktok\",\"log_id\":\"01a20074-8f5a-76e1-94b4-5e99b65e7f06\",\"provider\":"
               "\"p\",\"model\":\"m\",\"input_tokens\":9223372036854775807,\"output_tokens\":2"),
        record(w, "b", "9999.999999", 5, ""));
    struct reply r = post_costs(w, "anna", two);

    assert_counts(&r, 2, 2);
    assert_string_equal(
        world_sql(
            w,
            "set timezone = 'UTC';"
            "select cost, platform, log_id, provider, model, input_tokens, output_tokens, idempotency_key, "
            "user_id_str, (now() at time zone 'UTC')::date - timestamp::date, timestamp::time "
            "from settle.cost_records order by cost"),
        "0.000001|tiktok|01a20074-8f5a-76e1-94b4-5e99b65e7f06|p|m|9223372036854775807|2|a|anna|3|23:59:59."
        "999999\n"
        "9999.999999|||||0|0|b|anna|5|23:59:59.999999");
    assert_string_equal(
        world_sql(w, "select (now() at time zone 'UTC')::date - date from settle.dirty_days order by 1"),
        "3\n5");
    assert_string_equal(world_sql(w,
                                  "select actor, entity_id, metadata ->> 'records', metadata ->> 'cost' from "
                                  "settle.social_sync_ledger where event_type = 'costs_recorded'"),
                        "local|anna|2|10000.000000");

    r = post_costs(w, "anna", two);
    assert_counts(&r, 2, 0);
    r = post_costs(w, "anna", record(w, "b", "\"9999.999999\"", 5, ""));
    assert_counts(&r, 1, 0);
    r = post_costs(w, "bert", two); /* a key is one tenant's own */
    assert_counts(&r, 2, 2);
    r = post_costs(w, "anna",
                   world_sql(w, "select '%s,%s,%s'", record(w, "c", "1", 1, ""),
                             record(w, "c", "1.00", 1, ""),
                             record(w, "a2", "\"0\"", 1, ""))); /* twice in one call, differently written */
    assert_counts(&r, 3, 2);
    assert_int_equal(world_count(w, "select count(*) from settle.cost_records"), 6);
    assert_int_equal(
        world_count(w, "select count(*) from settle.social_sync_ledger where event_type = 'costs_recorded'"),
        3);
}

static void test_a_key_of_another_cost_stores_nothing_of_the_call(void **state)
{
    struct world *w = *state;
    struct reply r;

    r = post_costs(w, "anna", record(w, "a", "1", 1, ",\"platform\":\"tiktok\""));
    assert_counts(&r, 1, 1);
    for (int i = 0; i < 4; i++) {
        const char *other = i == 0   ? record(w, "a", "1.000001", 1, ",\"platform\":\"tiktok\"")
                            : i == 1 ? record(w, "a", "1", 2, ",\"platform\":\"tiktok\"")
                            : i == 2 ? record(w, "a", "1", 1, "")
                                     : record(w, "a", "1", 1, ",\"platform\":\"tiktok\",\"output_tokens\":1");

        r = post_costs(w, "anna", world_sql(w, "select '%s,%s'", record(w, "new", "5", 1, ""), other));
        assert_refused(&r, 409, "cost_conflict", "records[1].idempotency_key");
        assert_non_null(strstr(r.body, "which is stored: give this one a key of its own"));
    }
    r = post_costs(
        w, "anna",
        world_sql(w, "select '%s,%s'", record(w, "new", "5", 1, ""), record(w, "new", "6", 1, "")));
    assert_refused(&r, 409, "cost_conflict", "records[1].idempotency_key");
    assert_non_null(strstr(r.body, "of this call"));
    assert_string_equal(world_sql(w, "select idempotency_key from settle.cost_records"), "a");
}

static void test_what_can_be_no_cost_is_named_by_its_place(void **state)
{
    static const struct {
        const char *key, *cost;
        int days_ago;
        const char *more, *cause, *field;
    } cases[] = {
        {"b", "1e-3",      1,   "",              "invalid_parameter", "records[1].cost"           },
        {"b", "0.1234567", 1,   "",              "invalid_parameter", "records[1].cost"           },
        {"b", "-1",        1,   "",              "invalid_parameter", "records[1].cost"           },
        {"b", "\"NaN\"",   1,   "",              "invalid_parameter", "records[1].cost"           },
        {"b", "10000",     1,   "",              "invalid_parameter", "records[1].cost"           },
        {"",  "1",         1,   "",              "invalid_parameter", "records[1].idempotency_key"},
        {"b", "1",         1,   ",\"colour\":1", "invalid_parameter", "records[1].colour"         },
        {"b", "1",         366, "",              "cost_out_of_time",  "records[1].timestamp"      },
        {"b", "1",         -2,  "",              "cost_out_of_time",  "records[1].timestamp"      },
    };
    struct world *w = *state;
    const char *good = record(w, "a", "1", 1, "");
    struct reply r;

    for (size_t i = 0; i < countof(cases); i++) {
        const char *wrong = record(w, cases[i].key, cases[i].cost, cases[i].days_ago, cases[i].more);

        r = post_costs(w, "anna", world_sql(w, "select '%s,%s'", good, wrong));
        assert_refused(&r, 422, cases[i].cause, cases[i].field);
    }
    r = post_costs(w, "anna", "");
    assert_refused(&r, 422, "invalid_parameter", "records");
    r = post_costs(w, "anna", "7");
    assert_refused(&r, 422, "invalid_parameter", "records[0]");
    r = world_api(w, "POST", "/analytics/costs", "{\"records\":[]}"); /* whose? */
    assert_int_equal(r.status, 422);
    r = world_api(w, "POST", "/analytics/costs", "[");
    assert_refused(&r, 400, "malformed_json", NULL);
    assert_int_equal(world_count(w, "select count(*) from settle.cost_records"), 0);
}

/* n records of today, keys from "FROM-0" on; freed by the caller. */
static char *many(struct world *w, const char *from, int n, size_t room_each)
{
    char *records = calloc((size_t)n, room_each + 160), *at = records;
    const char *today = day(w, 0);

    assert_non_null(records);
    for (int i = 0; i < n; i++)
        at += sprintf(
            at, "%s{\"timestamp\":\"%sT00:00:00Z\",\"cost\":\"0.000001\",\"idempotency_key\":\"%s-%d%0*d\"}",
            i ? "," : "", today, from, i, (int)room_each, 0);
    return records;
}

/* 600 KiB. Who is still sending when the connection is closed on him may not see the answer. */
static void assert_refused_unread(const struct reply *r)
{
    if (r->status != 413 && r->status != 0)
        fail_msg("not 413: %ld %s", r->status, r->body);
}

static void test_a_call_has_a_thousand_records_and_half_a_megabyte(void **state)
{
    struct world *w = *state;
    char *records = many(w, "a", 1000, 1);
    struct reply r = post_costs(w, "anna", records);

    assert_counts(&r, 1000, 1000);
    r = post_costs(w, "anna", records);
    assert_counts(&r, 1000, 0);
    assert_string_equal(world_sql(w, "select sum(cost) from settle.cost_records"), "0.001000");
    free(records);
    records = many(w, "b", 1001, 1);
    r = post_costs(w, "anna", records);
    assert_refused(&r, 422, "invalid_parameter", "records");
    free(records);
    records = many(w, "c", 1000, 200); /* 290 KiB */
    r = post_costs(w, "anna", records);
    assert_counts(&r, 1000, 1000);
    free(records);
    records = many(w, "d", 1000, 500);
    r = post_costs(w, "anna", records);
    assert_refused_unread(&r);
    r = world_api(w, "POST", "/publishing/logs", records);
    assert_refused_unread(&r);
    records[100000] = '\0';
    r = world_api(w, "POST", "/publishing/logs", records); /* which other routes do not take */
    assert_refused(&r, 413, "too_large", NULL);
    free(records);
    assert_int_equal(world_count(w, "select count(*) from settle.cost_records"), 2000);
}

/* As post_costs, in a program of its own. */
static struct process start_costs(struct world *w, const char *user, const char *records)
{
    char url[100], body[1000];

    snprintf(url, sizeof(url), "%s/analytics/costs", w->admin_url);
    assert_in_range(snprintf(body, sizeof(body), "{\"user_id_str\":\"%s\",\"records\":[%s]}", user, records),
                    1, sizeof(body) - 1);
    return world_spawn(w, "curl", "-sS", "--noproxy", "*", "-Hcontent-type: application/json", "-d", body,
                       "-w", "%{stderr}%{http_code}", url, NULL);
}

static struct reply end_costs(struct world *w, struct process caller)
{
    struct outcome o = world_wait(w, caller);

    return (struct reply){.status = strtol(o.err, NULL, 10), .body = o.out, .headers = "", .json = o.json};
}

/* One who is just storing the same, here: the statement cannot see it, waits for its end, and asks again. */
static void test_of_two_calls_at_once_each_cost_is_stored_once(void **state)
{
    struct world *w = *state;
    struct process caller;
    const char *two;
    struct reply r;

    for (int same = 1; same >= 0; same--) {
        world_reset(w);
        two = world_sql(w, "select '%s,%s'", record(w, "b", "1", 1, ""), record(w, "a", "1", 1, ""));
        world_sql(w,
                  "begin; insert into settle.cost_records (user_id_str, cost, timestamp, idempotency_key)"
                  " values ('anna', %d, '%sT23:59:59.999999Z', 'a')",
                  same ? 1 : 2, day(w, 1));
        caller = start_costs(w, "anna", two);
        world_until(10,
                    world_count(w, "select pg_stat_clear_snapshot(); select count(*) from pg_stat_activity"
                                   " where usename = 'settle_api' and wait_event_type = 'Lock'") == 1);
        world_sql(w, "commit");
        r = end_costs(w, caller);
        if (same)
            assert_counts(&r, 2, 1);
        else
            assert_refused(&r, 409, "cost_conflict", "records[1].idempotency_key");
        assert_int_equal(world_count(w, "select count(*) from settle.cost_records"), same ? 2 : 1);
    }
}

static void test_many_calls_at_once_agree(void **state)
{
    struct world *w = *state;
    char script[900], *records = many(w, "k", 50, 1);
    struct outcome end;
    char path[100];
    FILE *body;

    snprintf(
        script, sizeof(script),
        "for i in 1 2 3 4 5 6 7 8; do curl -s --noproxy '*' -H 'content-type: application/json' -d @%s/body "
        "%s/analytics/costs & done; wait",
        w->dir, w->admin_url);
    snprintf(path, sizeof(path), "%s/body", w->dir);
    body = fopen(path, "we");
    assert_non_null(body);
    fprintf(body, "{\"user_id_str\":\"anna\",\"records\":[%s]}", records);
    fclose(body);
    end = world_wait(w, world_spawn(w, "sh", "-c", script, NULL));
    assert_int_equal(end.status, 0);
    assert_null(strstr(end.out, "problem"));
    assert_int_equal(world_count(w, "select count(*) from settle.cost_records"), 50);
    assert_int_equal(
        world_count(w, "select sum((metadata ->> 'records')::int) from settle.social_sync_ledger"), 50);
    free(records);
}

/* After so long nobody could tell a repetition from a new cost: so none is taken, and the sum stays. */
static void test_costs_are_forgotten_and_still_count(void **state)
{
    struct world *w = *state;
    struct reply r;

    world_sql(
        w,
        "insert into settle.cost_records (user_id_str, platform, cost, timestamp, idempotency_key)"
        " select 'anna', platform, cost, date_trunc('day', now(), 'UTC') - interval '370 days' + at, key"
        " from (values ('tiktok', 0.004999, interval '0', 'a'), ('tiktok', 0.000001, '23:59:59.999999', 'b'),"
        "  (null, 2, '12:00', 'c')) as c (platform, cost, at, key)");
    backfill(w, day(w, 371), day(w, 369), NULL);
    done(world_wait(w, world_spawn(w, "settle-reconciler", "maintain", NULL)));
    assert_string_equal(world_sql(w, "select platform, n, cost from settle.forgotten_costs order by 1"),
                        "|1|2.000000\ntiktok|2|0.005000");
    assert_int_equal(world_count(w, "select count(*) from settle.cost_records"), 0);
    r = post_costs(w, "anna", record(w, "a", "1", 370, ""));
    assert_refused(&r, 422, "cost_out_of_time", "records[0].timestamp");
    done(world_wait(w, world_spawn(w, "settle-reconciler", "aggregates", "run", NULL)));
    done(world_wait(w, world_spawn(w, "settle-reconciler", "aggregates", "verify", NULL)));
    assert_string_equal(world_sql(w, "select platform, cost_total, source_count, verification_status from "
                                     "settle.daily_aggregates order by 1"),
                        "|2.00|0|verified\ntiktok|0.01|0|verified");
    assert_int_equal(world_count(w, "select count(*) from settle.dirty_days"), 0);
}

/* The summary. */

static void fill_2024(struct world *w)
{
    world_sql(
        w,
        "set timezone = 'UTC';"
        "insert into settle.publish_logs (platform, user_id_str, status, external_post_id, requested_at, "
        "settled_at)"
        " values ('tiktok', 'anna', 'success', 'a', '2024-02-29 00:00:00', '2024-02-29 00:00:01'),"
        "  ('tiktok', 'anna', 'failed', 'b', '2024-02-29 23:59:59.999999', '2024-03-01 00:00:02.999999'),"
        "  ('youtube', 'anna', 'pending', 'c', '2024-02-28 12:00:00', null),"
        "  ('tiktok', 'bert', 'success', 'd', '2024-02-29 12:00:00', '2024-02-29 12:00:10');"
        "insert into settle.cost_records (user_id_str, platform, cost, timestamp, idempotency_key)"
        " values ('anna', 'tiktok', 0.004999, '2024-02-29 00:00:00', 'a'),"
        "  ('anna', 'tiktok', 0.000001, '2024-02-29 23:59:59.999999', 'b'),"
        "  ('anna', null, 1.994999, '2024-02-28 12:00:00', 'c'), ('anna', 'tiktok', 10, '2024-02-03', 'd'),"
        "  ('anna', 'tiktok', 9, '2024-03-01 00:00:00', 'e'), ('anna', 'tiktok', 0.1, '2023-12-31 "
        "23:59:59.999999', 'f'),"
        "  ('anna', 'tiktok', 0.2, '2024-01-01 00:00:00', 'g'), ('bert', 'tiktok', 7, '2024-02-29 12:00:00', "
        "'h')");
}

static void test_a_summary_has_this_shape(void **state)
{
    static const char wanted[] =
        "{\"start_date\":\"2024-02-28\",\"end_date\":\"2024-02-29\",\"user_id_str\":\"anna\",\"platform\":"
        "null,"
        "\"totals\":{\"publication_count\":3,\"success_count\":1,\"failed_count\":1,\"webhook_count\":0,"
        "\"avg_settle_ms\":2000,\"cost_total\":\"2.00\",\"days\":2,\"verified_days\":2,\"pending_days\":0,"
        "\"unverified_days\":0,\"missing_days\":0,\"partial_days\":0,\"stale_days\":0,\"is_proved\":true},"
        "\"proved_totals\":{\"publication_count\":3,\"success_count\":1,\"failed_count\":1,\"webhook_count\":"
        "0,"
        "\"avg_settle_ms\":2000,\"cost_total\":\"2.00\",\"days\":2},"
        "\"by_platform\":["
        "{\"platform\":\"\",\"publication_count\":0,\"success_count\":0,\"failed_count\":0,\"webhook_count\":"
        "0,"
        "\"avg_settle_ms\":null,\"cost_total\":\"1.99\",\"unverified_rows\":0},"
        "{\"platform\":\"tiktok\",\"publication_count\":2,\"success_count\":1,\"failed_count\":1,\"webhook_"
        "count\":0,"
        "\"avg_settle_ms\":2000,\"cost_total\":\"0.01\",\"unverified_rows\":0},"
        "{\"platform\":\"youtube\",\"publication_count\":1,\"success_count\":0,\"failed_count\":0,\"webhook_"
        "count\":0,"
        "\"avg_settle_ms\":null,\"cost_total\":\"0.00\",\"unverified_rows\":0}],"
        "\"days\":["
        "{\"date\":\"2024-02-28\",\"publication_count\":1,\"success_count\":0,\"failed_count\":0,\"webhook_"
        "count\":0,"
        "\"avg_settle_ms\":null,\"cost_total\":\"1.99\",\"verification_status\":\"verified\",\"is_partial\":"
        "false,"
        "\"is_dirty\":false,\"is_stale\":false},"
        "{\"date\":\"2024-02-29\",\"publication_count\":2,\"success_count\":1,\"failed_count\":1,\"webhook_"
        "count\":0,"
        "\"avg_settle_ms\":2000,\"cost_total\":\"0.01\",\"verification_status\":\"verified\",\"is_partial\":"
        "false,"
        "\"is_dirty\":false,\"is_stale\":false}],"
        "\"projection\":{\"month\":\"2024-02\",\"month_to_date\":\"2.00\",\"through\":\"2024-02-29\",\"days_"
        "elapsed\":2,"
        "\"days_in_month\":29,\"projected_cost\":\"29.00\",\"confidence\":\"low\",\"is_proved\":true}}";
    struct world *w = *state;
    struct reply r;
    json_t *want = json_loads(wanted, 0, NULL);

    fill_2024(w);
    backfill(w, "2024-02-28", "2024-02-29", NULL);
    r = ask(w, "/analytics/summary?user_id_str=anna&start_date=2024-02-28&end_date=2024-02-29");
    if (!json_equal(r.json, want))
        fail_msg("%s", r.body);
    json_decref(want);
    r = ask(w, "/analytics/summary?start_date=2024-02-29&end_date=2024-02-29"); /* of all tenants */
    assert_string_equal(text_of(json_object_get(r.json, "totals"), "cost_total"), "7.01");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(r.json, "totals"), "avg_settle_ms")),
                     4667);
    r = ask(w, "/analytics/summary?platform=youtube&start_date=2024-02-28&end_date=2024-02-29");
    assert_string_equal(text_of(json_object_get(r.json, "totals"), "cost_total"), "0.00");
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(r.json, "totals"), "publication_count")), 1);
}

/* Whoever sends costs makes up their names: what is told of them stays small, and leaves nothing out. */
static void test_of_platforms_a_hundred_are_named(void **state)
{
    struct world *w = *state;
    json_t *platforms;
    struct reply r;

    world_sql(w, "insert into settle.cost_records (user_id_str, platform, cost, timestamp, idempotency_key)"
                 " select 'anna', 'p' || n, 10000 - n, '2024-02-29 12:00Z', n"
                 " from generate_series(1001, 3000) as n");
    backfill(w, "2024-02-29", "2024-02-29", NULL);
    r = ask(w, "/analytics/summary?user_id_str=anna&start_date=2024-02-29&end_date=2024-02-29");
    platforms = json_object_get(r.json, "by_platform");
    assert_int_equal(json_array_size(platforms), 101);
    assert_string_equal(text_of(json_array_get(platforms, 0), "platform"), "p1001");
    assert_string_equal(text_of(json_array_get(platforms, 99), "platform"), "p1100");
    assert_true(json_is_null(json_object_get(json_array_get(platforms, 100), "platform")));
    assert_string_equal(
        text_of(json_array_get(platforms, 100), "cost_total"),
        world_sql(w, "select sum(10000 - n)::numeric(14, 2) from generate_series(1101, 3000) as n"));
    assert_string_equal(text_of(json_object_get(r.json, "totals"), "cost_total"),
                        world_sql(w, "select sum(cost)::numeric(14, 2) from settle.cost_records"));
}

static void test_a_month_is_projected_from_its_days(void **state)
{
    static const struct {
        const char *end, *wanted; /* month, to date, projected, confidence, days of days */
    } cases[] = {
        {"2024-02-02", "2024-02 0.00 0.00 low 2 29"      },
        {"2024-02-07", "2024-02 10.00 41.43 low 7 29"    },
        {"2024-02-08", "2024-02 10.00 36.25 medium 8 29" },
        {"2024-02-21", "2024-02 10.00 13.81 medium 21 29"},
        {"2024-02-22", "2024-02 10.00 13.18 high 22 29"  },
        {"2024-02-29", "2024-02 12.00 12.00 high 29 29"  },
        {"2024-03-01", "2024-03 9.00 279.00 low 1 31"    },
        {"2023-12-31", "2023-12 0.10 3.10 low 1 31"      },
        {"2024-01-01", "2024-01 0.20 6.20 low 1 31"      },
        {"2023-06-30", "2023-06 0.00 (none) (none) 0 30" },
    };
    struct world *w = *state;

    fill_2024(w);
    backfill(w, "2024-02-01", "2024-03-01", NULL);
    backfill(w, "2023-12-31", "2024-01-01", NULL);
    for (size_t i = 0; i < countof(cases); i++) {
        char path[200], got[200];
        json_t *p;

        snprintf(path, sizeof(path), "/analytics/summary?user_id_str=anna&start_date=%s&end_date=%s",
                 cases[i].end, cases[i].end);
        p = json_object_get(ask(w, path).json, "projection");
        snprintf(got, sizeof(got), "%s %s %s %s %d %d", text_of(p, "month"), text_of(p, "month_to_date"),
                 text_of(p, "projected_cost"), text_of(p, "confidence"),
                 (int)json_integer_value(json_object_get(p, "days_elapsed")),
                 (int)json_integer_value(json_object_get(p, "days_in_month")));
        assert_string_equal(got, cases[i].wanted);
    }
}

/* "date status partial dirty stale cost" of each of the last 9 days, from today back. */
static void assert_days(struct world *w, const char *user, const char *const wanted[9])
{
    char path[200];
    struct reply r;

    snprintf(path, sizeof(path), "/analytics/summary?user_id_str=%s&start_date=%s", user, day(w, 8));
    r = ask(w, path);
    assert_int_equal(json_array_size(json_object_get(r.json, "days")), 9);
    for (size_t ago = 0; ago < 9; ago++) {
        const json_t *d = json_array_get(json_object_get(r.json, "days"), 8 - ago);
        char got[200];

        snprintf(got, sizeof(got), "%s%s%s%s %s", text_of(d, "verification_status"),
                 json_is_true(json_object_get(d, "is_partial")) ? " partial" : "",
                 json_is_true(json_object_get(d, "is_dirty")) ? " dirty" : "",
                 json_is_true(json_object_get(d, "is_stale")) ? " stale" : "", text_of(d, "cost_total"));
        if (strcmp(got, wanted[ago]) != 0)
            fail_msg("%s, %zu days ago: %s, not %s", user, ago, got, wanted[ago]);
    }
}

static void test_each_day_says_how_far_it_can_be_relied_on(void **state)
{
    static const char *const of_anna[9] = {
        "open (none)",     "unverified 1.50",     "verified dirty stale 1.00",
        "unverified 0.00", "verified stale 1.00", "verified partial stale 1.00",
        "pending 1.00",    "verified 0.00",       "missing (none)"};
    static const char *const of_bert[9] = {
        "open (none)",     "verified 0.00",       "verified dirty stale 0.00",
        "unverified 0.00", "verified stale 0.00", "verified partial stale 0.00",
        "verified 0.00",   "verified 0.00",       "missing (none)"};
    struct world *w = *state;
    struct reply r;
    json_t *totals;

    world_sql(w, "insert into settle.cost_records (user_id_str, platform, cost, timestamp, idempotency_key)"
                 " select 'anna', 'tiktok', 1, date_trunc('day', now(), 'UTC') - n * interval '1 day', n"
                 " from generate_series(1, 6) as n");
    done(world_wait(w, world_spawn(w, "settle-reconciler", "aggregates", "run", NULL)));
    world_sql(w, "update settle.daily_aggregates set cost_total = 1.5 where date = '%s'", day(w, 1));
    world_sql(w, "delete from settle.daily_aggregates where date = '%s'", day(w, 3));
    assert_int_equal(world_wait(w, world_spawn(w, "settle-reconciler", "aggregates", "verify", NULL)).status,
                     1);
    r = post_costs(w, "bert", record(w, "late", "3", 2, ""));
    assert_int_equal(r.status, 200);
    world_sql(w, "update settle.aggregate_days set attempts = 1, failed_at = now() where date = '%s'",
              day(w, 4));
    world_sql(w, "update settle.aggregate_days set is_partial = true where date = '%s'", day(w, 5));
    world_sql(w, "update settle.daily_aggregates set is_partial = true where date = '%s'", day(w, 5));
    world_sql(w, "update settle.daily_aggregates set verification_status = 'pending' where date = '%s'",
              day(w, 6));
    assert_days(w, "anna", of_anna);
    assert_days(w, "bert", of_bert);
    r = ask(w, "/analytics/summary?user_id_str=anna"); /* 30 days up to today */
    totals = json_object_get(r.json, "totals");
    assert_string_equal(text_of(r.json, "end_date"), day(w, 0));
    assert_string_equal(text_of(r.json, "start_date"), day(w, 29));
    assert_string_equal(text_of(totals, "cost_total"), "5.50");
    assert_true(json_is_false(json_object_get(totals, "is_proved")));
    assert_int_equal(json_integer_value(json_object_get(totals, "missing_days")), 22);
    assert_int_equal(json_integer_value(json_object_get(totals, "unverified_days")), 2);
    assert_int_equal(json_integer_value(json_object_get(totals, "stale_days")), 3);
    assert_string_equal(text_of(json_object_get(r.json, "proved_totals"), "cost_total"), "0.00");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(r.json, "proved_totals"), "days")),
                     1);
    done(world_wait(w, world_spawn(w, "settle-reconciler", "aggregates", "verify", "--repair", NULL)));
    done(world_wait(w, world_spawn(w, "settle-reconciler", "aggregates", "backfill", "--from", day(w, 7),
                                   "--to", day(w, 1), "--batch-delay-ms", "0", NULL)));
    r = ask(w, "/analytics/summary?user_id_str=anna");
    assert_string_equal(text_of(json_object_get(r.json, "proved_totals"), "cost_total"), "6.00");
}

static void test_ranges_are_checked(void **state)
{
    static const struct {
        const char *query;
        long status;
        const char *cause, *field;
    } cases[] = {
        {"summary?start_date=2024-02-30",                     422, "invalid_parameter", "start_date"},
        {"summary?end_date=today",                            422, "invalid_parameter", "end_date"  },
        {"summary?days=7",                                    422, "invalid_parameter", "days"      },
        {"summary?start_date=2024-03-02&end_date=2024-03-01", 400, "range_reversed",    NULL        },
        {"summary?start_date=2024-01-01&end_date=2025-01-01", 400, "range_too_long",    NULL        },
        {"export?start_date=2024-03-02&end_date=2024-03-01",  400, "range_reversed",    NULL        },
        {"export?start_date=2010-01-01&end_date=2024-01-01",  400, "range_too_long",    NULL        },
        {"export?platform=Tik%20Tok",                         422, "invalid_parameter", "platform"  },
        {"export?limit=5",                                    422, "invalid_parameter", "limit"     },
        {"summary?start_date=1970-01-01&end_date=9999-12-31", 400, "range_too_long",    NULL        },
    };
    struct world *w = *state;

    for (size_t i = 0; i < countof(cases); i++) {
        char path[200];
        struct reply r;

        snprintf(path, sizeof(path), "/analytics/%s", cases[i].query);
        r = world_api(w, "GET", path, NULL);
        assert_refused(&r, cases[i].status, cases[i].cause, cases[i].field);
        assert_string_equal(reply_header(w, &r, "content-type"), "application/problem+json");
    }
    ask(w, "/analytics/summary?start_date=2024-01-01&end_date=2024-12-31"); /* a leap year */
    ask(w, "/analytics/summary?start_date=9999-12-31&end_date=9999-12-31"); /* a zone may be ahead */
    ask(w, "/analytics/export?start_date=2014-01-01&end_date=2024-01-01");
}

/* The export. */

static void add_aggregates(struct world *w, int n)
{
    world_sql(
        w,
        "insert into settle.daily_aggregates (date, user_id_str, platform, publication_count, success_count, "
        "failed_count, settled_count, webhook_count, cost_total, source_count, source_hash, hash_version) "
        "select date '2024-02-29' - n %% 1000, 'user-' || n / 1000, 'tiktok', n, 1, 2, 3, 4, 0.5, 5, "
        "repeat('x', 200), 1 "
        "from generate_series(0, %d - 1) as n",
        n);
}

#define EXPORT_OF_ALL "/analytics/export?start_date=2020-01-01&end_date=2024-12-31"

static void test_an_export_has_the_columns_of_the_table(void **state)
{
    struct world *w = *state;
    struct reply r;
    char header[600];
    const char *want =
        "\r\n2024-02-28,\"\",\"\",1,2,3,4,-5,6,12345.60,7,\"'-abc.1\",1,unverified,,\"{\"\"cost_total\"\": "
        "[1, 2]}\",true,"
        "01a20074-8f5a-76e1-94b4-5e99b65e7f06,2024-02-29T00:00:00.000000Z,2024-02-29T23:59:59.999999Z,false,"
        "false\r\n"
        "2024-02-29,\"'=cmd|' /C calc'!A0\",\"a,\"\"b\"\"\r\nc\",0,0,0,0,,0,0.00,0,\"x\",1,verified,"
        "2024-03-01T00:05:00.000000Z,,false,,2024-02-29T00:00:00.000000Z,2024-02-29T23:59:59.999999Z,true,"
        "true\r\n";

    world_sql(w, "set timezone = 'UTC';"
                 "insert into settle.aggregate_days (date, aggregated_at) values ('2024-02-29', now());"
                 "insert into settle.dirty_days (date) values ('2024-02-29');"
                 "insert into settle.daily_aggregates values"
                 " ('2024-02-28', '', '', 1, 2, 3, 4, -5, 6, 12345.6, 7, '-abc.1', 1, 'unverified', null,"
                 "  '{\"cost_total\": [1, 2]}', true, '01a20074-8f5a-76e1-94b4-5e99b65e7f06', '2024-02-29',"
                 "  '2024-02-29 23:59:59.999999'),"
                 " ('2024-02-29', '=cmd|'' /C calc''!A0', e'a,\"b\"\\r\\nc', 0, 0, 0, 0, null, 0, 0, 0, 'x', "
                 "1, 'verified',"
                 "  '2024-03-01 00:05', null, false, null, '2024-02-29', '2024-02-29 23:59:59.999999')");
    r = ask(w, EXPORT_OF_ALL);
    snprintf(header, sizeof(header), "%s,is_dirty,is_stale",
             world_sql(
                 w,
                 "select string_agg(attname, ',' order by attnum) from pg_attribute "
                 "where attrelid = 'settle.daily_aggregates'::regclass and attnum > 0 and not attisdropped"));
    if (strncmp(r.body, header, strlen(header)) != 0 || strcmp(r.body + strlen(header), want) != 0)
        fail_msg("%s", r.body);
    assert_string_equal(reply_header(w, &r, "content-type"), "text/csv; charset=utf-8; header=present");
    assert_non_null(reply_header(w, &r, "content-disposition"));
    assert_non_null(reply_header(w, &r, "x-request-id"));
    r = ask(w, EXPORT_OF_ALL "&user_id_str=nobody");
    assert_int_equal(strlen(r.body), strlen(header) + 2);
    r = world_api(w, "HEAD", EXPORT_OF_ALL, NULL);
    assert_int_equal(r.status, 200);
    assert_int_equal(strlen(r.body), 0);
    r = world_api(w, "HEAD", "/analytics/export?start_date=2024-03-02&end_date=2024-03-01", NULL);
    assert_int_equal(r.status, 400);
}

/* How many lines there are behind the header; fails if two are not in the order of their key. */
static int count_lines(const char *csv)
{
    struct span rest = span_of(csv);
    char before[100] = "", key[100];
    int n = 0;

    for (; rest.len > 0; n++) {
        struct span line = span_cut(&rest, '\n'), behind = line;
        struct span columns = span_cut(&behind, 't'); /* up to "tiktok" */

        if (!rest.at || line.len == 0 || line.at[line.len - 1] != '\r')
            fail_msg("line %d has no end: %.*s", n, SPAN_ARG(line));
        snprintf(key, sizeof(key), "%.*s", SPAN_ARG(columns));
        if (n > 0 && strcmp(key, before) <= 0)
            fail_msg("line %d: %s is not behind %s", n, key, before);
        snprintf(before, sizeof(before), "%s", n > 0 ? key : "");
    }
    return n - 1;
}

static void test_pages_hold_each_row_once(void **state)
{
    static const int sizes[] = {PAGE_ROWS - 1, PAGE_ROWS, PAGE_ROWS + 1, 2500};
    struct world *w = *state;

    for (size_t i = 0; i < countof(sizes); i++) {
        world_sql(w, "truncate settle.daily_aggregates");
        add_aggregates(w, sizes[i]);
        assert_int_equal(count_lines(ask(w, EXPORT_OF_ALL).body), sizes[i]);
    }
    assert_int_equal(count_lines(ask(w, EXPORT_OF_ALL "&user_id_str=user-1&platform=tiktok").body), 1000);
}

/* Returns when it has begun to be answered. */
static struct process read_slowly(struct world *w, const char *rate, const char *version)
{
    double answered = world_metric(w, "settle_api_requests_total{code=\"2xx\"}");
    char url[200];
    struct process reader;

    snprintf(url, sizeof(url), "%s" EXPORT_OF_ALL, w->admin_url);
    reader = world_spawn(w, "curl", "-sS", version, "--noproxy", "*", "--limit-rate", rate, url, NULL);
    world_until(20, world_metric(w, "settle_api_requests_total{code=\"2xx\"}") > answered);
    return reader;
}

/* Who asks and reads nothing, into a room that holds next to nothing. Returns when his answer waits. */
static int ask_and_hang(struct world *w)
{
    static const char request[] = "GET " EXPORT_OF_ALL " HTTP/1.1\r\nhost: localhost\r\n\r\n";
    const int room = 4096;
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)strtoul(strrchr(w->admin_url, ':') + 1, NULL, 10)),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct pollfd answer = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .events = POLLIN};

    assert_true(answer.fd >= 0);
    assert_int_equal(setsockopt(answer.fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)), 0);
    assert_int_equal(connect(answer.fd, (const struct sockaddr *)&to, sizeof(to)), 0);
    assert_int_equal(send(answer.fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    world_until(20, poll(&answer, 1, 0) == 1);
    return answer.fd;
}

/* It holds no connection of Postgres while it reads, and nothing when it has left. */
static void test_a_slow_reader_holds_nothing_up(void **state)
{
    struct world *w = *state;
    struct process reader;
    struct outcome o;
    int hanging;

    add_aggregates(w, EXPORT_ROWS);
    hanging = ask_and_hang(w);
    reader = read_slowly(w, "8M", "--http1.1");
    for (int i = 0; i < 10; i++)
        ask(w, "/analytics/summary");
    world_until(20, world_count(w, "select count(*) from pg_stat_activity where application_name = "
                                   "'settle-gateway admin read' and state = 'idle'") == 3);
    close(hanging);
    o = world_wait(w, reader);
    assert_int_equal(o.status, 0);
    assert_int_equal(count_lines(o.out), EXPORT_ROWS);
    assert_int_equal(world_gateway_stop(w), 0); /* nobody is waited for */
    world_gateway(w, NULL);
}

/* A lost connection is one thing; a page that cannot be had leaves the answer without its end. */
static void test_an_export_that_cannot_go_on_has_no_end(void **state)
{
    static const char *const versions[] = {"--http1.1", "--http1.0"};
    struct world *w = *state;
    struct process reader;
    struct outcome o;

    add_aggregates(w, CUT_ROWS);
    reader = read_slowly(w, "30M", "--http1.1");
    for (int i = 0; i < 3; i++)
        world_sql(
            w,
            "select pg_terminate_backend(pid), pg_sleep(0.1) from pg_stat_activity where application_name = "
            "'settle-gateway admin read'");
    o = world_wait(w, reader);
    if (o.status != 0)
        fail_msg("%d: %s", o.status, o.err);
    assert_int_equal(count_lines(o.out), CUT_ROWS);
    for (size_t i = 0; i < countof(versions); i++) {
        reader = read_slowly(w, "2M", versions[i]);
        world_sql(w, "revoke select on settle.daily_aggregates from settle_operator");
        o = world_wait(w, reader);
        world_sql(w, "grant select on settle.daily_aggregates to settle_operator");
        if (o.status != CURL_PARTIAL && o.status != CURL_CUT)
            fail_msg("%s: %d: %s", versions[i], o.status, o.err);
    }
    ask(w, "/analytics/summary");
}

static long peak_kib(pid_t pid)
{
    char path[64], line[256];
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

static void test_memory_does_not_grow_with_what_is_exported(void **state)
{
    struct world *w = *state;
    bool is_long = getenv("SETTLE_TEST_LONG") != NULL;
    pid_t admin = world_child(w, "admin");
    char script[400];
    struct outcome o;
    long before;

    add_aggregates(w, EXPORT_ROWS);
    ask(w, EXPORT_OF_ALL);
    before = peak_kib(admin);
    if (is_long) {
        world_sql(w, "truncate settle.daily_aggregates");
        add_aggregates(w, EXPORT_ROWS_LONG);
    }
    snprintf(script, sizeof(script),
             "for i in 1 2 3; do curl -sS --noproxy '*' --limit-rate %s '%s" EXPORT_OF_ALL
             "' | wc -l & done; wait",
             is_long ? "30M" : "20M", w->admin_url);
    o = world_wait(w, world_spawn(w, "sh", "-c", script, NULL));
    assert_int_equal(strtol(o.out, NULL, 10), (is_long ? EXPORT_ROWS_LONG : EXPORT_ROWS) + 1);
    print_message("peak after one export of %d rows %ld KiB, after three at once of %d %ld KiB\n",
                  EXPORT_ROWS, before, is_long ? EXPORT_ROWS_LONG : EXPORT_ROWS, peak_kib(admin));
    if (world_times_count())
        assert_true(peak_kib(admin) < before + GROWTH_KIB_MAX);
}

static void test_what_the_readme_tells_to_try_works(void **state)
{
    struct world *w = *state;
    char script[600];
    struct outcome o;

    snprintf(
        script, sizeof(script),
        "export SETTLE_ADMIN_URL=%s no_proxy='*'; sed -n '/^\\*\\*To see what was published/,/^\\*\\*To have "
        "search/s/^    //p' \"$SETTLE_TOP/README.md\" | sh -e",
        w->admin_url);
    o = world_wait(w, world_spawn(w, "sh", "-c", script, NULL));
    assert_int_equal(o.status, 0);
    if (!strstr(o.out, "\"stored\" : 1") || !strstr(o.out, "\"user_id_str\" : \"u-1\"") ||
        !strstr(o.out, "date,user_id_str"))
        fail_msg("%s%s", o.out, o.err);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, reset)
    const struct CMUnitTest tests[] = {
        TEST(test_costs_are_stored_once),
        TEST(test_a_key_of_another_cost_stores_nothing_of_the_call),
        TEST(test_what_can_be_no_cost_is_named_by_its_place),
        TEST(test_a_call_has_a_thousand_records_and_half_a_megabyte),
        TEST(test_of_two_calls_at_once_each_cost_is_stored_once),
        TEST(test_many_calls_at_once_agree),
        TEST(test_costs_are_forgotten_and_still_count),
        TEST(test_a_summary_has_this_shape),
        TEST(test_of_platforms_a_hundred_are_named),
        TEST(test_a_month_is_projected_from_its_days),
        TEST(test_each_day_says_how_far_it_can_be_relied_on),
        TEST(test_ranges_are_checked),
        TEST(test_an_export_has_the_columns_of_the_table),
        TEST(test_pages_hold_each_row_once),
        TEST(test_a_slow_reader_holds_nothing_up),
        TEST(test_an_export_that_cannot_go_on_has_no_end),
        TEST(test_memory_does_not_grow_with_what_is_exported),
        TEST(test_what_the_readme_tells_to_try_works),
    };

    return cmocka_run_group_tests(tests, up, down);
}
