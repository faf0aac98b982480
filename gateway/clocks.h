/*
 * clocks: is our wall clock the database's? Learned with each connection and then every ten seconds, and kept against boot
 * time: so a step of ours shows in the same turn, also while Postgres is away. A clock that is off makes good signatures
 * look too old: while it may be, a signature's time is no reason for a 401.
 * The question is server_check, whose answer also says whether the server still keeps what it commits: links_check_pg.
 * Sets CLOCK_SKEW and what health says of it, and logs once when the clocks part and when they meet.
 */
#ifndef SETTLE_GATEWAY_CLOCKS_H
#define SETTLE_GATEWAY_CLOCKS_H

#include "base/now.h"
#include "links.h"

#define CLOCKS_APART_US (30 * SECOND_US)
#define CLOCKS_ANSWER_US                                                                                     \
    (4 * SECOND_US) /* longer under way, an answer says too little of when it was given */

/* The database's clock as last learned; zeroed: not yet. */
struct database_clock {
    bool is_known;
    int64_t ahead_us; /* of our boot clock */
};

/* Its answer to a question that was under way between these boot times. False: it took too long and was not taken. */
bool database_clock_learn(struct database_clock *c, int64_t database_us, int64_t sent_boot_us,
                          int64_t heard_boot_us);
int64_t database_clock_skew_us(const struct database_clock *c, int64_t wall_us,
                               int64_t boot_us); /* ours, less it */

struct clocks;

struct clocks *clocks_open(struct server *server, struct links *links);
void clocks_close(struct clocks *c); /* after links_close; NULL is fine */

void clocks_on_pg(struct clocks *c, const struct pg *pg); /* a connection came up */
void clocks_turn(void *clocks);                           /* the chore: asks, and tells */

bool clocks_may_be_apart(const struct clocks *c); /* in this turn: they are, or the database's is not known */

#endif
