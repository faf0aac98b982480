/* A store that is away, or of no use, is knocked at now and then: never in a storm, and soon enough when it is back. */
#include "support/load.h"

#include "base/now.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

enum {
    LINKS = 2,      /* of Postgres, in one worker; of Redis there is one */
    PROBES_A_S = 2, /* of each, at most */
    FIRST_ONES = 5, /* of each, while the pauses grow */
    PROBES = 3,     /* that are waited for */
    SENDERS = 4,
    DESCRIPTORS_MAX = 1024,
    OF_A_CONNECTION = 6, /* more than are open at once while one comes up */
    TRIES = 3,
};

static int up(void **state)
{
    *state = world_open();
    return 0;
}

static int reset(void **state)
{
    struct world *w = *state;

    if (w->gateway)
        world_kill(w, GATEWAY);
    world_servers(w);
    world_reset(w);
    return 0;
}

static int down(void **state)
{
    world_close(*state);
    return 0;
}

static long connects(struct world *w, const char *store)
{
    char name[64];

    snprintf(name, sizeof(name), "settle_store_connects_total{store=\"%s\"}", store);
    return (long)world_metric(w, name);
}

/* As many tries as the time that passed allows: a slow machine makes fewer. */
static void expect_few(struct world *w, const char *store, unsigned nlinks, long before, int64_t began_us)
{
    long tries = connects(w, store) - before;
    double seconds = (double)(now_boot_us() - began_us) / (double)SECOND_US;

    print_message("%ld tries to connect to %s in %.1f s\n", tries, store, seconds);
    assert_true((double)tries <= nlinks * (FIRST_ONES + PROBES_A_S * seconds));
}

static void test_absent_stores_are_probed_each_second(void **state)
{
    struct world *w = *state;
    int64_t began_us;
    long postgres, redis;

    setenv("SETTLE_ADMIN_ENABLED", "false", 1); /* it connects as well */
    world_gateway(w, NULL);
    unsetenv("SETTLE_ADMIN_ENABLED");
    world_until(10, world_metric(w, "settle_store_up{store=\"redis\"}") == 1);
    began_us = now_boot_us();
    postgres = connects(w, "postgres");
    redis = connects(w, "redis");
    world_kill(w, POSTGRES);
    world_kill(w, REDIS);
    world_until(60, connects(w, "redis") >= redis + FIRST_ONES + PROBES);
    world_until(60, connects(w, "postgres") >= postgres + LINKS * (FIRST_ONES + PROBES));
    expect_few(w, "postgres", LINKS, postgres, began_us);
    expect_few(w, "redis", 1, redis, began_us);
    world_servers(w);
    world_until(20, world_metric(w, "settle_store_up{store=\"postgres\"}") == LINKS &&
                        world_metric(w, "settle_store_up{store=\"redis\"}") == 1);
    world_deliver(w, "instagram", NULL, "{\"external_post_id\":\"back\"}");
}

/* As on a full disk: connections come up, and each statement fails. */
static void test_a_postgres_that_takes_nothing_is_not_stormed(void **state)
{
    struct world *w = *state;
    struct load_count count;
    int64_t began_us;
    struct load *l;
    long before;

    setenv("SETTLE_ADMIN_ENABLED", "false", 1);
    world_gateway(w, NULL);
    unsetenv("SETTLE_ADMIN_ENABLED");
    world_until(10, world_metric(w, "settle_store_up{store=\"postgres\"}") == LINKS);
    l = load_start(w, SENDERS);
    world_until(20, load_so_far(l).acked > 100);
    world_sql(w, "create function settle.full() returns trigger language plpgsql as"
                 " 'begin raise disk_full; end';"
                 "create trigger test_full before insert on settle.webhook_receipts"
                 " execute function settle.full()");
    began_us = now_boot_us();
    before = connects(w, "postgres");
    world_until(60, connects(w, "postgres") >= before + LINKS * (FIRST_ONES + PROBES));
    expect_few(w, "postgres", LINKS, before, began_us);
    world_sql(w, "drop trigger test_full on settle.webhook_receipts; drop function settle.full()");
    world_until(20, load_so_far(l).acked > 300);
    count = load_stop(l, w);
    assert_int_equal(count.wrong + count.unknown, 0);
    assert_true(count.refused > 0);
}

/* What a limit must be so that just this many more descriptors can be opened. */
static rlim_t limit_leaving(pid_t pid, unsigned nfree)
{
    bool used[DESCRIPTORS_MAX] = {false};
    char path[64];
    struct dirent *entry;
    DIR *folder;
    rlim_t limit = 0;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    folder = opendir(path);
    assert_non_null(folder);
    while ((entry = readdir(folder)))
        if (entry->d_name[0] != '.' && atoi(entry->d_name) < DESCRIPTORS_MAX)
            used[atoi(entry->d_name)] = true;
    closedir(folder);
    for (; limit < DESCRIPTORS_MAX && (used[limit] || nfree > 0); limit++)
        nfree -= !used[limit];
    return limit;
}

static bool is_connected(struct world *w)
{
    return world_metric(w, "settle_store_up{store=\"postgres\"}") == LINKS;
}

/* At each step of it: the event, the event's watch, the socket, the socket's watch. */
static void test_without_a_descriptor_to_connect_with_the_worker_lives_and_tries_again(void **state)
{
    struct world *w = *state;
    struct rlimit before, few;
    rlim_t limits[OF_A_CONNECTION];
    pid_t worker;

    setenv("SETTLE_ADMIN_ENABLED", "false", 1);
    world_gateway(w, NULL);
    unsetenv("SETTLE_ADMIN_ENABLED");
    world_until(10, is_connected(w));
    worker = world_child(w, "ingest");
    if (prlimit(worker, RLIMIT_NOFILE, NULL, &before) != 0)
        skip(); /* processes that hide can be touched by root alone */
    world_kill(w, POSTGRES);
    world_until(10, world_metric(w, "settle_store_up{store=\"postgres\"}") == 0);
    for (unsigned nfree = 0; nfree < OF_A_CONNECTION; nfree++)
        limits[nfree] = limit_leaving(worker, nfree);
    few = (struct rlimit){limits[0], before.rlim_max};
    assert_int_equal(prlimit(worker, RLIMIT_NOFILE, &few, NULL), 0);
    world_servers(w);
    for (unsigned nfree = 0; nfree < OF_A_CONNECTION; nfree++) {
        long tried = connects(w, "postgres");

        few.rlim_cur = limits[nfree];
        assert_int_equal(prlimit(worker, RLIMIT_NOFILE, &few, NULL), 0);
        world_until(20, connects(w, "postgres") >= tried + TRIES || is_connected(w));
        assert_false(nfree == 0 && is_connected(w));
    }
    assert_int_equal(prlimit(worker, RLIMIT_NOFILE, &before, NULL), 0);
    world_until(20, is_connected(w));
    assert_int_equal(world_metric(w, "settle_worker_restarts_total"), 0);
    assert_int_equal(world_child(w, "ingest"), worker);
    world_deliver(w, "instagram", NULL, "{\"external_post_id\":\"in\"}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_absent_stores_are_probed_each_second, reset),
        cmocka_unit_test_setup(test_a_postgres_that_takes_nothing_is_not_stormed, reset),
        cmocka_unit_test_setup(test_without_a_descriptor_to_connect_with_the_worker_lives_and_tries_again,
                               reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
