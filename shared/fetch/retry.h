/*
 * retry: when a request that failed is worth another try, and how long to wait before it. Pure.
 *
 * Three tries; a second, then two between them (or as set), give or take a tenth, at most a minute. A server that says when (Retry-After) is
 * obeyed if that is not beyond a minute; else it is asked no more. What the same again cannot mend (401, 403, any other 4xx,
 * a redirect, a certificate, an address) is not tried again.
 */
#ifndef SETTLE_FETCH_RETRY_H
#define SETTLE_FETCH_RETRY_H

#include "fetch/fetch.h"

enum { RETRY_TRIES = 3, RETRY_CAP_MS = 60000 };

/* Is answer's try (number answer->attempt) to be followed by another? first_ms: the first wait, before its tenth;
 * random: any 32 bits, for the tenth. */
bool retry_again(const struct fetch_answer *answer, unsigned first_ms, uint32_t random,
                 unsigned *ret_backoff_ms);

/* The value of a Retry-After header: seconds, or the time until an HTTP date (0 if that has passed); at most
 * FETCH_RETRY_AFTER_MAX_S. FETCH_NO_RETRY_AFTER: neither. */
int retry_after_parse(struct span value, int64_t wall_us);

#endif
