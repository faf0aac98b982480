/* More than the store can take: some is stored, the rest is told at once when to come back, and nothing that was
 * acknowledged is lost. And what a connection, an address and a disk that does not answer may cost. */
#include "support/fault.h"
#include "support/load.h"

#include "base/now.h"

#include <arpa/inet.h>
#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

enum {
    SENDERS = 64,
    ANSWER_MS_MAX = 450,
    BURST = 200,
    MEASURED = 12, /* more than the least, and no more than are stored in time */
    FASTEST = 80,  /* that a store takes a second, of slow_down(w, 50): no machine makes it faster */
    ROUNDS = 10,
    ROUNDS_MAX = 100,
    GREEDY = 40,  /* of each round */
    HONEST = 20,  /* likewise */
    SOURCES = 10, /* so many fill a line: few leave a part of it */
    FORGERIES = 200,
    EARLY = 3,
    EARLY_TRIES = 60,
    DISK_MS = 20000,
    CALLS = 8, /* of one address */
    REQUESTS_A_CONNECTION = 1000,
    REQUESTS_AT_MOST = 1100,
    ANSWERS_BYTES = 1 << 20,
};

static char folder[200];
static long log_began; /* what earlier tests logged does not count */

static const char *log_path(struct world *w)
{
    static char path[200];

    snprintf(path, sizeof(path), "%s/gateway/log", w->dir);
    return path;
}

static int up(void **state)
{
    *state = world_open();
    setenv("SETTLE_UNSAFE_OK", "true", 1);
    setenv("SETTLE_ADMIN_ENABLED", "false", 1);
    setenv("SETTLE_INGEST_CONNECTIONS", "1", 1);
    setenv("SETTLE_INGEST_BATCH_ROWS", "4", 1);
    return 0;
}

static int reset(void **state)
{
    struct world *w = *state;
    struct stat log;

    if (w->gateway)
        world_kill(w, GATEWAY);
    world_thaw(w, POSTGRES); /* a test that failed may have left it frozen */
    world_servers(w);
    world_sql(w, "drop trigger if exists slow on settle.webhook_receipts;"
                 "drop function if exists settle.slow()");
    world_reset(w);
    snprintf(folder, sizeof(folder), "%s/spool", w->dir);
    world_wait(w, world_spawn(w, "rm", "-rf", folder, NULL));
    assert_int_equal(mkdir(folder, 0700), 0);
    unsetenv("SETTLE_SPOOL_FOLDER");
    unsetenv("SETTLE_SPOOL_MEGABYTES");
    unsetenv("SETTLE_INGEST_COMMIT_TIMEOUT_MS");
    unsetenv("SETTLE_INGEST_TRUSTED_PROXIES");
    unsetenv("SETTLE_INGEST_MAX_CONNECTIONS_PER_ADDRESS");
    setenv("SETTLE_SPOOL_RESERVE_MEGABYTES", "0", 1);
    log_began = stat(log_path(w), &log) == 0 ? (long)log.st_size : 0;
    return 0;
}

static int down(void **state)
{
    struct world *w = *state;

    if (w->gateway)
        world_kill(w, GATEWAY);
    world_close(w);
    return 0;
}

/* Four receipts each so many milliseconds: that is all it takes from now on. */
static void slow_down(struct world *w, unsigned ms)
{
    world_sql(w,
              "create or replace function settle.slow() returns trigger language plpgsql as "
              "$$ begin perform pg_sleep(%u / 1000.0); return null; end $$;"
              "drop trigger if exists slow on settle.webhook_receipts;"
              "create trigger slow after insert on settle.webhook_receipts for each statement "
              "execute function settle.slow()",
              ms);
}

/* The sum of a metric's series of /metrics whose labels hold this; -1: there is none. */
static double metric(struct world *w, const char *name, const char *labels)
{
    char url[100];
    struct reply r;
    double sum = -1;

    snprintf(url, sizeof(url), "%s/metrics", w->monitor_url);
    r = world_http(w, "GET", url, NULL, SPAN_NONE);
    for (const char *line = r.body; line && *line;
         line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        const char *end = strchrnul(line, '\n'), *value = memrchr(line, ' ', (size_t)(end - line));
        size_t len = strlen(name);
        if (strncmp(line, name, len) != 0 || (line[len] != '{' && line[len] != ' ') || !value ||
            !memmem(line, (size_t)(value - line), labels, strlen(labels)))
            continue;
        sum = (sum < 0 ? 0 : sum) + strtod(value, NULL);
    }
    return sum;
}

