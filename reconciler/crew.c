#include "crew.h"

#include "base/attr.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    LOOK_MS = 1000, /* how often the run's lock is looked after meanwhile */
    THEIRS = STDERR_FILENO + 1,
    FREE = -1,
};

struct crew {
    size_t n;
    struct member {
        pid_t pid;
        int fd;
        int at; /* index of the day it is at; FREE: none */
    } members[CREW_MAX];
};

struct answer {
    struct day_result result;
    struct err err;
};

static bool add_member(struct crew *c, const struct session_options *run, size_t chunk);
static NORETURN void be_member(int fd, pid_t owner, const struct session_options *run, size_t chunk);
static bool hear(int fd, void *ret, size_t size);
static size_t hand_out(struct crew *c, const struct crew_day *days, size_t next, size_t n, struct err *err);
static bool anyone_works(const struct crew *c);
static void take_answers(struct crew *c, struct crew_day *days, struct err *err);
static void take_answer(struct member *m, struct crew_day *days, struct err *err);

struct crew *crew_open(size_t members, const struct session_options *run, size_t chunk, struct err *err)
{
    struct crew *c = calloc(1, sizeof(*c));

    if (!c)
        abort();
    while (c->n < members)
        if (!add_member(c, run, chunk)) {
            (void)!err_set(err, UNAVAILABLE, "no process for a backfill side by side: %s",
                           strerrordesc_np(errno));
            crew_close(c);
            return NULL;
        }
    return c;
}

static bool add_member(struct crew *c, const struct session_options *run, size_t chunk)
{
    int ends[2];
    pid_t owner = getpid(), pid;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
        return false;
    pid = fork();
    if (pid == 0)
        be_member(ends[1], owner, run, chunk);
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return false;
    }
    c->members[c->n++] = (struct member){.pid = pid, .fd = ends[0], .at = FREE};
    return true;
}

/* Nothing of the owner's goes along but stderr and our end: its connections stay its own. A signal ends no day, and the crew
 * when its owner hears it. */
static NORETURN void be_member(int fd, pid_t owner, const struct session_options *run, size_t chunk)
{
    struct answer answer = {0};
    struct session s;
    struct day_task task;

    if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0 || getppid() != owner || dup2(fd, THEIRS) < 0)
        _exit(EXIT_FAILURE);
    close_range(THEIRS + 1, ~0U, 0);
    (void)!session_open(&s, "aggregates_backfill", run, NULL, 0, &answer.err);
    session_holder(getpid(), &run->run_id, s.holder);
    s.lock.redis = s.redis;
    while (hear(THEIRS, &task, sizeof(task))) {
        if (!answer.err.code)
            (void)!day_aggregate(&s, &task, chunk, &answer.result, &answer.err);
        if (send(THEIRS, &answer, sizeof(answer), MSG_NOSIGNAL) != sizeof(answer))
            break;
    }
    session_close(&s);
    _exit(EXIT_SUCCESS);
}

static bool hear(int fd, void *ret, size_t size)
{
    ssize_t n;

    do
        n = recv(fd, ret, size, 0);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)size;
}

void crew_close(struct crew *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n; i++)
        close(c->members[i].fd);
    for (size_t i = 0; i < c->n; i++)
        while (waitpid(c->members[i].pid, NULL, 0) < 0 && errno == EINTR)
            ;
    free(c);
}

enum status crew_make(struct crew *c, struct lock *lock, struct crew_day *days, size_t n, struct err *err)
{
    struct err lost = {0};
    size_t next = 0;

    for (size_t i = 0; i < n; i++)
        days[i].done = false;
    do {
        if (!err->code && !session_stopping())
            next = hand_out(c, days, next, n, err);
        take_answers(c, days, err);
        if (!lost.code && lock_renew(lock, &lost) && !err->code)
            *err = lost;
    } while (anyone_works(c) || (next < n && !err->code && !session_stopping()));
    return err->code;
}

/* Returns the index of the first day that nobody has taken. */
static size_t hand_out(struct crew *c, const struct crew_day *days, size_t next, size_t n, struct err *err)
{
    for (size_t i = 0; i < c->n && next < n; i++) {
        struct member *m = &c->members[i];

        if (m->at != FREE)
            continue;
        if (send(m->fd, &days[next].task, sizeof(days[next].task), MSG_NOSIGNAL) != sizeof(days[next].task)) {
            (void)!err_set(err, UNAVAILABLE, "a process of the backfill has ended");
            return next;
        }
        m->at = (int)next++;
    }
    return next;
}

static bool anyone_works(const struct crew *c)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->members[i].at != FREE)
            return true;
    return false;
}

/* Waits for one at least, or a while. */
static void take_answers(struct crew *c, struct crew_day *days, struct err *err)
{
    struct pollfd fds[CREW_MAX];

    for (size_t i = 0; i < c->n; i++)
        fds[i] = (struct pollfd){.fd = c->members[i].at == FREE ? -1 : c->members[i].fd, .events = POLLIN};
    if (!anyone_works(c) || poll(fds, c->n, LOOK_MS) <= 0)
        return;
    for (size_t i = 0; i < c->n; i++)
        if (fds[i].revents)
            take_answer(&c->members[i], days, err);
}

/* The first error is told. */
static void take_answer(struct member *m, struct crew_day *days, struct err *err)
{
    struct answer answer = {0};
    int at = m->at;

    m->at = FREE;
    if (!hear(m->fd, &answer, sizeof(answer)))
        (void)!err_set(&answer.err, UNAVAILABLE, "a process of the backfill has ended");
    if (answer.err.code) {
        if (!err->code)
            *err = answer.err;
        return;
    }
    days[at].result = answer.result;
    days[at].done = true;
}
