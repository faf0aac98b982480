/* Publishing workers: each publication to one of them at a time, whatever becomes of them, and what they say counts as any
 * other evidence does. */
#include "support/world.h"

#include "base/now.h"
#include "domain/verdict.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static int up(void **state)
{
    *state = world_open();
    return world_gateway(*state, NULL);
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

static struct reply claim_of(struct world *w, const char *platform, const char *worker, unsigned limit)
{
    char body[200];

    snprintf(body, sizeof(body), "{\"platform\":\"%s\",\"worker_id\":\"%s\",\"limit\":%u,\"lease_s\":60}",
             platform, worker, limit);
    return world_api(w, "POST", "/publishing/logs/claim", body);
}

static struct reply claim(struct world *w, const char *worker, unsigned limit)
{
    return claim_of(w, "instagram", worker, limit);
}

/* Of a claim: how many it got. */
static size_t ngot(struct reply r)
{
    if (r.status != 200)
        fail_msg("claim: %ld %s", r.status, r.body);
    return json_array_size(json_object_get(r.json, "items"));
}

static const char *got(struct reply r, size_t at, const char *field)
{
    const json_t *value = json_object_get(json_array_get(json_object_get(r.json, "items"), at), field);

    return json_is_string(value) ? json_string_value(value) : "(none)";
}

/* rest: further members, ",..." or "". */
static struct reply tell(struct world *w, const char *id, const char *worker, const char *status,
                         const char *rest)
{
    char path[128], body[512];

    snprintf(path, sizeof(path), "/publishing/logs/%s/result", id);
    snprintf(body, sizeof(body), "{\"worker_id\":\"%s\",\"status\":\"%s\"%s}", worker, status, rest);
    return world_api(w, "POST", path, body);
}

static void assert_conflict(const struct reply *r, const char *cause)
{
    char type[64];

    snprintf(type, sizeof(type), "urn:settle:problem:%s", cause);
    if (r->status != 409 || strcmp(json_string_value(json_object_get(r->json, "type")), type) != 0)
        fail_msg("not 409 %s: %ld %s", cause, r->status, r->body);
}

/* One of many, whose post does not matter. */
static const char *publication(struct world *w, const char *status, double age_minutes)
{
    static unsigned nth;
    char post[32];

    snprintf(post, sizeof(post), "some-post-%u", nth++);
    return world_publication(w, "instagram", post, status, age_minutes);
}

static const char *status_of(struct world *w, const char *id)
{
    return world_sql(w, "select status from settle.publish_logs where id = '%s'", id);
}

static void test_a_worker_gets_what_is_due_and_nothing_else(void **state)
{
    struct world *w = *state;
    struct reply r;

    world_sql(w, "insert into settle.publish_logs (platform, user_id_str, status, next_retry_at, source, "
                 "clip_id) values"
                 " ('instagram', 'due', 'pending', null, 'default', null),"
                 " ('instagram', 'due', 'retry', now() - interval '1 second', 'default', null),"
                 " ('instagram', 'not', 'retry', now() + interval '1 hour', 'default', null),"
                 " ('instagram', 'not', 'pending', null, 'other', null),"
                 " ('instagram', 'not', 'processing', null, 'default', null),"
                 " ('instagram', 'not', 'scheduled', null, 'default', null),"
                 " ('tiktok', 'not', 'pending', null, 'default', null)");
    r = claim(w, "a", 10);
    assert_int_equal(ngot(r), 2);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(got(r, i, "user_id_str"), "due");
        assert_string_equal(got(r, i, "status"), "processing");
    }
    assert_int_equal(ngot(claim(w, "b", 10)), 0);
    assert_int_equal(world_count(w, "select count(*) from settle.social_sync_ledger"
                                    " where event_type = 'publish_worker_log_taken' and worker_id = 'a'"),
                     2);
}

/* Sent long ago, and the webhook came after the row went back to be tried again. */
static void test_what_evidence_has_decided_is_not_handed_out(void **state)
{
    struct world *w = *state;
    const char *id = world_publication(w, "instagram", "post-1", "retry", 5);

    world_sql(
        w, "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id,"
           " decisive, event_status, received_at, headers, body) values (decode(repeat('ab', 32), 'hex'), "
           "'default',"
           " 'instagram', gen_random_uuid(), 'post-1', 1, 'published', now(), '', '')");
    assert_int_equal(ngot(claim(w, "a", 10)), 0);
    world_sql(w, "update settle.webhook_receipts set decisive = 0");
    assert_int_equal(ngot(claim(w, "a", 10)), 1);
    assert_string_equal(status_of(w, id), "processing");
}

/* Its platform has said so when asked, and the row had changed meanwhile. */
static void test_what_a_poll_has_decided_is_not_handed_out(void **state)
{
    struct world *w = *state;
    const char *id = world_publication(w, "instagram", "post-1", "retry", 5);

    world_sql(w,
              "insert into settle.publication_reports (source, log_id, platform, external_post_id, witness,"
              " status, decisive, actor) values ('default', '%s', 'instagram', 'post-1', 'poll', 'FINISHED', "
              "1, 'test')",
              id);
    assert_int_equal(ngot(claim(w, "a", 10)), 0);
    world_sql(w, "update settle.publish_logs set external_post_id = 'post-2'"); /* another attempt */
    assert_int_equal(ngot(claim(w, "a", 10)), 1);
}

/* Another tool has noted that a webhook came, and not what it said. */
static void test_what_a_note_leaves_open_is_handed_out(void **state)
{
    static const struct {
        const char *platform, *status;
    } decided[] = {
        {"instagram", "published"            },
        {"instagram", "failed"               },
        {"tiktok",    "post.publish.complete"}, /* as its descriptor has it */
        {"nobody",    "published"            },
    };
    struct world *w = *state;
    const char *id = world_publication(w, "instagram", "post-1", "retry", 5);

    world_sql(
        w, "update settle.publish_logs set extra_metadata = '{\"webhook_received\": true}' where id = '%s'",
        id);
    assert_int_equal(ngot(claim(w, "a", 10)), 1);
    for (size_t i = 0; i < countof(decided); i++) {
        world_sql(w,
                  "update settle.publish_leases set lease_until = now();"
                  "update settle.publish_logs set status = 'retry', platform = '%s', extra_metadata ="
                  " '{\"webhook_received\": true, \"webhook_status\": \"%s\"}' where id = '%s'",
                  decided[i].platform, decided[i].status, id);
        if (ngot(claim_of(w, decided[i].platform, "a", 10)) > 0)
            fail_msg("handed out, though %s says %s", decided[i].platform, decided[i].status);
    }
}

/* ---- many at once ---- */

enum { CROWD = 8, ROWS = 400 };

struct claimer {
    struct world *w;
    pthread_t thread;
    char url[128];
    unsigned n;
};

