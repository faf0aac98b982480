#include "support/test.h"

#include "base/now.h"
#include "line.h"

enum { LEAST = 16, MOST = 1000, TURN_US = 5000 };

static struct line_share shares[4];

static struct line fresh(void)
{
    memset(shares, 0, sizeof(shares));
    return (struct line){.least = LEAST, .most = MOST, .most_bytes = 1 << 20, .wait_us = 100000};
}

/* A store that takes so many a second, while others wait, for so long. Returns when it is over. */
static int64_t serve(struct line *l, double a_second, int64_t from_us, int64_t for_us)
{
    double owed = 0;
    int64_t now_us = from_us;

    line_turn(l, LINE_STORE_AWAITED, now_us);
    while (now_us < from_us + for_us) {
        now_us += TURN_US;
        owed += a_second * TURN_US / SECOND_US;
        line_moved(l, (size_t)owed, now_us);
        owed -= (double)(size_t)owed;
        line_turn(l, LINE_STORE_AWAITED, now_us);
    }
    return now_us;
}

static size_t places(struct line *l)
{
    size_t n = 0;

    while (!line_is_full(l)) {
        line_enter(l, &shares[0], 1, 10);
        n++;
    }
    line_leave(l, &shares[0], n, 10 * n);
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
        line_turn(&l, LINE_STORE_IDLE, now_us);
    }
    assert_int_equal(places(&l), MOST);
    assert_int_equal(line_turn_away(&l, 1, 0, 2 * SECOND_US), 0);
}

/* Not known and nothing are two things: who hangs has been seen to take nothing. */
static void test_a_store_that_hangs_when_it_had_nothing_to_do_holds_the_least(void **state)
{
    struct line l = fresh();
    int64_t now_us = SECOND_US;

    (void)state;
    line_turn(&l, LINE_STORE_AWAITED, now_us);
    line_turn(&l, LINE_STORE_AWAITED, now_us + l.wait_us / 2);
    assert_int_equal(places(&l), MOST); /* its first statement, perhaps a slow one */
    line_turn(&l, LINE_STORE_AWAITED, now_us + l.wait_us);
    assert_int_equal(places(&l), LEAST);
    now_us = serve(&l, 5000, now_us + l.wait_us, SECOND_US);
    assert_about((double)places(&l), 500);
}

static void test_who_takes_nothing_for_a_second_stands_still(void **state)
{
    struct line l = fresh();
    int64_t now_us = 100 * SECOND_US;

    (void)state;
    line_turn(&l, LINE_STORE_IDLE, now_us); /* for long, and that is no fault */
    assert_false(line_stands_still(&l, now_us));
    line_turn(&l, LINE_STORE_AWAITED, now_us += SECOND_US / 2);
    assert_false(line_stands_still(&l, now_us));
    line_turn(&l, LINE_STORE_AT_WORK, now_us += SECOND_US); /* those who waited have been given up */
    assert_true(line_stands_still(&l, now_us));
    line_moved(&l, 0, now_us); /* something that stood in no line */
    assert_false(line_stands_still(&l, now_us));
}

/* How many each of the first n sources gets if all want everything. */
static void crowd(struct line *l, size_t n)
{
    bool any;

    do {
        any = false;
        for (size_t i = 0; i < n; i++)
            if (!line_is_full_for(l, &shares[i])) {
                line_enter(l, &shares[i], 1, 10);
                any = true;
            }
    } while (any);
}

static void test_nobody_takes_all_of_it(void **state)
{
    static const struct {
        const char *what;
        size_t sources, each, left;
    } cases[] = {
        {"one alone leaves a quarter",                          1, 750, 250},
        {"two leave it as well",                                2, 375, 250},
        {"three too: their shares and one more are quarters",   3, 250, 250},
        {"four have more of it, and leave a fifth for a fifth", 4, 200, 200},
    };

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct line l = fresh();
        struct line_share newcomer = {0};
        print_message("%s\n", cases[i].what);
        crowd(&l, cases[i].sources);
        for (size_t k = 0; k < cases[i].sources; k++)
            assert_about((double)shares[k].n, (double)cases[i].each);
        assert_int_equal(l.nsources, cases[i].sources);
        assert_false(line_is_full(&l));
        assert_about((double)(MOST - l.n), (double)cases[i].left);
        assert_false(line_is_full_for(&l, &newcomer));
        for (size_t k = 0; k < cases[i].sources; k++)
            line_leave(&l, &shares[k], shares[k].n, shares[k].bytes);
        assert_int_equal(l.nsources, 0);
    }
}

static void test_bodies_of_one_source_do_not_take_all_of_it_either(void **state)
{
    struct line l = fresh();
    struct line_share newcomer = {0};

    (void)state;
    line_enter(&l, &shares[0], 1, l.most_bytes - l.most_bytes / 4);
    assert_true(line_is_full_for(&l, &shares[0]));
    assert_false(line_is_full_for(&l, &newcomer));
    line_leave(&l, &shares[0], 1, 1);
    assert_false(line_is_full_for(&l, &shares[0]));
}

static void test_there_is_always_a_place_for_who_has_none(void **state)
{
    struct line l = fresh();
    struct line_share many[LEAST] = {{0}};

    (void)state;
    (void)serve(&l, 10, SECOND_US, SECOND_US);
    for (size_t i = 0; i < LEAST; i++) {
        assert_false(line_is_full_for(&l, &many[i]));
        line_enter(&l, &many[i], 1, 10);
    }
    assert_true(line_is_full(&l));
}

