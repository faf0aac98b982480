/*
 * lock: one runner at a time per job. A Redis lease keeps others away cheaply, an epoch in
 * settle.job_fences makes a stale holder harmless: every write transaction checks it (reliability: the
 * lock may fail, the fence may not). Redis may be absent: then the fence alone decides.
 * Blocking; for the reconciler.
 *
 *     lock_acquire -> { begin; lock_check (first, its result read before any write); writes; commit; lock_renew }* -> lock_release
 */
#ifndef SETTLE_STORE_LOCK_H
#define SETTLE_STORE_LOCK_H

#include "base/err.h"
#include "base/id.h"
#include "store/pg.h"
#include "store/redis.h"

enum {
    LOCK_LEASE_MS = 30000,
    LOCK_RENEW_MS = 10000, /* renew when this much has passed since the last renewal was sent */
    LOCK_TRUST_MS = 27000, /* boot time after a renewal was sent until which a batch may begin */
};

struct lock {
    struct pg *pg;       /* borrows */
    struct redis *redis; /* borrows; NULL when down */
    char job[64];
    char holder[96];         /* host:pid:run id */
    char key[80];            /* of the Redis lease: settle:lock:<job> */
    char token[41];          /* its value: 20 random bytes in hex */
    int64_t epoch;           /* of the fence; 0: not held */
    int64_t renewed_boot_us; /* before the last renewal was sent */
    int64_t watermark_us;    /* of the fence row, as read when acquired; TIME_NONE if none */
};

/* OK: held. BUSY with cause "lock_held": somebody else holds it (Redis or the fence says so).
 * UNAVAILABLE, BROKEN: of Postgres. When Redis fails, now or at a renewal, ret->redis turns NULL: for the caller to
 * log. */
enum status lock_acquire(struct lock *ret, struct pg *pg, struct redis *redis, const char *job,
                         const char *holder, struct err *err) MUST_CHECK;

/* First statement of each write transaction. BUSY with cause "fence_lost": roll back, stop, exit 75. */
enum status lock_check(struct lock *l, struct err *err) MUST_CHECK;

/* Before each batch: renews when due. BUSY "fence_lost" when refused or past the trust deadline. */
enum status lock_renew(struct lock *l, struct err *err) MUST_CHECK;
/* The same whether due or not: before a wait between batches, which must end LOCK_TRUST_MS later with time to spare. */
enum status lock_renew_now(struct lock *l, struct err *err) MUST_CHECK;

/* Errors are ignored: the lease ends by itself. */
void lock_release(struct lock *l);

#endif
