#include "domain/secret.h"

#include "base/now.h"
#include "domain/encoding.h"
#include "domain/key.h"
#include "domain/moment.h"

#include <endian.h>
#include <stdlib.h>

#include <sodium.h>

enum { DECOY_BYTES = 32, ALIGNMENT = 64 };

/* One line, taken apart. */
struct line {
    struct span secret;
    int64_t not_before_us, expires_us;
};

static enum status read_lines(struct span text, struct line *ret, size_t *nret, struct err *err);
static enum status read_line(struct span text, struct line *ret, struct err *err);
static bool read_limit(struct span word, struct line *ret);
static char *lock(size_t nsecrets, size_t nproofs, size_t ntext, size_t *ret_bytes);
static char *keys_of(char *block, size_t ntext);
static size_t key_room_bytes(void);
static size_t up(size_t bytes);
static struct key *key_room(char *keys, size_t index);
static enum status fill(const struct platform *p, const struct source *s, struct secret *secret, char *keys,
                        struct err *err);
static bool is_ambiguous(const struct scheme *s, struct span secret);
static void name_key(const struct platform *p, const struct source *s, struct secret *secret);

char *secrets_read(const struct platform *p, struct source *s, struct span lines, size_t *ret_bytes,
                   struct err *err)
{
    struct line read[SECRETS_MAX] = {0};
    size_t nread = 0, ntext = 0;
    char *block, *text;

    if (read_lines(lines, read, &nread, err))
        return NULL;
    for (size_t i = 0; i < nread; i++)
        ntext += read[i].secret.len;
    block = lock(nread, p->scheme.nproofs, ntext, ret_bytes);
    text = block;
    for (size_t i = 0; i < nread; i++) {
        struct secret *secret = &s->secrets[i];
        *secret = (struct secret){
            .bytes = {text, read[i].secret.len},
            .not_before_us = read[i].not_before_us,
            .expires_us = read[i].expires_us
        };
        text = mempcpy(text, read[i].secret.at, read[i].secret.len);
        if (fill(p, s, secret, keys_of(block, ntext) + i * p->scheme.nproofs * key_room_bytes(), err)) {
            sodium_free(block);
            err_in(err, "secret %zu", i + 1);
            return NULL;
        }
    }
    s->nsecrets = nread;
    sodium_mprotect_readonly(block);
    return block;
}

char *secrets_decoy(const struct platform *p, struct source *s, size_t *ret_bytes)
{
    char *block = lock(1, p->scheme.nproofs, 0, ret_bytes);

    s->nsecrets = 1;
    s->secrets[0] = (struct secret){.bytes = SPAN(""), .not_before_us = TIME_NONE, .expires_us = TIME_NONE};
    for (size_t i = 0; i < p->scheme.nproofs; i++) {
        enum algorithm algorithm = p->scheme.proofs[i].algorithm;
        uint8_t bytes[DECOY_BYTES], unused[crypto_sign_SECRETKEYBYTES];
        struct key *key = key_room(block, i);
        randombytes_buf(bytes, sizeof(bytes));
        if (algorithm == ALGORITHM_ED25519)
            crypto_sign_keypair(bytes, unused);
        if (key_make(algorithm, (struct span){(char *)bytes, sizeof(bytes)}, key, NULL))
            abort();
        s->secrets[0].keys[i] = key;
        sodium_memzero(bytes, sizeof(bytes));
        sodium_memzero(unused, sizeof(unused));
    }
    sodium_mprotect_readonly(block);
    return block;
}

enum status secret_key_bytes(const struct scheme *s, const struct proof *proof, struct span secret,
                             uint8_t room[KEY_BYTES_MAX], size_t *ret_len, struct err *err)
{
    const char *end = NULL;
    struct span key = secret;

    if (proof->key_prefix.len > 0 && span_starts(key, proof->key_prefix))
        key = span_skip(key, proof->key_prefix.len);
    if (proof->algorithm == ALGORITHM_CREDENTIAL) {
        int len = snprintf((char *)room, KEY_BYTES_MAX, "%.*s:%.*s", SPAN_ARG(s->user), SPAN_ARG(key));
        *ret_len = (size_t)len;
        return len < KEY_BYTES_MAX && key.len > 0
                   ? OK
                   : err_set(err, INVALID, "empty or longer than %d bytes", KEY_BYTES_MAX);
    }
    if (key.len > KEY_BYTES_MAX)
        return err_set(err, INVALID, "longer than %d bytes", KEY_BYTES_MAX);
    switch (s->key_format) {
    case KEY_TEXT:
        if (key.len > 0)
            memcpy(room, key.at, key.len);
        *ret_len = key.len;
        break;
    case KEY_HEX:
        if (sodium_hex2bin(room, KEY_BYTES_MAX, key.at, key.len, NULL, ret_len, &end) != 0 ||
            end != key.at + key.len)
            return err_set(err, INVALID, "not hex digits, two a byte");
        break;
    case KEY_BASE64:
        if (!encoding_read(ENCODING_BASE64, key, room, KEY_BYTES_MAX, ret_len))
            return err_set(err, INVALID, "not base64");
        break;
    }
    return *ret_len > 0 ? OK : err_set(err, INVALID, "the key is empty");
}

bool secret_is_for(const struct scheme *s, const struct proof *proof, struct span secret)
{
    const struct proof *of = &s->proofs[0];

    for (size_t i = 0; i < s->nproofs; i++)
        if (s->proofs[i].key_prefix.len > 0 && span_starts(secret, s->proofs[i].key_prefix))
            of = &s->proofs[i];
    return span_eq(proof->key_prefix, of->key_prefix);
}

