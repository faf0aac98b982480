#include "support/test.h"

#include "auth.h"
#include "openapi.h"
#include "routes.h"

#include <stdio.h>
#include <stdlib.h>

#define KEY         "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define CONNECTIONS "/api/scheduler/platform-connections/"
#define ID          "01a20074-8f5a-76e1-94b4-5e99b65e7f06"

static void test_requests_find_their_statement(void **state)
{
    static const struct {
        const char *method, *path, *query;
        int sql; /* -1: none */
        const char *allowed;
    } cases[] = {
        {"GET",    "/publishing/logs",                    NULL,            SQL_LOG_LIST,       NULL             },
        {"HEAD",   "/publishing/logs",                    NULL,            SQL_LOG_LIST,       NULL             },
        {"POST",   "/publishing/logs",                    NULL,            SQL_LOG_REGISTER,   NULL             },
        {"PUT",    "/publishing/logs",                    NULL,            -1,                 "GET, HEAD, POST"},
        {"get",    "/publishing/logs",                    NULL,            -1,                 "GET, HEAD, POST"},
        {"GET",    "/publishing/logs/" ID,                NULL,            SQL_LOG_GET,        NULL             },
        {"DELETE", "/publishing/logs/" ID,                NULL,            -1,                 "GET, HEAD"      },
        {"GET",    "/publishing/logs/" KEY,               NULL,            -1,                 NULL             },
        {"GET",    "/publishing/logs/",                   NULL,            -1,                 NULL             },
        {"GET",    "/publishing/logs/" ID "/x",           NULL,            -1,                 NULL             },
        {"GET",    "/publishing/receipts",                NULL,            SQL_RECEIPT_LIST,   NULL             },
        {"GET",    "/publishing/receipts",                "state=refused", SQL_REFUSED_LIST,   NULL             },
        {"GET",    "/publishing/receipts",                "refused=no",    SQL_RECEIPT_LIST,   NULL             },
        {"GET",    "/publishing/receipts/" KEY,           NULL,            SQL_RECEIPT_GET,    NULL             },
        {"GET",    "/publishing/receipts/" ID,            NULL,            SQL_REFUSED_GET,    NULL             },
        {"GET",    "/publishing/receipts/deadbeef",       NULL,            -1,                 NULL             },
        {"GET",    "/publishing/receipts/" KEY "/replay", NULL,            -1,                 "POST"           },
        {"POST",   "/publishing/receipts/" ID "/replay",  NULL,            -1,                 NULL             },
        {"GET",    "/publishing/reconcile",               NULL,            -1,                 "POST"           },
        {"PUT",    CONNECTIONS "u/tiktok",                NULL,            SQL_CONNECTION_SET, NULL             },
        {"PUT",    CONNECTIONS "a%40b%2Fc/tiktok",        NULL,            SQL_CONNECTION_SET, NULL             },
        {"POST",   CONNECTIONS "u/tiktok",                NULL,            -1,                 "PUT"            },
        {"GET",    CONNECTIONS "u/tiktok",                NULL,            -1,                 "PUT"            },
        {"PUT",    CONNECTIONS "/tiktok",                 NULL,            -1,                 NULL             },
        {"PUT",    CONNECTIONS "u%0a/tiktok",             NULL,            -1,                 NULL             },
        {"PUT",    CONNECTIONS "u/Tik%20Tok",             NULL,            -1,                 NULL             },
        {"GET",    "/debug/circuit-breakers",             NULL,            SQL_BREAKER_LIST,   NULL             },
        {"PUT",    "/debug/circuit-breakers",             NULL,            -1,                 "GET, HEAD"      },
        {"GET",    "/",                                   NULL,            -1,                 NULL             },
        {"GET",    "",                                    NULL,            -1,                 NULL             },
        {"GET",    "*",                                   NULL,            -1,                 NULL             },
    };

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct span values[PATH_VALUES_MAX];
        const char *allowed = "";
        const struct route *r = route_find(span_of(cases[i].method), span_of(cases[i].path),
                                           span_of(cases[i].query), values, &allowed);

        if ((r ? (int)r->sql : -1) != cases[i].sql)
            fail_msg("%s %s", cases[i].method, cases[i].path);
        if (!r && !span_eq(span_of(allowed), span_of(cases[i].allowed)))
            fail_msg("%s %s allows %s", cases[i].method, cases[i].path, allowed ? allowed : "nothing");
    }
}