static void begin(struct world *w)
{
    world_gateway(w, "--workers", "1", NULL);
    world_until(20, metric(w, "settle_store_up", "postgres") == 1);
}

/* How many lines this test has logged that match. */
static long lines(struct world *w, const char *pattern)
{
    char command[400];

    snprintf(command, sizeof(command), "tail -c +%ld '%s' | grep -Ec '%s'", log_began + 1, log_path(w),
             pattern);
    return strtol(world_wait(w, world_spawn(w, "sh", "-c", command, NULL)).out, NULL, 10);
}

/* All answers came in time, give or take what a busy machine does to one in a hundred: where times count. */
static void expect_in_time(struct load *l)
{
    struct load_count count = load_so_far(l);
    unsigned slowest_ms, late = load_later_than(l, ANSWER_MS_MAX, &slowest_ms);

    print_message("%u acknowledged, %u refused, %u later than %d ms, the slowest %u ms\n", count.acked,
                  count.refused, late, ANSWER_MS_MAX, slowest_ms);
    if (world_times_count() && late > 1 + (count.acked + count.refused) / 100)
        fail_msg("%u of %u answers were late", late, count.acked + count.refused);
}

static void expect_honest(struct load_count count)
{
    assert_int_equal(count.wrong, 0);
    assert_int_equal(count.unknown, 0);
}

/* Sockets of our own: what comes back, byte for byte. */

