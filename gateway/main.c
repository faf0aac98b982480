/* settle-gateway: the command line. Each command has a file with its own options. */
#include "base/attr.h"
#include "base/core.h"
#include "command.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

static void command_first(int argc, char **argv);
static int run(const struct command *command, int argc, char **argv);
static const struct command *find(const char *name);
static bool is_among(const char *word, const char *const *words);
static void usage(FILE *to);

static const struct command *const commands[] = {
    &serve_command,  &check_config_command, &print_config_command, &send_test_command, &platforms_command,
    &verify_command, &requarantine_command, &spool_command,        &subscribe_command,
};

int main(int argc, char **argv)
{
    static const char *const help[] = {"help", "--help", "-?", NULL}, *const version[] = {"--version", "-V",
                                                                                          NULL};
    const struct command *command;

    core_off();
    argp_err_exit_status = EX_USAGE;
    command_first(argc, argv);
    if (argc < 2 || (argv[1][0] == '-' && !is_among(argv[1], help) && !is_among(argv[1], version)))
        return run(&serve_command, argc, argv); /* the one that may go without its name */
    if (is_among(argv[1], help)) {
        usage(stdout);
        return EX_OK;
    }
    if (is_among(argv[1], version)) {
        puts("settle-gateway " SETTLE_VERSION);
        return EX_OK;
    }
    command = find(argv[1]);
    if (!command) {
        fprintf(stderr, "settle-gateway: there is no command \"%s\"\n", argv[1]);
        usage(stderr);
        return EX_USAGE;
    }
    return run(command, argc - 1, argv + 1);
}

/* --config, which every command takes, may also stand before the command. */
static void command_first(int argc, char **argv)
{
    int at = 1;

    while (at < argc &&
           (strcmp(argv[at], "-c") == 0 || strncmp(argv[at], "--config", strlen("--config")) == 0))
        at += strchr(argv[at], '=') ? 1 : 2;
    if (at < argc && find(argv[at])) {
        char *command = argv[at];
        memmove(argv + 2, argv + 1, (size_t)(at - 1) * sizeof(argv[0]));
        argv[1] = command;
    }
}

static int run(const struct command *command, int argc, char **argv)
{
    char name[64];

    snprintf(name, sizeof(name), "settle-gateway %s", command->name);
    argv[0] = name;
    return command->run(argc, argv);
}

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < countof(commands); i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static bool is_among(const char *word, const char *const *words)
{
    for (; *words; words++)
        if (strcmp(word, *words) == 0)
            return true;
    return false;
}

static void usage(FILE *to)
{
    fputs(
        "usage: settle-gateway [COMMAND] [OPTION...]\n\n"
        "Takes the platforms' webhooks, stores each one durably in Postgres, and only then answers 2xx.\n\n",
        to);
    for (size_t i = 0; i < countof(commands); i++)
        fprintf(to, "  %-14s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\nWithout a command it serves. settle-gateway COMMAND --help tells the options of a command.\n",
          to);
}
