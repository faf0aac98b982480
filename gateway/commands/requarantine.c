/* requarantine: verifies the refused requests of a source again, against the time they arrived, with the present
 * secrets, and takes in what is good. A page at a time: its receipts are stored and its requests leave the quarantine in
 * one transaction, so it may be killed and repeated at will. */
#include "base/log.h"
#include "base/now.h"
#include "command.h"
#include "domain/handshake.h"
#include "kept.h"
#include "receipt_row.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include <jansson.h>

enum {
    PAGE_ROWS = 500,
    PAGE_BYTES = 8 * 1024 * 1024, /* of bodies, but for the last one */
    TRIES_MAX = 3,                /* of a transaction that has to let another pass */
    CAUSES_MAX = NREFUSALS + 2,
};

/* A kept request, and what is known of whom it is from. */
struct kept {
    struct id id;
    const struct platform *platform; /* NULL: unknown by now */
    const struct source *source;     /* NULL: unknown by now */
    struct span headers;             /* as they were kept */
    struct request request;
};

/* A kept request whose signature holds now. */
struct good {
    struct receipt_origin origin;
    const struct event *events; /* none: a handshake, for which nobody waits any more */
    size_t nevents;
    const char *refusal; /* of Postgres: NULL, or why only its bytes are stored */
};

struct job {
    const struct common_options *options;
    struct settings settings;
    struct pg *pg;
    struct arena *arena; /* of the page at work */
    struct {
        int64_t received_us; /* TIME_NONE: before the oldest */
        struct id id;
    } cursor;
    int64_t until_us;
    struct good good[PAGE_ROWS];
    size_t ngood;
    struct receipt_rows rows;
    int64_t nread, ntaken, nhandshakes, nreceipts, nknown;
    struct {
        const char *word;
        int64_t n;
        struct id first; /* one of them */
    } causes[CAUSES_MAX];
    size_t ncauses;
    int64_t told_boot_us;
};

static int run(int argc, char **argv);
static error_t parse_option(int key, char *value, struct argp_state *state);
static enum status check_names(const struct job *j, struct err *err);
static enum status work(struct job *j, struct err *err);
static enum status read_page(struct job *j, struct pg_rows **ret, struct err *err);
static void judge(struct job *j, const struct pg_rows *rows, size_t at);
static struct kept read_row(const struct job *j, const struct pg_rows *rows, size_t at);
static void take(struct job *j, const struct kept *k, const struct verified *v);
static void count_cause(struct job *j, const char *word, const struct id *id);
static enum status store(struct job *j, struct good *good, size_t n, struct err *err);
static enum status store_one(struct job *j, struct good *good, struct err *err);
static enum status store_together(struct job *j, const struct good *good, size_t n, struct err *err);
static enum status transact(struct job *j, const struct good *good, size_t n, int64_t *ret_new,
                            struct err *err);
static enum status insert_all(struct job *j, const struct good *good, size_t n, int64_t *ret_new,
                              struct err *err);
static enum status insert(struct job *j, int64_t *ret_new, struct err *err);
static enum status remove_all(struct job *j, const struct good *good, size_t n, struct err *err);
static void progress(struct job *j, bool ends);
static void report(const struct job *j);
static void report_json(const struct job *j);

const struct command requarantine_command = {
    "requarantine", "verify a source's refused requests again and take in what is good now", run};

static const struct argp_option option_table[] = {
    {"source",   OPTION_SOURCE,   "NAME", 0, "Whose requests (\"default\" where a source has no name)",  1},
    {"platform", OPTION_PLATFORM, "NAME", 0, "Only this platform's (default: all that have the source)", 1},
    {"dry-run",  OPTION_DRY_RUN,  NULL,   0, "Change nothing, count what would be taken in",             1},
    {"json",     OPTION_JSON,     NULL,   0, "Print the report as JSON",                                 1},
    {NULL,       0,               NULL,   0, NULL,                                                       0},
};
static const struct argp argp = {
    .options = option_table,
    .parser = parse_option,
    .children = common_children,
    .doc = "After a wrong secret was mended: verifies what was refused and kept again, each request by the "
           "time it arrived, "
           "and stores the receipts of those whose signature holds now, as if they had just been accepted. "
           "The others "
           "stay. Safe to repeat and to kill. It logs in to Postgres as settle_requarantine.",
};

