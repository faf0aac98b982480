#include "base/cron.h"

#include "base/now.h"
#include "base/number.h"

enum { NAME_LETTERS = 3, DAYS_SOUGHT = 146097 /* after 400 years the calendar begins again */ };

#define HOUR_US (60 * MINUTE_US)
#define DAY_US  (24 * HOUR_US)

struct field {
    const char *name;
    unsigned least, most;
    const char *names; /* of the values from least on, three letters each; NULL: none */
};

enum { MINUTE, HOUR, DAY, MONTH, WEEKDAY, FIELDS };

static const struct field fields[FIELDS] = {
    [MINUTE] = {"minute",       0, 59, NULL                                  },
    [HOUR] = {"hour",         0, 23, NULL                                  },
    [DAY] = {"day-of-month", 1, 31, NULL                                  },
    [MONTH] = {"month",        1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"},
    [WEEKDAY] = {"day-of-week",  0, 7,  "sunmontuewedthufrisat"               },
};

struct date {
    int64_t year;
    unsigned month, day;
};

static enum status parse_every(struct span text, struct cron *ret, struct err *err);
static struct span cut_word(struct span *text);
static enum status parse_field(const struct field *f, struct span text, uint64_t *ret, struct err *err);
static enum status parse_part(const struct field *f, struct span part, uint64_t *bits, struct err *err);
static bool parse_value(const struct field *f, struct span text, unsigned *ret);
static enum status wrong(const struct field *f, struct span part, const char *why, struct err *err);

static int64_t first_day(const struct cron *c, int64_t day);
static int64_t time_of_day(const struct cron *c, int64_t from_us);
static bool day_fits(const struct cron *c, int64_t day);
static struct date date_of(int64_t day);
static int64_t days_left_of_month(struct date date);
static bool has_bit(uint64_t bits, unsigned at);

enum status cron_parse(struct span text, struct cron *ret, struct err *err)
{
    uint64_t bits[FIELDS] = {0};
    bool restricted[FIELDS];

    *ret = (struct cron){.every_s = 0};
    if (text.len > CRON_TEXT_BYTES)
        return err_set(err, INVALID, "is longer than %d bytes", CRON_TEXT_BYTES);
    if (span_starts(text, SPAN("@")))
        return parse_every(text, ret, err);
    for (size_t i = 0; i < FIELDS; i++) {
        struct span word = cut_word(&text);

        if (word.len == 0)
            return err_set(err, INVALID,
                           "has no %s: it takes five fields, minute hour day-of-month month day-of-week",
                           fields[i].name);
        if (parse_field(&fields[i], word, &bits[i], err))
            return err->code;
        restricted[i] = word.at[0] != '*';
    }
    if (cut_word(&text).len > 0)
        return err_set(err, INVALID, "has more than five fields");
    ret->minutes = bits[MINUTE];
    ret->hours = (uint32_t)bits[HOUR];
    ret->days = (uint32_t)bits[DAY];
    ret->months = (uint16_t)bits[MONTH];
    ret->weekdays = (uint8_t)((bits[WEEKDAY] | bits[WEEKDAY] >> 7) & 0x7f); /* 7 is Sunday too */
    ret->either_day = restricted[DAY] && restricted[WEEKDAY];
    if (first_day(ret, 0) < 0)
        return err_set(err, INVALID, "day-of-month: none of the months has such a day");
    return OK;
}

static enum status parse_every(struct span text, struct cron *ret, struct err *err)
{
    struct span word = cut_word(&text), length = cut_word(&text);
    uint64_t seconds;

    if (!span_eq(word, SPAN("@every")) || length.len < 2 || length.at[length.len - 1] != 's' ||
        cut_word(&text).len > 0 ||
        !number_parse((struct span){length.at, length.len - 1}, 1, CRON_EVERY_S_MAX, &seconds))
        return err_set(err, INVALID, "of those with @ there is only \"@every Ns\", N from 1 to %d",
                       CRON_EVERY_S_MAX);
    ret->every_s = (unsigned)seconds;
    return OK;
}

/* Up to the next blank; empty at the end. */
static struct span cut_word(struct span *text)
{
    struct span word;

    while (text->len > 0 && (text->at[0] == ' ' || text->at[0] == '\t'))
        *text = span_skip(*text, 1);
    word = (struct span){text->at, 0};
    while (word.len < text->len && text->at[word.len] != ' ' && text->at[word.len] != '\t')
        word.len++;
    *text = span_skip(*text, word.len);
    return word;
}

static enum status parse_field(const struct field *f, struct span text, uint64_t *ret, struct err *err)
{
    while (text.at) {
        struct span part = span_cut(&text, ',');

        if (parse_part(f, part, ret, err))
            return err->code;
    }
    return OK;
}

/* A value, a range or all, and how many steps lie between what counts of it. */
static enum status parse_part(const struct field *f, struct span part, uint64_t *bits, struct err *err)
{
    struct span step_text = part, range = span_cut(&step_text, '/');
    struct span last_text = range, first_text = span_cut(&last_text, '-');
    unsigned first = f->least, last = f->most;
    uint64_t step = 1;

    if (step_text.at && !number_parse(step_text, 1, f->most, &step))
        return wrong(f, part, "its step is no number that fits", err);
    if (!span_eq(range, SPAN("*"))) {
        if (!parse_value(f, first_text, &first))
            return wrong(f, part, "is no value of it", err);
        if (!last_text.at)
            last = step_text.at ? f->most : first;
        else if (!parse_value(f, last_text, &last))
            return wrong(f, part, "does not end in a value of it", err);
    }
    if (f == &fields[WEEKDAY] && last == 0 && first > 0)
        last = 7; /* "fri-sun" */
    if (last < first)
        return wrong(f, part, "ends before it begins", err);
    for (uint64_t at = first; at <= last; at += step)
        *bits |= UINT64_C(1) << at;
    return OK;
}

static bool parse_value(const struct field *f, struct span text, unsigned *ret)
{
    uint64_t number;

    if (number_parse(text, f->least, f->most, &number)) {
        *ret = (unsigned)number;
        return true;
    }
    if (!f->names || text.len != NAME_LETTERS)
        return false;
    for (size_t i = 0; f->names[i]; i += NAME_LETTERS)
        if (span_eq_nocase(text, (struct span){f->names + i, NAME_LETTERS})) {
            *ret = f->least + (unsigned)(i / NAME_LETTERS);
            return true;
        }
    return false;
}

static enum status wrong(const struct field *f, struct span part, const char *why, struct err *err)
{
    return err_set(err, INVALID, "%s: \"%.*s\" %s (%u to %u)", f->name, SPAN_ARG(part), why, f->least,
                   f->most);
}

int64_t cron_next(const struct cron *c, int64_t after_us)
{
    int64_t every_us = c->every_s * SECOND_US, day, time_us;

    if (c->every_s > 0)
        return (after_us / every_us + 1) * every_us;
    after_us = (after_us / MINUTE_US + 1) * MINUTE_US;
    day = after_us / DAY_US;
    time_us = day_fits(c, day) ? time_of_day(c, after_us - day * DAY_US) : -1;
    if (time_us >= 0)
        return day * DAY_US + time_us;
    return first_day(c, day + 1) * DAY_US + time_of_day(c, 0);
}

/* From this day since 1970 on; -1: there is none. */
static int64_t first_day(const struct cron *c, int64_t day)
{
    int64_t end = day + DAYS_SOUGHT;

    while (day < end) {
        struct date date = date_of(day);

        if (!has_bit(c->months, date.month))
            day += days_left_of_month(date);
        else if (day_fits(c, day))
            return day;
        else
            day++;
    }
    return -1;
}

/* The first of a day's due times from this one on, a full minute; -1: there is none. */
static int64_t time_of_day(const struct cron *c, int64_t from_us)
{
    for (int64_t minute = from_us / MINUTE_US; minute < 24 * 60; minute++)
        if (has_bit(c->hours, (unsigned)(minute / 60)) && has_bit(c->minutes, (unsigned)(minute % 60)))
            return minute * MINUTE_US;
    return -1;
}

static bool day_fits(const struct cron *c, int64_t day)
{
    struct date date = date_of(day);
    bool by_day = has_bit(c->days, date.day);
    bool by_weekday = has_bit(c->weekdays, (unsigned)((day + 4) % 7)); /* 1970 began on a Thursday */

    if (!has_bit(c->months, date.month))
        return false;
    return c->either_day ? by_day || by_weekday : by_day && by_weekday;
}

/* The Gregorian calendar, its years counted from March, so that a leap day is the last of its year. */
static struct date date_of(int64_t day)
{
    int64_t since = day + 719468; /* since 1 March of the year 0 */
    int64_t era = since / DAYS_SOUGHT, of_era = since % DAYS_SOUGHT;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * of_year + 2) / 153; /* from March */

    return (struct date){
        .year = era * 400 + year + (month >= 10),
        .month = (unsigned)(month < 10 ? month + 3 : month - 9),
        .day = (unsigned)(of_year - (153 * month + 2) / 5 + 1),
    };
}

/* Its day included. */
static int64_t days_left_of_month(struct date date)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (date.year % 4 == 0 && date.year % 100 != 0) || date.year % 400 == 0;

    return days[date.month - 1] + (leap && date.month == 2) - (int64_t)date.day + 1;
}

static bool has_bit(uint64_t bits, unsigned at)
{
    return bits >> at & 1;
}
