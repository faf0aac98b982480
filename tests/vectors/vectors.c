/*
 * vectors FILE.json: runs a file of signature vectors and handshakes, in the form of fixtures/signatures.json, through
 * the code that the gateway uses. Each of its schemes is translated into a descriptor; handshakes are answered by the
 * built-in platform whose scheme is the same. Prints each mismatch and "N passed, N failed"; exits 1 on any.
 */
#include "base/attr.h"
#include "base/now.h"
#include "domain/handshake.h"
#include "domain/scheme.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sysexits.h>

#include <jansson.h>
#include <sodium.h>

enum { HEADERS_MAX = 64, ARENA_BYTES = 1 << 16 };

static json_t *file;
static unsigned npassed, nfailed;

static void run_vector(const json_t *vector);
static void run_handshake(const json_t *handshake, struct platforms *builtin);
static const char *judge_vector(const json_t *vector, struct arena *a);
static const char *judge_handshake(const json_t *handshake, struct platforms *set, struct arena *a);
static void set_topics(const json_t *handshake, struct platforms *builtin, const struct platform *p,
                       struct arena *a);
static bool answer_post(const json_t *request, const struct platform *p, const struct source *source,
                        struct arena *a, struct handshake_answer *ret);
static const char *compare(const json_t *want, const struct handshake_answer *got, struct arena *a);
static void count(const json_t *one, const char *wrong);

static struct platforms *platform_of(const json_t *scheme, bool binary, struct arena *a, struct err *err);
static const char *descriptor_of(const json_t *scheme, bool binary, struct arena *a);
static json_int_t bound_of(const json_t *ts, const char *name, const char *other);
static const char *proofs_of(const json_t *scheme, struct arena *a);
static const char *template_of(const json_t *scheme, struct arena *a);
static const struct platform *builtin_like(struct platforms *builtin, const struct scheme *s);
static bool has_proofs(const struct scheme *has, const struct scheme *s);
static const char *key_format_of(const json_t *scheme, bool binary);

static struct span secrets_of(const json_t *vector, const json_t *scheme, bool *ret_binary, struct arena *a);
static struct request request_of(const json_t *vector, struct arena *a);
static struct span decoded(const json_t *text, const char *how, struct arena *a);
static const char *text_of(const json_t *object, const char *name);
static const char *lowered(const char *text, struct arena *a);
static const char *quoted(const char *text, struct arena *a);

