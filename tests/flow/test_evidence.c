/*
 * One order of evidence, wherever it is asked: the view picks the receipt that evidence_compare picks, and every
 * order in which things happen ends in the same state.
 */
#include "support/world.h"

#include "base/arena.h"
#include "base/now.h"
#include "domain/verdict.h"
#include "sql.h"

#include <stdio.h>
#include <stdlib.h>

static int up(void **state)
{
    *state = world_open();
    return 0;
}

static int reset(void **state)
{
    world_reset(*state);
    return 0;
}

static int down(void **state)
{
    world_close(*state);
    return 0;
}

/* One line "post|key|decisive|time|picked" of the query below. */
static bool read_line(struct span *text, struct span *ret_post, struct evidence *ret, bool *ret_picked)
{
    struct span line = span_cut(text, '\n'), number;

    *ret_post = span_cut(&line, '|');
    *ret = (struct evidence){.received = true, .key = span_cut(&line, '|')};
    number = span_cut(&line, '|');
    ret->decisive = number.len ? (int)strtol(number.at, NULL, 10) : 0;
    number = span_cut(&line, '|');
    ret->time_us = number.len ? strtoll(number.at, NULL, 10) : 0;
    *ret_picked = span_eq(line, SPAN("t"));
    return ret_post->len > 0;
}

/* Every pair and many triples out of all kinds of receipts: word, platform time or none, time of coming, key. */
static void add_receipts_of_all_kinds(struct world *w)
{
    world_sql(
        w, "create temporary table kind as"
           " select row_number() over () as nth, * from"
           "  unnest(array[-1, 0, 1]) as decisive, unnest(array[null, 1, 2]) as happened,"
           "  unnest(array[1, 2]) as received, unnest(array['01', '7f', '80', 'ff']) as key;"
           "create temporary table choice as"
           " select a.nth || '-' || b.nth || '-' || coalesce(c.nth, 0) as post, x.*"
           " from kind a join kind b on a.nth < b.nth"
           " left join kind c on c.nth > b.nth and (a.nth + b.nth + c.nth) %% 7 = 0"
           " cross join lateral (values (a.*), (b.*), (c.*)) as x (nth, decisive, happened, received, key)"
           " where x.nth is not null;"
           "insert into settle.publish_logs (platform, user_id_str, external_post_id)"
           " select distinct 'instagram', 'u', post from choice;"
           "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id,"
           "  decisive, happened_at, received_at, headers, body)"
           " select decode(key || lpad(to_hex(nth), 4, '0') || substr(md5(post || nth), 1, 26) || md5(post), "
           "'hex'),"
           "  'default', 'instagram', gen_random_uuid(), post, decisive,"
           "  to_timestamp(happened), to_timestamp(received), '', '' from choice");
}

static void test_the_view_picks_what_the_function_picks(void **state)
{
    struct world *w = *state;
    struct span text, post, current = SPAN("");
    struct evidence e, strongest = {.received = false};
    size_t nposts = 0, nreceipts = 0;
    bool picked;

    add_receipts_of_all_kinds(w);
    text = span_of(world_sql(w, "select r.external_post_id, encode(r.dedup_key, 'hex'), r.decisive,"
                                "  extract(epoch from coalesce(r.happened_at, r.received_at)),"
                                "  case when r.dedup_key = e.receipt_key then 't' else 'f' end"
                                " from settle.webhook_receipts r"
                                " join settle.publication_evidence e using (external_post_id)"
                                " order by r.external_post_id, r.dedup_key = e.receipt_key desc"));
    for (; read_line(&text, &post, &e, &picked); nreceipts++) {
        if (!span_eq(post, current)) { /* the picked one comes first */
            assert_true(picked);
            current = post;
            strongest = e;
            nposts++;
        } else if (evidence_compare(&e, &strongest) >= 0) {
            fail_msg("of the receipts of post %.*s the view picks a weaker one", SPAN_ARG(post));
        }
    }
    assert_true(nposts > 2500);
    assert_true(nreceipts > 3 * nposts / 2);
}

/* ---- SQL selects and counts what the function decides ---- */

enum {
    SINCE = 10,
    PATIENT = 60,
    GIVE_UP = 1440,
    GIVEN_BACK = 30
}; /* minutes: of every platform, of youtube; of what can be asked; when all leases ended */