static int call(struct world *w)
{
    const struct timeval patience = {.tv_sec = 20};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    to.sin_port = htons((uint16_t)strtoul(strrchr(w->ingest_url, ':') + 1, NULL, 10));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static void say(int fd, struct span text)
{
    assert_int_equal(send(fd, text.at, text.len, MSG_NOSIGNAL), text.len);
}

/* Up to the end of so many answers, or of the connection. Returns how many heads came. Never a reset, but for what was sent behind
 * the last that is answered. */
static size_t hear(int fd, char *room, size_t size, size_t answers)
{
    size_t len = 0, heads = 0;
    ssize_t n = 0;

    do {
        len += (size_t)n;
        room[len] = '\0';
        heads = 0;
        for (const char *at = room; (at = strstr(at, "HTTP/1.1 ")); at++)
            heads++;
        if (len > 0 && heads == answers && room[len - 1] == '}')
            break;
    } while ((n = recv(fd, room + len, size - 1 - len, 0)) > 0);
    assert_true(n >= 0 || strcasestr(room, "\r\nconnection: close"));
    return heads;
}

static bool is_within(double value, double least, double most)
{
    return value >= least && value <= most;
}

static void test_what_is_too_much_is_refused_at_once_and_the_rest_is_stored(void **state)
{
    struct world *w = *state;
    struct load *l;
    struct load_count count;

    slow_down(w, 20); /* 200 a second: a line of 20 */
    begin(w);
    l = load_start(w, SENDERS);
    world_until(60, load_so_far(l).acked >= 300 &&
                        metric(w, "settle_webhook_requests_total", "cause=\"overload\"") >= 300 &&
                        is_within(metric(w, "settle_commit_capacity_receipts", ""), 1, 220) &&
                        is_within(metric(w, "settle_queue_waiting_deliveries", ""), 1, 40));
    load_halt(l);
    expect_in_time(l);
    count = load_stop(l, w);
    expect_honest(count);
    /* who is turned away says nothing of how long the others wait */
    assert_true(metric(w, "settle_webhook_ack_duration_seconds_count", "") +
                    metric(w, "settle_webhook_requests_total", "cause=\"overload\"") <=
                metric(w, "settle_webhook_requests_total", ""));
    assert_in_range(lines(w,
                          "\"overload\".*\"turned_away\":[0-9]+,\"waiting\":[0-9]+,\"taken_a_second\":[0-9]+,"
                          "\"retry_after_s\":[0-9]+,\"cure\":"),
                    1, 10);
    world_sql(w, "drop trigger slow on settle.webhook_receipts");
    for (unsigned i = 0; i < 20; i++) /* and it is as before */
        world_until(20, world_post(w, "instagram", NULL, "{\"external_post_id\":\"after\"}").status == 200);
}

/* A machine that is slow enough does not store it in time, and nobody was turned away. */
static bool is_overdue(const char *answer)
{
    return strstr(answer, "\"urn:settle:problem:store_unavailable\"") != NULL;
}

/* The header's number of the answer to who was turned away; -1: he was not. */
static long retry_after(const char *answer)
{
    const char *retry = strcasestr(answer, "\r\nretry-after: ");

    assert_true(strncmp(answer, "HTTP/1.1 503 ", 13) == 0 || strncmp(answer, "HTTP/1.1 200 ", 13) == 0 ||
                strncmp(answer, "HTTP/1.1 429 ", 13) == 0);
    if (answer[9] == '2' || is_overdue(answer))
        return -1;
    assert_non_null(retry);
    assert_null(strcasestr(answer, "\r\nconnection: close")); /* to come back by another one costs more */
    return strtol(retry + 15, NULL, 10);
}

/* So many at once, each on a connection of its own, by turns of so many further sources; 0: of the one without a name. */
static void send_burst(struct world *w, const char *name, unsigned n, unsigned nsources, int ret_fds[BURST])
{
    char request[1024], body[64], source[16];

    for (unsigned i = 0; i < n; i++)
        ret_fds[i] = call(w);
    for (unsigned i = 0; i < n; i++) {
        size_t len = 0;
        snprintf(body, sizeof(body), "{\"external_post_id\":\"%s-%u\"}", name, i);
        snprintf(source, sizeof(source), "s%u", nsources > 0 ? i % nsources : 0);
        len += sprintf(request, "POST /publishing/webhooks/instagram%s%s HTTP/1.1\r\nHost: t\r\n",
                       nsources > 0 ? "/" : "", nsources > 0 ? source : "");
        for (const char *const *line =
                 world_sign(w, "instagram", nsources > 0 ? source : NULL, span_of(body));
             *line; line++)
            len += sprintf(request + len, "%s\r\n", *line);
        sprintf(request + len, "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
        say(ret_fds[i], span_of(request));
    }
}

static void post_burst(struct world *w, unsigned n, long ret_seconds[BURST])
{
    int fds[BURST];
    char answer[2048];

    send_burst(w, "burst", n, 0, fds);
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(hear(fds[i], answer, sizeof(answer), 1), 1);
        ret_seconds[i] = retry_after(answer);
        close(fds[i]);
    }
}

/* As many are told to come in a second as the store takes in one. */
static void test_the_time_to_come_back_follows_the_rate_of_the_store(void **state)
{
    struct world *w = *state;
    long seconds[BURST], earliest = 60, latest = 0;
    double capacity;
    unsigned refused = 0;

    slow_down(w, 50); /* 80 a second */
    begin(w);
    post_burst(w, MEASURED, seconds);
    for (unsigned i = 0; i < MEASURED && world_times_count(); i++)
        assert_int_equal(seconds[i], -1); /* nothing was known yet: all were let in */
    post_burst(w, BURST, seconds);
    for (unsigned i = 0; i < BURST; i++) {
        refused += seconds[i] > 0;
        latest = seconds[i] > latest ? seconds[i] : latest;
        earliest = seconds[i] > 0 && seconds[i] < earliest ? seconds[i] : earliest;
    }
    capacity = metric(w, "settle_commit_capacity_receipts", "");
    print_message("%u refused, told to come in %ld to %ld s; %.0f receipts a second\n", refused, earliest,
                  latest, capacity);
    assert_true(refused > BURST / 2);
    assert_in_range((long)capacity, 0, 2 * FASTEST);
    assert_true(latest - earliest > refused / FASTEST / 2 || latest == 60);
    world_until(30, metric(w, "settle_queue_waiting_deliveries", "") == 0);
}

/* Moves the next whole answer out of these. False: there is none. */
static bool cut_answer(const char **answers, char *room, size_t size)
{
    const char *end = strstr(*answers, "\r\n\r\n"), *length = strcasestr(*answers, "\r\ncontent-length: ");
    size_t len;

    if (!end || !length || length > end)
        return false;
    len = (size_t)(end + 4 - *answers) + strtoul(length + 18, NULL, 10);
    assert_true(len < size);
    if (strnlen(*answers, len) < len)
        return false;
    memcpy(room, *answers, len);
    room[len] = '\0';
    *answers += len;
    return true;
}

/* Requests that name a source of ours and are signed by nobody, one behind the other. Returns how many were told to come again. A
 * store that seems to stand still ends the connection. */
static unsigned send_forged(struct world *w, unsigned n)
{
    static char requests[FORGERIES * 256], answers[ANSWERS_BYTES];
    const struct span forged = SPAN("POST /publishing/webhooks/instagram HTTP/1.1\r\nHost: t\r\n"
                                    "X-Hub-Signature-256: sha256="
                                    "0000000000000000000000000000000000000000000000000000000000000000\r\n"
                                    "Content-Length: 2\r\n\r\n{}");
    const char *rest = answers;
    char *at = requests, one[2048] = "";
    unsigned again = 0, heard = 0;
    int fd = call(w);

    for (unsigned i = 0; i < n; i++)
        at = mempcpy(at, forged.at, forged.len);
    (void)send(fd, requests, (size_t)(at - requests), MSG_NOSIGNAL);
    hear(fd, answers, sizeof(answers), n);
    close(fd);
    while (!is_overdue(one) && cut_answer(&rest, one, sizeof(one))) {
        if (strncmp(one, "HTTP/1.1 401 ", 13) != 0 && !is_overdue(one))
            assert_true(retry_after(one) > 0);
        again += one[9] == '5' && !is_overdue(one);
        heard++;
    }
    assert_true(heard == n || is_overdue(one));
    return again;
}

/* Of all who are turned away unread only as many count as, of their like, were real: else who knows a name sends those away for
 * a minute whose name it is. */
static void test_strangers_under_a_senders_name_make_nobody_come_later(void **state)
{
    struct world *w = *state;
    long seconds[BURST], latest = 0;
    int fds[BURST];
    char answer[2048], burst[16], name[40];
    unsigned forged = 0, round;
    double least = DBL_MAX; /* receipts that the store takes until a sender is to come, where it was least */

    for (unsigned i = 0; i < SOURCES; i++) {
        snprintf(name, sizeof(name), "SETTLE_SECRET_INSTAGRAM_S%u", i);
        setenv(name, "secret-of-one-source", 1);
    }
    slow_down(w, 50); /* 80 a second */
    begin(w);
    post_burst(w, MEASURED, seconds);
    for (unsigned i = 0; i < ROUNDS; i++) /* it is known what they are */
        assert_int_equal(send_forged(w, FORGERIES), 0);
    for (round = 0; round < ROUNDS || (least == DBL_MAX && round < ROUNDS_MAX); round++) {
        double until; /* a slow machine may turn few away in a round */
        snprintf(burst, sizeof(burst), "honest-%u", round);
        send_burst(w, burst, HONEST, SOURCES, fds);
        forged += send_forged(w, FORGERIES);
        latest = 0;
        for (unsigned i = 0; i < HONEST; i++) {
            long told;
            assert_int_equal(hear(fds[i], answer, sizeof(answer), 1), 1);
            told = retry_after(answer);
            latest = told > latest ? told : latest;
            close(fds[i]);
        }
        until = (double)latest * metric(w, "settle_commit_capacity_receipts", "");
        if (forged > ROUNDS * FORGERIES / 4 && latest > 0 && until < least)
            least = until;
    }
    print_message("%u of %u forged ones were turned away unread; a sender is told to come in %ld s, after "
                  "%.0f receipts\n",
                  forged, round * FORGERIES, latest, least);
    assert_true(least < ROUNDS * FORGERIES / 5.0);
    for (unsigned i = 0; i < SOURCES; i++) {
        snprintf(name, sizeof(name), "SETTLE_SECRET_INSTAGRAM_S%u", i);
        unsetenv(name);
    }
}

/* One source that sends more than all that can be stored, and another that sends a little. */
static void test_who_takes_more_than_his_share_is_told_so_and_costs_the_others_nothing(void **state)
{
    struct world *w = *state;
    long seconds[BURST];
    int fds[BURST];
    char answer[2048], post[64], burst[16];
    unsigned limited = 0;

    slow_down(w, 50);
    begin(w);
    post_burst(w, MEASURED, seconds);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct reply modest;
        snprintf(burst, sizeof(burst), "round-%u", round);
        snprintf(post, sizeof(post), "{\"external_post_id\":\"modest-%u\"}", round);
        send_burst(w, burst, GREEDY, 0, fds);
        modest = world_post(w, "tiktok", NULL, post);
        if (modest.status != 200 && !is_overdue(modest.body))
            fail_msg("round %u: the modest one was told %ld: %s", round, modest.status, modest.body);
        for (unsigned i = 0; i < GREEDY; i++) {
            assert_int_equal(hear(fds[i], answer, sizeof(answer), 1), 1);
            if (strncmp(answer, "HTTP/1.1 429 ", 13) == 0) {
                assert_non_null(strcasestr(answer, "\r\nretry-after: "));
                assert_null(strcasestr(answer, "\r\nconnection: close"));
                assert_non_null(strstr(answer, "\"title\":\"Too many requests of this source\""));
                limited++;
            }
            close(fds[i]);
        }
    }
    print_message("%u of %u were told that it is their share\n", limited, ROUNDS * GREEDY);
    assert_in_range(limited, ROUNDS * GREEDY / 10, ROUNDS * GREEDY);
    assert_true(metric(w, "settle_webhook_requests_total", "cause=\"rate_limited\"") == limited);
}

