#include "support/test.h"

#include "store/pgarg.h"

static struct pg_args args;

static int begin(void **state)
{
    *state = arena_open(1024);
    pg_args_init(&args, *state);
    return 0;
}

static int end(void **state)
{
    arena_close(*state);
    return 0;
}

/* The n-th parameter is these bytes. */
#define assert_bytes(n, literal) assert_value((n), SPAN(literal))
static void assert_value(int n, struct span want)
{
    assert_true(args.n > n);
    assert_int_equal(args.formats[n], 1);
    assert_non_null(args.values[n]);
    assert_int_equal(args.lengths[n], want.len);
    assert_memory_equal(args.values[n], want.at, want.len);
}

static void test_scalars(void **state)
{
    struct id id = {
        {0x01, 0x96, 0xf3, 0xe2, 0x7d, 0x1a, 0x7c, 0x3e, 0x9a, 1, 2, 3, 4, 5, 6, 7}
    };

    (void)state;
    pg_arg_text(&args, SPAN("caf\xc3\xa9"));
    pg_arg_text(&args, SPAN(""));
    pg_arg_bytes(&args, SPAN("a\0b"));
    pg_arg_int(&args, -2);
    pg_arg_bool(&args, true);
    pg_arg_bool(&args, false);
    pg_arg_uuid(&args, &id);
    pg_arg_json(&args, SPAN("{}"));

    assert_int_equal(args.n, 8);
    assert_bytes(0, "caf\xc3\xa9");
    assert_bytes(1, "");
    assert_bytes(2, "a\0b");
    assert_bytes(3, "\xff\xff\xff\xff\xff\xff\xff\xfe");
    assert_bytes(4, "\1");
    assert_bytes(5, "\0");
    assert_value(6, (struct span){(const char *)id.bytes, 16});
    assert_bytes(7, "\1{}");
}

static void test_times_count_from_2000(void **state)
{
    (void)state;
    pg_arg_time(&args, PG_EPOCH_US);
    pg_arg_time(&args, 0);
    pg_arg_time(&args, INT64_MAX);
    pg_arg_time(&args, TIME_NONE + 1);

    assert_bytes(0, "\0\0\0\0\0\0\0\0");
    assert_bytes(1, "\xff\xfc\xa2\xfe\xc4\xc8\x20\x00");
    assert_bytes(2, "\x7f\xff\xff\xff\xff\xff\xff\xff"); /* infinity */
    assert_bytes(3, "\x80\0\0\0\0\0\0\0");               /* -infinity, no overflow */
}

static void test_dates_count_from_2000(void **state)
{
    (void)state;
    pg_arg_date(&args, 10957);
    pg_arg_date(&args, 0);
    pg_arg_date(&args, 20779);

    assert_bytes(0, "\0\0\0\0");
    assert_bytes(1, "\xff\xff\xd5\x33");
    assert_bytes(2, "\0\0\x26\x5e"); /* 2026-11-22 */
}

static void test_what_is_absent_is_null(void **state)
{
    (void)state;
    pg_arg_text(&args, SPAN_NONE);
    pg_arg_bytes(&args, SPAN_NONE);
    pg_arg_time(&args, TIME_NONE);
    pg_arg_uuid(&args, NULL);
    pg_arg_json(&args, SPAN_NONE);
    pg_arg_texts(&args, NULL, 0);
    pg_arg_bytess(&args, NULL, 0);
    pg_arg_jsons(&args, NULL, 0);
    pg_arg_smalls(&args, NULL, 0);
    pg_arg_times(&args, NULL, 0);
    pg_arg_uuids(&args, NULL, 0);
    pg_arg_ints(&args, NULL, 0);

    assert_int_equal(args.n, 12);
    for (int i = 0; i < args.n; i++)
        assert_null(args.values[i]);
}

static void test_arrays(void **state)
{
    const struct span texts[] = {SPAN("a"), SPAN_NONE, SPAN("")};
    const struct span jsons[] = {SPAN("1"), SPAN_NONE};
    const int64_t times[] = {PG_EPOCH_US + 1, TIME_NONE};
    const int16_t smalls[] = {-1, 2};
    const int64_t ints[] = {TIME_NONE, 3};
    const struct id ids[] = {{"0123456789abcde"}};

    (void)state;
    pg_arg_texts(&args, texts, countof(texts));
    pg_arg_texts(&args, texts, 0);
    pg_arg_bytess(&args, texts, 1);
    pg_arg_jsons(&args, jsons, countof(jsons));
    pg_arg_times(&args, times, countof(times));
    pg_arg_smalls(&args, smalls, countof(smalls));
    pg_arg_uuids(&args, ids, countof(ids));
    pg_arg_ints(&args, ints, countof(ints));

    /* dimensions, any nulls?, type of element, number, first subscript; then length and bytes of each */
    assert_bytes(0, "\0\0\0\1\0\0\0\1\0\0\0\x19\0\0\0\3\0\0\0\1"
                    "\0\0\0\1a\xff\xff\xff\xff\0\0\0\0");
    assert_bytes(1, "\0\0\0\0\0\0\0\0\0\0\0\x19");
    assert_bytes(2, "\0\0\0\1\0\0\0\0\0\0\0\x11\0\0\0\1\0\0\0\1"
                    "\0\0\0\1a");
    assert_bytes(3, "\0\0\0\1\0\0\0\1\0\0\x0e\xda\0\0\0\2\0\0\0\1"
                    "\0\0\0\2\0011\xff\xff\xff\xff");
    assert_bytes(4, "\0\0\0\1\0\0\0\1\0\0\x04\xa0\0\0\0\2\0\0\0\1"
                    "\0\0\0\x8\0\0\0\0\0\0\0\1\xff\xff\xff\xff");
    assert_bytes(5, "\0\0\0\1\0\0\0\0\0\0\0\x15\0\0\0\2\0\0\0\1"
                    "\0\0\0\2\xff\xff\0\0\0\2\0\2");
    assert_bytes(6, "\0\0\0\1\0\0\0\0\0\0\x0b\x86\0\0\0\1\0\0\0\1"
                    "\0\0\0\x10"
                    "0123456789abcde\0");
    /* A number is never null, whatever it is. */
    assert_bytes(7, "\0\0\0\1\0\0\0\0\0\0\0\x14\0\0\0\2\0\0\0\1"
                    "\0\0\0\x8\x80\0\0\0\0\0\0\0\0\0\0\x8\0\0\0\0\0\0\0\3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_scalars, begin, end),
        cmocka_unit_test_setup_teardown(test_times_count_from_2000, begin, end),
        cmocka_unit_test_setup_teardown(test_dates_count_from_2000, begin, end),
        cmocka_unit_test_setup_teardown(test_what_is_absent_is_null, begin, end),
        cmocka_unit_test_setup_teardown(test_arrays, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
