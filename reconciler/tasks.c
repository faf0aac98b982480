#include "tasks.h"

#include "asking.h"
#include "base/doc.h"
#include "base/log.h"
#include "base/now.h"
#include "batch.h"
#include "breakers.h"
#include "connection.h"
#include "domain/insights.h"

#include <stdlib.h>

enum {
    AGAIN_S = 300, /* what was not asked for a breaker or a budget is due again */
    TOLD_MAX = 16, /* platforms whose breaker held a task: the log has told of it, and no more are taken */
    ERRAND_BYTES = 4096,
};

/* The columns of insights_lease. */
enum { LEASE_ID, LEASE_USER, LEASE_PLATFORM, LEASE_SITE, LEASE_ACCOUNT, LEASE_TOKEN };

/* Why a task failed: the code that its row and its log bear, and the class that people sort by. */
struct reason {
    const char *code, *class;
    enum missing missing; /* what it counts as */
};

/* One task on its way. A free place has no arena. */
struct errand {
    struct round *round;
    struct arena *arena;
    int64_t id, token;
    struct span user, site, account; /* account absent: there is no connection */
    const struct platform *platform; /* NULL: it has no insights */
    struct span platform_name;
    int64_t began_boot_us;
    struct breaker_pass pass; /* of the try at work */
    enum missing held;        /* why its last try was not sent */
};

/* What is written of one. */
struct task_ending {
    struct errand *errand;
    const char *status, *message; /* message NULL: none */
    const struct reason *reason;  /* NULL: none */
    struct span figures;
    bool again_later;   /* of skipped: not at once */
    struct span now_is; /* ret: the task's status; absent: the lease was lost */
    bool refused;       /* ret: the store does not take the figures */
};

struct round {
    struct session *s;
    const struct tasks_scope *scope;
    struct tasks_done *counts;
    struct breakers breakers;
    struct fetch *fetch;
    struct seal_keys *keys;
    struct arena *reading; /* of the answer at work */
    struct errand *errands;
    size_t nerrands, on_way;
    struct {
        const struct platform *platform;
        enum missing why;
    } told[TOLD_MAX];
    size_t ntold;
    int64_t begins_until_boot_us, ends_boot_us;
    int64_t taken;
    bool drained;
    struct err err; /* what ended the round before its time */
};

/* What one transaction leases. */
struct leasing {
    struct round *round;
    size_t most;
    struct pg_rows *rows;
};

static const struct reason reasons[] = {
    [INSIGHTS_OK] = {NULL,                     NULL,            MISSING_NONE                  },
    [INSIGHTS_AUTH_ERROR] = {"auth_error",             "auth_error",    MISSING_AUTH_ERROR            },
    [INSIGHTS_RATE_LIMITED] = {"rate_limited",           "api_limit",     MISSING_RATE_LIMITED          },
    [INSIGHTS_CONFIG_ERROR] = {"config_error",           "config_error",  MISSING_NONE                  },
    [INSIGHTS_FETCH_ERROR] = {"fetch_error",            "network_error", MISSING_FETCH_ERROR           },
    [INSIGHTS_INVALID_RETURN] = {"invalid_adapter_return", "unknown",       MISSING_INVALID_ADAPTER_RETURN},
};
static const struct reason timed_out = {"timeout", "network_error", MISSING_TIMEOUT};
static const struct reason no_adapter = {"adapter_missing", "config_error", MISSING_ADAPTER_MISSING};

static void count_left_out(struct round *r);
static enum status open_round(struct round *r, struct err *err);
static enum status open_keys(struct round *r, struct err *err);
static void set_times(struct round *r, int64_t now_us);
static enum status in_fence(struct session *s, batch_work *work, void *ctx, bool *ret_refused,
                            struct err *err);
