/*
 * links: keeps Postgres connections and one Redis connection alive for a process with a loop.
 * Connects on helper threads (name look-up and connect block), takes the ready connection over on the loop,
 * and when one is lost that has been of use, tries again at once, then after 0.1 s, doubling to 1 s, with jitter: a store that
 * is away, or whose connections come up and do nothing, is knocked at once or twice a second. Counts STORE_UP and STORE_CONNECTS and logs
 * when a store comes and goes. Flushes all connections once a turn; gives up a connection whose answer is overdue.
 */
#ifndef SETTLE_GATEWAY_LINKS_H
#define SETTLE_GATEWAY_LINKS_H

#include "server.h"
#include "store/pg.h"
#include "store/redis.h"

struct links;

struct links_config {
    struct pg_config pg;
    size_t npg;
    bool takes_webhooks;   /* these are the stores of an ingest worker: those that STORE_UP is about */
    const char *redis_url; /* NULL: none is wanted */
    unsigned redis_connect_timeout_ms;
    /* A Postgres connection works from now on, or is about to be closed: what waits on it ends with
     * UNAVAILABLE right after. May be NULL. */
    void (*on_pg)(void *ctx, struct pg *pg, bool up);
    void *ctx;
};

/* Copies config; the strings stay the caller's. Starts to connect in the first turn. */
struct links *links_open(struct server *server, const struct links_config *config);
void links_close(struct links *l); /* NULL is fine */

/* The chore: last in the turn, after all that sends. */
void links_turn(void *links);

size_t links_npg(const struct links *l);
struct pg *links_pg(const struct links *l, size_t i); /* NULL while it is down */
/* The one with the fewest statements waiting; NULL if all are down. */
struct pg *links_pg_least(const struct links *l);
struct pg *links_pg_idle(const struct links *l); /* one on which nothing waits; NULL: there is none */
/* By when (boot time) a statement that is sent now must have its answer, as any other of this process. */
int64_t links_pg_deadline_us(const struct links *l);
struct redis *links_redis(const struct links *l); /* NULL while it is down */
bool links_pg_is_up(const struct links *l);       /* any of them */
bool links_pg_is_new(
    const struct links *l); /* since links_open no connection to Postgres has come up, or failed to */

/* This connection is no good (read-only after a failover, say): closed at the end of the turn, opened again. */
void links_drop_pg(struct links *l, const struct pg *pg);

/* check: the row of server_check, asked again since the connecting. Of a server that has been told to forget commits in a crash
 * all connections are dropped: no new one comes up before it is told otherwise. */
void links_check_pg(struct links *l, const struct pg_rows *check);
/* This one has stored something: should it be lost, the next try is at once. */
void links_praise_pg(struct links *l, const struct pg *pg);

#endif
