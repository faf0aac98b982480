#include "support/test.h"

#include "base/arena.h"
#include "base/now.h"
#include "domain/handshake.h"

#include <stdio.h>

#define NOW_US  (INT64_C(1700000000) * SECOND_US)
#define PAYLOAD "payloads: [{when: \"\"}]\nsuccess: []\nfailure: []\n"
#define SIMPLE(name)                                                                                         \
    "name: " name "\nverify: {header: x-sig, algorithm: hmac-sha256, layout: single, encoding: hex, "        \
    "signed: \"{body}\"}\n" PAYLOAD

/* The rows of each platform that has a handshake. */
static const struct {
    const char *path, *text;
} descriptors[] = {
    {"meta.yaml",
     SIMPLE("meta") "handshakes:\n"
                    "  - {method: get, query: [{name: hub.mode, is: [subscribe]}], verify_token: "
                    "hub.verify_token, value: hub.challenge, answer: echo, refused: 403}\n"                  },
    {"websub.yaml",
     SIMPLE(
         "websub") "handshakes:\n"
                   "  - {method: get, query: [{name: hub.mode, is: [subscribe]}], topic: hub.topic, value: "
                   "hub.challenge, answer: echo, refused: 404}\n"
                   "  - {method: get, query: [{name: hub.mode, is: [unsubscribe]}], no_topic: hub.topic, "
                   "value: hub.challenge, answer: echo, refused: 404}\n"
                   "  - {method: get, query: [{name: hub.mode, is: [denied]}, {name: hub.topic}], answer: "
                   "status, status: 200, refused: 404}\n"
                   "subscribe: {hub: \"https://hub/\", topic: \"https://feeds/?channel={topic}\"}\n"         },
    {"dropbox.yaml",  SIMPLE("dropbox") "handshakes: [{method: get, query: [{name: challenge}], value: "
                                       "challenge, answer: echo}]\n"                     },
    {"x.yaml",
     SIMPLE("x") "handshakes:\n  - {method: get, query: [{name: crc_token}], value: crc_token, "
                 "answer: json, json: '{\"response_token\":\"sha256={hmac}\"}', encoding: base64}\n"         },
    {"linkedin.yaml",
     SIMPLE(
         "linkedin") "handshakes:\n  - {method: get, query: [{name: challengeCode}], value: challengeCode, "
                     "value_form: uuid, answer: json, json: "
                     "'{\"challengeCode\":\"{value}\",\"challengeResponse\":\"{hmac}\"}'}\n"                 },
    {"twitch.yaml",
     SIMPLE("twitch") "handshakes:\n  - {method: post, header: twitch-eventsub-message-type, is: "
                      "[webhook_callback_verification], value: /challenge, answer: echo}\n"                  },
    {"slack.yaml",    SIMPLE("slack") "body: [json, form]\nhandshakes:\n  - {method: post, at: /type, is: "
                                   "[url_verification], value: /challenge, answer: echo}\n"},
    {"discord.yaml",
     SIMPLE("discord") "handshakes:\n"
                       "  - {method: post, at: /type, is: [1], unless: /event, answer: json, json: "
                       "'{\"type\":1}'}\n"
                       "  - {method: post, at: /type, is: [0], answer: status}\n"                            },
    {"zoom.yaml",
     SIMPLE("zoom") "handshakes:\n  - {method: post, at: /event, is: [endpoint.url_validation], value: "
                    "/payload/plainToken, answer: json, json: "
                    "'{\"plainToken\":\"{value}\",\"encryptedToken\":\"{hmac}\"}'}\n"                        },
    {"plain.yaml",    SIMPLE("plain")                                                                        },
};

struct world {
    struct arena *arena;
    struct platforms *set;
};

