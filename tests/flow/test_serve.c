/*
 * The reconciler as a scheduler: each due time of a job has one run, whoever leads, whatever is killed or frozen.
 */
#include "support/world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RUN_A "0190a0a0-aaaa-7222-8333-444455556666"
#define NEVER "0 0 1 1 *" /* not while this test runs, but for one day */

enum { REPLICAS = 2, ROUNDS = 4, ROUNDS_LONG = 20 };

static int up(void **state)
{
    *state = world_open();
    return 0;
}

static int reset(void **state)
{
    world_reset(*state);
    setenv("SETTLE_SCHEDULES_PUBLICATIONS", "@every 1s", 1);
    setenv("SETTLE_SCHEDULES_MAINTAIN", "", 1);
    setenv("SETTLE_SCHEDULES_INSIGHTS", "", 1);
    setenv("SETTLE_SCHEDULES_AGGREGATES", "", 1);
    setenv("SETTLE_SCHEDULES_STATS", "", 1);
    setenv("SETTLE_SCHEDULES_ALERTS", "", 1);
    setenv("SETTLE_SERVE_BUSY_SECONDS", "0", 1);
    setenv("SETTLE_SERVE_IDLE_SECONDS", "0", 1);
    setenv("SETTLE_SERVE_BUSY_ROWS", "1", 1);
    return 0;
}

static int down(void **state)
{
    world_close(*state);
    return 0;
}

static struct process serve(struct world *w)
{
    return world_spawn(w, "settle-reconciler", "serve", NULL);
}

static void end(struct world *w, struct process p)
{
    struct outcome o;

    kill(p.pid, SIGTERM);
    o = world_wait(w, p);
    if (o.status != 0)
        fail_msg("serve ended with %d:\n%s", o.status, o.err);
}

/* Holds all publications as another tool's open transaction does: a run waits for it. */
static void hold(struct world *w)
{
    world_sql(w, "begin; select from settle.publish_logs for update");
}

static long events(struct world *w, const char *type)
{
    return world_count(w, "select count(*) from settle.scheduler_event_logs where event_type = '%s'", type);
}

static bool idle(struct world *w)
{
    return world_count(w, "select count(*) from settle.job_schedule where job = 'publications'"
                          " and running is null and last_run is not null") == 1;
}

/* As if all locks of whoever was killed or frozen had run out. */
static void expire(struct world *w)
{
    world_sql(w, "update settle.job_fences set lease_until = now() - interval '1 second'");
    world_redis(w, "flushall", NULL);
}

static pid_t leader(struct world *w)
{
    return (pid_t)world_count(w, "select split_part(holder, ':', 2) from settle.job_fences"
                                 " where name = 'serve' and holder is not null and lease_until > now()");
}

static void test_a_due_job_runs_and_all_is_noted(void **state)
{
    struct world *w = *state;
    struct process p;
    long unbegun;

    world_publication(w, "tiktok", "p1", "processing", 20);
    p = serve(w);
    world_until(20, events(w, "job_completed") >= 2);
    assert_string_equal(world_sql(w, "select status from settle.publish_logs"), "failed");
    assert_string_equal(world_sql(w, "select distinct trigger, actor, status from settle.job_runs"
                                     " where finished_at is not null"),
                        "schedule|serve|success");
    assert_string_equal(world_sql(w, "select job, cron from settle.job_schedule order by job"),
                        "aggregates|\nalerts|\ninsights|\nmaintain|\npublications|@every 1s\nstats|");
    end(w, p);
    assert_int_equal(events(w, "start"), 1);
    assert_int_equal(events(w, "stop"), 1);
    /* One that was told to end before it began is the next one's. */
    unbegun = events(w, "job_scheduled") - events(w, "job_completed") - events(w, "job_failed");
    assert_in_range(unbegun, 0, 1);
    assert_int_equal(leader(w), -1);
    assert_int_equal(idle(w), unbegun == 0);
}

