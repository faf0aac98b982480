#include "base/doc.h"

#include "base/utf8.h"

#include <endian.h>
#include <stdlib.h>

/* So many names of an object are looked at for a new one; in one with more, names are sorted. */
enum { NAMES_COMPARED_MAX = 32 };

/* A name of an object, unescaped. */
struct doc_name {
    struct span text;
    uint32_t object, key; /* nodes */
};

enum { RUNE_BYTES = 4 };

static const char name_twice[] = "a name comes twice";

/* What must follow in the text. */
enum step { WRONG, WANTS_VALUE, HAS_VALUE };

struct reader {
    const char *at, *end;
    struct doc *doc;
    struct arena *arena;
    uint32_t room;                /* nodes there is memory for */
    uint32_t depth;               /* containers open at `at` */
    uint32_t open[DOC_DEPTH_MAX]; /* their nodes, outermost first */
    bool sorts;                   /* an object's names wait for sort_names */
    const char *wrong;            /* why it stopped */
};

static enum step read_value(struct reader *r);
static enum step read_behind_value(struct reader *r);
static enum step read_open(struct reader *r, enum doc_type type);
static enum step read_close(struct reader *r);
static enum step read_name(struct reader *r);
static bool add_name(struct reader *r, uint32_t key);
static bool is_new(const struct reader *r, struct doc_node *object, const struct doc_node *name);
static uint64_t hint_of(struct span name);
static enum step read_string(struct reader *r);
static enum step read_number(struct reader *r);
static enum step read_word(struct reader *r, enum doc_type type, struct span word);
static bool skip_escape(struct reader *r);
static bool skip_rune(struct reader *r);
static bool skip_digits(struct reader *r);
static void skip_blanks(struct reader *r);
static const char *skip_plain(const char *at, const char *end);
static enum step stop(struct reader *r, const char *why);
static struct doc_node *node_add(struct reader *r, enum doc_type type);
static bool nodes_grow(struct reader *r);
static struct span raw_text(const struct doc *d, const struct doc_node *n);
static void sort_names(struct reader *r);
static struct span name_text(const struct doc *d, const struct doc_node *key, struct arena *arena);
static int compare_names(const void *a, const void *b);
static uint32_t find_name(const struct doc *d, uint32_t object, struct span name);
static uint32_t unescape(struct span *s);
static char escape_meaning(char c);
static bool is_text(uint32_t rune);
static size_t encode_rune(uint32_t rune, char *ret);
static bool unescape_unit(struct span s, uint32_t *ret);

enum status doc_parse(struct doc *ret, struct span text, struct arena *arena, struct err *err)
{
    struct reader r = {.at = text.at, .end = text.at + text.len, .doc = ret, .arena = arena};
    enum step step = WRONG;

    *ret = (struct doc){.text = text};
    if (text.len > UINT32_MAX)
        return err_cause(err, INVALID, "malformed_json", "longer than %u bytes", UINT32_MAX);

    skip_blanks(&r);
    do {
        step = read_value(&r);
        while (step == HAS_VALUE && r.depth > 0)
            step = read_behind_value(&r);
    } while (step == WANTS_VALUE);

    skip_blanks(&r);
    if (step == HAS_VALUE && r.at < r.end)
        stop(&r, "bytes behind the value");
    if (!r.wrong && r.sorts)
        sort_names(&r);
    if (r.wrong)
        return err_cause(err, INVALID, "malformed_json", "not JSON at byte %zu: %s", (size_t)(r.at - text.at),
                         r.wrong);
    return OK;
}

uint32_t doc_member(const struct doc *d, uint32_t node, struct span name)
{
    const struct doc_node *object = &d->nodes[node];

    if (object->type != DOC_OBJECT)
        return 0;
    if (object->escaped)
        return find_name(d, node, name);
    for (uint32_t key = node + 1; key < object->next; key = d->nodes[key + 1].next)
        if (span_eq(raw_text(d, &d->nodes[key]), name))
            return key + 1;
    return 0;
}

uint32_t doc_element(const struct doc *d, uint32_t node, size_t index)
{
    const struct doc_node *array = &d->nodes[node];
    uint32_t element = node + 1;

    if (array->type != DOC_ARRAY)
        return 0;
    for (; element < array->next && index > 0; index--)
        element = d->nodes[element].next;
    return element < array->next ? element : 0;
}

