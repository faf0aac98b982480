#include "fetch/fetch.h"

#include "base/now.h"
#include "fetch/address.h"
#include "fetch/retry.h"

#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

#include <curl/curl.h>
#include <sys/random.h>

enum {
    SLICE_MS = 250, /* longest wait: a signal that comes just before it is seen by then */
    BEGIN_MS = 50,  /* so long those on the wire are left alone, whatever owners do; more is not their time */
    HEAD_BYTES_MAX = 65536,
    FIRST_ANSWER_BYTES = 4096,
    LANE_BYTES = 51,
};

/* One request, with all its text behind it in one block. It waits in its lane's queue, then is on the wire, then perhaps
 * in the list of those that go again later. */
struct job {
    struct job *next;
    struct fetch *fetch;
    size_t block_bytes, lane;
    const char *method, *url;
    struct curl_slist headers[FETCH_HEADERS_MAX + 1]; /* ours: libcurl's own would be copies */
    struct span body;
    unsigned whole_ms;
    fetch_may *may;
    fetch_tried *tried;
    void *ctx;
    /* The present try. */
    CURL *curl;    /* NULL: not on the wire */
    unsigned slot; /* in on_wire */
    unsigned attempt;
    int64_t began_boot_us, again_boot_us;
    int64_t ends_served_us; /* then it is late */
    char *answer;
    size_t answer_len, answer_room, head_bytes;
    int retry_after_s;
    bool is_private, is_too_large;
};

struct queue {
    struct job *first, **last;
};

struct lane {
    char name[LANE_BYTES];
    unsigned on_wire;
    struct queue waiting;
};

struct fetch {
    struct fetch_config config;
    CURLM *multi;
    struct curl_slist *resolve;
    struct lane *lanes;
    size_t nlanes;
    struct job **on_wire; /* n_on_wire of config.at_once */
    struct job *later;    /* in no order */
    size_t njobs;         /* all of them */
    unsigned n_on_wire;
    size_t turn;              /* whose lane begins next */
    int64_t deadline_boot_us; /* of the run */
    int64_t served_us;        /* the clock of those on the wire: stands still while nobody looks after them */
    int64_t looked_boot_us;   /* when somebody did */
};

static void *wiping_malloc(size_t bytes);
static void *wiping_calloc(size_t n, size_t bytes);
static void *wiping_realloc(void *old, size_t bytes);
static char *wiping_strdup(const char *text);
static void wiping_free(void *block);

static enum status check_request(const struct fetch_request *r, struct err *err);
static struct job *job_make(const struct fetch_request *r);
static const char *keep(char **at, struct span text);
static size_t lane_of(struct fetch *f, struct span name);
static void queue_add(struct queue *q, struct job *j);
static void queue_put_first(struct queue *q, struct job *j);
static struct job *queue_take(struct queue *q);

static bool is_over(const struct fetch *f);
static void begin_due(struct fetch *f);
static bool has_room(const struct fetch *f);
static void queue_due(struct fetch *f);
static bool can_begin(const struct lane *l, const struct fetch *f);
static void begin_one(struct fetch *f, struct lane *l);
static enum fetch_error check_url(const struct fetch *f, const char *url);
static void set_options(struct job *j);
static curl_socket_t open_socket(void *job, curlsocktype purpose, struct curl_sockaddr *address);
static size_t take_header(const char *line, size_t size, size_t n, void *job);
static size_t take_body(const char *bytes, size_t size, size_t n, void *job);
static void make_room(struct job *j, size_t more);

