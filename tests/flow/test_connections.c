/* Tokens of accounts, from the API or the command line into Postgres and back out for a pass; and nowhere else. */
#include "support/world.h"

#include "connection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEY_1  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define KEY_2  "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
#define CANARY "canary-4f1d0c7e9a-token"
#define PATH   "/api/scheduler/platform-connections/"

static char keys_path[128], token_path[128];

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int up(void **state)
{
    struct world *w = *state = world_open();

    snprintf(keys_path, sizeof(keys_path), "%s/connection.keys", w->dir);
    snprintf(token_path, sizeof(token_path), "%s/token", w->dir);
    write_file(keys_path, KEY_1 "\n");
    write_file(token_path, CANARY "\n");
    setenv("SETTLE_CONNECTIONS_KEY_FILE", keys_path, 1);
    setenv("SETTLE_LOG_LEVEL", "debug", 1);
    return world_gateway(w, NULL);
}

static int reset(void **state)
{
    write_file(keys_path, KEY_1 "\n");
    world_reset(*state);
    return 0;
}

static int down(void **state)
{
    world_close(*state);
    return 0;
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "(none)";
}

static struct reply put(struct world *w, const char *who, const char *json)
{
    char path[256];

    snprintf(path, sizeof(path), PATH "%s", who);
    return world_api(w, "PUT", path, json);
}

static struct outcome cli(struct world *w, const char *verb, const char *user, const char *one,
                          const char *two)
{
    struct outcome o =
        user ? world_wait(w, world_spawn(w, "settle-reconciler", "connections", verb, "--platform", "tiktok",
                                         "--user", user, one, two, NULL))
             : world_wait(w, world_spawn(w, "settle-reconciler", "connections", verb, one, two, NULL));

    assert_null(strstr(o.out, CANARY));
    assert_null(strstr(o.err, CANARY));
    return o;
}

static struct pg *connect_as(struct world *w, const char *role)
{
    const struct pg_config config = {.url = w->database_url,
                                     .user = role,
                                     .application = "test_connections",
                                     .connect_timeout_s = 5,
                                     .statement_timeout_ms = 5000,
                                     .unsafe_ok = true};
    struct err err = {0};
    struct pg *pg = pg_connect(&config, &err);

    if (!pg)
        fail_msg("%s", err.text);
    return pg;
}

/* What a pass would find for an account on tiktok: its token, or the word for why there is none. */
static const char *found(struct world *w, const char *keys_text, const char *user, const char *account)
{
    static const char *const words[] = {"none", "ready", "off", "expired", "sealed"};
    static char text[CONNECTION_TOKEN_MAX + 1];
    struct seal_keys *keys = keys_text ? seal_keys_read(span_of(keys_text), &(struct err){0}) : NULL;
    struct connection_name name = {span_of(user), SPAN("tiktok"), span_of(account)};
    struct pg *pg = connect_as(w, "settle_reconciler");
    struct connections *c;
    const struct connection *one;
    struct err err = {0};

    if (connection_find(pg, keys, &name, 1, &c, &err))
        fail_msg("%s", err.text);
    one = connection_at(c, 0);
    assert_true((one->state == CONNECTION_READY) == (one->token.at != NULL));
    if (one->token.at)
        snprintf(text, sizeof(text), "%.*s", SPAN_ARG(one->token));
    else
        snprintf(text, sizeof(text), "%s", words[one->state]);
    connection_close(c);
    seal_keys_close(keys);
    pg_close(pg);
    return text;
}