struct span doc_raw(const struct doc *d, uint32_t node)
{
    const struct doc_node *n = &d->nodes[node];
    size_t quote = n->type == DOC_STRING;

    return (struct span){d->text.at + n->at - quote, n->len + 2 * quote};
}

struct span doc_text(const struct doc *d, uint32_t node, struct arena *arena)
{
    return doc_text_start(d, node, d->nodes[node].len,
                          arena); /* an escape is never shorter than what it stands for */
}

struct span doc_text_start(const struct doc *d, uint32_t node, size_t most, struct arena *arena)
{
    const struct doc_node *n = &d->nodes[node];
    struct span rest = raw_text(d, n);
    char *text;
    size_t len = 0;

    if (n->type == DOC_NULL || n->type >= DOC_ARRAY)
        return SPAN_NONE;
    if (!n->escaped)
        return rest;

    text = arena_alloc(arena, (rest.len < most ? rest.len : most) + RUNE_BYTES);
    while (rest.len > 0 && len <= most) {
        const char *escape = memchr(rest.at, '\\', rest.len);
        size_t plain = escape ? (size_t)(escape - rest.at) : rest.len;
        uint32_t rune;
        if (plain > most + 1 - len) { /* as much as shows that it is too long */
            plain = most + 1 - len;
            escape = NULL;
        }
        memcpy(text + len, rest.at, plain);
        len += plain;
        rest = span_skip(rest, plain);
        if (!escape)
            break;
        rune = unescape(&rest);
        if (!is_text(rune))
            return SPAN_NONE;
        len += encode_rune(rune, text + len);
    }
    return (struct span){text, len};
}

struct span doc_quote(struct span s, struct arena *arena)
{
    static const char digits[] = "0123456789abcdef", control[] = {'\\', 'u', '0', '0'};
    size_t len = s.len + 2;
    char *text, *to;

    for (size_t i = 0; i < s.len; i++)
        len += (unsigned char)s.at[i] < 0x20 ? sizeof(control) + 1 : s.at[i] == '"' || s.at[i] == '\\';
    text = to = arena_alloc(arena, len);
    *to++ = '"';
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.at[i];
        if (c < 0x20) {
            to = mempcpy(to, control, sizeof(control));
            *to++ = digits[c >> 4];
            *to++ = digits[c & 15];
            continue;
        }
        if (c == '"' || c == '\\')
            *to++ = '\\';
        *to++ = (char)c;
    }
    *to++ = '"';
    return (struct span){text, len};
}

static enum step read_value(struct reader *r)
{
    if (r->at == r->end)
        return stop(r, "a value is missing");
    switch (*r->at) {
    case '{':
        return read_open(r, DOC_OBJECT);
    case '[':
        return read_open(r, DOC_ARRAY);
    case '"':
        return read_string(r);
    case 't':
        return read_word(r, DOC_TRUE, SPAN("true"));
    case 'f':
        return read_word(r, DOC_FALSE, SPAN("false"));
    case 'n':
        return read_word(r, DOC_NULL, SPAN("null"));
    default:
        return read_number(r);
    }
}

/* Behind a value inside a container: a comma and what it promises, or the container's end. */
static enum step read_behind_value(struct reader *r)
{
    bool object = r->doc->nodes[r->open[r->depth - 1]].type == DOC_OBJECT;

    skip_blanks(r);
    if (r->at == r->end)
        return stop(r, "an object or array without end");
    if (*r->at == (object ? '}' : ']'))
        return read_close(r);
    if (*r->at != ',')
        return stop(r, object ? "neither a comma nor a }" : "neither a comma nor a ]");
    r->at++;
    skip_blanks(r);
    return object ? read_name(r) : WANTS_VALUE;
}

static enum step read_open(struct reader *r, enum doc_type type)
{
    struct doc_node *n;

    if (r->depth == DOC_DEPTH_MAX)
        return stop(r, "nested too deeply");
    n = node_add(r, type);
    if (!n)
        return WRONG;
    n->hints = 0;
    r->open[r->depth++] = r->doc->nnodes - 1;
    r->at++;
    skip_blanks(r);
    if (r->at < r->end && *r->at == (type == DOC_OBJECT ? '}' : ']'))
        return read_close(r);
    return type == DOC_OBJECT ? read_name(r) : WANTS_VALUE;
}