static enum status wait_and_work(struct fetch *f, struct err *err);
static void count_time(struct fetch *f, int64_t most_us);
static int wait_ms(const struct fetch *f);
static bool has_more(const struct fetch *f);
static void take_done(struct fetch *f);
static void end_late(struct fetch *f);
static void end_on_wire(struct job *j, CURLcode code);
static enum fetch_error error_of(const struct job *j, CURLcode code);
static void end_try(struct job *j, struct fetch_answer *answer);
static void tell(struct job *j, struct fetch_answer *answer);
static void wait_again(struct job *j, unsigned backoff_ms);
static bool goes_again(struct fetch *f, const struct fetch_answer *answer, unsigned *ret_backoff_ms);
static void leave_wire(struct job *j);
static void stop_all(struct fetch *f);
static void end_unsent(struct job *j, enum fetch_error error);
static void job_end(struct job *j);

static const char *const names[FETCH_ERRORS] = {
    [FETCH_OK] = "ok",           [FETCH_BAD_URL] = "bad_url",
    [FETCH_DNS] = "dns",         [FETCH_PRIVATE_ADDRESS] = "private_address",
    [FETCH_REFUSED] = "refused", [FETCH_TLS] = "tls",
    [FETCH_TIMEOUT] = "timeout", [FETCH_TOO_LARGE] = "too_large",
    [FETCH_GARBAGE] = "garbage", [FETCH_LOST] = "lost",
    [FETCH_HELD] = "held",       [FETCH_STOPPED] = "stopped",
};

const char *fetch_error_name(enum fetch_error error)
{
    return names[error];
}

struct fetch *fetch_open(const struct fetch_config *config, struct err *err)
{
    struct fetch *f;

    if (config->ca_file && access(config->ca_file, R_OK) != 0) {
        err_set(err, UNAVAILABLE, "\"%s\", the certificates to trust, cannot be read", config->ca_file);
        return NULL;
    }
    if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, wiping_malloc, wiping_free, wiping_realloc, wiping_strdup,
                             wiping_calloc) != CURLE_OK) {
        err_set(err, UNAVAILABLE, "libcurl does not start");
        return NULL;
    }
    f = calloc(1, sizeof(*f));
    if (!f || !(f->multi = curl_multi_init()) ||
        !(f->on_wire = calloc(config->at_once, sizeof(struct job *))))
        abort();
    f->config = *config;
    for (const char *const *at = config->resolve; at && *at; at++)
        f->resolve = curl_slist_append(f->resolve, *at);
    curl_multi_setopt(f->multi, CURLMOPT_MAXCONNECTS, (long)config->at_once);
    return f;
}

void fetch_close(struct fetch *f)
{
    if (!f)
        return;
    stop_all(f);
    curl_multi_cleanup(f->multi);
    curl_slist_free_all(f->resolve);
    free((void *)f->on_wire);
    free(f->lanes);
    free(f);
    curl_global_cleanup();
}

/* libcurl keeps URLs, headers and what came in blocks of its own, and frees them as they are. */
static void *wiping_malloc(size_t bytes)
{
    return malloc(bytes);
}

static void *wiping_calloc(size_t n, size_t bytes)
{
    return calloc(n, bytes);
}

static void *wiping_realloc(void *old, size_t bytes)
{
    size_t had = old ? malloc_usable_size(old) : 0;
    void *fresh = malloc(bytes);

    if (fresh && old) {
        memcpy(fresh, old, had < bytes ? had : bytes);
        wiping_free(old);
    }
    return fresh;
}

static char *wiping_strdup(const char *text)
{
    return strdup(text);
}

static void wiping_free(void *block)
{
    if (block)
        explicit_bzero(block, malloc_usable_size(block));
    free(block);
}

enum status fetch_add(struct fetch *f, const struct fetch_request *request, struct err *err)
{
    struct job *j;

    if (check_request(request, err))
        return err->code;
    if (f->njobs >= FETCH_WAITING_MAX)
        return err_set(err, BUSY, "%zu requests wait already", f->njobs);
    j = job_make(request);
    j->fetch = f;
    j->lane = lane_of(f, request->lane);
    if (j->whole_ms == 0 || j->whole_ms > f->config.whole_ms)
        j->whole_ms = f->config.whole_ms;
    if (request->ahead)
        queue_put_first(&f->lanes[j->lane].waiting, j);
    else
        queue_add(&f->lanes[j->lane].waiting, j);
    f->njobs++;
    return OK;
}

