/* Whatever Redis does, and whoever writes to it: nothing is lost, nobody is refused, answers come as fast, and hints return
 * when it is well. */
#include "support/load.h"
#include "support/proxy.h"

#include "base/now.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    SENDERS = 8,
    TIMED = 60,      /* posts, before, during and after each fault */
    NOISE_US = 2000, /* of a quick median, twice says little */
    LATE_SHARE = 50, /* of 100: the median; any wait for Redis makes it all of them */
    AGAIN = 4,       /* times a fault meanwhile */
    ROUNDS_LONG = 5,
    DELAY_MS = 50,         /* ten times what a hint may take */
    NAME_BYTES = 64,       /* of a note, in Redis */
    CUT_BYTES = 300,       /* in the middle of an answer, sooner or later */
    POSTERS = SENDERS + 1, /* each has one question open at most */
    MEANT = 4,             /* times as many posts as questions, so that few questions mean something */
};

#define KNOWN "{\"external_post_id\":\"known\",\"status\":\"published\"}"

static struct proxy *proxy;

static int up(void **state)
{
    *state = world_open();
    setenv("SETTLE_ADMIN_ENABLED", "false", 1); /* so that all connections are the worker's */
    setenv("SETTLE_INGEST_COMMIT_TIMEOUT_MS", "10000",
           1); /* a busy machine's Postgres is no fault of Redis */
    return 0;
}

static int reset(void **state)
{
    struct world *w = *state;

    if (w->gateway)
        world_kill(w, GATEWAY);
    world_thaw(w, REDIS);
    world_servers(w);
    world_redis(w, "config", "set", "maxmemory", "0", NULL);
    world_redis(w, "replicaof", "no", "one", NULL);
    world_reset(w);
    setenv("SETTLE_REDIS_URL", w->redis_url, 1);
    proxy_close(proxy);
    proxy = NULL;
    return 0;
}

static int down(void **state)
{
    proxy_close(proxy);
    world_close(*state);
    return 0;
}

static double hints(struct world *w, const char *result)
{
    char series[64];

    snprintf(series, sizeof(series), "settle_redis_hints_total{result=\"%s\"}", result);
    return world_metric(w, series);
}

static void post_known(struct world *w)
{
    world_deliver(w, "instagram", NULL, KNOWN);
}

/* A known duplicate is known to Redis. It may take more than one try: one late answer, and Redis is left alone. */
static bool is_hinted(struct world *w)
{
    double before = hints(w, "seen");

    post_known(w);
    return hints(w, "seen") > before;
}

/* Faults. */

static void begin_flush(struct world *w)
{
    assert_string_equal(world_redis(w, "flushall", NULL), "OK\n");
}

static void begin_kill(struct world *w)
{
    world_kill(w, REDIS);
}

static void end_kill(struct world *w)
{
    world_servers(w);
}

static void begin_freeze(struct world *w)
{
    world_freeze(w, REDIS);
}

static void end_freeze(struct world *w)
{
    world_thaw(w, REDIS);
}

static void begin_full(struct world *w)
{
    world_redis(w, "config", "set", "maxmemory-policy", "noeviction", NULL);
    assert_string_equal(world_redis(w, "config", "set", "maxmemory", "1mb", NULL), "OK\n");
    assert_non_null(strstr(world_redis(w, "set", "any", "thing", NULL), "OOM"));
}

static void end_full(struct world *w)
{
    assert_string_equal(world_redis(w, "config", "set", "maxmemory", "0", NULL), "OK\n");
}

/* Of a master that does not exist: what it has it keeps, and it takes no writes. */
static void begin_replica(struct world *w)
{
    world_redis(w, "replicaof", "127.0.0.1", "1", NULL);
    assert_non_null(strstr(world_redis(w, "set", "any", "thing", NULL), "READONLY"));
}

static void end_replica(struct world *w)
{
    assert_string_equal(world_redis(w, "replicaof", "no", "one", NULL), "OK\n");
}

static void begin_delay(struct world *w)
{
    (void)w;
    proxy_delay(proxy, DOWN, DELAY_MS);
}

/* Redis hears and does all; nobody hears it. */
static void begin_silence(struct world *w)
{
    (void)w;
    proxy_swallow(proxy, DOWN);
}

static void begin_cut(struct world *w)
{
    (void)w;
    proxy_cut_after(proxy, DOWN, CUT_BYTES);
}

static void end_proxy(struct world *w)
{
    (void)w;
    proxy_heal(proxy);
}

