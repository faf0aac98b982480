/*
 * ending: how a run ends, in a word and in its row of job_runs.
 */
#ifndef SETTLE_RECONCILER_ENDING_H
#define SETTLE_RECONCILER_ENDING_H

#include "session.h"

struct ending {
    const char *outcome;
    bool success; /* status of the row; else failed */
    int64_t nread;
    struct span report;     /* JSON */
    const char *error_code; /* NULL: nothing went wrong */
    struct span message;    /* NULL: nothing to add */
};

/* lock_held, fence_lost, failed, interrupted, dry_run or done: a signal explains more than the error that came of it. */
const char *ending_outcome(const struct session *s, const struct err *err);

/* In a batch's transaction. */
enum status ending_write(struct session *s, const struct ending *end, struct err *err) MUST_CHECK;

#endif
