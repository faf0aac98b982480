/*
 * What the publications job does to rows: each rule of product.md 3 once, against a real Postgres.
 */
#include "support/world.h"

#include <stdio.h>
#include <stdlib.h>

static int up(void **state)
{
    *state = world_open();
    return 0;
}

static int reset(void **state)
{
    world_reset(*state);
    return 0;
}

static int down(void **state)
{
    world_close(*state);
    return 0;
}

/* A receipt as the gateway stores it. happened: minutes ago, or 0 for a platform that gives no time. key: one hex
 * digit, the larger the stronger. */
static void receipt(struct world *w, const char *platform, const char *post, const char *status,
                    double happened, char key)
{
    int decisive = strstr(status, "published") ? 1 : strstr(status, "failed") ? -1 : 0;

    world_sql(
        w,
        "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id,"
        "  event_status, decisive, happened_at, received_at, url, reason, extras, headers, body)"
        "values (decode('%c' || substr(md5('%s'), 2) || md5('%s'), 'hex'), 'default', '%s',"
        "  gen_random_uuid(), '%s', '%s', %d, now() - nullif(%f, 0) * interval '1 minute', now(),"
        "  case %d when 1 then 'https://example.com/%s' end, case %d when -1 then 'copyright claim' end,"
        "  '{\"media_url\": \"https://example.com/%s\"}', '', '')",
        key, post, post, platform, post, status, decisive, happened, decisive, post, decisive, post);
}

static const char *status_of(struct world *w, const char *post)
{
    return world_sql(w, "select status from settle.publish_logs where external_post_id = '%s'", post);
}

static const char *meta_of(struct world *w, const char *post, const char *key)
{
    return world_sql(w,
                     "select extra_metadata ->> '%s' from settle.publish_logs where external_post_id = '%s'",
                     key, post);
}

static long number(const struct outcome *run, const char *key)
{
    return (long)json_integer_value(json_object_get(run->json, key));
}

static void assert_report(const struct outcome *run, long success, long failed, long skipped, long corrected)
{
    assert_int_equal(run->status, 0);
    assert_non_null(run->json);
    assert_int_equal(number(run, "marked_success"), success);
    assert_int_equal(number(run, "marked_failed"), failed);
    assert_int_equal(number(run, "skipped"), skipped);
    assert_int_equal(number(run, "total_checked"), success + failed + skipped);
    assert_int_equal(number(run, "corrected"), corrected);
}

static void test_success_when_data_is_present(void **state)
{
    struct world *w = *state;
    struct outcome run;

    world_publication(w, "instagram", "ig_1", "processing", 15);
    receipt(w, "instagram", "ig_1", "published", 12, 'a');
    run = world_reconcile(w, "--since-minutes", "10", NULL);

    assert_report(&run, 1, 0, 0, 0);
    assert_string_equal(
        world_sql(w, "select status, external_url, error_message is null, settled_at is not null,"
                     "  published_at = (select happened_at from settle.webhook_receipts),"
                     "  updated_at > now() - interval '1 minute' from settle.publish_logs"),
        "success|https://example.com/ig_1|t|t|t|t");
    assert_string_equal(meta_of(w, "ig_1", "webhook_received"), "true");
    assert_string_equal(meta_of(w, "ig_1", "webhook_platform"), "instagram");
    assert_string_equal(meta_of(w, "ig_1", "webhook_status"), "published");
    assert_string_equal(meta_of(w, "ig_1", "media_url"), "https://example.com/ig_1");
    assert_string_equal(meta_of(w, "ig_1", "reconciled"), "true");
    assert_string_equal(meta_of(w, "ig_1", "reconciliation_reason"), "webhook_confirmed");
}

static void test_failed_after_time_out(void **state)
{
    struct world *w = *state;
    struct outcome run;

    world_publication(w, "instagram", "ig_1", "processing", 20);
    run = world_reconcile(w, "--since-minutes", "10", NULL);
    assert_report(&run, 0, 1, 0, 0);
    assert_string_equal(world_sql(w,
                                  "select status, error_message, published_at is null, settled_at is not null"
                                  " from settle.publish_logs"),
                        "failed|No webhook received after 10 minutes|t|t");
    assert_string_equal(meta_of(w, "ig_1", "reconciliation_reason"), "webhook_timeout");
}

static void test_settled_rows_are_left_alone(void **state)
{
    struct world *w = *state;
    struct outcome run;

    world_publication(w, "instagram", "ig_1", "success", 20);
    world_publication(w, "instagram", "ig_2", "failed", 20);
    world_publication(w, "instagram", "ig_3", "scheduled", 20);
    receipt(w, "instagram", "ig_1", "failed", 1, 'a'); /* another tool settled it: not ours to change */
    receipt(w, "instagram", "ig_2", "published", 1, 'a');
    receipt(w, "instagram", "ig_3", "published", 1, 'a');
    run = world_reconcile(w, NULL);
    assert_report(&run, 0, 0, 0, 0);
    assert_string_equal(
        world_sql(w, "select string_agg(status, ' ' order by external_post_id) from settle.publish_logs"),
        "success failed scheduled");
}

static void test_the_window_is_respected(void **state)
{
    struct world *w = *state;
    struct outcome run;

    world_publication(w, "instagram", "old", "processing", 20);
    world_publication(w, "instagram", "young", "processing", 5);
    receipt(w, "instagram", "young", "published", 1, 'a');
    run = world_reconcile(w, "--since-minutes", "10", NULL);
    assert_report(&run, 0, 1, 0, 0);
    assert_string_equal(status_of(w, "young"), "processing");
    run = world_reconcile(w, "--since-minutes", "10", "--evidence-age-minutes", "0", NULL);
    assert_report(&run, 1, 0, 0, 0);
}