static void no_end(struct world *w)
{
    (void)w;
}

static const struct {
    const char *name;
    bool by_proxy;
    bool is_late; /* each answer: after the first, Redis is left alone for a second */
    void (*begin)(struct world *w);
    const char *shows; /* the series that grows meanwhile */
    void (*end)(struct world *w);
} faults[] = {
    {"wiped",         false, false, begin_flush,   "settle_redis_hints_total{result=\"unseen\"}",  no_end     },
    {"killed",        false, false, begin_kill,    "settle_redis_hints_total{result=\"unknown\"}", end_kill   },
    {"frozen",        false, false, begin_freeze,  "settle_redis_hints_total{result=\"unknown\"}", end_freeze },
    {"full",          false, false, begin_full,    "settle_redis_refusals_total",                  end_full   },
    {"read-only",     false, false, begin_replica, "settle_redis_refusals_total",                  end_replica},
    {"slow",          true,  true,  begin_delay,   "settle_redis_hints_total{result=\"unknown\"}", end_proxy  },
    {"silent",        true,  true,  begin_silence, "settle_redis_hints_total{result=\"unknown\"}", end_proxy  },
    {"cut mid-reply", true,  false, begin_cut,     "settle_store_connects_total{store=\"redis\"}", end_proxy  },
};

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* How long posts take beside the load, the quickest first. Each is a new event. */
static void time_posts(struct world *w, size_t n, int64_t *took)
{
    static unsigned nth;

    for (size_t i = 0; i < n; i++) {
        char body[80];
        int64_t began_us;
        snprintf(body, sizeof(body), "{\"external_post_id\":\"timed-%u\",\"status\":\"published\"}", nth++);
        began_us = now_boot_us();
        world_deliver(w, "instagram", NULL, body);
        took[i] = now_boot_us() - began_us;
    }
    qsort(took, n, sizeof(took[0]), by_size);
}

static int64_t median(const int64_t took[TIMED])
{
    return took[TIMED / 2];
}

/* GETs that Redis has got; another way than the gateway's leads there. */
static double questions(struct world *w)
{
    const char *stats = world_redis(w, "info", "commandstats", NULL), *at;

    assert_non_null(stats);
    at = strstr(stats, "cmdstat_get:calls=");
    return at ? strtod(at + strlen("cmdstat_get:calls="), NULL) : 0;
}

/* As many as are open when the first answer is late, and that each second. */
static unsigned questions_allowed(int64_t began_us)
{
    return POSTERS * (unsigned)((now_boot_us() - began_us) / SECOND_US + 2);
}

/* While no answer comes in time. */
static void expect_left_alone(struct world *w, struct load *l, const char *name)
{
    double nbefore = questions(w), n;
    unsigned acked = load_so_far(l).acked, allowed;
    int64_t began_us = now_boot_us(), until_us = world_deadline(10); /* a slow machine posts less */

    world_until(60, (load_so_far(l).acked - acked > MEANT * questions_allowed(began_us) ||
                     now_boot_us() > until_us) &&
                        /* Its rest is over, or it is given up. */
                        (questions(w) > nbefore || world_metric(w, "settle_store_up{store=\"redis\"}") == 0));
    n = questions(w) - nbefore;
    allowed = questions_allowed(began_us);
    print_message("%s: %.0f questions for %u posts, %u are allowed\n", name, n, load_so_far(l).acked - acked,
                  allowed);
    assert_true(n <= allowed);
}

/* Faults that are over in a moment come again and again. */
static void time_posts_meanwhile(struct world *w, size_t fault, int64_t took[TIMED])
{
    for (size_t i = 0; i < TIMED; i += TIMED / AGAIN) {
        faults[fault].begin(w);
        time_posts(w, TIMED / AGAIN, took + i);
    }
    qsort(took, TIMED, sizeof(took[0]), by_size);
}

/* Beside the load, whose ledger knows nothing of it: looked at and put away. */
static void expect_timed_kept(struct world *w)
{
    assert_int_equal(world_count(w, "select count(distinct external_post_id) from settle.webhook_receipts"
                                    " where external_post_id like 'timed-%%'"),
                     3 * TIMED);
    assert_int_equal(world_count(w, "with gone as (delete from settle.webhook_receipts"
                                    "              where external_post_id !~ '^load-' returning 1)"
                                    " select count(*) from gone"),
                     3 * TIMED + 1);
}

