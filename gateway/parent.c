#include "parent.h"

#include "base/log.h"
#include "base/metric.h"
#include "base/now.h"
#include "health.h"
#include "keys.h"
#include "reload.h"
#include "storms.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

enum {
    BACKOFF_FIRST_MS = 100,
    BACKOFF_MAX_MS = 5000,
    WAIT_MS = 1000,
    GRACE_MS = 1000, /* on top of DRAIN_MS */
};

/* Lived so long: whatever ended it is not what ended it at its start. */
#define STEADY_US (10 * SECOND_US)

struct parent {
    struct child *children;
    size_t n;
    struct settings *settings;
    int64_t kill_at_us; /* boot time; 0: not ending */
    int exit_code;
};

static sigset_t block_signals(void);
static void start_due(struct parent *p);
static void start(struct parent *p, struct child *c);
static int run_child(struct parent *p, struct child *c, pid_t parent);
static void forget_needless(const struct process *p);
static int next_signal(const struct parent *p, const sigset_t *signals);
static int64_t next_start_us(const struct parent *p);
static void on_child(struct parent *p);
static void tell_end(struct parent *p, const struct child *c, int status);
static void on_hup(struct parent *p);
static void on_end(struct parent *p);
static bool ends_last(const struct child *c);
static void end_the_last(const struct parent *p);
static void signal_all(const struct parent *p, int signal);
static bool any_runs(const struct parent *p);

int parent_run(struct child *children, size_t n, struct settings *settings)
{
    struct parent p = {.children = children, .n = n, .settings = settings};
    sigset_t signals = block_signals();

    while (p.kill_at_us == 0 || any_runs(&p)) {
        if (p.kill_at_us == 0)
            start_due(&p);
        else if (now_boot_us() >= p.kill_at_us)
            signal_all(&p, SIGKILL);
        storms_turn(p.settings->platforms, now_boot_us());
        switch (next_signal(&p, &signals)) {
        case SIGCHLD:
            on_child(&p);
            if (p.kill_at_us != 0)
                end_the_last(&p);
            break;
        case SIGTERM:
        case SIGINT:
            on_end(&p);
            break;
        case SIGHUP:
            if (p.kill_at_us == 0)
                on_hup(&p);
            break;
        default: /* nothing came in time */
            break;
        }
    }
    log_info("ended", LOG_INT("exit_code", p.exit_code));
    return p.exit_code;
}

static sigset_t block_signals(void)
{
    sigset_t signals;

    signal(SIGPIPE, SIG_IGN); /* a client or store that has gone is an error of write, not the end of us */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    return signals;
}

static void start_due(struct parent *p)
{
    int64_t now_us = now_boot_us();

    for (struct child *c = p->children; c < p->children + p->n; c++)
        if (c->pid == 0 && now_us >= c->start_again_us)
            start(p, c);
}

static void start(struct parent *p, struct child *c)
{
    pid_t parent = getpid(), pid = fork();

    c->started_us = now_boot_us();
    if (pid == 0)
        exit(run_child(p, c, parent));
    if (pid < 0) {
        log_error("fork_failed", LOG_TEXT("role", c->process.role), LOG_TEXT("why", strerror(errno)));
        c->start_again_us = c->started_us + BACKOFF_MAX_MS * 1000;
        return;
    }
    c->pid = pid;
    log_info("started", LOG_TEXT("role", c->process.role), LOG_INT("place", (int64_t)c->process.place),
             LOG_INT("child", pid));
}

static int run_child(struct parent *p, struct child *c, pid_t parent)
{
    sigset_t child_signals;

    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) /* it ended before that call */
        return EX_SOFTWARE;
    prctl(PR_SET_NAME, c->process.role);
    for (const struct child *other = p->children; other < p->children + p->n; other++)
        if (other != c)
            close(other->process.listener);
    sigemptyset(&child_signals);
    sigaddset(&child_signals, SIGCHLD);
    sigprocmask(SIG_UNBLOCK, &child_signals, NULL);
    metric_slot(c->process.place + 1);
    forget_needless(&c->process);
    return c->run(&c->process);
}

/* Whoever takes a process over should find in it only what its role needs. */
static void forget_needless(const struct process *p)
{
    if (strcmp(p->role, "admin") != 0)
        config_forget(p->settings->config, "admin.reconciler_database_url");
    if (strcmp(p->role, "ingest") != 0)
        settings_forget_secrets(p->settings);
}

