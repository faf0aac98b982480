/* serve: one process that starts all jobs when they are due, in place of cron or timers. Of several such processes one
 * leads, by the lock that jobs have too; the others wait for it to end. A run is a process of this program with the lock of
 * its job, so that cron, timers and people may start the same jobs at any time. */
#include "children.h"
#include "command.h"
#include "schedule.h"

#include "base/log.h"
#include "base/notify.h"
#include "base/now.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum {
    WAIT_LEAST_MS = 10,
    WAIT_MOST_MS = 1000,
    FOLLOW_MS = 3000,    /* between two tries to lead, or to reach the stores */
    AGAIN_MS = 1000,     /* before a run that did not begin is started again */
    REDIS_AGAIN_S = 30,  /* between two looks whether Redis is back */
    CHILDREN_END_S = 45, /* so long may runs take to end when told to; less than the unit's TimeoutStopSec */
};

struct server {
    struct session_options options;
    struct session session;
    struct children children;
    sigset_t usual; /* the signals' mask while it waits */
    bool open;      /* the session is; the stores were reached */
    bool leads;
    bool said_away, said_follows; /* logged once, not at each try */
    int64_t led_since_us;         /* of the database: what this one has planned is due later */
    int64_t try_boot_us;          /* not before this: reach the stores, try to lead */
    int64_t redis_boot_us;        /* not before this: look for Redis */
    int64_t again_boot_us;        /* not before this: start again what did not begin */
    int64_t wait_ms;              /* until something is due */
};

static int run(int argc, char **argv);
static error_t parse_option(int key, char *value, struct argp_state *state);
static void catch_signals(struct server *v);
static void on_hup(int signal);
static void on_child(int signal);
static int serve(struct server *v, struct err *err);
static void turn(struct server *v);
static enum status reach(struct server *v, struct err *err);
static void leave(struct server *v, const struct err *err);
static enum status try_to_lead(struct server *v, struct err *err);
static enum status lead(struct server *v, struct err *err);
static void mend_redis(struct server *v);
static enum status see_to(struct server *v, const struct schedule_row *row, struct err *err);
static bool never_began(const struct child *child);
static enum status start_again(struct server *v, const struct schedule_row *row, const struct child *child,
                               struct err *err);
static bool has_ended(const struct schedule_row *row, const struct child *child, struct schedule_ending *ret,
                      char *room, size_t size);
static enum status pass(struct server *v, const struct schedule_row *row, struct err *err);
static enum status start(struct server *v, const struct schedule_row *row, struct err *err);
static enum status spawn(struct server *v, const struct schedule_row *row, const struct id *run_id,
                         const char *trigger, struct err *err);
static void note_wait(struct server *v, const struct schedule_row *row);
static void read_settings(struct server *v);
static void stop(struct server *v);
static void wait_a_while(const struct server *v);

const struct command serve_command = {"serve",
                                      "start all jobs when they are due, as one of several if need be", run};

static const struct argp argp = {
    .parser = parse_option,
    .children = session_children,
    .doc =
        "Runs until TERM, and starts each job when schedules.JOB says. Several may run on different "
        "machines: "
        "one leads, and another goes on when it ends. Cron, timers and people may start the same jobs "
        "besides.\vHUP reads the settings again. TERM ends runs after the batch they are at. Exit codes: 0 "
        "told to end, 78 settings.",
};

static volatile sig_atomic_t told_to_read;

static int run(int argc, char **argv)
{
    static struct server server;
    struct server *v = &server;
    struct err err = {0};
    int code;

    session_options_init(&v->options);
    argp_parse(&argp, argc, argv, 0, NULL, &v->options);
    catch_signals(v);
    if (notify_open(&err)) {
        log_error("not_started", LOG_ERR(&err));
        return exit_code(&err);
    }
    code = serve(v, &err);
    if (code)
        log_error("not_started", LOG_ERR(&err));
    session_close(&v->session);
    notify_close();
    return code;
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct session_options *o = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = o;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\" is no option", value);
        return 0;
    case ARGP_KEY_END:
        if (o->dry_run)
            argp_error(state, "--dry-run: there is none; `settle-reconciler status` tells what is due");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* They come while it waits, and at no other time; TERM and INT are the session's. */
static void catch_signals(struct server *v)
{
    const struct sigaction hup = {.sa_handler = on_hup}, child = {.sa_handler = on_child};
    sigset_t ours;

    sigemptyset(&ours);
    sigaddset(&ours, SIGTERM);
    sigaddset(&ours, SIGINT);
    sigaddset(&ours, SIGHUP);
    sigaddset(&ours, SIGCHLD);
    sigprocmask(SIG_BLOCK, &ours, &v->usual);
    sigaction(SIGHUP, &hup, NULL);
    sigaction(SIGCHLD, &child, NULL);
}

static void on_hup(int signal)
{
    (void)signal;
    told_to_read = 1;
}

/* Only ends the wait. */
static void on_child(int signal)
{
    (void)signal;
}

