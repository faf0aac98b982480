#include "domain/atom.h"

#include "base/doc.h"

#include <limits.h>
#include <stdint.h>
#include <stdlib.h>

#include <expat.h>

#define ATOM "http://www.w3.org/2005/Atom|"
#define YT   "http://www.youtube.com/xml/schemas/2015|"
#define AT   "http://purl.org/atompub/tombstones/1.0|"

/* Where in the document we are. */
enum place { OUTSIDE, IN_FEED, IN_ENTRY, IN_DELETED, IN_BY, IN_LINK, IN_TEXT, IGNORED };

enum { ID, VIDEO_ID, CHANNEL_ID, TITLE, LINK, PUBLISHED, UPDATED, NENTRY_FIELDS };
enum { REF, WHEN, CHANNEL, NDELETED_FIELDS };

static const char *const entry_fields[] = {"id",   "videoId",   "channelId", "title",
                                           "link", "published", "updated"};
static const char *const deleted_fields[] = {"ref", "when", "channel"};

/* The elements that mean something, each only where it belongs: an author's uri is no entry's. */
static const struct element {
    enum place from;
    const char *name;
    enum place to;
    size_t field; /* of IN_TEXT */
} elements[] = {
    {OUTSIDE,    ATOM "feed",        IN_FEED,    0         },
    {IN_FEED,    ATOM "entry",       IN_ENTRY,   0         },
    {IN_ENTRY,   ATOM "id",          IN_TEXT,    ID        },
    {IN_ENTRY,   YT "videoId",       IN_TEXT,    VIDEO_ID  },
    {IN_ENTRY,   YT "channelId",     IN_TEXT,    CHANNEL_ID},
    {IN_ENTRY,   ATOM "title",       IN_TEXT,    TITLE     },
    {IN_ENTRY,   ATOM "link",        IN_LINK,    0         },
    {IN_ENTRY,   ATOM "published",   IN_TEXT,    PUBLISHED },
    {IN_ENTRY,   ATOM "updated",     IN_TEXT,    UPDATED   },
    {IN_FEED,    AT "deleted-entry", IN_DELETED, 0         },
    {IN_DELETED, AT "by",            IN_BY,      0         },
    {IN_BY,      ATOM "uri",         IN_TEXT,    CHANNEL   },
};

/* An entry or a tombstone. */
struct item {
    struct item *next;
    struct span values[NENTRY_FIELDS]; /* as JSON; absent if not given */
};

struct list {
    struct item *first, **end;
};

struct reader {
    XML_Parser parser;
    struct arena *arena;
    struct list entries, deleted;
    struct item *item; /* the one that is being read */
    const char *wrong; /* why we stopped */
    enum place places[ATOM_DEPTH_MAX + 1];
    size_t depth, nelements; /* places[depth] is where we are */
    size_t field, ntext;
    char text[ATOM_TEXT_MAX]; /* of that field, so far */
};

static void XMLCALL on_doctype(void *ctx, const char *name, const char *system_id, const char *public_id,
                               int has_subset);
static void XMLCALL on_start(void *ctx, const char *name, const char **attributes);
static void XMLCALL on_text(void *ctx, const char *text, int len);
static void XMLCALL on_end(void *ctx, const char *name);
static enum place enter(struct reader *r, const char *name);
static void read_deleted(struct reader *r, const char *const *attributes);
static void read_link(struct reader *r, const char *const *attributes);
static struct span attribute(const char *const *attributes, const char *name);
static void item_add(struct reader *r, struct list *list);
static void item_set(struct reader *r, size_t field, struct span text);
static void stop(struct reader *r, const char *why);
static size_t write_all(const struct reader *r, char *to);
static size_t write_list(const struct list *list, const char *const *names, size_t nnames, char *to,
                         size_t at);
static size_t write_item(const struct item *item, const char *const *names, size_t nnames, char *to,
                         size_t at);
static size_t put(char *to, size_t at, struct span piece);

/* In one call with the whole body: what Expat would read again and again of a long token in pieces, it reads once. */
enum status atom_as_json(struct span body, struct arena *arena, struct span *ret, struct err *err)
{
    struct reader *r = arena_zero(arena, sizeof(*r));
    enum status status = OK;
    char *json;
    size_t len;

    if (body.len > INT_MAX)
        return err_cause(err, INVALID, "malformed_xml", "longer than %d bytes", INT_MAX);
    r->arena = arena;
    r->entries.end = &r->entries.first;
    r->deleted.end = &r->deleted.first;
    r->parser = XML_ParserCreateNS(NULL, '|');
    if (!r->parser)
        abort(); /* no memory */
    XML_SetUserData(r->parser, r);
    XML_SetStartDoctypeDeclHandler(r->parser, on_doctype);
    XML_SetElementHandler(r->parser, on_start, on_end);
    XML_SetCharacterDataHandler(r->parser, on_text);

    if (XML_Parse(r->parser, body.at, (int)body.len, XML_TRUE) != XML_STATUS_OK)
        status = err_cause(err, INVALID, "malformed_xml", "not XML that is read, line %lu: %s",
                           (unsigned long)XML_GetCurrentLineNumber(r->parser),
                           r->wrong ? r->wrong : XML_ErrorString(XML_GetErrorCode(r->parser)));
    XML_ParserFree(r->parser);
    if (status)
        return status;

