/* spool: what an operator does with the spool's files where no gateway holds them: list them, print what is in them, bring
 * it to Postgres. */
#include "base/now.h"
#include "command.h"
#include "delivery.h"
#include "receipt_row.h"
#include "spoolfile.h"
#include "store/pg.h"
#include "store/sqlstate.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include <jansson.h>

enum {
    PAGE_RECORDS = 256,
    PAGE_BYTES = 4 * 1024 * 1024, /* but for the last one */
    STATEMENT_MS = 10000,
    WAIT_MS = 15000,
    TRIES_MAX = 3,   /* of a statement that has to let another pass */
    BLAMES_MAX = 64, /* records that fail in a row: then it is none's fault */
};

struct options {
    struct common_options common;
    const char *action;
};

struct job {
    const struct options *options;
    struct settings settings;
    const char *folder;
    struct arena *arena; /* of the page at work */
    struct pg *pg;
    struct receipt_rows rows;
    unsigned nblamed; /* records that failed alone, in a row */
    json_t *files;    /* of list */
    uint64_t nheld, nunreadable, ndamaged, ndrained, nstay;
};

/* A record and what it says. */
struct spooled {
    const struct spool_record *record;
    const struct source *source; /* NULL: not configured */
    const struct event *events;
    size_t nevents;
    bool is_stored;
};

static int run(int argc, char **argv);
static error_t parse_option(int key, char *value, struct argp_state *state);
static enum status work(struct job *j, struct err *err);
static enum status connect_pg(struct job *j, struct err *err);
static enum status visit(struct job *j, const char *name, struct err *err);
static void list_file(struct job *j, const char *name, const char *state, const struct spoolfile *f);
static enum status walk(struct job *j, struct spoolfile *f, struct err *err);
static void export_record(const struct job *j, const char *file, const struct spool_record *r);
static json_t *shown_headers(const struct job *j, const struct spool_record *r);
static bool is_secret(const struct platform *p, struct span header);
static json_t *base64(struct span bytes);
static enum status drain_page(struct job *j, struct spoolfile *f, const struct spool_record *records,
                              size_t n, struct err *err);
static void read_record(struct job *j, const struct spool_record *r, struct spooled *ret);
static enum status store(struct job *j, struct spooled *all, size_t n, struct err *err);
static enum status store_alone(struct job *j, struct spooled *s, struct err *err);
static enum status insert(struct job *j, struct spooled *all, size_t n, const char *refusal, struct err *err);
static int report(const struct job *j);

const struct command spool_command = {"spool", "list, export or drain what the spool holds", run};

static const struct argp_option option_table[] = {
    {"json", OPTION_JSON, NULL, 0, "list: print JSON", 1},
    {NULL,   0,           NULL, 0, NULL,               0},
};
static const struct argp argp = {
    .options = option_table,
    .parser = parse_option,
    .args_doc = "list|export|drain",
    .children = common_children,
    .doc = "The spool's files in spool.folder, as far as no running gateway holds them; those that were set "
           "aside after "
           "a fault as well.\v"
           "list shows the files. export prints each delivery as a line of JSON, its body in base64, without "
           "headers "
           "that hold a credential, and leaves it where it is. drain stores them in Postgres as "
           "settle_gateway and then "
           "removes them. Exit 75 if a gateway holds some of the files, or something stays.",
};

static int run(int argc, char **argv)
{
    struct options o = {.action = NULL};
    struct job *j = calloc(1, sizeof(*j)); /* large: not for the stack */
    struct err err = {0};
    int code;

    if (!j)
        abort();
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    j->options = &o;
    code = command_open(&j->settings, &o.common, NULL);
    if (code == EX_OK) {
        j->arena = arena_open(1 << 20);
        j->files = json_array();
        code = work(j, &err) ? command_fail(&err, EX_CONFIG) : EX_OK;
        if (code == EX_OK || j->ndrained > 0)
            code = code ? code : report(j);
        json_decref(j->files);
        pg_close(j->pg);
        arena_close(j->arena);
        settings_close(&j->settings);
    }
    free(j);
    return code;
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->common;
        return 0;
    case ARGP_KEY_ARG:
        if (o->action ||
            (strcmp(value, "list") != 0 && strcmp(value, "export") != 0 && strcmp(value, "drain") != 0))
            argp_error(state, "\"%s\" is not list, export or drain", value);
        o->action = value;
        return 0;
    case ARGP_KEY_END:
        if (!o->action)
            argp_error(state, "list, export or drain is missing");
        return 0;
    default:
        return command_parse(key, value, &o->common, state);
    }
}

