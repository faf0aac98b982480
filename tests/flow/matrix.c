#include "matrix.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ANSWER_MS = 450,
    LATE_SHARE = 100,
    STARVED_SHARE = 2,
    BEFORE = 100,
    AFTER = 100,
    PACE_MS = 5,
    RECOVERY_S = 60
};

struct proxy *matrix_proxy;
char matrix_spool[200];

static void wait_for_answers(struct load *l, unsigned n);
static double rise_of(struct world *w, const struct row *row);
static void judge_answers(const char *when, unsigned n, unsigned nlate, unsigned nrefused, unsigned most);
static void undo_disks(struct world *w);

int matrix_up(void **state)
{
    struct world *w = world_open();
    char to[200];

    *state = w;
    snprintf(to, sizeof(to), "unix:%s/.s.PGSQL.5432", strstr(w->database_url, "host=") + strlen("host="));
    matrix_proxy = proxy_open(to);
    setenv("SETTLE_UNSAFE_OK", "true", 1);      /* the tests' folder may lie on anything */
    setenv("SETTLE_ADMIN_ENABLED", "false", 1); /* so that all connections are the workers' */
    return 0;
}

int matrix_reset(void **state)
{
    struct world *w = *state;
    char url[120];

    if (w->gateway)
        world_kill(w, GATEWAY);
    proxy_heal(matrix_proxy);
    world_thaw(w, POSTGRES);
    world_thaw(w, REDIS);
    matrix_sh(w, "find %s -name filler-of-the-tests -delete", w->dir); /* Postgres may not start beside it */
    world_servers(w);
    undo_disks(w);
    world_sql(w, "alter role settle_gateway reset default_transaction_read_only");
    world_sql(w, "alter role settle_gateway connection limit -1");
    world_sql(w, "alter system reset synchronous_standby_names");
    world_sql(w, "select pg_reload_conf()");
    world_reset(w);
    snprintf(matrix_spool, sizeof(matrix_spool), "%s/spool", w->dir);
    matrix_sh(w, "rm -rf %s && mkdir -m 700 %s", matrix_spool, matrix_spool);
    snprintf(url, sizeof(url), "postgresql://127.0.0.1:%u/settle?sslmode=disable&gssencmode=disable",
             proxy_port(matrix_proxy));
    setenv("SETTLE_DATABASE_URL", url, 1);
    setenv("SETTLE_SPOOL_FOLDER", matrix_spool, 1);
    setenv("SETTLE_SPOOL_RESERVE_MEGABYTES", "1", 1);
    unsetenv("SETTLE_SPOOL_MEGABYTES");
    unsetenv("SETTLE_SPOOL_AFTER_MS");
    unsetenv("SETTLE_INGEST_COMMIT_TIMEOUT_MS");
    unsetenv("SETTLE_INGEST_MAX_BODY_BYTES");
    unsetenv("SETTLE_SECRET_STANDARD_WEBHOOKS");
    unsetenv("LD_PRELOAD");
    return 0;
}

/* Those of a test that failed. Postgres' log stays on its own: that test is the last. */
static void undo_disks(struct world *w)
{
    if (world_count(w, "select count(*) from pg_tablespace where spcname = 'small'") > 0) {
        world_sql(w, "alter table settle.webhook_receipts set tablespace pg_default");
        world_sql(w, "drop tablespace small");
    }
    matrix_sh(
        w,
        "for at in $(awk -v dir=%s/ 'index($2, dir) == 1 && $2 !~ /log-disk/ { print $2 }' /proc/mounts);"
        " do umount \"$at\" || umount -l \"$at\"; done",
        w->dir);
}

int matrix_down(void **state)
{
    struct world *w = *state;

    if (w && w->gateway)
        world_kill(w, GATEWAY);
    proxy_close(matrix_proxy);
    world_close(w);
    return 0;
}

void matrix_gateway(struct world *w)
{
    char workers[8];

    snprintf(workers, sizeof(workers), "%d", MATRIX_WORKERS);
    world_gateway(w, "--workers", workers, NULL);
    world_until(RECOVERY_S, matrix_connected(w));
}

/* Each worker has two. */
bool matrix_connected(struct world *w)
{
    return world_metric(w, "settle_store_up{store=\"postgres\"}") == 2 * MATRIX_WORKERS;
}

