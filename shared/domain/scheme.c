#include "domain/scheme.h"

#include "base/now.h"
#include "base/number.h"
#include "domain/encoding.h"
#include "domain/moment.h"
#include "domain/secret.h"
#include "domain/twilio.h"

#include <inttypes.h>
#include <stdlib.h>

#include <sodium.h>

enum {
    ID_BYTES_MAX = 256,
    TIME_DIGITS_MAX = 12,
    RFC3339_BYTES_MAX = sizeof("2022-10-26T22:36:45.123456789Z") - 1,
    CREDENTIAL_BYTES_MAX = 1024,
    CLAIM_ARENA_BYTES = 1024,
};

static const char *const algorithms[] = {
    [ALGORITHM_HMAC_SHA256] = "hmac-sha256", [ALGORITHM_HMAC_SHA512] = "hmac-sha512",
    [ALGORITHM_HMAC_SHA1] = "hmac-sha1",     [ALGORITHM_ED25519] = "ed25519",
    [ALGORITHM_CREDENTIAL] = "credential",
};
typedef enum refusal read_layout(const struct scheme *s, struct span value, struct claim *ret,
                                 const char **wrong);
typedef struct span write_layout(const struct scheme *s, struct span time, struct span value,
                                 struct arena *arena);
static read_layout read_single, read_list, read_key_value;
static write_layout write_single, write_key_value;

static const struct {
    read_layout *read;
    write_layout *write;
} layouts[] = {
    [LAYOUT_SINGLE] = {read_single,    write_single   },
    [LAYOUT_LIST] = {read_list,      write_single   },
    [LAYOUT_KEY_VALUE] = {read_key_value, write_key_value},
};

static enum refusal read_header(struct span name, const struct request *r, struct span *ret,
                                const char **wrong);
static void add_candidate(const struct scheme *s, struct span text, struct claim *ret);
static enum refusal check_time(const struct scheme *s, struct span text, int64_t now_wall_us, int64_t *ret_us,
                               const char **wrong);
static bool parse_time(const struct scheme *s, struct span text, int64_t *ret_us);
static enum refusal check_id(const struct scheme *s, struct span id, const char **wrong);
static bool is_word(char c);
static bool has_secret(const struct source *source, int64_t wall_us);
static bool decode_candidates(const struct scheme *s, const struct claim *claim,
                              struct offered ret[PROOFS_MAX]);
static bool decode_one(const struct scheme *s, enum algorithm algorithm, struct span text, uint8_t *ret);
static bool match_secret(const struct platform *p, const struct source *source, size_t number,
                         int64_t now_wall_us, const struct message *m,
                         const struct offered offered[PROOFS_MAX]);
static void fill_message(const struct scheme *s, const struct claim *claim, struct span body, struct span url,
                         struct message *ret);
static enum status sign(const struct scheme *s, struct span secret, const struct message *m, struct span *ret,
                        struct err *err);
static enum status prove(enum algorithm algorithm, struct span bytes, const struct message *m,
                         uint8_t ret[PROOF_BYTES_MAX], struct err *err);
static void arena_drop(struct arena **arena);

enum status scheme_verify(const struct platform *p, const struct source *source, const struct request *r,
                          struct verified *ret, struct err *err)
{
    const struct scheme *s = &p->scheme;
    defer(arena_drop) struct arena *arena = s->needs_url ? arena_open(CLAIM_ARENA_BYTES) : NULL;
    struct claim claim;
    const char *wrong = NULL;

    *ret = (struct verified){.time_us = TIME_NONE};
    ret->refusal = scheme_read(s, r, arena, &claim, &wrong);
    if (!ret->refusal)
        ret->refusal = scheme_check(s, &claim, r, &ret->time_us, &wrong);
    if (!ret->refusal)
        ret->refusal = scheme_match(p, source, &claim, r, &ret->secret, &wrong);
    if (ret->refusal)
        return err_cause(err, FORGED, scheme_refusal_word(ret->refusal), "%.*s: %s", SPAN_ARG(s->header),
                         wrong);
    ret->id = s->signs_id ? claim.id : SPAN_NONE;
    return OK;
}

