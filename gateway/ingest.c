#include "ingest.h"

#include "admit.h"
#include "answer.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/now.h"
#include "clocks.h"
#include "dedupe.h"
#include "domain/handshake.h"
#include "domain/scheme.h"
#include "drain.h"
#include "refused.h"
#include "websub.h"

#define SPOOL_FOR_OVERLOAD 0.5 /* of its room */

enum way { TO_POSTGRES, TO_SPOOL, AWAY };

static enum way way_in(const struct ingest *g);
static void refuse_unread(struct ingest *g, h2o_req_t *req);
static void complain_of_overload(struct ingest *g, const struct line *line, unsigned retry_s);
static enum status route(struct delivery *d, struct err *err);
static struct span target_of(const struct delivery *d);
static enum status check_method(struct delivery *d, struct err *err);
static bool method_is(const h2o_req_t *req, struct span method);
static size_t body_cap(const struct platform *p, size_t max_body_bytes);
static void greet(struct delivery *d);
static enum status verify(struct delivery *d, struct err *err);
static bool rests_on_time(const struct delivery *d);
static bool greet_signed(struct delivery *d);
static void conclude(struct delivery *d, const struct handshake_answer *a);
static bool admit(const struct delivery *d, const struct handshake_answer *a);
static void answer_handshake(struct delivery *d, const struct handshake_answer *a);
static const char *refusal_of(int status);
static const char *content_type_of(const struct handshake_answer *a);
static void normalise(struct delivery *d);
static void stand_in(struct delivery *d, struct line *line);
static void after_dedupe(struct delivery *d);
static void on_overdue(void *delivery);
static void keep_in_spool(struct delivery *d, struct deadlines *deadlines);
static void on_spool_overdue(void *delivery);
static void end_if_done(struct delivery *d);
static void turn_away(struct delivery *d, const struct err *why);
static void answer(struct delivery *d, const struct err *failure);
static void tell_where(h2o_req_t *req, struct span where);
static void count(const struct delivery *d, enum outcome outcome);
static enum outcome outcome_of(const struct delivery *d, const struct err *failure);
static void complain(struct delivery *d, enum outcome outcome, const struct err *failure);
static void log_complaint(const struct delivery *d, enum outcome outcome, uint64_t n,
                          const struct err *failure);

void ingest_on_request(void *ingest, h2o_req_t *req)
{
    bool by_get = method_is(req, SPAN("GET"));
    enum way way = by_get ? TO_POSTGRES : way_in(ingest);
    struct err err = {0};
    struct delivery *d;

    if (way == AWAY) {
        refuse_unread(ingest, req);
        return;
    }
    d = delivery_begin(ingest, req);
    d->overflows = way == TO_SPOOL;
    if (route(d, &err) || (!by_get && verify(d, &err))) {
        turn_away(d, &err);
    } else if (by_get) {
        greet(d);
    } else if (!greet_signed(d)) {
        normalise(d);
        stand_in(d, d->overflows ? &d->ingest->spool_line : &d->ingest->store_line);
        if (!dedupe_check(d->ingest->dedupe, d, after_dedupe))
            after_dedupe(d);
    }
}

/* Before anything is spent on it. What would wait too long for Postgres goes to the spool, as long as that keeps up; but
 * while Postgres takes what it can, half of the spool is kept for when it does not. */
static enum way way_in(const struct ingest *g)
{
    bool up = links_pg_is_up(g->links), moves;

    if ((up || !g->spool) && !line_is_full(&g->store_line))
        return TO_POSTGRES;
    if (!g->spool || line_is_full(&g->spool_line))
        return AWAY;
    moves = up && server_boot_us(g->server) - g->store_line.moved_us < SECOND_US;
    return moves && spool_fill(g->spool) > SPOOL_FOR_OVERLOAD ? AWAY : TO_SPOOL;
}

