/*
 * storm: has a source that was fine begun to fail? A worker's count of one source's requests in the last minute. Pure.
 */
#ifndef SETTLE_GATEWAY_STORM_H
#define SETTLE_GATEWAY_STORM_H

#include <stdbool.h>
#include <stdint.h>

enum { STORM_PIECES = 12, STORM_REFUSED_MIN = 10 };

/* All zero at first. Times are boot time. */
struct storm {
    int64_t verified_us; /* of the last request that verified; 0: none */
    int64_t piece;       /* the number of the newest piece of the minute */
    uint32_t verified[STORM_PIECES], refused[STORM_PIECES];
    bool on;
};

void storm_count(struct storm *s, int64_t now_us, bool verified);

/* It begins when of a source that verified a request in the last hour at least STORM_REFUSED_MIN requests of the last
 * minute, and more than half, did not; it lasts as long as that is so of the last minute, the hour aside. */
bool storm_is_on(struct storm *s, int64_t now_us);

struct storm_minute {
    uint64_t verified, refused;
};
struct storm_minute storm_minute(const struct storm *s); /* as of the last call of the others */

#endif
