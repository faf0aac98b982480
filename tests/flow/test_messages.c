/*
 * A run is many messages to its stores, and anything may happen between two of them. It is killed before each: the next run
 * ends where one alone would have ended. Webhooks are committed before each, and over each: none is lost, and no time-out
 * stands against one after the next run.
 */
#include "support/shim.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    KILL_EVERY = 4, /* messages; with --long each */
    PAGES = 3,
    MESSAGES = 60, /* of a run over so many pages, or more */
    OVER = 3,      /* messages during which a webhook's transaction may be open */
};

#define RUN_A "0190a0a0-aaaa-7222-8333-444455556666"

static struct shim *shim;
static char what[120]; /* is being tried */

static int up(void **state)
{
    struct world *w = *state = world_open();

    world_sql(w, "alter system set max_prepared_transactions = %d", 3 * MESSAGES);
    world_crash(w);
    world_servers(w);
    shim = shim_open(w);
    shim_hide(shim);
    setenv("SETTLE_RECONCILE_RETRY_BEFORE_FAIL", "1", 1);
    return 0;
}

static void forget_prepared(struct world *w)
{
    while (world_count(w, "select count(*) from pg_prepared_xacts") > 0)
        world_sql(w, "rollback prepared '%s'", world_sql(w, "select gid from pg_prepared_xacts limit 1"));
}

static int reset(void **state)
{
    shim_signal(shim, NULL, 0, 0);
    forget_prepared(*state); /* a test may have failed */
    world_reset(*state);
    return 0;
}

static int down(void **state)
{
    shim_close(shim);
    world_close(*state);
    return 0;
}

static struct process start(struct world *w, const char *batch_size)
{
    struct process p;

    shim_show(shim);
    p = world_spawn(w, "settle-reconciler", "publications", "--json", "--force", "--batch-size", batch_size,
                    "--run-id", RUN_A, NULL);
    shim_hide(shim);
    return p;
}

/* ---- killed before each ---- */

/* Of each kind that a run treats in a way of its own, some. A name tells what becomes of it. */
static void register_some(struct world *w)
{
    world_sql(
        w, "insert into settle.publish_logs (platform, user_id_str, status, external_post_id, updated_at, "
           "max_retries,"
           "  extra_metadata)"
           " select platform, 'u', status, kind || g, now() - interval '20 minutes' - g * interval '1 "
           "second', tries,"
           "   marks::jsonb"
           " from (values ('success', 'instagram', 8, 'processing', 3, '{}'),"
           "   ('failure', 'tiktok', 4, 'processing', 3, '{}'),"
           "   ('unclear', 'tiktok', 3, 'processing', 3, '{}'),"
           "   ('silent', 'youtube', 8, 'processing', 1, '{}'),"
           "   ('again', 'youtube', 4, 'processing', 3, '{}'),"
           "   ('late', 'instagram', 4, 'failed', 3, '{\"reconciliation_reason\": \"webhook_timeout\"}'),"
           "   ('changed', 'instagram', 3, 'failed', 3, '{\"reconciliation_reason\": "
           "\"webhook_reported_failure\","
           "     \"evidence_at\": \"2025-12-31T00:00:00Z\", \"evidence_key\": \"00\"}'))"
           "   as kinds (kind, platform, n, status, tries, marks), generate_series(1, n) as g;"
           "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id,"
           "  event_status, decisive, happened_at, received_at, url, headers, body)"
           " select sha256(external_post_id::bytea), source, platform, gen_random_uuid(), external_post_id,"
           "   decisive, case decisive when 'published' then 1 when 'failed' then -1 else 0 end,"
           "   '2026-01-01', now(), 'https://example.com/' || external_post_id, '', ''"
           " from settle.publish_logs"
           " join (values ('success', 'published'), ('failure', 'failed'), ('unclear', 'processing'),"
           "   ('late', 'published'), ('changed', 'published')) as words (kind, decisive)"
           "   on starts_with(external_post_id, kind)");
}