/* With curl of its own: a world is one thread's. */
static void *claim_all(void *claimer)
{
    struct claimer *c = claimer;
    char command[512], answer[200];
    unsigned got_now;

    do {
        FILE *pipe;

        snprintf(command, sizeof(command),
                 "curl -sS -H 'content-type: application/json' -d"
                 " '{\"platform\":\"instagram\",\"worker_id\":\"w%p\",\"limit\":7}' %s | grep -o '\"id\":' | "
                 "wc -l",
                 (void *)c, c->url);
        pipe = popen(command, "r");
        got_now = pipe && fgets(answer, sizeof(answer), pipe) ? (unsigned)strtoul(answer, NULL, 10) : 0;
        if (pipe)
            pclose(pipe);
        c->n += got_now;
    } while (got_now > 0);
    return NULL;
}

static void test_a_crowd_of_workers_shares_without_doubles(void **state)
{
    struct world *w = *state;
    struct claimer crowd[CROWD];
    unsigned n = 0;

    world_sql(w,
              "insert into settle.publish_logs (platform, user_id_str) select 'instagram', 'u' from "
              "generate_series(1, %d)",
              ROWS);
    for (size_t i = 0; i < CROWD; i++) {
        crowd[i] = (struct claimer){.w = w};
        snprintf(crowd[i].url, sizeof(crowd[i].url), "%s/publishing/logs/claim", w->admin_url);
        assert_int_equal(pthread_create(&crowd[i].thread, NULL, claim_all, &crowd[i]), 0);
    }
    for (size_t i = 0; i < CROWD; i++) {
        pthread_join(crowd[i].thread, NULL);
        n += crowd[i].n;
    }
    while (ngot(claim(w, "last", 100)) > 0) /* whoever found the others' rows locked has gone home early */
        continue;
    assert_int_equal(world_count(w, "select count(*) from settle.social_sync_ledger"
                                    " where event_type = 'publish_worker_log_taken'"),
                     ROWS);
    assert_int_equal(world_count(w, "select count(distinct entity_id) from settle.social_sync_ledger"
                                    " where event_type = 'publish_worker_log_taken'"),
                     ROWS);
    assert_true(n > ROWS / 2);
}

/* ---- a worker that dies ---- */

static void lease_is_over(struct world *w)
{
    world_sql(w, "update settle.publish_leases set lease_until = now() - interval '1 second'");
}

static void test_a_silent_workers_publication_goes_to_the_next_and_its_word_is_refused(void **state)
{
    struct world *w = *state;
    const char *id;
    struct reply r;

    world_sql(w, "insert into settle.publish_logs (platform, user_id_str) values ('instagram', 'u')");
    r = claim(w, "dead", 1);
    assert_int_equal(ngot(r), 1);
    id = got(r, 0, "id");
    assert_int_equal(ngot(claim(w, "b", 1)), 0); /* the lease holds */
    world_sql(w, "update settle.publish_leases set lease_until = now() - interval '1 second'");
    r = claim(w, "b", 1);
    assert_int_equal(ngot(r), 1);
    assert_int_equal(world_count(w, "select retry_count from settle.publish_logs"), 1);

    r = tell(w, id, "dead", "success", ",\"external_post_id\":\"post-of-the-dead\"");
    assert_conflict(&r, "lease_lost");
    assert_int_equal(
        world_count(w,
                    "select count(*) from settle.social_sync_ledger where event_type ="
                    " 'publish_worker_log_refused' and metadata ->> 'external_post_id' = 'post-of-the-dead'"),
        1);
    assert_int_equal(tell(w, id, "b", "success", ",\"external_post_id\":\"post-1\"").status, 200);
    assert_string_equal(status_of(w, id), "success");
}

/* A run sends back what has been silent for longer than the time-out; its worker may have asked for a longer lease. */
static void test_what_a_worker_still_has_is_not_handed_out_though_it_was_sent_back(void **state)
{
    struct world *w = *state;

    world_sql(w, "insert into settle.publish_logs (platform, user_id_str) values ('instagram', 'u')");
    assert_int_equal(ngot(claim(w, "a", 1)), 1);
    world_sql(w,
              "update settle.publish_logs set status = 'retry', next_retry_at = now() - interval '1 second'");
    assert_int_equal(ngot(claim(w, "b", 1)), 0);
    world_sql(w, "update settle.publish_leases set lease_until = now()");
    assert_int_equal(ngot(claim(w, "b", 1)), 1);
}

static void test_it_is_not_handed_out_for_ever_nor_once_its_post_is_known(void **state)
{
    struct world *w = *state;
    const char *id;
    struct reply r;

    world_sql(
        w,
        "insert into settle.publish_logs (platform, user_id_str, max_retries) values ('instagram', 'u', 2)");
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(ngot(claim(w, "dead", 1)), 1);
        world_sql(w, "update settle.publish_leases set lease_until = now() - interval '1 second'");
    }
    assert_int_equal(ngot(claim(w, "c", 1)), 0); /* left to the time-out */

    world_sql(w, "delete from settle.publish_logs; insert into settle.publish_logs (platform, user_id_str)"
                 " values ('instagram', 'u')");
    r = claim(w, "a", 1);
    id = got(r, 0, "id");
    assert_int_equal(tell(w, id, "a", "processing", ",\"external_post_id\":\"post-1\"").status, 200);
    assert_int_equal(world_count(w, "select count(*) from settle.publish_leases where id = '%s'", id), 0);
    assert_string_equal(status_of(w, id), "processing");
    assert_int_equal(ngot(claim(w, "b", 1)), 0);
}

static struct outcome run_with_a_retry(struct world *w)
{
    struct outcome run;

    setenv("SETTLE_RECONCILE_RETRY_BEFORE_FAIL", "1", 1);
    run = world_reconcile(w, NULL);
    unsetenv("SETTLE_RECONCILE_RETRY_BEFORE_FAIL");
    assert_int_equal(run.status, 0);
    return run;
}

static void test_what_is_to_be_tried_again_before_it_is_failed_is_handed_out(void **state)
{
    struct world *w = *state;
    const char *id = world_publication(w, "instagram", "post-1", "processing", 20);
    struct outcome run = run_with_a_retry(w);

    assert_int_equal(json_integer_value(json_object_get(run.json, "marked_retry")), 1);
    assert_string_equal(
        world_sql(
            w,
            "select status, retry_count, next_retry_at - updated_at between interval '0.9 seconds' and"
            "  interval '1.1 seconds', extra_metadata ->> 'reconciliation_reason' from settle.publish_logs"),
        "retry|1|t|auto_retry");
    assert_string_equal(world_sql(w, "select metadata ->> 'action', metadata ->> 'reason', run_id is not null"
                                     " from settle.social_sync_ledger"),
                        "marked_retry|auto_retry|t");
    world_until(20, ngot(claim(w, "a", 1)) == 1); /* once its time has come */
    world_sql(w, "update settle.publish_logs set updated_at = now() - interval '20 minutes';"
                 "update settle.publish_leases set lease_until = now() - interval '20 minutes'");
    run_with_a_retry(w);
    assert_string_equal(status_of(w, id), "failed");
    assert_string_equal(
        world_sql(w, "select extra_metadata ->> 'reconciliation_reason' from settle.publish_logs"),
        "webhook_timeout");
}

