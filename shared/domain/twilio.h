/*
 * twilio: the parts of Twilio's scheme that no template can say. Source: Twilio, "Webhooks Security"; twilio-node.
 */
#ifndef SETTLE_DOMAIN_TWILIO_H
#define SETTLE_DOMAIN_TWILIO_H

#include "base/arena.h"
#include "domain/scheme.h"

/* What stands behind the URL in the signed text. Of a form: each name and its values, sorted, a value that is repeated
 * once, all glued together. Of any other body: nothing, if the URL's bodySHA256 is its digest.
 * False: the body is not covered; wrong says why. The result is in the arena. */
bool twilio_form(const struct request *r, struct arena *arena, struct span *ret, const char **wrong);

enum { TWILIO_URLS = 2 };

/* The URL with and without the standard port of its scheme: Twilio's senders sign either. Returns how many. */
size_t twilio_urls(struct span url, struct arena *arena, struct span ret[TWILIO_URLS]);

#endif
