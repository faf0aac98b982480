#include "domain/encoding.h"

#include <sodium.h>

typedef bool decode(struct span text, uint8_t *ret, size_t size, size_t *ret_len);
typedef struct span encode(const uint8_t *bytes, size_t nbytes, struct arena *arena);
static decode decode_hex, decode_base64;
static encode encode_hex, encode_base64;

static const struct {
    decode *decode;
    encode *encode;
} encodings[] = {
    [ENCODING_HEX] = {decode_hex,    encode_hex   },
    [ENCODING_BASE64] = {decode_base64, encode_base64},
};

bool encoding_read(enum encoding encoding, struct span text, uint8_t *ret, size_t size, size_t *ret_len)
{
    return encodings[encoding].decode(text, ret, size, ret_len);
}

struct span encoding_write(enum encoding encoding, const uint8_t *bytes, size_t nbytes, struct arena *arena)
{
    return encodings[encoding].encode(bytes, nbytes, arena);
}

static bool decode_hex(struct span text, uint8_t *ret, size_t size, size_t *ret_len)
{
    if (text.len % 2 != 0 || text.len / 2 > size)
        return false;
    for (size_t i = 0; i < text.len; i++) /* libsodium would take capitals too */
        if (!(text.at[i] >= '0' && text.at[i] <= '9') && !(text.at[i] >= 'a' && text.at[i] <= 'f'))
            return false;
    return sodium_hex2bin(ret, size, text.at, text.len, NULL, ret_len, NULL) == 0;
}

/* With NULL for what to ignore and for the end, only the canonical form passes. But libsodium 1.0.18 takes some bytes
 * beyond ASCII for letters. */
static bool decode_base64(struct span text, uint8_t *ret, size_t size, size_t *ret_len)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.at[i] >= 0x80)
            return false;
    return sodium_base642bin(ret, size, text.at, text.len, NULL, ret_len, NULL,
                             sodium_base64_VARIANT_ORIGINAL) == 0;
}

static struct span encode_hex(const uint8_t *bytes, size_t nbytes, struct arena *arena)
{
    size_t room = 2 * nbytes + 1;

    return span_of(sodium_bin2hex(arena_alloc(arena, room), room, bytes, nbytes));
}

static struct span encode_base64(const uint8_t *bytes, size_t nbytes, struct arena *arena)
{
    size_t room = sodium_base64_encoded_len(nbytes, sodium_base64_VARIANT_ORIGINAL);

    return span_of(
        sodium_bin2base64(arena_alloc(arena, room), room, bytes, nbytes, sodium_base64_VARIANT_ORIGINAL));
}
