#include "support/test.h"

#include "base/now.h"
#include "fetch/retry.h"

#include <inttypes.h>

static struct fetch_answer answer(enum fetch_error error, int status, unsigned attempt, int retry_after_s)
{
    return (struct fetch_answer){
        .error = error, .status = status, .attempt = attempt, .retry_after_s = retry_after_s, .why = ""};
}

static void who_gets_another_try(void **state)
{
    static const struct {
        enum fetch_error error;
        int status;
        bool again;
    } cases[] = {
        {FETCH_OK,              200, false},
        {FETCH_OK,              204, false},
        {FETCH_OK,              302, false},
        {FETCH_OK,              400, false},
        {FETCH_OK,              401, false},
        {FETCH_OK,              403, false},
        {FETCH_OK,              404, false},
        {FETCH_OK,              408, true },
        {FETCH_OK,              410, false},
        {FETCH_OK,              422, false},
        {FETCH_OK,              429, true },
        {FETCH_OK,              500, true },
        {FETCH_OK,              502, true },
        {FETCH_OK,              503, true },
        {FETCH_OK,              599, true },
        {FETCH_BAD_URL,         0,   false},
        {FETCH_DNS,             0,   true },
        {FETCH_PRIVATE_ADDRESS, 0,   false},
        {FETCH_REFUSED,         0,   true },
        {FETCH_TLS,             0,   false},
        {FETCH_TIMEOUT,         0,   true },
        {FETCH_TIMEOUT,         200, true }, /* the head came in time */
        {FETCH_TOO_LARGE,       200, false},
        {FETCH_GARBAGE,         0,   true },
        {FETCH_GARBAGE,         429, true },
        {FETCH_LOST,            0,   true },
        {FETCH_HELD,            0,   false},
        {FETCH_STOPPED,         0,   false},
    };
    unsigned wait_ms;

    (void)state;
    for (size_t i = 0; i < countof(cases); i++)
        for (unsigned attempt = 1; attempt <= 4; attempt++) {
            struct fetch_answer a = answer(cases[i].error, cases[i].status, attempt, FETCH_NO_RETRY_AFTER);
            bool again = retry_again(&a, 1000, 7, &wait_ms);
            assert_int_equal(again, cases[i].again && attempt < 3);
            assert_true(again || wait_ms == 0);
        }
}

/* 1 s x 2^k, a tenth more or less: both ends are reached, nothing lies outside. */
static void how_long(void **state)
{
    static const struct {
        unsigned attempt, first_ms, least, most;
    } cases[] = {
        {1, 1000,  900,   1100 },
        {2, 1000,  1800,  2200 },
        {1, 50000, 45000, 55000},
        {2, 50000, 54000, 66000}, /* of a minute, the most */
        {1, 1,     1,     1    },
    };

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct fetch_answer a = answer(FETCH_OK, 500, cases[i].attempt, FETCH_NO_RETRY_AFTER);
        unsigned wait_ms, least = UINT32_MAX, most = 0;

        for (uint32_t random = 0; random < 20000; random++) {
            assert_true(retry_again(&a, cases[i].first_ms, random, &wait_ms));
            least = wait_ms < least ? wait_ms : least;
            most = wait_ms > most ? wait_ms : most;
        }
        assert_int_equal(least, cases[i].least);
        assert_int_equal(most, cases[i].most);
    }
}

static void what_the_server_says(void **state)
{
    static const struct {
        int status, retry_after_s;
        bool again;
        unsigned least, most;
    } cases[] = {
        {429, 0,     true,  900,   1100 }, /* at once is not sooner than our own wait */
        {429, 1,     true,  1000,  1100 },
        {429, 30,    true,  30000, 30000},
        {429, 60,    true,  60000, 60000},
        {429, 61,    false, 0,     0    },
        {429, 86400, false, 0,     0    },
        {503, 10,    true,  10000, 10000},
        {503, 61,    false, 0,     0    },
        {401, 1,     false, 0,     0    },
    };
    unsigned wait_ms;

    (void)state;
    for (size_t i = 0; i < countof(cases); i++)
        for (uint32_t random = 0; random < 500; random++) {
            struct fetch_answer a = answer(FETCH_OK, cases[i].status, 1, cases[i].retry_after_s);
            assert_int_equal(retry_again(&a, 1000, random, &wait_ms), cases[i].again);
            assert_in_range(wait_ms, cases[i].least, cases[i].most);
        }
}

static void retry_after(void **state)
{
    /* 2026-01-15T10:45:00Z */
    static const int64_t now_us = INT64_C(1768473900) * SECOND_US;
    static const struct {
        const char *text;
        int seconds;
    } cases[] = {
        {"0",                               0    },
        {"120",                             120  },
        {" 120 ",                           120  },
        {"\t7",                             7    },
        {"86400",                           86400},
        {"86401",                           86400},
        {"20260115",                        86400}, /* digits are seconds, however much like a date */
        {"99999999999999999999999",         -1   },
        {"-1",                              -1   },
        {"+1",                              -1   },
        {"1.5",                             -1   },
        {"1s",                              -1   },
        {"",                                -1   },
        {" ",                               -1   },
        {"soon",                            -1   },
        {"Thu, 15 Jan 2026 10:45:00 GMT",   0    },
        {"Thu, 15 Jan 2026 10:45:01 GMT",   1    },
        {"Thu, 15 Jan 2026 11:45:00 GMT",   3600 },
        {"Thu, 15 Jan 2026 10:44:59 GMT",   0    },
        {"Sun, 06 Nov 1994 08:49:37 GMT",   0    },
        {"Fri, 16 Jan 2026 10:45:00 GMT",   86400},
        {"Fri, 15 Jan 2027 10:45:00 GMT",   86400},
        {"Fri, 31 Dec 9999 23:59:59 GMT",   86400},
        {"Thu, 15 Jan 2026 10:45:00 CET",   -1   },
        {"Thu, 15 Jan 2026 24:45:00 GMT",   -1   },
        {"Thu, 15 Jan 2026 10:60:00 GMT",   -1   },
        {"Thu, 15 Jan 2026 10:45:61 GMT",   -1   },
        {"Thu, 32 Jan 2026 10:45:00 GMT",   -1   },
        {"Thu, 00 Jan 2026 10:45:00 GMT",   -1   },
        {"Thu, 15 anF 2026 10:45:00 GMT",   -1   },
        {"Thu, 15 Foo 2026 10:45:00 GMT",   -1   },
        {"Thu, 15 Jan 26 10:45:00 GMT",     -1   },
        {"Thu, 15 Jan 2026 10:45:00 GMT x", -1   },
        {"2026-01-15T10:45:00Z",            -1   },
    };

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        print_message("\"%s\"\n", cases[i].text);
        assert_int_equal(retry_after_parse(span_of(cases[i].text), now_us), cases[i].seconds);
    }
    assert_int_equal(retry_after_parse(SPAN_NONE, now_us), FETCH_NO_RETRY_AFTER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_gets_another_try),
        cmocka_unit_test(how_long),
        cmocka_unit_test(what_the_server_says),
        cmocka_unit_test(retry_after),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
