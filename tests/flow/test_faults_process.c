/* The gateway ends at the moments that matter, or has no room left: rows of the failure matrix. */
#include "matrix.h"

#include "base/arena.h"
#include "wire.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    PATIENCE_MS = 20000,
    HUNGRY = 120,
    BODY_BYTES = 4000000,
    FLOOD = 400,
    DESCRIPTORS = 300,
    POSTS = 20,
    UNTOLD = 1, /* each flight holds one at least */
};

static void wait_patiently(void)
{
    char ms[16];

    snprintf(ms, sizeof(ms), "%d", PATIENCE_MS);
    setenv("SETTLE_SPOOL_AFTER_MS", ms, 1);
    setenv("SETTLE_INGEST_COMMIT_TIMEOUT_MS", ms, 1);
}

static void start_again(struct world *w, struct load *l)
{
    unsetenv("SETTLE_SPOOL_AFTER_MS");
    unsetenv("SETTLE_INGEST_COMMIT_TIMEOUT_MS");
    matrix_gateway(w);
    load_aim(l, w);
    matrix_wait_for_acks(l, 100);
}

static bool is_marked_as_seen(struct world *w)
{
    return strstr(world_redis(w, "keys", "settle:seen:*", NULL), "settle:seen:");
}

/* Its statements wait for a table that somebody else has, and go with it. Nobody may have been told, nor be told later,
 * that they were done. */
static void test_killed_before_the_commit_nothing_is_taken_for_stored(void **state)
{
    struct world *w = *state;
    struct process holder;
    struct load *l;
    char url[200];

    wait_patiently();
    matrix_gateway(w);
    snprintf(url, sizeof(url), "%s&user=postgres", w->database_url);
    holder = world_spawn(w, "psql", "-Xqd", url, "-c", "begin", "-c", "lock table settle.webhook_receipts",
                         "-c", "select pg_sleep(60)", NULL);
    world_until(20,
                world_count(w, "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and granted"
                               " and relation = 'settle.webhook_receipts'::regclass") == 1);
    l = matrix_load(w);
    world_until(20, world_metric(w, "settle_queue_waiting_deliveries") >= MATRIX_SENDERS);
    assert_false(is_marked_as_seen(w));
    world_kill(w, GATEWAY);
    world_until(20, world_count(w, "select count(pg_terminate_backend(pid)) from pg_stat_activity"
                                   " where usename = 'settle_gateway'") == 0);
    world_sql(w, "select pg_terminate_backend(pid) from pg_stat_activity where query like '%%pg_sleep(60)%%'"
                 " and pid <> pg_backend_pid()");
    world_wait(w, holder);
    start_again(w, l);
    matrix_judge(w, l, SOME_CUT);
}

/* Counted in this order: what is acknowledged meanwhile can only make it less. */
static long nuntold(struct world *w, struct load *l)
{
    long nstored = world_count(w, "select count(*) from settle.webhook_receipts");

    return nstored - (long)load_so_far(l).acked;
}

/* Postgres' answers do not come through, so that all it has committed since is in this state. */
static void test_killed_after_the_commit_the_next_try_is_a_duplicate(void **state)
{
    struct world *w = *state;
    struct load *l;

    wait_patiently();
    matrix_gateway(w);
    l = matrix_load(w);
    matrix_wait_for_acks(l, 100);
    proxy_swallow(matrix_proxy, DOWN);
    world_until(20, nuntold(w, l) >= UNTOLD);
    world_kill(w, GATEWAY);
    proxy_heal(matrix_proxy);
    start_again(w, l);
    assert_true(
        world_metric(w, "settle_webhook_requests_total{platform=\"instagram\",cause=\"duplicate\"}") >=
        UNTOLD);
    matrix_judge(w, l, SOME_CUT);
}

static void post_all(struct world *w)
{
    for (unsigned i = 0; i < POSTS; i++) {
        char body[80];

        snprintf(body, sizeof(body), "{\"external_post_id\":\"%u\",\"status\":\"published\"}", i);
        world_deliver(w, "instagram", NULL, body);
    }
    assert_int_equal(world_count(w, "select count(*) from settle.webhook_receipts"), POSTS);
}

static void test_killed_after_the_answer_it_is_known_without_a_hint(void **state)
{
    struct world *w = *state;

    matrix_gateway(w);
    world_freeze(w, REDIS);
    post_all(w);
    world_kill(w, GATEWAY);
    world_thaw(w, REDIS);
    world_redis(w, "flushall", NULL); /* what lay in its socket */
    matrix_gateway(w);
    post_all(w);
    world_until(10, (post_all(w), is_marked_as_seen(w)));
}

/* Room. */

static struct wire **open_wires(struct world *w, struct arena *a, size_t n, struct span out)
{
    struct wire **all = arena_zero(a, n * sizeof(*all));

    for (size_t i = 0; i < n; i++) {
        all[i] = arena_zero(a, sizeof(**all));
        wire_open(all[i], w->ingest_url, out);
    }
    return all;
}

static void close_wires(struct wire *const *wires, size_t n)
{
    for (size_t i = 0; i < n; i++)
        wire_close(wires[i]);
}

