/*
 * schedule: settle.job_schedule, which jobs are due and what became of their runs. A due time is taken once, together with
 * the id of the run that has it; a run begins once, because its id is the key of its row. So whoever leads next can tell a
 * run that never began, and starts it under the same id, from one that did.
 * All that writes does so in one transaction under the fence: BUSY "fence_lost" when somebody else leads.
 */
#ifndef SETTLE_RECONCILER_SCHEDULE_H
#define SETTLE_RECONCILER_SCHEDULE_H

#include "session.h"

/* One row of the table of jobs. */
struct job_kind {
    const char *name; /* of the job, its command and its fence */
    size_t at;        /* of its schedule in struct config */
    enum load {
        LOAD_NONE,
        LOAD_PUBLICATIONS, /* sooner while many wait, later while none does */
        LOAD_TASKS,        /* later while no insights task is ever due */
        LOAD_DAYS, /* sooner while a day's aggregates are to be tried again, or a run did not go to its end */
    } follows;
    bool
        at_start; /* also once whenever somebody begins to lead: it makes up for what was missed, and else does nothing */
};

enum { JOBS_MAX = 16 };

enum run_state {
    RUN_NONE, /* none is under way */
    RUN_LOST, /* its due time was taken; it has not begun */
    RUN_ALIVE,
    RUN_DEAD, /* its row does not say that it ended, but its lock has run out */
    RUN_SUCCESS,
    RUN_FAILED,
    RUN_SKIPPED, /* another run of the job was at work */
};

enum pace { PACE_SCHEDULE, PACE_BUSY, PACE_IDLE };

struct schedule_row {
    const struct job_kind *kind;
    int64_t next_due_us; /* TIME_NONE: never */
    struct id run_id;
    enum run_state state;
    char holder[HOLDER_BYTES]; /* of its run; "": none */
    char error[256];           /* what its row says of it */
    enum pace pace;
    bool is_wanted; /* it waits, since nothing was to be done, and now something is */
    int64_t now_us; /* of the database, when it was read */
};

struct schedule {
    struct schedule_row rows[JOBS_MAX];
    size_t n;
    int64_t now_us; /* of the database, when it was read */
};

/* Writes what the settings say, of every job. *ret_now_us, NULL is fine: of the database; what is
 * planned now is due later. */
enum status schedule_plan(struct session *s, int64_t *ret_now_us, struct err *err) MUST_CHECK;

/* Whoever begins to lead: has those due that run once then; since_us: when it planned. */
enum status schedule_start(struct session *s, int64_t since_us, struct err *err) MUST_CHECK;

enum status schedule_read(struct session *s, struct schedule *ret, struct err *err) MUST_CHECK;

/* OK with *ret_taken false: somebody else did. */
enum status schedule_take(struct session *s, const struct schedule_row *row, const struct id *run_id,
                          const char *trigger, bool *ret_taken, struct err *err) MUST_CHECK;
enum status schedule_skip(struct session *s, const struct schedule_row *row, struct err *err) MUST_CHECK;
/* It is due later than it can be by what was planned today: the database's clock was set back since. */
bool schedule_is_too_late(const struct session *s, const struct schedule_row *row);
/* Of one that is wanted, or due too late: due as scheduled again. */
enum status schedule_wake(struct session *s, const struct schedule_row *row, struct err *err) MUST_CHECK;

struct schedule_ending {
    enum run_state state; /* RUN_SUCCESS, RUN_FAILED, RUN_SKIPPED */
    int exit_code;        /* -1: not known */
    const char *error;    /* NULL: none */
    bool was_killed;      /* its row does not say that it ended, and nobody else will say so */
};
enum status schedule_end(struct session *s, const struct schedule_row *row,
                         const struct schedule_ending *ending, struct err *err) MUST_CHECK;

/* type: start, stop. */
enum status schedule_note(struct session *s, const char *type, struct err *err) MUST_CHECK;

#endif
