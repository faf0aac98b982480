#include "base/config.h"

#include "base/arena.h"
#include "base/doc.h"
#include "base/file.h"
#include "base/form.h"
#include "base/near.h"
#include "base/number.h"

#include <unistd.h>

#include <cyaml/cyaml.h>

enum { FILE_BYTES = 1 << 20, UNIX_PATH_BYTES = 108, TOPICS_MAX = 10000, TENANT_MAX = 255 };

#define BODIES_BYTES_MAX   (UINT64_C(8) << 30) /* of one worker's clients: h2o holds bodies whole */
#define MEGABYTE           (UINT64_C(1) << 20)
#define REFUSED_HEAD_BYTES (UINT64_C(64) << 10) /* of a refused request besides its body */

/* What an option's text means, and what it is in struct config. */
enum kind {
    IS_TEXT,     /* const char *; "" is NULL */
    IS_URL,      /* const char *, may hold a password; "" stays */
    IS_URL_OR_0, /* the same; "" is NULL */
    IS_ORIGIN,   /* const char *: http(s)://host[:port][/path], no secret in it; "" stays */
    IS_COUNT,    /* unsigned */
    IS_SIZE,     /* size_t */
    IS_BOOL,     /* bool: true, false */
    IS_PREPARE,  /* bool: auto, off */
    IS_LISTEN,   /* struct address */
    IS_LEVEL,    /* enum log_level */
    IS_NETWORKS, /* struct config_networks: addresses and blocks of them, with blanks or commas between */
    IS_CRON,     /* struct cron_text; "" is never */
    IS_SOURCES,  /* lists: of the file alone */
    IS_TIMEOUTS,
    IS_BREAKERS,
};

struct option {
    const char *key;
    enum kind kind;
    size_t at;            /* in struct config */
    const char *usual;    /* the default, as a file would spell it; "=key": the value of that earlier row */
    unsigned least, most; /* of a number */
};

#define IN(member) offsetof(struct config, member)

/* Version 14 spoils rows of unequal length. */
/* clang-format off */
static const struct option options[] = {
    {"database.url", IS_URL, IN(database.url), ""},
    {"database.prepare", IS_PREPARE, IN(database.prepare), "auto"},
    {"redis.url", IS_URL_OR_0, IN(redis.url), ""},
    {"ingest.enabled", IS_BOOL, IN(ingest.enabled), "true"},
    {"ingest.listen", IS_LISTEN, IN(ingest.listen), "0.0.0.0:8080"},
    {"ingest.workers", IS_COUNT, IN(ingest.workers), "1", 1, 64},
    {"ingest.connections", IS_COUNT, IN(ingest.connections), "2", 1, 16},
    {"ingest.batch_rows", IS_COUNT, IN(ingest.batch_rows), "64", 1, 1000},
    {"ingest.queue", IS_COUNT, IN(ingest.queue), "4096", 1, 100000},
    {"ingest.commit_timeout_ms", IS_COUNT, IN(ingest.commit_timeout_ms), "2000", 100, 20000},
    {"ingest.max_body_bytes", IS_SIZE, IN(ingest.max_body_bytes), "1048576", 1024, 4194304},
    {"ingest.request_timeout_ms", IS_COUNT, IN(ingest.request_timeout_ms), "10000", 1000, 60000},
    {"ingest.linger_ms", IS_COUNT, IN(ingest.linger_ms), "5000", 0, 8000},
    {"ingest.max_connections", IS_COUNT, IN(ingest.max_connections), "2048", 1, 1000000},
    {"ingest.max_connections_per_address", IS_COUNT, IN(ingest.max_connections_per_address), "64", 0, 1000000},
    {"ingest.trusted_proxies", IS_NETWORKS, IN(ingest.trusted_proxies), "127.0.0.0/8 ::1"},
    {"ingest.public_url", IS_ORIGIN, IN(ingest.public_url), ""},
    {"spool.folder", IS_TEXT, IN(spool.folder), ""},
    {"spool.megabytes", IS_COUNT, IN(spool.megabytes), "1024", 1, 1048576},
    {"spool.after_ms", IS_COUNT, IN(spool.after_ms), "250", 10, 20000},
    {"spool.reserve_megabytes", IS_COUNT, IN(spool.reserve_megabytes), "16", 0, 1024},
    {"refused.inserts_per_second", IS_COUNT, IN(refused.inserts_per_second), "10", 1, 1000},
    {"refused.megabytes_per_source", IS_COUNT, IN(refused.megabytes_per_source), "64", 1, 1024},
    {"refused.keep_hours", IS_COUNT, IN(refused.keep_hours), "24", 1, 720},
    {"retention.receipt_days", IS_COUNT, IN(retention.receipt_days), "35", 2, 3650},
    {"retention.ledger_days", IS_COUNT, IN(retention.ledger_days), "400", 2, 3650},
    {"retention.cost_days", IS_COUNT, IN(retention.cost_days), "365", 2, 3650},
    {"admin.enabled", IS_BOOL, IN(admin.enabled), "true"},
    {"admin.listen", IS_LISTEN, IN(admin.listen), "127.0.0.1:8081"},
    {"admin.keys_required", IS_BOOL, IN(admin.keys_required), "true"},
    {"admin.requests_per_minute", IS_COUNT, IN(admin.requests_per_minute), "6000", 1, 1000000},
    {"admin.wrong_keys_per_minute", IS_COUNT, IN(admin.wrong_keys_per_minute), "300", 1, 1000000},
    {"admin.reconciler", IS_TEXT, IN(admin.reconciler), ""},
    {"admin.reconciler_database_url", IS_URL, IN(admin.reconciler_database_url), "=database.url"},
    {"monitor.enabled", IS_BOOL, IN(monitor.enabled), "true"},
    {"monitor.listen", IS_LISTEN, IN(monitor.listen), "127.0.0.1:9090"},
    {"log.level", IS_LEVEL, IN(log.level), "info"},
    {"platforms.folder", IS_TEXT, IN(platforms.folder), ""},
    {"reconcile.since_minutes", IS_COUNT, IN(reconcile.since_minutes), "10", 1, 1440},
    {"reconcile.batch_size", IS_COUNT, IN(reconcile.batch_size), "1000", 1, 10000},
    {"reconcile.evidence_age_minutes", IS_COUNT, IN(reconcile.evidence_age_minutes),
     "=reconcile.since_minutes", 0, 1440},
    {"reconcile.poll_seconds", IS_COUNT, IN(reconcile.poll_seconds), "30", 0, 600},
    {"reconcile.retry_before_fail", IS_COUNT, IN(reconcile.retry_before_fail), "0", 0, 10},
    {"reconcile.timeout_minutes", IS_TIMEOUTS},
    {"reconcile.failure_threshold", IS_COUNT, IN(reconcile.breaker.failure_threshold), "5", 1, 1000},
    {"reconcile.open_cooldown_seconds", IS_COUNT, IN(reconcile.breaker.open_cooldown_seconds), "300", 1, 86400},
    {"reconcile.half_open_probe_count", IS_COUNT, IN(reconcile.breaker.half_open_probe_count), "3", 1, 100},
    {"reconcile.breakers", IS_BREAKERS},
    {"schedules.publications", IS_CRON, IN(schedules.publications), "* * * * *"},
    {"schedules.maintain", IS_CRON, IN(schedules.maintain), "0 * * * *"},
    {"schedules.insights", IS_CRON, IN(schedules.insights), "*/15 * * * *"},
    {"schedules.aggregates", IS_CRON, IN(schedules.aggregates), "5 0 * * *"},
    {"schedules.stats", IS_CRON, IN(schedules.stats), "*/5 * * * *"},
    {"schedules.alerts", IS_CRON, IN(schedules.alerts), "*/5 * * * *"},
    {"serve.busy_rows", IS_COUNT, IN(serve.busy_rows), "1000", 1, 1000000},
    {"serve.busy_seconds", IS_COUNT, IN(serve.busy_seconds), "15", 0, 3600},
    {"serve.idle_seconds", IS_COUNT, IN(serve.idle_seconds), "300", 0, 3600},
    {"insights.at_once", IS_COUNT, IN(insights.at_once), "10", 1, 100},
    {"insights.batch_seconds", IS_COUNT, IN(insights.batch_seconds), "300", 1, 3600},
    {"insights.lease_seconds", IS_COUNT, IN(insights.lease_seconds), "900", 2, 86400},
    {"insights.idle_minutes", IS_COUNT, IN(insights.idle_minutes), "60", 0, 1440},
    {"fetch.allow_http", IS_BOOL, IN(fetch.allow_http), "false"},
    {"fetch.allow_private", IS_NETWORKS, IN(fetch.allow_private), ""},
    {"fetch.ca_file", IS_TEXT, IN(fetch.ca_file), ""},
    {"fetch.at_once", IS_COUNT, IN(fetch.at_once), "16", 1, 256},
    {"fetch.at_once_per_platform", IS_COUNT, IN(fetch.at_once_per_platform), "4", 1, 256},
    {"fetch.connect_timeout_ms", IS_COUNT, IN(fetch.connect_timeout_ms), "5000", 10, 20000},
    {"fetch.timeout_ms", IS_COUNT, IN(fetch.timeout_ms), "15000", 10, 20000},
    {"fetch.backoff_ms", IS_COUNT, IN(fetch.backoff_ms), "1000", 1, 60000},
    {"fetch.max_answer_bytes", IS_SIZE, IN(fetch.max_answer_bytes), "1048576", 1024, 16777216},
    {"connections.key_file", IS_TEXT, IN(connections.key_file), ""},
    {"sources", IS_SOURCES},
    {"unsafe_ok", IS_BOOL, IN(unsafe_ok), "false"},
};
/* clang-format on */

