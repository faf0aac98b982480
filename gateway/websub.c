#include "websub.h"

#include "admit.h"
#include "base/log.h"
#include "domain/urlform.h"
#include "ingest.h"

enum { LEASE_DIGITS_MAX = 10 };

/* What the query says. */
struct notice {
    struct span mode, reason;
    struct span topic; /* of ours, as the operator wrote it; absent: none of them */
    int64_t lease_s;   /* -1: not said */
};

static struct notice read_notice(const struct delivery *d, const struct urlform_pair *pairs, size_t n);
static struct span own_topic(const struct delivery *d, struct span url);
static int64_t read_seconds(struct span text);
static struct span printable(struct span text, struct arena *arena);
static bool may_log(const struct delivery *d, enum admit_kind kind);
static void tell_granted(const struct delivery *d, const struct notice *n);
static void tell_denied(const struct delivery *d, const struct notice *n);

void websub_heard(const struct delivery *d, struct span query, const struct handshake_answer *a)
{
    struct urlform_pair *pairs;
    struct notice notice;
    size_t n;

    if (!d->platform->hub.at || !d->source || !query.at || !urlform_read(query, d->arena, &pairs, &n))
        return;
    notice = read_notice(d, pairs, n);
    if (span_eq(notice.mode, SPAN("denied")) && may_log(d, ADMIT_DENIED))
        tell_denied(d, &notice);
    else if (a->good && span_eq(notice.mode, SPAN("subscribe")) && may_log(d, ADMIT_CONFIRMED))
        tell_granted(d, &notice);
}

static struct notice read_notice(const struct delivery *d, const struct urlform_pair *pairs, size_t n)
{
    return (struct notice){
        .mode = urlform_get(pairs, n, SPAN("hub.mode"), NULL),
        .reason = printable(urlform_get(pairs, n, SPAN("hub.reason"), NULL), d->arena),
        .topic = own_topic(d, urlform_get(pairs, n, SPAN("hub.topic"), NULL)),
        .lease_s = read_seconds(urlform_get(pairs, n, SPAN("hub.lease_seconds"), NULL)),
    };
}

static struct span own_topic(const struct delivery *d, struct span url)
{
    const struct source *s = d->source;

    for (size_t i = 0; url.at && i < s->ntopics; i++)
        if (span_eq(url, handshake_topic_url(d->platform, s->topics[i], d->arena)))
            return s->topics[i];
    return SPAN_NONE;
}

static int64_t read_seconds(struct span text)
{
    int64_t seconds = 0;

    if (text.len == 0 || text.len > LEASE_DIGITS_MAX)
        return -1;
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return -1;
        seconds = 10 * seconds + (text.at[i] - '0');
    }
    return seconds;
}

/* A stranger's text in our log: short, and nothing that a terminal obeys. */
static struct span printable(struct span text, struct arena *arena)
{
    size_t len = text.len < WEBSUB_REASON_MAX ? text.len : WEBSUB_REASON_MAX;
    char *copy;

    if (!text.at)
        return SPAN_NONE;
    copy = arena_alloc(arena, len + 1);
    for (size_t i = 0; i < len; i++)
        copy[i] = (text.at[i] >= ' ' && text.at[i] <= '~') ? text.at[i] : '?';
    return (struct span){copy, len};
}

static bool may_log(const struct delivery *d, enum admit_kind kind)
{
    return admit_take(d->ingest->admit, kind, d->platform->name, d->source->name,
                      server_boot_us(d->ingest->server));
}

static void tell_denied(const struct delivery *d, const struct notice *n)
{
    log_warn("subscription_denied", LOG_ID("delivery_id", &d->id), LOG_SPAN("platform", d->platform->name),
             LOG_SPAN("source", d->source->name), LOG_SPAN("topic", n->topic), LOG_SPAN("reason", n->reason));
}

/* Renewals are due when half of the lease that was asked for is over. */
static void tell_granted(const struct delivery *d, const struct notice *n)
{
    const struct log_field lease =
        n->lease_s >= 0 ? LOG_INT("lease_s", n->lease_s) : LOG_SPAN("lease_s", SPAN_NONE);

    log_info("subscription_confirmed", LOG_ID("delivery_id", &d->id), LOG_SPAN("platform", d->platform->name),
             LOG_SPAN("source", d->source->name), LOG_SPAN("topic", n->topic), lease);
    if (n->lease_s >= 0 && 2 * n->lease_s < d->platform->lease_s)
        log_warn(
            "subscription_lease_short", LOG_SPAN("platform", d->platform->name),
            LOG_SPAN("source", d->source->name), LOG_SPAN("topic", n->topic), lease,
            LOG_INT("asked_s", d->platform->lease_s),
            LOG_TEXT("why", "renewals come too late: lower subscribe.lease_s in the platform's descriptor"));
}
