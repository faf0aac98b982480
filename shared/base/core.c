#include "base/core.h"

#include <sys/prctl.h>
#include <sys/resource.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LOOKED_INTO 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define LOOKED_INTO 1 /* LeakSanitizer looks into the process by ptrace as it ends */
#endif

void core_off(void)
{
    const struct rlimit none = {0, 0};

    (void)setrlimit(RLIMIT_CORE, &none); /* to lower a limit is always allowed */
#ifndef LOOKED_INTO
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}
