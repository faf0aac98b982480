#include "support/test.h"

#include "base/now.h"
#include "domain/verdict.h"

#include <stdio.h>
#include <stdlib.h>

#define AT(minute) ((minute)*MINUTE_US)
enum { NOW = 1000, STALE = NOW - 10 }; /* minutes; a row older than STALE is due */

static const struct evidence nothing = {.received = false};

static struct evidence says(int decisive, int64_t minute, const char *key)
{
    return (struct evidence){
        .received = true, .decisive = decisive, .time_us = AT(minute), .key = span_of(key)};
}

static struct verdict_rules rules_at(int64_t now_minute)
{
    return (struct verdict_rules){
        .evidence_before_us = AT(now_minute - 10),
        .timeout_before_us = AT(now_minute - 10),
    };
}

static struct publication row(enum pub_state state, int64_t updated_minute)
{
    return (struct publication){.state = state,
                                .updated_us = AT(updated_minute),
                                .next_retry_us = TIME_NONE,
                                .leased_until_us = TIME_NONE};
}

/* "success: webhook_confirmed", "skip", ... */
static const char *shown(struct verdict v)
{
    static const char *const actions[] = {
        [ACT_NONE] = "none",         [ACT_SUCCESS] = "success",      [ACT_FAILED] = "failed",
        [ACT_SKIP_UNCLEAR] = "skip", [ACT_NOT_DUE] = "not due",      [ACT_HELD_BY_GUARD] = "held",
        [ACT_RETRY] = "retry",       [ACT_SKIP_UNASKED] = "unasked", [ACT_SKIP_PAUSED] = "paused",
    };
    static char text[64];

    if (v.reason == REASON_NONE)
        return actions[v.action];
    snprintf(text, sizeof(text), "%s: %s", actions[v.action], reason_name(v.reason));
    return text;
}

/* Ages in minutes; the window is 10. retry_in: 0 for none. */
static const struct {
    const char *why;
    enum pub_state state;
    int64_t age, retry_in;
    enum { NOTHING, VAGUE, GOOD, BAD } evidence;
    const char *want;
} open_cases[] = {
    {"success when data is present",     PUB_PROCESSING, 11,  0,   GOOD,    "success: webhook_confirmed"      },
    {"a retry with a webhook",           PUB_RETRY,      11,  0,   GOOD,    "success: webhook_confirmed"      },
    {"a pending row with a webhook",     PUB_PENDING,    11,  0,   GOOD,    "success: webhook_confirmed"      },
    {"an explicit failure",              PUB_PROCESSING, 11,  0,   BAD,     "failed: webhook_reported_failure"},
    {"failed after the time-out",        PUB_PROCESSING, 11,  0,   NOTHING, "failed: webhook_timeout"         },
    {"a retry that is long due",         PUB_RETRY,      11,  -11, NOTHING, "failed: webhook_timeout"         },
    {"the window is strict",             PUB_PROCESSING, 10,  0,   NOTHING, "not due"                         },
    {"also strict for evidence",         PUB_PROCESSING, 10,  0,   GOOD,    "not due"                         },
    {"a retry not yet due",              PUB_RETRY,      11,  5,   NOTHING, "not due"                         },
    {"a retry not due for long",         PUB_RETRY,      11,  -10, NOTHING, "not due"                         },
    {"not yet due, with a webhook",      PUB_RETRY,      11,  5,   GOOD,    "success: webhook_confirmed"      },
    {"an unclear webhook",               PUB_PROCESSING, 11,  0,   VAGUE,   "skip"                            },
    {"an unclear webhook, young row",    PUB_PROCESSING, 10,  0,   VAGUE,   "not due"                         },
    {"pending is never timed out",       PUB_PENDING,    999, 0,   NOTHING, "none"                            },
    {"pending, with an unclear webhook", PUB_PENDING,    999, 0,   VAGUE,   "none"                            },
    {"a scheduled row",                  PUB_SCHEDULED,  999, 0,   GOOD,    "none"                            },
};

static void test_open_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(open_cases); i++) {
        static const int words[] = {[GOOD] = 1, [BAD] = -1};
        struct publication p = row(open_cases[i].state, NOW - open_cases[i].age);
        struct evidence e = {
            .received = open_cases[i].evidence != NOTHING,
            .decisive = words[open_cases[i].evidence],
        };
        struct verdict_rules rules = rules_at(NOW);
        struct verdict v;

        if (open_cases[i].retry_in)
            p.next_retry_us = AT(NOW + open_cases[i].retry_in);
        v = verdict_of(&p, &e, &rules);
        if (strcmp(shown(v), open_cases[i].want) != 0 || v.corrects)
            fail_msg("%s: got %s", open_cases[i].why, shown(v));
    }
}

