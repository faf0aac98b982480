/*
 * line: those who wait for a store, of whom there may be as many as it takes in the time that they may wait. How many
 * that is, is measured while they wait: a store that has nothing to do shows nothing of what it can do. And when who is
 * turned away should come back: the line of those is only in our mind, and moves as fast.
 * Its last quarter is for sources that have less in it than their share, so that none can take it all.
 * Knows no clock and no store: a turn tells it the time and whether somebody had to wait.
 */
#ifndef SETTLE_GATEWAY_LINE_H
#define SETTLE_GATEWAY_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What one source has in a line. */
struct line_share {
    size_t n, bytes;
};

enum line_store {
    LINE_STORE_IDLE,
    LINE_STORE_AT_WORK, /* and nobody waits for it to be done */
    LINE_STORE_AWAITED
};

struct line {
    /* Set by the owner. */
    size_t least, most, most_bytes; /* places whatever was measured, and at most */
    int64_t wait_us;                /* so long they may wait */
    /* Read freely. */
    size_t n, bytes; /* that wait */
    size_t nsources; /* whose they are */
    bool known;      /* the rate was measured, and not too long ago */
    double rate;     /* that the store takes a second */
    /* The line's own. */
    size_t nmoved;    /* since since_us */
    int64_t since_us; /* somebody has had to wait since; 0: nobody has */
    int64_t well_us;  /* when the store last took any, or had nothing to do */
    int64_t forget_us;
    double naway; /* who were turned away and are not due yet, as of away_us */
    int64_t away_us;
};

enum { LINE_RETRY_MAX_S = 60 };

bool line_is_full(const struct line *l);
/* The same for one source: nearly full is full for whoever has its share. What is left in any case is one more share. */
bool line_is_full_for(const struct line *l, const struct line_share *s);
bool line_stands_still(const struct line *l,
                       int64_t now_us); /* the store had work for a second and took none */
/* Whether it is full or not. */
void line_enter(struct line *l, struct line_share *of, size_t n, size_t bytes);
void line_leave(struct line *l, struct line_share *of, size_t n, size_t bytes);

void line_moved(struct line *l, size_t n, int64_t now_us); /* the store has taken so many */
void line_turn(struct line *l, enum line_store is, int64_t now_us);

/* In how many seconds there will be a place for one more. 0: nobody knows. counts: how likely it is that he comes back, 0 to
 * 1: the next ones stand behind that much of him. spread: any number, by which those who are told at the same time come at
 * different ones. */
unsigned line_turn_away(struct line *l, double counts, uint8_t spread, int64_t now_us);

#endif
