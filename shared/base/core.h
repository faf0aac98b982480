/*
 * core: what a process that holds secrets gives up first: core files, also those that a pipe would take (limits do not
 * stop it), being looked into by others of its own user (ptrace, /proc), and gaining rights by exec.
 */
#ifndef SETTLE_BASE_CORE_H
#define SETTLE_BASE_CORE_H

void core_off(
    void); /* first thing in main; children inherit it, except that exec makes /proc readable again */

#endif
