/* subscribe: asks WebSub hubs to send us the topics of the configured sources, and again before their leases end. What
 * was asked is kept in settle.websub_subscriptions, so that --due may run as often as it likes. */
#include "base/log.h"
#include "command.h"
#include "domain/handshake.h"
#include "hub.h"
#include "store/pg.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include <jansson.h>

enum { STATEMENT_MS = 5000, WAIT_MS = 10000, HUB_SECRET_BYTES_MAX = 199 /* WebSub, 5.1 */, SILENT_MAX = 3 };

struct options {
    struct common_options common;
    const char *topic;
    bool due, unsubscribe;
};

/* One topic to ask for. */
struct wanted {
    const struct platform *platform;
    const struct source *source;
    struct span topic; /* as configured */
    bool is_due;
    const char *outcome; /* "accepted", "failed", "planned", "not_due" */
    char error[160];
};

struct job {
    const struct options *options;
    struct settings settings;
    struct arena *arena;
    struct pg *pg;
    struct hub *hub;
    struct wanted *wanted;
    size_t nwanted;
    size_t nasked, nfailed, nunanswered;
    const struct platform *silent; /* whose hub gave no answer the last nsilent times */
    size_t nsilent;
};

static int run(int argc, char **argv);
static error_t parse_option(int key, char *value, struct argp_state *state);
static int work(struct job *j);
static enum status choose(struct job *j, struct err *err);
static enum status choose_old(struct job *j, struct err *err);
static void choose_from(struct job *j, const struct platform *p, const struct source *s);
static bool is_meant(const char *option, struct span name);
static bool has_topic(const struct source *s, struct span topic);
static enum status connect_pg(struct job *j, struct err *err);
static enum status find_due(struct job *j, struct err *err);
static enum status ask_all(struct job *j, struct err *err);
static enum status ask_patiently(struct job *j, const struct wanted *w, long *ret_status, struct err *err);
static void blame(struct job *j, struct wanted *w, const struct err *why);
static enum status ask(struct job *j, const struct wanted *w, long *ret_status, struct err *err);
static enum status note(struct job *j, const struct wanted *w, long hub_status, struct err *err);
static void report(const struct job *j);
static void report_json(const struct job *j);

const struct command subscribe_command = {"subscribe",
                                          "subscribe to the configured topics at their WebSub hubs", run};

enum {
    OPTION_TOPIC = OPTION_OWN,
    OPTION_DUE,
    OPTION_UNSUBSCRIBE,
};

static const struct argp_option option_table[] = {
    {"platform",    OPTION_PLATFORM,    "NAME",  0, "Only this platform's topics (default: all that have a hub)", 1},
    {"source",      OPTION_SOURCE,      "NAME",  0, "Only this source's topics",                                  1},
    {"topic",       OPTION_TOPIC,       "TOPIC", 0, "Only this topic, as the settings write it",                  1},
    {"due",         OPTION_DUE,         NULL,    0, "Only what was never granted, or is past half of its lease",  1},
    {"unsubscribe", OPTION_UNSUBSCRIBE, NULL,    0,
     "End the subscription to --topic, which the settings name no more",                                          1},
    {"dry-run",     OPTION_DRY_RUN,     NULL,    0, "Ask no hub, print what would be asked",                      1},
    {"json",        OPTION_JSON,        NULL,    0, "Print the report as JSON",                                   1},
    {NULL,          0,                  NULL,    0, NULL,                                                         0},
};
static const struct argp argp = {
    .options = option_table,
    .parser = parse_option,
    .children = common_children,
    .doc = "Asks the hub of each topic to send its updates to ingest.public_url, signed with the newest "
           "secret of the "
           "source. The hub then asks the gateway, which must run with the same settings. Run it again after "
           "a secret "
           "was replaced; settle-reconciler maintain runs it with --due.\vIt logs in to Postgres as "
           "settle_subscribe. "
           "Exit codes: 0 all taken, 69 no hub answers or Postgres is down, 75 some were not taken, 78 "
           "settings.",
};

static int run(int argc, char **argv)
{
    struct options o = {.topic = NULL};
    struct job j = {.options = &o};
    int code;

    argp_parse(&argp, argc, argv, 0, NULL, &o);
    code = command_open(&j.settings, &o.common, NULL);
    if (code)
        return code;
    j.arena = arena_open(16384);
    code = work(&j);
    hub_close(j.hub);
    pg_close(j.pg);
    arena_close(j.arena);
    settings_close(&j.settings);
    return code;
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case OPTION_TOPIC:
        o->topic = value;
        return 0;
    case OPTION_DUE:
        o->due = true;
        return 0;
    case OPTION_UNSUBSCRIBE:
        o->unsubscribe = true;
        return 0;
    case ARGP_KEY_END:
        if (o->unsubscribe && (!o->common.platform || !o->topic || o->due))
            argp_error(state, "--unsubscribe wants --platform and --topic, and goes without --due");
        return 0;
    default:
        return command_parse(key, value, &o->common, state);
    }
}

