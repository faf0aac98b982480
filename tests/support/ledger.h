/*
 * ledger: what a sender knows, in a file: which posts it was about to send, and what it was told. A post is written here
 * before it is sent (and synced, where times count), so that nothing can be stored that is not in the ledger; what is answered
 * is written behind it, and an outcome that is lost with the test program counts as unknown. Many senders share one ledger and
 * one write.
 * Afterwards it is held against the table: what was acknowledged is there once, byte for byte; what was not may be; nothing
 * else is.
 */
#ifndef SETTLE_TESTS_SUPPORT_LEDGER_H
#define SETTLE_TESTS_SUPPORT_LEDGER_H

#include "support/world.h"

/* WRONG: neither 200 nor 503 with Retry-After */
enum told { UNSENT, UNKNOWN, ACKED, REFUSED, WRONG };

struct ledger;

struct ledger *ledger_open(struct world *w); /* a new file of the world's */
void ledger_close(struct ledger *l);         /* NULL is fine */

void ledger_sending(struct ledger *l, unsigned sender, unsigned nth); /* returns when it is in the file */
void ledger_told(struct ledger *l, unsigned sender, unsigned nth, enum told told, unsigned ms);

/* The file, read anew, beside settle.webhook_receipts. Posts are named "load-<sender>-<nth>" and their body is load.c's.
 * One that was acknowledged once stays so, whatever it was told when it was sent again. */
struct ledger_findings {
    unsigned acked, stored;                    /* posts */
    unsigned lost, invented, doubled, altered; /* acknowledged and not stored; stored and never sent; ... */
};
struct ledger_findings ledger_compare(struct ledger *l, struct world *w);
void ledger_check(struct ledger *l, struct world *w); /* fails the test unless the second line is all 0 */

/* For publications of such posts, when the reconciler has run: one whose post is stored became a success by one event;
 * the others were left alone. Returns how many were settled. */
unsigned ledger_check_effects(struct world *w);

/* Answers (unknown ones are none) that took longer than ms, and the slowest. Reads the file, too. */
unsigned ledger_later_than(struct ledger *l, unsigned ms, unsigned *ret_slowest_ms);

#endif