/* A fault, not a crowd: nobody waits longer than for any other answer, and it is called by its name. */
static void test_without_a_spool_a_store_that_stands_still_costs_503s_in_time(void **state)
{
    struct world *w = *state;
    struct load *l;
    double of_overload, unavailable;

    setenv("SETTLE_INGEST_COMMIT_TIMEOUT_MS", "20000", 1); /* its connections seem fine all the while */
    begin(w);
    l = load_start(w, SENDERS);
    world_until(30, load_so_far(l).acked >= 300);
    world_freeze(w, POSTGRES);
    /* for a second it may have been busy only; until then no more than a few hundred are given up */
    world_until(60, metric(w, "settle_webhook_requests_total", "store_unavailable") >= 8 * SENDERS);
    unavailable = metric(w, "settle_webhook_requests_total", "store_unavailable");
    of_overload = metric(w, "settle_webhook_requests_total", "overload");
    world_until(60,
                metric(w, "settle_webhook_requests_total", "store_unavailable") >= unavailable + 4 * SENDERS);
    assert_true(metric(w, "settle_webhook_requests_total", "overload") == of_overload);
    load_halt(l);
    world_thaw(w, POSTGRES);
    expect_in_time(l);
    expect_honest(load_stop(l, w));
}

static void test_what_postgres_has_no_time_for_goes_to_the_spool_while_that_keeps_up(void **state)
{
    struct world *w = *state;
    struct load *l;

    setenv("SETTLE_SPOOL_FOLDER", folder, 1);
    slow_down(w, 20);
    begin(w);
    l = load_start(w, SENDERS);
    world_until(60, metric(w, "settle_webhook_requests_total", "spooled") >= 300 &&
                        metric(w, "settle_webhook_requests_total", "stored") >= 100);
    load_halt(l);
    expect_in_time(l);
    world_sql(w, "drop trigger slow on settle.webhook_receipts");
    world_until(30, world_is_drained(w));
    expect_honest(load_stop(l, w));
}

