/* keys: makes, shows, replaces and ends the keys of the API. A key's text is printed once, when it is made. */
#include "command.h"
#include "session.h"
#include "tool.h"

#include "base/log.h"
#include "base/now.h"
#include "base/number.h"
#include "base/utf8.h"
#include "domain/apikey.h"

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include <jansson.h>
#include <sodium.h>

enum {
    PAGE_ROWS = 500,
    NAME_MAX_BYTES = 100,
    USER_MAX_BYTES = 255,
    REDIS_WAIT_MS = 1000,
    GRACE_HOURS = 24,
    GRACE_HOURS_MAX = 24 * 90,
    HOUR_S = 3600,
};

struct options {
    struct tool_options common;
    const char *verb, *id, *name, *user;
    unsigned scopes, grace_hours;
    int64_t expires_us;
};

struct job {
    const struct options *options;
    struct tool tool;
    struct redis *redis; /* of list; NULL: none is set, or it is down */
};

static int run(int argc, char **argv);
static error_t parse_option(int key, char *value, struct argp_state *state);
static void check_options(const struct options *o, const struct argp_state *state);
static bool is_key_id(const char *text);
static enum status open_job(struct job *j, struct err *err);
static void close_job(struct job *j);

static enum status create(struct job *j, struct err *err);
static enum status rotate(struct job *j, struct err *err);
static enum status end_key(struct job *j, struct err *err);
static enum status list(struct job *j, struct err *err);
static void show_new(const struct job *j, const char key[APIKEY_CHARS], struct span user, struct span scopes);
static enum status list_page(struct job *j, json_t *all, struct span *behind, size_t *ret_rows,
                             struct err *err);
static json_t *row_json(struct job *j, const struct pg_rows *rows, size_t row);
static json_t *text_or_null(const struct pg_rows *rows, size_t row, size_t column);
static json_t *time_or_null(int64_t us);
static json_t *last_used(struct job *j, struct span id);
static void print_row(const json_t *key);

const struct command keys_command = {"keys", "the keys of the API", run};

enum {
    OPTION_NAME = 1,
    OPTION_USER,
    OPTION_SCOPES,
    OPTION_EXPIRES,
    OPTION_GRACE,
};

static const struct argp_option option_table[] = {
    {"name",        OPTION_NAME,    "TEXT",  0, "create: what it is for, as people will see it",                  1},
    {"user",        OPTION_USER,    "ID",    0, "create: the tenant (user_id_str) it is held to; list: theirs",   1},
    {"scopes",      OPTION_SCOPES,  "WORDS", 0,
     "create: of read, write, reconcile; or admin, which is for operators, without --user",                       1},
    {"expires",     OPTION_EXPIRES, "TIME",  0, "create: when it ends, as 2027-01-31T12:00:00Z (default: never)",
     1                                                                                                             },
    {"grace-hours", OPTION_GRACE,   "N",     0, "rotate: how long the present key is still good (default: 24)",   1},
    {NULL,          0,              NULL,    0, NULL,                                                             0},
};
static const struct argp argp = {
    .options = option_table,
    .parser = parse_option,
    .children = tool_children,
    .args_doc = "create\nlist\nrotate ID\nrevoke ID",
    .doc = "Keys of the API. Each is held to one tenant, or is an operator's, and is printed once, when it "
           "is made: "
           "what is stored is a hash.\vrotate makes another key for the same tenant and scopes; both are "
           "good for the "
           "hours of grace. revoke ends a key at once. Exit codes: 0 done, 64 usage, 65 there is no such key "
           "or it "
           "is no longer good, 69 Postgres is down, 78 settings.",
};

static const struct verb {
    const char *name;
    enum status (*run)(struct job *j, struct err *err);
    bool names_one;
} verbs[] = {
    {"create", create,  false},
    {"list",   list,    false},
    {"rotate", rotate,  true },
    {"revoke", end_key, true },
};

