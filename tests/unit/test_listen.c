/* Sockets that were handed over: which are taken, for whom, and which are refused. */
#include "support/test.h"

#include "listen.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FIRST = 3 };

static int listening(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static void place(int fd, int at)
{
    if (fd == at)
        return;
    assert_int_equal(dup2(fd, at), at);
    close(fd);
}

static void hand_over(const char *n, const char *names, long pid)
{
    char text[24];

    snprintf(text, sizeof(text), "%ld", pid);
    setenv("LISTEN_FDS", n, 1);
    setenv("LISTEN_FDNAMES", names, 1);
    setenv("LISTEN_PID", text, 1);
}

static void test_nothing_is_handed_over(void **state)
{
    struct listen_handed handed;
    struct err err;

    (void)state;
    unsetenv("LISTEN_FDS");
    assert_int_equal(listen_take_handed(&handed, &err), OK);
    assert_int_equal(handed.n, 0);
    hand_over("1", "ingest", getpid() + 1); /* to somebody else */
    assert_int_equal(listen_take_handed(&handed, &err), OK);
    assert_int_equal(handed.n, 0);
}

static void test_sockets_go_to_the_role_of_their_name(void **state)
{
    struct listen_handed handed;
    struct err err;
    int fds[4], last;

    (void)state;
    for (int at = FIRST; at < FIRST + 3; at++)
        place(listening(), at);
    hand_over("3", "ingest:monitor:ingest", getpid());
    assert_int_equal(listen_take_handed(&handed, &err), OK);
    assert_null(getenv("LISTEN_FDS"));
    assert_int_equal(handed.n, 3);
    assert_true(fcntl(FIRST, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(FIRST, F_GETFL) & O_NONBLOCK);
    assert_int_equal(listen_count(&handed, "ingest"), 2);
    assert_int_equal(listen_count(&handed, "admin"), 0);

    assert_int_equal(listen_hand_out(&handed, "ingest", 2, fds, &err), OK);
    assert_int_equal(fds[0], FIRST);
    assert_int_equal(fds[1], FIRST + 2);
    assert_int_equal(listen_hand_out(&handed, "monitor", 1, fds, &err), OK);
    assert_int_equal(fds[0], FIRST + 1);

    /* Fewer than processes: in turn. A descriptor of its own each, as each closes its own. */
    assert_int_equal(listen_hand_out(&handed, "ingest", 4, fds, &err), OK);
    for (size_t i = 2; i < 4; i++) {
        char one[LISTEN_NAME_BYTES], other[LISTEN_NAME_BYTES];

        assert_int_not_equal(fds[i], fds[i - 2]);
        listen_name(fds[i], one);
        listen_name(fds[i - 2], other);
        assert_string_equal(one, other);
        close(fds[i]);
    }
    assert_int_equal(listen_hand_out(&handed, "ingest", 1, fds, &err), INVALID);
    assert_non_null(strstr(err.text, "2 sockets were handed over for 1 processes"));
    for (last = FIRST; last < FIRST + 3; last++)
        close(last);
}

static void test_what_cannot_be_listened_at_is_refused(void **state)
{
    struct listen_handed handed;
    struct err err;

    (void)state;
    place(open("/dev/null", O_RDONLY), FIRST);
    hand_over("1", "ingest", getpid());
    assert_int_equal(listen_take_handed(&handed, &err), INVALID);
    close(FIRST);
    place(socket(AF_INET, SOCK_STREAM, 0), FIRST); /* bound to nothing: not listening */
    assert_int_equal(listen_take_handed(&handed, &err), INVALID);
    assert_non_null(strstr(err.text, "descriptor 3"));
    close(FIRST);
    hand_over("81", "", getpid());
    assert_int_equal(listen_take_handed(&handed, &err), INVALID);
    assert_non_null(strstr(err.text, "too many"));
    unsetenv("LISTEN_FDS");
}

static void test_an_address_is_told_from_its_socket(void **state)
{
    char room[LISTEN_NAME_BYTES], name[LISTEN_NAME_BYTES];
    int fd = listening();
    struct address at = listen_address(fd, room);

    (void)state;
    assert_null(at.path);
    assert_string_equal(at.host, "127.0.0.1");
    listen_name(fd, name);
    assert_int_equal(at.port, atoi(strrchr(name, ':') + 1));
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_handed_over),
        cmocka_unit_test(test_sockets_go_to_the_role_of_their_name),
        cmocka_unit_test(test_what_cannot_be_listened_at_is_refused),
        cmocka_unit_test(test_an_address_is_told_from_its_socket),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