const char *scheme_refusal_word(enum refusal refusal)
{
    static const char *const words[] = {
        [REFUSAL_NONE] = "none",
        [REFUSAL_HEADER_MISSING] = "header_missing",
        [REFUSAL_HEADER_TWICE] = "header_twice",
        [REFUSAL_MALFORMED] = "malformed_signature",
        [REFUSAL_TIME_MALFORMED] = "malformed_time",
        [REFUSAL_TOO_OLD] = "too_old",
        [REFUSAL_IN_FUTURE] = "in_future",
        [REFUSAL_BAD_ID] = "bad_id",
        [REFUSAL_BAD_BODY] = "bad_body",
        [REFUSAL_NO_MATCH] = "no_match",
        [REFUSAL_NO_SECRET] = "no_secret_in_force",
    };

    return words[refusal];
}

enum refusal scheme_read(const struct scheme *s, const struct request *r, struct arena *arena,
                         struct claim *ret, const char **wrong)
{
    struct span value;
    enum refusal refusal = read_header(s->header, r, &value, wrong);

    ret->ncandidates = 0;
    ret->time = ret->id = ret->form = SPAN_NONE;
    if (!refusal)
        refusal = layouts[s->layout].read(s, value, ret, wrong);
    if (!refusal && s->time_header.at)
        refusal = read_header(s->time_header, r, &ret->time, wrong);
    if (!refusal && s->id_header.at)
        refusal = read_header(s->id_header, r, &ret->id, wrong);
    if (!refusal && s->needs_url && !twilio_form(r, arena, &ret->form, wrong))
        refusal = REFUSAL_BAD_BODY;
    return refusal;
}

/* Exactly once: of two, a proxy in front may have looked at the other. */
static enum refusal read_header(struct span name, const struct request *r, struct span *ret,
                                const char **wrong)
{
    *ret = SPAN_NONE;
    for (size_t i = 0; i < r->nheaders; i++) {
        if (!span_eq(r->headers[i].name, name))
            continue;
        if (ret->at) {
            *wrong = "a signature header is there twice";
            return REFUSAL_HEADER_TWICE;
        }
        *ret = r->headers[i].value.at ? r->headers[i].value : SPAN("");
    }
    *wrong = "a signature header is missing";
    return ret->at ? REFUSAL_NONE : REFUSAL_HEADER_MISSING;
}

static enum refusal read_single(const struct scheme *s, struct span value, struct claim *ret,
                                const char **wrong)
{
    add_candidate(s, value, ret);
    *wrong = "the signature lacks its prefix";
    return ret->ncandidates ? REFUSAL_NONE : REFUSAL_MALFORMED;
}

/* "v1,abc v1,def": kinds we do not know are skipped, and so is nothing between two separators. */
static enum refusal read_list(const struct scheme *s, struct span value, struct claim *ret,
                              const char **wrong)
{
    for (size_t i = 0; value.at; i++) {
        if (i == CANDIDATES_MAX) {
            *wrong = "too many signatures";
            return REFUSAL_MALFORMED;
        }
        add_candidate(s, span_cut(&value, s->separator), ret);
    }
    *wrong = "no signature of a known kind";
    return ret->ncandidates ? REFUSAL_NONE : REFUSAL_MALFORMED;
}

/* "t=1700000000,s=0a1b": keys we do not know are skipped, but nothing that is no pair. */
static enum refusal read_key_value(const struct scheme *s, struct span value, struct claim *ret,
                                   const char **wrong)
{
    for (size_t i = 0; value.at; i++) {
        struct span text = span_cut(&value, s->separator), key = span_cut(&text, '=');
        *wrong = i == CANDIDATES_MAX ? "too many pairs" : "not a list of key=value";
        if (i == CANDIDATES_MAX || !text.at)
            return REFUSAL_MALFORMED;
        *wrong = "two timestamps";
        if (span_eq(key, s->time_key)) {
            if (ret->time.at)
                return REFUSAL_TIME_MALFORMED;
            ret->time = text;
        } else if (span_eq(key, s->value_key)) {
            add_candidate(s, text, ret);
        }
    }
    *wrong = "the timestamp is missing";
    if (s->time_key.at && !ret->time.at)
        return REFUSAL_TIME_MALFORMED;
    *wrong = "the signature is missing";
    return ret->ncandidates ? REFUSAL_NONE : REFUSAL_MALFORMED;
}

