#include "api.h"

#include "answer.h"
#include "auth.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/now.h"
#include "callers.h"
#include "gauges.h"
#include "health.h"
#include "jobs.h"
#include "links.h"
#include "openapi.h"
#include "peers.h"
#include "routes.h"
#include "stream.h"
#include "tie.h"

#include <stdlib.h>
#include <sysexits.h>

enum {
    CONNECT_TIMEOUT_S = 2,
    STATEMENT_TIMEOUT_MS = 5000,
    QUEUE_MAX = 200,      /* calls that wait for a connection, a lane */
    QUEUE_SHARE = 50,     /* of one tenant, or one operator's key: 50 repairs at once are each answered */
    QUEUE_WAIT_MS = 2000, /* longest wait; also bridges a reconnect */
    FIRST_WAIT_MS = 8000, /* the same while Postgres is first dialled: nobody can say yet that it is away */
    ASK_AGAIN_MAX = 3,    /* of a statement that says status 0, or that Postgres has undone */
    EXPORT_ROWS = 1000,   /* a page: up to half a megabyte */
    PAGE_AGAIN_MAX = 10,  /* of the same page: an export under way outlives a short fault */
    REDIS_CONNECT_TIMEOUT_MS = 1000,
    MAX_CONNECTIONS = 256,
    REQUEST_MS = 10000,
    CALL_ARENA_BYTES = 8192,
};

/* Whose statements share connections: who reads slowly keeps nobody from writing, or from proving who they are. Nor does one
 * tenant keep another waiting: it has one connection less than there are. Reads are not prepared: a list leaves out the
 * filters that are null, and the planner must see which those are. */
enum { KEYS, READS, WRITES, LANES };
static const struct {
    const char *application;
    size_t connections,
        share; /* share: of one tenant, or one operator's key; who asks with a key is not known yet */
    bool read_only, prepare;
} lane_kinds[LANES] = {
    [KEYS] = {"settle-gateway admin keys",  1, 1, true,  true },
    [READS] = {"settle-gateway admin read",  3, 2, true,  false},
    [WRITES] = {"settle-gateway admin write", 2, 1, false, true },
};

/* What of the settings is the scheduler's; no section that names a store, a file or a secret. */
static const char *const shown_sections[] = {"schedules", "serve", "insights", "retention"};

struct lane {
    struct links *links;
    size_t share;
    struct call *first, **last; /* the queue */
    size_t ncalls;
    struct call *running;
};

struct api {
    struct server *server;
    const struct config *config;
    struct lane lanes[LANES]; /* KEYS without links if none are wanted */
    struct jobs *jobs;
    struct gauges *gauges;
    struct streams *streams;
    struct callers *callers; /* NULL: no keys are wanted */
    struct seal_keys *keys;  /* for tokens; NULL: none can be stored */
    /* Those that it began with. */
    const struct platforms *platforms;
    unsigned cost_days;
};

/* One request, from its arrival to its answer. Owns its arena, in which it lies itself. */
struct call {
    struct api *api;
    struct arena *arena;
    struct tie tie; /* to the client */
    struct id request_id;
    uint64_t address;          /* peers_address of the client */
    struct apikey key;         /* borrows the request, until it is proved */
    struct caller caller;      /* without a key_id: not known yet, or no keys are wanted */
    const struct route *route; /* NULL: not known yet, because who asks is not */
    struct span query;         /* without "?", absent if none */
    struct params params;
    struct lane *lane;
    const struct pg *pg; /* the connection its statement is on */
    struct call *next;   /* in the lane's queue, or among those that run */
    bool was_passed;     /* in the queue, because its tenant had all that it may */
    int64_t queued_boot_us;
    unsigned asked_again;
    struct span errors; /* of a refusal by the statement; absent: none */

    struct stream *stream; /* of an export; NULL: it has not begun. Not to be used once tie.req is NULL */
    struct span from[3]; /* the row that its next page begins behind: date, tenant, platform; in from_room */
    char from_room[10 + 255 + 50];
};

static struct api *api_open(const struct process *self, struct server *server);
static void api_close(struct api *a);
static struct seal_keys *load_keys(const struct config *config);
static void lane_open(struct api *a, const struct process *self, size_t lane);

static void on_request(void *api, h2o_req_t *req);
static struct call *call_begin(struct api *a, h2o_req_t *req);
static void call_end(struct call *c);
static enum status admit(struct call *c, struct err *err);
static enum status check_size(struct call *c, struct err *err);
static void begin(struct call *c);
static enum status find_route(struct call *c, struct span ret_path[PATH_VALUES_MAX], struct err *err);
static enum status read_values(struct call *c, struct span path[PATH_VALUES_MAX], struct err *err);
static enum status check_source(const struct call *c, struct err *err);
static struct span header_of(void *req, const char *name);
static void go(struct call *c);

