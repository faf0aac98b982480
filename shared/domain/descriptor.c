#include "domain/descriptor.h"

#include "domain/descriptor_reader.h"
#include "domain/name.h"

enum {
    NAME_BYTES = 50,
    BODY_BYTES_MOST = 4194304, /* more is never taken, whatever the settings say */
    TIMEOUT_MINUTES_MOST = 525600,
    LEASE_S = 432000, /* what Google's hub gives */
    LEASE_S_LEAST = 60,
    LEASE_S_MOST = 31536000,
};

static enum status read_all(struct reader *r, const char *path, struct platform *p);
static enum status read_names(struct reader *r, const char *path, struct platform *p);
static enum status check_parts(struct reader *r, struct platform *p);
static enum status read_answer(struct reader *r, struct platform *p);
static enum status read_formats(struct reader *r, struct platform *p);
static enum status read_words(struct reader *r, struct platform *p);
static enum status read_limits(struct reader *r, struct platform *p);
static enum status read_subscribe(struct reader *r, struct platform *p);
static bool asks_for_topics(const struct platform *p);
static bool is_url(struct span text);

enum status descriptor_read(const char *path, struct span text, struct arena *arena, struct platform *ret,
                            struct err *err)
{
    struct err unseen;
    struct reader r = {.arena = arena, .err = err ? err : &unseen};
    enum status status;

    *ret = (struct platform){.nsources = 0};
    if (!reader_open(&r, path, text))
        return r.err->code;
    status = read_all(&r, path, ret);
    form_close(r.form);
    return status;
}

static enum status read_all(struct reader *r, const char *path, struct platform *p)
{
    if (read_names(r, path, p) || descriptor_insights(r, p) || check_parts(r, p))
        return INVALID;
    if (!p->sends_webhooks)
        return OK;
    if (descriptor_verify(r, &p->scheme) || read_answer(r, p) || read_formats(r, p))
        return INVALID;
    if (descriptor_handshakes(r, p) || descriptor_payloads(r, p) || read_words(r, p))
        return INVALID;
    if (read_limits(r, p) || read_subscribe(r, p) || descriptor_poll(r, p))
        return INVALID;
    return OK;
}

static enum status read_names(struct reader *r, const char *path, struct platform *p)
{
    const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;

    p->name = reader_copy(r, r->raw->name);
    p->title = reader_copy(r, r->raw->title);
    p->about = reader_copy(r, r->raw->about);
    if (!name_is_good(p->name, NAME_BYTES))
        return form_wrong(r->form, r->err, "name", "at most %d lower-case letters, digits and \"-\"",
                          NAME_BYTES);
    if (strcmp(file, arena_print(r->arena, "%s.yaml", r->raw->name)) != 0)
        return form_wrong(r->form, r->err, "name", "the file of %s must be called %s.yaml", p->name.at,
                          p->name.at);
    if (p->about.at && !is_url(p->about))
        return form_wrong(r->form, r->err, "about", "the URL of the platform's documentation");
    return OK;
}

/* A platform sends webhooks, which wants all that belongs to them, or has insights and nothing of that. */
static enum status check_parts(struct reader *r, struct platform *p)
{
    static const struct {
        const char *name;
        bool needed;
    } parts[] = {
        {"verify",          true },
        {"payloads",        true },
        {"success",         true },
        {"failure",         true },
        {"answer",          false},
        {"body",            false},
        {"subscribe",       false},
        {"poll",            false},
        {"handshakes",      false},
        {"max_body_bytes",  false},
        {"timeout_minutes", false},
    };
    const char *first = NULL;

    for (size_t i = 0; i < countof(parts); i++)
        first = !first && form_has(r->form, parts[i].name) ? parts[i].name : first;
    p->sends_webhooks = first || !p->insights;
    for (size_t i = 0; i < countof(parts); i++)
        if (p->sends_webhooks && parts[i].needed && !form_has(r->form, parts[i].name))
            return form_wrong(r->form, r->err, first ? first : "name",
                              "needs %s too: a platform that sends webhooks has verify, payloads, success "
                              "and failure",
                              parts[i].name);
    return OK;
}

static enum status read_answer(struct reader *r, struct platform *p)
{
    static const char *const stored_words[] = {"200", "202", "204"}, *const forged_words[] = {"refuse",
                                                                                              "drop"};
    static const int statuses[] = {200, 202, 204};
    size_t stored = 0, forged = 0;

