/*
 * refused: keeps some of the requests whose signature did not hold, so that a wrong or rotated secret can be
 * found. Only of known sources, and only when no accepted delivery waits for a connection. Of one source, with all
 * workers, at most 64 MiB in 24 hours, and in each worker five a second after the first fifty.
 */
#ifndef SETTLE_GATEWAY_REFUSED_H
#define SETTLE_GATEWAY_REFUSED_H

#include "batch.h"

enum { REFUSED_BODY_MAX_BYTES = 64 * 1024 };

struct refused;

struct refused *refused_open(struct server *server, struct links *links, const struct batch *batch,
                             const struct platforms *platforms, unsigned nworkers);
void refused_close(struct refused *r); /* after links_close; NULL is fine */

/* d was answered. Takes it (and ends it, now or later), whether it is kept or not. */
void refused_keep(struct refused *r, struct delivery *d, const struct err *why);

void refused_turn(void *refused); /* the chore, behind batch_turn; while draining, what waits is given up */

#endif
