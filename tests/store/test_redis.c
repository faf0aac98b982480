#include "support/world.h"

#include "base/now.h"
#include "store/redis.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum { WAIT_MS = 10000, FOREVER_S = 60 };

/* What became of one command. */
struct answer {
    unsigned calls;
    size_t place; /* among all answers */
    enum status status;
    int64_t number;
};
static size_t nanswers;

static struct redis *open_url(const char *url)
{
    struct err err = {0};
    struct redis *r = redis_open(url, WAIT_MS, &err);

    if (!r)
        fail_msg("%s", err.text);
    return r;
}

static struct redis *open_world(const struct world *w)
{
    return open_url(w->redis_url);
}

static void after(void *ctx, const struct redis_reply *reply, const struct err *err)
{
    struct answer *a = ctx;

    a->calls++;
    a->place = nanswers++;
    assert_true(!reply != !err);
    if (err)
        a->status = err->code;
    if (reply)
        a->number = reply->number;
}

/* Runs words that hold no blanks. */
static enum status run(struct redis *r, const char *text, struct redis_reply *ret, struct err *err)
{
    struct span words[8], rest = span_of(text);
    size_t n = 0;

    while (rest.at)
        words[n++] = span_cut(&rest, ' ');
    return redis_run(r, words, n, WAIT_MS, ret, err);
}

static bool turn(struct redis *r)
{
    struct pollfd p = {.fd = redis_fd(r), .events = POLLIN};
    bool wants_write;

    if (!redis_flush(r, &wants_write))
        return false;
    if (wants_write)
        p.events |= POLLOUT;
    assert_true(poll(&p, 1, FOREVER_S * 1000) > 0);
    return redis_read(r);
}

static void test_bytes_come_back_as_sent(void **state)
{
    const struct span value = SPAN("a\0b\r\n$5\r\n\xff");
    const struct span set[] = {SPAN("set"), SPAN("k\r\n"), value}, get[] = {SPAN("get"), SPAN("k\r\n")};
    struct redis *r = open_world(*state);
    struct redis_reply reply;

    assert_int_equal(redis_run(r, set, countof(set), WAIT_MS, &reply, NULL), OK);
    assert_int_equal(reply.kind, REDIS_TEXT);
    assert_true(span_eq(reply.text, SPAN("OK")));
    assert_int_equal(redis_run(r, get, countof(get), WAIT_MS, &reply, NULL), OK);
    assert_true(span_eq(reply.text, value));
    assert_int_equal(run(r, "get nothing", &reply, NULL), OK);
    assert_int_equal(reply.kind, REDIS_NIL);
    assert_int_equal(run(r, "incrby n 42", &reply, NULL), OK);
    assert_int_equal(reply.kind, REDIS_NUMBER);
    assert_int_equal(reply.number, 42);
    redis_close(r);
}

static void test_a_refused_command_fails_alone(void **state)
{
    struct redis *r = open_world(*state);
    struct redis_reply reply;
    struct err err;

    assert_int_equal(run(r, "canary canary2", &reply, &err), REJECTED);
    assert_string_equal(err.text, "Redis refuses: ERR"); /* what follows would quote the command */
    assert_int_equal(run(r, "ping", &reply, &err), OK);
    redis_close(r);
}

static void test_answers_come_in_order_and_once(void **state)
{
    enum { N = 1000 };
    struct redis *r = open_world(*state);
    struct answer *answers = calloc(N, sizeof(*answers));
    const struct span words[] = {SPAN("incr"), SPAN("count")};

    nanswers = 0;
    for (size_t i = 0; i < N; i++) {
        redis_send(r, words, countof(words), i % 2 ? NULL : after, &answers[i]);
        assert_int_equal(answers[i].calls, 0);
    }
    while (redis_waiting(r))
        assert_true(turn(r));
    for (size_t i = 0; i < N; i += 2) {
        assert_int_equal(answers[i].calls, 1);
        assert_int_equal(answers[i].place, i / 2);
        assert_int_equal(answers[i].number, i + 1);
    }

    memset(answers, 0, N * sizeof(*answers));
    redis_send(r, words, countof(words), after, &answers[0]);
    redis_send(r, words, countof(words), NULL, NULL);
    redis_send(r, words, countof(words), after, &answers[1]);
    redis_close(r);
    assert_int_equal(answers[0].calls, 1);
    assert_int_equal(answers[0].status, UNAVAILABLE);
    assert_int_equal(answers[1].calls, 1);
    redis_close(NULL);
    free(answers);
}

static void test_a_frozen_server_never_blocks(void **state)
{
    enum { BYTES = 8 << 20 };
    struct world *w = *state;
    struct redis *r = open_world(w), *runner = open_world(w);
    char *bytes = calloc(1, BYTES);
    const struct span words[] = {
        SPAN("set"), SPAN("k"), {bytes, BYTES}
    };
    int64_t start_us = now_boot_us();
    struct answer answer = {0};
    struct redis_reply reply;
    bool wants_write;
    struct err err;

    world_freeze(w, REDIS);
    redis_send(r, words, countof(words), after, &answer);
    assert_true(redis_flush(r, &wants_write));
    assert_true(wants_write);
    assert_true(redis_read(r));
    redis_close(r);
    assert_int_equal(answer.calls, 1);

    assert_int_equal(redis_run(runner, (const struct span[]){SPAN("ping")}, 1, 100, &reply, &err),
                     UNAVAILABLE);
    assert_non_null(strstr(err.text, "no answer in time"));
    assert_int_equal(run(runner, "ping", &reply, &err),
                     UNAVAILABLE); /* late answers are not taken for others */
    redis_close(runner);
    assert_null(redis_open(w->redis_url, 100, &err));
    assert_int_equal(err.code, UNAVAILABLE);
    assert_true(now_boot_us() - start_us < 5 * SECOND_US);
    world_thaw(w, REDIS);
    free(bytes);
}

