#include "parent.h"

#include "base/log.h"
#include "base/metric.h"
#include "base/notify.h"
#include "base/now.h"
#include "health.h"
#include "keys.h"
#include "reload.h"
#include "sandbox.h"
#include "storms.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

enum {
    BACKOFF_FIRST_MS = 100,
    BACKOFF_MAX_MS = 5000,
    WAIT_MS = 1000,
    START_LOOK_MS = 20, /* until all children turn, when somebody waits for it */
    FEEDINGS = 4,       /* in the time after which the watchdog acts */
    STATUS_BYTES = 96,
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
    /* What the service manager was told, and has heard: the rest is said again at the next turn. */
    bool told_ready, told_stuck;
    int64_t feed_us; /* boot time: the watchdog, next */
    char told_status[STATUS_BYTES];
};

static sigset_t block_signals(void);
static void start_due(struct parent *p);
static void start(struct parent *p, struct child *c);
static int run_child(struct parent *p, struct child *c, pid_t parent);
static void forget_needless(const struct process *p);
static void enter_sandbox(const struct process *p);
static void tell_manager(struct parent *p);
static bool all_turn(const struct parent *p);
static void feed(struct parent *p);
static void tell_status(struct parent *p);
static int next_signal(const struct parent *p, const sigset_t *signals);
static int64_t next_start_us(const struct parent *p);
static void on_child(struct parent *p);
static void tell_end(struct parent *p, const struct child *c, int status);
static void on_hup(struct parent *p);
static int64_t monotonic_us(void);
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
        tell_manager(&p);
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
    notify_close();
    forget_needless(&c->process);
    enter_sandbox(&c->process);
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

/* The admin's process starts the reconciler. */
static void enter_sandbox(const struct process *p)
{
    const char *spool = strcmp(p->role, "ingest") == 0 ? p->settings->config->spool.folder : NULL;
    const char *const writable[] = {spool, NULL};

    if (strcmp(p->role, "admin") != 0)
        log_info("sandbox", LOG_TEXT("role", p->role), LOG_BOOL("entered", sandbox_enter(writable)));
}

static void tell_manager(struct parent *p)
{
    if (!notify_is_open())
        return;
    if (!p->told_ready && p->kill_at_us == 0 && all_turn(p))
        p->told_ready = notify_send("READY=1");
    if (now_boot_us() >= p->feed_us)
        feed(p);
    if (p->kill_at_us == 0)
        tell_status(p);
}

/* Not: can store. A start that waited for Postgres would be given up, and come back to the same. */
static bool all_turn(const struct parent *p)
{
    int64_t now_us = now_boot_us();

    for (const struct child *c = p->children; c < p->children + p->n; c++) {
        struct health_place h = health_place(c->process.place, now_us);

        if (c->pid == 0 || h.role == HEALTH_NOBODY || !h.turned_lately)
            return false;
    }
    return true;
}

/* A worker that hangs is what only an end of all can mend. A drain has a deadline of its own. */
static void feed(struct parent *p)
{
    int64_t now_us = now_boot_us();
    bool goes_on = p->kill_at_us != 0 || health_ingest_goes_on(now_us);

    p->feed_us = now_us + notify_watchdog_us() / FEEDINGS;
    if (notify_watchdog_us() == 0)
        p->feed_us = INT64_MAX;
    else if (goes_on)
        notify_send("WATCHDOG=1");
    if (goes_on == p->told_stuck && notify_watchdog_us() != 0)
        log_at(
            goes_on ? LOG_INFO : LOG_ERROR, goes_on ? "watchdog_fed_again" : "watchdog_not_fed",
            LOG_TEXT("why",
                     goes_on ? "" : "an ingest worker does not turn, or does not get done with what it has"));
    p->told_stuck = !goes_on;
}

static void tell_status(struct parent *p)
{
    int64_t now_us = now_boot_us();
    char status[STATUS_BYTES];
    size_t n = 0, able = 0;

    for (size_t i = 0; i < p->n; i++) {
        struct health_place h = health_place(i, now_us);

        n += strcmp(p->children[i].process.role, "ingest") == 0;
        able += h.role == HEALTH_INGEST && h.turned_lately && h.can_store;
    }
    snprintf(status, sizeof(status), "%zu of %zu ingest workers can store", able, n);
    if (strcmp(status, p->told_status) == 0)
        return;
    if (notify_send("STATUS=%s", status))
        snprintf(p->told_status, sizeof(p->told_status), "%s", status);
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
    if (notify_is_open() && !p->told_ready && p->kill_at_us == 0)
        next_us = now_boot_us() + START_LOOK_MS * 1000;
    if (notify_is_open() && p->feed_us < next_us)
        next_us = p->feed_us;
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
    struct platforms *fresh;

    if (p->told_ready)
        notify_send("RELOADING=1\nMONOTONIC_USEC=%" PRId64, monotonic_us());
    fresh = reload_read(p->settings);
    if (p->told_ready)
        p->told_ready = notify_send("READY=1");
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

/* The manager's clock, which unlike ours stands still while the machine sleeps. */
static int64_t monotonic_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * SECOND_US + now.tv_nsec / 1000;
}

static void on_end(struct parent *p)
{
    bool again = p->kill_at_us != 0;

    log_info("ending", LOG_BOOL("at_once", again));
    health_drain();
    notify_send("STOPPING=1\nSTATUS=answering what has come in");
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
