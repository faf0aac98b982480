#include "domain/breaker.h"

#include "base/attr.h"

static void go_to(struct breaker *b, enum breaker_state state, int64_t opened_us);
static void give_back(struct breaker *b, int64_t until_us);
static void drop_expired(struct breaker *b, const struct breaker_options *o, int64_t now_us);

static const char *const names[BREAKER_STATES] = {"closed", "open", "half_open"};

const char *breaker_state_name(enum breaker_state state)
{
    return names[state];
}

bool breaker_state_parse(struct span word, enum breaker_state *ret)
{
    for (int i = 0; i < BREAKER_STATES; i++)
        if (span_eq(word, span_of(names[i]))) {
            *ret = (enum breaker_state)i;
            return true;
        }
    return false;
}

enum missing breaker_take(struct breaker *b, const struct breaker_options *o, int64_t now_us,
                          struct breaker_pass *ret_pass)
{
    int64_t until_us = TIME_NONE;
    unsigned most = o->half_open_probes < BREAKER_PROBES_MAX ? o->half_open_probes : BREAKER_PROBES_MAX;

    if (b->state == BREAKER_OPEN) {
        if (b->opened_us <= now_us && now_us < b->opened_us + o->open_cooldown_s * SECOND_US)
            return MISSING_CIRCUIT_OPEN;
        go_to(b, BREAKER_HALF_OPEN, b->opened_us);
    }
    if (b->state == BREAKER_HALF_OPEN) {
        drop_expired(b, o, now_us);
        if (b->nprobes >= most)
            return MISSING_HALF_OPEN_PROBE_EXHAUSTED;
        until_us = now_us + o->permit_ms * INT64_C(1000);
        b->probes_until_us[b->nprobes++] = until_us;
    }
    *ret_pass = (struct breaker_pass){b->era, until_us};
    return MISSING_NONE;
}

void breaker_note(struct breaker *b, const struct breaker_options *o, const struct breaker_pass *pass,
                  enum breaker_word word, int64_t now_us)
{
    if (pass->era != b->era)
        return;
    if (word == BREAKER_NEITHER) {
        give_back(b, pass->until_us);
        return;
    }
    if (word == BREAKER_SUCCESS) {
        b->failures = 0;
        if (b->state == BREAKER_HALF_OPEN)
            go_to(b, BREAKER_CLOSED, TIME_NONE);
        return;
    }
    b->failures++;
    if (b->state == BREAKER_HALF_OPEN || b->failures >= o->failure_threshold)
        go_to(b, BREAKER_OPEN, now_us);
}

/* One that is over may be gone, and its place another's by now: that one is still on its way. */
static void give_back(struct breaker *b, int64_t until_us)
{
    unsigned at = 0;

    while (at < b->nprobes && b->probes_until_us[at] != until_us)
        at++;
    if (at < b->nprobes)
        memmove(b->probes_until_us + at, b->probes_until_us + at + 1,
                (--b->nprobes - at) * sizeof(b->probes_until_us[0]));
}

static void go_to(struct breaker *b, enum breaker_state state, int64_t opened_us)
{
    b->state = state;
    b->opened_us = opened_us;
    b->nprobes = 0;
    b->era++;
}

/* Twice as long as its own: another runner may have given more. */
static void drop_expired(struct breaker *b, const struct breaker_options *o, int64_t now_us)
{
    int64_t most_us = now_us + 2 * o->permit_ms * INT64_C(1000);
    unsigned kept = 0;

    for (unsigned i = 0; i < b->nprobes; i++)
        if (b->probes_until_us[i] > now_us && b->probes_until_us[i] <= most_us)
            b->probes_until_us[kept++] = b->probes_until_us[i];
    b->nprobes = kept;
}

bool breaker_eq(const struct breaker *a, const struct breaker *b)
{
    return a->state == b->state && a->failures == b->failures && a->opened_us == b->opened_us &&
           a->era == b->era && a->nprobes == b->nprobes &&
           memcmp(a->probes_until_us, b->probes_until_us, a->nprobes * sizeof(a->probes_until_us[0])) == 0;
}
