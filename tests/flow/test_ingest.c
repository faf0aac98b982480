/* One webhook at a time, through real HTTP: what is answered, and what stands in the tables then. */
#include "support/world.h"

#include "base/now.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define WEBHOOKS "/publishing/webhooks"

static int up(void **state)
{
    *state = world_open(); /* which clears what a shell has set */
    setenv("SETTLE_SECRET_INSTAGRAM_SHOP_2", "the-secret-of-shop-2", 1);
    setenv("SETTLE_INGEST_MAX_BODY_BYTES", "65536", 1);
    return world_gateway(*state, NULL);
}

static int reset(void **state)
{
    world_reset(*state);
    return 0;
}

static int down(void **state)
{
    world_close(*state);
    return 0;
}

static long receipts(struct world *w)
{
    return world_count(w, "select count(*) from settle.webhook_receipts");
}

static struct reply post(struct world *w, const char *path, const char *const *headers, const char *body)
{
    char url[256];

    snprintf(url, sizeof(url), "%s%s", w->ingest_url, path);
    return world_http(w, "POST", url, headers, span_of(body));
}

/* The same but for what differs from request to request. */
static void expect_same(const struct reply *a, const struct reply *b)
{
    json_object_del(a->json, "request_id");
    json_object_del(b->json, "request_id");
    assert_true(json_equal(a->json, b->json));
    assert_int_equal(strlen(a->body), strlen(b->body));
}

static void expect_problem(struct world *w, const struct reply *r, long status, const char *cause)
{
    char type[128];

    snprintf(type, sizeof(type), "urn:settle:problem:%s", cause);
    if (r->status != status || !r->json)
        fail_msg("want %ld %s, got %ld %s", status, cause, r->status, r->body);
    assert_string_equal(reply_header(w, r, "content-type"), "application/problem+json");
    assert_string_equal(json_string_value(json_object_get(r->json, "type")), type);
    assert_int_equal(json_integer_value(json_object_get(r->json, "status")), status);
    assert_string_equal(json_string_value(json_object_get(r->json, "request_id")),
                        reply_header(w, r, "x-request-id"));
}

/* What came too late for an answer may be stored, under that request's id: so each is another one. */
static struct reply post_another(struct world *w, char *room, size_t size)
{
    static unsigned nth;

    snprintf(room, size,
             "{\"external_post_id\":\"p%u\",\"media_url\":\"https://i.example/p/1\",\"status\":\"published\","
             "\"timestamp\":\"2026-01-15T10:45:00Z\"}",
             ++nth);
    return world_post(w, "instagram", NULL, room);
}

static void test_a_200_stands_in_the_table_with_what_was_read(void **state)
{
    struct world *w = *state;
    char body[160];
    struct reply r;

    world_until(20, (r = post_another(w, body, sizeof(body))).status != 503);
    assert_int_equal(r.status, 200);
    assert_string_equal(r.body, "{\"status\":\"ok\"}");
    assert_string_equal(reply_header(w, &r, "content-type"), "application/json");
    assert_string_equal(
        world_sql(
            w,
            "select platform, source, event_status, decisive, happened_at, url,"
            "       external_post_id = convert_from(body, 'UTF8')::json ->> 'external_post_id',"
            "       parse_error is null, key_id is not null,"
            "       convert_from(headers, 'UTF8') ~ 'x-hub-signature-256: sha256=[0-9a-f]{64}\n',"
            "       delivery_id = '%s' from settle.webhook_receipts where body = convert_to('%s', 'UTF8')",
            reply_header(w, &r, "x-request-id"), body),
        "instagram|default|published|1|2026-01-15 10:45:00+00|https://i.example/p/1|t|t|t|t|t");
}

static void test_a_duplicate_is_a_success_and_one_row_whether_redis_knows_or_not(void **state)
{
    struct world *w = *state;
    const char *body = "{\"external_post_id\":\"p1\",\"status\":\"published\"}";

    for (int i = 0; i < 3; i++)
        world_deliver(w, "instagram", NULL, body);
    world_redis(w, "flushall", NULL);
    for (int i = 0; i < 3; i++)
        world_deliver(w, "instagram", NULL, body);
    assert_int_equal(receipts(w), 1);
}

