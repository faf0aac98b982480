#include "support/disk.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { KIB = 1024, FILL_STEP_BYTES = 1 << 20, FILL_LEAST_BYTES = 4096 };

static const char filler[] = "filler-of-the-tests";

static bool run(struct world *w, const char *format, ...) PRINTF_LIKE(2, 3);
static uint64_t room_bytes(int fd);

bool disk_open(struct world *w, const char *folder, enum disk_kind kind, unsigned megabytes)
{
    static unsigned nth;

    /* Below the world's folder: ops/servers unmounts what is there when it ends. */
    assert_int_equal(strncmp(folder, w->dir, strlen(w->dir)), 0);
    if (geteuid() != 0)
        return false;
    mkdir(folder, 0777);
    if (kind == DISK_EXT4 &&
        run(w,
            "truncate -s %uM disk-%u.img && mkfs.ext4 -q -F -m 0 disk-%u.img &&"
            " mount -o loop disk-%u.img '%s' && rmdir '%s/lost+found' && chmod 0777 '%s'",
            megabytes, nth, nth, nth, folder, folder, folder)) {
        nth++;
        return true;
    }
    return run(w, "mount -t tmpfs -o size=%um,mode=0777 settle-test '%s'", megabytes, folder);
}

void disk_close(struct world *w, const char *folder)
{
    if (!run(w, "umount '%s'", folder))
        fail_msg("%s is still in use", folder);
}

void disk_fill(struct world *w, const char *folder, unsigned leave_kib)
{
    char path[400];
    uint64_t leave_bytes = (uint64_t)leave_kib * KIB;
    off_t len = 0, step = FILL_STEP_BYTES;
    struct stat st;
    int fd;

    (void)w;
    snprintf(path, sizeof(path), "%s/%s", folder, filler);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    len = st.st_size;
    while (step >= FILL_LEAST_BYTES)
        if (room_bytes(fd) >= leave_bytes + (uint64_t)step && fallocate(fd, 0, len, step) == 0)
            len += step;
        else
            step /= 2;
    close(fd);
}

/* As counted when all that waits to be written has its place. */
static uint64_t room_bytes(int fd)
{
    struct statvfs fs;

    syncfs(fd);
    assert_int_equal(fstatvfs(fd, &fs), 0);
    return fs.f_bavail * fs.f_frsize;
}

void disk_free(struct world *w, const char *folder)
{
    char path[400];

    (void)w;
    snprintf(path, sizeof(path), "%s/%s", folder, filler);
    assert_int_equal(unlink(path), 0);
}

static bool run(struct world *w, const char *format, ...)
{
    struct outcome end;
    va_list args;
    char *command;

    va_start(args, format);
    assert_true(vasprintf(&command, format, args) >= 0);
    va_end(args);
    end = world_wait(w, world_spawn(w, "sh", "-c", command, NULL));
    free(command);
    return end.status == 0;
}
