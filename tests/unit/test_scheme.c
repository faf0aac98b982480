#include "support/test.h"

#include "base/file.h"
#include "base/now.h"
#include "domain/scheme.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <jansson.h>
#include <sodium.h>

enum { FILE_BYTES = 1 << 20, BODY_BYTES = 1 << 16, HEADERS_MAX = 16 };

static json_t *vectors_file; /* fixtures/signatures.json */

static int read_vectors(void **state)
{
    (void)state;
    vectors_file = json_load_file(SOURCE_ROOT "/fixtures/signatures.json", 0, NULL);
    return vectors_file ? 0 : -1;
}

static int free_vectors(void **state)
{
    (void)state;
    json_decref(vectors_file);
    return 0;
}

static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static bool is(const json_t *object, const char *name, const char *want)
{
    const char *text = text_of(object, name);

    return text && strcmp(text, want) == 0;
}

/* The scheme as a descriptor; NULL if it needs what descriptors cannot say. An id that is not signed is left out. */
static const char *descriptor_of(const char *name, const json_t *scheme, struct arena *a)
{
    json_t *sig = json_object_get(scheme, "sig"), *ts = json_object_get(scheme, "ts"), *piece;
    const char *layout = text_of(sig, "layout"), *prefix = text_of(sig, "prefix"), *template = "",
               *extra = "";
    size_t i;

    if (!is(scheme, "alg", "hmac-sha256") || !is(json_object_get(scheme, "key"), "format", "utf8") ||
        (!is(sig, "layout", "single") && !is(sig, "layout", "kv")) || (ts && !is(ts, "format", "unix")) ||
        json_is_object(json_object_get(sig, "prefix")))
        return NULL;
    json_array_foreach(json_object_get(scheme, "signed"), i, piece) {
        const char *text = json_string_value(piece);
        text = strcmp(text, "@body") == 0 ? "{body}" : strcmp(text, "@ts") == 0 ? "{time}" : text;
        template = arena_print(a, "%s%s", template, text);
    }
    if (strcmp(layout, "kv") == 0)
        extra = arena_print(a, "  value: %s\n", text_of(sig, "key"));
    if (ts && text_of(sig, "ts_key"))
        extra = arena_print(a, "%s  time: %s\n", extra, text_of(sig, "ts_key"));
    else if (ts)
        extra = arena_print(a, "%s  time_header: %s\n", extra, text_of(ts, "from"));
    if (ts)
        extra =
            arena_print(a, "%s  tolerance_s: %lld\n", extra, json_integer_value(json_object_get(ts, "past")));
    return arena_print(
        a,
        "name: %s\nverify:\n  algorithm: hmac-sha256\n  header: %s\n  layout: %s\n  prefix: \"%s\"\n"
        "  encoding: %s\n  signed: \"%s\"\n%s"
        "payloads:\n  - {when: /id, post: /id}\nsuccess: [done]\nfailure: [failed]\n",
        name, text_of(sig, "header"), strcmp(layout, "kv") == 0 ? "key-value" : layout, prefix ? prefix : "",
        text_of(sig, "encoding"), template, extra);
}

/* A folder with a descriptor for each scheme that can have one. */
static struct platforms *load_schemes(struct arena *a)
{
    char folder[] = "/tmp/settle-schemes-XXXXXX";
    const char *name, **files;
    struct platforms *set;
    struct err err = {.text = ""};
    size_t nfiles;
    json_t *scheme;

    assert_non_null(mkdtemp(folder));
    json_object_foreach(json_object_get(vectors_file, "schemes"), name, scheme) {
        const char *text = descriptor_of(name, scheme, a);
        FILE *file = text ? fopen(arena_print(a, "%s/%s.yaml", folder, name), "w") : NULL;
        if (file) {
            fputs(text, file);
            fclose(file);
        }
    }
    set = platforms_load(folder, &err);
    assert_int_equal(file_names(folder, "", a, &files, &nfiles, NULL), OK);
    for (size_t i = 0; i < nfiles; i++)
        unlink(arena_print(a, "%s/%s", folder, files[i]));
    rmdir(folder);
    if (!set)
        fail_msg("%s", err.text);
    return set;
}

static struct span secrets_of(const json_t *vector, struct arena *a)
{
    const char *text = text_of(vector, "secret"), *joined = "";
    char *bytes = arena_alloc(a, strlen(text) + 1);
    json_t *list = json_object_get(vector, "secrets"), *entry;
    size_t i, len;

