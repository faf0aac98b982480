#include "domain/handshake.h"

#include "domain/encoding.h"
#include "domain/extract.h"
#include "domain/secret.h"
#include "domain/urlform.h"

#include <sodium.h>

enum {
    QUERY_BYTES_MAX = 8192,
    TOKEN_BYTES_MAX = 256,
    NOTHING_MEANT = 400,
    MALFORMED = 400,
    DIGEST_BYTES = 32
};

/* A GET while it is looked at. */
struct question {
    const struct platform *platform;
    const struct source *source; /* NULL: unknown */
    struct urlform_pair *pairs;
    size_t npairs;
    struct arena *arena;
};

static bool read_query(struct question *q, struct span query);
static bool names_twice(const struct question *q);
static const struct handshake *row_meant(const struct question *q, int *ret_refused);
static bool holds(const struct question *q, const struct handshake *row);
static bool is_among(struct span text, const struct span *words, size_t nwords);
static const char *why_not_ours(const struct question *q, const struct handshake *row);
static bool same_token(struct span given, struct span ours);
static bool is_topic(const struct question *q, struct span name);
static const struct key *active_key(const struct question *q, int64_t now_wall_us);
static bool may_be_asked(const struct platform *p, const struct request *r);
static bool may_hold(struct span body, const struct condition *c);
static bool post_means(const struct handshake *row, const struct request *r, struct extract *x);
static bool condition_holds(struct extract *x, const struct condition *c);
static bool header_fits(const struct handshake *row, const struct request *r);
static struct span text_at(struct extract *x, const struct pointer *at);
static const char *why_not_value(const struct handshake *row, struct span value);
static bool is_uuid(struct span text);
static void answer(const struct handshake *row, struct span value, const struct key *key, struct arena *arena,
                   struct handshake_answer *ret);
static struct span fill(struct span template, struct span value, struct span mac, struct arena *arena);
static void refuse(int status, const char *why, struct handshake_answer *ret);

bool handshake_takes(enum value_form form, char c)
{
    if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
        return true;
    return c == '.' || c == '_' || c == '~' || c == '-' ||
           (form == VALUE_BASE64 && (c == '+' || c == '/' || c == '='));
}

struct span handshake_topic_url(const struct platform *p, struct span topic, struct arena *arena)
{
    const struct span hole = SPAN("{topic}");
    const char *at = p->topic_url.at ? memmem(p->topic_url.at, p->topic_url.len, hole.at, hole.len) : NULL;
    struct span head, tail;

    if (!at || span_starts(topic, SPAN("https://")) || span_starts(topic, SPAN("http://")))
        return topic;
    head = (struct span){p->topic_url.at, (size_t)(at - p->topic_url.at)};
    tail = span_skip(p->topic_url, head.len + hole.len);
    return span_of(arena_print(arena, "%.*s%.*s%.*s", SPAN_ARG(head), SPAN_ARG(topic), SPAN_ARG(tail)));
}

bool handshake_by_get(const struct platform *p)
{
    for (size_t i = 0; i < p->nhandshakes; i++)
        if (!p->handshakes[i].is_post)
            return true;
    return false;
}

/* What is wrong with the question itself is said first: it is the same whatever the source. */
void handshake_get(const struct platform *p, const struct source *source, struct span query,
                   int64_t now_wall_us, struct arena *arena, struct handshake_answer *ret)
{
    struct question q = {.platform = p, .source = source, .arena = arena};
    const struct handshake *row;
    struct span value;
    const char *why;
    int refused;

    if (!read_query(&q, query)) {
        refuse(MALFORMED, "the query is too long", ret);
        return;
    }
    if (names_twice(&q)) {
        refuse(MALFORMED, "a name is there twice", ret);
        return;
    }
    row = row_meant(&q, &refused);
    if (!row) {
        refuse(refused, "the query means no handshake", ret);
        return;
    }
    value = urlform_get(q.pairs, q.npairs, row->value, NULL);
    why = why_not_value(row, value);
    if (why) {
        refuse(MALFORMED, why, ret);
        return;
    }
    why = why_not_ours(&q, row);
    answer(row, value, active_key(&q, now_wall_us), arena, ret);
    if (why)
        refuse(row->refused, why, ret);
}

bool handshake_post(const struct platform *p, const struct source *source, size_t secret,
                    const struct request *r, struct arena *arena, struct handshake_answer *ret)
{
    const struct handshake *row = NULL;
    struct extract x;
    struct span value;
    const char *why;

    if (!may_be_asked(p, r) || extract_open(&x, r->body, arena, NULL))
        return false;
    for (size_t i = 0; !row && i < p->nhandshakes; i++)
        if (p->handshakes[i].is_post && post_means(&p->handshakes[i], r, &x))
            row = &p->handshakes[i];
    if (!row)
        return false;
    value = text_at(&x, row->value_at);
    why = why_not_value(row, value);
    if (why)
        refuse(MALFORMED, why, ret);
    else
        answer(row, value, source->secrets[secret].keys[0], arena, ret);
    return true;
}

