#include "support/test.h"

#include "base/file.h"
#include "base/now.h"
#include "domain/descriptor.h"
#include "domain/poll.h"

#include <jansson.h>

enum { FILE_BYTES = 1 << 16 };

#define TOKEN SPAN("test-token")

/* Of a descriptor with one request: what stands before its url, and the rest of the request. */
#define HEAD                                                                                                 \
    "name: x\nverify: {header: s, algorithm: hmac-sha256, layout: single, encoding: hex, signed: "           \
    "\"{body}\"}\npayloads: [{when: /id}]\nsuccess: []\nfailure: []\n"                                       \
    "poll:\n  budget_per_minute: 10\n  requests:\n"
#define ASKS(url, rest) HEAD "    - {method: get, url: \"" url "\", " rest "}\n"
#define POSTS(body, rest)                                                                                    \
    HEAD "    - {method: post, url: \"https://a.example/\", headers: [{name: content-type, value: "          \
         "application/json}, {name: authorization, value: \"Bearer {token}\"}], body: '" body "', " rest     \
         "}\n"
#define ANSWERS "answers: [{post: /id, status: {at: /s}}], success: [good], failure: [bad]"
#define LISTED  "answers: [{each: /a/*, post: /a/*/id, status: {at: /a/*/s}}], success: [good], failure: [bad]"

struct world {
    struct arena *arena;
    struct platform platform;
    struct poll_question question;
    struct span posts[POLL_BATCH_MAX + 1];
    struct poll_answer answers[POLL_BATCH_MAX];
};

static int open_world(void **state)
{
    static struct world w;

    w = (struct world){.arena = arena_open(4096)};
    *state = &w;
    return 0;
}

static int close_world(void **state)
{
    arena_close(((struct world *)*state)->arena);
    return 0;
}

/* One post, "p1". */
static struct poll_question *given(struct world *w, const char *descriptor)
{
    struct err err = {.text = ""};

    if (descriptor_read("x.yaml", span_of(descriptor), w->arena, &w->platform, &err))
        fail_msg("%s", err.text);
    w->posts[0] = SPAN("p1");
    w->question = (struct poll_question){w->platform.poll, 0, w->posts, 1, SPAN_NONE};
    return &w->question;
}

static void given_posts(struct world *w, size_t n)
{
    w->question.nposts = n;
    for (size_t i = 0; i < n; i++)
        w->posts[i] = span_of(arena_print(w->arena, "p%zu", i + 1));
}

static enum poll_error read_reply(struct world *w, int status, struct span content)
{
    const struct poll_reply reply = {status, content, 1768473900 * SECOND_US};

    return poll_read(&w->question, &reply, w->arena, w->answers);
}

static void assert_could_not_ask(const struct poll_answer *a, enum poll_error error)
{
    assert_int_equal(a->outcome, POLL_COULD_NOT_ASK);
    assert_int_equal(a->error, error);
    assert_int_equal(a->decisive, 0);
}

/* ---- fixtures ---- */

static const char *const outcome_names[] = {
    [POLL_COULD_NOT_ASK] = "could_not_ask",
    [POLL_WORKING] = "working",
    [POLL_DONE] = "done",
    [POLL_NOT_MINE] = "not_mine",
};

static void set_text(json_t *object, const char *name, struct span text)
{
    if (text.at)
        json_object_set_new(object, name, json_stringn(text.at, text.len));
}

static json_t *answer_as_json(const struct poll_answer *a)
{
    json_t *object = json_object();
    char time[TIME_TEXT_BYTES];

    set_text(object, "outcome", span_of(outcome_names[a->outcome]));
    set_text(object, "error", span_of(poll_error_name(a->error)));
    if (a->decisive)
        json_object_set_new(object, "decisive", json_integer(a->decisive));
    set_text(object, "status", a->status);
    set_text(object, "reason", a->reason);
    set_text(object, "url", a->url);
    if (a->happened_us != TIME_NONE) {
        time_text(a->happened_us, time, sizeof(time));
        set_text(object, "happened_at", span_of(time));
    }
    if (a->extras.at)
        json_object_set_new(object, "extras", json_loadb(a->extras.at, a->extras.len, 0, NULL));
    return object;
}

