/* send-test: signs a body as its platform would and posts it to a gateway. Blocking; for people and scripts. */
#include "base/file.h"
#include "base/id.h"
#include "base/now.h"
#include "command.h"
#include "domain/scheme.h"
#include "domain/secret.h"

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include <curl/curl.h>
#include <sodium.h>

enum {
    BODY_BYTES_MAX = 4 * 1024 * 1024,
    SHOWN_BYTES = 16 * 1024,
    CONNECT_TIMEOUT_MS = 5000,
    WHOLE_TIMEOUT_MS = 15000,
};

struct options {
    struct common_options common;
    const char *url;         /* what stands before the path; NULL: the ingest listener's */
    const char *private_key; /* file; NULL: a secret of the source's signs */
    const char *body_file;   /* NULL: a plain body with a new post id */
};

/* One webhook on its way. */
struct webhook {
    const struct options *options;
    const struct settings *settings;
    struct arena *arena;
    const struct platform *platform;
    const struct source *source;
    const char *path, *url;
    const char *socket;           /* of a listener that is one; NULL: TCP */
    char room[SECRET_FILE_BYTES]; /* of a key from a file */
    struct span key, body;
    struct header headers[SIGNED_HEADERS_MAX];
    size_t nheaders;
};

static int run(int argc, char **argv);
static error_t parse_option(int key, char *value, struct argp_state *state);
static enum status choose(struct webhook *w, struct err *err);
static enum status choose_url(struct webhook *w, struct err *err);
static bool url_is_good(const char *url);
static enum status choose_key(struct webhook *w, struct err *err);
static enum status blame_secrets(const struct webhook *w, struct err *err);
static enum status post(struct webhook *w, struct err *err);
static enum status read_body(struct webhook *w, struct err *err);
static enum status sign(struct webhook *w, struct err *err);
static enum status exchange(const struct webhook *w, struct err *err);
static struct curl_slist *make_headers(const struct webhook *w);
static const char *type_of(struct span body);
static void set_options(CURL *curl, const struct webhook *w);
static size_t show(const char *bytes, size_t size, size_t n, void *room);

const struct command send_test_command = {
    "send-test", "sign a webhook as its platform does, and post it to a gateway", run};

enum { OPTION_URL = OPTION_OWN, OPTION_PRIVATE_KEY };

static const struct argp_option option_table[] = {
    {"platform",         OPTION_PLATFORM,    "NAME", 0, "Sign and shape the webhook as this platform does", 1},
    {"source",           OPTION_SOURCE,      "NAME", 0,
     "Sign with the newest secret of this source that is in force (default: default)",                      1},
    {"private-key-file", OPTION_PRIVATE_KEY, "FILE", 0,
     "Sign with this key, where the source has a public one: the 32 bytes of its seed, written as the "
     "public key is",                                                                                       1},
    {"url",              OPTION_URL,         "URL",  0,
     "Where to, as ingest.public_url says it (default: the ingest listener itself). Of https the certificate "
     "must hold: by fetch.ca_file, else by the system's",                                                   1},
    {NULL,               0,                  NULL,   0, NULL,                                               0},
};
static const struct argp argp = {
    .options = option_table,
    .parser = parse_option,
    .args_doc = "[BODY-FILE]",
    .children = common_children,
    .doc = "Signs a body (BODY-FILE, else a plain one with a new post id) as the platform would, posts it to "
           "a gateway and "
           "prints the answer.\vExit codes: 0 a 2xx, 64 usage (also: nothing to sign with), 65 another "
           "answer, or "
           "a body or key that is none, 69 no answer, 75 429 or a 5xx, 78 settings.",
};

