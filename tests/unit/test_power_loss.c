/* A file of the spool over a power cut after any of its steps: what was acknowledged is there, as it was, and nothing
 * else is; and no file that a cut alone has left is refused. */
#include "forgetful.h"
#include "support/test.h"

#include "base/now.h"
#include "spoolfile.h"

#include <dirent.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RECORDS_MAX = 1024, PAGE = 256, FAILURES_MAX = 2 /* of the folder, in succession */ };

/* What is known of a record. A note is its number and what it becomes. */
enum fate { ABSENT, PERHAPS, KEPT, GONE };

struct tally {
    unsigned nimages, nlost, ninvented, nunopened;
    char first[200]; /* what went wrong first */
};

static char folder[64], image[64];
static struct arena *arena;
static struct spoolfile *file;
static unsigned nrecords;
static int64_t seqs[RECORDS_MAX];

static int up(void **state)
{
    const char *base =
        access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"; /* nothing here is really synced */

    (void)state;
    snprintf(folder, sizeof(folder), "%s/settle-forgetful-XXXXXX", base);
    snprintf(image, sizeof(image), "%s/settle-image-XXXXXX", base);
    assert_non_null(mkdtemp(folder));
    assert_non_null(mkdtemp(image));
    arena = arena_open(1 << 16);
    nrecords = 0;
    return sodium_init() < 0;
}

static void empty(const char *which)
{
    DIR *all = opendir(which);
    struct dirent *entry;

    assert_non_null(all);
    while ((entry = readdir(all)))
        if (entry->d_name[0] != '.')
            assert_int_equal(unlinkat(dirfd(all), entry->d_name, 0), 0);
    closedir(all);
}

static int down(void **state)
{
    (void)state;
    forgetful_end();
    empty(folder);
    empty(image);
    arena_close(arena);
    return rmdir(folder) | rmdir(image);
}

static size_t bytes_of(unsigned i)
{
    static const size_t sizes[] = {10, 300, 5000, 900, 2500};

    return sizes[i % countof(sizes)];
}

static struct spool_record record(unsigned i)
{
    size_t len = bytes_of(i);
    char *body = arena_alloc(arena, len + 32);
    int n = snprintf(body, 32, "body-%u", i);

    memset(body + n, 'a' + (int)(i % 26), len);
    return (struct spool_record){
        .delivery_id = {.bytes = {(uint8_t)(i >> 8), (uint8_t)i}},
        .received_us = 1000000 + i,
        .platform = SPAN("instagram"),
        .source = SPAN("default"),
        .key_id = SPAN("0123456789abcdef"),
        .event_id = SPAN_NONE,
        .headers = SPAN("content-type: application/json\n"),
        .body = { body,                         (size_t)n + len},
    };
}

/* Work that is recorded. */

static void note(unsigned i, enum fate fate)
{
    forgetful_note(i * 4 + (unsigned)fate);
}

static void begin(const char *name)
{
    struct err err = {0};

    file = spoolfile_open(folder, name, true, &err);
    if (!file)
        fail_msg("%s", err.text);
}

/* As the spool does, which tries again. */
static void begin_at_last(const char *name)
{
    struct err err = {0};

    file = NULL;
    for (unsigned i = 0; i < FAILURES_MAX && !file; i++) {
        file = spoolfile_open(folder, name, true, &err);
        assert_int_equal(err.code, file ? OK : UNAVAILABLE);
        err.code = OK;
    }
    if (!file)
        begin(name);
}

static enum status put(unsigned n)
{
    struct spool_record records[64], *list[64];
    unsigned first = nrecords;
    struct err err = {0};
    enum status status;

    for (unsigned i = 0; i < n; i++) {
        records[i] = record(nrecords);
        list[i] = &records[i];
        note(nrecords++, PERHAPS);
    }
    status = spoolfile_put(file, list, n, &err);
    for (unsigned i = 0; i < n && status == OK; i++) {
        seqs[first + i] = records[i].seq;
        note(first + i, KEPT);
    }
    arena_reset(arena);
    return status;
}

