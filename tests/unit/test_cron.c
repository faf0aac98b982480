/* When a schedule is due, beside a walk over the minutes that asks libc for the calendar. */
#include "support/test.h"

#include "base/cron.h"
#include "base/now.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int64_t at(const char *text)
{
    struct tm tm = {.tm_isdst = 0};

    assert_non_null(strptime(text, "%Y-%m-%d %H:%M:%S", &tm));
    return (int64_t)timegm(&tm) * SECOND_US;
}

static const char *text_of(int64_t us)
{
    static char text[TIME_TEXT_BYTES];

    time_text(us, text, sizeof(text));
    text[10] = ' ';
    text[19] = '\0';
    return text;
}

static struct cron parsed(const char *text)
{
    struct err err = {.text = ""};
    struct cron c;

    if (cron_parse(span_of(text), &c, &err))
        fail_msg("%s: %s", text, err.text);
    return c;
}

static void test_the_next_due_time(void **state)
{
    static const struct {
        const char *cron, *after, *next, *why;
    } cases[] = {
        {"* * * * *",           "2026-01-15 10:45:00", "2026-01-15 10:46:00", "behind the time, never at it"},
        {"* * * * *",           "2026-01-15 10:45:59", "2026-01-15 10:46:00", "seconds are not its matter"  },
        {"*/15 * * * *",        "2026-01-15 10:45:00", "2026-01-15 11:00:00", "a step over the hour's end"  },
        {"5/20 * * * *",        "2026-01-15 10:45:00", "2026-01-15 11:05:00", "a step from a value on"      },
        {"5/20 * * * *",        "2026-01-15 10:30:00", "2026-01-15 10:45:00", "to the end of the field"     },
        {"0 2 * * *",           "2026-01-15 10:45:00", "2026-01-16 02:00:00", "next day"                    },
        {"0 2 * * *",           "2025-12-31 02:00:00", "2026-01-01 02:00:00", "next year"                   },
        {"0-10/5,30 8-9 * * *", "2026-01-15 08:10:00", "2026-01-15 08:30:00", "lists of ranges and values"  },
        {"0 0 29 2 *",          "2026-01-15 10:45:00", "2028-02-29 00:00:00", "a leap day"                  },
        {"0 0 29 2 *",          "2096-02-29 00:00:00", "2104-02-29 00:00:00", "2100 is no leap year"        },
        {"0 0 29 feb *",        "1999-03-01 00:00:00", "2000-02-29 00:00:00", "2000 is one"                 },
        {"0 0 31 * *",          "2026-03-31 00:00:00", "2026-05-31 00:00:00", "April has no 31st"           },
        {"0 0 13 * FRI",        "2026-02-01 00:00:00", "2026-02-06 00:00:00",
         "of two kinds of days either suffices"                                                             },
        {"0 0 13 * fri",        "2026-01-12 00:00:00", "2026-01-13 00:00:00", "the other one"               },
        {"0 0 30 2 mon",        "2026-01-31 00:00:00", "2026-02-02 00:00:00", "no 30 February, but Mondays" },
        {"0 0 */2 * mon",       "2026-01-15 00:00:00", "2026-01-19 00:00:00",
         "what begins with * restricts nothing"                                                             },
        {"0 0 29 2 */7",        "2026-01-01 00:00:00", "2032-02-29 00:00:00", "so both must hold"           },
        {"0 0 * * 7",           "2026-01-15 00:00:00", "2026-01-18 00:00:00", "7 is Sunday"                 },
        {"0 0 * * 0",           "2026-01-15 00:00:00", "2026-01-18 00:00:00", "as is 0"                     },
        {"0 0 * * sat-sun",     "2026-01-17 00:00:00", "2026-01-18 00:00:00", "a week may end on Sunday"    },
        {"0 0 * jan,Jul *",     "2026-01-31 00:00:00", "2026-07-01 00:00:00", "months by name"              },
        {"\t0  0 1 1 * ",       "2026-01-01 00:00:00", "2027-01-01 00:00:00", "blanks of any number"        },
        {"@every 1s",           "2026-01-15 10:45:00", "2026-01-15 10:45:01", "each second"                 },
        {"@every 90s",          "1970-01-01 00:01:00", "1970-01-01 00:01:30", "counted from 1970"           },
    };

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct cron c = parsed(cases[i].cron);
        const char *next = text_of(cron_next(&c, at(cases[i].after)));

        if (strcmp(next, cases[i].next) != 0)
            fail_msg("%s after %s: %s, not %s: %s", cases[i].cron, cases[i].after, next, cases[i].next,
                     cases[i].why);
    }
}