    if (json_object_get(vector, "secret_enc")) {
        assert_int_equal(sodium_hex2bin((uint8_t *)bytes, strlen(text), text, strlen(text), NULL, &len, NULL),
                         0);
        return (struct span){bytes, len};
    }
    if (!list)
        return span_of(text);
    json_array_foreach(list, i, entry)
        joined = arena_print(a, "%s%s\n", joined, json_string_value(entry));
    return span_of(joined);
}

static size_t headers_of(const json_t *vector, struct arena *a, struct header *ret)
{
    json_t *pair;
    size_t i;

    json_array_foreach(json_object_get(vector, "headers"), i, pair) {
        char *name = arena_print(a, "%s", json_string_value(json_array_get(pair, 0)));
        for (char *c = name; *c; c++)
            *c = (char)tolower((unsigned char)*c);
        assert_true(i < HEADERS_MAX);
        ret[i] = (struct header){span_of(name), span_of(json_string_value(json_array_get(pair, 1)))};
    }
    return i;
}

static struct span body_of(const json_t *vector, struct arena *a)
{
    const char *text = text_of(vector, "body");
    char *body = arena_alloc(a, BODY_BYTES);
    size_t len;

    assert_int_equal(sodium_base642bin((uint8_t *)body, BODY_BYTES, text, strlen(text), NULL, &len, NULL,
                                       sodium_base64_VARIANT_ORIGINAL),
                     0);
    return (struct span){body, len};
}

/* A secret with its file's line end in it: ours come in without. And a missing id that is not signed: no scheme of
 * ours looks at one. */
static bool is_beyond_us(const json_t *vector)
{
    return strchr(text_of(vector, "secret"), '\n') || is(vector, "id", "github-no-delivery-id") ||
           is(vector, "id", "shopify-no-webhook-id");
}

static void test_each_vector_of_a_known_scheme_is_judged_as_it_says(void **state)
{
    struct arena *a = arena_open(4096);
    struct platforms *set = load_schemes(a);
    unsigned nvalid = 0, ninvalid = 0;
    json_t *vector;
    size_t i;

    (void)state;
    json_array_foreach(json_object_get(vectors_file, "vectors"), i, vector) {
        struct arena *own = arena_open(4096);
        const struct platform *p = platforms_find(set, span_of(text_of(vector, "scheme")));
        struct span secrets = secrets_of(vector, own), source = span_of(arena_print(own, "v%zu", i));
        struct header headers[HEADERS_MAX];
        size_t nheaders = headers_of(vector, own, headers);
        bool want = json_is_true(json_object_get(vector, "valid"));
        struct verified verified;
        struct err err = {.text = "verified"};
        enum status status;
        if (is_beyond_us(vector))
            p = NULL;
        if (p) {
            assert_int_equal(platforms_add_source(set, p->name, source, secrets, &err), OK);
            status = scheme_verify(p, platform_source(p, source), headers, nheaders, body_of(vector, own),
                                   json_integer_value(json_object_get(vector, "now")) * SECOND_US, &verified,
                                   &err);
            if ((status == OK) != want)
                fail_msg("%s: %s (%s)", text_of(vector, "id"), text_of(vector, "why"), err.text);
        }
        *(want ? &nvalid : &ninvalid) += p != NULL;
        arena_close(own);
    }
    print_message("%u valid, %u invalid\n", nvalid, ninvalid);
    assert_true(nvalid >= 40 && ninvalid >= 90);
    platforms_close(set);
    arena_close(a);
}

/* A built-in platform with one source that has two secrets. */
static struct platforms *load_builtin(const char *platform)
{
    struct platforms *set = platforms_load(NULL, NULL);

    assert_non_null(set);
    assert_int_equal(
        platforms_add_source(set, span_of(platform), SPAN("default"), SPAN("first\nsecond\n"), NULL), OK);
    return set;
}

