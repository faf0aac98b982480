/* explain: why a publication is in its state, and what would change it, in words. Reads only. What the next run would do is
 * asked of the same function that will decide then. */
#include "command.h"
#include "facts.h"
#include "page.h"

#include "base/log.h"
#include "base/now.h"

#include <stdio.h>
#include <sysexits.h>

struct job {
    struct session_options common;
    struct session session;
    struct deadlines deadlines;
    const char *id_text;
    struct id id;
    struct page page;
    json_t *facts;
};

static int run(int argc, char **argv);
static error_t parse_option(int key, char *value, struct argp_state *state);
static enum status look(struct job *j, struct err *err);
static enum status read_facts(struct job *j, struct err *err);
static const char *next_step(const struct job *j, char *room, size_t size);
static const char *waits_from(const struct row *r, const struct patience *patience);
static const char *change(const struct job *j);
static void print(const struct job *j);
static void print_said(const struct job *j);
static const char *weight(const json_t *one);
static void print_hindrances(const struct job *j);
static void print_asking(const struct job *j);
static const char *reason_in_words(const char *reason);

const struct command explain_command = {
    "explain", "say why a publication is in its state and what would change it", run};

static const struct argp argp = {
    .parser = parse_option,
    .children = session_children,
    .args_doc = "ID",
    .doc = "Says what publication ID rests on, what was said of it, what the next run would do and what "
           "would change that. "
           "Changes nothing.\vExit codes: 0 done, 65 there is no such publication, 69 Postgres is down, 78 "
           "settings.",
};

static int run(int argc, char **argv)
{
    struct job j = {.id_text = NULL};
    struct err err = {0};
    char next[256];

    session_options_init(&j.common);
    argp_parse(&argp, argc, argv, 0, NULL, &j);
    j.common.dry_run = true; /* a connection that cannot write */
    if (session_open(&j.session, "explain", &j.common, NULL, 0, &err) == OK)
        (void)!look(&j, &err);
    if (err.code) {
        fprintf(stderr, "settle-reconciler explain: %s\n", err.text);
    } else if (j.common.json) {
        json_object_set_new(j.facts, "next", json_string(next_step(&j, next, sizeof(next))));
        json_object_set_new(j.facts, "would_change", json_string(change(&j)));
        json_dumpf(j.facts, stdout, JSON_COMPACT);
        puts("");
    } else {
        print(&j);
    }
    json_decref(j.facts);
    page_release(&j.page);
    deadlines_free(&j.deadlines);
    session_close(&j.session);
    return exit_code(&err);
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct job *j = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &j->common;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0)
            return ARGP_ERR_UNKNOWN;
        if (!id_parse(span_of(value), &j->id))
            argp_error(state, "\"%s\" is no publication's id: want a UUID", value);
        j->id_text = value;
        return 0;
    case ARGP_KEY_END:
        if (!j->id_text)
            argp_error(state, "want the id of a publication");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static enum status look(struct job *j, struct err *err)
{
    struct session *s = &j->session;
    const struct span any_source = SPAN_NONE;
    struct span *names;
    struct pg_args args;
    size_t n;

    if (deadlines_read(&j->deadlines, s, err) || read_facts(j, err))
        return err->code;
    names = deadlines_askable(&j->deadlines, true, s->arena, &n);
    pg_args_init(&args, s->arena);
    pg_arg_uuids(&args, &j->id, 1);
    pg_arg_texts(&args, &any_source, 1);
    pg_arg_texts(&args, names, n);
    pg_arg_bool(&args, false); /* as the walk does */
    if (page_read(&j->page, s, SQL_PUBLICATION_READ, &args, err))
        return err->code;
    j->deadlines.timeouts_left = INT64_MAX; /* the guard looks at all rows, not at one */
    if (j->page.nrows == 0)
        return err_cause(err, REJECTED, "not_found", "there is no publication with this id any more");
    page_decide(&j->page, s, &j->deadlines);
    return OK;
}

static enum status read_facts(struct job *j, struct err *err)
{
    struct session *s = &j->session;
    struct pg_args args;

