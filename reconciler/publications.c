#include "ask.h"
#include "batch.h"
#include "command.h"
#include "ending.h"
#include "guard.h"
#include "page.h"
#include "report.h"

#include "base/doc.h"
#include "base/log.h"
#include "base/now.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

/* More than a statement of the gateway may take until its receipts show: ingest.commit_timeout_ms ends at 20,000. */
#define OVERLAP_US (30 * SECOND_US)
/* How far to look again when the database's clock was set back, and once a day in any case. */
#define CLOCK_BACK_US DAY_US
#define DAY_US        (24 * 60 * MINUTE_US)
/* The database's clock is right if it is no further from ours. */
#define CLOCKS_APART_US (5 * MINUTE_US)

#define GUARD_MESSAGE                                                                                        \
    "No publication was failed by time-out: it would be %" PRId64 " or more, with %" PRId64                  \
    " of the last hour, and the limit is %" PRId64 ". Those with a webhook were settled. See whether "       \
    "webhooks come in and whether the database's clock is right; if these webhooks are lost for good, run "  \
    "again with --force."

/* Where so few rows wait that all of them are within the guard's limit, a wrong clock would fail all. */
#define CLOCK_MESSAGE                                                                                        \
    "No publication was failed by time-out: it would be %" PRId64                                            \
    " or more, and the database's clock is %" PRId64                                                         \
    " s ahead of ours. Those with a webhook were settled. Mend the clock that is wrong; if that is ours, "   \
    "and cannot be mended, run again with --force."

enum {
    ALERT_CHECKED_MIN = 10, /* shares of fewer rows say nothing */
    UNREDATED_MAX = 100,    /* rows that Postgres refuses: then it is no single one's fault */
};

struct options {
    struct session_options common;
    struct config_flag flags[3]; /* what the command line says in place of the settings */
    size_t nflags;
    struct span platform; /* absent: all */
    bool force;
};

/* Where the walk through open publications stands. */
struct cursor {
    int64_t updated_us; /* TIME_NONE: before the oldest */
    char id[sizeof(struct id)];
};

/* Where the look at new receipts stands. */
struct watermark {
    int64_t stored_us;
    char key[64];
    size_t key_len;
};

struct job {
    const struct options *options;
    struct session session;
    struct deadlines deadlines;
    struct guard guard;
    int64_t timeouts; /* rows that this run may fail by time-out */
    struct page page;
    size_t asked;                /* rows of the batch at work */
    int64_t redated, redated_by; /* rows that were dated ahead; of them, what the batch at work has written */
    int64_t unredated;           /* the first of them, which Postgres refuses */
    struct cursor cursor;
    struct watermark watermark;
    int64_t watermark_most_us;  /* receipts stored after this are for a later run too: its mark stays below */
    bool interrupted;           /* a signal came before everything was done */
    struct report report, next; /* next: with the batch at work, for when it is committed */
};

static int run(int argc, char **argv);
static error_t parse_option(int key, char *value, struct argp_state *state);
static void set_flag(struct options *o, const char *key, const char *value);
static int end_early(const struct options *o, struct err *err);
static enum status work(struct job *j, struct err *err);
static struct span scope_of(const struct job *j, struct arena *arena);
static enum status redate(struct job *j, struct err *err);
static enum status ask_redate(struct job *j, bool *ret_due, struct err *err);
static enum status redate_some(void *ctx, size_t rows, struct err *err);
static enum status weigh(struct job *j, struct err *err);

static enum status follow(struct job *j, struct err *err);
static int64_t known_watermark(const struct job *j);
static int64_t follow_from(const struct job *j);
static enum status follow_page(void *ctx, size_t rows, struct err *err);
static void keep_settled(struct job *j);
static bool comes_in_walk(const struct job *j, const struct row *r);
static void come_again(struct job *j);
static enum status advance(struct job *j, struct err *err);

static enum status ask(struct job *j, struct err *err);
static enum status settle_asked(void *job, const struct id *ids, const struct span *sources, size_t n,
                                struct err *err);
static void after_asked(void *job, bool done);

