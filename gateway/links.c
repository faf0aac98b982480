#include "links.h"

#include "base/log.h"
#include "base/metric.h"
#include "base/now.h"
#include "evloop.h"
#include "health.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>

enum { BACKOFF_FIRST_MS = 100, BACKOFF_MAX_MS = 1000 };

/* Redis answers in well under a millisecond: silence for so long, with answers due, is a dead connection. */
#define REDIS_SILENCE_US (5 * SECOND_US)

enum store { STORE_POSTGRES, STORE_REDIS }; /* the words of STORE_UP, in its order */
static const char *const store_names[] = {"postgres", "redis"};

/* One try to connect. The thread's until its state is DONE, then the loop's, unless the loop gave it up first. */
struct attempt {
    enum store store;
    struct pg_config pg_config; /* with strings of its own: the caller may be gone before the thread */
    char *redis_url;
    unsigned redis_timeout_ms;
    int event; /* becomes readable just before DONE */
    _Atomic enum { ATTEMPT_RUNS, ATTEMPT_DONE, ATTEMPT_GIVEN_UP } state;
    struct pg *pg; /* result: one of them, or err */
    struct redis *redis;
    struct err err;
};

struct link {
    struct links *links;
    enum store store;
    enum { LINK_DOWN, LINK_CONNECTING, LINK_UP } state;
    struct attempt *attempt; /* while CONNECTING */
    struct pg *pg;           /* while UP, one of them */
    struct redis *redis;
    struct watch *watch;  /* of the attempt's event, then of the connection */
    bool is_lost;         /* closed at the end of the turn */
    int64_t try_again_us; /* boot time, while DOWN */
    int64_t up_us;        /* since when, while UP */
    int64_t heard_us;     /* Redis: when it last had nothing to answer, or did answer */
    unsigned backoff_ms;  /* of the next pause, about; 0: of one that worked, which is tried again at once */
    char last_failure[sizeof((struct err){0}.text)]; /* logged already */
};

struct links {
    struct server *server;
    struct links_config config;
    struct link *all; /* npg of Postgres, then perhaps one of Redis */
    size_t nall;
    bool pg_was_tried;
};

static void connect_again(struct link *k);
static int begin_attempt(struct link *k, struct attempt *a);
static void *run_attempt(void *attempt);
static void after_attempt(void *link);
static void come_up(struct link *k);
static void stay_down(struct link *k, const struct err *err);
static void on_readable(void *link);
static void on_writable(void *link);
static void turn_up(struct link *k, int64_t now_us);
static bool flush(struct link *k, bool *ret_wants_write);
static bool is_overdue(struct link *k, int64_t now_us);
static void go_down(struct link *k);
static void wait_to_try(struct link *k);
static void count_up(const struct link *k);
static struct attempt *attempt_new(const struct link *k);
static void attempt_free(struct attempt *a);
static char *copy_of(const char *text);

struct links *links_open(struct server *server, const struct links_config *config)
{
    struct links *l = calloc(1, sizeof(*l));

    if (!l)
        abort();
    l->server = server;
    l->config = *config;
    l->nall = config->npg + (config->redis_url ? 1 : 0);
    l->all = calloc(l->nall, sizeof(*l->all));
    if (!l->all)
        abort();
    for (size_t i = 0; i < l->nall; i++) {
        l->all[i].links = l;
        l->all[i].store = i < config->npg ? STORE_POSTGRES : STORE_REDIS;
    }
    server_again(server);
    return l;
}

void links_close(struct links *l)
{
    if (!l)
        return;
    for (struct link *k = l->all; k < l->all + l->nall; k++) {
        if (k->state == LINK_UP)
            go_down(k);
        watch_close(k->watch);
        if (k->attempt && atomic_exchange(&k->attempt->state, ATTEMPT_GIVEN_UP) == ATTEMPT_DONE)
            attempt_free(k->attempt);
    }
    free(l->all);
    free(l);
}

void links_turn(void *links)
{
    struct links *l = links;
    int64_t now_us = server_boot_us(l->server);

    for (struct link *k = l->all; k < l->all + l->nall; k++) {
        if (k->state == LINK_UP)
            turn_up(k, now_us);
        else if (k->state == LINK_DOWN && now_us >= k->try_again_us)
            connect_again(k);
    }
}

size_t links_npg(const struct links *l)
{
    return l->config.npg;
}

struct pg *links_pg(const struct links *l, size_t i)
{
    return l->all[i].is_lost ? NULL : l->all[i].pg;
}

struct pg *links_pg_least(const struct links *l)
{
    struct pg *least = NULL;

