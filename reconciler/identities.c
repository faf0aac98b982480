#include "identities.h"

#include "batch.h"
#include "progress.h"

#include "base/attr.h"
#include "base/log.h"
#include "base/now.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include <jansson.h>

enum { CHUNK_ROWS = 5000, LAST_BYTES = 24 };

/* The columns of identity_mend and identity_count. */
enum { READ, WANTED, MENDED, LAST, FIRST_COUNT, SEES_ALL = 10 };

/* What is counted, in the order of those columns behind LAST; total_rows is what was read. */
static const char *const count_names[] = {
    "rows_with_user_id_str",  "rows_with_legacy_user_id",  "backfilled_from_legacy_int",
    "unresolved_legacy_rows", "rows_without_any_identity", "rows_with_conflicting_identity",
};
enum { COUNTS = countof(count_names) };

struct job {
    struct session session;
    const char *outcome;
    int64_t nread, nmended; /* nmended: of a dry run those that want it */
    int64_t counts[COUNTS];
    char last[LAST_BYTES]; /* id of the last row that was read; "": none was */
    size_t asked;          /* rows of the batch at work, and what became of them */
    struct pg_rows *chunk;
};

static void work(struct job *j, struct err *err);
static enum status walk(struct job *j, struct err *err);
static enum status do_chunk(void *ctx, size_t rows, struct err *err);
static enum status check_chunk(const struct job *j, struct err *err);
static void take_chunk(struct job *j);
static void end_run(struct job *j, const struct err *err);
static const char *outcome_of(const struct job *j, const struct err *err);
static enum status write_end(void *ctx, size_t rows, struct err *err);
static int report(const struct job *j, const struct err *err);
static json_t *report_json(const struct job *j);
static void report_text(const struct job *j);

int identities_run(const struct session_options *options)
{
    struct job j = {.outcome = "failed"};
    struct err err = {0};
    int code;

    if (session_open(&j.session, "maintain", options, NULL, 0, &err) == OK) {
        j.session.run_name = "identities";
        j.session.batch_rows = CHUNK_ROWS;
        work(&j, &err);
    }
    if (exit_code(&err) != EX_OK)
        log_error("identities_failed", LOG_ERR(&err));
    code = report(&j, &err);
    session_close(&j.session);
    return code;
}

static void work(struct job *j, struct err *err)
{
    if (!j->session.options->dry_run && session_begin(&j->session, "{}", err)) {
        j->outcome = outcome_of(j, err);
        return;
    }
    (void)!walk(j, err);
    end_run(j, err);
}

static enum status walk(struct job *j, struct err *err)
{
    struct progress progress;
    bool refused, more = true;

    progress_begin(&progress, now_boot_us());
    while (more && !session_stopping()) {
        if (batch_do(&j->session, do_chunk, j, &refused, err) || refused)
            break;
        more = pg_int(j->chunk, 0, READ) == (int64_t)j->asked;
        take_chunk(j);
        if (!progress_due(&progress))
            continue;
        if (progress.terminal)
            progress_count("task logs read", j->nread);
        else
            log_info("progress", LOG_INT("read", j->nread), LOG_INT("mended", j->nmended));
    }
    progress_end(&progress);
    pg_rows_free(j->chunk);
    j->chunk = NULL;
    return err->code;
}

static enum status do_chunk(void *ctx, size_t rows, struct err *err)
{
    struct job *j = ctx;
    struct session *s = &j->session;
    struct pg_args args;

    j->asked = rows;
    pg_rows_free(j->chunk);
    j->chunk = NULL;
    pg_args_init(&args, s->arena);
    pg_arg_int(&args, (int64_t)rows);
    pg_arg_text(&args, j->last[0] ? span_of(j->last) : SPAN_NONE);
    if (pg_run(s->pg, s->options->dry_run ? SQL_IDENTITY_COUNT : SQL_IDENTITY_MEND, &args, WAIT_MS, &j->chunk,
               err))
        return err->code;
    return check_chunk(j, err);
}

/* Row level security changes fewer rows, or none, without a word. */
static enum status check_chunk(const struct job *j, struct err *err)
{
    int64_t wanted = pg_int(j->chunk, 0, WANTED), mended = pg_int(j->chunk, 0, MENDED);

