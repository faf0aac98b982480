#include "load.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <sodium.h>

enum { POSTS_MAX = 200000, ANSWER_BYTES = 2048, POSTS_A_CALL = 8 };

enum told { UNSENT, UNKNOWN, ACKED, REFUSED, WRONG };

struct sender {
    struct load *load;
    pthread_t thread;
    unsigned place;
    unsigned nposts;
    uint8_t told[POSTS_MAX + 1]; /* enum told, by the post's number */
};

struct load {
    pthread_mutex_t lock; /* over all below; senders hold it for moments */
    uint16_t port;
    bool stop, halted, calls_anew;
    struct load_count count;
    const char *secret;
    unsigned nsenders;
    struct sender *senders[];
};

static void *send_posts(void *sender);
static bool send_post(struct sender *s, int fd, unsigned nth);
static enum told read_answer(int fd, bool *ret_goes_on);
static void remember(struct sender *s, unsigned nth, enum told told);
static int connect_to(struct load *l);
static bool is_stopped(struct load *l);
static bool is_call_over(struct load *l, unsigned nth);
static void sign(const char *secret, const char *body, char ret[65]);
static void check(struct load *l, struct world *w);

struct load *load_start(struct world *w, unsigned n)
{
    struct load *l = calloc(1, sizeof(*l) + n * sizeof(l->senders[0]));

    assert_non_null(l);
    pthread_mutex_init(&l->lock, NULL);
    l->secret = world_secret("instagram", NULL);
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

struct load_count load_so_far(struct load *l)
{
    struct load_count count;

    pthread_mutex_lock(&l->lock);
    count = l->count;
    pthread_mutex_unlock(&l->lock);
    return count;
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
    check(l, w);
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
        while (!is_stopped(s->load) && nth < POSTS_MAX && send_post(s, fd, nth))
            if (is_call_over(s->load, nth++))
                break;
        nth += s->told[nth] > UNKNOWN; /* without an answer it is sent again, as a platform does */
        close(fd);
    }
    s->nposts = nth + 1;
    return NULL;
}

/* False when the connection is at its end. */
static bool send_post(struct sender *s, int fd, unsigned nth)
{
    char body[128], signature[65], request[512];
    bool goes_on = false;
    int len;

    snprintf(body, sizeof(body), "{\"external_post_id\":\"load-%u-%u\",\"status\":\"published\"}", s->place,
             nth);
    sign(s->load->secret, body, signature);
    len = snprintf(
        request, sizeof(request),
        "POST /publishing/webhooks/instagram HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
        "X-Hub-Signature-256: sha256=%s\r\nContent-Length: %zu\r\n\r\n%s",
        signature, strlen(body), body);
    s->told[nth] = UNKNOWN;
    if (send(fd, request, (size_t)len, MSG_NOSIGNAL) == len)
        remember(s, nth, read_answer(fd, &goes_on));
    else
        remember(s, nth, UNKNOWN);
    return goes_on && s->told[nth] != UNKNOWN;
}

static enum told read_answer(int fd, bool *ret_goes_on)
{
    char answer[ANSWER_BYTES + 1];
    size_t len = 0;
    const char *body = NULL, *length;

    while (len < ANSWER_BYTES) {
        ssize_t n = recv(fd, answer + len, ANSWER_BYTES - len, 0);
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

static void remember(struct sender *s, unsigned nth, enum told told)
{
    struct load *l = s->load;

    s->told[nth] = (uint8_t)told;
    pthread_mutex_lock(&l->lock);
    l->count.acked += told == ACKED;
    l->count.refused += told == REFUSED;
    l->count.unknown += told == UNKNOWN;
    l->count.wrong += told == WRONG;
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

static void sign(const char *secret, const char *body, char ret[65])
{
    crypto_auth_hmacsha256_state state;
    unsigned char mac[crypto_auth_hmacsha256_BYTES];

    crypto_auth_hmacsha256_init(&state, (const unsigned char *)secret, strlen(secret));
    crypto_auth_hmacsha256_update(&state, (const unsigned char *)body, strlen(body));
    crypto_auth_hmacsha256_final(&state, mac);
    sodium_bin2hex(ret, 65, mac, sizeof(mac));
}

static void check(struct load *l, struct world *w)
{
    const char *line = world_sql(w, "select external_post_id from settle.webhook_receipts");
    unsigned place, nth, nlost = 0;

    assert_non_null(line);
    assert_int_equal(
        world_count(w, "select count(*) - count(distinct external_post_id) from settle.webhook_receipts"), 0);
    assert_int_equal(
        world_count(
            w, "select count(*) from settle.webhook_receipts where body is distinct from convert_to("
               "'{\"external_post_id\":\"' || external_post_id || '\",\"status\":\"published\"}', 'UTF8')"),
        0);
    for (; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        if (sscanf(line, "load-%u-%u", &place, &nth) != 2 || place >= l->nsenders ||
            nth >= l->senders[place]->nposts)
            fail_msg("a row nobody sent: %.40s", line);
        l->senders[place]->told[nth] = UNSENT; /* found: settled */
    }
    for (place = 0; place < l->nsenders; place++)
        for (nth = 0; nth < l->senders[place]->nposts; nth++)
            nlost += l->senders[place]->told[nth] == ACKED;
    if (nlost > 0)
        fail_msg("%u webhooks were acknowledged and are not stored", nlost);
}
