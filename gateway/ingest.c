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
#include "reused.h"
#include "websub.h"

#define SPOOL_FOR_OVERLOAD 0.5 /* of its room */

enum { PROOFS = 256 }; /* so many requests ago is long ago */

enum way { TO_POSTGRES, TO_SPOOL, AWAY };

/* Why somebody finds no place, and when he may find one. */
struct crowd {
    enum outcome outcome;
    const struct line *line;
    unsigned retry_s;
};

static const struct err still = {.code = UNAVAILABLE, .text = "no store takes anything"};

static enum way way_in(const struct ingest *g, const struct sender_shares *of);
static bool has_room(const struct line *l, const struct line_share *of);
static void refuse_unread(struct ingest *g, h2o_req_t *req);
static struct crowd crowd_of(struct ingest *g, const struct id *id, double counts);
static bool falls_silent(struct ingest *g, enum outcome outcome, uint64_t *ret_n);
static void complain_of_overload(struct ingest *g, const struct crowd *crowd);
static void complain_of_still(struct ingest *g, const struct id *id, const struct platform *p);
static enum status route(struct delivery *d, struct err *err);
static struct span target_of(const struct delivery *d);
static enum status check_method(struct delivery *d, struct err *err);
static bool method_is(const h2o_req_t *req, struct span method);
static size_t body_cap(const struct platform *p, size_t max_body_bytes);
static void greet(struct delivery *d);
static enum status verify(struct delivery *d, struct err *err);
static bool rests_on_time(const struct delivery *d);
static void note_proof(struct ingest *g, bool holds);
static bool greet_signed(struct delivery *d);
static void conclude(struct delivery *d, const struct handshake_answer *a);
static bool admit(const struct delivery *d, const struct handshake_answer *a);
static void answer_handshake(struct delivery *d, const struct handshake_answer *a);
static const char *refusal_of(int status);
static const char *content_type_of(const struct handshake_answer *a);
static void take(struct delivery *d);
static void refuse_verified(struct delivery *d);
static void normalise(struct delivery *d);
static void stand_in(struct delivery *d, struct line *line);
static struct line_share *share_of(const struct delivery *d);
static void after_dedupe(struct delivery *d);
static void on_commit_overdue(void *delivery);
static void keep_in_spool(struct delivery *d);
static void on_answer_overdue(void *delivery);
static void end_if_done(struct delivery *d);
static void turn_away(struct delivery *d, const struct err *why);
static void answer(struct delivery *d, const struct err *failure);
static void tell_where(h2o_req_t *req, struct span where);
static void count(const struct delivery *d, enum outcome outcome);
static enum outcome outcome_of(const struct delivery *d, const struct err *failure);
static enum line_store store_now(const struct ingest *g);
static void complain(struct delivery *d, enum outcome outcome, const struct err *failure);
static void log_complaint(const struct delivery *d, enum outcome outcome, uint64_t n,
                          const struct err *failure);

void ingest_on_request(void *ingest, h2o_req_t *req)
{
    bool by_get = method_is(req, SPAN("GET"));
    struct err err = {0};
    struct delivery *d;

    if (!by_get && way_in(ingest, NULL) == AWAY) {
        refuse_unread(ingest, req);
        return;
    }
    d = delivery_begin(ingest, req);
    if (route(d, &err) || (!by_get && verify(d, &err)))
        turn_away(d, &err);
    else if (by_get)
        greet(d);
    else if (!greet_signed(d))
        take(d);
}

/* What would wait too long for Postgres goes to the spool, as long as that keeps up; but while Postgres takes what it can,
 * half of the spool is kept for when it does not. of: whose it is; NULL: that is not proven yet. Then only a crowd is in the
 * way: it may be a handshake, which needs no store. */
static enum way way_in(const struct ingest *g, const struct sender_shares *of)
{
    int64_t now_us = server_boot_us(g->server);
    bool up = links_pg_is_up(g->links), moves = up && !line_stands_still(&g->store_line, now_us);
    bool may_be_up = !g->spool && (!of || now_us - g->pg_seen_us < RECONNECT_MS * INT64_C(1000));

    if ((up || may_be_up) && has_room(&g->store_line, of ? &of->store : NULL))
        return TO_POSTGRES;
    if (!g->spool || !has_room(&g->spool_line, of ? &of->spool : NULL))
        return AWAY;
    return moves && spool_fill(g->spool) > SPOOL_FOR_OVERLOAD ? AWAY : TO_SPOOL;
}

static bool has_room(const struct line *l, const struct line_share *of)
{
    return of ? !line_is_full_for(l, of) : !line_is_full(l);
}

/* Neither verified nor copied: there are too many of them. Who is no sender of ours makes nobody come later, and who says
 * that he is one as much as his like have proved to be: else anybody could send all senders away by their names. */
