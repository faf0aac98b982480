#include "support/test.h"

#include "base/now.h"
#include "params.h"

#include <stdio.h>

#define KEY "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define ID  "01a20074-8f5a-76e1-94b4-5e99b65e7f06"

/* clang-format off: version 14 spoils rows of unequal length */
static const struct param query_table[] = {
    {"status",     FROM_QUERY,         PARAM_CHOICE, .words = "pending failed"},
    {"user",       FROM_QUERY,         PARAM_TEXT,   .min = 1,                  .max = 10},
    {"limit",            FROM_QUERY,                        PARAM_INT,               .min = 1,        .max = 500, .standard = "50"},
    {"state",  FROM_QUERY,    PARAM_ROUTE,                .words = "refused"                           },
    {"cursor", FROM_QUERY,PARAM_CURSOR,.words = "time key"},
};
enum { STATUS, USER, LIMIT, CURSOR_TIME, CURSOR_KEY };

static const struct param body_table[] = {
    {"id",                   FROM_SERVER, PARAM_NEW_ID  },
    {"platform",             FROM_BODY,   PARAM_WORD,     .min = 1, .max = 50, .required = true},
    {"source",             FROM_BODY,        PARAM_WORD,                      .min = 1, .max = 64, .standard = "default"},
    {"at", FROM_BODY,PARAM_TIME},
    {"n", FROM_BODY,            PARAM_INT,                       .min = 0, .max = 9, .standard = "3"},
    {"extra",            FROM_BODY,                             PARAM_OBJECT,                                                              .standard = "{}"},
    {"clip",             FROM_BODY,     PARAM_UUID},
    {"name",                      FROM_BODY,                           PARAM_TEXT,                     .min = 1, .max = 20},
    {"idempotency-key",      FROM_HEADER,                 PARAM_TEXT,.min = 1, .max = 5},
    {"whole",            FROM_BODY,                   PARAM_WHOLE                                       },
};
enum { NEW_ID, PLATFORM, SOURCE, AT, N, EXTRA, CLIP, NAME, IDEMPOTENCY, WHOLE };

static const struct param item_table[] = {
    {"at",      FROM_BODY, PARAM_TIME,      .required = true},
    {"amount",         FROM_BODY,           PARAM_AMOUNT,         .max = 4, .min = 6, .required = true},
    {"n", FROM_BODY,  PARAM_INT,.min = 0, .max = INT64_MAX, .standard = "0"},
    {"clip",       FROM_BODY,       PARAM_UUID           },
};
static const struct param list_table[] = {
    {"who",      FROM_BODY,        PARAM_TENANT, .min = 1, .max = 10, .required = true},
    {"items", FROM_BODY, PARAM_LIST,             .min = 1, .max = 3, .required = true, .of = item_table,
     .nof = countof(item_table)},
    {"days", FROM_SERVER,       PARAM_COST_DAYS},
};
enum { LIST_WHO, ITEM_AT, ITEM_AMOUNT, ITEM_N, ITEM_CLIP, LIST_DAYS };

static const struct param secret_table[] = {
    {"who",         FROM_PATH,       PARAM_TEXT, .min = 1,              .max = 10},
    {"where",             FROM_BODY,                      PARAM_TEXT,           .min = 1, .max = 10, .standard = "here"},
    {"token",    FROM_BODY, PARAM_SECRET,           .min = 1,                          .max = 8},
    {"after", FROM_BODY,        PARAM_BOOL,.standard = "true"},
};
enum { WHO, WHERE, TOKEN, KEY_ID, AFTER };
/* clang-format on */

static struct arena *arena;
static const char *key_header;

static int open_arena(void **state)
{
    (void)state;
    arena = arena_open(4096);
    key_header = NULL;
    return 0;
}

static int close_arena(void **state)
{
    (void)state;
    arena_close(arena);
    return 0;
}

static struct span header_of(void *ctx, const char *name)
{
    (void)ctx;
    assert_string_equal(name, "idempotency-key");
    return span_of(key_header);
}