static int set_up(void **state)
{
    static struct world w;
    const char *paths[countof(descriptors)];
    struct span texts[countof(descriptors)];
    struct err err = {.text = ""};

    for (size_t i = 0; i < countof(descriptors); i++) {
        paths[i] = descriptors[i].path;
        texts[i] = span_of(descriptors[i].text);
    }
    w.arena = arena_open(10000);
    w.set = platforms_load_texts(paths, texts, countof(descriptors), &err);
    if (!w.set)
        fail_msg("%s", err.text);
    *state = &w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;

    platforms_close(w->set);
    arena_close(w->arena);
    return 0;
}

static const struct platform *platform(struct world *w, const char *name)
{
    const struct platform *p = platforms_find(w->set, span_of(name));

    assert_non_null(p);
    return p;
}

static const struct source *add(struct world *w, const char *name, const char *source, const char *secrets)
{
    struct err err = {.text = ""};

    if (platforms_add_source(w->set, span_of(name), span_of(source), span_of(secrets), &err))
        fail_msg("%s", err.text);
    return platform_source(platform(w, name), span_of(source));
}

/* Sources: "s" has all that its platform wants, "bare" only a secret, "nobody" is not there. */
static void add_sources(struct world *w)
{
    static const char *const topics[] = {"UC1", "https://elsewhere/feed"};

    add(w, "meta", "s", "k");
    add(w, "meta", "bare", "k");
    add(w, "websub", "s", "k");
    add(w, "websub", "bare", "k");
    add(w, "dropbox", "s", "k");
    add(w, "x", "s", "z3ZX4v7mAAUGykl3EcmkqbartmuW8VFOOzCloLx9Q45P0hLrFu");
    add(w, "linkedin", "s", "linkedin_client_secret");
    add(w, "plain", "s", "k");
    assert_int_equal(platforms_set_verify_token(w->set, SPAN("meta"), SPAN("s"), SPAN("meatyhamhock"), NULL),
                     OK);
    assert_int_equal(platforms_set_topics(w->set, SPAN("websub"), SPAN("s"), topics, countof(topics), NULL),
                     OK);
}

#define UUID  "890e4665-4dfe-4ab1-b689-ed553bceeed0"
#define LONG  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define META  "hub.mode=subscribe&hub.verify_token=meatyhamhock"
#define FEED  "&hub.topic=https%3A%2F%2Ffeeds%2F%3Fchannel%3DUC1"
#define OTHER "&hub.topic=https%3A%2F%2Ffeeds%2F%3Fchannel%3DUC2"

#define NO_TOKEN     "the verify token is not the source's"
#define NOT_MEANT    "the query means no handshake"
#define NO_VALUE     "the challenge is missing"
#define NOT_TOPIC    "the topic is none of the source's"
#define TWICE        "a name is there twice"
#define ODD          "the challenge holds characters that are not of its form"
#define NO_UUID      "the challenge is no UUID"
#define LENGTH       "the challenge is empty or longer than 256 bytes"
#define STILL_WANTED "the topic is missing, or one that the source still wants"
#define NOT_KNOWN    "the source is not known"