static enum status check_request(const struct fetch_request *r, struct err *err)
{
    size_t bytes = r->url.len + r->body.len;

    if (strcmp(r->method, "GET") != 0 && strcmp(r->method, "POST") != 0)
        return err_set(err, INVALID, "a request is GET or POST");
    if (r->nheaders > FETCH_HEADERS_MAX || r->lane.len >= LANE_BYTES)
        return err_set(err, INVALID, "a request has at most %d headers, and a lane's name %d bytes",
                       FETCH_HEADERS_MAX, LANE_BYTES - 1);
    for (size_t i = 0; i < r->nheaders; i++) {
        struct span h = r->headers[i];
        if (h.len == 0 || memchr(h.at, '\r', h.len) || memchr(h.at, '\n', h.len) || memchr(h.at, '\0', h.len))
            return err_set(err, INVALID, "header %zu of the request is empty or holds a line end or NUL",
                           i + 1);
        bytes += h.len;
    }
    if (r->url.len == 0 || memchr(r->url.at, '\0', r->url.len))
        return err_set(err, INVALID, "the request's URL is empty or holds a NUL");
    if (bytes > FETCH_REQUEST_BYTES_MAX)
        return err_set(err, INVALID, "a request has at most %d bytes", FETCH_REQUEST_BYTES_MAX);
    return OK;
}

static struct job *job_make(const struct fetch_request *r)
{
    size_t bytes = sizeof(struct job) + strlen(r->method) + r->url.len + r->body.len + r->nheaders + 3;
    struct job *j;
    char *at;

    for (size_t i = 0; i < r->nheaders; i++)
        bytes += r->headers[i].len;
    j = calloc(1, bytes);
    if (!j)
        abort();
    at = (char *)(j + 1);
    j->block_bytes = bytes;
    j->method = keep(&at, span_of(r->method));
    j->url = keep(&at, r->url);
    if (r->body.at)
        j->body = (struct span){keep(&at, r->body), r->body.len};
    for (size_t i = 0; i < r->nheaders; i++)
        j->headers[i] = (struct curl_slist){(char *)(uintptr_t)keep(&at, r->headers[i]), &j->headers[i + 1]};
    /* Without it a body of some size would wait for a "100 Continue" that few servers send. */
    j->headers[r->nheaders] = (struct curl_slist){(char *)(uintptr_t) "Expect:", NULL};
    j->whole_ms = r->whole_ms;
    j->may = r->may;
    j->tried = r->tried;
    j->ctx = r->ctx;
    return j;
}

static const char *keep(char **at, struct span text)
{
    char *began = *at;

    if (text.len > 0)
        memcpy(began, text.at, text.len);
    began[text.len] = '\0';
    *at += text.len + 1;
    return began;
}

static size_t lane_of(struct fetch *f, struct span name)
{
    struct lane *lanes;

    for (size_t i = 0; i < f->nlanes; i++)
        if (span_eq(span_of(f->lanes[i].name), name))
            return i;
    lanes = calloc(f->nlanes + 1, sizeof(*lanes));
    if (!lanes)
        abort();
    for (size_t i = 0; i <= f->nlanes; i++) { /* a queue that is empty points into its lane */
        if (i < f->nlanes)
            lanes[i] = f->lanes[i];
        if (!lanes[i].waiting.first)
            lanes[i].waiting.last = &lanes[i].waiting.first;
    }
    if (name.len > 0)
        memcpy(lanes[f->nlanes].name, name.at, name.len);
    free(f->lanes);
    f->lanes = lanes;
    return f->nlanes++;
}

static void queue_add(struct queue *q, struct job *j)
{
    j->next = NULL;
    *q->last = j;
    q->last = &j->next;
}

static void queue_put_first(struct queue *q, struct job *j)
{
    j->next = q->first;
    q->first = j;
    if (!j->next)
        q->last = &j->next;
}