static enum status read_query(struct params *ret, const char *query, struct err *err)
{
    const struct param_input input = {.query = span_of(query)};

    return params_read(ret, query_table, countof(query_table), &input, arena, err);
}

static enum status read_body(struct params *ret, const char *body, struct err *err)
{
    const struct param_input input = {.body = span_of(body), .header = header_of, .wall_us = now_wall_us()};

    return params_read(ret, body_table, countof(body_table), &input, arena, err);
}

static void assert_text(const struct param_value *value, const char *want)
{
    assert_true(value->given);
    if (!span_eq(value->text, span_of(want)))
        fail_msg("\"%.*s\" is not \"%s\"", SPAN_ARG(value->text), want);
}

static void test_absent_values_are_null_or_their_default(void **state)
{
    struct params p;
    struct err err;

    (void)state;
    assert_int_equal(read_query(&p, NULL, &err), OK);
    assert_int_equal(p.nvalues, 5); /* a cursor's parts are two, and what chose the route is none */
    assert_false(p.values[STATUS].given);
    assert_false(p.values[CURSOR_TIME].given);
    assert_false(p.values[CURSOR_KEY].given);
    assert_int_equal(p.values[LIMIT].number, 50);
}

static void test_a_query_is_decoded(void **state)
{
    struct params p;
    struct err err;

    (void)state;
    assert_int_equal(read_query(&p, "user=a%20b+%c3%BC&status=failed&limit=500&&state=refused", &err), OK);
    assert_text(&p.values[USER], "a b \xc3\xbc");
    assert_text(&p.values[STATUS], "failed");
    assert_int_equal(p.values[LIMIT].number, 500);
}

static void test_wrong_queries_are_refused_by_name(void **state)
{
    static const struct {
        const char *query, *field, *message;
    } cases[] = {
        {"limit=0",                    "limit",   "must be an integer from 1 to 500"                          },
        {"limit=501",                  "limit",   "must be an integer from 1 to 500"                          },
        {"limit=5x",                   "limit",   "must be an integer from 1 to 500"                          },
        {"limit=-1",                   "limit",   "must be an integer from 1 to 500"                          },
        {"limit=",                     "limit",   "must be an integer from 1 to 500"                          },
        {"limit=99999999999999999999", "limit",   "must be an integer from 1 to 500"                          },
        {"limit",                      "limit",   "must be an integer from 1 to 500"                          },
        {"limit=1&limit=1",            "limit",   "is given twice"                                            },
        {"status=Failed",              "status",  "must be one of: pending failed"                            },
        {"status=",                    "status",  "must be one of: pending failed"                            },
        {"user=",                      "user",    "must be a text of 1 to 10 bytes without control characters"},
        {"user=12345678901",           "user",    "must be a text of 1 to 10 bytes without control characters"},
        {"user=a%00b",                 "user",    "must be a text of 1 to 10 bytes without control characters"},
        {"user=a%0ab",                 "user",    "must be a text of 1 to 10 bytes without control characters"},
        {"user=%ff",                   "user",    "must be a text of 1 to 10 bytes without control characters"},
        {"user=%ed%a0%80",             "user",    "must be a text of 1 to 10 bytes without control characters"},
        {"user=%c0%80",                "user",    "must be a text of 1 to 10 bytes without control characters"},
        {"user=%c3",                   "user",    "must be a text of 1 to 10 bytes without control characters"},
        {"state=late",                 "state",   "must be one of: refused"                                   },
        {"Status=failed",              "Status",  "is not known here"                                         },
        {"%ff=1",                      "(query)", "is not known here"                                         },
        {"cursor=",                    "cursor",  "is no cursor of this list"                                 },
        {"cursor=zz",                  "cursor",  "is no cursor of this list"                                 },
        {"cursor=313233",              "cursor",  "is no cursor of this list"                                 },
        {"cursor=3132332e6162",        "cursor",  "is no cursor of this list"                                 },
    };

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct params p;
        struct err err;

        if (read_query(&p, cases[i].query, &err) != INVALID || strcmp(err.cause, "invalid_parameter") != 0)
            fail_msg("\"%s\" was taken", cases[i].query);
        assert_int_equal(p.nerrors, 1);
        if (!span_eq(p.errors[0].field, span_of(cases[i].field)))
            fail_msg("\"%s\": field %.*s", cases[i].query, SPAN_ARG(p.errors[0].field));
        assert_string_equal(p.errors[0].message, cases[i].message);
    }
}

