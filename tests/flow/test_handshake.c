/* What a platform's descriptor says of handshakes, answers and deliveries with several events, through real HTTP. The
 * descriptors are the test's own, in an operator's folder, each with one trait. */
#include "support/world.h"

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <sodium.h>

#define SECRET "the-secret-of-all-sources-here"
#define PUBLIC "https://hooks.example.com"
#define CODE   "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
#define SIGNED                                                                                               \
    "verify: {header: x-sign, algorithm: hmac-sha256, layout: single, encoding: hex, signed: \"{body}\"}\n"
#define PAYLOAD  "payloads: [{when: /post, event_id: [/id], post: /post, status: {at: /status}}]\n"
#define VERDICTS "success: [published]\nfailure: [failed]\n"

/* clang-format off */
static const struct {
    const char *name, *text;
} descriptors[] = {
    {"page", "name: page\n" SIGNED VERDICTS
     "handshakes:\n"
     "  - method: get\n"
     "    query: [{name: hub.mode, is: [subscribe]}]\n"
     "    verify_token: hub.verify_token\n"
     "    value: hub.challenge\n"
     "    answer: echo\n"
     "    refused: 403\n"
     "payloads:\n"
     "  - when: /entry\n"
     "    each: /entry/*\n"
     "    event_id: [/entry/*/id]\n"
     "    post: /entry/*/post\n"
     "    status: {at: /entry/*/status}\n"},
    {"crc", "name: crc\n" SIGNED VERDICTS PAYLOAD
     "handshakes:\n"
     "  - method: get\n"
     "    query: [{name: crc_token}]\n"
     "    value: crc_token\n"
     "    answer: json\n"
     "    json: '{\"response_token\":\"sha256={hmac}\"}'\n"
     "    encoding: base64\n"},
    {"hub", "name: hub\n" SIGNED VERDICTS PAYLOAD
     "answer: {stored: 202, forged: drop}\n"
     "handshakes:\n"
     "  - method: get\n"
     "    query: [{name: hub.mode, is: [subscribe, unsubscribe]}]\n"
     "    topic: hub.topic\n"
     "    value: hub.challenge\n"
     "    answer: echo\n"
     "    refused: 404\n"
     "  - {method: get, query: [{name: hub.mode, is: [denied]}], answer: status, status: 200}\n"
     "subscribe: {hub: https://hub.example.com/, topic: \"https://example.com/{topic}\", lease_s: 1001}\n"},
    {"ping", "name: ping\n" SIGNED VERDICTS PAYLOAD
     "answer: {stored: 204}\n"
     "handshakes:\n"
     "  - {method: post, at: /type, is: [\"1\"], answer: json, json: '{\"type\":1}'}\n"
     "  - {method: post, at: /type, is: [\"0\"], unless: /post, answer: status, status: 204}\n"},
    {"called", "name: called\n" VERDICTS PAYLOAD
     "verify: {header: x-sign, algorithm: hmac-sha256, layout: single, encoding: hex, signed: \"{url}{form}\"}\n"
     "body: [form]\n"},
    {"large", "name: large\n" SIGNED VERDICTS PAYLOAD "max_body_bytes: 200000\n"},
    {"small", "name: small\n" SIGNED VERDICTS PAYLOAD "max_body_bytes: 1000\n"},
};
/* clang-format on */

static void write_file(const char *path, const char *text)
{
    FILE *to = fopen(path, "we");

    assert_non_null(to);
    assert_true(fputs(text, to) >= 0);
    assert_int_equal(fclose(to), 0);
}

static void write_descriptors(const struct world *w)
{
    char path[160];

    snprintf(path, sizeof(path), "%s/platforms", w->dir);
    assert_int_equal(mkdir(path, 0755), 0);
    setenv("SETTLE_PLATFORMS_FOLDER", path, 1);
    for (size_t i = 0; i < countof(descriptors); i++) {
        snprintf(path, sizeof(path), "%s/platforms/%s.yaml", w->dir, descriptors[i].name);
        write_file(path, descriptors[i].text);
    }
}