static int work(struct job *j)
{
    struct err err = {0};

    if ((j->options->unsubscribe ? choose_old(j, &err) : choose(j, &err)))
        return command_fail(&err, EX_USAGE);
    if (j->nwanted > 0 && !j->settings.config->ingest.public_url[0]) {
        fputs("settle-gateway: ingest.public_url is not set: hubs must be told what to call\n", stderr);
        return EX_CONFIG;
    }
    if (j->nwanted > 0 &&
        (connect_pg(j, &err) || (j->options->due && find_due(j, &err)) || ask_all(j, &err))) {
        report(j);
        return command_fail(&err, EX_CONFIG);
    }
    report(j);
    if (j->nfailed == 0)
        return EX_OK;
    return j->nunanswered == j->nasked ? EX_UNAVAILABLE : EX_TEMPFAIL;
}

static enum status choose(struct job *j, struct err *err)
{
    const struct platforms *set = j->settings.platforms;
    const struct common_options *o = &j->options->common;

    if (o->platform && !platforms_find(set, span_of(o->platform)))
        return err_set(err, INVALID, "there is no platform \"%s\"", o->platform);
    if (o->platform && !platforms_find(set, span_of(o->platform))->hub.at)
        return err_set(err, INVALID, "platform \"%s\" has no hub to subscribe at", o->platform);
    for (size_t i = 0; i < platforms_count(set); i++) {
        const struct platform *p = platforms_at(set, i);
        for (size_t k = 0; p->hub.at && is_meant(o->platform, p->name) && k < p->nsources; k++)
            if (is_meant(o->source, p->sources[k].name))
                choose_from(j, p, &p->sources[k]);
    }
    if (j->nwanted == 0 && (o->source || j->options->topic))
        return err_set(err, INVALID,
                       "the settings name no such topic: the gateway would refuse what the hub asks");
    return OK;
}

/* What the settings still name the gateway would not let go: it refuses the hub's question. */
static enum status choose_old(struct job *j, struct err *err)
{
    const struct common_options *o = &j->options->common;
    struct span topic = span_of(j->options->topic);
    const struct platform *p;
    const struct source *s;

    if (command_source(&j->settings, span_of(o->platform), o->source ? span_of(o->source) : SPAN("default"),
                       &p, &s, err))
        return err->code;
    if (!p->hub.at)
        return err_set(err, INVALID, "platform \"%s\" has no hub to subscribe at", o->platform);
    if (has_topic(s, topic))
        return err_set(err, INVALID,
                       "the settings still name topic \"%s\": take it out first, and let the gateway reload",
                       topic.at);
    j->wanted = arena_zero(j->arena, sizeof(*j->wanted));
    j->wanted[j->nwanted++] = (struct wanted){.platform = p, .source = s, .topic = topic, .is_due = true};
    return OK;
}

static void choose_from(struct job *j, const struct platform *p, const struct source *s)
{
    struct wanted *more = arena_zero(j->arena, (j->nwanted + s->ntopics + 1) * sizeof(*more));

    if (j->nwanted > 0)
        memcpy(more, j->wanted, j->nwanted * sizeof(*more));
    j->wanted = more;
    for (size_t i = 0; i < s->ntopics; i++)
        if (is_meant(j->options->topic, s->topics[i]))
            j->wanted[j->nwanted++] = (struct wanted){
                .platform = p, .source = s, .topic = s->topics[i], .is_due = !j->options->due};
}

static bool is_meant(const char *option, struct span name)
{
    return !option || span_eq(span_of(option), name);
}

static bool has_topic(const struct source *s, struct span topic)
{
    for (size_t i = 0; i < s->ntopics; i++)
        if (span_eq(s->topics[i], topic))
            return true;
    return false;
}

static enum status connect_pg(struct job *j, struct err *err)
{
    const struct pg_config pg = {
        .url = j->settings.config->database.url,
        .user = "settle_subscribe",
        .application = "settle-gateway subscribe",
        .connect_timeout_s = 5,
        .statement_timeout_ms = STATEMENT_MS,
        .prepare = j->settings.config->database.prepare,
        .read_only = j->options->common.dry_run,
        .unsafe_ok = j->settings.config->unsafe_ok,
    };

    j->pg = pg_connect(&pg, err);
    return j->pg ? OK : err->code;
}

static enum status find_due(struct job *j, struct err *err)
{
    struct span *columns = arena_alloc(j->arena, 3 * j->nwanted * sizeof(*columns));
    struct pg_rows *rows;
    struct pg_args args;

    for (size_t i = 0; i < j->nwanted; i++) {
        columns[i] = j->wanted[i].platform->name;
        columns[j->nwanted + i] = j->wanted[i].source->name;
        columns[2 * j->nwanted + i] = j->wanted[i].topic;
    }
    pg_args_init(&args, j->arena);
    for (size_t i = 0; i < 3; i++)
        pg_arg_texts(&args, columns + i * j->nwanted, j->nwanted);
    if (pg_run(j->pg, SQL_WEBSUB_DUE, &args, WAIT_MS, &rows, err))
        return err_in(err, "reading subscriptions");
    for (size_t i = 0; i < pg_nrows(rows); i++)
        j->wanted[pg_int(rows, i, 0) - 1].is_due = true;
    pg_rows_free(rows);
    return OK;
}

