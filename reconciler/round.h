/*
 * round: what a small job has around its work: options, stores, lock, row in job_runs, report, exit code. The work is done
 * in batches (round_batch) and fills the report, which is printed and kept in the row.
 */
#ifndef SETTLE_RECONCILER_ROUND_H
#define SETTLE_RECONCILER_ROUND_H

#include "batch.h"
#include "session.h"

#include <jansson.h>

struct round {
    const struct round_kind *kind;
    const struct session_options *options;
    struct session session;
    json_t *report; /* an object: the work adds to it */
    int64_t nread;  /* records_read of the row */
    int64_t duration_ms;
    const char *outcome; /* done, failed, lock_held, fence_lost, interrupted, dry_run */
};

struct round_kind {
    const char *job;      /* its lock, its fence and its rows */
    const char *run_name; /* of its rows, if not the job's; NULL */
    const char *doc;      /* of --help */
    /* Under the lock; of a dry run without one, on a connection that cannot write. To look at session_stopping between batches. */
    enum status (*work)(struct round *r, struct err *err);
    void (*print)(const struct round *r); /* the report, for people */
};

/* The command: returns its exit code. */
int round_run(const struct round_kind *kind, int argc, char **argv);

/* The same with options that were read already. */
int round_do(const struct round_kind *kind, const struct session_options *options);

/* One batch of at most so many rows. What the store refuses, down to a single row, is an error here: REJECTED or UNAVAILABLE,
 * with its sqlstate. BUSY "fence_lost": end the run. */
enum status round_batch(struct round *r, batch_work *work, void *ctx, struct err *err) MUST_CHECK;

/* Whether the store can be asked for something else after this error: it was about one statement. */
bool round_goes_on(const struct err *err);

#endif