/* Answers wait neither for Redis nor for its time-out. */
static void expect_unchanged(const char *name, const int64_t before[TIMED], const int64_t during[TIMED],
                             const int64_t after[TIMED])
{
    int64_t calm_us = median(before) > median(after) ? median(before) : median(after);
    size_t nlate = 0;

    while (nlate < TIMED && during[TIMED - 1 - nlate] > 2 * calm_us + NOISE_US)
        nlate++;
    print_message("%s: median before %lld us, meanwhile %lld us, after %lld us; late: %zu of %d\n", name,
                  (long long)median(before), (long long)median(during), (long long)median(after), nlate,
                  TIMED);
    assert_true(!world_times_count() || nlate * 100 <= (size_t)TIMED * LATE_SHARE);
}

static void suffer(struct world *w, size_t fault)
{
    int64_t before[TIMED], during[TIMED], after[TIMED];
    struct load_count count;
    double shown;
    struct load *l;

    world_until(20, is_hinted(w));
    l = load_start(w, SENDERS);
    world_until(20, load_so_far(l).acked >= 10 * SENDERS);
    time_posts(w, TIMED, before);
    shown = world_metric(w, faults[fault].shows);
    time_posts_meanwhile(w, fault, during);
    world_until(10, world_metric(w, faults[fault].shows) > shown);
    if (faults[fault].is_late)
        expect_left_alone(w, l, faults[fault].name);
    faults[fault].end(w);
    world_until(30, is_hinted(w));
    time_posts(w, TIMED, after);
    load_halt(l);
    expect_timed_kept(w);
    count = load_stop(l, w);
    assert_int_equal(count.wrong + count.unknown, 0);
    assert_true(load_few_refused(count));
    expect_unchanged(faults[fault].name, before, during, after);
}

static void start_gateway(struct world *w, bool by_proxy)
{
    char url[64];

    snprintf(url, sizeof(url), "redis://127.0.0.1:%u", proxy_port(proxy));
    setenv("SETTLE_REDIS_URL", by_proxy ? url : w->redis_url, 1);
    if (w->gateway)
        assert_int_equal(world_gateway_stop(w), 0);
    world_gateway(w, NULL);
}

static void test_whatever_redis_does_nobody_notices(void **state)
{
    struct world *w = *state;
    unsigned nrounds = getenv("SETTLE_TEST_LONG") ? ROUNDS_LONG : 1; /* of ops/test --long */

    proxy = proxy_open(w->redis_url); /* unix:... */
    for (size_t i = 0; i < countof(faults) * nrounds; i++) {
        size_t fault = i % countof(faults);
        if (fault == 0 || faults[fault].by_proxy != faults[fault - 1].by_proxy)
            start_gateway(w, faults[fault].by_proxy);
        suffer(w, fault);
        world_reset(w);
    }
}

/* Hints that are not ours. */

static const char *const unheard[] = {
    "{\"external_post_id\":\"unheard-1\"}",
    "{\"external_post_id\":\"unheard-2\"}",
    "{\"external_post_id\":\"unheard-3\"}",
};

static void await_stores(struct world *w)
{
    world_until(20, world_metric(w, "settle_store_up{store=\"postgres\"}") == 2 &&
                        world_metric(w, "settle_store_up{store=\"redis\"}") == 1);
}

/* Who listens in on Redis, and tells it on stderr. */
static struct process spy(struct world *w)
{
    struct process p = world_spawn(w, "sh", "-c", "exec redis-cli -s \"$0\" monitor >&2",
                                   w->redis_url + strlen("unix://"), NULL);

    world_until(10, strstr(world_redis(w, "client", "list", NULL), "cmd=monitor"));
    return p;
}

/* All that it has heard until now. */
static const char *heard(struct world *w, struct process spy)
{
    world_redis(w, "echo", "so far", NULL);
    world_until(10, world_said(w, spy, "so far"));
    kill(spy.pid, SIGTERM);
    return world_wait(w, spy).err;
}

static bool is_refused_and_asked_for(struct world *w, const char *body)
{
    double before = hints(w, "unseen");

    assert_int_equal(world_post(w, "instagram", NULL, body).status, 503);
    return hints(w, "unseen") > before;
}

