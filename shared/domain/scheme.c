#include "domain/scheme.h"

#include "base/now.h"
#include "base/number.h"

#include <inttypes.h>
#include <stdlib.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <sodium.h>

enum { CANDIDATES_MAX = 16, MAC_BYTES_MAX = 64, ID_BYTES_MAX = 256, TIME_DIGITS_MAX = 12 };

/* What a request claims, before anything of it is believed. */
struct claim {
    struct span values[CANDIDATES_MAX]; /* encoded signatures: any may match */
    size_t nvalues;
    struct span time, id; /* as sent; absent if the scheme has none */
};

/* OpenSSL's HMAC takes a quarter of libsodium's time where the processor knows SHA-256. */
static const struct {
    const char *name, *mac, *digest;
    size_t bytes;
} algorithms[] = {
    [ALGORITHM_HMAC_SHA256] = {"hmac-sha256", "HMAC", "SHA256", 32},
};

typedef const char *read_layout(const struct scheme *s, struct span value, struct claim *ret);
typedef struct span write_layout(const struct scheme *s, struct span time, struct span value,
                                 struct arena *arena);
static read_layout read_single, read_key_value;
static write_layout write_single, write_key_value;

static const struct {
    const char *name;
    read_layout *read; /* returns what is wrong, or NULL */
    write_layout *write;
} layouts[] = {
    [LAYOUT_SINGLE] = {"single",    read_single,    write_single   },
    [LAYOUT_KEY_VALUE] = {"key-value", read_key_value, write_key_value},
};

/* Decoding takes exactly the bytes of one signature, in the one form that the encoding has for them. */
typedef bool decode(struct span text, uint8_t *ret, size_t nbytes);
typedef struct span encode(const uint8_t *bytes, size_t nbytes, struct arena *arena);
static decode decode_hex, decode_base64;
static encode encode_hex, encode_base64;

static const struct {
    const char *name;
    decode *decode;
    encode *encode;
} encodings[] = {
    [ENCODING_HEX] = {"hex",    decode_hex,    encode_hex   },
    [ENCODING_BASE64] = {"base64", decode_base64, encode_base64},
};

static const char *read_claim(const struct scheme *s, const struct header *headers, size_t nheaders,
                              struct claim *ret);
static const char *read_header(struct span name, const struct header *headers, size_t nheaders,
                               struct span *ret);
static const char *check_time(const struct scheme *s, struct span text, int64_t now_wall_us, int64_t *ret_us);
static const char *check_id(struct span id);
static const char *match(const struct platform *p, const struct source *source, const struct claim *claim,
                         struct span body, size_t *ret);
static void compute(const struct scheme *s, struct evp_mac_ctx_st *key, const struct claim *claim,
                    struct span body, uint8_t ret[MAC_BYTES_MAX]);

/* NOLINTNEXTLINE(readability-function-size): the parameters are the request */
enum status scheme_verify(const struct platform *p, const struct source *source, const struct header *headers,
                          size_t nheaders, struct span body, int64_t now_wall_us, struct verified *ret,
                          struct err *err)
{
    const struct scheme *s = &p->scheme;
    struct claim claim = {.nvalues = 0};
    const char *wrong;

    *ret = (struct verified){.time_us = TIME_NONE, .received_us = now_wall_us};
    wrong = read_claim(s, headers, nheaders, &claim);
    if (!wrong && claim.time.at)
        wrong = check_time(s, claim.time, now_wall_us, &ret->time_us);
    if (!wrong && claim.id.at)
        wrong = check_id(claim.id);
    if (!wrong)
        wrong = match(p, source ? source : p->decoy, &claim, body, &ret->secret);
    if (wrong)
        return err_cause(err, FORGED, "bad_signature", "%.*s: %s", SPAN_ARG(s->header), wrong);
    ret->id = claim.id;
    return OK;
}

/* NOLINTNEXTLINE(readability-function-size): the parameters are the request */
size_t scheme_sign(const struct platform *p, struct span secret, struct span id, int64_t time_us,
                   struct span body, struct arena *arena, struct header ret[SIGNED_HEADERS_MAX])
{
    const struct scheme *s = &p->scheme;
    const struct claim claim = {.time = span_of(arena_print(arena, "%" PRId64, time_us / SECOND_US)),
                                .id = id};
    struct evp_mac_ctx_st *key = scheme_key(s->algorithm, secret);
    uint8_t mac[MAC_BYTES_MAX];
    struct span value;
    size_t n = 0;

    compute(s, key, &claim, body, mac);
    scheme_key_free(key);
    value = encodings[s->encoding].encode(mac, algorithms[s->algorithm].bytes, arena);
    ret[n++] = (struct header){s->header, layouts[s->layout].write(s, claim.time, value, arena)};
    if (s->time_header.at)
        ret[n++] = (struct header){s->time_header, claim.time};
    if (s->id_header.at)
        ret[n++] = (struct header){s->id_header, id};
    return n;
}

