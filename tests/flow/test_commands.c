/*
 * The commands beside serve: what they print, what they change, how they end.
 */
#include "support/world.h"

#include "base/arena.h"
#include "domain/urlform.h"

#include <ctype.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#define FIXTURE_SECRET "settle-fixture-tiktok-client-secret"
#define FIXTURE_TIME   "1768473900"

/* A hub that the test itself plays. */
struct hub {
    int place; /* holds the port for it while it does not listen */
    int listener;
    uint16_t port;
    char request[8192]; /* the last one, whole */
    struct arena *arena;
    struct urlform_pair *form; /* its body */
    size_t nform;
};

static struct hub hub;
static char settings[128];

static const char *write_file(struct world *w, const char *name, const char *text)
{
    static char paths[8][128];
    static size_t n;
    char *path = paths[n++ % countof(paths)];
    FILE *to;

    snprintf(path, sizeof(paths[0]), "%s/%s", w->dir, name);
    to = fopen(path, "we");
    assert_non_null(to);
    fputs(text, to);
    assert_int_equal(fclose(to), 0);
    return path;
}

static const char *fixture(const char *name)
{
    static char path[512];

    snprintf(path, sizeof(path), "%s/fixtures/%s", getenv("SETTLE_TOP"), name);
    return path;
}

static const char *read_fixture(const char *name)
{
    static char text[8192];
    FILE *from = fopen(fixture(name), "re");

    assert_non_null(from);
    text[fread(text, 1, sizeof(text) - 1, from)] = '\0';
    fclose(from);
    return text;
}

static int hub_bind(void)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_port = htons(hub.port)};
    socklen_t len = sizeof(at);
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    hub.port = ntohs(at.sin_port);
    return fd;
}

static void hub_listen(void)
{
    hub.listener = hub_bind();
    assert_int_equal(listen(hub.listener, 8), 0);
}

/* Takes one request and answers it. False: none came. */
static bool hub_answer(const char *status)
{
    struct pollfd ready = {.fd = hub.listener, .events = POLLIN};
    char answer[128];
    const char *body;
    size_t len = 0, want;
    int fd;

    if (poll(&ready, 1, 30000) != 1)
        return false;
    fd = accept(hub.listener, NULL, NULL);
    assert_true(fd >= 0);
    do {
        ssize_t n = recv(fd, hub.request + len, sizeof(hub.request) - 1 - len, 0);
        assert_true(n > 0);
        len += (size_t)n;
        hub.request[len] = '\0';
        body = strstr(hub.request, "\r\n\r\n");
        want = body && strstr(hub.request, "Content-Length: ")
                   ? strtoul(strstr(hub.request, "Content-Length: ") + 16, NULL, 10)
                   : 0;
    } while (!body || strlen(body + 4) < want);
    snprintf(answer, sizeof(answer), "HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", status);
    assert_int_equal(send(fd, answer, strlen(answer), MSG_NOSIGNAL), strlen(answer));
    close(fd);
    arena_reset(hub.arena);
    assert_true(urlform_read(span_of(body + 4), hub.arena, &hub.form, &hub.nform));
    return true;
}

static void assert_field(const char *name, const char *want)
{
    struct span got = urlform_get(hub.form, hub.nform, span_of(name), NULL);

    if (!got.at || !span_eq(got, span_of(want)))
        fail_msg("%s is \"%.*s\" in place of \"%s\"", name, SPAN_ARG(got), want);
}

/* Nobody has asked: the listener's queue is empty. */
static bool hub_was_left_alone(void)
{
    struct pollfd ready = {.fd = hub.listener, .events = POLLIN};

    return poll(&ready, 1, 0) == 0;
}

static const char descriptor[] =
    "name: feed\n"
    "title: A feed of the tests\n"
    "verify:\n"
    "  header: x-hub-signature-256\n"
    "  algorithm: hmac-sha256\n"
    "  layout: single\n"
    "  prefix: \"sha256=\"\n"
    "  encoding: hex\n"
    "  signed: \"{body}\"\n"
    "handshakes:\n"
    "  - {method: get, query: [{name: hub.mode, is: [subscribe]}], topic: hub.topic, value: hub.challenge, "
    "answer: echo,"
    " refused: 404}\n"
    "  - {method: post, at: /type, is: [hello], value: /challenge, answer: echo}\n"
    "payloads:\n"
    "  - when: /items\n"
    "    each: /items/*\n"
    "    post: /items/*/id\n"
    "    status: {at: /items/*/status}\n"
    "success: [published]\n"
    "failure: [failed]\n";

/* Settings with a descriptor of their own, whose hub is there, and these topics. */
static const char *make_settings(struct world *w, const char *name, const char *hub_url, const char *topics)
{
    char text[4096], path[128];

    snprintf(path, sizeof(path), "%s/%s", w->dir, name);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof(path), "%s/feed.yaml", name);
    snprintf(text, sizeof(text),
             "%ssubscribe: {hub: \"%s\", topic: \"https://feeds.example/{topic}?x=1\", lease_s: 86400}\n",
             descriptor, hub_url);
    write_file(w, path, text);
    snprintf(path, sizeof(path), "%s.yaml", name);
    snprintf(text, sizeof(text),
             "ingest: {public_url: \"https://hooks.example.com\"}\n"
             "platforms: {folder: \"%s/%s\"}\n"
             "sources:\n"
             "  - {platform: feed, secret_file: \"%s/feed.secret\", topics: [%s]}\n",
             w->dir, name, w->dir, topics);
    return write_file(w, path, text);
}

static int up(void **state)
{
    struct world *w = *state = world_open();
    char url[64];

    hub.arena = arena_open(16384);
    hub.place = hub_bind();
    hub_listen();
    write_file(w, "feed.secret", "the-old-secret expires=2999-01-01T00:00:00Z\nthe-new-secret\n");
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/hub", hub.port);
    snprintf(settings, sizeof(settings), "%s", make_settings(w, "near", url, "one, two"));
    return 0;
}

static int reset(void **state)
{
    struct world *w = *state;

    if (w->gateway)
        world_gateway_stop(w);
    setenv("SETTLE_SECRET_TIKTOK", FIXTURE_SECRET, 1);
    setenv("SETTLE_SECRET_INSTAGRAM", "instagram-secret-of-the-tests", 1);
    unsetenv("SETTLE_SECRET_TIKTOK_ACME");
    world_reset(w);
    return 0;
}

static int down(void **state)
{
    close(hub.listener);
    close(hub.place);
    arena_close(hub.arena);
    world_close(*state);
    return 0;
}

static void assert_status(const struct outcome *o, int want)
{
    if (o->status != want)
        fail_msg("exit status %d in place of %d\n%s\n%s", o->status, want, o->out, o->err);
}

