#include "ask.h"

#include "asking.h"
#include "base/log.h"
#include "base/now.h"
#include "batch.h"
#include "breakers.h"
#include "connection.h"
#include "domain/poll.h"

enum {
    PAGE_ROWS = CONNECTIONS_MAX, /* each may be of another account */
    ROUND_US = 22 * SECOND_US,   /* on the wire at a time: a try (fetch.timeout_ms) and less than a lease */
    AGAIN_MINUTES_MAX = 60,
    COLUMN_STATUS_TEXT = 5, /* of the texts of poll_note: the times stand around it */
    COLUMNS_OF_TEXT = 9,
};

_Static_assert(ROUND_US + 3 * SECOND_US < LOCK_TRUST_MS * INT64_C(1000), "what was learned is still written");

/* The columns of poll_due. */
enum {
    DUE_PLACE_AT,
    DUE_PLACE_KEY,
    DUE_MORE,
    DUE_ID,
    DUE_SOURCE,
    DUE_PLATFORM,
    DUE_POST,
    DUE_USER,
    DUE_ACCOUNT,
    DUE_TRIES,
};

/* A platform, for all of the run. */
struct lane {
    const struct platform *platform;
    enum missing held; /* by its breaker: none of its accounts is asked any more */
    enum missing told; /* what the log has of that */
    bool kept_waiting; /* accounts of this page, perhaps */
    struct lane *next;
};

/* Whose token the platform is asked with: by one request at a time, so that what an answer says of the account counts
 * before the next one goes. */
struct account {
    struct lane *lane;
    struct span user, name;
    struct span token;          /* of connections; absent: blocked says why */
    enum missing blocked;       /* its further questions are not asked in this run ... */
    int64_t until_us;           /* ... and not before then; 0: no answer has blocked it */
    enum missing held;          /* by its budget: the same, but nothing is written of them */
    bool had_its_turn;          /* a round was too short for it: the rest of the run is for others */
    bool on_its_way, was_asked; /* a request, in this round */
    struct question **questions;
    size_t n;
    struct account *next;
};

/* A publication, and what is learned of it. */
struct question {
    struct id id;
    struct span source, post;
    struct account *account;
    unsigned tries;
    size_t request; /* of the descriptor, by which it is asked next */
    bool begun;     /* one was answered, and another has to go on with it */
    bool answered;  /* there is something to write */
    struct poll_answer answer;
    const char *error_code; /* NULL: none */
    enum missing missing;   /* the same for the count */
};

/* One request on its way. */
struct call {
    struct asker *asker;
    struct account *account;
    size_t request;
    struct question **questions;
    size_t n;
    struct breaker_pass pass; /* of the try at work */
    enum missing why;         /* the last try brought nothing */
};

struct asker {
    struct session *s;
    const struct ask_scope *scope;
    struct asked *counts;
    struct breakers breakers;
    struct fetch *fetch;
    struct seal_keys *keys;
    struct arena *arena; /* of the page at work */
    struct arena
        *reading; /* of the answer at work: as large as the platform likes, within fetch.max_answer_bytes */
    struct pg_rows *rows;
    struct account *accounts, **accounts_end;
    size_t naccounts;
    struct arena
        *lasting; /* of the run, with lanes and barred: those of earlier pages that are not asked any more */
    struct lane *lanes;
    struct account *barred;
    struct connections *connections;
    struct question *questions;
    size_t nquestions;
    bool more;               /* pages behind this one */
    bool is_second;          /* all have been looked at: what is held now has been counted */
    size_t written, at_work; /* of the questions: stored; in the transaction at work */
    int64_t place_us;
    char place_id[sizeof(struct id)];
    int64_t ends_boot_us;
};

/* One that is another request's is never written. */
static const char *const outcome_words[] = {
    [POLL_COULD_NOT_ASK] = "could_not_ask", [POLL_WORKING] = "working", [POLL_DONE] = "done"};

static bool anyone_can_be_asked(const struct ask_scope *scope, struct arena *arena);
static bool start_over(struct asker *a);
static enum status open_fetch(struct asker *a, struct err *err);
static enum status ask_page(struct asker *a, struct err *err);
static enum status read_page(struct asker *a, struct err *err);
static void read_question(struct asker *a, size_t at);
static struct account *account_of(struct asker *a, size_t at);
static struct lane *lane_of(struct asker *a, const struct platform *platform);
static struct account *find_account(struct account *first, const struct lane *lane, struct span user,
                                    struct span name);