    for (size_t i = 0; i < l->config.npg; i++) {
        struct pg *pg = links_pg(l, i);
        if (pg && (!least || pg_waiting(pg) < pg_waiting(least)))
            least = pg;
    }
    return least;
}

struct pg *links_pg_idle(const struct links *l)
{
    struct pg *least = links_pg_least(l);

    return least && pg_waiting(least) == 0 ? least : NULL;
}

int64_t links_pg_deadline_us(const struct links *l)
{
    return now_boot_us() + (int64_t)l->config.pg.statement_timeout_ms * 1000;
}

struct redis *links_redis(const struct links *l)
{
    const struct link *k = &l->all[l->nall - 1];

    return k->store == STORE_REDIS && !k->is_lost ? k->redis : NULL;
}

bool links_pg_is_up(const struct links *l)
{
    return links_pg_least(l) != NULL;
}

bool links_pg_is_new(const struct links *l)
{
    return !l->pg_was_tried;
}

void links_drop_pg(struct links *l, const struct pg *pg)
{
    for (struct link *k = l->all; k < l->all + l->config.npg; k++)
        if (k->pg == pg)
            k->is_lost = true;
}

void links_check_pg(struct links *l, const struct pg_rows *check)
{
    bool is_safe = l->config.pg.unsafe_ok || pg_is_null(check, 0, 1);

    for (struct link *k = l->all; k < l->all + l->config.npg && !is_safe; k++)
        k->is_lost = true;
}

void links_praise_pg(struct links *l, const struct pg *pg)
{
    for (struct link *k = l->all; k < l->all + l->config.npg; k++)
        if (k->pg == pg)
            k->backoff_ms = 0;
}

static void connect_again(struct link *k)
{
    struct attempt *a = attempt_new(k);
    int failure;

    metric_add(STORE_CONNECTS, METRIC_NO_PLATFORM, k->store, 1);
    failure = begin_attempt(k, a);
    if (failure) {
        err_set(&a->err, UNAVAILABLE, "no descriptor or thread to connect with: %s", strerror(failure));
        stay_down(k, &a->err);
        attempt_free(a);
        k->links->pg_was_tried |= k->store == STORE_POSTGRES;
    }
}

/* Returns an errno; then the thread has not begun. */
static int begin_attempt(struct link *k, struct attempt *a)
{
    pthread_t thread;
    int failure;

    k->state = LINK_CONNECTING;
    k->attempt = a;
    a->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    k->watch = a->event < 0 ? NULL : watch_try(server_loop(k->links->server), a->event, after_attempt, k);
    if (!k->watch)
        return errno;
    failure = pthread_create(&thread, NULL, run_attempt, a);
    if (failure)
        return failure;
    pthread_detach(thread);
    return 0;
}

static void *run_attempt(void *attempt)
{
    struct attempt *a = attempt;

    if (a->store == STORE_POSTGRES)
        a->pg = pg_connect(&a->pg_config, &a->err);
    else
        a->redis = redis_open(a->redis_url, a->redis_timeout_ms, &a->err);
    eventfd_write(a->event, 1); /* before DONE: after it the event may be closed already */
    if (atomic_exchange(&a->state, ATTEMPT_DONE) == ATTEMPT_GIVEN_UP)
        attempt_free(a);
    return NULL;
}

static void after_attempt(void *link)
{
    struct link *k = link;
    struct attempt *a = k->attempt;

    if (atomic_load(&a->state) != ATTEMPT_DONE)
        return; /* within a moment: the event stays readable and brings us back */
    watch_close(k->watch);
    k->watch = NULL;
    k->attempt = NULL;
    k->pg = a->pg;
    k->redis = a->redis;
    a->pg = NULL;
    a->redis = NULL;
    if (k->pg || k->redis)
        come_up(k);
    else
        stay_down(k, &a->err);
    attempt_free(a);
    k->links->pg_was_tried |= k->store == STORE_POSTGRES;
}

static void come_up(struct link *k)
{
    int fd = k->pg ? pg_fd(k->pg) : redis_fd(k->redis);
    struct err err = {0};

    k->watch = watch_try(server_loop(k->links->server), fd, on_readable, k);
    if (!k->watch) {
        err_set(&err, UNAVAILABLE, "no descriptor to watch the connection by: %s", strerror(errno));
        pg_close(k->pg);
        redis_close(k->redis);
        k->pg = NULL;
        k->redis = NULL;
        stay_down(k, &err);
        return;
    }
    k->state = LINK_UP;
    k->is_lost = false;
    k->last_failure[0] = '\0';
    k->up_us = k->heard_us = server_boot_us(k->links->server);
    log_info("store_connected", LOG_TEXT("store", store_names[k->store]));
    count_up(k);
    if (k->pg && k->links->config.on_pg)
        k->links->config.on_pg(k->links->config.ctx, k->pg, true);
    server_again(k->links->server);
}

