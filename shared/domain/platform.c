#include "domain/platform.h"

#include "base/arena.h"
#include "base/file.h"
#include "domain/descriptor.h"
#include "domain/scheme.h"
#include "platforms_builtin.h"

#include <endian.h>
#include <stdlib.h>

#include <sodium.h>

enum { FILE_BYTES = 65536, SOURCE_BYTES = 64, DECOY_BYTES = 32 };

struct platforms {
    struct arena *arena;
    struct platform **all; /* sorted by name */
    size_t n;
    struct locked *locked;
};

/* A block of locked memory: the secrets of one source. */
struct locked {
    struct locked *next;
    char *bytes;
};

static void forget_source(struct source *s);
static enum status load_all(struct platforms *set, const char *folder, struct err *err);
static bool is_among(const char *name, const char *const *names, size_t n);
static enum status load_file(struct platforms *set, const char *folder, const char *file, struct err *err);
static enum status load(struct platforms *set, const char *path, struct span text, struct err *err);
static int by_name(const void *a, const void *b);
static void add_decoy(struct platforms *set, struct platform *p);
static void add_source(struct platforms *set, struct platform *p, const struct source *s);
static enum status fill_source(struct platforms *set, const struct platform *p, struct source *s,
                               struct span lines, struct err *err);
static char *lock_up(struct platforms *set, struct span bytes);
static void fill_secret(const struct platform *p, const struct source *s, struct secret *secret);
static enum status add_variable(struct platforms *set, const char *variable, struct err *err);
static struct span name_of_variable(struct span variable, struct arena *arena);
static const struct platform *platform_of_variable(const struct platforms *set, struct span name);
static enum status add_secret_file(struct platforms *set, const struct platform *p, struct span source,
                                   const char *path, struct err *err);

struct platforms *platforms_load(const char *folder, struct err *err)
{
    struct arena *arena = arena_open(65536);
    struct platforms *set = arena_zero(arena, sizeof(*set));

    if (sodium_init() < 0)
        abort();
    set->arena = arena;
    if (load_all(set, folder, err)) {
        platforms_close(set);
        return NULL;
    }
    qsort(set->all, set->n, sizeof(struct platform *), by_name);
    for (size_t i = 0; i < set->n; i++) {
        set->all[i]->index = i;
        add_decoy(set, set->all[i]);
    }
    return set;
}

void platforms_close(struct platforms *set)
{
    if (!set)
        return;
    platforms_forget_secrets(set);
    arena_close(set->arena);
}

void platforms_forget_secrets(struct platforms *set)
{
    for (size_t i = 0; i < set->n; i++) {
        struct platform *p = set->all[i];
        for (size_t k = 0; k < p->nsources; k++)
            forget_source(&p->sources[k]);
        if (p->decoy)
            forget_source(p->decoy);
    }
    for (struct locked *l = set->locked; l; l = l->next)
        sodium_free(l->bytes);
    set->locked = NULL;
}

static void forget_source(struct source *s)
{
    while (s->nsecrets > 0)
        scheme_key_free(s->secrets[--s->nsecrets].mac);
}

size_t platforms_count(const struct platforms *set)
{
    return set->n;
}

const struct platform *platforms_at(const struct platforms *set, size_t index)
{
    return set->all[index];
}

const struct platform *platforms_find(const struct platforms *set, struct span name)
{
    for (size_t i = 0; i < set->n; i++) /* a handful */
        if (span_eq(set->all[i]->name, name))
            return set->all[i];
    return NULL;
}

