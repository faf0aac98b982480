/*
 * urlform: application/x-www-form-urlencoded, of bodies and of queries. WHATWG URL, section 5.1: "+" is a blank, "%" and
 * two hex digits a byte; a "%" without them stands for itself.
 */
#ifndef SETTLE_DOMAIN_URLFORM_H
#define SETTLE_DOMAIN_URLFORM_H

#include "base/arena.h"
#include "base/span.h"

#include <stdbool.h>

enum { URLFORM_PAIRS_MAX = 1000 };

struct urlform_pair {
    struct span name, value; /* decoded, in the arena or borrowed */
};

/* In the order of the text. False: more than URLFORM_PAIRS_MAX. */
bool urlform_read(struct span text, struct arena *arena, struct urlform_pair **ret, size_t *nret);

/* The first value of that name; absent if there is none. ret_again, if not NULL: whether there is another. */
struct span urlform_get(const struct urlform_pair *pairs, size_t npairs, struct span name, bool *ret_again);

#endif
