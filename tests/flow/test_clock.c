/* Clocks that step: of the gateway, of Redis' host, of the database. A good signature is never called bad for it, nothing is
 * lost, no deadline comes early, and no publication is failed. */
#include "support/load.h"
#include "support/shim.h"

#include "base/now.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum {
    SENDERS = 4,
    NSTEPS = 4,
    NSTEPS_LONG = 20,
    POSTS = 10,   /* at each step */
    OPEN = 10000, /* publications */
    OPEN_LONG = 100000,
    KNOWN = 100, /* of them, by a webhook */
    MINUTES = 10,
};

#define HOUR_US (60 * MINUTE_US)

static struct shim *shim;
static char folder[128]; /* the spool's */

static int up(void **state)
{
    struct world *w = world_open();

    *state = w;
    snprintf(folder, sizeof(folder), "%s/spool", w->dir);
    setenv("SETTLE_UNSAFE_OK", "true", 1);      /* the tests' folder may lie on anything */
    setenv("SETTLE_ADMIN_ENABLED", "false", 1); /* so that all connections are the worker's */
    return mkdir(folder, 0700);
}

static int reset(void **state)
{
    struct world *w = *state;

    if (w->gateway)
        world_kill(w, GATEWAY);
    if (shim)
        shim_close(shim);
    shim = NULL;
    world_servers(w);
    world_reset(w);
    unsetenv("SETTLE_SPOOL_FOLDER");
    return 0;
}

static int down(void **state)
{
    if (shim)
        shim_close(shim);
    world_close(*state);
    return 0;
}

static const int64_t steps_us[] = {HOUR_US, -HOUR_US, 25 * HOUR_US, -2 * HOUR_US};

static unsigned nsteps(void)
{
    return getenv("SETTLE_TEST_LONG") ? NSTEPS_LONG : NSTEPS; /* of ops/test --long */
}

static struct reply post(struct world *w, const char *path, const char *signed_body, const char *body)
{
    char url[128];

    snprintf(url, sizeof(url), "%s/publishing/webhooks/%s", w->ingest_url, path);
    return world_http(w, "POST", url, world_sign(w, "tiktok", NULL, span_of(signed_body)), span_of(body));
}

/* TikTok signs the time. */
static const char *timed(void)
{
    static unsigned nth;
    static char body[80];

    snprintf(body, sizeof(body), "{\"external_post_id\":\"timed-%u\",\"complete\":true}", nth++);
    return body;
}

static struct reply post_timed(struct world *w)
{
    return world_post(w, "tiktok", NULL, timed());
}

static void expect_stored(struct reply r)
{
    if (r.status != 200)
        fail_msg("wanted 200, got %ld %s", r.status, r.body);
}

static bool is_too_late(struct reply r)
{
    return r.status == 503 && strstr(r.body, "urn:settle:problem:store_unavailable");
}

/* Sent again while the machine is too slow to store it in time; never for a clock's sake, which has the same status. */
static void send_until_stored(struct world *w, const char *platform, const char *source, const char *body)
{
    struct reply r;

    world_until(20, !is_too_late(r = world_post(w, platform, source, body)));
    expect_stored(r);
}

static void expect_suspect(struct world *w, struct reply r)
{
    const char *type = json_string_value(json_object_get(r.json, "type"));

    if (r.status != 503 || !type || strcmp(type, "urn:settle:problem:clock_suspect") != 0)
        fail_msg("wanted 503 clock_suspect, got %ld %s", r.status, r.body);
    assert_non_null(reply_header(w, &r, "retry-after"));
}

static bool is_skewed(struct world *w, int64_t by_us)
{
    double seconds = (double)llabs(by_us) / (double)SECOND_US,
           skew = world_metric(w, "settle_clock_skew_seconds");

    return skew > seconds - 5 && skew < seconds + 5;
}

/* The verdict is the same, the line tells. */
static void expect_ready(struct world *w, const char *line)
{
    char url[80];
    struct reply r;

    snprintf(url, sizeof(url), "%s/readyz?verbose", w->monitor_url);
    r = world_http(w, "GET", url, NULL, SPAN_NONE);
    assert_int_equal(r.status, 200);
    if (!strstr(r.body, line))
        fail_msg("no \"%s\" in %s", line, r.body);
}

