/* HUP under load: secrets rotate without a request lost, and what is broken changes nothing. */
#include "support/world.h"

#include "base/now.h"
#include "support/load.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

static char folder[] = "/tmp/settle-reload-XXXXXX";

static const char *path_of(const char *name)
{
    static char paths[4][100];
    static unsigned n;

    n = (n + 1) % countof(paths);
    snprintf(paths[n], sizeof(paths[n]), "%s/%s", folder, name);
    return paths[n];
}

/* As an operator's tool does: the new file takes the place of the old one at once. */
static void write_file(const char *name, const char *text)
{
    FILE *out = fopen(path_of("new"), "w");

    assert_non_null(out);
    fputs(text, out);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(rename(path_of("new"), path_of(name)), 0);
}

static const char settings[] =
    "sources:\n  - {platform: instagram, name: shop, secret_file: %s/shop.secret}\n";

static void write_settings(void)
{
    char text[256];

    snprintf(text, sizeof(text), settings, folder);
    write_file("settle.yaml", text);
}

static int up(void **state)
{
    if (!mkdtemp(folder))
        return 1;
    write_settings();
    write_file("shop.secret", "secret-a\n");
    *state = world_open();
    setenv("SETTLE_CONFIG", path_of("settle.yaml"), 1);
    return world_gateway(*state, NULL);
}

static int down(void **state)
{
    char clean[64];

    world_close(*state);
    snprintf(clean, sizeof(clean), "rm -r %s", folder);
    return system(clean);
}

static int again(void **state)
{
    world_reset(*state);
    write_settings();
    write_file("shop.secret", "secret-a\n");
    return 0;
}

static const char *metrics(struct world *w)
{
    char url[128];

    snprintf(url, sizeof(url), "%s/metrics", w->monitor_url);
    return world_http(w, "GET", url, NULL, SPAN_NONE).body;
}

/* The sum of all series of the metric whose labels hold that text. */
static long value_of(struct world *w, const char *name, const char *labels)
{
    const char *line = metrics(w);
    double sum = 0;

    for (; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        const char *end = line + strcspn(line, "\n"),
                   *at = memmem(line, (size_t)(end - line), labels, strlen(labels));
        if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == '{' && at)
            sum += atof(memrchr(line, ' ', (size_t)(end - line)));
    }
    return (long)sum;
}

static long reloads(struct world *w, const char *result)
{
    char labels[32];

    snprintf(labels, sizeof(labels), "result=\"%s\"", result);
    return value_of(w, "settle_reloads_total", labels);
}

/* HUP, and all who are to reload have: the parent and its one worker. */
static void reload(struct world *w)
{
    long before = reloads(w, "done");

    kill(w->gateway, SIGHUP);
    world_until(20, reloads(w, "done") == before + 2);
}

static void reload_in_vain(struct world *w)
{
    long done = reloads(w, "done"), failed = reloads(w, "failed");

    kill(w->gateway, SIGHUP);
    world_until(20, reloads(w, "failed") == failed + 1);
    assert_int_equal(reloads(w, "done"), done);
}

/* The status of a webhook for instagram's source "shop" signed with that secret; of the next one where it is a 503, as a slow
 * machine has it (world_deliver). */
static long post(struct world *w, const char *secret, const char *body)
{
    char url[160], header[128] = "x-hub-signature-256: sha256=";
    const char *headers[] = {header, NULL};
    unsigned char mac[crypto_auth_hmacsha256_BYTES];
    crypto_auth_hmacsha256_state state;
    long status;

    crypto_auth_hmacsha256_init(&state, (const unsigned char *)secret, strlen(secret));
    crypto_auth_hmacsha256_update(&state, (const unsigned char *)body, strlen(body));
    crypto_auth_hmacsha256_final(&state, mac);
    sodium_bin2hex(header + strlen(header), 65, mac, sizeof(mac));
    snprintf(url, sizeof(url), "%s/publishing/webhooks/instagram/shop", w->ingest_url);
    world_until(20, (status = world_http(w, "POST", url, headers, span_of(body)).status) != 503);
    return status;
}

static const char post_1[] = "{\"external_post_id\":\"p1\",\"status\":\"published\"}";

/* Of the source's key that stands first in its file now. */
static const char *key_id(struct world *w, const char *body)
{
    return world_sql(w,
                     "select key_id from settle.webhook_receipts where source = 'shop' and body = "
                     "convert_to('%s', 'UTF8')",
                     body);
}

