/* What senders and clocks do: the same webhook many times and to several gateways, another body under its id, before its
 * publication and too late, and a database whose clock is wrong. Rows of the failure matrix. */
#include "matrix.h"

#include "base/arena.h"
#include "base/now.h"
#include "support/shim.h"
#include "wire.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <sodium.h>

enum { COPIES = 8, WEBHOOKS = 10, OPEN = 2000 };

#define DAY_US (24 * 3600 * SECOND_US)

/* A second gateway, beside the world's own, with a spool of its own. */
struct second {
    struct process process;
    char ingest_url[64], monitor_url[64];
};

static bool has_ports(const char *path, struct second *ret)
{
    json_t *ports = json_load_file(path, 0, NULL);
    const char *ingest = NULL, *monitor = NULL;
    bool there = json_unpack(ports, "{ss, ss}", "ingest", &ingest, "monitor", &monitor) == 0;

    if (there) {
        snprintf(ret->ingest_url, sizeof(ret->ingest_url), "http://%s", ingest);
        snprintf(ret->monitor_url, sizeof(ret->monitor_url), "http://%s", monitor);
    }
    json_decref(ports);
    return there;
}

/* Metrics are asked of the gateway that w names. */
static double second_metric(struct world *w, const struct second *s, const char *series)
{
    struct world other = *w;

    memcpy(other.monitor_url, s->monitor_url, sizeof(other.monitor_url));
    return world_metric(&other, series);
}

static struct second start_second(struct world *w)
{
    struct second s;
    char ports[100], folder[100];

    snprintf(ports, sizeof(ports), "%s/second.ports", w->dir);
    snprintf(folder, sizeof(folder), "%s/second.spool", w->dir);
    matrix_sh(w, "rm -rf %s %s && mkdir -m 700 %s", ports, folder, folder);
    setenv("SETTLE_SPOOL_FOLDER", folder, 1);
    s.process = world_spawn(w, "settle-gateway", "serve", "--ports-file", ports, "--workers", "2", NULL);
    setenv("SETTLE_SPOOL_FOLDER", matrix_spool, 1);
    world_until(20, has_ports(ports, &s));
    world_until(20, second_metric(w, &s, "settle_store_up{store=\"postgres\"}") == 4);
    return s;
}

/* One signed request, by sixteen senders at once, half of them to each gateway. */
static void post_everywhere(struct world *w, const struct second *s, const char *post)
{
    struct arena *a = arena_open(1 << 16);
    const char *body = arena_print(a, "{\"external_post_id\":\"%s\",\"status\":\"published\"}", post);
    const char *request = arena_print(a,
                                      "POST /publishing/webhooks/instagram HTTP/1.1\r\nHost: x\r\n"
                                      "Connection: close\r\n%s\r\nContent-Length: %zu\r\n\r\n%s",
                                      world_sign(w, "instagram", NULL, span_of(body))[1], strlen(body), body);
    struct wire *wires[2 * COPIES];
    int statuses[WIRE_ANSWERS_MAX];

    for (size_t i = 0; i < countof(wires); i++) {
        wires[i] = arena_zero(a, sizeof(*wires[i]));
        wire_open(wires[i], i % 2 ? s->ingest_url : w->ingest_url, span_of(request));
    }
    assert_int_equal(wire_run(wires, countof(wires), 20), 0);
    for (size_t i = 0; i < countof(wires); i++) {
        assert_int_equal(wire_answers(wires[i], statuses), 1);
        assert_int_equal(statuses[0], 200);
        wire_close(wires[i]);
    }
    arena_close(a);
}

static void post_rounds(struct world *w, const struct second *s, const char *name)
{
    for (unsigned i = 0; i < 2 * WEBHOOKS; i++) { /* each once more */
        char post[32];

        snprintf(post, sizeof(post), "%s-%u", name, i % WEBHOOKS);
        post_everywhere(w, s, post);
    }
}

