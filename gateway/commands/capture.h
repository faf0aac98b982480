/*
 * capture: a raw HTTP/1 request as a file holds it: request line, headers, a blank line, the exact body. Lines of the
 * head end in LF or CRLF. For people who look into one request; the gateway itself reads none of this. Pure.
 */
#ifndef SETTLE_GATEWAY_CAPTURE_H
#define SETTLE_GATEWAY_CAPTURE_H

#include "base/arena.h"
#include "base/err.h"
#include "domain/scheme.h"

enum { CAPTURE_BYTES_MAX = 5 * 1024 * 1024, CAPTURE_HEADERS_MAX = 100 };

struct capture {
    struct span method, path, query; /* query without "?"; absent if there is none */
    struct header *headers;          /* names in lower case, values without blanks around them */
    size_t nheaders;
    struct span body; /* all behind the blank line; empty if there is nothing */
    bool has_length;  /* there is a Content-Length, and it is a number */
    uint64_t length;
};

/* Borrows text; the rest is in the arena. INVALID names the line and what is wrong with it. */
enum status capture_read(struct span text, struct arena *arena, struct capture *ret,
                         struct err *err) MUST_CHECK;

#endif
