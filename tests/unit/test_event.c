#include "support/test.h"

#include "base/now.h"
#include "domain/descriptor.h"
#include "domain/event.h"

#include <stdio.h>
#include <stdlib.h>

#include <sodium.h>

#define NOW (1768473900 * SECOND_US)
#define VERIFY                                                                                               \
    "verify: {algorithm: hmac-sha256, header: x-sig, layout: single, encoding: hex, signed: \"{body}\"}\n"
#define WORDS "success: [done]\nfailure: [broken]\n"

struct read {
    struct event *events;
    size_t n;
};

static struct platform platform_of(const char *payload, struct arena *a)
{
    struct span text = span_of(arena_print(a, "name: acme\n%spayloads:\n%s%s", VERIFY, payload, WORDS));
    struct platform p;
    struct err err;

    if (descriptor_read("acme.yaml", text, a, &p, &err))
        fail_msg("%s", err.text);
    return p;
}

static struct read read_as(const struct platform *p, const char *source, struct span id, struct span body,
                           struct arena *a)
{
    const struct verified verified = {.id = id, .time_us = TIME_NONE, .received_us = NOW};
    struct read r;

    events_read(p, span_of(source), &verified, body, a, &r.events, &r.n);
    return r;
}

static struct read read_body(const struct platform *p, const char *body, struct arena *a)
{
    return read_as(p, "default", SPAN_NONE, span_of(body), a);
}

static void assert_text(struct span got, const char *want)
{
    if (!want ? got.at != NULL : !span_eq(got, span_of(want)) || !got.at)
        fail_msg("got \"%.*s\", want \"%s\"", SPAN_ARG(got), want ? want : "(none)");
}

static const char entries[] = "  - when: /object\n"
                              "    post: /entry/*/changes/*/value/id\n"
                              "    status: {at: /entry/*/changes/*/value/status, default: done}\n"
                              "    url: /entry/*/changes/*/value/links/1\n"
                              "    reason: /note\n"
                              "    time: /entry/*/time\n"
                              "    extras: [{name: account, at: /entry/*/id}, {name: object, at: /object}]\n";

static void test_each_element_is_an_event_with_its_own_and_the_common_values(void **state)
{
    struct arena *a = arena_open(256);
    struct platform p = platform_of(entries, a);
    struct read r =
        read_body(&p,
                  "{\"object\":\"page\",\"note\":\"n\",\"entry\":["
                  "{\"id\":1,\"time\":1768473900,\"changes\":["
                  "{\"value\":{\"id\":\"a\",\"status\":\"broken\",\"links\":[\"x\",\"u\"]}},{\"value\":{"
                  "\"id\":\"b\"}}]},"
                  "{\"id\":2,\"changes\":[]},{\"id\":3},7,"
                  "{\"id\":4,\"changes\":[{\"value\":{\"id\":\"c\",\"links\":[]}},{\"other\":1}]}]}",
                  a);

    (void)state;
    assert_int_equal(r.n, 4);
    assert_text(r.events[0].post_id, "a");
    assert_text(r.events[0].status, "broken");
    assert_int_equal(r.events[0].decisive, -1);
    assert_text(r.events[0].url, "u");
    assert_text(r.events[0].reason, "n");
    assert_text(r.events[0].extras, "{\"account\":1,\"object\":\"page\"}");
    assert_int_equal(r.events[0].happened_us, NOW);
    assert_text(r.events[1].post_id, "b");
    assert_text(r.events[1].status, "done");
    assert_text(r.events[1].url, NULL);
    assert_text(r.events[2].post_id, "c");
    assert_text(r.events[2].extras, "{\"account\":4,\"object\":\"page\"}");
    assert_int_equal(r.events[2].happened_us, TIME_NONE);
    assert_text(r.events[3].post_id, NULL); /* an element that names no post is kept too */
    assert_text(r.events[3].parse_error, NULL);
    for (size_t i = 0; i < r.n; i++)
        for (size_t k = 0; k < i; k++)
            assert_memory_not_equal(r.events[i].dedup_key, r.events[k].dedup_key, DEDUP_KEY_BYTES);
    arena_close(a);
}

static void test_there_is_always_an_event(void **state)
{
    static const char *const bodies[] = {
        "{\"object\":\"page\",\"entry\":[]}",
        "{\"object\":\"page\",\"entry\":{}}",
        "{\"object\":\"page\"}",
        "{}",
        "1",
    };
    struct arena *a = arena_open(256);
    struct platform p = platform_of(entries, a);

    (void)state;
    for (size_t i = 0; i < countof(bodies); i++) {
        struct read r = read_body(&p, bodies[i], a);
        assert_int_equal(r.n, 1);
        assert_text(r.events[0].post_id, NULL);
        assert_text(r.events[0].parse_error, NULL);
        assert_int_equal(r.events[0].decisive, 0);
        assert_int_equal(r.events[0].happened_us, TIME_NONE);
    }
    arena_close(a);
}

static void test_json_in_strings_is_read_again(void **state)
{
    struct arena *a = arena_open(256);
    struct platform p = platform_of("  - when: \"/data#/list\"\n"
                                    "    post: \"/data#/list/*#/id\"\n"
                                    "    url: \"/data#/list/*#/more#/url\"\n",
                                    a);
    struct read r =
        read_body(&p,
                  "{\"data\":\"{\\\"list\\\":[\\\"{\\\\\\\"id\\\\\\\":1,\\\\\\\"more\\\\\\\":"
                  "\\\\\\\"{\\\\\\\\\\\\\\\"url\\\\\\\\\\\\\\\":2}\\\\\\\"}\\\",\\\"no JSON\\\",3]}\"}",
                  a);

    (void)state;
    assert_int_equal(r.n, 3);
    assert_text(r.events[0].post_id, "1");
    assert_text(r.events[0].url, "2");
    assert_text(r.events[1].post_id, NULL);
    assert_text(r.events[2].post_id, NULL);
    arena_close(a);
}