/* A statement has one parameter a value: else the first request would be the one to find out. */
static void test_every_table_has_as_many_values_as_its_statement(void **state)
{
    (void)state;
    for (size_t i = 0; i < nroutes; i++) {
        const struct route *r = &routes[i];
        int n = 0;

        if (r->kind != ROUTE_READ && r->kind != ROUTE_WRITE && r->kind != ROUTE_EXPORT)
            continue;
        n = r->kind == ROUTE_EXPORT ? 4 : 0; /* rows, and where a page begins */
        for (size_t p = 0; p < r->nparams; p++) {
            n += r->params[p].type == PARAM_SECRET ? 2
                 : r->params[p].type == PARAM_LIST ? (int)r->params[p].nof
                                                   : r->params[p].type != PARAM_ROUTE;
            for (const char *c = r->params[p].type == PARAM_CURSOR ? r->params[p].words : ""; *c; c++)
                n += *c == ' ';
        }
        if (n != sql_texts[r->sql].nparameters)
            fail_msg("%s: %d values, %d parameters", sql_texts[r->sql].name, n,
                     sql_texts[r->sql].nparameters);
    }
}

/* A GET goes to a connection that the server holds to read-only, or to no store at all; whatever writes, or starts what writes,
 * is a POST or a PUT. */
static void test_each_get_reads_and_whatever_writes_is_none(void **state)
{
    (void)state;
    for (const struct route *r = routes; r < routes + nroutes; r++) {
        bool writes = r->kind == ROUTE_WRITE || r->kind == ROUTE_RECONCILE || r->kind == ROUTE_OVERRIDE ||
                      r->kind == ROUTE_REPLAY;

        if (writes == (strcmp(r->method, "GET") == 0))
            fail_msg("%s %s", r->method, r->path);
    }
}

/* Not a parser of YAML: that the words are there where they must be is what gets forgotten. */
static void test_the_description_names_every_route_and_parameter(void **state)
{
    char *yaml = strndup(openapi_text.at, openapi_text.len), line[128];

    (void)state;
    for (size_t i = 0; i < nroutes; i++) {
        const struct route *r = &routes[i];
        const char *path, *end, *method;

        snprintf(line, sizeof(line), "\n  %s:\n", r->path);
        path = strstr(yaml, line);
        if (!path)
            fail_msg("no %s", r->path);
        end = strstr(path + strlen(line), "\n  /");
        method = strstr(path, r->method[0] == 'G'              ? "\n    get:\n"
                              : strcmp(r->method, "POST") == 0 ? "\n    post:\n"
                                                               : "\n    put:\n");
        if (!method || (end && method > end))
            fail_msg("no %s %s", r->method, r->path);
        for (size_t p = 0; p < r->nparams; p++) {
            const struct param *param = &r->params[p];

            if (param->from == FROM_SERVER || param->type == PARAM_WHOLE || param->from == FROM_HEADER)
                continue;
            snprintf(line, sizeof(line), param->from == FROM_BODY ? "\n        %s: {" : "name: %s",
                     param->name);
            if (!strstr(yaml, line))
                fail_msg("%s %s: no parameter %s", r->method, r->path, param->name);
            for (size_t m = 0; m < param->nof; m++) {
                snprintf(line, sizeof(line), "\n        %s: {", param->of[m].name);
                if (!strstr(yaml, line))
                    fail_msg("%s %s: no member %s of %s", r->method, r->path, param->of[m].name, param->name);
            }
        }
    }
    free(yaml);
}

static void test_a_body_is_as_long_as_its_route_allows(void **state)
{
    (void)state;
    assert_int_equal(route_body_max(SPAN("POST"), SPAN("/analytics/costs")), COSTS_BODY_MAX);
    assert_int_equal(route_body_max(SPAN("GET"), SPAN("/analytics/costs")), BODY_MAX);
    assert_int_equal(route_body_max(SPAN("POST"), SPAN("/publishing/logs")), BODY_MAX);
    assert_int_equal(route_body_max(SPAN("POST"), SPAN("/nothing")), BODY_MAX);
}

