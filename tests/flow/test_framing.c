/* Requests that two readers could see differently: of none of them a second, hidden one is served, neither by the
 * gateway alone nor behind the proxies as ops/haproxy.cfg and ops/nginx.conf set them up. */
#include "support/world.h"

#include "base/arena.h"
#include "base/now.h"
#include "wire.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEADLINE_S = 60, PORTS_TRIED = 5, LARGEST_BODY = 3145728 /* whatsapp.yaml */ };

enum route { DIRECT, HAPROXY, NGINX, ROUTES };

static const char *const route_names[ROUTES] = {"direct", "haproxy", "nginx"};

static struct {
    struct arena *arena;
    json_t *cases;
    char urls[ROUTES][64];
    struct process proxies[ROUTES];
} set;

/* An answer has all the time that the gateway gives it, by a commit: what is judged here is which requests were served. */
static void take_time(const struct world *w)
{
    char folder[200];

    snprintf(folder, sizeof(folder), "%s/spool", w->dir);
    assert_int_equal(mkdir(folder, 0700), 0);
    setenv("SETTLE_UNSAFE_OK", "true", 1); /* it may lie on anything */
    setenv("SETTLE_SPOOL_FOLDER", folder, 1);
    setenv("SETTLE_SPOOL_RESERVE_MEGABYTES", "0", 1);
    setenv("SETTLE_SPOOL_AFTER_MS", "20000", 1);
    setenv("SETTLE_INGEST_COMMIT_TIMEOUT_MS", "20000", 1);
}

static int up(void **state)
{
    struct world *w = world_open();
    char path[512];
    json_t *file;

    *state = w;
    set.arena = arena_open(1 << 20);
    snprintf(path, sizeof(path), "%s/fixtures/framing.json", getenv("SETTLE_TOP"));
    file = json_load_file(path, JSON_ALLOW_NUL, NULL);
    assert_non_null(file);
    set.cases = json_incref(json_object_get(file, "cases"));
    json_decref(file);
    setenv("SETTLE_INGEST_REQUEST_TIMEOUT_MS", "2000", 1);
    take_time(w);
    world_gateway(w, NULL);
    snprintf(set.urls[DIRECT], sizeof(set.urls[DIRECT]), "%s", w->ingest_url);
    return 0;
}

static int down(void **state)
{
    json_decref(set.cases);
    arena_close(set.arena);
    world_close(*state);
    return 0;
}

/* The proxies. */

static unsigned free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    close(fd);
    return ntohs(at.sin_port);
}

static const char *replaced(const char *text, const char *from, const char *to)
{
    const char *all = "", *at;

    while ((at = strstr(text, from))) {
        all = arena_print(set.arena, "%s%.*s%s", all, (int)(at - text), text, to);
        text = at + strlen(from);
    }
    assert_true(*all); /* else the sample has changed, and this test with it must */
    return arena_print(set.arena, "%s%s", all, text);
}

static const char *read_sample(const char *name)
{
    char path[512];
    char *text = arena_zero(set.arena, 32768);
    FILE *from;

    snprintf(path, sizeof(path), "%s/ops/%s", getenv("SETTLE_TOP"), name);
    from = fopen(path, "re");
    assert_non_null(from);
    assert_true(fread(text, 1, 32767, from) > 0);
    fclose(from);
    return text;
}

/* The sample with our addresses, and a fifth of its times so that the test need not wait long; but for that of an answer. */
static const char *write_sample(struct world *w, const char *name, const char *text, const char *of_an_answer,
                                unsigned port)
{
    const char *path = arena_print(set.arena, "%s/%s", w->dir, name);
    FILE *to;

    text = replaced(text, "127.0.0.1:8443", arena_print(set.arena, "127.0.0.1:%u", port));
    text =
        replaced(text, " 127.0.0.1:8080", arena_print(set.arena, " %s", w->ingest_url + strlen("http://")));
    text = replaced(text, arena_print(set.arena, "%s 10s", of_an_answer),
                    arena_print(set.arena, "%s %ds", of_an_answer, DEADLINE_S));
    text = replaced(text, " 10s", " 2s");
    text = replaced(text, " 5s", " 1s");
    to = fopen(path, "we");
    assert_non_null(to);
    fputs(text, to);
    assert_int_equal(fclose(to), 0);
    return path;
}

