#include "delivery.h"

#include "ingest.h"

enum { ARENA_FIRST_BYTES = 8 * 1024 }; /* room for a usual delivery whole */

static struct arena *arena_take(struct ingest *ingest);
static void arena_give_back(struct ingest *ingest, struct arena *arena);
static size_t line_bytes(const struct header *h);
static char *put_line(char *at, const struct header *h);
static bool is_needed(const struct platform *p, struct span name);
static bool is_extra(const struct payload *payload, struct span name);
static bool is_told(struct span name);

struct delivery *delivery_begin(struct ingest *ingest, h2o_req_t *req)
{
    struct arena *arena = arena_take(ingest);
    struct delivery *d = arena_zero(arena, sizeof(*d));

    d->ingest = ingest;
    d->arena = arena;
    d->platforms = platforms_share(ingest->platforms);
    d->received_us = server_wall_us(ingest->server);
    d->began_us = server_boot_us(ingest->server);
    d->id = id_make(d->received_us);
    /* Copied because the bytes go with the client. A request without a body is one with an empty body. */
    d->body =
        req->entity.len > 0 ? arena_copy(arena, (struct span){req->entity.base, req->entity.len}) : SPAN("");
    tie_bind(&d->tie, req);
    server_hold(ingest->server);
    return d;
}

/* No drain of the server waits for it: it is safe where it is. */
struct delivery *delivery_again(struct ingest *ingest, const struct platform *platform,
                                const struct source *source, const struct spool_record *r)
{
    struct arena *arena = arena_take(ingest);
    struct delivery *d = arena_zero(arena, sizeof(*d));
    struct event *events;

    d->ingest = ingest;
    d->arena = arena;
    d->platforms = platforms_share(ingest->platforms);
    d->id = r->delivery_id;
    d->received_us = r->received_us;
    d->platform = platform;
    d->source = source;
    d->source_name = source->name;
    d->key_id = r->key_id;
    d->headers = r->headers;
    d->body = r->body;
    d->request = delivery_read_kept(r->headers, r->body, r->received_us, arena);
    d->verified = (struct verified){.id = r->event_id, .time_us = TIME_NONE};
    events_read(platform, source->name, &d->verified, &d->request, arena, &events, &d->nreceipts);
    delivery_take_events(d, events);
    return d;
}

void delivery_take_events(struct delivery *d, struct event *events)
{
    d->receipts = arena_zero(d->arena, d->nreceipts * sizeof(*d->receipts));
    for (size_t i = 0; i < d->nreceipts; i++) {
        d->receipts[i].delivery = d;
        d->receipts[i].event = &events[i];
    }
}

void delivery_end(struct delivery *d)
{
    struct ingest *ingest = d->ingest;
    bool held = !d->drain;

    assert(!d->tie.req && !d->line);
    deadline_clear(&d->commit_by);
    deadline_clear(&d->answer_by);
    platforms_close(d->platforms);
    arena_give_back(ingest, d->arena);
    if (held)
        server_release(ingest->server);
}

void delivery_keep_headers(struct delivery *d)
{
    const struct request *r = &d->request;
    const struct header url = {SPAN(":url"), r->url};
    size_t len = line_bytes(&url), told = 0;
    char *text, *at;

    for (size_t i = 0; i < r->nheaders; i++)
        len += line_bytes(&r->headers[i]);
    text = at = arena_alloc(d->arena, len);
    if (r->url.at)
        at = put_line(at, &url);
    for (size_t i = 0; i < r->nheaders; i++) {
        const struct header *h = &r->headers[i];
        bool needed = is_needed(d->platform, h->name);
        if (!needed && (!is_told(h->name) || told + line_bytes(h) > TOLD_HEADERS_MAX_BYTES))
            continue;
        told += needed ? 0 : line_bytes(h);
        at = put_line(at, h);
    }
    d->headers = (struct span){text, (size_t)(at - text)};
}

static size_t line_bytes(const struct header *h)
{
    return h->name.len + strlen(": ") + h->value.len + strlen("\n");
}

static char *put_line(char *at, const struct header *h)
{
    at = mempcpy(at, h->name.at, h->name.len);
    at = mempcpy(at, ": ", 2);
    at = mempcpy(at, h->value.at, h->value.len);
    *at++ = '\n';
    return at;
}

struct request delivery_read_kept(struct span headers, struct span body, int64_t received_us,
                                  struct arena *arena)
{
    struct request r = {.body = body.at ? body : SPAN(""), .url = SPAN_NONE, .received_us = received_us};
    struct header *all;
    size_t n = 0;

    for (size_t i = 0; i < headers.len; i++)
        n += headers.at[i] == '\n';
    all = arena_alloc(arena, (n + 1) * sizeof(*all));
    while (headers.len > 0) {
        struct span line = span_cut(&headers, '\n'), rest, name;
        if (line.len == 0)
            continue;
        rest = span_skip(line, 1); /* past the first ":" of ":url" */
        name = span_cut(&rest, ':');
        if (!rest.at || rest.len == 0)
            continue;
        name = (struct span){line.at, name.len + 1};
        if (span_eq(name, SPAN(":url")))
            r.url = span_skip(rest, 1);
        else if (r.nheaders <= n)
            all[r.nheaders++] = (struct header){name, span_skip(rest, 1)};
    }
    r.headers = all;
    return r;
}

/* Something may be decided or shown by it. What is the secret itself is kept nowhere, though it cannot be verified again
 * then. */
static bool is_needed(const struct platform *p, struct span name)
{
    const struct scheme *s = &p->scheme;

    if (span_eq(name, s->header))
        return s->proofs[0].algorithm != ALGORITHM_CREDENTIAL;
    if (span_eq(name, SPAN("content-type")) || span_eq(name, s->time_header) || span_eq(name, s->id_header))
        return true;
    for (size_t i = 0; i < p->nhandshakes; i++)
        if (span_eq(name, p->handshakes[i].header))
            return true;
    for (size_t i = 0; i < p->npayloads; i++)
        if (is_extra(&p->payloads[i], name))
            return true;
    return false;
}

static bool is_extra(const struct payload *payload, struct span name)
{
    for (size_t i = 0; i < payload->nextras; i++)
        if (span_eq(name, payload->extras[i].header))
            return true;
    return false;
}

static bool is_told(struct span name)
{
    return span_eq(name, SPAN("user-agent")) || span_eq(name, SPAN("traceparent")) ||
           span_eq(name, SPAN("x-request-id"));
}

static struct arena *arena_take(struct ingest *ingest)
{
    return ingest->nspare_arenas > 0 ? ingest->spare_arenas[--ingest->nspare_arenas]
                                     : arena_open(ARENA_FIRST_BYTES);
}

static void arena_give_back(struct ingest *ingest, struct arena *arena)
{
    if (ingest->nspare_arenas == SPARE_ARENAS) {
        arena_close(arena);
        return;
    }
    arena_reset(arena);
    ingest->spare_arenas[ingest->nspare_arenas++] = arena;
}
