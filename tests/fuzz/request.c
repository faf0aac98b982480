/* A whole request as it comes over the wire: framing, path, query, handshakes by GET, signature headers. */
#include "fuzz.h"

#include "base/now.h"
#include "domain/event.h"
#include "domain/handshake.h"
#include "framing.h"
#include "ingest.h"

#include <ctype.h>

enum { HEADERS_MAX = 64 };

static void try_handshake(const struct platform *p, const struct source *s, struct span query,
                          struct arena *a);
static void try_delivery(const struct platform *p, const struct source *s, struct request *r,
                         struct arena *a);
static size_t read_headers(struct span *rest, struct header *headers, struct arena *a);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span whole = {(const char *)data, size}, rest = whole, line = span_cut(&rest, '\n');
    struct span target = line, query, name, source_name;
    struct arena *a = arena_open(4096);
    struct header headers[HEADERS_MAX];
    struct request r = {.headers = headers, .received_us = 1700000000 * SECOND_US};
    const struct platform *p;
    bool chunked;

    (void)framing_check(whole, &chunked, NULL);
    span_cut(&target, ' ');
    target = span_cut(&target, ' ');
    query = target;
    target = span_cut(&query, '?');
    r.nheaders = read_headers(&rest, headers, a);
    r.body = rest.at ? rest : SPAN("");
    if (target.at && ingest_read_path(target, &name, &source_name)) {
        p = platforms_find(fuzz_platforms(), name);
        if (p) {
            try_handshake(p, platform_source(p, source_name), query, a);
            try_delivery(p, platform_source(p, source_name), &r, a);
        }
    }
    arena_close(a);
    return 0;
}

/* What is echoed is harmless, and nothing that could be an event is ever signed. */
static void try_handshake(const struct platform *p, const struct source *s, struct span query,
                          struct arena *a)
{
    struct handshake_answer answer = {.status = 0};

    if (!handshake_by_get(p))
        return;
    handshake_get(p, s, query, 1700000000 * SECOND_US, a, &answer);
    FUZZ_ASSERT(answer.status >= 200 && answer.status < 600);
    FUZZ_ASSERT(!memchr(answer.body.at ? answer.body.at : "", '<', answer.body.len));
}

/* The clock is the request's own, so that more than the age is looked at. */
static void try_delivery(const struct platform *p, const struct source *s, struct request *r, struct arena *a)
{
    struct arena *own = arena_open(1024);
    struct verified verified;
    struct claim claim;
    const char *wrong;

    r->url = p->scheme.needs_url ? SPAN("https://hooks.example/x?bodySHA256=e3") : SPAN_NONE;
    if (scheme_read(&p->scheme, r, own, &claim, &wrong) == REFUSAL_NONE) {
        (void)scheme_check(&p->scheme, &claim, r, &verified.time_us, &wrong);
        if (verified.time_us != TIME_NONE)
            r->received_us = verified.time_us;
    }
    if (scheme_verify(p, s, r, &verified, NULL) == OK) {
        struct handshake_answer answer;
        struct event *events;
        size_t nevents;
        if (!handshake_post(p, s, verified.secret, r, a, &answer))
            events_read(p, s->name, &verified, r, a, &events, &nevents);
    }
    arena_close(own);
}

static size_t read_headers(struct span *rest, struct header *headers, struct arena *a)
{
    size_t n = 0;

    while (rest->at && n < HEADERS_MAX) {
        struct span value = span_cut(rest, '\n'), name;
        if (value.len > 0 && value.at[value.len - 1] == '\r')
            value.len--;
        if (value.len == 0)
            break;
        name = arena_copy(a, span_cut(&value, ':'));
        for (size_t i = 0; i < name.len; i++)
            ((char *)(uintptr_t)name.at)[i] = (char)tolower((unsigned char)name.at[i]);
        headers[n++] = (struct header){name, value.len > 0 ? span_skip(value, 1) : SPAN("")};
    }
    return n;
}