static int run(int argc, char **argv)
{
    struct options o = {.common = {.source = "default"}};
    struct webhook w = {.options = &o};
    struct settings settings;
    struct err err = {0};
    int code;

    argp_parse(&argp, argc, argv, 0, NULL, &o);
    code = command_open(&settings, &o.common, NULL);
    if (code)
        return code;
    w.settings = &settings;
    w.arena = arena_open(64 * 1024);
    if (choose(&w, &err))
        code = command_fail(&err, EX_USAGE);
    else if (post(&w, &err))
        code = command_fail(&err, EX_DATAERR);
    sodium_memzero(w.room, sizeof(w.room));
    arena_close(w.arena);
    settings_close(&settings);
    return code;
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case OPTION_URL:
        o->url = value;
        return 0;
    case OPTION_PRIVATE_KEY:
        o->private_key = value;
        return 0;
    case ARGP_KEY_ARG:
        if (o->body_file)
            argp_error(state, "one BODY-FILE is enough: \"%s\"", value);
        o->body_file = value;
        return 0;
    case ARGP_KEY_END:
        if (!o->common.platform)
            argp_error(state, "--platform NAME is missing");
        return 0;
    default:
        return command_parse(key, value, &o->common, state);
    }
}

static enum status choose(struct webhook *w, struct err *err)
{
    const struct options *o = w->options;

    if (command_source(w->settings, span_of(o->common.platform), span_of(o->common.source), &w->platform,
                       &w->source, err))
        return err->code;
    w->path = arena_print(w->arena, "/publishing/webhooks/%.*s/%.*s", SPAN_ARG(w->platform->name),
                          SPAN_ARG(w->source->name));
    if (choose_url(w, err))
        return err->code;
    return choose_key(w, err);
}

static enum status choose_url(struct webhook *w, struct err *err)
{
    const struct address *at = &w->settings->config->ingest.listen;
    const char *base = w->options->url;

    if (base && !url_is_good(base))
        return err_set(err, INVALID, "--url: want https://host[:port][/path], or the same of http");
    if (!base && at->path) {
        base = "http://localhost";
        w->socket = at->path;
    } else if (!base) {
        base = arena_print(w->arena, strchr(at->host, ':') ? "http://[%s]:%u" : "http://%s:%u", at->host,
                           at->port);
    }
    w->url =
        arena_print(w->arena, "%.*s%s", (int)strlen(base) - (base[strlen(base) - 1] == '/'), base, w->path);
    return OK;
}

/* No password in it: it would be in everybody's list of processes. */
static bool url_is_good(const char *url)
{
    bool good = span_starts(span_of(url), SPAN("https://")) || span_starts(span_of(url), SPAN("http://"));
    CURLU *parts = curl_url();

    if (!parts)
        abort();
    good = good && !strpbrk(url, "@?#") && curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK;
    curl_url_cleanup(parts);
    return good;
}

static enum status choose_key(struct webhook *w, struct err *err)
{
    const struct secret *secret = command_secret(w->platform, w->source);

    if (w->options->private_key) {
        if (file_read(w->options->private_key, w->room, sizeof(w->room), &w->key, err))
            return err->code;
        while (w->key.len > 0 && strchr("\r\n", w->key.at[w->key.len - 1]))
            w->key.len--;
        return OK;
    }
    if (!secret)
        return blame_secrets(w, err);
    w->key = secret->bytes;
    return OK;
}

static enum status blame_secrets(const struct webhook *w, struct err *err)
{
    const struct source *s = w->source;

    for (const struct secret *k = s->secrets; k < s->secrets + s->nsecrets; k++)
        if (secret_is_active(k, now_wall_us()))
            return err_set(err, INVALID,
                           "source \"%.*s\" of %.*s has a public key, which cannot sign: give the sender's "
                           "private one with --private-key-file",
                           SPAN_ARG(s->name), SPAN_ARG(w->platform->name));
    return err_set(err, INVALID, "source \"%.*s\" of %.*s has no secret in force now", SPAN_ARG(s->name),
                   SPAN_ARG(w->platform->name));
}

static enum status post(struct webhook *w, struct err *err)
{
    if (read_body(w, err) || sign(w, err))
        return err->code;
    return exchange(w, err);
}

static enum status read_body(struct webhook *w, struct err *err)
{
    struct id id = id_make(now_wall_us());
    char text[ID_TEXT_BYTES], now[TIME_TEXT_BYTES];

