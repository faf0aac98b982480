#include "spoolfile.h"

#include "base/now.h"
#include "base/number.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <sqlite3.h>

enum {
    PATH_BYTES = 4096,
    CHECK_BYTES = 16,
    ROW_BYTES = 256,           /* what a row costs besides its headers and body, indexes included */
    PAGES_UNTIL_MERGE = 1000,  /* of the log; then it is copied into the database and begins anew */
    EMPTY_BYTES_MAX = 1 << 22, /* an empty file that is larger gives its room back */
    NSYNCS = 5,
    VERSION = 1, /* of the schema */
};

/* A larger file is not read whole at start: its rows' checksums must do. */
#define CHECK_BYTES_MAX (INT64_C(64) << 20)

static const char schema[] =
    "begin immediate;"
    "pragma application_id = 1936028780;"
    "pragma user_version = 1;"
    "create table record ("
    "  seq integer primary key autoincrement," /* a reader's place must never be given out again */
    "  key blob not null unique,"
    "  received_at integer not null,"
    "  platform text not null, source text not null,"
    "  delivery_id blob not null, key_id text not null, event_id blob,"
    "  headers blob not null, body blob not null,"
    "  checksum blob not null);"
    "commit";

enum statement {
    PUT,
    FIND,
    READ,
    REMOVE,
    OLDEST,
    NEXT,
    COUNT,
    PAGES,
    FREE,
    BEGIN,
    COMMIT,
    ROLLBACK,
    NSTATEMENTS
};

/* By the columns' order in the schema. */
static const char *const texts[NSTATEMENTS] = {
    [PUT] = "insert into record values (null, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict (key) do nothing",
    [FIND] = "select seq from record where key = ?",
    [READ] = "select * from record where seq > ? order by seq limit ?",
    [REMOVE] = "delete from record where seq = ?",
    [OLDEST] = "select received_at from record order by seq limit 1",
    [NEXT] = "select received_at from record where seq > ? order by seq limit 1",
    [COUNT] = "select count(*) from record",
    [PAGES] = "pragma page_count",
    [FREE] = "pragma freelist_count",
    [BEGIN] = "begin immediate",
    [COMMIT] = "commit",
    [ROLLBACK] = "rollback",
};

struct spoolfile {
    char folder[PATH_BYTES / 2], name[SPOOL_NAME_BYTES];
    sqlite3 *db;
    sqlite3_stmt *statements[NSTATEMENTS];
    struct spoolfile_size size;
    int npages_logged;
    bool is_fresh;    /* made by us, and nothing in it was ever taken as stored */
    bool is_doubtful; /* a write or sync of it failed: what its log holds is not merged by us any more */
    int system_error; /* of the last step: SQLite does not keep that of a commit */
};

static enum status check_kind(const char *folder, bool unsafe_ok, struct err *err);
static enum status try_out(const char *folder, int64_t *ret_sync_us, struct err *err);
static enum status try_lock(const char *folder, int fd, struct err *err);
static enum status try_link(const char *folder, const char *path, struct err *err);
static enum status time_sync(const char *folder, int fd, int64_t *ret_us, struct err *err);
static void path_of(const char *folder, const char *name, const char *suffix, char ret[PATH_BYTES]);
static bool sync_folder(const char *folder);
static int compare_names(const void *a, const void *b);
static bool make_file(struct spoolfile *f, bool create, struct err *err);
static enum status sync_names(struct spoolfile *f, struct err *err);
static void unlink_empty(const char *path);
static enum status start(struct spoolfile *f, struct err *err);
static enum status is_empty(struct spoolfile *f, bool *ret, struct err *err);
static enum status check_pages(struct spoolfile *f, struct err *err);
static int after_commit(void *file, sqlite3 *db, const char *schema_name, int npages);
static enum status run(struct spoolfile *f, const char *sql, struct err *err);
static void let_go(struct spoolfile *f, bool merge);
static bool remove_fresh(struct spoolfile *f);
static bool is_full_disk(int code);
static void name_aside(const char *folder, const char *name, int64_t wall_us, char ret[2 * SPOOL_NAME_BYTES]);
static bool is_set_aside(const char *folder, const char *name);
static bool has_name_aside(const char *folder, const char *name, const struct stat *is);
static bool drop_first_names(const char *folder, const char *name);
static enum status fail(struct spoolfile *f, int code, const char *doing, struct err *err);
static bool is_full(const struct spoolfile *f, int code);
static bool is_passing(int code);
static void undo(struct spoolfile *f);
static int step_once(struct spoolfile *f, sqlite3_stmt *s);
static enum status step(struct spoolfile *f, enum statement s, const char *doing, struct err *err);
static enum status ask(struct spoolfile *f, enum statement s, int64_t none, int64_t *ret, struct err *err);
static enum status measure(struct spoolfile *f, struct err *err);
static enum status put_one(struct spoolfile *f, struct spool_record *r, uint64_t *nnew, struct err *err);
static enum status find(struct spoolfile *f, struct spool_record *r, const uint8_t *key, struct err *err);
static enum status remove_all(struct spoolfile *f, const int64_t *seqs, size_t n, struct err *err);
static void bind(sqlite3_stmt *s, int at, struct span value, bool is_text);
static enum status merge_log(struct spoolfile *f, struct err *err);
static bool take_row(sqlite3_stmt *s, struct arena *arena, struct spool_record *ret);
static struct span column(sqlite3_stmt *s, int at);
static struct span kept(struct arena *arena, struct span s);
static void make_key(const struct spool_record *r, uint8_t ret[SPOOL_KEY_BYTES]);
static void make_checksum(const struct spool_record *r, const uint8_t *key, uint8_t ret[CHECK_BYTES]);
static void add_part(crypto_generichash_state *state, struct span part);