/* answer: the body of a good answer, or why there is none. */
/* clang-format off */
static const struct {
    const char *why, *platform, *source, *query;
    int status;
    const char *answer;
} gets[] = {
    {"Meta's challenge comes back when the token is right", "meta", "s", META "&hub.challenge=1158201444", 200, "1158201444"},
    {"the order does not matter", "meta", "s", "hub.challenge=1&" META, 200, "1"},
    {"nor do other names", "meta", "s", META "&hub.challenge=1&x=2&x=3&&", 200, "1"},
    {"names may be escaped", "meta", "s", "hub%2Emode=subscribe&hub%2everify_token=meaty%68amhock&hub.challenge=%31", 200, "1"},
    {"a wrong token is refused", "meta", "s", "hub.mode=subscribe&hub.challenge=1&hub.verify_token=wrong", 403, NO_TOKEN},
    {"a token that begins right is refused", "meta", "s", "hub.mode=subscribe&hub.challenge=1&hub.verify_token=meatyham", 403, NO_TOKEN},
    {"a token that goes on is refused", "meta", "s", META "x&hub.challenge=1", 403, NO_TOKEN},
    {"an empty token is refused", "meta", "s", "hub.mode=subscribe&hub.challenge=1&hub.verify_token=", 403, NO_TOKEN},
    {"no token is refused", "meta", "s", "hub.mode=subscribe&hub.challenge=1", 403, NO_TOKEN},
    {"an empty token does not equal none", "meta", "bare", "hub.mode=subscribe&hub.challenge=1&hub.verify_token=", 403, "the source has no verify token"},
    {"no token does not equal none", "meta", "bare", "hub.mode=subscribe&hub.challenge=1", 403, "the source has no verify token"},
    {"an unknown source is refused with the same status", "meta", "nobody", META "&hub.challenge=1", 403, NOT_KNOWN},
    {"another mode is none", "meta", "s", "hub.mode=unsubscribe&hub.challenge=1&hub.verify_token=meatyhamhock", 403, NOT_MEANT},
    {"modes have a case", "meta", "s", "hub.mode=Subscribe&hub.challenge=1&hub.verify_token=meatyhamhock", 403, NOT_MEANT},
    {"names have a case", "meta", "s", "Hub.Mode=subscribe&hub.challenge=1&hub.verify_token=meatyhamhock", 403, NOT_MEANT},
    {"a mode with a NUL is another", "meta", "s", "hub.mode=subscribe%00&hub.challenge=1&hub.verify_token=meatyhamhock", 403, NOT_MEANT},
    {"no query means none", "meta", "s", "", 403, NOT_MEANT},
    {"nor does a missing one", "meta", "s", NULL, 403, NOT_MEANT},
    {"a script is not echoed", "meta", "s", META "&hub.challenge=%3Cscript%3E", 400, ODD},
    {"nor with a wrong token", "meta", "s", "hub.mode=subscribe&hub.verify_token=wrong&hub.challenge=%3Cscript%3E", 400, ODD},
    {"a blank is not echoed", "meta", "s", META "&hub.challenge=a+b", 400, ODD},
    {"a line feed is not echoed", "meta", "s", META "&hub.challenge=a%0Ab", 400, ODD},
    {"a NUL is not echoed", "meta", "s", META "&hub.challenge=a%00", 400, ODD},
    {"a high byte is not echoed", "meta", "s", META "&hub.challenge=%C3%A9", 400, ODD},
    {"a broken escape is a percent sign", "meta", "s", META "&hub.challenge=1%2", 400, ODD},
    {"escapes are undone once", "meta", "s", META "&hub.challenge=%2531", 400, ODD},
    {"no challenge", "meta", "s", META, 400, NO_VALUE},
    {"an empty challenge", "meta", "s", META "&hub.challenge=", 400, LENGTH},
    {"a challenge without =", "meta", "s", META "&hub.challenge", 400, LENGTH},
    {"256 bytes are echoed", "meta", "s", META "&hub.challenge=" LONG LONG LONG LONG, 200, LONG LONG LONG LONG},
    {"257 are not", "meta", "s", META "&hub.challenge=" LONG LONG LONG LONG "x", 400, LENGTH},
    {"two challenges", "meta", "s", META "&hub.challenge=1&hub.challenge=2", 400, TWICE},
    {"two equal challenges", "meta", "s", META "&hub.challenge=1&hub.challenge=1", 400, TWICE},
    {"two challenges, one in disguise", "meta", "s", META "&hub.challenge=1&hub%2Echallenge=1", 400, TWICE},
    {"two tokens, the first right", "meta", "s", META "&hub.verify_token=x&hub.challenge=1", 400, TWICE},
    {"two modes, the first right", "meta", "s", META "&hub.mode=x&hub.challenge=1", 400, TWICE},
    {"two modes, the second right", "meta", "s", "hub.mode=x&" META "&hub.challenge=1", 400, TWICE},

    {"the hub may subscribe a topic that is ours", "websub", "s", "hub.mode=subscribe&hub.challenge=c&hub.lease_seconds=432000" FEED, 200, "c"},
    {"a topic given as a URL is that URL", "websub", "s", "hub.mode=subscribe&hub.challenge=c&hub.topic=https://elsewhere/feed", 200, "c"},
    {"another topic is refused", "websub", "s", "hub.mode=subscribe&hub.challenge=c" OTHER, 404, NOT_TOPIC},
    {"the bare name of a topic is not its URL", "websub", "s", "hub.mode=subscribe&hub.challenge=c&hub.topic=UC1", 404, NOT_TOPIC},
    {"no topic is refused", "websub", "s", "hub.mode=subscribe&hub.challenge=c", 404, NOT_TOPIC},
    {"two topics are refused", "websub", "s", "hub.mode=subscribe&hub.challenge=c" FEED FEED, 400, TWICE},
    {"a source without topics wants none", "websub", "bare", "hub.mode=subscribe&hub.challenge=c" FEED, 404, NOT_TOPIC},
    {"an unknown source wants none", "websub", "nobody", "hub.mode=subscribe&hub.challenge=c" FEED, 404, NOT_KNOWN},
    {"a topic of ours is not given up", "websub", "s", "hub.mode=unsubscribe&hub.challenge=c" FEED, 404, STILL_WANTED},
    {"another one is", "websub", "s", "hub.mode=unsubscribe&hub.challenge=c" OTHER, 200, "c"},
    {"no topic is not given up either", "websub", "s", "hub.mode=unsubscribe&hub.challenge=c", 404, STILL_WANTED},
    {"but not for a stranger", "websub", "nobody", "hub.mode=unsubscribe&hub.challenge=c" OTHER, 404, NOT_KNOWN},
    {"a denial is heard", "websub", "s", "hub.mode=denied&hub.reason=%3Cno%3E" FEED, 200, ""},
    {"a denial of nothing is not", "websub", "s", "hub.mode=denied", 404, NOT_MEANT},
    {"an unknown mode is not", "websub", "s", "hub.mode=publish" FEED, 404, NOT_MEANT},

    {"Dropbox' challenge comes back", "dropbox", "s", "challenge=abc123", 200, "abc123"},
    {"but not to a stranger", "dropbox", "nobody", "challenge=abc123", 400, NOT_KNOWN},
    {"nor as a page", "dropbox", "s", "challenge=%3Cimg%20src%3Dx%3E", 400, ODD},
    {"nothing is asked", "dropbox", "s", "challeng=abc", 400, NOT_MEANT},

    {"X' token is signed", "x", "s", "crc_token=9b4507b3-9040-4669-9ca3-6b94edb50553", 200,
     "{\"response_token\":\"sha256=Cytd4Sq+NvEcV3MMrXxWJGJx5A+y/lXzzU2Maartkx8=\"}"},
    {"no token, no MAC", "x", "s", "", 400, NOT_MEANT},
    {"an event is not signed for anybody", "x", "s", "crc_token=%7B%22for_user_id%22%3A%221%22%7D", 400, ODD},
    {"nor a list", "x", "s", "crc_token=[]", 400, ODD},
    {"nor a text", "x", "s", "crc_token=%22a%22", 400, ODD},
    {"nor what another scheme signs", "x", "s", "crc_token=v0:1654503849:x", 400, ODD},
    {"nor more than 256 bytes", "x", "s", "crc_token=" LONG LONG LONG LONG "x", 400, LENGTH},
    {"nor nothing", "x", "s", "crc_token=", 400, LENGTH},
    {"nor two", "x", "s", "crc_token=a&crc_token=b", 400, TWICE},
    {"nor for a stranger", "x", "nobody", "crc_token=9b4507b3-9040-4669-9ca3-6b94edb50553", 400, NOT_KNOWN},

    {"LinkedIn's code is signed", "linkedin", "s", "challengeCode=" UUID "&applicationId=2789", 200,
     "{\"challengeCode\":\"" UUID "\",\"challengeResponse\":\"c813f311661c3a733dcae599bb95c7cabc666e22dc36e2a84a3d3ce27c9de8de\"}"},
    {"an event with its prefix is not", "linkedin", "s", "challengeCode=hmacsha256%3D%7B%7D", 400, NO_UUID},
    {"nor a token", "linkedin", "s", "challengeCode=hmacsha256", 400, NO_UUID},
    {"nor a UUID with more", "linkedin", "s", "challengeCode=" UUID "0", 400, NO_UUID},
    {"nor one without its hyphens", "linkedin", "s", "challengeCode=890e466504dfe04ab10b6890ed553bceeed0", 400, NO_UUID},
    {"nor one with other letters", "linkedin", "s", "challengeCode=g90e4665-4dfe-4ab1-b689-ed553bceeed0", 400, NO_UUID},
    {"nor for a stranger", "linkedin", "nobody", "challengeCode=" UUID, 400, NOT_KNOWN},

    {"a platform without rows answers nothing", "plain", "s", "challenge=1", 400, NOT_MEANT},
};
/* clang-format on */

