#include "domain/descriptor_reader.h"
#include "domain/poll.h"
#include "domain/shape.h"

enum {
    URL_TEMPLATE_BYTES = 512, /* so that with all its posts put in it stays below POLL_URL_BYTES */
    TEMPLATE_BYTES = 2048,
    SEPARATOR_BYTES = 8,
    BUDGET_MOST = 100000,
    GIVE_UP_MINUTES = 1440,
    GIVE_UP_MINUTES_MOST = 525600,
    PARTS_MAX = 16,
};

/* Of a template: which placeholders it may have, and whether a brace may be a brace. */
struct template_rules {
    unsigned places; /* bits of enum poll_place */
    bool braces;
    size_t most;
};

static enum status read_request(struct reader *r, const char *path, const struct raw_request *from,
                                struct poll_step *s);
static enum status read_url(struct reader *r, const char *path, const struct raw_request *from,
                            unsigned places, struct poll_step *s);
static bool is_bound_to_host(struct span literal);
static bool is_of(struct span text, const char *characters);
static enum status read_headers(struct reader *r, const char *path, const struct raw_request *from,
                                struct poll_step *s);
static bool is_own_header(struct span name);
static enum status read_body(struct reader *r, const char *path, const struct raw_request *from,
                             unsigned places, struct poll_step *s);
static enum status read_template(struct reader *r, const char *path, const char *text,
                                 const struct template_rules *rules, struct poll_template *ret);
static size_t place_at(struct span text, enum poll_place *ret);
static void add_part(struct poll_template *t, enum poll_place place, const char *at, size_t len);
static size_t count_place(const struct poll_template *t, enum poll_place place);
static enum status read_batch(struct reader *r, const char *path, const struct raw_request *from,
                              struct poll_step *s);
static enum status read_rule(struct reader *r, const char *path, const struct raw_rule *from,
                             const struct rule_words *words, struct poll_rule *rule);
static enum status read_statuses(struct reader *r, const char *path, const struct raw_rule *from,
                                 struct poll_rule *rule);
static enum status read_words(struct reader *r, const char *path, const struct raw_request *from,
                              struct poll_step *s);
static enum status read_shape(struct reader *r, const char *path, const struct raw_payload *from,
                              const struct poll_step *s, struct payload *p);
static bool decides(const struct poll_step *s, struct span word);
static bool has_word(const struct span *words, size_t n, struct span word);

static const struct {
    struct span text;
    enum poll_place place;
} placeholders[] = {
    {{"{post}", 6},    POLL_POST   },
    {{"{posts}", 7},   POLL_POSTS  },
    {{"{token}", 7},   POLL_TOKEN  },
    {{"{account}", 9}, POLL_ACCOUNT},
    {{"{site}", 6},    POLL_SITE   },
    {{"{from}", 6},    POLL_FROM   },
    {{"{to}", 4},      POLL_TO     },
};

enum status descriptor_poll(struct reader *r, struct platform *p)
{
    const struct raw_poll *from = &r->raw->poll;
    uint64_t budget = 0, give_up = GIVE_UP_MINUTES;
    struct poll *poll;

    if (!from->requests)
        return OK;
    poll = p->poll = arena_zero(r->arena, sizeof(*poll));
    if (reader_number(r, "poll.budget_per_minute", from->budget_per_minute, 1, BUDGET_MOST, &budget) ||
        reader_number(r, "poll.give_up_minutes", from->give_up_minutes, 1, GIVE_UP_MINUTES_MOST, &give_up))
        return INVALID;
    poll->budget_per_minute = (unsigned)budget;
    poll->give_up_minutes = (unsigned)give_up;

    if (from->nrequests > POLL_REQUESTS_MAX)
        return form_wrong(r->form, r->err, "poll.requests", "at most %d", POLL_REQUESTS_MAX);
    if (budget < from->nrequests)
        return form_wrong(r->form, r->err, "poll.budget_per_minute",
                          "at least %u: a post that needs all the requests must be answered within a minute",
                          from->nrequests);
    poll->nrequests = from->nrequests;
    poll->requests = arena_zero(r->arena, poll->nrequests * sizeof(*poll->requests));
    for (size_t i = 0; i < poll->nrequests; i++)
        if (read_request(r, arena_print(r->arena, "poll.requests[%zu]", i), &from->requests[i],
                         &poll->requests[i]))
            return INVALID;
    return OK;
}