static void assert_says(const struct outcome *o, const char *text)
{
    if (!strstr(o->out, text))
        fail_msg("\"%s\" is not in:\n%s\n%s", text, o->out, o->err);
}

static long number(const struct outcome *o, const char *key)
{
    const json_t *value = json_object_get(o->json, key);

    if (!json_is_integer(value))
        fail_msg("no number \"%s\" in:\n%s\n%s", key, o->out, o->err);
    return (long)json_integer_value(value);
}

static void test_every_command_explains_itself(void **state)
{
    static const char *const commands[][2] = {
        {"settle-gateway",    "serve"       },
        {"settle-gateway",    "check-config"},
        {"settle-gateway",    "print-config"},
        {"settle-gateway",    "send-test"   },
        {"settle-gateway",    "platforms"   },
        {"settle-gateway",    "verify"      },
        {"settle-gateway",    "requarantine"},
        {"settle-gateway",    "subscribe"   },
        {"settle-reconciler", "maintain"    },
        {"settle-reconciler", "serve"       },
        {"settle-reconciler", "status"      },
        {"settle-reconciler", "replay"      },
    };
    struct world *w = *state;
    struct outcome o;

    for (size_t i = 0; i < countof(commands); i++) {
        o = world_wait(w, world_spawn(w, commands[i][0], commands[i][1], "--help", NULL));
        assert_status(&o, 0);
        assert_says(&o, commands[i][1]);
        assert_says(&o, "--config");
        o = world_wait(w, world_spawn(w, commands[i][0], commands[i][1], "--no-such-option", NULL));
        assert_status(&o, 64);
        assert_string_equal(o.out, "");
        o = world_wait(w, world_spawn(w, commands[i][0], "--help", NULL));
        assert_status(&o, 0);
        assert_says(&o, commands[i][1]);
    }
    o = world_wait(w, world_spawn(w, "settle-gateway", "--version", NULL));
    assert_status(&o, 0);
    assert_says(&o, "settle-gateway ");
}

static const json_t *named(const json_t *all, const char *name)
{
    size_t i;
    json_t *one;

    json_array_foreach((json_t *)(uintptr_t)all, i, one)
        if (strcmp(json_string_value(json_object_get(one, "name")), name) == 0)
            return one;
    fail_msg("there is no \"%s\"", name);
    return NULL;
}

static void test_platforms_lists_all_and_no_secret(void **state)
{
    struct world *w = *state;
    struct outcome o =
        world_wait(w, world_spawn(w, "settle-gateway", "platforms", "--json", "--config", settings, NULL));
    const json_t *feed, *source;
    char pattern[512];
    glob_t found;

    assert_status(&o, 0);
    snprintf(pattern, sizeof(pattern), "%s/shared/platforms/*.yaml", getenv("SETTLE_TOP"));
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    assert_int_equal(json_array_size(o.json), found.gl_pathc + 1); /* and our own */
    globfree(&found);

    feed = named(o.json, "feed");
    assert_string_equal(json_string_value(json_object_get(feed, "title")), "A feed of the tests");
    assert_non_null(strstr(json_string_value(json_object_get(feed, "from")), "/near/feed.yaml"));
    assert_string_equal(json_string_value(json_object_get(named(o.json, "tiktok"), "from")), "built-in");
    assert_int_equal(json_array_size(json_object_get(feed, "handshakes")), 2);
    source = named(json_object_get(feed, "sources"), "default");
    assert_int_equal(json_integer_value(json_object_get(source, "secrets")), 2);
    assert_int_equal(json_array_size(json_object_get(source, "key_ids")), 2);
    assert_string_equal(json_string_value(json_array_get(json_object_get(source, "topics"), 1)), "two");
    assert_true(json_is_false(json_object_get(source, "verify_token")));
    assert_null(strstr(o.out, "the-new-secret"));

    o = world_wait(w, world_spawn(w, "settle-gateway", "platforms", "--config", settings, NULL));
    assert_status(&o, 0);
    assert_says(&o, "\nfeed ");
    assert_says(&o, "    source default: 2 secrets, key id ");
    assert_says(&o, "tiktok-signature");
    assert_null(strstr(o.out, "the-new-secret"));
}

static struct outcome verify(struct world *w, const char *now, const char *file)
{
    return now ? world_wait(w, world_spawn(w, "settle-gateway", "verify", "--now", now, file, NULL))
               : world_wait(w, world_spawn(w, "settle-gateway", "verify", file, NULL));
}

static void test_verify_says_what_comes_of_a_good_request(void **state)
{
    struct world *w = *state;
    struct outcome o = verify(w, FIXTURE_TIME, fixture("tiktok/plain_complete.http"));
    const json_t *event;

    assert_status(&o, 0);
    assert_says(&o, "tiktok-signature: there");
    assert_says(&o, "0 s old");
    assert_says(&o, "post tt_1, status published, success");
    o = world_wait(w, world_spawn(w, "settle-gateway", "verify", "--platform", "tiktok", "--json", "--now",
                                  "2026-01-15T10:45:00Z", fixture("tiktok/plain_complete.http"), NULL));
    assert_status(&o, 0);
    assert_true(json_is_true(json_object_get(o.json, "accepted")));
    event = json_array_get(json_object_get(o.json, "events"), 0);
    assert_string_equal(json_string_value(json_object_get(event, "means")), "success");
    assert_non_null(json_object_get(event, "post_id"));
}

static void test_verify_says_why_a_request_is_refused(void **state)
{
    struct world *w = *state;
    const char *request = fixture("tiktok/plain_complete.http");
    struct outcome o = verify(w, NULL, request);

    assert_status(&o, 1);
    assert_says(&o, "too_old");
    assert_says(&o, "--now " FIXTURE_TIME);

    setenv("SETTLE_SECRET_TIKTOK", "a-wrong-secret", 1);
    o = verify(w, FIXTURE_TIME, request);
    assert_status(&o, 1);
    assert_says(&o, "no_match");
    assert_null(strstr(o.out, "wrong-secret"));

    setenv("SETTLE_SECRET_TIKTOK_ACME", FIXTURE_SECRET, 1);
    o = verify(w, FIXTURE_TIME, request);
    assert_status(&o, 1);
    assert_says(&o, "of source acme fits");
    o = world_wait(w, world_spawn(w, "settle-gateway", "verify", "--source", "acme", "--now", FIXTURE_TIME,
                                  request, NULL));
    assert_status(&o, 0);

    setenv("SETTLE_SECRET_TIKTOK", FIXTURE_SECRET " expires=2026-01-01T00:00:00Z", 1);
    unsetenv("SETTLE_SECRET_TIKTOK_ACME");
    o = verify(w, FIXTURE_TIME, request);
    assert_status(&o, 1);
    assert_says(&o, "not in force at that time");
    assert_says(&o, "fits, but was not in force");
}

