#include "store/pgarg.h"

#include <assert.h>
#include <endian.h>
#include <limits.h>

/* What an array says it holds: oids of pg_type.dat, which never change and have no names in libpq. */
enum element { BYTEA = 17, INT8 = 20, INT2 = 21, TEXT = 25, TIMESTAMPTZ = 1184, UUID = 2950, JSONB = 3802 };

enum { BINARY = 1, JSONB_VERSION = 1, ARRAY_HEAD_BYTES = 12, DIMENSION_BYTES = 8, LENGTH_BYTES = 4 };

static void put_span(struct pg_args *args, struct span value);
static void put_spans(struct pg_args *args, enum element type, const struct span *values, size_t n);
static void put_numbers(struct pg_args *args, enum element type, const int64_t *numbers, size_t n);
static char *begin_array(struct pg_args *args, enum element type, size_t n, bool nulls, size_t bytes);
static void put(struct pg_args *args, const char *value, size_t bytes);
static char *write16(char *to, uint16_t number);
static char *write32(char *to, uint32_t number);
static char *write64(char *to, uint64_t number);
static int64_t time_to_pg(int64_t wall_us);

void pg_args_init(struct pg_args *args, struct arena *arena)
{
    args->arena = arena;
    args->n = 0;
}

void pg_arg_text(struct pg_args *args, struct span text)
{
    put_span(args, text);
}

void pg_arg_bytes(struct pg_args *args, struct span bytes)
{
    put_span(args, bytes);
}

void pg_arg_int(struct pg_args *args, int64_t number)
{
    char *value = arena_alloc(args->arena, sizeof(number));

    write64(value, (uint64_t)number);
    put(args, value, sizeof(number));
}

void pg_arg_bool(struct pg_args *args, bool truth)
{
    put(args, truth ? "\1" : "\0", 1);
}

void pg_arg_time(struct pg_args *args, int64_t wall_us)
{
    char *value = arena_alloc(args->arena, sizeof(wall_us));

    write64(value, (uint64_t)time_to_pg(wall_us));
    put(args, wall_us == TIME_NONE ? NULL : value, sizeof(wall_us));
}

void pg_arg_date(struct pg_args *args, int64_t day)
{
    char *value = arena_alloc(args->arena, sizeof(int32_t));

    write32(value, (uint32_t)(int32_t)(day - PG_EPOCH_US / (86400 * SECOND_US)));
    put(args, value, sizeof(int32_t));
}

void pg_arg_uuid(struct pg_args *args, const struct id *id)
{
    put_span(args, id ? (struct span){(const char *)id->bytes, sizeof(id->bytes)} : SPAN_NONE);
}

void pg_arg_json(struct pg_args *args, struct span text)
{
    char *value = NULL;

    if (text.at) {
        value = arena_alloc(args->arena, text.len + 1);
        value[0] = JSONB_VERSION;
        memcpy(value + 1, text.at, text.len);
    }
    put(args, value, text.len + 1);
}

void pg_arg_texts(struct pg_args *args, const struct span *texts, size_t n)
{
    put_spans(args, TEXT, texts, n);
}

void pg_arg_bytess(struct pg_args *args, const struct span *bytess, size_t n)
{
    put_spans(args, BYTEA, bytess, n);
}

void pg_arg_jsons(struct pg_args *args, const struct span *texts, size_t n)
{
    put_spans(args, JSONB, texts, n);
}

void pg_arg_times(struct pg_args *args, const int64_t *wall_us, size_t n)
{
    put_numbers(args, TIMESTAMPTZ, wall_us, n);
}

void pg_arg_ints(struct pg_args *args, const int64_t *numbers, size_t n)
{
    put_numbers(args, INT8, numbers, n);
}

void pg_arg_smalls(struct pg_args *args, const int16_t *numbers, size_t n)
{
    char *at;

    if (!numbers) {
        put(args, NULL, 0);
        return;
    }
    at = begin_array(args, INT2, n, false, n * (LENGTH_BYTES + sizeof(*numbers)));
    for (size_t i = 0; i < n; i++) {
        at = write32(at, sizeof(*numbers));
        at = write16(at, (uint16_t)numbers[i]);
    }
}

