#include "spool.h"

#include "base/log.h"
#include "base/metric.h"
#include "base/now.h"
#include "evloop.h"
#include "health.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    WRITE_RECORDS_MAX = 512, /* of one transaction */
    FILES_MAX = 16,          /* held at once: the own one, and those that were taken over */
    UNREADABLE_MAX = 64,
    NOTES_MAX = 16,
    LOCK_TRIES = 5, /* of its place's id: a neighbour that counts files holds any for a moment */
    LOCK_PAUSE_US = 2000,
    LISTEN_ARENA_BYTES = 4096,
};

#define WRITE_BYTES_MAX   ((size_t)16 << 20) /* of one transaction */
#define WAITING_BYTES_MAX ((size_t)64 << 20)
#define LOOK_AROUND_US    (2 * SECOND_US) /* for files that nobody holds */
#define STAYED_US         MINUTE_US
#define TRY_AGAIN_US      SECOND_US /* doubling to */
#define TRY_AGAIN_MAX_US  (32 * SECOND_US)
#define COMPLAIN_US       MINUTE_US
#define RESERVE_AGAIN_US  (30 * SECOND_US)

enum result {
    WRITE_STORED,
    WRITE_FULL,
    WRITE_FAILED,
    WRITE_LATE
}; /* the words of SPOOL_WRITES, in its order */

/* What the thread has to tell the log. */
struct note {
    enum log_level level;
    const char *event;
    char file[SPOOL_NAME_BYTES];
    struct err err;
    int64_t number;
};

/* The thread's own. */
struct held {
    struct spoolfile *file; /* NULL: it does not open; without a lock either the place is free */
    unsigned id;
    int lock;       /* files of one id share it: each has a descriptor of it */
    bool is_spoilt; /* it failed and could not be set aside: nothing is written under its name any more */
    int64_t cursor;
    bool at_end;
    int64_t rewind_us;
    int64_t *gone; /* seqs that are in Postgres, and that a full disk did not let us remove */
    size_t ngone, gone_room;
};

/* What fails again and again, once a minute as long as it is the same. */
enum { SET_ASIDE, OFF, LEFT, NCOMPLAINTS };
struct complaint {
    const char *cause;
    int64_t again_us;
};

struct forgotten {
    struct forgotten *next;
    size_t generation;
    int64_t seq;
};

/* What the thread takes over at a time. */
struct work {
    struct spool_slip *slips;
    struct forgotten *forgotten;
    bool page_wanted, page_back, ends;
};

struct spool {
    struct server *server;
    struct spool_config config;
    int event;
    struct watch *watch;
    pthread_t thread;
    bool has_thread;

    /* The loop's own. */
    spool_page_done *page_done;
    void *page_ctx;
    bool told_stuck;
    uint64_t nwrites[WRITE_LATE + 1]; /* since the last turn */

    pthread_mutex_t lock; /* over the rest, up to the thread's own */
    pthread_cond_t work;
    bool ends;
    struct spool_slip *waiting, **last_waiting, *done;
    size_t waiting_bytes;
    uint64_t turn;         /* of the thread: what waits came in this one */
    int64_t turn_began_us; /* INT64_MAX: it has nothing to do */
    bool stuck;            /* somebody gave up in this turn, and it has lasted long */
    struct forgotten *forgotten;
    bool page_wanted, page_ready, page_back;
    struct spool_page page;
    struct note notes[NOTES_MAX];
    size_t nnotes;
    struct {
        uint64_t nrecords, bytes, own_bytes, nstayed, norphans;
        int64_t oldest_us;
        bool open, full, drained;
        uint64_t ndrained;
    } told;

    /* The thread's own. */
    struct held held[FILES_MAX]; /* [0]: its own */
    size_t generation;           /* of the own file: seqs of an earlier one mean nothing in it */
    int64_t open_again_us, open_wait_us, reserve_again_us, look_around_us, count_again_us;
    struct complaint complaints[NCOMPLAINTS];
    bool full;
    uint64_t nstayed, norphans;
    char unreadable[UNREADABLE_MAX][SPOOL_NAME_BYTES];
    size_t nunreadable;
};

