#include "support/test.h"

#include "base/doc.h"

#include <stdio.h>
#include <stdlib.h>

#define TEN(s) s s s s s s s s s s

/* With its length, so that a case may hold a NUL. */
#define TEXT(literal)                                                                                        \
    {                                                                                                        \
        (literal), sizeof(literal) - 1                                                                       \
    }

static const struct {
    const char *why;
    struct span text;
    bool good;
} cases[] = {
    {"an object",                            TEXT("{\"a\":1}"),                                     true },
    {"blanks of all four kinds",             TEXT(" \t\r\n[ 1 , 2 ]\n"),                            true },
    {"an empty object",                      TEXT("{ }"),                                           true },
    {"an empty array",                       TEXT("[]"),                                            true },
    {"a bare string",                        TEXT("\"x\""),                                         true },
    {"a bare number",                        TEXT("-0.5e+10"),                                      true },
    {"a zero",                               TEXT("0"),                                             true },
    {"minus zero",                           TEXT("-0"),                                            true },
    {"a large exponent is a number",         TEXT("1e999999"),                                      true },
    {"a number of any length",               TEXT("123456789012345678901234567890"),                true },
    {"the words",                            TEXT("[true,false,null]"),                             true },
    {"every short escape",                   TEXT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""),                true },
    {"an escaped NUL is grammatical",        TEXT("\"\\u0000\""),                                   true },
    {"a lone surrogate is grammatical",      TEXT("\"\\ud800\""),                                   true },
    {"a surrogate pair",                     TEXT("\"\\uD83D\\ude00\""),                            true },
    {"DEL is no control byte of the RFC",    TEXT("\"\x7f\""),                                      true },
    {"two, three and four bytes of UTF-8",   TEXT("\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""),      true },
    {"the last code point",                  TEXT("\"\xf4\x8f\xbf\xbf\""),                          true },
    {"equal names in two objects",           TEXT("{\"a\":{\"a\":1},\"b\":{\"a\":1}}"),             true },
    {"an escaped name beside another",       TEXT("{\"\\u0061\":1,\"b\":2}"),                       true },
    {"names that differ in a NUL",           TEXT("{\"\\u0000\":1,\"\":2}"),                        true },
    {"two lone surrogates as names",         TEXT("{\"\\ud800\":1,\"\\udc00\":2}"),                 true },
    {"64 levels",                            TEXT("[[[[" TEN("[[[[[[") TEN("]]]]]]") "]]]]"),       true },

    {"a name twice",                         TEXT("{\"a\":1,\"a\":2}"),                             false},
    {"a name twice, far apart",              TEXT("{\"a\":{\"b\":[1]},\"b\":{},\"a\":1}"),          false},
    {"an empty name twice",                  TEXT("{\"\":1,\"\":2}"),                               false},
    {"a name twice, once escaped",           TEXT("{\"ab\":1,\"\\u0061b\":2}"),                     false},
    {"a name twice, first escaped",          TEXT("{\"\\u0061b\":1,\"ab\":2}"),                     false},
    {"a name twice, escaped in two ways",    TEXT("{\"\\/\":1,\"\\u002F\":2}"),                     false},
    {"a pair and its four bytes",            TEXT("{\"\\ud83d\\ude00\":1,\"\xf0\x9f\x98\x80\":2}"), false},
    {"a NUL as a name, twice",               TEXT("{\"\\u0000\":1,\"\\u0000\":2}"),                 false},
    {"a lone surrogate as a name, twice",    TEXT("{\"\\ud800\":1,\"\\uD800\":2}"),                 false},
    {"a name twice in an inner object",      TEXT("[{\"a\":{\"b\":1,\"b\":1}}]"),                   false},
    {"nothing",                              TEXT(""),                                              false},
    {"only blanks",                          TEXT("  "),                                            false},
    {"65 levels",                            TEXT("[[[[[" TEN("[[[[[[") TEN("]]]]]]") "]]]]]"),     false},
    {"a leading zero",                       TEXT("01"),                                            false},
    {"a leading zero behind a minus",        TEXT("-01"),                                           false},
    {"a point without digits",               TEXT("1."),                                            false},
    {"a point first",                        TEXT(".5"),                                            false},
    {"a bare minus",                         TEXT("-"),                                             false},
    {"a plus",                               TEXT("+1"),                                            false},
    {"an exponent without digits",           TEXT("1e+"),                                           false},
    {"a bare exponent",                      TEXT("1e"),                                            false},
    {"hexadecimal",                          TEXT("0x1"),                                           false},
    {"not a number",                         TEXT("NaN"),                                           false},
    {"a cut word",                           TEXT("tru"),                                           false},
    {"a word that goes on",                  TEXT("truee"),                                         false},
    {"a capital word",                       TEXT("True"),                                          false},
    {"a trailing comma in an array",         TEXT("[1,]"),                                          false},
    {"a trailing comma in an object",        TEXT("{\"a\":1,}"),                                    false},
    {"a leading comma",                      TEXT("[,1]"),                                          false},
    {"a missing comma",                      TEXT("[1 2]"),                                         false},
    {"a missing colon",                      TEXT("{\"a\" 1}"),                                     false},
    {"a missing value",                      TEXT("{\"a\":}"),                                      false},
    {"a name without quotes",                TEXT("{a:1}"),                                         false},
    {"a number as a name",                   TEXT("{1:1}"),                                         false},
    {"single quotes",                        TEXT("'a'"),                                           false},
    {"a comment",                            TEXT("[1]/*x*/"),                                      false},
    {"brackets of two kinds",                TEXT("[1}"),                                           false},
    {"braces of two kinds",                  TEXT("{\"a\":1]"),                                     false},
    {"an open array",                        TEXT("[1"),                                            false},
    {"an open object",                       TEXT("{\"a\":1"),                                      false},
    {"an open string",                       TEXT("\"abc"),                                         false},
    {"an open string at a backslash",        TEXT("\"abc\\"),                                       false},
    {"a closing bracket too many",           TEXT("[1]]"),                                          false},
    {"a second value",                       TEXT("{} {}"),                                         false},
    {"a NUL behind the value",               TEXT("{}\0"),                                          false},
    {"a NUL in a string",                    TEXT("\"a\0b\""),                                      false},
    {"a line end in a string",               TEXT("\"a\nb\""),                                      false},
    {"a tab in a string",                    TEXT("\"a\tb\""),                                      false},
    {"a control byte after long plain text", TEXT("\"0123456789abcdef0123\x1f\""),                  false},
    {"an unknown escape",                    TEXT("\"\\x41\""),                                     false},
    {"an escape of three digits",            TEXT("\"\\u12g4\""),                                   false},
    {"a cut escape",                         TEXT("\"\\u12"),                                       false},
    {"a byte order mark",                    TEXT("\xef\xbb\xbf{}"),                                false},
    {"a form feed as a blank",               TEXT("\f{}"),                                          false},
    {"a lone continuation byte",             TEXT("\"\x80\""),                                      false},
    {"an overlong slash",                    TEXT("\"\xc0\xaf\""),                                  false},
    {"an overlong three",                    TEXT("\"\xe0\x9f\xbf\""),                              false},
    {"an overlong four",                     TEXT("\"\xf0\x8f\xbf\xbf\""),                          false},
    {"an encoded surrogate",                 TEXT("\"\xed\xa0\x80\""),                              false},
    {"beyond the last code point",           TEXT("\"\xf4\x90\x80\x80\""),                          false},
    {"a byte that never is",                 TEXT("\"\xff\""),                                      false},
    {"a cut character",                      TEXT("\"\xe2\x82\""),                                  false},
    {"a character cut by the end",           TEXT("\"\xe2\x82"),                                    false},
    {"UTF-8 outside a string",               TEXT("[\xc3\xa9]"),                                    false},
};

static bool parses(struct span text)
{
    struct arena *arena = arena_open(1024);
    /* A copy of the very size: the sanitizer sees a read behind the end. */
    char *exact = malloc(text.len + (text.len == 0));
    struct doc d;
    struct err err;
    bool good;

    memcpy(exact, text.at, text.len);
    good = doc_parse(&d, (struct span){exact, text.len}, arena, &err) == OK;
    if (!good)
        assert_string_equal(err.cause, "malformed_json");
    free(exact);
    arena_close(arena);
    return good;
}

static void test_what_the_rfc_takes_is_taken_and_nothing_else(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(cases); i++)
        if (parses(cases[i].text) != cases[i].good)
            fail_msg("%s: %s", cases[i].good ? "refused" : "taken", cases[i].why);
}

