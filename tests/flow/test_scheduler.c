/* What is told of the scheduler: each answer has the members that tools rely on, no more and no fewer; what all cycles have
 * done is counted once, whoever asks, repairs, forgets or adds meanwhile. */
#include "support/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

enum { CALLERS = 20, RACERS = 4, TIMES = 10, EVENTS = 20000, EVENTS_LONG = 1000000 };

#define API       "/api/scheduler"
#define DASHBOARD API "/dashboard"
#define RECONCILE API "/dashboard/cumulative-stats/reconcile"
#define CLEANUP   API "/cleanup-event-logs"

/* What the totals must be, counted in another way than by the statements under test: row by row. */
#define RECOUNT                                                                                              \
    "select array["                                                                                          \
    "sum(case when c then 1 else 0 end) + min(b.check_cycles), "                                             \
    "sum(case when c then coalesce(e.tasks_found, 0) else 0 end) + min(b.tasks_found), "                     \
    "sum(case when c then coalesce(e.tasks_executed, 0) else 0 end) + min(b.tasks_executed), "               \
    "sum(case when c then coalesce(e.tasks_failed, 0) else 0 end) + min(b.tasks_failed), "                   \
    "sum(case when c then coalesce(e.tasks_skipped, 0) else 0 end) + min(b.tasks_skipped), "                 \
    "sum(case event_type when 'job_completed' then 1 else 0 end) + min(b.job_completed), "                   \
    "sum(case event_type when 'job_failed' then 1 else 0 end) + min(b.job_failed)]::bigint[] "               \
    "from (select event_type = 'check_cycle' as c, * from settle.scheduler_event_logs) as e, "               \
    "settle.scheduler_stats_baseline as b"
#define TOTALS                                                                                               \
    "select array[total_check_cycles, cumulative_tasks_found, cumulative_tasks_executed, "                   \
    "cumulative_tasks_failed, cumulative_tasks_skipped, cumulative_job_completed, cumulative_job_failed] "   \
    "from settle.scheduler_cumulative_stats"

static int up(void **state)
{
    struct world *w = *state = world_open();

    return world_gateway(w, NULL);
}

static int down(void **state)
{
    world_close(*state);
    return 0;
}

/* Two cycles, the jobs of a night, tasks of two tenants and what became of them. */
static int reset(void **state)
{
    struct world *w = *state;

    world_reset(w);
    world_sql(
        w,
        "insert into settle.scheduler_event_logs (event_type, event_date, check_interval_minutes, "
        "tasks_found, tasks_executed, tasks_failed, tasks_skipped, active_strategies_count, "
        "check_duration_seconds, job_id, job_type, user_id, event_data, error_message) values "
        "('start', now() - interval '40 days', null, null, null, null, null, null, null, null, null, null, "
        "'{}', null),"
        "('check_cycle', now() - interval '30 days', 60, 5, 3, 1, 1, 2, 0.25, null, null, null, '{}', null),"
        "('start', now() - interval '20 days', null, null, null, null, null, null, null, null, null, null, "
        "'{}', null),"
        "('check_cycle', now() - interval '1 hour', 15, 4, 4, 0, 2, 2, 0.75, null, null, null, '{}', null),"
        "('job_completed', now() - interval '2 days', null, null, null, null, null, null, 1.5, "
        "'publications', 'recurring', null, '{\"run_id\":\"r\"}', null),"
        "('job_failed', now() - interval '1 day', null, null, null, null, null, null, 2, 'publications', "
        "'recurring', null, '{}', 'a post of bert'),"
        "('job_scheduled', now(), null, null, null, null, null, null, null, 'platform_insights_gsc_anna', "
        "'one_time', 'anna', '{\"task_id\":1}', null)");
    world_sql(
        w, "with t as (insert into settle.platform_insights_tasks (user_id, platform, status, failure_reason,"
           " consecutive_failures, last_failure, next_check) values "
           "('anna', 'gsc', 'active', null, 0, null, now() + interval '7 days'), "
           "('anna', 'bing', 'needs_intervention', 'auth_error', 3, now(), null), "
           "('bert', 'gsc', 'failed', 'api_limit', 1, now(), now() + interval '1 day') returning id) "
           "insert into settle.platform_insights_execution_logs (task_id, status, data_source) "
           "select id, status, 'api' from t, unnest(array['success', 'failed']) as status");
    world_sql(w, "insert into settle.task_leases (task_key, holder, run_id, expires_at) "
                 "select 'platform_insights_' || id, 'h', gen_random_uuid(), "
                 "now() + case platform when 'bing' then interval '-1 minute' else interval '15 minutes' end "
                 "from settle.platform_insights_tasks");
    world_sql(
        w, "insert into settle.platform_connections (user_id_str, platform, account, connected, expires_at) "
           "values ('bert', 'bing', 'default', true, now() - interval '1 minute')");
    world_sql(w, "insert into settle.monitoring_tasks (id, task_title) values (1, 'watch'); "
                 "insert into settle.task_execution_logs (task_id, user_id, user_id_str, status) values "
                 "(1, null, 'anna', 'success'), (1, 7, null, 'failed'), (1, 7, 'anna', 'success')");
    return 0;
}

static bool is_time(json_t *value)
{
    int year, month, day, hour, minute, used = 0;

    return json_is_string(value) &&
           sscanf(json_string_value(value), "%4d-%2d-%2dT%2d:%2d:%n", &year, &month, &day, &hour, &minute,
                  &used) == 5 &&
           used == 17;
}

