/*
 * serve: opens every socket, says where, and runs the processes until TERM or INT.
 */
#ifndef SETTLE_GATEWAY_SERVE_H
#define SETTLE_GATEWAY_SERVE_H

#include "settings.h"

/* ports_file: written, whole at once, when all sockets listen: {"ingest": "127.0.0.1:43210", ...}; NULL: none.
 * INVALID: a socket or the file cannot be opened. OK: has served; *ret_exit_code is the parent's. */
enum status serve(struct settings *settings, const char *ports_file, int *ret_exit_code,
                  struct err *err) MUST_CHECK;

#endif