/* All three can be asked, for a user with a token. */
enum where { USUAL, PATIENT_ONE, PAUSED_ONE };
static const char *const platforms[] = {[USUAL] = "instagram", [PATIENT_ONE] = "youtube", [PAUSED_ONE] = "x"};

/* A publication with what may matter to its verdict. */
struct sample {
    enum pub_state state;
    double age, next_retry; /* minutes since; next_retry 0: none, negative: to come */
    enum where where;
    enum { NO_RECEIPT, UNCLEAR, DECISIVE, UNREADABLE, FOREIGN } receipt;
    bool noted;     /* another tool has set webhook_received */
    bool has_token; /* its user */
    bool leased;    /* to a worker, until it was GIVEN_BACK minutes ago */
};

struct totals {
    long success, timed_out, skipped, unasked, paused, not_due;
};

static void add_sample(FILE *sql, const struct sample *m, unsigned nth)
{
    const char *platform = platforms[m->where];

    fprintf(sql,
            "insert into settle.publish_logs (platform, user_id_str, status, external_post_id, updated_at,"
            "  next_retry_at, extra_metadata) values ('%s', '%s', '%s', 'm%u', now() - interval '%f minutes',"
            "  now() - nullif(%f, 0) * interval '1 minute', '%s');",
            platform, m->has_token ? "asked" : "u", pub_state_name(m->state), nth, m->age, m->next_retry,
            m->noted ? "{\"webhook_received\": true}" : "{}");
    if (m->leased)
        fprintf(
            sql,
            "insert into settle.publish_leases (id, source, platform, worker_id, lease_until)"
            " select id, source, platform, 'worker', now() - interval '%d minutes' from settle.publish_logs"
            " where external_post_id = 'm%u' and platform = '%s' and source = 'default';",
            GIVEN_BACK, nth, platform);
    if (m->receipt != NO_RECEIPT)
        fprintf(
            sql,
            "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id,"
            "  event_status, decisive, parse_error, received_at, stored_at, headers, body)"
            "values (sha256('m%u'), '%s', '%s', gen_random_uuid(), 'm%u', 'x', %d, %s, now(),"
            "  now() - interval '2 days', '', '');",
            nth, m->receipt == FOREIGN ? "stranger" : "default", platform, nth, m->receipt == DECISIVE,
            m->receipt == UNREADABLE ? "'bad'" : "null");
}

/* By the pure function alone; of what is younger than the window nothing is said. */
static void judge(const struct sample *m, struct totals *totals)
{
    struct publication p = {
        .state = m->state,
        .rests = rests_of(m->state, SPAN_NONE),
        .updated_us = -(int64_t)(m->age * MINUTE_US),
        .next_retry_us = m->next_retry != 0 ? -(int64_t)(m->next_retry * MINUTE_US) : TIME_NONE,
        .leased_until_us = m->leased ? -GIVEN_BACK * MINUTE_US : TIME_NONE,
        .can_be_asked = m->has_token,
    };
    struct evidence e = {
        .received = m->receipt == UNCLEAR || m->receipt == DECISIVE || m->noted,
        .decisive = m->receipt == DECISIVE,
    };
    struct verdict_rules rules = {
        .evidence_before_us = -SINCE * MINUTE_US,
        .timeout_before_us = -(m->where == PATIENT_ONE ? PATIENT : SINCE) * MINUTE_US,
        .give_up_before_us = -GIVE_UP * MINUTE_US,
        .paused = m->where == PAUSED_ONE,
    };
    struct verdict v = verdict_of(&p, &e, &rules);

    if (m->age <= SINCE)
        return;
    totals->success += v.action == ACT_SUCCESS;
    totals->timed_out += v.reason == REASON_WEBHOOK_TIMEOUT;
    totals->skipped +=
        v.action == ACT_SKIP_UNCLEAR || v.action == ACT_SKIP_UNASKED || v.action == ACT_SKIP_PAUSED;
    totals->unasked += v.action == ACT_SKIP_UNASKED;
    totals->paused += v.action == ACT_SKIP_PAUSED;
    totals->not_due += v.action == ACT_NOT_DUE;
}

