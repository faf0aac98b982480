/* An Atom feed: whatever it is, what comes out is JSON, or an error. */
#include "fuzz.h"

#include "base/doc.h"
#include "domain/body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_open(4096);
    struct span json;
    struct doc doc;

    if (body_as_json(BODY_ATOM | BODY_FORM, (struct span){(const char *)data, size}, a, &json, NULL) == OK &&
        json.len > 0 && json.at != (const char *)data)
        FUZZ_ASSERT(doc_parse(&doc, json, a, NULL) == OK || json.len > 65536);
    arena_close(a);
    return 0;
}
