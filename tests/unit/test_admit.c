#include "support/test.h"

#include "admit.h"
#include "base/now.h"

#include <stdio.h>

static const struct span here = {"x", 1}, there = {"zoom", 4}, ours = {"default", 7};

static size_t take(struct admit *a, enum admit_kind kind, struct span platform, struct span source,
                   int64_t now_us)
{
    size_t taken = 0;

    for (size_t i = 0; i < 1000; i++)
        taken += admit_take(a, kind, platform, source, now_us);
    return taken;
}

static void test_a_source_has_a_few_at_once_and_then_some_a_second(void **state)
{
    struct admit *a = admit_open();

    (void)state;
    assert_int_equal(take(a, ADMIT_REFUSED, here, ours, SECOND_US), 20);
    assert_int_equal(take(a, ADMIT_REFUSED, here, ours, 2 * SECOND_US), 5);
    assert_int_equal(take(a, ADMIT_REFUSED, here, ours, 2 * SECOND_US + 100000), 0); /* half a token */
    assert_int_equal(take(a, ADMIT_REFUSED, here, ours, 2 * SECOND_US + 200000), 1); /* and the other half */
    assert_int_equal(take(a, ADMIT_REFUSED, here, ours, 3600 * SECOND_US), 20);      /* they do not heap up */
    assert_int_equal(take(a, ADMIT_SIGNED, here, ours, SECOND_US), 100);
    assert_int_equal(take(a, ADMIT_SIGNED, here, ours, 2 * SECOND_US), 20);
    assert_int_equal(take(a, ADMIT_DENIED, here, ours, SECOND_US), 20);
    assert_int_equal(take(a, ADMIT_DENIED, here, ours, 11 * SECOND_US), 1);
    admit_close(a);
}

static void test_nobody_takes_what_is_another_s(void **state)
{
    struct admit *a = admit_open();

    (void)state;
    for (enum admit_kind kind = ADMIT_REFUSED; kind <= ADMIT_DENIED; kind++) {
        size_t most = (size_t)admit_rate(kind).at_once;
        assert_int_equal(take(a, kind, here, ours, SECOND_US), most);
        assert_int_equal(take(a, kind, there, ours, SECOND_US), most);
        assert_int_equal(take(a, kind, here, SPAN("shop-2"), SECOND_US), most);
        assert_int_equal(take(a, kind, here, SPAN_NONE, SECOND_US), most); /* all unknown ones together */
        assert_int_equal(take(a, kind, there, SPAN_NONE, SECOND_US), most);
        assert_int_equal(take(a, kind, here, ours, SECOND_US), 0);
    }
    admit_close(a);
}

static void test_more_sources_than_there_can_be_cost_no_more_memory(void **state)
{
    struct admit *a = admit_open();
    char name[32];

    (void)state;
    assert_int_equal(take(a, ADMIT_REFUSED, here, ours, SECOND_US), 20);
    for (int i = 0; i < ADMIT_BUCKETS_MAX; i++) {
        snprintf(name, sizeof(name), "source-%d", i);
        assert_true(admit_take(a, ADMIT_REFUSED, here, span_of(name), SECOND_US));
    }
    assert_true(admit_take(a, ADMIT_REFUSED, here, ours, SECOND_US)); /* all have begun afresh */
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