static void test_only_loopback_is_served(void **state)
{
    static const struct {
        const char *method, *host, *type, *cause;
    } cases[] = {
        {"GET",  "127.0.0.1:8081",      NULL,                              NULL                    },
        {"GET",  "127.9.8.7",           NULL,                              NULL                    },
        {"GET",  "localhost:8081",      NULL,                              NULL                    },
        {"GET",  "LOCALHOST",           NULL,                              NULL                    },
        {"GET",  "[::1]:8081",          NULL,                              NULL                    },
        {"GET",  "[::1]",               NULL,                              NULL                    },
        {"GET",  "::1",                 NULL,                              "forbidden_host"        },
        {"GET",  "",                    NULL,                              "forbidden_host"        },
        {"GET",  NULL,                  NULL,                              "forbidden_host"        },
        {"GET",  "evil.example",        NULL,                              "forbidden_host"        },
        {"GET",  "localhost.evil",      NULL,                              "forbidden_host"        },
        {"GET",  "127.0.0.1.evil:8081", NULL,                              "forbidden_host"        },
        {"GET",  "10.0.0.1",            NULL,                              "forbidden_host"        },
        {"GET",  "0.0.0.0",             NULL,                              "forbidden_host"        },
        {"GET",  "2130706433",          NULL,                              "forbidden_host"        },
        {"GET",  "[::1",                NULL,                              "forbidden_host"        },
        {"GET",  "[::1]x",              NULL,                              "forbidden_host"        },
        {"GET",  "[::]",                NULL,                              "forbidden_host"        },
        {"POST", "127.0.0.1",           "application/json",                NULL                    },
        {"POST", "127.0.0.1",           "Application/JSON; charset=utf-8", NULL                    },
        {"POST", "127.0.0.1",           NULL,                              "unsupported_media_type"},
        {"POST", "127.0.0.1",           "text/plain",                      "unsupported_media_type"},
        {"POST", "127.0.0.1",           "application/jsonx",               "unsupported_media_type"},
        {"PUT",  "127.0.0.1",           "application/json",                NULL                    },
        {"PUT",  "127.0.0.1",           "text/plain",                      "unsupported_media_type"},
        {"PUT",  "127.0.0.1",           NULL,                              "unsupported_media_type"},
        {"POST", "evil",                "application/json",                "forbidden_host"        },
    };

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct err err = {.code = OK};
        enum status got =
            auth_check(false, span_of(cases[i].method), span_of(cases[i].host), span_of(cases[i].type), &err);

        assert_int_equal(got, cases[i].cause ? INVALID : OK);
        if (!span_eq(span_of(err.cause), span_of(cases[i].cause)))
            fail_msg("%s with Host %s and %s: %s", cases[i].method, cases[i].host, cases[i].type,
                     err.cause ? err.cause : "taken");
    }
}

/* A page that lures a browser has no key to send; the body's type stays what it must be. */
static void test_with_keys_any_host_is_served(void **state)
{
    struct err err = {.code = OK};

    (void)state;
    assert_int_equal(auth_check(true, SPAN("GET"), SPAN("api.example.com"), SPAN_NONE, &err), OK);
    assert_int_equal(auth_check(true, SPAN("GET"), SPAN_NONE, SPAN_NONE, &err), OK);
    assert_int_equal(auth_check(true, SPAN("POST"), SPAN("api.example.com"), SPAN("text/plain"), &err),
                     INVALID);
    assert_string_equal(err.cause, "unsupported_media_type");
}

static void test_a_listener_that_others_can_reach_is_refused(void **state)
{
    static const struct {
        struct address listen;
        enum status want;
    } cases[] = {
        {{.host = "127.0.0.1"}, OK     },
        {{.host = "localhost"}, OK     },
        {{.host = "::1"},       OK     },
        {{.path = "/run/x"},    OK     },
        {{.host = "0.0.0.0"},   INVALID},
        {{.host = "::"},        INVALID},
        {{.host = "10.1.2.3"},  INVALID},
        {{.host = "host.lan"},  INVALID},
    };

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct err err;

        assert_int_equal(auth_check_listener(&cases[i].listen, &err), cases[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_find_their_statement),
        cmocka_unit_test(test_every_table_has_as_many_values_as_its_statement),
        cmocka_unit_test(test_each_get_reads_and_whatever_writes_is_none),
        cmocka_unit_test(test_the_description_names_every_route_and_parameter),
        cmocka_unit_test(test_a_body_is_as_long_as_its_route_allows),
        cmocka_unit_test(test_only_loopback_is_served),
        cmocka_unit_test(test_with_keys_any_host_is_served),
        cmocka_unit_test(test_a_listener_that_others_can_reach_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