static void test_all_that_is_wrong_is_named_at_once(void **state)
{
    struct params p;
    struct err err;

    (void)state;
    assert_int_equal(read_query(&p, "limit=0&what=1&status=x", &err), INVALID);
    assert_int_equal(p.nerrors, 3);
}

static char *hex_of(const char *text)
{
    char *ret = arena_alloc(arena, 2 * strlen(text) + 1);

    for (size_t i = 0; i <= strlen(text); i++)
        snprintf(ret + 2 * i, 3, "%02x", (unsigned char)text[i]);
    ret[2 * strlen(text)] = '\0';
    return ret;
}

static void test_a_cursor_becomes_its_parts(void **state)
{
    struct params p;
    struct err err;

    (void)state;
    assert_int_equal(read_query(&p, arena_print(arena, "cursor=%s", hex_of("1768473900123456." KEY)), &err),
                     OK);
    assert_int_equal(p.values[CURSOR_TIME].type, PARAM_TIME);
    assert_int_equal(p.values[CURSOR_TIME].number, 1768473900123456);
    assert_int_equal(p.values[CURSOR_KEY].text.len, 32);
    assert_memory_equal(p.values[CURSOR_KEY].text.at, "\x00\x11\x22\x33", 4);
}

static void test_the_last_part_of_a_cursor_may_hold_dots(void **state)
{
    static const struct param table[] = {
        {"cursor", FROM_QUERY, PARAM_CURSOR, .words = "id text"}
    };
    const struct param_input input = {.query =
                                          span_of(arena_print(arena, "cursor=%s", hex_of(ID ".app.two")))};
    struct params p;
    struct err err;

    (void)state;
    assert_int_equal(params_read(&p, table, 1, &input, arena, &err), OK);
    assert_text(&p.values[1], "app.two");
}

static void test_a_body_fills_its_values(void **state)
{
    const char *body = " {\"platform\":\"insta\\u0067ram\",\"at\":\"2026-01-15T11:45:00.5+01:00\",\"n\":0,"
                       "\"extra\":{\"a\":[1]},\"clip\":\"" ID "\",\"name\":null} ";
    struct params p;
    struct err err;
    char text[ID_TEXT_BYTES];

    (void)state;
    key_header = "k-1";
    assert_int_equal(read_body(&p, body, &err), OK);
    assert_text(&p.values[PLATFORM], "instagram");
    assert_text(&p.values[SOURCE], "default");
    assert_int_equal(p.values[AT].number, 1768473900500000);
    assert_int_equal(p.values[N].number, 0);
    assert_text(&p.values[EXTRA], "{\"a\":[1]}");
    id_text(&p.values[CLIP].id, text);
    assert_string_equal(text, ID);
    assert_false(p.values[NAME].given);
    assert_text(&p.values[IDEMPOTENCY], "k-1");
    assert_text(&p.values[WHOLE], body);
    assert_int_equal(p.values[NEW_ID].id.bytes[6] >> 4, 7);
}

