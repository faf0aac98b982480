/*
 * address: which addresses of the internet protocols are public, so that no URL can reach into our own network. Pure.
 */
#ifndef SETTLE_FETCH_ADDRESS_H
#define SETTLE_FETCH_ADDRESS_H

#include "base/network.h"

#include <stdbool.h>
#include <stddef.h>

#include <sys/socket.h>

/* False for what is not an address of the public internet: private, loopback, link-local, shared by a carrier (CGNAT),
 * unique local, multicast, for documentation, a cloud's own services; and for IPv6 that stands for IPv4 (mapped, NAT64, 6to4,
 * Teredo). True if a network of allowed holds it all the same. Families other than these two: false. */
bool address_may_be_asked(const struct sockaddr *address, const struct network *allowed, size_t nallowed);

#endif