/* A config with what print needs besides. */
struct settings {
    struct config config; /* first: it is what callers hold */
    struct arena *arena;
    const char *file; /* NULL: none */
    struct {
        struct span text;
        const char *origin; /* "default", the file, a variable, "flag" */
    } values[countof(options)];
};

/* The file as libcyaml reads it: all scalars are text, parsed by us. */
struct raw {
    char *values[countof(options)]; /* NULL: not there; lists leave theirs empty */
    struct raw_source {
        char *platform, *name, *secret_file, *verify_token_file, *tenant;
        char **topics;
        uint32_t ntopics;
    } * sources;
    struct raw_timeout {
        char *platform, *minutes;
    } * timeouts;
    struct raw_breaker {
        char *platform, *failure_threshold, *open_cooldown_seconds, *half_open_probe_count;
    } * breakers;
    uint32_t nsources, ntimeouts, nbreakers;
};

struct schema {
    cyaml_schema_field_t top[countof(options) + 1];
    cyaml_schema_field_t sections[2 * countof(options)]; /* each section's fields and their end mark */
    cyaml_schema_value_t root;
};

static enum status load(struct settings *s, const char *path, char *const *environment,
                        const struct config_flag *flags, size_t nflags, struct err *err);
static enum status load_file(struct settings *s, struct err *err);
static struct schema *schema_make(struct arena *arena);
static void schema_field(cyaml_schema_field_t *field, const char *name, size_t option);
static enum status take_file(struct settings *s, const struct form *form, struct err *err);
static void take_sources(struct settings *s, const struct form *form);
static void take_source(struct settings *s, const struct raw_source *from, struct config_source *to);
static enum status take_timeouts(struct settings *s, const struct form *form, struct err *err);
static enum status take_breakers(struct settings *s, const struct form *form, struct err *err);
static enum status take_breaker(struct settings *s, const struct form *form, size_t index, struct err *err);
static enum status take_environment(struct settings *s, char *const *environment, struct err *err);
static enum status check_spelling(char *const *environment, struct err *err);
static bool is_misspelt(struct span name, struct span meant, size_t edits);
static size_t edits_to_nearest(struct span name, struct arena *arena, struct span *ret);
static void take_nearer(struct span name, struct span known, size_t *least, struct span *ret);
static const char *variable_of(const char *key, struct arena *arena);
static enum status take_secret_file(struct settings *s, size_t option, const char *variable, const char *path,
                                    struct err *err);
