/* Keys of the API: who may do what, and that tenants cannot see each other. */
#include "support/world.h"

#include "domain/apikey.h"
#include "routes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

enum { KEY_TEXT_BYTES = APIKEY_CHARS + 1 };

/* One of each kind; made once, they outlive no test's end. */
static struct {
    char read[KEY_TEXT_BYTES], write[KEY_TEXT_BYTES],
        reconcile[KEY_TEXT_BYTES]; /* of anna, with this scope alone */
    char bert[KEY_TEXT_BYTES];     /* all but admin */
    char operator[KEY_TEXT_BYTES], expired[KEY_TEXT_BYTES], revoked[KEY_TEXT_BYTES];
} keys;

static char publication[64], receipt[80], refused[64], run[64], task[24], costs[300];

enum { TENANTS = 8, POSTS = 4, REQUESTS = 1000, REQUESTS_LONG = 10000 };
struct cell;

static void fill_tenants(struct world *w, char ids[TENANTS * POSTS][40], char receipts[TENANTS * POSTS][80]);
static struct reply ask_at_random(struct world *w, const struct cell *c, const char *key, const char *id,
                                  const char *receipt_id, size_t other);
static void check_names(size_t tenant, const struct cell *c, const struct reply *r);

static struct outcome make(struct world *w, const char *user, const char *scopes, const char *more)
{
    char named[300];
    struct outcome o;

    snprintf(named, sizeof(named), "--user=%s", user ? user : "");
    o = world_wait(w, world_spawn(w, "settle-reconciler", "keys", "create", "--json", "--name=of the tests",
                                  "--scopes", scopes, user ? named : "--actor=tests", more, NULL));
    assert_int_equal(o.status, 0);
    return o;
}

static void take(struct world *w, char room[KEY_TEXT_BYTES], const char *user, const char *scopes,
                 const char *more)
{
    struct outcome o = make(w, user, scopes, more);
    const char *key = json_string_value(json_object_get(o.json, "key"));

    assert_non_null(key);
    assert_int_equal(strlen(key), APIKEY_CHARS);
    memcpy(room, key, KEY_TEXT_BYTES);
}

/* "settle_ID_...": where the id stands. */
static const char *id_of(const char *key)
{
    static char id[APIKEY_ID_CHARS + 1];

    snprintf(id, sizeof(id), "%.16s", key + strlen("settle_"));
    return id;
}

/* A key whose check holds, with the id of another and a secret that is not that one's. */
static void forge(char ret[KEY_TEXT_BYTES], const char *id)
{
    enum { CHECK_AT = APIKEY_CHARS - 8 };
    uint8_t digest[crypto_generichash_BYTES];

    apikey_make(ret);
    memcpy(ret + strlen("settle_"), id, APIKEY_ID_CHARS);
    crypto_generichash(digest, sizeof(digest), (const uint8_t *)ret, CHECK_AT, NULL, 0);
    for (size_t i = 0; i < 4; i++)
        snprintf(ret + CHECK_AT + 2 * i, 3, "%02x", digest[i]);
}

static struct reply ask(struct world *w, const char *key, const char *method, const char *path,
                        const char *json)
{
    char url[512], authorization[160];
    const char *headers[3] = {"content-type: application/json", authorization, NULL};

    snprintf(url, sizeof(url), "%s%s", w->admin_url, path);
    snprintf(authorization, sizeof(authorization), "authorization: Bearer %s", key ? key : "");
    if (!key)
        headers[1] = NULL;
    return world_http(w, method, url, headers, json ? span_of(json) : SPAN_NONE);
}

static const char *cause_of(const struct reply *r)
{
    const char *type = json_string_value(json_object_get(r->json, "type"));

    return type && strrchr(type, ':') ? strrchr(type, ':') + 1 : "";
}

static int up(void **state)
{
    struct world *w = *state = world_open();

    setenv("SETTLE_ADMIN_KEYS_REQUIRED", "true", 1);
    setenv("SETTLE_ADMIN_WRONG_KEYS_PER_MINUTE", "1000000", 1); /* test_shares.c has fewer */
    take(w, keys.read, "anna", "read", NULL);
    take(w, keys.write, "anna", "write", NULL);
    take(w, keys.reconcile, "anna", "reconcile", NULL);
    take(w, keys.bert, "bert", "read,write,reconcile", NULL);
    take(w, keys.operator, NULL, "admin", NULL);
    take(w, keys.expired, "anna", "read,write,reconcile", "--expires=2020-01-01T00:00:00Z");
    take(w, keys.revoked, "anna", "read,write,reconcile", NULL);
    assert_int_equal(
        world_wait(w, world_spawn(w, "settle-reconciler", "keys", "revoke", id_of(keys.revoked), NULL))
            .status,
        0);
    world_sql(w, "create table public.made_keys as select * from settle.api_keys");
    return world_gateway(w, NULL);
}

/* A tenant's task and what became of it, and the scheduler's own words on it. */
static void add_scheduled(struct world *w, const char *user, const char *post)
{
    world_sql(
        w,
        "with t as (insert into settle.platform_insights_tasks (user_id, platform, status, site_url) "
        "values ('%s', 'gsc', 'needs_intervention', '%s'), ('%s', 'bing', 'active', '%s') returning id) "
        "insert into settle.platform_insights_execution_logs (task_id, status, error_message) "
        "select id, 'failed', '%s' from t",
        user, post, user, post, post);
    world_sql(w,
              "with m as (insert into settle.monitoring_tasks (task_title) values ('%s') returning id) "
              "insert into settle.task_execution_logs (task_id, user_id_str, status, error_message) "
              "select id, '%s', 'failed', '%s' from m",
              post, user, post);
    world_sql(w,
              "insert into settle.scheduler_event_logs (event_type, job_id, user_id, error_message, "
              "event_data) values ('job_failed', 'of %s', '%s', '%s', '{}'), "
              "('job_failed', 'publications', null, '%s', '{\"of\":\"%s\"}')",
              post, user, post, post, user);
}

