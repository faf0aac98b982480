#include "server.h"

#include "answer.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/now.h"
#include "evloop.h"
#include "framing.h"
#include "health.h"
#include "peers.h"

#include <h2o/http1.h>

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <time.h>

enum {
    TURN_MS = 100,       /* longest wait: what is due without a deadline of its own is looked at so often */
    ACCEPTS_A_TURN = 16, /* a flood of connections must not starve those that have one */
    LAME_MS = 100,       /* at least: answers what was on its way when the listener closed */
    HALF_MS = 1000, /* then: for the rest of a request that has begun. Others wait for the next gateway */
    SPARE_DESCRIPTORS = 128, /* stores, logs, pipes */
    BACKLOG_MAX = 4096,      /* what listen.c asks for */
    CHORES_MAX = 12,
    EVENTS_A_TURN = 64,
    CROWDED_US = 500, /* a turn that takes so long had many clients */
    REQUESTS_A_CONNECTION =
        1000, /* then it is closed: what heaps up with one ends with it, and callers spread anew */
    REQUESTS_AT_MOST = 1100, /* whatever was sent behind it */
    COMPLAIN_S = 10,
    PEER_TIMEOUT_MS = 5000, /* for a client that does not take its answer */
};

struct handler {
    h2o_handler_t super;
    struct server *server;
};

/* Who is connected; lives as long as the socket. */
struct guest {
    struct server *server;
    uint64_t ticket; /* of peers */
    unsigned nrequests;
    bool is_late; /* the drain had begun: it was never told that its connection stays */
};

struct server {
    h2o_loop_t *loop;
    h2o_globalconf_t config;
    h2o_context_t context;
    h2o_accept_ctx_t accept;
    h2o_socket_t *listener; /* NULL once closed */
    server_request *on_request;
    server_malformed *on_malformed;
    void *request_ctx;
    struct {
        server_chore *run;
        void *ctx;
    } chores[CHORES_MAX], on_hup; /* of which run may be NULL */
    size_t nchores;
    size_t nconnections, max_connections;
    struct peers *peers;
    unsigned max_per_address;
    uint64_t nturned_away; /* connections since the last line about them */
    int64_t complain_again_us;
    size_t held;
    int64_t boot_us, wall_us; /* of this turn; 0: not read yet */
    int64_t accept_again_us;  /* accept failed for want of descriptors: not before this; 0: it did not */
    int64_t drain_began_us;   /* 0: not draining */
    int64_t lame_began_us;    /* the listener is closed; 0: not yet */
    size_t nearly;            /* connections that are older than the drain */
    unsigned linger_ms, drain_ms;
    int signals;
    struct watch *signal_watch;
    bool shut, listening, again, killed, broken;
};

static void configure(struct server *s, const struct server_limits *limits);
static size_t connections_allowed(size_t wanted);
static bool take_signals(struct server *s, struct err *err);
static void on_connection(h2o_socket_t *listener, const char *err);
static bool accept_one(struct server *s);
static struct guest *let_in(struct server *s, h2o_socket_t *sock);
static void complain(struct server *s, const struct sockaddr *from);
static void on_connection_closed(void *connected);
static void listen_if_room(struct server *s);
static int on_request(h2o_handler_t *self, h2o_req_t *req);
static bool is_last_sent(const h2o_req_t *req, const h2o_buffer_t *input);
static void turn(struct server *s);
static void look_past_the_crowd(struct server *s);
static void on_signal(void *server);
static void begin_drain(struct server *s);
static bool lingers(struct server *s);
static void let_nobody_in(struct server *s);
static bool is_done(struct server *s);
static size_t in_flight(struct server *s);
static int count_if_in_flight(h2o_req_t *req, void *count);
static size_t half_read(struct server *s);
static int count_if_half_read(h2o_req_t *req, void *count);
static void close_idle_connections(struct server *s);

/*
 * h2o takes the time of its deadlines from gettimeofday, so a step of the wall clock would fire all of them or
 * none. This definition stands before libc's: boot time, shifted once so that Date headers come out right.
 */
