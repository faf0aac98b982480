/*
 * report: what a run of the publications job did: as JSON, as a table for people, as progress while it works.
 */
#ifndef SETTLE_RECONCILER_REPORT_H
#define SETTLE_RECONCILER_REPORT_H

#include "ask.h"
#include "progress.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

enum { REPORT_IDS_MAX = 1000, REPORT_PLATFORMS_MAX = 64, PLATFORM_NAME_BYTES = 51 };

struct counts {
    int64_t success, failed, retry, skipped, corrected, refreshed, not_due;
    int64_t unclear, unasked, paused; /* of those skipped, why */
    int64_t by_reason[REASONS];       /* of what was written */
};

struct id_list {
    struct id ids[REPORT_IDS_MAX];
    size_t n;
};

struct report {
    struct id run_id;
    struct progress progress;
    struct counts all;
    int64_t read;          /* rows looked at, whatever became of them */
    int64_t timed_out;     /* of those failed */
    int64_t held;          /* rows that only the guard kept from being failed */
    int64_t left_out;      /* rows that the store refused one by one: left to the next run */
    int64_t changed;       /* rows that changed between reading and writing: left to the next run */
    int64_t unclear_a_day; /* of those skipped: unclear for longer than a day */
    struct asked asked;    /* what came of asking platforms */
    struct id_list success_ids, failed_ids;
    bool ids_truncated;
    struct tally {
        char platform[PLATFORM_NAME_BYTES];
        struct counts counts;
    } platforms[REPORT_PLATFORMS_MAX];
    size_t nplatforms;
    const char *outcome;    /* done, guard, lock_held, fence_lost, interrupted, failed, dry_run */
    const char *stopped_by; /* guard, signal, error; NULL: it went to its end */
    char message[512];      /* what the reader should know or do; "": nothing */
    int64_t planned_timeouts, timeout_limit; /* of the guard when it holds; limit 0: it does not */
    int64_t stale;                           /* rows to look at, for the progress bar; 0: not known */
};

void report_init(struct report *r, const struct id *run_id, int64_t boot_us);
/* Counts one row by what was decided; written: it was also done (a dry run: would be). */
void report_count(struct report *r, struct span platform, const struct id *id, struct verdict v,
                  bool written);
int64_t report_checked(const struct report *r); /* total_checked */

/* ids: with the lists of ids. */
json_t *report_object(const struct report *r, bool ids);
/* The same as one line, in the arena. */
struct span report_json(const struct report *r, bool ids, struct arena *arena);
void report_print(const struct report *r, bool dry_run, FILE *to);

/* After each batch: a bar on a terminal, else a log line every 10 s. */
void report_progress(struct report *r);
void report_progress_end(const struct report *r); /* clears the bar */

#endif