static json_t *call_as_json(const struct poll_call *call)
{
    json_t *object = json_pack("{ss ss}", "method", call->method, "url", call->url), *headers = json_array();

    for (size_t i = 0; i < call->nheaders; i++)
        json_array_append_new(headers, json_string(call->headers[i]));
    json_object_set_new(object, "headers", headers);
    if (call->body.at)
        json_object_set_new(object, "body", json_loadb(call->body.at, call->body.len, 0, NULL));
    return object;
}

static json_t *read_fixture(const char *path, struct arena *a)
{
    struct err err = {.text = ""};
    struct span text;
    json_t *fixture;

    if (file_read(path, arena_alloc(a, FILE_BYTES), FILE_BYTES, &text, &err))
        fail_msg("%s", err.text);
    fixture = json_loadb(text.at, text.len, 0, NULL);
    if (!fixture || !json_is_string(json_object_get(fixture, "why")))
        fail_msg("%s: JSON with a why", path);
    return fixture;
}

static struct span content_of(const json_t *body, struct arena *a)
{
    char *text = json_is_string(body) ? strdup(json_string_value(body)) : json_dumps(body, 0);
    struct span content = arena_copy(a, span_of(text));

    free(text);
    return content;
}

/* The call and the answers, as the fixture writes them. */
static json_t *run_fixture(const struct poll_question *q, const json_t *fixture, struct arena *a)
{
    const json_t *answered = json_object_get(fixture, "answered");
    struct poll_answer answers[POLL_BATCH_MAX];
    const struct poll_reply reply = {(int)json_integer_value(json_object_get(answered, "status")),
                                     content_of(json_object_get(answered, "body"), a),
                                     json_integer_value(json_object_get(fixture, "now")) * SECOND_US};
    json_t *got = json_object(), *says = json_array();
    struct err err = {.text = ""};
    struct poll_call call;

    if (poll_request(q, TOKEN, &call, &err))
        fail_msg("%s", err.text);
    json_object_set_new(got, "asks", call_as_json(&call));
    poll_call_close(&call);
    set_text(got, "error", span_of(poll_error_name(poll_read(q, &reply, a, answers))));
    for (size_t i = 0; i < q->nposts; i++)
        json_array_append_new(says, answer_as_json(&answers[i]));
    json_object_set_new(got, "says", says);
    return got;
}

static void check_fixture(const struct poll *poll, const char *path, bool *asked, struct arena *a)
{
    json_t *fixture = read_fixture(path, a), *want, *got;
    const json_t *list = json_object_get(fixture, "posts");
    struct span posts[POLL_BATCH_MAX];
    struct poll_question q = {poll, (size_t)json_integer_value(json_object_get(fixture, "request")), posts,
                              json_array_size(list), SPAN_NONE};

    if (q.request >= poll->nrequests || q.nposts == 0 || q.nposts > POLL_BATCH_MAX)
        fail_msg("%s: a request that the platform has, and posts", path);
    for (size_t i = 0; i < q.nposts; i++)
        posts[i] = span_of(json_string_value(json_array_get(list, i)));
    got = run_fixture(&q, fixture, a);
    want = json_pack("{sO sO sO*}", "asks", json_object_get(fixture, "asks"), "says",
                     json_object_get(fixture, "says"), "error", json_object_get(fixture, "error"));
    if (!json_equal(got, want))
        fail_msg("%s: got %s", path, json_dumps(got, JSON_INDENT(2)));
    asked[q.request] = true;
    json_decref(fixture);
    json_decref(want);
    json_decref(got);
}

/* Returns how many there are. */
static size_t check_platform(const struct platform *p, struct arena *a)
{
    const char *folder = arena_print(a, "%s/fixtures/%s", SOURCE_ROOT, p->name.at), **files;
    bool asked[POLL_REQUESTS_MAX] = {false};
    size_t nfiles, ncases = 0;
    struct err err;

    if (file_names(folder, ".json", a, &files, &nfiles, &err))
        fail_msg("%s", err.text);
    for (size_t i = 0; i < nfiles; i++) {
        if (!span_starts(span_of(files[i]), SPAN("poll-")))
            continue;
        if (!p->poll)
            fail_msg("%s has poll-... and its platform cannot be polled", folder);
        check_fixture(p->poll, arena_print(a, "%s/%s", folder, files[i]), asked, a);
        ncases++;
    }
    for (size_t i = 0; p->poll && i < p->poll->nrequests; i++)
        if (!asked[i])
            fail_msg("%s needs a poll-<case>.json with request %zu", folder, i);
    return ncases;
}