static int run(int argc, char **argv)
{
    struct common_options o = {.source = NULL};
    struct job *j = calloc(1, sizeof(*j)); /* large: not for the stack */
    struct err err = {0};
    int code;

    if (!j)
        abort();
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    j->options = &o;
    code = command_open(&j->settings, &o, NULL);
    if (code == EX_OK) {
        j->arena = arena_open(1 << 20);
        if (check_names(j, &err))
            code = command_fail(&err, EX_USAGE);
        else if (work(j, &err))
            code = command_fail(&err, EX_CONFIG);
        if (j->pg)
            report(j); /* also of what was done before it failed */
        pg_close(j->pg);
        arena_close(j->arena);
        settings_close(&j->settings);
    }
    free(j);
    return code;
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct common_options *o = state->input;

    if (key == ARGP_KEY_END && !o->source)
        argp_error(state, "--source NAME is missing");
    return command_parse(key, value, o, state);
}

static enum status check_names(const struct job *j, struct err *err)
{
    const struct platforms *set = j->settings.platforms;
    struct span source = span_of(j->options->source);
    const struct platform *p;
    const struct source *s;

    if (j->options->platform)
        return command_source(&j->settings, span_of(j->options->platform), source, &p, &s, err);
    for (size_t i = 0; i < platforms_count(set); i++)
        if (platform_source(platforms_at(set, i), source))
            return OK;
    return err_set(err, INVALID, "no platform has a source \"%.*s\" with a secret", SPAN_ARG(source));
}

static enum status work(struct job *j, struct err *err)
{
    enum status status = OK;
    size_t n = PAGE_ROWS;

    j->pg = kept_connect(j->settings.config, "settle-gateway requarantine", j->options->dry_run, err);
    if (!j->pg)
        return err->code;
    j->cursor.received_us = TIME_NONE;
    j->until_us = now_wall_us();
    j->told_boot_us = now_boot_us();
    while (status == OK && n > 0) {
        struct pg_rows *page;

        arena_reset(j->arena);
        status = read_page(j, &page, err);
        if (status)
            break;
        n = pg_nrows(page);
        j->ngood = 0;
        for (size_t i = 0; i < n; i++)
            judge(j, page, i);
        status = store(j, j->good, j->ngood, err);
        pg_rows_free(page);
        progress(j, false);
    }
    progress(j, true);
    return status;
}

static enum status read_page(struct job *j, struct pg_rows **ret, struct err *err)
{
    struct pg_args args;

    pg_args_init(&args, j->arena);
    pg_arg_text(&args, span_of(j->options->source));
    pg_arg_text(&args, span_of(j->options->platform));
    pg_arg_time(&args, j->until_us);
    pg_arg_time(&args, j->cursor.received_us);
    pg_arg_uuid(&args, &j->cursor.id);
    pg_arg_int(&args, PAGE_ROWS);
    pg_arg_int(&args, PAGE_BYTES);
    if (pg_run(j->pg, SQL_REFUSED_WALK, &args, KEPT_WAIT_MS, ret, err))
        return err_in(err, "reading refused requests");
    return OK;
}

static void judge(struct job *j, const struct pg_rows *rows, size_t at)
{
    struct kept k = read_row(j, rows, at);
    struct verified verified;
    struct err why;

    j->nread++;
    j->cursor.id = k.id;
    j->cursor.received_us = k.request.received_us;
    if (!k.source)
        count_cause(j, k.platform ? "no_secret" : "unknown_platform", &k.id);
    else if (scheme_verify(k.platform, k.source, &k.request, &verified, &why))
        count_cause(j, why.cause, &k.id);
    else
        take(j, &k, &verified);
}

static struct kept read_row(const struct job *j, const struct pg_rows *rows, size_t at)
{
    struct kept k = {
        .id = pg_uuid(rows, at, 0),
        .platform = platforms_find(j->settings.platforms, pg_bytes(rows, at, 1)),
        .headers = pg_bytes(rows, at, 3),
    };

