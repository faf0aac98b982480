/* Platforms are asked before a publication is failed: what they say settles it, and where they cannot be asked nothing is
 * failed before its time. The platform is tests/flow/platform_server.py, over real HTTP. */
#include "support/shim.h"

#include "base/now.h"
#include "domain/seal.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEY "9f2c1d0e4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0"

#define ENOUGH_MS "10000" /* for any answer */
#define SHORT_MS  "500"   /* for a time-out that is waited for */

static struct server {
    pid_t pid;
    int stdin_fd;
    unsigned port;
    char log[200];
} server;

static void start_server(struct world *w)
{
    int in[2], out[2];
    char script[400];
    FILE *said;

    snprintf(server.log, sizeof(server.log), "%s/asked", w->dir);
    snprintf(script, sizeof(script), "%s/tests/flow/platform_server.py", getenv("SETTLE_TOP"));
    assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC), 0);
    server.pid = fork();
    if (server.pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        execl("/usr/bin/python3", "python3", "-B", script, server.log, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    server.stdin_fd = in[1];
    said = fdopen(out[0], "r");
    assert_int_equal(fscanf(said, "%u", &server.port), 1);
    fclose(said);
}

/* The built-in descriptor of TikTok, but for where it asks; NULL: the server. */
static void write_descriptor_of(struct world *w, const char *platform, const char *at)
{
    char command[600], here[32];

    snprintf(here, sizeof(here), "http://127.0.0.1:%u", server.port);
    snprintf(command, sizeof(command),
             "mkdir -p %s/platforms && sed 's|https://open.tiktokapis.com|%s|;"
             "s|budget_per_minute: 30|budget_per_minute: 600|;s|^name: tiktok|name: %s|'"
             " %s/shared/platforms/tiktok.yaml > %s/platforms/%s.yaml",
             w->dir, at ? at : here, platform, getenv("SETTLE_TOP"), w->dir, platform);
    assert_int_equal(system(command), 0);
}

static void write_descriptor(struct world *w)
{
    write_descriptor_of(w, "tiktok", NULL);
}

static void unlink_descriptor(struct world *w, const char *platform)
{
    char path[200];

    snprintf(path, sizeof(path), "%s/platforms/%s.yaml", w->dir, platform);
    assert_int_equal(unlink(path), 0);
}

static void configure(struct world *w)
{
    char path[200];
    FILE *key;

    snprintf(path, sizeof(path), "%s/platforms", w->dir);
    setenv("SETTLE_PLATFORMS_FOLDER", path, 1);
    snprintf(path, sizeof(path), "%s/key", w->dir);
    setenv("SETTLE_CONNECTIONS_KEY_FILE", path, 1);
    key = fopen(path, "w");
    assert_non_null(key);
    assert_int_equal(fchmod(fileno(key), 0600), 0);
    fputs(KEY "\n", key);
    fclose(key);
    setenv("SETTLE_FETCH_ALLOW_HTTP", "true", 1);
    setenv("SETTLE_FETCH_ALLOW_PRIVATE", "127.0.0.1/32", 1);
    setenv("SETTLE_FETCH_BACKOFF_MS", "1", 1);
}

static int up(void **state)
{
    struct world *w = *state = world_open();

    start_server(w);
    write_descriptor(w);
    configure(w);
    return 0;
}

static int reset(void **state)
{
    world_reset(*state);
    unlink(server.log);
    setenv("SETTLE_RECONCILE_FAILURE_THRESHOLD", "1000", 1);
    setenv("SETTLE_FETCH_TIMEOUT_MS", ENOUGH_MS, 1);
    return 0;
}

static int down(void **state)
{
    close(server.stdin_fd);
    waitpid(server.pid, NULL, 0);
    world_close(*state);
    return 0;
}

/* expires: SQL */
static void connect_user(struct world *w, const char *user, const char *platform, const char *token,
                         const char *expires)
{
    const struct span place[] = {span_of(user), span_of(platform), SPAN("default")};
    struct arena *arena = arena_open(1024);
    struct err err = {0};
    struct seal_keys *keys = seal_keys_read(SPAN(KEY), &err);
    struct span sealed = seal_make(keys, place, countof(place), span_of(token), arena);
    char hex[2048];

    for (size_t i = 0; i < sealed.len; i++)
        snprintf(hex + 2 * i, 3, "%02x", (unsigned char)sealed.at[i]);
    world_sql(w,
              "insert into settle.platform_connections (user_id_str, platform, account, token, key_id, "
              "expires_at, connected)"
              " values ('%s', '%s', 'default', decode('%s', 'hex'), '%.*s', %s, true)",
              user, platform, hex, SPAN_ARG(seal_key_id(keys)), expires);
    seal_keys_close(keys);
    arena_close(arena);
}

/* user-1 is who world_publication publishes for. */
static void connect_to(struct world *w, const char *platform, const char *token, const char *expires)
{
    connect_user(w, "user-1", platform, token, expires);
}

static void connect_account(struct world *w, const char *token, const char *expires)
{
    connect_to(w, "tiktok", token, expires);
}

static const char *publication(struct world *w, const char *post)
{
    return world_publication(w, "tiktok", post, "processing", 30);
}

/* "status|reason" */
static const char *state_of(struct world *w, const char *id)
{
    return world_sql(w,
                     "select status || '|' || coalesce(extra_metadata ->> 'reconciliation_reason', '') from"
                     " settle.publish_logs where id = '%s'",
                     id);
}

static long times_asked(struct world *w)
{
    struct outcome o =
        world_wait(w, world_spawn(w, "sh", "-c", "cat \"$0\" 2>/dev/null | wc -l", server.log, NULL));

    return strtol(o.out, NULL, 10);
}

static void test_what_the_platform_says_settles_it(void **state)
{
    struct world *w = *state;
    const char *done = publication(w, "done-1"), *failed = publication(w, "failed-1"),
               *working = publication(w, "working-1"), *unknown = publication(w, "unknown-1");
    struct outcome run;

    connect_account(w, "token-1", "null");
    run = world_reconcile(w, NULL);
    assert_int_equal(run.status, 0);
    assert_string_equal(state_of(w, done), "success|poll_confirmed");
    assert_string_equal(state_of(w, failed), "failed|poll_reported_failure");
    assert_string_equal(world_sql(w, "select error_message from settle.publish_logs where id = '%s'", failed),
                        "picture_size_check_failed");
    assert_string_equal(state_of(w, working), "processing|");
    assert_string_equal(state_of(w, unknown), "processing|");
    assert_int_equal(world_count(w, "select count(*) from settle.publication_reports where witness = 'poll'"),
                     2);
    assert_int_equal(
        world_count(w, "select count(*) from settle.social_sync_ledger l join settle.publication_reports r"
                       " on l.receipt_id = uuid_send(r.id) and l.entity_id = r.log_id::text"),
        2);
    assert_int_equal(world_count(w, "select count(*) from settle.publish_polls where outcome = 'working'"),
                     1);
    assert_int_equal(times_asked(w), 4);

    run = world_reconcile(w, NULL); /* none is due to be asked again yet */
    assert_int_equal(run.status, 0);
    assert_int_equal(times_asked(w), 4);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(run.json, "skipped_because"), "not_asked")), 2);
}

