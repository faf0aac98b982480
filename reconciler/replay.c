/* replay: decides publications anew, settled ones too, from all that is stored about them, with the words of today's
 * descriptors: for when rules have changed. Plans first and says what would change; then writes, under the
 * publications job's lock and fence. */
#include "batch.h"
#include "command.h"
#include "ending.h"
#include "guard.h"
#include "json.h"
#include "page.h"
#include "report.h"

#include "base/doc.h"
#include "base/log.h"
#include "base/now.h"
#include "domain/encoding.h"
#include "domain/moment.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sysexits.h>

#include <jansson.h>

#define GUARD_MESSAGE                                                                                        \
    "Nothing was written: %" PRId64 " of %" PRId64 " publications would change, and the limit is %" PRId64   \
    ". See whether the descriptors say what they should; if they do, run again with --force."

/* What may become of a publication. */
enum change { OPEN_SUCCESS, OPEN_FAILED, SUCCESS_FAILED, FAILED_SUCCESS, REFRESHED, UNCLEAR, CHANGES };
static const struct {
    const char *name;
    bool changes_state;
} changes[CHANGES] = {
    [OPEN_SUCCESS] = {"open -> success",     true },
      [OPEN_FAILED] = {"open -> failed",      true },
    [SUCCESS_FAILED] = {"success -> failed",   true },
      [FAILED_SUCCESS] = {"failed -> success",   true },
    [REFRESHED] = {"other evidence",      false}, /* the state stays and rests on something else */
    [UNCLEAR] = {"evidence is unclear", false}, /* nothing stored speaks for the state any more; it stays */
};

enum { RECEIPT_KEY_BYTES = 32 };

struct plan {
    int64_t looked_at, planned, limit; /* planned: rows whose state would change */
    struct {
        char platform[PLATFORM_NAME_BYTES];
        int64_t n[CHANGES];
    } platforms[REPORT_PLATFORMS_MAX];
    size_t nplatforms;
};

struct options {
    struct session_options common;
    struct config_flag batch_size;
    size_t nflags;
    struct span platform, source; /* absent: all */
    int64_t from_us, to_us;       /* of the receipts' stored_at; TIME_NONE: not given */
    struct id *ids;               /* in place of a range */
    size_t nids;
    uint8_t receipt[RECEIPT_KEY_BYTES]; /* the publication that it speaks of, in place of both */
    bool by_receipt, force;
};

/* What the words of today's descriptors mean; in the process's arena. */
struct words {
    struct span *platforms, *words, *known;
    int16_t *decisive;
    size_t n, nknown;
};

struct job {
    const struct options *options;
    struct session session;
    struct deadlines deadlines;
    struct arena *arena; /* of the run */
    struct words words;
    struct plan plan;
    bool writes; /* the second pass */
    struct page page;
    size_t asked; /* rows of the batch at work */
    const struct id *ids;
    size_t nids;           /* 0: by receipts */
    struct id named;       /* the one of ids that a receipt names */
    size_t ids_done;       /* where it stands among ids */
    int64_t place_us;      /* or among receipts */
    struct span place_key; /* in place_bytes */
    char place_bytes[64];
    bool at_end, interrupted, guarded;
    struct report report, next; /* next: with the batch at work, for when it is committed */
};

static int run(int argc, char **argv);
static error_t parse_option(int key, char *value, struct argp_state *state);
static int64_t option_time(const char *text, const char *option, const struct argp_state *state);
static void add_id(struct options *o, const char *text, const struct argp_state *state);
static void check_options(const struct options *o, const struct argp_state *state);
static enum status work(struct job *j, struct err *err);
static enum status find_named(struct job *j, struct err *err);
static struct span scope_of(const struct job *j);
static void read_words(struct job *j);
static void add_word(struct words *w, const struct platform *p, struct span word);
static enum status pass(struct job *j, bool writes, struct err *err);
static enum status do_page(void *job, size_t rows, struct err *err);
static void decide(struct job *j, struct row *r, size_t at);
static enum status write_page(struct job *j, struct err *err);
static void go_on(struct job *j);
static void plan_page(struct job *j);
static void plan_row(struct plan *plan, const struct row *r);
static enum change change_of(const struct row *r);
static void print_plan(const struct job *j);

