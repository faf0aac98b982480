#include "ingest.h"

#include "answer.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/now.h"
#include "dedupe.h"
#include "domain/scheme.h"
#include "refused.h"

static enum status route(struct delivery *d, struct err *err);
static enum status verify(struct delivery *d, struct err *err);
static void normalise(struct delivery *d);
static void after_dedupe(struct delivery *d);
static void on_overdue(void *delivery);
static void turn_away(struct delivery *d, const struct err *why);
static void answer(struct delivery *d, const struct err *failure);
static enum outcome outcome_of(const struct delivery *d, const struct err *failure);
static void complain(struct delivery *d, enum outcome outcome, const struct err *failure);

void ingest_on_request(void *ingest, h2o_req_t *req)
{
    struct delivery *d = delivery_begin(ingest, req);
    struct err err = {0};

    if (route(d, &err) || verify(d, &err)) {
        turn_away(d, &err);
        return;
    }
    normalise(d);
    if (!dedupe_check(d->ingest->dedupe, d, after_dedupe))
        after_dedupe(d);
}

static enum status route(struct delivery *d, struct err *err)
{
    struct span target = {d->tie.req->path.base, d->tie.req->path.len}, path = span_cut(&target, '?');
    struct span method = {d->tie.req->method.base, d->tie.req->method.len}, platform;
    size_t max_bytes;

    if (!ingest_read_path(path, &platform, &d->source_name))
        return err_cause(err, INVALID, "not_found",
                         "webhooks are taken at /publishing/webhooks/{platform}[/{source}]");
    d->platform = platforms_find(d->ingest->platforms, platform);
    if (!d->platform)
        return err_cause(err, INVALID, "unknown_platform", "no such platform");
    if (!span_eq(method, SPAN("POST"))) {
        h2o_add_header_by_str(&d->tie.req->pool, &d->tie.req->res.headers, H2O_STRLIT("allow"), 0, NULL,
                              H2O_STRLIT("POST"));
        return err_cause(err, INVALID, "method_not_allowed", "webhooks come by POST");
    }
    max_bytes = d->platform->max_body_bytes;
    if (max_bytes > 0 && d->body.len > max_bytes)
        return err_cause(err, INVALID, "too_large", "the body is over the %zu bytes this platform may send",
                         max_bytes);
    return OK;
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

/* An unknown source gets the same work and the same answer as a wrong signature. */
static enum status verify(struct delivery *d, struct err *err)
{
    struct header headers[H2O_MAX_HEADERS];
    const h2o_headers_t *from = &d->tie.req->headers;
    size_t n = from->size < countof(headers) ? from->size : countof(headers);

    for (size_t i = 0; i < n; i++) {
        headers[i].name = (struct span){from->entries[i].name->base, from->entries[i].name->len};
        headers[i].value = (struct span){from->entries[i].value.base, from->entries[i].value.len};
    }
    d->source = platform_source(d->platform, d->source_name);
    delivery_keep_headers(d, headers, n);
    return scheme_verify(d->platform, d->source, headers, n, d->body, d->received_us, &d->verified, err);
}

static void normalise(struct delivery *d)
{
    struct event *events;

    metric_add(KEY_MATCHES, d->platform->index, d->verified.secret < 3 ? d->verified.secret : 3, 1);
    d->verified.id = arena_copy(d->arena, d->verified.id); /* a header's, which goes with the client */
    events_read(d->platform, d->source->name, &d->verified, d->body, d->arena, &events, &d->nreceipts);
    d->receipts = arena_zero(d->arena, d->nreceipts * sizeof(*d->receipts));
    for (size_t i = 0; i < d->nreceipts; i++) {
        d->receipts[i].delivery = d;
        d->receipts[i].event = &events[i];
    }
}

static void after_dedupe(struct delivery *d)
{
    struct err busy = {0};
    size_t nunseen = 0;

    for (size_t i = 0; i < d->nreceipts; i++)
        nunseen += !d->receipts[i].seen;
    if (nunseen == 0) {
        answer(d, NULL); /* all of it is stored already: a success */
    } else if (batch_add(d->ingest->batch, d, &busy)) {
        answer(d, &busy);
    } else {
        deadline_set(&d->ingest->commit_deadlines, &d->deadline, on_overdue, d);
        return; /* to ingest_on_commit, perhaps by way of on_overdue */
    }
    delivery_end(d);
}

void ingest_on_commit(struct delivery *d, const struct err *failure)
{
    if (!failure)
        dedupe_remember(d->ingest->dedupe, d); /* not before: a crash must not cost an event */
    answer(d, failure);
    delivery_end(d);
}

/* The sender has waited long enough. What is under way may still be stored: then its next try is a duplicate. */
static void on_overdue(void *delivery)
{
    struct delivery *d = delivery;
    const struct err overdue = {.code = UNAVAILABLE, .text = "no commit in time"};

    d->gave_up = true;
    answer(d, &overdue);
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

    if (!req)
        return;
    metric_add(WEBHOOK_REQUESTS, d->platform ? d->platform->index : METRIC_NO_PLATFORM, outcome, 1);
    metric_observe_us(WEBHOOK_ACK, server_boot_us(d->ingest->server) - d->began_us);
    log_debug("webhook", LOG_ID("delivery_id", &d->id), LOG_INT("outcome", (int64_t)outcome));
    if (!failure) {
        answer_body(req, &d->id, 200, "application/json", SPAN("{\"status\":\"ok\"}"));
        return;
    }
    complain(d, outcome, failure);
    answer_problem(req, &d->id, failure);
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
    };

    if (failure && failure->code == FORGED)
        return d->source ? OUTCOME_BAD_SIGNATURE : OUTCOME_UNKNOWN_SOURCE;
    for (size_t i = 0; failure && i < countof(causes); i++)
        if (strcmp(answer_kind_of(failure)->cause, causes[i].cause) == 0)
            return causes[i].outcome;
    if (failure)
        return OUTCOME_INTERNAL;
    for (size_t i = 0; i < d->nreceipts; i++)
        if (d->receipts[i].is_new)
            return OUTCOME_STORED;
    return OUTCOME_DUPLICATE;
}

/* A storm of one kind fills the metric, not the log: of each kind one line in ten seconds. */
static void complain(struct delivery *d, enum outcome outcome, const struct err *failure)
{
    struct complaint *c = &d->ingest->complaints[outcome];
    int64_t now_us = server_boot_us(d->ingest->server);

    c->nsilent++;
    if (now_us < c->again_us)
        return;
    log_warn("webhook_refused", LOG_ID("delivery_id", &d->id),
             LOG_SPAN("platform", d->platform ? d->platform->name : SPAN_NONE),
             LOG_INT("of_its_kind", (int64_t)c->nsilent), LOG_ERR(failure));
    c->again_us = now_us + 10 * SECOND_US;
    c->nsilent = 0;
}
