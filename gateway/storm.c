#include "storm.h"

#include "base/now.h"

#include <string.h>

#define PIECE_US (MINUTE_US / STORM_PIECES)
#define FINE_US  (60 * MINUTE_US)

static void go_on(struct storm *s, int64_t now_us);

void storm_count(struct storm *s, int64_t now_us, bool verified)
{
    go_on(s, now_us);
    if (verified)
        s->verified_us = now_us;
    (verified ? s->verified : s->refused)[s->piece % STORM_PIECES]++;
}

bool storm_is_on(struct storm *s, int64_t now_us)
{
    bool was_fine = s->verified_us != 0 && now_us - s->verified_us <= FINE_US;
    struct storm_minute last;

    go_on(s, now_us);
    last = storm_minute(s);
    s->on = (s->on || was_fine) && last.refused >= STORM_REFUSED_MIN && last.refused > last.verified;
    return s->on;
}

struct storm_minute storm_minute(const struct storm *s)
{
    struct storm_minute sum = {0};

    for (size_t i = 0; i < STORM_PIECES; i++) {
        sum.verified += s->verified[i];
        sum.refused += s->refused[i];
    }
    return sum;
}

/* Empties the pieces that have begun since. */
static void go_on(struct storm *s, int64_t now_us)
{
    int64_t piece = now_us / PIECE_US;

    if (piece - s->piece >= STORM_PIECES) {
        memset(s->verified, 0, sizeof(s->verified));
        memset(s->refused, 0, sizeof(s->refused));
        s->piece = piece;
    }
    while (s->piece < piece) {
        s->piece++;
        s->verified[s->piece % STORM_PIECES] = s->refused[s->piece % STORM_PIECES] = 0;
    }
}
