#include "storm.h"

#include "base/now.h"

#include <stddef.h>
#include <string.h>

enum { PIECES_A_MINUTE = STORM_PIECES / 10 };

#define PIECE_US (MINUTE_US / PIECES_A_MINUTE)
#define FINE_US  (24 * 60 * MINUTE_US)

static void go_on(struct storm *s, int64_t now_us);
static struct storm_count sum_of(const struct storm *s, int64_t npieces);

void storm_add(struct storm *s, int64_t now_us, struct storm_count n)
{
    struct storm_count *piece;

    go_on(s, now_us);
    if (n.verified > 0)
        s->verified_us = now_us;
    piece = &s->pieces[s->piece % STORM_PIECES];
    piece->verified += n.verified;
    piece->refused += n.refused;
}

bool storm_is_on(struct storm *s, int64_t now_us)
{
    bool was_fine = s->verified_us != 0 && now_us - s->verified_us <= FINE_US, busy, quiet;
    struct storm_count minute, ten;

    go_on(s, now_us);
    minute = storm_minute(s);
    ten = storm_ten_minutes(s);
    busy = minute.refused >= STORM_REFUSED_MIN && minute.refused > minute.verified;
    quiet = ten.refused >= STORM_QUIET_REFUSED_MIN && ten.verified == 0;
    s->on = (s->on || was_fine) && (busy || quiet);
    return s->on;
}

struct storm_count storm_minute(const struct storm *s)
{
    return sum_of(s, PIECES_A_MINUTE);
}

struct storm_count storm_ten_minutes(const struct storm *s)
{
    return sum_of(s, STORM_PIECES);
}

static struct storm_count sum_of(const struct storm *s, int64_t npieces)
{
    struct storm_count sum = {0};

    for (int64_t i = s->piece; i > s->piece - npieces && i >= 0; i--) {
        sum.verified += s->pieces[i % STORM_PIECES].verified;
        sum.refused += s->pieces[i % STORM_PIECES].refused;
    }
    return sum;
}

/* Empties the pieces that have begun since. */
static void go_on(struct storm *s, int64_t now_us)
{
    int64_t piece = now_us / PIECE_US;

    if (piece - s->piece >= STORM_PIECES) {
        memset(s->pieces, 0, sizeof(s->pieces));
        s->piece = piece;
    }
    while (s->piece < piece) {
        s->piece++;
        s->pieces[s->piece % STORM_PIECES] = (struct storm_count){0};
    }
}
