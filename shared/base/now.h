/*
 * now: the clocks. Wall time for what is stored and shown, boot time for every wait, lease and deadline:
 * it never steps and, unlike the monotonic clock, it counts time spent suspended.
 */
#ifndef SETTLE_BASE_NOW_H
#define SETTLE_BASE_NOW_H

#include <stddef.h>
#include <stdint.h>

#define SECOND_US INT64_C(1000000)
#define MINUTE_US (60 * SECOND_US)
#define TIME_NONE INT64_MIN /* "no such time" */

int64_t now_wall_us(void); /* microseconds since 1970, UTC */
int64_t now_boot_us(void); /* microseconds since boot */

enum { TIME_TEXT_BYTES = 32 };
void time_text(int64_t wall_us, char *ret, size_t size); /* "2026-01-15T10:45:00.123456Z" */

#endif