static const char *variable_value(char *const *environment, const char *name);
static enum status take_flags(struct settings *s, const struct config_flag *flags, size_t nflags,
                              struct err *err);
static enum status take_rest(struct settings *s, struct err *err);
static void fill_breakers(struct settings *s);
static enum status take(struct settings *s, size_t option, struct span text, const char *origin,
                        struct err *err);
static const char *parse(struct settings *s, const struct option *o, struct span text);
static const char *parse_number(struct settings *s, const struct option *o, struct span text, unsigned *ret);
static bool parse_word(struct span text, const char *yes, const char *no, bool *ret);
static const char *parse_listen(struct settings *s, struct span text, struct address *ret);
static const char *parse_origin(struct span text, const char **ret);
static const char *parse_networks(struct settings *s, struct span text, struct config_networks *ret);
static const char *parse_cron(struct settings *s, struct span text, struct cron_text *ret);
static size_t option_index(struct span key);
static bool is_of_reconciler(const struct option *o);
static bool is_secret(const struct option *o);
static bool is_list(const struct option *o);
static void print_option(const struct settings *s, size_t option, FILE *out);
static void print_list(const struct settings *s, const struct option *o, FILE *out);
static const char *section_json(const struct settings *s, struct span section, struct arena *arena);
static const char *value_json(const struct settings *s, size_t option, struct arena *arena);
static void print_source(const struct config_source *source, struct arena *arena, FILE *out);
static const char *quoted(const char *text, struct arena *arena);
static struct span masked(struct span url, struct arena *arena);
static struct span password_in_user(struct span url);
static struct span password_in_words(struct span url);

struct config *config_open(const char *path, char *const *environment, const struct config_flag *flags,
                           size_t nflags, struct err *err)
{
    struct arena *arena = arena_open(16384);
    struct settings *s = arena_zero(arena, sizeof(*s));

    s->arena = arena;
    if (load(s, path, environment, flags, nflags, err) == OK)
        return &s->config;
    arena_close(arena);
    return NULL;
}

void config_close(struct config *c)
{
    if (c)
        arena_close(((struct settings *)c)->arena);
}

const char *config_file(const struct config *c)
{
    return ((const struct settings *)c)->file;
}

void config_print(const struct config *c, FILE *out)
{
    const struct settings *s = (const struct settings *)c;
    struct span open = SPAN_NONE;

    fprintf(out, "# %s\n", s->file ? s->file : "no settings file");
    for (size_t i = 0; i < countof(options); i++) {
        struct span name = span_of(options[i].key), section = span_cut(&name, '.');
        if (name.at && !span_eq(section, open))
            fprintf(out, "%.*s:\n", SPAN_ARG(section));
        open = section;
        print_option(s, i, out);
    }
}

struct span config_json(const struct config *c, const char *const *sections, size_t nsections,
                        struct arena *arena)
{
    const char *text = "{";

    for (size_t i = 0; i < nsections; i++)
        text = arena_print(arena, "%s%s\"%s\":{%s}", text, i > 0 ? "," : "", sections[i],
                           section_json((const struct settings *)c, span_of(sections[i]), arena));
    return span_of(arena_print(arena, "%s}", text));
}

enum status config_check(const struct config *c, struct err *err)
{
    struct arena *arena = arena_open(1024);
    char room[SECRET_FILE_BYTES];
    struct span text;
    const char **names;
    size_t nnames;
    enum status status = OK;

    if (c->platforms.folder && file_names(c->platforms.folder, ".yaml", arena, &names, &nnames, err))
        status = err_in(err, "platforms.folder");
    if (status == OK && c->admin.reconciler && access(c->admin.reconciler, X_OK) != 0)
        status = err_set(err, INVALID, "admin.reconciler: \"%s\" is no program that may be run",
                         c->admin.reconciler);
    if (status == OK)
        status = config_check_bodies(c, c->ingest.max_body_bytes, err);
    for (size_t i = 0; status == OK && i < c->nsources; i++) {
        status = config_secret(&c->sources[i], room, sizeof(room), &text, err);
        if (status == OK)
            status = config_verify_token(&c->sources[i], room, sizeof(room), &text, err);
        explicit_bzero(room, sizeof(room));
    }
    arena_close(arena);
    return status;
}

enum status config_check_bodies(const struct config *c, size_t largest_bytes, struct err *err)
{
    uint64_t share_bytes = c->refused.megabytes_per_source * (uint64_t)MEGABYTE / c->ingest.workers;

    if (c->ingest.max_connections * (uint64_t)largest_bytes > BODIES_BYTES_MAX)
        return err_set(
            err, INVALID,
            "ingest.max_connections x ingest.max_body_bytes, or the max_body_bytes of a platform: %u bodies "
            "of %zu bytes could come at once to each worker, and more than 8 GiB are too much",
            c->ingest.max_connections, largest_bytes);
    if (share_bytes < largest_bytes + REFUSED_HEAD_BYTES)
        return err_set(
            err, INVALID,
            "refused.megabytes_per_source / ingest.workers: of %u MiB each of %u workers has a share that "
            "holds no request with a body of %zu bytes, which ingest.max_body_bytes or a platform allows",
            c->refused.megabytes_per_source, c->ingest.workers, largest_bytes);
    return OK;
}

const char *config_tenant_of(const struct config *c, struct span platform, struct span source)
{
    for (size_t i = 0; i < c->nsources; i++)
        if (span_eq(span_of(c->sources[i].platform), platform) &&
            span_eq(span_of(c->sources[i].name), source))
            return c->sources[i].tenant;
    return NULL;
}

enum status config_secret(const struct config_source *source, char *room, size_t size, struct span *ret,
                          struct err *err)
{
    if (file_read(source->secret_file, room, size, ret, err))
        return err_in(err, "source \"%s\" of %s", source->name, source->platform);
    return OK;
}

