#include "support/world.h"

#include "base/now.h"
#include "store/lock.h"

#include <signal.h>
#include <stdlib.h>

enum { WAIT_MS = 10000 };

#define KEY "settle:lock:publications"

/* One process that wants to run the job. */
struct runner {
    struct pg *pg;
    struct redis *redis;
    struct lock lock;
    struct err err;
};

static void open_runner(struct runner *r, const struct world *w, bool with_redis)
{
    struct pg_config config = {.url = w->database_url,
                               .user = "settle_reconciler",
                               .application = "test_lock",
                               .connect_timeout_s = 5,
                               .statement_timeout_ms = 5000,
                               .prepare = true};

    *r = (struct runner){.pg = pg_connect(&config, &r->err)};
    if (!r->pg)
        fail_msg("%s", r->err.text);
    r->redis = with_redis ? redis_open(w->redis_url, WAIT_MS, &r->err) : NULL;
    if (with_redis && !r->redis)
        fail_msg("%s", r->err.text);
}

static void close_runner(struct runner *r)
{
    lock_release(&r->lock);
    redis_close(r->redis);
    pg_close(r->pg);
}

static enum status acquire(struct runner *r)
{
    r->err = (struct err){0};
    return lock_acquire(&r->lock, r->pg, r->redis, "publications", "host:1:run", &r->err);
}

static void command(struct runner *r, const char *text)
{
    if (pg_command(r->pg, text, WAIT_MS, &r->err))
        fail_msg("%s", r->err.text);
}

/* As if so much time had passed since the last renewal. */
static void age(struct runner *r, int64_t ms)
{
    r->lock.renewed_boot_us = now_boot_us() - ms * 1000;
}

/* As after 30 s without a sign of life. */
static void end_leases(struct world *w)
{
    world_redis(w, "del", KEY, NULL);
    world_sql(w, "update settle.job_fences set lease_until = now() - interval '1 s'");
}

static long lease_ms(struct world *w)
{
    return strtol(world_redis(w, "pttl", KEY, NULL), NULL, 10);
}

static void assert_is(const struct runner *r, enum status got, const char *cause)
{
    if (got != BUSY || !r->err.cause || strcmp(r->err.cause, cause) != 0)
        fail_msg("want %s, have %s %s", cause, status_name(got), r->err.text);
}

static void test_one_holder_at_a_time(void **state)
{
    struct world *w = *state;
    struct runner a, b, without_redis;
    int64_t epoch;

    open_runner(&a, w, true);
    open_runner(&b, w, true);
    open_runner(&without_redis, w, false);
    assert_int_equal(acquire(&a), OK);
    assert_non_null(a.lock.redis);
    assert_string_equal(
        world_sql(w, "select holder, lease_until between now() + interval '20 s' and now() + interval '30 s' "
                     "from settle.job_fences where holder is not null"),
        "host:1:run|t");
    assert_int_equal(strlen(world_redis(w, "get", KEY, NULL)), 41);
    assert_true(lease_ms(w) > 20000);

    assert_is(&b, acquire(&b), "lock_held");
    assert_is(&without_redis, acquire(&without_redis), "lock_held"); /* the fence says so too */

    epoch = a.lock.epoch;
    lock_release(&a.lock);
    assert_string_equal(world_redis(w, "exists", KEY, NULL), "0\n");
    assert_int_equal(acquire(&b), OK);
    assert_int_equal(b.lock.epoch, epoch + 1);
    close_runner(&a); /* releases once more, and takes nothing from b */
    assert_int_equal(lock_check(&b.lock, &b.err), OK);
    close_runner(&without_redis);
    close_runner(&b);
}

/* The fence refuses when Redis is free; the lease in Redis must not stay behind. */
static void test_a_refusal_by_the_fence_frees_redis(void **state)
{
    struct world *w = *state;
    struct runner a, b;

    open_runner(&a, w, false);
    open_runner(&b, w, true);
    assert_int_equal(acquire(&a), OK);
    assert_is(&b, acquire(&b), "lock_held");
    assert_string_equal(world_redis(w, "exists", KEY, NULL), "0\n");
    close_runner(&a);
    close_runner(&b);
}

static void test_a_frozen_holder_is_out(void **state)
{
    struct world *w = *state;
    struct runner frozen, next;

    open_runner(&frozen, w, true);
    open_runner(&next, w, true);
    assert_int_equal(acquire(&frozen), OK);
    end_leases(w);
    assert_int_equal(acquire(&next), OK);

    command(&frozen, "begin");
    assert_is(&frozen, lock_check(&frozen.lock, &frozen.err), "fence_lost");
    command(&frozen, "rollback");
    age(&frozen, LOCK_RENEW_MS + 1000);
    assert_is(&frozen, lock_renew(&frozen.lock, &frozen.err), "fence_lost");
    world_redis(w, "del", KEY, NULL); /* without Redis' word the fence says so */
    assert_is(&frozen, lock_renew(&frozen.lock, &frozen.err), "fence_lost");
    world_redis(w, "set", KEY, next.lock.token, NULL);

    lock_release(&frozen.lock); /* of what is not its own any more */
    assert_int_equal(world_count(w, "select count(*) from settle.job_fences where holder is not null"), 1);
    assert_int_equal(lock_check(&next.lock, &next.err), OK);
    age(&next, LOCK_RENEW_MS + 1000);
    assert_int_equal(lock_renew(&next.lock, &next.err), OK);
    close_runner(&frozen);
    close_runner(&next);
}

