/*
 * insights: how a platform is asked for the figures of a site (clicks, impressions, ...), and what its answer says. Pure: it
 * builds the request and reads the answer, both by the descriptor's `insights` section; sending is the fetcher's.
 */
#ifndef SETTLE_DOMAIN_INSIGHTS_H
#define SETTLE_DOMAIN_INSIGHTS_H

#include "domain/poll.h"

enum {
    INSIGHTS_SITE_BYTES = 500,
    INSIGHTS_DATE_BYTES = 11, /* "2026-01-15" and a NUL */
    INSIGHTS_FIGURES_MAX = 32,
    INSIGHTS_FIGURE_BYTES = 64, /* of a number as a platform writes it */
};

/* The days that are asked about, both included. */
struct insights_period {
    char from[INSIGHTS_DATE_BYTES], to[INSIGHTS_DATE_BYTES]; /* in UTC */
};
struct insights_period insights_period(const struct insights *in, int64_t now_us);

/* Whose figures. All is borrowed. */
struct insights_question {
    const struct insights *insights;
    const struct insights_period *period;
    struct span site;    /* a URL, or "sc-domain:example.com" */
    struct span account; /* the platform's id of the account; absent: not known */
};

/* 1 to INSIGHTS_SITE_BYTES of visible ASCII with a colon in it, without "\" and without a "." or ".." between slashes,
 * which servers resolve even when encoded. */
bool insights_site_fits(struct span site);

/* As poll_request; *ret is closed by poll_call_close. INVALID, nothing to close: cause "config_error": the site does not fit;
 * "auth_error": the token or the account does not. */
enum status insights_request(const struct insights_question *q, struct span token, struct poll_call *ret,
                             struct err *err) MUST_CHECK;

enum insights_error {
    INSIGHTS_OK,
    INSIGHTS_AUTH_ERROR,    /* "auth_error": the token is refused, or lacks a right */
    INSIGHTS_RATE_LIMITED,  /* "rate_limited" */
    INSIGHTS_CONFIG_ERROR,  /* "config_error": the platform does not know the site, or not the question */
    INSIGHTS_FETCH_ERROR,   /* "fetch_error": it could not, or did not say why not */
    INSIGHTS_INVALID_RETURN /* "invalid_adapter_return": not the answer that the descriptor describes */
};
const char *insights_error_name(enum insights_error error); /* NULL for INSIGHTS_OK */

/* What the answer says. *ret: of INSIGHTS_OK a JSON object of numbers by the figures' names, in the arena; else absent.
 * What is no number, or none that a double holds, or is missing without a default, is no answer: nothing is made up. */
enum insights_error insights_read(const struct insights *in, int status, struct span content,
                                  struct arena *arena, struct span *ret);

#endif