/* A try that begins with the post of an earlier one is a try like any other. */
static void test_a_silent_workers_publication_goes_to_the_next_though_an_earlier_post_is_known(void **state)
{
    struct world *w = *state;
    const char *id;

    world_sql(w, "insert into settle.publish_logs (platform, user_id_str) values ('instagram', 'u')");
    id = got(claim(w, "a", 1), 0, "id");
    assert_int_equal(tell(w, id, "a", "failed", ",\"external_post_id\":\"post-1\"").status, 200);
    world_sql(w, "update settle.publish_logs set next_retry_at = now()");
    assert_int_equal(ngot(claim(w, "b", 1)), 1);
    assert_int_equal(ngot(claim(w, "c", 1)), 0); /* the lease holds */
    lease_is_over(w);
    world_sql(w, "update settle.publish_logs set external_post_id = 'post-2'"); /* b's, told by another way */
    assert_int_equal(ngot(claim(w, "c", 1)), 0);
    world_sql(w, "update settle.publish_logs set external_post_id = 'post-1'");
    assert_int_equal(ngot(claim(w, "c", 1)), 1);
    assert_int_equal(world_count(w, "select retry_count from settle.publish_logs"), 2);
    assert_int_equal(tell(w, id, "c", "processing", ",\"external_post_id\":\"post-3\"").status, 200);
    assert_int_equal(ngot(claim(w, "d", 1)), 0);
}

/* By what another tool has noted while its worker was silent. */
static void test_what_a_silent_worker_has_published_is_not_handed_out(void **state)
{
    struct world *w = *state;

    world_sql(w, "insert into settle.publish_logs (platform, user_id_str) values ('instagram', 'u')");
    assert_int_equal(ngot(claim(w, "dead", 1)), 1);
    world_sql(w, "update settle.publish_leases set lease_until = now() - interval '1 second';"
                 "update settle.publish_logs set extra_metadata ="
                 " '{\"webhook_received\": true, \"webhook_status\": \"published\"}'");
    assert_int_equal(ngot(claim(w, "b", 1)), 0);
    world_sql(w, "update settle.publish_logs set updated_at = now() - interval '11 minutes'");
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_string_equal(world_sql(w, "select status || ' ' || (extra_metadata ->> 'reconciliation_reason')"
                                     " from settle.publish_logs"),
                        "success webhook_confirmed");
}

/* ---- results ---- */

static void test_a_failure_is_tried_again_while_it_may_be(void **state)
{
    struct world *w = *state;
    const char *id;
    struct reply r;

    world_sql(w, "insert into settle.publish_logs (platform, user_id_str) values ('instagram', 'u')");
    for (unsigned i = 1; i <= 3; i++) {
        world_sql(w, "update settle.publish_logs set next_retry_at = now()");
        r = claim(w, "a", 1);
        assert_int_equal(ngot(r), 1);
        id = got(r, 0, "id");
        assert_int_equal(tell(w, id, "a", "failed", ",\"error\":\"quota\"").status, 200);
        assert_int_equal(world_count(w, "select retry_count from settle.publish_logs"), i);
        assert_string_equal(status_of(w, id), i < 3 ? "retry" : "failed");
        assert_int_equal(tell(w, id, "a", "failed", ",\"error\":\"quota\"").status, 200); /* told again */
        assert_int_equal(world_count(w, "select retry_count from settle.publish_logs"), i);
    }
    assert_string_equal(world_sql(w,
                                  "select extra_metadata ->> 'reconciliation_reason' || '|' || error_message"
                                  " from settle.publish_logs"),
                        "worker_reported_failure|quota");
}

static void test_the_wait_before_the_next_try_doubles(void **state)
{
    struct world *w = *state;

    for (unsigned i = 0; i < 8; i++) {
        const char *id = publication(w, "processing", 1);
        long wait_ms, base_ms = 1000L << i > 60000 ? 60000 : 1000L << i;

        world_sql(w, "update settle.publish_logs set retry_count = %u, max_retries = 20 where id = '%s'", i,
                  id);
        assert_int_equal(tell(w, id, "a", "failed", "").status, 200);
        wait_ms = world_count(w,
                              "select (extract(epoch from next_retry_at - updated_at) * 1000)::bigint"
                              " from settle.publish_logs where id = '%s'",
                              id);
        assert_in_range(wait_ms, base_ms * 9 / 10 - 1, base_ms * 11 / 10 + 1);
    }
}

static void test_a_permanent_failure_is_final(void **state)
{
    struct world *w = *state;
    const char *id = world_publication(w, "instagram", "post-1", "processing", 1);

    assert_int_equal(tell(w, id, "a", "failed", ",\"permanent\":true,\"error\":\"banned\"").status, 200);
    assert_string_equal(status_of(w, id), "failed");
}

static void test_a_post_belongs_to_one_publication(void **state)
{
    struct world *w = *state;
    const char *other = world_publication(w, "instagram", "post-1", "processing", 1);
    const char *id = publication(w, "processing", 1);
    struct reply r = tell(w, id, "a", "processing", ",\"external_post_id\":\"post-1\"");

    assert_conflict(&r, "post_taken");
    assert_string_equal(status_of(w, other), "processing");
}

/* ---- the SQL decides as the function does ---- */

/* What a settled row rests on, and how old that is against the worker's word; minutes. */
static const struct settled {
    const char *reason;
    enum rests rests;
    enum pub_state state;
    int age; /* of its evidence; negative: later than the worker's word */
} settled[] = {
    {"webhook_timeout",          RESTS_TIMEOUT,   PUB_FAILED,  0 },
    {"webhook_confirmed",        RESTS_EVIDENCE,  PUB_SUCCESS, 5 },
    {"webhook_confirmed",        RESTS_EVIDENCE,  PUB_SUCCESS, -5},
    {"webhook_reported_failure", RESTS_EVIDENCE,  PUB_FAILED,  5 },
    {"webhook_reported_failure", RESTS_EVIDENCE,  PUB_FAILED,  -5},
    {"late_webhook",             RESTS_EVIDENCE,  PUB_SUCCESS, 5 },
    {"poll_confirmed",           RESTS_EVIDENCE,  PUB_SUCCESS, 5 },
    {"poll_reported_failure",    RESTS_EVIDENCE,  PUB_FAILED,  -5},
    {"worker_reported_success",  RESTS_EVIDENCE,  PUB_SUCCESS, 5 },
    {"manual_override",          RESTS_OVERRIDE,  PUB_SUCCESS, 5 },
    {"manual_override",          RESTS_OVERRIDE,  PUB_FAILED,  5 },
    {"webhook_timeout",          RESTS_ELSEWHERE, PUB_SUCCESS, 5 },
    {"",                         RESTS_ELSEWHERE, PUB_SUCCESS, 5 },
    {"by_hand",                  RESTS_ELSEWHERE, PUB_FAILED,  5 },
};

