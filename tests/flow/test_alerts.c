/* Alerts of rules: each opens once for whom it holds, is counted while it does, and ends by itself; a person may end it sooner; a
 * tenant sees its own alone, and Prometheus sees how many. */
#include "support/world.h"

#include "domain/apikey.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_BYTES = APIKEY_CHARS + 1, TENANTS = 300, TENANTS_LONG = 5000 };

#define RECONCILE "/api/scheduler/platform-insights/reconcile/anna"
#define REPAIR    "/api/scheduler/dashboard/cumulative-stats/reconcile"

static struct {
    char anna[KEY_BYTES], bert[KEY_BYTES], operator[KEY_BYTES];
} keys;

static void take(struct world *w, char room[KEY_BYTES], const char *user, const char *scopes)
{
    char named[64];
    struct outcome o;
    const char *key;

    snprintf(named, sizeof(named), "--user=%s", user ? user : "");
    o = world_wait(w, world_spawn(w, "settle-reconciler", "keys", "create", "--json", "--name=of the tests",
                                  "--scopes", scopes, user ? named : "--actor=tests", NULL));
    assert_int_equal(o.status, 0);
    key = json_string_value(json_object_get(o.json, "key"));
    assert_non_null(key);
    snprintf(room, KEY_BYTES, "%s", key);
}

static int up(void **state)
{
    struct world *w = *state = world_open();

    setenv("SETTLE_ADMIN_KEYS_REQUIRED", "true", 1);
    take(w, keys.anna, "anna", "read,write,reconcile");
    take(w, keys.bert, "bert", "read,write,reconcile");
    take(w, keys.operator, NULL, "admin");
    world_sql(w, "create table public.made_keys as select * from settle.api_keys");
    return world_gateway(w, NULL);
}

static int down(void **state)
{
    world_close(*state);
    return 0;
}

static int reset(void **state)
{
    struct world *w = *state;

    world_reset(w);
    world_sql(w, "insert into settle.api_keys select * from public.made_keys");
    unsetenv("SETTLE_RECONCILE_BATCH_SIZE");
    return 0;
}

static struct reply ask(struct world *w, const char *key, const char *method, const char *path,
                        const char *json)
{
    char url[512], authorization[160];
    const char *headers[3] = {"content-type: application/json", authorization, NULL};

    snprintf(url, sizeof(url), "%s%s", w->admin_url, path);
    snprintf(authorization, sizeof(authorization), "authorization: Bearer %s", key);
    return world_http(w, method, url, headers, json ? span_of(json) : SPAN_NONE);
}

static void post(struct world *w, const char *key, const char *path)
{
    struct reply r = ask(w, key, "POST", path, NULL);

    if (r.status != 200)
        fail_msg("POST %s: %ld %s", path, r.status, r.body);
}

/* alerts or stats, to its good end. */
static struct outcome job(struct world *w, const char *command)
{
    struct outcome o = world_wait(w, world_spawn(w, "settle-reconciler", command, "--json", NULL));

    if (o.status != 0 || !o.json)
        fail_msg("%s: exit %d: %s%s", command, o.status, o.out, o.err);
    return o;
}

/* Of what the newest run of alerts, which is o, says of a rule. */
static long told(const struct outcome *o, const char *rule, const char *count)
{
    size_t i;
    json_t *one;

    json_array_foreach(json_object_get(o->json, "rules"), i, one)
        if (strcmp(json_string_value(json_object_get(one, "rule")), rule) == 0)
            return (long)json_integer_value(json_object_get(one, count));
    fail_msg("no rule %s in %s", rule, o->out);
    return -1;
}

/* All alerts: "type subject status occurrences", a line each. */
static const char *alerts(struct world *w)
{
    return world_sql(w, "select concat_ws(' ', type, subject_id, status, occurrences) from settle.alerts "
                        "order by type, subject_id, created_at");
}