static int finish(struct job *j, struct err *err);
static void set_outcome(struct job *j, const struct err *err);
static bool is_cause(const struct err *err, const char *cause);
static void end_run(struct job *j, struct err *err);
static enum status write_end(void *job, size_t rows, struct err *err);
static struct span whole_report(const struct job *j, bool ids, struct arena *arena);
static json_t *plan_json(const struct plan *plan);

const struct command replay_command = {
    "replay", "decide publications anew, from what is stored and by today's descriptors", run};

enum {
    OPTION_FROM = 1,
    OPTION_TO,
    OPTION_PLATFORM,
    OPTION_SOURCE,
    OPTION_ID,
    OPTION_RECEIPT,
    OPTION_BATCH,
    OPTION_FORCE
};

static const struct argp_option option_table[] = {
    {"from",       OPTION_FROM,     "TIME", 0, "Those with a webhook stored since TIME (as 2026-01-15T10:45:00Z)",  1},
    {"to",         OPTION_TO,       "TIME", 0, "And before TIME (default: now)",                                    1},
    {"platform",   OPTION_PLATFORM, "NAME", 0, "Only publications on one platform",                                 1},
    {"source",     OPTION_SOURCE,   "NAME", 0, "Only those of one source",                                          1},
    {"id",         OPTION_ID,       "ID",   0, "This publication, in place of a range; may be given several times", 1},
    {"receipt",    OPTION_RECEIPT,  "KEY",  0, "The publication that this receipt speaks of, in place of a range",
     1                                                                                                               },
    {"batch-size", OPTION_BATCH,    "N",    0, "Rows a transaction (1 to 10000)",                                   1},
    {"force",      OPTION_FORCE,    NULL,   0, "Write however many would change",                                   1},
    {NULL,         0,               NULL,   0, NULL,                                                                0},
};
static const struct argp argp = {
    .options = option_table,
    .parser = parse_option,
    .children = session_children,
    .doc = "Decides publications anew from all stored webhooks, poll answers and workers' results. A "
           "webhook's word "
           "means what the descriptor's lists success and failure say of it today. Overrides and what other "
           "tools "
           "have settled stay. First comes a plan, which --dry-run ends with. Without --force nothing is "
           "written when "
           "more than 1,000 and more than 20 % of those looked at would change. Safe to repeat and to kill.\v"
           "Exit codes: 0 done, 65 there is no such receipt or its post is no publication's, 69 Postgres is "
           "down, 75 stopped by its guard or a signal, 78 settings.",
};