/* What a tenant spent on a day, which has been counted. */
static void add_aggregate(struct world *w, const char *user, const char *date)
{
    world_sql(
        w,
        "insert into settle.daily_aggregates (date, user_id_str, platform, publication_count, success_count, "
        "failed_count, settled_count, webhook_count, cost_total, source_count, source_hash, hash_version) "
        "values (%s, '%s', 'tiktok', 1, 1, 0, 1, 1, 0.5, 1, 'of %s', 1)",
        date, user, user);
}

static int down(void **state)
{
    world_close(*state);
    return 0;
}

/* anna's publication with all that hangs on it, and what is nobody's. */
static int reset(void **state)
{
    struct world *w = *state;

    world_reset(w);
    world_sql(w, "insert into settle.api_keys select * from public.made_keys");
    snprintf(publication, sizeof(publication), "%s",
             world_sql(w, "insert into settle.publish_logs (platform, user_id_str, external_post_id, status) "
                          "values ('tiktok', 'anna', 'post-of-anna', 'processing') returning id"));
    world_deliver(w, "tiktok", NULL, "{\"external_post_id\":\"post-of-anna\"}");
    snprintf(receipt, sizeof(receipt), "%s",
             world_sql(w, "select encode(dedup_key, 'hex') from settle.webhook_receipts limit 1"));
    snprintf(refused, sizeof(refused), "%s", "01a20074-8f5a-76e1-94b4-5e99b65e7f06");
    snprintf(run, sizeof(run), "%s", "01a20074-8f5a-76e1-94b4-5e99b65e7f07");
    world_sql(
        w, "insert into settle.alerts (id, source, type, category, severity, dedupe_key, user_id_str, title, "
           "message) "
           "values (gen_random_uuid(), 's', 't', 'SYSTEM_HEALTH', 'LOW', 'k', 'anna', 'post-of-anna', 'm')");
    add_scheduled(w, "anna", "post-of-anna");
    add_aggregate(w, "anna", "now()::date - 1");
    snprintf(costs, sizeof(costs),
             "{\"user_id_str\":\"anna\",\"records\":[{\"timestamp\":\"%sT00:00:00Z\",\"cost\":\"1\","
             "\"idempotency_key\":\"post-of-anna\"}]}",
             world_sql(w, "select (now() at time zone 'UTC')::date"));
    snprintf(task, sizeof(task), "%s",
             world_sql(w, "select id from settle.platform_insights_tasks where platform = 'gsc'"));
    return 0;
}

/* What each route is asked, of anna's, and what bert gets to see. A route without its row fails the test. */
/* clang-format off: version 14 spoils rows of unequal length */
static const struct cell {
    const char *method, *path; /* as in routes.c */
    const char *query, *body;
    const char *id; /* for {id} */
    long own;       /* to anna's key of the scope; an operator's gets the same */
    long foreign;   /* to bert's */
    long operator;  /* 0: as own */
} cells[] = {
    {"POST", "/publishing/logs",                                         "",
     "{\"platform\":\"tiktok\",\"user_id_str\":\"anna\",\"external_post_id\":\"post-of-anna\"}",                                               NULL,        200,
     403,                                                                                                                                                             0  },
    {"GET",  "/publishing/logs",                                         "?user_id_str=anna", NULL,                                            NULL,        200, 403, 0  },
    {"POST", "/publishing/logs/claim",                                   "",                  "{\"platform\":\"tiktok\",\"worker_id\":\"w\"}", NULL,        200, 200,
     0                                                                                                                                                                   },
    {"GET",  "/publishing/logs/{id}",                                    "",                  NULL,                                            publication, 200, 404, 0  },
    {"POST", "/publishing/logs/{id}/override",                           "",                  "{\"status\":\"failed\",\"reason\":\"seen\"}",   publication,
     200,                                                                                                                                                        404, 0  },
    {"POST", "/publishing/logs/{id}/result",                             "",                  "{\"worker_id\":\"w\",\"status\":\"success\"}",  publication,
     200,                                                                                                                                                        404, 0  },
    {"GET",  "/publishing/receipts",                                     "?state=refused",    NULL,                                            NULL,        403, 403, 200},
    {"GET",  "/publishing/receipts",                                     "",                  NULL,                                            NULL,        200, 200, 0  },
    {"GET",  "/publishing/receipts/{id}",                                "",                  NULL,                                            receipt,     200, 404, 0  },
    {"GET",  "/publishing/receipts/{id}",                                "",                  NULL,                                            refused,     403, 403, 404},
    {"POST", "/publishing/receipts/{id}/replay",                         "?dry_run=true",     NULL,                                            receipt,     403, 403, 200},
    {"GET",  "/publishing/runs",                                         "",                  NULL,                                            NULL,        403, 403, 200},
    {"GET",  "/publishing/runs/{id}",                                    "",                  NULL,                                            run,         403, 403, 404},
    {"POST", "/publishing/reconcile",                                    "?dry_run=true",     NULL,                                            NULL,        403, 403, 200},
    {"PUT",  "/api/scheduler/platform-connections/{user_id}/{platform}", "",                  "{\"connected\":true}",                          NULL,        200,
     403,                                                                                                                                                             0  },
    {"GET",  "/api/scheduler/platform-insights/status/{user_id}",        "",                  NULL,                                            NULL,        200, 403, 0  },
    {"POST", "/api/scheduler/platform-insights/reconcile/{user_id}",     "",                  NULL,                                            NULL,        200, 403, 0  },
    {"GET",  "/alerts/stats",                                            "",                  NULL,                                            NULL,        200, 200, 0  },
    {"PUT",  "/alerts/{id}/resolve",                                     "",                  "{\"notes\":\"seen\"}",                          run,         403, 403, 404},
    {"GET",  "/debug/circuit-breakers",                                  "",                  NULL,                                            NULL,        403, 403, 200},
    {"GET",  "/alerts",                                                  "",                  NULL,                                            NULL,        200, 200, 0  },
    {"GET",  "/api/scheduler/platform-insights/logs/{user_id}",          "",                  NULL,                                            NULL,        200, 403, 0  },
    {"GET",  "/api/scheduler/tasks-needing-intervention/{user_id}",      "",                  NULL,                                            NULL,        200, 403, 0  },
    {"POST", "/api/scheduler/tasks/{type}/{id}/manual-trigger",          "",                  NULL,                                            task,        200, 404, 0  },
    {"GET",  "/api/scheduler/dashboard",                                 "?user_id=anna",     NULL,                                            NULL,        200, 403, 0  },
    {"POST", "/api/scheduler/dashboard/cumulative-stats/reconcile",      "",                  NULL,                                            NULL,        403, 403, 200},
    {"GET",  "/api/scheduler/event-history",                             "",                  NULL,                                            NULL,        200, 200, 0  },
    {"GET",  "/api/scheduler/event-logs/stats",                          "?user_id=anna",     NULL,                                            NULL,        200, 403, 0  },
    {"POST", "/api/scheduler/cleanup-event-logs",                        "?days_to_keep=7",   NULL,                                            NULL,        403, 403, 200},
    {"GET",  "/api/scheduler/execution-logs",                            "",                  NULL,                                            NULL,        200, 200, 0  },
    {"GET",  "/api/scheduler/recent-scheduler-logs",                     "",                  NULL,                                            NULL,        200, 200, 0  },
    {"GET",  "/api/scheduler/jobs",                                      "",                  NULL,                                            NULL,        200, 200, 0  },
    {"GET",  "/api/scheduler/status",                                    "",                  NULL,                                            NULL,        403, 403, 200},
    {"GET",  "/api/scheduler/health",                                    "",                  NULL,                                            NULL,        200, 200, 0  },
    {"GET",  "/api/scheduler/metrics",                                   "",                  NULL,                                            NULL,        403, 403, 200},
    {"GET",  "/api/scheduler/config",                                    "",                  NULL,                                            NULL,        403, 403, 200},
    {"POST", "/analytics/costs",                                         "",                  costs,                                           NULL,        200, 403, 0  },
    {"GET",  "/analytics/summary",                                       "?user_id_str=anna", NULL,                                            NULL,        200, 403, 0  },
    {"GET",  "/analytics/export",                                        "",                  NULL,                                            NULL,        200, 200, 0  },
    {"GET",  "/api/openapi.yaml",                                        "",                  NULL,                                            NULL,        200, 200, 0  },
};
/* clang-format on */