static unsigned add_samples(FILE *sql, struct totals *totals)
{
    static const double ages[] = {5, 45, 90, 2000}, retries[] = {0, -5, 5, 90};
    unsigned nth = 0;

    for (enum pub_state state = PUB_SCHEDULED; state <= PUB_FAILED; state++)
        for (size_t age = 0; age < countof(ages); age++)
            for (size_t retry = 0; retry < countof(retries); retry++)
                for (int receipt = NO_RECEIPT; receipt <= FOREIGN; receipt++)
                    for (int rest = 0; rest < 12; rest++, nth++) {
                        struct sample m = {state,   ages[age],    retries[retry], rest % 3,
                                           receipt, rest / 3 & 1, rest / 6,       nth / 7 % 2};

                        add_sample(sql, &m, nth);
                        judge(&m, totals);
                    }
    return nth;
}

static void test_sql_selects_and_counts_what_the_function_decides(void **state)
{
    struct world *w = *state;
    struct totals totals = {0};
    struct outcome run;
    char path[128], *text;
    size_t len;
    FILE *file = open_memstream(&text, &len);
    json_t *why;

    assert_int_equal(add_samples(file, &totals), 6 * 4 * 4 * 5 * 12);
    fclose(file);
    world_sql(w, "%s", text);
    free(text);
    world_sql(
        w,
        "insert into settle.platform_connections (user_id_str, platform, account, token, key_id, connected)"
        " select 'asked', platform, 'default', sha512('t'), repeat('a', 16), true from unnest('{instagram, "
        "youtube, x}'::text[]) "
        "as platform;"
        "insert into settle.platform_connections (user_id_str, platform, account, token, key_id, connected)"
        " values ('u', 'instagram', 'default', sha512('t'), repeat('a', 16), false),"
        "  ('u', 'instagram', 'another', sha512('t'), repeat('a', 16), true),"
        "  ('u', 'youtube', 'default', null, null, true);"
        "insert into settle.platform_pauses (platform, actor, reason) values ('x', 'test', 'test')");
    snprintf(path, sizeof(path), "%s/patient.yaml", w->dir);
    file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "reconcile:\n  timeout_minutes:\n    - platform: youtube\n      minutes: %d\n", PATIENT);
    fclose(file);

    run = world_reconcile(w, "--config", path, "--dry-run", "--force", NULL);
    assert_int_equal(run.status, 0);
    assert_true(totals.success > 0 && totals.timed_out > 0 && totals.unasked > 0 && totals.paused > 0 &&
                totals.not_due > 0);
    assert_int_equal(json_integer_value(json_object_get(run.json, "marked_success")), totals.success);
    assert_int_equal(json_integer_value(json_object_get(run.json, "timed_out")), totals.timed_out);
    assert_int_equal(json_integer_value(json_object_get(run.json, "skipped")), totals.skipped);
    assert_int_equal(json_integer_value(json_object_get(run.json, "not_due")), totals.not_due);
    why = json_object_get(run.json, "skipped_because");
    assert_int_equal(json_integer_value(json_object_get(why, "not_asked")), totals.unasked);
    assert_int_equal(json_integer_value(json_object_get(why, "platform_disabled")), totals.paused);

    world_sql(w, "prepare timeout_count as %s", sql_texts[SQL_TIMEOUT_COUNT].text);
    assert_int_equal(
        world_count(w,
                    "create temporary table counted (n, timed_out, updated_at, id) as execute timeout_count("
                    "  now() - interval '%d minutes', null, null, null, 1000000, '{youtube, x, instagram}',"
                    "  array[now() - interval '%d minutes', 'epoch', now() - interval '%d minutes'],"
                    "  array_fill(now() - interval '%d minutes', array[3]));"
                    "select timed_out from counted",
                    SINCE, PATIENT, SINCE, GIVE_UP),
        totals.timed_out);
}

/* ---- every order of events, against the real thing ---- */

enum { NEVENTS = 6, NORDERS = 720 };

/* The nth order of 0 .. NEVENTS-1. */
static void order_of(unsigned nth, unsigned ret[NEVENTS])
{
    unsigned left[NEVENTS], nleft = NEVENTS;

    for (unsigned i = 0; i < NEVENTS; i++)
        left[i] = i;
    for (unsigned i = 0; nleft > 0; i++) {
        unsigned at = nth % nleft;

        ret[i] = left[at];
        nth /= nleft--;
        memmove(&left[at], &left[at + 1], (nleft - at) * sizeof(left[0]));
    }
}

