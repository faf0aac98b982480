#include "domain/descriptor_reader.h"
#include "domain/scheme.h"

enum { PARTS_MAX = 8, TOLERANCE_S_MOST = 31536000 };

/* The words of the language, in the order of their enums. */
static const char *const algorithms[] = {
    [ALGORITHM_HMAC_SHA256] = "hmac-sha256", [ALGORITHM_HMAC_SHA512] = "hmac-sha512",
    [ALGORITHM_HMAC_SHA1] = "hmac-sha1",     [ALGORITHM_ED25519] = "ed25519",
    [ALGORITHM_CREDENTIAL] = "credential",
};
static const char *const layouts[] = {
    [LAYOUT_SINGLE] = "single", [LAYOUT_LIST] = "list", [LAYOUT_KEY_VALUE] = "key-value"};
static const char *const encodings[] = {[ENCODING_HEX] = "hex", [ENCODING_BASE64] = "base64"};
static const char *const key_formats[] = {[KEY_TEXT] = "text", [KEY_HEX] = "hex", [KEY_BASE64] = "base64"};
static const char *const time_formats[] = {[TIME_UNIX] = "unix", [TIME_RFC3339] = "rfc3339"};

static enum status read_words(struct reader *r, struct scheme *s);
static enum status read_headers(struct reader *r, struct scheme *s);
static enum status read_layout(struct reader *r, struct scheme *s);
static enum status read_separator(struct reader *r, struct scheme *s);
static enum status read_proofs(struct reader *r, struct scheme *s);
static enum status read_also(struct reader *r, size_t index, struct scheme *s);
static enum status check_key_prefix(struct reader *r, const char *path, const struct scheme *s);
static bool is_mac(enum algorithm algorithm);
static enum status read_credential(struct reader *r, struct scheme *s);
static enum status read_template(struct reader *r, struct scheme *s);
static enum status check_template(struct reader *r, const struct scheme *s);
static enum status read_time(struct reader *r, struct scheme *s);
static enum status read_id(struct reader *r, struct scheme *s);
static const struct signed_part *find_part(const struct scheme *s, int kind);

enum status descriptor_verify(struct reader *r, struct scheme *s)
{
    if (read_words(r, s) || read_headers(r, s) || read_layout(r, s) || read_proofs(r, s))
        return INVALID;
    if (s->proofs[0].algorithm == ALGORITHM_CREDENTIAL)
        return read_credential(r, s);
    if (r->raw->verify.user)
        return form_wrong(r->form, r->err, "verify.user", "only for algorithm: credential");
    if (read_template(r, s) || check_template(r, s) || read_time(r, s) || read_id(r, s))
        return INVALID;
    return OK;
}

static enum status read_words(struct reader *r, struct scheme *s)
{
    const struct raw_verify *from = &r->raw->verify;
    size_t algorithm = 0, layout = 0, encoding = 0, key = KEY_TEXT, time = TIME_UNIX;

    if (reader_word(r, "verify.algorithm", from->algorithm, algorithms, countof(algorithms), &algorithm) ||
        reader_word(r, "verify.layout", from->layout, layouts, countof(layouts), &layout) ||
        reader_word(r, "verify.encoding", from->encoding, encodings, countof(encodings), &encoding) ||
        reader_word(r, "verify.key", from->key, key_formats, countof(key_formats), &key) ||
        reader_word(r, "verify.time_format", from->time_format, time_formats, countof(time_formats), &time))
        return INVALID;
    s->proofs[0].algorithm = (enum algorithm)algorithm;
    s->layout = (enum layout)layout;
    s->encoding = (enum encoding)encoding;
    s->key_format = (enum key_format)key;
    s->time_format = (enum time_format)time;
    return OK;
}

static enum status read_headers(struct reader *r, struct scheme *s)
{
    const struct raw_verify *from = &r->raw->verify;

    if (reader_header(r, "verify.header", from->header, &s->header) ||
        reader_header(r, "verify.time_header", from->time_header, &s->time_header) ||
        reader_header(r, "verify.id_header", from->id_header, &s->id_header))
        return INVALID;
    if (span_eq(s->time_header, s->header))
        return form_wrong(r->form, r->err, "verify.time_header", "another header than the signature's");
    if (span_eq(s->id_header, s->header) || (s->id_header.at && span_eq(s->id_header, s->time_header)))
        return form_wrong(r->form, r->err, "verify.id_header",
                          "another header than the signature's and the time's");
    return OK;
}