static void connect_platform(struct world *w, const char *user, const char *platform, const char *expires)
{
    world_sql(
        w,
        "insert into settle.platform_connections (user_id_str, platform, account, connected, expires_at) "
        "values ('%s', '%s', 'default', true, now() + interval '%s')",
        user, platform, expires);
}

static long events(struct world *w, const char *type)
{
    return world_count(
        w,
        "select count(*) from settle.social_sync_ledger where event_type = '%s' and entity_id in "
        "(select id::text from settle.alerts)",
        type);
}

/* ---- Rules. ---- */

static void a_repair_that_fails_rings_until_one_does_not(void **state)
{
    struct world *w = *state;
    struct outcome o;

    connect_platform(w, "anna", "gsc", "-1 minute");
    connect_platform(w, "bert", "gsc", "1 day");
    post(w, keys.anna, RECONCILE);
    post(w, keys.operator, "/api/scheduler/platform-insights/reconcile/bert");
    o = job(w, "alerts");
    assert_int_equal(told(&o, "insights_reconcile_failed", "opened"), 1);
    assert_string_equal(alerts(w), "insights_reconcile_failed anna OPEN 1");
    assert_string_equal(
        world_sql(
            w, "select user_id_str, severity, payload -> 'failures' -> 0 ->> 'platform' from settle.alerts"),
        "anna|MEDIUM|gsc");
    o = job(w, "alerts");
    assert_int_equal(told(&o, "insights_reconcile_failed", "again"), 1);
    assert_string_equal(alerts(w), "insights_reconcile_failed anna OPEN 2");

    world_sql(w, "update settle.platform_connections set expires_at = now() + interval '1 day'");
    post(w, keys.anna, RECONCILE);
    o = job(w, "alerts");
    assert_int_equal(told(&o, "insights_reconcile_failed", "resolved"), 1);
    assert_string_equal(alerts(w), "insights_reconcile_failed anna RESOLVED 2");
    assert_string_equal(world_sql(w, "select resolved_by, resolved_at >= last_seen_at from settle.alerts"),
                        "settle-reconciler|t");
    assert_int_equal(events(w, "alert_opened"), 1);
    assert_int_equal(events(w, "alert_resolved"), 1);
    assert_string_equal(
        world_sql(w, "select count(*), count(*) filter (where status = 'success') from settle.job_runs "
                     "where job_name = 'alerts'"),
        "3|3");
}

static void three_repairs_in_an_hour_ring(void **state)
{
    struct world *w = *state;

    for (int i = 0; i < 2; i++)
        post(w, keys.anna, RECONCILE);
    job(w, "alerts");
    assert_string_equal(alerts(w), "");
    post(w, keys.anna, RECONCILE);
    world_sql(w, "update settle.job_runs set report = report || '{\"skipped_platforms\": [\"gsc\"]}' "
                 "where id = (select id from settle.job_runs where job_name = 'insights_reconcile' limit 1)");
    job(w, "alerts");
    assert_string_equal(alerts(w), "insights_reconcile_repeated anna OPEN 1");
    assert_string_equal(
        world_sql(w, "select payload -> 'runs', payload -> 'runs_with_skips' from settle.alerts"), "3|1");
    world_sql(w, "update settle.job_runs set started_at = started_at - interval '1 hour' "
                 "where id = (select id from settle.job_runs where job_name = 'insights_reconcile' limit 1)");
    job(w, "alerts");
    assert_string_equal(alerts(w), "insights_reconcile_repeated anna RESOLVED 1");
}