/* kind: n number, s text, t time, b truth value, o object, a array, z null; of several one. */
static bool is_of_kind(json_t *value, const char *kinds)
{
    for (; *kinds; kinds++)
        if ((*kinds == 'n' && json_is_number(value)) || (*kinds == 's' && json_is_string(value)) ||
            (*kinds == 't' && is_time(value)) || (*kinds == 'b' && json_is_boolean(value)) ||
            (*kinds == 'o' && json_is_object(value)) || (*kinds == 'a' && json_is_array(value)) ||
            (*kinds == 'z' && json_is_null(value)))
            return true;
    return false;
}

/* members: "name:kinds name:kinds": these, and no others. */
static void assert_members(json_t *object, const char *path, const char *members)
{
    char room[1024], *rest = room;
    size_t n = 0;

    snprintf(room, sizeof(room), "%s", members);
    for (char *name; (name = strsep(&rest, " ")); n++) {
        char *kinds = strchr(name, ':');
        json_t *value;

        *kinds++ = '\0';
        value = json_object_get(object, name);
        if (!value || !is_of_kind(value, kinds))
            fail_msg("%s: no %s of kind %s in %s", path, name, kinds, json_dumps(object, 0));
    }
    if (json_object_size(object) != n)
        fail_msg("%s: more than %s in %s", path, members, json_dumps(object, 0));
}

/* Elements of one array are alike. */
static json_t *first(json_t *array)
{
    return json_array_get(array, 0);
}

static struct reply get(struct world *w, const char *path)
{
    struct reply r = world_api(w, "GET", path, NULL);

    if (r.status != 200)
        fail_msg("%s: %ld %s", path, r.status, r.body);
    return r;
}

#define EVENT                                                                                                \
    "id:n event_type:s event_date:t check_cycle_number:nz check_interval_minutes:nz "                        \
    "previous_interval_minutes:nz new_interval_minutes:nz tasks_found:nz tasks_executed:nz tasks_failed:nz " \
    "tasks_skipped:nz tasks_by_type:oz job_id:sz job_type:sz user_id:sz check_duration_seconds:nz "          \
    "active_strategies_count:nz active_executions:nz event_data:o error_message:sz created_at:t"
#define LOG                                                                                                  \
    "user_id:sz execution_date:t status:s error_message:sz execution_time_ms:nz result_data:oz "             \
    "created_at:t task:o"
#define PAGE "total_count:n limit:n offset:n has_more:b"
#define STATS                                                                                                \
    "total_check_cycles:n cumulative_tasks_found:n cumulative_tasks_executed:n cumulative_tasks_failed:n "   \
    "cumulative_tasks_skipped:n cumulative_job_completed:n cumulative_job_failed:n"
#define JOB                                                                                                  \
    "id:s name:s trigger_type:s next_run_time:tz user_id:sz job_store:s user_job_store:s "                   \
    "is_database_task:b"
#define LEADERSHIP                                                                                           \
    "mode:s identity:sz is_leader:b execution_enabled:b leader_since:tz lock_key:s last_check:tz "           \
    "last_error:sz"

