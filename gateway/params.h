/*
 * params: what a route takes from a request, as a table: where each value stands, its type, range and default.
 * All are read in one go, so that the answer names every one that is wrong. Pure.
 */
#ifndef SETTLE_GATEWAY_PARAMS_H
#define SETTLE_GATEWAY_PARAMS_H

#include "base/arena.h"
#include "base/doc.h"
#include "base/err.h"
#include "base/id.h"
#include "base/span.h"
#include "domain/platform.h"
#include "domain/seal.h"
#include "store/pgarg.h"

enum param_from { FROM_PATH, FROM_QUERY, FROM_BODY, FROM_HEADER, FROM_SERVER };

enum param_type {
    PARAM_TEXT, /* UTF-8 without control characters, min to max bytes */
    PARAM_TENANT, /* a text that names a tenant, in its one form: who is held to one may leave it out, and name no other */
    PARAM_WORD,   /* the same, of a-z 0-9 . _ - only: names of platforms and sources */
    PARAM_CHOICE, /* one of words */
    PARAM_INT,    /* min to max, both at least 0 */
    PARAM_BOOL,   /* true or false */
    PARAM_UUID,
    PARAM_KEY,  /* 64 hex digits: a dedup key */
    PARAM_TIME, /* RFC 3339 with a zone */
    PARAM_DATE, /* YYYY-MM-DD */
    PARAM_AMOUNT, /* a decimal of at most max digits before the point and min behind it, as a text or a number; kept as the text
                     that it is, so that no float ever rounds it */
    PARAM_SECRET, /* min to max of visible ASCII; sealed for the place that the values before it name, so that two values
                     come of it: what is sealed, and the key's id */
    PARAM_OBJECT, /* of JSON */
    PARAM_LIST, /* FROM_BODY: min to max objects, whose members `of` tells; as many values as it has rows, each of them an
                     array */
    PARAM_CURSOR,    /* where a page begins; several values, whose types words names: "time key", "id text" */
    PARAM_WHOLE,     /* the body as it came; FROM_BODY */
    PARAM_NEW_ID,    /* FROM_SERVER */
    PARAM_ACTOR,     /* FROM_SERVER: who asks */
    PARAM_WORDS,     /* FROM_SERVER: the statuses that decide on the platform that the first value names */
    PARAM_COST_DAYS, /* FROM_SERVER: retention.cost_days */
    PARAM_ROUTE,     /* one of words; has chosen the route and is no value */
};

struct param {
    const char *name; /* of a header in lower case */
    enum param_from from;
    enum param_type type;
    int64_t min, max;
    const char *words;    /* split at blanks */
    const char *standard; /* the default, as a query would spell it; NULL: absent, SQL null */
    bool required;
    const struct param *of; /* of a list */
    size_t nof;
};

struct param_value {
    enum param_type type;     /* of a cursor's part: of that part */
    bool given;               /* or has a default */
    struct span text;         /* TEXT, WORD, CHOICE, OBJECT, WHOLE, ACTOR, WORDS; bytes of a KEY or SECRET */
    int64_t number;           /* INT, BOOL, TIME in us */
    struct id id;             /* UUID, NEW_ID */
    struct param_value *each; /* LIST: one value of each object, all of one type */
    size_t neach;
};

struct field_error {
    struct span field;
    const char *message;
};

enum { PARAM_ERRORS_MAX = 100 };

/* What was read: one value a parameter in the table's order, a cursor as many as its words, a list as its objects' rows. */
struct params {
    struct param_value values[PG_ARGS_MAX];
    size_t nvalues;
    struct field_error errors[PARAM_ERRORS_MAX];
    size_t nerrors;
};

enum { PATH_VALUES_MAX = 2 };

struct param_input {
    struct span path[PATH_VALUES_MAX];                  /* in the order of the table's FROM_PATH rows */
    struct span query;                                  /* without "?", absent if there is none */
    struct span body;                                   /* absent: the route takes none */
    struct span (*header)(void *ctx, const char *name); /* absent if not sent */
    void *ctx;
    struct span actor;
    struct span tenant; /* whom the caller is held to; absent: to none */
    int64_t wall_us;
    unsigned cost_days;
    const struct seal_keys *keys; /* NULL: no secret can be taken */
    /* Whose words WORDS are: those that the process began with; NULL: none is known. */
    const struct platforms *platforms;
};

/* Values are in the arena or borrow the input. INVALID: "malformed_json", "not_found" for a value of the path that
 * cannot be, "invalid_parameter" with ret->errors filled, "other_tenant"; BROKEN, "no_seal_key": a secret came and there is no key. A secret
 * may be left in the input's body and in the arena: the caller wipes both. */
enum status params_read(struct params *ret, const struct param *table, size_t ntable,
                        const struct param_input *input, struct arena *arena, struct err *err) MUST_CHECK;

/* The values as $1, $2, ... */
void params_bind(const struct params *p, struct pg_args *args);

/* Does a path's piece have this type? Tells routes of one template apart. */
bool param_fits(const struct param *p, struct span text);

/* Does the query hold this pair, "name=value", written so? */
bool query_holds(struct span query, const char *pair);

/* The query without `name`, each byte fit to stand in a header's URI reference; in the arena. */
struct span query_without(struct span query, const char *name, struct arena *arena);

#endif
