#include "domain/event.h"

#include "base/now.h"
#include "base/utf8.h"
#include "domain/body.h"
#include "domain/extract.h"
#include "domain/moment.h"

#include <endian.h>

#include <sodium.h>

/* What a receipt has room for. A post id that is longer cannot be matched, so the event says so; a longer status
 * or reason is cut; a longer URL or extra would be wrong when cut and is left out. */
enum { POST_BYTES = 255, STATUS_BYTES = 100, REASON_BYTES = 1000, URL_BYTES = 2048, EXTRA_BYTES = 2048 };

/* What is looked at: no word and no time is as long, and of an event id the digest beside it tells the rest. */
enum { WORD_BYTES = 1000, TIME_BYTES = 100, EVENT_ID_BYTES = 2048 };

/* Times before 2000, or later than a day from now, are no times: a platform's mistake must not outweigh others. */
static const int64_t earliest_us = INT64_C(946684800) * SECOND_US, ahead_us = INT64_C(1440) * MINUTE_US;

struct reader {
    const struct platform *platform;
    const struct payload *payload;
    const struct verified *verified;
    const struct request *request;
    struct span source;
    struct arena *arena;
    struct extract extract;
    struct event *events;
    size_t nevents, room;
};

static const char *read_all(struct reader *r, struct err *err);
static bool holds(struct reader *r, const struct condition *c);
static bool read_event(void *ctx, struct place element);
static void read_post(struct reader *r, struct event *e);
static void read_status(struct reader *r, struct event *e);
static int64_t read_time(struct reader *r);
static struct span read_extras(struct reader *r);
static struct span read_extra(struct reader *r, const struct field *f);
static struct span read_header(const struct reader *r, struct span name);
static struct span read_event_id(struct reader *r);
static struct span text_at(struct reader *r, const struct pointer *p, size_t most);
static bool is_given(struct place at);
static struct span cut(struct span text, size_t most);
static struct event *event_add(struct reader *r);
static void make_key(const struct reader *r, struct span event_id, struct span own_bytes,
                     uint8_t ret[DEDUP_KEY_BYTES]);
static void hash_piece(crypto_generichash_state *hash, struct span piece);

/* NOLINTNEXTLINE(readability-function-size): the parameters are the delivery */
void events_read(const struct platform *p, struct span source, const struct verified *verified,
                 const struct request *request, struct arena *arena, struct event **ret, size_t *nret)
{
    struct reader r = {
        .platform = p, .verified = verified, .request = request, .source = source, .arena = arena};
    struct err err;
    const char *wrong = read_all(&r, &err);

    if (wrong)
        r.nevents = 0;
    if (r.nevents == 0) {
        struct event *e = event_add(&r);
        if (wrong)
            e->parse_error = arena_copy(arena, span_of(wrong));
        make_key(&r, verified->id, request->body, e->dedup_key);
    }
    *ret = r.events;
    *nret = r.nevents;
}

/* Returns what is wrong with the body as a whole, or NULL. Without an event in it: nothing in it is for us. */
static const char *read_all(struct reader *r, struct err *err)
{
    const struct platform *p = r->platform;
    struct span json;

    if (body_as_json(p->formats, r->request->body, r->arena, &json, err) ||
        extract_open(&r->extract, json, r->arena, err))
        return err->text;
    for (size_t i = 0; i < p->npayloads && r->nevents == 0; i++) {
        r->payload = &p->payloads[i];
        if (holds(r, &r->payload->when))
            extract_each(&r->extract, r->payload->each, read_event, r);
    }
    return r->nevents > EVENTS_MAX ? "more events than one delivery may hold" : NULL;
}

/* Without a pointer it always holds. */
static bool holds(struct reader *r, const struct condition *c)
{
    struct span text;

    if (!c->at)
        return true;
    if (c->nwords == 0)
        return is_given(extract_at(&r->extract, c->at));
    text = text_at(r, c->at, WORD_BYTES);
    for (size_t i = 0; text.at && i < c->nwords; i++)
        if (span_eq(text, c->words[i]))
            return true;
    return false;
}