/* Half of the spool is for when Postgres is gone. */
static void test_overload_leaves_half_of_the_spool_to_faults(void **state)
{
    struct world *w = *state;
    struct load *l;
    double half = 512.0 * 1024;

    setenv("SETTLE_SPOOL_FOLDER", folder, 1);
    setenv("SETTLE_SPOOL_MEGABYTES", "1", 1);
    slow_down(w, 50);
    begin(w);
    l = load_start(w, SENDERS);
    world_until(60, metric(w, "settle_webhook_requests_total", "overload") >= 200);
    assert_in_range((long)metric(w, "settle_spool_bytes", ""), (long)(half * 0.8), (long)(half * 1.4));
    world_freeze(w, POSTGRES);
    world_until(30, metric(w, "settle_spool_bytes", "") > half * 1.6);
    world_thaw(w, POSTGRES);
    load_halt(l);
    world_until(20, world_sql(w, "drop trigger if exists slow on settle.webhook_receipts") != NULL);
    world_until(300, world_is_drained(w));
    expect_honest(load_stop(l, w));
}

/* It takes so long that nobody's answer is that late, on whatever machine, but by waiting for it. */
static void test_a_disk_that_does_not_answer_is_not_waited_for(void **state)
{
    struct world *w = *state;
    struct fault slow;
    struct load *l;
    unsigned slowest_ms;

    if (!fault_works(w))
        skip();
    setenv("SETTLE_SPOOL_FOLDER", folder, 1);
    begin(w);
    l = load_start(w, 8);
    world_until(30, load_so_far(l).acked >= 50);
    slow = fault_inject(w, world_child(w, "ingest"), "fdatasync,fsync", "delay_enter=20000000");
    world_freeze(w, POSTGRES);
    world_until(60, load_so_far(l).refused >= 40);
    load_halt(l);
    fault_end(w, slow);
    world_thaw(w, POSTGRES);
    expect_in_time(l);
    assert_int_equal(load_later_than(l, DISK_MS / 2, &slowest_ms), 0);
    world_until(60, world_is_drained(w)); /* kept after all, and known to whoever comes again */
    expect_honest(load_stop(l, w));
}