    if (!pg_int(j->chunk, 0, SEES_ALL))
        return err_set(
            err, BROKEN,
            "no policy of task_execution_logs shows all rows to settle_maintain: deploy the schema "
            "again");
    if (!j->session.options->dry_run && mended != wanted)
        return err_set(err, BUSY,
                       "%" PRId64 " of %" PRId64 " rows were changed: somebody else works at them, try again",
                       mended, wanted);
    return OK;
}

/* Once its batch is committed. */
static void take_chunk(struct job *j)
{
    struct span last = pg_bytes(j->chunk, 0, LAST);

    j->nread += pg_int(j->chunk, 0, READ);
    j->nmended += pg_int(j->chunk, 0, WANTED);
    for (size_t i = 0; i < COUNTS; i++)
        j->counts[i] += pg_int(j->chunk, 0, FIRST_COUNT + i);
    if (last.at)
        snprintf(j->last, sizeof(j->last), "%.*s", SPAN_ARG(last));
}

static void end_run(struct job *j, const struct err *err)
{
    struct err end = {0};
    bool refused;

    j->outcome = outcome_of(j, err);
    if (j->session.lock.epoch && (batch_do(&j->session, write_end, j, &refused, &end) || refused))
        log_warn("end_not_written", LOG_ERR(&end));
}

static const char *outcome_of(const struct job *j, const struct err *err)
{
    if (err->code && err->cause &&
        (strcmp(err->cause, "lock_held") == 0 || strcmp(err->cause, "fence_lost") == 0))
        return err->cause;
    if (err->code)
        return "failed";
    if (session_stopping())
        return "interrupted";
    return j->session.options->dry_run ? "dry_run" : "done";
}

static enum status write_end(void *ctx, size_t rows, struct err *err)
{
    struct job *j = ctx;
    struct session *s = &j->session;
    bool done = strcmp(j->outcome, "done") == 0;
    json_t *all = report_json(j);
    char *text = json_dumps(all, JSON_COMPACT);
    enum status status;
    struct pg_args args;

    (void)rows;
    pg_args_init(&args, s->arena);
    pg_arg_uuid(&args, &s->options->run_id);
    pg_arg_text(&args, done ? SPAN("success") : SPAN("failed"));
    pg_arg_text(&args, span_of(j->outcome));
    pg_arg_int(&args, j->nread);
    pg_arg_json(&args, span_of(text));
    pg_arg_text(&args, done ? SPAN_NONE : session_stopping() ? SPAN("signal") : SPAN("error"));
    pg_arg_text(&args, SPAN_NONE);
    status = pg_run(s->pg, SQL_RUN_FINISH, &args, WAIT_MS, NULL, err);
    free(text);
    json_decref(all);
    return status;
}

static int report(const struct job *j, const struct err *err)
{
    json_t *all = report_json(j);

    if (j->session.options->json) {
        json_dumpf(all, stdout, 0);
        putchar('\n');
    } else {
        report_text(j);
    }
    json_decref(all);
    if (err->code)
        return exit_code(err);
    return session_stopping() ? EX_TEMPFAIL : EX_OK;
}

static json_t *report_json(const struct job *j)
{
    json_t *all =
        json_pack("{ss sb sI sI}", "outcome", j->outcome, "dry_run", (int)j->session.options->dry_run,
                  "mended", (json_int_t)j->nmended, "total_rows", (json_int_t)j->nread);

    for (size_t i = 0; i < COUNTS; i++)
        json_object_set_new(all, count_names[i], json_integer((json_int_t)j->counts[i]));
    return all;
}

static void report_text(const struct job *j)
{
    if (strcmp(j->outcome, "lock_held") == 0) {
        puts("nothing was done: maintain runs elsewhere");
        return;
    }
    printf("%-31s%" PRId64 "\n", j->session.options->dry_run ? "would be mended" : "mended", j->nmended);
    printf("%-31s%" PRId64 "\n", "total_rows", j->nread);
    for (size_t i = 0; i < COUNTS; i++)
        printf("%-31s%" PRId64 "\n", count_names[i], j->counts[i]);
}
