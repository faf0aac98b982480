#include "domain/descriptor_reader.h"

#include "base/doc.h"
#include "domain/handshake.h"

enum { JSON_BYTES_MOST = 1024, STATUS = 200, STATUS_WITHOUT_BODY = 204 };

static enum status read_row(struct reader *r, const char *path, const struct raw_handshake *from,
                            const struct platform *p, struct handshake *ret);
static enum status check_method(struct reader *r, const char *path, const struct raw_handshake *from,
                                bool is_post);
static enum status read_query(struct reader *r, const char *path, const struct raw_handshake *from,
                              struct handshake *ret);
static enum status read_conditions(struct reader *r, const char *path, const struct raw_handshake *from,
                                   struct handshake *ret);
static enum status read_value(struct reader *r, const char *path, const struct raw_handshake *from,
                              struct handshake *ret);
static enum status read_json(struct reader *r, const char *path, const struct raw_handshake *from,
                             struct handshake *ret);
static enum status check_mac(struct reader *r, const char *path, const struct platform *p,
                             const struct handshake *row);
static bool signs_more_than_tokens(const struct scheme *s, enum value_form form);
static enum status read_statuses(struct reader *r, const char *path, const struct raw_handshake *from,
                                 struct handshake *ret);
static bool needs_value(const struct handshake *row);
static bool makes_mac(const struct handshake *row);

enum status descriptor_handshakes(struct reader *r, struct platform *p)
{
    size_t n = r->raw->nhandshakes;
    struct handshake *rows = arena_zero(r->arena, n * sizeof(*rows));

    for (size_t i = 0; i < n; i++)
        if (read_row(r, arena_print(r->arena, "handshakes[%zu]", i), &r->raw->handshakes[i], p, &rows[i]))
            return INVALID;
    for (size_t i = 0; i < n; i++) /* a post's comes signed: its sender could sign what it likes */
        p->scheme.wants_container |= makes_mac(&rows[i]) && !rows[i].is_post &&
                                     !signs_more_than_tokens(&p->scheme, rows[i].value_form);
    p->handshakes = rows;
    p->nhandshakes = n;
    return OK;
}

static enum status read_row(struct reader *r, const char *path, const struct raw_handshake *from,
                            const struct platform *p, struct handshake *ret)
{
    static const char *const methods[] = {"get", "post"}, *const answers[] = {"echo", "json", "status"};
    size_t method = 0, answer = 0;

    if (reader_word(r, reader_path(r, path, "method"), from->method, methods, countof(methods), &method) ||
        reader_word(r, reader_path(r, path, "answer"), from->answer, answers, countof(answers), &answer))
        return INVALID;
    ret->is_post = method == 1;
    ret->answer = (enum handshake_kind)answer;
    if (check_method(r, path, from, ret->is_post))
        return INVALID;
    if (ret->is_post ? read_conditions(r, path, from, ret) : read_query(r, path, from, ret))
        return INVALID;
    if (read_json(r, path, from, ret) || read_value(r, path, from, ret) || check_mac(r, path, p, ret))
        return INVALID;
    return read_statuses(r, path, from, ret);
}

static enum status check_method(struct reader *r, const char *path, const struct raw_handshake *from,
                                bool is_post)
{
    const struct {
        const char *key;
        bool given, of_post;
    } keys[] = {
        {"query",        from->nquery > 0,           false},
        {"verify_token", from->verify_token != NULL, false},
        {"topic",        from->topic != NULL,        false},
        {"no_topic",     from->no_topic != NULL,     false},
        {"refused",      from->refused != NULL,      false},
        {"at",           from->at != NULL,           true },
        {"header",       from->header != NULL,       true },
        {"is",           from->nis > 0,              true },
        {"unless",       from->unless != NULL,       true },
    };

    for (size_t i = 0; i < countof(keys); i++)
        if (keys[i].given && keys[i].of_post != is_post)
            return form_wrong(r->form, r->err, reader_path(r, path, keys[i].key), "only with method: %s",
                              keys[i].of_post ? "post" : "get");
    return OK;
}

static enum status read_query(struct reader *r, const char *path, const struct raw_handshake *from,
                              struct handshake *ret)
{
    if (from->nquery == 0)
        return form_wrong(r->form, r->err, reader_path(r, path, "method"),
                          "get needs query: what must be there for the row to be meant");
    ret->nquery = from->nquery;
    ret->query = arena_zero(r->arena, from->nquery * sizeof(*ret->query));
    for (size_t i = 0; i < from->nquery; i++) {
        struct condition_in_query *c = &ret->query[i];
        c->name = reader_copy(r, from->query[i].name);
        c->nwords = from->query[i].nis;
        c->words = reader_copies(r, from->query[i].is, c->nwords);
        if (c->name.len == 0)
            return form_wrong(r->form, r->err, arena_print(r->arena, "%s.query[%zu].name", path, i),
                              "a name in the query");
    }
    ret->verify_token = reader_copy(r, from->verify_token);
    ret->topic = reader_copy(r, from->topic);
    ret->no_topic = reader_copy(r, from->no_topic);
    if (ret->topic.at && ret->no_topic.at)
        return form_wrong(r->form, r->err, reader_path(r, path, "no_topic"), "not beside topic");
    return OK;
}

static enum status read_conditions(struct reader *r, const char *path, const struct raw_handshake *from,
                                   struct handshake *ret)
{
    struct span *words = reader_copies(r, from->is, from->nis);