/* Neither verified nor copied: there are too many of them. */
static void refuse_unread(struct ingest *g, h2o_req_t *req)
{
    const struct err unavailable = {.code = UNAVAILABLE};
    struct id id = id_make(server_wall_us(g->server));
    struct span target = {req->path.base, req->path.len}, name, source;
    const struct platform *p =
        ingest_read_path(span_cut(&target, '?'), &name, &source) ? platforms_find(g->platforms, name) : NULL;
    bool up = links_pg_is_up(g->links), has_store = up || g->spool;
    enum outcome outcome = has_store ? OUTCOME_OVERLOAD : OUTCOME_STORE_UNAVAILABLE;
    struct line *line = up ? &g->store_line : &g->spool_line;
    unsigned retry_s = line_turn_away(line, id.bytes[sizeof(id.bytes) - 1], server_boot_us(g->server));

    metric_add(WEBHOOK_REQUESTS, p ? p->index : METRIC_NO_PLATFORM, outcome, 1);
    metric_observe_us(WEBHOOK_ACK, 0);
    complain_of_overload(g, line, retry_s);
    if (has_store)
        answer_overload(req, &id, retry_s);
    else
        answer_problem(req, &id, &unavailable);
}

static void complain_of_overload(struct ingest *g, const struct line *line, unsigned retry_s)
{
    struct complaint *c = &g->complaints[OUTCOME_OVERLOAD];
    int64_t now_us = server_boot_us(g->server);

    c->nsilent++;
    if (now_us < c->again_us)
        return;
    log_warn("overload", LOG_INT("turned_away", (int64_t)c->nsilent), LOG_INT("waiting", (int64_t)line->n),
             LOG_INT("taken_a_second", (int64_t)line->rate), LOG_INT("retry_after_s", retry_s),
             LOG_TEXT("cure", "more comes than the store takes: find what slows it, or give it more"));
    c->again_us = now_us + 10 * SECOND_US;
    c->nsilent = 0;
}

static enum status route(struct delivery *d, struct err *err)
{
    struct span target = target_of(d), path = span_cut(&target, '?'), platform;
    size_t max_bytes;

    if (!ingest_read_path(path, &platform, &d->source_name))
        return err_cause(err, INVALID, "not_found",
                         "webhooks are taken at /publishing/webhooks/{platform}[/{source}]");
    d->platform = platforms_find(d->platforms, platform);
    if (!d->platform)
        return err_cause(err, INVALID, "unknown_platform", "no such platform");
    d->source = platform_source(d->platform, d->source_name);
    if (check_method(d, err))
        return err->code;
    max_bytes = body_cap(d->platform, d->ingest->max_body_bytes);
    if (d->body.len > max_bytes)
        return err_cause(err, INVALID, "too_large", "the body is over the %zu bytes this platform may send",
                         max_bytes);
    return OK;
}

static struct span target_of(const struct delivery *d)
{
    return (struct span){d->tie.req->path.base, d->tie.req->path.len};
}

bool ingest_read_path(struct span path, struct span *ret_platform, struct span *ret_source)
{
    const struct span prefix = SPAN("/publishing/webhooks/");
    struct span rest;

    if (!span_starts(path, prefix))
        return false;
    rest = span_skip(path, prefix.len);
    *ret_platform = span_cut(&rest, '/');
    *ret_source = rest.at ? rest : SPAN("default");
    return ret_platform->len > 0 && ret_source->len > 0 && !memchr(ret_source->at, '/', ret_source->len);
}

static enum status check_method(struct delivery *d, struct err *err)
{
    h2o_req_t *req = d->tie.req;
    bool by_get = handshake_by_get(d->platform);
    struct span allowed = by_get ? SPAN("GET, POST") : SPAN("POST");

    if (method_is(req, SPAN("POST")) || (by_get && method_is(req, SPAN("GET"))))
        return OK;
    h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("allow"), 0, NULL, allowed.at,
                          allowed.len);
    return err_cause(err, INVALID, "method_not_allowed", "webhooks come by POST%s",
                     by_get ? ", handshakes by GET" : "");
}

static bool method_is(const h2o_req_t *req, struct span method)
{
    return span_eq((struct span){req->method.base, req->method.len}, method);
}

