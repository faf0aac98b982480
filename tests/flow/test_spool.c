/* What Postgres does not take goes to the spool and is answered as stored: it must come to Postgres later, once, as it
 * was sent, whatever ends in between. */
#include "support/fault.h"
#include "support/load.h"

#include "base/now.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    ANSWER_MS_MAX = 450,
    SENDERS = 16,
    DRAIN_S = 10,           /* for ten thousand, on a machine that does nothing else: ops/test --long */
    DRAIN_PATIENCE_S = 240, /* on any other */
    LIVE_MAX = 4096,        /* webhooks beside a drain */
    LIVE_BEFORE = 300,
    NOISE_MS = 15, /* of the machine, on the slowest of a hundred */
};

/* Longer than a slow machine takes, for Postgres as for the disk. */
#define PATIENT_MS "5000"

static char folder[200];
static unsigned nanswers, nlate, slowest_ms;

static int up(void **state)
{
    *state = world_open();
    setenv("SETTLE_UNSAFE_OK", "true", 1);      /* the tests' folder may lie on anything */
    setenv("SETTLE_ADMIN_ENABLED", "false", 1); /* so that all connections are the workers' */
    return 0;
}

static void let_all_store(struct world *w)
{
    world_sql(w, "select pg_advisory_unlock_all()");
    world_sql(w, "drop function if exists settle.wait() cascade");
}

static int reset(void **state)
{
    struct world *w = *state;

    if (w->gateway)
        world_kill(w, GATEWAY);
    world_servers(w);
    let_all_store(w); /* a test may have failed */
    world_reset(w);
    snprintf(folder, sizeof(folder), "%s/spool", w->dir);
    world_wait(w, world_spawn(w, "umount", "-q", folder, NULL)); /* of a test that failed */
    world_wait(w, world_spawn(w, "rm", "-rf", folder, NULL));
    assert_int_equal(mkdir(folder, 0700), 0);
    setenv("SETTLE_SPOOL_FOLDER", folder, 1);
    unsetenv("SETTLE_SPOOL_MEGABYTES");
    setenv("SETTLE_SPOOL_AFTER_MS", world_times_count() ? "250" : PATIENT_MS, 1);
    setenv("SETTLE_SPOOL_RESERVE_MEGABYTES", "1", 1);
    setenv("SETTLE_SECRET_TIKTOK", "tiktok-secret-of-the-tests", 1);
    setenv("SETTLE_SECRET_FACEBOOK", "facebook-secret-of-the-tests", 1);
    return 0;
}

static int down(void **state)
{
    struct world *w = *state;

    if (w->gateway)
        world_kill(w, GATEWAY);
    world_wait(w, world_spawn(w, "umount", "-q", folder, NULL));
    world_close(*state);
    return 0;
}

/* The value of a series of /metrics; -1: not there. */
static double metric(struct world *w, const char *series)
{
    char url[100];
    struct reply r;
    const char *line;
    size_t len = strlen(series);

    snprintf(url, sizeof(url), "%s/metrics", w->monitor_url);
    r = world_http(w, "GET", url, NULL, SPAN_NONE);
    for (line = r.body; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (strncmp(line, series, len) == 0 && line[len] == ' ')
            return strtod(line + len, NULL);
    return -1;
}

static bool is_connected(struct world *w, unsigned workers)
{
    return metric(w, "settle_store_up{store=\"postgres\"}") == 2 * workers;
}

static bool is_ready(struct world *w)
{
    char url[100];

    snprintf(url, sizeof(url), "%s/readyz", w->monitor_url);
    return world_http(w, "GET", url, NULL, SPAN_NONE).status == 200;
}

/* Beside the verdict, which Postgres may make alone. */
static bool spool_takes(struct world *w)
{
    char url[100];

    snprintf(url, sizeof(url), "%s/readyz?verbose", w->monitor_url);
    return strstr(world_http(w, "GET", url, NULL, SPAN_NONE).body, "ok ingest 0 spool takes") != NULL;
}

static void begin(struct world *w, const char *workers)
{
    world_gateway(w, "--workers", workers, NULL);
    world_until(20, is_connected(w, (unsigned)(workers[0] - '0')));
}

static const char *body_of(unsigned i)
{
    static char body[200];

    snprintf(body, sizeof(body), "{\"external_post_id\":\"spool-%u\",\"status\":\"published\"}", i);
    return body;
}

static void expect_stored(struct world *w, struct reply r, const char *where)
{
    const char *told = reply_header(w, &r, "x-settle-stored");

    if (r.status != 200 || !told || strcmp(told, where) != 0)
        fail_msg("wanted 200 and %s, got %ld and %s: %s", where, r.status, told ? told : "nothing", r.body);
}

/* Timed, for test_answers_come_in_time. */
static struct reply post(struct world *w, const char *body)
{
    int64_t began_us = now_boot_us();
    struct reply r = world_post(w, "instagram", NULL, body);
    unsigned took_ms = (unsigned)((now_boot_us() - began_us) / 1000);

    nanswers++;
    nlate += took_ms > ANSWER_MS_MAX;
    slowest_ms = took_ms > slowest_ms ? took_ms : slowest_ms;
    return r;
}

static void post_to(struct world *w, unsigned i, const char *where)
{
    expect_stored(w, post(w, body_of(i)), where);
}

/* Where little time is left for the store that is asked: a machine that is slow enough does not make it, and the sender comes
 * again. */
static void post_again_to(struct world *w, unsigned i, const char *where)
{
    struct reply r;

    world_until(60, (r = post(w, body_of(i))).status != 503);
    expect_stored(w, r, where);
}

static void expect_each_once(struct world *w, unsigned first, unsigned n)
{
    for (unsigned i = first; i < first + n; i++)
        assert_int_equal(
            world_count(w,
                        "select count(*) from settle.webhook_receipts where body = convert_to('%s', 'UTF8')"
                        " and external_post_id = 'spool-%u'",
                        body_of(i), i),
            1);
    assert_int_equal(world_count(w, "select count(*) from settle.webhook_receipts"), first + n);
}

static size_t files_like(const char *part)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    size_t n = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir)))
        n += strstr(entry->d_name, part) != NULL;
    closedir(dir);
    return n;
}

