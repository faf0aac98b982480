#include "json.h"

#include <stdlib.h>

struct span json_line(json_t *value, struct arena *arena)
{
    char *text = json_dumps(value, JSON_COMPACT);
    struct span copy;

    if (!text)
        abort(); /* out of memory: nothing else can fail here */
    copy = arena_copy(arena, span_of(text));
    free(text);
    json_decref(value);
    return copy;
}