const struct source *platform_source(const struct platform *p, struct span name)
{
    size_t low = 0, high = p->nsources;

    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = span_compare(name, p->sources[middle].name);
        if (order == 0)
            return &p->sources[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

enum status platforms_add_source(struct platforms *set, struct span platform, struct span source,
                                 struct span secret_lines, struct err *err)
{
    const struct platform *p = platforms_find(set, platform);
    struct source s = {.name = arena_copy(set->arena, source)};

    if (!p)
        return err_set(err, INVALID, "there is no platform \"%.*s\"", SPAN_ARG(platform));
    if (!name_is_good(source, SOURCE_BYTES))
        return err_set(err, INVALID,
                       "source \"%.*s\" of %s: a name is at most %d lower-case letters, digits and \"-\"",
                       SPAN_ARG(source), p->name.at, SOURCE_BYTES);
    if (platform_source(p, source))
        return err_set(err, INVALID,
                       "source \"%s\" of %s is given twice: put all its secrets in one place, one a line",
                       s.name.at, p->name.at);
    if (fill_source(set, p, &s, secret_lines, err))
        return err_in(err, "source \"%s\" of %s", s.name.at, p->name.at);
    add_source(set, set->all[p->index], &s);
    return OK;
}

enum status platforms_add_environment(struct platforms *set, char *const *environment, struct err *err)
{
    static const struct span start = {"SETTLE_SECRET_", sizeof("SETTLE_SECRET_") - 1};

    for (; *environment; environment++)
        if (span_starts(span_of(*environment), start) && add_variable(set, *environment + start.len, err))
            return err_in(err, "%.*s", (int)strcspn(*environment, "="), *environment);
    return OK;
}

int platform_decides(const struct platform *p, struct span status)
{
    if (!status.at)
        return 0;
    if (span_eq(status, SPAN("published")))
        return 1;
    for (size_t i = 0; i < p->nsuccess; i++)
        if (span_eq(status, p->success[i]))
            return 1;
    for (size_t i = 0; i < p->nfailure; i++)
        if (span_eq(status, p->failure[i]))
            return -1;
    return 0;
}

static enum status load_all(struct platforms *set, const char *folder, struct err *err)
{
    const char **files = NULL;
    size_t nfiles = 0;

    if (folder && file_names(folder, ".yaml", set->arena, &files, &nfiles, err))
        return err->code;
    set->all = arena_zero(set->arena, (nfiles + countof(builtins)) * sizeof(struct platform *));
    for (size_t i = 0; i < countof(builtins); i++)
        if (!is_among(builtins[i].file, files, nfiles) && load(set, builtins[i].file, builtins[i].text, err))
            return err->code;
    for (size_t i = 0; i < nfiles; i++)
        if (load_file(set, folder, files[i], err))
            return err->code;
    return OK;
}

static bool is_among(const char *name, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static enum status load_file(struct platforms *set, const char *folder, const char *file, struct err *err)
{
    const char *path = arena_print(set->arena, "%s/%s", folder, file);
    struct arena *reading = arena_open(FILE_BYTES);
    struct span text;
    enum status status = file_read(path, arena_alloc(reading, FILE_BYTES), FILE_BYTES, &text, err);

    if (status == OK)
        status = load(set, path, text, err);
    arena_close(reading);
    return status;
}

static enum status load(struct platforms *set, const char *path, struct span text, struct err *err)
{
    struct platform *p = arena_zero(set->arena, sizeof(*p));

    if (descriptor_read(path, text, set->arena, p, err))
        return err->code;
    set->all[set->n++] = p;
    return OK;
}

static int by_name(const void *a, const void *b)
{
    return span_compare((*(struct platform *const *)a)->name, (*(struct platform *const *)b)->name);
}

/* An unknown source costs a request as much time as a known one, and nobody knows this key. */
static void add_decoy(struct platforms *set, struct platform *p)
{
    char random[DECOY_BYTES];
    struct source *s = arena_zero(set->arena, sizeof(*s));

    randombytes_buf(random, sizeof(random));
    s->nsecrets = p->nsecrets_max = 1;
    s->secrets[0].mac = scheme_key(p->scheme.algorithm, (struct span){random, sizeof(random)});
    sodium_memzero(random, sizeof(random));
    p->decoy = s;
}

static void add_source(struct platforms *set, struct platform *p, const struct source *s)
{
    struct source *sources = arena_alloc(set->arena, (p->nsources + 1) * sizeof(*sources));
    size_t before = 0;

    while (before < p->nsources && span_compare(p->sources[before].name, s->name) < 0)
        before++;
    if (before > 0)
        memcpy(sources, p->sources, before * sizeof(*sources));
    sources[before] = *s;
    if (before < p->nsources)
        memcpy(sources + before + 1, p->sources + before, (p->nsources - before) * sizeof(*sources));
    p->sources = sources;
    p->nsources++;
    if (p->nsecrets_max < s->nsecrets)
        p->nsecrets_max = s->nsecrets;
}

static enum status fill_source(struct platforms *set, const struct platform *p, struct source *s,
                               struct span lines, struct err *err)
{
    struct span secrets[SECRETS_MAX], rest = lines;
    char *locked;

    while (rest.at) {
        struct span line = span_cut(&rest, '\n');
        if (line.len > 0 && line.at[line.len - 1] == '\r')
            line.len--;
        if (line.len == 0)
            continue;
        if (s->nsecrets == SECRETS_MAX)
            return err_set(err, INVALID, "more than %d secrets", SECRETS_MAX);
        secrets[s->nsecrets++] = line;
    }
    if (s->nsecrets == 0)
        return err_set(err, INVALID, "there is no secret, one a line is wanted");

    locked = lock_up(set, lines);
    for (size_t i = 0; i < s->nsecrets; i++) {
        s->secrets[i].bytes = (struct span){locked + (secrets[i].at - lines.at), secrets[i].len};
        fill_secret(p, s, &s->secrets[i]);
    }
    return OK;
}

static char *lock_up(struct platforms *set, struct span bytes)
{
    struct locked *l = arena_zero(set->arena, sizeof(*l));

    l->bytes = sodium_malloc(bytes.len);
    if (!l->bytes)
        abort();
    memcpy(l->bytes, bytes.at, bytes.len);
    sodium_mprotect_readonly(l->bytes);
    l->next = set->locked;
    set->locked = l;
    return l->bytes;
}

static void fill_secret(const struct platform *p, const struct source *s, struct secret *secret)
{
    const struct span pieces[] = {p->name, s->name, secret->bytes};
    uint8_t digest[crypto_generichash_BYTES];
    crypto_generichash_state hash;

    crypto_generichash_init(&hash, NULL, 0, sizeof(digest));
    for (size_t i = 0; i < countof(pieces); i++) {
        uint64_t len = htole64(pieces[i].len);
        crypto_generichash_update(&hash, (const uint8_t *)&len, sizeof(len));
        crypto_generichash_update(&hash, (const uint8_t *)pieces[i].at, pieces[i].len);
    }
    crypto_generichash_final(&hash, digest, sizeof(digest));
    sodium_bin2hex(secret->key_id, sizeof(secret->key_id), digest, (sizeof(secret->key_id) - 1) / 2);
    secret->mac = scheme_key(p->scheme.algorithm, secret->bytes);
}

/* variable: "TIKTOK_MY_APP_FILE=/path". */
static enum status add_variable(struct platforms *set, const char *variable, struct err *err)
{
    struct span value = span_of(variable), name = name_of_variable(span_cut(&value, '='), set->arena), source;
    bool is_file = name.len > 5 && span_eq(span_skip(name, name.len - 5), SPAN("-file"));
    const struct platform *p;

    name.len -= is_file ? 5 : 0;
    p = platform_of_variable(set, name);
    if (!p)
        return err_set(err, INVALID, "no platform has the name that this begins with");
    source = name.len > p->name.len ? span_skip(name, p->name.len + 1) : SPAN("default");
    if (is_file)
        return add_secret_file(set, p, source, value.at, err);
    return platforms_add_source(set, p->name, source, value, err);
}

/* "TIKTOK_MY_APP" is tiktok-my-app. */
static struct span name_of_variable(struct span variable, struct arena *arena)
{
    char *name = arena_print(arena, "%.*s", SPAN_ARG(variable));

    for (char *c = name; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
        else if (*c == '_')
            *c = '-';
    return span_of(name);
}

/* Of two that fit, one is the start of the other, so the longer one comes later. */
static const struct platform *platform_of_variable(const struct platforms *set, struct span name)
{
    const struct platform *found = NULL;

    for (size_t i = 0; i < set->n; i++) {
        struct span its = set->all[i]->name;
        if (span_starts(name, its) && (name.len == its.len || name.at[its.len] == '-'))
            found = set->all[i];
    }
    return found;
}

static enum status add_secret_file(struct platforms *set, const struct platform *p, struct span source,
                                   const char *path, struct err *err)
{
    char room[SECRET_FILE_BYTES];
    struct span lines;
    enum status status = file_read(path, room, sizeof(room), &lines, err);

    if (status == OK)
        status = platforms_add_source(set, p->name, source, lines, err);
    sodium_memzero(room, sizeof(room));
    return status;
}