static void refuse_unread(struct ingest *g, h2o_req_t *req)
{
    struct id id = id_make(server_wall_us(g->server));
    struct span target = {req->path.base, req->path.len}, name, source;
    const struct platform *p =
        ingest_read_path(span_cut(&target, '?'), &name, &source) ? platforms_find(g->platforms, name) : NULL;
    struct crowd crowd = crowd_of(g, &id, p && platform_source(p, source) ? g->proven : 0);

    metric_add(WEBHOOK_REQUESTS, p ? p->index : METRIC_NO_PLATFORM, crowd.outcome, 1);
    if (crowd.outcome == OUTCOME_OVERLOAD) {
        complain_of_overload(g, &crowd);
        answer_overload(req, &id, crowd.retry_s);
    } else {
        complain_of_still(g, &id, p);
        answer_problem(req, &id, &still);
    }
}

/* A store that takes nothing is no crowd but a fault. counts: the next ones stand behind that much of it. */
static struct crowd crowd_of(struct ingest *g, const struct id *id, double counts)
{
    int64_t now_us = server_boot_us(g->server);
    bool up = links_pg_is_up(g->links);
    struct line *line =
        g->spool && (!up || line_stands_still(&g->store_line, now_us)) ? &g->spool_line : &g->store_line;
    bool moves = (up || g->spool) && !line_stands_still(line, now_us);

    return (struct crowd){
        .outcome = moves ? OUTCOME_OVERLOAD : OUTCOME_STORE_UNAVAILABLE,
        .line = line,
        .retry_s = line_turn_away(line, counts, id->bytes[sizeof(id->bytes) - 1], now_us),
    };
}

static void complain_of_overload(struct ingest *g, const struct crowd *crowd)
{
    uint64_t n;

    if (falls_silent(g, OUTCOME_OVERLOAD, &n))
        return;
    log_warn("overload", LOG_INT("turned_away", (int64_t)n), LOG_INT("waiting", (int64_t)crowd->line->n),
             LOG_INT("taken_a_second", (int64_t)crowd->line->rate), LOG_INT("retry_after_s", crowd->retry_s),
             LOG_TEXT("cure", "more comes than the store takes: find what slows it, or give it more"));
}

static void complain_of_still(struct ingest *g, const struct id *id, const struct platform *p)
{
    uint64_t n;

    if (falls_silent(g, OUTCOME_STORE_UNAVAILABLE, &n))
        return;
    log_warn("webhook_refused", LOG_ID("delivery_id", id), LOG_SPAN("platform", p ? p->name : SPAN_NONE),
             LOG_SPAN("outcome", metric_word(WEBHOOK_REQUESTS, OUTCOME_STORE_UNAVAILABLE)),
             LOG_INT("of_its_kind", (int64_t)n), LOG_ERR(&still));
}