/* Both measured by stats, which keeps since when; alerts goes by that. */
static void a_gap_rings_when_it_was_seen_for_half_an_hour(void **state)
{
    struct world *w = *state;
    struct outcome o;

    connect_platform(w, "anna", "gsc", "1 day");
    connect_platform(w, "anna", "bing", "1 day");
    connect_platform(w, "anna", "tiktok", "1 day"); /* of no interest here */
    connect_platform(w, "bert", "gsc", "1 day");
    world_sql(w,
              "insert into settle.platform_insights_tasks (user_id, platform, status) values "
              "('anna', 'gsc', 'active'), ('anna', 'bing', 'needs_intervention'), ('bert', 'gsc', 'active')");
    o = job(w, "stats");
    assert_int_equal(json_integer_value(json_object_get(o.json, "tenants")), 2);
    assert_int_equal(json_integer_value(json_object_get(o.json, "tenants_without_active_task")), 1);
    assert_string_equal(
        world_sql(w, "select user_id_str, connected, active, since = seen_at from settle.insights_gaps"),
        "anna|2|1|t");
    world_sql(w, "update settle.insights_gaps set since = since - interval '31 minutes'");
    job(w, "alerts");
    assert_string_equal(world_sql(w, "select count(*) from settle.alerts where status = 'OPEN'"), "1");
    world_sql(w, "delete from settle.alerts; "
                 "update settle.insights_gaps set since = now() - interval '29 minutes', seen_at = now()");
    job(w, "stats");
    job(w, "alerts");
    assert_string_equal(alerts(w), "");
    assert_string_equal(
        world_sql(w, "select seen_at - since > interval '29 minutes' from settle.insights_gaps"), "t");
    world_sql(w, "update settle.insights_gaps set since = now() - interval '30 minutes 1 second'");
    job(w, "stats"); /* keeps since when */
    job(w, "alerts");
    assert_string_equal(alerts(w), "insights_coverage anna OPEN 1");

    world_sql(w, "update settle.platform_insights_tasks set status = 'active'");
    job(w, "stats");
    assert_string_equal(world_sql(w, "select * from settle.insights_gaps"), "");
    job(w, "alerts");
    assert_string_equal(alerts(w), "insights_coverage anna RESOLVED 1");
    world_sql(w, "update settle.platform_insights_tasks set status = 'paused'; "
                 "update settle.alerts set resolved_at = now() - interval '1 hour'");
    job(w, "stats"); /* it is not the gap of before */
    job(w, "alerts");
    assert_string_equal(alerts(w), "insights_coverage anna RESOLVED 1");
}

static void set_total(struct world *w, int cycles)
{
    world_sql(w, "update settle.scheduler_cumulative_stats set total_check_cycles = %d", cycles);
}

static void totals_that_drift_ring_after_ten_minutes(void **state)
{
    struct world *w = *state;
    struct process p;
    struct outcome o;

    world_sql(w,
              "insert into settle.scheduler_event_logs (event_type, tasks_found) values ('check_cycle', 3), "
              "('check_cycle', 4), ('job_completed', null)");
    o = job(w, "stats");
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(o.json, "drift"), "total_check_cycles")), 0);
    set_total(w, 1);
    job(w, "stats");
    assert_string_equal(
        world_sql(w, "select check_cycles, drifted_since is null from settle.scheduler_drift"), "-1|t");
    set_total(w, 0);
    p = world_spawn(w, "settle-reconciler", "stats", "--json", NULL);
    assert_int_equal(world_wait(w, p).status, 0);
    assert_true(world_said(w, p, "stats_drift"));
    assert_string_equal(
        world_sql(w, "select check_cycles, drifted_since = measured_at from settle.scheduler_drift"), "-2|t");
    world_sql(
        w,
        "update settle.scheduler_drift set drifted_since = drifted_since - interval '9 minutes 30 seconds'");
    job(w, "alerts");
    assert_string_equal(alerts(w), "");
    world_sql(w, "update settle.scheduler_drift set drifted_since = drifted_since - interval '1 minute'");
    job(w, "stats"); /* keeps since when */
    job(w, "alerts");
    assert_string_equal(alerts(w), "scheduler_stats_drift 1 OPEN 1");
    assert_string_equal(world_sql(w, "select user_id_str is null, category, payload -> 'total_check_cycles' "
                                     "from settle.alerts"),
                        "t|DATA_QUALITY|-2");

    post(w, keys.operator, REPAIR);
    job(w, "stats");
    assert_string_equal(
        world_sql(w, "select check_cycles, drifted_since is null from settle.scheduler_drift"), "0|t");
    job(w, "alerts");
    assert_string_equal(alerts(w), "scheduler_stats_drift 1 RESOLVED 1");
}