static int run(int argc, char **argv)
{
    struct options o = {.expires_us = TIME_NONE, .grace_hours = GRACE_HOURS};
    struct job j = {.options = &o};
    struct err err = {0};

    tool_options_init(&o.common);
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    if (sodium_init() < 0)
        abort();
    if (open_job(&j, &err) == OK)
        for (size_t i = 0; i < countof(verbs); i++)
            if (strcmp(verbs[i].name, o.verb) == 0)
                (void)!verbs[i].run(&j, &err);
    if (err.code)
        fprintf(stderr, "settle-reconciler keys: %s\n", err.text);
    close_job(&j);
    if (fflush(stdout) == 0)
        return exit_code(&err);
    fputs("settle-reconciler keys: the output could not be written; a key that was made is in keys list: end "
          "it\n",
          stderr);
    return EX_SOFTWARE;
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->common;
        return 0;
    case OPTION_NAME:
        o->name = value;
        return 0;
    case OPTION_USER:
        o->user = value;
        return 0;
    case OPTION_SCOPES:
        if (!(o->scopes = apikey_scopes(span_of(value))))
            argp_error(state, "--scopes: want words of read, write, reconcile and admin, not \"%s\"", value);
        return 0;
    case OPTION_EXPIRES:
        o->expires_us = option_time(value, "expires", state);
        return 0;
    case OPTION_GRACE:
        o->grace_hours = option_number(value, 0, GRACE_HOURS_MAX, "grace-hours", state);
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 1)
            return ARGP_ERR_UNKNOWN;
        *(state->arg_num == 0 ? &o->verb : &o->id) = value;
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
        argp_error(state, "say what to do: create, list, rotate ID or revoke ID");
    else if (v->names_one != (o->id != NULL))
        argp_error(state, v->names_one ? "%s wants the id of a key" : "%s takes no id", v->name);
    else if (o->id && !is_key_id(o->id))
        argp_error(state, "\"%s\" is no key's id: want its 16 hex digits", o->id);
    else if (o->user && !utf8_names_tenant(span_of(o->user), USER_MAX_BYTES))
        argp_error(
            state,
            "--user: want 1 to %d bytes of UTF-8 without control characters, and without blanks at the "
            "ends",
            USER_MAX_BYTES);
    else if (v->run == create && !(o->name && utf8_names(span_of(o->name), NAME_MAX_BYTES)))
        argp_error(state, "create wants a --name of 1 to %d bytes", NAME_MAX_BYTES);
    else if (v->run == create && !o->scopes)
        argp_error(state, "create wants --scopes");
    else if (v->run == create && (o->scopes & SCOPE_ADMIN) && o->user)
        argp_error(state, "scope admin sees all tenants: leave out --user");
    else if (v->run == create && !(o->scopes & SCOPE_ADMIN) && !o->user)
        argp_error(state, "whose key is it? want --user, or --scopes admin");
}

static bool is_key_id(const char *text)
{
    return strlen(text) == APIKEY_ID_CHARS && strspn(text, "0123456789abcdef") == APIKEY_ID_CHARS;
}

static enum status open_job(struct job *j, struct err *err)
{
    struct err away = {0};

    if (tool_open(&j->tool, &j->options->common, err) ||
        tool_connect(&j->tool, "settle_keys", "settle-reconciler keys", err))
        return err->code;
    if (strcmp(j->options->verb, "list") == 0 && j->tool.config->redis.url &&
        !(j->redis = redis_open(j->tool.config->redis.url, REDIS_WAIT_MS, &away)))
        log_warn("redis_away", LOG_ERR(&away),
                 LOG_TEXT("consequence", "when keys were last used is not known"));
    return OK;
}

static void close_job(struct job *j)
{
    redis_close(j->redis);
    tool_close(&j->tool);
}

static enum status create(struct job *j, struct err *err)
{
    const struct options *o = j->options;
    struct span user = o->user ? span_of(o->user) : SPAN_NONE;
    char key[APIKEY_CHARS], scopes[SCOPES_TEXT_BYTES];
    struct apikey made;
    struct pg_args args;

