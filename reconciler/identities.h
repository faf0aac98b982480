/*
 * identities: gives rows of older tools the one form of their tenants' names, and counts what names they bear. Under the
 * lock and fence of job maintain, as a run of its own.
 */
#ifndef SETTLE_RECONCILER_IDENTITIES_H
#define SETTLE_RECONCILER_IDENTITIES_H

#include "session.h"

/* maintain identities. Prints the report; returns the exit code. */
int identities_run(const struct session_options *options);

#endif