static enum status work(struct job *j, struct err *err)
{
    struct arena *arena = arena_open(4096);
    const char **names;
    size_t n = 0;
    enum status status = OK;

    j->folder = j->settings.config->spool.folder;
    if (!j->folder)
        status = err_set(err, INVALID, "spool.folder is empty: there is no spool");
    else
        status = spoolfile_names(j->folder, arena, &names, &n, err);
    if (status == OK && strcmp(j->options->action, "drain") == 0)
        status = connect_pg(j, err);
    for (size_t i = 0; status == OK && i < n; i++)
        status = visit(j, names[i], err);
    arena_close(arena);
    return status;
}

static enum status connect_pg(struct job *j, struct err *err)
{
    const struct pg_config pg = {
        .url = j->settings.config->database.url,
        .user = "settle_gateway",
        .application = "settle-gateway spool",
        .connect_timeout_s = 5,
        .statement_timeout_ms = STATEMENT_MS,
        .prepare = j->settings.config->database.prepare,
        .unsafe_ok = j->settings.config->unsafe_ok,
    };

    j->pg = pg_connect(&pg, err);
    return j->pg ? OK : err->code;
}

/* What one file does not give does not keep us from the next. */
static enum status visit(struct job *j, const char *name, struct err *err)
{
    struct spoolfile *f;
    struct err why = {0};
    enum status status = OK;
    int lock = spoolfile_lock(j->folder, spoolfile_id(name), &why);

    if (lock < 0 && why.code) {
        *err = why;
        return err->code;
    }
    if (lock < 0) {
        j->nheld++;
        list_file(j, name, "held", NULL);
        return OK;
    }
    f = spoolfile_open(j->folder, name, false, &why);
    list_file(j, name, f ? "free" : "unreadable", f);
    if (f && strcmp(j->options->action, "list") != 0)
        status = walk(j, f, &why);
    if (!f || (status && why.cause && strcmp(why.cause, "spool_broken") == 0)) {
        fprintf(stderr, "settle-gateway: %s\n", why.text);
        j->nunreadable++;
        status = OK;
    } else if (status) {
        *err = why;
    }
    if (f && j->pg && status == OK && spoolfile_size(f).nrecords == 0)
        spoolfile_retire(f);
    else
        spoolfile_close(f);
    close(lock);
    return status;
}

static void list_file(struct job *j, const char *name, const char *state, const struct spoolfile *f)
{
    struct spoolfile_size size = f ? spoolfile_size(f) : (struct spoolfile_size){.oldest_us = TIME_NONE};
    char oldest[TIME_TEXT_BYTES] = "";

    if (strcmp(j->options->action, "list") != 0)
        return;
    if (size.oldest_us != TIME_NONE)
        time_text(size.oldest_us, oldest, sizeof(oldest));
    json_array_append_new(j->files, json_pack("{ss ss so so ss*}", "file", name, "state", state, "records",
                                              f ? json_integer((json_int_t)size.nrecords) : json_null(),
                                              "bytes", f ? json_integer((json_int_t)size.bytes) : json_null(),
                                              "oldest_received_at", oldest[0] ? oldest : NULL));
}

static enum status walk(struct job *j, struct spoolfile *f, struct err *err)
{
    int64_t after, last = 0;
    enum status status;

    do {
        struct spool_record *records;
        size_t n, ndamaged;

        after = last;
        arena_reset(j->arena);
        status =
            spoolfile_read(f, after, PAGE_RECORDS, PAGE_BYTES, j->arena, &records, &n, &last, &ndamaged, err);
        if (status)
            break;
        j->ndamaged += ndamaged;
        if (j->pg)
            status = drain_page(j, f, records, n, err);
        else
            for (size_t i = 0; i < n; i++)
                export_record(j, spoolfile_name_of(f), &records[i]);
    } while (status == OK && last != after);
    return status;
}

