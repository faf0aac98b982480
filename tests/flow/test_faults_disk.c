/* Disks that are full or slow, Postgres' and the spool's own, under load: rows of the failure matrix. */
#include "matrix.h"

#include "base/now.h"
#include "support/disk.h"
#include "support/fault.h"

#include <stdio.h>
#include <stdlib.h>

enum { POSTS = 5, SYNC_MS = 100 };

#define SPOOLED "settle_spool_writes_total{result=\"stored\"}"
#define FULL    "settle_spool_writes_total{result=\"full\"}"

static char disk[200]; /* mounted */

/* In the world's folder, or the test is skipped: only root can mount, and not in every container. */
static void mount_disk(struct world *w, const char *folder, unsigned megabytes)
{
    snprintf(disk, sizeof(disk), "%s", folder);
    if (!disk_open(w, disk, DISK_EXT4, megabytes))
        skip();
}

/* What Postgres has allocated ahead it can still use: so until it is felt. */
static void fill(struct world *w)
{
    disk_fill(w, disk, 0);
    world_until(60, world_metric(w, "settle_spool_writes_total{result=\"stored\"}") > 0);
}

static void empty(struct world *w)
{
    disk_free(w, disk);
}

/* Only the receipts are on it, so that Postgres goes on, and refuses what it has no room for. */
static void test_a_full_tablespace_costs_nothing(void **state)
{
    static const struct row row = {"", fill, empty, 300, NONE_REFUSED, SPOOLED};
    struct world *w = *state;
    char folder[100];

    snprintf(folder, sizeof(folder), "%s/small", w->dir);
    mount_disk(w, folder, 16);
    matrix_sh(w, "mkdir -m 700 %s/space && chown --reference=%s/postgres/data %s/space", disk, w->dir, disk);
    world_sql(w, "create tablespace small location '%s/space'", disk);
    world_sql(w, "alter table settle.webhook_receipts set tablespace small");
    matrix_run(w, &row);
    world_sql(w, "alter table settle.webhook_receipts set tablespace pg_default");
    world_sql(w, "drop tablespace small");
    disk_close(w, disk);
}

static void refuse_and_fill(struct world *w)
{
    proxy_refuse(matrix_proxy);
    disk_fill(w, disk, 0);
}

static void heal(struct world *w)
{
    (void)w;
    proxy_heal(matrix_proxy);
}

/* Nobody makes room but the drain. */
static void test_a_full_disk_under_the_spool_is_a_503_until_the_drain_makes_room(void **state)
{
    static const struct row row = {"", refuse_and_fill, heal, 300, SOME_REFUSED, FULL};
    struct world *w = *state;

    mount_disk(w, matrix_spool, 16);
    matrix_run(w, &row);
    world_kill(w, GATEWAY);
    disk_close(w, disk);
}

/* What the sender is told rests on a sync of its own, not on one that comes by chance. */
static void test_each_answer_from_the_spool_waits_for_its_sync(void **state)
{
    struct world *w = *state;
    struct fault slow;

    if (!fault_works(w))
        skip();
    world_gateway(w, NULL);
    proxy_refuse(matrix_proxy);
    world_until(20, world_metric(w, "settle_store_up{store=\"postgres\"}") == 0);
    slow = fault_inject(w, world_child(w, "ingest"), "fdatasync,fsync", "delay_enter=100000");
    for (unsigned i = 0; i < POSTS; i++) {
        int64_t began_us = now_boot_us();
        char body[80];
        struct reply r;

        snprintf(body, sizeof(body), "{\"external_post_id\":\"%u\",\"status\":\"published\"}", i);
        r = world_post(w, "instagram", NULL, body);
        assert_int_equal(r.status, 200);
        assert_string_equal(reply_header(w, &r, "x-settle-stored"), "spool");
        assert_true(now_boot_us() - began_us >= SYNC_MS * INT64_C(1000));
        assert_true(fault_count(w, slow) > i);
    }
    fault_end(w, slow);
    proxy_heal(matrix_proxy);
    world_until(30, world_count(w, "select count(*) from settle.webhook_receipts") == POSTS);
}

/* More than fits, until Postgres has to give up: it panics, and so again while it recovers. */
static void fill_the_log(struct world *w)
{
    const char *written = "";

    disk_fill(w, disk, 0);
    for (unsigned i = 0; written && i < 1000; i++)
        written = world_sql(w, "select pg_logical_emit_message(false, 'test', repeat('x', 1000000))");
    assert_null(written);
}

static void empty_and_restart(struct world *w)
{
    disk_free(w, disk);
    world_kill(w, POSTGRES);
    world_servers(w);
}

/* The last one: the log stays where it is then. */
static void test_a_full_disk_under_postgres_log_costs_nothing(void **state)
{
    static const struct row row = {"", fill_the_log, empty_and_restart, 300, NONE_REFUSED, SPOOLED};
    struct world *w = *state;
    char folder[100];

    snprintf(folder, sizeof(folder), "%s/postgres/log-disk", w->dir);
    mount_disk(w, folder, 100);
    world_kill(w, POSTGRES);
    matrix_sh(w,
              "cd %s/postgres && mv data/pg_wal log-disk/wal && ln -s ../log-disk/wal data/pg_wal"
              " && chown --reference=data log-disk log-disk/wal && chmod 700 log-disk",
              w->dir);
    world_servers(w);
    matrix_run(w, &row);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_full_tablespace_costs_nothing, matrix_reset),
        cmocka_unit_test_setup(test_a_full_disk_under_the_spool_is_a_503_until_the_drain_makes_room,
                               matrix_reset),
        cmocka_unit_test_setup(test_each_answer_from_the_spool_waits_for_its_sync, matrix_reset),
        cmocka_unit_test_setup(test_a_full_disk_under_postgres_log_costs_nothing, matrix_reset),
    };

    return cmocka_run_group_tests(tests, matrix_up, matrix_down);
}
