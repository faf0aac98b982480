#include "kept.h"

#include "delivery.h"

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

struct request kept_request(struct span headers, struct span body, int64_t received_us, struct arena *arena)
{
    return delivery_read_kept(headers, body, received_us, arena);
}