/* Each test has sources of its own, so that none takes another's tokens. */
static void write_settings(const struct world *w)
{
    static const char *const sources[] = {"page",   "page a", "page b", "page c", "page d", "page e",
                                          "page f", "crc",    "crc b",  "crc c",  "hub",    "hub a",
                                          "hub b",  "hub c",  "ping",   "called", "large",  "small"};
    char path[160], text[8192], *at = text;

    snprintf(path, sizeof(path), "%s/secret", w->dir);
    write_file(path, SECRET "\n");
    snprintf(path, sizeof(path), "%s/token", w->dir);
    write_file(path, "a~verify.token\n");
    at += sprintf(at, "refused: {inserts_per_second: 1000, megabytes_per_source: 1}\n"
                      "ingest: {workers: 1, batch_rows: 4, max_body_bytes: 65536, public_url: \"" PUBLIC
                      "\"}\nsources:\n");
    for (size_t i = 0; i < countof(sources); i++) {
        struct span name = span_of(sources[i]), platform = span_cut(&name, ' ');
        at += sprintf(at, "  - {platform: %.*s, name: %s, secret_file: %s/secret", SPAN_ARG(platform),
                      name.at ? name.at : "default", w->dir);
        if (span_eq(platform, SPAN("page")))
            at += sprintf(at, ", verify_token_file: %s/token", w->dir);
        if (span_eq(platform, SPAN("hub")))
            at += sprintf(at, ", topics: [channel-1]");
        at += sprintf(at, "}\n");
    }
    snprintf(path, sizeof(path), "%s/settings.yaml", w->dir);
    write_file(path, text);
    setenv("SETTLE_CONFIG", path, 1);
}

