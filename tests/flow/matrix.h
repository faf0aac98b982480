/*
 * matrix: one row of the failure matrix: a fault that strikes while signed posts come in, and goes. Whatever it is, each
 * post is answered, by 200 or, where the row allows it, 503 with Retry-After; nearly all within the contract's time; and
 * when the fault has gone and the spool is drained, ledger and table agree.
 * Owns the gateway's settings and its spool's folder.
 */
#ifndef SETTLE_TESTS_FLOW_MATRIX_H
#define SETTLE_TESTS_FLOW_MATRIX_H

#include "support/load.h"
#include "support/proxy.h"
#include "support/world.h"

enum { MATRIX_SENDERS = 8, MATRIX_WORKERS = 2 };

enum outcome_of_row {
    NONE_REFUSED, /* all is stored somewhere at once, or the machine is busy: see matrix_judge */
    SOME_REFUSED, /* at least one 503: the row is about what is left when the spool cannot take it either */
    SOME_CUT, /* the gateway, or a part of it, ended: at least one post was not answered, and sent again */
};

struct row {
    const char *fault; /* cmocka's name of the test */
    void (*strike)(struct world *w);
    void (*mend)(struct world *w);
    unsigned posts; /* answered while it lasts */
    enum outcome_of_row outcome;
    const char *evidence; /* a series of /metrics that must have risen: that the fault was felt */
    bool without_spool;
};

enum { MATRIX_OF_SERVERS = 9, MATRIX_OF_NETWORK = 6 };
extern const struct row matrix_of_servers[MATRIX_OF_SERVERS]; /* Postgres, also with Redis */
extern const struct row matrix_of_network[MATRIX_OF_NETWORK]; /* the way to Postgres */
/* A test a row: in this order, all of them, and of one table in a program. */
void matrix_tests(struct CMUnitTest *tests, const struct row *rows, size_t n);

/* Group set-up and reset of tests with a spool; reset leaves no gateway. */
int matrix_up(void **state);
int matrix_reset(void **state);
int matrix_down(void **state);

/* From matrix_reset on, all but the test's own statements go by way of this proxy to Postgres. */
extern struct proxy *matrix_proxy;
extern char matrix_spool[200]; /* the spool's folder: empty, anew for each test */

void matrix_gateway(struct world *w); /* starts it and waits for its connections */
bool matrix_connected(struct world *w);
struct load *matrix_load(struct world *w);             /* light: see load.h */
void matrix_wait_for_acks(struct load *l, unsigned n); /* n more */
void matrix_struck(struct load *l);                    /* see load_struck; load_mended when it is over */

/* Strikes under load, mends, waits until all is drained, and judges. */
void matrix_run(struct world *w, const struct row *row);
/* The same for who strikes by himself: mended is done; stops the load and judges it. Of a hundred answers one may be
 * late, or refused where none should be: disk and cores are shared with whatever else runs. Of what came between load_struck
 * and load_mended likewise, or as many as there are senders. Where times do not count (world_times_count) each may be late, and
 * half of them refused. */
struct load_count matrix_judge(struct world *w, struct load *l, enum outcome_of_row outcome);

/* Anything that must succeed: a shell's words. */
void matrix_sh(struct world *w, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