/* The longest prefix counts. */
static void add_candidate(const struct scheme *s, struct span text, struct claim *ret)
{
    size_t best = SIZE_MAX;

    for (size_t i = 0; i < s->nproofs; i++)
        if (span_starts(text, s->proofs[i].prefix) &&
            (best == SIZE_MAX || s->proofs[i].prefix.len > s->proofs[best].prefix.len))
            best = i;
    if (best == SIZE_MAX)
        return;
    ret->candidates[ret->ncandidates].value = span_skip(text, s->proofs[best].prefix.len);
    ret->candidates[ret->ncandidates++].proof = best;
}

enum refusal scheme_check(const struct scheme *s, const struct claim *claim, const struct request *r,
                          int64_t *ret_time_us, const char **wrong)
{
    enum refusal refusal = REFUSAL_NONE;

    *ret_time_us = TIME_NONE;
    if (claim->time.at)
        refusal = check_time(s, claim->time, r->received_us, ret_time_us, wrong);
    if (!refusal && claim->id.at)
        refusal = check_id(s, claim->id, wrong);
    if (!refusal && s->wants_container &&
        (r->body.len == 0 || !(r->body.at[0] == '{' || r->body.at[0] == '['))) {
        *wrong = "the body is neither an object nor an array, and could be a handshake's token";
        refusal = REFUSAL_BAD_BODY;
    }
    return refusal;
}

/* By our clock's whole seconds; both ways, the bound included. */
static enum refusal check_time(const struct scheme *s, struct span text, int64_t now_wall_us, int64_t *ret_us,
                               const char **wrong)
{
    int64_t apart_us;

    if (!parse_time(s, text, ret_us)) {
        *wrong = s->time_format == TIME_UNIX ? "the timestamp is not whole seconds since 1970"
                                             : "the timestamp is not RFC 3339 in UTC";
        return REFUSAL_TIME_MALFORMED;
    }
    apart_us = now_wall_us - now_wall_us % SECOND_US - *ret_us;
    *wrong = apart_us > 0 ? "the timestamp is too old" : "the timestamp is in the future";
    if (apart_us > s->past_s * SECOND_US)
        return REFUSAL_TOO_OLD;
    return apart_us < -(s->future_s * SECOND_US) ? REFUSAL_IN_FUTURE : REFUSAL_NONE;
}

static bool parse_time(const struct scheme *s, struct span text, int64_t *ret_us)
{
    uint64_t seconds;

    if (s->time_format == TIME_RFC3339)
        return text.len > 10 && text.len <= RFC3339_BYTES_MAX && text.at[10] == 'T' &&
               text.at[text.len - 1] == 'Z' && moment_parse(text, ret_us);
    if (text.len > TIME_DIGITS_MAX || !number_parse(text, 1, UINT64_MAX, &seconds))
        return false;
    *ret_us = (int64_t)seconds * SECOND_US;
    return true;
}

/* What could stand beside the id in the template must not stand in it: text could move from one to the other, under the
 * same signature. */
static enum refusal check_id(const struct scheme *s, struct span id, const char **wrong)
{
    bool good = id.len > 0 && id.len <= ID_BYTES_MAX;

