/*
 * pgarg: parameters of one statement in Postgres' binary format: length-prefixed, nothing to quote or escape.
 * Filled in the order of $1, $2, ...; the bytes live in the arena given to pg_args_init.
 * An absent span, a NULL pointer, TIME_NONE is SQL null.
 */
#ifndef SETTLE_STORE_PGARG_H
#define SETTLE_STORE_PGARG_H

#include "base/arena.h"
#include "base/id.h"
#include "base/now.h"
#include "base/span.h"

#include <stdint.h>

enum { PG_ARGS_MAX = 24 };
#define PG_EPOCH_US INT64_C(946684800000000) /* Postgres counts times from 2000-01-01 */

struct pg_args {
    struct arena *arena; /* borrows */
    int n;
    const char *values[PG_ARGS_MAX];
    int lengths[PG_ARGS_MAX];
    int formats[PG_ARGS_MAX];
};

void pg_args_init(struct pg_args *args, struct arena *arena);

void pg_arg_text(struct pg_args *args, struct span text);
void pg_arg_bytes(struct pg_args *args, struct span bytes);
void pg_arg_int(struct pg_args *args, int64_t number); /* int8 */
void pg_arg_bool(struct pg_args *args, bool truth);
void pg_arg_time(struct pg_args *args, int64_t wall_us);
void pg_arg_date(struct pg_args *args, int64_t day); /* days since 1970 */
void pg_arg_uuid(struct pg_args *args, const struct id *id);
void pg_arg_json(struct pg_args *args, struct span text); /* jsonb */

/* One-dimensional arrays of n elements. */
void pg_arg_texts(struct pg_args *args, const struct span *texts, size_t n);
void pg_arg_bytess(struct pg_args *args, const struct span *bytess, size_t n);
void pg_arg_smalls(struct pg_args *args, const int16_t *numbers, size_t n); /* int2[] */
void pg_arg_ints(struct pg_args *args, const int64_t *numbers, size_t n);   /* int8[] */
void pg_arg_times(struct pg_args *args, const int64_t *wall_us, size_t n);
void pg_arg_uuids(struct pg_args *args, const struct id *ids, size_t n);
void pg_arg_jsons(struct pg_args *args, const struct span *texts, size_t n); /* jsonb[] */

#endif
