/*
 * metric: counters, gauges and histograms of all processes, in memory shared before fork.
 * Each process writes only its own slot, without locks; a page puts the slots together. A worker that is
 * started again goes on in the slot of the one it replaces: its counters never fall, its gauges begin at 0.
 *
 * A metric is one row of metric_table.h: name, kind, help, the words of its second label.
 * Labels: at most `platform` (words given to metric_open) and one more whose words the row lists.
 */
#ifndef SETTLE_BASE_METRIC_H
#define SETTLE_BASE_METRIC_H

#include "base/attr.h"
#include "base/err.h"
#include "base/span.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum metric {
#define METRIC(id, ...) id,
#include "base/metric_table.h"
#undef METRIC
    NMETRICS
};

/* Maps the shared memory: call once, before the first fork. platforms is copied. */
enum status metric_open(const char *const *platforms, size_t nplatforms, size_t nslots,
                        struct err *err) MUST_CHECK;

/* Says which slot this process writes, and zeroes its gauges, not its counters; the parent uses 0. */
void metric_slot(size_t slot);

/* platform: an index into metric_open's list, or METRIC_NO_PLATFORM, shown as platform="".
 * word: an index into the row's words, 0 if it has none. Before metric_open these do nothing. */
#define METRIC_NO_PLATFORM SIZE_MAX
void metric_add(enum metric m, size_t platform, size_t word, uint64_t n); /* counters */
/* Gauges; and the total of a counter that somebody else keeps and that outlives us (MIRROR), which one process shows. Such a
 * series is not on the page before its first total. */
void metric_set(enum metric m, size_t platform, size_t word, double value);
void metric_observe_us(enum metric m, int64_t us); /* histograms of seconds */

/* The word of that index, as the page shows it. */
struct span metric_word(enum metric m, size_t word);
/* The index of a word; SIZE_MAX: the row has none of the kind. */
size_t metric_find_word(enum metric m, struct span word);
/* How many words the row has; 1 if it has no second label. */
size_t metric_nwords(enum metric m);

/* Prometheus text format 0.0.4 of everything. */
void metric_page(FILE *to);

#endif
