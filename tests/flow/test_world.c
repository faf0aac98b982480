#include "support/world.h"

#include <stdio.h>
#include <stdlib.h>

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

static void test_a_reset_leaves_the_schema_and_no_row(void **state)
{
    struct world *w = *state;

    assert_int_equal(strlen(world_publication(w, "instagram", "p1", "processing", 30)), 36);
    assert_int_equal(
        world_count(w,
                    "select count(*) from settle.publish_logs where updated_at < now() - interval '29 min'"),
        1);
    world_redis(w, "set", "k", "v", NULL);
    assert_string_equal(world_redis(w, "get", "k", NULL), "v\n");

    world_reset(w);
    assert_int_equal(world_count(w, "select count(*) from settle.publish_logs"), 0);
    assert_string_equal(world_redis(w, "get", "k", NULL), "\n");
    assert_true(world_count(w, "select count(*) from settle.schema_version") > 5);
}

static void test_postgres_comes_back_with_what_it_committed(void **state)
{
    struct world *w = *state;

    world_publication(w, "tiktok", "p1", "processing", 30);
    world_kill(w, POSTGRES);
    assert_null(world_sql(w, "select 1"));
    world_servers(w);
    assert_string_equal(world_sql(w, "select platform, external_post_id from settle.publish_logs"),
                        "tiktok|p1");
}

static void test_redis_comes_back_empty(void **state)
{
    struct world *w = *state;

    world_redis(w, "set", "k", "v", NULL);
    world_kill(w, REDIS);
    assert_null(world_redis(w, "get", "k", NULL));
    world_servers(w);
    assert_string_equal(world_redis(w, "get", "k", NULL), "\n");
}

static void test_a_program_tells_its_end_and_its_words(void **state)
{
    struct world *w = *state;
    struct outcome end = world_wait(w, world_spawn(w, "sh", "-c", "echo '[7]'; echo why >&2; exit 3", NULL));

    assert_int_equal(end.status, 3);
    assert_int_equal(json_integer_value(json_array_get(end.json, 0)), 7);
    assert_string_equal(end.err, "why\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_reset_leaves_the_schema_and_no_row, reset),
        cmocka_unit_test_setup(test_postgres_comes_back_with_what_it_committed, reset),
        cmocka_unit_test_setup(test_redis_comes_back_empty, reset),
        cmocka_unit_test_setup(test_a_program_tells_its_end_and_its_words, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