/* However long it takes to begin to lead. */
static void test_what_a_leader_plans_itself_was_not_missed(void **state)
{
    struct world *w = *state;
    struct process p;

    setenv("SETTLE_SCHEDULES_AGGREGATES", NEVER, 1); /* is run once when somebody begins to lead */
    world_sql(w, "create function public.be_slow() returns trigger language plpgsql as"
                 " 'begin perform pg_sleep(1.2); return new; end';"
                 "create trigger be_slow before update on settle.job_schedule for each row"
                 " when (new.job = 'aggregates' and new.running is null) execute function public.be_slow()");
    p = serve(w);
    world_until(20, world_count(w, "select count(distinct job_id) from settle.scheduler_event_logs"
                                   " where event_type = 'job_scheduled'") == 2);
    world_sql(w, "drop function public.be_slow cascade");
    end(w, p);
    assert_string_equal(world_sql(w, "select distinct job_id, event_data ->> 'trigger'"
                                     " from settle.scheduler_event_logs where event_type = 'job_scheduled'"
                                     " order by 1"),
                        "aggregates|startup\npublications|schedule");
}

/* Everything with a schedule has a lock and a row, maintain too. */
static void test_maintain_runs_under_its_lock(void **state)
{
    struct world *w = *state;
    struct process p;
    struct outcome o;

    setenv("SETTLE_SCHEDULES_PUBLICATIONS", "", 1);
    setenv("SETTLE_SCHEDULES_MAINTAIN", "@every 1s", 1);
    p = serve(w);
    world_until(20, events(w, "job_completed") >= 1);
    end(w, p);
    assert_string_equal(world_sql(w, "select distinct job_name, report ->> 'outcome' from settle.job_runs"
                                     " where status = 'success'"),
                        "maintain|done");
    world_sql(w, "update settle.job_fences set holder = 'h:1:r', lease_until = now() + interval '30 seconds'"
                 " where name = 'maintain'");
    o = world_wait(w, world_spawn(w, "settle-reconciler", "maintain", "--json", "--run-id", RUN_A, NULL));
    assert_int_equal(o.status, 0);
    assert_string_equal(json_string_value(json_object_get(o.json, "outcome")), "lock_held");
    assert_string_equal(world_sql(w, "select status, outcome from settle.job_runs where id = '" RUN_A "'"),
                        "skipped|lock_held");
}

static void test_after_downtime_a_job_runs_once_for_all_it_missed(void **state)
{
    struct world *w = *state;
    struct process p;

    setenv("SETTLE_SCHEDULES_PUBLICATIONS", NEVER, 1);
    world_sql(w, "insert into settle.job_schedule (job, cron, next_due)"
                 " values ('publications', '* * * * *', now() - interval '1 hour')");
    p = serve(w);
    world_until(20, idle(w));
    end(w, p);
    assert_string_equal(world_sql(w, "select trigger, status from settle.job_runs"), "startup|success");
    assert_string_equal(world_sql(w, "select cron, next_due > now(), last_due < now() - interval '59 minutes'"
                                     " from settle.job_schedule where job = 'publications'"),
                        NEVER "|t|t");
    assert_int_equal(events(w, "job_scheduled"), 1);
}

/* The leader was killed between taking the due time and starting the run. */
static void test_a_run_that_never_began_is_started_by_the_next_leader(void **state)
{
    struct world *w = *state;
    struct process p;
    struct outcome o;

    setenv("SETTLE_SCHEDULES_PUBLICATIONS", NEVER, 1);
    world_sql(w,
              "insert into settle.job_schedule (job, cron, next_due, last_due, running, running_since)"
              " values ('publications', '" NEVER "', now() + interval '1 day', now(), '" RUN_A "', now())");
    p = serve(w);
    world_until(20, idle(w));
    end(w, p);
    assert_string_equal(world_sql(w, "select id, trigger, status from settle.job_runs"),
                        RUN_A "|startup|success");

    o = world_wait(w, world_spawn(w, "settle-reconciler", "publications", "--run-id", RUN_A, NULL));
    assert_int_equal(o.status, 65); /* the killed one was only frozen, and comes late */
    assert_string_equal(world_sql(w, "select id, trigger, status from settle.job_runs"),
                        RUN_A "|startup|success");
    assert_string_equal(
        world_sql(w, "select holder is null from settle.job_fences where name = 'publications'"), "t");
}