static enum status read_request(struct reader *r, const char *path, const struct raw_request *from,
                                struct poll_step *s)
{
    static const char *const words[] = {"could_not_ask", "working",      "not_mine",  "failed",
                                        "missing",       "rate_limited", "auth_error"};
    static const enum poll_meaning meanings[] = {
        POLL_MEANS_COULD_NOT_ASK, POLL_MEANS_WORKING,      POLL_MEANS_NOT_MINE,  POLL_MEANS_FAILED,
        POLL_MEANS_MISSING,       POLL_MEANS_RATE_LIMITED, POLL_MEANS_AUTH_ERROR};
    static const struct rule_words rule_words = {words, meanings, countof(words)};

    if (descriptor_request(r, path, from, 1U << POLL_POST | 1U << POLL_POSTS | 1U << POLL_ACCOUNT, s) ||
        read_batch(r, path, from, s) || read_words(r, path, from, s) ||
        descriptor_rules(r, path, from, &rule_words, s))
        return INVALID;
    s->nanswers = from->nanswers;
    s->answers = arena_zero(r->arena, s->nanswers * sizeof(*s->answers));
    for (size_t i = 0; i < s->nanswers; i++)
        if (read_shape(r, arena_print(r->arena, "%s.answers[%zu]", path, i), &from->answers[i], s,
                       &s->answers[i]))
            return INVALID;
    return OK;
}

enum status descriptor_request(struct reader *r, const char *path, const struct raw_request *from,
                               unsigned places, struct poll_step *s)
{
    static const char *const methods[] = {"get", "post"};
    size_t method = 0;

    if (reader_word(r, reader_path(r, path, "method"), from->method, methods, countof(methods), &method))
        return INVALID;
    s->is_post = method == 1;
    if (read_url(r, path, from, places, s) || read_headers(r, path, from, s) ||
        read_body(r, path, from, places, s))
        return INVALID;
    return OK;
}

/* Whatever is put in stands behind the host: a token can go nowhere else. It is never in the URL, which others log. */
static enum status read_url(struct reader *r, const char *path, const struct raw_request *from,
                            unsigned places, struct poll_step *s)
{
    const struct template_rules rules = {places, false, URL_TEMPLATE_BYTES};
    const char *url = reader_path(r, path, "url");

    if (read_template(r, url, from->url, &rules, &s->url))
        return INVALID;
    for (const char *c = from->url; *c; c++)
        if (*c <= ' ' || *c > '~' || strchr("\"#<>\\^`|", *c))
            return form_wrong(r->form, r->err, url,
                              "visible ASCII characters without blanks and any of \"#<>\\^`|");
    if (s->url.nparts == 0 || s->url.parts[0].place != POLL_LITERAL ||
        !is_bound_to_host(s->url.parts[0].literal))
        return form_wrong(r->form, r->err, url,
                          "\"https://\", a host of its own and \"/\" before any placeholder "
                          "(\"http://\" only for 127.0.0.1, [::1] and localhost)");
    return OK;
}

/* https://host/ or https://host:port/, whose host is of lower-case letters, digits, "-" and "."; http for loopback. */
static bool is_bound_to_host(struct span literal)
{
    static const char *const loopbacks[] = {"127.0.0.1", "[::1]", "localhost"};
    bool secure = span_starts(literal, SPAN("https://")), good;
    struct span rest, host, port = SPAN_NONE;

    if (!secure && !span_starts(literal, SPAN("http://")))
        return false;
    rest = span_skip(literal, secure ? strlen("https://") : strlen("http://"));
    if (!memchr(rest.at, '/', rest.len))
        return false;
    host = span_cut(&rest, '/');
    for (size_t i = host.len; i > 0; i--) /* from behind: an IPv6 address has colons of its own */
        if (host.at[i - 1] == ':' && host.at[host.len - 1] != ']') {
            port = span_skip(host, i);
            host.len = i - 1;
            break;
        }
    good = secure && is_of(host, "abcdefghijklmnopqrstuvwxyz0123456789-.") && host.at[0] != '.' &&
           host.at[0] != '-';
    for (size_t i = 0; i < countof(loopbacks); i++)
        good |= span_eq(host, span_of(loopbacks[i]));
    return good && (!port.at || (port.len <= 5 && is_of(port, "0123456789")));
}