static void test_without_postgres_all_is_kept_and_drained_when_it_is_back(void **state)
{
    struct world *w = *state;
    int64_t began_us;

    begin(w, "1");
    post_to(w, 0, "db");
    world_kill(w, POSTGRES);
    post_to(w, 1, "spool");
    began_us = now_boot_us();
    for (unsigned i = 2; i < 40; i++)
        post_to(w, i, "spool");
    /* Known to be away, nobody waits for it. */
    assert_true(!world_times_count() || now_boot_us() - began_us < 38 * 250 * 1000 / 2);
    post_to(w, 39, "spool"); /* again: no second record of it */
    world_until(5, metric(w, "settle_spool_records") == 39);
    world_until(5, metric(w, "settle_spool_writes_total{result=\"stored\"}") == 40);
    assert_true(metric(w, "settle_spool_bytes") > 0);
    assert_true(metric(w, "settle_spool_oldest_seconds") > 0);
    assert_true(metric(w, "settle_webhook_requests_total{platform=\"instagram\",cause=\"spooled\"}") == 40);
    assert_true(is_ready(w));
    world_servers(w);
    world_until(20, world_is_drained(w));
    expect_each_once(w, 0, 40);
    world_until(5, metric(w, "settle_spool_drained_total") == 39);
    assert_true(metric(w, "settle_spool_oldest_seconds") == 0);
    post_to(w, 40, "db");
}

static void test_a_frozen_postgres_costs_no_more_than_the_wait(void **state)
{
    struct world *w = *state;

    unsetenv("SETTLE_SPOOL_AFTER_MS");
    begin(w, "1");
    world_freeze(w, POSTGRES);
    for (unsigned i = 0; i < 10; i++)
        post_again_to(w, i, "spool");
    world_thaw(w, POSTGRES);
    world_until(30, world_is_drained(w));
    expect_each_once(w, 0, 10);
}

static void test_a_read_only_postgres_is_no_store(void **state)
{
    struct world *w = *state;

    begin(w, "1");
    world_sql(w, "alter role settle_gateway set default_transaction_read_only = on");
    world_sql(w, "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'settle_gateway'");
    world_until(20, metric(w, "settle_store_up{store=\"postgres\"}") == 0);
    for (unsigned i = 0; i < 5; i++)
        post_to(w, i, "spool");
    world_sql(w, "alter role settle_gateway reset default_transaction_read_only");
    world_until(30, world_is_drained(w));
    expect_each_once(w, 0, 5);
}

static void test_a_killed_worker_leaves_its_spool_to_the_next(void **state)
{
    struct world *w = *state;
    pid_t worker;

    begin(w, "1");
    world_kill(w, POSTGRES);
    for (unsigned i = 0; i < 20; i++)
        post_to(w, i, "spool");
    worker = world_child(w, "ingest");
    kill(worker, SIGKILL);
    world_until(10, world_child(w, "ingest") != worker);
    world_until(10, metric(w, "settle_spool_records") == 20);
    post_to(w, 20, "spool");
    world_servers(w);
    world_until(20, world_is_drained(w));
    expect_each_once(w, 0, 21);
}

/* Statements stand in a trigger until the test's own session lets them go: a table that is locked would keep the worker from
 * preparing them, and so from its connection. */
static void let_nobody_store(struct world *w)
{
    world_sql(w, "create or replace function settle.wait() returns trigger language plpgsql as $$"
                 " begin perform pg_advisory_xact_lock_shared(1); return new; end $$;"
                 "create or replace trigger wait before insert on settle.webhook_receipts for each row"
                 " execute function settle.wait();"
                 "select pg_advisory_lock(1)");
}