    apikey_make(key);
    apikey_scopes_text(o->scopes, scopes);
    if (!apikey_read((struct span){key, sizeof(key)}, &made))
        abort();
    pg_args_init(&args, j->tool.arena);
    pg_arg_text(&args, made.id);
    pg_arg_text(&args, span_of(o->name));
    pg_arg_bytes(&args, (struct span){(char *)made.hash, sizeof(made.hash)});
    pg_arg_text(&args, user);
    pg_arg_text(&args, span_of(scopes));
    pg_arg_time(&args, o->expires_us);
    pg_arg_text(&args, span_of(o->common.actor));
    if (o->common.dry_run)
        printf("a key \"%s\" of scopes %s would be made\n", o->name, scopes);
    else if (pg_run(j->tool.pg, SQL_KEY_CREATE, &args, WAIT_MS, NULL, err) == OK)
        show_new(j, key, user, span_of(scopes));
    sodium_memzero(key, sizeof(key));
    return err->code;
}

static enum status rotate(struct job *j, struct err *err)
{
    const struct options *o = j->options;
    char key[APIKEY_CHARS];
    struct apikey next;
    struct pg_rows *rows;
    struct pg_args args;

    if (o->common.dry_run) {
        printf("%s would get a successor and end in %u hours\n", o->id, o->grace_hours);
        return OK;
    }
    apikey_make(key);
    if (!apikey_read((struct span){key, sizeof(key)}, &next))
        abort();
    pg_args_init(&args, j->tool.arena);
    pg_arg_text(&args, span_of(o->id));
    pg_arg_text(&args, next.id);
    pg_arg_bytes(&args, (struct span){(char *)next.hash, sizeof(next.hash)});
    pg_arg_int(&args, (int64_t)o->grace_hours * HOUR_S);
    pg_arg_text(&args, span_of(o->common.actor));
    if (pg_run(j->tool.pg, SQL_KEY_ROTATE, &args, WAIT_MS, &rows, err) == OK) {
        if (pg_nrows(rows) == 0)
            err_cause(err, REJECTED, "not_found", "there is no key %s, or it is no longer good", o->id);
        else
            show_new(j, key, pg_bytes(rows, 0, 1), pg_bytes(rows, 0, 2));
        pg_rows_free(rows);
    }
    sodium_memzero(key, sizeof(key));
    return err->code;
}

/* The one time that it is seen. */
static void show_new(const struct job *j, const char key[APIKEY_CHARS], struct span user, struct span scopes)
{
    if (j->options->common.json) {
        json_t *root = json_pack("{ss% ss% so ss%}", "id", key + 7, (size_t)APIKEY_ID_CHARS, "key", key,
                                 (size_t)APIKEY_CHARS, "user_id_str",
                                 user.at ? json_stringn(user.at, user.len) : json_null(), "scopes", scopes.at,
                                 scopes.len);

        json_dumpf(root, stdout, JSON_COMPACT);
        puts("");
        json_decref(root);
    } else {
        printf("%.*s\n", APIKEY_CHARS, key);
        fprintf(stderr, "of %.*s, for %.*s; it is not shown again\n",
                SPAN_ARG(user.at ? user : SPAN("operators")), SPAN_ARG(scopes));
    }
}

static enum status end_key(struct job *j, struct err *err)
{
    const struct options *o = j->options;
    struct pg_rows *rows;
    struct pg_args args;

    if (o->common.dry_run) {
        printf("%s would end at once\n", o->id);
        return OK;
    }
    pg_args_init(&args, j->tool.arena);
    pg_arg_text(&args, span_of(o->id));
    pg_arg_text(&args, span_of(o->common.actor));
    if (pg_run(j->tool.pg, SQL_KEY_REVOKE, &args, WAIT_MS, &rows, err))
        return err->code;
    if (pg_nrows(rows) == 0)
        err_cause(err, REJECTED, "not_found", "there is no key %s", o->id);
    else if (o->common.json)
        printf("{\"id\":\"%s\",\"was_good\":%s}\n", o->id, pg_int(rows, 0, 0) ? "true" : "false");
    else
        printf("%s is revoked%s\n", o->id, pg_int(rows, 0, 0) ? "" : "; it was no longer good");
    pg_rows_free(rows);
    return err->code;
}

static enum status list(struct job *j, struct err *err)
{
    json_t *all = json_array();
    struct span behind = SPAN_NONE;
    size_t rows = 0;