static void test_each_answer_says_what_its_file_says(void **state)
{
    struct world *w = *state;
    struct err err = {.text = ""};
    struct platforms *set = platforms_load(NULL, &err);
    size_t ncases = 0, npolled = 0;

    if (!set)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < platforms_count(set); i++) {
        ncases += check_platform(platforms_at(set, i), w->arena);
        npolled += platforms_at(set, i)->poll != NULL;
    }
    print_message("%zu cases of %zu platforms\n", ncases, npolled);
    assert_true(npolled >= 5);
    platforms_close(set);
}

/* ---- requests ---- */

static void test_a_post_cannot_leave_its_place_in_a_url(void **state)
{
    static const struct {
        const char *post, *url;
    } cases[] = {
        {"a b&c=d#e?f",    "https://a.example/v/a%20b%26c%3Dd%23e%3Ff?x=1"  },
        {"a\"'<>{post}",   "https://a.example/v/a%22%27%3C%3E%7Bpost%7D?x=1"},
        {"%2e%2e",         "https://a.example/v/%252e%252e?x=1"             },
        {"@evil.example:", "https://a.example/v/%40evil.example%3A?x=1"     },
        {"\xc3\xa9",       "https://a.example/v/%C3%A9?x=1"                 },
        {"...",            "https://a.example/v/...?x=1"                    },
    };
    struct world *w = *state;
    const struct poll_question *q = given(w, ASKS("https://a.example/v/{post}?x=1", ANSWERS));

    for (size_t i = 0; i < countof(cases); i++) {
        struct poll_call call;
        w->posts[0] = span_of(cases[i].post);
        assert_int_equal(poll_request(q, SPAN_NONE, &call, NULL), OK);
        assert_string_equal(call.url, cases[i].url);
        assert_string_equal(call.method, "GET");
        assert_int_equal(call.nheaders, 0);
        assert_null(call.body.at);
        poll_call_close(&call);
    }
}

static void test_a_post_that_cannot_be_asked_about_is_never_sent(void **state)
{
    static const struct span unfit[] = {
        {"",                0 },
        {"a\rb",            3 },
        {"a\nb",            3 },
        {"x\r\nhost: evil", 14},
        {"a\0b",            3 },
        {"\x7f",            1 },
        {"\xff\xfe",        2 },
        {".",               1 },
        {"..",              2 },
        {"a/b",             3 },
        {"a\\b",            3 },
        {"../../admin",     11},
        {NULL,              0 },
        {"\x1b[0m",         4 },
        {"\xed\xa0\x80",    3 },
    };
    struct world *w = *state;
    const struct poll_question *q = given(w, ASKS("https://a.example/v/{post}", ANSWERS));
    char long_post[257];

    for (size_t i = 0; i < countof(unfit); i++) {
        struct err err = {.cause = NULL};
        struct poll_call call;
        assert_false(poll_fits(q->poll, 0, unfit[i]));
        w->posts[0] = unfit[i];
        assert_int_equal(poll_request(q, SPAN_NONE, &call, &err), INVALID);
        assert_string_equal(err.cause, "invalid_post_id");
        assert_null(call.memory);
    }
    memset(long_post, 'a', sizeof(long_post));
    assert_true(poll_fits(q->poll, 0, (struct span){long_post, 255}));
    assert_false(poll_fits(q->poll, 0, (struct span){long_post, 256}));
}

/* One of another form, and the platform may refuse all that are asked about with it. */
static void test_where_ids_are_numbers_no_other_is_sent(void **state)
{
    static const char *const unfit[] = {"12345678901234567890", "12a", "-1", "1 ", "١"};
    struct world *w = *state;
    const struct poll_question *q =
        given(w, ASKS("https://a.example/v?id={posts}", "batch: 100, post_digits: 19, " LISTED));

    assert_true(poll_fits(q->poll, 0, SPAN("1234567890123456789")));
    assert_true(poll_fits(q->poll, 0, SPAN("0")));
    for (size_t i = 0; i < countof(unfit); i++)
        assert_false(poll_fits(q->poll, 0, span_of(unfit[i])));
}

