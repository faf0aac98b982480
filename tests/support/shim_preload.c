/* shim_preload: stands before the C library in other programs (shim.h). The true times come from the kernel itself, so
 * that it works before anything else is set up. */
#include "support/shim_control.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static struct shim_control none, *control = &none;

__attribute__((constructor)) static void find_control(void)
{
    const char *path = getenv(SHIM_VARIABLE);
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *at = fd >= 0 ? mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;

    if (at != MAP_FAILED)
        control = at;
    if (fd >= 0)
        close(fd);
}

static int shifted(clockid_t clock, struct timespec *ret)
{
    bool wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI;
    int64_t by_us = 0, ns;

    if (syscall(SYS_clock_gettime, clock, ret) != 0)
        return -1;
    if (wall)
        by_us = atomic_load(&control->wall_us);
    else if (clock == CLOCK_BOOTTIME)
        by_us = atomic_load(&control->boot_us);
    ns = ret->tv_nsec + by_us % 1000000 * 1000 + 1000000000;
    ret->tv_sec += by_us / 1000000 + ns / 1000000000 - 1;
    ret->tv_nsec = ns % 1000000000;
    return 0;
}

int clock_gettime(clockid_t clock, struct timespec *ret)
{
    return shifted(clock, ret);
}

int timespec_get(struct timespec *ret, int base)
{
    return base == TIME_UTC && shifted(CLOCK_REALTIME, ret) == 0 ? base : 0;
}

int gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
    struct timespec t;

    (void)zone;
    if (shifted(CLOCK_REALTIME, &t) != 0)
        return -1;
    *ret = (struct timeval){.tv_sec = t.tv_sec, .tv_usec = t.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *ret)
{
    struct timespec t = {0};

    shifted(CLOCK_REALTIME, &t);
    if (ret)
        *ret = t.tv_sec;
    return t.tv_sec;
}

int getaddrinfo(const char *restrict host, const char *restrict service,
                const struct addrinfo *restrict wanted, struct addrinfo **restrict ret)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    uint32_t ms = atomic_load(&control->names_delay_ms);

    atomic_fetch_add(&control->nnames, 1);
    if (ms > 0)
        nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
    if (atomic_load(&control->names_fail))
        return EAI_AGAIN;
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(host, service, wanted, ret);
}

/* Who has said the word, in this era. */
static bool counts(const void *bytes, size_t len)
{
    static _Atomic uint32_t said_in;
    uint32_t era = atomic_load(&control->era);

    if (atomic_load(&said_in) != era && memmem(bytes, len, control->word, strlen(control->word)))
        atomic_store(&said_in, era);
    return atomic_load(&said_in) == era;
}

static void before_send(const void *bytes, size_t len)
{
    uint32_t signal = atomic_load(&control->signal), at = atomic_load(&control->signal_nth);

    if (signal && counts(bytes, len)) {
        uint32_t nth = atomic_fetch_add(&control->nsends, 1) + 1;

        if (at == 0 || at == nth)
            kill(getpid(), (int)signal);
    }
}

ssize_t send(int fd, const void *bytes, size_t len, int flags)
{
    before_send(bytes, len);
    return syscall(SYS_sendto, fd, bytes, len, flags, NULL, 0);
}

/* hiredis sends by this. */
ssize_t write(int fd, const void *bytes, size_t len)
{
    int kind;

    if (atomic_load(&control->signal) &&
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &(socklen_t){sizeof(kind)}) == 0)
        before_send(bytes, len);
    return syscall(SYS_write, fd, bytes, len);
}