    len = write_all(r, NULL);
    json = arena_alloc(arena, len);
    write_all(r, json);
    *ret = (struct span){json, len};
    return OK;
}

/* Before anything of it is read: so there are no entities but XML's own five. */
static void XMLCALL on_doctype(void *ctx, const char *name, const char *system_id, const char *public_id,
                               int has_subset)
{
    (void)name, (void)system_id, (void)public_id, (void)has_subset;
    stop(ctx, "a DOCTYPE");
}

static void XMLCALL on_start(void *ctx, const char *name, const char **attributes)
{
    struct reader *r = ctx;
    const char *const *given = (const char *const *)attributes;
    enum place to;

    if (r->wrong) /* Expat may call once more after it was stopped */
        return;
    if (r->nelements++ == ATOM_ELEMENTS_MAX) {
        stop(r, "too many elements");
        return;
    }
    if (r->depth == ATOM_DEPTH_MAX) {
        stop(r, "nested too deeply");
        return;
    }
    to = enter(r, name);
    r->places[++r->depth] = to;
    if (to == IN_ENTRY)
        item_add(r, &r->entries);
    else if (to == IN_DELETED)
        read_deleted(r, given);
    else if (to == IN_LINK)
        read_link(r, given);
}

static void XMLCALL on_text(void *ctx, const char *text, int len)
{
    struct reader *r = ctx;

    if (r->wrong || r->places[r->depth] != IN_TEXT)
        return;
    if ((size_t)len > sizeof(r->text) - r->ntext) {
        stop(r, "a text that is too long");
        return;
    }
    memcpy(r->text + r->ntext, text, (size_t)len);
    r->ntext += (size_t)len;
}

static void XMLCALL on_end(void *ctx, const char *name)
{
    struct reader *r = ctx;

    (void)name;
    if (r->wrong)
        return;
    if (r->places[r->depth] == IN_TEXT)
        item_set(r, r->field, (struct span){r->text, r->ntext});
    r->depth--;
}

static enum place enter(struct reader *r, const char *name)
{
    enum place from = r->places[r->depth];

    for (size_t i = 0; i < countof(elements); i++) {
        if (elements[i].from != from || strcmp(elements[i].name, name) != 0)
            continue;
        r->field = elements[i].field;
        r->ntext = 0;
        return elements[i].to;
    }
    return IGNORED;
}

static void read_deleted(struct reader *r, const char *const *attributes)
{
    item_add(r, &r->deleted);
    item_set(r, REF, attribute(attributes, "ref"));
    item_set(r, WHEN, attribute(attributes, "when"));
}

/* RFC 4287, 4.2.7.2: a link that does not say what it is leads to the entry itself. */
static void read_link(struct reader *r, const char *const *attributes)
{
    struct span rel = attribute(attributes, "rel");

    if (!rel.at || span_eq(rel, SPAN("alternate")))
        item_set(r, LINK, attribute(attributes, "href"));
}

static struct span attribute(const char *const *attributes, const char *name)
{
    for (; *attributes; attributes += 2)
        if (strcmp(attributes[0], name) == 0)
            return span_of(attributes[1]);
    return SPAN_NONE;
}

static void item_add(struct reader *r, struct list *list)
{
    r->item = *list->end = arena_zero(r->arena, sizeof(*r->item));
    list->end = &r->item->next;
}

/* The first of that name counts. */
static void item_set(struct reader *r, size_t field, struct span text)
{
    if (text.len > ATOM_TEXT_MAX)
        stop(r, "an attribute that is too long");
    else if (text.at && !r->item->values[field].at)
        r->item->values[field] = doc_quote(text, r->arena);
}

static void stop(struct reader *r, const char *why)
{
    r->wrong = why;
    XML_StopParser(r->parser, XML_FALSE);
}

/* Returns the length; writes if there is a `to`. */
static size_t write_all(const struct reader *r, char *to)
{
    size_t at = put(to, 0, SPAN("{\"entries\":"));

    at = write_list(&r->entries, entry_fields, NENTRY_FIELDS, to, at);
    at = put(to, at, SPAN(",\"deleted\":"));
    at = write_list(&r->deleted, deleted_fields, NDELETED_FIELDS, to, at);
    return put(to, at, SPAN("}"));
}

static size_t write_list(const struct list *list, const char *const *names, size_t nnames, char *to,
                         size_t at)
{
    at = put(to, at, SPAN("["));
    for (const struct item *item = list->first; item; item = item->next) {
        at = write_item(item, names, nnames, to, at);
        if (item->next)
            at = put(to, at, SPAN(","));
    }
    return put(to, at, SPAN("]"));
}

static size_t write_item(const struct item *item, const char *const *names, size_t nnames, char *to,
                         size_t at)
{
    struct span before = SPAN("{\"");

    for (size_t i = 0; i < nnames; i++) {
        if (!item->values[i].at)
            continue;
        at = put(to, at, before);
        at = put(to, at, span_of(names[i]));
        at = put(to, at, SPAN("\":"));
        at = put(to, at, item->values[i]);
        before = SPAN(",\"");
    }
    return put(to, at, before.at[0] == '{' ? SPAN("{}") : SPAN("}"));
}

static size_t put(char *to, size_t at, struct span piece)
{
    if (to)
        memcpy(to + at, piece.at, piece.len);
    return at + piece.len;
}
