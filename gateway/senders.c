#include "senders.h"

#include "base/now.h"
#include "keys.h"
#include "storms.h"

#include <stdlib.h>

enum { SEVERAL_S = 10 };

struct senders {
    struct server *server;
    const struct platforms *set;
    struct sender **all;                /* by platform index, then by place among its sources */
    struct sender_shares *shares;       /* all there ever were */
    const struct sender_shares *latest; /* whose request was the last that held; NULL: none has yet */
    int64_t several_us;                 /* until then there are several */
};

static struct sender **make(struct senders *s, const struct platforms *set);
static void begin(struct senders *s, struct sender *sender, const struct platform *p,
                  const struct source *source);
static struct sender_shares *new_shares(struct senders *s);
static void drop(struct sender **all, const struct platforms *set);

struct senders *senders_open(struct server *server, const struct platforms *set)
{
    struct senders *s = calloc(1, sizeof(*s));

    if (!s)
        abort();
    s->server = server;
    s->all = make(s, set);
    s->set = set;
    return s;
}

void senders_close(struct senders *s)
{
    struct sender_shares *shares;

    if (!s)
        return;
    drop(s->all, s->set);
    while ((shares = s->shares)) {
        s->shares = shares->next;
        free(shares);
    }
    free(s);
}

void senders_move(struct senders *s, const struct platforms *set)
{
    struct sender **fresh = make(s, set);

    drop(s->all, s->set);
    s->all = fresh;
    s->set = set;
}

/* s may still hold the set before, whose memory goes on. */
static struct sender **make(struct senders *s, const struct platforms *set)
{
    size_t n = platforms_count(set);
    struct sender **all = calloc(n + 1, sizeof(struct sender *));

    if (!all)
        abort();
    for (size_t i = 0; i < n; i++) {
        const struct platform *p = platforms_at(set, i);
        all[i] = calloc(p->nsources + 1, sizeof(struct sender));
        if (!all[i])
            abort();
        for (size_t k = 0; k < p->nsources; k++)
            begin(s, &all[i][k], p, &p->sources[k]);
    }
    return all;
}

static void begin(struct senders *s, struct sender *sender, const struct platform *p,
                  const struct source *source)
{
    const struct sender *was = s->set ? senders_find(s, p, source) : NULL; /* the same one, before */

    if (was)
        *sender = (struct sender){.kept = was->kept, .rubbish = was->rubbish};
    sender->shares = was ? was->shares : new_shares(s);
    sender->storm = storms_find(p, source);
    for (size_t secret = 0; secret < source->nsecrets; secret++)
        sender->keys[secret] = keys_find(p, source, secret);
}

static struct sender_shares *new_shares(struct senders *s)
{
    struct sender_shares *shares = calloc(1, sizeof(*shares));

    if (!shares)
        abort();
    shares->next = s->shares;
    s->shares = shares;
    return shares;
}

static void drop(struct sender **all, const struct platforms *set)
{
    for (size_t i = 0; i < platforms_count(set); i++)
        free(all[i]);
    free(all);
}

struct sender *senders_find(const struct senders *s, const struct platform *p, const struct source *source)
{
    if (p != platforms_at(s->set, p->index)) { /* every set has the same platforms, in one order */
        p = platforms_at(s->set, p->index);
        source = platform_source(p, source->name);
    }
    return source ? &s->all[p->index][source - p->sources] : NULL;
}

void senders_verified(struct senders *s, const struct platform *p, const struct source *source, size_t secret)
{
    struct sender *sender = senders_find(s, p, source);
    bool is_present = p == platforms_at(s->set, p->index);

    keys_count(is_present ? sender->keys[secret] : keys_find(p, source, secret), server_wall_us(s->server));
    if (!sender)
        return;
    storms_count(sender->storm, true);
    if (s->latest && s->latest != sender->shares)
        s->several_us = server_boot_us(s->server) + SEVERAL_S * SECOND_US;
    s->latest = sender->shares;
}

bool senders_are_several(const struct senders *s, int64_t now_us)
{
    return now_us < s->several_us;
}

void senders_refused(struct senders *s, const struct platform *p, const struct source *source)
{
    struct sender *sender = senders_find(s, p, source);

    if (sender)
        storms_count(sender->storm, false);
}
