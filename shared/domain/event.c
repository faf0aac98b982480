#include "domain/event.h"

#include "base/now.h"
#include "domain/body.h"
#include "domain/extract.h"
#include "domain/shape.h"

#include <endian.h>

#include <sodium.h>

/* What is looked at: the digest beside an event id tells the rest. */
enum { EVENT_ID_BYTES = 2048 };

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
static bool read_event(void *ctx, struct place element);
static void read_post(struct reader *r, struct event *e);
static void read_rest(struct reader *r, struct event *e);
static struct span read_event_id(struct reader *r, bool *ret_whole);
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
        if (shape_holds(&r->extract, &r->payload->when))
            extract_each(&r->extract, r->payload->each, read_event, r);
    }
    return r->nevents > EVENTS_MAX ? "more events than one delivery may hold" : NULL;
}

static bool read_event(void *ctx, struct place element)
{
    struct reader *r = ctx;
    bool is_part = pointer_stars(r->payload->each) > 0;
    struct event *e;
    struct span id;
    bool whole;

    if (!shape_holds(&r->extract, &r->payload->where))
        return true;
    e = event_add(r);
    read_post(r, e);
    read_rest(r, e);
    id = read_event_id(r, &whole);
    if (whole)
        e->id = id;
    make_key(r, id, is_part ? doc_raw(element.doc, element.node) : r->request->body, e->dedup_key);
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
    e->post_id = shape_text(&r->extract, r->payload->post, POST_BYTES);
    if (!e->post_id.at)
        e->parse_error = SPAN("the post id holds a NUL or a lone surrogate");
    if (e->post_id.len > POST_BYTES)
        e->parse_error = SPAN("the post id is longer than 255 bytes");
    if (e->post_id.len == 0 || e->post_id.len > POST_BYTES)
        e->post_id = SPAN_NONE;
}

static void read_rest(struct reader *r, struct event *e)
{
    const struct shape_headers headers = {r->request->headers, r->request->nheaders};
    struct said said;

    shape_read(&r->extract, r->payload, &headers, r->request->received_us, &said);
    e->status = said.status;
    e->decisive = platform_decides(r->platform, said.word);
    e->url = said.url;
    e->reason = said.reason;
    e->extras = said.extras;
    e->happened_us = said.happened_us;
}

/* Several pieces are joined by colons: the digest of the event's bytes, hashed beside it, tells apart what that mixes.
 * *ret_whole: none of them is missing. */
static struct span read_event_id(struct reader *r, bool *ret_whole)
{
    const struct payload *p = r->payload;
    struct span *pieces = arena_alloc(r->arena, p->nevent_id * sizeof(*pieces) + 1);
    size_t len = p->nevent_id;
    char *text, *to;

    *ret_whole = r->verified->id.len > 0;
    if (p->nevent_id == 0)
        return r->verified->id;
    *ret_whole = true;
    for (size_t i = 0; i < p->nevent_id; i++) {
        pieces[i] = shape_cut(shape_text(&r->extract, p->event_id[i], EVENT_ID_BYTES), EVENT_ID_BYTES);
        *ret_whole = *ret_whole && pieces[i].len > 0;
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
