#include "base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct block {
    struct block *next;
    size_t used, size; /* bytes of room behind this head */
    _Alignas(max_align_t) char room[];
};

struct arena {
    _Alignas(max_align_t) struct block *newest;
    struct block *first; /* lies right behind the arena, in the same malloc */
};

static struct block *block_new(size_t size);

struct arena *arena_open(size_t first_bytes)
{
    struct arena *a = malloc(sizeof(*a) + sizeof(struct block) + first_bytes);

    if (!a)
        abort();
    a->newest = a->first = (struct block *)(a + 1);
    *a->first = (struct block){.size = first_bytes};
    return a;
}

void arena_close(struct arena *a)
{
    if (!a)
        return;
    arena_reset(a);
    free(a);
}

void arena_reset(struct arena *a)
{
    while (a->newest != a->first) {
        struct block *older = a->newest->next;
        free(a->newest);
        a->newest = older;
    }
    a->first->used = 0;
}

void arena_wipe(struct arena *a)
{
    for (struct block *b = a->newest; b; b = b == a->first ? NULL : b->next)
        explicit_bzero(b->room, b->size);
}

void *arena_alloc(struct arena *a, size_t bytes)
{
    const size_t unit = _Alignof(max_align_t);
    struct block *b = a->newest;
    void *at;

    if (bytes > SIZE_MAX / 4)
        abort();
    bytes = (bytes + unit - 1) / unit * unit;
    if (b->size - b->used < bytes) {
        size_t size = b->size * 2 < 4096 ? 4096 : b->size * 2;
        b = block_new(bytes > size ? bytes : size);
        b->next = a->newest;
        a->newest = b;
    }
    at = b->room + b->used;
    b->used += bytes;
    return at;
}

void *arena_zero(struct arena *a, size_t bytes)
{
    return memset(arena_alloc(a, bytes), 0, bytes);
}

struct span arena_copy(struct arena *a, struct span s)
{
    char *copy;

    if (!s.at)
        return s;
    copy = arena_alloc(a, s.len + 1);
    memcpy(copy, s.at, s.len);
    copy[s.len] = '\0';
    return (struct span){copy, s.len};
}

char *arena_print(struct arena *a, const char *format, ...)
{
    va_list args;
    char *text;
    int len;

    va_start(args, format);
    len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len < 0)
        abort();
    text = arena_alloc(a, (size_t)len + 1);
    va_start(args, format);
    vsnprintf(text, (size_t)len + 1, format, args);
    va_end(args);
    return text;
}

static struct block *block_new(size_t size)
{
    struct block *b = malloc(sizeof(*b) + size);

    if (!b)
        abort();
    b->used = 0;
    b->size = size;
    return b;
}
