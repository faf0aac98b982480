#include "breakers.h"

#include "base/arena.h"
#include "base/now.h"
#include "session.h"

enum {
    TRIES_MAX = 50,        /* so often another runner may be faster */
    PERMIT_MORE_MS = 5000, /* from the end of a fetch until it is noted */
    BREAKER_ARENA_BYTES = 8192,
};

/* What is to be done to a breaker. */
struct step {
    bool takes;
    struct breaker_pass pass;
    enum breaker_word word; /* of a note */
    enum missing why;       /* of a take */
};

/* A breaker as it was read. */
struct reading {
    struct span platform;
    struct arena *arena;
    struct breaker breaker;
    bool there;
    int64_t version, now_us;
};

static enum status change(const struct breakers *b, struct span platform, struct step *step,
                          enum breaker_state *ret_state, struct err *err);
static struct breaker_options options_of(const struct config *c, struct span platform);
static enum status read_breaker(const struct breakers *b, struct reading *r, struct err *err);
static enum status write_breaker(const struct breakers *b, const struct reading *seen,
                                 const struct breaker *fresh, bool *ret_written, struct err *err);

enum status breakers_take(const struct breakers *b, struct span platform, enum missing *ret_why,
                          struct breaker_pass *ret_pass, struct err *err)
{
    struct step step = {.takes = true};
    enum breaker_state state;

    if (change(b, platform, &step, &state, err))
        return err->code;
    *ret_why = step.why;
    *ret_pass = step.pass;
    return OK;
}

enum status breakers_note(const struct breakers *b, struct span platform, const struct breaker_pass *pass,
                          enum breaker_word word, enum breaker_state *ret_state, struct err *err)
{
    struct step step = {.pass = *pass, .word = word};

    return change(b, platform, &step, ret_state, err);
}

static enum status change(const struct breakers *b, struct span platform, struct step *step,
                          enum breaker_state *ret_state, struct err *err)
{
    const struct breaker_options options = options_of(b->config, platform);
    struct arena *arena = arena_open(BREAKER_ARENA_BYTES);
    enum status status = OK;
    bool written = false;

    for (unsigned tries = 0; status == OK && !written; tries++) {
        struct reading seen = {.platform = platform, .arena = arena, .breaker = BREAKER_NEW};
        struct breaker fresh;

        arena_reset(arena);
        status = tries < TRIES_MAX ? read_breaker(b, &seen, err)
                                   : err_set(err, UNAVAILABLE, "other runners write it all the time");
        if (status)
            break;
        fresh = seen.breaker;
        if (step->takes)
            step->why = breaker_take(&fresh, &options, seen.now_us, &step->pass);
        else
            breaker_note(&fresh, &options, &step->pass, step->word, seen.now_us);
        *ret_state = fresh.state;
        written = breaker_eq(&fresh, &seen.breaker);
        if (!written)
            status = write_breaker(b, &seen, &fresh, &written, err);
    }
    arena_close(arena);
    return status ? err_in(err, "the breaker of %.*s", SPAN_ARG(platform)) : OK;
}

static struct breaker_options options_of(const struct config *c, struct span platform)
{
    const struct config_breaker *of = &c->reconcile.breaker;

    for (size_t i = 0; i < c->reconcile.nbreakers; i++)
        if (span_eq(span_of(c->reconcile.breakers[i].platform), platform))
            of = &c->reconcile.breakers[i];
    return (struct breaker_options){
        .failure_threshold = of->failure_threshold,
        .open_cooldown_s = of->open_cooldown_seconds,
        .half_open_probes = of->half_open_probe_count,
        .permit_ms = c->fetch.timeout_ms + PERMIT_MORE_MS,
    };
}

/* Fills what is not known yet of r. */
static enum status read_breaker(const struct breakers *b, struct reading *r, struct err *err)
{
    struct breaker *breaker = &r->breaker;
    struct pg_rows *rows;
    struct pg_args args;
    bool known = true;

