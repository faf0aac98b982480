#include "domain/moment.h"

#include "base/now.h"
#include "base/number.h"

#include <time.h>

static bool take_number(struct span *text, size_t ndigits, int *ret);
static bool take_char(struct span *text, char c);
static bool take_fraction(struct span *text, int64_t *ret_us);
static bool take_offset(struct span *text, int64_t *ret_us);
static bool parse_digits(struct span text, int64_t *ret_us);
static bool parse_rfc3339(struct span text, int64_t *ret_us);

bool moment_parse(struct span text, int64_t *ret_us)
{
    return parse_digits(text, ret_us) || parse_rfc3339(text, ret_us);
}

static bool parse_digits(struct span text, int64_t *ret_us)
{
    uint64_t number;

    if (text.len == 11 || text.len > 13 || !number_parse(text, 1, UINT64_MAX, &number))
        return false;
    *ret_us = (int64_t)number * (text.len > 10 ? 1000 : SECOND_US);
    return true;
}

static bool parse_rfc3339(struct span text, int64_t *ret_us)
{
    struct tm t = {.tm_isdst = 0}, given;
    int64_t fraction = 0, offset = 0;
    time_t seconds;

    if (!take_number(&text, 4, &t.tm_year) || !take_char(&text, '-') || !take_number(&text, 2, &t.tm_mon) ||
        !take_char(&text, '-') || !take_number(&text, 2, &t.tm_mday) ||
        !(take_char(&text, 'T') || take_char(&text, 't')))
        return false;
    if (!take_number(&text, 2, &t.tm_hour) || !take_char(&text, ':') || !take_number(&text, 2, &t.tm_min) ||
        !take_char(&text, ':') || !take_number(&text, 2, &t.tm_sec))
        return false;
    if (!take_fraction(&text, &fraction) || !take_offset(&text, &offset) || text.len > 0)
        return false;
    if (t.tm_hour > 23 || t.tm_min > 59 || t.tm_sec > 59)
        return false;

    t.tm_year -= 1900;
    t.tm_mon -= 1;
    given = t;
    seconds = timegm(&t); /* turns the 31st of June into the 1st of July, in place */
    if (t.tm_mday != given.tm_mday || t.tm_mon != given.tm_mon)
        return false;
    *ret_us = seconds * SECOND_US + fraction - offset;
    return true;
}

static bool take_number(struct span *text, size_t ndigits, int *ret)
{
    if (text->len < ndigits)
        return false;
    *ret = 0;
    for (size_t i = 0; i < ndigits; i++) {
        if (text->at[i] < '0' || text->at[i] > '9')
            return false;
        *ret = *ret * 10 + (text->at[i] - '0');
    }
    *text = span_skip(*text, ndigits);
    return true;
}

static bool take_char(struct span *text, char c)
{
    if (text->len == 0 || text->at[0] != c)
        return false;
    *text = span_skip(*text, 1);
    return true;
}

/* Nothing, or a point and digits: what is finer than a microsecond is dropped. */
static bool take_fraction(struct span *text, int64_t *ret_us)
{
    int64_t unit = SECOND_US / 10;
    int digit;

    if (!take_char(text, '.'))
        return true;
    if (!take_number(text, 1, &digit))
        return false;
    do {
        *ret_us += digit * unit;
        unit /= 10;
    } while (take_number(text, 1, &digit));
    return true;
}

/* The colon is RFC 3339's; Meta writes "+0000". */
static bool take_offset(struct span *text, int64_t *ret_us)
{
    int sign = 1, hours, minutes;

    if (take_char(text, 'Z') || take_char(text, 'z'))
        return true;
    if (take_char(text, '-'))
        sign = -1;
    else if (!take_char(text, '+'))
        return false;
    if (!take_number(text, 2, &hours))
        return false;
    take_char(text, ':');
    if (!take_number(text, 2, &minutes))
        return false;
    *ret_us = (int64_t)sign * (hours * 60 + minutes) * MINUTE_US;
    return hours <= 23 && minutes <= 59;
}
