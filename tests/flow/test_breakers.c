/* Breakers in Postgres: what many runners make of one, and where it shows. The rules themselves: test_breaker. */
#include "support/world.h"

#include "asking.h"
#include "base/log.h"
#include "base/now.h"
#include "breakers.h"
#include "session.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { RUNNERS = 8, TAKES = 25, PATIENCE_S = 60 };

static struct config *config;

static int up(void **state)
{
    struct err err = {0};
    const struct config_flag flags[] = {
        {"reconcile.open_cooldown_seconds", "60"},
        {"reconcile.half_open_probe_count", "3" },
    };

    *state = world_open();
    config = config_open(NULL, (char *[]){NULL}, flags, countof(flags), &err);
    assert_non_null(config);
    return world_gateway(*state, NULL);
}

static int reset(void **state)
{
    world_reset(*state);
    return 0;
}

static int down(void **state)
{
    config_close(config);
    world_close(*state);
    return 0;
}

static struct pg *connect_to(const struct world *w)
{
    const struct pg_config c = {.url = w->database_url,
                                .user = "settle_reconciler",
                                .application = "test_breakers",
                                .connect_timeout_s = PATIENCE_S,
                                .statement_timeout_ms = 5000,
                                .lazy = true,
                                .unsafe_ok = true};
    struct err err = {0};
    struct pg *pg = pg_connect(&c, &err);

    if (!pg)
        fail_msg("%s", err.text);
    return pg;
}

/* Both: again while Postgres or the other runners leave no time for it, in which nothing was changed. */

static enum status take_in_the_end(const struct breakers *b, const char *platform, enum missing *ret_why,
                                   struct breaker_pass *ret_pass, struct err *err)
{
    int64_t until = world_deadline(PATIENCE_S);
    enum status status;

    do
        status = breakers_take(b, span_of(platform), ret_why, ret_pass, err);
    while (status == UNAVAILABLE && now_boot_us() < until);
    return status;
}

static enum status note_in_the_end(const struct breakers *b, const char *platform, struct breaker_pass pass,
                                   enum breaker_word word, enum breaker_state *ret_state, struct err *err)
{
    int64_t until = world_deadline(PATIENCE_S);
    enum status status;

    do
        status = breakers_note(b, span_of(platform), &pass, word, ret_state, err);
    while (status == UNAVAILABLE && now_boot_us() < until);
    return status;
}

static enum missing take(const struct breakers *b, const char *platform, struct breaker_pass *ret_pass)
{
    enum missing why;
    struct err err = {0};

    if (take_in_the_end(b, platform, &why, ret_pass, &err))
        fail_msg("%s", err.text);
    return why;
}

static enum breaker_state note(const struct breakers *b, const char *platform, struct breaker_pass pass,
                               enum breaker_word word)
{
    enum breaker_state state;
    struct err err = {0};

    if (note_in_the_end(b, platform, pass, word, &state, &err))
        fail_msg("%s", err.text);
    return state;
}

static void fail_often(const struct breakers *b, const char *platform, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        struct breaker_pass pass;
        assert_int_equal(take(b, platform, &pass), MISSING_NONE);
        note(b, platform, pass, BREAKER_FAILURE);
    }
}

/* As if its cool-down had begun so long ago. */
static void age(struct world *w, const char *platform, unsigned seconds)
{
    world_sql(
        w, "update settle.breakers set opened_at = opened_at - interval '%u seconds' where platform = '%s'",
        seconds, platform);
}

static void test_it_goes_round(void **state)
{
    struct world *w = *state;
    struct breakers b = {connect_to(w), config};
    struct breaker_pass pass, other;

    assert_int_equal(take(&b, "x", &pass), MISSING_NONE);
    note(&b, "x", pass, BREAKER_SUCCESS);
    assert_int_equal(world_count(w, "select count(*) from settle.breakers"),
                     0); /* while all is well nothing is written */
    fail_often(&b, "x", 4);
    assert_int_equal(take(&b, "x", &pass), MISSING_NONE);
    assert_int_equal(note(&b, "x", pass, BREAKER_NEITHER), BREAKER_CLOSED);
    assert_int_equal(note(&b, "x", pass, BREAKER_FAILURE), BREAKER_OPEN);
    assert_int_equal(take(&b, "x", &pass), MISSING_CIRCUIT_OPEN);
    assert_int_equal(take(&b, "y", &other), MISSING_NONE); /* each platform its own */
    age(w, "x", 61);
    for (int i = 0; i < 3; i++)
        assert_int_equal(take(&b, "x", &pass), MISSING_NONE);
    assert_int_equal(take(&b, "x", &other), MISSING_HALF_OPEN_PROBE_EXHAUSTED);
    world_sql(w, "update settle.breakers set probes_until = array[now() - interval '1 second', now() + "
                 "interval '15 seconds',"
                 " now() + interval '15 seconds']");
    assert_int_equal(take(&b, "x", &pass), MISSING_NONE); /* one permit is over */
    assert_int_equal(take(&b, "x", &other), MISSING_HALF_OPEN_PROBE_EXHAUSTED);
    assert_int_equal(note(&b, "x", pass, BREAKER_FAILURE), BREAKER_OPEN);
    age(w, "x", 61);
    assert_int_equal(take(&b, "x", &pass), MISSING_NONE);
    assert_int_equal(note(&b, "x", pass, BREAKER_SUCCESS), BREAKER_CLOSED);
    assert_string_equal(
        world_sql(
            w, "select state, failures, opened_at is null, transitions, probes_until from settle.breakers"),
        "closed|0|t|5|{}");
    pg_close(b.pg);
}

