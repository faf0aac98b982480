#include "support/world.h"

#include "base/now.h"
#include "store/pg.h"
#include "store/sqlstate.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include <libpq-fe.h>

enum { WAIT_MS = 10000, FOREVER_S = 60 };

/* What became of one statement. */
struct answer {
    unsigned calls;
    size_t place; /* among all answers */
    enum status status;
    char sqlstate[6], text[506]; /* of the error, or the first column of the first row */
};
static size_t nanswers;

static struct pg_config config(const struct world *w)
{
    return (struct pg_config){.url = w->database_url,
                              .user = "postgres",
                              .application = "test_pg",
                              .connect_timeout_s = 5,
                              .statement_timeout_ms = 20000,
                              .prepare = true};
}

static struct pg *connect_as(const struct pg_config *c)
{
    struct err err = {0};
    struct pg *pg = pg_connect(c, &err);

    if (!pg)
        fail_msg("%s", err.text);
    return pg;
}

static struct pg *connect(const struct world *w)
{
    struct pg_config c = config(w);

    return connect_as(&c);
}

/* The text of the error with which this connection is refused. */
static struct err refusal(const struct pg_config *c)
{
    struct err err = {0};
    struct pg *pg = pg_connect(c, &err);

    if (pg)
        fail_msg("connected, and should not have");
    return err;
}

static void after(void *ctx, const struct pg_rows *rows, const struct err *err)
{
    struct answer *a = ctx;

    a->calls++;
    a->place = nanswers++;
    assert_true(!rows != !err);
    if (err) {
        a->status = err->code;
        snprintf(a->sqlstate, sizeof(a->sqlstate), "%s", err->sqlstate);
        snprintf(a->text, sizeof(a->text), "%s", err->text);
    } else if (pg_nrows(rows) > 0) {
        snprintf(a->text, sizeof(a->text), "%.*s", SPAN_ARG(pg_bytes(rows, 0, 0)));
    }
}

/* Sends schema_missing for one name: that name comes back. */
static void send_name(struct pg *pg, struct span name, int64_t deadline_boot_us, struct answer *to)
{
    struct arena *arena = arena_open(256);
    struct pg_args args;

    pg_args_init(&args, arena);
    pg_arg_texts(&args, &name, 1);
    pg_send(pg, SQL_SCHEMA_MISSING, &args, deadline_boot_us, after, to);
    arena_close(arena); /* the bytes are copied */
    assert_int_equal(to->calls, 0);
}

static int64_t seconds_from_now(int seconds)
{
    return now_boot_us() + seconds * SECOND_US;
}

/* As an owner's loop does. False when the connection is lost. */
static bool turn(struct pg *pg)
{
    struct pollfd p = {.fd = pg_fd(pg), .events = POLLIN};
    bool wants_write;

    if (!pg_flush(pg, &wants_write))
        return false;
    if (wants_write)
        p.events |= POLLOUT;
    assert_true(poll(&p, 1, FOREVER_S * 1000) > 0);
    return pg_read(pg);
}

static void command(struct pg *pg, const char *text)
{
    struct err err;

    if (pg_command(pg, text, WAIT_MS, &err))
        fail_msg("%s", err.text);
}

/* Answers. */

static void test_a_bad_statement_fails_alone(void **state)
{
    enum { N = 1000, BAD = 500 };
    struct pg *pg = connect(*state);
    struct answer *answers = calloc(N, sizeof(*answers));

    nanswers = 0;
    for (size_t i = 0; i < N; i++) {
        char name[16];
        struct span sent = {name, (size_t)snprintf(name, sizeof(name), "name%zu", i)};
        send_name(pg, i == BAD ? SPAN("\xff") : sent, seconds_from_now(FOREVER_S), &answers[i]);
    }
    assert_int_equal(pg_waiting(pg), N);
    while (pg_waiting(pg))
        assert_true(turn(pg));

    for (size_t i = 0; i < N; i++) {
        char name[16];
        snprintf(name, sizeof(name), "name%zu", i);
        assert_int_equal(answers[i].calls, 1);
        assert_int_equal(answers[i].place, i);
        assert_int_equal(answers[i].status, i == BAD ? REJECTED : OK);
        assert_string_equal(answers[i].sqlstate, i == BAD ? "22021" : "");
        if (i != BAD)
            assert_string_equal(answers[i].text, name);
    }
    pg_close(pg);
    free(answers);
}