static enum status find_tokens(struct asker *a, struct err *err);
static void block(struct account *account, const char *why);
static void start_all(struct asker *a);
static void ask_by(struct question *q, size_t request);
static void start_next(struct asker *a, struct account *account);
static bool is_free(const struct account *account);
static struct call *next_call(struct asker *a, struct account *account);
static void send_call(struct call *c);
static bool may_go(void *call, unsigned attempt);
static bool spend(struct call *c);
static void hold(struct call *c, enum missing why, unsigned attempt);
static void after_try(void *call, const struct fetch_answer *answer);
static enum missing note_try(struct call *c, const struct fetch_answer *answer, enum poll_error error);
static enum breaker_word word_of(enum poll_error error);
static void release(struct asker *a, struct lane *lane, bool one);
static void end_call(struct call *c, const struct fetch_answer *answer, const struct poll_answer *answers,
                     enum poll_error whole);
static void take_answers(struct call *c, const struct fetch_answer *answer, const struct poll_answer *answers,
                         enum poll_error whole);
static void give_up(struct call *c, enum missing why);
static void could_not(struct question *q, enum missing why, const char *word);
static enum missing missing_of(enum poll_error error);
static void keep_barred(struct asker *a);
static bool has_open(const struct account *account);
static void note_cut_off(struct asker *a);
static void count(struct asker *a);
static enum status write_page(struct asker *a, struct err *err);
static enum status write_some(void *asker, size_t rows, struct err *err);
static void put_answers(struct asker *a, const struct question *first, size_t n, struct pg_args *args);
static void put_texts(const struct question *q, struct span *first, size_t n);
static int64_t next_us(const struct asker *a, const struct question *q);
static void close_page(struct asker *a);

enum status ask_all(struct session *s, const struct ask_scope *scope, struct asked *ret, struct err *err)
{
    struct asker a = {
        .s = s, .scope = scope, .counts = ret, .place_us = TIME_NONE, .breakers = {s->pg, s->config}
    };
    struct err keyless = {0};
    enum status status = OK;

    *ret = (struct asked){.asked = 0};
    a.accounts_end = &a.accounts;
    if (s->config->reconcile.poll_seconds == 0 || !anyone_can_be_asked(scope, s->arena))
        return OK;
    a.arena = arena_open(1 << 16);
    a.reading = arena_open(1 << 16);
    a.lasting = arena_open(1 << 12);
    if (s->config->connections.key_file &&
        !(a.keys = seal_keys_load(s->config->connections.key_file, &keyless)))
        log_warn("poll_not_asked", LOG_TEXT("consequence", "no token can be opened"), LOG_ERR(&keyless));
    a.ends_boot_us = now_boot_us() + s->config->reconcile.poll_seconds * SECOND_US;
    do {
        status = ask_page(&a, err);
    } while (!status && (a.more || start_over(&a)) && now_boot_us() < a.ends_boot_us && !session_stopping());
    fetch_close(a.fetch); /* may still call back about the page */
    close_page(&a);
    seal_keys_close(a.keys);
    arena_close(a.lasting);
    arena_close(a.reading);
    arena_close(a.arena);
    return status;
}

static bool anyone_can_be_asked(const struct ask_scope *scope, struct arena *arena)
{
    size_t n;

    deadlines_askable(scope->deadlines, false, arena, &n);
    return n > 0;
}

static enum status ask_page(struct asker *a, struct err *err)
{
    int64_t round_ends_us;

    close_page(a);
    if (a->s->lock.epoch && lock_renew(&a->s->lock, err)) /* pages may hold nothing to ask */
        return err->code;
    if (read_page(a, err))
        return err->code;
    if (a->nquestions == 0)
        return OK;
    if (!a->fetch && open_fetch(a, err))
        return err->code;
    start_all(a);
    if (a->s->lock.epoch && lock_renew_now(&a->s->lock, err))
        return err->code;
    round_ends_us = now_boot_us() + ROUND_US;
    if (fetch_run(a->fetch, round_ends_us < a->ends_boot_us ? round_ends_us : a->ends_boot_us, err))
        return err->code;
    keep_barred(a);
    if (!session_stopping())
        note_cut_off(a);
    count(a);
    return write_page(a, err);
}

