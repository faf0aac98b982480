/*
 * drain: brings what the spool holds to Postgres, oldest first, by way of the batch, which gives it what live webhooks
 * leave. Each record becomes a delivery without a client; it leaves the spool when all its receipts are committed. What
 * cannot be brought there (its platform or source is not configured, Postgres refuses it) stays, and is tried again.
 */
#ifndef SETTLE_GATEWAY_DRAIN_H
#define SETTLE_GATEWAY_DRAIN_H

#include "ingest.h"

struct drain;

struct drain *drain_open(struct ingest *ingest); /* its spool, batch and dedupe must be open */
void drain_close(struct drain *n);               /* after batch_close, before spool_close; NULL is fine */
void drain_turn(void *drain);                    /* a chore, before the batch's */

/* The batch's done of a delivery that came from here. */
void drain_on_commit(struct delivery *d, const struct err *failure);

#endif
