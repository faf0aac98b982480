#include "support/test.h"

#include "base/now.h"
#include "domain/breaker.h"

#include <stdlib.h>

static const struct breaker_options usual = {
    .failure_threshold = 5, .open_cooldown_s = 300, .half_open_probes = 3, .permit_ms = 60000};

/* What a story is played on. */
struct stage {
    struct breaker b;
    const struct breaker_options *o;
    int64_t now_us;
    struct breaker_pass passes[256];
    size_t ntaken;
};

static void take(struct stage *s, enum missing want)
{
    struct breaker before = s->b;
    struct breaker_pass pass;

    assert_int_equal(breaker_take(&s->b, s->o, s->now_us, &pass), want);
    assert_true(want != MISSING_CIRCUIT_OPEN || breaker_eq(&s->b, &before)); /* nothing to write */
    if (want == MISSING_NONE)
        s->passes[s->ntaken++] = pass;
}

/* "go": may; "open", "exhausted": may not; "ok", "bad", "nothing": what came back to the newest permit, or with ":N" to the
 * N-th; "+N": seconds pass. */
static void play(struct stage *s, const char *story)
{
    struct span rest = span_of(story);

    while (rest.at) {
        struct span word = span_cut(&rest, ' '), number = word;
        struct span what = span_cut(&number, ':');
        const struct breaker_pass *pass =
            &s->passes[s->ntaken ? (number.at ? (size_t)atoi(number.at) : s->ntaken) - 1 : 0];
        if (word.at[0] == '+')
            s->now_us += atoi(word.at) * SECOND_US;
        else if (span_eq(what, SPAN("go")))
            take(s, MISSING_NONE);
        else if (span_eq(what, SPAN("open")))
            take(s, MISSING_CIRCUIT_OPEN);
        else if (span_eq(what, SPAN("exhausted")))
            take(s, MISSING_HALF_OPEN_PROBE_EXHAUSTED);
        else if (span_eq(what, SPAN("ok")))
            breaker_note(&s->b, s->o, pass, BREAKER_SUCCESS, s->now_us);
        else if (span_eq(what, SPAN("bad")))
            breaker_note(&s->b, s->o, pass, BREAKER_FAILURE, s->now_us);
        else if (span_eq(what, SPAN("nothing")))
            breaker_note(&s->b, s->o, pass, BREAKER_NEITHER, s->now_us);
        else
            fail_msg("no such word: %.*s", SPAN_ARG(what));
    }
}

#define DAY_US   (24 * 3600 * SECOND_US)
#define FIVE_BAD "go bad go bad go bad go bad go bad"