static void test_close_ends_what_waits(void **state)
{
    struct pg *pg = connect(*state);
    struct answer answers[3] = {{0}};

    nanswers = 0;
    for (size_t i = 0; i < countof(answers); i++)
        send_name(pg, SPAN("x"), seconds_from_now(FOREVER_S), &answers[i]);
    pg_close(pg);
    for (size_t i = 0; i < countof(answers); i++) {
        assert_int_equal(answers[i].calls, 1);
        assert_int_equal(answers[i].place, i);
        assert_int_equal(answers[i].status, UNAVAILABLE);
        assert_string_equal(answers[i].sqlstate, "");
    }
    pg_close(NULL);
}

static void test_a_killed_backend_ends_what_waits(void **state)
{
    struct world *w = *state;
    struct pg *pg = connect(w), *blocker = connect(w);
    struct answer first = {0}, second = {0};
    struct arena *arena = arena_open(256);
    struct pg_args args;

    command(blocker, "begin");
    command(blocker, "lock table settle.job_fences");
    pg_args_init(&args, arena);
    pg_arg_text(&args, SPAN("publications"));
    pg_arg_int(&args, 1);
    nanswers = 0;
    pg_send(pg, SQL_FENCE_RELEASE, &args, seconds_from_now(FOREVER_S), after, &first);
    send_name(pg, SPAN("x"), seconds_from_now(FOREVER_S), &second);
    world_until(10,
                world_count(w, "select count(*) from pg_stat_activity where wait_event_type = 'Lock'") == 1);
    world_sql(w, "select pg_terminate_backend(pid) from pg_stat_activity where wait_event_type = 'Lock'");
    while (turn(pg))
        ;
    assert_false(pg_read(pg));
    pg_close(pg);
    assert_int_equal(first.calls, 1);
    assert_int_equal(first.status, UNAVAILABLE);
    assert_string_equal(first.sqlstate, ""); /* the connection is lost: not the statement's own fault */
    assert_non_null(strstr(first.text, "terminating connection due to administrator command"));
    assert_int_equal(second.calls, 1);
    assert_int_equal(second.status, UNAVAILABLE);
    pg_close(blocker);
    arena_close(arena);
}

static void test_a_killed_server_loses_the_connection(void **state)
{
    struct world *w = *state;
    struct pg *pg = connect(w);
    struct answer answer = {0};
    struct err err;

    world_kill(w, POSTGRES);
    assert_int_equal(pg_run(pg, SQL_SERVER_CHECK, NULL, WAIT_MS, NULL, &err), UNAVAILABLE);
    assert_string_equal(err.sqlstate, "");
    assert_int_equal(pg_run(pg, SQL_SERVER_CHECK, NULL, WAIT_MS, NULL, &err), UNAVAILABLE);
    send_name(pg, SPAN("x"), seconds_from_now(FOREVER_S), &answer); /* taken, and ended by pg_close */
    pg_close(pg);
    assert_int_equal(answer.calls, 1);
    world_servers(w);
}