static void test_a_retry_with_a_webhook_and_five_rows(void **state)
{
    struct world *w = *state;
    struct outcome run;
    char post[8];

    for (int i = 0; i < 5; i++) {
        snprintf(post, sizeof(post), "p%d", i);
        world_publication(w, "youtube", post, i % 2 ? "processing" : "retry", 15);
        if (i < 3)
            receipt(w, "youtube", post, "published", 1, 'a');
    }
    run = world_reconcile(w, NULL);
    assert_report(&run, 3, 2, 0, 0);
    assert_string_equal(status_of(w, "p0"), "success");
    assert_string_equal(status_of(w, "p4"), "failed");
}

static void test_a_retry_that_is_not_due(void **state)
{
    struct world *w = *state;
    struct outcome run;

    world_publication(w, "instagram", "bare", "retry", 30);
    world_publication(w, "instagram", "known", "retry", 30);
    world_sql(w, "update settle.publish_logs set next_retry_at = now() + interval '1 hour'");
    receipt(w, "instagram", "known", "published", 1, 'a');
    run = world_reconcile(w, NULL);
    assert_report(&run, 1, 0, 0, 0);
    assert_int_equal(number(&run, "not_due"), 1);
    assert_string_equal(status_of(w, "bare"), "retry");

    world_sql(
        w,
        "update settle.publish_logs set next_retry_at = now() - interval '9 minutes' where status = 'retry'");
    run = world_reconcile(w, NULL);
    assert_report(&run, 0, 0, 0, 0); /* due, but not for long */
    world_sql(w, "update settle.publish_logs set next_retry_at = now() - interval '11 minutes' where status "
                 "= 'retry'");
    run = world_reconcile(w, NULL);
    assert_report(&run, 0, 1, 0, 0);
}

static void test_pending_rows_are_settled_by_evidence_alone(void **state)
{
    struct world *w = *state;
    struct outcome run;

    world_publication(w, "instagram", "known", "pending", 30);
    world_publication(w, "instagram", "bare", "pending", 3000);
    receipt(w, "instagram", "known", "published", 1, 'a');
    run = world_reconcile(w, "--force", NULL);
    assert_report(&run, 1, 0, 0, 0);
    assert_string_equal(status_of(w, "bare"), "pending");
}

static void test_an_explicit_failure(void **state)
{
    struct world *w = *state;
    struct outcome run;

    world_publication(w, "tiktok", "tt_1", "processing", 15);
    receipt(w, "tiktok", "tt_1", "post.publish.failed", 1, 'a');
    run = world_reconcile(w, NULL);
    assert_report(&run, 0, 1, 0, 0);
    assert_string_equal(world_sql(w, "select status, error_message from settle.publish_logs"),
                        "failed|copyright claim");
    assert_string_equal(meta_of(w, "tt_1", "reconciliation_reason"), "webhook_reported_failure");
}

/* Through the gateway: what TikTok calls complete is a status of ours. */
static void test_tiktok_complete_and_not(void **state)
{
    struct world *w = *state;
    struct outcome run;

    world_gateway(w, NULL);
    world_publication(w, "tiktok", "done", "processing", 15);
    world_publication(w, "tiktok", "not", "processing", 15);
    world_deliver(w, "tiktok", NULL,
                  "{\"external_post_id\": \"done\", \"task_id\": \"t1\", \"complete\": true,"
                  " \"video_url\": \"https://www.tiktok.com/@a/video/1\"}");
    world_deliver(w, "tiktok", NULL,
                  "{\"external_post_id\": \"not\", \"task_id\": \"t2\", \"complete\": false}");
    assert_int_equal(world_gateway_stop(w), 0);

    run = world_reconcile(w, NULL);
    assert_report(&run, 1, 0, 1, 0);
    assert_string_equal(status_of(w, "done"), "success");
    assert_string_equal(meta_of(w, "done", "task_id"), "t1");
    assert_string_equal(meta_of(w, "done", "complete"), "true");
    assert_string_equal(world_sql(w, "select external_url from settle.publish_logs where status = 'success'"),
                        "https://www.tiktok.com/@a/video/1");
    assert_string_equal(status_of(w, "not"), "processing");
}

static void test_an_unclear_webhook_is_skipped_and_rings_after_a_day(void **state)
{
    struct world *w = *state;
    struct outcome run;

    world_publication(w, "instagram", "ig_1", "processing", 15);
    receipt(w, "instagram", "ig_1", "processing", 1, 'a');
    run = world_reconcile(w, NULL);
    assert_report(&run, 0, 0, 1, 0);
    assert_string_equal(world_sql(w, "select status, extra_metadata from settle.publish_logs"),
                        "processing|{}");
    assert_int_equal(world_count(w, "select count(*) from settle.alerts"), 0);

    world_sql(w, "update settle.publish_logs set updated_at = now() - interval '25 hours'");
    run = world_reconcile(w, NULL);
    assert_report(&run, 0, 0, 1, 0);
    assert_string_equal(world_sql(w, "select type, severity from settle.alerts"),
                        "publications_unclear_a_day|MEDIUM");
}

static void test_a_pause_is_told_as_such_and_rings_nowhere(void **state)
{
    struct world *w = *state;
    char post[16];
    struct outcome run;

    for (int i = 0; i < 12; i++) {
        snprintf(post, sizeof(post), "post_%d", i);
        world_publication(w, "tiktok", post, "processing", 60);
    }
    world_publication(w, "facebook", "fb_1", "processing", 60); /* how to ask it, no descriptor says */
    world_sql(
        w, "insert into settle.platform_pauses (platform, actor, reason) values ('tiktok', 'anna', 'test')");
    run = world_reconcile(w, "--force", NULL);
    assert_report(&run, 0, 1, 12, 0);
    assert_string_equal(world_sql(w, "select report #> '{polls,could_not_ask}' from settle.job_runs"),
                        "{\"adapter_missing\": 1, \"platform_disabled\": 12}");
    assert_int_equal(world_count(w, "select count(*) from settle.alerts where type = 'publications_unclear'"),
                     0);
}

