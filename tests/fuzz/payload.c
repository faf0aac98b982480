/* A verified body: the first byte chooses the platform, the rest is what it sends. */
#include "fuzz.h"

#include "base/now.h"
#include "domain/event.h"
#include "domain/handshake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct header headers[] = {
        {SPAN("x-github-event"),  SPAN("push")           },
        {SPAN("x-shopify-topic"), SPAN("products/create")},
    };
    struct platforms *set = fuzz_platforms();
    struct arena *a = arena_open(4096);
    const struct verified verified = {.time_us = TIME_NONE};
    struct event *events = NULL;
    size_t nevents = 0;

    if (size > 0) {
        const struct platform *p = platforms_at(set, data[0] % platforms_count(set));
        const struct request r = {
            headers, countof(headers), {(const char *)data + 1, size - 1},
              SPAN_NONE, 1700000000 * SECOND_US
        };
        struct handshake_answer answer;
        (void)handshake_post(p, platform_source(p, SPAN("default")), 0, &r, a, &answer);
        events_read(p, SPAN("default"), &verified, &r, a, &events, &nevents);
        FUZZ_ASSERT(nevents >= 1 && nevents <= EVENTS_MAX);
        for (size_t i = 0; i < nevents; i++) /* Postgres takes no NUL in a text */
            FUZZ_ASSERT(
                events[i].post_id.len <= 255 &&
                !memchr(events[i].post_id.at ? events[i].post_id.at : "", '\0', events[i].post_id.len));
    }
    arena_close(a);
    return 0;
}
