/* One process plays parent and worker, others are workers: the memory is shared all the same. */
#include "support/test.h"

#include "base/metric.h"
#include "base/now.h"
#include "storms.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_US (7 * MINUTE_US)
#define VERIFY                                                                                               \
    "verify: {algorithm: hmac-sha256, header: x-sig, layout: single, encoding: hex, signed: \"{body}\"}\n"
#define REST "payloads:\n  - {when: /id, post: /id}\nsuccess: [done]\nfailure: [broken]\n"

/* The platforms a and b, and these sources of a. */
static struct platforms *a_set(const char *const *sources, size_t n)
{
    const char *const paths[] = {"a.yaml", "b.yaml"};
    const struct span texts[] = {SPAN("name: a\n" VERIFY REST), SPAN("name: b\n" VERIFY REST)};
    struct err err = {.text = ""};
    struct platforms *set = platforms_load_texts(paths, texts, 2, &err);

    if (!set)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < n; i++)
        if (platforms_add_source(set, SPAN("a"), span_of(sources[i]), SPAN("a-secret-of-sixteen-bytes"),
                                 &err))
            fail_msg("%s", err.text);
    return set;
}

static size_t place_of(const struct platforms *set, const char *source)
{
    const struct platform *a = platforms_at(set, 0);

    return storms_find(a, platform_source(a, span_of(source)));
}

/* Each in a process of its own, which ends. */
static void count(size_t place, unsigned verified, unsigned refused)
{
    while (verified + refused > 0) {
        bool good = verified > 0;
        int status;
        if (fork() == 0) {
            storms_count(place, good);
            _exit(0);
        }
        wait(&status);
        verified -= good;
        refused -= !good;
    }
}

static long gauge(void)
{
    static const char series[] = "\nsettle_signature_storm{platform=\"a\"} ";
    static char text[1 << 20];
    FILE *to = fmemopen(text, sizeof(text), "w");

    metric_page(to);
    fputc('\0', to);
    fclose(to);
    return strtol(strstr(text, series) + strlen(series), NULL, 10);
}

static void test_nothing_breaks_before_open(void **state)
{
    struct platforms *set = a_set((const char *[]){"one"}, 1);

    (void)state;
    storms_take(set);
    assert_int_equal(place_of(set, "one"), STORMS_MAX);
    storms_count(STORMS_MAX, true);
    storms_turn(set, 0);
    platforms_close(set);
}

static void test_what_all_workers_see_together_is_a_storm(void **state)
{
    const char *const names[] = {"a", "b"};
    struct platforms *set = a_set((const char *[]){"one", "two"}, 2);
    struct err err;

    (void)state;
    assert_int_equal(metric_open(names, 2, 1, &err), OK);
    assert_int_equal(storms_open(&err), OK);
    storms_take(set);
    count(place_of(set, "one"), 1, 0);
    count(place_of(set, "two"), 1, 12);
    storms_turn(set, START_US);
    assert_int_equal(gauge(), 1);
    count(place_of(set, "one"), 0, 9);
    storms_turn(set, START_US + 2 * MINUTE_US);
    assert_int_equal(gauge(), 0); /* the other's minute is over */
    count(place_of(set, "one"), 0, 1);
    storms_turn(set, START_US + 2 * MINUTE_US + SECOND_US - 1);
    assert_int_equal(gauge(), 0); /* once a second */
    storms_turn(set, START_US + 2 * MINUTE_US + SECOND_US);
    assert_int_equal(gauge(), 1);
    platforms_close(set);
}

static void test_a_reload_forgets_nothing_of_who_stays(void **state)
{
    struct platforms *old = a_set((const char *[]){"one", "two"}, 2);
    struct platforms *without = a_set((const char *[]){"zero", "two"}, 2);
    struct platforms *with = a_set((const char *[]){"one", "two"}, 2);
    int64_t now_us = START_US + 60 * MINUTE_US;
    size_t place = place_of(old, "one");

    (void)state;
    count(place, 1, 10);
    storms_turn(old, now_us);
    assert_int_equal(gauge(), 1);
    storms_take(without);
    storms_turn(without, now_us += SECOND_US);
    assert_int_equal(gauge(), 0);
    assert_int_not_equal(place_of(without, "zero"), place);
    assert_int_equal(place_of(without, "two"), place_of(old, "two"));
    storms_take(with);
    assert_int_equal(place_of(with, "one"), place);
    storms_turn(with, now_us + SECOND_US);
    assert_int_equal(gauge(), 1);
    platforms_close(old);
    platforms_close(without);
    platforms_close(with);
}

/* Last: it leaves no place. */
static void test_sources_beyond_the_cap_are_not_watched(void **state)
{
    struct platforms *set = a_set(NULL, 0);
    struct err err = {.text = ""};
    char name[16];

    (void)state;
    for (unsigned i = 0; i < STORMS_MAX; i++) {
        snprintf(name, sizeof(name), "s%04u", i);
        assert_int_equal(
            platforms_add_source(set, SPAN("a"), span_of(name), SPAN("a-secret-of-sixteen"), &err), OK);
    }
    storms_take(set);
    assert_true(place_of(set, "s0000") < STORMS_MAX);
    assert_int_equal(place_of(set, name), STORMS_MAX);
    storms_count(place_of(set, name), false);
    platforms_close(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_breaks_before_open),
        cmocka_unit_test(test_what_all_workers_see_together_is_a_storm),
        cmocka_unit_test(test_a_reload_forgets_nothing_of_who_stays),
        cmocka_unit_test(test_sources_beyond_the_cap_are_not_watched),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
