/*
 * err: the one way to fail. Who fails fills a struct err, who passes it on says where, the top logs it once.
 */
#ifndef SETTLE_BASE_ERR_H
#define SETTLE_BASE_ERR_H

#include "base/attr.h"

/* A value exists only because some caller acts differently on it. */
enum status {
    OK,
    INVALID,     /* the input is wrong: 4xx, exit 64 or 65; the same again fails again */
    FORGED,      /* a signature does not hold: 401 */
    BUSY,        /* a bounded queue is full: 503 with Retry-After; nothing was taken */
    REJECTED,    /* the store refuses this very content: split, park */
    UNAVAILABLE, /* a store is down, slow or restarting: try again */
    BROKEN,      /* our own fault: exit 70, 503 */
};

struct err {
    enum status code;
    const char *
        cause; /* a fixed word such as "bad_signature": problem type, metric label, log field; NULL if none */
    char sqlstate[6]; /* of the statement that failed, "" otherwise */
    char text[506];   /* a sentence for people; never a secret, never a payload */
};

/* Fills *err and returns code, so that `return err_set(...)` is one line. err may be NULL. */
enum status err_set(struct err *err, enum status code, const char *format, ...) PRINTF_LIKE(3, 4);

/* The same with a cause word (a literal: it is kept, not copied). */
enum status err_cause(struct err *err, enum status code, const char *cause, const char *format, ...)
    PRINTF_LIKE(4, 5);

/* Puts "where: " before the text and returns the code that err already has. err may be NULL: then INVALID, all it can
 * say. */
enum status err_in(struct err *err, const char *format, ...) PRINTF_LIKE(2, 3);

const char *status_name(enum status code); /* "invalid", ... : for logs */

#endif
