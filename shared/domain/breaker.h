/*
 * breaker: whether a platform may be asked, or is left alone for a while because it keeps failing. The only place that
 * knows these rules; pure: the state is the caller's to keep, `now` a parameter.
 *
 * Closed: all may go. At failure_threshold failures in a row it opens. Open: nobody may, until open_cooldown_s have passed
 * since it opened; the next who asks makes it half-open. Half-open: half_open_probes may go at one time; one success closes
 * it, one failure opens it anew; what says neither gives its permit back, its own and no other. A permit that is never
 * reported is over after permit_ms. What came back counts only in the era it was asked in: no straggler of a closed time can open a half-open breaker,
 * and none close it. What was opened or permitted later than can be, by a clock that was set back since, is over.
 */
#ifndef SETTLE_DOMAIN_BREAKER_H
#define SETTLE_DOMAIN_BREAKER_H

#include "base/now.h"
#include "domain/missing.h"

#include <stdint.h>

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN, BREAKER_STATES };
const char *breaker_state_name(enum breaker_state state); /* "closed", "open", "half_open" */
bool breaker_state_parse(struct span word, enum breaker_state *ret);

enum { BREAKER_PROBES_MAX = 100 };

struct breaker_options {
    unsigned failure_threshold; /* at least 1 */
    unsigned open_cooldown_s;
    unsigned half_open_probes; /* 1 to BREAKER_PROBES_MAX */
    unsigned permit_ms; /* longer than a try takes, unless its owner stands still; then another may go */
};

struct breaker {
    enum breaker_state state;
    unsigned failures;                           /* in a row, while closed; since then kept for show */
    int64_t opened_us;                           /* TIME_NONE: never, or closed again */
    int64_t era;                                 /* changes of state so far */
    int64_t probes_until_us[BREAKER_PROBES_MAX]; /* when each permit in use is over */
    unsigned nprobes;
};
#define BREAKER_NEW                                                                                          \
    {                                                                                                        \
        .opened_us = TIME_NONE                                                                               \
    }

/* How a try went, as far as it tells whether the platform works. */
enum breaker_word {
    BREAKER_SUCCESS,
    BREAKER_FAILURE,
    BREAKER_NEITHER, /* rate limited, a token that does not hold, not sent at all: says nothing */
};

/* What a try goes by. Two permits that are over at the same time are alike. */
struct breaker_pass {
    int64_t era;
    int64_t until_us; /* of its permit; TIME_NONE: it needed none */
};

/* MISSING_NONE: it may go, and *ret_pass is to be handed to breaker_note with what came back. Else
 * MISSING_CIRCUIT_OPEN or MISSING_HALF_OPEN_PROBE_EXHAUSTED. *b changes when the answer rests on it. */
enum missing breaker_take(struct breaker *b, const struct breaker_options *o, int64_t now_us,
                          struct breaker_pass *ret_pass);
void breaker_note(struct breaker *b, const struct breaker_options *o, const struct breaker_pass *pass,
                  enum breaker_word word, int64_t now_us);

bool breaker_eq(const struct breaker *a,
                const struct breaker *b); /* so that what is the same is not written */

#endif
