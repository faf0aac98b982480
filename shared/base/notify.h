/*
 * notify: what a program tells the service manager that has started it, in systemd's protocol: datagrams to the
 * socket that NOTIFY_SOCKET names, and the watchdog that WATCHDOG_USEC asks for. Without one, all calls do nothing.
 */
#ifndef SETTLE_BASE_NOTIFY_H
#define SETTLE_BASE_NOTIFY_H

#include "base/attr.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* Once, before any child. Takes the variables out of the environment: they are not for children. INVALID: there is a
 * NOTIFY_SOCKET that cannot be reached; then it is as if there was none. */
enum status notify_open(struct err *err) MUST_CHECK;
void notify_close(void);

bool notify_is_open(void);
int64_t notify_watchdog_us(void); /* how long it may be left unfed; 0: nobody watches */

/* Lines such as READY=1, STATUS=text. False: the manager's queue was full for a tenth of a second, and it has not heard: what it
 * needs to know is to be said again. */
bool notify_send(const char *format, ...) PRINTF_LIKE(1, 2);

#endif
