/*
 * crew: several processes that make days side by side, each with one connection of its own, so that a backfill may use more of a
 * server than one backend. Owns them: they end with their crew, and when whoever opened it dies. They take no lock but that of
 * each day; the run's is its owner's, who keeps it while they work.
 */
#ifndef SETTLE_RECONCILER_CREW_H
#define SETTLE_RECONCILER_CREW_H

#include "day.h"

enum { CREW_MAX = 8 };

struct crew;

/* UNAVAILABLE: no process to be had. run: their settings and the id of the run that their rows name. */
struct crew *crew_open(size_t members, const struct session_options *run, size_t chunk, struct err *err);
void crew_close(struct crew *c); /* waits for the days that they are at; NULL is fine */

struct crew_day {
    struct day_task task;
    bool done; /* result says what became of it */
    struct day_result result;
};

/* Makes these days, in any order, each by one member: all are done where this is OK and nobody told us to stop. Errors as of
 * day_aggregate, of any member or of the run's own lock; UNAVAILABLE also when a member ends. What was begun is waited for
 * first. */
enum status crew_make(struct crew *c, struct lock *lock, struct crew_day *days, size_t n,
                      struct err *err) MUST_CHECK;

#endif
