#include "store/pg.h"

#include "base/arena.h"
#include "base/now.h"
#include "store/sqlstate.h"

#include <libpq-fe.h>

#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    BINARY = 1,
    OID_JSONB = 3802,
    LOCK_TIMEOUT_MS = 2000,
};

#define NO_SUCH_TABLE  "42P01"
#define NO_SUCH_SCHEMA "3F000"
#define CURE           "run `sqitch deploy` in sql/ as the owner of the database, then start again"

/* A statement that was sent and is not answered yet. */
struct statement {
    struct statement *next;
    const char *name; /* for messages; borrows */
    int64_t deadline_boot_us;
    pg_done *done;
    void *ctx;
    size_t nbefore; /* results to come of statements in front of it */
    bool *prepares; /* of pg->known: its first result tells; NULL: it was known, or needs no name */
};

struct pg_rows {
    PGresult *result; /* owns; NULL once somebody took it */
};

struct pg {
    PGconn *conn;
    bool named; /* statements have names on the server */
    bool known[NSQL];
    bool closing;
    bool lost;
    char why_lost[160];
    int64_t clock_us, clock_asked_boot_us, clock_heard_boot_us;
    struct pg_rows rows;             /* what came for the oldest statement, until its sync ends it */
    struct statement *oldest, **end; /* in the order of sending, which is that of the answers */
    size_t nwaiting;
    size_t nbefore; /* statements in front of the next one */
};

/* What pg_run waits for. */
struct run {
    struct pg *pg;
    struct pg_rows *rows;
    struct err err;
};

static bool url_check(const char *url, struct err *err);
static PGconn *dial(const struct pg_config *config, struct err *err);
static enum status set_session(struct pg *pg, const struct pg_config *config, unsigned wait_ms,
                               struct err *err);
static enum status check_server(struct pg *pg, const struct pg_config *config, unsigned wait_ms,
                                struct err *err);
static enum status check_schema(struct pg *pg, unsigned wait_ms, struct err *err);
static enum status prepare(struct pg *pg, const struct pg_config *config, unsigned wait_ms, struct err *err);
static void after_prepare(void *ctx, const struct pg_rows *rows, const struct err *err);

static bool send_query(struct pg *pg, enum sql sql, const struct pg_args *args);
static struct statement *queue(struct pg *pg, bool sent, const char *name, int64_t deadline_boot_us,
                               pg_done *done, void *ctx);
static struct statement take_oldest(struct pg *pg);
static void take_results(struct pg *pg);
static void end_oldest(struct pg *pg);
static void end_all(struct pg *pg);
static bool failed(const PGresult *result);
static void describe(const char *name, const PGresult *result, struct err *err);
static int harmless_length(const char *message, const char *sqlstate);
static void lose(struct pg *pg, const char *why);

static void wait_until_answered(struct pg *pg);
static void after_run(void *ctx, const struct pg_rows *rows, const struct err *err);
static enum status finish_run(struct run *run, struct pg_rows **ret, struct err *err);
static int64_t boot_us_in(unsigned wait_ms);

static void close_arena(struct arena **arena);
static void free_rows(struct pg_rows **rows);
static void ignore_notice(void *ctx, const PGresult *notice);

struct pg *pg_connect(const struct pg_config *config, struct err *err)
{
    unsigned wait_ms = config->connect_timeout_s * 1000;
    struct pg *pg;
    PGconn *conn;

    if (!url_check(config->url, err))
        return NULL;
    conn = dial(config, err);
    if (!conn)
        return NULL;
    pg = calloc(1, sizeof(*pg));
    if (!pg)
        abort();
    pg->conn = conn;
    pg->end = &pg->oldest;
    if (set_session(pg, config, wait_ms, err) || check_server(pg, config, wait_ms, err) ||
        check_schema(pg, wait_ms, err) || prepare(pg, config, wait_ms, err)) {
        pg_close(pg);
        return NULL;
    }
    pg->named = config->prepare;
    return pg;
}

