#include "deadlines.h"

#include "base/now.h"

#include <stdlib.h>

static void add(struct deadlines *d, const struct session *s, struct span platform, unsigned minutes);
static enum status read_pauses(struct deadlines *d, struct session *s, struct err *err);
static enum status read_resumes(struct deadlines *d, struct session *s, struct err *err);
static struct patience *find_or_add(struct deadlines *d, const struct session *s, struct span platform);
static enum status read_accounts(struct deadlines *d, struct session *s, struct err *err);
static struct patience *find(const struct deadlines *d, struct span platform);

enum status deadlines_read(struct deadlines *ret, struct session *s, struct err *err)
{
    const struct config *c = s->config;
    unsigned evidence_age = c->reconcile.evidence_age_minutes;

    if (evidence_age > c->reconcile.since_minutes) /* it can make evidence act sooner, not later */
        evidence_age = c->reconcile.since_minutes;
    *ret = (struct deadlines){
        .since_minutes = c->reconcile.since_minutes,
        .stale_before_us = s->began_us - c->reconcile.since_minutes * MINUTE_US,
        .evidence_before_us = s->began_us - evidence_age * MINUTE_US,
        .auto_retries = c->reconcile.retry_before_fail,
        .patience =
            calloc(c->reconcile.ntimeouts + platforms_count(s->platforms) + 1, sizeof(*ret->patience)),
    };
    if (!ret->patience)
        abort();
    /* The operator's word comes before the descriptor's. */
    for (size_t i = 0; i < c->reconcile.ntimeouts; i++)
        add(ret, s, span_of(c->reconcile.timeouts[i].platform), c->reconcile.timeouts[i].minutes);
    for (size_t i = 0; i < platforms_count(s->platforms); i++) {
        const struct platform *p = platforms_at(s->platforms, i);
        add(ret, s, p->name, p->timeout_minutes);
    }
    if (read_pauses(ret, s, err) || read_resumes(ret, s, err))
        return err->code;
    return read_accounts(ret, s, err);
}

static void add(struct deadlines *d, const struct session *s, struct span platform, unsigned minutes)
{
    const struct platform *p = platforms_find(s->platforms, platform);

    if (find(d, platform))
        return;
    d->patience[d->npatience++] = (struct patience){
        .platform = platform,
        .minutes = minutes < d->since_minutes ? d->since_minutes : minutes,
        .give_up_minutes = p && p->poll ? p->poll->give_up_minutes : 0,
        .resumed_us = TIME_NONE,
    };
}

static enum status read_pauses(struct deadlines *d, struct session *s, struct err *err)
{
    struct pg_args none;

    pg_args_init(&none, s->arena);
    if (pg_run(s->pg, SQL_PAUSE_LIST, &none, WAIT_MS, &d->pauses, err))
        return err_in(err, "reading which platforms are paused");
    for (size_t i = 0; i < pg_nrows(d->pauses); i++)
        find_or_add(d, s, pg_bytes(d->pauses, i, 0))->paused = true;
    return OK;
}

static enum status read_resumes(struct deadlines *d, struct session *s, struct err *err)
{
    struct pg_args args;

    pg_args_init(&args, s->arena);
    if (pg_run(s->pg, SQL_RESUME_LIST, &args, WAIT_MS, &d->resumes, err))
        return err_in(err, "reading when platforms went on");
    for (size_t i = 0; i < pg_nrows(d->resumes); i++)
        find_or_add(d, s, pg_bytes(d->resumes, i, 0))->resumed_us = pg_time(d->resumes, i, 1);
    return OK;
}

static struct patience *find_or_add(struct deadlines *d, const struct session *s, struct span platform)
{
    if (!find(d, platform)) {
        d->patience = reallocarray(d->patience, d->npatience + 1, sizeof(*d->patience));
        if (!d->patience)
            abort();
        add(d, s, platform, 0);
    }
    return find(d, platform);
}

/* Without any, all that is done to ask would be done in vain, for each publication. */
static enum status read_accounts(struct deadlines *d, struct session *s, struct err *err)
{
    struct span *names = arena_alloc(s->arena, (d->npatience + 1) * sizeof(*names));
    struct pg_rows *rows;
    struct pg_args args;
    size_t n = 0;

    for (size_t i = 0; i < d->npatience; i++)
        if (d->patience[i].give_up_minutes > 0)
            names[n++] = d->patience[i].platform;
    pg_args_init(&args, s->arena);
    pg_arg_texts(&args, names, n);
    if (pg_run(s->pg, SQL_CONNECTION_PLATFORMS, &args, WAIT_MS, &rows, err))
        return err_in(err, "reading which platforms can be asked");
    for (size_t i = 0; i < pg_nrows(rows); i++)
        find(d, pg_bytes(rows, i, 0))->has_accounts = true;
    pg_rows_free(rows);
    return OK;
}

void deadlines_free(struct deadlines *d)
{
    free(d->patience);
    pg_rows_free(d->pauses);
    pg_rows_free(d->resumes);
    *d = (struct deadlines){.patience = NULL};
}

struct patience patience_with(const struct deadlines *d, struct span platform)
{
    const struct patience *known = find(d, platform);

    return known ? *known
                 : (struct patience){
                       .platform = platform, .minutes = d->since_minutes, .resumed_us = TIME_NONE};
}

int64_t patience_over(const struct patience *p, unsigned minutes, int64_t now_us)
{
    int64_t before_us = now_us - minutes * MINUTE_US;

    return p->resumed_us >= before_us ? NOTHING_BEFORE_US : before_us;
}

static struct patience *find(const struct deadlines *d, struct span platform)
{
    for (size_t i = 0; i < d->npatience; i++)
        if (span_eq(platform, d->patience[i].platform))
            return &d->patience[i];
    return NULL;
}

struct span *deadlines_askable(const struct deadlines *d, bool paused, struct arena *arena, size_t *ret_n)
{
    struct span *names = arena_alloc(arena, (d->npatience + 1) * sizeof(*names));

    *ret_n = 0;
    for (size_t i = 0; i < d->npatience; i++)
        if (d->patience[i].has_accounts && (paused || !d->patience[i].paused))
            names[(*ret_n)++] = d->patience[i].platform;
    return names;
}
