/*
 * shape: what an element of JSON says of a post, by a descriptor's struct payload: an event and a poll's answer are read
 * the same way. Pure.
 */
#ifndef SETTLE_DOMAIN_SHAPE_H
#define SETTLE_DOMAIN_SHAPE_H

#include "domain/extract.h"
#include "domain/platform.h"
#include "domain/scheme.h"

/* What a receipt has room for. A longer post id cannot be matched; a longer status or reason is cut; a longer URL or
 * extra would be wrong when cut and is left out. */
enum { POST_BYTES = 255, STATUS_BYTES = 100, REASON_BYTES = 1000, URL_BYTES = 2048, EXTRA_BYTES = 2048 };

struct said {
    struct span word;   /* the status in settle's words where the shape maps them; absent if none */
    struct span status; /* the same, cut to what is stored */
    struct span url, reason;
    struct span extras;  /* JSON object text; absent if none was there */
    int64_t happened_us; /* TIME_NONE if not given, before 2000 or later than a day from now */
};

/* Where extras that are headers come from. */
struct shape_headers {
    const struct header *headers;
    size_t nheaders;
};

/* For the elements chosen at present. All is in x's arena or borrows its body. */
bool shape_holds(struct extract *x, const struct condition *c); /* without a pointer it always does */
void shape_read(struct extract *x, const struct payload *p, const struct shape_headers *headers,
                int64_t now_us, struct said *ret);

/* The text of a scalar; absent if there is none, or none that Postgres takes. One longer than `most` may be cut, but
 * shows that it is longer. */
struct span shape_text(struct extract *x, const struct pointer *p, size_t most);
bool shape_is_given(struct place at); /* null and "" are ways of saying nothing */
/* At most that many bytes, without half a character at the end. */
struct span shape_cut(struct span text, size_t most);

#endif