/* Every answer, and what it holds: a member of the top (NULL: the top itself), the first element if it is an array. */
static const struct shape {
    const char *method, *path, *member, *members;
} shapes[] = {
    {"GET",  DASHBOARD,                               NULL,
     "stats:o jobs:a job_count:n recurring_jobs:n one_time_jobs:n registered_task_types:a user_isolation:o "
     "leadership:o last_updated:t"                                                                                                       },
    {"GET",  DASHBOARD,                               "stats",
     "total_checks:n tasks_found:n tasks_executed:n tasks_failed:n tasks_skipped:n last_check:tz "
     "last_update:tz active_executions:n running:b check_interval_minutes:n min_check_interval_minutes:n "
     "max_check_interval_minutes:n intelligent_scheduling:b active_strategies_count:n "
     "last_interval_adjustment:tz registered_types:a cumulative_total_check_cycles:n "
     "cumulative_tasks_found:n cumulative_tasks_executed:n cumulative_tasks_failed:n "
     "cumulative_drift_cycles:n cumulative_source:s"                                                                                     },
    {"GET",  DASHBOARD,                               "jobs",           JOB                                                              },
    {"GET",  DASHBOARD,                               "user_isolation", "enabled:b current_user_id:sz"                                   },
    {"GET",  DASHBOARD,                               "leadership",     LEADERSHIP                                                       },
    {"POST", RECONCILE,                               NULL,             "success:b auditable:b reconciled_at:t dry_run:b stats:o drift:o"},
    {"POST", RECONCILE,                               "stats",          STATS                                                            },
    {"POST", RECONCILE,                               "drift",          STATS                                                            },
    {"GET",  API "/platform-insights/status/anna",    NULL,
     "tasks:a total_tasks:n active_tasks:n paused_tasks:n failed_tasks:n last_updated:t"                                                 },
    {"GET",  API "/platform-insights/status/anna",    "tasks",
     "id:n platform:s site_url:sz status:s last_check:tz last_success:tz last_failure:tz failure_reason:sz "
     "next_check:tz created_at:t updated_at:t metadata:o"                                                                                },
    {"POST", API "/platform-insights/reconcile/bert", NULL,
     "success:b user_id:s connected_insights_platforms:a created_platforms:a skipped_platforms:a "
     "failures:a auditable:b reconciled_at:t"                                                                                            },
    {"POST", API "/platform-insights/reconcile/bert", "failures",       "platform:s error:s"                                             },
    {"GET",  API "/platform-insights/logs/anna",      NULL,             "success:b logs:a total_count:n"                                 },
    {"GET",  API "/platform-insights/logs/anna",      "logs",
     "id:n task_id:n execution_date:t status:s result_data:oz error_message:sz execution_time_ms:nz "
     "data_source:sz created_at:t"                                                                                                       },
    {"GET",  API "/execution-logs",                   NULL,             "logs:a is_scheduler_logs:b " PAGE                               },
    {"GET",  API "/execution-logs",                   "logs",           "id:n task_id:n " LOG                                            },
    {"GET",  API "/event-history",                    NULL,             "events:a " PAGE                                                 },
    {"GET",  API "/event-history",                    "events",         EVENT                                                            },
    {"GET",  API "/event-history?days=7",             NULL,             "events:a date_filter:o " PAGE                                   },
    {"GET",  API "/event-history?days=7",             "date_filter",    "days:n cutoff_date:t showing_events_since:t"                    },
    {"GET",  API "/event-logs/stats",                 NULL,
     "total_events:n events_by_type:o oldest_event:tz newest_event:tz average_duration_seconds:nz totals:o"                              },
    {"GET",  API "/event-logs/stats",                 "totals",
     "tasks_found:n tasks_executed:n tasks_failed:n tasks_skipped:n"                                                                     },
    {"POST", CLEANUP "?older_than_days=365",          NULL,
     "deleted_count:n would_delete_count:n oldest_kept_event:tz dry_run:b"                                                               },
    {"GET",  API "/jobs",                             NULL,             "jobs:a total_jobs:n recurring_jobs:n one_time_jobs:n"           },
    {"GET",  API "/jobs",                             "jobs",           JOB                                                              },
    {"GET",  API "/recent-scheduler-logs",            NULL,             "logs:a is_scheduler_logs:b " PAGE                               },
    {"GET",  API "/recent-scheduler-logs",            "logs",
     "id:s task_id:z is_scheduler_log:b event_type:s job_id:sz " LOG                                                                     },
    {"GET",  API "/tasks-needing-intervention/anna",  NULL,             "success:b user_id:s tasks:a count:n"                            },
    {"GET",  API "/tasks-needing-intervention/anna",  "tasks",
     "task_id:n task_type:s user_id:s platform:s site_url:sz status:s consecutive_failures:n "
     "failure_pattern:oz failure_reason:sz last_failure:tz cool_off_until:tz"                                                            },
    {"GET",  API "/status",                           NULL,             "leadership:o last_updated:t"                                    },
    {"GET",  API "/status",                           "leadership",     LEADERSHIP                                                       },
    {"GET",  API "/health",                           NULL,             "service:s status:s checks:o response_time_ms:n last_updated:t"  },
    {"GET",  API "/health",                           "checks",         "database:o scheduler_leadership:o"                              },
    {"GET",  API "/metrics",                          NULL,             "service:s metrics:o last_updated:t"                             },
    {"GET",  API "/metrics",                          "metrics",
     "check_cycles:n tasks_found:n tasks_executed:n tasks_failed:n tasks_skipped:n jobs_completed:n "
     "jobs_failed:n stats_repairs:n tasks:n tasks_active:n tasks_failing:n tasks_paused:n "
     "tasks_needing_intervention:n tasks_due:n active_executions:n expired_leases:n"                                                     },
    {"GET",  API "/config",                           NULL,             "schedules:o serve:o insights:o retention:o"                     },
    {"GET",  API "/config",                           "insights",       "at_once:n batch_seconds:n lease_seconds:n idle_minutes:n"       },
};

static void each_answer_has_its_members_and_no_others(void **state)
{
    struct world *w = *state;
    json_t *tasks[2] = {NULL, NULL};
    struct reply r;
    size_t i;
    json_t *job;

    for (const struct shape *s = shapes; s < shapes + countof(shapes); s++) {
        json_t *at;

        r = world_api(w, s->method, s->path, NULL);
        if (r.status != 200)
            fail_msg("%s: %ld %s", s->path, r.status, r.body);
        at = s->member ? json_object_get(r.json, s->member) : r.json;
        assert_members(json_is_array(at) ? first(at) : at, s->path, s->members);
    }
    r = get(w, DASHBOARD);
    json_array_foreach(json_object_get(r.json, "jobs"), i, job)
        if (json_is_true(json_object_get(job, "is_database_task")))
            tasks[tasks[0] != NULL] = job;
    assert_members(tasks[0], DASHBOARD,
                   JOB " function_name:s platform:s task_id:n frequency:s task_category:s");
    assert_string_equal(json_string_value(json_object_get(tasks[1], "id")), "platform_insights_gsc_anna");
    r = get(w, API "/execution-logs");
    assert_members(json_object_get(first(json_object_get(r.json, "logs")), "task"), "task",
                   "id:n task_title:sz component_name:sz metric:sz frequency:sz");
    r = get(w, API "/health");
    assert_members(json_object_get(json_object_get(r.json, "checks"), "database"), "database",
                   "status:s message:s");
    assert_members(json_object_get(json_object_get(r.json, "checks"), "scheduler_leadership"), "leadership",
                   "status:s message:s details:o");
}