static void test_verify_finds_what_happened_to_the_body(void **state)
{
    struct world *w = *state;
    const char *const *signed_lines =
        world_sign(w, "instagram", NULL, SPAN("{\n\"external_post_id\": \"p\"}"));
    char text[8192];
    struct outcome o;

    snprintf(text, sizeof(text), "%s\n", read_fixture("tiktok/plain_complete.http"));
    o = verify(w, FIXTURE_TIME, write_file(w, "newline.http", text));
    assert_status(&o, 1);
    assert_says(&o, "Content-Length says");
    assert_says(&o, "without the newline at its end the body fits");

    snprintf(text, sizeof(text),
             "POST /publishing/webhooks/instagram HTTP/1.1\n%s\n\n{\r\n\"external_post_id\": \"p\"}",
             signed_lines[1]);
    o = verify(w, NULL, write_file(w, "crlf.http", text));
    assert_status(&o, 1);
    assert_says(&o, "with LF in place of CRLF the body fits");

    o = verify(w, NULL,
               write_file(w, "legacy.http",
                          "POST /publishing/webhooks/instagram HTTP/1.1\n"
                          "X-Hub-Signature: sha1=0123\n\n{}"));
    assert_status(&o, 1);
    assert_says(&o, "header_missing");
    assert_says(&o, "x-hub-signature is there too");
    assert_null(strstr(o.out, "sha1=0123"));
}

static void test_verify_finds_what_happened_to_the_signature(void **state)
{
    struct world *w = *state;
    const char *const *signed_lines = world_sign(w, "instagram", NULL, SPAN("{}"));
    char text[1024], *hex;
    struct outcome o;

    snprintf(text, sizeof(text), "POST /publishing/webhooks/instagram HTTP/1.1\n%s\n\n{}", signed_lines[1]);
    hex = strstr(text, "sha256=") + strlen("sha256=");
    for (char *c = hex; *c != '\n'; c++)
        *c = (char)toupper(*c);
    o = verify(w, NULL, write_file(w, "capitals.http", text));
    assert_status(&o, 1);
    assert_says(&o, "malformed_signature");
    assert_says(&o, "in lower case the signature fits");
    *hex = *hex == '0' ? '1' : '0';
    o = verify(w, NULL, write_file(w, "capitals.http", text));
    assert_status(&o, 1);
    assert_says(&o, "hex counts in lower case alone, and there are capitals\n");
}

/* base64 of what stands in the comment, and the hint that it wants. */
static const struct {
    const char *header, *hint;
} credentials[] = {
    {"Bearer tap-password",                "the header must be \"Basic \" and then base64 of \"admin:PASSWORD\""},
    {"Basic not.base64",                   "stands no base64"                                                   },
    {"Basic dGFwLXBhc3N3b3Jk",             "there is no colon in it" /* tap-password */                         },
    {"Basic cm9vdDp0YXAtcGFzc3dvcmQ=",
     "the user that it names is another than \"admin\"" /* root:tap-password */                                 },
    {"Basic YWRtaW46",                     "its password is empty" /* admin: */                                 },
    {"Basic YWRtaW46dGFwLXBhc3N3b3JkCg==", "its password ends in a newline" /* admin:tap-password\n */          },
    {"Basic YWRtaW46dGFwLXBhc3N3b3Jk",
     "its password is none of the secrets in force" /* admin:tap-password */                                    },
};

/* No body is signed there, so none is looked at; and what was sent is not shown. */
static void test_verify_finds_what_is_wrong_with_a_credential(void **state)
{
    struct world *w = *state;
    char text[256];
    struct outcome o;

    setenv("SETTLE_SECRET_BLUESKY_TAP", "another-password", 1);
    for (size_t i = 0; i < countof(credentials); i++) {
        snprintf(text, sizeof(text),
                 "POST /publishing/webhooks/bluesky-tap HTTP/1.1\nAuthorization: %s\n\n{}\n",
                 credentials[i].header);
        o = verify(w, NULL, write_file(w, "credential.http", text));
        assert_status(&o, 1);
        assert_says(&o, credentials[i].hint);
        assert_null(strstr(o.out, "tap-password"));
        assert_null(strstr(o.out, strchr(credentials[i].header, ' ') + 1));
        assert_null(strstr(o.out, "a body that was changed"));
    }
    setenv("SETTLE_SECRET_BLUESKY_TAP", "tap-password", 1);
    o = verify(w, NULL, write_file(w, "credential.http", text));
    unsetenv("SETTLE_SECRET_BLUESKY_TAP");
    assert_status(&o, 0);
}

/* Nothing it prints would help to forge: the right signature of what it looked at is in none of it. */
static void test_verify_shows_no_signature(void **state)
{
    struct world *w = *state;
    const char *const *signed_lines = world_sign(w, "instagram", NULL, SPAN("{}"));
    const char *hex = strstr(signed_lines[1], "sha256=") + strlen("sha256=");
    char text[1024];
    struct outcome o;

    snprintf(text, sizeof(text), "POST /publishing/webhooks/instagram HTTP/1.1\n%s\n\n{}", signed_lines[1]);
    o = verify(w, NULL, write_file(w, "good.http", text));
    assert_status(&o, 0);
    assert_null(strstr(o.out, hex));
    assert_null(strstr(o.err, hex));
    snprintf(text, sizeof(text),
             "POST /publishing/webhooks/instagram HTTP/1.1\nX-Hub-Signature-256: sha256=%064d\n\n{}", 1);
    o = verify(w, NULL, write_file(w, "bad.http", text));
    assert_status(&o, 1);
    assert_null(strstr(o.out, hex));
    assert_null(strstr(o.err, hex));
}

static void test_verify_knows_its_exit_codes(void **state)
{
    struct world *w = *state;
    const char *hello = "{\"type\":\"hello\",\"challenge\":\"c\"}";
    char text[1024];
    struct outcome o;

    o = world_wait(w, world_spawn(w, "settle-gateway", "verify", NULL));
    assert_status(&o, 64);
    o = verify(w, NULL, write_file(w, "elsewhere.http", "POST /elsewhere HTTP/1.1\n\n{}"));
    assert_status(&o, 64); /* which platform? */
    o = verify(w, NULL, write_file(w, "unknown.http", "POST /publishing/webhooks/nobody HTTP/1.1\n\n{}"));
    assert_status(&o, 64);
    o = verify(w, "yesterday", fixture("tiktok/plain_complete.http"));
    assert_status(&o, 64);
    o = verify(w, NULL, write_file(w, "torn.http", "{}"));
    assert_status(&o, 65);
    o = verify(w, NULL, "/no/such/file");
    assert_status(&o, 65);
    o = world_wait(w, world_spawn(w, "settle-gateway", "verify", "--config", "/no/such/file", "x", NULL));
    assert_status(&o, 78);
    snprintf(text, sizeof(text), "settle-gateway verify --now %s - <%s", FIXTURE_TIME,
             fixture("tiktok/plain_complete.http"));
    o = world_wait(w, world_spawn(w, "sh", "-c", text, NULL));
    assert_status(&o, 0);

    setenv("SETTLE_SECRET_FEED", "the-new-secret", 1); /* for world_sign */
    snprintf(text, sizeof(text), "POST /publishing/webhooks/feed HTTP/1.1\n%s\n\n%s",
             world_sign(w, "feed", NULL, span_of(hello))[1], hello);
    unsetenv("SETTLE_SECRET_FEED");
    o = world_wait(w, world_spawn(w, "settle-gateway", "verify", "--config", settings,
                                  write_file(w, "hello.http", text), NULL));
    assert_status(&o, 0);
    assert_says(&o, "handshake  answered with 200");
    o = world_wait(w, world_spawn(w, "settle-gateway", "verify", "--config", settings,
                                  write_file(w, "get.http",
                                             "GET /publishing/webhooks/feed?hub.mode=subscribe"
                                             "&hub.topic=x&hub.challenge=c HTTP/1.1\n\n"),
                                  NULL));
    assert_status(&o, 1);
    assert_says(&o, "answered with 404");
}

