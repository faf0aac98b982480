#include "support/test.h"

#include "admit.h"
#include "base/now.h"

#include <stdio.h>

static const struct span here = {"x", 1}, there = {"zoom", 4}, ours = {"default", 7};

static size_t take(struct admit *a, struct span platform, struct span source, int64_t now_us, size_t n)
{
    size_t taken = 0;

    for (size_t i = 0; i < n; i++)
        taken += admit_take(a, platform, source, now_us);
    return taken;
}

static void test_a_source_has_a_few_at_once_and_then_some_a_second(void **state)
{
    struct admit *a = admit_open();

    (void)state;
    assert_int_equal(take(a, here, ours, SECOND_US, 1000), ADMIT_AT_ONCE);
    assert_int_equal(take(a, here, ours, 2 * SECOND_US, 1000), ADMIT_A_SECOND);
    assert_int_equal(take(a, here, ours, 2 * SECOND_US + 100000, 1000), 0);       /* half a token */
    assert_int_equal(take(a, here, ours, 2 * SECOND_US + 200000, 1000), 1);       /* and the other half */
    assert_int_equal(take(a, here, ours, 3600 * SECOND_US, 1000), ADMIT_AT_ONCE); /* they do not heap up */
    admit_close(a);
}

static void test_nobody_takes_what_is_another_s(void **state)
{
    struct admit *a = admit_open();

    (void)state;
    assert_int_equal(take(a, here, ours, SECOND_US, 1000), ADMIT_AT_ONCE);
    assert_int_equal(take(a, there, ours, SECOND_US, 1000), ADMIT_AT_ONCE);
    assert_int_equal(take(a, here, SPAN("shop-2"), SECOND_US, 1000), ADMIT_AT_ONCE);
    assert_int_equal(take(a, here, SPAN_NONE, SECOND_US, 1000),
                     ADMIT_AT_ONCE); /* all unknown ones together */
    assert_int_equal(take(a, there, SPAN_NONE, SECOND_US, 1000), ADMIT_AT_ONCE);
    assert_int_equal(take(a, here, ours, SECOND_US, 1), 0);
    admit_close(a);
}

static void test_more_sources_than_there_can_be_cost_no_more_memory(void **state)
{
    struct admit *a = admit_open();
    char name[32];

    (void)state;
    assert_int_equal(take(a, here, ours, SECOND_US, 1000), ADMIT_AT_ONCE);
    for (int i = 0; i < ADMIT_BUCKETS_MAX; i++) {
        snprintf(name, sizeof(name), "source-%d", i);
        assert_true(admit_take(a, here, span_of(name), SECOND_US));
    }
    assert_true(admit_take(a, here, ours, SECOND_US)); /* all have begun afresh */
    admit_close(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_source_has_a_few_at_once_and_then_some_a_second),
        cmocka_unit_test(test_nobody_takes_what_is_another_s),
        cmocka_unit_test(test_more_sources_than_there_can_be_cost_no_more_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