    if (!from->at == !from->header)
        return form_wrong(r->form, r->err, reader_path(r, path, "method"), "post needs either at or header");
    if (reader_plain_pointer(r, reader_path(r, path, "at"), from->at, &ret->at.at) ||
        reader_plain_pointer(r, reader_path(r, path, "unless"), from->unless, &ret->unless) ||
        reader_header(r, reader_path(r, path, "header"), from->header, &ret->header))
        return INVALID;
    if (from->at) {
        ret->at.words = words;
        ret->at.nwords = from->nis;
    } else {
        ret->header_words = words;
        ret->nheader_words = from->nis;
    }
    return OK;
}

/* After read_json, which says whether one is needed. */
static enum status read_value(struct reader *r, const char *path, const struct raw_handshake *from,
                              struct handshake *ret)
{
    static const char *const forms[] = {"token", "uuid", "base64"};
    size_t form = 0;

    if (needs_value(ret) && !from->value)
        return form_wrong(r->form, r->err, reader_path(r, path, "answer"),
                          "echo, {value} and {hmac} need value: where what is echoed or signed stands");
    if (from->value && !needs_value(ret))
        return form_wrong(r->form, r->err, reader_path(r, path, "value"),
                          "only with answer: echo, or with {value} or {hmac} in json");
    if (from->value_form && !from->value)
        return form_wrong(r->form, r->err, reader_path(r, path, "value_form"), "only with value");
    if (reader_word(r, reader_path(r, path, "value_form"), from->value_form, forms, countof(forms), &form))
        return INVALID;
    ret->value_form = (enum value_form)form;
    if (ret->is_post)
        return reader_plain_pointer(r, reader_path(r, path, "value"), from->value, &ret->value_at);
    ret->value = reader_copy(r, from->value);
    return OK;
}

/* {value} and {hmac} are of an alphabet that needs no escapes, so a template that is JSON stays JSON. */
static enum status read_json(struct reader *r, const char *path, const struct raw_handshake *from,
                             struct handshake *ret)
{
    static const char *const encodings[] = {"hex", "base64"};
    size_t encoding = ENCODING_HEX;
    struct doc doc;

    ret->json = reader_copy(r, from->json);
    if ((ret->answer == HANDSHAKE_JSON) != (from->json != NULL))
        return form_wrong(r->form, r->err, reader_path(r, path, "answer"),
                          "answer: json needs json, and it alone has it");
    if (from->json && (ret->json.len > JSON_BYTES_MOST || doc_parse(&doc, ret->json, r->arena, NULL)))
        return form_wrong(r->form, r->err, reader_path(r, path, "json"),
                          "JSON of at most %d bytes, {value} and {hmac} within its strings", JSON_BYTES_MOST);
    if (from->encoding && !makes_mac(ret))
        return form_wrong(r->form, r->err, reader_path(r, path, "encoding"), "only with {hmac} in json");
    if (reader_word(r, reader_path(r, path, "encoding"), from->encoding, encodings, countof(encodings),
                    &encoding))
        return INVALID;
    ret->encoding = (enum encoding)encoding;
    return OK;
}

/* The answer is a MAC under the key that signs events, of a text that the caller chose. It must be no event. */
static enum status check_mac(struct reader *r, const char *path, const struct platform *p,
                             const struct handshake *row)
{
    enum algorithm algorithm = p->scheme.proofs[0].algorithm;

    if (!makes_mac(row))
        return OK;
    if (algorithm == ALGORITHM_ED25519 || algorithm == ALGORITHM_CREDENTIAL)
        return form_wrong(r->form, r->err, reader_path(r, path, "json"),
                          "{hmac} needs an HMAC as verify.algorithm");
    if ((p->formats & BODY_FORM) && !signs_more_than_tokens(&p->scheme, row->value_form))
        return form_wrong(r->form, r->err, reader_path(r, path, "json"),
                          "{hmac} would sign forms for anybody: leave form out of body");
    return OK;
}

/* Does each signed text hold a character that no value of a handshake has? */
static bool signs_more_than_tokens(const struct scheme *s, enum value_form form)
{
    for (size_t i = 0; i < s->nparts; i++) {
        struct span literal = s->parts[i].literal;
        if (s->parts[i].kind == PART_URL) /* "://" */
            return true;
        for (size_t k = 0; s->parts[i].kind == PART_LITERAL && k < literal.len; k++)
            if (!handshake_takes(form, literal.at[k]))
                return true;
    }
    return false;
}

static enum status read_statuses(struct reader *r, const char *path, const struct raw_handshake *from,
                                 struct handshake *ret)
{
    static const char *const refusals[] = {"400", "403", "404"};
    static const int refused[] = {400, 403, 404};
    bool has_body = ret->answer != HANDSHAKE_STATUS;
    uint64_t status = has_body ? STATUS : STATUS_WITHOUT_BODY;
    size_t refusal = 0;

    if (reader_number(r, reader_path(r, path, "status"), from->status, 200, 299, &status) ||
        reader_word(r, reader_path(r, path, "refused"), from->refused, refusals, countof(refusals), &refusal))
        return INVALID;
    if (has_body && status == STATUS_WITHOUT_BODY)
        return form_wrong(r->form, r->err, reader_path(r, path, "status"), "204 has no body: answer: status");
    ret->status = (int)status;
    ret->refused = refused[refusal];
    return OK;
}

static bool needs_value(const struct handshake *row)
{
    return row->answer == HANDSHAKE_ECHO || makes_mac(row) ||
           (row->json.at && strstr(row->json.at, "{value}"));
}

static bool makes_mac(const struct handshake *row)
{
    return row->json.at && strstr(row->json.at, "{hmac}");
}