static struct outcome verify_refused(struct world *w, const char *id, const char *option, const char *value)
{
    return world_wait(w, world_spawn(w, "settle-gateway", "verify", "--refused", id, option, value, NULL));
}

static void test_verify_reads_what_was_refused(void **state)
{
    static const char nobody[] = "00000000-0000-7000-8000-000000000000";
    struct world *w = *state;
    const char *head = strstr(read_fixture("tiktok/plain_complete.http"), "TikTok-Signature: "), *id;
    char url[192];
    struct outcome o;

    setenv("SETTLE_SECRET_TIKTOK", "mistyped", 1);
    snprintf(url, sizeof(url),
             "insert into settle.refused_requests (id, source, platform, received_at, cause, detail, "
             "headers, body)");
    id = world_sql(
        w,
        "%s values (gen_random_uuid(), 'default', 'tiktok', to_timestamp(" FIXTURE_TIME " + 7),"
        " 'no_match', 'as it was said', $h$tiktok-signature: %.*s\n$h$::text::bytea, $b$%s$b$::text::bytea)"
        " returning id",
        url, (int)(strchr(head, '\r') - head - 18), head + 18, strstr(head, "\r\n\r\n") + 4);
    o = verify_refused(w, id, NULL, NULL);
    assert_status(&o, 1);
    assert_says(&o, "as no_match: as it was said");
    assert_says(&o, "time       2026-01-15T10:45:00.000000Z, which is 7 s old");
    setenv("SETTLE_SECRET_TIKTOK", FIXTURE_SECRET, 1);
    o = verify_refused(w, id, NULL, NULL);
    assert_status(&o, 0);
    assert_says(&o, "post tt_1, status published, success");
    o = verify_refused(w, id, "--now", "2026-01-15T11:45:00Z");
    assert_status(&o, 1);
    assert_says(&o, "too_old");
    assert_int_equal(world_count(w, "select count(*) from settle.refused_requests"), 1); /* it takes none */

    o = verify_refused(w, nobody, NULL, NULL);
    assert_status(&o, 65);
    assert_non_null(strstr(o.err, "no refused request of that id is kept"));
    o = verify_refused(w, "17", NULL, NULL);
    assert_status(&o, 64);
    o = verify_refused(w, id, fixture("tiktok/plain_complete.http"), NULL); /* one of both */
    assert_status(&o, 64);
    setenv("SETTLE_DATABASE_URL", "postgresql://127.0.0.1:1/settle", 1);
    o = verify_refused(w, id, NULL, NULL);
    setenv("SETTLE_DATABASE_URL", w->database_url, 1);
    assert_status(&o, 69);
}

/* The gateway keeps the URL where it is signed. */
static void test_verify_knows_the_url_of_what_was_refused(void **state)
{
    static const char body[] = "MessageSid=SM1&MessageStatus=sent";
    struct world *w = *state;
    const char *const headers[] = {"x-twilio-signature: AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
                                   "content-type: application/x-www-form-urlencoded", NULL};
    char url[160];
    struct outcome o;

    setenv("SETTLE_SECRET_TWILIO", "twilio-secret", 1);
    setenv("SETTLE_INGEST_PUBLIC_URL", "https://here.example.com", 1);
    world_gateway(w, NULL);
    snprintf(url, sizeof(url), "%s/publishing/webhooks/twilio?a=b", w->ingest_url);
    assert_int_equal(world_http(w, "POST", url, headers, span_of(body)).status, 401);
    world_until(20, world_count(w, "select count(*) from settle.refused_requests") == 1);
    setenv("SETTLE_INGEST_PUBLIC_URL", "https://elsewhere.example.com", 1);
    o = verify_refused(w, world_sql(w, "select id from settle.refused_requests"), NULL, NULL);
    unsetenv("SETTLE_SECRET_TWILIO");
    unsetenv("SETTLE_INGEST_PUBLIC_URL");
    assert_status(&o, 1);
    assert_says(&o, "https://here.example.com/publishing/webhooks/twilio?a=b, which is signed too");
    assert_says(&o, "no_match");
}

static struct outcome requarantine(struct world *w, const char *further)
{
    return world_wait(w, world_spawn(w, "settle-gateway", "requarantine", "--json", "--source", "default",
                                     "--config", settings, further, NULL));
}

static long refused_rows(struct world *w)
{
    return world_count(w, "select count(*) from settle.refused_requests");
}

static void test_requarantine_takes_in_what_a_wrong_secret_refused(void **state)
{
    struct world *w = *state;
    struct outcome o;
    char body[128];

    setenv("SETTLE_SECRET_INSTAGRAM", "mistyped", 1);
    world_gateway(w, "--config", settings, NULL);
    setenv("SETTLE_SECRET_INSTAGRAM", "instagram-secret-of-the-tests", 1);
    for (int i = 0; i < 5; i++) {
        snprintf(body, sizeof(body), "{\"external_post_id\":\"p%d\",\"status\":\"published\"}", i);
        assert_int_equal(world_post(w, "instagram", NULL, body).status, 401);
    }
    setenv("SETTLE_SECRET_INSTAGRAM", "of-somebody-else", 1);
    assert_int_equal(world_post(w, "instagram", NULL, "{\"external_post_id\":\"p9\"}").status, 401);
    world_until(20, refused_rows(w) == 6);
    world_sql(w, "create table public.arrived as select id, received_at from settle.refused_requests");
    world_publication(w, "instagram", "p3", "processing", 30);

    o = requarantine(w, NULL); /* the secret is still another one */
    assert_status(&o, 0);
    assert_int_equal(number(&o, "taken_in"), 1);

    setenv("SETTLE_SECRET_INSTAGRAM", "instagram-secret-of-the-tests", 1);
    o = requarantine(w, "--dry-run");
    assert_status(&o, 0);
    assert_int_equal(number(&o, "taken_in"), 5);
    assert_int_equal(refused_rows(w), 5);
    o = requarantine(w, NULL);
    assert_status(&o, 0);
    assert_int_equal(number(&o, "read"), 5);
    assert_int_equal(number(&o, "taken_in"), 5);
    assert_int_equal(number(&o, "receipts_new"), 5);
    assert_int_equal(refused_rows(w), 0);
    assert_int_equal(
        world_count(w, "select count(*) from settle.webhook_receipts r join public.arrived a"
                       " on a.id = r.delivery_id and a.received_at = r.received_at"
                       " where r.headers is not null and r.body is not null and r.key_id is not null"),
        6);
    o = requarantine(w, NULL);
    assert_int_equal(number(&o, "read"), 0);

    o = world_reconcile(w, "--since-minutes", "10", NULL);
    assert_int_equal(number(&o, "marked_success"), 1);
    world_sql(w, "drop table public.arrived");
}