/* A Redis that answers late is left alone for a second, so on a busy machine either may take more than one try. */
static bool is_hinted(struct world *w, const char *body)
{
    world_sql(w, "delete from settle.webhook_receipts"); /* so that each try is news */
    world_deliver(w, "instagram", NULL, body);
    return strncmp(world_redis(w, "keys", "settle:seen:*", NULL), "settle:seen:", 12) == 0;
}

static bool is_spared(struct world *w, const char *body)
{
    world_sql(w, "delete from settle.webhook_receipts"); /* so that a second insert shows */
    world_deliver(w, "instagram", NULL, body);
    return receipts(w) == 0;
}

static void test_redis_saves_postgres_the_duplicate_and_is_written_after_the_commit(void **state)
{
    struct world *w = *state;
    const char *body = "{\"external_post_id\":\"p1\",\"status\":\"published\"}";

    world_until(10, is_hinted(w, body));
    assert_string_equal(world_redis(w, "xlen", "settle:events", NULL), "1\n");
    world_until(10, is_spared(w, body));
}

static void test_a_hint_from_before_a_restart_of_postgres_counts_for_nothing(void **state)
{
    struct world *w = *state;
    const char *body = "{\"external_post_id\":\"p1\",\"status\":\"published\"}";

    world_until(10, is_hinted(w, body));
    world_sql(w, "delete from settle.webhook_receipts"); /* as a failover may lose it */
    world_kill(w, POSTGRES);
    world_servers(w);
    world_until(20, world_post(w, "instagram", NULL, body).status == 200);
    assert_int_equal(receipts(w), 1);
}

static void test_a_wrong_signature_and_an_unknown_source_look_the_same(void **state)
{
    struct world *w = *state;
    const char *body = "{\"external_post_id\":\"p1\",\"status\":\"published\"}";
    const char *forged[] = {
        "x-hub-signature-256: sha256=0000000000000000000000000000000000000000000000000000000000000000", NULL};
    struct reply wrong = post(w, WEBHOOKS "/instagram", forged, body);
    struct reply unknown =
        post(w, WEBHOOKS "/instagram/nobody", world_sign(w, "instagram", NULL, span_of(body)), body);
    struct reply other =
        post(w, WEBHOOKS "/instagram/shop-2", world_sign(w, "instagram", NULL, span_of(body)), body);

    expect_problem(w, &wrong, 401, "bad_signature");
    expect_problem(w, &unknown, 401, "bad_signature");
    expect_problem(w, &other, 401, "bad_signature");
    expect_same(&wrong, &unknown);
    assert_int_equal(receipts(w), 0);
    /* Of known sources alone. */
    world_until(10, world_count(w, "select count(*) from settle.refused_requests") == 2);
    assert_string_equal(world_sql(w,
                                  "select source, cause, convert_from(body, 'UTF8') = '%s'"
                                  " from settle.refused_requests order by source",
                                  body),
                        "default|no_match|t\nshop-2|no_match|t");
}

static void test_a_storm_of_wrong_signatures_is_kept_at_a_capped_rate(void **state)
{
    struct world *w = *state;
    const char *const *headers = world_sign(w, "tiktok", NULL, SPAN("{ }"));
    int64_t began_us = now_boot_us();
    long kept;

    for (int i = 0; i < 200; i++)
        assert_int_equal(post(w, WEBHOOKS "/tiktok", headers, "{}").status, 401);
    world_deliver(w, "tiktok", NULL, "{\"external_post_id\":\"v1\"}");
    world_until(10, world_count(w, "select count(*) from settle.refused_requests") >= 5);
    kept = world_count(w, "select count(*) from settle.refused_requests");
    assert_in_range(kept, 5,
                    20 + 10 * ((now_boot_us() - began_us) / SECOND_US + 1)); /* refused.inserts_per_second */
}

