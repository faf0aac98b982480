/*
 * sqlstate: what an SQLSTATE means to us. The one place that knows (Postgres, appendix A: Error Codes).
 */
#ifndef SETTLE_STORE_SQLSTATE_H
#define SETTLE_STORE_SQLSTATE_H

#include "base/err.h"

#include <stdbool.h>

/* By its class: 08 25 40 53 55 57 58 UNAVAILABLE, 22 23 54 REJECTED, rest BROKEN. */
enum status sqlstate_status(const char *sqlstate);

/* Whether the server spoke of the statement, not of itself or of the moment: some row of it may be at fault, by a damaged page
 * (58, XX) or a trigger of somebody's (P0) as well as by its values. */
bool sqlstate_is_of_rows(const struct err *err);

#endif
