#include "framing.h"

struct framing {
    bool http11;
    unsigned hosts, lengths, encodings;
    bool chunked;
};

static const char *read_line(struct span *rest, struct span *ret);
static const char *read_request_line(struct framing *f, struct span line);
static const char *read_header(struct framing *f, struct span line);
static const char *conclude(const struct framing *f);
static bool is_method(struct span s);
static bool is_path(struct span s);
static bool is_host(struct span s);
static bool is_number(struct span s);
static struct span trimmed(struct span s);

enum status framing_check(struct span input, bool *ret_chunked, struct err *err)
{
    struct span rest = input.len > FRAMING_HEAD_MAX ? (struct span){input.at, FRAMING_HEAD_MAX} : input, line;
    struct framing f = {.http11 = false};
    const char *wrong;

    if (span_starts(rest, SPAN("\r\n"))) /* RFC 9112, 2.2: one empty line before a request is to be ignored */
        rest = span_skip(rest, 2);
    wrong = read_line(&rest, &line);
    if (!wrong)
        wrong = read_request_line(&f, line);
    while (!wrong && !(wrong = read_line(&rest, &line)) && line.len > 0)
        wrong = read_header(&f, line);
    if (!wrong)
        wrong = conclude(&f);
    *ret_chunked = f.chunked;
    if (wrong && rest.at == NULL)
        return err_cause(err, INVALID, "head_too_large", "the request's head is over %d bytes",
                         FRAMING_HEAD_MAX);
    return wrong ? err_cause(err, INVALID, "malformed_framing", "%s", wrong) : OK;
}

/* Takes one line without its end. *rest becomes absent when no end is in sight. */
static const char *read_line(struct span *rest, struct span *ret)
{
    *ret = span_cut(rest, '\n');
    if (!rest->at)
        return "the head does not end";
    if (ret->len == 0 || ret->at[ret->len - 1] != '\r')
        return "a line of the head ends without a carriage return";
    ret->len--;
    if (ret->len > 0 && (memchr(ret->at, '\r', ret->len) || memchr(ret->at, '\0', ret->len)))
        return "a line of the head holds a carriage return or a NUL";
    return NULL;
}

static const char *read_request_line(struct framing *f, struct span line)
{
    struct span method = span_cut(&line, ' '), target = span_cut(&line, ' ');

    f->http11 = span_eq(line, SPAN("HTTP/1.1"));
    if (!is_method(method))
        return "the request line does not begin with a method";
    if (!f->http11 && !span_eq(line, SPAN("HTTP/1.0")))
        return "the request line is not of HTTP/1.1 or HTTP/1.0";
    if (!is_path(target))
        return "the request's target is not a path";
    return NULL;
}

static const char *read_header(struct framing *f, struct span line)
{
    struct span value = line, name = span_cut(&value, ':');

    if (name.len == 0 || !value.at || name.at[0] == ' ' || name.at[0] == '\t')
        return "a header is folded or has no name";
    if (name.at[name.len - 1] == ' ' || name.at[name.len - 1] == '\t')
        return "a header has a blank before its colon";
    value = trimmed(value);
    if (span_eq_nocase(name, SPAN("host"))) {
        f->hosts++;
        if (!is_host(value))
            return "Host is not a host";
    } else if (span_eq_nocase(name, SPAN("content-length"))) {
        f->lengths++;
        if (!is_number(value))
            return "Content-Length is not a number";
    } else if (span_eq_nocase(name, SPAN("transfer-encoding"))) {
        f->encodings++;
        f->chunked = true;
        if (!span_eq_nocase(value, SPAN("chunked")))
            return "Transfer-Encoding is not chunked";
    } else if (span_eq_nocase(name, SPAN("content_length")) ||
               span_eq_nocase(name, SPAN("transfer_encoding"))) {
        return "a header that some readers take for the body's length"; /* "_" for "-" */
    }
    return NULL;
}

static const char *conclude(const struct framing *f)
{
    if (f->lengths + f->encodings > 1)
        return "more than one header says how long the body is";
    if (f->encodings > 0 && !f->http11)
        return "Transfer-Encoding in HTTP/1.0";
    if (f->hosts > 1 || (f->http11 && f->hosts == 0))
        return "not exactly one Host";
    return NULL;
}

static bool is_method(struct span s)
{
    bool good = s.len > 0;

    for (size_t i = 0; i < s.len; i++)
        good &= (s.at[i] >= 'A' && s.at[i] <= 'Z') || s.at[i] == '-';
    return good;
}

/* What it names is for others to judge, but no reader may end it elsewhere. */
static bool is_path(struct span s)
{
    unsigned bad = s.len == 0 || s.at[0] != '/';

    for (size_t i = 0; i < s.len; i++) /* without a branch: it is the longest of the checks */
        bad |= ((unsigned char)s.at[i] - (unsigned)'!' > '~' - '!') | (s.at[i] == '#');
    return !bad;
}

/* No list, user or path: readers differ in which part of those is the host. */
static bool is_host(struct span s)
{
    bool good = s.len > 0;

    for (size_t i = 0; i < s.len && good; i++) {
        unsigned letter = (unsigned char)(s.at[i] | 0x20), other = (unsigned char)s.at[i];
        good = letter - 'a' < 26 || (other - '-' <= ':' - '-' && other != '/') ||
               (other != '\0' && strchr("_~%[]", s.at[i]));
    }
    return good;
}

static bool is_number(struct span s)
{
    if (s.len == 0 || s.len > 18)
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (s.at[i] < '0' || s.at[i] > '9')
            return false;
    return true;
}

static struct span trimmed(struct span s)
{
    while (s.len > 0 && (s.at[0] == ' ' || s.at[0] == '\t'))
        s = span_skip(s, 1);
    while (s.len > 0 && (s.at[s.len - 1] == ' ' || s.at[s.len - 1] == '\t'))
        s.len--;
    return s;
}