static void log_stuck(struct spool *s, bool stuck);
static void *run(void *spool);
static void take_work(struct spool *s, struct work *ret);
static void hand_page(struct spool *s);
static bool has_work(const struct spool *s);
static void wait_for_work(struct spool *s);
static void keep_up(struct spool *s);
static void write_all(struct spool *s, struct spool_slip *slips);
static struct spool_slip *write_some(struct spool *s, struct spool_slip *slips);
static void refuse_all(struct spool *s, struct spool_slip *slips, struct err *why);
static void write_batch(struct spool *s, struct spool_slip *const *slips, size_t n);
static enum status put(struct spool *s, struct spool_record *const *records, size_t n, struct err *err);
static bool open_own(struct spool *s, struct err *err);
static bool lock_own(struct spool *s, struct err *err);
static int lock_id(const struct spool *s, unsigned id, struct err *err);
static bool leave_spoilt(struct spool *s, struct err *err);
static struct held *free_place(struct spool *s);
static bool has_given_up(struct spool *s, const struct spool_slip *slip);
static void give_up_own(struct spool *s, const struct err *why);
static void finish(struct spool *s, struct spool_slip *slip, const struct err *failure);
static void take_back(struct spool *s, struct spool_page *page);
static void forget_all(struct spool *s, struct forgotten *all);
static void remove_from(struct spool *s, struct held *h, const int64_t *seqs, size_t n);
static void note_gone(struct spool *s, struct held *h, const int64_t *seqs, size_t n);
static void add_gone(struct held *h, int64_t seq);
static bool is_all_gone(const struct held *h);
static int compare_seqs(const void *a, const void *b);
static void lose(struct spool *s, struct held *h, const struct err *why);
static void fill_page(struct spool *s, struct spool_page *page);
static struct held *find_oldest(struct spool *s);
static bool read_from(struct spool *s, size_t at, struct spool_page *page);
static void look_around(struct spool *s);
static bool take_over(struct spool *s, const char *name);
static void leave(struct spool *s, const char *name, struct err *why);
static bool is_held(const struct spool *s, const char *name);
static bool is_open(const struct spool *s, const char *name);
static void count_orphans(struct spool *s);
static bool is_orphan(struct spool *s, const char *name);
static struct held *held_id(struct spool *s, unsigned id);
static bool is_unreadable(const struct spool *s, const char *name);
static void note_unreadable(struct spool *s, const char *name);
static void let_go(struct spool *s, struct held *h);
static void tell(struct spool *s);
static void complain(struct spool *s, unsigned what, const char *file, uint64_t nrecords,
                     const struct err *why);
static void note(struct spool *s, enum log_level level, const char *event, const char *file, int64_t number,
                 const struct err *err);
static void on_event(void *spool);
static void run_done(struct spool *s);
static enum result result_of(const struct err *err);

struct spool *spool_open(struct server *server, const struct spool_config *config)
{
    struct spool *s = calloc(1, sizeof(*s));
    pthread_condattr_t by_uptime;

    if (!s)
        abort();
    s->server = server;
    s->config = *config;
    s->last_waiting = &s->waiting;
    s->told.oldest_us = TIME_NONE;
    s->norphans = s->told.norphans = 1; /* there may be some, until the folder has been read */
    metric_set(SPOOL_ORPHANS, METRIC_NO_PLATFORM, 0, (double)s->norphans);
    for (size_t i = 0; i < FILES_MAX; i++)
        s->held[i].lock = -1;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&by_uptime);
    pthread_condattr_setclock(&by_uptime, CLOCK_MONOTONIC);
    pthread_cond_init(&s->work, &by_uptime);
    pthread_condattr_destroy(&by_uptime);
    signal(SIGXFSZ, SIG_IGN); /* a limit of file sizes is a full disk to us */
    s->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->event < 0)
        abort();
    s->watch = watch_open(server_loop(server), s->event, on_event, s);
    metric_set(SPOOL_CAPACITY, METRIC_NO_PLATFORM, 0, (double)config->max_bytes);
    s->has_thread = pthread_create(&s->thread, NULL, run, s) == 0;
    if (!s->has_thread)
        log_error("spool_off", LOG_TEXT("why", "no thread to write on"));
    return s;
}

