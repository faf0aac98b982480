/*
 * secret: from what an operator gives (a line of a file, a variable) to keys that verify, in locked memory.
 */
#ifndef SETTLE_DOMAIN_SECRET_H
#define SETTLE_DOMAIN_SECRET_H

#include "base/err.h"
#include "base/span.h"
#include "domain/platform.h"

enum { KEY_BYTES_MAX = 4096 };

/* One line a secret, LF or CRLF; empty lines and those that begin with "# " are left out. No blank in a secret; behind
 * it may stand " not-before=TIME" and " expires=TIME".
 * Fills nsecrets and secrets of s and returns the block that holds their bytes and keys (sodium_malloc of
 * *ret_bytes, read-only), the caller's to sodium_free; NULL: INVALID. lines is not kept. */
char *secrets_read(const struct platform *p, struct source *s, struct span lines, size_t *ret_bytes,
                   struct err *err) MUST_CHECK;

/* A source that nobody knows a secret of: what unknown ones are checked against. The same block. */
char *secrets_decoy(const struct platform *p, struct source *s, size_t *ret_bytes);

/* The key in a secret as the scheme's proof wants it: prefix off, decoded into room. INVALID. */
enum status secret_key_bytes(const struct scheme *s, const struct proof *proof, struct span secret,
                             uint8_t room[KEY_BYTES_MAX], size_t *ret_len, struct err *err) MUST_CHECK;

/* Is a secret that begins so for this kind of proof? One without any known prefix is for the first kind; secrets_read
 * takes such a one only if there is no other kind. */
bool secret_is_for(const struct scheme *s, const struct proof *proof, struct span secret);

/* Does it count at that time? */
bool secret_is_active(const struct secret *secret, int64_t wall_us);

#endif
