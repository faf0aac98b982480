/*
 * fault: faults of the kernel's making, by strace --inject on a live process and its threads and children to come.
 *
 *     struct fault f = fault_inject(w, pid, "fdatasync", "error=EIO:when=3");
 *     ...
 *     fault_end(w, f);
 *
 * On return of fault_inject the process is being traced. A fault that kills needs no fault_end for its victim's sake, but
 * for strace's. Where tracing is forbidden, fault_works is false and the test says skip().
 */
#ifndef SETTLE_TESTS_SUPPORT_FAULT_H
#define SETTLE_TESTS_SUPPORT_FAULT_H

#include "support/world.h"

struct fault {
    struct process strace;
    pid_t victim;
};

bool fault_works(struct world *w);
/* calls: names as strace takes them ("fdatasync,pwrite64"); what: behind "inject=calls:", e.g. "signal=KILL:when=7". */
struct fault fault_inject(struct world *w, pid_t pid, const char *calls, const char *what);
/* How many of these calls were tampered with so far; also after fault_end. */
unsigned fault_count(struct world *w, struct fault f);
void fault_end(struct world *w, struct fault f); /* the process goes on untraced */

#endif