/* Some characters, all of them among these. */
static bool is_of(struct span text, const char *characters)
{
    for (size_t i = 0; i < text.len; i++)
        if (!text.at[i] || !strchr(characters, text.at[i]))
            return false;
    return text.len > 0;
}

static enum status read_headers(struct reader *r, const char *path, const struct raw_request *from,
                                struct poll_step *s)
{
    const struct template_rules rules = {1U << POLL_TOKEN, false, TEMPLATE_BYTES};

    s->nheaders = from->nheaders;
    s->headers = arena_zero(r->arena, s->nheaders * sizeof(*s->headers));
    for (size_t i = 0; i < s->nheaders; i++) {
        const struct raw_header *h = &from->headers[i];
        const char *place = arena_print(r->arena, "%s.headers[%zu]", path, i);
        const char *value = reader_path(r, place, "value");

        if (reader_header(r, reader_path(r, place, "name"), h->name, &s->headers[i].name) ||
            read_template(r, value, h->value, &rules, &s->headers[i].value))
            return INVALID;
        if (is_own_header(s->headers[i].name))
            return form_wrong(r->form, r->err, reader_path(r, place, "name"), "%s is not the descriptor's",
                              h->name);
        for (size_t k = 0; k < i; k++)
            if (span_eq(s->headers[k].name, s->headers[i].name))
                return form_wrong(r->form, r->err, reader_path(r, place, "name"), "%s is there already",
                                  h->name);
        for (const char *c = h->value; *c; c++)
            if (*c < ' ' || *c > '~')
                return form_wrong(r->form, r->err, value, "visible ASCII characters and blanks");
    }
    return OK;
}

/* Those that say where a request goes, where it ends and how it is carried. */
static bool is_own_header(struct span name)
{
    static const char *const own[] = {
        "host", "content-length", "transfer-encoding", "connection", "upgrade", "expect", "te", "trailer"};

    for (size_t i = 0; i < countof(own); i++)
        if (span_eq(name, span_of(own[i])))
            return true;
    return span_starts(name, SPAN("proxy-"));
}

/* With any text in quotes at each placeholder it must be JSON: so none stands inside of quotes. */
static enum status read_body(struct reader *r, const char *path, const struct raw_request *from,
                             unsigned places, struct poll_step *s)
{
    const struct template_rules rules = {places | 1U << POLL_TOKEN, true, TEMPLATE_BYTES};
    const char *body = reader_path(r, path, "body"), *sample = "";
    bool typed = false;
    struct doc doc;

    if (!from->body)
        return OK;
    if (!s->is_post)
        return form_wrong(r->form, r->err, body, "only a post has a body");
    if (read_template(r, body, from->body, &rules, &s->body))
        return INVALID;
    for (size_t i = 0; i < s->body.nparts; i++) {
        const struct poll_part *part = &s->body.parts[i];
        sample = part->place == POLL_LITERAL ? arena_print(r->arena, "%s%s", sample, part->literal.at)
                                             : arena_print(r->arena, "%s\"\"", sample);
    }
    if (doc_parse(&doc, span_of(sample), r->arena, NULL))
        return form_wrong(r->form, r->err, body,
                          "JSON, with placeholders where values stand, such as {\"id\":{post}}");
    for (size_t i = 0; i < s->nheaders; i++)
        typed |= span_eq(s->headers[i].name, SPAN("content-type"));
    return typed ? OK : form_wrong(r->form, r->err, body, "needs a header content-type");
}

static enum status read_template(struct reader *r, const char *path, const char *text,
                                 const struct template_rules *rules, struct poll_template *ret)
{
    struct span rest = reader_copy(r, text);
    const char *literal = rest.at;

    ret->parts = arena_zero(r->arena, (PARTS_MAX + 2) * sizeof(*ret->parts));
    if (rest.len > rules->most)
        return form_wrong(r->form, r->err, path, "at most %zu bytes", rules->most);
    while (rest.len > 0) {
        enum poll_place place = POLL_LITERAL;
        size_t len = place_at(rest, &place);

        if (len == 0 && !rules->braces && (rest.at[0] == '{' || rest.at[0] == '}'))
            return form_wrong(r->form, r->err, path, "a brace belongs to no placeholder");
        if (len > 0 && !(rules->places & 1U << place))
            return form_wrong(r->form, r->err, path, "%.*s cannot stand here", (int)len, rest.at);
        if (len > 0 && (count_place(ret, place) > 0 || ret->nparts >= PARTS_MAX))
            return form_wrong(r->form, r->err, path, "%.*s is there already", (int)len, rest.at);
        if (len > 0) {
            add_part(ret, POLL_LITERAL, literal, (size_t)(rest.at - literal));
            add_part(ret, place, rest.at, len);
            literal = rest.at + len;
        }
        rest = span_skip(rest, len ? len : 1);
    }
    add_part(ret, POLL_LITERAL, literal, (size_t)(rest.at - literal));
    for (size_t i = 0; i < ret->nparts; i++)
        ret->parts[i].literal = arena_copy(r->arena, ret->parts[i].literal);
    return OK;
}

