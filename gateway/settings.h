/*
 * settings: what every command starts from: the configuration, and the platforms with their sources. It keeps what it
 * takes to read descriptors, sources and secrets again while the gateway runs.
 */
#ifndef SETTLE_GATEWAY_SETTINGS_H
#define SETTLE_GATEWAY_SETTINGS_H

#include "base/config.h"
#include "domain/platform.h"

struct settings {
    struct config *config;
    struct platforms *platforms; /* the present set; a share of it */
    /* Of settings.c alone, for settings_reload: */
    const char *path, *workers; /* as settings_open got them */
    char **variables; /* that held secrets or their paths; locked memory, NULL ends it. NULL: forgotten */
};

/* path NULL: SETTLE_CONFIG, else no file. workers NULL: as configured. Both stay the caller's. INVALID; nothing to
 * close then. On success the environment's secrets are wiped: the next call in this process finds none. */
enum status settings_open(struct settings *ret, const char *path, const char *workers,
                          struct err *err) MUST_CHECK;
void settings_close(struct settings *s);

/* A fresh set of the descriptors, sources and secrets that the files hold now, and the variables did at the start. The
 * caller's; s stays as it is. INVALID, also if it has not the same platforms as the present one: metrics are labelled
 * by them at the start.
 * *ret_late: a setting of ours that was changed too, but wants a restart; NULL: none. May run on a thread of its
 * own. */
enum status settings_reload(const struct settings *s, struct platforms **ret, const char **ret_late,
                            struct err *err) MUST_CHECK;

/* Each source none of whose secrets is in force at that time: all that is sent to it is refused.
 * why: "no secret in force until ...", "... since ..."; borrowed for the call. */
typedef void settings_idle(const struct platform *p, const struct source *s, const char *why, void *ctx);
void settings_each_idle(const struct platforms *set, int64_t wall_us, settings_idle *tell, void *ctx);
void settings_log_idle(const struct platforms *set); /* the same now, to the log */

/* For a process that verifies nothing: no secret is left in it, and it cannot reload. */
void settings_forget_secrets(struct settings *s);

#endif