static void test_mistakes_name_their_field(void **state)
{
    static const struct {
        const char *cron, *names;
    } cases[] = {
        {"",                   "minute"      },
        {"* * * *",            "day-of-week" },
        {"* * * * * *",        "five fields" },
        {"60 * * * *",         "minute"      },
        {"-1 * * * *",         "minute"      },
        {"1- * * * *",         "minute"      },
        {"1,,2 * * * *",       "minute"      },
        {"1, * * * *",         "minute"      },
        {"*/0 * * * *",        "minute"      },
        {"*/60 * * * *",       "minute"      },
        {"*/ * * * *",         "minute"      },
        {"5/1/2 * * * *",      "minute"      },
        {"*-5 * * * *",        "minute"      },
        {"30-10 * * * *",      "minute"      },
        {"jan * * * *",        "minute"      },
        {"* 24 * * *",         "hour"        },
        {"* * 0 * *",          "day-of-month"},
        {"* * 32 * *",         "day-of-month"},
        {"* * 30 2 *",         "day-of-month"},
        {"* * 31 2,4,jun,9 *", "day-of-month"},
        {"* * * 13 *",         "month:"      },
        {"* * * janu *",       "month:"      },
        {"* * * mon *",        "month:"      },
        {"* * * * 8",          "day-of-week" },
        {"* * * * feb",        "day-of-week" },
        {"@every",             "@every"      },
        {"@every 0s",          "@every"      },
        {"@every 86401s",      "@every"      },
        {"@every 5m",          "@every"      },
        {"@every 5s 5s",       "@every"      },
        {"@daily",             "@every"      },
    };
    char text[CRON_TEXT_BYTES + 2];
    struct err err;
    struct cron c;

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        assert_int_equal(cron_parse(span_of(cases[i].cron), &c, &err), INVALID);
        if (!strstr(err.text, cases[i].names))
            fail_msg("\"%s\" is not said to be wrong in its %s: %s", cases[i].cron, cases[i].names, err.text);
    }
    memset(text, ' ', sizeof(text));
    memcpy(text, "* * * * *", 9);
    assert_int_equal(cron_parse((struct span){text, CRON_TEXT_BYTES}, &c, &err), OK);
    assert_int_equal(cron_parse((struct span){text, CRON_TEXT_BYTES + 1}, &c, &err), INVALID);
}

/* Bits of one field, and the text that says the same. */
static uint64_t random_field(unsigned least, unsigned most, char *ret)
{
    uint64_t bits = 0;
    unsigned from, to, step;

    switch (rand() % 4) {
    case 0:
        strcpy(ret, "*");
        return ~UINT64_C(0);
    case 1:
        from = least + (unsigned)rand() % (most - least + 1);
        sprintf(ret, "%u", from);
        return UINT64_C(1) << from;
    default:
        from = least + (unsigned)rand() % (most - least + 1);
        to = from + (unsigned)rand() % (most - from + 1);
        step = 1 + (unsigned)rand() % 5;
        sprintf(ret, "%u-%u/%u", from, to, step);
        for (unsigned v = from; v <= to; v += step)
            bits |= UINT64_C(1) << v;
        return bits;
    }
}

static bool fits(const struct tm *t, const uint64_t bits[5], char words[5][24])
{
    bool day = bits[2] >> t->tm_mday & 1;
    bool weekday = bits[4] >> t->tm_wday & 1 || (t->tm_wday == 0 && bits[4] >> 7 & 1);
    bool either = words[2][0] != '*' && words[4][0] != '*';

    return bits[0] >> t->tm_min & 1 && bits[1] >> t->tm_hour & 1 && bits[3] >> (t->tm_mon + 1) & 1 &&
           (either ? day || weekday : day && weekday);
}

/* Some 40,000 minutes each from a random time between 1999 and 2101: what is due there is found, and nothing else. */
static void test_beside_a_walk_over_the_minutes(void **state)
{
    static const unsigned least[] = {0, 0, 1, 1, 0}, most[] = {59, 23, 31, 12, 7};
    int64_t first = at("1999-01-01 00:00:00"), last = at("2101-01-01 00:00:00");
    unsigned due = 0;

    (void)state;
    srand(5);
    for (int round = 0; round < 150; round++) {
        char words[5][24], text[128];
        uint64_t bits[5];
        struct cron c;
        struct err err;
        int64_t from = first + ((int64_t)rand() * 61 % ((last - first) / MINUTE_US)) * MINUTE_US, expected;

        for (size_t f = 0; f < 5; f++)
            bits[f] = random_field(least[f], most[f], words[f]);
        sprintf(text, "%s %s %s %s %s", words[0], words[1], words[2], words[3], words[4]);
        if (cron_parse(span_of(text), &c, &err))
            continue; /* no such day */
        expected = cron_next(&c, from);
        for (int64_t now = from + MINUTE_US; now < from + 40000 * MINUTE_US; now += MINUTE_US) {
            time_t seconds = (time_t)(now / SECOND_US);
            struct tm tm;
            bool is_due = fits(gmtime_r(&seconds, &tm), bits, words);

            if (is_due != (now == expected))
                fail_msg("%s at %s: %s", text, text_of(now), is_due ? "missed" : "not due");
            if (is_due)
                expected = cron_next(&c, now);
            due += is_due;
        }
    }
    assert_true(due > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_next_due_time),
        cmocka_unit_test(test_mistakes_name_their_field),
        cmocka_unit_test(test_beside_a_walk_over_the_minutes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