/* The notes that the gateway asked for, each once, in the order of asking. */
static size_t names_asked(const char *text, char names[][NAME_BYTES], size_t max)
{
    size_t n = 0;

    for (const char *at = text; (at = strstr(at, "\"settle:seen:")); at++) {
        char name[NAME_BYTES];
        bool is_known = false;
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(at + 1, "\""), at + 1);
        for (size_t i = 0; i < n; i++)
            is_known |= strcmp(names[i], name) == 0;
        if (!is_known && n < max)
            memcpy(names[n++], name, NAME_BYTES);
    }
    return n;
}

/* As on a full disk: what is asked for is not stored. */
static void refuse_inserts(struct world *w)
{
    world_sql(w, "create function settle.full() returns trigger language plpgsql as"
                 " 'begin raise disk_full; end';"
                 "create trigger test_full before insert on settle.webhook_receipts"
                 " execute function settle.full()");
}

static void take_inserts(struct world *w)
{
    world_sql(w, "drop trigger test_full on settle.webhook_receipts; drop function settle.full()");
    await_stores(w);
}

static void expect_taken(struct world *w, size_t i)
{
    world_until(20, is_hinted(w)); /* Redis is listened to */
    world_deliver(w, "instagram", NULL, unheard[i]);
    assert_int_equal(world_count(w,
                                 "select count(*) from settle.webhook_receipts"
                                 " where external_post_id = 'unheard-%zu'",
                                 i + 1),
                     1);
}

/* The name of a hint leaves the gateway before the commit, with the question. If that commit fails, a hint planted under
 * it must not take the place of the event, which comes again. */
static void test_a_planted_hint_is_not_believed(void **state)
{
    char names[countof(unheard) + 1][NAME_BYTES], known[NAME_BYTES];
    struct world *w = *state;
    struct process listening;

    setenv("SETTLE_INGEST_COMMIT_TIMEOUT_MS", "500", 1);
    world_gateway(w, NULL);
    setenv("SETTLE_INGEST_COMMIT_TIMEOUT_MS", "10000", 1);
    world_until(20, is_hinted(w));
    snprintf(known, sizeof(known), "%s", world_redis(w, "keys", "settle:seen:*", NULL));
    known[strcspn(known, "\n")] = '\0';
    refuse_inserts(w);
    listening = spy(w);
    for (size_t i = 0; i < countof(unheard); i++)
        world_until(20, is_refused_and_asked_for(w, unheard[i]));
    assert_int_equal(names_asked(heard(w, listening), names, countof(names)), countof(unheard));
    take_inserts(w);

    assert_string_equal(world_redis(w, "set", names[0], "1", NULL), "OK\n");
    assert_string_equal(world_redis(w, "copy", known, names[1], NULL),
                        "1\n"); /* a good one, of another event */
    assert_string_equal(world_redis(w, "rpush", names[2], "1", NULL), "1\n");
    for (size_t i = 0; i < countof(unheard); i++)
        expect_taken(w, i);
}

static void sh(struct world *w, const char *script)
{
    struct outcome end = world_wait(w, world_spawn(w, "sh", "-c", script, "sh", w->dir, NULL));

    if (end.status != 0)
        fail_msg("%s: %s", script, end.err);
}

/* The database is put back to what it was before the event: same cluster, same key, and a hint that says otherwise. */
static void test_a_hint_from_before_a_restore_counts_for_nothing(void **state)
{
    struct world *w = *state;

    world_gateway(w, NULL);
    world_kill(w, POSTGRES);
    sh(w, "cp -a \"$1\"/postgres/data \"$1\"/postgres/backup");
    world_servers(w);
    await_stores(w);
    world_until(20, is_hinted(w));
    world_kill(w, POSTGRES);
    sh(w, "rm -rf \"$1\"/postgres/data && mv \"$1\"/postgres/backup \"$1\"/postgres/data");
    world_servers(w);
    await_stores(w);
    assert_int_equal(world_count(w, "select count(*) from settle.webhook_receipts"), 0);
    post_known(w);
    assert_int_equal(world_count(w, "select count(*) from settle.webhook_receipts"), 1);
}

static void await_hinted(struct world *w)
{
    await_stores(w);
    world_until(20, is_hinted(w));
}

/* The connection holds, so that nothing else makes us ask again. */
static void test_a_key_that_postgres_did_not_give_is_asked_for_again(void **state)
{
    struct world *w = *state;

    world_sql(w, "revoke select on settle.hint_key from settle_gateway");
    world_gateway(w, NULL);
    await_stores(w);
    world_until(
        20, world_wait(w, world_spawn(w, "grep", "-q", "hint_key_unknown", "gateway/log", NULL)).status == 0);
    post_known(w);
    world_sql(w, "grant select on settle.hint_key to settle_gateway");
    world_until(20, is_hinted(w));
    assert_true(world_metric(w, "settle_store_connects_total{store=\"postgres\"}") == 2);
    assert_string_equal(
        world_wait(w, world_spawn(w, "grep", "-c", "hint_key_unknown", "gateway/log", NULL)).out, "1\n");
}