static void test_a_listed_post_cannot_be_two(void **state)
{
    struct world *w = *state;
    const struct poll_question *q =
        given(w, ASKS("https://a.example/v?id={posts}", "separator: \"&id=\", batch: 100, " LISTED));
    struct poll_call call;

    given_posts(w, 2);
    w->posts[1] = SPAN("a,b");
    assert_int_equal(poll_request(q, SPAN_NONE, &call, NULL), OK);
    assert_string_equal(call.url, "https://a.example/v?id=p1&id=a%2Cb");
    poll_call_close(&call);
    assert_false(poll_fits(q->poll, 0, SPAN("a&id=b")));
    given(w, ASKS("https://a.example/v?id={posts}", "batch: 100, " LISTED));
    assert_false(poll_fits(w->question.poll, 0, SPAN("a,b")));
    assert_true(poll_fits(w->question.poll, 0, SPAN("urn:li:ugcPost:7012345678901234567")));
    assert_false(poll_fits(w->question.poll, 0, SPAN("::::::::::::::::::::::")));
}

static void test_the_longest_batch_stays_below_the_cap(void **state)
{
    struct world *w = *state;
    const struct poll_question *q =
        given(w, ASKS("https://a.example/v?id={posts}", "separator: aaaaaaaa, batch: 100, " LISTED));
    char post[64];
    struct poll_call call;

    memset(post, 'b', sizeof(post));
    for (size_t i = 0; i < POLL_BATCH_MAX; i++)
        w->posts[i] = (struct span){post, sizeof(post)};
    w->question.nposts = POLL_BATCH_MAX;
    assert_int_equal(poll_request(q, SPAN_NONE, &call, NULL), OK);
    assert_true(strlen(call.url) > 7000 && strlen(call.url) <= POLL_URL_BYTES);
    poll_call_close(&call);
}

static void test_one_post_too_many_is_refused(void **state)
{
    struct world *w = *state;
    const struct poll_question *q = given(w, ASKS("https://a.example/v?id={posts}", "batch: 3, " LISTED));
    struct poll_call call;

    given_posts(w, 3);
    assert_int_equal(poll_request(q, SPAN_NONE, &call, NULL), OK);
    poll_call_close(&call);
    given_posts(w, 4);
    assert_int_equal(poll_request(q, SPAN_NONE, &call, NULL), INVALID);
    given_posts(w, 0);
    assert_int_equal(poll_request(q, SPAN_NONE, &call, NULL), INVALID);
}

static void test_values_in_a_body_stay_in_their_quotes(void **state)
{
    struct world *w = *state;
    const struct poll_question *q =
        given(w, POSTS("{\"ids\":[{posts}],\"t\":{token},\"a\":{account},\"b\":{}}", "batch: 9, " LISTED));
    struct poll_call call;

    given_posts(w, 2);
    w->posts[0] = SPAN("a\"],\"x\":[\"\\");
    w->question.account = SPAN("me\"");
    assert_int_equal(poll_request(q, SPAN("t\"\\"), &call, NULL), OK);
    assert_string_equal(call.body.at, "{\"ids\":[\"a\\\"],\\\"x\\\":[\\\"\\\\\",\"p2\"],\"t\":\"t\\\"\\\\\","
                                      "\"a\":\"me\\\"\",\"b\":{}}");
    assert_int_equal(call.body.len, strlen(call.body.at));
    assert_string_equal(call.method, "POST");
    assert_string_equal(call.url, "https://a.example/");
    assert_int_equal(call.nheaders, 2);
    assert_string_equal(call.headers[1], "authorization: Bearer t\"\\");
    poll_call_close(&call);
}

static void test_a_token_that_could_add_a_header_is_refused(void **state)
{
    static const struct span unfit[] = {
        {NULL,              0 },
        {"",                0 },
        {"a\r\nhost: evil", 13},
        {"a\nb",            3 },
        {"a b",             3 },
        {"a\tb",            3 },
        {"a\0b",            3 },
        {"\xc3\xa9",        2 },
    };
    struct world *w = *state;
    const struct poll_question *q = given(w, POSTS("{\"id\":{post}}", ANSWERS));
    char *long_token = arena_alloc(w->arena, POLL_TOKEN_BYTES + 1);
    struct err err = {.cause = NULL};
    struct poll_call call;

    for (size_t i = 0; i < countof(unfit); i++) {
        assert_int_equal(poll_request(q, unfit[i], &call, &err), INVALID);
        assert_string_equal(err.cause, "auth_error");
        assert_null(strstr(err.text, "evil"));
    }
    memset(long_token, 'a', POLL_TOKEN_BYTES + 1);
    assert_int_equal(poll_request(q, (struct span){long_token, POLL_TOKEN_BYTES}, &call, NULL), OK);
    poll_call_close(&call);
    assert_int_equal(poll_request(q, (struct span){long_token, POLL_TOKEN_BYTES + 1}, &call, NULL), INVALID);
}

