/*
 * tool: what the commands share that do a person's word on one table (keys, connections): no job, no lock, no row in
 * job_runs. The options that each of them takes, and the settings and the connection that it works with. A dry run's connection
 * refuses to write.
 */
#ifndef SETTLE_RECONCILER_TOOL_H
#define SETTLE_RECONCILER_TOOL_H

#include "base/arena.h"
#include "base/config.h"
#include "store/pg.h"

#include <argp.h>

/* --config, --actor, --dry-run and --json: parsed by the one child in tool_children, whose input is this struct. */
struct tool_options {
    const char *config_path; /* NULL: from the environment */
    const char *actor;
    bool dry_run, json;
};
extern const struct argp_child tool_children[];
void tool_options_init(struct tool_options *o);

/* A time such as 2027-01-31T12:00:00Z; for argp parsers, which it ends with exit 64. option: its name. */
int64_t option_time(const char *text, const char *option, const struct argp_state *state);

struct tool {
    const struct tool_options *options;
    struct config *config;
    struct pg *pg;
    struct arena *arena;
};

/* Settings and log. INVALID: of the settings. To be closed also after a failure. */
enum status tool_open(struct tool *t, const struct tool_options *options, struct err *err) MUST_CHECK;
/* login: the role in Postgres; application: what Postgres shows of the connection. UNAVAILABLE, BROKEN: of Postgres. */
enum status tool_connect(struct tool *t, const char *login, const char *application,
                         struct err *err) MUST_CHECK;
void tool_close(struct tool *t);

#endif
