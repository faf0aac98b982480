#include "support/test.h"

#include "answer.h"
#include "base/arena.h"
#include "base/config.h"
#include "ingest.h"

#include <stdio.h>

static const struct {
    const char *why, *path, *platform, *source; /* platform NULL: not a webhook's path */
} paths[] = {
    {"a platform",                      "/publishing/webhooks/tiktok",        "tiktok",   "default" },
    {"a platform and a source",         "/publishing/webhooks/tiktok/shop-2", "tiktok",   "shop-2"  },
    {"an empty source",                 "/publishing/webhooks/tiktok/",       NULL,       NULL      },
    {"an empty platform",               "/publishing/webhooks/",              NULL,       NULL      },
    {"an empty platform with a source", "/publishing/webhooks//a",            NULL,       NULL      },
    {"too long a path",                 "/publishing/webhooks/tiktok/a/b",    NULL,       NULL      },
    {"a slash behind the source",       "/publishing/webhooks/tiktok/a/",     NULL,       NULL      },
    {"without the prefix",              "/webhooks/tiktok",                   NULL,       NULL      },
    {"a longer prefix",                 "/publishing/webhooksx/tiktok",       NULL,       NULL      },
    {"dots are names like any other",   "/publishing/webhooks/../webhooks",   "..",       "webhooks"},
    {"escapes are not undone",          "/publishing/webhooks/tik%74ok",      "tik%74ok", "default" },
    {"nothing",                         "",                                   NULL,       NULL      },
};

static void test_a_path_names_platform_and_source(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(paths); i++) {
        struct span platform, source;
        bool is_path = ingest_read_path(span_of(paths[i].path), &platform, &source);
        if (is_path != (paths[i].platform != NULL))
            fail_msg("%s", paths[i].why);
        if (is_path &&
            (!span_eq(platform, span_of(paths[i].platform)) || !span_eq(source, span_of(paths[i].source))))
            fail_msg("%s", paths[i].why);
    }
}

static const struct {
    const char *why;
    struct err err;
    int code;
    bool may_retry;
} answers[] = {
    {"a wrong signature",                   {.code = FORGED, .cause = "bad_signature"},        401, false},
    {"a signature without a cause",         {.code = FORGED},                                  401, false},
    {"no such platform",                    {.code = INVALID, .cause = "unknown_platform"},    404, false},
    {"a signature too old",                 {.code = FORGED, .cause = "too_old"},              401, false},
    {"a clock that may be wrong",           {.code = UNAVAILABLE, .cause = "clock_suspect"},   503, true },
    {"a handshake too many",                {.code = BUSY, .cause = "rate_limited"},           429, true },
    {"a request beyond the source's share", {.code = BUSY, .cause = "over_share"},             429, true },
    {"a handshake without a value",         {.code = INVALID, .cause = "handshake_malformed"}, 400, false},
    {"a handshake of somebody else",        {.code = INVALID, .cause = "handshake_refused"},   403, false},
    {"a topic not asked for",               {.code = INVALID, .cause = "handshake_unknown"},   404, false},
    {"another method",                      {.code = INVALID, .cause = "method_not_allowed"},  405, false},
    {"too large a body",                    {.code = INVALID, .cause = "too_large"},           413, false},
    {"two lengths",                         {.code = INVALID, .cause = "malformed_framing"},   400, false},
    {"16 KiB of headers",                   {.code = INVALID, .cause = "head_too_large"},      431, false},
    {"a full queue",                        {.code = BUSY},                                    503, true },
    {"no store",                            {.code = UNAVAILABLE},                             503, true },
    {"a deadlock twice",                    {.code = UNAVAILABLE, .sqlstate = "40P01"},        503, true },
    {"our own bug is never a 4xx",          {.code = BROKEN},                                  503, true },
    {"nor is what the store refuses",       {.code = REJECTED, .sqlstate = "22P05"},           503, true },
    {"a cause the table does not know",     {.code = BROKEN, .cause = "no such cause"},        503, true },
};

