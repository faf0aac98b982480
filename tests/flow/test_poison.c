/* Bodies that no table of texts, no parser and no view of JSON can hold, each with a signature that holds: taken, kept byte
 * for byte, and no matter of their neighbours'. */
#include "support/world.h"

#include "base/arena.h"
#include "wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include <sodium.h>

enum {
    CONNECTIONS = 2, /* of the worker to Postgres */
    DEPTH = 100000,
    WHOLE = 1048576, /* ingest.max_body_bytes */
    MUTATIONS_MAX = 4,
    GENERATED_MAX = 1024,
    NGENERATED = 1000,
    NGENERATED_LONG = 10000,
    GOOD_EVERY = 10,
    SENT_MAX = 2 * NGENERATED_LONG,
    HEX_BYTES = 2 * crypto_hash_sha256_BYTES + 1,
};

static struct arena *arena;
static char folder[128];               /* the spool's */
static char sent[SENT_MAX][HEX_BYTES]; /* of each body the digest */
static size_t nsent, ngood;
static uint64_t random_state;

static int up(void **state)
{
    const char *seed = getenv("SETTLE_TEST_SEED");
    struct world *w = world_open();

    *state = w;
    arena = arena_open(1 << 20);
    random_state = seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL);
    print_message("SETTLE_TEST_SEED=%llu\n", (unsigned long long)random_state);
    snprintf(folder, sizeof(folder), "%s/spool", w->dir);
    setenv("SETTLE_UNSAFE_OK", "true", 1);                 /* the tests' folder may lie on anything */
    setenv("SETTLE_ADMIN_ENABLED", "false", 1);            /* so that all connections are the worker's */
    setenv("SETTLE_INGEST_COMMIT_TIMEOUT_MS", "20000", 1); /* Postgres is stopped while they gather */
    setenv("SETTLE_SPOOL_FOLDER", folder, 1);
    setenv("SETTLE_SPOOL_AFTER_MS", "20000",
           1); /* on a slow machine that takes longer than any sender waits */
    return mkdir(folder, 0700);
}

static int reset(void **state)
{
    struct world *w = *state;

    if (w->gateway)
        world_kill(w, GATEWAY);
    world_servers(w);
    world_reset(w);
    arena_reset(arena);
    nsent = ngood = 0;
    return 0;
}

static int down(void **state)
{
    arena_close(arena);
    world_close(*state);
    return 0;
}

/* Bodies. */

#define BYTES(literal)                                                                                       \
    {                                                                                                        \
        literal, sizeof(literal) - 1                                                                         \
    }

struct poison {
    const char *platform;
    struct span body;
};

static const struct poison poisons[] = {
    {"instagram", BYTES("")                                                                     },
    {"instagram", BYTES("\0")                                                                   },
    {"instagram", BYTES("\0{\"external_post_id\":\"n\"}\0")                                     },
    {"instagram", BYTES("{\"external_post_id\":\"a\0b\"}")                                      },
    {"instagram", BYTES("{\"external_post_id\":\"a\\u0000b\",\"status\":\"failed\"}")           },
    {"instagram", BYTES("{\"external_post_id\":\"nul-status\",\"status\":\"\\u0000\"}")         },
    {"instagram", BYTES("{\"external_post_id\":\"nul-field\",\"a\\u0000\":1}")                  },
    {"instagram", BYTES("{\"external_post_id\":\"\\ud800\"}")                                   },
    {"instagram", BYTES("{\"external_post_id\":\"s\",\"media_url\":\"\\udc00\"}")               },
    {"instagram", BYTES("{\"external_post_id\":\"\\udc00\\ud800\"}")                            },
    {"instagram", BYTES("{\"external_post_id\":\"\xed\xa0\x80\"}")                              },
    {"instagram", BYTES("{\"external_post_id\":\"\xff\xfe\"}")                                  },
    {"instagram", BYTES("{\"external_post_id\":\"\xe2\x82\"}")                                  },
    {"instagram", BYTES("{\"external_post_id\":\"\xc0\xaf\"}")                                  },
    {"instagram", BYTES("{\"external_post_id\":\"\xf4\x90\x80\x80\"}")                          },
    {"instagram", BYTES("{\"external_post_id\":\"one\",\"external_post_id\":\"two\"}")          },
    {"instagram", BYTES("{\"status\":\"failed\",\"st\\u0061tus\":\"published\"}")               },
    {"instagram", BYTES("{\"external_post_id\":1e99999,\"timestamp\":-1e99999}")                },
    {"instagram", BYTES("{\"external_post_id\":\"t\",\"timestamp\":\"999999-99-99T99:99:99Z\"}")},
    {"instagram", BYTES("\xef\xbb\xbf{\"external_post_id\":\"bom\"}")                           },
    {"instagram", BYTES("\xff\xfe{\0}\0")                                                       },
    {"tiktok",    BYTES("{\"external_post_id\":\"a\\u0000b\",\"complete\":true}")               },
    {"youtube",   BYTES("{\"external_post_id\":\"a\\u0000b\",\"videoId\":\"\\ud800\"}")         },
    {"youtube",   BYTES("<feed xmlns=\"http://www.w3.org/2005/Atom\"><entry>\0")                },
};