static void test_without_credentials_it_is_the_time_out_as_ever(void **state)
{
    struct world *w = *state;
    const char *id = publication(w, "done-1");

    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_string_equal(state_of(w, id), "failed|webhook_timeout");
    assert_int_equal(times_asked(w), 0);
}

/* Each must leave the publication as it is. */
static void test_a_platform_that_cannot_be_asked_fails_nothing(void **state)
{
    static const char *const posts[] = {"e500-1", "e401-1", "e429-1", "garbage-1", "redirect-1", "slow-1"};
    static const char *const codes[] = {"fetch_error", "auth_error", "rate_limited", "invalid_adapter_return",
                                        "fetch_error", "timeout"};
    struct world *w = *state;

    for (size_t i = 0; i < countof(posts); i++) {
        const char *id;

        world_reset(w);
        setenv("SETTLE_FETCH_TIMEOUT_MS", strcmp(codes[i], "timeout") == 0 ? SHORT_MS : ENOUGH_MS, 1);
        connect_account(w, "token-1", "null");
        id = publication(w, posts[i]);
        assert_int_equal(world_reconcile(w, NULL).status, 0);
        assert_string_equal(state_of(w, id), "processing|");
        if (strcmp(world_sql(w, "select outcome || ' ' || error_code from settle.publish_polls"),
                   world_sql(w, "select 'could_not_ask %s'", codes[i])) != 0)
            fail_msg("%s: %s", posts[i],
                     world_sql(w, "select outcome || ' ' || error_code from settle.publish_polls"));
        world_sql(w, "update settle.publish_logs set updated_at = now() - interval '25 hours'");
        assert_int_equal(world_reconcile(w, NULL).status, 0); /* given up */
        assert_string_equal(state_of(w, id), "failed|webhook_timeout");
    }
}

/* What a platform does, where it is asked, and whether that opens its breaker. */
static const struct fault {
    const char *kind;
    enum { SERVER, REFUSED, PRIVATE } where; /* private: at an address that is not allowed */
    bool opens;
} faults[] = {
    {"down",     REFUSED, true },
    {"slow",     SERVER,  true },
    {"e429",     SERVER,  false},
    {"e401",     SERVER,  false},
    {"e500",     SERVER,  true },
    {"garbage",  SERVER,  true },
    {"redirect", SERVER,  true },
    {"private",  PRIVATE, false}, /* our refusal says nothing of it */
};

enum { FAULTY = 12, STEADY = 3, KILL_EVERY = 6 };

static void register_beside(struct world *w, const struct fault *f)
{
    char post[32];

    for (unsigned i = 0; i < FAULTY; i++) {
        snprintf(post, sizeof(post), "%s-%u", f->kind, i);
        publication(w, post);
    }
    for (unsigned i = 0; i < STEADY; i++) {
        snprintf(post, sizeof(post), "done-%u", i);
        world_publication(w, "steady", post, "processing", 20); /* asked last */
    }
    world_publication(w, "instagram", "silent", "processing", 30);
}

