/*
 * encoding: bytes as signatures and keys are written. Strict: each byte string has one spelling.
 */
#ifndef SETTLE_DOMAIN_ENCODING_H
#define SETTLE_DOMAIN_ENCODING_H

#include "base/arena.h"
#include "domain/platform.h"

/* At most size bytes into ret. False: longer, or not the one form that the encoding has: lower-case hex, padded and
 * canonical base64 of the standard alphabet. */
bool encoding_read(enum encoding encoding, struct span text, uint8_t *ret, size_t size, size_t *ret_len);

struct span encoding_write(enum encoding encoding, const uint8_t *bytes, size_t nbytes, struct arena *arena);

#endif
