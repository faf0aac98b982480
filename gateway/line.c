#include "line.h"

#include "base/now.h"

#include <assert.h>

enum {
    SAMPLE_MS = 20,   /* shorter, a statement more or less would be the most of it */
    MEMORY_MS = 200,  /* of the rate: long against a statement, short against what senders notice */
    FORGET_S = 10,    /* what nobody had to wait for is not known any more: the store may have changed */
    SPREAD_PARTS = 4, /* of the time until its place: so much later the last of those may come */
};

bool line_is_full(const struct line *l)
{
    double places = l->rate * (double)l->wait_us / (double)SECOND_US;

    if (l->rate == 0 || places > (double)l->most)
        places = (double)l->most;
    if (places < (double)l->least)
        places = (double)l->least;
    return (double)l->n >= places || l->bytes >= l->most_bytes;
}

void line_enter(struct line *l, size_t n, size_t bytes)
{
    l->n += n;
    l->bytes += bytes;
}

void line_leave(struct line *l, size_t n, size_t bytes)
{
    assert(l->n >= n && l->bytes >= bytes);
    l->n -= n;
    l->bytes -= bytes;
}

void line_moved(struct line *l, size_t n, int64_t now_us)
{
    l->nmoved += n;
    l->moved_us = now_us;
}

void line_turn(struct line *l, bool has_waiting, int64_t now_us)
{
    int64_t took_us = now_us - l->since_us;
    double rate;

    if (!has_waiting) {
        l->since_us = 0;
        if (now_us >= l->forget_us)
            l->rate = 0;
        return;
    }
    l->forget_us = now_us + FORGET_S * SECOND_US;
    if (l->since_us != 0 && took_us < SAMPLE_MS * INT64_C(1000))
        return;
    if (l->since_us != 0) {
        rate = (double)l->nmoved * (double)SECOND_US / (double)took_us;
        l->rate += (rate - l->rate) *
                   (l->rate == 0 ? 1 : (double)took_us / (double)(took_us + MEMORY_MS * INT64_C(1000)));
    }
    l->since_us = now_us;
    l->nmoved = 0;
}

unsigned line_turn_away(struct line *l, uint8_t spread, int64_t now_us)
{
    int64_t most_us = now_us + LINE_RETRY_MAX_S * SECOND_US;
    double wait_s, later_s;

    if (l->rate < 1)
        return 0;
    if (l->away_us < now_us)
        l->away_us = now_us;
    l->away_us += (int64_t)((double)SECOND_US / l->rate);
    if (l->away_us > most_us)
        l->away_us = most_us;
    wait_s = (double)l->n / l->rate + (double)(l->away_us - now_us) / (double)SECOND_US;
    later_s = wait_s / SPREAD_PARTS > 1 ? wait_s / SPREAD_PARTS : 1;
    wait_s += later_s * spread / UINT8_MAX;
    return wait_s < LINE_RETRY_MAX_S ? (unsigned)wait_s + 1 : LINE_RETRY_MAX_S;
}
