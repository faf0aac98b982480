/*
 * proxy: a TCP proxy that does to a connection what networks do. Runs on threads of its own in the test program; all
 * connections through it suffer alike, those that are open and those to come. Every call has taken effect when it returns,
 * on bytes that arrive later; nothing that was already passed on is taken back.
 */
#ifndef SETTLE_TESTS_SUPPORT_PROXY_H
#define SETTLE_TESTS_SUPPORT_PROXY_H

#include <stddef.h>
#include <stdint.h>

struct proxy;

enum way { UP = 1, DOWN = 2, BOTH_WAYS = UP | DOWN }; /* up: from who called to the server */

/* to: "unix:/path" or "host:port". Listens on a free port of 127.0.0.1. Fails the running test if it cannot. */
struct proxy *proxy_open(const char *to);
void proxy_close(struct proxy *p); /* resets what is open; NULL is fine */
unsigned proxy_port(const struct proxy *p);

void proxy_delay(struct proxy *p, enum way way, unsigned ms);
/* Bytes that way vanish, ends and resets included; connects still succeed. */
void proxy_swallow(struct proxy *p, enum way way);
/* Once exactly so many more went that way, over all connections, the one that carried the last is reset at both ends (on
 * a unix socket, which knows no reset, it ends). Then it is as before. 0: before the next byte. */
void proxy_cut_after(struct proxy *p, enum way way, uint64_t bytes);
void proxy_cut(struct proxy *p);    /* reset all that are open */
void proxy_refuse(struct proxy *p); /* and listen no more, until proxy_heal: the same port then */
void proxy_heal(struct proxy *p);   /* as in the beginning; what was swallowed is gone */

size_t proxy_nopen(struct proxy *p);
uint64_t proxy_bytes(struct proxy *p, enum way way); /* passed on so far */

#endif