/* What the gateway stores now and what requarantine stores are the same receipts. */
static void test_requarantine_knows_what_was_sent_again(void **state)
{
    struct world *w = *state;
    const char *body = "{\"external_post_id\":\"p1\",\"status\":\"published\"}";
    struct outcome o;

    setenv("SETTLE_SECRET_INSTAGRAM", "mistyped", 1);
    world_gateway(w, "--config", settings, NULL);
    setenv("SETTLE_SECRET_INSTAGRAM", "instagram-secret-of-the-tests", 1);
    assert_int_equal(world_post(w, "instagram", NULL, body).status, 401);
    assert_int_equal(world_post(w, "instagram", NULL, "{\"external_post_id\":\"p2\"}").status, 401);
    world_until(20, refused_rows(w) == 2);
    assert_int_equal(world_gateway_stop(w), 0);
    world_gateway(w, "--config", settings, NULL);
    world_deliver(w, "instagram", NULL, body);

    o = requarantine(w, NULL);
    assert_status(&o, 0);
    assert_int_equal(number(&o, "taken_in"), 2);
    assert_int_equal(number(&o, "receipts_new"), 1);
    assert_int_equal(number(&o, "receipts_known"), 1);
    assert_int_equal(world_count(w, "select count(*) from settle.webhook_receipts"), 2);
}

/* A kept request: its headers and body as hex, its time in seconds. */
static void keep(struct world *w, const char *platform, const char *time, const char *headers,
                 const char *body)
{
    world_sql(
        w,
        "insert into settle.refused_requests (id, source, platform, received_at, cause, headers, body)"
        " values (gen_random_uuid(), 'default', '%s', to_timestamp(%s), 'no_match', $h$%s$h$::text::bytea,"
        "  $b$%s$b$::text::bytea)",
        platform, time, headers, body);
}

static void test_requarantine_judges_by_the_time_of_arrival(void **state)
{
    struct world *w = *state;
    const char *head = strstr(read_fixture("tiktok/plain_complete.http"), "TikTok-Signature: "), *end;
    char headers[256];
    struct outcome o;

    assert_non_null(head);
    end = strchr(head, '\r');
    snprintf(headers, sizeof(headers), "tiktok-signature%.*s\n", (int)(end - head - 16), head + 16);
    keep(w, "tiktok", FIXTURE_TIME, headers, strstr(head, "\r\n\r\n") + 4);
    keep(w, "tiktok", FIXTURE_TIME " + 301", headers, strstr(head, "\r\n\r\n") + 4);
    keep(w, "tiktok", FIXTURE_TIME, "content-type: x\n", "{}");
    keep(w, "nobody", FIXTURE_TIME, headers, "{}");
    o = requarantine(w, NULL);
    assert_status(&o, 0);
    assert_int_equal(number(&o, "read"), 4);
    assert_int_equal(number(&o, "taken_in"), 1);
    o.json = json_object_get(o.json, "stay");
    assert_int_equal(number(&o, "too_old"), 1);
    assert_int_equal(number(&o, "header_missing"), 1);
    assert_int_equal(number(&o, "unknown_platform"), 1);
    assert_string_equal(
        world_sql(w, "select extract(epoch from received_at)::bigint, platform from settle.webhook_receipts"),
        FIXTURE_TIME "|tiktok");
}

/* Several events, a handshake, and one that Postgres does not take: none costs the others anything. */
static void test_requarantine_keeps_odd_ones_apart(void **state)
{
    static const char *const bodies[] = {
        "{\"items\":[{\"id\":\"a\",\"status\":\"published\"},{\"id\":\"b\",\"status\":\"failed\"}]}",
        "{\"type\":\"hello\",\"challenge\":\"c\"}",
        "{\"items\":[{\"id\":\"poison\",\"status\":\"published\"}]}",
    };
    struct world *w = *state;
    struct outcome o;

    setenv("SETTLE_SECRET_FEED", "the-old-secret", 1); /* for world_sign */
    for (size_t i = 0; i < countof(bodies); i++) {
        char headers[256];
        snprintf(headers, sizeof(headers), ":url: https://x.example/y\n%s\n",
                 world_sign(w, "feed", NULL, span_of(bodies[i]))[1]);
        keep(w, "feed", FIXTURE_TIME, headers, bodies[i]);
    }
    unsetenv("SETTLE_SECRET_FEED");
    world_sql(
        w,
        "alter table settle.webhook_receipts add constraint no_poison check (external_post_id <> 'poison')");
    o = requarantine(w, NULL);
    world_sql(w, "alter table settle.webhook_receipts drop constraint no_poison");
    assert_status(&o, 0);
    assert_int_equal(number(&o, "taken_in"), 3);
    assert_int_equal(number(&o, "handshakes"), 1);
    assert_int_equal(number(&o, "receipts_new"), 3);
    assert_int_equal(refused_rows(w), 0);
    assert_string_equal(
        world_sql(w, "select coalesce(external_post_id, '-'), decisive, body is null, parse_error is null"
                     " from settle.webhook_receipts order by external_post_id"),
        "a|1|t|t\nb|-1|t|t\n-|0|f|f");
    assert_int_equal(
        world_count(w, "select count(*) from settle.webhook_deliveries d"
                       " where (select count(*) from settle.webhook_receipts where delivery_id = d.id) = 2"),
        1);
}

