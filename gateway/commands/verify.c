/* verify: says step by step why a captured request is accepted or refused. It never prints a secret, a signature, or
 * anything from which one could be made. */
#include "base/file.h"
#include "base/now.h"
#include "base/number.h"
#include "capture.h"
#include "command.h"
#include "domain/handshake.h"
#include "domain/moment.h"
#include "domain/secret.h"
#include "ingest.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sysexits.h>

#include <jansson.h>

enum { EXIT_REFUSED = 1, EVENTS_SHOWN = 20 };

struct options {
    struct common_options common;
    const char *platform, *source, *url, *file;
    int64_t now_us; /* TIME_NONE: now */
    bool json;
};

/* One look into one request. */
struct look {
    const struct options *options;
    const struct settings *settings;
    struct arena *arena;
    struct capture capture;
    const struct platform *platform;
    const struct source *source;
    struct request request;
    json_t *steps, *hints, *events; /* what was said */
};

static int run(int argc, char **argv);
static error_t parse_option(int key, char *value, struct argp_state *state);
static int64_t read_now(const char *text, const struct argp_state *state);
static int look_into(struct look *l);
static enum status read_request(struct look *l, struct err *err);
static enum status choose_source(struct look *l, struct err *err);
static struct span url_of(const struct look *l);
static int explain(struct look *l);
static int explain_get(struct look *l);
static void tell_request(struct look *l);
static void tell_keys(struct look *l);
static void tell_headers(struct look *l);
static void tell_url(struct look *l);
static void tell_header(struct look *l, struct span name);
static size_t count_header(const struct look *l, struct span name, struct span *ret);
static void tell_claim(struct look *l, const struct claim *claim);
static void tell_time(struct look *l, const struct claim *claim, int64_t time_us, enum refusal refusal);
static int tell_refused(struct look *l, enum refusal refusal, const char *wrong);
static void hint_other_header(struct look *l);
static void hint_mistakes(struct look *l, const struct claim *claim);
static bool fits(const struct look *l, const struct claim *claim, const struct source *source,
                 struct span body, size_t *ret_secret);
static void hint_bodies(struct look *l, const struct claim *claim);
static void hint_other_secrets(struct look *l, const struct claim *claim);
static struct span without_cr(struct span body, struct arena *arena);
static struct span without_end(struct span body);
static int tell_accepted(struct look *l, size_t secret, int64_t time_us, struct span id);
static void tell_shape(struct look *l, const struct verified *verified);
static bool is_bare(const struct event *events, size_t n);
static void tell_event(struct look *l, const struct event *e);
static void say(struct look *l, const char *step, const char *format, ...) PRINTF_LIKE(3, 4);
static void make_plain(char *text);
static void hint(struct look *l, const char *format, ...) PRINTF_LIKE(2, 3);
static const char *time_of(const struct look *l, int64_t us);
static int end(struct look *l, bool accepted, const char *cause);

const struct command verify_command = {"verify",
                                       "say step by step why a captured request is accepted or refused", run};

enum { OPTION_PLATFORM = 256, OPTION_SOURCE, OPTION_NOW, OPTION_URL, OPTION_JSON };

static const struct argp_option option_table[] = {
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
    .args_doc = "REQUEST-FILE",
    .children = common_children,
    .doc = "Reads a captured HTTP request (\"-\": from stdin): request line, headers, a blank line, the "
           "exact body. Says "
           "which headers count, how old it is, which keys were tried, and what comes out of it. No secret "
           "and no right "
           "signature is shown.\vExit codes: 0 accepted, 1 refused, 64 usage, 65 the file is no request, 78 "
           "settings. A "
           "body must be there byte for byte: an editor that adds a newline at its end breaks its signature.",
};

static int run(int argc, char **argv)
{
    struct options o = {.now_us = TIME_NONE};
    struct look l = {.options = &o};
    struct settings settings;
    int code;

    argp_parse(&argp, argc, argv, 0, NULL, &o);
    code = command_open(&settings, &o.common, NULL);
    if (code)
        return code;
    l.settings = &settings;
    l.arena = arena_open(65536);
    l.steps = json_array();
    l.hints = json_array();
    l.events = json_array();
    code = look_into(&l);
    json_decref(l.steps);
    json_decref(l.hints);
    json_decref(l.events);
    arena_close(l.arena);
    settings_close(&settings);
    return code;
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->common;
        return 0;
    case OPTION_PLATFORM:
        o->platform = value;
        return 0;
    case OPTION_SOURCE:
        o->source = value;
        return 0;
    case OPTION_NOW:
        o->now_us = read_now(value, state);
        return 0;
    case OPTION_URL:
        o->url = value;
        return 0;
    case OPTION_JSON:
        o->json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (o->file)
            argp_error(state, "one REQUEST-FILE at a time: \"%s\"", value);
        o->file = value;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "REQUEST-FILE is missing (\"-\": stdin)");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
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

