/*
 * json: jansson's values as text.
 */
#ifndef SETTLE_RECONCILER_JSON_H
#define SETTLE_RECONCILER_JSON_H

#include "base/arena.h"
#include "base/span.h"

#include <jansson.h>

/* One line, in the arena, with a NUL behind it. Takes the value. */
struct span json_line(json_t *value, struct arena *arena);

#endif