static void test_requarantine_says_how_to_learn_why_some_stay(void **state)
{
    struct world *w = *state;
    struct outcome o;
    char want[128];

    keep(w, "tiktok", FIXTURE_TIME, "content-type: x\n", "{}");
    o = world_wait(w, world_spawn(w, "settle-gateway", "requarantine", "--source", "default", NULL));
    assert_status(&o, 0);
    snprintf(want, sizeof(want), "1 stay: header_missing, one is %s\n",
             world_sql(w, "select id from settle.refused_requests"));
    assert_says(&o, want);
    assert_says(&o, "settle-gateway verify --refused ID says why");
    o = requarantine(w, NULL);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(o.json, "stay_examples"), "header_missing")),
        world_sql(w, "select id from settle.refused_requests"));
    world_sql(w, "delete from settle.refused_requests");
    o = world_wait(w, world_spawn(w, "settle-gateway", "requarantine", "--source", "default", NULL));
    assert_null(strstr(o.out, "--refused"));
}

static void test_requarantine_wants_a_source(void **state)
{
    static const struct {
        const char *option, *value, *says;
    } wrong[] = {
        {NULL,         NULL,        "no platform has a source \"nobody\" with a secret"         },
        {"--platform", "tiktok",    "platform \"tiktok\" has no source \"nobody\" with a secret"},
        {"--platform", "no-such-1", "there is no platform \"no-such-1\""                        },
    };
    struct world *w = *state;
    struct outcome o = world_wait(w, world_spawn(w, "settle-gateway", "requarantine", NULL));

    assert_status(&o, 64);
    for (size_t i = 0; i < countof(wrong); i++) {
        o = world_wait(w, world_spawn(w, "settle-gateway", "requarantine", "--source", "nobody",
                                      wrong[i].option, wrong[i].value, NULL));
        assert_status(&o, 64);
        if (!strstr(o.err, wrong[i].says))
            fail_msg("\"%s\" is not in: %s", wrong[i].says, o.err);
    }
}

/* No error: it may be meant so. */
static void test_check_config_names_sources_without_a_secret_in_force(void **state)
{
    struct world *w = *state;
    struct outcome o = world_wait(w, world_spawn(w, "settle-gateway", "check-config", NULL));

    assert_status(&o, 0);
    assert_null(strstr(o.err, "warning"));
    setenv("SETTLE_SECRET_TIKTOK_ACME", "a expires=2020-01-01T00:00:00Z\nb not-before=2999-01-01T00:00:00Z",
           1);
    setenv("SETTLE_SECRET_INSTAGRAM", "a expires=2020-01-01T00:00:00Z", 1);
    o = world_wait(w, world_spawn(w, "settle-gateway", "check-config", NULL));
    assert_status(&o, 0);
    assert_non_null(
        strstr(o.err, "warning: source \"acme\" of tiktok: no secret in force until 2999-01-01T00:00:00"));
    assert_non_null(strstr(
        o.err, "warning: source \"default\" of instagram: no secret in force since 2020-01-01T00:00:00"));
    assert_null(strstr(o.err, "youtube"));
}

/* As the start does: what it would refuse is found before it. */
static void test_check_config_tries_the_spools_folder(void **state)
{
    struct world *w = *state;
    char folder[100];
    struct outcome o;

    setenv("SETTLE_SPOOL_FOLDER", "/nowhere/at/all", 1);
    o = world_wait(w, world_spawn(w, "settle-gateway", "check-config", NULL));
    assert_status(&o, 69);
    assert_non_null(strstr(o.err, "spool.folder \"/nowhere/at/all\": No such file"));
    assert_null(strstr(o.err, "is good"));
    setenv("SETTLE_INGEST_ENABLED", "false", 1); /* nothing is kept then */
    o = world_wait(w, world_spawn(w, "settle-gateway", "check-config", NULL));
    unsetenv("SETTLE_INGEST_ENABLED");
    assert_status(&o, 0);
    if (access("/dev/shm", W_OK) == 0) {
        setenv("SETTLE_SPOOL_FOLDER", "/dev/shm", 1);
        setenv("SETTLE_UNSAFE_OK", "false", 1);
        o = world_wait(w, world_spawn(w, "settle-gateway", "check-config", NULL));
        assert_status(&o, 78);
        assert_non_null(strstr(o.err, "would be lost with the machine. Put it on a disk"));
    }
    snprintf(folder, sizeof(folder), "%s/checked", w->dir);
    assert_int_equal(mkdir(folder, 0700), 0);
    setenv("SETTLE_SPOOL_FOLDER", folder, 1);
    setenv("SETTLE_UNSAFE_OK", "true", 1);
    o = world_wait(w, world_spawn(w, "settle-gateway", "check-config", NULL));
    unsetenv("SETTLE_SPOOL_FOLDER");
    unsetenv("SETTLE_UNSAFE_OK");
    assert_status(&o, 0);
    assert_int_equal(rmdir(folder), 0); /* nothing stays behind */
}

static struct process subscribe(struct world *w, const char *further)
{
    return world_spawn(w, "settle-gateway", "subscribe", "--json", "--platform", "feed", "--config", settings,
                       further, NULL);
}

static void assert_no_secret(const struct outcome *o)
{
    assert_null(strstr(o->out, "-secret"));
    assert_null(strstr(o->err, "-secret"));
}

static void test_subscribe_asks_and_the_hub_is_answered(void **state)
{
    struct world *w = *state;
    struct process p;
    struct outcome o;
    struct reply r;
    char url[512];

    world_gateway(w, "--config", settings, NULL);
    p = subscribe(w, NULL);
    assert_true(hub_answer("202 Accepted"));
    assert_non_null(strstr(hub.request, "POST /hub HTTP/1.1\r\n"));
    assert_non_null(strstr(hub.request, "Content-Type: application/x-www-form-urlencoded\r\n"));
    assert_field("hub.mode", "subscribe");
    assert_field("hub.topic", "https://feeds.example/one?x=1");
    assert_field("hub.callback", "https://hooks.example.com/publishing/webhooks/feed/default");
    assert_field("hub.secret", "the-new-secret");
    assert_field("hub.lease_seconds", "86400");
    assert_true(hub_answer("202 Accepted"));
    assert_field("hub.topic", "https://feeds.example/two?x=1");
    o = world_wait(w, p);
    assert_status(&o, 0);
    assert_int_equal(number(&o, "asked"), 2);
    assert_no_secret(&o);
    assert_string_equal(
        world_sql(w, "select platform, source, topic, lease_s, hub_status, error is null,"
                     "  accepted_at = requested_at from settle.websub_subscriptions order by topic"),
        "feed|default|one|86400|202|t|t\nfeed|default|two|86400|202|t|t");

    snprintf(
        url, sizeof(url),
        "%s/publishing/webhooks/feed/default?hub.mode=subscribe&hub.challenge=abc-123&hub.lease_seconds=86400"
        "&hub.topic=https%%3A%%2F%%2Ffeeds.example%%2Ftwo%%3Fx%%3D1",
        w->ingest_url);
    r = world_http(w, "GET", url, NULL, SPAN_NONE);
    assert_int_equal(r.status, 200);
    assert_string_equal(r.body, "abc-123");
}

