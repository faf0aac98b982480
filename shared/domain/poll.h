/*
 * poll: how a platform is asked what became of posts, and what its answer says. Pure: it builds requests and reads
 * answers; sending, deadlines, budgets and tries are the fetcher's. What varies is in the descriptor's `poll` section,
 * compiled into struct poll.
 *
 * A platform is asked by one request after the other: posts for which poll_read says POLL_NOT_MINE are asked by the next
 * one of poll->requests, and only they. Of the last request that never comes out.
 */
#ifndef SETTLE_DOMAIN_POLL_H
#define SETTLE_DOMAIN_POLL_H

#include "base/arena.h"
#include "base/err.h"
#include "domain/platform.h"

enum {
    POLL_REQUESTS_MAX = 4,
    POLL_BATCH_MAX = 100,
    POLL_URL_BYTES = 8192,       /* of a built URL, at most */
    POLL_TOKEN_BYTES = 8192,     /* of a token, at most */
    POLL_ANSWER_BYTES = 1 << 20, /* a longer answer is not read: invalid_adapter_return */
};

/* Who is asked about what: posts of one account (one token) of one platform. All is borrowed. */
struct poll_question {
    const struct poll *poll;
    size_t request;           /* index into poll->requests; 0 first */
    const struct span *posts; /* external_post_ids: 1 to poll->requests[request].batch, each once */
    size_t nposts;
    struct span account;        /* the platform's id of the account; absent: not known */
    struct span site, from, to; /* of insights alone (insights.h), which has checked them */
};

/* Codes that are stored and shown; poll_error_name gives the words. */
enum poll_error {
    POLL_ERROR_NONE,
    POLL_AUTH_ERROR, /* "auth_error": the token is refused, lacks a right, or cannot be sent */
    POLL_FORBIDDEN, /* "auth_error": 403, and no rule says more; perhaps of this post alone, so others may be asked */
    POLL_RATE_LIMITED, /* "rate_limited" */
    POLL_FETCH_ERROR,  /* "fetch_error": the platform could not, or did not say why not */
    POLL_INVALID_RETURN, /* "invalid_adapter_return": an answer that cannot be read, or a word that nobody knows */
    POLL_NOT_FOUND,      /* "not_found": the platform does not know the post, which proves nothing */
    POLL_BAD_POST,       /* "invalid_post_id": never sent, see poll_fits */
};
const char *poll_error_name(enum poll_error error); /* NULL for POLL_ERROR_NONE */

/* Whether this post can be asked about by this request. An id is 1 to 255 bytes of UTF-8 without control characters;
 * one that stands in a URL is neither "." nor ".." and holds no "/" nor "\", which servers resolve even when encoded;
 * one of several in a URL does not hold the separator and takes at most 64 bytes there; and it is of digits where the
 * descriptor says so (post_digits): a platform may refuse all of a batch for one id that cannot be. */
bool poll_fits(const struct poll *poll, size_t request, struct span post);

/* A request to send. Lives in one block of its own that holds the token: the caller owns it, sends it, and calls
 * poll_call_close, which zeroes the block and frees it. What the sender copies it must zero itself. The URL and
 * the method hold no secret; headers and body may. All text ends in a NUL. */
struct poll_call {
    const char *method; /* "GET", "POST" */
    const char *url;    /* https; the host is the descriptor's, letter by letter. http for a loopback host */
    const char *const *headers; /* "name: value" without CR, LF or NUL */
    size_t nheaders;
    struct span body; /* absent: none */
    void *memory;     /* poll's own */
    size_t bytes;
};

/* INVALID, nothing to close: no token, one that is too long or holds other than visible ASCII (cause "auth_error"); no
 * account of 1 to 100 bytes where the request needs one (the same cause); a post that does not fit, none or too many of
 * them (cause "invalid_post_id"). The token is borrowed and shows in no error. */
enum status poll_request(const struct poll_question *q, struct span token, struct poll_call *ret,
                         struct err *err) MUST_CHECK;
void poll_call_close(struct poll_call *call); /* zeroed: fine again */

/* What came back. A request that brought no HTTP answer at all is not for poll_read: POLL_FETCH_ERROR for each post. */
struct poll_reply {
    int status;          /* of HTTP; 3xx as it came, never followed */
    struct span content; /* may be absent; longer than POLL_ANSWER_BYTES is fine and not read */
    int64_t received_us; /* wall: a platform time later than a day from it is none */
};

enum poll_outcome {
    POLL_COULD_NOT_ASK, /* says nothing of the post; error says why */
    POLL_WORKING,       /* not decided yet */
    POLL_DONE,          /* decisive says how */
    POLL_NOT_MINE,      /* ask by the next request */
};

/* What the answer says of one post. Spans are in the arena or borrow the reply's content; absent where nothing was said.
 * Their caps are those of an event: status 100 bytes, reason 1000, url 2048. */
struct poll_answer {
    enum poll_outcome outcome;
    enum poll_error error; /* of POLL_COULD_NOT_ASK alone */
    int decisive;          /* of POLL_DONE: 1, -1; else 0 */
    struct span status;    /* the platform's word, or ours for it as the descriptor maps it */
    struct span reason, url;
    struct span extras;  /* JSON object text */
    int64_t happened_us; /* TIME_NONE: not given */
};

/* Reads the reply into answers[0..nposts), one a post in the question's order; never fails. Returns what is wrong with
 * the exchange as a whole, POLL_ERROR_NONE if it was fine though single posts could not be found: that is what a breaker
 * counts and what is tried again. Only a word in the descriptor's success or failure list decides: what is unclear never
 * does. */
enum poll_error poll_read(const struct poll_question *q, const struct poll_reply *reply, struct arena *arena,
                          struct poll_answer *answers);

/* The first of the request's rules that holds for this HTTP status and answer; NULL: none does. */
struct extract;
const struct poll_rule *poll_rule_of(const struct poll_step *step, int status,
                                     struct extract *answer); /* answer NULL: it is no JSON */

#endif