/* Its own are as they were, and those of others are settled. */
static void assert_only_it_suffers(struct world *w, const struct fault *f)
{
    const char *found = world_sql(
        w, "select string_agg(concat_ws(' ', platform, status, n), ', ' order by platform)"
           " from (select platform, status, count(*) as n from settle.publish_logs group by 1, 2) as s");
    const char *breakers =
        world_sql(w, "select coalesce(string_agg(platform || ' ' || state, ', ' order by platform), '')"
                     " from settle.breakers where state <> 'closed'");

    if (strcmp(found, "instagram failed 1, steady success 3, tiktok processing 12") != 0)
        fail_msg("%s: %s", f->kind, found);
    if (strcmp(breakers, f->opens ? "tiktok open" : "") != 0)
        fail_msg("%s: breakers: %s", f->kind, breakers);
}

static void run(struct world *w, const struct fault *f)
{
    struct outcome o = world_reconcile(w, NULL);

    if (o.status != 0)
        fail_msg("%s: ended with %d: %s", f->kind, o.status, o.err);
    assert_only_it_suffers(w, f);
}

static void test_whatever_a_platform_does_the_others_proceed(void **state)
{
    struct world *w = *state;
    char elsewhere[32];

    snprintf(elsewhere, sizeof(elsewhere), "https://127.0.0.2:%u", server.port);
    setenv("SETTLE_RECONCILE_FAILURE_THRESHOLD", "3", 1);
    write_descriptor_of(w, "steady", NULL);
    for (size_t i = 0; i < countof(faults); i++) {
        const struct fault *f = &faults[i];
        long asked;

        world_reset(w);
        unlink(server.log);
        write_descriptor_of(w, "tiktok",
                            f->where == REFUSED   ? "http://127.0.0.1:1"
                            : f->where == PRIVATE ? elsewhere
                                                  : NULL);
        setenv("SETTLE_FETCH_TIMEOUT_MS", strcmp(f->kind, "slow") == 0 ? SHORT_MS : ENOUGH_MS, 1);
        connect_account(w, "token-1", "null");
        connect_to(w, "steady", "token-2", "null");
        register_beside(w, f);
        run(w, f);
        asked = times_asked(w);
        if (asked > STEADY + FAULTY)
            fail_msg("%s: asked %ld times", f->kind, asked);
        run(w, f);
        if (times_asked(w) != asked)
            fail_msg("%s: asked again at once", f->kind);
        assert_int_equal(world_wait(w, world_spawn(w, "grep", "-c", "elsewhere", server.log, NULL)).status,
                         1);
    }
    write_descriptor(w);
    unlink_descriptor(w, "steady");
}

static void test_an_expired_token_is_no_answer(void **state)
{
    struct world *w = *state;
    const char *id = publication(w, "done-1");

    connect_account(w, "token-1", "now() - interval '1 minute'");
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_string_equal(state_of(w, id), "processing|");
    assert_string_equal(world_sql(w, "select error_code from settle.publish_polls"), "auth_error");
    assert_int_equal(times_asked(w), 0);
}

static void test_retry_after_is_kept(void **state)
{
    struct world *w = *state;

    connect_account(w, "token-1", "null");
    publication(w, "e429-1");
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_int_equal(times_asked(w), 1); /* 120 s are not waited out */
    assert_int_equal(
        world_count(w,
                    "select count(*) from settle.publish_polls where next_at >= asked_at + interval '119 s'"),
        1);
}

/* More than are asked at one time: the platform wants to be left alone by all of this account's. */
static void test_a_rate_limit_holds_for_the_rest_of_the_run(void **state)
{
    enum { AT_ONE_TIME = 1000, LATER = 20 };
    struct world *w = *state;
    const char *of_others;

    write_descriptor_of(w, "steady", NULL);
    connect_account(w, "token-1", "null");
    connect_to(w, "steady", "token-2", "null");
    world_sql(
        w,
        "insert into settle.publish_logs (platform, user_id_str, status, external_post_id, updated_at)"
        " select 'tiktok', 'user-1', 'processing', case when g <= %d then 'e429-' else 'done-' end || g,"
        "   now() - interval '2 hours' + g * interval '1 second' from generate_series(1, %d) as g",
        AT_ONE_TIME, AT_ONE_TIME + LATER);
    of_others = world_publication(w, "steady", "done-0", "processing", 30);
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_int_equal(world_wait(w, world_spawn(w, "grep", "-q", "token-1 done", server.log, NULL)).status, 1);
    assert_int_equal(world_count(w,
                                 "select count(*) from settle.publish_polls where error_code = 'rate_limited'"
                                 " and next_at >= asked_at + interval '110 s'"),
                     AT_ONE_TIME + LATER);
    assert_string_equal(state_of(w, of_others), "success|poll_confirmed");
    unlink_descriptor(w, "steady");
}