static void test_subscribe_asks_again_only_for_what_is_due(void **state)
{
    struct world *w = *state;
    struct process p = subscribe(w, "--due");
    struct outcome o;

    assert_true(hub_answer("202 Accepted"));
    assert_true(hub_answer("503 Service Unavailable"));
    o = world_wait(w, p);
    assert_status(&o, 75);
    assert_int_equal(number(&o, "failed"), 1);
    assert_no_secret(&o);
    assert_string_equal(world_sql(w, "select topic, hub_status, accepted_at is null, error"
                                     " from settle.websub_subscriptions order by topic"),
                        "one|202|f|\ntwo|503|t|the hub answered 503");

    p = subscribe(w, "--due");
    assert_true(hub_answer("302 Found\r\nLocation: /elsewhere"));
    assert_field("hub.topic", "https://feeds.example/two?x=1");
    o = world_wait(w, p);
    assert_status(&o, 75);
    assert_true(hub_was_left_alone()); /* it was followed nowhere */
    p = subscribe(w, "--due");
    assert_true(hub_answer("204 No Content"));
    o = world_wait(w, p);
    assert_status(&o, 0);

    o = world_wait(w, subscribe(w, "--due"));
    assert_status(&o, 0);
    assert_int_equal(number(&o, "asked"), 0);
    world_sql(w, "update settle.websub_subscriptions set accepted_at = now() - interval '12 hours 1 second'"
                 " where topic = 'one'");
    o = world_wait(
        w, world_spawn(w, "settle-gateway", "subscribe", "--due", "--dry-run", "--config", settings, NULL));
    assert_status(&o, 0);
    assert_says(&o, "planned   feed default one\n");
    assert_says(&o, "not_due   feed default two\n");
    assert_true(hub_was_left_alone());
    p = subscribe(w, "--due");
    assert_true(hub_answer("202 Accepted"));
    assert_field("hub.topic", "https://feeds.example/one?x=1");
    o = world_wait(w, p);
    assert_status(&o, 0);
}

static void test_subscribe_without_a_hub_or_a_topic(void **state)
{
    struct world *w = *state;
    struct outcome o;

    close(hub.listener);
    o = world_wait(w, subscribe(w, NULL));
    hub_listen();
    assert_status(&o, 69);
    assert_int_equal(number(&o, "failed"), 2);
    assert_string_equal(
        world_sql(w,
                  "select count(*), count(hub_status), count(accepted_at) from settle.websub_subscriptions"),
        "2|0|0");
    o = world_wait(w, world_spawn(w, "settle-gateway", "subscribe", "--platform", "tiktok", NULL));
    assert_status(&o, 64);
    o = world_wait(
        w, world_spawn(w, "settle-gateway", "subscribe", "--topic", "three", "--config", settings, NULL));
    assert_status(&o, 64);
    o = world_wait(w, world_spawn(w, "settle-gateway", "subscribe", NULL));
    assert_status(&o, 0);
    assert_says(&o, "no topic");
}

/* A form that holds a secret: neither in the clear, nor again and again to who does not listen. */
static void test_subscribe_minds_whom_it_asks(void **state)
{
    struct world *w = *state;
    const char *far = make_settings(w, "far", "http://127.0.0.1.example.com/hub", "one"), *many;
    struct outcome o;
    char url[64];

    o = world_wait(w, world_spawn(w, "settle-gateway", "subscribe", "--json", "--config", far, NULL));
    assert_status(&o, 75);
    assert_says(&o, "neither https nor on loopback");

    snprintf(url, sizeof(url), "http://127.0.0.1:%u/hub", hub.port);
    many = make_settings(w, "many", url, "a, b, c, d, e");
    close(hub.listener);
    o = world_wait(w, world_spawn(w, "settle-gateway", "subscribe", "--json", "--config", many, NULL));
    hub_listen();
    assert_status(&o, 69);
    assert_int_equal(number(&o, "asked"), 3);
    assert_int_equal(number(&o, "failed"), 5);
    assert_int_equal(
        world_count(
            w, "select count(*) from settle.websub_subscriptions where topic in ('a', 'b', 'c', 'd', 'e')"),
        3);
}

static void test_unsubscribe_ends_what_the_settings_no_longer_name(void **state)
{
    struct world *w = *state;
    struct process p;
    struct outcome o;

    world_sql(w, "insert into settle.websub_subscriptions (platform, source, topic, requested_at, "
                 "accepted_at, lease_s)"
                 " values ('feed', 'default', 'gone', now(), now(), 86400)");
    o = world_wait(w, world_spawn(w, "settle-gateway", "subscribe", "--unsubscribe", "--platform", "feed",
                                  "--topic", "one", "--config", settings, NULL));
    assert_status(&o, 64);
    o = world_wait(w, subscribe(w, "--unsubscribe"));
    assert_status(&o, 64);
    p = world_spawn(w, "settle-gateway", "subscribe", "--unsubscribe", "--platform", "feed", "--topic",
                    "gone", "--config", settings, NULL);
    assert_true(hub_answer("202 Accepted"));
    assert_field("hub.mode", "unsubscribe");
    assert_field("hub.topic", "https://feeds.example/gone?x=1");
    o = world_wait(w, p);
    assert_status(&o, 0);
    assert_int_equal(world_count(w, "select count(*) from settle.websub_subscriptions"), 0);
}

static struct process maintain(struct world *w, const char *further)
{
    char gateway[512];

    snprintf(gateway, sizeof(gateway), "%s/gateway/settle-gateway", getenv("SETTLE_BUILD"));
    return world_spawn(w, "settle-reconciler", "maintain", "--json", "--gateway", gateway, "--config",
                       settings, further, NULL);
}

static void test_maintain_forgets_and_renews(void **state)
{
    struct world *w = *state;
    struct process p;
    struct outcome o;

    world_sql(
        w, "insert into settle.refused_requests (id, source, platform, received_at, cause, headers, body)"
           " select gen_random_uuid(), 'default', 'tiktok', now() - n * interval '1 hour', 'no_match', '', ''"
           " from generate_series(1, 48) n, generate_series(1, 60)");
    o = world_wait(w, maintain(w, "--dry-run"));
    assert_status(&o, 0);
    assert_int_equal(number(&o, "refused_forgotten"), 25 * 60);
    assert_int_equal(refused_rows(w), 48 * 60);
    assert_true(hub_was_left_alone());

    p = maintain(w, NULL);
    assert_true(hub_answer("202 Accepted"));
    assert_true(hub_answer("202 Accepted"));
    o = world_wait(w, p);
    assert_status(&o, 0);
    assert_int_equal(number(&o, "refused_forgotten"), 25 * 60);
    assert_int_equal(number(&o, "subscribe_exit_code"), 0);
    assert_no_secret(&o);
    assert_int_equal(
        world_count(
            w,
            "select count(*) from settle.refused_requests where received_at < now() - interval '24 hours'"),
        0);
    assert_int_equal(refused_rows(w), 23 * 60);

    o = world_wait(w, maintain(w, NULL));
    assert_status(&o, 0);
    assert_int_equal(number(&o, "refused_forgotten"), 0);
    assert_true(hub_was_left_alone());
}