/* At the end there may be time left for those whose questions took longer than their round. */
static bool start_over(struct asker *a)
{
    bool any = false;

    for (struct account *account = a->barred; account; account = account->next) {
        any |= account->had_its_turn;
        account->had_its_turn = false;
    }
    a->place_us = TIME_NONE;
    a->is_second = true;
    return any;
}

static enum status open_fetch(struct asker *a, struct err *err)
{
    const struct fetch_config config = asking_config(a->s->config);

    a->fetch = fetch_open(&config, err);
    return a->fetch ? OK : err->code;
}

/* ---- what to ask ---- */

static enum status read_page(struct asker *a, struct err *err)
{
    struct session *s = a->s;
    struct span *names;
    struct pg_args args;
    size_t nnames, n;

    names = deadlines_askable(a->scope->deadlines, false, a->arena, &nnames);
    pg_args_init(&args, a->arena);
    pg_arg_time(&args, a->scope->deadlines->stale_before_us);
    pg_arg_time(&args, a->place_us);
    pg_arg_bytes(&args,
                 a->place_us == TIME_NONE ? SPAN_NONE : (struct span){a->place_id, sizeof(a->place_id)});
    pg_arg_text(&args, a->scope->platform);
    pg_arg_int(&args, PAGE_ROWS);
    pg_arg_texts(&args, names, nnames);
    pg_arg_time(&args, session_now_us(s));
    if (pg_run(s->pg, SQL_POLL_DUE, &args, WAIT_MS, &a->rows, err))
        return err_in(err, "publications to ask about");
    n = pg_nrows(a->rows);
    if (n == 0)
        return OK;
    a->place_us = pg_time(a->rows, n - 1, DUE_PLACE_AT);
    memcpy(a->place_id, pg_bytes(a->rows, n - 1, DUE_PLACE_KEY).at, sizeof(a->place_id));
    a->more = pg_int(a->rows, n - 1, DUE_MORE) != 0;
    if (pg_is_null(a->rows, 0, DUE_ID))
        return OK;
    a->nquestions = n;
    a->questions = arena_zero(a->arena, n * sizeof(*a->questions));
    for (size_t i = 0; i < n; i++)
        read_question(a, i);
    return find_tokens(a, err);
}

static void read_question(struct asker *a, size_t at)
{
    a->questions[at] = (struct question){
        .id = pg_uuid(a->rows, at, DUE_ID),
        .source = pg_bytes(a->rows, at, DUE_SOURCE),
        .post = pg_bytes(a->rows, at, DUE_POST),
        .account = account_of(a, at),
        .tries = (unsigned)pg_int(a->rows, at, DUE_TRIES),
    };
}

static struct account *account_of(struct asker *a, size_t at)
{
    struct lane *lane = lane_of(a, platforms_find(a->s->platforms, pg_bytes(a->rows, at, DUE_PLATFORM)));
    struct span user = pg_bytes(a->rows, at, DUE_USER), name = pg_bytes(a->rows, at, DUE_ACCOUNT);
    struct account *account = find_account(a->accounts, lane, user, name);
    const struct account *barred;

    if (account)
        return account;
    account = arena_zero(a->arena, sizeof(*account));
    barred = find_account(a->barred, lane, user, name);
    if (barred)
        *account = *barred;
    account->lane = lane;
    account->user = user;
    account->name = name;
    account->next = NULL;
    *a->accounts_end = account; /* in the order of their oldest question: that one has the least time left */
    a->accounts_end = &account->next;
    a->naccounts++;
    return account;
}

static struct lane *lane_of(struct asker *a, const struct platform *platform)
{
    struct lane *lane = a->lanes;

    while (lane && lane->platform != platform)
        lane = lane->next;
    if (!lane) {
        lane = arena_zero(a->lasting, sizeof(*lane));
        *lane = (struct lane){.platform = platform, .next = a->lanes};
        a->lanes = lane;
    }
    return lane;
}

static struct account *find_account(struct account *first, const struct lane *lane, struct span user,
                                    struct span name)
{
    while (first && (first->lane != lane || !span_eq(first->user, user) || !span_eq(first->name, name)))
        first = first->next;
    return first;
}