    if (k.platform)
        k.source = platform_source(k.platform, span_of(j->options->source));
    k.request = kept_request(k.headers, pg_bytes(rows, at, 4), pg_time(rows, at, 2), j->arena);
    return k;
}

static void take(struct job *j, const struct kept *k, const struct verified *v)
{
    const struct platform *p = k->platform;
    struct good *g = &j->good[j->ngood++];
    struct handshake_answer ignored;
    struct event *events;

    *g = (struct good){
        .origin = {.delivery_id = k->id,
                   .platform = p->name,
                   .source = k->source->name,
                   .key_id = k->source->secrets[v->secret].key_id,
                   .received_us = k->request.received_us,
                   .headers = k->headers.at ? k->headers : SPAN(""),
                   .body = k->request.body}
    };
    if (handshake_post(p, k->source, v->secret, &k->request, j->arena, &ignored))
        return;
    events_read(p, k->source->name, v, &k->request, j->arena, &events, &g->nevents);
    g->events = events;
    g->origin.is_shared = g->nevents > 1;
}

static void count_cause(struct job *j, const char *word, const struct id *id)
{
    size_t i = 0;

    while (i < j->ncauses && strcmp(j->causes[i].word, word) != 0)
        i++;
    if (i == CAUSES_MAX)
        return;
    if (i == j->ncauses) {
        j->causes[i].word = word;
        j->causes[i].first = *id;
        j->ncauses++;
    }
    j->causes[i].n++;
}

/* Where Postgres refuses what one of them holds, each goes alone, so that it costs none of the others. */
static enum status store(struct job *j, struct good *good, size_t n, struct err *err)
{
    enum status status = n > 0 ? store_together(j, good, n, err) : OK;

    if (status != REJECTED)
        return status;
    for (size_t i = 0; i < n; i++)
        if (store_one(j, &good[i], err))
            return err->code;
    return OK;
}

static enum status store_one(struct job *j, struct good *good, struct err *err)
{
    if (store_together(j, good, 1, err) != REJECTED)
        return err->code;
    good->refusal = arena_print(j->arena, "refused by Postgres (%s)", err->sqlstate);
    log_warn("receipt_refused", LOG_ID("delivery_id", &good->origin.delivery_id),
             LOG_SPAN("platform", good->origin.platform), LOG_ERR(err));
    return store_together(j, good, 1, err);
}

static enum status store_together(struct job *j, const struct good *good, size_t n, struct err *err)
{
    int64_t nnew = 0, nevents = 0;

    *err = (struct err){.code = OK};
    for (int tries = 0; !j->options->dry_run; tries++) {
        if (transact(j, good, n, &nnew, err) == OK)
            break;
        if (strncmp(err->sqlstate, "40", 2) != 0 || tries + 1 == TRIES_MAX) /* not a deadlock or the like */
            return err->code;
        *err = (struct err){.code = OK};
    }
    for (size_t i = 0; i < n; i++) {
        nevents += (int64_t)good[i].nevents;
        j->nhandshakes += good[i].nevents == 0;
    }
    j->ntaken += (int64_t)n;
    if (!j->options->dry_run) {
        j->nreceipts += nnew;
        j->nknown += nevents - nnew;
    }
    return OK;
}

static enum status transact(struct job *j, const struct good *good, size_t n, int64_t *ret_new,
                            struct err *err)
{
    struct err ignored;

    *ret_new = 0;
    if (pg_command(j->pg, "begin", KEPT_WAIT_MS, err))
        return err->code;
    if (insert_all(j, good, n, ret_new, err) || remove_all(j, good, n, err)) {
        if (err->code != UNAVAILABLE ||
            err->sqlstate[0] != '\0') /* else the connection is lost, and with it all this */
            (void)!pg_command(j->pg, "rollback", KEPT_WAIT_MS, &ignored);
        return err_in(err, "storing receipts");
    }
    return pg_command(j->pg, "commit", KEPT_WAIT_MS, err);
}

