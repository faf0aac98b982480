#include "support/test.h"

#include "base/now.h"
#include "domain/moment.h"

static const struct {
    const char *text;
    int64_t want_us; /* TIME_NONE: no time */
} cases[] = {
    {"1768473900",                     1768473900 * SECOND_US},
    {"1",                              SECOND_US             },
    {"1768473900123",                  1768473900123000      },
    {"946684800000",                   946684800 * SECOND_US },
    {"2026-01-15T10:45:00Z",           1768473900 * SECOND_US},
    {"2026-01-15t10:45:00z",           1768473900 * SECOND_US},
    {"2026-01-15T11:45:00+01:00",      1768473900 * SECOND_US},
    {"2026-01-15T05:15:00-05:30",      1768473900 * SECOND_US},
    {"2026-01-15T10:45:00+0000",       1768473900 * SECOND_US},
    {"2026-01-15T11:45:00+0100",       1768473900 * SECOND_US},
    {"2026-01-15T10:45:00.5Z",         1768473900500000      },
    {"2026-01-15T10:45:00.123456789Z", 1768473900123456      },
    {"2024-02-29T00:00:00Z",           1709164800 * SECOND_US},
    {"1969-12-31T23:59:59Z",           -SECOND_US            },

    {"",                               TIME_NONE             },
    {"0",                              TIME_NONE             },
    {"-5",                             TIME_NONE             },
    {"+5",                             TIME_NONE             },
    {"01768473900",                    TIME_NONE             },
    {"17684739001",                    TIME_NONE             }, /* neither seconds nor milliseconds of our times */
    {"17684739001234",                 TIME_NONE             },
    {"1768473900.5",                   TIME_NONE             },
    {"1.7684739e9",                    TIME_NONE             },
    {" 1768473900",                    TIME_NONE             },
    {"true",                           TIME_NONE             },
    {"2026-01-15",                     TIME_NONE             },
    {"2026-01-15T10:45:00",            TIME_NONE             }, /* of which zone? */
    {"2026-01-15 10:45:00Z",           TIME_NONE             },
    {"2026-01-15T10:45Z",              TIME_NONE             },
    {"2026-1-15T10:45:00Z",            TIME_NONE             },
    {"2026-02-29T10:45:00Z",           TIME_NONE             },
    {"2026-00-10T10:45:00Z",           TIME_NONE             },
    {"2026-13-10T10:45:00Z",           TIME_NONE             },
    {"2026-01-00T10:45:00Z",           TIME_NONE             },
    {"2026-01-15T24:00:00Z",           TIME_NONE             },
    {"2026-01-15T10:60:00Z",           TIME_NONE             },
    {"2026-01-15T10:45:60Z",           TIME_NONE             },
    {"2026-01-15T10:45:00.Z",          TIME_NONE             },
    {"2026-01-15T10:45:00+010",        TIME_NONE             },
    {"2026-01-15T10:45:00+01",         TIME_NONE             },
    {"2026-01-15T10:45:00+24:00",      TIME_NONE             },
    {"2026-01-15T10:45:00Zx",          TIME_NONE             },
};

static void test_what_is_surely_a_time_is_read_and_nothing_else(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        int64_t got = TIME_NONE;
        if (!moment_parse(span_of(cases[i].text), &got))
            got = TIME_NONE;
        if (got != cases[i].want_us)
            fail_msg("\"%s\": got %jd, want %jd", cases[i].text, (intmax_t)got, (intmax_t)cases[i].want_us);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_surely_a_time_is_read_and_nothing_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
