#include "base/core.h"

#include <sys/resource.h>

void core_off(void)
{
    const struct rlimit none = {0, 0};

    (void)setrlimit(RLIMIT_CORE, &none); /* to lower a limit is always allowed */
}