static void test_a_word_about_a_settled_one_is_weighed_as_the_function_weighs(void **state)
{
    struct world *w = *state;

    for (size_t i = 0; i < countof(settled); i++)
        for (int decisive = -1; decisive <= 1; decisive += 2) {
            const struct settled *s = &settled[i];
            int64_t now_us = now_wall_us();
            const struct evidence says = {true, decisive, now_us, SPAN("k"), WITNESS_WORKER};
            const struct publication p = {
                .state = s->state,
                .rests = s->rests,
                .rests_on = {true, s->state == PUB_SUCCESS ? 1 : -1, now_us - s->age * MINUTE_US, SPAN(""),
                             WITNESS_WEBHOOK}
            };
            const struct verdict_rules rules = {0};
            struct verdict v = verdict_of(&p, &says, &rules);
            const char *want = v.action == ACT_NONE      ? pub_state_name(s->state)
                               : v.action == ACT_SUCCESS ? "success"
                                                         : "failed";
            const char *id = publication(w, pub_state_name(s->state), 30);

            world_sql(w,
                      "update settle.publish_logs set extra_metadata = "
                      "jsonb_build_object('reconciliation_reason', '%s',"
                      " 'evidence_at', now() - interval '%d minutes', 'evidence_key', '') where id = '%s'",
                      s->reason, s->age, id);
            assert_int_equal(tell(w, id, "a", decisive > 0 ? "success" : "failed", "").status, 200);
            if (strcmp(status_of(w, id), want) != 0)
                fail_msg("%s %s, age %d, told %d: %s in SQL, %s by the function", pub_state_name(s->state),
                         s->reason, s->age, decisive, status_of(w, id), want);
            assert_int_equal(
                world_count(w,
                            "select count(*) from settle.publish_logs where id = '%s' and"
                            " extra_metadata ->> 'reconciliation_reason' like 'worker\\_reported%%'",
                            id),
                v.action != ACT_NONE || span_eq(span_of(s->reason), SPAN("worker_reported_success")));
        }
}

static struct outcome person(struct world *w, const char *id, const char *status)
{
    return world_wait(w,
                      world_spawn(w, "settle-reconciler", "override", id, status, "--reason", "test", NULL));
}

static void test_a_word_that_a_persons_outweighs_counts_when_that_is_taken_back(void **state)
{
    struct world *w = *state;
    const char *id = publication(w, "processing", 1);

    assert_int_equal(person(w, id, "success").status, 0);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(tell(w, id, "a", "failed", ",\"permanent\":true").status, 200);
    assert_string_equal(status_of(w, id), "success");
    assert_int_equal(
        world_count(w, "select count(*) from settle.publication_reports where witness = 'worker'"), 1);
    assert_int_equal(person(w, id, "none").status, 0);
    assert_string_equal(
        world_sql(w, "select status, extra_metadata ->> 'reconciliation_reason' from settle.publish_logs"),
        "failed|worker_reported_failure");
}

/* Of a try that had no post, and has none still: the same try. */
static void test_so_does_one_that_names_no_post(void **state)
{
    struct world *w = *state;
    const char *id;

    world_sql(w, "insert into settle.publish_logs (platform, user_id_str) values ('instagram', 'u')");
    id = got(claim(w, "a", 1), 0, "id");
    assert_int_equal(person(w, id, "success").status, 0);
    assert_int_equal(tell(w, id, "a", "failed", ",\"permanent\":true").status, 200);
    assert_int_equal(person(w, id, "none").status, 0);
    assert_string_equal(status_of(w, id), "failed");
}

/* What a worker says of a publication that a person has called failed, naming no post: whether it was sent. */
static void test_what_was_sent_while_a_persons_word_stands_is_not_sent_again(void **state)
{
    static const struct {
        const char *told;
        size_t handed_out; /* once the person's word is taken back and the lease is over */
    } cases[] = {
        {"processing", 0},
        {"failed",     1},
    };
    struct world *w = *state;

    for (size_t i = 0; i < countof(cases); i++) {
        const char *id;

        world_reset(w);
        world_sql(w, "insert into settle.publish_logs (platform, user_id_str) values ('instagram', 'u')");
        id = got(claim(w, "a", 1), 0, "id");
        assert_int_equal(person(w, id, "failed").status, 0);
        assert_int_equal(tell(w, id, "another", "processing", "").status, 200); /* it does not have it */
        assert_int_equal(world_count(w, "select count(*) from settle.publish_leases"), 1);
        assert_int_equal(tell(w, id, "a", cases[i].told, "").status, 200);
        assert_int_equal(person(w, id, "none").status, 0);
        assert_string_equal(status_of(w, id), "processing");
        lease_is_over(w);
        assert_int_equal(ngot(claim(w, "b", 1)), cases[i].handed_out);
    }
}

static void webhook_about(struct world *w, const char *post)
{
    world_sql(
        w,
        "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id,"
        "  decisive, event_status, received_at, headers, body) values (decode(repeat('ab', 32), 'hex'),"
        "  'default', 'instagram', gen_random_uuid(), '%s', 1, 'published', now(), '', '')",
        post);
}

/* What a worker says of a publication that a person has called failed, while it had no post. */
static const struct named {
    const char *told, *post;
    bool webhook;     /* comes meanwhile */
    const char *want; /* once the person's word is taken back */
} named[] = {
    {"processing", "post-1", true,  "success|webhook_confirmed"      },
    {"processing", "post-1", false, "processing|"                    },
    {"success",    "post-2", false, "success|worker_reported_success"},
    {"failed",     "post-3", true,  "success|webhook_confirmed"      },
};

static void test_a_post_that_comes_while_a_persons_word_stands_is_the_publications(void **state)
{
    static const char row[] = "select to_jsonb(p) - 'external_post_id' from settle.publish_logs as p";
    struct world *w = *state;

    for (size_t i = 0; i < countof(named); i++) {
        const struct named *n = &named[i];
        char before[4096], post[64];
        const char *id;

        world_reset(w);
        world_sql(w, "insert into settle.publish_logs (platform, user_id_str) values ('instagram', 'u')");
        id = got(claim(w, "a", 1), 0, "id");
        assert_int_equal(person(w, id, "failed").status, 0);
        snprintf(before, sizeof(before), "%s", world_sql(w, row));
        snprintf(post, sizeof(post), ",\"external_post_id\":\"%s\"", n->post);
        assert_int_equal(tell(w, id, "another", n->told, post).status, 200);
        assert_string_equal(world_sql(w, "select external_post_id from settle.publish_logs"), "");
        for (unsigned again = 0; again < 2; again++) {
            struct reply r = tell(w, id, "a", n->told, post);

            assert_int_equal(r.status, 200);
            assert_string_equal(json_string_value(json_object_get(r.json, "external_post_id")), n->post);
        }
        assert_string_equal(world_sql(w, "select external_post_id from settle.publish_logs"), n->post);
        assert_string_equal(world_sql(w, row), before);
        assert_int_equal(world_count(w, "select count(*) from settle.social_sync_ledger"
                                        " where event_type = 'publish_worker_log_named' and worker_id = 'a'"),
                         1);
        if (n->webhook)
            webhook_about(w, n->post);
        assert_int_equal(person(w, id, "none").status, 0);
        assert_string_equal(
            world_sql(w, "select status || '|' || coalesce(extra_metadata ->> 'reconciliation_reason', '')"
                         " from settle.publish_logs"),
            n->want);
        world_sql(w, "update settle.publish_leases set lease_until = now() - interval '1 second'");
        assert_int_equal(ngot(claim(w, "b", 1)), 0); /* it was sent */
    }
}