static void test_a_frozen_server_never_blocks(void **state)
{
    enum { BYTES = 8 << 20 };
    struct world *w = *state;
    struct pg_config c = config(w);
    struct pg *pg = connect(w), *runner = connect(w);
    struct answer small = {0}, large = {0};
    char *bytes = calloc(1, BYTES);
    int64_t start_us = now_boot_us();
    bool wants_write;
    struct err err;

    memset(bytes, 'x', BYTES);
    world_freeze(w, POSTGRES);
    send_name(pg, SPAN("x"), start_us + FOREVER_S * SECOND_US, &small);
    send_name(pg, (struct span){bytes, BYTES}, start_us + 30 * SECOND_US, &large);
    assert_true(pg_flush(pg, &wants_write));
    assert_true(wants_write); /* the socket is full */
    assert_true(pg_read(pg));
    assert_true(pg_expire(pg, start_us + 29 * SECOND_US));
    assert_false(pg_expire(pg, start_us + 30 * SECOND_US)); /* the earlier deadline, though sent later */
    assert_int_equal(small.calls + large.calls, 0);
    pg_close(pg);
    assert_int_equal(small.status, UNAVAILABLE);
    assert_int_equal(large.calls, 1);

    assert_int_equal(pg_run(runner, SQL_SERVER_CHECK, NULL, 100, NULL, &err), UNAVAILABLE);
    assert_non_null(strstr(err.text, "no answer in time"));
    pg_close(runner);
    c.connect_timeout_s = 2;
    assert_int_equal(refusal(&c).code, UNAVAILABLE);
    assert_true(now_boot_us() - start_us < 10 * SECOND_US);
    world_thaw(w, POSTGRES);
    free(bytes);
}

/* The result of a statement comes before its commit. */
static void test_a_failing_commit_is_no_success(void **state)
{
    struct pg *pg = connect(*state);
    struct err err;

    command(pg, "create temporary table parent (id int primary key)");
    command(pg, "create temporary table child (id int references parent deferrable initially deferred)");
    assert_int_equal(pg_command(pg, "insert into child values (1)", WAIT_MS, &err), REJECTED);
    assert_string_equal(err.sqlstate, "23503");
    command(pg, "insert into parent values (1)");

    command(pg, "begin");
    assert_int_equal(pg_command(pg, "insert into parent values (1)", WAIT_MS, &err), REJECTED);
    assert_int_equal(pg_command(pg, "select 1", WAIT_MS, &err), UNAVAILABLE);
    assert_string_equal(err.sqlstate, "25P02");
    assert_int_equal(pg_command(pg, "commit", WAIT_MS, &err),
                     BROKEN); /* Postgres says ROLLBACK, and no error */
    command(pg, "begin");
    command(pg, "commit");
    pg_close(pg);
}

static void test_messages_do_not_quote_values(void **state)
{
    static const struct {
        const char *text, *sqlstate;
    } cases[] = {
        {"select '{\"canary\": \"\\u0000\"}'::jsonb",             "22P05"},
        {"select ('canary' || 1)::int",                           "22P02"},
        {"select ('canary 99' || 1)::timestamptz",                "22007"},
        {"select convert_from('canary\\377'::bytea, 'UTF8')",     "22021"},
        {"select 9000000000::int",                                "22003"},
        {"insert into settle.schema_version values ('receipts')", "23505"},
    };
    struct pg *pg = connect(*state);

    for (size_t i = 0; i < countof(cases); i++) {
        struct err err;
        assert_int_equal(pg_command(pg, cases[i].text, WAIT_MS, &err), REJECTED);
        assert_string_equal(err.sqlstate, cases[i].sqlstate);
        /* The text of the command itself stands in front: not of interest here. */
        assert_int_equal(strncmp(err.text, cases[i].text, strlen(cases[i].text)), 0);
        assert_null(strstr(err.text + strlen(cases[i].text), "canary"));
        assert_null(strstr(err.text + strlen(cases[i].text), "receipts"));
    }
    pg_close(pg);
}

static void test_a_late_statement_is_cancelled_by_the_server(void **state)
{
    struct pg_config c = config(*state);
    struct pg *pg;
    struct err err;

    c.statement_timeout_ms = 1000; /* it is also for each statement that connecting takes */
    c.lazy = true;
    pg = connect_as(&c);
    assert_int_equal(pg_command(pg, "select pg_sleep(60)", WAIT_MS, &err), UNAVAILABLE);
    assert_string_equal(err.sqlstate, "57014");
    command(pg, "select 1"); /* the connection lives on */
    pg_close(pg);
}