static void test_pointers_follow_the_rfc(void **state)
{
    static const struct {
        const char *pointer, *want;
    } places[] = {
        {"/a~1b",    "slash"},
        {"/m~0n",    "tilde"},
        {"/~01",     "both" },
        {"/list/0",  "first"},
        {"/list/01", NULL   },
        {"/list/2",  NULL   },
        {"/list/-",  NULL   },
        {"/map/0",   "zero" },
        {"/",        "empty"},
        {"/map/0/x", NULL   },
    };
    struct arena *a = arena_open(256);

    (void)state;
    for (size_t i = 0; i < countof(places); i++) {
        struct platform p =
            platform_of(arena_print(a, "  - {when: /map, post: \"%s\"}\n", places[i].pointer), a);
        struct read r = read_body(&p,
                                  "{\"a/b\":\"slash\",\"m~n\":\"tilde\",\"~1\":\"both\",\"\":\"empty\","
                                  "\"list\":[\"first\",\"second\"],\"map\":{\"0\":\"zero\"}}",
                                  a);
        assert_text(r.events[0].post_id, places[i].want);
    }
    arena_close(a);
}

static void test_too_many_events_are_one_that_says_so(void **state)
{
    struct arena *a = arena_open(256);
    struct platform p = platform_of("  - {when: /e, post: /e/*}\n", a);
    char *body = malloc(8 * EVENTS_MAX), *to = body + sprintf(body, "{\"e\":[0");
    struct read r;

    (void)state;
    for (int i = 1; i < EVENTS_MAX; i++)
        to += sprintf(to, ",%d", i);
    memcpy(to, "]}", 3);
    r = read_body(&p, body, a);
    assert_int_equal(r.n, EVENTS_MAX);
    assert_text(r.events[999].post_id, "999");
    memcpy(to, ",1]}", 5);
    r = read_body(&p, body, a);
    assert_int_equal(r.n, 1);
    assert_text(r.events[0].post_id, NULL);
    assert_text(r.events[0].parse_error, "more events than one delivery may hold");
    free(body);
    arena_close(a);
}

/* The key is stored for weeks and compared by other versions: it must not change. This one was computed apart, by
 * Python's hashlib. */
static void test_the_dedup_key_is_what_it_always_was(void **state)
{
    static const char want[] = "2122167e2f82ea1c19726e4ccc466512ab23dee04558bc940660ea6ef0a26437";
    struct arena *a = arena_open(256);
    struct platform p = platform_of("  - {when: /id, post: /id, event_id: [/id, /none, /seq]}\n", a);
    struct read r = read_body(&p, "{\"id\":\"a\",\"seq\":7}", a);
    char got[2 * DEDUP_KEY_BYTES + 1];

    (void)state;
    assert_string_equal(sodium_bin2hex(got, sizeof(got), r.events[0].dedup_key, DEDUP_KEY_BYTES), want);
    arena_close(a);
}

static void test_the_dedup_key_tells_apart_what_is_different(void **state)
{
    struct arena *a = arena_open(256);
    struct platform p = platform_of("  - {when: /id, post: /id}\n", a), q = p;
    const struct span body = SPAN("{\"id\":1}");
    struct event *first = read_as(&p, "default", SPAN_NONE, body, a).events;
    struct event *others[] = {
        read_as(&p, "other", SPAN_NONE, body, a).events,
        read_as(&p, "default", SPAN("evt_1"), body, a).events,
        read_as(&p, "default", SPAN_NONE, SPAN("{\"id\":1} "), a).events,
        NULL,
    };

    (void)state;
    q.name = SPAN("emca");
    others[3] = read_as(&q, "default", SPAN_NONE, body, a).events;
    for (size_t i = 0; i < countof(others); i++)
        assert_memory_not_equal(first->dedup_key, others[i]->dedup_key, DEDUP_KEY_BYTES);
    assert_memory_equal(first->dedup_key, read_as(&p, "default", SPAN_NONE, body, a).events->dedup_key,
                        DEDUP_KEY_BYTES);
    arena_close(a);
}

/* The first shape that is there decides, though another would fit too. */
static void test_the_first_payload_that_fits_decides(void **state)
{
    struct arena *a = arena_open(256);
    struct platform p = platform_of("  - {when: /new, post: /new}\n  - {when: /old, post: /old}\n", a);

    (void)state;
    assert_text(read_body(&p, "{\"old\":1,\"new\":2}", a).events[0].post_id, "2");
    assert_text(read_body(&p, "{\"old\":1,\"new\":null}", a).events[0].post_id, "1");
    arena_close(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_element_is_an_event_with_its_own_and_the_common_values),
        cmocka_unit_test(test_there_is_always_an_event),
        cmocka_unit_test(test_json_in_strings_is_read_again),
        cmocka_unit_test(test_pointers_follow_the_rfc),
        cmocka_unit_test(test_too_many_events_are_one_that_says_so),
        cmocka_unit_test(test_the_dedup_key_is_what_it_always_was),
        cmocka_unit_test(test_the_dedup_key_tells_apart_what_is_different),
        cmocka_unit_test(test_the_first_payload_that_fits_decides),
    };

    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
