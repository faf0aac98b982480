/* status: what an operator asks first: what runs, when it ran, when it runs again, what waits, what is held up. Reads
 * only; the JSON is made by one statement. */
#include "command.h"
#include "facts.h"

#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>

enum { COUNTED_MOST = 200000 }; /* well below the statement's time-out */

static int run(int argc, char **argv);
static error_t parse_option(int key, char *value, struct argp_state *state);
static enum status read_status(struct session *s, json_t **ret, struct err *err);
static void print(const json_t *all);
static void print_job(const json_t *job);
static void print_publications(const json_t *publications);

const struct command status_command = {"status", "tell what runs, what is due and what waits", run};

static const struct argp argp = {
    .parser = parse_option,
    .children = session_children,
    .doc =
        "Tells of each job its last run, its lock and when `settle-reconciler serve` starts it again; which "
        "publications wait, which platforms are left alone or paused. Changes nothing.\vExit codes: 0 done, "
        "69 Postgres is down, 78 settings.",
};

static int run(int argc, char **argv)
{
    struct session_options options;
    struct session session;
    struct err err = {0};
    json_t *all = NULL;

    session_options_init(&options);
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    options.dry_run = true; /* a connection that cannot write */
    if (session_open(&session, "status", &options, NULL, 0, &err) || read_status(&session, &all, &err)) {
        log_error("status_not_read", LOG_ERR(&err));
    } else if (options.json) {
        json_dumpf(all, stdout, JSON_COMPACT);
        puts("");
    } else {
        print(all);
    }
    json_decref(all);
    session_close(&session);
    return exit_code(&err);
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = state->input;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\" is no option", value);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static enum status read_status(struct session *s, json_t **ret, struct err *err)
{
    struct pg_args args;

    pg_args_init(&args, s->arena);
    pg_arg_int(&args, s->config->reconcile.since_minutes);
    pg_arg_int(&args, COUNTED_MOST);
    if (facts_read(s, SQL_STATUS_READ, &args, ret, err))
        return err_in(err, "reading the status");
    return OK;
}

static void print(const json_t *all)
{
    const json_t *scheduler = json_object_get(all, "scheduler"), *one;
    size_t i;

    printf("scheduler: %s\n",
           facts_word(scheduler, "leader")[0] ? facts_word(scheduler, "leader") : "none leads");
    json_array_foreach(json_object_get(all, "jobs"), i, one)
        print_job(one);
    print_publications(json_object_get(all, "publications"));
    json_array_foreach(json_object_get(all, "breakers"), i, one)
        if (strcmp(facts_word(one, "state"), "closed") != 0)
            printf("breaker of %s: %s, %" JSON_INTEGER_FORMAT " failures in a row\n",
                   facts_word(one, "platform"), facts_word(one, "state"), facts_number(one, "failures"));
    json_array_foreach(json_object_get(all, "pauses"), i, one)
        printf("%s is paused since %s by %s: %s\n", facts_word(one, "platform"), facts_word(one, "paused_at"),
               facts_word(one, "actor"), facts_word(one, "reason"));
}

static void print_job(const json_t *job)
{
    const json_t *last = json_object_get(job, "last_run");

    printf("%s:\n", facts_word(job, "job"));
    if (json_is_object(last))
        printf("  last run   %s (%s) by %s, %s to %s\n", facts_word(last, "status"),
               facts_word(last, "outcome"), facts_word(last, "trigger"), facts_word(last, "started_at"),
               facts_word(last, "finished_at"));
    else
        puts("  last run   none");
    if (facts_word(last, "error_message")[0])
        printf("             %s\n", facts_word(last, "error_message"));
    if (facts_word(job, "running")[0])
        printf("  running    %s since %s\n", facts_word(job, "running"), facts_word(job, "running_since"));
    if (facts_word(job, "lock_holder")[0])
        printf("  lock       %s\n", facts_word(job, "lock_holder"));
    if (facts_word(job, "schedule")[0])
        printf("  next due   %s (%s, %s)\n", facts_word(job, "next_due"), facts_word(job, "schedule"),
               facts_word(job, "pace"));
    else
        puts("  next due   not scheduled by serve");
}

static void print_publications(const json_t *publications)
{
    const char *more = facts_number(publications, "counted_to") ? " or more" : "";

    printf("publications: %" JSON_INTEGER_FORMAT "%s open, %" JSON_INTEGER_FORMAT "%s stale",
           facts_number(publications, "open"), more, facts_number(publications, "stale"), more);
    if (facts_word(publications, "oldest_updated_at")[0])
        printf(", the oldest untouched since %s", facts_word(publications, "oldest_updated_at"));
    puts("");
}
