#include "domain/platform.h"

#include "base/arena.h"
#include "base/doc.h"
#include "base/file.h"
#include "base/now.h"
#include "domain/descriptor.h"
#include "domain/name.h"
#include "domain/secret.h"
#include "platforms_builtin.h"

#include <stdlib.h>
#include <sys/mman.h>

#include <sodium.h>

enum { FILE_BYTES = 65536, SOURCE_BYTES = 64, TOKEN_BYTES = 256, TOPIC_BYTES = 1024 };

struct platforms {
    struct arena *arena;
    struct platform **all; /* those that send webhooks first; both parts sorted by name */
    size_t n, nall;
    struct locked *locked;
    size_t nshares; /* besides the first */
};

/* A block of locked memory: the secrets of one source, or its verify token. */
struct locked {
    struct locked *next;
    char *bytes;
    size_t n;
};

static struct platforms *open_set(void);
static struct platforms *close_set(struct platforms *set, enum status status);
static enum status load_all(struct platforms *set, const char *folder, struct err *err);
static bool is_among(const char *name, const char *const *names, size_t n);
static enum status load_file(struct platforms *set, const char *folder, const char *file, struct err *err);
static enum status load(struct platforms *set, const char *path, struct span text, struct err *err);
static int in_order(const void *a, const void *b);
static void add_decoy(struct platforms *set, struct platform *p);
static void add_source(struct platforms *set, struct platform *p, const struct source *s);
static struct source *source_to_change(struct platforms *set, struct span platform, struct span source,
                                       struct err *err);
static void lock_up(struct platforms *set, char *block, size_t nbytes);

/* What a variable holds for one source. */
typedef enum status take_value(struct platforms *set, struct span platform, struct span source,
                               struct span value, struct err *err);
static enum status add_variables(struct platforms *set, char *const *environment, struct span start,
                                 take_value *take, struct err *err);
static enum status add_variable(struct platforms *set, const char *variable, take_value *take,
                                struct err *err);
static struct span name_of_variable(struct span variable, struct arena *arena);
static const struct platform *platform_of_variable(const struct platforms *set, struct span name);
static enum status add_secret_file(struct platforms *set, const struct platform *p, struct span source,
                                   const char *path, take_value *take, struct err *err);

struct platforms *platforms_load(const char *folder, struct err *err)
{
    struct platforms *set = open_set();

    return close_set(set, load_all(set, folder, err));
}

struct platforms *platforms_load_texts(const char *const *paths, const struct span *texts, size_t n,
                                       struct err *err)
{
    struct platforms *set = open_set();
    enum status status = OK;

    set->all = arena_zero(set->arena, (n + 1) * sizeof(struct platform *));
    for (size_t i = 0; status == OK && i < n; i++)
        status = load(set, paths[i], texts[i], err);
    return close_set(set, status);
}

static struct platforms *open_set(void)
{
    struct arena *arena = arena_open(65536);
    struct platforms *set = arena_zero(arena, sizeof(*set));

    if (sodium_init() < 0)
        abort();
    set->arena = arena;
    return set;
}

/* All descriptors are in it. */
static struct platforms *close_set(struct platforms *set, enum status status)
{
    if (status) {
        platforms_close(set);
        return NULL;
    }
    qsort(set->all, set->nall, sizeof(struct platform *), in_order);
    while (set->n < set->nall && set->all[set->n]->sends_webhooks)
        set->n++;
    for (size_t i = 0; i < set->n; i++) {
        set->all[i]->index = i;
        add_decoy(set, set->all[i]);
    }
    return set;
}

struct platforms *platforms_share(struct platforms *set)
{
    set->nshares++;
    return set;
}

void platforms_close(struct platforms *set)
{
    if (!set || set->nshares-- > 0)
        return;
    platforms_forget_secrets(set);
    arena_close(set->arena);
}

