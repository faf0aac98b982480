/*
 * key: a secret made ready for its algorithm, in locked memory: a keyed state of the MAC, a public key, or the digest
 * of a credential. Made once, read by any number of messages.
 */
#ifndef SETTLE_DOMAIN_KEY_H
#define SETTLE_DOMAIN_KEY_H

#include "base/arena.h"
#include "base/err.h"
#include "base/span.h"
#include "domain/platform.h"

enum { PROOF_BYTES_MAX = 64, CREDENTIAL_BYTES = 32 };

struct key;

/* Bytes of memory that key_make needs, and a multiple of its alignment. */
size_t key_size(void);

/* Fills room. bytes: the key itself, decoded. INVALID: empty, or no key of the algorithm: of Ed25519 a small-order or
 * non-canonical point, of a credential with the text "user:secret" any length will do. */
enum status key_make(enum algorithm algorithm, struct span bytes, struct key *room,
                     struct err *err) MUST_CHECK;

/* Bytes that a decoded proof has: 32, 64, 20, 64; of a credential 32, a digest of what was sent. */
size_t key_proof_bytes(enum algorithm algorithm);

enum { MESSAGE_PIECES_MAX = 16, OFFERED_MAX = 16 };

/* What is signed: the pieces one behind the other. */
struct message {
    struct span pieces[MESSAGE_PIECES_MAX];
    size_t npieces;
    struct arena *arena; /* for Ed25519, which wants it in one piece; NULL will do for all others */
};

/* Decoded proofs of one algorithm, of which any may fit. */
struct offered {
    uint8_t proofs[OFFERED_MAX][PROOF_BYTES_MAX];
    size_t n;
};

/* All are tried, in constant time. */
bool key_fits(const struct key *key, const struct message *m, const struct offered *offered);

/* Returns the MAC's length. Only of an HMAC key. */
size_t key_mac(const struct key *key, const struct message *m, uint8_t ret[PROOF_BYTES_MAX]);

/* Signs as a platform would, for tests. seed: 32 bytes, or 64 with the public key behind. INVALID. */
enum status key_sign_ed25519(struct span seed, const struct message *m, uint8_t ret[PROOF_BYTES_MAX],
                             struct err *err) MUST_CHECK;

/* The digest by which a credential is compared. */
void key_credential(struct span sent, uint8_t ret[CREDENTIAL_BYTES]);

#endif