static enum status find_tokens(struct asker *a, struct err *err)
{
    struct connection_name *names = arena_alloc(a->arena, a->naccounts * sizeof(*names));
    size_t n = 0;

    for (const struct account *account = a->accounts; account; account = account->next)
        names[n++] = (struct connection_name){account->user, account->lane->platform->name, account->name};
    if (connection_find(a->s->pg, a->keys, names, n, &a->connections, err))
        return err->code;
    n = 0;
    for (struct account *account = a->accounts; account; account = account->next) {
        const struct connection *c = connection_at(a->connections, n++);

        account->token = c->token;
        if (c->state != CONNECTION_READY && !account->blocked)
            block(account,
                  c->state == CONNECTION_EXPIRED ? "its token has expired" : "its token cannot be opened");
    }
    return OK;
}

static void block(struct account *account, const char *why)
{
    account->blocked = MISSING_AUTH_ERROR;
    log_warn("poll_not_asked", LOG_SPAN("platform", account->lane->platform->name),
             LOG_SPAN("user_id_str", account->user), LOG_SPAN("account", account->name),
             LOG_TEXT("error_code", missing_name(account->blocked)), LOG_TEXT("why", why));
}

/* ---- asking ---- */

static void start_all(struct asker *a)
{
    struct question **its = arena_alloc(a->arena, a->nquestions * sizeof(struct question *));

    for (struct account *account = a->accounts; account; account = account->next) {
        account->questions = its;
        for (size_t i = 0; i < a->nquestions; i++)
            if (a->questions[i].account == account) {
                ask_by(&a->questions[i], 0);
                its[account->n++] = &a->questions[i];
            }
        its += account->n;
        start_next(a, account);
    }
}

/* By this request of the descriptor or one behind it: the first that the post fits. */
static void ask_by(struct question *q, size_t request)
{
    const struct poll *poll = q->account->lane->platform->poll;

    while (request < poll->nrequests && !poll_fits(poll, request, q->post))
        request++;
    q->request = request;
    if (request == poll->nrequests)
        could_not(q, MISSING_INVALID_ADAPTER_RETURN, poll_error_name(POLL_BAD_POST));
}

/* What an answer has blocked is noted without a request; what is only held is asked by the next run. */
static void start_next(struct asker *a, struct account *account)
{
    struct call *c;

    if (account->blocked) {
        for (size_t i = 0; i < account->n; i++)
            if (!account->questions[i]->answered)
                could_not(account->questions[i], account->blocked, missing_name(account->blocked));
        return;
    }
    while (!account->on_its_way && is_free(account) && (c = next_call(a, account)))
        send_call(c);
}

static bool is_free(const struct account *account)
{
    return !account->blocked && !account->held && !account->had_its_turn && !account->lane->held;
}

/* Those first that have come farthest: what has been spent on them is to bring an answer. NULL: all are answered. */
static struct call *next_call(struct asker *a, struct account *account)
{
    struct call *c = NULL;
    size_t batch = 0;

    for (size_t i = 0; i < account->n; i++) {
        struct question *q = account->questions[i];
        if (q->answered || (c && q->request <= c->request))
            continue;
        c = c ? c : arena_zero(a->arena, sizeof(*c));
        *c = (struct call){.asker = a, .account = account, .request = q->request};
    }
    if (!c)
        return NULL;
    batch = account->lane->platform->poll->requests[c->request].batch;
    c->questions = arena_alloc(a->arena, batch * sizeof(struct question *));
    for (size_t i = 0; i < account->n && c->n < batch; i++)
        if (!account->questions[i]->answered && account->questions[i]->request == c->request)
            c->questions[c->n++] = account->questions[i];
    return c;
}

