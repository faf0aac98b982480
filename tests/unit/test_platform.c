#include "support/test.h"

#include "base/arena.h"
#include "domain/platform.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <jansson.h>

#define VERIFY                                                                                               \
    "verify: {algorithm: hmac-sha256, header: x-sig, layout: single, encoding: hex, signed: \"{body}\"}\n"
#define REST "payloads:\n  - {when: /id, post: /id}\nsuccess: [done]\nfailure: [broken]\n"

/* Loads one descriptor from a folder of its own. NULL: *err says why. */
static struct platforms *load(const char *file, const char *text, struct err *err)
{
    char folder[] = "/tmp/settle-platforms-XXXXXX", path[100];
    struct platforms *set;
    FILE *out;

    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/%s", folder, file);
    out = fopen(path, "w");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
    set = platforms_load(folder, err);
    unlink(path);
    rmdir(folder);
    return set;
}

/* All words of which platform_decides says anything, and no others. */
static void assert_deciding(const struct platform *p)
{
    struct arena *arena = arena_open(1024);
    json_t *words = json_loadb(platform_deciding(p, arena).at, platform_deciding(p, arena).len, 0, NULL),
           *word;
    size_t i;

    json_array_foreach(words, i, word)
        assert_int_not_equal(platform_decides(p, span_of(json_string_value(word))), 0);
    assert_int_equal(i, 1 + p->nsuccess + p->nfailure);
    json_decref(words);
    arena_close(arena);
}

static void test_the_built_in_platforms_are_there_in_order(void **state)
{
    static const char *const names[] = {"instagram", "tiktok", "youtube"};
    struct platforms *set = platforms_load(NULL, NULL);

    (void)state;
    for (size_t i = 0; i < platforms_count(set); i++) {
        const struct platform *p = platforms_at(set, i);
        assert_true(i == 0 || span_compare(platforms_at(set, i - 1)->name, p->name) < 0);
        assert_int_equal(p->index, i);
        assert_ptr_equal(platforms_find(set, p->name), p);
        assert_true(p->title.len > 0 && p->about.len > 0);
        assert_null(platform_source(p, SPAN("default")));
        assert_int_equal(platform_decides(p, SPAN("published")), 1);
        assert_int_equal(platform_decides(p, SPAN("Published")), 0);
        assert_int_equal(platform_decides(p, SPAN_NONE), 0);
    }
    for (size_t i = 0; i < countof(names); i++) {
        assert_int_equal(platform_decides(platforms_find(set, span_of(names[i])), SPAN("failed")), -1);
        assert_deciding(platforms_find(set, span_of(names[i])));
    }
    assert_null(platforms_find(set, SPAN("myspace")));
    platforms_close(set);
}

static void test_a_file_of_the_operator_adds_or_replaces(void **state)
{
    struct platforms *builtin = platforms_load(NULL, NULL);
    struct platforms *set = load("acme.yaml", "name: acme\n" VERIFY REST, NULL);
    size_t nbuiltin = platforms_count(builtin);

    (void)state;
    platforms_close(builtin);
    assert_int_equal(platforms_count(set), nbuiltin + 1);
    assert_string_equal(platforms_at(set, 0)->name.at, "acme");
    assert_int_equal(platform_decides(platforms_at(set, 0), SPAN("done")), 1);
    assert_int_equal(platform_decides(platforms_at(set, 0), SPAN("published")), 1);
    assert_deciding(platforms_at(set, 0));
    platforms_close(set);

    set =
        load("tiktok.yaml", "name: tiktok\n" VERIFY REST "timeout_minutes: 30\nmax_body_bytes: 4096\n", NULL);
    assert_int_equal(platforms_count(set), nbuiltin);
    assert_true(span_eq(platforms_find(set, SPAN("tiktok"))->scheme.header, SPAN("x-sig")));
    assert_int_equal(platforms_find(set, SPAN("tiktok"))->timeout_minutes, 30);
    assert_int_equal(platforms_find(set, SPAN("tiktok"))->max_body_bytes, 4096);
    platforms_close(set);
}

