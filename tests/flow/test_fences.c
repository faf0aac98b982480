/*
 * A holder that is frozen before any of its messages, and wakes up when its lease has run out and another one has taken over,
 * writes nothing any more: every row says who wrote it, and the commit times say when.
 */
#include "support/shim.h"

#include "base/now.h"
#include "store/lock.h"
#include "store/pg.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    ROUNDS = 50,
    ROUNDS_LONG = 200,
    LEADERS = 2,
    LEADERS_LONG = 20,
    LEADER_SENDS = 24, /* about three turns of one that leads */
    TAKEOVER_S = 40,   /* at the usual settings */
    FOLLOW_S = 3,      /* how often `serve` tries to lead */
};

#define RUN_A "0190a0a0-aaaa-7222-8333-444455556666"

static struct shim *shim;
static char what[160]; /* is being tried */

/* Who wrote which row in which transaction; of the fence, who took it. */
static void watch_writes(struct world *w)
{
    world_sql(
        w, "create schema proof;"
           "create table proof.writes (name text, epoch bigint, pid integer, xid xid);"
           "create function proof.note() returns trigger language plpgsql security definer as $$ begin"
           "  insert into proof.writes values (tg_table_name, null, pg_backend_pid(), "
           "pg_current_xact_id()::xid);"
           "  return null; end $$;"
           "create function proof.note_take() returns trigger language plpgsql security definer as $$ begin"
           "  insert into proof.writes values (new.name, new.epoch, pg_backend_pid(), "
           "pg_current_xact_id()::xid);"
           "  return null; end $$;"
           "do $$ declare name text; begin"
           "  foreach name in array '{publish_logs, publish_open, social_sync_ledger, job_runs, alerts,"
           "    job_schedule, scheduler_event_logs}'::text[] loop"
           "    execute format('create trigger proof after insert or update or delete on settle.%%I"
           "                    for each row execute function proof.note()', name);"
           "  end loop;"
           "end $$;"
           "create trigger proof after update on settle.job_fences for each row when (old.epoch = new.epoch)"
           "  execute function proof.note();"
           "create trigger proof_take after update on settle.job_fences for each row when (old.epoch <> "
           "new.epoch)"
           "  execute function proof.note_take();"
           "create function proof.shorten() returns trigger language plpgsql as $$ begin"
           "  new.lease_until := least(new.lease_until, clock_timestamp()); return new; end $$;"
           "create trigger shorten before update on settle.job_fences for each row execute function "
           "proof.shorten();"
           "alter table settle.job_fences disable trigger shorten");
}

static void short_leases(struct world *w, bool on)
{
    world_sql(w, "alter table settle.job_fences %s trigger shorten", on ? "enable" : "disable");
}

static int up(void **state)
{
    struct world *w = *state = world_open();

    world_sql(w, "alter system set track_commit_timestamp = on");
    world_crash(w);
    world_servers(w);
    watch_writes(w);
    shim = shim_open(w);
    shim_hide(shim);
    return 0;
}

static int reset(void **state)
{
    shim_signal(shim, NULL, 0, 0);
    shim_sleep(shim, 0);
    short_leases(*state, false); /* a test may have failed */
    world_reset(*state);
    return 0;
}

static int down(void **state)
{
    shim_close(shim);
    world_close(*state);
    return 0;
}

/* Eight that a webhook settles, eight by time-out, four whose webhook came after theirs. */
static void register_some(struct world *w)
{
    world_sql(
        w, "truncate proof.writes;"
           "insert into settle.publish_logs (platform, user_id_str, status, external_post_id, updated_at,"
           "  extra_metadata)"
           " select 'instagram', 'u', status, kind || g, now() - interval '20 minutes', marks"
           " from (values ('known', 8, 'processing', '{}'::jsonb), ('silent', 8, 'processing', '{}'),"
           "         ('late', 4, 'failed', '{\"reconciliation_reason\": \"webhook_timeout\"}'))"
           "   as kinds (kind, n, status, marks), generate_series(1, n) as g;"
           "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id,"
           "  event_status, decisive, received_at, headers, body)"
           " select sha256(external_post_id::bytea), source, platform, gen_random_uuid(), external_post_id,"
           "   'published', 1, now(), '', '' from settle.publish_logs where external_post_id !~ 'silent'");
}

