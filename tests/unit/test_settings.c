/* Settings and their reload, from a folder of the test's own and the process's environment. */
#include "support/test.h"

#include "base/now.h"
#include "settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <sodium.h>

#define TWILIO_LIKE                                                                                          \
    "name: dial\n"                                                                                           \
    "verify: {algorithm: hmac-sha1, header: x-sig, layout: single, encoding: base64, signed: "               \
    "\"{url}{form}\"}\n"
#define PLAIN(name)                                                                                          \
    "name: " name "\n"                                                                                       \
    "verify: {algorithm: hmac-sha256, header: x-sig, layout: single, encoding: hex, signed: \"{body}\"}\n"
#define REST "payloads:\n  - {when: /id, post: /id}\nsuccess: [done]\nfailure: [broken]\n"

static char folder[] = "/tmp/settle-settings-XXXXXX", settings_path[64];

static const char *path_of(const char *name)
{
    static char paths[8][100];
    static unsigned n;

    n = (n + 1) % countof(paths);
    snprintf(paths[n], sizeof(paths[n]), "%s/%s", folder, name);
    return paths[n];
}

static void write_file(const char *name, const char *text)
{
    FILE *out = fopen(path_of(name), "w");

    assert_non_null(out);
    fputs(text, out);
    assert_int_equal(fclose(out), 0);
}

/* "%s" in text is the folder. */
static void write_settings(const char *text)
{
    char full[4096];
    size_t len = 0;

    for (const char *c = text; *c; c++)
        if (strncmp(c, "%s", 2) == 0) {
            len += (size_t)snprintf(full + len, sizeof(full) - len, "%s", folder);
            c++;
        } else {
            full[len++] = *c;
        }
    full[len] = '\0';
    write_file("settle.yaml", full);
}

static int up(void **state)
{
    (void)state;
    for (char **at = environ; *at;)
        if (strncmp(*at, "SETTLE_", 7) == 0 && strchr(*at, '=')) { /* without: what settings_open has wiped */
            char name[128];
            snprintf(name, sizeof(name), "%.*s", (int)strcspn(*at, "="), *at);
            unsetenv(name);
        } else {
            at++;
        }
    return 0;
}

static struct settings must_open(void)
{
    struct settings s;
    struct err err = {.text = ""};

    if (settings_open(&s, settings_path, NULL, &err))
        fail_msg("%s", err.text);
    return s;
}

static struct platforms *must_reload(const struct settings *s)
{
    struct platforms *set;
    struct err err = {.text = ""};
    const char *late;

    if (settings_reload(s, &set, &late, &err))
        fail_msg("%s", err.text);
    assert_null(late);
    return set;
}

static void expect_no_reload(const struct settings *s, const char *why)
{
    struct platforms *set = NULL;
    struct err err = {.text = ""};
    const char *late;

    assert_int_equal(settings_reload(s, &set, &late, &err), INVALID);
    if (!strstr(err.text, why))
        fail_msg("want \"%s\", got \"%s\"", why, err.text);
    assert_null(set);
}

static const struct source *source_of(const struct platforms *set, const char *platform, const char *source)
{
    return platform_source(platforms_find(set, span_of(platform)), span_of(source));
}

static void test_what_files_hold_now_and_variables_held_at_the_start(void **state)
{
    struct settings s;
    struct platforms *fresh;
    const struct source *shop;

    (void)state;
    write_file("a.secret", "one\n");
    write_file("a.token", "token-1\n");
    write_file("b.secret", "from-a-path\n");
    write_settings(
        "sources:\n  - {platform: instagram, secret_file: %s/a.secret, verify_token_file: %s/a.token}\n");
    setenv("SETTLE_SECRET_TIKTOK", "from-a-variable", 1);
    setenv("SETTLE_SECRET_TIKTOK_B_FILE", path_of("b.secret"), 1);
    setenv("SETTLE_VERIFY_TOKEN_TIKTOK", "token-of-a-variable", 1);
    s = must_open();
    assert_true(span_eq(source_of(s.platforms, "instagram", "default")->secrets[0].bytes, SPAN("one")));
    assert_true(span_eq(source_of(s.platforms, "instagram", "default")->verify_token, SPAN("token-1")));
    assert_null(getenv("SETTLE_SECRET_TIKTOK"));
    assert_null(getenv("SETTLE_SECRET_TIKTOK_B_FILE"));
    assert_null(getenv("SETTLE_VERIFY_TOKEN_TIKTOK"));

    write_file("a.secret", "two\none expires=2999-01-01T00:00:00Z\n");
    write_file("a.token", "token-2\n");
    write_file("b.secret", "changed\n");
    write_file("c.secret", "three\n");
    write_settings(
        "sources:\n  - {platform: instagram, secret_file: %s/a.secret, verify_token_file: %s/a.token}\n"
        "  - {platform: instagram, name: shop, secret_file: %s/c.secret}\n");
    fresh = must_reload(&s);
    assert_int_equal(source_of(fresh, "instagram", "default")->nsecrets, 2);
    assert_true(span_eq(source_of(fresh, "instagram", "default")->secrets[0].bytes, SPAN("two")));
    assert_true(source_of(fresh, "instagram", "default")->secrets[1].expires_us != TIME_NONE);
    assert_true(span_eq(source_of(fresh, "instagram", "default")->verify_token, SPAN("token-2")));
    shop = source_of(fresh, "instagram", "shop");
    assert_non_null(shop);
    assert_true(span_eq(source_of(fresh, "tiktok", "default")->secrets[0].bytes, SPAN("from-a-variable")));
    assert_true(span_eq(source_of(fresh, "tiktok", "default")->verify_token, SPAN("token-of-a-variable")));
    assert_true(span_eq(source_of(fresh, "tiktok", "b")->secrets[0].bytes, SPAN("changed")));
    /* What was open is as it was. */
    assert_true(span_eq(source_of(s.platforms, "instagram", "default")->secrets[0].bytes, SPAN("one")));
    assert_null(source_of(s.platforms, "instagram", "shop"));
    platforms_close(fresh);
    settings_close(&s);
}