/* Postgres says at once that it cannot: the disk has all the time that is left. On a slow machine not each time: it takes the
 * late ones. */
static void test_what_fails_early_leaves_the_disk_the_rest_of_the_time(void **state)
{
    struct world *w = *state;
    struct fault slow;
    unsigned spooled = 0;
    char body[64];

    if (!fault_works(w))
        skip();
    setenv("SETTLE_SPOOL_FOLDER", folder, 1);
    world_sql(w, "create or replace function settle.slow() returns trigger language plpgsql as "
                 "$$ begin raise exception 'no room' using errcode = '53100'; end $$;"
                 "create trigger slow after insert on settle.webhook_receipts for each row "
                 "when (new.received_at > new.stored_at - interval '150 ms') execute function settle.slow()");
    begin(w);
    slow = fault_inject(w, world_child(w, "ingest"), "fdatasync,fsync", "delay_enter=200000");
    for (unsigned i = 0; i < EARLY_TRIES && spooled < EARLY; i++) {
        struct reply r;
        world_until(20, metric(w, "settle_store_up", "postgres") == 1 && world_is_drained(w));
        snprintf(body, sizeof(body), "{\"external_post_id\":\"early-%u\"}", i);
        r = world_post(w, "instagram", NULL, body);
        spooled += r.status == 200 && strcmp(reply_header(w, &r, "x-settle-stored"), "spool") == 0;
        world_until(20, r.status != 200 || world_count(w,
                                                       "select count(*) from settle.webhook_receipts"
                                                       " where external_post_id = 'early-%u'",
                                                       i) == 1);
    }
    fault_end(w, slow);
    assert_int_equal(spooled, EARLY);
}

