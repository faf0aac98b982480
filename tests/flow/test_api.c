#include "support/world.h"

#include "routes.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STRANGER "{\"platform\":\"instagram\",\"user_id_str\":\"stranger\",\"external_post_id\":\"post-1\"}"
#define OURS     "{\"platform\":\"instagram\",\"user_id_str\":\"u-1\",\"external_post_id\":\"post-1\"}"

static int up(void **state)
{
    *state = world_open();
    return world_gateway(*state, NULL);
}

static bool bound; /* the API may not write */

static int let_write(struct world *w)
{
    world_sql(w, "alter role settle_api reset default_transaction_read_only");
    world_gateway_stop(w);
    bound = false;
    return world_gateway(w, NULL);
}

/* Nobody else comes to the table until the commit. */
static void hold(struct world *w, const char *table)
{
    world_sql(w, "begin; lock table settle.%s", table);
}

static int reset(void **state)
{
    world_reset(*state);
    if (bound)
        let_write(*state);
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

static json_t *items_of(const struct reply *r)
{
    if (r->status != 200 || !json_is_array(json_object_get(r->json, "items")))
        fail_msg("no list: %ld %s", r->status, r->body);
    return json_object_get(r->json, "items");
}

static void assert_problem(struct world *w, const struct reply *r, long status, const char *cause)
{
    char type[128];

    snprintf(type, sizeof(type), "urn:settle:problem:%s", cause);
    if (r->status != status || strcmp(text_of(r->json, "type"), type) != 0)
        fail_msg("not %ld %s: %ld %s", status, cause, r->status, r->body);
    assert_string_equal(reply_header(w, r, "content-type"), "application/problem+json");
    assert_string_equal(text_of(r->json, "request_id"), reply_header(w, r, "x-request-id"));
    assert_int_equal(json_integer_value(json_object_get(r->json, "status")), status);
}

static void assert_field(const struct reply *r, const char *field)
{
    json_t *errors = json_object_get(r->json, "errors");

    if (json_array_size(errors) != 1 || strcmp(text_of(json_array_get(errors, 0), "field"), field) != 0)
        fail_msg("not one error of %s: %s", field, r->body);
}

/* POST /publishing/logs with these headers besides the content type. */
static struct reply post_log(struct world *w, const char *key, const char *body)
{
    char url[128], header[128];
    const char *headers[] = {"content-type: application/json", key ? header : NULL, NULL};

    snprintf(url, sizeof(url), "%s/publishing/logs", w->admin_url);
    snprintf(header, sizeof(header), "idempotency-key: %s", key ? key : "");
    return world_http(w, "POST", url, headers, span_of(body));
}

/* Registering. */

static void test_registering_twice_gives_the_same_row(void **state)
{
    struct world *w = *state;
    struct reply first = post_log(w, NULL, OURS), again = post_log(w, NULL, OURS);
    const char *id = text_of(first.json, "id");
    char path[128];

    assert_int_equal(first.status, 201);
    snprintf(path, sizeof(path), "/publishing/logs/%s", id);
    assert_string_equal(reply_header(w, &first, "location"), path);
    assert_string_equal(text_of(first.json, "status"), "processing");
    assert_int_equal(again.status, 200);
    assert_string_equal(text_of(again.json, "id"), id);
    assert_string_equal(
        world_sql(w,
                  "select event_type, actor, metadata->>'external_post_id' from settle.social_sync_ledger"
                  " where entity_id = '%s'",
                  id),
        "publish_registered|local|post-1");
}

static void test_all_fields_are_kept(void **state)
{
    struct world *w = *state;
    struct reply r = post_log(
        w, "k-1",
        "{\"platform\":\"youtube\",\"source\":\"app-2\",\"user_id_str\":\"u\",\"status\":\"scheduled\","
        "\"clip_id\":\"01a20074-8f5a-76e1-94b4-5e99b65e7f06\",\"social_account_id\":\"01a20074-8f5a-76e1-"
        "94b4-5e99b65e7f07\","
        "\"external_url\":\"https://"
        "x\",\"requested_at\":\"2026-01-15T10:45:00Z\",\"scheduled_for\":\"2026-01-15T12:45:00+01:00\","
        "\"scheduled_window_end\":\"2026-01-15T13:00:00Z\",\"scheduled_by\":\"rule_engine\",\"max_retries\":"
        "0,"
        "\"extra_metadata\":{\"campaign\":[1]}}");

    assert_int_equal(r.status, 201);
    assert_string_equal(
        world_sql(
            w,
            "select platform, source, user_id_str, status, clip_id, social_account_id, external_post_id is "
            "null,"
            " external_url, requested_at at time zone 'utc', schedule_type, scheduled_for at time zone 'utc',"
            " scheduled_window_end at time zone 'utc', scheduled_by, max_retries, extra_metadata,"
            " idempotency_key from settle.publish_logs"),
        "youtube|app-2|u|scheduled|01a20074-8f5a-76e1-94b4-5e99b65e7f06|01a20074-8f5a-76e1-94b4-5e99b65e7f07|"
        "t|"
        "https://x|2026-01-15 10:45:00|scheduled|2026-01-15 11:45:00|2026-01-15 13:00:00|rule_engine|0|"
        "{\"campaign\": [1]}|k-1");
}

static void test_an_idempotency_key_stands_for_one_body(void **state)
{
    struct world *w = *state;
    struct reply first =
        post_log(w, "k", "{\"platform\":\"tiktok\",\"user_id_str\":\"u\",\"max_retries\":5}");
    struct reply same =
        post_log(w, "k", " {\"max_retries\":5, \"user_id_str\":\"u\",\"platform\":\"tiktok\"}");
    struct reply other =
        post_log(w, "k", "{\"platform\":\"tiktok\",\"user_id_str\":\"u\",\"max_retries\":6}");
    struct reply stranger =
        post_log(w, "k", "{\"platform\":\"tiktok\",\"user_id_str\":\"v\",\"max_retries\":5}");

    assert_int_equal(first.status, 201);
    assert_int_equal(same.status, 200);
    assert_string_equal(text_of(same.json, "id"), text_of(first.json, "id"));
    assert_problem(w, &other, 409, "idempotency_conflict");
    assert_int_equal(stranger.status, 201); /* a key is one user's own */
    assert_int_equal(world_count(w, "select count(*) from settle.publish_logs"), 2);
}

static void test_a_key_holds_after_the_row_was_settled(void **state)
{
    struct world *w = *state;
    struct reply again;

    assert_int_equal(post_log(w, "k", OURS).status, 201);
    world_sql(
        w,
        "update settle.publish_logs set status = 'success', settled_at = now(), external_url = 'https://x',"
        " extra_metadata = '{\"reconciled\": true}'");
    again = post_log(w, "k", OURS);
    assert_int_equal(again.status, 200);
    assert_string_equal(text_of(again.json, "status"), "success");
}

static void test_another_users_post_is_taken_and_not_shown(void **state)
{
    struct world *w = *state;
    struct reply first = post_log(w, NULL, OURS), r = post_log(w, NULL, STRANGER);

    assert_int_equal(first.status, 201);
    assert_problem(w, &r, 409, "post_taken");
    assert_null(strstr(r.body, text_of(first.json, "id")));
    assert_null(strstr(r.body, "u-1"));
    assert_int_equal(world_count(w, "select count(*) from settle.publish_logs"), 1);
    /* Another source's post of the same name is another post. */
    assert_int_equal(post_log(w, NULL,
                              "{\"platform\":\"instagram\",\"source\":\"app-2\",\"user_id_str\":\"stranger\","
                              "\"external_post_id\":\"post-1\"}")
                         .status,
                     201);
}

static void test_many_at_once_make_one_row(void **state)
{
    struct world *w = *state;
    struct outcome end;

    for (int round = 0; round < 5; round++) {
        char script[512];

        snprintf(script, sizeof(script),
                 "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do curl -s -o /dev/null -w '%%{http_code}\\n' -H "
                 "'Content-Type:"
                 " application/json' -d "
                 "'{\"platform\":\"tiktok\",\"user_id_str\":\"u\",\"external_post_id\":\"p%d\"}'"
                 " %s/publishing/logs & done | sort | uniq -c; wait",
                 round, w->admin_url);
        end = world_wait(w, world_spawn(w, "sh", "-c", script, NULL));
        if (!strstr(end.out, "11 200") || !strstr(end.out, "1 201"))
            fail_msg("round %d: %s%s", round, end.out, end.err);
    }
    assert_int_equal(world_count(w, "select count(*) from settle.publish_logs"), 5);
    assert_int_equal(world_count(w, "select count(*) from settle.social_sync_ledger"), 5);
}

/* The row of somebody who is just committing: the statement cannot see it, and asks again. */
static void test_a_row_that_is_just_being_written_is_found(void **state)
{
    struct world *w = *state;
    char url[256];
    struct process writer;
    struct reply r;

    snprintf(url, sizeof(url), "%s&user=postgres", w->database_url);
    writer = world_spawn(w, "psql", "-q", "-v", "ON_ERROR_STOP=1", url, "-c",
                         "begin; insert into settle.publish_logs (platform, user_id_str, external_post_id)"
                         " values ('instagram', 'u-1', 'post-1'); select pg_sleep(0.7); commit",
                         NULL);
    world_until(10,
                world_count(w, "select (exists (select from pg_stat_activity where query like"
                               " '%%pg_sleep(0.7)%%' and pid <> pg_backend_pid() and wait_event = 'PgSleep')"
                               " or exists (select from settle.publish_logs))::integer") == 1);
    r = post_log(w, NULL, OURS);
    if (r.status != 200)
        fail_msg("%ld %s", r.status, r.body);
    assert_int_equal(world_wait(w, writer).status, 0);
}

static void test_what_cannot_be_registered_is_refused_by_name(void **state)
{
    static const struct {
        const char *body;
        long status;
        const char *cause, *field;
    } cases[] = {
        {"{\"platform\":\"a\"",                                                               400, "malformed_json",         NULL              },
        {"[1]",                                                                               400, "malformed_json",         NULL              },
        {"",                                                                                  400, "malformed_json",         NULL              },
        {"{\"user_id_str\":\"u\"}",                                                           422, "invalid_parameter",      "platform"        },
        {"{\"platform\":\"a\",\"user_id_str\":\"u\",\"colour\":1}",                           422, "invalid_parameter",      "colour"          },
        {"{\"platform\":\"a\",\"user_id_str\":\"u\",\"status\":\"success\"}",                 422, "invalid_parameter",
         "status"                                                                                                                              },
        {"{\"platform\":\"a\",\"user_id_str\":\"u\",\"external_post_id\":\"\\u0000\"}",       422,
         "invalid_parameter",                                                                                                "external_post_id"},
        {"{\"platform\":\"a\",\"user_id_str\":\"u\",\"extra_metadata\":{\"x\":\"\\u0000\"}}", 422, "rejected",
         NULL                                                                                                                                  },
        {"{\"platform\":\"a\",\"user_id_str\":\"u\",\"status\":\"scheduled\"}",               422, "scheduled_without_time",
         NULL                                                                                                                                  },
    };
    struct world *w = *state;

    for (size_t i = 0; i < countof(cases); i++) {
        struct reply r = post_log(w, NULL, cases[i].body);

        assert_problem(w, &r, cases[i].status, cases[i].cause);
        if (cases[i].field)
            assert_field(&r, cases[i].field);
    }
    assert_int_equal(world_count(w, "select count(*) from settle.publish_logs"), 0);
}

/* Reading. */

static void test_pages_hold_every_row_once_while_new_ones_come(void **state)
{
    struct world *w = *state;
    char path[512] = "/publishing/logs?limit=7&user_id_str=u";
    json_t *seen = json_object();
    size_t npages = 0;

    for (int i = 0; i < 30; i++) {
        char body[128];

        snprintf(body, sizeof(body),
                 "{\"platform\":\"tiktok\",\"user_id_str\":\"u\",\"external_post_id\":\"p%d\"}", i);
        assert_int_equal(post_log(w, NULL, body).status, 201);
    }
    for (;;) {
        struct reply r = world_api(w, "GET", path, NULL);
        json_t *item, *items = items_of(&r);
        const char *link = reply_header(w, &r, "link");
        size_t i;

        json_array_foreach(items, i, item) {
            assert_null(json_object_get(seen, text_of(item, "id")));
            json_object_set(seen, text_of(item, "id"), item);
        }
        npages++;
        assert_int_equal(post_log(w, NULL, "{\"platform\":\"tiktok\",\"user_id_str\":\"u\"}").status, 201);
        if (!json_is_string(json_object_get(r.json, "next_cursor"))) {
            assert_null(link);
            break;
        }
        assert_string_equal(strchr(link, '>'), ">; rel=\"next\"");
        snprintf(path, sizeof(path), "%.*s", (int)(strchr(link, '>') - link - 1), link + 1);
    }
    assert_int_equal(npages, 5);
    assert_int_equal(json_object_size(seen), 30);
    json_decref(seen);
}

static size_t count_items(struct world *w, const char *path)
{
    struct reply r = world_api(w, "GET", path, NULL);

    return json_array_size(items_of(&r));
}

static void test_lists_are_filtered(void **state)
{
    struct world *w = *state;

    world_publication(w, "instagram", "a", "processing", 30);
    world_publication(w, "tiktok", "b", "processing", 5);
    world_publication(w, "tiktok", "c", "failed", 30);
    assert_int_equal(count_items(w, "/publishing/logs"), 3);
    assert_int_equal(count_items(w, "/publishing/logs?status=processing"), 2);
    assert_int_equal(count_items(w, "/publishing/logs?status=processing&older_than_minutes=10"), 1);
    assert_int_equal(count_items(w, "/publishing/logs?platform=tiktok&source=default"), 2);
    assert_int_equal(count_items(w, "/publishing/logs?platform=tiktok&source=other"), 0);
    assert_int_equal(count_items(w, "/publishing/logs?user_id_str=nobody"), 0);
    assert_int_equal(count_items(w, "/publishing/logs?limit=2"), 2);
}

static void test_a_publication_shows_what_happened_to_it(void **state)
{
    struct world *w = *state;
    struct reply r = post_log(w, NULL, OURS);
    json_t *timeline;
    char path[128];

    snprintf(path, sizeof(path), "/publishing/logs/%s", text_of(r.json, "id"));
    world_deliver(w, "instagram", NULL, "{\"external_post_id\":\"post-1\",\"media_url\":\"https://m\"}");
    r = world_api(w, "GET", path, NULL);
    assert_int_equal(r.status, 200);
    assert_true(json_is_true(json_object_get(
        json_object_get(json_object_get(r.json, "publication"), "extra_metadata"), "webhook_received")));

    world_sql(w, "update settle.publish_logs set updated_at = now() - interval '1 hour'");
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    r = world_api(w, "GET", path, NULL);
    assert_string_equal(text_of(json_object_get(r.json, "publication"), "status"), "success");
    timeline = json_object_get(r.json, "timeline");
    assert_int_equal(json_array_size(timeline), 3);
    assert_string_equal(text_of(json_array_get(timeline, 0), "event_type"), "publish_registered");
    assert_string_equal(text_of(json_array_get(timeline, 1), "kind"), "receipt");
    assert_string_equal(text_of(json_array_get(timeline, 2), "event_type"), "publish_reconciled");
    assert_string_equal(text_of(json_array_get(timeline, 2), "receipt_id"),
                        text_of(json_array_get(timeline, 1), "receipt_id"));
}

static void test_receipts_have_states(void **state)
{
    struct world *w = *state;
    char path[512];
    struct reply r;

    world_publication(w, "instagram", "open", "processing", 30);
    world_publication(w, "instagram", "settled", "failed", 30);
    world_sql(
        w,
        "update settle.publish_logs set settled_at = now() - interval '20 minutes' where status = 'failed'");
    world_deliver(w, "instagram", NULL, "{\"external_post_id\":\"open\"}");
    world_deliver(w, "instagram", NULL, "{\"external_post_id\":\"settled\"}");
    world_deliver(w, "instagram", NULL, "{\"external_post_id\":\"unknown\"}");
    world_deliver(w, "instagram", NULL, "not json");
    assert_int_equal(count_items(w, "/publishing/receipts"), 4);
    assert_int_equal(count_items(w, "/publishing/receipts?state=matched"), 1);
    assert_int_equal(count_items(w, "/publishing/receipts?state=late&external_post_id=settled"), 1);
    assert_int_equal(count_items(w, "/publishing/receipts?state=unmatched&platform=instagram"), 1);
    assert_int_equal(count_items(w, "/publishing/receipts?state=unparsed&source=default"), 1);
    assert_int_equal(count_items(w, "/publishing/receipts?platform=tiktok"), 0);
    r = world_api(w, "GET", "/publishing/receipts?limit=3", NULL);
    assert_int_equal(json_array_size(items_of(&r)), 3);
    snprintf(path, sizeof(path), "/publishing/receipts?limit=3&cursor=%s", text_of(r.json, "next_cursor"));
    assert_int_equal(count_items(w, path), 1);
}

static void test_a_receipt_shows_its_bytes(void **state)
{
    static const struct {
        const char *body;
        size_t len;
        const char *base64, *text; /* NULL: not UTF-8 */
    } cases[] = {
        {"{\"external_post_id\":\"\xc3\xbc\xf0\x9f\x98\x80\"}", 29,
         "eyJleHRlcm5hbF9wb3N0X2lkIjoiw7zwn5iAIn0=",                            "{\"external_post_id\":\"\xc3\xbc\xf0\x9f\x98\x80\"}"},
        {"\xff\xfe",                                            2,  "//4=",     NULL                                                 },
        {"a\0b",                                                3,  "YQBi",     NULL                                                 },
        {"\xed\xa0\x80",                                        3,  "7aCA",     NULL                                                 },
        {"\xc0\x80",                                            2,  "wIA=",     NULL                                                 },
        {"\xf4\x90\x80\x80",                                    4,  "9JCAgA==", NULL                                                 },
    };
    struct world *w = *state;

    for (size_t i = 0; i < countof(cases); i++) {
        struct span body = {cases[i].body, cases[i].len};
        char url[128], path[128];
        struct reply r;

        world_reset(w);
        snprintf(url, sizeof(url), "%s/publishing/webhooks/instagram", w->ingest_url);
        world_until(
            20, (r = world_http(w, "POST", url, world_sign(w, "instagram", NULL, body), body)).status != 503);
        assert_int_equal(r.status, 200);
        snprintf(path, sizeof(path), "/publishing/receipts/%s",
                 world_sql(w, "select encode(dedup_key, 'hex') from settle.webhook_receipts"));
        r = world_api(w, "GET", path, NULL);
        if (r.status != 200)
            fail_msg("case %zu: %ld %s", i, r.status, r.body);
        assert_string_equal(text_of(r.json, "body_base64"), cases[i].base64);
        assert_string_equal(text_of(r.json, "body_text"), cases[i].text ? cases[i].text : "(none)");
        assert_non_null(strstr(text_of(r.json, "headers_text"), "content-type: application/json"));
    }
}

static void test_refused_requests_are_shown_with_their_cause(void **state)
{
    struct world *w = *state;
    const char *headers[] = {"content-type: application/json", "x-hub-signature-256: sha256=00", NULL};
    char url[128], path[128];
    struct reply r;

    snprintf(url, sizeof(url), "%s/publishing/webhooks/instagram", w->ingest_url);
    assert_int_equal(world_http(w, "POST", url, headers, SPAN("forged")).status, 401);
    world_until(10, count_items(w, "/publishing/receipts?state=refused") == 1);
    assert_int_equal(count_items(w, "/publishing/receipts"), 0);
    assert_int_equal(count_items(w, "/publishing/receipts?state=refused&cause=no_match"), 0);
    assert_int_equal(count_items(w, "/publishing/receipts?state=refused&cause=malformed_signature"), 1);
    r = world_api(w, "GET", "/publishing/receipts?state=refused&platform=instagram", NULL);
    assert_string_equal(text_of(json_array_get(items_of(&r), 0), "cause"), "malformed_signature");
    snprintf(path, sizeof(path), "/publishing/receipts/%s", text_of(json_array_get(items_of(&r), 0), "id"));
    r = world_api(w, "GET", path, NULL);
    assert_string_equal(text_of(r.json, "body_base64"), "Zm9yZ2Vk");
}

static void test_alerts_are_listed(void **state)
{
    struct world *w = *state;

    world_sql(
        w,
        "insert into settle.alerts (id, source, type, category, severity, dedupe_key, title, message) values"
        " (gen_random_uuid(), 'publications', 'TIMEOUT_GUARD', 'SYSTEM_HEALTH', 'HIGH', 'k', 't', 'm')");
    assert_int_equal(count_items(w, "/alerts"), 1);
    assert_int_equal(count_items(w, "/alerts?status=OPEN&severity=HIGH&type=TIMEOUT_GUARD"), 1);
    assert_int_equal(count_items(w, "/alerts?status=RESOLVED"), 0);
}

/* What every table holds, sequences included. */
static const char *dump(struct world *w)
{
    return world_sql(
        w, "select string_agg(relname || md5(query_to_xml(format('select t::text from settle.%%I as t order"
           " by 1', relname), true, false, '')::text), ' ' order by relname),"
           " (select string_agg(sequencename || last_value, ' ' order by sequencename) from pg_sequences)"
           " from pg_class where relnamespace = 'settle'::regnamespace and relkind in ('r', 'p')");
}

/* What the pieces of paths stand for: one of each. */
struct things {
    char log[40], receipt[80], refused[40], run[40];
};

static void make_things(struct world *w, struct things *ret)
{
    const char *headers[] = {"x-hub-signature-256: sha256=00", NULL};
    char url[128];

    snprintf(ret->log, sizeof(ret->log), "%s", text_of(post_log(w, "k", OURS).json, "id"));
    world_deliver(w, "instagram", NULL, "{\"external_post_id\":\"post-1\"}");
    snprintf(url, sizeof(url), "%s/publishing/webhooks/instagram", w->ingest_url);
    world_http(w, "POST", url, headers, SPAN("forged"));
    world_until(10, world_count(w, "select count(*) from settle.refused_requests") == 1);
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    snprintf(ret->receipt, sizeof(ret->receipt), "%s",
             world_sql(w, "select encode(dedup_key, 'hex') from settle.webhook_receipts"));
    snprintf(ret->refused, sizeof(ret->refused), "%s",
             world_sql(w, "select id from settle.refused_requests"));
    snprintf(ret->run, sizeof(ret->run), "%s", world_sql(w, "select id from settle.job_runs"));
    world_sql(
        w,
        "insert into settle.daily_aggregates (date, user_id_str, platform, publication_count, success_count, "
        "failed_count, settled_count, webhook_count, cost_total, source_count, source_hash, hash_version) "
        "values ('2024-02-29', 'u-1', 'tiktok', 1, 1, 0, 1, 1, 0.5, 1, 'h', 1); "
        "insert into settle.aggregate_days (date, aggregated_at) values ('2024-02-29', now())");
    /* Totals that drifted, and a platform without its task: a read tells so, and leaves them. */
    world_sql(w, "insert into settle.platform_connections (user_id_str, platform, account, connected) values "
                 "('u-1', 'gsc', 'default', true); "
                 "update settle.scheduler_cumulative_stats set total_check_cycles = 7");
}

static const char *thing_for(const struct route *r, const char *piece, const struct things *t)
{
    const struct {
        const char *piece;
        int sql; /* -1: any */
        const char *value;
    } values[] = {
        {"{user_id}", -1,              "u-1"     },
        {"{id}",      SQL_LOG_GET,     t->log    },
        {"{id}",      SQL_RECEIPT_GET, t->receipt},
        {"{id}",      SQL_REFUSED_GET, t->refused},
        {"{id}",      SQL_RUN_GET,     t->run    },
    };

    for (size_t i = 0; i < countof(values); i++)
        if (strcmp(values[i].piece, piece) == 0 && (values[i].sql < 0 || values[i].sql == (int)r->sql))
            return values[i].value;
    fail_msg("this test knows nothing for %s of %s", piece, r->path);
    return NULL;
}

static void path_of(const struct route *r, const struct things *t, char path[256])
{
    char room[256], *rest = room, *to = path;

    snprintf(room, sizeof(room), "%s", r->path + 1);
    for (const char *piece; (piece = strsep(&rest, "/"));)
        to +=
            snprintf(to, (size_t)(path + 256 - to), "/%s", piece[0] == '{' ? thing_for(r, piece, t) : piece);
    if (r->only_with)
        snprintf(to, (size_t)(path + 256 - to), "?%s", r->only_with);
}

static void get_twice(struct world *w, const char *path)
{
    for (int twice = 0; twice < 2; twice++) {
        struct reply r = world_api(w, "GET", path, NULL);

        if (r.status != 200)
            fail_msg("%s: %ld %s", path, r.status, r.body);
    }
}

/* Each that the table of routes has, and some by other ways through their statements. */
static void get_all(struct world *w, const struct things *t)
{
    static const char *const more[] = {
        "/publishing/logs?user_id_str=u-1&status=processing&older_than_minutes=0",
        "/publishing/receipts?state=matched",
        "/api/scheduler/event-history?days=7",
        "/api/scheduler/dashboard?user_id=u-1",
        "/analytics/export?start_date=2024-02-29&end_date=2024-03-01",
    };
    char path[256];

    for (const struct route *r = routes; r < routes + nroutes; r++)
        if (strcmp(r->method, "GET") == 0) {
            path_of(r, t, path);
            get_twice(w, path);
        }
    for (size_t i = 0; i < countof(more); i++)
        get_twice(w, more[i]);
}

static void test_every_get_leaves_the_database_unchanged(void **state)
{
    struct world *w = *state;
    struct things things;
    const char *before;

    make_things(w, &things);
    before = dump(w);
    get_all(w, &things);
    assert_string_equal(dump(w), before);
}

/* What our own code asks for besides, the server holds them to here: nothing that would write could end well. */
static void test_every_get_is_answered_where_nothing_can_be_written(void **state)
{
    struct world *w = *state;
    struct things things;
    struct reply r;

    make_things(w, &things);
    world_sql(w, "alter role settle_api set default_transaction_read_only = on");
    bound = true;
    world_gateway_stop(w);
    world_gateway(w, NULL);
    get_all(w, &things);
    r = post_log(w, "another", OURS);
    let_write(w);
    assert_problem(w, &r, 503, "store_unavailable");
}

/* Without keys. */

static long starts_that_tell(struct world *w, const char *text)
{
    return strtol(world_wait(w, world_spawn(w, "grep", "-cF", "-e", text, "gateway/log", NULL)).out, NULL,
                  10);
}

/* Whoever reads the log of the start is told by which setting nobody needs a key; with keys there is nothing to tell. */
static void test_a_start_without_keys_names_the_setting(void **state)
{
    struct world *w = *state;
    long told = starts_that_tell(w, "\"api_without_keys\"");

    assert_true(told > 0);
    assert_int_equal(starts_that_tell(w, "admin.keys_required: false"), told);
    setenv("SETTLE_ADMIN_KEYS_REQUIRED", "true", 1);
    world_gateway_stop(w);
    world_gateway(w, NULL);
    assert_int_equal(starts_that_tell(w, "\"api_without_keys\""), told);
    assert_int_equal(world_api(w, "GET", "/publishing/logs", NULL).status, 401);
    setenv("SETTLE_ADMIN_KEYS_REQUIRED", "false", 1);
    world_gateway_stop(w);
    world_gateway(w, NULL);
    assert_int_equal(starts_that_tell(w, "\"api_without_keys\""), told + 1);
    assert_int_equal(world_api(w, "GET", "/publishing/logs", NULL).status, 200);
}

/* Refusals. */

static void test_requests_that_fit_no_route_are_problems(void **state)
{
    struct world *w = *state;
    struct reply r = world_api(w, "GET", "/nothing", NULL);
    const char *evil[] = {"host: evil.example", NULL}, *form[] = {"content-type: text/plain", NULL};
    char url[128], *big = malloc(70000);

    assert_problem(w, &r, 404, "not_found");
    r = world_api(w, "GET", "/publishing/logs/01a20074-8f5a-76e1-94b4-5e99b65e7f06", NULL);
    assert_problem(w, &r, 404, "not_found");
    r = world_api(w, "GET", "/publishing/logs/7", NULL);
    assert_problem(w, &r, 404, "not_found");
    r = world_api(w, "DELETE", "/publishing/logs", NULL);
    assert_problem(w, &r, 405, "method_not_allowed");
    assert_string_equal(reply_header(w, &r, "allow"), "GET, HEAD, POST");
    r = world_api(w, "GET", "/publishing/logs?statuss=failed", NULL);
    assert_problem(w, &r, 422, "invalid_parameter");
    assert_field(&r, "statuss");
    r = world_api(w, "GET", "/publishing/receipts?state=refused&state=late", NULL);
    assert_field(&r, "state");
    r = world_api(w, "GET", "/publishing/logs?cursor=00", NULL);
    assert_field(&r, "cursor");

    snprintf(url, sizeof(url), "%s/alerts", w->admin_url);
    r = world_http(w, "GET", url, evil, SPAN_NONE);
    assert_problem(w, &r, 403, "forbidden_host");
    snprintf(url, sizeof(url), "%s/publishing/logs", w->admin_url);
    r = world_http(w, "POST", url, form, span_of(OURS));
    assert_problem(w, &r, 415, "unsupported_media_type");
    memset(big, ' ', 70000);
    r = world_http(w, "POST", url, form, (struct span){big, 70000});
    assert_int_equal(r.status, 413);
    free(big);
    assert_int_equal(world_count(w, "select count(*) from settle.publish_logs"), 0);
}

/* Not the gauges, which count alerts too. */
static bool list_waits(struct world *w)
{
    return world_count(w, "select pg_stat_clear_snapshot(); select count(*) from pg_stat_activity"
                          " where wait_event_type = 'Lock' and query like '%%resolution_notes%%'") == 1;
}

/* Whether a list that stands at a lock was passed by others, and answered when it had it. False: that took longer than the API
 * waits for a lock, as it may on a slow machine. */
static bool others_pass_a_slow_one(struct world *w)
{
    char url[128];
    struct process slow;
    bool waits;

    snprintf(url, sizeof(url), "%s/alerts", w->admin_url);
    hold(w, "alerts");
    slow = world_spawn(w, "curl", "-s", "-o", "body", "-w", "%{stderr}answered %{http_code}", url, NULL);
    world_until(20, list_waits(w) || world_said(w, slow, "answered"));
    for (int i = 0; i < 20; i++)
        assert_int_equal(count_items(w, "/publishing/logs"), 0);
    waits = list_waits(w);
    world_sql(w, "commit");
    assert_int_equal(world_wait(w, slow).status, 0);
    return waits && world_said(w, slow, "answered 200");
}

static void test_a_slow_statement_holds_up_no_other(void **state)
{
    world_until(60, others_pass_a_slow_one(*state));
}

/* The API comes up all the same: it prepares what it is asked for. */
static void test_a_statement_that_does_not_fit_the_schema_fails_alone(void **state)
{
    struct world *w = *state;
    struct reply fits, does_not;

    world_sql(w, "alter table settle.alerts rename to elsewhere");
    world_gateway_stop(w);
    world_gateway(w, NULL);
    fits = world_api(w, "GET", "/publishing/logs", NULL);
    does_not = world_api(w, "GET", "/alerts", NULL);
    world_sql(w, "alter table settle.elsewhere rename to alerts");
    assert_int_equal(fits.status, 200);
    assert_problem(w, &does_not, 503, "internal");
    assert_int_equal(world_api(w, "GET", "/alerts", NULL).status, 200);
}

static void test_postgres_away_is_our_fault_and_passes(void **state)
{
    struct world *w = *state;
    struct reply r;

    world_kill(w, POSTGRES);
    r = world_api(w, "GET", "/publishing/logs", NULL);
    assert_problem(w, &r, 503, "store_unavailable");
    assert_non_null(reply_header(w, &r, "retry-after"));
    r = world_api(w, "GET", "/api/scheduler/health", NULL);
    assert_problem(w, &r, 503, "store_unavailable"); /* unhealthy */
    assert_int_equal(world_api(w, "GET", "/api/scheduler/config", NULL).status, 200);
    r = post_log(w, NULL, OURS);
    assert_problem(w, &r, 503, "store_unavailable");
    r = world_api(w, "GET", "/nothing", NULL);
    assert_problem(w, &r, 404, "not_found");
    world_servers(w);
    world_until(20, (r = post_log(w, NULL, OURS)).status == 201 || r.status == 200);
    world_until(20, world_post(w, "instagram", NULL, "{}").status == 200); /* the next tests need it */
}

/* Reconciling. */

static void test_reconcile_answers_with_the_report(void **state)
{
    struct world *w = *state;
    struct reply r;

    world_publication(w, "instagram", "a", "processing", 30);
    world_publication(w, "tiktok", "b", "processing", 30);
    world_publication(w, "tiktok", "c", "processing", 15);
    world_deliver(w, "instagram", NULL, "{\"external_post_id\":\"a\"}");
    r = world_api(w, "POST", "/publishing/reconcile?since_minutes=20&dry_run=true", NULL);
    assert_int_equal(r.status, 200);
    assert_string_equal(text_of(r.json, "outcome"), "dry_run");
    assert_int_equal(world_count(w, "select count(*) from settle.job_runs"), 0);

    r = world_api(w, "POST", "/publishing/reconcile?since_minutes=20", NULL);
    assert_int_equal(r.status, 200);
    assert_int_equal(json_integer_value(json_object_get(r.json, "total_checked")), 2);
    assert_int_equal(json_integer_value(json_object_get(r.json, "marked_success")), 1);
    assert_int_equal(json_integer_value(json_object_get(r.json, "marked_failed")), 1);
    assert_string_equal(world_sql(w, "select id, trigger, actor, status from settle.job_runs"),
                        world_sql(w, "select '%s', 'api', 'local', 'success'", text_of(r.json, "run_id")));
    r = world_api(w, "POST", "/publishing/reconcile?platform=tiktok", NULL);
    assert_int_equal(json_integer_value(json_object_get(r.json, "marked_failed")), 1);
}

static void test_reconcile_takes_what_the_settings_say(void **state)
{
    struct world *w = *state;
    struct reply least, given;
    FILE *file;
    char path[100];

    snprintf(path, sizeof(path), "%s/settle.yaml", w->dir);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs("reconcile: {since_minutes: 40}\n", file);
    fclose(file);
    world_publication(w, "tiktok", "a", "processing", 30);
    world_publication(w, "tiktok", "b", "processing", 50);
    world_gateway_stop(w);
    world_gateway(w, "--config", path, NULL);
    least = world_api(w, "POST", "/publishing/reconcile?dry_run=true", NULL);
    given = world_api(w, "POST", "/publishing/reconcile?since_minutes=20&dry_run=true", NULL);
    world_gateway_stop(w);
    world_gateway(w, NULL);
    assert_int_equal(json_integer_value(json_object_get(least.json, "total_checked")), 1);
    assert_int_equal(json_integer_value(json_object_get(given.json, "total_checked")), 2);
}

static void test_reconcile_checks_before_it_runs(void **state)
{
    static const char *const wrong[] = {"since_minutes=0", "since_minutes=1441", "since_minutes=abc",
                                        "since_minutes=",  "since_minutes=10.5", "since_minutes=-5"};
    struct world *w = *state;
    struct reply r;
    char path[128];

    for (size_t i = 0; i < countof(wrong); i++) {
        snprintf(path, sizeof(path), "/publishing/reconcile?%s", wrong[i]);
        r = world_api(w, "POST", path, NULL);
        assert_problem(w, &r, 422, "invalid_parameter");
        assert_field(&r, "since_minutes");
    }
    r = world_api(w, "GET", "/publishing/reconcile", NULL);
    assert_problem(w, &r, 405, "method_not_allowed");
    assert_int_equal(world_count(w, "select count(*) from settle.job_runs"), 0);
}

static void test_a_lock_held_is_a_conflict(void **state)
{
    struct world *w = *state;
    struct reply r;

    world_sql(w, "update settle.job_fences set holder = 'other', lease_until = now() + interval '1 minute' "
                 "where name = 'publications'");
    r = world_api(w, "POST", "/publishing/reconcile", NULL);
    assert_problem(w, &r, 409, "lock_held");
}

static void test_a_run_that_fails_is_our_fault(void **state)
{
    struct world *w = *state;
    struct reply r;

    world_sql(w, "alter role settle_reconciler nologin");
    r = world_api(w, "POST", "/publishing/reconcile", NULL);
    world_sql(w, "alter role settle_reconciler login");
    assert_problem(w, &r, 503, "run_failed");
    assert_non_null(reply_header(w, &r, "retry-after"));
}

static void test_a_run_can_be_begun_without_waiting(void **state)
{
    struct world *w = *state;
    const char *headers[] = {"content-type: application/json", "prefer: wait=5, Respond-Async", NULL},
               *location;
    char url[128];
    struct reply r;

    snprintf(url, sizeof(url), "%s/publishing/reconcile", w->admin_url);
    r = world_http(w, "POST", url, headers, SPAN_NONE);
    assert_int_equal(r.status, 202);
    location = reply_header(w, &r, "location");
    assert_string_equal(strrchr(location, '/') + 1, text_of(r.json, "run_id"));
    world_until(20, strcmp(text_of(world_api(w, "GET", location, NULL).json, "status"), "success") == 0);
}

static void test_a_run_goes_on_when_its_caller_leaves(void **state)
{
    struct world *w = *state;
    char url[128];
    struct process caller;

    world_publication(w, "tiktok", "b", "processing", 30);
    snprintf(url, sizeof(url), "%s/publishing/reconcile", w->admin_url);
    hold(w, "publish_logs"); /* without which no run ends */
    caller = world_spawn(w, "curl", "-s", "-X", "POST", "-H", "Content-Type: application/json", url, NULL);
    world_until(20, world_count(w, "select count(*) from settle.job_runs where status = 'running'") == 1);
    kill(caller.pid, SIGKILL);
    assert_int_equal(world_wait(w, caller).status, 128 + SIGKILL);
    /* Who comes behind its end shows that the gateway has seen it. */
    assert_int_equal(world_api(w, "GET", "/api/scheduler/config", NULL).status, 200);
    world_sql(w, "commit");
    world_until(20, world_count(w, "select count(*) from settle.job_runs where status = 'success'") == 1);
    assert_int_equal(world_count(w, "select count(*) from settle.publish_logs where status = 'failed'"), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, reset)
    const struct CMUnitTest tests[] = {
        TEST(test_registering_twice_gives_the_same_row),
        TEST(test_all_fields_are_kept),
        TEST(test_an_idempotency_key_stands_for_one_body),
        TEST(test_a_key_holds_after_the_row_was_settled),
        TEST(test_another_users_post_is_taken_and_not_shown),
        TEST(test_many_at_once_make_one_row),
        TEST(test_a_row_that_is_just_being_written_is_found),
        TEST(test_what_cannot_be_registered_is_refused_by_name),
        TEST(test_pages_hold_every_row_once_while_new_ones_come),
        TEST(test_lists_are_filtered),
        TEST(test_a_publication_shows_what_happened_to_it),
        TEST(test_receipts_have_states),
        TEST(test_a_receipt_shows_its_bytes),
        TEST(test_refused_requests_are_shown_with_their_cause),
        TEST(test_alerts_are_listed),
        TEST(test_every_get_leaves_the_database_unchanged),
        TEST(test_every_get_is_answered_where_nothing_can_be_written),
        TEST(test_a_start_without_keys_names_the_setting),
        TEST(test_requests_that_fit_no_route_are_problems),
        TEST(test_a_slow_statement_holds_up_no_other),
        TEST(test_a_statement_that_does_not_fit_the_schema_fails_alone),
        TEST(test_postgres_away_is_our_fault_and_passes),
        TEST(test_reconcile_answers_with_the_report),
        TEST(test_reconcile_takes_what_the_settings_say),
        TEST(test_reconcile_checks_before_it_runs),
        TEST(test_a_lock_held_is_a_conflict),
        TEST(test_a_run_that_fails_is_our_fault),
        TEST(test_a_run_can_be_begun_without_waiting),
        TEST(test_a_run_goes_on_when_its_caller_leaves),
    };

    return cmocka_run_group_tests(tests, up, down);
}
