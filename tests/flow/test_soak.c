/* Ten minutes of light load with a fault in each: nothing lost, and neither memory nor descriptors grow. ops/test --long
 * alone, and without sanitizers; SETTLE_TEST_SOAK_MINUTES says how many, three or more. */
#include "matrix.h"

#include "base/now.h"
#include "support/disk.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    MINUTES = 10,
    MINUTES_LEAST = 3, /* the first one's are not yet flat, and two are to be compared */
    MINUTES_MAX = 1000,
    FAULT_S = 10,
    QUIET_S = 30, /* at the end of a minute: then all is mended and drained */
    SAMPLES_MAX = 60,
    SENDERS = 4,
    PACE_MS = 10,
    SPOOL_MEGABYTES = 64,
    LATE_MS = 450,
    LATE_SHARE = 100,
    REFUSED_MOST = 10, /* of some thousands: the disk was busy */
    MORE_PERCENT = 5,
    MORE_KIB = 512, /* what the kernel counts late */
};

#define MINUTE_US (60 * SECOND_US)

/* What the gateway holds, all its processes together. */
struct holding {
    size_t rss_kib, descriptors;
};

struct ordeal {
    const char *row; /* of the matrix; NULL: the two that follow */
    void (*strike)(struct world *w);
    void (*mend)(struct world *w);
    bool once; /* a new process is not yet as large as the old one was */
    bool refuses, cuts;
};

static bool spool_is_small;

static bool is_long(void)
{
    return getenv("SETTLE_TEST_LONG") && !TEST_SANITIZED; /* which keeps what is freed */
}

static int up(void **state)
{
    return is_long() ? matrix_up(state) : 0;
}

static int reset(void **state)
{
    return is_long() ? matrix_reset(state) : 0;
}

static int down(void **state)
{
    return is_long() ? matrix_down(state) : 0;
}

/* Faults of the servers and the network are rows of the matrix; these end or fill something besides. */

static void kill_worker(struct world *w)
{
    kill(world_child(w, "ingest"), SIGKILL);
}

static void reload(struct world *w)
{
    kill(w->gateway, SIGHUP);
}

static void nothing(struct world *w)
{
    (void)w;
}

static void kill_redis(struct world *w)
{
    world_kill(w, REDIS);
}

static void freeze_redis(struct world *w)
{
    world_freeze(w, REDIS);
}

static void thaw_redis(struct world *w)
{
    world_thaw(w, REDIS);
}

static void refuse_and_fill(struct world *w)
{
    proxy_refuse(matrix_proxy);
    proxy_cut(matrix_proxy);
    if (spool_is_small)
        disk_fill(w, matrix_spool, 0);
}

static void heal_and_free(struct world *w)
{
    proxy_heal(matrix_proxy);
    if (spool_is_small)
        disk_free(w, matrix_spool);
}

static const struct ordeal ordeals[] = {
    {NULL,                          kill_worker,     nothing,       true,  false, true },
    {"postgres is stopped at once", NULL,            NULL,          false, false, false},
    {NULL,                          reload,          nothing,       false, false, false},
    {"postgres is frozen",          NULL,            NULL,          false, false, false},
    {NULL,                          kill_redis,      world_servers, false, false, false},
    {"all connections are reset",   NULL,            NULL,          false, false, false},
    {NULL,                          refuse_and_fill, heal_and_free, false, true },
    {"what comes from postgres is lost",                         NULL,            NULL,         false, false, false     },
    {NULL,                 freeze_redis,      thaw_redis,         false, false, false},
    {"postgres is read-only",                         NULL,            NULL,         false, false, false     },
};

static struct row row_named(const char *fault)
{
    for (size_t i = 0; i < MATRIX_OF_SERVERS; i++)
        if (strcmp(matrix_of_servers[i].fault, fault) == 0)
            return matrix_of_servers[i];
    for (size_t i = 0; i < MATRIX_OF_NETWORK; i++)
        if (strcmp(matrix_of_network[i].fault, fault) == 0)
            return matrix_of_network[i];
    fail_msg("no row of the matrix is named %s", fault);
    return (struct row){0};
}

/* The cycle, without what comes but once. */
static struct ordeal ordeal_of(unsigned minute)
{
    size_t nth = minute;
    struct ordeal o;

    if (minute >= countof(ordeals))
        nth = 1 + (minute - 1) % (countof(ordeals) - 1);
    o = ordeals[nth];
    assert_true(!o.once || nth == 0);
    if (o.row) {
        struct row row = row_named(o.row);

        o.strike = row.strike;
        o.mend = row.mend;
    }
    return o;
}

/* Measuring. */

static size_t rss_kib_of(pid_t pid)
{
    unsigned long pages = 0;
    char path[64];
    FILE *from;

    snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
    from = fopen(path, "re");
    if (from && fscanf(from, "%*u %lu", &pages) != 1)
        pages = 0;
    if (from)
        fclose(from);
    return pages * (size_t)sysconf(_SC_PAGESIZE) / 1024;
}

