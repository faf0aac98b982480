/*
 * deadlines: how long the publications job waits for what, as settings, descriptors and operators say.
 */
#ifndef SETTLE_RECONCILER_DEADLINES_H
#define SETTLE_RECONCILER_DEADLINES_H

#include "session.h"

/* How long a run waits for what; every time is of the database's clock as the run read it. */
struct deadlines {
    unsigned since_minutes;
    int64_t stale_before_us;    /* the window: open rows updated before this are looked at */
    int64_t evidence_before_us; /* open rows updated before this may be settled by evidence */
    int64_t timeouts_left;      /* how many rows may still be acted on by time-out: the guard's word */
    unsigned auto_retries;      /* how often a row is sent back to be tried again before it is failed */
    struct patience {
        struct span platform;
        unsigned minutes;         /* the time-out, never below since_minutes */
        unsigned give_up_minutes; /* of what the platform can be asked about; 0: nobody can ask it */
        bool has_accounts;        /* that it can be asked with: any at all */
        bool paused;
        int64_t resumed_us; /* when its last pause ended; TIME_NONE: there was none */
    } * patience;           /* of the platforms we know, and of those that are or were paused; in no order */
    size_t npatience;
    struct pg_rows *pauses, *resumes; /* owns; patience borrows names */
};

/* Of the settings, the descriptors, and the pauses, their ends and the accounts in Postgres. Of no time-outs: timeouts_left
 * is 0. */
enum status deadlines_read(struct deadlines *ret, struct session *s, struct err *err) MUST_CHECK;
void deadlines_free(struct deadlines *d);

/* Of a row's platform; of one that we do not know: since_minutes. */
struct patience patience_with(const struct deadlines *d, struct span platform);

#define NOTHING_BEFORE_US INT64_C(0) /* 1970: nothing is older */

/* What waits since before this has waited for so many minutes, during which the platform was not paused: nothing, if its
 * pause ended less long ago. */
int64_t patience_over(const struct patience *p, unsigned minutes, int64_t now_us);

/* The platforms that can be asked about their publications, for a statement: in the arena. paused: those too. */
struct span *deadlines_askable(const struct deadlines *d, bool paused, struct arena *arena, size_t *ret_n);

#endif