void platforms_forget_secrets(struct platforms *set)
{
    for (size_t i = 0; i < set->n; i++) {
        struct platform *p = set->all[i];
        for (size_t k = 0; k < p->nsources; k++) {
            p->sources[k].nsecrets = 0;
            p->sources[k].verify_token = SPAN_NONE;
        }
        if (p->decoy)
            p->decoy->nsecrets = 0;
    }
    for (struct locked *l = set->locked; l; l = l->next)
        sodium_free(l->bytes);
    set->locked = NULL;
}

bool platforms_lock(struct platforms *set)
{
    bool locked = true;

    for (struct locked *l = set->locked; l; l = l->next)
        locked &= mlock(l->bytes, l->n) == 0;
    return locked;
}

size_t platforms_count(const struct platforms *set)
{
    return set->n;
}

const struct platform *platforms_at(const struct platforms *set, size_t index)
{
    return set->all[index];
}

size_t platforms_count_all(const struct platforms *set)
{
    return set->nall;
}

const struct platform *platforms_at_all(const struct platforms *set, size_t place)
{
    return set->all[place];
}

const struct platform *platforms_find_insights(const struct platforms *set, struct span name)
{
    for (size_t i = 0; i < set->nall; i++)
        if (set->all[i]->insights && span_eq(set->all[i]->name, name))
            return set->all[i];
    return NULL;
}

const struct platform *platforms_find(const struct platforms *set, struct span name)
{
    for (size_t i = 0; i < set->n; i++) /* a handful */
        if (span_eq(set->all[i]->name, name))
            return set->all[i];
    return NULL;
}

/* As many steps for a name that is not there, and in each the same work: what can be asked from outside should not take
 * a time that answers. */
const struct source *platform_source(const struct platform *p, struct span name)
{
    const struct source *found = NULL;
    size_t first = 0, n = p->nsources;

    while (n > 0) {
        size_t half = n / 2;
        int order = span_compare(name, p->sources[first + half].name);
        found = order == 0 ? &p->sources[first + half] : found;
        first += order > 0 ? half + 1 : 0;
        n = order > 0 ? n - half - 1 : half;
    }
    return found;
}

enum status platforms_add_source(struct platforms *set, struct span platform, struct span source,
                                 struct span secret_lines, struct err *err)
{
    const struct platform *p = platforms_find(set, platform);
    struct source s = {.name = arena_copy(set->arena, source)};
    size_t nbytes;
    char *block;

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
    block = secrets_read(p, &s, secret_lines, &nbytes, err);
    if (!block)
        return err_in(err, "source \"%s\" of %s", s.name.at, p->name.at);
    lock_up(set, block, nbytes);
    add_source(set, set->all[p->index], &s);
    return OK;
}

enum status platforms_set_verify_token(struct platforms *set, struct span platform, struct span source,
                                       struct span token, struct err *err)
{
    struct source *s = source_to_change(set, platform, source, err);
    char *block;

    if (!s)
        return INVALID;
    if (token.len > 0 && token.at[token.len - 1] == '\n')
        token.len--;
    if (token.len == 0 || token.len > TOKEN_BYTES)
        return err_set(err, INVALID, "the verify token of source \"%s\" of %.*s has 1 to %d bytes",
                       s->name.at, SPAN_ARG(platform), TOKEN_BYTES);
    block = sodium_malloc(token.len);
    if (!block)
        abort();
    memcpy(block, token.at, token.len);
    sodium_mprotect_readonly(block);
    lock_up(set, block, token.len);
    s->verify_token = (struct span){block, token.len};
    return OK;
}

enum status platforms_set_topics(struct platforms *set, struct span platform, struct span source,
                                 const char *const *topics, size_t n, struct err *err)
{
    struct source *s = source_to_change(set, platform, source, err);

    if (!s)
        return INVALID;
    s->ntopics = n;
    s->topics = arena_zero(set->arena, n * sizeof(*s->topics));
    for (size_t i = 0; i < n; i++) {
        s->topics[i] = arena_copy(set->arena, span_of(topics[i]));
        if (s->topics[i].len == 0 || s->topics[i].len > TOPIC_BYTES)
            return err_set(err, INVALID, "a topic of source \"%s\" of %.*s has 1 to %d bytes", s->name.at,
                           SPAN_ARG(platform), TOPIC_BYTES);
    }
    return OK;
}

