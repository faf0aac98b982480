#include "command.h"

#include "base/attr.h"
#include "base/core.h"
#include "base/log.h"

#include <stdio.h>
#include <sysexits.h>

static const struct command *find(const char *name);
static void usage(FILE *to);

static const struct command *const commands[] = {
    &publications_command, /* the job */
    &aggregates_command,   &explain_command, &override_command, &replay_command,   &platform_command,
    &connections_command,  &keys_command,    &maintain_command, &insights_command, &serve_command,
    &status_command,       &stats_command,   &alerts_command,
};

int main(int argc, char **argv)
{
    const struct command *command;
    char name[64];

    core_off();
    log_open("settle-reconciler", LOG_INFO);
    if (argc < 2) {
        usage(stderr);
        return EX_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        usage(stdout);
        return EX_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("settle-reconciler " SETTLE_VERSION);
        return EX_OK;
    }
    command = find(argv[1]);
    if (!command) {
        fprintf(stderr, "settle-reconciler: there is no command \"%s\"\n", argv[1]);
        usage(stderr);
        return EX_USAGE;
    }
    snprintf(name, sizeof(name), "settle-reconciler %s", command->name);
    argv[1] = name;
    return command->run(argc - 1, argv + 1);
}

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < countof(commands); i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static void usage(FILE *to)
{
    fputs("usage: settle-reconciler COMMAND [OPTION...]\n\n", to);
    for (size_t i = 0; i < countof(commands); i++)
        fprintf(to, "  %-14s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\nsettle-reconciler COMMAND --help tells the options of a command.\n", to);
}
