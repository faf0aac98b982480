/*
 * sandbox: a second line behind the unit's own sandbox, which not everybody uses: a process that serves strangers
 * changes no file and starts no program, whatever becomes of it. By Landlock, where the kernel has it.
 */
#ifndef SETTLE_GATEWAY_SANDBOX_H
#define SETTLE_GATEWAY_SANDBOX_H

#include <stdbool.h>

/* For this process and its children, for good. Files that are open stay as they are, reading stays free (secrets are
 * read again on HUP), and so are sockets. writable: folders below which files may be made and changed; NULL ends
 * them, NULL for none. False: the kernel cannot, or a folder is not there; nothing has changed then. */
bool sandbox_enter(const char *const *writable);

#endif
