#include "store/sqlstate.h"

#include "base/attr.h"

#include <string.h>

enum status sqlstate_status(const char *sqlstate)
{
    static const struct {
        char class[3];
        enum status status;
    } classes[] = {
        {"08", UNAVAILABLE},
        {"25", UNAVAILABLE},
        {"40", UNAVAILABLE},
        {"53", UNAVAILABLE},
        {"55", UNAVAILABLE},
        {"57", UNAVAILABLE},
        {"58", UNAVAILABLE},
        {"22", REJECTED   },
        {"23", REJECTED   },
        {"54", REJECTED   },
    };

    for (size_t i = 0; i < countof(classes); i++)
        if (strncmp(sqlstate, classes[i].class, 2) == 0)
            return classes[i].status;
    return BROKEN;
}

bool sqlstate_is_of_rows(const struct err *err)
{
    return err->sqlstate[0] != '\0' &&
           (sqlstate_status(err->sqlstate) != UNAVAILABLE || strncmp(err->sqlstate, "58", 2) == 0);
}