static void ask(struct world *w, const char *name, const char *source, const char *query,
                struct handshake_answer *ret)
{
    const struct platform *p = platform(w, name);

    handshake_get(p, platform_source(p, span_of(source)), span_of(query), NOW_US, w->arena, ret);
}

static void test_each_question_by_get(void **state)
{
    struct world *w = *state;

    add_sources(w);
    for (size_t i = 0; i < countof(gets); i++) {
        struct handshake_answer a;
        bool good = gets[i].status < 300;
        ask(w, gets[i].platform, gets[i].source, gets[i].query, &a);
        if (a.status != gets[i].status || a.good != good)
            fail_msg("%s: status %d (%s)", gets[i].why, a.status, a.why ? a.why : "good");
        if (good ? !span_eq(a.body, span_of(gets[i].answer)) || a.why != NULL
                 : strcmp(a.why, gets[i].answer) != 0 || a.body.len > 0 || a.content_type)
            fail_msg("%s: \"%.*s\" (%s)", gets[i].why, SPAN_ARG(a.body), a.why ? a.why : "good");
    }
}

static void test_texts_are_plain_and_templates_are_json(void **state)
{
    struct world *w = *state;
    struct handshake_answer a;

    add_sources(w);
    ask(w, "dropbox", "s", "challenge=abc123", &a);
    assert_string_equal(a.content_type, "text/plain");
    ask(w, "x", "s", "crc_token=a", &a);
    assert_string_equal(a.content_type, "application/json");
    ask(w, "websub", "s", "hub.mode=denied" FEED, &a);
    assert_null(a.content_type);
}