enum status spoolfile_check_folder(const char *folder, bool unsafe_ok, int64_t *ret_sync_us, struct err *err)
{
    struct stat is;

    if (strlen(folder) >= sizeof(((struct spoolfile *)0)->folder))
        return err_set(err, INVALID, "spool.folder: too long");
    if (folder[0] != '/')
        return err_set(err, INVALID,
                       "spool.folder \"%s\": want a path from / on: begun elsewhere, the gateway would take "
                       "another folder and leave what lies in this one",
                       folder);
    if (stat(folder, &is) != 0)
        return err_set(err, UNAVAILABLE, "spool.folder \"%s\": %s", folder, strerror(errno));
    if (!S_ISDIR(is.st_mode))
        return err_set(err, INVALID, "spool.folder \"%s\": no folder", folder);
    if (access(folder, W_OK | X_OK) != 0)
        return err_set(err, UNAVAILABLE, "spool.folder \"%s\": we may not write to it: %s", folder,
                       strerror(errno));
    if (check_kind(folder, unsafe_ok, err))
        return err->code;
    return try_out(folder, ret_sync_us, err);
}

/* What lies in memory, or in a container's own layer, ends with the machine or the container. */
static enum status check_kind(const char *folder, bool unsafe_ok, struct err *err)
{
    struct statfs is;

    if (statfs(folder, &is) != 0)
        return err_set(err, UNAVAILABLE, "spool.folder \"%s\": %s", folder, strerror(errno));
    if (unsafe_ok ||
        (is.f_type != TMPFS_MAGIC && is.f_type != RAMFS_MAGIC && is.f_type != OVERLAYFS_SUPER_MAGIC))
        return OK;
    return err_set(
        err, INVALID,
        "spool.folder \"%s\" is on %s: what was acknowledged would be lost with %s. Put it on a disk or a "
        "volume, or leave it empty",
        folder, is.f_type == OVERLAYFS_SUPER_MAGIC ? "an overlay" : "a file system in memory",
        is.f_type == OVERLAYFS_SUPER_MAGIC ? "the container" : "the machine");
}

/* With a file of its own, what the spool is going to do to its files. */
static enum status try_out(const char *folder, int64_t *ret_sync_us, struct err *err)
{
    char path[PATH_BYTES];
    enum status status;
    int fd;

    snprintf(path, sizeof(path), "%s/.settle-sync-XXXXXX", folder);
    *ret_sync_us = INT64_MAX;
    fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0 && is_full_disk(errno))
        return OK; /* what fills it may be the spool, which only a start can drain */
    if (fd < 0)
        return err_set(err, UNAVAILABLE, "spool.folder \"%s\": %s", folder, strerror(errno));
    status = try_lock(folder, fd, err);
    if (status == OK)
        status = try_link(folder, path, err);
    unlink(path);
    if (status == OK && !sync_folder(folder) && !is_full_disk(errno))
        status =
            err_set(err, UNAVAILABLE, "spool.folder \"%s\" cannot be synced: %s", folder, strerror(errno));
    if (status == OK)
        status = time_sync(folder, fd, ret_sync_us, err);
    close(fd);
    return status;
}

static enum status try_lock(const char *folder, int fd, struct err *err)
{
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return OK;
    return err_set(
        err, INVALID,
        "spool.folder \"%s\": its file system cannot lock (%s), so that two processes could write to "
        "one file. Put it on a local disk, or leave it empty",
        folder, strerror(errno));
}

static enum status try_link(const char *folder, const char *path, struct err *err)
{
    char second[PATH_BYTES + 8];

    snprintf(second, sizeof(second), "%s.link", path);
    if (link(path, second) == 0) {
        unlink(second);
        return OK;
    }
    if (is_full_disk(errno))
        return OK;
    return err_set(
        err, INVALID,
        "spool.folder \"%s\": its file system has no hard links (%s), so that a file which fails could "
        "not be set aside. Put it on ext4, xfs or btrfs, or leave it empty",
        folder, strerror(errno));
}

static enum status time_sync(const char *folder, int fd, int64_t *ret_us, struct err *err)
{
    enum status status = OK;