enum status config_verify_token(const struct config_source *source, char *room, size_t size, struct span *ret,
                                struct err *err)
{
    *ret = SPAN_NONE;
    if (source->verify_token_file && file_read(source->verify_token_file, room, size, ret, err))
        return err_in(err, "source \"%s\" of %s", source->name, source->platform);
    return OK;
}

const char *config_gateway_needs_restart(const struct config *running, const struct config *fresh)
{
    const struct settings *one = (const struct settings *)running, *other = (const struct settings *)fresh;

    for (size_t i = 0; i < countof(options); i++)
        if (!is_secret(&options[i]) && options[i].at != IN(platforms.folder) &&
            !is_of_reconciler(&options[i]) && !span_eq(one->values[i].text, other->values[i].text))
            return options[i].key;
    return NULL;
}

static bool is_of_reconciler(const struct option *o)
{
    static const char *const keys[] = {
        "reconcile.",           "schedules.", "serve.", "insights.", "fetch.", "retention.receipt_days",
        "retention.ledger_days"};

    for (size_t i = 0; i < countof(keys); i++)
        if (span_starts(span_of(o->key), span_of(keys[i])))
            return true;
    return false;
}

void config_forget(struct config *c, const char *key)
{
    struct settings *s = (struct settings *)c;
    struct span *text =
        &s->values[option_index(span_of(key))].text; /* where the config's own pointer points */

    explicit_bzero((char *)(uintptr_t)text->at, text->len);
    text->len = 0;
}

const char *config_key(size_t index)
{
    return index < countof(options) ? options[index].key : NULL;
}

/* Each step replaces what an earlier one has set; take_rest sees to what none has. */
static enum status load(struct settings *s, const char *path, char *const *environment,
                        const struct config_flag *flags, size_t nflags, struct err *err)
{
    enum status status = OK;

    if (!path)
        path = variable_value(environment, "SETTLE_CONFIG");
    if (path && path[0]) {
        s->file = arena_copy(s->arena, span_of(path)).at;
        status = load_file(s, err);
    }
    if (status == OK)
        status = take_environment(s, environment, err);
    if (status == OK)
        status = take_flags(s, flags, nflags, err);
    if (status == OK)
        status = take_rest(s, err);
    if (status == OK)
        fill_breakers(s);
    return status;
}

static enum status load_file(struct settings *s, struct err *err)
{
    char *room = arena_alloc(s->arena, FILE_BYTES);
    struct form *form;
    struct span text;
    enum status status;

    if (file_read(s->file, room, FILE_BYTES, &text, err))
        return err->code;
    form = form_open(s->file, text, &schema_make(s->arena)->root, err);
    if (!form)
        return err->code;
    take_sources(s, form);
    status = take_file(s, form, err);
    if (status == OK)
        status = take_timeouts(s, form, err);
    if (status == OK)
        status = take_breakers(s, form, err);
    form_close(form);
    explicit_bzero(room, text.len);
    return status;
}

/* The libcyaml schema of the table. All sections share struct raw: a section is a mapping at offset 0. */
static struct schema *schema_make(struct arena *arena)
{
    struct schema *s = arena_zero(arena, sizeof(*s));
    cyaml_schema_field_t *top = s->top, *field = s->sections;
    struct span open = SPAN_NONE;

    for (size_t i = 0; i < countof(options); i++) {
        struct span name = span_of(options[i].key), section = span_cut(&name, '.');
        if (!name.at) {
            schema_field(top++, options[i].key, i);
            continue;
        }
        if (!span_eq(section, open)) {
            field += field > s->sections; /* leaves the end mark of the section before */
            *top++ = (cyaml_schema_field_t){
                .key = arena_copy(arena, section).at,
                .value = {.type = CYAML_MAPPING,
                          .flags = CYAML_FLAG_OPTIONAL,
                          .data_size = sizeof(struct raw),
                          .mapping = {.fields = field}}
            };
            open = section;
        }
        schema_field(field++, name.at, i);
    }
    s->root = (cyaml_schema_value_t){.type = CYAML_MAPPING,
                                     .flags = CYAML_FLAG_POINTER,
                                     .data_size = sizeof(struct raw),
                                     .mapping = {.fields = s->top}};
    return s;
}

