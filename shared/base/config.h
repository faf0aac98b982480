/*
 * config: what the operator has set, as plain C values. Each option is one row of one table; the file's schema,
 * the environment's names, print-config and the test of ops/settle.yaml all walk it.
 *
 * An option's value comes from the first that names it: flag, environment (SETTLE_<SECTION>_<KEY>, and ..._FILE
 * for what may hold a secret), file, default. Knows no platform: sources are handed on as they stand.
 */
#ifndef SETTLE_BASE_CONFIG_H
#define SETTLE_BASE_CONFIG_H

#include "base/arena.h"
#include "base/cron.h"
#include "base/err.h"
#include "base/log.h"
#include "base/network.h"
#include "base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Where to listen: "host:port", "[::1]:port" or "unix:/path". */
struct address {
    const char *path; /* of a unix socket; NULL: host and port */
    const char *host; /* without brackets */
    uint16_t port;    /* 0: the system chooses */
};

/* One sender of a platform: its secrets are lines of a file (config_secret reads it). */
struct config_source {
    const char *platform, *name; /* name "default" unless given */
    const char *secret_file;
    const char *verify_token_file; /* NULL: none */
    const char *tenant;            /* whose posts alone it speaks of; NULL: anybody's */
    const char *const *topics;     /* that we subscribe to */
    size_t ntopics;
};

struct config_timeout {
    const char *platform;
    unsigned minutes;
};

/* When a platform that keeps failing is left alone (domain/breaker.h). */
struct config_breaker {
    const char *platform;
    unsigned failure_threshold, open_cooldown_seconds, half_open_probe_count;
};

struct config {
    struct {
        const char *url; /* libpq URI or keywords; "" leaves all to libpq (PGHOST, PGSERVICE, ...) */
        bool prepare;    /* false: unnamed statements only */
    } database;
    struct {
        const char *url; /* NULL: no Redis */
    } redis;
    struct {
        bool enabled;
        struct address listen;
        unsigned workers, connections; /* processes; Postgres connections of each */
        unsigned batch_rows, queue;    /* receipts a statement; deliveries that may wait in a worker */
        unsigned commit_timeout_ms;    /* at most 20 s: the reconciler looks back 30 s for late receipts */
        size_t max_body_bytes;
        unsigned request_timeout_ms; /* from a request's first byte to its last, and between requests */
        unsigned linger_ms;          /* of an end: for the last request of each open connection */
        unsigned max_connections;    /* of clients, a worker */
        unsigned max_connections_per_address; /* the same; 0: as many as it likes */
        struct config_networks {
            struct network *at;
            size_t n;
        } trusted_proxies;      /* for which that does not hold */
        const char *public_url; /* what senders call, without a slash at its end; "": not known */
    } ingest;
    struct {
        const char *folder;                    /* NULL: there is no spool */
        unsigned megabytes, reserve_megabytes; /* of one worker */
        unsigned after_ms;                     /* so long Postgres may take */
    } spool;
    struct {
        unsigned inserts_per_second, megabytes_per_source, keep_hours;
    } refused; /* requests whose signature did not hold: what is kept of one source, and how long */
    struct {
        unsigned receipt_days, ledger_days; /* ledger: its events, the runs of jobs, the scheduler's events */
        unsigned cost_days;                 /* also the oldest cost that is taken */
    } retention;
    struct {
        bool enabled;
        struct address listen;
        bool keys_required;                  /* false: whoever is on this machine is an operator */
        unsigned requests_per_minute;        /* of one key, in each process */
        unsigned wrong_keys_per_minute;      /* of one address: keys that are looked up in vain */
        const char *reconciler;              /* path of the program; NULL: beside our own */
        const char *reconciler_database_url; /* database.url unless given */
    } admin;
    struct {
        bool enabled;
        struct address listen;
    } monitor;
    struct {
        enum log_level level;
    } log;
    struct {
        const char *folder; /* the operator's descriptors; NULL: none */
    } platforms;
    struct {
        unsigned since_minutes, batch_size;
        unsigned evidence_age_minutes; /* since_minutes unless given */
        unsigned poll_seconds;         /* how long a run may ask platforms; 0: it does not */
        unsigned
            retry_before_fail; /* how often a publication is tried again before it is failed by time-out */
        struct config_timeout *timeouts;
        size_t ntimeouts;
        struct config_breaker
            breaker; /* of every platform that is not among the next; its platform is NULL */
        struct config_breaker *breakers; /* what is left out there is as above */
        size_t nbreakers;
    } reconcile;
    struct {
        struct cron_text {
            const char *text; /* "": never */
            struct cron cron;
        } publications, maintain, aggregates, insights, stats, alerts;
    } schedules; /* when settle-reconciler serve starts each job */
    struct {
        unsigned busy_rows;                  /* so many stale publications left are many */
        unsigned busy_seconds, idle_seconds; /* then, and when none is open; 0: as scheduled */
    } serve;
    struct {
        unsigned at_once;       /* tasks */
        unsigned batch_seconds; /* of a round */
        unsigned lease_seconds; /* of a task; more than batch_seconds */
        unsigned idle_minutes;  /* between rounds while no task is ever due; 0: as scheduled */
    } insights;
    struct {
        bool allow_http;
        struct config_networks allow_private;
        const char *ca_file; /* NULL: the system's */
        unsigned at_once, at_once_per_platform, connect_timeout_ms, timeout_ms, backoff_ms;
        size_t max_answer_bytes;
    } fetch; /* how platforms are asked (fetch/fetch.h) */
    struct {
        const char *key_file; /* NULL: tokens can neither be stored nor read */
    } connections;
    struct config_source *sources;
    size_t nsources;
    bool unsafe_ok; /* a Postgres that may lose commits is accepted: for tests */
};