struct runner {
    struct pg *pg;
    pthread_t thread;
    unsigned taken;
    int64_t era;
    bool notes; /* failures, besides */
    enum status status;
    struct err err;
};

/* What fails is told by who waits for it: a thread of its own cannot end the test. */
static void *run(void *ctx)
{
    struct runner *r = ctx;
    struct breakers b = {r->pg, config};

    for (unsigned i = 0; i < TAKES && r->status == OK; i++) {
        struct breaker_pass pass = {0, TIME_NONE};
        enum breaker_state state;
        enum missing why;
        if (r->notes) {
            r->status = note_in_the_end(&b, "x", pass, BREAKER_FAILURE, &state, &r->err);
            continue;
        }
        r->status = take_in_the_end(&b, "x", &why, &pass, &r->err);
        if (r->status == OK && why == MISSING_NONE) {
            r->taken++;
            r->era = pass.era;
        }
    }
    return NULL;
}

static void run_all(struct world *w, struct runner runners[RUNNERS], bool notes)
{
    for (size_t i = 0; i < RUNNERS; i++)
        runners[i] = (struct runner){.pg = connect_to(w), .notes = notes};
    for (size_t i = 0; i < RUNNERS; i++)
        assert_int_equal(pthread_create(&runners[i].thread, NULL, run, &runners[i]), 0);
    for (size_t i = 0; i < RUNNERS; i++)
        pthread_join(runners[i].thread, NULL);
    for (size_t i = 0; i < RUNNERS; i++) {
        pg_close(runners[i].pg);
        if (runners[i].status)
            fail_msg("runner %zu: %s", i, runners[i].err.text);
    }
}

/* However many ask at one time, three probes go; and all of them in one era. */
static void test_many_runners_share_the_probes(void **state)
{
    struct world *w = *state;
    struct breakers b = {connect_to(w), config};
    struct runner runners[RUNNERS];

    for (unsigned round = 0; round < 5; round++) {
        unsigned taken = 0;
        world_sql(w, "delete from settle.breakers");
        fail_often(&b, "x", 5);
        age(w, "x", 61);
        run_all(w, runners, false);
        for (size_t i = 0; i < RUNNERS; i++) {
            taken += runners[i].taken;
            assert_true(runners[i].taken == 0 || runners[i].era == 2);
        }
        assert_int_equal(taken, 3);
    }
    pg_close(b.pg);
}

/* No failure is lost and none counts twice: they open it once. */
static void test_many_runners_count_together(void **state)
{
    struct world *w = *state;
    struct runner runners[RUNNERS];
    struct config_flag many = {"reconcile.failure_threshold", "1000"};
    struct config *usual = config;
    struct err err = {0};

    config = config_open(NULL, (char *[]){NULL}, &many, 1, &err);
    run_all(w, runners, true);
    assert_int_equal(world_count(w, "select failures from settle.breakers"), RUNNERS * TAKES);
    config_close(config);
    config = usual;
    world_sql(w, "delete from settle.breakers");
    run_all(w, runners, true);
    assert_string_equal(world_sql(w, "select state, failures, transitions from settle.breakers"), "open|5|1");
}