static void test_a_job_that_still_runs_is_not_started_twice(void **state)
{
    struct world *w = *state;
    struct process p;

    world_publication(w, "tiktok", "p1", "processing", 20);
    hold(w);
    p = serve(w);
    world_until(20, events(w, "job_scheduled") == 1);
    world_until(20,
                world_count(w, "select skipped from settle.job_schedule where job = 'publications'") >= 2);
    assert_int_equal(events(w, "job_scheduled"), 1);
    world_sql(w, "commit");
    world_until(20, events(w, "job_scheduled") >= 2);
    end(w, p);
    assert_true(events(w, "job_cancelled") >= 2);
}

static void test_a_killed_run_is_noted_as_failed(void **state)
{
    struct world *w = *state;
    struct process p;
    long child;

    world_publication(w, "tiktok", "p1", "processing", 20);
    hold(w);
    p = serve(w);
    world_until(20, world_count(w, "select count(*) from settle.job_runs where status = 'running'") == 1);
    child = world_count(w, "select split_part(holder, ':', 2) from settle.job_runs");
    assert_true(child > 1);
    kill((pid_t)child, SIGKILL);
    world_until(20, events(w, "job_failed") == 1);
    world_sql(w, "commit");
    assert_string_equal(world_sql(w, "select error_message from settle.scheduler_event_logs"
                                     " where event_type = 'job_failed'"),
                        "ended by signal 9");
    assert_string_equal(
        world_sql(w, "select status, error_code from settle.job_runs order by started_at limit 1"),
        "failed|killed");
    end(w, p);
}

static void test_many_open_rows_hasten_it_and_none_slows_it(void **state)
{
    struct world *w = *state;
    char path[128];
    FILE *file;
    struct process p;

    snprintf(path, sizeof(path), "%s/serve.yaml", w->dir);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs("reconcile:\n  timeout_minutes:\n    - {platform: youtube, minutes: 600}\n", file);
    fclose(file);
    setenv("SETTLE_CONFIG", path, 1);
    setenv("SETTLE_SCHEDULES_PUBLICATIONS", "@every 7200s", 1);
    setenv("SETTLE_SERVE_BUSY_SECONDS", "1", 1);
    setenv("SETTLE_SERVE_IDLE_SECONDS", "3600", 1);
    world_publication(w, "youtube", "p1", "processing", 20); /* stale, and may stay so: no run can do more */
    world_sql(w, "insert into settle.job_schedule (job, cron, next_due)"
                 " values ('publications', '@every 7200s', now() - interval '1 hour')");
    p = serve(w);
    world_until(20, events(w, "job_completed") >= 1);
    assert_string_equal(world_sql(w, "select pace from settle.job_schedule where job = 'publications'"),
                        "schedule");
    world_publication(w, "tiktok", "p2", "processing", 20); /* behind each another one comes meanwhile */
    world_sql(w,
              "create function public.come() returns trigger language plpgsql security definer as"
              " 'begin insert into settle.publish_logs (platform, user_id_str, status, updated_at) values"
              "  (''tiktok'', ''user-1'', ''processing'', now() - interval ''20 minutes''); return new; end';"
              "create trigger come before update on settle.publish_logs for each row"
              " when (old.platform = 'tiktok') execute function public.come();"
              "update settle.job_schedule set next_due = now() where job = 'publications'");
    world_until(20, events(w, "job_completed") >= 4);
    assert_string_equal(world_sql(w, "select pace from settle.job_schedule where job = 'publications'"),
                        "busy");
    assert_int_equal(events(w, "interval_adjustment"), 1);
    end(w, p);

    world_sql(w, "drop function public.come cascade;"
                 "update settle.publish_logs set status = 'success'");
    setenv("SETTLE_SCHEDULES_PUBLICATIONS", "@every 1s", 1);
    p = serve(w);
    world_until(20, events(w, "interval_adjustment") >= 2);
    end(w, p);
    unsetenv("SETTLE_CONFIG");
    assert_string_equal(world_sql(w, "select pace, next_due > now() + interval '59 minutes'"
                                     " from settle.job_schedule where job = 'publications'"),
                        "idle|t");
}

