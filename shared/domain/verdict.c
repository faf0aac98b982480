#include "domain/verdict.h"

#include "base/attr.h"

static struct verdict of_open(const struct publication *p, const struct evidence *strongest,
                              const struct verdict_rules *rules);
static struct verdict of_settled(const struct publication *p, const struct evidence *strongest);
static struct verdict of_other_rules(const struct publication *p, const struct evidence *strongest);
static struct verdict by_evidence(const struct evidence *e, enum reason late);
static bool waits_for_webhook(enum pub_state state);
static bool may_try_again(const struct publication *p, const struct verdict_rules *rules);
static int order(int64_t a, int64_t b);
static int key_order(struct span a, struct span b);

static const char *const state_names[] = {
    [PUB_SCHEDULED] = "scheduled", [PUB_PENDING] = "pending", [PUB_PROCESSING] = "processing",
    [PUB_RETRY] = "retry",         [PUB_SUCCESS] = "success", [PUB_FAILED] = "failed",
};

/* What a reason is worth, and which end it may stand for: a row whose state is not the one that its reason
 * stands for was changed by somebody else afterwards. */
static const struct {
    const char *word;
    bool is_prefix;
    enum rests rests;
    bool success, failed;
} reasons[] = {
    {"webhook_confirmed",        false, RESTS_EVIDENCE, true,  false},
    {"webhook_reported_failure", false, RESTS_EVIDENCE, false, true },
    {"late_webhook",             false, RESTS_EVIDENCE, true,  true },
    {"webhook_timeout",          false, RESTS_TIMEOUT,  false, true },
    {"manual_override",          false, RESTS_OVERRIDE, true,  true },
    {"poll_",                    true,  RESTS_EVIDENCE, true,  true },
    {"worker_reported_",         true,  RESTS_EVIDENCE, true,  true },
};

struct verdict verdict_of(const struct publication *p, const struct evidence *strongest,
                          const struct verdict_rules *rules)
{
    switch (p->rests) {
    case RESTS_OPEN:
        return of_open(p, strongest, rules);
    case RESTS_TIMEOUT:
    case RESTS_EVIDENCE:
        return of_settled(p, strongest);
    case RESTS_OVERRIDE: /* a person's word is the strongest */
    case RESTS_ELSEWHERE:
        break;
    }
    return (struct verdict){.action = ACT_NONE};
}

static struct verdict of_open(const struct publication *p, const struct evidence *strongest,
                              const struct verdict_rules *rules)
{
    int64_t waits_since_us = waits_since(p);

    if (p->state == PUB_SCHEDULED)
        return (struct verdict){.action = ACT_NONE};
    if (strongest->received && strongest->decisive != 0) {
        if (p->updated_us >= rules->evidence_before_us)
            return (struct verdict){.action = ACT_NOT_DUE};
        return by_evidence(strongest, REASON_NONE);
    }

    if (!waits_for_webhook(p->state)) /* a pending row was never sent: no webhook can be missing */
        return (struct verdict){.action = ACT_NONE};
    if (waits_since_us >= rules->timeout_before_us)
        return (struct verdict){.action = ACT_NOT_DUE};
    if (strongest->received)
        return (struct verdict){.action = ACT_SKIP_UNCLEAR};
    if (rules->paused)
        return (struct verdict){.action = ACT_SKIP_PAUSED};
    if (p->can_be_asked && waits_since_us >= rules->give_up_before_us)
        return (struct verdict){.action = ACT_SKIP_UNASKED};
    if (rules->no_timeouts)
        return (struct verdict){.action = ACT_HELD_BY_GUARD};
    if (may_try_again(p, rules))
        return (struct verdict){.action = ACT_RETRY, .reason = REASON_AUTO_RETRY};
    return (struct verdict){.action = ACT_FAILED, .reason = REASON_WEBHOOK_TIMEOUT};
}

int64_t waits_since(const struct publication *p)
{
    int64_t since_us = p->updated_us;

    if (p->next_retry_us > since_us)
        since_us = p->next_retry_us;
    if (p->leased_until_us > since_us)
        since_us = p->leased_until_us;
    return since_us;
}

static bool may_try_again(const struct publication *p, const struct verdict_rules *rules)
{
    return p->state == PUB_PROCESSING && p->auto_retries < rules->auto_retries &&
           p->retry_count + 1 < p->max_retries;
}

/* The strongest of all receipts is asked each time: a row ends with what that one says, whatever came first. */
static struct verdict of_settled(const struct publication *p, const struct evidence *strongest)
{
    int says = p->state == PUB_SUCCESS ? 1 : -1;
    struct verdict v = {.action = ACT_NONE};

    if (!strongest->received || strongest->decisive == 0)
        return v;
    if (p->rests == RESTS_TIMEOUT) {
        v = by_evidence(strongest, REASON_LATE_WEBHOOK);
        v.corrects = true;
    } else if (evidence_compare(strongest, &p->rests_on) > 0) {
        v = by_evidence(strongest, REASON_NONE);
        v.corrects = strongest->decisive != says;
        v.refreshes = !v.corrects;
    }
    return v;
}