static long number(const struct reply *r, const char *object, const char *name)
{
    json_t *at = object ? json_object_get(r->json, object) : r->json;

    assert_true(json_is_number(json_object_get(at, name)));
    return (long)json_number_value(json_object_get(at, name));
}

static const char *text(const struct reply *r, const char *object, const char *name)
{
    const char *value =
        json_string_value(json_object_get(object ? json_object_get(r->json, object) : r->json, name));

    return value ? value : "";
}

static void somebody_leads(struct world *w)
{
    world_sql(w, "update settle.job_fences set holder = 'host:1:run', lease_until = now() + interval '1 "
                 "minute' where name = 'serve'; "
                 "insert into settle.scheduler_event_logs (event_type, event_data) values "
                 "('start', '{\"holder\":\"host:1:run\"}')");
}

static void the_dashboard_tells_of_cycles_and_jobs(void **state)
{
    struct world *w = *state;
    struct reply r = get(w, DASHBOARD);

    assert_int_equal(number(&r, "stats", "total_checks"), 1); /* since somebody leads */
    assert_int_equal(number(&r, "stats", "tasks_skipped"), 2);
    assert_int_equal(number(&r, "stats", "cumulative_total_check_cycles"), 2);
    assert_int_equal(number(&r, "stats", "cumulative_tasks_found"), 9);
    assert_int_equal(number(&r, "stats", "check_interval_minutes"), 15);
    assert_int_equal(number(&r, "stats", "active_executions"), 2);
    assert_int_equal(number(&r, NULL, "job_count"), 8); /* the loop, five jobs, two tasks */
    assert_string_equal(json_string_value(json_object_get(first(json_object_get(r.json, "jobs")), "id")),
                        "aggregates");
    assert_string_equal(
        json_string_value(json_object_get(first(json_object_get(r.json, "jobs")), "trigger_type")),
        "external");
    r = get(w, DASHBOARD "?user_id=anna");
    assert_int_equal(number(&r, "stats", "active_executions"), 1);
    assert_int_equal(number(&r, NULL, "job_count"), 7);

    world_sql(w, "insert into settle.job_schedule (job, cron, next_due) values ('insights', '*/15 * * * *', "
                 "'2040-01-01T00:00:00Z'), ('maintain', '', null)");
    somebody_leads(w);
    r = get(w, DASHBOARD);
    assert_string_equal(text(&r, "leadership", "identity"), "host:1:run");
    assert_true(json_is_true(json_object_get(json_object_get(r.json, "stats"), "running")));
    assert_string_equal(
        json_string_value(json_object_get(first(json_object_get(r.json, "jobs")), "trigger_type")), "cron");
    assert_string_equal(
        json_string_value(json_object_get(first(json_object_get(r.json, "jobs")), "next_run_time")),
        "2040-01-01T00:00:00+00:00");
    assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(r.json, "jobs"), 1),
                                                          "trigger_type")),
                        "external");
    r = get(w, API "/status");
    assert_string_equal(text(&r, "leadership", "identity"), "host:1:run");
    assert_string_equal(text(&r, "leadership", "mode"), "leader");
    assert_string_equal(text(&r, "leadership", "last_error"), "a post of bert");
    assert_true(strlen(text(&r, "leadership", "leader_since")) > 0);
}

/* Where cron, timers or persons start the jobs, nobody leads, and nothing is known of when they will. */
static void without_a_leader_all_is_started_from_outside(void **state)
{
    struct world *w = *state;
    struct reply r = get(w, DASHBOARD);
    size_t i;
    json_t *job;

    assert_string_equal(text(&r, "leadership", "mode"), "external");
    assert_true(json_is_false(json_object_get(json_object_get(r.json, "leadership"), "is_leader")));
    assert_true(json_is_null(json_object_get(json_object_get(r.json, "leadership"), "identity")));
    assert_true(json_is_null(json_object_get(json_object_get(r.json, "leadership"), "leader_since")));
    assert_true(strlen(text(&r, "leadership", "last_check")) > 0); /* somebody's round all the same */
    json_array_foreach(json_object_get(r.json, "jobs"), i, job)
        if (json_is_false(json_object_get(job, "is_database_task"))) {
            assert_string_equal(json_string_value(json_object_get(job, "trigger_type")), "external");
            assert_true(json_is_null(json_object_get(job, "next_run_time")));
        }
    r = get(w, API "/health");
    assert_string_equal(text(&r, NULL, "status"), "healthy");
    assert_string_equal(
        json_string_value(json_object_get(
            json_object_get(json_object_get(r.json, "checks"), "scheduler_leadership"), "status")),
        "standby");
}

static void a_loop_that_is_late_is_seen(void **state)
{
    struct world *w = *state;
    struct reply r;

    somebody_leads(w);
    world_sql(w, "insert into settle.job_schedule (job, cron, next_due) values ('insights', '*/15 * * * *', "
                 "now() - interval '16 minutes')");
    r = get(w, API "/health");
    assert_string_equal(text(&r, NULL, "status"), "degraded");
    world_sql(w, "update settle.job_schedule set next_due = now()");
    r = get(w, API "/health");
    assert_string_equal(text(&r, NULL, "status"), "healthy");
}