struct load *matrix_load(struct world *w)
{
    struct load *l = load_start(w, MATRIX_SENDERS);

    load_pace(l, PACE_MS);
    return l;
}

void matrix_struck(struct load *l)
{
    load_struck(l, ANSWER_MS);
}

void matrix_wait_for_acks(struct load *l, unsigned n)
{
    unsigned target = load_so_far(l).acked + n;

    world_until(RECOVERY_S, load_so_far(l).acked >= target);
}

void matrix_run(struct world *w, const struct row *row)
{
    struct load *l;
    double before;

    matrix_gateway(w);
    l = matrix_load(w);
    matrix_wait_for_acks(l, BEFORE);
    before = rise_of(w, row);
    matrix_struck(l);
    row->strike(w);
    wait_for_answers(l, row->posts);
    if (row->outcome == SOME_REFUSED)
        world_until(RECOVERY_S, load_so_far(l).refused > MATRIX_SENDERS);
    if (row->evidence) /* that it was felt */
        world_until(RECOVERY_S, rise_of(w, row) > before);
    row->mend(w);
    load_mended(l);
    world_until(RECOVERY_S, matrix_connected(w));
    matrix_wait_for_acks(l, AFTER);
    matrix_judge(w, l, row->outcome);
}

static void wait_for_answers(struct load *l, unsigned n)
{
    struct load_count so_far = load_so_far(l);
    unsigned target = so_far.acked + so_far.refused + n;

    world_until(RECOVERY_S, (so_far = load_so_far(l), so_far.acked + so_far.refused >= target));
}

static double rise_of(struct world *w, const struct row *row)
{
    return row->evidence ? world_metric(w, row->evidence) : 0;
}

struct load_count matrix_judge(struct world *w, struct load *l, enum outcome_of_row outcome)
{
    struct load_count count;
    unsigned n, share, nlate, slowest_ms;
    bool is_refusal_fine = outcome == SOME_REFUSED;

    load_halt(l);
    world_until(RECOVERY_S, world_is_drained(w));
    nlate = load_later_than(l, ANSWER_MS, &slowest_ms);
    count = load_stop(l, w);
    n = count.acked + count.refused;
    print_message("%u acknowledged, %u refused; the slowest took %u ms\n", count.acked, count.refused,
                  slowest_ms);
    assert_int_equal(count.wrong, 0); /* our fault is never a 4xx */
    assert_int_equal(count.unknown > 0, outcome == SOME_CUT);
    assert_true(count.unheard == 0 || outcome == SOME_CUT);
    assert_true(count.refused > 0 || !is_refusal_fine);
    judge_answers("in all", n, nlate, is_refusal_fine ? 0 : count.refused, n / LATE_SHARE);
    /* Each sender may be caught by it once. */
    share = count.of_fault / LATE_SHARE;
    judge_answers("meanwhile", count.of_fault, count.of_fault_late,
                  is_refusal_fine ? 0 : count.of_fault_refused,
                  share > MATRIX_SENDERS ? share : MATRIX_SENDERS);
    return count;
}

/* nrefused: who should not have been. Where times do not count, those whom the machine kept waiting until it was too late are
 * among them: so most are acknowledged. */
static void judge_answers(const char *when, unsigned n, unsigned nlate, unsigned nrefused, unsigned most)
{
    print_message("%s: of %u answers %u were later than %d ms, %u should not have been refused\n", when, n,
                  nlate, ANSWER_MS, nrefused);
    if (!world_times_count()) {
        nlate = 0;
        most = n / STARVED_SHARE;
    }
    if (nlate + nrefused > most)
        fail_msg("%s, %u of %u were refused or answered later than %d ms", when, nlate + nrefused, n,
                 ANSWER_MS);
}

void matrix_sh(struct world *w, const char *format, ...)
{
    char *command;
    struct outcome end;
    va_list args;

    va_start(args, format);
    assert_true(vasprintf(&command, format, args) >= 0);
    va_end(args);
    end = world_wait(w, world_spawn(w, "sh", "-c", command, NULL));
    if (end.status != 0)
        fail_msg("%s: %s", command, end.err);
    free(command);
}