static void test_a_delayed_processing_does_not_undo_published(void **state)
{
    struct world *w = *state;
    struct outcome run;

    world_publication(w, "instagram", "before", "processing", 15);
    receipt(w, "instagram", "before", "published", 9, 'a');
    receipt(w, "instagram", "before", "processing", 1, 'b');
    run = world_reconcile(w, NULL);
    assert_report(&run, 1, 0, 0, 0);

    receipt(w, "instagram", "before", "processing", 0.5, 'c');
    run = world_reconcile(w, NULL);
    assert_report(&run, 0, 0, 0, 0);
    assert_string_equal(status_of(w, "before"), "success");
}

static void test_the_webhook_of_an_earlier_attempt_says_nothing_of_the_new_one(void **state)
{
    struct world *w = *state;
    struct outcome run;

    world_publication(w, "instagram", "first", "processing", 15);
    receipt(w, "instagram", "first", "failed", 14, 'a');
    world_sql(
        w,
        "update settle.publish_logs set external_post_id = 'second', updated_at = now() - interval '1 min'");
    run = world_reconcile(w, "--evidence-age-minutes", "0", NULL);
    assert_report(&run, 0, 0, 0, 0);
    receipt(w, "instagram", "second", "published", 1, 'a');
    run = world_reconcile(w, "--evidence-age-minutes", "0", NULL);
    assert_report(&run, 1, 0, 0, 0);
}

/* Settled, then opened again by another tool that leaves our marks where they are. */
static void test_the_copy_of_an_earlier_webhook_says_nothing_of_the_new_attempt(void **state)
{
    static const char *const words[] = {"published", "failed"};
    struct world *w = *state;
    struct outcome run;

    for (size_t i = 0; i < countof(words); i++) {
        world_reset(w);
        world_publication(w, "instagram", "first", "processing", 15);
        receipt(w, "instagram", "first", words[i], 14, 'a');
        run = world_reconcile(w, NULL);
        assert_report(&run, i == 0, i == 1, 0, 0);
        world_sql(w, "update settle.publish_logs set external_post_id = 'second', status = 'processing',"
                     "  updated_at = now() - interval '5 minutes'");
        run = world_reconcile(w, "--evidence-age-minutes", "0", NULL);
        assert_report(&run, 0, 0, 0, 0);

        world_sql(w, "update settle.publish_logs set updated_at = now() - interval '11 minutes'");
        run = world_reconcile(w, NULL);
        assert_report(&run, 0, 1, 0, 0);
        assert_int_equal(number(&run, "timed_out"), 1);
        assert_string_equal(
            world_sql(w, "select jsonb_array_length(m -> 'attempts'), m #>> '{attempts,0,webhook_post_id}',"
                         "  m #>> '{attempts,0,webhook_status}', m ? 'webhook_received', m ? 'evidence_at'"
                         " from (select extra_metadata as m from settle.publish_logs) as p"),
            i == 0 ? "1|first|published|f|f" : "1|first|failed|f|f");
    }
}

static void test_a_webhook_that_came_before_its_row(void **state)
{
    struct world *w = *state;
    struct outcome run;

    receipt(w, "instagram", "early", "published", 60, 'a');
    world_sql(w, "update settle.webhook_receipts set stored_at = now() - interval '1 hour'");
    run = world_reconcile(w, NULL);
    assert_report(&run, 0, 0, 0, 0);
    world_publication(w, "instagram", "early", "processing", 15);
    run = world_reconcile(w, NULL);
    assert_report(&run, 1, 0, 0, 0);
}

static void test_another_sources_webhook_touches_nothing(void **state)
{
    struct world *w = *state;
    struct outcome run;

    world_publication(w, "instagram", "ig_1", "processing", 15);
    receipt(w, "instagram", "ig_1", "published", 1, 'a');
    world_sql(w, "update settle.webhook_receipts set source = 'stranger'");
    run = world_reconcile(w, NULL);
    assert_report(&run, 0, 1, 0, 0);
    run = world_reconcile(w, NULL);
    assert_report(&run, 0, 0, 0, 0);
    assert_string_equal(status_of(w, "ig_1"), "failed");
}

static void test_what_other_tools_have_noted_counts(void **state)
{
    struct world *w = *state;
    struct outcome run;

    world_publication(w, "instagram", "ig", "processing", 15);
    world_publication(w, "tiktok", "done", "processing", 15);
    world_publication(w, "tiktok", "not", "processing", 15);
    world_publication(w, "youtube", "bad", "processing", 15);
    world_sql(w, "update settle.publish_logs set extra_metadata = n.note::jsonb"
                 " from (values"
                 "  ('ig', '{\"webhook_received\": true, \"webhook_status\": \"published\","
                 "           \"webhook_timestamp\": \"2026-01-15T10:45:00.250000\"}'),"
                 "  ('done', '{\"webhook_received\": true, \"complete\": true}'),"
                 "  ('not', '{\"webhook_received\": true, \"complete\": false}'),"
                 "  ('bad', '{\"webhook_received\": true, \"webhook_status\": \"failed\","
                 "            \"webhook_timestamp\": \"yesterday\"}')) as n (post, note)"
                 " where external_post_id = n.post");
    run = world_reconcile(w, NULL);
    assert_report(&run, 2, 1, 1, 0);
    assert_string_equal(status_of(w, "ig"), "success");
    assert_string_equal(meta_of(w, "ig", "evidence_at"), "2026-01-15T10:45:00.250000Z");
    assert_string_equal(meta_of(w, "ig", "evidence_key"), "");
    assert_string_equal(status_of(w, "done"), "success");
    assert_string_equal(status_of(w, "not"), "processing");
    assert_string_equal(status_of(w, "bad"), "failed");
    assert_string_equal(meta_of(w, "bad", "webhook_timestamp"), "yesterday");

    receipt(w, "instagram", "ig", "failed", 1, 'a'); /* happened later than what was noted */
    run = world_reconcile(w, NULL);
    assert_report(&run, 0, 0, 1, 1);
    assert_string_equal(status_of(w, "ig"), "failed");
}

