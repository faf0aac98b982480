/* Disks that fail: each of the first writes and syncs of either store fails once, under load. No acknowledgement rests on
 * what failed, and what was acknowledged is stored after all.
 * What was written before a failed sync stays in the kernel's memory here, and is there when Postgres starts again: that a
 * commit was synced before it was acknowledged is not shown by this. What is shown: a failed sync or write ends Postgres
 * instead of being taken for done, costs the batch that was under way, and the replay finds what was acknowledged. */
#include "support/fault.h"
#include "support/load.h"

#include "base/now.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    SENDERS = 4,
    SPOOL_CALLS = 10,
    POSTGRES_CALLS = 3,
    CALLS_LONG = 100, /* of ops/test --long: the first so many calls, each once */
    HIT_S = 10,
    PATIENCE_S = 60
};

/* A write that takes nothing says 0; strace can make no other short one that is true. */
struct failure {
    const char *who, *calls, *what;
};

#define FAILED "settle_batches_total{result=\"failed\"}"

static char folder[200];

static int up(void **state)
{
    *state = world_open();
    setenv("SETTLE_UNSAFE_OK", "true", 1);      /* the tests' folder may lie on anything */
    setenv("SETTLE_ADMIN_ENABLED", "false", 1); /* so that all connections are the workers' */
    return 0;
}

static int reset(void **state)
{
    struct world *w = *state;

    if (w->gateway)
        world_kill(w, GATEWAY);
    world_servers(w);
    world_reset(w);
    snprintf(folder, sizeof(folder), "%s/spool", w->dir);
    world_wait(w, world_spawn(w, "rm", "-rf", folder, NULL));
    assert_int_equal(mkdir(folder, 0700), 0);
    setenv("SETTLE_SPOOL_FOLDER", folder, 1);
    setenv("SETTLE_SPOOL_RESERVE_MEGABYTES", "1", 1);
    return 0;
}

static int down(void **state)
{
    world_close(*state);
    return 0;
}

static unsigned ncalls(unsigned otherwise)
{
    return getenv("SETTLE_TEST_LONG") ? CALLS_LONG : otherwise;
}

static void wait_for_acks(struct load *l, unsigned n)
{
    unsigned target = load_so_far(l).acked + n;

    world_until(PATIENCE_S, load_so_far(l).acked >= target);
}

/* Whether the process came to that call in time. */
static bool is_hit(struct world *w, struct fault f)
{
    int64_t until = world_deadline(HIT_S);

    while (fault_count(w, f) == 0 && now_boot_us() < until)
        world_look_again(INT64_MAX, "it is hit");
    return fault_count(w, f) > 0;
}

static struct fault inject(struct world *w, pid_t pid, const struct failure *failure, unsigned nth)
{
    char what[64];

    snprintf(what, sizeof(what), "%s:when=%u", failure->what, nth);
    return fault_inject(w, pid, failure->calls, what);
}

/* All of it has come to Postgres, also by a gateway that was started anew. */
static struct load_count settle(struct world *w, struct load *l)
{
    load_halt(l);
    world_servers(w);
    assert_int_equal(world_gateway_stop(w), 0);
    world_gateway(w, "--workers", "1", NULL);
    world_until(PATIENCE_S,
                world_metric(w, "settle_store_up{store=\"postgres\"}") == 2 && world_is_drained(w));
    return load_stop(l, w);
}

/* Returns how many faults cost somebody a 503. */
static unsigned fail_each_call_of_the_spool(struct world *w, struct load *l, const struct failure *failure)
{
    unsigned ncostly = 0;

    for (unsigned k = 1; k <= ncalls(SPOOL_CALLS); k++) {
        struct fault f = inject(w, world_child(w, "ingest"), failure, k);
        unsigned refused = load_so_far(l).refused;

        assert_true(is_hit(w, f));
        wait_for_acks(l, 10);
        fault_end(w, f);
        ncostly += load_so_far(l).refused > refused;
    }
    return ncostly;
}

