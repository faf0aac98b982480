#include "health.h"

#include <sys/mman.h>

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

/* A cache line each: the workers stamp them at every turn. */
struct place {
    _Alignas(64) _Atomic int64_t turned_boot_us;
    _Atomic int64_t wrote_boot_us;
    atomic_int role; /* enum health_role */
    atomic_bool can_store, has_spool, can_spool, clock_agrees;
    _Atomic int64_t failed_boot_us; /* 0: the last commit was good, or there was none */
};

struct shared {
    atomic_bool draining;
    struct place places[];
};

static struct shared *shared; /* NULL before health_open: then nothing is kept */
static struct place *own;
static size_t nshared;

enum status health_open(size_t nplaces, struct err *err)
{
    void *memory;

    assert(!shared);
    memory = mmap(NULL, sizeof(*shared) + nplaces * sizeof(struct place), PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return err_set(err, BROKEN, "cannot map memory for the health of %zu processes: %s", nplaces,
                       strerrordesc_np(errno));
    shared = memory;
    nshared = nplaces;
    return OK;
}

void health_drain(void)
{
    if (shared)
        atomic_store_explicit(&shared->draining, true, memory_order_relaxed);
}

void health_join(size_t place, enum health_role role, int64_t boot_us)
{
    if (!shared)
        return;
    assert(place < nshared);
    own = &shared->places[place];
    health_turn(boot_us);
    health_wrote(boot_us);
    health_can_spool(false);
    atomic_store_explicit(&own->has_spool, false, memory_order_relaxed);
    health_clock_agrees(false);
    health_can_store(false); /* its predecessor's word does not count */
    health_flushed(true, boot_us);
    atomic_store_explicit(&own->role, (int)role, memory_order_relaxed);
}

void health_turn(int64_t boot_us)
{
    if (own)
        atomic_store_explicit(&own->turned_boot_us, boot_us, memory_order_relaxed);
}

void health_can_store(bool can)
{
    if (own)
        atomic_store_explicit(&own->can_store, can, memory_order_relaxed);
}

void health_can_spool(bool can)
{
    if (!own)
        return;
    atomic_store_explicit(&own->can_spool, can, memory_order_relaxed);
    atomic_store_explicit(&own->has_spool, true, memory_order_relaxed);
}

void health_clock_agrees(bool agrees)
{
    if (own)
        atomic_store_explicit(&own->clock_agrees, agrees, memory_order_relaxed);
}

void health_flushed(bool good, int64_t boot_us)
{
    if (own)
        atomic_store_explicit(&own->failed_boot_us, good ? 0 : boot_us, memory_order_relaxed);
}

void health_wrote(int64_t boot_us)
{
    if (own)
        atomic_store_explicit(&own->wrote_boot_us, boot_us, memory_order_relaxed);
}

size_t health_nplaces(void)
{
    return nshared;
}

struct health_place health_place(size_t place, int64_t boot_us)
{
    struct place *p = &shared->places[place];
    int64_t turned = atomic_load_explicit(&p->turned_boot_us, memory_order_relaxed);
    int64_t wrote = atomic_load_explicit(&p->wrote_boot_us, memory_order_relaxed);
    int64_t failed = atomic_load_explicit(&p->failed_boot_us, memory_order_relaxed);
    bool can_spool = atomic_load_explicit(&p->can_spool, memory_order_relaxed);
    bool failed_lately = failed != 0 && boot_us - failed < HEALTH_FAILED_MS * INT64_C(1000);

    return (struct health_place){
        .role = (enum health_role)atomic_load_explicit(&p->role, memory_order_relaxed),
        .turned_lately = boot_us - turned < HEALTH_STALE_MS * INT64_C(1000),
        .writes = boot_us - wrote < HEALTH_STUCK_MS * INT64_C(1000),
        .clock_agrees = atomic_load_explicit(&p->clock_agrees, memory_order_relaxed),
        .can_store =
            (atomic_load_explicit(&p->can_store, memory_order_relaxed) && !failed_lately) || can_spool,
        .has_spool = atomic_load_explicit(&p->has_spool, memory_order_relaxed),
        .can_spool = can_spool,
    };
}

bool health_draining(void)
{
    return shared && atomic_load_explicit(&shared->draining, memory_order_relaxed);
}

bool health_ingest_goes_on(int64_t boot_us)
{
    for (size_t i = 0; i < nshared; i++) {
        struct health_place p = health_place(i, boot_us);

        if (p.role == HEALTH_INGEST && !(p.turned_lately && p.writes))
            return false;
    }
    return true;
}