static int up(void **state)
{
    struct world *w = world_open();

    *state = w;
    write_descriptors(w);
    write_settings(w);
    return world_gateway(w, NULL);
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

static struct reply ask(struct world *w, const char *method, const char *target)
{
    char url[512];

    snprintf(url, sizeof(url), "%s/publishing/webhooks/%s", w->ingest_url, target);
    return world_http(w, method, url, NULL, SPAN_NONE);
}

static void mac(struct span what, uint8_t ret[crypto_auth_hmacsha256_BYTES])
{
    crypto_auth_hmacsha256_state state;

    crypto_auth_hmacsha256_init(&state, (const uint8_t *)SECRET, strlen(SECRET));
    crypto_auth_hmacsha256_update(&state, (const uint8_t *)what.at, what.len);
    crypto_auth_hmacsha256_final(&state, ret);
}

static struct reply post_bytes(struct world *w, const char *target, const char *type,
                               struct span what_is_signed, struct span body)
{
    uint8_t bytes[crypto_auth_hmacsha256_BYTES];
    char to[512], hex[2 * sizeof(bytes) + 1], sign[sizeof(hex) + 16], content[64];
    const char *headers[] = {sign, content, "user-agent: test", NULL};

    mac(what_is_signed, bytes);
    sodium_bin2hex(hex, sizeof(hex), bytes, sizeof(bytes));
    snprintf(sign, sizeof(sign), "x-sign: %s", hex);
    snprintf(content, sizeof(content), "content-type: %s", type);
    snprintf(to, sizeof(to), "%s/publishing/webhooks/%s", w->ingest_url, target);
    return world_http(w, "POST", to, headers, body);
}

static struct reply post(struct world *w, const char *target, const char *body)
{
    return post_bytes(w, target, "application/json", span_of(body), span_of(body));
}

/* Again after a 503: see world_deliver. */
static struct reply deliver(struct world *w, const char *target, const char *body)
{
    struct reply r;

    world_until(20, (r = post(w, target, body)).status != 503);
    return r;
}

static void store(struct world *w, const char *target, const char *body)
{
    assert_int_equal(deliver(w, target, body).status, 200);
}

static struct reply post_forged(struct world *w, const char *target, const char *body)
{
    const char *headers[] = {"x-sign: 0000000000000000000000000000000000000000000000000000000000000000",
                             NULL};
    char to[512];

    snprintf(to, sizeof(to), "%s/publishing/webhooks/%s", w->ingest_url, target);
    return world_http(w, "POST", to, headers, span_of(body));
}

static struct reply post_bare(struct world *w, const char *target, const char *body)
{
    char to[512];

    snprintf(to, sizeof(to), "%s/publishing/webhooks/%s", w->ingest_url, target);
    return world_http(w, "POST", to, NULL, span_of(body));
}

static long rows(struct world *w, const char *table)
{
    return world_count(w, "select count(*) from settle.%s", table);
}

/* Of one platform and word, by all processes. */
static long counted(struct world *w, const char *metric, const char *platform, const char *word)
{
    char url[128], line[256];
    const char *at;

    snprintf(url, sizeof(url), "%s/metrics", w->monitor_url);
    snprintf(line, sizeof(line), "%s{platform=\"%s\",cause=\"%s\"} ", metric, platform, word);
    at = strstr(world_http(w, "GET", url, NULL, SPAN_NONE).body, line);
    return at ? strtol(at + strlen(line), NULL, 10) : 0;
}

static const char *const text = "text/plain; charset=utf-8", *const json = "application/json",
                         *const problem = "application/problem+json";

/* clang-format off */
static const struct {
    const char *why, *method, *target;
    long status;
    const char *type, *body; /* body NULL: a problem's */
} greetings[] = {
    {"a verify token that fits", "GET", "page/a?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=a~verify.token", 200, text, "1158201444"},
    {"escaped as browsers do", "GET", "page/a?hub%2Emode=subscribe&hub.challenge=1&hub.verify_token=a%7Everify.token", 200, text, "1"},
    {"one that does not fit", "GET", "page/a?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=a~verify.tokem", 403, problem, NULL},
    {"none", "GET", "page/a?hub.mode=subscribe&hub.challenge=1158201444", 403, problem, NULL},
    {"another source has no token", "GET", "page/nobody?hub.mode=subscribe&hub.challenge=1&hub.verify_token=a~verify.token", 403, problem, NULL},
    {"a page instead of a challenge", "GET", "page/a?hub.mode=subscribe&hub.challenge=%3Cscript%3E&hub.verify_token=a~verify.token", 400, problem, NULL},
    {"no query at all", "GET", "page/a", 403, problem, NULL},
    {"a topic of ours", "GET", "hub/a?hub.mode=subscribe&hub.topic=https%3A%2F%2Fexample.com%2Fchannel-1&hub.challenge=abc", 200, text, "abc"},
    {"one that nobody asked for", "GET", "hub/a?hub.mode=subscribe&hub.topic=channel-2&hub.challenge=abc", 404, problem, NULL},
    {"a token to sign", "GET", "crc?crc_token=" CODE, 200, json, ""},
    {"an event to sign", "GET", "crc?crc_token=%7B%22id%22%3A1%7D", 400, problem, NULL},
    {"HEAD asks nothing", "HEAD", "page/a?hub.mode=subscribe&hub.challenge=1&hub.verify_token=a~verify.token", 405, problem, ""},
    {"PUT brings nothing", "PUT", "page/a", 405, problem, NULL},
};
/* clang-format on */

static void expect_greetings(struct world *w)
{
    uint8_t bytes[crypto_auth_hmacsha256_BYTES];
    char base64[64], token[128];

    mac(SPAN(CODE), bytes);
    sodium_bin2base64(base64, sizeof(base64), bytes, sizeof(bytes), sodium_base64_VARIANT_ORIGINAL);
    snprintf(token, sizeof(token), "{\"response_token\":\"sha256=%s\"}", base64);
    for (size_t i = 0; i < countof(greetings); i++) {
        struct reply r = ask(w, greetings[i].method, greetings[i].target);
        const char *want = strcmp(greetings[i].type, json) == 0 ? token : greetings[i].body;
        const char *type = reply_header(w, &r, "content-type");
        if (r.status != greetings[i].status || !type || strcmp(type, greetings[i].type) != 0 ||
            (want && strcmp(r.body, want) != 0))
            fail_msg("%s: %ld %s %s", greetings[i].why, r.status, type, r.body);
        if (r.status == 405) {
            assert_string_equal(reply_header(w, &r, "allow"), "GET, POST");
            continue;
        }
        assert_string_equal(reply_header(w, &r, "x-content-type-options"), "nosniff");
        assert_string_equal(reply_header(w, &r, "cache-control"), "no-store");
    }
}

static void test_handshakes_are_answered_and_counted(void **state)
{
    struct world *w = *state;
    long good = counted(w, "settle_webhook_requests_total", "page", "handshake");
    long refused = counted(w, "settle_webhook_requests_total", "page", "handshake_refused");

    expect_greetings(w);
    assert_int_equal(counted(w, "settle_webhook_requests_total", "page", "handshake"), good + 2);
    assert_int_equal(counted(w, "settle_webhook_requests_total", "page", "handshake_refused"), refused + 5);
    assert_int_equal(rows(w, "refused_requests"), 0);
}

static void test_a_handshake_needs_no_store(void **state)
{
    struct world *w = *state;

    world_kill(w, POSTGRES);
    world_kill(w, REDIS);
    assert_int_equal(post(w, "large", "{\"post\":\"lost\"}").status, 503);
    expect_greetings(w);
    world_servers(w);
    world_until(30, post(w, "large", "{\"post\":\"back\"}").status == 200);
}

static void test_where_there_is_no_handshake_there_is_no_get(void **state)
{
    struct world *w = *state;
    struct reply r = ask(w, "GET", "ping?hub.mode=subscribe");

    assert_int_equal(r.status, 405);
    assert_string_equal(reply_header(w, &r, "allow"), "POST");
    assert_int_equal(ask(w, "GET", "nowhere?hub.mode=subscribe").status, 404);
}

#define GREETING    "?hub.mode=subscribe&hub.challenge=1&hub.verify_token=a~verify.token"
#define NO_GREETING "?hub.mode=subscribe&hub.challenge=1&hub.verify_token=a~verify.tokem"

static void test_too_many_refused_handshakes_of_one_source_are_429(void **state)
{
    struct world *w = *state;
    struct reply r;
    char target[128] = "page/nobody" GREETING;
    unsigned nth = 0;

    world_until(30, (r = ask(w, "GET", "page/b" NO_GREETING)).status == 429) assert_int_equal(r.status, 403);
    assert_string_equal(reply_header(w, &r, "content-type"), problem);
    assert_in_range(atoi(reply_header(w, &r, "retry-after")), 5, 60);
    assert_int_equal(ask(w, "GET", "page/c" NO_GREETING).status, 403); /* nobody else's */
    store(w, "page/b", "{\"entry\":[]}");                              /* nor what is to be stored */
    /* Unknown sources cannot have a bucket each: anybody can make up names. */
    world_until(30, ask(w, "GET", target).status == 429)
        snprintf(target, sizeof(target), "page/nobody-%u" GREETING, nth++);
    assert_true(counted(w, "settle_webhook_requests_total", "page", "rate_limited") >= 2);
}

/* A stranger must not lock the platform out. */
static void test_refused_handshakes_cost_a_good_one_nothing(void **state)
{
    struct world *w = *state;

    world_until(30, ask(w, "GET", "page/d" NO_GREETING).status == 429);
    for (unsigned i = 0; i < 150; i++) /* more than any bucket holds */
        assert_int_equal(ask(w, "GET", "page/d" GREETING).status, 200);
    world_until(30, ask(w, "GET", "crc/b?crc_token=%7B").status == 429);
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(ask(w, "GET", "crc/b?crc_token=" CODE).status, 200);
}

/* By a sender that is quicker than it fills again: one connection, no pause between them. */
static void test_what_is_signed_has_a_limit_of_its_own(void **state)
{
    struct world *w = *state;
    char url[256];

    for (unsigned n = 0; n < 100; n++)
        assert_int_equal(ask(w, "GET", "crc/c?crc_token=" CODE).status, 200);
    snprintf(url, sizeof(url), "%s/publishing/webhooks/crc/c?crc_token=" CODE "&n=[1-1000]", w->ingest_url);
    world_until(30, strstr(world_wait(w, world_spawn(w, "curl", "-s", "-o", "answers", "-w", "%{http_code}\n",
                                                     url, NULL))
                               .out,
                           "429\n"));
}

static bool logged(struct world *w, const char *pattern)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/gateway/log", w->dir);
    return world_wait(w, world_spawn(w, "grep", "-Eq", pattern, path, NULL)).status == 0;
}

