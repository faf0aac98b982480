/*
 * websub: what a hub's handshake means for a subscription of ours, told in the log: it was granted, for how long, or it
 * was denied or ended. The answer is handshake.h's. Anybody can send such a request, so lines are limited, and nothing
 * but lines follows from one.
 */
#ifndef SETTLE_GATEWAY_WEBSUB_H
#define SETTLE_GATEWAY_WEBSUB_H

#include "delivery.h"
#include "domain/handshake.h"

enum { WEBSUB_REASON_MAX = 200 };

/* query: as sent, without "?"; absent: none. Does nothing for platforms without a hub and for unknown sources. */
void websub_heard(const struct delivery *d, struct span query, const struct handshake_answer *a);

#endif
