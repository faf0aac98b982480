/* For timing_leaky alone: what sodium_memcmp must not be. Included before everything by the build. */
#ifndef SETTLE_TESTS_LEAKY_H
#define SETTLE_TESTS_LEAKY_H

#include <sodium.h>
#include <stddef.h>

static inline int leaky_memcmp(const void *a, const void *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (((volatile const unsigned char *)a)[i] != ((volatile const unsigned char *)b)[i])
            return -1;
    return 0;
}

#define sodium_memcmp leaky_memcmp

#endif