static enum step read_close(struct reader *r)
{
    struct doc_node *n = &r->doc->nodes[r->open[--r->depth]];

    r->at++;
    n->len = (uint32_t)(r->at - r->doc->text.at) - n->at;
    n->next = r->doc->nnodes;
    r->sorts |= n->escaped;
    return HAS_VALUE;
}

static enum step read_name(struct reader *r)
{
    uint32_t key = r->doc->nnodes;

    if (r->at == r->end || *r->at != '"')
        return stop(r, "a name in quotes is missing");
    if (read_string(r) == WRONG)
        return WRONG;
    if (!add_name(r, key))
        return stop(r, name_twice);
    skip_blanks(r);
    if (r->at == r->end || *r->at != ':')
        return stop(r, "a colon is missing");
    r->at++;
    skip_blanks(r);
    return WANTS_VALUE;
}

/* False: the innermost object has that name already. A hint that is not there yet says that the name is new. */
static bool add_name(struct reader *r, uint32_t key)
{
    struct doc_node *object = &r->doc->nodes[r->open[r->depth - 1]], *name = &r->doc->nodes[key];
    uint64_t hint = hint_of(raw_text(r->doc, name));

    if (name->escaped)
        object->escaped = true;
    if (object->hints & hint)
        return object->escaped || is_new(r, object, name);
    object->hints |= hint;
    return true;
}

/* Where that would take long, and where names are escaped, it is left to sort_names. */
static bool is_new(const struct reader *r, struct doc_node *object, const struct doc_node *name)
{
    const struct doc_node *nodes = r->doc->nodes, *other = object + 1;

    for (unsigned n = 0; other < name; n++) {
        if (span_eq(raw_text(r->doc, other), raw_text(r->doc, name)))
            return false;
        if (n == NAMES_COMPARED_MAX) {
            object->escaped = true;
            return true;
        }
        other = &nodes[other[1].next];
    }
    return true;
}

/* One bit of 64, by what tells short names apart. */
static uint64_t hint_of(struct span name)
{
    uint32_t mix = (uint32_t)name.len;

    if (name.len > 0)
        mix += (unsigned char)name.at[0] * 3U + (unsigned char)name.at[name.len - 1] * 17U;
    return UINT64_C(1) << (mix & 63);
}

static enum step read_string(struct reader *r)
{
    struct doc_node *n = node_add(r, DOC_STRING);

    if (!n)
        return WRONG;
    r->at++;
    n->at++;
    for (;;) {
        unsigned char c;
        r->at = skip_plain(r->at, r->end);
        if (r->at == r->end)
            return stop(r, "a string without end");
        c = (unsigned char)*r->at;
        if (c == '"')
            break;
        if (c < 0x20)
            return stop(r, "a control byte in a string");
        if (c == '\\' ? !skip_escape(r) : !skip_rune(r))
            return WRONG;
        n->escaped |= c == '\\';
    }
    n->len = (uint32_t)(r->at - r->doc->text.at) - n->at;
    r->at++;
    return HAS_VALUE;
}

static enum step read_number(struct reader *r)
{
    struct doc_node *n = node_add(r, DOC_NUMBER);

    if (!n)
        return WRONG;
    r->at += *r->at == '-';
    if (r->at < r->end && *r->at == '0')
        r->at++;
    else if (!skip_digits(r))
        return stop(r, "not a value");
    if (r->at < r->end && *r->at == '.') {
        r->at++;
        if (!skip_digits(r))
            return stop(r, "a number without digits behind its point");
    }
    if (r->at < r->end && (*r->at == 'e' || *r->at == 'E')) {
        r->at++;
        r->at += r->at < r->end && (*r->at == '+' || *r->at == '-');
        if (!skip_digits(r))
            return stop(r, "a number without digits in its exponent");
    }
    n->len = (uint32_t)(r->at - r->doc->text.at) - n->at;
    return HAS_VALUE;
}

static enum step read_word(struct reader *r, enum doc_type type, struct span word)
{
    struct doc_node *n;

