#include "domain/poll.h"

#include "base/now.h"
#include "base/utf8.h"
#include "domain/shape.h"

#include <stdlib.h>

#include <sodium.h>

enum {
    ITEMS_MAX =
        1000, /* elements of an answer that are looked at: no platform sends more than were asked for */
    LISTED_BYTES = 64,
    ACCOUNT_BYTES = 100,
};

/* Text on its way into the one block: without the block it is only measured. */
struct sheet {
    char *at;
    size_t len;
};

struct filling {
    const struct poll_question *q;
    const struct poll_step *step;
    struct span token;
};

/* One answer while it is read. */
struct reading {
    const struct poll_question *q;
    const struct poll_step *step;
    const struct poll_reply *reply;
    struct extract extract;
    const struct payload *shape;
    struct poll_answer *answers;
    size_t *named_by; /* of each post: the shape that named it, from 1; 0: none yet */
    size_t nitems;
};

static bool fits(struct span id, size_t most);
static bool is_number(struct span id, size_t most);
static bool fits_url(struct span id);
static bool is_unreserved(char c);
static size_t encoded_length(struct span text);
static bool has_place(const struct poll_template *t, enum poll_place place);
static bool uses(const struct poll_step *step, enum poll_place place);
static bool is_sendable(struct span token);
static void fill(const struct filling *f, char *memory, struct poll_call *ret);
static void put_url(struct sheet *s, const struct filling *f);
static void put_list(struct sheet *s, const struct filling *f);
static void put_header(struct sheet *s, const struct filling *f, const struct poll_header *h);
static void put_body(struct sheet *s, const struct filling *f);
static void put_quoted_list(struct sheet *s, const struct filling *f);
static void put(struct sheet *s, struct span text);
static void put_encoded(struct sheet *s, struct span text);
static void put_quoted(struct sheet *s, struct span text);
static enum poll_error answer_all(struct reading *r, enum poll_outcome outcome, enum poll_error error);
static bool has_status(const struct poll_rule *rule, int status);
static enum poll_error by_rule(struct reading *r, const struct poll_rule *rule);
static enum poll_error by_status(struct reading *r);
static enum poll_error by_answers(struct reading *r);
static bool is_there(struct reading *r);
static bool read_item(void *ctx, struct place element);
static size_t find_post(struct reading *r);
static void read_post(struct reading *r, size_t post);
static void settle_missing(struct reading *r, struct poll_answer *a, enum poll_meaning means);
static bool has_word(const struct span *words, size_t n, struct span word);

const char *poll_error_name(enum poll_error error)
{
    static const char *const names[] = {
        [POLL_ERROR_NONE] = NULL,           [POLL_AUTH_ERROR] = "auth_error",
        [POLL_FORBIDDEN] = "auth_error",    [POLL_RATE_LIMITED] = "rate_limited",
        [POLL_FETCH_ERROR] = "fetch_error", [POLL_INVALID_RETURN] = "invalid_adapter_return",
        [POLL_NOT_FOUND] = "not_found",     [POLL_BAD_POST] = "invalid_post_id",
    };

    return names[error];
}

bool poll_fits(const struct poll *poll, size_t request, struct span post)
{
    const struct poll_step *step = &poll->requests[request];
    bool listed = has_place(&step->url, POLL_POSTS);

    if (!fits(post, POST_BYTES) || (step->post_digits > 0 && !is_number(post, step->post_digits)))
        return false;
    if ((listed || has_place(&step->url, POLL_POST)) && !fits_url(post))
        return false;
    return !listed || (encoded_length(post) <= LISTED_BYTES &&
                       !memmem(post.at, post.len, step->separator.at, step->separator.len));
}

static bool fits(struct span id, size_t most)
{
    if (!id.at || id.len == 0 || id.len > most || !utf8_valid(id))
        return false;
    for (size_t i = 0; i < id.len; i++)
        if ((unsigned char)id.at[i] < ' ' || id.at[i] == 0x7f)
            return false;
    return true;
}

static bool is_number(struct span id, size_t most)
{
    for (size_t i = 0; i < id.len; i++)
        if (id.at[i] < '0' || id.at[i] > '9')
            return false;
    return id.len <= most;
}