/* What else is known when the walk comes to a publication whose answer is stored and was not acted on. */
static const struct stranded {
    const char *is;
    int webhook;             /* what one said */
    const char *webhook_age; /* against now, when it happened; NULL: none came */
    const char *followed;    /* how long ago it was stored */
    const char *post;        /* the publication's by now */
    const char *want;
} stranded[] = {
    {"nothing else",             0,  NULL,       "0",          "done-1", "success|poll_confirmed"         },
    {"a later unclear one",      0,  "-1 hour",  "0",          "done-1", "success|poll_confirmed"         },
    {"an earlier webhook",       -1, "30 hours", "10 minutes", "done-1", "success|poll_confirmed"         },
    {"an earlier one, followed", -1, "30 hours", "0",          "done-1", "success|poll_confirmed"         },
    {"a later webhook",          -1, "-1 hour",  "10 minutes", "done-1", "failed|webhook_reported_failure"},
    {"a later one, followed",    -1, "-1 hour",  "0",          "done-1", "failed|webhook_reported_failure"},
    {"it is of another attempt", 0,  NULL,       "0",          "done-2", "failed|webhook_timeout"         },
};

/* Somebody else changes each publication between the reading of what is due and the storing of what was answered. */
static void touch_while_asked(struct world *w)
{
    world_sql(w, "create function public.touch() returns trigger language plpgsql security definer as"
                 " 'begin update settle.publish_logs set updated_at = now(); return new; end';"
                 "create trigger touch before insert or update on settle.poll_budgets for each row"
                 " execute function public.touch()");
}

static void touch_no_more(struct world *w)
{
    world_sql(w, "drop trigger touch on settle.poll_budgets; drop function public.touch()");
}

static void strand(struct world *w, const struct stranded *s, const char *id)
{
    if (s->webhook_age)
        world_sql(
            w,
            "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id,"
            "  external_post_id, decisive, event_status, happened_at, received_at, stored_at, headers, body)"
            " values (decode(repeat('ab', 32), 'hex'), 'default', 'tiktok', gen_random_uuid(), 'done-1', %d,"
            "  'word', now() - interval '%s', now(), now() - interval '%s', '', '')",
            s->webhook, s->webhook_age, s->followed);
    world_sql(
        w,
        "delete from settle.platform_connections;" /* nor can it be asked again */
        "update settle.publish_logs set updated_at = now() - interval '25 hours', external_post_id = '%s'"
        " where id = '%s'",
        s->post, id);
}

static void test_a_stored_answer_counts_though_its_publication_had_changed(void **state)
{
    struct world *w = *state;

    for (size_t i = 0; i < countof(stranded); i++) {
        const char *id;

        world_reset(w);
        connect_account(w, "token-1", "null");
        id = publication(w, "done-1");
        touch_while_asked(w);
        assert_int_equal(world_reconcile(w, NULL).status, 0);
        touch_no_more(w);
        assert_string_equal(state_of(w, id), "processing|");
        assert_int_equal(world_count(w, "select count(*) from settle.publication_reports"), 1);
        strand(w, &stranded[i], id);
        assert_int_equal(world_reconcile(w, NULL).status, 0);
        if (strcmp(state_of(w, id), stranded[i].want) != 0)
            fail_msg("%s: it ends in %s, not %s", stranded[i].is, state_of(w, id), stranded[i].want);
    }
}

static void publications(struct world *w, const char *kind, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char post[32];

        snprintf(post, sizeof(post), "%s-%u", kind, i);
        publication(w, post);
    }
}

static long successes(struct world *w)
{
    return world_count(w, "select count(*) from settle.publish_logs where status = 'success'");
}

/* Such as a post that is hidden from the account it is asked for. */
static void test_what_is_said_of_one_post_is_not_of_its_account(void **state)
{
    struct world *w = *state;

    connect_account(w, "token-1", "null");
    publications(w, "e403", 3);
    publications(w, "done", 20);
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_int_equal(successes(w), 20);
    assert_int_equal(
        world_count(w, "select count(*) from settle.publish_polls where error_code = 'auth_error'"), 3);
}

/* Whoever answers that, works. */
static void test_posts_that_a_platform_does_not_know_open_no_breaker(void **state)
{
    struct world *w = *state;

    setenv("SETTLE_RECONCILE_FAILURE_THRESHOLD", "5", 1);
    connect_account(w, "token-1", "null");
    publications(w, "e404", 4);
    publications(w, "e400", 4);
    publications(w, "done", 4);
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_int_equal(successes(w), 4);
    assert_int_equal(world_count(w, "select count(*) from settle.breakers where state <> 'closed'"), 0);
}

/* As Instagram's: what the first request is not for is asked by the second. */
static void write_two_requests(struct world *w, unsigned budget)
{
    static const char *const paths[] = {"one", "two"};
    char path[200], command[500];
    FILE *file;

    snprintf(path, sizeof(path), "%s/platforms/tiktok.yaml", w->dir);
    snprintf(command, sizeof(command), "sed '/^poll:/,$d' %s/shared/platforms/tiktok.yaml > %s",
             getenv("SETTLE_TOP"), path);
    assert_int_equal(system(command), 0);
    file = fopen(path, "ae");
    assert_non_null(file);
    fprintf(file, "poll:\n  budget_per_minute: %u\n  requests:\n", budget);
    for (size_t i = 0; i < countof(paths); i++)
        fprintf(file,
                "    - method: post\n"
                "      url: http://127.0.0.1:%u/%s/\n"
                "      headers: [{name: authorization, value: \"Bearer {token}\"},\n"
                "        {name: content-type, value: application/json}]\n"
                "      body: '{\"publish_id\":{post}}'\n"
                "      rules: [{at: /error/code, is: [not_one], means: %s}]\n"
                "      answers: [{when: /error/code, is: [ok], each: /data, status: {at: /data/status}}]\n"
                "      success: [PUBLISH_COMPLETE]\n"
                "      failure: [FAILED]\n",
                server.port, paths[i], i == 0 ? "not_mine" : "missing");
    fclose(file);
}