static void test_a_killed_server_loses_the_connection(void **state)
{
    struct world *w = *state;
    struct redis *r = open_world(w);
    struct redis_reply reply;
    struct answer answer = {0};
    struct err err;

    world_kill(w, REDIS);
    assert_int_equal(run(r, "ping", &reply, &err), UNAVAILABLE);
    redis_send(r, (const struct span[]){SPAN("ping")}, 1, after, &answer);
    assert_false(redis_read(r));
    redis_close(r);
    assert_int_equal(answer.status, UNAVAILABLE);
    assert_null(redis_open(w->redis_url, WAIT_MS, &err));
    assert_int_equal(err.code, UNAVAILABLE);
    world_servers(w);
}

/* Redis may be anybody's: neither an announced size nor a kind of reply may hurt. */
static void test_strange_answers_end_the_connection(void **state)
{
    static const char *const commands[] = {"time", "get large"};
    struct world *w = *state;
    struct redis_reply reply;
    struct err err;

    assert_non_null(world_redis(w, "setrange", "large", "2000000", "x", NULL));
    for (size_t i = 0; i < countof(commands); i++) {
        struct redis *r = open_world(w);
        assert_int_equal(run(r, commands[i], &reply, &err), UNAVAILABLE);
        assert_non_null(strstr(err.text, "it sends"));
        redis_close(r);
    }
}

static void test_urls(void **state)
{
    static const struct {
        const char *url;
        enum status want;
    } cases[] = {
        {"",                                  INVALID    },
        {"redis",                             INVALID    },
        {"rediss://localhost",                INVALID    },
        {"redis://",                          INVALID    },
        {"redis://:6379",                     INVALID    },
        {"redis://127.0.0.1:",                INVALID    },
        {"redis://127.0.0.1:x",               INVALID    },
        {"redis://[::1",                      INVALID    },
        {"redis://[::1]x",                    INVALID    },
        {"redis://127.0.0.1/canary",          INVALID    },
        {"redis://canary@127.0.0.1",          INVALID    },
        {"redis://user:canary%4@127.0.0.1",   INVALID    },
        {"redis://user:canary%00@127.0.0.1",  INVALID    },
        {"unix://no/slash",                   INVALID    },
        {"unix:///x?db=",                     INVALID    },
        {"unix:///nowhere",                   UNAVAILABLE},
        {"unix://user:canary@/nowhere?db=1",  UNAVAILABLE},
        {"redis://127.0.0.1:1",               UNAVAILABLE},
        {"redis://127.0.0.1:1/",              UNAVAILABLE},
        {"redis://user:canary@127.0.0.1:1/3", UNAVAILABLE},
        {"redis://:canary%41@[::1]:1/3",      UNAVAILABLE},
    };

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct err err = {0};
        assert_null(redis_open(cases[i].url, 1000, &err));
        if (err.code != cases[i].want)
            fail_msg("%s: %s", cases[i].url, err.text);
        assert_null(strstr(err.text, "canary"));
    }
}

static void test_user_password_and_database(void **state)
{
    struct world *w = *state;
    struct redis_reply reply;
    struct redis *r;
    char url[300];
    struct err err;

    world_redis(w, "acl", "setuser", "me", "on", ">pass:/@%", "+@all", "~*", NULL);
    snprintf(url, sizeof(url), "unix://me:pass%%3A%%2f%%40%%25@%s?db=3", w->redis_url + strlen("unix://"));
    r = open_url(url);
    assert_int_equal(run(r, "set here yes", &reply, NULL), OK);
    assert_int_equal(run(r, "acl whoami", &reply, NULL), OK);
    assert_true(span_eq(reply.text, SPAN("me")));
    redis_close(r);
    assert_string_equal(world_redis(w, "-n", "3", "get", "here", NULL), "yes\n");

    snprintf(url, sizeof(url), "unix://me:canary@%s", w->redis_url + strlen("unix://"));
    assert_null(redis_open(url, WAIT_MS, &err));
    assert_int_equal(err.code, UNAVAILABLE);
    assert_string_equal(err.text, "Redis refuses: WRONGPASS");
}

static int up(void **state)
{
    signal(SIGPIPE, SIG_IGN);
    *state = world_open();
    return 0;
}

static int down(void **state)
{
    world_close(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_come_back_as_sent),
        cmocka_unit_test(test_a_refused_command_fails_alone),
        cmocka_unit_test(test_answers_come_in_order_and_once),
        cmocka_unit_test(test_a_frozen_server_never_blocks),
        cmocka_unit_test(test_a_killed_server_loses_the_connection),
        cmocka_unit_test(test_strange_answers_end_the_connection),
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_user_password_and_database),
    };

    return cmocka_run_group_tests(tests, up, down);
}