static enum status walk(struct job *j, struct err *err);
static enum status walk_page(void *ctx, size_t rows, struct err *err);
static enum status settle_page(struct job *j, struct err *err);
static enum missing why_unasked(const struct job *j, const struct row *r);
static enum status write_progress(struct job *j, struct err *err);
static void leave_out(struct job *j, bool counts, const struct err *err);
static bool told_to_stop(struct job *j);

static int finish(struct job *j, struct err *err);
static void end_run(struct job *j, struct err *err);
static bool is_fence_lost(const struct err *err);
static void set_outcome(struct job *j, const struct err *err);
static enum status write_end(void *ctx, size_t rows, struct err *err);
static enum status raise_alerts(struct job *j, struct err *err);
static enum status raise_alert(struct job *j, const char *type, const char *severity, const char *message,
                               struct err *err);

const struct command publications_command = {
    "publications", "bring stale publications to a final state, from webhooks and time-outs", run};

enum { OPTION_SINCE = 1, OPTION_PLATFORM, OPTION_BATCH, OPTION_FORCE, OPTION_EVIDENCE };

static const struct argp_option option_table[] = {
    {"since-minutes",        OPTION_SINCE,    "N",    0, "Look at what is untouched for N minutes (1 to 1440)", 1},
    {"platform",             OPTION_PLATFORM, "NAME", 0, "Only publications on one platform",                   1},
    {"batch-size",           OPTION_BATCH,    "N",    0, "Rows a transaction, at most (1 to 10000)",            1},
    {"evidence-age-minutes", OPTION_EVIDENCE, "N",    0, "Settle by webhooks after N minutes (0: at once)",     1},
    {"force",                OPTION_FORCE,    NULL,   0, "Fail by time-out however many they are",              1},
    {NULL,                   0,               NULL,   0, NULL,                                                  0},
};
static const struct argp argp = {
    .options = option_table,
    .parser = parse_option,
    .children = session_children,
    .doc = "Settles stale publications by what their webhooks say, and fails those without one by time-out. "
           "Safe to repeat and to kill; only one runs at a time.",
};

static int run(int argc, char **argv)
{
    static struct job job; /* large: not for the stack */
    struct job *j = &job;
    struct options options = {.nflags = 0};
    struct err err = {0};

    session_options_init(&options.common);
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    j->options = &options;
    if (session_open(&j->session, "publications", &options.common, options.flags, options.nflags, &err)) {
        session_close(&j->session);
        return end_early(&options, &err);
    }
    report_init(&j->report, &options.common.run_id, j->session.began_boot_us);
    if (work(j, &err) == OK)
        err = (struct err){.code = OK}; /* what was refused on the way is no failure of the run */
    return finish(j, &err);
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->common;
        return 0;
    case OPTION_SINCE:
        option_number(value, 1, 1440, "since-minutes", state);
        set_flag(o, "reconcile.since_minutes", value);
        return 0;
    case OPTION_BATCH:
        option_number(value, 1, 10000, "batch-size", state);
        set_flag(o, "reconcile.batch_size", value);
        return 0;
    case OPTION_EVIDENCE:
        option_number(value, 0, 1440, "evidence-age-minutes", state);
        set_flag(o, "reconcile.evidence_age_minutes", value);
        return 0;
    case OPTION_PLATFORM:
        o->platform = span_of(value);
        return 0;
    case OPTION_FORCE:
        o->force = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\" is no option", value);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* An option that comes again replaces the earlier one. */
static void set_flag(struct options *o, const char *key, const char *value)
{
    size_t at = 0;

    while (at < o->nflags && strcmp(o->flags[at].key, key) != 0)
        at++;
    o->flags[at] = (struct config_flag){key, value};
    if (at == o->nflags)
        o->nflags++;
}

static int end_early(const struct options *o, struct err *err)
{
    log_error("not_started", LOG_ID("run_id", &o->common.run_id), LOG_ERR(err));
    return exit_code(err);
}

static enum status work(struct job *j, struct err *err)
{
    struct session *s = &j->session;

    if (j->options->platform.at && !platforms_find(s->platforms, j->options->platform))
        log_warn("platform_unknown", LOG_SPAN("platform", j->options->platform));
    if (deadlines_read(&j->deadlines, s, err))
        return err->code;
    if (!s->options->dry_run && (session_begin(s, scope_of(j, s->arena).at, err) || redate(j, err)))
        return err->code;
    if (weigh(j, err) || follow(j, err) || ask(j, err) || walk(j, err))
        return err->code;
    return OK;
}

