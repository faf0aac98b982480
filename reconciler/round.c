#include "round.h"

#include "base/log.h"
#include "base/now.h"

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

static error_t parse_option(int key, char *value, struct argp_state *state);
static void do_round(struct round *r, struct err *err);
static const char *outcome_of(const struct err *err);
static void end_run(struct round *r);
static enum status write_end(void *ctx, size_t rows, struct err *err);
static int report(const struct round *r, const struct err *err);
static json_t *report_json(const struct round *r);

int round_run(const struct round_kind *kind, int argc, char **argv)
{
    const struct argp argp = {.parser = parse_option, .children = session_children, .doc = kind->doc};
    struct round r = {.kind = kind, .outcome = "failed"};
    struct err err = {0};
    int code;

    session_options_init(&r.common);
    argp_parse(&argp, argc, argv, 0, NULL, &r);
    r.report = json_object();
    if (session_open(&r.session, kind->job, &r.common, NULL, 0, &err)) {
        log_error("not_started", LOG_ERR(&err));
        code = exit_code(&err);
    } else {
        do_round(&r, &err);
        code = report(&r, &err);
    }
    json_decref(r.report);
    session_close(&r.session);
    return code;
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct round *r = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &r->common;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\" is no option", value);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void do_round(struct round *r, struct err *err)
{
    struct session *s = &r->session;
    bool dry_run = r->common.dry_run;

    if (!dry_run && session_begin(s, "{}", err)) {
        r->outcome = outcome_of(err);
        return;
    }
    (void)!r->kind->work(r, err);
    r->outcome = dry_run && err->code == OK ? "dry_run" : outcome_of(err);
    r->duration_ms = (session_now_us(s) - s->began_us) / 1000;
    if (!dry_run)
        end_run(r);
}

static const char *outcome_of(const struct err *err)
{
    if (err->code && err->cause &&
        (strcmp(err->cause, "lock_held") == 0 || strcmp(err->cause, "fence_lost") == 0))
        return err->cause;
    if (err->code)
        return "failed";
    return session_stopping() ? "interrupted" : "done";
}

static void end_run(struct round *r)
{
    struct err end = {0};

    r->session.batch_rows = 1;
    r->session.suspect_rows = 0; /* of the work that has ended */
    if (round_batch(r, write_end, r, &end))
        log_warn("end_not_written", LOG_ERR(&end));
}

static enum status write_end(void *ctx, size_t rows, struct err *err)
{
    struct round *r = ctx;
    struct session *s = &r->session;
    bool done = strcmp(r->outcome, "done") == 0;
    json_t *all = report_json(r);
    char *text = json_dumps(all, JSON_COMPACT);
    enum status status;
    struct pg_args args;

    (void)rows;
    pg_args_init(&args, s->arena);
    pg_arg_uuid(&args, &s->options->run_id);
    pg_arg_text(&args, done ? SPAN("success") : SPAN("failed"));
    pg_arg_text(&args, span_of(r->outcome));
    pg_arg_int(&args, r->nread);
    pg_arg_json(&args, span_of(text));
    pg_arg_text(&args, done ? SPAN_NONE : session_stopping() ? SPAN("signal") : SPAN("error"));
    pg_arg_text(&args, SPAN_NONE);
    status = pg_run(s->pg, SQL_RUN_FINISH, &args, WAIT_MS, NULL, err);
    free(text);
    json_decref(all);
    return status;
}

static int report(const struct round *r, const struct err *err)
{
    bool held = strcmp(r->outcome, "lock_held") == 0;

    if (err->code && !held)
        log_error("run_failed", LOG_TEXT("outcome", r->outcome), LOG_ERR(err));
    if (r->common.json) {
        json_t *all = report_json(r);

        json_dumpf(all, stdout, JSON_COMPACT);
        puts("");
        json_decref(all);
    } else if (held) {
        puts("nothing was done: it runs elsewhere");
    } else {
        r->kind->print(r);
    }
    if (err->code)
        return exit_code(err);
    return session_stopping() ? EX_TEMPFAIL : EX_OK;
}

static json_t *report_json(const struct round *r)
{
    char run_id[ID_TEXT_BYTES];
    json_t *all;

    id_text(&r->common.run_id, run_id);
    all = json_pack("{ss ss sI}", "outcome", r->outcome, "run_id", run_id, "duration_ms",
                    (json_int_t)r->duration_ms);
    json_object_update(all, r->report);
    return all;
}

enum status round_batch(struct round *r, batch_work *work, void *ctx, struct err *err)
{
    bool refused;

    if (batch_do(&r->session, work, ctx, &refused, err) || refused)
        return err->code;
    *err = (struct err){.code = OK}; /* of tries with more rows */
    return OK;
}

bool round_goes_on(const struct err *err)
{
    return err->code != BUSY && err->sqlstate[0];
}
