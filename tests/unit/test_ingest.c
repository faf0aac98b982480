#include "support/test.h"

#include "answer.h"
#include "ingest.h"

static const struct {
    const char *why, *path, *platform, *source; /* platform NULL: not a webhook's path */
} paths[] = {
    {"a platform",                      "/publishing/webhooks/tiktok",        "tiktok",   "default" },
    {"a platform and a source",         "/publishing/webhooks/tiktok/shop-2", "tiktok",   "shop-2"  },
    {"an empty source",                 "/publishing/webhooks/tiktok/",       NULL,       NULL      },
    {"an empty platform",               "/publishing/webhooks/",              NULL,       NULL      },
    {"an empty platform with a source", "/publishing/webhooks//a",            NULL,       NULL      },
    {"too long a path",                 "/publishing/webhooks/tiktok/a/b",    NULL,       NULL      },
    {"a slash behind the source",       "/publishing/webhooks/tiktok/a/",     NULL,       NULL      },
    {"without the prefix",              "/webhooks/tiktok",                   NULL,       NULL      },
    {"a longer prefix",                 "/publishing/webhooksx/tiktok",       NULL,       NULL      },
    {"dots are names like any other",   "/publishing/webhooks/../webhooks",   "..",       "webhooks"},
    {"escapes are not undone",          "/publishing/webhooks/tik%74ok",      "tik%74ok", "default" },
    {"nothing",                         "",                                   NULL,       NULL      },
};

static void test_a_path_names_platform_and_source(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(paths); i++) {
        struct span platform, source;
        bool is_path = ingest_read_path(span_of(paths[i].path), &platform, &source);
        if (is_path != (paths[i].platform != NULL))
            fail_msg("%s", paths[i].why);
        if (is_path &&
            (!span_eq(platform, span_of(paths[i].platform)) || !span_eq(source, span_of(paths[i].source))))
            fail_msg("%s", paths[i].why);
    }
}

static const struct {
    const char *why;
    struct err err;
    int code;
    bool may_retry;
} answers[] = {
    {"a wrong signature",               {.code = FORGED, .cause = "bad_signature"},       401, false},
    {"a signature without a cause",     {.code = FORGED},                                 401, false},
    {"no such platform",                {.code = INVALID, .cause = "unknown_platform"},   404, false},
    {"another method",                  {.code = INVALID, .cause = "method_not_allowed"}, 405, false},
    {"too large a body",                {.code = INVALID, .cause = "too_large"},          413, false},
    {"two lengths",                     {.code = INVALID, .cause = "malformed_framing"},  400, false},
    {"16 KiB of headers",               {.code = INVALID, .cause = "head_too_large"},     431, false},
    {"a full queue",                    {.code = BUSY},                                   503, true },
    {"no store",                        {.code = UNAVAILABLE},                            503, true },
    {"a deadlock twice",                {.code = UNAVAILABLE, .sqlstate = "40P01"},       503, true },
    {"our own bug is never a 4xx",      {.code = BROKEN},                                 503, true },
    {"nor is what the store refuses",   {.code = REJECTED, .sqlstate = "22P05"},          503, true },
    {"a cause the table does not know", {.code = BROKEN, .cause = "no such cause"},       503, true },
};

static void test_each_failure_has_its_answer(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(answers); i++) {
        const struct answer_kind *kind = answer_kind_of(&answers[i].err);
        if (kind->code != answers[i].code || kind->may_retry != answers[i].may_retry)
            fail_msg("%s: %d", answers[i].why, kind->code);
        if (strcmp(answer_reason(kind->code), "Unknown") == 0)
            fail_msg("%d has no reason", kind->code);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_path_names_platform_and_source),
        cmocka_unit_test(test_each_failure_has_its_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
