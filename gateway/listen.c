#include "listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 4096, FIRST_HANDED = 3 };

union any_address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

static enum status open_tcp(const struct address *at, size_t n, int *ret_fds, struct err *err);
static enum status resolve(const struct address *at, union any_address *ret, socklen_t *ret_len,
                           struct err *err);
static bool claim_port(union any_address *to, socklen_t len);
static int bind_tcp(const union any_address *to, socklen_t len, bool shared);
static enum status open_path(const char *path, size_t n, int *ret_fds, struct err *err);
static void remove_stale(const struct sockaddr_un *to);
static size_t number_handed(void);
static bool is_listening(int fd);
static struct address address_of(char *name);

enum status listen_open(const struct address *at, size_t n, int *ret_fds, struct err *err)
{
    return at->path ? open_path(at->path, n, ret_fds, err) : open_tcp(at, n, ret_fds, err);
}

static enum status open_tcp(const struct address *at, size_t n, int *ret_fds, struct err *err)
{
    union any_address to = {.any = {.sa_family = AF_UNSPEC}};
    socklen_t len = 0;
    enum status resolved = resolve(at, &to, &len, err);

    if (resolved)
        return resolved;
    if (n > 1 && !claim_port(&to, len))
        return err_set(err, UNAVAILABLE, "cannot listen at %s:%u: %s", at->host, at->port, strerror(errno));
    for (size_t i = 0; i < n; i++) {
        ret_fds[i] = bind_tcp(&to, len, n > 1);
        if (ret_fds[i] < 0 || listen(ret_fds[i], BACKLOG) != 0)
            return err_set(err, UNAVAILABLE, "cannot listen at %s:%u: %s", at->host, at->port,
                           strerror(errno));
    }
    return OK;
}

static enum status resolve(const struct address *at, union any_address *ret, socklen_t *ret_len,
                           struct err *err)
{
    const struct addrinfo wanted = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    char port[8];
    int failure;

    snprintf(port, sizeof(port), "%u", at->port);
    failure = getaddrinfo(at->host, port, &wanted, &found);
    if (failure != 0)
        return err_set(err, failure == EAI_NONAME ? INVALID : UNAVAILABLE, "cannot listen at %s:%u: %s",
                       at->host, at->port, gai_strerror(failure));
    memcpy(ret, found->ai_addr, found->ai_addrlen);
    *ret_len = found->ai_addrlen;
    freeaddrinfo(found);
    return OK;
}

/* Sockets that share a port would also share it with those of another gateway: a socket that does not share
 * tells whether somebody is there. Also chooses the port if it is to be chosen. */
static bool claim_port(union any_address *to, socklen_t len)
{
    int probe = bind_tcp(to, len, false);
    bool is_free = probe >= 0 && getsockname(probe, &to->any, &len) == 0;
    int why = errno;

    if (probe >= 0)
        close(probe);
    errno = why;
    return is_free;
}

static int bind_tcp(const union any_address *to, socklen_t len, bool shared)
{
    const int yes = 1;
    int fd = socket(to->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), why;

    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) == 0 &&
        (!shared || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof(yes)) == 0) &&
        bind(fd, &to->any, len) == 0)
        return fd;
    why = errno;
    if (fd >= 0)
        close(fd);
    errno = why;
    return -1;
}

static enum status open_path(const char *path, size_t n, int *ret_fds, struct err *err)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
    remove_stale(&to);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&to, sizeof(to)) != 0 || listen(fd, BACKLOG) != 0)
        return err_set(err, UNAVAILABLE, "cannot listen at unix:%s: %s", path, strerror(errno));
    for (size_t i = 0; i < n; i++)
        ret_fds[i] = i == 0 ? fd : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return OK;
}

/* A socket file outlives its server: nobody answers there, so it may go. */
static void remove_stale(const struct sockaddr_un *to)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct stat file;

    if (lstat(to->sun_path, &file) == 0 && S_ISSOCK(file.st_mode) &&
        connect(fd, (const struct sockaddr *)to, sizeof(*to)) != 0 && errno == ECONNREFUSED)
        unlink(to->sun_path);
    close(fd);
}

