#include "support/test.h"

#include "base/file.h"
#include "base/now.h"
#include "domain/descriptor.h"
#include "domain/insights.h"

#include <jansson.h>

enum { FILE_BYTES = 1 << 16 };

#define TOKEN SPAN("test-token")

/* A descriptor with nothing but insights: what stands in the section besides its figures. */
#define SECTION(rest, figures)                                                                               \
    "name: x\ninsights:\n  budget_per_minute: 5\n  " rest "\n  figures: [" figures "]\n"
#define ASKS(url) "method: get\n  url: \"" url "\""
#define URL       ASKS("https://a.example/{site}?x=1")
#define CLICKS    "{name: clicks, at: /c}"

struct world {
    struct arena *arena;
    struct platform platform;
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

static const struct insights *given(struct world *w, const char *descriptor)
{
    struct err err = {.text = ""};

    if (descriptor_read("x.yaml", span_of(descriptor), w->arena, &w->platform, &err))
        fail_msg("%s", err.text);
    assert_false(w->platform.sends_webhooks);
    return w->platform.insights;
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

static struct span content_of(const json_t *body, struct arena *a)
{
    char *text = json_is_string(body) ? strdup(json_string_value(body)) : json_dumps(body, 0);
    struct span content = arena_copy(a, span_of(text));

    free(text);
    return content;
}

/* The call and what the answer says, as the fixture writes them. */
static json_t *run_fixture(const struct insights *in, const json_t *fixture, struct arena *a)
{
    const json_t *answered = json_object_get(fixture, "answered");
    const struct insights_period period =
        insights_period(in, json_integer_value(json_object_get(fixture, "now")) * SECOND_US);
    const struct insights_question q = {
        in, &period, span_of(json_string_value(json_object_get(fixture, "site"))), SPAN_NONE};
    struct err err = {.text = ""};
    json_t *got = json_object();
    enum insights_error error;
    struct poll_call call;
    struct span says;

    if (insights_request(&q, TOKEN, &call, &err))
        fail_msg("%s", err.text);
    json_object_set_new(got, "asks", call_as_json(&call));
    poll_call_close(&call);
    error = insights_read(in, (int)json_integer_value(json_object_get(answered, "status")),
                          content_of(json_object_get(answered, "body"), a), a, &says);
    if (error)
        json_object_set_new(got, "error", json_string(insights_error_name(error)));
    if (says.at)
        json_object_set_new(got, "says", json_loadb(says.at, says.len, 0, NULL));
    return got;
}

static void check_fixture(const struct insights *in, const char *path, struct arena *a)
{
    struct err err = {.text = ""};
    struct span text;
    json_t *fixture, *got, *want;

    if (file_read(path, arena_alloc(a, FILE_BYTES), FILE_BYTES, &text, &err))
        fail_msg("%s", err.text);
    fixture = json_loadb(text.at, text.len, 0, NULL);
    if (!fixture || !json_is_string(json_object_get(fixture, "why")))
        fail_msg("%s: JSON with a why", path);
    got = run_fixture(in, fixture, a);
    want = json_pack("{sO sO* sO*}", "asks", json_object_get(fixture, "asks"), "says",
                     json_object_get(fixture, "says"), "error", json_object_get(fixture, "error"));
    if (!json_equal(got, want))
        fail_msg("%s: got %s", path, json_dumps(got, JSON_INDENT(2)));
    json_decref(fixture);
    json_decref(want);
    json_decref(got);
}

/* Returns how many there are. */
static size_t check_platform(const struct platform *p, struct arena *a)
{
    const char *folder = arena_print(a, "%s/fixtures/%s", SOURCE_ROOT, p->name.at), **files;
    size_t nfiles, ncases = 0;
    struct err err = {.text = ""};

    if (file_names(folder, ".json", a, &files, &nfiles, &err))
        fail_msg("%s", err.text);
    for (size_t i = 0; i < nfiles; i++)
        if (span_starts(span_of(files[i]), SPAN("insights-"))) {
            check_fixture(p->insights, arena_print(a, "%s/%s", folder, files[i]), a);
            ncases++;
        }
    if (ncases == 0)
        fail_msg("%s needs an insights-<case>.json", folder);
    return ncases;
}

static void test_each_answer_says_what_its_file_says(void **state)
{
    struct world *w = *state;
    struct err err = {.text = ""};
    struct platforms *set = platforms_load(NULL, &err);
    size_t ncases = 0, nasked = 0;

    if (!set)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < platforms_count_all(set); i++)
        if (platforms_at_all(set, i)->insights) {
            ncases += check_platform(platforms_at_all(set, i), w->arena);
            nasked++;
        }
    print_message("%zu cases of %zu platforms\n", ncases, nasked);
    assert_true(nasked >= 2);
    platforms_close(set);
}

static void test_who_sends_no_webhooks_is_no_platform_for_them(void **state)
{
    struct err err = {.text = ""};
    struct platforms *set = platforms_load(NULL, &err);

    (void)state;
    assert_non_null(set);
    assert_null(platforms_find(set, SPAN("gsc")));
    assert_non_null(platforms_find_insights(set, SPAN("gsc")));
    assert_null(platforms_find_insights(set, SPAN("tiktok")));
    for (size_t i = 0; i < platforms_count(set); i++)
        assert_true(platforms_at(set, i)->sends_webhooks);
    assert_true(platforms_count_all(set) > platforms_count(set));
    assert_int_equal(
        platforms_add_source(set, SPAN("gsc"), SPAN("default"), SPAN("a-secret-of-some-length"), &err),
        INVALID);
    platforms_close(set);
}

static void test_a_site_cannot_leave_its_place(void **state)
{
    static const struct {
        const char *site, *url; /* url NULL: it is not sent */
    } cases[] = {
        {"https://b.example/a b",   NULL                                                         },
        {"https://b.example/../x",  NULL                                                         },
        {"https://b.example/./x",   NULL                                                         },
        {"https:\\\\b.example",     NULL                                                         },
        {"b.example",               NULL                                                         },
        {"",                        NULL                                                         },
        {"https://b.example/\xc3",  NULL                                                         },
        {"https://b.example/?a&b#", "https://a.example/https%3A%2F%2Fb.example%2F%3Fa%26b%23?x=1"},
        {"sc-domain:b.example",     "https://a.example/sc-domain%3Ab.example?x=1"                },
        {"https://b.example/...",   "https://a.example/https%3A%2F%2Fb.example%2F...?x=1"        },
    };
    struct world *w = *state;
    const struct insights *in = given(w, SECTION(URL, CLICKS));
    const struct insights_period period = insights_period(in, 1768473900 * SECOND_US);

    for (size_t i = 0; i < countof(cases); i++) {
        const struct insights_question q = {in, &period, span_of(cases[i].site), SPAN_NONE};
        struct err err = {.text = ""};
        struct poll_call call;
        enum status status = insights_request(&q, TOKEN, &call, &err);

        assert_int_equal(status, cases[i].url ? OK : INVALID);
        if (cases[i].url)
            assert_string_equal(call.url, cases[i].url);
        else
            assert_string_equal(err.cause, "config_error");
        poll_call_close(&call);
    }
}

static void test_a_token_that_cannot_be_sent_is_told_by_its_cause(void **state)
{
    static const char descriptor[] =
        SECTION(URL "\n  headers: [{name: authorization, value: \"Bearer {token}\"}]", CLICKS);
    static const char *const bad[] = {"", "a b", "a\nb", "t\xc3\xa4"};
    struct world *w = *state;
    const struct insights *in = given(w, descriptor);
    const struct insights_period period = insights_period(in, 0);
    const struct insights_question q = {in, &period, SPAN("https://b.example/"), SPAN_NONE};

    for (size_t i = 0; i < countof(bad); i++) {
        struct err err = {.text = ""};
        struct poll_call call;

        assert_int_equal(insights_request(&q, span_of(bad[i]), &call, &err), INVALID);
        assert_string_equal(err.cause, "auth_error");
        assert_null(strstr(err.text, "t\xc3"));
    }
}

static void test_the_period_ends_when_figures_are_final(void **state)
{
    static const struct {
        const char *section, *from, *to;
    } cases[] = {
        {SECTION(URL "\n  days: 1",                CLICKS), "2026-01-15", "2026-01-15"},
        {SECTION(URL,                              CLICKS), "2025-12-19", "2026-01-15"},
        {SECTION(URL "\n  days: 7\n  lag_days: 2", CLICKS), "2026-01-07", "2026-01-13"},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        const struct insights_period p =
            insights_period(given(*state, cases[i].section), 1768473900 * SECOND_US);
        assert_string_equal(p.from, cases[i].from);
        assert_string_equal(p.to, cases[i].to);
    }
}

static void test_only_numbers_are_figures(void **state)
{
    static const struct {
        const char *figures, *answer, *says; /* says NULL: no answer */
    } cases[] = {
        {CLICKS,                                "{\"c\":-1.50}",                         "{\"clicks\":-1.50}"    },
        {CLICKS,                                "{\"c\":-1.5e3}",                        "{\"clicks\":-1500}"    },
        {CLICKS,                                "{\"c\":0.0e-200000}",                   "{\"clicks\":0}"        },
        {CLICKS,                                "{\"c\":1e-20000}",                      NULL                    },
        {CLICKS,                                "{\"c\":\"1\"}",                         NULL                    },
        {CLICKS,                                "{\"c\":true}",                          NULL                    },
        {CLICKS,                                "{\"c\":1e999}",                         NULL                    },
        {CLICKS,                                "{}",                                    NULL                    },
        {CLICKS,                                "{\"c\":null}",                          NULL                    },
        {"{name: n, at: /c, default: 7}",       "{\"c\":null}",                          "{\"n\":7}"             },
        {"{name: n, at: /c, default: 7}",       "[]",                                    "{\"n\":7}"             },
        {"{name: n, at: /c, default: 7}",       "{\"c\":[1]}",                           NULL                    },
        {"{name: n, sum: \"/a/*/c\"}",          "{\"a\":[{\"c\":1},{\"c\":2.5}]}",       "{\"n\":3.5}"           },
        {"{name: n, sum: \"/a/*/c\"}",          "{\"a\":[{\"c\":1},{}]}",                NULL                    },
        {"{name: n, sum: \"/a/*/c\"}",          "{\"a\":[]}",                            "{\"n\":0}"             },
        {"{name: n, sum: \"/a/*/c\"}",          "{}",                                    NULL                    },
        {"{name: n, sum: \"/a/*/c\"}",          "{\"a\":[{\"c\":1e308},{\"c\":1e308}]}", NULL                    },
        {"{name: n, count: \"/a/*\"}",          "{\"a\":[1,null,{}]}",                   "{\"n\":3}"             },
        {CLICKS ", {name: n, count: \"/a/*\"}", "{\"a\":[],\"c\":2}",                    "{\"clicks\":2,\"n\":0}"},
    };
    struct world *w = *state;

    for (size_t i = 0; i < countof(cases); i++) {
        const struct insights *in = given(w, arena_print(w->arena, SECTION(URL, "%s"), cases[i].figures));
        struct span says;
        enum insights_error error = insights_read(in, 200, span_of(cases[i].answer), w->arena, &says);

        assert_int_equal(error, cases[i].says ? INSIGHTS_OK : INSIGHTS_INVALID_RETURN);
        if (cases[i].says)
            assert_true(span_eq(says, span_of(cases[i].says)));
        else
            assert_null(says.at);
    }
}

static void test_a_section_is_refused_with_what_would_be_right(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {SECTION(ASKS("https://a.example/"),                             CLICKS),                                   "insights.url: {site}, here or in the body"   },
        {SECTION(ASKS("https://a.example/{site}/{post}"),                CLICKS),                                   "{post} cannot stand here"                    },
        {SECTION(ASKS("https://a.example/{site}?k={token}"),             CLICKS),                                   "{token} cannot stand here"                   },
        {SECTION(ASKS("http://a.example/{site}"),                        CLICKS),                                   "\"https://\", a host of its own"             },
        {SECTION(URL "\n  body: '{}'",                                   CLICKS),                                   "only a post has a body"                      },
        {SECTION(URL "\n  days: 0",                                      CLICKS),                                   "insights.days: a whole number from 1 to 366" },
        {SECTION(URL "\n  lag_days: 400",                                CLICKS),                                   "from 0 to 366"                               },
        {SECTION(URL "\n  when: \"/a/*\"",                               CLICKS),                                   "insights.when: without \"*\""                },
        {SECTION(URL "\n  rules: [{status: [\"404\"], means: working}]", CLICKS),
         "must be could_not_ask, rate_limited"                                                                                                                    },
        {SECTION(URL,                                                    "{name: a-b, at: /c}"),                    "insights.figures[0].name: at most 64 letters"},
        {SECTION(URL,                                                    "{name: a}"),                              "one of at, sum and count"                    },
        {SECTION(URL,                                                    "{name: a, at: /c, sum: \"/d/*\"}"),       "one of at, sum and count"                    },
        {SECTION(URL,                                                    "{name: a, at: \"/c/*\"}"),                "without \"*\""                               },
        {SECTION(URL,                                                    "{name: a, sum: /c}"),                     "with \"*\""                                  },
        {SECTION(URL,                                                    "{name: a, at: c}"),                       "insights.figures[0].at"                      },
        {SECTION(URL,                                                    "{name: a, at: /c, default: none}"),       "a number, and only beside at"                },
        {SECTION(URL,                                                    "{name: a, count: \"/c/*\", default: 1}"), "a number, and only beside at"                },
        {SECTION(URL,                                                    CLICKS ", " CLICKS),                       "clicks is there already"                     },
        {"name: x\n",                                                    "needs verify too"                       },
        {SECTION(URL,                                       CLICKS) "success: []\n",                        "needs verify too"                                              },
        {SECTION(URL,                                CLICKS) "timeout_minutes: 5\n",       "timeout_minutes: needs verify too"},
    };
    struct world *w = *state;

    for (size_t i = 0; i < countof(cases); i++) {
        struct err err = {.text = ""};
        struct platform p;

        assert_int_equal(descriptor_read("x.yaml", span_of(cases[i].text), w->arena, &p, &err), INVALID);
        if (!strstr(err.text, cases[i].says))
            fail_msg("case %zu says \"%s\", not \"%s\"", i, err.text, cases[i].says);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_each_answer_says_what_its_file_says, open_world, close_world),
        cmocka_unit_test(test_who_sends_no_webhooks_is_no_platform_for_them),
        cmocka_unit_test_setup_teardown(test_a_site_cannot_leave_its_place, open_world, close_world),
        cmocka_unit_test_setup_teardown(test_a_token_that_cannot_be_sent_is_told_by_its_cause, open_world,
                                        close_world),
        cmocka_unit_test_setup_teardown(test_the_period_ends_when_figures_are_final, open_world, close_world),
        cmocka_unit_test_setup_teardown(test_only_numbers_are_figures, open_world, close_world),
        cmocka_unit_test_setup_teardown(test_a_section_is_refused_with_what_would_be_right, open_world,
                                        close_world),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