/* It opens no publication, and its correction must not wait until the job has rested. */
/* By a clock that was a day ahead; with a schedule that is the same as before, so that nothing else plans anew. */
static void test_a_clock_that_went_back_delays_no_job(void **state)
{
    struct world *w = *state;
    struct process p;

    world_sql(w, "insert into settle.job_schedule (job, cron, next_due)"
                 " values ('publications', '@every 1s', now() + interval '1 day')");
    p = serve(w);
    world_until(20, events(w, "job_completed") >= 2);
    assert_string_equal(
        world_sql(w, "select event_data ->> 'pace', event_data ->> 'previous_pace'"
                     " from settle.scheduler_event_logs where event_type = 'interval_adjustment'"),
        "schedule|schedule");
    end(w, p);
}

static void test_a_late_webhook_wakes_a_job_that_rests(void **state)
{
    struct world *w = *state;
    struct process p;

    setenv("SETTLE_SERVE_IDLE_SECONDS", "3600", 1);
    world_publication(w, "tiktok", "p1", "processing", 20);
    p = serve(w);
    world_until(20, world_count(w, "select count(*) from settle.job_schedule where pace = 'idle'") == 1);
    assert_string_equal(world_sql(w, "select status from settle.publish_logs"), "failed");
    world_sql(
        w, "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id,"
           "  event_status, decisive, received_at, headers, body)"
           " values (sha256('p1'), 'default', 'tiktok', gen_random_uuid(), 'p1', 'published', 1, now(), '', "
           "'')");
    world_until(20, strcmp(world_sql(w, "select status from settle.publish_logs"), "success") == 0);
    assert_string_equal(
        world_sql(w, "select extra_metadata ->> 'reconciliation_reason' from settle.publish_logs"),
        "late_webhook");
    end(w, p);
}

static void write_schedule(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fprintf(file, "schedules:\n  publications: \"%s\"\n  maintain: \"\"\n", text);
    fclose(file);
}

static bool planned(struct world *w, const char *cron)
{
    return world_count(w,
                       "select count(*) from settle.job_schedule where job = 'publications' and cron = '%s'",
                       cron) == 1;
}

static void test_hup_brings_new_schedules_and_a_wrong_one_changes_nothing(void **state)
{
    struct world *w = *state;
    char path[128];
    struct process p;
    struct outcome o;

    unsetenv("SETTLE_SCHEDULES_PUBLICATIONS");
    unsetenv("SETTLE_SCHEDULES_MAINTAIN");
    unsetenv("SETTLE_SCHEDULES_AGGREGATES");
    snprintf(path, sizeof(path), "%s/serve.yaml", w->dir);
    write_schedule(path, "");
    p = world_spawn(w, "settle-reconciler", "serve", "--config", path, NULL);
    world_until(20, planned(w, ""));
    write_schedule(path, NEVER);
    kill(p.pid, SIGHUP);
    world_until(20, planned(w, NEVER));
    write_schedule(path, "0 0 30 2 *");
    kill(p.pid, SIGHUP);
    world_until(20, world_said(w, p, "settings_refused"));
    kill(p.pid, SIGTERM);
    o = world_wait(w, p);
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(o.err, "day-of-month"));
    assert_true(planned(w, NEVER));

    o = world_wait(w, world_spawn(w, "settle-reconciler", "serve", "--config", path, NULL));
    assert_int_equal(o.status, 78); /* at the start it is a mistake */
}