/* libpq's own message would quote the part it cannot read: perhaps the password. */
static bool url_check(const char *url, struct err *err)
{
    PQconninfoOption *options = PQconninfoParse(url, NULL);

    if (!options)
        err_set(err, INVALID, "the Postgres URL cannot be read: want postgresql://user@host:port/database");
    PQconninfoFree(options);
    return options != NULL;
}

/* Of two values for one name libpq takes the later one: defaults stand before the URL, what must hold behind it. */
static PGconn *dial(const struct pg_config *config, struct err *err)
{
    char connect_timeout[16];
    const char *const options[][2] = {
        {"user",                      config->user       },
        {"fallback_application_name", "settle"           },
        {"connect_timeout",           connect_timeout    },
        {"keepalives_idle",           "5"                },
        {"keepalives_interval",       "2"                },
        {"keepalives_count",          "3"                },
        {"tcp_user_timeout",          "5000"             },
        {"dbname",                    config->url        },
        {"application_name",          config->application},
        {"client_encoding",           "UTF8"             },
        {NULL,                        NULL               },
    };
    const char *names[countof(options)], *values[countof(options)];
    PGconn *conn;

    snprintf(connect_timeout, sizeof(connect_timeout), "%u", config->connect_timeout_s);
    for (size_t i = 0; i < countof(options); i++) {
        names[i] = options[i][0];
        values[i] = options[i][1];
    }
    conn = PQconnectdbParams(names, values, 1);
    if (!conn)
        abort();
    PQsetNoticeReceiver(conn, ignore_notice, NULL);
    if (PQstatus(conn) == CONNECTION_OK && PQsetnonblocking(conn, 1) == 0 && PQenterPipelineMode(conn) == 1)
        return conn;
    err_set(err, UNAVAILABLE, "Postgres: %.*s", (int)strcspn(PQerrorMessage(conn), "\n"),
            PQerrorMessage(conn));
    PQfinish(conn);
    return NULL;
}

static enum status set_session(struct pg *pg, const struct pg_config *config, unsigned wait_ms,
                               struct err *err)
{
    defer(close_arena) struct arena *arena = arena_open(256);
    struct pg_args args;

    pg_args_init(&args, arena);
    pg_arg_int(&args, config->statement_timeout_ms);
    pg_arg_int(&args, LOCK_TIMEOUT_MS);
    pg_arg_int(&args, PG_IDLE_IN_TRANSACTION_MS);
    pg_arg_bool(&args, config->read_only);
    return pg_run(pg, SQL_SESSION_SET, &args, wait_ms, NULL, err);
}

static enum status check_server(struct pg *pg, const struct pg_config *config, unsigned wait_ms,
                                struct err *err)
{
    defer(free_rows) struct pg_rows *rows = NULL;
    enum status status;

    if (PQserverVersion(pg->conn) < 150000)
        return err_set(err, BROKEN, "Postgres %d is too old: settle needs 15",
                       PQserverVersion(pg->conn) / 10000);
    pg->clock_asked_boot_us = now_boot_us();
    status = pg_run(pg, SQL_SERVER_CHECK, NULL, wait_ms, &rows, err);
    pg->clock_heard_boot_us = now_boot_us();
    if (status)
        return status;
    pg->clock_us = pg_time(rows, 0, 2);
    if (config->read_only)
        return OK;
    if (pg_int(rows, 0, 0))
        return err_cause(err, UNAVAILABLE, "read_only",
                         "Postgres takes no writes here: a standby, or set read-only");
    if (!pg_is_null(rows, 0, 1) && !config->unsafe_ok)
        return err_cause(err, BROKEN, "unsafe_server",
                         "Postgres would lose commits in a crash: %.*s; change that (alter system, alter "
                         "database, alter role; "
                         "alter table ... set logged)",
                         SPAN_ARG(pg_bytes(rows, 0, 1)));
    return OK;
}

