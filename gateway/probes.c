#include "probes.h"

#include "answer.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/now.h"
#include "health.h"
#include "keys.h"
#include "server.h"

#include <stdlib.h>
#include <sysexits.h>

enum {
    MAX_BODY_BYTES = 1024,
    MAX_CONNECTIONS = 64,
    REQUEST_MS = 5000,
    LAST_DRAIN_MS = 1000, /* ends when all others have */
};

struct probe {
    const char *path;
    const char *content_type;
    bool (*write)(FILE *to); /* false: 503 */
};

static bool write_live(FILE *to);
static bool write_ready(FILE *to);
static bool write_metrics(FILE *to);
static const char *role_name(enum health_role role);

static const struct probe probes[] = {
    {"/livez",   "text/plain; charset=utf-8",                write_live   },
    {"/healthz", "text/plain; charset=utf-8",                write_live   },
    {"/readyz",  "text/plain; charset=utf-8",                write_ready  },
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", write_metrics},
};

static void on_request(void *ctx, h2o_req_t *req);
static const struct probe *probe_find(struct span path);
static void answer_probe(h2o_req_t *req, const struct id *request_id, const struct probe *probe, bool whole);

int monitor_run(const struct process *self)
{
    const struct server_limits limits = {
        .max_body_bytes = MAX_BODY_BYTES,
        .max_connections = MAX_CONNECTIONS,
        .request_ms = REQUEST_MS,
        .drain_ms = LAST_DRAIN_MS,
    };
    struct err err = {0};
    struct server *server;
    bool all_answered;

    health_join(self->place, HEALTH_MONITOR, now_boot_us());
    server = server_open(self->listener, &limits, &err);
    if (!server) {
        log_error("monitor_failed", LOG_ERR(&err));
        return EX_SOFTWARE;
    }
    server_handle(server, on_request, NULL, server);
    all_answered = server_run(server);
    server_close(server);
    return all_answered ? EX_OK : EX_TEMPFAIL;
}

static void on_request(void *ctx, h2o_req_t *req)
{
    struct id request_id = id_make(server_wall_us(ctx));
    struct span method = {req->method.base, req->method.len};
    struct span query = {req->path.base, req->path.len};
    const struct probe *probe = probe_find(span_cut(&query, '?'));
    struct err err = {0};

    if (!probe) {
        err_cause(&err, INVALID, "not_found", "here are /livez, /readyz and /metrics");
        answer_problem(req, &request_id, &err);
    } else if (!span_eq(method, SPAN("GET")) && !span_eq(method, SPAN("HEAD"))) {
        h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("allow"), 0, NULL,
                              H2O_STRLIT("GET, HEAD"));
        err_cause(&err, INVALID, "method_not_allowed", "this path takes GET, HEAD");
        answer_problem(req, &request_id, &err);
    } else {
        answer_probe(req, &request_id, probe,
                     probe->write == write_metrics || span_starts(query, SPAN("verbose")));
    }
}

static const struct probe *probe_find(struct span path)
{
    for (size_t i = 0; i < countof(probes); i++)
        if (span_eq(path, span_of(probes[i].path)))
            return &probes[i];
    return NULL;
}

/* whole: with every check, else one word. */
static void answer_probe(h2o_req_t *req, const struct id *request_id, const struct probe *probe, bool whole)
{
    char *text;
    size_t len;
    FILE *to = open_memstream(&text, &len);
    h2o_iovec_t copy;
    bool good;

    if (!to)
        abort();
    good = probe->write(to);
    if (fclose(to) != 0)
        abort();
    copy =
        whole ? h2o_strdup(&req->pool, text, len) : h2o_strdup(&req->pool, good ? "ok\n" : "no\n", SIZE_MAX);
    free(text);
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CACHE_CONTROL, NULL, H2O_STRLIT("no-store"));
    answer_body(req, request_id, good ? 200 : 503, probe->content_type, (struct span){copy.base, copy.len});
}

static bool write_live(FILE *to)
{
    int64_t now_us = now_boot_us();
    bool live = true;

    for (size_t i = 0; i < health_nplaces(); i++) {
        struct health_place p = health_place(i, now_us);

        if (p.role == HEALTH_NOBODY)
            continue; /* not started yet */
        fprintf(to, "%s %s %zu\n", p.turned_lately ? "ok" : "no", role_name(p.role), i);
        live = live && p.turned_lately;
    }
    return live;
}

static bool write_ready(FILE *to)
{
    int64_t now_us = now_boot_us();
    bool can_store = false;

    for (size_t i = 0; i < health_nplaces(); i++) {
        struct health_place p = health_place(i, now_us);
        bool can = p.turned_lately && p.can_store;

        if (p.role != HEALTH_INGEST)
            continue;
        fprintf(to, "%s ingest %zu can store\n", can ? "ok" : "no", i);
        /* Shown, and no more: what is stored is as durable as ever. */
        if (p.has_spool)
            fprintf(to, "%s ingest %zu spool takes what Postgres does not\n", p.can_spool ? "ok" : "no", i);
        fprintf(to, "%s ingest %zu clock agrees with the database's\n", p.clock_agrees ? "ok" : "no", i);
        can_store = can_store || can;
    }
    fputs(health_draining() ? "no draining\n" : "ok not draining\n", to);
    return can_store && !health_draining();
}

static bool write_metrics(FILE *to)
{
    metric_page(to);
    keys_page(to);
    return true;
}

static const char *role_name(enum health_role role)
{
    static const char *const names[] = {[HEALTH_NOBODY] = "nobody",
                                        [HEALTH_INGEST] = "ingest",
                                        [HEALTH_ADMIN] = "admin",
                                        [HEALTH_MONITOR] = "monitor"};

    return names[role];
}