/* Looked at while the publication was too young to be settled, and older than what the next run looks at again. */
static void test_a_word_gives_way_to_a_stronger_webhook_that_came_before(void **state)
{
    struct world *w = *state;
    const char *id = world_publication(w, "instagram", "post-1", "retry", 5);

    assert_int_equal(ngot(claim(w, "a", 1)), 1);
    world_sql(
        w, "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id,"
           "  decisive, event_status, happened_at, received_at, headers, body)"
           " values (decode(repeat('ab', 32), 'hex'), 'default', 'instagram', gen_random_uuid(), 'post-1', 1,"
           "  'published', now(), now(), '', '')");
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    world_sql(w, "update settle.webhook_receipts set stored_at = now() - interval '5 minutes'");
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(
            tell(w, id, "a", "failed", ",\"permanent\":true,\"happened_at\":\"2026-01-01T00:00:00Z\"").status,
            200);
    assert_string_equal(status_of(w, id), "processing");
    assert_int_equal(world_count(w, "select count(*) from settle.publication_reports"), 1);
    world_sql(w, "update settle.publish_logs set updated_at = now() - interval '11 minutes'");
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_string_equal(status_of(w, id), "success");
}

/* ---- a worker that takes long ---- */

/* until: minutes from now. */
static void lease_until(struct world *w, int until)
{
    world_sql(w,
              "update settle.publish_leases set lease_until = now() + %d * interval '1 minute';"
              "update settle.publish_logs set updated_at = now() - interval '30 minutes'",
              until);
}

static void test_what_a_worker_holds_is_not_timed_out(void **state)
{
    struct world *w = *state;
    const char *id;

    world_sql(w, "insert into settle.publish_logs (platform, user_id_str) values ('instagram', 'u')");
    id = got(claim(w, "a", 1), 0, "id");
    lease_until(w, 60);
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_string_equal(status_of(w, id), "processing");
    lease_until(w, -5); /* another may take it now */
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_string_equal(status_of(w, id), "processing");
    lease_until(w, -11);
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_string_equal(status_of(w, id), "failed");
}

/* A publication that was failed, and what a worker says of it afterwards: post-2. */
static const struct reopened {
    const char *reason, *leased_to, *post, *want;
} reopened[] = {
    {"webhook_timeout",          "a",  "null",     "processing post-2"},
    {"webhook_timeout",          NULL, "null",     "processing post-2"},
    {"webhook_timeout",          NULL, "'post-1'", "processing post-2"},
    {"webhook_timeout",          "a",  "'post-2'", "processing post-2"},
    {"webhook_timeout",          NULL, "'post-2'", "failed post-2"    }, /* it had said so before */
    {"webhook_timeout",          "b",  "null",     "failed"           }, /* refused: the other may still tell */
    {"webhook_reported_failure", "a",  "'post-1'",
     "processing post-2"                                              }, /* what failed is the post of an earlier try */
    {"webhook_reported_failure", NULL, "'post-1'", "failed post-1"    },
    {"webhook_reported_failure", "a",  "'post-2'", "failed post-2"    },
    {"manual_override",          "a",  "'post-1'", "failed post-2"    },
    {"",                         "a",  "null",     "failed"           },
};

static void test_a_post_that_comes_after_the_time_out_opens_it_again(void **state)
{
    struct world *w = *state;

    for (size_t i = 0; i < countof(reopened); i++) {
        const struct reopened *r = &reopened[i];
        const char *id = publication(w, "failed", 30);

        world_sql(w,
                  "delete from settle.publish_logs where id <> '%s'; delete from settle.publish_leases;"
                  "update settle.publish_logs set external_post_id = %s, settled_at = updated_at,"
                  " error_message = 'No webhook received after 10 minutes', extra_metadata ="
                  " jsonb_build_object('reconciled', true, 'reconciliation_reason', '%s')",
                  id, r->post, r->reason);
        if (r->leased_to)
            world_sql(w,
                      "insert into settle.publish_leases (id, source, platform, worker_id, lease_until)"
                      " values ('%s', 'default', 'instagram', '%s', now() - interval '1 hour')",
                      id, r->leased_to);
        for (unsigned again = 0; again < 2; again++) {
            const char *found;

            assert_int_equal(tell(w, id, "a", "processing", ",\"external_post_id\":\"post-2\"").status,
                             r->leased_to && *r->leased_to == 'b' ? 409 : 200);
            found = world_sql(w, "select concat_ws(' ', status, external_post_id) from settle.publish_logs");
            if (strcmp(found, r->want) != 0)
                fail_msg("%s, leased to %s, post %s: %s", r->reason, r->leased_to ? r->leased_to : "none",
                         r->post, found);
        }
    }
}

static void test_the_webhook_of_such_a_post_settles_it(void **state)
{
    struct world *w = *state;
    const char *id;

    world_sql(w, "insert into settle.publish_logs (platform, user_id_str) values ('instagram', 'u')");
    id = got(claim(w, "a", 1), 0, "id");
    lease_until(w, -11);
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_string_equal(status_of(w, id), "failed");
    assert_int_equal(tell(w, id, "a", "processing", ",\"external_post_id\":\"post-1\"").status, 200);
    assert_string_equal(world_sql(w,
                                  "select concat_ws('|', status, error_message, settled_at,"
                                  "  extra_metadata ->> 'reconciled',"
                                  "  extra_metadata ->> 'reconciliation_reason') from settle.publish_logs"),
                        "processing");
    webhook_about(w, "post-1");
    assert_int_equal(world_reconcile(w, "--evidence-age-minutes", "0", NULL).status, 0);
    assert_string_equal(status_of(w, id), "success");
}

/* ---- a worker that was thought dead ---- */

/* What the late one says of a publication that its successor has sent, and in which state that is by then. */
static const struct late {
    const char *state, *word, *rest;
} late[] = {
    {"processing", "processing", ",\"external_post_id\":\"post-a\""},
    {"processing", "success",    ",\"external_post_id\":\"post-a\""},
    {"processing", "failed",     ""                                }, /* it would be sent once more */
    {"retry",      "processing", ",\"external_post_id\":\"post-a\""},
    {"failed",     "processing", ",\"external_post_id\":\"post-a\""},
    {"failed",     "success",    ",\"external_post_id\":\"post-a\""},
    {"success",    "failed",     ",\"permanent\":true"             },
};

static const char *sent_by_the_second(struct world *w)
{
    const char *id;

    world_reset(w);
    world_sql(w, "insert into settle.publish_logs (platform, user_id_str) values ('instagram', 'u')");
    id = got(claim(w, "a", 1), 0, "id");
    world_sql(w, "update settle.publish_leases set lease_until = now() - interval '1 second'");
    assert_int_equal(ngot(claim(w, "b", 1)), 1);
    assert_int_equal(tell(w, id, "b", "processing", ",\"external_post_id\":\"post-b\"").status, 200);
    return id;
}