static void test_of_two_webhooks_the_stronger_one_stands(void **state)
{
    struct world *w = *state;
    struct outcome run;

    world_publication(w, "instagram", "together", "processing", 15);
    receipt(w, "instagram", "together", "failed", 5, 'f');
    receipt(w, "instagram", "together", "published", 3, 'a');
    world_publication(w, "instagram", "weak first", "processing", 15);
    receipt(w, "instagram", "weak first", "failed", 5, 'f');
    world_publication(w, "instagram", "strong first", "processing", 15);
    receipt(w, "instagram", "strong first", "published", 3, 'a');
    run = world_reconcile(w, NULL);
    assert_report(&run, 2, 1, 0, 0);

    receipt(w, "instagram", "weak first", "published", 3, 'a');
    receipt(w, "instagram", "strong first", "failed", 5, 'f');
    run = world_reconcile(w, NULL);
    assert_report(&run, 0, 0, 0, 1);
    assert_string_equal(
        world_sql(w,
                  "select distinct status, error_message, published_at is not null, external_url is not null"
                  " from settle.publish_logs"),
        "success||t|t");
    assert_int_equal(world_count(w, "select count(*) from settle.social_sync_ledger"), 4);
}

static void test_a_webhook_that_commits_while_its_row_is_timed_out(void **state)
{
    struct world *w = *state;
    struct outcome run;

    world_publication(w, "instagram", "ig_1", "processing", 15);
    world_sql(w, "begin");
    receipt(w, "instagram", "ig_1", "published", 1, 'a'); /* not committed: nobody sees it yet */
    run = world_reconcile(w, NULL);
    assert_report(&run, 0, 1, 0, 0);
    world_sql(w, "commit");

    run = world_reconcile(w, NULL);
    assert_report(&run, 0, 0, 0, 1);
    assert_string_equal(world_sql(w, "select status, error_message from settle.publish_logs"), "success|");
    assert_string_equal(meta_of(w, "ig_1", "reconciliation_reason"), "late_webhook");
    run = world_reconcile(w, NULL);
    assert_report(&run, 0, 0, 0, 0);
}

static void test_a_platform_may_have_more_patience(void **state)
{
    struct world *w = *state;
    struct outcome run;
    char path[128];
    FILE *file;

    snprintf(path, sizeof(path), "%s/patient.yaml", w->dir);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs("reconcile:\n  timeout_minutes:\n    - platform: youtube\n      minutes: 60\n", file);
    fclose(file);
    world_publication(w, "youtube", "yt", "processing", 30);
    world_publication(w, "youtube", "vague", "processing", 30);
    receipt(w, "youtube", "vague", "processing", 1, 'a');
    world_publication(w, "youtube", "known", "processing", 30);
    receipt(w, "youtube", "known", "published", 1, 'a');
    world_publication(w, "instagram", "ig", "processing", 30);

    run = world_reconcile(w, "--config", path, NULL);
    assert_report(&run, 1, 1, 0, 0);
    assert_int_equal(number(&run, "not_due"), 2);
    world_sql(w, "update settle.publish_logs set updated_at = now() - interval '61 minutes' where status = "
                 "'processing'");
    run = world_reconcile(w, "--config", path, NULL);
    assert_report(&run, 0, 1, 1, 0);
    assert_string_equal(
        world_sql(w, "select error_message from settle.publish_logs where external_post_id = 'yt'"),
        "No webhook received after 60 minutes");
    assert_string_equal(world_sql(w, "select metadata ->> 'timeout_minutes' from settle.social_sync_ledger"
                                     " order by seq desc limit 1"),
                        "60");
}

static struct outcome platform(struct world *w, const char *verb, const char *name)
{
    return world_wait(w,
                      world_spawn(w, "settle-reconciler", "platform", verb, name, "--reason", "test", NULL));
}

/* Nobody was allowed to try it again, or to ask about it, while the platform was paused. */
static void test_what_a_pause_held_up_gets_its_time_again(void **state)
{
    struct world *w = *state;

    world_publication(w, "instagram", "again", "retry", 2000);
    world_publication(w, "instagram", "sent", "processing", 2000);
    world_publication(w, "instagram", "good", "processing", 2000);
    world_publication(w, "tiktok", "other", "processing", 30);
    receipt(w, "instagram", "good", "published", 5, '1');
    assert_int_equal(platform(w, "pause", "instagram").status, 0);
    assert_int_equal(platform(w, "resume", "instagram").status, 0);
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_string_equal(status_of(w, "again"), "retry");
    assert_string_equal(status_of(w, "sent"), "processing");
    assert_string_equal(status_of(w, "good"), "success"); /* evidence needs no time */
    assert_string_equal(status_of(w, "other"), "failed");

    assert_int_equal(platform(w, "pause", "instagram").status, 0); /* and the later end counts */
    world_sql(w, "update settle.platform_resumes set resumed_at = now() - interval '11 minutes'");
    assert_int_equal(platform(w, "resume", "instagram").status, 0);
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_string_equal(status_of(w, "again"), "retry");
    world_sql(w, "update settle.platform_resumes set resumed_at = now() - interval '11 minutes'");
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_string_equal(status_of(w, "again"), "failed");
    assert_string_equal(status_of(w, "sent"), "failed");
}

/* A clock that was put back must not hold a platform up. */
static void test_an_end_of_a_pause_that_lies_ahead_holds_nothing_up(void **state)
{
    struct world *w = *state;

    world_publication(w, "instagram", "sent", "processing", 30);
    world_sql(w, "insert into settle.platform_resumes values ('instagram', now() + interval '1 day')");
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_string_equal(status_of(w, "sent"), "failed");
}

static void test_an_account_without_a_token_cannot_be_asked(void **state)
{
    struct world *w = *state;
    struct outcome run;

    world_publication(w, "tiktok", "silent", "processing", 30);
    world_sql(w, "insert into settle.platform_connections (user_id_str, platform, account, connected)"
                 " values ('user-1', 'tiktok', 'default', true)");
    run = world_reconcile(w, NULL);
    assert_int_equal(run.status, 0);
    assert_string_equal(status_of(w, "silent"), "failed");
    assert_null(strstr(run.err, "token"));
}

