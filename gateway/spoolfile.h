/*
 * spoolfile: one file of the spool: deliveries that were verified and that Postgres has not committed, in an SQLite
 * database that is synced with every commit. Blocks: for a helper thread or a command, one thread at a time. Knows
 * no loop and no Postgres; what is written when is spool.h's affair, what is read when is drain.h's.
 *
 * In the folder: spool-<id>.db with its -wal, spool-<id>.lock and spool-<id>.reserve. Only who holds the lock may open,
 * drain, rename or delete the others. A file that failed is spool-<id>.db.broken-<time> from then on, and stays; but one in
 * which nothing was ever stored is deleted.
 */
#ifndef SETTLE_GATEWAY_SPOOLFILE_H
#define SETTLE_GATEWAY_SPOOLFILE_H

#include "base/arena.h"
#include "base/err.h"
#include "base/id.h"

#include <stddef.h>
#include <stdint.h>

enum {
    SPOOL_KEY_BYTES = 32,
    SPOOL_IDS = 1000,
    SPOOL_NAME_BYTES = 64,
    SPOOLFILE_SYNC_US_MIN = 5, /* no disk syncs in less */
};

/* A delivery as it was verified; what it says is read again when it is drained. */
struct spool_record {
    int64_t seq; /* in its file, set by spoolfile_put and spoolfile_read; grows and is never used again */
    struct id delivery_id;
    int64_t received_us;
    struct span platform, source;
    struct span key_id;   /* of the secret that its signature was checked with */
    struct span event_id; /* signed; absent if the platform has none */
    struct span headers, body;
};

struct spoolfile;

/* What can be told of a file without reading it. */
struct spoolfile_size {
    uint64_t nrecords, bytes;
    int64_t oldest_us; /* received; TIME_NONE: there is none */
};

/* INVALID: no folder, one that cannot lock or link, or one that forgets (tmpfs, the upper side of an overlay) unless
 * unsafe_ok; UNAVAILABLE: not there, or not to be written to, as a disk that is not mounted or has failed.
 * *ret_sync_us: the shortest sync of a few. */
enum status spoolfile_check_folder(const char *folder, bool unsafe_ok, int64_t *ret_sync_us,
                                   struct err *err) MUST_CHECK;

/* A descriptor that holds the lock until it is closed; -1: somebody else has it, or (err filled) it cannot be had. */
int spoolfile_lock(const char *folder, unsigned id, struct err *err);

void spoolfile_name(unsigned id, char ret[SPOOL_NAME_BYTES]);
/* The id of a name, of a broken file as well; SPOOL_IDS: no file of the spool. */
unsigned spoolfile_id(const char *name);
/* All files of the folder by name: the usual ones before the broken ones, in the arena. */
enum status spoolfile_names(const char *folder, struct arena *arena, const char ***ret, size_t *nret,
                            struct err *err) MUST_CHECK;

/* Of a name whose id's lock is held. Creates it if create. Takes up what a killed process left. BROKEN: it does not
 * open or is damaged: spoolfile_set_aside_name is in order; UNAVAILABLE: not there, no permission, the disk takes no new
 * one, or the folder cannot be synced, so that a power cut might take the file's name. */
struct spoolfile *spoolfile_open(const char *folder, const char *name, bool create,
                                 struct err *err) MUST_CHECK;
void spoolfile_close(struct spoolfile *f); /* NULL is fine */

/* After BROKEN: nothing that was synced is touched again. Closes it and renames it; if it was created here and no put of it
 * has succeeded, deletes it. False: that failed, it still has its name or may have it again after a power cut, and nothing
 * may be written under it any more. */
bool spoolfile_set_aside(struct spoolfile *f, int64_t wall_us) MUST_CHECK;
bool spoolfile_set_aside_name(const char *folder, const char *name, int64_t wall_us) MUST_CHECK;
/* Deletes an empty file from the disk, or renames a broken one to ".drained"; closes it. */
void spoolfile_retire(struct spoolfile *f);

/* Deletes one whose records are all elsewhere, although they could not be removed: that takes no room. Closes it. */
void spoolfile_discard(struct spoolfile *f);

const char *spoolfile_name_of(const struct spoolfile *f);
struct spoolfile_size spoolfile_size(const struct spoolfile *f);
size_t spoolfile_bytes_of(const struct spool_record *r); /* what it will take, about */

/* All n in one transaction, durable on OK. A record that is there already stays as it is, and seq is its own. BUSY: the
 * disk is full, nothing was taken and the file is good; BROKEN: nothing may be taken as stored, and the file is to be
 * set aside. */
enum status spoolfile_put(struct spoolfile *f, struct spool_record *const *records, size_t n,
                          struct err *err) MUST_CHECK;

/* The oldest behind `after`, in the arena: at most max, and max_bytes but for the first. *ret_last: the last seq that was
 * looked at, `after` at the end of the file. *ret_damaged: rows whose checksum does not hold; they are left out. */
enum status spoolfile_read(struct spoolfile *f, int64_t after, size_t max, size_t max_bytes,
                           struct arena *arena, struct spool_record **ret, size_t *nret, int64_t *ret_last,
                           size_t *ret_damaged, struct err *err) MUST_CHECK;

/* When the oldest behind `after` was received. TIME_NONE: there is none; if it cannot be read, longer ago than any. */
int64_t spoolfile_next_us(struct spoolfile *f, int64_t after);

enum status spoolfile_remove(struct spoolfile *f, const int64_t *seqs, size_t n, struct err *err) MUST_CHECK;

/* The reserve: a file of so many bytes that is deleted when the disk is full, so that the next records find room. */
bool spoolfile_reserve(const char *folder, unsigned id, size_t bytes); /* false: there is no room for it */
bool spoolfile_use_reserve(const char *folder, unsigned id);           /* false: there was none */

#endif