static bool is_of(const struct cell *c, const struct route *r)
{
    if (strcmp(c->method, r->method) != 0 || strcmp(c->path, r->path) != 0)
        return false;
    if (r->only_with)
        return strstr(c->query, r->only_with) != NULL;
    return !strstr(c->query, "state=refused") &&
           (!c->id || strlen(c->id) == 64 || r->sql != SQL_RECEIPT_GET) &&
           (!c->id || strlen(c->id) != 64 || r->sql != SQL_REFUSED_GET);
}

static const struct cell *cell_of(const struct route *r)
{
    for (size_t i = 0; i < countof(cells); i++)
        if (is_of(&cells[i], r))
            return &cells[i];
    fail_msg("%s %s has no row in this test", r->method, r->path);
    return NULL;
}

static struct reply ask_cell(struct world *w, const struct cell *c, const char *key)
{
    char path[256];
    const char *id = strstr(c->path, "{id}"), *user = strstr(c->path, "{user_id}"),
               *type = strstr(c->path, "{type}");

    if (type)
        snprintf(path, sizeof(path), "%.*splatform_insights/%s%s", (int)(type - c->path), c->path, c->id,
                 id + 4);
    else if (id)
        snprintf(path, sizeof(path), "%.*s%s%s%s", (int)(id - c->path), c->path, c->id, id + 4, c->query);
    else if (user)
        snprintf(path, sizeof(path), "%.*sanna%s", (int)(user - c->path), c->path,
                 user[strlen("{user_id}")] ? "/tiktok" : "");
    else
        snprintf(path, sizeof(path), "%s%s", c->path, c->query);
    return ask(w, key, c->method, path, c->body);
}

static void expect(struct world *w, const struct cell *c, const char *who, const char *key, long want)
{
    struct reply r = ask_cell(w, c, key);

    if (r.status != want)
        fail_msg("%s %s%s as %s: %ld instead of %ld: %s", c->method, c->path, c->query, who, r.status, want,
                 r.body);
    if (want == 401)
        assert_string_equal(reply_header(w, &r, "www-authenticate"), "Bearer realm=\"settle\"");
    if (key && strlen(key) == APIKEY_CHARS && (strstr(r.body, key + 24) || strstr(r.headers, key + 24)))
        fail_msg("%s %s%s as %s: the answer holds the key", c->method, c->path, c->query, who);
    if (strcmp(who, "bert") == 0 && (strstr(r.body, "post-of-anna") || strstr(r.body, "\"anna\"")))
        fail_msg("%s %s%s shows bert what is anna's: %s", c->method, c->path, c->query, r.body);
}

static void each_route_asks_each_key(void **state)
{
    struct world *w = *state;
    char unknown[KEY_TEXT_BYTES], forged[KEY_TEXT_BYTES], mistyped[KEY_TEXT_BYTES] = "";

    apikey_make(unknown);
    unknown[APIKEY_CHARS] = '\0';
    forge(forged, id_of(keys.operator));
    memcpy(mistyped, keys.read, sizeof(mistyped));
    mistyped[30] = mistyped[30] == '0' ? '1' : '0';
    for (const struct route *r = routes; r < routes + nroutes; r++) {
        const struct cell *c = cell_of(r);
        const char *own = r->scope == SCOPE_READ        ? keys.read
                          : r->scope == SCOPE_WRITE     ? keys.write
                          : r->scope == SCOPE_RECONCILE ? keys.reconcile
                                                        : keys.read;

        expect(w, c, "nobody", NULL, 401);
        expect(w, c, "an empty key", "", 401);
        expect(w, c, "no key", "settle_x", 401);
        expect(w, c, "a mistyped key", mistyped, 401);
        expect(w, c, "an unknown key", unknown, 401);
        expect(w, c, "a key with another secret", forged, 401);
        expect(w, c, "an expired key", keys.expired, 401);
        expect(w, c, "a revoked key", keys.revoked, 401);
        if (r->scope != SCOPE_READ)
            expect(w, c, "anna, to read", keys.read, 403);
        if (r->scope != SCOPE_WRITE)
            expect(w, c, "anna, to write", keys.write, 403);
        if (r->scope != SCOPE_RECONCILE)
            expect(w, c, "anna, to reconcile", keys.reconcile, 403);
        expect(w, c, "bert", keys.bert, c->foreign);
        expect(w, c, "anna", own, c->own);
        expect(w, c, "an operator", keys.operator, c->operator ? c->operator : c->own);
    }
}