static void schema_field(cyaml_schema_field_t *field, const char *name, size_t option)
{
    static const cyaml_schema_value_t text = {
        CYAML_VALUE_STRING(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, char, 0, CYAML_UNLIMITED)};
    static const cyaml_schema_value_t topic = {
        CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 1, CYAML_UNLIMITED)};
    static const cyaml_schema_field_t source_fields[] = {
        CYAML_FIELD_STRING_PTR("platform", CYAML_FLAG_POINTER, struct raw_source, platform, 1,
                               CYAML_UNLIMITED),
        CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw_source, name, 1,
                               CYAML_UNLIMITED),
        CYAML_FIELD_STRING_PTR("secret_file", CYAML_FLAG_POINTER, struct raw_source, secret_file, 1,
                               CYAML_UNLIMITED),
        CYAML_FIELD_STRING_PTR("verify_token_file", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,
                               struct raw_source, verify_token_file, 1, CYAML_UNLIMITED),
        CYAML_FIELD_STRING_PTR("tenant", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw_source, tenant,
                               1, TENANT_MAX),
        CYAML_FIELD_SEQUENCE_COUNT("topics", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw_source,
                                   topics, ntopics, &topic, 0, TOPICS_MAX),
        CYAML_FIELD_END};
    static const cyaml_schema_field_t timeout_fields[] = {
        CYAML_FIELD_STRING_PTR("platform", CYAML_FLAG_POINTER, struct raw_timeout, platform, 1,
                               CYAML_UNLIMITED),
        CYAML_FIELD_STRING_PTR("minutes", CYAML_FLAG_POINTER, struct raw_timeout, minutes, 1,
                               CYAML_UNLIMITED),
        CYAML_FIELD_END};
    static const cyaml_schema_field_t breaker_fields[] = {
        CYAML_FIELD_STRING_PTR("platform", CYAML_FLAG_POINTER, struct raw_breaker, platform, 1,
                               CYAML_UNLIMITED),
        CYAML_FIELD_STRING_PTR("failure_threshold", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,
                               struct raw_breaker, failure_threshold, 1, CYAML_UNLIMITED),
        CYAML_FIELD_STRING_PTR("open_cooldown_seconds", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,
                               struct raw_breaker, open_cooldown_seconds, 1, CYAML_UNLIMITED),
        CYAML_FIELD_STRING_PTR("half_open_probe_count", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,
                               struct raw_breaker, half_open_probe_count, 1, CYAML_UNLIMITED),
        CYAML_FIELD_END};
    static const cyaml_schema_value_t source = {
        CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_source, source_fields)};
    static const cyaml_schema_value_t timeout = {
        CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_timeout, timeout_fields)};
    static const cyaml_schema_value_t breaker = {
        CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_breaker, breaker_fields)};
    static const cyaml_schema_field_t sources =
        CYAML_FIELD_SEQUENCE_COUNT("", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw, sources,
                                   nsources, &source, 0, CYAML_UNLIMITED);
    static const cyaml_schema_field_t timeouts =
        CYAML_FIELD_SEQUENCE_COUNT("", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw, timeouts,
                                   ntimeouts, &timeout, 0, CYAML_UNLIMITED);
    static const cyaml_schema_field_t breakers =
        CYAML_FIELD_SEQUENCE_COUNT("", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw, breakers,
                                   nbreakers, &breaker, 0, CYAML_UNLIMITED);

    if (options[option].kind == IS_SOURCES)
        *field = sources;
    else if (options[option].kind == IS_TIMEOUTS)
        *field = timeouts;
    else if (options[option].kind == IS_BREAKERS)
        *field = breakers;
    else
        *field = (cyaml_schema_field_t){
            .data_offset = (uint32_t)(offsetof(struct raw, values) + option * sizeof(char *)), .value = text};
    field->key = name;
}

static enum status take_file(struct settings *s, const struct form *form, struct err *err)
{
    const struct raw *raw = form_data(form);

    for (size_t i = 0; i < countof(options); i++)
        if (raw->values[i] && take(s, i, span_of(raw->values[i]), s->file, err))
            return form_wrong(form, err, options[i].key, "%s", arena_copy(s->arena, span_of(err->text)).at);
    return OK;
}

static void take_sources(struct settings *s, const struct form *form)
{
    const struct raw *raw = form_data(form);

    s->config.nsources = raw->nsources;
    s->config.sources = arena_zero(s->arena, raw->nsources * sizeof(*s->config.sources));
    for (size_t i = 0; i < raw->nsources; i++)
        take_source(s, &raw->sources[i], &s->config.sources[i]);
}

static void take_source(struct settings *s, const struct raw_source *from, struct config_source *to)
{
    const char **topics = arena_zero(s->arena, (from->ntopics + 1) * sizeof(*topics));

    for (size_t i = 0; i < from->ntopics; i++)
        topics[i] = arena_copy(s->arena, span_of(from->topics[i])).at;
    *to = (struct config_source){
        .platform = arena_copy(s->arena, span_of(from->platform)).at,
        .name = arena_copy(s->arena, span_of(from->name ? from->name : "default")).at,
        .secret_file = arena_copy(s->arena, span_of(from->secret_file)).at,
        .verify_token_file =
            from->verify_token_file ? arena_copy(s->arena, span_of(from->verify_token_file)).at : NULL,
        .tenant = from->tenant ? arena_copy(s->arena, span_of(from->tenant)).at : NULL,
        .topics = topics,
        .ntopics = from->ntopics,
    };
}

static enum status take_timeouts(struct settings *s, const struct form *form, struct err *err)
{
    static const struct option minutes = {.least = 1, .most = 525600};
    const struct raw *raw = form_data(form);

    s->config.reconcile.ntimeouts = raw->ntimeouts;
    s->config.reconcile.timeouts =
        arena_zero(s->arena, raw->ntimeouts * sizeof(*s->config.reconcile.timeouts));
    for (size_t i = 0; i < raw->ntimeouts; i++) {
        struct config_timeout *to = &s->config.reconcile.timeouts[i];
        const char *wrong = parse_number(s, &minutes, span_of(raw->timeouts[i].minutes), &to->minutes);
        if (wrong)
            return form_wrong(form, err, arena_print(s->arena, "reconcile.timeout_minutes[%zu].minutes", i),
                              "%s", wrong);
        to->platform = arena_copy(s->arena, span_of(raw->timeouts[i].platform)).at;
    }
    return OK;
}

static enum status take_breakers(struct settings *s, const struct form *form, struct err *err)
{
    const struct raw *raw = form_data(form);

    s->config.reconcile.nbreakers = raw->nbreakers;
    s->config.reconcile.breakers =
        arena_zero(s->arena, raw->nbreakers * sizeof(*s->config.reconcile.breakers));
    for (size_t i = 0; i < raw->nbreakers; i++)
        if (take_breaker(s, form, i, err))
            return err->code;
    return OK;
}

/* What is left out stays 0. */
static enum status take_breaker(struct settings *s, const struct form *form, size_t index, struct err *err)
{
    const struct raw_breaker *from = &((const struct raw *)form_data(form))->breakers[index];
    struct config_breaker *to = &s->config.reconcile.breakers[index];
    const struct {
        const char *name, *text;
        unsigned *ret;
    } numbers[] = {
        {"failure_threshold",     from->failure_threshold,     &to->failure_threshold    },
        {"open_cooldown_seconds", from->open_cooldown_seconds, &to->open_cooldown_seconds},
        {"half_open_probe_count", from->half_open_probe_count, &to->half_open_probe_count},
    };

