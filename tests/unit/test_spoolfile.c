/* One file of the spool on a disk that fails, fills up and forgets, under a process that is killed. The system calls
 * that SQLite writes with are ours here. */
#include "support/test.h"

#include "base/now.h"
#include "spoolfile.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 256 };

static char folder[64];
static struct arena *arena;

/* The k-th of these calls from now on fails once with this error, or kills the process; 0: none. */
static struct fault {
    unsigned at;
    int error;
    bool kills;
    unsigned seen;
    bool hit;
} sync_fault, write_fault;

static bool strikes(struct fault *f)
{
    if (f->at == 0 || ++f->seen != f->at)
        return false;
    if (f->kills)
        raise(SIGKILL);
    f->hit = true;
    errno = f->error;
    return true;
}

int fdatasync(int fd)
{
    static int (*real)(int);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "fdatasync");
    return strikes(&sync_fault) ? -1 : real(fd);
}

int fsync(int fd)
{
    static int (*real)(int);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "fsync");
    return strikes(&sync_fault) ? -1 : real(fd);
}

ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t at)
{
    static ssize_t (*real)(int, const void *, size_t, off64_t);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "pwrite64");
    return strikes(&write_fault) ? -1 : real(fd, bytes, n, at);
}

/* Errors of these calls, until they are 0 again. */
static int lock_error, link_error, unlink_error;

int flock(int fd, int operation)
{
    static int (*real)(int, int);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "flock");
    errno = lock_error;
    return lock_error ? -1 : real(fd, operation);
}

int link(const char *from, const char *to)
{
    static int (*real)(const char *, const char *);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "link");
    errno = link_error;
    return link_error ? -1 : real(from, to);
}

int unlink(const char *path)
{
    static int (*real)(const char *);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "unlink");
    errno = unlink_error;
    return unlink_error ? -1 : real(path);
}

static int up(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/var/tmp/settle-spool-XXXXXX");
    assert_non_null(mkdtemp(folder));
    arena = arena_open(1 << 16);
    sync_fault = write_fault = (struct fault){0};
    signal(SIGXFSZ, SIG_IGN);
    return sodium_init() < 0;
}

static int down(void **state)
{
    char command[128];

    (void)state;
    sync_fault = write_fault = (struct fault){0};
    lock_error = link_error = unlink_error = 0;
    arena_close(arena);
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command); /* NOLINT(cert-env33-c): our own folder */
}

/* Each place under ops/test --long, else every so many. */
static unsigned stride(unsigned usual)
{
    return getenv("SETTLE_TEST_LONG") ? 1 : usual;
}

static struct spoolfile *open_file(void)
{
    struct err err = {0};
    struct spoolfile *f = spoolfile_open(folder, "spool-0.db", true, &err);

    if (!f)
        fail_msg("%s", err.text);
    return f;
}

static struct spool_record record(unsigned i, size_t body_bytes)
{
    char *body = arena_alloc(arena, body_bytes + 32);
    int len = snprintf(body, 32, "body-%u", i);

    memset(body + len, 'x', body_bytes);
    return (struct spool_record){
        .delivery_id = {.bytes = {(uint8_t)(i >> 8), (uint8_t)i}},
        .received_us = 1000000 + i,
        .platform = SPAN("instagram"),
        .source = SPAN("default"),
        .key_id = SPAN("0123456789abcdef"),
        .event_id = i % 2 ? SPAN("event") : SPAN_NONE,
        .headers = SPAN("content-type: application/json\n"),
        .body = { body,                (size_t)len + body_bytes},
    };
}

static enum status put(struct spoolfile *f, unsigned first, unsigned n, size_t body_bytes, struct err *err)
{
    struct spool_record records[64], *list[64];

    for (unsigned i = 0; i < n; i++) {
        records[i] = record(first + i, body_bytes);
        list[i] = &records[i];
    }
    return spoolfile_put(f, list, n, err);
}

static void put_good(struct spoolfile *f, unsigned first, unsigned n)
{
    struct err err = {0};

    if (put(f, first, n, 100, &err))
        fail_msg("%s", err.text);
}

