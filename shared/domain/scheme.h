/*
 * scheme: is this request really from the platform? Driven by struct scheme alone. Pure.
 * The strict profile of the signature vectors: each used header exactly once, exact lengths, lower-case hex,
 * canonical base64, strict timestamp grammar, constant-time compares, all secrets tried without early exit.
 */
#ifndef SETTLE_DOMAIN_SCHEME_H
#define SETTLE_DOMAIN_SCHEME_H

#include "base/arena.h"
#include "domain/platform.h"

struct header {
    struct span name, value; /* name in lower case */
};

struct verified {
    size_t secret;   /* index of the one that matched */
    struct span id;  /* the signed event id; absent if the scheme has none */
    int64_t time_us; /* the signed time; TIME_NONE if none */
    int64_t
        received_us; /* the clock it was checked by: events_read measures the platform's times against it */
};

/* OK or FORGED (cause "bad_signature"; the text says which rule failed and never shows the right signature).
 * source NULL: an unknown one; does the same work against a throw-away key and says FORGED. */
enum status scheme_verify(const struct platform *p, const struct source *source, const struct header *headers,
                          size_t nheaders, struct span body, int64_t now_wall_us, struct verified *ret,
                          struct err *err) MUST_CHECK;

enum { SIGNED_HEADERS_MAX = 3 };

/* The headers with which the platform would send this body at time_us, in the arena. For send-test and tests.
 * id: what a scheme with an id header signs; absent otherwise. Returns how many. */
size_t scheme_sign(const struct platform *p, struct span secret, struct span id, int64_t time_us,
                   struct span body, struct arena *arena, struct header ret[SIGNED_HEADERS_MAX]);

/* The keyed state of one secret, for struct secret. */
struct evp_mac_ctx_st *scheme_key(enum algorithm algorithm, struct span secret);
void scheme_key_free(struct evp_mac_ctx_st *key); /* NULL is fine */

/* The algorithm, layout or encoding that a descriptor names; false: there is none of that name. */
bool scheme_algorithm(struct span word, enum algorithm *ret);
bool scheme_layout(struct span word, enum layout *ret);
bool scheme_encoding(struct span word, enum encoding *ret);

#endif