static struct doc parsed(const char *text, struct arena *arena)
{
    struct doc d;

    assert_int_equal(doc_parse(&d, span_of(text), arena, NULL), OK);
    return d;
}

static void assert_text(struct span got, const char *want)
{
    if (got.len != strlen(want) || memcmp(got.at, want, got.len) != 0)
        fail_msg("got \"%.*s\", want \"%s\"", SPAN_ARG(got), want);
}

static void test_members_are_found_by_what_their_names_mean(void **state)
{
    struct arena *a = arena_open(64);
    struct doc d = parsed("{\"a\":2,\"b\":{\"a\":[10,{},[1],\"x\"]},\"\\u0061b\":3,\"\\ud83d\\ude00\":4}", a);
    uint32_t list = doc_member(&d, doc_member(&d, 0, SPAN("b")), SPAN("a"));

    (void)state;
    assert_text(doc_raw(&d, doc_member(&d, 0, SPAN("a"))), "2");
    assert_text(doc_raw(&d, doc_member(&d, 0, SPAN("ab"))), "3");
    assert_text(doc_raw(&d, doc_member(&d, 0, SPAN("\xf0\x9f\x98\x80"))), "4");
    assert_int_equal(doc_member(&d, 0, SPAN("abc")), 0);
    assert_int_equal(doc_member(&d, list, SPAN("a")), 0);
    assert_int_equal(doc_element(&d, list, 4), 0);
    assert_text(doc_raw(&d, doc_element(&d, list, 2)), "[1]");
    assert_text(doc_raw(&d, doc_element(&d, list, 3)), "\"x\"");
    assert_int_equal(doc_element(&d, list, 4), 0);
    assert_int_equal(doc_element(&d, 0, 0), 0);
    arena_close(a);
}

