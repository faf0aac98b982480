/*
 * tie: between a request and our work on it, each of which may end first.
 */
#ifndef SETTLE_GATEWAY_TIE_H
#define SETTLE_GATEWAY_TIE_H

#include <h2o.h>

/* A member of the work, which must not move while it is tied. */
struct tie {
    h2o_req_t *req;    /* NULL: the client has left, or has its answer */
    struct tie **back; /* lies in req's pool; NULL when req is */
};

/* If the client leaves first, t->req turns NULL and the work goes on unanswered. */
void tie_bind(struct tie *t, h2o_req_t *req);
h2o_req_t *
tie_cut(struct tie *t); /* from now on there is no client; returns who that was, NULL if it has left */

#endif
