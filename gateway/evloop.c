#include "evloop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>

enum { LOOK_MAX = 64 }; /* a process has a dozen */

struct watch {
    struct watch *next, **back; /* among all of the process */
    h2o_socket_t *sock;
    watch_ready *on_readable, *after_writable;
    void *ctx;
};

static struct watch *open_watches;

static bool is_open(const struct watch *w);
static void on_readable(h2o_socket_t *sock, const char *err);
static void after_writable(h2o_socket_t *sock, const char *err);
static uint64_t now_ms(void);
static void after_passed(h2o_timeout_entry_t *entry);

struct watch *watch_open(h2o_loop_t *loop, int fd, watch_ready *on_ready, void *ctx)
{
    struct watch *w = watch_try(loop, fd, on_ready, ctx);

    if (!w)
        abort(); /* the connection cap leaves descriptors free for this */
    return w;
}

struct watch *watch_try(h2o_loop_t *loop, int fd, watch_ready *on_ready, void *ctx)
{
    /* A duplicate, since h2o closes what it watches, and since its owner may close the original first. */
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    struct watch *w;

    if (copy < 0)
        return NULL;
    w = calloc(1, sizeof(*w));
    if (!w)
        abort();
    w->on_readable = on_ready;
    w->ctx = ctx;
    w->sock = h2o_evloop_socket_create(loop, copy, H2O_SOCKET_FLAG_DONT_READ);
    w->sock->data = w;
    h2o_socket_read_start(w->sock, on_readable);
    w->next = open_watches;
    w->back = &open_watches;
    if (open_watches)
        open_watches->back = &w->next;
    open_watches = w;
    return w;
}

void watch_writable(struct watch *w, watch_ready *after)
{
    if (h2o_socket_is_writing(w->sock)) /* h2o asserts that none is pending */
        return;
    w->after_writable = after;
    h2o_socket_notify_write(w->sock, after_writable);
}

void watch_close(struct watch *w)
{
    if (!w)
        return;
    *w->back = w->next;
    if (w->next)
        w->next->back = w->back;
    h2o_socket_close(w->sock); /* h2o frees it in the next turn, and calls it no more */
    free(w);
}

void watches_look(void)
{
    struct pollfd fds[LOOK_MAX];
    struct watch *watches[LOOK_MAX];
    nfds_t n = 0;

    for (struct watch *w = open_watches; w && n < LOOK_MAX; w = w->next) {
        watches[n] = w;
        fds[n++] = (struct pollfd){.fd = h2o_socket_get_fd(w->sock), .events = POLLIN};
    }
    if (poll(fds, n, 0) <= 0)
        return;
    for (nfds_t i = 0; i < n; i++)
        if (fds[i].revents && is_open(watches[i]))
            watches[i]->on_readable(watches[i]->ctx);
}

/* One's callback may have closed another. */
static bool is_open(const struct watch *w)
{
    const struct watch *one = open_watches;

    while (one && one != w)
        one = one->next;
    return one;
}

static void on_readable(h2o_socket_t *sock, const char *err)
{
    struct watch *w = sock->data;

    (void)err; /* nothing was read here, so nothing can have failed: the owner's read will tell */
    w->on_readable(w->ctx);
}

static void after_writable(h2o_socket_t *sock, const char *err)
{
    struct watch *w = sock->data;

    (void)err;
    w->after_writable(w->ctx);
}

void deadlines_open(struct deadlines *all, h2o_loop_t *loop, unsigned ms)
{
    all->loop = loop;
    h2o_timeout_init(loop, &all->list, ms);
}

void deadlines_close(struct deadlines *all)
{
    h2o_timeout_dispose(all->loop, &all->list);
}

void deadline_set(struct deadlines *all, struct deadline *d, watch_ready *passed, void *ctx)
{
    deadline_clear(d);
    d->passed = passed;
    d->ctx = ctx;
    d->entry.cb = after_passed;
    h2o_timeout_link(all->loop, &all->list, &d->entry);
    d->entry.registered_at = now_ms(); /* h2o would count from the turn's beginning: it may be long past */
}

/* By the clock that h2o goes by. */
static uint64_t now_ms(void)
{
    struct timeval now;

    gettimeofday(&now, NULL);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_usec / 1000;
}

void deadline_clear(struct deadline *d)
{
    h2o_timeout_unlink(&d->entry);
}

static void after_passed(h2o_timeout_entry_t *entry)
{
    struct deadline *d = H2O_STRUCT_FROM_MEMBER(struct deadline, entry, entry);

    d->passed(d->ctx);
}
