/*
 * quota: how much of one source may still be kept: so many a second, and so many bytes in any stretch of time. Pure.
 */
#ifndef SETTLE_GATEWAY_QUOTA_H
#define SETTLE_GATEWAY_QUOTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    QUOTA_PIECES = 25
}; /* the stretch is 24 of them: what the oldest held is free again only behind its end */

struct quota_limits {
    double per_second; /* and so many at once, but at least one */
    size_t bytes;      /* in any stretch of keep_us */
    int64_t keep_us;
};

/* All zero at first. */
struct quota {
    double tokens;
    int64_t filled_us; /* 0: never */
    int64_t piece;     /* the number of the newest */
    size_t bytes[QUOTA_PIECES];
};

/* False: one of that many bytes is more than there may be now, and nothing is taken. now_us: boot time. */
bool quota_take(struct quota *q, const struct quota_limits *limits, int64_t now_us, size_t bytes);

#endif
