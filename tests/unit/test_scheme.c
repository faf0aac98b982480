/* The vectors of fixtures/signatures.json are run by tests/vectors; here is what no vector can show. */
#include "support/test.h"

#include "base/now.h"
#include "domain/scheme.h"

#include <sodium.h>

static const int64_t now_us = 1700000000 * SECOND_US;

#define DESCRIPTOR(verify)                                                                                   \
    "name: p\nverify: " verify "\npayloads: [{when: /id, post: /id}]\nsuccess: []\nfailure: []\n"

/* Schemes of every kind, with two secrets each and the private one that signs, if that is another. */
static const struct {
    const char *why, *descriptor, *first, *second, *signs;
} schemes[] = {
    {"bare MAC over the body",
     DESCRIPTOR("{header: x-s, algorithm: hmac-sha256, layout: single, encoding: hex, signed: '{body}'}"),
     "first",                                                            "second",                                                               NULL                                                              },
    {"SHA-512 in base64",
     DESCRIPTOR("{header: x-s, algorithm: hmac-sha512, layout: single, prefix: 'sha512=', encoding: base64, "
                "signed: '{body}'}"),
     "first",                                                            "second",                                                               NULL                                                              },
    {"SHA-1, keys in hex",
     DESCRIPTOR(
         "{header: x-s, algorithm: hmac-sha1, layout: single, key: hex, encoding: hex, signed: 'x{body}'}"),
     "0102",                                                             "0304",                                                                 NULL                                                              },
    {"pairs with a time",
     DESCRIPTOR("{header: x-s, algorithm: hmac-sha256, layout: key-value, value: v1, time: t, encoding: hex, "
                "tolerance_s: 300, signed: '{time}.{body}'}"),
     "first",                                                            "second",                                                               NULL                                                              },
    {"a list with id and time in headers",
     DESCRIPTOR("{header: x-s, algorithm: hmac-sha256, layout: list, prefix: 'v1,', key: base64, key_prefix: "
                "whsec_, encoding: base64, time_header: x-t, id_header: x-i, tolerance_s: 300, signed: "
                "'{id}.{time}.{body}'}"),
     "whsec_Zmlyc3Q=",                                                   "whsec_c2Vjb25k",                                                       NULL                                                              },
    {"RFC 3339 without separators",
     DESCRIPTOR("{header: x-s, algorithm: hmac-sha256, layout: single, encoding: hex, time_header: x-t, "
                "time_format: rfc3339, id_header: x-i, tolerance_s: 600, signed: '{id}{time}{body}'}"),
     "first",                                                            "second",                                                               NULL                                                              },
    {"Ed25519",
     DESCRIPTOR("{header: x-s, algorithm: ed25519, layout: single, key: hex, encoding: hex, time_header: "
                "x-t, tolerance_s: 300, signed: '{time}{body}'}"),
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", /* RFC 8032, 7.1, tests 1 and 2 */
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"},
};

static struct platforms *load(const char *descriptor, const char *secrets)
{
    const char *path = "p.yaml";
    const struct span text = span_of(descriptor);
    struct err err = {.text = ""};
    struct platforms *set = platforms_load_texts(&path, &text, 1, &err);

    if (!set || platforms_add_source(set, SPAN("p"), SPAN("default"), span_of(secrets), &err))
        fail_msg("%s", err.text);
    return set;
}

static enum status verify(struct platforms *set, struct request *r, struct verified *ret)
{
    const struct platform *p = platforms_at(set, 0);

    return scheme_verify(p, platform_source(p, SPAN("default")), r, ret, NULL);
}

static void sign(struct platforms *set, const char *secret, struct span body, struct arena *a,
                 struct request *ret)
{
    struct header *headers = arena_zero(a, SIGNED_HEADERS_MAX * sizeof(*headers));
    struct err err = {.text = ""};

    *ret = (struct request){.headers = headers, .body = body, .received_us = now_us + 5 * SECOND_US};
    if (scheme_sign(platforms_at(set, 0), span_of(secret), SPAN("msg_1"), now_us, SPAN_NONE, body, a, headers,
                    &ret->nheaders, &err))
        fail_msg("%s", err.text);
}

static void test_what_is_signed_verifies_with_any_of_the_secrets(void **state)
{
    struct arena *a = arena_open(1024);

    (void)state;
    for (size_t i = 0; i < countof(schemes); i++) {
        struct platforms *set =
            load(schemes[i].descriptor, arena_print(a, "%s\n%s\n", schemes[i].first, schemes[i].second));
        const struct scheme *s = &platforms_at(set, 0)->scheme;
        struct request r;
        struct verified verified;
        sign(set, schemes[i].signs ? schemes[i].signs : schemes[i].second, SPAN("{\"a\":1}"), a, &r);
        if (verify(set, &r, &verified))
            fail_msg("%s: %s", schemes[i].why, scheme_refusal_word(verified.refusal));
        assert_int_equal(verified.secret, 1);
        assert_int_equal(verified.time_us, s->past_s ? now_us : TIME_NONE);
        assert_true(span_eq(verified.id, s->signs_id ? SPAN("msg_1") : SPAN_NONE));
        platforms_close(set);
    }
    arena_close(a);
}

/* Each bit of body, id, time and signature in turn. */
static void test_no_bit_may_be_another(void **state)
{
    struct arena *a = arena_open(1024);

    (void)state;
    for (size_t i = 0; i < countof(schemes); i++) {
        struct platforms *set = load(schemes[i].descriptor, schemes[i].second);
        char body[] = "{\"external_post_id\":\"p\"}";
        struct request r;
        struct verified verified;
        sign(set, schemes[i].signs ? schemes[i].signs : schemes[i].second, span_of(body), a, &r);
        for (size_t h = 0; h <= r.nheaders; h++) {
            struct span part = h < r.nheaders ? r.headers[h].value : r.body;
            char *bytes = h < r.nheaders ? (char *)(uintptr_t)part.at : body;
            if (h < r.nheaders) {
                bytes = arena_print(a, "%.*s", SPAN_ARG(part));
                ((struct header *)(uintptr_t)r.headers)[h].value.at = bytes;
            }
            assert_int_equal(verify(set, &r, &verified), OK);
            for (size_t bit = 0; bit < 8 * part.len; bit++) {
                bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
                if (verify(set, &r, &verified) != FORGED && h < r.nheaders &&
                    platforms_at(set, 0)->scheme.id_header.at)
                    assert_true(verified.id.at == NULL); /* an id that is not signed may be another */
                else if (verify(set, &r, &verified) != FORGED)
                    fail_msg("%s: bit %zu of part %zu does not matter", schemes[i].why, bit, h);
                bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
            }
        }
        platforms_close(set);
    }
    arena_close(a);
}

static void test_no_header_may_be_missing_nor_be_there_twice(void **state)
{
    struct arena *a = arena_open(1024);

    (void)state;
    for (size_t i = 0; i < countof(schemes); i++) {
        struct platforms *set = load(schemes[i].descriptor, schemes[i].second);
        struct header headers[SIGNED_HEADERS_MAX + 1];
        struct request r;
        struct verified verified;
        sign(set, schemes[i].signs ? schemes[i].signs : schemes[i].second, SPAN("{}"), a, &r);
        memcpy(headers, r.headers, r.nheaders * sizeof(headers[0]));
        r.headers = headers;
        r.nheaders++;
        for (size_t h = 0; h + 1 < r.nheaders; h++) {
            struct header kept = headers[h];
            headers[r.nheaders - 1] = kept;
            assert_int_equal(verify(set, &r, &verified), FORGED);
            assert_int_equal(verified.refusal, REFUSAL_HEADER_TWICE);
            headers[h].name = headers[r.nheaders - 1].name = SPAN("x-other");
            assert_int_equal(verify(set, &r, &verified), FORGED);
            assert_int_equal(verified.refusal, REFUSAL_HEADER_MISSING);
            headers[h] = kept;
        }
        platforms_close(set);
    }
    arena_close(a);
}

static void test_an_unknown_source_is_refused_like_a_bad_signature(void **state)
{
    struct arena *a = arena_open(1024);

    (void)state;
    for (size_t i = 0; i < countof(schemes); i++) {
        struct platforms *set = load(schemes[i].descriptor, schemes[i].second);
        struct request r;
        struct verified verified;
        struct err unknown, wrong;
        sign(set, schemes[i].signs ? schemes[i].signs : schemes[i].second, SPAN("{}"), a, &r);
        assert_int_equal(scheme_verify(platforms_at(set, 0), NULL, &r, &verified, &unknown), FORGED);
        r.body = SPAN("{ }");
        assert_int_equal(
            scheme_verify(platforms_at(set, 0), &platforms_at(set, 0)->sources[0], &r, &verified, &wrong),
            FORGED);
        assert_string_equal(unknown.cause, "no_match");
        assert_string_equal(unknown.text, wrong.text);
        platforms_close(set);
    }
    arena_close(a);
}

static void test_a_secret_counts_from_its_not_before_until_its_expires(void **state)
{
    static const struct {
        const char *why, *secret;
        enum status want;
    } cases[] = {
        {"without limits",               "s",                                                              OK    },
        {"from this very second",        "s not-before=2023-11-14T22:13:25Z",                              OK    },
        {"not a second earlier",         "s not-before=2023-11-14T22:13:26Z",                              FORGED},
        {"until the second before",      "s expires=2023-11-14T22:13:26Z",                                 OK    },
        {"no longer in this second",     "s expires=2023-11-14T22:13:25Z",                                 FORGED},
        {"both, in the one order",       "s not-before=2023-11-14T00:00:00Z expires=2023-11-15T00:00:00Z", OK    },
        {"both, in the other",           "s expires=2023-11-15T00:00:00Z not-before=2023-11-14T00:00:00Z", OK    },
        {"an expired one beside a good", "old expires=2023-11-14T00:00:00Z\ns\n",                          OK    },
        {"the good one is the expired",  "s expires=2023-11-14T00:00:00Z\nnew\n",                          FORGED},
    };
    struct arena *a = arena_open(1024);

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct platforms *set = load(schemes[0].descriptor, cases[i].secret);
        struct request r;
        struct verified verified;
        sign(set, "s", SPAN("{}"), a, &r);
        if (verify(set, &r, &verified) != cases[i].want)
            fail_msg("%s", cases[i].why);
        platforms_close(set);
    }
    arena_close(a);
}

