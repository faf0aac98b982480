#include "guard.h"

#include "base/now.h"

enum { COUNT_ROWS = 5000, OPEN_ROWS = 200000 }; /* a statement: well below its time-out */

/* Where a count stands; it goes on from there. */
struct tally {
    int64_t counted;
    int64_t updated_us; /* TIME_NONE: at the oldest */
    struct id id;
    bool done;
};

static enum status recall(struct session *s, int64_t *ret_timeouts, int64_t *ret_settled, struct err *err);
static enum status count_timeouts(struct session *s, const struct deadlines *d, struct span platform,
                                  int64_t enough, struct tally *t, struct err *err);
static void put_cursor(struct pg_args *args, const struct tally *t);
static void move_cursor(struct tally *t, const struct pg_rows *rows, size_t column);
static void put_patience(struct pg_args *args, const struct session *s, const struct deadlines *d);
static enum status keep_lease(struct session *s, struct err *err);

/* What most runs need is the first count alone: it ends at the floor, and nothing else is read. */
enum status guard_weigh(struct session *s, const struct deadlines *d, struct span platform, struct guard *ret,
                        struct err *err)
{
    struct tally planned = {.updated_us = TIME_NONE};
    int64_t settled = 0, open = 0;

    *ret = (struct guard){.limit = GUARD_FLOOR};
    if (count_timeouts(s, d, platform, GUARD_FLOOR, &planned, err))
        return err->code;
    ret->planned = planned.counted;
    if (planned.counted == 0)
        return OK;

    if (recall(s, &ret->recent, &settled, err))
        return err->code;
    if (planned.counted + ret->recent <= GUARD_FLOOR)
        return OK;

    if (guard_count_open(s, INT64_MAX, &open, err))
        return err->code;
    ret->limit = guard_limit(open + settled);
    if (count_timeouts(s, d, platform, ret->limit - ret->recent, &planned, err))
        return err->code;
    ret->planned = planned.counted;
    ret->holds = ret->planned + ret->recent > ret->limit;
    return OK;
}

int64_t guard_limit(int64_t rows)
{
    int64_t share = rows * GUARD_PERCENT / 100;

    return share > GUARD_FLOOR ? share : GUARD_FLOOR;
}

static enum status recall(struct session *s, int64_t *ret_timeouts, int64_t *ret_settled, struct err *err)
{
    struct pg_rows *rows;
    struct pg_args args;

    pg_args_init(&args, s->arena);
    pg_arg_time(&args, s->began_us);
    if (pg_run(s->pg, SQL_TIMEOUT_RECALL, &args, WAIT_MS, &rows, err))
        return err_in(err, "reading the last hour's runs");
    *ret_timeouts = pg_int(rows, 0, 0);
    *ret_settled = pg_int(rows, 0, 1);
    pg_rows_free(rows);
    return OK;
}

/* Goes on from where *t stands, until more than enough or none is left. */
static enum status count_timeouts(struct session *s, const struct deadlines *d, struct span platform,
                                  int64_t enough, struct tally *t, struct err *err)
{
    while (!t->done && t->counted <= enough) {
        struct pg_rows *rows;
        struct pg_args args;

        arena_reset(s->arena);
        pg_args_init(&args, s->arena);
        pg_arg_time(&args, d->stale_before_us);
        put_cursor(&args, t);
        pg_arg_text(&args, platform);
        pg_arg_int(&args, COUNT_ROWS);
        put_patience(&args, s, d);
        if (keep_lease(s, err) || pg_run(s->pg, SQL_TIMEOUT_COUNT, &args, WAIT_MS, &rows, err))
            return err_in(err, "counting the time-outs ahead");
        t->counted += pg_int(rows, 0, 1);
        t->done = pg_int(rows, 0, 0) < COUNT_ROWS;
        move_cursor(t, rows, 2);
        pg_rows_free(rows);
    }
    return OK;
}

enum status guard_count_open(struct session *s, int64_t before_us, int64_t *ret, struct err *err)
{
    struct tally t = {.updated_us = TIME_NONE};

    while (!t.done) {
        struct pg_rows *rows;
        struct pg_args args;

        arena_reset(s->arena);
        pg_args_init(&args, s->arena);
        pg_arg_time(&args, before_us);
        put_cursor(&args, &t);
        pg_arg_int(&args, OPEN_ROWS);
        if (keep_lease(s, err) || pg_run(s->pg, SQL_OPEN_COUNT, &args, WAIT_MS, &rows, err))
            return err_in(err, "counting open publications");
        t.counted += pg_int(rows, 0, 1);
        t.done = pg_int(rows, 0, 0) < OPEN_ROWS;
        move_cursor(&t, rows, 2);
        pg_rows_free(rows);
    }
    *ret = t.counted;
    return OK;
}

static void put_cursor(struct pg_args *args, const struct tally *t)
{
    pg_arg_time(args, t->updated_us);
    pg_arg_uuid(args, t->updated_us == TIME_NONE ? NULL : &t->id);
}

static void move_cursor(struct tally *t, const struct pg_rows *rows, size_t column)
{
    if (pg_is_null(rows, 0, column))
        return;
    t->updated_us = pg_time(rows, 0, column);
    t->id = pg_uuid(rows, 0, column + 1);
}

static void put_patience(struct pg_args *args, const struct session *s, const struct deadlines *d)
{
    struct span *platforms = arena_alloc(s->arena, d->npatience * sizeof(*platforms) + 1);
    int64_t *before_us = arena_alloc(s->arena, d->npatience * sizeof(*before_us) + 1);
    int64_t *give_up_us = arena_alloc(s->arena, d->npatience * sizeof(*give_up_us) + 1);

    for (size_t i = 0; i < d->npatience; i++) {
        const struct patience *p = &d->patience[i];

        platforms[i] = p->platform;
        before_us[i] = p->paused ? NOTHING_BEFORE_US : patience_over(p, p->minutes, s->began_us);
        give_up_us[i] = p->has_accounts ? patience_over(p, p->give_up_minutes, s->began_us) : TIME_NONE;
    }
    pg_arg_texts(args, platforms, d->npatience);
    pg_arg_times(args, before_us, d->npatience);
    pg_arg_times(args, give_up_us, d->npatience);
}

/* Counting may take longer than a lease. */
static enum status keep_lease(struct session *s, struct err *err)
{
    return s->lock.epoch ? lock_renew(&s->lock, err) : OK;
}