/* What the event is, for the post of order nth: 0 the row, 1 a webhook, 2 its duplicate, 3 a stronger one that says
 * the opposite, 4 a late unclear one, 5 a still stronger one that agrees with that and brings a URL. Each is one of VALUES. */
static void happen(FILE *rows, FILE *receipts, unsigned nth, unsigned event)
{
    static const struct {
        char key;
        const char *status;
        int decisive, minutes_ago;
        const char *url;
    } webhooks[NEVENTS] = {
        [1] = {'1', "failed",     -1, 9, ""                        },
        [2] = {'1', "failed",     -1, 9, ""                        },
        [3] = {'2', "published",  1,  5, ""                        },
        [4] = {'3', "processing", 0,  1, ""                        },
        [5] = {'4', "published",  1,  4, "https://example.com/last"},
    };

    if (event == 0)
        fprintf(rows, ", ('o%u')", nth);
    else
        fprintf(receipts, ", ('o%u', '%c', '%s', %d, %d, '%s')", nth, webhooks[event].key,
                webhooks[event].status, webhooks[event].decisive, webhooks[event].minutes_ago,
                webhooks[event].url);
}

static void happen_to_all(struct world *w, unsigned step)
{
    char *row_text, *receipt_text;
    size_t len;
    FILE *rows = open_memstream(&row_text, &len), *receipts = open_memstream(&receipt_text, &len);

    fputs("(null)", rows);
    fputs("(null, null, null, null::smallint, null::int, null)", receipts);
    for (unsigned nth = 0; nth < NORDERS; nth++) {
        unsigned order[NEVENTS];

        order_of(nth, order);
        happen(rows, receipts, nth, order[step]);
    }
    fclose(rows);
    fclose(receipts);
    world_sql(
        w,
        "insert into settle.publish_logs (platform, user_id_str, status, external_post_id, updated_at)"
        " select 'instagram', 'u', 'processing', post, now() - interval '20 minutes'"
        " from (values %s) as happened (post) where post is not null;"
        "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id,"
        "  event_status, decisive, happened_at, received_at, url, headers, body)"
        " select decode(key || substr(md5(post) || md5(post), 2), 'hex'), 'default', 'instagram',"
        "  gen_random_uuid(), post, status, decisive,"
        "  timestamptz '2026-01-01 12:00:00Z' - make_interval(mins => ago), now(), nullif(url, ''), '', ''"
        " from (values %s) as happened (post, key, status, decisive, ago, url) where post is not null"
        " on conflict do nothing",
        row_text, receipt_text);
    free(row_text);
    free(receipt_text);
}

/* Plays all orders at once; a run comes before each step whose bit is set. */
static void play(struct world *w, unsigned runs)
{
    for (unsigned step = 0; step < NEVENTS; step++) {
        if (runs & 1U << step)
            assert_int_equal(world_reconcile(w, "--force", "--evidence-age-minutes", "0", NULL).status, 0);
        happen_to_all(w, step);
    }
    assert_int_equal(world_reconcile(w, "--force", NULL).status, 0);
    assert_int_equal(world_reconcile(w, "--force", NULL).status, 0);
}

static void test_every_order_of_events_ends_in_the_same_state(void **state)
{
    struct world *w = *state;

    /* A run before each, some, or none of the steps after the first. */
    for (unsigned runs = 0; runs < 1U << NEVENTS; runs += 6) {
        world_reset(w);
        play(w, runs);
        assert_string_equal(world_sql(w,
                                      "select status, count(*), count(error_message),"
                                      "  count(*) filter (where published_at = '2026-01-01 11:56:00Z'),"
                                      "  count(*) filter (where external_url = 'https://example.com/last'),"
                                      "  count(*) filter (where extra_metadata ->> 'evidence_key' like '4%%')"
                                      " from settle.publish_logs group by 1"),
                            "success|720|0|720|720|720");
    }
}

/* ---- longer tales, with workers and persons, against the real thing ---- */

enum { TALES = 200, TALES_LONG = 2000, VOICES = 4, STEPS = 16, STEP_MINUTES = 2 };

/* What comes at a step: a voice, or ... */
enum { STEP_NOTHING = VOICES, STEP_ROW, STEP_GOOD, STEP_BAD, STEP_UNDO };