/* Away at the start, or gone while it leads: it waits, and goes on with sessions that are not those of before. */
static void test_stores_that_are_away_are_waited_for(void **state)
{
    struct world *w = *state;
    struct process p;
    struct outcome o;
    long before;

    world_kill(w, POSTGRES);
    p = serve(w);
    world_servers(w);
    world_until(60, leader(w) == p.pid);
    before = events(w, "job_completed");
    world_until(60, events(w, "job_completed") > before);
    world_kill(w, POSTGRES);
    world_servers(w);
    expire(w);
    before = events(w, "job_completed");
    world_until(60, leader(w) == p.pid && events(w, "job_completed") > before);
    kill(p.pid, SIGTERM);
    o = world_wait(w, p);
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(o.err, "\"stores_away\""));
    assert_int_equal(events(w, "start"), 2);
}

static void test_status_tells_what_runs_and_what_waits(void **state)
{
    struct world *w = *state;
    const json_t *job, *jobs;
    struct process p;
    struct outcome o;

    world_reconcile(w, NULL);
    world_publication(w, "tiktok", "p1", "pending", 1);
    world_publication(w, "tiktok", "p2", "processing", 20);
    world_sql(
        w, "insert into settle.platform_pauses (platform, actor, reason) values ('youtube', 'anna', 'test')");
    hold(w);
    p = serve(w);
    world_until(20, world_count(w, "select count(*) from settle.job_runs where status = 'running'") == 1);
    o = world_wait(w, world_spawn(w, "settle-reconciler", "status", "--json", NULL));
    assert_int_equal(o.status, 0);
    jobs = json_object_get(o.json, "jobs");
    assert_int_equal(json_array_size(jobs), 8);
    job = json_array_get(jobs, 6);
    assert_string_equal(json_string_value(json_object_get(job, "job")), "publications");
    assert_string_equal(json_string_value(json_object_get(job, "schedule")), "@every 1s");
    assert_true(json_is_string(json_object_get(job, "running")));
    assert_true(json_is_string(json_object_get(job, "lock_holder")));
    assert_string_equal(json_string_value(json_object_get(json_object_get(job, "last_run"), "status")),
                        "success");
    assert_true(json_is_string(json_object_get(json_object_get(o.json, "scheduler"), "leader")));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(o.json, "publications"), "open")), 2);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(o.json, "publications"), "stale")),
                     1);
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(json_object_get(o.json, "pauses"), 0), "platform")),
        "youtube");
    o = world_wait(w, world_spawn(w, "settle-reconciler", "status", NULL));
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(o.out, "youtube is paused"));
    assert_non_null(strstr(o.out, "publications: 2 open, 1 stale"));
    world_sql(w, "commit");
    end(w, p);
}

/* Every due time was taken once, in turn, and each that was taken has one run that ended. */
static void assert_none_twice_none_missed(struct world *w)
{
    assert_string_equal(
        world_sql(w, "select count(*) filter (where due <> before), count(*) - count(distinct due)"
                     " from (select (event_data ->> 'due')::timestamptz as due,"
                     "         lag((event_data ->> 'next_due')::timestamptz) over (order by id) as before"
                     "       from settle.scheduler_event_logs"
                     "       where event_type = 'job_scheduled' or event_data ->> 'reason' = "
                     "'still_running') as taken"),
        "0|0");
    assert_string_equal(
        world_sql(w, "select count(*) - count(distinct event_data ->> 'run_id'), count(*) - count(r.id),"
                     "  count(*) filter (where r.status = 'running')"
                     " from settle.scheduler_event_logs"
                     " left join settle.job_runs as r on r.id = (event_data ->> 'run_id')::uuid"
                     " where event_type = 'job_scheduled'"),
        "0|0|0");
    assert_int_equal(
        world_count(w, "select count(*) from settle.job_runs as r where actor = 'serve' and not exists ("
                       "  select from settle.scheduler_event_logs"
                       "  where event_type = 'job_scheduled' and (event_data ->> 'run_id')::uuid = r.id)"),
        0);
    assert_string_equal(
        world_sql(w, "select count(*) filter (where event_type = 'job_scheduled')"
                     "  = count(distinct event_data ->> 'run_id') filter (where event_type in"
                     "      ('job_completed', 'job_failed') or event_data ->> 'reason' = 'lock_held')"
                     " from settle.scheduler_event_logs"),
        "t");
}

