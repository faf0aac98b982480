/* explain tells an operator why a publication is as it is, and what the next run does: which then does it. */
#include "support/world.h"

#include <stdio.h>

static int up(void **state)
{
    *state = world_open();
    return 0;
}

static int reset(void **state)
{
    world_reset(*state);
    return 0;
}

static int down(void **state)
{
    world_close(*state);
    return 0;
}

static void assert_explained(struct world *w, const char *id, const char *const *phrases)
{
    struct outcome o = world_wait(w, world_spawn(w, "settle-reconciler", "explain", id, NULL));

    assert_int_equal(o.status, 0);
    for (; *phrases; phrases++)
        if (!strstr(o.out, *phrases))
            fail_msg("not said: \"%s\" in\n%s", *phrases, o.out);
}

/* What explain says of the next run. */
static const char *next_of(struct world *w, const char *id)
{
    struct outcome o = world_wait(w, world_spawn(w, "settle-reconciler", "explain", id, "--json", NULL));

    assert_int_equal(o.status, 0);
    return json_string_value(json_object_get(o.json, "next"));
}

static void webhook(struct world *w, const char *post, int decisive)
{
    world_sql(
        w,
        "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id, "
        "decisive,"
        " event_status, reason, received_at, headers, body) values (sha256('%s%d'), 'default', 'instagram',"
        " gen_random_uuid(), '%s', %d, 'word-%d', 'because', now(), '', '')",
        post, decisive, post, decisive, decisive);
}

static void test_each_state_is_explained(void **state)
{
    struct world *w = *state;
    const char *id = world_publication(w, "instagram", "post-1", "processing", 30);

    assert_explained(w, id,
                     (const char *const[]){"is processing since", "nothing was said of it",
                                           "the next run marks it failed (webhook_timeout)",
                                           "the account has no token", NULL});
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_explained(w, id,
                     (const char *const[]){"is failed since", "no webhook came in time", "by cli, run ",
                                           "runs leave it as it is", "any webhook, poll answer", NULL});
    webhook(w, "post-1", 1);
    assert_explained(
        w, id, (const char *const[]){"word-1 (success): because", "marks it success (late_webhook)", NULL});
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_explained(
        w, id,
        (const char *const[]){"is success since", "(late_webhook)", "evidence that happened later", NULL});
    world_sql(w, "update settle.publish_logs set extra_metadata = '{}'");
    assert_explained(w, id, (const char *const[]){"another tool has settled it", NULL});
}

static void test_what_it_says_of_the_next_run_comes_true(void **state)
{
    struct world *w = *state;
    const char *unclear = world_publication(w, "instagram", "unclear", "processing", 30),
               *young = world_publication(w, "instagram", "young", "processing", 5),
               *good = world_publication(w, "instagram", "good", "processing", 30);

    webhook(w, "unclear", 0);
    webhook(w, "good", 1);
    assert_string_equal(next_of(w, unclear), "runs leave it: a webhook came and does not say how it ended");
    assert_string_equal(next_of(w, young),
                        "runs leave it until 10 minutes after its last change or next try");
    assert_string_equal(next_of(w, good), "the next run marks it success (webhook_confirmed)");
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_string_equal(
        world_sql(w, "select string_agg(external_post_id || ' ' || status, ', ' order by external_post_id)"
                     " from settle.publish_logs"),
        "good success, unclear processing, young processing");
}

/* A row, what was reported of it, and what becomes of it. */
static const struct told {
    const char *post, *told_of, *status;
    int decisive;
    const char *next, *want;
} told[] = {
    {"'p'",  "'p'",  "processing", 0, "the next run marks it failed (webhook_timeout)",          "failed" },
    {"'p'",  "'p'",  "success",    1, "the next run marks it success (worker_reported_success)", "success"},
    {"'p'",  "'q'",  "success",    1, "the next run marks it failed (webhook_timeout)",          "failed" },
    {"null", "null", "processing", 0, "the next run marks it failed (webhook_timeout)",          "failed" },
    {"null", "null", "success",    1, "the next run marks it failed (webhook_timeout)",          "failed" },
    {"'p'",  "null", "success",    1, "the next run marks it failed (webhook_timeout)",          "failed" },
};

static void test_what_it_says_of_a_workers_word_comes_true(void **state)
{
    struct world *w = *state;

    for (size_t i = 0; i < countof(told); i++) {
        const struct told *t = &told[i];
        const char *id, *next, *found;

        world_reset(w);
        id = world_publication(w, "instagram", "p", "processing", 30);
        world_sql(
            w,
            "update settle.publish_logs set external_post_id = %s;"
            "insert into settle.publication_reports (source, log_id, platform, external_post_id, witness,"
            " status, decisive, actor) values ('default', '%s', 'instagram', %s, 'worker', '%s', %d, 'a')",
            t->post, id, t->told_of, t->status, t->decisive);
        next = next_of(w, id);
        assert_int_equal(world_reconcile(w, NULL).status, 0);
        found = world_sql(w, "select status from settle.publish_logs");
        if (strcmp(next, t->next) != 0 || strcmp(found, t->want) != 0)
            fail_msg("post %s, told %s of %s: %s, was foretold \"%s\"", t->post, t->status, t->told_of, found,
                     next);
    }
}