static struct process spawn_haproxy(struct world *w, unsigned port)
{
    const char *text = replaced(read_sample("haproxy.cfg"), "port 9090",
                                arena_print(set.arena, "port %s", strrchr(w->monitor_url, ':') + 1));

    return world_spawn(w, "/usr/sbin/haproxy", "-db", "-f",
                       write_sample(w, "haproxy.cfg", text, "timeout server", port), NULL);
}

static struct process spawn_nginx(struct world *w, unsigned port)
{
    const char *text =
        replaced(read_sample("nginx.conf"), "http {",
                 "http {\n client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n"
                 " uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n");

    return world_spawn(w, "/usr/sbin/nginx", "-p", w->dir, "-e", "stderr", "-g",
                       "daemon off; master_process off;", "-c",
                       write_sample(w, "nginx.conf", text, "proxy_read_timeout", port), NULL);
}

/* To us, as our gateway's count shows: whoever has the port may pass on to another. */
static bool is_passed_on(struct world *w, enum route r)
{
    static const char count[] = "settle_webhook_requests_total{platform=\"\",cause=\"unknown_platform\"}";
    const char *url = arena_print(set.arena, "%s/publishing/webhooks/nowhere", set.urls[r]);
    double before = world_metric(w, count);

    return world_http(w, "GET", url, NULL, SPAN_NONE).status == 404 && world_metric(w, count) > before;
}

/* A port that was free a moment ago may be somebody else's by now. */
static void start_proxy(struct world *w, enum route r)
{
    for (unsigned i = 0; i < PORTS_TRIED; i++) {
        unsigned port = free_port();
        struct outcome end;

        set.proxies[r] = r == HAPROXY ? spawn_haproxy(w, port) : spawn_nginx(w, port);
        snprintf(set.urls[r], sizeof(set.urls[r]), "http://127.0.0.1:%u", port);
        world_until(DEADLINE_S, world_ended(set.proxies[r]) || is_passed_on(w, r));
        if (!world_ended(set.proxies[r]))
            return;
        end = world_wait(w, set.proxies[r]);
        if (!strstr(end.err, "Address already in use"))
            fail_msg("%s does not start: %s", route_names[r], end.err);
    }
    fail_msg("%s found no port", route_names[r]);
}

static void start_proxies(struct world *w)
{
    for (enum route r = HAPROXY; r <= NGINX; r++)
        start_proxy(w, r);
}

static void stop_proxies(struct world *w)
{
    for (enum route r = HAPROXY; r <= NGINX; r++) {
        kill(set.proxies[r].pid, SIGTERM);
        world_wait(w, set.proxies[r]);
    }
}

/* The requests. */

static struct span marker_of(struct world *w, const char *name)
{
    const char *body = arena_print(set.arena, "{\"external_post_id\":\"%s\",\"status\":\"published\"}", name);
    const char *const *headers = world_sign(w, "instagram", NULL, span_of(body));

    return span_of(arena_print(set.arena,
                               "POST /publishing/webhooks/instagram?case=%s HTTP/1.1\r\nHost: x\r\n%s\r\n"
                               "Content-Length: %zu\r\n\r\n%s",
                               name, headers[1], strlen(body), body));
}

static void add_piece(FILE *to, const json_t *piece, size_t marker_len)
{
    const json_t *n;

    if (json_is_string(piece))
        fwrite(json_string_value(piece), 1, json_string_length(piece), to);
    for (json_int_t i = 0; i < json_integer_value(json_object_get(piece, "times")); i++)
        fputs(json_string_value(json_object_get(piece, "text")), to);
    if ((n = json_object_get(piece, "marker")))
        fprintf(to, "%lld", (long long)marker_len + json_integer_value(n));
    if ((n = json_object_get(piece, "marker_hex")))
        fprintf(to, "%llx", (long long)marker_len + json_integer_value(n));
}

static struct span bytes_of(const json_t *vector, struct span marker)
{
    const json_t *raw = json_object_get(vector, "raw"), *piece;
    char *text, *copy;
    size_t len, i;
    FILE *to = open_memstream(&text, &len);

    if (json_is_string(raw))
        add_piece(to, raw, marker.len);
    json_array_foreach(raw, i, piece)
        add_piece(to, piece, marker.len);
    fwrite(marker.at, 1, marker.len, to);
    assert_int_equal(fclose(to), 0);
    copy = arena_alloc(set.arena, len);
    memcpy(copy, text, len);
    free(text);
    return (struct span){copy, len};
}

