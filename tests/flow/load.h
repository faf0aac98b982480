/*
 * load: senders that post one signed webhook after the other and remember what they were told; at the end their
 * memory is held against the table. What was acknowledged must be there once, byte for byte; what was not may be;
 * nothing else may.
 */
#ifndef SETTLE_TESTS_FLOW_LOAD_H
#define SETTLE_TESTS_FLOW_LOAD_H

#include "support/world.h"

struct load;

struct load_count {
    unsigned acked;   /* 200 */
    unsigned refused; /* 503 with Retry-After */
    unsigned unknown; /* cut before an answer, and sent again */
    unsigned wrong;   /* any other answer */
    unsigned unheard; /* nobody listened: tried again */
};

/* Starts n senders, each on a connection of its own that is opened again whenever it ends. */
struct load *load_start(struct world *w, unsigned n);
void load_aim(struct load *l, const struct world *w); /* the gateway has moved to another port */
void load_calls_anew(struct load *l);                 /* from now on a connection takes only a few posts */
struct load_count load_so_far(struct load *l);

/* Stops the senders; for who has to wait for something before load_stop. */
void load_halt(struct load *l);

/* Stops the senders and fails the test if memory and table disagree. */
struct load_count load_stop(struct load *l, struct world *w);

#endif