    if (!span_starts((struct span){r->at, (size_t)(r->end - r->at)}, word))
        return stop(r, "not a value");
    n = node_add(r, type);
    if (!n)
        return WRONG;
    n->len = (uint32_t)word.len;
    r->at += word.len;
    return HAS_VALUE;
}

/* Only the form: a lone surrogate is grammatical, and doc_text says that it is no text. */
static bool skip_escape(struct reader *r)
{
    uint32_t unit;

    if (r->end - r->at < 2)
        return stop(r, "an escape without end");
    if (r->at[1] != 'u') {
        if (escape_meaning(r->at[1]) == 0)
            return stop(r, "no such escape");
        r->at += 2;
        return true;
    }
    if (!unescape_unit((struct span){r->at, (size_t)(r->end - r->at)}, &unit))
        return stop(r, "an escape without four hex digits");
    r->at += 6;
    return true;
}

/* One character beyond ASCII. */
static bool skip_rune(struct reader *r)
{
    size_t len = utf8_length((struct span){r->at, (size_t)(r->end - r->at)});

    if (len == 0)
        return stop(r, "not UTF-8");
    r->at += len;
    return true;
}

static bool skip_digits(struct reader *r)
{
    const char *from = r->at;

    while (r->at < r->end && *r->at >= '0' && *r->at <= '9')
        r->at++;
    return r->at > from;
}

static void skip_blanks(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t'))
        r->at++;
}

/* The first byte that ends a run of plain string bytes: a quote, a backslash, a control byte, or one beyond ASCII.
 * Eight at a time: a subtraction borrows into a byte's top bit where the byte is less. What it may get wrong lies
 * only behind the first true hit. */
static const char *skip_plain(const char *at, const char *end)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);

    for (; end - at >= 8; at += 8) {
        uint64_t bytes, hits;
        memcpy(&bytes, at, 8);
        bytes = le64toh(bytes);
        hits = bytes | (bytes - ones * 0x20) | ((bytes ^ ones * '"') - ones) | ((bytes ^ ones * '\\') - ones);
        hits &= ones * 0x80;
        if (hits)
            return at + __builtin_ctzll(hits) / 8;
    }
    while (at < end && (unsigned char)*at >= 0x20 && (unsigned char)*at < 0x80 && *at != '"' && *at != '\\')
        at++;
    return at;
}

static enum step stop(struct reader *r, const char *why)
{
    r->wrong = why;
    return WRONG;
}

/* The pointer holds until the next one is added. */
static struct doc_node *node_add(struct reader *r, enum doc_type type)
{
    struct doc *d = r->doc;
    struct doc_node *n;

    if (d->nnodes == r->room && !nodes_grow(r))
        return NULL;
    n = &d->nodes[d->nnodes++];
    *n = (struct doc_node){.at = (uint32_t)(r->at - d->text.at), .next = d->nnodes, .type = (uint8_t)type};
    return n;
}

/* The first guess holds a usual body, so that none of it is copied. */
static bool nodes_grow(struct reader *r)
{
    uint32_t guess = r->end - r->at < 8192 ? (uint32_t)(r->end - r->at) / 8 + 8 : 1024;
    uint32_t room = r->room ? 2 * r->room : guess;
    struct doc_node *nodes;

    if (r->room == DOC_NODES_MAX) {
        stop(r, "too many values");
        return false;
    }
    r->room = room < DOC_NODES_MAX ? room : DOC_NODES_MAX;
    nodes = arena_alloc(r->arena, r->room * sizeof(*nodes));
    if (r->doc->nnodes > 0)
        memcpy(nodes, r->doc->nodes, r->doc->nnodes * sizeof(*nodes));
    r->doc->nodes = nodes;
    return true;
}

/* As it stands in the text, a string without its quotes. */
static struct span raw_text(const struct doc *d, const struct doc_node *n)
{
    return (struct span){d->text.at + n->at, n->len};
}

