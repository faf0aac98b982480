#include "support/test.h"

#include "base/arena.h"
#include "domain/descriptor.h"
#include "domain/extract.h"

#define NAME "name: x\n"
#define REST "payloads:\n  - {when: /id, post: /id}\nsuccess: [done]\nfailure: [broken]\n"
#define VERIFY                                                                                               \
    "verify: {header: x-sig, algorithm: hmac-sha256, layout: single, encoding: hex, signed: \"{body}\"}\n"

#define BARE             NAME VERIFY REST
#define SIGNED(keys)     NAME "verify: {header: x-sig, encoding: hex, " keys "}\n" REST
#define HMAC(keys)       SIGNED("algorithm: hmac-sha256, layout: single, " keys)
#define PAIRS(keys)      SIGNED("algorithm: hmac-sha256, layout: key-value, signed: \"{body}\", " keys)
#define BODY             "signed: \"{body}\""
#define ALSO(kinds)      HMAC(BODY ", prefix: \"a=\", key: hex, also: [" kinds "]")
#define CREDENTIAL(keys) SIGNED("algorithm: credential, layout: single, " keys)
#define PAYLOAD(keys)    NAME VERIFY "payloads:\n  - {" keys "}\nsuccess: [done]\nfailure: [broken]\n"
#define HANDSHAKE(keys)  NAME VERIFY "handshakes:\n  - {" keys "}\n" REST
#define GET(keys)        HANDSHAKE("method: get, query: [{name: q}], " keys)
#define POST(keys)       HANDSHAKE("method: post, at: /t, " keys)
#define SUBSCRIBE(keys)                                                                                      \
    BARE "handshakes:\n  - {method: get, query: [{name: q}], topic: t, answer: status}\n"                    \
         "subscribe: {" keys "}\n"

#define POLL(keys)                                                                                           \
    BARE "poll:\n  budget_per_minute: 1\n  requests:\n    - {method: get, success: [ok], failure: "          \
         "[no], " keys "}\n"
#define POLL_GET(keys)  POLL("url: \"https://a.example/{post}\", " keys)
#define POLL_LIST(keys) POLL("url: \"https://a.example/{posts}\", " keys)
#define POLL_URL(url)   POLL("url: \"" url "\", answers: [{status: {at: /s}}]")
#define POLL_RULE(rule) POLL_GET("answers: [{status: {at: /s}}], rules: [{" rule "}]")
#define POLL_POST(keys)                                                                                      \
    BARE "poll:\n  budget_per_minute: 1\n  requests:\n    - {method: post, url: \"https://a.example/\", "    \
         "answers: [{status: {at: /s}}], success: [], failure: [], " keys "}\n"

static enum status read_text(const char *text, struct arena *arena, struct platform *p, struct err *err)
{
    return descriptor_read("x.yaml", span_of(text), arena, p, err);
}

static void read_good(const char *text, struct arena *arena, struct platform *p)
{
    struct err err = {.text = ""};

    if (read_text(text, arena, p, &err))
        fail_msg("%s", err.text);
}

static void assert_span(struct span got, const char *want)
{
    if (!span_eq(got, span_of(want)) || !got.at != !want)
        fail_msg("got \"%.*s\", want \"%s\"", SPAN_ARG(got), want ? want : "(absent)");
}

static void test_the_least_descriptor_has_the_usual_values(void **state)
{
    struct arena *arena = arena_open(1000);
    struct platform p;

    (void)state;
    read_good(BARE, arena, &p);
    assert_span(p.name, "x");
    assert_span(p.title, NULL);
    assert_span(p.about, NULL);
    assert_span(p.scheme.header, "x-sig");
    assert_int_equal(p.scheme.nproofs, 1);
    assert_int_equal(p.scheme.proofs[0].algorithm, ALGORITHM_HMAC_SHA256);
    assert_span(p.scheme.proofs[0].prefix, "");
    assert_span(p.scheme.proofs[0].key_prefix, "");
    assert_int_equal(p.scheme.key_format, KEY_TEXT);
    assert_span(p.scheme.time_header, NULL);
    assert_span(p.scheme.id_header, NULL);
    assert_int_equal(p.scheme.past_s, 0);
    assert_int_equal(p.scheme.future_s, 0);
    assert_false(p.scheme.signs_id);
    assert_false(p.scheme.needs_url);
    assert_int_equal(p.scheme.nparts, 1);
    assert_int_equal(p.scheme.parts[0].kind, PART_BODY);
    assert_int_equal(p.stored_status, 200);
    assert_false(p.drops_forged);
    assert_int_equal(p.nhandshakes, 0);
    assert_int_equal(p.formats, BODY_JSON);
    assert_int_equal(p.max_body_bytes, 0);
    assert_int_equal(p.timeout_minutes, 0);
    assert_span(p.hub, NULL);
    assert_int_equal(p.npayloads, 1);
    assert_int_equal(p.payloads[0].when.nwords, 0);
    assert_non_null(p.payloads[0].each);
    assert_null(p.payloads[0].where.at);
    assert_null(p.payloads[0].status);
    assert_span(p.payloads[0].status_default, NULL);
    arena_close(arena);
}

static void test_a_list_of_kinds_with_id_and_time(void **state)
{
    struct arena *arena = arena_open(1000);
    struct platform p;
    const struct scheme *s = &p.scheme;

    (void)state;
    read_good(NAME
              "title: X\nabout: https://example.com/x\n"
              "verify:\n  header: webhook-signature\n  algorithm: hmac-sha256\n  layout: list\n"
              "  prefix: \"v1,\"\n  also: [{prefix: \"v1a,\", algorithm: ed25519, key_prefix: whpk_}]\n"
              "  encoding: base64\n  key: base64\n  key_prefix: whsec_\n  time_header: webhook-timestamp\n"
              "  tolerance_s: 300\n  future_tolerance_s: 60\n  id_header: webhook-id\n"
              "  signed: \"{id}.{time}.{body}\"\n" REST,
              arena, &p);
    assert_span(p.title, "X");
    assert_span(p.about, "https://example.com/x");
    assert_int_equal(s->layout, LAYOUT_LIST);
    assert_int_equal(s->separator, ' ');
    assert_int_equal(s->encoding, ENCODING_BASE64);
    assert_int_equal(s->key_format, KEY_BASE64);
    assert_int_equal(s->nproofs, 2);
    assert_span(s->proofs[0].prefix, "v1,");
    assert_span(s->proofs[0].key_prefix, "whsec_");
    assert_span(s->proofs[1].prefix, "v1a,");
    assert_span(s->proofs[1].key_prefix, "whpk_");
    assert_int_equal(s->proofs[1].algorithm, ALGORITHM_ED25519);
    assert_int_equal(s->time_format, TIME_UNIX);
    assert_int_equal(s->past_s, 300);
    assert_int_equal(s->future_s, 60);
    assert_true(s->signs_id);
    assert_int_equal(s->id_forbids[0], '\0');
    assert_int_equal(s->id_forbids[1], '.');
    assert_false(s->id_is_word);
    assert_int_equal(s->nparts, 5);
    assert_span(s->parts[3].literal, ".");
    arena_close(arena);
}

/* Twitch puts nothing between the pieces; GitHub sends an id that it does not sign. */
static void test_ids_between_no_literals_and_ids_that_are_not_signed(void **state)
{
    struct arena *arena = arena_open(1000);
    struct platform p;

    (void)state;
    read_good(HMAC("id_header: x-id, time_header: x-time, time_format: rfc3339, tolerance_s: 600, signed: "
                   "\"{id}{time}{body}\""),
              arena, &p);
    assert_true(p.scheme.signs_id);
    assert_true(p.scheme.id_is_word); /* a colon in it would let the time slide */
    assert_int_equal(p.scheme.time_format, TIME_RFC3339);
    assert_int_equal(p.scheme.past_s, 600);
    assert_int_equal(p.scheme.future_s, 600);

    read_good(HMAC("id_header: x-id, " BODY), arena, &p);
    assert_span(p.scheme.id_header, "x-id");
    assert_false(p.scheme.signs_id);
    assert_false(p.scheme.id_is_word);

    read_good(HMAC("id_header: x-id, signed: \"v1:{id}.{body}\""), arena, &p);
    assert_true(p.scheme.signs_id);
    assert_int_equal(p.scheme.id_forbids[0], ':');
    assert_int_equal(p.scheme.id_forbids[1], '.');
    arena_close(arena);
}

