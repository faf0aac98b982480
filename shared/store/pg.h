/*
 * pg: one Postgres connection in pipeline mode, without a loop of its own.
 * Two ways to use it, not mixed on one connection at a time:
 *   - asynchronous (gateway): pg_send queues, the owner watches pg_fd and calls pg_flush and pg_read;
 *   - blocking (reconciler, start checks): pg_run sends one statement and waits for its rows.
 * All statements of sql/queries are prepared at connect, or each when it is first used. Each is its own transaction unless
 * one is open.
 * A pooler in between must be in session mode: limits are settings of the session.
 * Not for use from two threads; but a connection made in one thread may be handed to another.
 */
#ifndef SETTLE_STORE_PG_H
#define SETTLE_STORE_PG_H

#include "base/err.h"
#include "base/span.h"
#include "sql.h"
#include "store/pgarg.h"

#include <stdbool.h>
#include <stdint.h>

enum { PG_IDLE_IN_TRANSACTION_MS = 5000 }; /* how long a frozen client can hold locks */

struct pg;
struct pg_rows; /* borrowed: valid only during the callback, or until pg_rows_free for pg_run */

struct pg_config {
    const char *url;               /* libpq URI or keywords; a user in it wins over `user` */
    const char *user;              /* the program's own role */
    const char *application;       /* application_name: "settle-gateway ingest" */
    unsigned connect_timeout_s;    /* at least 2: libpq takes no less; also of each step of the start */
    unsigned statement_timeout_ms; /* server side; the client gives up at each statement's own deadline */
    bool prepare;                  /* false: unnamed statements */
    bool
        lazy; /* only `eager` is prepared at connect, the rest when first used: for who sends few of the statements */
    const enum sql *eager; /* borrowed */
    size_t neager;
    bool read_only; /* default_transaction_read_only = on */
    bool unsafe_ok; /* accept a server that can lose what it has committed (tests) */
};

/* Blocking, name look-up included: not for a loop's thread. Checks the server's safety settings and the
 * schema version, and prepares. NULL on failure: INVALID: a URL we cannot read; UNAVAILABLE: not reachable, or
 * takes no writes (cause "read_only"); BROKEN: cause "unsafe_server", cause "schema_missing" (the changes are named),
 * or a statement that does not prepare. */
struct pg *pg_connect(const struct pg_config *config, struct err *err) MUST_CHECK;
/* Ends all that waits with UNAVAILABLE first: from these callbacks nothing may be sent to pg. NULL is fine. */
void pg_close(struct pg *pg);

/* rows is NULL exactly when err is not. Never called from inside pg_send. */
typedef void pg_done(void *ctx, const struct pg_rows *rows, const struct err *err);

/* Queues one statement. args (NULL: none) are copied into libpq's buffer before this returns. Calls done exactly once,
 * later, from pg_read or pg_close: with success only when its commit is done. On a lost connection it only waits for
 * pg_close. */
void pg_send(struct pg *pg, enum sql sql, const struct pg_args *args, int64_t deadline_boot_us, pg_done *done,
             void *ctx);
/* The time that the server gave at connect, us since 1970, and between which of our boot times. */
int64_t pg_clock_at_connect(const struct pg *pg, int64_t *ret_asked_boot_us, int64_t *ret_heard_boot_us);
/* Queues a statement in front of the next pg_send, which must follow at once, in one transaction with it. Its rows are
 * dropped; if it fails, so does the other. */
void pg_before(struct pg *pg, enum sql sql, const struct pg_args *args);
size_t pg_waiting(const struct pg *pg); /* statements sent and not answered yet */

int pg_fd(const struct pg *pg);
bool pg_flush(struct pg *pg, bool *ret_wants_write); /* once a turn; false: the connection is lost */
bool pg_read(struct pg *pg); /* when readable: takes what came and runs the callbacks; false: lost */
bool pg_expire(struct pg *pg, int64_t now_boot_us); /* after pg_read; false: a deadline has passed, lost */
/* After a false: call pg_close, which ends what waits. A lost connection is not used again. */

/* One statement, waited for at most wait_ms. On OK the caller owns *ret (pg_rows_free); ret may be NULL.
 * REJECTED, UNAVAILABLE, BROKEN with err->sqlstate set. After UNAVAILABLE without a sqlstate the connection is lost. */
enum status pg_run(struct pg *pg, enum sql sql, const struct pg_args *args, unsigned wait_ms,
                   struct pg_rows **ret, struct err *err) MUST_CHECK;
/* A command without parameters that is not in sql/queries: "begin", "commit", "rollback". BROKEN too when "commit"
 * finds that the transaction has failed before: Postgres itself reports that as a success. */
enum status pg_command(struct pg *pg, const char *text, unsigned wait_ms, struct err *err) MUST_CHECK;

size_t pg_nrows(const struct pg_rows *rows);
bool pg_is_null(const struct pg_rows *rows, size_t row, size_t column);
/* Each reads the types it names, and null as absent, 0, TIME_NONE. */
struct span pg_bytes(const struct pg_rows *rows, size_t row, size_t column); /* text, bytea, json(b), uuid */
int64_t pg_int(const struct pg_rows *rows, size_t row, size_t column);       /* int2, int4, int8, bool */
double pg_float(const struct pg_rows *rows, size_t row, size_t column);      /* float8 */
int64_t pg_time(const struct pg_rows *rows, size_t row, size_t column);      /* timestamptz: us since 1970 */
struct id pg_uuid(const struct pg_rows *rows, size_t row, size_t column);
uint64_t pg_affected(const struct pg_rows *rows); /* from the command tag */
void pg_rows_free(struct pg_rows *rows);          /* NULL is fine */

#endif