/* It may be silent for as long as it has asked for; then another may take it. */
static void test_what_a_worker_holds_is_not_timed_out(void **state)
{
    struct publication p = row(PUB_PROCESSING, NOW - 60);
    struct verdict_rules rules = rules_at(NOW);
    struct evidence good = says(1, 5, "k");

    (void)state;
    p.leased_until_us = AT(NOW + 60);
    assert_string_equal(shown(verdict_of(&p, &nothing, &rules)), "not due");
    assert_string_equal(shown(verdict_of(&p, &good, &rules)), "success: webhook_confirmed");
    p.leased_until_us = AT(STALE);
    assert_string_equal(shown(verdict_of(&p, &nothing, &rules)), "not due");
    p.leased_until_us = AT(STALE) - 1;
    assert_string_equal(shown(verdict_of(&p, &nothing, &rules)), "failed: webhook_timeout");
    p.next_retry_us = AT(STALE);
    assert_string_equal(shown(verdict_of(&p, &nothing, &rules)), "not due");
}

static void test_the_guard_holds_time_outs_and_nothing_else(void **state)
{
    struct publication p = row(PUB_PROCESSING, 1);
    struct verdict_rules rules = rules_at(NOW);
    struct evidence good = says(1, 5, "k"), vague = says(0, 5, "k");

    (void)state;
    rules.no_timeouts = true;
    assert_int_equal(verdict_of(&p, &nothing, &rules).action, ACT_HELD_BY_GUARD);
    assert_int_equal(verdict_of(&p, &good, &rules).action, ACT_SUCCESS);
    assert_int_equal(verdict_of(&p, &vague, &rules).action, ACT_SKIP_UNCLEAR);
    p.updated_us = AT(STALE);
    assert_int_equal(verdict_of(&p, &nothing, &rules).action, ACT_NOT_DUE);
}

static void test_the_platform_may_wait_longer_for_time_outs_but_not_for_evidence(void **state)
{
    struct publication p = row(PUB_PROCESSING, STALE - 1);
    struct verdict_rules rules = rules_at(NOW);
    struct evidence good = says(1, 5, "k");

    (void)state;
    rules.timeout_before_us = AT(NOW - 60);
    assert_int_equal(verdict_of(&p, &nothing, &rules).action, ACT_NOT_DUE);
    assert_int_equal(verdict_of(&p, &good, &rules).action, ACT_SUCCESS);
}

static void test_one_that_can_be_asked_is_not_failed_before_we_give_up(void **state)
{
    struct publication p = row(PUB_PROCESSING, NOW - 60);
    struct verdict_rules rules = rules_at(NOW);
    struct evidence good = says(1, 5, "k"), vague = says(0, 5, "k");

    (void)state;
    p.can_be_asked = true;
    rules.give_up_before_us = AT(NOW - 60);
    assert_string_equal(shown(verdict_of(&p, &nothing, &rules)), "unasked");
    rules.no_timeouts = true; /* nothing for the guard to hold */
    assert_string_equal(shown(verdict_of(&p, &nothing, &rules)), "unasked");
    rules.no_timeouts = false;
    assert_string_equal(shown(verdict_of(&p, &good, &rules)), "success: webhook_confirmed");
    assert_string_equal(shown(verdict_of(&p, &vague, &rules)), "skip");
    rules.give_up_before_us = AT(NOW - 60) + 1;
    assert_string_equal(shown(verdict_of(&p, &nothing, &rules)), "failed: webhook_timeout");
    p.can_be_asked = false;
    rules.give_up_before_us = AT(NOW - 999);
    assert_string_equal(shown(verdict_of(&p, &nothing, &rules)), "failed: webhook_timeout");
}

static void test_a_paused_platform_fails_nothing_and_settles_by_evidence(void **state)
{
    struct publication p = row(PUB_PROCESSING, 1);
    struct verdict_rules rules = rules_at(NOW);
    struct evidence good = says(1, 5, "k"), bad = says(-1, 5, "k");

    (void)state;
    rules.paused = true;
    rules.auto_retries = 1;
    p.max_retries = 3;
    assert_string_equal(shown(verdict_of(&p, &nothing, &rules)), "paused");
    assert_string_equal(shown(verdict_of(&p, &good, &rules)), "success: webhook_confirmed");
    assert_string_equal(shown(verdict_of(&p, &bad, &rules)), "failed: webhook_reported_failure");
}

