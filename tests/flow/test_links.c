/* A store that is away, or of no use, is knocked at now and then: never in a storm, and soon enough when it is back. */
#include "support/load.h"

#include "base/now.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    LINKS = 2,      /* of Postgres, in one worker; of Redis there is one */
    PROBES_A_S = 2, /* of each, at most */
    FIRST_ONES = 5, /* of each, while the pauses grow */
    PROBES = 3,     /* that are waited for */
    SENDERS = 4,
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
    assert_int_equal(world_post(w, "instagram", NULL, "{\"external_post_id\":\"back\"}").status, 200);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_absent_stores_are_probed_each_second, reset),
        cmocka_unit_test_setup(test_a_postgres_that_takes_nothing_is_not_stormed, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