static bool is_over(void);
static void fill(struct round *r);
static size_t lease_some(struct round *r);
static enum status write_leases(void *ctx, size_t rows, struct err *err);
static void begin_all(struct round *r, const struct pg_rows *rows);
static struct errand *take_place(struct round *r, const struct pg_rows *rows, size_t at);
static void begin(struct errand *e, const struct connection *c);
static void put_off(struct errand *e);
static enum status send(struct errand *e, struct span token, struct err *err);
static bool may_go(void *errand, unsigned attempt);
static bool spend(struct errand *e);
static void tell_held(struct errand *e, enum missing why, unsigned attempt);
static void after_try(void *errand, const struct fetch_answer *answer);
static const struct reason *note_try(struct errand *e, const struct fetch_answer *answer,
                                     enum insights_error error);
static enum breaker_word word_of(enum insights_error error, const struct fetch_answer *answer);
static void end_by(struct errand *e, const struct fetch_answer *answer, const struct reason *reason,
                   struct span figures);
static void succeed(struct errand *e, struct span figures);
static bool fail(struct errand *e, const struct reason *reason, const char *message);
static void skip(struct errand *e, const char *why, bool again_later);
static bool write_ending(struct task_ending *ending);
static enum status write_finish(void *ctx, size_t rows, struct err *err);
static void give_up(struct round *r, const struct err *err);
static void close_errand(struct errand *e);
static void close_round(struct round *r);

/* The round at work: fetch asks, several times a second, with nothing to say which. */
static struct round *at_work;

enum status tasks_count(struct session *s, struct tasks_done *ret, struct err *err)
{
    struct pg_rows *rows;

    *ret = (struct tasks_done){.found = 0};
    if (pg_run(s->pg, SQL_INSIGHTS_COUNT, NULL, WAIT_MS, &rows, err))
        return err_in(err, "counting insights tasks");
    ret->found = pg_int(rows, 0, 0);
    ret->leased = pg_int(rows, 0, 1);
    ret->paused = pg_int(rows, 0, 2);
    ret->stuck = pg_int(rows, 0, 3);
    ret->active = pg_int(rows, 0, 4);
    pg_rows_free(rows);
    return OK;
}

enum status tasks_do(struct session *s, const struct tasks_scope *scope, struct tasks_done *ret,
                     struct err *err)
{
    struct round r = {
        .s = s, .scope = scope, .counts = ret, .breakers = {s->pg, s->config}
    };

    if (tasks_count(s, ret, err))
        return err->code;
    if (ret->found == 0 && scope->task_id == 0)
        return OK;
    if (open_round(&r, err) == OK) {
        fill(&r);
        if (r.on_way > 0 && fetch_run(r.fetch, r.ends_boot_us, err) && r.err.code == OK)
            r.err = *err;
        ret->ran_out = !r.drained && r.err.code == OK && !session_stopping();
        count_left_out(&r);
    }
    close_round(&r);
    *err = r.err;
    return err->code;
}

/* Tasks of a platform whose breaker held one: no more of them were taken. */
static void count_left_out(struct round *r)
{
    struct tasks_done *d = r->counts;
    int64_t rest = d->found - d->leased - d->paused - r->taken;

    if (r->drained && r->ntold > 0 && r->scope->task_id == 0 && r->err.code == OK && rest > 0) {
        d->held += rest;
        d->could_not[r->told[0].why] += rest;
    }
}

/* A lease that ended while its request is on the wire would be taken over, and the task asked about twice. */
enum status tasks_check(const struct config *c, struct err *err)
{
    if (c->insights.lease_seconds <= c->insights.batch_seconds)
        return err_set(err, INVALID, "insights.lease_seconds: must be more than insights.batch_seconds (%u)",
                       c->insights.batch_seconds);
    return OK;
}

static enum status open_round(struct round *r, struct err *err)
{
    const struct config *c = r->s->config;
    struct fetch_config config = asking_config(c);

    config.at_once = c->insights.at_once;
    config.stopping = is_over;
    r->nerrands = c->insights.at_once;
    r->errands = calloc(r->nerrands, sizeof(*r->errands));
    r->reading = arena_open(1 << 16);
    if (!r->errands)
        abort();
    at_work = r;
    if (open_keys(r, err) || !(r->fetch = fetch_open(&config, err))) {
        r->err = *err;
        return err->code;
    }
    set_times(r, now_boot_us());
    return OK;
}