/* Marks those that are in the file, and fails if one is not as it was put. */
static size_t read_all(struct spoolfile *f, bool *seen, unsigned nseen, size_t body_bytes,
                       size_t *ret_damaged)
{
    int64_t after = 0, last;
    size_t total = 0;

    *ret_damaged = 0;
    for (;; after = last) {
        struct spool_record *records;
        size_t n, ndamaged;
        struct err err = {0};

        if (spoolfile_read(f, after, PAGE, 1 << 22, arena, &records, &n, &last, &ndamaged, &err))
            fail_msg("%s", err.text);
        *ret_damaged += ndamaged;
        for (size_t i = 0; i < n; i++) {
            unsigned nth = (unsigned)records[i].delivery_id.bytes[0] << 8 | records[i].delivery_id.bytes[1];
            struct spool_record want = record(nth, body_bytes);

            assert_true(nth < nseen && !seen[nth]);
            assert_true(span_eq(records[i].body, want.body));
            assert_true(span_eq(records[i].headers, want.headers));
            assert_true(span_eq(records[i].platform, want.platform));
            assert_true(span_eq(records[i].key_id, want.key_id));
            assert_true(span_eq(records[i].event_id, want.event_id));
            assert_int_equal(records[i].event_id.at == NULL, want.event_id.at == NULL);
            assert_int_equal(records[i].received_us, want.received_us);
            seen[nth] = true;
        }
        total += n;
        if (last == after)
            return total;
    }
}

static void test_what_is_put_is_there_after_opening_again(void **state)
{
    bool seen[64] = {false};
    struct spoolfile *f = open_file();
    struct stat is;
    char path[128];
    size_t ndamaged;

    (void)state;
    assert_int_equal(spoolfile_size(f).oldest_us, TIME_NONE);
    put_good(f, 0, 30);
    put_good(f, 30, 34);
    assert_int_equal(spoolfile_size(f).nrecords, 64);
    assert_int_equal(spoolfile_size(f).oldest_us, 1000000);
    spoolfile_close(f);
    snprintf(path, sizeof(path), "%s/spool-0.db", folder);
    assert_int_equal(stat(path, &is), 0);
    assert_int_equal(is.st_mode & 0777, 0600); /* it holds what senders sent */
    f = open_file();
    assert_int_equal(spoolfile_size(f).nrecords, 64);
    assert_int_equal(read_all(f, seen, 64, 100, &ndamaged), 64);
    assert_int_equal(ndamaged, 0);
    spoolfile_close(f);
}

static void test_the_same_delivery_is_kept_once(void **state)
{
    struct spool_record one = record(1, 10), again = record(1, 10), other = record(1, 10);
    struct spool_record *list[] = {&one, &again, &other};
    struct spoolfile *f = open_file();
    struct err err = {0};

    (void)state;
    again.delivery_id.bytes[5] = 7; /* a new try of the sender */
    again.received_us++;
    other.source = SPAN("acme");
    assert_int_equal(spoolfile_put(f, list, 3, &err), OK);
    assert_int_equal(spoolfile_size(f).nrecords, 2);
    assert_int_equal(again.seq, one.seq);
    assert_int_not_equal(other.seq, one.seq);
    spoolfile_close(f);
}

static void test_a_seq_is_never_given_out_twice(void **state)
{
    struct spool_record one = record(1, 10), two = record(2, 10), *list[] = {&one};
    struct spoolfile *f = open_file();
    struct err err = {0};

    (void)state;
    assert_int_equal(spoolfile_put(f, list, 1, &err), OK);
    assert_int_equal(spoolfile_remove(f, &one.seq, 1, &err), OK);
    assert_int_equal(spoolfile_size(f).nrecords, 0);
    list[0] = &two;
    assert_int_equal(spoolfile_put(f, list, 1, &err), OK);
    assert_true(two.seq > one.seq); /* else a reader that is past it would never see it */
    spoolfile_close(f);
}