static void test_one_platform_alone(void **state)
{
    struct world *w = *state;
    struct outcome run;

    world_publication(w, "youtube", "yt", "processing", 30);
    world_publication(w, "instagram", "ig", "processing", 30);
    run = world_reconcile(w, "--platform", "youtube", NULL);
    assert_report(&run, 0, 1, 0, 0);
    assert_string_equal(status_of(w, "ig"), "processing");

    receipt(w, "instagram", "ig", "published", 1, 'a'); /* its stored_at must not be passed over */
    world_sql(w, "update settle.webhook_receipts set stored_at = now() - interval '5 minutes';"
                 "update settle.job_fences set watermark = watermark - interval '6 minutes';"
                 "update settle.publish_logs set status = 'failed', updated_at = now(),"
                 "  extra_metadata = '{\"reconciliation_reason\": \"webhook_timeout\"}' where "
                 "external_post_id = 'ig'");
    run = world_reconcile(w, "--platform", "youtube", NULL);
    assert_report(&run, 0, 0, 0, 0);
    run = world_reconcile(w, NULL);
    assert_report(&run, 0, 0, 0, 1);
}

/* A run that begins without a watermark leaves one behind, or later runs would look back a little only. */
static void test_one_platform_alone_leaves_a_watermark(void **state)
{
    struct world *w = *state;
    struct outcome run;

    world_publication(w, "youtube", "yt", "processing", 30);
    run = world_reconcile(w, "--platform", "youtube", NULL);
    assert_report(&run, 0, 1, 0, 0);
    receipt(w, "youtube", "yt", "published", 1, 'a');
    world_sql(w, "update settle.webhook_receipts set stored_at = now() - interval '20 minutes';"
                 "update settle.job_fences set watermark = watermark - interval '20 minutes'");
    run = world_reconcile(w, NULL);
    assert_report(&run, 0, 0, 0, 1);
}

/* What slipped behind the watermark for whatever reason is found by the first run of the next day. */
static void test_a_lookback_once_a_day(void **state)
{
    struct world *w = *state;
    struct outcome run;

    world_publication(w, "instagram", "ig", "processing", 30);
    run = world_reconcile(w, NULL);
    assert_report(&run, 0, 1, 0, 0);
    receipt(w, "instagram", "ig", "published", 1, 'a');
    world_sql(w, "update settle.job_fences"
                 " set watermark = date_trunc('day', now(), 'UTC') - interval '1 second';"
                 "update settle.webhook_receipts set stored_at = greatest("
                 "  date_trunc('day', now(), 'UTC') - interval '2 minutes', now() - interval '23 hours')");
    run = world_reconcile(w, NULL);
    assert_report(&run, 0, 0, 0, 1);
}

static void test_a_stronger_webhook_that_agrees_refreshes_the_row(void **state)
{
    struct world *w = *state;
    struct outcome run;

    world_publication(w, "instagram", "ig", "processing", 30);
    receipt(w, "instagram", "ig", "published", 9, 'a');
    world_sql(w, "update settle.webhook_receipts set url = 'https://example.com/old'");
    run = world_reconcile(w, NULL);
    assert_report(&run, 1, 0, 0, 0);
    receipt(w, "instagram", "ig", "published", 3, 'b');
    run = world_reconcile(w, NULL);
    assert_report(&run, 0, 0, 0, 0);
    assert_int_equal(number(&run, "refreshed"), 1);
    assert_string_equal(world_sql(w,
                                  "select status, external_url,"
                                  "  published_at = (select max(happened_at) from settle.webhook_receipts),"
                                  "  left(extra_metadata ->> 'evidence_key', 1), settled_at = updated_at"
                                  " from settle.publish_logs"),
                        "success|https://example.com/ig|t|b|t");
    assert_string_equal(
        world_sql(w, "select metadata ->> 'action' from settle.social_sync_ledger order by seq"),
        "marked_success\nrefreshed");
    run = world_reconcile(w, NULL);
    assert_int_equal(number(&run, "refreshed"), 0);
}

static void test_one_row_that_postgres_refuses_does_not_hold_up_the_others(void **state)
{
    struct world *w = *state;
    struct outcome run;
    char post[16];

    for (int i = 0; i < 20; i++) {
        snprintf(post, sizeof(post), "p%d", i);
        world_publication(w, "instagram", post, "processing", 15 + i);
        receipt(w, "instagram", post, "published", 1, 'a');
    }
    world_sql(w, "alter table settle.publish_logs add constraint picky"
                 " check (status <> 'success' or external_post_id not in ('p3', 'p4'))");
    run = world_reconcile(w, NULL);
    world_sql(w, "alter table settle.publish_logs drop constraint picky");
    assert_report(&run, 18, 0, 0, 0);
    assert_int_equal(number(&run, "left_out"), 2);
    assert_string_equal(status_of(w, "p3"), "processing");
    assert_non_null(strstr(run.err, "row_left_out"));
    run = world_reconcile(w, NULL);
    assert_report(&run, 2, 0, 0, 0);
}

/* Dated by a clock that was ahead. */
static void test_one_date_that_postgres_refuses_to_mend_does_not_hold_up_the_others(void **state)
{
    struct world *w = *state;
    struct outcome run;
    char post[16];

    for (int i = 0; i < 20; i++) {
        snprintf(post, sizeof(post), "p%d", i);
        world_publication(w, "instagram", post, "processing", -2880 + i);
    }
    world_sql(w, "alter table settle.publish_logs add constraint picky"
                 " check (updated_at > now() + interval '1 hour' or external_post_id not in ('p19', 'p3'))");
    run = world_reconcile(w, NULL);
    world_sql(w, "alter table settle.publish_logs drop constraint picky");
    assert_report(&run, 0, 0, 0, 0);
    assert_non_null(strstr(run.err, "redating_refused"));
    assert_string_equal(
        world_sql(w, "select string_agg(external_post_id, ' ' order by id) from settle.publish_logs"
                     " where updated_at > now()"),
        "p3 p19");
    run = world_reconcile(w, NULL);
    assert_int_equal(world_count(w, "select count(*) from settle.publish_logs where updated_at > now()"), 0);
}