/* A fail-over behind one name, of which the one connection knows and the other does not: here it shows in the key. */
static void test_connections_to_two_servers_leave_no_hints(void **state)
{
    struct world *w = *state;
    double unknown, others;

    world_gateway(w, NULL);
    await_hinted(w);
    world_sql(w, "update settle.hint_key set key = sha256(key)");
    world_sql(w,
              "select pg_terminate_backend(min(pid)) from pg_stat_activity where usename = 'settle_gateway'");
    world_until(20, world_metric(w, "settle_store_connects_total{store=\"postgres\"}") == 3);
    await_stores(w);
    world_until(
        20, world_wait(w, world_spawn(w, "grep", "-q", "hint_keys_differ", "gateway/log", NULL)).status == 0);
    begin_flush(w);
    unknown = hints(w, "unknown");
    others = hints(w, "seen") + hints(w, "unseen");
    for (unsigned i = 0; i < TIMED; i++)
        post_known(w);
    assert_true(hints(w, "unknown") >= unknown + TIMED); /* or more: some may have been posted again */
    assert_true(hints(w, "seen") + hints(w, "unseen") == others);
    assert_string_equal(world_redis(w, "keys", "settle:seen:*", NULL), "\n"); /* of neither server */
    world_sql(w,
              "select pg_terminate_backend(min(pid)) from pg_stat_activity where usename = 'settle_gateway'"
              " and backend_start = (select min(backend_start) from pg_stat_activity"
              "                       where usename = 'settle_gateway')");
    await_hinted(w);
}

static double refusals(struct world *w)
{
    return world_metric(w, "settle_redis_refusals_total");
}

static bool is_refused(struct world *w)
{
    static unsigned nth;
    char body[64];
    double before = refusals(w);

    snprintf(body, sizeof(body), "{\"external_post_id\":\"refused-%u\"}", nth++);
    world_deliver(w, "instagram", NULL, body);
    return refusals(w) > before;
}

/* Lines of all gateways so far. */
static long told(struct world *w, const char *text)
{
    return strtol(world_wait(w, world_spawn(w, "grep", "-cF", text, "gateway/log", NULL)).out, NULL, 10);
}

/* Questions are answered as ever, and nothing else is wrong. The line has no word of what was refused. */
static void test_what_redis_refuses_is_told_once(void **state)
{
    static const struct {
        void (*begin)(struct world *w);
        void (*end)(struct world *w);
        const char *line; /* its end */
    } cases[] = {
        {begin_full,    end_full,    "\"error\":\"Redis refuses: OOM\",\"status\":\"rejected\"}"     },
        {begin_replica, end_replica, "\"error\":\"Redis refuses: READONLY\",\"status\":\"rejected\"}"},
    };
    struct world *w = *state;

    for (size_t i = 0; i < countof(cases); i++) {
        long all = told(w, "redis_refuses"), such = told(w, cases[i].line);
        world_gateway(w, NULL);
        await_hinted(w);
        assert_true(refusals(w) == 0);
        cases[i].begin(w);
        for (unsigned n = 0; n < 3; n++)
            world_until(20, is_refused(w));
        assert_true(world_metric(w, "settle_store_up{store=\"redis\"}") == 1);
        assert_int_equal(told(w, "redis_refuses"), all + 1);
        assert_int_equal(told(w, cases[i].line), such + 1);
        cases[i].end(w);
        world_until(20, is_hinted(w));
        assert_int_equal(world_gateway_stop(w), 0);
        world_reset(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_whatever_redis_does_nobody_notices, reset),
        cmocka_unit_test_setup(test_a_planted_hint_is_not_believed, reset),
        cmocka_unit_test_setup(test_a_hint_from_before_a_restore_counts_for_nothing, reset),
        cmocka_unit_test_setup(test_a_key_that_postgres_did_not_give_is_asked_for_again, reset),
        cmocka_unit_test_setup(test_connections_to_two_servers_leave_no_hints, reset),
        cmocka_unit_test_setup(test_what_redis_refuses_is_told_once, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
