/*
 * cron: when something is due, as a crontab says it, in UTC: minute hour day-of-month month day-of-week. Each field is
 * "*", a number, a range, or a list of them, a step behind any ("0-30/10"); months and days also by the first three
 * letters of their names. Where both kinds of days are restricted (do not begin with "*"), one that fits suffices.
 * "@every 30s" is each 30 seconds, counted from 1970.
 * Pure: for tests and for check-config as for whoever starts things.
 */
#ifndef SETTLE_BASE_CRON_H
#define SETTLE_BASE_CRON_H

#include "base/err.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

enum { CRON_TEXT_BYTES = 255, CRON_EVERY_S_MAX = 86400 };

/* A bit a value that fits. */
struct cron {
    uint64_t minutes;
    uint32_t hours, days;
    uint16_t months;
    uint8_t weekdays; /* 0: Sunday */
    bool either_day;  /* days or weekdays, not both */
    unsigned every_s; /* 0: by the fields */
};

/* INVALID names the field and what is wrong with it; also when no such day ever comes (30 February). */
enum status cron_parse(struct span text, struct cron *ret, struct err *err) MUST_CHECK;

/* The first due time after after_us, both in microseconds since 1970. */
int64_t cron_next(const struct cron *c, int64_t after_us);

#endif