static void send_call(struct call *c)
{
    struct account *account = c->account;
    struct span *posts = arena_alloc(c->asker->arena, c->n * sizeof(*posts));
    const struct poll_question q = {
        .poll = account->lane->platform->poll,
        .request = c->request,
        .posts = posts,
        .nposts = c->n,
        .account = span_eq(account->name, SPAN("default")) ? SPAN_NONE : account->name,
    };
    struct fetch_request request = {
        .lane = account->lane->platform->name,
        .ahead = c->request > 0, /* or a crowd of accounts would spend each run on first requests alone */
        .may = may_go,
        .tried = after_try,
        .ctx = c,
    };
    struct poll_call call;
    struct err err = {0};

    for (size_t i = 0; i < c->n; i++)
        posts[i] = c->questions[i]->post;
    if (poll_request(&q, account->token, &call, &err)) {
        give_up(c, MISSING_AUTH_ERROR);
        return;
    }
    request.method = call.method;
    request.url = span_of(call.url);
    request.nheaders = call.nheaders;
    for (size_t i = 0; i < call.nheaders; i++)
        request.headers[i] = span_of(call.headers[i]);
    request.body = call.body;
    account->on_its_way = fetch_add(c->asker->fetch, &request, &err) == OK;
    if (!account->on_its_way) {
        log_warn("fetch_error", LOG_SPAN("platform", account->lane->platform->name), LOG_ERR(&err));
        give_up(c, MISSING_FETCH_ERROR);
    }
    poll_call_close(&call);
}

/* Before each try: whether its budget and its platform let it go. The budget first: a permit of a half-open breaker is
 * taken by none but those that go. Who is refused once is not asked for again in this run. */
static bool may_go(void *call, unsigned attempt)
{
    struct call *c = call;
    struct account *account = c->account;
    enum missing why = MISSING_NONE;
    struct err err = {0};

    if (!is_free(account))
        return false;
    if (!spend(c)) {
        account->held = MISSING_RATE_LIMITED;
        return false;
    }
    if (breakers_take(&c->asker->breakers, account->lane->platform->name, &why, &c->pass, &err)) {
        log_warn("poll_not_asked", LOG_SPAN("platform", account->lane->platform->name), LOG_ERR(&err));
        account->lane->held = MISSING_CIRCUIT_OPEN; /* what cannot be read counts as open */
    } else if (why) {
        hold(c, why, attempt);
    }
    account->was_asked |= !account->lane->held;
    return !account->lane->held;
}

/* Keeps what the descriptor's further requests about the same posts would need: one that could not be ended would be
 * begun anew by each run, and never answered. */
static bool spend(struct call *c)
{
    const struct account *account = c->account;
    const struct platform *platform = account->lane->platform;
    struct session *s = c->asker->s;
    struct pg_rows *rows;
    struct pg_args args;
    struct err err = {0};
    bool granted;

    pg_args_init(&args, c->asker->arena);
    pg_arg_text(&args, account->user);
    pg_arg_text(&args, platform->name);
    pg_arg_text(&args, account->name);
    pg_arg_time(&args, session_now_us(s));
    pg_arg_int(&args, (int64_t)platform->poll->budget_per_minute -
                          (int64_t)(platform->poll->nrequests - 1 - c->request));
    if (pg_run(s->pg, SQL_POLL_SPEND, &args, WAIT_MS, &rows, &err)) {
        log_warn("poll_not_asked", LOG_SPAN("platform", platform->name), LOG_ERR(&err));
        return false; /* a limit that cannot be read is kept */
    }
    granted = pg_nrows(rows) > 0;
    pg_rows_free(rows);
    return granted;
}

static void hold(struct call *c, enum missing why, unsigned attempt)
{
    struct lane *lane = c->account->lane;

    if (lane->told != why)
        asking_log_held(lane->platform->name, attempt,
                        breakers_wait_s(&c->asker->breakers, lane->platform->name, why), why);
    lane->held = lane->told = why;
    lane->kept_waiting = true;
}

static void after_try(void *call, const struct fetch_answer *answer)
{
    struct call *c = call;
    struct asker *a = c->asker;
    struct poll_answer *answers = arena_zero(a->reading, c->n * sizeof(*answers));
    struct span *posts = arena_alloc(a->reading, c->n * sizeof(*posts));
    const struct poll_question q = {
        .poll = c->account->lane->platform->poll, .request = c->request, .posts = posts, .nposts = c->n};
    const struct poll_reply reply = {
        .status = answer->status, .content = answer->body, .received_us = now_wall_us()};
    enum poll_error whole = POLL_FETCH_ERROR;

    for (size_t i = 0; i < c->n; i++)
        posts[i] = c->questions[i]->post;
    if (answer->error == FETCH_OK)
        whole = poll_read(&q, &reply, a->reading, answers);
    if (answer->error != FETCH_HELD && answer->error != FETCH_STOPPED) /* these say nothing of the platform */
        c->why = note_try(c, answer, whole);
    if (!answer->again)
        end_call(c, answer, answers, whole);
    arena_reset(a->reading);
}

