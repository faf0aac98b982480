/*
 * connection: tokens of the tenants' accounts, with which platforms are asked about their posts (settle.platform_connections).
 * Sealed in Postgres; open only in locked memory here, and only for as long as a pass takes.
 */
#ifndef SETTLE_RECONCILER_CONNECTION_H
#define SETTLE_RECONCILER_CONNECTION_H

#include "base/arena.h"
#include "domain/seal.h"
#include "store/pg.h"

enum {
    CONNECTION_USER_MAX = 255,
    CONNECTION_PLATFORM_MAX = 50,
    CONNECTION_ACCOUNT_MAX = 255,
    CONNECTION_TOKEN_MAX = 8192,
    CONNECTIONS_MAX = 1000, /* looked for at one time */
};

enum connection_state {
    CONNECTION_NONE,    /* nobody has set one: the row is not asked about */
    CONNECTION_READY,   /* token holds */
    CONNECTION_OFF,     /* disconnected: as none */
    CONNECTION_EXPIRED, /* could not ask */
    CONNECTION_SEALED,  /* our keys do not open it: could not ask; an operator must look */
};

/* One account. account is publish_logs.social_account_id as text, "default" where a row has none. */
struct connection_name {
    struct span user, platform, account;
};

struct connection {
    enum connection_state state;
    struct span token; /* absent unless READY; in locked memory */
};

struct connections; /* what was found, owning its tokens */

/* As many as names, in their order; n at most CONNECTIONS_MAX. keys NULL: no key file is set, all that is found is SEALED.
 * UNAVAILABLE, BROKEN: of Postgres; then there is nothing to close. */
enum status connection_find(struct pg *pg, const struct seal_keys *keys, const struct connection_name *names,
                            size_t n, struct connections **ret, struct err *err) MUST_CHECK;
const struct connection *connection_at(const struct connections *c, size_t index);
void connection_close(struct connections *c); /* wipes the tokens; NULL is fine */

#endif