/* A storm of one kind fills the metric, not the log: of each kind one line in ten seconds, for so many. */
static bool falls_silent(struct ingest *g, enum outcome outcome, uint64_t *ret_n)
{
    struct complaint *c = &g->complaints[outcome];
    int64_t now_us = server_boot_us(g->server);

    *ret_n = ++c->nsilent;
    if (now_us < c->again_us)
        return true;
    c->again_us = now_us + 10 * SECOND_US;
    c->nsilent = 0;
    return false;
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
    if (d->source)
        note_proof(d->ingest, !status);
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

/* Of those that come while there is a place: the others, which are not looked at, come from the same senders. */
static void note_proof(struct ingest *g, bool holds)
{
    g->proven += (holds - g->proven) / PROOFS;
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

static void take(struct delivery *d)
{
    struct ingest *g = d->ingest;
    enum way way;

    d->shares = senders_find(g->senders, d->platform, d->source)->shares;
    way = way_in(g, d->shares);
    if (way == AWAY) {
        refuse_verified(d);
        return;
    }
    d->overflows = way == TO_SPOOL;
    normalise(d);
    stand_in(d, d->overflows ? &g->spool_line : &g->store_line);
    deadline_set(&g->answer_deadlines, &d->answer_by, on_answer_overdue, d);
    if (!dedupe_check(g->dedupe, d, after_dedupe))
        after_dedupe(d);
}

/* There is no store at all, or a place, but not for this source: it has had its share. Not before it is verified: the answer
 * tells that there is such a source, and by name alone anybody could use up what is another's. */
static void refuse_verified(struct delivery *d)
{
    const struct err share = {
        .code = BUSY, .cause = "over_share", .text = "this source has more waiting than its share"};
    struct ingest *g = d->ingest;
    struct crowd crowd = crowd_of(g, &d->id, 1);
    h2o_req_t *req = tie_cut(&d->tie);

    if (crowd.outcome == OUTCOME_OVERLOAD && senders_are_several(g->senders, server_boot_us(g->server)))
        crowd.outcome = OUTCOME_RATE_LIMITED; /* else nobody is the worse for it */
    count(d, crowd.outcome);
    if (crowd.outcome == OUTCOME_STORE_UNAVAILABLE) {
        complain(d, crowd.outcome, &still);
        answer_problem(req, &d->id, &still);
    } else if (crowd.outcome == OUTCOME_RATE_LIMITED) {
        complain(d, crowd.outcome, &share);
        answer_crowd(req, &d->id, &share, crowd.retry_s);
    } else {
        complain_of_overload(g, &crowd);
        answer_overload(req, &d->id, crowd.retry_s);
    }
    delivery_end(d);
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
        line_leave(d->line, share_of(d), d->nreceipts, d->body.len);
    d->line = line;
    if (line)
        line_enter(line, share_of(d), d->nreceipts, d->body.len);
}

static struct line_share *share_of(const struct delivery *d)
{
    return d->line == &d->ingest->spool_line ? &d->shares->spool : &d->shares->store;
}

static void after_dedupe(struct delivery *d)
{
    struct ingest *g = d->ingest;
    /* Nobody is there to wait for, or too many wait already. */
    bool to_spool = g->spool && (d->overflows || !links_pg_is_up(g->links));
    size_t nunseen = 0;

    for (size_t i = 0; i < d->nreceipts; i++)
        nunseen += !d->receipts[i].seen;
    if (nunseen == 0) {
        answer(d, NULL); /* all of it is stored already: a success */
    } else if (to_spool && !d->gave_up) {
        keep_in_spool(d);
    } else if (!d->gave_up) {
        d->in_batch = true; /* to ingest_on_commit, perhaps by way of one that is overdue */
        if (g->spool)
            deadline_set(&g->commit_deadlines, &d->commit_by, on_commit_overdue, d);
        batch_add(g->batch, d);
    }
    end_if_done(d);
}

void ingest_on_commit(struct delivery *d, const struct err *failure)
{
    if (d->drain) {
        if (!failure)
            line_moved(&d->ingest->store_line, 0, server_boot_us(d->ingest->server)); /* it lives */
        drain_on_commit(d, failure);
        return;
    }
    d->in_batch = false;
    d->committed = !failure;
    deadline_clear(&d->commit_by);
    if (!failure) {
        line_moved(&d->ingest->store_line, d->nreceipts, server_boot_us(d->ingest->server));
        dedupe_remember(d->ingest->dedupe, d); /* not before: a crash must not cost an event */
        reused_look(d);
        if (d->spooled)
            spool_forget(d->ingest->spool, &d->slip);
        answer(d, NULL);
    } else if (!d->ingest->spool) {
        answer(d, failure);
    } else if (!d->gave_up) {
        keep_in_spool(d);
    }
    end_if_done(d);
}

static void on_commit_overdue(void *delivery)
{
    struct delivery *d = delivery;

    keep_in_spool(d);
    end_if_done(d);
}

static void keep_in_spool(struct delivery *d)
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
    if (spool_put(d->ingest->spool, &d->slip, &err))
        answer(d, &err);
    else
        d->in_spool = true;
}

/* The sender has waited long enough: for a disk that does not answer, or, without a spool, for a commit. What is written or
 * committed all the same, later, makes the sender's next try a duplicate. */
static void on_answer_overdue(void *delivery)
{
    struct delivery *d = delivery;
    const struct err stuck = {.code = UNAVAILABLE,
                              .cause = "spool_stuck",
                              .text = "the spool's disk does not answer"},
                     overdue = {.code = UNAVAILABLE, .text = "no commit in time"};
    bool in_dedupe = !d->in_spool && !d->in_batch; /* its answer, or its own deadline, is about to come */
    const struct err *why = d->in_spool ? &stuck : &overdue;

    d->gave_up = true;
    if (d->in_spool)
        d->in_spool = !spool_give_up(d->ingest->spool, &d->slip);
    answer(d, why);
    if (!in_dedupe)
        end_if_done(d);
}

void ingest_on_spooled(void *ingest, struct spool_slip *slip, const struct err *failure)
{
    struct delivery *d = H2O_STRUCT_FROM_MEMBER(struct delivery, slip, slip);

    (void)ingest;
    d->in_spool = false;
    d->spooled = !failure;
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

    deadline_clear(&d->answer_by);
    if (!d->in_spool)
        stand_in(d, NULL);
    if (!req)
        return;
    count(d, outcome);
    metric_observe_us(WEBHOOK_ACK, server_boot_us(d->ingest->server) - d->began_us);
    if (failure)
        complain(d, outcome, failure);
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

    if (links_pg_is_up(g->links))
        g->pg_seen_us = now_us;
    line_turn(&g->store_line, store_now(g), now_us);
    line_turn(&g->spool_line, g->spool_line.n > 0 ? LINE_STORE_AWAITED : LINE_STORE_IDLE, now_us);
    metric_set(COMMIT_CAPACITY, METRIC_NO_PLATFORM, 0, g->store_line.rate);
}

static enum line_store store_now(const struct ingest *g)
{
    if (!batch_is_idle(g->batch))
        return LINE_STORE_AWAITED;
    return batch_is_done(g->batch) ? LINE_STORE_IDLE : LINE_STORE_AT_WORK;
}

static void complain(struct delivery *d, enum outcome outcome, const struct err *failure)
{
    uint64_t n;

    if (!falls_silent(d->ingest, outcome, &n))
        log_complaint(d, outcome, n, failure);
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