static enum status check_schema(struct pg *pg, unsigned wait_ms, struct err *err)
{
    defer(close_arena) struct arena *arena = arena_open(1024);
    defer(free_rows) struct pg_rows *missing = NULL;
    struct span changes[NSQL_CHANGES];
    struct err why;
    struct pg_args args;
    const char *names = "";

    for (size_t i = 0; i < NSQL_CHANGES; i++)
        changes[i] = span_of(sql_changes[i]);
    pg_args_init(&args, arena);
    pg_arg_texts(&args, changes, NSQL_CHANGES);

    if (pg_run(pg, SQL_SCHEMA_MISSING, &args, wait_ms, &missing, &why)) {
        if (strcmp(why.sqlstate, NO_SUCH_TABLE) != 0 && strcmp(why.sqlstate, NO_SUCH_SCHEMA) != 0) {
            if (err)
                *err = why;
            return why.code;
        }
        return err_cause(err, BROKEN, "schema_missing", "the database has no settle schema: " CURE);
    }
    if (pg_nrows(missing) == 0)
        return OK;
    for (size_t i = 0; i < pg_nrows(missing); i++)
        names = arena_print(arena, "%s%s%.*s", names, i ? ", " : "", SPAN_ARG(pg_bytes(missing, i, 0)));
    return err_cause(err, BROKEN, "schema_missing", "the database lacks the schema changes %s: " CURE, names);
}

/* Also unnamed, one after the other: of these a statement that does not fit the schema fails the connection. */
static enum status prepare(struct pg *pg, const struct pg_config *config, unsigned wait_ms, struct err *err)
{
    struct err first = {.code = OK};
    size_t n = config->lazy ? config->neager : NSQL;

    for (size_t i = 0; i < n; i++) {
        enum sql sql = config->lazy ? config->eager[i] : (enum sql)i;
        const struct sql_text *s = &sql_texts[sql];
        queue(pg, PQsendPrepare(pg->conn, config->prepare ? s->name : "", s->text, 0, NULL), s->name,
              boot_us_in(wait_ms), after_prepare, &first);
        pg->known[sql] = config->prepare;
    }
    wait_until_answered(pg);
    if (first.code && first.code != UNAVAILABLE)
        first.code = BROKEN;
    if (first.code)
        err_in(&first, "a statement of sql/queries does not prepare");
    if (first.code && err)
        *err = first;
    return first.code;
}

static void after_prepare(void *ctx, const struct pg_rows *rows, const struct err *err)
{
    struct err *first = ctx;

    (void)rows;
    if (err && !first->code)
        *first = *err;
}

void pg_close(struct pg *pg)
{
    if (!pg)
        return;
    pg->closing = true;
    lose(pg, "it was closed");
    end_all(pg);
    PQclear(pg->rows.result);
    PQfinish(pg->conn);
    free(pg);
}

void pg_send(struct pg *pg, enum sql sql, const struct pg_args *args, int64_t deadline_boot_us, pg_done *done,
             void *ctx)
{
    const struct sql_text *s = &sql_texts[sql];
    bool sent = !pg->lost, prepares = pg->named && !pg->known[sql];

    if (prepares) {
        sent = sent && PQsendPrepare(pg->conn, s->name, s->text, 0, NULL);
        pg->known[sql] = true; /* for those behind it */
    }
    sent = sent && send_query(pg, sql, args);
    queue(pg, sent, s->name, deadline_boot_us, done, ctx)->prepares = prepares ? &pg->known[sql] : NULL;
}

void pg_before(struct pg *pg, enum sql sql, const struct pg_args *args)
{
    if (pg->lost || !send_query(pg, sql, args))
        lose(pg, "it does not take statements");
    pg->nbefore++;
}

static bool send_query(struct pg *pg, enum sql sql, const struct pg_args *args)
{
    static const struct pg_args none = {.n = 0};
    const struct sql_text *s = &sql_texts[sql];

    if (!args)
        args = &none;
    assert(args->n == s->nparameters);
    if (pg->named && pg->known[sql])
        return PQsendQueryPrepared(pg->conn, s->name, args->n, args->values, args->lengths, args->formats,
                                   BINARY);
    return PQsendQueryParams(pg->conn, s->text, args->n, NULL, args->values, args->lengths, args->formats,
                             BINARY);
}

