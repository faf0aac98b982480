/*
 * evloop: what is not HTTP on the h2o loop: descriptors that belong to others (Postgres, Redis, pipes,
 * signals), and deadlines. Hides what h2o 2.2.5 does its own way.
 */
#ifndef SETTLE_GATEWAY_EVLOOP_H
#define SETTLE_GATEWAY_EVLOOP_H

#include <h2o.h>
#include <stdbool.h>

/* One descriptor. Watches a duplicate: the original stays its owner's, who may close it at any time. */
struct watch;
typedef void watch_ready(void *ctx);

/* on_readable: whenever there is something to read, or the other side has closed. Sets O_NONBLOCK. */
struct watch *watch_open(h2o_loop_t *loop, int fd, watch_ready *on_readable, void *ctx);
/* The same for who can do without: NULL, with errno, when no descriptor is left. Above it is the process's end. */
struct watch *watch_try(h2o_loop_t *loop, int fd, watch_ready *on_readable, void *ctx);
void watch_writable(struct watch *w, watch_ready *after_writable); /* once; while one is pending, nothing */
void watch_close(struct watch *w); /* NULL is fine, and so is a call from its own callbacks */

/* Runs on_readable of all that are ready. epoll hands out what is ready by turns, 64 at a time (server.c): among some thousand clients
 * a store's answer would be seen when all of them have had theirs. */
void watches_look(void);

/* All deadlines of one length (h2o keeps one list a duration). To the millisecond. */
struct deadlines {
    h2o_loop_t *loop;
    h2o_timeout_t list;
};

/* One deadline: a member of what it belongs to, zero when not set. */
struct deadline {
    h2o_timeout_entry_t entry;
    watch_ready *passed;
    void *ctx;
};

void deadlines_open(struct deadlines *all, h2o_loop_t *loop, unsigned ms);
void deadlines_close(struct deadlines *all); /* none may be set any more */
void deadline_set(struct deadlines *all, struct deadline *d, watch_ready *passed, void *ctx);
void deadline_clear(struct deadline *d); /* not set: nothing */

#endif
