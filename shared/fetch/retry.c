#include "fetch/retry.h"

#include "base/attr.h"
#include "base/now.h"
#include "base/number.h"

#include <time.h>

static bool is_worth_it(const struct fetch_answer *a);
static bool date_parse(struct span value, int64_t *ret_s);
static bool has_shape(struct span value, const char *shape);
static int two_digits(const char *at);

/* Errors that the same again may mend. */
static const bool passing[FETCH_ERRORS] = {
    [FETCH_DNS] = true,     [FETCH_REFUSED] = true, [FETCH_TIMEOUT] = true,
    [FETCH_GARBAGE] = true, [FETCH_LOST] = true,
};

bool retry_again(const struct fetch_answer *answer, unsigned first_ms, uint32_t random,
                 unsigned *ret_backoff_ms)
{
    uint64_t wait_ms = (uint64_t)first_ms << (answer->attempt - 1), tenth;

    *ret_backoff_ms = 0;
    if (answer->attempt >= RETRY_TRIES || !is_worth_it(answer))
        return false;
    if (wait_ms > RETRY_CAP_MS)
        wait_ms = RETRY_CAP_MS;
    tenth = wait_ms / 10;
    wait_ms = wait_ms - tenth + random % (2 * tenth + 1);
    if (answer->retry_after_s > RETRY_CAP_MS / 1000)
        return false;
    if (answer->retry_after_s > 0 && (uint64_t)answer->retry_after_s * 1000 > wait_ms)
        wait_ms = (uint64_t)answer->retry_after_s * 1000; /* no tenth: never sooner than it says */
    *ret_backoff_ms = (unsigned)wait_ms;
    return true;
}

static bool is_worth_it(const struct fetch_answer *a)
{
    if (a->error != FETCH_OK && a->status != 429)
        return passing[a->error];
    return a->status == 429 || a->status == 408 || a->status >= 500;
}

int retry_after_parse(struct span value, int64_t wall_us)
{
    uint64_t seconds;
    int64_t at_s, wait_s;

    while (value.len > 0 && (value.at[value.len - 1] == ' ' || value.at[value.len - 1] == '\t'))
        value.len--;
    while (value.len > 0 && (value.at[0] == ' ' || value.at[0] == '\t'))
        value = span_skip(value, 1);
    if (number_parse(value, 0, UINT64_MAX, &seconds))
        return seconds < FETCH_RETRY_AFTER_MAX_S ? (int)seconds : FETCH_RETRY_AFTER_MAX_S;
    if (!date_parse(value, &at_s))
        return FETCH_NO_RETRY_AFTER;
    wait_s = at_s - wall_us / SECOND_US;
    if (wait_s < 0)
        return 0;
    return wait_s < FETCH_RETRY_AFTER_MAX_S ? (int)wait_s : FETCH_RETRY_AFTER_MAX_S;
}

/* "Sun, 06 Nov 1994 08:49:37 GMT": of the three forms that RFC 9110 names the one that is still sent. */
static bool date_parse(struct span value, int64_t *ret_s)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    const char *at = value.at, *month;
    struct tm tm = {.tm_isdst = 0};

    if (!has_shape(value, "Aaa, 00 Aaa 0000 00:00:00 GMT"))
        return false;
    month = memmem(months, sizeof(months) - 1, at + 8, 3);
    if (!month || (month - months) % 3 != 0)
        return false;
    tm.tm_mday = two_digits(at + 5);
    tm.tm_mon = (int)(month - months) / 3;
    tm.tm_year = two_digits(at + 12) * 100 + two_digits(at + 14) - 1900;
    tm.tm_hour = two_digits(at + 17);
    tm.tm_min = two_digits(at + 20);
    tm.tm_sec = two_digits(at + 23);
    if (tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60 || tm.tm_mday < 1 || tm.tm_mday > 31)
        return false;
    *ret_s = timegm(&tm);
    return true;
}

/* 0 stands for a digit, A and a for a letter, all else for itself. */
static bool has_shape(struct span value, const char *shape)
{
    if (value.len != strlen(shape))
        return false;
    for (size_t i = 0; i < value.len; i++) {
        char c = value.at[i];
        bool fits = c == shape[i];
        if (shape[i] == '0')
            fits = c >= '0' && c <= '9';
        else if (shape[i] == 'A' || shape[i] == 'a')
            fits = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
        if (!fits)
            return false;
    }
    return true;
}

static int two_digits(const char *at)
{
    return (at[0] - '0') * 10 + at[1] - '0';
}
