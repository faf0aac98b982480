/* What one tenant, or one who guesses keys, can take from all others: not their connections, not their runs, not their posts. */
#include "support/world.h"

#include "wire.h"

#include "base/now.h"
#include "domain/apikey.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

enum {
    KEY_TEXT_BYTES = APIKEY_CHARS + 1,
    MANY = 60, /* more than may wait */
    SOME = 8,
    REPAIRS = 50,
    RUNNING_READS = 2,
    RUNNING_WRITES = 1,
    WAITING = 50
};

static struct {
    char anna[KEY_TEXT_BYTES], bert[KEY_TEXT_BYTES], operator[KEY_TEXT_BYTES];
} keys;

/* Waits where its reason says so; else it is the reconciler. */
static const char script[] = "#!/bin/sh\n"
                             "case \"$*\" in *--reason=wait*)\n"
                             "while [ ! -e \"${0%/*}/go\" ]; do sleep 0.05; done ;; esac\n"
                             "echo '{\"outcome\":\"done\"}'\n";

static const char bound_sources[] =
    "sources:\n"
    "  - {platform: tiktok, name: own, secret_file: %s/secret, tenant: anna}\n"
    "  - {platform: tiktok, name: shared, secret_file: %s/secret}\n";

static void write_file(struct world *w, const char *name, const char *text)
{
    char path[128];
    FILE *to;

    snprintf(path, sizeof(path), "%s/%s", w->dir, name);
    to = fopen(path, "w");
    assert_non_null(to);
    fputs(text, to);
    assert_int_equal(fclose(to), 0);
    assert_int_equal(chmod(path, 0700), 0);
}

static void take(struct world *w, char room[KEY_TEXT_BYTES], const char *user, const char *scopes)
{
    char named[100];
    struct outcome o;
    const char *key;

    snprintf(named, sizeof(named), "--user=%s", user ? user : "");
    o = world_wait(w, world_spawn(w, "settle-reconciler", "keys", "create", "--json", "--name=of the tests",
                                  "--scopes", scopes, user ? named : "--actor=tests", NULL));
    key = json_string_value(json_object_get(o.json, "key"));
    assert_non_null(key);
    memcpy(room, key, KEY_TEXT_BYTES);
}

static void open_gate(struct world *w);

static int up(void **state)
{
    struct world *w = *state = world_open();
    char settings[400], path[128];

    write_file(w, "reconciler", script);
    write_file(w, "secret", "a-secret-of-some-length\n");
    snprintf(settings, sizeof(settings), bound_sources, w->dir, w->dir);
    write_file(w, "settings.yaml", settings);
    snprintf(path, sizeof(path), "%s/settings.yaml", w->dir);
    setenv("SETTLE_CONFIG", path, 1);
    snprintf(path, sizeof(path), "%s/reconciler", w->dir);
    setenv("SETTLE_ADMIN_RECONCILER", path, 1);
    setenv("SETTLE_ADMIN_KEYS_REQUIRED", "true", 1);
    setenv("SETTLE_ADMIN_WRONG_KEYS_PER_MINUTE", "60", 1);
    setenv("SETTLE_ADMIN_REQUESTS_PER_MINUTE", "60000", 1); /* one key sends whole crowds */
    take(w, keys.anna, "anna", "read,write,reconcile");
    take(w, keys.bert, "bert", "read,write,reconcile");
    take(w, keys.operator, NULL, "admin");
    return world_gateway(w, NULL);
}

/* Also after one that failed. */
static int reset(void **state)
{
    open_gate(*state);
    return 0;
}

static int down(void **state)
{
    world_close(*state);
    return 0;
}

static struct reply ask(struct world *w, const char *key, const char *method, const char *path,
                        const char *json)
{
    char url[256], authorization[160];
    const char *const headers[] = {"content-type: application/json", authorization, NULL};

    snprintf(url, sizeof(url), "%s%s", w->admin_url, path);
    snprintf(authorization, sizeof(authorization), "authorization: Bearer %s", key);
    return world_http(w, method, url, headers, json ? span_of(json) : SPAN_NONE);
}