static void test_what_a_receipt_calls_itself_cannot_replace_our_marks(void **state)
{
    struct world *w = *state;
    struct outcome run;

    world_publication(w, "instagram", "p", "processing", 15);
    receipt(w, "instagram", "p", "published", 1, 'a');
    world_sql(w,
              "update settle.webhook_receipts set extras = '{\"reconciliation_reason\": \"manual_override\","
              " \"webhook_status\": \"x\", \"url\": \"\\u00e9\\ud83d\\ude00\\\\ud\"}', event_status = "
              "'pub\"li\\shed'");
    run = world_reconcile(w, NULL);
    assert_report(&run, 1, 0, 0, 0);
    assert_string_equal(meta_of(w, "p", "reconciliation_reason"), "webhook_confirmed");
    assert_string_equal(meta_of(w, "p", "webhook_status"), "pub\"li\\shed");
    assert_string_equal(meta_of(w, "p", "url"), "é😀\\ud");
}

static void test_extras_that_jsonb_refuses_are_left_out(void **state)
{
    static const char *const extras[] = {"{\"a\": }", "[1]", "{\"a\": \"\\u0000\"}", "{\"a\": \"\\uD800\"}",
                                         "",          "{}"};
    struct world *w = *state;
    struct outcome run;
    char post[8];

    for (size_t i = 0; i < countof(extras); i++) {
        snprintf(post, sizeof(post), "p%zu", i);
        world_publication(w, "instagram", post, "processing", 15);
        receipt(w, "instagram", post, "published", 1, 'a');
        world_sql(w, "update settle.webhook_receipts set extras = '%s' where external_post_id = '%s'",
                  extras[i], post);
    }
    run = world_reconcile(w, NULL);
    assert_report(&run, (long)countof(extras), 0, 0, 0);
    assert_null(strstr(run.err, "row_left_out"));
}

/* What the view shows before and the row itself says after must be one thing. */
static void test_the_row_gets_what_the_view_has_shown(void **state)
{
    struct world *w = *state;
    const char *shown;

    world_publication(w, "instagram", "p", "processing", 15);
    receipt(w, "instagram", "p", "published", 1, 'a');
    shown = world_sql(w, "select extra_metadata from settle.publish_logs_live");
    world_reconcile(w, NULL);
    assert_string_equal(
        world_sql(w, "select extra_metadata - array['reconciled', 'reconciled_at', 'reconciliation_reason',"
                     "  'evidence_at', 'evidence_key'] from settle.publish_logs"),
        shown);
}

static void test_the_shape_of_the_report(void **state)
{
    static const char *const keys[] = {
        "total_checked",     "marked_success", "marked_failed",   "skipped",
        "success_log_ids",   "failed_log_ids", "outcome",         "marked_retry",
        "corrected",         "refreshed",      "not_due",         "run_id",
        "duration_ms",       "by_platform",    "skipped_because", "polls",
        "stopped_by",        "ids_truncated",  "timed_out",       "held_by_guard",
        "changed_meanwhile", "left_out",       "guard",           "message",
    };
    struct world *w = *state;
    const char *success = world_publication(w, "instagram", "ig", "processing", 15);
    const char *failed = world_publication(w, "tiktok", "tt", "processing", 15), *key;
    char *by_platform;
    struct outcome run;
    json_t *value;
    size_t i = 0;

    receipt(w, "instagram", "ig", "published", 1, 'a');
    run = world_reconcile(w, "--run-id", "0190a0a0-1111-7222-8333-444455556666", "--trigger", "api",
                          "--actor", "key-7", NULL);
    assert_report(&run, 1, 1, 0, 0);
    json_object_foreach(run.json, key, value) {
        assert_true(i < countof(keys));
        assert_string_equal(key, keys[i++]);
    }
    assert_int_equal(i, countof(keys));
    assert_string_equal(json_string_value(json_array_get(json_object_get(run.json, "success_log_ids"), 0)),
                        success);
    assert_string_equal(json_string_value(json_array_get(json_object_get(run.json, "failed_log_ids"), 0)),
                        failed);
    assert_string_equal(json_string_value(json_object_get(run.json, "outcome")), "done");
    assert_true(json_is_null(json_object_get(run.json, "stopped_by")));
    by_platform = json_dumps(json_object_get(run.json, "by_platform"), JSON_COMPACT);
    assert_string_equal(
        by_platform,
        "{\"instagram\":{\"marked_success\":1,\"marked_failed\":0,\"marked_retry\":0,\"skipped\":0,"
        "\"corrected\":0,"
        "\"not_due\":0,\"skipped_because\":{\"unclear\":0,\"not_asked\":0,\"platform_disabled\":0},"
        "\"by_reason\":{\"webhook_confirmed\":1}},"
        "\"tiktok\":{\"marked_success\":0,\"marked_failed\":1,\"marked_retry\":0,\"skipped\":0,\"corrected\":"
        "0,"
        "\"not_due\":0,\"skipped_because\":{\"unclear\":0,\"not_asked\":0,\"platform_disabled\":0},"
        "\"by_reason\":{\"webhook_timeout\":1}}}");
    free(by_platform);
    assert_non_null(strstr(run.out,
                           "{\"total_checked\":2,\"marked_success\":1,\"marked_failed\":1,\"skipped\":0,"
                           "\"success_log_ids\":[\""));
    assert_string_equal(
        world_sql(
            w, "select id, job_name, actor, trigger, status, outcome, records_read, finished_at is not null,"
               " report ->> 'marked_success', scope from settle.job_runs"),
        "0190a0a0-1111-7222-8333-444455556666|publications|key-7|api|success|done|2|t|1|"
        "{\"force\": false, \"platform\": null, \"batch_size\": 1000, \"since_minutes\": 10, "
        "\"evidence_age_minutes\": 10}");
}