static void test_an_account_that_is_needed_must_be_known(void **state)
{
    struct world *w = *state;
    struct poll_question *q = given(w, ASKS("https://a.example/{account}/{post}", ANSWERS));
    struct poll_call call;

    assert_int_equal(poll_request(q, SPAN_NONE, &call, NULL), INVALID);
    q->account = SPAN("..");
    assert_int_equal(poll_request(q, SPAN_NONE, &call, NULL), INVALID);
    q->account = SPAN("me&you");
    assert_int_equal(poll_request(q, SPAN_NONE, &call, NULL), OK);
    assert_string_equal(call.url, "https://a.example/me%26you/p1");
    poll_call_close(&call);
}

static void test_a_closed_call_is_empty(void **state)
{
    struct world *w = *state;
    const struct poll_question *q = given(w, POSTS("{\"id\":{post}}", ANSWERS));
    struct poll_call call;

    assert_int_equal(poll_request(q, TOKEN, &call, NULL), OK);
    assert_non_null(memmem(call.memory, call.bytes, TOKEN.at, TOKEN.len));
    assert_null(strstr(call.url, TOKEN.at));
    poll_call_close(&call);
    assert_null(call.memory);
    assert_null(call.url);
    poll_call_close(&call);
}

/* ---- answers ---- */

static void test_what_is_no_answer_decides_nothing(void **state)
{
    static const char *const garbage[] = {
        "",
        " ",
        "null",
        "[]",
        "\"bad\"",
        "{",
        "{\"a\":[{\"id\":\"p1\",\"s\":\"bad\"}]",
        "\xff",
        "{\"a\":{\"id\":\"p1\",\"s\":\"bad\"}}",
        "{\"a\":null}",
        "{\"b\":[]}",
        "{}",
        "1e999999",
        "{\"a\":[{\"id\":\"p1\",\"s\":\"bad\"}]} x",
        "<html>bad</html>",
        "{\"a\":[{\"id\":\"p1\",\"s\":\"bad\",\"s\":\"good\"}]}",
    };
    struct world *w = *state;

    given(w, ASKS("https://a.example/{posts}", "batch: 2, missing: failed, " LISTED));
    given_posts(w, 2);
    for (size_t i = 0; i < countof(garbage); i++) {
        assert_int_equal(read_reply(w, 200, span_of(garbage[i])), POLL_INVALID_RETURN);
        assert_could_not_ask(&w->answers[0], POLL_INVALID_RETURN);
        assert_could_not_ask(&w->answers[1], POLL_INVALID_RETURN);
    }
    assert_int_equal(read_reply(w, 204, SPAN_NONE), POLL_INVALID_RETURN);
    assert_could_not_ask(&w->answers[0], POLL_INVALID_RETURN);
}

static void test_an_element_of_the_wrong_type_decides_nothing(void **state)
{
    static const char *const items[] = {
        "{\"id\":\"p1\"}",
        "{\"id\":\"p1\",\"s\":null}",
        "{\"id\":\"p1\",\"s\":[\"bad\"]}",
        "{\"id\":\"p1\",\"s\":{\"s\":\"bad\"}}",
        "{\"id\":\"p1\",\"s\":\"\"}",
        "{\"id\":\"p1\",\"s\":\"bad\\u0000\"}",
        "{\"id\":\"p1\",\"s\":\"BAD\"}",
        "{\"id\":\"p1\",\"s\":\" bad\"}",
        "{\"id\":\"p1\",\"s\":false}",
        "{\"id\":\"p1\",\"s\":\"bad\"},{\"id\":\"p1\",\"s\":\"bad\"}",
        "{\"id\":\"p1\",\"s\":\"good\"},{\"id\":\"p1\",\"s\":\"bad\"}",
    };
    struct world *w = *state;

    given(w, ASKS("https://a.example/{posts}", "batch: 2, " LISTED));
    for (size_t i = 0; i < countof(items); i++) {
        assert_int_equal(read_reply(w, 200, span_of(arena_print(w->arena, "{\"a\":[%s]}", items[i]))),
                         POLL_ERROR_NONE);
        assert_could_not_ask(&w->answers[0], POLL_INVALID_RETURN);
    }
}