static struct process start(struct world *w)
{
    struct process p;

    shim_show(shim);
    p = world_spawn(w, "settle-reconciler", "publications", "--json", "--force", "--batch-size", "4",
                    "--run-id", RUN_A, NULL);
    shim_hide(shim);
    return p;
}

static struct outcome run_another(struct world *w)
{
    return world_reconcile(w, "--force", "--batch-size", "50", NULL);
}

/* What it sends from its lock on, undisturbed. */
static unsigned count_sends(struct world *w)
{
    world_reset(w);
    register_some(w);
    shim_signal(shim, "settle:lock:", UINT32_MAX, SIGSTOP);
    assert_int_equal(world_wait(w, start(w)).status, 0);
    return shim_nsends(shim);
}

/* 0: none. */
static long backend(struct world *w, const char *condition)
{
    return world_count(w,
                       "select coalesce(max(pid), 0) from pg_stat_activity"
                       " where application_name = 'settle-reconciler' and %s",
                       condition);
}

static void end_backend(struct world *w, long pid)
{
    world_sql(w, "select pg_terminate_backend(%ld)", pid);
    world_until(20, world_count(w, "select count(*) from pg_stat_activity where pid = %ld", pid) == 0);
}

static void end_lease(struct world *w)
{
    switch (arc4random_uniform(3)) {
    case 0:
        world_redis(w, "del", "settle:lock:publications", NULL);
        break;
    case 1:
        world_redis(w, "pexpire", "settle:lock:publications", "1", NULL);
        world_until(5, strcmp(world_redis(w, "exists", "settle:lock:publications", NULL), "0\n") == 0);
        break;
    default:
        world_redis(w, "flushall", NULL);
    }
}

/* Rows that somebody wrote although another one's taking of the same fence was committed before. */
static void assert_nothing_stale(struct world *w)
{
    const char *stale =
        world_sql(w, "select w.name, count(*)"
                     " from proof.writes as w"
                     " join proof.writes as mine on mine.pid = w.pid and mine.epoch is not null"
                     " join proof.writes as next on next.name = mine.name and next.epoch = mine.epoch + 1"
                     " where pg_xact_commit_timestamp(w.xid) > pg_xact_commit_timestamp(next.xid)"
                     " group by 1");

    if (*stale)
        fail_msg("%s: the stale holder has written: %s", what, stale);
}

static void assert_settled_once(struct world *w)
{
    const char *found = world_sql(w, "select count(*) filter (where status = case when external_post_id ~ "
                                     "'silent' then 'failed' else 'success' end),"
                                     "  (select count(*) from settle.social_sync_ledger),"
                                     "  (select count(distinct entity_id) from settle.social_sync_ledger),"
                                     "  (select count(*) from settle.publish_open)"
                                     " from settle.publish_logs");

    if (strcmp(found, "20|20|20|0") != 0)
        fail_msg("%s: settled, events, of so many, open: %s", what, found);
}

/* Frozen within a transaction, it is ended by Postgres after a while, or wakes up while another one waits for it: that batch
 * still counts. Its boot clock tells it how long it slept. Returns whether it was refused. */
static bool freeze(struct world *w, unsigned nth, bool waits, unsigned sleeps_s)
{
    struct process first, second = {0};
    struct outcome run;
    long pid;

    shim_sleep(shim, 0);
    shim_signal(shim, "settle:lock:", nth, SIGSTOP);
    first = start(w);
    world_until(20, shim_halted(first.pid));
    end_lease(w);
    shim_signal(shim, NULL, 0, 0);
    shim_sleep(shim, sleeps_s * SECOND_US);
    pid = backend(w, "state = 'idle in transaction'");
    if (pid && !waits)
        end_backend(w, pid);
    if (pid && waits) {
        second = world_spawn(w, "settle-reconciler", "publications", "--json", "--force", NULL);
        world_until(20, backend(w, "wait_event_type = 'Lock'") || shim_halted(second.pid));
    } else {
        run = run_another(w);
        assert_int_equal(run.status, 0);
    }
    kill(first.pid, SIGCONT);
    run = world_wait(w, first);
    if (run.status != 0 && run.status != 75 && run.status != 69)
        fail_msg("%s: it ended with %d: %s", what, run.status, run.err);
    if (second.pid)
        assert_int_equal(world_wait(w, second).status, 0);
    return run.status != 0;
}