static void test_wrong_bodies_are_refused_by_name(void **state)
{
    static const struct {
        const char *body, *cause, *field;
    } cases[] = {
        {"{}",                                                   "invalid_parameter", "platform"},
        {"{\"platform\":null}",                                  "invalid_parameter", "platform"},
        {"{\"platform\":7}",                                     "invalid_parameter", "platform"},
        {"{\"platform\":\"a b\"}",                               "invalid_parameter", "platform"},
        {"{\"platform\":\"a\\u0000\"}",                          "invalid_parameter", "platform"},
        {"{\"platform\":\"a\",\"n\":\"5\"}",                     "invalid_parameter", "n"       },
        {"{\"platform\":\"a\",\"n\":1.5}",                       "invalid_parameter", "n"       },
        {"{\"platform\":\"a\",\"n\":10}",                        "invalid_parameter", "n"       },
        {"{\"platform\":\"a\",\"extra\":[]}",                    "invalid_parameter", "extra"   },
        {"{\"platform\":\"a\",\"clip\":\"" KEY "\"}",            "invalid_parameter", "clip"    },
        {"{\"platform\":\"a\",\"at\":\"2026-02-30T00:00:00Z\"}", "invalid_parameter", "at"      },
        {"{\"platform\":\"a\",\"at\":\"2026-01-15T10:45:00\"}",  "invalid_parameter", "at"      },
        {"{\"platform\":\"a\",\"at\":\"1768473900\"}",           "invalid_parameter", "at"      },
        {"{\"platform\":\"a\",\"whole\":1}",                     "invalid_parameter", "whole"   },
        {"{\"platform\":\"a\",\"id\":\"" ID "\"}",               "invalid_parameter", "id"      },
        {"{\"platform\":\"a\",\"\\u0070x\":1}",                  "invalid_parameter", "px"      },
        {"[]",                                                   "malformed_json",    NULL      },
        {"",                                                     "malformed_json",    NULL      },
        {"{\"platform\":\"a\"",                                  "malformed_json",    NULL      },
    };

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct params p;
        struct err err;

        if (read_body(&p, cases[i].body, &err) != INVALID || strcmp(err.cause, cases[i].cause) != 0)
            fail_msg("%s was taken, or refused for another cause", cases[i].body);
        if (cases[i].field && (p.nerrors != 1 || !span_eq(p.errors[0].field, span_of(cases[i].field))))
            fail_msg("%s: %zu errors, the first of %.*s", cases[i].body, p.nerrors,
                     SPAN_ARG(p.errors[0].field));
    }
}

static enum status read_list(struct params *ret, const char *body, struct err *err)
{
    const struct param_input input = {.body = span_of(body), .cost_days = 365};

    return params_read(ret, list_table, countof(list_table), &input, arena, err);
}

#define ITEM "{\"at\":\"2026-01-15T10:45:00Z\",\"amount\":\"1\"}"

static void test_a_list_becomes_an_array_a_row(void **state)
{
    const char *body =
        "{\"who\":\"anna\",\"items\":[{\"amount\":\"0.003100\",\"at\":\"2026-01-15T11:45:00.5+01:00\","
        "\"clip\":\"" ID "\"},{\"n\":9223372036854775807,\"at\":\"2026-01-15T10:45:00Z\","
        "\"amount\":12.5,\"clip\":null}]}";
    struct pg_args args;
    struct params p;
    struct err err;

    (void)state;
    assert_int_equal(read_list(&p, body, &err), OK);
    assert_int_equal(p.nvalues, 6);
    for (size_t i = ITEM_AT; i <= ITEM_CLIP; i++)
        assert_int_equal(p.values[i].neach, 2);
    assert_int_equal(p.values[ITEM_AT].each[0].number, 1768473900500000);
    assert_text(&p.values[ITEM_AMOUNT].each[0], "0.003100");
    assert_text(&p.values[ITEM_AMOUNT].each[1], "12.5");
    assert_int_equal(p.values[ITEM_N].each[0].number, 0);
    assert_int_equal(p.values[ITEM_N].each[1].number, INT64_MAX);
    assert_text(&p.values[ITEM_CLIP].each[0], ID);
    assert_false(p.values[ITEM_CLIP].each[1].given);
    assert_int_equal(p.values[LIST_DAYS].number, 365);
    pg_args_init(&args, arena);
    params_bind(&p, &args);
    assert_int_equal(args.n, 6);
    assert_memory_equal(args.values[2], "\0\0\0\1\0\0\0\0\0\0\0\x19\0\0\0\2", 16); /* text[] of two */
    assert_memory_equal(args.values[4], "\0\0\0\1\0\0\0\1\0\0\0\x19\0\0\0\2", 16); /* with a null */
}