    pg_args_init(&args, r->arena);
    pg_arg_text(&args, r->platform);
    if (pg_run(b->pg, SQL_BREAKER_READ, &args, WAIT_MS, &rows, err))
        return err->code;
    r->now_us = pg_time(rows, 0, 0);
    r->there = !pg_is_null(rows, 0, 1);
    if (r->there) {
        r->version = pg_int(rows, 0, 1);
        known = breaker_state_parse(pg_bytes(rows, 0, 2), &breaker->state);
        breaker->failures = (unsigned)pg_int(rows, 0, 3);
        breaker->opened_us = pg_time(rows, 0, 4);
        breaker->era = pg_int(rows, 0, 5);
        for (size_t i = 0; i < pg_nrows(rows) && i < BREAKER_PROBES_MAX && !pg_is_null(rows, i, 6); i++)
            breaker->probes_until_us[breaker->nprobes++] = pg_time(rows, i, 6);
    }
    pg_rows_free(rows);
    return known ? OK : err_set(err, BROKEN, "its state is not known to this version");
}

static enum status write_breaker(const struct breakers *b, const struct reading *seen,
                                 const struct breaker *fresh, bool *ret_written, struct err *err)
{
    struct pg_rows *rows;
    struct pg_args args;

    pg_args_init(&args, seen->arena);
    pg_arg_text(&args, seen->platform);
    if (seen->there)
        pg_arg_int(&args, seen->version);
    else
        pg_arg_text(&args, SPAN_NONE); /* null has no type of its own */
    pg_arg_text(&args, span_of(breaker_state_name(fresh->state)));
    pg_arg_int(&args, fresh->failures);
    pg_arg_time(&args, fresh->opened_us);
    pg_arg_int(&args, fresh->era);
    pg_arg_times(&args, fresh->probes_until_us, fresh->nprobes);
    if (pg_run(b->pg, SQL_BREAKER_WRITE, &args, WAIT_MS, &rows, err))
        return err->code;
    *ret_written = pg_nrows(rows) == 1;
    pg_rows_free(rows);
    return OK;
}

unsigned breakers_wait_s(const struct breakers *b, struct span platform, enum missing why)
{
    const struct breaker_options options = options_of(b->config, platform);

    return why == MISSING_CIRCUIT_OPEN ? options.open_cooldown_s : (options.permit_ms + 999) / 1000;
}

enum missing breakers_missing(const struct fetch_answer *answer)
{
    if (answer->status == 429)
        return MISSING_RATE_LIMITED;
    if (answer->error == FETCH_TIMEOUT)
        return MISSING_TIMEOUT;
    if (answer->error == FETCH_OK && (answer->status == 401 || answer->status == 403))
        return MISSING_AUTH_ERROR;
    if (answer->error == FETCH_OK && answer->status >= 200 && answer->status < 300)
        return MISSING_NONE;
    return MISSING_FETCH_ERROR;
}

enum breaker_word breakers_word(const struct fetch_answer *answer)
{
    static const enum breaker_word words[FETCH_ERRORS] = {
        [FETCH_OK] = BREAKER_SUCCESS,
        [FETCH_BAD_URL] = BREAKER_NEITHER, /* ours to mend, as is the next */
        [FETCH_PRIVATE_ADDRESS] = BREAKER_NEITHER,
        [FETCH_HELD] = BREAKER_NEITHER,
        [FETCH_STOPPED] = BREAKER_NEITHER,
        [FETCH_DNS] = BREAKER_FAILURE,
        [FETCH_REFUSED] = BREAKER_FAILURE,
        [FETCH_TLS] = BREAKER_FAILURE,
        [FETCH_TIMEOUT] = BREAKER_FAILURE,
        [FETCH_TOO_LARGE] = BREAKER_FAILURE,
        [FETCH_GARBAGE] = BREAKER_FAILURE,
        [FETCH_LOST] = BREAKER_FAILURE,
    };

    if (answer->status == 429)
        return BREAKER_NEITHER;
    if (answer->error != FETCH_OK)
        return words[answer->error];
    if (answer->status == 401 || answer->status == 403) /* one account's token says nothing of the platform */
        return BREAKER_NEITHER;
    if (answer->status == 408 || answer->status >= 500 || (answer->status >= 300 && answer->status < 400))
        return BREAKER_FAILURE;
    return BREAKER_SUCCESS;
}
