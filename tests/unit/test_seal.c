#include "support/test.h"

#include "base/arena.h"
#include "domain/seal.h"

#include <stdio.h>

#define KEY_1   "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define KEY_2   "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
#define KEY_1_B "ASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4mrze8="

static struct err why; /* of the last open_sealed */
static char opened[64];

static const struct span anna[] = {
    {"anna",    4},
    {"tiktok",  6},
    {"default", 7},
};

/* As seal_open, with all that stands in a row told one by one. */
static enum status open_sealed(const struct seal_keys *keys, const struct seal_keys *of,
                               const struct span *place, size_t nplace, struct span bytes, struct span *ret)
{
    const struct sealed sealed = {seal_key_id(of), bytes, place, nplace};

    why = (struct err){0};
    return seal_open(keys, &sealed, opened, sizeof(opened), ret, &why);
}

static struct seal_keys *keys_of(const char *lines)
{
    struct err err = {0};
    struct seal_keys *keys = seal_keys_read(span_of(lines), &err);

    if (!keys)
        fail_msg("%s", err.text);
    return keys;
}

static void key_files(void **state)
{
    static const struct {
        const char *lines, *wrong; /* wrong NULL: good */
    } cases[] = {
        {KEY_1,                                                              NULL                                            },
        {KEY_1 "\n",                                                         NULL                                            },
        {"# of March\r\n" KEY_1 "\r\n\r\n" KEY_2,                            NULL                                            },
        {KEY_1_B "\n" KEY_2,                                                 NULL                                            },
        {"",                                                                 "there is no key"                               },
        {"# " KEY_1 "\n",                                                    "there is no key"                               },
        {"0123",                                                             "line 1: not 32 bytes"                          },
        {KEY_1 "\n" KEY_1 "00",                                              "line 2: not 32 bytes"                          },
        {KEY_1 "\n" KEY_2 "\n " KEY_2,                                       "line 3: not 32 bytes"                          },
        {"ASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4mrzQ==",                     "line 1: not 32 bytes"                          },
        {KEY_1 "\n" KEY_2 "\n" KEY_1_B,                                      "line 3: the same key stands on an earlier line"},
        {"0000000000000000000000000000000000000000000000000000000000000000", "line 1: all bytes are zero"                    },
    };
    struct err err;

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct seal_keys *keys = seal_keys_read(span_of(cases[i].lines), &err);
        print_message("%s\n", cases[i].wrong ? cases[i].wrong : "good");
        assert_int_equal(keys == NULL, cases[i].wrong != NULL);
        if (!keys) {
            assert_int_equal(err.code, INVALID);
            assert_memory_equal(err.text, cases[i].wrong, strlen(cases[i].wrong));
            assert_null(strstr(err.text, "0123456789ab"));
        }
        seal_keys_close(keys);
    }
}

static void too_many_keys(void **state)
{
    char lines[SEAL_KEYS_MAX * 65 + 66] = "", *at = lines;
    struct err err;

    (void)state;
    for (int i = 1; i <= SEAL_KEYS_MAX; i++)
        at += sprintf(at, "%064x\n", (unsigned)i);
    seal_keys_close(keys_of(lines));
    sprintf(at, "%064x\n", SEAL_KEYS_MAX + 1u);
    assert_null(seal_keys_read(span_of(lines), &err));
    assert_non_null(strstr(err.text, "more than 16"));
}

static void the_id_tells_nothing(void **state)
{
    struct seal_keys *one = keys_of(KEY_1), *same = keys_of(KEY_1_B "\n" KEY_2), *other = keys_of(KEY_2);

    (void)state;
    assert_int_equal(seal_key_id(one).len, SEAL_KEY_ID_CHARS);
    assert_true(span_eq(seal_key_id(one), seal_key_id(same)));
    assert_false(span_eq(seal_key_id(one), seal_key_id(other)));
    assert_null(memmem(KEY_1, 64, seal_key_id(one).at, SEAL_KEY_ID_CHARS));
    seal_keys_close(one);
    seal_keys_close(same);
    seal_keys_close(other);
}

