#include "support/test.h"

#include "base/now.h"
#include "quota.h"

#define HOUR_US (60 * MINUTE_US)
#define NOON_US (12 * HOUR_US)

/* Asks n times at one moment. Returns how many were let in. */
static unsigned take(struct quota *q, const struct quota_limits *limits, int64_t now_us, unsigned n,
                     size_t bytes)
{
    unsigned taken = 0;

    while (n-- > 0)
        taken += quota_take(q, limits, now_us, bytes);
    return taken;
}

static void test_so_many_a_second(void **state)
{
    const struct quota_limits ten = {10, SIZE_MAX, 24 * HOUR_US}, rare = {0.5, SIZE_MAX, 24 * HOUR_US};
    struct quota q = {0}, r = {0};
    unsigned in_a_minute = 0;

    (void)state;
    assert_int_equal(take(&q, &ten, NOON_US, 100, 1), 10);
    assert_int_equal(take(&q, &ten, NOON_US + SECOND_US / 2, 100, 1), 5);
    assert_int_equal(take(&q, &ten, NOON_US + HOUR_US, 100, 1), 10); /* what was not used is not saved up */
    for (int64_t ms = 1; ms <= 60000; ms++)
        in_a_minute += take(&q, &ten, NOON_US + HOUR_US + ms * 1000, 1, 1);
    assert_in_range(in_a_minute, 599, 600);
    assert_int_equal(take(&r, &rare, NOON_US, 5, 1), 1); /* a share below one still lets one in */
    assert_int_equal(take(&r, &rare, NOON_US + SECOND_US, 5, 1), 0);
    assert_int_equal(take(&r, &rare, NOON_US + 2 * SECOND_US, 5, 1), 1);
}

static void test_so_many_bytes_in_any_day(void **state)
{
    const struct quota_limits limits = {1000, 1000, 24 * HOUR_US};
    struct quota q = {0};

    (void)state;
    assert_int_equal(take(&q, &limits, NOON_US, 1, 1001), 0);
    assert_int_equal(take(&q, &limits, NOON_US, 20, 100), 10);
    assert_int_equal(take(&q, &limits, NOON_US, 1, 1), 0);
    assert_int_equal(take(&q, &limits, NOON_US + 24 * HOUR_US - 1, 1, 1), 0);
    assert_int_equal(take(&q, &limits, NOON_US + 25 * HOUR_US, 20, 100), 10);
    /* Of what was let in at two times each is free again at its own. */
    q = (struct quota){0};
    assert_int_equal(take(&q, &limits, NOON_US, 6, 100), 6);
    assert_int_equal(take(&q, &limits, NOON_US + 10 * HOUR_US, 6, 100), 4);
    assert_int_equal(take(&q, &limits, NOON_US + 25 * HOUR_US, 10, 100), 6);
    assert_int_equal(take(&q, &limits, NOON_US + 35 * HOUR_US, 10, 100), 4);
}

static void test_what_is_too_large_costs_nothing(void **state)
{
    const struct quota_limits limits = {1, 1000, 24 * HOUR_US};
    struct quota q = {0};

    (void)state;
    assert_int_equal(take(&q, &limits, NOON_US, 5, 2000), 0);
    assert_int_equal(take(&q, &limits, NOON_US, 5, SIZE_MAX), 0);
    assert_int_equal(take(&q, &limits, NOON_US, 5, 1000), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_so_many_a_second),
        cmocka_unit_test(test_so_many_bytes_in_any_day),
        cmocka_unit_test(test_what_is_too_large_costs_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