void spool_close(struct spool *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->ends = true;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
    if (s->has_thread)
        pthread_join(s->thread, NULL);
    s->page_done = NULL;
    run_done(s);
    spool_turn(s);
    while (s->forgotten) { /* of what came back just now */
        struct forgotten *f = s->forgotten;
        s->forgotten = f->next;
        free(f);
    }
    watch_close(s->watch);
    close(s->event);
    arena_close(s->page.arena);
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

enum status spool_put(struct spool *s, struct spool_slip *slip, struct err *err)
{
    size_t bytes = spoolfile_bytes_of(&slip->record);
    bool room, stuck;

    slip->next = NULL;
    slip->given_up = false;
    if (!s->has_thread)
        return err_cause(err, UNAVAILABLE, "spool_broken", "the spool has no thread to write on");
    pthread_mutex_lock(&s->lock);
    stuck = s->stuck;
    room = s->waiting_bytes + bytes <= WAITING_BYTES_MAX;
    if (room && !stuck) {
        slip->turn = s->turn;
        slip->at = s->last_waiting;
        *s->last_waiting = slip;
        s->last_waiting = &slip->next;
        s->waiting_bytes += bytes;
        pthread_cond_signal(&s->work);
    }
    pthread_mutex_unlock(&s->lock);
    if (stuck)
        return err_cause(err, UNAVAILABLE, "spool_stuck", "the spool's disk does not answer");
    return room ? OK : err_cause(err, UNAVAILABLE, "spool_full", "too much waits for the spool already");
}

bool spool_give_up(struct spool *s, struct spool_slip *slip)
{
    bool waits;

    pthread_mutex_lock(&s->lock);
    waits = slip->turn == s->turn;
    if (waits) {
        *slip->at = slip->next;
        if (slip->next)
            slip->next->at = slip->at;
        else
            s->last_waiting = slip->at;
        s->waiting_bytes -= spoolfile_bytes_of(&slip->record);
    }
    slip->given_up = true;
    s->stuck = s->stuck || now_boot_us() - s->turn_began_us >= SPOOL_STUCK_MS * INT64_C(1000);
    pthread_mutex_unlock(&s->lock);
    s->nwrites[WRITE_LATE]++;
    return waits;
}

void spool_forget(struct spool *s, const struct spool_slip *slip)
{
    struct forgotten *f = malloc(sizeof(*f));

    if (!f)
        abort();
    f->generation = slip->generation;
    f->seq = slip->record.seq;
    pthread_mutex_lock(&s->lock);
    f->next = s->forgotten;
    s->forgotten = f;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}

void spool_read(struct spool *s, spool_page_done *done, void *ctx)
{
    assert(!s->page_done);
    s->page_done = done;
    s->page_ctx = ctx;
    pthread_mutex_lock(&s->lock);
    s->page_wanted = true;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}

void spool_return(struct spool *s, struct spool_page *page)
{
    assert(page == &s->page);
    pthread_mutex_lock(&s->lock);
    s->page_back = true;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}

double spool_fill(const struct spool *s)
{
    struct spool *mutable = (struct spool *)(uintptr_t)s;
    double fill;

    pthread_mutex_lock(&mutable->lock);
    fill = s->told.full ? 1 : (double)s->told.own_bytes / (double)s->config.max_bytes;
    pthread_mutex_unlock(&mutable->lock);
    return fill;
}

uint64_t spool_nrecords(const struct spool *s)
{
    struct spool *mutable = (struct spool *)(uintptr_t)s;
    uint64_t n;

    pthread_mutex_lock(&mutable->lock);
    n = s->told.nrecords;
    pthread_mutex_unlock(&mutable->lock);
    return n;
}

bool spool_is_drained(const struct spool *s)
{
    struct spool *mutable = (struct spool *)(uintptr_t)s;
    bool drained;

    pthread_mutex_lock(&mutable->lock);
    drained = s->told.drained;
    pthread_mutex_unlock(&mutable->lock);
    return drained;
}

/* The loop's side. */

static void on_event(void *spool)
{
    struct spool *s = spool;
    eventfd_t n;

    (void)eventfd_read(s->event, &n);
    run_done(s);
}

static void run_done(struct spool *s)
{
    struct note notes[NOTES_MAX];
    struct spool_slip *done, *next;
    spool_page_done *page_done = NULL;
    size_t nnotes;

    pthread_mutex_lock(&s->lock);
    done = s->done;
    s->done = NULL;
    nnotes = s->nnotes;
    memcpy(notes, s->notes, nnotes * sizeof(notes[0]));
    s->nnotes = 0;
    if (s->page_ready) {
        s->page_ready = false;
        page_done = s->page_done;
        s->page_done = NULL;
    }
    pthread_mutex_unlock(&s->lock);
    for (size_t i = 0; i < nnotes; i++)
        log_at(notes[i].level, notes[i].event, LOG_TEXT("file", notes[i].file), LOG_INT("n", notes[i].number),
               notes[i].err.code ? LOG_ERR(&notes[i].err) : LOG_NOTHING);
    for (; done; done = next) {
        next = done->next;
        if (!done->given_up) /* that was counted */
            s->nwrites[result_of(&done->err)]++;
        s->config.done(s->config.ctx, done, done->err.code ? &done->err : NULL);
    }
    if (page_done)
        page_done(s->page_ctx, &s->page);
    server_again(s->server);
}

static enum result result_of(const struct err *err)
{
    if (!err->code)
        return WRITE_STORED;
    return err->cause && strcmp(err->cause, "spool_full") == 0 ? WRITE_FULL : WRITE_FAILED;
}

void spool_turn(void *spool)
{
    struct spool *s = spool;
    uint64_t ndrained;
    bool can_take, stuck;

    pthread_mutex_lock(&s->lock);
    stuck = s->stuck;
    can_take = s->told.open && !s->told.full && !stuck;
    ndrained = s->told.ndrained;
    s->told.ndrained = 0;
    metric_set(SPOOL_RECORDS, METRIC_NO_PLATFORM, 0, (double)s->told.nrecords);
    /* After them: who sees that there is no such file any more sees what was in it. */
    metric_set(SPOOL_ORPHANS, METRIC_NO_PLATFORM, 0, (double)s->told.norphans);
    metric_set(SPOOL_STAYED, METRIC_NO_PLATFORM, 0, (double)s->told.nstayed);
    metric_set(SPOOL_BYTES, METRIC_NO_PLATFORM, 0, (double)s->told.bytes);
    metric_set(SPOOL_OLDEST, METRIC_NO_PLATFORM, 0,
               s->told.oldest_us == TIME_NONE
                   ? 0
                   : (double)(server_wall_us(s->server) - s->told.oldest_us) / (double)SECOND_US);
    pthread_mutex_unlock(&s->lock);
    for (size_t i = 0; i < countof(s->nwrites); i++)
        if (s->nwrites[i] > 0)
            metric_add(SPOOL_WRITES, METRIC_NO_PLATFORM, i, s->nwrites[i]);
    memset(s->nwrites, 0, sizeof(s->nwrites));
    if (ndrained > 0)
        metric_add(SPOOL_DRAINED, METRIC_NO_PLATFORM, 0, ndrained);
    health_can_spool(can_take);
    log_stuck(s, stuck);
}

static void log_stuck(struct spool *s, bool stuck)
{
    if (stuck == s->told_stuck)
        return;
    s->told_stuck = stuck;
    if (stuck)
        log_error("spool_stuck", LOG_TEXT("folder", s->config.folder),
                  LOG_TEXT("why", "its disk does not answer; what needs it is refused until it does"));
    else
        log_info("spool_goes_on", LOG_TEXT("folder", s->config.folder));
}

/* The thread's side. */

static void *run(void *spool)
{
    struct spool *s = spool;
    struct err err = {0};
    struct work work = {.ends = false};

    (void)open_own(s, &err);
    s->reserve_again_us = 0;
    keep_up(s);
    tell(s);
    while (!work.ends) {
        take_work(s, &work);
        keep_up(s);
        write_all(s, work.slips);
        if (work.page_back)
            take_back(s, &s->page);
        forget_all(s, work.forgotten);
        if (work.page_wanted)
            fill_page(s, &s->page);
        tell(s);
        if (work.page_wanted)
            hand_page(s);
    }
    for (size_t i = 0; i < FILES_MAX; i++)
        let_go(s, &s->held[i]);
    return NULL;
}

static void take_work(struct spool *s, struct work *ret)
{
    pthread_mutex_lock(&s->lock);
    s->stuck = false;
    s->turn_began_us = INT64_MAX;
    if (!has_work(s))
        wait_for_work(s);
    *ret = (struct work){
        .slips = s->waiting,
        .forgotten = s->forgotten,
        .page_wanted = s->page_wanted && !s->ends,
        .page_back = s->page_back,
        .ends = s->ends,
    };
    s->waiting = NULL;
    s->last_waiting = &s->waiting;
    s->waiting_bytes = 0;
    s->turn++;
    s->turn_began_us = now_boot_us();
    s->forgotten = NULL;
    s->page_wanted = s->page_back = false;
    pthread_mutex_unlock(&s->lock);
}

static void hand_page(struct spool *s)
{
    pthread_mutex_lock(&s->lock);
    s->page_ready = true;
    pthread_mutex_unlock(&s->lock);
    eventfd_write(s->event, 1);
}

/* Or until it is time to look after the file. */
static void wait_for_work(struct spool *s)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec++;
    (void)pthread_cond_timedwait(&s->work, &s->lock, &until);
}