static enum status insert_all(struct job *j, const struct good *good, size_t n, int64_t *ret_new,
                              struct err *err)
{
    receipt_rows_clear(&j->rows);
    for (const struct good *g = good; g < good + n; g++) {
        if (j->rows.n + g->nevents > RECEIPT_ROWS_MAX && insert(j, ret_new, err))
            return err->code;
        for (size_t i = 0; i < g->nevents; i++)
            receipt_rows_add(&j->rows, &g->origin, &g->events[i], g->refusal);
    }
    return insert(j, ret_new, err);
}

static enum status insert(struct job *j, int64_t *ret_new, struct err *err)
{
    struct pg_rows *stored;
    struct pg_args args;
    enum sql statement;

    if (j->rows.n == 0)
        return OK;
    pg_args_init(&args, j->arena);
    statement = receipt_rows_args(&j->rows, &args);
    if (pg_run(j->pg, statement, &args, KEPT_WAIT_MS, &stored, err))
        return err->code;
    *ret_new += (int64_t)pg_nrows(stored);
    pg_rows_free(stored);
    receipt_rows_clear(&j->rows);
    return OK;
}

static enum status remove_all(struct job *j, const struct good *good, size_t n, struct err *err)
{
    struct id *ids = arena_alloc(j->arena, n * sizeof(*ids));
    struct pg_args args;

    for (size_t i = 0; i < n; i++)
        ids[i] = good[i].origin.delivery_id;
    pg_args_init(&args, j->arena);
    pg_arg_text(&args, span_of(j->options->source));
    pg_arg_uuids(&args, ids, n);
    return pg_run(j->pg, SQL_REFUSED_TAKE, &args, KEPT_WAIT_MS, NULL, err);
}

static void progress(struct job *j, bool ends)
{
    int64_t now_us = now_boot_us();

    if (isatty(STDERR_FILENO)) {
        if (ends)
            fputs("\r\033[K", stderr);
        else
            fprintf(stderr, "\r%" PRId64 " looked at, %" PRId64 " taken in", j->nread, j->ntaken);
    } else if (!ends && now_us - j->told_boot_us >= 10 * SECOND_US) {
        log_info("requarantine_goes_on", LOG_INT("read", j->nread), LOG_INT("taken_in", j->ntaken));
        j->told_boot_us = now_us;
    }
}

/* What stays is told with one request as an example, for whoever wants to know why. */
static void report(const struct job *j)
{
    char id[ID_TEXT_BYTES];

    if (j->options->json) {
        report_json(j);
        return;
    }
    printf("%" PRId64 " refused requests looked at\n", j->nread);
    printf("%" PRId64 " %s", j->ntaken, j->options->dry_run ? "would be taken in" : "taken in");
    if (!j->options->dry_run)
        printf(": %" PRId64 " new receipts, %" PRId64 " known ones", j->nreceipts, j->nknown);
    printf("%s\n", j->nhandshakes > 0 ? " (handshakes among them, which leave none)" : "");
    for (size_t i = 0; i < j->ncauses; i++) {
        id_text(&j->causes[i].first, id);
        printf("%" PRId64 " stay: %s, one is %s\n", j->causes[i].n, j->causes[i].word, id);
    }
    if (j->ncauses > 0)
        puts("settle-gateway verify --refused ID says why one is refused");
}

static void report_json(const struct job *j)
{
    json_t *causes = json_object(), *examples = json_object(), *all;
    char id[ID_TEXT_BYTES];

    for (size_t i = 0; i < j->ncauses; i++) {
        id_text(&j->causes[i].first, id);
        json_object_set_new(causes, j->causes[i].word, json_integer(j->causes[i].n));
        json_object_set_new(examples, j->causes[i].word, json_string(id));
    }
    all = json_pack("{ss ss* sb sI sI sI sI sI so so}", "source", j->options->source, "platform",
                    j->options->platform, "dry_run", (int)j->options->dry_run, "read", (json_int_t)j->nread,
                    "taken_in", (json_int_t)j->ntaken, "receipts_new", (json_int_t)j->nreceipts,
                    "receipts_known", (json_int_t)j->nknown, "handshakes", (json_int_t)j->nhandshakes, "stay",
                    causes, "stay_examples", examples);
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}
