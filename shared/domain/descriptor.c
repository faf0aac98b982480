#include "domain/descriptor.h"

#include "base/form.h"
#include "base/number.h"
#include "domain/extract.h"
#include "domain/scheme.h"

#include <cyaml/cyaml.h>

enum { NAME_BYTES = 50, PARTS_MAX = 8 };

/* A descriptor as libcyaml reads it. All scalars are text; what they mean is found out below. */
struct raw {
    char *name, *max_body_bytes, *timeout_minutes;
    struct raw_verify {
        char *algorithm, *header, *layout, *prefix, *encoding, *value, *time, *time_header, *id_header,
            *template, *tolerance_s;
    } verify;
    struct raw_payload {
        char *when, *post, *url, *reason, *time;
        struct raw_status {
            char *at, *usual;
            struct raw_word {
                char *from, *to;
            } * words;
            uint32_t nwords;
        } status;
        char **event_id;
        struct raw_extra {
            char *name, *at;
        } * extras;
        uint32_t nevent_id, nextras;
    } * payloads;
    char **success, **failure;
    uint32_t npayloads, nsuccess, nfailure;
};

#define NEEDED   CYAML_FLAG_POINTER
#define MAY_LACK (CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL)
#define TEXT(key, flags, type, member)                                                                       \
    CYAML_FIELD_STRING_PTR(key, flags, struct type, member, 0, CYAML_UNLIMITED)
#define LIST(key, flags, type, member, entry)                                                                \
    CYAML_FIELD_SEQUENCE_COUNT(key, flags, struct type, member, n##member, entry, 1, 100)

static const cyaml_schema_value_t word_value = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 1, CYAML_UNLIMITED)};
static const cyaml_schema_field_t verify_fields[] = {
    TEXT("algorithm", NEEDED, raw_verify, algorithm),
    TEXT("header", NEEDED, raw_verify, header),
    TEXT("layout", NEEDED, raw_verify, layout),
    TEXT("prefix", MAY_LACK, raw_verify, prefix),
    TEXT("encoding", NEEDED, raw_verify, encoding),
    TEXT("value", MAY_LACK, raw_verify, value),
    TEXT("time", MAY_LACK, raw_verify, time),
    TEXT("time_header", MAY_LACK, raw_verify, time_header),
    TEXT("id_header", MAY_LACK, raw_verify, id_header),
    TEXT("signed", NEEDED, raw_verify, template),
    TEXT("tolerance_s", MAY_LACK, raw_verify, tolerance_s),
    CYAML_FIELD_END,
};
static const cyaml_schema_field_t status_word_fields[] = {
    TEXT("from", NEEDED, raw_word, from),
    TEXT("to", NEEDED, raw_word, to),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t status_word_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_word, status_word_fields)};
static const cyaml_schema_field_t status_fields[] = {
    TEXT("at", NEEDED, raw_status, at),
    LIST("words", MAY_LACK, raw_status, words, &status_word_value),
    TEXT("default", MAY_LACK, raw_status, usual),
    CYAML_FIELD_END,
};
static const cyaml_schema_field_t extra_fields[] = {
    TEXT("name", NEEDED, raw_extra, name),
    TEXT("at", NEEDED, raw_extra, at),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t extra_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_extra, extra_fields)};
static const cyaml_schema_field_t payload_fields[] = {
    TEXT("when", NEEDED, raw_payload, when),
    LIST("event_id", MAY_LACK, raw_payload, event_id, &word_value),
    TEXT("post", NEEDED, raw_payload, post),
    CYAML_FIELD_MAPPING("status", CYAML_FLAG_OPTIONAL, struct raw_payload, status, status_fields),
    TEXT("url", MAY_LACK, raw_payload, url),
    TEXT("reason", MAY_LACK, raw_payload, reason),
    TEXT("time", MAY_LACK, raw_payload, time),
    LIST("extras", MAY_LACK, raw_payload, extras, &extra_value),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t payload_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_payload, payload_fields)};
static const cyaml_schema_field_t descriptor_fields[] = {
    TEXT("name", NEEDED, raw, name),
    CYAML_FIELD_MAPPING("verify", CYAML_FLAG_DEFAULT, struct raw, verify, verify_fields),
    LIST("payloads", NEEDED, raw, payloads, &payload_value),
    LIST("success", NEEDED, raw, success, &word_value),
    LIST("failure", NEEDED, raw, failure, &word_value),
    TEXT("max_body_bytes", MAY_LACK, raw, max_body_bytes),
    TEXT("timeout_minutes", MAY_LACK, raw, timeout_minutes),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t descriptor = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw, descriptor_fields)};