struct config_flag {
    const char *key, *value; /* "reconcile.since_minutes", as a file would spell its value */
};

/* path NULL: SETTLE_CONFIG, else no file. INVALID names file, line and column, or the variable or flag, and
 * what would be right. The caller owns the result; it copies all it needs. NULL on failure. */
struct config *config_open(const char *path, char *const *environment, const struct config_flag *flags,
                           size_t nflags, struct err *err) MUST_CHECK;
void config_close(struct config *c); /* NULL is fine */

const char *config_file(const struct config *c); /* that it was read from; NULL: none */

/* The whole as YAML that config_open takes again, each value with where it came from; passwords as ***. */
void config_print(const struct config *c, FILE *out);

/* The options of some sections as a JSON object of objects: numbers and truth values as such, all else as text, passwords as
 * ***, lists left out. Made in arena. */
struct span config_json(const struct config *c, const char *const *sections, size_t nsections,
                        struct arena *arena);

/* What the form cannot show: the files and folders that it names can be read, and a flood of large bodies fits into
 * memory. INVALID. */
enum status config_check(const struct config *c, struct err *err) MUST_CHECK;

/* The same check for a body larger than ingest.max_body_bytes, which a platform may allow; and each worker's share of what
 * is kept of refused requests must hold one such. INVALID. */
enum status config_check_bodies(const struct config *c, size_t largest_bytes, struct err *err) MUST_CHECK;

/* The lines of a source's secret_file, and what its verify_token_file holds (absent if it has none), into room. The
 * caller zeroes room. INVALID: unreadable, longer than size. */
enum status config_secret(const struct config_source *source, char *room, size_t size, struct span *ret,
                          struct err *err) MUST_CHECK;
enum status config_verify_token(const struct config_source *source, char *room, size_t size, struct span *ret,
                                struct err *err) MUST_CHECK;

/* Whose posts alone a source speaks of; NULL: anybody's. */
const char *config_tenant_of(const struct config *c, struct span platform, struct span source);

/* The first option that differs although only a restart of the gateway would take it up; NULL: none. Looks at no list, at
 * nothing that may hold a secret, and at nothing that the reconciler alone goes by. */
const char *config_gateway_needs_restart(const struct config *running, const struct config *fresh);

/* Wipes the value of an option of text, which is "" from then on: for a process that must not hold it. */
void config_forget(struct config *c, const char *key);

/* The table's keys in its order, for the test of the sample file; NULL behind the last. */
const char *config_key(size_t index);

#endif
