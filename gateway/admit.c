#include "admit.h"

#include "base/now.h"

#include <stdlib.h>

#include <sodium.h>

struct bucket {
    uint64_t of; /* keyed hash of kind and names */
    double tokens;
    int64_t filled_us;
};

struct admit {
    uint8_t key[crypto_shorthash_KEYBYTES];
    struct bucket *buckets;
    size_t n, room;
};

static uint64_t hash(const struct admit *a, enum admit_kind kind, struct span platform, struct span source);
static struct bucket *find(struct admit *a, uint64_t of, double tokens, int64_t now_us);

struct admit_rate admit_rate(enum admit_kind kind)
{
    static const struct admit_rate rates[] = {
        [ADMIT_REFUSED] = {5,   20 },
        [ADMIT_SIGNED] = {20,  100},
        [ADMIT_CONFIRMED] = {0.1, 20 },
        [ADMIT_DENIED] = {0.1, 20 },
    };

    return rates[kind];
}

struct admit *admit_open(void)
{
    struct admit *a = calloc(1, sizeof(*a));

    if (!a)
        abort();
    crypto_shorthash_keygen(a->key);
    return a;
}

void admit_close(struct admit *a)
{
    if (!a)
        return;
    free(a->buckets);
    free(a);
}

bool admit_take(struct admit *a, enum admit_kind kind, struct span platform, struct span source,
                int64_t now_us)
{
    struct admit_rate rate = admit_rate(kind);
    struct bucket *b = find(a, hash(a, kind, platform, source), rate.at_once, now_us);

    b->tokens += (double)(now_us - b->filled_us) * rate.a_second / SECOND_US;
    b->filled_us = now_us;
    if (b->tokens > rate.at_once)
        b->tokens = rate.at_once;
    if (b->tokens < 1)
        return false;
    b->tokens -= 1;
    return true;
}

static uint64_t hash(const struct admit *a, enum admit_kind kind, struct span platform, struct span source)
{
    uint8_t of_platform[crypto_shorthash_BYTES], of_source[crypto_shorthash_BYTES] = {0};
    uint64_t words[3] = {kind}, all;

    crypto_shorthash(of_platform, (const uint8_t *)platform.at, platform.len, a->key);
    if (source.at)
        crypto_shorthash(of_source, (const uint8_t *)source.at, source.len, a->key);
    memcpy(&words[1], of_platform, sizeof(words[1]));
    memcpy(&words[2], of_source, sizeof(words[2]));
    crypto_shorthash((uint8_t *)&all, (const uint8_t *)words, sizeof(words), a->key);
    return all;
}

/* A few: the configuration names them. Only reloads could heap them up; then all begin afresh.
 * tokens: of one that is new. */
static struct bucket *find(struct admit *a, uint64_t of, double tokens, int64_t now_us)
{
    for (size_t i = 0; i < a->n; i++)
        if (a->buckets[i].of == of)
            return &a->buckets[i];
    if (a->n == ADMIT_BUCKETS_MAX)
        a->n = 0;
    if (a->n == a->room) {
        a->room += 16;
        a->buckets = reallocarray(a->buckets, a->room, sizeof(*a->buckets));
        if (!a->buckets)
            abort();
    }
    a->buckets[a->n] = (struct bucket){of, tokens, now_us};
    return &a->buckets[a->n++];
}
