#include "send_test.h"

#include "base/file.h"
#include "base/id.h"
#include "base/now.h"
#include "domain/scheme.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { BODY_BYTES_MAX = 4 * 1024 * 1024, ANSWER_BYTES = 16 * 1024, ANSWER_TIMEOUT_S = 15 };

static enum status read_body(struct arena *arena, const char *file, struct span *ret, struct err *err);
static struct span make_request(struct arena *arena, const struct platform *p, const struct source *source,
                                const char *host, struct span body);
static enum status read_url(struct arena *arena, const char *url, struct address *ret, struct err *err);
static int dial(const struct address *to, struct err *err);
static enum status exchange(int fd, struct span request, struct err *err);
static void arena_drop(struct arena **arena);

enum status send_test(const struct settings *settings, const struct send_test *what, struct err *err)
{
    defer(arena_drop) struct arena *arena = arena_open(64 * 1024);
    const struct platform *p = platforms_find(settings->platforms, span_of(what->platform));
    const struct source *source = p ? platform_source(p, span_of(what->source)) : NULL;
    struct address to = settings->config->ingest.listen;
    enum status status;
    struct span body;
    int fd;

    if (!p)
        return err_set(err, INVALID, "there is no platform \"%s\"", what->platform);
    if (!source || source->nsecrets == 0)
        return err_set(err, INVALID, "platform \"%s\" has no source \"%s\" with a secret", what->platform,
                       what->source);
    if (read_body(arena, what->body_file, &body, err) || (what->url && read_url(arena, what->url, &to, err)))
        return err->code;
    fd = dial(&to, err);
    if (fd < 0)
        return err->code;
    status = exchange(fd, make_request(arena, p, source, to.path ? "localhost" : to.host, body), err);
    close(fd);
    return status;
}

static enum status read_body(struct arena *arena, const char *file, struct span *ret, struct err *err)
{
    struct id id = id_make(now_wall_us());
    char text[ID_TEXT_BYTES], now[TIME_TEXT_BYTES];

    if (file)
        return file_read(file, arena_alloc(arena, BODY_BYTES_MAX), BODY_BYTES_MAX, ret, err);
    id_text(&id, text);
    time_text(now_wall_us(), now, sizeof(now));
    /* The plain shape of every platform at once: each reads its own fields. */
    *ret = span_of(arena_print(
        arena,
        "{\"external_post_id\":\"test-%s\",\"status\":\"published\",\"complete\":true,\"timestamp\":\"%s\"}",
        text, now));
    return OK;
}

static struct span make_request(struct arena *arena, const struct platform *p, const struct source *source,
                                const char *host, struct span body)
{
    struct header headers[SIGNED_HEADERS_MAX];
    struct err err;
    size_t n = 0;
    const char *head = arena_print(arena,
                                   "POST /publishing/webhooks/%.*s/%.*s HTTP/1.1\r\nHost: %s\r\n"
                                   "User-Agent: settle-send-test\r\nContent-Type: application/json\r\n"
                                   "Content-Length: %zu\r\nConnection: close\r\n",
                                   SPAN_ARG(p->name), SPAN_ARG(source->name), host, body.len);
    char *whole;
    size_t len;

    if (scheme_sign(p, source->secrets[0].bytes, SPAN_NONE, now_wall_us(), SPAN_NONE, body, arena, headers,
                    &n, &err))
        n = 0;
    for (size_t i = 0; i < n; i++)
        head = arena_print(arena, "%s%.*s: %.*s\r\n", head, SPAN_ARG(headers[i].name),
                           SPAN_ARG(headers[i].value));
    len = strlen(head);
    whole = arena_alloc(arena, len + 2 + body.len);
    memcpy(whole, head, len);
    memcpy(whole + len, "\r\n", 2);
    if (body.len > 0)
        memcpy(whole + len + 2, body.at, body.len);
    return (struct span){whole, len + 2 + body.len};
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
    return answer[9] == '2' ? OK : err_set(err, REJECTED, "the gateway answered %.3s", answer + 9);
}

static void arena_drop(struct arena **arena)
{
    arena_close(*arena);
}