/* Sent, silent, and the operator lets it be tried again. */
static const struct {
    const char *why;
    enum pub_state state;
    unsigned retries, max, before, allowed;
    const char *want;
} retry_cases[] = {
    {"the first",                PUB_PROCESSING, 0, 3, 0, 1, "retry: auto_retry"      },
    {"not allowed",              PUB_PROCESSING, 0, 3, 0, 0, "failed: webhook_timeout"},
    {"once is enough",           PUB_PROCESSING, 1, 3, 1, 1, "failed: webhook_timeout"},
    {"twice may be allowed",     PUB_PROCESSING, 1, 3, 1, 2, "retry: auto_retry"      },
    {"its own limit holds",      PUB_PROCESSING, 2, 3, 0, 9, "failed: webhook_timeout"},
    {"it has one try only",      PUB_PROCESSING, 0, 1, 0, 9, "failed: webhook_timeout"},
    {"it has none",              PUB_PROCESSING, 0, 0, 0, 9, "failed: webhook_timeout"},
    {"a retry that nobody took", PUB_RETRY,      0, 3, 0, 1, "failed: webhook_timeout"},
};

static void test_retry_before_fail(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(retry_cases); i++) {
        struct publication p = row(retry_cases[i].state, 1);
        struct verdict_rules rules = rules_at(NOW);

        p.retry_count = retry_cases[i].retries;
        p.max_retries = retry_cases[i].max;
        p.auto_retries = retry_cases[i].before;
        rules.auto_retries = retry_cases[i].allowed;
        if (strcmp(shown(verdict_of(&p, &nothing, &rules)), retry_cases[i].want) != 0)
            fail_msg("%s: got %s", retry_cases[i].why, shown(verdict_of(&p, &nothing, &rules)));
        rules.no_timeouts = true;
        assert_string_equal(shown(verdict_of(&p, &nothing, &rules)), "held");
    }
}

static void test_whoever_says_it_is_named(void **state)
{
    static const struct {
        enum witness witness;
        int decisive;
        const char *want, *late;
    } cases[] = {
        {WITNESS_POLL,   1,  "success: poll_confirmed",          "success: poll_confirmed"         },
        {WITNESS_POLL,   -1, "failed: poll_reported_failure",    "failed: poll_reported_failure"   },
        {WITNESS_WORKER, 1,  "success: worker_reported_success", "success: worker_reported_success"},
        {WITNESS_WORKER, -1, "failed: worker_reported_failure",  "failed: worker_reported_failure" },
    };

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct publication open = row(PUB_PROCESSING, 1), timed_out = row(PUB_FAILED, 1);
        struct verdict_rules rules = rules_at(NOW);
        struct evidence e = says(cases[i].decisive, 5, "k");

        e.witness = cases[i].witness;
        timed_out.rests = RESTS_TIMEOUT;
        assert_string_equal(shown(verdict_of(&open, &e, &rules)), cases[i].want);
        assert_string_equal(shown(verdict_of(&timed_out, &e, &rules)), cases[i].late);
    }
}

