/*
 * children: the runs that serve has started, each a process of this same program. They end with it: TERM comes when it
 * dies, too. Owns their places; a place is kept until its child has ended and its owner lets go of it.
 */
#ifndef SETTLE_RECONCILER_CHILDREN_H
#define SETTLE_RECONCILER_CHILDREN_H

#include "base/err.h"
#include "base/id.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { CHILDREN_MAX = 16, KILLED_BY = 128 };

struct child {
    pid_t pid; /* 0: a free place */
    const char *job;
    struct id run_id;
    int64_t began_boot_us;
    bool ended;
    int exit_code; /* once it has ended; KILLED_BY + n after signal n */
};

struct children {
    struct child at[CHILDREN_MAX];
};

/* Runs `settle-reconciler JOB --run-id ... --trigger TRIGGER --json`, its report on our stderr, with the signals' mask that
 * a program expects. config_path NULL: from the environment. BUSY: no place is free. UNAVAILABLE: no process to be had. */
enum status children_start(struct children *c, const char *job, const struct id *run_id, const char *trigger,
                           const char *config_path, struct err *err) MUST_CHECK;

struct child *children_find(struct children *c, const struct id *run_id); /* NULL: none of ours */

/* Takes note of those that have ended, and logs each. */
void children_reap(struct children *c);
size_t children_running(const struct children *c);
void children_signal(const struct children *c, int signal);
void children_forget_ended(struct children *c);

#endif
