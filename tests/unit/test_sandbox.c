/* What a process in the sandbox can do no more, and what it still can. */
#include "support/test.h"

#include "base/core.h"
#include "sandbox.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/settle-sandbox-XXXXXX", there[64], fresh[64], spool[64];

enum { CANNOT = 77 };

static bool can_open(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* In a child, of which the sandbox holds for good: 0, or the number of the first thing that was not as it should be. */
static int in_sandbox(bool with_spool)
{
    const char *const writable[] = {spool, NULL};
    char in_spool[96];
    int open_before = open(there, O_WRONLY | O_CLOEXEC);

    if (!sandbox_enter(with_spool ? writable : NULL))
        return CANNOT;
    snprintf(in_spool, sizeof(in_spool), "%s/file", spool);
    if (can_open(there, O_WRONLY) || can_open(there, O_RDWR))
        return 1;
    if (can_open(fresh, O_WRONLY | O_CREAT) || mkdir(fresh, 0700) == 0 || symlink("x", fresh) == 0)
        return 2;
    if (unlink(there) == 0 || rename(there, fresh) == 0)
        return 3;
    execl("/bin/false", "false", (char *)NULL); /* if it can, its 1 is our end */
    if (can_open(in_spool, O_WRONLY | O_CREAT) != with_spool)
        return 5;
    if (!can_open(there, O_RDONLY) || !can_open("/etc/passwd", O_RDONLY))
        return 6;
    if (write(open_before, "x", 1) != 1) /* as the log is */
        return 7;
    if (socket(AF_INET, SOCK_STREAM, 0) < 0)
        return 8;
    return 0;
}

static int end_of(pid_t pid)
{
    int status = -1;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_it_changes_no_file_and_starts_no_program(void **state)
{
    (void)state;
    for (int with_spool = 0; with_spool < 2; with_spool++) {
        pid_t pid = fork();
        int code;

        if (pid == 0)
            _exit(in_sandbox(with_spool));
        code = end_of(pid);
        if (code == CANNOT)
            skip(); /* this kernel has no Landlock */
        assert_int_equal(code, 0);
    }
}

static void test_a_folder_that_is_not_there_is_told(void **state)
{
    static const char *const nowhere[] = {"/nowhere/at/all", NULL};
    pid_t pid = fork();

    (void)state;
    if (pid == 0)
        _exit(sandbox_enter(nowhere) ? 1 : can_open(there, O_WRONLY) ? 0 : 2);
    assert_int_equal(end_of(pid), 0);
}

static void test_nobody_looks_into_a_process_with_secrets(void **state)
{
    pid_t pid = fork();

    (void)state;
    if (pid == 0) {
        core_off();
#if defined(__SANITIZE_ADDRESS__)
        _exit(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : 1);
#else
        _exit(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 && prctl(PR_GET_DUMPABLE) == 0 ? 0 : 1);
#endif
    }
    assert_int_equal(end_of(pid), 0);
}

static int up(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(there, sizeof(there), "%s/there", folder);
    snprintf(fresh, sizeof(fresh), "%s/fresh", folder);
    snprintf(spool, sizeof(spool), "%s/spool", folder);
    assert_int_equal(mkdir(spool, 0700), 0);
    return can_open(there, O_WRONLY | O_CREAT) ? 0 : -1;
}

static int down(void **state)
{
    char in_spool[96];

    (void)state;
    snprintf(in_spool, sizeof(in_spool), "%s/file", spool);
    unlink(in_spool);
    unlink(there);
    rmdir(spool);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_changes_no_file_and_starts_no_program),
        cmocka_unit_test(test_a_folder_that_is_not_there_is_told),
        cmocka_unit_test(test_nobody_looks_into_a_process_with_secrets),
    };

    return cmocka_run_group_tests(tests, up, down);
}