/* A hub that fails costs the other topics nothing; a store that fails ends it: what is asked must be known. */
static enum status ask_all(struct job *j, struct err *err)
{
    j->hub = hub_open();
    for (struct wanted *w = j->wanted; w < j->wanted + j->nwanted; w++) {
        struct err why = {0};
        long hub_status;

        w->outcome = w->is_due ? "planned" : "not_due";
        if (!w->is_due || j->options->common.dry_run)
            continue;
        if (ask_patiently(j, w, &hub_status, &why))
            blame(j, w, &why);
        else
            w->outcome = "accepted";
        if (!why.cause && note(j, w, hub_status, err))
            return err->code;
    }
    return OK;
}

/* A hub that is down is not waited for once a topic. */
static enum status ask_patiently(struct job *j, const struct wanted *w, long *ret_status, struct err *err)
{
    enum status status;

    *ret_status = 0;
    if (j->silent == w->platform && j->nsilent == SILENT_MAX)
        return err_cause(err, UNAVAILABLE, "not_asked", "not asked: the hub gave no answer %d times",
                         SILENT_MAX);
    j->nasked++;
    status = ask(j, w, ret_status, err);
    if (j->silent != w->platform || status != UNAVAILABLE)
        j->nsilent = 0;
    j->silent = w->platform;
    j->nsilent += status == UNAVAILABLE;
    j->nunanswered += status == UNAVAILABLE || status == BUSY;
    return status;
}

static void blame(struct job *j, struct wanted *w, const struct err *why)
{
    w->outcome = "failed";
    snprintf(w->error, sizeof(w->error), "%.*s", (int)sizeof(w->error) - 1, why->text);
    j->nfailed++;
    log_warn("subscription_failed", LOG_SPAN("platform", w->platform->name),
             LOG_SPAN("source", w->source->name), LOG_SPAN("topic", w->topic), LOG_ERR(why));
}

static enum status ask(struct job *j, const struct wanted *w, long *ret_status, struct err *err)
{
    const struct secret *secret = command_secret(w->platform, w->source);
    const struct hub_request r = {
        .url = w->platform->hub,
        .mode = j->options->unsubscribe ? "unsubscribe" : "subscribe",
        .topic = handshake_topic_url(w->platform, w->topic, j->arena),
        .callback =
            arena_print(j->arena, "%s/publishing/webhooks/%.*s/%.*s", j->settings.config->ingest.public_url,
                        SPAN_ARG(w->platform->name), SPAN_ARG(w->source->name)),
        .secret = secret ? secret->bytes : SPAN_NONE,
        .lease_s = w->platform->lease_s,
    };

    if (!r.secret.at)
        return err_set(err, INVALID, "no secret of the source is in force now");
    if (r.secret.len > HUB_SECRET_BYTES_MAX)
        return err_set(err, INVALID, "a hub takes secrets of at most %d bytes", HUB_SECRET_BYTES_MAX);
    return hub_ask(j->hub, &r, ret_status, err);
}

static enum status note(struct job *j, const struct wanted *w, long hub_status, struct err *err)
{
    bool ends = j->options->unsubscribe && !w->error[0];
    struct pg_args args;

    pg_args_init(&args, j->arena);
    pg_arg_text(&args, w->platform->name);
    pg_arg_text(&args, w->source->name);
    pg_arg_text(&args, w->topic);
    if (!ends) {
        pg_arg_int(&args, w->platform->lease_s);
        pg_arg_int(&args, hub_status);
        pg_arg_text(&args, w->error[0] ? span_of(w->error) : SPAN_NONE);
    }
    if (pg_run(j->pg, ends ? SQL_WEBSUB_FORGET : SQL_WEBSUB_NOTE, &args, WAIT_MS, NULL, err))
        return err_in(err, "writing down what was asked");
    return OK;
}

static void report(const struct job *j)
{
    if (j->options->common.json) {
        report_json(j);
        return;
    }
    for (const struct wanted *w = j->wanted; w < j->wanted + j->nwanted; w++)
        if (w->outcome)
            printf("%-9s %.*s %.*s %.*s%s%s\n", w->outcome, SPAN_ARG(w->platform->name),
                   SPAN_ARG(w->source->name), SPAN_ARG(w->topic), w->error[0] ? ": " : "", w->error);
    if (j->nwanted == 0)
        puts("no topic is configured");
}

static void report_json(const struct job *j)
{
    json_t *all = json_array();

    for (const struct wanted *w = j->wanted; w < j->wanted + j->nwanted; w++)
        if (w->outcome)
            json_array_append_new(all,
                                  json_pack("{ss# ss# ss# ss ss*}", "platform", w->platform->name.at,
                                            (int)w->platform->name.len, "source", w->source->name.at,
                                            (int)w->source->name.len, "topic", w->topic.at, (int)w->topic.len,
                                            "outcome", w->outcome, "error", w->error[0] ? w->error : NULL));
    all = json_pack("{sb sI sI so}", "dry_run", (int)j->options->common.dry_run, "asked",
                    (json_int_t)j->nasked, "failed", (json_int_t)j->nfailed, "topics", all);
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}