static long matches(struct world *w, const char *id)
{
    char labels[128];

    snprintf(labels, sizeof(labels), "platform=\"instagram\",source=\"shop\",key_id=\"%s\"", id);
    return value_of(w, "settle_signature_key_matches_total", labels);
}

static bool logged(struct world *w, const char *text)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/gateway/log", w->dir);
    return world_wait(w, world_spawn(w, "grep", "-q", text, path, NULL)).status == 0;
}

static void test_a_secret_rotates_under_load_and_no_request_is_lost(void **state)
{
    struct world *w = *state;
    struct load *l = load_start(w, 4);
    struct load_count count;
    char old[32], new[32];
    long old_matches, new_matches;

    assert_int_equal(post(w, "secret-a", post_1), 200);
    assert_int_equal(post(w, "secret-b", post_1), 401);
    write_file("shop.secret", "secret-b\nsecret-a\n");
    reload(w);
    assert_int_equal(post(w, "secret-a", "{\"n\":1}"), 200);
    assert_int_equal(post(w, "secret-b", "{\"n\":2}"), 200);
    assert_int_equal(post(w, "secret-b", "{\"n\":3}"), 200);
    snprintf(old, sizeof(old), "%s", key_id(w, "{\"n\":1}"));
    snprintf(new, sizeof(new), "%s", key_id(w, "{\"n\":2}"));
    assert_string_not_equal(old, new);
    old_matches = matches(w, old);
    assert_true(old_matches >= 2);
    new_matches = matches(w, new);
    assert_true(new_matches >= 2); /* each try counts */
    assert_true(value_of(w, "settle_signature_key_last_match_timestamp_seconds", new) > 1700000000);

    write_file("shop.secret", "secret-b\n");
    reload(w);
    assert_int_equal(post(w, "secret-a", "{\"n\":4}"), 401);
    assert_int_equal(post(w, "secret-b", "{\"n\":5}"), 200);
    assert_int_equal(matches(w, old), old_matches);
    assert_true(matches(w, new) > new_matches);
    for (unsigned i = 0; i < 20; i++)
        reload(w);
    count = load_so_far(l);
    world_until(20, load_so_far(l).acked > count.acked + 100);
    world_sql(w, "delete from settle.webhook_receipts where source = 'shop'"); /* not the load's */
    count = load_stop(l, w);
    assert_true(count.acked > 100);
    assert_int_equal(count.unknown + count.wrong, 0);
    assert_true(load_few_refused(count));
}

static void test_what_is_broken_changes_nothing_and_is_told(void **state)
{
    struct world *w = *state;
    long failed;

    reload(w);
    assert_int_equal(post(w, "secret-a", post_1), 200);
    write_file("shop.secret", "\n");
    reload_in_vain(w);
    assert_true(
        logged(w, "\"reload_failed\".*\"role\":\"parent\".*\"present\":\"stays\".*there is no secret"));
    failed = reloads(w, "failed");
    kill(world_child(w, "ingest"), SIGHUP); /* as if the file had been broken after the parent read it */
    world_until(20, reloads(w, "failed") == failed + 1);
    assert_true(logged(w, "\"reload_failed\".*\"role\":\"ingest\",\"place\":0,\"present\":\"stays\""));
    assert_int_equal(post(w, "secret-a", "{\"n\":1}"), 200);
    write_file("shop.secret", "secret-b\n");
    write_file("settle.yaml", "sources: [\n");
    reload_in_vain(w);
    assert_int_equal(post(w, "secret-a", "{\"n\":2}"), 200);
    /* Nor for whoever is started later. */
    kill(world_child(w, "ingest"), SIGKILL);
    world_until(20, post(w, "secret-a", "{\"n\":3}") == 200);
    write_settings();
    reload(w);
    assert_int_equal(post(w, "secret-a", "{\"n\":4}"), 401);
    assert_int_equal(post(w, "secret-b", "{\"n\":5}"), 200);
}

static void test_a_worker_that_is_replaced_has_the_new_set(void **state)
{
    struct world *w = *state;
    pid_t dead = world_child(w, "ingest");

    write_file("shop.secret", "secret-b\n");
    reload(w);
    kill(dead, SIGKILL);
    world_until(20, world_child(w, "ingest") != dead && world_child(w, "ingest") > 0);
    world_until(20, post(w, "secret-b", post_1) == 200);
    assert_int_equal(post(w, "secret-a", "{\"n\":1}"), 401);
    assert_int_equal(reloads(w, "failed") > 0, true); /* of the test before: counts outlive their process */
}

