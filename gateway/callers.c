#include "callers.h"

#include "base/attr.h"
#include "base/log.h"
#include "base/now.h"
#include "quota.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <sodium.h>

enum {
    SETS =
        256, /* what is remembered: so many times WAYS keys, and addresses; beyond, the one that has been quiet longest
                   goes */
    WAYS = 4,
    NOTE_EVERY_S = 60,
    USED_KEPT_S = 400 * 86400,
    SHUT_OUT_S = 1, /* who has used up what he may waits so long */
};

struct known {
    char key_id[APIKEY_ID_CHARS];    /* zeros: nobody */
    uint8_t hash[APIKEY_HASH_BYTES]; /* of the key when it was good last; zeros: it is no longer */
    struct quota quota;
    int64_t seen_boot_us, noted_boot_us; /* 0: never */
};

/* An address from which keys came that are none. */
struct stranger {
    uint64_t from;
    struct quota quota;
    int64_t seen_boot_us, until_boot_us; /* 0: nobody; until then none from there is looked up */
};

struct callers {
    struct quota_limits limits, wrong_limits;
    uint8_t hash_key[crypto_shorthash_KEYBYTES]; /* who owns many addresses must not choose their places */
    struct known known[SETS][WAYS];
    struct stranger strangers[SETS][WAYS];
};

static struct quota_limits per_minute(unsigned n);
static uint64_t holder_of(const struct caller *c);
static struct known *set_of_key(struct callers *callers, struct span key_id);
static struct known *find(struct callers *callers, struct span key_id);
static struct known *look_up(struct callers *callers, struct span key_id);
static struct stranger *set_of_address(struct callers *callers, uint64_t from);
static void note_use(const struct caller *c, int64_t wall_us, struct redis *redis);

const struct caller caller_operator = {
    .actor = {"local", 5},
      .scopes = SCOPE_ADMIN
};

enum status caller_read(struct span authorization, struct apikey *key, struct err *err)
{
    struct span rest = authorization, scheme = rest.at ? span_cut(&rest, ' ') : SPAN_NONE;

    if (rest.at && span_eq_nocase(scheme, SPAN("Bearer")) && apikey_read(rest, key))
        return OK;
    return err_cause(err, INVALID, "unauthorized",
                     authorization.at ? "this is no key" : "there is no Authorization header");
}

enum status caller_prove(struct caller *ret, const struct apikey *key, const struct pg_rows *rows,
                         struct arena *arena, struct err *err)
{
    bool is_there = pg_nrows(rows) > 0;

    if (!apikey_fits(key, is_there ? pg_bytes(rows, 0, 0) : SPAN_NONE) || !pg_int(rows, 0, 3))
        return err_cause(err, INVALID, "unauthorized", "the key is not known, or no longer good");
    ret->key_id = arena_copy(arena, key->id);
    ret->tenant = pg_is_null(rows, 0, 1) ? SPAN_NONE : arena_copy(arena, pg_bytes(rows, 0, 1));
    ret->scopes = apikey_scopes(pg_bytes(rows, 0, 2));
    ret->actor = span_of(arena_print(arena, "key:%.*s", SPAN_ARG(key->id)));
    ret->holder = holder_of(ret);
    memcpy(ret->hash, key->hash, sizeof(ret->hash));
    return OK;
}

/* Two that fall together share what each would have had. */
static uint64_t holder_of(const struct caller *c)
{
    struct span name = c->tenant.at ? c->tenant : c->actor;
    uint8_t hash[crypto_generichash_BYTES_MIN];
    uint64_t holder;

    crypto_generichash(hash, sizeof(hash), (const uint8_t *)name.at, name.len, NULL, 0);
    memcpy(&holder, hash, sizeof(holder));
    return holder ? holder : 1;
}

void caller_enter(const struct caller *c, struct pg *pg, struct arena *arena)
{
    struct pg_args args;

    pg_args_init(&args, arena);
    pg_arg_text(&args, c->tenant);
    pg_arg_text(&args, c->tenant.at ? SPAN("settle_tenant") : SPAN("settle_operator"));
    pg_before(pg, SQL_CALLER_SET, &args);
}

struct callers *callers_open(const struct callers_limits *limits)
{
    struct callers *callers = calloc(1, sizeof(*callers));

    if (!callers)
        abort();
    callers->limits = per_minute(limits->requests_per_minute);
    callers->wrong_limits = per_minute(limits->wrong_keys_per_minute);
    crypto_shorthash_keygen(callers->hash_key);
    return callers;
}

static struct quota_limits per_minute(unsigned n)
{
    return (struct quota_limits){.per_second = n / 60.0, .keep_us = MINUTE_US};
}

