/*
 * reused: notices an event id that came shortly before with another body: a platform that corrects itself, or somebody
 * else who has the secret. Such receipts are stored as any; this counts them and says so in the log.
 * Knows the last ids, about 260,000 of them, in memory shared before fork by all workers; a restart of the gateway forgets
 * them, and other gateways have their own. What it says is right but for one in 10^12; what it does not say may be wrong.
 */
#ifndef SETTLE_GATEWAY_REUSED_H
#define SETTLE_GATEWAY_REUSED_H

#include "delivery.h"

/* Parent, before the first fork. */
enum status reused_open(struct err *err) MUST_CHECK;

/* After the commit: looks at the receipts that were new. Does nothing before reused_open. */
void reused_look(const struct delivery *d);

#endif
