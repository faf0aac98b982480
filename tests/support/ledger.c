#include "support/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SENDERS_MAX = 10000, POSTS_MAX = 10000000 };

struct entry {
    uint32_t sender, nth, told, ms; /* told UNSENT: about to be sent */
};

struct ledger {
    pthread_mutex_t lock; /* over all below */
    pthread_cond_t synced_more;
    int fd;
    struct entry *waiting; /* not yet in the file */
    size_t nwaiting, room;
    uint64_t nadded, nsynced;
    bool syncing; /* one does it for all that wait */
    bool
        to_disk; /* else to the kernel, where it outlives us too, and nobody waits on a busy disk behind an open connection */
    int failure; /* errno of a write or sync: whoever reads fails the test */
};

/* What the file says of each post. */
struct memory {
    struct posts {
        uint8_t *told;
        size_t n;
    } * senders;
    size_t nsenders;
};

static uint64_t add(struct ledger *l, struct entry entry);
static void sync_until(struct ledger *l, uint64_t nth);
static void sync_waiting(struct ledger *l);
static int write_all(int fd, const void *at, size_t len);
static uint8_t *post_named(struct memory *m, const char *name);
static FILE *read_anew(struct ledger *l);
static struct memory recall(struct ledger *l);
static uint8_t *post_of(struct memory *m, unsigned sender, unsigned nth);
static void forget(struct memory *m);

struct ledger *ledger_open(struct world *w)
{
    struct ledger *l = calloc(1, sizeof(*l));
    char path[128];

    assert_non_null(l);
    snprintf(path, sizeof(path), "%s/ledger-XXXXXX", w->dir);
    l->fd = mkostemp(path, O_CLOEXEC);
    assert_true(l->fd >= 0);
    l->to_disk = world_times_count();
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->synced_more, NULL);
    return l;
}

void ledger_close(struct ledger *l)
{
    if (!l)
        return;
    close(l->fd);
    free(l->waiting);
    pthread_cond_destroy(&l->synced_more);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

void ledger_sending(struct ledger *l, unsigned sender, unsigned nth)
{
    pthread_mutex_lock(&l->lock);
    sync_until(l, add(l, (struct entry){.sender = sender, .nth = nth, .told = UNSENT}));
    pthread_mutex_unlock(&l->lock);
}

void ledger_told(struct ledger *l, unsigned sender, unsigned nth, enum told told, unsigned ms)
{
    pthread_mutex_lock(&l->lock);
    add(l, (struct entry){.sender = sender, .nth = nth, .told = told, .ms = ms});
    pthread_mutex_unlock(&l->lock);
}

static uint64_t add(struct ledger *l, struct entry entry)
{
    if (l->nwaiting == l->room) {
        l->room = l->room ? 2 * l->room : 64;
        l->waiting = realloc(l->waiting, l->room * sizeof(*l->waiting));
    }
    l->waiting[l->nwaiting++] = entry;
    return ++l->nadded;
}

static void sync_until(struct ledger *l, uint64_t nth)
{
    while (l->nsynced < nth && !l->failure)
        if (l->syncing)
            pthread_cond_wait(&l->synced_more, &l->lock);
        else
            sync_waiting(l);
}

static void sync_waiting(struct ledger *l)
{
    struct entry *batch = l->waiting;
    size_t len = l->nwaiting * sizeof(*batch);
    uint64_t nadded = l->nadded;
    int failure;

    l->waiting = NULL;
    l->nwaiting = l->room = 0;
    l->syncing = true;
    pthread_mutex_unlock(&l->lock);
    failure = write_all(l->fd, batch, len);
    if (!failure && l->to_disk && fdatasync(l->fd) != 0)
        failure = errno;
    free(batch);
    pthread_mutex_lock(&l->lock);
    l->syncing = false;
    l->failure = failure;
    l->nsynced = nadded;
    pthread_cond_broadcast(&l->synced_more);
}

static int write_all(int fd, const void *at, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, (const char *)at + done, len - done);
        if (n < 0)
            return errno;
        done += (size_t)n;
    }
    return 0;
}

void ledger_check(struct ledger *l, struct world *w)
{
    struct ledger_findings f = ledger_compare(l, w);

    if (f.lost + f.invented + f.doubled + f.altered > 0)
        fail_msg("of %u posts that were acknowledged %u are not stored; of %u stored ones %u were never "
                 "sent, %u are there "
                 "twice, %u are altered",
                 f.acked, f.lost, f.stored, f.invented, f.doubled, f.altered);
}

struct ledger_findings ledger_compare(struct ledger *l, struct world *w)
{
    struct ledger_findings f = {0};
    struct memory m = recall(l);
    const char *line = world_sql(w, "select external_post_id from settle.webhook_receipts");