static bool read_event(void *ctx, struct place element)
{
    struct reader *r = ctx;
    bool is_part = pointer_stars(r->payload->each) > 0;
    struct event *e;

    if (!holds(r, &r->payload->where))
        return true;
    e = event_add(r);
    read_post(r, e);
    read_status(r, e);
    e->url = text_at(r, r->payload->url, URL_BYTES);
    if (e->url.len > URL_BYTES)
        e->url = SPAN_NONE;
    e->reason = cut(text_at(r, r->payload->reason, REASON_BYTES), REASON_BYTES);
    e->happened_us = read_time(r);
    e->extras = read_extras(r);
    make_key(r, read_event_id(r), is_part ? doc_raw(element.doc, element.node) : r->request->body,
             e->dedup_key);
    return r->nevents <= EVENTS_MAX;
}

static void read_post(struct reader *r, struct event *e)
{
    struct place at = extract_at(&r->extract, r->payload->post);
    uint8_t type = at.doc ? at.doc->nodes[at.node].type : DOC_NULL;

    if (type == DOC_NULL)
        return;
    if (type != DOC_STRING && type != DOC_NUMBER) {
        e->parse_error = SPAN("the post id is neither a string nor a number");
        return;
    }
    e->post_id = text_at(r, r->payload->post, POST_BYTES);
    if (!e->post_id.at)
        e->parse_error = SPAN("the post id holds a NUL or a lone surrogate");
    if (e->post_id.len > POST_BYTES)
        e->parse_error = SPAN("the post id is longer than 255 bytes");
    if (e->post_id.len == 0 || e->post_id.len > POST_BYTES)
        e->post_id = SPAN_NONE;
}

/* Only a status that is not given at all is the default: one that we cannot read must not count as a success. */
static void read_status(struct reader *r, struct event *e)
{
    const struct payload *p = r->payload;
    struct place at = extract_at(&r->extract, p->status);
    struct span text = is_given(at) ? text_at(r, p->status, WORD_BYTES) : p->status_default;

    for (size_t i = 0; text.at && i < p->nstatus_words; i++)
        if (span_eq(text, p->status_words[i].from)) {
            text = p->status_words[i].to;
            break;
        }
    e->decisive = platform_decides(r->platform, text);
    e->status = cut(text, STATUS_BYTES);
}

static int64_t read_time(struct reader *r)
{
    struct span text = text_at(r, r->payload->time, TIME_BYTES);
    int64_t time_us;

    if (!text.at || !moment_parse(text, &time_us))
        return TIME_NONE;
    return time_us >= earliest_us && time_us <= r->request->received_us + ahead_us ? time_us : TIME_NONE;
}

/* {"task_id":"t1","complete":true}: each value as the platform wrote it. */
static struct span read_extras(struct reader *r)
{
    const struct payload *p = r->payload;
    struct span *pieces = arena_alloc(r->arena, p->nextras * sizeof(*pieces) + 1);
    size_t len = 1;
    char *text, *to;

    for (size_t i = 0; i < p->nextras; i++) {
        pieces[i] = read_extra(r, &p->extras[i]);
        if (pieces[i].at)
            len += p->extras[i].name.len + pieces[i].len + strlen("\"\":,");
    }
    if (len == 1)
        return SPAN_NONE;

    text = to = arena_alloc(r->arena, len);
    for (size_t i = 0; i < p->nextras; i++) {
        struct span name = p->extras[i].name;
        if (!pieces[i].at)
            continue;
        *to = to == text ? '{' : ',';
        to[1] = '"';
        to = mempcpy(to + 2, name.at, name.len);
        to = mempcpy(to, "\":", 2);
        to = mempcpy(to, pieces[i].at, pieces[i].len);
    }
    *to = '}';
    return (struct span){text, len};
}

/* The value as sent, if jsonb takes it wherever it goes later: no NUL, no lone surrogate, and no number whose
 * exponent would unfold to thousands of digits. */
static struct span read_extra(struct reader *r, const struct field *f)
{
    struct place at = extract_at(&r->extract, f->at);
    struct span raw;

    if (!f->at)
        return read_header(r, f->header);
    if (!is_given(at))
        return SPAN_NONE;
    raw = doc_raw(at.doc, at.node);
    if (raw.len > EXTRA_BYTES || !doc_text(at.doc, at.node, r->arena).at)
        return SPAN_NONE;
    if (at.doc->nodes[at.node].type == DOC_NUMBER &&
        (memchr(raw.at, 'e', raw.len) || memchr(raw.at, 'E', raw.len)))
        return SPAN_NONE;
    return raw;
}