/* For the breaker and for the log. Returns why the try brought nothing. */
static enum missing note_try(struct call *c, const struct fetch_answer *answer, enum poll_error error)
{
    struct lane *lane = c->account->lane;
    struct span platform = lane->platform->name;
    bool is_read = answer->error == FETCH_OK;
    enum missing why = is_read ? missing_of(error) : breakers_missing(answer);
    enum breaker_word word = is_read && error != POLL_FETCH_ERROR ? word_of(error) : breakers_word(answer);
    enum breaker_state state;
    struct err err = {0};

    asking_log_try(platform, answer, why);
    if (breakers_note(&c->asker->breakers, platform, &c->pass, word, &state, &err))
        log_warn("breaker_not_noted", LOG_SPAN("platform", platform), LOG_ERR(&err));
    else if (word == BREAKER_FAILURE && state == BREAKER_OPEN)
        hold(c, MISSING_CIRCUIT_OPEN, answer->attempt);
    else if (word == BREAKER_SUCCESS && state == BREAKER_CLOSED && lane->kept_waiting)
        release(c->asker, lane, false);
    else if (word == BREAKER_NEITHER && state == BREAKER_HALF_OPEN && lane->kept_waiting)
        release(c->asker, lane, true);
    return why;
}

static enum breaker_word word_of(enum poll_error error)
{
    if (error == POLL_RATE_LIMITED || error == POLL_AUTH_ERROR || error == POLL_FORBIDDEN)
        return BREAKER_NEITHER;
    return error == POLL_ERROR_NONE ? BREAKER_SUCCESS : BREAKER_FAILURE;
}

/* The probe of a half-open breaker has closed it, or given its permit back: those go that waited for it, or one of them. */
static void release(struct asker *a, struct lane *lane, bool one)
{
    bool any = false;

    lane->held = MISSING_NONE;
    lane->kept_waiting = one;
    for (struct account *account = a->accounts; account && !(any && one); account = account->next)
        if (account->lane == lane && !account->on_its_way) {
            start_next(a, account);
            any |= account->on_its_way;
        }
}

/* What was tried in vain is noted though a further try was held or cut off: else each run would begin with it. */
static void end_call(struct call *c, const struct fetch_answer *answer, const struct poll_answer *answers,
                     enum poll_error whole)
{
    c->account->on_its_way = false;
    if (answer->error == FETCH_OK)
        take_answers(c, answer, answers, whole);
    else if (c->why)
        give_up(c, c->why);
    if (answer->error != FETCH_STOPPED)
        start_next(c->asker, c->account);
}

/* The answers borrow a body that goes with this call, and an arena that the next one forgets. */
static void take_answers(struct call *c, const struct fetch_answer *answer, const struct poll_answer *answers,
                         enum poll_error whole)
{
    struct asker *a = c->asker;

    if (whole == POLL_RATE_LIMITED || whole == POLL_AUTH_ERROR) {
        int64_t wait_s = answer->retry_after_s > 0 ? answer->retry_after_s : 0;

        c->account->blocked = missing_of(whole);
        c->account->until_us = session_now_us(a->s) + wait_s * SECOND_US;
    }
    for (size_t i = 0; i < c->n; i++) {
        struct question *q = c->questions[i];

        q->answer = answers[i];
        q->answer.status = arena_copy(a->arena, answers[i].status);
        q->answer.reason = arena_copy(a->arena, answers[i].reason);
        q->answer.url = arena_copy(a->arena, answers[i].url);
        q->answer.extras = arena_copy(a->arena, answers[i].extras);
        q->begun = q->answer.outcome == POLL_NOT_MINE;
        if (q->begun)
            ask_by(q, c->request + 1);
        else if (q->answer.outcome == POLL_COULD_NOT_ASK)
            could_not(q, missing_of(q->answer.error), poll_error_name(q->answer.error));
        else
            q->answered = true;
    }
}