void callers_close(struct callers *callers)
{
    free(callers);
}

bool callers_may_ask(struct callers *callers, const struct apikey *key, uint64_t from, int64_t boot_us)
{
    const struct stranger *set = set_of_address(callers, from);
    const struct known *k;

    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].seen_boot_us == 0 || set[i].from != from || boot_us >= set[i].until_boot_us)
            continue;
        k = look_up(callers, key->id);
        return k && sodium_memcmp(k->hash, key->hash, sizeof(k->hash)) == 0;
    }
    return true;
}

bool callers_refuse(struct callers *callers, const struct apikey *key, uint64_t from, int64_t boot_us)
{
    struct stranger *set = set_of_address(callers, from), *at = set;
    struct known *k = look_up(callers, key->id);

    if (k && sodium_memcmp(k->hash, key->hash, sizeof(k->hash)) == 0)
        memset(k->hash, 0, sizeof(k->hash));
    for (struct stranger *s = set; s < set + WAYS; s++) {
        if (s->seen_boot_us > 0 && s->from == from) {
            at = s;
            break;
        }
        if (s->seen_boot_us < at->seen_boot_us)
            at = s;
    }
    if (at->seen_boot_us == 0 || at->from != from)
        *at = (struct stranger){.from = from};
    at->seen_boot_us = boot_us;
    if (quota_take(&at->quota, &callers->wrong_limits, boot_us, 0))
        return false;
    at->until_boot_us = boot_us + SHUT_OUT_S * SECOND_US;
    return true;
}

static struct stranger *set_of_address(struct callers *callers, uint64_t from)
{
    uint64_t hash;

    crypto_shorthash((uint8_t *)&hash, (const uint8_t *)&from, sizeof(from), callers->hash_key);
    return callers->strangers[hash % SETS];
}

bool callers_count(struct callers *callers, const struct caller *c, int64_t boot_us, int64_t wall_us,
                   struct redis *redis)
{
    struct known *k;

    if (!c->key_id.at)
        return true;
    k = find(callers, c->key_id);
    k->seen_boot_us = boot_us;
    memcpy(k->hash, c->hash, sizeof(k->hash));
    if (k->noted_boot_us == 0 || boot_us - k->noted_boot_us >= NOTE_EVERY_S * SECOND_US) {
        k->noted_boot_us = boot_us;
        note_use(c, wall_us, redis);
    }
    return quota_take(&k->quota, &callers->limits, boot_us, 0);
}

static struct known *find(struct callers *callers, struct span key_id)
{
    struct known *set = set_of_key(callers, key_id), *quietest = set, *there = look_up(callers, key_id);

    if (there)
        return there;
    for (struct known *k = set; k < set + WAYS; k++)
        if (k->seen_boot_us < quietest->seen_boot_us)
            quietest = k;
    *quietest = (struct known){.seen_boot_us = 0};
    memcpy(quietest->key_id, key_id.at, APIKEY_ID_CHARS);
    return quietest;
}

/* NULL: it is not remembered. */
static struct known *look_up(struct callers *callers, struct span key_id)
{
    struct known *set = set_of_key(callers, key_id);

    for (struct known *k = set; k < set + WAYS; k++)
        if (memcmp(k->key_id, key_id.at, APIKEY_ID_CHARS) == 0)
            return k;
    return NULL;
}

/* Ids are random: their own digits spread them. */
static struct known *set_of_key(struct callers *callers, struct span key_id)
{
    unsigned at = 0;

    for (size_t i = 0; i < 2; i++)
        at = 16 * at + (unsigned)(key_id.at[i] <= '9' ? key_id.at[i] - '0' : key_id.at[i] - 'a' + 10);
    return callers->known[at % SETS];
}

static void note_use(const struct caller *c, int64_t wall_us, struct redis *redis)
{
    char name[sizeof(APIKEY_USED_PREFIX) + APIKEY_ID_CHARS], time[24], keep[12];
    const struct span words[] = {
        SPAN("SET"),
        {name, (size_t)snprintf(name, sizeof(name), APIKEY_USED_PREFIX "%.*s", SPAN_ARG(c->key_id))},
        {time, (size_t)snprintf(time, sizeof(time), "%" PRId64,                wall_us)            },
        SPAN("EX"),
        {keep, (size_t)snprintf(keep, sizeof(keep), "%d",                      USED_KEPT_S)        },
    };

    log_info("key_used", LOG_SPAN("key_id", c->key_id), LOG_SPAN("user_id_str", c->tenant));
    if (redis)
        redis_send(redis, words, countof(words), NULL, NULL);
}