static void test_a_question_that_is_begun_can_be_ended(void **state)
{
    struct world *w = *state;

    write_two_requests(w, 3);
    connect_account(w, "token-1", "null");
    publications(w, "media", 4);
    for (long i = 1; i <= 4; i++) {
        world_sql(w, "delete from settle.poll_budgets"); /* the next minute */
        assert_int_equal(world_reconcile(w, NULL).status, 0);
        assert_true(successes(w) >= i);
    }
    write_descriptor(w);
}

/* What takes longer than there is time is begun by one run; the next one goes on with those behind it. */
static void test_a_question_that_time_has_cut_off_lets_the_next_run_go_on(void **state)
{
    static const char *const users[] = {"user-0", "user-1", "user-2", "user-3"}, *const posts[] = {
                                                                                     "late-0", "late-1",
                                                                                     "media-2", "media-3"};
    struct world *w = *state;

    write_two_requests(w, 30);
    for (size_t i = 0; i < countof(users); i++) {
        connect_user(w, users[i], "tiktok", "token-1", "null");
        world_sql(
            w,
            "update settle.publish_logs set user_id_str = '%s', updated_at = now() - interval '%zu minutes'"
            " where id = '%s'",
            users[i], 50 - i, publication(w, posts[i]));
    }
    setenv("SETTLE_RECONCILE_POLL_SECONDS", "5", 1);
    setenv("SETTLE_FETCH_TIMEOUT_MS", "20000", 1);
    setenv("SETTLE_FETCH_AT_ONCE_PER_PLATFORM", "2", 1);
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_int_equal(successes(w), 0);
    assert_string_equal(world_sql(w, "select string_agg(external_post_id || ' ' || error_code, ',' order by"
                                     " external_post_id) from settle.publish_polls"),
                        "late-0 timeout,late-1 timeout");
    setenv("SETTLE_RECONCILE_POLL_SECONDS", "10", 1);
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    unsetenv("SETTLE_RECONCILE_POLL_SECONDS");
    unsetenv("SETTLE_FETCH_AT_ONCE_PER_PLATFORM");
    assert_int_equal(successes(w), 2);
    write_descriptor(w);
}

/* Counted though the transaction does not stay. */
static void count_spending(struct world *w)
{
    world_sql(w, "create sequence public.spent;"
                 "create function public.count_spent() returns trigger language plpgsql security definer as"
                 " 'begin perform nextval(''public.spent''); return new; end';"
                 "create trigger count_spent before insert on settle.poll_budgets for each row"
                 " execute function public.count_spent()");
}

static void count_no_more(struct world *w)
{
    world_sql(w, "drop trigger count_spent on settle.poll_budgets; drop function public.count_spent();"
                 "drop sequence public.spent");
}

/* What cannot be asked costs nothing, however much there is of it, and those behind it are asked. */
static void test_a_used_up_budget_is_asked_for_once(void **state)
{
    enum { BUDGET = 7, MANY = 1500 };
    struct world *w = *state;
    const char *of_others;
    char command[300];

    snprintf(command, sizeof(command),
             "sed -i 's|budget_per_minute: 600|budget_per_minute: %d|' %s/platforms/tiktok.yaml", BUDGET,
             w->dir);
    assert_int_equal(system(command), 0);
    write_descriptor_of(w, "steady", NULL);
    connect_account(w, "token-1", "null");
    connect_to(w, "steady", "token-2", "null");
    world_sql(w,
              "insert into settle.publish_logs (platform, user_id_str, status, external_post_id, updated_at)"
              " select 'tiktok', 'user-1', 'processing', 'working-' || g, now() - interval '2 hours'"
              " from generate_series(1, %d) as g",
              MANY);
    of_others = world_publication(w, "steady", "done-0", "processing", 30);
    count_spending(w);
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_true(world_count(w, "select last_value from public.spent") <=
                2 * (BUDGET + 1) + 1); /* two minutes */
    count_no_more(w);
    assert_string_equal(state_of(w, of_others), "success|poll_confirmed");
    write_descriptor(w);
    unlink_descriptor(w, "steady");
}

/* A round has 22 s, so this is of ops/test --long. */
static void test_one_account_does_not_use_up_the_time_of_all(void **state)
{
    struct world *w = *state;
    const char *of_others;

    if (!getenv("SETTLE_TEST_LONG"))
        return;
    setenv("SETTLE_FETCH_TIMEOUT_MS", SHORT_MS, 1);
    write_descriptor_of(w, "steady", NULL);
    connect_account(w, "token-1", "null");
    connect_to(w, "steady", "token-2", "null");
    world_sql(w,
              "insert into settle.publish_logs (platform, user_id_str, status, external_post_id, updated_at)"
              " select 'tiktok', 'user-1', 'processing', 'slow-' || g, now() - interval '2 hours'"
              " from generate_series(1, 3000) as g");
    of_others = world_publication(w, "steady", "done-0", "processing", 30);
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_string_equal(state_of(w, of_others), "success|poll_confirmed");
    unlink_descriptor(w, "steady");
}