/* 0: none came before something was due. */
static int next_signal(const struct parent *p, const sigset_t *signals)
{
    int64_t wait_us = next_start_us(p) - now_boot_us();
    struct timespec wait = {.tv_nsec = 1000};
    int signal;

    if (wait_us > 0)
        wait = (struct timespec){.tv_sec = wait_us / SECOND_US, .tv_nsec = wait_us % SECOND_US * 1000};
    signal = sigtimedwait(signals, NULL, &wait);
    return signal > 0 ? signal : 0;
}

static int64_t next_start_us(const struct parent *p)
{
    int64_t next_us = now_boot_us() + WAIT_MS * 1000;

    for (const struct child *c = p->children; c < p->children + p->n; c++)
        if (c->pid == 0 && c->start_again_us < next_us && p->kill_at_us == 0)
            next_us = c->start_again_us;
    return p->kill_at_us != 0 && p->kill_at_us < next_us ? p->kill_at_us : next_us;
}

static void on_child(struct parent *p)
{
    pid_t pid;
    int status;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (struct child *c = p->children; c < p->children + p->n; c++)
            if (c->pid == pid) {
                tell_end(p, c, status);
                if (now_boot_us() - c->started_us > STEADY_US || c->backoff_ms == 0)
                    c->backoff_ms = BACKOFF_FIRST_MS;
                c->pid = 0;
                c->start_again_us = now_boot_us() + c->backoff_ms * 1000;
                c->backoff_ms = c->backoff_ms * 2 < BACKOFF_MAX_MS ? c->backoff_ms * 2 : BACKOFF_MAX_MS;
            }
}

static void tell_end(struct parent *p, const struct child *c, int status)
{
    bool unasked = p->kill_at_us == 0;

    if (unasked)
        metric_add(WORKER_RESTARTS, METRIC_NO_PLATFORM, 0, 1);
    else if (status != 0)
        p->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : EX_SOFTWARE;
    log_at(unasked || status != 0 ? LOG_WARN : LOG_INFO, "process_ended", LOG_TEXT("role", c->process.role),
           LOG_INT("child", c->pid), LOG_INT("exit_code", WIFEXITED(status) ? WEXITSTATUS(status) : -1),
           LOG_INT("signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0));
}

/* Its own set first: a broken one is found here, and no worker hears of it. One that ends meanwhile is started with it.
 * Workers read for themselves, as memory is not shared; they know the places of keys and sources from here. */
static void on_hup(struct parent *p)
{
    struct platforms *fresh = reload_read(p->settings);

    if (!fresh)
        return;
    platforms_close(p->settings->platforms);
    p->settings->platforms = fresh;
    keys_take(fresh);
    storms_take(fresh);
    settings_log_idle(fresh);
    for (const struct child *c = p->children; c < p->children + p->n; c++)
        if (c->pid > 0 && strcmp(c->process.role, "ingest") == 0)
            kill(c->pid, SIGHUP);
}

static void on_end(struct parent *p)
{
    bool again = p->kill_at_us != 0;

    log_info("ending", LOG_BOOL("at_once", again));
    health_drain();
    if (!again) /* the children's are then the last: when they close them, callers are refused */
        for (struct child *c = p->children; c < p->children + p->n; c++)
            close(c->process.listener);
    p->kill_at_us = now_boot_us() + ((again ? 0 : DRAIN_MS) + GRACE_MS) * 1000;
    for (const struct child *c = p->children; c < p->children + p->n; c++)
        if (c->pid > 0 && (again || !ends_last(c)))
            kill(c->pid, SIGTERM);
    end_the_last(p);
}

/* The monitor says "not ready" until there is nothing left to ask. */
static bool ends_last(const struct child *c)
{
    return strcmp(c->process.role, "monitor") == 0;
}

static void end_the_last(const struct parent *p)
{
    for (const struct child *c = p->children; c < p->children + p->n; c++)
        if (c->pid > 0 && !ends_last(c))
            return;
    signal_all(p, SIGTERM);
}

static void signal_all(const struct parent *p, int signal)
{
    for (const struct child *c = p->children; c < p->children + p->n; c++)
        if (c->pid > 0)
            kill(c->pid, signal);
}

static bool any_runs(const struct parent *p)
{
    for (const struct child *c = p->children; c < p->children + p->n; c++)
        if (c->pid > 0)
            return true;
    return false;
}
