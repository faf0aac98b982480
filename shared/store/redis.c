#include "store/redis.h"

#include "base/arena.h"
#include "base/now.h"

#include <assert.h>
#include <ctype.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <hiredis.h>

enum { WORDS_MAX = 32, REPLY_BYTES_MAX = 1 << 20, TCP_USER_TIMEOUT_MS = 5000 };

/* A command that was sent and is not answered yet. */
struct command {
    struct command *next;
    redis_done *done;
    void *ctx;
};

struct redis {
    redisContext *context;
    redisReplyObjectFunctions fn; /* hiredis' own, without arrays */
    redisReply *reply;            /* owns: the one at work, or the last of redis_run */
    bool closing;
    bool lost;
    char why_lost[160];
    struct command *oldest, **end; /* in the order of sending, which is that of the answers */
    size_t nwaiting;
};

/* What a url says, as pieces of it; what it does not say is NULL. */
struct address {
    char *user, *password;
    char *path; /* of a unix socket; or else: */
    char *host, *port;
    char *db;
};

/* What redis_run waits for. */
struct run {
    struct redis_reply *reply;
    struct err err;
};

static bool parse_url(char *url, struct address *ret);
static bool split_unix(char *rest, struct address *ret);
static bool split_tcp(char *rest, struct address *ret);
static char *cut(char *text, const char *mark);
static bool unescape(char *text);

static redisContext *dial(const struct address *a, unsigned connect_timeout_ms, struct err *err);
static enum status greet(struct redis *r, const struct address *a, unsigned wait_ms, struct err *err);
static void *refuse_array(const redisReadTask *task, int elements);

static struct command take_oldest(struct redis *r);
static void end_oldest(struct redis *r, redisReply *reply);
static void end_all(struct redis *r);
static void lose(struct redis *r, const char *why);

static void wait_until_answered(struct redis *r, int64_t deadline_boot_us);
static void after_run(void *ctx, const struct redis_reply *reply, const struct err *err);
static void close_arena(struct arena **arena);

struct redis *redis_open(const char *url, unsigned connect_timeout_ms, struct err *err)
{
    defer(close_arena) struct arena *arena = arena_open(256);
    struct address address = {0};
    redisContext *context;
    struct redis *r;

    if (!parse_url(arena_print(arena, "%s", url), &address)) {
        err_set(err, INVALID,
                "the Redis URL cannot be read: want redis://[user:password@]host[:port][/db] or "
                "unix:///path[?db=n]");
        return NULL;
    }
    context = dial(&address, connect_timeout_ms, err);
    if (!context)
        return NULL;
    r = calloc(1, sizeof(*r));
    if (!r)
        abort();
    r->context = context;
    r->end = &r->oldest;
    r->fn = *context->reader->fn;
    r->fn.createArray = refuse_array;
    context->reader->fn = &r->fn;
    if (greet(r, &address, connect_timeout_ms, err)) {
        redis_close(r);
        return NULL;
    }
    return r;
}

/* Cuts the url into pieces. No message says what is wrong with it: it may hold a password. */
static bool parse_url(char *url, struct address *ret)
{
    bool unix_socket = strncmp(url, "unix://", 7) == 0;
    char *rest = cut(url, "://");
    char *at = rest ? memrchr(rest, '@', strcspn(rest, "/")) : NULL;

    if (!rest || (!unix_socket && strcmp(url, "redis") != 0))
        return false;
    if (at) {
        *at = '\0';
        ret->user = rest;
        ret->password = cut(rest, ":");
        rest = at + 1;
        if (!ret->password || !unescape(ret->user) || !unescape(ret->password))
            return false;
    }
    if (!(unix_socket ? split_unix(rest, ret) : split_tcp(rest, ret)))
        return false;
    return !ret->db || (*ret->db && ret->db[strspn(ret->db, "0123456789")] == '\0');
}

/* /path[?db=n] */
static bool split_unix(char *rest, struct address *ret)
{
    ret->db = cut(rest, "?db=");
    ret->path = rest;
    return rest[0] == '/' && unescape(rest);
}

/* host[:port][/db], where the host may be [::1] */
static bool split_tcp(char *rest, struct address *ret)
{
    ret->db = cut(rest, "/");
    if (ret->db && !*ret->db)
        ret->db = NULL; /* a slash and nothing */
    ret->host = rest;
    if (rest[0] == '[') {
        ret->host = rest + 1;
        rest = cut(rest, "]");
        if (!rest || (*rest && *rest != ':'))
            return false;
    }
    ret->port = cut(rest, ":");
    if (ret->port && (!*ret->port || strlen(ret->port) > 5 || ret->port[strspn(ret->port, "0123456789")]))
        return false;
    return ret->host[0] != '\0';
}