/* 1900000000 is 2030-03-17T17:46:40Z. */
static const struct {
    const char *why, *secrets, *says;
} in_force[] = {
    {"always",                   "a",                                                                  ""                         },
    {"until later",              "a expires=2030-03-17T17:46:41Z",                                     ""                         },
    {"from now on",              "a not-before=2030-03-17T17:46:40Z",                                  ""                         },
    {"one of two",               "a expires=2020-01-01T00:00:00Z\nb",                                  ""                         },
    {"no longer",                "a expires=2030-03-17T17:46:40Z",                                     "since 2030-03-17T17:46:40"},
    {"the last one counts",
     "a expires=2020-01-01T00:00:00Z\nb expires=2021-01-01T00:00:00Z\nc expires=2019-01-01T00:00:00Z", "since 2021-01-01T00:00:00"},
    {"not yet",                  "a not-before=2031-01-01T00:00:00Z",                                  "until 2031-01-01T00:00:00"},
    {"the first to come counts",
     "a not-before=2032-01-01T00:00:00Z\nb not-before=2031-01-01T00:00:00Z\nc "
     "not-before=2033-01-01T00:00:00Z\n"
     "d expires=2020-01-01T00:00:00Z",                                                                 "until 2031-01-01T00:00:00"},
};

static void note_idle(const struct platform *p, const struct source *s, const char *why, void *text)
{
    assert_true(span_eq(p->name, SPAN("tiktok")));
    assert_true(span_eq(s->name, SPAN("default")));
    snprintf(text, 128, "%s", why);
}

static void test_sources_without_a_secret_in_force(void **state)
{
    char text[128];

    (void)state;
    unsetenv("SETTLE_CONFIG");
    write_settings("log: {level: error}\n");
    for (size_t i = 0; i < countof(in_force); i++) {
        struct settings s;
        setenv("SETTLE_SECRET_INSTAGRAM", "in-force", 1);
        setenv("SETTLE_SECRET_TIKTOK", in_force[i].secrets, 1);
        s = must_open();
        text[0] = '\0';
        settings_each_idle(s.platforms, 1900000000 * SECOND_US, note_idle, text);
        settings_close(&s);
        if (in_force[i].says[0] ? !strstr(text, in_force[i].says) : text[0] != '\0')
            fail_msg("%s: \"%s\"", in_force[i].why, text);
    }
}

static const struct {
    const char *why, *file, *text, *message;
} broken[] = {
    {"an empty secret file", "a.secret",    "\n",                                                       "there is no secret"},
    {"a wrong date",         "a.secret",    "one expires=tomorrow\n",                                   "secret 1"          },
    {"broken YAML",          "settle.yaml", "sources: [\n",                                             "settle.yaml:"      },
    {"an unknown platform",  "settle.yaml", "sources: [{platform: myspace, secret_file: /dev/null}]\n",
     "there is no platform \"myspace\""                                                                                     },
    {"a missing file",       "settle.yaml", "sources: [{platform: tiktok, secret_file: /nowhere}]\n",
     "file \"/nowhere\""                                                                                                    },
};

static void test_a_broken_reload_says_why(void **state)
{
    const char *const good = "sources: [{platform: instagram, secret_file: %s/a.secret}]\n";
    struct settings s;

    (void)state;
    write_file("a.secret", "one\n");
    write_settings(good);
    s = must_open();
    for (size_t i = 0; i < countof(broken); i++) {
        write_file(broken[i].file, broken[i].text);
        expect_no_reload(&s, broken[i].message);
        write_file("a.secret", "one\n");
        write_settings(good);
    }
    platforms_close(must_reload(&s));
    settings_close(&s);
}

