/*
 * verify: nanoseconds a delivery for checking its signature and reading its events, by platform and body size, beside a
 * bare HMAC-SHA-256 over the same bytes (libcrypto's and libsodium's, in one call with the key). Needs no server.
 * usage: verify [ROUNDS]     the least of ROUNDS (default 9) counts: what disturbs only adds
 */
#include "base/attr.h"
#include "base/now.h"
#include "domain/event.h"

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <time.h>

#include <openssl/hmac.h>
#include <sodium.h>

enum { ROUND_NS = 20000000, ARENA_BYTES = 1 << 16 };

/* Built-in platforms, one of each kind of scheme. signs: what scheme_sign takes, if it is not the secret. */
static const struct {
    const char *platform, *secret, *signs;
} schemes[] = {
    {"instagram",         "secret",                                                           NULL},
    {"tiktok",            "secret",                                                           NULL},
    {"x",                 "secret",                                                           NULL},
    {"standard-webhooks", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",                           NULL},
    {"youtube",           "secret",                                                           NULL},
    {"discord",           "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
     "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"                           },
};
static const size_t sizes[] = {200, 600, 8192, 262144};

/* One request that verifies, and all that checking it needs. */
struct subject {
    const struct platform *platform;
    const struct source *source;
    struct request request;
    struct header headers[SIGNED_HEADERS_MAX];
    struct arena *arena; /* of one round trip */
};

typedef void work(struct subject *s);
static work verify, verify_and_read, bare_libcrypto, bare_libsodium;
static work *const works[] = {verify, verify_and_read, bare_libcrypto, bare_libsodium};

static void measure(struct platforms *set, size_t scheme, size_t size, unsigned rounds);
static struct span make_body(size_t size, struct arena *a);
static double least_ns(work *w, struct subject *s, unsigned rounds);
static int64_t now_ns(void);

static volatile unsigned char sink;

int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 9;
    struct err err = {.text = ""};
    struct platforms *set = platforms_load(NULL, &err);

    if (!set || rounds == 0) {
        fprintf(stderr, "verify: %s\n", set ? "usage: verify [ROUNDS]" : err.text);
        return EX_USAGE;
    }
    printf("%-18s %8s %10s %16s %12s %12s %14s\n", "platform", "body B", "verify ns", "verify+events ns",
           "libcrypto ns", "libsodium ns", "verify/lowest");
    for (size_t i = 0; i < countof(schemes); i++) {
        if (platforms_add_source(set, span_of(schemes[i].platform), SPAN("default"),
                                 span_of(schemes[i].secret), &err)) {
            fprintf(stderr, "verify: %s\n", err.text);
            return EX_SOFTWARE;
        }
        for (size_t k = 0; k < countof(sizes); k++)
            measure(set, i, sizes[k], rounds);
    }
    platforms_close(set);
    return EX_OK;
}

static void measure(struct platforms *set, size_t scheme, size_t size, unsigned rounds)
{
    struct arena *a = arena_open(ARENA_BYTES);
    struct subject s = {.platform = platforms_find(set, span_of(schemes[scheme].platform)),
                        .arena = arena_open(ARENA_BYTES)};
    const char *signs = schemes[scheme].signs ? schemes[scheme].signs : schemes[scheme].secret;
    double ns[countof(works)], lowest;
    struct err err = {.text = ""};

    s.source = platform_source(s.platform, SPAN("default"));
    s.request = (struct request){s.headers, 0, make_body(size, a), SPAN_NONE, now_wall_us()};
    if (scheme_sign(s.platform, span_of(signs), SPAN("msg_1"), s.request.received_us, SPAN_NONE,
                    s.request.body, a, s.headers, &s.request.nheaders, &err)) {
        fprintf(stderr, "verify: %s\n", err.text);
        exit(EX_SOFTWARE);
    }
    for (size_t i = 0; i < countof(works); i++)
        ns[i] = least_ns(works[i], &s, rounds);
    lowest = ns[2] < ns[3] ? ns[2] : ns[3];
    printf("%-18s %8zu %10.0f %16.0f %12.0f %12.0f %14.2f\n", schemes[scheme].platform, size, ns[0], ns[1],
           ns[2], ns[3], ns[0] / lowest);
    arena_close(s.arena);
    arena_close(a);
}

/* The plain shape, filled up with a text such as captions are. */
static struct span make_body(size_t size, struct arena *a)
{
    const char *head =
        "{\"external_post_id\":\"17895695668004550\",\"status\":\"published\",\"media_url\":"
        "\"https://cdn.example/v/t51/1234567890.jpg\",\"timestamp\":\"2026-01-15T10:45:00Z\",\"caption\":\"";
    size_t len = strlen(head);
    char *body = arena_alloc(a, size + 1);

    memset(body, 'a', size);
    memcpy(body, head, len < size ? len : size);
    memcpy(body + size - 2, "\"}", 2);
    return (struct span){body, size};
}

static double least_ns(work *w, struct subject *s, unsigned rounds)
{
    double least = 0;
    int64_t began = now_ns(), took;
    unsigned n = 1;

    w(s);
    took = now_ns() - began;
    if (took < ROUND_NS)
        n = (unsigned)(ROUND_NS / (took + 1)) + 1;
    for (unsigned round = 0; round < rounds; round++) {
        double ns;
        began = now_ns();
        for (unsigned i = 0; i < n; i++)
            w(s);
        ns = (double)(now_ns() - began) / n;
        if (round == 0 || ns < least)
            least = ns;
    }
    return least;
}

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void verify(struct subject *s)
{
    struct verified verified;

    if (scheme_verify(s->platform, s->source, &s->request, &verified, NULL))
        abort();
}

static void verify_and_read(struct subject *s)
{
    struct verified verified;
    struct event *events;
    size_t nevents;

    if (scheme_verify(s->platform, s->source, &s->request, &verified, NULL))
        abort();
    arena_reset(s->arena);
    events_read(s->platform, s->source->name, &verified, &s->request, s->arena, &events, &nevents);
    sink ^= events[0].dedup_key[0];
}

static void bare_libcrypto(struct subject *s)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned len;

    HMAC(EVP_sha256(), "secret", 6, (const unsigned char *)s->request.body.at, s->request.body.len, mac,
         &len);
    sink ^= mac[0];
}

static void bare_libsodium(struct subject *s)
{
    unsigned char mac[crypto_auth_hmacsha256_BYTES];
    crypto_auth_hmacsha256_state state;

    crypto_auth_hmacsha256_init(&state, (const unsigned char *)"secret", 6);
    crypto_auth_hmacsha256_update(&state, (const unsigned char *)s->request.body.at, s->request.body.len);
    crypto_auth_hmacsha256_final(&state, mac);
    sink ^= mac[0];
}
