/*
 * health: what each process of the gateway says about itself, in memory shared before fork. A process writes
 * only its own place; the monitor reads them all. Without locks and without asking any store.
 */
#ifndef SETTLE_GATEWAY_HEALTH_H
#define SETTLE_GATEWAY_HEALTH_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum health_role { HEALTH_NOBODY, HEALTH_INGEST, HEALTH_ADMIN, HEALTH_MONITOR };

enum {
    HEALTH_STALE_MS = 5000,  /* a loop that has not turned for so long is stuck; idle, it wakes each 100 ms */
    HEALTH_FAILED_MS = 5000, /* how long a failed commit counts if no other is tried */
    HEALTH_STUCK_MS = 30000, /* longer than any commit may take (ingest.commit_timeout_ms) */
};

struct health_place {
    enum health_role role;
    bool turned_lately;
    bool writes;       /* nothing waits for its stores, or they gave some answer within HEALTH_STUCK_MS */
    bool clock_agrees; /* an ingest worker's, with the database's */
    bool
        can_store; /* an ingest worker with a Postgres connection whose last commit did not just fail, or with a spool */
    bool has_spool, can_spool; /* an ingest worker's: it has one, and that one takes records */
};

/* Parent, before the first fork. places: one a child process that runs a loop. */
enum status health_open(size_t nplaces, struct err *err) MUST_CHECK;
void health_drain(void); /* parent, first thing on TERM: from now on nothing is ready */

/* Child, before its loop. Taking the place of one that died is fine. */
void health_join(size_t place, enum health_role role, int64_t boot_us);
void health_turn(int64_t boot_us);     /* each turn of the loop */
void health_can_store(bool can);       /* ingest workers, whenever it changes: there is a connection */
void health_can_spool(bool can);       /* ingest workers, each turn: what Postgres does not take is kept */
void health_clock_agrees(bool agrees); /* ingest workers, each turn */
void health_flushed(bool good, int64_t boot_us); /* ingest workers, after each commit or failure of one */
void health_wrote(int64_t boot_us); /* ingest workers, whenever nothing waits or something came to an end */

/* Monitor and parent. */
size_t health_nplaces(void);
struct health_place health_place(size_t place, int64_t boot_us);
bool health_draining(void);
bool health_ingest_goes_on(
    int64_t boot_us); /* each ingest worker turns and writes; not: it is able to store */

#endif
