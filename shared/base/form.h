/*
 * form: one YAML document read into C structs by a libcyaml schema. Strict: an empty file, a second document,
 * anchors and aliases, unknown and repeated keys are errors. Remembers where each key stands, so that whoever
 * finds a value wrong later can still name its line and column.
 * Scalars are best read as text and parsed by their owner: libcyaml takes "10m" for 10.
 */
#ifndef SETTLE_BASE_FORM_H
#define SETTLE_BASE_FORM_H

#include "base/err.h"
#include "base/span.h"

#include <stdbool.h>

struct cyaml_schema_value;
struct form;

/* name is for messages. Keeps a copy of what it needs of text and name, borrows schema. NULL on failure: INVALID. */
struct form *form_open(const char *name, struct span text, const struct cyaml_schema_value *schema,
                       struct err *err) MUST_CHECK;
void form_close(struct form *f); /* frees the data too; NULL is fine */

void *form_data(const struct form *f); /* what the schema describes */

bool form_has(const struct form *f,
              const char *path); /* "verify": the key stands there, be it with an empty list */

/* INVALID "name:line:column: path: text" for the value at path, such as "payloads[0].post". */
enum status form_wrong(const struct form *f, struct err *err, const char *path, const char *format, ...)
    PRINTF_LIKE(4, 5);

#endif
