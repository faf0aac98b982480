#include "domain/descriptor_reader.h"

static enum status read_each(struct reader *r, const char *path, const struct raw_payload *from,
                             struct payload *p);
static enum status read_where(struct reader *r, const char *path, const struct raw_payload *from,
                              struct payload *p);
static enum status read_status(struct reader *r, const char *path, const struct raw_status *from,
                               struct payload *p);
static enum status read_event_id(struct reader *r, const char *path, const struct raw_payload *from,
                                 struct payload *p);
static enum status read_extra(struct reader *r, const char *path, const struct raw_extra *from,
                              const struct pointer *lead, struct field *ret);

enum status descriptor_payloads(struct reader *r, struct platform *p)
{
    p->npayloads = r->raw->npayloads;
    p->payloads = arena_zero(r->arena, p->npayloads * sizeof(*p->payloads));
    for (size_t i = 0; i < p->npayloads; i++)
        if (descriptor_shape(r, arena_print(r->arena, "payloads[%zu]", i), &r->raw->payloads[i],
                             &p->payloads[i]))
            return INVALID;
    return OK;
}

enum status descriptor_shape(struct reader *r, const char *path, const struct raw_payload *from,
                             struct payload *p)
{
    const struct {
        const char *name, *text;
        struct pointer **ret;
    } places[] = {
        {"post",   from->post,   &p->post  },
        {"url",    from->url,    &p->url   },
        {"reason", from->reason, &p->reason},
        {"time",   from->time,   &p->time  },
    };

    if (reader_plain_pointer(r, reader_path(r, path, "when"), from->when, &p->when.at) ||
        read_each(r, path, from, p))
        return INVALID;
    p->when.nwords = from->nis;
    p->when.words = reader_copies(r, from->is, from->nis);
    for (size_t i = 0; i < countof(places); i++)
        if (reader_pointer(r, reader_path(r, path, places[i].name), places[i].text, p->each, places[i].ret))
            return INVALID;
    if (read_where(r, path, from, p) || read_status(r, reader_path(r, path, "status"), &from->status, p) ||
        read_event_id(r, path, from, p))
        return INVALID;

    p->nextras = from->nextras;
    p->extras = arena_zero(r->arena, from->nextras * sizeof(*p->extras));
    for (size_t i = 0; i < from->nextras; i++)
        if (read_extra(r, arena_print(r->arena, "%s.extras[%zu]", path, i), &from->extras[i], p->each,
                       &p->extras[i]))
            return INVALID;
    return OK;
}

/* Without `each` the post makes the events; without both the payload is one. */
static enum status read_each(struct reader *r, const char *path, const struct raw_payload *from,
                             struct payload *p)
{
    if (from->each)
        return reader_pointer(r, reader_path(r, path, "each"), from->each, NULL, &p->each);
    if (from->post)
        return reader_pointer(r, reader_path(r, path, "post"), from->post, NULL, &p->each);
    return pointer_compile(SPAN(""), r->arena, &p->each, r->err);
}

static enum status read_where(struct reader *r, const char *path, const struct raw_payload *from,
                              struct payload *p)
{
    p->where.nwords = from->where.nis;
    p->where.words = reader_copies(r, from->where.is, from->where.nis);
    return reader_pointer(r, reader_path(r, path, "where.at"), from->where.at, p->each, &p->where.at);
}

static enum status read_status(struct reader *r, const char *path, const struct raw_status *from,
                               struct payload *p)
{
    p->status_default = reader_copy(r, from->usual);
    p->nstatus_words = from->nwords;
    p->status_words = arena_zero(r->arena, from->nwords * sizeof(*p->status_words));
    for (size_t i = 0; i < from->nwords; i++) {
        struct status_word *word = &p->status_words[i];
        *word = (struct status_word){reader_copy(r, from->words[i].from), reader_copy(r, from->words[i].to)};
        for (size_t k = 0; k < i; k++)
            if (span_eq(p->status_words[k].from, word->from))
                return form_wrong(r->form, r->err, arena_print(r->arena, "%s.words[%zu].from", path, i),
                                  "\"%s\" has a meaning already", word->from.at);
    }
    return reader_pointer(r, reader_path(r, path, "at"), from->at, p->each, &p->status);
}

static enum status read_event_id(struct reader *r, const char *path, const struct raw_payload *from,
                                 struct payload *p)
{
    p->nevent_id = from->nevent_id;
    p->event_id = arena_zero(r->arena, from->nevent_id * sizeof(struct pointer *));
    for (size_t i = 0; i < from->nevent_id; i++)
        if (reader_pointer(r, arena_print(r->arena, "%s.event_id[%zu]", path, i), from->event_id[i], p->each,
                           &p->event_id[i]))
            return INVALID;
    return OK;
}

static enum status read_extra(struct reader *r, const char *path, const struct raw_extra *from,
                              const struct pointer *lead, struct field *ret)
{
    const struct span header = SPAN("header:");

    ret->name = reader_copy(r, from->name);
    if (ret->name.len == 0 ||
        strspn(from->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") !=
            ret->name.len)
        return form_wrong(r->form, r->err, reader_path(r, path, "name"), "letters, digits and \"_\"");
    if (span_starts(span_of(from->at), header))
        return reader_header(r, reader_path(r, path, "at"), from->at + header.len, &ret->header);
    return reader_pointer(r, reader_path(r, path, "at"), from->at, lead, &ret->at);
}