/* What was done with tenants' keys, and whose it was. */
#define CHANGES(which)                                                                                       \
    "select count(*) from (select k.user_id_str as by, case l.entity_type when 'publish_log' then "          \
    "(select user_id_str from settle.publish_logs as p where p.id::text = l.entity_id) "                     \
    "else l.entity_id end as whose "                                                                         \
    "from settle.social_sync_ledger as l join settle.api_keys as k on l.actor = 'key:' || k.id "             \
    "where k.user_id_str is not null) as change where " which

/* Random requests by random tenants for random things of any of them. All that is a tenant's bears its name between dashes. */
static void random_requests_leak_nothing(void **state)
{
    static const enum apikey_scope all = SCOPE_READ | SCOPE_WRITE | SCOPE_RECONCILE;
    struct world *w = *state;
    char own[TENANTS][KEY_TEXT_BYTES], ids[TENANTS * POSTS][40], receipts[TENANTS * POSTS][80];
    const char *long_run = getenv("SETTLE_TEST_LONG");
    size_t answered = 0, seen = 0;

    for (size_t t = 0; t < TENANTS; t++) {
        char user[16], scopes[SCOPES_TEXT_BYTES];

        snprintf(user, sizeof(user), "-t%zu-", t);
        apikey_scopes_text(all, scopes);
        take(w, own[t], user, scopes, NULL);
    }
    fill_tenants(w, ids, receipts);
    for (int n = 0; n < (long_run ? REQUESTS_LONG : REQUESTS); n++) {
        size_t t = arc4random_uniform(TENANTS), other = arc4random_uniform(TENANTS * POSTS);
        const struct cell *c = &cells[arc4random_uniform(countof(cells))];
        struct reply r;

        if (strstr(c->path, "override") && arc4random_uniform(50) > 0)
            continue; /* each is a process */
        r = ask_at_random(w, c, own[t], ids[other], receipts[other], other / POSTS);
        assert_true(r.status >= 200 && r.status < 500);
        check_names(t, c, &r);
        answered++;
        seen += r.status == 200 && strstr(r.body, "-t") != NULL;
    }
    assert_true(answered > 500);
    assert_true(seen > answered / 20); /* of their own they see enough */
    assert_true(world_count(w, CHANGES("true")) > 0);
    assert_int_equal(world_count(w, CHANGES("whose is distinct from by")), 0);
}

static void fill_tenants(struct world *w, char ids[TENANTS * POSTS][40], char receipts[TENANTS * POSTS][80])
{
    for (size_t i = 0; i < (size_t)TENANTS * POSTS; i++) {
        snprintf(
            ids[i], 40, "%s",
            world_sql(w,
                      "insert into settle.publish_logs (platform, user_id_str, external_post_id, status) "
                      "values ('tiktok', '-t%zu-', 'post-t%zu-%zu', '%s') returning id",
                      i / POSTS, i / POSTS, i, i % 2 ? "processing" : "pending"));
        snprintf(
            receipts[i], 80, "%s",
            world_sql(
                w,
                "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, "
                "external_post_id, event_status, decisive, received_at, headers, body) "
                "select sha256('post-t%zu-%zu'), 'default', 'tiktok', gen_random_uuid(), 'post-t%zu-%zu', "
                "'published', 1, now(), '', '{\"of\":\"-t%zu-\"}' returning encode(dedup_key, 'hex')",
                i / POSTS, i, i / POSTS, i, i / POSTS));
    }
    world_sql(w, "insert into settle.alerts (id, source, type, category, severity, dedupe_key, user_id_str, "
                 "title, message) "
                 "select gen_random_uuid(), 's', 't', 'SYSTEM_HEALTH', 'LOW', u, u, u, 'm' "
                 "from (select distinct user_id_str from settle.publish_logs) as users (u)");
    for (size_t t = 0; t < TENANTS; t++) {
        char user[16], post[24];

        snprintf(user, sizeof(user), "-t%zu-", t);
        snprintf(post, sizeof(post), "post of -t%zu-", t);
        add_scheduled(w, user, post);
        add_aggregate(w, user, "now()::date - 1");
    }
}

static struct reply ask_at_random(struct world *w, const struct cell *c, const char *key, const char *id,
                                  const char *receipt_id, size_t other)
{
    char path[256], body[256];
    const char *at = strstr(c->path, "{id}"), *user = strstr(c->path, "{user_id}");

    snprintf(path, sizeof(path), "%s", c->path);
    if (strstr(c->path, "{type}"))
        snprintf(path, sizeof(path), "/api/scheduler/tasks/platform_insights/%ld/manual-trigger",
                 strtol(task, NULL, 10) + arc4random_uniform(2 * (TENANTS + 1))); /* anna's two come first */
    else if (at)
        snprintf(path, sizeof(path), "%.*s%s%s", (int)(at - c->path), c->path,
                 arc4random_uniform(2) ? id : receipt_id, at + 4);
    else if (user)
        snprintf(path, sizeof(path), "%.*s-t%zu-%s", (int)(user - c->path), c->path, other,
                 user[strlen("{user_id}")] ? "/tiktok" : "");
    else if (strcmp(c->method, "GET") == 0 && arc4random_uniform(2))
        snprintf(path, sizeof(path), "%s?%s=-t%zu-", c->path,
                 strstr(c->path, "/api/scheduler/") ? "user_id" : "user_id_str", other);
    else if (strcmp(c->method, "GET") == 0)
        snprintf(path, sizeof(path), "%s?%s", c->path,
                 arc4random_uniform(2) ? "platform=tiktok" : "limit=500");
    snprintf(body, sizeof(body),
             "{\"platform\":\"tiktok\",\"user_id_str\":\"-t%zu-\",\"external_post_id\":\"post-t%zu-%d\"}",
             other, other, (int)arc4random_uniform(TENANTS * POSTS));
    if (strcmp(c->path, "/publishing/logs") == 0 && c->body)
        return ask(w, key, c->method, path, body);
    return ask(w, key, c->method, path, c->body);
}