/* leaves: for good. What a file has lost in a failed sync may take later removals with it: then they come again. */
static void take_out(unsigned first, unsigned n, bool leaves)
{
    struct err err = {0};

    for (unsigned i = first; i < first + n; i++)
        note(i, PERHAPS);
    assert_int_equal(spoolfile_remove(file, seqs + first, n, &err), OK);
    for (unsigned i = first; i < first + n && leaves; i++)
        note(i, GONE);
}

/* Cuts. */

static void complain(struct tally *t, unsigned *n, size_t step, uint64_t set, const char *what, unsigned i)
{
    if (t->nlost + t->ninvented + t->nunopened == 0)
        snprintf(t->first, sizeof(t->first), "step %zu, set %u: %.100s %u", step, (unsigned)set, what, i);
    ++*n;
}

/* False: something in it is not as it was put. */
static bool read_all(struct spoolfile *f, unsigned *seen)
{
    int64_t after, last = 0;
    bool good = true;

    do {
        struct spool_record *records;
        size_t n, ndamaged;
        struct err err = {0};

        after = last;
        if (spoolfile_read(f, after, PAGE, SIZE_MAX, arena, &records, &n, &last, &ndamaged, &err))
            return false;
        good = good && ndamaged == 0;
        for (size_t i = 0; i < n; i++) {
            unsigned nth = (unsigned)records[i].delivery_id.bytes[0] << 8 | records[i].delivery_id.bytes[1];
            struct spool_record want = record(nth);

            good = good && nth < RECORDS_MAX && span_eq(records[i].body, want.body) &&
                   span_eq(records[i].headers, want.headers) && records[i].received_us == want.received_us;
            if (nth < RECORDS_MAX)
                seen[nth]++;
        }
    } while (last != after);
    return good;
}

/* With one more record, over a close, which merges the log. Closes f. */
static bool goes_on(struct spoolfile *f, const char *name)
{
    struct spool_record one = record(RECORDS_MAX), *list[] = {&one};
    uint64_t nbefore = spoolfile_size(f).nrecords;
    struct err err = {0};
    bool good = spoolfile_put(f, list, 1, &err) == OK;

    spoolfile_close(f);
    f = spoolfile_open(image, name, false, &err);
    good = good && f && spoolfile_size(f).nrecords == nbefore + 1;
    spoolfile_close(f);
    return good;
}

/* As a start would: all files. */
static void check_image(struct tally *t, const enum fate *fates, size_t step, uint64_t set)
{
    unsigned seen[RECORDS_MAX] = {0};
    const char **names;
    size_t n;
    struct err err = {0};

    t->nimages++;
    assert_int_equal(spoolfile_names(image, arena, &names, &n, &err), OK);
    for (size_t i = 0; i < n; i++) {
        struct spoolfile *f = spoolfile_open(image, names[i], false, &err);
        char path[160];

        snprintf(path, sizeof(path), "%s/%s", image, names[i]);
        if (!f && err.code == UNAVAILABLE && access(path, F_OK) != 0)
            continue; /* its first name, of a file that was being set aside */
        if (!f) {
            complain(t, &t->nunopened, step, set, err.text, 0);
            continue;
        }
        if (!read_all(f, seen))
            complain(t, &t->ninvented, step, set, names[i], 0);
        if (set % 4 == 0 && !goes_on(f, names[i]))
            complain(t, &t->nunopened, step, set, "it does not go on", 0);
        else if (set % 4 != 0)
            spoolfile_close(f);
    }
    for (unsigned i = 0; i < nrecords; i++)
        if (fates[i] == KEPT && seen[i] == 0)
            complain(t, &t->nlost, step, set, "lost", i);
        else if ((fates[i] == ABSENT || fates[i] == GONE) && seen[i] > 0)
            complain(t, &t->ninvented, step, set, "there again", i);
    arena_reset(arena);
}

/* Every step from this one on, each with so many sets of survivors. */
static struct tally cut_everywhere(enum honesty honesty, size_t from, unsigned nsets)
{
    static enum fate fates[RECORDS_MAX];
    struct disk *d = disk_open(honesty);
    struct tally t = {0};
    unsigned what;