/* test_descriptor has all that can be wrong in one. */
static void test_a_wrong_file_of_the_operator_is_named(void **state)
{
    struct err err = {.text = ""};

    (void)state;
    assert_null(load("x.yaml", "name: x\n" VERIFY REST "sucess: [x]\n", &err));
    assert_int_equal(err.code, INVALID);
    assert_non_null(strstr(err.text, "/x.yaml:7:1: unknown key \"sucess\"; known here: name,"));
}

static void test_a_folder_that_is_not_there_is_an_error(void **state)
{
    struct err err;

    (void)state;
    assert_null(platforms_load("/nowhere/at/all", &err));
    assert_string_equal(err.text, "folder \"/nowhere/at/all\": No such file or directory");
}

static enum status add(struct platforms *set, const char *source, struct span lines, struct err *err)
{
    return platforms_add_source(set, SPAN("tiktok"), span_of(source), lines, err);
}

static void test_sources_are_found_with_their_secrets(void **state)
{
    struct platforms *set = platforms_load(NULL, NULL);
    const struct platform *p = platforms_find(set, SPAN("tiktok"));
    const struct source *s;
    char lines[] = "\r\none\r\n\ntwo\nthree";
    struct err err;

    (void)state;
    assert_int_equal(p->nsecrets_max, 1);
    assert_int_equal(add(set, "m", span_of(lines), NULL), OK);
    memset(lines, 'x', sizeof(lines) - 1); /* it was copied */
    assert_int_equal(add(set, "a", SPAN("k"), NULL), OK);
    assert_int_equal(platforms_add_source(set, SPAN("tiktok"), SPAN("z"), SPAN("k"), NULL), OK);
    s = platform_source(p, SPAN("m"));
    assert_int_equal(s->nsecrets, 3);
    assert_int_equal(p->nsecrets_max, 3);
    assert_true(span_eq(s->secrets[0].bytes, SPAN("one")));
    assert_true(span_eq(s->secrets[1].bytes, SPAN("two")));
    assert_true(span_eq(s->secrets[2].bytes, SPAN("three")));
    assert_int_equal(strlen(s->secrets[0].key_id), 16);
    /* the same secret has another id in each place: ids tell nobody that two places share one */
    assert_string_not_equal(platform_source(p, SPAN("a"))->secrets[0].key_id,
                            platform_source(p, SPAN("z"))->secrets[0].key_id);
    assert_null(platform_source(p, SPAN("b")));
    assert_null(platform_source(p, SPAN("")));

    assert_int_equal(add(set, "m", SPAN("k"), &err), INVALID);
    assert_non_null(strstr(err.text, "given twice"));
    assert_int_equal(add(set, "e", SPAN("\n\r\n"), &err), INVALID);
    assert_non_null(strstr(err.text, "there is no secret"));
    assert_int_equal(add(set, "e", SPAN("1\n2\n3\n4\n5\n6\n7\n8\n9\n"), &err), INVALID);
    assert_non_null(strstr(err.text, "more than 8 secrets"));
    assert_int_equal(add(set, "Big", SPAN("k"), &err), INVALID);
    assert_int_equal(platforms_add_source(set, SPAN("myspace"), SPAN("a"), SPAN("k"), &err), INVALID);
    platforms_close(set);
}

static void test_a_process_can_forget_the_secrets(void **state)
{
    struct platforms *set = platforms_load(NULL, NULL);
    const struct platform *p = platforms_find(set, SPAN("tiktok"));

    (void)state;
    assert_int_equal(add(set, "m", SPAN("one\ntwo"), NULL), OK);
    platforms_forget_secrets(set);
    assert_int_equal(platform_source(p, SPAN("m"))->nsecrets, 0);
    assert_int_equal(p->decoy->nsecrets, 0);
    platforms_close(set);
}