/* Servers and proxies resolve these after decoding, and then the path is another. */
static bool fits_url(struct span id)
{
    return !span_eq(id, SPAN(".")) && !span_eq(id, SPAN("..")) && !memchr(id.at, '/', id.len) &&
           !memchr(id.at, '\\', id.len);
}

/* RFC 3986, 2.3 */
static bool is_unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

static size_t encoded_length(struct span text)
{
    size_t len = 0;

    for (size_t i = 0; i < text.len; i++)
        len += is_unreserved(text.at[i]) ? 1 : 3;
    return len;
}

static bool has_place(const struct poll_template *t, enum poll_place place)
{
    for (size_t i = 0; i < t->nparts; i++)
        if (t->parts[i].place == place)
            return true;
    return false;
}

enum status poll_request(const struct poll_question *q, struct span token, struct poll_call *ret,
                         struct err *err)
{
    const struct filling f = {q, &q->poll->requests[q->request], token};

    *ret = (struct poll_call){.method = NULL};
    if ((q->nposts == 0) != (f.step->batch == 0) || q->nposts > f.step->batch)
        return err_cause(err, INVALID, "invalid_post_id",
                         "1 to %u posts can be asked about at a time, not %zu", f.step->batch, q->nposts);
    for (size_t i = 0; i < q->nposts; i++)
        if (!poll_fits(q->poll, q->request, q->posts[i]))
            return err_cause(err, INVALID, "invalid_post_id", "a post's id cannot be asked about");
    if (uses(f.step, POLL_TOKEN) && !is_sendable(token))
        return err_cause(err, INVALID, "auth_error",
                         "the token is missing, too long, or not of visible ASCII characters");
    if (uses(f.step, POLL_ACCOUNT) && (!fits(q->account, ACCOUNT_BYTES) || !fits_url(q->account)))
        return err_cause(err, INVALID, "auth_error",
                         "the platform's id of the account is missing or cannot be sent");

    fill(&f, NULL, ret);
    ret->memory = calloc(1, ret->bytes);
    if (!ret->memory)
        abort(); /* as an arena does */
    fill(&f, ret->memory, ret);
    return OK;
}

static bool uses(const struct poll_step *step, enum poll_place place)
{
    bool used = has_place(&step->url, place) || has_place(&step->body, place);

    for (size_t i = 0; i < step->nheaders; i++)
        used |= has_place(&step->headers[i].value, place);
    return used;
}

static bool is_sendable(struct span token)
{
    for (size_t i = 0; i < token.len; i++)
        if (token.at[i] <= ' ' || token.at[i] > '~')
            return false;
    return token.len > 0 && token.len <= POLL_TOKEN_BYTES;
}

/* Twice: measured without memory, then written. Nothing of the token is ever moved. */
static void fill(const struct filling *f, char *memory, struct poll_call *ret)
{
    size_t nheaders = f->step->nheaders;
    const char **headers = (const char **)(void *)memory;
    struct sheet s = {memory, nheaders * sizeof(*headers)};

    ret->method = f->step->is_post ? "POST" : "GET";
    ret->url = memory ? memory + s.len : NULL;
    put_url(&s, f);
    for (size_t i = 0; i < nheaders; i++) {
        if (memory)
            headers[i] = memory + s.len;
        put_header(&s, f, &f->step->headers[i]);
    }
    ret->headers = headers;
    ret->nheaders = nheaders;
    if (f->step->body.nparts > 0) {
        size_t from = s.len;
        put_body(&s, f);
        if (memory)
            ret->body = (struct span){memory + from, s.len - from - 1};
    }
    ret->bytes = s.len;
}

static void put_url(struct sheet *s, const struct filling *f)
{
    for (size_t i = 0; i < f->step->url.nparts; i++) {
        const struct poll_part *part = &f->step->url.parts[i];
        switch (part->place) {
        case POLL_LITERAL:
            put(s, part->literal);
            break;
        case POLL_POST:
            put_encoded(s, f->q->posts[0]);
            break;
        case POLL_POSTS:
            put_list(s, f);
            break;
        case POLL_ACCOUNT:
            put_encoded(s, f->q->account);
            break;
        case POLL_SITE:
            put_encoded(s, f->q->site);
            break;
        case POLL_FROM:
            put_encoded(s, f->q->from);
            break;
        case POLL_TO:
            put_encoded(s, f->q->to);
            break;
        case POLL_TOKEN: /* never in a URL */
            break;
        }
    }
    put(s, (struct span){"", 1});
}

