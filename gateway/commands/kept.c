#include "kept.h"

enum { STATEMENT_MS = 10000 };

struct pg *kept_connect(const struct config *config, const char *application, bool read_only, struct err *err)
{
    const struct pg_config pg = {
        .url = config->database.url,
        .user = "settle_requarantine",
        .application = application,
        .connect_timeout_s = 5,
        .statement_timeout_ms = STATEMENT_MS,
        .prepare = config->database.prepare,
        .read_only = read_only,
        .unsafe_ok = config->unsafe_ok,
    };

    return pg_connect(&pg, err);
}

/* The first line may be the URL, under a name that no header has. */
struct request kept_request(struct span headers, struct span body, int64_t received_us, struct arena *arena)
{
    struct request r = {.body = body.at ? body : SPAN(""), .url = SPAN_NONE, .received_us = received_us};
    struct header *all;
    size_t n = 0;

    for (size_t i = 0; i < headers.len; i++)
        n += headers.at[i] == '\n';
    all = arena_alloc(arena, (n + 1) * sizeof(*all));
    while (headers.len > 0) {
        struct span line = span_cut(&headers, '\n');
        struct span rest = line.len > 0 ? span_skip(line, 1) : line,
                    name = span_cut(&rest, ':'); /* of ":url" as well */
        if (!rest.at || rest.len == 0)
            continue;
        name = (struct span){line.at, name.len + 1};
        if (span_eq(name, SPAN(":url")))
            r.url = span_skip(rest, 1);
        else if (r.nheaders < n + 1)
            all[r.nheaders++] = (struct header){name, span_skip(rest, 1)};
    }
    r.headers = all;
    return r;
}