    memset(fates, 0, sizeof(fates));
    for (size_t step = 0; disk_step(d, &what); step++) {
        unsigned n = disk_is_certain(d) ? 1 : nsets;
        if (what > 0)
            fates[what / 4] = (enum fate)(what % 4);
        for (uint64_t set = 0; set < n && step >= from; set++) {
            disk_cut(d, step * 1000 + set, image);
            check_image(&t, fates, step, set);
            empty(image);
        }
    }
    disk_close(d);
    return t;
}

static void expect_nothing_lost(const char *what, size_t from, unsigned nsets)
{
    unsigned n = getenv("SETTLE_TEST_LONG") ? 64 : nsets;
    int64_t began_us = now_boot_us();
    struct tally t = cut_everywhere(HONEST, from, n);

    print_message("%s: %zu steps, %u images, %u lost, %u invented or altered, %u refused, %.1f s\n", what,
                  forgetful_nsteps() - from, t.nimages, t.nlost, t.ninvented, t.nunopened,
                  (double)(now_boot_us() - began_us) / (double)SECOND_US);
    if (t.nlost + t.ninvented + t.nunopened > 0)
        fail_msg("%s", t.first);
    assert_true(t.nimages > 100);
}

static void work(void)
{
    forgetful_begin(folder);
    begin("spool-0.db");
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(put(3), OK);
    take_out(2, 5, true);
    assert_int_equal(put(2), OK);
    spoolfile_close(file); /* merges its log, and deletes it */
    begin("spool-0.db");
    assert_int_equal(put(2), OK);
    take_out(0, 2, true);
    assert_int_equal(put(1), OK);
    forgetful_end();
    spoolfile_close(file);
}

static void test_what_is_put_and_removed_survives(void **state)
{
    (void)state;
    work();
    expect_nothing_lost("put and remove", 0, 8);
}

/* In the middle of work, at the thousandth page. */
static void test_a_merge_of_the_log_survives(void **state)
{
    size_t from = 0, began;

    (void)state;
    forgetful_begin(folder);
    begin("spool-0.db");
    assert_int_equal(put(8), OK);
    do {
        began = from = forgetful_nsteps();
        assert_int_equal(put(24), OK);
        take_out(nrecords - 24, 24, true);
        assert_true(nrecords < RECORDS_MAX - 100);
    } while (!forgetful_has_written(began, "spool-0.db"));
    assert_int_equal(put(2), OK);
    take_out(0, 2, true);
    forgetful_end();
    spoolfile_close(file);
    expect_nothing_lost("merge", from, 8);
}

static void test_a_file_that_is_set_aside_survives(void **state)
{
    const char **names;
    struct err err = {0};
    size_t n;

    (void)state;
    forgetful_begin(folder);
    begin("spool-0.db");
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(put(2), OK);
    forgetful_fail_sync(1);
    assert_int_equal(put(3), BROKEN);
    assert_true(spoolfile_set_aside(file, SECOND_US));
    begin("spool-0.db");
    assert_int_equal(put(2), OK);
    spoolfile_close(file);
    assert_int_equal(spoolfile_names(folder, arena, &names, &n, &err), OK);
    assert_int_equal(n, 2);
    begin(names[1]); /* drained from there, but for one */
    take_out(0, 5, false);
    forgetful_end();
    spoolfile_close(file);
    expect_nothing_lost("set aside", 0, 8);
}

static void test_what_is_deleted_whole_leaves_nothing_half(void **state)
{
    (void)state;
    forgetful_begin(folder);
    begin("spool-0.db");
    assert_int_equal(put(4), OK);
    for (unsigned i = 0; i < 4; i++)
        note(i, PERHAPS);
    spoolfile_discard(file);
    for (unsigned i = 0; i < 4; i++)
        note(i, GONE);
    begin("spool-0.db");
    assert_int_equal(put(3), OK);
    take_out(4, 3, true);
    spoolfile_retire(file);
    begin("spool-0.db");
    assert_int_equal(put(1), OK);
    forgetful_end();
    spoolfile_close(file);
    expect_nothing_lost("discard", 0, 8);
}