static void test_a_late_worker_does_not_take_its_successors_post(void **state)
{
    static const char row[] = "select to_jsonb(p)::text from settle.publish_logs as p";
    struct world *w = *state;

    for (size_t i = 0; i < countof(late); i++) {
        const struct late *l = &late[i];
        const char *id = sent_by_the_second(w);
        char before[4096];
        struct reply r;

        world_sql(w,
                  "update settle.publish_logs set status = '%s', extra_metadata = case '%s'"
                  " when 'failed' then '{\"reconciliation_reason\": \"webhook_timeout\"}'::jsonb"
                  " when 'success' then jsonb_build_object('reconciliation_reason', 'webhook_confirmed',"
                  "  'evidence_at', now() - interval '1 minute', 'evidence_key', '') else '{}' end",
                  l->state, l->state);
        snprintf(before, sizeof(before), "%s", world_sql(w, row));
        for (unsigned again = 0; again < 2; again++) {
            r = tell(w, id, "a", l->word, l->rest);
            assert_conflict(&r, "lease_lost");
            assert_string_equal(world_sql(w, row), before);
        }
        assert_int_equal(world_count(w, "select count(*) from settle.social_sync_ledger where event_type ="
                                        " 'publish_worker_log_refused' and worker_id = 'a'"
                                        " and metadata ->> 'external_post_id' is not null"),
                         2);
        assert_int_equal(tell(w, id, "b", "success", ",\"external_post_id\":\"post-b2\"").status, 200);
        assert_string_equal(world_sql(w, "select status || ' ' || external_post_id from settle.publish_logs"),
                            "success post-b2");
    }
}

/* The successor may have sent it without a name: to send it again would be once too often. */
static void test_a_late_worker_is_overtaken_also_where_no_post_is_known(void **state)
{
    static const char *const words[] = {"failed", "success", "processing"};
    struct world *w = *state;

    for (size_t i = 0; i < countof(words); i++) {
        const char *id;
        struct reply r;

        world_reset(w);
        world_sql(w, "insert into settle.publish_logs (platform, user_id_str) values ('instagram', 'u')");
        id = got(claim(w, "a", 1), 0, "id");
        world_sql(w, "update settle.publish_leases set lease_until = now() - interval '1 second'");
        assert_int_equal(ngot(claim(w, "b", 1)), 1);
        assert_int_equal(tell(w, id, "b", "processing", "").status, 200);
        r = tell(w, id, "a", words[i], ",\"external_post_id\":\"post-a\"");
        assert_conflict(&r, "lease_lost");
        assert_string_equal(status_of(w, id), "processing");
        assert_int_equal(tell(w, id, "b", "success", ",\"external_post_id\":\"post-b\"").status, 200);
    }
}

/* A worker that was started anew has another name, and need not know what the one before has claimed. */
static void test_who_never_took_it_may_speak_while_nobody_has_it(void **state)
{
    struct world *w = *state;
    const char *id;

    world_sql(w, "insert into settle.publish_logs (platform, user_id_str) values ('instagram', 'u')");
    id = got(claim(w, "host-1", 1), 0, "id");
    assert_int_equal(tell(w, id, "host-1", "processing", ",\"external_post_id\":\"container\"").status, 200);
    assert_int_equal(tell(w, id, "host-2", "success", ",\"external_post_id\":\"media\"").status, 200);
    assert_string_equal(world_sql(w, "select status || ' ' || external_post_id from settle.publish_logs"),
                        "success media");
}

/* A claim that commits while a result waits for it has given the lease away, which that result's snapshot does not show. */
static void test_a_result_that_waited_for_a_claim_is_too_late(void **state)
{
    static const char claims[] =
        "begin;"
        "update settle.publish_logs set updated_at = now() where id = '%s';"
        "update settle.publish_leases set worker_id = 'b', lease_until = now() + interval '1 hour';"
        "do $$ begin while not exists (select from pg_stat_activity where wait_event_type = 'Lock') loop"
        " perform pg_sleep(0.01), pg_stat_clear_snapshot(); end loop; end $$;"
        "commit";
    static const char *const words[] = {"failed", "success"};
    struct world *w = *state;

    for (size_t i = 0; i < countof(words); i++) {
        const char *id;
        char sql[800];
        struct process other;
        struct reply r;

        world_reset(w);
        world_sql(w, "insert into settle.publish_logs (platform, user_id_str) values ('instagram', 'u')");
        id = got(claim(w, "a", 1), 0, "id");
        world_sql(w, "update settle.publish_leases set lease_until = now() - interval '1 second'");
        snprintf(sql, sizeof(sql), claims, id);
        other = world_spawn(w, "psql", "-XqAt", w->database_url, "-U", "postgres", "-c", sql, NULL);
        world_until(20,
                    world_count(w, "select count(*) from pg_locks where relation ="
                                   " 'settle.publish_leases'::regclass and mode = 'RowExclusiveLock'") > 0);
        r = tell(w, id, "a", words[i], "");
        assert_int_equal(world_wait(w, other).status, 0);
        assert_conflict(&r, "lease_lost");
        assert_string_equal(world_sql(w, "select status || ' ' || worker_id from settle.publish_logs"
                                         " join settle.publish_leases using (id, source)"),
                            "processing b");
    }
}

/* The first take was dated by a clock that was a day ahead. */
static void test_who_took_it_last_is_not_told_by_the_clock(void **state)
{
    struct world *w = *state;
    const char *id;
    struct reply r;

    world_sql(w, "insert into settle.publish_logs (platform, user_id_str) values ('instagram', 'u')");
    id = got(claim(w, "a", 1), 0, "id");
    world_sql(w, "update settle.social_sync_ledger set timestamp = now() + interval '1 day'");
    lease_is_over(w);
    assert_int_equal(ngot(claim(w, "b", 1)), 1);
    assert_int_equal(tell(w, id, "b", "processing", ",\"external_post_id\":\"post-b\"").status, 200);
    assert_int_equal(tell(w, id, "b", "success", ",\"external_post_id\":\"post-b2\"").status, 200);
    r = tell(w, id, "a", "success", ",\"external_post_id\":\"post-a\"");
    assert_conflict(&r, "lease_lost");
    assert_string_equal(world_sql(w, "select external_post_id from settle.publish_logs"), "post-b2");
}

/* When it is tried next, hours from the failure that led to that, and that failure, hours from now: where both lie in the
 * future, its clock was ahead. */
static const struct next_try {
    const char *failed_in, *next_in, *column;
    bool due;
} next_tries[] = {
    {"1 day",     "1 day 2 seconds",    "last_retry_at",   true },
    {"1 day",     "1 day 2 seconds",    "auto_retried_at", true },
    {"1 day",     "10 days",            "last_retry_at",   false}, /* somebody has chosen it */
    {"1 day",     "10 days",            "auto_retried_at", false},
    {"-1 minute", "9 days",             "last_retry_at",   false},
    {"1 minute",  "1 minute 2 seconds", "last_retry_at",   false}, /* it will be due soon */
};

