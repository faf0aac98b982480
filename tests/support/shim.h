/*
 * shim: a preloaded library (shim.so, from shim_preload.c) by which a test moves the wall clock of other programs, and makes
 * their name look-ups slow or fail, while they run. Monotonic and boot clocks stay true.
 *
 *     struct shim *s = shim_open(w);               before world_gateway or world_servers: they inherit it
 *     shim_step(s, 3600 * SECOND_US);
 *     shim_close(s);                               programs that start later go without
 *
 * It reaches every program that starts between open and close, but those that get an environment of their own (the
 * reconciler under the API). Several shims, one after the other, are several groups of programs; a group keeps what its
 * shim said last.
 */
#ifndef SETTLE_TESTS_SUPPORT_SHIM_H
#define SETTLE_TESTS_SUPPORT_SHIM_H

#include "support/world.h"

struct shim;

struct shim *shim_open(struct world *w);
void shim_step(struct shim *s, int64_t wall_us); /* the wall clock is so far from the true one */
void shim_names(struct shim *s, unsigned delay_ms, bool fail); /* of each getaddrinfo from now on */
unsigned shim_nnames(struct shim *s);                          /* look-ups that began so far */
void shim_close(struct shim *s);

#endif
