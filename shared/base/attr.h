/*
 * attr: the few compiler attributes the code uses, under names that say what they ask for.
 */
#ifndef SETTLE_BASE_ATTR_H
#define SETTLE_BASE_ATTR_H

#define MUST_CHECK               __attribute__((warn_unused_result))
#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))
#define NORETURN                 __attribute__((noreturn))

/* Runs f on the variable's address at the end of its scope. For synchronous code only. */
#define defer(f) __attribute__((cleanup(f)))

#define countof(array) (sizeof(array) / sizeof((array)[0]))

#endif