/* A file that did not open is tried again, and the reserve made anew: with it, a full disk has room again. */
static void keep_up(struct spool *s)
{
    struct held *own = &s->held[0];
    struct err err = {0};

    if (!own->file && !open_own(s, &err))
        return;
    if (now_boot_us() < s->reserve_again_us)
        return;
    s->reserve_again_us = now_boot_us() + RESERVE_AGAIN_US;
    if (spoolfile_reserve(s->config.folder, own->id, s->config.reserve_bytes) &&
        spoolfile_size(own->file).bytes < s->config.max_bytes)
        s->full = false;
}

static bool has_work(const struct spool *s)
{
    return s->waiting || s->forgotten || s->page_wanted || s->page_back || s->ends;
}

static void write_all(struct spool *s, struct spool_slip *slips)
{
    while (slips) {
        slips = write_some(s, slips);
        tell(s);
        eventfd_write(s->event, 1); /* who was in it is answered while the rest is written */
    }
}

/* One transaction of them; what is over the cap is refused. Returns the rest. */
static struct spool_slip *write_some(struct spool *s, struct spool_slip *slips)
{
    struct spool_slip *batch[WRITE_RECORDS_MAX];
    const struct err full = {.code = UNAVAILABLE, .cause = "spool_full", .text = "the spool is full"};
    const struct err late = {
        .code = UNAVAILABLE, .cause = "spool_stuck", .text = "nobody waits for it any more"};
    size_t n = 0, bytes = 0, used = 0;
    struct err err = {0};

    if (!s->held[0].file && !open_own(s, &err)) {
        refuse_all(s, slips, &err);
        return NULL;
    }
    used = spoolfile_size(s->held[0].file).bytes;
    s->full = false;
    while (slips && n < WRITE_RECORDS_MAX) {
        struct spool_slip *slip = slips;
        size_t more = spoolfile_bytes_of(&slip->record);

        if (n > 0 && bytes + more > WRITE_BYTES_MAX)
            break;
        slips = slip->next;
        if (has_given_up(s, slip)) {
            finish(s, slip, &late);
            continue;
        }
        if (used + bytes + more > s->config.max_bytes) {
            s->full = true;
            finish(s, slip, &full);
            continue;
        }
        bytes += more;
        batch[n++] = slip;
    }
    if (n > 0)
        write_batch(s, batch, n);
    return slips;
}

/* There is no file. Whatever keeps it from opening, the spool is broken. */
static void refuse_all(struct spool *s, struct spool_slip *slips, struct err *why)
{
    why->code = UNAVAILABLE;
    why->cause = "spool_broken";
    for (struct spool_slip *next; slips; slips = next) {
        next = slips->next;
        finish(s, slips, why);
    }
}

/* Its sender was refused: a disk that is slow already has better to do. */
static bool has_given_up(struct spool *s, const struct spool_slip *slip)
{
    bool given_up;

    pthread_mutex_lock(&s->lock);
    given_up = slip->given_up;
    pthread_mutex_unlock(&s->lock);
    return given_up;
}

