/*
 * settings: what every command starts from: the configuration, and the platforms with their sources.
 */
#ifndef SETTLE_GATEWAY_SETTINGS_H
#define SETTLE_GATEWAY_SETTINGS_H

#include "base/config.h"
#include "domain/platform.h"

struct settings {
    struct config *config;
    struct platforms *platforms;
};

/* path NULL: SETTLE_CONFIG, else no file. workers NULL: as configured. INVALID; nothing to close then.
 * On success the environment's secrets are wiped: the next call in this process finds none. */
enum status settings_open(struct settings *ret, const char *path, const char *workers,
                          struct err *err) MUST_CHECK;
void settings_close(struct settings *s);

#endif
