#include "support/shim.h"

#include "support/shim_control.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define ASAN_FIRST "verify_asan_link_order=0" /* a sanitizer wants to be loaded first */

struct shim {
    struct shim_control *control;
    char library[128], path[128]; /* of the control */
    char *asan_options;           /* as they were before; NULL: there were none */
};

static void extend_asan_options(struct shim *s);

/* The library is copied to where the servers' users come. They count look-ups in the file: all may write it. */
struct shim *shim_open(struct world *w)
{
    static unsigned nth;
    struct shim *s = calloc(1, sizeof(*s));
    char from[512];
    int fd;

    assert_non_null(s);
    snprintf(from, sizeof(from), "%s/tests/support/shim.so", getenv("SETTLE_BUILD"));
    snprintf(s->library, sizeof(s->library), "%s/shim.so", w->dir);
    snprintf(s->path, sizeof(s->path), "%s/shim.%u", w->dir, nth++);
    assert_int_equal(world_wait(w, world_spawn(w, "install", "-m", "0755", from, s->library, NULL)).status,
                     0);
    fd = open(s->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fchmod(fd, 0666), 0);
    assert_int_equal(ftruncate(fd, sizeof(*s->control)), 0);
    s->control = mmap(NULL, sizeof(*s->control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(s->control != MAP_FAILED);
    close(fd);
    shim_show(s);
    return s;
}

void shim_show(struct shim *s)
{
    setenv(SHIM_VARIABLE, s->path, 1);
    setenv("LD_PRELOAD", s->library, 1);
    extend_asan_options(s);
}

static void extend_asan_options(struct shim *s)
{
    char *options = NULL;

    free(s->asan_options);
    s->asan_options = getenv("ASAN_OPTIONS") ? strdup(getenv("ASAN_OPTIONS")) : NULL;
    assert_true(asprintf(&options, "%s%s" ASAN_FIRST, s->asan_options ? s->asan_options : "",
                         s->asan_options ? ":" : "") > 0);
    setenv("ASAN_OPTIONS", options, 1);
    free(options);
}

void shim_step(struct shim *s, int64_t wall_us)
{
    atomic_store(&s->control->wall_us, wall_us);
}

void shim_sleep(struct shim *s, int64_t boot_us)
{
    atomic_store(&s->control->boot_us, boot_us);
}

void shim_names(struct shim *s, unsigned delay_ms, bool fail)
{
    atomic_store(&s->control->names_delay_ms, delay_ms);
    atomic_store(&s->control->names_fail, fail);
}

unsigned shim_nnames(struct shim *s)
{
    return atomic_load(&s->control->nnames);
}

void shim_signal(struct shim *s, const char *word, unsigned nth, int signal)
{
    atomic_store(&s->control->signal, 0);
    assert_true(!word || strlen(word) < sizeof(s->control->word));
    snprintf(s->control->word, sizeof(s->control->word), "%s", word ? word : "");
    atomic_store(&s->control->nsends, 0);
    atomic_fetch_add(&s->control->era, 1);
    atomic_store(&s->control->signal_nth, nth);
    atomic_store(&s->control->signal, (uint32_t)signal);
}

unsigned shim_nsends(struct shim *s)
{
    return atomic_load(&s->control->nsends);
}

bool shim_halted(pid_t pid)
{
    char path[64], text[512] = "", state = '?';
    FILE *from;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    from = fopen(path, "re");
    if (from && fgets(text, sizeof(text), from) && strrchr(text, ')'))
        sscanf(strrchr(text, ')'), ") %c", &state);
    if (from)
        fclose(from);
    return state == 'T' || state == 'Z';
}

void shim_hide(struct shim *s)
{
    unsetenv(SHIM_VARIABLE);
    unsetenv("LD_PRELOAD");
    if (s->asan_options)
        setenv("ASAN_OPTIONS", s->asan_options, 1);
    else
        unsetenv("ASAN_OPTIONS");
}

void shim_close(struct shim *s)
{
    shim_hide(s);
    free(s->asan_options);
    munmap(s->control, sizeof(*s->control));
    free(s);
}
