/*
 * utf8: what one character is, by the table of RFC 3629, 4: no overlong forms, no surrogates, none above U+10FFFF.
 */
#ifndef SETTLE_BASE_UTF8_H
#define SETTLE_BASE_UTF8_H

#include "base/span.h"

/* Bytes of the character that s, which is not empty, begins with; 0 if it is none. */
static inline size_t utf8_length(struct span s)
{
    const unsigned char *at = (const unsigned char *)s.at;
    size_t len = at[0] < 0x80 ? 1 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    unsigned char low = at[0] == 0xe0 ? 0xa0 : at[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char high = at[0] == 0xed ? 0x9f : at[0] == 0xf4 ? 0x8f : 0xbf;

    if (len == 1)
        return 1;
    if (at[0] < 0xc2 || at[0] > 0xf4 || s.len < len || at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

static inline bool utf8_valid(struct span s)
{
    while (s.len > 0) {
        size_t len = utf8_length(s);
        if (len == 0)
            return false;
        s = span_skip(s, len);
    }
    return true;
}

/* UTF-8 without control characters: what a person may write into a name. */
static inline bool utf8_printable(struct span s)
{
    while (s.len > 0) {
        size_t len = utf8_length(s);
        unsigned char first = (unsigned char)s.at[0];

        if (len == 0 || first < 0x20 || first == 0x7f)
            return false;
        s = span_skip(s, len);
    }
    return true;
}

/* Such a name of 1 to most bytes. */
static inline bool utf8_names(struct span s, size_t most)
{
    return s.len > 0 && s.len <= most && utf8_printable(s);
}

/* A name of a tenant: its one form has no blank at either end. */
static inline bool utf8_names_tenant(struct span s, size_t most)
{
    return utf8_names(s, most) && s.at[0] != ' ' && s.at[s.len - 1] != ' ';
}

#endif
