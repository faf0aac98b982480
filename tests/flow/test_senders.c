/*
 * The official libraries of the platforms sign, the running gateway judges: all they sign is taken, and nothing of it with
 * a bit flipped. tests/senders has the sending side; its packages lie in the folder that SETTLE_TEST_SENDERS names.
 */
#include "support/world.h"

#include "base/now.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#define MAX_BODY   "65536"
#define ROUNDS     "40"
#define PUBLIC_URL "https://hooks.example.com"

/* As each platform hands them out. Discord's is a public key, made below. */
static const struct {
    const char *name, *secret;
} secrets[] = {
    {"SETTLE_SECRET_STRIPE",            "whsec_stripe-secret-of-the-tests"      },
    {"SETTLE_SECRET_SVIX",              "whsec_c3ZpeC1zZWNyZXQtb2YtdGhlLXRlc3Rz"},
    {"SETTLE_SECRET_STANDARD_WEBHOOKS", "whsec_c3RhbmRhcmQtd2ViaG9va3Mtc2VjcmV0"},
    {"SETTLE_SECRET_GITHUB",            "github-secret-of-the-tests"            },
    {"SETTLE_SECRET_TWILIO",            "twilio-secret-of-the-tests"            },
    {"SETTLE_SECRET_SLACK",             "slack-secret-of-the-tests"             },
    {"SETTLE_SECRET_MUX",               "mux-secret-of-the-tests"               },
};
enum { PLATFORMS = countof(secrets) + 1 };

static void make_discord_key(void);
static void set_seed(void);
static struct outcome run_senders(struct world *w);
static void show(const char *platform, json_t *sent);
static void expect_platform(struct world *w, const char *platform, json_t *sent);

static int up(void **state)
{
    *state = world_open(); /* which clears what a shell has set */
    for (size_t i = 0; i < countof(secrets); i++)
        setenv(secrets[i].name, secrets[i].secret, 1);
    make_discord_key();
    setenv("SETTLE_INGEST_MAX_BODY_BYTES", MAX_BODY, 1);
    setenv("SETTLE_INGEST_PUBLIC_URL", PUBLIC_URL, 1);
    return world_gateway(*state, NULL);
}

static int down(void **state)
{
    world_close(*state);
    return 0;
}

static void make_discord_key(void)
{
    unsigned char seed[crypto_sign_SEEDBYTES], public[crypto_sign_PUBLICKEYBYTES],
        secret[crypto_sign_SECRETKEYBYTES];
    char hex[2 * sizeof(seed) + 1];

    randombytes_buf(seed, sizeof(seed));
    crypto_sign_seed_keypair(public, secret, seed);
    setenv("SENDERS_DISCORD_SEED", sodium_bin2hex(hex, sizeof(hex), seed, sizeof(seed)), 1);
    setenv("SETTLE_SECRET_DISCORD", sodium_bin2hex(hex, sizeof(hex), public, sizeof(public)), 1);
}

static void test_what_libraries_sign_is_taken_and_no_bit_of_it_can_change(void **state)
{
    struct world *w = *state;
    const char *folder = getenv("SETTLE_TEST_SENDERS"), *platform;
    struct outcome end;
    json_t *sent;

    if (folder && strcmp(folder, "skip") == 0)
        skip();
    setenv("SENDERS_URL", w->ingest_url, 1);
    setenv("SENDERS_PUBLIC_URL", PUBLIC_URL, 1);
    setenv("SENDERS_MAX_BODY", MAX_BODY, 1);
    setenv("SENDERS_ROUNDS", ROUNDS, 1);
    set_seed();
    end = run_senders(w);
    if (end.status != 0 || !end.json)
        fail_msg("the senders ended with %d: %.4000s", end.status, end.err);

    assert_int_equal(json_object_size(end.json), PLATFORMS);
    json_object_foreach(end.json, platform, sent)
        show(platform, sent);
    json_object_foreach(end.json, platform, sent)
        expect_platform(w, platform, sent);
    /* And nothing under any other name. */
    assert_int_equal(world_count(w, "select count(distinct platform) from settle.webhook_receipts"),
                     PLATFORMS);
}

/* The same bodies again: SETTLE_TEST_SEED=... */
static void set_seed(void)
{
    const char *given = getenv("SETTLE_TEST_SEED");
    char seed[24];

    snprintf(seed, sizeof(seed), "%" PRId64, now_wall_us());
    setenv("SENDERS_SEED", given ? given : seed, 1);
    printf("SETTLE_TEST_SEED=%s\n", getenv("SENDERS_SEED"));
}

/* The program and its packages side by side, where Node.js looks for them. */
static struct outcome run_senders(struct world *w)
{
    const char *folder = getenv("SETTLE_TEST_SENDERS");
    char from[512], to[96], packages[512];
    struct stat there;

    if (!folder)
        fail_msg(
            "no SETTLE_TEST_SENDERS, the folder into which ops/test installs the packages of tests/senders");
    snprintf(packages, sizeof(packages), "%s/node_modules", folder);
    if (stat(packages, &there) != 0)
        fail_msg("no %s: the packages of tests/senders are not installed", packages);
    snprintf(from, sizeof(from), "%s/tests/senders", getenv("SETTLE_TOP"));
    snprintf(to, sizeof(to), "%s/senders", w->dir);
    assert_int_equal(world_wait(w, world_spawn(w, "cp", "-r", from, to, NULL)).status, 0);
    snprintf(to, sizeof(to), "%s/senders/node_modules", w->dir);
    assert_int_equal(symlink(packages, to), 0);
    return world_wait(w, world_spawn(w, "node", "--no-warnings", "senders/senders.mjs", NULL));
}

static void show(const char *platform, json_t *sent)
{
    json_int_t accepted, refused, too_large;
    json_t *wrong;

    assert_int_equal(json_unpack(sent, "{s:I, s:I, s:I, s:o}", "accepted", &accepted, "refused", &refused,
                                 "too_large", &too_large, "wrong", &wrong),
                     0);
    printf("%s: %lld accepted, %lld refused, %lld too large, %zu wrong\n", platform, accepted, refused,
           too_large, json_array_size(wrong));
    for (size_t i = 0; i < json_array_size(wrong) && i < 10; i++)
        printf("    %s\n", json_string_value(json_array_get(wrong, i)));
}

/* One receipt for each body that was taken, with exactly its bytes, and none else. */
static void expect_platform(struct world *w, const char *platform, json_t *sent)
{
    json_int_t accepted = json_integer_value(json_object_get(sent, "accepted"));

    assert_int_equal(json_array_size(json_object_get(sent, "wrong")), 0);
    assert_true(accepted >= 30);
    assert_true(json_integer_value(json_object_get(sent, "refused")) >= 10 * accepted);
    assert_int_equal(json_integer_value(json_object_get(sent, "too_large")), 1);
    assert_int_equal(
        world_count(w, "select count(*) from settle.webhook_receipts where platform = '%s'", platform),
        accepted);
    assert_string_equal(
        world_sql(w,
                  "select encode(sha256(string_agg(sha256(body), '' order by sha256(body))), 'hex')"
                  " from settle.webhook_receipts where platform = '%s'",
                  platform),
        json_string_value(json_object_get(sent, "bodies")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_libraries_sign_is_taken_and_no_bit_of_it_can_change),
    };

    return cmocka_run_group_tests(tests, up, down);
}