/* Two megabytes hold twenty of theirs; what others have is left alone. */
static void test_maintain_trims_what_takes_too_much_room(void **state)
{
    struct world *w = *state;
    struct process p;
    struct outcome o;

    setenv("SETTLE_REFUSED_MEGABYTES_PER_SOURCE", "2", 1);
    world_sql(
        w, "insert into settle.refused_requests (id, source, platform, received_at, cause, headers, body)"
           " select gen_random_uuid(), 'default', platform, now() - n * interval '1 second', 'no_match', '',"
           "  repeat('b', 102400)::bytea"
           " from (values ('tiktok', 40), ('instagram', 20), ('youtube', 21)) as sender (platform, rows)"
           " cross join lateral generate_series(1, rows) as n");
    o = world_wait(w, maintain(w, "--dry-run"));
    assert_status(&o, 0);
    assert_int_equal(number(&o, "refused_trimmed"), 21);
    assert_int_equal(refused_rows(w), 81);
    p = maintain(w, NULL);
    assert_true(hub_answer("202 Accepted"));
    assert_true(hub_answer("202 Accepted"));
    o = world_wait(w, p);
    unsetenv("SETTLE_REFUSED_MEGABYTES_PER_SOURCE");
    assert_status(&o, 0);
    assert_int_equal(number(&o, "refused_trimmed"), 21);
    assert_int_equal(number(&o, "refused_forgotten"), 0);
    /* The newest are left: of instagram's, as old as the others', none was too many. */
    assert_string_equal(world_sql(w, "select platform, count(*), min(received_at) ="
                                     " (select min(received_at) from settle.refused_requests"
                                     "   where platform = 'instagram')"
                                     " from settle.refused_requests group by platform order by platform"),
                        "instagram|20|t\ntiktok|20|t\nyoutube|20|t");
}

/* What it says of a dry run, and of a Postgres that is away, is no more than it knows. */
static void test_maintain_says_only_what_it_knows(void **state)
{
    struct world *w = *state;
    char gateway[512];
    struct outcome o;

    snprintf(gateway, sizeof(gateway), "%s/gateway/settle-gateway", getenv("SETTLE_BUILD"));
    o = world_wait(w, world_spawn(w, "settle-reconciler", "maintain", "--dry-run", "--gateway", gateway,
                                  "--config", settings, NULL));
    assert_status(&o, 0);
    assert_says(&o, "0 would be forgotten");
    assert_says(&o, "none was renewed; above stands which would be");
    assert_non_null(strstr(o.err, "planned   feed default one"));
    assert_null(strstr(o.out, "up to date"));
    setenv("SETTLE_DATABASE_URL", "postgresql://127.0.0.1:1/settle", 1);
    o = world_wait(w, world_spawn(w, "settle-reconciler", "maintain", NULL));
    setenv("SETTLE_DATABASE_URL", w->database_url, 1);
    assert_status(&o, 69);
    assert_says(&o, "Postgres failed");
    assert_null(strstr(o.out, "forgotten"));
}

static void test_maintain_tells_what_failed(void **state)
{
    struct world *w = *state;
    struct process p = maintain(w, NULL);
    struct outcome o;

    assert_true(hub_answer("202 Accepted"));
    assert_true(hub_answer("500 Internal Server Error"));
    o = world_wait(w, p);
    assert_status(&o, 75);
    assert_int_equal(number(&o, "subscribe_exit_code"), 75);

    o = world_wait(w, world_spawn(w, "settle-reconciler", "maintain", "--gateway", "/no/such/program",
                                  "--config", settings, NULL));
    assert_status(&o, 69);
    assert_non_null(strstr(o.err, "\"path\":\"/no/such/program\"")); /* "program" is the line's own */
    o = world_wait(
        w, world_spawn(w, "settle-reconciler", "maintain", NULL)); /* no topics: no gateway is needed */
    assert_status(&o, 0);
    assert_says(&o, "no source has topics");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_every_command_explains_itself, reset),
        cmocka_unit_test_setup(test_platforms_lists_all_and_no_secret, reset),
        cmocka_unit_test_setup(test_verify_says_what_comes_of_a_good_request, reset),
        cmocka_unit_test_setup(test_verify_says_why_a_request_is_refused, reset),
        cmocka_unit_test_setup(test_verify_finds_what_happened_to_the_body, reset),
        cmocka_unit_test_setup(test_verify_finds_what_happened_to_the_signature, reset),
        cmocka_unit_test_setup(test_verify_finds_what_is_wrong_with_a_credential, reset),
        cmocka_unit_test_setup(test_verify_shows_no_signature, reset),
        cmocka_unit_test_setup(test_verify_knows_its_exit_codes, reset),
        cmocka_unit_test_setup(test_verify_reads_what_was_refused, reset),
        cmocka_unit_test_setup(test_verify_knows_the_url_of_what_was_refused, reset),
        cmocka_unit_test_setup(test_requarantine_takes_in_what_a_wrong_secret_refused, reset),
        cmocka_unit_test_setup(test_requarantine_knows_what_was_sent_again, reset),
        cmocka_unit_test_setup(test_requarantine_judges_by_the_time_of_arrival, reset),
        cmocka_unit_test_setup(test_requarantine_keeps_odd_ones_apart, reset),
        cmocka_unit_test_setup(test_requarantine_says_how_to_learn_why_some_stay, reset),
        cmocka_unit_test_setup(test_requarantine_wants_a_source, reset),
        cmocka_unit_test_setup(test_check_config_names_sources_without_a_secret_in_force, reset),
        cmocka_unit_test_setup(test_check_config_tries_the_spools_folder, reset),
        cmocka_unit_test_setup(test_subscribe_asks_and_the_hub_is_answered, reset),
        cmocka_unit_test_setup(test_subscribe_asks_again_only_for_what_is_due, reset),
        cmocka_unit_test_setup(test_subscribe_without_a_hub_or_a_topic, reset),
        cmocka_unit_test_setup(test_subscribe_minds_whom_it_asks, reset),
        cmocka_unit_test_setup(test_unsubscribe_ends_what_the_settings_no_longer_name, reset),
        cmocka_unit_test_setup(test_maintain_forgets_and_renews, reset),
        cmocka_unit_test_setup(test_maintain_trims_what_takes_too_much_room, reset),
        cmocka_unit_test_setup(test_maintain_says_only_what_it_knows, reset),
        cmocka_unit_test_setup(test_maintain_tells_what_failed, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
