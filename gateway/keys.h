/*
 * keys: which secret verified how many requests, and when the last one, so that an operator sees when an old one can
 * go. In memory shared before fork: the parent gives places to the keys of a set, workers count in them, the monitor
 * shows them. A key is named by its id, never by its secret.
 */
#ifndef SETTLE_GATEWAY_KEYS_H
#define SETTLE_GATEWAY_KEYS_H

#include "domain/platform.h"

#include <stdio.h>

enum {
    KEYS_MAX = 1024
}; /* that are told apart; all further ones of a platform count as one, key_id "other" */

/* Parent, before the first fork. */
enum status keys_open(const struct platforms *set, struct err *err) MUST_CHECK;
/* Parent, before any worker works with the set: its keys get their places, those of earlier sets keep theirs. */
void keys_take(const struct platforms *set);

/* The place to count at; of a key without one, that of the platform's other keys. */
size_t keys_find(const struct platform *p, const struct source *source, size_t secret);
void keys_count(size_t place, int64_t wall_us); /* does nothing before keys_open */

/* In Prometheus' text format: every key of the present set, and every other that has verified something. */
void keys_page(FILE *to);

#endif
