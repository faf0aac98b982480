/* Processes are killed under load, again and again, at any time and in the middle of what they do. At the end all that was
 * acknowledged is stored once, and what it says has happened once. */
#include "support/fault.h"
#include "support/ledger.h"
#include "support/load.h"

#include "base/now.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    SENDERS = 16,
    SHOWN_EVERY = 20,
    TIMES_LONG = 10, /* of ops/test --long; none lost in n: at most 3 in n are, 95 times of 100 */
    RECONCILE_EVERY = 5,
    HIT_S = 30,
    PATIENCE_S = 150
};

enum victim { WORKER, PARENT, DATABASE, MIRROR, NVICTIMS };
enum moment { ANY_TIME, AT_WRITE, AT_SYNC, AT_SEND, NMOMENTS };

static const char *const victims[] = {"worker", "whole gateway", "Postgres", "Redis"};
static const struct {
    const char *name, *calls;
    unsigned nth_max;
} moments[] = {
    {"at any time",  NULL,                    0 },
    {"at a write",   "write,writev,pwrite64", 60},
    {"at a sync",    "fdatasync",             20},
    {"at a message", "sendto,sendmsg",        60},
};

/* One kill. */
struct round {
    enum victim victim;
    enum moment moment;
};

static const struct round at_any_time[] = {
    {WORKER,   ANY_TIME},
    {PARENT,   ANY_TIME},
    {DATABASE, ANY_TIME},
    {MIRROR,   ANY_TIME},
    {WORKER,   ANY_TIME},
    {PARENT,   ANY_TIME},
    {DATABASE, ANY_TIME},
    {MIRROR,   ANY_TIME},
    {WORKER,   ANY_TIME},
    {PARENT,   ANY_TIME},
};

/* Redis has no files here, and answers by write. */
static const struct round within_calls[] = {
    {WORKER,   AT_WRITE},
    {PARENT,   AT_WRITE},
    {DATABASE, AT_WRITE},
    {MIRROR,   AT_WRITE},
    {WORKER,   AT_SYNC },
    {PARENT,   AT_SYNC },
    {DATABASE, AT_SYNC },
    {WORKER,   AT_SEND },
    {PARENT,   AT_SEND },
    {DATABASE, AT_SEND },
};

static char folder[200];

static int up(void **state)
{
    struct world *w = *state = world_open();

    setenv("SETTLE_UNSAFE_OK", "true", 1);      /* the tests' folder may lie on anything */
    setenv("SETTLE_ADMIN_ENABLED", "false", 1); /* so that all connections are the workers' */
    snprintf(folder, sizeof(folder), "%s/spool", w->dir);
    setenv("SETTLE_SPOOL_FOLDER", folder, 1);
    setenv("SETTLE_SPOOL_RESERVE_MEGABYTES", "1", 1);
    return 0;
}

static int reset(void **state)
{
    struct world *w = *state;

    if (w->gateway)
        world_kill(w, GATEWAY);
    world_servers(w);
    world_reset(w);
    world_wait(w, world_spawn(w, "rm", "-rf", folder, NULL));
    return mkdir(folder, 0700);
}

static int down(void **state)
{
    world_close(*state);
    return 0;
}

static void wait_for_acks(struct load *l, unsigned n)
{
    unsigned target = load_so_far(l).acked + n;

    world_until(PATIENCE_S, load_so_far(l).acked >= target);
}

/* Publications of some of the posts, so that there is something to happen. */
static void register_some(struct world *w)
{
    world_sql(w,
              "insert into settle.publish_logs"
              "  (platform, user_id_str, status, external_post_id, created_at, updated_at)"
              "select 'instagram', 'user-1', 'processing', format('load-%%s-%%s', sender, nth), at, at"
              "  from generate_series(0, %d) as sender, generate_series(0, 2000, 10) as nth,"
              "       (select now() - interval '5 minutes') as age (at)",
              SENDERS - 1);
}

