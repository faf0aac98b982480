#include "store/lock.h"

#include "base/arena.h"
#include "base/now.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

enum {
    PG_WAIT_MS = 6000, /* a little more than the server's own limits */
    REDIS_WAIT_MS = 500,
};

#define LOCK_NOT_AVAILABLE "55P03"
#define LEASE_MS_TEXT      "30000"
_Static_assert(LOCK_LEASE_MS == 30000, "LEASE_MS_TEXT says the same to Redis");

static void make_token(char ret[41]);

static bool take_lease(struct lock *l);
static bool renew_lease(struct lock *l);
static void release_lease(struct lock *l);
static bool ask(struct lock *l, const struct span *words, size_t n, struct redis_reply *ret);

static enum status take_fence(struct lock *l, struct err *err);
static enum status run_on_fence(struct lock *l, enum sql sql, bool lease, struct pg_rows **ret,
                                struct err *err);
static enum status held(const struct lock *l, const char *why, struct err *err);
static enum status lost(const struct lock *l, const char *why, struct err *err);
static void close_arena(struct arena **arena);
static void free_rows(struct pg_rows **rows);

enum status lock_acquire(struct lock *ret, struct pg *pg, struct redis *redis, const char *job,
                         const char *holder, struct err *err)
{
    enum status status;

    *ret =
        (struct lock){.pg = pg, .redis = redis, .renewed_boot_us = now_boot_us(), .watermark_us = TIME_NONE};
    snprintf(ret->job, sizeof(ret->job), "%s", job);
    snprintf(ret->holder, sizeof(ret->holder), "%s", holder);
    snprintf(ret->key, sizeof(ret->key), "settle:lock:%s", ret->job);
    make_token(ret->token);

    if (!take_lease(ret))
        return held(ret, "its lease in Redis is taken", err);
    status = take_fence(ret, err);
    if (status)
        release_lease(ret);
    return status;
}

enum status lock_check(struct lock *l, struct err *err)
{
    defer(free_rows) struct pg_rows *rows = NULL;
    enum status status = run_on_fence(l, SQL_FENCE_CHECK, false, &rows, err);

    if (status)
        return status;
    return pg_nrows(rows) == 1 ? OK : lost(l, "another process has taken it", err);
}

enum status lock_renew(struct lock *l, struct err *err)
{
    if (now_boot_us() - l->renewed_boot_us < LOCK_RENEW_MS * INT64_C(1000))
        return OK;
    return lock_renew_now(l, err);
}

enum status lock_renew_now(struct lock *l, struct err *err)
{
    defer(free_rows) struct pg_rows *rows = NULL;
    int64_t now_us = now_boot_us();
    enum status status;

    if (now_us - l->renewed_boot_us > LOCK_TRUST_MS * INT64_C(1000))
        return lost(l, "it was not renewed in time", err);

    if (!renew_lease(l))
        return lost(l, "another process has the lease in Redis", err);
    status = run_on_fence(l, SQL_FENCE_RENEW, true, &rows, err);
    if (status)
        return status;
    if (pg_affected(rows) == 0)
        return lost(l, "another process has taken it", err);
    l->renewed_boot_us = now_us;
    return OK;
}

void lock_release(struct lock *l)
{
    struct err ignored;

    if (l->epoch && run_on_fence(l, SQL_FENCE_RELEASE, false, NULL, &ignored) == OK)
        l->epoch = 0;
    release_lease(l);
}

static void make_token(char ret[41])
{
    uint8_t random[20];

    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        abort();
    for (size_t i = 0; i < sizeof(random); i++)
        snprintf(ret + 2 * i, 3, "%02x", random[i]);
}

/* False when somebody else has the lease. Whatever goes wrong with Redis is no obstacle: the fence decides. */
static bool take_lease(struct lock *l)
{
    const struct span set[] = {SPAN("set"), span_of(l->key), span_of(l->token),
                               SPAN("nx"),  SPAN("px"),      SPAN(LEASE_MS_TEXT)};
    struct redis_reply reply;

    return !ask(l, set, countof(set), &reply) || reply.kind != REDIS_NIL;
}

