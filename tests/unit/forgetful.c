#include "forgetful.h"

#include "support/test.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NAME_BYTES = 96, FDS_MAX = 256, NAMES_MAX = 32, FILES_MAX = 64, SECTOR = 512 };

enum kind { WRITE, RESIZE, SYNC, SYNC_FAILED, SYNC_FOLDER, SYNC_FOLDER_FAILED, LINK, UNLINK, RENAME, NOTE };

struct step {
    enum kind kind;
    unsigned file; /* by the order in which they were created; of a note: the note */
    char name[NAME_BYTES], to[NAME_BYTES];
    size_t at, len; /* RESIZE: len is the new size */
    char *bytes;
};

struct name {
    char name[NAME_BYTES];
    unsigned file;
};

struct folder {
    struct name names[NAMES_MAX];
    size_t n;
};

enum { NO_FILE = FILES_MAX, THE_FOLDER };

static struct {
    bool on;
    char folder[NAME_BYTES];
    struct step *steps;
    size_t n, room;
    struct folder names; /* as the program sees them */
    unsigned nfiles;
    unsigned fds[FDS_MAX]; /* what they lead to, plus one; 0: nothing of ours */
    unsigned fail_sync, fail_folder_sync, nfail_folder_syncs;
} record;

static struct step *add_step(enum kind kind, unsigned file);
static const char *name_in_folder(const char *path);
static unsigned file_of(int fd);
static unsigned file_named(const struct folder *f, const char *name);
static void change(struct folder *f, const struct step *s);
static struct name *find(struct folder *f, const char *name);
static void drop(struct folder *f, const char *name);

void forgetful_begin(const char *folder)
{
    for (size_t i = 0; i < record.n; i++)
        free(record.steps[i].bytes);
    free(record.steps);
    memset(&record, 0, sizeof(record));
    snprintf(record.folder, sizeof(record.folder), "%s", folder);
    record.on = true;
}

void forgetful_end(void)
{
    record.on = false;
}

void forgetful_fail_sync(unsigned nth)
{
    record.fail_sync = nth;
}

void forgetful_fail_folder_syncs(unsigned nth, unsigned n)
{
    record.fail_folder_sync = nth;
    record.nfail_folder_syncs = n;
}

size_t forgetful_first_failure(void)
{
    size_t i = 0;

    while (i < record.n && record.steps[i].kind != SYNC_FOLDER_FAILED)
        i++;
    return i;
}

void forgetful_note(unsigned note)
{
    add_step(NOTE, note);
}

size_t forgetful_nsteps(void)
{
    return record.n;
}

bool forgetful_has_written(size_t from, const char *name)
{
    unsigned file = file_named(&record.names, name);

    for (size_t i = from; i < record.n; i++)
        if (record.steps[i].kind == WRITE && record.steps[i].file == file)
            return true;
    return false;
}

static struct step *add_step(enum kind kind, unsigned file)
{
    struct step *s;

    if (record.n == record.room) {
        record.room = record.room * 2 + 1024;
        record.steps = realloc(record.steps, record.room * sizeof(*record.steps));
        if (!record.steps)
            abort();
    }
    s = &record.steps[record.n++];
    *s = (struct step){.kind = kind, .file = file};
    return s;
}

/* NULL: another's. "": the folder itself. */
static const char *name_in_folder(const char *path)
{
    size_t len = strlen(record.folder);

    if (!record.on || strncmp(path, record.folder, len) != 0 || (path[len] != '/' && path[len] != '\0'))
        return NULL;
    return path[len] == '/' ? path + len + 1 : "";
}

static unsigned file_of(int fd)
{
    return !record.on || fd < 0 || fd >= FDS_MAX || record.fds[fd] == 0 ? NO_FILE : record.fds[fd] - 1;
}

static unsigned file_named(const struct folder *f, const char *name)
{
    for (size_t i = 0; i < f->n; i++)
        if (strcmp(f->names[i].name, name) == 0)
            return f->names[i].file;
    return NO_FILE;
}

static void add_change(enum kind kind, unsigned file, const char *name, const char *to)
{
    struct step *s = add_step(kind, file);

    snprintf(s->name, sizeof(s->name), "%s", name);
    snprintf(s->to, sizeof(s->to), "%s", to);
    change(&record.names, s);
}

/* One change of a folder. Where it does not fit any more, because one before it was lost, it is lost too; but a name that
 * should have gone gives way to a new one. */