static long lines(struct world *w, const char *pattern)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/gateway/log", w->dir);
    return strtol(world_wait(w, world_spawn(w, "grep", "-Ec", pattern, path, NULL)).out, NULL, 10);
}

/* Of each kind one line in some seconds: who comes too early for it comes again. */
static void test_the_log_tells_whose_request_was_turned_away(void **state)
{
    struct world *w = *state;

    world_until(30,
                logged(w, "webhook_refused.*\"source\":\"e\",\"outcome\":\"bad_signature\".*\"no_match\""))
        assert_int_equal(post_forged(w, "page/e", "{}").status, 401);
    world_until(30, logged(w, "webhook_refused.*\"page\",\"source\":null,\"outcome\":\"unknown_source\".*"
                              "\"error\":\"no such source\""))
        assert_int_equal(post_forged(w, "page/nobody", "{}").status, 401);
    world_until(30, logged(w, "webhook_refused.*\"source\":null,\"outcome\":\"handshake_refused\".*"
                              "\"error\":\"no such source\"")) ask(w, "GET", "page/nobody" GREETING);
    world_until(30, logged(w, "webhook_refused.*\"source\":\"e\",\"outcome\":\"handshake_refused\".*"
                              "\"error\":\"the verify token is not the source's\""))
        ask(w, "GET", "page/e" NO_GREETING);
}

