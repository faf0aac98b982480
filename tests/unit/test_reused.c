/* Deliveries as they are after their commit; each is looked at in a process of its own, since the memory is shared. */
#include "support/test.h"

#include "base/metric.h"
#include "base/now.h"
#include "reused.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NMOST = 3 };

static const struct platform platforms[] = {
    {.name = {"a", 1}, .index = 0},
    {.name = {"b", 1}, .index = 1}
};
static const struct source sources[] = {{.name = {"default", 7}}, {.name = {"acme", 4}}};

static long counted(size_t platform)
{
    char *text, line[80];
    size_t len;
    FILE *to = open_memstream(&text, &len);
    const char *at;
    long n;

    metric_page(to);
    fclose(to);
    snprintf(line, sizeof(line), "\nsettle_receipts_id_reused_total{platform=\"%s\"} ",
             platforms[platform].name.at);
    at = strstr(text, line);
    assert_non_null(at);
    n = strtol(at + strlen(line), NULL, 10);
    free(text);
    return n;
}

/* A delivery of events with these ids, the same body each; returns how many more are counted. */
static long look(size_t platform, size_t source, const char *const *ids, char body, bool is_new)
{
    long before = counted(platform);
    struct event events[NMOST] = {{.post_id = SPAN("post")}};
    struct receipt receipts[NMOST] = {{.event = NULL}};
    struct delivery d = {.platform = &platforms[platform], .source = &sources[source], .receipts = receipts};
    int status;

    for (; d.nreceipts < NMOST && ids[d.nreceipts]; d.nreceipts++) {
        events[d.nreceipts].id = span_of(ids[d.nreceipts]);
        memset(events[d.nreceipts].dedup_key, body, DEDUP_KEY_BYTES);
        receipts[d.nreceipts] = (struct receipt){.event = &events[d.nreceipts], .is_new = is_new};
    }
    if (fork() == 0) {
        reused_look(&d);
        _exit(0);
    }
    wait(&status);
    assert_int_equal(status, 0);
    return counted(platform) - before;
}

#define IDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static int up(void **state)
{
    static const char *const names[] = {"a", "b"};
    struct err err;

    (void)state;
    return metric_open(names, 2, 1, &err) || reused_open(&err);
}

static void test_an_id_with_another_body_is_counted_once(void **state)
{
    (void)state;
    assert_int_equal(look(0, 0, IDS("e-1"), 'x', true), 0);
    assert_int_equal(look(0, 0, IDS("e-1"), 'x', true), 0);
    assert_int_equal(look(0, 0, IDS("e-1"), 'y', true), 1);
    assert_int_equal(look(0, 0, IDS("e-1"), 'y', true), 0);
}

static void test_another_source_or_platform_has_ids_of_its_own(void **state)
{
    (void)state;
    assert_int_equal(look(0, 0, IDS("e-2"), 'x', true), 0);
    assert_int_equal(look(0, 1, IDS("e-2"), 'y', true), 0);
    assert_int_equal(look(1, 0, IDS("e-2"), 'z', true), 0);
}

static void test_a_duplicate_says_nothing(void **state)
{
    (void)state;
    assert_int_equal(look(0, 0, IDS("e-3"), 'x', true), 0);
    assert_int_equal(look(0, 0, IDS("e-3"), 'y', false), 0);
    assert_int_equal(look(0, 0, IDS(""), 'x', true), 0);
    assert_int_equal(look(0, 0, IDS(""), 'y', true), 0);
}

/* Several events under one id of their delivery; and several with their own. */
static void test_the_id_of_a_delivery_is_none_of_its_events(void **state)
{
    (void)state;
    assert_int_equal(look(0, 0, IDS("d-1", "d-1", "d-1"), 'x', true), 0);
    assert_int_equal(look(0, 0, IDS("d-1", "d-1", "d-1"), 'y', true), 0);
    assert_int_equal(look(0, 0, IDS("m-1", "m-2", "m-3"), 'x', true), 0);
    assert_int_equal(look(0, 0, IDS("m-1", "m-2", "m-3"), 'y', true), 3);
}

/* Many ids: they push each other out and never speak for one another. */
static void test_no_other_id_is_taken_for_it(void **state)
{
    (void)state;
    struct event e = {.post_id = SPAN("post")};
    struct receipt r = {.event = &e, .is_new = true};
    struct delivery d = {.platform = &platforms[1], .source = &sources[0], .receipts = &r, .nreceipts = 1};
    long before = counted(1);
    char id[24];

    for (int i = 0; i < 400000; i++) {
        snprintf(id, sizeof(id), "many-%d", i);
        e.id = span_of(id);
        memcpy(e.dedup_key, &i, sizeof(i));
        reused_look(&d);
    }
    assert_int_equal(counted(1) - before, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_id_with_another_body_is_counted_once),
        cmocka_unit_test(test_another_source_or_platform_has_ids_of_its_own),
        cmocka_unit_test(test_a_duplicate_says_nothing),
        cmocka_unit_test(test_the_id_of_a_delivery_is_none_of_its_events),
        cmocka_unit_test(test_no_other_id_is_taken_for_it),
    };

    return cmocka_run_group_tests(tests, up, NULL);
}
