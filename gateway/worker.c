/* What an ingest process is made of, from its listener to its stores, and the order in which a turn ends. */
#include "role.h"

#include "admit.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/now.h"
#include "batch.h"
#include "clocks.h"
#include "dedupe.h"
#include "drain.h"
#include "health.h"
#include "ingest.h"
#include "refused.h"
#include "reload.h"
#include "spool.h"

#include <stdlib.h>
#include <sysexits.h>

enum {
    CONNECT_TIMEOUT_S = 2,
    REDIS_CONNECT_TIMEOUT_MS = 1000,
    LINE_WAIT_MS = 100, /* for a store that is at work: what does not fit in is turned away */
    LINE_BYTES_MAX = 64 * 1024 * 1024,
    SPOOL_LINE_LEAST = 512, /* they share one sync */
    LET_IN_MS = 1000,       /* at the latest, whether Postgres has answered or not */
    FLIGHTS_AT_LEAST = 2,   /* of a connection: one under way, one to follow */
};

static void add_chores(struct ingest *g);
static void let_in(void *ingest);
static void lock_secrets(struct platforms *set);
static struct server *open_server(const struct process *self, struct err *err);
static void open_stores(struct ingest *g, const struct config *config);
static unsigned answer_ms(const struct config *config);
static void open_lines(struct ingest *g, const struct config *config);
static void open_spool(struct ingest *g, const struct config *config, size_t place);
static void on_pg(void *ingest, struct pg *pg, bool up);
static void on_malformed(void *ingest);
static void after_reload(void *ingest, struct platforms *fresh);
static void close_all(struct ingest *g);

int ingest_run(const struct process *self)
{
    struct ingest *g = calloc(1, sizeof(*g));
    struct err err = {0};
    bool all_answered;

    if (!g)
        abort();
    health_join(self->place, HEALTH_INGEST, now_boot_us());
    g->settings = self->settings;
    g->platforms = self->settings->platforms;
    lock_secrets(g->platforms);
    g->server = open_server(self, &err);
    if (!g->server) {
        log_error("worker_failed", LOG_ERR(&err));
        free(g);
        return EX_SOFTWARE;
    }
    g->admit = admit_open();
    if (self->settings->config->ingest.public_url[0] != '\0')
        g->public_url = span_of(self->settings->config->ingest.public_url);
    g->max_body_bytes = self->settings->config->ingest.max_body_bytes;
    open_stores(g, self->settings->config);
    if (self->settings->config->spool.folder)
        open_spool(g, self->settings->config, self->place);
    server_handle(g->server, ingest_on_request, on_malformed, g);
    g->reload = reload_open(server_loop(g->server), self, after_reload, g);
    server_on_hup(g->server, reload_start, g->reload);
    add_chores(g);
    all_answered = server_run(g->server);
    close_all(g);
    return all_answered ? EX_OK : EX_TEMPFAIL;
}

/* What a turn ends with, in this order. */
static void add_chores(struct ingest *g)
{
    server_add_chore(g->server, dedupe_turn, g->dedupe); /* what came in asks Redis */
    if (g->spool) {
        server_add_chore(g->server, drain_turn, g->drain); /* what was kept asks to be next */
        server_add_chore(g->server, spool_turn, g->spool);
    }
    server_add_chore(g->server, clocks_turn, g->clocks);
    server_add_chore(g->server, batch_turn, g->batch); /* what has asked, or need not, goes to Postgres */
    server_add_chore(g->server, ingest_turn, g);       /* who had to wait shows what the stores can take */
    server_add_chore(g->server, refused_turn, g->refused); /* if Postgres has nothing better to do */
    server_add_chore(g->server, links_turn, g->links);     /* and all of it leaves */
    server_add_chore(g->server, let_in, g);
}

/* While Postgres is first dialled nobody needs to be refused, nor the spool to be used: who calls has not been waiting long. */
static void let_in(void *ingest)
{
    struct ingest *g = ingest;

    if (!links_pg_is_new(g->links) || server_boot_us(g->server) - g->began_us > LET_IN_MS * INT64_C(1000))
        server_let_in(g->server);
}

static void lock_secrets(struct platforms *set)
{
    if (!platforms_lock(set))
        log_warn("secrets_not_locked", LOG_TEXT("cure", "raise RLIMIT_MEMLOCK: they may come into swap"));
}

static struct server *open_server(const struct process *self, struct err *err)
{
    const struct server_limits limits = {
        .max_body_bytes =
            ingest_body_bytes(self->settings->platforms, self->settings->config->ingest.max_body_bytes),
        .max_connections = self->settings->config->ingest.max_connections,
        .max_per_address = self->settings->config->ingest.max_connections_per_address,
        .exempt = self->settings->config->ingest.trusted_proxies.at,
        .nexempt = self->settings->config->ingest.trusted_proxies.n,
        .request_ms = self->settings->config->ingest.request_timeout_ms,
        .linger_ms = self->settings->config->ingest.linger_ms,
        .drain_ms = DRAIN_MS,
        .begins_shut = true,
    };

    struct server *server = server_open(self->listener, &limits, err);

    if (server)
        metric_set(CONNECTIONS_MAX, METRIC_NO_PLATFORM, 0, (double)server_max_connections(server));
    return server;
}