static void test_each_failure_has_its_answer(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(answers); i++) {
        const struct answer_kind *kind = answer_kind_of(&answers[i].err);
        if (kind->code != answers[i].code || kind->may_retry != answers[i].may_retry)
            fail_msg("%s: %d", answers[i].why, kind->code);
        if (strcmp(answer_reason(kind->code), "Unknown") == 0)
            fail_msg("%d has no reason", kind->code);
    }
}

/* What is kept of a request decides whether it can be verified once more. */

static struct field extras[] = {
    {.name = {"topic", 5}, .header = {"x-topic", 7}}
};
static struct payload payloads[] = {
    {.extras = extras, .nextras = 1}
};
static struct handshake handshakes[] = {{.header = {"x-kind", 6}}};
static const struct platform platform = {
    .scheme = {.header = {"x-sign", 6}, .time_header = {"x-time", 6}, .id_header = {"x-id", 4}},
    .payloads = payloads,
    .npayloads = 1,
    .handshakes = handshakes,
    .nhandshakes = 1,
};

static const struct {
    const char *why, *url;
    struct header headers[4];
    size_t n;
    const char *kept;
} keepings[] = {
    {"all of a scheme",
     NULL,                             {{{"x-sign", 6}, {"s", 1}}, {{"x-time", 6}, {"1", 1}}, {{"x-id", 4}, {"i", 1}}},
     3,                                                                                                                                 "x-sign: s\nx-time: 1\nx-id: i\n" },
    {"one that came twice",
     NULL,                             {{{"x-sign", 6}, {"a", 1}}, {{"accept", 6}, {"b", 1}}, {{"x-sign", 6}, {"c", 1}}},
     3,                                                                                                                                 "x-sign: a\nx-sign: c\n"          },
    {"extras and handshakes",
     NULL,                             {{{"x-topic", 7}, {"t", 1}}, {{"x-kind", 6}, {"k", 1}}},
     2,                                                                                                                                 "x-topic: t\nx-kind: k\n"         },
    {"what tells senders apart",
     NULL,                             {{{"user-agent", 10}, {"u", 1}}, {{"cookie", 6}, {"c", 1}}, {{"content-type", 12}, {"", 0}}},
     3,                                                                                                                                 "user-agent: u\ncontent-type: \n" },
    {"the URL, before all",
     "https://a/b?c",                  {{{"x-sign", 6}, {"s", 1}}},
     1,                                                                                                                                 ":url: https://a/b?c\nx-sign: s\n"},
    {"nothing",                  NULL, {{{"", 0}, {"", 0}}},                                                                         0, ""                                },
};

static void test_what_a_signature_rests_on_is_kept(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(keepings); i++) {
        struct delivery d = {.arena = arena_open(1024), .platform = &platform};
        d.request = (struct request){
            .headers = keepings[i].headers, .nheaders = keepings[i].n, .url = span_of(keepings[i].url)};
        delivery_keep_headers(&d);
        if (!span_eq(d.headers, span_of(keepings[i].kept)))
            fail_msg("%s: %.*s", keepings[i].why, SPAN_ARG(d.headers));
        arena_close(d.arena);
    }
}

/* Headers that nothing rests on have a cap; it costs the others nothing. */
static void test_padding_does_not_push_a_signature_out(void **state)
{
    char pad[TOLD_HEADERS_MAX_BYTES];
    const struct header headers[] = {
        {SPAN("x-sign"),      {pad, sizeof(pad)}     },
        {SPAN("user-agent"),  {pad, sizeof(pad) - 20}},
        {SPAN("traceparent"), {pad, 100}             },
        {SPAN("user-agent"),  SPAN("")               },
    };
    struct delivery d = {.arena = arena_open(1024), .platform = &platform};

    (void)state;
    memset(pad, 'a', sizeof(pad));
    d.request = (struct request){.headers = headers, .nheaders = countof(headers)};
    delivery_keep_headers(&d);
    assert_int_equal(d.headers.len,
                     strlen("user-agent: \n") + sizeof(pad) - 20 + strlen("x-sign: \n") + sizeof(pad));
    arena_close(d.arena);
}