int main(int argc, char **argv)
{
    json_error_t why;
    json_t *one;
    size_t i;

    if (argc != 2) {
        fprintf(stderr, "usage: vectors FILE.json\n");
        return EX_USAGE;
    }
    file = json_load_file(argv[1], JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    if (!file || sodium_init() < 0) {
        fprintf(stderr, "%s, line %d: %s\n", argv[1], why.line, why.text);
        return EX_DATAERR;
    }
    json_array_foreach(json_object_get(file, "vectors"), i, one)
        run_vector(one);
    json_array_foreach(json_object_get(file, "handshakes"), i, one) {
        struct platforms *builtin = platforms_load(NULL, NULL); /* afresh: a source is added once */
        run_handshake(one, builtin);
        platforms_close(builtin);
    }
    json_decref(file);
    printf("%u passed, %u failed\n", npassed, nfailed);
    return nfailed > 0;
}

static void run_vector(const json_t *vector)
{
    struct arena *a = arena_open(ARENA_BYTES);

    count(vector, judge_vector(vector, a));
    arena_close(a);
}

static void run_handshake(const json_t *handshake, struct platforms *builtin)
{
    struct arena *a = arena_open(ARENA_BYTES);

    count(handshake, judge_handshake(handshake, builtin, a));
    arena_close(a);
}

/* NULL: as it should be. What is refused when it is loaded, a key or a whole scheme, verifies nothing. */
static const char *judge_vector(const json_t *vector, struct arena *a)
{
    const json_t *scheme = json_object_get(json_object_get(file, "schemes"), text_of(vector, "scheme"));
    bool want = json_is_true(json_object_get(vector, "valid")), binary;
    struct span secrets = secrets_of(vector, scheme, &binary, a);
    struct request request = request_of(vector, a);
    struct err err = {.text = "it verifies"};
    struct platforms *set;
    struct verified verified;
    enum status status;

    if (!scheme)
        return "there is no such scheme in the file";
    if (!secrets.at) /* no line can be empty, but a key can: it is refused when it is loaded */
        return want ? "a secret is empty" : NULL;
    set = platform_of(scheme, binary, a, &err);
    if (!set)
        return want ? arena_print(a, "the scheme makes no descriptor: %s", err.text) : NULL;
    status = platforms_add_source(set, SPAN("vector"), SPAN("default"), secrets, &err);
    if (!status) {
        const struct platform *p = platforms_find(set, SPAN("vector"));
        status = scheme_verify(p, platform_source(p, SPAN("default")), &request, &verified, &err);
    }
    platforms_close(set);
    return (status == OK) == want ? NULL
                                  : arena_print(a, "want %s, but: %s", want ? "valid" : "invalid", err.text);
}

static const char *judge_handshake(const json_t *handshake, struct platforms *builtin, struct arena *a)
{
    const json_t *scheme = json_object_get(json_object_get(file, "schemes"), text_of(handshake, "scheme"));
    const json_t *request = json_object_get(handshake, "request");
    const char *secret = text_of(handshake, "secret"), *method = text_of(request, "method");
    struct span token = span_of(secret ? secret : "none-is-asked-for");
    struct span lines =
        memchr(token.at, ' ', token.len) ? SPAN("none-is-asked-for") : token; /* a line has no blank */
    struct err err = {.text = ""};
    struct platforms *set = scheme ? platform_of(scheme, false, a, &err) : NULL;
    struct handshake_answer got = {.status = 401, .why = "the signature is refused"};
    const struct platform *p;

    if (!scheme)
        return "there is no such scheme in the file";
    if (!set)
        return arena_print(a, "the scheme makes no descriptor: %s", err.text);
    p = builtin_like(builtin, &platforms_find(set, SPAN("vector"))->scheme);
    platforms_close(set);
    if (!p)
        return "no built-in platform with a handshake has this scheme";
    if (platforms_add_source(builtin, p->name, SPAN("default"), lines, &err) ||
        platforms_set_verify_token(builtin, p->name, SPAN("default"), token, &err))
        return arena_print(a, "the secret is refused: %s", err.text);
    set_topics(handshake, builtin, p, a);

    if (strcmp(method, "GET") == 0)
        handshake_get(p, platform_source(p, SPAN("default")), span_of(text_of(request, "query")),
                      now_wall_us(), a, &got);
    else if (!answer_post(request, p, platform_source(p, SPAN("default")), a, &got))
        return "it verifies, but is not taken for a handshake";
    return compare(json_object_get(handshake, "response"), &got, a);
}

/* What a WebSub subscriber has asked for: "topic", or a list "topics". */
static void set_topics(const json_t *handshake, struct platforms *builtin, const struct platform *p,
                       struct arena *a)
{
    json_t *one = json_object_get(handshake, "topic"), *list = json_object_get(handshake, "topics"), *topic;
    const char **topics = arena_zero(a, (json_array_size(list) + 1) * sizeof(*topics));
    size_t n = 0, i;

    if (one)
        topics[n++] = json_string_value(one);
    json_array_foreach(list, i, topic)
        topics[n++] = json_string_value(topic);
    if (n > 0 && platforms_set_topics(builtin, p->name, SPAN("default"), topics, n, NULL))
        abort();
}

/* False: signed well, and no handshake. Signed badly: *ret stays. */
static bool answer_post(const json_t *request, const struct platform *p, const struct source *source,
                        struct arena *a, struct handshake_answer *ret)
{
    const char *name = text_of(request, "signed_vector");
    const json_t *body = json_object_get(request, "body_json");
    struct request r = request_of(request, a);
    struct verified verified;
    json_t *vector;
    size_t i;

    if (body) {
        char *text = json_dumps(body, JSON_COMPACT);
        r.body = arena_copy(a, span_of(text));
        free(text);
    }
    if (name)
        json_array_foreach(json_object_get(file, "vectors"), i, vector)
            if (strcmp(text_of(vector, "id"), name) == 0)
                r = request_of(vector, a);
    if (scheme_verify(p, source, &r, &verified, NULL))
        return true;
    return handshake_post(p, source, verified.secret, &r, a, ret);
}

/* The gateway itself puts nosniff on every answer. */
static const char *compare(const json_t *want, const struct handshake_answer *got, struct arena *a)
{
    json_int_t status = json_integer_value(json_object_get(want, "status"));
    const char *body = text_of(want, "body"), *type = text_of(want, "content_type");
    json_t *pair;
    size_t i;
    json_t *json = json_object_get(want, "json"), *said;
    bool same;

    if (got->status != status)
        return arena_print(a, "want status %lld, got %d: %s", status, got->status,
                           got->why ? got->why : "answered");
    if (body && !span_eq(got->body, span_of(body)))
        return arena_print(a, "want \"%s\", got \"%.*s\"", body, SPAN_ARG(got->body));
    json_array_foreach(json_object_get(want, "headers"), i, pair)
        if (strcasecmp(json_string_value(json_array_get(pair, 0)), "x-content-type-options") != 0)
            return arena_print(a, "want a header %s", json_string_value(json_array_get(pair, 0)));
    if (type && (!got->content_type || strncmp(got->content_type, type, strcspn(type, ";")) != 0))
        return arena_print(a, "want %s, got %s", type, got->content_type ? got->content_type : "none");
    if (!json)
        return NULL;
    said = json_loadb(got->body.at, got->body.len, 0, NULL);
    same = said && json_equal(said, json);
    json_decref(said);
    return same ? NULL : arena_print(a, "got %.*s", SPAN_ARG(got->body));
}

static void count(const json_t *one, const char *wrong)
{
    if (wrong)
        printf("%s: %s (%s)\n", text_of(one, "id"), wrong, text_of(one, "why"));
    *(wrong ? &nfailed : &npassed) += 1;
}

/* A set with one platform, "vector". binary: the secret comes in hex, because it is no text. */
static struct platforms *platform_of(const json_t *scheme, bool binary, struct arena *a, struct err *err)
{
    const char *path = "vector.yaml";
    const struct span text = span_of(descriptor_of(scheme, binary, a));

    return platforms_load_texts(&path, &text, 1, err);
}

static const char *descriptor_of(const json_t *scheme, bool binary, struct arena *a)
{
    const json_t *sig = json_object_get(scheme, "sig"), *ts = json_object_get(scheme, "ts"),
                 *id = json_object_get(scheme, "id");
    const char *layout = text_of(sig, "layout"), *engine = text_of(scheme, "engine"), *time = "";
    const char *rest = "payloads: [{when: /id, post: /id}]\nsuccess: [done]\nfailure: [failed]\n";

    if (engine && strcmp(engine, "code") == 0) /* Twilio's, the only one */
        return arena_print(
            a,
            "name: vector\nverify: {algorithm: hmac-sha1, header: x-twilio-signature, layout: single, "
            "encoding: base64, signed: \"{url}{form}\"}\n%s",
            rest);
    if (engine && strcmp(engine, "static-secret") == 0)
        return arena_print(
            a,
            "name: vector\nverify: {algorithm: credential, header: %s, layout: single, prefix: %s, "
            "encoding: base64, user: %s}\n%s",
            lowered(text_of(scheme, "header"), a), quoted(text_of(scheme, "prefix"), a),
            quoted(text_of(scheme, "user"), a), rest);
    if (ts)
        time = arena_print(
            a, "  %s: %s\n  time_format: %s\n  tolerance_s: %lld\n  future_tolerance_s: %lld\n",
            text_of(sig, "ts_key") ? "time" : "time_header",
            text_of(sig, "ts_key") ? text_of(sig, "ts_key") : text_of(ts, "from"), text_of(ts, "format"),
            bound_of(ts, "past", "future"), bound_of(ts, "future", "past"));
    if (id)
        time = arena_print(a, "%s  id_header: %s\n", time, lowered(text_of(id, "header"), a));
    if (text_of(sig, "sep"))
        time = arena_print(a, "%s  separator: %s\n", time, quoted(text_of(sig, "sep"), a));
    if (text_of(sig, "key"))
        time = arena_print(a, "%s  value: %s\n", time, text_of(sig, "key"));
    return arena_print(
        a,
        "name: vector\nverify:\n  header: %s\n  layout: %s\n  encoding: %s\n  key: %s\n%s%s  signed: %s\n%s",
        lowered(text_of(sig, "header"), a), strcmp(layout, "kv") == 0 ? "key-value" : layout,
        text_of(sig, "encoding"), key_format_of(scheme, binary), proofs_of(scheme, a), time,
        template_of(scheme, a), rest);
}

/* Where one bound is not given it is the other. */
static json_int_t bound_of(const json_t *ts, const char *name, const char *other)
{
    return json_integer_value(json_object_get(ts, json_object_get(ts, name) ? name : other));
}

static const char *key_format_of(const json_t *scheme, bool binary)
{
    const char *format = text_of(json_object_get(scheme, "key"), "format");

    if (binary)
        return "hex";
    return strcmp(format, "utf8") == 0 ? "text" : format;
}

/* A prefix may be a text, or an object of prefixes and the algorithms they select. */
static const char *proofs_of(const json_t *scheme, struct arena *a)
{
    json_t *prefix = json_object_get(json_object_get(scheme, "sig"), "prefix"), *algorithm;
    const char *strip = text_of(json_object_get(scheme, "key"), "strip_prefix"), *each, *lines = "",
               *also = "";

    if (!json_is_object(prefix)) {
        lines = arena_print(a, "  algorithm: %s\n  prefix: %s\n", text_of(scheme, "alg"),
                            quoted(prefix ? json_string_value(prefix) : "", a));
    } else {
        json_object_foreach(prefix, each, algorithm)
            if (lines[0] == '\0')
                lines = arena_print(a, "  algorithm: %s\n  prefix: %s\n", json_string_value(algorithm),
                                    quoted(each, a));
            else
                also = arena_print(a, "%s    - {prefix: %s, algorithm: %s}\n", also, quoted(each, a),
                                   json_string_value(algorithm));
    }
    if (strip)
        lines = arena_print(a, "%s  key_prefix: %s\n", lines, quoted(strip, a));
    return also[0] ? arena_print(a, "%s  also:\n%s", lines, also) : lines;
}

static const char *template_of(const json_t *scheme, struct arena *a)
{
    static const struct {
        const char *theirs, *ours;
    } words[] = {
        {"@id",   "{id}"  },
        {"@ts",   "{time}"},
        {"@body", "{body}"},
    };
    const char *template = "";
    json_t *piece;
    size_t i;

    json_array_foreach(json_object_get(scheme, "signed"), i, piece) {
        const char *text = json_string_value(piece);
        for (size_t k = 0; k < countof(words); k++)
            if (strcmp(text, words[k].theirs) == 0)
                text = words[k].ours;
        template = arena_print(a, "%s%s", template, text);
    }
    return quoted(template, a);
}

/* The built-in platform with handshakes that looks for the same signature in the same place. */
static const struct platform *builtin_like(struct platforms *builtin, const struct scheme *s)
{
    for (size_t i = 0; i < platforms_count(builtin); i++) {
        const struct platform *p = platforms_at(builtin, i);
        if (p->nhandshakes > 0 && span_eq(p->scheme.header, s->header) && p->scheme.layout == s->layout &&
            p->scheme.encoding == s->encoding && has_proofs(&p->scheme, s))
            return p;
    }
    return NULL;
}

/* All of s, in any order. */
static bool has_proofs(const struct scheme *has, const struct scheme *s)
{
    size_t found = 0;

    for (size_t i = 0; i < s->nproofs; i++)
        for (size_t k = 0; k < has->nproofs; k++)
            found += span_eq(has->proofs[k].prefix, s->proofs[i].prefix) &&
                     has->proofs[k].algorithm == s->proofs[i].algorithm;
    return found == s->nproofs;
}

/* Absent: one is empty. As lines; in hex if they are given as bytes, or hold a byte that no line can have. */
static struct span secrets_of(const json_t *vector, const json_t *scheme, bool *ret_binary, struct arena *a)
{
    const char *how = text_of(vector, "secret_enc"), *lines = "",
               *format = text_of(json_object_get(scheme, "key"), "format");
    json_t *list = json_object_get(vector, "secrets"), *one;
    json_t *all = list ? json_incref(list) : json_pack("[O]", json_object_get(vector, "secret"));
    size_t i;

    *ret_binary = how != NULL;
    json_array_foreach(all, i, one)
        *ret_binary |= strpbrk(json_string_value(one), " \t#") ||
                       memchr(json_string_value(one), '\n', json_string_length(one)) ||
                       memchr(json_string_value(one), '\r', json_string_length(one)) ||
                       strlen(json_string_value(one)) != json_string_length(one);
    *ret_binary = how || (*ret_binary && format && strcmp(format, "utf8") == 0);
    json_array_foreach(all, i, one)
        if (json_string_length(one) == 0)
            lines = NULL;
    for (i = 0; lines && i < json_array_size(all); i++) {
        struct span secret = decoded(json_array_get(all, i), how, a);
        char *hex = arena_alloc(a, 2 * secret.len + 1);
        sodium_bin2hex(hex, 2 * secret.len + 1, (const uint8_t *)secret.at, secret.len);
        lines = *ret_binary ? arena_print(a, "%s%s\n", lines, hex)
                            : arena_print(a, "%s%.*s\n", lines, SPAN_ARG(secret));
    }
    json_decref(all);
    return span_of(lines);
}

static struct request request_of(const json_t *vector, struct arena *a)
{
    json_t *pairs = json_object_get(vector, "headers"), *pair;
    struct header *headers = arena_zero(a, (json_array_size(pairs) + 1) * sizeof(*headers));
    size_t i;

    json_array_foreach(pairs, i, pair) {
        const json_t *value = json_array_get(pair, 1);
        char *name = arena_print(a, "%s", json_string_value(json_array_get(pair, 0)));
        for (char *c = name; *c; c++)
            *c = (char)tolower((unsigned char)*c);
        headers[i] = (struct header){
            span_of(name), {json_string_value(value), json_string_length(value)}
        };
    }
    return (struct request){
        .headers = headers,
        .nheaders = json_array_size(pairs),
        .body = json_object_get(vector, "body") ? decoded(json_object_get(vector, "body"), "base64", a)
                                                : SPAN(""),
        .url = span_of(text_of(vector, "url")),
        .received_us = json_object_get(vector, "now")
                           ? json_integer_value(json_object_get(vector, "now")) * SECOND_US
                           : now_wall_us()};
}

/* how: hex, base64, or NULL for the text itself. */
static struct span decoded(const json_t *text, const char *how, struct arena *a)
{
    struct span from = {json_string_value(text), json_string_length(text)};
    uint8_t *to = arena_alloc(a, from.len + 1);
    size_t len = 0;
    int failed;

    if (!how)
        return from;
    if (strcmp(how, "hex") == 0)
        failed = sodium_hex2bin(to, from.len + 1, from.at, from.len, NULL, &len, NULL);
    else
        failed = sodium_base642bin(to, from.len + 1, from.at, from.len, NULL, &len, NULL,
                                   sodium_base64_VARIANT_ORIGINAL);
    if (failed) {
        fprintf(stderr, "\"%s\" is not %s\n", from.at, how);
        exit(EX_DATAERR);
    }
    return (struct span){(char *)to, len};
}

static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static const char *lowered(const char *text, struct arena *a)
{
    char *copy = arena_print(a, "%s", text);

    for (char *c = copy; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return copy;
}

/* As YAML takes it: YAML's double quotes are JSON's. */
static const char *quoted(const char *text, struct arena *a)
{
    json_t *string = json_string(text);
    char *dump = json_dumps(string, JSON_ENCODE_ANY);
    const char *copy = arena_copy(a, span_of(dump)).at;

    free(dump);
    json_decref(string);
    return copy;
}
