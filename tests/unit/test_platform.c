#include "support/test.h"

#include "base/arena.h"
#include "domain/platform.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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

static void test_the_built_in_platforms_are_there_in_order(void **state)
{
    static const char *const names[] = {"instagram", "tiktok", "youtube"};
    struct platforms *set = platforms_load(NULL, NULL);

    (void)state;
    assert_int_equal(platforms_count(set), countof(names));
    for (size_t i = 0; i < countof(names); i++) {
        const struct platform *p = platforms_at(set, i);
        assert_string_equal(p->name.at, names[i]);
        assert_int_equal(p->index, i);
        assert_ptr_equal(platforms_find(set, span_of(names[i])), p);
        assert_null(platform_source(p, SPAN("default")));
        assert_int_equal(platform_decides(p, SPAN("published")), 1);
        assert_int_equal(platform_decides(p, SPAN("failed")), -1);
        assert_int_equal(platform_decides(p, SPAN("Published")), 0);
        assert_int_equal(platform_decides(p, SPAN_NONE), 0);
    }
    assert_null(platforms_find(set, SPAN("myspace")));
    platforms_close(set);
}

static void test_a_file_of_the_operator_adds_or_replaces(void **state)
{
    struct platforms *set = load("acme.yaml", "name: acme\n" VERIFY REST, NULL);

    (void)state;
    assert_int_equal(platforms_count(set), 4);
    assert_string_equal(platforms_at(set, 0)->name.at, "acme");
    assert_int_equal(platform_decides(platforms_at(set, 0), SPAN("done")), 1);
    assert_int_equal(platform_decides(platforms_at(set, 0), SPAN("published")), 1);
    platforms_close(set);

    set =
        load("tiktok.yaml", "name: tiktok\n" VERIFY REST "timeout_minutes: 30\nmax_body_bytes: 4096\n", NULL);
    assert_int_equal(platforms_count(set), 3);
    assert_true(span_eq(platforms_find(set, SPAN("tiktok"))->scheme.header, SPAN("x-sig")));
    assert_int_equal(platforms_find(set, SPAN("tiktok"))->timeout_minutes, 30);
    assert_int_equal(platforms_find(set, SPAN("tiktok"))->max_body_bytes, 4096);
    platforms_close(set);
}

#define WITH(verify)     "name: x\nverify:\n  algorithm: hmac-sha256\n  header: x-sig\n" verify REST
#define PAYLOAD(payload) "name: x\n" VERIFY "payloads:\n  - " payload "\nsuccess: [done]\nfailure: [broken]\n"

