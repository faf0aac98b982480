/*
 * retention: forgets what was kept long enough and nobody needs any more, in batches under the session's lock and fence:
 * none holds its rows for long, and whoever kills it loses the last one.
 */
#ifndef SETTLE_RECONCILER_RETENTION_H
#define SETTLE_RECONCILER_RETENTION_H

#include "session.h"

enum forgotten {
    FORGOTTEN_RECEIPTS,
    FORGOTTEN_DELIVERIES,
    FORGOTTEN_REPORTS,
    FORGOTTEN_LEDGER,
    FORGOTTEN_RUNS,
    FORGOTTEN_EVENTS,
    FORGOTTEN_INSIGHTS_LOGS,
    FORGOTTEN_TASK_LOGS,
    FORGOTTEN_ALERTS,
    FORGOTTEN_POLLS,
    FORGOTTEN_LEASES,
    FORGOTTEN_BUDGETS,
    FORGOTTEN_COSTS,
    FORGOTTEN_KINDS,
};
const char *forgotten_name(enum forgotten kind); /* "receipts" */

/* Adds to counts[FORGOTTEN_KINDS] what was forgotten; of a dry run: would be. Ends early, with OK, when the session is
 * told to stop. After a failure the counts are true as far as it came. Changes the session's batch_rows. */
enum status retention_keep(struct session *s, int64_t counts[FORGOTTEN_KINDS], struct err *err) MUST_CHECK;

#endif