/* Ends text at the mark and returns what is behind it; NULL if there is no mark. */
static char *cut(char *text, const char *mark)
{
    char *at = strstr(text, mark);

    if (!at)
        return NULL;
    *at = '\0';
    return at + strlen(mark);
}

/* In place: %41 becomes A. No %00, which would end the text. */
static bool unescape(char *text)
{
    char *to = text;

    for (; *text; text++) {
        char digits[3] = {0};

        if (*text != '%') {
            *to++ = *text;
            continue;
        }
        if (!isxdigit((unsigned char)text[1]) || !isxdigit((unsigned char)text[2]))
            return false;
        memcpy(digits, text + 1, 2);
        *to = (char)strtol(digits, NULL, 16);
        if (*to++ == '\0')
            return false;
        text += 2;
    }
    *to = '\0';
    return true;
}

static redisContext *dial(const struct address *a, unsigned connect_timeout_ms, struct err *err)
{
    const struct timeval limit = {.tv_sec = connect_timeout_ms / 1000,
                                  .tv_usec = connect_timeout_ms % 1000L * 1000};
    const unsigned user_timeout_ms = TCP_USER_TIMEOUT_MS;
    redisContext *c =
        a->path ? redisConnectUnixWithTimeout(a->path, limit)
                : redisConnectWithTimeout(a->host, a->port ? (int)strtol(a->port, NULL, 10) : 6379, limit);

    if (!c)
        abort();
    if (!c->err && a->host) {
        redisEnableKeepAlive(c);
        setsockopt(c->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms, sizeof(user_timeout_ms));
    }
    /* From here on every wait is ours, with a deadline; hiredis must only try. */
    c->flags &= ~REDIS_BLOCK;
    if (!c->err && fcntl(c->fd, F_SETFL, fcntl(c->fd, F_GETFL) | O_NONBLOCK) == 0)
        return c;
    err_set(err, UNAVAILABLE, "Redis cannot be reached: %s",
            c->err ? c->errstr : "the socket cannot be made non-blocking");
    redisFree(c);
    return NULL;
}

static enum status greet(struct redis *r, const struct address *a, unsigned wait_ms, struct err *err)
{
    struct span user_and_password[] = {SPAN("auth"), span_of(a->user), span_of(a->password)};
    struct span password[] = {SPAN("auth"), span_of(a->password)};
    struct span db[] = {SPAN("select"), span_of(a->db)};
    struct span ping[] = {SPAN("ping")};
    struct redis_reply reply;
    enum status status = OK;

    if (a->password && a->user[0])
        status = redis_run(r, user_and_password, countof(user_and_password), wait_ms, &reply, err);
    else if (a->password)
        status = redis_run(r, password, countof(password), wait_ms, &reply, err);
    if (!status && a->db)
        status = redis_run(r, db, countof(db), wait_ms, &reply, err);
    if (!status)
        status = redis_run(r, ping, countof(ping), wait_ms, &reply, err);
    if (status && err)
        err->code = UNAVAILABLE;
    return status;
}

/* No command of ours is answered by one, and its announced size is the server's word. hiredis takes NULL for lack of
 * memory and the connection counts as lost. */
static void *refuse_array(const redisReadTask *task, int elements)
{
    (void)task;
    (void)elements;
    return NULL;
}

void redis_close(struct redis *r)
{
    if (!r)
        return;
    r->closing = true;
    lose(r, "it was closed");
    end_all(r);
    if (r->reply)
        freeReplyObject(r->reply);
    redisFree(r->context);
    free(r);
}

void redis_send(struct redis *r, const struct span *words, size_t n, redis_done *done, void *ctx)
{
    struct command *c = malloc(sizeof(*c));
    const char *at[WORDS_MAX];
    size_t lengths[WORDS_MAX];

    assert(!r->closing && n <= WORDS_MAX);
    if (!c)
        abort();
    *c = (struct command){.done = done, .ctx = ctx};
    *r->end = c;
    r->end = &c->next;
    r->nwaiting++;
    for (size_t i = 0; i < n; i++) {
        at[i] = words[i].at;
        lengths[i] = words[i].len;
    }
    if (!r->lost && redisAppendCommandArgv(r->context, (int)n, at, lengths) != REDIS_OK)
        lose(r, r->context->errstr);
}