/* ---- Who sees them, and who ends them. ---- */

/* anna's, of a repair that failed; and nobody's, of the totals. */
static void open_two(struct world *w)
{
    connect_platform(w, "anna", "gsc", "-1 minute");
    post(w, keys.anna, RECONCILE);
    set_total(w, 7);
    job(w, "stats");
    world_sql(w, "update settle.scheduler_drift set drifted_since = drifted_since - interval '10 minutes'");
    job(w, "alerts");
    assert_int_equal(world_count(w, "select count(*) from settle.alerts where status = 'OPEN'"), 2);
}

static size_t seen(struct world *w, const char *key, const char *query)
{
    char path[128];
    struct reply r;

    snprintf(path, sizeof(path), "/alerts%s", query);
    r = ask(w, key, "GET", path, NULL);
    assert_int_equal(r.status, 200);
    return json_array_size(json_object_get(r.json, "items"));
}

static long counted(struct world *w, const char *key, const char *count)
{
    struct reply r = ask(w, key, "GET", "/alerts/stats", NULL);

    assert_int_equal(r.status, 200);
    return (long)json_integer_value(json_object_get(r.json, count));
}

static void a_tenant_sees_its_own(void **state)
{
    struct world *w = *state;
    const char *id;
    char path[128];

    open_two(w);
    assert_int_equal(seen(w, keys.operator, ""), 2);
    assert_int_equal(seen(w, keys.operator, "?status=OPEN&type=scheduler_stats_drift"), 1);
    assert_int_equal(seen(w, keys.operator, "?status=RESOLVED"), 0);
    assert_int_equal(seen(w, keys.operator, "?limit=1"), 1);
    assert_int_equal(seen(w, keys.anna, ""), 1);
    assert_int_equal(seen(w, keys.anna, "?type=scheduler_stats_drift"), 0);
    assert_int_equal(counted(w, keys.anna, "open"), 1);
    assert_int_equal(seen(w, keys.bert, ""), 0);
    assert_int_equal(counted(w, keys.bert, "total"), 0);
    assert_int_equal(counted(w, keys.operator, "total"), 2);
    assert_int_equal(ask(w, keys.bert, "GET", "/alerts?limit=501", NULL).status, 422);

    id = world_sql(w, "select id from settle.alerts where user_id_str = 'anna'");
    snprintf(path, sizeof(path), "/alerts/%s/resolve", id);
    assert_int_equal(ask(w, keys.anna, "PUT", path, "{}").status, 403);
    assert_int_equal(ask(w, keys.bert, "PUT", path, "{}").status, 403);
    assert_int_equal(world_count(w, "select count(*) from settle.alerts where status = 'OPEN'"), 2);
}

