#include "fuzz.h"

#include "domain/scheme.h"

/* A key of each kind: text, base64, hex of an Ed25519 public key (RFC 8032, 7.1, test 1). The first that is taken. */
static const char *const secrets[] = {
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "secret",
};

struct platforms *fuzz_platforms(void)
{
    static struct platforms *set;
    static const char *const topics[] = {"UC1"};

    if (set)
        return set;
    set = platforms_load(NULL, NULL);
    FUZZ_ASSERT(set);
    for (size_t i = 0; i < platforms_count(set); i++) {
        struct span name = platforms_at(set, i)->name;
        size_t k = 0;
        while (k < countof(secrets) &&
               platforms_add_source(set, name, SPAN("default"), span_of(secrets[k]), NULL))
            k++;
        FUZZ_ASSERT(k < countof(secrets) &&
                    platforms_set_verify_token(set, name, SPAN("default"), SPAN("token"), NULL) == OK &&
                    platforms_set_topics(set, name, SPAN("default"), topics, 1, NULL) == OK);
    }
    return set;
}
