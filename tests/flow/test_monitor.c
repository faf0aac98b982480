#include "support/world.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static int up(void **state)
{
    *state = world_open();
    return world_gateway(*state, NULL);
}

static int down(void **state)
{
    world_close(*state);
    return 0;
}

static struct reply ask(struct world *w, const char *method, const char *path)
{
    char url[160];

    snprintf(url, sizeof(url), "%s%s", w->monitor_url, path);
    return world_http(w, method, url, NULL, SPAN_NONE);
}

static void test_probes_answer(void **state)
{
    struct world *w = *state;
    struct reply r = ask(w, "GET", "/livez");

    assert_int_equal(r.status, 200);
    assert_string_equal(r.body, "ok\n");
    assert_int_equal(ask(w, "GET", "/healthz").status, 200);
    assert_int_equal(ask(w, "GET", "/readyz").status, 200);
    r = ask(w, "GET", "/livez?verbose");
    assert_non_null(strstr(r.body, "ok ingest 0\n"));
    assert_non_null(strstr(r.body, "ok admin "));
    assert_non_null(strstr(r.body, "ok monitor "));
    assert_int_equal(ask(w, "GET", "/").status, 404);
    r = ask(w, "POST", "/livez");
    assert_int_equal(r.status, 405);
    assert_string_equal(reply_header(w, &r, "allow"), "GET, HEAD");
}

/* ops/test puts promtool on PATH; elsewhere the page is only looked at. */
static void test_metrics_pass_the_linter(void **state)
{
    struct world *w = *state;
    struct reply r = ask(w, "GET", "/metrics");
    char script[256];
    struct outcome end;

    assert_int_equal(r.status, 200);
    assert_string_equal(reply_header(w, &r, "content-type"), "text/plain; version=0.0.4; charset=utf-8");
    snprintf(script, sizeof(script),
             "command -v promtool >/dev/null || exit 0; curl -s %s/metrics | promtool check metrics",
             w->monitor_url);
    end = world_wait(w, world_spawn(w, "sh", "-c", script, NULL));
    if (end.status != 0)
        fail_msg("%s%s", end.out, end.err);
}

/* What came too late for an answer may be stored: sent again it would count as a duplicate. */
static long post_nth(struct world *w, unsigned nth)
{
    char body[64];

    snprintf(body, sizeof(body), "{\"external_post_id\":\"m-%u\"}", nth);
    return world_post(w, "instagram", NULL, body).status;
}

static void test_metrics_count_what_all_processes_do(void **state)
{
    struct world *w = *state;
    unsigned tries = 0;
    long status;

    world_until(20, (status = post_nth(w, ++tries)) != 503);
    assert_int_equal(status, 200);
    assert_int_equal(world_api(w, "GET", "/alerts", NULL).status, 200);
    world_until(5, strstr(ask(w, "GET", "/metrics").body,
                          "\nsettle_webhook_requests_total{platform=\"instagram\",cause=\"stored\"} 1\n"));
    world_until(5, strstr(ask(w, "GET", "/metrics").body, "\nsettle_api_requests_total{code=\"2xx\"} 1\n"));
    assert_int_equal(world_metric(w, "settle_webhook_ack_duration_seconds_count"), tries);
}

static void test_gauges_follow_the_database(void **state)
{
    struct world *w = *state;

    world_publication(w, "tiktok", "g-1", "processing", 30);
    world_publication(w, "tiktok", "g-2", "success", 30);
    world_publication(w, "elsewhere", "g-3", "retry", 30);
    assert_int_equal(world_reconcile(w, "--platform", "instagram", NULL).status, 0);
    world_until(200, strstr(ask(w, "GET", "/metrics").body,
                            "\nsettle_publications{platform=\"tiktok\",state=\"processing\"} 1\n"));
    assert_non_null(strstr(ask(w, "GET", "/metrics").body,
                           "\nsettle_publications{platform=\"tiktok\",state=\"success\"} 1\n"));
    assert_non_null(
        strstr(ask(w, "GET", "/metrics").body, "\nsettle_publications{platform=\"\",state=\"retry\"} 1\n"));
    world_until(5, !strstr(ask(w, "GET", "/metrics").body,
                           "\nsettle_reconcile_last_success_timestamp_seconds 0\n")); /* the next answer */
}

static void test_no_store_is_needed_to_tell_that_none_is_there(void **state)
{
    struct world *w = *state;

    world_kill(w, REDIS);
    assert_int_equal(ask(w, "GET", "/readyz").status, 200); /* Redis is only a mirror */
    world_kill(w, POSTGRES);
    world_until(10, ask(w, "GET", "/readyz").status == 503);
    assert_non_null(strstr(ask(w, "GET", "/readyz?verbose").body, "no ingest 0 can store\n"));
    assert_int_equal(ask(w, "GET", "/livez").status, 200);
    assert_int_equal(ask(w, "GET", "/metrics").status, 200);
    world_servers(w);
    world_until(20, ask(w, "GET", "/readyz").status == 200);
}

