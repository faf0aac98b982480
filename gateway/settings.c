#include "settings.h"

#include "base/arena.h"
#include "base/file.h"
#include "base/log.h"
#include "base/now.h"
#include "domain/secret.h"
#include "ingest.h"

#include <sodium.h>
#include <stdlib.h>
#include <unistd.h>

enum { ALIGNMENT = 16, LIST_BYTES = 4096 };

static enum status load_platforms(const struct config *config, const char *public_url, char *const *variables,
                                  struct platforms **ret, struct err *err);
static enum status add_sources(struct platforms *set, const struct config *config, char *const *variables,
                               struct err *err);
static enum status add_source(struct platforms *set, const struct config_source *source, struct err *err);
static enum status add_verify_token(struct platforms *set, const struct config_source *source,
                                    struct err *err);
static enum status check_urls(const struct platforms *set, const char *public_url, struct err *err);
static enum status check_url(const struct platform *p, const struct source *s, struct err *err);
static char **keep_variables(char *const *environment);
static bool is_of_platforms(const char *variable);
static void wipe_secrets(char *const *environment);
static bool is_secret(const char *variable);
static enum status read_again(const struct settings *s, struct config **ret, struct err *err);
static bool is_for_reload(const char *variable);
static enum status check_same(const struct platforms *present, const struct platforms *fresh,
                              struct err *err);
static bool is_idle(const struct source *s, int64_t wall_us, char *why, size_t size);
static void log_idle(const struct platform *p, const struct source *s, const char *why, void *unused);

enum status settings_open(struct settings *ret, const char *path, const char *workers, struct err *err)
{
    const struct config_flag flags[] = {
        {"ingest.workers", workers}
    };

    *ret = (struct settings){.path = path, .workers = workers};
    if (sodium_init() < 0)
        return err_set(err, BROKEN, "libsodium does not start");
    ret->config = config_open(path, environ, flags, workers ? countof(flags) : 0, err);
    if (!ret->config)
        return err->code;
    ret->variables = keep_variables(environ);
    if (config_check(ret->config, err) ||
        load_platforms(ret->config, ret->config->ingest.public_url, ret->variables, &ret->platforms, err)) {
        settings_close(ret);
        return err->code;
    }
    wipe_secrets(environ);
    return OK;
}

static enum status load_platforms(const struct config *config, const char *public_url, char *const *variables,
                                  struct platforms **ret, struct err *err)
{
    struct platforms *set = platforms_load(config->platforms.folder, err);

    if (!set)
        return err->code;
    if (add_sources(set, config, variables, err) || check_urls(set, public_url, err) ||
        config_check_bodies(config, ingest_body_bytes(set, config->ingest.max_body_bytes), err)) {
        platforms_close(set);
        return err->code;
    }
    *ret = set;
    return OK;
}

static enum status add_sources(struct platforms *set, const struct config *config, char *const *variables,
                               struct err *err)
{
    for (size_t i = 0; i < config->nsources; i++) {
        const struct config_source *source = &config->sources[i];
        if (add_source(set, source, err) || add_verify_token(set, source, err) ||
            platforms_set_topics(set, span_of(source->platform), span_of(source->name), source->topics,
                                 source->ntopics, err))
            return err_in(err, "source %zu", i + 1);
    }
    return platforms_add_environment(set, variables, err);
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

static enum status add_verify_token(struct platforms *set, const struct config_source *source,
                                    struct err *err)
{
    char room[SECRET_FILE_BYTES];
    struct span token;
    enum status status = config_verify_token(source, room, sizeof(room), &token, err);

    if (!status && token.at)
        status =
            platforms_set_verify_token(set, span_of(source->platform), span_of(source->name), token, err);
    sodium_memzero(room, sizeof(room));
    return status;
}

static enum status check_urls(const struct platforms *set, const char *public_url, struct err *err)
{
    if (public_url[0])
        return OK;
    for (size_t i = 0; i < platforms_count(set); i++) {
        const struct platform *p = platforms_at(set, i);
        for (size_t k = 0; k < p->nsources; k++)
            if (check_url(p, &p->sources[k], err))
                return err->code;
    }
    return OK;
}

static enum status check_url(const struct platform *p, const struct source *s, struct err *err)
{
    const char *why = NULL;

