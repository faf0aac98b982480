/*
 * handshake: how a platform asks whether the endpoint is ours, and what it wants to hear. Driven by the
 * descriptor's rows alone, answered from memory. Pure.
 *
 * The answer to a signing handshake is a MAC of the caller's text under the key that also signs events, so only
 * texts that can be no event are signed: at most 256 of [A-Za-z0-9._~-], for X of base64's as well, or a UUID; and bodies that could be one are refused
 * (wants_container).
 */
#ifndef SETTLE_DOMAIN_HANDSHAKE_H
#define SETTLE_DOMAIN_HANDSHAKE_H

#include "base/arena.h"
#include "domain/platform.h"
#include "domain/scheme.h"

struct handshake_answer {
    int status;               /* HTTP */
    bool good;                /* false: refused */
    bool is_signed;           /* good, and a MAC of the caller's text is in it */
    const char *content_type; /* "text/plain", "application/json"; NULL: no body */
    struct span body;         /* in the arena, or borrowed from what was asked */
    const char *why; /* which rule failed; NULL if good. Nothing of what was sent, no secret: for the log */
};

/* May c stand in a text that is echoed or signed? (Of a UUID: among others.) */
bool handshake_takes(enum value_form form, char c);

/* The URL by which the hub knows a topic of a source: itself if it is one, else the descriptor's with it put in. */
struct span handshake_topic_url(const struct platform *p, struct span topic, struct arena *arena);

/* Does p have any handshake by GET? */
bool handshake_by_get(const struct platform *p);

/* query: as sent, without "?"; absent: none. source NULL: unknown, refused as any wrong token is, after the same work
 * (but for topics, which are the source's own). Always answers. */
void handshake_get(const struct platform *p, const struct source *source, struct span query,
                   int64_t now_wall_us, struct arena *arena, struct handshake_answer *ret);

/* Of a request that scheme_verify has found good, by the secret of that index. False: it is none, but a delivery. */
bool handshake_post(const struct platform *p, const struct source *source, size_t secret,
                    const struct request *r, struct arena *arena, struct handshake_answer *ret);

#endif
