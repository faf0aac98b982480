/*
 * fetch: asks other people's HTTP servers, many at once, for a program that may block. Https only, certificates checked,
 * no redirects, proxies, cookies or .netrc; and no address that is not public (address.h) unless it is named: the address
 * that is really connected to is judged, so no name can lead elsewhere.
 *
 * A request is tried up to three times by the rules of retry.h; each try is told to its owner, who may hold a try back (a
 * breaker) and writes the log. Knows no platform and no token: what is sent is wiped once it is done, here and in
 * libcurl's own memory.
 *
 *     f = fetch_open(&config, &err);
 *     fetch_add(f, &request, &err);            any number of times, also from a callback
 *     fetch_run(f, now_boot_us() + ..., &err); calls back until all are done
 *     fetch_close(f);
 *
 * One thread. Nothing else in the process may have used libcurl before the first fetch_open.
 */
#ifndef SETTLE_FETCH_FETCH_H
#define SETTLE_FETCH_FETCH_H

#include "base/attr.h"
#include "base/err.h"
#include "base/network.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

struct fetch;

struct fetch_config {
    unsigned at_once, at_once_per_lane; /* tries on the wire at one time */
    unsigned connect_ms,
        whole_ms;        /* of one try: look-up and connect by the clock; all of it, less what owners took */
    unsigned backoff_ms; /* before the second try: retry.h */
    size_t answer_bytes; /* most that a body may have */
    bool allow_http;
    const struct network *allowed; /* that may be asked though they are not public; borrowed */
    size_t nallowed;
    const char *ca_file;    /* certificates to trust instead of the system's; NULL: the system's. Borrowed */
    bool (*stopping)(void); /* asked several times a second: true ends the run; NULL: never */
    const char *const
        *resolve; /* for tests: "name:port:address" instead of a look-up, NULL ends; NULL: none */
};

enum fetch_error {
    FETCH_OK,              /* an answer came, whole; its status may still say no */
    FETCH_BAD_URL,         /* not https, no host, or with a user in it: never sent */
    FETCH_DNS,             /* the name has no address */
    FETCH_PRIVATE_ADDRESS, /* none that may be asked */
    FETCH_REFUSED,         /* nobody took the connection */
    FETCH_TLS,             /* no TLS, or a certificate that does not hold */
    FETCH_TIMEOUT,
    FETCH_TOO_LARGE, /* head or body */
    FETCH_GARBAGE,   /* not HTTP, or less than it announced */
    FETCH_LOST,      /* the connection broke */
    FETCH_HELD,      /* its owner held the try back: not sent */
    FETCH_STOPPED,   /* the run ended before: not sent, or cut off */
    FETCH_ERRORS,
};
const char *fetch_error_name(enum fetch_error error); /* "ok", "bad_url", "dns", "private_address", ... */

enum { FETCH_NO_RETRY_AFTER = -1, FETCH_RETRY_AFTER_MAX_S = 86400 };

/* What became of one try. */
struct fetch_answer {
    enum fetch_error error;
    int status;        /* of HTTP; 0: none came */
    int retry_after_s; /* what it asks for, at most a day; FETCH_NO_RETRY_AFTER: nothing */
    struct span body;  /* absent unless FETCH_OK. Borrowed for the call, wiped behind it */
    unsigned attempt;  /* 1 for the first try; of FETCH_STOPPED the last that was begun, 0: none */
    unsigned took_ms;  /* of this try */
    bool again;        /* it will be tried again, backoff_ms from now; false: this was the last word */
    unsigned backoff_ms;
    const char *why; /* libcurl's words for people; "" if there is nothing to say. No secret, no payload */
};

/* May this try go out now? Asked before each, the first too. May run a statement, but must not take long: all others
 * wait for one; not for many in a row, between which those on the wire are served. NULL: always. */
typedef bool fetch_may(void *ctx, unsigned attempt);
/* Once a try, never from inside fetch_add. A request's last call has again == false; it comes exactly once, at the
 * latest from fetch_close. */
typedef void fetch_tried(void *ctx, const struct fetch_answer *answer);

enum { FETCH_HEADERS_MAX = 16, FETCH_REQUEST_BYTES_MAX = 65536, FETCH_WAITING_MAX = 10000 };

struct fetch_request {
    const char *method; /* "GET" or "POST"; a literal or as long-lived as the call */
    struct span
        lane; /* whose tries count together, for at_once_per_lane: a platform's name, at most 50 bytes */
    struct span url;
    struct span headers[FETCH_HEADERS_MAX]; /* "Name: value", without line ends */
    size_t nheaders;
    struct span body;  /* absent: none */
    bool ahead;        /* of those of its lane that wait: what it goes on with has been paid for */
    unsigned whole_ms; /* 0, or more than the config's: as in the config */
    fetch_may *may;
    fetch_tried *tried;
    void *ctx;
};

/* UNAVAILABLE: libcurl does not start, or ca_file is not readable. */
struct fetch *fetch_open(const struct fetch_config *config, struct err *err) MUST_CHECK;
/* What is not done yet ends with FETCH_STOPPED. NULL is fine. */
void fetch_close(struct fetch *f);

/* Copies the request. INVALID: too long, another method, a line end in a header; BUSY: FETCH_WAITING_MAX are waiting. A URL that may
 * not be asked is told by tried, so that its owner has one way to learn it. */
enum status fetch_add(struct fetch *f, const struct fetch_request *request, struct err *err) MUST_CHECK;

/* Until all are done, the deadline has come or stopping() says so; then the rest ends with FETCH_STOPPED. A try whose
 * backoff would reach beyond the deadline is the last. UNAVAILABLE: libcurl fails as a whole. */
enum status fetch_run(struct fetch *f, int64_t deadline_boot_us, struct err *err) MUST_CHECK;

#endif