int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
    static int64_t shift_us;
    int64_t boot_us = now_boot_us();

    (void)zone;
    if (shift_us == 0)
        shift_us = now_wall_us() - boot_us;
    tv->tv_sec = (time_t)((boot_us + shift_us) / SECOND_US);
    tv->tv_usec = (boot_us + shift_us) % SECOND_US;
    return 0;
}

/*
 * Nor can h2o be told how many clients a turn may have. With its 256 a store stands idle for the milliseconds that they take,
 * since what it has answered is seen between two turns. This stands before libc's as well.
 */
int epoll_wait(int epoll, struct epoll_event *events, int most, int wait_ms)
{
    return epoll_pwait(epoll, events, most < EVENTS_A_TURN ? most : EVENTS_A_TURN, wait_ms, NULL);
}

struct server *server_open(int listener, const struct server_limits *limits, struct err *err)
{
    const unsigned peer_timeout_ms = PEER_TIMEOUT_MS;
    struct server *s = calloc(1, sizeof(*s));

    if (!s)
        abort();
    s->loop = h2o_evloop_create();
    if (!take_signals(s, err)) {
        free(s);
        return NULL;
    }
    s->max_connections = connections_allowed(limits->max_connections);
    s->peers = peers_open(limits->max_per_address, limits->exempt, limits->nexempt, s->max_connections);
    s->max_per_address = limits->max_per_address;
    s->linger_ms = limits->linger_ms;
    s->drain_ms = limits->drain_ms;
    s->shut = limits->begins_shut;
    configure(s, limits);
    h2o_context_init(&s->context, s->loop, &s->config);
    s->accept = (h2o_accept_ctx_t){.ctx = &s->context, .hosts = s->config.hosts};
    /* Accepted sockets inherit it. Fails on a unix socket, which needs none. */
    (void)setsockopt(listener, IPPROTO_TCP, TCP_USER_TIMEOUT, &peer_timeout_ms, sizeof(peer_timeout_ms));
    s->listener = h2o_evloop_socket_create(s->loop, listener, H2O_SOCKET_FLAG_DONT_READ);
    s->listener->data = s;
    listen_if_room(s);
    return s;
}

void server_let_in(struct server *s)
{
    s->shut = false;
    listen_if_room(s);
}

static void configure(struct server *s, const struct server_limits *limits)
{
    h2o_hostconf_t *host;
    struct handler *handler;

    h2o_config_init(&s->config);
    s->config.server_name = h2o_iovec_init(NULL, 0);
    s->config.max_request_entity_size = limits->max_body_bytes;
    s->config.http1.req_timeout = limits->request_ms;
    s->config.http1.upgrade_to_http2 = 0; /* nor by the preface: 2.2.5 lacks the fixes for reset floods */
    host = h2o_config_register_host(&s->config, h2o_iovec_init(H2O_STRLIT("settle")), 65535);
    handler = (struct handler *)h2o_create_handler(&host->fallback_path, sizeof(*handler));
    handler->super.on_req = on_request;
    handler->server = s;
}

static size_t connections_allowed(size_t wanted)
{
    struct rlimit descriptors;
    size_t room;

    if (getrlimit(RLIMIT_NOFILE, &descriptors) != 0)
        return wanted;
    descriptors.rlim_cur = descriptors.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &descriptors);
    (void)getrlimit(RLIMIT_NOFILE, &descriptors);
    room = descriptors.rlim_cur / 2;
    if (descriptors.rlim_cur > 2 * SPARE_DESCRIPTORS)
        room = descriptors.rlim_cur - SPARE_DESCRIPTORS;
    return wanted < room ? wanted : room;
}

static bool take_signals(struct server *s, struct err *err)
{
    sigset_t blocked, taken;

    sigemptyset(&taken);
    sigaddset(&taken, SIGTERM);
    sigaddset(&taken, SIGHUP);
    blocked = taken;
    sigaddset(&blocked, SIGINT); /* a terminal sends it to every process of the group: the parent decides */
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    s->signals = signalfd(-1, &taken, SFD_NONBLOCK | SFD_CLOEXEC);
    if (s->signals < 0) {
        err_set(err, BROKEN, "signalfd: %s", strerror(errno));
        return false;
    }
    s->signal_watch = watch_open(s->loop, s->signals, on_signal, s);
    return true;
}