enum { LARGE = 2, NPOISONS = countof(poisons) + LARGE };

static char *filled(char with, size_t n)
{
    char *text = arena_alloc(arena, n + 1);

    memset(text, with, n);
    text[n] = '\0';
    return text;
}

/* Those of the table, then the two that are too large for one. */
static struct poison poison(size_t i)
{
    const char *pad = "{\"external_post_id\":\"huge\",\"pad\":\"\"}";

    if (i < countof(poisons))
        return poisons[i];
    if (i == countof(poisons))
        return (struct poison){"instagram", span_of(filled('[', DEPTH))};
    return (struct poison){"instagram", span_of(arena_print(arena, "%.*s%s\"}", (int)strlen(pad) - 2, pad,
                                                            filled('x', WHOLE - strlen(pad))))};
}

static uint64_t random_below(uint64_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % n;
}

static const struct span pieces[] = {
    BYTES("\\u0000"),
    BYTES("\0"),
    BYTES("\\ud83d"),
    BYTES("\\udc00"),
    BYTES("\xff"),
    BYTES("\xc3"),
    BYTES("\xed\xbf\xbf"),
    BYTES("\""),
    BYTES("\\"),
    BYTES("{"),
    BYTES("}"),
    BYTES("[[[["),
    BYTES("]"),
    BYTES(","),
    BYTES(":"),
    BYTES("null"),
    BYTES("1e999"),
    BYTES("\x01\x1f\x7f"),
    BYTES("\\u00e"),
    BYTES("\r\n\t\v"),
    BYTES("-"),
    BYTES("\"status\":0,"),
    BYTES("\xc2\x85"),
    BYTES("'; --"),
};

/* Good JSON with pieces put in, bytes changed, or its end cut off. */
static struct span generated(unsigned nth)
{
    char *text = arena_alloc(arena, GENERATED_MAX);
    size_t len =
        (size_t)snprintf(text, GENERATED_MAX,
                         "{\"external_post_id\":\"gen-%u\",\"status\":\"%s\","
                         "\"media_url\":\"https://i.example/%u\",\"timestamp\":\"2026-01-15T10:45:00Z\"}",
                         nth, random_below(2) ? "published" : "failed", nth);

    for (size_t n = 1 + random_below(MUTATIONS_MAX); n > 0; n--) {
        struct span piece = pieces[random_below(countof(pieces))];
        size_t at = random_below(len), kind = random_below(8);
        if (kind == 0) {
            text[at] = (char)random_below(256);
        } else if (kind == 1) {
            len -= random_below(len / 8);
        } else {
            memmove(text + at + piece.len, text + at, len - at);
            memcpy(text + at, piece.at, piece.len);
            len += piece.len;
        }
    }
    return (struct span){text, len};
}

/* Sent and kept. */

static void note(struct span body)
{
    uint8_t digest[crypto_hash_sha256_BYTES];

    assert_true(nsent < SENT_MAX);
    crypto_hash_sha256(digest, (const uint8_t *)body.at, body.len);
    sodium_bin2hex(sent[nsent++], HEX_BYTES, digest, sizeof(digest));
}

static struct span good(void)
{
    return span_of(
        arena_print(arena, "{\"external_post_id\":\"good-%zu\",\"status\":\"published\"}", ngood++));
}

static void post(struct world *w, const char *platform, struct span body, const char *where)
{
    char url[128];
    struct reply r;
    const char *told;

    snprintf(url, sizeof(url), "%s/publishing/webhooks/%s", w->ingest_url, platform);
    r = world_http(w, "POST", url, world_sign(w, platform, NULL, body), body);
    told = reply_header(w, &r, "x-settle-stored");
    if (r.status != 200 || !told || strcmp(told, where) != 0)
        fail_msg("%ld %s for the body %.*s", r.status, told ? told : "", SPAN_ARG(body));
    note(body);
}

