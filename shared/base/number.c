#include "base/number.h"

bool number_parse(struct span text, uint64_t least, uint64_t most, uint64_t *ret)
{
    uint64_t number = 0;

    if (text.len == 0 || text.len > 19 || (text.at[0] == '0' && text.len > 1))
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return false;
        number = number * 10 + (uint64_t)(text.at[i] - '0');
    }
    if (number < least || number > most)
        return false;
    *ret = number;
    return true;
}