static void test_what_is_wrong_in_a_list_is_named_by_its_place(void **state)
{
    static const struct {
        const char *items, *field;
    } cases[] = {
        {"1",                                                                      "items"          },
        {"[]",                                                                     "items"          },
        {"[" ITEM "," ITEM "," ITEM "," ITEM "]",                                  "items"          },
        {"null",                                                                   "items"          },
        {"[" ITEM ",7]",                                                           "items[1]"       },
        {"[" ITEM ",null]",                                                        "items[1]"       },
        {"[{\"amount\":\"1\"}]",                                                   "items[0].at"    },
        {"[{\"at\":\"2026-01-15\",\"amount\":\"1\"}]",                             "items[0].at"    },
        {"[{\"at\":\"2026-01-15T10:45:00Z\"}]",                                    "items[0].amount"},
        {"[" ITEM ",{\"at\":\"2026-01-15T10:45:00Z\",\"amount\":\"1\",\"n\":-1}]", "items[1].n"     },
        {"[{\"at\":\"2026-01-15T10:45:00Z\",\"amount\":\"1\",\"colour\":1}]",      "items[0].colour"},
        {"[{\"at\":\"2026-01-15T10:45:00Z\",\"amount\":\"1\",\"clip\":\"x\"}]",    "items[0].clip"  },
    };

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct params p;
        struct err err;

        if (read_list(&p, arena_print(arena, "{\"who\":\"anna\",\"items\":%s}", cases[i].items), &err) !=
                INVALID ||
            p.nerrors != 1 || !span_eq(p.errors[0].field, span_of(cases[i].field)))
            fail_msg("%s: %zu errors, the first of %.*s", cases[i].items, p.nerrors,
                     p.nerrors ? (int)p.errors[0].field.len : 0, p.nerrors ? p.errors[0].field.at : "");
    }
}

static void test_amounts_are_plain_decimals(void **state)
{
    static const struct {
        const char *amount;
        enum status want;
    } cases[] = {
        {"\"0\"",               OK     },
        {"\"0.000001\"",        OK     },
        {"9999.999999",         OK     },
        {"\"0010.50\"",         OK     },
        {"1",                   OK     },
        {"0.0000001",           INVALID},
        {"0.30000000000000004", INVALID},
        {"10000",               INVALID},
        {"1e-3",                INVALID},
        {"-1",                  INVALID},
        {"\"+1\"",              INVALID},
        {"\"1,5\"",             INVALID},
        {"\"1.\"",              INVALID},
        {"\".5\"",              INVALID},
        {"\"1.2.3\"",           INVALID},
        {"\"\"",                INVALID},
        {"\" 1\"",              INVALID},
        {"\"NaN\"",             INVALID},
        {"\"\\u0661\"",         INVALID},
        {"true",                INVALID},
        {"[1]",                 INVALID},
    };

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct params p;
        struct err err = {.code = OK};

        if (read_list(
                &p,
                arena_print(arena,
                            "{\"who\":\"a\",\"items\":[{\"at\":\"2026-01-15T10:45:00Z\",\"amount\":%s}]}",
                            cases[i].amount),
                &err) != cases[i].want)
            fail_msg("%s was %s", cases[i].amount, cases[i].want == OK ? "refused" : "taken");
    }
}

static void test_days_are_days_of_the_calendar(void **state)
{
    static const struct param table[] = {
        {"day", FROM_QUERY, PARAM_DATE}
    };
    static const struct {
        const char *query;
        enum status want;
    } cases[] = {
        {"day=2026-01-31",           OK     },
        {"day=2024-02-29",           OK     },
        {"day=1970-01-01",           OK     },
        {"day=9999-12-31",           OK     },
        {"day=2026-02-29",           INVALID},
        {"day=2026-04-31",           INVALID},
        {"day=1969-12-31",           INVALID},
        {"day=2026-1-1",             INVALID},
        {"day=20260101",             INVALID},
        {"day=2026-01-01T00:00:00Z", INVALID},
        {"day=yesterday",            INVALID},
        {"day=",                     INVALID},
        {"day=2026-01-0%00",         INVALID},
    };

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        const struct param_input input = {.query = span_of(cases[i].query)};
        struct params p;
        struct err err = {.code = OK};

        if (params_read(&p, table, 1, &input, arena, &err) != cases[i].want)
            fail_msg("%s was %s", cases[i].query, cases[i].want == OK ? "refused" : "taken");
    }
}

