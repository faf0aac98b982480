/*
 * shim: a preloaded library (shim.so, from shim_preload.c) by which a test moves the clocks of other programs, makes their
 * name look-ups slow or fail, and stops or kills them before a certain message to a server, while they run.
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
void shim_step(struct shim *s, int64_t wall_us);  /* the wall clock is so far from the true one */
void shim_sleep(struct shim *s, int64_t boot_us); /* the boot clock likewise; the monotonic one stays true */
void shim_names(struct shim *s, unsigned delay_ms, bool fail); /* of each getaddrinfo from now on */
unsigned shim_nnames(struct shim *s);                          /* look-ups that began so far */

/* Before its nth message on a socket (send, write) a program sends itself this signal; before each with nth 0. word: what it sent before a message
 * that holds it does not count; NULL: all counts. signal 0: no more of it. */
void shim_signal(struct shim *s, const char *word, unsigned nth, int signal);
unsigned shim_nsends(struct shim *s); /* counted since then, over all programs */
bool shim_halted(pid_t pid);          /* it was stopped, or has ended and is not waited for yet */

/* Programs that start from now on go without, until shim_show. */
void shim_hide(struct shim *s);
void shim_show(struct shim *s);
void shim_close(struct shim *s);

#endif