static void test_options_of_one_platform(void **state)
{
    struct world *w = *state;
    struct config_breaker one = {"x", 1, 5, 1};
    struct config changed = *config;
    struct breakers b = {connect_to(w), &changed};
    struct breaker_pass pass;

    changed.reconcile.breakers = &one;
    changed.reconcile.nbreakers = 1;
    fail_often(&b, "x", 1);
    assert_int_equal(take(&b, "x", &pass), MISSING_CIRCUIT_OPEN);
    age(w, "x", 6);
    assert_int_equal(take(&b, "x", &pass), MISSING_NONE);
    assert_int_equal(take(&b, "x", &pass), MISSING_HALF_OPEN_PROBE_EXHAUSTED);
    fail_often(&b, "y", 4); /* the others' threshold is five */
    assert_int_equal(take(&b, "y", &pass), MISSING_NONE);
    pg_close(b.pg);
}

static const json_t *member(const json_t *o, const char *name)
{
    return json_object_get(o, name);
}

static bool page_says(struct world *w, const char *line)
{
    char url[128];

    snprintf(url, sizeof(url), "%s/metrics", w->monitor_url);
    return strstr(world_http(w, "GET", url, NULL, SPAN_NONE).body, line) != NULL;
}

static void test_it_shows(void **state)
{
    struct world *w = *state;
    struct breakers b = {connect_to(w), config};
    struct reply r = world_api(w, "GET", "/debug/circuit-breakers", NULL);
    const json_t *tiktok;

    assert_int_equal(r.status, 200);
    assert_int_equal(json_object_size(r.json), 0);
    fail_often(&b, "tiktok", 5);
    r = world_api(w, "GET", "/debug/circuit-breakers", NULL);
    tiktok = member(r.json, "tiktok");
    assert_int_equal(json_object_size(r.json), 1);
    assert_string_equal(json_string_value(member(tiktok, "state")), "open");
    assert_int_equal(json_integer_value(member(tiktok, "failures")), 5);
    assert_int_equal(json_integer_value(member(tiktok, "half_open_probes")), 0);
    assert_int_equal(json_integer_value(member(tiktok, "transitions")), 1);
    assert_true(json_is_string(member(tiktok, "opened_at")));
    world_until(30, page_says(w, "settle_breaker_state{platform=\"tiktok\",state=\"open\"} 1\n"));
    assert_true(page_says(w, "settle_breaker_state{platform=\"tiktok\",state=\"closed\"} 0\n"));
    assert_true(page_says(w, "settle_breaker_state{platform=\"instagram\",state=\"closed\"} 1\n"));
    assert_true(page_says(w, "settle_breaker_transitions_total{platform=\"tiktok\"} 1\n"));
    assert_true(page_says(w, "settle_breaker_closings_total{platform=\"tiktok\"} 0\n"));
    pg_close(b.pg);
}

/* What an answer says of the platform, and why nothing was learned. */
static void test_words_of_answers(void **state)
{
    static const struct {
        enum fetch_error error;
        int status;
        enum breaker_word word;
        const char *missing; /* NULL: something was learned */
    } cases[] = {
        {FETCH_OK,              200, BREAKER_SUCCESS, NULL          },
        {FETCH_OK,              204, BREAKER_SUCCESS, NULL          },
        {FETCH_OK,              404, BREAKER_SUCCESS, "fetch_error" },
        {FETCH_OK,              400, BREAKER_SUCCESS, "fetch_error" },
        {FETCH_OK,              401, BREAKER_NEITHER, "auth_error"  },
        {FETCH_OK,              403, BREAKER_NEITHER, "auth_error"  },
        {FETCH_OK,              429, BREAKER_NEITHER, "rate_limited"},
        {FETCH_GARBAGE,         429, BREAKER_NEITHER, "rate_limited"},
        {FETCH_OK,              302, BREAKER_FAILURE, "fetch_error" },
        {FETCH_OK,              408, BREAKER_FAILURE, "fetch_error" },
        {FETCH_OK,              500, BREAKER_FAILURE, "fetch_error" },
        {FETCH_OK,              503, BREAKER_FAILURE, "fetch_error" },
        {FETCH_DNS,             0,   BREAKER_FAILURE, "fetch_error" },
        {FETCH_REFUSED,         0,   BREAKER_FAILURE, "fetch_error" },
        {FETCH_TLS,             0,   BREAKER_FAILURE, "fetch_error" },
        {FETCH_TIMEOUT,         0,   BREAKER_FAILURE, "timeout"     },
        {FETCH_TIMEOUT,         200, BREAKER_FAILURE, "timeout"     },
        {FETCH_TOO_LARGE,       200, BREAKER_FAILURE, "fetch_error" },
        {FETCH_GARBAGE,         0,   BREAKER_FAILURE, "fetch_error" },
        {FETCH_LOST,            0,   BREAKER_FAILURE, "fetch_error" },
        {FETCH_BAD_URL,         0,   BREAKER_NEITHER, "fetch_error" },
        {FETCH_PRIVATE_ADDRESS, 0,   BREAKER_NEITHER, "fetch_error" },
        {FETCH_HELD,            0,   BREAKER_NEITHER, "fetch_error" },
        {FETCH_STOPPED,         0,   BREAKER_NEITHER, "fetch_error" },
    };

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        const struct fetch_answer a = {.error = cases[i].error, .status = cases[i].status};
        const char *missing = missing_name(breakers_missing(&a));
        assert_int_equal(breakers_word(&a), cases[i].word);
        assert_true(span_eq(span_of(missing), span_of(cases[i].missing)));
    }
}

