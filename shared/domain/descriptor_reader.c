#include "domain/descriptor_reader.h"

#include "base/number.h"
#include "domain/descriptor.h"

#include <cyaml/cyaml.h>

enum { HEADER_BYTES = 100 };

#define NEEDED   CYAML_FLAG_POINTER
#define MAY_LACK (CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL)
#define TEXT(key, flags, type, member)                                                                       \
    CYAML_FIELD_STRING_PTR(key, flags, struct type, member, 0, CYAML_UNLIMITED)
#define LIST(key, flags, type, member, entry, least)                                                         \
    CYAML_FIELD_SEQUENCE_COUNT(key, flags, struct type, member, n##member, entry, least, 100)
#define GROUP(key, flags, type, member, fields) CYAML_FIELD_MAPPING(key, flags, struct type, member, fields)
#define GROUP_VALUE(type, fields)                                                                            \
    {                                                                                                        \
        CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct type, fields)                                         \
    }

static const cyaml_schema_value_t word = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 1, CYAML_UNLIMITED)};

static const cyaml_schema_field_t also_fields[] = {
    TEXT("prefix", NEEDED, raw_also, prefix),
    TEXT("algorithm", NEEDED, raw_also, algorithm),
    TEXT("key_prefix", MAY_LACK, raw_also, key_prefix),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t also = GROUP_VALUE(raw_also, also_fields);
static const cyaml_schema_field_t verify_fields[] = {
    TEXT("header", NEEDED, raw_verify, header),
    TEXT("algorithm", NEEDED, raw_verify, algorithm),
    TEXT("layout", NEEDED, raw_verify, layout),
    TEXT("separator", MAY_LACK, raw_verify, separator),
    TEXT("value", MAY_LACK, raw_verify, value),
    TEXT("time", MAY_LACK, raw_verify, time),
    TEXT("prefix", MAY_LACK, raw_verify, prefix),
    LIST("also", MAY_LACK, raw_verify, also, &also, 1),
    TEXT("encoding", NEEDED, raw_verify, encoding),
    TEXT("key", MAY_LACK, raw_verify, key),
    TEXT("key_prefix", MAY_LACK, raw_verify, key_prefix),
    TEXT("user", MAY_LACK, raw_verify, user),
    TEXT("time_header", MAY_LACK, raw_verify, time_header),
    TEXT("time_format", MAY_LACK, raw_verify, time_format),
    TEXT("tolerance_s", MAY_LACK, raw_verify, tolerance_s),
    TEXT("future_tolerance_s", MAY_LACK, raw_verify, future_tolerance_s),
    TEXT("id_header", MAY_LACK, raw_verify, id_header),
    TEXT("signed", MAY_LACK, raw_verify, template),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t answer_fields[] = {
    TEXT("stored", MAY_LACK, raw_answer, stored),
    TEXT("forged", MAY_LACK, raw_answer, forged),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t query_fields[] = {
    TEXT("name", NEEDED, raw_query, name),
    LIST("is", MAY_LACK, raw_query, is, &word, 1),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t query = GROUP_VALUE(raw_query, query_fields);
static const cyaml_schema_field_t handshake_fields[] = {
    TEXT("method", NEEDED, raw_handshake, method),
    LIST("query", MAY_LACK, raw_handshake, query, &query, 1),
    TEXT("at", MAY_LACK, raw_handshake, at),
    TEXT("header", MAY_LACK, raw_handshake, header),
    LIST("is", MAY_LACK, raw_handshake, is, &word, 1),
    TEXT("unless", MAY_LACK, raw_handshake, unless),
    TEXT("verify_token", MAY_LACK, raw_handshake, verify_token),
    TEXT("topic", MAY_LACK, raw_handshake, topic),
    TEXT("no_topic", MAY_LACK, raw_handshake, no_topic),
    TEXT("value", MAY_LACK, raw_handshake, value),
    TEXT("value_form", MAY_LACK, raw_handshake, value_form),
    TEXT("answer", NEEDED, raw_handshake, answer),
    TEXT("json", MAY_LACK, raw_handshake, json),
    TEXT("encoding", MAY_LACK, raw_handshake, encoding),
    TEXT("refused", MAY_LACK, raw_handshake, refused),
    TEXT("status", MAY_LACK, raw_handshake, status),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t handshake = GROUP_VALUE(raw_handshake, handshake_fields);

static const cyaml_schema_field_t where_fields[] = {
    TEXT("at", NEEDED, raw_where, at),
    LIST("is", MAY_LACK, raw_where, is, &word, 1),
    CYAML_FIELD_END,
};
static const cyaml_schema_field_t status_word_fields[] = {
    TEXT("from", NEEDED, raw_word, from),
    TEXT("to", NEEDED, raw_word, to),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t status_word = GROUP_VALUE(raw_word, status_word_fields);
static const cyaml_schema_field_t status_fields[] = {
    TEXT("at", MAY_LACK, raw_status, at),
    LIST("words", MAY_LACK, raw_status, words, &status_word, 1),
    TEXT("default", MAY_LACK, raw_status, usual),
    CYAML_FIELD_END,
};
static const cyaml_schema_field_t extra_fields[] = {
    TEXT("name", NEEDED, raw_extra, name),
    TEXT("at", NEEDED, raw_extra, at),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t extra = GROUP_VALUE(raw_extra, extra_fields);
#define SHAPE_ELEMENT                                                                                        \
    LIST("is", MAY_LACK, raw_payload, is, &word, 1), TEXT("each", MAY_LACK, raw_payload, each),              \
        GROUP("where", CYAML_FLAG_OPTIONAL, raw_payload, where, where_fields)
#define SHAPE_SAYS                                                                                           \
    TEXT("post", MAY_LACK, raw_payload, post),                                                               \
        GROUP("status", CYAML_FLAG_OPTIONAL, raw_payload, status, status_fields),                            \
        TEXT("url", MAY_LACK, raw_payload, url), TEXT("reason", MAY_LACK, raw_payload, reason),              \
        TEXT("time", MAY_LACK, raw_payload, time), LIST("extras", MAY_LACK, raw_payload, extras, &extra, 1)
static const cyaml_schema_field_t payload_fields[] = {
    TEXT("when", NEEDED, raw_payload, when),
    SHAPE_ELEMENT,
    LIST("event_id", MAY_LACK, raw_payload, event_id, &word, 1),
    SHAPE_SAYS,
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t payload = GROUP_VALUE(raw_payload, payload_fields);

static const cyaml_schema_field_t subscribe_fields[] = {
    TEXT("hub", NEEDED, raw_subscribe, hub),
    TEXT("topic", NEEDED, raw_subscribe, topic),
    TEXT("lease_s", MAY_LACK, raw_subscribe, lease_s),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t poll_header_fields[] = {
    TEXT("name", NEEDED, raw_header, name),
    TEXT("value", NEEDED, raw_header, value),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t poll_header = GROUP_VALUE(raw_header, poll_header_fields);
static const cyaml_schema_field_t poll_rule_fields[] = {
    LIST("status", MAY_LACK, raw_rule, status, &word, 1),
    TEXT("at", MAY_LACK, raw_rule, at),
    LIST("is", MAY_LACK, raw_rule, is, &word, 1),
    TEXT("reason", MAY_LACK, raw_rule, reason),
    TEXT("means", NEEDED, raw_rule, means),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t poll_rule = GROUP_VALUE(raw_rule, poll_rule_fields);
static const cyaml_schema_field_t poll_answer_fields[] = {
    TEXT("when", MAY_LACK, raw_payload, when),
    SHAPE_ELEMENT,
    SHAPE_SAYS,
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t poll_answer = GROUP_VALUE(raw_payload, poll_answer_fields);
static const cyaml_schema_field_t poll_request_fields[] = {
    TEXT("method", NEEDED, raw_request, method),
    TEXT("url", NEEDED, raw_request, url),
    LIST("headers", MAY_LACK, raw_request, headers, &poll_header, 1),
    TEXT("body", MAY_LACK, raw_request, body),
    TEXT("separator", MAY_LACK, raw_request, separator),
    TEXT("batch", MAY_LACK, raw_request, batch),
    TEXT("post_digits", MAY_LACK, raw_request, post_digits),
    LIST("rules", MAY_LACK, raw_request, rules, &poll_rule, 1),
    LIST("answers", NEEDED, raw_request, answers, &poll_answer, 1),
    LIST("success", NEEDED, raw_request, success, &word, 0),
    LIST("failure", NEEDED, raw_request, failure, &word, 0),
    LIST("working", MAY_LACK, raw_request, working, &word, 1),
    LIST("not_found", MAY_LACK, raw_request, not_found, &word, 1),
    TEXT("missing", MAY_LACK, raw_request, missing),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t poll_request = GROUP_VALUE(raw_request, poll_request_fields);
static const cyaml_schema_field_t poll_fields[] = {
    TEXT("budget_per_minute", NEEDED, raw_poll, budget_per_minute),
    TEXT("give_up_minutes", MAY_LACK, raw_poll, give_up_minutes),
    LIST("requests", NEEDED, raw_poll, requests, &poll_request, 1),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t figure_fields[] = {
    TEXT("name", NEEDED, raw_figure, name),       TEXT("at", MAY_LACK, raw_figure, at),
    TEXT("sum", MAY_LACK, raw_figure, sum),       TEXT("count", MAY_LACK, raw_figure, count),
    TEXT("default", MAY_LACK, raw_figure, usual), CYAML_FIELD_END,
};
static const cyaml_schema_value_t figure = GROUP_VALUE(raw_figure, figure_fields);
static const cyaml_schema_field_t insights_fields[] = {
    TEXT("budget_per_minute", NEEDED, raw_insights, budget_per_minute),
    TEXT("days", MAY_LACK, raw_insights, days),
    TEXT("lag_days", MAY_LACK, raw_insights, lag_days),
    TEXT("method", MAY_LACK, raw_insights, request.method),
    TEXT("url", NEEDED, raw_insights, request.url),
    CYAML_FIELD_SEQUENCE_COUNT("headers", MAY_LACK, struct raw_insights, request.headers, request.nheaders,
                               &poll_header, 1, 100),
    TEXT("body", MAY_LACK, raw_insights, request.body),
    CYAML_FIELD_SEQUENCE_COUNT("rules", MAY_LACK, struct raw_insights, request.rules, request.nrules,
                               &poll_rule, 1, 100),
    TEXT("when", MAY_LACK, raw_insights, when),
    LIST("figures", NEEDED, raw_insights, figures, &figure, 1),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t descriptor_fields[] = {
    TEXT("name", NEEDED, raw, name),
    TEXT("title", MAY_LACK, raw, title),
    TEXT("about", MAY_LACK, raw, about),
    GROUP("verify", CYAML_FLAG_OPTIONAL, raw, verify, verify_fields),
    GROUP("answer", CYAML_FLAG_OPTIONAL, raw, answer, answer_fields),
    LIST("handshakes", MAY_LACK, raw, handshakes, &handshake, 1),
    LIST("body", MAY_LACK, raw, body, &word, 1),
    TEXT("max_body_bytes", MAY_LACK, raw, max_body_bytes),
    LIST("payloads", MAY_LACK, raw, payloads, &payload, 1),
    LIST("success", MAY_LACK, raw, success, &word, 0),
    LIST("failure", MAY_LACK, raw, failure, &word, 0),
    TEXT("timeout_minutes", MAY_LACK, raw, timeout_minutes),
    GROUP("subscribe", CYAML_FLAG_OPTIONAL, raw, subscribe, subscribe_fields),
    GROUP("poll", CYAML_FLAG_OPTIONAL, raw, poll, poll_fields),
    GROUP("insights", CYAML_FLAG_OPTIONAL, raw, insights, insights_fields),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t descriptor = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw, descriptor_fields)};

static const char *list_words(struct reader *r, const char *const *words, size_t nwords);

struct form *reader_open(struct reader *r, const char *path, struct span text)
{
    r->form = form_open(path, text, &descriptor, r->err);
    r->raw = r->form ? form_data(r->form) : NULL;
    return r->form;
}

const char *reader_path(struct reader *r, const char *base, const char *key)
{
    return arena_print(r->arena, "%s.%s", base, key);
}

struct span reader_copy(struct reader *r, const char *text)
{
    return arena_copy(r->arena, span_of(text));
}

struct span *reader_copies(struct reader *r, char **texts, size_t n)
{
    struct span *copies = arena_zero(r->arena, n * sizeof(*copies));

    for (size_t i = 0; i < n; i++)
        copies[i] = reader_copy(r, texts[i]);
    return copies;
}

enum status reader_number(struct reader *r, const char *path, const char *text, uint64_t least, uint64_t most,
                          uint64_t *ret)
{
    if (text && !number_parse(span_of(text), least, most, ret))
        return form_wrong(r->form, r->err, path, "a whole number from %ju to %ju, without a unit",
                          (uintmax_t)least, (uintmax_t)most);
    return OK;
}

/* Of HTTP's token characters those that headers are made of. */
static bool is_header(struct span name)
{
    bool good = name.len > 0 && name.len <= HEADER_BYTES;

    for (size_t i = 0; i < name.len && good; i++)
        good = (name.at[i] >= 'a' && name.at[i] <= 'z') || (name.at[i] >= '0' && name.at[i] <= '9') ||
               name.at[i] == '-' || name.at[i] == '_' || name.at[i] == '.';
    return good;
}

enum status reader_header(struct reader *r, const char *path, const char *text, struct span *ret)
{
    if (!text)
        return OK;
    *ret = reader_copy(r, text);
    return is_header(*ret) ? OK : form_wrong(r->form, r->err, path, "a header's name, in lower case");
}

enum status reader_word(struct reader *r, const char *path, const char *text, const char *const *words,
                        size_t nwords, size_t *ret)
{
    if (!text)
        return OK;
    for (size_t i = 0; i < nwords; i++) {
        if (strcmp(text, words[i]) == 0) {
            *ret = i;
            return OK;
        }
    }
    return form_wrong(r->form, r->err, path, "must be %s", list_words(r, words, nwords));
}

/* "a, b or c" */
static const char *list_words(struct reader *r, const char *const *words, size_t nwords)
{
    const char *list = words[0];

    for (size_t i = 1; i < nwords; i++)
        list = arena_print(r->arena, "%s%s%s", list, i + 1 < nwords ? ", " : " or ", words[i]);
    return list;
}

enum status reader_pointer(struct reader *r, const char *path, const char *text, const struct pointer *lead,
                           struct pointer **ret)
{
    if (!text)
        return OK;
    if (pointer_compile(reader_copy(r, text), r->arena, ret, r->err))
        return form_wrong(r->form, r->err, path, "%s", arena_copy(r->arena, span_of(r->err->text)).at);
    if (lead && !pointer_follows(*ret, lead))
        return form_wrong(r->form, r->err, path,
                          "its \"*\" must be those of each (or of post, without each), or the first of them");
    return OK;
}

enum status reader_plain_pointer(struct reader *r, const char *path, const char *text, struct pointer **ret)
{
    if (reader_pointer(r, path, text, NULL, ret))
        return INVALID;
    if (text && pointer_stars(*ret) > 0)
        return form_wrong(r->form, r->err, path, "without \"*\"");
    return OK;
}
