/*
 * answer: how a request ends. The only writer of ingest responses, and of every problem+json (RFC 9457): one
 * table from cause to HTTP status, title and retry advice.
 */
#ifndef SETTLE_GATEWAY_ANSWER_H
#define SETTLE_GATEWAY_ANSWER_H

#include "base/err.h"
#include "base/id.h"
#include "base/span.h"

#include <h2o.h>

/* A row of the table: what a cause means to the client. */
struct answer_kind {
    const char *cause;  /* err.cause, last part of the problem type and log field */
    int code;           /* HTTP */
    const char *title;  /* the same for every occurrence */
    const char *detail; /* NULL: the text of the err is fit for the client */
    bool may_retry;     /* sends Retry-After and closes the connection */
};

/* By err->cause; a cause the table does not know, or none, by err->code. Never NULL. */
const struct answer_kind *answer_kind_of(const struct err *err);

/* problem+json with request_id; extra headers of req->res stay. */
void answer_problem(h2o_req_t *req, const struct id *request_id, const struct err *err);
/* The same with a member "errors", JSON text; absent: without. */
void answer_problem_with(h2o_req_t *req, const struct id *request_id, const struct err *err,
                         struct span errors);

/* There are too many of them. The connection stays, since to open another one costs both sides more than all of this.
 * retry_s 0: not known. */
void answer_crowd(h2o_req_t *req, const struct id *request_id, const struct err *err, unsigned retry_s);
/* 503 overload, of the same kind, and made without much ado. */
void answer_overload(h2o_req_t *req, const struct id *request_id, unsigned retry_s);

/* A body that lives for ever, or in req's pool. content_type: a literal. 204: body must be empty. */
void answer_body(h2o_req_t *req, const struct id *request_id, int code, const char *content_type,
                 struct span body);

/* What stands before each body: status and headers. length SIZE_MAX: not known, it is sent in chunks. content_type: a literal. */
void answer_head(h2o_req_t *req, const struct id *request_id, int code, const char *content_type,
                 size_t length);

const char *answer_reason(int code); /* "Not Found" */

#endif
