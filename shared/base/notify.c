#include "base/notify.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { MESSAGE_BYTES = 512, SEND_MS = 100 };

static int manager = -1;
static int64_t watchdog_us;

static int connect_to(const char *name);
static int64_t read_watchdog(void);
static bool is_for_now(int failure);

enum status notify_open(struct err *err)
{
    const char *name = getenv("NOTIFY_SOCKET");

    watchdog_us = read_watchdog();
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    if (!name)
        return OK;
    manager = connect_to(name);
    if (manager < 0)
        err_set(err, INVALID, "NOTIFY_SOCKET: \"%s\" cannot be reached: %s", name, strerror(errno));
    unsetenv("NOTIFY_SOCKET"); /* no child of ours speaks for us */
    return manager < 0 ? INVALID : OK;
}

/* "@" stands for the NUL that abstract names begin with. */
static int connect_to(const char *name)
{
    const struct timeval patience = {.tv_usec = SEND_MS * 1000};
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t len = strlen(name);
    int fd;

    if ((name[0] != '/' && name[0] != '@') || len >= sizeof(to.sun_path)) {
        errno = EINVAL;
        return -1;
    }
    memcpy(to.sun_path, name, len);
    if (name[0] == '@')
        to.sun_path[0] = '\0';
    else
        len++;
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience,
                     sizeof(patience)); /* a manager that hangs is not to hang us */
    if (connect(fd, (const struct sockaddr *)&to,
                (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) == 0)
        return fd;
    close(fd);
    return -1;
}

static int64_t read_watchdog(void)
{
    const char *us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");

    if (!us || (pid && strtol(pid, NULL, 10) != getpid()))
        return 0;
    return strtoll(us, NULL, 10);
}

void notify_close(void)
{
    if (manager >= 0)
        close(manager);
    manager = -1;
    watchdog_us = 0;
}

bool notify_is_open(void)
{
    return manager >= 0;
}

int64_t notify_watchdog_us(void)
{
    return manager >= 0 && watchdog_us > 0 ? watchdog_us : 0;
}

bool notify_send(const char *format, ...)
{
    char message[MESSAGE_BYTES];
    va_list args;
    int len;

    if (manager < 0)
        return true;
    va_start(args, format);
    len = vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    if (len >= MESSAGE_BYTES)
        len = MESSAGE_BYTES - 1;
    return len <= 0 || send(manager, message, (size_t)len, MSG_NOSIGNAL) >= 0 || !is_for_now(errno);
}

static bool is_for_now(int failure)
{
    return failure == EAGAIN || failure == ENOBUFS || failure == EINTR;
}