    assert_non_null(line);
    for (; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL, f.stored++) {
        uint8_t *told = post_named(&m, line);

        f.invented += !told;
        if (told && *told == ACKED) {
            *told = UNKNOWN; /* found: settled */
            f.acked++;
        }
    }
    for (size_t sender = 0; sender < m.nsenders; sender++)
        for (size_t nth = 0; nth < m.senders[sender].n; nth++)
            f.lost += m.senders[sender].told[nth] == ACKED;
    forget(&m);
    f.acked += f.lost;
    f.doubled = (unsigned)world_count(
        w, "select count(*) - count(distinct external_post_id) from settle.webhook_receipts");
    f.altered = (unsigned)world_count(
        w, "select count(*) from settle.webhook_receipts where body is distinct from convert_to("
           "'{\"external_post_id\":\"' || external_post_id || '\",\"status\":\"published\"}', 'UTF8')");
    return f;
}

/* NULL: never sent. */
static uint8_t *post_named(struct memory *m, const char *name)
{
    char *end = NULL;
    unsigned long sender = 0, nth = 0;

    if (strncmp(name, "load-", 5) !=
        0) /* not sscanf, which would measure the whole text at each of a million lines */
        return NULL;
    sender = strtoul(name + 5, &end, 10);
    if (*end != '-')
        return NULL;
    nth = strtoul(end + 1, &end, 10);
    if ((*end != '\n' && *end != '\0') || sender >= m->nsenders || nth >= m->senders[sender].n ||
        m->senders[sender].told[nth] == UNSENT)
        return NULL;
    return &m->senders[sender].told[nth];
}

unsigned ledger_check_effects(struct world *w)
{
    assert_int_equal(
        world_count(w,
                    "select count(*)"
                    "  from (select p.id, p.status, p.settled_at,"
                    "               exists (select from settle.webhook_receipts r"
                    "                        where r.external_post_id = p.external_post_id) as stored,"
                    "               (select count(*) from settle.social_sync_ledger e"
                    "                 where e.entity_id = p.id::text"
                    "                   and e.event_type = 'publish_reconciled') as nevents"
                    "          from settle.publish_logs p where p.external_post_id like 'load-%%') as p"
                    " where case when stored then status <> 'success' or settled_at is null or nevents <> 1"
                    "            else settled_at is not null or nevents > 0 end"),
        0);
    return (unsigned)world_count(w, "select count(*) from settle.publish_logs"
                                    " where external_post_id like 'load-%%' and settled_at is not null");
}

unsigned ledger_later_than(struct ledger *l, unsigned ms, unsigned *ret_slowest_ms)
{
    FILE *from = read_anew(l);
    struct entry entry;
    unsigned n = 0;

    *ret_slowest_ms = 0;
    while (fread(&entry, sizeof(entry), 1, from) == 1) {
        if (entry.told <= UNKNOWN)
            continue;
        n += entry.ms > ms;
        if (entry.ms > *ret_slowest_ms)
            *ret_slowest_ms = entry.ms;
    }
    fclose(from);
    return n;
}

static struct memory recall(struct ledger *l)
{
    struct memory m = {0};
    FILE *from = read_anew(l);
    struct entry entry;

    while (fread(&entry, sizeof(entry), 1, from) == 1) {
        uint8_t *told = post_of(&m, entry.sender, entry.nth);

        if (entry.told == UNSENT)
            *told = *told == UNSENT ? UNKNOWN : *told;
        else if (*told != ACKED)
            *told = (uint8_t)entry.told;
    }
    fclose(from);
    return m;
}

/* From its beginning, all that was said so far in it. */
static FILE *read_anew(struct ledger *l)
{
    char path[64];
    FILE *from;
    int failure;

    pthread_mutex_lock(&l->lock);
    sync_until(l, l->nadded);
    failure = l->failure;
    pthread_mutex_unlock(&l->lock);
    if (failure)
        fail_msg("the ledger cannot be written: %s", strerror(failure));
    snprintf(path, sizeof(path), "/proc/self/fd/%d", l->fd);
    from = fopen(path, "re");
    assert_non_null(from);
    return from;
}

static uint8_t *post_of(struct memory *m, unsigned sender, unsigned nth)
{
    struct posts *posts;

    assert_true(sender < SENDERS_MAX && nth < POSTS_MAX);
    if (sender >= m->nsenders) {
        m->senders = realloc(m->senders, (sender + 1) * sizeof(*m->senders));
        memset(m->senders + m->nsenders, 0, (sender + 1 - m->nsenders) * sizeof(*m->senders));
        m->nsenders = sender + 1;
    }
    posts = &m->senders[sender];
    if (nth >= posts->n) {
        posts->told = realloc(posts->told, nth + 1);
        memset(posts->told + posts->n, UNSENT, nth + 1 - posts->n);
        posts->n = nth + 1;
    }
    return &posts->told[nth];
}

static void forget(struct memory *m)
{
    for (size_t i = 0; i < m->nsenders; i++)
        free(m->senders[i].told);
    free(m->senders);
}
