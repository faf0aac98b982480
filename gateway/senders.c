#include "senders.h"

#include "keys.h"
#include "storms.h"

#include <stdlib.h>

struct senders {
    struct server *server;
    const struct platforms *set;
    struct sender **all; /* by platform index, then by place among its sources */
};

/* before: whose memory goes on; NULL: none. */
static struct sender **make(const struct platforms *set, const struct senders *before);
static void begin(struct sender *sender, const struct platform *p, const struct source *source,
                  const struct sender *was);
static void drop(struct sender **all, const struct platforms *set);

struct senders *senders_open(struct server *server, const struct platforms *set)
{
    struct senders *s = calloc(1, sizeof(*s));

    if (!s)
        abort();
    s->server = server;
    s->set = set;
    s->all = make(set, NULL);
    return s;
}

void senders_close(struct senders *s)
{
    if (!s)
        return;
    drop(s->all, s->set);
    free(s);
}

void senders_move(struct senders *s, const struct platforms *set)
{
    struct sender **fresh = make(set, s);

    drop(s->all, s->set);
    s->all = fresh;
    s->set = set;
}

static struct sender **make(const struct platforms *set, const struct senders *before)
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
            begin(&all[i][k], p, &p->sources[k], before ? senders_find(before, p, &p->sources[k]) : NULL);
    }
    return all;
}

/* was: the same source in the set before; NULL: it is new. */
static void begin(struct sender *sender, const struct platform *p, const struct source *source,
                  const struct sender *was)
{
    if (was)
        *sender = (struct sender){.kept = was->kept, .rubbish = was->rubbish};
    sender->storm = storms_find(p, source);
    for (size_t secret = 0; secret < source->nsecrets; secret++)
        sender->keys[secret] = keys_find(p, source, secret);
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
    if (sender)
        storms_count(sender->storm, true);
}

void senders_refused(struct senders *s, const struct platform *p, const struct source *source)
{
    struct sender *sender = senders_find(s, p, source);

    if (sender)
        storms_count(sender->storm, false);
}
