#include "settings.h"

#include "base/file.h"

#include <sodium.h>
#include <unistd.h>

static enum status load_platforms(struct settings *s, struct err *err);
static enum status add_source(struct platforms *set, const struct config_source *source, struct err *err);
static void wipe_secrets(char *const *environment);
static bool names_secret(const char *variable);

enum status settings_open(struct settings *ret, const char *path, const char *workers, struct err *err)
{
    const struct config_flag flags[] = {
        {"ingest.workers", workers}
    };

    *ret = (struct settings){0};
    if (sodium_init() < 0)
        return err_set(err, BROKEN, "libsodium does not start");
    ret->config = config_open(path, environ, flags, workers ? countof(flags) : 0, err);
    if (!ret->config)
        return err->code;
    if (config_check(ret->config, err) || load_platforms(ret, err)) {
        settings_close(ret);
        return err->code;
    }
    wipe_secrets(environ);
    return OK;
}

static enum status load_platforms(struct settings *s, struct err *err)
{
    s->platforms = platforms_load(s->config->platforms.folder, err);
    if (!s->platforms)
        return err->code;
    for (size_t i = 0; i < s->config->nsources; i++)
        if (add_source(s->platforms, &s->config->sources[i], err))
            return err_in(err, "source %zu", i + 1);
    return platforms_add_environment(s->platforms, environ, err);
}

static enum status add_source(struct platforms *set, const struct config_source *source, struct err *err)
{
    char room[SECRET_FILE_BYTES];
    struct span secrets;
    enum status status = config_secret(source, room, sizeof(room), &secrets, err);

    if (!status)
        status = platforms_add_source(set, span_of(source->platform), span_of(source->name), secrets, err);
    sodium_memzero(room, sizeof(room));
    return status;
}

/* All is copied: what stays in the environment could be read in /proc, and would be in every process of ours. */
static void wipe_secrets(char *const *environment)
{
    for (; *environment; environment++)
        if (names_secret(*environment)) {
            char *value = *environment + strcspn(*environment, "=");

            explicit_bzero(value, strlen(value));
        }
}

static bool names_secret(const char *variable)
{
    struct span value = span_of(variable), name = span_cut(&value, '=');

    return span_starts(name, SPAN("SETTLE_SECRET_")) || span_eq(name, SPAN("SETTLE_DATABASE_URL")) ||
           span_eq(name, SPAN("SETTLE_REDIS_URL")) ||
           span_eq(name, SPAN("SETTLE_ADMIN_RECONCILER_DATABASE_URL"));
}

void settings_close(struct settings *s)
{
    platforms_close(s->platforms);
    config_close(s->config);
    *s = (struct settings){0};
}
