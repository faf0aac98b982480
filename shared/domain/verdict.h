/*
 * verdict: what state a publication must be in. The only place that knows these rules; pure.
 *
 * What a state rests on, weakest first: open, a time-out, evidence, a manual override. Stronger replaces
 * weaker, weaker never stronger; unclear never replaces decisive; of two decisive ones the later platform time
 * wins (received_at where the event has none), ties by the larger dedup key. (product.md 2, 3)
 */
#ifndef SETTLE_DOMAIN_VERDICT_H
#define SETTLE_DOMAIN_VERDICT_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

enum pub_state { PUB_SCHEDULED, PUB_PENDING, PUB_PROCESSING, PUB_RETRY, PUB_SUCCESS, PUB_FAILED };
bool pub_state_parse(struct span word, enum pub_state *ret);
const char *pub_state_name(enum pub_state state);

/* What a settled row rests on. RESTS_ELSEWHERE: settled by another tool, without our marks: left alone. */
enum rests { RESTS_OPEN, RESTS_TIMEOUT, RESTS_EVIDENCE, RESTS_OVERRIDE, RESTS_ELSEWHERE };
enum rests rests_of(enum pub_state state, struct span reconciliation_reason); /* absent: none is noted */

/* Who says it. No one's word is worth more than another's: times decide. */
enum witness { WITNESS_WEBHOOK, WITNESS_POLL, WITNESS_WORKER };

struct evidence {
    bool received;   /* a receipt or report exists, or another tool set webhook_received */
    int decisive;    /* 1, -1, 0 */
    int64_t time_us; /* platform time, else received_at */
    struct span key; /* dedup key, or the report's id; empty for webhook_received set by another tool */
    enum witness witness;
};
/* Negative, zero, positive as a is weaker, equal, stronger. */
int evidence_compare(const struct evidence *a, const struct evidence *b);

struct publication {
    enum pub_state state;
    enum rests rests;
    struct evidence rests_on; /* the evidence a RESTS_EVIDENCE row was settled by */
    bool rests_on_known;      /* and it is still stored, so that it can be judged anew */
    int64_t updated_us;
    int64_t next_retry_us;   /* TIME_NONE if none */
    int64_t leased_until_us; /* to a worker, which may be silent until then; TIME_NONE: to none */
    unsigned retry_count, max_retries;
    unsigned auto_retries; /* how often it was sent back to be tried again instead of being failed */
    bool can_be_asked;     /* its platform answers polls, and credentials for its account exist */
};

struct verdict_rules {
    int64_t evidence_before_us; /* open rows updated before this may settle by evidence */
    int64_t timeout_before_us;  /* greatest(updated, next_retry, leased_until) before this is a time-out */
    int64_t give_up_before_us;  /* the same of one that can be asked and has not said how it ended */
    unsigned auto_retries;      /* how often a row is tried again before it is failed */
    bool no_timeouts;           /* the guard */
    bool paused;                /* the platform: evidence alone acts */
};

enum action {
    ACT_NONE,
    ACT_SUCCESS,
    ACT_FAILED,
    ACT_RETRY,        /* back to the publishing workers */
    ACT_SKIP_UNCLEAR, /* a webhook came and does not say how it ended */
    ACT_SKIP_UNASKED, /* the platform can tell, and has not yet */
    ACT_SKIP_PAUSED,  /* an operator has paused the platform */
    ACT_NOT_DUE,
    ACT_HELD_BY_GUARD,
};
enum reason {
    REASON_NONE,
    REASON_WEBHOOK_CONFIRMED,
    REASON_WEBHOOK_FAILURE,
    REASON_WEBHOOK_TIMEOUT,
    REASON_LATE_WEBHOOK,
    REASON_POLL_CONFIRMED,
    REASON_POLL_FAILURE,
    REASON_WORKER_SUCCESS,
    REASON_WORKER_FAILURE,
    REASON_AUTO_RETRY,
    REASON_MANUAL_OVERRIDE,
    REASONS
};
const char *reason_name(enum reason reason); /* "webhook_confirmed", "webhook_reported_failure", ... */

struct verdict {
    enum action action;
    enum reason reason;
    bool corrects;  /* changes a row that was settled before */
    bool refreshes; /* keeps its state, which from now on rests on stronger evidence */
};

/* It changes the row. */
bool verdict_writes(struct verdict v);

/* Since when nothing was to happen to an open one: the greatest of its three times. */
int64_t waits_since(const struct publication *p);

struct verdict verdict_of(const struct publication *p, const struct evidence *strongest,
                          const struct verdict_rules *rules);

/* The same by rules that may have changed since the row was settled: strongest is that of all that is stored, as it is
 * understood today. It wins also over stronger evidence that the row was settled by, if that is stored too and says
 * nothing any more; over what has been forgotten only the stronger wins. By evidence alone: fails none by time-out.
 * ACT_SKIP_UNCLEAR of a settled row: nothing stored speaks for its state, nor for another; it keeps it. */
struct verdict verdict_anew(const struct publication *p, const struct evidence *strongest,
                            const struct verdict_rules *rules);

#endif
