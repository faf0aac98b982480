#include "hints.h"

#include "base/now.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include <sodium.h>

enum { HINT_BYTES = 512, CREDENTIAL_BYTES_MAX = 1024 };

static bool has_header(const struct header *headers, size_t n, struct span name);
static void on_other_header(struct hints *h, const struct doubt *d);
static void on_capitals(struct hints *h, const struct doubt *d);
static struct span lowered(struct span hex, struct arena *arena);
static void on_credential(struct hints *h, const struct doubt *d);
static void on_user_and_password(struct hints *h, struct span user, struct span sent);
static void on_mismatch(struct hints *h, const struct doubt *d);
static bool fits(const struct doubt *d, const struct claim *claim, const struct source *source,
                 struct span body, size_t *ret_secret);
static void on_body(struct hints *h, const struct doubt *d);
static void on_other_secrets(struct hints *h, const struct doubt *d);
static struct span without_cr(struct span body, struct arena *arena);

void hints_add(struct hints *h, const char *format, ...)
{
    va_list args;
    char text[HINT_BYTES];

    if (h->n == HINTS_MAX)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    h->texts[h->n++] = arena_print(h->arena, "%s", text);
}

void hints_on_capture(struct hints *h, const struct capture *c, size_t max_body_bytes)
{
    if (c->body.len > max_body_bytes)
        hints_add(h, "the gateway answers 413: a body of this platform may have %zu bytes", max_body_bytes);
    if (has_header(c->headers, c->nheaders, SPAN("transfer-encoding")))
        hints_add(h, "the head says Transfer-Encoding: the body has to be captured as it is without it");
    if (!c->has_length || c->length == c->body.len)
        return;
    if (c->length > c->body.len)
        hints_add(h, "the file ends too early: the body was cut, or its line ends were changed");
    else if (hints_without_end(c->body).len == c->length)
        hints_add(h, "the newline at the end of the file does not belong to the body: some editor or shell "
                     "added it");
    else
        hints_add(h, "the file holds more than the body: only its first %" PRIu64 " bytes were sent",
                  c->length);
}

static bool has_header(const struct header *headers, size_t n, struct span name)
{
    for (size_t i = 0; i < n; i++)
        if (span_eq(headers[i].name, name))
            return true;
    return false;
}

void hints_on_refusal(struct hints *h, const struct doubt *d)
{
    const struct scheme *s = &d->platform->scheme;
    bool is_credential = s->proofs[0].algorithm == ALGORITHM_CREDENTIAL;

    on_other_header(h, d);
    if (s->needs_url && !d->request->url.at)
        hints_add(h, "this signature covers the URL: give --url, or set ingest.public_url");
    if (d->refusal == REFUSAL_TOO_OLD || d->refusal == REFUSAL_IN_FUTURE)
        hints_add(h, "to check its signature by the clock of its arrival, give --now %" PRId64,
                  d->time_us / SECOND_US);
    if (d->refusal == REFUSAL_MALFORMED && s->encoding == ENCODING_HEX)
        on_capitals(h, d);
    if (is_credential && (d->refusal == REFUSAL_MALFORMED || d->refusal == REFUSAL_NO_MATCH))
        on_credential(h, d);
    if (d->refusal == REFUSAL_NO_SECRET || (is_credential && d->refusal == REFUSAL_NO_MATCH))
        on_other_secrets(h, d);
    else if (d->refusal == REFUSAL_NO_MATCH)
        on_mismatch(h, d);
}

/* An older or another header of the platform's, perhaps in place of the one that counts. */
static void on_other_header(struct hints *h, const struct doubt *d)
{
    const struct scheme *s = &d->platform->scheme;

    for (size_t i = 0; i < d->request->nheaders; i++) {
        struct span name = d->request->headers[i].name;
        if (!span_eq(name, s->header) && memmem(name.at, name.len, "signature", strlen("signature")))
            hints_add(h, "%.*s is there too, but only %.*s counts", SPAN_ARG(name), SPAN_ARG(s->header));
    }
}

static void on_capitals(struct hints *h, const struct doubt *d)
{
    struct claim lower = *d->claim;
    bool any = false;
    size_t secret;

    for (size_t i = 0; i < lower.ncandidates; i++) {
        struct span *value = &lower.candidates[i].value;
        struct span copy = lowered(*value, h->arena);
        any |= !span_eq(copy, *value);
        *value = copy;
    }
    if (any)
        hints_add(h, "hex counts in lower case alone, and there are capitals%s",
                  fits(d, &lower, d->source, d->request->body, &secret)
                      ? ": in lower case the signature fits, so whoever signs has to write it so"
                      : "");
}

static struct span lowered(struct span hex, struct arena *arena)
{
    char *copy = arena_alloc(arena, hex.len + 1);