static bool says(const struct reply *r, long status, const char *cause)
{
    const char *type = json_string_value(json_object_get(r->json, "type"));

    return r->status == status && (!cause || (type && strcmp(strrchr(type, ':') + 1, cause) == 0));
}

/* The same as ask, as bytes for a wire: its connection ends with the answer. */
static const char *request_of(char room[1024], const char *key, const char *method, const char *path,
                              const char *json)
{
    snprintf(room, 1024,
             "%s %s HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer %s\r\n"
             "content-type: application/json\r\ncontent-length: %zu\r\n\r\n%s",
             method, path, key, strlen(json), json);
    return room;
}

static struct wire crowd[MANY], *wires[MANY];

static void send_crowd(struct world *w, size_t n, const char *request)
{
    for (size_t i = 0; i < n; i++) {
        wires[i] = &crowd[i];
        wire_open(wires[i], w->admin_url, span_of(request));
    }
    wire_look(wires, n, 0);
}

static void end_crowd(size_t n)
{
    assert_int_equal(wire_run(wires, n, 60), 0);
    for (size_t i = 0; i < n; i++)
        wire_close(wires[i]);
}

/* How many of them have this answer, and say when to come again. */
static size_t crowd_answered(size_t n, const char *cause)
{
    size_t count = 0;

    wire_look(wires, n, 20);
    for (size_t i = 0; i < n; i++) {
        int statuses[WIRE_ANSWERS_MAX];
        struct span in = {wires[i]->in, wires[i]->in_len};

        count += wire_answers(wires[i], statuses) == 1 && statuses[0] == 429 &&
                 memmem(in.at, in.len, cause, strlen(cause)) &&
                 memmem(in.at, in.len, "\r\nretry-after: ", 15);
    }
    return count;
}

static void wait_for_refusals(size_t n, size_t least)
{
    world_until(20, crowd_answered(n, "caller_busy") >= least);
}

static long waiting_at_the_gate(struct world *w)
{
    return world_count(w, "select pg_stat_clear_snapshot(); select count(*) from pg_stat_activity "
                          "where usename = 'settle_api' and wait_event = 'advisory'");
}

/* From now on each statement of anna's waits, until the gate is opened. */
static void shut_gate(struct world *w)
{
    world_sql(w, "select pg_advisory_lock(7)");
    world_sql(w,
              "create or replace function settle.tenant() returns text language plpgsql stable as $$ begin "
              "if current_setting('settle.tenant', true) = 'anna' then "
              "perform pg_advisory_xact_lock_shared(7); end if; "
              "return nullif(current_setting('settle.tenant', true), ''); end $$");
}

static void open_gate(struct world *w)
{
    world_sql(w, "select pg_advisory_unlock_all()");
    world_sql(w, "create or replace function settle.tenant() returns text language sql stable as "
                 "$$ select nullif(current_setting('settle.tenant', true), '') $$");
}

static const struct ask_case {
    const char *method, *path, *json, *others_json;
    long running, others_status;
} cases[] = {
    {"GET",  "/publishing/logs", "",                          NULL,                        RUNNING_READS,  200},
    {"POST", "/publishing/logs", "{\"platform\":\"tiktok\"}", "{\"platform\":\"tiktok\"}", RUNNING_WRITES,
     201                                                                                                      },
};

/* Whether bert was served while anna's crowd held all that it may: a statement waits at the gate, and a call for its turn, two
 * seconds each, to which a slow machine may not come. */
static bool leaves_one(struct world *w, const struct ask_case *c)
{
    char request[1024];
    long status, held;
    size_t refused;

    shut_gate(w);
    send_crowd(w, SOME, request_of(request, keys.anna, c->method, c->path, c->json));
    world_until(20, wire_look(wires, SOME, 1) == 0 || waiting_at_the_gate(w) >= c->running);
    status = ask(w, keys.bert, c->method, c->path, c->others_json).status;
    held = waiting_at_the_gate(w);
    world_until(20, wire_look(wires, SOME, 20) == 0);
    refused = crowd_answered(SOME, "caller_busy");
    open_gate(w);
    end_crowd(SOME);
    assert_in_range(held, 0, c->running);
    return status == c->others_status && held > 0 && refused > 0;
}

