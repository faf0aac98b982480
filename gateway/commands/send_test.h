/*
 * send-test: signs a body as the platform would and posts it to a gateway. Blocking; for people and scripts.
 */
#ifndef SETTLE_GATEWAY_SEND_TEST_H
#define SETTLE_GATEWAY_SEND_TEST_H

#include "settings.h"

struct send_test {
    const char *platform;
    const char *source;    /* "default" */
    const char *url;       /* http://host:port of the ingest listener; NULL: as configured */
    const char *body_file; /* NULL: a plain body with a new post id */
};

/* Prints the answer on stdout. OK only for a 2xx; INVALID: platform, source, url or file; UNAVAILABLE: no answer;
 * REJECTED: another answer. */
enum status send_test(const struct settings *settings, const struct send_test *what,
                      struct err *err) MUST_CHECK;

#endif
