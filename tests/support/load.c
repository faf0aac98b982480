#include "support/load.h"

#include "support/ledger.h"

#include "base/now.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <sodium.h>

enum { ANSWER_BYTES = 2048, POSTS_A_CALL = 8 };

struct sender {
    struct load *load;
    pthread_t thread;
    unsigned place;
    bool answered; /* the last post */
};

struct load {
    pthread_mutex_t lock; /* over all below; senders hold it for moments */
    uint16_t port;
    bool stop, halted, calls_anew;
    unsigned pace_ms;
    unsigned late_ms;           /* of the answers of a fault */
    int64_t struck_us, well_us; /* boot time; 0: not yet */
    struct load_count count;
    const char *secret;
    struct ledger *ledger;
    unsigned nsenders;
    struct sender *senders[];
};

static void *send_posts(void *sender);
static bool send_post(struct sender *s, int fd, unsigned nth);
static enum told read_answer(int fd, bool *ret_goes_on);
static void remember(struct sender *s, unsigned nth, enum told told, int64_t began_us);
static int connect_to(struct load *l);
static bool is_stopped(struct load *l);
static bool is_call_over(struct load *l, unsigned nth);
static void rest(struct load *l);
static void sign(const char *secret, const char *body, char ret[65]);

struct load *load_start(struct world *w, unsigned n)
{
    struct load *l = calloc(1, sizeof(*l) + n * sizeof(l->senders[0]));

    assert_non_null(l);
    pthread_mutex_init(&l->lock, NULL);
    l->secret = world_secret("instagram", NULL);
    l->ledger = ledger_open(w);
    l->nsenders = n;
    load_aim(l, w);
    for (unsigned i = 0; i < n; i++) {
        l->senders[i] = calloc(1, sizeof(*l->senders[i]));
        assert_non_null(l->senders[i]);
        l->senders[i]->load = l;
        l->senders[i]->place = i;
        assert_int_equal(pthread_create(&l->senders[i]->thread, NULL, send_posts, l->senders[i]), 0);
    }
    return l;
}

void load_aim(struct load *l, const struct world *w)
{
    pthread_mutex_lock(&l->lock);
    l->port = (uint16_t)atoi(strrchr(w->ingest_url, ':') + 1);
    pthread_mutex_unlock(&l->lock);
}

void load_calls_anew(struct load *l)
{
    pthread_mutex_lock(&l->lock);
    l->calls_anew = true;
    pthread_mutex_unlock(&l->lock);
}

void load_pace(struct load *l, unsigned ms)
{
    pthread_mutex_lock(&l->lock);
    l->pace_ms = ms;
    pthread_mutex_unlock(&l->lock);
}

struct load_count load_so_far(struct load *l)
{
    struct load_count count;

    pthread_mutex_lock(&l->lock);
    count = l->count;
    pthread_mutex_unlock(&l->lock);
    return count;
}

bool load_few_refused(struct load_count count)
{
    return world_times_count() ? count.refused == 0 : count.refused <= count.acked;
}

void load_struck(struct load *l, unsigned late_ms)
{
    pthread_mutex_lock(&l->lock);
    l->late_ms = late_ms;
    l->struck_us = now_boot_us();
    pthread_mutex_unlock(&l->lock);
}

void load_mended(struct load *l)
{
    pthread_mutex_lock(&l->lock);
    l->well_us = now_boot_us() + SECOND_US;
    pthread_mutex_unlock(&l->lock);
}

unsigned load_later_than(struct load *l, unsigned ms, unsigned *ret_slowest_ms)
{
    return ledger_later_than(l->ledger, ms, ret_slowest_ms);
}

void load_halt(struct load *l)
{
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_mutex_unlock(&l->lock);
    for (unsigned i = 0; i < l->nsenders && !l->halted; i++)
        pthread_join(l->senders[i]->thread, NULL);
    l->halted = true;
}

struct load_count load_stop(struct load *l, struct world *w)
{
    struct load_count count;

    load_halt(l);
    count = l->count;
    ledger_check(l->ledger, w);
    ledger_close(l->ledger);
    for (unsigned i = 0; i < l->nsenders; i++)
        free(l->senders[i]);
    free(l);
    return count;
}

static void *send_posts(void *sender)
{
    struct sender *s = sender;
    unsigned nth = 0;

    while (!is_stopped(s->load)) {
        int fd = connect_to(s->load);
        if (fd < 0) {
            pthread_mutex_lock(&s->load->lock);
            s->load->count.unheard++;
            pthread_mutex_unlock(&s->load->lock);
            usleep(2000); /* nobody listens: the gateway is on its way */
            continue;
        }
        while (!is_stopped(s->load)) {
            bool goes_on = send_post(s, fd, nth);

            rest(s->load);
            nth += s->answered; /* without an answer it is sent again, as a platform does */
            if (!goes_on || is_call_over(s->load, nth))
                break;
        }
        close(fd);
    }
    return NULL;
}