    pg_args_init(&args, s->arena);
    pg_arg_uuid(&args, &j->id);
    if (facts_read(s, SQL_PUBLICATION_EXPLAIN, &args, &j->facts, err))
        return err->code;
    return j->facts ? OK : err_cause(err, REJECTED, "not_found", "there is no publication with this id");
}

/* What a run would do with it now. */
static const char *next_step(const struct job *j, char *room, size_t size)
{
    const struct row *r = &j->page.rows[0];
    struct patience patience = patience_with(&j->deadlines, r->platform);

    switch (r->verdict.action) {
    case ACT_SUCCESS:
    case ACT_FAILED:
        snprintf(room, size, "the next run marks it %s (%s)",
                 r->verdict.action == ACT_SUCCESS ? "success" : "failed", reason_name(r->verdict.reason));
        break;
    case ACT_RETRY:
        snprintf(room, size, "the next run sends it back to the publishing workers (auto_retry)");
        break;
    case ACT_SKIP_UNCLEAR:
        snprintf(room, size, "runs leave it: a webhook came and does not say how it ended");
        break;
    case ACT_SKIP_UNASKED:
        snprintf(room, size, "runs ask the platform, and give up %u minutes after %s",
                 patience.give_up_minutes, waits_from(r, &patience));
        break;
    case ACT_SKIP_PAUSED:
        snprintf(room, size, "runs leave it while the platform is paused");
        break;
    case ACT_NOT_DUE:
        snprintf(room, size, "runs leave it until %u minutes after %s", patience.minutes,
                 waits_from(r, &patience));
        break;
    case ACT_HELD_BY_GUARD:
    case ACT_NONE:
        snprintf(room, size, "%s",
                 r->publication.rests == RESTS_ELSEWHERE && r->publication.state >= PUB_SUCCESS
                     ? "runs leave it: another tool has settled it"
                     : "runs leave it as it is");
        break;
    }
    return room;
}

/* The latest of the times before which nothing was to be had. */
static const char *waits_from(const struct row *r, const struct patience *patience)
{
    int64_t since_us = waits_since(&r->publication);

    if (patience->resumed_us > since_us)
        return "the platform's pause ended";
    return r->publication.leased_until_us == since_us ? "its worker's lease ends"
                                                      : "its last change or next try";
}

/* By what its state rests on: what is stronger. */
static const char *change(const struct job *j)
{
    static const char *const by_rests[] = {
        [RESTS_OPEN] =
            "a webhook, a poll answer or a result of the worker who has it that says how it ended; "
            "an override",
        [RESTS_TIMEOUT] = "any webhook, poll answer or result of the worker who has it that says how it "
                          "ended; an override",
        [RESTS_EVIDENCE] = "evidence that happened later and says otherwise; an override",
        [RESTS_OVERRIDE] =
            "settle-reconciler override ID none, which takes the verdict back; another override",
        [RESTS_ELSEWHERE] = "an override; whoever settled it",
    };

    return by_rests[j->page.rows[0].publication.rests];
}

static void print(const struct job *j)
{
    const json_t *f = j->facts, *decision = json_object_get(f, "decision");
    const char *reason = facts_word(f, "reason");
    char next[256];

    printf("%s on %s (source %s), post %s, of %s\n", facts_word(f, "id"), facts_word(f, "platform"),
           facts_word(f, "source"), facts_word(f, "external_post_id"), facts_word(f, "user_id_str"));
    printf("  is %s since %s%s%s\n", facts_word(f, "status"), facts_word(f, "updated_at"),
           *reason ? ": " : "", reason_in_words(reason));
    if (*facts_word(f, "error_message"))
        printf("  error: %s\n", facts_word(f, "error_message"));
    if (json_is_object(decision))
        printf("  decided %s by %s%s%s\n", facts_word(decision, "timestamp"), facts_word(decision, "actor"),
               *facts_word(decision, "run_id") ? ", run " : "", facts_word(decision, "run_id"));
    print_said(j);
    print_hindrances(j);
    printf("next: %s\n", next_step(j, next, sizeof(next)));
    printf("what would change it: %s\n", change(j));
}

