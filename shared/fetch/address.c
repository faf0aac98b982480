#include "fetch/address.h"

#include "base/attr.h"

#include <stdlib.h>

#include <netinet/in.h>

static bool is_private(const uint8_t address[NETWORK_ADDRESS_BYTES]);
static bool holds(const char *network, const uint8_t address[NETWORK_ADDRESS_BYTES]);

/* Of the registries of special-purpose addresses (RFC 6890 and since), and what clouds answer on in public ranges. */
static const char *const private_v4[] = {
    "0.0.0.0/8",        /* this host */
    "10.0.0.0/8",       /* private */
    "100.64.0.0/10",    /* a carrier's own; a cloud's metadata at 100.100.100.200 */
    "127.0.0.0/8",      /* loopback */
    "168.63.129.16/32", /* a cloud's services for its machines */
    "169.254.0.0/16",   /* link-local; metadata at 169.254.169.254 */
    "172.16.0.0/12",    /* private */
    "192.0.0.0/24",     /* of protocols; metadata at 192.0.0.192 */
    "192.0.2.0/24",     /* documentation */
    "192.88.99.0/24",   /* 6to4 relays */
    "192.168.0.0/16",   /* private */
    "198.18.0.0/15",    /* benchmarks */
    "198.51.100.0/24",  /* documentation */
    "203.0.113.0/24",   /* documentation */
    "224.0.0.0/3",      /* multicast, reserved, broadcast */
};

/* All that is public is in 2000::/3: so loopback, mapped and compatible IPv4, NAT64, unique and link-local need no row. */
#define GLOBAL_UNICAST "2000::/3"
static const char *const private_v6[] = {
    "2001::/23",     /* of protocols; Teredo, which stands for IPv4 */
    "2001:db8::/32", /* documentation */
    "2002::/16",     /* 6to4: stands for IPv4 */
    "3fff::/20",     /* documentation */
};

bool address_may_be_asked(const struct sockaddr *address, const struct network *allowed, size_t nallowed)
{
    uint8_t bytes[NETWORK_ADDRESS_BYTES] = {[10] = 0xff, [11] = 0xff};
    bool is_v4 = address->sa_family == AF_INET;

    if (is_v4)
        memcpy(bytes + 12, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
    else if (address->sa_family == AF_INET6)
        memcpy(bytes, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, sizeof(bytes));
    else
        return false;
    for (size_t i = 0; i < nallowed; i++)
        if (network_holds(&allowed[i], bytes))
            return true;
    if (!is_v4)
        return holds(GLOBAL_UNICAST, bytes) && !is_private(bytes);
    return !is_private(bytes);
}

static bool is_private(const uint8_t address[NETWORK_ADDRESS_BYTES])
{
    for (size_t i = 0; i < countof(private_v4); i++)
        if (holds(private_v4[i], address))
            return true;
    for (size_t i = 0; i < countof(private_v6); i++)
        if (holds(private_v6[i], address))
            return true;
    return false;
}

static bool holds(const char *network, const uint8_t address[NETWORK_ADDRESS_BYTES])
{
    struct network n;

    if (!network_parse(span_of(network), &n))
        abort(); /* a slip in the tables above */
    return network_holds(&n, address);
}
