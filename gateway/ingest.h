/*
 * ingest: the life of one webhook, from its request to its answer: route, verify, normalise, dedupe, commit,
 * remember, answer. And of a handshake, which needs no store: route, verify if it came by POST, answer.
 * Read ingest.c from top to bottom: its order is the order in time.
 */
#ifndef SETTLE_GATEWAY_INGEST_H
#define SETTLE_GATEWAY_INGEST_H

#include "batch.h"
#include "evloop.h"
#include "links.h"
#include "role.h"
#include "server.h"

enum {
    SPARE_ARENAS = 256,
    ANSWER_MS = 400,    /* by then each is answered; 450 are promised */
    SPOOL_MS_MIN = 150, /* what is left for the spool, however late it is asked */
    RECONNECT_MS =
        400 /* without a spool: so long a store without a connection may be about to have one again */
};

/* The words of WEBHOOK_REQUESTS, in its order. */
enum outcome {
    OUTCOME_STORED,
    OUTCOME_DUPLICATE,
    OUTCOME_BAD_SIGNATURE,
    OUTCOME_UNKNOWN_SOURCE,
    OUTCOME_UNKNOWN_PLATFORM,
    OUTCOME_TOO_LARGE,
    OUTCOME_MALFORMED,
    OUTCOME_METHOD,
    OUTCOME_STORE_UNAVAILABLE,
    OUTCOME_OVERLOAD,
    OUTCOME_INTERNAL,
    OUTCOME_DROPPED, /* forged, and answered as if it were stored: the platform's rule */
    OUTCOME_HANDSHAKE,
    OUTCOME_HANDSHAKE_REFUSED,
    OUTCOME_RATE_LIMITED,
    OUTCOME_SPOOLED,       /* durable on our own disk, and on its way to Postgres */
    OUTCOME_CLOCK_SUSPECT, /* perhaps a good signature, judged by a wrong clock of ours */
    NOUTCOMES
};

/* Failures of one kind since the last log line about them. */
struct complaint {
    int64_t again_us; /* boot time of the next line */
    uint64_t nsilent;
};

/* What a worker holds, for as long as it runs. */
struct ingest {
    struct platforms *platforms; /* the present set; a reload puts another in its place */
    struct server *server;
    struct links *links;
    struct dedupe *dedupe;
    struct clocks *clocks;
    struct batch *batch;
    struct spool *spool; /* NULL: there is none */
    struct drain *drain;
    struct line store_line, spool_line; /* of live deliveries: for Postgres, for the spool */
    double proven; /* of those who named a source of ours of late, who it was in truth: 0 to 1 */
    struct refused *refused;
    struct senders *senders;
    struct reload *reload;
    struct settings *settings;         /* its platforms are the present set too: one share for both */
    struct admit *admit;               /* of handshakes */
    struct span public_url;            /* what senders call, without a path; absent: not known */
    size_t max_body_bytes;             /* of a platform that names none of its own */
    struct deadlines commit_deadlines; /* then it goes to the spool, if there is one */
    struct deadlines answer_deadlines; /* since it came */
    int64_t began_us;
    int64_t pg_seen_us;                       /* when a connection to Postgres was last seen to work */
    struct arena *spare_arenas[SPARE_ARENAS]; /* of deliveries that ended: the next ones take them */
    size_t nspare_arenas;
    struct complaint complaints[NOUTCOMES];
};

/* The largest body that a source of the set may send: what the server has to let in. */
size_t ingest_body_bytes(const struct platforms *platforms, size_t max_body_bytes);

/* The path's platform and source ("default" if it names none). False: not a webhook's path. */
bool ingest_read_path(struct span path, struct span *ret_platform, struct span *ret_source);

void ingest_on_request(void *ingest, h2o_req_t *req);
void ingest_turn(void *ingest); /* a chore, behind the batch's: how the lines move */
void ingest_on_commit(struct delivery *d, const struct err *failure); /* the batch's done */
/* The spool's done. */
void ingest_on_spooled(void *ingest, struct spool_slip *slip, const struct err *failure);

#endif
