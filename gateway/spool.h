/*
 * spool: keeps on the worker's own disk what Postgres does not commit in time, until it can be drained. One thread owns
 * the files and all that blocks; what waits for it at the same time shares one sync. Everything here is for the loop.
 * Owns a slip from spool_put until done runs, once and never from inside spool_put, or until spool_give_up takes it back.
 *
 * A worker has one file of its own, and takes over those that nobody holds: of workers that died, and of a gateway that
 * had more of them. A file whose disk fails is set aside and kept, and a fresh one takes its place.
 */
#ifndef SETTLE_GATEWAY_SPOOL_H
#define SETTLE_GATEWAY_SPOOL_H

#include "server.h"
#include "spoolfile.h"

struct spool;

/* A member of what is to be kept; its record borrows until done. */
struct spool_slip {
    struct spool_record record;
    /* The spool's own: */
    struct spool_slip *next, **at;
    uint64_t turn;
    bool given_up;
    struct err err;
    size_t generation; /* of the file it went to */
};

/* failure NULL: durable. Else UNAVAILABLE, with cause "spool_full", "spool_broken" or "spool_stuck", and nothing is known to
 * be kept. The same causes are spool_put's. */
typedef void spool_done(void *ctx, struct spool_slip *slip, const struct err *failure);

struct spool_config {
    const char *folder;
    unsigned place; /* its file is spool-<place>.db, or the next that is free */
    size_t max_bytes, reserve_bytes;
    spool_done *done;
    void *ctx;
};

/* Returns at once: the thread opens the file. */
struct spool *spool_open(struct server *server, const struct spool_config *config);
/* Waits for what is under way, and runs its done; NULL is fine. Every page has been returned or never asked for. */
void spool_close(struct spool *s);

enum status spool_put(struct spool *s, struct spool_slip *slip, struct err *err) MUST_CHECK;
/* Its sender can wait no longer. True: nothing was done about it yet, and done will not run. False: done runs when the disk
 * comes back, whatever it says then. If it has hung for SPOOL_STUCK_MS, the spool takes nothing until then, and the gateway
 * is ready only by Postgres: less is a hiccup, over which further ones may well be in time. */
enum { SPOOL_STUCK_MS = 400 };
bool spool_give_up(struct spool *s, struct spool_slip *slip);
/* It is in Postgres after all. Not waited for: if it is lost, the record is drained and found to be known. */
void spool_forget(struct spool *s, const struct spool_slip *slip);

enum { SPOOL_PAGE_RECORDS = 256, SPOOL_PAGE_BYTES = 4 * 1024 * 1024 };

/* Records on their way to Postgres. */
struct spool_page {
    struct arena *arena;
    struct spool_record *records;
    size_t n;
    bool stored[SPOOL_PAGE_RECORDS]; /* by the drain: removed when the page returns */
    bool again; /* by the drain: Postgres is away; the next page begins with those that stay */
    /* The spool's own: */
    size_t file, generation;
    int64_t from;
};

/* Of the file that has the oldest record not read yet, the oldest of those. Those that stay come again after a minute. n 0: none at present. */
typedef void spool_page_done(void *ctx, struct spool_page *page);
void spool_read(struct spool *s, spool_page_done *done, void *ctx); /* one at a time */
void spool_return(struct spool *s, struct spool_page *page);

double spool_fill(const struct spool *s);       /* of its cap, by its own file alone: 0 to 1 */
uint64_t spool_nrecords(const struct spool *s); /* of all files it holds */
bool spool_is_drained(const struct spool *s);   /* all that is left has stayed */

void spool_turn(void *spool); /* a chore: metrics, readiness */

#endif