static void test_a_next_try_by_a_clock_that_was_ahead_is_none(void **state)
{
    struct world *w = *state;

    for (size_t i = 0; i < 2 * countof(next_tries); i++) {
        const struct next_try *n = &next_tries[i / 2];
        const char *id = world_publication(w, "instagram", "post-1", "retry", 20);
        bool acts;

        world_sql(w,
                  "update settle.publish_logs set next_retry_at = now() + interval '%s',"
                  " last_retry_at = case '%s' when 'last_retry_at' then now() + interval '%s' end,"
                  " extra_metadata = case '%s' when 'auto_retried_at' then"
                  "  jsonb_build_object('auto_retried_at', now() + interval '%s') else '{}' end",
                  n->next_in, n->column, n->failed_in, n->column, n->failed_in);
        if (i % 2 == 0) {
            acts = ngot(claim(w, "a", 1)) == 1;
            assert_string_equal(world_sql(w, "select next_retry_at is null from settle.publish_logs"),
                                acts ? "t" : "f");
        } else {
            assert_int_equal(world_reconcile(w, NULL).status, 0);
            acts = strcmp(status_of(w, id), "failed") == 0;
        }
        if (acts != n->due)
            fail_msg("failed in %s, tried in %s, by %s: %s", n->failed_in, n->next_in, n->column,
                     acts ? "due" : "waits");
        world_reset(w);
    }
}

static void test_a_failure_for_good_is_heard_also_while_it_waits_for_a_try(void **state)
{
    struct world *w = *state;
    const char *id;

    world_sql(w, "insert into settle.publish_logs (platform, user_id_str) values ('instagram', 'u')");
    id = got(claim(w, "a", 1), 0, "id");
    assert_int_equal(tell(w, id, "a", "failed", "").status, 200);
    assert_string_equal(status_of(w, id), "retry");
    assert_int_equal(tell(w, id, "a", "failed", "").status, 200);
    assert_int_equal(world_count(w, "select retry_count from settle.publish_logs"), 1); /* told again */
    assert_int_equal(tell(w, id, "a", "failed", ",\"permanent\":true,\"error\":\"banned\"").status, 200);
    assert_string_equal(world_sql(w, "select status || ' ' || error_message from settle.publish_logs"),
                        "failed banned");
}

/* A client that got no answer sends it once more, whatever has come meanwhile. */
static void test_a_result_that_is_sent_again_changes_nothing(void **state)
{
    static const char row[] =
        "select to_jsonb(p)::text || (select count(*) from settle.publication_reports)"
        " || (select count(*) from settle.social_sync_ledger) from settle.publish_logs as p";
    struct world *w = *state;
    const char *id;
    char before[4096];

    world_sql(w, "insert into settle.publish_logs (platform, user_id_str, external_post_id)"
                 " values ('instagram', 'u', 'post-1')");
    id = got(claim(w, "a", 1), 0, "id");
    assert_int_equal(tell(w, id, "a", "success", "").status, 200);
    snprintf(before, sizeof(before), "%s", world_sql(w, row));
    assert_int_equal(tell(w, id, "a", "success", "").status, 200);
    assert_string_equal(world_sql(w, row), before);
    webhook_about(w, "post-1");
    world_sql(w, "update settle.webhook_receipts set decisive = -1, event_status = 'failed'");
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_string_equal(status_of(w, id), "failed");
    assert_int_equal(tell(w, id, "a", "success", "").status, 200); /* no later than it was the first time */
    assert_string_equal(status_of(w, id), "failed");
}

/* What has read a row before goes by updated_at: whether it is as it was. */
static void test_a_word_that_a_settled_one_rests_on_from_now_shows(void **state)
{
    struct world *w = *state;
    const char *id = world_publication(w, "instagram", "post-1", "processing", 30);

    webhook_about(w, "post-1");
    world_sql(w, "update settle.webhook_receipts set happened_at = now() - interval '20 minutes'");
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    world_sql(w, "update settle.publish_logs set updated_at = now() - interval '5 minutes'");
    assert_int_equal(tell(w, id, "a", "success", "").status, 200);
    assert_string_equal(
        world_sql(
            w, "select extra_metadata ->> 'reconciliation_reason', updated_at > now() - interval '4 minutes'"
               " from settle.publish_logs"),
        "worker_reported_success|t");
}

/* It is weaker than what a webhook has said, and on record all the same. */
static void test_a_word_that_does_not_count_now_is_kept(void **state)
{
    struct world *w = *state;
    const char *id = world_publication(w, "instagram", "post-1", "processing", 5);

    webhook_about(w, "post-1");
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(
            tell(w, id, "a", "failed", ",\"permanent\":true,\"happened_at\":\"2026-01-01T00:00:00Z\"").status,
            200);
    assert_string_equal(world_sql(w, "select status from settle.publish_logs"), "processing");
    assert_string_equal(
        world_sql(w, "select count(*), min(decisive), min(status) from settle.publication_reports"),
        "1|-1|failed");
    assert_int_equal(world_count(w, "select count(*) from settle.social_sync_ledger"), 1);
}

/* Whose clock is ahead must not be right for ever. */
static void test_what_has_not_happened_yet_happens_now(void **state)
{
    struct world *w = *state;
    const char *id;

    world_sql(w, "insert into settle.publish_logs (platform, user_id_str, external_post_id)"
                 " values ('instagram', 'u', 'post-1')");
    id = got(claim(w, "a", 1), 0, "id");
    assert_int_equal(
        tell(w, id, "a", "failed", ",\"permanent\":true,\"happened_at\":\"2999-12-31T00:00:00Z\"").status,
        200);
    webhook_about(w, "post-1");
    assert_int_equal(world_reconcile(w, "--evidence-age-minutes", "0", NULL).status, 0);
    assert_string_equal(status_of(w, id), "success");
}

static void test_a_post_that_is_not_taken_is_in_the_ledger(void **state)
{
    struct world *w = *state;
    const char *id;

    world_sql(w, "insert into settle.publish_logs (platform, user_id_str, external_post_id)"
                 " values ('instagram', 'u', 'post-1')");
    id = got(claim(w, "a", 1), 0, "id");
    assert_int_equal(tell(w, id, "a", "success", "").status, 200);
    assert_int_equal(tell(w, id, "a", "processing", ",\"external_post_id\":\"post-2\"").status, 200);
    assert_string_equal(world_sql(w, "select status || ' ' || external_post_id from settle.publish_logs"),
                        "success post-1");
    assert_int_equal(
        world_count(w, "select count(*) from settle.social_sync_ledger where event_type ="
                       " 'publish_worker_log_unused' and metadata ->> 'external_post_id' = 'post-2'"),
        1);
}