static void write_batch(struct spool *s, struct spool_slip *const *slips, size_t n)
{
    struct spool_record *records[WRITE_RECORDS_MAX];
    struct err err = {0};
    enum status status;

    for (size_t i = 0; i < n; i++)
        records[i] = &slips[i]->record;
    status = put(s, records, n, &err);
    if (status == BROKEN)
        give_up_own(s, &err);
    err.code = status ? UNAVAILABLE : OK;
    for (size_t i = 0; i < n; i++) {
        slips[i]->generation = s->generation;
        finish(s, slips[i], status ? &err : NULL);
    }
}

static enum status put(struct spool *s, struct spool_record *const *records, size_t n, struct err *err)
{
    struct held *own = &s->held[0];
    enum status status = spoolfile_put(own->file, records, n, err);

    if (status == BUSY && spoolfile_use_reserve(s->config.folder, own->id)) {
        note(s, LOG_WARN, "spool_reserve_used", spoolfile_name_of(own->file), 0, err);
        s->reserve_again_us = now_boot_us() + RESERVE_AGAIN_US;
        status = spoolfile_put(own->file, records, n, err);
    }
    s->full = s->full || status == BUSY;
    own->at_end = false;
    return status;
}

/* Less and less often: each try costs reads and a sync on what may be a dying disk. */
static bool open_own(struct spool *s, struct err *err)
{
    struct held *own = &s->held[0];
    char name[SPOOL_NAME_BYTES];

    if (now_boot_us() < s->open_again_us) {
        err_cause(err, UNAVAILABLE, "spool_broken", "the spool could not be opened a moment ago");
        return false;
    }
    for (int i = 0; i < 2 && !own->file; i++) {
        if ((own->is_spoilt && !leave_spoilt(s, err)) || (own->lock < 0 && !lock_own(s, err)))
            break;
        spoolfile_name(own->id, name);
        own->file = spoolfile_open(s->config.folder, name, true, err);
        if (own->file || err->code != BROKEN)
            break;
        complain(s, SET_ASIDE, name, 0, err);
        own->is_spoilt = !spoolfile_set_aside_name(s->config.folder, name, now_wall_us());
        s->count_again_us = 0;
    }
    if (!own->file) {
        complain(s, OFF, "", 0, err);
        s->open_wait_us = s->open_wait_us == 0 ? TRY_AGAIN_US : 2 * s->open_wait_us;
        if (s->open_wait_us > TRY_AGAIN_MAX_US)
            s->open_wait_us = TRY_AGAIN_MAX_US;
        s->open_again_us = now_boot_us() + s->open_wait_us;
        return false;
    }
    s->open_wait_us = 0;
    s->generation++;
    own->ngone = 0; /* of the one before */
    own->cursor = 0;
    own->at_end = false;
    if (spoolfile_size(own->file).nrecords > 0)
        note(s, LOG_INFO, "spool_found", name, (int64_t)spoolfile_size(own->file).nrecords, NULL);
    return true;
}

static bool lock_own(struct spool *s, struct err *err)
{
    struct held *own = &s->held[0];

    for (unsigned id = s->config.place; id < SPOOL_IDS; id++) {
        if (held_id(s, id))
            continue;
        *err = (struct err){.code = OK};
        own->lock = lock_id(s, id, err);
        own->id = id;
        if (own->lock >= 0)
            return true;
        if (err->code)
            return false;
    }
    err_set(err, UNAVAILABLE, "every file of the spool is in use");
    return false;
}

/* What lies under the id of its place would else be left to nobody as long as Postgres is away. */
static int lock_id(const struct spool *s, unsigned id, struct err *err)
{
    int lock = spoolfile_lock(s->config.folder, id, err);

    for (int i = 1; lock < 0 && !err->code && id == s->config.place && i < LOCK_TRIES; i++) {
        usleep(LOCK_PAUSE_US);
        lock = spoolfile_lock(s->config.folder, id, err);
    }
    return lock;
}

/* Its lock is kept, so that nobody writes under its name, and what is in it is drained from there. */
static bool leave_spoilt(struct spool *s, struct err *err)
{
    struct held *own = &s->held[0], *place = free_place(s);
    char name[SPOOL_NAME_BYTES];

    spoolfile_name(own->id, name);
    if (!place) {
        err_cause(err, UNAVAILABLE, "spool_broken", "%s could not be set aside, and it is not the first",
                  name);
        return false;
    }
    *place = (struct held){.id = own->id, .lock = own->lock, .is_spoilt = true};
    own->lock = -1;
    own->is_spoilt = false;
    place->file = spoolfile_open(s->config.folder, name, false, err);
    *err = (struct err){.code = OK};
    note(s, LOG_ERROR, "spool_not_set_aside", name,
         place->file ? (int64_t)spoolfile_size(place->file).nrecords : 0, NULL);
    return true;
}

static struct held *free_place(struct spool *s)
{
    for (struct held *h = s->held + 1; h < s->held + FILES_MAX; h++)
        if (!h->file && h->lock < 0)
            return h;
    return NULL;
}

/* Nothing more is written to a file after a failed write or sync: what is in it stays as it is. */
static void give_up_own(struct spool *s, const struct err *why)
{
    struct held *own = &s->held[0];
    struct err err = {0};

    complain(s, SET_ASIDE, spoolfile_name_of(own->file), spoolfile_size(own->file).nrecords, why);
    own->is_spoilt = !spoolfile_set_aside(own->file, now_wall_us());
    own->file = NULL;
    s->count_again_us = 0;
    (void)open_own(s, &err);
}