/* Without them no tenant could be asked for, by no fault of its own. */
static enum status open_keys(struct round *r, struct err *err)
{
    const char *file = r->s->config->connections.key_file;

    if (!file)
        return err_set(err, INVALID,
                       "insights tasks are due, and connections.key_file is not set: no token can be opened");
    r->keys = seal_keys_load(file, err);
    return r->keys ? OK : err_in(err, "connections.key_file");
}

/* What is begun has the time of a whole request before it, or half of a round that is shorter than two. */
static void set_times(struct round *r, int64_t now_us)
{
    const struct config *c = r->s->config;
    int64_t round_us = c->insights.batch_seconds * SECOND_US;
    int64_t request_us = (int64_t)c->fetch.timeout_ms * (SECOND_US / 1000);

    r->ends_boot_us = now_us + round_us;
    r->begins_until_boot_us = r->ends_boot_us - (request_us < round_us / 2 ? request_us : round_us / 2);
}

/* One transaction that is done or not. OK with *ret_refused: it is not, and *err says why; a row that somebody holds is
 * tried once more. Another status ends the round. */
static enum status in_fence(struct session *s, batch_work *work, void *ctx, bool *ret_refused,
                            struct err *err)
{
    for (int tries = 0; tries < 2; tries++) {
        *err = (struct err){.code = OK};
        s->batch_rows = 1;
        s->refused_in_a_row = 0; /* each row is a tenant's: many that are held are no server that is down */
        if (batch_do(s, work, ctx, ret_refused, err))
            return err->code;
        if (!*ret_refused || err->code == REJECTED)
            break;
    }
    return OK;
}

/* Keeps the job's lock while answers are waited for. */
static bool is_over(void)
{
    struct round *r = at_work;
    struct err err = {0};

    if (r->err.code == OK && lock_renew(&r->s->lock, &err))
        give_up(r, &err);
    return r->err.code != OK || session_stopping();
}

/* ---- taking ---- */

/* As many as may be on their way. Those that end at once, for want of a token, make room for others. */
static void fill(struct round *r)
{
    while (!r->drained && r->on_way < r->nerrands && r->err.code == OK && !session_stopping() &&
           now_boot_us() < r->begins_until_boot_us)
        r->drained = lease_some(r) == 0;
}

static size_t lease_some(struct round *r)
{
    struct leasing l = {.round = r, .most = r->nerrands - r->on_way};
    struct err err = {0};
    bool refused = false;
    size_t n;

    if (in_fence(r->s, write_leases, &l, &refused, &err) || refused) {
        pg_rows_free(l.rows);
        if (refused)
            log_warn("insights_not_written", LOG_ERR(&err));
        else
            give_up(r, &err);
        return 0;
    }
    n = pg_nrows(l.rows);
    r->taken += (int64_t)n;
    if (n > 0)
        begin_all(r, l.rows);
    pg_rows_free(l.rows);
    return r->scope->task_id ? 0 : n;
}

static enum status write_leases(void *ctx, size_t rows, struct err *err)
{
    struct leasing *l = ctx;
    struct round *r = l->round;
    struct session *s = r->s;
    struct span held[TOLD_MAX];
    struct pg_args args;

    (void)rows;
    for (size_t i = 0; i < r->ntold; i++)
        held[i] = r->told[i].platform->name;
    pg_rows_free(l->rows);
    l->rows = NULL;
    pg_args_init(&args, s->arena);
    pg_arg_int(&args, (int64_t)l->most);
    pg_arg_text(&args, span_of(s->holder));
    pg_arg_uuid(&args, &s->options->run_id);
    pg_arg_int(&args, r->s->config->insights.lease_seconds);
    if (r->scope->task_id)
        pg_arg_int(&args, r->scope->task_id);
    else
        pg_arg_bytes(&args, SPAN_NONE); /* null has no type of its own */
    pg_arg_texts(&args, held, r->ntold);
    if (pg_run(s->pg, SQL_INSIGHTS_LEASE, &args, WAIT_MS, &l->rows, err))
        return err_in(err, "leasing insights tasks");
    return OK;
}