/* One descriptor on its way. */
struct reader {
    const struct raw *raw;
    struct arena *arena;
    struct form *form;
    struct err *err;
};

static enum status read_all(struct reader *r, const char *path, struct platform *p);
static enum status read_name(struct reader *r, const char *path, struct span *ret);
static enum status read_scheme(struct reader *r, struct scheme *s);
static enum status read_header(struct reader *r, const char *path, const char *name, struct span *ret);
static enum status read_template(struct reader *r, struct scheme *s);
static enum status check_scheme(struct reader *r, const struct scheme *s);
static bool signs(const struct scheme *s, int kind);
static enum status read_payload(struct reader *r, size_t index, struct payload *p);
static enum status read_status(struct reader *r, size_t index, struct payload *p);
static enum status read_event_id(struct reader *r, size_t index, struct payload *p);
static enum status read_extras(struct reader *r, size_t index, struct payload *p);
static enum status read_pointer(struct reader *r, const char *path, const char *text,
                                const struct pointer *lead, struct pointer **ret);
static enum status read_words(struct reader *r, struct platform *p);
static struct span *copy_words(struct reader *r, char **words, size_t n);
static enum status read_number(struct reader *r, const char *path, const char *text, uint64_t least,
                               uint64_t most, uint64_t *ret);
static struct span copy(struct reader *r, const char *text);

enum status descriptor_read(const char *path, struct span text, struct arena *arena, struct platform *ret,
                            struct err *err)
{
    struct reader r = {.arena = arena, .err = err};
    enum status status;

    *ret = (struct platform){.nsources = 0};
    r.form = form_open(path, text, &descriptor, err);
    if (!r.form)
        return err->code;
    r.raw = form_data(r.form);
    status = read_all(&r, path, ret);
    form_close(r.form);
    return status;
}

bool name_is_good(struct span name, size_t most_bytes)
{
    if (name.len == 0 || name.len > most_bytes || name.at[0] == '-')
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (!(name.at[i] >= 'a' && name.at[i] <= 'z') && !(name.at[i] >= '0' && name.at[i] <= '9') &&
            name.at[i] != '-')
            return false;
    return true;
}

static enum status read_all(struct reader *r, const char *path, struct platform *p)
{
    uint64_t max_body_bytes = 0, timeout_minutes = 0;

    if (read_name(r, path, &p->name) || read_scheme(r, &p->scheme) || read_words(r, p))
        return INVALID;
    if (read_number(r, "max_body_bytes", r->raw->max_body_bytes, 1, 4194304, &max_body_bytes) ||
        read_number(r, "timeout_minutes", r->raw->timeout_minutes, 1, 525600, &timeout_minutes))
        return INVALID;
    p->max_body_bytes = max_body_bytes;
    p->timeout_minutes = (unsigned)timeout_minutes;

    p->npayloads = r->raw->npayloads;
    p->payloads = arena_zero(r->arena, p->npayloads * sizeof(*p->payloads));
    for (size_t i = 0; i < p->npayloads; i++)
        if (read_payload(r, i, &p->payloads[i]))
            return INVALID;
    return OK;
}

static enum status read_name(struct reader *r, const char *path, struct span *ret)
{
    const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;

    *ret = copy(r, r->raw->name);
    if (!name_is_good(*ret, NAME_BYTES))
        return form_wrong(r->form, r->err, "name", "at most %d lower-case letters, digits and \"-\"",
                          NAME_BYTES);
    if (strcmp(file, arena_print(r->arena, "%s.yaml", r->raw->name)) != 0)
        return form_wrong(r->form, r->err, "name", "the file of %s must be called %s.yaml", ret->at, ret->at);
    return OK;
}

static enum status read_scheme(struct reader *r, struct scheme *s)
{
    const struct raw_verify *from = &r->raw->verify;
    uint64_t tolerance = 0;

