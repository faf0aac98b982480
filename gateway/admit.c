#include "admit.h"

#include "base/now.h"

#include <stdlib.h>

#include <sodium.h>

struct bucket {
    uint64_t of; /* keyed hash of the names */
    double tokens;
    int64_t filled_us;
};

struct admit {
    uint8_t key[crypto_shorthash_KEYBYTES];
    struct bucket *buckets;
    size_t n, room;
};

static uint64_t hash(const struct admit *a, struct span platform, struct span source);
static struct bucket *find(struct admit *a, uint64_t of, int64_t now_us);

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

bool admit_take(struct admit *a, struct span platform, struct span source, int64_t now_us)
{
    struct bucket *b = find(a, hash(a, platform, source), now_us);

    b->tokens += (double)(now_us - b->filled_us) * ADMIT_A_SECOND / SECOND_US;
    b->filled_us = now_us;
    if (b->tokens > ADMIT_AT_ONCE)
        b->tokens = ADMIT_AT_ONCE;
    if (b->tokens < 1)
        return false;
    b->tokens -= 1;
    return true;
}

static uint64_t hash(const struct admit *a, struct span platform, struct span source)
{
    uint8_t of_platform[crypto_shorthash_BYTES], of_source[crypto_shorthash_BYTES] = {0};
    uint64_t words[2], both;

    crypto_shorthash(of_platform, (const uint8_t *)platform.at, platform.len, a->key);
    if (source.at)
        crypto_shorthash(of_source, (const uint8_t *)source.at, source.len, a->key);
    memcpy(&words[0], of_platform, sizeof(words[0]));
    memcpy(&words[1], of_source, sizeof(words[1]));
    crypto_shorthash((uint8_t *)&both, (const uint8_t *)words, sizeof(words), a->key);
    return both;
}

/* A few: the configuration names them. Only reloads could heap them up; then all begin afresh. */
static struct bucket *find(struct admit *a, uint64_t of, int64_t now_us)
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
    a->buckets[a->n] = (struct bucket){of, ADMIT_AT_ONCE, now_us};
    return &a->buckets[a->n++];
}