static void test_a_secret_counts_in_its_time_alone(void **state)
{
    struct world *w = *state;

    write_file("shop.secret",
               "secret-a expires=2020-01-01T00:00:00Z\nsecret-b not-before=2020-01-01T00:00:00Z\n"
               "secret-c not-before=2999-01-01T00:00:00Z\n");
    reload(w);
    assert_int_equal(post(w, "secret-a", post_1), 401);
    assert_int_equal(post(w, "secret-b", post_1), 200);
    assert_int_equal(post(w, "secret-c", post_1), 401);
}

static void test_a_source_without_a_secret_in_force_is_told(void **state)
{
    struct world *w = *state;

    reload(w);
    assert_false(logged(w, "\"source_without_secret\""));
    write_file("shop.secret", "secret-a not-before=2999-01-01T00:00:00Z\n");
    reload(w);
    assert_true(
        logged(w, "\"source_without_secret\".*\"source\":\"shop\".*no secret in force until 2999-01-01"));
    assert_int_equal(world_gateway_stop(w), 0);
    write_file("shop.secret", "secret-a expires=2020-01-01T00:00:00Z\n");
    world_gateway(w, NULL);
    assert_true(
        logged(w, "\"source_without_secret\".*\"source\":\"shop\".*no secret in force since 2020-01-01"));
}

static void test_sources_come_and_go(void **state)
{
    struct world *w = *state;

    write_file("settle.yaml", "sources: []\n");
    reload(w);
    assert_int_equal(post(w, "secret-a", post_1), 401);
    world_deliver(w, "instagram", NULL, post_1); /* of the environment */
    write_settings();
    reload(w);
    assert_int_equal(post(w, "secret-a", "{\"n\":1}"), 200);
}

/* What the server lets in follows the sources: whatsapp may send more than the usual cap. */
static void test_a_source_that_may_send_more_comes_with_a_reload(void **state)
{
    enum { BYTES = 2 * 1024 * 1024 };
    struct world *w = *state;
    char *body = malloc(BYTES + 1), text[256];
    long before;

    memset(body, 'x', BYTES);
    memcpy(body, "{\"x\":\"", 6);
    strcpy(body + BYTES - 2, "\"}");
    setenv("SETTLE_SECRET_WHATSAPP", "whatsapp-secret", 1); /* for the sender: the gateway has the file */
    reload(w);
    before = world_post(w, "whatsapp", NULL, body).status;
    assert_true(before == 413 || before == 0); /* 0: cut, as it was not done sending */
    write_file("whatsapp.secret", "whatsapp-secret\n");
    snprintf(text, sizeof(text), "sources: [{platform: whatsapp, secret_file: %s/whatsapp.secret}]\n",
             folder);
    write_file("settle.yaml", text);
    reload(w);
    world_deliver(w, "whatsapp", NULL, body);
    unsetenv("SETTLE_SECRET_WHATSAPP");
    free(body);
}

static void test_a_storm_is_told_and_its_requests_are_kept_whole(void **state)
{
    struct world *w = *state;
    char *body = malloc(200001);

    reload(w);
    assert_int_equal(post(w, "secret-a", post_1), 200);
    assert_int_equal(value_of(w, "settle_signature_storm", "platform=\"instagram\""), 0);
    write_file("shop.secret", "secret-b\n");
    reload(w); /* which does not forget that it was fine */
    memset(body, 'x', 200000);
    body[200000] = '\0';
    assert_int_equal(post(w, "secret-a", body), 401);
    for (unsigned i = 0; i < 12; i++)
        assert_int_equal(post(w, "secret-a", "{}"), 401);
    world_until(20, value_of(w, "settle_signature_storm", "platform=\"instagram\"") == 1);
    assert_true(logged(w, "\"signature_storm\".*\"source\":\"shop\""));
    world_until(20, world_count(w, "select max(octet_length(body)) from settle.refused_requests"
                                   " where source = 'shop' and cause = 'no_match'") == 200000);
    for (unsigned i = 0; i < 20; i++) {
        snprintf(body, 32, "{\"n\":%u}", i);
        assert_int_equal(post(w, "secret-b", body), 200);
    }
    world_until(20, value_of(w, "settle_signature_storm", "platform=\"instagram\"") == 0);
    free(body);
}