#define TOPIC "&hub.topic=https%3A%2F%2Fexample.com%2Fchannel-1"

/* The hub's decisions: all that an operator will hear of them. */
static void test_the_log_tells_what_became_of_a_subscription(void **state)
{
    struct world *w = *state;
    char reason[300], target[400];

    assert_int_equal(
        ask(w, "GET", "hub/b?hub.mode=subscribe&hub.challenge=1&hub.lease_seconds=501" TOPIC).status, 200);
    assert_true(logged(w, "\"subscription_confirmed\".*\"platform\":\"hub\",\"source\":\"b\","
                          "\"topic\":\"channel-1\",\"lease_s\":501}"));
    assert_int_equal(ask(w, "GET", "hub/b?hub.mode=subscribe&hub.challenge=1" TOPIC).status, 200);
    assert_true(logged(w, "\"subscription_confirmed\".*\"topic\":\"channel-1\",\"lease_s\":null}"));
    assert_false(logged(w, "subscription_lease_short")); /* half of 1001 is less */
    assert_int_equal(
        ask(w, "GET", "hub/b?hub.mode=subscribe&hub.challenge=1&hub.lease_seconds=500" TOPIC).status, 200);
    assert_true(logged(w, "\"warn\".*\"subscription_lease_short\".*\"source\":\"b\",\"topic\":\"channel-1\","
                          "\"lease_s\":500,\"asked_s\":1001,.*subscribe.lease_s"));
    assert_int_equal(ask(w, "GET", "hub/b?hub.mode=subscribe&hub.challenge=1&hub.topic=other").status, 404);
    assert_int_equal(ask(w, "GET", "hub/nobody?hub.mode=denied" TOPIC).status, 400);
    assert_false(logged(w, "subscription_denied"));
    assert_int_equal(ask(w, "GET", "hub/b?hub.mode=denied&hub.reason=not%0a%1b+you" TOPIC).status, 200);
    assert_true(logged(w, "\"warn\".*\"subscription_denied\".*\"platform\":\"hub\",\"source\":\"b\","
                          "\"topic\":\"channel-1\",\"reason\":\"not\\?\\? you\"}"));
    memset(reason, 'x', sizeof(reason) - 1);
    reason[sizeof(reason) - 1] = '\0';
    snprintf(target, sizeof(target), "hub/b?hub.mode=denied&hub.topic=other&hub.reason=%s", reason);
    assert_int_equal(ask(w, "GET", target).status, 200);
    assert_true(logged(w, "\"subscription_denied\".*\"topic\":null,\"reason\":\"x{200}\"}"));
    /* Good ones are answered however many come, but told of twenty times at once. */
    for (unsigned i = 0; i < 60; i++)
        assert_int_equal(ask(w, "GET", "hub/c?hub.mode=subscribe&hub.challenge=1" TOPIC).status, 200);
    assert_in_range(lines(w, "\"subscription_confirmed\".*\"source\":\"c\""), 20, 40);
}