/* False when the connection is at its end. */
static bool send_post(struct sender *s, int fd, unsigned nth)
{
    char body[128], signature[65], request[512];
    bool goes_on = false;
    int64_t began_us;
    int len;

    snprintf(body, sizeof(body), "{\"external_post_id\":\"load-%u-%u\",\"status\":\"published\"}", s->place,
             nth);
    sign(s->load->secret, body, signature);
    len = snprintf(
        request, sizeof(request),
        "POST /publishing/webhooks/instagram HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
        "X-Hub-Signature-256: sha256=%s\r\nContent-Length: %zu\r\n\r\n%s",
        signature, strlen(body), body);
    ledger_sending(s->load->ledger, s->place, nth);
    began_us = now_boot_us();
    if (send(fd, request, (size_t)len, MSG_NOSIGNAL) == len)
        remember(s, nth, read_answer(fd, &goes_on), began_us);
    else
        remember(s, nth, UNKNOWN, began_us);
    return goes_on && s->answered;
}

static enum told read_answer(int fd, bool *ret_goes_on)
{
    char answer[ANSWER_BYTES + 1];
    size_t len = 0;
    const char *body = NULL, *length;

    while (len < ANSWER_BYTES) {
        ssize_t n = recv(fd, answer + len, ANSWER_BYTES - len, 0);
        if (n < 0 && errno == EAGAIN)
            return WRONG; /* kept waiting */
        if (n <= 0)
            return UNKNOWN;
        len += (size_t)n;
        answer[len] = '\0';
        body = strstr(answer, "\r\n\r\n");
        length = strcasestr(answer, "\r\ncontent-length:");
        if (body && length && answer + len >= body + 4 + atoi(length + 17))
            break;
    }
    *ret_goes_on = !strcasestr(answer, "\r\nconnection: close");
    if (strncmp(answer, "HTTP/1.1 200 ", 13) == 0 && body && strcmp(body + 4, "{\"status\":\"ok\"}") == 0)
        return ACKED;
    return strncmp(answer, "HTTP/1.1 503 ", 13) == 0 && strcasestr(answer, "\r\nretry-after:") ? REFUSED
                                                                                               : WRONG;
}

static void remember(struct sender *s, unsigned nth, enum told told, int64_t began_us)
{
    struct load *l = s->load;
    unsigned ms = (unsigned)((now_boot_us() - began_us) / 1000);
    bool is_of_fault;

    ledger_told(l->ledger, s->place, nth, told, ms);
    s->answered = told != UNKNOWN;
    pthread_mutex_lock(&l->lock);
    l->count.acked += told == ACKED;
    l->count.refused += told == REFUSED;
    l->count.unknown += told == UNKNOWN;
    l->count.wrong += told == WRONG;
    is_of_fault =
        l->struck_us > 0 && (l->well_us == 0 || began_us < l->well_us) && (told == ACKED || told == REFUSED);
    l->count.of_fault += is_of_fault;
    l->count.of_fault_late += is_of_fault && ms > l->late_ms;
    l->count.of_fault_refused += is_of_fault && told == REFUSED;
    pthread_mutex_unlock(&l->lock);
}

static int connect_to(struct load *l)
{
    const struct timeval patience = {.tv_sec = 20};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    pthread_mutex_lock(&l->lock);
    to.sin_port = htons(l->port);
    pthread_mutex_unlock(&l->lock);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool is_stopped(struct load *l)
{
    bool stop;

    pthread_mutex_lock(&l->lock);
    stop = l->stop;
    pthread_mutex_unlock(&l->lock);
    return stop;
}

static bool is_call_over(struct load *l, unsigned nth)
{
    bool over;

    pthread_mutex_lock(&l->lock);
    over = l->calls_anew && nth % POSTS_A_CALL == 0;
    pthread_mutex_unlock(&l->lock);
    return over;
}

static void rest(struct load *l)
{
    unsigned ms;

    pthread_mutex_lock(&l->lock);
    ms = l->pace_ms;
    pthread_mutex_unlock(&l->lock);
    if (ms > 0)
        usleep(ms * 1000);
}

static void sign(const char *secret, const char *body, char ret[65])
{
    crypto_auth_hmacsha256_state state;
    unsigned char mac[crypto_auth_hmacsha256_BYTES];

    crypto_auth_hmacsha256_init(&state, (const unsigned char *)secret, strlen(secret));
    crypto_auth_hmacsha256_update(&state, (const unsigned char *)body, strlen(body));
    crypto_auth_hmacsha256_final(&state, mac);
    sodium_bin2hex(ret, 65, mac, sizeof(mac));
}