static void begin_all(struct round *r, const struct pg_rows *rows)
{
    size_t n = pg_nrows(rows);
    struct errand **its = arena_alloc(r->reading, n * sizeof(struct errand *));
    struct connection_name *names = arena_alloc(r->reading, n * sizeof(*names));
    struct connections *found;
    struct err err = {0};

    for (size_t i = 0; i < n; i++) {
        its[i] = take_place(r, rows, i);
        names[i] = (struct connection_name){its[i]->user, its[i]->platform_name,
                                            its[i]->account.at ? its[i]->account : SPAN("")};
    }
    if (connection_find(r->s->pg, r->keys, names, n, &found, &err)) {
        give_up(r, &err); /* their leases end by themselves */
        for (size_t i = 0; i < n; i++)
            close_errand(its[i]);
        arena_reset(r->reading);
        return;
    }
    for (size_t i = 0; i < n; i++)
        begin(its[i], connection_at(found, i));
    connection_close(found);
    arena_reset(r->reading);
}

static struct errand *take_place(struct round *r, const struct pg_rows *rows, size_t at)
{
    struct errand *e = r->errands;
    struct arena *arena = arena_open(ERRAND_BYTES);

    while (e->arena)
        e++;
    *e = (struct errand){
        .round = r,
        .arena = arena,
        .id = pg_int(rows, at, LEASE_ID),
        .token = pg_int(rows, at, LEASE_TOKEN),
        .user = arena_copy(arena, pg_bytes(rows, at, LEASE_USER)),
        .platform_name = arena_copy(arena, pg_bytes(rows, at, LEASE_PLATFORM)),
        .site = arena_copy(arena, pg_bytes(rows, at, LEASE_SITE)),
        .account = arena_copy(arena, pg_bytes(rows, at, LEASE_ACCOUNT)),
        .began_boot_us = now_boot_us(),
    };
    e->platform = platforms_find_insights(r->s->platforms, e->platform_name);
    r->on_way++;
    return e;
}

static void begin(struct errand *e, const struct connection *c)
{
    static const char *const why[] = {
        [CONNECTION_NONE] = "auth_error: there is no connection with a token",
        [CONNECTION_OFF] = "auth_error: it is disconnected",
        [CONNECTION_EXPIRED] = "auth_error: the token has expired",
    };
    struct err err = {0};

    if (!e->platform) {
        (void)fail(e, &no_adapter, "adapter_missing: the platform's descriptor has no insights");
    } else if (c->state == CONNECTION_SEALED) {
        put_off(e);
    } else if (c->state != CONNECTION_READY) {
        (void)fail(e, &reasons[INSIGHTS_AUTH_ERROR], why[c->state]);
    } else if (send(e, c->token, &err)) {
        bool is_config = err.cause && strcmp(err.cause, "config_error") == 0;
        bool is_auth = err.cause && strcmp(err.cause, "auth_error") == 0;
        const struct reason *reason = &reasons[is_config ? INSIGHTS_CONFIG_ERROR
                                               : is_auth ? INSIGHTS_AUTH_ERROR
                                                         : INSIGHTS_FETCH_ERROR];
        (void)fail(e, reason, arena_print(e->arena, "%s: %s", reason->code, err.text));
    }
}

/* Sealed with a key that is not in our file, which is no fault of the tenant's. */
static void put_off(struct errand *e)
{
    log_warn("poll_not_asked", LOG_SPAN("platform", e->platform_name), LOG_SPAN("user_id_str", e->user),
             LOG_SPAN("account", e->account), LOG_TEXT("error_code", "token_not_opened"));
    e->round->counts->held++;
    e->round->counts->could_not[MISSING_AUTH_ERROR]++;
    skip(e, "auth_error: the token cannot be opened", true);
}

