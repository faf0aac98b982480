/* The gateway under a service manager, played by this test: what it is told, sockets that it keeps over restarts. */
#include "support/load.h"

#include "base/now.h"
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    SENDERS = 8,
    RESTARTS = 20,
    RESTARTS_LONG = 100,
    HELD_MAX = 4,
    KEPT = 3, /* connections */
    HIGH = 100,
    QUIET_S = 1,
    ANSWER_S = 30
};

/* Hands descriptors over as a manager does: counted from 3, and named to the one process they are for. */
static const char wrapper[] = "#!/bin/bash\n"
                              "at=3\n"
                              "for fd in $TEST_HELD; do eval \"exec $at<&$fd $fd<&-\"; at=$((at + 1)); done\n"
                              "[ -z \"$TEST_HELD\" ] || export LISTEN_FDS=$((at - 3)) LISTEN_PID=$$\n"
                              "unset TEST_HELD\n"
                              "exec \"$SETTLE_BUILD/gateway/settle-gateway\" \"$@\"\n";

static int manager = -1;    /* NOTIFY_SOCKET */
static char heard[1 << 16]; /* all that it said since hear_afresh, a newline behind each message */
static int held[HELD_MAX];  /* listening sockets */
static size_t nheld;
static long log_began; /* bytes */

static int up(void **state)
{
    struct world *w = world_open();
    char path[128], paths[4096];
    FILE *to;

    *state = w;
    snprintf(path, sizeof(path), "%s/bin", w->dir);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(paths, sizeof(paths), "%s:%s", path, getenv("PATH"));
    setenv("PATH", paths, 1);
    strcat(path, "/settle-gateway");
    to = fopen(path, "we");
    assert_non_null(to);
    fputs(wrapper, to);
    fclose(to);
    return chmod(path, 0755);
}

static int reset(void **state)
{
    static const char *const variables[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "TEST_HELD", "LISTEN_FDNAMES"};
    struct world *w = *state;
    struct stat file;
    char log[96];

    if (w->gateway)
        world_kill(w, GATEWAY);
    for (size_t i = 0; i < countof(variables); i++)
        unsetenv(variables[i]);
    if (manager >= 0)
        close(manager);
    manager = -1;
    while (nheld > 0)
        close(held[--nheld]);
    snprintf(log, sizeof(log), "%s/gateway/log", w->dir);
    log_began = stat(log, &file) == 0 ? (long)file.st_size : 0;
    setenv("SETTLE_INGEST_LINGER_MS", "0", 1);
    unsetenv("SETTLE_INGEST_REQUEST_TIMEOUT_MS");
    world_servers(w);
    world_sql(w, "alter role settle_gateway reset synchronous_commit");
    world_sql(w, "alter system reset full_page_writes");
    world_sql(w, "select pg_reload_conf()");
    world_reset(w);
    return 0;
}

static int down(void **state)
{
    world_close(*state);
    return 0;
}

/* The manager. */

static void listen_as_manager(struct world *w)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    snprintf(at.sun_path, sizeof(at.sun_path), "%s/notify", w->dir);
    unlink(at.sun_path);
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(manager, (const struct sockaddr *)&at, sizeof(at)), 0);
    setenv("NOTIFY_SOCKET", at.sun_path, 1);
    heard[0] = '\0';
}

/* Everything said so far. */
static const char *hear(void)
{
    size_t len = strlen(heard);
    ssize_t n;

    while ((n = recv(manager, heard + len, sizeof(heard) - len - 2, 0)) > 0) {
        len += (size_t)n;
        heard[len++] = '\n';
        heard[len] = '\0';
    }
    return heard;
}

static void hear_afresh(void)
{
    hear();
    heard[0] = '\0';
}

/* Until no more goes in: as if all programs of a machine spoke at once. What one sender may have under way is less than some
 * queues hold. */
static void leave_unheard(void)
{
    struct sockaddr_un at;
    socklen_t len = sizeof(at);
    bool full = false;

    assert_int_equal(getsockname(manager, (struct sockaddr *)&at, &len), 0);
    while (!full) {
        int sender = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        assert_int_equal(connect(sender, (const struct sockaddr *)&at, len), 0);
        for (full = true; send(sender, "X", 1, 0) == 1;)
            full = false;
        assert_int_equal(errno, EAGAIN);
        close(sender);
    }
}