/* As the spool does with a file that fails. Returns that file, if it has to be drained under its name. */
static struct spoolfile *work_and_fail(void)
{
    struct spoolfile *left = NULL;
    struct err err = {0};
    bool aside;

    begin_at_last("spool-0.db");
    assert_int_equal(put(2), OK);
    assert_int_equal(put(1), OK);
    spoolfile_close(file); /* deletes its log */
    begin_at_last("spool-0.db");
    assert_int_equal(put(1), OK);
    forgetful_fail_sync(1);
    assert_int_equal(put(1), BROKEN);
    aside = spoolfile_set_aside(file, SECOND_US);
    if (!aside)
        left = spoolfile_open(folder, "spool-0.db", false, &err);
    begin_at_last(aside ? "spool-0.db" : "spool-1.db");
    assert_int_equal(put(2), OK);
    return left;
}

/* Each sync of the folder in turn, SQLite's own among them, and each with the next: nothing that is acknowledged rests on
 * it. A file that was not taken into use yet may be refused. */
static void test_nothing_rests_on_a_failed_sync_of_the_folder(void **state)
{
    unsigned nimages = 0, nfailed = 0;

    for (unsigned n = 1; n <= FAILURES_MAX; n++) {
        bool failed = true;
        for (unsigned nth = 1; failed; nth++) {
            struct spoolfile *left;
            size_t first;
            struct tally t;
            down(state);
            up(state);
            forgetful_begin(folder);
            forgetful_fail_folder_syncs(nth, n);
            left = work_and_fail();
            forgetful_end();
            first = forgetful_first_failure();
            failed = first < forgetful_nsteps();
            nfailed += failed;
            spoolfile_close(left);
            spoolfile_close(file);
            t = cut_everywhere(HONEST, first, getenv("SETTLE_TEST_LONG") ? 64 : 2);
            nimages += t.nimages;
            if (t.nlost + t.ninvented > 0)
                fail_msg("syncs of the folder %u to %u: %s", nth, nth + n - 1, t.first);
        }
    }
    print_message("%u times a sync of the folder failed, %u images\n", nfailed, nimages);
    assert_true(nfailed > 24);
}

/* Killed when the file had its second name, which nobody had synced. */
static void test_a_second_name_lasts_before_the_first_goes(void **state)
{
    char first[80], second[120];

    (void)state;
    forgetful_begin(folder);
    begin("spool-0.db");
    assert_int_equal(put(3), OK);
    spoolfile_close(file);
    snprintf(first, sizeof(first), "%s/spool-0.db", folder);
    snprintf(second, sizeof(second), "%s.broken-19700101T000001Z", first);
    assert_int_equal(link(first, second), 0);
    begin("spool-0.db");
    assert_int_equal(put(1), OK);
    forgetful_end();
    spoolfile_close(file);
    expect_nothing_lost("a second name", 0, 8);
}

/* The same work on disks that lie: a test that does not see it sees nothing. */
static void test_a_disk_that_lies_is_caught(void **state)
{
    struct tally files, names;

    (void)state;
    work();
    files = cut_everywhere(FORGETS_SYNCS, 0, 1);
    names = cut_everywhere(FORGETS_FOLDER_SYNCS, 0, 1);
    print_message("on disks that lie: %u lost without syncs, %u without those of the folder\n", files.nlost,
                  names.nlost);
    assert_true(files.nlost > 100);
    assert_true(names.nlost > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_put_and_removed_survives, up, down),
        cmocka_unit_test_setup_teardown(test_a_merge_of_the_log_survives, up, down),
        cmocka_unit_test_setup_teardown(test_a_file_that_is_set_aside_survives, up, down),
        cmocka_unit_test_setup_teardown(test_what_is_deleted_whole_leaves_nothing_half, up, down),
        cmocka_unit_test_setup_teardown(test_nothing_rests_on_a_failed_sync_of_the_folder, up, down),
        cmocka_unit_test_setup_teardown(test_a_second_name_lasts_before_the_first_goes, up, down),
        cmocka_unit_test_setup_teardown(test_a_disk_that_lies_is_caught, up, down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
