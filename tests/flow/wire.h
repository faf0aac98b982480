/*
 * wire: many connections at once on which bytes are sent as they stand, and what came back on each. For what no HTTP
 * client would send.
 */
#ifndef SETTLE_TESTS_FLOW_WIRE_H
#define SETTLE_TESTS_FLOW_WIRE_H

#include "support/test.h"

#include <stdbool.h>

enum { WIRE_IN_BYTES = 16384, WIRE_ANSWERS_MAX = 8 };

struct wire {
    int fd;
    struct span out; /* borrowed; what is still to be sent */
    char in[WIRE_IN_BYTES];
    size_t in_len;
    int64_t opened_us, closed_us; /* closed_us 0: still open */
    bool reset;                   /* closed by a reset: the other side had not read all */
};

/* url: http://127.0.0.1:port. Connects. */
void wire_open(struct wire *wire, const char *url, struct span out);
void wire_open_from(struct wire *wire, const char *address, const char *url, struct span out);
void wire_close(struct wire *wire);

/* Sends and receives on all until each was closed by the other side, or time is up. Returns how many were not. */
size_t wire_run(struct wire *const *wires, size_t n, double deadline_s);

/* One look, without waiting for more than wait_ms. Returns how many are open. */
size_t wire_look(struct wire *const *wires, size_t n, int wait_ms);

/* The statuses of the whole answers that came, 1xx left out, at most WIRE_ANSWERS_MAX; what is no answer ends them. */
size_t wire_answers(const struct wire *wire, int ret[WIRE_ANSWERS_MAX]);

#endif