static void test_a_holder_frozen_at_any_statement_writes_nothing_when_it_wakes(void **state)
{
    static const unsigned sleeps_s[] = {0, LOCK_RENEW_MS / 1000 + 2, LOCK_LEASE_MS / 1000 + 1};
    struct world *w = *state;
    unsigned rounds = getenv("SETTLE_TEST_LONG") ? ROUNDS_LONG : ROUNDS; /* of ops/test --long */
    unsigned nsends, refused = 0, taken = 0;

    short_leases(w, true);
    nsends = count_sends(w);
    assert_true(nsends > 20);
    for (unsigned i = 0; i < rounds; i++) {
        unsigned nth = 1 + arc4random_uniform(nsends), sleep_s = sleeps_s[i % countof(sleeps_s)];
        bool waits = arc4random_uniform(2);

        snprintf(what, sizeof(what), "frozen before message %u of %u, %u s, the other one %s", nth, nsends,
                 sleep_s, waits ? "waits" : "comes later");
        world_reset(w);
        register_some(w);
        refused += freeze(w, nth, waits, sleep_s);
        assert_nothing_stale(w);
        taken += world_count(w, "select count(*) from proof.writes where epoch is not null") > 1;
        if (world_count(w, "select count(*) from settle.publish_open") > 0)
            assert_int_equal(run_another(w).status, 0);
        assert_settled_once(w);
    }
    print_message("  %u rounds, %u taken over, %u refused to the one that woke\n", rounds, taken, refused);
    assert_true(2 * refused > rounds);
}

/* What is not said of the lock is said by Postgres, of which a holder that was frozen within a transaction is rid after
 * PG_IDLE_IN_TRANSACTION_MS (test_runners waits for it). */
static void test_a_frozen_holder_is_replaced_within_40_seconds(void **state)
{
    struct world *w = *state;
    struct process first;
    int64_t began_us;
    bool was_brief;
    int status;

    register_some(w);
    shim_signal(shim, "settle:lock:", count_sends(w) / 2, SIGSTOP);
    world_reset(w);
    register_some(w);
    began_us = now_boot_us();
    first = start(w);
    world_until(20, shim_halted(first.pid));
    assert_int_equal(
        world_count(w,
                    "select count(*) from settle.job_fences where holder is not null and lease_until"
                    "  between now() and now() + interval '%d ms'",
                    LOCK_LEASE_MS),
        1);
    assert_in_range(strtol(world_redis(w, "pttl", "settle:lock:publications", NULL), NULL, 10), 1,
                    LOCK_LEASE_MS);
    assert_true(LOCK_LEASE_MS / 1000 + PG_IDLE_IN_TRANSACTION_MS / 1000 + FOLLOW_S <= TAKEOVER_S);
    kill(first.pid, SIGCONT);
    was_brief = now_boot_us() - began_us < PG_IDLE_IN_TRANSACTION_MS * INT64_C(1000);
    status = world_wait(w, first).status;
    if (was_brief || status != 69) /* else Postgres has lost patience */
        assert_int_equal(status, 0);
}

/* ---- who leads the scheduler ---- */

static struct process serve(struct world *w)
{
    return world_spawn(w, "settle-reconciler", "serve", NULL);
}

static void end(struct world *w, struct process p)
{
    kill(p.pid, SIGTERM);
    assert_int_equal(world_wait(w, p).status, 0);
}

/* The backend of who has led first, or of the next; 0: nobody did. */
static long leader(struct world *w, const char *order)
{
    return world_count(
        w,
        "select coalesce((select pid from proof.writes where name = 'serve' and epoch is not null"
        " order by epoch %s limit 1), 0)",
        order);
}

static bool knows(struct world *w, struct process p)
{
    return world_said(w, p, "lead_lost") || world_said(w, p, "stores_away") ||
           world_said(w, p, "\"follows\"");
}