/* Makes doc.names: equal ones stand beside each other then. */
static void sort_names(struct reader *r)
{
    struct doc *d = r->doc;
    struct doc_name *names = arena_alloc(r->arena, d->nnodes / 2 * sizeof(*names)); /* each has a value */

    for (uint32_t i = 0; i < d->nnodes; i++) {
        if (d->nodes[i].type != DOC_OBJECT || !d->nodes[i].escaped)
            continue;
        for (uint32_t key = i + 1; key < d->nodes[i].next; key = d->nodes[key + 1].next)
            names[d->nnames++] = (struct doc_name){name_text(d, &d->nodes[key], r->arena), i, key};
    }
    d->names = names;
    qsort(names, d->nnames, sizeof(*names), compare_names);
    for (uint32_t i = 1; i < d->nnames; i++) {
        if (compare_names(&names[i - 1], &names[i]) != 0)
            continue;
        r->at = d->text.at + d->nodes[names[i].key].at;
        stop(r, name_twice);
        return;
    }
}

/* What a name means. What no text can hold is encoded all the same, so that it equals itself and nothing else. */
static struct span name_text(const struct doc *d, const struct doc_node *key, struct arena *arena)
{
    struct span rest = raw_text(d, key);
    char *text;
    size_t len = 0;

    if (!key->escaped)
        return rest;
    text = arena_alloc(arena, rest.len + RUNE_BYTES);
    while (rest.len > 0) {
        if (rest.at[0] == '\\') {
            len += encode_rune(unescape(&rest), text + len);
            continue;
        }
        text[len++] = rest.at[0];
        rest = span_skip(rest, 1);
    }
    return (struct span){text, len};
}

/* By object, length, bytes. */
static int compare_names(const void *a, const void *b)
{
    const struct doc_name *x = a, *y = b;

    if (x->object != y->object)
        return x->object < y->object ? -1 : 1;
    if (x->text.len != y->text.len)
        return x->text.len < y->text.len ? -1 : 1;
    return span_compare(x->text, y->text);
}

static uint32_t find_name(const struct doc *d, uint32_t object, struct span name)
{
    const struct doc_name wanted = {.text = name, .object = object};
    const struct doc_name *found = bsearch(&wanted, d->names, d->nnames, sizeof(wanted), compare_names);

    return found ? found->key + 1 : 0;
}

/* Takes an escape off s, which begins with one; the two of a surrogate pair are one. */
static uint32_t unescape(struct span *s)
{
    uint32_t rune = 0, low = 0;

    if (!unescape_unit(*s, &rune)) {
        rune = (unsigned char)escape_meaning(s->at[1]);
        *s = span_skip(*s, 2);
        return rune;
    }
    *s = span_skip(*s, 6);
    if (rune >= 0xd800 && rune < 0xdc00 && unescape_unit(*s, &low) && low >= 0xdc00 && low < 0xe000) {
        rune = 0x10000 + ((rune - 0xd800) << 10) + (low - 0xdc00);
        *s = span_skip(*s, 6);
    }
    return rune;
}

/* What a backslash and c stand for; 0: nothing. */
static char escape_meaning(char c)
{
    switch (c) {
    case '"':
    case '\\':
    case '/':
        return c;
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return 0;
    }
}

/* Postgres has neither NUL nor surrogates. */
static bool is_text(uint32_t rune)
{
    return rune != 0 && (rune < 0xd800 || rune >= 0xe000);
}

/* A lone surrogate as well, in the way of the others. */
static size_t encode_rune(uint32_t rune, char *ret)
{
    size_t len = rune < 0x80 ? 1 : rune < 0x800 ? 2 : rune < 0x10000 ? 3 : 4;
    static const uint8_t first[] = {0, 0, 0xc0, 0xe0, 0xf0};

    for (size_t i = len - 1; i > 0; i--) {
        ret[i] = (char)(0x80 | (rune & 0x3f));
        rune >>= 6;
    }
    ret[0] = (char)(first[len] | rune);
    return len;
}

/* Reads \uXXXX at the start of s. */
static bool unescape_unit(struct span s, uint32_t *ret)
{
    if (s.len < 6 || s.at[0] != '\\' || s.at[1] != 'u')
        return false;
    *ret = 0;
    for (int i = 2; i < 6; i++) {
        char c = s.at[i];
        if (c >= '0' && c <= '9')
            *ret = *ret << 4 | (uint32_t)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            *ret = *ret << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
        else
            return false;
    }
    return true;
}