static void put_list(struct sheet *s, const struct filling *f)
{
    for (size_t i = 0; i < f->q->nposts; i++) {
        if (i > 0)
            put(s, f->step->separator);
        put_encoded(s, f->q->posts[i]);
    }
}

static void put_header(struct sheet *s, const struct filling *f, const struct poll_header *h)
{
    put(s, h->name);
    put(s, SPAN(": "));
    for (size_t i = 0; i < h->value.nparts; i++)
        put(s, h->value.parts[i].place == POLL_TOKEN ? f->token : h->value.parts[i].literal);
    put(s, (struct span){"", 1});
}

static void put_body(struct sheet *s, const struct filling *f)
{
    for (size_t i = 0; i < f->step->body.nparts; i++) {
        const struct poll_part *part = &f->step->body.parts[i];
        switch (part->place) {
        case POLL_LITERAL:
            put(s, part->literal);
            break;
        case POLL_POST:
            put_quoted(s, f->q->posts[0]);
            break;
        case POLL_POSTS:
            put_quoted_list(s, f);
            break;
        case POLL_TOKEN:
            put_quoted(s, f->token);
            break;
        case POLL_ACCOUNT:
            put_quoted(s, f->q->account);
            break;
        case POLL_SITE:
            put_quoted(s, f->q->site);
            break;
        case POLL_FROM:
            put_quoted(s, f->q->from);
            break;
        case POLL_TO:
            put_quoted(s, f->q->to);
            break;
        }
    }
    put(s, (struct span){"", 1});
}

static void put_quoted_list(struct sheet *s, const struct filling *f)
{
    for (size_t i = 0; i < f->q->nposts; i++) {
        put(s, i ? SPAN(",") : SPAN(""));
        put_quoted(s, f->q->posts[i]);
    }
}

static void put(struct sheet *s, struct span text)
{
    if (s->at && text.len > 0)
        memcpy(s->at + s->len, text.at, text.len);
    s->len += text.len;
}

static void put_encoded(struct sheet *s, struct span text)
{
    static const char digits[] = "0123456789ABCDEF";

    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.at[i];
        const char escape[] = {'%', digits[c >> 4], digits[c & 15]};
        if (is_unreserved(text.at[i]))
            put(s, (struct span){text.at + i, 1});
        else
            put(s, (struct span){escape, sizeof(escape)});
    }
}

/* What comes here has no control characters. */
static void put_quoted(struct sheet *s, struct span text)
{
    put(s, SPAN("\""));
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] == '"' || text.at[i] == '\\')
            put(s, SPAN("\\"));
        put(s, (struct span){text.at + i, 1});
    }
    put(s, SPAN("\""));
}

void poll_call_close(struct poll_call *call)
{
    if (call->memory)
        sodium_memzero(call->memory, call->bytes);
    free(call->memory);
    *call = (struct poll_call){.method = NULL};
}

enum poll_error poll_read(const struct poll_question *q, const struct poll_reply *reply, struct arena *arena,
                          struct poll_answer *answers)
{
    struct reading r = {.q = q, .step = &q->poll->requests[q->request], .reply = reply, .answers = answers};
    const struct poll_rule *rule;
    bool good = reply->content.len > 0 && reply->content.len <= POLL_ANSWER_BYTES &&
                extract_open(&r.extract, reply->content, arena, NULL) == OK;

    r.named_by = arena_zero(arena, q->nposts * sizeof(*r.named_by));
    rule = poll_rule_of(r.step, reply->status, good ? &r.extract : NULL);
    if (rule)
        return by_rule(&r, rule);
    if (reply->status < 200 || reply->status > 299)
        return by_status(&r);
    if (!good)
        return answer_all(&r, POLL_COULD_NOT_ASK, POLL_INVALID_RETURN);
    return by_answers(&r);
}

