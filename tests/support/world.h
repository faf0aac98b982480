/*
 * world: the real programs against a Postgres and a Redis of their own, in a folder that vanishes with the test
 * program, however that ends. One world a test program (a group setup), world_reset between its tests.
 *
 *     static int up(void **state)    { *state = world_open(); return world_gateway(*state, NULL); }
 *     static int reset(void **state) { world_reset(*state); return 0; }
 *     static int down(void **state)  { world_close(*state); return 0; }
 *
 * All texts and JSON that a world hands out are its own and live until world_reset or world_close. What cannot be
 * done at all (a server that does not start, wrong SQL) fails the running test with its reason.
 */
#ifndef SETTLE_TESTS_SUPPORT_WORLD_H
#define SETTLE_TESTS_SUPPORT_WORLD_H

#include "support/test.h"

#include <stdbool.h>
#include <sys/types.h>

#include <jansson.h>

/* Borrow these freely; world.c alone changes them. The same stand in the environment as SETTLE_..._URL, with a
 * secret per platform as SETTLE_SECRET_<PLATFORM>. */
struct world {
    char dir[64];
    char database_url[160], redis_url[160];
    char ingest_url[64], admin_url[64],
        monitor_url[64]; /* "http://127.0.0.1:34567"; of the running gateway */
    pid_t gateway;       /* 0: none runs */
    struct world_inner *inner;
};

struct world *world_open(void); /* servers up, schema deployed, no gateway yet */
void world_close(struct world *w);
/* All tables and Redis as after deploying; a transaction of world_sql that is open is rolled back. The gateway goes on. */
void world_reset(struct world *w);

/* Servers and gateway. */

/* Starts settle-gateway with these further arguments, NULL ends them, and waits until it is ready. Returns 0, as a
 * cmocka setup does. Environment variables that the test sets before (setenv) reach it. */
int world_gateway(struct world *w, ...) __attribute__((sentinel));
int world_gateway_stop(struct world *w); /* TERM; returns its exit status (128 + n after signal n) */

enum part { GATEWAY, POSTGRES, REDIS };
void world_kill(struct world *w, enum part part); /* KILL to all its processes; they are gone on return */
void world_crash(
    struct world
        *w); /* Postgres, as pg_ctl -m immediate does it: no checkpoint, recovery at the next start */
pid_t world_child(struct world *w,
                  const char *role);                /* the newest process of that name that the gateway has */
void world_freeze(struct world *w, enum part part); /* STOP */
void world_thaw(struct world *w, enum part part);   /* CONT */
void world_servers(struct world *w);                /* starts again whichever server is down, or frozen */

/* HTTP. */

struct reply {
    long status;         /* 0: no answer (refused, cut, late) */
    const char *body;    /* never NULL */
    const char *headers; /* as received */
    json_t *json;        /* NULL: the body is not JSON */
};
const char *reply_header(struct world *w, const struct reply *r, const char *name); /* NULL: not there */

/* A webhook signed now with the platform's secret. source: NULL for the plain route. */
struct reply world_post(struct world *w, const char *platform, const char *source, const char *body);
/* The same as a platform does it, again after each 503 until it is stored: a machine that is slow enough has no commit in time.
 * Fails the test if it is not stored. What came after 503 may have been stored after all: then it is a duplicate. */
struct reply world_deliver(struct world *w, const char *platform, const char *source, const char *body);
/* The admin API; json NULL: no body. */
struct reply world_api(struct world *w, const char *method, const char *path, const char *json);
/* Anything: url in full; headers "name: value", NULL ends the list, NULL for none; body NULL: none. */
struct reply world_http(struct world *w, const char *method, const char *url, const char *const *headers,
                        struct span body);
/* Of the gateway's /metrics, by its whole name: settle_store_up{store="redis"}; -1: not there. */
double world_metric(struct world *w, const char *series);
/* Nothing is in the spool, nor in a file of it that no worker has taken over yet. */
bool world_is_drained(struct world *w);
/* The header line(s) that sign body now: for world_http and for senders of one's own. */
const char *const *world_sign(struct world *w, const char *platform, const char *source, struct span body);
/* SETTLE_SECRET_<PLATFORM>[_<SOURCE>] of the environment. */
const char *world_secret(const char *platform, const char *source);

/* Stores. */

/* As superuser; several statements are one transaction. The last result as psql -At shows it: columns split by "|",
 * rows by newlines. Reconnects when Postgres was away; NULL when it cannot be reached. */
const char *world_sql(struct world *w, const char *format, ...) PRINTF_LIKE(2, 3);
long world_count(struct world *w, const char *format, ...)
    PRINTF_LIKE(2, 3); /* its first value as a number; -1: none */
/* One redis-cli command, NULL ends its words: the raw answer; NULL when Redis cannot be reached. */
const char *world_redis(struct world *w, ...) __attribute__((sentinel));

/* A publication as an older tool would have written it: status, minutes since its updated_at. Returns its id. */
const char *world_publication(struct world *w, const char *platform, const char *post, const char *status,
                              double age_minutes);

/* Programs. */

struct process {
    pid_t pid;
    unsigned nth;
};
struct outcome {
    int status; /* exit status; 128 + n after signal n */
    const char *out, *err;
    json_t *json; /* of out, if it is JSON */
};
/* Any program: by name if it is ours or on the PATH. NULL ends the arguments. */
struct process world_spawn(struct world *w, const char *program, ...) __attribute__((sentinel));
struct outcome world_wait(struct world *w, struct process p);
bool world_ended(struct process p); /* by itself; its outcome is still to be taken by world_wait */
bool world_said(struct world *w, struct process p, const char *text); /* on stderr, so far */
/* settle-reconciler publications --json with these arguments, NULL ends them. */
struct outcome world_reconcile(struct world *w, ...) __attribute__((sentinel));

/* Waits until the condition holds, looking every few milliseconds; fails the test after deadline_s, but not within a minute: a
 * machine may be slow. */
#define world_until(deadline_s, condition)                                                                   \
    for (int64_t until_ = world_deadline((deadline_s) > 60 ? (deadline_s) : 60); !(condition);               \
         world_look_again(until_, #condition))
int64_t world_deadline(double seconds);
void world_look_again(int64_t until, const char *condition);

/* Waits until it is past, in UTC, if it is near: for the setup of tests that say "today" more than once. */
void world_avoid_midnight(void);

/* Whether times may be judged: on a machine that does nothing else (ops/test --long), and not under a sanitizer. On any other
 * they say how fast that is; they are printed only. */
bool world_times_count(void);

#endif