static void export_record(const struct job *j, const char *file, const struct spool_record *r)
{
    char id[ID_TEXT_BYTES], received[TIME_TEXT_BYTES];
    json_t *line;

    id_text(&r->delivery_id, id);
    time_text(r->received_us, received, sizeof(received));
    line = json_pack("{ss sI ss ss ss% ss% ss% so so}", "file", file, "seq", (json_int_t)r->seq,
                     "delivery_id", id, "received_at", received, "platform", r->platform.at, r->platform.len,
                     "source", r->source.at, r->source.len, "key_id", r->key_id.at, r->key_id.len, "headers",
                     shown_headers(j, r), "body", base64(r->body));
    json_dumpf(line, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(line);
}

/* As pairs, since a name may come twice. What is no UTF-8 is shown as null. */
static json_t *shown_headers(const struct job *j, const struct spool_record *r)
{
    struct request request = delivery_read_kept(r->headers, SPAN_NONE, r->received_us, j->arena);
    const struct platform *p = platforms_find(j->settings.platforms, r->platform);
    json_t *all = json_array();

    for (size_t i = 0; i < request.nheaders; i++) {
        const struct header *h = &request.headers[i];
        json_t *value = is_secret(p, h->name) ? json_null() : json_stringn(h->value.at, h->value.len);
        json_array_append_new(all, json_pack("[s% o]", h->name.at, h->name.len, value ? value : json_null()));
    }
    if (request.url.at)
        json_array_append_new(all, json_pack("[s s%]", ":url", request.url.at, request.url.len));
    return all;
}

/* Of a platform that nobody knows any more each header may be one. */
static bool is_secret(const struct platform *p, struct span header)
{
    if (!p || span_eq(header, SPAN("authorization")) || span_eq(header, SPAN("proxy-authorization")))
        return true;
    for (size_t i = 0; i < p->scheme.nproofs; i++)
        if (p->scheme.proofs[i].algorithm == ALGORITHM_CREDENTIAL && span_eq(header, p->scheme.header))
            return true;
    return false;
}

static json_t *base64(struct span bytes)
{
    size_t room = sodium_base64_encoded_len(bytes.len, sodium_base64_VARIANT_ORIGINAL);
    char *text = malloc(room);
    json_t *string;

    if (!text)
        abort();
    sodium_bin2base64(text, room, (const unsigned char *)bytes.at, bytes.len, sodium_base64_VARIANT_ORIGINAL);
    string = json_string(text);
    free(text);
    return string;
}

/* Removes what is committed, also if the rest fails. */
static enum status drain_page(struct job *j, struct spoolfile *f, const struct spool_record *records,
                              size_t n, struct err *err)
{
    struct spooled all[PAGE_RECORDS];
    int64_t seqs[PAGE_RECORDS];
    enum status status = OK;
    struct err why = {0};
    size_t nrows = 0, first = 0, nseqs = 0;

    for (size_t i = 0; i < n; i++)
        read_record(j, &records[i], &all[i]);
    for (size_t i = 0; i <= n && status == OK; i++) {
        if (i == n || nrows + all[i].nevents > RECEIPT_ROWS_MAX) {
            status = store(j, all + first, i - first, err);
            first = i;
            nrows = 0;
        }
        nrows += i < n ? all[i].nevents : 0;
    }
    for (size_t i = 0; i < n; i++)
        if (all[i].is_stored)
            seqs[nseqs++] = all[i].record->seq;
    j->ndrained += nseqs;
    j->nstay += n - nseqs;
    if (nseqs > 0 && spoolfile_remove(f, seqs, nseqs, &why)) {
        *err = why;
        return why.code;
    }
    return status;
}

static void read_record(struct job *j, const struct spool_record *r, struct spooled *ret)
{
    const struct platform *p = platforms_find(j->settings.platforms, r->platform);
    const struct verified verified = {.id = r->event_id, .time_us = TIME_NONE};
    struct request request;
    struct event *events;

    *ret = (struct spooled){.record = r, .source = p ? platform_source(p, r->source) : NULL};
    if (!ret->source)
        return;
    request = delivery_read_kept(r->headers, r->body, r->received_us, j->arena);
    events_read(p, r->source, &verified, &request, j->arena, &events, &ret->nevents);
    ret->events = events;
}

/* Where one of them may be at fault, each goes alone: as gateway/batch.c does it. */
static enum status store(struct job *j, struct spooled *all, size_t n, struct err *err)
{
    enum status status = insert(j, all, n, NULL, err);

    if (status == OK || !sqlstate_is_of_rows(err))
        return status;
    if (status != REJECTED && j->nblamed >= BLAMES_MAX) {
        *err = (struct err){.code = OK}; /* they stay */
        return OK;
    }
    for (size_t i = 0; i < n; i++)
        if (store_alone(j, &all[i], err))
            return err->code;
    return OK;
}

/* As it was read, else as bytes alone, else it stays. */
static enum status store_alone(struct job *j, struct spooled *s, struct err *err)
{
    char refusal[64];

    if (insert(j, s, 1, NULL, err) == REJECTED) {
        snprintf(refusal, sizeof(refusal), "refused by Postgres (%s)", err->sqlstate);
        (void)!insert(j, s, 1, refusal, err);
    }
    if (err->code == OK || !sqlstate_is_of_rows(err))
        return err->code;
    j->nblamed += err->code != REJECTED;
    fprintf(stderr, "settle-gateway: Postgres does not take a record: %s\n", err->text);
    *err = (struct err){.code = OK};
    return OK;
}

static enum status insert(struct job *j, struct spooled *all, size_t n, const char *refusal, struct err *err)
{
    struct pg_args args;
    enum sql statement;
    unsigned tries = 0;

    receipt_rows_clear(&j->rows);
    for (struct spooled *s = all; s < all + n; s++) {
        const struct spool_record *r = s->record;
        const struct receipt_origin origin = {
            .delivery_id = r->delivery_id,
            .platform = r->platform,
            .source = r->source,
            .key_id = r->key_id.at,
            .received_us = r->received_us,
            .headers = r->headers,
            .body = r->body,
            .is_shared = s->nevents > 1,
        };
        for (size_t i = 0; i < s->nevents; i++)
            receipt_rows_add(&j->rows, &origin, &s->events[i], refusal);
    }
    *err = (struct err){.code = OK};
    if (j->rows.n == 0)
        return OK;
    pg_args_init(&args, j->arena);
    statement = receipt_rows_args(&j->rows, &args);
    while (pg_run(j->pg, statement, &args, WAIT_MS, NULL, err)) {
        if (strncmp(err->sqlstate, "40", 2) != 0 || ++tries == TRIES_MAX)
            return err->code;
        *err = (struct err){.code = OK};
    }
    for (struct spooled *s = all; s < all + n; s++)
        s->is_stored = s->nevents > 0;
    j->nblamed = 0;
    return OK;
}

static int report(const struct job *j)
{
    json_t *file;
    size_t i;

    if (strcmp(j->options->action, "list") == 0 && j->options->common.json) {
        json_dumpf(j->files, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (strcmp(j->options->action, "list") == 0) {
        printf("%-44s %-10s %10s %12s  %s\n", "FILE", "STATE", "RECORDS", "BYTES", "OLDEST");
        json_array_foreach(j->files, i, file) {
            const char *name = "", *state = "", *oldest = "-";
            json_int_t nrecords = -1, bytes = -1;

            json_unpack(file, "{ss ss s?s}", "file", &name, "state", &state, "oldest_received_at", &oldest);
            json_unpack(file, "{sI sI}", "records", &nrecords, "bytes", &bytes);
            if (nrecords < 0)
                printf("%-44s %-10s %10s %12s  %s\n", name, state, "-", "-", oldest);
            else
                printf("%-44s %-10s %10" JSON_INTEGER_FORMAT " %12" JSON_INTEGER_FORMAT "  %s\n", name, state,
                       nrecords, bytes, oldest);
        }
        return EX_OK;
    } else if (j->pg) {
        fprintf(stderr, "%" PRIu64 " deliveries drained, %" PRIu64 " stay, %" PRIu64 " are damaged\n",
                j->ndrained, j->nstay, j->ndamaged);
    }
    if (strcmp(j->options->action, "list") == 0)
        return EX_OK;
    if (j->nheld > 0)
        fprintf(stderr, "settle-gateway: a running gateway holds %" PRIu64 " of the files\n", j->nheld);
    if (j->nunreadable > 0 || j->ndamaged > 0)
        return EX_DATAERR;
    return j->nheld > 0 || j->nstay > 0 ? EX_TEMPFAIL : EX_OK;
}