/* Returns error. */
static enum poll_error answer_all(struct reading *r, enum poll_outcome outcome, enum poll_error error)
{
    for (size_t i = 0; i < r->q->nposts; i++)
        r->answers[i] = (struct poll_answer){.outcome = outcome, .error = error, .happened_us = TIME_NONE};
    return error;
}

const struct poll_rule *poll_rule_of(const struct poll_step *step, int status, struct extract *answer)
{
    for (size_t i = 0; i < step->nrules; i++) {
        const struct poll_rule *rule = &step->rules[i];
        if (has_status(rule, status) && (!rule->at.at || (answer && shape_holds(answer, &rule->at))))
            return rule;
    }
    return NULL;
}

static bool has_status(const struct poll_rule *rule, int status)
{
    for (size_t i = 0; i < rule->nstatuses; i++)
        if (rule->statuses[i] == status)
            return true;
    return rule->nstatuses == 0;
}

static enum poll_error by_rule(struct reading *r, const struct poll_rule *rule)
{
    switch (rule->means) {
    case POLL_MEANS_RATE_LIMITED:
        return answer_all(r, POLL_COULD_NOT_ASK, POLL_RATE_LIMITED);
    case POLL_MEANS_AUTH_ERROR:
        return answer_all(r, POLL_COULD_NOT_ASK, POLL_AUTH_ERROR);
    case POLL_MEANS_WORKING:
        return answer_all(r, POLL_WORKING, POLL_ERROR_NONE);
    case POLL_MEANS_FAILED: /* of one post */
        (void)answer_all(r, POLL_DONE, POLL_ERROR_NONE);
        r->answers[0].decisive = -1;
        r->answers[0].status = shape_cut(shape_text(&r->extract, rule->at.at, STATUS_BYTES), STATUS_BYTES);
        r->answers[0].reason = shape_cut(shape_text(&r->extract, rule->reason, REASON_BYTES), REASON_BYTES);
        return POLL_ERROR_NONE;
    case POLL_MEANS_NOT_MINE:
    case POLL_MEANS_MISSING:
        (void)answer_all(r, POLL_COULD_NOT_ASK, POLL_NOT_FOUND);
        for (size_t i = 0; i < r->q->nposts; i++)
            settle_missing(r, &r->answers[i],
                           rule->means == POLL_MEANS_MISSING ? r->step->missing : rule->means);
        return POLL_ERROR_NONE;
    case POLL_MEANS_COULD_NOT_ASK:
    case POLL_MEANS_CONFIG_ERROR: /* no rule of a poll */
        break;
    }
    return answer_all(r, POLL_COULD_NOT_ASK, POLL_FETCH_ERROR);
}

/* What no rule speaks of. A redirect is not followed: it would take the token along. */
static enum poll_error by_status(struct reading *r)
{
    if (r->reply->status == 401)
        return answer_all(r, POLL_COULD_NOT_ASK, POLL_AUTH_ERROR);
    if (r->reply->status == 403)
        return answer_all(r, POLL_COULD_NOT_ASK, POLL_FORBIDDEN);
    if (r->reply->status == 429)
        return answer_all(r, POLL_COULD_NOT_ASK, POLL_RATE_LIMITED);
    return answer_all(r, POLL_COULD_NOT_ASK, POLL_FETCH_ERROR);
}

/* Only an answer that has the form of one can say by silence that a post is missing. */
static enum poll_error by_answers(struct reading *r)
{
    bool there = false;

    (void)answer_all(r, POLL_COULD_NOT_ASK, POLL_NOT_FOUND);
    for (size_t i = 0; i < r->step->nanswers; i++) {
        r->shape = &r->step->answers[i];
        if (!is_there(r))
            continue;
        there = true;
        extract_each(&r->extract, r->shape->each, read_item, r);
    }
    if (!there || r->nitems > ITEMS_MAX)
        return answer_all(r, POLL_COULD_NOT_ASK, POLL_INVALID_RETURN);
    for (size_t i = 0; i < r->q->nposts; i++)
        if (r->named_by[i] == 0)
            settle_missing(r, &r->answers[i], r->step->missing);
    return POLL_ERROR_NONE;
}