static struct span scope_of(const struct job *j, struct arena *arena)
{
    const struct config *c = j->session.config;
    struct span platform = j->options->platform.at ? doc_quote(j->options->platform, arena) : SPAN("null");

    return span_of(arena_print(
        arena,
        "{\"since_minutes\":%u,\"evidence_age_minutes\":%u,\"batch_size\":%u,\"platform\":%.*s,\"force\":%s}",
        c->reconcile.since_minutes, c->reconcile.evidence_age_minutes, c->reconcile.batch_size,
        SPAN_ARG(platform), j->options->force ? "true" : "false"));
}

/* What a clock that was ahead has dated beyond today would be looked at by no run until then. Not while the database's clock
 * differs from ours: were it behind, what is right would be made old. */
static enum status redate(struct job *j, struct err *err)
{
    bool due = false, goes_on = true, refused;

    if (llabs(now_wall_us() - session_now_us(&j->session)) > CLOCKS_APART_US)
        return OK;
    if (ask_redate(j, &due, err) || !due)
        return err->code;
    do {
        if (told_to_stop(j))
            return OK;
        if (batch_do(&j->session, redate_some, j, &refused, err))
            return err_in(err, "publications dated ahead");
        if (refused) { /* one, which comes again with the next run: not all that are behind it with it */
            log_warn("redating_refused", LOG_ERR(err));
            j->unredated++;
            continue;
        }
        j->redated += j->redated_by;
        goes_on = j->redated_by == (int64_t)j->asked;
    } while (goes_on && j->unredated < UNREDATED_MAX);
    if (j->redated > 0)
        log_warn("publications_redated", LOG_INT("publications", j->redated));
    return OK;
}

static enum status ask_redate(struct job *j, bool *ret_due, struct err *err)
{
    struct pg_rows *rows;
    struct pg_args args;

    pg_args_init(&args, j->session.arena);
    pg_arg_text(&args, j->options->platform);
    if (pg_run(j->session.pg, SQL_REDATE_DUE, &args, WAIT_MS, &rows, err))
        return err_in(err, "looking for publications dated ahead");
    *ret_due = pg_int(rows, 0, 0) > 0;
    pg_rows_free(rows);
    return OK;
}

static enum status redate_some(void *ctx, size_t rows, struct err *err)
{
    struct job *j = ctx;
    struct pg_rows *written;
    struct pg_args args;

    j->asked = rows;
    pg_args_init(&args, j->session.arena);
    pg_arg_text(&args, j->options->platform);
    pg_arg_int(&args, (int64_t)rows);
    pg_arg_int(&args, j->unredated);
    if (pg_run(j->session.pg, SQL_PUBLICATION_REDATE, &args, WAIT_MS, &written, err))
        return err->code;
    j->redated_by = pg_int(written, 0, 0);
    pg_rows_free(written);
    return OK;
}

/* Before the first time-out. */
static enum status weigh(struct job *j, struct err *err)
{
    struct session *s = &j->session;
    struct guard *g = &j->guard;
    int64_t ahead_us;

    if (isatty(STDERR_FILENO) && guard_count_open(s, j->deadlines.stale_before_us, &j->report.stale, err))
        return err->code;
    if (j->options->force) {
        j->timeouts = INT64_MAX;
        return OK;
    }
    if (guard_weigh(s, &j->deadlines, j->options->platform, g, err))
        return err->code;
    ahead_us = session_now_us(s) - now_wall_us();
    if (g->holds)
        snprintf(j->report.message, sizeof(j->report.message), GUARD_MESSAGE, g->planned + g->recent,
                 g->recent, g->limit);
    else if (g->planned > 0 && ahead_us > CLOCKS_APART_US)
        snprintf(j->report.message, sizeof(j->report.message), CLOCK_MESSAGE, g->planned,
                 ahead_us / SECOND_US);
    g->holds = j->report.message[0] != '\0';
    j->timeouts = g->holds ? 0 : g->planned;
    if (g->holds) {
        j->report.planned_timeouts = g->planned;
        j->report.timeout_limit = g->limit;
        log_warn("guard_holds", LOG_INT("planned", g->planned), LOG_INT("recent", g->recent),
                 LOG_INT("limit", g->limit), LOG_INT("ahead_of_us_s", ahead_us / SECOND_US));
    }
    return OK;
}