/* Else whoever knows the public key of the one kind could sign with it as the other. */
static void test_a_secret_serves_its_own_kind_alone(void **state)
{
    static const char descriptor[] = DESCRIPTOR(
        "{header: x-s, algorithm: hmac-sha256, layout: list, prefix: 'v1,', key: base64, key_prefix: whsec_, "
        "also: [{prefix: 'v1a,', algorithm: ed25519, key_prefix: whpk_}], encoding: base64, signed: "
        "'{body}'}");
    static const char public_key[] =
        "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="; /* RFC 8032, 7.1, test 1 */
    struct arena *a = arena_open(1024);
    struct platforms *set = load(descriptor, arena_print(a, "whpk_%s", public_key));
    struct platforms *other = load(descriptor, arena_print(a, "whsec_%s", public_key));
    struct verified verified;
    struct request r;

    (void)state;
    sign(set, arena_print(a, "whsec_%s", public_key), SPAN("{}"), a, &r);
    assert_int_equal(verify(other, &r, &verified),
                     OK); /* a MAC under those bytes, for whom they are a secret */
    assert_int_equal(verify(set, &r, &verified), FORGED);
    platforms_close(set);
    platforms_close(other);
    arena_close(a);
}

/* An id that could hold what stands beside it would let old text pass as a new time. */
static void test_an_id_cannot_take_its_neighbours_bytes(void **state)
{
    static const char words[] =
        DESCRIPTOR("{header: x-s, algorithm: hmac-sha256, layout: single, encoding: hex, time_header: x-t, "
                   "time_format: rfc3339, id_header: x-i, tolerance_s: 600, signed: '{id}{time}{body}'}");
    static const char dots[] =
        DESCRIPTOR("{header: x-s, algorithm: hmac-sha256, layout: single, encoding: hex, time_header: x-t, "
                   "id_header: x-i, tolerance_s: 600, signed: 'a:{id}.{time}.{body}'}");
    static const struct {
        const char *why, *descriptor, *id;
        enum refusal want;
    } cases[] = {
        {"a word beside a time",               words, "msg_1-2", REFUSAL_NONE  },
        {"what a time is made of",             words, "a:b",     REFUSAL_BAD_ID},
        {"what a body is made of",             words, "a{",      REFUSAL_BAD_ID},
        {"a dot beside a dot",                 dots,  "a.b",     REFUSAL_BAD_ID},
        {"a colon beside a colon",             dots,  "a:b",     REFUSAL_BAD_ID},
        {"anything else between two literals", dots,  "a{b ",    REFUSAL_NONE  },
    };
    struct arena *a = arena_open(1024);

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct platforms *set = load(cases[i].descriptor, "s");
        struct header headers[SIGNED_HEADERS_MAX];
        struct request r = {headers, 0, SPAN("{}"), SPAN_NONE, now_us};
        struct verified verified;
        assert_int_equal(scheme_sign(platforms_at(set, 0), SPAN("s"), span_of(cases[i].id), now_us, SPAN_NONE,
                                     r.body, a, headers, &r.nheaders, NULL),
                         OK);
        (void)!verify(set, &r, &verified);
        if (verified.refusal != cases[i].want)
            fail_msg("%s: %s", cases[i].why, scheme_refusal_word(verified.refusal));
        platforms_close(set);
    }
    arena_close(a);
}

