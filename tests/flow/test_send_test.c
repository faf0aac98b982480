/*
 * send-test, for every platform there is: what it signs a gateway with the same settings takes, and where it cannot sign
 * it says so.
 */
#include "support/world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { STORED_S = 60, TRY_AGAIN = 75 /* EX_TEMPFAIL */ };

/* RFC 8032, 7.1, test 1. */
#define PUBLIC_HEX     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
#define PRIVATE_HEX    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
#define PUBLIC_BASE64  "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
#define PRIVATE_BASE64 "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="

static const char plain_secrets[] = "the-secret-that-was expires=2020-01-01T00:00:00Z\n"
                                    "the-secret-in-force\n"
                                    "the-secret-to-come not-before=2999-01-01T00:00:00Z\n";

/* What the others do not take for a secret. */
static const struct {
    const char *platform, *secrets;
} special[] = {
    {"discord",           PUBLIC_HEX "\n"                                                   },
    {"standard-webhooks", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"                        },
    {"svix",              "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\nwhpk_" PUBLIC_BASE64 "\n"}, /* newer, and public */
};

static json_t *platforms; /* names */
static char settings[128];

static const char *write_file(struct world *w, const char *name, const char *text)
{
    static char paths[64][128];
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

static const char *secrets_of(const char *platform)
{
    for (size_t i = 0; i < countof(special); i++)
        if (strcmp(special[i].platform, platform) == 0)
            return special[i].secrets;
    return plain_secrets;
}

/* A source of every platform, each with its secrets in a file. */
static int up(void **state)
{
    struct world *w = *state = world_open();
    struct outcome o;
    char text[8192], name[64];
    size_t i, len;
    json_t *one;

    unsetenv("SETTLE_SECRET_TIKTOK");
    unsetenv("SETTLE_SECRET_INSTAGRAM");
    unsetenv("SETTLE_SECRET_YOUTUBE");
    o = world_wait(w, world_spawn(w, "settle-gateway", "platforms", "--json", NULL));
    assert_int_equal(o.status, 0);
    platforms = json_array();
    len = (size_t)snprintf(text, sizeof(text),
                           "ingest: {public_url: \"https://hooks.example.com\"}\nsources:\n");
    json_array_foreach(o.json, i, one) {
        const char *platform = json_string_value(json_object_get(one, "name"));
        if (!json_object_get(one, "signature"))
            continue; /* it sends none: it is asked */
        json_array_append_new(platforms, json_string(platform));
        snprintf(name, sizeof(name), "%s.secret", platform);
        len += (size_t)snprintf(text + len, sizeof(text) - len, "  - {platform: %s, secret_file: \"%s\"}\n",
                                platform, write_file(w, name, secrets_of(platform)));
    }
    snprintf(settings, sizeof(settings), "%s", write_file(w, "all.yaml", text));
    return world_gateway(w, "--config", settings, NULL);
}

static int reset(void **state)
{
    world_reset(*state);
    return 0;
}

static int down(void **state)
{
    json_decref(platforms);
    world_close(*state);
    return 0;
}

static struct outcome send_test(struct world *w, const char *platform, const char *option, const char *value)
{
    return world_wait(w, world_spawn(w, "settle-gateway", "send-test", "--config", settings, "--url",
                                     w->ingest_url, "--platform", platform, option, value, NULL));
}

/* Again, as a person would, while the gateway says that it was not stored in time; ret_tries may be NULL. Some of those that it
 * said so of may be stored all the same, each with an id of its own. */
static struct outcome send_until_stored(struct world *w, const char *platform, const char *option,
                                        const char *value, unsigned *ret_tries)
{
    struct outcome o;
    unsigned tries = 0;

    world_until(STORED_S, (tries++, o = send_test(w, platform, option, value)).status != TRY_AGAIN);
    if (ret_tries)
        *ret_tries = tries;
    return o;
}

static void assert_ends(const struct outcome *o, const char *what, int status, const char *says)
{
    if (o->status != status || !strstr(o->err, says))
        fail_msg("%s: exit status %d in place of %d, or not \"%s\":\n%s\n%s", what, o->status, status, says,
                 o->out, o->err);
}

static void test_what_it_signs_is_taken_of_every_platform(void **state)
{
    struct world *w = *state;
    const char *private_key = write_file(w, "discord.key", PRIVATE_HEX "\n");
    struct outcome o;
    size_t i;
    json_t *one;

    assert_true(json_array_size(platforms) >= 23);
    json_array_foreach(platforms, i, one) {
        const char *platform = json_string_value(one);
        bool is_public = strcmp(platform, "discord") == 0;
        unsigned tries;
        o = send_until_stored(w, platform, is_public ? "--private-key-file" : NULL, private_key, &tries);
        assert_ends(&o, platform, 0, "");
        /* Some acknowledge and drop what is not signed well. */
        assert_in_range(
            world_count(w, "select count(*) from settle.webhook_receipts where platform = '%s'", platform), 1,
            tries);
    }
    o = send_until_stored(w, "svix", "--private-key-file", write_file(w, "svix.key", "whpk_" PRIVATE_BASE64),
                          NULL);
    assert_ends(&o, "svix, by a private key", 0, "");
    assert_string_equal(world_sql(w, "select distinct external_post_id like 'test-%%', event_status, decisive"
                                     " from settle.webhook_receipts where platform = 'twilio'"),
                        "t|delivered|1");
}

static void test_it_says_why_it_cannot_sign(void **state)
{
    struct world *w = *state;
    struct outcome o = send_test(w, "discord", NULL, NULL);

    assert_ends(&o, "a public key", 64, "a public key, which cannot sign: give the sender's private one");
    o = send_test(w, "discord", "--private-key-file", "/no/such/file");
    assert_ends(&o, "no file", 64, "/no/such/file");
    o = send_test(w, "discord", "--private-key-file", write_file(w, "short.key", "abcd\n"));
    assert_ends(&o, "a short key", 65, "signing as discord does: ");
    o = send_test(w, "svix", "--private-key-file", write_file(w, "odd.key", "whsec_!\n"));
    assert_ends(&o, "no base64", 65, "not base64");
    o = send_test(w, "nobody", NULL, NULL);
    assert_ends(&o, "an unknown platform", 64, "there is no platform \"nobody\"");
    o = send_test(w, "tiktok", "--source", "nobody");
    assert_ends(&o, "an unknown source", 64, "has no source \"nobody\"");
    write_file(w, "mux.secret", "later not-before=2999-01-01T00:00:00Z\n");
    o = send_test(w, "mux", NULL, NULL);
    write_file(w, "mux.secret", plain_secrets);
    assert_ends(&o, "none in force", 64, "has no secret in force now");
    assert_int_equal(world_count(w, "select count(*) from settle.webhook_receipts"), 0);
}

static void test_it_ends_as_the_answer_says(void **state)
{
    struct world *w = *state;
    struct outcome o = send_until_stored(
        w, "twilio", write_file(w, "fields", "MessageSid=SM1&MessageStatus=sent"), NULL, NULL);

    assert_ends(&o, "a form of one's own", 0, "");
    assert_non_null(strstr(o.out, "HTTP/1.1 204"));
    o = send_test(w, "twilio", write_file(w, "json", "{}"), NULL);
    assert_ends(&o, "JSON whose digest is not in the URL", 65, "bodySHA256");
    o = send_test(w, "tiktok", "/no/such/body", NULL);
    assert_ends(&o, "no body", 65, "/no/such/body");
    o = send_test(w, "tiktok", "--url", "ftp://x");
    assert_ends(&o, "a URL of another kind", 64, "--url");
    o = send_test(w, "tiktok", "--url", "http://me:x@127.0.0.1:1");
    assert_ends(&o, "a URL with a password", 64, "--url");
    o = send_test(w, "tiktok", "--url", "http://127.0.0.1:port");
    assert_ends(&o, "a URL that is none", 64, "--url");
    o = send_test(w, "tiktok", "--url", "http://127.0.0.1:1");
    assert_ends(&o, "no gateway", 69, "no gateway answers");
    write_file(w, "tiktok.secret", "another\n"); /* the gateway goes on with the one it read */
    o = send_test(w, "tiktok", NULL, NULL);
    write_file(w, "tiktok.secret", plain_secrets);
    assert_ends(&o, "another secret", 65, "the gateway answered 401");
    world_kill(w, POSTGRES);
    o = send_test(w, "tiktok", NULL, NULL);
    world_servers(w);
    assert_ends(&o, "no Postgres", 75, "the gateway answered 503");
}

/* Ends TLS before the gateway, as a proxy does. Its certificate is in "proxy.pem", its port comes to "proxy.port". */
static const char proxy[] =
    "import os, socket, ssl, sys, threading\n"
    "context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
    "context.load_cert_chain('proxy.pem', 'proxy.key')\n"
    "def relay(a, b):\n"
    "    while data := a.recv(65536): b.sendall(data)\n"
    "def serve(plain):\n"
    "    try:\n"
    "        near = context.wrap_socket(plain, server_side=True)\n"
    "        far = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
    "        threading.Thread(target=relay, args=(far, near), daemon=True).start()\n"
    "        relay(near, far)\n"
    "    except OSError: pass\n"
    "listener = socket.create_server(('127.0.0.1', 0))\n"
    "with open('new.port', 'w') as to: to.write(str(listener.getsockname()[1]))\n"
    "os.rename('new.port', 'proxy.port')\n"
    "while True: threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()\n";

/* Returns its port. */
static unsigned start_proxy(struct world *w, struct process *ret)
{
    unsigned port = 0;
    char path[128];
    FILE *from = NULL;

    assert_int_equal(world_wait(w, world_spawn(w, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                                               "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                                               "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                                               "-out", "proxy.pem", "-keyout", "proxy.key", NULL))
                         .status,
                     0);
    *ret = world_spawn(w, "python3", "-c", proxy, strrchr(w->ingest_url, ':') + 1, NULL);
    snprintf(path, sizeof(path), "%s/proxy.port", w->dir);
    world_until(STORED_S, world_ended(*ret) || (from = fopen(path, "re")));
    assert_non_null(from);
    assert_int_equal(fscanf(from, "%u", &port), 1);
    fclose(from);
    return port;
}

static void test_it_goes_through_a_proxy_that_ends_tls(void **state)
{
    struct world *w = *state;
    struct process p;
    struct outcome o;
    char by_name[64], by_address[64], ca_file[128];
    unsigned port = start_proxy(w, &p);

    snprintf(by_name, sizeof(by_name), "https://localhost:%u/", port);
    snprintf(by_address, sizeof(by_address), "https://127.0.0.1:%u", port);
    snprintf(ca_file, sizeof(ca_file), "%s/proxy.pem", w->dir);
    o = send_test(w, "tiktok", "--url", by_name);
    assert_ends(&o, "a certificate that nobody vouches for", 69, "certificate");
    setenv("SETTLE_FETCH_CA_FILE", ca_file, 1);
    o = send_test(w, "tiktok", "--url", by_address);
    assert_ends(&o, "another's certificate", 69, "certificate");
    assert_int_equal(world_count(w, "select count(*) from settle.webhook_receipts"), 0);
    o = send_until_stored(w, "tiktok", "--url", by_name, NULL);
    unsetenv("SETTLE_FETCH_CA_FILE");
    kill(p.pid, SIGTERM);
    world_wait(w, p);
    assert_ends(&o, "through the proxy", 0, "");
    assert_non_null(strstr(o.out, "HTTP/1.1 200"));
    assert_true(world_count(w, "select count(*) from settle.webhook_receipts") >= 1);
}

static struct outcome send_as_configured(struct world *w, const char *listen)
{
    char *was = strdup(getenv("SETTLE_INGEST_LISTEN"));
    struct outcome o;

    assert_non_null(was);
    setenv("SETTLE_INGEST_LISTEN", listen, 1);
    o = world_wait(
        w, world_spawn(w, "settle-gateway", "send-test", "--config", settings, "--platform", "tiktok", NULL));
    setenv("SETTLE_INGEST_LISTEN", was, 1);
    free(was);
    return o;
}

static void test_it_goes_to_the_listener_as_configured(void **state)
{
    static const char gateway[] = "import os, socket\n"
                                  "listener = socket.socket(socket.AF_UNIX)\n"
                                  "listener.bind('new.sock')\n"
                                  "listener.listen()\n"
                                  "os.rename('new.sock', 'gateway.sock')\n"
                                  "near = listener.accept()[0]\n"
                                  "print(near.recv(65536).decode(), flush=True)\n"
                                  "near.sendall(b'HTTP/1.1 204 No Content\\r\\n\\r\\n')\n";
    struct world *w = *state;
    struct process p = world_spawn(w, "python3", "-c", gateway, NULL);
    struct outcome o, got;
    char listen[128];

    snprintf(listen, sizeof(listen), "unix:%s/gateway.sock", w->dir);
    world_until(STORED_S, world_ended(p) || access(listen + strlen("unix:"), F_OK) == 0);
    o = send_as_configured(w, listen);
    kill(p.pid, SIGTERM); /* nobody may have come */
    got = world_wait(w, p);
    assert_ends(&o, "a socket", 0, "");
    assert_ptr_equal(strstr(got.out, "POST /publishing/webhooks/tiktok/default HTTP/1.1\r\n"), got.out);
    o = send_as_configured(w, "[::1]:1");
    assert_ends(&o, "IPv6", 69, "no gateway answers at http://[::1]:1/publishing/webhooks/tiktok/default: ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_what_it_signs_is_taken_of_every_platform, reset),
        cmocka_unit_test_setup(test_it_says_why_it_cannot_sign, reset),
        cmocka_unit_test_setup(test_it_ends_as_the_answer_says, reset),
        cmocka_unit_test_setup(test_it_goes_through_a_proxy_that_ends_tls, reset),
        cmocka_unit_test_setup(test_it_goes_to_the_listener_as_configured, reset),
    };

    return cmocka_run_group_tests(tests, up, down);
}