static void queue(struct call *c);
static void api_turn(void *api);
static void lane_turn(struct lane *l, int64_t now_us);
static struct call *lane_take(struct lane *l, struct call **at);
static void time_out(struct call *c, bool is_up);
static void give_up(struct call *c, const struct err *why);
static bool has_share(const struct lane *l, const struct call *c);
static size_t count_of(const struct call *first, uint64_t holder);
static void begin_statement(struct call *c, struct pg *pg);
static void end_statement(struct call *c);
static void send_statement(struct call *c, struct pg *pg);
static void send_page(struct call *c, struct pg *pg, int64_t deadline_us);
static void ask_for_key(struct call *c, struct pg *pg, int64_t deadline_us);
static void after_key(void *call, const struct pg_rows *rows, const struct err *err);
static enum status prove(struct call *c, const struct pg_rows *rows, struct err *err);
static void after_statement(void *call, const struct pg_rows *rows, const struct err *err);
static void answer_row(struct call *c, const struct pg_rows *rows);
static void after_page(void *call, const struct pg_rows *rows, const struct err *err);
static void put_page(struct call *c, const struct pg_rows *rows);
static void begin_stream(struct call *c);
static void on_page_taken(void *call);
static void on_page_left(void *call);
static void add_next_link(struct call *c, struct span cursor);
static void add_location(struct call *c, const char *before, const struct id *id);

static uint64_t tenant_of(const struct call *c);
static void begin_reconcile(struct call *c);
static void begin_override(struct call *c);
static void begin_replay(struct call *c);
static bool prefers_async(struct span preferences);
static void answer_accepted(struct call *c, const struct id *run_id);
static void after_reconcile(void *call, struct span report, const struct err *err);

static void answer(struct call *c, int code, const char *content_type, struct span body);
static void refuse(struct call *c, const struct err *err);
static struct span errors_text(struct call *c);
static void on_malformed(void *api);
static void count(int code);

int admin_run(const struct process *self)
{
    const struct server_limits limits = {
        .max_body_bytes = COSTS_BODY_MAX,
        .max_connections = MAX_CONNECTIONS,
        .max_per_address = self->settings->config->ingest.max_connections_per_address,
        .exempt = self->settings->config->ingest.trusted_proxies.at,
        .nexempt = self->settings->config->ingest.trusted_proxies.n,
        .request_ms = REQUEST_MS,
        .drain_ms = DRAIN_MS,
    };
    struct err err = {0};
    struct server *server;
    struct api *a;
    bool all_answered;

    health_join(self->place, HEALTH_ADMIN, now_boot_us());
    server = server_open(self->listener, &limits, &err);
    if (!server) {
        log_error("admin_failed", LOG_ERR(&err));
        return EX_SOFTWARE;
    }
    a = api_open(self, server);
    all_answered = server_run(server);
    api_close(a);
    server_close(server);
    return all_answered ? EX_OK : EX_TEMPFAIL;
}

static struct api *api_open(const struct process *self, struct server *server)
{
    struct api *a = calloc(1, sizeof(*a));

    if (!a)
        abort();
    a->server = server;
    a->config = self->settings->config;
    if (self->settings->config->admin.keys_required) {
        lane_open(a, self, KEYS);
        a->callers = callers_open(&(struct callers_limits){
            .requests_per_minute = self->settings->config->admin.requests_per_minute,
            .wrong_keys_per_minute = self->settings->config->admin.wrong_keys_per_minute,
        });
    }
    a->keys = load_keys(self->settings->config);
    a->platforms = self->settings->platforms;
    lane_open(a, self, READS);
    lane_open(a, self, WRITES);
    a->jobs = jobs_open(server, self->settings->config);
    a->cost_days = self->settings->config->retention.cost_days;
    a->streams = streams_open(server_loop(server));
    a->gauges = gauges_open(server, a->lanes[READS].links, self->settings->platforms);
    server_handle(server, on_request, on_malformed, a);
    server_add_chore(server, api_turn, a);
    server_add_chore(server, gauges_turn, a->gauges);
    for (size_t i = 0; i < LANES; i++)
        if (a->lanes[i].links)
            server_add_chore(server, links_turn, a->lanes[i].links);
    return a;
}

