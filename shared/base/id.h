/*
 * id: UUIDv7 (RFC 9562, 5.7): 48 bits of milliseconds, then random. Sorts by time of making, which keeps
 * index inserts together. Do not read times from ids for billing or order.
 */
#ifndef SETTLE_BASE_ID_H
#define SETTLE_BASE_ID_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

struct id {
    uint8_t bytes[16];
};

enum { ID_TEXT_BYTES = 37 }; /* 8-4-4-4-12 and a NUL */

struct id id_make(int64_t wall_us);
void id_text(const struct id *id, char ret[ID_TEXT_BYTES]); /* lower case */
bool id_parse(struct span text, struct id *ret);            /* any version, any letter case */

#endif
