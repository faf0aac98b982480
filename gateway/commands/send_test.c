/* send-test: signs a body as its platform would and posts it to a gateway. Blocking; for people and scripts. */
#include "base/file.h"
#include "base/id.h"
#include "base/now.h"
#include "command.h"
#include "domain/scheme.h"
#include "domain/secret.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#include <sodium.h>

enum { BODY_BYTES_MAX = 4 * 1024 * 1024, ANSWER_BYTES = 16 * 1024, ANSWER_TIMEOUT_S = 15 };

struct options {
    struct common_options common;
    const char *url;         /* http://host:port of the ingest listener; NULL: as configured */
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
    struct address to;
    const char *path;
    char room[SECRET_FILE_BYTES]; /* of a key from a file */
    struct span key, body;
    struct header headers[SIGNED_HEADERS_MAX];
    size_t nheaders;
};

static int run(int argc, char **argv);
static error_t parse_option(int key, char *value, struct argp_state *state);
static enum status choose(struct webhook *w, struct err *err);
static enum status choose_key(struct webhook *w, struct err *err);
static enum status blame_secrets(const struct webhook *w, struct err *err);
static enum status read_url(struct arena *arena, const char *url, struct address *ret, struct err *err);
static enum status post(struct webhook *w, struct err *err);
static enum status read_body(struct webhook *w, struct err *err);
static enum status sign(struct webhook *w, struct err *err);
static struct span make_request(const struct webhook *w);
static const char *type_of(struct span body);
static int dial(const struct address *to, struct err *err);
static enum status exchange(int fd, struct span request, struct err *err);

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
    {"url",              OPTION_URL,         "URL",  0, "Of the ingest listener (default: as configured)",  1},
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
    w->to = w->settings->config->ingest.listen;
    w->path = arena_print(w->arena, "/publishing/webhooks/%.*s/%.*s", SPAN_ARG(w->platform->name),
                          SPAN_ARG(w->source->name));
    if (o->url && read_url(w->arena, o->url, &w->to, err))
        return err->code;
    return choose_key(w, err);
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

/* http://host:port or http://[::1]:port, perhaps with a slash behind; the path is the platform's. */
static enum status read_url(struct arena *arena, const char *url, struct address *ret, struct err *err)
{
    char *text = arena_print(arena, "%s", url), *host = text + strlen("http://"), *port;

    if (strncmp(text, "http://", strlen("http://")) != 0 || host[0] == '\0')
        return err_set(err, INVALID, "--url: want http://host:port");
    host[strcspn(host, "/")] = '\0';
    port = strrchr(host, ':');
    if (host[0] == '[') {
        host++;
        port = host + strcspn(host, "]");
        if (port[0] == '\0')
            return err_set(err, INVALID, "--url: a bracket is missing");
        *port++ = '\0';
    }
    if (port && *port == ':')
        *port++ = '\0';
    *ret = (struct address){.host = host, .port = port && *port ? (uint16_t)strtoul(port, NULL, 10) : 80};
    return OK;
}

static enum status post(struct webhook *w, struct err *err)
{
    enum status status;
    int fd;

    if (read_body(w, err) || sign(w, err))
        return err->code;
    fd = dial(&w->to, err);
    if (fd < 0)
        return err->code;
    status = exchange(fd, make_request(w), err);
    close(fd);
    return status;
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

static struct span make_request(const struct webhook *w)
{
    const char *head =
        arena_print(w->arena,
                    "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: settle-send-test\r\n"
                    "Content-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n",
                    w->path, w->to.path ? "localhost" : w->to.host, type_of(w->body), w->body.len);
    char *whole;
    size_t len;

    for (size_t i = 0; i < w->nheaders; i++)
        head = arena_print(w->arena, "%s%.*s: %.*s\r\n", head, SPAN_ARG(w->headers[i].name),
                           SPAN_ARG(w->headers[i].value));
    len = strlen(head);
    whole = arena_alloc(w->arena, len + 2 + w->body.len);
    memcpy(whole, head, len);
    memcpy(whole + len, "\r\n", 2);
    if (w->body.len > 0)
        memcpy(whole + len + 2, w->body.at, w->body.len);
    return (struct span){whole, len + 2 + w->body.len};
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

static int dial(const struct address *to, struct err *err)
{
    const struct addrinfo wanted = {.ai_socktype = SOCK_STREAM};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct addrinfo *found = NULL;
    char port[8];
    int fd, failure;

    if (to->path) {
        snprintf(un.sun_path, sizeof(un.sun_path), "%s", to->path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0)
            return fd;
    } else {
        snprintf(port, sizeof(port), "%u", to->port);
        failure = getaddrinfo(to->host, port, &wanted, &found);
        if (failure != 0) {
            err_set(err, UNAVAILABLE, "%s: %s", to->host, gai_strerror(failure));
            return -1;
        }
        fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        failure = fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) != 0;
        freeaddrinfo(found);
        if (!failure)
            return fd;
    }
    err_set(err, UNAVAILABLE, "no gateway answers at %s: %s", to->path ? to->path : to->host,
            strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

static enum status exchange(int fd, struct span request, struct err *err)
{
    const struct timeval patience = {.tv_sec = ANSWER_TIMEOUT_S};
    char answer[ANSWER_BYTES + 1];
    size_t len = 0;
    ssize_t n;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    while (request.len > 0 && (n = send(fd, request.at, request.len, MSG_NOSIGNAL)) > 0)
        request = span_skip(request, (size_t)n);
    while (len < ANSWER_BYTES && (n = recv(fd, answer + len, ANSWER_BYTES - len, 0)) > 0)
        len += (size_t)n;
    answer[len] = '\0';
    if (len < 12 || strncmp(answer, "HTTP/1.", 7) != 0)
        return err_set(err, UNAVAILABLE, "no answer: %s", len == 0 ? strerror(errno) : "not HTTP");
    printf("%s\n", answer);
    if (answer[9] == '2')
        return OK;
    return err_set(err, answer[9] == '5' || strncmp(answer + 9, "429", 3) == 0 ? BUSY : REJECTED,
                   "the gateway answered %.3s", answer + 9);
}
