/*
 * core: no core files of a process that holds secrets. Debuggers may still attach.
 */
#ifndef SETTLE_BASE_CORE_H
#define SETTLE_BASE_CORE_H

void core_off(void); /* first thing in main; children inherit it */

#endif