/* One that a person has asked for is a job as long as it lasts, once. */
static void what_a_person_has_begun_is_a_one_time_job(void **state)
{
    struct world *w = *state;
    const char *headers[] = {"content-type: application/json", "prefer: respond-async", NULL};
    struct reply r = get(w, DASHBOARD);
    long recurring = number(&r, NULL, "recurring_jobs");
    char url[256], id[100];
    json_t *job;

    world_publication(w, "tiktok", "held", "processing", 30);
    world_sql(w, "begin; select from settle.publish_logs for update");
    snprintf(url, sizeof(url), "%s/publishing/reconcile", w->admin_url);
    r = world_http(w, "POST", url, headers, SPAN_NONE);
    assert_int_equal(r.status, 202);
    snprintf(id, sizeof(id), "publications_%s", json_string_value(json_object_get(r.json, "run_id")));
    world_until(20, (r = get(w, DASHBOARD), number(&r, NULL, "one_time_jobs")) == 1);
    assert_int_equal(number(&r, NULL, "recurring_jobs"), recurring);
    assert_int_equal(number(&r, NULL, "job_count"), recurring + 1);
    job = first(json_object_get(r.json, "jobs")); /* it goes on now; the next of the others are later */
    assert_members(job, DASHBOARD, JOB);
    assert_string_equal(json_string_value(json_object_get(job, "id")), id);
    assert_string_equal(json_string_value(json_object_get(job, "trigger_type")), "date");
    r = get(w, API "/jobs");
    assert_int_equal(number(&r, NULL, "one_time_jobs"), 1);
    world_sql(w, "commit");
    world_until(20, (r = get(w, DASHBOARD), number(&r, NULL, "one_time_jobs")) == 0);
    assert_int_equal(number(&r, NULL, "job_count"), recurring);
}

/* What is in force, and nothing that names a store, a file or a secret. */
static void the_settings_are_shown_without_secrets(void **state)
{
    static const char *const hidden[] = {"://", "url", "key", "secret", "password", "host", "database"};
    struct world *w = *state;
    struct reply r = get(w, API "/config");
    char *shown = json_dumps(r.json, 0);

    assert_string_equal(
        json_string_value(json_object_get(json_object_get(r.json, "schedules"), "publications")),
        "* * * * *");
    assert_int_equal(number(&r, "insights", "lease_seconds"), 900);
    for (size_t i = 0; i < countof(hidden); i++)
        if (strstr(shown, hidden[i]))
            fail_msg("%s in %s", hidden[i], shown);
    free(shown);
}

static void numbers_are_those_of_the_tables(void **state)
{
    struct world *w = *state;
    struct reply r = get(w, API "/metrics");

    assert_int_equal(number(&r, "metrics", "check_cycles"), 2);
    assert_int_equal(number(&r, "metrics", "tasks_skipped"), 3);
    assert_int_equal(number(&r, "metrics", "jobs_failed"), 1);
    assert_int_equal(number(&r, "metrics", "tasks"), 3);
    assert_int_equal(number(&r, "metrics", "tasks_needing_intervention"), 1);
    assert_int_equal(number(&r, "metrics", "tasks_due"), 0);
    assert_int_equal(number(&r, "metrics", "active_executions"), 2);
    assert_int_equal(number(&r, "metrics", "expired_leases"), 1);
}

static void pages_and_filters(void **state)
{
    struct world *w = *state;
    struct reply r = get(w, API "/event-history?limit=2&offset=1");

    assert_int_equal(number(&r, NULL, "total_count"), 7);
    assert_true(json_is_true(json_object_get(r.json, "has_more")));
    assert_string_equal(
        json_string_value(json_object_get(first(json_object_get(r.json, "events")), "event_type")),
        "check_cycle");
    r = get(w, API "/event-history?limit=2&offset=5");
    assert_true(json_is_false(json_object_get(r.json, "has_more")));
    assert_int_equal(json_array_size(json_object_get(r.json, "events")), 2);
    r = get(w, API "/event-history?event_type=check_cycle&days=7");
    assert_int_equal(number(&r, NULL, "total_count"), 1);
    r = get(w, API "/event-history?user_id=bert");
    assert_int_equal(number(&r, NULL, "total_count"), 6);
    r = get(w, API "/event-logs/stats");
    assert_int_equal(number(&r, NULL, "total_events"), 7);
    assert_int_equal(number(&r, "events_by_type", "start"), 2);
    assert_int_equal(number(&r, "totals", "tasks_skipped"), 3);
    assert_true(json_number_value(json_object_get(r.json, "average_duration_seconds")) == 0.5);
    r = get(w, API "/execution-logs?status=failed");
    assert_int_equal(number(&r, NULL, "total_count"), 1);
    r = get(w, API "/execution-logs?user_id=7"); /* the row that names anna too is hers alone */
    assert_int_equal(number(&r, NULL, "total_count"), 1);
    r = get(w, API "/execution-logs?user_id=anna&limit=1");
    assert_int_equal(number(&r, NULL, "total_count"), 2);
    assert_true(json_is_true(json_object_get(r.json, "has_more")));
    r = get(w, API "/recent-scheduler-logs");
    assert_int_equal(number(&r, NULL, "total_count"), 3);
    r = get(w, API "/platform-insights/logs/anna?limit=3");
    assert_int_equal(number(&r, NULL, "total_count"), 4);
    assert_int_equal(json_array_size(json_object_get(r.json, "logs")), 3);
    r = get(w, API "/tasks-needing-intervention/anna");
    assert_int_equal(number(&r, NULL, "count"), 1);
    r = get(w, API "/tasks-needing-intervention/bert");
    assert_int_equal(number(&r, NULL, "count"), 0);
}