static void test_a_wrong_header_is_refused_by_name(void **state)
{
    struct params p;
    struct err err;

    (void)state;
    key_header = "123456";
    assert_int_equal(read_body(&p, "{\"platform\":\"a\"}", &err), INVALID);
    assert_true(span_eq(p.errors[0].field, SPAN("idempotency-key")));
}

static const struct seal_keys *seal_keys;

static enum status read_secret(struct params *ret, const char *who, const char *body, struct err *err)
{
    const struct param_input input = {.path = {span_of(who)}, .body = span_of(body), .keys = seal_keys};

    return params_read(ret, secret_table, countof(secret_table), &input, arena, err);
}

static void test_a_secret_is_sealed_for_what_stands_before_it(void **state)
{
    struct seal_keys *keys = seal_keys_read(SPAN(KEY), &(struct err){0});
    struct params p;
    struct err err;
    struct span place[2], plain;
    char room[16];

    (void)state;
    seal_keys = keys;
    assert_int_equal(read_secret(&p, "a%2Fb+c", "{\"token\":\"t\\u0020ken\",\"where\":\"there\"}", &err), OK);
    assert_int_equal(p.nvalues, 5);
    assert_text(&p.values[WHO], "a/b+c"); /* a path is not a form: its plus is one */
    assert_null(memmem(p.values[TOKEN].text.at, p.values[TOKEN].text.len, "t ken", 5));
    assert_true(span_eq(p.values[KEY_ID].text, seal_key_id(keys)));
    place[0] = p.values[WHO].text;
    place[1] = p.values[WHERE].text;
    assert_int_equal(seal_open(keys, &(struct sealed){p.values[KEY_ID].text, p.values[TOKEN].text, place, 2},
                               room, sizeof(room), &plain, &err),
                     OK);
    assert_true(span_eq(plain, SPAN("t ken")));

    assert_int_equal(read_secret(&p, "a", "{\"after\":false}", &err), OK);
    assert_null(p.values[TOKEN].text.at);
    assert_null(p.values[KEY_ID].text.at);
    assert_int_equal(p.values[AFTER].number, 0);
    seal_keys = NULL;
    seal_keys_close(keys);
}

static void test_a_wrong_secret_is_refused_and_not_shown(void **state)
{
    static const char *const bad[] = {"{\"token\":\"\"}",          "{\"token\":\"123456789\"}",
                                      "{\"token\":\"can\\nary\"}", "{\"token\":\"can\xc3\xa9ry\"}",
                                      "{\"token\":12345678}",      "{\"token\":{\"a\":1}}"};
    struct seal_keys *keys = seal_keys_read(SPAN(KEY), &(struct err){0});
    struct params p;
    struct err err;

    (void)state;
    seal_keys = keys;
    for (size_t i = 0; i < countof(bad); i++) {
        assert_int_equal(read_secret(&p, "a", bad[i], &err), INVALID);
        assert_int_equal(p.nerrors, 1);
        assert_true(span_eq(p.errors[0].field, SPAN("token")));
        assert_null(strstr(p.errors[0].message, "can"));
        assert_null(strstr(err.text, "can"));
    }
    seal_keys = NULL;
    assert_int_equal(read_secret(&p, "a", "{\"token\":\"canary\"}", &err), BROKEN);
    assert_string_equal(err.cause, "no_seal_key");
    assert_null(strstr(err.text, "canary"));
    assert_int_equal(read_secret(&p, "a", "{}", &err), OK); /* without one no key is needed */
    seal_keys_close(keys);
}