/* Rows. */

static void test_values_are_read_as_they_were_sent(void **state)
{
    struct world *w = *state;
    struct pg *pg = connect(w);
    struct arena *arena = arena_open(1024);
    struct id id = id_make(now_wall_us());
    struct pg_rows *rows;
    struct pg_args args;
    struct err err;

    pg_args_init(&args, arena);
    pg_arg_uuid(&args, &id);
    for (const char *const *s = (const char *const[]){"test", "t", "SYSTEM_HEALTH", "LOW", "key", NULL}; *s;
         s++)
        pg_arg_text(&args, span_of(*s));
    pg_arg_text(&args, SPAN_NONE);
    pg_arg_text(&args, SPAN_NONE);
    pg_arg_text(&args, SPAN_NONE);
    pg_arg_text(&args, SPAN("title"));
    pg_arg_text(&args, SPAN("it's 100 % \\ \"quoted\""));
    pg_arg_json(&args, SPAN("{\"a\": 1}"));
    assert_int_equal(pg_run(pg, SQL_ALERT_RAISE, &args, WAIT_MS, &rows, &err), OK);
    assert_int_equal(pg_nrows(rows), 1);
    assert_int_equal(pg_affected(rows), 1);
    assert_memory_equal(pg_uuid(rows, 0, 0).bytes, id.bytes, sizeof(id.bytes));
    assert_int_equal(pg_int(rows, 0, 1), 1);
    pg_rows_free(rows);
    assert_string_equal(world_sql(w, "select message, payload->'a', subject_id is null from settle.alerts"),
                        "it's 100 % \\ \"quoted\"|1|t");

    args.n--;
    pg_arg_json(&args, SPAN("{\"a\": \"\\u0000\"}"));
    assert_int_equal(pg_run(pg, SQL_ALERT_RAISE, &args, WAIT_MS, NULL, &err), REJECTED);
    assert_string_equal(err.sqlstate, "22P05");
    pg_close(pg);
    arena_close(arena);
}

static void test_nulls_and_times(void **state)
{
    struct world *w = *state;
    struct pg *pg = connect(w);
    struct arena *arena = arena_open(1024);
    struct pg_rows *rows;
    struct pg_args args;
    struct err err;

    for (int round = 0; round < 2; round++) {
        world_sql(w, "update settle.job_fences set holder = null, epoch = -3, watermark = %s",
                  round ? "'2026-01-15 10:45:00.123456Z'" : "null");
        pg_args_init(&args, arena);
        pg_arg_text(&args, SPAN("publications"));
        pg_arg_text(&args, SPAN("me"));
        pg_arg_int(&args, 1000);
        assert_int_equal(pg_run(pg, SQL_FENCE_ACQUIRE, &args, WAIT_MS, &rows, &err), OK);
        assert_int_equal(pg_int(rows, 0, 0), -2);
        assert_int_equal(pg_is_null(rows, 0, 1), round == 0);
        assert_int_equal(pg_time(rows, 0, 1), round ? INT64_C(1768473900123456) : TIME_NONE);
        pg_rows_free(rows);
    }
    pg_close(pg);
    arena_close(arena);
}

/* Connecting. */

static void test_urls(void **state)
{
    struct world *w = *state;
    struct pg_config c = config(w);
    char url[300];
    struct pg *pg;
    struct err err;

    c.url = "postgresql://me:canary@[::1/";
    err = refusal(&c);
    assert_int_equal(err.code, INVALID);
    assert_null(strstr(err.text, "canary"));

    c.url = "postgresql://me:canary@127.0.0.1:1/settle";
    err = refusal(&c);
    assert_int_equal(err.code, UNAVAILABLE);
    assert_null(strstr(err.text, "canary"));

    /* A user in the URL wins; the program's own role is the default. */
    c.user = "nobody_has_this_name";
    c.url = w->database_url;
    assert_int_equal(refusal(&c).code, UNAVAILABLE);
    snprintf(url, sizeof(url), "%s&user=settle_readonly", w->database_url);
    c.url = url;
    pg = connect_as(&c);
    assert_string_equal(world_sql(w, "select usename, application_name from pg_stat_activity "
                                     "where application_name = 'test_pg'"),
                        "settle_readonly|test_pg");
    pg_close(pg);
}

