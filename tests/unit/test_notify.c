/* What the service manager hears, and its sockets as the parent takes them over. */
#include "support/test.h"

#include "base/notify.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* name as in NOTIFY_SOCKET: "@" for an abstract one. */
static int listen_as_manager(const char *name)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    size_t len = strlen(name);

    memcpy(at.sun_path, name, len);
    if (name[0] == '@')
        at.sun_path[0] = '\0';
    assert_int_equal(
        bind(fd, (const struct sockaddr *)&at, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)), 0);
    setenv("NOTIFY_SOCKET", name, 1);
    return fd;
}

static const char *heard(int fd)
{
    static char text[1024];
    ssize_t len = recv(fd, text, sizeof(text) - 1, 0);

    text[len > 0 ? len : 0] = '\0';
    return text;
}

static void watchdog(const char *us, long pid)
{
    char text[24];

    snprintf(text, sizeof(text), "%ld", pid);
    setenv("WATCHDOG_USEC", us, 1);
    setenv("WATCHDOG_PID", text, 1);
}

static void test_without_a_manager_nothing_is_said(void **state)
{
    struct err err;

    (void)state;
    unsetenv("NOTIFY_SOCKET");
    watchdog("1000000", getpid());
    assert_int_equal(notify_open(&err), OK);
    assert_false(notify_is_open());
    assert_int_equal(notify_watchdog_us(), 0); /* whom would we feed */
    notify_send("READY=1");
}

static void test_the_manager_hears_each_line(void **state)
{
    char path[64], abstract[64];
    const char *const names[] = {path, abstract};
    struct err err;

    (void)state;
    snprintf(path, sizeof(path), "/tmp/settle-notify-%d", (int)getpid());
    snprintf(abstract, sizeof(abstract), "@settle-notify-%d", (int)getpid());
    for (size_t i = 0; i < countof(names); i++) {
        int fd = listen_as_manager(names[i]);

        watchdog("3000000", getpid());
        assert_int_equal(notify_open(&err), OK);
        assert_null(getenv("NOTIFY_SOCKET")); /* no child of ours speaks for us */
        assert_null(getenv("WATCHDOG_USEC"));
        assert_int_equal(notify_watchdog_us(), 3000000);
        notify_send("STATUS=%d of %d", 1, 2);
        assert_string_equal(heard(fd), "STATUS=1 of 2");
        notify_close();
        notify_send("READY=1");
        assert_string_equal(heard(fd), "");
        close(fd);
    }
    unlink(path);
}

/* As all the programs do that a manager hears. */
static void fill(int fd)
{
    struct sockaddr_un at;
    socklen_t len = sizeof(at);
    int sender = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    assert_int_equal(connect(sender, (const struct sockaddr *)&at, len), 0);
    while (send(sender, "X=1", 3, 0) == 3)
        ;
    assert_int_equal(errno, EAGAIN);
    close(sender);
}

static void test_what_a_full_manager_does_not_hear_is_known(void **state)
{
    int fd = listen_as_manager("@settle-notify-full");
    struct err err;

    (void)state;
    assert_int_equal(notify_open(&err), OK);
    assert_true(notify_send("READY=1"));
    assert_string_equal(heard(fd), "READY=1");
    fill(fd);
    assert_false(notify_send("READY=1"));
    while (strcmp(heard(fd), "") != 0)
        ;
    assert_true(notify_send("READY=1"));
    assert_string_equal(heard(fd), "READY=1");
    close(fd);
    assert_true(notify_send("READY=1")); /* nobody will ever hear it */
    notify_close();
}

static void test_a_watchdog_of_another_process_is_not_ours(void **state)
{
    int fd = listen_as_manager("@settle-notify-other");
    struct err err;

    (void)state;
    watchdog("3000000", getpid() + 1);
    assert_int_equal(notify_open(&err), OK);
    assert_int_equal(notify_watchdog_us(), 0);
    notify_close();
    close(fd);
}

static void test_a_manager_that_is_not_there_is_a_mistake(void **state)
{
    static const char *const names[] = {"/nowhere/notify", "@settle-nobody", "relative", "", "vsock:2:1234"};
    struct err err;

    (void)state;
    for (size_t i = 0; i < countof(names); i++) {
        setenv("NOTIFY_SOCKET", names[i], 1);
        assert_int_equal(notify_open(&err), INVALID);
        assert_non_null(strstr(err.text, names[i]));
        assert_null(getenv("NOTIFY_SOCKET"));
        assert_false(notify_is_open());
    }
    unsetenv("NOTIFY_SOCKET");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_a_manager_nothing_is_said),
        cmocka_unit_test(test_the_manager_hears_each_line),
        cmocka_unit_test(test_what_a_full_manager_does_not_hear_is_known),
        cmocka_unit_test(test_a_watchdog_of_another_process_is_not_ours),
        cmocka_unit_test(test_a_manager_that_is_not_there_is_a_mistake),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