/* A webhook, or a worker's result, which is told of a row alone. */
struct voice {
    bool is_worker, is_good;
    unsigned minute;
};

struct tale {
    struct voice voices[VOICES];
    unsigned steps[STEPS];
};

static unsigned free_step(const struct tale *t, unsigned from)
{
    unsigned step;

    do
        step = from + arc4random_uniform(STEPS - from);
    while (t->steps[step] != STEP_NOTHING);
    return step;
}

/* Each voice once or twice, the row somewhere in the first quarter, a person's word or two, perhaps taken back. */
static struct tale tell(void)
{
    struct tale t;
    unsigned nvoices = arc4random_uniform(VOICES + 1), row = arc4random_uniform(STEPS / 4);

    for (unsigned i = 0; i < STEPS; i++)
        t.steps[i] = STEP_NOTHING;
    t.steps[row] = STEP_ROW;
    for (unsigned i = 0; i < nvoices; i++) {
        t.voices[i] = (struct voice){arc4random_uniform(2), arc4random_uniform(2), arc4random_uniform(3)};
        for (unsigned times = 1 + arc4random_uniform(2); times > 0; times--)
            t.steps[free_step(&t, t.voices[i].is_worker ? row : 0)] = i;
    }
    for (unsigned persons = arc4random_uniform(4); persons > 1; persons--)
        t.steps[free_step(&t, row)] = STEP_GOOD + arc4random_uniform(STEP_UNDO - STEP_GOOD + 1);
    return t;
}

/* Its key or id: among those of one time the later voice is the stronger. */
static char first_digit(unsigned voice)
{
    return (char)('1' + voice);
}

static void tell_voice(FILE *sql, const struct voice *v, unsigned voice, unsigned nth)
{
    if (v->is_worker)
        fprintf(
            sql,
            "execute log_result('00000000-0000-7000-8000-%012u', 'worker-%u', '%s', 't%u', null, null, true,"
            "  timestamptz '2026-01-01' + interval '%u minutes', 'test', '%c0000000-0000-7000-8000-%012u');",
            nth, voice, v->is_good ? "success" : "failed", nth, v->minute, first_digit(voice), nth);
    else
        fprintf(
            sql,
            "insert into settle.webhook_receipts (dedup_key, source, platform, delivery_id, external_post_id,"
            "  event_status, decisive, happened_at, received_at, headers, body)"
            "values (decode('%c' || substr(md5('t%u') || md5('t%u'), 2), 'hex'), 'default', 'instagram',"
            "  gen_random_uuid(), 't%u', '%s', %d, timestamptz '2026-01-01' + interval '%u minutes', now(), "
            "'', '')"
            "on conflict do nothing;",
            first_digit(voice), nth, nth, nth, v->is_good ? "published" : "failed", v->is_good ? 1 : -1,
            v->minute);
}

/* Of a row that was just sent. */
static void tell_step(FILE *sql, const struct tale *t, unsigned step, unsigned nth)
{
    if (step < VOICES)
        tell_voice(sql, &t->voices[step], step, nth);
    else if (step == STEP_ROW)
        fprintf(sql,
                "insert into settle.publish_logs (id, platform, user_id_str, status, external_post_id)"
                " values ('00000000-0000-7000-8000-%012u', 'instagram', 'u', 'processing', 't%u');",
                nth, nth);
    else if (step == STEP_GOOD || step == STEP_BAD)
        fprintf(
            sql,
            "execute publication_override('00000000-0000-7000-8000-%012u', '%s', 'test', now(), 'test', null,"
            "  gen_random_uuid());",
            nth, step == STEP_GOOD ? "success" : "failed");
}

/* By the program, which then weighs what has come meanwhile. Where no person's word stands it says so. */
static void take_back(struct world *w, unsigned nth)
{
    char id[40];

    snprintf(id, sizeof(id), "00000000-0000-7000-8000-%012u", nth);
    world_wait(w, world_spawn(w, "settle-reconciler", "override", id, "none", "--reason", "test", NULL));
}

/* So much time passes for all that stands in the tables; a webhook is looked at again for half a minute only. */
static void pass(struct world *w, unsigned minutes)
{
    world_sql(w,
              "update settle.publish_logs set updated_at = updated_at - interval '%u minutes';"
              "update settle.webhook_receipts set stored_at = stored_at - interval '%u minutes';"
              "update settle.job_fences set watermark = watermark - interval '%u minutes'",
              minutes, minutes, minutes);
}