struct evp_mac_ctx_st *scheme_key(enum algorithm algorithm, struct span secret)
{
    char *digest = strdup(algorithms[algorithm].digest); /* OSSL_PARAM knows no const */
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    EVP_MAC *mac = EVP_MAC_fetch(NULL, algorithms[algorithm].mac, NULL);
    EVP_MAC_CTX *key = EVP_MAC_CTX_new(mac);

    if (!key || !EVP_MAC_init(key, (const unsigned char *)secret.at, secret.len, params))
        abort();
    EVP_MAC_free(mac); /* the context holds on to it */
    free(digest);
    return key;
}

void scheme_key_free(struct evp_mac_ctx_st *key)
{
    EVP_MAC_CTX_free(key);
}

bool scheme_algorithm(struct span word, enum algorithm *ret)
{
    for (size_t i = 0; i < countof(algorithms); i++)
        if (span_eq(word, span_of(algorithms[i].name))) {
            *ret = (enum algorithm)i;
            return true;
        }
    return false;
}

bool scheme_layout(struct span word, enum layout *ret)
{
    for (size_t i = 0; i < countof(layouts); i++)
        if (span_eq(word, span_of(layouts[i].name))) {
            *ret = (enum layout)i;
            return true;
        }
    return false;
}

bool scheme_encoding(struct span word, enum encoding *ret)
{
    for (size_t i = 0; i < countof(encodings); i++)
        if (span_eq(word, span_of(encodings[i].name))) {
            *ret = (enum encoding)i;
            return true;
        }
    return false;
}

static const char *read_claim(const struct scheme *s, const struct header *headers, size_t nheaders,
                              struct claim *ret)
{
    struct span value;
    const char *wrong = read_header(s->header, headers, nheaders, &value);

    if (!wrong)
        wrong = layouts[s->layout].read(s, value, ret);
    if (!wrong && s->time_header.at)
        wrong = read_header(s->time_header, headers, nheaders, &ret->time);
    if (!wrong && s->id_header.at)
        wrong = read_header(s->id_header, headers, nheaders, &ret->id);
    return wrong;
}

/* Exactly once: of two, a proxy in front may have looked at the other. */
static const char *read_header(struct span name, const struct header *headers, size_t nheaders,
                               struct span *ret)
{
    *ret = SPAN_NONE;
    for (size_t i = 0; i < nheaders; i++) {
        if (!span_eq(headers[i].name, name))
            continue;
        if (ret->at)
            return "a signature header is there twice";
        *ret = headers[i].value.at ? headers[i].value : SPAN("");
    }
    return ret->at ? NULL : "a signature header is missing";
}

static const char *read_single(const struct scheme *s, struct span value, struct claim *ret)
{
    if (!span_starts(value, s->prefix))
        return "the signature lacks its prefix";
    ret->values[ret->nvalues++] = span_skip(value, s->prefix.len);
    return NULL;
}

/* "t=1700000000,s=0a1b": keys we do not know are skipped, but nothing that is no pair. */
static const char *read_key_value(const struct scheme *s, struct span value, struct claim *ret)
{
    for (size_t i = 0; value.at; i++) {
        struct span text = span_cut(&value, ','), key = span_cut(&text, '=');
        if (i == CANDIDATES_MAX)
            return "too many pairs";
        if (!text.at)
            return "not a list of key=value";
        if (span_eq(key, s->time_key)) {
            if (ret->time.at)
                return "two timestamps";
            ret->time = text;
        } else if (span_eq(key, s->value_key) && span_starts(text, s->prefix)) {
            ret->values[ret->nvalues++] = span_skip(text, s->prefix.len);
        }
    }
    if (s->time_key.at && !ret->time.at)
        return "the timestamp is missing";
    return ret->nvalues ? NULL : "the signature is missing";
}

static struct span write_single(const struct scheme *s, struct span time, struct span value,
                                struct arena *arena)
{
    (void)time;
    return span_of(arena_print(arena, "%.*s%.*s", SPAN_ARG(s->prefix), SPAN_ARG(value)));
}

static struct span write_key_value(const struct scheme *s, struct span time, struct span value,
                                   struct arena *arena)
{
    const char *stamp =
        s->time_key.at ? arena_print(arena, "%.*s=%.*s,", SPAN_ARG(s->time_key), SPAN_ARG(time)) : "";

    return span_of(arena_print(arena, "%s%.*s=%.*s%.*s", stamp, SPAN_ARG(s->value_key), SPAN_ARG(s->prefix),
                               SPAN_ARG(value)));
}

