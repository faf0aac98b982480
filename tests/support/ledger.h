/*
 * ledger: what a sender knows, on disk: which posts it was about to send, and what it was told. A post is synced here before
 * it is sent, so that nothing can be stored that is not in the ledger; what is answered is written behind it, and an
 * outcome that is lost with the test program counts as unknown. Many senders share one ledger and one sync.
 * Afterwards it is held against the table: what was acknowledged is there once, byte for byte; what was not may be; nothing
 * else is, and each event had its effect once.
 */
#ifndef SETTLE_TESTS_SUPPORT_LEDGER_H
#define SETTLE_TESTS_SUPPORT_LEDGER_H

#include "support/world.h"

enum told { UNSENT, UNKNOWN, ACKED, REFUSED, WRONG }; /* WRONG: neither 200 nor 503 with Retry-After */

struct ledger;

struct ledger *ledger_open(struct world *w); /* a file of the world's */
void ledger_close(struct ledger *l);         /* NULL is fine */

void ledger_sending(struct ledger *l, unsigned sender, unsigned nth); /* returns when it is durable */
void ledger_told(struct ledger *l, unsigned sender, unsigned nth, enum told told, unsigned ms);

/* Reads the file anew and fails the test if it and settle.webhook_receipts disagree. Posts are
 * named "load-<sender>-<nth>" and their body is load.c's. */
void ledger_check(struct ledger *l, struct world *w);

/* Answers that took longer than ms, and the slowest. */
unsigned ledger_later_than(struct ledger *l, unsigned ms, unsigned *ret_slowest_ms);

#endif
