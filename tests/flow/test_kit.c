/* The means of the fault tests: each fault really happens, and what is asked of it is what it does. */
#include "support/disk.h"
#include "support/fault.h"
#include "support/ledger.h"
#include "support/load.h"
#include "support/proxy.h"
#include "support/shim.h"

#include "base/now.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATIENCE_S = 20, DELAY_MS = 200 };

static int up(void **state)
{
    *state = world_open();
    return 0;
}

static int reset(void **state)
{
    struct world *w = *state;

    if (w->gateway)
        world_kill(w, GATEWAY);
    world_servers(w);
    world_reset(w);
    return 0;
}

static int down(void **state)
{
    world_close(*state);
    return 0;
}

/* Proxy: a server of our own, and one connection through the proxy. */

struct wire {
    struct proxy *proxy;
    int listener, client, server;
};

static int call(unsigned port)
{
    const struct timeval patience = {.tv_sec = PATIENCE_S};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
        return fd;
    close(fd);
    return -1;
}

static struct wire wire_open(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t len = sizeof(at);
    struct wire wire = {.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    char to[32];

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(wire.listener, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(wire.listener, 8), 0);
    getsockname(wire.listener, (struct sockaddr *)&at, &len);
    snprintf(to, sizeof(to), "127.0.0.1:%u", ntohs(at.sin_port));
    wire.proxy = proxy_open(to);
    wire.client = call(proxy_port(wire.proxy));
    assert_true(wire.client >= 0);
    wire.server = accept4(wire.listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(wire.server >= 0);
    return wire;
}

static void wire_close(struct wire *wire)
{
    proxy_close(wire->proxy);
    close(wire->client);
    close(wire->server);
    close(wire->listener);
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void expect(int fd, const char *text)
{
    char got[64] = "";

    assert_int_equal(recv(fd, got, strlen(text), MSG_WAITALL), strlen(text));
    assert_string_equal(got, text);
}

static bool is_silent(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == -1 && errno == EAGAIN;
}

static void expect_reset(int fd)
{
    char byte;

    assert_int_equal(recv(fd, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
}

static void test_a_proxy_passes_all_on_and_ends_too(void **state)
{
    struct wire wire = wire_open();
    char byte;

    (void)state;
    say(wire.client, "hello");
    expect(wire.server, "hello");
    shutdown(wire.client, SHUT_WR);
    assert_int_equal(recv(wire.server, &byte, 1, 0), 0);
    say(wire.server, "bye"); /* half of it is still open */
    expect(wire.client, "bye");
    assert_int_equal(proxy_bytes(wire.proxy, UP), 5);
    assert_int_equal(proxy_bytes(wire.proxy, BOTH_WAYS), 8);
    assert_int_equal(proxy_nopen(wire.proxy), 1);
    shutdown(wire.server, SHUT_WR);
    world_until(PATIENCE_S, proxy_nopen(wire.proxy) == 0);
    wire_close(&wire);
}

/* The other way is quick meanwhile, so what was said later is heard first. */
static void test_a_delayed_way_is_late_and_in_order(void **state)
{
    struct wire wire = wire_open();
    int64_t began_us = now_boot_us();

    (void)state;
    proxy_delay(wire.proxy, UP, DELAY_MS);
    say(wire.client, "one");
    proxy_delay(wire.proxy, UP, 0);
    say(wire.client, "two");
    say(wire.server, "three");
    expect(wire.client, "three");
    assert_true(is_silent(wire.server) || now_boot_us() - began_us >= DELAY_MS * INT64_C(1000));
    expect(wire.server, "onetwo");
    assert_true(now_boot_us() - began_us >= DELAY_MS * INT64_C(1000));
    wire_close(&wire);
}

static void test_a_swallowed_way_is_silent_and_stays_open(void **state)
{
    struct wire wire = wire_open();
    int more;

    (void)state;
    proxy_swallow(wire.proxy, DOWN);
    say(wire.server, "lost");
    say(wire.client, "heard");
    expect(wire.server, "heard");
    more = call(proxy_port(wire.proxy)); /* and takes calls */
    assert_true(more >= 0);
    close(wire.server); /* the end is swallowed like the rest */
    world_until(PATIENCE_S, proxy_nopen(wire.proxy) == 2);
    assert_true(is_silent(wire.client));
    assert_int_equal(proxy_bytes(wire.proxy, DOWN), 0);
    wire.server = accept4(wire.listener, NULL, NULL, SOCK_CLOEXEC);
    proxy_heal(wire.proxy);
    say(wire.server, "again");
    expect(more, "again");
    close(more);
    wire_close(&wire);
}

static void test_a_cut_comes_after_the_byte_it_was_ordered_for(void **state)
{
    struct wire wire = wire_open();

    (void)state;
    say(wire.client, "before");
    expect(wire.server, "before");
    proxy_cut_after(wire.proxy, UP, 7);
    say(wire.client, "12345");
    say(wire.client, "6789");
    expect(wire.server, "1234567");
    expect_reset(wire.server);
    expect_reset(wire.client);
    assert_int_equal(proxy_bytes(wire.proxy, UP), strlen("before") + 7);
    close(wire.client);
    close(wire.server);
    wire.client = call(proxy_port(wire.proxy)); /* the next goes well */
    wire.server = accept4(wire.listener, NULL, NULL, SOCK_CLOEXEC);
    say(wire.client, "after all");
    expect(wire.server, "after all");
    proxy_cut(wire.proxy);
    expect_reset(wire.server);
    expect_reset(wire.client);
    wire_close(&wire);
}

static void test_a_refusing_proxy_is_not_there_until_it_heals(void **state)
{
    struct wire wire = wire_open();

    (void)state;
    proxy_refuse(wire.proxy);
    expect_reset(wire.client);
    assert_int_equal(call(proxy_port(wire.proxy)), -1);
    assert_int_equal(errno, ECONNREFUSED);
    close(wire.client);
    proxy_heal(wire.proxy);
    wire.client = call(proxy_port(wire.proxy));
    assert_true(wire.client >= 0);
    close(wire.server);
    wire.server = accept4(wire.listener, NULL, NULL, SOCK_CLOEXEC);
    say(wire.server, "back");
    expect(wire.client, "back");
    wire_close(&wire);
}

/* Postgres listens at a unix socket only. */
static void test_a_proxy_leads_to_a_unix_socket(void **state)
{
    struct world *w = *state;
    struct proxy *p;
    char to[200], url[200];
    struct outcome end;

    snprintf(to, sizeof(to), "unix:%s/.s.PGSQL.5432", strstr(w->database_url, "host=") + 5);
    p = proxy_open(to);
    snprintf(url, sizeof(url), "postgresql://postgres@127.0.0.1:%u/settle", proxy_port(p));
    end = world_wait(w, world_spawn(w, "psql", "-XqAtd", url, "-c", "select 40 + 2", NULL));
    assert_string_equal(end.out, "42\n");
    assert_true(proxy_bytes(p, UP) > 0 && proxy_bytes(p, DOWN) > 0);
    proxy_close(p);
}

/* Fault. */

static void touch(struct world *w, const char *name)
{
    assert_int_equal(world_wait(w, world_spawn(w, "touch", name, NULL)).status, 0);
}

static void test_an_injected_fault_hits_the_nth_call_and_is_counted(void **state)
{
    struct world *w = *state;
    struct process victim;
    struct outcome end;
    struct fault f;

    if (!fault_works(w))
        skip();
    victim = world_spawn(w, "python3", "-c",
                         "import os, time\n"
                         "while not os.path.exists('go'): time.sleep(0.01)\n"
                         "for i in range(5):\n"
                         "    try: os.pwrite(os.open('file', os.O_WRONLY | os.O_CREAT), b'x', i)\n"
                         "    except OSError as e: print(i, e.errno, flush=True)\n"
                         "while os.path.exists('go'): time.sleep(0.01)\n"
                         "for i in range(5): os.pwrite(os.open('file', os.O_WRONLY), b'x', i)\n",
                         NULL);
    f = fault_inject(w, victim.pid, "pwrite64", "error=ENOSPC:when=3");
    touch(w, "go");
    world_until(PATIENCE_S, fault_count(w, f) == 1);
    fault_end(w, f);
    world_wait(w, world_spawn(w, "rm", "go", NULL)); /* untraced it goes on, and nothing fails */
    end = world_wait(w, victim);
    assert_int_equal(end.status, 0);
    assert_string_equal(end.out, "2 28\n");
    assert_int_equal(fault_count(w, f), 1);
}

static void test_a_fault_kills_at_the_nth_call(void **state)
{
    struct world *w = *state;
    struct process victim;
    struct fault f;

    if (!fault_works(w))
        skip();
    victim = world_spawn(w, "python3", "-c",
                         "import os, time\n"
                         "while not os.path.exists('go'): time.sleep(0.01)\n"
                         "for i in range(9): os.pwrite(os.open('kill', os.O_WRONLY | os.O_CREAT), b'x', i)\n",
                         NULL);
    f = fault_inject(w, victim.pid, "pwrite64", "signal=KILL:when=4");
    touch(w, "go");
    assert_int_equal(world_wait(w, victim).status, 128 + SIGKILL);
    assert_int_equal(fault_count(w, f), 1);
    fault_end(w, f);
    assert_string_equal(world_wait(w, world_spawn(w, "sh", "-c", "wc -c <kill; rm go kill", NULL)).out,
                        "3\n");
}

/* Its workers hide from others, Postgres is another user's. */
static void test_faults_reach_the_gateway_and_postgres(void **state)
{
    struct world *w = *state;
    struct fault f;
    pid_t worker, backend;

    if (!fault_works(w))
        skip();
    world_gateway(w, "--workers", "1", NULL);
    worker = world_child(w, "ingest");
    f = fault_inject(w, worker, "sendto,sendmsg,write,writev", "signal=KILL:when=1");
    world_post(w, "instagram", NULL, "{}"); /* or what it says to the stores before it comes to this */
    world_until(PATIENCE_S, world_child(w, "ingest") != worker);
    assert_int_equal(fault_count(w, f), 1);
    fault_end(w, f);
    backend = (pid_t)world_count(w, "select pg_backend_pid()");
    f = fault_inject(w, backend, "sendto", "signal=KILL:when=1");
    world_sql(w, "select 1");
    assert_int_equal(fault_count(w, f), 1);
    fault_end(w, f);
}

/* Disk. */

static void fill_and_free(struct world *w, enum disk_kind kind)
{
    char folder[100], path[120];
    static const char page[8192];
    int fd;

    snprintf(folder, sizeof(folder), "%s/disk", w->dir);
    snprintf(path, sizeof(path), "%s/file", folder);
    if (!disk_open(w, folder, kind, 16))
        skip();
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, page, sizeof(page)), sizeof(page));
    disk_fill(w, folder, 64);
    assert_int_equal(write(fd, page, sizeof(page)), sizeof(page));
    assert_int_equal(fsync(fd), 0);
    disk_fill(w, folder, 0);
    assert_int_equal(write(fd, page, sizeof(page)), -1);
    assert_int_equal(errno, ENOSPC);
    disk_free(w, folder);
    assert_int_equal(write(fd, page, sizeof(page)), sizeof(page));
    close(fd);
    disk_close(w, folder);
    assert_int_equal(access(path, F_OK), -1);
}

static void test_a_disk_of_ones_own_can_be_full(void **state)
{
    fill_and_free(*state, DISK_EXT4);
    fill_and_free(*state, DISK_TMPFS);
}

/* Shim. */

static int64_t clock_of(struct world *w, const char *program)
{
    return strtoll(world_wait(w, world_spawn(w, "sh", "-c", program, NULL)).out, NULL, 10) -
           now_wall_us() / SECOND_US;
}

static bool is_about(int64_t seconds, int64_t wanted)
{
    return seconds >= wanted - 60 && seconds <= wanted + 60;
}

static void test_a_clock_is_moved_for_those_who_run_with_the_shim(void **state)
{
    static const char python[] =
        "python3 -c 'import time; print(int(time.clock_gettime(time.CLOCK_BOOTTIME)))'";
    struct world *w = *state;
    struct shim *s = shim_open(w);
    int64_t boot_s;

    assert_true(is_about(clock_of(w, "date +%s"), 0));
    shim_step(s, 3600 * SECOND_US);
    assert_true(is_about(clock_of(w, "date +%s"), 3600));
    shim_step(s, -7200 * SECOND_US - 1);
    assert_true(is_about(clock_of(w, "date +%s"), -7200));
    boot_s = clock_of(w, python) + now_wall_us() / SECOND_US;
    assert_true(is_about(boot_s, now_boot_us() / SECOND_US));
    shim_close(s);
    assert_true(is_about(clock_of(w, "date +%s"), 0));
}

static void test_the_servers_and_the_gateway_live_by_the_shim(void **state)
{
    struct world *w = *state;
    struct shim *s = shim_open(w);

    world_kill(w, POSTGRES);
    world_kill(w, REDIS);
    world_servers(w);
    world_gateway(w, NULL);
    world_deliver(w, "tiktok", NULL, "{}");
    shim_step(s, -3600 * SECOND_US);
    assert_true(is_about(world_count(w, "select extract(epoch from clock_timestamp())::bigint") -
                             now_wall_us() / SECOND_US,
                         -3600));
    assert_true(is_about(strtoll(world_redis(w, "time", NULL), NULL, 10) - now_wall_us() / SECOND_US, -3600));
    /* Signed by our clock: an hour too early. Until the gateway has asked again what the database's clock says it may
     * doubt its own. */
    assert_int_not_equal(world_post(w, "tiktok", NULL, "{}").status, 200);
    shim_close(s);
    world_kill(w, GATEWAY);
    world_kill(w, POSTGRES); /* the next ones have the true time again */
    world_kill(w, REDIS);
}

static void test_name_lookups_fail_or_take_their_time(void **state)
{
    struct world *w = *state;
    struct shim *s = shim_open(w);
    struct outcome end;
    int64_t began_us;

    end = world_wait(w, world_spawn(w, "getent", "ahosts", "localhost", NULL));
    assert_int_equal(end.status, 0);
    assert_int_equal(shim_nnames(s), 1);
    shim_names(s, DELAY_MS, false);
    began_us = now_boot_us();
    end = world_wait(w, world_spawn(w, "getent", "ahosts", "localhost", NULL));
    assert_int_equal(end.status, 0);
    assert_true(now_boot_us() - began_us >= DELAY_MS * INT64_C(1000));
    shim_names(s, 0, true);
    end = world_wait(w, world_spawn(w, "getent", "ahosts", "localhost", NULL));
    assert_int_equal(end.status, 2);
    assert_int_equal(shim_nnames(s), 3);
    shim_close(s);
}

/* Ledger. */

static void store(struct world *w, const char *post, const char *body)
{
    world_sql(
        w,
        "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id,"
        "  event_status, decisive, received_at, extras, headers, body)"
        "values (decode(md5(random()::text) || md5(random()::text), 'hex'), 'default', 'instagram',"
        "  gen_random_uuid(), '%s', 'published', 1, now(), '{}', '', '%s')",
        post, body);
}

static void store_post(struct world *w, const char *post)
{
    char body[100];

    snprintf(body, sizeof(body), "{\"external_post_id\":\"%s\",\"status\":\"published\"}", post);
    store(w, post, body);
}

static void test_a_ledger_finds_what_is_lost_invented_doubled_and_altered(void **state)
{
    struct world *w = *state;
    struct ledger *l = ledger_open(w);
    struct ledger_findings f;
    unsigned slowest_ms;

    for (unsigned nth = 0; nth < 4; nth++)
        ledger_sending(l, 1, nth);
    ledger_told(l, 1, 0, ACKED, 10);
    ledger_told(l, 1, 1, ACKED, 460);
    ledger_told(l, 1, 1, REFUSED, 20); /* sent again: acknowledged all the same */
    ledger_told(l, 1, 2, UNKNOWN, 20000);
    store_post(w, "load-1-0");
    store_post(w, "load-1-1");
    store_post(w, "load-1-3"); /* nobody was told: it may be there */
    f = ledger_compare(l, w);
    assert_int_equal(f.acked, 2);
    assert_int_equal(f.stored, 3);
    assert_int_equal(f.lost + f.invented + f.doubled + f.altered, 0);
    ledger_check(l, w);
    assert_int_equal(ledger_later_than(l, 450, &slowest_ms), 1);
    assert_int_equal(slowest_ms, 460);

    world_sql(w, "delete from settle.webhook_receipts where external_post_id = 'load-1-1'");
    store_post(w, "load-1-0");
    store_post(w, "load-1-4");
    store_post(w, "load-0-0");
    store(w, "load-1-2", "{}");
    f = ledger_compare(l, w);
    assert_int_equal(f.lost, 1);
    assert_int_equal(f.doubled, 1);
    assert_int_equal(f.invented, 2);
    assert_int_equal(f.altered, 1);
    ledger_close(l);
}

static void test_a_ledger_survives_whoever_writes_it(void **state)
{
    struct world *w = *state;
    struct ledger *l = ledger_open(w);
    struct ledger_findings f;
    int status;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        ledger_sending(l, 2, 0);
        ledger_told(l, 2, 0, ACKED, 1);
        ledger_sending(l, 2, 1); /* takes the answer along */
        ledger_told(l, 2, 1, ACKED, 1);
        kill(getpid(), SIGKILL);
    }
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
    f = ledger_compare(l, w);
    assert_int_equal(f.acked, 1);
    assert_int_equal(f.lost, 1);
    store_post(w, "load-2-0");
    store_post(w, "load-2-1"); /* its answer died with the sender */
    ledger_check(l, w);
    ledger_close(l);
}

static void test_effects_are_counted_by_publication(void **state)
{
    struct world *w = *state;

    for (unsigned i = 0; i < 3; i++) {
        char post[32];

        snprintf(post, sizeof(post), "load-0-%u", i);
        world_publication(w, "instagram", post, "processing", 5);
        if (i < 2)
            store_post(w, post);
    }
    assert_int_equal(world_reconcile(w, "--evidence-age-minutes", "0", NULL).status, 0);
    assert_int_equal(world_reconcile(w, "--evidence-age-minutes", "0", NULL).status, 0);
    assert_int_equal(ledger_check_effects(w), 2);
}

static void test_load_tells_how_long_answers_took(void **state)
{
    struct world *w = *state;
    unsigned slowest_ms, usual_ms, frozen_ms, nslow;
    struct load_count count;
    struct load *l;
    int64_t began_us;

    world_gateway(w, NULL);
    l = load_start(w, 4);
    world_until(PATIENCE_S, load_so_far(l).acked > 200);
    (void)load_later_than(l, 0, &usual_ms);
    world_freeze(w, GATEWAY);
    began_us = now_boot_us();
    world_until(PATIENCE_S, (frozen_ms = (unsigned)((now_boot_us() - began_us) / 1000)) > 4 * usual_ms + 100);
    world_thaw(w, GATEWAY);
    world_until(PATIENCE_S, load_so_far(l).acked > 400);
    load_halt(l);
    nslow = load_later_than(l, frozen_ms / 2, &slowest_ms);
    assert_in_range(nslow, 1, 100);
    assert_true(slowest_ms >= frozen_ms / 2);
    count = load_stop(l, w);
    assert_int_equal(count.wrong + count.unknown, 0); /* what had waited too long may be refused */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_proxy_passes_all_on_and_ends_too),
        cmocka_unit_test(test_a_delayed_way_is_late_and_in_order),
        cmocka_unit_test(test_a_swallowed_way_is_silent_and_stays_open),
        cmocka_unit_test(test_a_cut_comes_after_the_byte_it_was_ordered_for),
        cmocka_unit_test(test_a_refusing_proxy_is_not_there_until_it_heals),
        cmocka_unit_test_setup(test_a_proxy_leads_to_a_unix_socket, reset),
        cmocka_unit_test_setup(test_an_injected_fault_hits_the_nth_call_and_is_counted, reset),
        cmocka_unit_test_setup(test_a_fault_kills_at_the_nth_call, reset),
        cmocka_unit_test_setup(test_faults_reach_the_gateway_and_postgres, reset),
        cmocka_unit_test_setup(test_a_disk_of_ones_own_can_be_full, reset),
        cmocka_unit_test_setup(test_a_clock_is_moved_for_those_who_run_with_the_shim, reset),
        cmocka_unit_test_setup(test_the_servers_and_the_gateway_live_by_the_shim, reset),
        cmocka_unit_test_setup(test_name_lookups_fail_or_take_their_time, reset),
        cmocka_unit_test_setup(test_a_ledger_finds_what_is_lost_invented_doubled_and_altered, reset),
        cmocka_unit_test_setup(test_a_ledger_survives_whoever_writes_it, reset),
        cmocka_unit_test_setup(test_effects_are_counted_by_publication, reset),
        cmocka_unit_test_setup(test_load_tells_how_long_answers_took, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