static void a_person_ends_one_and_is_named(void **state)
{
    struct world *w = *state;
    struct reply r;
    struct outcome o;
    char path[128], key_id[APIKEY_ID_CHARS + 1];

    open_two(w);
    snprintf(path, sizeof(path), "/alerts/%s/resolve",
             world_sql(w, "select id from settle.alerts where user_id_str = 'anna'"));
    snprintf(key_id, sizeof(key_id), "%.16s", keys.operator+ strlen("settle_"));
    r = ask(w, keys.operator, "PUT", path, "{\"notes\":\"the account is being changed\"}");
    assert_int_equal(r.status, 200);
    assert_string_equal(json_string_value(json_object_get(r.json, "status")), "RESOLVED");
    assert_non_null(strstr(json_string_value(json_object_get(r.json, "resolved_by")), key_id));
    r = ask(w, keys.operator, "PUT", path, "{\"notes\":\"again\"}");
    assert_int_equal(r.status, 200);
    assert_string_equal(json_string_value(json_object_get(r.json, "resolution_notes")),
                        "the account is being changed");
    assert_int_equal(
        world_count(w,
                    "select count(*) from settle.social_sync_ledger where event_type = 'alert_resolved' "
                    "and actor like '%%%s%%'",
                    key_id),
        1);

    o = job(w, "alerts"); /* the rule holds on: quiet for five minutes, then it rings again */
    assert_int_equal(told(&o, "insights_reconcile_failed", "quiet"), 1);
    assert_int_equal(world_count(w, "select count(*) from settle.alerts"), 2);
    world_sql(
        w, "update settle.alerts set resolved_at = now() - interval '5 minutes' where status = 'RESOLVED'");
    o = job(w, "alerts");
    assert_int_equal(told(&o, "insights_reconcile_failed", "opened"), 1);
    assert_int_equal(world_count(w, "select count(*) from settle.alerts where user_id_str = 'anna'"), 2);
}

/* Who comes while another is at it waits, and tells what that one has done. NULL: the machine was so slow that he did not wait
 * for the end of that. */
static json_t *resolve_behind(void **state)
{
    struct world *w = *state;
    struct process second;
    struct outcome o;
    char url[256], authorization[160];

    reset(state);
    open_two(w);
    snprintf(url, sizeof(url), "%s/alerts/%s/resolve", w->admin_url,
             world_sql(w, "select id from settle.alerts where user_id_str = 'anna'"));
    snprintf(authorization, sizeof(authorization), "authorization: Bearer %s", keys.operator);
    world_sql(
        w, "begin; update settle.alerts set status = 'RESOLVED', resolved_at = now(), resolved_by = 'first', "
           "resolution_notes = 'of the first' where user_id_str = 'anna'");
    second = world_spawn(w, "curl", "-s", "--noproxy", "*", "-w", "%{stderr}%{http_code}", "-XPUT",
                         "-Hcontent-type: application/json", "-H", authorization, "-d",
                         "{\"notes\":\"of the second\"}", url, NULL);
    world_until(20, world_count(w, "select pg_stat_clear_snapshot(); select count(*) from pg_stat_activity "
                                   "where usename = 'settle_api' and wait_event_type = 'Lock'") == 1 ||
                        world_said(w, second, "503"));
    world_sql(w, "commit");
    o = world_wait(w, second);
    return strcmp(o.err, "503") == 0 ? NULL : o.json;
}

static void of_two_persons_one_ends_it(void **state)
{
    struct world *w = *state;
    json_t *told;

    world_until(60, told = resolve_behind(state));
    assert_string_equal(json_string_value(json_object_get(told, "status")), "RESOLVED");
    assert_string_equal(json_string_value(json_object_get(told, "resolution_notes")), "of the first");
    assert_int_equal(events(w, "alert_resolved"), 0); /* the first has left none here */
}

static const struct shape {
    const char *path, *inside, *names; /* inside: the first of this list; NULL: the whole */
} shapes[] = {
    {"/alerts",       NULL,    "items next_cursor"                                 },
    {"/alerts",       "items",
     "id source type category severity dedupe_key subject_type subject_id user_id_str title message payload "
     "status "
     "occurrences created_at last_seen_at resolved_at resolved_by resolution_notes"},
    {"/alerts/stats", NULL,
     "total open resolved open_by_severity open_by_type total_alerts by_status by_type recent_24h "
     "generated_at"                                                                },
};

static void answers_have_their_shapes(void **state)
{
    struct world *w = *state;

    open_two(w);
    for (const struct shape *s = shapes; s < shapes + countof(shapes); s++) {
        struct reply r = ask(w, keys.operator, "GET", s->path, NULL);
        json_t *object = s->inside ? json_array_get(json_object_get(r.json, s->inside), 0) : r.json, *member;
        char names[512] = "";
        const char *name;

        json_object_foreach(object, name, member)
            snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s", names[0] ? " " : "", name);
        assert_string_equal(names, s->names);
    }
    assert_int_equal(counted(w, keys.operator, "recent_24h"), 2);
}

