/*
 * dedupe: is it surely stored already? One look at Redis before the commit, one note after it.
 * Whatever goes wrong here means "not known", and the delivery goes its way: the primary key in Postgres
 * catches what slips through. A note's name and content are the halves of a MAC under a key from Postgres over
 * the dedup key, the cluster and its server's start. The content leaves us only after the commit: nobody who can
 * write to Redis, reads along or answers in its place can plant a note, and notes from before a restart, failover
 * or restore count for nothing. While our connections do not all lead to one server, nothing is asked or noted: which of
 * them has committed an event, and whether the others know of it, would have to be guessed.
 */
#ifndef SETTLE_GATEWAY_DEDUPE_H
#define SETTLE_GATEWAY_DEDUPE_H

#include "delivery.h"
#include "links.h"

struct dedupe;
typedef void dedupe_done(struct delivery *d);

struct dedupe *dedupe_open(struct server *server, struct links *links);
void dedupe_close(struct dedupe *u); /* after links_close, which ends all that waits; NULL is fine */

/* A Postgres connection came up (whose server's key is to be learned) or is about to go down. */
void dedupe_on_pg(struct dedupe *u, struct pg *pg, bool up);

/* True: done runs once, at the latest in 5 ms, with `seen` set on what is surely stored. False: Redis cannot
 * be asked now, nothing is known and done will not run. */
bool dedupe_check(struct dedupe *u, struct delivery *d, dedupe_done *done) MUST_CHECK;

/* After the commit, never before: a crash between would cost the event. Not waited for. */
void dedupe_remember(struct dedupe *u, const struct delivery *d);

void dedupe_turn(void *dedupe); /* the chore: asks for all that came in this turn at once */

#endif