/* The drain waits for its commit, and its worker is killed meanwhile. */
static void test_a_record_leaves_the_spool_only_after_its_commit(void **state)
{
    struct world *w = *state;
    pid_t worker;

    begin(w, "1");
    worker = world_child(w, "ingest");
    world_kill(w, POSTGRES);
    for (unsigned i = 0; i < 10; i++)
        post_to(w, i, "spool");
    world_until(5, metric(w, "settle_spool_records") == 10);
    kill(worker, SIGSTOP);
    world_servers(w);
    let_nobody_store(w);
    kill(worker, SIGCONT);
    world_until(20, world_count(w, "select count(*) from pg_stat_activity"
                                   " where usename = 'settle_gateway' and wait_event = 'advisory'") > 0);
    assert_true(metric(w, "settle_spool_records") == 10);
    kill(worker, SIGKILL);
    world_until(20, world_child(w, "ingest") != worker);
    world_sql(w, "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'settle_gateway'");
    world_sql(w, "select pg_advisory_unlock(1)");
    world_until(30, world_count(w, "select count(*) from settle.webhook_receipts") == 10);
    world_until(20, world_is_drained(w));
    expect_each_once(w, 0, 10);
    let_all_store(w);
}

/* A commit that comes after its answer takes the copy out of the spool again. The drain may be faster where it looks just
 * then, which it does every two seconds: not each time. */
static void test_a_late_commit_leaves_nothing_to_drain(void **state)
{
    enum { ROUNDS = 6 };
    struct world *w = *state;

    unsetenv("SETTLE_SPOOL_AFTER_MS");
    setenv("SETTLE_INGEST_COMMIT_TIMEOUT_MS", "20000", 1);
    begin(w, "1");
    unsetenv("SETTLE_INGEST_COMMIT_TIMEOUT_MS");
    for (unsigned i = 0; i < ROUNDS; i++) {
        world_freeze(w, POSTGRES);
        post_again_to(w, i, "spool");
        world_thaw(w, POSTGRES);
        world_until(10, world_count(w, "select count(*) from settle.webhook_receipts") == i + 1);
        world_until(10, world_is_drained(w));
    }
    expect_each_once(w, 0, ROUNDS);
    assert_true(metric(w, "settle_spool_writes_total{result=\"stored\"}") >= ROUNDS);
    assert_true(!world_times_count() || /* else each record may be on its way before the commit is heard of */
                metric(w, "settle_spool_drained_total") < ROUNDS);
}

/* Postgres says no, and why: there is nothing to wait for, and no reason to refuse a sender. */
static void test_what_a_full_postgres_refuses_goes_to_the_spool(void **state)
{
    struct world *w = *state;

    begin(w, "1");
    world_sql(w, "create function settle.is_full() returns trigger language plpgsql as $$"
                 " begin raise exception 'no room' using errcode = '53100'; end $$;"
                 "create trigger is_full before insert on settle.webhook_receipts execute function"
                 " settle.is_full()");
    for (unsigned i = 0; i < 5; i++)
        post_to(w, i, "spool");
    world_until(5, metric(w, "settle_spool_records") == 5);
    world_sql(w, "drop trigger is_full on settle.webhook_receipts; drop function settle.is_full()");
    world_until(20, world_is_drained(w));
    expect_each_once(w, 0, 5);
}

/* Only those for whom the disk was too slow: on a slow machine up to half. */
static bool few_refused(struct load_count count)
{
    return count.refused * (world_times_count() ? 100 : 1) <= count.acked;
}

static int by_time(const void *a, const void *b)
{
    int64_t one = *(const int64_t *)a, other = *(const int64_t *)b;

    return (one > other) - (one < other);
}

/* In milliseconds; sorts them. */
static double p99(int64_t *took_us, size_t n)
{
    if (n == 0)
        return 0;
    qsort(took_us, n, sizeof(*took_us), by_time);
    return (double)took_us[n - 1 - n / 100] / 1000;
}

static int64_t post_live(struct world *w, unsigned i)
{
    int64_t began_us = now_boot_us();

    world_deliver(w, "youtube", NULL, body_of(i));
    return now_boot_us() - began_us;
}

