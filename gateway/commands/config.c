/* check-config, print-config: what the settings say, without starting anything. */
#include "base/now.h"
#include "command.h"

#include <stdio.h>
#include <sysexits.h>

static int run_check(int argc, char **argv);
static int check_spool(const struct config *c);
static int run_print(int argc, char **argv);
static error_t parse_option(int key, char *value, struct argp_state *state);
static void warn_of_idle(const struct platform *p, const struct source *s, const char *why, void *unused);

const struct command check_config_command = {
    "check-config", "check settings, descriptors and secrets; start nothing", run_check};
const struct command print_config_command = {"print-config", "show every setting and where it comes from",
                                             run_print};

static const struct argp check_argp = {
    .parser = parse_option,
    .children = common_children,
    .doc = "Reads the settings, every descriptor and every secret as serve would, and says what is wrong "
           "with file, "
           "line and column, and tries whether spool.folder can keep what it is to keep. Exit 78 then, and "
           "69 where its disk is not there or does not let us write. A "
           "source whose secrets are all out of force now is named, and no "
           "error.",
};
static const struct argp print_argp = {
    .parser = parse_option,
    .children = common_children,
    .doc = "Prints every setting as a settings file would have it, with where its value comes from; "
           "passwords as ***.",
};

/* command_open has checked all that is read. */
static int run_check(int argc, char **argv)
{
    struct common_options o = {.config_file = NULL};
    struct settings settings;
    int code;

    argp_parse(&check_argp, argc, argv, 0, NULL, &o);
    code = command_open(&settings, &o, NULL);
    if (code)
        return code;
    code = check_spool(settings.config);
    settings_each_idle(settings.platforms, now_wall_us(), warn_of_idle, NULL);
    if (code == EX_OK)
        fprintf(stderr, "the configuration is good: %zu platforms\n", platforms_count(settings.platforms));
    settings_close(&settings);
    return code;
}

static int check_spool(const struct config *c)
{
    struct err err = {0};
    bool too_fast;

    if (command_check_spool(c, &too_fast, &err))
        return command_fail(&err, EX_CONFIG);
    if (too_fast)
        fprintf(stderr,
                "warning: spool.folder \"%s\" syncs faster than a disk can: what is kept there may not "
                "outlive the machine\n",
                c->spool.folder);
    return EX_OK;
}

static int run_print(int argc, char **argv)
{
    struct common_options o = {.config_file = NULL};
    struct settings settings;
    int code;

    argp_parse(&print_argp, argc, argv, 0, NULL, &o);
    code = command_open(&settings, &o, NULL);
    if (code)
        return code;
    config_print(settings.config, stdout);
    settings_close(&settings);
    return EX_OK;
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    return command_parse(key, value, state->input, state);
}

static void warn_of_idle(const struct platform *p, const struct source *s, const char *why, void *unused)
{
    (void)unused;
    fprintf(stderr, "warning: source \"%.*s\" of %.*s: %s\n", SPAN_ARG(s->name), SPAN_ARG(p->name), why);
}
