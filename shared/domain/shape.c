#include "domain/shape.h"

#include "base/now.h"
#include "base/utf8.h"
#include "domain/moment.h"

/* What is looked at: no word and no time is as long. */
enum { WORD_BYTES = 1000, TIME_BYTES = 100 };

/* Other times are none: a platform's mistake must not outweigh others. */
static const int64_t earliest_us = INT64_C(946684800) * SECOND_US, ahead_us = INT64_C(1440) * MINUTE_US;

static struct span read_word(struct extract *x, const struct payload *p);
static int64_t read_time(struct extract *x, const struct pointer *p, int64_t now_us);
static struct span read_extras(struct extract *x, const struct payload *p,
                               const struct shape_headers *headers);
static struct span read_extra(struct extract *x, const struct field *f, const struct shape_headers *headers);
static struct span read_header(const struct shape_headers *headers, struct span name, struct arena *arena);

bool shape_holds(struct extract *x, const struct condition *c)
{
    struct span text;

    if (!c->at)
        return true;
    if (c->nwords == 0)
        return shape_is_given(extract_at(x, c->at));
    text = shape_text(x, c->at, WORD_BYTES);
    for (size_t i = 0; text.at && i < c->nwords; i++)
        if (span_eq(text, c->words[i]))
            return true;
    return false;
}

void shape_read(struct extract *x, const struct payload *p, const struct shape_headers *headers,
                int64_t now_us, struct said *ret)
{
    ret->word = read_word(x, p);
    ret->status = shape_cut(ret->word, STATUS_BYTES);
    ret->url = shape_text(x, p->url, URL_BYTES);
    if (ret->url.len > URL_BYTES)
        ret->url = SPAN_NONE;
    ret->reason = shape_cut(shape_text(x, p->reason, REASON_BYTES), REASON_BYTES);
    ret->happened_us = read_time(x, p->time, now_us);
    ret->extras = read_extras(x, p, headers);
}

/* Only a status that is not given at all is the default: one that we cannot read must not count as a success. */
static struct span read_word(struct extract *x, const struct payload *p)
{
    struct span text =
        shape_is_given(extract_at(x, p->status)) ? shape_text(x, p->status, WORD_BYTES) : p->status_default;

    for (size_t i = 0; text.at && i < p->nstatus_words; i++)
        if (span_eq(text, p->status_words[i].from))
            return p->status_words[i].to;
    return text;
}

static int64_t read_time(struct extract *x, const struct pointer *p, int64_t now_us)
{
    struct span text = shape_text(x, p, TIME_BYTES);
    int64_t time_us;

    if (!text.at || !moment_parse(text, &time_us))
        return TIME_NONE;
    return time_us >= earliest_us && time_us <= now_us + ahead_us ? time_us : TIME_NONE;
}

/* {"task_id":"t1","complete":true}: each value as the platform wrote it. */
static struct span read_extras(struct extract *x, const struct payload *p,
                               const struct shape_headers *headers)
{
    struct span *pieces = arena_alloc(x->arena, p->nextras * sizeof(*pieces) + 1);
    size_t len = 1;
    char *text, *to;

    for (size_t i = 0; i < p->nextras; i++) {
        pieces[i] = read_extra(x, &p->extras[i], headers);
        if (pieces[i].at)
            len += p->extras[i].name.len + pieces[i].len + strlen("\"\":,");
    }
    if (len == 1)
        return SPAN_NONE;

    text = to = arena_alloc(x->arena, len);
    for (size_t i = 0; i < p->nextras; i++) {
        struct span name = p->extras[i].name;
        if (!pieces[i].at)
            continue;
        *to = to == text ? '{' : ',';
        to[1] = '"';
        to = mempcpy(to + 2, name.at, name.len);
        to = mempcpy(to, "\":", 2);
        to = mempcpy(to, pieces[i].at, pieces[i].len);
    }
    *to = '}';
    return (struct span){text, len};
}

/* The value as sent, if jsonb takes it wherever it goes later: no NUL, no lone surrogate, and no number whose
 * exponent would unfold to thousands of digits. */
static struct span read_extra(struct extract *x, const struct field *f, const struct shape_headers *headers)
{
    struct place at = extract_at(x, f->at);
    struct span raw;

    if (!f->at)
        return read_header(headers, f->header, x->arena);
    if (!shape_is_given(at))
        return SPAN_NONE;
    raw = doc_raw(at.doc, at.node);
    if (raw.len > EXTRA_BYTES || !doc_text(at.doc, at.node, x->arena).at)
        return SPAN_NONE;
    if (at.doc->nodes[at.node].type == DOC_NUMBER &&
        (memchr(raw.at, 'e', raw.len) || memchr(raw.at, 'E', raw.len)))
        return SPAN_NONE;
    return raw;
}

/* The first of that name, as JSON. It may hold any bytes. */
static struct span read_header(const struct shape_headers *headers, struct span name, struct arena *arena)
{
    struct span value = SPAN_NONE;

    for (size_t i = 0; i < headers->nheaders && !value.at; i++)
        if (span_eq(headers->headers[i].name, name))
            value = headers->headers[i].value;
    if (!value.at || value.len == 0 || value.len > EXTRA_BYTES || memchr(value.at, '\0', value.len) ||
        !utf8_valid(value))
        return SPAN_NONE;
    value = doc_quote(value, arena);
    return value.len > EXTRA_BYTES ? SPAN_NONE : value;
}

struct span shape_text(struct extract *x, const struct pointer *p, size_t most)
{
    struct place at = extract_at(x, p);

    return at.doc ? doc_text_start(at.doc, at.node, most, x->arena) : SPAN_NONE;
}

bool shape_is_given(struct place at)
{
    const struct doc_node *n = at.doc ? &at.doc->nodes[at.node] : NULL;

    return n && n->type != DOC_NULL && !(n->type == DOC_STRING && n->len == 0);
}

struct span shape_cut(struct span text, size_t most)
{
    if (!text.at || text.len <= most)
        return text;
    while (most > 0 && ((unsigned char)text.at[most] & 0xc0) == 0x80)
        most--;
    return (struct span){text.at, most};
}
