/*
 * tasks: one round over the insights tasks that are due. Each is leased in Postgres, asked about, and its outcome written in
 * one short transaction that checks the job's fence and the lease: whoever was overtaken writes nothing. No network within a
 * transaction; a token is held open for no longer than its request is made.
 */
#ifndef SETTLE_RECONCILER_TASKS_H
#define SETTLE_RECONCILER_TASKS_H

#include "session.h"

#include "domain/missing.h"

/* In tasks. */
struct tasks_done {
    int64_t found, leased, paused,
        stuck;      /* due; of these at work elsewhere, of a paused platform; waiting for a person */
    int64_t active; /* ever due */
    int64_t succeeded, failed;
    int64_t held;      /* not asked: breaker, budget; of the failed: */
    int64_t timed_out; /* on their way when the round's time was over */
    int64_t cut_off;   /* on their way when the program was told to end */
    int64_t
        lost; /* nothing was written of them: their lease was another's when they ended, or their row was held */
    int64_t could_not[MISSING_REASONS], config_errors;
    bool ran_out; /* the time was over before the work */
};

struct tasks_scope {
    int64_t task_id; /* that one alone, due or not, unless it is paused; 0: whatever is due */
};

/* INVALID: settings that could let a task be asked about twice. */
enum status tasks_check(const struct config *c, struct err *err) MUST_CHECK;

/* At most insights.batch_seconds long; what was not begun by then is for the next round. A platform that does not answer
 * is no failure. BUSY "fence_lost": somebody else has taken over. */
enum status tasks_do(struct session *s, const struct tasks_scope *scope, struct tasks_done *ret,
                     struct err *err) MUST_CHECK;
/* What waits, for a dry run too: found to active. */
enum status tasks_count(struct session *s, struct tasks_done *ret, struct err *err) MUST_CHECK;

#endif