static void a_tenant_leaves_connections_to_others(void **state)
{
    struct world *w = *state;

    world_sql(w, "insert into settle.publish_logs (platform, user_id_str) values ('tiktok', 'anna')");
    for (size_t i = 0; i < countof(cases); i++)
        world_until(120, leaves_one(w, &cases[i]));
    assert_int_equal(ask(w, keys.anna, "GET", "/publishing/logs", NULL).status, 200);
}

/* Who comes when so many wait is refused at once, while these go on waiting: for less than two seconds. */
static void a_tenant_leaves_places_in_line_to_others(void **state)
{
    struct world *w = *state;

    if (!world_times_count())
        skip();
    for (size_t i = 0; i < countof(cases); i++) {
        const struct ask_case *c = &cases[i];
        size_t over = (size_t)(MANY - WAITING - c->running);
        char request[1024];

        shut_gate(w);
        send_crowd(w, MANY, request_of(request, keys.anna, c->method, c->path, c->json));
        wait_for_refusals(MANY, over);
        assert_int_equal(wire_look(wires, MANY, 0), MANY - over);
        open_gate(w);
        end_crowd(MANY);
    }
}

static size_t repairs_done(struct world *w, const char *request)
{
    int statuses[WIRE_ANSWERS_MAX];
    size_t n = 0;

    send_crowd(w, REPAIRS, request);
    assert_int_equal(wire_run(wires, REPAIRS, 60), 0);
    for (size_t i = 0; i < REPAIRS; i++) {
        n += wire_answers(wires[i], statuses) == 1 && statuses[0] == 200;
        wire_close(wires[i]);
    }
    return n;
}

/* Of one tenant so many may come at once: they wait for each other, and each is done. None waits for more than two seconds: a
 * slow machine does not come to all of them each time. */
static void fifty_repairs_of_one_tenant_are_each_answered(void **state)
{
    struct world *w = *state;
    char request[1024];

    if (!world_times_count())
        skip();
    world_sql(w, "insert into settle.platform_connections (user_id_str, platform, account, connected) "
                 "values ('anna', 'gsc', 'default', true), ('anna', 'bing', 'default', true)");
    request_of(request, keys.anna, "POST", "/api/scheduler/platform-insights/reconcile/anna", "");
    world_until(60, repairs_done(w, request) == REPAIRS);
    assert_string_equal(
        world_sql(w, "select count(*) >= 50, sum(jsonb_array_length(report -> 'created_platforms')), "
                     "(select count(*) from settle.platform_insights_tasks where user_id = 'anna') "
                     "from settle.job_runs where job_name = 'insights_reconcile' and status = 'success'"),
        "t|2|2");
}

static void a_tenant_leaves_runs_to_others(void **state)
{
    struct world *w = *state;
    char ids[2][64], paths[2][128], request[1024];

    for (size_t i = 0; i < 2; i++) {
        snprintf(ids[i], sizeof(ids[i]), "%s",
                 world_sql(w,
                           "insert into settle.publish_logs (platform, user_id_str, status) "
                           "values ('tiktok', '%s', 'processing') returning id",
                           i ? "bert" : "anna"));
        snprintf(paths[i], sizeof(paths[i]), "/publishing/logs/%s/override", ids[i]);
    }
    send_crowd(
        w, 5,
        request_of(request, keys.anna, "POST", paths[0], "{\"status\":\"failed\",\"reason\":\"wait\"}"));
    wait_for_refusals(5, 3);
    assert_int_equal(ask(w, keys.bert, "POST", paths[1], "{\"status\":\"failed\",\"reason\":\"now\"}").status,
                     200);
    assert_int_equal(crowd_answered(5, "caller_busy"), 3);
    world_wait(w, world_spawn(w, "touch", "go", NULL));
    end_crowd(5);
    assert_int_equal(ask(w, keys.anna, "POST", paths[0], "{\"status\":\"failed\",\"reason\":\"now\"}").status,
                     200);
}