/* The receipts stored since the last run: late ones correct what was failed by time-out, stronger ones what rests
 * on weaker ones, and with an evidence age below the window they settle open rows sooner. Comes before the walk, so
 * that a watermark stands before the first row is failed by time-out. */
static enum status follow(struct job *j, struct err *err)
{
    bool refused;

    j->watermark = (struct watermark){.stored_us = follow_from(j)};
    /* Only a run over all platforms looks at every receipt. */
    j->watermark_most_us = j->options->platform.at ? known_watermark(j) : INT64_MAX;
    do {
        if (told_to_stop(j))
            return OK;
        if (batch_do(&j->session, follow_page, j, &refused, err))
            return err_in(err, "new receipts");
        if (refused && j->page.nrows == 0)
            return err->code;
        if (refused && err->code != REJECTED)
            come_again(j);
        if (refused)
            leave_out(j, !comes_in_walk(j, &j->page.rows[0]), err);
        else
            j->report = j->next;
        if (j->page.nread > 0) {
            j->watermark.stored_us = j->page.place_us;
            j->watermark.key_len = j->page.place_key.len;
            memcpy(j->watermark.key, j->page.place_key.at, j->page.place_key.len);
        }
        report_progress(&j->report);
    } while (j->page.nread == j->asked);
    return OK;
}

/* Without a watermark nothing was ever failed by time-out that a receipt could correct, and the walk finds the open
 * rows that are older than the window. */
static int64_t known_watermark(const struct job *j)
{
    int64_t mark_us = j->session.watermark_us;

    if (mark_us == TIME_NONE)
        return j->deadlines.stale_before_us;
    if (mark_us > j->session.began_us)
        return j->session.began_us - CLOCK_BACK_US;
    return mark_us;
}

/* The first run of a day (UTC) looks further back: what a stepping clock or a fault of ours hid is found a day late
 * at most. */
static int64_t follow_from(const struct job *j)
{
    int64_t began_us = j->session.began_us, mark_us = known_watermark(j), from_us = mark_us - OVERLAP_US;
    bool first_of_day = mark_us / DAY_US != began_us / DAY_US;

    return first_of_day && from_us > began_us - CLOCK_BACK_US ? began_us - CLOCK_BACK_US : from_us;
}

static enum status follow_page(void *ctx, size_t rows, struct err *err)
{
    struct job *j = ctx;
    struct pg_args args;

    j->asked = rows;
    pg_args_init(&args, j->session.arena);
    pg_arg_time(&args, j->watermark.stored_us);
    pg_arg_bytes(&args, (struct span){j->watermark.key, j->watermark.key_len});
    pg_arg_time(&args, j->session.began_us);
    pg_arg_time(&args, j->deadlines.evidence_before_us);
    pg_arg_text(&args, j->options->platform);
    pg_arg_int(&args, (int64_t)rows);
    if (page_read(&j->page, &j->session, SQL_RECEIPT_FOLLOW, &args, err))
        return err->code;
    page_decide(&j->page, &j->session, &j->deadlines);
    keep_settled(j);
    if (settle_page(j, err))
        return err->code;
    for (size_t i = 0; i < j->page.nrows; i++)
        if (!j->page.rows[i].written)
            come_again(j);
    return advance(j, err);
}

/* What stays as it is is no business of this pass. A dry run tells of stale open rows in its walk. */
static void keep_settled(struct job *j)
{
    size_t kept = 0;

    for (size_t i = 0; i < j->page.nrows; i++) {
        const struct row *r = &j->page.rows[i];
        bool comes_again = j->session.options->dry_run && comes_in_walk(j, r);

        if (verdict_writes(r->verdict) && !comes_again)
            j->page.rows[kept++] = *r;
    }
    j->page.nrows = kept;
}

