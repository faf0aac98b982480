/*
 * line: those who wait for a store, of whom there may be as many as it takes in the time that they may wait. How many
 * that is, is measured while they wait: a store that has nothing to do shows nothing of what it can do. And when who is
 * turned away should come back: the line of those is only in our mind, and moves as fast.
 * Knows no clock and no store: a turn tells it the time and whether somebody had to wait.
 */
#ifndef SETTLE_GATEWAY_LINE_H
#define SETTLE_GATEWAY_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct line {
    /* Set by the owner. */
    size_t least, most, most_bytes; /* places whatever was measured, and at most */
    int64_t wait_us;                /* so long they may wait */
    /* Read freely. */
    size_t n, bytes;  /* that wait */
    double rate;      /* that the store takes a second; 0: not known */
    int64_t moved_us; /* when it last took any; 0: never */
    /* The line's own. */
    size_t nmoved;    /* since since_us */
    int64_t since_us; /* somebody has had to wait since; 0: nobody has */
    int64_t forget_us;
    int64_t away_us; /* when whoever was turned away last should be back */
};

enum { LINE_RETRY_MAX_S = 60 };

bool line_is_full(const struct line *l);
void line_enter(struct line *l, size_t n, size_t bytes); /* whether it is full or not */
void line_leave(struct line *l, size_t n, size_t bytes);

void line_moved(struct line *l, size_t n, int64_t now_us); /* the store has taken so many */
void line_turn(struct line *l, bool has_waiting, int64_t now_us);

/* One more is turned away: in how many seconds there will be a place for it. 0: nobody knows. spread: any number, by which
 * those who are told at the same time come at different ones. */
unsigned line_turn_away(struct line *l, uint8_t spread, int64_t now_us);

#endif