/* All that runs leave behind but the times of their own clock, and what they say they have done. */
static const char *end_state(struct world *w)
{
    return world_sql(
        w, "select md5(string_agg(row, ' ' order by row)),"
           "  (select concat_ws(' ', sum((report -> 'marked_success')::integer), sum((report -> "
           "'marked_failed')::integer),"
           "     sum((report -> 'marked_retry')::integer), sum((report -> 'corrected')::integer),"
           "     sum((report -> 'timed_out')::integer))"
           "   from settle.job_runs)"
           " from (select concat_ws(' ', 'log', external_post_id, status, error_message, external_url, "
           "published_at,"
           "         retry_count, next_retry_at is null, settled_at is null,"
           "         extra_metadata - array['reconciled_at', 'webhook_timestamp', 'auto_retried_at'])"
           "       from settle.publish_logs"
           "       union all"
           "       select concat_ws(' ', 'open', p.external_post_id, o.status, o.platform, o.updated_at = "
           "p.updated_at)"
           "       from settle.publish_open as o join settle.publish_logs as p using (id, source)"
           "       union all"
           "       select concat_ws(' ', 'event', p.external_post_id, l.event_type, l.severity, l.metadata, "
           "l.receipt_id)"
           "       from settle.social_sync_ledger as l join settle.publish_logs as p on p.id::text = "
           "l.entity_id)"
           "  as rows (row)");
}

static void expire(struct world *w)
{
    world_until(20, world_count(w, "select count(*) from pg_stat_activity"
                                   " where application_name = 'settle-reconciler'") == 0);
    world_sql(w, "update settle.job_fences set lease_until = now() - interval '1 second'");
    world_redis(w, "flushall", NULL);
}

static void test_killed_before_any_message_it_is_completed_by_the_next_run(void **state)
{
    struct world *w = *state;
    unsigned every = getenv("SETTLE_TEST_LONG") ? 1 : KILL_EVERY; /* of ops/test --long */
    char want[200];
    unsigned nsends, kills = 0;

    register_some(w);
    shim_signal(shim, "settle:lock:", UINT32_MAX, SIGKILL);
    assert_int_equal(world_wait(w, start(w, "5")).status, 0);
    nsends = shim_nsends(shim);
    snprintf(want, sizeof(want), "%s", end_state(w));
    assert_non_null(strstr(want, "|8 12 4 7 8"));
    for (unsigned nth = 1 + arc4random_uniform(every); nth <= nsends; nth += every, kills++) {
        world_reset(w);
        register_some(w);
        shim_signal(shim, "settle:lock:", nth, SIGKILL);
        assert_int_equal(world_wait(w, start(w, "5")).status, 128 + SIGKILL);
        expire(w);
        assert_int_equal(world_reconcile(w, "--force", NULL).status, 0);
        if (strcmp(end_state(w), want) != 0)
            fail_msg("killed before message %u of %u, it ends in %s, not %s", nth, nsends, end_state(w),
                     want);
    }
    print_message("  %u kills within %u messages\n", kills, nsends);
}

/* ---- webhooks before each, and over each ---- */

/* What is committed when. Each has a publication on each page, so that one of them is at work. */
enum when { AT, SINCE_BEFORE, OVER_SOME, AFTER, NWHENS };
static const char *const whens[] = {"at", "since_before", "over_some", "after"};

static void register_for_all(struct world *w)
{
    world_sql(w,
              "insert into settle.publish_logs (platform, user_id_str, status, external_post_id, updated_at, "
              "max_retries)"
              " select 'instagram', 'u', 'processing', concat_ws('-', word, nth, page),"
              "   now() - interval '1 hour' + page * interval '1 minute', 1"
              " from unnest('{at, since_before, over_some, after}'::text[]) as word,"
              "   generate_series(0, %d) as nth, generate_series(1, %d) as page",
              MESSAGES - 1, PAGES);
}

/* Webhooks about the publications of this name and number, within the transaction at work. */
#define WEBHOOKS                                                                                             \
    "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id,"       \
    "  event_status, decisive, happened_at, received_at, headers, body)"                                     \
    " select sha256(format('%%s %s', external_post_id)::bytea), source, platform, gen_random_uuid(),"        \
    "   external_post_id, '%s', %d, timestamptz '2026-01-01' + %d * interval '1 minute', now(), '', ''"      \
    " from settle.publish_logs where starts_with(external_post_id, '%s-%u-')"

/* What all webhooks of a pass say. */
struct word {
    const char *text;
    int decisive, minute;
};

static void send_webhooks(struct world *w, struct word word, enum when when, unsigned nth)
{
    world_sql(w, WEBHOOKS, word.text, word.text, word.decisive, word.minute, whens[when], nth);
}