/* What settled the row, when and under which key, against what speaks strongest now. */
static const struct {
    const char *why;
    enum pub_state state;
    enum rests rests;
    int64_t minute;
    const char *key;
    struct {
        int decisive;
        int64_t minute;
        const char *key;
    } now;
    const char *want;
} settled_cases[] = {
    {"a late success",             PUB_FAILED,  RESTS_TIMEOUT,   0, "",  {1, 3, "k"},  "success: late_webhook"           },
    {"a late failure",             PUB_FAILED,  RESTS_TIMEOUT,   0, "",  {-1, 3, "k"}, "failed: late_webhook"            },
    {"a late unclear one",         PUB_FAILED,  RESTS_TIMEOUT,   0, "",  {0, 3, "k"},  "none"                            },
    {"a later failure",
     PUB_SUCCESS,                               RESTS_EVIDENCE,
     5,                                                             "a",
     {-1, 6, "a"},
     "failed: webhook_reported_failure"                                                                                  },
    {"a later success",            PUB_FAILED,  RESTS_EVIDENCE,  5, "a", {1, 6, "a"},  "success: webhook_confirmed"      },
    {"an earlier failure",         PUB_SUCCESS, RESTS_EVIDENCE,  5, "a", {-1, 4, "z"}, "none"                            },
    {"a larger key",               PUB_SUCCESS, RESTS_EVIDENCE,  5, "a", {-1, 5, "b"}, "failed: webhook_reported_failure"},
    {"a smaller key",              PUB_SUCCESS, RESTS_EVIDENCE,  5, "b", {-1, 5, "a"}, "none"                            },
    {"its own evidence again",     PUB_SUCCESS, RESTS_EVIDENCE,  5, "a", {1, 5, "a"},  "none"                            },
    {"later evidence that agrees",
     PUB_SUCCESS,                               RESTS_EVIDENCE,
     5,                                                             "a",
     {1, 9, "b"},
     "success: webhook_confirmed"                                                                                        },
    {"earlier one that agrees",    PUB_SUCCESS, RESTS_EVIDENCE,  5, "a", {1, 4, "b"},  "none"                            },
    {"a delayed processing",       PUB_SUCCESS, RESTS_EVIDENCE,  5, "a", {0, 9, "b"},  "none"                            },
    {"an override stands",         PUB_SUCCESS, RESTS_OVERRIDE,  5, "a", {-1, 9, "b"}, "none"                            },
    {"another tool's word stands", PUB_FAILED,  RESTS_ELSEWHERE, 0, "",  {1, 9, "b"},  "none"                            },
};

static void test_settled_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(settled_cases); i++) {
        struct publication p = row(settled_cases[i].state, 1);
        struct evidence e =
            says(settled_cases[i].now.decisive, settled_cases[i].now.minute, settled_cases[i].now.key);
        struct verdict_rules rules = rules_at(NOW);
        struct verdict v;
        bool changes, refreshes;

        p.rests = settled_cases[i].rests;
        p.rests_on = says(p.state == PUB_SUCCESS ? 1 : -1, settled_cases[i].minute, settled_cases[i].key);
        v = verdict_of(&p, &e, &rules);
        if (strcmp(shown(v), settled_cases[i].want) != 0)
            fail_msg("%s: got %s", settled_cases[i].why, shown(v));
        changes = v.action != ACT_NONE && v.action != (p.state == PUB_SUCCESS ? ACT_SUCCESS : ACT_FAILED);
        refreshes = v.action != ACT_NONE && !changes && p.rests == RESTS_EVIDENCE;
        if (v.refreshes != refreshes || v.corrects != (v.action != ACT_NONE && !refreshes))
            fail_msg("%s: corrects %d, refreshes %d", settled_cases[i].why, v.corrects, v.refreshes);
        if (verdict_of(&p, &nothing, &rules).action != ACT_NONE)
            fail_msg("%s: no evidence must change nothing", settled_cases[i].why);
    }
}

/* Rules have changed since: what the row rests on at minute 5 under key m, whether that is stored, and what is the strongest
 * by today's. */
static const struct {
    const char *why;
    enum pub_state state;
    enum rests rests;
    bool known;
    struct {
        int decisive;
        int64_t minute;
        const char *key;
    } now;
    const char *want;
} anew_cases[] = {
    {"the same word means the other end",
     PUB_SUCCESS,                                                       RESTS_EVIDENCE,
     true,                                                                                      {-1, 5, "m"},
     "failed: webhook_reported_failure"                                                                                              },
    {"it means the same",                                  PUB_SUCCESS, RESTS_EVIDENCE,  true,  {1, 5, "m"},  "none"                 },
    {"it means nothing, an earlier one speaks against it",
     PUB_FAILED,                                                        RESTS_EVIDENCE,
     true,                                                                                      {1, 3, "a"},
     "success: webhook_confirmed"                                                                                                    },
    {"it means nothing, an earlier one agrees",            PUB_SUCCESS, RESTS_EVIDENCE,  true,  {1, 3, "a"},  "none"                 },
    {"nothing means anything: it stays",                   PUB_FAILED,  RESTS_EVIDENCE,  true,  {0, 5, "m"},  "skip"                 },
    {"it was forgotten, an earlier one speaks against it",
     PUB_FAILED,                                                        RESTS_EVIDENCE,
     false,                                                                                     {1, 3, "a"},
     "none"                                                                                                                          },
    {"it was forgotten, a later one speaks against it",
     PUB_FAILED,                                                        RESTS_EVIDENCE,
     false,                                                                                     {1, 6, "a"},
     "success: webhook_confirmed"                                                                                                    },
    {"a time-out gives way",                               PUB_FAILED,  RESTS_TIMEOUT,   false, {1, 3, "a"},  "success: late_webhook"},
    {"a time-out without a clear word",                    PUB_FAILED,  RESTS_TIMEOUT,   false, {0, 3, "a"},  "none"                 },
    {"an open row with a clear word",
     PUB_RETRY,                                                         RESTS_OPEN,
     false,                                                                                     {-1, 3, "a"},
     "failed: webhook_reported_failure"                                                                                              },
    {"none is failed by time-out",                         PUB_RETRY,   RESTS_OPEN,      false, {0, 3, "a"},  "none"                 },
    {"an override stands",                                 PUB_FAILED,  RESTS_OVERRIDE,  true,  {1, 9, "a"},  "none"                 },
    {"another tool's word stands",                         PUB_FAILED,  RESTS_ELSEWHERE, true,  {1, 9, "a"},  "none"                 },
};

