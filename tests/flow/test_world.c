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

/* As a test that failed may leave it: the next one's statements would be part of it. */
static void test_a_reset_ends_a_transaction_that_is_open(void **state)
{
    struct world *w = *state;

    world_sql(w, "begin; create temporary table of_the_transaction ()");
    assert_int_equal(world_count(w, "select count(to_regclass('of_the_transaction'))"), 1);
    world_reset(w);
    assert_int_equal(world_count(w, "select count(to_regclass('of_the_transaction'))"), 0);
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

/* The id of its segment of System V's; "" if it has none. */
static const char *segment_of(struct world *w)
{
    return world_wait(w, world_spawn(w, "sh", "-c", "sed -n 7p postgres/data/postmaster.pid", NULL)).out;
}

static bool is_segment_there(struct world *w, const char *segment)
{
    return world_wait(w, world_spawn(w, "sh", "-c",
                                     "awk -v s=\"$1\" 'BEGIN { split(s, our) } $1 == our[1] && $2 == our[2]'"
                                     " /proc/sysvipc/shm | grep -q .",
                                     "sh", segment, NULL))
               .status == 0;
}

/* What Postgres holds in the machine's memory no file of the world names when it has gone. */
static void test_no_killed_postgres_leaves_memory_behind(void **state)
{
    struct world *w = *state, *other = world_open();
    const char *segment;

    for (unsigned i = 0; i < 2; i++) {
        segment = segment_of(other);
        assert_true(is_segment_there(w, segment));
        assert_string_equal(world_sql(other, "show dynamic_shared_memory_type"), "mmap");
        /* Nor by another way: but not everybody may look. */
        assert_string_equal(
            world_wait(other, world_spawn(other, "sh", "-c",
                                          "grep -s /dev/shm/PostgreSQL"
                                          " /proc/$(head -n 1 postgres/data/postmaster.pid)/maps || true",
                                          NULL))
                .out,
            "");
        world_kill(other, POSTGRES);
        assert_false(is_segment_there(w, segment));
        world_servers(other);
    }
    segment =
        world_wait(w, world_spawn(w, "echo", segment_of(other), NULL)).out; /* other's words end with it */
    assert_true(is_segment_there(w, segment));
    world_freeze(other, POSTGRES); /* as a test that failed may leave it */
    world_close(other);
    assert_false(is_segment_there(w, segment));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_reset_leaves_the_schema_and_no_row, reset),
        cmocka_unit_test_setup(test_a_reset_ends_a_transaction_that_is_open, reset),
        cmocka_unit_test_setup(test_postgres_comes_back_with_what_it_committed, reset),
        cmocka_unit_test_setup(test_redis_comes_back_empty, reset),
        cmocka_unit_test_setup(test_a_program_tells_its_end_and_its_words, reset),
        cmocka_unit_test_setup(test_no_killed_postgres_leaves_memory_behind, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
