#include "support/test.h"

#include "commands/capture.h"

#define START "POST /a HTTP/1.1\n"

static const struct {
    const char *why, *text;
    const char *wrong; /* NULL: can be read; else part of what is said */
} cases[] = {
    {"lines that end in LF",            START "Host: x\n\nbody",                   NULL                    },
    {"lines that end in CRLF",          "POST /a HTTP/1.1\r\nHost: x\r\n\r\nbody", NULL                    },
    {"no header at all",                START "\nbody",                            NULL                    },
    {"a name of all that may be in it", START "x-!#$%&'*+.^_`|~9: 1\n\n",          NULL                    },
    {"nothing",                         "",                                        "line 1"                },
    {"no line end",                     "POST /a HTTP/1.1",                        "line 1"                },
    {"no version",                      "POST /a\n\n",                             "line 1"                },
    {"no target",                       "POST  HTTP/1.1\n\n",                      "line 1"                },
    {"a body alone",                    "{\"a\": 1}\n",                            "line 1"                },
    {"an answer",                       "HTTP/1.1 200 OK\n\n",                     "line 1"                },
    {"the blank line is missing",       START "Host: x\n",                         "line 3: the blank line"},
    {"it ends inside a header",         START "Host: x",                           "line 2: the blank line"},
    {"the body comes at once",          START "Host: x\n{\"a\": 1}\n\n",           "line 3: want"          },
    {"a header without a colon",        START "Host\n\n",                          "line 2: want"          },
    {"a header that goes on",           START "A: 1\n b: 2\n\n",                   "line 3: want"          },
    {"a name with a blank",             START "A b: 1\n\n",                        "line 2: want"          },
    {"a header without a name",         START ": 1\n\n",                           "line 2: want"          },
    {"a length that is no number",      START "Content-Length: 3x\n\n",            "line 2: Content-Length"},
};

static void test_what_is_a_request(void **state)
{
    struct arena *arena = arena_open(16384);
    struct capture c;

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct err err = {0};
        enum status status = capture_read(span_of(cases[i].text), arena, &c, &err);
        if (status != (cases[i].wrong ? INVALID : OK))
            fail_msg("%s: %s", cases[i].why, err.text);
        if (cases[i].wrong && !strstr(err.text, cases[i].wrong))
            fail_msg("%s: \"%s\" is not in \"%s\"", cases[i].why, cases[i].wrong, err.text);
    }
    arena_close(arena);
}

static void same(struct span got, const char *want)
{
    if (!span_eq(got, span_of(want)))
        fail_msg("got \"%.*s\" in place of \"%s\"", SPAN_ARG(got), want);
}

static void test_its_parts_are_exact(void **state)
{
    static const char text[] = "POST /hooks/x?a=1&b=?2 HTTP/1.1\r\n"
                               "X-Sign:\t v1 = \xc3\xa4 \r\n"
                               "x-sign: again\n"
                               "Empty:\r\n"
                               "Content-Length: 9\r\n"
                               "\r\n"
                               "a\r\nb\n\0\r\nc";
    struct arena *arena = arena_open(16384);
    struct err err = {0};
    struct capture c;

    (void)state;
    assert_int_equal(capture_read((struct span){text, sizeof(text) - 1}, arena, &c, &err), OK);
    same(c.method, "POST");
    same(c.path, "/hooks/x");
    same(c.query, "a=1&b=?2");
    assert_int_equal(c.nheaders, 4);
    same(c.headers[0].name, "x-sign");
    same(c.headers[0].value, "v1 = \xc3\xa4");
    same(c.headers[1].name, "x-sign");
    same(c.headers[2].name, "empty");
    assert_int_equal(c.headers[2].value.len, 0);
    assert_true(c.has_length);
    assert_int_equal(c.length, 9);
    assert_int_equal(c.body.len, 9); /* with its own line ends and the NUL */
    assert_memory_equal(c.body.at, "a\r\nb\n\0\r\nc", 9);
    arena_close(arena);
}

static void test_without_query_length_and_body(void **state)
{
    struct arena *arena = arena_open(16384);
    struct err err = {0};
    struct capture c;

    (void)state;
    assert_int_equal(capture_read(SPAN("GET /a HTTP/1.1\n\n"), arena, &c, &err), OK);
    assert_null(c.query.at);
    assert_false(c.has_length);
    assert_non_null(c.body.at);
    assert_int_equal(c.body.len, 0);
    arena_close(arena);
}

static void test_headers_are_capped(void **state)
{
    struct arena *arena = arena_open(65536);
    char text[4096] = START;
    struct err err = {0};
    struct capture c;

    (void)state;
    for (size_t i = 0; i < CAPTURE_HEADERS_MAX; i++)
        strcat(text, "a: 1\n");
    strcat(text, "\n");
    assert_int_equal(capture_read(span_of(text), arena, &c, &err), OK);
    strcpy(text + strlen(text) - 1, "a: 1\n\n");
    assert_int_equal(capture_read(span_of(text), arena, &c, &err), INVALID);
    arena_close(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_a_request),
        cmocka_unit_test(test_its_parts_are_exact),
        cmocka_unit_test(test_without_query_length_and_body),
        cmocka_unit_test(test_headers_are_capped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
