/*
 * asking: what every pass that asks platforms needs besides fetch itself: the settings as fetch wants them, and the log
 * lines that operators look for (ops/runbooks/circuit-breaker.md).
 */
#ifndef SETTLE_RECONCILER_ASKING_H
#define SETTLE_RECONCILER_ASKING_H

#include "base/config.h"
#include "domain/missing.h"
#include "fetch/fetch.h"

/* Borrows c. It ends when session_stopping says so. */
struct fetch_config asking_config(const struct config *c);

/* A try that brought nothing, and why: poll_retry_scheduled if there will be another, else fetch_error. One that brought
 * something, or was not sent, writes no line. Never a URL, a header, a body. */
void asking_log_try(struct span platform, const struct fetch_answer *answer, enum missing why);
/* From now on the breaker lets none go, and backoff_s at most until it lets one try: circuit_open, with why as its
 * error_code. attempt: the try that opened it or was held. Once a run, platform and reason. */
void asking_log_held(struct span platform, unsigned attempt, unsigned backoff_s, enum missing why);

#endif
