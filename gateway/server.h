/*
 * server: one HTTP/1.1 listener on one loop in one process. The only file that configures h2o, and the only
 * one that knows how a loop is turned, when it ends and in which order a turn ends.
 *
 * A turn: wait, run what is ready (requests, stores, deadlines), then the chores in the order they were added.
 * TERM: each answer says "Connection: close"; when all connections that were open then are gone, or after linger_ms,
 * nobody is let in any more, and server_run returns when nothing is in flight or drain_ms have passed since TERM. For the rest
 * of a request that has begun it waits a second. A second TERM ends it at once. INT is left to the parent. HUP: server_on_hup.
 */
#ifndef SETTLE_GATEWAY_SERVER_H
#define SETTLE_GATEWAY_SERVER_H

#include "base/err.h"
#include "base/network.h"

#include <h2o.h>
#include <stdbool.h>
#include <stdint.h>

struct server;

struct server_limits {
    size_t max_body_bytes;    /* beyond: 413 in plain text from the library */
    size_t max_connections;   /* beyond: new ones wait in the backlog; at most what RLIMIT_NOFILE leaves */
    unsigned max_per_address; /* beyond: closed at once; 0: no such limit */
    const struct network *exempt; /* from it; borrowed */
    size_t nexempt;
    unsigned request_ms; /* for head and body together, and for idle keep-alive */
    unsigned linger_ms;  /* less than drain_ms */
    unsigned drain_ms;
    bool begins_shut; /* who calls before server_let_in waits in the backlog */
};

/* listener: a listening socket that is the server's from now on. Blocks the signals that server_run takes. */
struct server *server_open(int listener, const struct server_limits *limits, struct err *err) MUST_CHECK;
void server_close(struct server *s); /* NULL is fine; the chores' owners are closed before */

void server_let_in(struct server *s); /* again and again, if you like */

/* Every request whose framing holds comes to on_request. It must be answered once, now or later; never left.
 * on_malformed is told of the others, which are answered already; may be NULL. */
typedef void server_request(void *ctx, h2o_req_t *req);
typedef void server_malformed(void *ctx);
void server_handle(struct server *s, server_request *on_request, server_malformed *on_malformed, void *ctx);

/* Larger bodies are answered 413 from now on; of requests that are being read it may be either. */
void server_limit_bodies(struct server *s, size_t max_body_bytes);

typedef void server_chore(void *ctx);
void server_add_chore(struct server *s, server_chore *chore, void *ctx);

/* Runs in a turn of its own for each HUP, or several that came at once; without one HUP does nothing, as in a drain. */
void server_on_hup(struct server *s, server_chore *on_hup, void *ctx);

/* Work that goes on without a request (its client has left): a drain waits for it. */
void server_hold(struct server *s);
void server_release(struct server *s);

size_t
server_max_connections(const struct server *s);  /* that it will hold: what the limits and the system allow */
bool server_is_draining(const struct server *s); /* nobody is let in any more: begin no more than needed */

void server_again(struct server *s); /* a chore has made new work: do not wait before the next turn */

h2o_loop_t *server_loop(struct server *s);
int64_t server_boot_us(struct server *s); /* the turn's time, read once */
int64_t server_wall_us(struct server *s);

/* Turns the loop, at least ten times a second, until it has drained. True: nothing was left unanswered. */
bool server_run(struct server *s);

#endif