/* The sync makes the statement a transaction of its own, and sends it off. */
static struct statement *queue(struct pg *pg, bool sent, const char *name, int64_t deadline_boot_us,
                               pg_done *done, void *ctx)
{
    struct statement *s = malloc(sizeof(*s));

    assert(!pg->closing); /* sent again from the callback of a connection that closes: would never end */
    if (!s)
        abort();
    *s = (struct statement){
        .name = name, .deadline_boot_us = deadline_boot_us, .done = done, .ctx = ctx, .nbefore = pg->nbefore};
    pg->nbefore = 0;
    *pg->end = s;
    pg->end = &s->next;
    pg->nwaiting++;
    if (!sent || !PQpipelineSync(pg->conn))
        lose(pg, "it does not take statements");
    return s;
}

static struct statement take_oldest(struct pg *pg)
{
    struct statement *s = pg->oldest, taken = *s;

    pg->oldest = s->next;
    if (!pg->oldest)
        pg->end = &pg->oldest;
    pg->nwaiting--;
    free(s);
    return taken;
}

int64_t pg_clock_at_connect(const struct pg *pg, int64_t *ret_asked_boot_us, int64_t *ret_heard_boot_us)
{
    *ret_asked_boot_us = pg->clock_asked_boot_us;
    *ret_heard_boot_us = pg->clock_heard_boot_us;
    return pg->clock_us;
}

size_t pg_waiting(const struct pg *pg)
{
    return pg->nwaiting;
}

int pg_fd(const struct pg *pg)
{
    return PQsocket(pg->conn);
}

bool pg_flush(struct pg *pg, bool *ret_wants_write)
{
    int unsent = pg->lost ? 0 : PQflush(pg->conn);

    *ret_wants_write = unsent == 1;
    if (unsent < 0)
        lose(pg, "the server is gone");
    return !pg->lost;
}

bool pg_read(struct pg *pg)
{
    bool open;

    if (pg->lost)
        return false;
    open = PQconsumeInput(pg->conn);
    take_results(pg); /* also what came right before the end */
    if (!open || PQstatus(pg->conn) != CONNECTION_OK)
        lose(pg, "the server is gone");
    return !pg->lost;
}

bool pg_expire(struct pg *pg, int64_t now_boot_us)
{
    for (const struct statement *s = pg->oldest; s && !pg->lost; s = s->next)
        if (s->deadline_boot_us <= now_boot_us)
            lose(pg, "no answer in time");
    return !pg->lost;
}

/* A statement has ended only with its sync: the result comes before the commit, and the commit may fail. */
static void take_results(struct pg *pg)
{
    bool paused = false; /* libpq returns NULL once behind the results of each statement */

    while (pg->nwaiting && !PQisBusy(pg->conn)) {
        PGresult *result = PQgetResult(pg->conn);

        if (!result && paused) {
            lose(pg, "libpq and we disagree about what was sent");
            return;
        }
        paused = !result;
        if (!result)
            continue;
        if (!failed(result) && pg->oldest->nbefore > 0)
            pg->oldest->nbefore--;
        else if (!failed(result))
            pg->oldest->prepares = NULL; /* the first result is that of preparing */
        if (PQresultStatus(result) == PGRES_PIPELINE_SYNC) {
            PQclear(result);
            end_oldest(pg);
        } else if (pg->rows.result && failed(pg->rows.result)) {
            PQclear(result);
        } else {
            PQclear(pg->rows.result);
            pg->rows.result = result;
        }
    }
}

