/*
 * fuzz: what the targets share. Each is one file with LLVMFuzzerTestOneInput; being in meson.build makes it one.
 */
#ifndef SETTLE_TESTS_FUZZ_H
#define SETTLE_TESTS_FUZZ_H

#include "domain/platform.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* All built-in platforms, each with a source "default" that has a secret, a verify token and a topic. Made once. */
struct platforms *fuzz_platforms(void);

/* Stops the run: an invariant is broken. */
#define FUZZ_ASSERT(holds)                                                                                   \
    do {                                                                                                     \
        if (!(holds))                                                                                        \
            abort();                                                                                         \
    } while (0)

#endif
