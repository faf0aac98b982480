/*
 * parent: starts one process a role and place, starts again what ends unasked, and ends all of them on TERM or
 * INT: they drain, a second signal ends them at once. On HUP it reads descriptors, sources and secrets again, for the
 * children it starts from then on, and has the ingest workers do the same. It looks for storms, as no child lives as long.
 * Holds no loop, no store and no HTTP, so that there is little that could make it fail. Its children do not outlive it.
 */
#ifndef SETTLE_GATEWAY_PARENT_H
#define SETTLE_GATEWAY_PARENT_H

#include "role.h"

#include <sys/types.h>

struct child {
    struct process process; /* what it is given; the listener stays open here for whoever takes its place */
    int (*run)(const struct process *self);
    /* The parent's own, zero at first: */
    pid_t pid;              /* 0: not running */
    int64_t started_us;     /* boot time */
    int64_t start_again_us; /* while it is not running */
    unsigned backoff_ms;
};

/* Until all children have ended. settings: the children's. Returns the exit code: 0, or what a child that did not end
 * well returned. */
int parent_run(struct child *children, size_t n, struct settings *settings);

#endif
