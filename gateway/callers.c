#include "callers.h"

#include "base/attr.h"
#include "base/log.h"
#include "base/now.h"
#include "quota.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    SETS =
        256, /* what is remembered: so many times WAYS keys; beyond, the one that has been quiet longest goes */
    WAYS = 4,
    NOTE_EVERY_S = 60,
    USED_KEPT_S = 400 * 86400,
};

struct known {
    char key_id[APIKEY_ID_CHARS]; /* zeros: nobody */
    struct quota quota;
    int64_t seen_boot_us, noted_boot_us; /* 0: never */
};

struct callers {
    struct quota_limits limits;
    struct known known[SETS][WAYS];
};

static struct known *find(struct callers *callers, struct span key_id);
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
    return OK;
}

void caller_enter(const struct caller *c, struct pg *pg, struct arena *arena)
{
    struct pg_args args;

    pg_args_init(&args, arena);
    pg_arg_text(&args, c->tenant);
    pg_arg_text(&args, c->tenant.at ? SPAN("settle_tenant") : SPAN("settle_operator"));
    pg_before(pg, SQL_CALLER_SET, &args);
}

struct callers *callers_open(unsigned requests_per_minute)
{
    struct callers *callers = calloc(1, sizeof(*callers));

    if (!callers)
        abort();
    callers->limits = (struct quota_limits){.per_second = requests_per_minute / 60.0, .keep_us = MINUTE_US};
    return callers;
}

void callers_close(struct callers *callers)
{
    free(callers);
}

bool callers_count(struct callers *callers, const struct caller *c, int64_t boot_us, int64_t wall_us,
                   struct redis *redis)
{
    struct known *k;

    if (!c->key_id.at)
        return true;
    k = find(callers, c->key_id);
    k->seen_boot_us = boot_us;
    if (k->noted_boot_us == 0 || boot_us - k->noted_boot_us >= NOTE_EVERY_S * SECOND_US) {
        k->noted_boot_us = boot_us;
        note_use(c, wall_us, redis);
    }
    return quota_take(&k->quota, &callers->limits, boot_us, 0);
}

/* Ids are random: their own digits spread them. */
static struct known *find(struct callers *callers, struct span key_id)
{
    struct known *set, *quietest;
    unsigned at = 0;

    for (size_t i = 0; i < 2; i++)
        at = 16 * at + (unsigned)(key_id.at[i] <= '9' ? key_id.at[i] - '0' : key_id.at[i] - 'a' + 10);
    set = quietest = callers->known[at % SETS];
    for (struct known *k = set; k < set + WAYS; k++) {
        if (memcmp(k->key_id, key_id.at, APIKEY_ID_CHARS) == 0)
            return k;
        if (k->seen_boot_us < quietest->seen_boot_us)
            quietest = k;
    }
    *quietest = (struct known){.seen_boot_us = 0};
    memcpy(quietest->key_id, key_id.at, APIKEY_ID_CHARS);
    return quietest;
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