/* What still waits is answered, each in its own way, and then there is nobody left to call back. */
static void api_close(struct api *a)
{
    const struct err stopping = {
        .code = UNAVAILABLE, .cause = "store_unavailable", .text = "the gateway stops"};

    jobs_close(a->jobs);
    for (size_t i = 0; i < LANES; i++)
        links_close(a->lanes[i].links);
    for (struct lane *l = a->lanes; l < a->lanes + LANES; l++)
        while (l->first) {
            struct call *c = lane_take(l, &l->first);
            refuse(c, &stopping);
            call_end(c);
        }
    gauges_close(a->gauges);
    streams_close(a->streams);
    callers_close(a->callers);
    seal_keys_close(a->keys);
    free(a);
}

/* Without them all but the storing of tokens goes on. */
static struct seal_keys *load_keys(const struct config *config)
{
    struct seal_keys *keys = NULL;
    struct err err = {0};

    if (config->connections.key_file && !(keys = seal_keys_load(config->connections.key_file, &err)))
        log_error("connections_key_failed", LOG_ERR(&err));
    return keys;
}

static void lane_open(struct api *a, const struct process *self, size_t lane)
{
    /* What goes in front of others, and who asks. To prepare all would cost a connection more than a start on a slow machine has
     * time for, and its backend the memory; what does not fit the schema fails the calls that need it. */
    static const enum sql eager[] = {SQL_CALLER_SET, SQL_KEY_NAME, SQL_KEY_FIND};
    const struct config *config = self->settings->config;
    const struct links_config wanted = {
        .pg =
            {
                 .url = config->database.url,
                 .user = "settle_api",
                 .application = lane_kinds[lane].application,
                 .connect_timeout_s = CONNECT_TIMEOUT_S,
                 .statement_timeout_ms = STATEMENT_TIMEOUT_MS,
                 .prepare = config->database.prepare && lane_kinds[lane].prepare,
                 .lazy = true,
                 .eager = eager,
                 .neager = countof(eager),
                 .read_only = lane_kinds[lane].read_only,
                 .unsafe_ok = config->unsafe_ok,
                 },
        .npg = lane_kinds[lane].connections,
        .redis_url = lane == KEYS ? config->redis.url : NULL,
        .redis_connect_timeout_ms = REDIS_CONNECT_TIMEOUT_MS,
    };

    a->lanes[lane] = (struct lane){.links = links_open(a->server, &wanted),
                                   .share = lane_kinds[lane].share,
                                   .last = &a->lanes[lane].first};
}

static void on_request(void *api, h2o_req_t *req)
{
    struct call *c = call_begin(api, req);
    struct err err = {.code = OK};

    if (admit(c, &err)) {
        refuse(c, &err);
        call_end(c);
    } else if (c->api->callers) {
        queue(c); /* to after_key */
    } else {
        c->caller = caller_operator;
        begin(c);
    }
}

static struct call *call_begin(struct api *a, h2o_req_t *req)
{
    struct arena *arena = arena_open(CALL_ARENA_BYTES);
    struct call *c = arena_zero(arena, sizeof(*c));

    c->api = a;
    c->arena = arena;
    c->request_id = id_make(server_wall_us(a->server));
    tie_bind(&c->tie, req);
    server_hold(a->server);
    return c;
}

static void call_end(struct call *c)
{
    struct arena *arena = c->arena;

    tie_cut(&c->tie);
    server_release(c->api->server);
    if (c->route && route_takes_secret(c->route))
        arena_wipe(arena);
    arena_close(arena);
}

static enum status admit(struct call *c, struct err *err)
{
    h2o_req_t *req = c->tie.req;
    struct sockaddr_storage from = {.ss_family = AF_UNSPEC};

    if (check_size(c, err))
        return err->code;
    if (c->api->callers && caller_read(header_of(req, "authorization"), &c->key, err))
        return err->code;
    (void)req->conn->callbacks->get_peername(req->conn, (struct sockaddr *)&from);
    c->address = peers_address((const struct sockaddr *)&from);
    return auth_check(c->api->callers != NULL, (struct span){req->method.base, req->method.len},
                      (struct span){req->input.authority.base, req->input.authority.len},
                      header_of(req, "content-type"), err);
}

/* The server takes what the largest may bring. */
static enum status check_size(struct call *c, struct err *err)
{
    const h2o_req_t *req = c->tie.req;
    struct span target = {req->path.base, req->path.len}, path = span_cut(&target, '?');
    size_t most;

    if (req->entity.len <= BODY_MAX)
        return OK;
    most = route_body_max((struct span){req->method.base, req->method.len}, path);
    if (req->entity.len <= most)
        return OK;
    return err_cause(err, INVALID, "too_large", "more than %zu bytes", most);
}