static bool comes_in_walk(const struct job *j, const struct row *r)
{
    return r->publication.rests == RESTS_OPEN && r->publication.updated_us < j->deadlines.stale_before_us;
}

/* A row of the page at work was held or has changed meanwhile: the next run begins with this page at the latest. */
static void come_again(struct job *j)
{
    if (j->watermark_most_us > j->watermark.stored_us + OVERLAP_US)
        j->watermark_most_us = j->watermark.stored_us + OVERLAP_US;
}

static enum status advance(struct job *j, struct err *err)
{
    struct session *s = &j->session;
    bool at_end = j->page.nread < j->asked;
    int64_t mark_us = at_end ? s->began_us : j->page.place_us;
    struct pg_args args;

    if (s->options->dry_run)
        return OK;
    pg_args_init(&args, s->arena);
    pg_arg_text(&args, span_of(s->job));
    pg_arg_int(&args, s->lock.epoch);
    pg_arg_time(&args, mark_us < j->watermark_most_us ? mark_us : j->watermark_most_us);
    return pg_run(s->pg, SQL_FENCE_ADVANCE, &args, WAIT_MS, NULL, err);
}

/* What the platforms can tell of publications without a decisive webhook, before any of them is failed. A dry run asks
 * nobody. */
static enum status ask(struct job *j, struct err *err)
{
    const struct ask_scope scope = {
        .deadlines = &j->deadlines,
        .platform = j->options->platform,
        .settle = settle_asked,
        .written = after_asked,
        .ctx = j,
    };

    if (j->session.options->dry_run || told_to_stop(j))
        return OK;
    if (ask_all(&j->session, &scope, &j->report.asked, err))
        return err_in(err, "asking platforms");
    return OK;
}

static enum status settle_asked(void *job, const struct id *ids, const struct span *sources, size_t n,
                                struct err *err)
{
    struct job *j = job;
    struct pg_args args;

    j->next = j->report;
    if (n == 0)
        return OK;
    pg_args_init(&args, j->session.arena);
    pg_arg_uuids(&args, ids, n);
    pg_arg_texts(&args, sources, n);
    pg_arg_texts(&args, NULL, 0); /* it has answered */
    pg_arg_bool(&args, false);
    if (page_read(&j->page, &j->session, SQL_PUBLICATION_READ, &args, err))
        return err->code;
    page_decide(&j->page, &j->session, &j->deadlines);
    return settle_page(j, err);
}

static void after_asked(void *job, bool done)
{
    struct job *j = job;

    if (done)
        j->report = j->next;
    report_progress(&j->report);
}

/* All open publications older than the window, oldest first. */
static enum status walk(struct job *j, struct err *err)
{
    bool refused;

    j->cursor.updated_us = TIME_NONE;
    do {
        if (told_to_stop(j))
            return OK;
        if (batch_do(&j->session, walk_page, j, &refused, err))
            return err_in(err, "stale publications");
        if (refused && j->page.nrows == 0)
            return err->code;
        if (refused)
            leave_out(j, true, err);
        else
            j->report = j->next;
        if (j->page.nread > 0) {
            j->cursor.updated_us = j->page.place_us;
            memcpy(j->cursor.id, j->page.place_key.at, sizeof(j->cursor.id));
        }
        report_progress(&j->report);
    } while (j->page.nread == j->asked);
    return OK;
}

static enum status walk_page(void *ctx, size_t rows, struct err *err)
{
    struct job *j = ctx;
    struct pg_args args;
    struct span *names;
    size_t n;

    j->asked = rows;
    pg_args_init(&args, j->session.arena);
    pg_arg_time(&args, j->deadlines.stale_before_us);
    pg_arg_time(&args, j->cursor.updated_us);
    pg_arg_bytes(&args, j->cursor.updated_us == TIME_NONE
                            ? SPAN_NONE
                            : (struct span){j->cursor.id, sizeof(j->cursor.id)});
    pg_arg_text(&args, j->options->platform);
    pg_arg_int(&args, (int64_t)rows);
    names = deadlines_askable(&j->deadlines, true, j->session.arena, &n);
    pg_arg_texts(&args, names, n);
    if (page_read(&j->page, &j->session, SQL_PUBLICATION_WALK, &args, err))
        return err->code;
    j->deadlines.timeouts_left = j->timeouts - j->report.timed_out - j->report.all.retry;
    page_decide(&j->page, &j->session, &j->deadlines);
    return settle_page(j, err);
}

