/*
 * redis: one Redis connection, without a loop of its own, in the same shape as pg.
 * Redis is a mirror and a lease: every failure here means "unknown", never an error for a sender.
 * hiredis' blocking context serves both ways: connected blocking, then non-blocking. Its write(2) raises SIGPIPE:
 * the program ignores that signal.
 */
#ifndef SETTLE_STORE_REDIS_H
#define SETTLE_STORE_REDIS_H

#include "base/err.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

struct redis;

/* url: redis://[user:password@]host[:port][/db] or unix:///path[?db=n]. Blocking, name look-up included.
 * UNAVAILABLE, or INVALID for a url we cannot read. */
struct redis *redis_open(const char *url, unsigned connect_timeout_ms, struct err *err) MUST_CHECK;
void redis_close(struct redis *r); /* ends all that waits with UNAVAILABLE first; NULL is fine */

struct redis_reply {
    enum {
        REDIS_NIL,
        REDIS_TEXT,
        REDIS_NUMBER
    } kind;           /* arrays are not for us: they count as a lost connection */
    struct span text; /* borrowed for the callback, or until the next redis_run */
    int64_t number;
};
typedef void redis_done(void *ctx, const struct redis_reply *reply, const struct err *err);

/* Queues one command of n binary-safe words. done may be NULL (not waited for); else exactly once, later. */
void redis_send(struct redis *r, const struct span *words, size_t n, redis_done *done, void *ctx);
size_t redis_waiting(const struct redis *r);

int redis_fd(const struct redis *r);
bool redis_flush(struct redis *r, bool *ret_wants_write); /* once a turn; false: lost */
bool redis_read(struct redis *r);                         /* false: lost */

/* One command, waited for at most wait_ms. UNAVAILABLE: the connection is lost. REJECTED: an error reply. */
enum status redis_run(struct redis *r, const struct span *words, size_t n, unsigned wait_ms,
                      struct redis_reply *ret, struct err *err) MUST_CHECK;

#endif
