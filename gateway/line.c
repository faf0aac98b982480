#include "line.h"

#include "base/now.h"

#include <assert.h>

enum {
    SAMPLE_MS = 20,   /* shorter, a statement more or less would be the most of it */
    MEMORY_MS = 200,  /* of the rate: long against a statement, short against what senders notice */
    FORGET_S = 10,    /* what nobody had to wait for is not known any more: the store may have changed */
    SPREAD_PARTS = 4, /* of the time until its place: so much later the last of those may come */
    KEPT_PARTS = 4,   /* the last of so many is for who has less than his share */
    STILL_S = 1,
};

static double places_of(const struct line *l);
static void let_come_back(struct line *l, int64_t now_us);

bool line_is_full(const struct line *l)
{
    return (double)l->n >= places_of(l) || l->bytes >= l->most_bytes;
}

static double places_of(const struct line *l)
{
    double places = l->rate * (double)l->wait_us / (double)SECOND_US;

    if (!l->known || places > (double)l->most)
        return (double)l->most;
    return places < (double)l->least ? (double)l->least : places;
}

bool line_is_full_for(const struct line *l, const struct line_share *s)
{
    double places = places_of(l), shares = (double)l->nsources + 1;

    if (line_is_full(l))
        return true;
    return ((double)l->n >= places - places / KEPT_PARTS && s->n > 0 && (double)s->n >= places / shares) ||
           (l->bytes >= l->most_bytes - l->most_bytes / KEPT_PARTS &&
            s->bytes >= l->most_bytes / (l->nsources + 1));
}

bool line_stands_still(const struct line *l, int64_t now_us)
{
    return now_us - l->well_us > STILL_S * SECOND_US;
}

void line_enter(struct line *l, struct line_share *of, size_t n, size_t bytes)
{
    assert(n > 0);
    l->nsources += of->n == 0;
    of->n += n;
    of->bytes += bytes;
    l->n += n;
    l->bytes += bytes;
}

void line_leave(struct line *l, struct line_share *of, size_t n, size_t bytes)
{
    assert(of->n >= n && of->bytes >= bytes && l->n >= of->n && l->bytes >= of->bytes);
    of->n -= n;
    of->bytes -= bytes;
    l->n -= n;
    l->bytes -= bytes;
    l->nsources -= of->n == 0;
}

void line_moved(struct line *l, size_t n, int64_t now_us)
{
    l->nmoved += n;
    l->well_us = now_us;
}

void line_turn(struct line *l, enum line_store is, int64_t now_us)
{
    int64_t took_us = now_us - l->since_us;
    double rate;

    if (is == LINE_STORE_IDLE)
        l->well_us = now_us;
    let_come_back(l, now_us);
    if (is != LINE_STORE_AWAITED) {
        l->since_us = 0;
        if (now_us >= l->forget_us) {
            l->known = false;
            l->rate = 0;
            l->naway = 0;
        }
        return;
    }
    l->forget_us = now_us + FORGET_S * SECOND_US;
    if (l->since_us != 0 && took_us < SAMPLE_MS * INT64_C(1000))
        return;
    if (l->since_us != 0 && !l->known && l->nmoved == 0 && took_us < l->wait_us)
        return; /* its first statement may take a while; a store that hangs takes longer */
    if (l->since_us != 0) {
        rate = (double)l->nmoved * (double)SECOND_US / (double)took_us;
        l->rate += (rate - l->rate) *
                   (l->known ? (double)took_us / (double)(took_us + MEMORY_MS * INT64_C(1000)) : 1);
        l->known = true;
    }
    l->since_us = now_us;
    l->nmoved = 0;
}

unsigned line_turn_away(struct line *l, double counts, uint8_t spread, int64_t now_us)
{
    double most = l->rate * LINE_RETRY_MAX_S, naway, wait_s, later_s;

    if (l->rate < 1)
        return 0;
    let_come_back(l, now_us);
    naway = l->naway + 1 < most ? l->naway + 1 : most;
    l->naway = l->naway + counts < most ? l->naway + counts : most;
    wait_s = ((double)l->n + naway) / l->rate;
    later_s = wait_s / SPREAD_PARTS > 1 ? wait_s / SPREAD_PARTS : 1;
    wait_s += later_s * spread / UINT8_MAX;
    return wait_s < LINE_RETRY_MAX_S ? (unsigned)wait_s + 1 : LINE_RETRY_MAX_S;
}

/* They are a number and not a time: told when the store was slow, they are no longer a crowd to one that is fast again. */
static void let_come_back(struct line *l, int64_t now_us)
{
    l->naway -= l->rate * (double)(now_us - l->away_us) / (double)SECOND_US;
    if (l->naway < 0)
        l->naway = 0;
    l->away_us = now_us;
}
