/* Clients that take their time, and clients that are many: each is cut or kept out, and the others notice nothing. */
#include "support/world.h"

#include "base/arena.h"
#include "base/now.h"
#include "wire.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    REQUEST_S = 2,   /* SETTLE_INGEST_REQUEST_TIMEOUT_MS */
    MARGIN_S = 10,   /* for a machine that is busy: never cut is what would be wrong */
    BASELINE_S = 60, /* slow ones are cut, readers 5 s after they stall, give or take the kernel's probes */
    FEW = 10,
    NSLOW = 600,
    NREADERS = 8, /* each is worth ten thousand answers before it stalls */
    NSLOW_LONG = 1940,
    NREADERS_LONG = 60,
    NHONEST = 500,
    LATE_SHARE = 5,  /* of 100: of a quiet machine's honest ones it is 1 */
    QUICK_US = 2000, /* twice of less says nothing */
    DRIP_US = 200000,
};

static struct arena *arena;

static int up(void **state)
{
    struct rlimit descriptors;

    *state = world_open();
    arena = arena_open(1 << 20);
    getrlimit(RLIMIT_NOFILE, &descriptors);
    descriptors.rlim_cur = descriptors.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &descriptors);
}

static int reset(void **state)
{
    struct world *w = *state;

    if (w->gateway) /* of a test that failed */
        world_gateway_stop(w);
    world_reset(w);
    setenv("SETTLE_INGEST_REQUEST_TIMEOUT_MS", "2000", 1);
    return 0;
}

static int down(void **state)
{
    arena_close(arena);
    world_close(*state);
    return 0;
}

static struct wire **wires_make(size_t n)
{
    struct wire **all = arena_zero(arena, n * sizeof(*all));

    for (size_t i = 0; i < n; i++)
        all[i] = arena_zero(arena, sizeof(**all));
    return all;
}

static size_t count_descriptors(pid_t pid)
{
    char path[64];
    size_t n = 0;
    DIR *folder;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    folder = opendir(path);
    if (!folder && errno == EACCES)
        skip(); /* processes that hide can be looked into by root alone */
    assert_non_null(folder);
    while (readdir(folder))
        n++;
    closedir(folder);
    return n;
}

