#include "support/test.h"

#include "clocks.h"

#define HOUR_US (60 * MINUTE_US)
#define BOOT    (5 * SECOND_US)
#define WALL    (INT64_C(1768473900) * SECOND_US)

static struct database_clock agreed(void)
{
    struct database_clock c = {.is_known = false};

    assert_true(database_clock_learn(&c, WALL, BOOT, BOOT));
    return c;
}

static const struct {
    const char *why;
    int64_t wall_us, boot_us, skew_us;
} readings[] = {
    {"at once",                                   WALL,                           BOOT,                 0       },
    {"a day later, with Postgres away all along", WALL + 24 * HOUR_US,            BOOT + 24 * HOUR_US,  0       },
    {"our clock was set forward",                 WALL + HOUR_US + SECOND_US,     BOOT + SECOND_US,     HOUR_US },
    {"our clock was set back",                    WALL - HOUR_US + 3 * SECOND_US, BOOT + 3 * SECOND_US, -HOUR_US},
    {"suspended: boot time goes on",              WALL + 8 * HOUR_US,             BOOT + 8 * HOUR_US,   0       },
    {"our clock drifts",                          WALL + HOUR_US + 30,            BOOT + HOUR_US,       30      },
};

static void test_a_step_of_ours_shows_against_boot_time(void **state)
{
    struct database_clock c = agreed();

    (void)state;
    for (size_t i = 0; i < countof(readings); i++) {
        int64_t skew = database_clock_skew_us(&c, readings[i].wall_us, readings[i].boot_us);
        if (skew != readings[i].skew_us)
            fail_msg("%s: %lld", readings[i].why, (long long)skew);
    }
}

static void test_what_is_not_known_is_not_apart(void **state)
{
    const struct database_clock c = {.is_known = false};

    (void)state;
    assert_int_equal(database_clock_skew_us(&c, WALL, BOOT), 0);
}

static const struct {
    const char *why;
    int64_t took_us;
    bool is_taken;
} answers[] = {
    {"at once",                              0,                    true },
    {"in the time that any answer may take", CLOCKS_ANSWER_US,     true },
    {"late: it may be as old as that",       CLOCKS_ANSWER_US + 1, false},
    {"of a process that was stopped",        HOUR_US,              false},
    {"before it was asked",                  -1,                   false},
};

static void test_an_answer_counts_if_it_is_known_when_it_was_given(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(answers); i++) {
        struct database_clock c = agreed();
        bool taken = database_clock_learn(&c, WALL + HOUR_US, BOOT, BOOT + answers[i].took_us);
        int64_t skew = database_clock_skew_us(&c, WALL, BOOT);
        if (taken != answers[i].is_taken)
            fail_msg("%s", answers[i].why);
        /* Halfway between question and answer; a refused one changes nothing. */
        if (skew != (taken ? -HOUR_US + answers[i].took_us / 2 : 0))
            fail_msg("%s: %lld", answers[i].why, (long long)skew);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_step_of_ours_shows_against_boot_time),
        cmocka_unit_test(test_what_is_not_known_is_not_apart),
        cmocka_unit_test(test_an_answer_counts_if_it_is_known_when_it_was_given),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
