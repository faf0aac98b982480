/*
 * forgetful: a disk under a power cut. Records what this program does to the files of one folder, by standing in for the
 * system calls, SQLite's among them. From any prefix of the record it makes the folders that a cut may leave: of what was
 * not synced each sector, each change of a size and each change of the folder has survived or not, as a seed decides.
 * What a failed sync was to save is never safe any more, whatever later ones say. One thread, one record.
 */
#ifndef SETTLE_TESTS_UNIT_FORGETFUL_H
#define SETTLE_TESTS_UNIT_FORGETFUL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void forgetful_begin(const char *folder); /* empty; what was recorded before is forgotten */
void forgetful_end(void);                 /* what is done from now on is not recorded */
void forgetful_fail_sync(unsigned nth);   /* of a file, from now on; 1: the next. EIO, once */
/* Of the folder, likewise, and those behind it: n in succession. */
void forgetful_fail_folder_syncs(unsigned nth, unsigned n);
size_t forgetful_first_failure(void); /* of a sync of the folder: its step; nsteps: none has failed */

/* A step of our own in between: note is kept. */
void forgetful_note(unsigned note);

size_t forgetful_nsteps(void);
bool forgetful_has_written(size_t from, const char *name); /* to that file, in a step since */

enum honesty { HONEST, FORGETS_SYNCS, FORGETS_FOLDER_SYNCS };

struct disk;

struct disk *disk_open(enum honesty honesty); /* as it was at the beginning */
void disk_close(struct disk *d);
/* Takes the next step; false: there is none. *ret_note: of a note, else 0. */
bool disk_step(struct disk *d, unsigned *ret_note);
bool disk_is_certain(const struct disk *d);                           /* a cut now leaves one thing only */
void disk_cut(const struct disk *d, uint64_t seed, const char *into); /* a folder that is there, and empty */

#endif