static size_t body_cap(const struct platform *p, size_t max_body_bytes)
{
    return p->max_body_bytes > 0 ? p->max_body_bytes : max_body_bytes;
}

/* What is over it never came whole. Platforms without sources let nobody in. */
size_t ingest_body_bytes(const struct platforms *platforms, size_t max_body_bytes)
{
    size_t most = max_body_bytes;

    for (size_t i = 0; i < platforms_count(platforms); i++) {
        const struct platform *p = platforms_at(platforms, i);
        if (p->nsources > 0 && body_cap(p, max_body_bytes) > most)
            most = body_cap(p, max_body_bytes);
    }
    return most;
}

static void greet(struct delivery *d)
{
    struct span query = target_of(d);
    struct handshake_answer a;

    span_cut(&query, '?');
    handshake_get(d->platform, d->source, query, d->received_us, d->arena, &a);
    websub_heard(d, query, &a);
    conclude(d, &a);
}

/* An unknown source gets the same work and the same answer as a wrong signature. */
static enum status verify(struct delivery *d, struct err *err)
{
    const h2o_headers_t *from = &d->tie.req->headers;
    struct header *headers = arena_alloc(d->arena, (from->size + 1) * sizeof(*headers));
    enum status status;

    for (size_t i = 0; i < from->size; i++) {
        headers[i].name = (struct span){from->entries[i].name->base, from->entries[i].name->len};
        headers[i].value = (struct span){from->entries[i].value.base, from->entries[i].value.len};
    }
    d->request = (struct request){headers, from->size, d->body, SPAN_NONE, d->received_us};
    if (d->platform->scheme.needs_url && d->ingest->public_url.at)
        d->request.url = span_of(
            arena_print(d->arena, "%.*s%.*s", SPAN_ARG(d->ingest->public_url), SPAN_ARG(target_of(d))));
    delivery_keep_headers(d);
    status = scheme_verify(d->platform, d->source, &d->request, &d->verified, err);
    if (status && rests_on_time(d) && clocks_may_be_apart(d->ingest->clocks))
        return err_cause(err, UNAVAILABLE, "clock_suspect",
                         "the signature is %s by a clock that may be wrong: the database's is another",
                         scheme_refusal_word(d->verified.refusal));
    if (!status) {
        senders_verified(d->ingest->senders, d->platform, d->source, d->verified.secret);
    } else if (d->source) {
        if (d->verified.refusal != REFUSAL_HEADER_MISSING)
            senders_refused(d->ingest->senders, d->platform, d->source);
        metric_add(SIGNATURE_REFUSALS, d->platform->index, d->verified.refusal - REFUSAL_HEADER_MISSING, 1);
    }
    return status;
}

/* Would another clock have let it in? The same for known and unknown sources, which none shall tell apart. */
static bool rests_on_time(const struct delivery *d)
{
    enum refusal refusal = d->verified.refusal;

    return refusal == REFUSAL_TOO_OLD || refusal == REFUSAL_IN_FUTURE ||
           (d->platform->has_dated_secrets && (refusal == REFUSAL_NO_MATCH || refusal == REFUSAL_NO_SECRET));
}

/* A handshake that came signed: answered, and nothing is stored. False: it is a delivery. */
static bool greet_signed(struct delivery *d)
{
    struct handshake_answer a;

    if (!handshake_post(d->platform, d->source, d->verified.secret, &d->request, d->arena, &a))
        return false;
    conclude(d, &a);
    return true;
}

static void conclude(struct delivery *d, const struct handshake_answer *a)
{
    const struct err limited = {
        .code = BUSY, .cause = "rate_limited", .text = "more handshakes than a platform needs"};

    if (admit(d, a))
        answer_handshake(d, a);
    else
        turn_away(d, &limited);
}

/* Anybody can ask. What is refused, and what makes us sign, is charged, each to its own; an echo that fits is free, so
 * that no stranger can lock the platform out. To find out which it is costs a microsecond. */