static struct process reconcile(struct world *w)
{
    return world_spawn(w, "settle-reconciler", "publications", "--since-minutes", "1440",
                       "--evidence-age-minutes", "0", "--json", NULL);
}

/* Not if another holds the lock: one that was killed may, until its lease ends. */
static bool is_reconciled(struct world *w)
{
    const json_t *outcome = json_object_get(world_wait(w, reconcile(w)).json, "outcome");

    return json_is_string(outcome) && strcmp(json_string_value(outcome), "done") == 0;
}

/* The process that will be hit; 0: none is there. */
static pid_t target_of(struct world *w, enum victim victim)
{
    long pid = 0;

    if (victim == DATABASE) /* the one that was busy last */
        pid = world_count(w, "select pid from pg_stat_activity where usename = 'settle_gateway'"
                             " order by state_change desc limit 1");
    else if (victim == MIRROR)
        sscanf(strstr(world_redis(w, "info", "server", NULL), "process_id:"), "process_id:%ld", &pid);
    else
        pid = world_child(w, "ingest");
    return pid > 0 ? (pid_t)pid : 0;
}

static void kill_whole(struct world *w, struct load *l, enum victim victim, enum moment moment)
{
    if (victim == PARENT && moment == ANY_TIME) { /* its children must end by themselves */
        unsigned unheard = load_so_far(l).unheard;

        kill(w->gateway, SIGKILL);
        world_until(PATIENCE_S, load_so_far(l).unheard > unheard);
    }
    if (victim == PARENT)
        world_kill(w, GATEWAY);
    else if (victim == DATABASE)
        world_crash(w);
    else if (victim == MIRROR)
        world_kill(w, REDIS);
    else if (moment == ANY_TIME)
        kill(world_child(w, "ingest"), SIGKILL);
}

/* Returns whether it came to that call in time. */
static bool kill_at_call(struct world *w, enum victim victim, enum moment moment)
{
    char what[64];
    struct fault f;
    pid_t target;
    int64_t until;

    if (victim <= PARENT && moment != AT_SEND) /* so that it writes to its spool */
        world_kill(w, POSTGRES);
    target = target_of(w, victim);
    if (!target)
        return false;
    snprintf(what, sizeof(what), "signal=KILL:when=%u", 1 + arc4random_uniform(moments[moment].nth_max));
    f = fault_inject(w, target, moments[moment].calls, what);
    until = world_deadline(HIT_S);
    while (fault_count(w, f) == 0 && !world_ended(f.strace) && now_boot_us() < until)
        world_look_again(INT64_MAX, "it is hit");
    fault_end(w, f);
    return fault_count(w, f) > 0;
}

/* Returns the moment that it was in truth: what does not come to its call is killed at any time. */
static enum moment one_round(struct world *w, struct load *l, enum victim victim, enum moment moment)
{
    if (moment == ANY_TIME)
        wait_for_acks(l, 20 + arc4random_uniform(200)); /* anywhere between reading, commit and answer */
    else if (!kill_at_call(w, victim, moment))
        moment = ANY_TIME;
    kill_whole(w, l, victim, moment);
    wait_for_acks(l, w->gateway ? 20 : 0); /* without what was killed */
    world_servers(w);
    if (!w->gateway)
        world_gateway(w, "--workers", "2", NULL);
    load_aim(l, w);
    wait_for_acks(l, 50);
    return moment;
}

/* What stays behind is shown: the folder goes with the test. */
static void expect_drained(struct world *w)
{
    int64_t until = world_deadline(PATIENCE_S);

    while (!world_is_drained(w) && now_boot_us() < until)
        world_look_again(INT64_MAX, "it is drained");
    if (world_is_drained(w))
        return;
    print_error("  %g records, of which %g stay, and %g files of nobody; Postgres is up for %g connections; "
                "the spool and the log:\n%s\n",
                world_metric(w, "settle_spool_records"), world_metric(w, "settle_spool_stayed_records"),
                world_metric(w, "settle_spool_orphan_files"),
                world_metric(w, "settle_store_up{store=\"postgres\"}"),
                world_wait(w, world_spawn(w, "sh", "-c", "ls -l spool; tail -n 40 gateway/log", NULL)).out);
    fail_msg("the spool is not empty after %d s", PATIENCE_S);
}

