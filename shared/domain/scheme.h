/*
 * scheme: is this request really from the platform? Driven by struct scheme alone. Pure.
 * The strict profile of the signature vectors: each used header exactly once, exact lengths, lower-case hex,
 * canonical base64, strict timestamp grammar, constant-time compares, all secrets tried without early exit.
 */
#ifndef SETTLE_DOMAIN_SCHEME_H
#define SETTLE_DOMAIN_SCHEME_H

#include "base/arena.h"
#include "domain/key.h"
#include "domain/platform.h"

struct header {
    struct span name, value; /* name in lower case */
};

/* A request as it came, or as it was kept. */
struct request {
    const struct header *headers; /* in the order of arrival, repeated ones as well */
    size_t nheaders;
    struct span body;
    struct span url;     /* the absolute URL that the sender called; absent unless the scheme needs it */
    int64_t received_us; /* wall: the clock that times are judged by */
};

/* Why a signature is refused; scheme_refusal_word has their names, as in metrics. */
enum refusal {
    REFUSAL_NONE,
    REFUSAL_HEADER_MISSING,
    REFUSAL_HEADER_TWICE,
    REFUSAL_MALFORMED,
    REFUSAL_TIME_MALFORMED,
    REFUSAL_TOO_OLD,
    REFUSAL_IN_FUTURE,
    REFUSAL_BAD_ID,
    REFUSAL_BAD_BODY, /* not covered by the signature: no digest of it in the URL, or another's */
    REFUSAL_NO_MATCH,
    REFUSAL_NO_SECRET, /* none of the source's is in force at that time */
    NREFUSALS
};

struct verified {
    enum refusal refusal;
    size_t secret;   /* index of the one that matched */
    struct span id;  /* the signed event id; absent if the scheme has none */
    int64_t time_us; /* the signed time; TIME_NONE if none */
};

/* OK or FORGED (cause: the refusal's word; the text says which rule failed and never shows the right signature).
 * source NULL: an unknown one; does the same work against a throw-away key and says FORGED. */
enum status scheme_verify(const struct platform *p, const struct source *source, const struct request *r,
                          struct verified *ret, struct err *err) MUST_CHECK;

/* "header_missing", "too_old", ...; "none" for REFUSAL_NONE. */
const char *scheme_refusal_word(enum refusal refusal);

enum { CANDIDATES_MAX = OFFERED_MAX }; /* all of them may be of one kind */

/* What a request claims, before anything of it is believed. The steps of scheme_verify, for who shows them one by
 * one; each returns the refusal and, through wrong, why. */
struct claim {
    struct {
        struct span value; /* encoded, without its prefix */
        size_t proof;
    } candidates[CANDIDATES_MAX]; /* any may match */
    size_t ncandidates;
    struct span time, id; /* as sent; absent if the scheme has none */
    struct span form;     /* what PART_FORM stands for */
};
enum refusal scheme_read(const struct scheme *s, const struct request *r, struct arena *arena,
                         struct claim *ret, const char **wrong);
enum refusal scheme_check(const struct scheme *s, const struct claim *claim, const struct request *r,
                          int64_t *ret_time_us, const char **wrong);
enum refusal scheme_match(const struct platform *p, const struct source *source, const struct claim *claim,
                          const struct request *r, size_t *ret_secret, const char **wrong);

enum { SIGNED_HEADERS_MAX = 3 };

/* The headers with which the platform would send this body at time_us, in the arena. For send-test and tests.
 * secret: as an operator gives it; of Ed25519 the seed of the private key, written as the public key is, prefix
 * included. id: what a scheme with an id header sends; url: what a scheme with {url} signs; absent otherwise.
 * INVALID: it is no such secret. */
enum status scheme_sign(const struct platform *p, struct span secret, struct span id, int64_t time_us,
                        struct span url, struct span body, struct arena *arena,
                        struct header ret[SIGNED_HEADERS_MAX], size_t *nret, struct err *err) MUST_CHECK;

/* As descriptors call it. */
const char *scheme_algorithm_name(enum algorithm algorithm);

#endif