/* Each wrong descriptor with what its message must hold: the line, and what would be right. */
static const struct {
    const char *why, *text, *message;
} wrong[] = {
    {"nothing",                       "",                                                                                      "x.yaml: the file is empty"               },
    {"only a comment",                "# x\n",                                                                                 "x.yaml: the file is empty"               },
    {"two documents",                 "name: x\n" VERIFY REST "---\nname: y\n",                                                "x.yaml:7:1: a second document"           },
    {"no YAML",                       "name: [x\n",                                                                            "x.yaml:2:1: did not find expected"       },
    {"a list",                        "- x\n",                                                                                 "Expecting MAPPING"                       },
    {"an unknown key",                "name: x\n" VERIFY REST "sucess: [x]\n",
     "x.yaml:7:1: unknown key \"sucess\"; known here: name,"                                                                                                             },
    {"an unknown key first",          "nmae: x\n" VERIFY REST,                                                                 "x.yaml:1:1: unknown key \"nmae\""        },
    {"an unknown key inside",         PAYLOAD("{when: /id, pots: /id}"),
     "x.yaml:4:17: unknown key \"pots\"; known here: when,"                                                                                                              },
    {"a key with a dot",              "name: x\n" VERIFY "a.b: 1\n" REST,                                                      "x.yaml:3:1: a key must be a word"        },
    {"a key twice",                   "name: x\nname: x\n" VERIFY REST,                                                        "x.yaml:2:1: name: the key is there twice"},
    {"a key that lacks",              "name: x\n" REST,                                                                        "Missing required mapping field: verify"  },
    {"an alias",                      "name: &a x\n" VERIFY "payloads:\n  - {when: *a, post: /id}\n",                          "x.yaml:4:12: an alias"                   },
    {"a NUL",                         "name: \"x\\0y\"\n" VERIFY REST,                                                         "x.yaml:1:1: name: a NUL byte"            },
    {"the wrong type",                "name: x\n" VERIFY "payloads: /id\n",                                                    "x.yaml:3:1: payloads: Expecting SEQUENCE"},
    {"another name than the file's",  "name: y\n" VERIFY REST,
     "x.yaml:1:1: name: the file of y must be called y.yaml"                                                                                                             },
    {"a capital in the name",         "name: X\n" VERIFY REST,                                                                 "x.yaml:1:1: name: at most 50 lower-case" },
    {"an unknown algorithm",
     "name: x\nverify: {algorithm: md5, header: x, layout: single, encoding: hex, signed: x}\n" REST,
     "x.yaml:2:10: verify.algorithm: must be hmac-sha256"                                                                                                                },
    {"an unknown layout",             WITH("  layout: round\n  encoding: hex\n  signed: \"{body}\"\n"),
     "x.yaml:5:3: verify.layout: must be single or key-value"                                                                                                            },
    {"an unknown encoding",           WITH("  layout: single\n  encoding: base32\n  signed: \"{body}\"\n"),
     "x.yaml:6:3: verify.encoding: must be hex or base64"                                                                                                                },
    {"a header in capitals",
     "name: x\nverify: {algorithm: hmac-sha256, header: X-Sig, layout: single, encoding: hex, signed: "
     "x}\n" REST,
     "verify.header: a header's name, in lower case"                                                                                                                     },
    {"an unsigned body",              WITH("  layout: single\n  encoding: hex\n  signed: x\n"),
     "verify.signed: must hold {body}"                                                                                                                                   },
    {"an unknown word in braces",     WITH("  layout: single\n  encoding: hex\n  signed: \"{body}{url}\"\n"),
     "verify.signed: only {id}, {time} and {body}"                                                                                                                       },
    {"a time from nowhere",
     WITH("  layout: single\n  encoding: hex\n  signed: \"{time}{body}\"\n  tolerance_s: 300\n"),
     "verify.signed: {time} needs time or time_header"                                                                                                                   },
    {"a time that is not signed",
     WITH(
         "  layout: single\n  encoding: hex\n  signed: \"{body}\"\n  time_header: x-t\n  tolerance_s: 300\n"),
     "verify.signed: {time} needs time or time_header, and these need {time}"                                                                                            },
    {"a time without tolerance",
     WITH("  layout: single\n  encoding: hex\n  signed: \"{time}{body}\"\n  time_header: x-t\n"),
     "verify.signed: {time} needs tolerance_s"                                                                                                                           },
    {"a tolerance with a unit",
     WITH("  layout: single\n  encoding: hex\n  signed: \"{time}{body}\"\n  time_header: x-t\n  tolerance_s: "
          "5m\n"),
     "x.yaml:9:3: verify.tolerance_s: a whole number from 1 to 86400"                                                                                                    },
    {"an id that is not signed",
     WITH("  layout: single\n  encoding: hex\n  signed: \"{body}\"\n  id_header: x-id\n"),
     "{id} needs id_header, and that needs {id}"                                                                                                                         },
    {"pairs without a key",           WITH("  layout: key-value\n  encoding: hex\n  signed: \"{body}\"\n"),
     "key-value needs the key"                                                                                                                                           },
    {"a pointer without a slash",     PAYLOAD("{when: /id, post: id}"),
     "x.yaml:4:17: payloads[0].post: a pointer starts with \"/\""                                                                                                        },
    {"a pointer with a bad escape",   PAYLOAD("{when: /id, post: /i~2d}"),                                                     "\"~\" is written \"~0\""                 },
    {"a pointer with too many stars", PAYLOAD("{when: /id, post: /*/*/*/*/*}"),                                                "at most 4 \"*\""                         },
    {"a star in when",                PAYLOAD("{when: /*, post: /*}"),                                                         "payloads[0].when: without \"*\""         },
    {"a star elsewhere",              PAYLOAD("{when: /id, post: /a/*/id, url: /b/*/url}"),
     "payloads[0].url: its \"*\" must be those of post"                                                                                                                  },
    {"a star more than the post has", PAYLOAD("{when: /id, post: /a/*/id, url: /a/*/b/*/url}"),
     "payloads[0].url: its \"*\" must be those of post"                                                                                                                  },
    {"an extra's odd name",           PAYLOAD("{when: /id, post: /id, extras: [{name: 'a\"b', at: /a}]}"),
     "payloads[0].extras[0].name: letters, digits"                                                                                                                       },
    {"a word in both lists",
     "name: x\n" VERIFY "payloads:\n  - {when: /id, post: /id}\nsuccess: [a]\nfailure: [b, a]\n",
     "x.yaml:6:14: failure[1]: \"a\" means success"                                                                                                                      },
    {"published as a failure",
     "name: x\n" VERIFY "payloads:\n  - {when: /id, post: /id}\nsuccess: [a]\nfailure: [published]\n",
     "failure[0]: \"published\" means success"                                                                                                                           },
    {"no words",                      "name: x\n" VERIFY "payloads:\n  - {when: /id, post: /id}\nsuccess: []\nfailure: [b]\n",
     "success"                                                                                                                                                           },
};

static void test_a_wrong_descriptor_is_told_where_and_what_would_be_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(wrong); i++) {
        struct err err = {.text = ""};
        struct platforms *set = load("x.yaml", wrong[i].text, &err);
        if (set)
            fail_msg("%s is taken", wrong[i].why);
        if (err.code != INVALID || !strstr(err.text, wrong[i].message))
            fail_msg("%s: got \"%s\", want \"%s\"", wrong[i].why, err.text, wrong[i].message);
    }
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
    char lines[] = "\r\none\r\n\n two \nthree";
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
    assert_true(span_eq(s->secrets[1].bytes, SPAN(" two ")));
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
        cmocka_unit_test(test_a_wrong_descriptor_is_told_where_and_what_would_be_right),
        cmocka_unit_test(test_a_folder_that_is_not_there_is_an_error),
        cmocka_unit_test(test_sources_are_found_with_their_secrets),
        cmocka_unit_test(test_a_process_can_forget_the_secrets),
        cmocka_unit_test(test_secrets_come_from_the_environment),
        cmocka_unit_test(test_a_wrong_variable_is_named),
        cmocka_unit_test(test_the_longer_platform_name_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