/* 10,000 records in ten seconds (where times count), and webhooks meanwhile, which are answered as without. */
static void test_a_large_spool_is_drained_beside_live_webhooks(void **state)
{
    struct world *w = *state;
    bool is_long = getenv("SETTLE_TEST_LONG") != NULL;
    unsigned n = is_long ? 10000 : 1000;
    int64_t most_us = (world_times_count() ? DRAIN_S : DRAIN_PATIENCE_S) * SECOND_US;
    static int64_t before_us[LIVE_BEFORE], beside_us[LIVE_MAX];
    struct load *l;
    struct load_count count;
    int64_t began_us;
    double nrecords, before_ms, beside_ms;
    size_t nlive = 0;

    begin(w, "1");
    for (unsigned i = 0; i < LIVE_BEFORE; i++)
        before_us[i] = post_live(w, LIVE_MAX + i);
    world_kill(w, POSTGRES);
    l = load_start(w, SENDERS);
    world_until(120, load_so_far(l).acked >= n);
    load_halt(l);
    world_until(5, metric(w, "settle_spool_records") >= n);
    nrecords = metric(w, "settle_spool_records");
    world_servers(w);
    began_us = now_boot_us();
    while (metric(w, "settle_spool_records") > 0) {
        assert_true(nlive < LIVE_MAX);
        beside_us[nlive] = post_live(w, (unsigned)nlive);
        nlive++;
        assert_true(now_boot_us() - began_us < most_us);
    }
    before_ms = p99(before_us, LIVE_BEFORE);
    beside_ms = p99(beside_us, nlive);
    print_message("%.0f records drained %.1f s after Postgres is back, beside %zu live webhooks: p99 %.1f "
                  "ms, before %.1f ms\n",
                  nrecords, (double)(now_boot_us() - began_us) / (double)SECOND_US, nlive, beside_ms,
                  before_ms);
    if (world_times_count())
        assert_true(beside_ms <= 2 * before_ms + NOISE_MS);
    world_sql(w, "delete from settle.webhook_receipts where platform = 'youtube'");
    count = load_stop(l, w);
    assert_int_equal(count.wrong + count.unknown, 0);
    assert_true(few_refused(count));
}

static void test_fewer_workers_take_over_the_files_of_more(void **state)
{
    struct world *w = *state;

    begin(w, "3");
    world_kill(w, POSTGRES);
    for (unsigned i = 0; i < 60; i++)
        post_to(w, i, "spool");
    world_kill(w, GATEWAY);
    assert_int_equal(files_like(".lock"), 3);
    world_gateway(w, "--workers", "1", NULL);
    /* Without Postgres nobody takes them over. */
    world_until(10, metric(w, "settle_spool_orphan_files") == 2);
    world_servers(w);
    world_until(30, world_is_drained(w));
    expect_each_once(w, 0, 60);
    world_until(20, files_like(".db") - files_like(".db-") == 1); /* empty ones that nobody needs are gone */
}

static void test_what_is_in_both_stores_meets_at_the_key(void **state)
{
    struct world *w = *state;

    begin(w, "2");
    post_to(w, 0, "db");
    world_kill(w, POSTGRES);
    world_redis(w, "flushall", NULL);
    for (unsigned i = 0; i < 8; i++) /* by either worker, so perhaps in both spools */
        post_to(w, 0, "spool");
    world_servers(w);
    world_until(20, world_is_drained(w));
    expect_each_once(w, 0, 1);
}

/* Posts large bodies until one is refused. Returns how many were kept, those before included; the last body is the refused one. */
static unsigned fill_spool(struct world *w, unsigned nkept, unsigned max, char *body, size_t size)
{
    struct reply r = {.status = 200};

    while (r.status == 200 && nkept < max) {
        memset(body, 'x', size - 1);
        snprintf(body, size, "{\"external_post_id\":\"large-%u\",\"status\":\"published\",\"x\":\"", nkept);
        body[strlen(body)] = 'x';
        memcpy(body + size - 3, "\"}", 3);
        r = post(w, body);
        nkept += r.status == 200;
    }
    assert_int_equal(r.status, 503);
    assert_non_null(reply_header(w, &r, "retry-after"));
    return nkept;
}

/* Also over a restart: a full file is no broken one. */
static void test_a_full_spool_says_so_and_has_room_again(void **state)
{
    static char body[300000];
    struct world *w = *state;

    for (unsigned restarts = 0; restarts < 2; restarts++) {
        unsigned nkept;

        reset(state);
        setenv("SETTLE_SPOOL_MEGABYTES", "2", 1);
        begin(w, "1");
        world_kill(w, POSTGRES);
        nkept = fill_spool(w, 0, 20, body, sizeof(body));
        assert_true(nkept >= 4);
        world_until(5, metric(w, "settle_spool_writes_total{result=\"full\"}") == 1);
        if (restarts > 0) {
            assert_int_equal(world_gateway_stop(w), 0);
            world_gateway(w, "--workers", "1", NULL);
            world_until(5, metric(w, "settle_spool_records") == nkept);
            assert_int_equal(world_post(w, "instagram", NULL, body).status, 503);
            world_until(5, metric(w, "settle_spool_writes_total{result=\"full\"}") == 1);
        }
        world_until(5, !is_ready(w)) /* at times it believes to have room again */
            nkept = fill_spool(w, nkept, 20, body, sizeof(body));
        assert_int_equal(files_like(".broken-"), 0);
        world_servers(w);
        world_until(20, world_is_drained(w));
        assert_int_equal(world_count(w, "select count(*) from settle.webhook_receipts"), nkept);
        world_kill(w, POSTGRES);
        expect_stored(w, world_post(w, "instagram", NULL, body), "spool");
    }
}