    for (int i = 0; i < NSYNCS && status == OK; i++) {
        char block[4096] = {(char)(i + 1)};
        int64_t began_us = now_boot_us(), took_us;

        ssize_t n = pwrite(fd, block, sizeof(block), i * (off_t)sizeof(block));
        if (n == (ssize_t)sizeof(block) && fdatasync(fd) != 0)
            n = -1;
        if (n >= 0 ? n < (ssize_t)sizeof(block) : is_full_disk(errno))
            break; /* some file systems look for room no sooner than in the sync */
        if (n < 0)
            status = err_set(err, UNAVAILABLE, "spool.folder \"%s\" cannot be written and synced: %s", folder,
                             strerror(errno));
        took_us = now_boot_us() - began_us;
        if (took_us < *ret_us)
            *ret_us = took_us;
    }
    return status;
}

static bool is_full_disk(int code)
{
    return code == ENOSPC || code == EDQUOT || code == EFBIG;
}

int spoolfile_lock(const char *folder, unsigned id, struct err *err)
{
    char path[PATH_BYTES];
    int fd;

    snprintf(path, sizeof(path), "%s/spool-%u.lock", folder, id);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        err_set(err, UNAVAILABLE, "\"%s\": %s", path, strerror(errno));
        return -1;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    if (errno != EWOULDBLOCK)
        err_set(err, UNAVAILABLE, "\"%s\": its file system cannot lock: %s", path, strerror(errno));
    close(fd);
    return -1;
}

void spoolfile_name(unsigned id, char ret[SPOOL_NAME_BYTES])
{
    snprintf(ret, SPOOL_NAME_BYTES, "spool-%u.db", id);
}

unsigned spoolfile_id(const char *name)
{
    const struct span prefix = SPAN("spool-"), ending = SPAN("db"), broken = SPAN("broken-");
    struct span rest = span_of(name), number, word;
    uint64_t id;

    if (!span_starts(rest, prefix))
        return SPOOL_IDS;
    rest = span_skip(rest, prefix.len);
    number = span_cut(&rest, '.');
    word = rest.at ? span_cut(&rest, '.') : SPAN_NONE;
    if (!number_parse(number, 0, SPOOL_IDS - 1, &id) || !span_eq(word, ending))
        return SPOOL_IDS;
    if (!rest.at)
        return (unsigned)id;
    if (!span_starts(rest, broken) || rest.len == broken.len ||
        strspn(rest.at + broken.len, "0123456789TZ") != rest.len - broken.len)
        return SPOOL_IDS;
    return (unsigned)id;
}

enum status spoolfile_names(const char *folder, struct arena *arena, const char ***ret, size_t *nret,
                            struct err *err)
{
    DIR *dir = opendir(folder);
    const char **names;
    struct dirent *entry;
    size_t n = 0, room = 0;

    if (!dir)
        return err_set(err, INVALID, "spool.folder \"%s\": %s", folder, strerror(errno));
    while ((entry = readdir(dir)))
        room += spoolfile_id(entry->d_name) < SPOOL_IDS;
    rewinddir(dir);
    names = arena_alloc(arena, (room + 1) * sizeof(*names));
    while (n < room && (entry = readdir(dir)))
        if (spoolfile_id(entry->d_name) < SPOOL_IDS)
            names[n++] = arena_copy(arena, span_of(entry->d_name)).at;
    closedir(dir);
    qsort(names, n, sizeof(*names), compare_names);
    *ret = names;
    *nret = n;
    return OK;
}

static int compare_names(const void *a, const void *b)
{
    const char *one = *(const char *const *)a, *other = *(const char *const *)b;
    bool one_broken = strstr(one, ".broken-"), other_broken = strstr(other, ".broken-");

    if (one_broken != other_broken)
        return one_broken - other_broken;
    if (spoolfile_id(one) != spoolfile_id(other))
        return spoolfile_id(one) < spoolfile_id(other) ? -1 : 1;
    return strcmp(one, other);
}

struct spoolfile *spoolfile_open(const char *folder, const char *name, bool create, struct err *err)
{
    struct spoolfile *f = calloc(1, sizeof(*f));
    char path[PATH_BYTES];
    int code;

    if (!f)
        abort();
    snprintf(f->folder, sizeof(f->folder), "%s", folder);
    snprintf(f->name, sizeof(f->name), "%s", name);
    if (!make_file(f, create, err)) {
        free(f);
        return NULL;
    }
    path_of(f->folder, f->name, "", path);
    code = sqlite3_open_v2(path, &f->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, "unix");
    if (code != SQLITE_OK)
        fail(f, code, "opening", err);
    else if (sync_names(f, err) == OK && start(f, err) == OK)
        return f;
    if (!f->is_fresh) {
        path_of(folder, name, "-wal", path);
        let_go(f, false);
        unlink_empty(path);
    } else if (remove_fresh(f)) {
        err->code = UNAVAILABLE; /* there is nothing to set aside */
    }
    return NULL;
}

/* A name that was lost in a failed sync of its folder is only safe when it was made and synced anew. */
static void unlink_empty(const char *path)
{
    struct stat is;

    if (stat(path, &is) == 0 && is.st_size == 0)
        unlink(path);
}

