/*
 * stream: an answer that may be longer than memory: one piece of it at a time, and the next is asked for when the client has taken
 * the last. So a client that reads slowly costs a piece and a connection to it, and nothing of the stores; one that takes
 * none of it for a minute is cut off. It is sent in chunks: one that was broken off has no end, by which the client can tell;
 * one of HTTP/1.0 can by a reset.
 */
#ifndef SETTLE_GATEWAY_STREAM_H
#define SETTLE_GATEWAY_STREAM_H

#include "base/id.h"
#include "base/span.h"

#include <h2o.h>

struct streams; /* of one loop: how long a piece may take */

struct streams *streams_open(h2o_loop_t *loop);
void streams_close(struct streams *streams);

struct stream; /* lives as long as its request: not to be used when that has gone */

/* Each piece but the last is followed by one of both, later: the client has taken it, or has gone. */
struct stream_events {
    void (*on_taken)(void *ctx);
    void (*on_gone)(void *ctx);
    void *ctx;
};

/* Begins to answer with 200; further headers of req->res go along. */
struct stream *stream_open(struct streams *streams, h2o_req_t *req, const struct id *request_id,
                           const char *content_type, const struct stream_events *events);
/* Copies the piece, which is not empty unless it is the last. After the last one the request is done with. */
void stream_put(struct stream *s, struct span piece, bool is_last);
void stream_break(struct stream *s); /* in place of a piece: the client is to see that it has not got all */

#endif