/* Else each run would begin with it. */
static void test_what_was_tried_in_vain_is_noted_though_time_was_up(void **state)
{
    struct world *w = *state;

    connect_account(w, "token-1", "null");
    publications(w, "slow", 1);
    setenv("SETTLE_RECONCILE_POLL_SECONDS", "5", 1);
    setenv("SETTLE_FETCH_TIMEOUT_MS", "2000", 1); /* the third try is cut off */
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    unsetenv("SETTLE_RECONCILE_POLL_SECONDS");
    assert_string_equal(world_sql(w, "select error_code from settle.publish_polls"), "timeout");
}

static unsigned times_said(const char *text, const char *what)
{
    unsigned n = 0;

    while ((text = strstr(text, what))) {
        text += strlen(what);
        n++;
    }
    return n;
}

/* A half-open breaker has one permit, and those who come first have no budget to use it. */
static void test_no_permit_for_who_does_not_go(void **state)
{
    static const char *const users[] = {"user-0", "user-1", "user-2"}, *const posts[] = {"done-0", "done-1",
                                                                                         "done-2"};
    struct world *w = *state;

    setenv("SETTLE_RECONCILE_HALF_OPEN_PROBE_COUNT", "1", 1);
    for (size_t i = 0; i < countof(users); i++) {
        connect_user(w, users[i], "tiktok", "token-1", "null");
        world_sql(
            w,
            "update settle.publish_logs set user_id_str = '%s', updated_at = now() - interval '%zu minutes'"
            " where id = '%s'",
            users[i], 50 - i, publication(w, posts[i]));
    }
    world_sql(w,
              "create function public.refuse() returns trigger language plpgsql as 'begin return null; end';"
              "create trigger refuse before insert on settle.poll_budgets for each row"
              " when (new.user_id_str <> 'user-1') execute function public.refuse();"
              "insert into settle.breakers (platform, state, failures, opened_at, transitions, probes_until)"
              " values ('tiktok', 'open', 5, now() - interval '1 hour', 1, '{}')");
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    world_sql(w, "drop trigger refuse on settle.poll_budgets; drop function public.refuse()");
    unsetenv("SETTLE_RECONCILE_HALF_OPEN_PROBE_COUNT");
    assert_int_equal(successes(w), 1);
    assert_string_equal(world_sql(w, "select state from settle.breakers"), "closed");
}

/* Of several accounts one may try; the others wait for what comes of it. */
static void test_those_who_wait_for_a_probe_go_when_it_was_good(void **state)
{
    static const char *const users[] = {"user-0", "user-1", "user-2"}, *const posts[] = {"done-0", "done-1",
                                                                                         "done-2"};
    struct world *w = *state;
    struct outcome run;

    setenv("SETTLE_RECONCILE_HALF_OPEN_PROBE_COUNT", "1", 1);
    for (size_t i = 0; i < countof(users); i++) {
        connect_user(w, users[i], "tiktok", "token-1", "null");
        world_sql(w, "update settle.publish_logs set user_id_str = '%s' where id = '%s'", users[i],
                  publication(w, posts[i]));
    }
    world_sql(w,
              "insert into settle.breakers (platform, state, failures, opened_at, transitions, probes_until)"
              " values ('tiktok', 'open', 5, now() - interval '1 hour', 1, '{}')");
    run = world_wait(w, world_spawn(w, "settle-reconciler", "publications", "--json", NULL));
    unsetenv("SETTLE_RECONCILE_HALF_OPEN_PROBE_COUNT");
    assert_int_equal(run.status, 0);
    assert_int_equal(successes(w), countof(users));
    assert_int_equal(times_said(run.err, "\"event\":\"circuit_open\""), 1);
    assert_non_null(
        strstr(run.err, "\"attempt\":1,\"backoff_seconds\":15,\"error_code\":\"half_open_probe_exhausted\""));
}

/* A half-open breaker has one permit, and whoever has it is told something about his own account alone. */
static void test_a_probe_that_says_nothing_leaves_its_place_to_the_next(void **state)
{
    static const char *const users[] = {"user-0", "user-1", "user-2", "user-3"}, *const posts[] = {
                                                                                     "e401-0", "e429-1",
                                                                                     "e403-2", "done-3"};
    struct world *w = *state;

    setenv("SETTLE_RECONCILE_HALF_OPEN_PROBE_COUNT", "1", 1);
    for (size_t i = 0; i < countof(users); i++) {
        connect_user(w, users[i], "tiktok", "token-1", "null");
        world_sql(
            w,
            "update settle.publish_logs set user_id_str = '%s', updated_at = now() - interval '%zu minutes'"
            " where id = '%s'",
            users[i], 50 - i, publication(w, posts[i]));
    }
    world_sql(w,
              "insert into settle.breakers (platform, state, failures, opened_at, transitions, probes_until)"
              " values ('tiktok', 'open', 5, now() - interval '1 hour', 1, '{}')");
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    unsetenv("SETTLE_RECONCILE_HALF_OPEN_PROBE_COUNT");
    assert_int_equal(successes(w), 1);
    assert_string_equal(world_sql(w, "select state from settle.breakers"), "closed");
    assert_int_equal(times_asked(w), countof(users));
}

