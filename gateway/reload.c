#include "reload.h"

#include "base/log.h"
#include "base/metric.h"
#include "evloop.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum result { RESULT_DONE, RESULT_FAILED }; /* the words of RELOADS, in its order */

struct reload {
    const struct process *self;
    reload_done *done;
    void *ctx;
    int event; /* the thread has come to its end */
    struct watch *watch;
    bool running, again;
    pthread_t thread;
    struct platforms *fresh; /* the thread's, as the next, until it is joined; NULL: it failed */
    struct err err;
};

static void begin(struct reload *r);
static void *read_set(void *reload);
static void on_read(void *reload);
static void tell(const struct process *self, const struct platforms *fresh, const struct err *err);
static size_t count_sources(const struct platforms *set);

struct platforms *reload_read(const struct settings *s)
{
    struct platforms *fresh = NULL;
    const char *late = NULL;
    struct err err = {0};

    if (settings_reload(s, &fresh, &late, &err) == OK && late)
        log_warn("reload_left_out", LOG_TEXT("setting", late), LOG_TEXT("why", "it wants a restart"));
    tell(NULL, fresh, &err);
    return fresh;
}

struct reload *reload_open(h2o_loop_t *loop, const struct process *self, reload_done *done, void *ctx)
{
    struct reload *r = calloc(1, sizeof(*r));

    if (!r)
        abort();
    r->self = self;
    r->done = done;
    r->ctx = ctx;
    r->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->event < 0)
        abort();
    r->watch = watch_open(loop, r->event, on_read, r);
    return r;
}

void reload_close(struct reload *r)
{
    if (!r)
        return;
    watch_close(r->watch);
    if (r->running) {
        pthread_join(r->thread, NULL);
        platforms_close(r->fresh);
    }
    close(r->event);
    free(r);
}

void reload_start(void *reload)
{
    struct reload *r = reload;

    r->again = r->running;
    if (!r->running)
        begin(r);
}

static void begin(struct reload *r)
{
    int failed;

    r->fresh = NULL;
    r->err = (struct err){0};
    failed = pthread_create(&r->thread, NULL, read_set, r);
    r->running = failed == 0;
    if (failed) {
        err_set(&r->err, UNAVAILABLE, "no thread to read on: %s", strerrordesc_np(failed));
        tell(r->self, NULL, &r->err);
    }
}

static void *read_set(void *reload)
{
    struct reload *r = reload;
    const char *late;

    if (settings_reload(r->self->settings, &r->fresh, &late, &r->err))
        r->fresh = NULL;
    eventfd_write(r->event, 1);
    return NULL;
}

static void on_read(void *reload)
{
    struct reload *r = reload;
    eventfd_t unused;

    eventfd_read(r->event, &unused);
    if (!r->running)
        return;
    pthread_join(r->thread, NULL);
    r->running = false;
    if (r->fresh)
        r->done(r->ctx, r->fresh);
    tell(r->self, r->fresh, &r->err);
    if (r->again) {
        r->again = false;
        begin(r);
    }
}

/* self NULL: the parent. Who sees the count finds the line too. */
static void tell(const struct process *self, const struct platforms *fresh, const struct err *err)
{
    const struct log_field role = LOG_TEXT("role", self ? self->role : "parent");
    const struct log_field place =
        self ? LOG_INT("place", (int64_t)self->place) : LOG_SPAN("place", SPAN_NONE);

    if (fresh)
        log_info("reloaded", role, place, LOG_INT("platforms", (int64_t)platforms_count(fresh)),
                 LOG_INT("sources", (int64_t)count_sources(fresh)));
    else
        log_error("reload_failed", role, place, LOG_TEXT("present", "stays"), LOG_ERR(err));
    metric_add(RELOADS, METRIC_NO_PLATFORM, fresh ? RESULT_DONE : RESULT_FAILED, 1);
}

static size_t count_sources(const struct platforms *set)
{
    size_t n = 0;

    for (size_t i = 0; i < platforms_count(set); i++)
        n += platforms_at(set, i)->nsources;
    return n;
}
