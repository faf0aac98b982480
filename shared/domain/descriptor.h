/*
 * descriptor: one platform's YAML file, checked and compiled into struct platform.
 */
#ifndef SETTLE_DOMAIN_DESCRIPTOR_H
#define SETTLE_DOMAIN_DESCRIPTOR_H

#include "base/arena.h"
#include "base/err.h"
#include "domain/platform.h"

/* path is for messages; the platform must be named as the file is, without ".yaml". All of *ret is in the arena;
 * index, sources and decoy are left to the set. INVALID names path, line, column and what would be right. */
enum status descriptor_read(const char *path, struct span text, struct arena *arena, struct platform *ret,
                            struct err *err) MUST_CHECK;

#endif