static void test_a_source_of_its_own_has_its_own_secret_and_rows(void **state)
{
    struct world *w = *state;
    const char *body = "{\"external_post_id\":\"p1\",\"status\":\"published\"}";

    world_deliver(w, "instagram", "shop-2", body);
    world_deliver(w, "instagram", NULL, body);
    assert_string_equal(world_sql(w, "select source from settle.webhook_receipts order by source"),
                        "default\nshop-2");
}

static const struct {
    const char *why, *body, *post, *error;
} signed_bodies[] = {
    {"half of an object",        "{\"external_post_id\":",                                     "", "t" },
    {"no body at all",           "",                                                           "", "t" },
    {"a NUL that jsonb refuses", "{\"external_post_id\":\"a\\u0000b\",\"status\":\"failed\"}", "", "f" },
    {"a lone surrogate",         "{\"external_post_id\":\"\\ud800\",\"status\":\"failed\"}",   "", "f" },
    {"bytes that are not UTF-8", "{\"external_post_id\":\"\xff\xfe\",\"status\":\"failed\"}",  "", "t" },
    {"an array",                 "[]",                                                         "", "t" },
    {"names no post",            "{\"status\":\"published\"}",                                 "", NULL},
};

static void test_what_is_signed_is_stored_whatever_it_holds(void **state)
{
    struct world *w = *state;

    for (size_t i = 0; i < countof(signed_bodies); i++) {
        struct reply r;

        world_until(20, (r = world_post(w, "instagram", NULL, signed_bodies[i].body)).status != 503);
        if (r.status != 200)
            fail_msg("%s: %ld %s", signed_bodies[i].why, r.status, r.body);
        assert_int_equal(receipts(w), i + 1);
    }
    assert_int_equal(
        world_count(w, "select count(*) from settle.webhook_receipts where external_post_id is not null"), 0);
    assert_true(
        world_count(w, "select count(*) from settle.webhook_receipts where parse_error is not null") >= 4);
    assert_int_equal(world_count(w, "select count(*) from settle.webhook_receipts where body = '\\x'"), 1);
}

/* A rule of the table that no reader of ours knows. */
static void test_what_postgres_refuses_is_stored_as_bare_bytes(void **state)
{
    struct world *w = *state;

    world_sql(w,
              "alter table settle.webhook_receipts add constraint test check (external_post_id <> 'poison')");
    world_deliver(w, "instagram", NULL, "{\"external_post_id\":\"poison\",\"status\":\"published\"}");
    world_sql(w, "alter table settle.webhook_receipts drop constraint test");
    assert_string_equal(
        world_sql(w, "select external_post_id is null, event_status is null, decisive, parse_error,"
                     " convert_from(body, 'UTF8') from settle.webhook_receipts"),
        "t|t|0|refused by Postgres (23514)|{\"external_post_id\":\"poison\",\"status\":\"published\"}");
}

static void test_where_and_how_webhooks_are_taken(void **state)
{
    struct world *w = *state;
    char url[256];
    struct reply r;

    r = post(w, WEBHOOKS "/nowhere", NULL, "{}");
    expect_problem(w, &r, 404, "unknown_platform");
    r = post(w, WEBHOOKS "/instagram/a/b", NULL, "{}");
    expect_problem(w, &r, 404, "not_found");
    r = post(w, "/publishing/logs", NULL, "{}"); /* the admin listener's */
    expect_problem(w, &r, 404, "not_found");
    snprintf(url, sizeof(url), "%s" WEBHOOKS "/tiktok", w->ingest_url);
    r = world_http(w, "PUT", url, NULL, SPAN("{}"));
    expect_problem(w, &r, 405, "method_not_allowed");
    assert_string_equal(reply_header(w, &r, "allow"), "POST");
    r = world_http(w, "POST", url, NULL, SPAN_NONE);
    expect_problem(w, &r, 401, "bad_signature");
    assert_int_equal(receipts(w), 0);
}