/* The length of the placeholder that text begins with, or 0. */
static size_t place_at(struct span text, enum poll_place *ret)
{
    for (size_t i = 0; i < countof(placeholders); i++)
        if (span_starts(text, placeholders[i].text)) {
            *ret = placeholders[i].place;
            return placeholders[i].text.len;
        }
    return 0;
}

static void add_part(struct poll_template *t, enum poll_place place, const char *at, size_t len)
{
    if (len > 0)
        t->parts[t->nparts++] = (struct poll_part){
            place, {at, len}
        };
}

static size_t count_place(const struct poll_template *t, enum poll_place place)
{
    size_t n = 0;

    for (size_t i = 0; i < t->nparts; i++)
        n += t->parts[i].place == place;
    return n;
}

static enum status read_batch(struct reader *r, const char *path, const struct raw_request *from,
                              struct poll_step *s)
{
    size_t one = count_place(&s->url, POLL_POST) + count_place(&s->body, POLL_POST);
    size_t several = count_place(&s->url, POLL_POSTS) + count_place(&s->body, POLL_POSTS);
    const char *separator = reader_path(r, path, "separator");
    uint64_t batch = 1, digits = 0;

    if ((one > 0) == (several > 0))
        return form_wrong(r->form, r->err, reader_path(r, path, "url"),
                          "either {post} or {posts}, here or in the body");
    if (reader_number(r, reader_path(r, path, "batch"), from->batch, 1, POLL_BATCH_MAX, &batch))
        return INVALID;
    if (batch > 1 && several == 0)
        return form_wrong(r->form, r->err, reader_path(r, path, "batch"), "more than one post needs {posts}");
    s->batch = (unsigned)batch;
    if (reader_number(r, reader_path(r, path, "post_digits"), from->post_digits, 1, POST_BYTES, &digits))
        return INVALID;
    s->post_digits = (unsigned)digits;

    s->separator = from->separator ? reader_copy(r, from->separator) : SPAN(",");
    if (from->separator && count_place(&s->url, POLL_POSTS) == 0)
        return form_wrong(r->form, r->err, separator, "stands between the {posts} of a URL");
    if (s->separator.len == 0 || s->separator.len > SEPARATOR_BYTES)
        return form_wrong(r->form, r->err, separator, "1 to %d characters", SEPARATOR_BYTES);
    if (!is_of(s->separator, ",;:+*&=$!_.~-abcdefghijklmnopqrstuvwxyz"))
        return form_wrong(r->form, r->err, separator,
                          "of \",;:+*&=$!_.~-\" and lower-case letters, such as \",\" or \"&id=\"");
    return OK;
}

enum status descriptor_rules(struct reader *r, const char *path, const struct raw_request *from,
                             const struct rule_words *words, struct poll_step *s)
{
    s->nrules = from->nrules;
    s->rules = arena_zero(r->arena, s->nrules * sizeof(*s->rules));
    for (size_t i = 0; i < s->nrules; i++) {
        const char *place = arena_print(r->arena, "%s.rules[%zu]", path, i);
        struct poll_rule *rule = &s->rules[i];

        if (read_rule(r, place, &from->rules[i], words, rule))
            return INVALID;
        if (rule->means == POLL_MEANS_FAILED && (s->batch > 1 || rule->at.nwords == 0))
            return form_wrong(r->form, r->err, reader_path(r, place, "means"),
                              "failed needs at and is, and a batch of one");
    }
    return OK;
}