void pg_arg_uuids(struct pg_args *args, const struct id *ids, size_t n)
{
    char *at;

    if (!ids) {
        put(args, NULL, 0);
        return;
    }
    at = begin_array(args, UUID, n, false, n * (LENGTH_BYTES + sizeof(ids->bytes)));
    for (size_t i = 0; i < n; i++) {
        at = write32(at, sizeof(ids[i].bytes));
        at = memcpy(at, ids[i].bytes, sizeof(ids[i].bytes));
        at += sizeof(ids[i].bytes);
    }
}

static void put_span(struct pg_args *args, struct span value)
{
    char *copy;

    if (!value.at) {
        put(args, NULL, 0);
        return;
    }
    copy = arena_alloc(args->arena, value.len);
    memcpy(copy, value.at, value.len);
    put(args, copy, value.len);
}

static void put_spans(struct pg_args *args, enum element type, const struct span *values, size_t n)
{
    size_t version = type == JSONB ? 1 : 0;
    size_t bytes = 0;
    bool nulls = false;
    char *at;

    if (!values) {
        put(args, NULL, 0);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        bytes += LENGTH_BYTES + (values[i].at ? version + values[i].len : 0);
        nulls |= !values[i].at;
    }
    at = begin_array(args, type, n, nulls, bytes);
    for (size_t i = 0; i < n; i++) {
        if (!values[i].at) {
            at = write32(at, UINT32_MAX);
            continue;
        }
        at = write32(at, (uint32_t)(version + values[i].len));
        if (version)
            *at++ = JSONB_VERSION;
        memcpy(at, values[i].at, values[i].len);
        at += values[i].len;
    }
}

/* bigint[] or timestamptz[], where TIME_NONE is null. */
static void put_numbers(struct pg_args *args, enum element type, const int64_t *numbers, size_t n)
{
    bool times = type == TIMESTAMPTZ;
    size_t nnulls = 0;
    char *at;

    if (!numbers) {
        put(args, NULL, 0);
        return;
    }
    for (size_t i = 0; i < n && times; i++)
        nnulls += numbers[i] == TIME_NONE;
    at = begin_array(args, type, n, nnulls > 0, n * LENGTH_BYTES + (n - nnulls) * sizeof(*numbers));
    for (size_t i = 0; i < n; i++) {
        if (times && numbers[i] == TIME_NONE) {
            at = write32(at, UINT32_MAX);
            continue;
        }
        at = write32(at, sizeof(*numbers));
        at = write64(at, (uint64_t)(times ? time_to_pg(numbers[i]) : numbers[i]));
    }
}

/* Adds an array whose elements take `bytes` with their lengths; returns where they go. */
static char *begin_array(struct pg_args *args, enum element type, size_t n, bool nulls, size_t bytes)
{
    char *value = arena_alloc(args->arena, ARRAY_HEAD_BYTES + DIMENSION_BYTES + bytes);
    char *at = value;

    at = write32(at, n ? 1 : 0); /* an empty array has no dimension */
    at = write32(at, nulls);
    at = write32(at, type);
    if (n) {
        at = write32(at, (uint32_t)n);
        at = write32(at, 1); /* the first subscript */
    }
    put(args, value, (size_t)(at - value) + bytes);
    return at;
}

static void put(struct pg_args *args, const char *value, size_t bytes)
{
    assert(args->n < PG_ARGS_MAX && bytes <= INT_MAX);
    args->values[args->n] = value;
    args->lengths[args->n] = (int)bytes;
    args->formats[args->n] = BINARY;
    args->n++;
}

static char *write16(char *to, uint16_t number)
{
    number = htobe16(number);
    memcpy(to, &number, sizeof(number));
    return to + sizeof(number);
}

static char *write32(char *to, uint32_t number)
{
    number = htobe32(number);
    memcpy(to, &number, sizeof(number));
    return to + sizeof(number);
}

static char *write64(char *to, uint64_t number)
{
    number = htobe64(number);
    memcpy(to, &number, sizeof(number));
    return to + sizeof(number);
}

/* Microseconds since 2000. What lies beyond int64 becomes Postgres' infinity of that side. */
static int64_t time_to_pg(int64_t wall_us)
{
    if (wall_us == INT64_MAX)
        return INT64_MAX;
    if (wall_us < INT64_MIN + PG_EPOCH_US)
        return INT64_MIN;
    return wall_us - PG_EPOCH_US;
}