static void test_a_server_that_takes_no_writes(void **state)
{
    struct world *w = *state;
    struct pg_config c = config(w);
    char url[300];
    struct pg *pg;
    struct err err;

    snprintf(url, sizeof(url), "%s&options=-cdefault_transaction_read_only%%3Don", w->database_url);
    c.url = url;
    err = refusal(&c);
    assert_int_equal(err.code, UNAVAILABLE);
    assert_string_equal(err.cause, "read_only");

    c.read_only = true;
    c.url = w->database_url;
    pg = connect_as(&c);
    assert_int_equal(pg_command(pg, "create table settle.x ()", WAIT_MS, &err), UNAVAILABLE);
    assert_string_equal(err.sqlstate, "25006");
    pg_close(pg);
}

static void set_for_all(struct world *w, const char *setting, const char *value)
{
    world_sql(w, "alter system set %s = %s", setting, value);
    world_sql(w, "select pg_reload_conf()");
    world_until(10, strcmp(world_sql(w, "show %s", setting), value) == 0);
}

static void test_a_server_that_loses_commits(void **state)
{
    static const char *const settings[] = {"fsync", "full_page_writes", "synchronous_commit"};
    struct world *w = *state;
    struct pg_config c = config(w);

    for (size_t i = 0; i < countof(settings); i++) {
        struct err err;
        set_for_all(w, settings[i], "off");
        c.unsafe_ok = false;
        err = refusal(&c);
        assert_int_equal(err.code, BROKEN);
        assert_string_equal(err.cause, "unsafe_server");
        assert_non_null(strstr(err.text, settings[i]));
        c.unsafe_ok = true;
        pg_close(connect_as(&c));
        set_for_all(w, settings[i], "on");
    }
    pg_close(connect(w));
}

static void restart_with(struct world *w, const char *setting, const char *value)
{
    world_sql(w, "alter system set %s = %s", setting, value);
    world_kill(w, POSTGRES);
    world_servers(w);
}

static void test_a_server_that_papers_over_a_failed_sync(void **state)
{
    struct world *w = *state;
    struct pg_config c = config(w);
    struct err err;

    restart_with(w, "data_sync_retry", "on");
    err = refusal(&c);
    assert_int_equal(err.code, BROKEN);
    assert_non_null(strstr(err.text, "data_sync_retry = on"));
    restart_with(w, "data_sync_retry", "off");
    pg_close(connect(w));
}

static void test_a_table_that_a_crash_empties(void **state)
{
    struct world *w = *state;
    struct pg_config c = config(w);
    struct err err;

    world_sql(w, "alter table settle.webhook_receipts set unlogged");
    err = refusal(&c);
    assert_string_equal(err.cause, "unsafe_server");
    assert_non_null(strstr(err.text, "settle.webhook_receipts unlogged"));
    world_sql(w, "alter table settle.webhook_receipts set logged");
    pg_close(connect(w));
}

static void test_a_later_reload_does_not_reach_a_session(void **state)
{
    struct world *w = *state;
    struct pg *pg = connect(w);

    set_for_all(w, "synchronous_commit", "off");
    command(pg, "do $$ begin assert current_setting('synchronous_commit') = 'on'; end $$");
    set_for_all(w, "synchronous_commit", "on");
    pg_close(pg);
}

