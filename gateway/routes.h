/*
 * routes: what the admin listener answers, one row each. A new route over the store is a row here and a file in
 * sql/queries; its statement returns at most one row: HTTP status int4, JSON text (or the cause of a refusal), and
 * the cursor of a list's next page, null if there is none (or, of a refusal, what is wrong with which field: a JSON array of
 * objects with field and message). No row is 404. Pure.
 */
#ifndef SETTLE_GATEWAY_ROUTES_H
#define SETTLE_GATEWAY_ROUTES_H

#include "params.h"

#include "domain/apikey.h"
#include "sql.h"

struct route {
    const char *method; /* GET stands for HEAD too */
    const char *path;   /* "{...}" is a piece of any text that fits the next FROM_PATH row of params */
    enum {
        ROUTE_READ,
        ROUTE_WRITE,
        ROUTE_EXPORT, /* reads page by page (api.c) */
        ROUTE_RECONCILE,
        ROUTE_OVERRIDE,
        ROUTE_REPLAY,
        ROUTE_DESCRIBE,
        ROUTE_CONFIG
    } kind;
    enum apikey_scope scope; /* what a key must be allowed; ADMIN may all */
    enum sql sql;            /* of READ and WRITE; its parameters are the values of params in their order.
                                Of OVERRIDE: whether the caller may. Of EXPORT they are followed by rows int8 and where the
                                page begins, date, user_id_str, platform text; for status and cursor it returns status,
                                CSV text, and where the next page begins */
    const char *only_with;   /* what must be in the query, a PARAM_ROUTE and its word; NULL: none */
    const char *location;    /* of what a 201 has made: this and its id, the first value */
    const struct param *params;
    size_t nparams;
    size_t body_max;    /* bytes; 0: BODY_MAX */
    const char *unseen; /* the cause when what is in the way cannot be seen: a status 0 stays, to a
                           tenant, or a unique key says so. NULL: it is our fault */
};

enum { BODY_MAX = 64 * 1024, COSTS_BODY_MAX = 512 * 1024 };

extern const struct route routes[];
extern const size_t nroutes;

/* The row for a request; NULL if there is none: then *ret_allowed is what the path allows ("GET, HEAD"), NULL if
 * there is no such path. */
const struct route *route_find(struct span method, struct span path, struct span query,
                               struct span ret_values[PATH_VALUES_MAX], const char **ret_allowed);

/* How long the body of a request for this path may be. */
size_t route_body_max(struct span method, struct span path);

bool route_takes_secret(const struct route *r); /* its request is to be wiped */

/* The first values of POST /publishing/logs. */
enum {
    REGISTER_ID,
    REGISTER_SOURCE,
    REGISTER_PLATFORM,
    REGISTER_USER,
};

/* The values of POST /publishing/reconcile. */
enum {
    RECONCILE_SINCE_MINUTES,
    RECONCILE_PLATFORM,
    RECONCILE_DRY_RUN,
    RECONCILE_FORCE,
    RECONCILE_RUN_ID,
    RECONCILE_ACTOR,
    RECONCILE_PREFER,
};

/* The values of POST /publishing/logs/{id}/override. */
enum {
    OVERRIDE_LOG_ID,
    OVERRIDE_STATUS,
    OVERRIDE_REASON,
    OVERRIDE_RUN_ID,
    OVERRIDE_ACTOR,
};

/* The values of POST /publishing/receipts/{id}/replay. */
enum {
    REPLAY_RECEIPT,
    REPLAY_DRY_RUN,
    REPLAY_RUN_ID,
    REPLAY_ACTOR,
};

#endif
