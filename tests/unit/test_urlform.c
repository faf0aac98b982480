#include "support/test.h"

#include "domain/urlform.h"

static const struct {
    const char *why, *text, *pairs; /* "name>value|" each */
} cases[] = {
    {"nothing",                                "",                  ""                  },
    {"pairs in their order",                   "b=2&a=1",           "b>2|a>1|"          },
    {"a plus is a blank, %2B a plus",          "a+b=c%2Bd",         "a b>c+d|"          },
    {"digits of either case",                  "a=%e2%82%AC",       "a>\xe2\x82\xac|"   },
    {"a percent without digits is itself",     "a=100%&b=%g1&c=%4", "a>100%|b>%g1|c>%4|"},
    {"only one round of decoding",             "a=%2541",           "a>%41|"            },
    {"an encoded separator separates nothing", "a%3Db=c%26d",       "a=b>c&d|"          },
    {"the first = ends the name",              "a=b=c",             "a>b=c|"            },
    {"a name without a value",                 "a&b=",              "a>|b>|"            },
    {"a value without a name",                 "=v",                ">v|"               },
    {"nothing between two &",                  "&&a=1&",            "a>1|"              },
    {"a name that comes twice",                "a=1&a=2",           "a>1|a>2|"          },
};

static void test_forms_are_read_as_browsers_read_them(void **state)
{
    struct arena *a = arena_open(1024);

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct urlform_pair *pairs = NULL;
        const char *got = "";
        size_t n = 0;
        assert_true(urlform_read(span_of(cases[i].text), a, &pairs, &n));
        for (size_t k = 0; k < n; k++)
            got = arena_print(a, "%s%.*s>%.*s|", got, SPAN_ARG(pairs[k].name), SPAN_ARG(pairs[k].value));
        if (strcmp(got, cases[i].pairs) != 0)
            fail_msg("%s: got %s", cases[i].why, got);
    }
    arena_close(a);
}

static void test_a_form_has_an_end(void **state)
{
    struct arena *a = arena_open(1024);
    char text[2 * URLFORM_PAIRS_MAX + 1];
    struct urlform_pair *pairs;
    size_t n;

    (void)state;
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = i % 2 ? '&' : 'a';
    assert_true(urlform_read((struct span){text, sizeof(text) - 2}, a, &pairs, &n));
    assert_int_equal(n, URLFORM_PAIRS_MAX);
    assert_false(urlform_read((struct span){text, sizeof(text)}, a, &pairs, &n));
    arena_close(a);
}

static void test_the_first_of_a_name_is_found_and_the_others_are_told(void **state)
{
    struct arena *a = arena_open(1024);
    struct urlform_pair *pairs;
    size_t n;
    bool again;

    (void)state;
    assert_true(urlform_read(SPAN("a=1&b=&a=2"), a, &pairs, &n));
    assert_true(span_eq(urlform_get(pairs, n, SPAN("a"), &again), SPAN("1")));
    assert_true(again);
    assert_non_null(urlform_get(pairs, n, SPAN("b"), &again).at);
    assert_false(again);
    assert_null(urlform_get(pairs, n, SPAN("c"), NULL).at);
    arena_close(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms_are_read_as_browsers_read_them),
        cmocka_unit_test(test_a_form_has_an_end),
        cmocka_unit_test(test_the_first_of_a_name_is_found_and_the_others_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