static struct job *queue_take(struct queue *q)
{
    struct job *j = q->first;

    q->first = j->next;
    if (!q->first)
        q->last = &q->first;
    return j;
}

enum status fetch_run(struct fetch *f, int64_t deadline_boot_us, struct err *err)
{
    f->deadline_boot_us = deadline_boot_us;
    f->looked_boot_us = now_boot_us();
    while (f->njobs > 0) {
        if (is_over(f)) {
            stop_all(f);
            break;
        }
        count_time(f, BEGIN_MS * INT64_C(1000));
        begin_due(f);
        if (wait_and_work(f, err)) {
            stop_all(f);
            return err->code;
        }
        take_done(f);
        end_late(f);
    }
    return OK;
}

static bool is_over(const struct fetch *f)
{
    return now_boot_us() >= f->deadline_boot_us || (f->config.stopping && f->config.stopping());
}

/* One of each lane in turn, so that none waits for another's. */
static void begin_due(struct fetch *f)
{
    int64_t until_us = now_boot_us() + BEGIN_MS * INT64_C(1000);
    size_t idle = 0;

    queue_due(f);
    while (idle < f->nlanes && has_room(f) && now_boot_us() < until_us) {
        struct lane *l = &f->lanes[f->turn];

        f->turn = (f->turn + 1) % f->nlanes;
        if (can_begin(l, f)) {
            begin_one(f, l);
            idle = 0;
        } else {
            idle++;
        }
    }
}

/* Asked before each, as an owner's may() takes time. */
static bool has_room(const struct fetch *f)
{
    return f->n_on_wire < f->config.at_once && !is_over(f);
}

/* Whose backoff is over waits again, behind those that came meanwhile. */
static void queue_due(struct fetch *f)
{
    int64_t now_us = now_boot_us();
    struct job **at = &f->later;

    while (*at) {
        struct job *j = *at;
        if (j->again_boot_us > now_us) {
            at = &j->next;
            continue;
        }
        *at = j->next;
        queue_add(&f->lanes[j->lane].waiting, j);
    }
}

static bool can_begin(const struct lane *l, const struct fetch *f)
{
    return l->waiting.first && l->on_wire < f->config.at_once_per_lane;
}

static void begin_one(struct fetch *f, struct lane *l)
{
    size_t lane = (size_t)(l - f->lanes);
    enum fetch_error error;
    struct job *j = queue_take(&l->waiting);

    j->attempt++;
    error = check_url(f, j->url);
    if (error == FETCH_OK && j->may && !j->may(j->ctx, j->attempt))
        error = FETCH_HELD;
    if (error != FETCH_OK) {
        end_unsent(j, error);
        return;
    }
    j->curl = curl_easy_init();
    if (!j->curl)
        abort();
    j->began_boot_us = now_boot_us();
    j->ends_served_us = f->served_us + j->whole_ms * INT64_C(1000);
    j->retry_after_s = FETCH_NO_RETRY_AFTER;
    set_options(j);
    j->slot = f->n_on_wire++;
    f->on_wire[j->slot] = j;
    f->lanes[lane].on_wire++; /* not l: may() may have added a lane, which moves them */
    if (curl_multi_add_handle(f->multi, j->curl) != CURLM_OK)
        abort(); /* a handle that is fresh and used once */
}

static enum fetch_error check_url(const struct fetch *f, const char *url)
{
    static const CURLUPart unwanted[] = {CURLUPART_USER, CURLUPART_PASSWORD};
    CURLU *parts = curl_url();
    char *scheme = NULL, *user = NULL;
    bool good;