enum status listen_take_handed(struct listen_handed *ret, struct err *err)
{
    const char *names = getenv("LISTEN_FDNAMES");
    struct span rest = span_of(names ? names : "");
    size_t n = number_handed();

    ret->n = 0;
    if (n > LISTEN_HANDED_MAX)
        return err_set(err, INVALID, "LISTEN_FDS: %zu sockets are too many: at most %d", n,
                       LISTEN_HANDED_MAX);
    for (; ret->n < n; ret->n++) {
        int fd = FIRST_HANDED + (int)ret->n;
        struct span name = span_cut(&rest, ':');

        if (!is_listening(fd))
            return err_set(err, INVALID, "LISTEN_FDS: descriptor %d is no listening stream socket", fd);
        snprintf(ret->at[ret->n].role, LISTEN_ROLE_BYTES, "%.*s", SPAN_ARG(name));
        ret->at[ret->n].fd = fd;
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
        (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    }
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDNAMES");
    return OK;
}

/* Meant for another process, if LISTEN_PID says so: then they are not ours to touch. */
static size_t number_handed(void)
{
    const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");

    if (!pid || !n || strtol(pid, NULL, 10) != getpid())
        return 0;
    return strtoul(n, NULL, 10);
}

static bool is_listening(int fd)
{
    int type = 0, listens = 0;
    socklen_t len = sizeof(int);

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM &&
           getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 && listens;
}

size_t listen_count(const struct listen_handed *handed, const char *role)
{
    size_t n = 0;

    for (size_t i = 0; i < handed->n; i++)
        n += strcmp(handed->at[i].role, role) == 0;
    return n;
}

enum status listen_hand_out(const struct listen_handed *handed, const char *role, size_t n, int *ret_fds,
                            struct err *err)
{
    size_t nthere = listen_count(handed, role), nth = 0;

    if (nthere == 0 || nthere > n)
        return err_set(err, INVALID, "%zu sockets were handed over for %zu processes", nthere, n);
    for (size_t i = 0; i < handed->n; i++)
        if (strcmp(handed->at[i].role, role) == 0)
            ret_fds[nth++] = handed->at[i].fd;
    for (; nth < n; nth++) {
        ret_fds[nth] = fcntl(ret_fds[nth - nthere], F_DUPFD_CLOEXEC, 0);
        if (ret_fds[nth] < 0)
            return err_set(err, INVALID, "a handed socket cannot be shared: %s", strerror(errno));
    }
    return OK;
}

struct address listen_address(int fd, char room[LISTEN_NAME_BYTES])
{
    listen_name(fd, room);
    return address_of(room);
}

static struct address address_of(char *name)
{
    char *colon = strrchr(name, ':');

    if (strncmp(name, "unix:", strlen("unix:")) == 0)
        return (struct address){.path = name + strlen("unix:")};
    if (!colon)
        return (struct address){.host = name};
    *colon = '\0';
    if (name[0] == '[') {
        colon[-1] = '\0';
        name++;
    }
    return (struct address){.host = name, .port = (uint16_t)strtoul(colon + 1, NULL, 10)};
}

void listen_name(int fd, char ret[LISTEN_NAME_BYTES])
{
    union any_address at = {.any = {.sa_family = AF_UNSPEC}};
    socklen_t len = sizeof(at);
    char host[INET6_ADDRSTRLEN + 16], port[8];

    snprintf(ret, LISTEN_NAME_BYTES, "?");
    if (getsockname(fd, &at.any, &len) != 0)
        return;
    if (at.any.sa_family == AF_UNIX)
        snprintf(ret, LISTEN_NAME_BYTES, "unix:%s", at.un.sun_path);
    else if (getnameinfo(&at.any, len, host, sizeof(host), port, sizeof(port),
                         NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        snprintf(ret, LISTEN_NAME_BYTES, at.any.sa_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}