/* Beside the load, whose ledger knows nothing of them. */
static void expect_timed_kept(struct world *w, unsigned n)
{
    assert_int_equal(world_count(w, "with gone as (delete from settle.webhook_receipts"
                                    "              where platform = 'tiktok' returning 1)"
                                    " select count(*) from gone"),
                     n);
}

static struct load *load_begin(struct world *w)
{
    struct load *l = load_start(w, SENDERS);

    world_until(20, load_so_far(l).acked >= 10 * SENDERS);
    return l;
}

static void load_more(struct load *l)
{
    unsigned before = load_so_far(l).acked;

    world_until(20, load_so_far(l).acked >= before + 5 * SENDERS);
}

static void expect_nothing_lost(struct load *l, struct world *w)
{
    struct load_count count = load_stop(l, w);

    if (count.wrong + count.unknown > 0 || !load_few_refused(count))
        fail_msg("%u wrong, %u refused, %u unknown", count.wrong, count.refused, count.unknown);
}

static void post_while_off(struct world *w, int64_t by_us)
{
    shim_step(shim, by_us);
    for (unsigned k = 0; k < POSTS; k++)
        expect_suspect(w, post_timed(w));
    expect_suspect(w, post(w, "tiktok/nobody", "{}", "{}")); /* nobody learns who is known */
    world_until(10, is_skewed(w, by_us));
    expect_ready(w, "no ingest 0 clock agrees");
}

static void post_while_right(struct world *w)
{
    shim_step(shim, 0);
    for (unsigned k = 0; k < POSTS; k++)
        expect_stored(post_timed(w));
    assert_int_equal(post(w, "tiktok", "{}", "{ }").status, 401);
    expect_ready(w, "ok ingest 0 clock agrees");
}

/* Longer than anything takes, and shorter than any step. */
static void set_deadlines(void)
{
    setenv("SETTLE_SPOOL_AFTER_MS", "20000", 1);
    setenv("SETTLE_INGEST_COMMIT_TIMEOUT_MS", "20000", 1);
    setenv("SETTLE_INGEST_REQUEST_TIMEOUT_MS", "60000", 1);
}

static void unset_deadlines(void)
{
    unsetenv("SETTLE_SPOOL_AFTER_MS");
    unsetenv("SETTLE_INGEST_COMMIT_TIMEOUT_MS");
    unsetenv("SETTLE_INGEST_REQUEST_TIMEOUT_MS");
}

static void test_a_step_of_our_clock_is_no_fault_of_the_senders(void **state)
{
    struct world *w = *state;
    struct load *l;

    setenv("SETTLE_SPOOL_FOLDER", folder, 1);
    set_deadlines();
    shim = shim_open(w);
    world_gateway(w, NULL);
    unset_deadlines();
    world_until(20, world_metric(w, "settle_store_up{store=\"postgres\"}") >
                        0); /* else the spool takes it at once */
    l = load_begin(w);
    for (unsigned i = 0; i < nsteps(); i++) {
        post_while_off(w, steps_us[i % countof(steps_us)]);
        load_more(l);
        post_while_right(w);
        load_more(l);
    }
    load_halt(l);
    assert_int_equal(
        world_metric(w, "settle_webhook_requests_total{platform=\"instagram\",cause=\"spooled\"}"), 0);
    expect_timed_kept(w, nsteps() * POSTS);
    expect_nothing_lost(l, w);
}

/* Boot time goes on as the database's clock does. */
static void test_a_step_shows_while_postgres_is_away(void **state)
{
    struct world *w = *state;

    setenv("SETTLE_SPOOL_FOLDER", folder, 1);
    shim = shim_open(w);
    world_gateway(w, NULL);
    world_until(20, world_metric(w, "settle_store_up{store=\"postgres\"}") > 0);
    world_kill(w, POSTGRES);
    world_until(20, world_metric(w, "settle_store_up{store=\"postgres\"}") == 0);
    send_until_stored(w, "tiktok", NULL, timed());
    shim_step(shim, HOUR_US);
    expect_suspect(w, post_timed(w));
    world_until(10, is_skewed(w, HOUR_US));
    shim_step(shim, 0);
    send_until_stored(w, "tiktok", NULL, timed());
    assert_int_equal(post(w, "tiktok", "{}", "{ }").status, 401);
    shim_close(shim); /* the servers have the true time */
    shim = NULL;
    world_servers(w);
    world_until(60, world_is_drained(w));
    expect_timed_kept(w, 2);
}

