#include "support/test.h"

#include "base/now.h"
#include "line.h"

enum { LEAST = 16, MOST = 1000, TURN_US = 5000 };

static struct line fresh(void)
{
    return (struct line){.least = LEAST, .most = MOST, .most_bytes = 1 << 20, .wait_us = 100000};
}

/* A store that takes so many a second, while others wait, for so long. Returns when it is over. */
static int64_t serve(struct line *l, double a_second, int64_t from_us, int64_t for_us)
{
    double owed = 0;
    int64_t now_us = from_us;

    line_turn(l, true, now_us);
    while (now_us < from_us + for_us) {
        now_us += TURN_US;
        owed += a_second * TURN_US / SECOND_US;
        line_moved(l, (size_t)owed, now_us);
        owed -= (double)(size_t)owed;
        line_turn(l, true, now_us);
    }
    return now_us;
}

static size_t places(struct line *l)
{
    size_t n = 0;

    while (!line_is_full(l)) {
        line_enter(l, 1, 10);
        n++;
    }
    line_leave(l, n, 10 * n);
    return n;
}

static void assert_about(double is, double should)
{
    if (is < should * 0.9 || is > should * 1.1)
        fail_msg("%.1f is not about %.1f", is, should);
}

static void test_it_holds_what_the_store_takes_while_they_may_wait(void **state)
{
    static const struct {
        const char *what;
        double a_second, places;
    } cases[] = {
        {"a tenth of what it takes in a second", 2000,  200  },
        {"at least some statements' worth",      50,    LEAST},
        {"and never more than the cap",          50000, MOST },
    };

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct line l = fresh();
        serve(&l, cases[i].a_second, SECOND_US, SECOND_US);
        print_message("%s\n", cases[i].what);
        assert_about(l.rate, cases[i].a_second);
        assert_about((double)places(&l), cases[i].places);
    }
}

static void test_nothing_known_turns_nobody_away(void **state)
{
    struct line l = fresh();

    (void)state;
    assert_int_equal(places(&l), MOST);
    for (int64_t now_us = SECOND_US; now_us < 2 * SECOND_US; now_us += TURN_US) {
        line_moved(&l, 1, now_us); /* few come: that says nothing of how many it could take */
        line_turn(&l, false, now_us);
    }
    assert_int_equal(places(&l), MOST);
    assert_int_equal(line_turn_away(&l, 0, 2 * SECOND_US), 0);
}

static void test_bodies_fill_it_too(void **state)
{
    struct line l = fresh();

    (void)state;
    line_enter(&l, 2, (1 << 20) - 1);
    assert_false(line_is_full(&l));
    line_enter(&l, 1, 1);
    assert_true(line_is_full(&l));
    line_leave(&l, 1, 1);
    assert_false(line_is_full(&l));
}

static void test_it_follows_a_store_that_slows_down_and_one_that_comes_back(void **state)
{
    struct line l = fresh();
    int64_t now_us = serve(&l, 5000, SECOND_US, SECOND_US);

    (void)state;
    assert_about((double)places(&l), 500);
    now_us = serve(&l, 500, now_us, SECOND_US);
    assert_about((double)places(&l), 50);
    now_us = serve(&l, 0, now_us, 5 * SECOND_US); /* frozen */
    assert_int_equal(places(&l), LEAST);
    assert_int_equal(line_turn_away(&l, 0, now_us), 0); /* who knows when */
    now_us = serve(&l, 5000, now_us, SECOND_US);
    assert_about((double)places(&l), 500);
    line_turn(&l, false, now_us + 9 * SECOND_US);
    assert_about((double)places(&l), 500);
    line_turn(&l, false, now_us + 10 * SECOND_US + 1); /* long ago: it may be another one */
    assert_int_equal(places(&l), MOST);
}

static void test_time_without_work_counts_for_nothing(void **state)
{
    struct line l = fresh();
    int64_t now_us = serve(&l, 2000, SECOND_US, SECOND_US);

    (void)state;
    line_turn(&l, false, now_us);
    (void)serve(&l, 2000, now_us + 5 * SECOND_US, 100000);
    assert_about(l.rate, 2000);
}

/* As many come back in each second as the store takes. */
static void test_who_is_turned_away_comes_back_when_there_is_a_place(void **state)
{
    struct line l = fresh();
    int64_t now_us = serve(&l, 100, SECOND_US, SECOND_US);
    unsigned back[LINE_RETRY_MAX_S + 1] = {0}, seconds = 0;

    (void)state;
    line_enter(&l, 10, 0);
    for (unsigned i = 0; i < 2000; i++) {
        seconds = line_turn_away(&l, 0, now_us);
        assert_in_range(seconds, 1, LINE_RETRY_MAX_S);
        back[seconds]++;
    }
    assert_about(seconds, 20);
    for (unsigned s = 2; s < 20; s++)
        assert_about(back[s], 100);
    assert_about(line_turn_away(&l, 0, now_us + 10 * SECOND_US), 10); /* half of them were there meanwhile */
    assert_int_equal(line_turn_away(&l, 0, now_us + 60 * SECOND_US), 1);
}

static void test_what_is_told_is_spread_and_capped(void **state)
{
    struct line l = fresh();
    int64_t now_us = serve(&l, 100, SECOND_US, SECOND_US);

    (void)state;
    for (unsigned i = 0; i < 1000; i++)
        (void)line_turn_away(&l, 0, now_us);
    assert_about(line_turn_away(&l, 0, now_us), 10);
    assert_about(line_turn_away(&l, UINT8_MAX, now_us), 12.5);
    for (unsigned i = 0; i < 100000; i++)
        assert_in_range(line_turn_away(&l, (uint8_t)i, now_us), 10, LINE_RETRY_MAX_S);
    assert_int_equal(line_turn_away(&l, 0, now_us), LINE_RETRY_MAX_S);
    assert_about(line_turn_away(&l, 0, now_us + 30 * SECOND_US), 30); /* the cap is no debt */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_holds_what_the_store_takes_while_they_may_wait),
        cmocka_unit_test(test_nothing_known_turns_nobody_away),
        cmocka_unit_test(test_bodies_fill_it_too),
        cmocka_unit_test(test_it_follows_a_store_that_slows_down_and_one_that_comes_back),
        cmocka_unit_test(test_time_without_work_counts_for_nothing),
        cmocka_unit_test(test_who_is_turned_away_comes_back_when_there_is_a_place),
        cmocka_unit_test(test_what_is_told_is_spread_and_capped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