static void end_oldest(struct pg *pg)
{
    struct statement s = take_oldest(pg);
    struct err err;

    if (s.prepares)
        *s.prepares = false;
    if (failed(pg->rows.result)) {
        describe(s.name, pg->rows.result, &err);
        if (!err.sqlstate[0])
            lose(pg, "libpq could not read an answer");
        s.done(s.ctx, NULL, &err);
    } else {
        s.done(s.ctx, &pg->rows, NULL);
    }
    PQclear(pg->rows.result);
    pg->rows.result = NULL;
}

static void end_all(struct pg *pg)
{
    while (pg->nwaiting) {
        struct statement s = take_oldest(pg);
        struct err err;

        err_set(&err, UNAVAILABLE, "%s: Postgres connection lost: %s", s.name, pg->why_lost);
        s.done(s.ctx, NULL, &err);
    }
}

static bool failed(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result); /* of NULL too */

    return status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK;
}

/* Only the primary message: detail and context may quote parameters. */
static void describe(const char *name, const PGresult *result, struct err *err)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    if (!sqlstate || !message) {
        err_set(err, UNAVAILABLE, "%s: Postgres gave no answer that libpq can read", name);
        return;
    }
    err_set(err, sqlstate_status(sqlstate), "%s: %.*s (%s)", name, harmless_length(message, sqlstate),
            message, sqlstate);
    snprintf(err->sqlstate, sizeof(err->sqlstate), "%s", sqlstate);
}

/* Messages about bad values quote the value: those are cut before it. */
static int harmless_length(const char *message, const char *sqlstate)
{
    size_t len = strncmp(sqlstate, "22", 2) == 0 ? strcspn(message, "\":") : strlen(message);

    while (len > 0 && message[len - 1] == ' ')
        len--;
    return (int)len;
}

/* Keeps the first reason, and prefers the server's own last words to it. */
static void lose(struct pg *pg, const char *why)
{
    const char *last_words = PQresultErrorField(pg->rows.result, PG_DIAG_MESSAGE_PRIMARY);
    const char *severity = PQresultErrorField(pg->rows.result, PG_DIAG_SEVERITY_NONLOCALIZED);

    if (pg->lost)
        return;
    if (severity && strcmp(severity, "FATAL") == 0 && last_words)
        why = last_words;
    snprintf(pg->why_lost, sizeof(pg->why_lost), "%s", why);
    pg->lost = true;
}

enum status pg_run(struct pg *pg, enum sql sql, const struct pg_args *args, unsigned wait_ms,
                   struct pg_rows **ret, struct err *err)
{
    struct run run = {.pg = pg};

    assert(pg->nwaiting == 0);
    pg_send(pg, sql, args, boot_us_in(wait_ms), after_run, &run);
    wait_until_answered(pg);
    return finish_run(&run, ret, err);
}

enum status pg_command(struct pg *pg, const char *text, unsigned wait_ms, struct err *err)
{
    struct run run = {.pg = pg};
    struct pg_rows *rows = NULL;
    enum status status;
    bool undone;

    assert(pg->nwaiting == 0);
    queue(pg, !pg->lost && PQsendQueryParams(pg->conn, text, 0, NULL, NULL, NULL, NULL, BINARY), text,
          boot_us_in(wait_ms), after_run, &run);
    wait_until_answered(pg);
    status = finish_run(&run, &rows, err);
    if (status)
        return status;
    assert(rows);
    /* A commit of a transaction that has failed rolls it back, and is no error to Postgres. */
    undone = strcmp(text, "commit") == 0 && strcmp(PQcmdStatus(rows->result), "COMMIT") != 0;
    pg_rows_free(rows);
    if (undone)
        return err_set(err, BROKEN, "commit: the transaction had failed before; nothing of it was stored");
    return OK;
}

/* Ends what waits with UNAVAILABLE when the connection is lost or a deadline passes: read first, since the answer may
 * have come while we were stopped. */