static enum status send(struct errand *e, struct span token, struct err *err)
{
    const struct insights_period period = insights_period(e->platform->insights, session_now_us(e->round->s));
    const struct insights_question q = {
        .insights = e->platform->insights,
        .period = &period,
        .site = e->site,
        .account = span_eq(e->account, SPAN("default")) ? SPAN_NONE : e->account,
    };
    struct fetch_request request = {.lane = e->platform->name, .may = may_go, .tried = after_try, .ctx = e};
    struct poll_call call;
    enum status status;

    if (insights_request(&q, token, &call, err))
        return err->code;
    request.method = call.method;
    request.url = span_of(call.url);
    request.nheaders = call.nheaders;
    for (size_t i = 0; i < call.nheaders; i++)
        request.headers[i] = span_of(call.headers[i]);
    request.body = call.body;
    status = fetch_add(e->round->fetch, &request, err);
    poll_call_close(&call);
    return status;
}

/* ---- asking ---- */

/* Before each try. The budget first: a permit of a half-open breaker is taken by none but those that go. */
static bool may_go(void *errand, unsigned attempt)
{
    struct errand *e = errand;
    struct err err = {0};

    e->held = MISSING_NONE;
    if (attempt == 1 && now_boot_us() >= e->round->begins_until_boot_us)
        return false; /* its turn has come too late */
    if (!spend(e)) {
        e->held = MISSING_RATE_LIMITED;
        return false;
    }
    if (breakers_take(&e->round->breakers, e->platform->name, &e->held, &e->pass, &err)) {
        log_warn("poll_not_asked", LOG_SPAN("platform", e->platform->name), LOG_ERR(&err));
        e->held = MISSING_CIRCUIT_OPEN; /* what cannot be read counts as open */
    } else if (e->held) {
        tell_held(e, e->held, attempt);
    }
    return e->held == MISSING_NONE;
}

static bool spend(struct errand *e)
{
    struct session *s = e->round->s;
    struct pg_rows *rows;
    struct pg_args args;
    struct err err = {0};
    bool granted;

    pg_args_init(&args, e->arena);
    pg_arg_text(&args, e->user);
    pg_arg_text(&args, e->platform->name);
    pg_arg_text(&args, e->account);
    pg_arg_time(&args, session_now_us(s));
    pg_arg_int(&args, e->platform->insights->asks.budget_per_minute);
    if (pg_run(s->pg, SQL_POLL_SPEND, &args, WAIT_MS, &rows, &err)) {
        log_warn("poll_not_asked", LOG_SPAN("platform", e->platform->name), LOG_ERR(&err));
        return false; /* a limit that cannot be read is kept */
    }
    granted = pg_nrows(rows) > 0;
    pg_rows_free(rows);
    return granted;
}

/* Once a round, platform and reason. */
static void tell_held(struct errand *e, enum missing why, unsigned attempt)
{
    struct round *r = e->round;

    for (size_t i = 0; i < r->ntold; i++)
        if (r->told[i].platform == e->platform && r->told[i].why == why)
            return;
    if (r->ntold < TOLD_MAX) {
        r->told[r->ntold].platform = e->platform;
        r->told[r->ntold++].why = why;
    }
    asking_log_held(e->platform->name, attempt, breakers_wait_s(&r->breakers, e->platform->name, why), why);
}

static void after_try(void *errand, const struct fetch_answer *answer)
{
    struct errand *e = errand;
    struct round *r = e->round;
    enum insights_error error = INSIGHTS_FETCH_ERROR;
    const struct reason *reason = NULL;
    struct span figures = SPAN_NONE;

    if (answer->error == FETCH_OK)
        error = insights_read(e->platform->insights, answer->status, answer->body, r->reading, &figures);
    if (answer->error != FETCH_HELD && answer->error != FETCH_STOPPED) /* these say nothing of the platform */
        reason = note_try(e, answer, error);
    if (!answer->again) {
        end_by(e, answer, reason, figures);
        if (answer->error != FETCH_STOPPED)
            fill(r);
    }
    arena_reset(r->reading);
}