static void test_the_breaker_opens_and_other_publications_wait(void **state)
{
    struct world *w = *state;
    struct outcome run;

    setenv("SETTLE_RECONCILE_FAILURE_THRESHOLD", "5", 1);
    connect_account(w, "token-1", "null");
    for (unsigned i = 0; i < 20; i++) {
        char post[32];

        snprintf(post, sizeof(post), "e500-%u", i);
        publication(w, post);
    }
    run = world_wait(w, world_spawn(w, "settle-reconciler", "publications", "--json", NULL));
    assert_int_equal(run.status, 0);
    assert_int_equal(times_asked(w), 5);
    assert_int_equal(times_said(run.err, "\"event\":\"circuit_open\""), 1);
    assert_non_null(strstr(run.err, "\"attempt\":2,\"backoff_seconds\":300,\"error_code\":\"circuit_open\""));
    assert_string_equal(world_sql(w, "select state from settle.breakers where platform = 'tiktok'"), "open");
    assert_int_equal(world_count(w, "select count(*) from settle.publish_logs where status = 'processing'"),
                     20);
}

static void test_a_budget_is_a_budget(void **state)
{
    struct world *w = *state;
    char command[300];

    snprintf(command, sizeof(command),
             "sed -i 's|budget_per_minute: 600|budget_per_minute: 7|' %s/platforms/tiktok.yaml", w->dir);
    assert_int_equal(system(command), 0);
    connect_account(w, "token-1", "null");
    for (unsigned i = 0; i < 20; i++) {
        char post[32];

        snprintf(post, sizeof(post), "working-%u", i);
        publication(w, post);
    }
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_true(times_asked(w) >= 7 && times_asked(w) <= 14); /* a minute may end in between */
    write_descriptor(w);
}

static void test_no_token_shows(void **state)
{
    struct world *w = *state;
    struct process p;
    struct outcome run;

    connect_account(w, "canary-token-of-the-tests", "null");
    publication(w, "done-1");
    publication(w, "e401-1");
    p = world_spawn(w, "settle-reconciler", "publications", "--json", NULL);
    run = world_wait(w, p);
    assert_int_equal(run.status, 0);
    assert_null(strstr(run.out, "canary"));
    assert_null(strstr(run.err, "canary"));
    run = world_wait(w, world_spawn(w, "grep", "-c", "Bearer canary-token-of-the-tests", server.log, NULL));
    assert_int_equal(run.status, 0); /* but the platform got it */
}

static void test_a_paused_platform_is_left_alone(void **state)
{
    struct world *w = *state;
    const char *id = publication(w, "done-1");
    struct outcome o;

    connect_account(w, "token-1", "null");
    o = world_wait(
        w, world_spawn(w, "settle-reconciler", "platform", "pause", "tiktok", "--reason", "outage", NULL));
    assert_int_equal(o.status, 0);
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_string_equal(state_of(w, id), "processing|");
    assert_int_equal(times_asked(w), 0);
    o = world_wait(w, world_spawn(w, "settle-reconciler", "platform", "resume", "tiktok", NULL));
    assert_int_equal(o.status, 0);
    assert_int_equal(world_reconcile(w, NULL).status, 0);
    assert_string_equal(state_of(w, id), "success|poll_confirmed");
    assert_int_equal(world_count(w, "select count(*) from settle.social_sync_ledger where event_type in"
                                    " ('platform_paused', 'platform_resumed') and actor = 'cli'"),
                     2);
}

/* What runs leave behind, but for times and ids. */
static const char *end_state(struct world *w)
{
    return world_sql(w, "select string_agg(concat_ws(' ', external_post_id, status, error_message,"
                        "    extra_metadata ->> 'reconciliation_reason'), ', ' order by external_post_id),"
                        "  (select count(*) from settle.social_sync_ledger), (select count(*) from "
                        "settle.publication_reports)"
                        " from settle.publish_logs");
}

/* Returns what it ended with. The nth message is to a store or to the platform; *ret_n: how many there were. */
static int ask_until(struct world *w, struct shim *shim, unsigned nth, unsigned *ret_n)
{
    static const char *const posts[] = {"done-1", "done-2", "failed-1", "working-1", "garbage-1"};
    struct process p;
    int status;

    world_reset(w);
    connect_account(w, "token-1", "null");
    for (size_t i = 0; i < countof(posts); i++)
        publication(w, posts[i]);
    shim_signal(shim, "settle:lock:", nth, SIGKILL);
    shim_show(shim);
    p = world_spawn(w, "settle-reconciler", "publications", NULL);
    shim_hide(shim);
    status = world_wait(w, p).status;
    *ret_n = shim_nsends(shim);
    return status;
}

