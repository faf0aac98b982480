#include "domain/name.h"

bool name_is_good(struct span name, size_t most_bytes)
{
    if (name.len == 0 || name.len > most_bytes || name.at[0] == '-')
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (!(name.at[i] >= 'a' && name.at[i] <= 'z') && !(name.at[i] >= '0' && name.at[i] <= '9') &&
            name.at[i] != '-')
            return false;
    return true;
}
