#include "capture.h"

#include "base/number.h"

static enum status read_start(struct span line, struct capture *ret, struct err *err);
static enum status read_header(struct span line, size_t at, struct arena *arena, struct capture *ret,
                               struct err *err);
static bool next_line(struct span *rest, struct span *ret);
static struct span lowered(struct span name, struct arena *arena);
static struct span trimmed(struct span value);
static bool is_name(struct span name);

enum status capture_read(struct span text, struct arena *arena, struct capture *ret, struct err *err)
{
    struct span line;

    *ret = (struct capture){.headers = arena_alloc(arena, CAPTURE_HEADERS_MAX * sizeof(struct header))};
    if (!next_line(&text, &line))
        return err_set(err, INVALID, "line 1: want a request line such as \"POST /path HTTP/1.1\"");
    if (read_start(line, ret, err))
        return err->code;
    for (size_t at = 2;; at++) {
        if (!next_line(&text, &line))
            return err_set(err, INVALID, "line %zu: the blank line behind the headers is missing", at);
        if (line.len == 0)
            break;
        if (read_header(line, at, arena, ret, err))
            return err->code;
    }
    ret->body = text;
    return OK;
}

static enum status read_start(struct span line, struct capture *ret, struct err *err)
{
    ret->method = span_cut(&line, ' ');
    ret->query = line.at ? span_cut(&line, ' ') : SPAN_NONE;
    if (!line.at || !span_starts(line, SPAN("HTTP/")) || ret->method.len == 0 || ret->query.len == 0)
        return err_set(err, INVALID, "line 1: want a request line such as \"POST /path HTTP/1.1\"");
    ret->path = span_cut(&ret->query, '?');
    return OK;
}

static enum status read_header(struct span line, size_t at, struct arena *arena, struct capture *ret,
                               struct err *err)
{
    struct span value = line, name = span_cut(&value, ':');
    struct header *h = &ret->headers[ret->nheaders];

    if (!value.at || !is_name(name))
        return err_set(err, INVALID,
                       "line %zu: want \"Name: value\", or the blank line that ends the headers before it",
                       at);
    if (ret->nheaders == CAPTURE_HEADERS_MAX)
        return err_set(err, INVALID, "line %zu: more than %d headers", at, CAPTURE_HEADERS_MAX);
    *h = (struct header){lowered(name, arena), trimmed(value)};
    ret->nheaders++;
    if (span_eq(h->name, SPAN("content-length"))) {
        if (!number_parse(h->value, 0, UINT64_MAX, &ret->length))
            return err_set(err, INVALID, "line %zu: Content-Length is no number", at);
        ret->has_length = true;
    }
    return OK;
}

/* Without its end. False: no line end is left. */
static bool next_line(struct span *rest, struct span *ret)
{
    *ret = span_cut(rest, '\n');
    if (!rest->at)
        return false;
    if (ret->len > 0 && ret->at[ret->len - 1] == '\r')
        ret->len--;
    return true;
}

static struct span lowered(struct span name, struct arena *arena)
{
    char *copy = arena_alloc(arena, name.len);

    for (size_t i = 0; i < name.len; i++)
        copy[i] = name.at[i] >= 'A' && name.at[i] <= 'Z' ? (char)(name.at[i] - 'A' + 'a') : name.at[i];
    return (struct span){copy, name.len};
}

static struct span trimmed(struct span value)
{
    while (value.len > 0 && (value.at[0] == ' ' || value.at[0] == '\t'))
        value = span_skip(value, 1);
    while (value.len > 0 && (value.at[value.len - 1] == ' ' || value.at[value.len - 1] == '\t'))
        value.len--;
    return value;
}

/* RFC 9110, 5.1: a token. A line that goes on the one before has none. */
static bool is_name(struct span name)
{
    static const char others[] = "!#$%&'*+-.^_`|~";

    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        if (!(c >= '0' && c <= '9') && !(c >= 'A' && c <= 'Z') && !(c >= 'a' && c <= 'z') &&
            (c == '\0' || !strchr(others, c)))
            return false;
    }
    return name.len > 0;
}
