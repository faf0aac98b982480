/* The spool of a worker on a disk that fails, hangs and cannot do all that a disk should. The loop is real, the server
 * around it is a few lines, and the system calls that matter are ours. */
#include "support/test.h"

#include "base/metric.h"
#include "base/now.h"
#include "health.h"
#include "spool.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { TURN_MS = 5, PATIENCE_S = 20, NPUTS = 700 };

/* The disk. */

static pthread_mutex_t disk = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t disk_moves = PTHREAD_COND_INITIALIZER;
static int nsyncs_let = -1; /* so many more return; -1: all */
static unsigned nsyncs_hung;
static atomic_int sync_error;                                                     /* of the next one */
static atomic_int link_error, lock_error, unlink_error, thread_error, dead_error; /* until they are 0 again */
static atomic_uint nlocks_tried;
static atomic_int nopen_at_unlock = -1; /* files of the spool, when its last lock was let go */

int fdatasync(int fd)
{
    static int (*real)(int);
    int error = atomic_exchange(&sync_error, 0);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "fdatasync");
    if (dead_error)
        error = dead_error;
    pthread_mutex_lock(&disk);
    while (nsyncs_let == 0) {
        nsyncs_hung++;
        pthread_cond_wait(&disk_moves, &disk);
        nsyncs_hung--;
    }
    nsyncs_let -= nsyncs_let > 0;
    pthread_mutex_unlock(&disk);
    errno = error;
    return error ? -1 : real(fd);
}

static void let_sync(int n)
{
    pthread_mutex_lock(&disk);
    nsyncs_let = n;
    pthread_cond_broadcast(&disk_moves);
    pthread_mutex_unlock(&disk);
}

static bool hangs(void)
{
    bool does;

    pthread_mutex_lock(&disk);
    does = nsyncs_hung > 0 && nsyncs_let == 0;
    pthread_mutex_unlock(&disk);
    return does;
}

int link(const char *from, const char *to)
{
    static int (*real)(const char *, const char *);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "link");
    errno = link_error;
    return errno ? -1 : real(from, to);
}

int unlink(const char *path)
{
    static int (*real)(const char *);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "unlink");
    errno = strstr(path, "/spool-0.db") && !strstr(path, ".broken-") && !strstr(path, "-journal")
                ? unlink_error /* of the own one */
                : 0;
    return errno ? -1 : real(path);
}

int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict how, void *(*run)(void *),
                   void *restrict ctx)
{
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    return thread_error ? thread_error : real(thread, how, run, ctx);
}

int flock(int fd, int operation)
{
    static int (*real)(int, int);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "flock");
    nlocks_tried++;
    errno = lock_error;
    return errno ? -1 : real(fd, operation);
}

static bool leads_to(const char *fd, const char *ending)
{
    char path[64], to[256];
    ssize_t len;

    snprintf(path, sizeof(path), "/proc/self/fd/%.20s", fd);
    len = readlink(path, to, sizeof(to) - 1);
    to[len > 0 ? len : 0] = '\0';
    return strstr(to, "/settle-spool-") && strstr(to, ending);
}

int close(int fd)
{
    static int (*real)(int);
    char name[24];
    struct dirent *entry;
    DIR *all;
    int nopen = 0;

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "close");
    snprintf(name, sizeof(name), "%d", fd);
    if (leads_to(name, ".lock") && (all = opendir("/proc/self/fd"))) {
        while ((entry = readdir(all)))
            nopen += leads_to(entry->d_name, ".db");
        closedir(all);
        nopen_at_unlock = nopen;
    }
    return real(fd);
}

/* The gateway around the spool. */

static h2o_loop_t *loop;
static bool can_spool;

h2o_loop_t *server_loop(struct server *s)
{
    (void)s;
    return loop;
}

void server_again(struct server *s)
{
    (void)s;
}

int64_t server_wall_us(struct server *s)
{
    (void)s;
    return now_wall_us();
}

/* The library's clock is the server's too. */
int gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
    int64_t now_us = now_boot_us();

    (void)zone;
    *ret = (struct timeval){now_us / SECOND_US, now_us % SECOND_US};
    return 0;
}

