/* Postgres fails under load, in each way that can be made here: a row of the failure matrix a test. */
#include "matrix.h"

#include "support/fault.h"

#include <stdio.h>
#include <stdlib.h>

#define SPOOLED "settle_spool_writes_total{result=\"stored\"}"

static struct fault slow_disk;

/* Its sessions to come are traced with it, so those that are there have to go. */
static void slow_the_disk(struct world *w)
{
    struct outcome head;
    char path[128];

    snprintf(path, sizeof(path), "%s/postgres/data/postmaster.pid", w->dir);
    head = world_wait(w, world_spawn(w, "head", "-n", "1", path, NULL));
    slow_disk = fault_inject(w, (pid_t)atoi(head.out), "fdatasync", "delay_enter=1000000");
    proxy_cut(matrix_proxy);
    world_until(20, fault_count(w, slow_disk) > 0);
}

static void quicken_the_disk(struct world *w)
{
    fault_end(w, slow_disk);
    proxy_cut(matrix_proxy);
}

/* To trace all of Postgres' calls costs more than a small machine has beside other tests. */
static void test_a_disk_that_takes_a_second_a_commit_holds_up_nobody(void **state)
{
    struct world *w = *state;
    static const struct row slow = {"", slow_the_disk, quicken_the_disk, 100, NONE_REFUSED, SPOOLED};

    if (!getenv("SETTLE_TEST_LONG") || !fault_works(w))
        skip();
    matrix_run(w, &slow);
}

int main(void)
{
    struct CMUnitTest tests[1 + MATRIX_OF_SERVERS] = {
        cmocka_unit_test_setup(test_a_disk_that_takes_a_second_a_commit_holds_up_nobody, matrix_reset),
    };

    matrix_tests(tests + 1, matrix_of_servers, MATRIX_OF_SERVERS);
    return cmocka_run_group_tests(tests, matrix_up, matrix_down);
}