static void test_the_shape_of_the_events(void **state)
{
    struct world *w = *state;
    const char *success = world_publication(w, "instagram", "ig_post_123", "processing", 15);
    const char *failed = world_publication(w, "tiktok", "tt_post_7", "processing", 15);
    char want[1024];

    receipt(w, "instagram", "ig_post_123", "published", 1, 'a');
    world_reconcile(w, "--run-id", "0190a0a0-1111-7222-8333-444455556666", "--actor", "key-7", NULL);
    snprintf(
        want, sizeof(want),
        "publish_reconciled|info|publish_log|%s|default|{\"action\": \"marked_success\", \"reason\": "
        "\"webhook_confirmed\", \"platform\": \"instagram\", \"external_post_id\": \"ig_post_123\"}|key-7|"
        "0190a0a0-1111-7222-8333-444455556666|t\n"
        "publish_reconciled|warn|publish_log|%s|default|{\"action\": \"marked_failed\", \"reason\": "
        "\"webhook_timeout\", \"platform\": \"tiktok\", \"timeout_minutes\": 10, \"external_post_id\": "
        "\"tt_post_7\"}|key-7|0190a0a0-1111-7222-8333-444455556666|f",
        success, failed);
    assert_string_equal(
        world_sql(w, "select event_type, severity, entity_type, entity_id, source, metadata, actor, run_id,"
                     " receipt_id is not null from settle.social_sync_ledger order by severity"),
        want);
}

static const char *everything(struct world *w)
{
    return world_sql(w, "select md5(string_agg(row, ' ' order by row)) from ("
                        "  select p::text from settle.publish_logs p union all"
                        "  select l::text from settle.social_sync_ledger l union all"
                        "  select r::text from settle.job_runs r union all"
                        "  select f::text from settle.job_fences f union all"
                        "  select a::text from settle.alerts a) as all_rows (row)");
}

static void test_a_dry_run_says_what_the_next_run_does_and_writes_nothing(void **state)
{
    struct world *w = *state;
    struct outcome dry, run;
    const char *before;

    for (int i = 0; i < 3; i++) {
        world_publication(w, "instagram", i == 0 ? "a" : i == 1 ? "b" : "c", "processing", 15);
        world_reconcile(w, NULL);
    }
    world_publication(w, "instagram", "d", "processing", 15);
    world_publication(w, "instagram", "e", "processing", 15);
    world_publication(w, "instagram", "f", "processing", 15);
    receipt(w, "instagram", "a", "published", 1, 'a'); /* late */
    world_sql(w, "update settle.webhook_receipts set stored_at = now() - interval '20 minutes';"
                 "update settle.job_fences set watermark = now() - interval '21 minutes'");
    receipt(w, "instagram", "d", "published", 1, 'a');
    receipt(w, "instagram", "e", "processing", 1, 'a');

    before = everything(w);
    dry = world_reconcile(w, "--dry-run", NULL);
    assert_report(&dry, 1, 1, 1, 1);
    assert_string_equal(json_string_value(json_object_get(dry.json, "outcome")), "dry_run");
    assert_string_equal(everything(w), before);

    run = world_reconcile(w, NULL);
    assert_report(&run, 1, 1, 1, 1);
    assert_true(json_equal(json_object_get(dry.json, "success_log_ids"),
                           json_object_get(run.json, "success_log_ids")));
    assert_true(
        json_equal(json_object_get(dry.json, "failed_log_ids"), json_object_get(run.json, "failed_log_ids")));
}

static void test_many_rows_in_small_batches(void **state)
{
    struct world *w = *state;
    struct outcome run;

    world_sql(w,
              "insert into settle.publish_logs (platform, user_id_str, status, external_post_id, updated_at)"
              " select 'instagram', 'u', 'processing', 'p' || g, now() - interval '1 hour'"
              " from generate_series(1, 1050) g");
    run =
        world_reconcile(w, "--batch-size", "7", "--force", NULL); /* all of one age: the id breaks the tie */
    assert_report(&run, 0, 1050, 0, 0);
    assert_int_equal(json_array_size(json_object_get(run.json, "failed_log_ids")), 1000);
    assert_true(json_is_true(json_object_get(run.json, "ids_truncated")));
    assert_int_equal(world_count(w, "select count(*) from settle.social_sync_ledger"), 1050);
}

/* More than it lets pass, but none of them would be failed by time-out. */
static void test_the_guard_counts_no_publication_with_a_stored_answer(void **state)
{
    struct world *w = *state;
    struct outcome run;

    world_sql(w, "with p as (insert into settle.publish_logs (platform, user_id_str, status, "
                 "external_post_id, updated_at)"
                 "   select 'instagram', 'u', 'processing', 'p' || g, now() - interval '1 hour'"
                 "   from generate_series(1, 1050) g returning *)"
                 " insert into settle.publication_reports (source, log_id, platform, external_post_id, "
                 "witness, status,"
                 "   decisive, actor) select source, id, platform, external_post_id, 'poll', 'FINISHED', 1, "
                 "'test' from p");
    run = world_reconcile(w, NULL);
    assert_report(&run, 1050, 0, 0, 0);
}

static void test_the_guard_counts_nothing_that_a_pause_held_up(void **state)
{
    struct world *w = *state;
    struct outcome run;

    world_sql(w, "insert into settle.publish_logs (platform, user_id_str, status, updated_at)"
                 " select 'tiktok', 'u', 'retry', now() - interval '1 hour' from generate_series(1, 1050);"
                 "insert into settle.platform_resumes values ('tiktok', now())");
    world_publication(w, "instagram", "silent", "processing", 30);
    run = world_reconcile(w, NULL);
    assert_report(&run, 0, 1, 0, 0);
}

/* Each row takes a millisecond or more: a batch of a hundred takes a tenth of a second. */
static void test_a_batch_has_as_many_rows_as_the_server_can_take(void **state)
{
    struct world *w = *state;
    struct outcome run;

    world_sql(w,
              "create function public.slow() returns trigger language plpgsql as"
              " 'begin perform pg_sleep(0.001); return new; end';"
              "create trigger slow before update on settle.publish_logs for each row execute function "
              "public.slow();"
              "insert into settle.publish_logs (platform, user_id_str, status, external_post_id, updated_at)"
              " select 'instagram', 'u', 'processing', 'p' || g, now() - interval '1 hour'"
              " from generate_series(1, 900) g");
    run = world_reconcile(w, NULL);
    world_sql(w, "drop trigger slow on settle.publish_logs; drop function public.slow()");
    assert_report(&run, 0, 900, 0, 0);
    assert_string_equal(
        world_sql(w, "select every(n <= case place when 1 then 500 else 100 end)"
                     " from (select count(*) as n, row_number() over (order by timestamp) as place"
                     "       from settle.social_sync_ledger group by timestamp) as batch"),
        "t");
}

