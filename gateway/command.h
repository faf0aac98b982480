/*
 * command: what settle-gateway can do, one row each, and what its commands share: options, the settings they name, the
 * secret to speak with, and the exit codes (product.md 7).
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

extern const struct command serve_command, check_config_command, print_config_command, send_test_command,
    platforms_command, verify_command, requarantine_command, spool_command, subscribe_command;

/* What options that more than one command takes have said. */
struct common_options {
    const char *config_file;       /* NULL: from the environment */
    const char *platform, *source; /* NULL: not given */
    bool dry_run, json;
};

/* --config, which every command takes: a child of the command's argp, with struct common_options as its input. */
extern const struct argp common_argp;
extern const struct argp_child common_children[]; /* of an argp with common_argp as its only child */

/* The keys of the others. A command lists in its own table those it takes, each with what it means there. */
enum { OPTION_PLATFORM = 256, OPTION_SOURCE, OPTION_DRY_RUN, OPTION_JSON, OPTION_OWN };

/* The parser of a command without options of its own, whose input is struct common_options; another's calls it for the
 * keys that it does not know. Takes no argument that is no option. */
error_t command_parse(int key, char *value, struct common_options *o, struct argp_state *state);

/* Opens the settings and the log. What is wrong is on stderr then, and the result is the exit code; 0: opened. */
int command_open(struct settings *ret, const struct common_options *options, const char *workers);

/* Says it on stderr and returns the exit code. invalid: of INVALID, which is the user's, the file's or the settings'. */
int command_fail(const struct err *err, int invalid);
int command_code(const struct err *err, int invalid); /* the code alone */

/* INVALID: webhooks are to be kept in a folder that cannot keep them. Writes and syncs a file there for a moment.
 * *ret_too_fast: it syncs faster than any disk can, so it lies, or something between us and it does. */
enum status command_check_spool(const struct config *c, bool *ret_too_fast, struct err *err) MUST_CHECK;

/* INVALID: there is no such platform, or it has no such source with a secret. */
enum status command_source(const struct settings *settings, struct span platform, struct span source,
                           const struct platform **ret_platform, const struct source **ret_source,
                           struct err *err) MUST_CHECK;

/* The newest secret in force now with which a message can be signed, so no public key; NULL: there is none. */
const struct secret *command_secret(const struct platform *p, const struct source *s);

#endif