static void wait_until_answered(struct pg *pg)
{
    while (pg->nwaiting) {
        int64_t left_us = pg->oldest->deadline_boot_us - now_boot_us();
        struct pollfd p = {.fd = pg_fd(pg), .events = POLLIN};
        bool wants_write, alive = pg_flush(pg, &wants_write);

        if (wants_write)
            p.events |= POLLOUT;
        if (alive && poll(&p, 1, left_us > 0 ? (int)(left_us / 1000) + 1 : 0) > 0)
            alive = pg_read(pg);
        if (!alive || !pg_expire(pg, now_boot_us()))
            end_all(pg);
    }
}

static void after_run(void *ctx, const struct pg_rows *rows, const struct err *err)
{
    struct run *run = ctx;

    if (err) {
        run->err = *err;
        return;
    }
    (void)rows; /* pg->rows, of which the caller becomes the owner */
    run->rows = malloc(sizeof(*run->rows));
    if (!run->rows)
        abort();
    *run->rows = run->pg->rows;
    run->pg->rows.result = NULL;
}

static enum status finish_run(struct run *run, struct pg_rows **ret, struct err *err)
{
    if (run->err.code && err)
        *err = run->err;
    if (ret)
        *ret = run->rows;
    else
        pg_rows_free(run->rows);
    return run->err.code;
}

static int64_t boot_us_in(unsigned wait_ms)
{
    return now_boot_us() + (int64_t)wait_ms * 1000;
}

size_t pg_nrows(const struct pg_rows *rows)
{
    return (size_t)PQntuples(rows->result);
}

bool pg_is_null(const struct pg_rows *rows, size_t row, size_t column)
{
    return PQgetisnull(rows->result, (int)row, (int)column);
}

struct span pg_bytes(const struct pg_rows *rows, size_t row, size_t column)
{
    struct span bytes = {PQgetvalue(rows->result, (int)row, (int)column),
                         (size_t)PQgetlength(rows->result, (int)row, (int)column)};

    if (pg_is_null(rows, row, column))
        return SPAN_NONE;
    return PQftype(rows->result, (int)column) == OID_JSONB ? span_skip(bytes, 1)
                                                           : bytes; /* the first byte is a version */
}

int64_t pg_int(const struct pg_rows *rows, size_t row, size_t column)
{
    struct span bytes = pg_bytes(rows, row, column);
    uint64_t number = bytes.len && (bytes.at[0] & 0x80) ? UINT64_MAX : 0; /* carries the sign on */

    assert(bytes.len <= sizeof(number));
    for (size_t i = 0; i < bytes.len; i++)
        number = number << 8 | (uint8_t)bytes.at[i];
    return (int64_t)number;
}

double pg_float(const struct pg_rows *rows, size_t row, size_t column)
{
    int64_t bits = pg_int(rows, row, column);
    double number;

    memcpy(&number, &bits, sizeof(number));
    return number;
}

int64_t pg_time(const struct pg_rows *rows, size_t row, size_t column)
{
    int64_t since_2000_us = pg_int(rows, row, column);

    if (pg_is_null(rows, row, column))
        return TIME_NONE;
    return since_2000_us > INT64_MAX - PG_EPOCH_US ? INT64_MAX : since_2000_us + PG_EPOCH_US;
}

struct id pg_uuid(const struct pg_rows *rows, size_t row, size_t column)
{
    struct span bytes = pg_bytes(rows, row, column);
    struct id id = {{0}};

    if (bytes.at) {
        assert(bytes.len == sizeof(id.bytes));
        memcpy(id.bytes, bytes.at, sizeof(id.bytes));
    }
    return id;
}

uint64_t pg_affected(const struct pg_rows *rows)
{
    return strtoull(PQcmdTuples(rows->result), NULL, 10);
}

void pg_rows_free(struct pg_rows *rows)
{
    if (!rows)
        return;
    PQclear(rows->result);
    free(rows);
}

static void close_arena(struct arena **arena)
{
    arena_close(*arena);
}

static void free_rows(struct pg_rows **rows)
{
    pg_rows_free(*rows);
}

/* By default libpq prints notices on stderr; libraries do not log. */
static void ignore_notice(void *ctx, const PGresult *notice)
{
    (void)ctx;
    (void)notice;
}