static void test_one_webhook_sent_at_once_to_two_gateways_is_one_receipt(void **state)
{
    struct world *w = *state;
    struct second s;

    matrix_gateway(w);
    s = start_second(w);
    post_rounds(w, &s, "both-up");
    assert_int_equal(world_count(w, "select count(*) from settle.webhook_receipts"), WEBHOOKS);
    proxy_refuse(matrix_proxy);
    proxy_cut(matrix_proxy);
    post_rounds(w, &s, "away"); /* so in up to four spools */
    world_until(5, world_metric(w, "settle_spool_records") > 0);
    world_until(5, second_metric(w, &s, "settle_spool_records") > 0);
    proxy_heal(matrix_proxy);
    post_rounds(w, &s, "back"); /* by the database or not yet */
    world_until(30, world_is_drained(w));
    world_until(30, second_metric(w, &s, "settle_spool_records") == 0);
    assert_int_equal(world_count(w, "select count(*) from settle.webhook_receipts"), 3 * WEBHOOKS);
    kill(s.process.pid, SIGTERM);
    assert_int_equal(world_wait(w, s.process).status, 0);
}

/* As Standard Webhooks has it, where the id is part of what is signed. */
static struct reply post_under_id(struct world *w, const char *id, const char *status)
{
    static const char key[] = "an id is signed with the body";
    struct arena *a = arena_open(1 << 12);
    char base64[64];
    const char *time = arena_print(a, "%lld", (long long)now_wall_us() / SECOND_US),
               *body = arena_print(
                   a, "{\"type\":\"post\",\"data\":{\"external_post_id\":\"p\",\"status\":\"%s\"}}", status);
    const char *headers[] = {arena_print(a, "webhook-id: %s", id),
                             arena_print(a, "webhook-timestamp: %s", time), NULL, NULL};
    const char *const parts[] = {id, ".", time, ".", body};
    crypto_auth_hmacsha256_state mac;
    unsigned char tag[crypto_auth_hmacsha256_BYTES];
    struct reply r;

    crypto_auth_hmacsha256_init(&mac, (const unsigned char *)key, strlen(key));
    for (size_t i = 0; i < countof(parts); i++)
        crypto_auth_hmacsha256_update(&mac, (const unsigned char *)parts[i], strlen(parts[i]));
    crypto_auth_hmacsha256_final(&mac, tag);
    headers[2] = arena_print(
        a, "webhook-signature: v1,%s",
        sodium_bin2base64(base64, sizeof(base64), tag, sizeof(tag), sodium_base64_VARIANT_ORIGINAL));
    r = world_http(w, "POST", arena_print(a, "%s/publishing/webhooks/standard-webhooks", w->ingest_url),
                   headers, span_of(body));
    arena_close(a);
    return r;
}

static void test_another_body_under_a_known_id_is_kept_beside_the_first(void **state)
{
    static const char key[] = "an id is signed with the body";
    struct world *w = *state;
    char base64[64], secret[80];
    struct outcome run;

    sodium_bin2base64(base64, sizeof(base64), (const unsigned char *)key, strlen(key),
                      sodium_base64_VARIANT_ORIGINAL);
    snprintf(secret, sizeof(secret), "whsec_%s", base64);
    setenv("SETTLE_SECRET_STANDARD_WEBHOOKS", secret, 1);
    matrix_gateway(w);
    unsetenv("SETTLE_SECRET_STANDARD_WEBHOOKS");
    world_publication(w, "standard-webhooks", "p", "processing", 15);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(post_under_id(w, "msg_1", "published").status, 200);
    assert_int_equal(world_count(w, "select count(*) from settle.webhook_receipts"), 1);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(post_under_id(w, "msg_1", "pending").status, 200);
    assert_string_equal(world_sql(w, "select string_agg(event_status, ' ' order by event_status)"
                                     " from settle.webhook_receipts where external_post_id = 'p'"),
                        "pending published");
    run = world_reconcile(w, NULL);
    assert_int_equal(run.status, 0);
    assert_string_equal(world_sql(w, "select status from settle.publish_logs"), "success");
}

static const char *status_of(struct world *w, const char *post)
{
    return world_sql(w, "select status from settle.publish_logs where external_post_id = '%s'", post);
}

