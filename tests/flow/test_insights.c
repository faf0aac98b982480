/* A tenant's insights tasks: shown by a GET that writes nothing, made by a POST that many may send at once. */
#include "support/world.h"

#include <stdio.h>
#include <string.h>

#include <curl/curl.h>

enum { CALLERS = 50 };

#define STATUS    "/api/scheduler/platform-insights/status/anna"
#define RECONCILE "/api/scheduler/platform-insights/reconcile/anna"

static int up(void **state)
{
    struct world *w = *state = world_open();

    world_gateway(w, NULL); /* is ready when webhooks are taken: the API may not be */
    world_until(60, world_api(w, "GET", STATUS, NULL).status == 200 &&
                        world_api(w, "POST", RECONCILE, NULL).status == 200);
    return 0;
}

static int down(void **state)
{
    world_close(*state);
    return 0;
}

static int reset(void **state)
{
    world_reset(*state);
    return 0;
}

static void connect_platform(struct world *w, const char *platform, const char *expires)
{
    world_sql(
        w,
        "insert into settle.platform_connections (user_id_str, platform, account, connected, expires_at) "
        "values ('anna', '%s', 'default', true, now() + interval '%s')",
        platform, expires);
}

/* The names of an object's members, one behind the other. */
static const char *names_of(json_t *object)
{
    static char names[512];
    const char *name;
    json_t *value;

    names[0] = '\0';
    json_object_foreach(object, name, value)
        snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s ", name);
    return names;
}

static long made(const struct reply *r, const char *list)
{
    return (long)json_array_size(json_object_get(r->json, list));
}

static void a_gap_is_seen_and_closed(void **state)
{
    struct world *w = *state;
    struct reply r;
    json_t *task;

    connect_platform(w, "gsc", "1 day");
    connect_platform(w, "tiktok", "1 day"); /* of no interest here */
    r = world_api(w, "GET", STATUS, NULL);
    assert_int_equal(r.status, 200);
    assert_string_equal(names_of(r.json),
                        "tasks total_tasks active_tasks paused_tasks failed_tasks last_updated ");
    assert_int_equal(world_count(w, "select count(*) from settle.platform_insights_tasks"), 0);

    r = world_api(w, "POST", RECONCILE, NULL);
    assert_int_equal(r.status, 200);
    assert_string_equal(
        names_of(r.json),
        "success user_id connected_insights_platforms created_platforms skipped_platforms failures "
        "auditable reconciled_at ");
    assert_true(json_is_true(json_object_get(r.json, "success")));
    assert_string_equal(json_string_value(json_array_get(json_object_get(r.json, "created_platforms"), 0)),
                        "gsc");
    assert_int_equal(made(&r, "connected_insights_platforms"), 1);

    r = world_api(w, "GET", STATUS, NULL);
    assert_int_equal(json_integer_value(json_object_get(r.json, "active_tasks")), 1);
    task = json_array_get(json_object_get(r.json, "tasks"), 0);
    assert_string_equal(
        names_of(task),
        "id platform site_url status last_check last_success last_failure failure_reason next_check "
        "created_at updated_at metadata ");
    assert_int_equal(
        world_count(
            w, "select count(*) from settle.platform_insights_tasks "
               "where next_check between now() + interval '6 days 23 hours' and now() + interval '7 days'"),
        1);

    r = world_api(w, "POST", RECONCILE, NULL); /* again: it is there, which is no error */
    assert_true(json_is_true(json_object_get(r.json, "success")));
    assert_int_equal(made(&r, "created_platforms") + made(&r, "skipped_platforms"), 0);
    assert_int_equal(
        world_count(w, "select count(*) from settle.job_runs where job_name = 'insights_reconcile' and "
                       "user_id_str = 'anna' and actor = 'local' and status = 'success'"),
        2);
    assert_int_equal(
        world_count(w, "select count(*) from settle.social_sync_ledger as l join settle.job_runs as r "
                       "on r.id = l.run_id where event_type = 'insights_tasks_reconciled' and "
                       "l.metadata -> 'created_platforms' = r.report -> 'created_platforms'"),
        2);
}