static void check_names(size_t tenant, const struct cell *c, const struct reply *r)
{
    char own[16];

    snprintf(own, sizeof(own), "-t%zu-", tenant);
    for (const char *at = r->body; (at = strstr(at, "-t")); at += 2)
        if (at[2] >= '0' && at[2] <= '9' && at[3] == '-' && strncmp(at, own, strlen(own)) != 0)
            fail_msg("%s %s shows %s of another: %s", c->method, c->path, own, r->body);
}

/* Of jobs the loop, which is everybody's, and its own task; of events its own, and nobody's without their details. */
static void a_dashboard_is_of_one_tenant(void **state)
{
    struct world *w = *state;
    struct reply r;
    json_t *isolation, *event;
    size_t i;

    add_scheduled(w, "bert", "post-of-bert");
    r = ask(w, keys.read, "GET", "/api/scheduler/dashboard", NULL);
    assert_int_equal(r.status, 200);
    isolation = json_object_get(r.json, "user_isolation");
    assert_true(json_is_true(json_object_get(isolation, "enabled")));
    assert_string_equal(json_string_value(json_object_get(isolation, "current_user_id")), "anna");
    assert_int_equal(json_integer_value(json_object_get(r.json, "job_count")), 2);
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(json_object_get(r.json, "jobs"), 1), "id")),
        "platform_insights_bing_anna");
    r = ask(w, keys.read, "GET", "/api/scheduler/event-history", NULL);
    assert_int_equal(json_integer_value(json_object_get(r.json, "total_count")), 3);
    json_array_foreach(json_object_get(r.json, "events"), i, event) {
        bool own = json_is_string(json_object_get(event, "user_id"));

        assert_int_equal(json_is_string(json_object_get(event, "error_message")), own);
        assert_int_equal(json_object_size(json_object_get(event, "event_data")), 0);
    }
    r = ask(w, keys.operator, "GET", "/api/scheduler/dashboard", NULL);
    isolation = json_object_get(r.json, "user_isolation");
    assert_true(json_is_false(json_object_get(isolation, "enabled")));
    assert_true(json_is_null(json_object_get(isolation, "current_user_id")));
    assert_int_equal(json_integer_value(json_object_get(r.json, "job_count")), 8);
}

/* That somebody leads everybody may know; by which process of which machine, and what it failed at, operators alone. */
static void who_leads_is_for_operators(void **state)
{
    struct world *w = *state;
    const char *const of[] = {keys.read, keys.operator};

    world_sql(w,
              "update settle.job_fences set holder = 'host:1:run', lease_until = now() + interval '1 minute' "
              "where name = 'serve'; insert into settle.scheduler_event_logs (event_type, event_data) "
              "values ('start', '{\"holder\":\"host:1:run\"}')");
    for (size_t i = 0; i < countof(of); i++) {
        struct reply r = ask(w, of[i], "GET", "/api/scheduler/dashboard", NULL),
                     health = ask(w, of[i], "GET", "/api/scheduler/health", NULL);
        json_t *block = json_object_get(r.json, "leadership");

        assert_true(json_is_true(json_object_get(block, "is_leader")));
        assert_true(json_is_string(json_object_get(block, "leader_since")));
        assert_int_equal(json_is_string(json_object_get(block, "identity")), of[i] == keys.operator);
        assert_int_equal(strstr(r.body, "host:1:run") != NULL, of[i] == keys.operator);
        assert_int_equal(health.status, 200);
        assert_int_equal(strstr(health.body, "host:1:run") != NULL, of[i] == keys.operator);
    }
}

static long named_by(struct world *w, const char *key)
{
    return world_count(w,
                       "select (select count(*) from settle.job_runs where actor = 'key:%s') * 10 + (select "
                       "count(*) from settle.social_sync_ledger where actor = 'key:%s' and (run_id is null "
                       "or run_id in (select id from settle.job_runs)))",
                       id_of(key), id_of(key));
}

/* A run and an event of the ledger each; a task that is set going is no run. */
static void whoever_repairs_is_named(void **state)
{
    struct world *w = *state;
    char path[128];

    assert_int_equal(
        ask(w, keys.reconcile, "POST", "/api/scheduler/platform-insights/reconcile/anna", NULL).status, 200);
    assert_int_equal(named_by(w, keys.reconcile), 11);
    snprintf(path, sizeof(path), "/api/scheduler/tasks/platform_insights/%s/manual-trigger", task);
    assert_int_equal(ask(w, keys.reconcile, "POST", path, NULL).status, 200);
    assert_int_equal(named_by(w, keys.reconcile), 12);
    assert_int_equal(
        ask(w, keys.operator, "POST", "/api/scheduler/dashboard/cumulative-stats/reconcile", NULL).status,
        200);
    assert_int_equal(
        ask(w, keys.operator, "POST", "/api/scheduler/cleanup-event-logs?days_to_keep=7&dry_run=false", NULL)
            .status,
        200);
    assert_int_equal(named_by(w, keys.operator), 22);
}

