/*
 * hub: asks a WebSub hub to send a topic's updates to us, or no longer. Blocking; one form POST a call, over verified
 * TLS unless the hub is on loopback, without redirects: the form holds a secret.
 */
#ifndef SETTLE_GATEWAY_HUB_H
#define SETTLE_GATEWAY_HUB_H

#include "base/err.h"
#include "base/span.h"

struct hub;

struct hub *hub_open(void);
void hub_close(struct hub *h); /* NULL is fine */

struct hub_request {
    struct span url;      /* of the hub */
    const char *mode;     /* "subscribe", "unsubscribe" */
    struct span topic;    /* URL */
    const char *callback; /* URL */
    struct span secret;   /* absent: none */
    unsigned lease_s;
};

/* OK: the hub took it; whether it grants it, it says by a GET to the callback. *ret_status: its HTTP answer, 0: none.
 * UNAVAILABLE: no answer. BUSY: 429 or 5xx. INVALID: another answer, or a URL that may not be used. err never holds the
 * secret, nor what the hub wrote. */
enum status hub_ask(struct hub *h, const struct hub_request *r, long *ret_status, struct err *err) MUST_CHECK;

#endif