    if (!parts)
        abort();
    good = curl_url_set(parts, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK &&
           curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
           (strcmp(scheme, "https") == 0 || (f->config.allow_http && strcmp(scheme, "http") == 0));
    for (size_t i = 0; good && i < countof(unwanted); i++) {
        good = curl_url_get(parts, unwanted[i], &user, 0) != CURLUE_OK;
        curl_free(user);
        user = NULL;
    }
    curl_free(scheme);
    curl_url_cleanup(parts);
    return good ? FETCH_OK : FETCH_BAD_URL;
}

static void set_options(struct job *j)
{
    const struct fetch_config *c = &j->fetch->config;
    CURL *curl = j->curl;

    curl_easy_setopt(curl, CURLOPT_PRIVATE, j);
    curl_easy_setopt(curl, CURLOPT_URL, j->url);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, j->method);
    if (j->body.at) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, j->body.at); /* not copied */
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)j->body.len);
    }
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, j->headers);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "settle/" SETTLE_VERSION);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, c->allow_http ? "https,http" : "https");
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (c->ca_file) {
        curl_easy_setopt(curl, CURLOPT_CAINFO, c->ca_file);
        curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
    }
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* whatever the environment says */
    curl_easy_setopt(curl, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L); /* a look-up that hangs does not hold the deadline up */
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)c->connect_ms);
    curl_easy_setopt(curl, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)c->answer_bytes);
    curl_easy_setopt(curl, CURLOPT_RESOLVE, j->fetch->resolve);
    curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, j);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, j);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, j);
}

/* Here at last the address is known that will be connected to, whatever name it had before. */
static curl_socket_t open_socket(void *job, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct job *j = job;
    const struct fetch_config *c = &j->fetch->config;

    if (purpose != CURLSOCKTYPE_IPCXN || !address_may_be_asked(&address->addr, c->allowed, c->nallowed)) {
        j->is_private = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static size_t take_header(const char *line, size_t size, size_t n, void *job)
{
    struct job *j = job;
    struct span value = {line, size * n}, name;

    j->head_bytes += value.len;
    if (j->head_bytes > HEAD_BYTES_MAX) {
        j->is_too_large = true;
        return 0;
    }
    if (span_starts(value, SPAN("HTTP/"))) { /* one of several, if "100 Continue" and its like come before */
        j->retry_after_s = FETCH_NO_RETRY_AFTER;
        return size * n;
    }
    while (value.len > 0 && (value.at[value.len - 1] == '\n' || value.at[value.len - 1] == '\r'))
        value.len--;
    name = span_cut(&value, ':');
    if (value.at && span_eq_nocase(name, SPAN("retry-after")))
        j->retry_after_s = retry_after_parse(value, now_wall_us());
    return size * n;
}

static size_t take_body(const char *bytes, size_t size, size_t n, void *job)
{
    struct job *j = job;
    size_t len = size * n;

    if (len > j->fetch->config.answer_bytes - j->answer_len) {
        j->is_too_large = true;
        return 0;
    }
    make_room(j, len);
    memcpy(j->answer + j->answer_len, bytes, len);
    j->answer_len += len;
    return len;
}

/* Not realloc, which leaves what it moves behind. */
static void make_room(struct job *j, size_t more)
{
    size_t room = j->answer_room ? j->answer_room : FIRST_ANSWER_BYTES;
    char *fresh;

    while (room < j->answer_len + more)
        room *= 2;
    if (room == j->answer_room)
        return;
    fresh = malloc(room);
    if (!fresh)
        abort();
    if (j->answer) {
        memcpy(fresh, j->answer, j->answer_len);
        explicit_bzero(j->answer, j->answer_len);
        free(j->answer);
    }
    j->answer = fresh;
    j->answer_room = room;
}

static enum status wait_and_work(struct fetch *f, struct err *err)
{
    CURLMcode code;
    int running;

    count_time(f, BEGIN_MS * INT64_C(1000));
    code = curl_multi_poll(f->multi, NULL, 0, wait_ms(f), NULL);
    if (code == CURLM_OK)
        code = curl_multi_perform(f->multi, &running);
    count_time(f, INT64_MAX);
    if (code != CURLM_OK)
        return err_set(err, UNAVAILABLE, "libcurl: %s", curl_multi_strerror(code));
    return OK;
}

static void count_time(struct fetch *f, int64_t most_us)
{
    int64_t now_us = now_boot_us(), passed_us = now_us - f->looked_boot_us;

    f->served_us += passed_us < most_us ? passed_us : most_us;
    f->looked_boot_us = now_us;
}

static int wait_ms(const struct fetch *f)
{
    int64_t now_us = now_boot_us(), until_us = now_us + SLICE_MS * INT64_C(1000);

    if (f->njobs == 0 || has_more(f))
        return 0;
    if (f->deadline_boot_us < until_us)
        until_us = f->deadline_boot_us;
    for (const struct job *j = f->later; j; j = j->next)
        if (j->again_boot_us < until_us)
            until_us = j->again_boot_us;
    for (unsigned i = 0; i < f->n_on_wire; i++)
        if (f->on_wire[i]->ends_served_us - f->served_us < until_us - now_us)
            until_us = now_us + f->on_wire[i]->ends_served_us - f->served_us;
    return until_us > now_us ? (int)((until_us - now_us + 999) / 1000) : 0;
}

/* Some were left when those on the wire came to be looked at. */
static bool has_more(const struct fetch *f)
{
    bool any = false;

    for (size_t i = 0; i < f->nlanes && has_room(f); i++)
        any |= can_begin(&f->lanes[i], f);
    return any;
}

static void take_done(struct fetch *f)
{
    const CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(f->multi, &left))) {
        struct job *j;

        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &j);
        end_on_wire(j, message->data.result);
    }
}

