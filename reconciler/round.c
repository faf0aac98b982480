#include "round.h"

#include "ending.h"
#include "json.h"

#include "base/log.h"
#include "base/now.h"

#include <stdio.h>
#include <sysexits.h>

static error_t parse_option(int key, char *value, struct argp_state *state);
static void do_round(struct round *r, struct err *err);
static void end_run(struct round *r);
static enum status write_end(void *ctx, size_t rows, struct err *err);
static int report(const struct round *r, const struct err *err);
static json_t *report_json(const struct round *r);

int round_run(const struct round_kind *kind, int argc, char **argv)
{
    const struct argp argp = {.parser = parse_option, .children = session_children, .doc = kind->doc};
    struct session_options options;

    session_options_init(&options);
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    return round_do(kind, &options);
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = state->input;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\" is no option", value);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int round_do(const struct round_kind *kind, const struct session_options *options)
{
    struct round r = {.kind = kind, .options = options, .outcome = "failed"};
    struct err err = {0};
    int code;

    r.report = json_object();
    if (session_open(&r.session, kind->job, options, NULL, 0, &err)) {
        log_error("not_started", LOG_ERR(&err));
        code = exit_code(&err);
    } else {
        if (kind->run_name)
            r.session.run_name = kind->run_name;
        do_round(&r, &err);
        code = report(&r, &err);
    }
    json_decref(r.report);
    session_close(&r.session);
    return code;
}

static void do_round(struct round *r, struct err *err)
{
    struct session *s = &r->session;
    bool dry_run = r->options->dry_run;

    if (!dry_run && session_begin(s, "{}", err)) {
        r->outcome = ending_outcome(s, err);
        return;
    }
    (void)!r->kind->work(r, err);
    r->outcome = ending_outcome(s, err);
    r->duration_ms = (session_now_us(s) - s->began_us) / 1000;
    if (!dry_run)
        end_run(r);
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
    const struct ending end = {
        .outcome = r->outcome,
        .success = done,
        .nread = r->nread,
        .report = json_line(report_json(r), s->arena),
        .error_code = done                 ? NULL
                      : session_stopping() ? "signal"
                                           : "error",
    };

    (void)rows;
    return ending_write(s, &end, err);
}

static int report(const struct round *r, const struct err *err)
{
    bool held = strcmp(r->outcome, "lock_held") == 0;

    if (err->code && !held)
        log_error("run_failed", LOG_TEXT("outcome", r->outcome), LOG_ERR(err));
    if (r->options->json) {
        json_t *all = report_json(r);

        json_dumpf(all, stdout, JSON_COMPACT);
        puts("");
        json_decref(all);
    } else if (held) {
        printf("nothing was done: %s runs elsewhere\n", r->kind->job);
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

    id_text(&r->options->run_id, run_id);
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
