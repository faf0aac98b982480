/*
 * day: the aggregates of one UTC day: made of its raw rows in one statement and one transaction, then counted a second time
 * in another way and a new snapshot. Under a lock of the day's own (job_fences "aggregates:2026-01-31"), so that runs over
 * different days do not wait for each other. The hash and the counts are made by Postgres: memory here does not depend on
 * how many rows a day has.
 */
#ifndef SETTLE_RECONCILER_DAY_H
#define SETTLE_RECONCILER_DAY_H

#include "session.h"

enum { DAY_TEXT_BYTES = 11, DAY_ATTEMPTS = 3 };

/* "2026-01-31" and the number of days since 1970. */
bool day_parse(const char *text, int64_t *ret_day);
void day_text(int64_t day, char ret[DAY_TEXT_BYTES]);
int64_t day_of(int64_t wall_us); /* in UTC */

enum day_outcome {
    DAY_CREATED,
    DAY_UPDATED,
    DAY_UNCHANGED, /* nothing was written */
    DAY_LOCK_HELD, /* somebody else is at it */
    DAY_FAILED,
    DAY_DEAD,    /* failed for the last time */
    DAY_PUT_OFF, /* the store was too busy: no attempt */
    DAY_OUTCOMES,
};
const char *day_outcome_name(enum day_outcome outcome); /* "created" */

/* What is to be done. */
struct day_task {
    int64_t day;
    bool partial;      /* the day is not over */
    unsigned attempts; /* that failed in a row before */
};

struct day_result {
    enum day_outcome outcome;
    int64_t nread;  /* raw rows */
    size_t ndrifts; /* aggregates that the second count found to be otherwise */
    bool stale; /* of day_verify: raw rows changed since; no drift is told of it, the next run sees to it */
};

/* Aggregates and verifies a day. chunk: how many of the aggregates that do not hold are in memory at a time, at least 1. What
 * becomes of it is in the log, in job_runs (but DAY_UNCHANGED), and, of a dead day, among the alerts. OK also where it failed:
 * *ret says so, and others go on. Else the run is to end: UNAVAILABLE: the store is down. BUSY "fence_lost". */
enum status day_aggregate(struct session *s, const struct day_task *task, size_t chunk,
                          struct day_result *ret, struct err *err) MUST_CHECK;

/* The second count alone; flags the day by what it finds, unless the session is a dry run. Errors as above, also when it fails. */
enum status day_verify(struct session *s, const struct day_task *task, size_t chunk, struct day_result *ret,
                       struct err *err) MUST_CHECK;

#endif
