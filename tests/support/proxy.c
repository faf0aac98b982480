#include "support/proxy.h"

#include "base/now.h"
#include "support/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { LANES = 2, CHUNK_BYTES = 65536, HELD_BYTES_MAX = 4 * CHUNK_BYTES, PAIRS_MAX = 500, SERVER_S = 1 };

/* Bytes on their way; none: the end of the stream. */
struct chunk {
    struct chunk *next;
    int64_t due_us;
    size_t len, sent;
    char bytes[];
};

/* One way of one connection. */
struct lane {
    int from, to;
    struct chunk *first, *last;
    size_t held_bytes;
    bool ended; /* nothing more comes */
    bool lost;  /* nobody is there any more to take it */
};

struct pair {
    struct lane lanes[LANES];
    bool cut;
    struct pair *next;
};

/* What all connections suffer that way. */
struct weather {
    unsigned delay_ms;
    bool swallow;
    bool cuts;
    uint64_t left_bytes; /* until the cut */
    uint64_t passed_bytes;
};

struct proxy {
    pthread_t thread;
    pthread_mutex_t lock; /* over all below; the thread lets it go while it waits */
    pthread_cond_t turned;
    unsigned long asked, obeyed; /* turns of the thread */
    struct weather weather[LANES];
    bool over, refuse, cut_all;
    int wake, reserve, listener; /* reserve: keeps the port ours while nobody listens */
    struct sockaddr_in at;
    struct sockaddr_storage to;
    socklen_t to_len;
    struct pair *pairs;
    size_t npairs;
};

static void read_address(struct proxy *p, const char *to);
static void take_port(struct proxy *p);
static void listen_again(struct proxy *p);
static void begin_change(struct proxy *p);
static void end_change(struct proxy *p);
static void wait_for_turn(struct proxy *p);
static void *run(void *proxy);
static void wait_for_something(struct proxy *p);
static nfds_t watch(struct proxy *p, struct pollfd *at, int64_t *ret_due_us);
static bool wants(const struct lane *in, const struct lane *out, struct pollfd *ret, int64_t *due_us);
static void obey(struct proxy *p);
static void take_call(struct proxy *p);
static int call_server(const struct proxy *p);
static void serve(struct proxy *p, struct pair *pair);
static void take_in(struct proxy *p, struct pair *pair, size_t way);
static void queue(struct lane *l, const char *bytes, size_t len, int64_t due_us);
static void pass_on(struct proxy *p, struct pair *pair, size_t way);
static bool pass_chunk(struct weather *weather, struct lane *l, struct pair *pair);
static void drop_first(struct lane *l);
static bool is_over(const struct pair *pair);
static void hang_up(struct proxy *p, struct pair **at);
static void reset(int fd);

struct proxy *proxy_open(const char *to)
{
    struct proxy *p = calloc(1, sizeof(*p));

    assert_non_null(p);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->turned, NULL);
    p->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_true(p->wake >= 0);
    read_address(p, to);
    take_port(p);
    listen_again(p);
    assert_int_equal(pthread_create(&p->thread, NULL, run, p), 0);
    return p;
}

static void read_address(struct proxy *p, const char *to)
{
    const struct addrinfo wanted = {.ai_socktype = SOCK_STREAM};
    struct sockaddr_un *local = (struct sockaddr_un *)&p->to;
    struct addrinfo *found;
    char host[128];

    if (strncmp(to, "unix:", 5) == 0) {
        local->sun_family = AF_UNIX;
        assert_true(strlen(to + 5) < sizeof(local->sun_path));
        snprintf(local->sun_path, sizeof(local->sun_path), "%s", to + 5);
        p->to_len = sizeof(*local);
        return;
    }
    assert_non_null(strrchr(to, ':'));
    snprintf(host, sizeof(host), "%.*s", (int)(strrchr(to, ':') - to), to);
    if (getaddrinfo(host, strrchr(to, ':') + 1, &wanted, &found) != 0)
        fail_msg("no such address: %s", to);
    memcpy(&p->to, found->ai_addr, found->ai_addrlen);
    p->to_len = found->ai_addrlen;
    freeaddrinfo(found);
}

