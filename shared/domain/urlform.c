#include "domain/urlform.h"

static struct span decode(struct span text, struct arena *arena);
static int digit_of(char c);

bool urlform_read(struct span text, struct arena *arena, struct urlform_pair **ret, size_t *nret)
{
    size_t room = 1;

    for (size_t i = 0; i < text.len; i++)
        room += text.at[i] == '&';
    if (room > URLFORM_PAIRS_MAX)
        return false;
    *ret = arena_alloc(arena, room * sizeof(**ret));
    *nret = 0;
    while (text.at) {
        struct span value = span_cut(&text, '&'), name = span_cut(&value, '=');
        if (name.len == 0 && !value.at) /* nothing between two "&" */
            continue;
        (*ret)[(*nret)++] =
            (struct urlform_pair){decode(name, arena), value.at ? decode(value, arena) : SPAN("")};
    }
    return true;
}

struct span urlform_get(const struct urlform_pair *pairs, size_t npairs, struct span name, bool *ret_again)
{
    struct span found = SPAN_NONE;

    if (ret_again)
        *ret_again = false;
    for (size_t i = 0; i < npairs; i++) {
        if (!span_eq(pairs[i].name, name))
            continue;
        if (!found.at)
            found = pairs[i].value;
        else if (ret_again)
            *ret_again = true;
    }
    return found;
}

static struct span decode(struct span text, struct arena *arena)
{
    char *to;
    size_t len = 0;

    if (!memchr(text.at, '%', text.len) && !memchr(text.at, '+', text.len))
        return text;
    to = arena_alloc(arena, text.len);
    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        if (c == '+')
            c = ' ';
        if (c == '%' && i + 2 < text.len && digit_of(text.at[i + 1]) >= 0 && digit_of(text.at[i + 2]) >= 0) {
            c = (char)(digit_of(text.at[i + 1]) * 16 + digit_of(text.at[i + 2]));
            i += 2;
        }
        to[len++] = c;
    }
    return (struct span){to, len};
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
        return (c | 0x20) - 'a' + 10;
    return -1;
}
