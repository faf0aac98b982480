/*
 * arena: memory of one unit of work (a delivery, a flight, a page), freed in one go.
 * Allocation never fails: it aborts. So every size that a client chooses is capped before it comes here.
 */
#ifndef SETTLE_BASE_ARENA_H
#define SETTLE_BASE_ARENA_H

#include "base/attr.h"
#include "base/span.h"

struct arena;

struct arena *arena_open(size_t first_bytes); /* one malloc; the arena itself lies inside it */
void arena_close(struct arena *a);            /* NULL is fine */
void arena_reset(struct arena *a);            /* forgets all, keeps the first block */
void arena_wipe(struct arena *a);             /* zeroes all: a secret passed through; what is in it is gone */

void *arena_alloc(struct arena *a, size_t bytes);       /* aligned for any type, not zeroed */
void *arena_zero(struct arena *a, size_t bytes);        /* zeroed */
struct span arena_copy(struct arena *a, struct span s); /* absent stays absent; a NUL follows the copy */
char *arena_print(struct arena *a, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
