/*
 * hints: what probably went wrong with a request that is refused, found by trying. Of a secret they hold no more than
 * its key id, and never a right signature. Pure.
 */
#ifndef SETTLE_GATEWAY_HINTS_H
#define SETTLE_GATEWAY_HINTS_H

#include "capture.h"

enum { HINTS_MAX = 32 };

struct hints {
    struct arena *arena; /* the texts' */
    const char *texts[HINTS_MAX];
    size_t n;
};

/* Beyond HINTS_MAX nothing is added. */
void hints_add(struct hints *h, const char *format, ...) PRINTF_LIKE(2, 3);

/* Of a captured file: is the body what was sent? max_body_bytes: what the gateway takes of the platform. */
void hints_on_capture(struct hints *h, const struct capture *c, size_t max_body_bytes);

/* A refused request, and how far it was read. */
struct doubt {
    const struct platform *platform;
    const struct source *source;
    const struct request *request;
    const struct claim *claim;
    int64_t time_us; /* TIME_NONE: none was read */
    enum refusal refusal;
};
void hints_on_refusal(struct hints *h, const struct doubt *d);

/* The body without LF or CRLF at its end. */
struct span hints_without_end(struct span body);

#endif