static void change(struct folder *f, const struct step *s)
{
    struct name *old = find(f, s->name);

    if (s->kind == UNLINK && old) {
        drop(f, s->name);
    } else if (s->kind == RENAME && old) {
        unsigned file = old->file;
        drop(f, s->name);
        drop(f, s->to);
        f->names[f->n].file = file;
        snprintf(f->names[f->n++].name, NAME_BYTES, "%s", s->to);
    } else if (s->kind == LINK && old) {
        old->file = s->file;
    } else if (s->kind == LINK) {
        assert_true(f->n < NAMES_MAX);
        f->names[f->n].file = s->file;
        snprintf(f->names[f->n++].name, NAME_BYTES, "%s", s->name);
    }
}

static struct name *find(struct folder *f, const char *name)
{
    for (size_t i = 0; i < f->n; i++)
        if (strcmp(f->names[i].name, name) == 0)
            return &f->names[i];
    return NULL;
}

static void drop(struct folder *f, const char *name)
{
    struct name *old = find(f, name);

    if (old)
        *old = f->names[--f->n];
}

/* The system calls. */

#define REAL(name, type)                                                                                     \
    static type real;                                                                                        \
    if (!real)                                                                                               \
    *(void **)&real = dlsym(RTLD_NEXT, name)

typedef int open_call(const char *, int, ...);
typedef int fd_call(int);
typedef int path_call(const char *);
typedef int paths_call(const char *, const char *);
typedef int size_call(int, off64_t);
typedef ssize_t write_call(int, const void *, size_t, off64_t);

int open64(const char *path, int flags, ...)
{
    const char *name = name_in_folder(path);
    unsigned mode;
    va_list args;
    int fd;
    REAL("open64", open_call *);

    va_start(args, flags);
    mode = flags & O_CREAT ? va_arg(args, unsigned) : 0;
    va_end(args);
    fd = real(path, flags, mode);
    if (fd < 0 || !name)
        return fd;
    assert_true(fd < FDS_MAX);
    if (name[0] == '\0') {
        record.fds[fd] = THE_FOLDER + 1;
        return fd;
    }
    if (file_named(&record.names, name) == NO_FILE)
        add_change(LINK, record.nfiles++, name, "");
    record.fds[fd] = file_named(&record.names, name) + 1;
    return fd;
}

int close(int fd)
{
    REAL("close", fd_call *);

    if (fd >= 0 && fd < FDS_MAX)
        record.fds[fd] = 0;
    return real(fd);
}

ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t at)
{
    unsigned file = file_of(fd);
    ssize_t done;
    REAL("pwrite64", write_call *);

    done = real(fd, bytes, n, at);
    if (file != NO_FILE && done > 0) {
        struct step *s = add_step(WRITE, file);
        s->at = (size_t)at;
        s->len = (size_t)done;
        s->bytes = malloc(s->len);
        if (!s->bytes)
            abort();
        memcpy(s->bytes, bytes, s->len);
    }
    return done;
}

int ftruncate64(int fd, off64_t size)
{
    unsigned file = file_of(fd);
    REAL("ftruncate64", size_call *);

    if (file != NO_FILE)
        add_step(RESIZE, file)->len = (size_t)size;
    return real(fd, size);
}

static int on_sync(int fd)
{
    unsigned file = file_of(fd);
    bool fails = false;

    if (file < NO_FILE) {
        fails = record.fail_sync > 0 && --record.fail_sync == 0;
        add_step(fails ? SYNC_FAILED : SYNC, file);
    } else if (file == THE_FOLDER) {
        fails = record.nfail_folder_syncs > 0 && --record.fail_folder_sync == 0;
        if (fails && --record.nfail_folder_syncs > 0)
            record.fail_folder_sync = 1;
        add_step(fails ? SYNC_FOLDER_FAILED : SYNC_FOLDER, file);
    }
    errno = EIO;
    return fails ? -1 : 0; /* the real one would only take time */
}

int fdatasync(int fd)
{
    return on_sync(fd);
}

int fsync(int fd)
{
    return on_sync(fd);
}

int unlink(const char *path)
{
    const char *name = name_in_folder(path);
    int result;
    REAL("unlink", path_call *);

    result = real(path);
    if (result == 0 && name)
        add_change(UNLINK, 0, name, "");
    return result;
}

