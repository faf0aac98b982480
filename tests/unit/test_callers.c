#include "support/test.h"

#include "base/now.h"
#include "callers.h"

#include <stdlib.h>

enum { HERE = 1, THERE = 2, UNIX = 0 };
#define NOON_US (12 * 60 * MINUTE_US)

static struct callers *callers; /* 120 wrong keys a minute: two at once, and two a second */

static int up(void **state)
{
    (void)state;
    callers = callers_open(&(struct callers_limits){6000, 120});
    return 0;
}

static int down(void **state)
{
    (void)state;
    callers_close(callers);
    return 0;
}

/* Two of one name are the same key if their secrets are. */
static struct apikey key(const char *id, char secret)
{
    struct apikey k = {.id = span_of(id)};

    memset(k.hash, secret, sizeof(k.hash));
    return k;
}

static bool may(const struct apikey *k, uint64_t from, int64_t now_us)
{
    return callers_may_ask(callers, k, from, now_us);
}

static void be_good(const struct apikey *k, int64_t now_us)
{
    struct caller c = {.key_id = k->id, .tenant = SPAN("anna")};

    memcpy(c.hash, k->hash, sizeof(c.hash));
    assert_true(callers_count(callers, &c, now_us, 0, NULL));
}

static void test_an_address_may_guess_so_often(void **state)
{
    const struct apikey wrong = key("00000000000000aa", 'w'), other = key("00000000000000bb", 'o');
    unsigned asked = 0;

    (void)state;
    assert_true(may(&wrong, HERE, NOON_US));
    assert_false(callers_refuse(callers, &wrong, HERE, NOON_US));
    assert_true(may(&wrong, HERE, NOON_US));
    assert_false(callers_refuse(callers, &wrong, HERE, NOON_US));
    assert_true(may(&wrong, HERE, NOON_US));
    assert_true(callers_refuse(callers, &wrong, HERE, NOON_US)); /* one too many */
    assert_false(may(&wrong, HERE, NOON_US));
    assert_false(may(&other, HERE, NOON_US)); /* whatever its id is */
    assert_true(may(&other, THERE, NOON_US));
    assert_true(may(&other, UNIX, NOON_US));
    assert_false(may(&other, HERE, NOON_US + SECOND_US - 1));
    assert_true(may(&other, HERE, NOON_US + SECOND_US));
    for (int64_t us = NOON_US + SECOND_US; us < NOON_US + 61 * SECOND_US; us += 1000)
        if (may(&wrong, HERE, us)) {
            callers_refuse(callers, &wrong, HERE, us);
            asked++;
        }
    assert_in_range(asked, 60, 190); /* some two a second, and the one too many of each */
}

/* Behind one proxy are many. */
static void test_who_was_good_lately_goes_on(void **state)
{
    const struct apikey good = key("00000000000000aa", 'g'), forged = key("00000000000000aa", 'f'),
                        wrong = key("00000000000000bb", 'w');

    (void)state;
    be_good(&good, NOON_US);
    for (unsigned i = 0; i < 3; i++)
        callers_refuse(callers, &wrong, HERE, NOON_US);
    assert_true(may(&good, HERE, NOON_US));
    assert_false(may(&wrong, HERE, NOON_US));
    assert_false(may(&forged, HERE, NOON_US)); /* its id is no secret */
    callers_refuse(callers, &forged, HERE, NOON_US);
    assert_true(may(&good, HERE, NOON_US));        /* and does it no harm */
    callers_refuse(callers, &good, HERE, NOON_US); /* it was revoked */
    assert_false(may(&good, HERE, NOON_US));
}

/* Those who never end are remembered, and not those who came once. */
static void test_many_addresses_take_a_bounded_room(void **state)
{
    const struct apikey wrong = key("00000000000000aa", 'w');

    (void)state;
    for (uint64_t from = 10; from < 100000; from++)
        assert_false(callers_refuse(callers, &wrong, from, NOON_US + (int64_t)from));
    for (unsigned i = 0; i < 3; i++)
        callers_refuse(callers, &wrong, HERE, NOON_US + SECOND_US);
    assert_false(may(&wrong, HERE, NOON_US + SECOND_US));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_an_address_may_guess_so_often, up, down),
        cmocka_unit_test_setup_teardown(test_who_was_good_lately_goes_on, up, down),
        cmocka_unit_test_setup_teardown(test_many_addresses_take_a_bounded_room, up, down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