static void print_said(const struct job *j)
{
    const json_t *said = json_object_get(j->facts, "said");

    puts(json_array_size(said) > 0 ? "what was said of it:" : "nothing was said of it");
    for (size_t i = 0; i < json_array_size(said); i++) {
        const json_t *one = json_array_get(said, i);
        const char *refusal = facts_word(one, "refusal");

        printf("  %s  %-8s %s%s%s%s", facts_word(one, "at"), facts_word(one, "witness"),
               facts_word(one, "status"), weight(one), *facts_word(one, "reason") ? ": " : "",
               facts_word(one, "reason"));
        if (*refusal)
            printf("; refused (%s): by %s, of %s", refusal, facts_word(one, "worker_id"),
                   *facts_word(one, "external_post_id") ? facts_word(one, "external_post_id") : "no post");
        puts("");
    }
}

static const char *weight(const json_t *one)
{
    json_int_t decisive = json_integer_value(json_object_get(one, "decisive"));

    if (*facts_word(one, "refusal"))
        return "";
    return decisive > 0 ? " (success)" : decisive < 0 ? " (failure)" : " (unclear)";
}

/* Why nothing more is known. */
static void print_hindrances(const struct job *j)
{
    const json_t *lease = json_object_get(j->facts, "lease"), *pause = json_object_get(j->facts, "pause");

    if (json_is_object(lease))
        printf("  worker %s has it until %s\n", facts_word(lease, "worker_id"),
               facts_word(lease, "lease_until"));
    print_asking(j);
    if (json_is_object(pause))
        printf("  the platform is paused since %s by %s: %s\n", facts_word(pause, "paused_at"),
               facts_word(pause, "actor"), facts_word(pause, "reason"));
}

static void print_asking(const struct job *j)
{
    const json_t *poll = json_object_get(j->facts, "poll"),
                 *connection = json_object_get(j->facts, "connection");
    bool is_asked = json_is_object(poll);

    if (is_asked)
        printf("  asked %s: %s%s%s, again from %s\n", facts_word(poll, "asked_at"),
               facts_word(poll, "outcome"), *facts_word(poll, "error_code") ? ", " : "",
               facts_word(poll, "error_code"), facts_word(poll, "next_at"));
    if (patience_with(&j->deadlines, j->page.rows[0].platform).give_up_minutes == 0)
        return;
    if (json_is_object(connection) && !json_is_true(json_object_get(connection, "connected")))
        printf("  %s: the account is disconnected (settle-reconciler connections)\n",
               is_asked ? "asked no more" : "never asked");
    else if (!json_is_true(json_object_get(connection, "has_token")))
        printf("  %s: the account has no token (settle-reconciler connections)\n",
               is_asked ? "asked no more" : "never asked");
    else if (!is_asked)
        puts("  not asked yet");
}

static const char *reason_in_words(const char *reason)
{
    static const struct {
        const char *reason, *words;
    } table[] = {
        {"webhook_confirmed",        "a webhook confirmed it (webhook_confirmed)"                          },
        {"webhook_reported_failure", "a webhook reported the failure (webhook_reported_failure)"           },
        {"webhook_timeout",          "no webhook came in time (webhook_timeout)"                           },
        {"late_webhook",             "a webhook came after it had been failed by time-out (late_webhook)"  },
        {"poll_confirmed",           "the platform confirmed it when asked (poll_confirmed)"               },
        {"poll_reported_failure",    "the platform reported the failure when asked (poll_reported_failure)"},
        {"worker_reported_success",  "its worker reported the success (worker_reported_success)"           },
        {"worker_reported_failure",  "its worker reported the failure (worker_reported_failure)"           },
        {"auto_retry",               "no webhook came in time, and it may be tried again (auto_retry)"     },
        {"manual_override",          "a person has decided so (manual_override)"                           },
    };

    for (size_t i = 0; i < countof(table); i++)
        if (strcmp(table[i].reason, reason) == 0)
            return table[i].words;
    return reason;
}