/* SQLite would create it for all to read; its log gets the same rights as the file. */
static bool make_file(struct spoolfile *f, bool create, struct err *err)
{
    char path[PATH_BYTES];
    int fd;

    path_of(f->folder, f->name, "", path);
    if (is_set_aside(f->folder, f->name) &&
        (!sync_folder(f->folder) || !drop_first_names(f->folder, f->name))) {
        err_cause(err, UNAVAILABLE, "spool_unusable", "\"%s\" is set aside, but not to be removed: %s", path,
                  strerror(errno));
        return false;
    }
    fd = create ? open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
    f->is_fresh = fd >= 0;
    if (!create || (fd < 0 && errno == EEXIST))
        fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        err_cause(err, errno == EIO ? BROKEN : UNAVAILABLE, "spool_unusable", "\"%s\": %s", path,
                  strerror(errno));
        return false;
    }
    close(fd);
    return true;
}

/* Exclusive: no index of the log in shared memory, which would be a file that nobody syncs. Nothing is merged but by
 * merge_log, where a failed sync is seen. */
static enum status start(struct spoolfile *f, struct err *err)
{
    static const char *const settings[] = {
        "pragma locking_mode = exclusive", "pragma journal_mode = wal",   "pragma synchronous = full",
        "pragma wal_autocheckpoint = 0",   "pragma cell_size_check = on", "pragma temp_store = memory",
        "pragma cache_size = -4096",
    };
    bool is_fresh = false;

    sqlite3_db_config(f->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_extended_result_codes(f->db, 1);
    for (size_t i = 0; i < countof(settings); i++)
        if (run(f, settings[i], err))
            return err->code;
    /* This has made the log. Nothing is written to a file that is there: it must open on a full disk too. */
    if (is_empty(f, &is_fresh, err) || sync_names(f, err) || (is_fresh && run(f, schema, err)))
        return err->code;
    for (enum statement s = 0; s < NSTATEMENTS; s++) {
        int code =
            sqlite3_prepare_v3(f->db, texts[s], -1, SQLITE_PREPARE_PERSISTENT, &f->statements[s], NULL);
        if (code != SQLITE_OK)
            return fail(f, code, "preparing", err);
    }
    sqlite3_wal_hook(f->db, after_commit, f);
    if (measure(f, err) || check_pages(f, err))
        return err->code;
    return ask(f, COUNT, 0, (int64_t *)&f->size.nrecords, err);
}

/* Of the file and then of its log, each before anything is written to it that must last: a file that is not in its folder
 * after a power cut holds nothing. SQLite syncs the folder too, later, but takes no notice when that fails, and who asks
 * next may be told that all is well. */
static enum status sync_names(struct spoolfile *f, struct err *err)
{
    if (sync_folder(f->folder))
        return OK;
    return err_cause(err, UNAVAILABLE, "spool_unusable",
                     "\"%s\" cannot be synced, and %s not be found again: %s", f->folder, f->name,
                     strerror(errno));
}

static enum status is_empty(struct spoolfile *f, bool *ret, struct err *err)
{
    sqlite3_stmt *s = NULL;
    int code = sqlite3_prepare_v2(f->db, "pragma user_version", -1, &s, NULL);
    int64_t version;

    if (code == SQLITE_OK)
        code = sqlite3_step(s);
    version = code == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
    sqlite3_finalize(s);
    if (code != SQLITE_ROW)
        return fail(f, code, "opening", err);
    if (version > VERSION)
        return err_cause(err, UNAVAILABLE, "spool_newer", "%s is of a newer settle", f->name);
    *ret = version == 0;
    return OK;
}

static enum status check_pages(struct spoolfile *f, struct err *err)
{
    sqlite3_stmt *s = NULL;
    enum status status = OK;
    int code;

    if ((int64_t)f->size.bytes > CHECK_BYTES_MAX)
        return OK;
    code = sqlite3_prepare_v2(f->db, "pragma quick_check(1)", -1, &s, NULL);
    if (code != SQLITE_OK)
        return fail(f, code, "checking", err);
    code = sqlite3_step(s);
    if (code != SQLITE_ROW)
        status = fail(f, code, "checking", err);
    else if (!span_eq(column(s, 0), SPAN("ok")))
        status =
            err_cause(err, BROKEN, "spool_broken", "%s is damaged: %.*s", f->name, SPAN_ARG(column(s, 0)));
    sqlite3_finalize(s);
    return status;
}

static int after_commit(void *file, sqlite3 *db, const char *schema_name, int npages)
{
    struct spoolfile *f = file;

    (void)db;
    (void)schema_name;
    f->npages_logged = npages;
    return SQLITE_OK;
}

static enum status run(struct spoolfile *f, const char *sql, struct err *err)
{
    int code = sqlite3_exec(f->db, sql, NULL, NULL, NULL);