static enum status read_layout(struct reader *r, struct scheme *s)
{
    const struct raw_verify *from = &r->raw->verify;
    bool pairs = s->layout == LAYOUT_KEY_VALUE;

    if (read_separator(r, s))
        return INVALID;
    s->value_key = reader_copy(r, from->value);
    s->time_key = reader_copy(r, from->time);
    if (pairs != (from->value != NULL))
        return form_wrong(r->form, r->err, pairs ? "verify.layout" : "verify.value",
                          "key-value needs the key \"value\", and it alone has it");
    if (from->time && (!pairs || from->time_header))
        return form_wrong(r->form, r->err, "verify.time", "only for key-value, and not beside time_header");
    if (pairs && (s->value_key.len == 0 || strchr(from->value, '=') || strchr(from->value, s->separator)))
        return form_wrong(r->form, r->err, "verify.value", "a key, without \"=\" and the separator");
    if (from->time && (s->time_key.len == 0 || strchr(from->time, '=') || strchr(from->time, s->separator) ||
                       span_eq(s->time_key, s->value_key)))
        return form_wrong(r->form, r->err, "verify.time",
                          "a key, without \"=\" and the separator, and another than value's");
    return OK;
}

/* It must not be able to stand in a value, or it would cut one in two. */
static enum status read_separator(struct reader *r, struct scheme *s)
{
    const char *text = r->raw->verify.separator;

    s->separator = s->layout == LAYOUT_LIST ? ' ' : ',';
    if (!text)
        return OK;
    if (s->layout == LAYOUT_SINGLE)
        return form_wrong(r->form, r->err, "verify.separator", "only for list and key-value");
    if (strlen(text) != 1 || text[0] < ' ' || text[0] > '~' ||
        strchr("+/=ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", text[0]))
        return form_wrong(r->form, r->err, "verify.separator",
                          "one character, but no letter, digit, \"+\", \"/\" or \"=\"");
    s->separator = text[0];
    return OK;
}

static enum status read_proofs(struct reader *r, struct scheme *s)
{
    const struct raw_verify *from = &r->raw->verify;

    s->nproofs = 1;
    s->proofs[0].prefix = reader_copy(r, from->prefix ? from->prefix : "");
    s->proofs[0].key_prefix = reader_copy(r, from->key_prefix ? from->key_prefix : "");
    if (from->nalso >= PROOFS_MAX)
        return form_wrong(r->form, r->err, "verify.also", "at most %d kinds, the first included", PROOFS_MAX);
    for (size_t i = 0; i < from->nalso; i++)
        if (read_also(r, i, s))
            return INVALID;
    for (size_t i = 0; i < s->nproofs; i++) {
        const char *path =
            i == 0 ? "verify.algorithm" : arena_print(r->arena, "verify.also[%zu].algorithm", i - 1);
        if (s->proofs[i].algorithm == ALGORITHM_ED25519 && s->key_format == KEY_TEXT)
            return form_wrong(r->form, r->err, path, "ed25519 needs key: hex or base64");
        if (s->layout != LAYOUT_SINGLE &&
            memchr(s->proofs[i].prefix.at, s->separator, s->proofs[i].prefix.len))
            return form_wrong(r->form, r->err, path, "its prefix holds the separator");
    }
    return OK;
}

static enum status read_also(struct reader *r, size_t index, struct scheme *s)
{
    const struct raw_also *from = &r->raw->verify.also[index];
    const char *path = arena_print(r->arena, "verify.also[%zu]", index);
    struct proof *proof = &s->proofs[s->nproofs];
    size_t algorithm = 0;

    if (reader_word(r, reader_path(r, path, "algorithm"), from->algorithm, algorithms, countof(algorithms),
                    &algorithm))
        return INVALID;
    *proof = (struct proof){.prefix = reader_copy(r, from->prefix),
                            .algorithm = (enum algorithm)algorithm,
                            .key_prefix = reader_copy(r, from->key_prefix ? from->key_prefix : "")};
    if (proof->algorithm == ALGORITHM_CREDENTIAL || s->proofs[0].algorithm == ALGORITHM_CREDENTIAL)
        return form_wrong(r->form, r->err, path, "nothing goes with credential");
    for (size_t i = 0; i < s->nproofs; i++)
        if (span_eq(s->proofs[i].prefix, proof->prefix))
            return form_wrong(r->form, r->err, reader_path(r, path, "prefix"),
                              "each kind needs a prefix of its own: by it they are told apart");
    s->nproofs++;
    return check_key_prefix(r, path, s);
}

