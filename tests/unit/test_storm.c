#include "support/test.h"

#include "base/now.h"
#include "storm.h"

#define START_US (7 * MINUTE_US)
#define HOUR_US  (60 * MINUTE_US)

static void count(struct storm *s, int64_t now_us, unsigned verified, unsigned refused)
{
    storm_add(s, now_us, (struct storm_count){verified, refused});
}

static const struct {
    const char *why;
    unsigned fine;    /* requests verified when all began */
    int64_t after_us; /* then, so much later, all within one moment: */
    unsigned verified, refused;
    bool storms;
} cases[] = {
    {"ten of eleven",                           1,   SECOND_US,        0,  10, true },
    {"one too few",                             100, 2 * MINUTE_US,    0,  9,  false},
    {"it never verified anything",              0,   SECOND_US,        0,  50, false},
    {"half of them verify",                     1,   2 * MINUTE_US,    10, 10, false},
    {"more than half do not",                   1,   2 * MINUTE_US,    10, 11, true },
    {"the good ones before count in a minute",  11,  30 * SECOND_US,   0,  11, false},
    {"and not behind it",                       11,  MINUTE_US,        0,  11, true },
    {"five, and none verified for ten minutes", 1,   10 * MINUTE_US,   0,  5,  true },
    {"one verified less long ago",              1,   9 * MINUTE_US,    0,  5,  false},
    {"four",                                    1,   10 * MINUTE_US,   0,  4,  false},
    {"five and one that verifies",              1,   10 * MINUTE_US,   1,  5,  false},
    {"it verified something a day ago",         1,   24 * HOUR_US,     0,  5,  true },
    {"it verified something longer ago",        1,   24 * HOUR_US + 1, 0,  50, false},
};

static void test_a_storm_is_more_than_half_of_many_or_all_of_few_from_one_that_was_fine(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct storm s = {0};
        count(&s, START_US, cases[i].fine, 0);
        count(&s, START_US + cases[i].after_us, cases[i].verified, cases[i].refused);
        if (storm_is_on(&s, START_US + cases[i].after_us) != cases[i].storms)
            fail_msg("%s", cases[i].why);
    }
}

static void test_few_gather_in_ten_minutes_and_no_longer(void **state)
{
    struct storm s = {0}, slow = {0};

    (void)state;
    count(&s, START_US, 1, 0);
    count(&slow, START_US, 1, 0);
    for (int i = 1; i <= 5; i++) {
        count(&s, START_US + HOUR_US + i * 2 * MINUTE_US - MINUTE_US, 0, 1);
        assert_int_equal(storm_is_on(&s, START_US + HOUR_US + i * 2 * MINUTE_US - MINUTE_US), i == 5);
        count(&slow, START_US + HOUR_US + i * 3 * MINUTE_US, 0, 1);
        assert_false(storm_is_on(&slow, START_US + HOUR_US + i * 3 * MINUTE_US));
    }
    assert_int_equal(storm_ten_minutes(&s).refused, 5);
    assert_int_equal(storm_ten_minutes(&slow).refused, 4);
}

static void test_it_lasts_while_it_fails_and_clears_by_itself(void **state)
{
    struct storm s = {0};
    int64_t now_us = START_US;

    (void)state;
    count(&s, now_us, 1, 0);
    for (int i = 0; i < 25 * 60; i++, now_us += MINUTE_US) { /* longer than it was fine before */
        count(&s, now_us, 0, 12);
        assert_true(storm_is_on(&s, now_us));
    }
    now_us -= MINUTE_US; /* the last ones */
    assert_true(storm_is_on(&s, now_us + 10 * MINUTE_US - 5 * SECOND_US));
    assert_false(storm_is_on(&s, now_us + 10 * MINUTE_US));
    now_us += 12 * MINUTE_US;
    count(&s, now_us, 0, 100); /* it is not one that was fine any more */
    assert_false(storm_is_on(&s, now_us));
    now_us += 2 * MINUTE_US;
    count(&s, now_us, 1, 0);
    count(&s, now_us, 0, 10);
    assert_true(storm_is_on(&s, now_us));
    assert_true(storm_is_on(&s, now_us + MINUTE_US - 5 * SECOND_US));
    assert_false(storm_is_on(&s, now_us + MINUTE_US)); /* few verify, but one does */
    now_us += 11 * MINUTE_US;
    count(&s, now_us, 0, 5);
    assert_true(storm_is_on(&s, now_us));
    count(&s, now_us, 10, 0); /* mended */
    assert_false(storm_is_on(&s, now_us));
}

static void test_the_last_minutes_are_told(void **state)
{
    struct storm s = {0};

    (void)state;
    count(&s, START_US, 3, 4);
    count(&s, START_US + 20 * SECOND_US, 1, 1);
    assert_int_equal(storm_minute(&s).verified, 4);
    assert_int_equal(storm_minute(&s).refused, 5);
    storm_is_on(&s, START_US + MINUTE_US);
    assert_int_equal(storm_minute(&s).verified, 1);
    assert_int_equal(storm_minute(&s).refused, 1);
    assert_int_equal(storm_ten_minutes(&s).verified, 4);
    assert_int_equal(storm_ten_minutes(&s).refused, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_storm_is_more_than_half_of_many_or_all_of_few_from_one_that_was_fine),
        cmocka_unit_test(test_few_gather_in_ten_minutes_and_no_longer),
        cmocka_unit_test(test_it_lasts_while_it_fails_and_clears_by_itself),
        cmocka_unit_test(test_the_last_minutes_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