static void stories(void **state)
{
    static const struct {
        const char *why, *story;
        enum breaker_state state;
        unsigned failures;
        int64_t era;
    } cases[] = {
        {"nothing happened",                        "go",                                                                         BREAKER_CLOSED,    0, 0},
        {"four in a row are not enough",            "go bad go bad go bad go bad go",                                             BREAKER_CLOSED,    4, 0},
        {"five open it",                            FIVE_BAD " open open",                                                        BREAKER_OPEN,      5, 1},
        {"a success begins the row anew",           "go bad go bad go bad go bad go ok go bad go bad go bad go bad go",
         BREAKER_CLOSED,                                                                                                                             4, 0},
        {"rate limits count neither way",           "go bad go bad go nothing go bad go bad go nothing go bad open",
         BREAKER_OPEN,                                                                                                                               5, 1},
        {"and open nothing",                        "go nothing go nothing go nothing go nothing go nothing go nothing go",
         BREAKER_CLOSED,                                                                                                                             0, 0},
        {"it refuses until the last second",        FIVE_BAD " +299 open",                                                        BREAKER_OPEN,      5, 1},
        {"then three may try",                      FIVE_BAD " +300 go go go exhausted exhausted",                                BREAKER_HALF_OPEN, 5, 2},
        {"one success closes it, counters 0",       FIVE_BAD " +300 go go ok go go go go",                                        BREAKER_CLOSED,    0, 3},
        {"one failure opens it anew",               FIVE_BAD " +300 go bad open +299 open +1 go",                                 BREAKER_HALF_OPEN, 6, 4},
        {"counted from the new time",               FIVE_BAD " +400 go +10 bad +299 open",                                        BREAKER_OPEN,      6, 3},
        {"a probe that is rate limited is no word", FIVE_BAD " +300 go go go nothing go exhausted",
         BREAKER_HALF_OPEN,                                                                                                                          5, 2},
        {"however many of them",
         FIVE_BAD " +300 go nothing go nothing go nothing go nothing go go go exhausted",                                         BREAKER_HALF_OPEN,
         5,                                                                                                                                             2},
        {"it gives back no other time's permit",    "go " FIVE_BAD " +300 go go go nothing:1 exhausted",
         BREAKER_HALF_OPEN,                                                                                                                          5, 2},
        {"those that are over are no more",         FIVE_BAD " +300 go +30 go go +30 nothing go go exhausted",
         BREAKER_HALF_OPEN,                                                                                                                          5, 2},
        {"one that is over gives back no other's",  FIVE_BAD " +300 go +30 go go +30 go nothing:6 exhausted",
         BREAKER_HALF_OPEN,                                                                                                                          5, 2},
        {"nor before anybody has noticed",          FIVE_BAD " +300 go +30 go go +30 nothing:6 go exhausted",
         BREAKER_HALF_OPEN,                                                                                                                          5, 2},
        {"permits that nobody reports are over",
         FIVE_BAD " +300 go go go +59 exhausted +1 go go go exhausted",                                                           BREAKER_HALF_OPEN, 5, 2},
        {"each in its own time",                    FIVE_BAD " +300 go +30 go go exhausted +30 go exhausted +30 go go exhausted",
         BREAKER_HALF_OPEN,                                                                                                                          5, 2},
        {"a late success of a probe still closes",  FIVE_BAD " +300 go +100 ok go",                                               BREAKER_CLOSED,    0, 3},
        {"a straggler's failure opens nothing",     "go " FIVE_BAD " +300 go bad:1 go",                                           BREAKER_HALF_OPEN, 5, 2},
        {"a straggler's success closes nothing",    "go " FIVE_BAD " ok:1 open +300 go ok:1 go",
         BREAKER_HALF_OPEN,                                                                                                                          5, 2},
        {"nor in the closed time after",            "go " FIVE_BAD " +300 go ok bad:1 bad:2 bad:3 bad:4 bad:5 go",
         BREAKER_CLOSED,                                                                                                                             0, 3},
        {"a probe of the last half-open time",      FIVE_BAD " +300 go go bad open +300 go ok:6 go go exhausted",
         BREAKER_HALF_OPEN,                                                                                                                          6, 4},
        {"failures at once open it once",
         "go go go go go go go bad:1 bad:2 bad:3 bad:4 bad:5 bad:6 bad:7 open",                                                   BREAKER_OPEN,      5, 1},
        {"open for a year",                         FIVE_BAD " +31536000 go ok go",                                               BREAKER_CLOSED,    0, 3},
    };

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct stage s = {.b = BREAKER_NEW, .o = &usual, .now_us = INT64_C(1768473900000000)};
        print_message("%s\n", cases[i].why);
        play(&s, cases[i].story);
        assert_string_equal(breaker_state_name(s.b.state), breaker_state_name(cases[i].state));
        assert_int_equal(s.b.failures, cases[i].failures);
        assert_int_equal(s.b.era, cases[i].era);
        assert_true((s.b.opened_us == TIME_NONE) == (s.b.state == BREAKER_CLOSED));
    }
}

static void options(void **state)
{
    static const struct breaker_options one = {
        .failure_threshold = 1, .open_cooldown_s = 1, .half_open_probes = 1, .permit_ms = 1000};
    static const struct breaker_options at_once = {
        .failure_threshold = 2, .open_cooldown_s = 0, .half_open_probes = 2, .permit_ms = 1000};
    static const struct breaker_options many = {.failure_threshold = 1,
                                                .open_cooldown_s = 0,
                                                .half_open_probes = BREAKER_PROBES_MAX + 50,
                                                .permit_ms = 1000};
    struct stage s = {.b = BREAKER_NEW, .o = &one, .now_us = SECOND_US};

    (void)state;
    play(&s, "go bad open +1 go exhausted +1 go bad open +1 go ok go");
    s = (struct stage){.b = BREAKER_NEW, .o = &at_once, .now_us = SECOND_US};
    play(&s, "go bad go bad go go exhausted bad go go exhausted");
    s = (struct stage){.b = BREAKER_NEW, .o = &many, .now_us = SECOND_US};
    play(&s, "go bad");
    for (size_t i = 0; i < BREAKER_PROBES_MAX; i++)
        play(&s, "go");
    play(&s, "exhausted"); /* whatever the settings say, there is room for no more */

    /* Settings may change under a breaker that is open: the new ones hold at once. */
    s = (struct stage){.b = BREAKER_NEW, .o = &usual, .now_us = SECOND_US};
    play(&s, FIVE_BAD " +10 open");
    s.o = &one;
    play(&s, "go exhausted");
    s.o = &usual;
    play(&s, "go go exhausted");
}