static void finish(struct spool *s, struct spool_slip *slip, const struct err *failure)
{
    slip->err = failure ? *failure : (struct err){.code = OK};
    pthread_mutex_lock(&s->lock);
    slip->next = s->done;
    s->done = slip;
    pthread_mutex_unlock(&s->lock);
}

static void take_back(struct spool *s, struct spool_page *page)
{
    struct held *h = &s->held[page->file];
    int64_t seqs[SPOOL_PAGE_RECORDS];
    size_t n = 0;

    if (!h->file || (h == &s->held[0] && page->generation != s->generation))
        return; /* set aside meanwhile: it is drained again from there, and seqs of another file are not these */
    for (size_t i = 0; i < page->n; i++)
        if (page->stored[i])
            seqs[n++] = page->records[i].seq;
    if (page->again)
        h->cursor = page->from;
    if (n == 0)
        return;
    remove_from(s, h, seqs, n);
    pthread_mutex_lock(&s->lock);
    s->told.ndrained += n;
    pthread_mutex_unlock(&s->lock);
    if (h->file && h != &s->held[0] && spoolfile_size(h->file).nrecords == 0)
        let_go(s, h);
}

static void forget_all(struct spool *s, struct forgotten *all)
{
    int64_t seqs[SPOOL_PAGE_RECORDS];
    size_t n = 0;

    while (all) {
        struct forgotten *f = all;

        if (f->generation == s->generation && s->held[0].file)
            seqs[n++] = f->seq;
        all = f->next;
        free(f);
        if (n > 0 && (!all || n == countof(seqs))) {
            remove_from(s, &s->held[0], seqs, n);
            n = 0;
        }
    }
}

static void remove_from(struct spool *s, struct held *h, const int64_t *seqs, size_t n)
{
    struct err err = {0};
    enum status status = h->ngone > 0 ? spoolfile_remove(h->file, h->gone, h->ngone, &err) : OK;

    if (status == OK) {
        h->ngone = 0;
        status = spoolfile_remove(h->file, seqs, n, &err);
    }
    if (status == BROKEN) {
        lose(s, h, &err);
    } else if (status) {
        note_gone(s, h, seqs, n);
    } else if (h == &s->held[0]) {
        s->full = false;
    }
}

/* On a full disk nothing can be removed, but a file of which nothing is needed any more can be deleted. */
static void note_gone(struct spool *s, struct held *h, const int64_t *seqs, size_t n)
{
    struct err err = {0};

    if (h->ngone + n > h->gone_room) {
        h->gone_room = 2 * (h->ngone + n);
        h->gone = realloc(h->gone, h->gone_room * sizeof(h->gone[0]));
        if (!h->gone)
            abort();
    }
    for (size_t i = 0; i < n; i++)
        add_gone(h, seqs[i]);
    if (h->ngone < spoolfile_size(h->file).nrecords || !is_all_gone(h))
        return;
    h->ngone = 0;
    spoolfile_discard(h->file);
    h->file = NULL;
    if (h != &s->held[0]) {
        let_go(s, h);
    } else {
        s->full = false;
        s->open_again_us = 0;
        (void)open_own(s, &err);
    }
}

/* Each once, or their number would not tell that they are all. They come in order, but for a page that came again. */
static void add_gone(struct held *h, int64_t seq)
{
    size_t at = h->ngone;

    while (at > 0 && h->gone[at - 1] >= seq)
        at--;
    if (at < h->ngone && h->gone[at] == seq)
        return;
    memmove(h->gone + at + 1, h->gone + at, (h->ngone - at) * sizeof(h->gone[0]));
    h->gone[at] = seq;
    h->ngone++;
}

/* What is about to be deleted is looked at once more: a number alone could be wrong. */
static bool is_all_gone(const struct held *h)
{
    struct arena *arena = arena_open(LISTEN_ARENA_BYTES);
    int64_t after, last = 0;
    bool all = true;

    do {
        struct spool_record *records;
        size_t n, ndamaged;
        struct err err = {0};

        after = last;
        arena_reset(arena);
        if (spoolfile_read(h->file, after, SPOOL_PAGE_RECORDS, SPOOL_PAGE_BYTES, arena, &records, &n, &last,
                           &ndamaged, &err) ||
            ndamaged > 0)
            all = false;
        for (size_t i = 0; all && i < n; i++)
            all = bsearch(&records[i].seq, h->gone, h->ngone, sizeof(h->gone[0]), compare_seqs) != NULL;
    } while (all && last != after);
    arena_close(arena);
    return all;
}

static int compare_seqs(const void *a, const void *b)
{
    int64_t one = *(const int64_t *)a, other = *(const int64_t *)b;

    return (one > other) - (one < other);
}

static void lose(struct spool *s, struct held *h, const struct err *why)
{
    if (h == &s->held[0]) {
        give_up_own(s, why);
        return;
    }
    note(s, LOG_ERROR, "spool_unreadable", spoolfile_name_of(h->file),
         (int64_t)spoolfile_size(h->file).nrecords, why);
    note_unreadable(s, spoolfile_name_of(h->file));
    s->count_again_us = 0;
    h->is_spoilt = !spoolfile_set_aside(h->file, now_wall_us());
    h->file = NULL;
    if (!h->is_spoilt)
        let_go(s, h);
}