/* Asks and then acts, since settle's Redis user may not run scripts: a race between the two costs exclusion only. */
static bool renew_lease(struct lock *l)
{
    const struct span get[] = {SPAN("get"), span_of(l->key)};
    const struct span pexpire[] = {SPAN("pexpire"), span_of(l->key), SPAN(LEASE_MS_TEXT)};
    struct redis_reply reply;

    if (!ask(l, get, countof(get), &reply))
        return true;
    if (reply.kind == REDIS_NIL)
        return take_lease(l); /* it has run out, or Redis was wiped */
    if (!span_eq(reply.text, span_of(l->token)))
        return false;
    (void)ask(l, pexpire, countof(pexpire), &reply);
    return true;
}

static void release_lease(struct lock *l)
{
    const struct span get[] = {SPAN("get"), span_of(l->key)};
    const struct span del[] = {SPAN("del"), span_of(l->key)};
    struct redis_reply reply;

    if (ask(l, get, countof(get), &reply) && span_eq(reply.text, span_of(l->token)))
        (void)ask(l, del, countof(del), &reply);
}

/* False when Redis is down, or refuses; then it is not asked again. */
static bool ask(struct lock *l, const struct span *words, size_t n, struct redis_reply *ret)
{
    if (l->redis && redis_run(l->redis, words, n, REDIS_WAIT_MS, ret, NULL))
        l->redis = NULL;
    return l->redis;
}

static enum status take_fence(struct lock *l, struct err *err)
{
    defer(close_arena) struct arena *arena = arena_open(256);
    defer(free_rows) struct pg_rows *rows = NULL;
    struct pg_args args;
    struct err why;

    pg_args_init(&args, arena);
    pg_arg_text(&args, span_of(l->job));
    pg_arg_text(&args, span_of(l->holder));
    pg_arg_int(&args, LOCK_LEASE_MS);
    if (pg_run(l->pg, SQL_FENCE_ACQUIRE, &args, PG_WAIT_MS, &rows, &why)) {
        if (strcmp(why.sqlstate, LOCK_NOT_AVAILABLE) == 0)
            return held(l, "a batch of its holder has not ended", err);
        if (err)
            *err = why;
        return why.code;
    }
    if (pg_nrows(rows) == 0)
        return err_set(err, BROKEN, "settle.job_fences has no row for job %s", l->job);
    if (pg_is_null(rows, 0, 0))
        return held(l, "its fence in Postgres is taken", err);
    l->epoch = pg_int(rows, 0, 0);
    l->watermark_us = pg_time(rows, 0, 1);
    return OK;
}

static enum status run_on_fence(struct lock *l, enum sql sql, bool lease, struct pg_rows **ret,
                                struct err *err)
{
    defer(close_arena) struct arena *arena = arena_open(256);
    struct pg_args args;

    pg_args_init(&args, arena);
    pg_arg_text(&args, span_of(l->job));
    pg_arg_int(&args, l->epoch);
    if (lease)
        pg_arg_int(&args, LOCK_LEASE_MS);
    return pg_run(l->pg, sql, &args, PG_WAIT_MS, ret, err);
}

static enum status held(const struct lock *l, const char *why, struct err *err)
{
    return err_cause(err, BUSY, "lock_held", "job %s runs elsewhere: %s", l->job, why);
}

static enum status lost(const struct lock *l, const char *why, struct err *err)
{
    return err_cause(err, BUSY, "fence_lost", "job %s lost its lock: %s", l->job, why);
}

static void close_arena(struct arena **arena)
{
    arena_close(*arena);
}

static void free_rows(struct pg_rows **rows)
{
    pg_rows_free(*rows);
}
