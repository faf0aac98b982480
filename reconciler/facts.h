/*
 * facts: what a statement tells as one JSON object, for commands that show it to people.
 */
#ifndef SETTLE_RECONCILER_FACTS_H
#define SETTLE_RECONCILER_FACTS_H

#include "session.h"

#include <jansson.h>

/* Runs a statement whose first column is JSON text. *ret is the caller's (json_decref); NULL: it brought no row. */
enum status facts_read(struct session *s, enum sql sql, const struct pg_args *args, json_t **ret,
                       struct err *err) MUST_CHECK;

/* Of a member; "" and 0: it is not there, or of another type. object may be NULL. */
const char *facts_word(const json_t *object, const char *name);
json_int_t facts_number(const json_t *object, const char *name);

#endif
