/*
 * missing: why nothing was learned from a platform (domain.md 3.4). Words for rows, logs and metrics.
 */
#ifndef SETTLE_DOMAIN_MISSING_H
#define SETTLE_DOMAIN_MISSING_H

#include "base/span.h"

#include <stdbool.h>

enum missing {
    MISSING_NONE,                      /* something was learned */
    MISSING_CIRCUIT_OPEN,              /* the platform failed too often: not asked */
    MISSING_HALF_OPEN_PROBE_EXHAUSTED, /* others are trying whether it works again: not asked */
    MISSING_ADAPTER_MISSING,           /* the descriptor says nothing about asking it */
    MISSING_INVALID_ADAPTER_RETURN,    /* its answer is not what the descriptor describes */
    MISSING_RATE_LIMITED,
    MISSING_AUTH_ERROR, /* 401, 403, no token or an expired one */
    MISSING_FETCH_ERROR,
    MISSING_TIMEOUT,
    MISSING_NO_METRICS,
    MISSING_PLATFORM_DISABLED, /* an operator has paused it */
    MISSING_REASONS,
};

const char *missing_name(enum missing reason); /* "circuit_open", ...; NULL for MISSING_NONE */
bool missing_parse(struct span word, enum missing *ret);

#endif