    if (w->options->body_file)
        return file_read(w->options->body_file, arena_alloc(w->arena, BODY_BYTES_MAX), BODY_BYTES_MAX,
                         &w->body, err);
    id_text(&id, text);
    time_text(now_wall_us(), now, sizeof(now));
    /* The plain shape of every platform at once: each reads its own fields. Where the URL is signed, so are the fields
     * of a form, while JSON would want its digest in the URL. */
    w->body = span_of(
        w->platform->scheme.needs_url
            ? arena_print(w->arena, "MessageSid=test-%s&MessageStatus=delivered", text)
            : arena_print(w->arena,
                          "{\"external_post_id\":\"test-%s\",\"status\":\"published\",\"complete\":true,"
                          "\"timestamp\":\"%s\"}",
                          text, now));
    return OK;
}

/* With an id of its own, as a platform gives each message. */
static enum status sign(struct webhook *w, struct err *err)
{
    const char *url = arena_print(w->arena, "%s%s", w->settings->config->ingest.public_url, w->path);
    struct id id = id_make(now_wall_us());
    char text[ID_TEXT_BYTES];

    id_text(&id, text);
    if (scheme_sign(w->platform, w->key, arena_copy(w->arena, span_of(text)), now_wall_us(), span_of(url),
                    w->body, w->arena, w->headers, &w->nheaders, err))
        return err_in(err, "signing as %.*s does", SPAN_ARG(w->platform->name));
    return OK;
}

static enum status exchange(const struct webhook *w, struct err *err)
{
    struct curl_slist *headers = make_headers(w);
    char why[CURL_ERROR_SIZE] = "";
    size_t room = SHOWN_BYTES;
    long status = 0;
    CURLcode code;
    CURL *curl;

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || !(curl = curl_easy_init()))
        abort();
    set_options(curl, w);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &room);
    code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    curl_global_cleanup();
    if (code != CURLE_OK)
        return err_set(err, UNAVAILABLE, "no gateway answers at %s: %s", w->url,
                       why[0] ? why : curl_easy_strerror(code));
    printf("\n");
    if (status >= 200 && status < 300)
        return OK;
    return err_set(err, status == 429 || status >= 500 ? BUSY : REJECTED, "the gateway answered %ld", status);
}

static struct curl_slist *make_headers(const struct webhook *w)
{
    /* Without it a body of some size would wait for a "100 Continue" that few servers send. */
    struct curl_slist *ret = curl_slist_append(NULL, "Expect:");

    ret = curl_slist_append(ret, arena_print(w->arena, "Content-Type: %s", type_of(w->body)));
    for (size_t i = 0; i < w->nheaders; i++)
        ret = curl_slist_append(ret, arena_print(w->arena, "%.*s: %.*s", SPAN_ARG(w->headers[i].name),
                                                 SPAN_ARG(w->headers[i].value)));
    return ret;
}

/* By its first byte, as the gateway tells it. */
static const char *type_of(struct span body)
{
    while (body.len > 0 && strchr(" \t\r\n", body.at[0]))
        body = span_skip(body, 1);
    if (body.len == 0 || body.at[0] == '{' || body.at[0] == '[')
        return "application/json";
    return body.at[0] == '<' ? "application/atom+xml" : "application/x-www-form-urlencoded";
}

static void set_options(CURL *curl, const struct webhook *w)
{
    const char *ca_file = w->settings->config->fetch.ca_file;

    curl_easy_setopt(curl, CURLOPT_URL, w->url);
    curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, w->socket);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https,http");
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    if (ca_file) {
        curl_easy_setopt(curl, CURLOPT_CAINFO, ca_file);
        curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
    }
    curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* whatever the environment says */
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)WHOLE_TIMEOUT_MS);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "settle-send-test");
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)w->body.len);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, w->body.len > 0 ? w->body.at : ""); /* borrowed */
    curl_easy_setopt(curl, CURLOPT_HEADER, 1L);                                    /* shown too */
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, show);
}

/* As much of it as a person would read. */
static size_t show(const char *bytes, size_t size, size_t n, void *room)
{
    size_t *left = room, shown = n < *left ? n : *left;

    fwrite(bytes, size, shown, stdout);
    *left -= shown;
    return n;
}
