/* override: a person's verdict on one publication, or the taking back of it. Stronger than all evidence. Locks the row
 * alone: needs no fence, and may run beside a job. */
#include "batch.h"
#include "command.h"
#include "page.h"

#include "base/log.h"
#include "base/now.h"

#include <stdio.h>
#include <sysexits.h>

#include <jansson.h>

enum { REASON_BYTES_MAX = 1000, ACTOR_BYTES_MAX = 255 };

struct job {
    struct session_options common;
    struct session session;
    const char *id_text, *status, *reason;
    struct id id;
    struct span source, before; /* of the row; in found */
    struct pg_rows *found;
    struct page page;
    const char *after;
};

static int run(int argc, char **argv);
static error_t parse_option(int key, char *value, struct argp_state *state);
static enum status override(struct job *j, struct err *err);
static enum status change(void *job, size_t rows, struct err *err);
static enum status note_verdict(struct job *j, bool takes_back, struct err *err);
static enum status weigh_again(struct job *j, struct err *err);
static int report(const struct job *j, const struct err *err);

const struct command override_command = {"override", "settle one publication by hand, or take that back",
                                         run};

enum { OPTION_REASON = 1 };

static const struct argp_option option_table[] = {
    {"reason", OPTION_REASON, "TEXT", 0, "Why; for the record (needed)", 1},
    {NULL,     0,             NULL,   0, NULL,                           0},
};
static const struct argp argp = {
    .options = option_table,
    .parser = parse_option,
    .children = session_children,
    .args_doc = "ID success|failed|none",
    .doc = "Marks publication ID as success or failed, whatever webhooks, polls and workers say, now and "
           "later. none takes "
           "the verdict back: the publication is what it was before, and what was said meanwhile "
           "counts.\vExit codes: 0 "
           "done, 65 there is no such publication or nothing to take back, 69 Postgres is down, 78 settings.",
};

static int run(int argc, char **argv)
{
    struct job j = {.status = NULL};
    struct err err = {0};
    int code;

    session_options_init(&j.common);
    argp_parse(&argp, argc, argv, 0, NULL, &j);
    if (session_open(&j.session, "override", &j.common, NULL, 0, &err) == OK)
        (void)!override(&j, &err);
    code = report(&j, &err);
    page_release(&j.page);
    pg_rows_free(j.found);
    session_close(&j.session);
    return code;
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct job *j = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &j->common;
        return 0;
    case OPTION_REASON:
        if (!*value || strlen(value) > REASON_BYTES_MAX)
            argp_error(state, "--reason: want 1 to %d bytes", REASON_BYTES_MAX);
        j->reason = value;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num == 0 && !id_parse(span_of(value), &j->id))
            argp_error(state, "\"%s\" is no publication's id: want a UUID", value);
        if (state->arg_num == 1 && strcmp(value, "success") != 0 && strcmp(value, "failed") != 0 &&
            strcmp(value, "none") != 0)
            argp_error(state, "want success, failed or none, not \"%s\"", value);
        if (state->arg_num > 1)
            return ARGP_ERR_UNKNOWN;
        *(state->arg_num == 0 ? &j->id_text : &j->status) = value;
        return 0;
    case ARGP_KEY_END:
        if (!j->status || !j->reason)
            argp_error(state, "want the id of a publication, success, failed or none, and --reason");
        if (strlen(j->common.actor) > ACTOR_BYTES_MAX)
            argp_error(state, "--actor: at most %d bytes", ACTOR_BYTES_MAX);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static enum status override(struct job *j, struct err *err)
{
    bool refused;

    if (batch_do(&j->session, change, j, &refused, err))
        return err->code;
    return refused ? err->code : OK;
}

static enum status change(void *job, size_t rows, struct err *err)
{
    struct job *j = job;