/* What scanners send must not keep us from keeping what a wrong secret of ours has refused. */
static void test_rubbish_leaves_room_for_what_may_be_our_fault(void **state)
{
    enum { BYTES = 60000 }; /* of 1 MiB, of which a quarter may be rubbish */
    static char body[BYTES + 1];
    struct world *w = *state;

    memset(body, 'x', BYTES);
    for (unsigned i = 0; i < 40; i++)
        assert_int_equal(post_bare(w, "page/f", body).status, 401);
    assert_int_equal(post_forged(w, "page/f", body).status, 401);
    world_until(10,
                world_count(w, "select count(*) from settle.refused_requests where cause = 'no_match'") == 1);
    assert_int_equal(
        world_count(w, "select count(*) from settle.refused_requests where cause = 'header_missing'"), 4);
    for (unsigned i = 0; i < 40; i++)
        assert_int_equal(post_forged(w, "page/f", body).status, 401);
    world_until(10, world_count(w, "select count(*) from settle.refused_requests where cause = 'no_match'") ==
                        13);
}

static void test_a_signed_handshake_stores_nothing(void **state)
{
    struct world *w = *state;
    struct reply r = post(w, "ping", "{\"type\":1,\"post\":\"p1\"}");

    assert_int_equal(r.status, 200);
    assert_string_equal(r.body, "{\"type\":1}");
    assert_string_equal(reply_header(w, &r, "content-type"), json);
    assert_string_equal(reply_header(w, &r, "x-content-type-options"), "nosniff");
    r = post(w, "ping", "{\"type\":0}");
    assert_int_equal(r.status, 204);
    assert_string_equal(r.body, "");
    assert_null(reply_header(w, &r, "content-length"));
    assert_null(reply_header(w, &r, "transfer-encoding"));
    assert_int_equal(rows(w, "webhook_receipts"), 0);
    r = deliver(
        w, "ping",
        "{\"type\":0,\"post\":\"p1\",\"status\":\"published\"}"); /* an event, stored as the rule says */
    assert_int_equal(r.status, 204);
    assert_string_equal(r.body, "");
    assert_string_equal(world_sql(w, "select external_post_id, decisive from settle.webhook_receipts"),
                        "p1|1");
    assert_int_equal(rows(w, "refused_requests"), 0);
}

static void test_an_unsigned_handshake_is_401(void **state)
{
    struct world *w = *state;
    long before = counted(w, "settle_signature_refusals_total", "ping", "no_match");

    assert_int_equal(post_forged(w, "ping", "{\"type\":1}").status, 401);
    assert_int_equal(counted(w, "settle_signature_refusals_total", "ping", "no_match"), before + 1);
    assert_int_equal(ask(w, "POST", "ping").status, 401);
    assert_true(counted(w, "settle_signature_refusals_total", "ping", "header_missing") >= 1);
    world_until(10, rows(w, "refused_requests") == 2);
    assert_int_equal(rows(w, "webhook_receipts"), 0);
}

/* WebSub: who forges learns nothing, and a hub that signs wrongly does not end the subscription. */
static void test_what_is_dropped_looks_like_what_is_stored(void **state)
{
    struct world *w = *state;
    long dropped = counted(w, "settle_webhook_requests_total", "hub", "dropped");
    struct reply stored = deliver(w, "hub", "{\"post\":\"p1\"}"), forged, nobody;

    forged = post_forged(w, "hub", "{\"post\":\"p2\"}");
    nobody = post_forged(w, "hub/nobody", "{\"post\":\"p3\"}");
    assert_int_equal(stored.status, 202);
    assert_int_equal(forged.status, 202);
    assert_int_equal(nobody.status, 202);
    assert_string_equal(stored.body, forged.body);
    assert_string_equal(stored.body, nobody.body);
    assert_string_equal(reply_header(w, &forged, "content-type"), json);
    assert_int_equal(counted(w, "settle_webhook_requests_total", "hub", "dropped"), dropped + 2);
    assert_string_equal(world_sql(w, "select external_post_id from settle.webhook_receipts"), "p1");
    world_until(10, rows(w, "refused_requests") == 1);
    assert_string_equal(world_sql(w, "select cause, convert_from(body, 'UTF8') from settle.refused_requests"),
                        "no_match|{\"post\":\"p2\"}");
}

#define ENTRY(id) "{\"id\":\"" id "\",\"post\":\"post-" id "\",\"status\":\"published\"}"