/* What each change of a row does to its secret. */
static void a_row_opens_only_as_it_was_sealed(void **state)
{
    static const struct {
        const char *why;
        const char *place[3];
        size_t nplace;
        const char *cause; /* NULL: opens */
    } places[] = {
        {"its own",                        {"anna", "tiktok", "default"}, 3, NULL         },
        {"another user's",                 {"bert", "tiktok", "default"}, 3, "seal_broken"},
        {"another platform's",             {"anna", "x", "default"},      3, "seal_broken"},
        {"another account's",              {"anna", "tiktok", "other"},   3, "seal_broken"},
        {"the same letters cut elsewhere", {"annat", "iktok", "default"}, 3, "seal_broken"},
        {"a piece fewer",                  {"anna", "tiktok"},            2, "seal_broken"},
        {"an empty one more",              {"anna", "tiktok", ""},        3, "seal_broken"},
    };
    struct seal_keys *keys = keys_of(KEY_1);
    struct arena *a = arena_open(1024);
    struct span sealed = seal_make(keys, anna, 3, SPAN("a token"), a), plain;

    (void)state;
    assert_int_equal(sealed.len, 7 + SEAL_EXTRA_BYTES);
    assert_null(memmem(sealed.at, sealed.len, "a token", 7));
    for (size_t i = 0; i < countof(places); i++) {
        const struct span place[] = {span_of(places[i].place[0]), span_of(places[i].place[1]),
                                     span_of(places[i].place[2])};
        enum status status = open_sealed(keys, keys, place, places[i].nplace, sealed, &plain);
        print_message("%s\n", places[i].why);
        assert_int_equal(status, places[i].cause ? INVALID : OK);
        if (places[i].cause)
            assert_string_equal(why.cause, places[i].cause);
        else
            assert_true(span_eq(plain, SPAN("a token")));
    }
    for (size_t cut = 0; cut < sealed.len; cut++) { /* each shorter one */
        assert_int_equal(open_sealed(keys, keys, anna, 3, (struct span){sealed.at, cut}, &plain), INVALID);
        assert_string_equal(why.cause, "seal_broken");
    }
    for (size_t bit = 0; bit < sealed.len * 8; bit++) { /* each changed bit */
        char *changed = (char *)(uintptr_t)arena_copy(a, sealed).at;
        changed[bit / 8] = (char)(changed[bit / 8] ^ 1 << bit % 8);
        assert_int_equal(open_sealed(keys, keys, anna, 3, (struct span){changed, sealed.len}, &plain),
                         INVALID);
    }
    assert_int_equal(
        seal_open(keys, &(struct sealed){seal_key_id(keys), sealed, anna, 3}, opened, 6, &plain, &why),
        INVALID);
    assert_string_equal(why.cause, "too_large");
    arena_close(a);
    seal_keys_close(keys);
}

static void keys_rotate(void **state)
{
    struct seal_keys *old = keys_of(KEY_1), *both = keys_of(KEY_2 "\n" KEY_1), *fresh = keys_of(KEY_2);
    struct arena *a = arena_open(1024);
    struct span plain, first = seal_make(old, anna, 3, SPAN("token"), a), second;

    (void)state;
    assert_int_equal(open_sealed(both, old, anna, 3, first, &plain), OK);
    assert_int_equal(open_sealed(fresh, old, anna, 3, first, &plain), INVALID);
    assert_string_equal(why.cause, "key_missing");
    assert_int_equal(open_sealed(fresh, fresh, anna, 3, first, &plain), INVALID);
    assert_string_equal(why.cause, "seal_broken");       /* the wrong key, whatever the row says */
    second = seal_make(both, anna, 3, SPAN("token"), a); /* the newest is on top */
    assert_int_equal(open_sealed(fresh, both, anna, 3, second, &plain), OK);
    assert_false(
        span_eq(second, seal_make(both, anna, 3, SPAN("token"), a))); /* never the same bytes twice */
    arena_close(a);
    seal_keys_close(old);
    seal_keys_close(both);
    seal_keys_close(fresh);
}

static void no_file(void **state)
{
    struct err err = {0};

    (void)state;
    assert_null(seal_keys_load("/nonexistent/keys", &err));
    assert_int_equal(err.code, INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(key_files),
        cmocka_unit_test(too_many_keys),
        cmocka_unit_test(the_id_tells_nothing),
        cmocka_unit_test(a_row_opens_only_as_it_was_sealed),
        cmocka_unit_test(keys_rotate),
        cmocka_unit_test(no_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
