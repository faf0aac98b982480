#include "base/log.h"

#include "base/now.h"

#include <poll.h>
#include <stdio.h>
#include <unistd.h>

/* A line is built here and written with one write(2): lines of several processes do not mix. */
struct line {
    char text[4000]; /* less than PIPE_BUF, so that a pipe takes it whole */
    size_t len;
};

static const char *program_name = "settle";
static enum log_level lowest_level = LOG_INFO;
static int64_t nlost; /* lines since the last one that could be written */

static void put_field(struct line *l, const struct log_field *f);
static void put_text(struct line *l, const char *name, struct span text);
static void put_int(struct line *l, const char *name, int64_t number);
static void put_name(struct line *l, const char *name);
static void put_raw(struct line *l, const char *text, size_t len);
static void put_escaped(struct line *l, struct span text);
static bool write_at_once(const struct line *l);

void log_open(const char *program, enum log_level lowest)
{
    program_name = program;
    lowest_level = lowest;
}

bool log_level_parse(struct span word, enum log_level *ret)
{
    static const char *const words[] = {"debug", "info", "warn", "error"};

    for (size_t i = 0; i < countof(words); i++)
        if (span_eq(word, span_of(words[i]))) {
            *ret = (enum log_level)i;
            return true;
        }
    return false;
}

void log_write(enum log_level level, const char *event, const struct log_field *fields)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    struct line l = {.len = 0};
    char now[TIME_TEXT_BYTES];

    if (level < lowest_level)
        return;
    time_text(now_wall_us(), now, sizeof(now));
    put_text(&l, "ts", span_of(now));
    put_text(&l, "level", span_of(names[level]));
    put_text(&l, "event", span_of(event));
    put_text(&l, "program", span_of(program_name));
    put_int(&l, "pid", getpid());
    if (nlost > 0)
        put_int(&l, "lost", nlost);
    for (; fields->name; fields++)
        put_field(&l, fields);
    put_raw(&l, "}\n", 2);
    nlost = write_at_once(&l) ? 0 : nlost + 1;
}

static void put_field(struct line *l, const struct log_field *f)
{
    char text[ID_TEXT_BYTES];

    switch (f->kind) {
    case LOG_IS_INT:
        put_int(l, f->name, f->number);
        break;
    case LOG_IS_SPAN:
        put_text(l, f->name, f->text);
        break;
    case LOG_IS_ID:
        id_text(f->id, text);
        put_text(l, f->name, span_of(text));
        break;
    case LOG_IS_BOOL:
        put_name(l, f->name);
        put_raw(l, f->truth ? "true" : "false", f->truth ? 4 : 5);
        break;
    case LOG_IS_ERR:
        put_text(l, "error", span_of(f->err->text));
        put_text(l, "status", span_of(status_name(f->err->code)));
        if (f->err->cause)
            put_text(l, "cause", span_of(f->err->cause));
        if (f->err->sqlstate[0])
            put_text(l, "sqlstate", span_of(f->err->sqlstate));
        break;
    }
}

static void put_text(struct line *l, const char *name, struct span text)
{
    put_name(l, name);
    if (!text.at) {
        put_raw(l, "null", 4);
        return;
    }
    put_raw(l, "\"", 1);
    put_escaped(l, text);
    put_raw(l, "\"", 1);
}

static void put_int(struct line *l, const char *name, int64_t number)
{
    char text[24];

    put_name(l, name);
    put_raw(l, text, (size_t)snprintf(text, sizeof(text), "%lld", (long long)number));
}

static void put_name(struct line *l, const char *name)
{
    put_raw(l, l->len ? ",\"" : "{\"", 2);
    put_raw(l, name, strlen(name));
    put_raw(l, "\":", 2);
}

/* Keeps room for the closing quote, brace and line end, whatever is cut. */
static void put_raw(struct line *l, const char *text, size_t len)
{
    size_t limit = sizeof(l->text) - (len <= 2 ? 0 : 8);

    if (l->len + len > limit)
        return;
    memcpy(l->text + l->len, text, len);
    l->len += len;
}

static void put_escaped(struct line *l, struct span text)
{
    if (text.len > 600) /* long values tell nothing more and would push others out */
        text.len = 600;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.at[i];
        char escaped[8];

        if (l->len > sizeof(l->text) - 64)
            return;
        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\')
            put_raw(l, (const char *)&c, 1);
        else if (c == '"' || c == '\\')
            put_raw(l, (const char[]){'\\', (char)c}, 2);
        else /* control bytes, and all beyond ASCII byte by byte: a cut or bad UTF-8 cannot spoil the line */
            put_raw(l, escaped, (size_t)snprintf(escaped, sizeof(escaped), "\\u%04x", c));
    }
}

/* Whoever reads our lines and stops must not stop us: a pipe that is ready takes PIPE_BUF bytes without waiting. */
static bool write_at_once(const struct line *l)
{
    struct pollfd to = {.fd = STDERR_FILENO, .events = POLLOUT};

    return poll(&to, 1, 0) == 1 && (to.revents & POLLOUT) && write(STDERR_FILENO, l->text, l->len) > 0;
}
