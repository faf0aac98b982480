/*
 * file: whole small files and the names in a folder, read at start: descriptors, settings, secrets.
 */
#ifndef SETTLE_BASE_FILE_H
#define SETTLE_BASE_FILE_H

#include "base/arena.h"
#include "base/err.h"
#include "base/span.h"

enum { SECRET_FILE_BYTES = 8192 }; /* room for a file of secrets or a URL */

/* Reads the whole file into room, which the caller zeroes if it was a secret. INVALID: unreadable, or not shorter
 * than size. */
enum status file_read(const char *path, char *room, size_t size, struct span *ret,
                      struct err *err) MUST_CHECK;

/* The names in folder that end in suffix, sorted, without hidden ones; in the arena. INVALID: unreadable. */
enum status file_names(const char *folder, const char *suffix, struct arena *arena, const char ***ret,
                       size_t *nret, struct err *err) MUST_CHECK;

#endif
