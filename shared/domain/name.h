/*
 * name: what platforms, sources and headers may be called.
 */
#ifndef SETTLE_DOMAIN_NAME_H
#define SETTLE_DOMAIN_NAME_H

#include "base/span.h"

/* Lower-case letters, digits and "-", not at the start: a name of a platform or source. */
bool name_is_good(struct span name, size_t most_bytes);

#endif
