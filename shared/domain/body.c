#include "domain/body.h"

#include "base/doc.h"
#include "base/utf8.h"
#include "domain/atom.h"
#include "domain/platform.h"
#include "domain/urlform.h"

#include <stdlib.h>

static enum body_format told_by_start(struct span body);
static enum status form_as_json(struct span body, struct arena *arena, struct span *ret, struct err *err);
static size_t first_of_each(const struct urlform_pair *pairs, size_t n, const struct urlform_pair **ret);
static int compare_pairs(const void *a, const void *b);
static struct span write_object(const struct urlform_pair *const *pairs, size_t n, struct arena *arena);

enum status body_as_json(unsigned formats, struct span body, struct arena *arena, struct span *ret,
                         struct err *err)
{
    unsigned format = formats == BODY_JSON ? BODY_JSON : formats & told_by_start(body);

    if (format == BODY_FORM)
        return form_as_json(body, arena, ret, err);
    if (format == BODY_ATOM)
        return atom_as_json(body, arena, ret, err);
    *ret = body;
    return OK;
}

static enum body_format told_by_start(struct span body)
{
    static const struct span mark = {"\xef\xbb\xbf", 3}; /* of byte order: XML may begin with it */

    if (span_starts(body, mark))
        body = span_skip(body, mark.len);
    while (body.len > 0 && memchr(" \t\r\n", body.at[0], strlen(" \t\r\n")))
        body = span_skip(body, 1);
    if (body.len > 0 && (body.at[0] == '{' || body.at[0] == '['))
        return BODY_JSON;
    return body.len > 0 && body.at[0] == '<' ? BODY_ATOM : BODY_FORM;
}

static enum status form_as_json(struct span body, struct arena *arena, struct span *ret, struct err *err)
{
    const struct urlform_pair **firsts;
    struct urlform_pair *pairs;
    size_t n;

    if (!urlform_read(body, arena, &pairs, &n))
        return err_cause(err, INVALID, "malformed_form", "a form of more than %d fields", URLFORM_PAIRS_MAX);
    firsts = arena_alloc(arena, n * sizeof(struct urlform_pair *) + 1);
    n = first_of_each(pairs, n, firsts);
    *ret = write_object(firsts, n, arena);
    return OK;
}

/* Of each name the first pair, if name and value are UTF-8. By sorting: names are the sender's, and a thousand long ones
 * must not be compared each with each. */
static size_t first_of_each(const struct urlform_pair *pairs, size_t n, const struct urlform_pair **ret)
{
    struct span last = SPAN_NONE;
    size_t nfirst = 0;

    for (size_t i = 0; i < n; i++)
        ret[i] = &pairs[i];
    if (n > 0)
        qsort((void *)ret, n, sizeof(struct urlform_pair *), compare_pairs);
    for (size_t i = 0; i < n; i++) {
        const struct urlform_pair *pair = ret[i];
        bool again = last.at && span_eq(pair->name, last);
        last = pair->name;
        if (!again && utf8_valid(pair->name) && utf8_valid(pair->value))
            ret[nfirst++] = pair;
    }
    return nfirst;
}

/* By name, those of one name in the order of the text. */
static int compare_pairs(const void *a, const void *b)
{
    const struct urlform_pair *x = *(const struct urlform_pair *const *)a;
    const struct urlform_pair *y = *(const struct urlform_pair *const *)b;
    int order = span_compare(x->name, y->name);

    return order ? order : (x > y) - (x < y);
}

static struct span write_object(const struct urlform_pair *const *pairs, size_t n, struct arena *arena)
{
    struct span *quoted = arena_alloc(arena, 2 * n * sizeof(*quoted) + 1);
    size_t len = 2;
    char *text, *to;

    for (size_t i = 0; i < n; i++) {
        quoted[2 * i] = doc_quote(pairs[i]->name, arena);
        quoted[2 * i + 1] = doc_quote(pairs[i]->value, arena);
        len += quoted[2 * i].len + quoted[2 * i + 1].len + strlen(":,");
    }
    text = to = arena_alloc(arena, len);
    *to++ = '{';
    for (size_t i = 0; i < 2 * n; i++) {
        to = mempcpy(to, quoted[i].at, quoted[i].len);
        *to++ = i % 2 == 0 ? ':' : ',';
    }
    if (n > 0)
        to--; /* the last comma */
    *to++ = '}';
    return (struct span){text, (size_t)(to - text)};
}