static bool decode_hex(struct span text, uint8_t *ret, size_t nbytes)
{
    if (text.len != 2 * nbytes)
        return false;
    for (size_t i = 0; i < text.len; i++) /* libsodium would take capitals too */
        if (!(text.at[i] >= '0' && text.at[i] <= '9') && !(text.at[i] >= 'a' && text.at[i] <= 'f'))
            return false;
    return sodium_hex2bin(ret, nbytes, text.at, text.len, NULL, NULL, NULL) == 0;
}

/* With NULL for what to ignore and for the end, only the canonical form passes. */
static bool decode_base64(struct span text, uint8_t *ret, size_t nbytes)
{
    size_t len;

    return sodium_base642bin(ret, nbytes, text.at, text.len, NULL, &len, NULL,
                             sodium_base64_VARIANT_ORIGINAL) == 0 &&
           len == nbytes;
}

static struct span encode_hex(const uint8_t *bytes, size_t nbytes, struct arena *arena)
{
    size_t room = 2 * nbytes + 1;

    return span_of(sodium_bin2hex(arena_alloc(arena, room), room, bytes, nbytes));
}

static struct span encode_base64(const uint8_t *bytes, size_t nbytes, struct arena *arena)
{
    size_t room = sodium_base64_encoded_len(nbytes, sodium_base64_VARIANT_ORIGINAL);

    return span_of(
        sodium_bin2base64(arena_alloc(arena, room), room, bytes, nbytes, sodium_base64_VARIANT_ORIGINAL));
}

/* Whole seconds; both ways, the bound included. */
static const char *check_time(const struct scheme *s, struct span text, int64_t now_wall_us, int64_t *ret_us)
{
    int64_t now = now_wall_us / SECOND_US, apart;
    uint64_t seconds;

    if (text.len > TIME_DIGITS_MAX || !number_parse(text, 1, UINT64_MAX, &seconds))
        return "the timestamp is not whole seconds since 1970";
    apart = now - (int64_t)seconds;
    if (apart > (int64_t)s->tolerance_s)
        return "the timestamp is too old";
    if (apart < -(int64_t)s->tolerance_s)
        return "the timestamp is in the future";
    *ret_us = (int64_t)seconds * SECOND_US;
    return NULL;
}

/* A dot in the id could move text between the id and the time while the signed bytes stay the same. */
static const char *check_id(struct span id)
{
    if (id.len == 0 || id.len > ID_BYTES_MAX || memchr(id.at, '.', id.len))
        return "the event id is empty, too long or holds a dot";
    return NULL;
}

/* Every secret against every candidate, whether one has matched or not, and the decoy's key in place of those that
 * other sources have more: time tells neither which secret fits nor which source there is. */
static const char *match(const struct platform *p, const struct source *source, const struct claim *claim,
                         struct span body, size_t *ret)
{
    const struct scheme *s = &p->scheme;
    size_t nbytes = algorithms[s->algorithm].bytes, decoded = 0;
    uint8_t candidates[CANDIDATES_MAX][MAC_BYTES_MAX], mac[MAC_BYTES_MAX];
    bool found = false;

    for (size_t i = 0; i < claim->nvalues; i++)
        decoded += encodings[s->encoding].decode(claim->values[i], candidates[decoded], nbytes);
    if (decoded == 0)
        return "the signature is not written as it should be";

    for (size_t k = 0; k < p->nsecrets_max; k++) {
        bool own = k < source->nsecrets;

        compute(s, (own ? source : p->decoy)->secrets[own ? k : 0].mac, claim, body, mac);
        for (size_t i = 0; i < decoded; i++)
            if (sodium_memcmp(mac, candidates[i], nbytes) == 0 && own) {
                found = true;
                *ret = k;
            }
    }
    return found ? NULL : "the signature does not match";
}

static void compute(const struct scheme *s, struct evp_mac_ctx_st *key, const struct claim *claim,
                    struct span body, uint8_t ret[MAC_BYTES_MAX])
{
    const struct span pieces[] = {[PART_ID] = claim->id, [PART_TIME] = claim->time, [PART_BODY] = body};
    bool good = EVP_MAC_init(key, NULL, 0, NULL); /* no key: starts anew with the one it has */
    size_t len;

    for (size_t i = 0; good && i < s->nparts; i++) {
        const struct signed_part *part = &s->parts[i];
        struct span piece = part->kind == PART_LITERAL ? part->literal : pieces[part->kind];
        good = EVP_MAC_update(key, (const unsigned char *)piece.at, piece.len);
    }
    if (!good || !EVP_MAC_final(key, ret, &len, MAC_BYTES_MAX))
        abort();
}
