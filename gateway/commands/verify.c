/* verify: says step by step why a request, captured in a file or kept when it was refused, is accepted or refused. It never
 * prints a secret, a signature, or anything from which one could be made. */
#include "base/file.h"
#include "base/now.h"
#include "base/number.h"
#include "command.h"
#include "domain/handshake.h"
#include "domain/moment.h"
#include "domain/secret.h"
#include "hints.h"
#include "ingest.h"
#include "kept.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sysexits.h>

#include <jansson.h>

enum { EXIT_REFUSED = 1, EVENTS_SHOWN = 20 };

struct options {
    struct common_options common;
    const char *url, *file; /* file NULL: a refused one */
    struct id refused;
    bool is_refused;
    int64_t now_us; /* TIME_NONE: now, or when the refused one came */
};

/* One look into one request. */
struct look {
    const struct options *options;
    const struct settings *settings;
    struct arena *arena;
    struct capture capture;
    int64_t came_us; /* of a refused one; TIME_NONE: not known */
    struct span url; /* of a refused one */
    const struct platform *platform;
    const struct source *source;
    struct request request;
    struct hints hints;
    json_t *steps, *events; /* what was said */
};

static int run(int argc, char **argv);
static error_t parse_option(int key, char *value, struct argp_state *state);
static int64_t read_now(const char *text, const struct argp_state *state);
static struct id read_id(const char *text, const struct argp_state *state);
static int look_into(struct look *l);
static enum status read_file(struct look *l, struct err *err);
static int read_refused(struct look *l);
static enum status find_refused(struct look *l, struct pg *pg, struct err *err);
static void keep_row(struct look *l, const struct pg_rows *row);
static enum status choose_source(struct look *l, struct err *err);
static struct span url_of(const struct look *l);
static int explain(struct look *l);
static int explain_get(struct look *l);
static void tell_request(struct look *l);
static void tell_keys(struct look *l);
static void tell_headers(struct look *l);
static void tell_header(struct look *l, struct span name);
static void tell_claim(struct look *l, const struct claim *claim);
static void tell_time(struct look *l, const struct claim *claim, int64_t time_us);
static int tell_refused(struct look *l, const struct doubt *doubt, const char *wrong);
static int tell_accepted(struct look *l, size_t secret, int64_t time_us, struct span id);
static void tell_shape(struct look *l, const struct verified *verified);
static bool is_bare(const struct event *events, size_t n);
static void tell_event(struct look *l, const struct event *e);
static void say(struct look *l, const char *step, const char *format, ...) PRINTF_LIKE(3, 4);
static void make_plain(char *text);
static const char *time_of(const struct look *l, int64_t us);
static int end(struct look *l, bool accepted, const char *cause);

const struct command verify_command = {"verify", "say step by step why a request is accepted or refused",
                                       run};

enum { OPTION_REFUSED = OPTION_OWN, OPTION_NOW, OPTION_URL };

static const struct argp_option option_table[] = {
    {"refused",  OPTION_REFUSED,  "ID",   0,
     "In place of a file: the refused request of this id, as it was kept, by the time it came",                  1},
    {"platform", OPTION_PLATFORM, "NAME", 0, "Check it as this platform's (default: as its path says)",          1},
    {"source",   OPTION_SOURCE,   "NAME", 0, "With the secrets of this source (default: as its path says)",      1},
    {"now",      OPTION_NOW,      "TIME", 0, "When it came, RFC 3339 or seconds since 1970 (default: now)",      1},
    {"url",      OPTION_URL,      "URL",  0, "What the sender called (default: ingest.public_url and its path)", 1},
    {"json",     OPTION_JSON,     NULL,   0, "Print one JSON object",                                            1},
    {NULL,       0,               NULL,   0, NULL,                                                               0},
};
static const struct argp argp = {
    .options = option_table,
    .parser = parse_option,
    .args_doc = "REQUEST-FILE\n--refused ID",
    .children = common_children,
    .doc = "Reads a captured HTTP request (\"-\": from stdin): request line, headers, a blank line, the "
           "exact body; or "
           "with --refused one that the gateway turned away, from Postgres, as settle_requarantine. Says "
           "which headers count, how old it is, which keys were tried, and what comes out of it. No secret "
           "and no right "
           "signature is shown.\vExit codes: 0 accepted, 1 refused, 64 usage, 65 the file is no request "
           "or no such one is "
           "kept, 69 Postgres is down, 78 settings. A "
           "body must be there byte for byte: an editor that adds a newline at its end breaks its signature.",
};