    to->platform = arena_copy(s->arena, span_of(from->platform)).at;
    for (size_t i = 0; i < countof(numbers); i++) {
        const char *key = arena_print(s->arena, "reconcile.%s", numbers[i].name), *wrong;
        if (!numbers[i].text)
            continue;
        wrong =
            parse_number(s, &options[option_index(span_of(key))], span_of(numbers[i].text), numbers[i].ret);
        if (wrong)
            return form_wrong(form, err,
                              arena_print(s->arena, "reconcile.breakers[%zu].%s", index, numbers[i].name),
                              "%s", wrong);
    }
    return OK;
}

static enum status take_environment(struct settings *s, char *const *environment, struct err *err)
{
    for (size_t i = 0; i < countof(options); i++) {
        const char *name = variable_of(options[i].key, s->arena), *value = variable_value(environment, name);
        const char *file_name = arena_print(s->arena, "%s_FILE", name);
        const char *path = is_secret(&options[i]) ? variable_value(environment, file_name) : NULL;
        if (value && path)
            return err_set(err, INVALID, "%s and %s are both set; one of them is enough", name, file_name);
        if (value && take(s, i, span_of(value), name, err))
            return err_in(err, "%s", name);
        if (path && take_secret_file(s, i, file_name, path, err))
            return err_in(err, "%s", file_name);
    }
    return check_spelling(environment, err);
}

/* A setting that nobody reads would be missed at the worst moment. Names that are far from all of ours may mean something to
 * others: Kubernetes adds SETTLE_SERVICE_HOST where a Service is called settle, and SETTLE_REDIS_PORT for settle-redis. */
static enum status check_spelling(char *const *environment, struct err *err)
{
    struct arena *arena = arena_open(16384);
    enum status status = OK;

    for (; *environment && status == OK; environment++) {
        struct span name = {*environment, strcspn(*environment, "=")}, meant = SPAN_NONE;
        size_t edits = span_starts(name, SPAN("SETTLE_")) ? edits_to_nearest(name, arena, &meant) : 0;
        if (edits > 0 && is_misspelt(name, meant, edits))
            status = err_set(err, INVALID, "%.*s: there is no such setting; %.*s is meant?", SPAN_ARG(name),
                             SPAN_ARG(meant));
    }
    arena_close(arena);
    return status;
}

/* "..._TIMEOUT" means "..._TIMEOUT_MS". */
static bool is_misspelt(struct span name, struct span meant, size_t edits)
{
    return edits <= 2 || (edits == 3 && span_starts(meant, name));
}

static size_t edits_to_nearest(struct span name, struct arena *arena, struct span *ret)
{
    size_t least = SIZE_MAX;

    take_nearer(name, SPAN("SETTLE_CONFIG"), &least, ret);
    for (size_t i = 0; i < countof(options); i++) {
        const char *variable = variable_of(options[i].key, arena);
        take_nearer(name, span_of(variable), &least, ret);
        if (is_secret(&options[i]))
            take_nearer(name, span_of(arena_print(arena, "%s_FILE", variable)), &least, ret);
    }
    return least;
}

static void take_nearer(struct span name, struct span known, size_t *least, struct span *ret)
{
    size_t edits = near_edits(name, known);

    if (edits >= *least)
        return;
    *least = edits;
    *ret = known;
}

/* "ingest.batch_rows" is SETTLE_INGEST_BATCH_ROWS. */
static const char *variable_of(const char *key, struct arena *arena)
{
    char *name = arena_print(arena, "SETTLE_%s", key);

    for (char *c = name; *c; c++)
        if (*c >= 'a' && *c <= 'z')
            *c = (char)(*c - 'a' + 'A');
        else if (*c == '.')
            *c = '_';
    return name;
}

static enum status take_secret_file(struct settings *s, size_t option, const char *variable, const char *path,
                                    struct err *err)
{
    char *room = arena_alloc(s->arena, SECRET_FILE_BYTES);
    struct span text;
    enum status status;

    if (file_read(path, room, SECRET_FILE_BYTES, &text, err))
        return err->code;
    while (text.len > 0 && (text.at[text.len - 1] == '\n' || text.at[text.len - 1] == '\r'))
        text.len--;
    status = take(s, option, text, variable, err);
    explicit_bzero(room, SECRET_FILE_BYTES); /* the copy is the only one: config_forget */
    return status;
}

static const char *variable_value(char *const *environment, const char *name)
{
    size_t len = strlen(name);

    for (; *environment; environment++)
        if (strncmp(*environment, name, len) == 0 && (*environment)[len] == '=')
            return *environment + len + 1;
    return NULL;
}

static enum status take_flags(struct settings *s, const struct config_flag *flags, size_t nflags,
                              struct err *err)
{
    for (size_t i = 0; i < nflags; i++) {
        size_t option = option_index(span_of(flags[i].key));
        if (option == countof(options))
            return err_set(err, INVALID, "%s: there is no such option", flags[i].key);
        if (take(s, option, span_of(flags[i].value), "flag", err))
            return err_in(err, "%s", flags[i].key);
    }
    return OK;
}

static enum status take_rest(struct settings *s, struct err *err)
{
    for (size_t i = 0; i < countof(options); i++) {
        struct span text = span_of(options[i].usual);
        if (s->values[i].origin || !text.at)
            continue;
        if (span_starts(text, SPAN("=")))
            text = s->values[option_index(span_skip(text, 1))].text;
        if (take(s, i, text, "default", err))
            return err_in(err, "%s", options[i].key);
    }
    return OK;
}

/* What a platform's breaker leaves out is as every platform's, which only now is known. */
static void fill_breakers(struct settings *s)
{
    const struct config_breaker *usual = &s->config.reconcile.breaker;

    for (size_t i = 0; i < s->config.reconcile.nbreakers; i++) {
        struct config_breaker *b = &s->config.reconcile.breakers[i];
        if (b->failure_threshold == 0)
            b->failure_threshold = usual->failure_threshold;
        if (b->open_cooldown_seconds == 0)
            b->open_cooldown_seconds = usual->open_cooldown_seconds;
        if (b->half_open_probe_count == 0)
            b->half_open_probe_count = usual->half_open_probe_count;
    }
}