static void a_post_of_another_tenant_is_taken(void **state)
{
    struct world *w = *state;
    struct reply r = ask(w, keys.bert, "POST", "/publishing/logs",
                         "{\"platform\":\"tiktok\",\"external_post_id\":\"post-of-anna\"}");

    assert_int_equal(r.status, 409);
    assert_string_equal(cause_of(&r), "post_taken");
    assert_null(strstr(r.body, "anna"));
    r = ask(w, keys.bert, "POST", "/publishing/logs",
            "{\"platform\":\"tiktok\",\"external_post_id\":\"post-of-bert\"}");
    assert_int_equal(r.status, 201);
    assert_string_equal(json_string_value(json_object_get(r.json, "user_id_str")), "bert");
    assert_int_equal(
        world_count(w,
                    "select count(*) from settle.social_sync_ledger where event_type = 'publish_registered' "
                    "and actor = 'key:%s'",
                    id_of(keys.bert)),
        1);
}

static struct reply tell(struct world *w, const char *key, const char *id, const char *json)
{
    char path[128];

    snprintf(path, sizeof(path), "/publishing/logs/%s/result", id);
    return ask(w, key, "POST", path, json);
}

/* Of a post that it names first, a tenant could see no receipt before. */
static void a_word_that_names_its_post_gives_way_to_the_webhook_that_came_before(void **state)
{
    struct world *w = *state;
    char id[64];

    snprintf(id, sizeof(id), "%s",
             world_sql(w, "insert into settle.publish_logs (platform, user_id_str, status) "
                          "values ('tiktok', 'anna', 'processing') returning id"));
    world_sql(
        w, "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id,"
           "  decisive, event_status, happened_at, received_at, headers, body)"
           " values (sha256('x'), 'default', 'tiktok', gen_random_uuid(), 'post-named-now', 1,"
           "  'published', now(), now(), '', '')");
    assert_int_equal(tell(w, keys.write, id,
                          "{\"worker_id\":\"w\",\"status\":\"failed\",\"permanent\":true,"
                          "\"external_post_id\":\"post-named-now\",\"happened_at\":\"2026-01-01T00:00:00Z\"}")
                         .status,
                     200);
    assert_string_equal(
        world_sql(w, "select status, external_post_id from settle.publish_logs where id = '%s'", id),
        "processing|post-named-now");
}

static void a_word_cannot_name_the_post_of_another_tenant(void **state)
{
    struct world *w = *state;
    struct reply r;
    char id[64];

    snprintf(id, sizeof(id), "%s",
             world_sql(w, "insert into settle.publish_logs (platform, user_id_str, status) "
                          "values ('tiktok', 'bert', 'processing') returning id"));
    r = tell(w, keys.bert, id,
             "{\"worker_id\":\"w\",\"status\":\"success\",\"external_post_id\":\"post-of-anna\"}");
    assert_int_equal(r.status, 409);
    assert_string_equal(cause_of(&r), "post_taken");
    assert_null(strstr(r.body, "anna"));
    assert_string_equal(
        world_sql(w, "select status, external_post_id is null from settle.publish_logs where id = '%s'", id),
        "processing|t");
}

static long ledger_scans(struct world *w, const char *kind)
{
    return world_count(
        w, "select %s_scan from pg_stat_user_tables where relid = 'settle.social_sync_ledger'::regclass",
        kind);
}

/* What a policy must see first may keep an index from being used. */
static void a_tenants_publication_is_shown_without_a_walk_of_the_ledger(void **state)
{
    struct world *w = *state;
    const char *body = "{\"platform\":\"tiktok\"}";
    char path[128], url[256], authorization[160];
    const char *const headers[] = {"content-type: application/json", authorization, "idempotency-key: k",
                                   NULL};
    long walked, looked;

    snprintf(url, sizeof(url), "%s/publishing/logs", w->admin_url);
    snprintf(authorization, sizeof(authorization), "authorization: Bearer %s", keys.write);
    snprintf(path, sizeof(path), "/publishing/logs/%s", publication);
    assert_int_equal(world_http(w, "POST", url, headers, span_of(body)).status, 201);
    world_sql(w, "insert into settle.social_sync_ledger (event_type, entity_type, entity_id) "
                 "select 'publish_registered', 'publish_log', gen_random_uuid()::text "
                 "from generate_series(1, 5000)");
    world_sql(w, "analyze settle.social_sync_ledger");
    world_sql(w, "select pg_stat_force_next_flush()"); /* of what this connection has read before */
    walked = ledger_scans(w, "seq");
    looked = ledger_scans(w, "idx");
    assert_int_equal(ask(w, keys.read, "GET", path, NULL).status, 200);
    world_until(10, ledger_scans(w, "idx") + ledger_scans(w, "seq") > looked + walked);
    looked = ledger_scans(w, "idx");
    assert_int_equal(ledger_scans(w, "seq"), walked);
    assert_int_equal(world_http(w, "POST", url, headers, span_of(body)).status, 200);
    world_until(10, ledger_scans(w, "idx") + ledger_scans(w, "seq") > looked + walked);
    assert_int_equal(ledger_scans(w, "seq"), walked);
}

static long receipts_looked_up(struct world *w)
{
    return world_count(
        w, "select idx_scan from pg_stat_user_indexes where indexrelname = 'webhook_receipts_post'");
}

/* Among the receipts of others a tenant's few are not searched for. */
static void a_tenants_receipts_are_listed_without_a_walk_of_all(void **state)
{
    struct world *w = *state;
    struct reply r;
    long before;

    world_sql(w, "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, "
                 "external_post_id, event_status, decisive, received_at, headers, body) "
                 "select sha256(n::text::bytea), 'default', 'tiktok', gen_random_uuid(), 'other-' || n, "
                 "'published', 1, now(), '', '' from generate_series(1, 5000) as n");
    world_sql(w, "analyze settle.webhook_receipts");
    before = receipts_looked_up(w);
    r = ask(w, keys.read, "GET", "/publishing/receipts", NULL);
    assert_int_equal(json_array_size(json_object_get(r.json, "items")), 1);
    assert_null(json_string_value(json_object_get(r.json, "next_cursor")));
    world_until(10, receipts_looked_up(w) > before);
    r = ask(w, keys.read, "GET", "/publishing/receipts?external_post_id=post-of-anna&state=matched", NULL);
    assert_int_equal(json_array_size(json_object_get(r.json, "items")), 1);
    r = ask(w, keys.operator, "GET", "/publishing/receipts?limit=500", NULL);
    assert_int_equal(json_array_size(json_object_get(r.json, "items")), 500);
}