static enum status settle_page(struct job *j, struct err *err)
{
    bool dry_run = j->session.options->dry_run;
    bool changes = false;

    if (!dry_run && page_write(&j->page, &j->session, err))
        return err->code;
    j->next = j->report;
    for (size_t i = 0; i < j->page.nrows; i++) {
        const struct row *r = &j->page.rows[i];

        report_count(&j->next, r->platform, &r->id, r->verdict, r->written || dry_run);
        j->next.unclear_a_day +=
            r->verdict.action == ACT_SKIP_UNCLEAR && r->publication.updated_us < j->session.began_us - DAY_US;
        j->next.asked.could_not[why_unasked(j, r)]++;
        changes |= r->written;
    }
    return changes ? write_progress(j, err) : OK;
}

/* What kept us from asking about it, where nothing is wrong that asking again could mend. */
static enum missing why_unasked(const struct job *j, const struct row *r)
{
    enum reason reason = r->verdict.reason;
    bool by_time = reason == REASON_WEBHOOK_TIMEOUT || reason == REASON_AUTO_RETRY;

    if (r->verdict.action == ACT_SKIP_PAUSED)
        return MISSING_PLATFORM_DISABLED;
    if (!by_time || !(r->written || j->session.options->dry_run))
        return MISSING_NONE;
    return patience_with(&j->deadlines, r->platform).give_up_minutes ? MISSING_NONE : MISSING_ADAPTER_MISSING;
}

/* In the batch's own transaction: what a killed run has done stays known, to readers and to the guard. */
static enum status write_progress(struct job *j, struct err *err)
{
    struct session *s = &j->session;
    struct pg_args args;

    pg_args_init(&args, s->arena);
    pg_arg_uuid(&args, &s->options->run_id);
    pg_arg_int(&args, j->next.read);
    pg_arg_json(&args, report_json(&j->next, false, s->arena));
    return pg_run(s->pg, SQL_RUN_PROGRESS, &args, WAIT_MS, NULL, err);
}

/* The row that the store refused. counts: it does not come again in this run. */
static void leave_out(struct job *j, bool counts, const struct err *err)
{
    log_warn("row_left_out", LOG_ID("log_id", &j->page.rows[0].id), LOG_ERR(err));
    j->report.left_out += counts;
}

static bool told_to_stop(struct job *j)
{
    j->interrupted = session_stopping();
    return j->interrupted;
}

static int finish(struct job *j, struct err *err)
{
    struct arena *arena = arena_open(1 << 16);
    struct session *s = &j->session;
    struct span json;
    int code;

    report_progress_end(&j->report);
    end_run(j, err);
    code = err->code ? exit_code(err) : j->report.stopped_by && !s->options->dry_run ? EX_TEMPFAIL : EX_OK;
    if (err->code && code != EX_OK)
        log_error("run_failed", LOG_ID("run_id", &s->options->run_id), LOG_TEXT("outcome", j->report.outcome),
                  LOG_ERR(err));
    page_release(&j->page);
    deadlines_free(&j->deadlines);
    session_close(s); /* before the report: whoever waits for it may begin the next run */

    json = report_json(&j->report, true, arena);
    if (j->options->common.json)
        printf("%.*s\n", SPAN_ARG(json));
    else
        report_print(&j->report, j->options->common.dry_run, stdout);
    arena_close(arena);
    return fflush(stdout) == 0 ? code : EX_SOFTWARE;
}

/* Says what became of the run, in the report and in its row. Who lost the fence writes nothing: the next run ends
 * the row. */
static void end_run(struct job *j, struct err *err)
{
    struct err end = {0};
    bool refused;

    set_outcome(j, err);
    if (!j->session.lock.epoch || is_fence_lost(err))
        return;
    if (batch_do(&j->session, write_end, j, &refused, &end) == OK && !refused)
        return;
    log_warn("end_not_written", LOG_ERR(&end));
    if (!err->code || is_fence_lost(&end)) {
        *err = end;
        set_outcome(j, err);
    }
}