/* The library ends the process then, as the kernel's own killer would. What its threads' heaps have reserved it may still use. */
static void test_out_of_memory_a_worker_is_replaced_and_nothing_lost(void **state)
{
    const char head[] =
        "POST /publishing/webhooks/instagram HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n";
    struct world *w = *state;
    struct arena *a;
    char *request, path[64];
    struct wire **hungry;
    struct rlimit memory;
    struct load *l;
    unsigned long pages = 0;
    pid_t worker;
    FILE *from;

    if (TEST_SANITIZED)
        skip(); /* its own bookkeeping takes more than any worker */
    a = arena_open(1 << 16);
    request = arena_zero(a, sizeof(head) + BODY_BYTES);
    setenv("SETTLE_INGEST_MAX_BODY_BYTES", "4000000", 1);
    world_gateway(w, NULL);
    unsetenv("SETTLE_INGEST_MAX_BODY_BYTES");
    worker = world_child(w, "ingest");
    l = matrix_load(w);
    matrix_wait_for_acks(l, 100);
    snprintf(path, sizeof(path), "/proc/%d/statm", (int)worker);
    from = fopen(path, "re");
    assert_true(from && fscanf(from, "%lu", &pages) == 1);
    fclose(from);
    memory.rlim_cur = memory.rlim_max = pages * (rlim_t)sysconf(_SC_PAGESIZE) + (8 << 20);
    assert_int_equal(prlimit(worker, RLIMIT_AS, &memory, NULL), 0);
    memcpy(request, head, sizeof(head) - 1);
    /* None ends, so all of them are held. */
    hungry = open_wires(w, a, HUNGRY, (struct span){request, sizeof(head) - 2 + BODY_BYTES});
    world_until(20, (wire_look(hungry, HUNGRY, 10), world_metric(w, "settle_worker_restarts_total") == 1));
    close_wires(hungry, HUNGRY);
    matrix_wait_for_acks(l, 300);
    assert_true(world_child(w, "ingest") != worker);
    matrix_judge(w, l, SOME_CUT);
    arena_close(a);
}

/* Of one worker. */
static bool is_connected(struct world *w)
{
    return world_metric(w, "settle_store_up{store=\"postgres\"}") == 2;
}

/* As many connections as there are descriptors for: those that Postgres needs are left, also when it has to be connected
 * to anew, and who is in stays in. */
static void test_out_of_descriptors_those_who_are_in_are_answered(void **state)
{
    const struct rlimit few = {DESCRIPTORS, DESCRIPTORS};
    struct world *w = *state;
    struct arena *a;
    struct wire **flood;
    struct load *l;
    pid_t worker;

    world_gateway(w, NULL);
    if (prlimit(w->gateway, RLIMIT_NOFILE, &few, NULL) != 0)
        skip(); /* processes that hide can be touched by root alone */
    worker = world_child(w, "ingest");
    kill(worker, SIGKILL); /* the next one reads its limit */
    world_until(20, world_child(w, "ingest") != worker && is_connected(w));
    worker = world_child(w, "ingest");
    a = arena_open(1 << 16);
    l = matrix_load(w);
    matrix_wait_for_acks(l, 100);
    matrix_struck(l);
    flood = open_wires(w, a, FLOOD, SPAN_NONE);
    matrix_wait_for_acks(l, 100);
    proxy_cut(matrix_proxy);
    matrix_wait_for_acks(l, 300);
    world_until(30, is_connected(w));
    close_wires(flood, FLOOD);
    load_mended(l);
    assert_true(world_child(w, "ingest") == worker);
    matrix_judge(w, l, NONE_REFUSED);
    arena_close(a);
}

static void test_told_to_end_it_answers_what_it_has_and_leaves_the_rest_to_the_next(void **state)
{
    struct world *w = *state;
    struct load *l;

    matrix_gateway(w);
    l = matrix_load(w);
    matrix_wait_for_acks(l, 100);
    proxy_swallow(matrix_proxy, BOTH_WAYS); /* so that something is under way in both stores */
    matrix_wait_for_acks(l, 50);
    assert_int_equal(world_gateway_stop(w), 0);
    proxy_heal(matrix_proxy);
    matrix_gateway(w);
    load_aim(l, w);
    matrix_wait_for_acks(l, 100);
    assert_in_range(load_so_far(l).unknown, 0,
                    world_times_count() ? 0 : MATRIX_SENDERS / 2); /* too late for it */
    load_halt(l);
    world_until(30, world_is_drained(w));
    assert_int_equal(load_stop(l, w).wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_killed_before_the_commit_nothing_is_taken_for_stored, matrix_reset),
        cmocka_unit_test_setup(test_killed_after_the_commit_the_next_try_is_a_duplicate, matrix_reset),
        cmocka_unit_test_setup(test_killed_after_the_answer_it_is_known_without_a_hint, matrix_reset),
        cmocka_unit_test_setup(test_out_of_memory_a_worker_is_replaced_and_nothing_lost, matrix_reset),
        cmocka_unit_test_setup(test_out_of_descriptors_those_who_are_in_are_answered, matrix_reset),
        cmocka_unit_test_setup(test_told_to_end_it_answers_what_it_has_and_leaves_the_rest_to_the_next,
                               matrix_reset),
    };

    return cmocka_run_group_tests(tests, matrix_up, matrix_down);
}