static void test_the_api_stores_a_token(void **state)
{
    struct world *w = *state;
    struct reply r =
        put(w, "anna%40example.com/tiktok",
            "{\"account\":\"a1\",\"token\":\"" CANARY "\",\"expires_at\":\"2099-01-01T00:00:00Z\"}");

    assert_int_equal(r.status, 200);
    assert_string_equal(text_of(r.json, "user_id"), "anna@example.com");
    assert_string_equal(text_of(r.json, "account"), "a1");
    assert_true(json_is_true(json_object_get(r.json, "token_stored")));
    assert_true(json_is_true(json_object_get(r.json, "connected")));
    assert_string_equal(found(w, KEY_1, "anna@example.com", "a1"), CANARY);
    assert_string_equal(found(w, KEY_1, "anna@example.com", "default"), "none");
    assert_string_equal(found(w, KEY_2, "anna@example.com", "a1"), "sealed");
    assert_string_equal(found(w, NULL, "anna@example.com", "a1"), "sealed");
    assert_string_equal(
        world_sql(
            w, "select event_type, actor, entity_id, metadata ->> 'account' from settle.social_sync_ledger"),
        "platform_connection_set|local|anna@example.com|a1");

    r = put(w, "anna%40example.com/tiktok", "{\"account\":\"a1\",\"connected\":false}");
    assert_int_equal(r.status, 200);
    assert_string_equal(text_of(r.json, "expires_at"), "2099-01-01T00:00:00+00:00");
    assert_string_equal(found(w, KEY_1, "anna@example.com", "a1"), "off");
    put(w, "anna%40example.com/tiktok", "{\"account\":\"a1\",\"expires_at\":\"2020-01-01T00:00:00Z\"}");
    assert_string_equal(found(w, KEY_1, "anna@example.com", "a1"), "expired");
}

static void test_what_is_not_there_is_not_disconnected(void **state)
{
    struct world *w = *state;
    struct reply r;
    struct outcome o;

    o = cli(w, "set", "bert", "--disconnected", NULL);
    assert_int_equal(o.status, 65);
    assert_non_null(strstr(o.err, "--account default: bert has no such account on tiktok; there is none"));
    cli(w, "set", "anna", "--account=a2", NULL);
    cli(w, "set", "anna", "--account=a1", NULL);
    o = cli(w, "set", "anna", "--disconnected", NULL);
    assert_int_equal(o.status, 65);
    assert_non_null(strstr(o.err, "has no such account on tiktok; there are: a1, a2\""));
    o = cli(w, "set", "anna", "--disconnected", "--dry-run");
    assert_int_equal(o.status, 65);
    assert_non_null(strstr(o.err, "; there are: a1, a2\""));
    assert_int_equal(
        world_wait(w, world_spawn(w, "settle-reconciler", "connections", "set", "--platform", "tiktok",
                                  "--user", "anna", "--disconnected", "--account=a1", "--dry-run", NULL))
            .status,
        0);

    r = put(w, "anna/tiktok", "{\"connected\":false}");
    assert_int_equal(r.status, 404);
    assert_string_equal(text_of(r.json, "type"), "urn:settle:problem:unknown_account");
    r.json = json_array_get(json_object_get(r.json, "errors"), 0);
    assert_string_equal(text_of(r.json, "field"), "account");
    assert_string_equal(text_of(r.json, "message"), "there are: a1, a2");
    assert_int_equal(world_count(w, "select count(*) from settle.platform_connections where connected"), 2);
    assert_int_equal(world_count(w, "select count(*) from settle.platform_connections"), 2);

    assert_int_equal(put(w, "bert/tiktok", "{\"connected\":false,\"token\":\"" CANARY "\"}").status, 200);
    assert_string_equal(found(w, KEY_1, "bert", "default"), "off");
}

