#include "support/fault.h"

#include "base/now.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { ATTACH_S = 20, DETACH_S = 2 };

static struct fault attach(struct world *w, pid_t pid, const char *calls, const char *what);
static bool has_attached(struct world *w, struct fault f);
static bool says_attached(const char *line, size_t len);
static bool says_tampered(const char *line, size_t len);
static unsigned count_lines(struct world *w, struct fault f,
                            bool (*is_counted)(const char *line, size_t len));
static bool is_traced(pid_t pid);
static pid_t tracer_of(pid_t pid, const char *thread);
static bool is_running(pid_t pid);

/* The gateway's workers hide from everybody but root. */
bool fault_works(struct world *w)
{
    static bool asked, works;

    if (!asked && geteuid() == 0) {
        struct process victim = world_spawn(w, "sleep", "60", NULL);
        struct fault f = attach(w, victim.pid, "getpid", "error=EIO");

        works = is_traced(victim.pid);
        fault_end(w, f);
        kill(victim.pid, SIGKILL);
        world_wait(w, victim);
    }
    asked = true;
    return works;
}

struct fault fault_inject(struct world *w, pid_t pid, const char *calls, const char *what)
{
    struct fault f = attach(w, pid, calls, what);

    if (!has_attached(w, f) && is_running(pid)) {
        kill(f.strace.pid, SIGKILL);
        fail_msg("strace cannot do %s to %s of %d: %s", what, calls, (int)pid, world_wait(w, f.strace).err);
    }
    return f;
}

/* Or strace has ended: its victim, too, or it is not allowed. */
static struct fault attach(struct world *w, pid_t pid, const char *calls, const char *what)
{
    char victim[16], trace[200], inject[300];
    struct fault f = {.victim = pid};

    snprintf(victim, sizeof(victim), "%d", (int)pid);
    snprintf(trace, sizeof(trace), "trace=%s", calls);
    snprintf(inject, sizeof(inject), "inject=%s:%s", calls, what);
    f.strace = world_spawn(w, "strace", "-f", "-p", victim, "-e", trace, "-e", inject, "-e", "signal=none",
                           "-s", "0", NULL);
    world_until(ATTACH_S, has_attached(w, f) || world_ended(f.strace));
    return f;
}

/* It says so when it has stopped all threads once; to be a thread's tracer is not yet to see its calls. */
static bool has_attached(struct world *w, struct fault f)
{
    return count_lines(w, f, says_attached) > 0;
}

static bool says_attached(const char *line, size_t len)
{
    (void)len;
    return strstr(line, " attached") != NULL;
}

unsigned fault_count(struct world *w, struct fault f)
{
    return count_lines(w, f, says_tampered);
}

/* "(INJECTED)" or "(DELAYED)" behind the result; a call that killed has none and shows "= ?" instead. */
static bool says_tampered(const char *line, size_t len)
{
    return strstr(line, "(INJECTED") || strstr(line, "(DELAYED") ||
           (len > 3 && strncmp(line + len - 3, "= ?", 3) == 0);
}

static unsigned count_lines(struct world *w, struct fault f, bool (*is_counted)(const char *line, size_t len))
{
    char path[128], line[4096];
    unsigned n = 0;
    FILE *from;

    snprintf(path, sizeof(path), "%s/err.%u", w->dir, f.strace.nth);
    from = fopen(path, "re");
    while (from && fgets(line, sizeof(line), from))
        n += is_counted(line, strcspn(line, "\n"));
    if (from)
        fclose(from);
    return n;
}

/* Asked to end while the threads of a killed process go one after the other, strace would wait for the first for ever.
 * Its own end by KILL lets them all go, but would spoil the call that a live process is in. */
void fault_end(struct world *w, struct fault f)
{
    kill(f.strace.pid, is_running(f.victim) ? SIGTERM : SIGKILL);
    for (int64_t until = world_deadline(DETACH_S); !world_ended(f.strace) && now_boot_us() < until;)
        world_look_again(INT64_MAX, "it ends");
    kill(f.strace.pid, SIGKILL);
    world_wait(w, f.strace);
}

/* All its threads, but those that have ended meanwhile. */
static bool is_traced(pid_t pid)
{
    char path[64];
    struct dirent *entry;
    bool traced = true;
    DIR *threads;

    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    threads = opendir(path);
    if (!threads)
        return false;
    while ((entry = readdir(threads)))
        if (entry->d_name[0] != '.')
            traced &= tracer_of(pid, entry->d_name) != 0;
    closedir(threads);
    return traced;
}

/* 0: none. -1: the thread is no more. */
static pid_t tracer_of(pid_t pid, const char *thread)
{
    char path[350], line[128];
    int tracer = -1;
    FILE *from;

    snprintf(path, sizeof(path), "/proc/%d/task/%s/status", (int)pid, thread);
    from = fopen(path, "re");
    while (from && fgets(line, sizeof(line), from))
        if (sscanf(line, "TracerPid: %d", &tracer) == 1)
            break;
    if (from)
        fclose(from);
    return tracer;
}

/* No zombie. */
static bool is_running(pid_t pid)
{
    char path[64], text[512] = "", state = 'X';
    FILE *from;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    from = fopen(path, "re");
    if (from && fgets(text, sizeof(text), from) && strrchr(text, ')'))
        sscanf(strrchr(text, ')'), ") %c", &state);
    if (from)
        fclose(from);
    return state != 'X' && state != 'Z';
}
