#include "keys.h"

#include "base/now.h"

#include <sys/mman.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>

enum { NAME_BYTES = 65 };

/* A cache line and more each: several workers count in one, but not in its neighbour. */
struct place {
    _Alignas(64) _Atomic uint64_t matches;
    _Atomic int64_t matched_us; /* wall; 0: never */
    atomic_bool present;        /* in the present set */
    char platform[NAME_BYTES], source[NAME_BYTES], key_id[sizeof(((struct secret *)NULL)->key_id)];
};

/* Places are given by the parent alone and never taken back. One that counts is whole. */
struct shared {
    atomic_size_t n;
    size_t nplatforms;
    struct place places[]; /* KEYS_MAX, then one of each platform for its other keys */
};

static struct shared *shared; /* NULL before keys_open */

static void take(const struct platform *p, const struct source *source, size_t secret);
static bool is_of(const struct place *place, const struct platform *p, const struct source *source,
                  size_t secret);
static void page(FILE *to, const char *name, const char *type, const char *help, bool is_time);
static void print(FILE *to, const char *name, const struct place *place, bool is_time);

enum status keys_open(const struct platforms *set, struct err *err)
{
    size_t nplatforms = platforms_count(set);
    void *memory = mmap(NULL, sizeof(*shared) + (KEYS_MAX + nplatforms) * sizeof(struct place),
                        PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert(!shared);
    if (memory == MAP_FAILED)
        return err_set(err, BROKEN, "cannot map memory for the counts of %d keys: %s", KEYS_MAX,
                       strerrordesc_np(errno));
    shared = memory;
    shared->nplatforms = nplatforms;
    for (size_t i = 0; i < nplatforms; i++) {
        struct place *place = &shared->places[KEYS_MAX + i];
        snprintf(place->platform, NAME_BYTES, "%.*s", SPAN_ARG(platforms_at(set, i)->name));
        snprintf(place->key_id, sizeof(place->key_id), "other");
    }
    return OK;
}

void keys_take(const struct platforms *set)
{
    if (!shared)
        return;
    for (size_t i = 0; i < KEYS_MAX; i++)
        atomic_store_explicit(&shared->places[i].present, false, memory_order_relaxed);
    for (size_t i = 0; i < platforms_count(set); i++) {
        const struct platform *p = platforms_at(set, i);
        for (size_t k = 0; k < p->nsources; k++)
            for (size_t secret = 0; secret < p->sources[k].nsecrets; secret++)
                take(p, &p->sources[k], secret);
    }
}

static void take(const struct platform *p, const struct source *source, size_t secret)
{
    size_t at = keys_find(p, source, secret);
    size_t n = atomic_load_explicit(&shared->n, memory_order_relaxed);
    struct place *place = &shared->places[n];

    if (at < KEYS_MAX) {
        atomic_store_explicit(&shared->places[at].present, true, memory_order_relaxed);
        return;
    }
    if (n == KEYS_MAX)
        return;
    snprintf(place->platform, NAME_BYTES, "%.*s", SPAN_ARG(p->name));
    snprintf(place->source, NAME_BYTES, "%.*s", SPAN_ARG(source->name));
    snprintf(place->key_id, sizeof(place->key_id), "%s", source->secrets[secret].key_id);
    atomic_store_explicit(&place->present, true, memory_order_relaxed);
    atomic_store_explicit(&shared->n, n + 1, memory_order_release);
}

size_t keys_find(const struct platform *p, const struct source *source, size_t secret)
{
    size_t n = shared ? atomic_load_explicit(&shared->n, memory_order_acquire) : 0;

    for (size_t i = 0; i < n; i++)
        if (is_of(&shared->places[i], p, source, secret))
            return i;
    return KEYS_MAX + p->index;
}

static bool is_of(const struct place *place, const struct platform *p, const struct source *source,
                  size_t secret)
{
    return memcmp(place->key_id, source->secrets[secret].key_id, sizeof(place->key_id)) == 0 &&
           span_eq(span_of(place->source), source->name) && span_eq(span_of(place->platform), p->name);
}

void keys_count(size_t place, int64_t wall_us)
{
    if (!shared)
        return;
    assert(place < KEYS_MAX + shared->nplatforms);
    atomic_fetch_add_explicit(&shared->places[place].matches, 1, memory_order_relaxed);
    atomic_store_explicit(&shared->places[place].matched_us, wall_us, memory_order_relaxed);
}

void keys_page(FILE *to)
{
    if (!shared)
        return;
    page(to, "settle_signature_key_matches_total", "counter",
         "Verified requests by the id of the key that matched: an old key that counts no more can go.",
         false);
    page(to, "settle_signature_key_last_match_timestamp_seconds", "gauge",
         "When a key last verified a request, Unix time; 0 if it has not since the start.", true);
}

static void page(FILE *to, const char *name, const char *type, const char *help, bool is_time)
{
    size_t n = atomic_load_explicit(&shared->n, memory_order_acquire);

    fprintf(to, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
    for (size_t i = 0; i < n; i++)
        print(to, name, &shared->places[i], is_time);
    for (size_t i = 0; i < shared->nplatforms; i++)
        print(to, name, &shared->places[KEYS_MAX + i], is_time);
}

static void print(FILE *to, const char *name, const struct place *place, bool is_time)
{
    uint64_t matches = atomic_load_explicit(&place->matches, memory_order_relaxed);
    int64_t matched_us = atomic_load_explicit(&place->matched_us, memory_order_relaxed);

    if (matches == 0 && !atomic_load_explicit(&place->present, memory_order_relaxed))
        return;
    fprintf(to, "%s{platform=\"%s\",source=\"%s\",key_id=\"%s\"} ", name, place->platform, place->source,
            place->key_id);
    if (is_time)
        fprintf(to, "%.6f\n", (double)matched_us / SECOND_US);
    else
        fprintf(to, "%" PRIu64 "\n", matches);
}
