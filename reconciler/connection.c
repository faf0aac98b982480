#include "connection.h"

#include "session.h"

#include <stdlib.h>

#include <sodium.h>

enum { NAMES_BYTES = 65536 };

struct connections {
    char *tokens; /* locked; NULL: none was found */
    struct connection at[];
};

static enum status ask(struct pg *pg, const struct connection_name *names, size_t n, struct pg_rows **ret,
                       struct err *err);
static size_t open_row(const struct pg_rows *rows, size_t row, const struct seal_keys *keys,
                       const struct connection_name *name, char *room, struct connection *ret);
static enum connection_state open_token(const struct pg_rows *rows, size_t row, const struct seal_keys *keys,
                                        const struct connection_name *name, char *room, struct span *ret);

enum status connection_find(struct pg *pg, const struct seal_keys *keys, const struct connection_name *names,
                            size_t n, struct connections **ret, struct err *err)
{
    struct connections *c;
    struct pg_rows *rows;
    size_t bytes = 0;

    if (n > CONNECTIONS_MAX)
        return err_set(err, BROKEN, "%zu accounts at one time, and %d are the most", n, CONNECTIONS_MAX);
    if (ask(pg, names, n, &rows, err))
        return err_in(err, "reading the accounts' tokens");
    for (size_t i = 0; i < pg_nrows(rows); i++)
        bytes += pg_bytes(rows, i, 1).len;
    c = calloc(1, sizeof(*c) + n * sizeof(c->at[0]));
    if (!c || (bytes > 0 && !(c->tokens = sodium_malloc(bytes))))
        abort();
    bytes = 0;
    for (size_t i = 0; i < pg_nrows(rows); i++) {
        size_t place = (size_t)pg_int(rows, i, 0) - 1;
        bytes += open_row(rows, i, keys, &names[place], c->tokens + bytes, &c->at[place]);
    }
    pg_rows_free(rows);
    *ret = c;
    return OK;
}

static enum status ask(struct pg *pg, const struct connection_name *names, size_t n, struct pg_rows **ret,
                       struct err *err)
{
    struct arena *arena = arena_open(NAMES_BYTES);
    struct span *texts[3];
    struct pg_args args;
    enum status status;

    for (size_t column = 0; column < countof(texts); column++)
        texts[column] = arena_alloc(arena, n * sizeof(*texts[column]));
    for (size_t i = 0; i < n; i++) {
        texts[0][i] = names[i].user;
        texts[1][i] = names[i].platform;
        texts[2][i] = names[i].account;
    }
    pg_args_init(&args, arena);
    for (size_t column = 0; column < countof(texts); column++)
        pg_arg_texts(&args, texts[column], n);
    status = pg_run(pg, SQL_CONNECTION_FIND, &args, WAIT_MS, ret, err);
    arena_close(arena);
    return status;
}

/* Returns the bytes of room that it took. */
static size_t open_row(const struct pg_rows *rows, size_t row, const struct seal_keys *keys,
                       const struct connection_name *name, char *room, struct connection *ret)
{
    *ret = (struct connection){.state = CONNECTION_READY};
    if (!pg_int(rows, row, 3))
        ret->state = CONNECTION_OFF;
    else if (pg_is_null(rows, row, 1))
        ret->state = CONNECTION_NONE;
    else if (pg_int(rows, row, 4))
        ret->state = CONNECTION_EXPIRED;
    else
        ret->state = open_token(rows, row, keys, name, room, &ret->token);
    return ret->token.len;
}

static enum connection_state open_token(const struct pg_rows *rows, size_t row, const struct seal_keys *keys,
                                        const struct connection_name *name, char *room, struct span *ret)
{
    const struct span place[] = {name->user, name->platform, name->account};
    const struct sealed sealed = {pg_bytes(rows, row, 2), pg_bytes(rows, row, 1), place, countof(place)};
    struct err err;

    if (!keys || seal_open(keys, &sealed, room, sealed.bytes.len, ret, &err))
        return CONNECTION_SEALED;
    return CONNECTION_READY;
}

const struct connection *connection_at(const struct connections *c, size_t index)
{
    return &c->at[index];
}

void connection_close(struct connections *c)
{
    if (c)
        sodium_free(c->tokens); /* wipes them */
    free(c);
}