/* For the breaker and for the log. Returns why the try brought nothing; NULL: it did bring something. */
static const struct reason *note_try(struct errand *e, const struct fetch_answer *answer,
                                     enum insights_error error)
{
    struct span platform = e->platform->name;
    enum missing why = answer->error == FETCH_OK ? reasons[error].missing : breakers_missing(answer);
    enum breaker_state state;
    struct err err = {0};

    if (answer->error == FETCH_OK && error == INSIGHTS_FETCH_ERROR)
        why = MISSING_FETCH_ERROR;
    asking_log_try(platform, answer, why);
    if (breakers_note(&e->round->breakers, platform, &e->pass, word_of(error, answer), &state, &err))
        log_warn("breaker_not_noted", LOG_SPAN("platform", platform), LOG_ERR(&err));
    else if (word_of(error, answer) == BREAKER_FAILURE && state == BREAKER_OPEN)
        tell_held(e, MISSING_CIRCUIT_OPEN, answer->attempt);
    if (error == INSIGHTS_OK)
        return NULL;
    return why == MISSING_TIMEOUT ? &timed_out : &reasons[error];
}

/* That it does not know a site is an answer like any other. */
static enum breaker_word word_of(enum insights_error error, const struct fetch_answer *answer)
{
    switch (error) {
    case INSIGHTS_OK:
    case INSIGHTS_CONFIG_ERROR:
        return BREAKER_SUCCESS;
    case INSIGHTS_AUTH_ERROR:
    case INSIGHTS_RATE_LIMITED:
        return BREAKER_NEITHER;
    case INSIGHTS_INVALID_RETURN:
        return BREAKER_FAILURE;
    case INSIGHTS_FETCH_ERROR:
        break;
    }
    return answer->error == FETCH_OK ? BREAKER_FAILURE : breakers_word(answer);
}

/* ---- what became of it ---- */

static void end_by(struct errand *e, const struct fetch_answer *answer, const struct reason *reason,
                   struct span figures)
{
    struct round *r = e->round;
    bool unasked = (answer->error == FETCH_STOPPED && answer->attempt == 0 && r->err.code == OK) ||
                   (answer->error == FETCH_HELD && e->held == MISSING_NONE);

    if (unasked) {
        skip(e, "its turn did not come", false);
    } else if (answer->error == FETCH_STOPPED && session_stopping()) {
        r->counts->cut_off++;
        skip(e, "interrupted", false);
    } else if (answer->error == FETCH_STOPPED) {
        r->counts->timed_out += fail(e, &timed_out, timed_out.code);
    } else if (answer->error == FETCH_HELD) {
        r->counts->could_not[e->held]++;
        r->counts->held++;
        skip(e, missing_name(e->held), true);
    } else if (reason && answer->error == FETCH_OK) {
        (void)fail(e, reason, arena_print(e->arena, "%s: HTTP %d", reason->code, answer->status));
    } else if (reason) {
        (void)fail(e, reason,
                   reason == &timed_out
                       ? reason->code
                       : arena_print(e->arena, "%s: %s", reason->code, fetch_error_name(answer->error)));
    } else {
        succeed(e, figures);
    }
}

static void succeed(struct errand *e, struct span figures)
{
    const struct insights_period p = insights_period(e->platform->insights, session_now_us(e->round->s));
    struct span site = doc_quote(e->site, e->arena);
    struct task_ending ending = {
        .errand = e,
        .status = "success",
        .figures = span_of(arena_print(e->arena,
                                       "{\"site_url\":%.*s,\"from\":\"%s\",\"to\":\"%s\",\"figures\":%.*s}",
                                       SPAN_ARG(site), p.from, p.to, SPAN_ARG(figures))),
    };

    if (write_ending(&ending)) {
        e->round->counts->succeeded++;
    } else if (ending.refused) {
        (void)fail(e, &reasons[INSIGHTS_INVALID_RETURN],
                   "invalid_adapter_return: the store does not take the figures");
        return;
    }
    close_errand(e);
}

