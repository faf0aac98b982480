#include "auth.h"

#include <arpa/inet.h>

#include <stdlib.h>

static bool is_loopback(struct span host);
static bool cut_port(struct span *host);
static bool is_json(struct span content_type);

enum status auth_check_listener(const struct address *listen, struct err *err)
{
    if (listen->path || is_loopback(span_of(listen->host)))
        return OK;
    return err_cause(err, INVALID, "listener_not_loopback",
                     "admin.listen: %s can be reached from other machines, and with admin.keys_required: "
                     "false nothing tells who "
                     "asks; require keys, or use 127.0.0.1, [::1] or unix:/path",
                     listen->host);
}

enum status auth_check(bool with_keys, struct span method, struct span host, struct span content_type,
                       struct err *err)
{
    if (!with_keys && (!cut_port(&host) || !is_loopback(host)))
        return err_cause(err, INVALID, "forbidden_host",
                         "the Host header must name localhost, 127.0.0.0/8 or [::1]");
    if ((span_eq(method, SPAN("POST")) || span_eq(method, SPAN("PUT"))) && !is_json(content_type))
        return err_cause(err, INVALID, "unsupported_media_type",
                         "a %.*s needs Content-Type: application/json", SPAN_ARG(method));
    return OK;
}

/* host without port and brackets. */
static bool is_loopback(struct span host)
{
    unsigned char address[sizeof(struct in6_addr)];
    char copy[INET6_ADDRSTRLEN];

    if (span_eq_nocase(host, SPAN("localhost")))
        return true;
    if (host.len == 0 || host.len >= sizeof(copy))
        return false;
    memcpy(copy, host.at, host.len);
    copy[host.len] = '\0';
    if (inet_pton(AF_INET, copy, address) == 1)
        return address[0] == 127;
    return inet_pton(AF_INET6, copy, address) == 1 && IN6_IS_ADDR_LOOPBACK((struct in6_addr *)address);
}

/* "127.0.0.1:8081" and "[::1]:8081" lose port and brackets; a name with neither stays. False: no host at all. */
static bool cut_port(struct span *host)
{
    struct span rest = *host;

    if (rest.len == 0)
        return false;
    if (*rest.at == '[') {
        rest = span_skip(rest, 1);
        *host = span_cut(&rest, ']');
        if (!rest.at || (rest.len > 0 && *rest.at != ':'))
            return false;
        return true;
    }
    *host = span_cut(&rest, ':');
    return !rest.at || !memchr(rest.at, ':', rest.len); /* "::1" must stand in brackets */
}

static bool is_json(struct span content_type)
{
    struct span type = span_cut(&content_type, ';');

    while (type.len > 0 && type.at[type.len - 1] == ' ')
        type.len--;
    return span_eq_nocase(type, SPAN("application/json"));
}