static void test_secrets_come_from_the_environment(void **state)
{
    char path[] = "/tmp/settle-secret-XXXXXX", variable[100];
    int fd = mkstemp(path);
    char *environment[] = {(char[]){"HOME=/"}, (char[]){"SETTLE_SECRET_TIKTOK=one\ntwo"},
                           (char[]){"SETTLE_SECRET_YOUTUBE_MY_APP=three"}, variable, NULL};
    struct platforms *set = platforms_load(NULL, NULL);
    struct err err;

    (void)state;
    assert_int_equal(write(fd, "four\n", 5), 5);
    close(fd);
    snprintf(variable, sizeof(variable), "SETTLE_SECRET_INSTAGRAM_FILE=%s", path);
    assert_int_equal(platforms_add_environment(set, environment, &err), OK);
    unlink(path);
    assert_int_equal(platform_source(platforms_find(set, SPAN("tiktok")), SPAN("default"))->nsecrets, 2);
    assert_non_null(platform_source(platforms_find(set, SPAN("youtube")), SPAN("my-app")));
    assert_true(
        span_eq(platform_source(platforms_find(set, SPAN("instagram")), SPAN("default"))->secrets[0].bytes,
                SPAN("four")));
    platforms_close(set);
}

static void test_a_wrong_variable_is_named(void **state)
{
    static const struct {
        const char *variable, *message;
    } variables[] = {
        {"SETTLE_SECRET_MYSPACE=k",            "SETTLE_SECRET_MYSPACE: no platform has the name"                       },
        {"SETTLE_SECRET_TIKTOKS=k",            "SETTLE_SECRET_TIKTOKS: no platform has the name"                       },
        {"SETTLE_SECRET_TIKTOK=",              "SETTLE_SECRET_TIKTOK: source \"default\" of tiktok: there is no secret"},
        {"SETTLE_SECRET_TIKTOK_=k",            "SETTLE_SECRET_TIKTOK_: source \"\" of tiktok: a name is"               },
        {"SETTLE_SECRET_TIKTOK_FILE=/nowhere", "SETTLE_SECRET_TIKTOK_FILE: file \"/nowhere\": No such file"            },
    };

    (void)state;
    for (size_t i = 0; i < countof(variables); i++) {
        char *copy = strdup(variables[i].variable), *environment[] = {copy, NULL};
        struct platforms *set = platforms_load(NULL, NULL);
        struct err err = {.text = ""};
        if (platforms_add_environment(set, environment, &err) != INVALID ||
            !strstr(err.text, variables[i].message))
            fail_msg("%s: \"%s\"", variables[i].variable, err.text);
        platforms_close(set);
        free(copy);
    }
}

/* With "a" and "a-b" both platforms, SETTLE_SECRET_A_B_C is source "c" of "a-b". */
static void test_the_longer_platform_name_counts(void **state)
{
    char folder[] = "/tmp/settle-platforms-XXXXXX", path[2][100];
    char *environment[] = {(char[]){"SETTLE_SECRET_A_B_C=k"}, NULL};
    static const char *const names[] = {"a", "a-b"};
    struct platforms *set;

    (void)state;
    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < countof(names); i++) {
        FILE *out;
        snprintf(path[i], sizeof(path[i]), "%s/%s.yaml", folder, names[i]);
        out = fopen(path[i], "w");
        fprintf(out, "name: %s\n%s", names[i], VERIFY REST);
        fclose(out);
    }
    set = platforms_load(folder, NULL);
    assert_int_equal(platforms_add_environment(set, environment, NULL), OK);
    assert_null(platform_source(platforms_find(set, SPAN("a")), SPAN("b-c")));
    assert_non_null(platform_source(platforms_find(set, SPAN("a-b")), SPAN("c")));
    platforms_close(set);
    for (size_t i = 0; i < countof(names); i++)
        unlink(path[i]);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_built_in_platforms_are_there_in_order),
        cmocka_unit_test(test_a_file_of_the_operator_adds_or_replaces),
        cmocka_unit_test(test_a_wrong_file_of_the_operator_is_named),
        cmocka_unit_test(test_a_folder_that_is_not_there_is_an_error),
        cmocka_unit_test(test_sources_are_found_with_their_secrets),
        cmocka_unit_test(test_a_process_can_forget_the_secrets),
        cmocka_unit_test(test_secrets_come_from_the_environment),
        cmocka_unit_test(test_a_wrong_variable_is_named),
        cmocka_unit_test(test_the_longer_platform_name_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