static int run(int argc, char **argv)
{
    struct options o = {.now_us = TIME_NONE};
    struct look l = {.options = &o, .came_us = TIME_NONE};
    struct settings settings;
    int code;

    argp_parse(&argp, argc, argv, 0, NULL, &o);
    code = command_open(&settings, &o.common, NULL);
    if (code)
        return code;
    l.settings = &settings;
    l.arena = arena_open(65536);
    l.steps = json_array();
    l.hints.arena = l.arena;
    l.events = json_array();
    code = look_into(&l);
    json_decref(l.steps);
    json_decref(l.events);
    arena_close(l.arena);
    settings_close(&settings);
    return code;
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case OPTION_REFUSED:
        o->refused = read_id(value, state);
        o->is_refused = true;
        return 0;
    case OPTION_NOW:
        o->now_us = read_now(value, state);
        return 0;
    case OPTION_URL:
        o->url = value;
        return 0;
    case ARGP_KEY_ARG:
        if (o->file)
            argp_error(state, "one REQUEST-FILE at a time: \"%s\"", value);
        o->file = value;
        return 0;
    case ARGP_KEY_END:
        if (!o->file == !o->is_refused)
            argp_error(state, "want one of REQUEST-FILE (\"-\": stdin) and --refused ID");
        return 0;
    default:
        return command_parse(key, value, &o->common, state);
    }
}

static int64_t read_now(const char *text, const struct argp_state *state)
{
    uint64_t seconds;
    int64_t ret = TIME_NONE;

    if (number_parse(span_of(text), 1, UINT64_C(99999999999), &seconds))
        return (int64_t)seconds * SECOND_US;
    if (!strchr(text, 'T') || !moment_parse(span_of(text), &ret))
        argp_error(state,
                   "--now: want seconds since 1970 or RFC 3339 such as 2026-01-15T10:45:00Z, not \"%s\"",
                   text);
    return ret;
}

static struct id read_id(const char *text, const struct argp_state *state)
{
    struct id id = {{0}};

    if (!id_parse(span_of(text), &id))
        argp_error(state, "--refused: want the id of a refused request, not \"%s\"", text);
    return id;
}

static int look_into(struct look *l)
{
    int64_t came_us;
    struct err err = {0};
    int code = EX_OK;

    if (l->options->is_refused)
        code = read_refused(l);
    else if (read_file(l, &err))
        code = command_fail(&err, EX_DATAERR);
    if (code)
        return code;
    if (choose_source(l, &err))
        return command_fail(&err, EX_USAGE);
    came_us = l->came_us == TIME_NONE ? now_wall_us() : l->came_us;
    l->request = (struct request){
        .headers = l->capture.headers,
        .nheaders = l->capture.nheaders,
        .body = l->capture.body,
        .url = url_of(l),
        .received_us = l->options->now_us == TIME_NONE ? came_us : l->options->now_us,
    };
    tell_request(l);
    return span_eq(l->capture.method, SPAN("GET")) ? explain_get(l) : explain(l);
}

static enum status read_file(struct look *l, struct err *err)
{
    const char *file = l->options->file;
    bool is_stdin = strcmp(file, "-") == 0;
    struct span text;

    if (file_read(is_stdin ? "/dev/stdin" : file, arena_alloc(l->arena, CAPTURE_BYTES_MAX), CAPTURE_BYTES_MAX,
                  &text, err))
        return err->code;
    if (capture_read(text, l->arena, &l->capture, err))
        return err_in(err, "%s", is_stdin ? "stdin" : file);
    return OK;
}

/* Returns the exit code; 0: read. */
static int read_refused(struct look *l)
{
    struct err err = {0};
    struct pg *pg = kept_connect(l->settings->config, "settle-gateway verify", true, &err);
    int code = EX_OK;

    if (!pg)
        return command_fail(&err, EX_CONFIG);
    if (find_refused(l, pg, &err))
        code = command_fail(&err, EX_DATAERR);
    pg_close(pg);
    return code;
}

static enum status find_refused(struct look *l, struct pg *pg, struct err *err)
{
    struct pg_rows *row;
    struct pg_args args;