static struct source *source_to_change(struct platforms *set, struct span platform, struct span source,
                                       struct err *err)
{
    const struct platform *p = platforms_find(set, platform);

    for (size_t i = 0; p && i < p->nsources; i++)
        if (span_eq(p->sources[i].name, source))
            return &p->sources[i];
    err_set(err, INVALID, "platform \"%.*s\" has no source \"%.*s\" with a secret", SPAN_ARG(platform),
            SPAN_ARG(source));
    return NULL;
}

enum status platforms_add_environment(struct platforms *set, char *const *environment, struct err *err)
{
    if (add_variables(set, environment, SPAN("SETTLE_SECRET_"), platforms_add_source, err))
        return err->code;
    return add_variables(set, environment, SPAN("SETTLE_VERIFY_TOKEN_"), platforms_set_verify_token, err);
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

struct span platform_deciding(const struct platform *p, struct arena *arena)
{
    const char *words = "[\"published\"";

    for (size_t i = 0; p && i < p->nsuccess; i++)
        words = arena_print(arena, "%s,%.*s", words, SPAN_ARG(doc_quote(p->success[i], arena)));
    for (size_t i = 0; p && i < p->nfailure; i++)
        words = arena_print(arena, "%s,%.*s", words, SPAN_ARG(doc_quote(p->failure[i], arena)));
    return span_of(arena_print(arena, "%s]", words));
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
    set->all[set->nall++] = p;
    return OK;
}

static int in_order(const void *a, const void *b)
{
    const struct platform *p = *(struct platform *const *)a, *q = *(struct platform *const *)b;

    if (p->sends_webhooks != q->sends_webhooks)
        return p->sends_webhooks ? -1 : 1;
    return span_compare(p->name, q->name);
}

/* An unknown source costs a request as much time as a known one, and nobody knows this key. */
static void add_decoy(struct platforms *set, struct platform *p)
{
    size_t nbytes;
    char *block;

    p->decoy = arena_zero(set->arena, sizeof(*p->decoy));
    p->nsecrets_max = 1;
    block = secrets_decoy(p, p->decoy, &nbytes);
    lock_up(set, block, nbytes);
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
    for (size_t i = 0; i < s->nsecrets; i++)
        if (s->secrets[i].not_before_us != TIME_NONE || s->secrets[i].expires_us != TIME_NONE)
            p->has_dated_secrets = true;
}

static void lock_up(struct platforms *set, char *block, size_t nbytes)
{
    struct locked *l = arena_zero(set->arena, sizeof(*l));

    l->bytes = block;
    l->n = nbytes;
    l->next = set->locked;
    set->locked = l;
}

static enum status add_variables(struct platforms *set, char *const *environment, struct span start,
                                 take_value *take, struct err *err)
{
    for (; *environment; environment++)
        if (span_starts(span_of(*environment), start) &&
            add_variable(set, *environment + start.len, take, err))
            return err_in(err, "%.*s", (int)strcspn(*environment, "="), *environment);
    return OK;
}

/* variable: "TIKTOK_MY_APP_FILE=/path". */
static enum status add_variable(struct platforms *set, const char *variable, take_value *take,
                                struct err *err)
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
        return add_secret_file(set, p, source, value.at, take, err);
    return take(set, p->name, source, value, err);
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
                                   const char *path, take_value *take, struct err *err)
{
    char room[SECRET_FILE_BYTES];
    struct span lines;
    enum status status = file_read(path, room, sizeof(room), &lines, err);

    if (status == OK)
        status = take(set, p->name, source, lines, err);
    sodium_memzero(room, sizeof(room));
    return status;
}
