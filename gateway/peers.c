#include "peers.h"

#include <netinet/in.h>
#include <stdlib.h>

#include <sodium.h>

enum { UNCOUNTED = 0 };

/* Open addressing: at most half of the places are taken, each by one address that has connections. */
struct peers {
    unsigned max_per_address;
    const struct network *exempt;
    size_t nexempt;
    size_t mask;
    uint8_t
        hash_key[crypto_shorthash_KEYBYTES]; /* whoever owns many addresses must not choose their places */
    struct place {
        uint64_t ticket;
        unsigned n; /* 0: free */
    } places[];
};

static bool is_exempt(const struct peers *p, const struct sockaddr *from);
static bool read_address(const struct sockaddr *from, uint8_t ret[NETWORK_ADDRESS_BYTES]);
static size_t home_of(const struct peers *p, uint64_t ticket);
static struct place *find(struct peers *p, uint64_t ticket);
static void set_free(struct peers *p, size_t hole);

struct peers *peers_open(unsigned max_per_address, const struct network *exempt, size_t nexempt,
                         size_t max_connections)
{
    size_t n = 2;
    struct peers *p;

    while (n < 2 * max_connections)
        n *= 2;
    p = calloc(1, sizeof(*p) + n * sizeof(p->places[0])); /* touched only where there are connections */
    if (!p)
        abort();
    p->max_per_address = max_per_address;
    p->exempt = exempt;
    p->nexempt = nexempt;
    p->mask = n - 1;
    crypto_shorthash_keygen(p->hash_key);
    return p;
}

void peers_close(struct peers *p)
{
    free(p);
}

bool peers_enter(struct peers *p, const struct sockaddr *from, uint64_t *ret_ticket)
{
    struct place *at;

    *ret_ticket = p->max_per_address > 0 && !is_exempt(p, from) ? peers_address(from) : UNCOUNTED;
    if (*ret_ticket == UNCOUNTED)
        return true;
    at = find(p, *ret_ticket);
    if (at->n >= p->max_per_address)
        return false;
    at->ticket = *ret_ticket;
    at->n++;
    return true;
}

static bool is_exempt(const struct peers *p, const struct sockaddr *from)
{
    uint8_t address[NETWORK_ADDRESS_BYTES];

    if (!read_address(from, address))
        return true;
    for (size_t i = 0; i < p->nexempt; i++)
        if (network_holds(&p->exempt[i], address))
            return true;
    return false;
}

uint64_t peers_address(const struct sockaddr *from)
{
    uint8_t address[NETWORK_ADDRESS_BYTES];
    uint64_t ticket = 0;

    if (!read_address(from, address))
        return UNCOUNTED;
    if (network_holds(
            &(struct network){
                .address = {[10] = 0xff, [11] = 0xff},
                  .bits = 96
    },
            address)) {
        memcpy(&ticket, address + 8, sizeof(ticket));
        return ticket; /* ff:ff, then the address: never 0 */
    }
    memcpy(&ticket, address, sizeof(ticket));
    return ticket == UNCOUNTED ? 1 : ticket; /* ::1 */
}

/* IPv4 as IPv6 has it. False: it is no address of the network. */
static bool read_address(const struct sockaddr *from, uint8_t ret[NETWORK_ADDRESS_BYTES])
{
    memset(ret, 0, NETWORK_ADDRESS_BYTES);
    ret[10] = ret[11] = 0xff;
    if (from->sa_family == AF_INET)
        memcpy(ret + 12, &((const struct sockaddr_in *)(const void *)from)->sin_addr, 4);
    else if (from->sa_family == AF_INET6)
        memcpy(ret, &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr, NETWORK_ADDRESS_BYTES);
    else
        return false;
    return true;
}

static size_t home_of(const struct peers *p, uint64_t ticket)
{
    uint64_t hash;

    crypto_shorthash((uint8_t *)&hash, (const uint8_t *)&ticket, sizeof(ticket), p->hash_key);
    return hash & p->mask;
}

/* Its place, or the free one where it would be. */
static struct place *find(struct peers *p, uint64_t ticket)
{
    size_t at = home_of(p, ticket);

    while (p->places[at].n > 0 && p->places[at].ticket != ticket)
        at = (at + 1) & p->mask;
    return &p->places[at];
}

void peers_leave(struct peers *p, uint64_t ticket)
{
    struct place *at;

    if (ticket == UNCOUNTED)
        return;
    at = find(p, ticket);
    if (at->n > 0 && --at->n == 0)
        set_free(p, (size_t)(at - p->places));
}

/* Moves up whoever would no longer be found behind the hole. */
static void set_free(struct peers *p, size_t hole)
{
    for (size_t at = (hole + 1) & p->mask; p->places[at].n > 0; at = (at + 1) & p->mask) {
        size_t home = home_of(p, p->places[at].ticket);
        if (((at - home) & p->mask) >= ((at - hole) & p->mask)) {
            p->places[hole] = p->places[at];
            p->places[at].n = 0;
            hole = at;
        }
    }
}
