/*
 * command: what settle-reconciler can do, one row each.
 */
#ifndef SETTLE_RECONCILER_COMMAND_H
#define SETTLE_RECONCILER_COMMAND_H

struct command {
    const char *name;
    const char *summary;
    int (*run)(int argc,
               char **argv); /* argv[0] is "settle-reconciler NAME"; returns the exit code (sysexits.h) */
};

extern const struct command publications_command, aggregates_command, explain_command, override_command,
    replay_command, platform_command, connections_command, keys_command, maintain_command, insights_command,
    serve_command, status_command, stats_command, alerts_command;

#endif