static int look_into(struct look *l)
{
    struct err err = {0};

    if (read_request(l, &err))
        return command_fail(&err, EX_DATAERR);
    if (choose_source(l, &err))
        return command_fail(&err, EX_USAGE);
    l->request = (struct request){
        .headers = l->capture.headers,
        .nheaders = l->capture.nheaders,
        .body = l->capture.body,
        .url = url_of(l),
        .received_us = l->options->now_us == TIME_NONE ? now_wall_us() : l->options->now_us,
    };
    tell_request(l);
    return span_eq(l->capture.method, SPAN("GET")) ? explain_get(l) : explain(l);
}

static enum status read_request(struct look *l, struct err *err)
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

/* As the options say, else as the path does. An unknown source is refused as the gateway would. */
static enum status choose_source(struct look *l, struct err *err)
{
    struct span platform = span_of(l->options->platform), source = span_of(l->options->source),
                in_path[2] = {{0}};

    if (!ingest_read_path(l->capture.path, &in_path[0], &in_path[1]))
        in_path[1] = SPAN("default");
    if (!platform.at)
        platform = in_path[0];
    if (!source.at)
        source = in_path[1];
    if (!platform.at)
        return err_set(err, INVALID, "--platform NAME is missing, and the request's path does not name one");
    l->platform = platforms_find(l->settings->platforms, platform);
    if (!l->platform)
        return err_set(err, INVALID, "there is no platform \"%.*s\"; settle-gateway platforms lists them",
                       SPAN_ARG(platform));
    l->source = platform_source(l->platform, source);
    if (!l->source)
        return err_set(err, INVALID, "platform \"%.*s\" has no source \"%.*s\" with a secret",
                       SPAN_ARG(platform), SPAN_ARG(source));
    return OK;
}

static struct span url_of(const struct look *l)
{
    const char *base = l->settings->config->ingest.public_url;
    const struct capture *c = &l->capture;

    if (l->options->url)
        return span_of(l->options->url);
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
    if (c->body.len > cap)
        hint(l, "the gateway answers 413: a body of this platform may have %zu bytes", cap);
    if (count_header(l, SPAN("transfer-encoding"), NULL) > 0)
        hint(l, "the head says Transfer-Encoding: the body has to be captured as it is without it");
    if (!c->has_length || c->length == c->body.len)
        return;
    say(l, "length", "Content-Length says %" PRIu64 ", the file holds %zu bytes of body", c->length,
        c->body.len);
    if (c->length > c->body.len)
        hint(l, "the file ends too early: the body was cut, or its line ends were changed");
    else if (without_end(c->body).len == c->length)
        hint(l,
             "the newline at the end of the file does not belong to the body: some editor or shell added it");
    else
        hint(l, "the file holds more than the body: only its first %" PRIu64 " bytes were sent", c->length);
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
    const char *wrong = NULL;
    int64_t time_us;
    size_t secret;
    enum refusal refusal;