static void what_cannot_be_is_refused(void **state)
{
    static const struct {
        const char *method, *path, *cause;
        long status;
    } cases[] = {
        {"GET",  API "/execution-logs?limit=0",                  "invalid_parameter", 422},
        {"GET",  API "/execution-logs?limit=501",                "invalid_parameter", 422},
        {"GET",  API "/execution-logs?offset=-1",                "invalid_parameter", 422},
        {"GET",  API "/execution-logs?status=done",              "invalid_parameter", 422},
        {"GET",  API "/event-history?event_type=party",          "invalid_parameter", 422},
        {"GET",  API "/event-history?days=0",                    "invalid_parameter", 422},
        {"GET",  API "/event-history?days=91",                   "invalid_parameter", 422},
        {"GET",  API "/platform-insights/logs/anna?limit=101",   "invalid_parameter", 422},
        {"GET",  API "/platform-insights/logs/anna?task_id=0",   "invalid_parameter", 422},
        {"POST", CLEANUP "?older_than_days=0",                   "invalid_parameter", 422},
        {"POST", CLEANUP "?days_to_keep=366",                    "invalid_parameter", 422},
        {"POST", CLEANUP "?dry_run=false",                       "age_missing",       422},
        {"POST", RECONCILE "?dry_run=perhaps",                   "invalid_parameter", 422},
        {"GET",  API "/platform-insights/logs/anna?task_id=999", "not_found",         404},
    };
    struct world *w = *state;
    char type[64];

    for (size_t i = 0; i < countof(cases); i++) {
        struct reply r = world_api(w, cases[i].method, cases[i].path, NULL);

        if (r.status != cases[i].status)
            fail_msg("%s: %ld %s", cases[i].path, r.status, r.body);
        snprintf(type, sizeof(type), "urn:settle:problem:%s", cases[i].cause);
        assert_string_equal(json_string_value(json_object_get(r.json, "type")), type);
        assert_string_equal(reply_header(w, &r, "content-type"), "application/problem+json");
    }
    assert_int_equal(world_count(w, "select count(*) from settle.scheduler_event_logs"), 7);
}

/* Somebody has written into the table, or restored half of a database. */
static void spoil(struct world *w)
{
    world_sql(w, "update settle.scheduler_cumulative_stats set total_check_cycles = 5, "
                 "cumulative_tasks_skipped = 0, cumulative_job_failed = 9");
}

static void drift_is_shown_by_reads_and_mended_by_the_repair(void **state)
{
    struct world *w = *state;
    struct reply r;
    char written[128];

    spoil(w);
    snprintf(written, sizeof(written), "%s", world_sql(w, TOTALS));
    r = get(w, DASHBOARD);
    assert_int_equal(number(&r, "stats", "cumulative_drift_cycles"), 3);
    assert_string_equal(text(&r, "stats", "cumulative_source"), "recomputed");
    assert_int_equal(number(&r, "stats", "cumulative_total_check_cycles"), 2);
    r = world_api(w, "POST", RECONCILE "?dry_run=true", NULL);
    assert_int_equal(r.status, 200);
    assert_int_equal(number(&r, "drift", "total_check_cycles"), 3);
    assert_int_equal(number(&r, "stats", "total_check_cycles"), 2);
    assert_string_equal(world_sql(w, TOTALS), written);
    assert_int_equal(world_count(w, "select count(*) from settle.job_runs"), 0);

    r = world_api(w, "POST", RECONCILE, NULL);
    assert_int_equal(r.status, 200);
    assert_int_equal(number(&r, "drift", "cumulative_tasks_skipped"), -3);
    assert_int_equal(number(&r, "stats", "cumulative_tasks_skipped"), 3);
    assert_int_equal(number(&r, "stats", "cumulative_job_failed"), 1);
    assert_string_equal(world_sql(w, TOTALS), "{2,9,7,1,3,1,1}");
    r = get(w, DASHBOARD);
    assert_string_equal(text(&r, "stats", "cumulative_source"), "stored");
    r = world_api(w, "POST", RECONCILE, NULL);
    assert_int_equal(number(&r, "drift", "cumulative_tasks_skipped"), 0);
    assert_string_equal(world_sql(w, TOTALS), "{2,9,7,1,3,1,1}");
    assert_int_equal(
        world_count(w, "select count(*) from settle.social_sync_ledger as l join settle.job_runs as r on "
                       "r.id = l.run_id where l.event_type = 'scheduler_stats_reconciled' and l.actor = "
                       "'local' and r.actor = 'local' and r.job_name = 'stats_reconcile' and r.status = "
                       "'success' and l.metadata -> 'drift' = r.report -> 'drift'"),
        2);
    assert_int_equal(world_count(w, "select count(*) from settle.social_sync_ledger where severity = 'warn'"),
                     1);
}

