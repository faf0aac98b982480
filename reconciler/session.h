/*
 * session: one execution of a job, from its options to its row in job_runs: settings, stores, lock and clock.
 * A dry run has no lock and no row, and its connection refuses to write.
 */
#ifndef SETTLE_RECONCILER_SESSION_H
#define SETTLE_RECONCILER_SESSION_H

#include "base/arena.h"
#include "base/config.h"
#include "base/id.h"
#include "domain/platform.h"
#include "store/lock.h"
#include "store/pg.h"
#include "store/redis.h"

#include <argp.h>
#include <stdbool.h>
#include <sys/types.h>

enum {
    STATEMENT_MS = 5000, /* the server ends a statement after this */
    WAIT_MS = 10000,     /* and we give the connection up after this */
    HOLDER_BYTES = 96,
};

/* The options that every command takes. Parsed by the one child in session_children, whose input is this struct. */
struct session_options {
    const char *config_path; /* NULL: from the environment */
    const char *trigger;     /* schedule, startup, backfill, manual, api */
    const char *actor;
    const char *login; /* role in Postgres */
    struct id run_id;
    bool json, dry_run;
};
extern const struct argp_child session_children[];
void session_options_init(struct session_options *o);

/* A decimal number in its range and nothing else; for argp parsers, which it ends with exit 64. */
unsigned option_number(const char *text, unsigned least, unsigned most, const char *option,
                       const struct argp_state *state);

struct session {
    const struct session_options *options;
    const char *job;      /* whose lock and fence it takes */
    const char *run_name; /* in job_runs; the job's own, unless the caller says another after session_open */
    struct config *config;
    struct platforms *platforms;
    struct pg *pg;
    struct redis *redis; /* NULL: none is set, or it is down */
    struct lock lock;    /* epoch 0: not held */
    struct arena *arena; /* of the batch at work: forgotten when the next one begins */
    char holder[HOLDER_BYTES];
    int64_t began_us, began_boot_us; /* the database's clock, read once, and the boot clock at that time */
    int64_t watermark_us;            /* receipts stored before this have been looked at; TIME_NONE: none */
    size_t refused_in_a_row;
    size_t suspect_rows; /* of the rows ahead: one of them was refused; 0: nothing is known */
    size_t batch_rows;   /* of a batch, at most */
    size_t fit_rows;     /* of the next one, by what the last one took; 0: none was done yet */
};

/* INVALID: of the settings. UNAVAILABLE, BROKEN: of Postgres; a Redis that is down is logged and done without.
 * To be closed also after a failure. */
enum status session_open(struct session *s, const char *job, const struct session_options *options,
                         const struct config_flag *flags, size_t nflags, struct err *err) MUST_CHECK;
void session_close(struct session *s); /* gives the lock back */

/* Takes the lock and writes the row of the run; scope is JSON. BUSY "lock_held": somebody else works; a skipped
 * row says so. BUSY "fence_lost": it was frozen until somebody else had taken over. REJECTED: a run of this id has begun
 * before: nothing is written of this one. */
enum status session_begin(struct session *s, const char *scope, struct err *err) MUST_CHECK;

/* The lock alone, for who runs without a row. BUSY "lock_held". */
enum status session_lock(struct session *s, struct err *err) MUST_CHECK;

/* Connects again if Redis was away. The lock is renewed there from then on. */
void session_mend_redis(struct session *s);

/* What locks and rows call a process of this machine that does this run: host:pid:run. */
void session_holder(pid_t pid, const struct id *run_id, char ret[HOLDER_BYTES]);

/* The database's clock, counted on from its one reading: steps of it cannot reach a run. */
int64_t session_now_us(const struct session *s);

bool session_stopping(void); /* TERM or INT came: end after this batch */

/* What the program's exit code says of an error (product.md 7). */
int exit_code(const struct err *err);

#endif