static bool log_has(struct world *w, const char *word)
{
    return world_wait(w, world_spawn(w, "grep", "-qF", word, "gateway/log", NULL)).status == 0;
}

/* A file system of its own, without room for more: the reserve first, then 503, and all of it is drained. */
static void test_a_full_disk_costs_the_reserve_then_503s_and_nothing_else(void **state)
{
    static char body[100000];
    struct world *w = *state;
    unsigned nkept;

    if (world_wait(w, world_spawn(w, "mount", "-t", "tmpfs", "-o", "size=4m", "settle-test", folder, NULL))
            .status != 0)
        skip(); /* wants root */
    begin(w, "1");
    world_until(10, files_like(".reserve") == 1);
    world_kill(w, POSTGRES);
    nkept = fill_spool(w, 0, 60, body, sizeof(body));
    assert_true(log_has(w, "spool_reserve_used"));
    assert_int_equal(files_like(".reserve"), 0);
    assert_int_equal(files_like(".broken-"), 0);
    assert_true(nkept >= 10);
    world_until(5, !is_ready(w)) nkept = fill_spool(w, nkept, 60, body, sizeof(body));
    world_servers(w);
    world_until(30, world_is_drained(w));
    assert_int_equal(world_count(w, "select count(*) from settle.webhook_receipts"), nkept);
    world_kill(w, POSTGRES);
    expect_stored(w, world_post(w, "instagram", NULL, body), "spool");
    world_kill(w, GATEWAY);
    assert_int_equal(world_wait(w, world_spawn(w, "umount", folder, NULL)).status, 0);
}

/* As it is of a file that root has put there: for want of rights it would wait for ever, and nobody would know. */
static void test_a_file_that_cannot_be_taken_over_is_told(void **state)
{
    static const struct {
        const char *make, *file;
    } cases[] = {
        {"mkdir spool-7.db",                       "\"file\":\"spool-7.db\""},
        {"touch spool-8.db && mkdir spool-8.lock", "\"file\":\"spool-8.db\""},
    };
    struct world *w = *state;

    for (size_t i = 0; i < countof(cases); i++) {
        char command[512];

        reset(state);
        snprintf(command, sizeof(command), "cd %s && %s", folder, cases[i].make);
        assert_int_equal(world_wait(w, world_spawn(w, "sh", "-c", command, NULL)).status, 0);
        begin(w, "1");
        world_until(20, log_has(w, cases[i].file));
        assert_true(log_has(w, "\"spool_file_left\""));
        world_until(10, metric(w, "settle_spool_orphan_files") == 1);
        assert_int_equal(world_gateway_stop(w), 0);
    }
}

static void test_without_a_spool_it_is_as_it_was(void **state)
{
    struct world *w = *state;
    struct reply r;

    setenv("SETTLE_SPOOL_FOLDER", "", 1);
    setenv("SETTLE_INGEST_COMMIT_TIMEOUT_MS", "300", 1);
    begin(w, "1");
    unsetenv("SETTLE_INGEST_COMMIT_TIMEOUT_MS");
    post_again_to(w, 0, "db");
    world_kill(w, POSTGRES);
    r = world_post(w, "instagram", NULL, body_of(1));
    assert_int_equal(r.status, 503);
    assert_non_null(reply_header(w, &r, "retry-after"));
    assert_null(reply_header(w, &r, "x-settle-stored"));
    assert_true(world_is_drained(w));
}

static void test_a_record_whose_source_is_gone_stays_until_it_is_back(void **state)
{
    struct world *w = *state;

    begin(w, "1");
    world_kill(w, POSTGRES);
    expect_stored(w, world_post(w, "tiktok", NULL, "{\"event\":\"x\"}"), "spool");
    post_to(w, 0, "spool");
    assert_int_equal(world_gateway_stop(w), 0);
    unsetenv("SETTLE_SECRET_TIKTOK");
    world_servers(w);
    begin(w, "1");
    world_until(20, metric(w, "settle_spool_stayed_records") == 1 && metric(w, "settle_spool_records") == 1);
    expect_each_once(w, 0, 1);
    assert_int_equal(world_gateway_stop(w), 0);
    setenv("SETTLE_SECRET_TIKTOK", "tiktok-secret-of-the-tests", 1);
    begin(w, "1");
    world_until(
        20, world_count(w, "select count(*) from settle.webhook_receipts where platform = 'tiktok'") == 1);
    world_until(20, world_is_drained(w));
}

static struct outcome spool_drain(struct world *w)
{
    return world_wait(w, world_spawn(w, "settle-gateway", "spool", "drain", NULL));
}

/* A delivery of more receipts than may fail in a row. */
static const char *body_of_many(void)
{
    enum { CHANGES = 50 };
    static char body[CHANGES * 80 + 100];
    size_t len = (size_t)sprintf(body, "{\"object\":\"page\",\"entry\":[{\"id\":\"9\",\"changes\":[");

    for (unsigned i = 0; i < CHANGES; i++)
        len += (size_t)sprintf(body + len,
                               "%s{\"value\":{\"item\":\"post\",\"post_id\":\"9_%u\",\"published\":1}}",
                               i ? "," : "", i);
    strcpy(body + len, "]}]}");
    return body;
}

