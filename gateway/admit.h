/*
 * admit: how often one source may do what costs a caller nothing. A bucket of tokens a platform and source, in this
 * process alone. Of a source that is not ours the caller passes no name: all of those share one bucket a platform.
 */
#ifndef SETTLE_GATEWAY_ADMIT_H
#define SETTLE_GATEWAY_ADMIT_H

#include "base/span.h"

#include <stdint.h>

enum { ADMIT_A_SECOND = 5, ADMIT_AT_ONCE = 20, ADMIT_BUCKETS_MAX = 4096 };

struct admit;

struct admit *admit_open(void);
void admit_close(struct admit *a); /* NULL is fine */

/* True: one token was taken. source absent: an unknown one. Names outlive a reload of the set, so buckets do too. */
bool admit_take(struct admit *a, struct span platform, struct span source, int64_t now_boot_us);

#endif