static void test_whoever_names_the_post_may_speak_of_it(void **state)
{
    struct world *w = *state;
    const char *id = sent_by_the_second(w);

    assert_int_equal(tell(w, id, "c", "success", ",\"external_post_id\":\"post-b\"").status, 200);
    assert_string_equal(status_of(w, id), "success");
}

/* ---- what the platform has said before ---- */

/* An answer that is stored, how long after what the worker tells; a negative age: before. */
static const struct answered {
    const char *witness, *permanent;
    int later_s;
    const char *at_once, *after_a_run;
} answered[] = {
    {"poll",    "true",  60,  "processing", "success poll_confirmed"        },
    {"poll",    "true",  -60, "failed",     "failed worker_reported_failure"},
    {"poll",    "false", 60,  "processing", "success poll_confirmed"        },
    {"poll",    "false", -60, "processing",
     "success poll_confirmed"                                               }, /* what may be tried again decides nothing */
    {"webhook", "false", -60, "processing", "success webhook_confirmed"     },
};

static void test_a_word_is_weighed_against_what_the_platform_has_answered(void **state)
{
    struct world *w = *state;

    for (size_t i = 0; i < countof(answered); i++) {
        const struct answered *a = &answered[i];
        const char *id, *found;
        char rest[128];

        world_reset(w);
        id = world_publication(w, "instagram", "post-1", "processing", 5);
        if (strcmp(a->witness, "webhook") == 0)
            world_sql(w,
                      "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id,"
                      "  external_post_id, decisive, event_status, happened_at, received_at, headers, body)"
                      " values (decode(repeat('ab', 32), 'hex'), 'default', 'instagram', gen_random_uuid(),"
                      "  'post-1', 1, 'published', '2026-01-01T00:00:00Z'::timestamptz + %d * interval '1 s',"
                      "  now(), '', '')",
                      a->later_s);
        else
            world_sql(w,
                      "insert into settle.publication_reports (source, log_id, platform, external_post_id,"
                      "  witness, status, decisive, happened_at, actor) values ('default', '%s', 'instagram',"
                      "  'post-1', 'poll', 'FINISHED', 1,"
                      "  '2026-01-01T00:00:00Z'::timestamptz + %d * interval '1 s', 'test')",
                      id, a->later_s);
        snprintf(rest, sizeof(rest), ",\"permanent\":%s,\"happened_at\":\"2026-01-01T00:00:00Z\"",
                 a->permanent);
        for (unsigned again = 0; again < 2; again++) {
            assert_int_equal(tell(w, id, "a", "failed", rest).status, 200);
            assert_string_equal(status_of(w, id), a->at_once);
        }
        assert_int_equal(ngot(claim(w, "b", 1)), 0);
        world_sql(w, "update settle.publish_logs set updated_at = now() - interval '11 minutes'");
        assert_int_equal(world_reconcile(w, NULL).status, 0);
        found = world_sql(w, "select status || ' ' || (extra_metadata ->> 'reconciliation_reason')"
                             " from settle.publish_logs");
        if (strcmp(found, a->after_a_run) != 0)
            fail_msg("%s %s %d: %s", a->witness, a->permanent, a->later_s, found);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_worker_gets_what_is_due_and_nothing_else, reset),
        cmocka_unit_test_setup(test_what_evidence_has_decided_is_not_handed_out, reset),
        cmocka_unit_test_setup(test_what_a_poll_has_decided_is_not_handed_out, reset),
        cmocka_unit_test_setup(test_what_a_note_leaves_open_is_handed_out, reset),
        cmocka_unit_test_setup(test_a_crowd_of_workers_shares_without_doubles, reset),
        cmocka_unit_test_setup(test_a_silent_workers_publication_goes_to_the_next_and_its_word_is_refused,
                               reset),
        cmocka_unit_test_setup(test_what_a_worker_still_has_is_not_handed_out_though_it_was_sent_back, reset),
        cmocka_unit_test_setup(test_it_is_not_handed_out_for_ever_nor_once_its_post_is_known, reset),
        cmocka_unit_test_setup(test_what_is_to_be_tried_again_before_it_is_failed_is_handed_out, reset),
        cmocka_unit_test_setup(
            test_a_silent_workers_publication_goes_to_the_next_though_an_earlier_post_is_known, reset),
        cmocka_unit_test_setup(test_what_a_silent_worker_has_published_is_not_handed_out, reset),
        cmocka_unit_test_setup(test_a_failure_is_tried_again_while_it_may_be, reset),
        cmocka_unit_test_setup(test_the_wait_before_the_next_try_doubles, reset),
        cmocka_unit_test_setup(test_a_permanent_failure_is_final, reset),
        cmocka_unit_test_setup(test_a_post_belongs_to_one_publication, reset),
        cmocka_unit_test_setup(test_a_word_about_a_settled_one_is_weighed_as_the_function_weighs, reset),
        cmocka_unit_test_setup(test_a_word_that_a_persons_outweighs_counts_when_that_is_taken_back, reset),
        cmocka_unit_test_setup(test_so_does_one_that_names_no_post, reset),
        cmocka_unit_test_setup(test_what_was_sent_while_a_persons_word_stands_is_not_sent_again, reset),
        cmocka_unit_test_setup(test_a_post_that_comes_while_a_persons_word_stands_is_the_publications, reset),
        cmocka_unit_test_setup(test_a_word_gives_way_to_a_stronger_webhook_that_came_before, reset),
        cmocka_unit_test_setup(test_what_a_worker_holds_is_not_timed_out, reset),
        cmocka_unit_test_setup(test_a_post_that_comes_after_the_time_out_opens_it_again, reset),
        cmocka_unit_test_setup(test_the_webhook_of_such_a_post_settles_it, reset),
        cmocka_unit_test_setup(test_a_late_worker_does_not_take_its_successors_post, reset),
        cmocka_unit_test_setup(test_a_late_worker_is_overtaken_also_where_no_post_is_known, reset),
        cmocka_unit_test_setup(test_who_never_took_it_may_speak_while_nobody_has_it, reset),
        cmocka_unit_test_setup(test_a_result_that_waited_for_a_claim_is_too_late, reset),
        cmocka_unit_test_setup(test_who_took_it_last_is_not_told_by_the_clock, reset),
        cmocka_unit_test_setup(test_a_next_try_by_a_clock_that_was_ahead_is_none, reset),
        cmocka_unit_test_setup(test_a_failure_for_good_is_heard_also_while_it_waits_for_a_try, reset),
        cmocka_unit_test_setup(test_a_result_that_is_sent_again_changes_nothing, reset),
        cmocka_unit_test_setup(test_a_word_that_a_settled_one_rests_on_from_now_shows, reset),
        cmocka_unit_test_setup(test_a_word_that_does_not_count_now_is_kept, reset),
        cmocka_unit_test_setup(test_what_has_not_happened_yet_happens_now, reset),
        cmocka_unit_test_setup(test_a_post_that_is_not_taken_is_in_the_ledger, reset),
        cmocka_unit_test_setup(test_whoever_names_the_post_may_speak_of_it, reset),
        cmocka_unit_test_setup(test_a_word_is_weighed_against_what_the_platform_has_answered, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
