#include "tool.h"

#include "session.h"

#include "base/log.h"
#include "domain/moment.h"

#include <unistd.h>

enum { OPTION_CONFIG = 1000, OPTION_ACTOR, OPTION_DRY_RUN, OPTION_JSON };

static error_t parse_option(int key, char *value, struct argp_state *state);

static const struct argp_option option_table[] = {
    {"config",  OPTION_CONFIG,  "FILE", 0, "Read settings from FILE (default: $SETTLE_CONFIG)", 2},
    {"actor",   OPTION_ACTOR,   "NAME", 0, "Who asked for it, for the record (default: cli)",   2},
    {"dry-run", OPTION_DRY_RUN, NULL,   0, "Change nothing, print what would be done",          2},
    {"json",    OPTION_JSON,    NULL,   0, "Print JSON",                                        2},
    {NULL,      0,              NULL,   0, NULL,                                                0},
};
static const struct argp argp = {.options = option_table, .parser = parse_option};
const struct argp_child tool_children[] = {
    {&argp, 0, NULL, 0},
    {NULL,  0, NULL, 0},
};

void tool_options_init(struct tool_options *o)
{
    *o = (struct tool_options){.actor = "cli"};
}

/* NOLINTNEXTLINE(readability-non-const-parameter): argp's own */
static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct tool_options *o = state->input;

    switch (key) {
    case OPTION_CONFIG:
        o->config_path = value;
        return 0;
    case OPTION_ACTOR:
        o->actor = value;
        return 0;
    case OPTION_DRY_RUN:
        o->dry_run = true;
        return 0;
    case OPTION_JSON:
        o->json = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int64_t option_time(const char *text, const char *option, const struct argp_state *state)
{
    int64_t us = TIME_NONE;

    if (!moment_parse(span_of(text), &us))
        argp_error(state, "--%s: \"%s\" is no time such as 2027-01-31T12:00:00Z", option, text);
    return us;
}

enum status tool_open(struct tool *t, const struct tool_options *options, struct err *err)
{
    *t = (struct tool){.options = options, .arena = arena_open(1024)};
    t->config = config_open(options->config_path, environ, NULL, 0, err);
    if (!t->config)
        return err->code;
    log_open("settle-reconciler", t->config->log.level);
    return OK;
}

enum status tool_connect(struct tool *t, const char *login, const char *application, struct err *err)
{
    const struct pg_config config = {
        .url = t->config->database.url,
        .user = login,
        .application = application,
        .connect_timeout_s = 5,
        .statement_timeout_ms = STATEMENT_MS,
        .prepare = t->config->database.prepare,
        .lazy = true,
        .read_only = t->options->dry_run,
        .unsafe_ok = t->config->unsafe_ok,
    };

    t->pg = pg_connect(&config, err);
    return t->pg ? OK : err->code;
}

void tool_close(struct tool *t)
{
    pg_close(t->pg);
    config_close(t->config);
    arena_close(t->arena);
}
