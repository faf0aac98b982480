#include "delivery.h"

#include "ingest.h"

enum { ARENA_FIRST_BYTES = 8 * 1024 }; /* room for a usual delivery whole */

static struct arena *arena_take(struct ingest *ingest);
static void arena_give_back(struct ingest *ingest, struct arena *arena);
static bool is_kept(const struct delivery *d, struct span name);

struct delivery *delivery_begin(struct ingest *ingest, h2o_req_t *req)
{
    struct arena *arena = arena_take(ingest);
    struct delivery *d = arena_zero(arena, sizeof(*d));

    d->ingest = ingest;
    d->arena = arena;
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

void delivery_end(struct delivery *d)
{
    struct ingest *ingest = d->ingest;

    assert(!d->tie.req);
    deadline_clear(&d->deadline);
    arena_give_back(ingest, d->arena);
    server_release(ingest->server);
}

void delivery_keep_headers(struct delivery *d, const struct header *headers, size_t nheaders)
{
    char *text = arena_alloc(d->arena, KEPT_HEADERS_MAX_BYTES);
    size_t len = 0;

    for (size_t i = 0; i < nheaders; i++) {
        const struct header *h = &headers[i];
        if (!is_kept(d, h->name) || len + h->name.len + h->value.len + 3 > KEPT_HEADERS_MAX_BYTES)
            continue;
        memcpy(text + len, h->name.at, h->name.len);
        len += h->name.len;
        memcpy(text + len, ": ", 2);
        len += 2;
        memcpy(text + len, h->value.at, h->value.len);
        len += h->value.len;
        text[len++] = '\n';
    }
    d->headers = (struct span){text, len};
}

static bool is_kept(const struct delivery *d, struct span name)
{
    static const struct span always[] = {
        {"content-type", 12},
        {"user-agent",   10},
        {"traceparent",  11},
        {"x-request-id", 12},
    };
    const struct scheme *scheme = &d->platform->scheme;

    for (size_t i = 0; i < countof(always); i++)
        if (span_eq(name, always[i]))
            return true;
    return span_eq(name, scheme->header) || span_eq(name, scheme->time_header) ||
           span_eq(name, scheme->id_header);
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
