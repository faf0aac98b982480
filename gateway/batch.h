/*
 * batch: group commit. Collects receipts and stores them with one statement a flight, whenever a connection
 * is idle: batches grow by themselves under load, and nobody lingers for a fuller one.
 * Owns a delivery from batch_add until its done runs: exactly once, never from inside batch_add.
 */
#ifndef SETTLE_GATEWAY_BATCH_H
#define SETTLE_GATEWAY_BATCH_H

#include "delivery.h"
#include "links.h"
#include "receipt_row.h"

enum { BATCH_ROWS_MAX = RECEIPT_ROWS_MAX };
_Static_assert((int)BATCH_ROWS_MAX >= (int)EVENTS_MAX, "a delivery goes in one statement");

struct batch;

/* failure NULL: all receipts of d are durable; is_new tells which were not before. */
typedef void batch_done(struct delivery *d, const struct err *failure);

struct batch_config {
    unsigned max_rows;          /* of one statement; a delivery with more has one to itself */
    unsigned commit_timeout_ms; /* then the connection is given up */
    batch_done *done;
};

struct batch *batch_open(struct server *server, struct links *links, const struct batch_config *config);
void batch_close(struct batch *b); /* after links_close; ends what waits with UNAVAILABLE; NULL is fine */

/* Takes the receipts that are not seen; at least one. How many may wait is the caller's to say (line.h). */
void batch_add(struct batch *b, struct delivery *d);

/* The same for what is in no hurry and safe where it is: all its receipts. It gets the
 * connections that nothing else waits for, and of those that are fought for one flight in five; one flight at a time, also in
 * the halves of one that was refused. */
void batch_add_backlog(struct batch *b, struct delivery *d);

bool batch_is_idle(const struct batch *b); /* nothing live waits for a connection */
bool batch_is_done(const struct batch *b); /* nor is anything under way */
void batch_turn(void *batch);              /* the chore: sends what came in this turn */

#endif