/* It knows by the time that it is ready. */
static void test_a_gateway_that_starts_with_a_wrong_clock_knows_it(void **state)
{
    struct world *w = *state;

    shim = shim_open(w);
    shim_step(shim, -HOUR_US);
    world_gateway(w, NULL);
    for (unsigned k = 0; k < POSTS; k++)
        expect_suspect(w, post_timed(w));
    shim_step(shim, 0);
    send_until_stored(w, "tiktok", NULL, timed());
}

static void test_a_secret_that_ended_by_a_wrong_clock_is_no_fault_of_the_senders(void **state)
{
    struct world *w = *state;
    const char *body = "{\"external_post_id\":\"dated\",\"status\":\"published\"}";
    char line[96], expires[TIME_TEXT_BYTES];

    time_text(now_wall_us() / SECOND_US * SECOND_US + HOUR_US / 2, expires, sizeof(expires));
    snprintf(line, sizeof(line), "secret-of-the-shop expires=%s", expires);
    setenv("SETTLE_SECRET_INSTAGRAM_SHOP", line, 1);
    shim = shim_open(w);
    world_gateway(w, NULL);
    setenv("SETTLE_SECRET_INSTAGRAM_SHOP", "secret-of-the-shop", 1); /* what the sender has */
    send_until_stored(w, "instagram", "shop", body);
    shim_step(shim, HOUR_US);
    expect_suspect(w, world_post(w, "instagram", "shop", body));
    shim_step(shim, 0);
    send_until_stored(w, "instagram", "shop", body);
    unsetenv("SETTLE_SECRET_INSTAGRAM_SHOP");
}

/* Ours is right: what is good stays good, and what looks old is not called so by one clock of two. */
static void test_a_step_of_the_databases_clock_stops_nobody(void **state)
{
    struct world *w = *state;

    world_gateway(w, NULL);
    world_kill(w, POSTGRES);
    shim = shim_open(w);
    shim_step(shim, HOUR_US);
    world_servers(w);
    world_until(20, is_skewed(w, HOUR_US));
    send_until_stored(w, "tiktok", NULL, timed());
    expect_ready(w, "no ingest 0 clock agrees");
    shim_step(shim, 0);
    world_until(30, is_skewed(w, 0)); /* asked again each ten seconds */
    send_until_stored(w, "tiktok", NULL, timed());
    expect_timed_kept(w, 2);
}

static void test_steps_of_redis_clock_lose_nothing(void **state)
{
    struct world *w = *state;
    struct load *l;

    world_gateway(w, NULL); /* lives by the true one */
    world_kill(w, REDIS);
    shim = shim_open(w);
    world_servers(w);
    world_until(20, world_metric(w, "settle_store_up{store=\"redis\"}") == 1);
    l = load_begin(w);
    for (unsigned i = 0; i < nsteps(); i++) {
        shim_step(shim, steps_us[i % countof(steps_us)]);
        load_more(l);
    }
    expect_nothing_lost(l, w);
}

/* Its own question is the only one under way: for no longer than a commit, whose connection it may be next. */
static void test_asking_for_the_time_holds_no_connection(void **state)
{
    struct world *w = *state;

    world_gateway(w, NULL);
    world_until(20, world_metric(w, "settle_store_up{store=\"postgres\"}") == 2);
    world_freeze(w, POSTGRES);
    world_until(20, world_metric(w, "settle_store_up{store=\"postgres\"}") < 2); /* asked each ten seconds */
    world_thaw(w, POSTGRES);
}

/* Under way for some minutes: none is stale. Large: without the triggers. */
static void register_many(struct world *w, long n)
{
    world_sql(
        w,
        "set session_replication_role = replica;"
        "insert into settle.publish_logs (platform, user_id_str, status, external_post_id, updated_at)"
        " select 'instagram', 'u', 'processing', 'p' || g, now() - g %% 5 * interval '1 minute'"
        " from generate_series(1, %ld) as g;"
        "insert into settle.publish_open (id, source, platform, status, updated_at, user_id_str)"
        " select id, source, platform, status, updated_at, user_id_str from settle.publish_logs;"
        "set session_replication_role = default;"
        "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id,"
        "  event_status, decisive, received_at, headers, body)"
        " select sha256(external_post_id::bytea), source, platform, gen_random_uuid(), external_post_id,"
        "   'published', 1, now(), '', '' from settle.publish_logs limit %d",
        n, KNOWN);
    world_sql(w, "analyze settle.publish_logs, settle.publish_open, settle.webhook_receipts");
}

