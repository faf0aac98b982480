#include "hub.h"

#include "base/arena.h"

#include <stdio.h>
#include <stdlib.h>

#include <curl/curl.h>
#include <sodium.h>

enum { CONNECT_TIMEOUT_MS = 5000, WHOLE_TIMEOUT_MS = 15000 };

struct hub {
    CURL *curl;
};

/* A form field on its way to be written. */
struct field {
    const char *name;
    struct span value;
};

static bool url_is_good(const char *url);
static char *make_form(const struct hub_request *r, size_t *ret_len);
static size_t put_field(char *at, const struct field *f);
static void set_options(struct hub *h, const char *url, const char *form, size_t len);
static size_t ignore(char *bytes, size_t size, size_t n, void *ctx);

struct hub *hub_open(void)
{
    struct hub *h = calloc(1, sizeof(*h));

    if (!h || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || !(h->curl = curl_easy_init()))
        abort();
    return h;
}

void hub_close(struct hub *h)
{
    if (!h)
        return;
    curl_easy_cleanup(h->curl);
    free(h);
    curl_global_cleanup();
}

enum status hub_ask(struct hub *h, const struct hub_request *r, long *ret_status, struct err *err)
{
    struct arena *arena = arena_open(1024);
    const char *url = arena_copy(arena, r->url).at;
    size_t len;
    char *form;
    CURLcode code;

    *ret_status = 0;
    if (!url_is_good(url)) {
        arena_close(arena);
        return err_set(err, INVALID, "the hub's URL is neither https nor on loopback");
    }
    form = make_form(r, &len);
    set_options(h, url, form, len);
    code = curl_easy_perform(h->curl);
    curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, ret_status);
    curl_easy_reset(h->curl);
    sodium_memzero(form, len);
    free(form);
    arena_close(arena);
    if (code != CURLE_OK) {
        *ret_status = 0;
        return err_set(err, UNAVAILABLE, "the hub gives no answer: %s", curl_easy_strerror(code));
    }
    if (*ret_status >= 200 && *ret_status < 300)
        return OK;
    return err_set(err, *ret_status == 429 || *ret_status >= 500 ? BUSY : INVALID, "the hub answered %ld",
                   *ret_status);
}

static bool url_is_good(const char *url)
{
    static const char *const starts[] = {"https://", "http://127.0.0.1:", "http://127.0.0.1/",
                                         "http://[::1]:", "http://[::1]/"};

    for (size_t i = 0; i < countof(starts); i++)
        if (strncmp(url, starts[i], strlen(starts[i])) == 0)
            return !strchr(url, '@'); /* "http://127.0.0.1:x@elsewhere/" is elsewhere */
    return false;
}

static char *make_form(const struct hub_request *r, size_t *ret_len)
{
    char lease[16];
    int lease_len = snprintf(lease, sizeof(lease), "%u", r->lease_s);
    const struct field fields[] = {
        {"hub.mode",          span_of(r->mode)          },
        {"hub.topic",         r->topic                  },
        {"hub.callback",      span_of(r->callback)      },
        {"hub.secret",        r->secret                 },
        {"hub.lease_seconds", {lease, (size_t)lease_len}},
    };
    size_t room = 1;
    char *form, *at;

    for (size_t i = 0; i < countof(fields); i++)
        room += strlen(fields[i].name) + 2 + 3 * fields[i].value.len;
    form = at = malloc(room);
    if (!form)
        abort();
    for (size_t i = 0; i < countof(fields); i++) {
        if (!fields[i].value.at)
            continue;
        if (at > form)
            *at++ = '&';
        at += put_field(at, &fields[i]);
    }
    *ret_len = (size_t)(at - form);
    return form;
}

/* Not curl's own escaping, which would leave a copy of the secret behind. */
static size_t put_field(char *at, const struct field *f)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    char *const began = at;

    at = stpcpy(at, f->name);
    *at++ = '=';
    for (size_t i = 0; i < f->value.len; i++) {
        unsigned char c = (unsigned char)f->value.at[i];
        if (c != '\0' && strchr(plain, c)) {
            *at++ = (char)c;
        } else {
            *at++ = '%';
            *at++ = "0123456789ABCDEF"[c >> 4];
            *at++ = "0123456789ABCDEF"[c & 15];
        }
    }
    return (size_t)(at - began);
}

static void set_options(struct hub *h, const char *url, const char *form, size_t len)
{
    bool is_far = strncmp(url, "https://", strlen("https://")) == 0;

    curl_easy_setopt(h->curl, CURLOPT_URL, url);
    curl_easy_setopt(h->curl, CURLOPT_PROTOCOLS_STR, is_far ? "https" : "http");
    if (!is_far)
        curl_easy_setopt(h->curl, CURLOPT_PROXY, ""); /* whatever the environment says */
    curl_easy_setopt(h->curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(h->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    curl_easy_setopt(h->curl, CURLOPT_TIMEOUT_MS, (long)WHOLE_TIMEOUT_MS);
    curl_easy_setopt(h->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h->curl, CURLOPT_USERAGENT, "settle/" SETTLE_VERSION);
    curl_easy_setopt(h->curl, CURLOPT_POSTFIELDSIZE, (long)len);
    curl_easy_setopt(h->curl, CURLOPT_POSTFIELDS, form); /* borrowed */
    curl_easy_setopt(h->curl, CURLOPT_WRITEFUNCTION, ignore);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): curl's own */
static size_t ignore(char *bytes, size_t size, size_t n, void *ctx)
{
    (void)bytes;
    (void)ctx;
    return size * n;
}