static bool admit(const struct delivery *d, const struct handshake_answer *a)
{
    return (a->good && !a->is_signed) ||
           admit_take(d->ingest->admit, a->good ? ADMIT_SIGNED : ADMIT_REFUSED, d->platform->name,
                      d->source ? d->source->name : SPAN_NONE, server_boot_us(d->ingest->server));
}

/* It echoes what anybody sends: no browser may take it for a page, no cache may keep it. */
static void answer_handshake(struct delivery *d, const struct handshake_answer *a)
{
    h2o_req_t *req = tie_cut(&d->tie);
    char *copy = h2o_mem_alloc_pool(&req->pool, a->body.len + 1);
    struct err refusal = {.code = INVALID, .cause = refusal_of(a->status)};

    h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("x-content-type-options"), 0, NULL,
                          H2O_STRLIT("nosniff"));
    h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("cache-control"), 0, NULL,
                          H2O_STRLIT("no-store"));
    count(d, a->good ? OUTCOME_HANDSHAKE : OUTCOME_HANDSHAKE_REFUSED);
    if (a->good) {
        if (a->body.len > 0)
            memcpy(copy, a->body.at, a->body.len);
        answer_body(req, &d->id, a->status, content_type_of(a), (struct span){copy, a->body.len});
    } else {
        snprintf(refusal.text, sizeof(refusal.text), "%s", a->why);
        complain(d, OUTCOME_HANDSHAKE_REFUSED, &refusal);
        answer_problem(req, &d->id, &refusal);
    }
    delivery_end(d);
}

/* A row of the table of answers for each status that a descriptor may name. */
static const char *refusal_of(int status)
{
    return status == 403 ? "handshake_refused" : status == 404 ? "handshake_unknown" : "handshake_malformed";
}

/* Discord wants one also where there is no body. */
static const char *content_type_of(const struct handshake_answer *a)
{
    return a->content_type && strcmp(a->content_type, "text/plain") == 0 ? "text/plain; charset=utf-8"
                                                                         : "application/json";
}

static void normalise(struct delivery *d)
{
    struct event *events;

    d->verified.id = arena_copy(d->arena, d->verified.id); /* a header's, which goes with the client */
    events_read(d->platform, d->source->name, &d->verified, &d->request, d->arena, &events, &d->nreceipts);
    delivery_take_events(d, events);
}

/* NULL: in none any more. */
static void stand_in(struct delivery *d, struct line *line)
{
    if (d->line)
        line_leave(d->line, d->nreceipts, d->body.len);
    d->line = line;
    if (line)
        line_enter(line, d->nreceipts, d->body.len);
}

static void after_dedupe(struct delivery *d)
{
    struct ingest *g = d->ingest;
    /* Nobody is there to wait for, or too many wait already. */
    bool to_spool = g->spool && (d->overflows || !links_pg_is_up(g->links));
    struct err busy = {0};
    size_t nunseen = 0;

    for (size_t i = 0; i < d->nreceipts; i++)
        nunseen += !d->receipts[i].seen;
    if (nunseen == 0) {
        answer(d, NULL); /* all of it is stored already: a success */
    } else if (!to_spool && !batch_add(g->batch, d, &busy)) {
        d->in_batch = true; /* to ingest_on_commit, perhaps by way of on_overdue */
        deadline_set(&g->commit_deadlines, &d->deadline, on_overdue, d);
    } else if (g->spool) {
        keep_in_spool(d, &g->spool_deadlines);
    } else {
        answer(d, &busy);
    }
    end_if_done(d);
}

void ingest_on_commit(struct delivery *d, const struct err *failure)
{
    if (d->drain) {
        drain_on_commit(d, failure);
        return;
    }
    d->in_batch = false;
    d->committed = !failure;
    if (!failure || !d->gave_up) /* else it is the spool's */
        deadline_clear(&d->deadline);
    if (!failure) {
        line_moved(&d->ingest->store_line, d->nreceipts, server_boot_us(d->ingest->server));
        dedupe_remember(d->ingest->dedupe, d); /* not before: a crash must not cost an event */
        if (d->spooled)
            spool_forget(d->ingest->spool, &d->slip);
        answer(d, NULL);
    } else if (!d->ingest->spool) {
        answer(d, failure);
    } else if (!d->gave_up) {
        keep_in_spool(d, &d->ingest->last_deadlines);
    }
    end_if_done(d);
}