static void test_an_answer_that_names_no_asked_post_says_nothing_of_it(void **state)
{
    static const char *const items[] = {
        "",
        "null",
        "1",
        "\"p1\"",
        "[]",
        "{}",
        "{\"id\":\"p10\",\"s\":\"bad\"}",
        "{\"id\":\"P1\",\"s\":\"bad\"}",
        "{\"id\":[\"p1\"],\"s\":\"bad\"}",
        "{\"id\":\"p1\\u0000\",\"s\":\"bad\"}",
        "{\"id\":null,\"s\":\"bad\"}",
    };
    struct world *w = *state;

    given(w, ASKS("https://a.example/{posts}", "batch: 2, " LISTED));
    for (size_t i = 0; i < countof(items); i++) {
        assert_int_equal(read_reply(w, 200, span_of(arena_print(w->arena, "{\"a\":[%s]}", items[i]))),
                         POLL_ERROR_NONE);
        assert_could_not_ask(&w->answers[0], POLL_NOT_FOUND);
    }
}

static void test_huge_answers_are_not_read(void **state)
{
    struct world *w = *state;
    const struct span start = SPAN("{\"a\":[{\"id\":\"p1\",\"s\":\"bad\"}"), end = SPAN("]}");
    char *text = arena_alloc(w->arena, POLL_ANSWER_BYTES + 1), *many, *to;

    given(w, ASKS("https://a.example/{posts}", "batch: 2, " LISTED));
    memset(text, ' ', POLL_ANSWER_BYTES + 1);
    memcpy(text, start.at, start.len);
    memcpy(text + start.len, end.at, end.len);
    assert_int_equal(read_reply(w, 200, (struct span){text, POLL_ANSWER_BYTES}), POLL_ERROR_NONE);
    assert_int_equal(w->answers[0].outcome, POLL_DONE);
    assert_int_equal(read_reply(w, 200, (struct span){text, POLL_ANSWER_BYTES + 1}), POLL_INVALID_RETURN);
    assert_could_not_ask(&w->answers[0], POLL_INVALID_RETURN);

    for (size_t n = 999; n <= 1000; n++) { /* and the first makes one more */
        many = to = arena_alloc(w->arena, start.len + 3 * n + end.len);
        to = mempcpy(to, start.at, start.len);
        for (size_t i = 0; i < n; i++)
            to = mempcpy(to, ",{}", 3);
        to = mempcpy(to, end.at, end.len);
        assert_int_equal(read_reply(w, 200, (struct span){many, (size_t)(to - many)}),
                         n == 999 ? POLL_ERROR_NONE : POLL_INVALID_RETURN);
        assert_int_equal(w->answers[0].outcome, n == 999 ? POLL_DONE : POLL_COULD_NOT_ASK);
    }
    memset(text, '[', POLL_ANSWER_BYTES);
    assert_int_equal(read_reply(w, 200, (struct span){text, POLL_ANSWER_BYTES}), POLL_INVALID_RETURN);
}

static void test_an_http_status_says_what_it_says_everywhere(void **state)
{
    static const struct {
        int status;
        enum poll_error error;
    } cases[] = {
        {301, POLL_FETCH_ERROR },
        {302, POLL_FETCH_ERROR },
        {304, POLL_FETCH_ERROR },
        {400, POLL_FETCH_ERROR },
        {401, POLL_AUTH_ERROR  },
        {403, POLL_FORBIDDEN   },
        {404, POLL_FETCH_ERROR },
        {410, POLL_FETCH_ERROR },
        {429, POLL_RATE_LIMITED},
        {500, POLL_FETCH_ERROR },
        {503, POLL_FETCH_ERROR },
        {100, POLL_FETCH_ERROR },
    };
    struct world *w = *state;

    given(w, ASKS("https://a.example/{post}", "missing: failed, " ANSWERS));
    for (size_t i = 0; i < countof(cases); i++) {
        assert_int_equal(read_reply(w, cases[i].status, SPAN("{\"id\":\"p1\",\"s\":\"bad\"}")),
                         cases[i].error);
        assert_could_not_ask(&w->answers[0], cases[i].error);
    }
    assert_int_equal(read_reply(w, 201, SPAN("{\"id\":\"p1\",\"s\":\"bad\"}")), POLL_ERROR_NONE);
    assert_int_equal(w->answers[0].decisive, -1);
}