static void give_up(struct call *c, enum missing why)
{
    for (size_t i = 0; i < c->n; i++)
        could_not(c->questions[i], why, missing_name(why));
}

static void could_not(struct question *q, enum missing why, const char *word)
{
    q->answered = true;
    q->answer = (struct poll_answer){.outcome = POLL_COULD_NOT_ASK, .happened_us = TIME_NONE};
    q->missing = why;
    q->error_code = word;
}

static enum missing missing_of(enum poll_error error)
{
    static const enum missing codes[] = {
        [POLL_ERROR_NONE] = MISSING_NONE,         [POLL_AUTH_ERROR] = MISSING_AUTH_ERROR,
        [POLL_FORBIDDEN] = MISSING_AUTH_ERROR,    [POLL_RATE_LIMITED] = MISSING_RATE_LIMITED,
        [POLL_FETCH_ERROR] = MISSING_FETCH_ERROR, [POLL_INVALID_RETURN] = MISSING_INVALID_ADAPTER_RETURN,
        [POLL_NOT_FOUND] = MISSING_NO_METRICS,    [POLL_BAD_POST] = MISSING_INVALID_ADAPTER_RETURN,
    };

    return codes[error];
}

/* ---- what was learned ---- */

/* Those that an answer has blocked, whose budget is used up, and whose questions took longer than the round: else one
 * account with many would use up the time of all that stand behind it. Whose token was no good is found out again,
 * without asking. */
static void keep_barred(struct asker *a)
{
    for (struct account *account = a->accounts; account; account = account->next) {
        struct account *kept = find_account(a->barred, account->lane, account->user, account->name);

        account->had_its_turn |= account->was_asked && is_free(account) && has_open(account);
        if (!account->until_us && !account->held && !account->had_its_turn)
            continue;
        if (!kept) {
            kept = arena_zero(a->lasting, sizeof(*kept));
            *kept = (struct account){
                .lane = account->lane,
                .user = arena_copy(a->lasting, account->user),
                .name = arena_copy(a->lasting, account->name),
                .next = a->barred,
            };
            a->barred = kept;
        }
        kept->blocked = account->blocked;
        kept->until_us = account->until_us;
        kept->held = account->held;
        kept->had_its_turn = account->had_its_turn;
    }
}

static bool has_open(const struct account *account)
{
    for (size_t i = 0; i < account->n; i++)
        if (!account->questions[i]->answered)
            return true;
    return false;
}

/* Time was up before the request that was to go on with it had its answer. Were it not noted, each run would begin it
 * anew, before all that stand behind it. */
static void note_cut_off(struct asker *a)
{
    for (size_t i = 0; i < a->nquestions; i++) {
        struct question *q = &a->questions[i];

        if (q->begun && !q->answered && !q->account->held && !q->account->lane->held)
            could_not(q, MISSING_TIMEOUT, missing_name(MISSING_TIMEOUT));
    }
}

static void count(struct asker *a)
{
    for (size_t i = 0; i < a->nquestions; i++) {
        struct question *q = &a->questions[i];

        if (!q->answered && !a->is_second)
            q->missing = q->account->held ? q->account->held : q->account->lane->held;
        a->counts->asked += q->answered;
        a->counts->done += q->answer.outcome == POLL_DONE;
        a->counts->working += q->answer.outcome == POLL_WORKING;
        a->counts->could_not[q->missing]++;
    }
}

static enum status write_page(struct asker *a, struct err *err)
{
    size_t n = 0;

    for (size_t i = 0; i < a->nquestions; i++) /* those with an answer to the front */
        if (a->questions[i].answered)
            a->questions[n++] = a->questions[i];
    a->nquestions = n;
    for (a->written = 0; a->written < a->nquestions; a->written += a->at_work) {
        bool refused;

        if (batch_do(a->s, write_some, a, &refused, err))
            return err_in(err, "what platforms answered");
        a->scope->written(a->scope->ctx, !refused);
        if (refused)
            log_warn("row_left_out", LOG_ID("log_id", &a->questions[a->written].id), LOG_ERR(err));
    }
    return OK;
}

static enum status write_some(void *asker, size_t rows, struct err *err)
{
    struct asker *a = asker;
    struct question *first = &a->questions[a->written];
    struct id *ids = arena_alloc(a->s->arena, rows * sizeof(*ids));
    struct span *sources = arena_alloc(a->s->arena, rows * sizeof(*sources));
    struct pg_args args;
    size_t ndone = 0;

