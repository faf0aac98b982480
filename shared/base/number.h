/*
 * number: whole decimal numbers that people and files write. Strict: digits alone, no sign, blank, unit or leading zero.
 */
#ifndef SETTLE_BASE_NUMBER_H
#define SETTLE_BASE_NUMBER_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

/* False if text is no such number, or is outside least..most; *ret is then left alone. */
bool number_parse(struct span text, uint64_t least, uint64_t most, uint64_t *ret);

#endif