static void post_all(struct world *w, const char *where)
{
    unsigned ngenerated = getenv("SETTLE_TEST_LONG") ? NGENERATED_LONG : NGENERATED; /* of ops/test --long */

    for (size_t i = 0; i < NPOISONS; i++) {
        post(w, poison(i).platform, poison(i).body, where);
        post(w, "instagram", good(), where);
    }
    for (unsigned i = 0; i < ngenerated; i++) {
        post(w, "instagram", generated(i), where);
        if (i % GOOD_EVERY == 0)
            post(w, "instagram", good(), where);
    }
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Of each body that was sent the very bytes, and no others; of each good one its event. */
static void expect_all_kept(struct world *w)
{
    const char *kept =
        world_sql(w, "select distinct encode(sha256(body), 'hex') collate \"C\" from"
                     " (select body from settle.webhook_receipts where body is not null"
                     "  union all select body from settle.webhook_deliveries) as bodies order by 1");

    qsort(sent, nsent, sizeof(sent[0]), by_text);
    for (size_t i = 0; i < nsent; i++) {
        if (i > 0 && strcmp(sent[i], sent[i - 1]) == 0)
            continue;
        if (strncmp(kept, sent[i], HEX_BYTES - 1) != 0)
            fail_msg("the body of digest %s was sent, and %.64s comes next in the table", sent[i], kept);
        kept += HEX_BYTES - 1;
        kept += *kept == '\n';
    }
    assert_string_equal(kept, "");
    assert_int_equal(world_count(w, "select count(*) from settle.webhook_receipts"
                                    " where external_post_id ~ '^good-[0-9]+$' and decisive = 1"
                                    " and parse_error is null"),
                     ngood);
}

static long flights(struct world *w, const char *result)
{
    char series[64];

    snprintf(series, sizeof(series), "settle_batches_total{result=\"%s\"}", result);
    return (long)world_metric(w, series);
}

/* Postgres refused none: so none had its flight sent again in halves, with its neighbours waiting. */
static void expect_none_was_split(struct world *w)
{
    assert_int_equal(flights(w, "split"), 0);
}

/* Stories. */

static void send_on(struct wire *wire, struct world *w, const char *platform, struct span body)
{
    const char *const *headers = world_sign(w, platform, NULL, body);
    const char *head = arena_print(arena,
                                   "POST /publishing/webhooks/%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                                   "%s\r\n%s\r\nContent-Length: %zu\r\n\r\n",
                                   platform, headers[0], headers[1], body.len);
    size_t len = strlen(head);
    char *request = arena_alloc(arena, len + body.len + 1);

    memcpy(request, head, len);
    if (body.len > 0)
        memcpy(request + len, body.at, body.len);
    wire_open(wire, w->ingest_url, (struct span){request, len + body.len});
    note(body);
}

static bool are_waiting(struct world *w, struct wire *const *wires, size_t n)
{
    wire_look(wires, n, 0);
    return world_metric(w, "settle_queue_waiting_deliveries") == (double)n;
}

/* While Postgres stands still, each connection to it has a good one under way, and all others gather behind: half of them
 * poison. They go with the next statement, one for all. */
static void test_poison_and_good_ones_are_stored_by_one_statement(void **state)
{
    enum { N = CONNECTIONS + 2 * NPOISONS };
    struct world *w = *state;
    struct wire *wires[N];

    world_gateway(w, NULL);
    world_until(20, world_metric(w, "settle_store_up{store=\"postgres\"}") >= CONNECTIONS);
    world_freeze(w, POSTGRES);
    for (size_t i = 0; i < N; i++) {
        wires[i] = arena_zero(arena, sizeof(**wires));
        if (i < CONNECTIONS || i % 2 == 0)
            send_on(wires[i], w, "instagram", good());
        else
            send_on(wires[i], w, poison((i - CONNECTIONS) / 2).platform, poison((i - CONNECTIONS) / 2).body);
        if (i < CONNECTIONS || i == N - 1)
            world_until(20, are_waiting(w, wires, i + 1));
    }
    world_thaw(w, POSTGRES);
    assert_int_equal(wire_run(wires, N, 30), 0);
    for (size_t i = 0; i < N; i++) {
        int statuses[WIRE_ANSWERS_MAX] = {0};
        assert_int_equal(wire_answers(wires[i], statuses), 1);
        assert_int_equal(statuses[0], 200);
        wire_close(wires[i]);
    }
    expect_none_was_split(w);
    assert_in_range(flights(w, "stored"), 2, CONNECTIONS + 1);
    assert_int_equal(flights(w, "failed"), 0);
    expect_all_kept(w);
}

static void test_a_corpus_is_kept_byte_for_byte(void **state)
{
    struct world *w = *state;

    world_gateway(w, NULL);
    world_until(20, world_metric(w, "settle_store_up{store=\"postgres\"}") >= CONNECTIONS);
    post_all(w, "db");
    expect_none_was_split(w);
    expect_all_kept(w);
}

static void test_a_corpus_goes_through_the_spool_byte_for_byte(void **state)
{
    struct world *w = *state;

    world_gateway(w, NULL);
    world_kill(w, POSTGRES);
    world_until(20, world_metric(w, "settle_store_up{store=\"postgres\"}") == 0);
    post_all(w, "spool");
    world_servers(w);
    world_until(60, world_is_drained(w));
    expect_none_was_split(w);
    expect_all_kept(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_poison_and_good_ones_are_stored_by_one_statement, reset),
        cmocka_unit_test_setup(test_a_corpus_is_kept_byte_for_byte, reset),
        cmocka_unit_test_setup(test_a_corpus_goes_through_the_spool_byte_for_byte, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