    pg_args_init(&args, l->arena);
    pg_arg_uuid(&args, &l->options->refused);
    if (pg_run(pg, SQL_REFUSED_READ, &args, KEPT_WAIT_MS, &row, err))
        return err_in(err, "reading the refused request");
    if (pg_nrows(row) == 1)
        keep_row(l, row);
    else
        err_set(err, INVALID,
                "no refused request of that id is kept: it was taken in, or forgotten, or never was there");
    pg_rows_free(row);
    return err->code;
}

/* As a capture of the request would be, but with the kept headers alone. */
static void keep_row(struct look *l, const struct pg_rows *row)
{
    struct span platform = pg_bytes(row, 0, 0), source = pg_bytes(row, 0, 1), cause = pg_bytes(row, 0, 3),
                detail = pg_bytes(row, 0, 4);
    struct request r;

    l->came_us = pg_time(row, 0, 2);
    r = kept_request(arena_copy(l->arena, pg_bytes(row, 0, 5)), arena_copy(l->arena, pg_bytes(row, 0, 6)),
                     l->came_us, l->arena);
    l->url = r.url;
    l->capture = (struct capture){
        .method = SPAN("POST"),
        .path = span_of(
            arena_print(l->arena, "/publishing/webhooks/%.*s/%.*s", SPAN_ARG(platform), SPAN_ARG(source))),
        .query = SPAN_NONE,
        .headers = arena_alloc(l->arena, (r.nheaders + 1) * sizeof(struct header)),
        .nheaders = r.nheaders,
        .body = r.body,
    };
    if (r.nheaders > 0)
        memcpy(l->capture.headers, r.headers, r.nheaders * sizeof(struct header));
    say(l, "kept", "refused %s as %.*s%s%.*s", time_of(l, l->came_us), SPAN_ARG(cause), detail.at ? ": " : "",
        SPAN_ARG(detail));
}

/* As the options say, else as the path does. An unknown source is refused as the gateway would. */
static enum status choose_source(struct look *l, struct err *err)
{
    struct span platform = span_of(l->options->common.platform), source = span_of(l->options->common.source),
                in_path[2] = {{0}};

    if (!ingest_read_path(l->capture.path, &in_path[0], &in_path[1]))
        in_path[1] = SPAN("default");
    if (!platform.at)
        platform = in_path[0];
    if (!source.at)
        source = in_path[1];
    if (!platform.at)
        return err_set(err, INVALID, "--platform NAME is missing, and the request's path does not name one");
    return command_source(l->settings, platform, source, &l->platform, &l->source, err);
}

static struct span url_of(const struct look *l)
{
    const char *base = l->settings->config->ingest.public_url;
    const struct capture *c = &l->capture;

    if (l->options->url)
        return span_of(l->options->url);
    if (l->options->is_refused)
        return l->url;
    if (!base || !base[0])
        return SPAN_NONE;
    return span_of(arena_print(l->arena, "%s%.*s%s%.*s", base, SPAN_ARG(c->path), c->query.at ? "?" : "",
                               SPAN_ARG(c->query)));
}

static void tell_request(struct look *l)
{
    const struct capture *c = &l->capture;
    const struct platform *p = l->platform;
    size_t cap = p->max_body_bytes > 0 ? p->max_body_bytes : l->settings->config->ingest.max_body_bytes;

    say(l, "request", "%.*s %.*s, %zu headers, %zu bytes of body", SPAN_ARG(c->method), SPAN_ARG(c->path),
        c->nheaders, c->body.len);
    say(l, "platform", "%.*s, source %.*s", SPAN_ARG(p->name), SPAN_ARG(l->source->name));
    if (c->has_length && c->length != c->body.len)
        say(l, "length", "Content-Length says %" PRIu64 ", the file holds %zu bytes of body", c->length,
            c->body.len);
    hints_on_capture(&l->hints, c, cap);
}

/* A GET asks for a handshake. Its answer may hold a MAC of ours, and is not shown. */
static int explain_get(struct look *l)
{
    struct handshake_answer a;

    handshake_get(l->platform, l->source, l->capture.query, l->request.received_us, l->arena, &a);
    say(l, "handshake", "answered with %d%s%s", a.status, a.good ? "" : ": ", a.good ? "" : a.why);
    return end(l, a.good, "handshake_refused");
}

