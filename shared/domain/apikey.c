#include "domain/apikey.h"

#include <sodium.h>

#include <stdio.h>
#include <string.h>

#define PREFIX "settle_"

enum {
    SECRET_BYTES = 32,
    CHECK_BYTES = 4,
    CHECK_AT = APIKEY_CHARS - 2 * CHECK_BYTES,
    ID_AT = sizeof(PREFIX) - 1,
    SECRET_AT = ID_AT + APIKEY_ID_CHARS + 1,
};

static void write_check(const char *key, char ret[2 * CHECK_BYTES + 1]);
static bool is_hex(struct span text);
static unsigned scope_of(struct span word);

static const char *const scope_words[SCOPES] = {"read", "write", "reconcile", "admin"};

void apikey_make(char ret[APIKEY_CHARS])
{
    uint8_t random[APIKEY_ID_CHARS / 2 + SECRET_BYTES];
    char text[APIKEY_CHARS + 1];

    randombytes_buf(random, sizeof(random));
    memcpy(text, PREFIX, ID_AT);
    sodium_bin2hex(text + ID_AT, APIKEY_ID_CHARS + 1, random, APIKEY_ID_CHARS / 2);
    text[SECRET_AT - 1] = '_';
    sodium_bin2hex(text + SECRET_AT, 2 * SECRET_BYTES + 1, random + APIKEY_ID_CHARS / 2, SECRET_BYTES);
    write_check(text, text + CHECK_AT);
    memcpy(ret, text, APIKEY_CHARS);
    sodium_memzero(random, sizeof(random));
    sodium_memzero(text, sizeof(text));
}

bool apikey_read(struct span text, struct apikey *ret)
{
    char check[2 * CHECK_BYTES + 1];

    if (text.len != APIKEY_CHARS || !span_starts(text, SPAN(PREFIX)) || text.at[SECRET_AT - 1] != '_' ||
        !is_hex((struct span){text.at + ID_AT, APIKEY_ID_CHARS}) || !is_hex(span_skip(text, SECRET_AT)))
        return false;
    write_check(text.at, check);
    if (sodium_memcmp(check, text.at + CHECK_AT, sizeof(check) - 1) != 0)
        return false;
    ret->id = (struct span){text.at + ID_AT, APIKEY_ID_CHARS};
    crypto_generichash(ret->hash, sizeof(ret->hash), (const uint8_t *)text.at, text.len, NULL, 0);
    return true;
}

bool apikey_fits(const struct apikey *key, struct span stored)
{
    static const char none[APIKEY_HASH_BYTES];
    bool is_there = stored.at && stored.len == APIKEY_HASH_BYTES;
    bool same = sodium_memcmp(key->hash, is_there ? stored.at : none, APIKEY_HASH_BYTES) == 0;

    return same && is_there;
}

unsigned apikey_scopes(struct span words)
{
    unsigned scopes = 0;

    while (words.len > 0) {
        size_t len = 0;

        while (len < words.len && !strchr(" ,", words.at[len]))
            len++;
        if (!scope_of((struct span){words.at, len}))
            return 0;
        scopes |= scope_of((struct span){words.at, len});
        words = span_skip(words, len < words.len ? len + 1 : len);
    }
    return scopes;
}

void apikey_scopes_text(unsigned scopes, char ret[SCOPES_TEXT_BYTES])
{
    size_t len = 0;

    ret[0] = '\0';
    for (size_t i = 0; i < SCOPES; i++)
        if (scopes & 1U << i)
            len +=
                (size_t)snprintf(ret + len, SCOPES_TEXT_BYTES - len, "%s%s", len ? " " : "", scope_words[i]);
}

/* With a NUL behind it. */
static void write_check(const char *key, char ret[2 * CHECK_BYTES + 1])
{
    uint8_t digest[crypto_generichash_BYTES];

    crypto_generichash(digest, sizeof(digest), (const uint8_t *)key, CHECK_AT, NULL, 0);
    sodium_bin2hex(ret, 2 * CHECK_BYTES + 1, digest, CHECK_BYTES);
}

static bool is_hex(struct span text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!text.at[i] || !strchr("0123456789abcdef", text.at[i]))
            return false;
    return true;
}

static unsigned scope_of(struct span word)
{
    for (size_t i = 0; i < SCOPES; i++)
        if (span_eq(word, span_of(scope_words[i])))
            return 1U << i;
    return 0;
}
