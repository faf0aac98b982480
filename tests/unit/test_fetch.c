#include "support/test.h"

#include "base/now.h"
#include "fetch/fetch.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <sys/stat.h>
#include <sys/wait.h>

/* The server of fetch_server.py, with a certificate for localhost. */
static struct {
    pid_t pid;
    int keep;
    char folder[64], certificate[128], key[128];
    unsigned http, https;
} server;

static struct network loopback[2];

/* What became of one request. */
struct seen {
    struct fetch *fetch;
    unsigned calls, lasts;
    enum fetch_error error, first_error;
    int status, first_status, retry_after_s;
    unsigned attempts;
    char body[8192];
    size_t body_len, place; /* how many were done before */
    bool held;              /* what may says */
    const char *then;       /* a path to ask for once this is done */
    struct seen *next;
};

static size_t ndone, stop_after;

static void run_program(const char *const *argv)
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 2);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static int start_server(void **state)
{
    int to[2], from[2];
    FILE *ports;

    (void)state;
    snprintf(server.folder, sizeof(server.folder), "/tmp/settle-fetch-XXXXXX");
    assert_non_null(mkdtemp(server.folder));
    snprintf(server.certificate, sizeof(server.certificate), "%s/certificate.pem", server.folder);
    snprintf(server.key, sizeof(server.key), "%s/key.pem", server.folder);
    run_program((const char *[]){"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                                 "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                                 "-addext", "subjectAltName=DNS:localhost", "-out", server.certificate,
                                 "-keyout", server.key, NULL});
    assert_int_equal(pipe2(to, O_CLOEXEC) | pipe2(from, O_CLOEXEC), 0);
    server.pid = fork();
    if (server.pid == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        execlp("python3", "python3", SOURCE_ROOT "/tests/unit/fetch_server.py", server.certificate,
               server.key, NULL);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    server.keep = to[1];
    ports = fdopen(from[0], "r");
    assert_int_equal(fscanf(ports, "%u %u", &server.http, &server.https), 2);
    fclose(ports);
    assert_true(network_parse(SPAN("127.0.0.0/8"), &loopback[0]) && network_parse(SPAN("::1"), &loopback[1]));
    return 0;
}

static int stop_server(void **state)
{
    (void)state;
    close(server.keep);
    waitpid(server.pid, NULL, 0);
    unlink(server.certificate);
    unlink(server.key);
    rmdir(server.folder);
    return 0;
}

static struct fetch_config usual(void)
{
    return (struct fetch_config){
        .at_once = 16,
        .at_once_per_lane = 16,
        .connect_ms = 5000,
        .whole_ms = 20000,
        .backoff_ms = 1,
        .answer_bytes = 65536,
        .allow_http = true,
        .allowed = loopback,
        .nallowed = countof(loopback),
        .ca_file = server.certificate,
    };
}

static bool may(void *ctx, unsigned attempt)
{
    struct seen *s = ctx;

    assert_int_equal(attempt, s->attempts + 1);
    return !s->held;
}

static void add(struct fetch *f, const char *lane, const char *url, struct seen *s);

static void tried(void *ctx, const struct fetch_answer *a)
{
    struct seen *s = ctx;

    if (s->calls++ == 0) {
        s->first_error = a->error;
        s->first_status = a->status;
    }
    assert_int_equal(s->lasts, 0); /* nothing after the last word */
    s->lasts += !a->again;
    assert_true(a->again || a->backoff_ms == 0);
    s->error = a->error;
    s->status = a->status;
    s->retry_after_s = a->retry_after_s;
    s->attempts = a->attempt;
    assert_true((a->error == FETCH_OK) == (a->body.at != NULL));
    assert_non_null(a->why);
    s->body_len = a->body.len < sizeof(s->body) ? a->body.len : sizeof(s->body) - 1;
    if (a->body.at)
        memcpy(s->body, a->body.at, s->body_len);
    s->body[s->body_len] = '\0';
    if (!a->again)
        s->place = ndone++;
    if (!a->again && s->then)
        add(s->fetch, "next", s->then, s->next);
}

static void add(struct fetch *f, const char *lane, const char *url, struct seen *s)
{
    struct err err = {0};
    struct fetch_request r = {
        .method = "GET", .lane = span_of(lane), .url = span_of(url), .may = may, .tried = tried, .ctx = s};

    s->fetch = f;
    if (fetch_add(f, &r, &err))
        fail_msg("%s", err.text);
}

static struct fetch *open_with(const struct fetch_config *c)
{
    struct err err = {0};
    struct fetch *f = fetch_open(c, &err);

    if (!f)
        fail_msg("%s", err.text);
    ndone = 0;
    return f;
}

static void run(struct fetch *f)
{
    struct err err = {0};

    if (fetch_run(f, now_boot_us() + 50 * SECOND_US, &err))
        fail_msg("%s", err.text);
}

static const char *at(const char *path)
{
    static char urls[64][256];
    static size_t n;
    char *url = urls[n++ % countof(urls)];

    snprintf(url, sizeof(urls[0]), "http://127.0.0.1:%u%s", server.http, path);
    return url;
}

/* One request, from open to close. */
static struct seen one(const struct fetch_config *c, const char *url)
{
    struct fetch *f = open_with(c);
    struct seen s = {0};

    add(f, "x", url, &s);
    run(f);
    fetch_close(f);
    assert_int_equal(s.lasts, 1);
    return s;
}

static struct seen get(const char *path)
{
    struct fetch_config c = usual();

    return one(&c, at(path));
}

/* What the server has been asked. */
static int asked(const char *path)
{
    char question[256];

    snprintf(question, sizeof(question), "/asked%s", path);
    return atoi(get(question).body);
}

static void answers(void **state)
{
    /* path, error, status, tries, Retry-After */
    static const struct {
        const char *path;
        enum fetch_error error;
        int status;
        unsigned attempts;
        int retry_after_s;
        const char *why;
    } cases[] = {
        {"/ok",               FETCH_OK,        200, 1, -1,    "a body comes whole"                             },
        {"/status/204",       FETCH_OK,        204, 1, -1,    "none is one of no bytes"                        },
        {"/status/404",       FETCH_OK,        404, 1, -1,    "the server's no is an answer"                   },
        {"/status/401",       FETCH_OK,        401, 1, -1,    "a token that does not hold stops at once"       },
        {"/status/403",       FETCH_OK,        403, 1, -1,    "the same"                                       },
        {"/status/400",       FETCH_OK,        400, 1, -1,    "the same request again fails again"             },
        {"/status/500",       FETCH_OK,        500, 3, -1,    "three tries"                                    },
        {"/status/503",       FETCH_OK,        503, 3, -1,    "the same"                                       },
        {"/status/408",       FETCH_OK,        408, 3, -1,    "the server's own time-out"                      },
        {"/early",            FETCH_OK,        503, 3, -1,    "an early head's Retry-After is not the answer's"},
        {"/flaky/1/a",        FETCH_OK,        200, 2, -1,    "the second made it"                             },
        {"/flaky/2/a",        FETCH_OK,        200, 3, -1,    "the third made it"                              },
        {"/flaky/3/a",        FETCH_OK,        500, 3, -1,    "there is no fourth"                             },
        {"/retry/429/0",      FETCH_OK,        429, 3, 0,     "rate limited: come at once"                     },
        {"/retry/429/3600",   FETCH_OK,        429, 1, 3600,  "beyond the cap: given back"                     },
        {"/retry/503/3600",   FETCH_OK,        503, 1, 3600,  "whatever the status"                            },
        {"/retry/429/999999", FETCH_OK,        429, 1, 86400, "at most a day is told"                          },
        {"/retry/429/soon",   FETCH_OK,        429, 3, -1,    "no such value"                                  },
        {"/retry/429/-1",     FETCH_OK,        429, 3, -1,    "nor this"                                       },
        {"/huge",             FETCH_TOO_LARGE, -1,  1, -1,    "larger than announced allowed: not read"        },
        {"/endless",          FETCH_TOO_LARGE, -1,  1, -1,    "nor when nothing is announced"                  },
        {"/endless_head",     FETCH_TOO_LARGE, -1,  1, -1,    "nor a head without end"                         },
        {"/garbage",          FETCH_GARBAGE,   0,   3, -1,    "not HTTP"                                       },
        {"/half",             FETCH_GARBAGE,   -1,  3, -1,    "less than announced is no answer"               },
        {"/half_chunk",       FETCH_GARBAGE,   -1,  3, -1,    "nor is a chunk that is cut"                     },
        {"/cut",              FETCH_LOST,      0,   3, -1,    "the connection broke"                           },
    };
    struct fetch_config c = usual();
    struct fetch *f = open_with(&c);
    struct seen *seen = calloc(countof(cases), sizeof(*seen));

    (void)state;
    for (size_t i = 0; i < countof(cases); i++)
        add(f, "x", at(cases[i].path), &seen[i]);
    run(f);
    fetch_close(f);
    for (size_t i = 0; i < countof(cases); i++) {
        const struct seen *s = &seen[i];
        print_message("%s: %s\n", cases[i].path, cases[i].why);
        assert_int_equal(s->lasts, 1);
        assert_string_equal(fetch_error_name(s->error), fetch_error_name(cases[i].error));
        assert_int_equal(s->attempts, cases[i].attempts);
        assert_int_equal(s->calls, cases[i].attempts);
        assert_int_equal(s->retry_after_s, cases[i].retry_after_s);
        if (cases[i].status >= 0)
            assert_int_equal(s->status, cases[i].status);
        if (cases[i].status >= 0 && cases[i].error == FETCH_OK)
            assert_int_equal(asked(cases[i].path), cases[i].attempts);
    }
    assert_string_equal(seen[0].body, "hello");
    assert_int_equal(seen[1].body_len, 0);
    free(seen);
}

static void retry_after_as_a_date(void **state)
{
    struct seen s = get("/retry/429/date+3600");

    (void)state;
    assert_int_equal(s.attempts, 1);
    assert_in_range(s.retry_after_s, 3500, 3600);
    s = get("/retry/429/Sun,%2006%20Nov%201994%2008:49:37%20GMT"); /* long past: now */
    assert_int_equal(s.retry_after_s, 0);
    assert_int_equal(s.attempts, 3);
}

/* A server that says when is asked no sooner. Not a measurement: the least that may pass is what the header says. */
static void waits_as_long_as_asked(void **state)
{
    int64_t began_us = now_boot_us();
    struct fetch_config c = usual();
    struct seen s;

    (void)state;
    s = one(&c, at("/retry/429/1"));
    assert_int_equal(s.attempts, 3);
    assert_true(now_boot_us() - began_us >= 2 * SECOND_US);
}

static void deadlines(void **state)
{
    static const char *const paths[] = {"/slow/", "/drip/"};
    struct fetch_config c = usual();

    (void)state;
    c.whole_ms = 300;
    for (size_t i = 0; i < countof(paths); i++) {
        struct seen s = one(&c, at(paths[i]));
        assert_string_equal(fetch_error_name(s.error), "timeout");
        assert_int_equal(s.attempts, 3);
    }
}

/* A request's own limit counts if it is the shorter one. */
static void own_deadline(void **state)
{
    struct fetch_config c = usual();
    struct fetch *f = open_with(&c);
    struct err err = {0};
    struct seen s = {0};
    struct fetch_request r = {
        .method = "GET", .url = span_of(at("/slow/own")), .whole_ms = 200, .tried = tried, .ctx = &s};

    (void)state;
    assert_int_equal(fetch_add(f, &r, &err), OK);
    run(f);
    fetch_close(f);
    assert_string_equal(fetch_error_name(s.error), "timeout");
}

enum { STANDING_MS = 700 };
static bool has_stood;

/* Once the server has the question it gets leave to answer, and we are busy with something else for longer than a try may take. */
static bool stands(void)
{
    if (!has_stood && asked("/gate/stand") == 1) {
        has_stood = true;
        get("/open/stand");
        usleep(STANDING_MS * 1000);
    }
    return false;
}

static void what_came_while_we_stood_still_is_in_time(void **state)
{
    struct fetch_config c = usual();
    struct seen s;

    (void)state;
    c.whole_ms = STANDING_MS / 2;
    c.stopping = stands;
    s = one(&c, at("/gate/stand"));
    assert_string_equal(fetch_error_name(s.first_error), "ok");
    assert_string_equal(s.body, "hello");
    assert_true(has_stood);
}

static void what_is_sent(void **state)
{
    struct fetch_config c = usual();
    struct fetch *f;
    struct err err = {0};
    struct seen s = {0}, t;
    struct fetch_request r = {
        .method = "POST",
        .url = span_of(at("/echo?a=b")),
        .headers = {SPAN("Authorization: Bearer abc"), SPAN("Content-Type: application/json")},
        .nheaders = 2,
        .body = SPAN("{\"id\":1}"),
        .tried = tried,
        .ctx = &s,
    };
    char home[128];
    FILE *netrc;

    (void)state;
    snprintf(home, sizeof(home), "%s/.netrc", server.folder);
    netrc = fopen(home, "w");
    fputs("default login canary password canary\n", netrc);
    fclose(netrc);
    setenv("HOME", server.folder, 1);
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("https_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    f = open_with(&c);
    assert_int_equal(fetch_add(f, &r, &err), OK);
    run(f);
    assert_int_equal(s.status, 200);
    assert_memory_equal(s.body, "POST /echo?a=b HTTP/1.1\r\n", 25);
    assert_non_null(strstr(s.body, "\r\nAuthorization: Bearer abc\r\n"));
    assert_non_null(strstr(s.body, "\r\nContent-Type: application/json\r\n"));
    assert_non_null(strstr(s.body, "\r\n\r\n{\"id\":1}"));
    assert_null(strstr(s.body, "Accept-Encoding")); /* nothing that could swell */
    assert_null(strstr(s.body, "Expect"));

    memset(&t, 0, sizeof(t));
    add(f, "x", at("/ok"), &t); /* sets a cookie */
    run(f);
    memset(&t, 0, sizeof(t));
    add(f, "x", at("/echo/again"), &t);
    run(f);
    assert_int_equal(t.status, 200);
    assert_null(strcasestr(t.body, "cookie"));
    assert_null(strstr(t.body, "Authorization")); /* neither the last one's nor .netrc's */
    fetch_close(f);
    unsetenv("http_proxy");
    unsetenv("https_proxy");
    unsetenv("ALL_PROXY");
    unlink(home);
}

static void tls(void **state)
{
    struct fetch_config c = usual();
    char url[128];
    struct seen s;

    (void)state;
    snprintf(url, sizeof(url), "https://localhost:%u/ok", server.https);
    c.allow_http = false;
    s = one(&c, url);
    assert_string_equal(fetch_error_name(s.error), "ok");
    assert_string_equal(s.body, "hello");

    c.ca_file = NULL;
    s = one(&c, url);
    assert_string_equal(fetch_error_name(s.error), "tls"); /* nobody vouches for it */
    assert_int_equal(s.attempts, 1);

    c.ca_file = server.certificate;
    snprintf(url, sizeof(url), "https://127.0.0.1:%u/ok", server.https);
    s = one(&c, url);
    assert_string_equal(fetch_error_name(s.error), "tls"); /* a certificate of another name */
    snprintf(url, sizeof(url), "https://localhost:%u/ok", server.http);
    s = one(&c, url);
    assert_string_equal(fetch_error_name(s.error), "tls"); /* no TLS at all */
}

static void only_https(void **state)
{
    static const char *const never[] = {"file:///etc/passwd",
                                        "ftp://localhost/",
                                        "gopher://localhost/",
                                        "dict://localhost/",
                                        "localhost/",
                                        "https://",
                                        "https://a@localhost/",
                                        "https://a:b@localhost/",
                                        "https://:b@localhost/",
                                        "https://example.com@localhost/",
                                        "https://local host/",
                                        "https://localhost:99999/",
                                        "//localhost/",
                                        "x"};
    struct fetch_config c = usual();

    (void)state;
    for (size_t i = 0; i < countof(never); i++) {
        struct seen s = one(&c, never[i]);
        print_message("%s\n", never[i]);
        assert_string_equal(fetch_error_name(s.error), "bad_url");
        assert_int_equal(s.attempts, 1);
    }
    c.allow_http = false;
    assert_string_equal(fetch_error_name(one(&c, at("/plain")).error), "bad_url");
    assert_int_equal(asked("/plain"), 0);
}

/* Ways to write the address of a cloud's metadata and of ourselves. A name that this machine cannot look up is as good. */
static void private_addresses(void **state)
{
    static const char *const hosts[] = {
        "169.254.169.254",
        "169.254.43518",
        "169.16689662",
        "2852039166",
        "0xa9fea9fe",
        "0xA9.0xFE.0xA9.0xFE",
        "0251.0376.0251.0376",
        "0251.254.0xa9.254",
        "000251.254.169.254",
        "169.254.169.254.",
        "025177524776",
        "0xa9.16689662",
        "169.254.0xa9fe",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[0:0:0:0:0:ffff:a9fe:a9fe]",
        "[0000:0000:0000:0000:0000:FFFF:A9FE:A9FE]",
        "[::169.254.169.254]",
        "[::a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b::169.254.169.254]",
        "[64:ff9b:1::a9fe:a9fe]",
        "[2002:a9fe:a9fe::]",
        "[2001:0:a9fe:a9fe::]",
        "[fd00:ec2::254]",
        "[fe80::a9fe:a9fe]",
        "[FE80::1%25lo]",
        "%31%36%39.254.169.254",
        "169%2E254%2E169%2E254",
        "169\xe3\x80\x82"
        "254\xe3\x80\x82"
        "169\xe3\x80\x82"
        "254",
        "\xe2\x91\xa0\xe2\x91\xa5\xe2\x91\xa8.254.169.254",
        "192.0.0.192",
        "100.100.100.200",
        "168.63.129.16",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[0000::0001]",
        "[::01]",
        "[::1%25lo]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[::]",
        "localhost",
        "LOCALHOST.",
        "127.0.0.1",
        "127.1",
        "0177.1",
        "0x7f.1",
        "2130706433",
        "017700000001",
        "0",
        "0.0.0.0",
        "127.255.255.254",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "224.0.0.1",
        "255.255.255.255",
        "[fc00::1]",
        "[ff02::1]",
    };
    struct fetch_config c = usual();
    struct seen *seen = calloc(countof(hosts), sizeof(*seen));
    struct fetch *f;
    size_t nprivate = 0;
    char url[256];

    (void)state;
    c.nallowed = 0;
    c.at_once = c.at_once_per_lane = 100;
    f = open_with(&c);
    for (size_t i = 0; i < countof(hosts); i++) {
        snprintf(url, sizeof(url), "http://%s:%u/spelled", hosts[i], server.http);
        add(f, "x", url, &seen[i]);
    }
    run(f);
    fetch_close(f);
    for (size_t i = 0; i < countof(hosts); i++) {
        print_message("%s: %s\n", hosts[i], fetch_error_name(seen[i].error));
        nprivate += seen[i].error == FETCH_PRIVATE_ADDRESS;
        assert_true(seen[i].error == FETCH_PRIVATE_ADDRESS || seen[i].error == FETCH_BAD_URL ||
                    seen[i].error == FETCH_DNS);
    }
    assert_true(nprivate >= 50);
    assert_int_equal(asked("/spelled"), 0);
    free(seen);
}

/* A name says one thing when it is looked at and another when it is used: only the address that is connected to counts. */
static void rebinding(void **state)
{
    struct fetch_config c = usual();
    char entry[64], url[128];
    const char *resolve[] = {entry, NULL};
    struct seen s;

    (void)state;
    snprintf(entry, sizeof(entry), "api.example.com:%u:127.0.0.1", server.http);
    snprintf(url, sizeof(url), "http://api.example.com:%u/rebound", server.http);
    c.resolve = resolve;
    c.nallowed = 0;
    s = one(&c, url);
    assert_string_equal(fetch_error_name(s.error), "private_address");
    assert_int_equal(s.attempts, 1);
    assert_int_equal(asked("/rebound"), 0);
    c.nallowed = 1; /* the same name goes where it is allowed to: it is the address that was refused */
    s = one(&c, url);
    assert_int_equal(s.status, 404);
    assert_int_equal(asked("/rebound"), 1);
}

static void redirects_are_not_followed(void **state)
{
    struct seen s = get("/redirect");

    (void)state;
    assert_string_equal(fetch_error_name(s.error), "ok");
    assert_int_equal(s.status, 302);
    assert_int_equal(s.attempts, 1);
    assert_int_equal(asked("/secret"), 0);
}

static void nobody_there(void **state)
{
    struct fetch_config c = usual();
    struct seen s = one(&c, "http://127.0.0.1:1/");

    (void)state;
    assert_string_equal(fetch_error_name(s.error), "refused");
    assert_int_equal(s.attempts, 3);
    s = one(&c, "http://no-such-name.invalid/");
    assert_string_equal(fetch_error_name(s.error), "dns");
}

/* The server answers only when so many are there at one time. */
static void many_at_once(void **state)
{
    struct fetch_config c = usual();
    struct seen seen[8];
    struct fetch *f;

    (void)state;
    c.at_once = 4;
    f = open_with(&c);
    memset(seen, 0, sizeof(seen));
    for (size_t i = 0; i < countof(seen); i++)
        add(f, i % 2 ? "x" : "y", at("/barrier/4/a"), &seen[i]);
    run(f);
    fetch_close(f);
    for (size_t i = 0; i < countof(seen); i++)
        assert_int_equal(seen[i].status, 200);

    c.at_once = 3; /* one fewer never meet */
    c.whole_ms = 300;
    f = open_with(&c);
    memset(seen, 0, sizeof(seen));
    for (size_t i = 0; i < 3; i++)
        add(f, "x", at("/barrier/4/b"), &seen[i]);
    for (size_t i = 3; i < 4; i++)
        add(f, "y", at("/barrier/4/b"), &seen[i]);
    run(f);
    fetch_close(f);
    assert_string_equal(fetch_error_name(seen[0].first_error), "timeout");
}

static bool is_stopping(void)
{
    return ndone >= stop_after;
}

static void a_slow_lane_holds_no_other_up(void **state)
{
    struct fetch_config c = usual();
    struct seen slow[10], quick[5];
    struct fetch *f;

    (void)state;
    memset(slow, 0, sizeof(slow));
    memset(quick, 0, sizeof(quick));
    c.at_once = 4;
    c.at_once_per_lane = 2;
    c.stopping = is_stopping;
    stop_after = countof(quick);
    f = open_with(&c);
    for (size_t i = 0; i < countof(slow); i++)
        add(f, "slow", at("/slow/lane"), &slow[i]);
    for (size_t i = 0; i < countof(quick); i++)
        add(f, "quick", at("/ok"), &quick[i]);
    run(f);
    fetch_close(f);
    for (size_t i = 0; i < countof(quick); i++) {
        assert_int_equal(quick[i].status, 200);
        assert_true(quick[i].place < countof(quick));
    }
    assert_int_equal(slow[9].attempts, 0);
}

static void stops_when_told(void **state)
{
    struct fetch_config c = usual();
    struct seen seen[5], after;
    struct fetch *f;

    (void)state;
    memset(seen, 0, sizeof(seen));
    memset(&after, 0, sizeof(after));
    c.stopping = is_stopping;
    stop_after = 1;
    c.at_once = 3;
    f = open_with(&c);
    add(f, "x", at("/ok"), &seen[0]);
    for (size_t i = 1; i < countof(seen); i++)
        add(f, "x", at("/slow/stop"), &seen[i]);
    seen[1].then = at("/after"); /* added while all is being stopped */
    seen[1].next = &after;
    run(f);
    assert_int_equal(seen[0].status, 200);
    for (size_t i = 1; i < countof(seen); i++) {
        assert_int_equal(seen[i].lasts, 1);
        assert_string_equal(fetch_error_name(seen[i].error), "stopped");
    }
    assert_string_equal(fetch_error_name(after.error), "stopped");
    fetch_close(f);
    assert_int_equal(asked("/after"), 0);
}

static void ends_at_its_deadline(void **state)
{
    struct fetch_config c = usual();
    struct seen slow = {0}, failing = {0}, closed = {0};
    struct fetch *f;
    struct err err = {0};

    (void)state;
    c.backoff_ms = 30000;
    f = open_with(&c);
    add(f, "x", at("/slow/deadline"), &slow);
    add(f, "x", at("/status/502"), &failing);
    assert_int_equal(fetch_run(f, now_boot_us() + SECOND_US, &err), OK);
    assert_string_equal(fetch_error_name(slow.error), "stopped");
    assert_int_equal(slow.attempts, 1);
    assert_string_equal(fetch_error_name(failing.error),
                        "ok"); /* its wait would be too long: the last word at once */
    assert_int_equal(failing.status, 502);
    assert_int_equal(failing.calls, 1);
    add(f, "x", at("/never"), &closed);
    fetch_close(f);
    assert_int_equal(closed.lasts, 1);
    assert_string_equal(fetch_error_name(closed.error), "stopped");
    assert_int_equal(closed.attempts, 0);
    assert_int_equal(asked("/never"), 0);
}

static bool may_once(void *ctx, unsigned attempt)
{
    (void)ctx;
    return attempt == 1;
}

static void its_owner_may_hold_it_back(void **state)
{
    struct fetch_config c = usual();
    struct fetch *f = open_with(&c);
    struct seen held = {.held = true}, second = {0};
    struct err err = {0};
    struct fetch_request r = {
        .method = "GET", .url = span_of(at("/status/507")), .may = may_once, .tried = tried, .ctx = &second};

    (void)state;
    add(f, "x", at("/held"), &held);
    assert_int_equal(fetch_add(f, &r, &err), OK);
    run(f);
    fetch_close(f);
    assert_string_equal(fetch_error_name(held.error), "held");
    assert_int_equal(asked("/held"), 0);
    assert_int_equal(second.calls,
                     2); /* the first failed, the second was held back, and that was the last word */
    assert_int_equal(second.first_status, 507);
    assert_string_equal(fetch_error_name(second.error), "held");
    assert_int_equal(asked("/status/507"), 1);
}

static bool may_not(void *ctx, unsigned attempt)
{
    (void)ctx;
    (void)attempt;
    return false;
}

/* Whose place another takes that is refused as well, for as long as the first request of all has no answer. */
static void refused_again(void *first, const struct fetch_answer *a)
{
    struct seen *s = first;
    const struct fetch_request r = {.method = "GET",
                                    .lane = SPAN("x"),
                                    .url = span_of(at("/held")),
                                    .may = may_not,
                                    .tried = refused_again,
                                    .ctx = s};
    struct err err = {0};

    if (a->error == FETCH_HELD && !s->lasts)
        assert_int_equal(fetch_add(s->fetch, &r, &err), OK);
}

/* However many are held back in a row, and whatever that costs: what is on the wire is looked after. */
static void who_is_on_the_wire_is_served_while_others_are_refused(void **state)
{
    struct fetch_config c = usual();
    struct fetch *f = open_with(&c);
    struct seen first = {0};
    struct err err = {0};

    (void)state;
    add(f, "x", at("/ok"), &first);
    refused_again(&first, &(struct fetch_answer){.error = FETCH_HELD});
    assert_int_equal(fetch_run(f, now_boot_us() + 10 * SECOND_US, &err), OK);
    fetch_close(f);
    assert_string_equal(fetch_error_name(first.error), "ok");
    assert_int_equal(asked("/held"), 0);
}

static bool is_late;
static unsigned granted;

static bool is_late_now(void)
{
    return is_late;
}

static bool may_and_is_late(void *ctx, unsigned attempt)
{
    (void)ctx;
    (void)attempt;
    granted++;
    return is_late = true;
}

/* An owner who takes his time does so for one request, not for all that wait. */
static void none_is_begun_when_time_is_up(void **state)
{
    struct fetch_config c = usual();
    struct seen seen[8] = {{0}};
    struct err err = {0};
    struct fetch *f;

    (void)state;
    is_late = false;
    granted = 0;
    c.stopping = is_late_now;
    f = open_with(&c);
    for (size_t i = 0; i < countof(seen); i++) {
        const char *lane = i % 2 ? "x" : "y";
        const struct fetch_request r = {.method = "GET",
                                        .lane = span_of(lane),
                                        .url = span_of(at("/ok")),
                                        .may = may_and_is_late,
                                        .tried = tried,
                                        .ctx = &seen[i]};
        assert_int_equal(fetch_add(f, &r, &err), OK);
    }
    run(f);
    fetch_close(f);
    assert_int_equal(granted, 1);
    for (size_t i = 0; i < countof(seen); i++)
        assert_int_equal(seen[i].lasts, 1);
}

static void more_may_come_meanwhile(void **state)
{
    struct fetch_config c = usual();
    struct fetch *f = open_with(&c);
    struct seen first = {.then = at("/flaky/1/more")}, next = {0};

    (void)state;
    first.next = &next;
    add(f, "x", at("/ok"), &first);
    run(f);
    fetch_close(f);
    assert_int_equal(next.status, 200);
    assert_int_equal(next.attempts, 2);
}

static void what_goes_on_is_begun_ahead(void **state)
{
    struct fetch_config c = usual();
    struct fetch *f = open_with(&c);
    struct seen first = {.held = true}, second = {.held = true}, third = {.held = true},
                ahead = {.held = true};
    struct fetch_request r = {.method = "GET",
                              .lane = SPAN("x"),
                              .url = span_of(at("/held")),
                              .ahead = true,
                              .may = may,
                              .tried = tried,
                              .ctx = &ahead};
    struct err err = {0};

    (void)state;
    add(f, "x", at("/held"), &first);
    add(f, "x", at("/held"), &second);
    assert_int_equal(fetch_add(f, &r, &err), OK);
    add(f, "x", at("/held"), &third);
    run(f);
    assert_int_equal(ahead.place, 0);
    assert_int_equal(first.place, 1);
    assert_int_equal(second.place, 2);
    assert_int_equal(third.place, 3);
    ahead = first = (struct seen){.held = true}; /* before an empty lane's others */
    assert_int_equal(fetch_add(f, &r, &err), OK);
    add(f, "x", at("/held"), &first);
    run(f);
    fetch_close(f);
    assert_int_equal(ahead.place, 4);
    assert_int_equal(first.place, 5);
}

static void ignore(void *ctx, const struct fetch_answer *a)
{
    *(int *)ctx = a->status;
}

static void refused_requests(void **state)
{
    static char big[FETCH_REQUEST_BYTES_MAX + 1];
    struct fetch_config c = usual();
    struct fetch *f = open_with(&c);
    int status;
    struct err err = {0};
    const struct fetch_request good = {.method = "GET",
                                       .url = SPAN("http://127.0.0.1/"),
                                       .headers = {SPAN("A: b")},
                                       .nheaders = 1,
                                       .tried = ignore,
                                       .ctx = &status};
    struct fetch_request bad[9];

    (void)state;
    memset(big, 'x', sizeof(big));
    for (size_t i = 0; i < countof(bad); i++)
        bad[i] = good;
    bad[0].headers[0] = SPAN("A: b\r\nHost: other");
    bad[1].headers[0] = SPAN("A: b\nC: d");
    bad[2].headers[0] = (struct span){"A: b\0c", 6};
    bad[3].headers[0] = SPAN("");
    bad[4].url = (struct span){"http://127.0.0.1/\0x", 19};
    bad[5].url = SPAN("");
    bad[6].body = (struct span){big, sizeof(big)};
    bad[7].method = "DELETE";
    bad[8].lane = (struct span){big, 51};
    for (size_t i = 0; i < countof(bad); i++)
        assert_int_equal(fetch_add(f, &bad[i], &err), INVALID);
    for (size_t i = 0; i < FETCH_WAITING_MAX; i++)
        assert_int_equal(fetch_add(f, &good, &err), OK);
    assert_int_equal(fetch_add(f, &good, &err), BUSY);
    fetch_close(f);
}

/* Looks through this process' memory for the text whose every byte is masked here. */
static size_t count_in_memory(const uint8_t *masked, size_t len, uint8_t mask)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    uint8_t *room = malloc(1 << 20);
    unsigned long from, to;
    char line[512], mode[8];
    size_t found = 0;

    assert_true(maps && memory >= 0 && room);
    while (fgets(line, sizeof(line), maps)) {
        if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) != 3 || mode[1] != 'w' || to - from > 1ul << 30)
            continue;
        for (unsigned long place = from; place < to; place += (1 << 20) - len) {
            size_t want = to - place < 1 << 20 ? to - place : 1 << 20;
            ssize_t got = pread(memory, room, want, (off_t)place);
            for (ssize_t i = 0; i + (ssize_t)len <= got; i++) {
                size_t same = 0;
                if (place + (size_t)i >= (unsigned long)room &&
                    place + (size_t)i < (unsigned long)room + (1 << 20))
                    continue; /* what is being looked through */
                while (same < len && (room[i + (ssize_t)same] ^ mask) == masked[same])
                    same++;
                found += same == len;
            }
        }
    }
    explicit_bzero(room, 1 << 20); /* the next look would find what this one read */
    free(room);
    close(memory);
    fclose(maps);
    return found;
}