    tell_keys(l);
    tell_headers(l);
    if (s->needs_url)
        tell_url(l);
    refusal = scheme_read(s, &l->request, l->arena, &claim, &wrong);
    if (refusal)
        return tell_refused(l, refusal, wrong);
    tell_claim(l, &claim);
    refusal = scheme_check(s, &claim, &l->request, &time_us, &wrong);
    tell_time(l, &claim, time_us, refusal);
    if (refusal)
        return tell_refused(l, refusal, wrong);
    refusal = scheme_match(l->platform, l->source, &claim, &l->request, &secret, &wrong);
    if (!refusal)
        return tell_accepted(l, secret, time_us, s->signs_id ? claim.id : SPAN_NONE);
    if (refusal == REFUSAL_NO_MATCH)
        hint_mistakes(l, &claim);
    return tell_refused(l, refusal, wrong);
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

static void tell_url(struct look *l)
{
    if (l->request.url.at)
        say(l, "url", "%.*s, which is signed too: it must be the one that the sender called",
            SPAN_ARG(l->request.url));
    else
        hint(l, "this signature covers the URL: give --url, or set ingest.public_url");
}

static void tell_header(struct look *l, struct span name)
{
    struct span value;
    size_t n = count_header(l, name, &value);

    if (n == 0)
        say(l, "header", "%.*s: missing", SPAN_ARG(name));
    else if (n == 1)
        say(l, "header", "%.*s: there, %zu bytes", SPAN_ARG(name), value.len);
    else
        say(l, "header", "%.*s: there %zu times; it must be there once", SPAN_ARG(name), n);
}

static size_t count_header(const struct look *l, struct span name, struct span *ret)
{
    size_t n = 0;

    for (size_t i = 0; i < l->capture.nheaders; i++)
        if (span_eq(l->capture.headers[i].name, name)) {
            if (ret)
                *ret = l->capture.headers[i].value;
            n++;
        }
    return n;
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

static void tell_time(struct look *l, const struct claim *claim, int64_t time_us, enum refusal refusal)
{
    const struct scheme *s = &l->platform->scheme;
    int64_t apart_s;

    if (!claim->time.at || time_us == TIME_NONE)
        return;
    apart_s = l->request.received_us / SECOND_US - time_us / SECOND_US;
    say(l, "time", "%s, which is %" PRId64 " s %s; %u s old to %u s ahead are taken", time_of(l, time_us),
        apart_s < 0 ? -apart_s : apart_s, apart_s < 0 ? "ahead" : "old", s->past_s, s->future_s);
    if (refusal == REFUSAL_TOO_OLD || refusal == REFUSAL_IN_FUTURE)
        hint(l, "to check its signature by the clock of its arrival, give --now %" PRId64,
             time_us / SECOND_US);
}

static int tell_refused(struct look *l, enum refusal refusal, const char *wrong)
{
    say(l, "refused", "%s: %s", scheme_refusal_word(refusal), wrong);
    hint_other_header(l);
    return end(l, false, scheme_refusal_word(refusal));
}

/* An older or another header of the platform's, perhaps in place of the one that counts. */
static void hint_other_header(struct look *l)
{
    const struct scheme *s = &l->platform->scheme;

    for (size_t i = 0; i < l->capture.nheaders; i++) {
        struct span name = l->capture.headers[i].name;
        if (!span_eq(name, s->header) && memmem(name.at, name.len, "signature", strlen("signature")))
            hint(l, "%.*s is there too, but only %.*s counts", SPAN_ARG(name), SPAN_ARG(s->header));
    }
}

static void hint_mistakes(struct look *l, const struct claim *claim)
{
    hint_bodies(l, claim);
    hint_other_secrets(l, claim);
    if (json_array_size(l->hints) == 0)
        hint(l, "a secret that is not configured, or a body that was changed on its way (parsed and written "
                "again)");
}

static bool fits(const struct look *l, const struct claim *claim, const struct source *source,
                 struct span body, size_t *ret_secret)
{
    struct request r = l->request;
    const char *wrong;

    r.body = body;
    return scheme_match(l->platform, source, claim, &r, ret_secret, &wrong) == REFUSAL_NONE;
}

static void hint_bodies(struct look *l, const struct claim *claim)
{
    struct span body = l->capture.body, unix_lines = without_cr(body, l->arena);
    size_t secret;

    if (without_end(body).len < body.len && fits(l, claim, l->source, without_end(body), &secret))
        hint(l, "without the newline at its end the body fits: some editor or shell added it");
    if (unix_lines.len < body.len && fits(l, claim, l->source, unix_lines, &secret))
        hint(l, "with LF in place of CRLF the body fits: something changed its line ends");
    if (unix_lines.len < body.len && fits(l, claim, l->source, without_end(unix_lines), &secret))
        hint(l, "with LF in place of CRLF and without the newline at its end the body fits");
}

/* Of the same source, out of force; of other sources, which the sender may mean. */
static void hint_other_secrets(struct look *l, const struct claim *claim)
{
    struct source whenever = *l->source;
    size_t secret;

    for (size_t i = 0; i < whenever.nsecrets; i++)
        whenever.secrets[i].not_before_us = whenever.secrets[i].expires_us = TIME_NONE;
    if (fits(l, claim, &whenever, l->capture.body, &secret))
        hint(l, "key %s fits, but was not in force at that time", whenever.secrets[secret].key_id);
    for (size_t i = 0; i < l->platform->nsources; i++) {
        const struct source *s = &l->platform->sources[i];
        if (s != l->source && fits(l, claim, s, l->capture.body, &secret))
            hint(l, "key %s of source %.*s fits: the sender calls the wrong URL, or the secrets are mixed up",
                 s->secrets[secret].key_id, SPAN_ARG(s->name));
    }
}

static struct span without_cr(struct span body, struct arena *arena)
{
    char *copy = arena_alloc(arena, body.len + 1);
    size_t len = 0;

    for (size_t i = 0; i < body.len; i++)
        if (body.at[i] != '\r' || i + 1 == body.len || body.at[i + 1] != '\n')
            copy[len++] = body.at[i];
    return (struct span){copy, len};
}

static struct span without_end(struct span body)
{
    if (body.len > 0 && body.at[body.len - 1] == '\n')
        body.len--;
    if (body.len > 0 && body.at[body.len] == '\n' && body.at[body.len - 1] == '\r')
        body.len--;
    return body;
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
    if (!l->options->json)
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

static void hint(struct look *l, const char *format, ...)
{
    va_list args;
    char text[512];

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    json_array_append_new(l->hints, json_string(text));
    say(l, "hint", "%s", text);
}

static const char *time_of(const struct look *l, int64_t us)
{
    char *text = arena_alloc(l->arena, TIME_TEXT_BYTES);

    time_text(us, text, TIME_TEXT_BYTES);
    return text;
}

static int end(struct look *l, bool accepted, const char *cause)
{
    json_t *j;

    say(l, "result", "%s", accepted ? "accepted" : "refused");
    if (l->options->json) {
        j = json_pack("{sb ss* so so so}", "accepted", accepted, "cause", accepted ? NULL : cause, "steps",
                      l->steps, "hints", l->hints, "events", l->events);
        json_dumpf(j, stdout, JSON_INDENT(2));
        putchar('\n');
        l->steps = l->hints = l->events = NULL; /* j's now */
        json_decref(j);
    }
    return accepted ? EX_OK : EXIT_REFUSED;
}
