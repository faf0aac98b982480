#include "dedupe.h"

#include "base/log.h"
#include "base/metric.h"
#include "base/now.h"

#include <assert.h>
#include <endian.h>
#include <sodium.h>
#include <stdlib.h>

enum {
    ASK_MS = 5,       /* a hint later than this saves nothing */
    KEY_BYTES = 32,   /* of settle.hint_key */
    NAME_BYTES = 16,  /* the MAC's first half, written in hex: what is asked for */
    PROOF_BYTES = 16, /* and its second half: what must be there, and nobody knows before the commit */
    BOUND_BYTES = 16, /* cluster and server start, behind the dedup key under the MAC */
};

#define LEFT_ALONE_US  SECOND_US
#define LEARN_AGAIN_US SECOND_US
#define COMPLAIN_US    MINUTE_US
#define NOTE_PREFIX    "settle:seen:"
#define NOTE_TTL_S     "86400"
#define FOLLOWERS_MAX  "10000" /* entries of settle:events, about */

enum { NOTE_BYTES = sizeof(NOTE_PREFIX) - 1 + 2 * NAME_BYTES };
enum hint { HINT_SEEN, HINT_UNSEEN, HINT_UNKNOWN }; /* the words of HINTS, in its order */

struct note {
    char name[NOTE_BYTES];
    uint8_t proof[PROOF_BYTES];
};

/* What notes of one server are made with. */
struct hint_key {
    uint8_t key[KEY_BYTES], bound[BOUND_BYTES];
};

/* A connection, and what is known of its server. */
struct lesson {
    struct dedupe *dedupe;
    struct pg *pg; /* NULL: it is down */
    bool asked, is_known;
    int64_t ask_again_us; /* boot time */
    struct hint_key learned;
};

/* One question of a round; delivery NULL: answered, or no longer waited for. */
struct question {
    struct round *round;
    struct delivery *delivery;
    struct receipt *receipt;
    uint8_t proof[PROOF_BYTES];
};

/* What was asked in one turn. Lives until Redis has answered all of it, however late. */
struct round {
    struct dedupe *dedupe;
    struct deadline deadline;
    size_t nquestions, nunanswered;
    bool late;
    struct question questions[];
};

struct dedupe {
    struct server *server;
    struct links *links;
    struct deadlines deadlines;
    dedupe_done *done;
    struct delivery *first, **last; /* those that ask at the end of this turn */
    size_t nreceipts;               /* of them */
    size_t nlate;                   /* rounds given up whose answers are still due: none is asked till then */
    int64_t alone_until_us;         /* boot time: leave Redis alone */
    int64_t complain_again_us;      /* boot time: of what Redis refuses */
    bool told_unknown, told_apart;  /* logged already */
    bool knows_key;                 /* all connections are up to their lessons, and these agree */
    struct hint_key key;
    size_t nlessons;
    struct lesson lessons[]; /* one a connection */
};

static struct lesson *lesson_of(struct dedupe *u, const struct pg *pg);
static void learn_again(struct dedupe *u);
static void learn(struct lesson *l);
static void after_learn(void *lesson, const struct pg_rows *rows, const struct err *err);
static void compare(struct dedupe *u);
static void ask(struct dedupe *u, struct redis *redis);
static void after_answer(void *question, const struct redis_reply *reply, const struct err *err);
static enum hint hint_of(const struct question *q, const struct redis_reply *reply);
static void count_refusal(struct dedupe *u, const struct err *err);
static void after_late(void *round);
static void conclude(struct question *q, enum hint hint);
static void round_end(struct round *r);
static void after_write(void *dedupe, const struct redis_reply *reply, const struct err *err);
static void note_write(const struct dedupe *u, const struct receipt *r, struct note *ret);
static bool can_ask(const struct dedupe *u);

struct dedupe *dedupe_open(struct server *server, struct links *links)
{
    size_t n = links_npg(links);
    struct dedupe *u = calloc(1, sizeof(*u) + n * sizeof(u->lessons[0]));

    if (!u)
        abort();
    u->server = server;
    u->links = links;
    u->nlessons = n;
    for (size_t i = 0; i < n; i++)
        u->lessons[i].dedupe = u;
    u->last = &u->first;
    deadlines_open(&u->deadlines, server_loop(server), ASK_MS);
    return u;
}

void dedupe_close(struct dedupe *u)
{
    if (!u)
        return;
    assert(!u->first);
    deadlines_close(&u->deadlines);
    sodium_memzero(u, sizeof(*u) + u->nlessons * sizeof(u->lessons[0]));
    free(u);
}

/* Another connection may lead to another server now, which may not have what the old one had. */
void dedupe_on_pg(struct dedupe *u, struct pg *pg, bool up)
{
    struct lesson *l = lesson_of(u, up ? NULL : pg);

    l->pg = up ? pg : NULL;
    l->is_known = false;
    if (up)
        learn(l);
    compare(u);
}

