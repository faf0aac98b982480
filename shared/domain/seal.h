/*
 * seal: small secrets made fit to be stored: XChaCha20-Poly1305, bound to the place they are stored for, so that a row's
 * secret opens in no other row. Keys lie in locked memory. Pure.
 */
#ifndef SETTLE_DOMAIN_SEAL_H
#define SETTLE_DOMAIN_SEAL_H

#include "base/arena.h"
#include "base/err.h"
#include "base/span.h"

enum { SEAL_KEY_BYTES = 32, SEAL_KEYS_MAX = 16, SEAL_KEY_ID_CHARS = 16 };
enum { SEAL_EXTRA_BYTES = 1 + 24 + 16 }; /* form, nonce, tag */

struct seal_keys;

/* One key a line, the newest first: 64 hex digits or the base64 of 32 bytes; empty lines and those that begin with "#" are
 * left out. lines is not kept. NULL: INVALID, which shows nothing of them. */
struct seal_keys *seal_keys_read(struct span lines, struct err *err) MUST_CHECK;
struct seal_keys *seal_keys_load(const char *path, struct err *err) MUST_CHECK; /* the same, of a file */
void seal_keys_close(struct seal_keys *keys);                                   /* wipes them; NULL is fine */

/* The key new secrets are sealed with: a digest's first 16 hex digits, which tells nothing of the key. */
struct span seal_key_id(const struct seal_keys *keys);

/* The place: pieces of text that name the row, in an order of the caller's; (a, bc) is another place than (ab, c).
 * Returns len + SEAL_EXTRA_BYTES in the arena. */
struct span seal_make(const struct seal_keys *keys, const struct span *place, size_t nplace,
                      struct span plain, struct arena *arena);
/* What is stored of a secret, and where it stands. */
struct sealed {
    struct span key_id, bytes;
    const struct span *place; /* the same pieces as when it was made */
    size_t nplace;
};

/* Into room, the caller's to wipe. INVALID, cause "key_missing": sealed with a key that is not there; "seal_broken":
 * cut, changed, or of another place. "too_large": more than size bytes. */
enum status seal_open(const struct seal_keys *keys, const struct sealed *sealed, char *room, size_t size,
                      struct span *ret, struct err *err) MUST_CHECK;

#endif