bool secret_is_active(const struct secret *secret, int64_t wall_us)
{
    return (secret->not_before_us == TIME_NONE || wall_us >= secret->not_before_us) &&
           (secret->expires_us == TIME_NONE || wall_us < secret->expires_us);
}

static enum status read_lines(struct span text, struct line *ret, size_t *nret, struct err *err)
{
    while (text.at) {
        struct span line = span_cut(&text, '\n');
        if (line.len > 0 && line.at[line.len - 1] == '\r')
            line.len--;
        if (line.len == 0 || span_eq(line, SPAN("#")) || span_starts(line, SPAN("# ")))
            continue;
        if (*nret == SECRETS_MAX)
            return err_set(err, INVALID, "more than %d secrets", SECRETS_MAX);
        if (read_line(line, &ret[(*nret)++], err))
            return err_in(err, "secret %zu", *nret);
    }
    return *nret > 0 ? OK : err_set(err, INVALID, "there is no secret, one a line is wanted");
}

/* "whsec_abc not-before=2027-01-31T12:00:00Z". Strict: what is taken for a part of the secret by mistake would be a key
 * that nobody signs with, or, being a comment, one that anybody can guess. */
static enum status read_line(struct span text, struct line *ret, struct err *err)
{
    *ret = (struct line){span_cut(&text, ' '), TIME_NONE, TIME_NONE};
    if (ret->secret.len == 0)
        return err_set(err, INVALID, "the line begins with a blank");
    if (ret->secret.at[0] == '#')
        return err_set(err, INVALID, "a comment is \"#\" and a blank; a secret does not begin with \"#\"");
    if (memchr(ret->secret.at, '\t', ret->secret.len))
        return err_set(err, INVALID, "there is a tab in the line");
    while (text.at)
        if (!read_limit(span_cut(&text, ' '), ret))
            return err_set(err, INVALID,
                           "behind the secret and one blank may stand not-before= and expires=, each once "
                           "and with a time "
                           "such as 2027-01-31T12:00:00Z");
    if (ret->not_before_us != TIME_NONE && ret->expires_us != TIME_NONE &&
        ret->not_before_us >= ret->expires_us)
        return err_set(err, INVALID, "expires before its not-before");
    return OK;
}

static bool read_limit(struct span word, struct line *ret)
{
    struct span time = word, name = span_cut(&time, '=');
    int64_t *limit = span_eq(name, SPAN("expires")) ? &ret->expires_us : &ret->not_before_us;

    return time.at && (span_eq(name, SPAN("not-before")) || span_eq(name, SPAN("expires"))) &&
           *limit == TIME_NONE && moment_parse(time, limit);
}

/* Text, then keys. sodium_malloc puts the end of a block at the end of a page, so the keys of one secret lie at the same
 * place of a page, whatever they are for: where they lie there shows in the time that they take. */
static char *lock(size_t nsecrets, size_t nproofs, size_t ntext, size_t *ret_bytes)
{
    char *block;

    *ret_bytes = up(ntext) + nsecrets * nproofs * key_room_bytes();
    block = sodium_malloc(*ret_bytes);
    if (!block)
        abort();
    return block;
}

static char *keys_of(char *block, size_t ntext)
{
    return block + up(ntext);
}

static size_t key_room_bytes(void)
{
    return up(key_size());
}

static size_t up(size_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static struct key *key_room(char *keys, size_t index)
{
    return (struct key *)(void *)(keys + index * key_room_bytes());
}

static enum status fill(const struct platform *p, const struct source *s, struct secret *secret, char *keys,
                        struct err *err)
{
    const struct scheme *scheme = &p->scheme;
    uint8_t bytes[KEY_BYTES_MAX];
    enum status status = OK;
    size_t len = 0;

    if (is_ambiguous(scheme, secret->bytes))
        return err_set(err, INVALID,
                       "write it with its prefix: the platform has keys of several kinds, and a public one "
                       "taken for a secret would let anybody sign");
    for (size_t i = 0; status == OK && i < scheme->nproofs; i++) {
        const struct proof *proof = &scheme->proofs[i];
        struct key *key = key_room(keys, i);
        if (!secret_is_for(scheme, proof, secret->bytes))
            continue;
        status = secret_key_bytes(scheme, proof, secret->bytes, bytes, &len, err);
        if (status == OK)
            status = key_make(proof->algorithm, (struct span){(char *)bytes, len}, key, err);
        secret->keys[i] = key;
    }
    sodium_memzero(bytes, sizeof(bytes));
    name_key(p, s, secret);
    return status;
}

/* Does the scheme have keys told by prefixes, and this one none of them? */
static bool is_ambiguous(const struct scheme *s, struct span secret)
{
    bool several = false;

    for (size_t i = 0; i < s->nproofs; i++) {
        several |= !span_eq(s->proofs[i].key_prefix, s->proofs[0].key_prefix);
        if (s->proofs[i].key_prefix.len > 0 && span_starts(secret, s->proofs[i].key_prefix))
            return false;
    }
    return several;
}

static void name_key(const struct platform *p, const struct source *s, struct secret *secret)
{
    const struct span pieces[] = {p->name, s->name, secret->bytes};
    uint8_t digest[crypto_generichash_BYTES];
    crypto_generichash_state hash;

    crypto_generichash_init(&hash, NULL, 0, sizeof(digest));
    for (size_t i = 0; i < countof(pieces); i++) {
        uint64_t len = htole64(pieces[i].len);
        crypto_generichash_update(&hash, (const uint8_t *)&len, sizeof(len));
        crypto_generichash_update(&hash, (const uint8_t *)pieces[i].at, pieces[i].len);
    }
    crypto_generichash_final(&hash, digest, sizeof(digest));
    sodium_bin2hex(secret->key_id, sizeof(secret->key_id), digest, (sizeof(secret->key_id) - 1) / 2);
}
