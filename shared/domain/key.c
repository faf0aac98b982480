/* The hash functions are libcrypto's, which has the processor's own instructions for them and libsodium has not
 * (a quarter of its time), by their plain structs: an EVP context would put the keyed state on the common heap. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "domain/key.h"

#include <stdlib.h>

#include <openssl/sha.h>
#include <sodium.h>

enum { BLOCK_BYTES_MAX = SHA512_CBLOCK };

union hash {
    SHA_CTX sha1;
    SHA256_CTX sha256;
    SHA512_CTX sha512;
};

struct key {
    enum algorithm algorithm;
    union hash inner, outer;                        /* HMAC, RFC 2104: the padded key is in them already */
    uint8_t public_key[crypto_sign_PUBLICKEYBYTES]; /* Ed25519 */
    uint8_t credential[CREDENTIAL_BYTES];           /* the digest of what the header must hold */
};

static const struct {
    size_t proof_bytes, block_bytes;
} sizes[] = {
    [ALGORITHM_HMAC_SHA256] = {SHA256_DIGEST_LENGTH, SHA256_CBLOCK},
    [ALGORITHM_HMAC_SHA512] = {SHA512_DIGEST_LENGTH, SHA512_CBLOCK},
    [ALGORITHM_HMAC_SHA1] = {SHA_DIGEST_LENGTH,    SHA_CBLOCK   },
    [ALGORITHM_ED25519] = {crypto_sign_BYTES,    0            },
    [ALGORITHM_CREDENTIAL] = {CREDENTIAL_BYTES,     0            },
};

static void make_hmac(struct key *key, struct span bytes);
static void pad(struct key *key, union hash *hash, const uint8_t *block, uint8_t with);
static enum status make_ed25519(struct key *key, struct span bytes, struct err *err);
static bool verifies(const struct key *key, struct span message, const struct offered *offered);
static void digest(enum algorithm algorithm, struct span bytes, uint8_t *ret);
static void hash_init(enum algorithm algorithm, union hash *h);
static void hash_update(enum algorithm algorithm, union hash *h, const void *bytes, size_t n);
static void hash_final(enum algorithm algorithm, union hash *h, uint8_t *ret);
static struct span join(const struct message *m);

size_t key_size(void)
{
    return sizeof(struct key);
}

size_t key_proof_bytes(enum algorithm algorithm)
{
    return sizes[algorithm].proof_bytes;
}

enum status key_make(enum algorithm algorithm, struct span bytes, struct key *room, struct err *err)
{
    *room = (struct key){.algorithm = algorithm};
    if (bytes.len == 0)
        return err_set(err, INVALID, "the key is empty");
    switch (algorithm) {
    case ALGORITHM_HMAC_SHA256:
    case ALGORITHM_HMAC_SHA512:
    case ALGORITHM_HMAC_SHA1:
        make_hmac(room, bytes);
        return OK;
    case ALGORITHM_ED25519:
        return make_ed25519(room, bytes, err);
    case ALGORITHM_CREDENTIAL:
        key_credential(bytes, room->credential);
        return OK;
    }
    abort();
}

/* A key longer than a block is replaced by its digest. */
static void make_hmac(struct key *key, struct span bytes)
{
    uint8_t block[BLOCK_BYTES_MAX] = {0};

    if (bytes.len > sizes[key->algorithm].block_bytes)
        digest(key->algorithm, bytes, block);
    else
        memcpy(block, bytes.at, bytes.len);
    pad(key, &key->inner, block, 0x36);
    pad(key, &key->outer, block, 0x5c);
    sodium_memzero(block, sizeof(block));
}

static void pad(struct key *key, union hash *hash, const uint8_t *block, uint8_t with)
{
    uint8_t padded[BLOCK_BYTES_MAX];

    for (size_t i = 0; i < sizeof(padded); i++)
        padded[i] = block[i] ^ with;
    hash_init(key->algorithm, hash);
    hash_update(key->algorithm, hash, padded, sizes[key->algorithm].block_bytes);
    sodium_memzero(padded, sizeof(padded));
}

/* With a small-order key, one signature would fit every message or one in a few. */
static enum status make_ed25519(struct key *key, struct span bytes, struct err *err)
{
    if (bytes.len != sizeof(key->public_key))
        return err_set(err, INVALID, "an Ed25519 public key has %zu bytes, this one %zu",
                       sizeof(key->public_key), bytes.len);
    memcpy(key->public_key, bytes.at, bytes.len);
    if (!crypto_core_ed25519_is_valid_point(key->public_key))
        return err_set(err, INVALID, "no Ed25519 public key: not a point of the curve's main group");
    return OK;
}