static void test_by_other_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(anew_cases); i++) {
        struct publication p = row(anew_cases[i].state, 1);
        struct evidence e = says(anew_cases[i].now.decisive, anew_cases[i].now.minute, anew_cases[i].now.key);
        struct verdict_rules rules = rules_at(NOW);
        struct verdict v;

        p.rests = anew_cases[i].rests;
        p.rests_on = says(p.state == PUB_SUCCESS ? 1 : -1, 5, "m");
        p.rests_on_known = anew_cases[i].known;
        v = verdict_anew(&p, &e, &rules);
        if (strcmp(shown(v), anew_cases[i].want) != 0)
            fail_msg("%s: got %s", anew_cases[i].why, shown(v));
        if (v.corrects != (verdict_writes(v) && p.rests != RESTS_OPEN))
            fail_msg("%s: corrects %d", anew_cases[i].why, v.corrects);
        v = verdict_anew(&p, &nothing, &rules);
        if (verdict_writes(v))
            fail_msg("%s: no evidence must change nothing", anew_cases[i].why);
    }
}

static void test_what_a_row_rests_on(void **state)
{
    static const struct {
        enum pub_state state;
        const char *reason;
        enum rests rests;
    } cases[] = {
        {PUB_PROCESSING, "webhook_confirmed",        RESTS_OPEN     }, /* opened again by a new attempt */
        {PUB_PENDING,    NULL,                       RESTS_OPEN     },
        {PUB_SUCCESS,    NULL,                       RESTS_ELSEWHERE},
        {PUB_FAILED,     "",                         RESTS_ELSEWHERE},
        {PUB_FAILED,     "somebody's own word",      RESTS_ELSEWHERE},
        {PUB_FAILED,     "webhook_timeout",          RESTS_TIMEOUT  },
        {PUB_SUCCESS,    "webhook_timeout",          RESTS_ELSEWHERE}, /* we never left it so */
        {PUB_SUCCESS,    "webhook_confirmed",        RESTS_EVIDENCE },
        {PUB_FAILED,     "webhook_confirmed",        RESTS_ELSEWHERE},
        {PUB_FAILED,     "webhook_reported_failure", RESTS_EVIDENCE },
        {PUB_SUCCESS,    "late_webhook",             RESTS_EVIDENCE },
        {PUB_FAILED,     "poll_failed",              RESTS_EVIDENCE },
        {PUB_SUCCESS,    "worker_reported_success",  RESTS_EVIDENCE },
        {PUB_FAILED,     "manual_override",          RESTS_OVERRIDE },
    };

    (void)state;
    for (size_t i = 0; i < countof(cases); i++)
        if (rests_of(cases[i].state, span_of(cases[i].reason)) != cases[i].rests)
            fail_msg("%s by %s", pub_state_name(cases[i].state),
                     cases[i].reason ? cases[i].reason : "nobody");
}

static void test_states_have_one_name_each(void **state)
{
    enum pub_state back;

    (void)state;
    for (enum pub_state s = PUB_SCHEDULED; s <= PUB_FAILED; s++) {
        assert_true(pub_state_parse(span_of(pub_state_name(s)), &back));
        assert_int_equal(back, s);
    }
    assert_false(pub_state_parse(SPAN("Success"), &back));
    assert_false(pub_state_parse(SPAN_NONE, &back));
}