struct verdict verdict_anew(const struct publication *p, const struct evidence *strongest,
                            const struct verdict_rules *rules)
{
    struct verdict v;

    if (p->rests == RESTS_OPEN && (!strongest->received || strongest->decisive == 0))
        return (struct verdict){.action = ACT_NONE};
    v = verdict_of(p, strongest, rules);
    if (p->rests == RESTS_EVIDENCE && v.action == ACT_NONE && p->rests_on_known)
        return of_other_rules(p, strongest);
    return v;
}

/* The strongest is not stronger than what the row was settled by: it is the same, or that one says nothing today. */
static struct verdict of_other_rules(const struct publication *p, const struct evidence *strongest)
{
    int says = p->state == PUB_SUCCESS ? 1 : -1;
    struct verdict v;

    if (!strongest->received || strongest->decisive == 0)
        return (struct verdict){.action = ACT_SKIP_UNCLEAR};
    if (strongest->decisive == says)
        return (struct verdict){.action = ACT_NONE};
    v = by_evidence(strongest, REASON_NONE);
    v.corrects = true;
    return v;
}

/* late: the reason to give instead of a webhook's own, or REASON_NONE. */
static struct verdict by_evidence(const struct evidence *e, enum reason late)
{
    static const enum reason by_witness[][2] = {
        [WITNESS_WEBHOOK] = {REASON_WEBHOOK_FAILURE, REASON_WEBHOOK_CONFIRMED},
        [WITNESS_POLL] = {REASON_POLL_FAILURE,    REASON_POLL_CONFIRMED   },
        [WITNESS_WORKER] = {REASON_WORKER_FAILURE,  REASON_WORKER_SUCCESS   },
    };
    bool success = e->decisive > 0;
    bool is_late = late != REASON_NONE && e->witness == WITNESS_WEBHOOK;

    return (struct verdict){
        .action = success ? ACT_SUCCESS : ACT_FAILED,
        .reason = is_late ? late : by_witness[e->witness][success],
    };
}

static bool waits_for_webhook(enum pub_state state)
{
    return state == PUB_PROCESSING || state == PUB_RETRY;
}

bool verdict_writes(struct verdict v)
{
    return v.action == ACT_SUCCESS || v.action == ACT_FAILED || v.action == ACT_RETRY;
}

/* The view settle.publication_evidence orders receipts the same way; a test proves that they agree. */
int evidence_compare(const struct evidence *a, const struct evidence *b)
{
    int by;

    by = order(a->received, b->received);
    if (by == 0)
        by = order(a->decisive != 0, b->decisive != 0);
    if (by == 0)
        by = order(a->time_us, b->time_us);
    if (by == 0)
        by = key_order(a->key, b->key);
    return by;
}

static int order(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

/* As Postgres orders bytea: by bytes, then the shorter first. */
static int key_order(struct span a, struct span b)
{
    size_t shared = a.len < b.len ? a.len : b.len;
    int by = shared ? memcmp(a.at, b.at, shared) : 0;

    return by != 0 ? by : order((int64_t)a.len, (int64_t)b.len);
}

enum rests rests_of(enum pub_state state, struct span reconciliation_reason)
{
    if (state != PUB_SUCCESS && state != PUB_FAILED)
        return RESTS_OPEN;
    for (size_t i = 0; i < countof(reasons); i++) {
        bool same = reasons[i].is_prefix ? span_starts(reconciliation_reason, span_of(reasons[i].word))
                                         : span_eq(reconciliation_reason, span_of(reasons[i].word));

        if (same && (state == PUB_SUCCESS ? reasons[i].success : reasons[i].failed))
            return reasons[i].rests;
    }
    return RESTS_ELSEWHERE;
}

bool pub_state_parse(struct span word, enum pub_state *ret)
{
    for (size_t i = 0; i < countof(state_names); i++)
        if (span_eq(word, span_of(state_names[i]))) {
            *ret = (enum pub_state)i;
            return true;
        }
    return false;
}

const char *pub_state_name(enum pub_state state)
{
    return state_names[state];
}

const char *reason_name(enum reason reason)
{
    static const char *const names[] = {
        [REASON_NONE] = "none",
        [REASON_WEBHOOK_CONFIRMED] = "webhook_confirmed",
        [REASON_WEBHOOK_FAILURE] = "webhook_reported_failure",
        [REASON_WEBHOOK_TIMEOUT] = "webhook_timeout",
        [REASON_LATE_WEBHOOK] = "late_webhook",
        [REASON_POLL_CONFIRMED] = "poll_confirmed",
        [REASON_POLL_FAILURE] = "poll_reported_failure",
        [REASON_WORKER_SUCCESS] = "worker_reported_success",
        [REASON_WORKER_FAILURE] = "worker_reported_failure",
        [REASON_AUTO_RETRY] = "auto_retry",
        [REASON_MANUAL_OVERRIDE] = "manual_override",
    };

    return names[reason];
}