    return code == SQLITE_OK ? OK : fail(f, code, "setting up", err);
}

void spoolfile_close(struct spoolfile *f)
{
    if (f)
        let_go(f, !f->is_doubtful);
}

static void let_go(struct spoolfile *f, bool merge)
{
    for (enum statement s = 0; s < NSTATEMENTS; s++)
        sqlite3_finalize(f->statements[s]);
    if (f->db && !merge)
        sqlite3_db_config(f->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_close(f->db);
    free(f);
}

bool spoolfile_set_aside(struct spoolfile *f, int64_t wall_us)
{
    char folder[sizeof(f->folder)], name[sizeof(f->name)];

    if (f->is_fresh)
        return remove_fresh(f);
    memcpy(folder, f->folder, sizeof(folder));
    memcpy(name, f->name, sizeof(name));
    let_go(f, false);
    return spoolfile_set_aside_name(folder, name, wall_us);
}

/* A disk that fails each sync would be filled with files in which there is nothing. False: it still has its name. */
static bool remove_fresh(struct spoolfile *f)
{
    char path[PATH_BYTES];

    path_of(f->folder, f->name, "", path);
    spoolfile_discard(f);
    return access(path, F_OK) != 0 && errno == ENOENT;
}

/* Its log goes with it, under the name by which SQLite finds it, and first. By second names, so that at no moment one of
 * the two is without the other: once the file has both, the first ones may be taken away at any time. */
bool spoolfile_set_aside_name(const char *folder, const char *name, int64_t wall_us)
{
    char file[PATH_BYTES], log[PATH_BYTES], second_file[PATH_BYTES], second_log[PATH_BYTES];
    char aside[2 * SPOOL_NAME_BYTES];

    if (strstr(name, ".broken-"))
        return true; /* it is already, and stays */
    name_aside(folder, name, wall_us, aside);
    path_of(folder, name, "", file);
    path_of(folder, name, "-wal", log);
    path_of(folder, aside, "", second_file);
    path_of(folder, aside, "-wal", second_log);
    if (link(log, second_log) != 0 && errno != ENOENT)
        return false;
    /* No power cut may keep the second link alone, nor take both after the first names are gone. */
    if (sync_folder(folder) && link(file, second_file) == 0) {
        if (sync_folder(folder))
            return drop_first_names(folder, name);
        if (unlink(second_file) != 0 || !sync_folder(folder))
            return false; /* the second link may be there after a power cut, and needs its log */
    }
    unlink(second_log);
    return false;
}

/* Several in one second do not replace each other: they are numbered. */
static void name_aside(const char *folder, const char *name, int64_t wall_us, char ret[2 * SPOOL_NAME_BYTES])
{
    static const char *const suffixes[] = {"", "-wal", ".drained", ".drained-wal"};
    time_t at = (time_t)(wall_us / SECOND_US);
    char path[PATH_BYTES], nth[16] = "";
    struct tm tm;
    bool taken = true;

    gmtime_r(&at, &tm);
    for (unsigned n = 1; taken; n++) {
        if (n > 1)
            snprintf(nth, sizeof(nth), "%u", n);
        snprintf(ret, 2 * SPOOL_NAME_BYTES, "%s.broken-%04d%02d%02dT%02d%02d%02dZ%s", name, tm.tm_year + 1900,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, nth);
        taken = false;
        for (size_t i = 0; i < countof(suffixes) && !taken; i++) {
            path_of(folder, ret, suffixes[i], path);
            taken = access(path, F_OK) == 0;
        }
    }
}

/* Perhaps not to the end: then it still has its first name too. */
static bool is_set_aside(const char *folder, const char *name)
{
    char path[PATH_BYTES];
    struct stat is;

    path_of(folder, name, "", path);
    return !strstr(name, ".broken-") && stat(path, &is) == 0 && is.st_nlink >= 2 &&
           has_name_aside(folder, name, &is);
}

/* A second name may also be an operator's, of a copy by links: that one changes nothing. */
static bool has_name_aside(const char *folder, const char *name, const struct stat *is)
{
    char aside[2 * SPOOL_NAME_BYTES];
    DIR *listing = opendir(folder);
    struct dirent *entry;
    struct stat other;
    bool found = false;

    snprintf(aside, sizeof(aside), "%s.broken-", name);
    while (listing && !found && (entry = readdir(listing)))
        found = strncmp(entry->d_name, aside, strlen(aside)) == 0 &&
                fstatat(dirfd(listing), entry->d_name, &other, 0) == 0 && other.st_ino == is->st_ino &&
                other.st_dev == is->st_dev;
    if (listing)
        closedir(listing);
    return found;
}

static bool drop_first_names(const char *folder, const char *name)
{
    char path[PATH_BYTES];

    path_of(folder, name, "-wal", path);
    unlink(path);
    path_of(folder, name, "", path);
    return unlink(path) == 0 && sync_folder(folder);
}

void spoolfile_discard(struct spoolfile *f)
{
    char folder[sizeof(f->folder)], name[sizeof(f->name)], path[PATH_BYTES];

    memcpy(folder, f->folder, sizeof(folder));
    memcpy(name, f->name, sizeof(name));
    let_go(f, false);
    path_of(folder, name, "", path); /* first: SQLite takes no log for one that is empty */
    unlink(path);
    path_of(folder, name, "-wal", path);
    unlink(path);
    (void)sync_folder(folder); /* what may come back is in Postgres, or nobody was told that it is stored */
}

void spoolfile_retire(struct spoolfile *f)
{
    char folder[sizeof(f->folder)], name[sizeof(f->name)], path[PATH_BYTES], to[PATH_BYTES];

    memcpy(folder, f->folder, sizeof(folder));
    memcpy(name, f->name, sizeof(name));
    spoolfile_close(f);
    path_of(folder, name, "", path);
    if (strstr(name, ".broken-")) {
        path_of(folder, name, ".drained", to);
        (void)rename(path, to);
        path_of(folder, name, "-wal", path);
        path_of(folder, name, ".drained-wal", to);
        (void)rename(path, to);
    } else {
        unlink(path);
        path_of(folder, name, "-wal", path);
        unlink(path);
    }
    (void)sync_folder(folder);
}

const char *spoolfile_name_of(const struct spoolfile *f)
{
    return f->name;
}

struct spoolfile_size spoolfile_size(const struct spoolfile *f)
{
    return f->size;
}

size_t spoolfile_bytes_of(const struct spool_record *r)
{
    return ROW_BYTES + r->headers.len + r->body.len;
}

enum status spoolfile_put(struct spoolfile *f, struct spool_record *const *records, size_t n, struct err *err)
{
    uint64_t nnew = 0;

    if (step(f, BEGIN, "beginning", err))
        return err->code;
    for (size_t i = 0; i < n; i++)
        if (put_one(f, records[i], &nnew, err)) {
            undo(f);
            return err->code;
        }
    if (step(f, COMMIT, "committing", err)) {
        undo(f);
        return err->code;
    }
    f->size.nrecords += nnew;
    if ((measure(f, err) || merge_log(f, err)) && err->code != BUSY)
        return err->code; /* a full disk is for the next call to find again: this is stored */
    f->is_fresh = false;
    return OK;
}

static enum status put_one(struct spoolfile *f, struct spool_record *r, uint64_t *nnew, struct err *err)
{
    sqlite3_stmt *s = f->statements[PUT];
    uint8_t key[SPOOL_KEY_BYTES], checksum[CHECK_BYTES];

    make_key(r, key);
    make_checksum(r, key, checksum);
    bind(s, 1, (struct span){(const char *)key, sizeof(key)}, false);
    sqlite3_bind_int64(s, 2, r->received_us);
    bind(s, 3, r->platform, true);
    bind(s, 4, r->source, true);
    bind(s, 5, (struct span){(const char *)r->delivery_id.bytes, sizeof(r->delivery_id.bytes)}, false);
    bind(s, 6, r->key_id, true);
    bind(s, 7, r->event_id, false);
    bind(s, 8, r->headers.at ? r->headers : SPAN(""), false);
    bind(s, 9, r->body.at ? r->body : SPAN(""), false);
    bind(s, 10, (struct span){(const char *)checksum, sizeof(checksum)}, false);
    if (step(f, PUT, "writing", err))
        return err->code;
    if (sqlite3_changes(f->db) == 0)
        return find(f, r, key, err);
    r->seq = sqlite3_last_insert_rowid(f->db);
    ++*nnew;
    return OK;
}

/* The same delivery came before and was not drained yet. */
static enum status find(struct spoolfile *f, struct spool_record *r, const uint8_t *key, struct err *err)
{
    bind(f->statements[FIND], 1, (struct span){(const char *)key, SPOOL_KEY_BYTES}, false);
    if (ask(f, FIND, -1, &r->seq, err))
        return err->code;
    return r->seq >= 0
               ? OK
               : err_cause(err, BROKEN, "spool_broken", "%s: its index does not fit its rows", f->name);
}

enum status spoolfile_remove(struct spoolfile *f, const int64_t *seqs, size_t n, struct err *err)
{
    enum status status = remove_all(f, seqs, n, err);

    if (status == BUSY) { /* removing takes room in the log: begin it anew */
        f->npages_logged = PAGES_UNTIL_MERGE;
        if (merge_log(f, err) == OK)
            status = remove_all(f, seqs, n, err);
    }
    if (status)
        return status;
    if (f->size.nrecords == 0 && f->size.bytes > EMPTY_BYTES_MAX && run(f, "vacuum", err) == BROKEN)
        return BROKEN;
    if (measure(f, err) || merge_log(f, err))
        return err->code == BUSY ? OK : err->code;
    return OK;
}

static enum status remove_all(struct spoolfile *f, const int64_t *seqs, size_t n, struct err *err)
{
    uint64_t ngone = 0;

    if (step(f, BEGIN, "beginning", err))
        return err->code;
    for (size_t i = 0; i < n; i++) {
        sqlite3_bind_int64(f->statements[REMOVE], 1, seqs[i]);
        if (step(f, REMOVE, "removing", err)) {
            undo(f);
            return err->code;
        }
        ngone += (uint64_t)sqlite3_changes(f->db);
    }
    if (step(f, COMMIT, "committing", err)) {
        undo(f);
        return err->code;
    }
    f->size.nrecords -= ngone;
    return OK;
}

/* NOLINTNEXTLINE(readability-function-size): the parameters are what is asked and what is told */
enum status spoolfile_read(struct spoolfile *f, int64_t after, size_t max, size_t max_bytes,
                           struct arena *arena, struct spool_record **ret, size_t *nret, int64_t *ret_last,
                           size_t *ret_damaged, struct err *err)
{
    sqlite3_stmt *s = f->statements[READ];
    struct spool_record *records = arena_alloc(arena, (max + 1) * sizeof(*records));
    size_t n = 0, bytes = 0;
    int code;

    *ret_last = after;
    *ret_damaged = 0;
    sqlite3_bind_int64(s, 1, after);
    sqlite3_bind_int64(s, 2, (sqlite3_int64)max);
    while ((code = sqlite3_step(s)) == SQLITE_ROW) {
        bytes += (size_t)sqlite3_column_bytes(s, 8) + (size_t)sqlite3_column_bytes(s, 9) + ROW_BYTES;
        if (n > 0 && bytes > max_bytes)
            break;
        *ret_last = sqlite3_column_int64(s, 0);
        if (take_row(s, arena, &records[n]))
            n++;
        else
            ++*ret_damaged;
    }
    sqlite3_reset(s);
    *ret = records;
    *nret = n;
    return code == SQLITE_ROW || code == SQLITE_DONE ? OK : fail(f, code, "reading", err);
}

static bool take_row(sqlite3_stmt *s, struct arena *arena, struct spool_record *ret)
{
    uint8_t key[SPOOL_KEY_BYTES], checksum[CHECK_BYTES];
    struct span id = column(s, 5);

    if (id.len != sizeof(ret->delivery_id.bytes))
        return false;
    memcpy(ret->delivery_id.bytes, id.at, id.len);
    ret->seq = sqlite3_column_int64(s, 0);
    ret->received_us = sqlite3_column_int64(s, 2);
    ret->platform = column(s, 3);
    ret->source = column(s, 4);
    ret->key_id = column(s, 6);
    ret->event_id = column(s, 7);
    ret->headers = column(s, 8);
    ret->body = column(s, 9);
    make_key(ret, key);
    make_checksum(ret, key, checksum);
    if (!span_eq(column(s, 1), (struct span){(const char *)key, sizeof(key)}) ||
        !span_eq(column(s, 10), (struct span){(const char *)checksum, sizeof(checksum)}))
        return false;
    ret->platform = kept(arena, ret->platform);
    ret->source = kept(arena, ret->source);
    ret->key_id = kept(arena, ret->key_id);
    ret->event_id = kept(arena, ret->event_id);
    ret->headers = kept(arena, ret->headers);
    ret->body = kept(arena, ret->body);
    return true;
}

static struct span column(sqlite3_stmt *s, int at)
{
    const char *bytes = sqlite3_column_blob(s, at);
    size_t len = (size_t)sqlite3_column_bytes(s, at);

    if (bytes)
        return (struct span){bytes, len};
    return sqlite3_column_type(s, at) == SQLITE_NULL ? SPAN_NONE : SPAN("");
}

static struct span kept(struct arena *arena, struct span s)
{
    return arena_copy(arena, s);
}

int64_t spoolfile_next_us(struct spoolfile *f, int64_t after)
{
    struct err ignored;
    int64_t received_us;

    sqlite3_bind_int64(f->statements[NEXT], 1, after);
    return ask(f, NEXT, TIME_NONE, &received_us, &ignored) ? INT64_MIN + 1 : received_us;
}

bool spoolfile_reserve(const char *folder, unsigned id, size_t bytes)
{
    char path[PATH_BYTES];
    struct stat is;
    bool whole;
    int fd;

    snprintf(path, sizeof(path), "%s/spool-%u.reserve", folder, id);
    if (bytes == 0 || (stat(path, &is) == 0 && (size_t)is.st_size >= bytes))
        return true;
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    whole = posix_fallocate(fd, 0, (off_t)bytes) == 0 && fsync(fd) == 0;
    if (!whole)
        unlink(path); /* less than all of it would only take the last room */
    close(fd);
    return whole;
}

bool spoolfile_use_reserve(const char *folder, unsigned id)
{
    char path[PATH_BYTES];

    snprintf(path, sizeof(path), "%s/spool-%u.reserve", folder, id);
    return unlink(path) == 0;
}

static void path_of(const char *folder, const char *name, const char *suffix, char ret[PATH_BYTES])
{
    snprintf(ret, PATH_BYTES, "%s/%s%s", folder, name, suffix);
}

/* False: what was done to its names since the last time may be undone by a power cut, even if a later sync succeeds. */
static bool sync_folder(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), error;

    if (fd < 0)
        return false;
    error = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    errno = error;
    return error == 0;
}

/* A full disk passes, and so does a lack of memory or descriptors; all else means that file and disk can no longer be
 * relied on. */
static enum status fail(struct spoolfile *f, int code, const char *doing, struct err *err)
{
    if (is_full(f, code))
        return err_cause(err, BUSY, "spool_full", "%s: no room while %s", f->name, doing);
    f->is_doubtful = f->is_doubtful || !is_passing(code);
    return err_cause(err, is_passing(code) ? UNAVAILABLE : BROKEN, "spool_broken", "%s: %s: %s (%d, %s)",
                     f->name, doing, f->db ? sqlite3_errmsg(f->db) : sqlite3_errstr(code), code,
                     f->system_error ? strerror(f->system_error) : "-");
}

static bool is_full(const struct spoolfile *f, int code)
{
    int cause = f->system_error;

    if (code == SQLITE_FULL)
        return true;
    /* SQLite tells only ENOSPC from the rest. A failed sync is never a full disk, whatever it says. */
    return code == SQLITE_IOERR_WRITE && (cause == ENOSPC || cause == EDQUOT || cause == EFBIG);
}

static bool is_passing(int code)
{
    code &= 0xff;
    return code == SQLITE_BUSY || code == SQLITE_LOCKED || code == SQLITE_NOMEM || code == SQLITE_CANTOPEN ||
           code == SQLITE_PERM || code == SQLITE_READONLY;
}

static void undo(struct spoolfile *f)
{
    struct err ignored;

    if (!sqlite3_get_autocommit(f->db)) /* some failures have undone it already */
        (void)!step(f, ROLLBACK, "undoing", &ignored);
}

static int step_once(struct spoolfile *f, sqlite3_stmt *s)
{
    int code;

    errno = 0;
    code = sqlite3_step(s);
    f->system_error = errno;
    return code;
}

/* One that returns no rows. */
static enum status step(struct spoolfile *f, enum statement s, const char *doing, struct err *err)
{
    int code = step_once(f, f->statements[s]);
    enum status status = code == SQLITE_DONE || code == SQLITE_ROW ? OK : fail(f, code, doing, err);