/* Not left to libcurl, which looks at the time before it reads: an answer that has come while an owner took his time would be
 * late, and its sender to blame for it. */
static void end_late(struct fetch *f)
{
    for (unsigned i = f->n_on_wire; i-- > 0;)
        if (f->on_wire[i]->ends_served_us <= f->served_us)
            end_on_wire(f->on_wire[i], CURLE_OPERATION_TIMEDOUT);
}

static void end_on_wire(struct job *j, CURLcode code)
{
    struct fetch_answer answer = {.error = error_of(j, code), .why = code ? curl_easy_strerror(code) : ""};
    long status = 0;

    curl_easy_getinfo(j->curl, CURLINFO_RESPONSE_CODE, &status);
    answer.status = (int)status;
    leave_wire(j);
    end_try(j, &answer);
}

static enum fetch_error error_of(const struct job *j, CURLcode code)
{
    static const struct {
        CURLcode code;
        enum fetch_error error;
    } table[] = {
        {CURLE_OK,                       FETCH_OK       },
        {CURLE_URL_MALFORMAT,            FETCH_BAD_URL  },
        {CURLE_COULDNT_RESOLVE_HOST,     FETCH_DNS      },
        {CURLE_COULDNT_CONNECT,          FETCH_REFUSED  },
        {CURLE_OPERATION_TIMEDOUT,       FETCH_TIMEOUT  },
        {CURLE_SSL_CONNECT_ERROR,        FETCH_TLS      },
        {CURLE_PEER_FAILED_VERIFICATION, FETCH_TLS      },
        {CURLE_SSL_CACERT_BADFILE,       FETCH_TLS      },
        {CURLE_SSL_CIPHER,               FETCH_TLS      },
        {CURLE_SSL_CERTPROBLEM,          FETCH_TLS      },
        {CURLE_SSL_ISSUER_ERROR,         FETCH_TLS      },
        {CURLE_FILESIZE_EXCEEDED,        FETCH_TOO_LARGE},
        {CURLE_UNSUPPORTED_PROTOCOL,     FETCH_GARBAGE  }, /* HTTP/0.9: the URL's was looked at before */
        {CURLE_WEIRD_SERVER_REPLY,       FETCH_GARBAGE  },
        {CURLE_PARTIAL_FILE,             FETCH_GARBAGE  },
        {CURLE_BAD_CONTENT_ENCODING,     FETCH_GARBAGE  },
    };

