/*
 * command: what settle-gateway can do, one row each, and what its commands share: the option --config, the settings
 * it names, and the exit codes (product.md 7).
 */
#ifndef SETTLE_GATEWAY_COMMAND_H
#define SETTLE_GATEWAY_COMMAND_H

#include "settings.h"

#include <argp.h>

struct command {
    const char *name;
    const char *summary;
    /* argv[0] is "settle-gateway NAME"; returns the exit code (sysexits.h). */
    int (*run)(int argc, char **argv);
};

extern const struct command serve_command, check_config_command, print_config_command,
    send_test_command; /* commands/everyday.c */
extern const struct command platforms_command, verify_command, requarantine_command, subscribe_command;

/* The options that every command takes. Parsed by common_argp, a child whose input is this struct. */
struct common_options {
    const char *config_file; /* NULL: from the environment */
};
extern const struct argp common_argp;
extern const struct argp_child common_children[]; /* of an argp with common_argp as its only child */

/* Opens the settings and the log. What is wrong is on stderr then, and the result is the exit code; 0: opened. */
int command_open(struct settings *ret, const struct common_options *options, const char *workers);

/* Says it on stderr and returns the exit code. invalid: of INVALID, which is the user's, the file's or the settings'. */
int command_fail(const struct err *err, int invalid);

#endif