static struct command take_oldest(struct redis *r)
{
    struct command *c = r->oldest, taken = *c;

    r->oldest = c->next;
    if (!r->oldest)
        r->end = &r->oldest;
    r->nwaiting--;
    free(c);
    return taken;
}

size_t redis_waiting(const struct redis *r)
{
    return r->nwaiting;
}

int redis_fd(const struct redis *r)
{
    return r->context->fd;
}

bool redis_flush(struct redis *r, bool *ret_wants_write)
{
    int all_sent = 1;

    if (!r->lost && redisBufferWrite(r->context, &all_sent) != REDIS_OK)
        lose(r, r->context->errstr);
    *ret_wants_write = !r->lost && !all_sent;
    return !r->lost;
}

bool redis_read(struct redis *r)
{
    void *reply = NULL;

    if (r->lost)
        return false;
    if (redisBufferRead(r->context) != REDIS_OK)
        lose(r, r->context->errstr);
    while (!r->lost) {
        if (redisReaderGetReply(r->context->reader, &reply) != REDIS_OK)
            lose(r, "it sends what is no answer to our commands");
        else if (!reply)
            break;
        else if (r->oldest)
            end_oldest(r, reply);
        else {
            freeReplyObject(reply);
            lose(r, "it speaks without being asked");
        }
    }
    if (r->context->reader->len - r->context->reader->pos > REPLY_BYTES_MAX)
        lose(r, "it sends more than any answer has");
    return !r->lost;
}

static void end_oldest(struct redis *r, redisReply *reply)
{
    struct command c = take_oldest(r);
    struct redis_reply answer = {
        .text = {reply->str, reply->len},
          .number = reply->integer
    };
    struct err err;

    if (r->reply)
        freeReplyObject(r->reply);
    r->reply = reply;
    switch (reply->type) {
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
        answer.kind = REDIS_TEXT;
        break;
    case REDIS_REPLY_INTEGER:
        answer.kind = REDIS_NUMBER;
        break;
    default:
        answer.kind = REDIS_NIL;
    }
    if (!c.done)
        return;
    if (reply->type != REDIS_REPLY_ERROR) {
        c.done(c.ctx, &answer, NULL);
        return;
    }
    /* Its first word, such as OOM or READONLY: what follows may quote the command. */
    err_set(&err, REJECTED, "Redis refuses: %.*s", (int)strcspn(reply->str, " \r\n"), reply->str);
    c.done(c.ctx, NULL, &err);
}

static void end_all(struct redis *r)
{
    while (r->oldest) {
        struct command c = take_oldest(r);
        struct err err;

        err_set(&err, UNAVAILABLE, "Redis connection lost: %s", r->why_lost);
        if (c.done)
            c.done(c.ctx, NULL, &err);
    }
}

/* Keeps the first reason. */
static void lose(struct redis *r, const char *why)
{
    if (r->lost)
        return;
    snprintf(r->why_lost, sizeof(r->why_lost), "%s", why);
    r->lost = true;
}

enum status redis_run(struct redis *r, const struct span *words, size_t n, unsigned wait_ms,
                      struct redis_reply *ret, struct err *err)
{
    struct run run = {.reply = ret};

    assert(!r->oldest);
    redis_send(r, words, n, after_run, &run);
    wait_until_answered(r, now_boot_us() + (int64_t)wait_ms * 1000);
    if (run.err.code && err)
        *err = run.err;
    return run.err.code;
}

/* Ends what waits with UNAVAILABLE when the connection is lost or the deadline passes: read first, since the answer may
 * have come while we were stopped. */
static void wait_until_answered(struct redis *r, int64_t deadline_boot_us)
{
    while (r->oldest) {
        int64_t left_us = deadline_boot_us - now_boot_us();
        struct pollfd p = {.fd = redis_fd(r), .events = POLLIN};
        bool wants_write, alive = redis_flush(r, &wants_write);

        if (wants_write)
            p.events |= POLLOUT;
        if (alive && poll(&p, 1, left_us > 0 ? (int)(left_us / 1000) + 1 : 0) > 0)
            alive = redis_read(r);
        if (alive && r->oldest && left_us <= 0)
            lose(r, "no answer in time");
        if (r->lost)
            end_all(r);
    }
}

/* The reply stays in r->reply until the next command is answered. */
static void after_run(void *ctx, const struct redis_reply *reply, const struct err *err)
{
    struct run *run = ctx;

    if (err)
        run->err = *err;
    else
        *run->reply = *reply;
}

static void close_arena(struct arena **arena)
{
    arena_close(*arena);
}