/* Who asks is known. */
static void begin(struct call *c)
{
    struct span path[PATH_VALUES_MAX];
    struct err err = {.code = OK};

    if (find_route(c, path, &err) || read_values(c, path, &err) || check_source(c, &err)) {
        refuse(c, &err);
        call_end(c);
    } else {
        go(c);
    }
}

static enum status find_route(struct call *c, struct span ret_path[PATH_VALUES_MAX], struct err *err)
{
    h2o_req_t *req = c->tie.req;
    struct span target = arena_copy(c->arena, (struct span){req->path.base, req->path.len});
    struct span path = span_cut(&target, '?');
    const char *allowed;

    c->query = target;
    c->route =
        route_find((struct span){req->method.base, req->method.len}, path, c->query, ret_path, &allowed);
    if (c->route && !(c->caller.scopes & (c->route->scope | SCOPE_ADMIN)))
        return err_cause(err, INVALID, "forbidden_scope", "the key lacks the scope for this path");
    if (c->route)
        return OK;
    if (!allowed)
        return err_cause(err, INVALID, "not_found", "there is nothing at this path; see /api/openapi.yaml");
    h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("allow"), 0, NULL, allowed,
                          strlen(allowed));
    return err_cause(err, INVALID, "method_not_allowed", "this path takes %s", allowed);
}

/* The body is copied: the values borrow it, and it goes with the client. */
static enum status read_values(struct call *c, struct span path[PATH_VALUES_MAX], struct err *err)
{
    const struct route *r = c->route;
    struct param_input input = {
        .query = c->query,
        .header = header_of,
        .ctx = c->tie.req,
        .actor = c->caller.actor,
        .tenant = c->caller.tenant,
        .wall_us = server_wall_us(c->api->server),
        .cost_days = c->api->cost_days,
        .keys = c->api->keys,
        .platforms = c->api->platforms,
    };

    for (size_t i = 0; i < PATH_VALUES_MAX; i++)
        input.path[i] = path[i];
    if (c->tie.req->entity.len > 0)
        input.body = arena_copy(c->arena, (struct span){c->tie.req->entity.base, c->tie.req->entity.len});
    if (route_takes_secret(r) && input.body.at)
        explicit_bzero(c->tie.req->entity.base, c->tie.req->entity.len);
    for (size_t i = 0; i < r->nparams && !input.body.at; i++)
        if (r->params[i].from == FROM_BODY)
            input.body = SPAN("");
    return params_read(&c->params, r->params, r->nparams, &input, c->arena, err);
}

/* Who registers another's post first would see what comes for it. */
static enum status check_source(const struct call *c, struct err *err)
{
    const struct param_value *v = c->params.values;
    const char *tenant;

    if (c->route->sql != SQL_LOG_REGISTER)
        return OK;
    tenant = config_tenant_of(c->api->config, v[REGISTER_PLATFORM].text, v[REGISTER_SOURCE].text);
    if (!tenant || span_eq(v[REGISTER_USER].text, span_of(tenant)))
        return OK;
    return err_cause(err, INVALID, "other_tenants_source", "the source is bound to another tenant");
}

static struct span header_of(void *ctx, const char *name)
{
    const h2o_req_t *req = ctx;
    ssize_t at = h2o_find_header_by_str(&req->headers, name, strlen(name), -1);

    if (at < 0)
        return SPAN_NONE;
    return (struct span){req->headers.entries[at].value.base, req->headers.entries[at].value.len};
}

static void go(struct call *c)
{
    switch (c->route->kind) {
    case ROUTE_READ:
    case ROUTE_WRITE:
    case ROUTE_EXPORT:
    case ROUTE_OVERRIDE: /* once the caller is seen to see the publication */
        queue(c);
        break;
    case ROUTE_RECONCILE:
        begin_reconcile(c);
        break;
    case ROUTE_REPLAY:
        begin_replay(c);
        break;
    case ROUTE_DESCRIBE:
        answer(c, 200, "application/yaml", openapi_text);
        call_end(c);
        break;
    case ROUTE_CONFIG:
        answer(c, 200, "application/json",
               config_json(c->api->config, shown_sections, countof(shown_sections), c->arena));
        call_end(c);
        break;
    }
}