void health_can_spool(bool can)
{
    can_spool = can;
}

static char folder[64];
static struct spool *spool;
static struct spool_page *page; /* that is out; NULL: none */
static bool page_came;
static unsigned place;

static struct put {
    struct spool_slip slip;
    char body[32];
    unsigned ndone;
    bool stored;
    char cause[32], why[128];
} puts_made[NPUTS];

static void on_done(void *ctx, struct spool_slip *slip, const struct err *failure)
{
    struct put *p = (struct put *)slip;

    (void)ctx;
    p->ndone++;
    p->stored = !failure;
    snprintf(p->cause, sizeof(p->cause), "%s", failure && failure->cause ? failure->cause : "");
    snprintf(p->why, sizeof(p->why), "%.100s", failure ? failure->text : "");
}

static void on_page(void *ctx, struct spool_page *came)
{
    (void)ctx;
    page_came = true;
    page = came->n > 0 ? came : NULL;
}

static void turn(int64_t end_us, const char *wanted)
{
    if (now_boot_us() > end_us)
        fail_msg("not within %d s: %s", PATIENCE_S, wanted);
    h2o_evloop_run(loop, TURN_MS);
    spool_turn(spool);
}

#define until(condition)                                                                                     \
    for (int64_t end_us = now_boot_us() + PATIENCE_S * SECOND_US; !(condition); turn(end_us, #condition))

static void open_spool(void)
{
    const struct spool_config config = {
        .folder = folder, .place = place, .max_bytes = 64 << 20, .reserve_bytes = 0, .done = on_done};

    spool = spool_open(NULL, &config);
}

static int up(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/var/tmp/settle-spool-XXXXXX");
    assert_non_null(mkdtemp(folder));
    memset(puts_made, 0, sizeof(puts_made));
    page = NULL;
    page_came = false;
    can_spool = false;
    place = 0;
    nlocks_tried = 0;
    if (!loop)
        loop = h2o_evloop_create(); /* this version cannot destroy one */
    open_spool();
    return sodium_init() < 0;
}

static void close_spool(void)
{
    let_sync(-1);
    if (page)
        spool_return(spool, page);
    page = NULL;
    spool_close(spool);
    spool = NULL;
}

static int down(void **state)
{
    char command[128];

    (void)state;
    sync_error = link_error = lock_error = unlink_error = thread_error = dead_error = 0;
    if (spool)
        close_spool();
    h2o_evloop_run(loop, 0); /* frees what was closed */
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command); /* NOLINT(cert-env33-c): our own folder */
}

static enum status put(unsigned i, struct err *err)
{
    struct put *p = &puts_made[i];

    snprintf(p->body, sizeof(p->body), "body-%u", i);
    p->slip.record = (struct spool_record){
        .delivery_id = {.bytes = {(uint8_t)(i >> 8), (uint8_t)i}},
        .received_us = 1000000 + i,
        .platform = SPAN("instagram"),
        .source = SPAN("default"),
        .key_id = SPAN("0123456789abcdef"),
        .event_id = SPAN_NONE,
        .headers = SPAN(""),
        .body = span_of(p->body),
    };
    return spool_put(spool, &p->slip, err);
}

static void begin_put(unsigned i)
{
    struct err err = {0};

    if (put(i, &err))
        fail_msg("%s", err.text);
}

static void put_and_wait(unsigned first, unsigned n, bool stored)
{
    for (unsigned i = first; i < first + n; i++)
        begin_put(i);
    for (unsigned i = first; i < first + n; i++) {
        until(puts_made[i].ndone > 0);
        assert_int_equal(puts_made[i].ndone, 1);
        if (puts_made[i].stored != stored)
            fail_msg("put %u: %s", i, stored ? puts_made[i].why : "was stored");
    }
}

static size_t read_page(void)
{
    page_came = false;
    spool_read(spool, on_page, NULL);
    until(page_came);
    return page ? page->n : 0;
}

static unsigned number_of(const struct spool_record *r)
{
    return (unsigned)r->delivery_id.bytes[0] << 8 | r->delivery_id.bytes[1];
}

static void give_back(bool stored)
{
    for (size_t i = 0; i < page->n; i++)
        page->stored[i] = stored;
    spool_return(spool, page);
    page = NULL;
}

/* Drains it, and marks what came. */
static void drain(bool *seen, size_t wanted)
{
    size_t n = 0;

    until(n >= wanted)
    {
        if (read_page() == 0)
            continue;
        for (size_t i = 0; i < page->n; i++) {
            unsigned nth = number_of(&page->records[i]);
            assert_true(nth < NPUTS && !seen[nth]);
            assert_true(span_eq(page->records[i].body, span_of(puts_made[nth].body)));
            seen[nth] = true;
            n++;
        }
        give_back(true);
    }
    until(spool_nrecords(spool) == 0);
    assert_int_equal(n, wanted);
}

static size_t files_like(const char *part)
{
    DIR *all = opendir(folder);
    struct dirent *entry;
    size_t n = 0;

    assert_non_null(all);
    while ((entry = readdir(all)))
        n += strstr(entry->d_name, part) != NULL;
    closedir(all);
    return n;
}

/* The fresh file gives out the seqs of the one before: what is being drained of that one must not remove them. */
static void test_a_page_of_a_file_set_aside_takes_nothing_from_the_next(void **state)
{
    bool seen[NPUTS] = {false};

    (void)state;
    put_and_wait(0, 5, true);
    assert_int_equal(read_page(), 5);
    sync_error = EIO;
    put_and_wait(5, 1, false);
    put_and_wait(6, 5, true);
    assert_int_equal(puts_made[6].slip.record.seq, puts_made[0].slip.record.seq);
    give_back(true);
    drain(seen,
          11); /* the old ones once more, since their removal found no file, and the one that was refused */
}

static void test_what_is_forgotten_leaves_and_nothing_else(void **state)
{
    (void)state;
    put_and_wait(0, 3, true);
    spool_forget(spool, &puts_made[1].slip);
    until(spool_nrecords(spool) == 2);
    assert_int_equal(read_page(), 2);
    assert_int_equal(number_of(&page->records[0]), 0);
    assert_int_equal(number_of(&page->records[1]), 2);
    give_back(false);
    sync_error = EIO;
    put_and_wait(3, 1, false);
    put_and_wait(4, 3, true);
    spool_forget(spool, &puts_made[2].slip); /* it lay in the file before */
    read_page();
    for (unsigned i = 4; i < 7; i++)
        assert_int_equal(number_of(&page->records[i - 4]), i);
    give_back(false);
}

/* Where no second name is to be had, another file is taken; the one that failed is only read. */
static void test_a_file_that_cannot_be_set_aside_is_written_no_more(void **state)
{
    bool seen[NPUTS] = {false};
    struct err err = {0};

    (void)state;
    put_and_wait(0, 5, true);
    link_error = EPERM;
    sync_error = EIO;
    put_and_wait(5, 1, false);
    put_and_wait(6, 5, true);
    assert_int_equal(files_like(".broken-"), 0);
    assert_int_equal(files_like("spool-1.db"), 2);
    assert_int_equal(spoolfile_lock(folder, 0, &err), -1); /* nor by anybody else */
    link_error = 0;
    until(spool_nrecords(spool) >= 10);
    drain(seen, (size_t)spool_nrecords(spool));
    for (unsigned i = 0; i < 11; i++)
        assert_true(seen[i] || i == 5);
    assert_int_equal(files_like("spool-0.db"), 0); /* drained, and gone */
}

/* As long as a disk can be mended by taking another file: not for ever. */
static void test_no_second_name_ever_ends_in_refusals(void **state)
{
    (void)state;
    until(can_spool);
    link_error = EPERM;
    for (unsigned i = 0; i < 40; i += 2) { /* what is set aside has something in it */
        begin_put(i);
        until(puts_made[i].ndone > 0);
        sync_error = puts_made[i].stored ? EIO : 0;
        begin_put(i + 1);
        until(puts_made[i + 1].ndone > 0);
        assert_false(puts_made[i + 1].stored);
    }
    until(!can_spool);
    begin_put(40);
    until(puts_made[40].ndone > 0);
    assert_false(puts_made[40].stored);
    assert_string_equal(puts_made[40].cause, "spool_broken");
    assert_true(files_like(".lock") <= 17);
}

static void test_a_hung_disk_refuses_at_once_and_takes_again(void **state)
{
    bool seen[NPUTS] = {false};
    struct err err = {0};
    int64_t hung_us;

    (void)state;
    put_and_wait(0, 1, true);
    until(can_spool);
    let_sync(0);
    begin_put(1);
    until(hangs());
    hung_us = now_boot_us();
    begin_put(2);
    begin_put(3);
    begin_put(4);
    begin_put(5);
    assert_true(spool_give_up(spool, &puts_made[5].slip));
    spool_turn(spool);
    assert_true(can_spool); /* it may be a hiccup */
    until(now_boot_us() > hung_us + SPOOL_STUCK_MS * INT64_C(1000));
    assert_true(spool_give_up(spool, &puts_made[3].slip));  /* from the middle, */
    assert_true(spool_give_up(spool, &puts_made[4].slip));  /* the end */
    assert_true(spool_give_up(spool, &puts_made[2].slip));  /* and the beginning of what waits */
    assert_false(spool_give_up(spool, &puts_made[1].slip)); /* the disk has it */
    spool_turn(spool);
    assert_false(can_spool);
    assert_int_equal(put(8, &err), UNAVAILABLE);
    assert_string_equal(err.cause, "spool_stuck");
    let_sync(-1);
    until(puts_made[1].ndone > 0);
    assert_true(puts_made[1].stored); /* late, and harmless */
    until(can_spool);
    put_and_wait(6, 2, true);
    for (unsigned i = 2; i < 6; i++)
        assert_int_equal(puts_made[i].ndone, 0);
    drain(seen, 4);
    assert_true(seen[0] && seen[1] && seen[6] && seen[7]);
}

/* Of a long queue the rest need not be written when its senders were refused. */
static void test_what_nobody_waits_for_is_not_written(void **state)
{
    bool seen[NPUTS] = {false};

    (void)state;
    put_and_wait(0, 1, true);
    let_sync(0);
    begin_put(1);
    until(hangs());
    for (unsigned i = 2; i < 602; i++)
        begin_put(i);
    let_sync(1);
    until(puts_made[1].ndone > 0);
    until(hangs()); /* with the first 512 of them */
    for (unsigned i = 2; i < 602; i++)
        assert_false(spool_give_up(spool, &puts_made[i].slip));
    let_sync(-1);
    until(puts_made[601].ndone > 0);
    assert_true(puts_made[2].stored);
    assert_false(puts_made[601].stored);
    drain(seen, 2 + 512);
    assert_false(seen[601]);
}

/* What a hung disk may hold is bounded by what waited when it began to hang. */
static void test_a_hung_disk_holds_no_more_than_what_came_before(void **state)
{
    static char large[1 << 20];
    struct err err = {0};
    unsigned n = 0;
    int64_t hung_us;

    (void)state;
    put_and_wait(0, 1, true);
    let_sync(0);
    begin_put(1);
    until(hangs());
    hung_us = now_boot_us();
    for (unsigned i = 2; i < 602; i++, n++) {
        enum status status;
        struct put *p = &puts_made[i];
        p->slip.record = puts_made[1].slip.record;
        p->slip.record.body = (struct span){large, sizeof(large)};
        status = spool_put(spool, &p->slip, &err);
        if (status)
            break;
    }
    assert_true(n > 60 && n < 65); /* MiB */
    assert_string_equal(err.cause, "spool_full");
    until(now_boot_us() > hung_us + SPOOL_STUCK_MS * INT64_C(1000));
    for (unsigned i = 2; i < 2 + n; i++)
        assert_true(spool_give_up(spool, &puts_made[i].slip));
    assert_int_equal(spool_put(spool, &puts_made[602].slip, &err), UNAVAILABLE);
    assert_string_equal(err.cause, "spool_stuck");
}

/* It says what is wrong, and does not look for another id that could be locked. */
static void test_without_locks_there_is_no_spool_and_it_says_why(void **state)
{
    unsigned before;

    (void)state;
    close_spool();
    lock_error = ENOLCK;
    before = nlocks_tried;
    open_spool();
    put_and_wait(0, 1, false);
    until(nlocks_tried > before + 1); /* again a second later */
    put_and_wait(1, 1, false);
    assert_true(nlocks_tried - before <= PATIENCE_S + 2);
    assert_int_equal(files_like(".lock"), 1);
    lock_error = 0;
    until(can_spool);
    put_and_wait(2, 1, true);
}

/* A file that was set aside shares the lock of the own one: who gets the lock may open both. */
static void test_the_lock_is_let_go_last(void **state)
{
    (void)state;
    put_and_wait(0, 5, true);
    sync_error = EIO;
    put_and_wait(5, 1, false);
    until(spool_nrecords(spool) == 6) /* taken over, with the one that was refused */
    {
        if (read_page() > 0)
            give_back(false);
    }
    nopen_at_unlock = -1;
    close_spool();
    assert_int_equal(nopen_at_unlock, 0);
}

/* A gateway that ended left a file, and another one, under another place, has its own. */
static void leave_orphan(unsigned of_place, unsigned first, unsigned n)
{
    unsigned before = place;

    close_spool();
    place = of_place;
    open_spool();
    put_and_wait(first, n, true);
    close_spool();
    place = before;
    open_spool();
}

static double metric(const char *series)
{
    char *text;
    size_t len;
    FILE *to = open_memstream(&text, &len);
    const char *at;
    double value = -1;

    metric_page(to);
    fclose(to);
    at = strstr(text, series);
    if (at)
        value = strtod(at + strlen(series), NULL);
    free(text);
    return value;
}

/* The own file never comes to its end, as under steady overload; what others left is older all the same. */
static void test_what_was_left_behind_is_drained_in_its_turn(void **state)
{
    unsigned n = 400;

    (void)state;
    leave_orphan(3, 0, 300);
    put_and_wait(300, 100, true);
    for (unsigned pages = 0; pages < 5; pages++) {
        size_t npage = read_page();

        if (pages == 1) /* it shows by now */
            assert_true(metric("settle_spool_oldest_seconds ") > 1e6);
        for (size_t i = 0; i < npage; i++) {
            if (number_of(&page->records[i]) < 300) {
                give_back(false);
                return; /* it has its turn */
            }
        }
        if (page)
            give_back(true);
        put_and_wait(n, 100, true); /* more than enough for a page */
        n += 100;
    }
    fail_msg("only the own file was drained");
}

/* One that has stayed is old for ever: it must not keep the others waiting. */
static void test_one_that_stays_lets_the_next_pass(void **state)
{
    bool seen[NPUTS] = {false};

    (void)state;
    leave_orphan(3, 0, 1);
    put_and_wait(1, 300, true);
    until(seen[0] && seen[300])
    {
        if (read_page() == 0)
            continue;
        for (size_t i = 0; i < page->n; i++)
            seen[number_of(&page->records[i])] = true;
        give_back(false);
    }
}

/* Its disk makes and renames files and syncs none: there is no end to that. */
static void test_a_disk_that_syncs_nothing_is_not_filled_with_files(void **state)
{
    int64_t until_us;

    (void)state;
    until(can_spool);
    dead_error = EIO;
    put_and_wait(0, 1, false);
    until(!can_spool);
    until_us = now_boot_us() + 4 * SECOND_US;
    for (unsigned i = 1; now_boot_us() < until_us; i = 1 + i % 600) {
        puts_made[i].ndone = 0;
        put_and_wait(i, 1, false);
    }
    assert_true(files_like(".db") <= 2); /* of the try under way */
    dead_error = 0;
    until(can_spool);
    put_and_wait(NPUTS - 1, 1, true);
}

/* It got a second name, and could not lose its first: from the second it is drained all the same. */
static void test_a_file_set_aside_by_half_is_drained(void **state)
{
    bool seen[NPUTS] = {false};

    (void)state;
    put_and_wait(0, 5, true);
    unlink_error = EIO;
    sync_error = EIO;
    put_and_wait(5, 1, false);
    assert_int_equal(files_like("spool-0.db.broken-"), 2);
    assert_int_equal(files_like("spool-1.db"), 2);
    drain(seen, 6);
    unlink_error = 0;
}

static void test_without_a_thread_it_is_broken_not_full(void **state)
{
    struct err err = {0};

    (void)state;
    close_spool();
    thread_error = EAGAIN;
    open_spool();
    assert_int_equal(put(0, &err), UNAVAILABLE);
    assert_string_equal(err.cause, "spool_broken");
}

/* Written, but nobody has heard of it yet: its sender is told that it is too late, and that is what counts. */
static void test_what_is_given_up_at_the_last_moment_counts_once(void **state)
{
    double stored = metric("settle_spool_writes_total{result=\"stored\"} "),
           late = metric("settle_spool_writes_total{result=\"late\"} ");

    (void)state;
    begin_put(0);
    while (spool_nrecords(spool) == 0) /* without a turn of the loop */
        assert_int_equal(puts_made[0].ndone, 0);
    assert_false(spool_give_up(spool, &puts_made[0].slip));
    until(puts_made[0].ndone > 0);
    assert_true(puts_made[0].stored);
    spool_turn(spool);
    assert_true(metric("settle_spool_writes_total{result=\"stored\"} ") == stored);
    assert_true(metric("settle_spool_writes_total{result=\"late\"} ") == late + 1);
}

/* What was taken over is no part of the room that there is for what comes. */
static void test_its_fill_is_that_of_its_own_file(void **state)
{
    (void)state;
    leave_orphan(3, 0, 600);
    until(spool_nrecords(spool) == 600)
    {
        if (read_page() > 0)
            give_back(false);
    }
    assert_true(spool_fill(spool) < 50000.0 / (64 << 20)); /* an empty one's pages */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_page_of_a_file_set_aside_takes_nothing_from_the_next, up,
                                        down),
        cmocka_unit_test_setup_teardown(test_what_is_forgotten_leaves_and_nothing_else, up, down),
        cmocka_unit_test_setup_teardown(test_a_file_that_cannot_be_set_aside_is_written_no_more, up, down),
        cmocka_unit_test_setup_teardown(test_no_second_name_ever_ends_in_refusals, up, down),
        cmocka_unit_test_setup_teardown(test_a_hung_disk_refuses_at_once_and_takes_again, up, down),
        cmocka_unit_test_setup_teardown(test_what_nobody_waits_for_is_not_written, up, down),
        cmocka_unit_test_setup_teardown(test_a_hung_disk_holds_no_more_than_what_came_before, up, down),
        cmocka_unit_test_setup_teardown(test_without_locks_there_is_no_spool_and_it_says_why, up, down),
        cmocka_unit_test_setup_teardown(test_the_lock_is_let_go_last, up, down),
        cmocka_unit_test_setup_teardown(test_what_was_left_behind_is_drained_in_its_turn, up, down),
        cmocka_unit_test_setup_teardown(test_one_that_stays_lets_the_next_pass, up, down),
        cmocka_unit_test_setup_teardown(test_a_disk_that_syncs_nothing_is_not_filled_with_files, up, down),
        cmocka_unit_test_setup_teardown(test_a_file_set_aside_by_half_is_drained, up, down),
        cmocka_unit_test_setup_teardown(test_without_a_thread_it_is_broken_not_full, up, down),
        cmocka_unit_test_setup_teardown(test_what_is_given_up_at_the_last_moment_counts_once, up, down),
        cmocka_unit_test_setup_teardown(test_its_fill_is_that_of_its_own_file, up, down),
    };
    struct err err;

    if (metric_open(NULL, 0, 1, &err))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