static void test_who_has_handshakes_by_get(void **state)
{
    struct world *w = *state;

    assert_true(handshake_by_get(platform(w, "meta")));
    assert_false(handshake_by_get(platform(w, "slack")));
    assert_false(handshake_by_get(platform(w, "plain")));
}

static void test_a_long_query_is_refused(void **state)
{
    struct world *w = *state;
    char query[8192 + 20];
    struct handshake_answer a;
    size_t len;

    add_sources(w);
    len = (size_t)snprintf(query, sizeof(query), "challenge=abc&x=");
    memset(query + len, 'a', sizeof(query) - len);
    query[8192] = '\0';
    ask(w, "dropbox", "s", query, &a);
    assert_int_equal(a.status, 200);
    query[8192] = 'a';
    query[8193] = '\0';
    ask(w, "dropbox", "s", query, &a);
    assert_int_equal(a.status, 400);
    assert_string_equal(a.why, "the query is too long");

    memset(query, '&', sizeof(query)); /* short, but of too many pairs */
    query[2000] = '\0';
    ask(w, "dropbox", "s", query, &a);
    assert_int_equal(a.status, 400);
}

/* Answered with the first one that counts; events are still verified by any. */
static void test_the_mac_is_by_the_first_secret_that_counts_now(void **state)
{
    struct world *w = *state;
    struct handshake_answer old, mixed, none;

    add(w, "x", "old", "second");
    add(w, "x", "mixed",
        "first expires=2023-11-14T22:13:20Z\nlater not-before=2024-01-01T00:00:00Z\nsecond\nthird");
    add(w, "x", "none", "first expires=2023-11-14T22:13:20Z");
    ask(w, "x", "old", "crc_token=a", &old);
    ask(w, "x", "mixed", "crc_token=a", &mixed);
    ask(w, "x", "none", "crc_token=a", &none);
    assert_true(old.good);
    assert_true(mixed.good);
    assert_true(span_eq(old.body, mixed.body));
    assert_false(none.good);
    assert_string_equal(none.why, "no secret of the source counts at present");
}

