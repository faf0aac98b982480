#include "storms.h"

#include "base/log.h"
#include "base/metric.h"
#include "base/now.h"
#include "storm.h"

#include <sys/mman.h>

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>

enum { NAME_BYTES = 65 };

#define LOOK_US SECOND_US
#define NOBODY  SIZE_MAX

/* Counts since the start. A cache line and more each: several workers count in one, but not in its neighbour. */
struct place {
    _Alignas(64) _Atomic uint64_t verified, refused;
    char platform[NAME_BYTES], source[NAME_BYTES];
};

/* Places are given by the parent alone and never taken back. One that counts is whole. */
static struct shared {
    atomic_size_t n;
    struct place places[STORMS_MAX];
} * shared; /* NULL before storms_open */

/* The parent's own, by place. */
static struct {
    struct storm_count before; /* as of the last look */
    struct storm storm;
    size_t storms_of; /* index of the platform; NOBODY: it does not storm */
} seen[STORMS_MAX];
static int64_t look_us; /* boot time of the next look */

static void take(const struct platform *p, const struct source *source);
static bool is_of(const struct place *place, const struct platform *p, const struct source *source);
static void add_new(size_t place, int64_t now_us);
static void look(size_t place, const struct platforms *set, int64_t now_us);
static void tell(const struct platform *p, const struct source *source, const struct storm *storm);

enum status storms_open(struct err *err)
{
    void *memory = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert(!shared);
    if (memory == MAP_FAILED)
        return err_set(err, BROKEN, "cannot map memory for the counts of %d sources: %s", STORMS_MAX,
                       strerrordesc_np(errno));
    shared = memory;
    return OK;
}

void storms_take(const struct platforms *set)
{
    for (size_t i = 0; shared && i < platforms_count(set); i++) {
        const struct platform *p = platforms_at(set, i);
        for (size_t k = 0; k < p->nsources; k++)
            if (storms_find(p, &p->sources[k]) == STORMS_MAX)
                take(p, &p->sources[k]);
    }
}

static void take(const struct platform *p, const struct source *source)
{
    size_t n = atomic_load_explicit(&shared->n, memory_order_relaxed);

    if (n == STORMS_MAX)
        return;
    snprintf(shared->places[n].platform, NAME_BYTES, "%.*s", SPAN_ARG(p->name));
    snprintf(shared->places[n].source, NAME_BYTES, "%.*s", SPAN_ARG(source->name));
    atomic_store_explicit(&shared->n, n + 1, memory_order_release);
}

size_t storms_find(const struct platform *p, const struct source *source)
{
    size_t n = shared ? atomic_load_explicit(&shared->n, memory_order_acquire) : 0;

    for (size_t i = 0; i < n; i++)
        if (is_of(&shared->places[i], p, source))
            return i;
    return STORMS_MAX;
}

static bool is_of(const struct place *place, const struct platform *p, const struct source *source)
{
    return span_eq(span_of(place->source), source->name) && span_eq(span_of(place->platform), p->name);
}

void storms_count(size_t place, bool verified)
{
    struct place *at;

    if (!shared || place == STORMS_MAX)
        return;
    assert(place < STORMS_MAX);
    at = &shared->places[place];
    atomic_fetch_add_explicit(verified ? &at->verified : &at->refused, 1, memory_order_relaxed);
}

void storms_turn(const struct platforms *set, int64_t now_us)
{
    size_t n = shared ? atomic_load_explicit(&shared->n, memory_order_relaxed) : 0;

    if (now_us < look_us)
        return;
    look_us = now_us + LOOK_US;
    for (size_t place = 0; place < n; place++) {
        add_new(place, now_us);
        look(place, set, now_us);
    }
    for (size_t i = 0; i < platforms_count(set); i++) {
        size_t nstorms = 0;
        for (size_t place = 0; place < n; place++)
            nstorms += seen[place].storms_of == i;
        metric_set(SIGNATURE_STORM, i, 0, (double)nstorms);
    }
}

static void add_new(size_t place, int64_t now_us)
{
    const struct storm_count now = {
        atomic_load_explicit(&shared->places[place].verified, memory_order_relaxed),
        atomic_load_explicit(&shared->places[place].refused, memory_order_relaxed),
    };
    struct storm_count *before = &seen[place].before;

    storm_add(&seen[place].storm, now_us,
              (struct storm_count){now.verified - before->verified, now.refused - before->refused});
    *before = now;
}

/* Of a source that has gone nothing is told. */
static void look(size_t place, const struct platforms *set, int64_t now_us)
{
    const struct platform *p = platforms_find(set, span_of(shared->places[place].platform));
    const struct source *source = p ? platform_source(p, span_of(shared->places[place].source)) : NULL;
    struct storm *storm = &seen[place].storm;
    bool was_on = storm->on;

    seen[place].storms_of = NOBODY;
    if (!storm_is_on(storm, now_us) || !source)
        return;
    seen[place].storms_of = p->index;
    if (!was_on)
        tell(p, source, storm);
}

/* When it begins: the metric says how long it lasts. */
static void tell(const struct platform *p, const struct source *source, const struct storm *storm)
{
    const struct storm_count minute = storm_minute(storm), ten = storm_ten_minutes(storm);

    log_warn("signature_storm", LOG_SPAN("platform", p->name), LOG_SPAN("source", source->name),
             LOG_INT("refused", (int64_t)minute.refused), LOG_INT("verified", (int64_t)minute.verified),
             LOG_INT("refused_10_min", (int64_t)ten.refused),
             LOG_INT("verified_10_min", (int64_t)ten.verified));
}
