/*
 * span: bytes that belong to somebody else. A span borrows: it never frees and has no end mark.
 * A span whose `at` is NULL means "absent" (SQL null); an empty one has len 0 and an `at`.
 */
#ifndef SETTLE_BASE_SPAN_H
#define SETTLE_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

struct span {
    const char *at;
    size_t len;
};

#define SPAN(literal) ((struct span){(literal), sizeof(literal) - 1})
#define SPAN_NONE     ((struct span){NULL, 0})

/* For printf's "%.*s". */
#define SPAN_ARG(s) (int)(s).len, (s).at

static inline struct span span_of(const char *text)
{
    return text ? (struct span){text, strlen(text)} : SPAN_NONE;
}

static inline bool span_eq(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

/* Order by bytes, a prefix first: negative, zero or positive. */
static inline int span_compare(struct span a, struct span b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    int order = shorter ? memcmp(a.at, b.at, shorter) : 0;

    return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* Compares ASCII letters without case: for header names. */
static inline bool span_eq_nocase(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || strncasecmp(a.at, b.at, a.len) == 0);
}

static inline bool span_starts(struct span s, struct span prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.at, prefix.at, prefix.len) == 0);
}

static inline struct span span_skip(struct span s, size_t n)
{
    return (struct span){s.at + n, s.len - n};
}

/* Cuts s at the first `mark`: returns what is before it and leaves what is behind it in *s.
 * Without a mark the whole is returned and *s becomes absent. */
static inline struct span span_cut(struct span *s, char mark)
{
    const char *end = s->len ? memchr(s->at, mark, s->len) : NULL;
    struct span head = *s;

    if (end) {
        head.len = (size_t)(end - s->at);
        *s = span_skip(*s, head.len + 1);
    } else {
        *s = SPAN_NONE;
    }
    return head;
}

#endif
