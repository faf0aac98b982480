/*
 * senders: what a worker remembers of each source from request to request: what may still be kept of its refused
 * requests, what it has waiting for the stores, where it and its keys are counted. A reload takes it over to the next set, by names.
 */
#ifndef SETTLE_GATEWAY_SENDERS_H
#define SETTLE_GATEWAY_SENDERS_H

#include "domain/platform.h"
#include "line.h"
#include "quota.h"
#include "server.h"

/* Stays where it is until senders_close, whatever becomes of the source: deliveries stand in line with it. */
struct sender_shares {
    struct line_share store, spool;
    struct sender_shares *next;
};

struct sender {
    struct quota kept, rubbish; /* of refused.c */
    struct sender_shares *shares;
    size_t storm;             /* place of storms.h */
    size_t keys[SECRETS_MAX]; /* places of keys.h */
};

struct senders;

/* Borrows the set until senders_move or senders_close. */
struct senders *senders_open(struct server *server, const struct platforms *set);
void senders_close(struct senders *s); /* NULL is fine */
void senders_move(struct senders *s, const struct platforms *set);

/* p and source may be of an earlier set. NULL: the present one has no such source. */
struct sender *senders_find(const struct senders *s, const struct platform *p, const struct source *source);

/* One request of a source was verified by that secret of it; one was not. Who sends without any signature is no sign of
 * a wrong secret: do not tell of it. */
void senders_verified(struct senders *s, const struct platform *p, const struct source *source,
                      size_t secret);
void senders_refused(struct senders *s, const struct platform *p, const struct source *source);

/* True: of late, more than one source of the worker's had something verified. */
bool senders_are_several(const struct senders *s, int64_t now_boot_us);

#endif
