/*
 * refused: keeps some of the requests whose signature did not hold, whole, so that a wrong or rotated secret can be
 * found and they can be verified again. Only of known sources, and only when no accepted delivery waits for a
 * connection. Of one source as many a second, and as many bytes in the time they are kept, as the settings say for all
 * workers together: each has its share. What bears no signature at all, which scanners send and no secret mends, gets a
 * quarter of it at most.
 */
#ifndef SETTLE_GATEWAY_REFUSED_H
#define SETTLE_GATEWAY_REFUSED_H

#include "base/config.h"
#include "batch.h"
#include "senders.h"

struct refused;

struct refused *refused_open(struct server *server, struct links *links, const struct batch *batch,
                             struct senders *senders, const struct config *config);
void refused_close(struct refused *r); /* after links_close; NULL is fine */

/* d was answered. Takes it (and ends it, now or later), whether it is kept or not. */
void refused_keep(struct refused *r, struct delivery *d, const struct err *why);

void refused_turn(void *refused); /* the chore, behind batch_turn; while draining, what waits is given up */

#endif
