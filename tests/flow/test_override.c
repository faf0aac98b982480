/* A person's verdict wins over all evidence, and can be taken back: then the evidence counts, also what came meanwhile. */
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

static struct outcome override(struct world *w, const char *id, const char *verdict, const char *flag)
{
    return world_wait(w, world_spawn(w, "settle-reconciler", "override", id, verdict, "--reason",
                                     "seen on the site", "--actor", "anna", "--json", flag, NULL));
}

/* "status|reason" */
static const char *state_of(struct world *w, const char *id)
{
    return world_sql(w,
                     "select status || '|' || coalesce(extra_metadata ->> 'reconciliation_reason', '') from"
                     " settle.publish_logs where id = '%s'",
                     id);
}

static void webhook(struct world *w, const char *post, int decisive, char key)
{
    world_sql(
        w,
        "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id, "
        "decisive,"
        " event_status, received_at, headers, body) values (decode(repeat('%c%c', 32), 'hex'), 'default',"
        " 'instagram', gen_random_uuid(), '%s', %d, 'word', now(), '', '')",
        key, key, post, decisive);
}

static void test_a_verdict_stands_against_all_evidence(void **state)
{
    struct world *w = *state;
    const char *id = world_publication(w, "instagram", "post-1", "processing", 30);

    assert_int_equal(override(w, id, "success", NULL).status, 0);
    assert_string_equal(state_of(w, id), "success|manual_override");
    webhook(w, "post-1", -1, 'a');
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_string_equal(state_of(w, id), "success|manual_override");
    assert_string_equal(
        world_sql(w, "select actor || '|' || (metadata ->> 'why') || '|' || (metadata ->> 'before')"
                     " from settle.social_sync_ledger where event_type = 'publish_overridden'"),
        "anna|seen on the site|processing");
}

static void test_taken_back_the_evidence_counts_that_came_meanwhile(void **state)
{
    struct world *w = *state;
    const char *id = world_publication(w, "instagram", "post-1", "processing", 30);

    webhook(w, "post-1", 1, 'a');
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_string_equal(state_of(w, id), "success|webhook_confirmed");
    assert_int_equal(override(w, id, "failed", NULL).status, 0);
    webhook(w, "post-1", -1, 'b');
    assert_int_equal(world_reconcile(w, NULL).status, 0); /* follows the receipt, and may not act on it */
    assert_string_equal(state_of(w, id), "failed|manual_override");
    assert_int_equal(override(w, id, "success", NULL).status, 0); /* changed one's mind */
    assert_int_equal(override(w, id, "none", NULL).status, 0);
    assert_string_equal(state_of(w, id), "failed|webhook_reported_failure");
    assert_int_equal(override(w, id, "none", NULL).status, 65);
}

static void test_taken_back_it_is_as_it_was(void **state)
{
    static const char row[] = "select status, error_message, published_at, settled_at, extra_metadata from"
                              " settle.publish_logs where id = '%s'";
    struct world *w = *state;
    const char *id = world_publication(w, "instagram", "post-1", "processing", 30), *before;

    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_string_equal(state_of(w, id), "failed|webhook_timeout");
    before = world_sql(w, row, id);
    assert_int_equal(override(w, id, "success", NULL).status, 0);
    assert_string_not_equal(world_sql(w, row, id), before);
    assert_int_equal(override(w, id, "none", NULL).status, 0);
    assert_string_equal(world_sql(w, row, id), before);
    webhook(w, "post-1", 1, 'a'); /* a time-out gives way again */
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_string_equal(state_of(w, id), "success|late_webhook");
}

static void test_an_open_one_is_open_again(void **state)
{
    struct world *w = *state;
    const char *id = world_publication(w, "instagram", "post-1", "processing", 30);

    assert_int_equal(override(w, id, "failed", NULL).status, 0);
    assert_int_equal(override(w, id, "none", NULL).status, 0);
    assert_string_equal(state_of(w, id), "processing|");
    assert_int_equal(world_count(w, "select count(*) from settle.publish_open where id = '%s'", id), 1);
}

static void test_a_dry_run_changes_nothing(void **state)
{
    struct world *w = *state;
    const char *id = world_publication(w, "instagram", "post-1", "processing", 30);
    struct outcome o = override(w, id, "success", "--dry-run");

    assert_int_equal(o.status, 0);
    assert_string_equal(json_string_value(json_object_get(o.json, "status")), "success");
    assert_string_equal(state_of(w, id), "processing|");
    assert_int_equal(world_count(w, "select count(*) from settle.publication_reports"), 0);
}

static void test_what_is_not_there_is_said(void **state)
{
    struct world *w = *state;
    struct outcome o = override(w, "0190a0a0-1111-7222-8333-444455556666", "success", NULL);

    assert_int_equal(o.status, 65);
    assert_non_null(strstr(o.err, "there is no publication with this id"));
    o = override(w, world_publication(w, "instagram", "post-1", "processing", 30), "none", NULL);
    assert_int_equal(o.status, 65);
    assert_int_equal(override(w, "no-uuid", "success", NULL).status, 64);
    assert_int_equal(override(w, "0190a0a0-1111-7222-8333-444455556666", "perhaps", NULL).status, 64);
}

static void test_the_api_does_the_same(void **state)
{
    struct world *w = *state;
    const char *id = world_publication(w, "instagram", "post-1", "processing", 30);
    char path[128];
    struct reply r;

    world_gateway(w, NULL);
    snprintf(path, sizeof(path), "/publishing/logs/%s/override", id);
    r = world_api(w, "POST", path, "{\"status\":\"failed\",\"reason\":\"removed --actor=eve\"}");
    assert_int_equal(r.status, 200);
    assert_string_equal(json_string_value(json_object_get(r.json, "status")), "failed");
    assert_string_equal(state_of(w, id), "failed|manual_override");
    assert_int_equal(world_count(w, "select count(*) from settle.social_sync_ledger where actor = 'local' and"
                                    " metadata ->> 'why' = 'removed --actor=eve'"),
                     1);
    assert_int_equal(world_api(w, "POST", path, "{\"status\":\"none\",\"reason\":\"oh\"}").status, 200);
    r = world_api(w, "POST", path, "{\"status\":\"none\",\"reason\":\"oh\"}");
    assert_int_equal(r.status, 409);
    assert_int_equal(world_api(w, "POST", path, "{\"status\":\"none\"}").status, 422);
    r = world_api(w, "POST", "/publishing/logs/0190a0a0-1111-7222-8333-444455556666/override",
                  "{\"status\":\"success\",\"reason\":\"oh\"}");
    assert_int_equal(r.status, 404);
    assert_int_equal(world_gateway_stop(w), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_verdict_stands_against_all_evidence, reset),
        cmocka_unit_test_setup(test_taken_back_the_evidence_counts_that_came_meanwhile, reset),
        cmocka_unit_test_setup(test_taken_back_it_is_as_it_was, reset),
        cmocka_unit_test_setup(test_an_open_one_is_open_again, reset),
        cmocka_unit_test_setup(test_a_dry_run_changes_nothing, reset),
        cmocka_unit_test_setup(test_what_is_not_there_is_said, reset),
        cmocka_unit_test_setup(test_the_api_does_the_same, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