    if (j->is_too_large)
        return FETCH_TOO_LARGE;
    if (code == CURLE_COULDNT_CONNECT && j->is_private)
        return FETCH_PRIVATE_ADDRESS;
    for (size_t i = 0; i < countof(table); i++)
        if (table[i].code == code)
            return table[i].error;
    return FETCH_LOST;
}

/* Tells the owner; the job goes again later or is no more. */
static void end_try(struct job *j, struct fetch_answer *answer)
{
    answer->retry_after_s = answer->status ? j->retry_after_s : FETCH_NO_RETRY_AFTER;
    if (answer->error == FETCH_OK)
        answer->body = (struct span){j->answer ? j->answer : "", j->answer_len};
    answer->attempt = j->attempt;
    answer->again = goes_again(j->fetch, answer, &answer->backoff_ms);
    tell(j, answer);
    if (answer->again)
        wait_again(j, answer->backoff_ms);
    else
        job_end(j);
}

static void tell(struct job *j, struct fetch_answer *answer)
{
    answer->took_ms = j->began_boot_us ? (unsigned)((now_boot_us() - j->began_boot_us) / 1000) : 0;
    j->tried(j->ctx, answer);
}

static void wait_again(struct job *j, unsigned backoff_ms)
{
    struct fetch *f = j->fetch;

    if (j->answer)
        explicit_bzero(j->answer, j->answer_len);
    j->answer_len = j->head_bytes = 0;
    j->is_private = j->is_too_large = false;
    j->began_boot_us = 0;
    j->again_boot_us = now_boot_us() + backoff_ms * INT64_C(1000);
    j->next = f->later;
    f->later = j;
}

static bool goes_again(struct fetch *f, const struct fetch_answer *answer, unsigned *ret_backoff_ms)
{
    uint32_t random = 0;

    if (getrandom(&random, sizeof(random), 0) != sizeof(random))
        random = (uint32_t)now_boot_us(); /* only spreads the load */
    if (retry_again(answer, f->config.backoff_ms, random, ret_backoff_ms) &&
        now_boot_us() + *ret_backoff_ms * INT64_C(1000) < f->deadline_boot_us)
        return true;
    *ret_backoff_ms = 0;
    return false;
}

static void leave_wire(struct job *j)
{
    struct fetch *f = j->fetch;

    curl_multi_remove_handle(f->multi, j->curl);
    curl_easy_cleanup(j->curl);
    j->curl = NULL;
    f->on_wire[j->slot] = f->on_wire[--f->n_on_wire];
    f->on_wire[j->slot]->slot = j->slot;
    f->lanes[j->lane].on_wire--;
}

/* All wait again first, then each is told; what the callbacks add meanwhile waits too. */
static void stop_all(struct fetch *f)
{
    f->deadline_boot_us = now_boot_us();
    while (f->n_on_wire > 0) {
        struct job *j = f->on_wire[f->n_on_wire - 1];
        leave_wire(j);
        queue_add(&f->lanes[j->lane].waiting, j);
    }
    while (f->later) {
        struct job *j = f->later;
        f->later = j->next;
        queue_add(&f->lanes[j->lane].waiting, j);
    }
    while (f->njobs > 0)
        for (size_t i = 0; i < f->nlanes; i++)
            while (f->lanes[i].waiting.first)
                end_unsent(queue_take(&f->lanes[i].waiting), FETCH_STOPPED);
}

static void end_unsent(struct job *j, enum fetch_error error)
{
    struct fetch_answer answer = {
        .error = error, .retry_after_s = FETCH_NO_RETRY_AFTER, .attempt = j->attempt, .why = ""};

    tell(j, &answer);
    job_end(j);
}

static void job_end(struct job *j)
{
    j->fetch->njobs--;
    if (j->answer) {
        explicit_bzero(j->answer, j->answer_room);
        free(j->answer);
    }
    explicit_bzero(j, j->block_bytes);
    free(j);
}