    for (size_t i = 0; i < id.len && good; i++)
        good = s->id_is_word ? is_word(id.at[i]) : !memchr(s->id_forbids, id.at[i], sizeof(s->id_forbids));
    *wrong = "the event id is empty, too long or holds what may stand beside it in the signed text";
    return good ? REFUSAL_NONE : REFUSAL_BAD_ID;
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* Every secret against every candidate, whether one has matched or not, and the decoy's key in place of those that
 * other sources have more: time tells neither which secret fits nor which source there is. */
enum refusal scheme_match(const struct platform *p, const struct source *source, const struct claim *claim,
                          const struct request *r, size_t *ret_secret, const char **wrong)
{
    const struct scheme *s = &p->scheme;
    struct message message = {.arena = NULL};
    struct span urls[TWILIO_URLS] = {SPAN_NONE};
    struct offered offered[PROOFS_MAX];
    size_t nurls = 1;
    bool found = false, in_force;

    *wrong = "the signature is not written as it should be";
    if (!decode_candidates(s, claim, offered))
        return REFUSAL_MALFORMED;

    if (s->needs_url || s->proofs[0].algorithm == ALGORITHM_ED25519 || s->nproofs > 1)
        message.arena = arena_open(CLAIM_ARENA_BYTES);
    if (s->needs_url)
        nurls = twilio_urls(r->url, message.arena, urls);
    for (size_t u = 0; u < nurls; u++) {
        fill_message(s, claim, r->body, urls[u], &message);
        for (size_t k = 0; k < p->nsecrets_max; k++)
            if (match_secret(p, source, k, r->received_us, &message, offered)) {
                found = true;
                *ret_secret = k;
            }
    }
    arena_close(message.arena);
    in_force = has_secret(source ? source : p->decoy, r->received_us);
    *wrong = in_force ? "the signature does not match" : "no secret of the source is in force";
    return found ? REFUSAL_NONE : in_force ? REFUSAL_NO_MATCH : REFUSAL_NO_SECRET;
}

static bool has_secret(const struct source *source, int64_t wall_us)
{
    for (size_t i = 0; i < source->nsecrets; i++)
        if (secret_is_active(&source->secrets[i], wall_us))
            return true;
    return false;
}

/* False: none of them is written as it should be. */
static bool decode_candidates(const struct scheme *s, const struct claim *claim,
                              struct offered ret[PROOFS_MAX])
{
    bool any = false;

    for (size_t i = 0; i < s->nproofs; i++)
        ret[i].n = 0;
    for (size_t i = 0; i < claim->ncandidates; i++) {
        struct offered *o = &ret[claim->candidates[i].proof];
        enum algorithm algorithm = s->proofs[claim->candidates[i].proof].algorithm;
        if (decode_one(s, algorithm, claim->candidates[i].value, o->proofs[o->n])) {
            o->n++;
            any = true;
        }
    }
    return any;
}

static bool decode_one(const struct scheme *s, enum algorithm algorithm, struct span text, uint8_t *ret)
{
    uint8_t credential[CREDENTIAL_BYTES_MAX];
    size_t len;

    if (algorithm != ALGORITHM_CREDENTIAL)
        return encoding_read(s->encoding, text, ret, key_proof_bytes(algorithm), &len) &&
               len == key_proof_bytes(algorithm);
    if (!encoding_read(s->encoding, text, credential, sizeof(credential), &len))
        return false;
    key_credential((struct span){(const char *)credential, len}, ret);
    sodium_memzero(credential, sizeof(credential));
    return true;
}

/* Where the source has no secret of that number, or none that counts, the decoy's does the work; the decoy itself
 * stands for a source that is unknown. */
static bool match_secret(const struct platform *p, const struct source *source, size_t number,
                         int64_t now_wall_us, const struct message *m,
                         const struct offered offered[PROOFS_MAX])
{
    const struct source *of = source ? source : p->decoy;
    const struct secret *secret = &of->secrets[number];
    bool counts = number < of->nsecrets && secret_is_active(secret, now_wall_us), found = false;

    for (size_t i = 0; i < p->scheme.nproofs; i++) {
        const struct key *own = counts ? secret->keys[i] : NULL;
        if (offered[i].n > 0)
            found |= key_fits(own ? own : p->decoy->secrets[0].keys[i], m, &offered[i]) & (own != NULL);
    }
    return found & (source != NULL);
}

static void fill_message(const struct scheme *s, const struct claim *claim, struct span body, struct span url,
                         struct message *ret)
{
    const struct span pieces[] = {
        [PART_ID] = claim->id, [PART_TIME] = claim->time, [PART_BODY] = body,
        [PART_URL] = url,      [PART_FORM] = claim->form,
    };