static void test_the_url_of_a_topic(void **state)
{
    struct world *w = *state;
    const struct platform *p = platform(w, "websub");

    assert_true(span_eq(handshake_topic_url(p, SPAN("UC1"), w->arena), SPAN("https://feeds/?channel=UC1")));
    assert_true(span_eq(handshake_topic_url(p, SPAN("http://a"), w->arena), SPAN("http://a")));
    assert_true(span_eq(handshake_topic_url(platform(w, "plain"), SPAN("UC1"), w->arena), SPAN("UC1")));
}

#define TYPE         "twitch-eventsub-message-type"
#define VERIFICATION "webhook_callback_verification"

/* answer NULL: it is no handshake. status 400: refused, and answer says why. */
/* clang-format off */
static const struct {
    const char *why, *platform, *body, *header, *again; /* the value of Twitch's header, and of a second one */
    int status;
    const char *answer;
} posts[] = {
    {"Twitch' challenge comes back", "twitch", "{\"challenge\":\"pogchamp-kappa-360noscope\"}", VERIFICATION, NULL, 200, "pogchamp-kappa-360noscope"},
    {"another type is a delivery", "twitch", "{\"challenge\":\"a\"}", "notification", NULL, 0, NULL},
    {"no type is a delivery", "twitch", "{\"challenge\":\"a\"}", NULL, NULL, 0, NULL},
    {"two types are a delivery", "twitch", "{\"challenge\":\"a\"}", VERIFICATION, VERIFICATION, 0, NULL},
    {"an event under the unsigned type is refused", "twitch", "{\"event\":{}}", VERIFICATION, NULL, 400, NO_VALUE},

    {"Slack's challenge comes back", "slack", "{\"token\":\"J\",\"challenge\":\"3eZbrw1aBm2r\",\"type\":\"url_verification\"}", NULL, NULL, 200, "3eZbrw1aBm2r"},
    {"escapes do not hide it", "slack", "{\"challenge\":\"\\u0061\",\"type\":\"url\\u005fverification\"}", NULL, NULL, 200, "a"},
    {"another type is a delivery", "slack", "{\"challenge\":\"a\",\"type\":\"event_callback\"}", NULL, NULL, 0, NULL},
    {"the word elsewhere is a delivery", "slack", "{\"challenge\":\"a\",\"text\":\"url_verification\"}", NULL, NULL, 0, NULL},
    {"the type must be a scalar", "slack", "{\"challenge\":\"a\",\"type\":[\"url_verification\"]}", NULL, NULL, 0, NULL},
    {"a form is a delivery", "slack", "type=url_verification&challenge=a", NULL, NULL, 0, NULL},
    {"broken JSON is a delivery", "slack", "{\"challenge\":\"a\",\"type\":\"url_verification\"", NULL, NULL, 0, NULL},
    {"nothing is a delivery", "slack", "", NULL, NULL, 0, NULL},
    {"no challenge is refused", "slack", "{\"type\":\"url_verification\"}", NULL, NULL, 400, NO_VALUE},
    {"a page is not echoed", "slack", "{\"type\":\"url_verification\",\"challenge\":\"<b>\"}", NULL, NULL, 400, ODD},
    {"an object is not echoed", "slack", "{\"type\":\"url_verification\",\"challenge\":{}}", NULL, NULL, 400, NO_VALUE},
    {"a NUL is not echoed", "slack", "{\"type\":\"url_verification\",\"challenge\":\"a\\u0000\"}", NULL, NULL, 400, NO_VALUE},

    {"Discord's PING by an interaction", "discord", "{\"type\":1}", NULL, NULL, 200, "{\"type\":1}"},
    {"Discord's PING by events", "discord", "{\"type\":0}", NULL, NULL, 204, ""},
    {"an event of type 1 is a delivery", "discord", "{\"type\":1,\"event\":{\"type\":\"A\"}}", NULL, NULL, 0, NULL},
    {"another type is a delivery", "discord", "{\"type\":2}", NULL, NULL, 0, NULL},
    {"a longer number is another", "discord", "{\"type\":10}", NULL, NULL, 0, NULL},
    {"no type is a delivery", "discord", "{\"kind\":1}", NULL, NULL, 0, NULL},

    {"Zoom's token is signed", "zoom", "{\"event\":\"endpoint.url_validation\",\"payload\":{\"plainToken\":\"qgg8vlvZRS6UYooatFL8Aw\"}}", NULL, NULL, 200,
     "{\"plainToken\":\"qgg8vlvZRS6UYooatFL8Aw\",\"encryptedToken\":\"bd48235863f4a6323ccc4963c594908b7c97f88b4a6a95278f4f093690b12726\"}"},
    {"a text that an event could be is not", "zoom", "{\"event\":\"endpoint.url_validation\",\"payload\":{\"plainToken\":\"v0:1654503849:{}\"}}", NULL, NULL, 400, ODD},
    {"a token that holds a place of the template is not", "zoom", "{\"event\":\"endpoint.url_validation\",\"payload\":{\"plainToken\":\"{hmac}\"}}", NULL, NULL, 400, ODD},
    {"another event is a delivery", "zoom", "{\"event\":\"recording.completed\",\"payload\":{\"plainToken\":\"a\"}}", NULL, NULL, 0, NULL},
    {"a platform without rows has deliveries only", "plain", "{\"type\":1}", NULL, NULL, 0, NULL},
};
/* clang-format on */

