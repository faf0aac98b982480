/*
 * role: what a process of the gateway is for, and what it is given. The parent opens the sockets and forks one
 * process a role and place; a role's run owns the process until it ends, and its result is the exit code: 0, or
 * 75 if it had to leave requests unanswered, or 70.
 */
#ifndef SETTLE_GATEWAY_ROLE_H
#define SETTLE_GATEWAY_ROLE_H

#include "settings.h"

enum { DRAIN_MS = 10000 }; /* what a role that ends may take at most; then its process is killed */

struct process {
    const char *role;          /* "ingest", "admin", "monitor" */
    struct settings *settings; /* a copy of its own after fork: parent.c wipes what the role does not need */
    int listener;              /* a listening socket of its own */
    size_t place; /* 0, 1, ... over all children: its place in health's memory, and place + 1 in metric's */
};

int ingest_run(const struct process *self);  /* worker.c */
int admin_run(const struct process *self);   /* api.c */
int monitor_run(const struct process *self); /* probes.c */

#endif