void server_close(struct server *s)
{
    h2o_multithread_queue_t *queue;

    if (!s)
        return;
    watch_close(s->signal_watch);
    close(s->signals);
    if (s->listener)
        h2o_socket_close(s->listener);
    s->listener = NULL;
    if (in_flight(s) > 0)
        return; /* ended in haste: h2o cannot let go of them, the end of the process will */
    close_idle_connections(s);
    h2o_evloop_run(s->loop, 0); /* frees what was closed */
    queue = s->context.queue;
    h2o_context_dispose(&s->context);
    free(queue); /* 2.2.5 forgets it */
    h2o_config_dispose(&s->config);
    h2o_evloop_destroy(s->loop);
    peers_close(s->peers);
    free(s);
}

void server_handle(struct server *s, server_request *handle, server_malformed *malformed, void *ctx)
{
    s->on_request = handle;
    s->on_malformed = malformed;
    s->request_ctx = ctx;
}

void server_limit_bodies(struct server *s, size_t max_body_bytes)
{
    s->config.max_request_entity_size = max_body_bytes;
}

void server_add_chore(struct server *s, server_chore *chore, void *ctx)
{
    assert(s->nchores < CHORES_MAX);
    s->chores[s->nchores].run = chore;
    s->chores[s->nchores++].ctx = ctx;
}

void server_on_hup(struct server *s, server_chore *on_hup, void *ctx)
{
    s->on_hup.run = on_hup;
    s->on_hup.ctx = ctx;
}

void server_hold(struct server *s)
{
    s->held++;
}

void server_release(struct server *s)
{
    assert(s->held > 0);
    s->held--;
}

size_t server_max_connections(const struct server *s)
{
    return s->max_connections;
}

bool server_is_draining(const struct server *s)
{
    return s->lame_began_us != 0;
}

void server_again(struct server *s)
{
    s->again = true;
}

h2o_loop_t *server_loop(struct server *s)
{
    return s->loop;
}

int64_t server_boot_us(struct server *s)
{
    if (s->boot_us == 0)
        s->boot_us = now_boot_us();
    return s->boot_us;
}

int64_t server_wall_us(struct server *s)
{
    if (s->wall_us == 0)
        s->wall_us = now_wall_us();
    return s->wall_us;
}

static void on_connection(h2o_socket_t *listener, const char *err)
{
    struct server *s = listener->data;

    (void)err;
    for (unsigned i = 0; i < ACCEPTS_A_TURN && s->nconnections < s->max_connections; i++)
        if (!accept_one(s))
            break;
    listen_if_room(s);
}

static bool accept_one(struct server *s)
{
    h2o_socket_t *sock = h2o_evloop_socket_accept(s->listener);
    struct guest *guest;

    if (!sock) {
        /* Out of descriptors or memory, the listener stays readable: to go on would spin. */
        if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
            s->accept_again_us = server_boot_us(s) + TURN_MS * 1000;
        return false;
    }
    guest = let_in(s, sock);
    if (!guest) {
        h2o_socket_close(sock);
        return true;
    }
    sock->on_close.cb = on_connection_closed;
    sock->on_close.data = guest;
    metric_set(CONNECTIONS, METRIC_NO_PLATFORM, 0, (double)++s->nconnections);
    h2o_accept(&s->accept, sock);
    return true;
}

static struct guest *let_in(struct server *s, h2o_socket_t *sock)
{
    struct sockaddr_storage from = {.ss_family = AF_UNSPEC};
    struct guest *guest;
    uint64_t ticket;