static void test_the_api_refuses_what_is_wrong(void **state)
{
    static const struct {
        const char *who, *body;
        long status;
        const char *cause;
    } cases[] = {
        {"u/tiktok",    "{\"token\":\"\"}",                            422, "invalid_parameter" },
        {"u/tiktok",    "{\"token\":\"" CANARY "\\n\"}",               422, "invalid_parameter" },
        {"u/tiktok",    "{\"tokn\":\"" CANARY "\"}",                   422, "invalid_parameter" },
        {"u/tiktok",    "{\"token\":\"" CANARY "\",\"account\":\"\"}", 422, "invalid_parameter" },
        {"u/tiktok",    "{\"token\":\"" CANARY "\"",                   400, "malformed_json"    },
        {"u/gsc",       "{\"token\":\"" CANARY "\"}",                  422, "account_is_no_site"},
        {"u/bing",      "{\"account\":\"www.example.com\"}",           422, "account_is_no_site"},
        {"u/Tik%20Tok", "{}",                                          404, "not_found"         },
    };
    struct world *w = *state;
    char *large = malloc(20000);
    struct reply r;

    for (size_t i = 0; i < countof(cases); i++) {
        char type[128];
        r = put(w, cases[i].who, cases[i].body);
        snprintf(type, sizeof(type), "urn:settle:problem:%s", cases[i].cause);
        assert_int_equal(r.status, cases[i].status);
        assert_string_equal(text_of(r.json, "type"), type);
        assert_null(strstr(r.body, CANARY));
    }
    memset(large, 'x', 20000);
    snprintf(large + 8193, 20000 - 8193, "\"}");
    memcpy(large, "{\"token\":\"", 10);
    r = put(w, "u/tiktok", large);
    assert_int_equal(r.status, 200); /* 8183 of them */
    memset(large + 8193, 'x', 20);
    snprintf(large + 8213, 20000 - 8213, "\"}");
    r = put(w, "u/tiktok", large);
    assert_int_equal(r.status, 422);
    free(large);
    assert_int_equal(world_count(w, "select count(*) from settle.platform_connections"), 1);
}

static void test_the_command_does_all_of_it(void **state)
{
    struct world *w = *state;
    struct outcome o = cli(w, "set", "anna", "--token-file", token_path);

    assert_int_equal(o.status, 0);
    assert_string_equal(found(w, KEY_1, "anna", "default"), CANARY);
    assert_string_equal(world_sql(w, "select event_type, actor from settle.social_sync_ledger"),
                        "platform_connection_set|cli");

    o = cli(w, "set", "bert", "--dry-run", NULL);
    assert_int_equal(o.status, 0);
    assert_int_equal(world_count(w, "select count(*) from settle.platform_connections"), 1);
    o = cli(w, "set", "bert", "--account=b1", NULL);
    assert_int_equal(o.status, 0);
    o = cli(w, "set", "bert", "--disconnected", "--account=b1");
    assert_int_equal(o.status, 0);
    assert_string_equal(found(w, KEY_1, "bert", "b1"), "off");
    o = cli(w, "set", "anna", "--expires", "2020-01-01T00:00:00Z");
    assert_int_equal(o.status, 0);
    assert_string_equal(found(w, KEY_1, "anna", "default"), "expired");

    o = world_wait(w, world_spawn(w, "settle-reconciler", "connections", "list", "--json", NULL));
    assert_int_equal(json_array_size(o.json), 2);
    assert_string_equal(text_of(json_array_get(o.json, 0), "user_id"), "anna");
    assert_string_equal(text_of(json_array_get(o.json, 0), "expires_at"), "2020-01-01T00:00:00.000000Z");
    assert_true(json_is_false(json_object_get(json_array_get(o.json, 1), "token_stored")));
    assert_true(json_is_null(json_object_get(json_array_get(o.json, 1), "key_id")));
    o = world_wait(w, world_spawn(w, "settle-reconciler", "connections", "list", "--user", "bert", NULL));
    assert_string_equal(o.out, "bert\ttiktok\tb1\tdisconnected\tno token\t-\n");

    o = cli(w, "remove", "anna", "--dry-run", NULL);
    assert_non_null(strstr(o.out, "would be removed"));
    assert_int_equal(world_count(w, "select count(*) from settle.platform_connections"), 2);
    o = cli(w, "remove", "anna", NULL, NULL);
    assert_string_equal(found(w, KEY_1, "anna", "default"), "none");
    o = cli(w, "remove", "anna", NULL, NULL);
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(o.out, "there is none"));
}

