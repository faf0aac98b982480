/*
 * breakers: the platforms' breakers (domain/breaker.h), kept in Postgres and so shared by all runners: a row is read, the
 * pure rules decide, and the new state is written if nobody else has written meanwhile. The clock is the database's.
 */
#ifndef SETTLE_RECONCILER_BREAKERS_H
#define SETTLE_RECONCILER_BREAKERS_H

#include "base/config.h"
#include "domain/breaker.h"
#include "fetch/fetch.h"
#include "store/pg.h"

struct breakers {
    struct pg *pg;               /* never inside a transaction */
    const struct config *config; /* reconcile.breaker and .breakers, fetch.timeout_ms */
};

/* May the platform be asked once more? MISSING_NONE: yes, and what comes of it goes to breakers_note with *ret_pass. Else
 * why not. UNAVAILABLE, BROKEN: of Postgres; then it is not to be asked either. */
enum status breakers_take(const struct breakers *b, struct span platform, enum missing *ret_why,
                          struct breaker_pass *ret_pass, struct err *err) MUST_CHECK;
/* Once a permit. *ret_state: what holds from now on. */
enum status breakers_note(const struct breakers *b, struct span platform, const struct breaker_pass *pass,
                          enum breaker_word word, enum breaker_state *ret_state, struct err *err) MUST_CHECK;

/* For how long at most a breaker refuses for this reason. */
unsigned breakers_wait_s(const struct breakers *b, struct span platform, enum missing why);

/* What a try says: of the reason nothing was learned, and of the platform. The reader of an answer may know better
 * (MISSING_INVALID_ADAPTER_RETURN, which is a BREAKER_FAILURE). */
enum missing breakers_missing(const struct fetch_answer *answer);
enum breaker_word breakers_word(const struct fetch_answer *answer);

#endif
