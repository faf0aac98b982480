/*
 * log: one JSON object a line on stderr. Fields are typed, so that nothing can break out of its place.
 * Never a payload, a header value, a secret. Libraries do not log: main, ingest, batch and commands do,
 * once per failure.
 *
 *     log_info("batch_stored", LOG_ID("delivery_id", &d->id), LOG_INT("rows", n));
 *
 * Every line has ts, level, event, program, pid before its own fields. It never blocks: what cannot be written at
 * once is dropped, and the next line that can be says how many were: "lost".
 */
#ifndef SETTLE_BASE_LOG_H
#define SETTLE_BASE_LOG_H

#include "base/err.h"
#include "base/id.h"
#include "base/span.h"

#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR }; /* syslog.h defines the same names: do not mix */

struct log_field {
    const char *name; /* NULL ends the list */
    enum { LOG_IS_INT, LOG_IS_SPAN, LOG_IS_ID, LOG_IS_BOOL, LOG_IS_ERR } kind;
    union {
        int64_t number;
        struct span text;
        const struct id *id;
        bool truth;
        const struct err *err; /* becomes error, cause, sqlstate and status */
    };
};

#define LOG_INT(n, v)  ((struct log_field){.name = (n), .kind = LOG_IS_INT, .number = (v)})
#define LOG_SPAN(n, v) ((struct log_field){.name = (n), .kind = LOG_IS_SPAN, .text = (v)})
#define LOG_TEXT(n, v) ((struct log_field){.name = (n), .kind = LOG_IS_SPAN, .text = span_of(v)})
#define LOG_ID(n, v)   ((struct log_field){.name = (n), .kind = LOG_IS_ID, .id = (v)})
#define LOG_BOOL(n, v) ((struct log_field){.name = (n), .kind = LOG_IS_BOOL, .truth = (v)})
#define LOG_ERR(v)     ((struct log_field){.name = "error", .kind = LOG_IS_ERR, .err = (v)})

#define LOG_NOTHING ((struct log_field){.name = NULL}) /* for a line without fields of its own */

#define log_at(level, event, ...)                                                                            \
    log_write((level), (event), (const struct log_field[]){__VA_ARGS__, LOG_NOTHING})
#define log_debug(event, ...) log_at(LOG_DEBUG, event, __VA_ARGS__)
#define log_info(event, ...)  log_at(LOG_INFO, event, __VA_ARGS__)
#define log_warn(event, ...)  log_at(LOG_WARN, event, __VA_ARGS__)
#define log_error(event, ...) log_at(LOG_ERROR, event, __VA_ARGS__)

void log_open(const char *program, enum log_level lowest);   /* keeps program, a literal */
bool log_level_parse(struct span word, enum log_level *ret); /* debug, info, warn, error */
void log_write(enum log_level level, const char *event, const struct log_field *fields);

#endif