static void test_pairs_urls_and_credentials(void **state)
{
    struct arena *arena = arena_open(1000);
    struct platform p;

    (void)state;
    read_good(
        SIGNED("algorithm: hmac-sha512, layout: key-value, separator: ';', value: v1, time: t, tolerance_s: "
               "300, signed: \"{time}.{body}\""),
        arena, &p);
    assert_int_equal(p.scheme.separator, ';');
    assert_span(p.scheme.value_key, "v1");
    assert_span(p.scheme.time_key, "t");
    assert_int_equal(p.scheme.proofs[0].algorithm, ALGORITHM_HMAC_SHA512);
    read_good(PAIRS("value: v1"), arena, &p);
    assert_int_equal(p.scheme.separator, ',');

    read_good(SIGNED("algorithm: hmac-sha1, layout: single, signed: \"{url}{form}\""), arena, &p);
    assert_true(p.scheme.needs_url);
    assert_int_equal(p.scheme.proofs[0].algorithm, ALGORITHM_HMAC_SHA1);

    read_good(CREDENTIAL("prefix: \"Basic \", user: admin"), arena, &p);
    assert_int_equal(p.scheme.proofs[0].algorithm, ALGORITHM_CREDENTIAL);
    assert_span(p.scheme.user, "admin");
    assert_int_equal(p.scheme.nparts, 0);
    assert_int_equal(p.scheme.past_s, 0);
    arena_close(arena);
}

static void test_all_of_a_payload(void **state)
{
    struct arena *arena = arena_open(1000);
    struct platform p;
    const struct payload *shape;

    (void)state;
    read_good(NAME VERIFY "answer: {stored: 204, forged: drop}\nbody: [form, json]\nmax_body_bytes: 4194304\n"
                          "timeout_minutes: 60\nsuccess: []\nfailure: []\n"
                          "payloads:\n  - when: /object\n    is: [page, user]\n    each: /entry/*/changes/*\n"
                          "    where: {at: /entry/*/changes/*/value/item, is: [photo]}\n"
                          "    event_id: [/entry/*/id, /entry/*/changes/*/value/id]\n"
                          "    status: {at: /status, words: [{from: a, to: published}], default: b}\n"
                          "    url: /u\n    reason: /r\n    time: /entry/*/time\n"
                          "    extras: [{name: a_1, at: /a}, {name: topic, at: \"header:x-topic\"}]\n"
                          "  - when: /id\n",
              arena, &p);
    shape = &p.payloads[0];
    assert_int_equal(p.stored_status, 204);
    assert_true(p.drops_forged);
    assert_int_equal(p.formats, BODY_FORM | BODY_JSON);
    assert_int_equal(p.max_body_bytes, 4194304);
    assert_int_equal(p.timeout_minutes, 60);
    assert_int_equal(p.nsuccess, 0);
    assert_int_equal(p.nfailure, 0);
    assert_int_equal(p.npayloads, 2);
    assert_int_equal(shape->when.nwords, 2);
    assert_span(shape->when.words[1], "user");
    assert_int_equal(pointer_stars(shape->each), 2);
    assert_int_equal(pointer_stars(shape->where.at), 2);
    assert_span(shape->where.words[0], "photo");
    assert_int_equal(shape->nevent_id, 2);
    assert_null(shape->post);
    assert_non_null(shape->status);
    assert_span(shape->status_words[0].to, "published");
    assert_span(shape->status_default, "b");
    assert_non_null(shape->url);
    assert_non_null(shape->reason);
    assert_non_null(shape->time);
    assert_int_equal(shape->nextras, 2);
    assert_span(shape->extras[0].header, NULL);
    assert_non_null(shape->extras[0].at);
    assert_span(shape->extras[1].header, "x-topic");
    assert_null(shape->extras[1].at);
    assert_int_equal(pointer_stars(p.payloads[1].each), 0); /* the payload is one event */
    arena_close(arena);
}

static const char rows[] = BARE
    "handshakes:\n"
    "  - {method: get, query: [{name: hub.mode, is: [subscribe]}, {name: q}], verify_token: v, topic: t,"
    " value: c, answer: echo, refused: 404}\n"
    "  - {method: get, query: [{name: u}], no_topic: t, answer: status}\n"
    "  - {method: get, query: [{name: crc}], value: crc, value_form: uuid, answer: json,"
    " json: '{\"r\":\"{value} sha256={hmac}\"}', encoding: base64}\n"
    "  - {method: post, at: /type, is: [1], unless: /event, answer: json, json: '{\"type\":1}'}\n"
    "  - {method: post, header: x-type, is: [verify], value: /challenge, answer: echo, status: 201}\n"
    "subscribe: {hub: https://hub.example.com, topic: \"https://example.com/{topic}.xml\", lease_s: 86400}\n";

static void test_handshakes_by_get(void **state)
{
    struct arena *arena = arena_open(1000);
    struct platform p;
    const struct handshake *row;

    (void)state;
    read_good(rows, arena, &p);
    assert_int_equal(p.nhandshakes, 5);
    row = &p.handshakes[0];
    assert_false(row->is_post);
    assert_int_equal(row->nquery, 2);
    assert_span(row->query[0].words[0], "subscribe");
    assert_int_equal(row->query[1].nwords, 0);
    assert_span(row->verify_token, "v");
    assert_span(row->topic, "t");
    assert_span(row->value, "c");
    assert_int_equal(row->value_form, VALUE_TOKEN);
    assert_int_equal(row->answer, HANDSHAKE_ECHO);
    assert_int_equal(row->status, 200);
    assert_int_equal(row->refused, 404);
    row = &p.handshakes[1];
    assert_span(row->no_topic, "t");
    assert_int_equal(row->answer, HANDSHAKE_STATUS);
    assert_int_equal(row->status, 204);
    assert_int_equal(row->refused, 400);
    row = &p.handshakes[2];
    assert_int_equal(row->value_form, VALUE_UUID);
    assert_int_equal(row->encoding, ENCODING_BASE64);
    assert_span(row->json, "{\"r\":\"{value} sha256={hmac}\"}");
    arena_close(arena);
}

static void test_handshakes_by_post_and_subscriptions(void **state)
{
    struct arena *arena = arena_open(1000);
    struct platform p;
    const struct handshake *row;

    (void)state;
    read_good(rows, arena, &p);
    row = &p.handshakes[3];
    assert_true(row->is_post);
    assert_span(row->at.words[0], "1");
    assert_non_null(row->unless);
    row = &p.handshakes[4];
    assert_span(row->header, "x-type");
    assert_span(row->header_words[0], "verify");
    assert_null(row->at.at);
    assert_non_null(row->value_at);
    assert_int_equal(row->status, 201);
    assert_span(p.hub, "https://hub.example.com");
    assert_span(p.topic_url, "https://example.com/{topic}.xml");
    assert_int_equal(p.lease_s, 86400);
    arena_close(arena);
}

static void test_each_word_that_is_offered_is_taken(void **state)
{
    static const char *const good[] = {
        SIGNED("algorithm: ed25519, layout: single, key: hex, " BODY),
        SIGNED("algorithm: ed25519, layout: list, key: base64, " BODY),
        HMAC("key: text, key_prefix: abc_, " BODY),
        HMAC("time_header: x-t, tolerance_s: 86400, future_tolerance_s: 1, time_format: unix, signed: "
             "\"v0:{time}:{body}\""),
        PAIRS("value: s, prefix: \"sha256=\""),
        ALSO("{prefix: \"b=\", algorithm: hmac-sha1}, {prefix: \"\", algorithm: hmac-sha512}"),
        ALSO(
            "{prefix: \"b=\", algorithm: ed25519, key_prefix: pk_}, {prefix: \"c=\", algorithm: hmac-sha512, "
            "key_prefix: sk_}"),
        BARE "body: [atom]\nanswer: {stored: 202, forged: refuse}\n",
        BARE "answer: {stored: 200}\n",
        GET("answer: status, status: 299, refused: 403"),
        GET("value: q, value_form: token, answer: json, json: '\"{hmac}\"', encoding: hex"),
        POST("value: /c, answer: json, json: '[\"{value}\"]'"),
        /* such a form is signed with a colon in front, so no answer to a handshake fits it */
        NAME "verify: {header: x-sig, encoding: hex, algorithm: hmac-sha256, layout: single, signed: "
             "\"v0:{body}\"}\n"
             "body: [form]\nhandshakes:\n  - {method: get, query: [{name: q}], value: q, answer: json, json: "
             "'\"{hmac}\"'}\n" REST,
        SUBSCRIBE("hub: http://127.0.0.1:80/hub, topic: \"http://a/{topic}\""),
    };

    (void)state;
    for (size_t i = 0; i < countof(good); i++) {
        struct arena *arena = arena_open(1000);
        struct platform p;
        struct err err = {.text = ""};
        if (read_text(good[i], arena, &p, &err))
            fail_msg("%s is refused: %s", good[i], err.text);
        arena_close(arena);
    }
}