/* What this test's gateways have logged: the file goes on from test to test. */
static const char *read_log(struct world *w)
{
    char path[96], from[32];

    snprintf(path, sizeof(path), "%s/gateway/log", w->dir);
    snprintf(from, sizeof(from), "+%ld", log_began + 1);
    return world_wait(w, world_spawn(w, "tail", "-c", from, path, NULL)).out;
}

/* Sockets. */

static void hold(const char *address)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    int low = socket(AF_INET, SOCK_STREAM, 0);

    at.sin_addr.s_addr = inet_addr(address);
    assert_true(nheld < HELD_MAX);
    assert_int_equal(bind(low, (const struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(low, 4096), 0);
    held[nheld] = fcntl(low, F_DUPFD, HIGH); /* out of the way of those it is to become; goes through exec */
    close(low);
    nheld++;
}

static void hand_over(const char *names)
{
    char fds[64] = "";

    for (size_t i = 0; i < nheld; i++)
        snprintf(fds + strlen(fds), sizeof(fds) - strlen(fds), "%d ", held[i]);
    setenv("TEST_HELD", fds, 1);
    setenv("LISTEN_FDNAMES", names, 1);
}

static unsigned port_of(int fd)
{
    struct sockaddr_in at;
    socklen_t len = sizeof(at);

    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    return ntohs(at.sin_port);
}

static int call(int held_fd)
{
    const struct timeval patience = {.tv_sec = ANSWER_S};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    to.sin_port = htons((uint16_t)port_of(held_fd));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static void wait_for_acks(struct load *l, unsigned n)
{
    unsigned target = load_so_far(l).acked + n;

    world_until(60, load_so_far(l).acked >= target);
}

/* Tests. */

static void test_the_manager_is_told_each_step(void **state)
{
    struct world *w = *state;

    listen_as_manager(w);
    world_gateway(w, "--workers", "2", NULL);
    world_until(10, strstr(hear(), "READY=1\n"));
    world_until(10, strstr(hear(), "STATUS=2 of 2 ingest workers can store\n"));
    assert_null(strstr(hear(), "WATCHDOG=1")); /* nobody watches */

    hear_afresh();
    kill(w->gateway, SIGHUP);
    world_until(10, strstr(hear(), "\nREADY=1\n"));
    assert_ptr_equal(strstr(hear(), "RELOADING=1\nMONOTONIC_USEC="), hear());

    world_kill(w, POSTGRES);
    world_until(20, strstr(hear(), "STATUS=0 of 2 ingest workers can store\n"));
    world_servers(w);
    world_until(20, strstr(hear(), "STATUS=2 of 2 ingest workers can store\n"));
    hear_afresh();
    assert_int_equal(world_gateway_stop(w), 0);
    assert_ptr_equal(strstr(hear(), "STOPPING=1\n"), hear());
}

/* Returns when the parent has had a turn since: it sees to the end of a child in no other. */
static void kill_a_child(struct world *w)
{
    char line[64];
    pid_t child = world_child(w, "admin");

    snprintf(line, sizeof(line), "\"child\":%d,\"exit_code\"", (int)child);
    kill(child, SIGKILL);
    world_until(20, strstr(read_log(w), line));
}

/* Else a start or reload is over and its manager waits for the end of it. */
static void test_what_the_manager_could_not_hear_is_said_again(void **state)
{
    struct world *w = *state;

    listen_as_manager(w);
    leave_unheard();
    world_gateway(w, NULL);
    world_until(20, world_api(w, "GET", "/alerts", NULL).status == 200); /* all turn */
    kill_a_child(w);
    world_until(20, strstr(hear(), "READY=1\n"));
    world_until(20, strstr(hear(), "STATUS=1 of 1 ingest workers can store\n"));

    hear_afresh();
    leave_unheard();
    kill(w->gateway, SIGHUP);
    world_until(20, strstr(read_log(w), "\"reloaded\""));
    kill_a_child(w);
    world_until(20, strstr(hear(), "READY=1\n"));
}

/* Without Postgres a start is a start: to be started again would not help. */
static void test_the_start_waits_for_no_store(void **state)
{
    struct world *w = *state;
    struct process gateway;

    listen_as_manager(w);
    world_kill(w, POSTGRES);
    gateway = world_spawn(w, "settle-gateway", "serve", NULL);
    world_until(10, strstr(hear(), "READY=1\n"));
    world_until(10, strstr(hear(), "STATUS=0 of 1 ingest workers can store\n"));
    kill(gateway.pid, SIGTERM);
    assert_int_equal(world_wait(w, gateway).status, 0);
}

static void test_a_worker_that_hangs_starves_the_watchdog(void **state)
{
    struct world *w = *state;
    pid_t worker;
    int64_t quiet;

    listen_as_manager(w);
    setenv("WATCHDOG_USEC", "400000", 1);
    world_gateway(w, "--workers", "2", NULL);
    world_until(10, strstr(hear(), "WATCHDOG=1\n"));
    hear_afresh();
    world_until(10, strstr(hear(), "WATCHDOG=1\n")); /* again and again */

    worker = world_child(w, "ingest"); /* one of the two */
    kill(worker, SIGSTOP);
    world_until(15, strstr(read_log(w), "\"watchdog_not_fed\""));
    hear_afresh();
    quiet = world_deadline(QUIET_S); /* an absence shows by time alone */
    world_until(10, now_boot_us() > quiet);
    assert_null(strstr(hear(), "WATCHDOG=1"));

    kill(worker, SIGCONT);
    world_until(10, strstr(hear(), "WATCHDOG=1\n"));
    world_until(10, strstr(read_log(w), "\"watchdog_fed_again\""));

    kill(world_child(w, "admin"), SIGSTOP); /* webhooks are taken all the same */
    world_until(15, world_http(w, "GET", w->monitor_url, NULL, SPAN_NONE).status == 404);
    hear_afresh();
    world_until(10, strstr(hear(), "WATCHDOG=1\n"));
}

static void test_a_store_that_is_away_starves_nobody(void **state)
{
    struct world *w = *state;

    listen_as_manager(w);
    setenv("WATCHDOG_USEC", "4000000", 1); /* while Postgres is being killed nobody hears */
    world_gateway(w, NULL);
    world_kill(w, POSTGRES);
    world_until(20, strstr(hear(), "STATUS=0 of 1 ingest workers can store\n"));
    hear_afresh();
    assert_int_equal(world_post(w, "instagram", NULL, "{\"external_post_id\":\"away\"}").status, 503);
    world_until(10, strstr(hear(), "WATCHDOG=1\n"));
    assert_null(strstr(read_log(w), "\"watchdog_not_fed\""));
}

static void test_sockets_that_are_handed_over_are_served(void **state)
{
    struct world *w = *state;
    char url[64];

    for (size_t i = 0; i < 3; i++)
        hold("127.0.0.1");
    hand_over("monitor:ingest:admin");
    world_gateway(w, "--workers", "3", NULL);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", port_of(held[1]));
    assert_string_equal(w->ingest_url, url);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", port_of(held[2]));
    assert_string_equal(w->admin_url, url);
    world_deliver(w, "instagram", NULL, "{\"external_post_id\":\"h\"}");
    world_until(20, world_api(w, "GET", "/publishing/logs", NULL).status == 200);
    assert_int_equal(world_gateway_stop(w), 0);
}

static void test_what_would_leave_callers_waiting_is_refused(void **state)
{
    static const struct {
        const char *names, *address, *says;
    } cases[] = {
        {"ingest:ingest", "127.0.0.1", "2 sockets were handed over for 1 processes"  },
        {"ingest:other",  "127.0.0.1", "a socket named \\\"other\\\" was handed over"},
        {"ingest:admin",  "0.0.0.0",   "can be reached from other machines"          },
    };
    struct world *w = *state;

    for (size_t i = 0; i < countof(cases); i++) {
        struct outcome end;

        while (nheld > 0)
            close(held[--nheld]);
        hold("127.0.0.1");
        hold(cases[i].address);
        hand_over(cases[i].names);
        end = world_wait(w, world_spawn(w, "settle-gateway", "serve", NULL));
        assert_int_equal(end.status, 78);
        if (!strstr(end.err, cases[i].says))
            fail_msg("%s: %s", cases[i].names, end.err);
    }
}

/* It may belong to a predecessor, or to an interface that is not up yet: the service manager is to try again. */
static void test_an_address_that_is_taken_is_no_wrong_setting(void **state)
{
    struct world *w = *state;
    struct outcome end;
    char at[64];

    hold("127.0.0.1");
    snprintf(at, sizeof(at), "127.0.0.1:%u", port_of(held[0]));
    setenv("SETTLE_INGEST_LISTEN", at, 1);
    end = world_wait(w, world_spawn(w, "settle-gateway", "serve", NULL));
    setenv("SETTLE_INGEST_LISTEN", "127.0.0.1:0", 1);
    assert_int_equal(end.status, 69);
    assert_non_null(strstr(end.err, "Address already in use"));
}

static void test_who_calls_between_two_gateways_is_answered_by_the_next(void **state)
{
    static const char request[] = "GET /nowhere HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    struct world *w = *state;
    char answer[16] = "";
    int callers[20];

    hold("127.0.0.1");
    hand_over("ingest");
    world_gateway(w, NULL);
    assert_int_equal(world_gateway_stop(w), 0);
    for (size_t i = 0; i < countof(callers); i++) {
        callers[i] = call(held[0]);
        assert_int_equal(send(callers[i], request, strlen(request), MSG_NOSIGNAL), strlen(request));
    }
    world_gateway(w, NULL);
    for (size_t i = 0; i < countof(callers); i++) {
        assert_int_equal(recv(callers[i], answer, sizeof(answer) - 1, MSG_WAITALL), sizeof(answer) - 1);
        assert_memory_equal(answer, "HTTP/1.1 404 ", 13);
        close(callers[i]);
    }
}

/* Each second time one worker, of which the parent keeps the socket; else the whole gateway, of which the manager does. */
static void test_restarts_under_load_cost_no_caller_anything(void **state)
{
    unsigned restarts = getenv("SETTLE_TEST_LONG") ? RESTARTS_LONG : RESTARTS; /* of ops/test --long */
    struct world *w = *state;
    struct load *l;
    struct load_count count;

    hold("127.0.0.1");
    hand_over("ingest");
    world_gateway(w, "--workers", "2", NULL);
    l = load_start(w, SENDERS);
    load_calls_anew(l);
    for (unsigned i = 0; i < restarts; i++) {
        wait_for_acks(l, 50);
        if (i % 2 == 0) {
            pid_t old = world_child(w, "ingest");

            kill(old, SIGTERM);
            world_until(20, kill(old, 0) != 0 && errno == ESRCH);
        } else {
            assert_int_equal(world_gateway_stop(w), 0);
            world_gateway(w, "--workers", "2", NULL);
        }
    }
    wait_for_acks(l, 50);
    count = load_stop(l, w);
    print_message("%u restarts, %u acknowledged, %u refused\n", restarts, count.acked, count.refused);
    assert_int_equal(count.wrong, 0);
    assert_true(count.refused == 0 || !world_times_count()); /* a new one may look for Postgres for long */
    assert_in_range(count.unknown, 0,
                    world_times_count() ? 0 : restarts); /* who came too late for the old one */
    assert_int_equal(count.unheard, 0);
    assert_int_equal(world_gateway_stop(w), 0);
}

/* Connections that are kept. */

#define NOWHERE SPAN("GET /nowhere HTTP/1.1\r\nHost: test\r\n\r\n")

static size_t count_answers(struct wire *wire)
{
    struct wire *wires[] = {wire};
    int statuses[WIRE_ANSWERS_MAX];

    wire_look(wires, 1, 20);
    return wire_answers(wire, statuses);
}

static void keep_connections(struct world *w, struct wire *wires)
{
    for (size_t i = 0; i < KEPT; i++) {
        wire_open(&wires[i], w->ingest_url, NOWHERE);
        world_until(20, count_answers(&wires[i]) == 1);
    }
}

static bool is_told_to_leave(struct world *w)
{
    struct wire caller;
    bool told;

    wire_open(&caller, w->ingest_url, NOWHERE);
    world_until(20, count_answers(&caller) == 1);
    told = strcasestr(caller.in, "\r\nConnection: close\r\n");
    wire_close(&caller);
    return told;
}

/* As a proxy keeps them: it may be sending at the moment of the end. Others may call until all of them have been told. */
static void test_a_connection_that_is_kept_is_told_before_it_is_closed(void **state)
{
    struct world *w = *state;
    struct wire kept[KEPT], *wires[KEPT];
    int statuses[WIRE_ANSWERS_MAX];
    int64_t began_us;

    setenv("SETTLE_INGEST_LINGER_MS", "8000", 1);
    world_gateway(w, NULL);
    keep_connections(w, kept);
    began_us = now_boot_us();
    kill(w->gateway, SIGTERM);
    world_until(20, is_told_to_leave(w));
    for (size_t i = 0; i < KEPT; i++) {
        wires[i] = &kept[i];
        assert_int_equal(wire_look(&wires[i], 1, 0), 1);
        wires[i]->out = NOWHERE;
    }
    assert_int_equal(wire_run(wires, KEPT, ANSWER_S), 0);
    for (size_t i = 0; i < KEPT; i++) {
        assert_int_equal(wire_answers(wires[i], statuses), 2);
        assert_non_null(strcasestr(wires[i]->in, "\r\nConnection: close\r\n"));
        assert_false(wires[i]->reset);
        wire_close(wires[i]);
    }
    world_until(ANSWER_S, world_http(w, "GET", w->monitor_url, NULL, SPAN_NONE).status == 0);
    assert_true(!world_times_count() || now_boot_us() - began_us < 6 * SECOND_US); /* nobody is left */
    assert_int_equal(world_gateway_stop(w), 0);
}

static void test_a_connection_that_brings_nothing_more_holds_up_no_end(void **state)
{
    struct world *w = *state;
    struct wire kept[KEPT], *wires[KEPT];

    setenv("SETTLE_INGEST_LINGER_MS", "300", 1);
    world_gateway(w, NULL);
    keep_connections(w, kept);
    assert_int_equal(world_gateway_stop(w), 0);
    for (size_t i = 0; i < KEPT; i++)
        wires[i] = &kept[i];
    assert_int_equal(wire_run(wires, KEPT, ANSWER_S), 0);
    for (size_t i = 0; i < KEPT; i++) {
        assert_false(wires[i]->reset);
        wire_close(wires[i]);
    }
}

/* Whoever takes his time with a body would else keep all others waiting for the next gateway. */
static void test_half_a_request_holds_up_no_end(void **state)
{
    static const char half[] =
        "POST /publishing/webhooks/instagram HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n"
        "Expect: 100-continue\r\n\r\n";
    struct world *w = *state;
    struct wire slow, *wires[] = {&slow};

    setenv("SETTLE_INGEST_REQUEST_TIMEOUT_MS", "60000", 1);
    world_gateway(w, NULL);
    wire_open(&slow, w->ingest_url, SPAN(half));
    world_until(20, (wire_look(wires, 1, 20), strstr(slow.in, " 100 "))); /* its head was read */
    assert_int_equal(world_gateway_stop(w),
                     0); /* 75: it was cut because nothing but time was left to wait for */
    assert_int_equal(wire_run(wires, 1, ANSWER_S), 0);
    wire_close(&slow);
}

/* Also when only our role, and only from now on, would lose what it commits. */
static void test_a_postgres_that_forgets_is_not_written_to(void **state)
{
    struct world *w = *state;
    char url[80];
    struct outcome run;

    world_gateway(w, NULL);
    snprintf(url, sizeof(url), "%s/readyz", w->monitor_url);
    world_sql(w, "alter role settle_gateway set synchronous_commit = off");
    world_sql(w, "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'settle_gateway'");
    world_until(20, world_http(w, "GET", url, NULL, SPAN_NONE).status == 503);
    assert_int_equal(world_post(w, "instagram", NULL, "{\"external_post_id\":\"u\"}").status, 503);
    world_until(10, strstr(read_log(w), "unsafe_server"));
    world_sql(w, "alter role settle_gateway reset synchronous_commit");
    world_until(20, world_http(w, "GET", url, NULL, SPAN_NONE).status == 200);

    world_sql(w, "alter system set full_page_writes = off"); /* in force in sessions that are open */
    world_sql(w, "select pg_reload_conf()");
    world_until(40, world_http(w, "GET", url, NULL, SPAN_NONE).status == 503);
    world_until(10, strstr(read_log(w), "full_page_writes = off"));
    world_sql(w, "alter system reset full_page_writes");
    world_sql(w, "select pg_reload_conf()");
    world_until(20, world_http(w, "GET", url, NULL, SPAN_NONE).status == 200);

    world_sql(w, "alter role settle_reconciler set synchronous_commit = off");
    run = world_reconcile(w, NULL);
    world_sql(w, "alter role settle_reconciler reset synchronous_commit");
    assert_int_not_equal(run.status, 0);
    assert_non_null(strstr(run.err, "synchronous_commit"));
}

/* Where the kernel has it, each process that serves strangers is in the sandbox, and none can gain rights. */
static void test_each_process_has_given_up_what_it_can(void **state)
{
    static const char *const roles[] = {"ingest", "admin", "monitor"};
    struct world *w = *state;

    world_gateway(w, NULL);
    for (size_t i = 0; i < countof(roles); i++) {
        char path[64];

        snprintf(path, sizeof(path), "/proc/%d/status", (int)world_child(w, roles[i]));
        assert_non_null(strstr(world_wait(w, world_spawn(w, "cat", path, NULL)).out, "\nNoNewPrivs:\t1\n"));
    }
    assert_non_null(strstr(read_log(w), "\"event\":\"sandbox\""));
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0)
        assert_null(strstr(read_log(w), "\"entered\":false"));
    assert_int_equal(strstr(read_log(w), "\"runs_as_root\"") != NULL, geteuid() == 0);
}

/* Webhooks are taken all the same. */
static void test_a_manager_that_cannot_be_reached_is_a_warning(void **state)
{
    struct world *w = *state;

    setenv("NOTIFY_SOCKET", "/nowhere/notify", 1);
    setenv("WATCHDOG_USEC", "400000", 1);
    world_gateway(w, "--workers", "1", NULL);
    world_deliver(w, "instagram", NULL, "{}");
    assert_non_null(strstr(read_log(w), "\"notify_off\""));
    assert_int_equal(world_gateway_stop(w), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_the_manager_is_told_each_step, reset),
        cmocka_unit_test_setup(test_what_the_manager_could_not_hear_is_said_again, reset),
        cmocka_unit_test_setup(test_a_manager_that_cannot_be_reached_is_a_warning, reset),
        cmocka_unit_test_setup(test_the_start_waits_for_no_store, reset),
        cmocka_unit_test_setup(test_a_worker_that_hangs_starves_the_watchdog, reset),
        cmocka_unit_test_setup(test_a_store_that_is_away_starves_nobody, reset),
        cmocka_unit_test_setup(test_sockets_that_are_handed_over_are_served, reset),
        cmocka_unit_test_setup(test_what_would_leave_callers_waiting_is_refused, reset),
        cmocka_unit_test_setup(test_an_address_that_is_taken_is_no_wrong_setting, reset),
        cmocka_unit_test_setup(test_who_calls_between_two_gateways_is_answered_by_the_next, reset),
        cmocka_unit_test_setup(test_restarts_under_load_cost_no_caller_anything, reset),
        cmocka_unit_test_setup(test_a_connection_that_is_kept_is_told_before_it_is_closed, reset),
        cmocka_unit_test_setup(test_a_connection_that_brings_nothing_more_holds_up_no_end, reset),
        cmocka_unit_test_setup(test_half_a_request_holds_up_no_end, reset),
        cmocka_unit_test_setup(test_a_postgres_that_forgets_is_not_written_to, reset),
        cmocka_unit_test_setup(test_each_process_has_given_up_what_it_can, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
