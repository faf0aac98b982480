/* settle-gateway: the command line. What the commands do is in serve.c and send_test.c. */
#include "base/core.h"
#include "base/log.h"
#include "send_test.h"
#include "serve.h"
#include "settings.h"

#include <argp.h>
#include <stdlib.h>
#include <sysexits.h>

struct options {
    const struct command *command; /* NULL: none was named */
    const char *config_file, *workers, *ports_file;
    struct send_test test;
};

/* A command's run returns the exit code. */
struct command {
    const char *name;
    int (*run)(const struct options *options, const struct settings *settings);
};

enum { OPTION_PORTS_FILE = 256, OPTION_PLATFORM, OPTION_SOURCE, OPTION_URL };

static const struct command *find_command(const char *name);
static int run_serve(const struct options *options, const struct settings *settings);
static int run_check_config(const struct options *options, const struct settings *settings);
static int run_print_config(const struct options *options, const struct settings *settings);
static int run_send_test(const struct options *options, const struct settings *settings);
static error_t parse_option(int key, char *value, struct argp_state *state);

static const struct command commands[] = {
    {"serve",        run_serve       },
    {"check-config", run_check_config},
    {"print-config", run_print_config},
    {"send-test",    run_send_test   },
};

static const struct argp_option options_table[] = {
    {"config",     'c',               "FILE", 0, "Settings (default: $SETTLE_CONFIG, else none: environment and defaults)", 0},
    {"workers",    'w',               "N",    0, "Ingest processes",                                                        0},
    {"ports-file", OPTION_PORTS_FILE, "PATH", 0, "Write where it listens to PATH, as JSON",                                 0},
    {NULL,         0,                 NULL,   0, "Of send-test:",                                                           1},
    {"platform",   OPTION_PLATFORM,   "NAME", 0, "Sign and shape the webhook as this platform does",                        1},
    {"source",     OPTION_SOURCE,     "NAME", 0, "Sign with a secret of this source (default: default)",                    1},
    {"url",        OPTION_URL,        "URL",  0, "Of the ingest listener (default: as configured)",                         1},
    {NULL,         0,                 NULL,   0, NULL,                                                                      0},
};

static const struct argp argp = {
    .options = options_table,
    .parser = parse_option,
    .args_doc = "[serve]\ncheck-config\nprint-config\nsend-test --platform NAME [BODY-FILE]",
    .doc = "Takes the platforms' webhooks, stores each one durably in Postgres, and only then answers 2xx.",
};

const char *argp_program_version = "settle-gateway " SETTLE_VERSION;

int main(int argc, char **argv)
{
    struct options options = {.command = NULL, .test = {.source = "default"}};
    struct settings settings;
    struct err err = {0};
    int code;

    core_off();
    argp_err_exit_status = EX_USAGE;
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    if (settings_open(&settings, options.config_file, options.workers, &err)) {
        fprintf(stderr, "settle-gateway: %s\n", err.text);
        return EX_CONFIG;
    }
    log_open("settle-gateway", settings.config->log.level);
    code = (options.command ? options.command : &commands[0])->run(&options, &settings);
    settings_close(&settings);
    return code;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < countof(commands); i++)
        if (strcmp(name, commands[i].name) == 0)
            return &commands[i];
    return NULL;
}

static int run_serve(const struct options *options, const struct settings *settings)
{
    struct err err = {0};
    int code = EX_CONFIG;

    if (serve(settings, options->ports_file, &code, &err))
        log_error("start_failed", LOG_ERR(&err));
    return code;
}

/* settings_open has checked all there is. */
static int run_check_config(const struct options *options, const struct settings *settings)
{
    (void)options;
    fprintf(stderr, "the configuration is good: %zu platforms\n", platforms_count(settings->platforms));
    return EX_OK;
}

static int run_print_config(const struct options *options, const struct settings *settings)
{
    (void)options;
    config_print(settings->config, stdout);
    return EX_OK;
}

static int run_send_test(const struct options *options, const struct settings *settings)
{
    struct err err = {0};

    if (!options->test.platform) {
        fprintf(stderr, "settle-gateway: send-test wants --platform NAME\n");
        return EX_USAGE;
    }
    switch (send_test(settings, &options->test, &err)) {
    case OK:
        return EX_OK;
    case UNAVAILABLE:
        fprintf(stderr, "settle-gateway: %s\n", err.text);
        return EX_UNAVAILABLE;
    case INVALID:
    case FORGED:
    case BUSY:
    case REJECTED:
    case BROKEN:
        break;
    }
    fprintf(stderr, "settle-gateway: %s\n", err.text);
    return EX_DATAERR;
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case 'c':
        o->config_file = value;
        break;
    case 'w':
        o->workers = value;
        break;
    case OPTION_PORTS_FILE:
        o->ports_file = value;
        break;
    case OPTION_PLATFORM:
        o->test.platform = value;
        break;
    case OPTION_SOURCE:
        o->test.source = value;
        break;
    case OPTION_URL:
        o->test.url = value;
        break;
    case ARGP_KEY_ARG:
        if (!o->command && find_command(value))
            o->command = find_command(value);
        else if (o->command && o->command->run == run_send_test && !o->test.body_file)
            o->test.body_file = value;
        else
            argp_error(state, "\"%s\" is not a command", value);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}