/* Each wrong descriptor with its whole message: where, what is wrong, what would be right. */
/* clang-format off */
static const struct {
    const char *why, *text, *message;
} wrong[] = {
    {"nothing",
     "",
     "x.yaml: the file is empty"},
    {"only a comment",
     "# x\n",
     "x.yaml: the file is empty"},
    {"two documents",
     BARE "---\nname: y\n",
     "x.yaml:7:1: a second document; one file is one document"},
    {"no YAML",
     "name: [x\n",
     "x.yaml:2:1: did not find expected ',' or ']'"},
    {"a list",
     "- x\n",
     "x.yaml:1:1: Expecting MAPPING, got event: SEQUENCE_START"},
    {"an unknown key",
     BARE "sucess: [x]\n",
     "x.yaml:7:1: unknown key \"sucess\"; known here: name, title, about, verify, answer, handshakes, body, max_body_bytes, payloads, success, failure, timeout_minutes, subscribe, poll, insights"},
    {"an unknown key first",
     "nmae: x\n" VERIFY REST,
     "x.yaml:1:1: unknown key \"nmae\"; known here: name, title, about, verify, answer, handshakes, body, max_body_bytes, payloads, success, failure, timeout_minutes, subscribe, poll, insights"},
    {"an unknown key in a payload",
     PAYLOAD("when: /id, pots: /id"),
     "x.yaml:4:17: unknown key \"pots\"; known here: when, is, each, where, event_id, post, status, url, reason, time, extras"},
    {"an unknown key in verify",
     HMAC("tolerance: 3, " BODY),
     "x.yaml:2:80: unknown key \"tolerance\"; known here: header, algorithm, layout, separator, value, time, prefix, also, encoding, key, key_prefix, user, time_header, time_format, tolerance_s, future_tolerance_s, id_header, signed"},
    {"an unknown key in a handshake",
     GET("answer: status, token: v"),
     "x.yaml:4:55: unknown key \"token\"; known here: method, query, at, header, is, unless, verify_token, topic, no_topic, value, value_form, answer, json, encoding, refused, status"},
    {"an unknown key in subscribe",
     SUBSCRIBE("hubb: x"),
     "x.yaml:9:13: unknown key \"hubb\"; known here: hub, topic, lease_s"},
    {"a key with a dot",
     NAME VERIFY "a.b: 1\n" REST,
     "x.yaml:3:1: a key must be a word"},
    {"a key twice",
     "name: x\nname: x\n" VERIFY REST,
     "x.yaml:2:1: name: the key is there twice"},
    {"a key that lacks",
     NAME REST,
     "x.yaml:2:1: payloads: needs verify too: a platform that sends webhooks has verify, payloads, success and failure"},
    {"an alias",
     "name: &a x\n" VERIFY "payloads:\n  - {when: *a, post: /id}\n",
     "x.yaml:4:12: an alias; write the value out"},
    {"a NUL",
     "name: \"x\\0y\"\n" VERIFY REST,
     "x.yaml:1:1: name: a NUL byte"},
    {"a text for a list",
     NAME VERIFY "payloads: /id\n",
     "x.yaml:3:1: payloads: Expecting SEQUENCE, got event: SCALAR"},
    {"another name than the file's",
     "name: y\n" VERIFY REST,
     "x.yaml:1:1: name: the file of y must be called y.yaml"},
    {"a capital in the name",
     "name: X\n" VERIFY REST,
     "x.yaml:1:1: name: at most 50 lower-case letters, digits and \"-\""},
    {"an about that is no URL",
     BARE "about: the web\n",
     "x.yaml:7:1: about: the URL of the platform's documentation"},

    {"an unknown algorithm",
     SIGNED("algorithm: md5, layout: single, " BODY),
     "x.yaml:2:40: verify.algorithm: must be hmac-sha256, hmac-sha512, hmac-sha1, ed25519 or credential"},
    {"an unknown layout",
     SIGNED("algorithm: hmac-sha256, layout: round, " BODY),
     "x.yaml:2:64: verify.layout: must be single, list or key-value"},
    {"an unknown encoding",
     NAME "verify: {header: x, algorithm: hmac-sha256, layout: single, encoding: base32, signed: x}\n" REST,
     "x.yaml:2:61: verify.encoding: must be hex or base64"},
    {"an unknown key format",
     HMAC("key: octal, " BODY),
     "x.yaml:2:80: verify.key: must be text, hex or base64"},
    {"an unknown time format",
     HMAC("time_format: iso, " BODY),
     "x.yaml:2:80: verify.time_format: must be unix or rfc3339"},
    {"a header in capitals",
     NAME "verify: {header: X-Sig, algorithm: hmac-sha256, layout: single, encoding: hex, signed: x}\n" REST,
     "x.yaml:2:10: verify.header: a header's name, in lower case"},
    {"the time in the signature's header",
     HMAC("time_header: x-sig, tolerance_s: 3, signed: \"{time}{body}\""),
     "x.yaml:2:80: verify.time_header: another header than the signature's"},
    {"the id in the signature's header",
     HMAC("id_header: x-sig, " BODY),
     "x.yaml:2:80: verify.id_header: another header than the signature's and the time's"},
    {"the id in the time's header",
     HMAC("time_header: x-t, tolerance_s: 3, id_header: x-t, signed: \"{id}{time}{body}\""),
     "x.yaml:2:114: verify.id_header: another header than the signature's and the time's"},
    {"pairs without a key",
     SIGNED("algorithm: hmac-sha256, layout: key-value, " BODY),
     "x.yaml:2:64: verify.layout: key-value needs the key \"value\", and it alone has it"},
    {"a key without pairs",
     HMAC("value: s, " BODY),
     "x.yaml:2:80: verify.value: key-value needs the key \"value\", and it alone has it"},
    {"a time key without pairs",
     HMAC("time: t, " BODY),
     "x.yaml:2:80: verify.time: only for key-value, and not beside time_header"},
    {"a time key beside a header",
     PAIRS("value: s, time: t, time_header: x-t"),
     "x.yaml:2:111: verify.time: only for key-value, and not beside time_header"},
    {"a value key with =",
     PAIRS("value: \"s=\""),
     "x.yaml:2:101: verify.value: a key, without \"=\" and the separator"},
    {"a value key with the separator",
     PAIRS("value: \"s,\""),
     "x.yaml:2:101: verify.value: a key, without \"=\" and the separator"},
    {"an empty value key",
     PAIRS("value: \"\""),
     "x.yaml:2:101: verify.value: a key, without \"=\" and the separator"},
    {"a time key that is value's",
     PAIRS("value: s, time: s, tolerance_s: 3"),
     "x.yaml:2:111: verify.time: a key, without \"=\" and the separator, and another than value's"},
    {"a separator for one value",
     HMAC("separator: \",\", " BODY),
     "x.yaml:2:80: verify.separator: only for list and key-value"},
    {"a separator of two characters",
     PAIRS("value: s, separator: \", \""),
     "x.yaml:2:111: verify.separator: one character, but no letter, digit, \"+\", \"/\" or \"=\""},
    {"a separator of none",
     PAIRS("value: s, separator: \"\""),
     "x.yaml:2:111: verify.separator: one character, but no letter, digit, \"+\", \"/\" or \"=\""},
    {"a separator that base64 uses",
     PAIRS("value: s, separator: \"+\""),
     "x.yaml:2:111: verify.separator: one character, but no letter, digit, \"+\", \"/\" or \"=\""},
    {"a prefix with the separator",
     PAIRS("value: s, prefix: \"v1,\""),
     "x.yaml:2:40: verify.algorithm: its prefix holds the separator"},
    {"a text as a public key",
     SIGNED("algorithm: ed25519, layout: single, " BODY),
     "x.yaml:2:40: verify.algorithm: ed25519 needs key: hex or base64"},

    {"too many kinds",
     ALSO("{prefix: b, algorithm: hmac-sha1}, {prefix: c, algorithm: hmac-sha1}, {prefix: d, algorithm: hmac-sha1}, {prefix: e, algorithm: hmac-sha1}"),
     "x.yaml:2:122: verify.also: at most 4 kinds, the first included"},
    {"a further kind that is unknown",
     ALSO("{prefix: b, algorithm: md5}"),
     "x.yaml:2:141: verify.also[0].algorithm: must be hmac-sha256, hmac-sha512, hmac-sha1, ed25519 or credential"},
    {"two kinds with one prefix",
     ALSO("{prefix: b, algorithm: hmac-sha1}, {prefix: b, algorithm: hmac-sha512}"),
     "x.yaml:2:165: verify.also[1].prefix: each kind needs a prefix of its own: by it they are told apart"},
    {"a kind with the first's prefix",
     ALSO("{prefix: \"a=\", algorithm: hmac-sha1}"),
     "x.yaml:2:130: verify.also[0].prefix: each kind needs a prefix of its own: by it they are told apart"},
    {"a kind without a prefix",
     ALSO("{algorithm: hmac-sha1}"),
     "x.yaml:2:130: verify.also[0].algorithm: Missing required mapping field: prefix"},
    {"a public key that could be a MAC's",
     ALSO("{prefix: b, algorithm: ed25519}"),
     "x.yaml:2:129: verify.also[0]: an HMAC and ed25519 need different key_prefix: a public key must not serve as a MAC's"},
    {"the same with a prefix",
     HMAC(BODY ", key: hex, key_prefix: k_, also: [{prefix: b, algorithm: ed25519, key_prefix: k_}]"),
     "x.yaml:2:131: verify.also[0]: an HMAC and ed25519 need different key_prefix: a public key must not serve as a MAC's"},
    {"a kind that no secret is for",
     HMAC(BODY ", key_prefix: k_, also: [{prefix: b, algorithm: hmac-sha1}]"),
     "x.yaml:2:121: verify.also[0]: needs a key_prefix: secrets without one are for the first kind"},
    {"key prefixes of which one starts the other",
     HMAC(BODY ", key_prefix: k_, also: [{prefix: b, algorithm: hmac-sha1, key_prefix: k_a}]"),
     "x.yaml:2:121: verify.also[0]: no key_prefix may be the start of another"},
    {"a credential beside a signature",
     ALSO("{prefix: b, algorithm: credential}"),
     "x.yaml:2:129: verify.also[0]: nothing goes with credential"},
    {"a signature beside a credential",
     CREDENTIAL("user: a, also: [{prefix: b, algorithm: hmac-sha1}]"),
     "x.yaml:2:95: verify.also[0]: nothing goes with credential"},
    {"a text key for a second kind",
     HMAC(BODY ", also: [{prefix: b, algorithm: ed25519, key_prefix: p_}]"),
     "x.yaml:2:117: verify.also[0].algorithm: ed25519 needs key: hex or base64"},

    {"a credential without user",
     CREDENTIAL("prefix: a"),
     "x.yaml:2:40: verify.algorithm: credential needs user: a name without \":\""},
    {"a user with a colon",
     CREDENTIAL("user: \"a:b\""),
     "x.yaml:2:79: verify.user: credential needs user: a name without \":\""},
    {"a credential that signs",
     CREDENTIAL("user: a, " BODY),
     "x.yaml:2:88: verify.signed: not with credential, which signs nothing"},
    {"a credential with a time",
     CREDENTIAL("user: a, time_header: x-t"),
     "x.yaml:2:88: verify.time_header: not with credential, which signs nothing"},
    {"a credential with a time's format",
     CREDENTIAL("user: a, time_format: unix"),
     "x.yaml:2:88: verify.time_format: not with credential, which signs nothing"},
    {"a credential with a tolerance",
     CREDENTIAL("user: a, tolerance_s: 3"),
     "x.yaml:2:88: verify.tolerance_s: not with credential, which signs nothing"},
    {"a credential with a future",
     CREDENTIAL("user: a, future_tolerance_s: 3"),
     "x.yaml:2:88: verify.future_tolerance_s: not with credential, which signs nothing"},
    {"a credential with an id",
     CREDENTIAL("user: a, id_header: x-id"),
     "x.yaml:2:88: verify.id_header: not with credential, which signs nothing"},
    {"a credential in a list",
     SIGNED("algorithm: credential, layout: list, user: a"),
     "x.yaml:2:63: verify.layout: credential needs single"},
    {"a credential in hex",
     CREDENTIAL("user: a, key: hex"),
     "x.yaml:2:88: verify.key: credential needs text"},
    {"a user without a credential",
     HMAC("user: a, " BODY),
     "x.yaml:2:80: verify.user: only for algorithm: credential"},

    {"nothing signed",
     SIGNED("algorithm: hmac-sha256, layout: single"),
     "x.yaml:2:40: verify.algorithm: needs signed, and that must hold {body} or {form}"},
    {"an unsigned body",
     HMAC("signed: x"),
     "x.yaml:2:80: verify.signed: must hold {body} or {form}"},
    {"an unknown word in braces",
     HMAC("signed: \"{body}{path}\""),
     "x.yaml:2:80: verify.signed: only {id}, {time}, {body}, {url} and {form} may stand in braces"},
    {"an open brace",
     HMAC("signed: \"{body}{\""),
     "x.yaml:2:80: verify.signed: only {id}, {time}, {body}, {url} and {form} may stand in braces"},
    {"a body twice",
     HMAC("signed: \"{body}.{body}\""),
     "x.yaml:2:80: verify.signed: {body} is there twice"},
    {"too many pieces",
     HMAC("signed: \"a{id}b{time}c{body}d{url}e{form}\""),
     "x.yaml:2:80: verify.signed: at most 8 pieces"},
    {"a URL without a form",
     HMAC("signed: \"{url}{body}\""),
     "x.yaml:2:80: verify.signed: {url} and {form} go together: without a form the URL holds the body's digest"},
    {"a form without a URL",
     HMAC("signed: \"{form}\""),
     "x.yaml:2:80: verify.signed: {url} and {form} go together: without a form the URL holds the body's digest"},
    {"an id against the body",
     HMAC("id_header: x-id, signed: \"{id}{body}\""),
     "x.yaml:2:97: verify.signed: {body} needs something between it and its neighbour, or bytes could move from one to the other"},
    {"the body against an id",
     HMAC("id_header: x-id, signed: \"{body}{id}\""),
     "x.yaml:2:97: verify.signed: {id} must stand before {body}: behind it, it could hold what ends the body"},
    {"an id behind the body",
     HMAC("id_header: x-id, signed: \"{body}.{id}\""),
     "x.yaml:2:97: verify.signed: {id} must stand before {body}: behind it, it could hold what ends the body"},
    {"the body against a time",
     HMAC("time_header: x-t, tolerance_s: 3, signed: \"{body}{time}\""),
     "x.yaml:2:114: verify.signed: {body} needs something between it and its neighbour, or bytes could move from one to the other"},
    {"an id from nowhere",
     HMAC("signed: \"{id}.{body}\""),
     "x.yaml:2:80: verify.signed: {id} needs id_header"},
    {"a time from nowhere",
     HMAC("tolerance_s: 300, signed: \"{time}{body}\""),
     "x.yaml:2:98: verify.signed: {time} needs time or time_header, and these need {time}"},
    {"a time that is not signed",
     HMAC("time_header: x-t, tolerance_s: 300, " BODY),
     "x.yaml:2:116: verify.signed: {time} needs time or time_header, and these need {time}"},
    {"a time key that is not signed",
     PAIRS("value: s, time: t"),
     "x.yaml:2:83: verify.signed: {time} needs time or time_header, and these need {time}"},
    {"a time without tolerance",
     HMAC("time_header: x-t, signed: \"{time}{body}\""),
     "x.yaml:2:98: verify.signed: {time} needs tolerance_s, and that needs {time}"},
    {"a tolerance without a time",
     HMAC("tolerance_s: 300, " BODY),
     "x.yaml:2:98: verify.signed: {time} needs tolerance_s, and that needs {time}"},
    {"a future without a time",
     HMAC("future_tolerance_s: 300, " BODY),
     "x.yaml:2:80: verify.future_tolerance_s: only where {time} is signed"},
    {"a format without a time",
     HMAC("time_format: rfc3339, " BODY),
     "x.yaml:2:80: verify.time_format: only where {time} is signed"},
    {"a tolerance with a unit",
     HMAC("time_header: x-t, tolerance_s: 5m, signed: \"{time}{body}\""),
     "x.yaml:2:98: verify.tolerance_s: a whole number from 1 to 31536000, without a unit"},
    {"no tolerance at all",
     HMAC("time_header: x-t, tolerance_s: 0, signed: \"{time}{body}\""),
     "x.yaml:2:98: verify.tolerance_s: a whole number from 1 to 31536000, without a unit"},
    {"a tolerance over a year",
     HMAC("time_header: x-t, tolerance_s: 31536001, signed: \"{time}{body}\""),
     "x.yaml:2:98: verify.tolerance_s: a whole number from 1 to 31536000, without a unit"},
    {"a future over a year",
     HMAC("time_header: x-t, tolerance_s: 1, future_tolerance_s: 31536001, signed: \"{time}{body}\""),
     "x.yaml:2:114: verify.future_tolerance_s: a whole number from 0 to 31536000, without a unit"},

    {"another status than those of success",
     BARE "answer: {stored: 201}\n",
     "x.yaml:7:10: answer.stored: must be 200, 202 or 204"},
    {"an unknown fate of the forged",
     BARE "answer: {forged: ignore}\n",
     "x.yaml:7:10: answer.forged: must be refuse or drop"},
    {"an unknown body",
     BARE "body: [json, xml]\n",
     "x.yaml:7:14: body[1]: must be json, form or atom"},
    {"a body twice in the list",
     BARE "body: [json, json]\n",
     "x.yaml:7:14: body[1]: json is there already"},
    {"a body over the cap",
     BARE "max_body_bytes: 4194305\n",
     "x.yaml:7:1: max_body_bytes: a whole number from 1 to 4194304, without a unit"},
    {"a body of a unit",
     BARE "max_body_bytes: 3MiB\n",
     "x.yaml:7:1: max_body_bytes: a whole number from 1 to 4194304, without a unit"},
    {"a timeout of a unit",
     BARE "timeout_minutes: 1h\n",
     "x.yaml:7:1: timeout_minutes: a whole number from 1 to 525600, without a unit"},

    {"a pointer without a slash",
     PAYLOAD("when: /id, post: id"),
     "x.yaml:4:17: payloads[0].post: a pointer starts with \"/\", such as \"/data/id\""},
    {"a pointer with a bad escape",
     PAYLOAD("when: /id, post: /i~2d"),
     "x.yaml:4:17: payloads[0].post: in a pointer \"~\" is written \"~0\" and \"/\" is written \"~1\""},
    {"a pointer with too many stars",
     PAYLOAD("when: /id, post: /*/*/*/*/*"),
     "x.yaml:4:17: payloads[0].post: a pointer has at most 4 \"*\""},
    {"a star in when",
     PAYLOAD("when: /*, post: /*"),
     "x.yaml:4:6: payloads[0].when: without \"*\""},
    {"no when",
     PAYLOAD("post: /id"),
     "x.yaml:4:6: payloads[0].post: Missing required mapping field: when"},
    {"a star elsewhere",
     PAYLOAD("when: /id, post: /a/*/id, url: /b/*/url"),
     "x.yaml:4:32: payloads[0].url: its \"*\" must be those of each (or of post, without each), or the first of them"},
    {"a star more than the post has",
     PAYLOAD("when: /id, post: /a/*/id, url: /a/*/b/*/url"),
     "x.yaml:4:32: payloads[0].url: its \"*\" must be those of each (or of post, without each), or the first of them"},
    {"a post with more stars than each",
     PAYLOAD("when: /id, each: /a/*, post: /a/*/b/*/id"),
     "x.yaml:4:29: payloads[0].post: its \"*\" must be those of each (or of post, without each), or the first of them"},
    {"a star without each and post",
     PAYLOAD("when: /id, url: /a/*"),
     "x.yaml:4:17: payloads[0].url: its \"*\" must be those of each (or of post, without each), or the first of them"},
    {"where off the way",
     PAYLOAD("when: /id, each: /a/*, where: {at: /b/*}"),
     "x.yaml:4:37: payloads[0].where.at: its \"*\" must be those of each (or of post, without each), or the first of them"},
    {"an event id off the way",
     PAYLOAD("when: /id, post: /a/*/id, event_id: [/id, /b/*]"),
     "x.yaml:4:48: payloads[0].event_id[1]: its \"*\" must be those of each (or of post, without each), or the first of them"},
    {"an event id from a header",
     PAYLOAD("when: /id, post: /id, event_id: [\"header:x-id\"]"),
     "x.yaml:4:39: payloads[0].event_id[0]: a pointer starts with \"/\", such as \"/data/id\""},
    {"a word with two meanings",
     PAYLOAD("when: /id, post: /id, status: {at: /s, words: [{from: a, to: b}, {from: a, to: c}]}"),
     "x.yaml:4:72: payloads[0].status.words[1].from: \"a\" has a meaning already"},
    {"an extra's odd name",
     PAYLOAD("when: /id, post: /id, extras: [{name: 'a\"b', at: /a}]"),
     "x.yaml:4:38: payloads[0].extras[0].name: letters, digits and \"_\""},
    {"an extra without a name",
     PAYLOAD("when: /id, post: /id, extras: [{name: '', at: /a}]"),
     "x.yaml:4:38: payloads[0].extras[0].name: letters, digits and \"_\""},
    {"an extra off the way",
     PAYLOAD("when: /id, post: /id, extras: [{name: a, at: /a/*}]"),
     "x.yaml:4:47: payloads[0].extras[0].at: its \"*\" must be those of each (or of post, without each), or the first of them"},
    {"an extra from a header in capitals",
     PAYLOAD("when: /id, post: /id, extras: [{name: a, at: \"header:X-Topic\"}]"),
     "x.yaml:4:47: payloads[0].extras[0].at: a header's name, in lower case"},
    {"a word in both lists",
     NAME VERIFY "payloads:\n  - {when: /id, post: /id}\nsuccess: [a]\nfailure: [b, a]\n",
     "x.yaml:6:14: failure[1]: \"a\" means success"},
    {"published as a failure",
     NAME VERIFY "payloads:\n  - {when: /id, post: /id}\nsuccess: [a]\nfailure: [published]\n",
     "x.yaml:6:11: failure[0]: \"published\" means success"},
    {"no words of success",
     NAME VERIFY "payloads:\n  - {when: /id, post: /id}\nfailure: []\n",
     "x.yaml:2:1: verify: needs success too: a platform that sends webhooks has verify, payloads, success and failure"},

    {"an unknown method",
     HANDSHAKE("method: put, answer: status"),
     "x.yaml:4:6: handshakes[0].method: must be get or post"},
    {"an unknown answer",
     GET("answer: sing"),
     "x.yaml:4:39: handshakes[0].answer: must be echo, json or status"},
    {"a get without a query",
     HANDSHAKE("method: get, answer: status"),
     "x.yaml:4:6: handshakes[0].method: get needs query: what must be there for the row to be meant"},
    {"a condition without a name",
     HANDSHAKE("method: get, query: [{name: \"\"}], answer: status"),
     "x.yaml:4:28: handshakes[0].query[0].name: a name in the query"},
    {"a get with a pointer",
     GET("at: /t, answer: status"),
     "x.yaml:4:39: handshakes[0].at: only with method: post"},
    {"a get with a header",
     GET("header: x-t, answer: status"),
     "x.yaml:4:39: handshakes[0].header: only with method: post"},
    {"a get with words",
     GET("is: [a], answer: status"),
     "x.yaml:4:39: handshakes[0].is: only with method: post"},
    {"a get with unless",
     GET("unless: /t, answer: status"),
     "x.yaml:4:39: handshakes[0].unless: only with method: post"},
    {"a post with a query",
     POST("query: [{name: q}], answer: status"),
     "x.yaml:4:28: handshakes[0].query: only with method: get"},
    {"a post with a verify token",
     POST("verify_token: v, answer: status"),
     "x.yaml:4:28: handshakes[0].verify_token: only with method: get"},
    {"a post with a topic",
     POST("topic: v, answer: status"),
     "x.yaml:4:28: handshakes[0].topic: only with method: get"},
    {"a post without a topic",
     POST("no_topic: v, answer: status"),
     "x.yaml:4:28: handshakes[0].no_topic: only with method: get"},
    {"a post with a refusal",
     POST("refused: 403, answer: status"),
     "x.yaml:4:28: handshakes[0].refused: only with method: get"},
    {"a post without a condition",
     HANDSHAKE("method: post, answer: status"),
     "x.yaml:4:6: handshakes[0].method: post needs either at or header"},
    {"a post with two conditions",
     POST("header: x-t, answer: status"),
     "x.yaml:4:6: handshakes[0].method: post needs either at or header"},
    {"a post's pointer with a star",
     HANDSHAKE("method: post, at: /a/*, answer: status"),
     "x.yaml:4:20: handshakes[0].at: without \"*\""},
    {"a post's exception with a star",
     POST("unless: /a/*, answer: status"),
     "x.yaml:4:28: handshakes[0].unless: without \"*\""},
    {"a post's value with a star",
     POST("value: /a/*, answer: echo"),
     "x.yaml:4:28: handshakes[0].value: without \"*\""},
    {"a post's value that is no pointer",
     POST("value: challenge, answer: echo"),
     "x.yaml:4:28: handshakes[0].value: a pointer starts with \"/\", such as \"/data/id\""},
    {"a post's header in capitals",
     HANDSHAKE("method: post, header: X-T, answer: status"),
     "x.yaml:4:20: handshakes[0].header: a header's name, in lower case"},
    {"a topic and its contrary",
     GET("topic: t, no_topic: t, answer: status"),
     "x.yaml:4:49: handshakes[0].no_topic: not beside topic"},
    {"an echo of nothing",
     GET("answer: echo"),
     "x.yaml:4:39: handshakes[0].answer: echo, {value} and {hmac} need value: where what is echoed or signed stands"},
    {"a MAC of nothing",
     GET("answer: json, json: '\"{hmac}\"'"),
     "x.yaml:4:39: handshakes[0].answer: echo, {value} and {hmac} need value: where what is echoed or signed stands"},
    {"a value that nobody hears",
     GET("value: q, answer: status"),
     "x.yaml:4:39: handshakes[0].value: only with answer: echo, or with {value} or {hmac} in json"},
    {"a form of no value",
     GET("value_form: uuid, answer: status"),
     "x.yaml:4:39: handshakes[0].value_form: only with value"},
    {"an unknown form",
     GET("value: q, value_form: int, answer: echo"),
     "x.yaml:4:49: handshakes[0].value_form: must be token, uuid or base64"},
    {"json without a template",
     GET("answer: json"),
     "x.yaml:4:39: handshakes[0].answer: answer: json needs json, and it alone has it"},
    {"a template without json",
     GET("value: q, answer: echo, json: '{}'"),
     "x.yaml:4:49: handshakes[0].answer: answer: json needs json, and it alone has it"},
    {"a template that is no JSON",
     GET("value: q, answer: json, json: '{value}'"),
     "x.yaml:4:63: handshakes[0].json: JSON of at most 1024 bytes, {value} and {hmac} within its strings"},
    {"an encoding of no MAC",
     GET("value: q, answer: echo, encoding: hex"),
     "x.yaml:4:63: handshakes[0].encoding: only with {hmac} in json"},
    {"an unknown encoding of the MAC",
     GET("value: q, answer: json, json: '\"{hmac}\"', encoding: base32"),
     "x.yaml:4:81: handshakes[0].encoding: must be hex or base64"},
    {"a status that is no success",
     GET("answer: status, status: 302"),
     "x.yaml:4:55: handshakes[0].status: a whole number from 200 to 299, without a unit"},
    {"a body with 204",
     GET("value: q, answer: echo, status: 204"),
     "x.yaml:4:63: handshakes[0].status: 204 has no body: answer: status"},
    {"a refusal that is none",
     GET("answer: status, refused: 200"),
     "x.yaml:4:55: handshakes[0].refused: must be 400, 403 or 404"},
    {"a MAC by a public key",
     NAME "verify: {header: x-sig, encoding: hex, algorithm: ed25519, layout: single, key: hex, signed: \"{body}\"}\nhandshakes:\n  - {method: get, query: [{name: q}], value: q, answer: json, json: '\"{hmac}\"'}\n" REST,
     "x.yaml:4:63: handshakes[0].json: {hmac} needs an HMAC as verify.algorithm"},
    {"a MAC that signs forms",
     NAME VERIFY "body: [json, form]\nhandshakes:\n  - {method: get, query: [{name: q}], value: q, answer: json, json: '\"{hmac}\"'}\n" REST,
     "x.yaml:5:63: handshakes[0].json: {hmac} would sign forms for anybody: leave form out of body"},

    {"a hub that is no URL",
     SUBSCRIBE("hub: example.com, topic: \"https://a/{topic}\""),
     "x.yaml:9:13: subscribe.hub: the hub's URL, such as https://hub.example.com/"},
    {"a topic's URL without its place",
     SUBSCRIBE("hub: https://a/, topic: https://a/"),
     "x.yaml:9:30: subscribe.topic: the URL of a topic, with {topic} once where the source's topic is put in"},
    {"a topic's URL with two",
     SUBSCRIBE("hub: https://a/, topic: \"https://a/{topic}{topic}\""),
     "x.yaml:9:30: subscribe.topic: the URL of a topic, with {topic} once where the source's topic is put in"},
    {"a topic's URL that is none",
     SUBSCRIBE("hub: https://a/, topic: \"{topic}\""),
     "x.yaml:9:30: subscribe.topic: the URL of a topic, with {topic} once where the source's topic is put in"},
    {"a lease of no length",
     SUBSCRIBE("hub: https://a/, topic: \"https://a/{topic}\", lease_s: 59"),
     "x.yaml:9:58: subscribe.lease_s: a whole number from 60 to 31536000, without a unit"},
    {"a subscription that nobody confirms",
     BARE "subscribe: {hub: https://a/, topic: \"https://a/{topic}\"}\n",
     "x.yaml:7:1: subscribe: needs a handshake with \"topic\": the hub asks back before it subscribes"},

    {"a poll without a budget",
     BARE "poll:\n  requests: [{method: get, url: x, answers: [{}], success: [], failure: []}]\n",
     "x.yaml:8:3: poll.requests: Missing required mapping field: budget_per_minute"},
    {"a poll without a request",
     BARE "poll: {budget_per_minute: 1, requests: []}\n",
     "x.yaml:7:30: poll.requests: Insufficient entries (0 of 1 min) in sequence."},
    {"a budget of nothing",
     BARE "poll: {budget_per_minute: 0, requests: [{method: get, url: x, answers: [{}], success: [], failure: []}]}\n",
     "x.yaml:7:8: poll.budget_per_minute: a whole number from 1 to 100000, without a unit"},
    {"a poll given up at once",
     BARE "poll: {budget_per_minute: 1, give_up_minutes: 0, requests: [{method: get, url: x, answers: [{}], success: [], failure: []}]}\n",
     "x.yaml:7:30: poll.give_up_minutes: a whole number from 1 to 525600, without a unit"},
    {"a budget that no answer fits in",
     POLL_GET("answers: [{}]") "    - {method: get, url: a, answers: [{}], success: [], failure: []}\n",
     "x.yaml:8:3: poll.budget_per_minute: at least 2: a post that needs all the requests must be answered within a minute"},
    {"five requests",
     POLL_GET("answers: [{}]") "    - {method: get, url: a, answers: [{}], success: [], failure: []}\n    - {method: get, url: a, answers: [{}], success: [], failure: []}\n    - {method: get, url: a, answers: [{}], success: [], failure: []}\n    - {method: get, url: a, answers: [{}], success: [], failure: []}\n",
     "x.yaml:9:3: poll.requests: at most 4"},
    {"an unknown key of a request",
     POLL_GET("answers: [{}], urll: x"),
     "x.yaml:10:99: unknown key \"urll\"; known here: method, url, headers, body, separator, batch, post_digits, rules, answers, success, failure, working, not_found, missing"},
    {"an event id of an answer",
     POLL_GET("answers: [{event_id: [/id]}]"),
     "x.yaml:10:95: unknown key \"event_id\"; known here: when, is, each, where, post, status, url, reason, time, extras"},
    {"a method that changes something",
     BARE "poll:\n  budget_per_minute: 1\n  requests:\n    - {method: delete, url: \"https://a/{post}\", answers: [{}], success: [], failure: []}\n",
     "x.yaml:10:8: poll.requests[0].method: must be get or post"},
    {"a placeholder as the host",
     POLL_URL("https://{post}/"),
     "x.yaml:10:51: poll.requests[0].url: \"https://\", a host of its own and \"/\" before any placeholder (\"http://\" only for 127.0.0.1, [::1] and localhost)"},
    {"a placeholder within the host",
     POLL_URL("https://a{post}.example/"),
     "x.yaml:10:51: poll.requests[0].url: \"https://\", a host of its own and \"/\" before any placeholder (\"http://\" only for 127.0.0.1, [::1] and localhost)"},
    {"a placeholder behind the host",
     POLL_URL("https://a.example{post}/"),
     "x.yaml:10:51: poll.requests[0].url: \"https://\", a host of its own and \"/\" before any placeholder (\"http://\" only for 127.0.0.1, [::1] and localhost)"},
    {"a placeholder as the port",
     POLL_URL("https://a.example:{account}/{post}"),
     "x.yaml:10:51: poll.requests[0].url: \"https://\", a host of its own and \"/\" before any placeholder (\"http://\" only for 127.0.0.1, [::1] and localhost)"},
    {"a user before the host",
     POLL_URL("https://a.example@b.example/{post}"),
     "x.yaml:10:51: poll.requests[0].url: \"https://\", a host of its own and \"/\" before any placeholder (\"http://\" only for 127.0.0.1, [::1] and localhost)"},
    {"a password before the host",
     POLL_URL("https://a:1@b.example/{post}"),
     "x.yaml:10:51: poll.requests[0].url: \"https://\", a host of its own and \"/\" before any placeholder (\"http://\" only for 127.0.0.1, [::1] and localhost)"},
    {"a host in capitals",
     POLL_URL("https://A.example/{post}"),
     "x.yaml:10:51: poll.requests[0].url: \"https://\", a host of its own and \"/\" before any placeholder (\"http://\" only for 127.0.0.1, [::1] and localhost)"},
    {"no host",
     POLL_URL("https:///{post}"),
     "x.yaml:10:51: poll.requests[0].url: \"https://\", a host of its own and \"/\" before any placeholder (\"http://\" only for 127.0.0.1, [::1] and localhost)"},
    {"a host that is a port",
     POLL_URL("https://:1/{post}"),
     "x.yaml:10:51: poll.requests[0].url: \"https://\", a host of its own and \"/\" before any placeholder (\"http://\" only for 127.0.0.1, [::1] and localhost)"},
    {"a port of letters",
     POLL_URL("https://a.example:x/{post}"),
     "x.yaml:10:51: poll.requests[0].url: \"https://\", a host of its own and \"/\" before any placeholder (\"http://\" only for 127.0.0.1, [::1] and localhost)"},
    {"a plain URL",
     POLL_URL("http://a.example/{post}"),
     "x.yaml:10:51: poll.requests[0].url: \"https://\", a host of its own and \"/\" before any placeholder (\"http://\" only for 127.0.0.1, [::1] and localhost)"},
    {"a plain URL that starts as a loopback",
     POLL_URL("http://127.0.0.1.example/{post}"),
     "x.yaml:10:51: poll.requests[0].url: \"https://\", a host of its own and \"/\" before any placeholder (\"http://\" only for 127.0.0.1, [::1] and localhost)"},
    {"another scheme",
     POLL_URL("ftp://a.example/{post}"),
     "x.yaml:10:51: poll.requests[0].url: \"https://\", a host of its own and \"/\" before any placeholder (\"http://\" only for 127.0.0.1, [::1] and localhost)"},
    {"a URL with a fragment",
     POLL_URL("https://a.example/{post}#x"),
     "x.yaml:10:51: poll.requests[0].url: visible ASCII characters without blanks and any of \"#<>\\^`|"},
    {"a URL with a blank",
     POLL_URL("https://a.example/ {post}"),
     "x.yaml:10:51: poll.requests[0].url: visible ASCII characters without blanks and any of \"#<>\\^`|"},
    {"a URL with a line feed",
     POLL_URL("https://a.example/\\n{post}"),
     "x.yaml:10:51: poll.requests[0].url: visible ASCII characters without blanks and any of \"#<>\\^`|"},
    {"a token in the URL",
     POLL_URL("https://a.example/{post}?t={token}"),
     "x.yaml:10:51: poll.requests[0].url: {token} cannot stand here"},
    {"an unknown placeholder",
     POLL_URL("https://a.example/{pots}"),
     "x.yaml:10:51: poll.requests[0].url: a brace belongs to no placeholder"},
    {"a post twice",
     POLL_URL("https://a.example/{post}/{post}"),
     "x.yaml:10:51: poll.requests[0].url: {post} is there already"},
    {"no post",
     POLL_URL("https://a.example/"),
     "x.yaml:10:51: poll.requests[0].url: either {post} or {posts}, here or in the body"},
    {"a post and posts",
     POLL_URL("https://a.example/{post}/{posts}"),
     "x.yaml:10:51: poll.requests[0].url: either {post} or {posts}, here or in the body"},
    {"a URL that is too long",
     POLL_URL("https://a.example/{post}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
     "x.yaml:10:51: poll.requests[0].url: at most 512 bytes"},
    {"a header with a line feed",
     POLL_GET("answers: [{}], headers: [{name: a, value: \"b\\r\\nhost: c\"}]"),
     "x.yaml:10:119: poll.requests[0].headers[0].value: visible ASCII characters and blanks"},
    {"a post in a header",
     POLL_GET("answers: [{}], headers: [{name: a, value: \"{post}\"}]"),
     "x.yaml:10:119: poll.requests[0].headers[0].value: {post} cannot stand here"},
    {"a header in capitals",
     POLL_GET("answers: [{}], headers: [{name: Authorization, value: x}]"),
     "x.yaml:10:110: poll.requests[0].headers[0].name: a header's name, in lower case"},
    {"a host of its own",
     POLL_GET("answers: [{}], headers: [{name: host, value: x}]"),
     "x.yaml:10:110: poll.requests[0].headers[0].name: host is not the descriptor's"},
    {"a header for a proxy",
     POLL_GET("answers: [{}], headers: [{name: proxy-authorization, value: x}]"),
     "x.yaml:10:110: poll.requests[0].headers[0].name: proxy-authorization is not the descriptor's"},
    {"a header twice",
     POLL_GET("answers: [{}], headers: [{name: a, value: x}, {name: a, value: y}]"),
     "x.yaml:10:131: poll.requests[0].headers[1].name: a is there already"},
    {"a body of a get",
     POLL_GET("answers: [{}], body: \"{}\""),
     "x.yaml:10:99: poll.requests[0].body: only a post has a body"},
    {"a body without a type",
     POLL_POST("body: '{\"a\":{post}}'"),
     "x.yaml:10:106: poll.requests[0].body: needs a header content-type"},
    {"a body that is no JSON",
     POLL_POST("body: 'a={post}'"),
     "x.yaml:10:106: poll.requests[0].body: JSON, with placeholders where values stand, such as {\"id\":{post}}"},
    {"a post within quotes",
     POLL_POST("body: '{\"a\":\"{post}\"}'"),
     "x.yaml:10:106: poll.requests[0].body: JSON, with placeholders where values stand, such as {\"id\":{post}}"},
    {"a batch of one post",
     POLL_GET("answers: [{}], batch: 2"),
     "x.yaml:10:99: poll.requests[0].batch: more than one post needs {posts}"},
    {"a batch that is too large",
     POLL_LIST("answers: [{post: /id}], batch: 101"),
     "x.yaml:10:109: poll.requests[0].batch: a whole number from 1 to 100, without a unit"},
    {"a separator without a list",
     POLL_GET("answers: [{}], separator: \";\""),
     "x.yaml:10:99: poll.requests[0].separator: stands between the {posts} of a URL"},
    {"a separator that ends the URL",
     POLL_LIST("answers: [{post: /id}], separator: \"#\""),
     "x.yaml:10:109: poll.requests[0].separator: of \",;:+*&=$!_.~-\" and lower-case letters, such as \",\" or \"&id=\""},
    {"a long separator",
     POLL_LIST("answers: [{post: /id}], separator: aaaaaaaaa"),
     "x.yaml:10:109: poll.requests[0].separator: 1 to 8 characters"},
    {"an unknown missing",
     POLL_GET("answers: [{}], missing: gone"),
     "x.yaml:10:99: poll.requests[0].missing: must be could_not_ask, working, not_mine or failed"},
    {"a word in two lists",
     POLL_GET("answers: [{}], working: [no]"),
     "x.yaml:10:109: poll.requests[0].working[0]: \"no\" means failure"},
    {"several elements without a post",
     POLL_GET("answers: [{each: /a/*}]"),
     "x.yaml:10:94: poll.requests[0].answers[0]: needs post: which of several an element is about"},
    {"a batch without a post",
     POLL_LIST("answers: [{status: {at: /s}}], batch: 2"),
     "x.yaml:10:95: poll.requests[0].answers[0]: needs post: which of several an element is about"},
    {"a default that decides for whoever comes",
     POLL_GET("answers: [{status: {default: ok}}]"),
     "x.yaml:10:104: poll.requests[0].answers[0].status.default: \"ok\" decides, so the shape needs post: silence must not decide"},
    {"is without when",
     POLL_GET("answers: [{is: [a]}]"),
     "x.yaml:10:95: poll.requests[0].answers[0].is: needs when"},
    {"a header of an answer",
     POLL_GET("answers: [{extras: [{name: a, at: \"header:b\"}]}]"),
     "x.yaml:10:114: poll.requests[0].answers[0].extras[0].at: an answer's headers are not read"},
    {"a pointer off the way of each",
     POLL_GET("answers: [{each: /a/*, post: /b/*}]"),
     "x.yaml:10:107: poll.requests[0].answers[0].post: its \"*\" must be those of each (or of post, without each), or the first of them"},
    {"a rule without a condition",
     POLL_RULE("means: working"),
     "x.yaml:10:124: poll.requests[0].rules[0].means: needs at, status or both"},
    {"a rule with words for nothing",
     POLL_RULE("status: [\"404\"], is: [a], means: working"),
     "x.yaml:10:150: poll.requests[0].rules[0].means: needs at, status or both"},
    {"a rule with a star",
     POLL_RULE("at: /a/*, means: working"),
     "x.yaml:10:124: poll.requests[0].rules[0].at: without \"*\""},
    {"a rule's status that is none",
     POLL_RULE("status: [\"4xx\"], means: working"),
     "x.yaml:10:133: poll.requests[0].rules[0].status[0]: a whole number from 200 to 599, without a unit"},
    {"a rule's unknown meaning",
     POLL_RULE("at: /a, means: success"),
     "x.yaml:10:132: poll.requests[0].rules[0].means: must be could_not_ask, working, not_mine, failed, missing, rate_limited or auth_error"},
    {"a status of HTTP that fails a post",
     POLL_RULE("status: [\"404\"], means: failed"),
     "x.yaml:10:141: poll.requests[0].rules[0].means: failed needs at and is, and a batch of one"},
    {"any value that fails a post",
     POLL_RULE("at: /a, means: failed"),
     "x.yaml:10:132: poll.requests[0].rules[0].means: failed needs at and is, and a batch of one"},
    {"a rule that fails a batch",
     POLL_LIST("batch: 2, answers: [{post: /id}], rules: [{at: /a, is: [b], means: failed}]"),
     "x.yaml:10:145: poll.requests[0].rules[0].means: failed needs at and is, and a batch of one"},
    {"a reason for nothing",
     POLL_RULE("at: /a, reason: /b, means: working"),
     "x.yaml:10:132: poll.requests[0].rules[0].reason: only of failed"},
};
/* clang-format on */

static void test_a_wrong_descriptor_is_told_where_and_what_would_be_right(void **state)
{
    size_t failures = 0;

    (void)state;
    for (size_t i = 0; i < countof(wrong); i++) {
        struct arena *arena = arena_open(1000);
        struct platform p;
        struct err err = {.text = ""};
        enum status status = read_text(wrong[i].text, arena, &p, &err);
        if (status != INVALID || strcmp(err.text, wrong[i].message) != 0) {
            print_error("%s:\n  got  \"%s\"\n  want \"%s\"\n", wrong[i].why, err.text, wrong[i].message);
            failures++;
        }
        arena_close(arena);
    }
    assert_int_equal(failures, 0);
}

static void test_the_least_poll_has_the_usual_values(void **state)
{
    struct arena *arena = arena_open(1000);
    struct platform p;

    (void)state;
    read_good(BARE, arena, &p);
    assert_null(p.poll);
    read_good(POLL_GET("answers: [{status: {at: /s}}]"), arena, &p);
    assert_int_equal(p.poll->nrequests, 1);
    assert_int_equal(p.poll->budget_per_minute, 1);
    assert_int_equal(p.poll->give_up_minutes, 1440);
    assert_false(p.poll->requests[0].is_post);
    assert_int_equal(p.poll->requests[0].batch, 1);
    assert_span(p.poll->requests[0].separator, ",");
    assert_int_equal(p.poll->requests[0].missing, POLL_MEANS_COULD_NOT_ASK);
    assert_int_equal(p.poll->requests[0].nrules, 0);
    assert_int_equal(p.poll->requests[0].nheaders, 0);
    assert_int_equal(p.poll->requests[0].body.nparts, 0);
    assert_int_equal(p.poll->requests[0].nsuccess, 1);
    assert_span(p.poll->requests[0].failure[0], "no");
    arena_close(arena);
}

static void test_a_token_may_go_to_hosts_that_are_written_down(void **state)
{
    static const char *const urls[] = {
        POLL_URL("https://a/{post}"),           POLL_URL("https://a.example:8443/{post}"),
        POLL_URL("https://127.0.0.1/{post}"),   POLL_URL("http://127.0.0.1:8080/{post}"),
        POLL_URL("http://[::1]:8080/v/{post}"), POLL_URL("https://[::1]/{post}"),
        POLL_URL("http://localhost/{post}"),
    };
    struct arena *arena = arena_open(1000);
    struct platform p;

    (void)state;
    for (size_t i = 0; i < countof(urls); i++)
        read_good(urls[i], arena, &p);
    arena_close(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_least_descriptor_has_the_usual_values),
        cmocka_unit_test(test_a_list_of_kinds_with_id_and_time),
        cmocka_unit_test(test_ids_between_no_literals_and_ids_that_are_not_signed),
        cmocka_unit_test(test_pairs_urls_and_credentials),
        cmocka_unit_test(test_all_of_a_payload),
        cmocka_unit_test(test_handshakes_by_get),
        cmocka_unit_test(test_handshakes_by_post_and_subscriptions),
        cmocka_unit_test(test_each_word_that_is_offered_is_taken),
        cmocka_unit_test(test_a_wrong_descriptor_is_told_where_and_what_would_be_right),
        cmocka_unit_test(test_the_least_poll_has_the_usual_values),
        cmocka_unit_test(test_a_token_may_go_to_hosts_that_are_written_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
