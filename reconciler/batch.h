/*
 * batch: a job's work in short transactions, each under the fence: a runner that lost its lease changes nothing.
 * A batch that the store refuses is tried again with half the rows, until one row stands alone and is left out:
 * one bad or locked row must not hold up the others. How many rows a batch has follows what the last one took, so that
 * none takes long, however slow the server is.
 */
#ifndef SETTLE_RECONCILER_BATCH_H
#define SETTLE_RECONCILER_BATCH_H

#include "session.h"

/* Reads and writes at most so many rows from where ctx stands. May be called again after a failure: ctx must stand
 * where it stood. */
typedef enum status batch_work(void *ctx, size_t rows, struct err *err);

/* Does one batch. BUSY "fence_lost": end the run. OK with *ret_refused: the store refused the one row that work had
 * read last, and *err says why; the caller goes on behind it. */
enum status batch_do(struct session *s, batch_work *work, void *ctx, bool *ret_refused,
                     struct err *err) MUST_CHECK;

#endif