/* Stores that are away are waited for; settings that are wrong are not. */
static int serve(struct server *v, struct err *err)
{
    if (reach(v, err) && err->code == INVALID)
        return exit_code(err);
    notify_send("READY=1");
    while (!session_stopping()) {
        if (told_to_read)
            read_settings(v);
        turn(v);
        /* Ready again at each turn, also after a reload: the manager's queue may have been full. */
        notify_send("READY=1\nWATCHDOG=1\nSTATUS=%s", v->leads  ? "leads"
                                                      : v->open ? "another one leads"
                                                                : "waits for Postgres");
        wait_a_while(v);
    }
    stop(v);
    return EX_OK;
}

static void turn(struct server *v)
{
    struct err err = {0};

    v->wait_ms = WAIT_MOST_MS;
    children_reap(&v->children);
    if (!v->leads && (session_stopping() || now_boot_us() < v->try_boot_us))
        return;
    if (!v->open && reach(v, &err))
        return;
    if ((!v->leads && try_to_lead(v, &err)) || (v->leads && lead(v, &err))) {
        leave(v, &err);
        return;
    }
    children_forget_ended(&v->children);
}

static enum status reach(struct server *v, struct err *err)
{
    v->try_boot_us = now_boot_us() + FOLLOW_MS * INT64_C(1000);
    v->options.run_id = id_make(now_wall_us());
    if (session_open(&v->session, "serve", &v->options, NULL, 0, err)) {
        session_close(&v->session);
        if (!v->said_away)
            log_warn("stores_away", LOG_ERR(err));
        v->said_away = true;
        return err->code;
    }
    v->open = true;
    v->said_away = false;
    v->try_boot_us = 0;
    return OK;
}

/* Runs go on: they have locks of their own. */
static void leave(struct server *v, const struct err *err)
{
    bool lost = err->cause && strcmp(err->cause, "fence_lost") == 0;

    log_warn(lost ? "lead_lost" : "stores_away", LOG_ERR(err));
    v->leads = false;
    v->try_boot_us = now_boot_us() + FOLLOW_MS * INT64_C(1000);
    if (lost) {
        lock_release(&v->session.lock); /* of what it still has of it */
        v->session.lock.epoch = 0;
        return;
    }
    session_close(&v->session);
    v->open = false;
    v->said_away = true;
}

static enum status try_to_lead(struct server *v, struct err *err)
{
    v->try_boot_us = now_boot_us() + FOLLOW_MS * INT64_C(1000);
    if (session_lock(&v->session, err)) {
        if (err->code != BUSY)
            return err->code;
        if (!v->said_follows)
            log_info("follows", LOG_ERR(err));
        v->said_follows = true;
        return OK;
    }
    if (schedule_note(&v->session, "start", err) || schedule_plan(&v->session, &v->led_since_us, err) ||
        schedule_start(&v->session, v->led_since_us, err))
        return err->code;
    v->leads = true;
    v->said_follows = false;
    log_info("leads", LOG_INT("epoch", v->session.lock.epoch));
    return OK;
}

static enum status lead(struct server *v, struct err *err)
{
    struct schedule schedule;

    mend_redis(v);
    if (lock_renew(&v->session.lock, err) || schedule_read(&v->session, &schedule, err))
        return err->code;
    for (size_t i = 0; i < schedule.n; i++)
        if (see_to(v, &schedule.rows[i], err))
            return err->code;
    return OK;
}

static void mend_redis(struct server *v)
{
    if (now_boot_us() < v->redis_boot_us)
        return;
    v->redis_boot_us = now_boot_us() + REDIS_AGAIN_S * SECOND_US;
    session_mend_redis(&v->session);
}

/* First what has ended is ended; whatever is due then begins in the next turn, which comes at once. */
static enum status see_to(struct server *v, const struct schedule_row *row, struct err *err)
{
    const struct child *child = row->state == RUN_NONE ? NULL : children_find(&v->children, &row->run_id);
    struct schedule_ending ending;
    char room[64];

    if (row->state == RUN_NONE)
        return start(v, row, err);
    if (row->state == RUN_LOST && (!child || never_began(child)))
        return start_again(v, row, child, err);
    if (!has_ended(row, child, &ending, room, sizeof(room)))
        return pass(v, row, err);
    v->wait_ms = 0;
    return schedule_end(&v->session, row, &ending, err);
}

/* Told to end, or killed, or without a store, before it had a row: the same again may well succeed. */
static bool never_began(const struct child *child)
{
    return child->ended && (child->exit_code > KILLED_BY || child->exit_code == EX_UNAVAILABLE);
}

/* Nobody has run what was taken. If not now, whoever leads next does. */
static enum status start_again(struct server *v, const struct schedule_row *row, const struct child *child,
                               struct err *err)
{
    if (child)
        v->again_boot_us = now_boot_us() + AGAIN_MS * INT64_C(1000);
    if (child || session_stopping() || now_boot_us() < v->again_boot_us)
        return pass(v, row, err);
    return spawn(v, row, &row->run_id, "startup", err);
}