    sqlite3_reset(f->statements[s]);
    sqlite3_clear_bindings(f->statements[s]);
    return status;
}

/* One number; none, if there is no row. */
static enum status ask(struct spoolfile *f, enum statement s, int64_t none, int64_t *ret, struct err *err)
{
    int code = step_once(f, f->statements[s]);
    enum status status = code == SQLITE_DONE || code == SQLITE_ROW ? OK : fail(f, code, "looking", err);

    *ret = code == SQLITE_ROW ? sqlite3_column_int64(f->statements[s], 0) : none;
    sqlite3_reset(f->statements[s]);
    sqlite3_clear_bindings(f->statements[s]);
    return status;
}

static enum status measure(struct spoolfile *f, struct err *err)
{
    int64_t pages, spare;

    if (ask(f, PAGES, 0, &pages, err) || ask(f, FREE, 0, &spare, err) ||
        ask(f, OLDEST, TIME_NONE, &f->size.oldest_us, err))
        return err->code;
    f->size.bytes = (uint64_t)(pages - spare) * 4096;
    return OK;
}

static enum status merge_log(struct spoolfile *f, struct err *err)
{
    int code;

    if (f->npages_logged < PAGES_UNTIL_MERGE)
        return OK;
    errno = 0;
    code = sqlite3_wal_checkpoint_v2(f->db, NULL, SQLITE_CHECKPOINT_RESTART, NULL, NULL);
    f->system_error = errno;
    if (code != SQLITE_OK)
        return fail(f, code, "merging the log", err);
    f->npages_logged = 0;
    return OK;
}

static void bind(sqlite3_stmt *s, int at, struct span value, bool is_text)
{
    if (!value.at)
        sqlite3_bind_null(s, at);
    else if (is_text)
        sqlite3_bind_text64(s, at, value.at, value.len, SQLITE_STATIC, SQLITE_UTF8);
    else
        sqlite3_bind_blob64(s, at, value.at, value.len, SQLITE_STATIC);
}

/* What makes a delivery the same as another: then their events have the same keys too. */
static void make_key(const struct spool_record *r, uint8_t ret[SPOOL_KEY_BYTES])
{
    crypto_generichash_state state;

    crypto_generichash_init(&state, NULL, 0, SPOOL_KEY_BYTES);
    add_part(&state, r->platform);
    add_part(&state, r->source);
    add_part(&state, r->event_id);
    add_part(&state, r->body);
    crypto_generichash_final(&state, ret, SPOOL_KEY_BYTES);
}

/* Over all columns: those that are in the key by way of it. */
static void make_checksum(const struct spool_record *r, const uint8_t *key, uint8_t ret[CHECK_BYTES])
{
    crypto_generichash_state state;

    crypto_generichash_init(&state, NULL, 0, CHECK_BYTES);
    add_part(&state, (struct span){(const char *)key, SPOOL_KEY_BYTES});
    add_part(&state, (struct span){(const char *)r->delivery_id.bytes, sizeof(r->delivery_id.bytes)});
    add_part(&state, (struct span){(const char *)&r->received_us, sizeof(r->received_us)});
    add_part(&state, r->key_id);
    add_part(&state, r->headers);
    crypto_generichash_final(&state, ret, CHECK_BYTES);
}

static void add_part(crypto_generichash_state *state, struct span part)
{
    uint64_t len = part.len;

    crypto_generichash_update(state, (const unsigned char *)&len, sizeof(len));
    if (part.len > 0)
        crypto_generichash_update(state, (const unsigned char *)part.at, part.len);
}