/* The sender has waited long enough. What is under way may still be stored: then the spool's copy, or without a spool
 * the sender's next try, is a duplicate. */
static void on_overdue(void *delivery)
{
    struct delivery *d = delivery;
    const struct err overdue = {.code = UNAVAILABLE, .text = "no commit in time"};

    if (d->ingest->spool) {
        keep_in_spool(d, &d->ingest->last_deadlines);
    } else {
        d->gave_up = true;
        answer(d, &overdue);
    }
    end_if_done(d);
}

/* deadlines: how long the disk is waited for. */
static void keep_in_spool(struct delivery *d, struct deadlines *deadlines)
{
    struct err err = {0};

    d->gave_up = true;
    stand_in(d, &d->ingest->spool_line);
    d->slip.record = (struct spool_record){
        .delivery_id = d->id,
        .received_us = d->received_us,
        .platform = d->platform->name,
        .source = d->source->name,
        .key_id = span_of(d->source->secrets[d->verified.secret].key_id),
        .event_id = d->verified.id,
        .headers = d->headers,
        .body = d->body,
    };
    if (spool_put(d->ingest->spool, &d->slip, &err)) {
        answer(d, &err);
    } else {
        d->in_spool = true;
        deadline_set(deadlines, &d->deadline, on_spool_overdue, d);
    }
}

/* A disk that does not answer. What is written all the same, later, is drained, and the sender's next try a duplicate. */
static void on_spool_overdue(void *delivery)
{
    struct delivery *d = delivery;
    const struct err stuck = {
        .code = UNAVAILABLE, .cause = "spool_stuck", .text = "the spool's disk does not answer"};

    d->in_spool = !spool_give_up(d->ingest->spool, &d->slip);
    answer(d, &stuck);
    end_if_done(d);
}

void ingest_on_spooled(void *ingest, struct spool_slip *slip, const struct err *failure)
{
    struct delivery *d = H2O_STRUCT_FROM_MEMBER(struct delivery, slip, slip);

    (void)ingest;
    d->in_spool = false;
    d->spooled = !failure;
    deadline_clear(&d->deadline);
    if (d->spooled)
        line_moved(&d->ingest->spool_line, d->nreceipts, server_boot_us(d->ingest->server));
    if (d->spooled && d->committed)
        spool_forget(d->ingest->spool, slip);
    answer(d, failure);
    end_if_done(d);
}

static void end_if_done(struct delivery *d)
{
    if (!d->in_batch && !d->in_spool)
        delivery_end(d);
}

/* Never came so far as to be stored. A wrong signature of a known source may be a wrong secret of ours. */
static void turn_away(struct delivery *d, const struct err *why)
{
    answer(d, why);
    if (why->code == FORGED && d->source)
        refused_keep(d->ingest->refused, d, why);
    else
        delivery_end(d);
}

/* Once: the first answer unties the client. */
static void answer(struct delivery *d, const struct err *failure)
{
    h2o_req_t *req = tie_cut(&d->tie);
    enum outcome outcome = outcome_of(d, failure);
    int stored;

    if (!d->in_spool)
        stand_in(d, NULL);
    if (!req)
        return;
    count(d, outcome);
    metric_observe_us(WEBHOOK_ACK, server_boot_us(d->ingest->server) - d->began_us);
    if (failure)
        complain(d, outcome, failure);
    if (outcome == OUTCOME_OVERLOAD) {
        answer_overload(req, &d->id, 0);
        return;
    }
    if (failure && outcome != OUTCOME_DROPPED) {
        answer_problem(req, &d->id, failure);
        return;
    }
    stored = d->platform->stored_status;
    tell_where(req, d->spooled && !d->committed ? SPAN("spool") : SPAN("db"));
    answer_body(req, &d->id, stored, "application/json",
                stored == 204 ? SPAN("") : SPAN("{\"status\":\"ok\"}"));
}

