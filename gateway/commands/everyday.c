/* The commands of every day: serve, check-config, print-config, send-test. What they do is in serve.c, settings.c and
 * send_test.c. */
#include "base/log.h"
#include "command.h"
#include "send_test.h"
#include "serve.h"

#include <stdio.h>
#include <sysexits.h>

struct serve_options {
    struct common_options common;
    const char *workers, *ports_file;
};

struct send_test_options {
    struct common_options common;
    struct send_test test;
};

static int run_serve(int argc, char **argv);
static error_t parse_serve(int key, char *value, struct argp_state *state);
static int run_check_config(int argc, char **argv);
static int run_print_config(int argc, char **argv);
static error_t parse_bare(int key, char *value, struct argp_state *state);
static int run_send_test(int argc, char **argv);
static error_t parse_send_test(int key, char *value, struct argp_state *state);

const struct command serve_command = {"serve", "take webhooks; serve API, health and metrics", run_serve};
const struct command check_config_command = {
    "check-config", "check settings, descriptors and secrets; start nothing", run_check_config};
const struct command print_config_command = {"print-config", "show every setting and where it comes from",
                                             run_print_config};
const struct command send_test_command = {
    "send-test", "sign a webhook as its platform does, and post it to a gateway", run_send_test};

enum { OPTION_PORTS_FILE = 256, OPTION_PLATFORM, OPTION_SOURCE, OPTION_URL };

static const struct argp_option serve_table[] = {
    {"workers",    'w',               "N",    0, "Ingest processes",                        1},
    {"ports-file", OPTION_PORTS_FILE, "PATH", 0, "Write where it listens to PATH, as JSON", 1},
    {NULL,         0,                 NULL,   0, NULL,                                      0},
};
static const struct argp serve_argp = {
    .options = serve_table,
    .parser = parse_serve,
    .children = common_children,
    .doc = "Takes the platforms' webhooks, stores each one durably in Postgres, and only then answers 2xx. "
           "TERM ends it "
           "when what it has taken is answered; HUP makes it read descriptors, sources and secrets again.",
};

static const struct argp check_config_argp = {
    .parser = parse_bare,
    .children = common_children,
    .doc = "Reads the settings, every descriptor and every secret as serve would, and says what is wrong "
           "with file, "
           "line and column. Exit 78 then.",
};
static const struct argp print_config_argp = {
    .parser = parse_bare,
    .children = common_children,
    .doc = "Prints every setting as a settings file would have it, with where its value comes from; "
           "passwords as ***.",
};

static const struct argp_option send_test_table[] = {
    {"platform", OPTION_PLATFORM, "NAME", 0, "Sign and shape the webhook as this platform does",     1},
    {"source",   OPTION_SOURCE,   "NAME", 0, "Sign with a secret of this source (default: default)", 1},
    {"url",      OPTION_URL,      "URL",  0, "Of the ingest listener (default: as configured)",      1},
    {NULL,       0,               NULL,   0, NULL,                                                   0},
};
static const struct argp send_test_argp = {
    .options = send_test_table,
    .parser = parse_send_test,
    .args_doc = "[BODY-FILE]",
    .children = common_children,
    .doc = "Signs a body (BODY-FILE, else a plain one with a new post id) as the platform would, posts it to "
           "a gateway and "
           "prints the answer. Exit 0 for a 2xx, 65 for another answer, 69 for none.",
};

static int run_serve(int argc, char **argv)
{
    struct serve_options o = {.workers = NULL};
    struct settings settings;
    struct err err = {0};
    int code;

    argp_parse(&serve_argp, argc, argv, 0, NULL, &o);
    code = command_open(&settings, &o.common, o.workers);
    if (code)
        return code;
    code = EX_CONFIG;
    if (serve(&settings, o.ports_file, &code, &err))
        log_error("start_failed", LOG_ERR(&err));
    settings_close(&settings);
    return code;
}

static error_t parse_serve(int key, char *value, struct argp_state *state)
{
    struct serve_options *o = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->common;
        return 0;
    case 'w':
        o->workers = value;
        return 0;
    case OPTION_PORTS_FILE:
        o->ports_file = value;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\" is no option; a command stands before its options", value);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* command_open has checked all there is. */
static int run_check_config(int argc, char **argv)
{
    struct common_options o = {.config_file = NULL};
    struct settings settings;
    int code;

    argp_parse(&check_config_argp, argc, argv, 0, NULL, &o);
    code = command_open(&settings, &o, NULL);
    if (code)
        return code;
    fprintf(stderr, "the configuration is good: %zu platforms\n", platforms_count(settings.platforms));
    settings_close(&settings);
    return EX_OK;
}

static int run_print_config(int argc, char **argv)
{
    struct common_options o = {.config_file = NULL};
    struct settings settings;
    int code;

    argp_parse(&print_config_argp, argc, argv, 0, NULL, &o);
    code = command_open(&settings, &o, NULL);
    if (code)
        return code;
    config_print(settings.config, stdout);
    settings_close(&settings);
    return EX_OK;
}

static error_t parse_bare(int key, char *value, struct argp_state *state)
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

static int run_send_test(int argc, char **argv)
{
    struct send_test_options o = {.test = {.source = "default"}};
    struct settings settings;
    struct err err = {0};
    int code;

    argp_parse(&send_test_argp, argc, argv, 0, NULL, &o);
    code = command_open(&settings, &o.common, NULL);
    if (code)
        return code;
    if (send_test(&settings, &o.test, &err))
        code = command_fail(&err, EX_DATAERR);
    settings_close(&settings);
    return code;
}

static error_t parse_send_test(int key, char *value, struct argp_state *state)
{
    struct send_test_options *o = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->common;
        return 0;
    case OPTION_PLATFORM:
        o->test.platform = value;
        return 0;
    case OPTION_SOURCE:
        o->test.source = value;
        return 0;
    case OPTION_URL:
        o->test.url = value;
        return 0;
    case ARGP_KEY_ARG:
        if (o->test.body_file)
            argp_error(state, "one BODY-FILE is enough: \"%s\"", value);
        o->test.body_file = value;
        return 0;
    case ARGP_KEY_END:
        if (!o->test.platform)
            argp_error(state, "--platform NAME is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}
