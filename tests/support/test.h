/*
 * test: what every cmocka test includes, in the order cmocka wants it.
 */
#ifndef SETTLE_TESTS_SUPPORT_TEST_H
#define SETTLE_TESTS_SUPPORT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/span.h"

#if defined(__SANITIZE_ADDRESS__)
#define TEST_SANITIZED 1
#else
#define TEST_SANITIZED 0
#endif

#endif