    (void)h2o_socket_getpeername(sock, (struct sockaddr *)&from);
    if (!peers_enter(s->peers, (const struct sockaddr *)&from, &ticket)) {
        metric_add(CONNECTIONS_REFUSED, METRIC_NO_PLATFORM, 0, 1);
        complain(s, (const struct sockaddr *)&from);
        return NULL;
    }
    guest = malloc(sizeof(*guest));
    if (!guest)
        abort();
    *guest = (struct guest){.server = s, .ticket = ticket, .is_late = s->drain_began_us != 0};
    return guest;
}

/* One line in ten seconds; the metric counts all. */
static void complain(struct server *s, const struct sockaddr *from)
{
    char address[NI_MAXHOST];

    s->nturned_away++;
    if (server_boot_us(s) < s->complain_again_us)
        return;
    if (getnameinfo(from, sizeof(struct sockaddr_storage), address, sizeof(address), NULL, 0, NI_NUMERICHOST))
        address[0] = '\0';
    log_warn("connections_refused", LOG_INT("connections", (int64_t)s->nturned_away),
             LOG_TEXT("address", address), LOG_INT("open", s->max_per_address),
             LOG_TEXT("cure",
                      "if it is a proxy of yours, name it in ingest.trusted_proxies; else it has more open "
                      "than ingest.max_connections_per_address"));
    s->complain_again_us = server_boot_us(s) + COMPLAIN_S * SECOND_US;
    s->nturned_away = 0;
}

static void on_connection_closed(void *connected)
{
    struct guest *guest = connected;
    struct server *s = guest->server;

    peers_leave(s->peers, guest->ticket);
    s->nearly -= s->drain_began_us != 0 && !guest->is_late;
    free(guest);
    metric_set(CONNECTIONS, METRIC_NO_PLATFORM, 0, (double)--s->nconnections);
    listen_if_room(s);
}

static void listen_if_room(struct server *s)
{
    bool room = s->listener && !s->shut && s->nconnections < s->max_connections && s->accept_again_us == 0;

    if (room == s->listening)
        return;
    s->listening = room;
    if (room)
        h2o_socket_read_start(s->listener, on_connection);
    else if (s->listener)
        h2o_socket_read_stop(s->listener);
}

static int on_request(h2o_handler_t *self, h2o_req_t *req)
{
    struct server *s = ((struct handler *)self)->server;
    h2o_socket_t *sock = req->conn->callbacks->get_socket(req->conn);
    const h2o_buffer_t *input = sock->input;
    struct guest *guest = sock->on_close.data;
    struct err err = {0};
    bool chunked;

    if (framing_check((struct span){input->bytes, input->size}, &chunked, &err)) {
        struct id id = id_make(server_wall_us(s));
        req->http1_is_persistent = 0; /* who knows where the next request begins */
        answer_problem(req, &id, &err);
        if (s->on_malformed)
            s->on_malformed(s->request_ctx);
        return 0;
    }
    guest->nrequests++;
    if (chunked || guest->nrequests >= REQUESTS_AT_MOST ||
        (guest->nrequests >= REQUESTS_A_CONNECTION && is_last_sent(req, input)))
        req->http1_is_persistent = 0;
    s->on_request(s->request_ctx, req);
    return 0;
}

/* To close on what was sent behind it would cut the answer off. */
static bool is_last_sent(const h2o_req_t *req, const h2o_buffer_t *input)
{
    const char *end = input->bytes + input->size;
    const char *head = memmem(input->bytes, input->size, "\r\n\r\n", 4);

    return req->entity.len > 0 ? req->entity.base + req->entity.len == end : head && head + 4 == end;
}

bool server_run(struct server *s)
{
    while (!is_done(s))
        turn(s);
    return in_flight(s) == 0 && !s->broken;
}

