#include "senders.h"

#include "base/log.h"
#include "base/metric.h"
#include "base/now.h"
#include "keys.h"

#include <stdlib.h>

#define LOOK_US SECOND_US /* how often storms are looked for */

struct senders {
    struct server *server;
    const struct platforms *set;
    struct sender **all; /* by platform index, then by place among its sources */
    int64_t look_us;     /* boot time of the next look */
};

/* before: whose memory goes on; NULL: none. */
static struct sender **make(const struct platforms *set, const struct senders *before);
static void begin(struct sender *sender, const struct platform *p, const struct source *source,
                  const struct sender *was);
static void drop(struct sender **all, const struct platforms *set);
static size_t storms_of(struct senders *s, const struct platform *p, int64_t now_us);

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
        *sender = (struct sender){.quota = was->quota, .storm = was->storm};
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
        storm_count(&sender->storm, server_boot_us(s->server), true);
}

void senders_refused(struct senders *s, const struct platform *p, const struct source *source)
{
    struct sender *sender = senders_find(s, p, source);

    if (sender)
        storm_count(&sender->storm, server_boot_us(s->server), false);
}

void senders_turn(void *senders)
{
    struct senders *s = senders;
    int64_t now_us = server_boot_us(s->server);

    if (now_us < s->look_us)
        return;
    s->look_us = now_us + LOOK_US;
    for (size_t i = 0; i < platforms_count(s->set); i++)
        metric_set(SIGNATURE_STORM, i, 0, (double)storms_of(s, platforms_at(s->set, i), now_us));
}

/* One line when it begins: the metric says how long it lasts. */
static size_t storms_of(struct senders *s, const struct platform *p, int64_t now_us)
{
    size_t n = 0;

    for (size_t k = 0; k < p->nsources; k++) {
        struct storm *storm = &s->all[p->index][k].storm;
        bool was_on = storm->on;

        if (!storm_is_on(storm, now_us))
            continue;
        n++;
        if (!was_on)
            log_warn("signature_storm", LOG_SPAN("platform", p->name), LOG_SPAN("source", p->sources[k].name),
                     LOG_INT("refused", (int64_t)storm_minute(storm).refused),
                     LOG_INT("verified", (int64_t)storm_minute(storm).verified));
    }
    return n;
}