static void test_a_connection_ends_after_a_thousand_requests_and_cuts_nothing(void **state)
{
    const struct span request = SPAN("GET /nothing HTTP/1.1\r\nHost: t\r\n\r\n");
    static char room[ANSWERS_BYTES], all[(REQUESTS_A_CONNECTION + 20) * 64];
    struct world *w = *state;
    char *at = all;
    int fd;

    begin(w);
    fd = call(w);
    for (unsigned i = 1; i <= REQUESTS_A_CONNECTION; i++) {
        say(fd, request);
        assert_int_equal(hear(fd, room, sizeof(room), 1), 1);
        assert_int_equal(strcasestr(room, "\r\nconnection: close") != NULL, i == REQUESTS_A_CONNECTION);
    }
    assert_int_equal(recv(fd, room, sizeof(room), 0), 0);
    close(fd);

    fd = call(w); /* what was sent behind the thousandth is answered too */
    for (unsigned i = 0; i < REQUESTS_A_CONNECTION + 20; i++)
        at = mempcpy(at, request.at, request.len);
    say(fd, (struct span){all, (size_t)(at - all)});
    assert_int_equal(hear(fd, room, sizeof(room), 0), REQUESTS_A_CONNECTION + 20);
    close(fd);
}

/* Something sent behind each request would keep it open for ever. */
static void test_a_connection_that_never_pauses_ends_all_the_same(void **state)
{
    const struct span request = SPAN("GET /nothing HTTP/1.1\r\nHost: t\r\n\r\n");
    static char room[4096];
    struct world *w = *state;
    unsigned answers = 0;
    int fd;

    begin(w);
    fd = call(w);
    say(fd, (struct span){request.at, 1});
    while (answers < 2 * REQUESTS_AT_MOST) { /* the rest of one and the first byte of the next */
        char ahead[100];
        int len =
            snprintf(ahead, sizeof(ahead), "%.*s%c", (int)request.len - 1, request.at + 1, request.at[0]);
        if (send(fd, ahead, (size_t)len, MSG_NOSIGNAL) != len || hear(fd, room, sizeof(room), 1) != 1)
            break;
        answers++;
        if (strcasestr(room, "\r\nconnection: close"))
            break;
    }
    assert_int_equal(answers, REQUESTS_AT_MOST);
    close(fd);
}

static void test_connections_that_are_too_many_leave_one_line(void **state)
{
    struct world *w = *state;
    int fds[CALLS];
    char byte;

    setenv("SETTLE_INGEST_TRUSTED_PROXIES", "", 1);
    setenv("SETTLE_INGEST_MAX_CONNECTIONS_PER_ADDRESS", "2", 1);
    begin(w);
    for (size_t i = 0; i < CALLS; i++)
        fds[i] = call(w);
    for (size_t i = 2; i < CALLS; i++)
        assert_true(recv(fds[i], &byte, 1, 0) <= 0);
    world_until(10,
                lines(w, "\"connections_refused\",.*\"address\":\"127.0.0.1\",\"open\":2,\"cure\":") == 1);
    assert_true(metric(w, "settle_connections_refused_total", "") == CALLS - 2);
    for (size_t i = 0; i < CALLS; i++)
        close(fds[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_what_is_too_much_is_refused_at_once_and_the_rest_is_stored, reset),
        cmocka_unit_test_setup(test_the_time_to_come_back_follows_the_rate_of_the_store, reset),
        cmocka_unit_test_setup(test_strangers_under_a_senders_name_make_nobody_come_later, reset),
        cmocka_unit_test_setup(test_who_takes_more_than_his_share_is_told_so_and_costs_the_others_nothing,
                               reset),
        cmocka_unit_test_setup(test_without_a_spool_a_store_that_stands_still_costs_503s_in_time, reset),
        cmocka_unit_test_setup(test_what_postgres_has_no_time_for_goes_to_the_spool_while_that_keeps_up,
                               reset),
        cmocka_unit_test_setup(test_overload_leaves_half_of_the_spool_to_faults, reset),
        cmocka_unit_test_setup(test_a_disk_that_does_not_answer_is_not_waited_for, reset),
        cmocka_unit_test_setup(test_what_fails_early_leaves_the_disk_the_rest_of_the_time, reset),
        cmocka_unit_test_setup(test_a_connection_ends_after_a_thousand_requests_and_cuts_nothing, reset),
        cmocka_unit_test_setup(test_a_connection_that_never_pauses_ends_all_the_same, reset),
        cmocka_unit_test_setup(test_connections_that_are_too_many_leave_one_line, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