int link(const char *from, const char *to)
{
    const char *old = name_in_folder(from), *name = name_in_folder(to);
    int result;
    REAL("link", paths_call *);

    result = real(from, to);
    if (result == 0 && old && name)
        add_change(LINK, file_named(&record.names, old), name, "");
    return result;
}

int rename(const char *from, const char *to)
{
    const char *old = name_in_folder(from), *name = name_in_folder(to);
    int result;
    REAL("rename", paths_call *);

    result = real(from, to);
    if (result == 0 && old && name)
        add_change(RENAME, 0, old, name);
    return result;
}

/* The disk. */

enum fate { PENDING, DOOMED, FIRM };

struct write {
    const struct step *step;
    enum fate fate;
};

struct file {
    char *bytes; /* what is there for certain, if none of the writes survives */
    size_t size;
    struct write *writes; /* since; firm ones among them only behind doomed ones */
    size_t n, room;
};

struct disk {
    enum honesty honesty;
    size_t next; /* step */
    struct folder folder;
    struct write changes[NAMES_MAX]; /* of the folder, not synced; firm ones only behind doomed ones */
    size_t nchanges;
    struct file files[FILES_MAX];
};

static void save(struct file *f);
static void save_folder(struct disk *d);
static void doom(struct write *writes, size_t n);
static bool settle(struct write *writes, size_t n);
static void put(const struct step *s, char **bytes, size_t *size);
static uint64_t dice(uint64_t *seed);
static bool falls(uint64_t *seed, unsigned percent);
static void cut_folder(const struct disk *d, uint64_t *seed, struct folder *ret);
static char *cut_file(const struct file *f, uint64_t *seed, size_t *ret_size);
static void cut_write(const struct step *s, char *bytes, unsigned percent, uint64_t *seed);
static void store(const char *folder, const struct name *name, const char *bytes, size_t size);

struct disk *disk_open(enum honesty honesty)
{
    struct disk *d = calloc(1, sizeof(*d));

    if (!d)
        abort();
    d->honesty = honesty;
    assert_true(record.nfiles <= FILES_MAX);
    return d;
}

void disk_close(struct disk *d)
{
    for (struct file *f = d->files; f < d->files + FILES_MAX; f++) {
        free(f->bytes);
        free(f->writes);
    }
    free(d);
}

bool disk_step(struct disk *d, unsigned *ret_note)
{
    const struct step *s = &record.steps[d->next];
    struct file *f;

    *ret_note = 0;
    if (d->next == record.n)
        return false;
    d->next++;
    f = s->file < FILES_MAX ? &d->files[s->file] : NULL;
    switch (s->kind) {
    case WRITE:
    case RESIZE:
        if (f->n == f->room) {
            f->room = f->room * 2 + 64;
            f->writes = realloc(f->writes, f->room * sizeof(*f->writes));
            if (!f->writes)
                abort();
        }
        f->writes[f->n++] = (struct write){s, PENDING};
        break;
    case SYNC:
        if (d->honesty != FORGETS_SYNCS)
            save(f);
        break;
    case SYNC_FAILED:
        doom(f->writes, f->n);
        break;
    case SYNC_FOLDER:
        if (d->honesty == HONEST)
            save_folder(d);
        break;
    case SYNC_FOLDER_FAILED:
        doom(d->changes, d->nchanges);
        break;
    case LINK:
    case UNLINK:
    case RENAME:
        assert_true(d->nchanges < NAMES_MAX);
        d->changes[d->nchanges++] = (struct write){s, PENDING};
        break;
    case NOTE:
        *ret_note = s->file;
        break;
    }
    return true;
}

static void save(struct file *f)
{
    if (!settle(f->writes, f->n))
        return;
    for (size_t i = 0; i < f->n; i++)
        put(f->writes[i].step, &f->bytes, &f->size);
    f->n = 0;
}

static void save_folder(struct disk *d)
{
    if (!settle(d->changes, d->nchanges))
        return;
    for (size_t i = 0; i < d->nchanges; i++)
        change(&d->folder, d->changes[i].step);
    d->nchanges = 0;
}

static void doom(struct write *writes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        writes[i].fate = writes[i].fate == PENDING ? DOOMED : writes[i].fate;
}

/* True: all of them are safe now. Else what comes behind doomed ones is, each by itself. */
static bool settle(struct write *writes, size_t n)
{
    bool doomed = false;

    for (size_t i = 0; i < n; i++)
        doomed = doomed || writes[i].fate == DOOMED;
    for (size_t i = 0; i < n && doomed; i++)
        writes[i].fate = writes[i].fate == PENDING ? FIRM : writes[i].fate;
    return !doomed;
}