static void queue(struct call *c)
{
    size_t lane = !c->route ? KEYS : c->route->kind == ROUTE_WRITE ? WRITES : READS;
    struct lane *l = c->lane = &c->api->lanes[lane];
    const struct err full = {.code = BUSY, .cause = "overload", .text = "too many requests wait"};
    const struct err crowd = {
        .code = BUSY, .cause = "caller_busy", .text = "too many requests of one caller wait"};
    bool is_crowd = c->caller.holder && count_of(l->first, c->caller.holder) >= QUEUE_SHARE;

    if ((l->ncalls >= QUEUE_MAX || is_crowd) && !c->stream) {
        refuse(c, is_crowd ? &crowd : &full);
        call_end(c);
        return;
    }
    c->queued_boot_us = server_boot_us(c->api->server);
    c->was_passed = false;
    c->next = NULL;
    *l->last = c;
    l->last = &c->next;
    l->ncalls++;
    server_again(c->api->server); /* it may have been the end of another statement that brought us here */
}

/* The chore: gives waiting calls to connections that have nothing to do. */
static void api_turn(void *api)
{
    struct api *a = api;

    for (size_t i = 0; i < LANES; i++)
        if (a->lanes[i].links)
            lane_turn(&a->lanes[i], server_boot_us(a->server));
}

/* In the order of their coming, but behind others where its tenant has all the connections that it may. */
static void lane_turn(struct lane *l, int64_t now_us)
{
    struct pg *pg = links_pg_least(l->links);
    struct call **at = &l->first;
    int64_t wait_us = (links_pg_is_new(l->links) ? FIRST_WAIT_MS : QUEUE_WAIT_MS) * INT64_C(1000);

    while (*at) {
        struct call *c = *at;

        if (!c->tie.req) /* nobody waits for it, and nothing is done yet */
            call_end(lane_take(l, at));
        else if (now_us - c->queued_boot_us > wait_us)
            time_out(lane_take(l, at), pg != NULL);
        else if (!has_share(l, c)) {
            c->was_passed = true;
            at = &c->next;
        } else if (pg && pg_waiting(pg) == 0) {
            begin_statement(lane_take(l, at), pg);
            pg = links_pg_least(l->links);
        } else {
            break;
        }
    }
}

static struct call *lane_take(struct lane *l, struct call **at)
{
    struct call *c = *at;

    *at = c->next;
    if (!c->next)
        l->last = at;
    l->ncalls--;
    return c;
}

static void time_out(struct call *c, bool is_up)
{
    const struct err busy = {.code = BUSY, .cause = "overload", .text = "no connection was free in time"};
    const struct err crowd = {
        .code = BUSY, .cause = "caller_busy", .text = "the caller's others took all its time"};
    const struct err down = {
        .code = UNAVAILABLE, .cause = "store_unavailable", .text = "Postgres is not reachable"};

    give_up(c, !is_up ? &down : c->was_passed ? &crowd : &busy);
}

/* It has waited long enough, or failed; an export under way stands in line again. */
static void give_up(struct call *c, const struct err *why)
{
    if (c->stream && c->asked_again++ < PAGE_AGAIN_MAX) {
        queue(c);
        return;
    }
    refuse(c, why);
    call_end(c);
}

static bool has_share(const struct lane *l, const struct call *c)
{
    return !c->caller.holder || count_of(l->running, c->caller.holder) < l->share;
}

static size_t count_of(const struct call *first, uint64_t holder)
{
    size_t n = 0;

    for (const struct call *c = first; c; c = c->next)
        n += c->caller.holder == holder;
    return n;
}

static void begin_statement(struct call *c, struct pg *pg)
{
    const struct err shut_out = {.code = BUSY, .cause = "wrong_keys"};

    if (!c->route && !callers_may_ask(c->api->callers, &c->key, c->address, server_boot_us(c->api->server))) {
        refuse(c, &shut_out);
        call_end(c);
        return;
    }
    c->next = c->lane->running;
    c->lane->running = c;
    send_statement(c, pg);
}

static void end_statement(struct call *c)
{
    struct call **at = &c->lane->running;

    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
}

static void send_statement(struct call *c, struct pg *pg)
{
    int64_t deadline_us = server_boot_us(c->api->server) + (STATEMENT_TIMEOUT_MS + 1000) * INT64_C(1000);
    struct pg_args args;

    c->pg = pg;
    if (!c->route) {
        ask_for_key(c, pg, deadline_us);
        return;
    }
    if (c->route->kind == ROUTE_EXPORT) {
        send_page(c, pg, deadline_us);
        return;
    }
    pg_args_init(&args, c->arena);
    if (c->route->kind == ROUTE_OVERRIDE)
        pg_arg_uuid(&args, &c->params.values[OVERRIDE_LOG_ID].id);
    else
        params_bind(&c->params, &args);
    caller_enter(&c->caller, pg, c->arena);
    pg_send(pg, c->route->sql, &args, deadline_us, after_statement, c);
}