static void an_expired_connection_is_a_failure(void **state)
{
    struct world *w = *state;
    struct reply r;

    connect_platform(w, "gsc", "-1 minute");
    connect_platform(w, "bing", "1 day");
    r = world_api(w, "POST", RECONCILE, NULL);
    assert_int_equal(r.status, 200);
    assert_true(json_is_false(json_object_get(r.json, "success")));
    assert_int_equal(made(&r, "failures"), 1);
    assert_string_equal(json_string_value(json_object_get(
                            json_array_get(json_object_get(r.json, "failures"), 0), "platform")),
                        "gsc");
    assert_string_equal(json_string_value(json_array_get(json_object_get(r.json, "created_platforms"), 0)),
                        "bing");
    assert_int_equal(world_count(w, "select count(*) from settle.job_runs where status = 'failed' and "
                                    "report -> 'failures' <> '[]'"),
                     1);
}

/* Of anna's tasks one waits for a person. */
static void a_person_sets_a_task_going(void **state)
{
    struct world *w = *state;
    long id = world_count(w, "insert into settle.platform_insights_tasks (user_id, platform, status, "
                             "consecutive_failures, cool_off_until) values ('anna', 'gsc', "
                             "'needs_intervention', 3, now() + interval '7 days') returning id");
    char path[128];
    struct reply r;

    snprintf(path, sizeof(path), "/api/scheduler/tasks/platform_insights/%ld/manual-trigger", id);
    r = world_api(w, "POST", path, NULL);
    assert_int_equal(r.status, 200);
    assert_string_equal(names_of(r.json),
                        "success task_type task_id platform status next_check changed auditable ");
    assert_true(json_is_true(json_object_get(r.json, "changed")));
    assert_int_equal(
        world_count(w, "select count(*) from settle.platform_insights_tasks where status = 'active' "
                       "and consecutive_failures = 0 and cool_off_until is null and next_check <= now()"),
        1);
    r = world_api(w, "POST", path, NULL);
    assert_int_equal(r.status, 200);
    assert_true(json_is_false(json_object_get(r.json, "changed")));
    assert_int_equal(world_count(w, "select count(*) from settle.social_sync_ledger where event_type = "
                                    "'task_triggered' and actor = 'local'"),
                     2);

    snprintf(path, sizeof(path), "/api/scheduler/tasks/strategy/%ld/manual-trigger", id);
    r = world_api(w, "POST", path, NULL);
    assert_int_equal(r.status, 400);
    assert_non_null(strstr(r.body, "unknown_task_type"));
    assert_int_equal(
        world_api(w, "POST", "/api/scheduler/tasks/platform_insights/999999/manual-trigger", NULL).status,
        404);
    assert_int_equal(
        world_api(w, "POST", "/api/scheduler/tasks/platform_insights/x/manual-trigger", NULL).status, 404);
}

static size_t drop_body(const void *data, size_t size, size_t n, void *ctx)
{
    (void)data, (void)ctx;
    return size * n;
}