static void put(const struct step *s, char **bytes, size_t *size)
{
    size_t end = s->at + s->len;

    if (end > *size || s->kind == RESIZE) {
        *bytes = realloc(*bytes, end + 1);
        if (!*bytes)
            abort();
        if (end > *size)
            memset(*bytes + *size, 0, end - *size);
        *size = end;
    }
    if (s->kind == WRITE)
        memcpy(*bytes + s->at, s->bytes, s->len);
}

bool disk_is_certain(const struct disk *d)
{
    bool certain = d->nchanges == 0;

    for (const struct file *f = d->files; f < d->files + record.nfiles; f++)
        certain = certain && f->n == 0;
    return certain;
}

void disk_cut(const struct disk *d, uint64_t seed, const char *into)
{
    struct folder names;
    size_t size;

    dice(&seed);
    cut_folder(d, &seed, &names);
    for (unsigned i = 0; i < record.nfiles; i++) {
        char *bytes = cut_file(&d->files[i], &seed, &size);
        for (size_t k = 0; k < names.n; k++)
            if (names.names[k].file == i) {
                store(into, &names.names[k], bytes, size);
                for (size_t other = k + 1; other < names.n; other++)
                    if (names.names[other].file == i) { /* one file, two names */
                        char from[2 * NAME_BYTES], to[2 * NAME_BYTES];
                        snprintf(from, sizeof(from), "%s/%s", into, names.names[k].name);
                        snprintf(to, sizeof(to), "%s/%s", into, names.names[other].name);
                        assert_int_equal(link(from, to), 0);
                    }
                break;
            }
        free(bytes);
    }
}

static uint64_t dice(uint64_t *seed)
{
    uint64_t z = (*seed += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static bool falls(uint64_t *seed, unsigned percent)
{
    return dice(seed) % 100 < percent;
}

/* In order up to some change, as of a file system with a journal; or some of them, as of one without. */
static void cut_folder(const struct disk *d, uint64_t *seed, struct folder *ret)
{
    bool in_order = falls(seed, 50);
    size_t n = in_order ? dice(seed) % (d->nchanges + 1) : 0;

    *ret = d->folder;
    for (size_t i = 0; i < d->nchanges; i++)
        if (d->changes[i].fate == FIRM || (in_order ? i < n : falls(seed, 50)))
            change(ret, d->changes[i].step);
}

static char *cut_file(const struct file *f, uint64_t *seed, size_t *ret_size)
{
    static const unsigned shares[] = {0, 100, 50, 10, 90};
    unsigned percent = shares[dice(seed) % countof(shares)];
    size_t room = f->size, size = f->size;
    bool stale = falls(seed, 50); /* what was never written shows what the disk held before */
    char *bytes;

    for (size_t i = 0; i < f->n; i++) {
        size_t end = f->writes[i].step->at + f->writes[i].step->len;
        room = end > room ? end : room;
    }
    bytes = malloc(room + 1);
    if (!bytes)
        abort();
    memset(bytes, stale ? 0xa5 : 0, room + 1);
    if (f->size > 0)
        memcpy(bytes, f->bytes, f->size);
    for (size_t i = 0; i < f->n; i++) {
        const struct step *s = f->writes[i].step;
        bool firm = f->writes[i].fate == FIRM, sized = firm || falls(seed, percent);
        size_t end = s->at + s->len;

        if (s->kind == RESIZE && sized) {
            memset(bytes + end, 0, room - end);
            size = end;
        } else if (s->kind == WRITE) {
            cut_write(s, bytes, firm ? 100 : percent, seed);
            size = sized && end > size ? end : size;
        }
    }
    *ret_size = size;
    return bytes;
}

static void cut_write(const struct step *s, char *bytes, unsigned percent, uint64_t *seed)
{
    size_t at = s->at, end = s->at + s->len;

    while (at < end) {
        size_t next = (at / SECTOR + 1) * SECTOR;

        next = next < end ? next : end;
        if (falls(seed, percent))
            memcpy(bytes + at, s->bytes + (at - s->at), next - at);
        at = next;
    }
}

static void store(const char *folder, const struct name *name, const char *bytes, size_t size)
{
    char path[2 * NAME_BYTES];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", folder, name->name);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, size, 0), size);
    close(fd);
}