static void prepare(struct world *w, struct word word, enum when when, unsigned nth)
{
    world_sql(w, "begin;" WEBHOOKS "; prepare transaction '%s-%u'", word.text, word.text, word.decisive,
              word.minute, whens[when], nth, whens[when], nth);
}

static void commit(struct world *w, enum when when, unsigned nth)
{
    world_sql(w, "commit prepared '%s-%u'", whens[when], nth);
}

static void before_message(struct world *w, struct word word, unsigned nth)
{
    if (nth >= OVER && nth < MESSAGES + OVER)
        commit(w, OVER_SOME, nth - OVER);
    if (nth >= MESSAGES)
        return;
    send_webhooks(w, word, AT, nth);
    commit(w, SINCE_BEFORE, nth);
    prepare(w, word, OVER_SOME, nth);
    prepare(w, word, AFTER, nth);
}

/* What has begun ends, and what had no message to come before comes now. */
static void after_run(struct world *w, struct word word, unsigned nmessages)
{
    for (unsigned i = 0; i < MESSAGES; i++) {
        if (i >= nmessages) {
            commit(w, SINCE_BEFORE, i);
            send_webhooks(w, word, AT, i);
            send_webhooks(w, word, OVER_SOME, i);
            send_webhooks(w, word, AFTER, i);
            continue;
        }
        if (i + OVER >= nmessages)
            commit(w, OVER_SOME, i);
        commit(w, AFTER, i);
    }
}

/* One run; before its nth message webhooks number nth come, or begin to. Returns how many messages there were. */
static unsigned run_among_webhooks(struct world *w, struct word word)
{
    struct process p;
    unsigned nth = 0;

    for (unsigned i = 0; i < MESSAGES; i++)
        prepare(w, word, SINCE_BEFORE, i);
    shim_signal(shim, "settle:lock:", 0, SIGSTOP);
    p = start(w, "240"); /* as many as a page has */
    for (;; nth++) {
        world_until(20, shim_halted(p.pid));
        if (shim_nsends(shim) == nth)
            break;
        before_message(w, word, nth);
        kill(p.pid, SIGCONT);
    }
    assert_int_equal(world_wait(w, p).status, 0);
    after_run(w, word, nth);
    return nth;
}

/* Each rests on its webhook. */
static void assert_all(struct world *w, const char *status)
{
    const char *others = world_sql(
        w,
        "select external_post_id, status, extra_metadata ->> 'reconciliation_reason' from settle.publish_logs"
        " where status <> '%s' or extra_metadata ->> 'reconciliation_reason' = 'webhook_timeout' limit 5",
        status);

    if (*others)
        fail_msg("%s: not every webhook counts: %s", what, others);
}

static void test_a_webhook_that_is_committed_at_any_message_counts(void **state)
{
    static const struct word good = {"published", 1, 1}, bad = {"failed", -1, 2};
    struct world *w = *state;
    unsigned first, second;
    long timed_out;

    register_for_all(w);
    snprintf(what, sizeof(what), "open publications");
    first = run_among_webhooks(w, good);
    timed_out = world_count(w, "select count(*) from settle.publish_logs where status = 'failed'");
    assert_in_range(timed_out, 1, NWHENS * MESSAGES * PAGES - 1);
    assert_int_equal(world_reconcile(w, "--force", NULL).status, 0);
    assert_all(w, "success");
    assert_int_equal(world_count(w, "select count(*) from settle.social_sync_ledger"
                                    " where metadata ->> 'reason' = 'webhook_timeout'"),
                     timed_out);
    assert_int_equal(world_count(w, "select count(*) from settle.social_sync_ledger"),
                     NWHENS * MESSAGES * PAGES + timed_out);

    world_sql(w, "delete from settle.job_runs");
    snprintf(what, sizeof(what), "settled publications");
    second = run_among_webhooks(w, bad);
    assert_int_equal(world_reconcile(w, "--force", NULL).status, 0);
    assert_all(w, "failed");
    assert_int_equal(world_count(w, "select count(*) from settle.social_sync_ledger"),
                     2 * NWHENS * MESSAGES * PAGES + timed_out);
    print_message("  %u and %u messages; %ld of %u timed out and corrected\n", first, second, timed_out,
                  NWHENS * MESSAGES * PAGES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_killed_before_any_message_it_is_completed_by_the_next_run, reset),
        cmocka_unit_test_setup(test_a_webhook_that_is_committed_at_any_message_counts, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
