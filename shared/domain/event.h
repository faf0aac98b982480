/*
 * event: what one delivery says, in settle's words. Pure.
 */
#ifndef SETTLE_DOMAIN_EVENT_H
#define SETTLE_DOMAIN_EVENT_H

#include "base/arena.h"
#include "domain/platform.h"
#include "domain/scheme.h"

enum { EVENTS_MAX = 1000, DEDUP_KEY_BYTES = 32 };

struct event {
    struct span post_id; /* absent: names no post (state "unmatched" or, with parse_error, "unparsed") */
    struct span status;  /* in settle's words where the descriptor maps them; absent if none */
    struct span url, reason;
    struct span
        extras; /* JSON object text of the descriptor's other named fields; absent if none was there */
    struct span parse_error; /* absent if it could be read */
    int64_t happened_us;     /* the platform's own time; TIME_NONE if it gives none */
    int decisive;            /* 1 success, -1 failure, 0 unclear */
    struct span
        id; /* its own at the platform, out of the signed bytes; absent if it has none, or not all of it */
    uint8_t dedup_key[DEDUP_KEY_BYTES];
};

/* Reads the request's body by the platform's payload shapes; never fails: what cannot be read becomes one event with
 * parse_error. At least one event, at most EVENTS_MAX (beyond: one event with parse_error for the whole body).
 * All values are in the arena or borrow body.
 * Dedup key: BLAKE2b-256 over length-prefixed platform, source, event id (empty if none), BLAKE2b-256 of the
 * event's own bytes: those of its element in the JSON that body.h makes, where "*" chose one; otherwise the body as
 * sent. */
void events_read(const struct platform *p, struct span source, const struct verified *verified,
                 const struct request *request, struct arena *arena, struct event **ret, size_t *nret);

#endif