/* INVALID says what the value should be, without its name. */
static enum status take(struct settings *s, size_t option, struct span text, const char *origin,
                        struct err *err)
{
    const char *wrong;

    s->values[option].text = text = arena_copy(s->arena, text);
    s->values[option].origin = origin;
    if (memchr(text.at, '\0', text.len))
        return err_set(err, INVALID, "holds a NUL byte");
    wrong = parse(s, &options[option], text);
    return wrong ? err_set(err, INVALID, "%s", wrong) : OK;
}

/* Returns what is wrong, or NULL. */
static const char *parse(struct settings *s, const struct option *o, struct span text)
{
    void *ret = (char *)&s->config + o->at;
    enum log_level *level = ret;
    unsigned number = 0;
    const char *wrong;

    switch (o->kind) {
    case IS_URL:
        *(const char **)ret = text.at;
        return NULL;
    case IS_TEXT:
    case IS_URL_OR_0:
        *(const char **)ret = text.len ? text.at : NULL;
        return NULL;
    case IS_ORIGIN:
        return parse_origin(text, ret);
    case IS_COUNT:
        return parse_number(s, o, text, ret);
    case IS_SIZE:
        wrong = parse_number(s, o, text, &number);
        *(size_t *)ret = number;
        return wrong;
    case IS_BOOL:
        return parse_word(text, "true", "false", ret) ? NULL : "must be true or false";
    case IS_PREPARE:
        return parse_word(text, "auto", "off", ret) ? NULL : "must be auto or off";
    case IS_LISTEN:
        return parse_listen(s, text, ret);
    case IS_LEVEL:
        return log_level_parse(text, level) ? NULL : "must be debug, info, warn or error";
    case IS_NETWORKS:
        return parse_networks(s, text, ret);
    case IS_CRON:
        return parse_cron(s, text, ret);
    case IS_SOURCES:
    case IS_TIMEOUTS:
    case IS_BREAKERS:
        break;
    }
    return "is a list: only a file can set it";
}

static const char *parse_number(struct settings *s, const struct option *o, struct span text, unsigned *ret)
{
    uint64_t number;

    if (!number_parse(text, o->least, o->most, &number))
        return arena_print(s->arena, "\"%.*s\" is not a whole number from %u to %u, without a unit",
                           SPAN_ARG(text), o->least, o->most);
    *ret = (unsigned)number;
    return NULL;
}

static bool parse_word(struct span text, const char *yes, const char *no, bool *ret)
{
    *ret = span_eq(text, span_of(yes));
    return *ret || span_eq(text, span_of(no));
}

static const char *parse_listen(struct settings *s, struct span text, struct address *ret)
{
    static const char *const forms = "must be host:port, [::1]:port or unix:/path";
    const char *colon = text.len ? memrchr(text.at, ':', text.len) : NULL;
    struct span host, port;
    uint64_t number;

    *ret = (struct address){.path = NULL};
    if (span_starts(text, SPAN("unix:"))) {
        ret->path = text.at + strlen("unix:");
        return ret->path[0] == '/' && strlen(ret->path) < UNIX_PATH_BYTES ? NULL
                                                                          : "must be unix: and a full path";
    }
    if (!colon)
        return forms;
    host = (struct span){text.at, (size_t)(colon - text.at)};
    port = span_skip(text, host.len + 1);
    if (host.len > 2 && host.at[0] == '[' && host.at[host.len - 1] == ']')
        host = (struct span){host.at + 1, host.len - 2};
    else if (host.len == 0 || memchr(host.at, ':', host.len))
        return forms;
    ret->host = arena_copy(s->arena, host).at;
    if (!number_parse(port, 0, UINT16_MAX, &number))
        return forms;
    ret->port = (uint16_t)number;
    return NULL;
}

/* It is put before paths, and signatures cover the result: what could not stand in a request is a slip. */
static const char *parse_origin(struct span text, const char **ret)
{
    struct span host = SPAN_NONE;

    *ret = text.at;
    if (text.len == 0)
        return NULL;
    if (span_starts(text, SPAN("https://")))
        host = span_skip(text, strlen("https://"));
    else if (span_starts(text, SPAN("http://")))
        host = span_skip(text, strlen("http://"));
    for (size_t i = 0; i < host.len; i++)
        if (host.at[i] <= ' ' || host.at[i] > '~' || strchr("?#@\"\\", host.at[i]))
            host.len = 0;
    if (host.len == 0 || host.at[0] == '/' || host.at[0] == ':' || host.at[host.len - 1] == '/')
        return "must be https://host or http://host, a port or path behind it if need be, and no slash at "
               "its end";
    return NULL;
}

static const char *parse_networks(struct settings *s, struct span text, struct config_networks *ret)
{
    *ret = (struct config_networks){.at = arena_zero(s->arena, (text.len / 2 + 1) * sizeof(*ret->at))};
    while (text.len > 0) {
        size_t len = 0;
        while (len < text.len && text.at[len] != ' ' && text.at[len] != ',')
            len++;
        if (len > 0 && !network_parse((struct span){text.at, len}, &ret->at[ret->n++]))
            return arena_print(s->arena,
                               "\"%.*s\" is no address such as 192.0.2.7 or block such as 10.0.0.0/8",
                               (int)len, text.at);
        text = span_skip(text, len + (len < text.len));
    }
    return NULL;
}

static const char *parse_cron(struct settings *s, struct span text, struct cron_text *ret)
{
    struct err err;

    ret->text = text.at;
    if (text.len == 0 || cron_parse(text, &ret->cron, &err) == OK)
        return NULL;
    return arena_print(s->arena, "\"%.*s\" is no schedule: %s", (int)(text.len < 100 ? text.len : 100),
                       text.at, err.text);
}

static size_t option_index(struct span key)
{
    size_t i = 0;

    while (i < countof(options) && !span_eq(key, span_of(options[i].key)))
        i++;
    return i;
}

static bool is_secret(const struct option *o)
{
    return o->kind == IS_URL || o->kind == IS_URL_OR_0;
}