/* A time with a fraction is as far away as it says. */
static void test_a_fraction_of_a_second_counts(void **state)
{
    static const char descriptor[] =
        DESCRIPTOR("{header: x-s, algorithm: hmac-sha256, layout: single, encoding: hex, time_header: x-t, "
                   "time_format: rfc3339, tolerance_s: 10, signed: '{time}.{body}'}");
    static const struct {
        int64_t ahead_us;
        enum refusal want;
    } cases[] = {
        {10 * SECOND_US,      REFUSAL_NONE     },
        {10 * SECOND_US + 1,  REFUSAL_IN_FUTURE},
        {-10 * SECOND_US,     REFUSAL_NONE     },
        {-10 * SECOND_US - 1, REFUSAL_TOO_OLD  },
    };
    struct arena *a = arena_open(1024);
    struct platforms *set = load(descriptor, "s");

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct header headers[SIGNED_HEADERS_MAX];
        struct request r = {headers, 0, SPAN("{}"), SPAN_NONE, now_us};
        struct verified verified;
        assert_int_equal(scheme_sign(platforms_at(set, 0), SPAN("s"), SPAN_NONE, now_us + cases[i].ahead_us,
                                     SPAN_NONE, r.body, a, headers, &r.nheaders, NULL),
                         OK);
        (void)!verify(set, &r, &verified);
        assert_int_equal(verified.refusal, cases[i].want);
    }
    platforms_close(set);
    arena_close(a);
}

