/*
 * network: an address or a block of them, as operators write it: "192.0.2.7", "10.0.0.0/8", "2001:db8::/32". Text and
 * bytes alone; looks nothing up.
 */
#ifndef SETTLE_BASE_NETWORK_H
#define SETTLE_BASE_NETWORK_H

#include "base/span.h"

#include <stdint.h>

enum { NETWORK_ADDRESS_BYTES = 16 };

/* Of IPv6; one of IPv4 is ::ffff:a.b.c.d. */
struct network {
    uint8_t address[NETWORK_ADDRESS_BYTES];
    unsigned bits; /* of address that count */
};

/* False: neither form, or bits behind the prefix are set, which is a slip. */
bool network_parse(struct span text, struct network *ret);
bool network_holds(const struct network *n, const uint8_t address[NETWORK_ADDRESS_BYTES]);

#endif
