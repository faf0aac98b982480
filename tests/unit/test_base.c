#include "support/test.h"

#include "base/arena.h"
#include "base/id.h"
#include "base/log.h"
#include "base/now.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

static void test_arena_gives_aligned_memory_of_any_size(void **state)
{
    struct arena *a = arena_open(64);

    (void)state;
    for (size_t n = 1; n < 5000; n = n * 3 + 1) {
        char *at = arena_zero(a, n);
        assert_int_equal((uintptr_t)at % _Alignof(max_align_t), 0);
        memset(at, 0xa5, n); /* the sanitizer sees an overlap or overrun */
    }
    arena_reset(a);
    assert_string_equal(arena_print(a, "%d-%s", 7, "x"), "7-x");
    assert_null(arena_copy(a, SPAN_NONE).at);
    arena_close(a);
}

static void test_err_keeps_the_code_and_puts_the_place_first(void **state)
{
    struct err err = {0};

    (void)state;
    assert_int_equal(err_cause(&err, REJECTED, "bad_row", "row %d", 3), REJECTED);
    assert_int_equal(err_in(&err, "batch %d", 9), REJECTED);
    assert_string_equal(err.text, "batch 9: row 3");
    assert_string_equal(err.cause, "bad_row");
}

static void test_ids_sort_by_time_and_differ_across_a_fork(void **state)
{
    struct id older = id_make(1700000000000000), newer = id_make(1700000001000000), child;
    char text[ID_TEXT_BYTES];
    struct id back;
    int ends[2], status;

    (void)state;
    assert_true(memcmp(&older, &newer, sizeof(older)) < 0);
    id_text(&older, text);
    assert_int_equal(text[14], '7');
    assert_true(id_parse(span_of(text), &back));
    assert_memory_equal(&older, &back, sizeof(older));
    assert_false(id_parse(SPAN("not-an-id"), &back));

    assert_int_equal(pipe(ends), 0);
    if (fork() == 0) {
        child = id_make(1700000000000000);
        _exit(write(ends[1], &child, sizeof(child)) == sizeof(child) ? 0 : 1);
    }
    assert_int_equal(read(ends[0], &child, sizeof(child)), sizeof(child));
    wait(&status);
    back = id_make(1700000000000000);
    assert_memory_not_equal(&child, &back, sizeof(child));
}

static void test_times_are_shown_in_utc_with_microseconds(void **state)
{
    char text[TIME_TEXT_BYTES];

    (void)state;
    time_text(1768473900123456, text, sizeof(text));
    assert_string_equal(text, "2026-01-15T10:45:00.123456Z");
    time_text(-1, text, sizeof(text));
    assert_string_equal(text, "1969-12-31T23:59:59.999999Z");
}

static void test_a_log_line_is_json_whatever_the_value_holds(void **state)
{
    char line[4096];
    int ends[2], kept = dup(STDERR_FILENO);
    ssize_t len;
    json_t *root;
    struct err err = {.code = FORGED, .cause = "bad_signature", .text = "quote \" and \\ and \x01\xff"};

    (void)state;
    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    log_open("test", LOG_INFO);
    log_debug("hidden", LOG_NOTHING);
    log_warn("shown", LOG_INT("n", -5), LOG_BOOL("b", true), LOG_TEXT("none", NULL), LOG_ERR(&err));
    dup2(kept, STDERR_FILENO);
    len = read(ends[0], line, sizeof(line) - 1);
    assert_true(len > 0);
    assert_int_equal(line[len - 1], '\n');
    root = json_loadb(line, (size_t)len, 0, NULL);
    assert_non_null(root);
    assert_string_equal(json_string_value(json_object_get(root, "event")), "shown");
    assert_string_equal(json_string_value(json_object_get(root, "cause")), "bad_signature");
    assert_int_equal(json_integer_value(json_object_get(root, "n")), -5);
    json_decref(root);
}

static json_t *read_line(int from)
{
    char line[4096];
    ssize_t len = 0;
    json_t *root;

    do
        assert_int_equal(read(from, line + len, 1), 1);
    while (line[len++] != '\n');
    root = json_loadb(line, (size_t)len, 0, NULL);
    assert_non_null(root);
    return root;
}

static void test_a_log_without_reader_blocks_nobody_and_tells_what_was_lost(void **state)
{
    enum { N = 1000 };
    int ends[2], kept = dup(STDERR_FILENO);
    json_int_t nread = 0, nlost = 0;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_true(fcntl(ends[1], F_SETPIPE_SZ, 4096) > 0);
    dup2(ends[1], STDERR_FILENO);
    for (size_t i = 0; i < N; i++)
        log_warn("flood", LOG_NOTHING);
    for (struct pollfd from = {.fd = ends[0], .events = POLLIN}; poll(&from, 1, 0) == 1; nread++)
        json_decref(read_line(ends[0]));
    for (size_t i = 0; i < 2; i++) {
        json_t *root;

        log_warn("again", LOG_NOTHING);
        root = read_line(ends[0]);
        nlost += json_integer_value(json_object_get(root, "lost"));
        assert_int_equal(nlost, N - nread); /* told once */
        json_decref(root);
    }
    dup2(kept, STDERR_FILENO);
    assert_in_range(nread, 1, N - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arena_gives_aligned_memory_of_any_size),
        cmocka_unit_test(test_err_keeps_the_code_and_puts_the_place_first),
        cmocka_unit_test(test_ids_sort_by_time_and_differ_across_a_fork),
        cmocka_unit_test(test_times_are_shown_in_utc_with_microseconds),
        cmocka_unit_test(test_a_log_line_is_json_whatever_the_value_holds),
        cmocka_unit_test(test_a_log_without_reader_blocks_nobody_and_tells_what_was_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