    (void)rows;
    pg_rows_free(j->found);
    j->found = NULL;
    if (j->common.dry_run)
        return weigh_again(j, err);
    if (note_verdict(j, strcmp(j->status, "none") == 0, err))
        return err->code;
    if (pg_nrows(j->found) == 0)
        return err_cause(err, REJECTED, "not_found", "there is no publication with this id");
    if (pg_is_null(j->found, 0, 1))
        return err_cause(err, REJECTED, "not_overridden",
                         "no verdict of a person stands, so none can be taken back");
    j->source = pg_bytes(j->found, 0, 0);
    j->before = pg_bytes(j->found, 0, 1);
    return weigh_again(j, err);
}

/* The two statements differ by the verdict, which only the one that sets it takes. */
static enum status note_verdict(struct job *j, bool takes_back, struct err *err)
{
    struct session *s = &j->session;
    int64_t now_us = session_now_us(s);
    struct id report_id = id_make(now_us);
    struct pg_args args;

    pg_args_init(&args, s->arena);
    pg_arg_uuid(&args, &j->id);
    if (!takes_back)
        pg_arg_text(&args, span_of(j->status));
    pg_arg_text(&args, span_of(j->reason));
    pg_arg_time(&args, now_us);
    pg_arg_text(&args, span_of(s->options->actor));
    pg_arg_uuid(&args, &s->options->run_id);
    pg_arg_uuid(&args, &report_id);
    return pg_run(s->pg, takes_back ? SQL_PUBLICATION_OVERRIDE_UNDO : SQL_PUBLICATION_OVERRIDE, &args,
                  WAIT_MS, &j->found, err);
}

/* What else is known of it now decides, in the same transaction: nothing as long as a person's verdict stands. */
static enum status weigh_again(struct job *j, struct err *err)
{
    const struct deadlines at_once = {.evidence_before_us = INT64_MAX};
    struct session *s = &j->session;
    struct pg_args args;

    pg_args_init(&args, s->arena);
    pg_arg_uuids(&args, &j->id, 1);
    pg_arg_texts(&args, &j->source, 1);
    pg_arg_texts(&args, NULL, 0); /* whether it could be asked does not matter */
    pg_arg_bool(&args, true);     /* it is the attempt that the person spoke of */
    if (page_read(&j->page, s, SQL_PUBLICATION_READ, &args, err))
        return err->code;
    if (j->page.nrows == 0)
        return err_cause(err, REJECTED, "not_found", "there is no publication with this id");
    page_decide(&j->page, s, &at_once);
    if (!j->common.dry_run && page_write(&j->page, s, err))
        return err->code;
    return OK;
}

static int report(const struct job *j, const struct err *err)
{
    const struct row *r = j->page.nrows > 0 ? &j->page.rows[0] : NULL;
    struct span before, after;

    if (err->code || !r) {
        fprintf(stderr, "settle-reconciler override: %s\n", err->text);
        if (j->common.json)
            printf("{\"outcome\":\"%s\"}\n", err->code == REJECTED && err->cause ? err->cause : "failed");
        return exit_code(err);
    }
    before = j->before.at ? j->before : r->status;
    after = r->status;
    if (j->common.dry_run && strcmp(j->status, "none") != 0)
        after = span_of(j->status);
    else if (r->written)
        after = r->verdict.action == ACT_SUCCESS ? SPAN("success") : SPAN("failed");
    if (j->common.json) {
        json_t *root =
            json_pack("{ss ss ss% ss% sb}", "outcome", "done", "id", j->id_text, "before", before.at,
                      before.len, "status", after.at, after.len, "dry_run", j->common.dry_run);
        json_dumpf(root, stdout, JSON_COMPACT);
        puts("");
        json_decref(root);
    } else {
        printf("%s: %.*s -> %.*s%s\n", j->id_text, SPAN_ARG(before), SPAN_ARG(after),
               j->common.dry_run ? " (dry run: nothing was changed)" : "");
    }
    return EX_OK;
}