static void test_each_question_by_post(void **state)
{
    struct world *w = *state;

    for (size_t i = 0; i < countof(descriptors); i++) {
        const struct platform *p = platforms_at(w->set, i);
        add(w, p->name.at, "s", "other\nzoom_secret_token");
    }
    for (size_t i = 0; i < countof(posts); i++) {
        const struct platform *p = platform(w, posts[i].platform);
        const struct header headers[] = {
            {SPAN("x-other"), SPAN("a")               },
            {SPAN(TYPE),      span_of(posts[i].header)},
            {SPAN(TYPE),      span_of(posts[i].again) },
        };
        struct request r = {headers,
                            posts[i].again    ? 3
                            : posts[i].header ? 2
                                              : 1,
                            span_of(posts[i].body), SPAN_NONE, NOW_US};
        struct handshake_answer a = {.status = 0};
        bool is = handshake_post(p, platform_source(p, SPAN("s")), 1, &r, w->arena, &a);
        if (is != (posts[i].answer != NULL) || a.status != posts[i].status)
            fail_msg("%s, %s: status %d (%s)", posts[i].platform, posts[i].why, a.status,
                     a.why ? a.why : "good");
        if (is && (a.good != (a.status < 300) || (a.good ? !span_eq(a.body, span_of(posts[i].answer))
                                                         : strcmp(a.why, posts[i].answer) != 0)))
            fail_msg("%s, %s: \"%.*s\" (%s)", posts[i].platform, posts[i].why, SPAN_ARG(a.body),
                     a.why ? a.why : "good");
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_each_question_by_get),
        TEST(test_texts_are_plain_and_templates_are_json),
        TEST(test_who_has_handshakes_by_get),
        TEST(test_a_long_query_is_refused),
        TEST(test_the_mac_is_by_the_first_secret_that_counts_now),
        TEST(test_the_url_of_a_topic),
        TEST(test_each_question_by_post),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