static struct lesson *lesson_of(struct dedupe *u, const struct pg *pg)
{
    struct lesson *l = u->lessons;

    while (l->pg != pg) {
        l++;
        assert(l < u->lessons + u->nlessons);
    }
    return l;
}

/* Those that Postgres gave no key: nobody else asks again as long as the connection holds. */
static void learn_again(struct dedupe *u)
{
    for (struct lesson *l = u->lessons; l < u->lessons + u->nlessons; l++)
        if (l->pg && !l->is_known && !l->asked && server_boot_us(u->server) >= l->ask_again_us &&
            pg_waiting(l->pg) == 0)
            learn(l);
}

static void learn(struct lesson *l)
{
    struct dedupe *u = l->dedupe;

    l->asked = true;
    l->ask_again_us = server_boot_us(u->server) + LEARN_AGAIN_US;
    pg_send(l->pg, SQL_HINT_KEY, NULL, links_pg_deadline_us(u->links), after_learn, l);
}

static void after_learn(void *lesson, const struct pg_rows *rows, const struct err *err)
{
    struct lesson *l = lesson;
    struct dedupe *u = l->dedupe;
    uint64_t bound[2];

    l->asked = false;
    if (!l->pg)
        return; /* the next connection brings us back */
    if (err || pg_nrows(rows) != 1 || pg_bytes(rows, 0, 0).len != KEY_BYTES) {
        if (!u->told_unknown)
            log_warn("hint_key_unknown",
                     err ? LOG_ERR(err) : LOG_TEXT("error", "no key of the right length"));
        u->told_unknown = true;
        return;
    }
    bound[0] = htobe64((uint64_t)pg_int(rows, 0, 1));
    bound[1] = htobe64((uint64_t)pg_time(rows, 0, 2));
    memcpy(l->learned.key, pg_bytes(rows, 0, 0).at, KEY_BYTES);
    memcpy(l->learned.bound, bound, BOUND_BYTES);
    l->is_known = true;
    compare(u);
}

/* At a fail-over behind one name some connections lead to the new server while others still commit at the old one. What
 * is noted of those would be a hint that the new one has it. */
static void compare(struct dedupe *u)
{
    const struct lesson *first = NULL;
    bool all_known = true, agree = true;

    for (const struct lesson *l = u->lessons; l < u->lessons + u->nlessons; l++) {
        if (!l->pg)
            continue;
        all_known = all_known && l->is_known;
        if (!l->is_known)
            continue;
        first = first ? first : l;
        agree = agree && sodium_memcmp(&l->learned, &first->learned, sizeof(l->learned)) == 0;
    }
    u->knows_key = first && all_known && agree;
    if (u->knows_key) {
        u->key = first->learned;
        u->told_unknown = u->told_apart = false;
    } else if (!agree && !u->told_apart) {
        log_warn("hint_keys_differ",
                 LOG_TEXT("why", "our connections lead to more than one Postgres server"));
        u->told_apart = true;
    }
}

bool dedupe_check(struct dedupe *u, struct delivery *d, dedupe_done *done)
{
    if (!can_ask(u)) {
        metric_add(HINTS, METRIC_NO_PLATFORM, HINT_UNKNOWN, d->nreceipts);
        return false;
    }
    u->done = done;
    d->nwaiting = d->nreceipts;
    d->next = NULL;
    *u->last = d;
    u->last = &d->next;
    u->nreceipts += d->nreceipts;
    return true;
}

static bool can_ask(const struct dedupe *u)
{
    return u->knows_key && u->nlate == 0 && links_redis(u->links) &&
           server_boot_us(u->server) >= u->alone_until_us;
}

void dedupe_turn(void *dedupe)
{
    struct dedupe *u = dedupe;
    struct redis *redis = links_redis(u->links);
    struct delivery *d = u->first, *next;

    if (!u->knows_key)
        learn_again(u);
    if (!d)
        return;
    if (redis) {
        ask(u, redis);
        return;
    }
    u->first = NULL; /* lost within this turn */
    u->last = &u->first;
    u->nreceipts = 0;
    for (; d; d = next) {
        next = d->next;
        u->done(d);
    }
}

/* All questions of a turn leave in one write and come back as one read. */
static void ask(struct dedupe *u, struct redis *redis)
{
    struct round *r = calloc(1, sizeof(*r) + u->nreceipts * sizeof(r->questions[0]));

    if (!r)
        abort();
    r->dedupe = u;
    for (struct delivery *d = u->first; d; d = d->next)
        for (size_t i = 0; i < d->nreceipts; i++)
            r->questions[r->nquestions++] = (struct question){r, d, &d->receipts[i]};
    r->nunanswered = r->nquestions;
    u->first = NULL;
    u->last = &u->first;
    u->nreceipts = 0;
    deadline_set(&u->deadlines, &r->deadline, after_late, r);
    for (size_t i = 0; i < r->nquestions; i++) {
        struct note note;
        const struct span words[] = {
            SPAN("GET"), {note.name, NOTE_BYTES}
        };

        note_write(u, r->questions[i].receipt, &note);
        memcpy(r->questions[i].proof, note.proof, PROOF_BYTES);
        redis_send(redis, words, countof(words), after_answer, &r->questions[i]);
    }
}