static void kill_worker(struct world *w)
{
    pid_t dead = world_child(w, "ingest");
    char url[128];

    kill(dead, SIGKILL);
    snprintf(url, sizeof(url), "%s/readyz", w->monitor_url);
    world_until(20, world_child(w, "ingest") != dead && world_child(w, "ingest") > 0 &&
                        world_http(w, "GET", url, NULL, SPAN_NONE).status == 200);
}

/* Each worker sees a part of it, and none lives long enough to see all. */
static void test_a_storm_is_seen_over_all_workers(void **state)
{
    struct world *w = *state;

    reload(w);
    for (unsigned i = 0; i < 50; i++) /* more than any one worker refuses */
        assert_int_equal(post(w, "secret-a", post_1), 200);
    assert_int_equal(value_of(w, "settle_signature_storm", "platform=\"instagram\""), 0);
    for (unsigned k = 0; k < 4; k++) {
        kill_worker(w);
        for (unsigned i = 0; i < 49; i++)
            assert_int_equal(post(w, "secret-b", "{}"), 401);
    }
    world_until(20, value_of(w, "settle_signature_storm", "platform=\"instagram\"") == 1);
    for (unsigned i = 0; i < 200; i++)
        assert_int_equal(post(w, "secret-a", post_1), 200);
    world_until(20, value_of(w, "settle_signature_storm", "platform=\"instagram\"") == 0);
}

/* Scanners, not a wrong secret. The gauge counts sources: only the one that has signatures. */
static void test_unsigned_requests_are_no_storm(void **state)
{
    struct world *w = *state;
    char url[160];

    reload(w);
    snprintf(url, sizeof(url), "%s/publishing/webhooks/instagram", w->ingest_url);
    world_deliver(w, "instagram", NULL, post_1);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(world_http(w, "POST", url, NULL, SPAN("{}")).status, 401);
    assert_int_equal(post(w, "secret-a", "{\"n\":7}"), 200);
    for (unsigned i = 0; i < 300; i++)
        assert_int_equal(post(w, "secret-b", "{}"), 401);
    world_until(20, value_of(w, "settle_signature_storm", "platform=\"instagram\"") > 0);
    assert_int_equal(value_of(w, "settle_signature_storm", "platform=\"instagram\""), 1);
    for (unsigned i = 0; i < 400; i++)
        assert_int_equal(post(w, "secret-a", post_1), 200);
    world_until(20, value_of(w, "settle_signature_storm", "platform=\"instagram\"") == 0);
}

static void test_a_changed_set_of_platforms_wants_a_restart(void **state)
{
    struct world *w = *state;
    char text[512];

    write_file(
        "extra.yaml",
        "name: extra\n"
        "verify: {algorithm: hmac-sha256, header: x-sig, layout: single, encoding: hex, signed: \"{body}\"}\n"
        "payloads:\n  - {when: /id, post: /id}\nsuccess: [done]\nfailure: [broken]\n");
    snprintf(text, sizeof(text), settings, folder);
    assert_int_equal(mkdir(path_of("descriptors"), 0755), 0);
    assert_int_equal(rename(path_of("extra.yaml"), path_of("descriptors/extra.yaml")), 0);
    snprintf(text + strlen(text), sizeof(text) - strlen(text), "platforms: {folder: %s/descriptors}\n",
             folder);
    write_file("settle.yaml", text);
    reload_in_vain(w);
    assert_true(logged(w, "\"reload_failed\".*wants a restart"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_secret_rotates_under_load_and_no_request_is_lost, again),
        cmocka_unit_test_setup(test_what_is_broken_changes_nothing_and_is_told, again),
        cmocka_unit_test_setup(test_a_worker_that_is_replaced_has_the_new_set, again),
        cmocka_unit_test_setup(test_a_secret_counts_in_its_time_alone, again),
        cmocka_unit_test_setup(test_a_source_without_a_secret_in_force_is_told, again),
        cmocka_unit_test_setup(test_sources_come_and_go, again),
        cmocka_unit_test_setup(test_a_source_that_may_send_more_comes_with_a_reload, again),
        cmocka_unit_test_setup(test_a_storm_is_told_and_its_requests_are_kept_whole, again),
        cmocka_unit_test_setup(test_a_storm_is_seen_over_all_workers, again),
        cmocka_unit_test_setup(test_unsigned_requests_are_no_storm, again),
        cmocka_unit_test_setup(test_a_changed_set_of_platforms_wants_a_restart, again),
    };

    return cmocka_run_group_tests(tests, up, down);
}