static void test_no_answer_rests_on_what_failed_in_the_spool(void **state)
{
    static const struct failure failures[] = {
        {"spool", "fdatasync,fsync", "error=EIO"   },
        {"spool", "pwrite64",        "error=EIO"   },
        {"spool", "pwrite64",        "error=ENOSPC"},
        {"spool", "pwrite64",        "retval=0"    },
    };
    struct world *w = *state;
    struct load_count count;
    struct load *l;

    if (!fault_works(w))
        skip();
    world_gateway(w, "--workers", "1", NULL);
    world_kill(w, POSTGRES);
    l = load_start(w, SENDERS);
    wait_for_acks(l, 20);
    for (size_t i = 0; i < countof(failures); i++) {
        unsigned ncostly = fail_each_call_of_the_spool(w, l, &failures[i]), n = ncalls(SPOOL_CALLS);

        print_message("  spool, %s of %s: %u faults, %u cost a 503\n", failures[i].what, failures[i].calls, n,
                      ncostly);
        /* A disk that is full has the reserve, and what fails while a log is merged or a file opened costs nobody. */
        if (strcmp(failures[i].what, "error=EIO") == 0)
            assert_true(ncostly > n / 2);
    }
    count = settle(w, l);
    print_message("  %u acknowledged, %u refused\n", count.acked, count.refused);
    assert_int_equal(count.wrong + count.unknown, 0);
}

/* The one of its kind that was busy last. */
static pid_t process_of(struct world *w, const char *kind)
{
    long pid = 0;

    world_until(PATIENCE_S, (pid = world_count(w,
                                               "select pid from pg_stat_activity"
                                               " where backend_type = '%s' and pid <> pg_backend_pid()"
                                               " order by state_change desc nulls last limit 1",
                                               kind)) > 0);
    return (pid_t)pid;
}

static void checkpoint(struct world *w)
{
    char url[200];

    snprintf(url, sizeof(url), "%s&user=postgres", w->database_url);
    world_wait(w, world_spawn(w, "psql", "-Xqd", url, "-c", "checkpoint", NULL)); /* it may be cut */
}

/* In time: what was cut is noticed at once. */
static bool has_risen(struct world *w, double nfailed)
{
    int64_t until = world_deadline(HIT_S);

    while (world_metric(w, FAILED) <= nfailed && now_boot_us() < until)
        world_look_again(INT64_MAX, "it has risen");
    return world_metric(w, FAILED) > nfailed;
}

/* Returns how many happened, as not each process comes to so many calls, and how many of them cost a batch. */
static unsigned fail_each_call_of_postgres(struct world *w, struct load *l, const struct failure *failure,
                                           unsigned *ret_ncostly)
{
    unsigned nhit = 0;

    *ret_ncostly = 0;

    for (unsigned k = 1; k <= ncalls(POSTGRES_CALLS); k++) {
        struct fault f;
        double nfailed;
        bool hit;

        /* With nothing to drain, all its work is batches. */
        world_until(PATIENCE_S,
                    world_metric(w, "settle_store_up{store=\"postgres\"}") == 2 && world_is_drained(w));
        nfailed = world_metric(w, FAILED);
        f = inject(w, process_of(w, failure->who), failure, k);
        if (strcmp(failure->who, "checkpointer") == 0)
            checkpoint(w);
        hit = is_hit(w, f);
        wait_for_acks(l, 10);
        fault_end(w, f);
        nhit += hit;
        *ret_ncostly += hit && has_risen(w, nfailed);
    }
    return nhit;
}

static void test_no_answer_rests_on_what_failed_in_postgres(void **state)
{
    static const struct failure failures[] = {
        {"client backend", "fdatasync",       "error=EIO"   },
        {"client backend", "pwrite64",        "error=ENOSPC"},
        {"client backend", "pwrite64",        "retval=0"    },
        {"checkpointer",   "fdatasync,fsync", "error=EIO"   },
    };
    struct world *w = *state;
    struct load_count count;
    struct load *l;

    if (!fault_works(w))
        skip();
    world_gateway(w, "--workers", "1", NULL);
    l = load_start(w, SENDERS);
    wait_for_acks(l, 20);
    for (size_t i = 0; i < countof(failures); i++) {
        unsigned ncostly, nhit = fail_each_call_of_postgres(w, l, &failures[i], &ncostly);

        print_message("  Postgres' %s, %s of %s: %u of %u happened, %u cost a batch\n", failures[i].who,
                      failures[i].what, failures[i].calls, nhit, ncalls(POSTGRES_CALLS), ncostly);
        assert_true(nhit > 0);
        /* The checkpointer may end Postgres between two batches. */
        assert_true(ncostly == nhit || (ncostly > 0 && strcmp(failures[i].who, "checkpointer") == 0));
    }
    count = settle(w, l);
    print_message("  %u acknowledged, %u refused\n", count.acked, count.refused);
    assert_int_equal(count.wrong + count.unknown, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_no_answer_rests_on_what_failed_in_the_spool, reset),
        cmocka_unit_test_setup(test_no_answer_rests_on_what_failed_in_postgres, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