static void test_bodies_fill_it_too(void **state)
{
    struct line l = fresh();

    (void)state;
    line_enter(&l, &shares[0], 2, (1 << 20) - 1);
    assert_false(line_is_full(&l));
    line_enter(&l, &shares[0], 1, 1);
    assert_true(line_is_full(&l));
    line_leave(&l, &shares[0], 1, 1);
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
    assert_int_equal(line_turn_away(&l, 1, 0, now_us), 0); /* who knows when */
    now_us = serve(&l, 5000, now_us, SECOND_US);
    assert_about((double)places(&l), 500);
    line_turn(&l, LINE_STORE_IDLE, now_us + 9 * SECOND_US);
    assert_about((double)places(&l), 500);
    line_turn(&l, LINE_STORE_IDLE, now_us + 10 * SECOND_US + 1); /* long ago: it may be another one */
    assert_int_equal(places(&l), MOST);
}

static void test_time_without_work_counts_for_nothing(void **state)
{
    struct line l = fresh();
    int64_t now_us = serve(&l, 2000, SECOND_US, SECOND_US);

    (void)state;
    line_turn(&l, LINE_STORE_IDLE, now_us);
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
    line_enter(&l, &shares[0], 10, 0);
    for (unsigned i = 0; i < 2000; i++) {
        seconds = line_turn_away(&l, 1, 0, now_us);
        assert_in_range(seconds, 1, LINE_RETRY_MAX_S);
        back[seconds]++;
    }
    assert_about(seconds, 20);
    for (unsigned s = 2; s < 20; s++)
        assert_about(back[s], 100);
    assert_about(line_turn_away(&l, 1, 0, now_us + 10 * SECOND_US),
                 10); /* half of them were there meanwhile */
    assert_int_equal(line_turn_away(&l, 1, 0, now_us + 60 * SECOND_US), 1);
}

/* Strangers are told the truth, and make nobody come later. */
static void test_who_does_not_count_moves_nobody_back(void **state)
{
    struct line l = fresh();
    int64_t now_us = serve(&l, 100, SECOND_US, SECOND_US);

    (void)state;
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(line_turn_away(&l, 0, 0, now_us), 1);
    assert_int_equal(line_turn_away(&l, 1, 0, now_us), 1);
    for (unsigned i = 0; i < 1000; i++)
        (void)line_turn_away(&l, 1, 0, now_us);
    assert_about(line_turn_away(&l, 0, 0, now_us), 10);
}

/* Of a hundred who say that they are ours, and of whom of late ten were. */
static void test_who_counts_for_a_tenth_moves_the_next_ones_by_as_much(void **state)
{
    struct line l = fresh();
    int64_t now_us = serve(&l, 100, SECOND_US, SECOND_US);

    (void)state;
    for (unsigned i = 0; i < 10000; i++)
        (void)line_turn_away(&l, 0.1, 0, now_us);
    assert_about(line_turn_away(&l, 1, 0, now_us), 10);
}

/* What was told while the store was slow says nothing of how long it takes when it is fast again. */
static void test_who_was_turned_away_by_a_slow_store_is_no_crowd_to_a_fast_one(void **state)
{
    struct line l = fresh();
    int64_t now_us = serve(&l, 100, SECOND_US, SECOND_US);

    (void)state;
    for (unsigned i = 0; i < 3000; i++)
        (void)line_turn_away(&l, 1, 0, now_us);
    assert_about(line_turn_away(&l, 1, 0, now_us), 30);
    now_us = serve(&l, 5000, now_us, SECOND_US);
    assert_int_equal(line_turn_away(&l, 1, 0, now_us), 1);
}

static void test_what_is_told_is_spread_and_capped(void **state)
{
    struct line l = fresh();
    int64_t now_us = serve(&l, 100, SECOND_US, SECOND_US);

    (void)state;
    for (unsigned i = 0; i < 1000; i++)
        (void)line_turn_away(&l, 1, 0, now_us);
    assert_about(line_turn_away(&l, 1, 0, now_us), 10);
    assert_about(line_turn_away(&l, 1, UINT8_MAX, now_us), 12.5);
    for (unsigned i = 0; i < 100000; i++)
        assert_in_range(line_turn_away(&l, 1, (uint8_t)i, now_us), 10, LINE_RETRY_MAX_S);
    assert_int_equal(line_turn_away(&l, 1, 0, now_us), LINE_RETRY_MAX_S);
    assert_about(line_turn_away(&l, 1, 0, now_us + 30 * SECOND_US), 30); /* the cap is no debt */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_holds_what_the_store_takes_while_they_may_wait),
        cmocka_unit_test(test_nothing_known_turns_nobody_away),
        cmocka_unit_test(test_a_store_that_hangs_when_it_had_nothing_to_do_holds_the_least),
        cmocka_unit_test(test_who_takes_nothing_for_a_second_stands_still),
        cmocka_unit_test(test_nobody_takes_all_of_it),
        cmocka_unit_test(test_bodies_of_one_source_do_not_take_all_of_it_either),
        cmocka_unit_test(test_there_is_always_a_place_for_who_has_none),
        cmocka_unit_test(test_bodies_fill_it_too),
        cmocka_unit_test(test_it_follows_a_store_that_slows_down_and_one_that_comes_back),
        cmocka_unit_test(test_time_without_work_counts_for_nothing),
        cmocka_unit_test(test_who_is_turned_away_comes_back_when_there_is_a_place),
        cmocka_unit_test(test_who_does_not_count_moves_nobody_back),
        cmocka_unit_test(test_who_counts_for_a_tenth_moves_the_next_ones_by_as_much),
        cmocka_unit_test(test_who_was_turned_away_by_a_slow_store_is_no_crowd_to_a_fast_one),
        cmocka_unit_test(test_what_is_told_is_spread_and_capped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
