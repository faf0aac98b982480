/*
 * gauges: what Postgres knows and the metrics page shows: publications by state and age, what each job last did, what
 * all its runs did, locks, breakers, receipts that nobody waits for. Asked every 15 s or less often, away from any
 * request, by the role of the API. While Postgres is down they keep their last values.
 */
#ifndef SETTLE_GATEWAY_GAUGES_H
#define SETTLE_GATEWAY_GAUGES_H

#include "domain/platform.h"
#include "links.h"

struct gauges;

/* links: connections to read on. */
struct gauges *gauges_open(struct server *server, struct links *links, const struct platforms *platforms);
void gauges_close(struct gauges *g); /* after links_close; NULL is fine */

void gauges_turn(void *gauges); /* the chore: asks when it is time */

#endif
