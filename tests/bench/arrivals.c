/*
 * arrivals: the load of ops/bench overload. Webhooks arrive at a constant rate, whether earlier ones were answered or
 * not, as those of many senders do, and each latency counts from the moment when its webhook was meant to leave: what
 * waits for a free connection waits on the server's account.
 *
 *     arrivals PORT FILE RECORD_BYTES CONNECTIONS RATE WARM_SECONDS SECONDS
 *
 * FILE holds requests of equal length as sign.py writes them. A webhook that was refused is sent again later in the
 * place of a new one, as its sender would. Connections are opened when they are needed and kept while the server keeps
 * them. What is meant to leave in the first WARM_SECONDS is not counted. Prints one JSON object.
 */
#include "base/attr.h"
#include "base/now.h"
#include "base/span.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 20000,
    ANSWER_BYTES = 1024,
    EVENTS_A_LOOK = 256,
    LOOK_MS = 1,            /* arrivals of so long leave together */
    LAST_ANSWERS_MS = 3000, /* what has no answer by then has none */
    RETRY_S_MAX = 120,
};

enum state { UNOPENED, CONNECTING, IDLE, WAITING };

struct connection {
    int fd;
    enum state state;
    uint32_t record;
    int64_t meant_us, sent_us;
    struct connection *next; /* among those that are free */
    size_t len;
    char answer[ANSWER_BYTES];
};

enum outcome { STORED, SPOOLED, REFUSED, OTHER, CUT, NOUTCOMES };
static const char *const outcome_names[] = {"stored", "spooled", "refused", "other", "cut"};

struct times {
    int32_t *us;
    size_t n, room;
};

struct run {
    struct sockaddr_in to;
    int epoll;
    struct span file;
    size_t record_bytes, nrecords, next_record;
    uint32_t *refused; /* records that may be sent again */
    size_t nrefused, room_refused;
    struct connection *connections, *idle, *unopened;
    int64_t start_us, count_us, end_us; /* arrivals count from count_us on */
    double gap_us;
    uint64_t narrived, nsent, nanswered, nopened, nacked;
    uint64_t noutcomes[NOUTCOMES], ngood_in_time; /* in time: answered before the end */
    uint64_t nretry[RETRY_S_MAX + 1];
    struct times from_meant[NOUTCOMES], from_sent[NOUTCOMES];
};

static struct span map_file(const char *path);
static void open_run(struct run *r, char **argv);
static void run(struct run *r);
static int64_t meant_us(const struct run *r, uint64_t nth);
static void send_due(struct run *r, int64_t now_us);
static bool take_record(struct run *r, uint32_t *ret);
static void begin(struct run *r, struct connection *c, uint32_t record, int64_t meant);
static void open_connection(struct run *r, struct connection *c);
static void send_request(struct run *r, struct connection *c);
static void on_event(struct run *r, struct connection *c, uint32_t events);
static void read_answer(struct run *r, struct connection *c);
static bool is_whole(const struct connection *c, size_t *ret_head);
static void take_answer(struct run *r, struct connection *c, size_t head);
static const char *header(const struct connection *c, size_t head, const char *name);
static void conclude(struct run *r, struct connection *c, enum outcome outcome);
static void remember(struct times *t, int64_t us);
static void shut(struct run *r, struct connection *c);
static void report(struct run *r);
static void print_times(const char *name, struct times *t);
static double percentile_ms(const struct times *t, size_t percent);
static int compare(const void *a, const void *b);
static NORETURN void give_up(const char *what, const char *why);

int main(int argc, char **argv)
{
    static struct run r;

    if (argc != 8)
        give_up("usage", "arrivals PORT FILE RECORD_BYTES CONNECTIONS RATE WARM_SECONDS SECONDS");
    open_run(&r, argv);
    run(&r);
    report(&r);
    return 0;
}

static void open_run(struct run *r, char **argv)
{
    struct rlimit descriptors;
    size_t nconnections = strtoul(argv[4], NULL, 10);
    double rate = strtod(argv[5], NULL);

    r->to = (struct sockaddr_in){.sin_family = AF_INET,
                                 .sin_addr = {htonl(INADDR_LOOPBACK)},
                                 .sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10))};
    r->file = map_file(argv[2]);
    r->record_bytes = strtoul(argv[3], NULL, 10);
    if (r->record_bytes == 0 || r->file.len < r->record_bytes || nconnections < 1 ||
        nconnections > CONNECTIONS_MAX || rate < 1)
        give_up("arguments", "out of range");
    r->nrecords = r->file.len / r->record_bytes;
    r->gap_us = (double)SECOND_US / rate;
    getrlimit(RLIMIT_NOFILE, &descriptors);
    descriptors.rlim_cur = descriptors.rlim_max;
    setrlimit(RLIMIT_NOFILE, &descriptors);
    r->epoll = epoll_create1(EPOLL_CLOEXEC);
    r->connections = calloc(nconnections, sizeof(*r->connections));
    if (r->epoll < 0 || !r->connections)
        give_up("start", "no epoll or no memory");
    for (size_t i = nconnections; i-- > 0;) {
        r->connections[i].fd = -1;
        r->connections[i].next = r->unopened;
        r->unopened = &r->connections[i];
    }
    r->start_us = now_boot_us();
    r->count_us = r->start_us + (int64_t)(strtod(argv[6], NULL) * (double)SECOND_US);
    r->end_us = r->count_us + (int64_t)(strtod(argv[7], NULL) * (double)SECOND_US);
}