static void schedule_each_second(struct world *w)
{
    world_sql(w, "truncate proof.writes");
    setenv("SETTLE_SCHEDULES_PUBLICATIONS", "@every 1s", 1);
    setenv("SETTLE_SCHEDULES_MAINTAIN", "", 1);
    setenv("SETTLE_SCHEDULES_INSIGHTS", "", 1);
    setenv("SETTLE_SCHEDULES_STATS", "", 1);
    setenv("SETTLE_SCHEDULES_ALERTS", "", 1);
    setenv("SETTLE_SCHEDULES_AGGREGATES", "", 1);
    setenv("SETTLE_SERVE_BUSY_SECONDS", "0", 1);
    setenv("SETTLE_SERVE_IDLE_SECONDS", "0", 1);
}

static struct process freeze_leader(struct world *w, unsigned nth)
{
    struct process p;

    shim_signal(shim, "settle:lock:serve", nth, SIGSTOP);
    shim_show(shim);
    p = serve(w);
    shim_hide(shim);
    world_until(30, shim_halted(p.pid));
    return p;
}

static void replace_leader(struct world *w, unsigned nth)
{
    struct process first = freeze_leader(w, nth), second;
    long pid = leader(w, "asc"), next;
    char at_work[80];

    snprintf(at_work, sizeof(at_work), "pid = %ld and state = 'idle in transaction'", pid);
    if (backend(w, at_work))
        end_backend(w, pid);
    shim_signal(shim, NULL, 0, 0);
    world_sql(w,
              "update settle.job_fences set lease_until = now() - interval '1 second' where name = 'serve'");
    world_redis(w, "del", "settle:lock:serve", NULL);
    second = serve(w);
    world_until(30, (next = leader(w, "desc")) > 0 && next != pid);
    world_until(30,
                world_count(w, "select count(*) from proof.writes where pid = %ld and name = 'job_schedule'",
                            next) >= 3);
    kill(first.pid, SIGCONT);
    world_until(30, knows(w, first));
    assert_nothing_stale(w);
    end(w, first);
    end(w, second);
    assert_nothing_stale(w);
}

static void test_a_leader_frozen_at_any_statement_writes_nothing_when_it_wakes(void **state)
{
    struct world *w = *state;
    unsigned rounds = getenv("SETTLE_TEST_LONG") ? LEADERS_LONG : LEADERS;

    for (unsigned i = 0; i < rounds; i++) {
        unsigned nth = 1 + arc4random_uniform(LEADER_SENDS);

        world_reset(w);
        schedule_each_second(w);
        snprintf(what, sizeof(what), "the leader frozen before message %u", nth);
        replace_leader(w, nth);
    }
}

/* Nobody else has taken what is due: the fence alone keeps it from doing so. It is stopped before it looks at that. */
static void test_a_leader_whose_fence_was_taken_starts_nothing(void **state)
{
    struct world *w = *state;
    struct process p;
    long started;

    snprintf(what, sizeof(what), "a leader whose fence was taken");
    schedule_each_second(w);
    p = freeze_leader(w, 0);
    while (!knows(w, p) && /* it was halted for so long that another may lead */
           world_count(w,
                       "select count(*) from pg_stat_activity, settle.job_schedule"
                       " where pid = %ld and state = 'idle in transaction' and query = 'begin'"
                       "   and job = 'publications' and next_due <= now()",
                       leader(w, "desc")) == 0) {
        unsigned before = shim_nsends(shim);

        kill(p.pid, SIGCONT);
        world_until(30, shim_nsends(shim) > before && shim_halted(p.pid));
    }
    world_sql(w, "update settle.job_fences set epoch = epoch + 1, holder = 'another',"
                 "  lease_until = now() + interval '30 seconds' where name = 'serve'");
    shim_signal(shim, NULL, 0, 0);
    kill(p.pid, SIGCONT);
    world_until(30, knows(w, p));
    end(w, p);
    started =
        world_count(w, "select count(*) from settle.scheduler_event_logs where event_type = 'job_scheduled'");
    if (started > 0)
        fail_msg("the leader that has lost its fence took %ld due times", started);
    assert_nothing_stale(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_holder_frozen_at_any_statement_writes_nothing_when_it_wakes, reset),
        cmocka_unit_test_setup(test_a_frozen_holder_is_replaced_within_40_seconds, reset),
        cmocka_unit_test_setup(test_a_leader_frozen_at_any_statement_writes_nothing_when_it_wakes, reset),
        cmocka_unit_test_setup(test_a_leader_whose_fence_was_taken_starts_nothing, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