static void test_the_first_rule_that_holds_decides(void **state)
{
    static const char rules[] =
        "rules: [{status: [\"404\", \"410\"], at: /code, is: [gone], reason: /why, means: failed}, "
        "{status: [\"404\"], means: missing}, {at: /code, is: [slow], means: rate_limited}, "
        "{at: /code, is: [login], means: auth_error}, {at: /code, is: [busy], means: working}, "
        "{at: /code, is: [other], means: not_mine}, {at: /code, means: could_not_ask}], missing: "
        "working, " ANSWERS;
    static const struct {
        int status;
        const char *content;
        enum poll_outcome outcome;
        enum poll_error error, whole;
        int decisive;
    } cases[] = {
        {404, "{\"code\":\"gone\",\"why\":\"w\"}",               POLL_DONE,          POLL_ERROR_NONE,   POLL_ERROR_NONE,  -1},
        {404, "{\"code\":\"here\"}",                             POLL_WORKING,       POLL_ERROR_NONE,   POLL_ERROR_NONE,  0 },
        {404, "no JSON",                                         POLL_WORKING,       POLL_ERROR_NONE,   POLL_ERROR_NONE,  0 },
        {410, "no JSON",                                         POLL_COULD_NOT_ASK, POLL_FETCH_ERROR,  POLL_FETCH_ERROR, 0 },
        {200, "{\"code\":\"slow\",\"id\":\"p1\",\"s\":\"bad\"}", POLL_COULD_NOT_ASK, POLL_RATE_LIMITED,
         POLL_RATE_LIMITED,                                                                                               0 },
        {500, "{\"code\":\"login\"}",                            POLL_COULD_NOT_ASK, POLL_AUTH_ERROR,   POLL_AUTH_ERROR,  0 },
        {500, "{\"code\":\"busy\"}",                             POLL_WORKING,       POLL_ERROR_NONE,   POLL_ERROR_NONE,  0 },
        {400, "{\"code\":\"other\"}",                            POLL_COULD_NOT_ASK, POLL_NOT_FOUND,    POLL_ERROR_NONE,  0 },
        {429, "{\"code\":\"gone\"}",                             POLL_COULD_NOT_ASK, POLL_FETCH_ERROR,  POLL_FETCH_ERROR, 0 },
        {200, "{\"id\":\"p1\",\"s\":\"good\"}",                  POLL_DONE,          POLL_ERROR_NONE,   POLL_ERROR_NONE,  1 },
    };
    struct world *w = *state;

    given(w, arena_print(w->arena, "%s%s}\n", HEAD "    - {method: get, url: \"https://a.example/{post}\", ",
                         rules));
    for (size_t i = 0; i < countof(cases); i++) {
        assert_int_equal(read_reply(w, cases[i].status, span_of(cases[i].content)), cases[i].whole);
        assert_int_equal(w->answers[0].outcome, cases[i].outcome);
        assert_int_equal(w->answers[0].error, cases[i].error);
        assert_int_equal(w->answers[0].decisive, cases[i].decisive);
    }
    (void)read_reply(w, 410, SPAN("{\"code\":\"gone\",\"why\":\"w\"}"));
    assert_true(span_eq(w->answers[0].status, SPAN("gone")));
    assert_true(span_eq(w->answers[0].reason, SPAN("w")));
}

static void test_a_missing_post_means_what_the_descriptor_says(void **state)
{
    static const struct {
        const char *missing;
        enum poll_outcome outcome;
        enum poll_error error;
        int decisive;
    } cases[] = {
        {"failed",        POLL_DONE,          POLL_ERROR_NONE, -1},
        {"working",       POLL_WORKING,       POLL_ERROR_NONE, 0 },
        {"could_not_ask", POLL_COULD_NOT_ASK, POLL_NOT_FOUND,  0 },
        {"not_mine",      POLL_COULD_NOT_ASK, POLL_NOT_FOUND,  0 }, /* it is the last request */
    };
    struct world *w = *state;

    for (size_t i = 0; i < countof(cases); i++) {
        given(w,
              arena_print(w->arena, "%smissing: %s, not_found: [gone], batch: 3, " LISTED "}\n",
                          HEAD "    - {method: get, url: \"https://a.example/{posts}\", ", cases[i].missing));
        given_posts(w, 3);
        assert_int_equal(
            read_reply(w, 200,
                       SPAN("{\"a\":[{\"id\":\"p3\",\"s\":\"gone\"},{\"id\":\"p2\",\"s\":\"good\"}]}")),
            POLL_ERROR_NONE);
        for (size_t k = 0; k < 3; k += 2) {
            assert_int_equal(w->answers[k].outcome, cases[i].outcome);
            assert_int_equal(w->answers[k].error, cases[i].error);
            assert_int_equal(w->answers[k].decisive, cases[i].decisive);
        }
        assert_int_equal(w->answers[1].decisive, 1);
    }
}