/* Sends bytes and reads until the gateway closes or has said nothing for 20 s. */
static const char *talk(struct world *w, const char *bytes, bool *ret_closed)
{
    static char answer[65536];
    const struct timeval patience = {.tv_sec = 20};
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)atoi(strrchr(w->ingest_url, ':') + 1)),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t len = 0;
    ssize_t n;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
    assert_int_equal(send(fd, bytes, strlen(bytes), MSG_NOSIGNAL), strlen(bytes));
    while ((n = recv(fd, answer + len, sizeof(answer) - 1 - len, 0)) > 0)
        len += (size_t)n;
    answer[len] = '\0';
    *ret_closed = n == 0;
    close(fd);
    return answer;
}

#define TO(path) "POST " path " HTTP/1.1\r\nHost: x\r\n"
#define HIDDEN   "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"

static const struct {
    const char *status, *why, *request;
} framings[] = {
    {"400", "two lengths",                          TO("/a") "Content-Length: 2\r\nContent-Length: 60\r\n\r\n{}" HIDDEN},
    {"400", "length and chunks",
     TO("/a") "Content-Length: 60\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" HIDDEN                               },
    {"400", "bare line feeds",                      "POST /a HTTP/1.1\nHost: x\nContent-Length: 2\n\n{}"               },
    {"400", "HTTP/2 by its preface",                "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"                                 },
    {"404", "a request after chunks is not served",
     TO(WEBHOOKS "/nowhere") "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" HIDDEN                           },
    {"404", "an upgrade to HTTP/2 is ignored",
     TO("/a") "Connection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
              "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"                                                       },
    {"413", "a body over the cap",                  TO(WEBHOOKS "/instagram") "Content-Length: 65537\r\n\r\n"          },
};

static void test_doubtful_framing_ends_the_connection(void **state)
{
    struct world *w = *state;

    for (size_t i = 0; i < countof(framings); i++) {
        bool closed;
        const char *answer = talk(w, framings[i].request, &closed);
        const char *second = strstr(answer + 1, "HTTP/1.1 ");
        if (strncmp(answer, "HTTP/1.1 ", 9) != 0 || strncmp(answer + 9, framings[i].status, 3) != 0 ||
            second || !closed)
            fail_msg("%s: %s%s", framings[i].why, closed ? "" : "(stays open) ", answer);
    }
}

static void test_a_head_over_16_kib_is_431(void **state)
{
    struct world *w = *state;
    char request[20000] = "GET /a HTTP/1.1\r\nHost: x\r\nX-Pad: ";
    size_t len = strlen(request);
    bool closed;

    memset(request + len, 'a', 17000);
    memcpy(request + len + 17000, "\r\n\r\n", 5);
    assert_int_equal(strncmp(talk(w, request, &closed), "HTTP/1.1 431 ", 13), 0);
    assert_true(closed);
}

static void test_a_client_that_does_not_wait_is_stored_all_the_same(void **state)
{
    struct world *w = *state;
    char request[1024];
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)atoi(strrchr(w->ingest_url, ':') + 1)),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const struct linger at_once = {.l_onoff = 1}; /* closes with a reset */

    for (int i = 0; i < 20; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), len;
        char body[64];
        snprintf(body, sizeof(body), "{\"external_post_id\":\"left-%d\"}", i);
        len =
            snprintf(request, sizeof(request),
                     "POST " WEBHOOKS "/instagram HTTP/1.1\r\nHost: x\r\n%s\r\nContent-Length: %zu\r\n\r\n%s",
                     world_sign(w, "instagram", NULL, span_of(body))[1], strlen(body), body);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, i % 2 ? sizeof(at_once) : 0);
        assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
        assert_int_equal(send(fd, request, (size_t)len, MSG_NOSIGNAL), len);
        close(fd);
        if (i % 2 == 0) /* what a reset cuts off before it is read is nobody's */
            world_until(20, world_count(w,
                                        "select count(*) from settle.webhook_receipts"
                                        " where external_post_id = 'left-%d'",
                                        i) == 1);
    }
    world_deliver(w, "instagram", NULL, "{\"external_post_id\":\"after\"}");
}