/* Which kind a secret is for is told by its key_prefix. A public key taken for the key of a MAC would let everybody who
 * knows it sign. */
static enum status check_key_prefix(struct reader *r, const char *path, const struct scheme *s)
{
    const struct proof *proof = &s->proofs[s->nproofs - 1];

    for (size_t i = 0; i < s->nproofs - 1; i++) {
        const struct proof *other = &s->proofs[i];
        bool same = span_eq(proof->key_prefix, other->key_prefix);
        if (same && is_mac(proof->algorithm) != is_mac(other->algorithm))
            return form_wrong(
                r->form, r->err, path,
                "an HMAC and ed25519 need different key_prefix: a public key must not serve as a MAC's");
        if (!same && proof->key_prefix.len == 0)
            return form_wrong(r->form, r->err, path,
                              "needs a key_prefix: secrets without one are for the first kind");
        if (!same && other->key_prefix.len > 0 &&
            (span_starts(proof->key_prefix, other->key_prefix) ||
             span_starts(other->key_prefix, proof->key_prefix)))
            return form_wrong(r->form, r->err, path, "no key_prefix may be the start of another");
    }
    return OK;
}

static bool is_mac(enum algorithm algorithm)
{
    return algorithm == ALGORITHM_HMAC_SHA256 || algorithm == ALGORITHM_HMAC_SHA512 ||
           algorithm == ALGORITHM_HMAC_SHA1;
}

/* It signs nothing, so nothing of the request may be taken from it. */
static enum status read_credential(struct reader *r, struct scheme *s)
{
    const struct raw_verify *from = &r->raw->verify;
    const struct {
        const char *key, *text;
    } unfit[] = {
        {"verify.signed",             from->template          },
        {"verify.time_header",        from->time_header       },
        {"verify.time_format",        from->time_format       },
        {"verify.tolerance_s",        from->tolerance_s       },
        {"verify.future_tolerance_s", from->future_tolerance_s},
        {"verify.id_header",          from->id_header         },
    };

    for (size_t i = 0; i < countof(unfit); i++)
        if (unfit[i].text)
            return form_wrong(r->form, r->err, unfit[i].key, "not with credential, which signs nothing");
    if (s->layout != LAYOUT_SINGLE)
        return form_wrong(r->form, r->err, "verify.layout", "credential needs single");
    if (s->key_format != KEY_TEXT)
        return form_wrong(r->form, r->err, "verify.key", "credential needs text");
    s->user = reader_copy(r, from->user);
    if (s->user.len == 0 || memchr(s->user.at, ':', s->user.len))
        return form_wrong(r->form, r->err, from->user ? "verify.user" : "verify.algorithm",
                          "credential needs user: a name without \":\"");
    return OK;
}

/* "v0:{time}:{body}": words in braces, all else as it stands. */
static enum status read_template(struct reader *r, struct scheme *s)
{
    const struct signed_part words[] = {
        {PART_ID,   SPAN("{id}")  },
        {PART_TIME, SPAN("{time}")},
        {PART_BODY, SPAN("{body}")},
        {PART_URL,  SPAN("{url}") },
        {PART_FORM, SPAN("{form}")},
    };
    struct span rest = reader_copy(r, r->raw->verify.template);

    s->parts = arena_zero(r->arena, PARTS_MAX * sizeof(*s->parts));
    while (rest.len > 0) {
        const char *brace = memchr(rest.at, '{', rest.len);
        struct signed_part part = {
            PART_LITERAL, {rest.at, brace ? (size_t)(brace - rest.at) : rest.len}
        };
        for (size_t i = 0; part.literal.len == 0 && i < countof(words); i++)
            if (span_starts(rest, words[i].literal))
                part = words[i];
        if (part.literal.len == 0)
            return form_wrong(r->form, r->err, "verify.signed",
                              "only {id}, {time}, {body}, {url} and {form} may stand in braces");
        if (part.kind != PART_LITERAL && find_part(s, part.kind))
            return form_wrong(r->form, r->err, "verify.signed", "%.*s is there twice",
                              SPAN_ARG(part.literal));
        if (s->nparts == PARTS_MAX)
            return form_wrong(r->form, r->err, "verify.signed", "at most %d pieces", PARTS_MAX);
        s->parts[s->nparts++] = part;
        rest = span_skip(rest, part.literal.len);
    }
    s->needs_url = find_part(s, PART_URL) || find_part(s, PART_FORM);
    return OK;
}

