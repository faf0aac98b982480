/* platform: pauses a platform that is out of order, so that nothing is failed, retried or asked for its fault. Its webhooks
 * are taken and settle publications as ever. */
#include "command.h"
#include "session.h"

#include "base/log.h"

#include <stdio.h>
#include <sysexits.h>

#include <jansson.h>

enum { NAME_BYTES_MAX = 50, REASON_BYTES_MAX = 1000 };

struct job {
    struct session_options common;
    struct session session;
    const char *verb, *platform, *reason;
};

static int run(int argc, char **argv);
static error_t parse_option(int key, char *value, struct argp_state *state);
static error_t check(const struct job *j, const struct argp_state *state);
static enum status change(struct job *j, bool *ret_changed, struct err *err);
static enum status list(struct job *j, struct err *err);

const struct command platform_command = {"platform", "pause or resume a platform, list the paused ones", run};

enum { OPTION_REASON = 1 };

static const struct argp_option option_table[] = {
    {"reason", OPTION_REASON, "TEXT", 0, "Why; for the record (needed to pause)", 1},
    {NULL,     0,             NULL,   0, NULL,                                    0},
};
static const struct argp argp = {
    .options = option_table,
    .parser = parse_option,
    .children = session_children,
    .args_doc = "pause NAME\nresume NAME\nlist",
    .doc = "While a platform is paused its publications are neither asked about nor failed by time-out nor "
           "retried; what "
           "webhooks and people say still settles them. The next run obeys.\vExit codes: 0 done, or it was "
           "so already, 69 "
           "Postgres is down, 78 settings.",
};

static int run(int argc, char **argv)
{
    struct job j = {.verb = NULL};
    struct err err = {0};
    bool changed = false;

    session_options_init(&j.common);
    argp_parse(&argp, argc, argv, 0, NULL, &j);
    if (session_open(&j.session, "platform", &j.common, NULL, 0, &err) == OK) {
        if (strcmp(j.verb, "list") == 0)
            (void)!list(&j, &err);
        else if (!j.common.dry_run)
            (void)!change(&j, &changed, &err);
    }
    if (err.code)
        fprintf(stderr, "settle-reconciler platform: %s\n", err.text);
    else if (j.platform && j.common.json)
        printf("{\"platform\":\"%s\",\"paused\":%s,\"changed\":%s}\n", j.platform,
               strcmp(j.verb, "pause") == 0 ? "true" : "false", changed ? "true" : "false");
    else if (j.platform)
        printf("%s is %s%s\n", j.platform, strcmp(j.verb, "pause") == 0 ? "paused" : "not paused",
               j.common.dry_run ? " (dry run: nothing was changed)"
               : changed        ? ""
                                : ", as before");
    session_close(&j.session);
    return exit_code(&err);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): argp's own */
static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct job *j = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &j->common;
        return 0;
    case OPTION_REASON:
        j->reason = value;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 1)
            return ARGP_ERR_UNKNOWN;
        *(state->arg_num == 0 ? &j->verb : &j->platform) = value;
        return 0;
    case ARGP_KEY_END:
        return check(j, state);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t check(const struct job *j, const struct argp_state *state)
{
    bool lists = j->verb && strcmp(j->verb, "list") == 0, pauses = j->verb && strcmp(j->verb, "pause") == 0;

    if (!lists && !pauses && (!j->verb || strcmp(j->verb, "resume") != 0))
        argp_error(state, "want pause NAME, resume NAME or list");
    if (lists != !j->platform)
        argp_error(state, lists ? "list takes no name" : "which platform?");
    if (j->platform &&
        (strlen(j->platform) > NAME_BYTES_MAX ||
         strspn(j->platform, "abcdefghijklmnopqrstuvwxyz0123456789._-") != strlen(j->platform)))
        argp_error(state, "\"%s\" is no platform's name", j->platform);
    if (pauses && (!j->reason || !*j->reason || strlen(j->reason) > REASON_BYTES_MAX))
        argp_error(state, "pause wants a --reason of 1 to %d bytes", REASON_BYTES_MAX);
    return 0;
}

static enum status change(struct job *j, bool *ret_changed, struct err *err)
{
    struct session *s = &j->session;
    struct pg_rows *rows;
    struct pg_args args;

    if (!platforms_find(s->platforms, span_of(j->platform)))
        log_warn("platform_unknown", LOG_TEXT("platform", j->platform));
    pg_args_init(&args, s->arena);
    pg_arg_text(&args, span_of(j->platform));
    pg_arg_text(&args, span_of(j->reason));
    pg_arg_text(&args, span_of(s->options->actor));
    if (pg_run(s->pg, strcmp(j->verb, "pause") == 0 ? SQL_PAUSE_SET : SQL_PAUSE_END, &args, WAIT_MS, &rows,
               err))
        return err->code;
    *ret_changed = pg_nrows(rows) > 0;
    pg_rows_free(rows);
    return OK;
}

static enum status list(struct job *j, struct err *err)
{
    struct session *s = &j->session;
    json_t *all = json_array();
    struct pg_rows *rows;
    struct pg_args none;

    pg_args_init(&none, s->arena);
    if (pg_run(s->pg, SQL_PAUSE_LIST, &none, WAIT_MS, &rows, err))
        return err->code;
    for (size_t i = 0; i < pg_nrows(rows); i++) {
        struct span platform = pg_bytes(rows, i, 0), actor = pg_bytes(rows, i, 2),
                    reason = pg_bytes(rows, i, 3);
        char since[TIME_TEXT_BYTES];

        time_text(pg_time(rows, i, 1), since, sizeof(since));
        if (j->common.json)
            json_array_append_new(all, json_pack("{ss% ss ss% ss%}", "platform", platform.at, platform.len,
                                                 "paused_at", since, "actor", actor.at, actor.len, "reason",
                                                 reason.at, reason.len));
        else
            printf("%-20.*s since %s by %.*s: %.*s\n", SPAN_ARG(platform), since, SPAN_ARG(actor),
                   SPAN_ARG(reason));
    }
    if (j->common.json) {
        json_dumpf(all, stdout, JSON_COMPACT);
        puts("");
    } else if (pg_nrows(rows) == 0) {
        puts("no platform is paused");
    }
    json_decref(all);
    pg_rows_free(rows);
    return OK;
}