static void test_several_events_are_several_receipts_and_one_body(void **state)
{
    struct world *w = *state;
    const char *body = "{\"entry\":[" ENTRY("1") "," ENTRY("2") "," ENTRY("3") "]}", *id;
    struct reply r;

    for (int i = 0; i < 3; i++) {
        store(w, "page", body);
        if (i == 1)
            world_redis(w, "flushall", NULL); /* Postgres is asked again */
    }
    assert_int_equal(rows(w, "webhook_deliveries"), 1);
    assert_string_equal(
        world_sql(w,
                  "select r.external_post_id, r.decisive, r.body is null and r.headers is null,"
                  "       convert_from(d.body, 'UTF8') = '%s',"
                  "       convert_from(d.headers, 'UTF8') ~ 'x-sign: [0-9a-f]{64}\n',"
                  "       d.received_at = r.received_at and d.platform = r.platform"
                  " from settle.webhook_receipts r"
                  " join settle.webhook_deliveries d on (d.id, d.source) = (r.delivery_id, r.source)"
                  " order by 1",
                  body),
        "post-1|1|t|t|t|t\npost-2|1|t|t|t|t\npost-3|1|t|t|t|t");
    id = world_sql(
        w, "select encode(dedup_key, 'hex') from settle.webhook_receipts where external_post_id = 'post-2'");
    r = world_api(w, "GET", "/publishing/receipts", NULL);
    assert_int_equal(json_array_size(json_object_get(r.json, "items")), 3);
    {
        char path[128];
        snprintf(path, sizeof(path), "/publishing/receipts/%s", id);
        r = world_api(w, "GET", path, NULL);
    }
    assert_string_equal(json_string_value(json_object_get(r.json, "body_text")), body);
    assert_non_null(strstr(json_string_value(json_object_get(r.json, "headers_text")), "x-sign: "));
}

static void test_a_delivery_is_kept_for_what_is_new_in_it(void **state)
{
    struct world *w = *state;

    store(w, "page", "{\"entry\":[" ENTRY("1") "," ENTRY("2") "]}");
    store(w, "page", "{\"entry\":[" ENTRY("2") "," ENTRY("3") "]}");
    store(w, "page", "{\"entry\":[" ENTRY("3") "," ENTRY("1") "]}");
    assert_int_equal(rows(w, "webhook_receipts"), 3);
    assert_int_equal(rows(w, "webhook_deliveries"), 2);
    store(w, "page", "{\"entry\":[" ENTRY("4") "]}"); /* one event: in its row */
    assert_string_equal(world_sql(w, "select convert_from(body, 'UTF8') from settle.webhook_receipts"
                                     " where external_post_id = 'post-4'"),
                        "{\"entry\":[" ENTRY("4") "]}");
    assert_int_equal(rows(w, "webhook_deliveries"), 2);
}

/* Four receipts go in one statement here, but those of a delivery go together. */
static void test_a_delivery_of_many_receipts_has_one_body(void **state)
{
    struct world *w = *state;
    char body[8192] = "{\"entry\":[";
    size_t len = strlen(body);

    for (int i = 0; i < 50; i++)
        len += (size_t)sprintf(body + len, "%s{\"id\":\"%d\",\"post\":\"post-%d\",\"status\":\"published\"}",
                               i > 0 ? "," : "", i, i);
    memcpy(body + len, "]}", 3);
    for (int i = 0; i < 2; i++)
        store(w, "page", body);
    assert_int_equal(rows(w, "webhook_receipts"), 50);
    assert_int_equal(
        world_count(w,
                    "select count(*) from settle.webhook_deliveries where convert_from(body, 'UTF8') = '%s'",
                    body),
        1);
    assert_int_equal(rows(w, "webhook_deliveries"), 1);
}