/* What one page needs goes with it: there may be many. */
static void send_page(struct call *c, struct pg *pg, int64_t deadline_us)
{
    struct arena *arena = arena_open(CALL_ARENA_BYTES);
    struct pg_args args;

    pg_args_init(&args, arena);
    params_bind(&c->params, &args);
    pg_arg_int(&args, EXPORT_ROWS);
    for (size_t i = 0; i < countof(c->from); i++)
        pg_arg_text(&args, c->from[i]);
    caller_enter(&c->caller, pg, arena);
    pg_send(pg, c->route->sql, &args, deadline_us, after_page, c);
    arena_close(arena);
}

static void ask_for_key(struct call *c, struct pg *pg, int64_t deadline_us)
{
    struct pg_args args;

    pg_args_init(&args, c->arena);
    pg_arg_text(&args, c->key.id);
    pg_before(pg, SQL_KEY_NAME, &args);
    pg_send(pg, SQL_KEY_FIND, &args, deadline_us, after_key, c);
}

static void after_key(void *call, const struct pg_rows *rows, const struct err *err)
{
    struct call *c = call;
    struct err why = {.code = OK};

    end_statement(c);
    if (err)
        why = *err;
    if (!c->tie.req) {
        call_end(c);
    } else if (err || prove(c, rows, &why)) {
        refuse(c, &why);
        call_end(c);
    } else {
        begin(c);
    }
}

static enum status prove(struct call *c, const struct pg_rows *rows, struct err *err)
{
    struct server *server = c->api->server;

    if (caller_prove(&c->caller, &c->key, rows, c->arena, err)) {
        if (callers_refuse(c->api->callers, &c->key, c->address, server_boot_us(server)))
            log_info("wrong_keys", LOG_SPAN("key_id", c->key.id));
        return err->code;
    }
    if (!callers_count(c->api->callers, &c->caller, server_boot_us(server), server_wall_us(server),
                       links_redis(c->api->lanes[KEYS].links)))
        return err_cause(err, BUSY, "key_rate_limited", "more than admin.requests_per_minute");
    return OK;
}

static void after_statement(void *call, const struct pg_rows *rows, const struct err *err)
{
    const struct err none = {.code = INVALID, .cause = "not_found", .text = "there is none with this id"};
    struct call *c = call;

    end_statement(c);
    if (err && strncmp(err->sqlstate, "40", 2) == 0 && c->asked_again++ < ASK_AGAIN_MAX) {
        queue(c); /* nothing of it is done: another transaction was in its way */
        return;
    }
    if (err) {
        struct err why = *err;

        if (strcmp(err->sqlstate, "25006") == 0) /* read-only: a standby took the primary's place */
            links_drop_pg(c->lane->links, c->pg);
        if (err->code == REJECTED && c->route->kind != ROUTE_READ) /* of a read it would be our own fault */
            why.cause =
                strcmp(err->sqlstate, "23505") == 0 && c->route->unseen ? c->route->unseen : "rejected";
        refuse(c, &why);
    } else if (pg_nrows(rows) == 0) {
        refuse(c, &none);
    } else if (c->route->kind == ROUTE_OVERRIDE) {
        begin_override(c);
        return;
    } else if (pg_int(rows, 0, 0) <= 0 && c->asked_again++ < ASK_AGAIN_MAX) {
        queue(c);
        return;
    } else {
        answer_row(c, rows);
    }
    call_end(c);
}

static void answer_row(struct call *c, const struct pg_rows *rows)
{
    int status = (int)pg_int(rows, 0, 0);
    struct span body = pg_bytes(rows, 0, 1);
    struct err err;

    if (!c->tie.req)
        return;
    if (status < 200 || status >= 400) {
        const char *unseen = c->caller.tenant.at && c->route->unseen ? c->route->unseen : "overload";

        if (!pg_is_null(rows, 0, 2))
            c->errors = arena_copy(c->arena, pg_bytes(rows, 0, 2));
        /* After several tries. 0: still being written, perhaps by another tenant; -1: it changes too fast. */
        err_cause(&err, status > 0 ? BROKEN : BUSY,
                  status > 0    ? arena_copy(c->arena, body).at
                  : status == 0 ? unseen
                                : "overload",
                  "the store says no");
        refuse(c, &err);
        return;
    }
    if (status == 201)
        add_location(c, c->route->location, &c->params.values[0].id);
    if (!pg_is_null(rows, 0, 2))
        add_next_link(c, pg_bytes(rows, 0, 2));
    answer(c, status, "application/json", body);
}

