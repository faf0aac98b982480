/*
 * moment: a platform's way of writing a time. Strict: what is not surely a time is none.
 */
#ifndef SETTLE_DOMAIN_MOMENT_H
#define SETTLE_DOMAIN_MOMENT_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

/* Whole seconds since 1970 (1 to 10 digits), whole milliseconds (12 or 13 digits), or RFC 3339 with its offset,
 * as in "2026-01-15T10:45:00.25+01:00", whose last colon may lack. Without leading zeros, signs, blanks. */
bool moment_parse(struct span text, int64_t *ret_us);

#endif
