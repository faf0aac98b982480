#include "command.h"

#include "base/log.h"

#include <stdio.h>
#include <sysexits.h>

static error_t parse_option(int key, char *value, struct argp_state *state);

static const struct argp_option option_table[] = {
    {"config", 'c', "FILE", 0, "Settings (default: $SETTLE_CONFIG, else none: environment and defaults)", 9},
    {NULL,     0,   NULL,   0, NULL,                                                                      0},
};
const struct argp common_argp = {.options = option_table, .parser = parse_option};
const struct argp_child common_children[] = {
    {&common_argp, 0, NULL, 0},
    {NULL,         0, NULL, 0},
};

/* NOLINTNEXTLINE(readability-non-const-parameter): argp's own */
static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct common_options *o = state->input;

    if (key != 'c')
        return ARGP_ERR_UNKNOWN;
    o->config_file = value;
    return 0;
}

int command_open(struct settings *ret, const struct common_options *options, const char *workers)
{
    struct err err = {0};

    if (settings_open(ret, options->config_file, workers, &err))
        return command_fail(&err, EX_CONFIG);
    log_open("settle-gateway", ret->config->log.level);
    return EX_OK;
}

int command_fail(const struct err *err, int invalid)
{
    fprintf(stderr, "settle-gateway: %s\n", err->text);
    switch (err->code) {
    case OK:
        return EX_OK;
    case INVALID:
        return invalid;
    case FORGED:
    case REJECTED:
        return EX_DATAERR;
    case UNAVAILABLE:
        return EX_UNAVAILABLE;
    case BUSY:
        return EX_TEMPFAIL;
    case BROKEN:
        break;
    }
    return EX_SOFTWARE;
}