static bool read_query(struct question *q, struct span query)
{
    return query.len <= QUERY_BYTES_MAX &&
           urlform_read(query.at ? query : SPAN(""), q->arena, &q->pairs, &q->npairs);
}

/* Of two, who looks in front of us may have seen the other. Any name that any row looks at counts. */
static bool names_twice(const struct question *q)
{
    bool again = false;

    for (size_t i = 0; !again && i < q->platform->nhandshakes; i++) {
        const struct handshake *row = &q->platform->handshakes[i];
        const struct span names[] = {row->verify_token, row->topic, row->no_topic, row->value};
        for (size_t k = 0; !again && k < countof(names); k++)
            if (names[k].at)
                urlform_get(q->pairs, q->npairs, names[k], &again);
        for (size_t k = 0; !again && k < row->nquery; k++)
            urlform_get(q->pairs, q->npairs, row->query[k].name, &again);
    }
    return again;
}

/* ret_refused: what is answered if no row is meant, as the last one says. */
static const struct handshake *row_meant(const struct question *q, int *ret_refused)
{
    *ret_refused = NOTHING_MEANT;
    for (size_t i = 0; i < q->platform->nhandshakes; i++) {
        const struct handshake *row = &q->platform->handshakes[i];
        if (row->is_post)
            continue;
        if (holds(q, row))
            return row;
        *ret_refused = row->refused;
    }
    return NULL;
}

static bool holds(const struct question *q, const struct handshake *row)
{
    for (size_t i = 0; i < row->nquery; i++) {
        const struct condition_in_query *c = &row->query[i];
        struct span value = urlform_get(q->pairs, q->npairs, c->name, NULL);
        if (!value.at || !is_among(value, c->words, c->nwords))
            return false;
    }
    return true;
}

/* Without words any text will do. */
static bool is_among(struct span text, const struct span *words, size_t nwords)
{
    for (size_t i = 0; i < nwords; i++)
        if (span_eq(text, words[i]))
            return true;
    return nwords == 0;
}

/* NULL: the source wants this. All is looked at whether the source is known or not. */
static const char *why_not_ours(const struct question *q, const struct handshake *row)
{
    const struct span token = q->source ? q->source->verify_token : SPAN_NONE;
    bool same =
        !row->verify_token.at || same_token(urlform_get(q->pairs, q->npairs, row->verify_token, NULL), token);
    bool wanted = !row->topic.at || is_topic(q, row->topic);
    bool unwanted = !row->no_topic.at ||
                    (urlform_get(q->pairs, q->npairs, row->no_topic, NULL).at && !is_topic(q, row->no_topic));

    if (!q->source)
        return "the source is not known";
    if (!same)
        return token.at ? "the verify token is not the source's" : "the source has no verify token";
    if (!wanted)
        return "the topic is none of the source's";
    return unwanted ? NULL : "the topic is missing, or one that the source still wants";
}

/* Digests are equally long, so the time says nothing of the token's length either. */
static bool same_token(struct span given, struct span ours)
{
    const struct span tokens[] = {given.at ? given : SPAN(""), ours.at ? ours : SPAN("")};
    uint8_t digests[countof(tokens)][DIGEST_BYTES];
    bool same;

    for (size_t i = 0; i < countof(tokens); i++)
        crypto_generichash(digests[i], DIGEST_BYTES, (const uint8_t *)tokens[i].at, tokens[i].len, NULL, 0);
    same = sodium_memcmp(digests[0], digests[1], DIGEST_BYTES) == 0;
    return given.at && ours.at && same;
}

static bool is_topic(const struct question *q, struct span name)
{
    struct span given = urlform_get(q->pairs, q->npairs, name, NULL);
    bool found = false;

    for (size_t i = 0; q->source && i < q->source->ntopics; i++)
        if (given.at && span_eq(given, handshake_topic_url(q->platform, q->source->topics[i], q->arena)))
            found = true;
    return found;
}

/* The first secret that counts at present and is for the scheme's own kind of signature: a sender has one. Of an
 * unknown source the key that nobody knows, for the same work. NULL: none. */
static const struct key *active_key(const struct question *q, int64_t now_wall_us)
{
    const struct source *s = q->source ? q->source : q->platform->decoy;

    for (size_t i = 0; i < s->nsecrets; i++)
        if (s->secrets[i].keys[0] && secret_is_active(&s->secrets[i], now_wall_us))
            return s->secrets[i].keys[0];
    return NULL;
}

/* Most deliveries are none, and this spares them from being parsed twice. */
static bool may_be_asked(const struct platform *p, const struct request *r)
{
    for (size_t i = 0; i < p->nhandshakes; i++) {
        const struct handshake *row = &p->handshakes[i];
        if (row->is_post && (row->header.at ? header_fits(row, r) : may_hold(r->body, &row->at)))
            return true;
    }
    return false;
}