/* A token in the URL, a header and the body, which the server sends back: nothing of it stays in our memory. */
static void tokens_are_wiped(void **state)
{
    enum { LEN = 24, MASK = 0x5a };
    static const char alphabet[] = "abcdefghijklmnopqrstuvwx";
    struct fetch_config c = usual();
    struct fetch *f = open_with(&c);
    struct err err = {0};
    uint8_t masked[LEN];
    char url[128], header[64], body[32];
    int status = 0;

    (void)state;
    for (size_t i = 0; i < LEN; i++)
        masked[i] = (uint8_t)(alphabet[(i * 7 + 3) % LEN] ^ MASK);
    snprintf(url, sizeof(url), "%s?token=", at("/echo/wiped"));
    snprintf(header, sizeof(header), "Authorization: Bearer ");
    body[0] = '\0';
    for (char *const *text = (char *[]){url, header, body, NULL}; *text; text++) {
        char *end = *text + strlen(*text);
        for (size_t i = 0; i < LEN; i++)
            end[i] = (char)(masked[i] ^ MASK);
        end[LEN] = '\0';
    }
    assert_true(count_in_memory(masked, LEN, MASK) >= 3); /* or the look would find nothing anyway */
    assert_int_equal(fetch_add(f,
                               &(struct fetch_request){.method = "POST",
                                                       .url = span_of(url),
                                                       .headers = {span_of(header)},
                                                       .nheaders = 1,
                                                       .body = span_of(body),
                                                       .tried = ignore,
                                                       .ctx = &status},
                               &err),
                     OK);
    explicit_bzero(url, sizeof(url));
    explicit_bzero(header, sizeof(header));
    explicit_bzero(body, sizeof(body));
    run(f);
    assert_int_equal(status, 200);
    fetch_close(f);
    assert_int_equal(count_in_memory(masked, LEN, MASK), 0);
}

