/* One process plays parent, worker and monitor: the memory is shared all the same. */
#include "support/test.h"

#include "base/now.h"
#include "keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define VERIFY                                                                                               \
    "verify: {algorithm: hmac-sha256, header: x-sig, layout: single, encoding: hex, signed: \"{body}\"}\n"
#define REST "payloads:\n  - {when: /id, post: /id}\nsuccess: [done]\nfailure: [broken]\n"

/* The platforms a and b; each source of a is "name:secret,secret". */
static struct platforms *a_set(const char *const *sources, size_t n)
{
    const char *const paths[] = {"a.yaml", "b.yaml"};
    const struct span texts[] = {SPAN("name: a\n" VERIFY REST), SPAN("name: b\n" VERIFY REST)};
    struct err err = {.text = ""};
    struct platforms *set = platforms_load_texts(paths, texts, 2, &err);

    if (!set)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < n; i++) {
        char lines[256];
        struct span rest = span_of(sources[i]), name = span_cut(&rest, ':');
        snprintf(lines, sizeof(lines), "%.*s", SPAN_ARG(rest));
        for (char *c = lines; *c; c++)
            *c = *c == ',' ? '\n' : *c;
        if (platforms_add_source(set, SPAN("a"), name, span_of(lines), &err))
            fail_msg("%s", err.text);
    }
    return set;
}

static const struct source *source_of(const struct platforms *set, const char *name)
{
    return platform_source(platforms_at(set, 0), span_of(name));
}

static const char *page(void)
{
    static char text[1 << 20];
    FILE *to = fmemopen(text, sizeof(text), "w");

    keys_page(to);
    fputc('\0', to);
    fclose(to);
    return text;
}

/* The value of the series, or NULL: it is not there. */
static const char *value_of(const char *name, const char *source, const char *key_id)
{
    static char value[64];
    char series[256];
    const char *at;

    snprintf(series, sizeof(series), "\n%s{platform=\"a\",source=\"%s\",key_id=\"%s\"} ", name, source,
             key_id);
    at = strstr(page(), series);
    if (!at)
        return NULL;
    at += strlen(series);
    snprintf(value, sizeof(value), "%.*s", (int)strcspn(at, "\n"), at);
    return value;
}

static const char *matches(const char *source, const char *key_id)
{
    const char *value = value_of("settle_signature_key_matches_total", source, key_id);

    return value ? value : "(none)";
}

static void test_nothing_breaks_before_open(void **state)
{
    struct platforms *set = a_set((const char *[]){"one:s1"}, 1);

    (void)state;
    keys_take(set);
    keys_count(keys_find(platforms_at(set, 0), source_of(set, "one"), 0), 1);
    assert_string_equal(page(), "");
    platforms_close(set);
}

static void test_matches_are_counted_by_key_in_all_processes(void **state)
{
    struct platforms *set = a_set((const char *[]){"one:s1,s2", "two:s1"}, 2);
    const struct platform *a = platforms_at(set, 0);
    const struct source *one = source_of(set, "one"), *two = source_of(set, "two");
    struct err err;
    int status;

    (void)state;
    assert_int_equal(keys_open(set, &err), OK);
    keys_take(set);
    assert_string_not_equal(one->secrets[0].key_id, two->secrets[0].key_id);
    assert_string_equal(matches("one", one->secrets[0].key_id), "0");
    if (fork() == 0) {
        keys_count(keys_find(a, one, 1), 1767225600250000);
        _exit(0);
    }
    wait(&status);
    keys_count(keys_find(a, one, 1), 1767225601500000);
    keys_count(keys_find(a, two, 0), 1);
    assert_string_equal(matches("one", one->secrets[0].key_id), "0");
    assert_string_equal(matches("one", one->secrets[1].key_id), "2");
    assert_string_equal(matches("two", two->secrets[0].key_id), "1");
    assert_string_equal(
        value_of("settle_signature_key_last_match_timestamp_seconds", "one", one->secrets[1].key_id),
        "1767225601.500000");
    assert_string_equal(
        value_of("settle_signature_key_last_match_timestamp_seconds", "one", one->secrets[0].key_id),
        "0.000000");
    platforms_close(set);
}

static void test_a_key_that_has_gone_is_shown_if_it_ever_matched(void **state)
{
    struct platforms *old = a_set((const char *[]){"one:s1,s2,s3"}, 1);
    struct platforms *new = a_set((const char *[]){"one:s3,s4"}, 1);
    const struct source *was = source_of(old, "one"), *is = source_of(new, "one");

    (void)state;
    keys_take(old);
    keys_take(new);
    assert_string_equal(matches("one", was->secrets[0].key_id), "(none)"); /* never matched */
    assert_string_equal(matches("one", was->secrets[1].key_id), "2");
    assert_string_equal(matches("one", is->secrets[0].key_id), "0");
    assert_string_equal(matches("one", is->secrets[1].key_id), "0");
    keys_count(keys_find(platforms_at(old, 0), was, 2), 1);
    assert_string_equal(matches("one", is->secrets[0].key_id),
                        "1"); /* the same key, in another place of another set */
    platforms_close(old);
    platforms_close(new);
}

/* Last: it leaves no place. */
static void test_keys_beyond_the_cap_count_as_one(void **state)
{
    struct platforms *set = a_set(NULL, 0);
    const struct platform *a = platforms_at(set, 0);
    struct err err = {.text = ""};
    const struct source *last;

    (void)state;
    for (unsigned i = 0; i < KEYS_MAX + 1; i++) {
        char name[16], secret[16];
        snprintf(name, sizeof(name), "s%04u", i);
        snprintf(secret, sizeof(secret), "secret-%u", i);
        assert_int_equal(platforms_add_source(set, SPAN("a"), span_of(name), span_of(secret), &err), OK);
    }
    keys_take(set);
    last = source_of(set, "s1024");
    assert_string_equal(matches("", "other"), "(none)");
    keys_count(keys_find(a, last, 0), 1);
    assert_string_equal(matches("", "other"), "1");
    assert_string_equal(matches("s1024", last->secrets[0].key_id), "(none)");
    assert_string_equal(matches("s0000", source_of(set, "s0000")->secrets[0].key_id), "0");
    platforms_close(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_breaks_before_open),
        cmocka_unit_test(test_matches_are_counted_by_key_in_all_processes),
        cmocka_unit_test(test_a_key_that_has_gone_is_shown_if_it_ever_matched),
        cmocka_unit_test(test_keys_beyond_the_cap_count_as_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