/* By no value of its own, so that its bytes alone are not taken either: a trigger of somebody's, a page that cannot be read. They
 * were acknowledged in one company and would be sent in it for ever. */
static void test_what_postgres_cannot_take_holds_up_no_others(void **state)
{
    struct world *w = *state;
    struct outcome end;

    world_sql(w, "create function settle.wait() returns trigger language plpgsql as $$ begin"
                 " if new.platform = 'facebook' then raise exception 'none of these'; end if;"
                 " if new.external_post_id = 'spool-2' then raise exception 'not this one'; end if;"
                 " if new.external_post_id = 'spool-7' then"
                 " raise exception 'no such page' using errcode = '58030'; end if;"
                 " return new; end $$;"
                 "create trigger wait before insert on settle.webhook_receipts for each row execute function"
                 " settle.wait()");
    for (unsigned first = 0; first < 10; first += 5) {
        begin(w, "1");
        world_kill(w, POSTGRES);
        if (first > 0)
            expect_stored(w, world_post(w, "facebook", NULL, body_of_many()), "spool");
        for (unsigned i = first; i < first + 5; i++)
            post_to(w, i, "spool");
        assert_int_equal(world_gateway_stop(w), 0);
        world_servers(w);
        if (first == 0) {
            end = spool_drain(w);
            assert_int_equal(end.status, 75);
            assert_non_null(strstr(end.err, "4 deliveries drained, 1 stay"));
            assert_non_null(strstr(end.err, "does not take a record: "));
        }
    }
    begin(w, "1");
    world_until(20, metric(w, "settle_spool_stayed_records") == 3 && metric(w, "settle_spool_records") == 3);
    assert_int_equal(world_count(w, "select count(*) from settle.webhook_receipts"), 8);
    assert_int_equal(world_gateway_stop(w), 0);

    let_all_store(w);
    assert_int_equal(spool_drain(w).status, 0);
    world_sql(w, "delete from settle.webhook_receipts where platform = 'facebook'");
    expect_each_once(w, 0, 10);
}

static void test_under_load_no_sender_is_refused_and_nothing_is_lost(void **state)
{
    struct world *w = *state;
    struct load *l;
    struct load_count count;

    begin(w, "2");
    l = load_start(w, SENDERS);
    for (unsigned i = 0; i < 3; i++) {
        unsigned acked = load_so_far(l).acked;
        world_until(60, load_so_far(l).acked > acked + 300);
        world_kill(w, POSTGRES);
        acked = load_so_far(l).acked;
        world_until(60, load_so_far(l).acked > acked + 300);
        if (i > 0)
            kill(world_child(w, "ingest"), SIGKILL);
        world_servers(w);
        world_until(60, is_connected(w, 2));
    }
    load_halt(l);
    world_until(60, world_is_drained(w));
    count = load_stop(l, w);
    print_message("under load: %u stored, %u refused\n", count.acked, count.refused);
    assert_int_equal(count.wrong, 0);
    assert_true(few_refused(count));
}

/* The first statement that stores receipts is undone for the sake of another. */
static void deadlock_once(struct world *w)
{
    world_sql(w, "create sequence settle.nth; grant usage on sequence settle.nth to public;"
                 "create function settle.once() returns trigger language plpgsql as $$ begin"
                 " if nextval('settle.nth') = 1 then raise exception 'so says the test' using errcode = "
                 "'40P01'; end if;"
                 " return null; end $$;"
                 "create trigger once after insert on settle.webhook_receipts for each statement"
                 " execute function settle.once()");
}