static void test_postgres_down_is_503_and_never_a_4xx(void **state)
{
    struct world *w = *state;
    struct reply r;

    world_kill(w, POSTGRES);
    r = world_post(w, "instagram", NULL, "{\"external_post_id\":\"p1\"}");
    expect_problem(w, &r, 503, "store_unavailable");
    assert_in_range(atoi(reply_header(w, &r, "retry-after")), 5, 60);
    assert_int_equal(post(w, WEBHOOKS "/instagram", NULL, "{}").status,
                     401); /* what needs no store goes on */
    world_servers(w);
    world_until(20, world_post(w, "instagram", NULL, "{\"external_post_id\":\"p1\"}").status == 200);
    /* One of a client that had left may come in late from the test before. */
    assert_int_equal(world_count(w, "select count(*) from settle.webhook_receipts"
                                    " where external_post_id not like 'left-%%'"),
                     1);
}

static struct outcome send_test(struct world *w, const char *platform, const char *url)
{
    return world_wait(
        w, world_spawn(w, "settle-gateway", "send-test", "--platform", platform, "--url", url, NULL));
}

static void test_send_test_sends_for_every_platform(void **state)
{
    struct world *w = *state;
    const char *platforms[] = {"instagram", "tiktok", "youtube"};

    for (size_t i = 0; i < countof(platforms); i++) {
        struct outcome sent;

        world_until(20, (sent = send_test(w, platforms[i], w->ingest_url)).status != 75);
        if (sent.status != 0)
            fail_msg("%s: %d %s", platforms[i], sent.status, sent.err);
        assert_true(world_count(w,
                                "select count(*) from settle.webhook_receipts where platform = '%s'"
                                " and decisive = 1 and external_post_id like 'test-%%'",
                                platforms[i]) >= 1);
    }
    assert_int_equal(world_wait(w, world_spawn(w, "settle-gateway", "send-test", NULL)).status, 64);
    assert_int_equal(send_test(w, "instagram", "http://127.0.0.1:1").status, 69);
    assert_int_equal(world_wait(w, world_spawn(w, "settle-gateway", "check-config", NULL)).status, 0);
    assert_int_equal(world_wait(w, world_spawn(w, "settle-gateway", "--workers", "many", NULL)).status, 78);
    assert_int_equal(world_wait(w, world_spawn(w, "settle-gateway", "no-such-command", NULL)).status, 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_200_stands_in_the_table_with_what_was_read, reset),
        cmocka_unit_test_setup(test_a_duplicate_is_a_success_and_one_row_whether_redis_knows_or_not, reset),
        cmocka_unit_test_setup(test_redis_saves_postgres_the_duplicate_and_is_written_after_the_commit,
                               reset),
        cmocka_unit_test_setup(test_a_hint_from_before_a_restart_of_postgres_counts_for_nothing, reset),
        cmocka_unit_test_setup(test_a_wrong_signature_and_an_unknown_source_look_the_same, reset),
        cmocka_unit_test_setup(test_a_storm_of_wrong_signatures_is_kept_at_a_capped_rate, reset),
        cmocka_unit_test_setup(test_a_source_of_its_own_has_its_own_secret_and_rows, reset),
        cmocka_unit_test_setup(test_what_is_signed_is_stored_whatever_it_holds, reset),
        cmocka_unit_test_setup(test_what_postgres_refuses_is_stored_as_bare_bytes, reset),
        cmocka_unit_test_setup(test_where_and_how_webhooks_are_taken, reset),
        cmocka_unit_test_setup(test_doubtful_framing_ends_the_connection, reset),
        cmocka_unit_test_setup(test_a_head_over_16_kib_is_431, reset),
        cmocka_unit_test_setup(test_a_client_that_does_not_wait_is_stored_all_the_same, reset),
        cmocka_unit_test_setup(test_postgres_down_is_503_and_never_a_4xx, reset),
        cmocka_unit_test_setup(test_send_test_sends_for_every_platform, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
