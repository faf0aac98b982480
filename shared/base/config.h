/*
 * config: what the operator has set, as plain C values. Each option is one row of one table; the file's schema,
 * the environment's names, print-config and the test of ops/settle.yaml all walk it.
 *
 * An option's value comes from the first that names it: flag, environment (SETTLE_<SECTION>_<KEY>, and ..._FILE
 * for what may hold a secret), file, default. Knows no platform: sources are handed on as they stand.
 */
#ifndef SETTLE_BASE_CONFIG_H
#define SETTLE_BASE_CONFIG_H

#include "base/err.h"
#include "base/log.h"
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
};

struct config_timeout {
    const char *platform;
    unsigned minutes;
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
        unsigned max_connections; /* of clients, a worker */
    } ingest;
    struct {
        bool enabled;
        struct address listen;
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
        struct config_timeout *timeouts;
        size_t ntimeouts;
    } reconcile;
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

/* The whole as YAML that config_open takes again, each value with where it came from; passwords as ***. */
void config_print(const struct config *c, FILE *out);

/* What the form cannot show: the files and folders that it names can be read, and a flood of large bodies fits into
 * memory. INVALID. */
enum status config_check(const struct config *c, struct err *err) MUST_CHECK;

/* The lines of a source's secret_file, into room. The caller zeroes room. INVALID: unreadable, longer than size. */
enum status config_secret(const struct config_source *source, char *room, size_t size, struct span *ret,
                          struct err *err) MUST_CHECK;

/* Wipes the value of an option of text, which is "" from then on: for a process that must not hold it. */
void config_forget(struct config *c, const char *key);

/* The table's keys in its order, for the test of the sample file; NULL behind the last. */
const char *config_key(size_t index);

#endif
