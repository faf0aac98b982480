/*
 * admit: how often a source may be asked for what anybody can ask for. A bucket of tokens for each kind, platform and
 * source, in this worker alone: with several workers a source may have as much from each. Of a source that is not ours
 * the caller passes no name: all of those share one bucket a kind and platform.
 * What has a bucket of its own cannot be used up by what strangers send in another kind.
 */
#ifndef SETTLE_GATEWAY_ADMIT_H
#define SETTLE_GATEWAY_ADMIT_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

enum admit_kind {
    ADMIT_REFUSED,   /* a handshake that does not hold */
    ADMIT_SIGNED,    /* one that makes us sign */
    ADMIT_CONFIRMED, /* log lines of subscriptions: a good echo costs nothing, its line does */
    ADMIT_DENIED
};
enum { ADMIT_BUCKETS_MAX = 4096 };

struct admit_rate {
    double a_second, at_once;
};
struct admit_rate admit_rate(enum admit_kind kind);

struct admit;

struct admit *admit_open(void);
void admit_close(struct admit *a); /* NULL is fine */

/* True: one token was taken. source absent: an unknown one. Names outlive a reload of the set, so buckets do too. */
bool admit_take(struct admit *a, enum admit_kind kind, struct span platform, struct span source,
                int64_t now_boot_us);

#endif
