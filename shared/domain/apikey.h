/*
 * apikey: the keys of the API. A key is "settle_ID_SECRETCHECK": ID of 16, SECRET of 64, CHECK of 8 hex digits in lower case.
 * CHECK is the first four bytes of the BLAKE2b-256 of all that stands before it: a mistyped key is told without a look at
 * the store, and whoever scans texts for leaked keys can tell one from other hex. SECRET is 256 random bits, so that what is
 * stored needs no slow hash: the BLAKE2b-256 of the whole key. Pure but for the randomness of apikey_make.
 */
#ifndef SETTLE_DOMAIN_APIKEY_H
#define SETTLE_DOMAIN_APIKEY_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    APIKEY_CHARS = 7 + 16 + 1 + 64 + 8,
    APIKEY_ID_CHARS = 16,
    APIKEY_HASH_BYTES = 32,
};

/* What a key may do; a set is an or of them. Each stands by itself, but ADMIN may all, over all tenants. */
enum apikey_scope {
    SCOPE_READ = 1,      /* GET */
    SCOPE_WRITE = 2,     /* register, claim, results, connections */
    SCOPE_RECONCILE = 4, /* repairs of the tenant's own state */
    SCOPE_ADMIN = 8,
};
enum { SCOPES = 4 };

/* What a key's text shows of it. */
struct apikey {
    struct span id; /* borrows the text */
    uint8_t hash[APIKEY_HASH_BYTES];
};

/* Random. ret is the caller's to wipe; not ended by a NUL. */
void apikey_make(char ret[APIKEY_CHARS]);

/* False: no key, or its check does not hold. */
bool apikey_read(struct span text, struct apikey *ret);

/* In constant time. stored absent (there is no such key): false, after the same work. */
bool apikey_fits(const struct apikey *key, struct span stored);

/* Words split by blanks or commas: "read write". 0: a word is none, or there is none. */
unsigned apikey_scopes(struct span words);

/* The words of a set, split by blanks, in the enum's order. */
enum { SCOPES_TEXT_BYTES = 32 };
void apikey_scopes_text(unsigned scopes, char ret[SCOPES_TEXT_BYTES]);

/* Where Redis keeps the time of a key's last use, as text in us since 1970; the id follows. */
#define APIKEY_USED_PREFIX "settle:key:used:"

#endif