static void test_a_post_is_handed_to_the_next_request(void **state)
{
    struct world *w = *state;

    given(
        w,
        ASKS("https://a.example/{posts}",
             "missing: not_mine, batch: 2, " LISTED) "    - {method: get, url: \"https://b.example/{post}\", "
                                                     "missing: not_mine, " ANSWERS "}\n");
    given_posts(w, 2);
    assert_int_equal(read_reply(w, 200, SPAN("{\"a\":[{\"id\":\"p1\",\"s\":\"good\"}]}")), POLL_ERROR_NONE);
    assert_int_equal(w->answers[0].outcome, POLL_DONE);
    assert_int_equal(w->answers[1].outcome, POLL_NOT_MINE);
    w->question.request = 1;
    w->question.posts = w->posts + 1;
    w->question.nposts = 1;
    assert_int_equal(read_reply(w, 200, SPAN("{\"id\":\"p9\",\"s\":\"bad\"}")), POLL_ERROR_NONE);
    assert_could_not_ask(&w->answers[0], POLL_NOT_FOUND);
}

static void test_long_values_are_cut_or_left_out_as_those_of_events(void **state)
{
    struct world *w = *state;
    char *reason = arena_alloc(w->arena, 3000);

    given(w, ASKS("https://a.example/{post}", "answers: [{post: /id, status: {at: /s}, reason: /r, url: /u, "
                                              "time: /t, extras: [{name: e, at: /e}]}], "
                                              "success: [good], failure: [bad]"));
    memset(reason, 'r', 2999);
    reason[2999] = '\0';
    assert_int_equal(read_reply(w, 200,
                                span_of(arena_print(w->arena,
                                                    "{\"id\":\"p1\",\"s\":\"bad\",\"r\":\"%s\",\"u\":\"%s\","
                                                    "\"t\":\"2030-01-01T00:00:00Z\",\"e\":\"%s\"}",
                                                    reason, reason, reason))),
                     POLL_ERROR_NONE);
    assert_int_equal(w->answers[0].decisive, -1);
    assert_int_equal(w->answers[0].reason.len, 1000);
    assert_null(w->answers[0].url.at);
    assert_null(w->answers[0].extras.at);
    assert_true(w->answers[0].happened_us == TIME_NONE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(test_each_answer_says_what_its_file_says),
        TEST(test_a_post_cannot_leave_its_place_in_a_url),
        TEST(test_a_post_that_cannot_be_asked_about_is_never_sent),
        TEST(test_where_ids_are_numbers_no_other_is_sent),
        TEST(test_a_listed_post_cannot_be_two),
        TEST(test_the_longest_batch_stays_below_the_cap),
        TEST(test_one_post_too_many_is_refused),
        TEST(test_values_in_a_body_stay_in_their_quotes),
        TEST(test_a_token_that_could_add_a_header_is_refused),
        TEST(test_an_account_that_is_needed_must_be_known),
        TEST(test_a_closed_call_is_empty),
        TEST(test_what_is_no_answer_decides_nothing),
        TEST(test_an_element_of_the_wrong_type_decides_nothing),
        TEST(test_an_answer_that_names_no_asked_post_says_nothing_of_it),
        TEST(test_huge_answers_are_not_read),
        TEST(test_an_http_status_says_what_it_says_everywhere),
        TEST(test_the_first_rule_that_holds_decides),
        TEST(test_a_missing_post_means_what_the_descriptor_says),
        TEST(test_a_post_is_handed_to_the_next_request),
        TEST(test_long_values_are_cut_or_left_out_as_those_of_events),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