/* Whoever asks for the MAC of a token must not have signed a delivery. */
static void test_no_token_of_a_handshake_can_be_a_delivery(void **state)
{
    static const char descriptor[] =
        DESCRIPTOR("{header: x-s, algorithm: hmac-sha256, layout: single, encoding: hex, signed: '{body}'}\n"
                   "handshakes: [{method: get, query: [{name: t}], value: t, answer: json, json: "
                   "'{\"r\":\"{hmac}\"}'}]");
    static const struct {
        const char *why, *body;
        enum status want;
    } cases[] = {
        {"an object",                   "{\"id\":1}", OK    },
        {"an array",                    "[1]",        OK    },
        {"a number is a token as well", "123",        FORGED},
        {"a word is",                   "true",       FORGED},
        {"and nothing at all",          "",           FORGED},
    };
    struct arena *a = arena_open(1024);
    struct platforms *set = load(descriptor, "s");

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct request r;
        struct verified verified;
        sign(set, "s", span_of(cases[i].body), a, &r);
        if (verify(set, &r, &verified) != cases[i].want)
            fail_msg("%s", cases[i].why);
        assert_int_equal(verified.refusal, cases[i].want == OK ? REFUSAL_NONE : REFUSAL_BAD_BODY);
    }
    platforms_close(set);
    arena_close(a);
}

