#include "batch.h"

#include "base/now.h"

enum {
    AIM_US = SECOND_US / 10, /* of one batch: so long it holds its rows, and a signal waits */
    ROWS_FIRST = 250,        /* nothing is known of the server yet */
    ROWS_LEAST = 50,
    REFUSED_MAX = 3, /* rows in a row that are held or too slow: then it is the server, not the rows */
};

static size_t rows_to_try(const struct session *s);
static void fit_rows(struct session *s, size_t rows, int64_t took_us);
static enum status attempt(struct session *s, batch_work *work, void *ctx, size_t rows, bool *ret_refused,
                           struct err *err);
static enum status begin(struct session *s, struct err *err);
static void roll_back(struct session *s);
static bool is_refusal(const struct err *err);

enum status batch_do(struct session *s, batch_work *work, void *ctx, bool *ret_refused, struct err *err)
{
    for (;;) {
        size_t rows = rows_to_try(s);
        int64_t began_us = now_boot_us();
        enum status status = attempt(s, work, ctx, rows, ret_refused, err);

        if (*ret_refused && rows > 1) {
            s->suspect_rows = rows;
            continue;
        }
        s->suspect_rows -= s->suspect_rows < rows ? s->suspect_rows : rows;
        s->refused_in_a_row = *ret_refused ? s->refused_in_a_row + 1 : 0;
        if (s->refused_in_a_row > REFUSED_MAX && err->code == UNAVAILABLE)
            return err_in(err, "%zu rows in a row", s->refused_in_a_row);
        if (!*ret_refused && rows >= ROWS_LEAST) /* how long one row was waited for says nothing */
            fit_rows(s, rows, now_boot_us() - began_us);
        return *ret_refused ? OK : status;
    }
}

/* A refused batch leaves its rows under suspicion: half of them are tried at a time, until one is found or none. */
static size_t rows_to_try(const struct session *s)
{
    size_t fit = s->fit_rows ? s->fit_rows : ROWS_FIRST;

    if (s->suspect_rows > 0)
        return s->suspect_rows > 1 ? s->suspect_rows / 2 : 1;
    return fit < s->batch_rows ? fit : s->batch_rows;
}

/* By what the last one took; at most twice as many as that. */
static void fit_rows(struct session *s, size_t rows, int64_t took_us)
{
    size_t most = 2 * rows < s->batch_rows ? 2 * rows : s->batch_rows;
    size_t fit = took_us > 0 ? (size_t)((int64_t)rows * AIM_US / took_us) : most;

    if (fit < ROWS_LEAST)
        fit = ROWS_LEAST;
    s->fit_rows = fit < most ? fit : most;
}

/* The fence is checked, and its answer read, before anything is written. */
static enum status attempt(struct session *s, batch_work *work, void *ctx, size_t rows, bool *ret_refused,
                           struct err *err)
{
    arena_reset(s->arena);
    *ret_refused = false;
    if (begin(s, err))
        return err->code;
    if (work(ctx, rows, err)) {
        *ret_refused = is_refusal(err);
        roll_back(s);
        return err->code;
    }
    if (pg_command(s->pg, "commit", WAIT_MS, err))
        return err_in(err, "commit of a batch");
    return OK;
}

static enum status begin(struct session *s, struct err *err)
{
    bool fenced = s->lock.epoch != 0; /* a dry run has no lock: its connection cannot write */

    if (fenced && lock_renew(&s->lock, err))
        return err->code;
    if (pg_command(s->pg, "begin", WAIT_MS, err))
        return err->code;
    if (fenced && lock_check(&s->lock, err)) {
        roll_back(s);
        return err->code;
    }
    return OK;
}

static void roll_back(struct session *s)
{
    struct err ignored;

    if (pg_command(s->pg, "rollback", WAIT_MS,
                   &ignored)) /* the connection is gone, and the transaction with it */
        return;
}

/* Refused is what fewer rows may mend: bad content, a row that somebody holds, a statement that takes too long. */
static bool is_refusal(const struct err *err)
{
    static const char *const passing[] = {
        "55P03", /* lock_not_available: lock_timeout */
        "57014", /* query_canceled: statement_timeout */
        "40P01", /* deadlock_detected */
        "40001", /* serialization_failure */
    };

    if (err->code == REJECTED)
        return true;
    for (size_t i = 0; i < countof(passing); i++)
        if (strcmp(err->sqlstate, passing[i]) == 0)
            return true;
    return false;
}