static bool is_fence_lost(const struct err *err)
{
    return err->cause && strcmp(err->cause, "fence_lost") == 0;
}

static void set_outcome(struct job *j, const struct err *err)
{
    struct report *r = &j->report;
    bool dry_run = j->options->common.dry_run;

    if (err->code && err->cause && strcmp(err->cause, "lock_held") == 0) {
        r->outcome = "lock_held";
    } else if (err->code) {
        r->outcome = is_fence_lost(err) ? "fence_lost" : "failed";
        r->stopped_by = is_fence_lost(err) ? "fence" : "error";
    } else if (j->interrupted) {
        r->outcome = "interrupted";
        r->stopped_by = "signal";
    } else if (j->guard.holds) {
        r->outcome = dry_run ? "dry_run" : "guard";
        r->stopped_by = "guard";
    } else {
        r->outcome = dry_run ? "dry_run" : "done";
    }
    if (err->code)
        snprintf(r->message, sizeof(r->message), "%s", err->text);
}

static enum status write_end(void *ctx, size_t rows, struct err *err)
{
    struct job *j = ctx;
    const struct report *r = &j->report;
    const struct ending end = {
        .outcome = r->outcome,
        .success = strcmp(r->outcome, "done") == 0,
        .nread = r->read,
        .report = report_json(r, true, j->session.arena),
        .error_code = r->stopped_by,
        .message = r->message[0] ? span_of(r->message) : SPAN_NONE,
    };

    (void)rows;
    if (raise_alerts(j, err))
        return err_in(err, "raising alerts");
    return ending_write(&j->session, &end, err);
}

/* Of a type only the first that holds. */
static enum status raise_alerts(struct job *j, struct err *err)
{
    const struct report *r = &j->report;
    int64_t checked = report_checked(r);
    const struct {
        int64_t rows;
        unsigned above_percent; /* of those checked; 0: a single one rings, however few were checked */
        const char *type, *severity, *message;
    } alerts[] = {
        {j->guard.holds,   0,  "publications_guard",         "CRITICAL", r->message                                 },
        {r->all.failed,    50, "publications_failed",        "CRITICAL", "More than half of the publications failed"},
        {r->all.failed,    25, "publications_failed",        "MEDIUM",
         "More than a quarter of the publications failed"                                                           },
        {r->all.unclear,   10, "publications_unclear",       "MEDIUM",
         "More than a tenth of the publications have unclear webhooks"                                              },
        {r->unclear_a_day, 0,  "publications_unclear_a_day", "MEDIUM",
         "Publications have had unclear webhooks for more than a day"                                               },
    };
    const char *raised = "";

    for (size_t i = 0; i < countof(alerts); i++) {
        bool too_few = alerts[i].above_percent > 0 && checked < ALERT_CHECKED_MIN;

        if (too_few || 100 * alerts[i].rows <= alerts[i].above_percent * checked ||
            strcmp(raised, alerts[i].type) == 0)
            continue;
        raised = alerts[i].type;
        if (raise_alert(j, raised, alerts[i].severity, alerts[i].message, err))
            return err->code;
    }
    return OK;
}

static enum status raise_alert(struct job *j, const char *type, const char *severity, const char *message,
                               struct err *err)
{
    struct session *s = &j->session;
    struct id id = id_make(session_now_us(s));
    struct pg_args args;

    pg_args_init(&args, s->arena);
    pg_arg_uuid(&args, &id);
    pg_arg_text(&args, SPAN("settle-reconciler"));
    pg_arg_text(&args, span_of(type));
    pg_arg_text(&args, SPAN("SYSTEM_HEALTH"));
    pg_arg_text(&args, span_of(severity));
    pg_arg_text(&args, span_of(type)); /* one open alert a type */
    pg_arg_text(&args, SPAN("job"));
    pg_arg_text(&args, span_of(s->job));
    pg_arg_text(&args, SPAN_NONE);
    pg_arg_text(&args, span_of(message));
    pg_arg_text(&args, span_of(message));
    pg_arg_json(&args, report_json(&j->report, false, s->arena));
    return pg_run(s->pg, SQL_ALERT_RAISE, &args, WAIT_MS, NULL, err);
}