static void expect_empty_spool(struct world *w)
{
    struct outcome end = world_wait(w, world_spawn(w, "settle-gateway", "spool", "list", "--json", NULL));
    json_t *file;
    size_t i;

    assert_int_equal(end.status, 0);
    assert_true(json_is_array(end.json));
    json_array_foreach(end.json, i, file)
        assert_int_equal(json_integer_value(json_object_get(file, "records")), 0);
}

static void print_sum(unsigned kills[NVICTIMS][NMOMENTS], struct load_count count, unsigned nsettled)
{
    for (size_t v = 0; v < NVICTIMS; v++) {
        print_message("  %-14s", victims[v]);
        for (size_t m = 0; m < NMOMENTS; m++)
            print_message("%4u %s", kills[v][m], moments[m].name);
        print_message("\n");
    }
    print_message("  %u acknowledged, %u refused, %u without an answer, %u publications settled once\n",
                  count.acked, count.refused, count.unknown, nsettled);
}

/* Of the kills at each moment at least half were that in truth: else their part of the test would be none. */
static void expect_hits(const struct round *rounds, size_t n, unsigned times,
                        unsigned kills[NVICTIMS][NMOMENTS])
{
    unsigned tried[NMOMENTS] = {0}, hit[NMOMENTS] = {0};

    for (size_t i = 0; i < n; i++)
        tried[rounds[i].moment] += times;
    for (size_t m = 0; m < NMOMENTS; m++) {
        for (size_t v = 0; v < NVICTIMS; v++)
            hit[m] += kills[v][m];
        if (2 * hit[m] < tried[m])
            fail_msg("of %u kills %s only %u were", tried[m], moments[m].name, hit[m]);
    }
}

static void kill_and_judge(struct world *w, const struct round *rounds, size_t n)
{
    unsigned kills[NVICTIMS][NMOMENTS] = {0}, nsettled, times = getenv("SETTLE_TEST_LONG") ? TIMES_LONG : 1;
    struct load_count count;
    struct load *l;

    register_some(w);
    world_gateway(w, "--workers", "2", NULL);
    l = load_start(w, SENDERS);
    for (unsigned i = 0; i < times * n; i++) {
        struct round round = rounds[i % n];
        struct process run = {0};

        if (i % RECONCILE_EVERY == 0)
            run = reconcile(w);
        kills[round.victim][one_round(w, l, round.victim, round.moment)]++;
        if (run.pid)
            world_wait(w, run); /* it may have failed: the next one goes on */
        if ((i + 1) % SHOWN_EVERY == 0)
            print_message("  %u rounds, %u acknowledged\n", i + 1, load_so_far(l).acked);
    }
    load_halt(l);
    expect_drained(w);
    assert_int_equal(world_gateway_stop(w), 0);
    expect_empty_spool(w);
    world_until(PATIENCE_S, is_reconciled(w));
    nsettled = ledger_check_effects(w);
    count = load_stop(l, w);
    print_sum(kills, count, nsettled);
    assert_int_equal(count.wrong, 0); /* our fault is never a 4xx */
    assert_true(count.unknown > 0);   /* else no kill hit anything */
    assert_true(nsettled > 0);
    expect_hits(rounds, n, times, kills);
}

static void test_whatever_is_killed_nothing_acknowledged_is_lost(void **state)
{
    kill_and_judge(*state, at_any_time, countof(at_any_time));
}

static void test_whatever_is_killed_in_the_middle_of_a_call_nothing_acknowledged_is_lost(void **state)
{
    if (!fault_works(*state))
        skip();
    kill_and_judge(*state, within_calls, countof(within_calls));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_whatever_is_killed_nothing_acknowledged_is_lost, reset),
        cmocka_unit_test_setup(test_whatever_is_killed_in_the_middle_of_a_call_nothing_acknowledged_is_lost,
                               reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