static void no_certificates(void **state)
{
    struct fetch_config c = usual();
    struct err err = {0};

    (void)state;
    c.ca_file = "/nonexistent/ca.pem";
    assert_null(fetch_open(&c, &err));
    assert_int_equal(err.code, UNAVAILABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_wiped),
        cmocka_unit_test(answers),
        cmocka_unit_test(retry_after_as_a_date),
        cmocka_unit_test(waits_as_long_as_asked),
        cmocka_unit_test(deadlines),
        cmocka_unit_test(own_deadline),
        cmocka_unit_test(what_came_while_we_stood_still_is_in_time),
        cmocka_unit_test(what_is_sent),
        cmocka_unit_test(tls),
        cmocka_unit_test(only_https),
        cmocka_unit_test(private_addresses),
        cmocka_unit_test(rebinding),
        cmocka_unit_test(redirects_are_not_followed),
        cmocka_unit_test(nobody_there),
        cmocka_unit_test(many_at_once),
        cmocka_unit_test(a_slow_lane_holds_no_other_up),
        cmocka_unit_test(stops_when_told),
        cmocka_unit_test(ends_at_its_deadline),
        cmocka_unit_test(its_owner_may_hold_it_back),
        cmocka_unit_test(who_is_on_the_wire_is_served_while_others_are_refused),
        cmocka_unit_test(none_is_begun_when_time_is_up),
        cmocka_unit_test(more_may_come_meanwhile),
        cmocka_unit_test(what_goes_on_is_begun_ahead),
        cmocka_unit_test(refused_requests),
        cmocka_unit_test(no_certificates),
    };

    return cmocka_run_group_tests(tests, start_server, stop_server);
}