static void post(struct world *w, const char *post, const char *status)
{
    char body[100];

    snprintf(body, sizeof(body), "{\"external_post_id\":\"%s\",\"status\":\"%s\"}", post, status);
    world_deliver(w, "instagram", NULL, body);
}

/* Also those that lay in a spool meanwhile. */
static void test_a_webhook_may_come_before_its_publication_and_after_its_time_out(void **state)
{
    struct world *w = *state;

    matrix_gateway(w);
    post(w, "early", "published");
    proxy_refuse(matrix_proxy);
    proxy_cut(matrix_proxy);
    post(w, "early-spooled", "published");
    world_until(20, world_metric(w, "settle_spool_records") == 1);
    world_publication(w, "instagram", "late", "processing", 15);
    world_publication(w, "instagram", "late-spooled", "processing", 15);
    setenv("SETTLE_DATABASE_URL", w->database_url, 1); /* the reconciler has another way */
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_string_equal(status_of(w, "late"), "failed");
    assert_string_equal(status_of(w, "late-spooled"), "failed");

    post(w, "late-spooled", "published");
    proxy_heal(matrix_proxy);
    world_until(30, world_count(w, "select count(*) from settle.webhook_receipts") == 3);
    post(w, "late", "published");
    world_publication(w, "instagram", "early", "processing", 15);
    world_publication(w, "instagram", "early-spooled", "processing", 15);
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_int_equal(world_count(w, "select count(*) from settle.publish_logs where status = 'success'"), 4);
    assert_string_equal(world_sql(w, "select string_agg(extra_metadata ->> 'reconciliation_reason', ' ')"
                                     " from settle.publish_logs where external_post_id like 'late%%'"),
                        "late_webhook late_webhook");
}

/* Postgres believes that it is tomorrow: all that is open looks overdue, and nothing may come of it. */
static void test_a_database_clock_a_day_ahead_fails_nothing_and_refuses_nothing(void **state)
{
    struct world *w = *state;
    struct shim *clock;
    struct load *l;
    struct outcome run;

    matrix_gateway(w);
    world_kill(w, POSTGRES);
    clock = shim_open(w);
    world_servers(w);
    unsetenv("LD_PRELOAD"); /* for Postgres alone */
    world_until(20, matrix_connected(w));
    world_sql(w,
              "insert into settle.publish_logs"
              " (platform, user_id_str, status, external_post_id, created_at, updated_at)"
              " select 'instagram', 'user', 'processing', 'open-' || i, now(), now()"
              " from generate_series(1, %d) as i",
              OPEN);
    l = matrix_load(w);
    matrix_wait_for_acks(l, 100);
    matrix_struck(l);
    shim_step(clock, DAY_US);
    world_until(10, world_count(w, "select extract(epoch from now()) - %lld",
                                (long long)(now_wall_us() / SECOND_US)) > 80000);
    matrix_wait_for_acks(l, 100);
    setenv("SETTLE_DATABASE_URL", w->database_url, 1);
    run = world_reconcile(w, NULL);
    assert_int_equal(run.status, 75);
    assert_int_equal(world_count(w, "select count(*) from settle.publish_logs where status <> 'processing'"),
                     0);
    shim_step(clock, 0);
    load_mended(l);
    matrix_wait_for_acks(l, 100);
    run = world_reconcile(w, NULL);
    assert_int_equal(run.status, 0);
    assert_int_equal(world_count(w, "select count(*) from settle.publish_logs where status <> 'processing'"),
                     0);
    matrix_judge(w, l, NONE_REFUSED);
    world_kill(w, POSTGRES); /* the next one starts without it */
    shim_close(clock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_one_webhook_sent_at_once_to_two_gateways_is_one_receipt, matrix_reset),
        cmocka_unit_test_setup(test_another_body_under_a_known_id_is_kept_beside_the_first, matrix_reset),
        cmocka_unit_test_setup(test_a_webhook_may_come_before_its_publication_and_after_its_time_out,
                               matrix_reset),
        cmocka_unit_test_setup(test_a_database_clock_a_day_ahead_fails_nothing_and_refuses_nothing,
                               matrix_reset),
    };

    return cmocka_run_group_tests(tests, matrix_up, matrix_down);
}