/* {"n0":0,"n1":1,...}, and behind it `last`. */
static char *object_of(unsigned n, const char *last, struct arena *a)
{
    char *text = arena_alloc(a, n * strlen("\"n9999\":9999,") + strlen(last) + 3), *to = text;

    *to++ = '{';
    for (unsigned i = 0; i < n; i++)
        to += sprintf(to, "\"n%u\":%u,", i, i);
    sprintf(to, "%s}", last);
    return text;
}

/* Names are compared one by one in a small object and sorted in a large one; both must find all. */
static void test_names_are_unique_and_found_whatever_their_number(void **state)
{
    (void)state;
    for (unsigned n = 1; n < 10000; n += n < 70 ? 1 : 3311) {
        struct arena *a = arena_open(64);
        struct doc d = parsed(object_of(n, "\"last\":\"x\"", a), a);
        for (unsigned i = 0; i < n; i += 1 + n / 70) {
            char *name = arena_print(a, "n%u", i);
            assert_text(doc_raw(&d, doc_member(&d, 0, span_of(name))), name + 1);
            if (parses(span_of(object_of(n, arena_print(a, "\"%s\":1", name), a))))
                fail_msg("%s twice among %u names is taken", name, n + 1);
        }
        assert_text(doc_raw(&d, doc_member(&d, 0, SPAN("last"))), "\"x\"");
        assert_int_equal(doc_member(&d, 0, SPAN("n")), 0);
        assert_false(parses(span_of(object_of(n, "\"\\u006e0\":1", a))));
        arena_close(a);
    }
}

