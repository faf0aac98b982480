#include "retention.h"

#include "batch.h"
#include "progress.h"

#include "base/log.h"
#include "base/now.h"

enum { CHUNK_ROWS = 5000 };

enum keeps { WHILE_NEEDED, RECEIPT_DAYS, LEDGER_DAYS, COST_DAYS };

/* How one kind of rows is forgotten. Deliveries come after the receipts that keep them. */
static const struct kind {
    const char *name;
    enum sql forget, count;
    enum keeps keeps;
    bool by_time; /* in the order of a time; else of a key alone */
} kinds[FORGOTTEN_KINDS] = {
    [FORGOTTEN_RECEIPTS] = {"receipts",      SQL_RECEIPT_FORGET,      SQL_RECEIPT_FORGET_COUNT,      RECEIPT_DAYS, true },
    [FORGOTTEN_DELIVERIES] = {"deliveries",    SQL_DELIVERY_FORGET,     SQL_DELIVERY_FORGET_COUNT,     RECEIPT_DAYS,
                            false                                                                                       },
    [FORGOTTEN_REPORTS] = {"reports",       SQL_REPORT_FORGET,       SQL_REPORT_FORGET_COUNT,       RECEIPT_DAYS, false},
    [FORGOTTEN_LEDGER] = {"ledger",        SQL_LEDGER_FORGET,       SQL_LEDGER_FORGET_COUNT,       LEDGER_DAYS,  true },
    [FORGOTTEN_RUNS] = {"runs",          SQL_RUN_FORGET,          SQL_RUN_FORGET_COUNT,          LEDGER_DAYS,  true },
    [FORGOTTEN_EVENTS] = {"events",        SQL_EVENT_FORGET,        SQL_EVENT_FORGET_COUNT,        LEDGER_DAYS,  true },
    [FORGOTTEN_INSIGHTS_LOGS] = {"insights_logs", SQL_INSIGHTS_LOG_FORGET, SQL_INSIGHTS_LOG_FORGET_COUNT,
                            LEDGER_DAYS,                                                                           true },
    [FORGOTTEN_TASK_LOGS] = {"task_logs",     SQL_TASK_LOG_FORGET,     SQL_TASK_LOG_FORGET_COUNT,     LEDGER_DAYS,  true },
    [FORGOTTEN_ALERTS] = {"alerts",        SQL_ALERT_FORGET,        SQL_ALERT_FORGET_COUNT,        LEDGER_DAYS,  true },
    [FORGOTTEN_POLLS] = {"polls",         SQL_POLL_FORGET,         SQL_POLL_FORGET_COUNT,         WHILE_NEEDED, false},
    [FORGOTTEN_LEASES] = {"leases",        SQL_LEASE_FORGET,        SQL_LEASE_FORGET_COUNT,        WHILE_NEEDED, false},
    [FORGOTTEN_BUDGETS] = {"budgets",       SQL_BUDGET_FORGET,       SQL_BUDGET_FORGET_COUNT,       WHILE_NEEDED, false},
    [FORGOTTEN_COSTS] = {"costs",         SQL_COST_FORGET,         SQL_COST_FORGET_COUNT,         COST_DAYS,    true },
};

/* The walk through one kind. */
struct walk {
    struct session *session;
    const struct kind *kind;
    size_t key_len; /* 0: it stands before the first */
    char key[80];   /* as the statement has written it */
    int64_t at_us;
    size_t asked; /* rows of the batch at work, and what became of them */
    int64_t nread, ngone;
    struct pg_rows *end;
};

static enum status forget(struct session *s, const struct kind *kind, struct progress *p, int64_t *count,
                          struct err *err);
static enum status forget_chunk(void *ctx, size_t rows, struct err *err);
static void put_args(const struct walk *w, struct pg_args *args);
static unsigned days_of(const struct config *c, enum keeps keeps);
static void go_on(struct walk *w);
static void tell(struct progress *p, const struct kind *kind, int64_t nread, int64_t ngone);

enum status retention_keep(struct session *s, int64_t counts[FORGOTTEN_KINDS], struct err *err)
{
    struct progress progress;

    progress_begin(&progress, now_boot_us());
    s->batch_rows = CHUNK_ROWS;
    for (size_t i = 0; i < FORGOTTEN_KINDS; i++)
        if (forget(s, &kinds[i], &progress, &counts[i], err)) {
            progress_end(&progress);
            return err_in(err, "forgetting old %s", kinds[i].name);
        }
    progress_end(&progress);
    return OK;
}

static enum status forget(struct session *s, const struct kind *kind, struct progress *p, int64_t *count,
                          struct err *err)
{
    struct walk w = {.session = s, .kind = kind};
    int64_t nread = 0, before = *count;
    bool refused;

    do {
        if (session_stopping())
            return OK;
        if (batch_do(s, forget_chunk, &w, &refused, err) || refused) {
            pg_rows_free(w.end);
            return err->code;
        }
        *count += w.ngone;
        nread += w.nread;
        go_on(&w);
        tell(p, kind, nread, *count - before);
    } while (w.nread == (int64_t)w.asked);
    return OK;
}

static enum status forget_chunk(void *ctx, size_t rows, struct err *err)
{
    struct walk *w = ctx;
    struct session *s = w->session;
    struct pg_args args;

    w->asked = rows;
    pg_args_init(&args, s->arena);
    put_args(w, &args);
    pg_rows_free(w->end);
    w->end = NULL;
    if (pg_run(s->pg, s->options->dry_run ? w->kind->count : w->kind->forget, &args, WAIT_MS, &w->end, err))
        return err->code;
    w->nread = pg_int(w->end, 0, 0);
    w->ngone = pg_int(w->end, 0, 1);
    return OK;
}

static void put_args(const struct walk *w, struct pg_args *args)
{
    bool begins = w->key_len == 0;

    if (w->kind->keeps != WHILE_NEEDED)
        pg_arg_int(args, days_of(w->session->config, w->kind->keeps));
    pg_arg_int(args, (int64_t)w->asked);
    pg_arg_text(args, begins ? SPAN_NONE : (struct span){w->key, w->key_len});
    if (w->kind->by_time)
        pg_arg_time(args, begins ? TIME_NONE : w->at_us);
}

static unsigned days_of(const struct config *c, enum keeps keeps)
{
    return keeps == RECEIPT_DAYS  ? c->retention.receipt_days
           : keeps == LEDGER_DAYS ? c->retention.ledger_days
                                  : c->retention.cost_days;
}

/* Once its batch is committed. */
static void go_on(struct walk *w)
{
    struct span key = pg_bytes(w->end, 0, 2);

    if (w->nread > 0) {
        w->key_len = key.len;
        memcpy(w->key, key.at, key.len);
        w->at_us = w->kind->by_time ? pg_time(w->end, 0, 3) : TIME_NONE;
    }
    pg_rows_free(w->end);
    w->end = NULL;
}

static void tell(struct progress *p, const struct kind *kind, int64_t nread, int64_t ngone)
{
    if (!progress_due(p))
        return;
    if (p->terminal)
        progress_count(kind->name, ngone);
    else
        log_info("progress", LOG_TEXT("kind", kind->name), LOG_INT("read", nread),
                 LOG_INT("forgotten", ngone));
}

const char *forgotten_name(enum forgotten kind)
{
    return kinds[kind].name;
}