/* Whatever happens in whatever order: no more than so many probes at one time, no one before the cool-down is over, and a
 * change of state is a change of era. */
static void any_order(void **state)
{
    unsigned seed = 20260115;

    (void)state;
    for (size_t round = 0; round < 2000; round++) {
        struct stage s = {.b = BREAKER_NEW, .o = &usual, .now_us = SECOND_US};
        for (size_t step = 0; step < 200; step++) {
            struct breaker before = s.b;
            enum missing why = MISSING_NONE;
            struct breaker_pass pass;
            unsigned choice = (unsigned)rand_r(&seed) % 8;
            if (choice < 3) {
                why = breaker_take(&s.b, s.o, s.now_us, &pass);
                if (why == MISSING_NONE)
                    s.passes[s.ntaken++ % countof(s.passes)] = pass;
                assert_true((why == MISSING_CIRCUIT_OPEN) ==
                            (before.state == BREAKER_OPEN && s.now_us < before.opened_us + 300 * SECOND_US));
            } else if (choice < 7 && s.ntaken > 0) {
                size_t taken = s.ntaken < countof(s.passes) ? s.ntaken : countof(s.passes);
                breaker_note(&s.b, s.o, &s.passes[(unsigned)rand_r(&seed) % taken],
                             choice == 3   ? BREAKER_SUCCESS
                             : choice == 6 ? BREAKER_NEITHER
                                           : BREAKER_FAILURE,
                             s.now_us);
            } else {
                s.now_us += rand_r(&seed) % 200 * SECOND_US;
            }
            assert_int_equal(s.b.state != before.state, s.b.era == before.era + 1);
            assert_in_range(s.b.era - before.era, 0, 1);
            assert_in_range(s.b.nprobes, 0, 3);
            assert_true(s.b.state != BREAKER_CLOSED || s.b.failures < 5);
            assert_true(s.b.state == BREAKER_HALF_OPEN || s.b.nprobes == 0);
        }
    }
}

/* The database's clock was ahead when it was written, and was set back: nothing lasts longer for it. */
static void a_clock_that_went_back(void **state)
{
    struct stage s = {.b = BREAKER_NEW, .o = &usual, .now_us = DAY_US};

    (void)state;
    play(&s, FIVE_BAD " open");
    s.now_us = 0;
    play(&s, "go go go exhausted");
    s.now_us = -DAY_US;
    play(&s, "go go go exhausted +61 go ok:6 go");
    assert_int_equal(s.b.state, BREAKER_CLOSED);
}

static void words(void **state)
{
    static const char *const names[] = {"circuit_open",    "half_open_probe_exhausted",
                                        "adapter_missing", "invalid_adapter_return",
                                        "rate_limited",    "auth_error",
                                        "fetch_error",     "timeout",
                                        "no_metrics",      "platform_disabled"};
    enum breaker_state s;
    enum missing m;

    (void)state;
    assert_int_equal(countof(names), MISSING_REASONS - 1);
    for (size_t i = 0; i < countof(names); i++) {
        assert_true(missing_parse(span_of(names[i]), &m));
        assert_int_equal(m, i + 1);
        assert_string_equal(missing_name(m), names[i]);
    }
    assert_null(missing_name(MISSING_NONE));
    assert_false(missing_parse(SPAN(""), &m) || missing_parse(SPAN("open"), &m));
    assert_true(breaker_state_parse(SPAN("half_open"), &s) && s == BREAKER_HALF_OPEN);
    assert_false(breaker_state_parse(SPAN("HALF_OPEN"), &s));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stories),   cmocka_unit_test(options),
        cmocka_unit_test(any_order), cmocka_unit_test(a_clock_that_went_back),
        cmocka_unit_test(words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
