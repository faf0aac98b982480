#include "connection.h"

#include "session.h"

#include <stdlib.h>

#include <sodium.h>

struct connections {
    struct connection *at; /* n of them, in the caller's arena */
    size_t n;
    char *tokens; /* locked; NULL: none was found */
};

static enum status ask(struct pg *pg, const struct connection_name *names, size_t n, struct arena *arena,
                       struct pg_rows **ret, struct err *err);
static size_t open_row(const struct pg_rows *rows, size_t row, const struct seal_keys *keys,
                       const struct connection_name *name, char *room, struct connection *ret);
static enum connection_state open_token(const struct pg_rows *rows, size_t row, const struct seal_keys *keys,
                                        const struct connection_name *name, char *room, struct span *ret);

enum status connection_find(struct pg *pg, const struct seal_keys *keys, const struct connection_name *names,
                            size_t n, struct arena *arena, struct connections **ret, struct err *err)
{
    struct connections *c = arena_zero(arena, sizeof(*c));
    struct pg_rows *rows;
    size_t bytes = 0, used = 0;

    *ret = c;
    c->n = n;
    c->at = arena_zero(arena, n * sizeof(*c->at));
    if (n == 0)
        return OK;
    if (n > CONNECTIONS_MAX)
        return err_set(err, BROKEN, "%zu accounts at one time, and %d are the most", n, CONNECTIONS_MAX);
    if (ask(pg, names, n, arena, &rows, err))
        return err_in(err, "reading the accounts' tokens");
    for (size_t i = 0; i < pg_nrows(rows); i++)
        bytes += pg_bytes(rows, i, 1).len;
    if (bytes > 0 && !(c->tokens = sodium_malloc(bytes)))
        abort();
    for (size_t i = 0; i < pg_nrows(rows); i++) {
        size_t place = (size_t)pg_int(rows, i, 0) - 1;
        used += open_row(rows, i, keys, &names[place], c->tokens + used, &c->at[place]);
    }
    pg_rows_free(rows);
    return OK;
}

static enum status ask(struct pg *pg, const struct connection_name *names, size_t n, struct arena *arena,
                       struct pg_rows **ret, struct err *err)
{
    struct span *texts[3];
    struct pg_args args;

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
    return pg_run(pg, SQL_CONNECTION_FIND, &args, WAIT_MS, ret, err);
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
    struct span sealed = pg_bytes(rows, row, 1);
    struct err err;

    if (!keys ||
        seal_open(keys, pg_bytes(rows, row, 2), place, countof(place), sealed, room, sealed.len, ret, &err))
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
}