static void fill_page(struct spool *s, struct spool_page *page)
{
    struct held *oldest;

    if (page->arena)
        arena_reset(page->arena);
    else
        page->arena = arena_open(LISTEN_ARENA_BYTES);
    page->n = 0;
    page->again = false;
    memset(page->stored, 0, sizeof(page->stored));
    look_around(s);
    while ((oldest = find_oldest(s)))
        if (read_from(s, (size_t)(oldest - s->held), page))
            return;
    s->nstayed = 0;
    for (const struct held *h = s->held; h < s->held + FILES_MAX; h++)
        s->nstayed += h->file && h->at_end ? spoolfile_size(h->file).nrecords : 0;
}

/* The file whose next record has waited longest; NULL: all are at their end. One that could not be drained for lack of its
 * turn would grow old while others go on. */
static struct held *find_oldest(struct spool *s)
{
    struct held *oldest = NULL;
    int64_t oldest_us = INT64_MAX;

    for (struct held *h = s->held; h < s->held + FILES_MAX; h++) {
        int64_t us;

        if (!h->file)
            continue;
        if (h->at_end && h->cursor > 0 && now_boot_us() >= h->rewind_us) {
            h->cursor = 0; /* what has stayed is tried again */
            h->at_end = false;
        }
        us = h->at_end ? TIME_NONE : spoolfile_next_us(h->file, h->cursor);
        if (us == TIME_NONE) {
            h->at_end = true;
        } else if (!oldest || us < oldest_us) {
            oldest = h;
            oldest_us = us;
        }
    }
    return oldest;
}

/* False: at its end. */
static bool read_from(struct spool *s, size_t at, struct spool_page *page)
{
    struct held *h = &s->held[at];
    struct err err = {0};
    size_t ndamaged;
    int64_t last;

    do {
        page->file = at;
        page->generation = s->generation;
        page->from = h->cursor;
        if (spoolfile_read(h->file, h->cursor, SPOOL_PAGE_RECORDS, SPOOL_PAGE_BYTES, page->arena,
                           &page->records, &page->n, &last, &ndamaged, &err)) {
            page->n = 0;
            lose(s, h, &err);
            return false;
        }
        if (ndamaged > 0) {
            err_cause(&err, BROKEN, "spool_damaged", "the checksum of a record does not hold");
            note(s, LOG_ERROR, "spool_damaged", spoolfile_name_of(h->file), (int64_t)ndamaged, &err);
        }
        if (h->cursor == 0)
            h->rewind_us = now_boot_us() + STAYED_US;
        h->at_end = last == h->cursor;
        h->cursor = last;
    } while (page->n == 0 && ndamaged > 0);
    return page->n > 0;
}

/* One at a time, and not always: a folder is read for it. */
static void look_around(struct spool *s)
{
    struct arena *arena;
    const char **names;
    size_t n;
    struct err err = {0};

    if (now_boot_us() < s->look_around_us)
        return;
    s->look_around_us = now_boot_us() + LOOK_AROUND_US;
    arena = arena_open(LISTEN_ARENA_BYTES);
    if (spoolfile_names(s->config.folder, arena, &names, &n, &err) == OK)
        for (size_t i = 0; i < n; i++)
            if (!is_held(s, names[i]) && !is_unreadable(s, names[i]) && take_over(s, names[i]))
                break;
    arena_close(arena);
}

/* True: there is something in it. */
static bool take_over(struct spool *s, const char *name)
{
    unsigned id = spoolfile_id(name);
    struct held *h = free_place(s), *other = held_id(s, id);
    struct err err = {0};

    if (!h || (other && !strstr(name, ".broken-")))
        return false; /* what has its first name still could not be set aside */
    *h = (struct held){.id = id, .lock = -1};
    h->lock = other ? fcntl(other->lock, F_DUPFD_CLOEXEC, 0) : spoolfile_lock(s->config.folder, id, &err);
    if (h->lock < 0) {
        if (err.code) /* else its worker lives */
            leave(s, name, &err);
        return false;
    }
    h->file = spoolfile_open(s->config.folder, name, false, &err);
    if (!h->file) {
        if (err.code == BROKEN) {
            note(s, LOG_ERROR, "spool_unreadable", name, 0, &err);
            note_unreadable(s, name);
            h->is_spoilt = !spoolfile_set_aside_name(s->config.folder, name, now_wall_us());
        } else if (err.code != BUSY) {
            leave(s, name, &err);
        }
        if (!h->is_spoilt)
            let_go(s, h);
        return false;
    }
    if (spoolfile_size(h->file).nrecords == 0) {
        let_go(s, h);
        return false;
    }
    note(s, LOG_INFO, "spool_taken_over", name, (int64_t)spoolfile_size(h->file).nrecords, NULL);
    s->look_around_us = s->count_again_us = 0; /* there may be more of them */
    return true;
}

/* Another's by its rights, perhaps, or of a newer version: what is in it waits until somebody sees to it. */
static void leave(struct spool *s, const char *name, struct err *why)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/%s", s->config.folder, name);
    if (access(path, F_OK) != 0)
        return; /* another has drained it just now */
    why->cause = "spool_unusable";
    complain(s, LEFT, name, 0, why);
}

static bool is_held(const struct spool *s, const char *name)
{
    char own[SPOOL_NAME_BYTES];

    spoolfile_name(s->held[0].id, own);
    return (s->held[0].lock >= 0 && strcmp(own, name) == 0) || is_open(s, name);
}

