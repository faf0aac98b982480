/*
 * progress: when and how a long piece of work tells on stderr how far it has come: a bar or a count on a terminal, each
 * tenth of a second, else a log line every 10 s, which the caller writes.
 */
#ifndef SETTLE_RECONCILER_PROGRESS_H
#define SETTLE_RECONCILER_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool terminal;
    int64_t began_boot_us, told_boot_us;
};

void progress_begin(struct progress *p, int64_t boot_us);
bool progress_due(struct progress *p);                        /* it is time to tell; begins the next wait */
double progress_rate(const struct progress *p, int64_t done); /* a second */
void progress_bar(const struct progress *p, int64_t done, int64_t of); /* of: 0 if not known */
void progress_count(const char *of_what, int64_t done);
void progress_end(const struct progress *p); /* clears the terminal's line */

#endif