static bool is_there(struct reading *r)
{
    const struct pointer *each = r->shape->each;
    struct place at;

    if (!shape_holds(&r->extract, &r->shape->when))
        return false;
    if (pointer_stars(each) > 0)
        return extract_has_list(&r->extract, each);
    at = extract_at(&r->extract, each); /* without `each` it is the post's id, and without both the whole */
    return shape_is_given(at) && (r->shape->post || at.doc->nodes[at.node].type == DOC_OBJECT);
}

static bool read_item(void *ctx, struct place element)
{
    struct reading *r = ctx;
    size_t shape = (size_t)(r->shape - r->step->answers) + 1, post;

    (void)element;
    if (++r->nitems > ITEMS_MAX)
        return false;
    if (!shape_holds(&r->extract, &r->shape->where))
        return true;
    post = find_post(r);
    if (post == r->q->nposts || (r->named_by[post] != 0 && r->named_by[post] != shape))
        return true;
    if (r->named_by[post] == 0)
        read_post(r, post);
    else /* told of twice */
        r->answers[post] = (struct poll_answer){
            .outcome = POLL_COULD_NOT_ASK, .error = POLL_INVALID_RETURN, .happened_us = TIME_NONE};
    r->named_by[post] = shape;
    return true;
}

/* The post that the element is about; q->nposts if it is none that was asked. */
static size_t find_post(struct reading *r)
{
    struct span id;
    size_t i = 0;

    if (!r->shape->post)
        return 0;
    id = shape_text(&r->extract, r->shape->post, POST_BYTES);
    while (i < r->q->nposts && (!id.at || !span_eq(r->q->posts[i], id)))
        i++;
    return i;
}

static void read_post(struct reading *r, size_t post)
{
    static const struct shape_headers no_headers = {NULL, 0};
    const struct poll_step *s = r->step;
    struct poll_answer *a = &r->answers[post];
    struct said said;

    shape_read(&r->extract, r->shape, &no_headers, r->reply->received_us, &said);
    *a = (struct poll_answer){
        .outcome = POLL_COULD_NOT_ASK,
        .error = POLL_INVALID_RETURN,
        .status = said.status,
        .reason = said.reason.len > 0 ? said.reason : SPAN_NONE,
        .url = said.url.len > 0 ? said.url : SPAN_NONE,
        .extras = said.extras,
        .happened_us = said.happened_us,
    };
    if (!said.word.at)
        return;
    if (has_word(s->success, s->nsuccess, said.word)) {
        a->decisive = 1;
    } else if (has_word(s->failure, s->nfailure, said.word)) {
        a->decisive = -1;
    } else if (has_word(s->not_found, s->nnot_found, said.word)) {
        settle_missing(r, a, s->missing);
        return;
    } else if (!has_word(s->working, s->nworking, said.word)) {
        return;
    }
    a->outcome = a->decisive ? POLL_DONE : POLL_WORKING;
    a->error = POLL_ERROR_NONE;
}

/* Behind the last request nobody is left to ask. */
static void settle_missing(struct reading *r, struct poll_answer *a, enum poll_meaning means)
{
    bool last = r->q->request + 1 == r->q->poll->nrequests;

    a->error = POLL_ERROR_NONE;
    if (means == POLL_MEANS_WORKING) {
        a->outcome = POLL_WORKING;
    } else if (means == POLL_MEANS_NOT_MINE && !last) {
        a->outcome = POLL_NOT_MINE;
    } else if (means == POLL_MEANS_FAILED) {
        a->outcome = POLL_DONE;
        a->decisive = -1;
        a->status = a->status.at ? a->status : SPAN("not_found");
        a->reason = a->reason.at ? a->reason : SPAN("the platform does not know the post");
    } else {
        a->outcome = POLL_COULD_NOT_ASK;
        a->error = POLL_NOT_FOUND;
    }
}

static bool has_word(const struct span *words, size_t n, struct span word)
{
    for (size_t i = 0; i < n; i++)
        if (span_eq(words[i], word))
            return true;
    return false;
}