static void test_descriptors_may_change_but_not_which_there_are(void **state)
{
    struct settings s;
    struct platforms *fresh;

    (void)state;
    write_file("d/plain.yaml", PLAIN("plain") "max_body_bytes: 1000\n" REST);
    write_settings("platforms: {folder: %s/d}\n");
    s = must_open();
    assert_int_equal(platforms_find(s.platforms, SPAN("plain"))->max_body_bytes, 1000);
    write_file("d/plain.yaml", PLAIN("plain") "max_body_bytes: 2000\n" REST);
    fresh = must_reload(&s);
    assert_int_equal(platforms_find(fresh, SPAN("plain"))->max_body_bytes, 2000);
    platforms_close(fresh);

    write_file("d/plain.yaml", "name: plain\n");
    expect_no_reload(&s, "d/plain.yaml");
    write_file("d/plain.yaml", PLAIN("plain") REST);
    write_file("d/zebra.yaml", PLAIN("zebra") REST);
    expect_no_reload(&s, "platform \"zebra\" is new: that wants a restart");
    unlink(path_of("d/zebra.yaml"));
    unlink(path_of("d/plain.yaml"));
    expect_no_reload(&s, "platform \"plain\" is gone: that wants a restart");
    settings_close(&s);
}

static void test_a_signed_url_wants_to_be_known(void **state)
{
    struct settings s;
    struct err err = {.text = ""};

    (void)state;
    write_file("d/dial.yaml", TWILIO_LIKE REST);
    write_file("a.secret", "one\n");
    write_settings("platforms: {folder: %s/d}\nsources: [{platform: dial, secret_file: %s/a.secret}]\n");
    assert_int_equal(settings_open(&s, settings_path, NULL, &err), INVALID);
    assert_string_equal(err.text,
                        "source \"default\" of dial: the URL that the sender called is part of what is "
                        "signed: set ingest.public_url");
    write_settings("platforms: {folder: %s/d}\n"); /* nobody signs */
    s = must_open();
    /* The processes that run know no URL, whatever the file says now. */
    write_settings("ingest: {public_url: \"https://h\"}\nplatforms: {folder: %s/d}\n"
                   "sources: [{platform: dial, secret_file: %s/a.secret}]\n");
    expect_no_reload(&s, "set ingest.public_url");
    settings_close(&s);
    s = must_open();
    platforms_close(must_reload(&s));
    settings_close(&s);
    unlink(path_of("d/dial.yaml"));

    write_settings("sources: [{platform: youtube, secret_file: %s/a.secret, topics: [UC1]}]\n");
    assert_int_equal(settings_open(&s, settings_path, NULL, &err), INVALID);
    assert_non_null(strstr(err.text, "to subscribe to its topics"));
    write_settings("ingest: {public_url: \"https://h\"}\n"
                   "sources: [{platform: youtube, secret_file: %s/a.secret, topics: [UC1, UC2]}]\n");
    s = must_open();
    assert_int_equal(source_of(s.platforms, "youtube", "default")->ntopics, 2);
    assert_true(span_eq(source_of(s.platforms, "youtube", "default")->topics[1], SPAN("UC2")));
    settings_close(&s);
}

static void test_what_wants_a_restart_is_named(void **state)
{
    struct settings s;
    struct platforms *set;
    struct err err = {.text = ""};
    const char *late;

    (void)state;
    setenv("SETTLE_DATABASE_URL", "host=/nowhere", 1);
    setenv("SETTLE_INGEST_QUEUE", "7", 1);
    write_settings("log: {level: error}\n");
    s = must_open();
    platforms_close(
        must_reload(&s)); /* a variable that was wiped is no change, nor one that stands before the file */
    write_settings("log: {level: error}\ningest: {queue: 8, batch_rows: 8}\n");
    assert_int_equal(settings_reload(&s, &set, &late, &err), OK);
    assert_string_equal(late, "ingest.batch_rows");
    platforms_close(set);
    settings_close(&s);
}

static void test_what_is_forgotten_cannot_be_read_again(void **state)
{
    struct settings s;

    (void)state;
    setenv("SETTLE_SECRET_TIKTOK", "a-secret", 1);
    write_settings("log: {level: error}\n");
    s = must_open();
    assert_non_null(s.variables);
    assert_string_equal(s.variables[0], "SETTLE_SECRET_TIKTOK=a-secret");
    settings_forget_secrets(&s);
    assert_null(s.variables);
    assert_int_equal(source_of(s.platforms, "tiktok", "default")->nsecrets, 0);
    settings_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_what_files_hold_now_and_variables_held_at_the_start, up),
        cmocka_unit_test_setup(test_a_broken_reload_says_why, up),
        cmocka_unit_test_setup(test_descriptors_may_change_but_not_which_there_are, up),
        cmocka_unit_test_setup(test_a_signed_url_wants_to_be_known, up),
        cmocka_unit_test_setup(test_what_wants_a_restart_is_named, up),
        cmocka_unit_test_setup(test_what_is_forgotten_cannot_be_read_again, up),
        cmocka_unit_test_setup(test_sources_without_a_secret_in_force, up),
    };
    char clean[64], sub[64];
    int failed;

    if (!mkdtemp(folder))
        return 99;
    snprintf(settings_path, sizeof(settings_path), "%s/settle.yaml", folder);
    snprintf(sub, sizeof(sub), "mkdir %s/d", folder);
    snprintf(clean, sizeof(clean), "rm -r %s", folder);
    if (system(sub) != 0)
        return 99;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    return system(clean) == 0 ? failed : 99;
}
