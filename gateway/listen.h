/*
 * listen: opens listening sockets, in the parent, before there is any loop: name look-ups block.
 */
#ifndef SETTLE_GATEWAY_LISTEN_H
#define SETTLE_GATEWAY_LISTEN_H

#include "base/config.h"
#include "base/err.h"

enum { LISTEN_NAME_BYTES = 128, LISTEN_HANDED_MAX = 80, LISTEN_ROLE_BYTES = 16 };

/* Sockets that the service manager opened and keeps: over a restart callers wait in their queue. */
struct listen_handed {
    struct {
        int fd;
        char role[LISTEN_ROLE_BYTES]; /* FileDescriptorName= of its unit */
    } at[LISTEN_HANDED_MAX];
    size_t n;
};

/* n sockets on one address, one a process. The kernel spreads new connections over those of TCP; those of a
 * path are one and the same. UNAVAILABLE: the address is taken, or not this machine's yet; INVALID: it is none. Then some of
 * ret_fds may be open. */
enum status listen_open(const struct address *at, size_t n, int *ret_fds, struct err *err) MUST_CHECK;

/* Those of LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES, which are taken out of the environment; none: n is 0. INVALID: one
 * is no listening stream socket, or they are too many or without names. */
enum status listen_take_handed(struct listen_handed *ret, struct err *err) MUST_CHECK;

/* How many were handed over for the role. */
size_t listen_count(const struct listen_handed *handed, const char *role);

/* n sockets for the role's processes out of those. Fewer than n are shared: each process is woken for each
 * connection, one gets it. INVALID: they are more than n, and what waits at one too many would wait for ever. */
enum status listen_hand_out(const struct listen_handed *handed, const char *role, size_t n, int *ret_fds,
                            struct err *err) MUST_CHECK;

/* Where fd really listens; texts in room. */
struct address listen_address(int fd, char room[LISTEN_NAME_BYTES]);

/* "127.0.0.1:43210" with the port the system chose, "[::1]:8080" or "unix:/path". */
void listen_name(int fd, char ret[LISTEN_NAME_BYTES]);

#endif
