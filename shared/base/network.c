#include "base/network.h"

#include "base/number.h"

#include <arpa/inet.h>

enum { V4_AT = 12, V4_BITS_AT = 96 };

static bool parse_address(struct span text, struct network *ret);
static bool is_bit_set(const uint8_t *bytes, unsigned bit);

bool network_parse(struct span text, struct network *ret)
{
    struct span rest = text, address = span_cut(&rest, '/');
    uint64_t bits;

    *ret = (struct network){.bits = 0};
    if (!parse_address(address, ret))
        return false;
    if (rest.at) {
        if (!number_parse(rest, 0, 128 - ret->bits, &bits))
            return false;
        ret->bits += (unsigned)bits;
    } else {
        ret->bits = 128;
    }
    for (unsigned bit = ret->bits; bit < 128; bit++)
        if (is_bit_set(ret->address, bit))
            return false;
    return true;
}

/* Leaves in bits how many stand before what the text's own prefix counts from. */
static bool parse_address(struct span text, struct network *ret)
{
    char copy[INET6_ADDRSTRLEN];

    if (text.len == 0 || text.len >= sizeof(copy))
        return false;
    memcpy(copy, text.at, text.len);
    copy[text.len] = '\0';
    if (inet_pton(AF_INET6, copy, ret->address) == 1)
        return true;
    ret->address[V4_AT - 2] = ret->address[V4_AT - 1] = 0xff;
    ret->bits = V4_BITS_AT;
    return inet_pton(AF_INET, copy, ret->address + V4_AT) == 1;
}

static bool is_bit_set(const uint8_t *bytes, unsigned bit)
{
    return bytes[bit / 8] >> (7 - bit % 8) & 1;
}

bool network_holds(const struct network *n, const uint8_t address[NETWORK_ADDRESS_BYTES])
{
    unsigned whole = n->bits / 8, rest = n->bits % 8;

    if (memcmp(n->address, address, whole) != 0)
        return false;
    return rest == 0 || (n->address[whole] ^ address[whole]) >> (8 - rest) == 0;
}
