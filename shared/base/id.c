#include "base/id.h"

#include <sys/random.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <uuid.h>

static uint8_t pool[16 * 64]; /* one system call for 64 ids */
static size_t used = sizeof(pool);

static void forget_pool(void);

struct id id_make(int64_t wall_us)
{
    static bool forgets;
    uint64_t ms = (uint64_t)(wall_us / 1000);
    struct id id;

    if (used == sizeof(pool)) {
        if (!forgets && pthread_atfork(NULL, NULL, forget_pool) != 0)
            abort();
        forgets = true;
        if (getrandom(pool, sizeof(pool), 0) != (ssize_t)sizeof(pool))
            abort();
        used = 0;
    }
    memcpy(id.bytes, pool + used, 16);
    used += 16;
    for (int i = 0; i < 6; i++)
        id.bytes[i] = (uint8_t)(ms >> (40 - 8 * i));
    id.bytes[6] = (uint8_t)(0x70 | (id.bytes[6] & 0x0f)); /* version 7 */
    id.bytes[8] = (uint8_t)(0x80 | (id.bytes[8] & 0x3f)); /* variant of RFC 9562 */
    return id;
}

/* A fork must not hand out its parent's ids again. */
static void forget_pool(void)
{
    used = sizeof(pool);
}

void id_text(const struct id *id, char ret[ID_TEXT_BYTES])
{
    uuid_unparse_lower(id->bytes, ret);
}

bool id_parse(struct span text, struct id *ret)
{
    char copy[ID_TEXT_BYTES];

    if (text.len != ID_TEXT_BYTES - 1)
        return false;
    memcpy(copy, text.at, text.len);
    copy[text.len] = '\0';
    return uuid_parse(copy, ret->bytes) == 0;
}