static void test_an_operator_lists_exports_and_drains_without_a_gateway(void **state)
{
    struct world *w = *state;
    struct outcome end;
    json_t *file, *line;
    const char *body, *name;

    begin(w, "1");
    world_kill(w, POSTGRES);
    for (unsigned i = 0; i < 3; i++)
        post_to(w, i, "spool");
    end = world_wait(w, world_spawn(w, "settle-gateway", "spool", "export", NULL));
    assert_int_equal(end.status, 75); /* the gateway has it */
    assert_string_equal(end.out, "");
    assert_int_equal(world_gateway_stop(w), 0);

    end = world_wait(w, world_spawn(w, "settle-gateway", "spool", "list", "--json", NULL));
    assert_int_equal(end.status, 0);
    file = json_array_get(end.json, 0);
    assert_int_equal(json_unpack(file, "{ss}", "file", &name), 0);
    assert_string_equal(name, "spool-0.db");
    assert_int_equal(json_integer_value(json_object_get(file, "records")), 3);

    end = world_wait(w, world_spawn(w, "settle-gateway", "spool", "list", NULL));
    assert_non_null(strstr(end.out, "spool-0.db "));

    end = world_wait(w, world_spawn(w, "settle-gateway", "spool", "export", NULL));
    assert_int_equal(end.status, 0);
    line = json_loads(end.out, JSON_DISABLE_EOF_CHECK, NULL);
    assert_int_equal(json_unpack(line, "{ss}", "body", &body), 0);
    /* {"external_post_id":"spool-0","status":"published"} */
    assert_string_equal(body, "eyJleHRlcm5hbF9wb3N0X2lkIjoic3Bvb2wtMCIsInN0YXR1cyI6InB1Ymxpc2hlZCJ9");
    json_decref(line);

    end = world_wait(w, world_spawn(w, "settle-gateway", "spool", "drain", NULL));
    assert_int_equal(end.status, 69); /* no Postgres: all stays */
    world_servers(w);
    deadlock_once(w); /* with a gateway that stores the same, say: it comes again by itself */
    end = world_wait(w, world_spawn(w, "settle-gateway", "spool", "drain", NULL));
    assert_int_equal(end.status, 0);
    assert_non_null(strstr(end.err, "3 deliveries drained"));
    assert_int_equal(world_count(w, "select last_value from settle.nth"), 2);
    world_sql(w, "drop trigger once on settle.webhook_receipts; drop function settle.once(); drop sequence "
                 "settle.nth");
    expect_each_once(w, 0, 3);
    end = world_wait(w, world_spawn(w, "settle-gateway", "spool", "list", "--json", NULL));
    assert_int_equal(json_array_size(end.json), 0);
}

static void test_a_damaged_file_is_set_aside_and_a_fresh_one_taken(void **state)
{
    struct world *w = *state;
    char path[300];
    FILE *f;

    snprintf(path, sizeof(path), "%s/spool-0.db", folder);
    f = fopen(path, "we");
    assert_non_null(f);
    for (int i = 0; i < 1000; i++)
        fputs("no database", f);
    fclose(f);
    begin(w, "1");
    world_until(20, files_like(".broken-") == 1); /* Postgres alone makes the gateway ready */
    world_kill(w, POSTGRES);
    post_to(w, 0, "spool");
    world_servers(w);
    world_until(20, world_count(w, "select count(*) from settle.webhook_receipts") == 1);
    expect_each_once(w, 0, 1);
    assert_int_equal(files_like(".broken-"), 1);
    world_until(10, metric(w, "settle_spool_orphan_files") == 1); /* nobody knows what is in it */
}

/* The failed sync of one batch costs it a 503; what was stored before is drained from where it is. */
static void test_a_failed_sync_is_no_success_and_costs_nothing_that_was_stored(void **state)
{
    struct world *w = *state;
    struct fault disk;
    struct reply r;

    if (!fault_works(w))
        skip();
    begin(w, "1");
    world_kill(w, POSTGRES);
    for (unsigned i = 0; i < 5; i++)
        post_to(w, i, "spool");
    disk = fault_inject(w, world_child(w, "ingest"), "fdatasync", "error=EIO:when=1");
    r = world_post(w, "instagram", NULL, body_of(5));
    assert_int_equal(r.status, 503);
    assert_non_null(reply_header(w, &r, "retry-after"));
    post_to(w, 5, "spool");
    fault_end(w, disk);
    assert_int_equal(files_like(".broken-") - files_like("Z-wal"), 1);
    world_until(5, metric(w, "settle_spool_writes_total{result=\"failed\"}") == 1);
    world_servers(w);
    world_until(20, world_count(w, "select count(*) from settle.webhook_receipts") == 6);
    expect_each_once(w, 0, 6);
    world_until(20, files_like(".drained") > 0);
}

/* A sync takes ten seconds: who needs the spool is refused in time, and what is written late is harmless. */
static void hang_disk(struct world *w, bool frozen)
{
    enum { POSTS = 40 };
    bool acked[POSTS] = {false};
    struct fault disk;
    unsigned nacked = 0;
    pid_t worker = world_child(w, "ingest");

    if (frozen)
        world_freeze(w, POSTGRES);
    else
        world_kill(w, POSTGRES);
    disk = fault_inject(w, worker, "fdatasync", "delay_enter=10000000");
    for (unsigned i = 0; i < POSTS; i++) {
        struct reply r = post(w, body_of(i));

        acked[i] = r.status == 200;
        nacked += acked[i];
        if (!acked[i] && (r.status != 503 || !reply_header(w, &r, "retry-after")))
            fail_msg("post %u: %ld %s", i, r.status, r.body);
        if (i == 1) {
            world_until(5, !is_ready(w));
            world_until(5, !spool_takes(w));
            assert_true(metric(w, "settle_spool_writes_total{result=\"late\"}") > 0);
        }
    }
    assert_true(nacked < POSTS / 2);
    fault_end(w, disk);
    world_until(10, is_ready(w) && spool_takes(w));
    world_until(10, world_post(w, "instagram", NULL, body_of(POSTS)).status == 200);
    if (frozen)
        world_thaw(w, POSTGRES);
    else
        world_servers(w);
    world_until(30, is_connected(w, 1) && world_is_drained(w) &&
                        world_count(w, "select count(*) from settle.webhook_receipts where external_post_id ="
                                       " 'spool-40'") == 1);
    for (unsigned i = 0; i <= POSTS; i++) {
        long n = world_count(w,
                             "select count(*) from settle.webhook_receipts where external_post_id ="
                             " 'spool-%u'",
                             i);
        assert_true(n == 1 || (n == 0 && i < POSTS && !acked[i]));
    }
}