static int explain(struct look *l)
{
    const struct scheme *s = &l->platform->scheme;
    struct claim claim;
    struct doubt d = {l->platform, l->source, &l->request, &claim, TIME_NONE, REFUSAL_NONE};
    const char *wrong = NULL;
    size_t secret;

    tell_keys(l);
    tell_headers(l);
    if (s->needs_url && l->request.url.at)
        say(l, "url", "%.*s, which is signed too: it must be the one that the sender called",
            SPAN_ARG(l->request.url));
    d.refusal = scheme_read(s, &l->request, l->arena, &claim, &wrong);
    if (d.refusal)
        return tell_refused(l, &d, wrong);
    tell_claim(l, &claim);
    d.refusal = scheme_check(s, &claim, &l->request, &d.time_us, &wrong);
    tell_time(l, &claim, d.time_us);
    if (!d.refusal)
        d.refusal = scheme_match(l->platform, l->source, &claim, &l->request, &secret, &wrong);
    if (d.refusal)
        return tell_refused(l, &d, wrong);
    return tell_accepted(l, secret, d.time_us, s->signs_id ? claim.id : SPAN_NONE);
}

static void tell_keys(struct look *l)
{
    const struct source *s = l->source;

    for (size_t i = 0; i < s->nsecrets; i++) {
        const struct secret *k = &s->secrets[i];
        say(l, "key", "%s%s%s%s%s: %s", k->key_id, k->not_before_us == TIME_NONE ? "" : ", from ",
            k->not_before_us == TIME_NONE ? "" : time_of(l, k->not_before_us),
            k->expires_us == TIME_NONE ? "" : ", until ",
            k->expires_us == TIME_NONE ? "" : time_of(l, k->expires_us),
            secret_is_active(k, l->request.received_us) ? "tried" : "not in force at that time");
    }
}

static void tell_headers(struct look *l)
{
    const struct scheme *s = &l->platform->scheme;

    tell_header(l, s->header);
    if (s->time_header.at)
        tell_header(l, s->time_header);
    if (s->id_header.at)
        tell_header(l, s->id_header);
}

static void tell_header(struct look *l, struct span name)
{
    struct span value = SPAN_NONE;
    size_t n = 0;

    for (size_t i = 0; i < l->request.nheaders; i++)
        if (span_eq(l->request.headers[i].name, name)) {
            value = l->request.headers[i].value;
            n++;
        }
    if (n == 0)
        say(l, "header", "%.*s: missing", SPAN_ARG(name));
    else if (n == 1)
        say(l, "header", "%.*s: there, %zu bytes", SPAN_ARG(name), value.len);
    else
        say(l, "header", "%.*s: there %zu times; it must be there once", SPAN_ARG(name), n);
}

static void tell_claim(struct look *l, const struct claim *claim)
{
    const struct scheme *s = &l->platform->scheme;

    for (size_t i = 0; i < claim->ncandidates; i++) {
        const struct proof *p = &s->proofs[claim->candidates[i].proof];
        say(l, "signature", "%s, written as %s%s%.*s: %zu characters", scheme_algorithm_name(p->algorithm),
            s->encoding == ENCODING_HEX ? "lower-case hex" : "base64", p->prefix.len > 0 ? " behind " : "",
            SPAN_ARG(p->prefix), claim->candidates[i].value.len);
    }
    if (claim->id.at)
        say(l, "id", "%.*s%s", SPAN_ARG(claim->id), s->signs_id ? "" : " (not signed)");
}

static void tell_time(struct look *l, const struct claim *claim, int64_t time_us)
{
    const struct scheme *s = &l->platform->scheme;
    int64_t apart_s;

    if (!claim->time.at || time_us == TIME_NONE)
        return;
    apart_s = l->request.received_us / SECOND_US - time_us / SECOND_US;
    say(l, "time", "%s, which is %" PRId64 " s %s; %u s old to %u s ahead are taken", time_of(l, time_us),
        apart_s < 0 ? -apart_s : apart_s, apart_s < 0 ? "ahead" : "old", s->past_s, s->future_s);
}

static int tell_refused(struct look *l, const struct doubt *doubt, const char *wrong)
{
    const char *word = scheme_refusal_word(doubt->refusal);

    say(l, "refused", "%s: %s", word, wrong);
    hints_on_refusal(&l->hints, doubt);
    return end(l, false, word);
}