    do {
        if (list_page(j, all, &behind, &rows, err))
            break;
    } while (rows == PAGE_ROWS);
    if (err->code == OK && j->options->common.json) {
        json_dumpf(all, stdout, JSON_COMPACT);
        puts("");
    } else if (err->code == OK && json_array_size(all) == 0) {
        puts("there is no key; settle-reconciler keys create makes one");
    }
    json_decref(all);
    return err->code;
}

static enum status list_page(struct job *j, json_t *all, struct span *behind, size_t *ret_rows,
                             struct err *err)
{
    struct pg_rows *rows;
    struct pg_args args;

    pg_args_init(&args, j->tool.arena);
    pg_arg_text(&args, j->options->user ? span_of(j->options->user) : SPAN_NONE);
    pg_arg_text(&args, *behind);
    pg_arg_int(&args, PAGE_ROWS);
    if (pg_run(j->tool.pg, SQL_KEY_LIST, &args, WAIT_MS, &rows, err))
        return err->code;
    *ret_rows = pg_nrows(rows);
    for (size_t i = 0; i < *ret_rows; i++) {
        json_t *key = row_json(j, rows, i);

        if (!j->options->common.json)
            print_row(key);
        json_array_append_new(all, key);
    }
    if (*ret_rows > 0)
        *behind = arena_copy(j->tool.arena, pg_bytes(rows, *ret_rows - 1, 0));
    pg_rows_free(rows);
    return OK;
}

static json_t *row_json(struct job *j, const struct pg_rows *rows, size_t row)
{
    return json_pack("{so so so so so so so so so so sb}", "id", text_or_null(rows, row, 0), "name",
                     text_or_null(rows, row, 1), "user_id_str", text_or_null(rows, row, 2), "scopes",
                     text_or_null(rows, row, 3), "created_at", time_or_null(pg_time(rows, row, 4)),
                     "created_by", text_or_null(rows, row, 5), "expires_at",
                     time_or_null(pg_time(rows, row, 6)), "revoked_at", time_or_null(pg_time(rows, row, 7)),
                     "replaces", text_or_null(rows, row, 8), "last_used_at",
                     last_used(j, pg_bytes(rows, row, 0)), "in_force", (int)pg_int(rows, row, 9));
}

static json_t *text_or_null(const struct pg_rows *rows, size_t row, size_t column)
{
    struct span text = pg_bytes(rows, row, column);

    return pg_is_null(rows, row, column) ? json_null() : json_stringn(text.at, text.len);
}

static json_t *time_or_null(int64_t us)
{
    char text[TIME_TEXT_BYTES];

    if (us == TIME_NONE)
        return json_null();
    time_text(us, text, sizeof(text));
    return json_string(text);
}

/* Null: not in the time that Redis has known it, or Redis does not say. */
static json_t *last_used(struct job *j, struct span id)
{
    const struct span words[] = {
        SPAN("GET"), span_of(arena_print(j->tool.arena, APIKEY_USED_PREFIX "%.*s", SPAN_ARG(id)))};
    struct redis_reply reply;
    struct err err = {0};
    uint64_t us;

    if (!j->redis || redis_run(j->redis, words, countof(words), REDIS_WAIT_MS, &reply, &err) ||
        reply.kind != REDIS_TEXT || !number_parse(reply.text, 0, INT64_MAX, &us))
        return json_null();
    return time_or_null((int64_t)us);
}

static void print_row(const json_t *key)
{
    const char *user = json_string_value(json_object_get(key, "user_id_str")),
               *used = json_string_value(json_object_get(key, "last_used_at")),
               *expires = json_string_value(json_object_get(key, "expires_at"));

    printf("%s  %-8s  %-20s  %-24s  last used %s%s%s  %s\n", json_string_value(json_object_get(key, "id")),
           json_is_true(json_object_get(key, "in_force")) ? "good" : "ended", user ? user : "(operators)",
           json_string_value(json_object_get(key, "scopes")), used ? used : "-", expires ? ", ends " : "",
           expires ? expires : "", json_string_value(json_object_get(key, "name")));
}