static const char *name_of(enum route route, const json_t *vector)
{
    return arena_print(set.arena, "%s-%s", route_names[route],
                       json_string_value(json_object_get(vector, "id")));
}

/* What came of it. */

static bool is_stored(struct world *w, const char *name)
{
    return world_count(w, "select count(*) from settle.webhook_receipts where external_post_id = '%s'",
                       name) > 0;
}

static bool goes_on(const json_t *vector)
{
    return strcmp(json_string_value(json_object_get(vector, "then")), "marker") == 0;
}

/* Directly: exactly what stands in the table. */
static const char *judge_direct(const json_t *vector, const struct wire *wire, bool stored)
{
    const json_t *want = json_object_get(vector, "answers"), *status;
    int got[WIRE_ANSWERS_MAX];
    size_t n = wire_answers(wire, got), nwant = json_array_size(want), i;

    if (stored != goes_on(vector))
        return stored ? "the marker was served" : "the marker was not served";
    if (n != nwant + goes_on(vector))
        return "not as many answers as there should be";
    json_array_foreach(want, i, status)
        if (got[i] != json_integer_value(status))
            return "another answer than it should be";
    if (goes_on(vector) && got[n - 1] != 200)
        return "the marker was not answered 200";
    return NULL;
}

/* Behind a proxy: a marker is served only where the proxy, too, has taken it for a request: then its answer comes last,
 * and none is missing before it. */
static const char *judge_behind(enum route route, const json_t *vector, const struct wire *wire, bool stored)
{
    size_t nrequests = json_array_size(json_object_get(vector, "answers"));
    bool differs = json_object_get(json_object_get(vector, "behind"), route_names[route]) != NULL;
    int got[WIRE_ANSWERS_MAX];
    size_t n = wire_answers(wire, got);

    if (stored && !goes_on(vector) && !differs)
        return "the marker was served";
    if (!stored && goes_on(vector) && !differs)
        return "the marker was not served";
    if (!stored && n > 0 && got[n - 1] == 200)
        return "an answer that nobody gave";
    if (stored && (n != nrequests + 1 || got[n - 1] != 200))
        return "the marker's answer did not come to its sender in its turn";
    return NULL;
}

/* Each is sent as soon as it is connected: its time runs from there. */
static void run_cases(struct world *w, enum route route, struct wire **wires)
{
    size_t n = json_array_size(set.cases), i;
    const json_t *vector;

    json_array_foreach(set.cases, i, vector) {
        wires[i] = arena_zero(set.arena, sizeof(*wires[i]));
        wire_open(wires[i], set.urls[route], bytes_of(vector, marker_of(w, name_of(route, vector))));
        wire_look(&wires[i], 1, 0);
    }
    if (wire_run(wires, n, DEADLINE_S) > 0)
        fail_msg("some connections stayed open");
}

static void test_no_hidden_request_is_served(void **state)
{
    struct world *w = *state;
    size_t ncases = json_array_size(set.cases), nwrong = 0, i;
    struct wire **wires = arena_zero(set.arena, ncases * ROUTES * sizeof(*wires));
    const json_t *vector;

    start_proxies(w);
    assert_true(ncases >= 60);
    for (enum route r = DIRECT; r < ROUTES; r++)
        run_cases(w, r, wires + r * ncases);
    world_deliver(w, "instagram", NULL,
                  "{\"external_post_id\":\"last\"}"); /* what came before is stored by now */
    for (enum route r = DIRECT; r < ROUTES; r++)
        json_array_foreach(set.cases, i, vector) {
            const struct wire *wire = wires[r * ncases + i];
            bool stored = is_stored(w, name_of(r, vector));
            const char *wrong =
                r == DIRECT ? judge_direct(vector, wire, stored) : judge_behind(r, vector, wire, stored);
            if (wrong)
                print_error("%s, %s: %s:\n%.*s\n", name_of(r, vector),
                            json_string_value(json_object_get(vector, "why")), wrong, (int)wire->in_len,
                            wire->in);
            nwrong += wrong != NULL;
            wire_close(wires[r * ncases + i]);
        }
    stop_proxies(w);
    assert_int_equal(nwrong, 0);
}

/* What h2o answers without asking us. */

#define TO "POST /publishing/webhooks/instagram HTTP/1.1\r\nHost: x\r\n"