static void who_guesses_keys_waits(void **state)
{
    struct world *w = *state;
    char unknown[KEY_TEXT_BYTES] = "", fresh[KEY_TEXT_BYTES], request[1024];
    struct reply r = {.status = 0};
    int statuses[WIRE_ANSWERS_MAX];

    apikey_make(unknown);
    take(w, fresh, "anna", "read");
    assert_int_equal(ask(w, keys.anna, "GET", "/publishing/logs", NULL).status, 200);
    assert_true((r = ask(w, unknown, "GET", "/publishing/logs", NULL), says(&r, 401, "unauthorized")));
    world_until(20, (r = ask(w, unknown, "GET", "/publishing/logs", NULL), says(&r, 429, "wrong_keys")));
    assert_true(strtol(reply_header(w, &r, "retry-after"), NULL, 10) > 0);
    assert_int_equal(ask(w, keys.anna, "GET", "/publishing/logs", NULL).status, 200); /* it was good lately */
    wires[0] = &crowd[0];
    wire_open_from(wires[0], "127.0.0.2", w->admin_url,
                   span_of(request_of(request, unknown, "GET", "/publishing/logs", "")));
    assert_int_equal(wire_run(wires, 1, 20), 0);
    assert_int_equal(wire_answers(wires[0], statuses), 1);
    assert_int_equal(statuses[0], 401); /* who calls from elsewhere */
    wire_close(wires[0]);
    world_until(20, ask(w, fresh, "GET", "/publishing/logs", NULL).status == 200); /* and after a while all */
}

static void a_source_of_a_tenant_takes_no_posts_of_others(void **state)
{
    static const struct {
        const char *who, *source, *user;
        long status;
    } posts[] = {
        {keys.bert,     "own",     "bert", 403},
        {keys.anna,     "own",     "anna", 201},
        {keys.operator, "own",     "bert", 403},
        {keys.operator, "own",     "anna", 201},
        {keys.bert,     "shared",  "bert", 201},
        {keys.bert,     "default", "bert", 201},
    };
    struct world *w = *state;

    for (size_t i = 0; i < countof(posts); i++) {
        char json[160];
        struct reply r;

        snprintf(json, sizeof(json),
                 "{\"platform\":\"tiktok\",\"source\":\"%s\",\"user_id_str\":\"%s\",\"external_post_id\":\"p%"
                 "zu\"}",
                 posts[i].source, posts[i].user, i);
        r = ask(w, posts[i].who, "POST", "/publishing/logs", json);
        if (!says(&r, posts[i].status, posts[i].status == 403 ? "other_tenants_source" : NULL))
            fail_msg("case %zu: %ld %s", i, r.status, r.body);
    }
}

/* A key whose check holds, with that id and a secret that is not its own. */
static void forge(char ret[KEY_TEXT_BYTES], const char id[APIKEY_ID_CHARS])
{
    enum { CHECK_AT = APIKEY_CHARS - 8 };
    uint8_t digest[crypto_generichash_BYTES];

    apikey_make(ret);
    memcpy(ret + strlen("settle_"), id, APIKEY_ID_CHARS);
    crypto_generichash(digest, sizeof(digest), (const uint8_t *)ret, CHECK_AT, NULL, 0);
    for (size_t i = 0; i < 4; i++)
        snprintf(ret + CHECK_AT + 2 * i, 3, "%02x", digest[i]);
}

enum { TIMED_IDS = 16, BATCHES = 300, BATCH = 400 };
static const char *const kinds[2] = {"known", "unknown"};

/* Requests with keys of known ids, [0], and of others, [1]: one look alike the other. */
static void forge_requests(struct world *w, char requests[2][TIMED_IDS][1024])
{
    for (size_t i = 0; i < (size_t)2 * TIMED_IDS; i++) {
        char id[APIKEY_ID_CHARS + 1], key[KEY_TEXT_BYTES];
        struct apikey read;
        char room[1024];

        snprintf(id, sizeof(id), "%08x%08x", arc4random(), arc4random());
        if (i < TIMED_IDS)
            world_sql(w,
                      "insert into settle.api_keys (id, name, hash, user_id_str, scopes, created_by) "
                      "values ('%s', 'timed', sha256('%s'), 'anna', '{read}', 'test')",
                      id, id);
        forge(key, id);
        assert_true(apikey_read((struct span){key, APIKEY_CHARS}, &read));
        request_of(room, key, "GET", "/publishing/logs", "");
        snprintf(requests[i / TIMED_IDS][i % TIMED_IDS], 1024, "%s", room);
        memcpy(strstr(requests[i / TIMED_IDS][i % TIMED_IDS], "connection: "), "x-anything",
               10); /* it stays open */
    }
    world_sql(w, "vacuum analyze settle.api_keys");
}