static void take_port(struct proxy *p)
{
    socklen_t len = sizeof(p->at);
    int on = 1;

    p->at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    p->reserve = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(p->reserve, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    assert_int_equal(bind(p->reserve, (struct sockaddr *)&p->at, len), 0);
    assert_int_equal(getsockname(p->reserve, (struct sockaddr *)&p->at, &len), 0);
}

static void listen_again(struct proxy *p)
{
    int on = 1;

    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(p->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(p->listener, (struct sockaddr *)&p->at, sizeof(p->at)) != 0 || listen(p->listener, 128) != 0) {
        perror("the proxy cannot listen");
        abort(); /* on its thread nobody could fail the test */
    }
}

void proxy_close(struct proxy *p)
{
    if (!p)
        return;
    begin_change(p);
    p->over = p->cut_all = p->refuse = true;
    end_change(p);
    pthread_join(p->thread, NULL);
    close(p->reserve);
    close(p->wake);
    pthread_cond_destroy(&p->turned);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

unsigned proxy_port(const struct proxy *p)
{
    return ntohs(p->at.sin_port);
}

void proxy_delay(struct proxy *p, enum way way, unsigned ms)
{
    begin_change(p);
    for (size_t i = 0; i < LANES; i++)
        if (way & (1 << i))
            p->weather[i].delay_ms = ms;
    end_change(p);
}

void proxy_swallow(struct proxy *p, enum way way)
{
    begin_change(p);
    for (size_t i = 0; i < LANES; i++)
        if (way & (1 << i))
            p->weather[i].swallow = true;
    end_change(p);
}

void proxy_cut_after(struct proxy *p, enum way way, uint64_t bytes)
{
    begin_change(p);
    for (size_t i = 0; i < LANES; i++)
        if (way & (1 << i)) {
            p->weather[i].cuts = true;
            p->weather[i].left_bytes = bytes;
        }
    end_change(p);
}

void proxy_cut(struct proxy *p)
{
    begin_change(p);
    p->cut_all = true;
    end_change(p);
}

void proxy_refuse(struct proxy *p)
{
    begin_change(p);
    p->refuse = p->cut_all = true;
    end_change(p);
}

void proxy_heal(struct proxy *p)
{
    begin_change(p);
    p->refuse = false;
    for (size_t i = 0; i < LANES; i++) {
        p->weather[i].delay_ms = 0;
        p->weather[i].swallow = p->weather[i].cuts = false;
    }
    end_change(p);
}

size_t proxy_nopen(struct proxy *p)
{
    size_t n;

    pthread_mutex_lock(&p->lock);
    n = p->npairs;
    pthread_mutex_unlock(&p->lock);
    return n;
}

uint64_t proxy_bytes(struct proxy *p, enum way way)
{
    uint64_t bytes = 0;

    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < LANES; i++)
        if (way & (1 << i))
            bytes += p->weather[i].passed_bytes;
    pthread_mutex_unlock(&p->lock);
    return bytes;
}

/* What was sent before is taken in under what held before. */
static void begin_change(struct proxy *p)
{
    pthread_mutex_lock(&p->lock);
    wait_for_turn(p);
}

static void end_change(struct proxy *p)
{
    wait_for_turn(p);
    pthread_mutex_unlock(&p->lock);
}

static void wait_for_turn(struct proxy *p)
{
    unsigned long mine = ++p->asked;

    eventfd_write(p->wake, 1);
    while (p->obeyed < mine)
        pthread_cond_wait(&p->turned, &p->lock);
}

static void *run(void *proxy)
{
    struct proxy *p = proxy;
    bool over;

    pthread_mutex_lock(&p->lock);
    do {
        struct pair **at = &p->pairs;

        wait_for_something(p);
        obey(p);
        if (p->listener >= 0)
            take_call(p);
        while (*at) {
            serve(p, *at);
            if ((*at)->cut || is_over(*at))
                hang_up(p, at);
            else
                at = &(*at)->next;
        }
        over = p->over;
        p->obeyed = p->asked;
        pthread_cond_broadcast(&p->turned);
    } while (!over);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static void wait_for_something(struct proxy *p)
{
    struct pollfd at[2 * PAIRS_MAX + 2] = {
        {.fd = p->wake, .events = POLLIN}
    };
    int64_t due_us = INT64_MAX, left_us;
    nfds_t n = watch(p, at, &due_us);
    eventfd_t woken;

    left_us = due_us == INT64_MAX ? INT64_MAX : due_us - now_boot_us();
    pthread_mutex_unlock(&p->lock);
    poll(at, n, left_us == INT64_MAX ? -1 : left_us <= 0 ? 0 : (int)(left_us / 1000) + 1);
    eventfd_read(p->wake, &woken);
    pthread_mutex_lock(&p->lock);
}

static nfds_t watch(struct proxy *p, struct pollfd *at, int64_t *ret_due_us)
{
    nfds_t n = 1;

    if (p->listener >= 0 && p->npairs < PAIRS_MAX)
        at[n++] = (struct pollfd){.fd = p->listener, .events = POLLIN};
    for (const struct pair *pair = p->pairs; pair; pair = pair->next)
        for (size_t i = 0; i < LANES; i++)
            n += wants(&pair->lanes[i], &pair->lanes[1 - i], &at[n], ret_due_us);
    return n;
}

/* in.from is out.to. One that wants nothing is not looked at: that its peer is gone would wake us for ever. */
static bool wants(const struct lane *in, const struct lane *out, struct pollfd *ret, int64_t *due_us)
{
    *ret = (struct pollfd){.fd = in->from};
    if (!in->ended && in->held_bytes < HELD_BYTES_MAX)
        ret->events |= POLLIN;
    if (out->first && out->first->due_us <= now_boot_us())
        ret->events |= POLLOUT;
    else if (out->first && out->first->due_us < *due_us)
        *due_us = out->first->due_us;
    return ret->events != 0;
}

static void obey(struct proxy *p)
{
    for (struct pair *pair = p->pairs; pair; pair = pair->next)
        pair->cut |= p->cut_all;
    p->cut_all = false;
    if (p->refuse && p->listener >= 0) {
        close(p->listener);
        p->listener = -1;
    } else if (!p->refuse && p->listener < 0) {
        listen_again(p);
    }
}

static void take_call(struct proxy *p)
{
    while (p->npairs < PAIRS_MAX) {
        int client = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), server, on = 1;
        struct pair *pair;

        if (client < 0)
            return;
        server = call_server(p);
        if (server < 0) {
            reset(client);
            continue;
        }
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        pair = calloc(1, sizeof(*pair));
        pair->lanes[0] = (struct lane){.from = client, .to = server};
        pair->lanes[1] = (struct lane){.from = server, .to = client};
        pair->next = p->pairs;
        p->pairs = pair;
        p->npairs++;
    }
}

/* A server on this machine takes or refuses a call at once, unless it is frozen and its queue full. */
static int call_server(const struct proxy *p)
{
    const struct timeval patience = {.tv_sec = SERVER_S};
    int fd = socket(p->to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(fd, (const struct sockaddr *)&p->to, p->to_len) == 0)
        return fd;
    close(fd);
    return -1;
}

static void serve(struct proxy *p, struct pair *pair)
{
    for (size_t i = 0; i < LANES && !pair->cut; i++) {
        take_in(p, pair, i);
        pass_on(p, pair, i);
    }
}

static void take_in(struct proxy *p, struct pair *pair, size_t way)
{
    const struct weather *weather = &p->weather[way];
    struct lane *l = &pair->lanes[way];
    char bytes[CHUNK_BYTES];

    while (!l->ended && l->held_bytes < HELD_BYTES_MAX) {
        ssize_t n = recv(l->from, bytes, sizeof(bytes), MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        l->ended = n <= 0;
        if (weather->swallow) {
            pair->lanes[1 - way].lost |= n < 0; /* it is gone, and nobody hears of it */
            continue;
        }
        pair->cut |= n < 0;
        queue(l, bytes, n > 0 ? (size_t)n : 0, now_boot_us() + weather->delay_ms * INT64_C(1000));
    }
}

static void queue(struct lane *l, const char *bytes, size_t len, int64_t due_us)
{
    struct chunk *c = malloc(sizeof(*c) + len);

    *c = (struct chunk){.due_us = due_us, .len = len};
    memcpy(c->bytes, bytes, len);
    if (l->first)
        l->last->next = c;
    else
        l->first = c;
    l->last = c;
    l->held_bytes += len;
}

static void pass_on(struct proxy *p, struct pair *pair, size_t way)
{
    struct lane *l = &pair->lanes[way];
    int64_t now_us = now_boot_us();

    while (l->first && l->first->due_us <= now_us && !pair->cut)
        if (!pass_chunk(&p->weather[way], l, pair))
            return;
}

/* False: no room there now. */
static bool pass_chunk(struct weather *weather, struct lane *l, struct pair *pair)
{
    struct chunk *c = l->first;
    size_t len = c->len - c->sent;
    ssize_t n;

    if (c->len == 0) {
        shutdown(l->to, SHUT_WR);
    } else {
        if (weather->cuts && weather->left_bytes < len)
            len = weather->left_bytes;
        n = l->lost || len == 0 ? (ssize_t)len
                                : send(l->to, c->bytes + c->sent, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return false;
        pair->cut |= n < 0;
        n = n < 0 ? 0 : n;
        c->sent += (size_t)n;
        weather->passed_bytes += (uint64_t)n;
        if (weather->cuts) {
            weather->left_bytes -= (uint64_t)n;
            pair->cut |= weather->left_bytes == 0;
            weather->cuts = weather->left_bytes > 0;
        }
    }
    if (c->sent == c->len)
        drop_first(l);
    return true;
}

static void drop_first(struct lane *l)
{
    struct chunk *c = l->first;

    l->first = c->next;
    l->held_bytes -= c->len;
    free(c);
}

static bool is_over(const struct pair *pair)
{
    for (size_t i = 0; i < LANES; i++)
        if (!pair->lanes[i].ended || pair->lanes[i].first)
            return false;
    return true;
}

static void hang_up(struct proxy *p, struct pair **at)
{
    struct pair *pair = *at;

    *at = pair->next;
    p->npairs--;
    for (size_t i = 0; i < LANES; i++) {
        while (pair->lanes[i].first)
            drop_first(&pair->lanes[i]);
        if (pair->cut)
            reset(pair->lanes[i].from);
        else
            close(pair->lanes[i].from);
    }
    free(pair);
}

/* What was sent has left: on the loopback nothing waits, unless the reader's window is full. */
static void reset(int fd)
{
    const struct linger at_once = {.l_onoff = 1};
    int unsent = 0;

    for (int i = 0; i < 100 && ioctl(fd, SIOCOUTQNSD, &unsent) == 0 && unsent > 0; i++)
        usleep(1000);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    close(fd);
}