static void lists_hold_what_is_ones_own(void **state)
{
    struct world *w = *state;
    struct reply r;

    world_sql(w, "insert into settle.publish_logs (platform, user_id_str, external_post_id, status) "
                 "select 'tiktok', 'bert', 'b' || n, 'processing' from generate_series(1, 3) as n");
    r = ask(w, keys.bert, "GET", "/publishing/logs", NULL);
    assert_int_equal(json_array_size(json_object_get(r.json, "items")), 3);
    r = ask(w, keys.bert, "GET", "/publishing/logs?status=processing", NULL);
    assert_int_equal(json_array_size(json_object_get(r.json, "items")), 3);
    r = ask(w, keys.read, "GET", "/publishing/receipts", NULL);
    assert_int_equal(json_array_size(json_object_get(r.json, "items")), 1);
    r = ask(w, keys.bert, "GET", "/publishing/receipts", NULL);
    assert_int_equal(json_array_size(json_object_get(r.json, "items")), 0);
    r = ask(w, keys.operator, "GET", "/publishing/logs", NULL);
    assert_int_equal(json_array_size(json_object_get(r.json, "items")), 4);
}

/* Behind thousands of others', and on the same days. */
static void an_export_is_of_one_tenant(void **state)
{
    struct world *w = *state;
    const char *path = "/analytics/export?start_date=2020-01-01&end_date=2024-12-31";
    struct reply r;
    int n = 0;

    world_sql(
        w,
        "insert into settle.daily_aggregates (date, user_id_str, platform, publication_count, success_count, "
        "failed_count, settled_count, webhook_count, cost_total, source_count, source_hash, hash_version) "
        "select date '2024-01-01' - n / 2, case n %% 2 when 0 then 'anna' else 'bert' end, 'youtube', 1, 1, "
        "0, "
        "1, 1, 0.5, 1, 'h', 1 from generate_series(0, 2399) as n");
    r = ask(w, keys.read, "GET", path, NULL);
    for (const char *at = r.body; (at = strstr(at, "\"anna\"")); at++)
        n++;
    assert_int_equal(n, 1200);
    assert_null(strstr(r.body, "bert"));
    r = ask(w, keys.bert, "GET", path, NULL);
    assert_null(strstr(r.body, "anna"));
    r = ask(w, keys.bert, "GET", "/analytics/summary?start_date=2023-12-31&end_date=2024-01-01", NULL);
    assert_string_equal(json_string_value(json_object_get(
                            json_array_get(json_object_get(r.json, "by_platform"), 0), "cost_total")),
                        "1.00");
    r = ask(
        w, keys.bert, "POST", "/analytics/costs",
        "{\"records\":[{\"timestamp\":\"2020-01-01T00:00:00Z\",\"cost\":\"1\",\"idempotency_key\":\"k\"}]}");
    assert_string_equal(cause_of(&r), "cost_out_of_time"); /* whose it is, the key tells */
}

static void a_key_rotates(void **state)
{
    struct world *w = *state;
    struct outcome o = world_wait(
        w, world_spawn(w, "settle-reconciler", "keys", "rotate", id_of(keys.read), "--json", NULL));
    const char *next = json_string_value(json_object_get(o.json, "key"));
    char second[KEY_TEXT_BYTES];

    assert_int_equal(o.status, 0);
    assert_int_equal(ask(w, keys.read, "GET", "/publishing/logs", NULL).status, 200);
    assert_int_equal(ask(w, next, "GET", "/publishing/logs", NULL).status, 200);
    memcpy(second, next, sizeof(second));
    o = world_wait(w, world_spawn(w, "settle-reconciler", "keys", "rotate", id_of(second), "--json",
                                  "--grace-hours=0", NULL));
    next = json_string_value(json_object_get(o.json, "key"));
    assert_int_equal(ask(w, second, "GET", "/publishing/logs", NULL).status, 401);
    assert_int_equal(ask(w, next, "GET", "/publishing/logs", NULL).status, 200);
    o = world_wait(w, world_spawn(w, "settle-reconciler", "keys", "rotate", id_of(second), NULL));
    assert_int_equal(o.status, 65); /* its time is over */
    assert_int_equal(
        world_count(w, "select count(*) from settle.api_keys where replaces = '%s' and user_id_str = 'anna'",
                    id_of(keys.read)),
        1);
}

static void its_last_use_is_known(void **state)
{
    struct world *w = *state;
    struct outcome o;
    size_t used = 0, good = 0;
    char used_key[64], fresh[KEY_TEXT_BYTES];
    json_t *key;
    size_t i;

    take(w, fresh, "anna", "read", NULL); /* it is noted once a minute: one that nobody has used yet */
    ask(w, fresh, "GET", "/publishing/logs", NULL);
    snprintf(used_key, sizeof(used_key), "settle:key:used:%s", id_of(fresh));
    world_until(10, strtoll(world_redis(w, "GET", used_key, NULL), NULL, 10) > 0);
    o = world_wait(w, world_spawn(w, "settle-reconciler", "keys", "list", "--user=anna", "--json", NULL));
    assert_int_equal(o.status, 0);
    assert_int_equal(json_array_size(o.json), 6);
    json_array_foreach(o.json, i, key) {
        good += json_is_true(json_object_get(key, "in_force"));
        if (json_is_string(json_object_get(key, "last_used_at"))) {
            used++;
            assert_string_equal(json_string_value(json_object_get(key, "id")), id_of(fresh));
        }
    }
    assert_int_equal(used, 1);
    assert_int_equal(good, 4);
    assert_null(strstr(o.out, fresh + 24)); /* the secret */
}