static struct span map_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    void *at;

    if (fd < 0 || fstat(fd, &st) < 0)
        give_up(path, "cannot be opened");
    at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (at == MAP_FAILED)
        give_up(path, "cannot be mapped");
    return (struct span){at, (size_t)st.st_size};
}

static void run(struct run *r)
{
    struct epoll_event events[EVENTS_A_LOOK];

    for (;;) {
        int64_t now_us = now_boot_us();
        int n;

        if (now_us < r->end_us)
            send_due(r, now_us);
        else if (r->nanswered == r->nsent || now_us > r->end_us + LAST_ANSWERS_MS * INT64_C(1000))
            return;
        n = epoll_wait(r->epoll, events, EVENTS_A_LOOK, LOOK_MS);
        for (int i = 0; i < n; i++)
            on_event(r, events[i].data.ptr, events[i].events);
    }
}

static int64_t meant_us(const struct run *r, uint64_t nth)
{
    return r->start_us + (int64_t)((double)nth * r->gap_us);
}

/* What finds no free connection leaves with the next one, late. */
static void send_due(struct run *r, int64_t now_us)
{
    while (meant_us(r, r->narrived) <= now_us && (r->idle || r->unopened)) {
        struct connection *c = r->idle;
        uint32_t record;

        if (!take_record(r, &record))
            give_up("FILE", "holds too few requests for so long");
        if (c) {
            r->idle = c->next;
        } else {
            c = r->unopened;
            r->unopened = c->next;
        }
        begin(r, c, record, meant_us(r, r->narrived++));
    }
}

static bool take_record(struct run *r, uint32_t *ret)
{
    if (r->nrefused > 0)
        *ret = r->refused[--r->nrefused];
    else if (r->next_record < r->nrecords)
        *ret = (uint32_t)r->next_record++;
    else
        return false;
    return true;
}

static void begin(struct run *r, struct connection *c, uint32_t record, int64_t meant)
{
    c->record = record;
    c->meant_us = meant;
    c->sent_us = now_boot_us();
    c->len = 0;
    r->nsent++;
    if (c->state == UNOPENED)
        open_connection(r, c);
    else
        send_request(r, c);
}

static void open_connection(struct run *r, struct connection *c)
{
    const int on = 1;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data = {.ptr = c}};

    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        give_up("socket", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    r->nopened++;
    c->state = CONNECTING;
    if (connect(c->fd, (const struct sockaddr *)&r->to, sizeof(r->to)) != 0 && errno != EINPROGRESS) {
        conclude(r, c, CUT);
        return;
    }
    if (epoll_ctl(r->epoll, EPOLL_CTL_ADD, c->fd, &event) != 0)
        give_up("epoll", strerror(errno));
}

static void send_request(struct run *r, struct connection *c)
{
    const char *at = r->file.at + c->record * r->record_bytes;

    c->state = WAITING;
    if (send(c->fd, at, r->record_bytes, MSG_NOSIGNAL) != (ssize_t)r->record_bytes)
        conclude(r, c, CUT);
}

static void on_event(struct run *r, struct connection *c, uint32_t events)
{
    if (c->state == CONNECTING && (events & (EPOLLERR | EPOLLHUP)))
        conclude(r, c, CUT);
    else if (c->state == CONNECTING && (events & EPOLLOUT))
        send_request(r, c);
    else if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
        read_answer(r, c);
}