static long taken(struct world *w)
{
    return events(w, "job_scheduled");
}

/* The dashboard's block names who holds the lease, since when it does. */
static bool dashboard_agrees(struct world *w)
{
    return world_count(w, "select count(*) from settle.scheduler_leadership as l"
                          " join settle.job_fences on holder = identity"
                          " where name = 'serve' and is_leader and mode = 'leader'"
                          "   and leader_since between now() - interval '5 minutes' and now()") == 1;
}

/* In turn the leader is killed and frozen past its lease; the frozen one goes on when another leads. */
static void test_of_two_replicas_one_leads_whatever_happens_to_it(void **state)
{
    struct world *w = *state;
    int rounds = getenv("SETTLE_TEST_LONG") ? ROUNDS_LONG : ROUNDS; /* of ops/test --long */
    struct process replicas[REPLICAS] = {serve(w), serve(w)};

    for (int round = 0; round < rounds; round++) {
        size_t led;
        long before;

        world_until(60, leader(w) > 1 && dashboard_agrees(w));
        led = replicas[1].pid == leader(w);
        assert_int_equal(leader(w), replicas[led].pid);
        before = taken(w);
        world_until(60, taken(w) > before);
        kill(round % 2 ? -replicas[led].pid : replicas[led].pid, round % 2 ? SIGSTOP : SIGKILL);
        expire(w);
        world_until(60, leader(w) == replicas[!led].pid && dashboard_agrees(w));
        before = taken(w);
        world_until(60, taken(w) > before + 1);
        if (round % 2) {
            kill(-replicas[led].pid, SIGCONT);
        } else {
            assert_int_equal(world_wait(w, replicas[led]).status, 128 + SIGKILL);
            replicas[led] = serve(w);
        }
        before = taken(w);
        world_until(60, taken(w) > before);
    }
    end(w, replicas[leader(w) == replicas[0].pid]); /* who follows, so that nobody takes over */
    end(w, replicas[leader(w) != replicas[0].pid]);
    setenv("SETTLE_SCHEDULES_PUBLICATIONS", "",
           1); /* a run that was told to end before it began is the next one's */
    replicas[0] = serve(w);
    world_until(60, leader(w) == replicas[0].pid && idle(w));
    end(w, replicas[0]);
    assert_none_twice_none_missed(w);
    assert_int_equal(events(w, "start"), rounds + 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_due_job_runs_and_all_is_noted, reset),
        cmocka_unit_test_setup(test_what_a_leader_plans_itself_was_not_missed, reset),
        cmocka_unit_test_setup(test_maintain_runs_under_its_lock, reset),
        cmocka_unit_test_setup(test_after_downtime_a_job_runs_once_for_all_it_missed, reset),
        cmocka_unit_test_setup(test_a_run_that_never_began_is_started_by_the_next_leader, reset),
        cmocka_unit_test_setup(test_a_job_that_still_runs_is_not_started_twice, reset),
        cmocka_unit_test_setup(test_a_killed_run_is_noted_as_failed, reset),
        cmocka_unit_test_setup(test_many_open_rows_hasten_it_and_none_slows_it, reset),
        cmocka_unit_test_setup(test_a_clock_that_went_back_delays_no_job, reset),
        cmocka_unit_test_setup(test_a_late_webhook_wakes_a_job_that_rests, reset),
        cmocka_unit_test_setup(test_hup_brings_new_schedules_and_a_wrong_one_changes_nothing, reset),
        cmocka_unit_test_setup(test_stores_that_are_away_are_waited_for, reset),
        cmocka_unit_test_setup(test_status_tells_what_runs_and_what_waits, reset),
        cmocka_unit_test_setup(test_of_two_replicas_one_leads_whatever_happens_to_it, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