    for (size_t i = 0; i < hex.len; i++)
        copy[i] = hex.at[i] >= 'A' && hex.at[i] <= 'F' ? (char)(hex.at[i] - 'A' + 'a') : hex.at[i];
    return (struct span){copy, hex.len};
}

/* A shared password: it says nothing of the body, and is itself what must not be shown. */
static void on_credential(struct hints *h, const struct doubt *d)
{
    const struct scheme *s = &d->platform->scheme;
    struct span prefix = s->proofs[0].prefix, text;
    uint8_t sent[CREDENTIAL_BYTES_MAX];
    size_t len;

    if (d->claim->ncandidates == 0) {
        hints_add(h, "the header must be \"%.*s\" and then base64 of \"%.*s:PASSWORD\"", SPAN_ARG(prefix),
                  SPAN_ARG(s->user));
        return;
    }
    text = d->claim->candidates[0].value;
    if (sodium_base642bin(sent, sizeof(sent), text.at, text.len, NULL, &len, NULL,
                          sodium_base64_VARIANT_ORIGINAL) != 0)
        hints_add(h, "behind \"%.*s\" stands no base64 in its usual form, padded with \"=\"",
                  SPAN_ARG(prefix));
    else
        on_user_and_password(h, s->user, (struct span){(char *)sent, len});
    sodium_memzero(sent, sizeof(sent));
}

static void on_user_and_password(struct hints *h, struct span user, struct span sent)
{
    struct span password = sent, sent_user = span_cut(&password, ':');

    if (!password.at)
        hints_add(h, "base64 has to hold \"%.*s:PASSWORD\", and there is no colon in it", SPAN_ARG(user));
    else if (!span_eq(sent_user, user))
        hints_add(h, "the user that it names is another than \"%.*s\"", SPAN_ARG(user));
    else if (password.len == 0)
        hints_add(h, "its password is empty");
    else if (password.at[password.len - 1] == '\n')
        hints_add(h, "its password ends in a newline: some shell added it");
    else
        hints_add(h, "its user is the right one, its password is none of the secrets in force");
}

static void on_mismatch(struct hints *h, const struct doubt *d)
{
    size_t before = h->n;

    on_body(h, d);
    on_other_secrets(h, d);
    if (h->n == before)
        hints_add(h, "a secret that is not configured, or a body that was changed on its way (parsed and "
                     "written again)");
}

static bool fits(const struct doubt *d, const struct claim *claim, const struct source *source,
                 struct span body, size_t *ret_secret)
{
    struct request r = *d->request;
    const char *wrong;

    r.body = body;
    return scheme_match(d->platform, source, claim, &r, ret_secret, &wrong) == REFUSAL_NONE;
}

static void on_body(struct hints *h, const struct doubt *d)
{
    struct span body = d->request->body, unix_lines = without_cr(body, h->arena),
                bare = hints_without_end(body);
    size_t secret;

    if (bare.len < body.len && fits(d, d->claim, d->source, bare, &secret))
        hints_add(h, "without the newline at its end the body fits: some editor or shell added it");
    if (unix_lines.len == body.len)
        return;
    if (fits(d, d->claim, d->source, unix_lines, &secret))
        hints_add(h, "with LF in place of CRLF the body fits: something changed its line ends");
    if (fits(d, d->claim, d->source, hints_without_end(unix_lines), &secret))
        hints_add(h, "with LF in place of CRLF and without the newline at its end the body fits");
}

/* Of the same source, out of force; of other sources, which the sender may mean. */
static void on_other_secrets(struct hints *h, const struct doubt *d)
{
    struct source whenever = *d->source;
    struct span body = d->request->body;
    size_t secret;

    for (size_t i = 0; i < whenever.nsecrets; i++)
        whenever.secrets[i].not_before_us = whenever.secrets[i].expires_us = TIME_NONE;
    if (fits(d, d->claim, &whenever, body, &secret))
        hints_add(h, "key %s fits, but was not in force at that time", whenever.secrets[secret].key_id);
    for (size_t i = 0; i < d->platform->nsources; i++) {
        const struct source *s = &d->platform->sources[i];
        if (s != d->source && fits(d, d->claim, s, body, &secret))
            hints_add(
                h, "key %s of source %.*s fits: the sender calls the wrong URL, or the secrets are mixed up",
                s->secrets[secret].key_id, SPAN_ARG(s->name));
    }
}

static struct span without_cr(struct span body, struct arena *arena)
{
    char *copy = arena_alloc(arena, body.len + 1);
    size_t len = 0;

    for (size_t i = 0; i < body.len; i++)
        if (body.at[i] != '\r' || i + 1 == body.len || body.at[i + 1] != '\n')
            copy[len++] = body.at[i];
    return (struct span){copy, len};
}

struct span hints_without_end(struct span body)
{
    if (body.len > 0 && body.at[body.len - 1] == '\n')
        body.len--;
    if (body.len > 0 && body.at[body.len] == '\n' && body.at[body.len - 1] == '\r')
        body.len--;
    return body;
}