static void test_a_loop_that_stands_still_is_not_live(void **state)
{
    struct world *w = *state;
    pid_t admin = world_child(w, "admin");

    kill(admin, SIGSTOP);
    world_until(15, ask(w, "GET", "/livez").status == 503);
    assert_non_null(strstr(ask(w, "GET", "/livez?verbose").body, "no admin"));
    assert_int_equal(ask(w, "GET", "/readyz").status, 200); /* webhooks are taken all the same */
    kill(admin, SIGCONT);
    world_until(15, ask(w, "GET", "/livez").status == 200);
}

static void test_a_dead_process_is_replaced_and_counted(void **state)
{
    struct world *w = *state;

    kill(world_child(w, "admin"), SIGKILL);
    world_until(15, world_api(w, "GET", "/alerts", NULL).status == 200);
    assert_non_null(strstr(ask(w, "GET", "/metrics").body, "\nsettle_worker_restarts_total 1\n"));
    world_until(15, ask(w, "GET", "/livez").status == 200);
}

static void test_the_environment_keeps_no_secret(void **state)
{
    struct world *w = *state;
    const char *secret = world_secret("tiktok", NULL);
    char path[64], text[65536];
    FILE *from;
    size_t len;

    snprintf(path, sizeof(path), "/proc/%d/environ", (int)w->gateway);
    from = fopen(path, "r");
    if (!from) { /* as its own user: the process hides it all */
        assert_int_equal(errno, EACCES);
        return;
    }
    len = fread(text, 1, sizeof(text), from);
    fclose(from);
    assert_non_null(memmem(text, len, "SETTLE_SECRET_TIKTOK", 20));
    assert_null(memmem(text, len, secret, strlen(secret)));
    assert_null(memmem(text, len, w->database_url, strlen(w->database_url)));
}

static void test_refused_requests_hold_no_drain(void **state)
{
    struct world *w = *state;
    char url[160];
    const char *const *headers = world_sign(w, "tiktok", NULL, SPAN("{}"));

    snprintf(url, sizeof(url), "%s/publishing/webhooks/tiktok", w->ingest_url);
    world_kill(w, POSTGRES);
    assert_int_equal(world_http(w, "POST", url, headers, SPAN("{ }")).status, 401);
    assert_int_equal(world_gateway_stop(w), 0);
    world_servers(w);
    world_gateway(w, NULL);
}

/* In the reconciler's place: a run that ends when it may. Its standard error is the gateway's log. */
static void write_run(struct world *w)
{
    char path[128];
    FILE *to;

    snprintf(path, sizeof(path), "%s/reconciler", w->dir);
    to = fopen(path, "w");
    assert_non_null(to);
    fputs("#!/bin/sh\n"
          "echo a run has begun >&2\n"
          "while [ ! -e \"${0%/*}/go\" ]; do sleep 0.05; done\n"
          "echo '{\"outcome\":\"done\"}'\n",
          to);
    fclose(to);
    assert_int_equal(chmod(path, 0755), 0);
    setenv("SETTLE_ADMIN_RECONCILER", path, 1);
}

/* A request that takes its time keeps the drain going; meanwhile a balancer must learn to go elsewhere. */
static void test_a_drain_is_told_before_it_is_over(void **state)
{
    struct world *w = *state;
    struct process slow;
    struct outcome end;
    char script[256];

    world_gateway_stop(w);
    write_run(w);
    world_gateway(w, NULL);
    world_until(20, world_api(w, "GET", "/alerts", NULL).status == 200);
    snprintf(script, sizeof(script),
             "curl -s -o /dev/null -w '%%{http_code}' -X POST -H 'Content-Type: application/json'"
             " %s/publishing/reconcile",
             w->admin_url);
    slow = world_spawn(w, "sh", "-c", script, NULL);
    world_until(
        20,
        world_wait(w, world_spawn(w, "grep", "-q", "^a run has begun$", "gateway/log", NULL)).status == 0);
    kill(w->gateway, SIGTERM);
    world_until(5, ask(w, "GET", "/readyz").status == 503);
    assert_non_null(strstr(ask(w, "GET", "/readyz?verbose").body, "no draining\n"));
    world_wait(w, world_spawn(w, "touch", "go", NULL));
    end = world_wait(w, slow);
    assert_string_equal(end.out, "200");
    world_until(10, ask(w, "GET", "/readyz").status == 0);
    assert_int_equal(world_gateway_stop(w), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_probes_answer),
        cmocka_unit_test(test_metrics_pass_the_linter),
        cmocka_unit_test(test_metrics_count_what_all_processes_do),
        cmocka_unit_test(test_gauges_follow_the_database),
        cmocka_unit_test(test_no_store_is_needed_to_tell_that_none_is_there),
        cmocka_unit_test(test_a_loop_that_stands_still_is_not_live),
        cmocka_unit_test(test_a_dead_process_is_replaced_and_counted),
        cmocka_unit_test(test_the_environment_keeps_no_secret),
        cmocka_unit_test(test_refused_requests_hold_no_drain),
        cmocka_unit_test(test_a_drain_is_told_before_it_is_over),
    };

    return cmocka_run_group_tests(tests, up, down);
}