static void test_a_missing_change_is_named(void **state)
{
    struct world *w = *state;
    struct pg_config c = config(w);
    char url[300];
    struct err err;

    world_sql(w, "delete from settle.schema_version where change in ('alerts', 'jobs')");
    err = refusal(&c);
    world_sql(w, "insert into settle.schema_version (change) values ('alerts'), ('jobs')");
    assert_int_equal(err.code, BROKEN);
    assert_string_equal(err.cause, "schema_missing");
    assert_non_null(strstr(err.text, "jobs, alerts:"));
    assert_non_null(strstr(err.text, "sqitch deploy"));

    snprintf(url, sizeof(url), "%s&dbname=postgres", w->database_url);
    c.url = url;
    err = refusal(&c);
    assert_int_equal(err.code, BROKEN);
    assert_string_equal(err.cause, "schema_missing");
}

static void test_a_statement_that_does_not_fit_is_named(void **state)
{
    struct world *w = *state;
    struct pg_config c = config(w);

    world_sql(w, "alter table settle.alerts rename to elsewhere");
    for (int round = 0; round < 2; round++) {
        struct err err;
        c.prepare = round == 0;
        err = refusal(&c);
        assert_int_equal(err.code, BROKEN);
        assert_string_equal(err.sqlstate, "42P01");
        assert_non_null(strstr(err.text, "alert_"));
    }
    world_sql(w, "alter table settle.elsewhere rename to alerts");
}

/* Prepared when it is first used, and again if that did not succeed; those behind it rest on it. */
static void test_a_lazy_connection_prepares_what_it_uses(void **state)
{
    struct world *w = *state;
    struct pg_config c = config(w);
    struct answer answers[3] = {0};
    struct pg *pg;
    struct err err;

    c.lazy = true;
    world_sql(w, "alter table settle.alerts rename to elsewhere");
    world_sql(w, "alter table settle.breakers rename to elsewhere_too");
    pg = connect_as(&c);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pg_run(pg, SQL_BREAKER_LIST, NULL, WAIT_MS, NULL, &err), BROKEN);
        assert_string_equal(err.sqlstate, "42P01");
        assert_non_null(strstr(err.text, "breaker_list"));
    }
    world_sql(w, "alter table settle.elsewhere rename to alerts");
    world_sql(w, "alter table settle.elsewhere_too rename to breakers");
    for (size_t i = 0; i < countof(answers); i++)
        pg_send(pg, SQL_BREAKER_LIST, NULL, seconds_from_now(FOREVER_S), after, &answers[i]);
    while (pg_waiting(pg))
        assert_true(turn(pg));
    for (size_t i = 0; i < countof(answers); i++)
        assert_true(answers[i].calls == 1 && answers[i].status == OK);
    command(pg, "begin");
    assert_int_equal(pg_run(pg, SQL_HINT_KEY, NULL, WAIT_MS, NULL, &err), OK);
    command(pg, "rollback");
    assert_int_equal(pg_run(pg, SQL_HINT_KEY, NULL, WAIT_MS, NULL, &err), OK);
    pg_close(pg);
}

/* What a program lives on is known to fit before it takes work; of the rest it takes none. */
static void test_a_lazy_connection_prepares_at_connect_what_is_eager(void **state)
{
    static const enum sql eager[] = {SQL_BREAKER_LIST, SQL_HINT_KEY};
    struct world *w = *state;
    struct pg_config c = config(w);
    struct err err;

    c.lazy = true;
    c.eager = eager;
    c.neager = countof(eager);
    world_sql(w, "alter table settle.alerts rename to elsewhere");
    for (int round = 0; round < 2; round++) {
        struct pg *pg;
        c.prepare = round == 0;
        pg = connect_as(&c);
        command(pg, c.prepare ? "select 1 / (count(*) = 2)::integer from pg_prepared_statements"
                              : "select 1 / (count(*) = 0)::integer from pg_prepared_statements");
        assert_int_equal(pg_run(pg, SQL_BREAKER_LIST, NULL, WAIT_MS, NULL, &err), OK);
        pg_close(pg);
    }
    world_sql(w, "alter table settle.breakers rename to elsewhere_too");
    err = refusal(&c);
    assert_int_equal(err.code, BROKEN);
    assert_non_null(strstr(err.text, "breaker_list"));
    world_sql(w, "alter table settle.elsewhere rename to alerts");
    world_sql(w, "alter table settle.elsewhere_too rename to breakers");
}