/* ---- Runs. ---- */

static void a_dry_run_tells_and_changes_nothing(void **state)
{
    struct world *w = *state;
    struct outcome o;

    connect_platform(w, "anna", "gsc", "-1 minute");
    post(w, keys.anna, RECONCILE);
    world_sql(w, "insert into settle.alerts (source, type, category, severity, dedupe_key, subject_type, "
                 "subject_id, title, "
                 "message) values ('settle-reconciler', 'insights_coverage', 'SYSTEM_HEALTH', 'MEDIUM', "
                 "'insights_coverage:bert', 'user', 'bert', 't', 'm')");
    o = world_wait(w, world_spawn(w, "settle-reconciler", "alerts", "--dry-run", "--json", NULL));
    assert_int_equal(o.status, 0);
    assert_int_equal(told(&o, "insights_reconcile_failed", "opened"), 1);
    assert_int_equal(told(&o, "insights_coverage", "resolved"), 1);
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(json_object_get(o.json, "holds"), 0), "subject")),
        "anna");
    o = world_wait(w, world_spawn(w, "settle-reconciler", "alerts", "--dry-run", NULL));
    assert_non_null(strstr(o.out, "insights_reconcile_failed anna: 1 of the connected"));
    assert_string_equal(alerts(w), "insights_coverage bert OPEN 1");
    o = world_wait(w, world_spawn(w, "settle-reconciler", "stats", "--dry-run", NULL));
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(o.out, "tenants with insights platforms: 1, 1 with fewer"));
    assert_string_equal(
        world_sql(w, "select (select count(*) from settle.insights_gaps), (select count(*) from "
                     "settle.scheduler_drift), (select count(*) from settle.job_runs where holder <> 'api')"),
        "0|0|0");
}

static void of_two_runs_one_works(void **state)
{
    struct world *w = *state;
    struct process first;
    struct outcome o;

    connect_platform(w, "anna", "gsc", "-1 minute");
    post(w, keys.anna, RECONCILE);
    world_sql(w, "begin; lock table settle.alerts in exclusive mode");
    first = world_spawn(w, "settle-reconciler", "alerts", "--json", NULL);
    world_until(
        20, world_count(w, "select pg_stat_clear_snapshot(); select count(*) from pg_stat_activity "
                           "where application_name = 'settle-reconciler' and wait_event_type = 'Lock'") == 1);
    o = job(w, "alerts");
    assert_string_equal(json_string_value(json_object_get(o.json, "outcome")), "lock_held");
    world_sql(w, "commit");
    assert_int_equal(world_wait(w, first).status, 0);
    assert_string_equal(alerts(w), "insights_reconcile_failed anna OPEN 1");
}

/* Where somebody runs it without the lock, by a fault of ours or by hand: the key decides. */
static void two_statements_at_once_open_one(void **state)
{
    static const char judge[] = "insert into settle.alerts (source, type, category, severity, dedupe_key, "
                                "subject_type, subject_id, user_id_str, title, "
                                "message) values ('s', 'insights_coverage', 'SYSTEM_HEALTH', 'MEDIUM', "
                                "'insights_coverage:anna', 'user', 'anna', 'anna', "
                                "'t', 'm')";
    struct world *w = *state;
    struct process run;

    connect_platform(w, "anna", "gsc", "1 day");
    job(w, "stats");
    world_sql(w, "update settle.insights_gaps set since = since - interval '1 hour'");
    world_sql(w, "begin; %s", judge);
    run = world_spawn(w, "settle-reconciler", "alerts", "--json", NULL);
    world_until(
        20, world_count(w, "select pg_stat_clear_snapshot(); select count(*) from pg_stat_activity "
                           "where application_name = 'settle-reconciler' and wait_event_type = 'Lock'") == 1);
    world_sql(w, "commit");
    assert_int_equal(world_wait(w, run).status, 0);
    assert_string_equal(alerts(w), "insights_coverage anna OPEN 2");
}