static double cpu_seconds_of(pid_t pid)
{
    unsigned long user, system;
    char path[64];
    FILE *from;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    from = fopen(path, "re");
    assert_non_null(from);
    assert_int_equal(
        fscanf(from, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system), 2);
    fclose(from);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* Of a core, while nobody does anything but knock. */
static double cpu_share_of(pid_t pid, struct wire *const *wires, size_t n, int64_t window_us)
{
    int64_t began_us = now_boot_us();
    double began_cpu = cpu_seconds_of(pid);

    while (now_boot_us() - began_us < window_us)
        wire_look(wires, n, 100);
    return (cpu_seconds_of(pid) - began_cpu) / ((double)(now_boot_us() - began_us) / (double)SECOND_US);
}

/* Slow ones. */

/* Sends and does not read: requests without end, whose answers soon find no room. */
static void open_reader(struct wire *wire, const char *url, struct span requests)
{
    const int small = 4096;

    wire_open(wire, url, SPAN_NONE);
    setsockopt(wire->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    while (send(wire->fd, requests.at, requests.len, MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
        ;
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* Posts one after the other, keeping the slow ones busy between two. How long each took, the quickest first. */
static void post_honestly(struct world *w, struct wire *const *slow, size_t nslow, const char *name,
                          int64_t took[NHONEST])
{
    int64_t dripped_us = now_boot_us();

    for (size_t i = 0; i < NHONEST; i++) {
        const char *body =
            arena_print(arena, "{\"external_post_id\":\"%s-%zu\",\"status\":\"published\"}", name, i);
        int64_t began_us;
        if (nslow > 0 && now_boot_us() - dripped_us > DRIP_US) {
            for (size_t k = 0; k < nslow; k++)
                slow[k]->out = SPAN("a");
            wire_look(slow, nslow, 0);
            dripped_us = now_boot_us();
        }
        began_us = now_boot_us();
        world_deliver(w, "instagram", NULL, body);
        took[i] = now_boot_us() - began_us;
    }
    qsort(took, NHONEST, sizeof(took[0]), by_size);
}

static int64_t p99(const int64_t took[NHONEST])
{
    return took[NHONEST * 99 / 100];
}

static size_t count_over(const int64_t took[NHONEST], int64_t us)
{
    size_t n = 0;

    while (n < NHONEST && took[NHONEST - 1 - n] > us)
        n++;
    return n;
}

#define SLOW_HEAD SPAN("POST /publishing/webhooks/instagram HTTP/1.1\r\nHost: x\r\nX-Slow: ")
#define SLOW_BODY                                                                                            \
    SPAN("POST /publishing/webhooks/instagram HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")

/* A byte at a time, until all are cut. Returns when the last one was. */
static int64_t drip(struct wire *const *slow, size_t n)
{
    int64_t until_us = world_deadline(BASELINE_S), last_us = 0;

    while (wire_look(slow, n, 20) > 0) {
        if (now_boot_us() > until_us)
            fail_msg("slow clients are not cut");
        for (size_t i = 0; i < n; i++)
            slow[i]->out = slow[i]->closed_us ? SPAN_NONE : SPAN("a");
    }
    for (size_t i = 0; i < n; i++)
        if (slow[i]->closed_us > last_us)
            last_us = slow[i]->closed_us;
    return last_us;
}

static void close_all(struct wire *const *wires, size_t n)
{
    for (size_t i = 0; i < n; i++)
        wire_close(wires[i]);
}

static void test_a_slow_client_is_cut_at_the_deadline(void **state)
{
    struct world *w = *state;
    struct wire **slow = wires_make(FEW);
    int64_t last_us;

    world_gateway(w, NULL);
    for (size_t i = 0; i < FEW; i++)
        wire_open(slow[i], w->ingest_url, i % 2 ? SLOW_HEAD : SLOW_BODY);
    last_us = drip(slow, FEW);
    assert_true(last_us - slow[0]->opened_us > REQUEST_S * SECOND_US * 9 / 10);
    assert_true(!world_times_count() ||
                last_us - slow[FEW - 1]->opened_us < (REQUEST_S + MARGIN_S) * SECOND_US);
    close_all(slow, FEW);
    assert_int_equal(world_gateway_stop(w), 0);
}

static void open_readers(struct wire *const *readers, size_t n, const char *url)
{
    char *requests = arena_alloc(arena, 4000);

    for (size_t i = 0; i + 40 <= 4000; i += 40)
        memcpy(requests + i, "GET /aaaaaaaaaaa HTTP/1.1\r\nHost: x\r\n\r\n\r\n", 40);
    for (size_t i = 0; i < n; i++)
        open_reader(readers[i], url, (struct span){requests, 4000});
}

static void expect_as_quick(const int64_t before[NHONEST], const int64_t busy[NHONEST],
                            const int64_t after[NHONEST])
{
    int64_t calm_us = p99(before) > p99(after) ? p99(before) : p99(after);
    size_t nlate = count_over(busy, 2 * (calm_us > QUICK_US ? calm_us : QUICK_US));

    print_message("p99 of honest ones: before %lld us, beside slow ones %lld us, after %lld us (%.2f); over "
                  "twice: %zu of"
                  " %d\n",
                  (long long)p99(before), (long long)p99(busy), (long long)p99(after),
                  (double)p99(busy) / (double)calm_us, nlate, NHONEST);
    if (world_times_count()) {
        assert_true(nlate * 100 <= (size_t)NHONEST * LATE_SHARE);
        assert_true(p99(busy) <= 2 * calm_us);
    }
}

/* By turns in the head and in the body. */
static void open_slow(struct wire *const *slow, size_t n, const char *url)
{
    for (size_t i = 0; i < n; i++) {
        wire_open(slow[i], url, i % 2 ? SLOW_HEAD : SLOW_BODY);
        wire_look(slow + i, 1, 0);
    }
}

/* Slow in the head, in the body, and in reading. With ops/test --long they are two thousand. */
static void test_a_crowd_of_slow_clients_costs_the_others_nothing(void **state)
{
    bool is_long = getenv("SETTLE_TEST_LONG") != NULL;
    size_t nslow = is_long ? NSLOW_LONG : NSLOW, nreaders = is_long ? NREADERS_LONG : NREADERS;
    struct world *w = *state;
    struct wire **slow = wires_make(nslow), **readers = wires_make(nreaders);
    int64_t calm[NHONEST], busy[NHONEST], after[NHONEST], cut_us;
    size_t baseline;
    pid_t worker;

    setenv("SETTLE_INGEST_REQUEST_TIMEOUT_MS", "10000", 1); /* so that all of them are in at once */
    world_gateway(w, NULL);
    worker = world_child(w, "ingest");
    post_honestly(w, NULL, 0, "calm", calm);
    baseline = count_descriptors(worker);
    open_readers(readers, nreaders, w->ingest_url);
    /* Until there is no more room for answers. */
    world_until(20, cpu_share_of(worker, NULL, 0, SECOND_US / 2) < 0.05);
    open_slow(slow, nslow, w->ingest_url);
    world_until(5, count_descriptors(worker) > baseline + nslow * 9 / 10);
    post_honestly(w, slow, nslow, "busy", busy);
    cut_us = drip(slow, nslow) - slow[nslow - 1]->opened_us;
    world_until(BASELINE_S, count_descriptors(worker) <= baseline);
    print_message("%zu slow ones, all cut after %lld ms\n", nslow + nreaders, (long long)cut_us / 1000);
    post_honestly(w, NULL, 0, "after", after); /* other programs may have come to life meanwhile */
    expect_as_quick(calm, busy, after);
    close_all(slow, nslow);
    close_all(readers, nreaders);
    assert_int_equal(world_gateway_stop(w), 0);
}

/* Many. */

static void test_a_flood_beyond_the_descriptors_does_not_spin(void **state)
{
    struct world *w = *state;
    enum { N = 200 };
    struct wire **wires = wires_make(N);
    struct rlimit few;
    pid_t worker;
    double share;

    world_gateway(w, NULL);
    worker = world_child(w, "ingest");
    few.rlim_cur = few.rlim_max = count_descriptors(worker) + 24;
    assert_int_equal(prlimit(worker, RLIMIT_NOFILE, &few, NULL), 0);
    for (size_t i = 0; i < N; i++)
        wire_open(wires[i], w->ingest_url, SPAN_NONE);
    world_until(10, count_descriptors(worker) >= few.rlim_cur);
    share = cpu_share_of(worker, wires, N, SECOND_US);
    print_message("beyond its descriptors the worker takes %.0f %% of a core\n", share * 100);
    assert_true(share < 0.2);
    close_all(wires, N);
    world_until(20, world_post(w, "instagram", NULL, "{\"external_post_id\":\"after\"}").status == 200);
    assert_int_equal(world_gateway_stop(w), 0);
}

static void test_a_flood_beyond_max_connections_waits_and_does_not_spin(void **state)
{
    struct world *w = *state;
    enum { N = 200 };
    struct wire **wires = wires_make(N);
    pid_t worker;
    double share;

    setenv("SETTLE_INGEST_REQUEST_TIMEOUT_MS", "60000", 1); /* none is cut for that */
    setenv("SETTLE_INGEST_MAX_CONNECTIONS", "20", 1);
    world_gateway(w, NULL);
    worker = world_child(w, "ingest");
    for (size_t i = 0; i < N; i++)
        wire_open(wires[i], w->ingest_url, SPAN_NONE);
    share = cpu_share_of(worker, wires, N, SECOND_US);
    print_message("beyond its connections the worker takes %.0f %% of a core\n", share * 100);
    assert_true(share < 0.2);
    assert_int_equal(wire_look(wires, N, 0), N); /* those in the backlog wait */
    close_all(wires, N);
    world_until(20, world_post(w, "instagram", NULL, "{\"external_post_id\":\"after\"}").status == 200);
    assert_int_equal(world_gateway_stop(w), 0);
    unsetenv("SETTLE_INGEST_MAX_CONNECTIONS");
}

static bool is_let_in(struct world *w, const char *address)
{
    struct wire **wire = wires_make(1);
    int statuses[WIRE_ANSWERS_MAX];

    wire_open_from(*wire, address, w->ingest_url,
                   SPAN("GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    assert_int_equal(wire_run(wire, 1, 10), 0);
    wire_close(*wire);
    return wire_answers(*wire, statuses) == 1;
}

static long refused_connections(struct world *w)
{
    const char *name = "\nsettle_connections_refused_total ";
    char url[128];
    const char *at;

    snprintf(url, sizeof(url), "%s/metrics", w->monitor_url);
    at = strstr(world_http(w, "GET", url, NULL, SPAN_NONE).body, name);
    return at ? strtol(at + strlen(name), NULL, 10) : -1;
}

static void test_one_address_does_not_take_all_connections(void **state)
{
    struct world *w = *state;
    enum { MOST = 5 };
    struct wire **wires = wires_make(MOST);

    setenv("SETTLE_INGEST_REQUEST_TIMEOUT_MS", "60000", 1);
    setenv("SETTLE_INGEST_MAX_CONNECTIONS_PER_ADDRESS", "5", 1);
    setenv("SETTLE_INGEST_TRUSTED_PROXIES", "192.0.2.1, 127.0.0.8/30", 1);
    world_gateway(w, NULL);
    for (size_t i = 0; i < MOST; i++)
        wire_open(wires[i], w->ingest_url, SPAN_NONE);
    assert_int_equal(refused_connections(w), 0);
    assert_false(is_let_in(w, "127.0.0.1"));
    assert_true(is_let_in(w, "127.0.0.2"));
    assert_int_equal(refused_connections(w), 1);
    assert_int_equal(wire_look(wires, MOST, 0), MOST); /* who was in stays */
    wire_close(wires[0]);
    world_until(10, is_let_in(w, "127.0.0.1"));
    close_all(wires + 1, MOST - 1);
    for (size_t i = 0; i < MOST; i++)
        wire_open_from(wires[i], "127.0.0.9", w->ingest_url, SPAN_NONE);
    assert_true(is_let_in(w, "127.0.0.9")); /* trusted */
    close_all(wires, MOST);
    assert_int_equal(world_gateway_stop(w), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_slow_client_is_cut_at_the_deadline, reset),
        cmocka_unit_test_setup(test_a_crowd_of_slow_clients_costs_the_others_nothing, reset),
        cmocka_unit_test_setup(test_a_flood_beyond_the_descriptors_does_not_spin, reset),
        cmocka_unit_test_setup(test_a_flood_beyond_max_connections_waits_and_does_not_spin, reset),
        cmocka_unit_test_setup(test_one_address_does_not_take_all_connections, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
