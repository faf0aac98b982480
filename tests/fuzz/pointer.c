/* A pointer in the first line, JSON in the rest. Where jansson reads the JSON too, both find the same value. */
#include "fuzz.h"

#include "domain/extract.h"

#include <jansson.h>

static const json_t *follow(const json_t *at, struct span pointer);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span json = {(const char *)data, size}, text = span_cut(&json, '\n');
    struct arena *a = arena_open(4096);
    struct pointer *pointer = NULL;
    struct extract x;

    if (json.at && pointer_compile(text, a, &pointer, NULL) == OK && extract_open(&x, json, a, NULL) == OK &&
        pointer_stars(pointer) == 0 && !memchr(text.at, '#', text.len) && !memchr(text.at, '~', text.len)) {
        json_t *root =
            json_loadb(json.at, json.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
        struct place found = extract_at(&x, pointer);
        const json_t *same = root ? follow(root, text) : NULL;
        struct span value = found.doc ? doc_text(found.doc, found.node, a) : SPAN_NONE;
        if (root) {
            FUZZ_ASSERT((found.doc != NULL) == (same != NULL));
            if (json_is_string(same) && value.at)
                FUZZ_ASSERT(span_eq(value, (struct span){json_string_value(same), json_string_length(same)}));
        }
        json_decref(root);
    }
    arena_close(a);
    return 0;
}

static const json_t *follow(const json_t *at, struct span pointer)
{
    if (pointer.len == 0)
        return at;
    span_cut(&pointer, '/');
    while (at && pointer.at) {
        struct span name = span_cut(&pointer, '/');
        const char *key;
        json_t *value;
        if (json_is_array(at)) {
            char digits[8];
            char *end;
            size_t index;
            if (name.len == 0 || name.len > 6 || (name.at[0] == '0' && name.len > 1))
                return NULL;
            snprintf(digits, sizeof(digits), "%.*s", SPAN_ARG(name));
            index = strtoul(digits, &end, 10);
            at = *end || digits[0] < '0' || digits[0] > '9' ? NULL : json_array_get(at, index);
            continue;
        }
        const json_t *object = at;
        at = NULL;
        json_object_foreach((json_t *)(uintptr_t)object, key, value)
            if (span_eq(span_of(key), name))
                at = value;
    }
    return at;
}
