/* The tenants' insights tasks are done: by real HTTP, each by one runner at a time whatever happens to runners, and with a
 * record of what came of it. The platforms are tests/flow/insights_server.py. */
#include "support/world.h"

#include "base/attr.h"
#include "base/span.h"
#include "domain/seal.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEY "9f2c1d0e4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0"

static struct server {
    pid_t pid;
    int stdin_fd;
    unsigned port;
    char log[200];
} server;
static char key_path[200];

static void start_server(struct world *w)
{
    int in[2], out[2];
    char script[400];
    FILE *said;

    snprintf(server.log, sizeof(server.log), "%s/asked", w->dir);
    snprintf(script, sizeof(script), "%s/tests/flow/insights_server.py", getenv("SETTLE_TOP"));
    assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC), 0);
    server.pid = fork();
    if (server.pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        execl("/usr/bin/python3", "python3", "-B", script, server.log, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    server.stdin_fd = in[1];
    said = fdopen(out[0], "r");
    assert_int_equal(fscanf(said, "%u", &server.port), 1);
    fclose(said);
}

/* The built-in descriptors, but for where they ask and how often. */
static void write_descriptors(struct world *w)
{
    static const char *const platforms[] = {"gsc", "bing"};
    char command[700];

    for (size_t i = 0; i < countof(platforms); i++) {
        snprintf(
            command, sizeof(command),
            "mkdir -p %s/platforms && sed 's|https://www.googleapis.com|http://127.0.0.1:%u|;"
            "s|https://ssl.bing.com|http://127.0.0.1:%u|;s|budget_per_minute: .*|budget_per_minute: 600|'"
            " %s/shared/platforms/%s.yaml > %s/platforms/%s.yaml",
            w->dir, server.port, server.port, getenv("SETTLE_TOP"), platforms[i], w->dir, platforms[i]);
        assert_int_equal(system(command), 0);
    }
}

static void configure(struct world *w)
{
    char path[200];
    FILE *key;

    snprintf(path, sizeof(path), "%s/platforms", w->dir);
    setenv("SETTLE_PLATFORMS_FOLDER", path, 1);
    snprintf(key_path, sizeof(key_path), "%s/key", w->dir);
    setenv("SETTLE_CONNECTIONS_KEY_FILE", key_path, 1);
    key = fopen(key_path, "w");
    assert_non_null(key);
    assert_int_equal(fchmod(fileno(key), 0600), 0);
    fputs(KEY "\n", key);
    fclose(key);
    setenv("SETTLE_FETCH_ALLOW_HTTP", "true", 1);
    setenv("SETTLE_FETCH_ALLOW_PRIVATE", "127.0.0.1/32", 1);
    setenv("SETTLE_FETCH_BACKOFF_MS", "1", 1);
    setenv("SETTLE_FETCH_AT_ONCE_PER_PLATFORM", "100", 1);
}

static int up(void **state)
{
    struct world *w = *state = world_open();

    start_server(w);
    write_descriptors(w);
    configure(w);
    return 0;
}

/* What waits at the server's gate goes on. */
static void open_gate(void)
{
    char path[220];

    snprintf(path, sizeof(path), "%s.open", server.log);
    fclose(fopen(path, "w"));
}

static void close_gate(void)
{
    char path[220];

    snprintf(path, sizeof(path), "%s.open", server.log);
    unlink(path);
}

static int reset(void **state)
{
    world_reset(*state);
    close_gate();
    unlink(server.log);
    setenv("SETTLE_CONNECTIONS_KEY_FILE", key_path, 1);
    setenv("SETTLE_RECONCILE_FAILURE_THRESHOLD", "1000", 1);
    setenv("SETTLE_FETCH_TIMEOUT_MS", "15000", 1);
    setenv("SETTLE_INSIGHTS_BATCH_SECONDS", "300", 1);
    return 0;
}

static int down(void **state)
{
    close(server.stdin_fd);
    waitpid(server.pid, NULL, 0);
    world_close(*state);
    return 0;
}

/* expires: SQL */
static void connect_user(struct world *w, const char *user, const char *platform, const char *expires)
{
    const struct span place[] = {span_of(user), span_of(platform), SPAN("default")};
    struct arena *arena = arena_open(1024);
    struct err err = {0};
    struct seal_keys *keys = seal_keys_read(SPAN(KEY), &err);
    struct span sealed = seal_make(keys, place, countof(place), SPAN("canary-token"), arena);
    char hex[2048];

    for (size_t i = 0; i < sealed.len; i++)
        snprintf(hex + 2 * i, 3, "%02x", (unsigned char)sealed.at[i]);
    world_sql(w,
              "insert into settle.platform_connections (user_id_str, platform, account, token, key_id, "
              "expires_at, connected)"
              " values ('%s', '%s', 'default', decode('%s', 'hex'), '%.*s', %s, true)",
              user, platform, hex, SPAN_ARG(seal_key_id(keys)), expires);
    seal_keys_close(keys);
    arena_close(arena);
}

/* A task of a user of its own, whose site is https://WORD-USER.example/, due for a minute. Returns its id. */
static long task(struct world *w, const char *user, const char *platform, const char *word)
{
    return world_count(
        w,
        "insert into settle.platform_insights_tasks (user_id, platform, site_url, next_check) "
        "values ('%s', '%s', 'https://%s-%s.example/', now() - interval '1 minute') returning id",
        user, platform, word, user);
}

static long connected(struct world *w, const char *user, const char *platform, const char *word)
{
    connect_user(w, user, platform, "null");
    return task(w, user, platform, word);
}

static struct process start_round(struct world *w)
{
    return world_spawn(w, "settle-reconciler", "insights", "run", "--json", NULL);
}

static struct outcome go_round(struct world *w)
{
    return world_wait(w, start_round(w));
}

static long said(const struct outcome *o, const char *name)
{
    return (long)json_integer_value(json_object_get(o->json, name));
}

static void assert_said(const struct outcome *o, long found, long executed, long failed, long skipped)
{
    if (o->status != 0 || said(o, "tasks_found") != found || said(o, "tasks_executed") != executed ||
        said(o, "tasks_failed") != failed || said(o, "tasks_skipped") != skipped)
        fail_msg("ended with %d: %s%s", o->status, o->out, o->err);
}

static long times_asked(struct world *w)
{
    struct outcome o =
        world_wait(w, world_spawn(w, "sh", "-c", "cat \"$0\" 2>/dev/null | wc -l", server.log, NULL));

    return strtol(o.out, NULL, 10);
}

/* "status failures pattern's reason days until next_check" */
static const char *state_of(struct world *w, long id)
{
    return world_sql(
        w,
        "select concat_ws(' ', status, consecutive_failures, coalesce(failure_pattern ->> 'reason', '-'),"
        " coalesce(round(extract(epoch from next_check - now()) / 86400)::text, 'never'))"
        " from settle.platform_insights_tasks where id = %ld",
        id);
}

static void assert_state(struct world *w, long id, const char *want)
{
    const char *is = state_of(w, id);

    if (strcmp(is, want) != 0)
        fail_msg("task %ld is \"%s\", not \"%s\"", id, is, want);
}

static void make_due(struct world *w)
{
    world_sql(w, "update settle.platform_insights_tasks set next_check = now() where next_check is not null");
}

static void test_figures_are_fetched_and_kept(void **state)
{
    struct world *w = *state;
    long gsc = connected(w, "anna", "gsc", "fine"), bing = connected(w, "bert", "bing", "fine");
    struct outcome o;

    world_sql(w,
              "update settle.platform_insights_tasks set next_check = null, status = 'failed', "
              "consecutive_failures = 2, failure_reason = 'x', failure_pattern = '{}' where id = %ld",
              gsc); /* null is due, and so is one that failed */
    o = go_round(w);
    assert_said(&o, 2, 2, 0, 0);
    assert_state(w, gsc, "active 0 - 7");
    assert_state(w, bing, "active 0 - 7");
    assert_int_equal(
        world_count(w, "select count(*) from settle.platform_insights_tasks where last_check = last_success "
                       "and last_success > now() - interval '1 minute' and failure_reason is null"),
        2);
    assert_string_equal(
        world_sql(w, "select string_agg(concat_ws(' ', status, data_source, result_data ->> 'site_url', "
                     "result_data -> 'figures'), e'\\n' order by task_id) "
                     "from settle.platform_insights_execution_logs"),
        "success api https://fine-anna.example/ {\"ctr\": 0.08, \"clicks\": 7.0, \"position\": 3.5, "
        "\"impressions\": 90.0}\n"
        "success api https://fine-bert.example/ {\"days\": 2, \"clicks\": 7, \"impressions\": 90}");
    assert_int_equal(world_count(w, "select count(*) from settle.platform_insights_execution_logs "
                                    "where execution_time_ms between 0 and 60000"),
                     2);
    assert_int_equal(world_count(w, "select count(*) from settle.task_leases"), 0);
    assert_int_equal(
        world_wait(w, world_spawn(w, "grep", "-c", "Bearer canary-token", server.log, NULL)).status, 0);
    assert_null(strstr(o.err, "canary")); /* in no log line */
    assert_null(strstr(o.out, "canary"));

    o = go_round(w); /* none is due */
    assert_said(&o, 0, 0, 0, 0);
    assert_int_equal(times_asked(w), 2);
}

/* As README tells a user to, by the API alone. */
static void test_who_connects_a_site_reads_its_figures(void **state)
{
    struct world *w = *state;
    struct outcome o;
    struct reply r;
    json_t *log;

    assert_int_equal(world_gateway(w, NULL), 0);
    r = world_api(w, "PUT", "/api/scheduler/platform-connections/anna/gsc", "{\"token\":\"canary-token\"}");
    assert_int_equal(r.status, 422);
    assert_non_null(strstr(r.body, "account_is_no_site"));
    assert_non_null(strstr(r.body, "sc-domain:example.com")); /* the cure */
    o = world_wait(w, world_spawn(w, "settle-reconciler", "connections", "set", "--user", "anna",
                                  "--platform", "gsc", "--dry-run", NULL));
    assert_int_equal(o.status, 65);
    assert_non_null(strstr(o.err, "sc-domain:example.com"));
    r = world_api(w, "PUT", "/api/scheduler/platform-connections/anna/gsc",
                  "{\"account\":\"https://fine-anna.example/\",\"token\":\"canary-token\"}");
    assert_int_equal(r.status, 200);
    r = world_api(w, "POST", "/api/scheduler/platform-insights/reconcile/anna", NULL);
    assert_int_equal(r.status, 200);
    make_due(w);
    o = go_round(w);
    assert_said(&o, 1, 1, 0, 0);
    r = world_api(w, "GET", "/api/scheduler/platform-insights/logs/anna", NULL);
    assert_int_equal(r.status, 200);
    log = json_array_get(json_object_get(r.json, "logs"), 0);
    assert_string_equal(json_string_value(json_object_get(log, "status")), "success");
    log = json_object_get(log, "result_data");
    assert_string_equal(json_string_value(json_object_get(log, "site_url")), "https://fine-anna.example/");
    assert_int_equal(json_number_value(json_object_get(json_object_get(log, "figures"), "impressions")), 90);
    world_gateway_stop(w);
}

static void test_a_round_is_one_event_and_one_run(void **state)
{
    struct world *w = *state;
    struct outcome o;

    connected(w, "anna", "gsc", "fine");
    connected(w, "bert", "gsc", "e403");
    world_sql(w,
              "update settle.platform_insights_tasks set status = 'needs_intervention', next_check = null "
              "where id = %ld",
              connected(w, "carl", "gsc", "fine"));
    o = go_round(w);
    assert_said(&o, 2, 1, 1, 1);
    assert_string_equal(
        world_sql(w, "select concat_ws(' ', tasks_found, tasks_executed, tasks_failed, tasks_skipped, "
                     "tasks_by_type, check_interval_minutes, active_strategies_count, "
                     "check_duration_seconds is not null) "
                     "from settle.scheduler_event_logs where event_type = 'check_cycle'"),
        "2 1 1 1 {\"platform_insights\": 2} 15.00 2 t");
    assert_string_equal(
        world_sql(w, "select concat_ws(' ', total_check_cycles, cumulative_tasks_found, "
                     "cumulative_tasks_executed, cumulative_tasks_failed, cumulative_tasks_skipped) "
                     "from settle.scheduler_cumulative_stats"),
        "1 2 1 1 1");
    assert_string_equal(world_sql(w, "select concat_ws(' ', job_name, status, outcome, records_read, "
                                     "report ->> 'tasks_found') from settle.job_runs"),
                        "insights success done 2 2");
}

/* What a platform does, and what the task then is. */
static const struct failure {
    const char *word, *pattern, *message; /* of the log */
} failures[] = {
    {"e401",    "auth_error",    "auth_error: HTTP 401"            },
    {"e403",    "auth_error",    "auth_error: HTTP 403"            },
    {"e404",    "config_error",  "config_error: HTTP 404"          },
    {"e429",    "api_limit",     "rate_limited: HTTP 429"          },
    {"e500",    "network_error", "fetch_error: HTTP 500"           },
    {"garbage", "unknown",       "invalid_adapter_return: HTTP 200"},
    {"tiny",    "unknown",       "invalid_adapter_return: HTTP 200"},
};
static const struct failure too_slow = {"slow", "network_error", "timeout"};

static void assert_failed(struct world *w, long id, const struct failure *f)
{
    char want[64];

    snprintf(want, sizeof(want), "failed 1 %s 1", f->pattern);
    assert_state(w, id, want);
    assert_string_equal(world_sql(w,
                                  "select concat_ws(' ', status, error_message) "
                                  "from settle.platform_insights_execution_logs where task_id = %ld",
                                  id),
                        world_sql(w, "select 'failed %s'", f->message));
    assert_string_equal(
        world_sql(w, "select failure_reason from settle.platform_insights_tasks where id = %ld", id),
        f->message);
}

static void test_each_failure_has_its_class(void **state)
{
    struct world *w = *state;
    long ids[countof(failures)], unconnected, expired, sealed, siteless;
    struct outcome o;

    for (size_t i = 0; i < countof(failures); i++)
        ids[i] = connected(w, failures[i].word, "gsc", failures[i].word);
    unconnected = task(w, "nobody", "gsc", "fine");
    connect_user(w, "late", "gsc", "now() - interval '1 second'");
    expired = task(w, "late", "gsc", "fine");
    sealed = connected(w, "sealed", "gsc", "fine");
    world_sql(
        w, "update settle.platform_connections set key_id = '0123456789abcdef' where user_id_str = 'sealed'");
    siteless = connected(w, "siteless", "gsc", "fine");
    world_sql(w, "update settle.platform_insights_tasks set site_url = null where id = %ld", siteless);

    o = go_round(w);
    assert_said(&o, countof(failures) + 4, 0, countof(failures) + 3, 1);
    for (size_t i = 0; i < countof(failures); i++)
        assert_failed(w, ids[i], &failures[i]);
    assert_state(w, unconnected, "failed 1 auth_error 1");
    assert_state(w, expired, "failed 1 auth_error 1");
    assert_state(w, sealed, "active 0 - 0"); /* our keys are no fault of theirs */
    assert_state(w, siteless, "failed 1 config_error 1");
    assert_int_equal(world_wait(w, world_spawn(w, "grep", "-c", "fine-", server.log, NULL)).status, 1);
}

/* By itself: a time that is short enough to be waited out is too short for others on a slow machine. */
static void test_a_time_out_has_its_class(void **state)
{
    struct world *w = *state;
    long id = connected(w, "anna", "gsc", too_slow.word);
    struct outcome o;

    setenv("SETTLE_FETCH_TIMEOUT_MS", "800", 1);
    o = go_round(w);
    assert_said(&o, 1, 0, 1, 0);
    assert_failed(w, id, &too_slow);
}

static void test_three_failures_in_a_row_want_a_person(void **state)
{
    struct world *w = *state;
    long id = connected(w, "anna", "gsc", "e403");
    struct outcome o;

    for (int i = 1; i <= 2; i++) {
        o = go_round(w);
        assert_said(&o, 1, 0, 1, 0);
        assert_state(w, id, i == 1 ? "failed 1 auth_error 1" : "failed 2 auth_error 1");
        make_due(w);
    }
    o = go_round(w);
    assert_said(&o, 1, 0, 1, 0);
    assert_state(w, id, "needs_intervention 3 auth_error never");
    assert_int_equal(
        world_count(w,
                    "select count(*) from settle.platform_insights_tasks "
                    "where cool_off_until between now() + interval '6 days' and now() + interval '7 days'"),
        1);
    o = go_round(w);
    assert_said(&o, 0, 0, 0, 1);
}

static void test_five_failures_in_a_week_want_a_person(void **state)
{
    struct world *w = *state;
    long id = connected(w, "anna", "gsc", "e403");
    struct outcome o;

    world_sql(
        w,
        "insert into settle.platform_insights_execution_logs (task_id, status, execution_date) "
        "select %ld, case when n <= 5 then 'failed' else 'success' end, now() - n * interval '1.5 days' "
        "from generate_series(1, 6) as n",
        id); /* four of the five are of this week */
    o = go_round(w);
    assert_said(&o, 1, 0, 1, 0);
    assert_state(w, id, "needs_intervention 1 auth_error never");
}

static void test_ten_are_asked_about_at_one_time(void **state)
{
    struct world *w = *state;
    struct outcome o;
    char user[16];

    for (int i = 0; i < 20; i++) {
        snprintf(user, sizeof(user), "u%d", i);
        connected(w, user, i % 2 ? "gsc" : "bing", "crowd");
    }
    o = go_round(w);
    assert_said(&o, 20, 20, 0, 0);
    o = world_wait(w,
                   world_spawn(w, "sh", "-c", "cut -d' ' -f4 <\"$0\" | sort -n | tail -1", server.log, NULL));
    assert_int_equal(strtol(o.out, NULL, 10), 10);
    assert_int_equal(times_asked(w), 20);
}

static void test_what_takes_too_long_is_cut_off(void **state)
{
    struct world *w = *state;
    long slow = connected(w, "anna", "gsc", "slow"), fine = connected(w, "bert", "gsc", "fine");
    struct outcome o;

    setenv("SETTLE_INSIGHTS_BATCH_SECONDS", "6", 1);
    o = go_round(w);
    assert_said(&o, 2, 1, 1, 0);
    assert_int_equal(said(&o, "timed_out"), 1);
    assert_state(w, slow, "failed 1 network_error 1");
    assert_state(w, fine, "active 0 - 7");
    assert_string_equal(world_sql(w,
                                  "select concat_ws(' ', status, error_message) "
                                  "from settle.platform_insights_execution_logs where task_id = %ld",
                                  slow),
                        "failed timeout");
    assert_int_equal(world_count(w, "select count(*) from settle.task_leases"), 0);
}

static void test_a_breaker_that_is_open_counts_against_no_task(void **state)
{
    struct world *w = *state;
    struct outcome o;
    char user[16];

    setenv("SETTLE_RECONCILE_FAILURE_THRESHOLD", "1", 1);
    setenv("SETTLE_INSIGHTS_AT_ONCE", "1", 1);
    connected(w, "u0", "gsc", "garbage");
    for (int i = 1; i < 4; i++) {
        snprintf(user, sizeof(user), "u%d", i);
        connected(w, user, "gsc", "fine");
    }
    world_sql(w, "update settle.platform_insights_tasks set next_check = now() - interval '1 hour' where "
                 "user_id = 'u0'");
    connected(w, "u4", "bing", "fine");
    o = go_round(w);
    unsetenv("SETTLE_INSIGHTS_AT_ONCE");
    assert_said(&o, 5, 1, 1, 3);
    assert_int_equal(
        world_count(
            w, "select count(*) from settle.platform_insights_tasks as t "
               "where platform = 'gsc' and status = 'active' and consecutive_failures = 0 and next_check <= "
               "now() "
               "and not exists (select from settle.platform_insights_execution_logs where task_id = t.id)"),
        3); /* they are due as they were */
    assert_non_null(strstr(o.err, "\"circuit_open\""));
    assert_int_equal(times_asked(w), 2);
}

static void test_a_paused_platform_is_not_asked(void **state)
{
    struct world *w = *state;
    struct outcome o;

    connected(w, "anna", "gsc", "fine");
    world_sql(w,
              "insert into settle.platform_pauses (platform, actor, reason) values ('gsc', 'test', 'test')");
    o = go_round(w);
    assert_said(&o, 1, 0, 0, 1);
    assert_int_equal(times_asked(w), 0);
}

static void test_a_dry_run_writes_nothing(void **state)
{
    struct world *w = *state;
    long id = connected(w, "anna", "gsc", "fine");
    struct outcome o =
        world_wait(w, world_spawn(w, "settle-reconciler", "insights", "run", "--dry-run", "--json", NULL));

    assert_said(&o, 1, 0, 0, 0);
    assert_int_equal(
        json_integer_value(json_object_get(json_array_get(json_object_get(o.json, "due"), 0), "id")), id);
    assert_int_equal(times_asked(w), 0);
    assert_int_equal(world_count(w,
                                 "select (select count(*) from settle.job_runs) + (select count(*) from "
                                 "settle.task_leases) + (select count(*) from settle.scheduler_event_logs)"),
                     0);
}

/* As if the killed one's lease of the job were over; its tasks' leases are not. */
static void free_job(struct world *w)
{
    world_sql(
        w, "update settle.job_fences set lease_until = now() - interval '1 second' where name = 'insights'");
    world_redis(w, "del", "settle:lock:insights", NULL);
}

static void test_what_a_killed_runner_held_is_taken_over_when_its_lease_ends(void **state)
{
    struct world *w = *state;
    long id = connected(w, "anna", "gsc", "slow");
    struct process p = start_round(w);
    struct outcome o;

    world_until(30, times_asked(w) == 1);
    kill(p.pid, SIGKILL);
    world_wait(w, p);
    free_job(w);
    world_sql(w, "update settle.platform_insights_tasks set site_url = 'https://fine-anna.example/'");
    o = go_round(w);
    assert_said(&o, 1, 0, 0, 0); /* somebody may still be at it */
    assert_int_equal(said(&o, "leased"), 1);
    assert_int_equal(times_asked(w), 1);
    assert_int_equal(world_count(w, "select count(*) from settle.task_leases where expires_at between "
                                    "now() + interval '800 seconds' and now() + interval '900 seconds'"),
                     1);
    world_sql(w, "update settle.task_leases set expires_at = now()");
    o = go_round(w);
    assert_said(&o, 1, 1, 0, 0);
    assert_state(w, id, "active 0 - 7");
    assert_int_equal(world_count(w, "select count(*) from settle.task_leases"), 0);
}

static long runs(struct world *w, const char *condition)
{
    return world_count(w, "select count(*) from settle.job_runs where %s", condition);
}

/* Unless who has the job has renewed its lock in between: then the next one has left it to him. */
static bool is_taken_over(struct world *w, struct process *ret_next)
{
    long before = runs(w, "true");

    free_job(w);
    *ret_next = start_round(w);
    world_until(20, runs(w, "true") > before);
    if (runs(w, "status <> 'skipped'") == 2)
        return true;
    world_wait(w, *ret_next);
    return false;
}

/* The job's lock is pulled away from one runner, which knows nothing of it; its task's lease holds, until it is over too. */
static void overtake(struct world *w, bool lease_too)
{
    struct process p, q;
    struct outcome first, second;
    long id = connected(w, "anna", "gsc", "gate");

    connected(w, "bert", "gsc", "fine");
    p = start_round(w);
    world_until(30, world_count(w, "select count(*) from settle.platform_insights_execution_logs") == 1 &&
                        times_asked(w) == 2);
    if (lease_too)
        world_sql(w, "update settle.task_leases set expires_at = now()");
    make_due(w);
    world_until(20, is_taken_over(w, &q));
    open_gate();
    second = world_wait(w, q);
    first = world_wait(w, p);
    assert_int_equal(first.status, 75);
    assert_int_equal(second.status, 0);
    assert_int_equal(said(&first, "tasks_executed"), 1); /* before it was overtaken */
    assert_int_equal(said(&second, "tasks_executed"), lease_too ? 2 : 1);
    assert_int_equal(
        world_count(w, "select count(*) from settle.platform_insights_execution_logs where task_id = %ld",
                    id),
        lease_too);
    assert_int_equal(
        world_count(w, "select count(*) from settle.scheduler_event_logs where event_type = 'check_cycle'"),
        1);
}

static void test_who_was_overtaken_writes_nothing(void **state)
{
    overtake(*state, false);
}

static void test_an_answer_under_a_lost_lease_is_dropped(void **state)
{
    overtake(*state, true);
}

/* One at a time: the last that is begun has the time to end. */
static void test_none_is_begun_that_could_not_end(void **state)
{
    struct world *w = *state;
    struct outcome o;
    char user[16];

    for (int i = 0; i < 20; i++) {
        snprintf(user, sizeof(user), "u%d", i);
        connected(w, user, "gsc", "brief");
    }
    setenv("SETTLE_INSIGHTS_BATCH_SECONDS", "6", 1);
    setenv("SETTLE_INSIGHTS_AT_ONCE", "1", 1);
    o = go_round(w);
    unsetenv("SETTLE_INSIGHTS_AT_ONCE");
    assert_int_equal(o.status, 0);
    assert_int_equal(said(&o, "tasks_failed"), 0);
    assert_in_range(said(&o, "tasks_executed"), 1, 19);
    assert_true(json_is_true(json_object_get(o.json, "ran_out")));
}

/* That our keys are missing is charged to no tenant. */
static void test_without_keys_nobody_is_asked(void **state)
{
    struct world *w = *state;
    long id = connected(w, "anna", "gsc", "fine");
    struct outcome o;

    setenv("SETTLE_CONNECTIONS_KEY_FILE", "/nonexistent/key", 1);
    o = go_round(w);
    assert_int_equal(o.status, 78);
    assert_non_null(strstr(o.err, "connections.key_file"));
    unsetenv("SETTLE_CONNECTIONS_KEY_FILE");
    o = go_round(w);
    assert_int_equal(o.status, 78);
    assert_non_null(strstr(o.err, "connections.key_file is not set"));
    setenv("SETTLE_CONNECTIONS_KEY_FILE", key_path, 1);
    assert_state(w, id, "active 0 - 0");
    assert_int_equal(world_count(w, "select count(*) from settle.platform_insights_execution_logs"), 0);
    o = go_round(w);
    assert_said(&o, 1, 1, 0, 0);
}

/* While a breaker is open its platform's tasks are not taken one by one to be put back. */
static void test_an_open_breaker_leaves_the_rest_alone(void **state)
{
    struct world *w = *state;
    struct outcome o;

    world_sql(w,
              "insert into settle.breakers (platform, state, failures, opened_at, transitions, probes_until) "
              "values ('gsc', 'open', 5, now(), 1, '{}')");
    for (int i = 0; i < 30; i++) {
        char user[16];

        snprintf(user, sizeof(user), "u%d", i);
        connected(w, user, "gsc", "fine");
    }
    connected(w, "late", "bing", "fine");
    o = go_round(w);
    assert_said(&o, 31, 1, 0, 30);
    assert_int_equal(times_asked(w), 1);
    assert_in_range(world_count(w, "select count(*) from settle.platform_insights_execution_logs"), 2, 12);
    assert_in_range(
        world_count(
            w, "select count(*) from settle.platform_insights_tasks as t "
               "join settle.platform_insights_execution_logs as l on l.task_id = t.id "
               "where l.status = 'skipped' and error_message = 'circuit_open' and t.status = 'active' and "
               "consecutive_failures = 0 and next_check between now() + interval '4 minutes' and now() + "
               "interval '5 minutes'"),
        1, 11); /* those that were taken before are due a little later */
    world_sql(w, "delete from settle.breakers");
}

/* Whatever is wrong with one tenant's row, the others' tasks are done. */
static void test_a_row_that_cannot_be_written_is_left_alone(void **state)
{
    struct world *w = *state;
    long held = connected(w, "anna", "gsc", "gate"), refused = connected(w, "bert", "gsc", "gate"),
         fine = connected(w, "carl", "gsc", "gate");
    struct process p = start_round(w), holder;
    struct outcome o;

    world_until(30, times_asked(w) == 3);
    world_sql(
        w,
        "create function settle.refuse_figures() returns trigger language plpgsql as "
        "$$begin raise numeric_value_out_of_range; end$$; "
        "create trigger refuse_figures before insert on settle.platform_insights_execution_logs for each row "
        "when (new.task_id = %ld and new.result_data is not null) execute function settle.refuse_figures()",
        refused);
    holder = world_spawn(
        w, "psql", w->database_url, "-U", "postgres", "-qc", "begin", "-c",
        world_sql(w, "select 'select from settle.platform_insights_tasks where id = %ld for update'", held),
        "-c", "select pg_sleep(600)", NULL);
    world_until(30, world_count(w, "select count(*) from pg_stat_activity where query ~ 'pg_sleep.600' and "
                                   "state = 'active' and pid <> pg_backend_pid()") == 1);
    open_gate();
    o = world_wait(w, p);
    world_sql(w, "select pg_terminate_backend(pid) from pg_stat_activity where query ~ 'pg_sleep.600' and "
                 "pid <> pg_backend_pid()");
    (void)world_wait(w, holder);
    world_sql(w, "drop function settle.refuse_figures cascade");
    assert_said(&o, 3, 1, 1, 0);
    assert_int_equal(said(&o, "lost"), 1);
    assert_non_null(strstr(o.err, "insights_not_written"));
    assert_state(w, fine, "active 0 - 7");
    assert_state(w, refused, "failed 1 unknown 1");
    assert_state(w, held, "active 0 - 0");
    assert_string_equal(world_sql(w, "select task_key from settle.task_leases"),
                        world_sql(w, "select 'platform_insights_%ld'", held));
}

/* The job is still its own, the task is not: nobody has taken it, and yet nothing is written. */
static void test_a_lease_that_is_over_is_nobodys(void **state)
{
    struct world *w = *state;
    long id = connected(w, "anna", "gsc", "gate");
    struct process p = start_round(w);
    struct outcome o;

    world_until(30, times_asked(w) == 1);
    world_sql(w, "update settle.task_leases set expires_at = now()");
    open_gate();
    o = world_wait(w, p);
    assert_said(&o, 1, 0, 0, 0);
    assert_int_equal(said(&o, "lost"), 1);
    assert_non_null(strstr(o.err, "insights_lease_lost"));
    assert_int_equal(world_count(w, "select count(*) from settle.platform_insights_execution_logs"), 0);
    assert_state(w, id, "active 0 - 0");
}

static void test_told_to_end_it_leaves_nothing_behind(void **state)
{
    struct world *w = *state;
    long id = connected(w, "anna", "gsc", "slow");
    struct process p = start_round(w);
    struct outcome o;

    world_until(30, times_asked(w) == 1);
    kill(p.pid, SIGTERM);
    o = world_wait(w, p);
    assert_int_equal(o.status, 75);
    assert_int_equal(said(&o, "cut_off"), 1);
    assert_int_equal(world_count(w, "select count(*) from settle.task_leases"), 0);
    assert_state(w, id, "active 0 - 0"); /* due as it was */
    assert_string_equal(world_sql(w, "select concat_ws(' ', status, error_message) "
                                     "from settle.platform_insights_execution_logs"),
                        "skipped interrupted");
    assert_string_equal(world_sql(w, "select concat_ws(' ', status, outcome) from settle.job_runs"),
                        "failed interrupted");
}

static void test_what_fails_for_a_moment_is_tried_again_at_once(void **state)
{
    struct world *w = *state;
    struct outcome o;

    connected(w, "anna", "gsc", "once");
    o = go_round(w);
    assert_said(&o, 1, 1, 0, 0);
    assert_int_equal(times_asked(w), 2);
}

enum {
    TASKS = 8,
    EACH_SLOW = 4
}; /* of a round of two runners; of so many one takes longer than the round may */

static void tasks_of_a_round(struct world *w)
{
    char user[16];

    for (int i = 0; i < TASKS; i++) {
        snprintf(user, sizeof(user), "u%d", i);
        connected(w, user, "gsc", i % EACH_SLOW ? "fine" : "slow");
    }
}

/* None was asked about while somebody was at it, or after it was done. */
static void assert_none_twice(struct world *w)
{
    struct outcome o = world_wait(
        w, world_spawn(w, "sh", "-c", "cut -d' ' -f1 <\"$0\" | sort | uniq -d | wc -l", server.log, NULL));

    assert_int_equal(strtol(o.out, NULL, 10), 0);
    assert_int_equal(world_count(w, "select count(*) - count(distinct task_id) from "
                                    "settle.platform_insights_execution_logs where status <> 'skipped'"),
                     0);
}

static void assert_ended(const struct outcome *o, int status, const char *who)
{
    if (o->status != status)
        fail_msg("%s ended with %d, not %d: %s", who, o->status, status, o->err);
}

/* What a slow machine has not come to in time the next rounds do. */
static void do_the_rest(struct world *w)
{
    for (int rounds = 0; rounds < 10 && world_count(w, "select count(*) from settle.platform_insights_tasks "
                                                       "where next_check <= now()") > 0;
         rounds++) {
        struct outcome o = go_round(w);

        assert_ended(&o, 0, "who did the rest");
    }
}

/* Each task has ended as it must, once, and nobody has anything of it any more: two were cut off, and on a slow machine another
 * one may have been. */
static void assert_all_done(struct world *w)
{
    assert_string_equal(
        world_sql(w,
                  "select count(*), count(distinct task_id),"
                  "  count(*) filter (where l.status = 'failed' and error_message = 'timeout' and site_url ~ "
                  "'//slow-'),"
                  "  count(*) filter (where l.status = 'success' or error_message = 'timeout'),"
                  "  count(*) filter (where t.status = case l.status when 'success' then 'active' else "
                  "'failed' end and next_check > now())"
                  " from settle.platform_insights_execution_logs as l"
                  " join settle.platform_insights_tasks as t on t.id = task_id"
                  " where l.status <> 'skipped'"),
        "8|8|2|8|8");
    assert_int_equal(world_count(w, "select count(*) from settle.task_leases"), 0);
}

/* The second comes while the first is at it, and finds the job taken: what is too slow the first cuts off itself. */
static void one_beside_another(struct world *w)
{
    struct process one, other;
    struct outcome first, second;

    tasks_of_a_round(w);
    one = start_round(w);
    world_until(30, times_asked(w) > 0);
    other = start_round(w);
    second = world_wait(w, other);
    first = world_wait(w, one);
    assert_ended(&first, 0, "the first");
    assert_ended(&second, 0, "the second");
    assert_none_twice(w);
    assert_int_equal(
        said(&first, "tasks_executed") + said(&first, "tasks_failed") + said(&second, "tasks_executed") +
            said(&second, "tasks_failed"),
        world_count(w, "select count(*) from settle.platform_insights_execution_logs where status <> "
                       "'skipped'"));
    assert_int_equal(world_count(w, "select count(*) from settle.task_leases"), 0);
    do_the_rest(w);
    assert_all_done(w);
}

/* The second believes that it may: what the first had under way nobody touches until its leases end, and then a third one does
 * it. Nobody has done anything that another has done too. */
static void one_overtaken_by_another(struct world *w)
{
    struct process one, other;
    struct outcome first, second, third;
    long under_way;

    tasks_of_a_round(w);
    one = start_round(w);
    world_until(30, times_asked(w) > 0);
    free_job(w);
    other = start_round(w);
    first = world_wait(w, one);
    second = world_wait(w, other);
    if (first.status != 75)
        assert_ended(&first, 0, "who was overtaken");
    assert_ended(&second, 0, "who overtook it");
    assert_none_twice(w);
    under_way = world_count(w, "select count(*) from settle.task_leases where expires_at > now()");
    third = go_round(w);
    assert_ended(&third, 0, "who found leases");
    assert_int_equal(said(&third, "leased"), under_way);
    assert_none_twice(w);
    assert_int_equal(world_count(w, "select count(*) from settle.task_leases"), under_way);

    world_sql(w, "update settle.task_leases set expires_at = now()");
    do_the_rest(w);
    assert_all_done(w);
}

static void test_two_runners_do_no_task_twice(void **state)
{
    struct world *w = *state;
    int rounds = getenv("SETTLE_TEST_LONG") ? 20 : 2;

    for (int round = 0; round < rounds; round++) {
        reset(state);
        setenv("SETTLE_INSIGHTS_BATCH_SECONDS", "2", 1);
        if (round % 2)
            one_overtaken_by_another(w);
        else
            one_beside_another(w);
    }
}

static void test_a_person_sets_a_task_going_again(void **state)
{
    struct world *w = *state;
    long id = connected(w, "anna", "gsc", "fine");
    struct outcome o;
    char number[24];

    snprintf(number, sizeof(number), "%ld", id);
    world_sql(w,
              "update settle.platform_insights_tasks set status = 'needs_intervention', next_check = null, "
              "consecutive_failures = 3, cool_off_until = now() + interval '7 days', failure_pattern = '{}'");
    o = world_wait(w, world_spawn(w, "settle-reconciler", "insights", "trigger", number, "--json", NULL));
    assert_int_equal(o.status, 0);
    assert_true(json_is_true(json_object_get(o.json, "changed")));
    assert_state(w, id, "active 0 - 0");
    o = world_wait(w, world_spawn(w, "settle-reconciler", "insights", "trigger", number, "--json", NULL));
    assert_true(json_is_false(json_object_get(o.json, "changed")));
    o = go_round(w);
    assert_said(&o, 1, 1, 0, 0);
    o = world_wait(w, world_spawn(w, "settle-reconciler", "insights", "trigger", "999999", NULL));
    assert_int_equal(o.status, 65);
    assert_int_equal(
        world_count(w,
                    "select count(*) from settle.social_sync_ledger where event_type = 'task_triggered' "
                    "and actor = 'cli' and metadata ->> 'task_id' = '%ld'",
                    id),
        2);
}

static struct outcome trigger(struct world *w, long id)
{
    char number[24];

    snprintf(number, sizeof(number), "%ld", id);
    return world_wait(w, world_spawn(w, "settle-reconciler", "insights", "trigger", number, "--json", NULL));
}

static void test_what_failed_before_a_trigger_is_forgotten(void **state)
{
    struct world *w = *state;
    long id = connected(w, "anna", "gsc", "e403");
    struct outcome o;

    world_sql(w,
              "insert into settle.platform_insights_execution_logs (task_id, status, execution_date) "
              "select %ld, 'failed', now() - n * interval '1 day' from generate_series(1, 4) as n",
              id);
    world_sql(w, "update settle.platform_insights_tasks set last_failure = now() - interval '1 day'");
    o = trigger(w, id);
    assert_true(
        json_is_true(json_object_get(o.json, "changed"))); /* due as it was, but nothing is held against it */
    o = go_round(w);
    assert_said(&o, 1, 0, 1, 0);
    assert_state(w, id, "failed 1 auth_error 1");
}

static void test_a_trigger_counts_though_the_task_is_on_its_way(void **state)
{
    struct world *w = *state;
    long id = connected(w, "anna", "gsc", "gate500");
    struct process p = start_round(w);
    struct outcome o;

    world_until(30, times_asked(w) == 1);
    o = trigger(w, id);
    assert_int_equal(o.status, 0);
    open_gate();
    o = world_wait(w, p);
    assert_said(&o, 1, 0, 1, 0);
    assert_state(w, id, "active 0 - 0"); /* due, and the failure was of before */
    o = go_round(w);
    assert_said(&o, 1, 0, 1, 0);
    assert_state(w, id, "failed 1 network_error 1");
}

static void test_a_task_that_is_not_there_is_told(void **state)
{
    static const char *const words[][2] = {
        {"run",     "--task=999999"},
        {"trigger", "999999"       }
    };
    struct world *w = *state;

    for (size_t i = 0; i < countof(words); i++)
        for (int dry = 0; dry < 2; dry++) {
            struct outcome o = world_wait(w, world_spawn(w, "settle-reconciler", "insights", words[i][0],
                                                         words[i][1], dry ? "--dry-run" : NULL, NULL));

            assert_int_equal(o.status, 65);
            assert_non_null(strstr(o.err, "there is no insights task 999999"));
        }
}

static void test_one_task_is_run_though_it_waits_for_a_person(void **state)
{
    struct world *w = *state;
    long id = connected(w, "anna", "gsc", "fine");
    char number[24];
    struct outcome o;

    snprintf(number, sizeof(number), "%ld", id);
    connected(w, "bert", "gsc", "fine");
    world_sql(w,
              "update settle.platform_insights_tasks set status = 'needs_intervention', next_check = null "
              "where id = %ld",
              id);
    o = world_wait(w,
                   world_spawn(w, "settle-reconciler", "insights", "run", "--task", number, "--json", NULL));
    assert_int_equal(o.status, 0);
    assert_int_equal(said(&o, "tasks_executed"), 1);
    assert_state(w, id, "active 0 - 7");
    assert_int_equal(times_asked(w), 1);
    assert_int_equal(world_count(w, "select count(*) from settle.scheduler_event_logs"), 0); /* no round */
}

static void test_leases_that_are_too_short_are_refused(void **state)
{
    struct world *w = *state;
    struct outcome o;

    setenv("SETTLE_INSIGHTS_LEASE_SECONDS", "300", 1);
    o = go_round(w);
    unsetenv("SETTLE_INSIGHTS_LEASE_SECONDS");
    assert_int_equal(o.status, 78);
    assert_non_null(strstr(o.err, "insights.lease_seconds"));
    assert_int_equal(world_count(w, "select count(*) from settle.job_runs"), 0);
}

/* serve starts what is due, and goes slower while no task is ever due. */
static void test_serve_keeps_the_rounds_apart(void **state)
{
    struct world *w = *state;
    struct process p;

    setenv("SETTLE_SCHEDULES_PUBLICATIONS", "", 1);
    setenv("SETTLE_SCHEDULES_MAINTAIN", "", 1);
    setenv("SETTLE_SCHEDULES_AGGREGATES", "", 1);
    world_sql(w, "insert into settle.job_schedule (job, cron, next_due) values ('insights', '*/15 * * * *', "
                 "now() - interval '50 minutes')");
    p = world_spawn(w, "settle-reconciler", "serve", NULL);
    world_until(
        15,
        world_count(
            w,
            "select count(*) from settle.scheduler_event_logs where event_type = 'interval_adjustment' "
            "and previous_interval_minutes = 15 and new_interval_minutes = 60 and job_id = 'insights'") == 1);
    assert_int_equal(
        world_count(
            w, "select count(*) from settle.job_runs where job_name = 'insights' and trigger = 'startup' "
               "and status = 'success'"),
        1); /* what was missed is caught up */
    connected(w, "anna", "gsc", "fine");
    world_until(
        15,
        world_count(
            w, "select count(*) from settle.scheduler_event_logs where event_type = 'interval_adjustment' "
               "and previous_interval_minutes = 60 and new_interval_minutes = 15") == 1);
    world_sql(w, "update settle.job_schedule set next_due = now() where job = 'insights'");
    world_until(
        15, world_count(w, "select cumulative_tasks_executed from settle.scheduler_cumulative_stats") == 1);
    kill(p.pid, SIGTERM);
    assert_int_equal(world_wait(w, p).status, 0);
    unsetenv("SETTLE_SCHEDULES_PUBLICATIONS");
    unsetenv("SETTLE_SCHEDULES_MAINTAIN");
    unsetenv("SETTLE_SCHEDULES_AGGREGATES");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_figures_are_fetched_and_kept, reset),
        cmocka_unit_test_setup(test_who_connects_a_site_reads_its_figures, reset),
        cmocka_unit_test_setup(test_a_round_is_one_event_and_one_run, reset),
        cmocka_unit_test_setup(test_each_failure_has_its_class, reset),
        cmocka_unit_test_setup(test_a_time_out_has_its_class, reset),
        cmocka_unit_test_setup(test_three_failures_in_a_row_want_a_person, reset),
        cmocka_unit_test_setup(test_five_failures_in_a_week_want_a_person, reset),
        cmocka_unit_test_setup(test_ten_are_asked_about_at_one_time, reset),
        cmocka_unit_test_setup(test_what_takes_too_long_is_cut_off, reset),
        cmocka_unit_test_setup(test_a_breaker_that_is_open_counts_against_no_task, reset),
        cmocka_unit_test_setup(test_a_paused_platform_is_not_asked, reset),
        cmocka_unit_test_setup(test_a_dry_run_writes_nothing, reset),
        cmocka_unit_test_setup(test_what_a_killed_runner_held_is_taken_over_when_its_lease_ends, reset),
        cmocka_unit_test_setup(test_who_was_overtaken_writes_nothing, reset),
        cmocka_unit_test_setup(test_an_answer_under_a_lost_lease_is_dropped, reset),
        cmocka_unit_test_setup(test_none_is_begun_that_could_not_end, reset),
        cmocka_unit_test_setup(test_without_keys_nobody_is_asked, reset),
        cmocka_unit_test_setup(test_an_open_breaker_leaves_the_rest_alone, reset),
        cmocka_unit_test_setup(test_a_row_that_cannot_be_written_is_left_alone, reset),
        cmocka_unit_test_setup(test_a_lease_that_is_over_is_nobodys, reset),
        cmocka_unit_test_setup(test_told_to_end_it_leaves_nothing_behind, reset),
        cmocka_unit_test_setup(test_what_fails_for_a_moment_is_tried_again_at_once, reset),
        cmocka_unit_test_setup(test_two_runners_do_no_task_twice, reset),
        cmocka_unit_test_setup(test_a_person_sets_a_task_going_again, reset),
        cmocka_unit_test_setup(test_what_failed_before_a_trigger_is_forgotten, reset),
        cmocka_unit_test_setup(test_a_trigger_counts_though_the_task_is_on_its_way, reset),
        cmocka_unit_test_setup(test_a_task_that_is_not_there_is_told, reset),
        cmocka_unit_test_setup(test_one_task_is_run_though_it_waits_for_a_person, reset),
        cmocka_unit_test_setup(test_leases_that_are_too_short_are_refused, reset),
        cmocka_unit_test_setup(test_serve_keeps_the_rounds_apart, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