    if (p->scheme.needs_url)
        why = "the URL that the sender called is part of what is signed";
    else if (s->ntopics > 0)
        why = "to subscribe to its topics the hub must be told where to call";
    return why ? err_set(err, INVALID, "source \"%.*s\" of %.*s: %s: set ingest.public_url",
                         SPAN_ARG(s->name), SPAN_ARG(p->name), why)
               : OK;
}

/* One block: the list, then the texts. */
static char **keep_variables(char *const *environment)
{
    size_t n = 1, bytes = 0;
    char **kept, *text;

    for (char *const *at = environment; *at; at++)
        if (is_of_platforms(*at)) {
            n++;
            bytes += strlen(*at) + 1;
        }
    bytes += n * sizeof(*kept);
    kept = sodium_malloc((bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    if (!kept)
        abort();
    text = (char *)(kept + n);
    n = 0;
    for (char *const *at = environment; *at; at++)
        if (is_of_platforms(*at)) {
            kept[n++] = text;
            text = stpcpy(text, *at) + 1;
        }
    kept[n] = NULL;
    sodium_mprotect_readonly(kept);
    return kept;
}

/* What was wiped has lost its "=". */
static bool is_of_platforms(const char *variable)
{
    if (!strchr(variable, '='))
        return false;
    return span_starts(span_of(variable), SPAN("SETTLE_SECRET_")) ||
           span_starts(span_of(variable), SPAN("SETTLE_VERIFY_TOKEN_"));
}

/* All is copied: what stays in the environment could be read in /proc, and would be in every process of ours. */
static void wipe_secrets(char *const *environment)
{
    for (; *environment; environment++)
        if (is_secret(*environment)) {
            char *value = *environment + strcspn(*environment, "=");

            explicit_bzero(value, strlen(value));
        }
}

static bool is_secret(const char *variable)
{
    struct span value = span_of(variable), name = span_cut(&value, '=');

    return is_of_platforms(variable) || span_eq(name, SPAN("SETTLE_DATABASE_URL")) ||
           span_eq(name, SPAN("SETTLE_REDIS_URL")) ||
           span_eq(name, SPAN("SETTLE_ADMIN_RECONCILER_DATABASE_URL"));
}

enum status settings_reload(const struct settings *s, struct platforms **ret, const char **ret_late,
                            struct err *err)
{
    struct config *fresh;
    struct platforms *set = NULL;
    enum status status = read_again(s, &fresh, err);

    if (status)
        return status;
    status = load_platforms(fresh, s->config->ingest.public_url, s->variables, &set, err);
    if (!status)
        status = check_same(s->platforms, set, err);
    *ret_late = config_gateway_needs_restart(s->config, fresh);
    config_close(fresh);
    if (status)
        platforms_close(set);
    else
        *ret = set;
    return status;
}

/* Of the configuration only what sources and descriptors need counts. The URLs that the file may hold are wiped again:
 * not every process may know them. */
static enum status read_again(const struct settings *s, struct config **ret, struct err *err)
{
    static const char *const urls[] = {"database.url", "redis.url", "admin.reconciler_database_url"};
    const struct config_flag flags[] = {
        {"ingest.workers", s->workers}
    };
    struct arena *arena = arena_open(LIST_BYTES);
    char **variables;
    size_t n = 0;

    while (environ[n])
        n++;
    variables = arena_zero(arena, (n + 1) * sizeof(*variables));
    n = 0;
    for (char *const *at = environ; *at; at++)
        if (is_for_reload(*at))
            variables[n++] = *at;
    *ret = config_open(s->path, variables, flags, s->workers ? countof(flags) : 0, err);
    arena_close(arena);
    if (!*ret)
        return err->code;
    for (size_t i = 0; i < countof(urls); i++)
        config_forget(*ret, urls[i]);
    return OK;
}

/* All but the URLs and their files, which were for the start alone. */
static bool is_for_reload(const char *variable)
{
    struct span value = span_of(variable), name = span_cut(&value, '=');

    return !memmem(name.at, name.len, "_URL_FILE", 9) && !is_secret(variable) && value.at;
}

static enum status check_same(const struct platforms *present, const struct platforms *fresh, struct err *err)
{
    size_t npresent = platforms_count(present), nfresh = platforms_count(fresh);

    for (size_t i = 0; i < npresent || i < nfresh; i++) {
        struct span is = i < npresent ? platforms_at(present, i)->name : SPAN_NONE;
        struct span will_be = i < nfresh ? platforms_at(fresh, i)->name : SPAN_NONE;
        bool is_new = !is.at || (will_be.at && span_compare(will_be, is) < 0);
        if (is.at && will_be.at && span_eq(is, will_be))
            continue;
        return err_set(err, INVALID, "platform \"%.*s\" is %s: that wants a restart",
                       SPAN_ARG(is_new ? will_be : is), is_new ? "new" : "gone");
    }
    return OK;
}

void settings_each_idle(const struct platforms *set, int64_t wall_us, settings_idle *tell, void *ctx)
{
    char why[128];

    for (size_t i = 0; i < platforms_count(set); i++) {
        const struct platform *p = platforms_at(set, i);
        for (size_t k = 0; k < p->nsources; k++)
            if (is_idle(&p->sources[k], wall_us, why, sizeof(why)))
                tell(p, &p->sources[k], why, ctx);
    }
}

/* The next beginning is told if there is one, else the last end. */
static bool is_idle(const struct source *s, int64_t wall_us, char *why, size_t size)
{
    int64_t until_us = INT64_MAX, since_us = TIME_NONE;
    char time[TIME_TEXT_BYTES];

    for (const struct secret *k = s->secrets; k < s->secrets + s->nsecrets; k++) {
        if (secret_is_active(k, wall_us))
            return false;
        if (k->not_before_us > wall_us && k->not_before_us < until_us)
            until_us = k->not_before_us;
        else if (k->expires_us > since_us)
            since_us = k->expires_us;
    }
    time_text(until_us < INT64_MAX ? until_us : since_us, time, sizeof(time));
    snprintf(why, size, "no secret in force %s %s: all that is sent to it is refused",
             until_us < INT64_MAX ? "until" : "since", time);
    return true;
}

void settings_log_idle(const struct platforms *set)
{
    settings_each_idle(set, now_wall_us(), log_idle, NULL);
}

static void log_idle(const struct platform *p, const struct source *s, const char *why, void *unused)
{
    (void)unused;
    log_warn("source_without_secret", LOG_SPAN("platform", p->name), LOG_SPAN("source", s->name),
             LOG_TEXT("why", why));
}

void settings_forget_secrets(struct settings *s)
{
    if (s->platforms)
        platforms_forget_secrets(s->platforms);
    sodium_free(s->variables);
    s->variables = NULL;
}

void settings_close(struct settings *s)
{
    platforms_close(s->platforms);
    sodium_free(s->variables);
    config_close(s->config);
    *s = (struct settings){0};
}