/* By its row in job_runs, which another leader sees as we do; of our own children we know more. */
static bool has_ended(const struct schedule_row *row, const struct child *child, struct schedule_ending *ret,
                      char *room, size_t size)
{
    char holder[HOLDER_BYTES];

    *ret = (struct schedule_ending){.state = row->state,
                                    .exit_code = child ? child->exit_code : -1,
                                    .error = row->error[0] ? row->error : NULL};
    if (child && !child->ended)
        return false;
    if (row->state == RUN_SUCCESS || row->state == RUN_FAILED || row->state == RUN_SKIPPED)
        return true;
    if (row->state == RUN_ALIVE && child) {
        session_holder(child->pid, &row->run_id, holder);
        if (strcmp(holder, row->holder) != 0) /* the same run was started by two: the other one has it */
            return false;
    }
    if ((row->state == RUN_ALIVE || row->state == RUN_LOST) && !child)
        return false;
    ret->was_killed = row->state != RUN_LOST;
    ret->state = RUN_FAILED;
    ret->error = room;
    if (!child)
        snprintf(room, size, "its lock has run out");
    else if (child->exit_code > KILLED_BY)
        snprintf(room, size, "ended by signal %d", child->exit_code - KILLED_BY);
    else
        snprintf(room, size, "exit code %d", child->exit_code);
    return true;
}

/* A job is not started twice: what comes meanwhile is noted as skipped. */
static enum status pass(struct server *v, const struct schedule_row *row, struct err *err)
{
    if (row->next_due_us == TIME_NONE)
        return OK;
    if (row->next_due_us <= row->now_us)
        return schedule_skip(&v->session, row, err);
    note_wait(v, row);
    return OK;
}

/* The due time is taken before the run is started. Who is killed or frozen in between leaves its id behind, under which
 * the next leader starts it; of two processes with one id one begins. */
static enum status start(struct server *v, const struct schedule_row *row, struct err *err)
{
    bool late = row->next_due_us <= v->led_since_us, taken;
    const char *trigger = late ? "startup" : "schedule";
    struct id run_id = id_make(row->now_us);

    if (row->next_due_us == TIME_NONE || session_stopping())
        return OK;
    note_wait(v, row);
    if (row->next_due_us > row->now_us)
        return row->is_wanted || schedule_is_too_late(&v->session, row) ? schedule_wake(&v->session, row, err)
                                                                        : OK;
    if (schedule_take(&v->session, row, &run_id, trigger, &taken, err))
        return err->code;
    return taken ? spawn(v, row, &run_id, trigger, err) : OK;
}

/* What cannot be started now is as if it had been lost: the next turn tries again. */
static enum status spawn(struct server *v, const struct schedule_row *row, const struct id *run_id,
                         const char *trigger, struct err *err)
{
    if (children_start(&v->children, row->kind->name, run_id, trigger, v->options.config_path, err))
        log_error("job_not_started", LOG_TEXT("job", row->kind->name), LOG_ERR(err));
    err->code = OK;
    return OK;
}

static void note_wait(struct server *v, const struct schedule_row *row)
{
    int64_t ms = (row->next_due_us - row->now_us) / 1000 + 1;

    if (ms < v->wait_ms)
        v->wait_ms = ms;
}

/* Each run reads them itself; here they are the schedules and the pace. */
static void read_settings(struct server *v)
{
    struct err err = {0};
    struct config *fresh;

    told_to_read = 0;
    if (!v->open) /* it reads them when it is */
        return;
    notify_send("RELOADING=1");
    fresh = config_open(v->options.config_path, environ, NULL, 0, &err);
    if (fresh) {
        config_close(v->session.config);
        v->session.config = fresh;
        log_open("settle-reconciler", fresh->log.level);
        log_info("settings_read", LOG_BOOL("leads", v->leads));
    } else {
        log_error("settings_refused", LOG_ERR(&err));
    }
    if (fresh && v->leads && schedule_plan(&v->session, NULL, &err))
        leave(v, &err);
}

/* Runs end after the batch they are at; meanwhile it leads on, so that their ends are noted. */
static void stop(struct server *v)
{
    int64_t until_boot_us = now_boot_us() + CHILDREN_END_S * SECOND_US;
    struct err err = {0};

    notify_send("STOPPING=1");
    children_signal(&v->children, SIGTERM);
    while (children_running(&v->children) > 0 && now_boot_us() < until_boot_us) {
        turn(v);
        notify_send("WATCHDOG=1");
        wait_a_while(v);
    }
    children_signal(&v->children, SIGKILL);
    turn(v); /* notes what has ended last */
    if (v->leads && schedule_note(&v->session, "stop", &err))
        log_warn("stop_not_noted", LOG_ERR(&err));
    log_info("stopped", LOG_BOOL("led", v->leads));
}

static void wait_a_while(const struct server *v)
{
    int64_t ms = v->wait_ms < WAIT_LEAST_MS ? WAIT_LEAST_MS : v->wait_ms;
    const struct timespec wait = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    (void)ppoll(NULL, 0, &wait, &v->usual); /* a signal ends it */
}