    for (size_t i = 0; i < s->nparts; i++)
        ret->pieces[i] = s->parts[i].kind == PART_LITERAL ? s->parts[i].literal : pieces[s->parts[i].kind];
    ret->npieces = s->nparts;
}

/* NOLINTNEXTLINE(readability-function-size): the parameters are the request */
enum status scheme_sign(const struct platform *p, struct span secret, struct span id, int64_t time_us,
                        struct span url, struct span body, struct arena *arena,
                        struct header ret[SIGNED_HEADERS_MAX], size_t *nret, struct err *err)
{
    const struct scheme *s = &p->scheme;
    const struct request form = {.body = body, .url = url};
    struct message message = {.arena = arena};
    struct claim claim = {.id = id};
    char time[TIME_TEXT_BYTES];
    const char *wrong;
    struct span value;
    size_t n = 0;

    time_text(time_us, time, sizeof(time));
    claim.time = s->time_format == TIME_RFC3339
                     ? arena_copy(arena, span_of(time))
                     : span_of(arena_print(arena, "%" PRId64, time_us / SECOND_US));
    if (s->needs_url && !twilio_form(&form, arena, &claim.form, &wrong))
        return err_set(err, INVALID, "%s", wrong);
    fill_message(s, &claim, body, url, &message);
    if (sign(s, secret, &message, &value, err))
        return INVALID;
    ret[n++] = (struct header){s->header, layouts[s->layout].write(s, claim.time, value, arena)};
    if (s->time_header.at)
        ret[n++] = (struct header){s->time_header, claim.time};
    if (s->id_header.at)
        ret[n++] = (struct header){s->id_header, id};
    *nret = n;
    return OK;
}

/* With the first kind of proof that the secret is for. */
static enum status sign(const struct scheme *s, struct span secret, const struct message *m, struct span *ret,
                        struct err *err)
{
    const struct proof *proof = s->proofs;
    uint8_t bytes[KEY_BYTES_MAX], made[PROOF_BYTES_MAX];
    struct span encoded = SPAN_NONE;
    enum status status;
    size_t len;

    while (proof < s->proofs + s->nproofs - 1 && !secret_is_for(s, proof, secret))
        proof++;
    status = secret_key_bytes(s, proof, secret, bytes, &len, err);
    if (status == OK && proof->algorithm == ALGORITHM_CREDENTIAL) {
        encoded = encoding_write(s->encoding, bytes, len, m->arena);
    } else if (status == OK) {
        status = prove(proof->algorithm, (struct span){(char *)bytes, len}, m, made, err);
        encoded = encoding_write(s->encoding, made, key_proof_bytes(proof->algorithm), m->arena);
    }
    sodium_memzero(bytes, sizeof(bytes));
    *ret = span_of(arena_print(m->arena, "%.*s%.*s", SPAN_ARG(proof->prefix), SPAN_ARG(encoded)));
    return status;
}

static enum status prove(enum algorithm algorithm, struct span bytes, const struct message *m,
                         uint8_t ret[PROOF_BYTES_MAX], struct err *err)
{
    struct key *key;
    enum status status;

    if (algorithm == ALGORITHM_ED25519)
        return key_sign_ed25519(bytes, m, ret, err);
    key = arena_alloc(m->arena, key_size());
    status = key_make(algorithm, bytes, key, err);
    if (status == OK)
        key_mac(key, m, ret);
    sodium_memzero(key, key_size());
    return status;
}

static struct span write_single(const struct scheme *s, struct span time, struct span value,
                                struct arena *arena)
{
    (void)s;
    (void)time;
    (void)arena;
    return value;
}

static struct span write_key_value(const struct scheme *s, struct span time, struct span value,
                                   struct arena *arena)
{
    const char *stamp = s->time_key.at ? arena_print(arena, "%.*s=%.*s%c", SPAN_ARG(s->time_key),
                                                     SPAN_ARG(time), s->separator)
                                       : "";

    return span_of(arena_print(arena, "%s%.*s=%.*s", stamp, SPAN_ARG(s->value_key), SPAN_ARG(value)));
}

const char *scheme_algorithm_name(enum algorithm algorithm)
{
    return algorithms[algorithm];
}

static void arena_drop(struct arena **arena)
{
    arena_close(*arena);
}