static void test_wrong_options_and_stores_that_are_down(void **state)
{
    static const char *const wrong[][2] = {
        {"--since-minutes",  "0"         },
        {"--since-minutes",  "1441"      },
        {"--since-minutes",  "abc"       },
        {"--since-minutes",  "10m"       },
        {"--since-minutes",  ""          },
        {"--since-minutes",  "-5"        },
        {"--since-minutes",  " 5"        },
        {"--batch-size",     "0"         },
        {"--run-id",         "not-a-uuid"},
        {"--trigger",        "whim"      },
        {"--no-such-option", "1"         },
    };
    struct world *w = *state;
    struct outcome run;

    for (size_t i = 0; i < countof(wrong); i++) {
        run = world_reconcile(w, wrong[i][0], wrong[i][1], NULL);
        if (run.status != 64)
            fail_msg("%s \"%s\" ends with %d", wrong[i][0], wrong[i][1], run.status);
    }
    assert_int_equal(world_wait(w, world_spawn(w, "settle-reconciler", NULL)).status, 64);
    assert_int_equal(world_wait(w, world_spawn(w, "settle-reconciler", "whatever", NULL)).status, 64);
    run = world_reconcile(w, "--config", "/nowhere/settle.yaml", NULL);
    assert_int_equal(run.status, 78);

    world_kill(w, REDIS);
    world_publication(w, "instagram", "ig", "processing", 15);
    run = world_reconcile(w, NULL);
    assert_report(&run, 0, 1, 0, 0);
    world_kill(w, POSTGRES);
    run = world_reconcile(w, NULL);
    assert_int_equal(run.status, 69);
    assert_non_null(strstr(run.err, "Postgres"));
    world_servers(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_success_when_data_is_present, reset),
        cmocka_unit_test_setup(test_failed_after_time_out, reset),
        cmocka_unit_test_setup(test_settled_rows_are_left_alone, reset),
        cmocka_unit_test_setup(test_the_window_is_respected, reset),
        cmocka_unit_test_setup(test_a_retry_with_a_webhook_and_five_rows, reset),
        cmocka_unit_test_setup(test_a_retry_that_is_not_due, reset),
        cmocka_unit_test_setup(test_pending_rows_are_settled_by_evidence_alone, reset),
        cmocka_unit_test_setup(test_an_explicit_failure, reset),
        cmocka_unit_test_setup(test_tiktok_complete_and_not, reset),
        cmocka_unit_test_setup(test_an_unclear_webhook_is_skipped_and_rings_after_a_day, reset),
        cmocka_unit_test_setup(test_a_pause_is_told_as_such_and_rings_nowhere, reset),
        cmocka_unit_test_setup(test_a_delayed_processing_does_not_undo_published, reset),
        cmocka_unit_test_setup(test_the_webhook_of_an_earlier_attempt_says_nothing_of_the_new_one, reset),
        cmocka_unit_test_setup(test_the_copy_of_an_earlier_webhook_says_nothing_of_the_new_attempt, reset),
        cmocka_unit_test_setup(test_a_webhook_that_came_before_its_row, reset),
        cmocka_unit_test_setup(test_another_sources_webhook_touches_nothing, reset),
        cmocka_unit_test_setup(test_what_other_tools_have_noted_counts, reset),
        cmocka_unit_test_setup(test_of_two_webhooks_the_stronger_one_stands, reset),
        cmocka_unit_test_setup(test_a_webhook_that_commits_while_its_row_is_timed_out, reset),
        cmocka_unit_test_setup(test_a_platform_may_have_more_patience, reset),
        cmocka_unit_test_setup(test_what_a_pause_held_up_gets_its_time_again, reset),
        cmocka_unit_test_setup(test_an_end_of_a_pause_that_lies_ahead_holds_nothing_up, reset),
        cmocka_unit_test_setup(test_an_account_without_a_token_cannot_be_asked, reset),
        cmocka_unit_test_setup(test_one_platform_alone, reset),
        cmocka_unit_test_setup(test_one_platform_alone_leaves_a_watermark, reset),
        cmocka_unit_test_setup(test_a_lookback_once_a_day, reset),
        cmocka_unit_test_setup(test_a_stronger_webhook_that_agrees_refreshes_the_row, reset),
        cmocka_unit_test_setup(test_one_row_that_postgres_refuses_does_not_hold_up_the_others, reset),
        cmocka_unit_test_setup(test_one_date_that_postgres_refuses_to_mend_does_not_hold_up_the_others,
                               reset),
        cmocka_unit_test_setup(test_what_a_receipt_calls_itself_cannot_replace_our_marks, reset),
        cmocka_unit_test_setup(test_extras_that_jsonb_refuses_are_left_out, reset),
        cmocka_unit_test_setup(test_the_row_gets_what_the_view_has_shown, reset),
        cmocka_unit_test_setup(test_the_shape_of_the_report, reset),
        cmocka_unit_test_setup(test_the_shape_of_the_events, reset),
        cmocka_unit_test_setup(test_a_dry_run_says_what_the_next_run_does_and_writes_nothing, reset),
        cmocka_unit_test_setup(test_many_rows_in_small_batches, reset),
        cmocka_unit_test_setup(test_the_guard_counts_no_publication_with_a_stored_answer, reset),
        cmocka_unit_test_setup(test_the_guard_counts_nothing_that_a_pause_held_up, reset),
        cmocka_unit_test_setup(test_a_batch_has_as_many_rows_as_the_server_can_take, reset),
        cmocka_unit_test_setup(test_wrong_options_and_stores_that_are_down, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