static void a_rule_that_fails_holds_up_no_other(void **state)
{
    struct world *w = *state;
    struct process p;
    struct outcome o;

    open_two(w);
    world_sql(w, "revoke select on settle.insights_gaps from settle_reconciler");
    p = world_spawn(w, "settle-reconciler", "alerts", "--json", NULL);
    o = world_wait(w, p);
    world_sql(w, "grant select on settle.insights_gaps to settle_reconciler");
    assert_int_equal(o.status, 70);
    assert_true(world_said(w, p, "rule_failed"));
    assert_int_equal(told(&o, "insights_reconcile_failed", "again"), 1);
    assert_int_equal(told(&o, "scheduler_stats_drift", "again"), 1);
    assert_string_equal(world_sql(w, "select status, report -> 'rules' -> 2 ? 'error' from settle.job_runs "
                                     "where job_name = 'alerts' order by started_at desc limit 1"),
                        "failed|t");
}

/* Many, in small batches, among others who had a failure once: exactly those for whom it holds, and nobody is passed over. */
static void each_of_many_tenants_has_one(void **state)
{
    struct world *w = *state;
    int n = getenv("SETTLE_TEST_LONG") ? TENANTS_LONG : TENANTS;
    struct outcome o;

    world_sql(
        w,
        "insert into settle.job_runs (id, job_name, user_id_str, actor, trigger, status, holder, started_at, "
        "finished_at, outcome, report) "
        "select gen_random_uuid(), 'insights_reconcile', 'tenant-' || i, 'a', 'api', 'failed', 'api', "
        "now() - interval '2 hours', now(), 'done', '{\"failures\": [{\"platform\": \"gsc\"}]}' "
        "from generate_series(1, %d) as i",
        2 * n);
    world_sql(
        w,
        "insert into settle.job_runs (id, job_name, user_id_str, actor, trigger, status, holder, started_at, "
        "finished_at, outcome, report) "
        "select gen_random_uuid(), job_name, user_id_str, actor, trigger, 'success', 'api', "
        "started_at + interval '1 minute', now(), 'done', '{\"failures\": []}' "
        "from settle.job_runs where substr(user_id_str, 8)::int %% 2 = 0");
    setenv("SETTLE_RECONCILE_BATCH_SIZE", "7", 1);
    o = job(w, "alerts");
    assert_int_equal(told(&o, "insights_reconcile_failed", "opened"), n);
    assert_int_equal(world_count(w, "select count(*) from settle.alerts where status = 'OPEN' and "
                                    "substr(subject_id, 8)::int %% 2 = 1"),
                     n);
    world_sql(w, "insert into settle.job_runs (id, job_name, user_id_str, actor, trigger, status, holder, "
                 "finished_at, "
                 "outcome, report) "
                 "select gen_random_uuid(), 'insights_reconcile', subject_id, 'a', 'api', 'success', 'api', "
                 "now(), 'done', "
                 "'{\"failures\": []}' from settle.alerts where substr(subject_id, 8)::int %% 3 = 0");
    o = job(w, "alerts");
    assert_int_equal(told(&o, "insights_reconcile_failed", "resolved") +
                         told(&o, "insights_reconcile_failed", "again"),
                     n);
    assert_int_equal(world_count(w, "select count(*) from settle.alerts where "
                                    "(status = 'OPEN') = (substr(subject_id, 8)::int %% 3 = 0)"),
                     0);
}