/* 0: it is gone, or we may not look. */
static size_t descriptors_of(pid_t pid)
{
    char path[64];
    size_t n = 0;
    DIR *folder;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    folder = opendir(path);
    while (folder && readdir(folder))
        n++;
    if (folder)
        closedir(folder);
    return n;
}

static struct holding holding_now(const struct world *w)
{
    struct holding h = {rss_kib_of(w->gateway), descriptors_of(w->gateway)};
    char path[64];
    FILE *children;
    int child;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)w->gateway, (int)w->gateway);
    children = fopen(path, "re");
    assert_non_null(children);
    while (fscanf(children, "%d", &child) == 1) {
        h.rss_kib += rss_kib_of(child);
        h.descriptors += descriptors_of(child);
    }
    fclose(children);
    return h;
}

static int by_value(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;

    return (x > y) - (x < y);
}

static size_t median(size_t *values, size_t n)
{
    qsort(values, n, sizeof(values[0]), by_value);
    return values[n / 2];
}

/* Until then, once a second. */
static struct holding median_until(const struct world *w, int64_t until_us)
{
    size_t rss_kib[SAMPLES_MAX], descriptors[SAMPLES_MAX], n = 0;

    while (n < SAMPLES_MAX && (n == 0 || now_boot_us() < until_us)) {
        struct holding h = holding_now(w);
        int64_t next_us = now_boot_us() + SECOND_US;

        rss_kib[n] = h.rss_kib;
        descriptors[n++] = h.descriptors;
        world_until(2, now_boot_us() >= next_us);
    }
    return (struct holding){median(rss_kib, n), median(descriptors, n)};
}

static struct holding live_a_minute(struct world *w, struct load *l, unsigned minute)
{
    struct ordeal o = ordeal_of(minute);
    int64_t began_us = now_boot_us();
    struct load_count before = load_so_far(l), after;
    struct holding h;

    o.strike(w);
    world_until(FAULT_S + 1, now_boot_us() - began_us > FAULT_S * SECOND_US);
    o.mend(w);
    world_until(60, matrix_connected(w));
    world_until(60, now_boot_us() - began_us > MINUTE_US - QUIET_S * SECOND_US);
    world_until(60, world_is_drained(w));
    h = median_until(w, began_us + MINUTE_US);
    after = load_so_far(l);
    if (!o.refuses)
        assert_true(after.refused - before.refused <= REFUSED_MOST);
    if (!o.cuts)
        assert_int_equal(after.unknown + after.unheard, before.unknown + before.unheard);
    return h;
}

/* Processes that hide can be looked into by root alone. */
static bool can_look(struct world *w)
{
    return descriptors_of(w->gateway) > 0 && descriptors_of(world_child(w, "ingest")) > 0;
}

static void test_with_a_fault_each_minute_nothing_is_lost_and_nothing_grows(void **state)
{
    struct world *w = *state;
    unsigned minutes, nlate, slowest_ms;
    struct holding first = {0}, now = {0};
    struct load_count count;
    struct load *l;

    if (!is_long())
        skip();
    minutes =
        getenv("SETTLE_TEST_SOAK_MINUTES") ? (unsigned)atoi(getenv("SETTLE_TEST_SOAK_MINUTES")) : MINUTES;
    assert_in_range(minutes, MINUTES_LEAST, MINUTES_MAX);
    spool_is_small = disk_open(w, matrix_spool, DISK_EXT4, SPOOL_MEGABYTES);
    matrix_gateway(w);
    if (!can_look(w))
        skip();
    l = load_start(w, SENDERS);
    load_pace(l, PACE_MS);
    for (unsigned minute = 0; minute < minutes; minute++) {
        now = live_a_minute(w, l, minute);
        if (minute == 1)
            first = now;
        print_message("minute %u: %zu KiB, %zu descriptors\n", minute + 1, now.rss_kib, now.descriptors);
    }
    load_halt(l);
    world_until(60, world_is_drained(w));
    nlate = load_later_than(l, LATE_MS, &slowest_ms);
    count = load_stop(l, w);
    print_message("%u acknowledged, %u refused; %u later than %d ms, the slowest %u ms\n", count.acked,
                  count.refused, nlate, LATE_MS, slowest_ms);
    assert_int_equal(count.wrong, 0);
    assert_true(now.descriptors > 0);
    assert_true(nlate * LATE_SHARE <= count.acked + count.refused);
    assert_true(now.rss_kib <= first.rss_kib + first.rss_kib * MORE_PERCENT / 100 + MORE_KIB);
    assert_true(now.descriptors <= first.descriptors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_with_a_fault_each_minute_nothing_is_lost_and_nothing_grows, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