static void test_what_is_signed_here_verifies_with_any_of_the_secrets(void **state)
{
    static const char *const names[] = {"instagram", "tiktok", "youtube"};
    const int64_t now = 1700000000 * SECOND_US;
    struct arena *a = arena_open(1024);

    (void)state;
    for (size_t i = 0; i < countof(names); i++) {
        struct platforms *set = load_builtin(names[i]);
        const struct platform *p = platforms_find(set, span_of(names[i]));
        const struct source *source = platform_source(p, SPAN("default"));
        struct header headers[SIGNED_HEADERS_MAX];
        struct verified verified;
        size_t n = scheme_sign(p, SPAN("second"), SPAN_NONE, now, SPAN("{}"), a, headers);
        assert_int_equal(scheme_verify(p, source, headers, n, SPAN("{}"), now + 5, &verified, NULL), OK);
        assert_int_equal(verified.secret, 1);
        assert_int_equal(verified.received_us, now + 5);
        assert_int_equal(verified.time_us, p->scheme.tolerance_s ? now : TIME_NONE);
        assert_int_equal(scheme_verify(p, source, headers, n, SPAN("{ }"), now, &verified, NULL), FORGED);
        n = scheme_sign(p, SPAN("third"), SPAN_NONE, now, SPAN("{}"), a, headers);
        assert_int_equal(scheme_verify(p, source, headers, n, SPAN("{}"), now, &verified, NULL), FORGED);
        platforms_close(set);
    }
    arena_close(a);
}

static void test_an_unknown_source_is_refused_like_a_bad_signature(void **state)
{
    struct arena *a = arena_open(1024);
    struct platforms *set = load_builtin("tiktok");
    const struct platform *p = platforms_find(set, SPAN("tiktok"));
    const int64_t now = 1700000000 * SECOND_US;
    struct header headers[SIGNED_HEADERS_MAX];
    struct verified verified;
    struct err unknown, wrong;
    size_t n = scheme_sign(p, SPAN("third"), SPAN_NONE, now, SPAN("{}"), a, headers);

    (void)state;
    assert_int_equal(scheme_verify(p, NULL, headers, n, SPAN("{}"), now, &verified, &unknown), FORGED);
    assert_int_equal(
        scheme_verify(p, platform_source(p, SPAN("default")), headers, n, SPAN("{}"), now, &verified, &wrong),
        FORGED);
    assert_string_equal(unknown.cause, "bad_signature");
    assert_string_equal(unknown.text, wrong.text);
    platforms_close(set);
    arena_close(a);
}

/* What no descriptor of ours uses yet: a signed id and time in headers of their own, base64. */
static void test_id_and_time_in_headers_are_signed_too(void **state)
{
    struct signed_part parts[] = {
        {PART_ID,      SPAN("") },
        {PART_LITERAL, SPAN(".")},
        {PART_TIME,    SPAN("") },
        {PART_LITERAL, SPAN(".")},
        {PART_BODY,    SPAN("") }
    };
    const struct platform p = {
        .scheme = {.encoding = ENCODING_BASE64,
                   .header = SPAN("x-sig"),
                   .prefix = SPAN("v1,"),
                   .time_header = SPAN("x-time"),
                   .id_header = SPAN("x-id"),
                   .parts = parts,
                   .nparts = countof(parts),
                   .tolerance_s = 300},
        .nsecrets_max = 1,
    };
    const struct source source = {.nsecrets = 1,
                                  .secrets = {{.mac = scheme_key(ALGORITHM_HMAC_SHA256, SPAN("key"))}}};
    const int64_t now = 1700000000 * SECOND_US;
    struct arena *a = arena_open(1024);
    struct header headers[SIGNED_HEADERS_MAX];
    struct verified verified;
    size_t n = scheme_sign(&p, SPAN("key"), SPAN("msg_1"), now, SPAN("{}"), a, headers);

    (void)state;
    assert_int_equal(n, 3);
    assert_int_equal(scheme_verify(&p, &source, headers, n, SPAN("{}"), now, &verified, NULL), OK);
    assert_true(span_eq(verified.id, SPAN("msg_1")));
    assert_int_equal(verified.time_us, now);
    for (size_t i = 0; i < n; i++) { /* none of the three may be missing, nor be there twice */
        struct header kept = headers[i];
        headers[i] = headers[(i + 1) % n];
        assert_int_equal(scheme_verify(&p, &source, headers, n, SPAN("{}"), now, &verified, NULL), FORGED);
        headers[i] = kept;
    }
    n = scheme_sign(&p, SPAN("key"), SPAN("msg.1"), now, SPAN("{}"), a, headers);
    assert_int_equal(scheme_verify(&p, &source, headers, n, SPAN("{}"), now, &verified, NULL), FORGED);
    scheme_key_free(source.secrets[0].mac);
    arena_close(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_vector_of_a_known_scheme_is_judged_as_it_says),
        cmocka_unit_test(test_what_is_signed_here_verifies_with_any_of_the_secrets),
        cmocka_unit_test(test_an_unknown_source_is_refused_like_a_bad_signature),
        cmocka_unit_test(test_id_and_time_in_headers_are_signed_too),
    };

    return cmocka_run_group_tests(tests, read_vectors, free_vectors);
}
