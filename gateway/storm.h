/*
 * storm: has a source that was fine begun to fail? One source's requests of the last minutes, counted now and then. Pure.
 */
#ifndef SETTLE_GATEWAY_STORM_H
#define SETTLE_GATEWAY_STORM_H

#include <stdbool.h>
#include <stdint.h>

enum { STORM_PIECES = 120, STORM_REFUSED_MIN = 10, STORM_QUIET_REFUSED_MIN = 5 };

/* Of requests. */
struct storm_count {
    uint64_t verified, refused;
};

/* All zero at first. Times are boot time. */
struct storm {
    int64_t verified_us; /* of the last request that verified; 0: none */
    int64_t piece;       /* the number of the newest piece of ten minutes */
    struct storm_count pieces[STORM_PIECES];
    bool on;
};

/* So many were verified, and refused, since the call before. */
void storm_add(struct storm *s, int64_t now_us, struct storm_count n);

/* It begins when of a source that verified a request in the last day
 *   - at least STORM_REFUSED_MIN requests of the last minute, and more than half, did not, or, of a quiet one,
 *   - at least STORM_QUIET_REFUSED_MIN of the last ten minutes, and all, did not;
 * it lasts as long as one of these holds, the day aside. */
bool storm_is_on(struct storm *s, int64_t now_us);

/* Of the last minute, and of the last ten, as of the last call of the others. */
struct storm_count storm_minute(const struct storm *s);
struct storm_count storm_ten_minutes(const struct storm *s);

#endif
