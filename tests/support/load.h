/*
 * load: senders that post one signed webhook after the other; what they were told is in a ledger, which is held against
 * the table at the end.
 */
#ifndef SETTLE_TESTS_SUPPORT_LOAD_H
#define SETTLE_TESTS_SUPPORT_LOAD_H

#include "support/world.h"

struct load;

struct load_count {
    unsigned acked;   /* 200 */
    unsigned refused; /* 503 with Retry-After */
    unsigned unknown; /* cut before an answer, and sent again */
    unsigned wrong;   /* any other answer, and none for twenty seconds */
    unsigned unheard; /* nobody listened: tried again */
    /* Of those acknowledged and refused, see load_struck: */
    unsigned of_fault, of_fault_late, of_fault_refused;
};

/* Starts n senders, each on a connection of its own that is opened again whenever it ends. */
struct load *load_start(struct world *w, unsigned n);
void load_aim(struct load *l, const struct world *w); /* the gateway has moved to another port */
void load_calls_anew(struct load *l);                 /* from now on a connection takes only a few posts */
void load_pace(struct load *l, unsigned ms); /* from now on each sender rests so long behind each post */
struct load_count load_so_far(struct load *l);
/* Whether so few were refused as nobody may be: none where times count (world_times_count). Else a commit may come too late for
 * the contract's time, and half may be. */
bool load_few_refused(struct load_count count);

/* What is under way from here on until a second after load_mended is counted of its own, too: else the many quick answers
 * before and after a fault hide what it cost. */
void load_struck(struct load *l, unsigned late_ms);
void load_mended(struct load *l);

/* Of the answers so far, those that took longer than ms, and the slowest; before load_stop. */
unsigned load_later_than(struct load *l, unsigned ms, unsigned *ret_slowest_ms);

/* Stops the senders; for who has to wait for something before load_stop. */
void load_halt(struct load *l);

/* Stops the senders and fails the test if ledger and table disagree. */
struct load_count load_stop(struct load *l, struct world *w);

#endif