static void assert_without_cursor(const char *query, const char *want)
{
    struct span got = query_without(span_of(query), "cursor", arena);

    if (!span_eq(got, span_of(want)))
        fail_msg("\"%.*s\" is not \"%s\"", SPAN_ARG(got), want);
}

static void test_a_link_repeats_the_query_without_its_cursor(void **state)
{
    (void)state;
    assert_without_cursor("a=1&cur%73or=x&b=<%20>&&cursor=y", "a=1&b=%3C%20%3E");
    assert_without_cursor("cursor=y", "");
    assert_without_cursor(NULL, "");
}

static void test_a_query_chooses_a_route_by_its_exact_word(void **state)
{
    (void)state;
    assert_true(query_holds(SPAN("a=1&state=refused"), "state=refused"));
    assert_false(query_holds(SPAN("a=1&state=refusedx&xstate=refused"), "state=refused"));
    assert_false(query_holds(SPAN_NONE, "state=refused"));
}

static enum status read_as(const char *tenant, const char *query, struct params *ret, struct err *err)
{
    static const struct param table[] = {
        {"user_id", FROM_QUERY, PARAM_TENANT, .min = 1, .max = 20}
    };
    const struct param_input input = {.query = span_of(query), .tenant = span_of(tenant)};

    return params_read(ret, table, countof(table), &input, arena, err);
}

/* tenant NULL: held to none. */
static void test_a_tenant_names_no_other(void **state)
{
    static const struct {
        const char *tenant, *query, *value, *cause;
    } cases[] = {
        {NULL,   NULL,              NULL,   NULL               },
        {NULL,   "user_id=anna",    "anna", NULL               },
        {"anna", NULL,              "anna", NULL               },
        {"anna", "user_id=anna",    "anna", NULL               },
        {"anna", "user_id=%61nna",  "anna", NULL               },
        {"anna", "user_id=bert",    NULL,   "other_tenant"     },
        {"anna", "user_id=Anna",    NULL,   "other_tenant"     },
        {"anna", "user_id=",        NULL,   "invalid_parameter"},
        {"anna", "user_id=anna%00", NULL,   "invalid_parameter"},
        {"anna", "user_id=anna%20", NULL,   "invalid_parameter"},
        {NULL,   "user_id=+anna",   NULL,   "invalid_parameter"},
        {NULL,   "user_id=+",       NULL,   "invalid_parameter"},
        {NULL,   "user_id=a+b",     "a b",  NULL               },
    };

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct params params;
        struct err err = {.code = OK};
        enum status status = read_as(cases[i].tenant, cases[i].query, &params, &err);

        assert_int_equal(status, cases[i].cause ? INVALID : OK);
        if (cases[i].cause)
            assert_string_equal(err.cause, cases[i].cause);
        else
            assert_true(span_eq(params.values[0].text, span_of(cases[i].value)));
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_arena, close_arena)
    const struct CMUnitTest tests[] = {
        TEST(test_absent_values_are_null_or_their_default),
        TEST(test_a_query_is_decoded),
        TEST(test_wrong_queries_are_refused_by_name),
        TEST(test_all_that_is_wrong_is_named_at_once),
        TEST(test_a_cursor_becomes_its_parts),
        TEST(test_the_last_part_of_a_cursor_may_hold_dots),
        TEST(test_a_body_fills_its_values),
        TEST(test_wrong_bodies_are_refused_by_name),
        TEST(test_a_wrong_header_is_refused_by_name),
        TEST(test_a_list_becomes_an_array_a_row),
        TEST(test_what_is_wrong_in_a_list_is_named_by_its_place),
        TEST(test_amounts_are_plain_decimals),
        TEST(test_days_are_days_of_the_calendar),
        TEST(test_a_secret_is_sealed_for_what_stands_before_it),
        TEST(test_a_wrong_secret_is_refused_and_not_shown),
        TEST(test_a_link_repeats_the_query_without_its_cursor),
        TEST(test_a_query_chooses_a_route_by_its_exact_word),
        cmocka_unit_test_setup_teardown(test_a_tenant_names_no_other, open_arena, close_arena),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
