/* The way to Postgres fails under load: a row of the failure matrix a test. */
#include "matrix.h"

#include "support/shim.h"

#include <stdio.h>
#include <stdlib.h>

#define SPOOLED "settle_spool_writes_total{result=\"stored\"}"
#define FAILED  "settle_batches_total{result=\"failed\"}"
#define TRIED   "settle_store_connects_total{store=\"postgres\"}"

enum { CUTS_MAX = 20 };

/* Until it hits a batch: what has just been connected learns something else first. */
static void cut_a_batch(struct world *w, enum way way, unsigned bytes)
{
    double failed = world_metric(w, FAILED);

    for (unsigned i = 0; i < CUTS_MAX && world_metric(w, FAILED) <= failed; i++) {
        double tried = world_metric(w, TRIED);

        proxy_cut_after(matrix_proxy, way, bytes);
        world_until(20, world_metric(w, TRIED) > tried);
        proxy_heal(matrix_proxy);
        world_until(20, matrix_connected(w));
    }
    assert_true(world_metric(w, FAILED) > failed);
}

/* Within a statement nothing was done, within its answer all was, and nobody was told either. */
static void test_a_connection_lost_around_its_commit_costs_nothing(void **state)
{
    static const struct {
        enum way way;
        unsigned bytes;
    } cuts[] = {
        {DOWN, 1   },
        {DOWN, 7   },
        {DOWN, 40  },
        {DOWN, 99  },
        {DOWN, 180 },
        {DOWN, 400 },
        {DOWN, 3000},
        {UP,   1   },
        {UP,   100 },
        {UP,   500 },
        {UP,   900 },
        {UP,   5000},
    };
    struct world *w = *state;
    struct load *l;

    matrix_gateway(w);
    l = matrix_load(w);
    matrix_struck(l);
    for (size_t i = 0; i < countof(cuts); i++) {
        cut_a_batch(w, cuts[i].way, cuts[i].bytes);
        matrix_wait_for_acks(l, 30);
    }
    matrix_judge(w, l, NONE_REFUSED);
}

/* Connections have to be made anew, and nobody says where Postgres is: webhooks do not wait for it. */
static void test_a_name_server_that_is_slow_or_fails_holds_up_nobody(void **state)
{
    struct world *w = *state;
    struct shim *names;
    struct load *l;
    char url[120];

    snprintf(url, sizeof(url), "postgresql://localhost:%u/settle?sslmode=disable&gssencmode=disable",
             proxy_port(matrix_proxy));
    setenv("SETTLE_DATABASE_URL", url, 1);
    names = shim_open(w);
    matrix_gateway(w);
    l = matrix_load(w);
    matrix_wait_for_acks(l, 100);
    matrix_struck(l);
    shim_names(names, 2000, false);
    proxy_cut(matrix_proxy);
    matrix_wait_for_acks(l, 300);
    shim_names(names, 0, true);
    matrix_wait_for_acks(l, 300);
    assert_true(world_metric(w, SPOOLED) > 300);
    shim_names(names, 0, false);
    load_mended(l);
    world_until(30, matrix_connected(w));
    matrix_judge(w, l, NONE_REFUSED);
    shim_close(names);
}

int main(void)
{
    struct CMUnitTest tests[2 + MATRIX_OF_NETWORK] = {
        cmocka_unit_test_setup(test_a_connection_lost_around_its_commit_costs_nothing, matrix_reset),
        cmocka_unit_test_setup(test_a_name_server_that_is_slow_or_fails_holds_up_nobody, matrix_reset),
    };

    matrix_tests(tests + 2, matrix_of_network, MATRIX_OF_NETWORK);
    return cmocka_run_group_tests(tests, matrix_up, matrix_down);
}
