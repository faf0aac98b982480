/* What a platform answers to a poll: three bytes choose platform, request and HTTP status, the first line is the post, the
 * rest the answer. */
#include "fuzz.h"

#include "base/doc.h"
#include "base/now.h"
#include "domain/poll.h"

enum { CHOICES = 3 };

static void try_request(const struct poll_question *q);
static bool is_json(struct span text);
static void try_answer(const struct poll_question *q, int status, struct span content);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int statuses[] = {200, 302, 400, 401, 403, 404, 429, 500};
    struct platforms *set = fuzz_platforms();
    const struct poll *poll;
    struct span rest, posts[2];
    struct poll_question q = {.posts = posts, .account = SPAN("account")};

    if (size < CHOICES || !(poll = platforms_at(set, data[0] % platforms_count(set))->poll))
        return 0;
    rest = (struct span){(const char *)data + CHOICES, size - CHOICES};
    q.poll = poll;
    q.request = data[1] % poll->nrequests;
    posts[0] = span_cut(&rest, '\n');
    posts[1] = SPAN("1460323737035677698"); /* fits wherever several are asked about at once */
    q.nposts = poll->requests[q.request].batch > 1 ? 2 : 1;
    try_request(&q);
    try_answer(&q, statuses[data[2] % countof(statuses)], rest);
    return 0;
}

/* Whatever the post is, it is one value in its place. */
static void try_request(const struct poll_question *q)
{
    const struct poll_template *url = &q->poll->requests[q->request].url;
    struct poll_call call;
    bool fits = true;

    for (size_t i = 0; i < q->nposts; i++)
        fits = fits && poll_fits(q->poll, q->request, q->posts[i]);
    FUZZ_ASSERT((poll_request(q, SPAN("test-token"), &call, NULL) == OK) == fits);
    if (!fits)
        return;
    FUZZ_ASSERT(span_starts(span_of(call.url), url->parts[0].literal) && strlen(call.url) <= POLL_URL_BYTES);
    FUZZ_ASSERT(!strpbrk(call.url, "\r\n \t\"<>\\#{}"));
    for (size_t i = 0; i < call.nheaders; i++)
        FUZZ_ASSERT(!strpbrk(call.headers[i], "\r\n"));
    FUZZ_ASSERT(!call.body.at || is_json(call.body));
    poll_call_close(&call);
}

static bool is_json(struct span text)
{
    struct arena *a = arena_open(1024);
    struct doc doc;
    bool good = doc_parse(&doc, text, a, NULL) == OK;

    arena_close(a);
    return good;
}

/* Only what is done decides, only what could not be asked has an error, and the last request hands nothing on. */
static void try_answer(const struct poll_question *q, int status, struct span content)
{
    const struct poll_reply reply = {status, content, 1700000000 * SECOND_US};
    struct arena *a = arena_open(4096);
    struct poll_answer answers[2];
    enum poll_error error = poll_read(q, &reply, a, answers);

    for (size_t i = 0; i < q->nposts; i++) {
        const struct poll_answer *answer = &answers[i];
        FUZZ_ASSERT((answer->outcome == POLL_DONE) == (answer->decisive != 0));
        FUZZ_ASSERT((answer->outcome == POLL_COULD_NOT_ASK) == (answer->error != POLL_ERROR_NONE));
        FUZZ_ASSERT(answer->outcome != POLL_NOT_MINE || q->request + 1 < q->poll->nrequests);
        FUZZ_ASSERT(error == POLL_ERROR_NONE || answer->error == error);
        FUZZ_ASSERT(!memchr(answer->status.at ? answer->status.at : "", '\0', answer->status.len));
        FUZZ_ASSERT(answer->reason.len <= 1000 && answer->url.len <= 2048);
    }
    arena_close(a);
}