static void of_fifty_at_once_one_makes_each(void **state)
{
    struct world *w = *state;
    CURLM *multi = curl_multi_init();
    CURL *easy[CALLERS];
    struct curl_slist *headers = curl_slist_append(NULL, "content-type: application/json");
    char url[256];
    int running = 1;
    unsigned done = 0;

    connect_platform(w, "gsc", "1 day");
    connect_platform(w, "bing", "1 day");
    snprintf(url, sizeof(url), "%s" RECONCILE, w->admin_url);
    for (size_t i = 0; i < CALLERS; i++) {
        easy[i] = curl_easy_init();
        curl_easy_setopt(easy[i], CURLOPT_URL, url);
        curl_easy_setopt(easy[i], CURLOPT_NOPROXY, "*");
        curl_easy_setopt(easy[i], CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(easy[i], CURLOPT_POSTFIELDS, "");
        curl_easy_setopt(easy[i], CURLOPT_WRITEFUNCTION, drop_body);
        curl_multi_add_handle(multi, easy[i]);
    }
    world_until(30, running == 0)
    {
        curl_multi_perform(multi, &running);
        curl_multi_poll(multi, NULL, 0, 10, NULL);
    }
    for (size_t i = 0; i < CALLERS; i++) {
        long status;

        curl_easy_getinfo(easy[i], CURLINFO_RESPONSE_CODE, &status);
        if (status != 200 && (status != 503 || world_times_count()))
            fail_msg("one was told %ld", status);
        done += status == 200; /* the others would have waited for a connection for too long */
        curl_multi_remove_handle(multi, easy[i]);
        curl_easy_cleanup(easy[i]);
    }
    curl_multi_cleanup(multi);
    curl_slist_free_all(headers);
    assert_int_equal(
        world_count(w, "select count(*) from settle.platform_insights_tasks where user_id = 'anna'"), 2);
    assert_int_equal(
        world_count(w, "select sum(jsonb_array_length(report -> 'created_platforms')) from settle.job_runs"),
        2);
    assert_true(done > 0);
    assert_in_range(world_count(w, "select count(*) from settle.job_runs where status = 'success'"), done,
                    CALLERS);
}

/* Two whose statements began before either had ended: the slower one skips. */
static void the_loser_sees_it_skipped(void **state)
{
    struct world *w = *state;
    struct process p;
    struct outcome o;
    char url[256];
    json_t *skipped;

    connect_platform(w, "gsc", "1 day");
    snprintf(url, sizeof(url), "%s" RECONCILE, w->admin_url);
    /* The first stands in a transaction of psql's that is held open until the second waits for it. */
    p = world_spawn(
        w, "psql", "-XqAt", w->database_url, "-U", "postgres", "-c",
        "begin; insert into settle.platform_insights_tasks (user_id, platform) values ('anna', 'gsc'); "
        "do $$ begin for i in 1 .. 1000 loop exit when exists (select from pg_stat_activity where "
        "wait_event_type = 'Lock' and usename = 'settle_api'); perform pg_stat_clear_snapshot(); "
        "perform pg_sleep(0.01); end loop; end $$; commit",
        NULL);
    world_until(10,
                world_count(w, "select count(*) from pg_stat_activity where wait_event = 'PgSleep'") == 1);
    o = world_wait(w, world_spawn(w, "curl", "-s", "--noproxy", "*", "-XPOST",
                                  "-Hcontent-type: application/json", url, NULL));
    assert_int_equal(world_wait(w, p).status, 0);
    skipped = json_object_get(o.json, "skipped_platforms");
    assert_int_equal(json_array_size(skipped), 1);
    assert_true(json_is_true(json_object_get(o.json, "success")));
    assert_int_equal(json_array_size(json_object_get(o.json, "created_platforms")), 0);
}

static void an_alert_is_closed_once(void **state)
{
    struct world *w = *state;
    const char *id = world_sql(
        w, "insert into settle.alerts (id, source, type, category, severity, dedupe_key, title, message) "
           "values (gen_random_uuid(), 's', 'DRIFT', 'SYSTEM_HEALTH', 'HIGH', 'k', 't', 'm') returning id");
    struct reply r = world_api(w, "GET", "/alerts/stats", NULL);
    char path[128];

    assert_int_equal(json_integer_value(json_object_get(r.json, "open")), 1);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(r.json, "open_by_severity"), "HIGH")),
                     1);
    snprintf(path, sizeof(path), "/alerts/%s/resolve", id);
    r = world_api(w, "PUT", path, "{\"notes\":\"mended\"}");
    assert_int_equal(r.status, 200);
    assert_string_equal(json_string_value(json_object_get(r.json, "status")), "RESOLVED");
    r = world_api(w, "PUT", path, "{\"notes\":\"again\"}");
    assert_int_equal(r.status, 200);
    assert_string_equal(json_string_value(json_object_get(r.json, "resolution_notes")), "mended");
    assert_int_equal(
        world_count(w, "select count(*) from settle.social_sync_ledger where event_type = 'alert_resolved'"),
        1);
    assert_int_equal(world_api(w, "PUT", "/alerts/01a20074-8f5a-76e1-94b4-5e99b65e7f06/resolve", "{}").status,
                     404);
    r = world_api(w, "GET", "/alerts/stats", NULL);
    assert_int_equal(json_integer_value(json_object_get(r.json, "resolved")), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_gap_is_seen_and_closed, reset),
        cmocka_unit_test_setup(an_expired_connection_is_a_failure, reset),
        cmocka_unit_test_setup(a_person_sets_a_task_going, reset),
        cmocka_unit_test_setup(of_fifty_at_once_one_makes_each, reset),
        cmocka_unit_test_setup(the_loser_sees_it_skipped, reset),
        cmocka_unit_test_setup(an_alert_is_closed_once, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