    if (reader_word(r, "answer.stored", r->raw->answer.stored, stored_words, countof(stored_words),
                    &stored) ||
        reader_word(r, "answer.forged", r->raw->answer.forged, forged_words, countof(forged_words), &forged))
        return INVALID;
    p->stored_status = statuses[stored];
    p->drops_forged = forged == 1;
    return OK;
}

static enum status read_formats(struct reader *r, struct platform *p)
{
    static const char *const words[] = {"json", "form", "atom"};
    static const enum body_format formats[] = {BODY_JSON, BODY_FORM, BODY_ATOM};

    p->formats = r->raw->nbody ? 0 : BODY_JSON;
    for (size_t i = 0; i < r->raw->nbody; i++) {
        const char *path = arena_print(r->arena, "body[%zu]", i);
        size_t word = 0;
        if (reader_word(r, path, r->raw->body[i], words, countof(words), &word))
            return INVALID;
        if (p->formats & formats[word])
            return form_wrong(r->form, r->err, path, "%s is there already", words[word]);
        p->formats |= formats[word];
    }
    return OK;
}

static enum status read_words(struct reader *r, struct platform *p)
{
    p->nsuccess = r->raw->nsuccess;
    p->nfailure = r->raw->nfailure;
    p->success = reader_copies(r, r->raw->success, p->nsuccess);
    p->failure = reader_copies(r, r->raw->failure, p->nfailure);
    for (size_t i = 0; i < p->nfailure; i++)
        if (platform_decides(p, p->failure[i]) > 0)
            return form_wrong(r->form, r->err, arena_print(r->arena, "failure[%zu]", i),
                              "\"%s\" means success", p->failure[i].at);
    return OK;
}

static enum status read_limits(struct reader *r, struct platform *p)
{
    uint64_t max_body_bytes = 0, timeout_minutes = 0;

    if (reader_number(r, "max_body_bytes", r->raw->max_body_bytes, 1, BODY_BYTES_MOST, &max_body_bytes) ||
        reader_number(r, "timeout_minutes", r->raw->timeout_minutes, 1, TIMEOUT_MINUTES_MOST,
                      &timeout_minutes))
        return INVALID;
    p->max_body_bytes = max_body_bytes;
    p->timeout_minutes = (unsigned)timeout_minutes;
    return OK;
}

static enum status read_subscribe(struct reader *r, struct platform *p)
{
    const struct raw_subscribe *from = &r->raw->subscribe;
    const char *place, *again;
    uint64_t lease_s = LEASE_S;

    if (!from->hub)
        return OK;
    p->hub = reader_copy(r, from->hub);
    p->topic_url = reader_copy(r, from->topic);
    if (!is_url(p->hub))
        return form_wrong(r->form, r->err, "subscribe.hub",
                          "the hub's URL, such as https://hub.example.com/");
    place = strstr(from->topic, "{topic}");
    again = place ? strstr(place + 1, "{topic}") : NULL;
    if (!is_url(p->topic_url) || !place || again)
        return form_wrong(r->form, r->err, "subscribe.topic",
                          "the URL of a topic, with {topic} once where the source's topic is put in");
    if (reader_number(r, "subscribe.lease_s", from->lease_s, LEASE_S_LEAST, LEASE_S_MOST, &lease_s))
        return INVALID;
    p->lease_s = (unsigned)lease_s;
    if (!asks_for_topics(p))
        return form_wrong(r->form, r->err, "subscribe",
                          "needs a handshake with \"topic\": the hub asks back before it subscribes");
    return OK;
}

static bool asks_for_topics(const struct platform *p)
{
    for (size_t i = 0; i < p->nhandshakes; i++)
        if (p->handshakes[i].topic.at)
            return true;
    return false;
}

static bool is_url(struct span text)
{
    struct span rest = span_starts(text, SPAN("https://"))  ? span_skip(text, 8)
                       : span_starts(text, SPAN("http://")) ? span_skip(text, 7)
                                                            : SPAN("");

    for (size_t i = 0; i < rest.len; i++)
        if (rest.at[i] <= ' ' || rest.at[i] > '~')
            return false;
    return rest.len > 0;
}
