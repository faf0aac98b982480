/* A descriptor of an operator: it becomes a platform, or an error that says where. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = "p.yaml";
    const struct span text = {(const char *)data, size};
    struct err err = {.text = ""};
    struct platforms *set = platforms_load_texts(&path, &text, 1, &err);

    FUZZ_ASSERT(set || err.text[0] != '\0');
    platforms_close(set);
    return 0;
}