static void turn(struct server *s)
{
    int32_t wait_ms = s->again ? 0 : TURN_MS;

    s->again = false;
    s->boot_us = s->wall_us = 0;
    if (h2o_evloop_run(s->loop, wait_ms) != 0 && errno != EINTR) {
        log_error("loop_failed", LOG_TEXT("why", strerror(errno)));
        s->broken = true; /* a descriptor was closed behind the loop's back: the parent starts us afresh */
    }
    if (s->boot_us != 0 && now_boot_us() - s->boot_us > CROWDED_US)
        look_past_the_crowd(s);
    health_turn(server_boot_us(s));
    if (s->accept_again_us != 0 && server_boot_us(s) >= s->accept_again_us) {
        s->accept_again_us = 0;
        listen_if_room(s);
    }
    for (size_t i = 0; i < s->nchores; i++)
        s->chores[i].run(s->chores[i].ctx);
    if (s->drain_began_us != 0 && s->listener && !lingers(s))
        let_nobody_in(s);
}

/* Many clients were ready: more may be, and whoever else is stands behind them. */
static void look_past_the_crowd(struct server *s)
{
    watches_look();
    if (s->listening)
        on_connection(s->listener, NULL);
}

static void on_signal(void *server)
{
    struct server *s = server;
    struct signalfd_siginfo info;

    while (read(s->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        bool draining = s->drain_began_us != 0;

        if (info.ssi_signo == SIGHUP && !draining && s->on_hup.run)
            s->on_hup.run(s->on_hup.ctx);
        else if (info.ssi_signo == SIGTERM && draining)
            s->killed = true;
        else if (info.ssi_signo == SIGTERM)
            begin_drain(s);
    }
}

static void begin_drain(struct server *s)
{
    s->drain_began_us = server_boot_us(s);
    s->nearly = s->nconnections;
    /* Requests read from now on are answered with Connection: close. h2o's own call for it would also start a
     * timer of HTTP/2 that outlives the context. */
    s->context.shutdown_requested = 1;
}

/* Whoever keeps a connection may be sending on it at this moment: to close it now would cost him that request. His next
 * answer tells him instead. Those who call meanwhile are served as ever, so that nobody waits for this. */
static bool lingers(struct server *s)
{
    return s->nearly > 0 && server_boot_us(s) - s->drain_began_us < (int64_t)s->linger_ms * 1000;
}

static void let_nobody_in(struct server *s)
{
    s->lame_began_us = server_boot_us(s);
    for (unsigned i = 0; i < BACKLOG_MAX && s->nconnections < s->max_connections; i++)
        if (!accept_one(s)) /* who is in the backlog was let in */
            break;
    h2o_socket_close(s->listener);
    s->listener = NULL;
    s->listening = false;
}

static bool is_done(struct server *s)
{
    int64_t now_us = server_boot_us(s);

    if (s->killed || s->broken)
        return true;
    if (s->lame_began_us == 0 || now_us - s->lame_began_us < LAME_MS * 1000)
        return false;
    if (now_us - s->drain_began_us >= (int64_t)s->drain_ms * 1000)
        return true;
    return in_flight(s) == 0 && (now_us - s->lame_began_us >= HALF_MS * 1000 || half_read(s) == 0);
}

/* Requests that were read and whose answer has not left, and what goes on without a request. */
static size_t in_flight(struct server *s)
{
    size_t n = s->held;

    s->config.http1.callbacks.foreach_request(&s->context, count_if_in_flight, &n);
    return n;
}

static int count_if_in_flight(h2o_req_t *req, void *count)
{
    if (req->version != 0 && req->processed_at.str) /* h2o clears them after the answer */
        ++*(size_t *)count;
    return 0;
}

/* Of which the body is still to come, as slowly as its sender likes. */
static size_t half_read(struct server *s)
{
    size_t n = 0;

    s->config.http1.callbacks.foreach_request(&s->context, count_if_half_read, &n);
    return n;
}

static int count_if_half_read(h2o_req_t *req, void *count)
{
    if (req->version != 0 &&
        !req->processed_at.str) /* the one is set with the head, the other when all is there */
        ++*(size_t *)count;
    return 0;
}

/* h2o has no call for it, but each of them waits for its next request on this list of deadlines. */
static void close_idle_connections(struct server *s)
{
    h2o_timeout_run(s->loop, &s->context.http1.req_timeout, UINT64_MAX);
}