bool key_fits(const struct key *key, const struct message *m, const struct offered *offered)
{
    uint8_t mac[PROOF_BYTES_MAX] = {0};
    const uint8_t *right = key->credential;
    bool fits = false;

    if (key->algorithm == ALGORITHM_ED25519)
        return verifies(key, join(m), offered);
    if (key->algorithm != ALGORITHM_CREDENTIAL) {
        key_mac(key, m, mac);
        right = mac;
    }
    for (size_t i = 0; i < offered->n; i++)
        fits |= sodium_memcmp(right, offered->proofs[i], sizes[key->algorithm].proof_bytes) == 0;
    sodium_memzero(mac, sizeof(mac)); /* it is the right signature */
    return fits;
}

static bool verifies(const struct key *key, struct span message, const struct offered *offered)
{
    bool fits = false;

    for (size_t i = 0; i < offered->n; i++)
        fits |= crypto_sign_verify_detached(offered->proofs[i], (const uint8_t *)message.at, message.len,
                                            key->public_key) == 0;
    return fits;
}

size_t key_mac(const struct key *key, const struct message *m, uint8_t ret[PROOF_BYTES_MAX])
{
    enum algorithm algorithm = key->algorithm;
    size_t nbytes = sizes[algorithm].proof_bytes;
    union hash hash = key->inner;
    uint8_t inner[PROOF_BYTES_MAX];

    for (size_t i = 0; i < m->npieces; i++)
        hash_update(algorithm, &hash, m->pieces[i].at, m->pieces[i].len);
    hash_final(algorithm, &hash, inner);
    hash = key->outer;
    hash_update(algorithm, &hash, inner, nbytes);
    hash_final(algorithm, &hash, ret);
    sodium_memzero(&hash, sizeof(hash));
    return nbytes;
}

enum status key_sign_ed25519(struct span seed, const struct message *m, uint8_t ret[PROOF_BYTES_MAX],
                             struct err *err)
{
    uint8_t public_key[crypto_sign_PUBLICKEYBYTES], private_key[crypto_sign_SECRETKEYBYTES];
    struct span message = join(m);

    if (seed.len != crypto_sign_SEEDBYTES && seed.len != crypto_sign_SECRETKEYBYTES)
        return err_set(err, INVALID, "an Ed25519 private key has %u or %u bytes, this one %zu",
                       crypto_sign_SEEDBYTES, crypto_sign_SECRETKEYBYTES, seed.len);
    crypto_sign_seed_keypair(public_key, private_key, (const uint8_t *)seed.at);
    crypto_sign_detached(ret, NULL, (const uint8_t *)message.at, message.len, private_key);
    sodium_memzero(private_key, sizeof(private_key));
    return OK;
}

/* Of any length, and compared in constant time none the less. */
void key_credential(struct span sent, uint8_t ret[CREDENTIAL_BYTES])
{
    crypto_generichash(ret, CREDENTIAL_BYTES, (const uint8_t *)sent.at, sent.len, NULL, 0);
}

static void digest(enum algorithm algorithm, struct span bytes, uint8_t *ret)
{
    union hash hash;

    hash_init(algorithm, &hash);
    hash_update(algorithm, &hash, bytes.at, bytes.len);
    hash_final(algorithm, &hash, ret);
    sodium_memzero(&hash, sizeof(hash));
}

static void hash_init(enum algorithm algorithm, union hash *h)
{
    if (algorithm == ALGORITHM_HMAC_SHA1)
        SHA1_Init(&h->sha1);
    else if (algorithm == ALGORITHM_HMAC_SHA256)
        SHA256_Init(&h->sha256);
    else
        SHA512_Init(&h->sha512);
}

static void hash_update(enum algorithm algorithm, union hash *h, const void *bytes, size_t n)
{
    if (algorithm == ALGORITHM_HMAC_SHA1)
        SHA1_Update(&h->sha1, bytes, n);
    else if (algorithm == ALGORITHM_HMAC_SHA256)
        SHA256_Update(&h->sha256, bytes, n);
    else
        SHA512_Update(&h->sha512, bytes, n);
}

static void hash_final(enum algorithm algorithm, union hash *h, uint8_t *ret)
{
    if (algorithm == ALGORITHM_HMAC_SHA1)
        SHA1_Final(ret, &h->sha1);
    else if (algorithm == ALGORITHM_HMAC_SHA256)
        SHA256_Final(ret, &h->sha256);
    else
        SHA512_Final(ret, &h->sha512);
}

static struct span join(const struct message *m)
{
    size_t len = 0;
    char *text, *to;

    for (size_t i = 0; i < m->npieces; i++)
        len += m->pieces[i].len;
    text = to = arena_alloc(m->arena, len + 1);
    for (size_t i = 0; i < m->npieces; i++)
        if (m->pieces[i].len > 0)
            to = mempcpy(to, m->pieces[i].at, m->pieces[i].len);
    return (struct span){text, len};
}
