/*
 * disk: a small file system of one's own, so that it can be filled without harm. A real one (ext4 on a loop device) where
 * mounting is allowed, else a tmpfs; where neither is, disk_open returns false and the test says skip().
 */
#ifndef SETTLE_TESTS_SUPPORT_DISK_H
#define SETTLE_TESTS_SUPPORT_DISK_H

#include "support/world.h"

enum disk_kind { DISK_EXT4, DISK_TMPFS };

/* Mounted on folder, which is made if it is not there and belongs to everybody. Unmounted with the world, however the
 * test ends, or by disk_close. */
bool disk_open(struct world *w, const char *folder, enum disk_kind kind, unsigned megabytes);
void disk_close(struct world *w, const char *folder);

void disk_fill(struct world *w, const char *folder, unsigned leave_kib); /* by a file of ours */
void disk_free(struct world *w, const char *folder);                     /* that file goes */

#endif
