#include "identities.h"

#include "progress.h"
#include "round.h"

#include "base/log.h"
#include "base/now.h"

#include <inttypes.h>
#include <stdio.h>

enum { CHUNK_ROWS = 5000, LAST_BYTES = 24 };

/* The columns of identity_mend and identity_count. */
enum { READ, WANTED, MENDED, LAST, FIRST_COUNT, SEES_ALL = 10 };

/* What is counted, in the order of those columns behind LAST; total_rows is what was read. */
static const char *const count_names[] = {
    "rows_with_user_id_str",  "rows_with_legacy_user_id",  "backfilled_from_legacy_int",
    "unresolved_legacy_rows", "rows_without_any_identity", "rows_with_conflicting_identity",
};
enum { COUNTS = countof(count_names) };

struct walk {
    struct round *round;
    int64_t nmended; /* of a dry run those that want it */
    int64_t counts[COUNTS];
    char last[LAST_BYTES]; /* id of the last row that was read; "": none was */
    size_t asked;          /* rows of the batch at work, and what became of them */
    struct pg_rows *chunk;
};

static enum status work(struct round *r, struct err *err);
static enum status do_chunk(void *ctx, size_t rows, struct err *err);
static enum status check_chunk(const struct walk *w, struct err *err);
static void take_chunk(struct walk *w);
static void tell_progress(const struct walk *w, struct progress *progress);
static void fill_report(const struct walk *w);
static void print(const struct round *r);

static const struct round_kind kind = {
    .job = "maintain",
    .run_name = "identities",
    .work = work,
    .print = print,
};

int identities_run(const struct session_options *options)
{
    return round_do(&kind, options);
}

static enum status work(struct round *r, struct err *err)
{
    struct walk w = {.round = r};
    struct progress progress;
    bool more = true;

    r->session.batch_rows = CHUNK_ROWS;
    progress_begin(&progress, now_boot_us());
    while (more && !session_stopping()) {
        if (round_batch(r, do_chunk, &w, err))
            break;
        more = pg_int(w.chunk, 0, READ) == (int64_t)w.asked;
        take_chunk(&w);
        tell_progress(&w, &progress);
    }
    progress_end(&progress);
    pg_rows_free(w.chunk);
    fill_report(&w);
    return err->code;
}

static enum status do_chunk(void *ctx, size_t rows, struct err *err)
{
    struct walk *w = ctx;
    struct session *s = &w->round->session;
    struct pg_args args;

    w->asked = rows;
    pg_rows_free(w->chunk);
    w->chunk = NULL;
    pg_args_init(&args, s->arena);
    pg_arg_int(&args, (int64_t)rows);
    pg_arg_text(&args, w->last[0] ? span_of(w->last) : SPAN_NONE);
    if (pg_run(s->pg, s->options->dry_run ? SQL_IDENTITY_COUNT : SQL_IDENTITY_MEND, &args, WAIT_MS, &w->chunk,
               err))
        return err->code;
    return check_chunk(w, err);
}

/* Row level security changes fewer rows, or none, without a word. */
static enum status check_chunk(const struct walk *w, struct err *err)
{
    int64_t wanted = pg_int(w->chunk, 0, WANTED), mended = pg_int(w->chunk, 0, MENDED);

    if (!pg_int(w->chunk, 0, SEES_ALL))
        return err_set(
            err, BROKEN,
            "no policy of task_execution_logs shows all rows to settle_maintain: deploy the schema "
            "again");
    if (!w->round->options->dry_run && mended != wanted)
        return err_set(err, BUSY,
                       "%" PRId64 " of %" PRId64 " rows were changed: somebody else works at them, try again",
                       mended, wanted);
    return OK;
}

/* Once its batch is committed. */
static void take_chunk(struct walk *w)
{
    struct span last = pg_bytes(w->chunk, 0, LAST);

    w->round->nread += pg_int(w->chunk, 0, READ);
    w->nmended += pg_int(w->chunk, 0, WANTED);
    for (size_t i = 0; i < COUNTS; i++)
        w->counts[i] += pg_int(w->chunk, 0, FIRST_COUNT + i);
    if (last.at)
        snprintf(w->last, sizeof(w->last), "%.*s", SPAN_ARG(last));
}

static void tell_progress(const struct walk *w, struct progress *progress)
{
    if (!progress_due(progress))
        return;
    if (progress->terminal)
        progress_count("task logs read", w->round->nread);
    else
        log_info("progress", LOG_INT("read", w->round->nread), LOG_INT("mended", w->nmended));
}

static void fill_report(const struct walk *w)
{
    const struct round *r = w->round;

    json_object_set_new(r->report, "dry_run", json_boolean(r->options->dry_run));
    json_object_set_new(r->report, "mended", json_integer((json_int_t)w->nmended));
    json_object_set_new(r->report, "total_rows", json_integer((json_int_t)r->nread));
    for (size_t i = 0; i < COUNTS; i++)
        json_object_set_new(r->report, count_names[i], json_integer((json_int_t)w->counts[i]));
}

static void print(const struct round *r)
{
    const char *name;
    json_t *count;

    json_object_foreach(r->report, name, count)
        if (json_is_integer(count))
            printf("%-31s%" JSON_INTEGER_FORMAT "\n",
                   r->options->dry_run && strcmp(name, "mended") == 0 ? "would be mended" : name,
                   json_integer_value(count));
}