/* Numbers alone; and each rule has its word there. */
static void prometheus_sees_how_many(void **state)
{
    struct world *w = *state;
    struct outcome o;
    struct reply r;
    char url[128], series[128];
    size_t i;
    json_t *rule;

    open_two(w);
    connect_platform(w, "bert", "gsc", "-1 minute");
    post(w, keys.operator, "/api/scheduler/platform-insights/reconcile/bert");
    world_sql(w, "insert into settle.alerts (source, type, category, severity, dedupe_key, title, message) "
                 "values ('s', 'publications_guard', 'SYSTEM_HEALTH', 'LOW', 'k', 't', 'm')");
    o = job(w, "alerts");
    world_gateway_stop(w);
    world_gateway(w, NULL);
    world_until(20, world_metric(w, "settle_alerts_open{type=\"insights_reconcile_failed\"}") == 2);
    world_until(20, world_metric(w, "settle_scheduler_drift_cycles") == 7);
    assert_int_equal(world_metric(w, "settle_alerts_open{type=\"other\"}"), 1);
    assert_int_equal(world_metric(w, "settle_alerts_open{type=\"scheduler_stats_drift\"}"), 1);
    json_array_foreach(json_object_get(o.json, "rules"), i, rule) {
        snprintf(series, sizeof(series), "settle_alerts_open{type=\"%s\"}",
                 json_string_value(json_object_get(rule, "rule")));
        if (world_metric(w, series) < 0)
            fail_msg("%s is not on the page", series);
    }
    snprintf(url, sizeof(url), "%s/metrics", w->monitor_url);
    r = world_http(w, "GET", url, NULL, SPAN_NONE);
    assert_null(strstr(r.body, "anna"));
    assert_null(strstr(r.body, "bert"));
}

static void serve_starts_both(void **state)
{
    static const char *const others[] = {"PUBLICATIONS", "MAINTAIN", "AGGREGATES", "INSIGHTS"};
    struct world *w = *state;
    struct process p;
    char name[64];

    for (size_t i = 0; i < countof(others); i++) {
        snprintf(name, sizeof(name), "SETTLE_SCHEDULES_%s", others[i]);
        setenv(name, "", 1);
    }
    world_sql(w, "insert into settle.job_schedule (job, cron, next_due) values "
                 "('stats', '*/5 * * * *', now() - interval '1 minute'), ('alerts', '*/5 * * * *', now())");
    p = world_spawn(w, "settle-reconciler", "serve", NULL);
    world_until(
        30, world_count(w, "select count(distinct job_name) from settle.job_runs where job_name in ('stats', "
                           "'alerts') and status = 'success'") == 2);
    kill(p.pid, SIGTERM);
    assert_int_equal(world_wait(w, p).status, 0);
    for (size_t i = 0; i < countof(others); i++) {
        snprintf(name, sizeof(name), "SETTLE_SCHEDULES_%s", others[i]);
        unsetenv(name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_repair_that_fails_rings_until_one_does_not, reset),
        cmocka_unit_test_setup(three_repairs_in_an_hour_ring, reset),
        cmocka_unit_test_setup(a_gap_rings_when_it_was_seen_for_half_an_hour, reset),
        cmocka_unit_test_setup(totals_that_drift_ring_after_ten_minutes, reset),
        cmocka_unit_test_setup(a_tenant_sees_its_own, reset),
        cmocka_unit_test_setup(a_person_ends_one_and_is_named, reset),
        cmocka_unit_test_setup(of_two_persons_one_ends_it, reset),
        cmocka_unit_test_setup(answers_have_their_shapes, reset),
        cmocka_unit_test_setup(a_dry_run_tells_and_changes_nothing, reset),
        cmocka_unit_test_setup(of_two_runs_one_works, reset),
        cmocka_unit_test_setup(two_statements_at_once_open_one, reset),
        cmocka_unit_test_setup(a_rule_that_fails_holds_up_no_other, reset),
        cmocka_unit_test_setup(each_of_many_tenants_has_one, reset),
        cmocka_unit_test_setup(prometheus_sees_how_many, reset),
        cmocka_unit_test_setup(serve_starts_both, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
