#include "support/test.h"

#include "domain/apikey.h"

#include <string.h>

/* Made once by hand: b2sum -l 256 over what stands before the check. */
#define ID     "0123456789abcdef"
#define SECRET "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define CHECK  "e4c58834"
#define HASH   "cc2db83ffb307268c56829f2414e5d61f80b35884d815d7919a6575381a1cbdc"
#define KEY    "settle_" ID "_" SECRET CHECK

static void a_key_made_elsewhere(void **state)
{
    struct apikey key;

    (void)state;
    assert_true(apikey_read(SPAN(KEY), &key));
    assert_memory_equal(key.id.at, ID, APIKEY_ID_CHARS);
    assert_int_equal(key.id.len, APIKEY_ID_CHARS);
    for (size_t i = 0; i < APIKEY_HASH_BYTES; i++) {
        static const char digits[] = "0123456789abcdef";

        assert_int_equal(digits[key.hash[i] >> 4], HASH[2 * i]);
        assert_int_equal(digits[key.hash[i] & 15], HASH[2 * i + 1]);
    }
}

/* Each place of the text, changed to each of some bytes. */
static void any_slip_is_seen(void **state)
{
    static const char others[] = "0f_gA \0";
    struct apikey key;
    size_t changed = 0;

    (void)state;
    for (size_t i = 0; i < APIKEY_CHARS; i++) {
        for (size_t o = 0; o < sizeof(others); o++) {
            char text[] = KEY;

            if (text[i] == others[o])
                continue;
            text[i] = others[o];
            changed++;
            assert_false(apikey_read((struct span){text, APIKEY_CHARS}, &key));
        }
    }
    assert_true(changed > 400);
}

static void what_is_no_key(void **state)
{
    static const char *const texts[] = {
        "",
        "settle_",
        "settle_" ID,
        KEY "0",
        " " KEY,
        "Settle_" ID "_" SECRET CHECK,
        "settle_" ID "-" SECRET CHECK,
    };
    struct apikey key;

    (void)state;
    for (size_t i = 0; i < countof(texts); i++)
        assert_false(apikey_read(span_of(texts[i]), &key));
    assert_false(apikey_read(SPAN_NONE, &key));
    for (size_t len = 0; len < APIKEY_CHARS; len++)
        assert_false(apikey_read((struct span){KEY, len}, &key));
}

static void made_keys_are_good_and_differ(void **state)
{
    char first[APIKEY_CHARS], second[APIKEY_CHARS];
    struct apikey a, b;

    (void)state;
    apikey_make(first);
    apikey_make(second);
    assert_true(apikey_read((struct span){first, APIKEY_CHARS}, &a));
    assert_true(apikey_read((struct span){second, APIKEY_CHARS}, &b));
    assert_false(span_eq(a.id, b.id));
    assert_memory_not_equal(first + 24, second + 24, 64);
}

static void only_its_own_hash_fits(void **state)
{
    struct apikey key;
    char stored[APIKEY_HASH_BYTES], zeros[APIKEY_HASH_BYTES] = "";

    (void)state;
    assert_true(apikey_read(SPAN(KEY), &key));
    memcpy(stored, key.hash, sizeof(stored));
    assert_true(apikey_fits(&key, (struct span){stored, sizeof(stored)}));
    assert_false(apikey_fits(&key, (struct span){stored, sizeof(stored) - 1}));
    assert_false(apikey_fits(&key, (struct span){stored, 0}));
    assert_false(apikey_fits(&key, SPAN_NONE));
    memset(key.hash, 0, sizeof(key.hash)); /* as nothing hashes */
    assert_false(apikey_fits(&key, SPAN_NONE));
    assert_true(apikey_fits(&key, (struct span){zeros, sizeof(zeros)}));
    assert_false(apikey_fits(&key, (struct span){stored, sizeof(stored)}));
}

static void scopes(void **state)
{
    static const struct {
        const char *words;
        unsigned scopes;
    } cases[] = {
        {"read",                       SCOPE_READ                                              },
        {"write,read",                 SCOPE_READ | SCOPE_WRITE                                },
        {"read read reconcile",        SCOPE_READ | SCOPE_RECONCILE                            },
        {"read write reconcile admin", SCOPE_READ | SCOPE_WRITE | SCOPE_RECONCILE | SCOPE_ADMIN},
        {"",                           0                                                       },
        {"root",                       0                                                       },
        {"read, write",                0                                                       },
        {"Read",                       0                                                       },
        {"read ",                      SCOPE_READ                                              },
    };
    char text[SCOPES_TEXT_BYTES];

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        assert_int_equal(apikey_scopes(span_of(cases[i].words)), cases[i].scopes);
        if (!cases[i].scopes)
            continue;
        apikey_scopes_text(cases[i].scopes, text);
        assert_int_equal(apikey_scopes(span_of(text)), cases[i].scopes);
    }
    apikey_scopes_text(SCOPE_READ | SCOPE_WRITE | SCOPE_RECONCILE | SCOPE_ADMIN, text);
    assert_string_equal(text, "read write reconcile admin");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_made_elsewhere),   cmocka_unit_test(any_slip_is_seen),
        cmocka_unit_test(what_is_no_key),         cmocka_unit_test(made_keys_are_good_and_differ),
        cmocka_unit_test(only_its_own_hash_fits), cmocka_unit_test(scopes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