/* The sender signs what it called, which no proxy's Host can be trusted to say. */
static void test_a_signed_url_is_the_public_one_with_the_target_as_it_came(void **state)
{
    struct world *w = *state;
    const char *form = "application/x-www-form-urlencoded";
    const struct span called = SPAN(PUBLIC "/publishing/webhooks/called?a=%41&b="
                                           "postp1");
    struct reply r;

    world_until(20, (r = post_bytes(w, "called?a=%41&b=", form, called, SPAN("post=p1"))).status != 503);
    assert_int_equal(r.status, 200);
    assert_int_equal(post_bytes(w, "called?a=A&b=", form, called, SPAN("post=p1")).status, 401);
    assert_string_equal(
        world_sql(w,
                  "select split_part(convert_from(headers, 'UTF8'), E'\\n', 1) from settle.webhook_receipts"),
        ":url: " PUBLIC "/publishing/webhooks/called?a=%41&b=");
    world_until(10, rows(w, "refused_requests") == 1);
    assert_string_equal(
        world_sql(w,
                  "select split_part(convert_from(headers, 'UTF8'), E'\\n', 1) from settle.refused_requests"),
        ":url: " PUBLIC "/publishing/webhooks/called?a=A&b=");
}

static const struct {
    const char *why, *platform;
    size_t bytes;
    long status; /* of 413: or none, where the connection ends before all of the body is sent */
} sizes[] = {
    {"the global cap",             "page",  65536,  200},
    {"one byte more",              "page",  65537,  413},
    {"a higher one",               "large", 200000, 200},
    {"one byte more than that",    "large", 200001, 413},
    {"a lower one",                "small", 1000,   200},
    {"one byte more than a lower", "small", 1001,   413},
};

static void test_a_platform_has_a_body_cap_of_its_own(void **state)
{
    static char body[200001];
    struct world *w = *state;
    long stored = 0;

    memset(body, ' ', sizeof(body));
    memcpy(body, "{\"post\":\"p1\"}", 13);
    for (size_t i = 0; i < countof(sizes); i++) {
        const struct span b = {body, sizes[i].bytes};
        struct reply r;

        world_until(20, (r = post_bytes(w, sizes[i].platform, "application/json", b, b)).status != 503);
        if (r.status != sizes[i].status && !(r.status == 0 && sizes[i].status == 413))
            fail_msg("%s: %ld %s", sizes[i].why, r.status, r.body);
        stored += r.status == 200;
        assert_int_equal(rows(w, "webhook_receipts"), stored);
    }
    /* So many of the global cap would fit into memory, but not of the highest. */
    setenv("SETTLE_INGEST_MAX_CONNECTIONS", "43000", 1);
    assert_int_equal(world_wait(w, world_spawn(w, "settle-gateway", "check-config", NULL)).status, 78);
    setenv("SETTLE_INGEST_MAX_CONNECTIONS", "42900", 1);
    assert_int_equal(world_wait(w, world_spawn(w, "settle-gateway", "check-config", NULL)).status, 0);
    unsetenv("SETTLE_INGEST_MAX_CONNECTIONS");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_handshakes_are_answered_and_counted, reset),
        cmocka_unit_test_setup(test_a_handshake_needs_no_store, reset),
        cmocka_unit_test_setup(test_where_there_is_no_handshake_there_is_no_get, reset),
        cmocka_unit_test_setup(test_too_many_refused_handshakes_of_one_source_are_429, reset),
        cmocka_unit_test_setup(test_refused_handshakes_cost_a_good_one_nothing, reset),
        cmocka_unit_test_setup(test_what_is_signed_has_a_limit_of_its_own, reset),
        cmocka_unit_test_setup(test_the_log_tells_whose_request_was_turned_away, reset),
        cmocka_unit_test_setup(test_the_log_tells_what_became_of_a_subscription, reset),
        cmocka_unit_test_setup(test_rubbish_leaves_room_for_what_may_be_our_fault, reset),
        cmocka_unit_test_setup(test_a_signed_handshake_stores_nothing, reset),
        cmocka_unit_test_setup(test_an_unsigned_handshake_is_401, reset),
        cmocka_unit_test_setup(test_what_is_dropped_looks_like_what_is_stored, reset),
        cmocka_unit_test_setup(test_several_events_are_several_receipts_and_one_body, reset),
        cmocka_unit_test_setup(test_a_delivery_is_kept_for_what_is_new_in_it, reset),
        cmocka_unit_test_setup(test_a_delivery_of_many_receipts_has_one_body, reset),
        cmocka_unit_test_setup(test_a_signed_url_is_the_public_one_with_the_target_as_it_came, reset),
        cmocka_unit_test_setup(test_a_platform_has_a_body_cap_of_its_own, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
