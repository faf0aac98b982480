/*
 * delivery: one webhook request on its way to be stored, and its tie to a client that may leave before.
 * Lives in an arena of its own with all that was copied from the request, so it can outlive the request.
 */
#ifndef SETTLE_GATEWAY_DELIVERY_H
#define SETTLE_GATEWAY_DELIVERY_H

#include "base/arena.h"
#include "base/id.h"
#include "domain/event.h"
#include "evloop.h"
#include "line.h"
#include "spool.h"
#include "tie.h"

struct delivery;
struct drain;
struct ingest;
struct sender_shares;

enum { TOLD_HEADERS_MAX_BYTES = 4096 }; /* kept of headers that nothing rests on */

/* One event of a delivery on its way to its row. */
struct receipt {
    struct delivery *delivery;
    struct event *event;
    struct receipt *next; /* in the batch's queue */
    unsigned tries;       /* statements it was in without learning what became of it */
    bool seen;            /* Redis says: surely stored already */
    bool is_new;          /* the commit says: this delivery stored it */
    const char *refusal;  /* Postgres refuses what was read from the body: stored unparsed, with this word */
};

struct delivery {
    struct ingest *ingest;           /* the worker's; borrows */
    struct arena *arena;             /* owns; the delivery lies in it */
    struct tie tie;                  /* to the client */
    struct id id;                    /* also the request id */
    int64_t received_us;             /* wall */
    int64_t began_us;                /* boot */
    struct platforms *platforms;     /* owns a share: platform and source stay while another set takes over */
    const struct platform *platform; /* NULL: unknown */
    const struct source *source;     /* NULL: unknown */
    struct span source_name;         /* as the path says */
    struct span body, headers;       /* copies; headers: the kept ones, "name: value\n" */
    struct request request;          /* its headers go with the client */
    struct verified verified;
    struct receipt *receipts; /* one an event */
    size_t nreceipts;
    size_t nwaiting;           /* receipts the present step has not ended */
    const struct err *failure; /* of the first receipt that could not be stored; in the arena; NULL: none */
    struct sender_shares *shares; /* its source's, of the lines; NULL: not verified */
    struct line *line;            /* where its receipts stand; NULL: in none */
    struct deadline commit_by;    /* then it goes to the spool */
    struct deadline answer_by;    /* then it is given up, wherever it is */
    bool overflows;               /* so much waits for Postgres that it goes to the spool at once */
    bool gave_up; /* a deadline has passed: answered or spooled, not worth a statement of its own */
    bool in_batch, in_spool; /* who still works on it: the last one ends it */
    bool committed, spooled; /* where it is durable */
    struct spool_slip slip;
    struct span key_id;    /* of the secret that matched when it came */
    struct drain *drain;   /* it came from the spool, without a client; NULL: from a request */
    size_t drain_at;       /* its place in the drain's page */
    struct delivery *next; /* in the list of the step it waits in */
};

/* Copies the body and ties the delivery to req. */
struct delivery *delivery_begin(struct ingest *ingest, h2o_req_t *req);
/* One from the spool, as it was when it had been verified, events and all. Borrows r's bytes. */
struct delivery *delivery_again(struct ingest *ingest, const struct platform *platform,
                                const struct source *source, const struct spool_record *r);
/* Its receipts: one an event, of which there are nreceipts. */
void delivery_take_events(struct delivery *d, struct event *events);
void delivery_end(struct delivery *d); /* frees it; an unanswered client is our own bug */

/* Fills headers from request with those that are kept, repeated ones as well: all that its signature, its extras and its
 * handshakes rest on, and what tells senders and traces apart. Its URL, if it has one, comes first as ":url: https://...",
 * which no header can look like: with it the request can be verified again. */
void delivery_keep_headers(struct delivery *d);

/* The request that such headers and a body were kept of; its list is in the arena. */
struct request delivery_read_kept(struct span headers, struct span body, int64_t received_us,
                                  struct arena *arena);

#endif
