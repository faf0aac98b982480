#include "base/near.h"

#include <stdint.h>

static size_t least(size_t a, size_t b);

size_t near_edits(struct span a, struct span b)
{
    size_t row[NEAR_BYTES + 1]; /* from the first i bytes of a to the first j of b */

    if (a.len > NEAR_BYTES || b.len > NEAR_BYTES)
        return SIZE_MAX;
    for (size_t j = 0; j <= b.len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t replaced = diagonal + (a.at[i - 1] != b.at[j - 1]);
            diagonal = row[j];
            row[j] = least(replaced, least(row[j], row[j - 1]) + 1);
        }
    }
    return row[b.len];
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}