static void what_is_cleaned_up_goes_on_counting(void **state)
{
    struct world *w = *state;
    struct reply r = world_api(w, "POST", CLEANUP "?days_to_keep=25", NULL);

    assert_int_equal(number(&r, NULL, "deleted_count"), 0);
    assert_int_equal(number(&r, NULL, "would_delete_count"), 2);
    assert_int_equal(world_count(w, "select count(*) from settle.scheduler_event_logs"), 7);
    assert_int_equal(world_count(w, "select count(*) from settle.job_runs"), 0);
    r = world_api(w, "POST", CLEANUP "?older_than_days=7&days_to_keep=25&dry_run=false", NULL);
    assert_int_equal(r.status, 200);
    assert_int_equal(number(&r, NULL, "deleted_count"), 2);
    assert_int_equal(world_count(w, "select count(*) from settle.scheduler_event_logs"), 5);
    assert_int_equal(world_count(w, "select count(*) from settle.social_sync_ledger as l join "
                                    "settle.job_runs as r on r.id = l.run_id where "
                                    "l.event_type = 'scheduler_events_removed' and l.actor = 'local' and "
                                    "r.job_name = 'event_cleanup'"),
                     1);

    /* And by age, by the job. */
    world_sql(w, "update settle.scheduler_event_logs set event_date = now() - interval '401 days' "
                 "where event_type in ('job_failed', 'check_cycle')");
    assert_int_equal(world_wait(w, world_spawn(w, "settle-reconciler", "maintain", NULL)).status, 0);
    assert_int_equal(world_count(w, "select count(*) from settle.scheduler_event_logs"), 3);
    r = get(w, DASHBOARD);
    assert_int_equal(number(&r, "stats", "cumulative_drift_cycles"), 0);
    r = world_api(w, "POST", RECONCILE, NULL);
    assert_int_equal(number(&r, "drift", "total_check_cycles"), 0);
    assert_int_equal(number(&r, "drift", "cumulative_job_failed"), 0);
    assert_string_equal(world_sql(w, TOTALS), "{2,9,7,1,3,1,1}");
}

static size_t drop_body(const void *data, size_t size, size_t n, void *ctx)
{
    (void)data, (void)ctx;
    return size * n;
}

/* How many had their turn: the others have waited for a connection as long as anyone may. */
static long post_by_many(struct world *w)
{
    CURLM *multi = curl_multi_init();
    CURL *easy[CALLERS];
    struct curl_slist *headers = curl_slist_append(NULL, "content-type: application/json");
    char url[256];
    int running = 1;
    long done = 0;

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
        assert_true(status == 200 || status == 503);
        done += status == 200;
        curl_multi_remove_handle(multi, easy[i]);
        curl_easy_cleanup(easy[i]);
    }
    curl_multi_cleanup(multi);
    curl_slist_free_all(headers);
    return done;
}

/* One that says the statement over and over on a connection of its own, as the role whose it is. */
static struct process repeat(struct world *w, const char *role, const char *statement, const char *execute)
{
    char script[1024];

    snprintf(script, sizeof(script),
             "{ echo \"set role %s; prepare q as\"; cat '%s/sql/queries/%s.sql'; echo ';'; "
             "for i in $(seq %d); do echo \"execute q(%s);\"; done; } | "
             "psql -XqAt -v ON_ERROR_STOP=1 '%s' -U postgres >/dev/null",
             role, getenv("SETTLE_TOP"), statement, TIMES, execute, w->database_url);
    return world_spawn(w, "sh", "-c", script, NULL);
}

static void of_twenty_repairs_one_mends(void **state)
{
    struct world *w = *state;
    long done;

    spoil(w);
    done = post_by_many(w);
    assert_true(done >= 1);
    assert_string_equal(world_sql(w, TOTALS), "{2,9,7,1,3,1,1}");
    assert_int_equal(world_count(w, "select count(*) from settle.job_runs where status = 'success'"), done);
    assert_int_equal(world_count(w, "select count(*) from settle.social_sync_ledger where severity = 'warn'"),
                     1);
}

/* What another one does in a transaction that is held open until the repair waits for it: the repair's own sight of the
 * table is then older than what it changes. False: the machine was so slow that it did not wait for the end of that. */
static bool is_repaired_behind(void **state, const char *statement, const char *execute)
{
    struct world *w = *state;
    struct process holder, repair;
    struct outcome end;
    char script[1400], url[256];

    reset(state);
    spoil(w);
    snprintf(script, sizeof(script),
             "{ echo \"prepare q as\"; cat '%s/sql/queries/%s.sql'; "
             "echo \"; begin; execute q(%s);\"; echo 'do $$ begin for i in 1 .. 3000 loop exit when exists "
             "(select from pg_stat_activity where "
             "wait_event_type = '\"'Lock'\"' and usename = '\"'settle_api'\"'); "
             "perform pg_stat_clear_snapshot(); perform pg_sleep(0.01); end loop; end $$; commit'; } | "
             "psql -XqAt -v ON_ERROR_STOP=1 '%s' -U postgres >/dev/null",
             getenv("SETTLE_TOP"), statement, execute, w->database_url);
    holder = world_spawn(w, "sh", "-c", script, NULL);
    world_until(20,
                world_count(w, "select count(*) from pg_stat_activity where wait_event = 'PgSleep'") == 1);
    snprintf(url, sizeof(url), "%s" RECONCILE, w->admin_url);
    repair = world_spawn(w, "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--noproxy", "*", "-XPOST",
                         "-Hcontent-type: application/json", url, NULL);
    assert_int_equal(world_wait(w, holder).status, 0);
    end = world_wait(w, repair);
    if (strcmp(end.out, "503") == 0)
        return false;
    assert_string_equal(end.out, "200");
    return true;
}

