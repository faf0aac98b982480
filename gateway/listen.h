/*
 * listen: opens listening sockets, in the parent, before there is any loop: name look-ups block.
 */
#ifndef SETTLE_GATEWAY_LISTEN_H
#define SETTLE_GATEWAY_LISTEN_H

#include "base/config.h"
#include "base/err.h"

enum { LISTEN_NAME_BYTES = 128 };

/* n sockets on one address, one a process. The kernel spreads new connections over those of TCP; those of a
 * path are one and the same. INVALID: cannot be listened at; some of ret_fds may be open. */
enum status listen_open(const struct address *at, size_t n, int *ret_fds, struct err *err) MUST_CHECK;

/* "127.0.0.1:43210" with the port the system chose, "[::1]:8080" or "unix:/path". */
void listen_name(int fd, char ret[LISTEN_NAME_BYTES]);

#endif