static void after_answer(void *question, const struct redis_reply *reply, const struct err *err)
{
    struct question *q = question;
    struct round *r = q->round;

    if (err)
        count_refusal(r->dedupe, err);
    conclude(q, err ? HINT_UNKNOWN : hint_of(q, reply));
    if (--r->nunanswered == 0)
        round_end(r);
}

/* Who can read what we ask may plant a note of that name, or answer in Redis' place: but not with the proof. */
static enum hint hint_of(const struct question *q, const struct redis_reply *reply)
{
    bool is_proof = reply->kind == REDIS_TEXT && reply->text.len == PROOF_BYTES &&
                    sodium_memcmp(reply->text.at, q->proof, PROOF_BYTES) == 0;

    return is_proof ? HINT_SEEN : HINT_UNSEEN;
}

/* A Redis that is full or a replica answers questions as ever and keeps no note: nothing else tells. Of a connection that
 * is lost the links tell. */
static void count_refusal(struct dedupe *u, const struct err *err)
{
    if (err->code != REJECTED)
        return;
    metric_add(REDIS_REFUSALS, METRIC_NO_PLATFORM, 0, 1);
    if (server_boot_us(u->server) < u->complain_again_us)
        return;
    u->complain_again_us = server_boot_us(u->server) + COMPLAIN_US;
    log_warn("redis_refuses", LOG_ERR(err));
}

/* The rest of the round is not waited for, and Redis gets a rest: it is slower than Postgres just now. */
static void after_late(void *round)
{
    struct round *r = round;
    struct dedupe *u = r->dedupe;

    r->late = true;
    u->nlate++;
    u->alone_until_us = server_boot_us(u->server) + LEFT_ALONE_US;
    for (size_t i = 0; i < r->nquestions; i++)
        conclude(&r->questions[i], HINT_UNKNOWN);
}

static void conclude(struct question *q, enum hint hint)
{
    struct delivery *d = q->delivery;

    if (!d)
        return;
    metric_add(HINTS, METRIC_NO_PLATFORM, hint, 1);
    q->receipt->seen = hint == HINT_SEEN;
    q->delivery = NULL;
    if (--d->nwaiting == 0)
        q->round->dedupe->done(d);
}

static void round_end(struct round *r)
{
    if (r->late)
        r->dedupe->nlate--;
    deadline_clear(&r->deadline);
    free(r);
}

void dedupe_remember(struct dedupe *u, const struct delivery *d)
{
    struct redis *redis = links_redis(u->links);
    char id[ID_TEXT_BYTES];

    if (!can_ask(u))
        return;
    id_text(&d->id, id);
    for (const struct receipt *r = d->receipts; r < d->receipts + d->nreceipts; r++) {
        struct note note;
        const struct span set[] = {
            SPAN("SET"),
            {note.name,                NOTE_BYTES },
            {(const char *)note.proof, PROOF_BYTES},
            SPAN("EX"),
            SPAN(NOTE_TTL_S)
        };
        const struct span news[] = {
            SPAN("XADD"),     SPAN("settle:events"), SPAN("MAXLEN"),
            SPAN("~"),        SPAN(FOLLOWERS_MAX),   SPAN("*"),
            SPAN("platform"), d->platform->name,     SPAN("source"),
            d->source->name,  SPAN("post"),          r->event->post_id.at ? r->event->post_id : SPAN(""),
            SPAN("delivery"), span_of(id),
        };
        if (!r->seen) {
            note_write(u, r, &note);
            redis_send(redis, set, countof(set), after_write, u);
        }
        if (r->is_new)
            redis_send(redis, news, countof(news), after_write, u);
    }
}

static void after_write(void *dedupe, const struct redis_reply *reply, const struct err *err)
{
    (void)reply;
    if (err)
        count_refusal(dedupe, err);
}

static void note_write(const struct dedupe *u, const struct receipt *r, struct note *ret)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t message[DEDUP_KEY_BYTES + BOUND_BYTES], mac[NAME_BYTES + PROOF_BYTES];
    char *at = ret->name + sizeof(NOTE_PREFIX) - 1;

    memcpy(message, r->event->dedup_key, DEDUP_KEY_BYTES);
    memcpy(message + DEDUP_KEY_BYTES, u->key.bound, BOUND_BYTES);
    crypto_generichash(mac, sizeof(mac), message, sizeof(message), u->key.key, sizeof(u->key.key));
    memcpy(ret->name, NOTE_PREFIX, sizeof(NOTE_PREFIX) - 1);
    for (size_t i = 0; i < NAME_BYTES; i++) {
        *at++ = digits[mac[i] >> 4];
        *at++ = digits[mac[i] & 15];
    }
    memcpy(ret->proof, mac + NAME_BYTES, PROOF_BYTES);
}