/* Twilio signs a URL with or without its port. */
static void test_a_port_that_goes_without_saying_may_be_said(void **state)
{
    static const struct {
        const char *why, *signed_url, *called_url;
        enum status want;
    } cases[] = {
        {"the same",                   "https://h.example/a?b=1",     "https://h.example/a?b=1",     OK    },
        {"signed with the port",       "https://h.example:443/a?b=1", "https://h.example/a?b=1",     OK    },
        {"called with the port",       "https://h.example/a?b=1",     "https://h.example:443/a?b=1", OK    },
        {"another port, not signed",   "https://h.example/a",         "https://h.example:8443/a",    OK    },
        {"http has another port",      "http://h.example:80/a",       "http://h.example/a",          OK    },
        {"the other scheme's port",    "http://h.example:443/a",      "http://h.example/a",          FORGED},
        {"IPv6 has colons of its own", "https://[::1]:443/a",         "https://[::1]/a",             OK    },
        {"no path",                    "https://h.example:443?x=1",   "https://h.example?x=1",       OK    },
        {"another host",               "https://other.example/a",     "https://h.example/a",         FORGED},
    };
    struct arena *a = arena_open(1024);
    struct platforms *set = load(
        DESCRIPTOR(
            "{header: x-s, algorithm: hmac-sha1, layout: single, encoding: base64, signed: '{url}{form}'}"),
        "s");
    const struct platform *p = platforms_at(set, 0);

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct header headers[SIGNED_HEADERS_MAX];
        struct request r = {headers, 0, SPAN("B=2&A=1"), span_of(cases[i].called_url), now_us};
        struct verified verified;
        assert_int_equal(scheme_sign(p, SPAN("s"), SPAN_NONE, now_us, span_of(cases[i].signed_url), r.body, a,
                                     headers, &r.nheaders, NULL),
                         OK);
        if (verify(set, &r, &verified) != cases[i].want)
            fail_msg("%s", cases[i].why);
    }
    platforms_close(set);
    arena_close(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_signed_verifies_with_any_of_the_secrets),
        cmocka_unit_test(test_no_bit_may_be_another),
        cmocka_unit_test(test_no_header_may_be_missing_nor_be_there_twice),
        cmocka_unit_test(test_an_unknown_source_is_refused_like_a_bad_signature),
        cmocka_unit_test(test_a_secret_counts_from_its_not_before_until_its_expires),
        cmocka_unit_test(test_a_secret_serves_its_own_kind_alone),
        cmocka_unit_test(test_an_id_cannot_take_its_neighbours_bytes),
        cmocka_unit_test(test_a_fraction_of_a_second_counts),
        cmocka_unit_test(test_no_token_of_a_handshake_can_be_a_delivery),
        cmocka_unit_test(test_a_port_that_goes_without_saying_may_be_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