static void send_behind(struct pg *pg, const char *role, enum sql sql, struct answer *to)
{
    struct arena *arena = arena_open(256);
    struct pg_args args;

    pg_args_init(&args, arena);
    pg_arg_text(&args, SPAN("anna"));
    pg_arg_text(&args, span_of(role));
    pg_before(pg, SQL_CALLER_SET, &args);
    pg_send(pg, sql, NULL, seconds_from_now(FOREVER_S), after, to);
    arena_close(arena);
}

static void no_role_stays(struct pg *pg)
{
    struct err err;

    /* Fails of whoever may not become them. */
    if (pg_command(pg,
                   "select 1 / (current_user = 'postgres' and"
                   " coalesce(current_setting('settle.tenant', true), '') = '')::integer",
                   WAIT_MS, &err))
        fail_msg("%s", err.text);
}

/* Whatever becomes of the two, the next statement is nobody's; and one that could not be prepared is tried again. */
static void test_a_statement_in_front_lasts_as_long_as_the_other(void **state)
{
    struct world *w = *state;
    struct pg_config c = config(w);

    for (int lazy = 0; lazy < 2; lazy++) {
        struct answer fits = {0}, no_role = {0}, no_right = {0}, no_table = {0}, again = {0};
        struct pg *pg;

        c.lazy = lazy;
        pg = connect_as(&c);
        send_behind(pg, "settle_operator", SQL_BREAKER_LIST, &fits);
        send_behind(pg, "settle_nobody", SQL_BREAKER_LIST, &no_role);
        send_behind(pg, "settle_tenant", SQL_BREAKER_LIST, &no_right);
        while (pg_waiting(pg))
            assert_true(turn(pg));
        assert_true(fits.calls == 1 && fits.status == OK);
        assert_string_equal(no_role.sqlstate, "22023");
        assert_string_equal(no_right.sqlstate, "42501");
        no_role_stays(pg);
        pg_close(pg);

        pg = connect_as(&c);
        world_sql(w, "alter table settle.breakers rename to elsewhere");
        send_behind(pg, "settle_operator", SQL_BREAKER_LIST, &no_table);
        while (pg_waiting(pg))
            assert_true(turn(pg));
        assert_string_equal(no_table.sqlstate, "42P01");
        world_sql(w, "alter table settle.elsewhere rename to breakers");
        send_behind(pg, "settle_operator", SQL_BREAKER_LIST, &again);
        while (pg_waiting(pg))
            assert_true(turn(pg));
        assert_int_equal(again.status, OK);
        no_role_stays(pg);
        pg_close(pg);
    }
}

static void test_without_prepared_statements(void **state)
{
    struct pg_config c = config(*state);
    struct answer answer = {0};
    struct pg *pg;

    c.prepare = false;
    pg = connect_as(&c);
    send_name(pg, SPAN("x"), seconds_from_now(FOREVER_S), &answer);
    while (pg_waiting(pg))
        assert_true(turn(pg));
    assert_string_equal(answer.text, "x");
    pg_close(pg);
}

static bool is_one_of(Oid type, const Oid *types, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (types[i] == type)
            return true;
    return false;
}

static void assert_types(PGconn *conn, const struct sql_text *s)
{
    static const Oid sent[] = {16,   17,   20,   25,   701,  1082, 1184, 2950,
                               3802, 1001, 1005, 1009, 1016, 1185, 2951, 3807};
    static const Oid read[] = {16, 17, 20, 21, 23, 25, 114, 701, 1043, 1184, 2950, 3802};
    PGresult *prepared = PQprepare(conn, "", s->text, 0, NULL), *known = PQdescribePrepared(conn, "");

    if (PQresultStatus(prepared) != PGRES_COMMAND_OK)
        fail_msg("%s: %s", s->name, PQresultErrorMessage(prepared));
    assert_int_equal(PQnparams(known), s->nparameters);
    for (int p = 0; p < PQnparams(known); p++)
        if (!is_one_of(PQparamtype(known, p), sent, countof(sent)))
            fail_msg("%s: no pg_arg_... sends what $%d wants", s->name, p + 1);
    for (int f = 0; f < PQnfields(known); f++)
        if (!is_one_of(PQftype(known, f), read, countof(read)))
            fail_msg("%s: nothing in pg.h reads column %d", s->name, f + 1);
    PQclear(prepared);
    PQclear(known);
}

