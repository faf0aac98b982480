#include "reused.h"

#include "base/log.h"
#include "base/metric.h"
#include "base/now.h"

#include <sys/mman.h>

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>

#include <sodium.h>

enum { SLOTS = 1 << 18, BODY_BITS = 24, LINE_EVERY_S = 10 };

/* A slot is one word, so that no worker sees half of another's: 40 bits of the id, 24 of the body; 0: free. */
struct shared {
    uint8_t key[crypto_shorthash_KEYBYTES]; /* of our own: nobody can choose ids that meet in a slot */
    _Atomic uint64_t slots[SLOTS];
};

static struct shared *shared; /* NULL before reused_open */

static bool is_of_its_own(const struct delivery *d, size_t i);
static bool came_before(const struct delivery *d, const struct event *e);
static uint64_t hash_id(const struct delivery *d, struct span id);
static void tell(const struct delivery *d, const struct event *e);

enum status reused_open(struct err *err)
{
    void *memory = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert(!shared);
    if (memory == MAP_FAILED)
        return err_set(err, BROKEN, "cannot map memory for event ids: %s", strerrordesc_np(errno));
    shared = memory;
    crypto_shorthash_keygen(shared->key);
    return OK;
}

void reused_look(const struct delivery *d)
{
    if (!shared)
        return;
    for (size_t i = 0; i < d->nreceipts; i++) {
        const struct event *e = d->receipts[i].event;

        if (!d->receipts[i].is_new || e->id.len == 0 || !is_of_its_own(d, i) || !came_before(d, e))
            continue;
        metric_add(RECEIPTS_ID_REUSED, d->platform->index, 0, 1);
        tell(d, e);
    }
}

/* The id of a delivery that holds several events is none of theirs. */
static bool is_of_its_own(const struct delivery *d, size_t i)
{
    struct span id = d->receipts[i].event->id;

    return (i == 0 || !span_eq(id, d->receipts[i - 1].event->id)) &&
           (i + 1 == d->nreceipts || !span_eq(id, d->receipts[i + 1].event->id));
}

/* The dedup key stands for the body: beside the id it hashes nothing else that differs. */
static bool came_before(const struct delivery *d, const struct event *e)
{
    uint64_t hash = hash_id(d, e->id), body, fresh, had;

    memcpy(&body, e->dedup_key, sizeof(body));
    fresh = (hash & ~((UINT64_C(1) << BODY_BITS) - 1)) | (body & ((UINT64_C(1) << BODY_BITS) - 1));
    had = atomic_exchange_explicit(&shared->slots[hash % SLOTS], fresh, memory_order_relaxed);
    return had != fresh && had >> BODY_BITS == fresh >> BODY_BITS && had != 0;
}

static uint64_t hash_id(const struct delivery *d, struct span id)
{
    struct span pieces[] = {d->platform->name, d->source->name, id};
    uint8_t digests[countof(pieces)][crypto_shorthash_BYTES], all[crypto_shorthash_BYTES];
    uint64_t hash;

    for (size_t i = 0; i < countof(pieces); i++)
        crypto_shorthash(digests[i], (const uint8_t *)pieces[i].at, pieces[i].len, shared->key);
    crypto_shorthash(all, digests[0], sizeof(digests), shared->key);
    memcpy(&hash, all, sizeof(hash));
    return hash;
}

/* The metric has them all, the log one in ten seconds. */
static void tell(const struct delivery *d, const struct event *e)
{
    static int64_t again_us;
    int64_t now_us = now_boot_us();

    if (now_us < again_us)
        return;
    again_us = now_us + LINE_EVERY_S * SECOND_US;
    log_warn("id_reused", LOG_ID("delivery_id", &d->id), LOG_SPAN("platform", d->platform->name),
             LOG_SPAN("source", d->source->name), LOG_SPAN("external_post_id", e->post_id));
}
