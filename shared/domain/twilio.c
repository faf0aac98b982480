#include "domain/twilio.h"

#include "domain/urlform.h"

#include <stdlib.h>

#include <sodium.h>

static bool is_form(const struct request *r);
static int by_name_and_value(const void *a, const void *b);
static bool covers(struct span url, struct span body, struct arena *arena);

bool twilio_form(const struct request *r, struct arena *arena, struct span *ret, const char **wrong)
{
    struct urlform_pair *pairs;
    size_t npairs, len = 0;
    char *text, *to;

    *wrong = "the URL that was called is not known: set ingest.public_url";
    if (!r->url.at)
        return false;
    *ret = SPAN("");
    *wrong = "bodySHA256 in the URL is missing, or is not the body's digest";
    if (!is_form(r))
        return covers(r->url, r->body, arena);

    *wrong = "the form has too many fields";
    if (!urlform_read(r->body, arena, &pairs, &npairs))
        return false;
    if (npairs > 0)
        qsort(pairs, npairs, sizeof(pairs[0]), by_name_and_value);
    for (size_t i = 0; i < npairs; i++)
        len += pairs[i].name.len + pairs[i].value.len;
    text = to = arena_alloc(arena, len + 1);
    for (size_t i = 0; i < npairs; i++) {
        bool again = i > 0 && span_eq(pairs[i].name, pairs[i - 1].name);
        if (again && span_eq(pairs[i].value, pairs[i - 1].value))
            continue;
        to = mempcpy(to, pairs[i].name.at, pairs[i].name.len);
        to = mempcpy(to, pairs[i].value.at, pairs[i].value.len);
    }
    *ret = (struct span){text, (size_t)(to - text)};
    return true;
}

size_t twilio_urls(struct span url, struct arena *arena, struct span ret[TWILIO_URLS])
{
    bool secure = span_starts(url, SPAN("https://"));
    struct span standard = secure ? SPAN(":443") : SPAN(":80"), rest, authority,
                scheme = {url.at, secure ? 8 : 7};
    struct span port;
    const char *colon;

    ret[0] = url;
    if (!secure && !span_starts(url, SPAN("http://")))
        return 1;
    rest = span_skip(url, scheme.len);
    authority = (struct span){rest.at, 0};
    while (authority.len < rest.len && !memchr("/?#", rest.at[authority.len], 3))
        authority.len++;
    rest = span_skip(rest, authority.len);

    colon = memrchr(authority.at, ':', authority.len);
    if (colon && memchr(colon, ']', authority.len - (size_t)(colon - authority.at)))
        colon = NULL; /* of an IPv6 address */
    if (!colon) {
        ret[1] = span_of(arena_print(arena, "%.*s%.*s%.*s%.*s", SPAN_ARG(scheme), SPAN_ARG(authority),
                                     SPAN_ARG(standard), SPAN_ARG(rest)));
        return 2;
    }
    port = span_skip(authority, (size_t)(colon - authority.at));
    authority.len -= port.len;
    ret[1] =
        span_of(arena_print(arena, "%.*s%.*s%.*s", SPAN_ARG(scheme), SPAN_ARG(authority), SPAN_ARG(rest)));
    return 2;
}

/* No content type counts as a form: an empty one, as of a GET, signs as one without fields. */
static bool is_form(const struct request *r)
{
    const struct span form = SPAN("application/x-www-form-urlencoded");
    struct span type = SPAN_NONE;

    for (size_t i = 0; i < r->nheaders && !type.at; i++)
        if (span_eq(r->headers[i].name, SPAN("content-type")))
            type = r->headers[i].value;
    if (!type.at)
        return r->body.len == 0 || (r->body.at[0] != '{' && r->body.at[0] != '[');
    type = span_cut(&type, ';');
    while (type.len > 0 && type.at[type.len - 1] == ' ')
        type.len--;
    return span_eq_nocase(type, form);
}

static int by_name_and_value(const void *a, const void *b)
{
    const struct urlform_pair *one = a, *two = b;
    int order = span_compare(one->name, two->name);

    return order != 0 ? order : span_compare(one->value, two->value);
}

/* The digest is public: no secret depends on how long this takes. */
static bool covers(struct span url, struct span body, struct arena *arena)
{
    uint8_t digest[crypto_hash_sha256_BYTES];
    char hex[2 * sizeof(digest) + 1];
    struct urlform_pair *pairs;
    struct span query = url, given;
    size_t npairs;
    bool again;

    span_cut(&query, '?');
    query = span_cut(&query, '#');
    if (!query.at || !urlform_read(query, arena, &pairs, &npairs))
        return false;
    given = urlform_get(pairs, npairs, SPAN("bodySHA256"), &again);
    crypto_hash_sha256(digest, (const uint8_t *)body.at, body.len);
    sodium_bin2hex(hex, sizeof(hex), digest, sizeof(digest));
    return given.at && !again && span_eq(given, span_of(hex));
}
