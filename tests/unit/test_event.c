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
    const struct verified verified = {.id = id, .time_us = TIME_NONE};
    const struct request request = {.body = body, .received_us = NOW};
    struct read r;

    events_read(p, span_of(source), &verified, &request, a, &r.events, &r.n);
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

/* Half an id is none: many events would share it. */
static void test_an_id_is_told_only_if_no_piece_is_missing(void **state)
{
    struct arena *a = arena_open(256);
    struct platform p = platform_of("  - {when: /id, post: /id, event_id: [/id, /seq]}\n", a);
    struct platform q = platform_of("  - {when: /id, post: /id}\n", a);

    (void)state;
    assert_text(read_body(&p, "{\"id\":\"a\",\"seq\":7}", a).events[0].id, "a:7");
    assert_int_equal(read_body(&p, "{\"id\":\"a\"}", a).events[0].id.len, 0);
    assert_text(read_as(&q, "default", SPAN("evt_1"), SPAN("{\"id\":1}"), a).events[0].id, "evt_1");
    assert_int_equal(read_as(&q, "default", SPAN_NONE, SPAN("{\"id\":1}"), a).events[0].id.len, 0);
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

static struct span post_ids(const struct read *r, struct arena *a)
{
    const char *text = "";

    for (size_t i = 0; i < r->n; i++)
        text = arena_print(a, "%s%s%.*s", text, i > 0 ? " " : "", SPAN_ARG(r->events[i].post_id));
    return span_of(text);
}

/* Page feeds speak of posts and of what people do to them: only the former are receipts. */
static void test_only_elements_that_satisfy_where_are_events(void **state)
{
    /* clang-format off */
    static const struct {
        const char *why, *where, *posts; /* posts: of the events, in order */
    } rows[] = {
        {"a word of the list", "{at: /e/*/item, is: [status, photo]}", "1 3 8"},
        {"a number and a truth as text", "{at: /e/*/item, is: [\"7\", \"true\"]}", "4 5"},
        {"there at all", "{at: /e/*/item}", "1 2 3 4 5 8"},
        {"an escaped word is the word", "{at: /e/*/item, is: [photo]}", "3 8"},
        {"a value of the whole body", "{at: /kind, is: [page]}", "1 2 3 4 5 6 7 8 9"},
        {"another value of it: none", "{at: /kind, is: [user]}", ""},
        {"an object is no word", "{at: /e, is: [x]}", ""},
    };
    /* clang-format on */
    static const char body[] = "{\"kind\":\"page\",\"e\":["
                               "{\"id\":1,\"item\":\"status\"},{\"id\":2,\"item\":\"comment\"},"
                               "{\"id\":3,\"item\":\"photo\"},{\"id\":4,\"item\":7},{\"id\":5,\"item\":true},"
                               "{\"id\":6,\"item\":null},{\"id\":7,\"item\":\"\"},"
                               "{\"id\":8,\"item\":\"\\u0070hoto\"},{\"id\":9}]}";
    struct arena *a = arena_open(256);

    (void)state;
    for (size_t i = 0; i < countof(rows); i++) {
        struct platform p =
            platform_of(arena_print(a, "  - {when: /e, post: /e/*/id, where: %s}\n", rows[i].where), a);
        struct read r = read_body(&p, body, a);
        if (!span_eq(post_ids(&r, a), span_of(rows[i].posts)))
            fail_msg("%s: posts \"%s\"", rows[i].why, post_ids(&r, a).at);
        assert_int_equal(r.n, rows[i].posts[0] ? strlen(rows[i].posts) / 2 + 1 : 1);
    }
    arena_close(a);
}

/* However many elements are skipped, they are not events that count against the most. */
static void test_skipped_elements_do_not_count(void **state)
{
    struct arena *a = arena_open(256);
    struct platform p = platform_of("  - {when: /e, post: /e/*/id, where: {at: /e/*/id}}\n", a);
    char *body = malloc(8 * EVENTS_MAX), *to = stpcpy(body, "{\"e\":[0");
    struct read r;

    (void)state;
    for (int i = 0; i < 2 * EVENTS_MAX; i++)
        to = stpcpy(to, ",0");
    stpcpy(to, ",{\"id\":1}]}");
    r = read_body(&p, body, a);
    assert_int_equal(r.n, 1);
    assert_text(r.events[0].post_id, "1");
    free(body);
    arena_close(a);
}

/* Without `post` an element is kept and matches nothing; without `each` as well the whole body is one event. */
static void test_what_makes_events_need_not_name_a_post(void **state)
{
    struct arena *a = arena_open(256);
    struct platform each = platform_of("  - {when: /e, each: /e/*, status: {at: /e/*/s}}\n", a);
    struct platform whole = platform_of("  - {when: /e, event_id: [/id], status: {at: /s}}\n", a);
    struct read r = read_body(&each, "{\"e\":[{\"s\":\"x\"},{\"s\":\"y\"}]}", a);

    (void)state;
    assert_int_equal(r.n, 2);
    assert_text(r.events[0].post_id, NULL);
    assert_text(r.events[0].parse_error, NULL);
    assert_text(r.events[1].status, "y");
    assert_memory_not_equal(r.events[0].dedup_key, r.events[1].dedup_key, DEDUP_KEY_BYTES);

    r = read_body(&whole, "{\"e\":[1,2],\"s\":\"z\",\"id\":7}", a);
    assert_int_equal(r.n, 1);
    assert_text(r.events[0].post_id, NULL);
    assert_text(r.events[0].status, "z");
    arena_close(a);
}

static const char shapes[] = "  - {when: /type, is: [post, \"2\"], post: /id, status: {at: /type}}\n"
                             "  - {when: /list, each: /list/*, where: {at: /list/*/own}, post: /list/*/id}\n"
                             "  - {when: /id, post: /id, status: {default: plain}}\n";

static void test_the_first_shape_that_finds_an_event_decides(void **state)
{
    /* clang-format off */
    static const struct {
        const char *why, *body, *posts, *status;
    } rows[] = {
        {"a word that is one of them", "{\"type\":\"post\",\"id\":1}", "1", "post"},
        {"a number that is one of them", "{\"type\":2,\"id\":1}", "1", "2"},
        {"another word: not the first shape", "{\"type\":\"like\",\"id\":1}", "1", "plain"},
        {"a longer word is another", "{\"type\":\"posts\",\"id\":1}", "1", "plain"},
        {"nothing there: not the first shape", "{\"id\":1}", "1", "plain"},
        {"the second finds events", "{\"list\":[{\"own\":1,\"id\":5},{\"own\":1,\"id\":6}],\"id\":1}", "5 6",
         NULL},
        {"the second finds none of ours", "{\"list\":[{\"id\":5}],\"id\":1}", "1", "plain"},
        {"the second finds no list", "{\"list\":{\"own\":1},\"id\":1}", "1", "plain"},
        {"nobody finds any: one event", "{\"list\":[{\"id\":5}]}", "", NULL},
    };
    /* clang-format on */
    struct arena *a = arena_open(256);
    struct platform p = platform_of(shapes, a);

    (void)state;
    for (size_t i = 0; i < countof(rows); i++) {
        struct read r = read_body(&p, rows[i].body, a);
        if (!span_eq(post_ids(&r, a), span_of(rows[i].posts)))
            fail_msg("%s: posts \"%s\"", rows[i].why, post_ids(&r, a).at);
        assert_text(r.events[0].status, rows[i].status);
        assert_text(r.events[0].parse_error, NULL);
    }
    arena_close(a);
}

static void test_headers_are_shown_as_extras(void **state)
{
    static char long_value[2100];
    /* clang-format off */
    const struct {
        const char *why;
        struct header headers[2];
        const char *want;
    } rows[] = {
        {"its value as JSON", {{SPAN("x-topic"), SPAN("a/\"b\"")}}, "{\"topic\":\"a/\\\"b\\\"\"}"},
        {"the first of two", {{SPAN("x-topic"), SPAN("1")}, {SPAN("x-topic"), SPAN("2")}},
         "{\"topic\":\"1\"}"},
        {"a tab is escaped", {{SPAN("x-topic"), SPAN("a\tb")}}, "{\"topic\":\"a\\u0009b\"}"},
        {"UTF-8 stays", {{SPAN("x-topic"), SPAN("\xc3\xa9")}}, "{\"topic\":\"\xc3\xa9\"}"},
        {"another header", {{SPAN("x-topics"), SPAN("1")}}, NULL},
        {"an empty one says nothing", {{SPAN("x-topic"), SPAN("")}}, NULL},
        {"no UTF-8", {{SPAN("x-topic"), SPAN("\xe9")}}, NULL},
        {"a NUL, which Postgres has not", {{SPAN("x-topic"), SPAN("a\0b")}}, NULL},
        {"longer than an extra may be", {{SPAN("x-topic"), {long_value, 2047}}}, NULL},
    };
    /* clang-format on */
    struct arena *a = arena_open(256);
    struct platform p =
        platform_of("  - {when: /id, post: /id, extras: [{name: topic, at: \"header:x-topic\"}]}\n", a);
    const struct verified verified = {.time_us = TIME_NONE};

    (void)state;
    memset(long_value, 'a', sizeof(long_value));
    for (size_t i = 0; i < countof(rows); i++) {
        const struct request request = {.headers = rows[i].headers,
                                        .nheaders = countof(rows[i].headers),
                                        .body = SPAN("{\"id\":1}"),
                                        .received_us = NOW};
        struct read r;
        events_read(&p, SPAN("default"), &verified, &request, a, &r.events, &r.n);
        if (rows[i].want ? !span_eq(r.events[0].extras, span_of(rows[i].want))
                         : r.events[0].extras.at != NULL)
            fail_msg("%s: got %.*s", rows[i].why, SPAN_ARG(r.events[0].extras));
    }
    arena_close(a);
}

/* A form and a feed are read by pointers too; each element of the feed has a key of its own, and a body without
 * elements has the key of its bytes as sent. */
static void test_forms_and_feeds_are_read_like_json(void **state)
{
    struct arena *a = arena_open(256);
    struct platform p =
        platform_of("  - {when: /entries, post: /entries/*/videoId}\n"
                    "  - {when: /MessageSid, post: /MessageSid, status: {at: /MessageStatus}}\n"
                    "  - {when: \"/payload#/id\", post: \"/payload#/id\"}\n"
                    "  - {when: /id, post: /id}\n",
                    a);
    struct read r, again;

    (void)state;
    p.formats = BODY_JSON | BODY_FORM | BODY_ATOM;
    r = read_body(&p, "MessageSid=SM1&MessageStatus=done", a);
    assert_text(r.events[0].post_id, "SM1");
    assert_int_equal(r.events[0].decisive, 1);
    again = read_body(&p, "MessageStatus=done&MessageSid=SM1", a);
    assert_memory_not_equal(r.events[0].dedup_key, again.events[0].dedup_key, DEDUP_KEY_BYTES);
    r = read_body(&p, "payload=%7B%22id%22%3A%22p1%22%7D", a);
    assert_text(r.events[0].post_id, "p1");
    r = read_body(&p, "{\"id\":\"j1\"}", a);
    assert_text(r.events[0].post_id, "j1");

    r = read_body(
        &p,
        "<feed xmlns='http://www.w3.org/2005/Atom' xmlns:yt='http://www.youtube.com/xml/schemas/2015'>"
        "<entry><yt:videoId>v1</yt:videoId></entry><entry><yt:videoId>v2</yt:videoId></entry></feed>",
        a);
    assert_text(post_ids(&r, a), "v1 v2");
    assert_memory_not_equal(r.events[0].dedup_key, r.events[1].dedup_key, DEDUP_KEY_BYTES);
    r = read_body(&p, "<feed", a);
    assert_int_equal(r.n, 1);
    assert_non_null(r.events[0].parse_error.at);
    p.formats = BODY_JSON;
    r = read_body(&p, "id=1", a);
    assert_non_null(r.events[0].parse_error.at);
    arena_close(a);
}

/* Escaped, so that it would have to be unfolded for each of a thousand events. */
static void test_a_long_common_value_is_cut_or_left_out(void **state)
{
    enum { LONG = 200000 };
    struct arena *a = arena_open(256);
    struct platform p =
        platform_of("  - {when: /e, post: /e/*, reason: /note, url: /note, event_id: [/note]}\n", a);
    char *body = malloc(LONG + 4 * EVENTS_MAX), *to = stpcpy(body, "{\"note\":\"\\n");
    struct read r;

    (void)state;
    memset(to, 'x', LONG);
    to = stpcpy(to + LONG, "\",\"e\":[0");
    for (int i = 1; i < EVENTS_MAX; i++)
        to = stpcpy(to, ",7");
    stpcpy(to, "]}");
    r = read_body(&p, body, a);
    assert_int_equal(r.n, EVENTS_MAX);
    assert_int_equal(r.events[999].reason.len, 1000);
    assert_text(r.events[999].url, NULL);
    free(body);
    arena_close(a);
}

/* Meta puts up to a thousand updates into one delivery. */
static void test_the_largest_delivery_of_meta_is_read_whole(void **state)
{
    static const char one[] =
        "%s{\"id\":\"wamid.HBgLMTU1NTAwMDIyMjI%d\",\"status\":\"delivered\",\"timestamp\":\"1768473899\","
        "\"recipient_id\":\"15550002222\",\"conversation\":{\"id\":\"c1\",\"expiration_timestamp\":"
        "\"1768560300\","
        "\"origin\":{\"type\":\"utility\"}},\"pricing\":{\"billable\":true,\"pricing_model\":\"PMP\","
        "\"category\":\"utility\"}}";
    enum { ONE_BYTES = 400 };
    struct arena *a = arena_open(1024);
    struct platforms *set = platforms_load(NULL, NULL);
    char *body = malloc(ONE_BYTES * (EVENTS_MAX + 1)), *to;
    struct read r;

    (void)state;
    to = stpcpy(body,
                "{\"object\":\"whatsapp_business_account\",\"entry\":[{\"id\":\"1\",\"changes\":[{\"field\":"
                "\"messages\",\"value\":{\"messaging_product\":\"whatsapp\",\"statuses\":[");
    for (int i = 0; i < EVENTS_MAX; i++)
        to += sprintf(to, one, i ? "," : "", i);
    stpcpy(to, "]}}]}]}");
    r = read_body(platforms_find(set, SPAN("whatsapp")), body, a);
    assert_int_equal(r.n, EVENTS_MAX);
    assert_text(r.events[999].post_id, "wamid.HBgLMTU1NTAwMDIyMjI999");
    assert_int_equal(r.events[999].decisive, 1);
    free(body);
    platforms_close(set);
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
        cmocka_unit_test(test_an_id_is_told_only_if_no_piece_is_missing),
        cmocka_unit_test(test_the_dedup_key_tells_apart_what_is_different),
        cmocka_unit_test(test_the_first_payload_that_fits_decides),
        cmocka_unit_test(test_only_elements_that_satisfy_where_are_events),
        cmocka_unit_test(test_skipped_elements_do_not_count),
        cmocka_unit_test(test_what_makes_events_need_not_name_a_post),
        cmocka_unit_test(test_the_first_shape_that_finds_an_event_decides),
        cmocka_unit_test(test_headers_are_shown_as_extras),
        cmocka_unit_test(test_forms_and_feeds_are_read_like_json),
        cmocka_unit_test(test_a_long_common_value_is_cut_or_left_out),
        cmocka_unit_test(test_the_largest_delivery_of_meta_is_read_whole),
    };

    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