static void test_an_empty_file_gives_its_room_back(void **state)
{
    static int64_t seqs[64];
    struct spool_record *records;
    struct spoolfile *f = open_file();
    struct err err = {0};
    int64_t last;
    size_t n, ndamaged;

    (void)state;
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(put(f, i * 8, 8, 200000, &err), OK);
    assert_true(spoolfile_size(f).bytes > 12000000);
    while (spoolfile_read(f, 0, 64, SIZE_MAX, arena, &records, &n, &last, &ndamaged, &err) == OK && n > 0) {
        for (size_t i = 0; i < n; i++)
            seqs[i] = records[i].seq;
        assert_int_equal(spoolfile_remove(f, seqs, n, &err), OK);
    }
    assert_true(spoolfile_size(f).bytes < 100000);
    spoolfile_close(f);
}

/* Each write and each sync in turn; what a killed process was told is stored must be there. */
static void kill_at(struct fault *fault, unsigned k, unsigned *ret_told)
{
    bool seen[200] = {false};
    int told[2], status;
    struct spoolfile *f;
    size_t n, ndamaged;
    unsigned ntold = 0, nth;
    pid_t child;

    assert_int_equal(pipe(told), 0);
    child = fork();
    if (child == 0) {
        f = open_file();
        *fault = (struct fault){.at = k, .kills = true};
        for (unsigned i = 0; i < 50; i++) {
            struct err err = {0};
            if (put(f, i * 4, 4, 3000, &err) || write(told[1], &i, sizeof(i)) != sizeof(i))
                _exit(1);
            if (i % 5 == 4) { /* also while it is drained */
                const int64_t seqs[] = {(int64_t)i * 4 + 1};
                if (spoolfile_remove(f, seqs, 1, &err))
                    _exit(1);
            }
        }
        _exit(0);
    }
    close(told[1]);
    while (read(told[0], &nth, sizeof(nth)) == (ssize_t)sizeof(nth))
        ntold = nth + 1;
    close(told[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    f = open_file();
    n = read_all(f, seen, 200, 3000, &ndamaged);
    assert_int_equal(ndamaged, 0);
    assert_int_equal(n, spoolfile_size(f).nrecords);
    for (unsigned i = 0; i < ntold * 4; i++)
        if (!seen[i] && !(i % 4 == 0 && i / 4 % 5 == 4))
            fail_msg("killed at call %u: record %u of %u was stored and is gone", k, i, ntold * 4);
    put_good(f, 60000, 1); /* and it goes on */
    spoolfile_close(f);
    *ret_told = WIFSIGNALED(status) ? ntold : 50;
}

static void test_a_process_killed_at_any_write_or_sync_loses_nothing_it_was_told(void **state)
{
    unsigned step = stride(19), told = 0, nrounds = 0;

    for (unsigned k = 1; told < 50; k += step, nrounds++) {
        kill_at(&write_fault, k, &told);
        down(state);
        up(state);
    }
    told = 0;
    for (unsigned k = 1; told < 50; k += 1 + step / 3, nrounds++) {
        kill_at(&sync_fault, k, &told);
        down(state);
        up(state);
    }
    assert_true(nrounds > 12);
}

/* A record counts as stored only if each sync under it succeeded. */
static void test_nothing_is_acknowledged_on_a_failed_sync(void **state)
{
    static const int errors[] = {EIO, ENOSPC};

    for (size_t e = 0; e < countof(errors); e++)
        for (unsigned k = 1;; k += k >= 20 && k < 30 ? 1 : stride(5)) { /* there its log is merged */
            struct spoolfile *f = open_file();
            struct err err = {0};
            bool seen[400] = {false};
            unsigned i = 0;
            size_t ndamaged;

            sync_fault = (struct fault){.at = k, .error = errors[e]};
            for (; i < 40 && !sync_fault.hit; i++) {
                enum status status = put(f, i * 8, 8, 20000, &err);
                if (sync_fault.hit != (status == BROKEN))
                    fail_msg("sync %u: %s", k, status ? err.text : "was taken for a success");
            }
            if (!sync_fault.hit) {
                spoolfile_close(f);
                assert_true(k > 40);
                break;
            }
            sync_fault = (struct fault){0};
            assert_true(spoolfile_set_aside(f, now_wall_us()));
            f = open_file(); /* a fresh one, at once */
            put_good(f, 0, 1);
            assert_int_equal(spoolfile_size(f).nrecords, 1);
            spoolfile_close(f);
            if (i > 1) { /* and what was stored before is to be had from the old one */
                const char **names;
                size_t n;
                assert_int_equal(spoolfile_names(folder, arena, &names, &n, &err), OK);
                assert_int_equal(n, 2);
                assert_int_equal(spoolfile_id(names[1]), 0);
                f = spoolfile_open(folder, names[1], false, &err);
                assert_non_null(f);
                assert_true(read_all(f, seen, 400, 20000, &ndamaged) >= (i - 1) * 8);
                spoolfile_close(f);
            }
            down(state);
            up(state);
        }
}

static void test_a_write_that_fails_is_no_success(void **state)
{
    for (unsigned k = 1; k < 200; k += stride(5)) {
        struct spoolfile *f = open_file();
        struct err err = {0};

        write_fault = (struct fault){.at = k, .error = EIO};
        for (unsigned i = 0; i < 40 && !write_fault.hit; i++) {
            enum status status = put(f, i * 8, 8, 3000, &err);
            if (write_fault.hit != (status == BROKEN))
                fail_msg("write %u: %s", k, status ? err.text : "was taken for a success");
        }
        assert_true(write_fault.hit);
        write_fault = (struct fault){0};
        assert_true(spoolfile_set_aside(f, now_wall_us()));
        down(state);
        up(state);
    }
}

static void test_a_full_disk_refuses_and_goes_on_when_there_is_room(void **state)
{
    for (unsigned k = 1; k < 60; k += stride(3)) {
        bool seen[400] = {false};
        struct spoolfile *f = open_file();
        struct err err = {0};
        unsigned nfull = 0;
        size_t ndamaged;

        write_fault = (struct fault){.at = k, .error = ENOSPC};
        for (unsigned i = 0; i < 20; i++) {
            enum status status = put(f, i * 8, 8, 3000, &err);
            assert_true(status == OK || status == BUSY);
            nfull += status == BUSY;
        }
        assert_true(write_fault.hit);
        assert_int_equal(nfull, 1);
        assert_int_equal(read_all(f, seen, 400, 3000, &ndamaged), 19 * 8);
        spoolfile_close(f);
        down(state);
        up(state);
    }
}

static void test_a_limit_of_the_files_size_is_a_full_disk(void **state)
{
    struct rlimit before, limit;
    struct spoolfile *f = open_file();
    struct spool_record *records;
    struct err err = {0};
    enum status status = OK;
    unsigned n = 0;
    int64_t last, seqs[64];
    size_t nread, ndamaged;

    (void)state;
    getrlimit(RLIMIT_FSIZE, &before);
    limit = before;
    limit.rlim_cur = 2 << 20;
    setrlimit(RLIMIT_FSIZE, &limit);
    while (status == OK && n < 1000)
        status = put(f, n++ * 8, 8, 9000, &err);
    if (status != BUSY)
        fail_msg("%s", err.text);
    assert_string_equal(err.cause, "spool_full");
    /* Draining needs no room: it is the way out. */
    assert_int_equal(spoolfile_read(f, 0, 64, SIZE_MAX, arena, &records, &nread, &last, &ndamaged, &err), OK);
    for (size_t i = 0; i < nread; i++)
        seqs[i] = records[i].seq;
    assert_int_equal(spoolfile_remove(f, seqs, nread, &err), OK);
    spoolfile_close(f);
    setrlimit(RLIMIT_FSIZE, &before);
    f = open_file();
    put_good(f, 50000, 1);
    spoolfile_close(f);
}

/* A byte at a time over the whole file: never a record that is not what was put. */
static void test_a_flipped_byte_is_found(void **state)
{
    char path[128];
    struct spoolfile *f = open_file();
    struct stat is;
    unsigned nbroken = 0, ndamaged_files = 0;

    (void)state;
    put_good(f, 0, 60);
    spoolfile_close(f);
    snprintf(path, sizeof(path), "%s/spool-0.db", folder);
    assert_int_equal(stat(path, &is), 0);
    for (off_t at = 0; at < is.st_size; at += 97) {
        bool seen[64] = {false};
        int fd = open(path, O_RDWR | O_CLOEXEC);
        char byte, flipped;
        struct err err = {0};
        struct spool_record *records;
        size_t n = 0, ndamaged = 0;
        int64_t last = 0, after;

        assert_int_equal(pread(fd, &byte, 1, at), 1);
        flipped = (char)(byte ^ 0x55);
        assert_int_equal(pwrite(fd, &flipped, 1, at), 1);
        f = spoolfile_open(folder, "spool-0.db", false, &err);
        if (!f) {
            assert_int_not_equal(err.code, OK);
            nbroken++;
        } else {
            size_t alldamaged = 0;
            do {
                after = last;
                if (spoolfile_read(f, after, PAGE, 1 << 22, arena, &records, &n, &last, &ndamaged, &err))
                    break;
                alldamaged += ndamaged;
                for (size_t i = 0; i < n; i++) {
                    unsigned nth =
                        (unsigned)records[i].delivery_id.bytes[0] << 8 | records[i].delivery_id.bytes[1];
                    struct spool_record want;
                    assert_true(nth < 64 && !seen[nth]);
                    seen[nth] = true;
                    want = record(nth, 100);
                    assert_true(span_eq(records[i].body, want.body));
                    assert_true(span_eq(records[i].headers, want.headers));
                    assert_int_equal(records[i].received_us, want.received_us);
                }
            } while (last != after);
            ndamaged_files += alldamaged > 0;
            assert_true(spoolfile_set_aside(f, 0)); /* nothing is written back by closing */
            char aside[256];
            snprintf(aside, sizeof(aside), "%s.broken-19700101T000000Z", path);
            assert_int_equal(rename(aside, path), 0);
            strcat(aside, "-wal");
            unlink(aside);
        }
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        close(fd);
    }
    assert_true(nbroken > 0);
    assert_true(ndamaged_files > 10);
}

static void test_only_one_holds_a_lock(void **state)
{
    struct err err = {0};
    int lock = spoolfile_lock(folder, 7, &err), status;
    pid_t child;

    (void)state;
    assert_true(lock >= 0);
    assert_int_equal(spoolfile_lock(folder, 7, &err), -1);
    assert_int_equal(err.code, OK); /* only somebody else's */
    close(lock);
    child = fork();
    if (child == 0)
        _exit(spoolfile_lock(folder, 7, &err) >= 0 ? 0 : 1); /* ends, and with it the lock */
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    lock = spoolfile_lock(folder, 7, &err);
    assert_true(lock >= 0);
    close(lock);
    assert_int_equal(spoolfile_lock("/nowhere/at/all", 7, &err), -1);
    assert_int_equal(err.code, UNAVAILABLE);
}

/* As of NFS without its lock service. Nobody else holds it, so that no other id would do either. */
static void test_a_file_system_that_cannot_lock_is_told_from_a_lock_that_is_held(void **state)
{
    static const int errors[] = {ENOLCK, ENOSYS, EOPNOTSUPP, EIO};
    int64_t sync_us;

    (void)state;
    for (size_t i = 0; i < countof(errors); i++) {
        struct err err = {0};

        lock_error = errors[i];
        assert_int_equal(spoolfile_lock(folder, 7, &err), -1);
        assert_int_equal(err.code, UNAVAILABLE);
        assert_non_null(strstr(err.text, "file system cannot lock"));
        assert_int_equal(spoolfile_check_folder(folder, true, &sync_us, &err), INVALID);
        assert_non_null(strstr(err.text, "Put it on a local disk"));
    }
}

static size_t nfiles(void)
{
    char command[128];
    FILE *from;
    size_t n = 0;

    snprintf(command, sizeof(command), "ls -A %s | wc -l", folder);
    from = popen(command, "re");                  /* NOLINT(cert-env33-c): our own folder */
    assert_int_equal(fscanf(from, "%zu", &n), 1); /* NOLINT(cert-err34-c): of wc */
    pclose(from);
    return n;
}

static void test_a_folder_is_tried_out(void **state)
{
    static const int full[] = {ENOSPC, EDQUOT};
    struct err err = {0};
    int64_t sync_us;

    (void)state;
    assert_int_equal(spoolfile_check_folder(folder, true, &sync_us, &err), OK);
    assert_true(sync_us < 10 * SECOND_US);
    assert_int_equal(spoolfile_check_folder(".", true, &sync_us, &err), INVALID);
    assert_non_null(strstr(err.text, "want a path from / on"));
    link_error = EPERM; /* as vfat says it */
    assert_int_equal(spoolfile_check_folder(folder, true, &sync_us, &err), INVALID);
    assert_non_null(strstr(err.text, "no hard links"));
    link_error = ENOSPC; /* passes, and perhaps with what is drained */
    assert_int_equal(spoolfile_check_folder(folder, true, &sync_us, &err), OK);
    link_error = 0;
    for (unsigned at = 1; at <= 2; at++) {           /* of the folder, of a file */
        for (size_t i = 0; i < countof(full); i++) { /* as btrfs and NFS say it, no sooner */
            sync_fault = (struct fault){.at = at, .error = full[i]};
            assert_int_equal(spoolfile_check_folder(folder, true, &sync_us, &err), OK);
        }
        sync_fault = (struct fault){.at = at, .error = EIO};
        assert_int_equal(spoolfile_check_folder(folder, true, &sync_us, &err), UNAVAILABLE);
    }
    assert_int_equal(nfiles(), 0); /* nothing stays behind */
}

/* The log is as it was when the sync failed, whatever of it is on the disk: who merges it may spread what is not. */
static void test_a_file_in_doubt_is_closed_as_it_is(void **state)
{
    struct spoolfile *f = open_file();
    struct err err = {0};

    (void)state;
    put_good(f, 0, 4);
    sync_fault = (struct fault){.at = 1, .error = EIO};
    assert_int_equal(put(f, 4, 4, 100, &err), BROKEN);
    spoolfile_close(f);
    assert_int_equal(nfiles(), 2); /* it and its log */
}

/* It keeps its name, and says so: under this name nothing may be written. */
static void test_a_file_that_cannot_be_set_aside_stays_as_it_is(void **state)
{
    struct err err = {0};
    bool seen[8] = {false};
    size_t ndamaged;
    struct spoolfile *f = open_file();

    (void)state;
    put_good(f, 0, 4);
    link_error = EPERM;
    assert_false(spoolfile_set_aside(f, now_wall_us()));
    assert_int_equal(nfiles(), 2); /* it and its log */
    link_error = 0;
    unlink_error = EIO; /* now it has both names, and cannot lose the first */
    assert_false(spoolfile_set_aside_name(folder, "spool-0.db", now_wall_us()));
    assert_null(spoolfile_open(folder, "spool-0.db", true, &err));
    assert_int_equal(err.code, UNAVAILABLE);
    unlink_error = 0;
    f = open_file();
    assert_int_equal(read_all(f, seen, 8, 100, &ndamaged), 0); /* a fresh one */
    spoolfile_close(f);
}

static void test_names(void **state)
{
    static const struct {
        const char *name;
        unsigned id;
    } names[] = {
        {"spool-0.db",                                  0        },
        {"spool-17.db",                                 17       },
        {"spool-17.db.broken-20260101T000000Z",         17       },
        {"spool-17.db.broken-20260101T000000Z2",        17       },
        {"spool-17.db.broken-",                         SPOOL_IDS},
        {"spool-17.db-wal",                             SPOOL_IDS},
        {"spool-17.db.broken-20260101T000000Z-wal",     SPOOL_IDS},
        {"spool-17.db.broken-20260101T000000Z.drained", SPOOL_IDS},
        {"spool-17.lock",                               SPOOL_IDS},
        {"spool-99999.db",                              SPOOL_IDS},
        {"spool-.db",                                   SPOOL_IDS},
        {"other.db",                                    SPOOL_IDS},
    };

    (void)state;
    for (size_t i = 0; i < countof(names); i++)
        if (spoolfile_id(names[i].name) != names[i].id)
            fail_msg("%s: %u", names[i].name, spoolfile_id(names[i].name));
}

static void test_the_reserve_is_real_and_given_up_once(void **state)
{
    char path[128];
    struct stat is;

    (void)state;
    assert_true(spoolfile_reserve(folder, 3, 1 << 20));
    snprintf(path, sizeof(path), "%s/spool-3.reserve", folder);
    assert_int_equal(stat(path, &is), 0);
    assert_int_equal(is.st_size, 1 << 20);
    assert_true(is.st_blocks * 512 >= 1 << 20);
    assert_true(spoolfile_use_reserve(folder, 3));
    assert_false(spoolfile_use_reserve(folder, 3));
}

static void test_a_file_in_which_nothing_was_ever_stored_leaves_nothing_behind(void **state)
{
    struct err err = {0};
    struct spoolfile *f;

    (void)state;
    sync_fault = (struct fault){.at = 1, .error = EIO};
    assert_null(spoolfile_open(folder, "spool-0.db", true, &err)); /* it cannot be made */
    assert_int_equal(err.code, UNAVAILABLE);
    assert_true(sync_fault.hit);
    assert_int_equal(nfiles(), 0);
    f = open_file();
    sync_fault = (struct fault){.at = 1, .error = EIO};
    assert_int_equal(put(f, 0, 1, 100, &err), BROKEN);
    assert_true(spoolfile_set_aside(f, now_wall_us()));
    assert_int_equal(nfiles(), 0);
    f = open_file();
    unlink_error = EIO;
    assert_false(spoolfile_set_aside(f, now_wall_us())); /* still there */
    unlink_error = 0;
    f = open_file(); /* one that was found may hold what an earlier process stored */
    assert_true(spoolfile_set_aside(f, now_wall_us()));
    assert_true(nfiles() > 0);
}

/* What is stored would rest on names that a power cut may take. */
static void test_a_folder_that_cannot_be_synced_is_not_written_to(void **state)
{
    bool seen[8] = {false};
    struct err err = {0};
    struct spoolfile *f = open_file();
    size_t ndamaged;

    (void)state;
    put_good(f, 0, 4);
    spoolfile_close(f);
    for (unsigned k = 1; k <= 2; k++) { /* its own name, and its log's */
        sync_fault = (struct fault){.at = k, .error = EIO};
        assert_null(spoolfile_open(folder, "spool-0.db", true, &err));
        assert_int_equal(err.code, UNAVAILABLE);
        assert_non_null(strstr(err.text, "cannot be synced"));
        assert_int_equal(nfiles(), 1); /* no log whose name nobody knows to be safe */
    }
    f = open_file();
    put_good(f, 4, 2);
    for (unsigned k = 1; k <= 2; k++) { /* the second link of its log, and its own */
        sync_fault = (struct fault){.at = k, .error = EIO};
        if (k == 1)
            assert_false(spoolfile_set_aside(f, now_wall_us()));
        else
            assert_false(spoolfile_set_aside_name(folder, "spool-0.db", now_wall_us()));
        assert_true(sync_fault.hit);
        assert_int_equal(nfiles(), 2); /* it and its log, as they were */
    }
    f = open_file();
    assert_int_equal(read_all(f, seen, 8, 100, &ndamaged), 6);
    spoolfile_close(f);
}

static void test_two_set_aside_in_a_second_keep_both(void **state)
{
    const char **names;
    struct err err = {0};
    size_t n;

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct spoolfile *f = open_file();
        put_good(f, i, 1);
        assert_true(spoolfile_set_aside(f, SECOND_US));
    }
    assert_int_equal(spoolfile_names(folder, arena, &names, &n, &err), OK);
    assert_int_equal(n, 3);
    assert_string_equal(names[0], "spool-0.db.broken-19700101T000001Z");
    assert_string_equal(names[1], "spool-0.db.broken-19700101T000001Z2");
    assert_string_equal(names[2], "spool-0.db.broken-19700101T000001Z3");
    for (size_t i = 0; i < n; i++) {
        bool seen[4] = {false};
        size_t ndamaged;
        struct spoolfile *f = spoolfile_open(folder, names[i], false, &err);
        assert_non_null(f);
        assert_int_equal(read_all(f, seen, 4, 100, &ndamaged), 1);
        spoolfile_close(f);
    }
}

/* Killed between any two steps of it: under neither name does a file lose its log. */
static void test_setting_aside_may_be_cut_short(void **state)
{
    char log[160], aside[160], command[256];
    const char **names;
    struct err err = {0};
    bool seen[8] = {false};
    size_t n, ndamaged;
    struct spoolfile *f = open_file();
    pid_t child;

    (void)state;
    spoolfile_close(f);
    child = fork();
    if (child == 0) { /* leaves a log with all that was stored */
        f = open_file();
        put_good(f, 0, 4);
        raise(SIGKILL);
    }
    waitpid(child, NULL, 0);
    snprintf(log, sizeof(log), "%s/spool-0.db-wal", folder);
    snprintf(aside, sizeof(aside), "%s/spool-0.db.broken-20260101T000000Z-wal", folder);
    assert_int_equal(link(log, aside), 0);
    f = open_file(); /* nothing has happened yet */
    assert_int_equal(spoolfile_size(f).nrecords, 4);
    assert_true(spoolfile_set_aside(f, now_wall_us()));
    assert_int_equal(spoolfile_names(folder, arena, &names, &n, &err), OK);
    assert_int_equal(n, 1);
    snprintf(command, sizeof(command), "cd %s && ln %s spool-0.db && ln %s-wal spool-0.db-wal", folder,
             names[0], names[0]);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): both names, as before the last step */
    f = open_file();
    assert_int_equal(spoolfile_size(f).nrecords, 0); /* a fresh one */
    spoolfile_close(f);
    f = spoolfile_open(folder, names[0], false, &err);
    assert_non_null(f);
    assert_int_equal(read_all(f, seen, 8, 100, &ndamaged), 4);
    spoolfile_close(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_put_is_there_after_opening_again, up, down),
        cmocka_unit_test_setup_teardown(test_the_same_delivery_is_kept_once, up, down),
        cmocka_unit_test_setup_teardown(test_a_seq_is_never_given_out_twice, up, down),
        cmocka_unit_test_setup_teardown(test_an_empty_file_gives_its_room_back, up, down),
        cmocka_unit_test_setup_teardown(test_a_process_killed_at_any_write_or_sync_loses_nothing_it_was_told,
                                        up, down),
        cmocka_unit_test_setup_teardown(test_nothing_is_acknowledged_on_a_failed_sync, up, down),
        cmocka_unit_test_setup_teardown(test_a_write_that_fails_is_no_success, up, down),
        cmocka_unit_test_setup_teardown(test_a_full_disk_refuses_and_goes_on_when_there_is_room, up, down),
        cmocka_unit_test_setup_teardown(test_a_limit_of_the_files_size_is_a_full_disk, up, down),
        cmocka_unit_test_setup_teardown(test_a_flipped_byte_is_found, up, down),
        cmocka_unit_test_setup_teardown(test_setting_aside_may_be_cut_short, up, down),
        cmocka_unit_test_setup_teardown(test_only_one_holds_a_lock, up, down),
        cmocka_unit_test_setup_teardown(test_a_file_system_that_cannot_lock_is_told_from_a_lock_that_is_held,
                                        up, down),
        cmocka_unit_test_setup_teardown(test_a_folder_is_tried_out, up, down),
        cmocka_unit_test_setup_teardown(test_a_file_in_doubt_is_closed_as_it_is, up, down),
        cmocka_unit_test_setup_teardown(test_a_file_that_cannot_be_set_aside_stays_as_it_is, up, down),
        cmocka_unit_test_setup_teardown(test_names, up, down),
        cmocka_unit_test_setup_teardown(test_the_reserve_is_real_and_given_up_once, up, down),
        cmocka_unit_test_setup_teardown(test_a_file_in_which_nothing_was_ever_stored_leaves_nothing_behind,
                                        up, down),
        cmocka_unit_test_setup_teardown(test_a_folder_that_cannot_be_synced_is_not_written_to, up, down),
        cmocka_unit_test_setup_teardown(test_two_set_aside_in_a_second_keep_both, up, down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