/* Without a backslash each text stands in JSON as it is. */
static bool may_hold(struct span body, const struct condition *c)
{
    if (body.len == 0)
        return false;
    if (c->nwords == 0 || memchr(body.at, '\\', body.len))
        return true;
    for (size_t i = 0; i < c->nwords; i++)
        if (memmem(body.at, body.len, c->words[i].at, c->words[i].len))
            return true;
    return false;
}

static bool post_means(const struct handshake *row, const struct request *r, struct extract *x)
{
    bool meant = row->header.at ? header_fits(row, r) : condition_holds(x, &row->at);

    return meant && !extract_at(x, row->unless).doc;
}

static bool condition_holds(struct extract *x, const struct condition *c)
{
    struct span text = text_at(x, c->at);

    if (c->nwords == 0)
        return extract_at(x, c->at).doc != NULL;
    return text.at && is_among(text, c->words, c->nwords);
}

/* Exactly once. */
static bool header_fits(const struct handshake *row, const struct request *r)
{
    struct span found = SPAN_NONE;

    for (size_t i = 0; i < r->nheaders; i++) {
        if (!span_eq(r->headers[i].name, row->header))
            continue;
        if (found.at)
            return false;
        found = r->headers[i].value.at ? r->headers[i].value : SPAN("");
    }
    return found.at && is_among(found, row->header_words, row->nheader_words);
}

/* Absent: nothing there, or no text. */
static struct span text_at(struct extract *x, const struct pointer *at)
{
    struct place place = extract_at(x, at);

    return place.doc ? doc_text(place.doc, place.node, x->arena) : SPAN_NONE;
}

/* NULL: it may be echoed and signed, or the row wants none. */
static const char *why_not_value(const struct handshake *row, struct span value)
{
    if (!row->value.at && !row->value_at)
        return NULL;
    if (!value.at)
        return "the challenge is missing";
    if (row->value_form == VALUE_UUID)
        return is_uuid(value) ? NULL : "the challenge is no UUID";
    if (value.len == 0 || value.len > TOKEN_BYTES_MAX)
        return "the challenge is empty or longer than 256 bytes";
    for (size_t i = 0; i < value.len; i++)
        if (!handshake_takes(row->value_form, value.at[i]))
            return "the challenge holds characters that are not of its form";
    return NULL;
}

static bool is_uuid(struct span text)
{
    static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

    if (text.len != sizeof(shape) - 1)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        bool hex = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
        if (shape[i] == '-' ? c != '-' : !hex)
            return false;
    }
    return true;
}

/* key NULL: there is none; only a MAC needs it. */
static void answer(const struct handshake *row, struct span value, const struct key *key, struct arena *arena,
                   struct handshake_answer *ret)
{
    struct message message = {.pieces = {value}, .npieces = 1};
    uint8_t mac[PROOF_BYTES_MAX];
    struct span encoded = SPAN("");

    *ret = (struct handshake_answer){.status = row->status, .good = true};
    if (row->answer == HANDSHAKE_ECHO) {
        ret->content_type = "text/plain";
        ret->body = value;
    }
    if (row->answer != HANDSHAKE_JSON)
        return;
    if (memmem(row->json.at, row->json.len, "{hmac}", strlen("{hmac}"))) {
        if (!key) {
            refuse(row->refused, "no secret of the source counts at present", ret);
            return;
        }
        ret->is_signed = true;
        encoded = encoding_write(row->encoding, mac, key_mac(key, &message, mac), arena);
        sodium_memzero(mac, sizeof(mac));
    }
    ret->content_type = "application/json";
    ret->body = fill(row->json, value, encoded, arena);
}

/* What is put in holds no brace, so nothing is filled twice. */
static struct span fill(struct span template, struct span value, struct span mac, struct arena *arena)
{
    const struct {
        struct span name, text;
    } holes[] = {
        {SPAN("{value}"), value},
        {SPAN("{hmac}"),  mac  },
    };
    struct span rest = template;
    char *text = arena_alloc(arena, template.len * (TOKEN_BYTES_MAX / strlen("{hmac}") + 1) + 1), *to = text;

    while (rest.len > 0) {
        size_t i = 0;
        while (i < countof(holes) && !span_starts(rest, holes[i].name))
            i++;
        if (i < countof(holes) && holes[i].text.len > 0) {
            to = mempcpy(to, holes[i].text.at, holes[i].text.len);
            rest = span_skip(rest, holes[i].name.len);
        } else {
            *to++ = *rest.at;
            rest = span_skip(rest, 1);
        }
    }
    return (struct span){text, (size_t)(to - text)};
}

static void refuse(int status, const char *why, struct handshake_answer *ret)
{
    *ret = (struct handshake_answer){.status = status, .why = why};
}