    a->at_work = a->nquestions - a->written < rows ? a->nquestions - a->written : rows;
    put_answers(a, first, a->at_work, &args);
    if (pg_run(a->s->pg, SQL_POLL_NOTE, &args, WAIT_MS, NULL, err))
        return err_in(err, "storing what platforms answered");
    for (size_t i = 0; i < a->at_work; i++)
        if (first[i].answer.outcome == POLL_DONE) {
            ids[ndone] = first[i].id;
            sources[ndone++] = first[i].source;
        }
    return a->scope->settle(a->scope->ctx, ids, sources, ndone, err);
}

/* The parameters of poll_note. */
static void put_answers(struct asker *a, const struct question *first, size_t n, struct pg_args *args)
{
    struct arena *arena = a->s->arena;
    struct id *ids = arena_alloc(arena, n * sizeof(*ids)),
              *reports = arena_alloc(arena, n * sizeof(*reports));
    struct span *texts = arena_alloc(arena, COLUMNS_OF_TEXT * n * sizeof(*texts));
    int64_t *next = arena_alloc(arena, n * sizeof(*next)),
            *happened = arena_alloc(arena, n * sizeof(*happened));
    int16_t *decisive = arena_alloc(arena, n * sizeof(*decisive));
    int64_t now_us = session_now_us(a->s);

    for (size_t i = 0; i < n; i++) {
        const struct poll_answer *answer = &first[i].answer;

        ids[i] = first[i].id;
        reports[i] = id_make(now_us);
        next[i] = next_us(a, &first[i]);
        happened[i] = answer->happened_us;
        decisive[i] = (int16_t)(answer->outcome == POLL_DONE ? answer->decisive : 0);
        put_texts(&first[i], texts + i, n);
    }
    pg_args_init(args, arena);
    pg_arg_uuids(args, ids, n);
    for (size_t c = 0; c < COLUMN_STATUS_TEXT; c++)
        pg_arg_texts(args, texts + c * n, n);
    pg_arg_times(args, next, n);
    pg_arg_smalls(args, decisive, n);
    pg_arg_texts(args, texts + COLUMN_STATUS_TEXT * n, n);
    pg_arg_times(args, happened, n);
    for (size_t c = COLUMN_STATUS_TEXT + 1; c < COLUMNS_OF_TEXT; c++)
        pg_arg_texts(args, texts + c * n, n);
    pg_arg_uuids(args, reports, n);
    pg_arg_time(args, now_us);
    pg_arg_text(args, span_of(a->s->options->actor));
    pg_arg_uuid(args, &a->s->options->run_id);
}

/* Those that are texts, n apart. */
static void put_texts(const struct question *q, struct span *first, size_t n)
{
    const struct span columns[COLUMNS_OF_TEXT] = {
        q->source,
        q->account->lane->platform->name,
        q->post,
        span_of(outcome_words[q->answer.outcome]),
        q->error_code ? span_of(q->error_code) : SPAN_NONE,
        q->answer.status,
        q->answer.url,
        q->answer.reason,
        q->answer.extras,
    };

    for (size_t c = 0; c < COLUMNS_OF_TEXT; c++)
        first[c * n] = columns[c];
}

/* A minute, two, four, to an hour; not before the platform wants to be asked again. */
static int64_t next_us(const struct asker *a, const struct question *q)
{
    int64_t now_us = session_now_us(a->s);
    int64_t minutes = q->tries < 6 ? INT64_C(1) << q->tries : AGAIN_MINUTES_MAX;
    int64_t again_us = now_us + (minutes < AGAIN_MINUTES_MAX ? minutes : AGAIN_MINUTES_MAX) * MINUTE_US;

    return again_us > q->account->until_us ? again_us : q->account->until_us;
}

static void close_page(struct asker *a)
{
    connection_close(a->connections);
    a->connections = NULL;
    a->accounts = NULL;
    a->accounts_end = &a->accounts;
    a->naccounts = 0;
    a->nquestions = 0;
    a->more = false;
    pg_rows_free(a->rows);
    a->rows = NULL;
    arena_reset(a->arena);
}