static void stay_down(struct link *k, const struct err *err)
{
    if (strcmp(k->last_failure, err->text) != 0) {
        log_warn("store_unreachable", LOG_TEXT("store", store_names[k->store]), LOG_ERR(err));
        memcpy(k->last_failure, err->text, sizeof(k->last_failure));
    }
    watch_close(k->watch);
    k->watch = NULL;
    k->attempt = NULL;
    wait_to_try(k);
}

static void on_readable(void *link)
{
    struct link *k = link;

    k->heard_us = server_boot_us(k->links->server);
    if (k->pg ? !pg_read(k->pg) : !redis_read(k->redis))
        k->is_lost = true; /* closed at the end of the turn, outside of its own callbacks */
}

/* The end of this very turn flushes: to wake the loop was all that was wanted. */
static void on_writable(void *link)
{
    (void)link;
}

static void turn_up(struct link *k, int64_t now_us)
{
    bool wants_write = false;

    if (k->is_lost || !flush(k, &wants_write) || is_overdue(k, now_us)) {
        log_warn("store_lost", LOG_TEXT("store", store_names[k->store]));
        go_down(k);
        return;
    }
    if (wants_write)
        watch_writable(k->watch, on_writable);
}

static bool flush(struct link *k, bool *ret_wants_write)
{
    return k->pg ? pg_flush(k->pg, ret_wants_write) : redis_flush(k->redis, ret_wants_write);
}

static bool is_overdue(struct link *k, int64_t now_us)
{
    if (k->pg)
        return !pg_expire(k->pg, now_us);
    if (redis_waiting(k->redis) == 0)
        k->heard_us = now_us;
    return now_us - k->heard_us > REDIS_SILENCE_US;
}

static void go_down(struct link *k)
{
    struct pg *pg = k->pg;
    struct redis *redis = k->redis;

    watch_close(k->watch);
    k->watch = NULL;
    k->is_lost = true; /* nobody sends on it from here on, not even the callbacks below */
    if (pg && k->links->config.on_pg)
        k->links->config.on_pg(k->links->config.ctx, pg, false);
    pg_close(pg);
    redis_close(redis);
    k->pg = NULL;
    k->redis = NULL;
    k->is_lost = false;
    if (server_boot_us(k->links->server) - k->up_us >= BACKOFF_MAX_MS * INT64_C(1000))
        k->backoff_ms = 0;
    wait_to_try(k);
    count_up(k);
    server_again(k->links->server);
}

static void wait_to_try(struct link *k)
{
    int64_t wait_ms = k->backoff_ms / 2 + arc4random_uniform(k->backoff_ms / 2 + 1);

    k->state = LINK_DOWN;
    k->try_again_us = server_boot_us(k->links->server) + wait_ms * 1000;
    k->backoff_ms = k->backoff_ms == 0 ? BACKOFF_FIRST_MS : 2 * k->backoff_ms;
    if (k->backoff_ms > BACKOFF_MAX_MS)
        k->backoff_ms = BACKOFF_MAX_MS;
}

/* The API's say nothing of webhooks: its role may come in where theirs may not, and it also reads where none can write. */
static void count_up(const struct link *k)
{
    const struct links *l = k->links;
    size_t n = 0;

    if (!l->config.takes_webhooks)
        return;
    for (size_t i = 0; i < l->nall; i++)
        n += l->all[i].store == k->store && l->all[i].state == LINK_UP;
    metric_set(STORE_UP, METRIC_NO_PLATFORM, k->store, (double)n);
}

static struct attempt *attempt_new(const struct link *k)
{
    const struct links_config *config = &k->links->config;
    struct attempt *a = calloc(1, sizeof(*a));

    if (!a)
        abort();
    a->store = k->store;
    a->pg_config = config->pg;
    a->pg_config.url = copy_of(config->pg.url);
    a->pg_config.user = copy_of(config->pg.user);
    a->pg_config.application = copy_of(config->pg.application);
    a->redis_url = copy_of(config->redis_url);
    a->redis_timeout_ms = config->redis_connect_timeout_ms;
    a->event = -1;
    return a;
}

static void attempt_free(struct attempt *a)
{
    pg_close(a->pg);
    redis_close(a->redis);
    if (a->event >= 0)
        close(a->event);
    free((char *)(uintptr_t)a->pg_config.url);
    free((char *)(uintptr_t)a->pg_config.user);
    free((char *)(uintptr_t)a->pg_config.application);
    free(a->redis_url);
    free(a);
}

static char *copy_of(const char *text)
{
    char *copy = text ? strdup(text) : NULL;

    if (text && !copy)
        abort();
    return copy;
}