/* Until its answer has come, in us. */
static double time_of(int fd, const char *request)
{
    char answer[2048];
    int64_t from_us = now_boot_us();
    ssize_t got;

    assert_int_equal(write(fd, request, strlen(request)), strlen(request));
    got = read(fd, answer, sizeof(answer));
    if (got < 13 || memcmp(answer + 9, "401", 3) != 0 || answer[got - 1] != '}')
        fail_msg("%zd bytes: %.*s", got, (int)got, answer);
    return (double)(now_boot_us() - from_us);
}

static int by_size(const void *a, const void *b)
{
    double one = *(const double *)a, two = *(const double *)b;

    return (one > two) - (one < two);
}

/* Of one batch, in random order: how much the median of the known ids is above that of the others. */
static double batch_difference(int fd, char requests[2][TIMED_IDS][1024], double *ret_median)
{
    double times[2][BATCH];
    size_t n[2] = {0, 0};

    for (size_t i = 0; i < BATCH; i++) {
        size_t kind = arc4random_uniform(2);

        times[kind][n[kind]++] = time_of(fd, requests[kind][arc4random_uniform(TIMED_IDS)]);
    }
    for (size_t kind = 0; kind < 2; kind++)
        qsort(times[kind], n[kind], sizeof(times[0][0]), by_size);
    *ret_median = times[1][n[1] / 2];
    return times[0][n[0] / 2] - times[1][n[1] / 2];
}

/* A key is refused after the same time, whether there is one of its id or not. A leak is a difference that is sure and more than a
 * fiftieth: that a row which is there is fetched takes Postgres half a microsecond, of eighty, and ids are no secrets. Like
 * tests/timing, but with the store. */
static void known_and_unknown_ids_take_as_long(void **state)
{
    static char requests[2][TIMED_IDS][1024];
    struct world *w = *state;
    double sum = 0, squares = 0, all = 0, mean, t;

    if (!getenv("SETTLE_TEST_LONG"))
        skip();
    setenv("SETTLE_ADMIN_WRONG_KEYS_PER_MINUTE", "1000000", 1);
    world_gateway_stop(w);
    world_gateway(w, NULL);
    forge_requests(w, requests);
    for (size_t i = 0; i < BATCHES; i++) {
        double median, difference;

        wire_open(&crowd[0], w->admin_url, SPAN("")); /* anew: of one connection only so many are answered */
        difference = batch_difference(crowd[0].fd, requests, &median);
        wire_close(&crowd[0]);
        sum += difference;
        squares += difference * difference;
        all += median;
    }
    mean = sum / BATCHES;
    t = mean / sqrt((squares / BATCHES - mean * mean) / (BATCHES - 1));
    print_message("%s against %s ids: t = %.2f, %.2f us of %.0f\n", kinds[0], kinds[1], t, mean,
                  all / BATCHES);
    if (world_times_count() && fabs(t) > 4.5 && fabs(mean) > all / BATCHES / 50)
        fail_msg("the time tells which ids there are");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_tenant_leaves_connections_to_others, reset),
        cmocka_unit_test_setup(a_tenant_leaves_places_in_line_to_others, reset),
        cmocka_unit_test_setup(fifty_repairs_of_one_tenant_are_each_answered, reset),
        cmocka_unit_test_setup(a_tenant_leaves_runs_to_others, reset),
        cmocka_unit_test_setup(who_guesses_keys_waits, reset),
        cmocka_unit_test_setup(a_source_of_a_tenant_takes_no_posts_of_others, reset),
        cmocka_unit_test_setup(known_and_unknown_ids_take_as_long, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
