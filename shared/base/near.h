/*
 * near: how far a misspelt name is from one that there is, so that an error can say which is meant.
 */
#ifndef SETTLE_BASE_NEAR_H
#define SETTLE_BASE_NEAR_H

#include "base/span.h"

#include <stddef.h>

enum { NEAR_BYTES = 80 };

/* Bytes to insert, leave out or replace that make one of the other (Levenshtein's distance); SIZE_MAX if either is longer than
 * NEAR_BYTES. */
size_t near_edits(struct span a, struct span b);

#endif