static void test_evidence_has_one_strict_order(void **state)
{
    static const char *const keys[] = {"", "a", "ab", "b", "\xff"};
    struct evidence all[1 + 2 * 3 * countof(keys)];
    size_t n = 0;

    (void)state;
    all[n++] = nothing;
    for (int decisive = 0; decisive <= 1; decisive++)
        for (int64_t minute = 1; minute <= 3; minute++)
            for (size_t k = 0; k < countof(keys); k++)
                all[n++] = says(decisive, minute, keys[k]);

    for (size_t a = 0; a < n; a++)
        for (size_t b = 0; b < n; b++) {
            int ab = evidence_compare(&all[a], &all[b]), ba = evidence_compare(&all[b], &all[a]);

            assert_int_equal(ab == 0, a == b);
            assert_int_equal((ab > 0) - (ab < 0), (ba < 0) - (ba > 0));
            for (size_t c = 0; c < n; c++)
                if (ab > 0 && evidence_compare(&all[b], &all[c]) > 0)
                    assert_true(evidence_compare(&all[a], &all[c]) > 0);
        }
}

/* ---- every order of events ends in the same state ---- */

enum happening { ROW, WEBHOOK, DUPLICATE, CONFLICT, UNCLEAR, LATE, RECONCILE, NHAPPENINGS };
enum { LENGTH = 6, VOICES_MAX = 6 };

struct story {
    bool registered;
    struct publication p, before; /* before: what an override has replaced */
    struct evidence receipts[VOICES_MAX];
    size_t nreceipts;
    int64_t minute;
};

static void weigh(struct story *s, const struct verdict_rules *rules);

static void receive(struct story *s, struct evidence e)
{
    for (size_t i = 0; i < s->nreceipts; i++)
        if (span_eq(s->receipts[i].key, e.key))
            return;
    s->receipts[s->nreceipts++] = e;
}

static void reconcile(struct story *s)
{
    const struct verdict_rules rules = rules_at(s->minute);

    weigh(s, &rules);
}

static void weigh(struct story *s, const struct verdict_rules *rules)
{
    struct evidence strongest = nothing;
    struct verdict v;

    for (size_t i = 0; i < s->nreceipts; i++)
        if (evidence_compare(&s->receipts[i], &strongest) > 0)
            strongest = s->receipts[i];
    if (!s->registered)
        return;
    v = verdict_of(&s->p, &strongest, rules);
    if (!verdict_writes(v))
        return;
    s->p.updated_us = AT(s->minute);
    if (v.action == ACT_RETRY) {
        s->p.state = PUB_RETRY;
        s->p.next_retry_us = AT(s->minute + 1);
        s->p.retry_count++;
        s->p.auto_retries++;
        return;
    }
    s->p.state = v.action == ACT_SUCCESS ? PUB_SUCCESS : PUB_FAILED;
    s->p.rests = rests_of(s->p.state, span_of(reason_name(v.reason)));
    s->p.rests_on = strongest;
}

/* Plays events, each an hour after the one before, and reconciles at the end until nothing is left to do. */
static struct story play(const enum happening *events, size_t n, const int64_t minutes[3])
{
    struct story s = {.minute = NOW};

    for (size_t i = 0; i < n; i++, s.minute += 60)
        switch (events[i]) {
        case ROW:
            if (!s.registered)
                s.p = row(PUB_PROCESSING, s.minute);
            s.registered = true;
            break;
        case WEBHOOK:
        case DUPLICATE:
            receive(&s, says(1, minutes[0], "1"));
            break;
        case CONFLICT:
            receive(&s, says(-1, minutes[1], "2"));
            break;
        case LATE:
            receive(&s, says(1, minutes[2], "3"));
            break;
        case UNCLEAR:
            receive(&s, says(0, 900, "4"));
            break;
        case RECONCILE:
            reconcile(&s);
            break;
        case NHAPPENINGS:
            break;
        }
    reconcile(&s);
    s.minute += 60;
    reconcile(&s);
    return s;
}

/* Said again without any order: 1, -1, or 0 when no decisive webhook is among the events. */
static int last_word(const enum happening *events, size_t n, const int64_t minutes[3])
{
    static const int words[] = {1, -1, 1};
    bool came[3] = {false};
    int best = -1;

    for (size_t i = 0; i < n; i++) {
        came[0] |= events[i] == WEBHOOK || events[i] == DUPLICATE;
        came[1] |= events[i] == CONFLICT;
        came[2] |= events[i] == LATE;
    }
    for (int i = 0; i < 3; i++)
        if (came[i] && (best < 0 || minutes[i] >= minutes[best])) /* at the same time the larger key */
            best = i;
    return best < 0 ? 0 : words[best];
}

