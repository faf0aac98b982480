/*
 * storms: what all workers together know of each source's verified and refused requests, and which of them storm. In
 * memory shared before fork: the parent gives places to the sources of a set, workers count in them, and the parent looks
 * and tells. So a worker's end forgets nothing; the parent's forgets all.
 */
#ifndef SETTLE_GATEWAY_STORMS_H
#define SETTLE_GATEWAY_STORMS_H

#include "domain/platform.h"

enum { STORMS_MAX = 1024 }; /* sources that are watched; further ones are not */

/* Parent, before the first fork. */
enum status storms_open(struct err *err) MUST_CHECK;
/* Parent, before any worker works with the set: its sources get their places, those of earlier sets keep theirs. */
void storms_take(const struct platforms *set);

/* The place to count at; STORMS_MAX: none. */
size_t storms_find(const struct platform *p, const struct source *source);
void storms_count(size_t place, bool verified); /* does nothing at STORMS_MAX and before storms_open */

/* Parent, again and again: once a second it looks, sets the metric of the set's platforms, and logs what begins. */
void storms_turn(const struct platforms *set, int64_t now_boot_us);

#endif