static void a_cycle_that_the_repair_cannot_see_counts(void **state)
{
    struct world *w = *state;

    world_until(60, is_repaired_behind(state, "cycle_add", "null, 7, 3, 1, 2, null, 5, 1, 0, null"));
    assert_string_equal(world_sql(w, RECOUNT), "{3,16,10,2,5,1,1}");
    assert_string_equal(world_sql(w, TOTALS), "{3,16,10,2,5,1,1}");
}

static void what_another_repair_has_mended_is_mended_once(void **state)
{
    struct world *w = *state;

    world_until(60, is_repaired_behind(state, "stats_reconcile", "false, gen_random_uuid(), 'race'"));
    assert_string_equal(world_sql(w, TOTALS), "{2,9,7,1,3,1,1}");
    assert_int_equal(world_count(w, "select repairs from settle.scheduler_cumulative_stats"), 2);
}

/* And at random, each on connections of its own: nobody waits for ever, and each event counts once at the end. */
static void repairs_race_with_each_other_and_with_cycles(void **state)
{
    struct world *w = *state;
    struct process racers[RACERS + 2];
    size_t n = 0;

    spoil(w);
    for (int i = 0; i < RACERS; i++)
        racers[n++] = repeat(w, "settle_operator", "stats_reconcile", "false, gen_random_uuid(), 'race'");
    racers[n++] = repeat(w, "settle_reconciler", "cycle_add", "'15', 7, 3, 1, 2, '{}', 5, 1, 0, '{}'");
    racers[n++] =
        repeat(w, "settle_operator", "scheduler_event_cleanup", "1, null, false, gen_random_uuid(), 'race'");
    for (size_t i = 0; i < n; i++)
        assert_int_equal(world_wait(w, racers[i]).status, 0);
    assert_string_equal(world_sql(w, RECOUNT), "{12,79,37,11,23,1,1}");
    assert_string_equal(world_sql(w, TOTALS), "{12,79,37,11,23,1,1}");
    assert_int_equal(world_count(w, "select repairs from settle.scheduler_cumulative_stats"), RACERS * TIMES);
    assert_int_equal(world_count(w,
                                 "select count(*) from (select check_cycle_number > lag(check_cycle_number) "
                                 "over (order by id) as is_behind from settle.scheduler_event_logs where "
                                 "event_type = 'check_cycle') as cycles where not is_behind"),
                     0);
}

static void the_rebuilt_totals_are_those_of_a_recount(void **state)
{
    struct world *w = *state;
    int events = getenv("SETTLE_TEST_LONG") ? EVENTS_LONG : EVENTS;
    char recount[128];

    world_sql(w,
              "set session_replication_role = replica;" /* as a restore does: without triggers */
              "insert into settle.scheduler_event_logs (event_type, event_date, tasks_found, tasks_executed, "
              "tasks_failed, tasks_skipped, user_id) select (array['check_cycle', 'check_cycle', "
              "'job_completed', 'job_failed', 'job_scheduled', 'start'])[1 + floor(random() * 6)], now() - "
              "random() * interval '300 days', random() * 9, case when random() < 0.9 then random() * 9 end,"
              " random() * 3, random() * 3, case when random() < 0.1 then 'anna' end "
              "from generate_series(1, %d);"
              "set session_replication_role = default",
              events);
    snprintf(recount, sizeof(recount), "%s", world_sql(w, RECOUNT));
    assert_string_not_equal(world_sql(w, TOTALS), recount);
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(world_api(w, "POST", RECONCILE, NULL).status, 200);
        assert_string_equal(world_sql(w, TOTALS), recount);
    }
    assert_int_equal(world_api(w, "POST", CLEANUP "?older_than_days=100&dry_run=false", NULL).status, 200);
    assert_int_equal(world_api(w, "POST", RECONCILE, NULL).status, 200);
    assert_string_equal(world_sql(w, TOTALS), recount);
    assert_string_equal(world_sql(w, RECOUNT), recount);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(each_answer_has_its_members_and_no_others, reset),
        cmocka_unit_test_setup(the_dashboard_tells_of_cycles_and_jobs, reset),
        cmocka_unit_test_setup(without_a_leader_all_is_started_from_outside, reset),
        cmocka_unit_test_setup(a_loop_that_is_late_is_seen, reset),
        cmocka_unit_test_setup(what_a_person_has_begun_is_a_one_time_job, reset),
        cmocka_unit_test_setup(the_settings_are_shown_without_secrets, reset),
        cmocka_unit_test_setup(numbers_are_those_of_the_tables, reset),
        cmocka_unit_test_setup(pages_and_filters, reset),
        cmocka_unit_test_setup(what_cannot_be_is_refused, reset),
        cmocka_unit_test_setup(drift_is_shown_by_reads_and_mended_by_the_repair, reset),
        cmocka_unit_test_setup(what_is_cleaned_up_goes_on_counting, reset),
        cmocka_unit_test_setup(of_twenty_repairs_one_mends, reset),
        cmocka_unit_test_setup(a_cycle_that_the_repair_cannot_see_counts, reset),
        cmocka_unit_test_setup(what_another_repair_has_mended_is_mended_once, reset),
        cmocka_unit_test_setup(repairs_race_with_each_other_and_with_cycles, reset),
        cmocka_unit_test_setup(the_rebuilt_totals_are_those_of_a_recount, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