/* An export: its first page may be refused, and the next ones can be asked for again. */
static void after_page(void *call, const struct pg_rows *rows, const struct err *err)
{
    struct call *c = call;

    end_statement(c);
    if (!c->tie.req) {
        call_end(c);
    } else if (!err && pg_int(rows, 0, 0) == 200) {
        put_page(c, rows);
    } else if (err) {
        give_up(c, err);
    } else {
        answer_row(c, rows);
        call_end(c);
    }
}

static void put_page(struct call *c, const struct pg_rows *rows)
{
    bool is_head = span_eq((struct span){c->tie.req->method.base, c->tie.req->method.len}, SPAN("HEAD"));
    bool is_last = is_head || pg_is_null(rows, 0, 2);
    char *at = c->from_room;

    for (size_t i = 0; i < countof(c->from) && !is_last; i++) {
        struct span part = pg_bytes(rows, 0, 2 + i);

        assert(part.len <= (size_t)(c->from_room + sizeof(c->from_room) - at));
        c->from[i] = (struct span){at, part.len};
        memcpy(at, part.at, part.len);
        at += part.len;
    }
    c->asked_again = 0;
    if (!c->stream)
        begin_stream(c);
    stream_put(c->stream, is_head ? SPAN("") : pg_bytes(rows, 0, 1), is_last);
    if (is_last)
        call_end(c);
}

static void begin_stream(struct call *c)
{
    const struct stream_events events = {on_page_taken, on_page_left, c};
    h2o_req_t *req = c->tie.req;

    count(200);
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CACHE_CONTROL, NULL, H2O_STRLIT("no-store"));
    h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("content-disposition"), 0, NULL,
                          H2O_STRLIT("attachment; filename=\"daily_aggregates.csv\""));
    c->stream =
        stream_open(c->api->streams, req, &c->request_id, "text/csv; charset=utf-8; header=present", &events);
}

static void on_page_taken(void *call)
{
    queue(call);
}

static void on_page_left(void *call)
{
    call_end(call);
}

static void add_next_link(struct call *c, struct span cursor)
{
    struct span rest = query_without(c->query, "cursor", c->arena);
    h2o_req_t *req = c->tie.req;
    const char *link = arena_print(c->arena, "<%s?%.*s%scursor=%.*s>; rel=\"next\"", c->route->path,
                                   SPAN_ARG(rest), rest.len > 0 ? "&" : "", SPAN_ARG(cursor));
    h2o_iovec_t copy = h2o_strdup(&req->pool, link, SIZE_MAX);

    h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("link"), 0, NULL, copy.base, copy.len);
}

static void add_location(struct call *c, const char *before, const struct id *id)
{
    char text[ID_TEXT_BYTES];
    h2o_req_t *req = c->tie.req;
    h2o_iovec_t location;

    id_text(id, text);
    location =
        h2o_concat(&req->pool, h2o_iovec_init(before, strlen(before)), h2o_iovec_init(text, strlen(text)));
    h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("location"), 0, NULL, location.base,
                          location.len);
}

/* As jobs counts them; 0: an operator. */
static uint64_t tenant_of(const struct call *c)
{
    return c->caller.tenant.at ? c->caller.holder : 0;
}

static void begin_reconcile(struct call *c)
{
    const struct param_value *v = c->params.values;
    const struct job_request request = {
        .run_id = v[RECONCILE_RUN_ID].id,
        .since_minutes = (unsigned)v[RECONCILE_SINCE_MINUTES].number,
        .platform = v[RECONCILE_PLATFORM].text,
        .dry_run = v[RECONCILE_DRY_RUN].number != 0,
        .force = v[RECONCILE_FORCE].number != 0,
        .actor = v[RECONCILE_ACTOR].text,
        .tenant = tenant_of(c),
    };
    /* A dry run leaves no row that could be looked at later. */
    bool wait = request.dry_run || !prefers_async(v[RECONCILE_PREFER].text);
    struct err err;

    if (jobs_reconcile(c->api->jobs, &request, wait ? after_reconcile : NULL, c, &err))
        refuse(c, &err);
    else if (wait)
        return; /* to after_reconcile */
    else
        answer_accepted(c, &request.run_id);
    call_end(c);
}

static void begin_override(struct call *c)
{
    const struct param_value *v = c->params.values;
    const struct override_request request = {
        .run_id = v[OVERRIDE_RUN_ID].id,
        .log_id = v[OVERRIDE_LOG_ID].id,
        .verdict = v[OVERRIDE_STATUS].text,
        .reason = v[OVERRIDE_REASON].text,
        .actor = v[OVERRIDE_ACTOR].text,
        .tenant = tenant_of(c),
    };
    struct err err = {0};

    if (jobs_override(c->api->jobs, &request, after_reconcile, c, &err)) {
        refuse(c, &err);
        call_end(c);
    }
}