/* One that was dropped says "db" too: it must look like any other. */
static void tell_where(h2o_req_t *req, struct span where)
{
    h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("x-settle-stored"), 0, NULL, where.at,
                          where.len);
}

static void count(const struct delivery *d, enum outcome outcome)
{
    metric_add(WEBHOOK_REQUESTS, d->platform ? d->platform->index : METRIC_NO_PLATFORM, outcome, 1);
    log_debug("webhook", LOG_ID("delivery_id", &d->id), LOG_INT("outcome", (int64_t)outcome));
}

static enum outcome outcome_of(const struct delivery *d, const struct err *failure)
{
    static const struct {
        const char *cause;
        enum outcome outcome;
    } causes[] = {
        {"store_unavailable",  OUTCOME_STORE_UNAVAILABLE},
        {"overload",           OUTCOME_OVERLOAD         },
        {"unknown_platform",   OUTCOME_UNKNOWN_PLATFORM },
        {"not_found",          OUTCOME_UNKNOWN_PLATFORM },
        {"method_not_allowed", OUTCOME_METHOD           },
        {"too_large",          OUTCOME_TOO_LARGE        },
        {"rate_limited",       OUTCOME_RATE_LIMITED     },
        {"clock_suspect",      OUTCOME_CLOCK_SUSPECT    },
    };

    if (failure && failure->code == FORGED && d->platform->drops_forged)
        return OUTCOME_DROPPED;
    if (failure && failure->code == FORGED)
        return d->source ? OUTCOME_BAD_SIGNATURE : OUTCOME_UNKNOWN_SOURCE;
    for (size_t i = 0; failure && i < countof(causes); i++)
        if (strcmp(answer_kind_of(failure)->cause, causes[i].cause) == 0)
            return causes[i].outcome;
    if (failure)
        return OUTCOME_INTERNAL;
    if (d->spooled && !d->committed)
        return OUTCOME_SPOOLED;
    for (size_t i = 0; i < d->nreceipts; i++)
        if (d->receipts[i].is_new)
            return OUTCOME_STORED;
    return OUTCOME_DUPLICATE;
}

void ingest_turn(void *ingest)
{
    struct ingest *g = ingest;
    int64_t now_us = server_boot_us(g->server);

    line_turn(&g->store_line, !batch_is_idle(g->batch), now_us);
    line_turn(&g->spool_line, g->spool_line.n > 0, now_us);
    metric_set(COMMIT_CAPACITY, METRIC_NO_PLATFORM, 0, g->store_line.rate);
}

/* A storm of one kind fills the metric, not the log: of each kind one line in ten seconds. */
static void complain(struct delivery *d, enum outcome outcome, const struct err *failure)
{
    struct complaint *c = &d->ingest->complaints[outcome];
    int64_t now_us = server_boot_us(d->ingest->server);

    c->nsilent++;
    if (now_us < c->again_us)
        return;
    log_complaint(d, outcome, c->nsilent, failure);
    c->again_us = now_us + 10 * SECOND_US;
    c->nsilent = 0;
}

/* The answer to an unknown source is the same as to a known one's wrong signature; only here is it told. */
static void log_complaint(const struct delivery *d, enum outcome outcome, uint64_t n,
                          const struct err *failure)
{
    static const struct err nobody = {.code = FORGED, .cause = "unknown_source", .text = "no such source"};
    bool is_unknown =
        d->platform && !d->source && (failure->code == FORGED || outcome == OUTCOME_HANDSHAKE_REFUSED);

    log_warn("webhook_refused", LOG_ID("delivery_id", &d->id),
             LOG_SPAN("platform", d->platform ? d->platform->name : SPAN_NONE),
             LOG_SPAN("source", d->source ? d->source->name : SPAN_NONE),
             LOG_SPAN("outcome", metric_word(WEBHOOK_REQUESTS, outcome)), LOG_INT("of_its_kind", (int64_t)n),
             LOG_ERR(is_unknown ? &nobody : failure));
}
