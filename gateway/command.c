#include "command.h"

#include "base/log.h"
#include "base/now.h"
#include "domain/secret.h"
#include "spoolfile.h"

#include <stdio.h>
#include <sysexits.h>

static error_t parse_config(int key, char *value, struct argp_state *state);
static bool can_sign(const struct platform *p, const struct secret *secret);
static bool is_newer(const struct secret *a, const struct secret *b);

static const struct argp_option option_table[] = {
    {"config", 'c', "FILE", 0, "Settings (default: $SETTLE_CONFIG, else none: environment and defaults)", 9},
    {NULL,     0,   NULL,   0, NULL,                                                                      0},
};
const struct argp common_argp = {.options = option_table, .parser = parse_config};
const struct argp_child common_children[] = {
    {&common_argp, 0, NULL, 0},
    {NULL,         0, NULL, 0},
};

/* NOLINTNEXTLINE(readability-non-const-parameter): argp's own */
static error_t parse_config(int key, char *value, struct argp_state *state)
{
    struct common_options *o = state->input;

    if (key != 'c')
        return ARGP_ERR_UNKNOWN;
    o->config_file = value;
    return 0;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): argp's own */
error_t command_parse(int key, char *value, struct common_options *o, struct argp_state *state)
{
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = o;
        return 0;
    case OPTION_PLATFORM:
        o->platform = value;
        return 0;
    case OPTION_SOURCE:
        o->source = value;
        return 0;
    case OPTION_DRY_RUN:
        o->dry_run = true;
        return 0;
    case OPTION_JSON:
        o->json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\" is no option", value);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
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
    return command_code(err, invalid);
}

int command_code(const struct err *err, int invalid)
{
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

enum status command_check_spool(const struct config *c, bool *ret_too_fast, struct err *err)
{
    int64_t sync_us = INT64_MAX;

    *ret_too_fast = false;
    if (!c->ingest.enabled || !c->spool.folder)
        return OK;
    if (spoolfile_check_folder(c->spool.folder, c->unsafe_ok, &sync_us, err))
        return err->code;
    *ret_too_fast = sync_us < SPOOLFILE_SYNC_US_MIN;
    return OK;
}

enum status command_source(const struct settings *settings, struct span platform, struct span source,
                           const struct platform **ret_platform, const struct source **ret_source,
                           struct err *err)
{
    *ret_platform = platforms_find(settings->platforms, platform);
    if (!*ret_platform)
        return err_set(err, INVALID, "there is no platform \"%.*s\"; settle-gateway platforms lists them",
                       SPAN_ARG(platform));
    *ret_source = platform_source(*ret_platform, source);
    if (!*ret_source)
        return err_set(err, INVALID, "platform \"%.*s\" has no source \"%.*s\" with a secret",
                       SPAN_ARG(platform), SPAN_ARG(source));
    return OK;
}

const struct secret *command_secret(const struct platform *p, const struct source *s)
{
    int64_t now_us = now_wall_us();
    const struct secret *newest = NULL;

    for (const struct secret *k = s->secrets; k < s->secrets + s->nsecrets; k++)
        if (can_sign(p, k) && secret_is_active(k, now_us) && (!newest || !is_newer(newest, k)))
            newest = k;
    return newest;
}

static bool can_sign(const struct platform *p, const struct secret *secret)
{
    for (size_t i = 0; i < p->scheme.nproofs; i++)
        if (secret->keys[i] && p->scheme.proofs[i].algorithm != ALGORITHM_ED25519)
            return true;
    return false;
}

/* The one that is to go gets an end; else the later beginning counts, and else the later line. */
static bool is_newer(const struct secret *a, const struct secret *b)
{
    int64_t a_ends_us = a->expires_us == TIME_NONE ? INT64_MAX : a->expires_us;
    int64_t b_ends_us = b->expires_us == TIME_NONE ? INT64_MAX : b->expires_us;

    return a_ends_us != b_ends_us ? a_ends_us > b_ends_us : a->not_before_us > b->not_before_us;
}
