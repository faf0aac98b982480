/*
 * auth: what a request to the admin listener must be before anybody looks who asks. Without keys (admin.keys_required:
 * false) that is whoever is on this machine: the listener binds loopback only, and what a browser on this machine could be
 * led to send is refused: a request whose Host is not loopback (DNS rebinding), a POST that a plain form could make
 * (cross-site). With keys the Host may be any: no page can send a key that it does not have. Pure.
 */
#ifndef SETTLE_GATEWAY_AUTH_H
#define SETTLE_GATEWAY_AUTH_H

#include "base/config.h"
#include "base/err.h"
#include "base/span.h"

/* INVALID, for the start without keys: the address can be reached from other machines. */
enum status auth_check_listener(const struct address *listen, struct err *err) MUST_CHECK;

/* INVALID: without keys "forbidden_host"; for a POST also "unsupported_media_type". content_type absent: none was sent. */
enum status auth_check(bool with_keys, struct span method, struct span host, struct span content_type,
                       struct err *err) MUST_CHECK;

#endif