/* pgarg sends int8, never int4; pg_... reads what it knows. A statement with another type would fail when used. */
static void test_statements_use_types_that_we_speak(void **state)
{
    struct world *w = *state;
    char url[300];
    PGconn *conn;

    snprintf(url, sizeof(url), "%s&user=postgres", w->database_url);
    conn = PQconnectdb(url);
    for (size_t i = 0; i < NSQL; i++)
        assert_types(conn, &sql_texts[i]);
    PQfinish(conn);
}

static void test_classes_of_sqlstate(void **state)
{
    static const struct {
        const char *sqlstate;
        enum status want;
        bool of_rows;
    } cases[] = {
        {"08006", UNAVAILABLE, false},
        {"25006", UNAVAILABLE, false},
        {"40P01", UNAVAILABLE, false},
        {"53300", UNAVAILABLE, false},
        {"55P03", UNAVAILABLE, false},
        {"57014", UNAVAILABLE, false},
        {"58030", UNAVAILABLE, true },
        {"22P05", REJECTED,    true },
        {"23505", REJECTED,    true },
        {"54000", REJECTED,    true },
        {"42P01", BROKEN,      true },
        {"P0001", BROKEN,      true },
        {"XX001", BROKEN,      true },
        {"",      BROKEN,      false},
    };

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct err err = {.code = BROKEN};

        strcpy(err.sqlstate, cases[i].sqlstate);
        assert_int_equal(sqlstate_status(err.sqlstate), cases[i].want);
        assert_int_equal(sqlstate_is_of_rows(&err), cases[i].of_rows);
    }
}

static int up(void **state)
{
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
        cmocka_unit_test(test_a_bad_statement_fails_alone),
        cmocka_unit_test(test_close_ends_what_waits),
        cmocka_unit_test(test_a_killed_backend_ends_what_waits),
        cmocka_unit_test(test_a_killed_server_loses_the_connection),
        cmocka_unit_test(test_a_frozen_server_never_blocks),
        cmocka_unit_test(test_a_failing_commit_is_no_success),
        cmocka_unit_test(test_messages_do_not_quote_values),
        cmocka_unit_test(test_a_late_statement_is_cancelled_by_the_server),
        cmocka_unit_test(test_values_are_read_as_they_were_sent),
        cmocka_unit_test(test_nulls_and_times),
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_a_server_that_takes_no_writes),
        cmocka_unit_test(test_a_server_that_loses_commits),
        cmocka_unit_test(test_a_server_that_papers_over_a_failed_sync),
        cmocka_unit_test(test_a_table_that_a_crash_empties),
        cmocka_unit_test(test_a_later_reload_does_not_reach_a_session),
        cmocka_unit_test(test_a_missing_change_is_named),
        cmocka_unit_test(test_a_statement_that_does_not_fit_is_named),
        cmocka_unit_test(test_a_lazy_connection_prepares_what_it_uses),
        cmocka_unit_test(test_a_lazy_connection_prepares_at_connect_what_is_eager),
        cmocka_unit_test(test_a_statement_in_front_lasts_as_long_as_the_other),
        cmocka_unit_test(test_without_prepared_statements),
        cmocka_unit_test(test_statements_use_types_that_we_speak),
        cmocka_unit_test(test_classes_of_sqlstate),
    };

    return cmocka_run_group_tests(tests, up, down);
}