static void take_steps(struct world *w, const struct tale *tales, unsigned ntales, unsigned at)
{
    char *text;
    size_t len;
    FILE *sql = open_memstream(&text, &len);

    for (unsigned nth = 0; nth < ntales; nth++)
        tell_step(sql, &tales[nth], tales[nth].steps[at], nth);
    fclose(sql);
    world_sql(w, "%s", text);
    free(text);
    for (unsigned nth = 0; nth < ntales; nth++)
        if (tales[nth].steps[at] == STEP_UNDO)
            take_back(w, nth);
}

/* Whatever the order was: the state, and what it rests on. */
static void must_be(const struct tale *t, char *ret, size_t size)
{
    const struct voice *strongest = NULL;
    unsigned person = STEP_UNDO;

    for (unsigned i = 0; i < STEPS; i++)
        if (t->steps[i] >= STEP_GOOD)
            person = t->steps[i];
    for (unsigned voice = 0; voice < VOICES; voice++)
        for (unsigned i = 0; i < STEPS; i++)
            if (t->steps[i] == voice && (!strongest || t->voices[voice].minute >= strongest->minute))
                strongest = &t->voices[voice];
    if (person != STEP_UNDO)
        snprintf(ret, size, "%s manual_override", person == STEP_GOOD ? "success" : "failed");
    else if (strongest)
        snprintf(ret, size, "%s %c", strongest->is_good ? "success" : "failed",
                 first_digit((unsigned)(strongest - t->voices)));
    else
        snprintf(ret, size, "failed webhook_timeout");
}

static void show_tale(const struct tale *t)
{
    for (unsigned i = 0; i < VOICES; i++)
        print_message("  voice %u: %s says %s at %u\n", i, t->voices[i].is_worker ? "a worker" : "a webhook",
                      t->voices[i].is_good ? "success" : "failed", t->voices[i].minute);
    for (unsigned i = 0; i < STEPS; i++)
        print_message("%3u", t->steps[i]);
    print_message("  (%u: the row, then a person's success, failed, undo)\n", STEP_ROW);
}

static void test_every_longer_tale_ends_in_the_same_state(void **state)
{
    struct world *w = *state;
    unsigned ntales = getenv("SETTLE_TEST_LONG") ? TALES_LONG : TALES; /* of ops/test --long */
    struct tale *tales = calloc(ntales, sizeof(*tales));

    for (unsigned nth = 0; nth < ntales; nth++)
        tales[nth] = tell();
    world_sql(w, "deallocate all");
    world_sql(w, "prepare log_result as %s", sql_texts[SQL_LOG_RESULT].text);
    world_sql(w, "prepare publication_override as %s", sql_texts[SQL_PUBLICATION_OVERRIDE].text);
    for (unsigned at = 0; at < STEPS; at++) {
        take_steps(w, tales, ntales, at);
        if (arc4random_uniform(2))
            assert_int_equal(world_reconcile(w, "--force", NULL).status, 0);
        pass(w, STEP_MINUTES);
    }
    for (unsigned run = 0; run < 2; run++) {
        pass(w, SINCE + 1);
        assert_int_equal(world_reconcile(w, "--force", NULL).status, 0);
    }
    for (unsigned nth = 0; nth < ntales; nth++) {
        char want[64];
        const char *found = world_sql(w,
                                      "select status || ' ' || case when extra_metadata ? 'evidence_key'"
                                      "   then left(extra_metadata ->> 'evidence_key', 1)"
                                      "   else extra_metadata ->> 'reconciliation_reason' end"
                                      " from settle.publish_logs where external_post_id = 't%u'",
                                      nth);

        must_be(&tales[nth], want, sizeof(want));
        if (strcmp(found, want) != 0) {
            show_tale(&tales[nth]);
            fail_msg("it ends in %s, not in %s", found, want);
        }
    }
    free(tales);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_the_view_picks_what_the_function_picks, reset),
        cmocka_unit_test_setup(test_sql_selects_and_counts_what_the_function_decides, reset),
        cmocka_unit_test(test_every_order_of_events_ends_in_the_same_state),
        cmocka_unit_test_setup(test_every_longer_tale_ends_in_the_same_state, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