static void check_story(const enum happening *events, size_t n, const int64_t minutes[3])
{
    struct story s = play(events, n, minutes);
    int word = last_word(events, n, minutes);
    bool unclear = false, registered = false;

    for (size_t i = 0; i < n; i++) {
        unclear |= events[i] == UNCLEAR;
        registered |= events[i] == ROW;
    }
    if (!registered)
        return;
    if (word != 0) {
        assert_int_equal(s.p.state, word > 0 ? PUB_SUCCESS : PUB_FAILED);
        assert_int_equal(s.p.rests, RESTS_EVIDENCE);
    } else if (!unclear) {
        assert_int_equal(s.p.state, PUB_FAILED);
        assert_int_equal(s.p.rests, RESTS_TIMEOUT);
    } else { /* nothing decisive ever came: given up before the unclear one, or waiting since */
        assert_true(s.p.rests == RESTS_TIMEOUT || s.p.rests == RESTS_OPEN);
    }
}

static void test_every_order_of_events_ends_in_the_same_state(void **state)
{
    /* platform times of the first webhook, the conflicting one, the late one */
    static const int64_t times[][3] = {
        {10, 20, 30},
        {30, 20, 10},
        {10, 30, 20},
        {20, 20, 20},
        {10, 20, 20}
    };
    size_t stories = 1;

    (void)state;
    for (int i = 0; i < LENGTH; i++)
        stories *= NHAPPENINGS;
    for (size_t t = 0; t < countof(times); t++)
        for (size_t story = 0; story < stories; story++) {
            enum happening events[LENGTH];
            size_t rest = story;

            for (int i = 0; i < LENGTH; i++, rest /= NHAPPENINGS)
                events[i] = (enum happening)(rest % NHAPPENINGS);
            check_story(events, LENGTH, times[t]);
        }
}

/* ---- and every longer one, with all that may happen to a publication ---- */

enum { TALES = 100000, STEPS_MAX = 24 };

/* What comes at a step; below VOICES_MAX one of the tale's voices. */
enum step { STEP_ROW = VOICES_MAX, STEP_GOOD, STEP_BAD, STEP_UNDO, STEP_RUN };

struct tale {
    struct evidence voices[VOICES_MAX];
    size_t nvoices, nsteps;
    unsigned steps[STEPS_MAX];
};

static uint32_t dice; /* the same again for the same seed */

static unsigned roll(unsigned sides)
{
    dice ^= dice << 13;
    dice ^= dice >> 17;
    dice ^= dice << 5;
    return dice % sides;
}

/* Voices at few times, so that many say something at the same; each once or more often. */
static void tell(struct tale *t)
{
    static const char *const keys[VOICES_MAX] = {"a", "ab", "b", "c", "d", "e"};
    static const enum step others[] = {STEP_RUN, STEP_RUN, STEP_RUN, STEP_GOOD, STEP_BAD, STEP_UNDO};

    t->nvoices = roll(VOICES_MAX + 1);
    for (size_t i = 0; i < t->nvoices; i++) {
        t->voices[i] = says((int)roll(3) - 1, roll(5), keys[i]);
        t->voices[i].witness = (enum witness)roll(3);
    }
    t->nsteps = LENGTH + 1 + roll(STEPS_MAX - LENGTH);
    for (size_t i = 0; i < t->nsteps; i++)
        t->steps[i] = t->nvoices > 0 && roll(2) ? roll((unsigned)t->nvoices) : others[roll(countof(others))];
    t->steps[roll((unsigned)t->nsteps)] = STEP_ROW;
}

/* A run may find a platform paused, time-outs held, a publication that can be asked or tried again. */
static void run_somehow(struct story *s)
{
    struct verdict_rules rules = rules_at(s->minute);

    rules.paused = roll(4) == 0;
    rules.no_timeouts = roll(4) == 0;
    rules.auto_retries = roll(2);
    rules.give_up_before_us = AT(s->minute - 200);
    s->p.can_be_asked = roll(2);
    weigh(s, &rules);
}

