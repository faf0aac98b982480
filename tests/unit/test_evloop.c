#include "support/test.h"

#include "evloop.h"

#include <unistd.h>

enum { PIPES = 3 };

static struct {
    int fds[2];
    struct watch *watch;
    unsigned called;
} pipes[PIPES];

static void close_watch(size_t i)
{
    watch_close(pipes[i].watch);
    pipes[i].watch = NULL;
}

static void on_ready(void *ctx)
{
    size_t i = (size_t)(uintptr_t)ctx;
    char byte;

    pipes[i].called++;
    assert_int_equal(read(pipes[i].fds[0], &byte, 1), 1);
    if (byte == 'x')
        for (size_t other = 0; other < PIPES; other++)
            if (other != i && pipes[other].watch)
                close_watch(other);
}

static void say(size_t i, char byte)
{
    assert_int_equal(write(pipes[i].fds[1], &byte, 1), 1);
}

static void test_who_is_ready_is_seen_without_a_turn_of_the_loop(void **state)
{
    h2o_loop_t *loop = h2o_evloop_create();

    (void)state;
    watches_look(); /* there are none */
    for (size_t i = 0; i < PIPES; i++) {
        assert_int_equal(pipe(pipes[i].fds), 0);
        pipes[i].watch = watch_open(loop, pipes[i].fds[0], on_ready, (void *)(uintptr_t)i);
    }
    watches_look();
    say(1, 'a');
    watches_look();
    assert_int_equal(pipes[0].called, 0);
    assert_int_equal(pipes[1].called, 1);
    watches_look();
    assert_int_equal(pipes[1].called, 1);

    for (size_t i = 0; i < PIPES; i++)
        say(i, 'x'); /* whoever comes first closes the others, who are ready too */
    watches_look();
    assert_int_equal(pipes[0].called + pipes[1].called + pipes[2].called, 2);
    for (size_t i = 0; i < PIPES; i++) {
        if (pipes[i].watch)
            close_watch(i);
        close(pipes[i].fds[0]);
        close(pipes[i].fds[1]);
    }
    watches_look();
    h2o_evloop_run(loop, 0); /* frees what was closed */
    h2o_evloop_destroy(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_is_ready_is_seen_without_a_turn_of_the_loop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