static bool is_list(const struct option *o)
{
    return o->kind == IS_SOURCES || o->kind == IS_TIMEOUTS || o->kind == IS_BREAKERS;
}

static void print_option(const struct settings *s, size_t option, FILE *out)
{
    const struct option *o = &options[option];
    const char *dot = strchr(o->key, '.'), *name = dot ? dot + 1 : o->key;
    struct span text = s->values[option].text;
    struct arena *arena;

    fprintf(out, "%s%s:", dot ? "  " : "", name);
    if (is_list(o)) {
        print_list(s, o, out);
        return;
    }
    arena = arena_open(1024);
    if (o->kind == IS_TEXT || o->kind == IS_LISTEN || o->kind == IS_ORIGIN || o->kind == IS_NETWORKS ||
        o->kind == IS_CRON || is_secret(o))
        text = doc_quote(is_secret(o) ? masked(text, arena) : text, arena);
    fprintf(out, " %.*s # %s\n", SPAN_ARG(text), s->values[option].origin);
    arena_close(arena);
}

static void print_list(const struct settings *s, const struct option *o, FILE *out)
{
    const struct config *c = &s->config;
    struct arena *arena = arena_open(1024);
    size_t n = o->kind == IS_SOURCES    ? c->nsources
               : o->kind == IS_TIMEOUTS ? c->reconcile.ntimeouts
                                        : c->reconcile.nbreakers;

    fprintf(out, n ? "\n" : " []\n");
    for (size_t i = 0; i < n; i++) {
        const struct config_timeout *t = &c->reconcile.timeouts[i];
        const struct config_breaker *b = &c->reconcile.breakers[i];
        if (o->kind == IS_SOURCES)
            print_source(&c->sources[i], arena, out);
        else if (o->kind == IS_TIMEOUTS)
            fprintf(out, "    - {platform: %s, minutes: %u}\n", quoted(t->platform, arena), t->minutes);
        else
            fprintf(out,
                    "    - {platform: %s, failure_threshold: %u, open_cooldown_seconds: %u, "
                    "half_open_probe_count: %u}\n",
                    quoted(b->platform, arena), b->failure_threshold, b->open_cooldown_seconds,
                    b->half_open_probe_count);
    }
    arena_close(arena);
}

static const char *section_json(const struct settings *s, struct span section, struct arena *arena)
{
    const char *text = "";

    for (size_t i = 0; i < countof(options); i++) {
        struct span name = span_of(options[i].key);

        if (span_eq(span_cut(&name, '.'), section) && name.at && !is_list(&options[i]))
            text = arena_print(arena, "%s%s\"%.*s\":%s", text, text[0] ? "," : "", SPAN_ARG(name),
                               value_json(s, i, arena));
    }
    return text;
}

/* Numbers and truth values are spelt as JSON has them: the form takes no others. */
static const char *value_json(const struct settings *s, size_t option, struct arena *arena)
{
    const struct option *o = &options[option];
    struct span text = s->values[option].text;

    if (o->kind == IS_COUNT || o->kind == IS_SIZE || o->kind == IS_BOOL)
        return arena_copy(arena, text).at;
    return quoted(arena_copy(arena, is_secret(o) ? masked(text, arena) : text).at, arena);
}

static void print_source(const struct config_source *source, struct arena *arena, FILE *out)
{
    fprintf(out, "  - {platform: %s, name: %s, secret_file: %s", quoted(source->platform, arena),
            quoted(source->name, arena), quoted(source->secret_file, arena));
    if (source->verify_token_file)
        fprintf(out, ", verify_token_file: %s", quoted(source->verify_token_file, arena));
    if (source->tenant)
        fprintf(out, ", tenant: %s", quoted(source->tenant, arena));
    for (size_t i = 0; i < source->ntopics; i++)
        fprintf(out, "%s%s", i ? ", " : ", topics: [", quoted(source->topics[i], arena));
    fprintf(out, source->ntopics ? "]}\n" : "}\n");
}

static const char *quoted(const char *text, struct arena *arena)
{
    return arena_copy(arena, doc_quote(span_of(text), arena)).at;
}

/* The URL with *** in the place of each password, in whichever of libpq's ways it is given. */
static struct span masked(struct span url, struct arena *arena)
{
    const char *shown = "";
    struct span secret = password_in_user(url);

    if (!secret.at)
        secret = password_in_words(url);
    while (secret.at) {
        size_t before = (size_t)(secret.at - url.at);
        shown = arena_print(arena, "%s%.*s***", shown, (int)before, url.at);
        url = span_skip(url, before + secret.len);
        secret = password_in_words(url);
    }
    return span_of(arena_print(arena, "%s%.*s", shown, SPAN_ARG(url)));
}

/* scheme://user:password@host. An unescaped slash in it is a mistake that must not show the rest of it. */
static struct span password_in_user(struct span url)
{
    const char *scheme = memmem(url.at, url.len, "://", 3), *at, *colon;
    struct span user;

    if (!scheme)
        return SPAN_NONE;
    user = span_skip(url, (size_t)(scheme + 3 - url.at));
    user = span_cut(&user, '?');
    at = memrchr(user.at, '@', user.len);
    colon = at ? memchr(user.at, ':', (size_t)(at - user.at)) : NULL;
    return colon ? (struct span){colon + 1, (size_t)(at - colon - 1)} : SPAN_NONE;
}

/* password=..., sslpassword=... among keywords or in a query: bare, or in quotes with backslashes. */
static struct span password_in_words(struct span url)
{
    const char *end = url.at + url.len, *at = memmem(url.at, url.len, "password", 8), *from;
    bool quotes;

    if (!at)
        return SPAN_NONE;
    at += strlen("password");
    while (at < end && (*at == ' ' || *at == '='))
        at++;
    from = at;
    quotes = at < end && *at == '\'';
    at += quotes;
    while (at < end && (quotes ? *at != '\'' : *at != ' ' && *at != '&'))
        at += *at == '\\' && at + 1 < end ? 2 : 1;
    at += quotes && at < end;
    return (struct span){from, (size_t)(at - from)};
}