static void test_the_command_refuses_what_is_wrong(void **state)
{
    static const struct {
        const char *text;
        int status;
    } tokens[] = {
        {"",                  65},
        {"\n",                65},
        {CANARY "\nsecond\n", 65},
        {CANARY "\t",         65},
        {CANARY "\xc3\xa9",   65},
        {CANARY "\r\n",       0 },
    };
    struct world *w = *state;
    struct outcome o;

    for (size_t i = 0; i < countof(tokens); i++) {
        write_file(token_path, tokens[i].text);
        o = cli(w, "set", "anna", "--token-file", token_path);
        assert_int_equal(o.status, tokens[i].status);
    }
    write_file(token_path, CANARY "\n");
    assert_int_equal(cli(w, "set", "anna", "--token-file", "/nonexistent").status, 65);
    assert_int_equal(cli(w, "set", "", "--token-file", token_path).status, 64);
    assert_int_equal(cli(w, "set", "a\nb", "--token-file", token_path).status, 64);
    assert_int_equal(cli(w, "set", "anna", "--expires", "tomorrow").status, 64);
    assert_int_equal(cli(w, "set", NULL, NULL, NULL).status, 64);
    assert_int_equal(cli(w, "sett", "anna", NULL, NULL).status, 64);
    write_file(keys_path, "not a key\n");
    assert_int_equal(cli(w, "set", "anna", "--token-file", token_path).status, 78);
    unsetenv("SETTLE_CONNECTIONS_KEY_FILE");
    assert_int_equal(cli(w, "set", "anna", "--token-file", token_path).status, 78);
    assert_int_equal(cli(w, "rekey", NULL, NULL, NULL).status, 78);
    setenv("SETTLE_CONNECTIONS_KEY_FILE", keys_path, 1);
}

/* More than a page of them: all get the new key, none is lost, and what no key opens is told and left. */
static void test_rekey(void **state)
{
    struct world *w = *state;
    struct outcome o = cli(w, "set", "anna", "--token-file", token_path);
    char user[16];

    assert_int_equal(o.status, 0);
    write_file(keys_path, KEY_2 "\n" KEY_1 "\n");
    assert_string_equal(found(w, KEY_2 "\n" KEY_1, "anna", "default"), CANARY);
    for (int i = 0; i < 3; i++) {
        snprintf(user, sizeof(user), "user-%d", i);
        assert_int_equal(cli(w, "set", user, "--token-file", token_path).status,
                         0); /* with the new key already */
    }
    o = cli(w, "rekey", NULL, "--dry-run", NULL);
    assert_non_null(strstr(o.out, "1 tokens would be sealed again"));
    assert_string_equal(found(w, KEY_2, "anna", "default"), "sealed");
    /* Copies of the row that nobody sealed for their place: none of them may open, before or after. */
    world_sql(
        w,
        "insert into settle.platform_connections (user_id_str, platform, account, token, key_id, connected)"
        " select 'copy-' || lpad(i::text, 4, '0'), platform, account, token, key_id, true"
        " from settle.platform_connections, generate_series(1, 600) as i where user_id_str = 'anna'");
    assert_string_equal(found(w, KEY_1, "copy-0001", "default"), "sealed");
    o = cli(w, "rekey", NULL, NULL, NULL);
    assert_int_equal(o.status, 65);
    assert_non_null(strstr(o.out, "1 tokens sealed again"));
    assert_non_null(strstr(o.out, "600 could not be opened"));
    assert_string_equal(found(w, KEY_2, "anna", "default"), CANARY);
    assert_string_equal(found(w, KEY_1, "anna", "default"), "sealed");
    world_sql(w, "delete from settle.platform_connections where user_id_str like 'copy-%%'");
    o = cli(w, "rekey", NULL, NULL, NULL);
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(o.out, "0 tokens sealed again"));
    assert_int_equal(world_count(w, "select count(*) from settle.social_sync_ledger"
                                    " where event_type = 'platform_connections_rekeyed'"),
                     1);
}

