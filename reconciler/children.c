#include "children.h"

#include "base/attr.h"
#include "base/log.h"
#include "base/now.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_NOT_STARTED = 71 /* EX_OSERR */ };

#define OURSELVES "/proc/self/exe" /* also when the file was replaced meanwhile */

static struct child *free_place(struct children *c);
static NORETURN void become(const char *const *words, pid_t parent);
static void note_end(struct child *child, int status);

enum status children_start(struct children *c, const char *job, const struct id *run_id, const char *trigger,
                           const char *config_path, struct err *err)
{
    char run[ID_TEXT_BYTES];
    const char *words[] = {"settle-reconciler", job,     "--json",   "--run-id",  run, "--trigger", trigger,
                           "--actor",           "serve", "--config", config_path, NULL};
    struct child *child = free_place(c);
    pid_t parent = getpid(), pid;

    if (!child)
        return err_set(err, BUSY, "%d runs of this process have not ended", CHILDREN_MAX);
    if (!config_path)
        words[countof(words) - 3] = NULL;
    id_text(run_id, run);
    pid = fork();
    if (pid < 0)
        return err_set(err, UNAVAILABLE, "no process for job %s: %s", job, strerrordesc_np(errno));
    if (pid == 0)
        become(words, parent);
    *child = (struct child){.pid = pid, .job = job, .run_id = *run_id, .began_boot_us = now_boot_us()};
    log_info("job_started", LOG_TEXT("job", job), LOG_ID("run_id", run_id), LOG_TEXT("trigger", trigger),
             LOG_INT("child", pid));
    return OK;
}

static struct child *free_place(struct children *c)
{
    for (size_t i = 0; i < countof(c->at); i++)
        if (c->at[i].pid == 0)
            return &c->at[i];
    return NULL;
}

/* In the new process. Nothing of ours goes along but stderr. */
static void become(const char *const *words, pid_t parent)
{
    sigset_t none;
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0 || getppid() != parent)
        _exit(EXIT_NOT_STARTED);
    dup2(null, STDIN_FILENO);
    dup2(STDERR_FILENO, STDOUT_FILENO);
    close_range(STDERR_FILENO + 1, ~0U, 0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv(OURSELVES, (char *const *)(uintptr_t)words);
    _exit(EXIT_NOT_STARTED);
}

struct child *children_find(struct children *c, const struct id *run_id)
{
    for (size_t i = 0; i < countof(c->at); i++)
        if (c->at[i].pid && memcmp(&c->at[i].run_id, run_id, sizeof(*run_id)) == 0)
            return &c->at[i];
    return NULL;
}

void children_reap(struct children *c)
{
    for (size_t i = 0; i < countof(c->at); i++) {
        struct child *child = &c->at[i];
        int status;

        if (child->pid && !child->ended && waitpid(child->pid, &status, WNOHANG) == child->pid)
            note_end(child, status);
    }
}

static void note_end(struct child *child, int status)
{
    child->ended = true;
    child->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : KILLED_BY + WTERMSIG(status);
    log_at(child->exit_code ? LOG_WARN : LOG_INFO, "job_ended", LOG_TEXT("job", child->job),
           LOG_ID("run_id", &child->run_id), LOG_INT("exit_code", child->exit_code),
           LOG_INT("duration_ms", (now_boot_us() - child->began_boot_us) / 1000));
}

size_t children_running(const struct children *c)
{
    size_t n = 0;

    for (size_t i = 0; i < countof(c->at); i++)
        n += c->at[i].pid && !c->at[i].ended;
    return n;
}

void children_signal(const struct children *c, int signal)
{
    for (size_t i = 0; i < countof(c->at); i++)
        if (c->at[i].pid && !c->at[i].ended)
            kill(c->at[i].pid, signal);
}

void children_forget_ended(struct children *c)
{
    for (size_t i = 0; i < countof(c->at); i++)
        if (c->at[i].ended)
            c->at[i] = (struct child){.pid = 0};
}
