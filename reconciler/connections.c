/* connections: sets, shows and forgets the tokens that platforms are asked with, and seals them again with a new key. */
#include "command.h"
#include "connection.h"
#include "session.h"
#include "tool.h"

#include "base/file.h"
#include "base/log.h"
#include "base/now.h"
#include "base/utf8.h"
#include "domain/name.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include <jansson.h>
#include <sodium.h>

enum {
    PAGE_ROWS = 500, /* of connection_walk */
    NAMED_MAX = 10,  /* accounts in an error */
};

enum { STORED = 200, UNKNOWN_ACCOUNT = 404 }; /* of connection_set */

/* The arrays that a page is written back as. */
enum { USER, PLATFORM, ACCOUNT, HAD, FRESH, REKEY_COLUMNS };

struct options {
    struct tool_options common;
    const char *verb, *user, *platform, *account, *token_file;
    int64_t expires_us;
    bool disconnected;
};

struct job {
    const struct options *options;
    struct tool tool;
    struct seal_keys *keys; /* NULL: no key file is set */
    char *token;            /* locked; NULL: none is given */
    struct span plain;      /* what it holds */
};

/* Where a walk through the connections stands. */
struct place {
    struct span user, platform, account; /* absent: before the first */
};

static int run(int argc, char **argv);
static error_t parse_option(int key, char *value, struct argp_state *state);
static void check_options(const struct options *o, const struct argp_state *state);
static enum status open_job(struct job *j, struct err *err);
static int close_job(struct job *j, int code);

static int set(struct job *j, struct err *err);
static enum status check_account(struct job *j, bool *ret_refused, struct err *err);
static enum status read_token(struct job *j, struct err *err);
static enum status foresee(struct job *j, int *ret_answer, struct err *err);
static enum status store(struct job *j, int *ret_answer, struct err *err);
static int blame_absence(struct job *j, struct err *err);
static int list(struct job *j, struct err *err);
static void show(const struct job *j, const struct pg_rows *rows, size_t row, bool first);
static int drop(struct job *j, struct err *err);
static enum status is_there(struct job *j, bool *ret, struct err *err);
static int rekey(struct job *j, struct err *err);
static enum status rekey_page(struct job *j, const struct pg_rows *page, int64_t *done, int64_t *lost,
                              struct err *err);
static size_t seal_page_again(struct job *j, const struct pg_rows *page,
                              struct span columns[REKEY_COLUMNS][PAGE_ROWS]);
static bool seal_again(struct job *j, const struct pg_rows *page, size_t row, char *room, struct span *ret);
static enum status walk(struct job *j, struct place *behind, struct pg_rows **ret, struct err *err);

const struct command connections_command = {"connections", "the tokens that platforms are asked with", run};

enum {
    OPTION_USER = 1,
    OPTION_PLATFORM,
    OPTION_ACCOUNT,
    OPTION_TOKEN_FILE,
    OPTION_EXPIRES,
    OPTION_DISCONNECTED,
};

static const struct argp_option option_table[] = {
    {"user",         OPTION_USER,         "ID",   0, "Whose account (user_id_str); of list: only theirs",      1},
    {"platform",     OPTION_PLATFORM,     "NAME", 0, "On which platform",                                      1},
    {"account",      OPTION_ACCOUNT,      "NAME", 0,
     "The publications' social_account_id (default: default); of gsc and bing the site",                       1},
    {"token-file",   OPTION_TOKEN_FILE,   "FILE", 0, "Its token; - is stdin. Left out: the present one stays", 1},
    {"expires",      OPTION_EXPIRES,      "TIME", 0, "When the token ends, as 2027-01-31T12:00:00Z",           1},
    {"disconnected", OPTION_DISCONNECTED, NULL,   0,
     "Keep it, but do not ask with it; it must be there, unless its token is given",                           1},
    {NULL,           0,                   NULL,   0, NULL,                                                     0},
};
static const struct argp argp = {
    .options = option_table,
    .parser = parse_option,
    .children = tool_children,
    .args_doc = "set|list|remove|rekey",
    .doc = "Tokens of the tenants' accounts, sealed with the newest key of connections.key_file; none is "
           "ever shown."
           "\vset wants --user and --platform, and so does remove. Of gsc and bing the account is the site "
           "whose figures "
           "are fetched, as the platform writes it: https://www.example.com/ or sc-domain:example.com. rekey "
           "seals again what an older key has "
           "sealed, so "
           "that it can leave the file. Exit codes: 0 done, 64 usage, 65 a token, an account or a row is not "
           "good, 69 "
           "Postgres is "
           "down, 78 settings or the key file.",
};