bool session_stopping(void) /* of the reconciler's session, which no test of these modules has */
{
    return false;
}

/* What is written of tries: the fields by which operators and alerts find them. */
static void test_log_lines(void **state)
{
    static const struct fetch_answer again = {.error = FETCH_OK,
                                              .status = 503,
                                              .attempt = 1,
                                              .again = true,
                                              .backoff_ms = 1050,
                                              .took_ms = 7,
                                              .why = ""},
                                     last = {.error = FETCH_TIMEOUT,
                                             .attempt = 3,
                                             .why = "Timeout was reached"},
                                     good = {.error = FETCH_OK, .status = 200, .attempt = 1, .why = ""},
                                     held = {.error = FETCH_HELD, .attempt = 1, .why = ""};
    static const char *const lines[] = {
        "\"event\":\"poll_retry_scheduled\"",
        ("\"platform\":\"tiktok\",\"attempt\":1,\"backoff_seconds\":2,\"error_code\":"
         "\"fetch_error\",\"cause\":\"ok\",\"http_status\":503,\"took_ms\":7"),
        "\"event\":\"fetch_error\"",
        "\"attempt\":3,\"backoff_seconds\":0,\"error_code\":\"timeout\",\"cause\":\"timeout\"",
        "\"event\":\"circuit_open\"",
        "\"attempt\":2,\"backoff_seconds\":25,\"error_code\":\"half_open_probe_exhausted\"",
    };
    FILE *file = tmpfile();
    int before = dup(2);
    char text[4096] = "";
    size_t len, nlines = 0;

    (void)state;
    log_open("test", LOG_INFO);
    dup2(fileno(file), 2);
    asking_log_try(SPAN("tiktok"), &again, breakers_missing(&again));
    asking_log_try(SPAN("tiktok"), &last, breakers_missing(&last));
    asking_log_try(SPAN("tiktok"), &good, breakers_missing(&good));
    asking_log_try(SPAN("tiktok"), &held, breakers_missing(&held));
    asking_log_held(SPAN("tiktok"), 2, 25, MISSING_HALF_OPEN_PROBE_EXHAUSTED);
    dup2(before, 2);
    close(before);
    rewind(file);
    len = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    for (size_t i = 0; i < len; i++)
        nlines += text[i] == '\n';
    assert_int_equal(nlines, 3);
    for (size_t i = 0; i < countof(lines); i++)
        if (!strstr(text, lines[i]))
            fail_msg("no %s in %s", lines[i], text);
}

/* What stands in the settings reaches fetch. */
static void test_settings(void **state)
{
    const struct config_flag flags[] = {
        {"fetch.allow_private", "10.0.0.0/8"},
        {"fetch.timeout_ms",    "1234"      },
        {"fetch.at_once",       "7"         },
    };
    struct err err = {0};
    struct config *c = config_open(NULL, (char *[]){NULL}, flags, countof(flags), &err);
    struct fetch_config f = asking_config(c);

    (void)state;
    assert_int_equal(f.nallowed, 1);
    assert_int_equal(f.whole_ms, 1234);
    assert_int_equal(f.at_once, 7);
    assert_int_equal(f.at_once_per_lane, 4);
    assert_int_equal(f.connect_ms, 5000);
    assert_int_equal(f.backoff_ms, 1000);
    assert_int_equal(f.answer_bytes, 1 << 20);
    assert_false(f.allow_http);
    assert_null(f.ca_file);
    config_close(c);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, reset)
    const struct CMUnitTest tests[] = {
        TEST(test_it_goes_round),
        TEST(test_many_runners_share_the_probes),
        TEST(test_many_runners_count_together),
        TEST(test_options_of_one_platform),
        TEST(test_it_shows),
        TEST(test_words_of_answers),
        TEST(test_log_lines),
        TEST(test_settings),
    };

    return cmocka_run_group_tests(tests, up, down);
}