static void test_a_swapped_row_does_not_open(void **state)
{
    struct world *w = *state;

    put(w, "anna/tiktok", "{\"token\":\"of-anna\"}");
    put(w, "bert/tiktok", "{\"token\":\"of-bert\"}");
    put(w, "bert/tiktok", "{\"token\":\"of-b2\",\"account\":\"b2\"}");
    world_sql(
        w, "update settle.platform_connections as c set token = o.token from settle.platform_connections as o"
           " where c.user_id_str = 'anna' and o.user_id_str = 'bert' and o.account = 'default'");
    assert_string_equal(found(w, KEY_1, "anna", "default"), "sealed");
    assert_string_equal(found(w, KEY_1, "bert", "default"), "of-bert");
    world_sql(w,
              "update settle.platform_connections as c set token = substr(token, 1, octet_length(token) - 1)"
              " where c.account = 'b2'");
    assert_string_equal(found(w, KEY_1, "bert", "b2"), "sealed");
}

/* The token is nowhere: not in a dump of the database, not in what our programs wrote. */
static void test_the_token_shows_nowhere(void **state)
{
    struct world *w = *state;
    struct outcome o;
    char command[512], hex[2 * sizeof(CANARY)] = "";

    for (size_t i = 0; i < sizeof(CANARY) - 1; i++)
        snprintf(hex + 2 * i, 3, "%02x", (unsigned)CANARY[i]);
    assert_int_equal(put(w, "anna/tiktok", "{\"token\":\"" CANARY "\"}").status, 200);
    assert_int_equal(cli(w, "set", "bert", "--token-file", token_path).status, 0);
    put(w, "anna/tiktok", "{\"token\":\"" CANARY "\",\"expires_at\":\"9999\"}");
    unlink(token_path);
    snprintf(command, sizeof(command),
             "PGUSER=postgres pg_dump '%s' > %s/dump && grep -q platform_connection_set %s/dump",
             w->database_url, w->dir, w->dir);
    o = world_wait(w, world_spawn(w, "sh", "-c", command, NULL));
    assert_int_equal(o.status, 0);
    snprintf(command, sizeof(command), "grep -rlaF -e '%s' -e '%s' %s || true", CANARY, hex, w->dir);
    o = world_wait(w, world_spawn(w, "sh", "-c", command, NULL));
    assert_string_equal(o.out, "");
    write_file(token_path, CANARY "\n");
    o = world_wait(w, world_spawn(w, "sh", "-c", command, NULL));
    assert_non_null(strstr(o.out, "/token")); /* the look would have found it */
}

static void test_without_a_key_no_token_is_taken(void **state)
{
    struct world *w = *state;
    struct reply r;

    world_gateway_stop(w);
    write_file(keys_path, "not a key\n");
    world_gateway(w, NULL);
    r = put(w, "anna/tiktok", "{\"token\":\"" CANARY "\"}");
    assert_int_equal(r.status, 503);
    assert_string_equal(text_of(r.json, "type"), "urn:settle:problem:no_seal_key");
    assert_null(strstr(r.body, CANARY));
    assert_int_equal(put(w, "anna/tiktok", "{}").status, 200); /* all else goes on */
    assert_int_equal(
        world_count(w, "select count(*) from settle.platform_connections where token is not null"), 0);
    world_gateway_stop(w);
    write_file(keys_path, KEY_1 "\n");
    world_gateway(w, NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, reset)
    const struct CMUnitTest tests[] = {
        TEST(test_the_api_stores_a_token),
        TEST(test_what_is_not_there_is_not_disconnected),
        TEST(test_the_api_refuses_what_is_wrong),
        TEST(test_the_command_does_all_of_it),
        TEST(test_the_command_refuses_what_is_wrong),
        TEST(test_rekey),
        TEST(test_a_swapped_row_does_not_open),
        TEST(test_the_token_shows_nowhere),
        TEST(test_without_a_key_no_token_is_taken),
    };

    return cmocka_run_group_tests(tests, up, down);
}