static void test_a_hung_disk_costs_503s_in_time_and_nothing_else(void **state)
{
    struct world *w = *state;

    if (!fault_works(w))
        skip();
    for (int frozen = 0; frozen < 2; frozen++) {
        reset(state);
        unsetenv("SETTLE_SPOOL_AFTER_MS");
        begin(w, "1");
        hang_disk(w, frozen);
        assert_true(log_has(w, "\"spool_stuck\""));
        assert_true(log_has(w, "\"spool_goes_on\""));
    }
}

/* Over all the tests before, where times count. */
static void test_answers_come_in_time(void **state)
{
    (void)state;
    print_message("%u of %u answers took more than %d ms, the slowest %u ms\n", nlate, nanswers,
                  ANSWER_MS_MAX, slowest_ms);
    assert_true(!world_times_count() || nlate * 100 <= nanswers);
}

/* SETTLE_UNSAFE_OK off: what forgets is no place for it. */
static void test_a_folder_that_forgets_is_refused(void **state)
{
    struct world *w = *state;
    struct outcome end;

    if (access("/dev/shm", W_OK) != 0)
        skip();
    setenv("SETTLE_SPOOL_FOLDER", "/dev/shm", 1);
    unsetenv("SETTLE_UNSAFE_OK");
    end = world_wait(w, world_spawn(w, "settle-gateway", "serve", NULL));
    setenv("SETTLE_UNSAFE_OK", "true", 1);
    assert_int_equal(end.status, 78);
    assert_non_null(strstr(end.err, "would be lost with the machine"));
    setenv("SETTLE_SPOOL_FOLDER", "/nowhere/at/all", 1);
    end = world_wait(w, world_spawn(w, "settle-gateway", "serve", NULL));
    assert_int_equal(end.status,
                     69); /* a disk that is not mounted yet: the service manager is to try again */
    assert_non_null(strstr(end.err, "spool.folder"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_without_postgres_all_is_kept_and_drained_when_it_is_back, reset),
        cmocka_unit_test_setup(test_a_frozen_postgres_costs_no_more_than_the_wait, reset),
        cmocka_unit_test_setup(test_a_read_only_postgres_is_no_store, reset),
        cmocka_unit_test_setup(test_a_killed_worker_leaves_its_spool_to_the_next, reset),
        cmocka_unit_test_setup(test_a_record_leaves_the_spool_only_after_its_commit, reset),
        cmocka_unit_test_setup(test_a_late_commit_leaves_nothing_to_drain, reset),
        cmocka_unit_test_setup(test_what_a_full_postgres_refuses_goes_to_the_spool, reset),
        cmocka_unit_test_setup(test_a_large_spool_is_drained_beside_live_webhooks, reset),
        cmocka_unit_test_setup(test_fewer_workers_take_over_the_files_of_more, reset),
        cmocka_unit_test_setup(test_what_is_in_both_stores_meets_at_the_key, reset),
        cmocka_unit_test_setup(test_a_full_spool_says_so_and_has_room_again, reset),
        cmocka_unit_test_setup(test_a_full_disk_costs_the_reserve_then_503s_and_nothing_else, reset),
        cmocka_unit_test_setup(test_a_file_that_cannot_be_taken_over_is_told, reset),
        cmocka_unit_test_setup(test_without_a_spool_it_is_as_it_was, reset),
        cmocka_unit_test_setup(test_a_record_whose_source_is_gone_stays_until_it_is_back, reset),
        cmocka_unit_test_setup(test_what_postgres_cannot_take_holds_up_no_others, reset),
        cmocka_unit_test_setup(test_under_load_no_sender_is_refused_and_nothing_is_lost, reset),
        cmocka_unit_test_setup(test_an_operator_lists_exports_and_drains_without_a_gateway, reset),
        cmocka_unit_test_setup(test_a_damaged_file_is_set_aside_and_a_fresh_one_taken, reset),
        cmocka_unit_test_setup(test_a_failed_sync_is_no_success_and_costs_nothing_that_was_stored, reset),
        cmocka_unit_test_setup(test_a_hung_disk_costs_503s_in_time_and_nothing_else, reset),
        cmocka_unit_test_setup(test_a_folder_that_forgets_is_refused, reset),
        cmocka_unit_test(test_answers_come_in_time),
    };

    return cmocka_run_group_tests(tests, up, down);
}
