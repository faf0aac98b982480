/*
 * gauges: what the stores know and the metrics page shows: publications by state, the last good run, the
 * platforms' breakers. Asked every 15 s, away from any request. While Postgres is down they keep their last values.
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
