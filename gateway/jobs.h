/*
 * jobs: runs the reconciler as a child process and hands on what it said. The child gets a minimal environment: our
 * settings file, settings without secrets, and the reconciler's own database URL, which besides us only the parent
 * holds.
 * Never blocks. A run once begun goes on whoever has left, and holds no drain; the job's own lock decides when several
 * are asked for.
 */
#ifndef SETTLE_GATEWAY_JOBS_H
#define SETTLE_GATEWAY_JOBS_H

#include "base/config.h"
#include "base/id.h"
#include "base/span.h"
#include "server.h"

struct jobs;

enum {
    JOBS_MAX = 16,            /* children at once; most of them only learn that the lock is held */
    JOBS_OF_TENANTS = 12,     /* of these for all tenants together: operators always find a place */
    JOBS_OF_TENANT = 2,       /* for one */
    JOB_DEADLINE_MS = 600000, /* then TERM: the reconciler ends its batch and leaves; the next run goes on */
    JOB_GRACE_MS = 30000,     /* then KILL, which the fence makes harmless */
    JOB_OUTPUT_MAX = 1024 * 1024 /* of a report; ids in it are capped */
};

struct job_request {
    struct id run_id;
    unsigned since_minutes; /* 0: reconcile.since_minutes of the settings, as the child reads them */
    struct span platform;   /* absent: all */
    bool dry_run, force;
    struct span actor;
    uint64_t tenant; /* whose it is (caller.holder); 0: an operator's */
};

struct override_request {
    struct id run_id, log_id;
    struct span verdict, reason; /* success, failed, none */
    struct span actor;
    uint64_t tenant;
};

struct replay_request {
    struct id run_id;
    struct span receipt; /* bytes of its dedup key */
    bool dry_run;
    struct span actor;
    uint64_t tenant;
};

/* report: JSON text, valid during the call, absent when err is given. Causes: "lock_held" (BUSY), "run_timeout",
 * "run_failed" (UNAVAILABLE); of an override: "not_found", "not_overridden"; of a replay: "not_found", "unmatched"
 * (INVALID). */
typedef void job_done(void *ctx, struct span report, const struct err *err);

struct jobs *jobs_open(struct server *server, const struct config *config);
void jobs_close(
    struct jobs *j); /* lets go of children that still run: they go on by themselves; NULL is fine */

/* BUSY: "overload", or "caller_busy": the tenant has as many as it may; BROKEN: the program cannot be started. Then done is not called; else exactly once, later.
 * done may be NULL. */
enum status jobs_reconcile(struct jobs *j, const struct job_request *request, job_done *done, void *ctx,
                           struct err *err) MUST_CHECK;

enum status jobs_override(struct jobs *j, const struct override_request *request, job_done *done, void *ctx,
                          struct err *err) MUST_CHECK;

enum status jobs_replay(struct jobs *j, const struct replay_request *request, job_done *done, void *ctx,
                        struct err *err) MUST_CHECK;

#endif