/* A status of HTTP alone says nothing of a post that would fail it. */
static enum status read_rule(struct reader *r, const char *path, const struct raw_rule *from,
                             const struct rule_words *words, struct poll_rule *rule)
{
    size_t means = 0;

    if (reader_word(r, reader_path(r, path, "means"), from->means, words->words, words->n, &means) ||
        reader_plain_pointer(r, reader_path(r, path, "at"), from->at, &rule->at.at) ||
        reader_plain_pointer(r, reader_path(r, path, "reason"), from->reason, &rule->reason) ||
        read_statuses(r, reader_path(r, path, "status"), from, rule))
        return INVALID;
    rule->means = words->meanings[means];
    rule->at.nwords = from->nis;
    rule->at.words = reader_copies(r, from->is, from->nis);
    if (!from->at && (from->nis > 0 || from->nstatus == 0))
        return form_wrong(r->form, r->err, reader_path(r, path, "means"), "needs at, status or both");
    if (rule->reason && rule->means != POLL_MEANS_FAILED)
        return form_wrong(r->form, r->err, reader_path(r, path, "reason"), "only of failed");
    return OK;
}

static enum status read_statuses(struct reader *r, const char *path, const struct raw_rule *from,
                                 struct poll_rule *rule)
{
    rule->nstatuses = from->nstatus;
    rule->statuses = arena_zero(r->arena, from->nstatus * sizeof(*rule->statuses));
    for (size_t i = 0; i < from->nstatus; i++) {
        uint64_t status = 0;
        if (reader_number(r, arena_print(r->arena, "%s[%zu]", path, i), from->status[i], 200, 599, &status))
            return INVALID;
        rule->statuses[i] = (int)status;
    }
    return OK;
}

/* No word means two things. */
static enum status read_words(struct reader *r, const char *path, const struct raw_request *from,
                              struct poll_step *s)
{
    static const char *const missing_words[] = {"could_not_ask", "working", "not_mine", "failed"};
    size_t missing = 0;
    const struct {
        const char *name;
        char **raw;
        size_t n;
        struct span **ret;
        size_t *nret;
    } lists[] = {
        {"success",   from->success,   from->nsuccess,   &s->success,   &s->nsuccess  },
        {"failure",   from->failure,   from->nfailure,   &s->failure,   &s->nfailure  },
        {"working",   from->working,   from->nworking,   &s->working,   &s->nworking  },
        {"not_found", from->not_found, from->nnot_found, &s->not_found, &s->nnot_found},
    };

    if (reader_word(r, reader_path(r, path, "missing"), from->missing, missing_words, countof(missing_words),
                    &missing))
        return INVALID;
    s->missing = (enum poll_meaning)missing;
    for (size_t i = 0; i < countof(lists); i++) {
        *lists[i].ret = reader_copies(r, lists[i].raw, lists[i].n);
        *lists[i].nret = lists[i].n;
        for (size_t k = 0; k < i; k++)
            for (size_t w = 0; w < lists[i].n; w++)
                if (has_word(*lists[k].ret, lists[k].n, (*lists[i].ret)[w]))
                    return form_wrong(r->form, r->err,
                                      arena_print(r->arena, "%s.%s[%zu]", path, lists[i].name, w),
                                      "\"%s\" means %s", lists[i].raw[w], lists[k].name);
    }
    return OK;
}

static enum status read_shape(struct reader *r, const char *path, const struct raw_payload *from,
                              const struct poll_step *s, struct payload *p)
{
    if (descriptor_shape(r, path, from, p))
        return INVALID;
    if (!from->when && from->nis > 0)
        return form_wrong(r->form, r->err, reader_path(r, path, "is"), "needs when");
    for (size_t i = 0; i < p->nextras; i++)
        if (p->extras[i].header.at)
            return form_wrong(r->form, r->err, arena_print(r->arena, "%s.extras[%zu].at", path, i),
                              "an answer's headers are not read");
    if (!p->post && (s->batch > 1 || pointer_stars(p->each) > 0))
        return form_wrong(r->form, r->err, path, "needs post: which of several an element is about");
    if (!p->post && decides(s, p->status_default))
        return form_wrong(r->form, r->err, reader_path(r, path, "status.default"),
                          "\"%s\" decides, so the shape needs post: silence must not decide",
                          p->status_default.at);
    return OK;
}

static bool decides(const struct poll_step *s, struct span word)
{
    return word.at && (has_word(s->success, s->nsuccess, word) || has_word(s->failure, s->nfailure, word));
}

static bool has_word(const struct span *words, size_t n, struct span word)
{
    for (size_t i = 0; i < n; i++)
        if (span_eq(words[i], word))
            return true;
    return false;
}