static const struct verb {
    const char *name;
    int (*run)(struct job *j, struct err *err); /* the exit code, -1: as *err says */
    bool names_one;                             /* wants --user and --platform */
} verbs[] = {
    {"set",    set,   true },
    {"list",   list,  false},
    {"remove", drop,  true },
    {"rekey",  rekey, false},
};

static int run(int argc, char **argv)
{
    struct options o = {.account = "default", .expires_us = TIME_NONE};
    struct job j = {.options = &o};
    struct err err = {0};
    int code = -1;

    tool_options_init(&o.common);
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    if (sodium_init() < 0)
        abort();
    if (open_job(&j, &err) == OK)
        for (size_t i = 0; i < countof(verbs); i++)
            if (strcmp(verbs[i].name, o.verb) == 0)
                code = verbs[i].run(&j, &err);
    if (code < 0) {
        log_error("connections_failed", LOG_ERR(&err));
        code = exit_code(&err);
    }
    return close_job(&j, code);
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->common;
        return 0;
    case OPTION_USER:
        o->user = value;
        return 0;
    case OPTION_PLATFORM:
        o->platform = value;
        return 0;
    case OPTION_ACCOUNT:
        o->account = value;
        return 0;
    case OPTION_TOKEN_FILE:
        o->token_file = strcmp(value, "-") == 0 ? "/dev/stdin" : value;
        return 0;
    case OPTION_EXPIRES:
        o->expires_us = option_time(value, "expires", state);
        return 0;
    case OPTION_DISCONNECTED:
        o->disconnected = true;
        return 0;
    case ARGP_KEY_ARG:
        if (o->verb)
            argp_error(state, "\"%s\" is one word too many", value);
        o->verb = value;
        return 0;
    case ARGP_KEY_END:
        check_options(o, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void check_options(const struct options *o, const struct argp_state *state)
{
    const struct verb *v = verbs;

    while (v < verbs + countof(verbs) && !(o->verb && strcmp(v->name, o->verb) == 0))
        v++;
    if (v == verbs + countof(verbs))
        argp_error(state, "say what to do: set, list, remove or rekey");
    else if (v->names_one && (!o->user || !o->platform))
        argp_error(state, "%s wants --user and --platform", v->name);
    else if (o->user && !utf8_names_tenant(span_of(o->user), CONNECTION_USER_MAX))
        argp_error(
            state,
            "--user: want 1 to %d bytes of UTF-8 without control characters, and without blanks at the "
            "ends",
            CONNECTION_USER_MAX);
    else if (o->platform && !name_is_good(span_of(o->platform), CONNECTION_PLATFORM_MAX))
        argp_error(state, "--platform: want at most %d of a-z 0-9 -", CONNECTION_PLATFORM_MAX);
    else if (!utf8_names(span_of(o->account), CONNECTION_ACCOUNT_MAX))
        argp_error(state, "--account: want 1 to %d bytes of UTF-8 without control characters",
                   CONNECTION_ACCOUNT_MAX);
}

static enum status open_job(struct job *j, struct err *err)
{
    if (tool_open(&j->tool, &j->options->common, err))
        return err->code;
    if (j->tool.config->connections.key_file &&
        !(j->keys = seal_keys_load(j->tool.config->connections.key_file, err)))
        return err_in(err, "connections.key_file");
    return tool_connect(&j->tool, "settle_reconciler", "settle-reconciler connections", err);
}

static int close_job(struct job *j, int code)
{
    sodium_free(j->token); /* wipes it */
    seal_keys_close(j->keys);
    tool_close(&j->tool);
    return code;
}

static int set(struct job *j, struct err *err)
{
    const struct options *o = j->options;
    bool refused = false;
    int answer = 0;

    if (o->token_file && !j->keys) {
        err_set(err, INVALID, "connections.key_file is not set, so no token can be sealed");
        return -1;
    }
    if (o->token_file && read_token(j, err)) {
        log_error("connections_failed", LOG_ERR(err));
        return EX_DATAERR;
    }
    if (check_account(j, &refused, err))
        return -1;
    if (refused) {
        log_error("connections_failed", LOG_ERR(err));
        return EX_DATAERR;
    }
    if (o->common.dry_run ? foresee(j, &answer, err) : store(j, &answer, err))
        return -1;
    if (answer == UNKNOWN_ACCOUNT)
        return blame_absence(j, err);
    printf("%s of %s on %s: %s%s\n", o->account, o->user, o->platform, o->common.dry_run ? "would be " : "",
           o->token_file ? "stored with its token" : "set, its token stays as it is");
    return EX_OK;
}

/* *err says why one is refused. */
static enum status check_account(struct job *j, bool *ret_refused, struct err *err)
{
    const struct options *o = j->options;
    struct pg_rows *rows;
    struct pg_args args;

    pg_args_init(&args, j->tool.arena);
    pg_arg_text(&args, span_of(o->platform));
    pg_arg_text(&args, span_of(o->account));
    pg_arg_bool(&args, !o->disconnected);
    if (pg_run(j->tool.pg, SQL_CONNECTION_REFUSED, &args, WAIT_MS, &rows, err))
        return err_in(err, "checking the account");
    *ret_refused = pg_int(rows, 0, 0) != 0;
    pg_rows_free(rows);
    if (*ret_refused)
        (void)err_set(err, INVALID,
                      "--account %s: of %s it is the site that it is asked about, as the platform writes it: "
                      "https://www.example.com/ or sc-domain:example.com",
                      o->account, o->platform);
    return OK;
}

/* Without the line end that editors leave. */
static enum status read_token(struct job *j, struct err *err)
{
    enum { ROOM = CONNECTION_TOKEN_MAX + 3 };

    if (!(j->token = sodium_malloc(ROOM)))
        abort();
    if (file_read(j->options->token_file, j->token, ROOM, &j->plain, err))
        return err->code;
    while (j->plain.len > 0 && strchr("\r\n", j->plain.at[j->plain.len - 1]))
        j->plain.len--;
    if (j->plain.len == 0 || j->plain.len > CONNECTION_TOKEN_MAX)
        return err_set(err, INVALID, "%s: a token has 1 to %d bytes", j->options->token_file,
                       CONNECTION_TOKEN_MAX);
    for (size_t i = 0; i < j->plain.len; i++)
        if (j->plain.at[i] < ' ' || j->plain.at[i] > '~')
            return err_set(err, INVALID, "%s: a token is one line of visible ASCII", j->options->token_file);
    return OK;
}

static enum status foresee(struct job *j, int *ret_answer, struct err *err)
{
    bool there = true;

    if (j->options->disconnected && !j->token && is_there(j, &there, err))
        return err->code;
    *ret_answer = there ? STORED : UNKNOWN_ACCOUNT;
    return OK;
}

static enum status store(struct job *j, int *ret_answer, struct err *err)
{
    const struct options *o = j->options;
    struct pg_rows *rows;
    const struct span place[] = {span_of(o->user), span_of(o->platform), span_of(o->account)};
    struct pg_args args;

    pg_args_init(&args, j->tool.arena);
    for (size_t i = 0; i < countof(place); i++)
        pg_arg_text(&args, place[i]);
    if (j->token) {
        pg_arg_bytes(&args, seal_make(j->keys, place, countof(place), j->plain, j->tool.arena));
        pg_arg_text(&args, seal_key_id(j->keys));
    } else {
        pg_arg_bytes(&args, SPAN_NONE);
        pg_arg_text(&args, SPAN_NONE);
    }
    pg_arg_time(&args, o->expires_us);
    pg_arg_bool(&args, !o->disconnected);
    pg_arg_text(&args, span_of(o->common.actor));
    if (pg_run(j->tool.pg, SQL_CONNECTION_SET, &args, WAIT_MS, &rows, err))
        return err_in(err, "storing the connection");
    *ret_answer = (int)pg_int(rows, 0, 0);
    pg_rows_free(rows);
    if (*ret_answer == STORED || *ret_answer == UNKNOWN_ACCOUNT)
        return OK;
    return err_set(err, BUSY, "somebody else is storing it just now");
}

/* Names those that there are: a wrong or forgotten --account is what leads here. */
static int blame_absence(struct job *j, struct err *err)
{
    const struct options *o = j->options;
    struct place behind = {span_of(o->user), span_of(o->platform), SPAN("")};
    const char *others = NULL;
    struct pg_rows *rows;
    size_t n = 0;

    if (walk(j, &behind, &rows, err))
        return -1;
    for (; n < pg_nrows(rows) && n < NAMED_MAX && span_eq(pg_bytes(rows, n, 1), span_of(o->platform)); n++)
        others = arena_print(j->tool.arena, "%s%s%.*s", others ? others : "there are: ", others ? ", " : "",
                             SPAN_ARG(pg_bytes(rows, n, 2)));
    pg_rows_free(rows);
    (void)err_set(err, REJECTED, "--account %s: %s has no such account on %s; %s", o->account, o->user,
                  o->platform, others ? others : "there is none");
    log_error("connections_failed", LOG_ERR(err));
    return EX_DATAERR;
}

static int list(struct job *j, struct err *err)
{
    struct place behind = {.user = SPAN_NONE};
    size_t n = PAGE_ROWS;
    bool first = true;

    if (j->options->common.json)
        printf("[");
    while (n == PAGE_ROWS) {
        struct pg_rows *rows;

        if (walk(j, &behind, &rows, err))
            return -1;
        n = pg_nrows(rows);
        for (size_t i = 0; i < n; i++, first = false)
            show(j, rows, i, first);
        pg_rows_free(rows);
    }
    if (j->options->common.json)
        printf("]\n");
    return EX_OK;
}

static void show(const struct job *j, const struct pg_rows *rows, size_t row, bool first)
{
    struct span user = pg_bytes(rows, row, 0), platform = pg_bytes(rows, row, 1),
                account = pg_bytes(rows, row, 2), key = pg_bytes(rows, row, 3);
    int64_t expires_us = pg_time(rows, row, 5);
    char expires[TIME_TEXT_BYTES] = "", updated[TIME_TEXT_BYTES], key_id[SEAL_KEY_ID_CHARS + 1] = "", *text;
    bool connected = pg_int(rows, row, 4) != 0;
    json_t *o;

    if (expires_us != TIME_NONE)
        time_text(expires_us, expires, sizeof(expires));
    snprintf(key_id, sizeof(key_id), "%.*s", SPAN_ARG(key));
    time_text(pg_time(rows, row, 6), updated, sizeof(updated));
    if (!j->options->common.json) {
        printf("%.*s\t%.*s\t%.*s\t%s\t%s\t%s\n", SPAN_ARG(user), SPAN_ARG(platform), SPAN_ARG(account),
               connected ? "connected" : "disconnected", key.at ? "token" : "no token",
               expires[0] ? expires : "-");
        return;
    }
    o = json_pack("{ss% ss% ss% sb sb ss? ss? ss}", "user_id", user.at, user.len, "platform", platform.at,
                  platform.len, "account", account.at, account.len, "connected", connected, "token_stored",
                  key.at != NULL, "key_id", key.at ? key_id : NULL, "expires_at", expires[0] ? expires : NULL,
                  "updated_at", updated);
    text = json_dumps(o, JSON_COMPACT);
    if (!text)
        abort();
    printf("%s%s", first ? "" : ",\n", text);
    free(text);
    json_decref(o);
}

static int drop(struct job *j, struct err *err)
{
    const struct options *o = j->options;
    struct pg_rows *rows;
    struct pg_args args;
    bool there = false;

    if (o->common.dry_run) {
        if (is_there(j, &there, err))
            return -1;
    } else {
        pg_args_init(&args, j->tool.arena);
        pg_arg_text(&args, span_of(o->user));
        pg_arg_text(&args, span_of(o->platform));
        pg_arg_text(&args, span_of(o->account));
        pg_arg_text(&args, span_of(o->common.actor));
        if (pg_run(j->tool.pg, SQL_CONNECTION_REMOVE, &args, WAIT_MS, &rows, err)) {
            err_in(err, "removing the connection");
            return -1;
        }
        there = pg_nrows(rows) > 0;
        pg_rows_free(rows);
    }
    printf("%s of %s on %s: %s\n", o->account, o->user, o->platform,
           !there              ? "there is none"
           : o->common.dry_run ? "would be removed"
                               : "removed");
    return EX_OK;
}

static enum status is_there(struct job *j, bool *ret, struct err *err)
{
    struct span names[] = {span_of(j->options->user), span_of(j->options->platform),
                           span_of(j->options->account)};
    struct pg_rows *rows;
    struct pg_args args;

    pg_args_init(&args, j->tool.arena);
    for (size_t i = 0; i < countof(names); i++)
        pg_arg_texts(&args, &names[i], 1);
    if (pg_run(j->tool.pg, SQL_CONNECTION_FIND, &args, WAIT_MS, &rows, err))
        return err_in(err, "looking for the connection");
    *ret = pg_nrows(rows) > 0;
    pg_rows_free(rows);
    return OK;
}

/* What cannot be opened stays as it is, and is told. */
static int rekey(struct job *j, struct err *err)
{
    struct place behind = {.user = SPAN_NONE};
    int64_t done = 0, lost = 0;
    size_t n = PAGE_ROWS;

    if (!j->keys) {
        err_set(err, INVALID, "connections.key_file is not set");
        return -1;
    }
    while (n == PAGE_ROWS) {
        struct pg_rows *page;
        enum status status;

        if (walk(j, &behind, &page, err))
            return -1;
        n = pg_nrows(page);
        status = rekey_page(j, page, &done, &lost, err);
        pg_rows_free(page);
        if (status)
            return -1;
    }
    printf("%" PRId64 " tokens %ssealed again with key %.*s\n", done,
           j->options->common.dry_run ? "would be " : "", SPAN_ARG(seal_key_id(j->keys)));
    if (lost > 0)
        printf("%" PRId64 " could not be opened: their key is not in the file, or they were changed\n", lost);
    return lost > 0 ? EX_DATAERR : EX_OK;
}

static enum status rekey_page(struct job *j, const struct pg_rows *page, int64_t *done, int64_t *lost,
                              struct err *err)
{
    struct span columns[REKEY_COLUMNS][PAGE_ROWS];
    size_t n = seal_page_again(j, page, columns);
    struct pg_rows *rows;
    struct pg_args args;

    *lost += (int64_t)(pg_nrows(page) - n);
    if (j->options->common.dry_run || n == 0) {
        *done += (int64_t)n;
        return OK;
    }
    pg_args_init(&args, j->tool.arena);
    for (size_t i = USER; i <= ACCOUNT; i++)
        pg_arg_texts(&args, columns[i], n);
    for (size_t i = HAD; i <= FRESH; i++)
        pg_arg_bytess(&args, columns[i], n);
    pg_arg_text(&args, seal_key_id(j->keys));
    pg_arg_text(&args, span_of(j->options->common.actor));
    if (pg_run(j->tool.pg, SQL_CONNECTION_REKEY, &args, WAIT_MS, &rows, err))
        return err_in(err, "storing what was sealed again");
    *done += pg_int(rows, 0, 0);
    pg_rows_free(rows);
    return OK;
}

/* Returns how many could be. */
static size_t seal_page_again(struct job *j, const struct pg_rows *page,
                              struct span columns[REKEY_COLUMNS][PAGE_ROWS])
{
    char *room = sodium_malloc(CONNECTION_TOKEN_MAX);
    size_t n = 0;

    if (!room)
        abort();
    for (size_t i = 0; i < pg_nrows(page); i++) {
        if (!seal_again(j, page, i, room, &columns[FRESH][n]))
            continue;
        for (size_t column = USER; column <= ACCOUNT; column++)
            columns[column][n] = pg_bytes(page, i, column);
        columns[HAD][n++] = pg_bytes(page, i, 7);
    }
    sodium_free(room);
    return n;
}

static bool seal_again(struct job *j, const struct pg_rows *page, size_t row, char *room, struct span *ret)
{
    const struct span place[] = {pg_bytes(page, row, 0), pg_bytes(page, row, 1), pg_bytes(page, row, 2)};
    const struct sealed sealed = {pg_bytes(page, row, 3), pg_bytes(page, row, 7), place, countof(place)};
    struct span plain;
    struct err err;

    if (seal_open(j->keys, &sealed, room, CONNECTION_TOKEN_MAX, &plain, &err)) {
        log_warn("token_not_opened", LOG_SPAN("platform", place[1]), LOG_ERR(&err));
        return false;
    }
    *ret = seal_make(j->keys, place, countof(place), plain, j->tool.arena);
    return true;
}

/* One page; *behind moves to its last row. The page before is forgotten. Only a rekey gets tokens. */
static enum status walk(struct job *j, struct place *behind, struct pg_rows **ret, struct err *err)
{
    bool all = strcmp(j->options->verb, "rekey") != 0;
    struct pg_args args;
    char last[3][CONNECTION_USER_MAX + 1];
    struct span *const at[] = {&behind->user, &behind->platform, &behind->account};

    for (size_t i = 0; i < countof(at); i++) /* they lie in the arena */
        if (at[i]->at)
            memcpy(last[i], at[i]->at, at[i]->len);
    arena_reset(j->tool.arena);
    pg_args_init(&args, j->tool.arena);
    for (size_t i = 0; i < countof(at); i++)
        pg_arg_text(&args, at[i]->at ? (struct span){last[i], at[i]->len} : SPAN_NONE);
    pg_arg_text(&args, all ? span_of(j->options->user) : SPAN_NONE);
    pg_arg_text(&args, all ? SPAN_NONE : seal_key_id(j->keys));
    if (pg_run(j->tool.pg, SQL_CONNECTION_WALK, &args, WAIT_MS, ret, err))
        return err_in(err, "reading the connections");
    for (size_t i = 0; i < countof(at) && pg_nrows(*ret) > 0; i++)
        *at[i] = arena_copy(j->tool.arena, pg_bytes(*ret, pg_nrows(*ret) - 1, i));
    return OK;
}
