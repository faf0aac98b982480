/*
 * guard: no run, and no row of runs, may fail a large part of the publications by time-out: when that would happen,
 * a clock or the intake of webhooks is at fault far more often than the platforms are.
 */
#ifndef SETTLE_RECONCILER_GUARD_H
#define SETTLE_RECONCILER_GUARD_H

#include "page.h"

enum { GUARD_FLOOR = 1000, GUARD_PERCENT = 20 };

struct guard {
    bool holds; /* no time-outs in this run */
    int64_t
        planned; /* time-outs that this run would make; when it holds, counted until the limit was passed */
    int64_t recent; /* those of the last hour's runs without --force */
    int64_t limit;  /* of both together */
};

/* Counts before the first write. platform: absent for all. */
enum status guard_weigh(struct session *s, const struct deadlines *deadlines, struct span platform,
                        struct guard *ret, struct err *err) MUST_CHECK;

/* How many of so many rows may be changed for the worse at once. */
int64_t guard_limit(int64_t rows);

/* Publications that wait for a webhook, updated before a time; INT64_MAX: all. */
enum status guard_count_open(struct session *s, int64_t before_us, int64_t *ret, struct err *err) MUST_CHECK;

#endif
