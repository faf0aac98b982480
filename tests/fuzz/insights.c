/* What a platform answers to a question about figures: two bytes choose platform and HTTP status, the first line is the
 * site, the rest the answer. */
#include "fuzz.h"

#include "base/doc.h"
#include "base/now.h"
#include "domain/insights.h"

enum { CHOICES = 2 };

static const struct insights *choose(size_t choice);
static void try_request(const struct insights *in, struct span site);
static void try_answer(const struct insights *in, int status, struct span content);
static bool is_json(struct span text);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int statuses[] = {200, 302, 400, 401, 403, 404, 429, 500};
    const struct insights *in;
    struct span rest;

    if (size < CHOICES || !(in = choose(data[0])))
        return 0;
    rest = (struct span){(const char *)data + CHOICES, size - CHOICES};
    try_request(in, span_cut(&rest, '\n'));
    try_answer(in, statuses[data[1] % countof(statuses)], rest);
    return 0;
}

/* Of those that have insights. */
static const struct insights *choose(size_t choice)
{
    struct platforms *set = fuzz_platforms();
    size_t n = platforms_count_all(set);

    for (size_t i = 0; i < n; i++) {
        const struct platform *p = platforms_at_all(set, (choice + i) % n);
        if (p->insights)
            return p->insights;
    }
    return NULL;
}

/* Whatever the site is, it is one value in its place. */
static void try_request(const struct insights *in, struct span site)
{
    const struct insights_period period = insights_period(in, 1700000000 * SECOND_US);
    const struct insights_question q = {in, &period, site, SPAN("account")};
    struct poll_call call;
    bool fits = insights_site_fits(site);

    FUZZ_ASSERT((insights_request(&q, SPAN("test-token"), &call, NULL) == OK) == fits);
    if (!fits)
        return;
    FUZZ_ASSERT(span_starts(span_of(call.url), in->asks.requests[0].url.parts[0].literal));
    FUZZ_ASSERT(strlen(call.url) <= POLL_URL_BYTES && !strpbrk(call.url, "\r\n \t\"<>\\#{}"));
    FUZZ_ASSERT(!call.body.at || is_json(call.body));
    poll_call_close(&call);
}

/* What is said is JSON, and nothing is said with an error. */
static void try_answer(const struct insights *in, int status, struct span content)
{
    struct arena *a = arena_open(4096);
    struct span says;
    enum insights_error error = insights_read(in, status, content, a, &says);

    FUZZ_ASSERT((error == INSIGHTS_OK) == (says.at != NULL));
    FUZZ_ASSERT((error == INSIGHTS_OK) == (insights_error_name(error) == NULL));
    FUZZ_ASSERT(!says.at || is_json(says));
    arena_close(a);
}

static bool is_json(struct span text)
{
    struct arena *a = arena_open(1024);
    struct doc doc;
    bool good = doc_parse(&doc, text, a, NULL) == OK;

    arena_close(a);
    return good;
}