static bool is_open(const struct spool *s, const char *name)
{
    for (const struct held *h = s->held; h < s->held + FILES_MAX; h++)
        if (h->file && strcmp(spoolfile_name_of(h->file), name) == 0)
            return true;
    return false;
}

/* What is in them is in no other number. */
static void count_orphans(struct spool *s)
{
    struct arena *arena;
    const char **names;
    size_t n;
    struct err err = {0};

    if (now_boot_us() < s->count_again_us)
        return;
    s->count_again_us = now_boot_us() + LOOK_AROUND_US;
    arena = arena_open(LISTEN_ARENA_BYTES);
    if (spoolfile_names(s->config.folder, arena, &names, &n, &err) == OK) {
        s->norphans = 0;
        for (size_t i = 0; i < n; i++)
            s->norphans += is_orphan(s, names[i]);
    }
    arena_close(arena);
}

/* Neither open here nor in the hands of another. */
static bool is_orphan(struct spool *s, const char *name)
{
    unsigned id = spoolfile_id(name);
    struct err err = {0};
    int lock;

    if (is_open(s, name))
        return false;
    if (held_id(s, id))
        return true;
    lock = spoolfile_lock(s->config.folder, id, &err);
    if (lock >= 0)
        close(lock);
    return lock >= 0 || err.code;
}

static struct held *held_id(struct spool *s, unsigned id)
{
    for (struct held *h = s->held; h < s->held + FILES_MAX; h++)
        if (h->id == id && h->lock >= 0)
            return h;
    return NULL;
}

static bool is_unreadable(const struct spool *s, const char *name)
{
    for (size_t i = 0; i < s->nunreadable; i++)
        if (strcmp(s->unreadable[i], name) == 0)
            return true;
    return s->nunreadable == UNREADABLE_MAX && strstr(name, ".broken-");
}

static void note_unreadable(struct spool *s, const char *name)
{
    if (s->nunreadable < UNREADABLE_MAX)
        snprintf(s->unreadable[s->nunreadable++], SPOOL_NAME_BYTES, "%s", name);
}

/* One that was taken over and is empty leaves the disk; the own one stays for the next start. */
static void let_go(struct spool *s, struct held *h)
{
    if (h->file && h != &s->held[0] && spoolfile_size(h->file).nrecords == 0)
        spoolfile_retire(h->file);
    else
        spoolfile_close(h->file);
    h->file = NULL;
    free(h->gone);
    h->gone = NULL;
    h->ngone = h->gone_room = 0;
    h->is_spoilt = false;
    if (h->lock >= 0)
        close(h->lock);
    h->lock = -1;
}

static void tell(struct spool *s)
{
    uint64_t nrecords = 0, bytes = 0, own_bytes = 0;
    int64_t oldest_us = TIME_NONE;
    bool drained = true;

    count_orphans(s);
    for (const struct held *h = s->held; h < s->held + FILES_MAX; h++) {
        struct spoolfile_size size;

        if (!h->file)
            continue;
        size = spoolfile_size(h->file);
        nrecords += size.nrecords;
        bytes += size.bytes;
        own_bytes += h == s->held ? size.bytes : 0;
        drained = drained && (size.nrecords == 0 || h->at_end);
        if (size.oldest_us != TIME_NONE && (oldest_us == TIME_NONE || size.oldest_us < oldest_us))
            oldest_us = size.oldest_us;
    }
    pthread_mutex_lock(&s->lock);
    s->told.nrecords = nrecords;
    s->told.bytes = bytes;
    s->told.own_bytes = own_bytes;
    s->told.oldest_us = oldest_us;
    s->told.open = s->held[0].file != NULL;
    s->told.full = s->full;
    s->told.drained = drained;
    s->told.nstayed = nrecords < s->nstayed ? nrecords : s->nstayed;
    s->told.norphans = s->norphans;
    pthread_mutex_unlock(&s->lock);
}

/* Always of one that held records, for it is not like the last. */
static void complain(struct spool *s, unsigned what, const char *file, uint64_t nrecords,
                     const struct err *why)
{
    static const char *const events[NCOMPLAINTS] = {
        [SET_ASIDE] = "spool_set_aside", [OFF] = "spool_off", [LEFT] = "spool_file_left"};
    struct complaint *c = &s->complaints[what];
    const char *cause = why->cause ? why->cause : "";

    if (nrecords == 0 && c->cause && strcmp(c->cause, cause) == 0 && now_boot_us() < c->again_us)
        return;
    note(s, LOG_ERROR, events[what], file, (int64_t)nrecords, why);
    c->cause = cause;
    c->again_us = now_boot_us() + COMPLAIN_US;
}

/* NOLINTNEXTLINE(readability-function-size): the parameters are the line */
static void note(struct spool *s, enum log_level level, const char *event, const char *file, int64_t number,
                 const struct err *err)
{
    pthread_mutex_lock(&s->lock);
    if (s->nnotes < NOTES_MAX) {
        struct note *n = &s->notes[s->nnotes++];
        *n = (struct note){.level = level, .event = event, .number = number};
        snprintf(n->file, sizeof(n->file), "%s", file);
        if (err)
            n->err = *err;
    }
    pthread_mutex_unlock(&s->lock);
    eventfd_write(s->event, 1);
}