/* Why its row does not follow a worker that is sure of it: another one has it. */
static void test_what_was_refused_of_a_worker_is_said(void **state)
{
    struct world *w = *state;
    const char *id;
    char path[128];
    struct reply r;

    world_gateway(w, NULL);
    id = world_publication(w, "instagram", "post-1", "processing", 5);
    snprintf(path, sizeof(path), "/publishing/logs/%s/result", id);
    world_sql(w,
              "insert into settle.publish_leases (id, source, platform, worker_id, lease_until)"
              " values ('%s', 'default', 'instagram', 'first', now() + interval '1 hour')",
              id);
    r = world_api(w, "POST", path,
                  "{\"worker_id\":\"second\",\"status\":\"success\",\"external_post_id\":\"post-3\"}");
    assert_int_equal(r.status, 409);
    r = world_api(w, "POST", path, "{\"worker_id\":\"second\",\"status\":\"failed\",\"error\":\"no room\"}");
    assert_int_equal(r.status, 409);
    assert_explained(
        w, id,
        (const char *const[]){"is processing since",
                              "worker   success; refused (lease_lost): by second, of post-3\n",
                              "worker   failed: no room; refused (lease_lost): by second, of post-1\n",
                              "a result of the worker who has it that says how it ended", NULL});
    world_kill(w, GATEWAY);
}

static void test_why_nobody_asks_is_said(void **state)
{
    static const char insert[] =
        "delete from settle.platform_connections; insert into settle.platform_connections (user_id_str,"
        " platform, account, token, key_id, connected) values ('user-1', 'tiktok', 'default', %s, %s)";
    static const char *const cases[][3] = {
        {"decode(repeat('ab', 64), 'hex'), '0123456789abcdef'", "false",
         "never asked: the account is disconnected"                                                                },
        {"null, null",                                          "true",  "never asked: the account has no token"   },
        {"null, null",                                          "false", "never asked: the account is disconnected"},
        {"decode(repeat('ab', 64), 'hex'), '0123456789abcdef'", "true",  "not asked yet"                           },
    };
    struct world *w = *state;
    const char *id = world_publication(w, "tiktok", "post-1", "processing", 30);

    assert_explained(w, id, (const char *const[]){"never asked: the account has no token", NULL});
    for (size_t i = 0; i < countof(cases); i++) {
        world_sql(w, insert, cases[i][0], cases[i][1]);
        assert_explained(w, id, (const char *const[]){cases[i][2], NULL});
    }
}

static void test_until_when_it_is_left_is_said(void **state)
{
    struct world *w = *state;
    const char *id = world_publication(w, "instagram", "post-1", "processing", 30);

    world_sql(w,
              "insert into settle.publish_leases (id, source, platform, worker_id, lease_until)"
              " values ('%s', 'default', 'instagram', 'worker-7', now() + interval '1 hour')",
              id);
    assert_explained(w, id,
                     (const char *const[]){"worker worker-7 has it until ",
                                           "runs leave it until 10 minutes after its worker's lease ends",
                                           NULL});
    world_sql(w, "delete from settle.publish_leases");
    world_wait(w, world_spawn(w, "settle-reconciler", "platform", "pause", "instagram", "--reason",
                              "their outage", NULL));
    world_wait(w, world_spawn(w, "settle-reconciler", "platform", "resume", "instagram", NULL));
    assert_explained(
        w, id,
        (const char *const[]){"runs leave it until 10 minutes after the platform's pause ended", NULL});
}

static void test_a_pause_is_said(void **state)
{
    struct world *w = *state;
    const char *id = world_publication(w, "instagram", "post-1", "processing", 30);

    world_wait(w, world_spawn(w, "settle-reconciler", "platform", "pause", "instagram", "--reason",
                              "their outage", NULL));
    assert_explained(
        w, id,
        (const char *const[]){"runs leave it while the platform is paused", "by cli: their outage", NULL});
}

static void test_an_unknown_one_is_said(void **state)
{
    struct world *w = *state;
    struct outcome o = world_wait(
        w, world_spawn(w, "settle-reconciler", "explain", "0190a0a0-1111-7222-8333-444455556666", NULL));

    assert_int_equal(o.status, 65);
    assert_non_null(strstr(o.err, "there is no publication with this id"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_each_state_is_explained, reset),
        cmocka_unit_test_setup(test_what_it_says_of_the_next_run_comes_true, reset),
        cmocka_unit_test_setup(test_what_it_says_of_a_workers_word_comes_true, reset),
        cmocka_unit_test_setup(test_what_was_refused_of_a_worker_is_said, reset),
        cmocka_unit_test_setup(test_why_nobody_asks_is_said, reset),
        cmocka_unit_test_setup(test_until_when_it_is_left_is_said, reset),
        cmocka_unit_test_setup(test_a_pause_is_said, reset),
        cmocka_unit_test_setup(test_an_unknown_one_is_said, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