static const struct {
    const char *why, *request, *status_line, *body;
    size_t nbody; /* so many bytes behind request */
} of_the_library[] = {
    {"a head that cannot be read",               "POST / HTTP/1.1\r\nHost: x\r\nX\x01: a\r\n\r\n",
     "HTTP/1.1 400 Bad Request\r\n",                                                                                                              "Bad Request",                 0      },
    {"a body over the cap",                      TO "Content-Length: 1048577\r\n\r\n",               "HTTP/1.1 413 Request Entity Too Large\r\n",
     "request entity is too large",                                                                                                                                              0      },
    {"a body over the cap that is sent at once", TO "Content-Length: 4000000\r\n\r\n",
     "HTTP/1.1 413 Request Entity Too Large\r\n",                                                                                                 "request entity is too large", 4000000},
    {"a body over the cap in a chunk",           TO "Transfer-Encoding: chunked\r\n\r\n3d0900\r\n",
     "HTTP/1.1 413 Request Entity Too Large\r\n",                                                                                                 "request entity is too large", 4000000},
    {"an expectation that nobody knows",         TO "Expect: 200-ok\r\nContent-Length: 2\r\n\r\n{}",
     "HTTP/1.1 417 Expectation Failed\r\n",                                                                                                       "unknown expectation",         0      },
};

/* In plain text, and always the end of the connection; a reset may follow if the body was still on its way. */
static void test_what_the_library_answers_by_itself(void **state)
{
    struct world *w = *state;

    for (size_t i = 0; i < countof(of_the_library); i++) {
        size_t len = strlen(of_the_library[i].request);
        char *request = arena_zero(set.arena, len + of_the_library[i].nbody);
        struct wire *wire = arena_zero(set.arena, sizeof(*wire));
        int statuses[WIRE_ANSWERS_MAX];
        memcpy(request, of_the_library[i].request, len);
        wire_open(wire, w->ingest_url, (struct span){request, len + of_the_library[i].nbody});
        if (wire_run(&wire, 1, DEADLINE_S) > 0 || wire_answers(wire, statuses) != 1 ||
            strncmp(wire->in, of_the_library[i].status_line, strlen(of_the_library[i].status_line)) != 0 ||
            strcmp(strstr(wire->in, "\r\n\r\n") + 4, of_the_library[i].body) != 0 ||
            !strcasestr(wire->in, "\r\nContent-Type: text/plain; charset=utf-8\r\n") ||
            !strstr(wire->in, "\r\nConnection: close\r\n"))
            fail_msg("%s: %s", of_the_library[i].why, wire->in);
        wire_close(wire);
    }
}

/* Of n bytes, which differ from one to the next. */
static void send_large(struct world *w, enum route r, size_t n, const char *how)
{
    const char *url = arena_print(set.arena, "%s/publishing/webhooks/whatsapp", set.urls[r]),
               *start = arena_print(set.arena, "{\"object\":\"%s %zu\",\"pad\":\"", route_names[r], n);
    char *body = arena_alloc(set.arena, n);
    struct span all = {body, n};
    const char *headers[] = {NULL, how, NULL};
    struct reply reply;

    memset(body, 'x', n);
    memcpy(body, start, strlen(start));
    memcpy(body + n - 2, "\"}", 2);
    headers[0] = world_sign(w, "whatsapp", NULL, all)[1];
    reply = world_http(w, "POST", url, headers, all);
    if (reply.status != 200)
        fail_msg("%s, %zu bytes, %s: %ld %s", route_names[r], n, how, reply.status, reply.body);
}

/* Whatever a descriptor of ours lets in comes through both samples. Of chunks the library counts some bytes of their own. */
static void test_the_largest_bodies_come_through(void **state)
{
    struct world *w = *state;

    assert_int_equal(world_gateway_stop(w), 0);
    setenv("SETTLE_SECRET_WHATSAPP", "whatsapp-secret-of-the-tests", 1);
    world_gateway(w, NULL);
    start_proxies(w);
    for (enum route r = HAPROXY; r < ROUTES; r++) {
        send_large(w, r, LARGEST_BODY, "x-length: said");
        send_large(w, r, LARGEST_BODY - 1024, "transfer-encoding: chunked");
    }
    stop_proxies(w);
    assert_int_equal(
        world_count(w, "select count(*) from settle.webhook_receipts where platform = 'whatsapp'"), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_hidden_request_is_served),
        cmocka_unit_test(test_what_the_library_answers_by_itself),
        cmocka_unit_test(test_the_largest_bodies_come_through),
    };

    return cmocka_run_group_tests(tests, up, down);
}
