/*
 * callers: who asks the API. What a key has proved, as whom Postgres is asked for it, how often it may ask, and when it was
 * last used: that goes to Redis and the log once a minute, because a GET writes nothing to Postgres. And from where keys
 * come that are none: whoever guesses costs a look-up each time, and may do so only so often.
 */
#ifndef SETTLE_GATEWAY_CALLERS_H
#define SETTLE_GATEWAY_CALLERS_H

#include "base/arena.h"
#include "base/err.h"
#include "base/span.h"
#include "domain/apikey.h"
#include "store/pg.h"
#include "store/redis.h"

struct caller {
    struct span key_id; /* absent: there are no keys */
    struct span tenant; /* whose rows alone are seen; absent: an operator */
    struct span actor;  /* for the record: key:ID or local */
    unsigned scopes;
    uint64_t
        holder; /* of what all have to share: one a tenant, and one an operator's key. 0: whoever needs no key */
    uint8_t hash[APIKEY_HASH_BYTES]; /* of the key */
};

/* Whoever reaches a listener without keys, and this process itself. */
extern const struct caller caller_operator;

/* The key of an Authorization header (RFC 6750, 2.1), which key borrows. INVALID, "unauthorized". */
enum status caller_read(struct span authorization, struct apikey *key, struct err *err) MUST_CHECK;

/* rows: of key_find. Copies into the arena. INVALID "unauthorized": there is no such key, it is another, it has ended. */
enum status caller_prove(struct caller *ret, const struct apikey *key, const struct pg_rows *rows,
                         struct arena *arena, struct err *err) MUST_CHECK;

/* In front of a statement: the transaction goes on as the caller. */
void caller_enter(const struct caller *c, struct pg *pg, struct arena *arena);

struct callers;

struct callers_limits {
    unsigned requests_per_minute;   /* of one key */
    unsigned wrong_keys_per_minute; /* of one address */
};
struct callers *callers_open(const struct callers_limits *limits);
void callers_close(struct callers *callers); /* NULL is fine */

/* Whether a key from there may be looked up. False: too many came that were none, and this one is not one that has been good
 * lately, so who calls from the same address goes on. from: peers_address. */
bool callers_may_ask(struct callers *callers, const struct apikey *key, uint64_t from, int64_t boot_us);
/* It was looked up, and is none. True: with it the address has used up what it may. */
bool callers_refuse(struct callers *callers, const struct apikey *key, uint64_t from, int64_t boot_us);

/* Counts one request of a key that is good. False: it has asked too often. redis NULL: none, or down. */
bool callers_count(struct callers *callers, const struct caller *c, int64_t boot_us, int64_t wall_us,
                   struct redis *redis);

#endif
