/*
 * peers: how many connections each client address has open, so that one cannot take all. Counts an IPv4 address by
 * itself and an IPv6 one by its /64, which is what one customer gets. Of one process; not for rates.
 */
#ifndef SETTLE_GATEWAY_PEERS_H
#define SETTLE_GATEWAY_PEERS_H

#include "base/network.h"

#include <stddef.h>
#include <sys/socket.h>

struct peers;

/* exempt, borrowed: networks that are not counted: proxies, behind whose addresses are many clients. max_connections:
 * of all addresses together; what is counted never exceeds it. */
struct peers *peers_open(unsigned max_per_address, const struct network *exempt, size_t nexempt,
                         size_t max_connections);
void peers_close(struct peers *p); /* NULL is fine */

/* False: the address has as many as it may. *ret_ticket is for peers_leave. Unix sockets have no address. */
bool peers_enter(struct peers *p, const struct sockaddr *from, uint64_t *ret_ticket);
void peers_leave(struct peers *p, uint64_t ticket);

/* What an address is counted by, also by others; 0: it has none. */
uint64_t peers_address(const struct sockaddr *from);

#endif