/* A batch whose check has passed is finished first: its writes count, and no successor works beside it. */
static void test_a_takeover_waits_for_a_running_batch(void **state)
{
    struct world *w = *state;
    struct runner a, b;

    open_runner(&a, w, false);
    open_runner(&b, w, false);
    assert_int_equal(acquire(&a), OK);
    end_leases(w);
    command(&a, "begin");
    assert_int_equal(lock_check(&a.lock, &a.err), OK);
    assert_is(&b, acquire(&b), "lock_held");
    command(&a, "commit");
    assert_int_equal(acquire(&b), OK);
    command(&a, "begin");
    assert_is(&a, lock_check(&a.lock, &a.err), "fence_lost");
    command(&a, "rollback");
    close_runner(&a);
    close_runner(&b);
}

static void test_renewal(void **state)
{
    struct world *w = *state;
    struct runner r;

    open_runner(&r, w, true);
    assert_int_equal(acquire(&r), OK);
    world_redis(w, "pexpire", KEY, "15000", NULL);
    world_sql(w, "update settle.job_fences set lease_until = now() + interval '15 s'");

    assert_int_equal(lock_renew(&r.lock, &r.err), OK); /* not due */
    assert_true(lease_ms(w) <= 15000);

    age(&r, LOCK_RENEW_MS + 1000);
    assert_int_equal(lock_renew(&r.lock, &r.err), OK);
    assert_true(lease_ms(w) > 20000);
    assert_int_equal(
        world_count(w, "select count(*) from settle.job_fences where lease_until > now() + interval '20 s'"),
        1);
    assert_true(now_boot_us() - r.lock.renewed_boot_us < LOCK_RENEW_MS * INT64_C(1000));

    world_redis(w, "pexpire", KEY, "15000", NULL);
    assert_int_equal(lock_renew_now(&r.lock, &r.err), OK); /* due or not */
    assert_true(lease_ms(w) > 20000);

    age(&r, LOCK_TRUST_MS + 1000); /* asleep for too long: nobody else has it, and yet it is not trusted */
    assert_is(&r, lock_renew(&r.lock, &r.err), "fence_lost");
    close_runner(&r);
}

static void test_redis_is_wiped(void **state)
{
    struct world *w = *state;
    struct runner a, b;

    open_runner(&a, w, true);
    open_runner(&b, w, true);
    assert_int_equal(acquire(&a), OK);
    world_redis(w, "flushall", NULL);
    assert_is(&b, acquire(&b), "lock_held"); /* by the fence */
    age(&a, LOCK_RENEW_MS + 1000);
    assert_int_equal(lock_renew(&a.lock, &a.err), OK);
    assert_memory_equal(world_redis(w, "get", KEY, NULL), a.lock.token, 40); /* it is back */

    world_redis(w, "set", KEY, "of somebody else", NULL);
    age(&a, LOCK_RENEW_MS + 1000);
    assert_is(&a, lock_renew(&a.lock, &a.err), "fence_lost");
    lock_release(&a.lock);
    assert_string_equal(world_redis(w, "get", KEY, NULL), "of somebody else\n");
    world_redis(w, "del", KEY, NULL);
    close_runner(&a);
    close_runner(&b);
}

static void test_redis_goes_down(void **state)
{
    struct world *w = *state;
    struct runner a, b;

    open_runner(&a, w, true);
    open_runner(&b, w, true);
    assert_int_equal(acquire(&a), OK);
    world_kill(w, REDIS);
    age(&a, LOCK_RENEW_MS + 1000);
    assert_int_equal(lock_renew(&a.lock, &a.err), OK);
    assert_null(a.lock.redis);
    assert_int_equal(lock_check(&a.lock, &a.err), OK);
    lock_release(&a.lock);

    assert_int_equal(acquire(&b), OK);
    assert_null(b.lock.redis);
    world_servers(w);
    close_runner(&a);
    close_runner(&b);
}

static void test_redis_refuses(void **state)
{
    struct world *w = *state;
    struct runner r;

    open_runner(&r, w, true);
    world_redis(w, "config", "set", "maxmemory", "1", NULL); /* OOM to every write */
    assert_int_equal(acquire(&r), OK);
    assert_null(r.lock.redis);
    world_redis(w, "config", "set", "maxmemory", "0", NULL);
    close_runner(&r);
}

static void test_an_unknown_job(void **state)
{
    struct runner r;

    open_runner(&r, *state, true);
    assert_int_equal(lock_acquire(&r.lock, r.pg, r.redis, "nothing", "me", &r.err), BROKEN);
    assert_string_equal(world_redis(*state, "exists", "settle:lock:nothing", NULL), "0\n");
    close_runner(&r);
}

static void test_the_watermark_is_read(void **state)
{
    struct world *w = *state;
    struct runner r;

    open_runner(&r, w, false);
    assert_int_equal(acquire(&r), OK);
    assert_int_equal(r.lock.watermark_us, TIME_NONE);
    lock_release(&r.lock);
    world_sql(w, "update settle.job_fences set watermark = '1970-01-01 00:00:01Z'");
    assert_int_equal(acquire(&r), OK);
    assert_int_equal(r.lock.watermark_us, SECOND_US);
    close_runner(&r);
}

static int up(void **state)
{
    signal(SIGPIPE, SIG_IGN);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_one_holder_at_a_time, reset),
        cmocka_unit_test_setup(test_a_refusal_by_the_fence_frees_redis, reset),
        cmocka_unit_test_setup(test_a_frozen_holder_is_out, reset),
        cmocka_unit_test_setup(test_a_takeover_waits_for_a_running_batch, reset),
        cmocka_unit_test_setup(test_renewal, reset),
        cmocka_unit_test_setup(test_redis_is_wiped, reset),
        cmocka_unit_test_setup(test_redis_goes_down, reset),
        cmocka_unit_test_setup(test_redis_refuses, reset),
        cmocka_unit_test_setup(test_an_unknown_job, reset),
        cmocka_unit_test_setup(test_the_watermark_is_read, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
