/*
 * auth: who may use the admin listener. There are no API keys yet, so it is whoever is on this machine: the
 * listener binds loopback only, and what a browser on this machine could be led to send is refused: a request
 * whose Host is not loopback (DNS rebinding), a POST that a plain form could make (cross-site). Pure.
 */
#ifndef SETTLE_GATEWAY_AUTH_H
#define SETTLE_GATEWAY_AUTH_H

#include "base/config.h"
#include "base/err.h"
#include "base/span.h"

/* INVALID, for the start: the address can be reached from other machines. */
enum status auth_check_listener(const struct address *listen, struct err *err) MUST_CHECK;

/* INVALID: "forbidden_host"; for a POST also "unsupported_media_type". content_type absent: none was sent. */
enum status auth_check(struct span method, struct span host, struct span content_type,
                       struct err *err) MUST_CHECK;

#endif