static void open_stores(struct ingest *g, const struct config *config)
{
    /* A worker that starts anew under load cannot wait until a hundred others are prepared, nor has each backend room for them. */
    static const enum sql mine[] = {SQL_RECEIPT_ACCEPT, SQL_RECEIPT_ACCEPT_SHARED, SQL_REFUSED_ADD,
                                    SQL_HINT_KEY, SQL_SERVER_CHECK};
    const struct links_config links = {
        .pg = {.url = config->database.url,
               .user = "settle_gateway",
               .application = "settle-gateway ingest",
               .connect_timeout_s = CONNECT_TIMEOUT_S,
               .statement_timeout_ms = config->ingest.commit_timeout_ms,
               .prepare = config->database.prepare,
               .lazy = true,
               .eager = mine,
               .neager = sizeof(mine) / sizeof(*mine),
               .unsafe_ok = config->unsafe_ok},
        .npg = config->ingest.connections,
        .takes_webhooks = true,
        .redis_url = config->redis.url,
        .redis_connect_timeout_ms = REDIS_CONNECT_TIMEOUT_MS,
        .on_pg = on_pg,
        .ctx = g,
    };
    const struct batch_config batch = {
        .max_rows = config->ingest.batch_rows,
        .commit_timeout_ms = config->ingest.commit_timeout_ms,
        .done = ingest_on_commit,
    };

    g->links = links_open(g->server, &links);
    g->began_us = g->pg_seen_us = server_boot_us(g->server); /* at least, it is being looked for */
    g->dedupe = dedupe_open(g->server, g->links);
    g->clocks = clocks_open(g->server, g->links);
    g->batch = batch_open(g->server, g->links, &batch);
    g->senders = senders_open(g->server, g->platforms);
    g->refused = refused_open(g->server, g->links, g->batch, g->senders, config);
    deadlines_open(&g->commit_deadlines, server_loop(g->server), config->spool.after_ms);
    deadlines_open(&g->answer_deadlines, server_loop(g->server), answer_ms(config));
    open_lines(g, config);
}

static unsigned answer_ms(const struct config *config)
{
    unsigned with_spool_ms = config->spool.after_ms + SPOOL_MS_MIN;

    if (config->spool.folder)
        return with_spool_ms > ANSWER_MS ? with_spool_ms : ANSWER_MS;
    return config->ingest.commit_timeout_ms < ANSWER_MS ? config->ingest.commit_timeout_ms : ANSWER_MS;
}

/* Connections are left over for those who are turned away: who finds none waits in the backlog, where nobody tells it
 * anything. */
static void open_lines(struct ingest *g, const struct config *config)
{
    size_t all = server_max_connections(g->server), connections = all - all / 4;
    struct line line = {
        .least = config->ingest.connections * (size_t)config->ingest.batch_rows * FLIGHTS_AT_LEAST,
        .most = config->ingest.queue < connections ? config->ingest.queue : connections,
        .most_bytes = LINE_BYTES_MAX,
        .wait_us = LINE_WAIT_MS * INT64_C(1000),
    };

    if (line.least > line.most)
        line.least = line.most;
    g->store_line = g->spool_line = line;
    g->proven = 1;
    g->spool_line.least = SPOOL_LINE_LEAST < line.most ? SPOOL_LINE_LEAST : line.most;
}

static void open_spool(struct ingest *g, const struct config *config, size_t place)
{
    const struct spool_config spool = {
        .folder = config->spool.folder,
        .place = (unsigned)place,
        .max_bytes = config->spool.megabytes * (size_t)1024 * 1024,
        .reserve_bytes = config->spool.reserve_megabytes * (size_t)1024 * 1024,
        .done = ingest_on_spooled,
        .ctx = g,
    };

    g->spool = spool_open(g->server, &spool);
    g->drain = drain_open(g);
}

static void on_pg(void *ingest, struct pg *pg, bool up)
{
    struct ingest *g = ingest;

    if (up)
        clocks_on_pg(g->clocks, pg); /* before anybody hears that it can store */
    health_can_store(links_pg_is_up(g->links));
    dedupe_on_pg(g->dedupe, pg, up);
}

static void on_malformed(void *ingest)
{
    (void)ingest;
    metric_add(WEBHOOK_REQUESTS, METRIC_NO_PLATFORM, OUTCOME_MALFORMED, 1);
}

/* Deliveries that are under way keep the set they came in with. */
static void after_reload(void *ingest, struct platforms *fresh)
{
    struct ingest *g = ingest;

    senders_move(g->senders, fresh);
    server_limit_bodies(g->server, ingest_body_bytes(fresh, g->max_body_bytes));
    platforms_close(g->platforms);
    g->platforms = g->settings->platforms = fresh;
    lock_secrets(fresh);
}

static void close_all(struct ingest *g)
{
    reload_close(g->reload);
    links_close(g->links); /* ends what was under way; nothing is sent any more */
    batch_close(g->batch);
    drain_close(g->drain);
    spool_close(g->spool); /* with what the batch could not store any more */
    refused_close(g->refused);
    senders_close(g->senders);
    admit_close(g->admit);
    dedupe_close(g->dedupe);
    clocks_close(g->clocks);
    deadlines_close(&g->commit_deadlines);
    deadlines_close(&g->answer_deadlines);
    server_close(g->server);
    while (g->nspare_arenas > 0)
        arena_close(g->spare_arenas[--g->nspare_arenas]);
    free(g);
}