static int tell_accepted(struct look *l, size_t secret, int64_t time_us, struct span id)
{
    const struct verified verified = {.secret = secret, .id = id, .time_us = time_us};
    struct handshake_answer a;
    struct event *events;
    size_t n;

    say(l, "matched", "key %s", l->source->secrets[secret].key_id);
    if (handshake_post(l->platform, l->source, secret, &l->request, l->arena, &a)) {
        say(l, "handshake", "answered with %d%s%s", a.status, a.good ? "" : ": ", a.good ? "" : a.why);
        return end(l, a.good, "handshake_refused");
    }
    events_read(l->platform, l->source->name, &verified, &l->request, l->arena, &events, &n);
    tell_shape(l, &verified);
    say(l, "events", "%zu%s", n, n > EVENTS_SHOWN ? ", the first of which are" : "");
    for (size_t i = 0; i < n && i < EVENTS_SHOWN; i++)
        tell_event(l, &events[i]);
    return end(l, true, NULL);
}

/* The first that by itself finds an event. */
static void tell_shape(struct look *l, const struct verified *verified)
{
    struct platform one = *l->platform;
    struct event *events;
    size_t n;

    one.npayloads = 1;
    for (size_t i = 0; i < l->platform->npayloads; i++) {
        one.payloads = &l->platform->payloads[i];
        events_read(&one, l->source->name, verified, &l->request, l->arena, &events, &n);
        if (!is_bare(events, n)) {
            say(l, "shape", "payload %zu of the %zu in the descriptor", i + 1, l->platform->npayloads);
            return;
        }
    }
    say(l, "shape", "none of the %zu payloads in the descriptor: it is stored, and names no post",
        l->platform->npayloads);
}

/* What is kept of a delivery that says nothing to us. */
static bool is_bare(const struct event *events, size_t n)
{
    return n == 1 && !events->post_id.at && !events->status.at && !events->url.at && !events->extras.at &&
           events->happened_us == TIME_NONE;
}

static void tell_event(struct look *l, const struct event *e)
{
    static const char *const means[] = {"failed", "unclear", "success"};
    json_t *j = json_object();

    if (e->post_id.at)
        json_object_set_new(j, "post_id", json_stringn(e->post_id.at, e->post_id.len));
    if (e->status.at)
        json_object_set_new(j, "status", json_stringn(e->status.at, e->status.len));
    json_object_set_new(j, "means", json_string(means[e->decisive + 1]));
    if (e->happened_us != TIME_NONE)
        json_object_set_new(j, "happened_at", json_string(time_of(l, e->happened_us)));
    if (e->parse_error.at)
        json_object_set_new(j, "parse_error", json_stringn(e->parse_error.at, e->parse_error.len));
    json_array_append_new(l->events, j);
    say(l, "event", "%s%.*s, status %.*s, %s%s%s%s%.*s", e->post_id.at ? "post " : "names no post",
        SPAN_ARG(e->post_id), SPAN_ARG(e->status.at ? e->status : SPAN("none")), means[e->decisive + 1],
        e->happened_us == TIME_NONE ? "" : ", at ",
        e->happened_us == TIME_NONE ? "" : time_of(l, e->happened_us),
        e->parse_error.at ? "; unparsed: " : "", SPAN_ARG(e->parse_error));
}

static void say(struct look *l, const char *step, const char *format, ...)
{
    va_list args;
    char text[1024];

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    make_plain(text);
    json_array_append_new(l->steps, json_pack("{ss ss}", "step", step, "text", text));
    if (!l->options->common.json)
        printf("%-10s %s\n", step, text);
}

/* What stands in a request goes to somebody's terminal. What is no UTF-8, or was cut, keeps its ASCII alone. */
static void make_plain(char *text)
{
    json_t *whole = json_string(text);

    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f || (!whole && (unsigned char)*c > 0x7f))
            *c = '?';
    json_decref(whole);
}

static const char *time_of(const struct look *l, int64_t us)
{
    char *text = arena_alloc(l->arena, TIME_TEXT_BYTES);

    time_text(us, text, TIME_TEXT_BYTES);
    return text;
}

static int end(struct look *l, bool accepted, const char *cause)
{
    json_t *hints = json_array(), *j;

    for (size_t i = 0; i < l->hints.n; i++) {
        say(l, "hint", "%s", l->hints.texts[i]);
        json_array_append_new(hints, json_string(l->hints.texts[i]));
    }
    say(l, "result", "%s", accepted ? "accepted" : "refused");
    j = json_pack("{sb ss* sO so sO}", "accepted", accepted, "cause", accepted ? NULL : cause, "steps",
                  l->steps, "hints", hints, "events", l->events);
    if (l->options->common.json) {
        json_dumpf(j, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    json_decref(j);
    return accepted ? EX_OK : EXIT_REFUSED;
}