static void read_answer(struct run *r, struct connection *c)
{
    ssize_t n;
    size_t head;

    if (c->fd < 0)
        return; /* closed by an earlier event of the same look */
    n = recv(c->fd, c->answer + c->len, ANSWER_BYTES - 1 - c->len, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (c->state != WAITING) { /* the server has closed what was idle */
        if (n <= 0)
            shut(r, c);
        return;
    }
    if (n <= 0) {
        conclude(r, c, CUT);
        return;
    }
    c->len += (size_t)n;
    c->answer[c->len] = '\0';
    if (is_whole(c, &head))
        take_answer(r, c, head);
    else if (c->len == ANSWER_BYTES - 1)
        give_up("answer", "longer than any of ours");
}

static bool is_whole(const struct connection *c, size_t *ret_head)
{
    const char *end = memmem(c->answer, c->len, "\r\n\r\n", 4);
    const char *length;

    if (!end)
        return false;
    *ret_head = (size_t)(end - c->answer) + 4;
    length = header(c, *ret_head, "\ncontent-length: ");
    return !length || c->len >= *ret_head + strtoul(length, NULL, 10);
}

static void take_answer(struct run *r, struct connection *c, size_t head)
{
    const char *closes = header(c, head, "\nconnection: close"), *retry, *where;
    long status = strtol(c->answer + strlen("HTTP/1.1 "), NULL, 10);
    enum outcome outcome = OTHER;

    if (status == 200) {
        where = header(c, head, "\nx-settle-stored: ");
        outcome = where && *where == 's' ? SPOOLED : STORED;
    } else if (status == 503) {
        unsigned long seconds;

        retry = header(c, head, "\nretry-after: ");
        outcome = retry ? REFUSED : OTHER;
        seconds = retry ? strtoul(retry, NULL, 10) : 0;
        r->nretry[seconds < RETRY_S_MAX ? seconds : RETRY_S_MAX] += retry != NULL;
    }
    if (closes)
        c->state = CONNECTING; /* nothing more can be sent on it: conclude closes it */
    conclude(r, c, outcome);
}

/* What stands behind it; NULL: not there. */
static const char *header(const struct connection *c, size_t head, const char *name)
{
    const char *at = strcasestr(c->answer, name);

    return at && at < c->answer + head ? at + strlen(name) : NULL;
}

static void conclude(struct run *r, struct connection *c, enum outcome outcome)
{
    int64_t now_us = now_boot_us();

    r->nanswered++;
    r->nacked += outcome <= SPOOLED;
    if (outcome == REFUSED) {
        if (r->nrefused == r->room_refused) {
            r->room_refused = r->room_refused * 2 + 1024;
            r->refused = reallocarray(r->refused, r->room_refused, sizeof(*r->refused));
            if (!r->refused)
                give_up("refused", "no memory");
        }
        r->refused[r->nrefused++] = c->record;
    }
    if (c->meant_us >= r->count_us) {
        r->noutcomes[outcome]++;
        remember(&r->from_meant[outcome], now_us - c->meant_us);
        remember(&r->from_sent[outcome], now_us - c->sent_us);
    }
    if (outcome <= SPOOLED && now_us >= r->count_us && now_us < r->end_us)
        r->ngood_in_time++;
    if (c->state == WAITING && outcome != CUT) {
        c->state = IDLE;
        c->next = r->idle;
        r->idle = c;
        return;
    }
    c->state = WAITING; /* in no list */
    shut(r, c);
}

static void remember(struct times *t, int64_t us)
{
    if (t->n == t->room) {
        t->room = t->room * 2 + 4096;
        t->us = reallocarray(t->us, t->room, sizeof(*t->us));
        if (!t->us)
            give_up("times", "no memory");
    }
    t->us[t->n++] = (int32_t)us;
}

static void shut(struct run *r, struct connection *c)
{
    if (c->state == IDLE)
        for (struct connection **at = &r->idle; *at; at = &(*at)->next)
            if (*at == c) {
                *at = c->next;
                break;
            }
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->state = UNOPENED;
    c->next = r->unopened;
    r->unopened = c;
}

static void report(struct run *r)
{
    double seconds = (double)(r->end_us - r->count_us) / (double)SECOND_US;
    uint64_t all = 0;

    printf("{\"seconds\": %.3f, \"offered\": %.0f, \"sent\": %llu, \"unanswered\": %llu, \"fresh\": %zu, "
           "\"opened\": %llu, \"good_in_time\": %llu, \"acked\": %llu, \"meant_but_not_sent\": %.0f",
           seconds, seconds / r->gap_us * (double)SECOND_US, (unsigned long long)r->nsent,
           (unsigned long long)(r->nsent - r->nanswered), r->next_record, (unsigned long long)r->nopened,
           (unsigned long long)r->ngood_in_time, (unsigned long long)r->nacked,
           (double)(r->end_us - r->start_us) / r->gap_us - (double)r->narrived);
    for (size_t i = 0; i < NOUTCOMES; i++) {
        printf(", \"%s\": %llu", outcome_names[i], (unsigned long long)r->noutcomes[i]);
        print_times(outcome_names[i], &r->from_meant[i]);
        printf(", \"%s_from_sent_p99_ms\": ", outcome_names[i]);
        qsort(r->from_sent[i].us, r->from_sent[i].n, sizeof(int32_t), compare);
        printf("%.3f", percentile_ms(&r->from_sent[i], 99));
    }
    printf(", \"retry_after_s\": [");
    for (unsigned s = 0; s <= RETRY_S_MAX; s++) {
        if (r->nretry[s] > 0)
            printf("%s[%u, %llu]", all ? ", " : "", s, (unsigned long long)r->nretry[s]);
        all += r->nretry[s];
    }
    printf("]}\n");
}

static void print_times(const char *name, struct times *t)
{
    qsort(t->us, t->n, sizeof(*t->us), compare);
    printf(", \"%s_p50_ms\": %.3f, \"%s_p99_ms\": %.3f", name, percentile_ms(t, 50), name,
           percentile_ms(t, 99));
}

/* Of what is in order; 0: there is none. */
static double percentile_ms(const struct times *t, size_t percent)
{
    size_t at = t->n * percent / 100;

    return t->n > 0 ? (double)t->us[at] / 1000 : 0;
}

static int compare(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;

    return (x > y) - (x < y);
}

static NORETURN void give_up(const char *what, const char *why)
{
    fprintf(stderr, "arrivals: %s: %s\n", what, why);
    _exit(1);
}