static void test_killed_while_it_asks_it_is_completed_by_the_next_run(void **state)
{
    struct world *w = *state;
    unsigned every = getenv("SETTLE_TEST_LONG") ? 1 : KILL_EVERY; /* of ops/test --long */
    struct shim *shim = shim_open(w);
    char want[600];
    unsigned n, ignored;

    assert_int_equal(ask_until(w, shim, UINT32_MAX, &n), 0);
    snprintf(want, sizeof(want), "%s", end_state(w));
    assert_non_null(strstr(want, "|3|3"));
    for (unsigned nth = 1 + arc4random_uniform(every); nth <= n; nth += every) {
        if (ask_until(w, shim, nth, &ignored) != 128 + SIGKILL) /* how much comes together varies */
            continue;
        world_until(20, world_count(w, "select count(*) from pg_stat_activity"
                                       " where application_name = 'settle-reconciler'") == 0);
        world_sql(w, "update settle.job_fences set lease_until = now() - interval '1 second'");
        world_redis(w, "flushall", NULL);
        assert_int_equal(world_reconcile(w, NULL).status, 0);
        if (strcmp(end_state(w), want) != 0)
            fail_msg("killed before message %u of %u, it ends in %s, not %s", nth, n, end_state(w), want);
    }
    shim_close(shim);
}

/* Of accounts without credentials; each page takes eight seconds. */
static void test_pages_with_nothing_to_ask_keep_the_lock(void **state)
{
    enum { PAGE_S = 8, PAGES = 4 };
    struct world *w = *state;
    struct shim *shim = shim_open(w);
    struct process p;
    struct outcome o;

    connect_account(w, "token-1", "null");
    world_sql(w,
              "insert into settle.publish_logs (platform, user_id_str, status, external_post_id, updated_at)"
              " select 'tiktok', 'nobody', 'processing', 'post-' || n, now() - interval '30 minutes'"
              " from generate_series(1, 1000 * %d) as n",
              PAGES);
    setenv("SETTLE_RECONCILE_POLL_SECONDS", "600", 1);
    shim_signal(shim, "poll_due", 1, SIGSTOP);
    p = world_spawn(w, "settle-reconciler", "publications", "--json", "--force", NULL);
    shim_hide(shim);
    unsetenv("SETTLE_RECONCILE_POLL_SECONDS");
    for (int page = 1; page <= PAGES; page++) {
        world_until(20, shim_halted(p.pid));
        shim_sleep(shim, page * PAGE_S * SECOND_US);
        shim_signal(shim, "poll_due", 1, page < PAGES ? SIGSTOP : 0);
        kill(p.pid, SIGCONT);
    }
    o = world_wait(w, p);
    shim_close(shim);
    if (o.status != 0)
        fail_msg("it ended with %d: %s", o.status, o.err);
    assert_int_equal(times_asked(w), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_what_the_platform_says_settles_it, reset),
        cmocka_unit_test_setup(test_without_credentials_it_is_the_time_out_as_ever, reset),
        cmocka_unit_test_setup(test_a_platform_that_cannot_be_asked_fails_nothing, reset),
        cmocka_unit_test_setup(test_whatever_a_platform_does_the_others_proceed, reset),
        cmocka_unit_test_setup(test_an_expired_token_is_no_answer, reset),
        cmocka_unit_test_setup(test_retry_after_is_kept, reset),
        cmocka_unit_test_setup(test_a_rate_limit_holds_for_the_rest_of_the_run, reset),
        cmocka_unit_test_setup(test_a_stored_answer_counts_though_its_publication_had_changed, reset),
        cmocka_unit_test_setup(test_what_is_said_of_one_post_is_not_of_its_account, reset),
        cmocka_unit_test_setup(test_posts_that_a_platform_does_not_know_open_no_breaker, reset),
        cmocka_unit_test_setup(test_a_question_that_is_begun_can_be_ended, reset),
        cmocka_unit_test_setup(test_a_question_that_time_has_cut_off_lets_the_next_run_go_on, reset),
        cmocka_unit_test_setup(test_a_used_up_budget_is_asked_for_once, reset),
        cmocka_unit_test_setup(test_one_account_does_not_use_up_the_time_of_all, reset),
        cmocka_unit_test_setup(test_what_was_tried_in_vain_is_noted_though_time_was_up, reset),
        cmocka_unit_test_setup(test_no_permit_for_who_does_not_go, reset),
        cmocka_unit_test_setup(test_those_who_wait_for_a_probe_go_when_it_was_good, reset),
        cmocka_unit_test_setup(test_a_probe_that_says_nothing_leaves_its_place_to_the_next, reset),
        cmocka_unit_test_setup(test_the_breaker_opens_and_other_publications_wait, reset),
        cmocka_unit_test_setup(test_a_budget_is_a_budget, reset),
        cmocka_unit_test_setup(test_no_token_shows, reset),
        cmocka_unit_test_setup(test_a_paused_platform_is_left_alone, reset),
        cmocka_unit_test_setup(test_pages_with_nothing_to_ask_keep_the_lock, reset),
        cmocka_unit_test_setup(test_killed_while_it_asks_it_is_completed_by_the_next_run, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