/* The first of that name, as JSON. It may hold any bytes. */
static struct span read_header(const struct reader *r, struct span name)
{
    struct span value = SPAN_NONE;

    for (size_t i = 0; i < r->request->nheaders && !value.at; i++)
        if (span_eq(r->request->headers[i].name, name))
            value = r->request->headers[i].value;
    if (!value.at || value.len == 0 || value.len > EXTRA_BYTES || memchr(value.at, '\0', value.len) ||
        !utf8_valid(value))
        return SPAN_NONE;
    value = doc_quote(value, r->arena);
    return value.len > EXTRA_BYTES ? SPAN_NONE : value;
}

/* Several pieces are joined by colons: the digest of the event's bytes, hashed beside it, tells apart what that mixes. */
static struct span read_event_id(struct reader *r)
{
    const struct payload *p = r->payload;
    struct span *pieces = arena_alloc(r->arena, p->nevent_id * sizeof(*pieces) + 1);
    size_t len = p->nevent_id;
    char *text, *to;

    if (p->nevent_id == 0)
        return r->verified->id;
    for (size_t i = 0; i < p->nevent_id; i++) {
        pieces[i] = cut(text_at(r, p->event_id[i], EVENT_ID_BYTES), EVENT_ID_BYTES);
        len += pieces[i].len;
    }
    text = to = arena_alloc(r->arena, len);
    for (size_t i = 0; i < p->nevent_id; i++) {
        if (pieces[i].len > 0)
            to = mempcpy(to, pieces[i].at, pieces[i].len);
        *to++ = ':';
    }
    return (struct span){text, len - 1};
}

/* The text of a scalar; absent if there is none, or none that Postgres takes. One longer than `most` may be cut, but
 * shows that it is longer. */
static struct span text_at(struct reader *r, const struct pointer *p, size_t most)
{
    struct place at = extract_at(&r->extract, p);

    return at.doc ? doc_text_start(at.doc, at.node, most, r->arena) : SPAN_NONE;
}

/* Null and "" are ways of saying nothing. */
static bool is_given(struct place at)
{
    const struct doc_node *n = at.doc ? &at.doc->nodes[at.node] : NULL;

    return n && n->type != DOC_NULL && !(n->type == DOC_STRING && n->len == 0);
}

/* At most that many bytes, without half a character at the end. */
static struct span cut(struct span text, size_t most)
{
    if (!text.at || text.len <= most)
        return text;
    while (most > 0 && ((unsigned char)text.at[most] & 0xc0) == 0x80)
        most--;
    return (struct span){text.at, most};
}

static struct event *event_add(struct reader *r)
{
    if (r->nevents == r->room) {
        struct event *more = arena_alloc(r->arena, (2 * r->room + 1) * sizeof(*more));
        if (r->nevents > 0)
            memcpy(more, r->events, r->nevents * sizeof(*more));
        r->events = more;
        r->room = 2 * r->room + 1;
    }
    r->events[r->nevents] = (struct event){.happened_us = TIME_NONE};
    return &r->events[r->nevents++];
}

static void make_key(const struct reader *r, struct span event_id, struct span own_bytes,
                     uint8_t ret[DEDUP_KEY_BYTES])
{
    uint8_t digest[crypto_generichash_BYTES];
    crypto_generichash_state hash;

    crypto_generichash(digest, sizeof(digest), (const uint8_t *)own_bytes.at, own_bytes.len, NULL, 0);
    crypto_generichash_init(&hash, NULL, 0, DEDUP_KEY_BYTES);
    hash_piece(&hash, r->platform->name);
    hash_piece(&hash, r->source);
    hash_piece(&hash, event_id);
    hash_piece(&hash, (struct span){(const char *)digest, sizeof(digest)});
    crypto_generichash_final(&hash, ret, DEDUP_KEY_BYTES);
}

/* Its length first, in eight bytes, the lowest first: no two lists of pieces look the same. */
static void hash_piece(crypto_generichash_state *hash, struct span piece)
{
    uint64_t len = htole64(piece.len);

    crypto_generichash_update(hash, (const uint8_t *)&len, sizeof(len));
    if (piece.len > 0)
        crypto_generichash_update(hash, (const uint8_t *)piece.at, piece.len);
}