/* Where the header is the secret itself, whoever reads receipts could send what he likes. */
static void test_a_password_is_kept_nowhere(void **state)
{
    const struct platform tap = {
        .scheme = {.header = SPAN("authorization"),
                   .proofs = {{.prefix = SPAN("Basic "), .algorithm = ALGORITHM_CREDENTIAL}},
                   .nproofs = 1}
    };
    const struct header headers[] = {
        {SPAN("authorization"), SPAN("Basic YWRtaW46cGFzc3dvcmQ=")},
        {SPAN("content-type"),  SPAN("application/json")          },
    };
    struct delivery d = {.arena = arena_open(1024), .platform = &tap};

    (void)state;
    d.request = (struct request){.headers = headers, .nheaders = countof(headers)};
    delivery_keep_headers(&d);
    assert_true(span_eq(d.headers, SPAN("content-type: application/json\n")));
    arena_close(d.arena);
}

static const struct {
    const char *why, *caps[3]; /* of platforms a, b, c; NULL: none of its own */
    bool has_source[3];
    size_t most;
} bodies[] = {
    {"none has its own",          {NULL, NULL, NULL},           {true, true, true},  1048576},
    {"lower ones change nothing", {"1024", NULL, "2048"},       {true, true, true},  1048576},
    {"the highest counts",        {"3145728", "4194304", NULL}, {true, true, true},  4194304},
    {"not of who cannot send",    {"3145728", "4194304", NULL}, {true, false, true}, 3145728},
};

static struct platforms *load(size_t row)
{
    static const char *const names[] = {"a", "b", "c"}, *const files[] = {"a.yaml", "b.yaml", "c.yaml"};
    const char *const *caps = bodies[row].caps;
    struct span texts[3];
    struct err err = {0};
    struct platforms *set;
    char room[3][1024];

    for (size_t i = 0; i < countof(names); i++) {
        snprintf(room[i], sizeof(room[i]),
                 "name: %s\nverify: {algorithm: hmac-sha256, header: x-sign, layout: single, encoding: hex,"
                 " signed: \"{body}\"}\n%s%s\npayloads: [{when: /a}]\nsuccess: []\nfailure: []\n",
                 names[i], caps[i] ? "max_body_bytes: " : "", caps[i] ? caps[i] : "");
        texts[i] = span_of(room[i]);
    }
    set = platforms_load_texts(files, texts, countof(names), &err);
    if (!set)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < countof(names); i++)
        if (bodies[row].has_source[i])
            assert_int_equal(
                platforms_add_source(set, span_of(names[i]), SPAN("default"), SPAN("secret"), &err), OK);
    return set;
}

static void test_the_server_lets_in_what_any_source_may_send(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(bodies); i++) {
        struct platforms *set = load(i);
        if (ingest_body_bytes(set, 1048576) != bodies[i].most)
            fail_msg("%s: %zu", bodies[i].why, ingest_body_bytes(set, 1048576));
        platforms_close(set);
    }
}

/* A body of 4 MiB from each of 2048 clients is as much as a worker may be asked to hold. */
static void test_more_bodies_than_memory_are_refused_at_start(void **state)
{
    char *none[] = {NULL};
    struct err err = {0};
    struct config *c = config_open(NULL, none, NULL, 0, &err);
    struct platforms *set = load(2);

    (void)state;
    assert_non_null(c);
    assert_int_equal(config_check_bodies(c, ingest_body_bytes(set, c->ingest.max_body_bytes), &err), OK);
    c->ingest.max_connections++;
    assert_int_equal(config_check_bodies(c, ingest_body_bytes(set, c->ingest.max_body_bytes), &err), INVALID);
    assert_non_null(strstr(err.text, "2049 bodies of 4194304 bytes"));
    platforms_close(set);
    config_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_path_names_platform_and_source),
        cmocka_unit_test(test_each_failure_has_its_answer),
        cmocka_unit_test(test_what_a_signature_rests_on_is_kept),
        cmocka_unit_test(test_a_password_is_kept_nowhere),
        cmocka_unit_test(test_padding_does_not_push_a_signature_out),
        cmocka_unit_test(test_more_bodies_than_memory_are_refused_at_start),
        cmocka_unit_test(test_the_server_lets_in_what_any_source_may_send),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