static bool is_written_down(struct world *w, const char *folder, const char *text)
{
    char path[128];
    struct outcome o;

    snprintf(path, sizeof(path), "%s/%s", w->dir, folder);
    o = world_wait(w, world_spawn(w, "grep", "-rlaF", "--exclude=out.*", "-e", text, path, NULL));
    if (o.status == 0)
        print_message("%.16s... stands in %s", text, o.out);
    assert_in_range(o.status, 0, 1);
    return o.status == 0;
}

/* In no file of the programs and their servers, logs of all statements among them, but in what keys create has printed. */
static void no_secret_is_written_down(void **state)
{
    struct world *w = *state;
    char mistyped[KEY_TEXT_BYTES], forged[KEY_TEXT_BYTES];
    const char *const used[] = {keys.read, keys.expired, keys.revoked, keys.operator, mistyped, forged};

    memcpy(mistyped, keys.write, sizeof(mistyped));
    mistyped[APIKEY_CHARS - 1] = mistyped[APIKEY_CHARS - 1] == '0' ? '1' : '0';
    forge(forged, id_of(keys.read));
    world_sql(w, "alter system set log_statement = 'all'");
    world_sql(w, "select pg_reload_conf()");
    world_until(20, is_written_down(w, "postgres/log", id_of(keys.read)))
        ask(w, keys.read, "GET", "/publishing/logs", NULL);
    for (size_t i = 0; i < countof(used); i++) {
        ask(w, used[i], "GET", "/publishing/logs", NULL);
        ask(w, used[i], "GET", "/publishing/logs?limit=x", NULL);
        ask(w, used[i], "POST", "/publishing/logs", "{\"platform\":\"tiktok\"}");
    }
    world_sql(w, "alter system reset log_statement");
    world_sql(w, "select pg_reload_conf()");
    world_sql(w, "checkpoint");
    world_redis(w, "SAVE", NULL);
    for (size_t i = 0; i < countof(used); i++) {
        char secret[65];

        snprintf(secret, sizeof(secret), "%.64s", used[i] + 24);
        assert_false(is_written_down(w, "", secret));
    }
}

static void a_key_that_asks_too_often_waits(void **state)
{
    struct world *w = *state;
    struct reply r;
    bool limited = false;

    setenv("SETTLE_ADMIN_REQUESTS_PER_MINUTE", "60", 1);
    world_gateway_stop(w);
    world_gateway(w, NULL);
    for (int i = 0; i < 50 && !limited; i++) {
        r = ask(w, keys.read, "GET", "/publishing/logs", NULL);
        limited = r.status == 429;
    }
    assert_true(limited);
    assert_string_equal(cause_of(&r), "key_rate_limited");
    assert_true(strtol(reply_header(w, &r, "retry-after"), NULL, 10) > 0);
    assert_int_equal(ask(w, keys.bert, "GET", "/publishing/logs", NULL).status, 200);
    unsetenv("SETTLE_ADMIN_REQUESTS_PER_MINUTE");
    world_gateway_stop(w);
    world_gateway(w, NULL);
}

static void a_key_that_cannot_be_printed_is_told_of(void **state)
{
    struct world *w = *state;
    char command[160];
    struct outcome o;

    snprintf(command, sizeof(command), "exec settle-reconciler keys rotate %s > /dev/full", id_of(keys.read));
    o = world_wait(w, world_spawn(w, "sh", "-c", command, NULL));
    assert_int_equal(o.status, 70);
}

static void what_cannot_be_made(void **state)
{
    static const char *const wrong[][4] = {
        {"create", "--name=x",         "--scopes=read",  NULL         },
        {"create", "--name=x",         "--scopes=admin", "--user=anna"},
        {"create", "--name=x",         "--user=anna",    NULL         },
        {"create", "--scopes=read",    "--user=anna",    NULL         },
        {"create", "--name=x",         "--scopes=root",  "--user=anna"},
        {"revoke", "xyz",              NULL,             NULL         },
        {"revoke", NULL,               NULL,             NULL         },
        {"list",   "0123456789abcdef", NULL,             NULL         },
        {"frob",   NULL,               NULL,             NULL         },
    };
    struct world *w = *state;

    for (size_t i = 0; i < countof(wrong); i++)
        assert_int_equal(world_wait(w, world_spawn(w, "settle-reconciler", "keys", wrong[i][0], wrong[i][1],
                                                   wrong[i][2], wrong[i][3], NULL))
                             .status,
                         64);
    assert_int_equal(
        world_wait(w, world_spawn(w, "settle-reconciler", "keys", "revoke", "0123456789abcdef", NULL)).status,
        65);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(each_route_asks_each_key, reset),
        cmocka_unit_test_setup(random_requests_leak_nothing, reset),
        cmocka_unit_test_setup(a_dashboard_is_of_one_tenant, reset),
        cmocka_unit_test_setup(who_leads_is_for_operators, reset),
        cmocka_unit_test_setup(whoever_repairs_is_named, reset),
        cmocka_unit_test_setup(a_post_of_another_tenant_is_taken, reset),
        cmocka_unit_test_setup(a_word_that_names_its_post_gives_way_to_the_webhook_that_came_before, reset),
        cmocka_unit_test_setup(a_word_cannot_name_the_post_of_another_tenant, reset),
        cmocka_unit_test_setup(a_tenants_publication_is_shown_without_a_walk_of_the_ledger, reset),
        cmocka_unit_test_setup(a_tenants_receipts_are_listed_without_a_walk_of_all, reset),
        cmocka_unit_test_setup(lists_hold_what_is_ones_own, reset),
        cmocka_unit_test_setup(an_export_is_of_one_tenant, reset),
        cmocka_unit_test_setup(a_key_rotates, reset),
        cmocka_unit_test_setup(its_last_use_is_known, reset),
        cmocka_unit_test_setup(no_secret_is_written_down, reset),
        cmocka_unit_test_setup(a_key_that_asks_too_often_waits, reset),
        cmocka_unit_test_setup(a_key_that_cannot_be_printed_is_told_of, reset),
        cmocka_unit_test_setup(what_cannot_be_made, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