static void begin_replay(struct call *c)
{
    const struct param_value *v = c->params.values;
    const struct replay_request request = {
        .run_id = v[REPLAY_RUN_ID].id,
        .receipt = v[REPLAY_RECEIPT].text,
        .dry_run = v[REPLAY_DRY_RUN].number != 0,
        .actor = v[REPLAY_ACTOR].text,
        .tenant = tenant_of(c),
    };
    struct err err = {0};

    if (jobs_replay(c->api->jobs, &request, after_reconcile, c, &err)) {
        refuse(c, &err);
        call_end(c);
    }
}

/* RFC 7240: preferences are split by commas and may have parameters. */
static bool prefers_async(struct span preferences)
{
    while (preferences.at) {
        struct span one = span_cut(&preferences, ',');

        one = span_cut(&one, ';');
        while (one.len > 0 && *one.at == ' ')
            one = span_skip(one, 1);
        while (one.len > 0 && one.at[one.len - 1] == ' ')
            one.len--;
        if (span_eq_nocase(one, SPAN("respond-async")))
            return true;
    }
    return false;
}

static void answer_accepted(struct call *c, const struct id *run_id)
{
    char id[ID_TEXT_BYTES];
    h2o_req_t *req = c->tie.req;

    id_text(run_id, id);
    add_location(c, "/publishing/runs/", run_id);
    h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("preference-applied"), 0, NULL,
                          H2O_STRLIT("respond-async"));
    answer(c, 202, "application/json", span_of(arena_print(c->arena, "{\"run_id\":\"%s\"}", id)));
}

static void after_reconcile(void *call, struct span report, const struct err *err)
{
    struct call *c = call;

    if (err)
        refuse(c, err);
    else
        answer(c, 200, "application/json", report);
    call_end(c);
}

/* body is copied. */
static void answer(struct call *c, int code, const char *content_type, struct span body)
{
    h2o_req_t *req = tie_cut(&c->tie);
    h2o_iovec_t copy;

    if (!req)
        return;
    count(code);
    copy = h2o_strdup(&req->pool, body.at, body.len);
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CACHE_CONTROL, NULL, H2O_STRLIT("no-store"));
    answer_body(req, &c->request_id, code, content_type, (struct span){copy.base, copy.len});
}

static void refuse(struct call *c, const struct err *err)
{
    h2o_req_t *req = tie_cut(&c->tie);
    const struct answer_kind *kind = answer_kind_of(err);

    if (kind->code >= 500)
        log_warn("api_failed", LOG_ID("request_id", &c->request_id),
                 LOG_TEXT("path", c->route ? c->route->path : ""), LOG_ERR(err));
    if (!req)
        return;
    if (c->stream) {
        stream_break(c->stream);
        return;
    }
    count(kind->code);
    if (kind->code == 401)
        h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_WWW_AUTHENTICATE, NULL,
                       H2O_STRLIT("Bearer realm=\"settle\""));
    answer_problem_with(req, &c->request_id, err, errors_text(c));
}

/* [{"field": ..., "message": ...}], absent if no field is to blame. */
static struct span errors_text(struct call *c)
{
    const char *pieces[PARAM_ERRORS_MAX];
    size_t len = sizeof("[]");
    char *text, *at;

    if (c->params.nerrors == 0)
        return c->errors;
    for (size_t i = 0; i < c->params.nerrors; i++) {
        const struct field_error *e = &c->params.errors[i];

        pieces[i] = arena_print(c->arena, "%c{\"field\":%.*s,\"message\":%.*s}", i > 0 ? ',' : '[',
                                SPAN_ARG(doc_quote(e->field, c->arena)),
                                SPAN_ARG(doc_quote(span_of(e->message), c->arena)));
        len += strlen(pieces[i]);
    }
    at = text = arena_alloc(c->arena, len);
    for (size_t i = 0; i < c->params.nerrors; i++)
        at = stpcpy(at, pieces[i]);
    stpcpy(at, "]");
    return span_of(text);
}

/* The server has answered it: framing in doubt. */
static void on_malformed(void *api)
{
    (void)api;
    count(400);
}

static void count(int code)
{
    metric_add(API_REQUESTS, METRIC_NO_PLATFORM, code < 400 ? 0 : code < 500 ? 1 : 2, 1);
}
