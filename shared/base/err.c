#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void fill(struct err *err, enum status code, const char *cause, const char *format, va_list args)
    PRINTF_LIKE(4, 0);

enum status err_set(struct err *err, enum status code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fill(err, code, NULL, format, args);
    va_end(args);
    return code;
}

enum status err_cause(struct err *err, enum status code, const char *cause, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fill(err, code, cause, format, args);
    va_end(args);
    return code;
}

enum status err_in(struct err *err, const char *format, ...)
{
    char where[sizeof(err->text)], whole[2 * sizeof(err->text) + 2];
    va_list args;

    if (!err)
        return INVALID;
    va_start(args, format);
    vsnprintf(where, sizeof(where), format, args);
    va_end(args);
    snprintf(whole, sizeof(whole), "%s: %s", where, err->text);
    memcpy(err->text, whole, sizeof(err->text) - 1);
    err->text[sizeof(err->text) - 1] = '\0';
    return err->code;
}

const char *status_name(enum status code)
{
    static const char *const names[] = {
        [OK] = "ok",         [INVALID] = "invalid",   [FORGED] = "forged",
        [BUSY] = "busy",     [REJECTED] = "rejected", [UNAVAILABLE] = "unavailable",
        [BROKEN] = "broken",
    };

    return names[code];
}

static void fill(struct err *err, enum status code, const char *cause, const char *format, va_list args)
{
    if (!err)
        return;
    err->code = code;
    err->cause = cause;
    err->sqlstate[0] = '\0';
    vsnprintf(err->text, sizeof(err->text), format, args);
}
