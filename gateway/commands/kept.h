/*
 * kept: refused requests as settle.refused_requests keeps them, for the commands that look at them again.
 */
#ifndef SETTLE_GATEWAY_KEPT_H
#define SETTLE_GATEWAY_KEPT_H

#include "base/arena.h"
#include "base/config.h"
#include "domain/scheme.h"
#include "store/pg.h"

enum { KEPT_WAIT_MS = 15000 }; /* for one statement on kept_connect's connection */

/* As settle_requarantine, who may read and take them. application: "settle-gateway requarantine". */
struct pg *kept_connect(const struct config *config, const char *application, bool read_only,
                        struct err *err) MUST_CHECK;

/* headers: "name: value" lines, as delivery_keep_headers wrote them. What comes borrows headers and body; its list of
 * headers is in the arena. received_us is the clock by which it is judged. */
struct request kept_request(struct span headers, struct span body, int64_t received_us, struct arena *arena);

#endif
