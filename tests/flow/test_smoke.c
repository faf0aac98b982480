#include "support/world.h"

static int up(void **state)
{
    *state = world_open();
    return world_gateway(*state, NULL);
}

static int down(void **state)
{
    world_close(*state);
    return 0;
}

/* The main job in one breath; every step has stories of its own elsewhere. */
static void test_a_signed_webhook_in_a_settled_publication_out(void **state)
{
    struct world *w = *state;
    const char *id = world_publication(w, "instagram", "post-1", "processing", 30);
    struct reply r =
        world_deliver(w, "instagram", NULL,
                      "{\"external_post_id\":\"post-1\",\"media_url\":\"https://instagram.example/p/1\","
                      "\"status\":\"published\",\"timestamp\":\"2026-01-15T10:45:00Z\"}");
    struct outcome run;

    assert_string_equal(r.body, "{\"status\":\"ok\"}");
    assert_int_equal(world_count(w, "select count(*) from settle.webhook_receipts"), 1);

    run = world_reconcile(w, "--since-minutes", "10", NULL);
    if (run.status != 0)
        fail_msg("the reconciler exited %d: %s", run.status, run.err);
    assert_int_equal(json_integer_value(json_object_get(run.json, "marked_success")), 1);
    assert_string_equal(world_sql(w,
                                  "select status, external_url, extra_metadata->>'reconciliation_reason'"
                                  " from settle.publish_logs where id = '%s'",
                                  id),
                        "success|https://instagram.example/p/1|webhook_confirmed");

    r = world_api(w, "GET", "/publishing/logs?status=success", NULL);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.body, id));
}

static void test_the_gateway_ends_well(void **state)
{
    assert_int_equal(world_gateway_stop(*state), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_signed_webhook_in_a_settled_publication_out),
        cmocka_unit_test(test_the_gateway_ends_well),
    };

    return cmocka_run_group_tests(tests, up, down);
}
