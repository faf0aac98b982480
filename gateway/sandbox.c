#include "sandbox.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Younger than the headers may be. */
#define ACCESS_REFER    (UINT64_C(1) << 13)
#define ACCESS_TRUNCATE (UINT64_C(1) << 14)

#define MAY_CHANGE                                                                                           \
    (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |        \
     LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |              \
     LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |           \
     LANDLOCK_ACCESS_FS_MAKE_SYM)

static uint64_t may_change(void);
static bool allow(int rules, const char *folder, uint64_t access);

bool sandbox_enter(const char *const *writable)
{
    const uint64_t change = may_change();
    const struct landlock_ruleset_attr refused = {.handled_access_fs = change | LANDLOCK_ACCESS_FS_EXECUTE};
    int rules;
    bool good = true;

    if (change == 0)
        return false;
    rules = (int)syscall(SYS_landlock_create_ruleset, &refused, sizeof(refused.handled_access_fs), 0);
    if (rules < 0)
        return false;
    for (; good && writable && *writable; writable++)
        good = allow(rules, *writable, change);
    good = good && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(SYS_landlock_restrict_self, rules, 0) == 0;
    close(rules);
    return good;
}

/* What the kernel's version knows of; 0: it has no Landlock. */
static uint64_t may_change(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    uint64_t ret = version >= 1 ? MAY_CHANGE : 0;

    if (version >= 2)
        ret |= ACCESS_REFER;
    if (version >= 3)
        ret |= ACCESS_TRUNCATE;
    return ret;
}

static bool allow(int rules, const char *folder, uint64_t access)
{
    struct landlock_path_beneath_attr rule = {.allowed_access = access};
    bool good;

    rule.parent_fd = open(folder, O_PATH | O_CLOEXEC | O_DIRECTORY);
    good = rule.parent_fd >= 0 &&
           syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0;
    if (rule.parent_fd >= 0)
        close(rule.parent_fd);
    return good;
}