static bool fail(struct errand *e, const struct reason *reason, const char *message)
{
    struct task_ending ending = {.errand = e, .status = "failed", .message = message, .reason = reason};
    struct tasks_done *counts = e->round->counts;
    bool written = write_ending(&ending);

    if (written) {
        counts->failed++;
        counts->could_not[reason->missing] += reason->missing != MISSING_NONE;
        counts->config_errors += reason->missing == MISSING_NONE;
        log_warn("insights_failed", LOG_INT("task_id", e->id), LOG_SPAN("platform", e->platform_name),
                 LOG_SPAN("user_id_str", e->user), LOG_TEXT("error_code", reason->code),
                 LOG_TEXT("why", message), LOG_SPAN("task_status", ending.now_is));
    }
    close_errand(e);
    return written;
}

static void skip(struct errand *e, const char *why, bool again_later)
{
    struct task_ending ending = {
        .errand = e, .status = "skipped", .message = why, .again_later = again_later};

    (void)write_ending(&ending);
    close_errand(e);
}

/* False: nothing was written. What cannot be, for a row that somebody holds, is left to the end of its lease. */
static bool write_ending(struct task_ending *ending)
{
    struct errand *e = ending->errand;
    struct round *r = e->round;
    bool refused = false;
    struct err err = {0};

    if (r->err.code) /* overtaken, or without a store */
        return false;
    if (in_fence(r->s, write_finish, ending, &refused, &err)) {
        give_up(r, &err);
        return false;
    }
    if (!refused && ending->now_is.at)
        return true;
    ending->refused = refused && err.code == REJECTED && ending->figures.at;
    if (ending->refused)
        return false;
    r->counts->lost++;
    if (refused)
        log_warn("insights_not_written", LOG_INT("task_id", e->id), LOG_SPAN("platform", e->platform_name),
                 LOG_ERR(&err));
    else
        log_warn("insights_lease_lost", LOG_INT("task_id", e->id), LOG_SPAN("platform", e->platform_name));
    return false;
}

static enum status write_finish(void *ctx, size_t rows, struct err *err)
{
    struct task_ending *ending = ctx;
    struct errand *e = ending->errand;
    struct session *s = e->round->s;
    struct pg_rows *written;
    struct pg_args args;

    (void)rows;
    ending->now_is = SPAN_NONE; /* of a try that was rolled back */
    pg_args_init(&args, s->arena);
    pg_arg_int(&args, e->id);
    pg_arg_int(&args, e->token);
    pg_arg_text(&args, span_of(ending->status));
    pg_arg_text(&args, span_of(ending->message));
    pg_arg_text(&args, ending->reason ? span_of(ending->reason->class) : SPAN_NONE);
    pg_arg_text(&args, ending->reason ? span_of(ending->reason->code) : SPAN_NONE);
    pg_arg_json(&args, ending->figures);
    pg_arg_int(&args, (now_boot_us() - e->began_boot_us) / 1000);
    if (ending->again_later)
        pg_arg_int(&args, AGAIN_S);
    else
        pg_arg_bytes(&args, SPAN_NONE);
    if (pg_run(s->pg, SQL_INSIGHTS_FINISH, &args, WAIT_MS, &written, err))
        return err_in(err, "storing what became of insights task %lld", (long long)e->id);
    if (pg_nrows(written) > 0)
        ending->now_is = arena_copy(e->arena, pg_bytes(written, 0, 0));
    pg_rows_free(written);
    return OK;
}

/* The first reason stays. */
static void give_up(struct round *r, const struct err *err)
{
    if (r->err.code == OK)
        r->err = *err;
}

static void close_errand(struct errand *e)
{
    arena_close(e->arena);
    e->arena = NULL;
    e->round->on_way--;
}

static void close_round(struct round *r)
{
    fetch_close(r->fetch); /* may still call back */
    seal_keys_close(r->keys);
    if (r->reading)
        arena_close(r->reading);
    free(r->errands);
    at_work = NULL;
}