static enum status check_template(struct reader *r, const struct scheme *s)
{
    const char *path = r->raw->verify.template ? "verify.signed" : "verify.algorithm";
    const struct signed_part *body = find_part(s, PART_BODY);

    if (!find_part(s, PART_BODY) && !find_part(s, PART_FORM))
        return form_wrong(r->form, r->err, path, "%smust hold {body} or {form}",
                          r->raw->verify.template ? "" : "needs signed, and that ");
    if (!find_part(s, PART_URL) != !find_part(s, PART_FORM))
        return form_wrong(r->form, r->err, path,
                          "{url} and {form} go together: without a form the URL holds the body's digest");
    for (size_t i = 0; i + 1 < s->nparts; i++) {
        int kind = s->parts[i].kind, next = s->parts[i + 1].kind;
        if ((kind == PART_ID && next == PART_BODY) || (kind == PART_BODY && next == PART_TIME))
            return form_wrong(
                r->form, r->err, path,
                "{body} needs something between it and its neighbour, or bytes could move from one to the "
                "other");
    }
    if (body && find_part(s, PART_ID) > body)
        return form_wrong(r->form, r->err, path,
                          "{id} must stand before {body}: behind it, it could hold what ends the body");
    return OK;
}

/* What is not signed proves nothing, so each thing that is used must be signed and the other way round. */
static enum status read_time(struct reader *r, struct scheme *s)
{
    const struct raw_verify *from = &r->raw->verify;
    bool timed = find_part(s, PART_TIME);
    uint64_t past = 0, future;

    if (timed != (from->time || from->time_header))
        return form_wrong(r->form, r->err, "verify.signed",
                          "{time} needs time or time_header, and these need {time}");
    if (timed != (from->tolerance_s != NULL))
        return form_wrong(r->form, r->err, "verify.signed",
                          "{time} needs tolerance_s, and that needs {time}");
    if (from->time_format && !timed)
        return form_wrong(r->form, r->err, "verify.time_format", "only where {time} is signed");
    if (from->future_tolerance_s && !timed)
        return form_wrong(r->form, r->err, "verify.future_tolerance_s", "only where {time} is signed");
    if (reader_number(r, "verify.tolerance_s", from->tolerance_s, 1, TOLERANCE_S_MOST, &past))
        return INVALID;
    future = past;
    if (reader_number(r, "verify.future_tolerance_s", from->future_tolerance_s, 0, TOLERANCE_S_MOST, &future))
        return INVALID;
    s->past_s = (unsigned)past;
    s->future_s = (unsigned)future;
    return OK;
}

/* An id header that is not signed is allowed: it must be there, and decides nothing. */
static enum status read_id(struct reader *r, struct scheme *s)
{
    const struct signed_part *id = find_part(s, PART_ID);
    const struct signed_part *before = id && id > s->parts ? id - 1 : NULL;
    const struct signed_part *behind = id && id + 1 < s->parts + s->nparts ? id + 1 : NULL;

    if (id && !s->id_header.at)
        return form_wrong(r->form, r->err, "verify.signed", "{id} needs id_header");
    s->signs_id = id != NULL;
    s->id_is_word = (before && before->kind != PART_LITERAL) || (behind && behind->kind != PART_LITERAL);
    if (before && before->kind == PART_LITERAL)
        s->id_forbids[0] = before->literal.at[before->literal.len - 1];
    if (behind && behind->kind == PART_LITERAL)
        s->id_forbids[1] = behind->literal.at[0];
    return OK;
}

static const struct signed_part *find_part(const struct scheme *s, int kind)
{
    for (size_t i = 0; i < s->nparts; i++)
        if ((int)s->parts[i].kind == kind)
            return &s->parts[i];
    return NULL;
}