static void expect_run(struct world *w, int status, const char *outcome, long success)
{
    struct outcome run = world_reconcile(w, NULL);
    const char *found = json_string_value(json_object_get(run.json, "outcome"));

    if (run.status != status || !found || strcmp(found, outcome) != 0)
        fail_msg("wanted %d %s, got %d: %s%s", status, outcome, run.status, run.out, run.err);
    assert_int_equal(json_integer_value(json_object_get(run.json, "marked_success")), success);
    assert_int_equal(json_integer_value(json_object_get(run.json, "marked_failed")), 0);
}

static void test_a_database_that_is_a_day_ahead_fails_no_publication(void **state)
{
    struct world *w = *state;
    long n = getenv("SETTLE_TEST_LONG") ? OPEN_LONG : OPEN; /* of ops/test --long */

    register_many(w, n);
    expect_run(w, 0, "done", 0);
    world_crash(w);
    shim = shim_open(w);
    world_servers(w);
    shim_hide(shim);
    for (unsigned minute = 0; minute < MINUTES; minute++) {
        shim_step(shim, 24 * HOUR_US + minute * MINUTE_US);
        expect_run(w, 75, "guard", minute == 0 ? KNOWN : 0);
    }
    assert_string_equal(world_sql(w, "select type, severity, occurrences from settle.alerts"),
                        "publications_guard|CRITICAL|10");
    shim_step(shim, 0);
    expect_run(w, 0, "done", 0);
    assert_int_equal(world_count(w, "select count(*) from settle.publish_logs where status = 'processing'"),
                     n - KNOWN);
}

static const char *open_ones(struct world *w)
{
    return world_sql(
        w, "select string_agg(status || case when updated_at > now() then ' later' else '' end"
           " || case when next_retry_at > now() + interval '2 minutes' then ' much' else '' end, ','"
           " order by external_post_id) from settle.publish_logs");
}

/* For a day, no run would see them. */
static void test_what_such_a_database_has_dated_counts_from_when_its_clock_is_right(void **state)
{
    static const char dated[] = "select string_agg(updated_at::text, ',') from settle.publish_logs";
    struct world *w = *state;
    const char *before;

    world_publication(w, "instagram", "p0", "processing", 1);
    world_crash(w);
    shim = shim_open(w);
    world_servers(w);
    shim_hide(shim);
    shim_step(shim, 24 * HOUR_US);
    world_sql(w, "insert into settle.publish_logs (platform, user_id_str, status, external_post_id,"
                 "  next_retry_at) values ('instagram', 'u', 'processing', 'p1', null),"
                 " ('instagram', 'u', 'retry', 'p2', now() + interval '1 minute')");
    expect_run(w, 75, "guard", 0);  /* a single one is not failed by such a clock */
    shim_step(shim, -24 * HOUR_US); /* nobody may think of what is right that it is of tomorrow */
    before = world_sql(w, dated);
    expect_run(w, 0, "done", 0);
    assert_string_equal(world_sql(w, dated), before);
    shim_step(shim, 0);
    assert_string_equal(open_ones(w), "processing,processing later,retry later much");
    expect_run(w, 0, "done", 0);
    assert_string_equal(open_ones(w), "processing,processing,retry");
    world_sql(w, "update settle.publish_logs set updated_at = updated_at - interval '11 minutes',"
                 " next_retry_at = next_retry_at - interval '12 minutes'");
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_string_equal(open_ones(w), "failed,failed,failed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_step_of_our_clock_is_no_fault_of_the_senders, reset),
        cmocka_unit_test_setup(test_a_step_shows_while_postgres_is_away, reset),
        cmocka_unit_test_setup(test_a_gateway_that_starts_with_a_wrong_clock_knows_it, reset),
        cmocka_unit_test_setup(test_a_secret_that_ended_by_a_wrong_clock_is_no_fault_of_the_senders, reset),
        cmocka_unit_test_setup(test_a_step_of_the_databases_clock_stops_nobody, reset),
        cmocka_unit_test_setup(test_a_database_that_is_a_day_ahead_fails_no_publication, reset),
        cmocka_unit_test_setup(test_steps_of_redis_clock_lose_nothing, reset),
        cmocka_unit_test_setup(test_what_such_a_database_has_dated_counts_from_when_its_clock_is_right,
                               reset),
        cmocka_unit_test_setup(test_asking_for_the_time_holds_no_connection, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