static int run(int argc, char **argv)
{
    static struct job job; /* large: not for the stack */
    struct job *j = &job;
    struct options options = {.from_us = TIME_NONE, .to_us = TIME_NONE};
    struct err err = {0};
    int code;

    session_options_init(&options.common);
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    j->options = &options;
    j->arena = arena_open(1 << 16);
    if (session_open(&j->session, "publications", &options.common, &options.batch_size, options.nflags,
                     &err)) {
        log_error("not_started", LOG_ID("run_id", &options.common.run_id), LOG_ERR(&err));
        session_close(&j->session);
        code = exit_code(&err);
    } else {
        j->session.run_name = "replay";
        report_init(&j->report, &options.common.run_id, j->session.began_boot_us);
        if (work(j, &err) == OK)
            err = (struct err){.code = OK}; /* what was refused on the way is no failure of the run */
        code = finish(j, &err);
    }
    arena_close(j->arena);
    free(options.ids);
    return code;
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct options *o = state->input;
    size_t len;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->common;
        return 0;
    case OPTION_FROM:
        o->from_us = option_time(value, "from", state);
        return 0;
    case OPTION_TO:
        o->to_us = option_time(value, "to", state);
        return 0;
    case OPTION_PLATFORM:
        o->platform = span_of(value);
        return 0;
    case OPTION_SOURCE:
        o->source = span_of(value);
        return 0;
    case OPTION_ID:
        add_id(o, value, state);
        return 0;
    case OPTION_RECEIPT:
        o->by_receipt = true;
        if (!encoding_read(ENCODING_HEX, span_of(value), o->receipt, sizeof(o->receipt), &len) ||
            len != sizeof(o->receipt))
            argp_error(state, "--receipt: want 64 hex digits, not \"%s\"", value);
        return 0;
    case OPTION_BATCH:
        option_number(value, 1, 10000, "batch-size", state);
        o->batch_size = (struct config_flag){"reconcile.batch_size", value};
        o->nflags = 1;
        return 0;
    case OPTION_FORCE:
        o->force = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\" is no option", value);
        return 0;
    case ARGP_KEY_END:
        check_options(o, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int64_t option_time(const char *text, const char *option, const struct argp_state *state)
{
    int64_t us = TIME_NONE;

    if (!moment_parse(span_of(text), &us))
        argp_error(state, "--%s: want a time as 2026-01-15T10:45:00Z, not \"%s\"", option, text);
    return us;
}

static void add_id(struct options *o, const char *text, const struct argp_state *state)
{
    o->ids = reallocarray(o->ids, o->nids + 1, sizeof(*o->ids));
    if (!o->ids)
        abort();
    if (!id_parse(span_of(text), &o->ids[o->nids++]))
        argp_error(state, "--id: \"%s\" is not a UUID", text);
}

static void check_options(const struct options *o, const struct argp_state *state)
{
    bool ranged = o->from_us != TIME_NONE || o->to_us != TIME_NONE;

    if (ranged + (o->nids > 0) + o->by_receipt > 1)
        argp_error(state, "--id, --receipt, and --from with --to stand in place of each other");
    if (o->from_us != TIME_NONE && o->to_us != TIME_NONE && o->from_us >= o->to_us)
        argp_error(state, "--from must be before --to");
}

static enum status work(struct job *j, struct err *err)
{
    struct session *s = &j->session;
    bool dry_run = j->options->common.dry_run;

    if (j->options->platform.at && !platforms_find(s->platforms, j->options->platform))
        log_warn("platform_unknown", LOG_SPAN("platform", j->options->platform));
    read_words(j);
    if (deadlines_read(&j->deadlines, s, err) || find_named(j, err))
        return err->code;
    if (!dry_run && session_begin(s, scope_of(j).at, err))
        return err->code;

    if (pass(j, false, err))
        return err_in(err, "planning");
    j->plan.limit = guard_limit(j->plan.looked_at);
    j->guarded = j->plan.planned > j->plan.limit && !j->options->force;
    print_plan(j);
    if (j->guarded)
        snprintf(j->report.message, sizeof(j->report.message), GUARD_MESSAGE, j->plan.planned,
                 j->plan.looked_at, j->plan.limit);
    if (dry_run || j->guarded || j->interrupted)
        return OK;
    j->report.stale = j->plan.looked_at;
    return pass(j, true, err);
}

/* Before the run has a row: what is not there is no run. */
static enum status find_named(struct job *j, struct err *err)
{
    const struct options *o = j->options;
    struct pg_rows *rows;
    struct pg_args args;

    j->ids = o->by_receipt ? &j->named : o->ids;
    j->nids = o->by_receipt ? 1 : o->nids;
    if (!o->by_receipt)
        return OK;
    pg_args_init(&args, j->session.arena);
    pg_arg_bytes(&args, (struct span){(const char *)o->receipt, sizeof(o->receipt)});
    if (pg_run(j->session.pg, SQL_RECEIPT_PUBLICATION, &args, WAIT_MS, &rows, err))
        return err->code;
    if (pg_nrows(rows) == 0)
        (void)!err_cause(err, REJECTED, "not_found", "there is no receipt with this key");
    else if (pg_is_null(rows, 0, 0))
        (void)!err_cause(err, REJECTED, "unmatched", "its post is no publication's");
    else
        j->named = pg_uuid(rows, 0, 0);
    pg_rows_free(rows);
    return err->code;
}

static struct span scope_of(const struct job *j)
{
    const struct options *o = j->options;
    struct span receipt = encoding_write(ENCODING_HEX, o->receipt, sizeof(o->receipt), j->arena);
    char from[TIME_TEXT_BYTES] = "", to[TIME_TEXT_BYTES] = "";
    json_t *scope;

    if (o->from_us != TIME_NONE)
        time_text(o->from_us, from, sizeof(from));
    if (o->to_us != TIME_NONE)
        time_text(o->to_us, to, sizeof(to));
    scope = json_pack("{ss? ss? ss? ss? sI ss? sb}", "from", *from ? from : NULL, "to", *to ? to : NULL,
                      "platform", o->platform.at, "source", o->source.at, "ids", (json_int_t)o->nids,
                      "receipt", o->by_receipt ? receipt.at : NULL, "force", (int)o->force);
    return json_line(scope, j->arena);
}

static void read_words(struct job *j)
{
    const struct platforms *set = j->session.platforms;
    size_t most = 0, n = platforms_count(set);
    struct words *w = &j->words;

    for (size_t i = 0; i < n; i++)
        most += platforms_at(set, i)->nsuccess + platforms_at(set, i)->nfailure + 1;
    *w = (struct words){
        .platforms = arena_alloc(j->arena, most * sizeof(struct span) + 1),
        .words = arena_alloc(j->arena, most * sizeof(struct span) + 1),
        .decisive = arena_alloc(j->arena, most * sizeof(int16_t) + 1),
        .known = arena_alloc(j->arena, n * sizeof(struct span) + 1),
    };
    for (size_t i = 0; i < n; i++) {
        const struct platform *p = platforms_at(set, i);

        w->known[w->nknown++] = p->name;
        add_word(w, p, SPAN("published")); /* platform_decides knows it, whatever a descriptor lists */
        for (size_t k = 0; k < p->nsuccess; k++)
            add_word(w, p, p->success[k]);
        for (size_t k = 0; k < p->nfailure; k++)
            add_word(w, p, p->failure[k]);
    }
}

/* Each word of a platform once. */
static void add_word(struct words *w, const struct platform *p, struct span word)
{
    for (size_t i = w->n; i > 0 && span_eq(w->platforms[i - 1], p->name); i--)
        if (span_eq(w->words[i - 1], word))
            return;
    w->platforms[w->n] = p->name;
    w->words[w->n] = word;
    w->decisive[w->n++] = (int16_t)platform_decides(p, word);
}

static enum status pass(struct job *j, bool writes, struct err *err)
{
    bool refused;

    j->writes = writes;
    j->ids_done = 0;
    j->place_us = j->options->from_us;
    j->place_key = SPAN("");
    j->at_end = false;
    while (!j->at_end) {
        j->interrupted = session_stopping();
        if (j->interrupted)
            return OK;
        if (batch_do(&j->session, do_page, j, &refused, err))
            return err->code;
        if (refused && j->page.nrows == 0)
            return err->code;
        if (refused) {
            log_warn("row_left_out", LOG_ID("log_id", &j->page.rows[0].id), LOG_ERR(err));
            j->report.left_out++;
        } else if (writes) {
            j->report = j->next;
        } else {
            plan_page(j);
        }
        go_on(j);
        report_progress(&j->report);
    }
    return OK;
}

static enum status do_page(void *job, size_t rows, struct err *err)
{
    struct job *j = job;
    const struct options *o = j->options;
    size_t ids = j->nids - j->ids_done;
    struct pg_args args;

    j->asked = j->nids > 0 && rows > ids ? ids : rows;
    pg_args_init(&args, j->session.arena);
    pg_arg_uuids(&args, j->nids > 0 ? j->ids + j->ids_done : NULL, j->nids > 0 ? j->asked : 0);
    pg_arg_time(&args, j->place_us);
    pg_arg_bytes(&args, j->place_key);
    pg_arg_time(&args, o->to_us == TIME_NONE ? j->session.began_us : o->to_us);
    pg_arg_text(&args, o->platform);
    pg_arg_text(&args, o->source);
    pg_arg_int(&args, (int64_t)rows);
    pg_arg_texts(&args, j->words.platforms, j->words.n);
    pg_arg_texts(&args, j->words.words, j->words.n);
    pg_arg_smalls(&args, j->words.decisive, j->words.n);
    pg_arg_texts(&args, j->words.known, j->words.nknown);
    if (page_read(&j->page, &j->session, SQL_PUBLICATION_REPLAY, &args, err))
        return err->code;
    for (size_t i = 0; i < j->page.nrows; i++)
        decide(j, &j->page.rows[i], i);
    return j->writes ? write_page(j, err) : OK;
}

static void decide(struct job *j, struct row *r, size_t at)
{
    /* Of publication_replay, behind enum column. */
    enum { RESTS_ON_KNOWN = COLUMN_WITNESS + 1, WEIGHED_AT, WEIGHED_KEY };
    const struct verdict_rules rules = {.evidence_before_us = j->deadlines.evidence_before_us};
    const struct pg_rows *rows = j->page.source;

    r->replayed = true;
    r->publication.rests_on_known = pg_int(rows, at, RESTS_ON_KNOWN) != 0;
    if (!pg_is_null(rows, at, WEIGHED_KEY))
        r->weighed = (struct evidence){
            .received = true,
            .decisive = 1, /* either way: only its place in the order counts */
            .time_us = pg_time(rows, at, WEIGHED_AT),
            .key = pg_bytes(rows, at, WEIGHED_KEY),
        };
    r->verdict = verdict_anew(&r->publication, &r->strongest, &rules);
}

static enum status write_page(struct job *j, struct err *err)
{
    struct session *s = &j->session;
    struct pg_args args;

    if (page_write(&j->page, s, err))
        return err->code;
    j->next = j->report;
    for (size_t i = 0; i < j->page.nrows; i++) {
        const struct row *r = &j->page.rows[i];
        report_count(&j->next, r->platform, &r->id, r->verdict, r->written);
    }
    pg_args_init(&args, s->arena);
    pg_arg_uuid(&args, &s->options->run_id);
    pg_arg_int(&args, j->next.read);
    pg_arg_json(&args, report_json(&j->next, false, s->arena));
    return pg_run(s->pg, SQL_RUN_PROGRESS, &args, WAIT_MS, NULL, err);
}

static void go_on(struct job *j)
{
    j->at_end = j->page.nread < j->asked;
    if (j->nids > 0) {
        j->ids_done += j->asked;
        j->at_end = j->ids_done >= j->nids;
    } else if (j->page.nread > 0) {
        j->place_us = j->page.place_us;
        memcpy(j->place_bytes, j->page.place_key.at, j->page.place_key.len);
        j->place_key = (struct span){j->place_bytes, j->page.place_key.len};
    }
}

static void plan_page(struct job *j)
{
    for (size_t i = 0; i < j->page.nrows; i++)
        plan_row(&j->plan, &j->page.rows[i]);
}

/* Beyond so many platforms the totals still count. */
static void plan_row(struct plan *plan, const struct row *r)
{
    enum change change = change_of(r);
    size_t at = 0;

    plan->looked_at++;
    if (change == CHANGES)
        return;
    plan->planned += changes[change].changes_state;
    while (at < plan->nplatforms && !span_eq(span_of(plan->platforms[at].platform), r->platform))
        at++;
    if (at == REPORT_PLATFORMS_MAX || r->platform.len >= PLATFORM_NAME_BYTES)
        return;
    if (at == plan->nplatforms) {
        memcpy(plan->platforms[at].platform, r->platform.at, r->platform.len);
        plan->nplatforms++;
    }
    plan->platforms[at].n[change]++;
}

/* CHANGES: none. */
static enum change change_of(const struct row *r)
{
    bool success = r->verdict.action == ACT_SUCCESS, settled = r->publication.rests != RESTS_OPEN;

    if (r->verdict.action == ACT_SKIP_UNCLEAR)
        return UNCLEAR;
    if (!verdict_writes(r->verdict))
        return CHANGES;
    if (!settled)
        return success ? OPEN_SUCCESS : OPEN_FAILED;
    if ((r->publication.state == PUB_SUCCESS) == success)
        return REFRESHED;
    return success ? FAILED_SUCCESS : SUCCESS_FAILED;
}

static void print_plan(const struct job *j)
{
    const struct plan *plan = &j->plan;

    log_info("replay_planned", LOG_INT("looked_at", plan->looked_at), LOG_INT("planned", plan->planned),
             LOG_INT("limit", plan->limit));
    if (j->options->common.json)
        return;
    report_progress_end(&j->report);
    printf("plan: of %" PRId64 " publications %" PRId64 " change (limit without --force: %" PRId64 ")\n",
           plan->looked_at, plan->planned, plan->limit);
    for (size_t i = 0; i < plan->nplatforms; i++)
        for (size_t k = 0; k < CHANGES; k++)
            if (plan->platforms[i].n[k] > 0)
                printf("  %-20s %-20s %10" PRId64 "\n", plan->platforms[i].platform, changes[k].name,
                       plan->platforms[i].n[k]);
    fflush(stdout);
}

static int finish(struct job *j, struct err *err)
{
    struct session *s = &j->session;
    bool dry_run = j->options->common.dry_run;
    struct span json;
    int code;

    report_progress_end(&j->report);
    end_run(j, err);
    code = err->code ? exit_code(err) : j->report.stopped_by && !dry_run ? EX_TEMPFAIL : EX_OK;
    if (err->code == REJECTED)
        fprintf(stderr, "settle-reconciler replay: %s\n", err->text);
    else if (err->code && code != EX_OK)
        log_error("run_failed", LOG_ID("run_id", &s->options->run_id), LOG_TEXT("outcome", j->report.outcome),
                  LOG_ERR(err));
    page_release(&j->page);
    deadlines_free(&j->deadlines);
    json = whole_report(j, true, j->arena);
    session_close(s);

    if (j->options->common.json)
        printf("%.*s\n", SPAN_ARG(json));
    else if (!dry_run)
        report_print(&j->report, false, stdout);
    return fflush(stdout) == 0 ? code : EX_SOFTWARE;
}

static void set_outcome(struct job *j, const struct err *err)
{
    struct report *r = &j->report;
    bool dry_run = j->options->common.dry_run;

    r->outcome = dry_run ? "dry_run" : "done";
    if (is_cause(err, "lock_held") || is_cause(err, "not_found") || is_cause(err, "unmatched")) {
        r->outcome = err->cause;
    } else if (err->code) {
        r->outcome = is_cause(err, "fence_lost") ? "fence_lost" : "failed";
        r->stopped_by = is_cause(err, "fence_lost") ? "fence" : "error";
    } else if (j->interrupted) {
        r->outcome = "interrupted";
        r->stopped_by = "signal";
    } else if (j->guarded) {
        r->outcome = dry_run ? "dry_run" : "guard";
        r->stopped_by = "guard";
    }
    if (err->code)
        snprintf(r->message, sizeof(r->message), "%s", err->text);
}

static bool is_cause(const struct err *err, const char *cause)
{
    return err->code && err->cause && strcmp(err->cause, cause) == 0;
}

/* Who lost the fence writes nothing: the next replay ends the row. */
static void end_run(struct job *j, struct err *err)
{
    struct err end = {0};
    bool refused;

    set_outcome(j, err);
    if (!j->session.lock.epoch || is_cause(err, "fence_lost"))
        return;
    if (batch_do(&j->session, write_end, j, &refused, &end) == OK && !refused)
        return;
    log_warn("end_not_written", LOG_ERR(&end));
    if (!err->code) {
        *err = end;
        set_outcome(j, err);
    }
}

static enum status write_end(void *job, size_t rows, struct err *err)
{
    struct job *j = job;
    const struct report *r = &j->report;
    const struct ending end = {
        .outcome = r->outcome,
        .success = strcmp(r->outcome, "done") == 0,
        .nread = r->read,
        .report = whole_report(j, true, j->session.arena),
        .error_code = r->stopped_by,
        .message = r->message[0] ? span_of(r->message) : SPAN_NONE,
    };

    (void)rows;
    return ending_write(&j->session, &end, err);
}

/* The report of publications, and the plan. */
static struct span whole_report(const struct job *j, bool ids, struct arena *arena)
{
    json_t *all = report_object(&j->report, ids);

    json_object_set_new(all, "plan", plan_json(&j->plan));
    return json_line(all, arena);
}

static json_t *plan_json(const struct plan *plan)
{
    json_t *by_platform = json_object();

    for (size_t i = 0; i < plan->nplatforms; i++) {
        json_t *counts = json_object();

        for (size_t k = 0; k < CHANGES; k++)
            if (plan->platforms[i].n[k] > 0)
                json_object_set_new(counts, changes[k].name,
                                    json_integer((json_int_t)plan->platforms[i].n[k]));
        json_object_set_new(by_platform, plan->platforms[i].platform, counts);
    }
    return json_pack("{sI sI sI so}", "looked_at", (json_int_t)plan->looked_at, "planned",
                     (json_int_t)plan->planned, "limit", (json_int_t)plan->limit, "by_platform", by_platform);
}