    if (!scheme_algorithm(span_of(from->algorithm), &s->algorithm))
        return form_wrong(r->form, r->err, "verify.algorithm", "must be hmac-sha256");
    if (!scheme_layout(span_of(from->layout), &s->layout))
        return form_wrong(r->form, r->err, "verify.layout", "must be single or key-value");
    if (!scheme_encoding(span_of(from->encoding), &s->encoding))
        return form_wrong(r->form, r->err, "verify.encoding", "must be hex or base64");
    if (read_header(r, "verify.header", from->header, &s->header) ||
        read_header(r, "verify.time_header", from->time_header, &s->time_header) ||
        read_header(r, "verify.id_header", from->id_header, &s->id_header))
        return INVALID;
    if (read_number(r, "verify.tolerance_s", from->tolerance_s, 1, 86400, &tolerance) || read_template(r, s))
        return INVALID;
    s->prefix = from->prefix ? copy(r, from->prefix) : SPAN("");
    s->value_key = copy(r, from->value);
    s->time_key = copy(r, from->time);
    s->tolerance_s = (unsigned)tolerance;
    return check_scheme(r, s);
}

static enum status read_header(struct reader *r, const char *path, const char *name, struct span *ret)
{
    *ret = copy(r, name);
    if (name && !name_is_good(*ret, 100))
        return form_wrong(r->form, r->err, path, "a header's name, in lower case");
    return OK;
}

/* "v0:{time}:{body}": words in braces, all else as it stands. */
static enum status read_template(struct reader *r, struct scheme *s)
{
    const struct signed_part words[] = {
        {PART_ID,   SPAN("{id}")  },
        {PART_TIME, SPAN("{time}")},
        {PART_BODY, SPAN("{body}")}
    };
    struct span rest = copy(r, r->raw->verify.template);

    s->parts = arena_zero(r->arena, PARTS_MAX * sizeof(*s->parts));
    while (rest.len > 0) {
        const char *brace = memchr(rest.at, '{', rest.len);
        struct signed_part part = {
            PART_LITERAL, {rest.at, brace ? (size_t)(brace - rest.at) : rest.len}
        };
        for (size_t i = 0; part.literal.len == 0 && i < countof(words); i++)
            if (span_starts(rest, words[i].literal))
                part = words[i];
        if (part.literal.len == 0)
            return form_wrong(r->form, r->err, "verify.signed",
                              "only {id}, {time} and {body} may stand in braces");
        if (s->nparts == PARTS_MAX)
            return form_wrong(r->form, r->err, "verify.signed", "at most %d pieces", PARTS_MAX);
        s->parts[s->nparts++] = part;
        rest = span_skip(rest, part.literal.len);
    }
    return OK;
}

/* What is not signed proves nothing, so each thing that is used must be signed and the other way round. */
static enum status check_scheme(struct reader *r, const struct scheme *s)
{
    bool pairs = s->layout == LAYOUT_KEY_VALUE, timed = s->time_key.at || s->time_header.at;

    if (!signs(s, PART_BODY))
        return form_wrong(r->form, r->err, "verify.signed", "must hold {body}");
    if (pairs != (s->value_key.at != NULL))
        return form_wrong(r->form, r->err, "verify.layout",
                          "key-value needs the key \"value\", and it alone has it");
    if (s->time_key.at && (!pairs || s->time_header.at))
        return form_wrong(r->form, r->err, "verify.time", "only for key-value, and not beside time_header");
    if (timed != signs(s, PART_TIME))
        return form_wrong(r->form, r->err, "verify.signed",
                          "{time} needs time or time_header, and these need {time}");
    if (timed != (s->tolerance_s > 0))
        return form_wrong(r->form, r->err, "verify.signed",
                          "{time} needs tolerance_s, and that needs {time}");
    if ((s->id_header.at != NULL) != signs(s, PART_ID))
        return form_wrong(r->form, r->err, "verify.signed", "{id} needs id_header, and that needs {id}");
    return OK;
}

static bool signs(const struct scheme *s, int kind)
{
    for (size_t i = 0; i < s->nparts; i++)
        if ((int)s->parts[i].kind == kind)
            return true;
    return false;
}

static enum status read_payload(struct reader *r, size_t index, struct payload *p)
{
    const struct raw_payload *from = &r->raw->payloads[index];
    const struct {
        const char *name, *text;
        struct pointer **ret;
    } places[] = {
        {"url",    from->url,    &p->url   },
        {"reason", from->reason, &p->reason},
        {"time",   from->time,   &p->time  },
    };

    if (read_pointer(r, arena_print(r->arena, "payloads[%zu].post", index), from->post, NULL, &p->post) ||
        read_pointer(r, arena_print(r->arena, "payloads[%zu].when", index), from->when, NULL, &p->when))
        return INVALID;
    if (pointer_stars(p->when) > 0)
        return form_wrong(r->form, r->err, arena_print(r->arena, "payloads[%zu].when", index),
                          "without \"*\"");
    for (size_t i = 0; i < countof(places); i++)
        if (read_pointer(r, arena_print(r->arena, "payloads[%zu].%s", index, places[i].name), places[i].text,
                         p->post, places[i].ret))
            return INVALID;
    if (read_status(r, index, p) || read_event_id(r, index, p) || read_extras(r, index, p))
        return INVALID;
    return OK;
}

