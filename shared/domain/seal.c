#include "domain/seal.h"

#include "base/file.h"
#include "domain/encoding.h"

#include <endian.h>
#include <stdlib.h>

#include <sodium.h>

enum { FORM = 1, NONCE_BYTES = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES };
enum { TAG_BYTES = crypto_aead_xchacha20poly1305_ietf_ABYTES };

_Static_assert(SEAL_KEY_BYTES == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "the cipher's key");
_Static_assert(SEAL_EXTRA_BYTES == 1 + NONCE_BYTES + TAG_BYTES, "the form's byte, nonce and tag");

struct seal_key {
    char id[SEAL_KEY_ID_CHARS];
    uint8_t bytes[SEAL_KEY_BYTES];
};

/* In memory of libsodium's: locked, and read-only once it is filled. */
struct seal_keys {
    size_t n;
    struct seal_key keys[SEAL_KEYS_MAX];
};

static enum status read_key(struct span line, struct seal_keys *keys, struct err *err);
static void name_key(struct seal_key *key);
static struct span place_bytes(const struct span *place, size_t nplace, struct arena *arena);

struct seal_keys *seal_keys_read(struct span lines, struct err *err)
{
    struct seal_keys *keys;
    size_t line = 0;

    if (sodium_init() < 0 || !(keys = sodium_malloc(sizeof(*keys))))
        abort();
    keys->n = 0;
    while (lines.at) {
        struct span text = span_cut(&lines, '\n');
        line++;
        if (text.len > 0 && text.at[text.len - 1] == '\r')
            text.len--;
        if (text.len == 0 || text.at[0] == '#')
            continue;
        if (read_key(text, keys, err)) {
            err_in(err, "line %zu", line);
            sodium_free(keys);
            return NULL;
        }
    }
    if (keys->n == 0) {
        err_set(err, INVALID,
                "there is no key; 32 random bytes as 64 hex digits or in base64 are wanted, one a line");
        sodium_free(keys);
        return NULL;
    }
    sodium_mprotect_readonly(keys);
    return keys;
}

static enum status read_key(struct span line, struct seal_keys *keys, struct err *err)
{
    struct seal_key *key = &keys->keys[keys->n];
    size_t len = 0;

    if (keys->n == SEAL_KEYS_MAX)
        return err_set(err, INVALID, "there are more than %d keys", SEAL_KEYS_MAX);
    if ((!encoding_read(ENCODING_HEX, line, key->bytes, SEAL_KEY_BYTES, &len) || len != SEAL_KEY_BYTES) &&
        (!encoding_read(ENCODING_BASE64, line, key->bytes, SEAL_KEY_BYTES, &len) || len != SEAL_KEY_BYTES))
        return err_set(err, INVALID, "not 32 bytes as 64 lower-case hex digits or in base64");
    if (sodium_is_zero(key->bytes, SEAL_KEY_BYTES))
        return err_set(err, INVALID, "all bytes are zero, which is no key");
    name_key(key);
    for (size_t i = 0; i < keys->n; i++)
        if (memcmp(keys->keys[i].id, key->id, sizeof(key->id)) == 0)
            return err_set(err, INVALID, "the same key stands on an earlier line");
    keys->n++;
    return OK;
}

/* Keyed with what it is for, so that the digest of the same bytes elsewhere is another. */
static void name_key(struct seal_key *key)
{
    static const char purpose[] = "settle: id of a key that seals";
    uint8_t digest[crypto_generichash_BYTES_MIN];
    char hex[2 * sizeof(digest) + 1];

    crypto_generichash(digest, sizeof(digest), key->bytes, sizeof(key->bytes), (const uint8_t *)purpose,
                       sizeof(purpose) - 1);
    sodium_bin2hex(hex, sizeof(hex), digest, sizeof(digest));
    memcpy(key->id, hex, sizeof(key->id));
}

struct seal_keys *seal_keys_load(const char *path, struct err *err)
{
    char room[SECRET_FILE_BYTES];
    struct seal_keys *keys = NULL;
    struct span lines;

    if (!file_read(path, room, sizeof(room), &lines, err)) {
        keys = seal_keys_read(lines, err);
        if (!keys)
            err_in(err, "%s", path);
    }
    sodium_memzero(room, sizeof(room));
    return keys;
}

void seal_keys_close(struct seal_keys *keys)
{
    sodium_free(keys);
}

struct span seal_key_id(const struct seal_keys *keys)
{
    return (struct span){keys->keys[0].id, SEAL_KEY_ID_CHARS};
}

struct span seal_make(const struct seal_keys *keys, const struct span *place, size_t nplace,
                      struct span plain, struct arena *arena)
{
    struct span with = place_bytes(place, nplace, arena);
    uint8_t *sealed = arena_alloc(arena, plain.len + SEAL_EXTRA_BYTES), *nonce = sealed + 1;

    sealed[0] = FORM;
    randombytes_buf(nonce, NONCE_BYTES);
    crypto_aead_xchacha20poly1305_ietf_encrypt(nonce + NONCE_BYTES, NULL, (const uint8_t *)plain.at,
                                               plain.len, (const uint8_t *)with.at, with.len, NULL, nonce,
                                               keys->keys[0].bytes);
    return (struct span){(const char *)sealed, plain.len + SEAL_EXTRA_BYTES};
}

/* Each piece behind its length. */
static struct span place_bytes(const struct span *place, size_t nplace, struct arena *arena)
{
    size_t len = 0;
    char *bytes, *at;

    for (size_t i = 0; i < nplace; i++)
        len += sizeof(uint32_t) + place[i].len;
    bytes = at = arena_alloc(arena, len);
    for (size_t i = 0; i < nplace; i++) {
        uint32_t piece = htobe32((uint32_t)place[i].len);
        at = mempcpy(at, &piece, sizeof(piece));
        at = mempcpy(at, place[i].at, place[i].len);
    }
    return (struct span){bytes, len};
}

enum status seal_open(const struct seal_keys *keys, const struct sealed *sealed, char *room, size_t size,
                      struct span *ret, struct err *err)
{
    const uint8_t *nonce = (const uint8_t *)sealed->bytes.at + 1;
    const struct seal_key *key = keys->keys;
    struct span bytes = sealed->bytes, with;
    struct arena *arena;
    int failed;

    while (key < keys->keys + keys->n && !span_eq(sealed->key_id, (struct span){key->id, sizeof(key->id)}))
        key++;
    if (key == keys->keys + keys->n)
        return err_cause(err, INVALID, "key_missing", "it was sealed with another key");
    if (bytes.len < SEAL_EXTRA_BYTES || bytes.at[0] != FORM)
        return err_cause(err, INVALID, "seal_broken", "what is stored was never sealed, or is cut");
    if (bytes.len - SEAL_EXTRA_BYTES > size)
        return err_cause(err, INVALID, "too_large", "it has more than %zu bytes", size);
    arena = arena_open(1024);
    with = place_bytes(sealed->place, sealed->nplace, arena);
    failed = crypto_aead_xchacha20poly1305_ietf_decrypt((uint8_t *)room, NULL, NULL, nonce + NONCE_BYTES,
                                                        bytes.len - 1 - NONCE_BYTES, (const uint8_t *)with.at,
                                                        with.len, nonce, key->bytes);
    arena_close(arena);
    if (failed)
        return err_cause(err, INVALID, "seal_broken", "it was changed, or sealed for another place");
    *ret = (struct span){room, bytes.len - SEAL_EXTRA_BYTES};
    return OK;
}
