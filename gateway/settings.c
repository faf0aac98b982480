#include "settings.h"

#include <sodium.h>
#include <unistd.h>

enum { SECRET_FILE_BYTES = 8192 };

static enum status load_platforms(struct settings *s, struct err *err);
static enum status add_source(struct platforms *set, const struct config_source *source, struct err *err);

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
        status = platforms_add_source(set, span_of(source->platform), span_of(source->name),
                                      span_of(source->owner), secrets, err);
    sodium_memzero(room, sizeof(room));
    return status;
}

void settings_close(struct settings *s)
{
    platforms_close(s->platforms);
    config_close(s->config);
    *s = (struct settings){0};
}