/* What is said without a row is said of nothing, but for webhooks, which wait for it. */
static void take_step(struct story *s, const struct tale *t, unsigned step)
{
    struct verdict_rules at_once = {.evidence_before_us = INT64_MAX, .no_timeouts = true};

    if (step < VOICES_MAX) {
        if (s->registered || t->voices[step].witness == WITNESS_WEBHOOK)
            receive(s, t->voices[step]);
        if (t->voices[step].witness != WITNESS_WEBHOOK)
            weigh(s, &at_once);
    } else if (step == STEP_ROW) {
        s->p = row(PUB_PROCESSING, s->minute);
        s->p.max_retries = 3;
        s->registered = true;
    } else if (s->registered && (step == STEP_GOOD || step == STEP_BAD)) {
        if (s->p.rests != RESTS_OVERRIDE)
            s->before = s->p;
        s->p.state = step == STEP_GOOD ? PUB_SUCCESS : PUB_FAILED;
        s->p.rests = RESTS_OVERRIDE;
    } else if (s->p.rests == RESTS_OVERRIDE && step == STEP_UNDO) {
        s->p = s->before;
        weigh(s, &at_once);
    } else if (step == STEP_RUN) {
        run_somehow(s);
    }
}

/* Said again without any order but that of a person's words: what must have become of it. */
static bool is_as_it_must(const struct tale *t, const struct story *s)
{
    struct evidence strongest = nothing;
    bool registered = false, received = false;
    unsigned person = STEP_UNDO;

    for (size_t i = 0; i < t->nsteps; i++) {
        unsigned step = t->steps[i];
        bool heard = step < VOICES_MAX && (registered || t->voices[step].witness == WITNESS_WEBHOOK);

        registered |= step == STEP_ROW;
        received |= heard;
        if (heard && t->voices[step].decisive && evidence_compare(&t->voices[step], &strongest) > 0)
            strongest = t->voices[step];
        if (registered && step > STEP_ROW && step <= STEP_UNDO)
            person = step;
    }
    if (person != STEP_UNDO)
        return s->p.rests == RESTS_OVERRIDE && s->p.state == (person == STEP_GOOD ? PUB_SUCCESS : PUB_FAILED);
    if (strongest.received)
        return s->p.rests == RESTS_EVIDENCE &&
               s->p.state == (strongest.decisive > 0 ? PUB_SUCCESS : PUB_FAILED) &&
               evidence_compare(&s->p.rests_on, &strongest) == 0;
    if (received) /* nothing decisive ever came: given up before the unclear one, or waiting since */
        return s->p.rests == RESTS_OPEN || (s->p.rests == RESTS_TIMEOUT && s->p.state == PUB_FAILED);
    return s->p.rests == RESTS_TIMEOUT && s->p.state == PUB_FAILED;
}

static void test_every_longer_tale_ends_in_the_same_state(void **state)
{
    uint32_t seed;

    (void)state;
    for (unsigned i = 0; i < TALES; i++) {
        struct tale t;
        struct story s = {.minute = NOW};

        dice = seed = 1 + arc4random_uniform(UINT32_MAX);
        tell(&t);
        for (size_t at = 0; at < t.nsteps; at++, s.minute += roll(90))
            take_step(&s, &t, t.steps[at]);
        s.p.can_be_asked = false;
        for (int run = 0; run < 3; run++) {
            s.minute += 60;
            reconcile(&s);
        }
        if (!is_as_it_must(&t, &s))
            fail_msg("tale %u: it ends %s, resting on %d", seed, pub_state_name(s.p.state), s.p.rests);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_rows),
        cmocka_unit_test(test_what_a_worker_holds_is_not_timed_out),
        cmocka_unit_test(test_the_guard_holds_time_outs_and_nothing_else),
        cmocka_unit_test(test_one_that_can_be_asked_is_not_failed_before_we_give_up),
        cmocka_unit_test(test_a_paused_platform_fails_nothing_and_settles_by_evidence),
        cmocka_unit_test(test_retry_before_fail),
        cmocka_unit_test(test_whoever_says_it_is_named),
        cmocka_unit_test(test_the_platform_may_wait_longer_for_time_outs_but_not_for_evidence),
        cmocka_unit_test(test_settled_rows),
        cmocka_unit_test(test_by_other_rules),
        cmocka_unit_test(test_what_a_row_rests_on),
        cmocka_unit_test(test_states_have_one_name_each),
        cmocka_unit_test(test_evidence_has_one_strict_order),
        cmocka_unit_test(test_every_order_of_events_ends_in_the_same_state),
        cmocka_unit_test(test_every_longer_tale_ends_in_the_same_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