static enum status read_status(struct reader *r, size_t index, struct payload *p)
{
    const struct raw_status *from = &r->raw->payloads[index].status;

    p->status_default = copy(r, from->usual);
    p->nstatus_words = from->nwords;
    p->status_words = arena_zero(r->arena, from->nwords * sizeof(*p->status_words));
    for (size_t i = 0; i < from->nwords; i++)
        p->status_words[i] = (struct status_word){copy(r, from->words[i].from), copy(r, from->words[i].to)};
    return read_pointer(r, arena_print(r->arena, "payloads[%zu].status.at", index), from->at, p->post,
                        &p->status);
}

static enum status read_event_id(struct reader *r, size_t index, struct payload *p)
{
    const struct raw_payload *from = &r->raw->payloads[index];

    p->nevent_id = from->nevent_id;
    p->event_id = arena_zero(r->arena, from->nevent_id * sizeof(struct pointer *));
    for (size_t i = 0; i < from->nevent_id; i++)
        if (read_pointer(r, arena_print(r->arena, "payloads[%zu].event_id[%zu]", index, i), from->event_id[i],
                         p->post, &p->event_id[i]))
            return INVALID;
    return OK;
}

static enum status read_extras(struct reader *r, size_t index, struct payload *p)
{
    const struct raw_payload *from = &r->raw->payloads[index];

    p->nextras = from->nextras;
    p->extras = arena_zero(r->arena, from->nextras * sizeof(*p->extras));
    for (size_t i = 0; i < from->nextras; i++) {
        const char *path = arena_print(r->arena, "payloads[%zu].extras[%zu]", index, i);
        p->extras[i].name = copy(r, from->extras[i].name);
        for (const char *c = from->extras[i].name; *c; c++)
            if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_", *c))
                return form_wrong(r->form, r->err, arena_print(r->arena, "%s.name", path),
                                  "letters, digits and \"_\"");
        if (read_pointer(r, arena_print(r->arena, "%s.at", path), from->extras[i].at, p->post,
                         &p->extras[i].at))
            return INVALID;
    }
    return OK;
}

/* text NULL: not in the descriptor. lead: the post's pointer, whose "*" make the events; NULL for itself. */
static enum status read_pointer(struct reader *r, const char *path, const char *text,
                                const struct pointer *lead, struct pointer **ret)
{
    *ret = NULL;
    if (!text)
        return OK;
    if (pointer_compile(copy(r, text), r->arena, ret, r->err))
        return form_wrong(r->form, r->err, path, "%s", arena_copy(r->arena, span_of(r->err->text)).at);
    if (lead && !pointer_follows(*ret, lead))
        return form_wrong(r->form, r->err, path, "its \"*\" must be those of post, or the first of them");
    return OK;
}

static enum status read_words(struct reader *r, struct platform *p)
{
    p->nsuccess = r->raw->nsuccess;
    p->nfailure = r->raw->nfailure;
    p->success = copy_words(r, r->raw->success, p->nsuccess);
    p->failure = copy_words(r, r->raw->failure, p->nfailure);
    for (size_t i = 0; i < p->nfailure; i++)
        if (platform_decides(p, p->failure[i]) > 0)
            return form_wrong(r->form, r->err, arena_print(r->arena, "failure[%zu]", i),
                              "\"%s\" means success", p->failure[i].at);
    return OK;
}

static struct span *copy_words(struct reader *r, char **words, size_t n)
{
    struct span *copies = arena_zero(r->arena, n * sizeof(*copies));

    for (size_t i = 0; i < n; i++)
        copies[i] = copy(r, words[i]);
    return copies;
}

/* text NULL: not in the descriptor, *ret stays. */
static enum status read_number(struct reader *r, const char *path, const char *text, uint64_t least,
                               uint64_t most, uint64_t *ret)
{
    if (text && !number_parse(span_of(text), least, most, ret))
        return form_wrong(r->form, r->err, path, "a whole number from %ju to %ju, without a unit",
                          (uintmax_t)least, (uintmax_t)most);
    return OK;
}

static struct span copy(struct reader *r, const char *text)
{
    return arena_copy(r->arena, span_of(text));
}