static void test_a_start_shows_whether_there_is_more(void **state)
{
    static const struct {
        const char *json;
        size_t most;
        const char *want; /* at most `most` bytes: all of it; more: its start */
    } starts[] = {
        {"\"abc\\n\"",                3, "abc\n"                   },
        {"\"abc\\n\"",                4, "abc\n"                   },
        {"\"abcdefgh\\n\"",           4, "abcde"                   },
        {"\"\\u20ac\\u20ac\\u20ac\"", 3, "\xe2\x82\xac\xe2\x82\xac"},
        {"\"\\u20ac\\u20ac\\u20ac\"", 2, "\xe2\x82\xac"            },
        {"\"\\nabcdefgh\\u0000\"",    4, "\nabcd"                  },
    };
    struct arena *a = arena_open(64);

    (void)state;
    for (size_t i = 0; i < countof(starts); i++) {
        struct doc d = parsed(starts[i].json, a);
        assert_text(doc_text_start(&d, 0, starts[i].most, a), starts[i].want);
    }
    arena_close(a);
}

static void test_the_text_of_a_scalar_is_what_it_says(void **state)
{
    static const struct {
        const char *json, *want; /* NULL: no text */
    } texts[] = {
        {"\"plain\"",                        "plain"                               },
        {"\"\"",                             ""                                    },
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",   "\"\\/\b\f\n\r\t"                     },
        {"\"\\u00e9\\u20AC\\ud83d\\ude00\"", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"\"a\\u0041\xc3\xa9\"",             "aA\xc3\xa9"                          },
        {"-1.50e3",                          "-1.50e3"                             },
        {"true",                             "true"                                },
        {"false",                            "false"                               },
        {"null",                             NULL                                  },
        {"{}",                               NULL                                  },
        {"[]",                               NULL                                  },
        {"\"a\\u0000b\"",                    NULL                                  },
        {"\"\\ud83d\"",                      NULL                                  },
        {"\"\\ud83dx\"",                     NULL                                  },
        {"\"\\ude00\\ud83d\"",               NULL                                  },
        {"\"\\ud83d\\u0041\"",               NULL                                  },
    };
    struct arena *a = arena_open(64);

    (void)state;
    for (size_t i = 0; i < countof(texts); i++) {
        struct doc d = parsed(texts[i].json, a);
        struct span text = doc_text(&d, 0, a);
        if (texts[i].want)
            assert_text(text, texts[i].want);
        else if (text.at)
            fail_msg("%s has a text", texts[i].json);
    }
    arena_close(a);
}

static void test_quoting_and_reading_give_back_the_same(void **state)
{
    struct arena *a = arena_open(64);
    char all[256];
    struct span text, quoted;
    struct doc d;

    (void)state;
    for (int i = 0; i < 0x80; i++)
        all[i] = (char)i;
    text = (struct span){all + 1, 0x7f};
    quoted = doc_quote(text, a);
    assert_int_equal(doc_parse(&d, quoted, a, NULL), OK);
    assert_true(span_eq(doc_text(&d, 0, a), text));
    arena_close(a);
}

static void test_too_many_values_are_refused(void **state)
{
    char *text = malloc(2 * DOC_NODES_MAX + 2), *to = text;

    (void)state;
    *to++ = '[';
    for (int i = 1; i < DOC_NODES_MAX; i++) {
        *to++ = '1';
        *to++ = ',';
    }
    to[-1] = ']';
    assert_true(parses((struct span){text, (size_t)(to - text)}));
    memcpy(to - 1, ",1]", 3);
    assert_false(parses((struct span){text, (size_t)(to - text) + 2}));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_the_rfc_takes_is_taken_and_nothing_else),
        cmocka_unit_test(test_members_are_found_by_what_their_names_mean),
        cmocka_unit_test(test_names_are_unique_and_found_whatever_their_number),
        cmocka_unit_test(test_a_start_shows_whether_there_is_more),
        cmocka_unit_test(test_the_text_of_a_scalar_is_what_it_says),
        cmocka_unit_test(test_quoting_and_reading_give_back_the_same),
        cmocka_unit_test(test_too_many_values_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
