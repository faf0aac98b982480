#include "support/world.h"

#include "base/arena.h"
#include "base/now.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>
#include <libpq-fe.h>
#include <sodium.h>

enum {
    ARGS_MAX = 64,
    LOOK_EVERY_US = 5000,
    LOOKS_SOON = 40, /* then more rarely: who looks takes time from what is waited for */
    LOOK_RARELY_US = 20000,
    START_S = 60,
    ANSWER_S = 30,
    MIDNIGHT_S = 100, /* before it: no test of one day takes longer */
    PROGRAM_S = 600
};

struct world_inner {
    struct arena *arena; /* what was handed out since the last reset */
    json_t *jsons;       /* likewise: an array that owns them */
    PGconn *sql;
    CURL *curl;
    pid_t servers;    /* ops/servers hold */
    int servers_hold; /* while this end of a pipe is open the servers stay */
    unsigned nspawned;
    bool frozen[REDIS + 1];
    pid_t *groups; /* of processes: one a spawned program */
    size_t ngroups;
};

/* What is being written, until it is kept. */
struct text {
    FILE *to;
    char *at;
    size_t len;
};

static void refuse_sanitizer_reports(struct world *w);
static void hold_servers(struct world *w);
static void take_environment(struct world *w, FILE *from);
static void clear_environment(void);
static void set_environment(void);
static void read_ports(struct world *w, const char *path);
static bool gateway_ready(struct world *w);
static void show_log(struct world *w);
static void signal_part(struct world *w, enum part part, const char *signal);
static void servers_do(struct world *w, const char *command, const char *server, const char *signal);
static size_t signal_groups(const pid_t *groups, size_t n, int signal);
static pid_t group_of(const char *pid);
static bool sql_connected(struct world *w);
static const char *shown(struct world *w, const PGresult *result);
static struct process spawn(struct world *w, const char *const *args);
static pid_t newest_child(pid_t parent, const char *name);
static const char *nth_file(struct world *w, const char *what, unsigned nth);
static pid_t start(const char *folder, const char *const *args, const char *out, const char *err);
static void take_args(const char **args, size_t n, va_list more);
static bool has_ended(pid_t pid, int *ret_status);
static int end_of(pid_t pid, double deadline_s);
static const char *read_file(struct world *w, const char *path);
static json_t *parse(struct world *w, const char *text);
static struct text *text_open(void);
static const char *text_keep(struct world *w, struct text *t);

/* Life. */

struct world *world_open(void)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    if (!getenv("SETTLE_BUILD") || !getenv("SETTLE_TOP"))
        fail_msg("no SETTLE_BUILD and SETTLE_TOP, the build folder and the checkout: run this test by meson");
    w->inner = calloc(1, sizeof(*w->inner));
    assert_non_null(w->inner);
    w->inner->arena = arena_open(1 << 16);
    w->inner->jsons = json_array();
    w->inner->curl = curl_easy_init();
    assert_true(sodium_init() >= 0);
    clear_environment();
    set_environment();
    hold_servers(w);
    return w;
}

void world_close(struct world *w)
{
    if (!w)
        return;
    if (w->gateway)
        world_kill(w, GATEWAY);
    refuse_sanitizer_reports(w);
    PQfinish(w->inner->sql);
    close(w->inner->servers_hold);
    end_of(w->inner->servers, START_S);
    curl_easy_cleanup(w->inner->curl);
    json_decref(w->inner->jsons);
    arena_close(w->inner->arena);
    free(w->inner->groups);
    free(w->inner);
    free(w);
}

/* A program under a sanitizer may find a fault that no test asks for. cmocka does not count what a group's end says:
 * hence exit. */
static void refuse_sanitizer_reports(struct world *w)
{
    struct outcome found = world_wait(
        w, world_spawn(w, "sh", "-c",
                       "cat gateway/log err.* 2>/dev/null | grep -EA 60 'Sanitizer|runtime error:'", NULL));

    if (found.status == 0) {
        fprintf(stderr, "a program ran into a sanitizer:\n%.8000s\n", found.out);
        exit(99);
    }
}

/* Programs that a failed test left behind would go on into the next. Deleting from a small table is a hundred times
 * quicker than truncating it. */
void world_reset(struct world *w)
{
    world_until(START_S, signal_groups(w->inner->groups, w->inner->ngroups, SIGKILL) == 0);
    w->inner->ngroups = 0;
    if (w->inner->sql && PQtransactionStatus(w->inner->sql) != PQTRANS_IDLE)
        world_sql(w, "rollback"); /* of a test that failed while it held something */
    world_sql(
        w, "set session_replication_role = replica;" /* no trigger may mind */
           "do $$ declare t regclass; begin"
           "  for t in select format('settle.%%I', tablename) from pg_catalog.pg_tables"
           "           where schemaname = 'settle'"
           "             and tablename not in ('schema_version', 'hint_key', 'job_fences', "
           "'insights_platforms') loop"
           "    execute case when pg_table_size(t) > 4000000 then 'truncate ' else 'delete from ' end || t;"
           "  end loop;"
           "end $$;"
           "update settle.job_fences set holder = null, lease_until = '-infinity', watermark = null;"
           "insert into settle.scheduler_cumulative_stats (id) values (1);"
           "insert into settle.scheduler_stats_baseline (id) values (1);"
           "set session_replication_role = default");
    world_redis(w, "flushall", NULL);
    arena_reset(w->inner->arena);
    json_array_clear(w->inner->jsons);
}

/* The servers belong to `ops/servers hold`, a session of its own that ends when the pipe does: so also when this
 * program is killed. */
static void hold_servers(struct world *w)
{
    char program[512];
    int hold[2], said[2];
    FILE *environment;

    snprintf(w->dir, sizeof(w->dir), "/var/tmp/settle-test-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    assert_int_equal(chmod(w->dir, 0755), 0); /* the servers' users must come through */
    snprintf(program, sizeof(program), "%s/ops/servers", getenv("SETTLE_TOP"));
    assert_int_equal(pipe2(hold, O_CLOEXEC), 0);
    assert_int_equal(pipe2(said, O_CLOEXEC), 0);
    w->inner->servers = fork();
    if (w->inner->servers == 0) {
        setsid();
        dup2(hold[0], STDIN_FILENO);
        dup2(said[1], STDOUT_FILENO);
        execl(program, program, "hold", w->dir, (char *)NULL);
        _exit(127);
    }
    close(hold[0]);
    close(said[1]);
    w->inner->servers_hold = hold[1];
    environment = fdopen(said[0], "r");
    take_environment(w, environment);
    fclose(environment);
    if (!w->redis_url[0])
        fail_msg("ops/servers hold %s failed: see above", w->dir);
}

/* Lines like: export SETTLE_REDIS_URL='unix:///...' */
static void take_environment(struct world *w, FILE *from)
{
    char line[512], name[64], value[160];

    while (fgets(line, sizeof(line), from))
        if (sscanf(line, "export %63[A-Z_]='%159[^']'", name, value) == 2)
            setenv(name, value, 1);
    snprintf(w->database_url, sizeof(w->database_url), "%s", getenv("SETTLE_DATABASE_URL"));
    snprintf(w->redis_url, sizeof(w->redis_url), "%s", getenv("SETTLE_REDIS_URL"));
}

/* Nothing that a shell has set for another set-up counts here. */
static void clear_environment(void)
{
    static const char *const ours[] = {"SETTLE_BUILD=", "SETTLE_TOP=", "SETTLE_TEST_"};
    char **at = environ;

    while (*at) {
        char name[128] = "";
        bool keep = strncmp(*at, "SETTLE_", 7) != 0;

        for (size_t i = 0; i < countof(ours); i++)
            keep |= strncmp(*at, ours[i], strlen(ours[i])) == 0;
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(*at, "="), *at);
        if (keep)
            at++;
        else
            unsetenv(name);
    }
}

static void set_environment(void)
{
    const char *build = getenv("SETTLE_BUILD");
    char path[4096];

    snprintf(path, sizeof(path), "%s/gateway:%s/reconciler:%s", build, build, getenv("PATH"));
    setenv("PATH", path, 1);
    snprintf(path, sizeof(path), "%s/reconciler/settle-reconciler", build);
    setenv("SETTLE_ADMIN_RECONCILER", path, 1);
    setenv("SETTLE_INGEST_LISTEN", "127.0.0.1:0", 1);
    setenv("SETTLE_INGEST_LINGER_MS", "0", 1); /* a test keeps connections: its gateway need not wait */
    setenv("SETTLE_ADMIN_LISTEN", "127.0.0.1:0", 1);
    setenv("SETTLE_ADMIN_KEYS_REQUIRED", "false", 1);
    setenv("SETTLE_MONITOR_LISTEN", "127.0.0.1:0", 1);
    setenv("SETTLE_SECRET_INSTAGRAM", "instagram-secret-of-the-tests", 1);
    setenv("SETTLE_SECRET_TIKTOK", "tiktok-secret-of-the-tests", 1);
    setenv("SETTLE_SECRET_YOUTUBE", "youtube-secret-of-the-tests", 1);
}

/* Servers and gateway. */

int world_gateway(struct world *w, ...)
{
    const char *args[ARGS_MAX] = {"settle-gateway", "serve", "--ports-file"};
    char folder[80], ports[96], log[96];
    va_list more;
    int status;

    assert_int_equal(w->gateway, 0);
    snprintf(folder, sizeof(folder), "%s/gateway", w->dir);
    snprintf(ports, sizeof(ports), "%s/ports", folder);
    snprintf(log, sizeof(log), "%s/log", folder);
    mkdir(folder, 0755);
    unlink(ports);
    w->monitor_url[0] = '\0';
    args[3] = ports;
    va_start(more, w);
    take_args(args, 4, more);
    va_end(more);

    w->gateway = start(folder, args, log, log);
    world_until(START_S, gateway_ready(w))
    {
        if (has_ended(w->gateway, &status)) {
            w->gateway = 0;
            show_log(w);
            fail_msg("settle-gateway ended with %d instead of getting ready", status);
        }
        read_ports(w, ports);
    }
    return 0;
}

static void read_ports(struct world *w, const char *path)
{
    json_t *ports = json_load_file(path, 0, NULL);
    const char *ingest = NULL, *admin = NULL, *monitor = NULL;

    if (json_unpack(ports, "{s?s, s?s, s?s}", "ingest", &ingest, "admin", &admin, "monitor", &monitor) == 0) {
        snprintf(w->ingest_url, sizeof(w->ingest_url), "http://%s", ingest ? ingest : "off");
        snprintf(w->admin_url, sizeof(w->admin_url), "http://%s", admin ? admin : "off");
        snprintf(w->monitor_url, sizeof(w->monitor_url), "http://%s", monitor ? monitor : "off");
    }
    json_decref(ports);
}

static bool gateway_ready(struct world *w)
{
    char url[80];

    if (!w->monitor_url[0])
        return false;
    snprintf(url, sizeof(url), "%s/readyz", w->monitor_url);
    return world_http(w, "GET", url, NULL, SPAN_NONE).status == 200;
}

int world_gateway_stop(struct world *w)
{
    pid_t pid = w->gateway;

    assert_true(pid > 0);
    kill(pid, SIGTERM);
    w->gateway = 0;
    return end_of(pid, START_S);
}

static void show_log(struct world *w)
{
    char path[96];
    const char *text;
    size_t len;

    snprintf(path, sizeof(path), "%s/gateway/log", w->dir);
    text = read_file(w, path);
    len = strlen(text);
    fprintf(stderr, "the end of the gateway's log:\n%s\n", text + (len > 4000 ? len - 4000 : 0));
}

void world_kill(struct world *w, enum part part)
{
    signal_part(w, part, "KILL");
    if (part == GATEWAY) {
        waitpid(w->gateway, NULL, 0);
        w->gateway = 0;
    }
}

void world_crash(struct world *w)
{
    signal_part(w, POSTGRES, "QUIT");
}

void world_freeze(struct world *w, enum part part)
{
    signal_part(w, part, "STOP");
    w->inner->frozen[part] = true;
}

void world_thaw(struct world *w, enum part part)
{
    signal_part(w, part, "CONT");
    w->inner->frozen[part] = false;
}

/* Waits for one: it may just be starting. */
pid_t world_child(struct world *w, const char *role)
{
    pid_t found = 0;

    world_until(10, (found = newest_child(w->gateway, role)) > 0);
    return found;
}

static pid_t newest_child(pid_t parent, const char *name)
{
    char path[80], comm[32];
    pid_t newest = 0;
    FILE *children;
    int child;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)parent, (int)parent);
    children = fopen(path, "re");
    assert_non_null(children);
    while (fscanf(children, "%d", &child) == 1) {
        FILE *from;

        snprintf(path, sizeof(path), "/proc/%d/comm", child);
        from = fopen(path, "re");
        if (from && fgets(comm, sizeof(comm), from) && span_eq(span_of(strtok(comm, "\n")), span_of(name)))
            newest = child;
        if (from)
            fclose(from);
    }
    fclose(children);
    return newest;
}

/* One that a failed test left frozen would be waited for for ever. */
void world_servers(struct world *w)
{
    for (enum part part = POSTGRES; part <= REDIS; part++)
        if (w->inner->frozen[part])
            world_thaw(w, part);
    servers_do(w, "start", NULL, NULL);
}

/* The gateway is a process group, with all that it forks. */
static void signal_part(struct world *w, enum part part, const char *signal)
{
    if (part == POSTGRES)
        servers_do(w, "signal", "postgres", signal);
    else if (part == REDIS)
        servers_do(w, "signal", "redis", signal);
    else if (strcmp(signal, "KILL") == 0)
        world_until(START_S, signal_groups(&w->gateway, 1, SIGKILL) == 0);
    else
        signal_groups(&w->gateway, 1, strcmp(signal, "STOP") == 0 ? SIGSTOP : SIGCONT);
}

/* The servers run as users whose processes only ops/servers may look at. */
static void servers_do(struct world *w, const char *command, const char *server, const char *signal)
{
    char program[512];
    struct outcome end;

    snprintf(program, sizeof(program), "%s/ops/servers", getenv("SETTLE_TOP"));
    end = world_wait(w, world_spawn(w, program, command, w->dir, server, signal, NULL));
    if (end.status != 0)
        fail_msg("ops/servers %s: %s", command, end.err);
}

/* Returns how many there were. What lies in /proc/N/stat everybody may read, unlike the rest of a process that hides
 * its secrets. Zombies do not count: init may take its time. */
static size_t signal_groups(const pid_t *groups, size_t ngroups, int signal)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    size_t n = 0;

    assert_non_null(proc);
    while ((entry = readdir(proc))) {
        pid_t group = isdigit((unsigned char)entry->d_name[0]) ? group_of(entry->d_name) : 0;

        for (size_t i = 0; group > 0 && i < ngroups; i++)
            if (groups[i] == group) {
                kill(atoi(entry->d_name), signal);
                n++;
                break;
            }
    }
    closedir(proc);
    return n;
}

/* 0: gone, a zombie, or of another session than ours, as a number given anew would be. */
static pid_t group_of(const char *pid)
{
    char path[280], text[512] = "", state;
    const char *rest;
    int group, session;
    FILE *from;

    snprintf(path, sizeof(path), "/proc/%s/stat", pid);
    from = fopen(path, "re");
    if (!from)
        return 0;
    rest = fgets(text, sizeof(text), from) ? strrchr(text, ')') : NULL; /* a name may hold anything */
    fclose(from);
    if (!rest || sscanf(rest, ") %c %*d %d %d", &state, &group, &session) != 3 || state == 'Z' ||
        session != getsid(0))
        return 0;
    return group;
}

/* HTTP. */

struct reply world_http(struct world *w, const char *method, const char *url, const char *const *headers,
                        struct span body)
{
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    struct text *head = text_open(), *answer = text_open();
    struct reply r = {0};
    CURL *c = w->inner->curl;
    CURLcode end;

    for (; headers && *headers; headers++)
        list = curl_slist_append(list, *headers);
    curl_easy_reset(c);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_NOBODY, strcmp(method, "HEAD") == 0 ? 1L : 0L); /* else it waits for one */
    curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_TIMEOUT, (long)ANSWER_S);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, list);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, head->to);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, answer->to);
    if (body.at) {
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE, (long)body.len);
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, body.at);
    }
    end = curl_easy_perform(c);
    if (end == CURLE_OK)
        curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &r.status);
    curl_slist_free_all(list);
    r.headers = text_keep(w, head);
    r.body = text_keep(w, answer);
    r.json = parse(w, r.body);
    return r;
}

const char *reply_header(struct world *w, const struct reply *r, const char *name)
{
    size_t len = strlen(name);

    for (const char *line = r->headers; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncasecmp(line, name, len) == 0 && line[len] == ':') {
            const char *value = line + len + 1 + strspn(line + len + 1, " ");
            return arena_copy(w->inner->arena, (struct span){value, strcspn(value, "\r\n")}).at;
        }
    }
    return NULL;
}

struct reply world_post(struct world *w, const char *platform, const char *source, const char *body)
{
    const char *url = arena_print(w->inner->arena, "%s/publishing/webhooks/%s%s%s", w->ingest_url, platform,
                                  source ? "/" : "", source ? source : "");

    return world_http(w, "POST", url, world_sign(w, platform, source, span_of(body)), span_of(body));
}

struct reply world_deliver(struct world *w, const char *platform, const char *source, const char *body)
{
    struct reply r;

    world_until(START_S, (r = world_post(w, platform, source, body)).status != 503);
    if (r.status != 200)
        fail_msg("%s: %ld %s", platform, r.status, r.body);
    return r;
}

struct reply world_api(struct world *w, const char *method, const char *path, const char *json)
{
    const char *headers[] = {"content-type: application/json", NULL};

    return world_http(w, method, arena_print(w->inner->arena, "%s%s", w->admin_url, path), headers,
                      span_of(json));
}

const char *const *world_sign(struct world *w, const char *platform, const char *source, struct span body)
{
    struct arena *a = w->inner->arena;
    const char *secret = world_secret(platform, source),
               *time = arena_print(a, "%lld", (long long)now_wall_us() / SECOND_US);
    const char **headers = arena_zero(a, 3 * sizeof(*headers));
    bool tiktok = strcmp(platform, "tiktok") == 0;
    crypto_auth_hmacsha256_state state;
    unsigned char mac[crypto_auth_hmacsha256_BYTES];
    char hex[2 * sizeof(mac) + 1];

    crypto_auth_hmacsha256_init(&state, (const unsigned char *)secret, strlen(secret));
    if (tiktok) {
        crypto_auth_hmacsha256_update(&state, (const unsigned char *)time, strlen(time));
        crypto_auth_hmacsha256_update(&state, (const unsigned char *)".", 1);
    }
    crypto_auth_hmacsha256_update(&state, (const unsigned char *)body.at, body.len);
    crypto_auth_hmacsha256_final(&state, mac);
    sodium_bin2hex(hex, sizeof(hex), mac, sizeof(mac));

    headers[0] = "content-type: application/json";
    if (tiktok)
        headers[1] = arena_print(a, "tiktok-signature: t=%s,s=%s", time, hex);
    else
        headers[1] = arena_print(a, "x-hub-signature%s: sha256=%s",
                                 strcmp(platform, "youtube") == 0 ? "" : "-256", hex);
    return headers;
}

double world_metric(struct world *w, const char *series)
{
    const char *url = arena_print(w->inner->arena, "%s/metrics", w->monitor_url),
               *line = world_http(w, "GET", url, NULL, SPAN_NONE).body;
    size_t len = strlen(series);

    for (; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (strncmp(line, series, len) == 0 && line[len] == ' ')
            return strtod(line + len, NULL);
    return -1;
}

/* The files first: those of a worker that has taken one over meanwhile are told after what is in it. */
bool world_is_drained(struct world *w)
{
    return world_metric(w, "settle_spool_orphan_files") == 0 && world_metric(w, "settle_spool_records") == 0;
}

const char *world_secret(const char *platform, const char *source)
{
    char name[160];
    const char *secret;

    snprintf(name, sizeof(name), "SETTLE_SECRET_%s%s%s", platform, source ? "_" : "", source ? source : "");
    for (char *at = name; *at; at++)
        *at = *at == '-' ? '_' : (char)toupper((unsigned char)*at);
    secret = getenv(name);
    if (!secret)
        fail_msg("no %s in the environment", name);
    return secret;
}

/* Stores. */

const char *world_sql(struct world *w, const char *format, ...)
{
    PGresult *result = NULL;
    const char *text = NULL;
    char *statement;
    va_list args;

    va_start(args, format);
    assert_true(vasprintf(&statement, format, args) >= 0);
    va_end(args);
    for (int tries = 0; tries < 2 && !text && sql_connected(w);
         tries++) { /* the second on a new connection */
        PQclear(result);
        result = PQexec(w->inner->sql, statement);
        if (PQresultStatus(result) == PGRES_COMMAND_OK || PQresultStatus(result) == PGRES_TUPLES_OK)
            text = shown(w, result);
        else if (PQstatus(w->inner->sql) == CONNECTION_OK &&
                 PQtransactionStatus(w->inner->sql) == PQTRANS_IDLE &&
                 PQresultErrorField(result,
                                    PG_DIAG_SQLSTATE)) /* else it was lost, and libpq may not say so yet */
            fail_msg("%s%s", PQerrorMessage(w->inner->sql), statement);
        if (!text) {
            PQfinish(w->inner->sql);
            w->inner->sql = NULL;
        }
    }
    PQclear(result);
    free(statement);
    return text;
}

static bool sql_connected(struct world *w)
{
    const char *const names[] = {"dbname", "user", "connect_timeout", "options", NULL};
    const char *const values[] = {w->database_url, "postgres", "5", "-c client_min_messages=warning", NULL};

    if (PQstatus(w->inner->sql) == CONNECTION_OK)
        return true;
    PQfinish(w->inner->sql);
    w->inner->sql = PQconnectdbParams(names, values, 1);
    return PQstatus(w->inner->sql) == CONNECTION_OK;
}

static const char *shown(struct world *w, const PGresult *result)
{
    struct text *text = text_open();

    for (int row = 0; row < PQntuples(result); row++) {
        if (row > 0)
            fputc('\n', text->to);
        for (int column = 0; column < PQnfields(result); column++)
            fprintf(text->to, "%s%s", column > 0 ? "|" : "", PQgetvalue(result, row, column));
    }
    return text_keep(w, text);
}

long world_count(struct world *w, const char *format, ...)
{
    char *statement;
    const char *text;
    va_list args;

    va_start(args, format);
    assert_true(vasprintf(&statement, format, args) >= 0);
    va_end(args);
    text = world_sql(w, "%s", statement);
    free(statement);
    return text && *text ? strtol(text, NULL, 10) : -1;
}

const char *world_redis(struct world *w, ...)
{
    const char *args[ARGS_MAX] = {"redis-cli", "-s", w->redis_url + strlen("unix://")};
    struct outcome end;
    va_list more;

    va_start(more, w);
    take_args(args, 3, more);
    va_end(more);
    end = world_wait(w, spawn(w, args));
    return end.status == 0 ? end.out : NULL;
}

const char *world_publication(struct world *w, const char *platform, const char *post, const char *status,
                              double age_minutes)
{
    return world_sql(w,
                     "insert into settle.publish_logs"
                     "  (platform, user_id_str, status, external_post_id, created_at, updated_at)"
                     "select '%s', 'user-1', '%s', '%s', at, at"
                     "  from (select now() - make_interval(secs => 60 * %f)) as age (at) returning id",
                     platform, status, post, age_minutes);
}

/* Programs. */

struct process world_spawn(struct world *w, const char *program, ...)
{
    const char *args[ARGS_MAX] = {program};
    va_list more;

    va_start(more, program);
    take_args(args, 1, more);
    va_end(more);
    return spawn(w, args);
}

struct outcome world_reconcile(struct world *w, ...)
{
    const char *args[ARGS_MAX] = {"settle-reconciler", "publications", "--json"};
    va_list more;

    va_start(more, w);
    take_args(args, 3, more);
    va_end(more);
    return world_wait(w, spawn(w, args));
}

static struct process spawn(struct world *w, const char *const *args)
{
    struct process p = {.nth = w->inner->nspawned++};

    p.pid = start(w->dir, args, nth_file(w, "out", p.nth), nth_file(w, "err", p.nth));
    w->inner->groups = realloc(w->inner->groups, (w->inner->ngroups + 1) * sizeof(w->inner->groups[0]));
    assert_non_null(w->inner->groups);
    w->inner->groups[w->inner->ngroups++] = p.pid;
    return p;
}

struct outcome world_wait(struct world *w, struct process p)
{
    struct outcome end = {.status = end_of(p.pid, PROGRAM_S)};

    end.out = read_file(w, nth_file(w, "out", p.nth));
    end.err = read_file(w, nth_file(w, "err", p.nth));
    end.json = parse(w, end.out);
    return end;
}

bool world_ended(struct process p)
{
    siginfo_t end = {0};

    return waitid(P_PID, (id_t)p.pid, &end, WEXITED | WNOHANG | WNOWAIT) == 0 && end.si_pid == p.pid;
}

bool world_said(struct world *w, struct process p, const char *text)
{
    return strstr(read_file(w, nth_file(w, "err", p.nth)), text) != NULL;
}

static const char *nth_file(struct world *w, const char *what, unsigned nth)
{
    return arena_print(w->inner->arena, "%s/%s.%u", w->dir, what, nth);
}

/* The child dies with us, has nothing on stdin and writes to files, so that no pipe can fill up. */
static pid_t start(const char *folder, const char *const *args, const char *out, const char *err)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
        char *copy[ARGS_MAX];

        memcpy(copy, args, sizeof(copy)); /* execvp wants them without const */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setpgid(0, 0);
        dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
        dup2(open(out, flags, 0600), STDOUT_FILENO);
        dup2(open(err, flags, 0600), STDERR_FILENO);
        if (chdir(folder) == 0)
            execvp(copy[0], copy);
        perror(args[0]);
        _exit(127);
    }
    setpgid(pid, pid); /* here too: whoever is first */
    return pid;
}

static void take_args(const char **args, size_t n, va_list more)
{
    do {
        assert_true(n < ARGS_MAX);
        args[n] = va_arg(more, const char *);
    } while (args[n++]);
}

static bool has_ended(pid_t pid, int *ret_status)
{
    int status;

    if (waitpid(pid, &status, WNOHANG) == 0)
        return false;
    *ret_status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    return true;
}

static int end_of(pid_t pid, double deadline_s)
{
    int status = -1;

    world_until(deadline_s, has_ended(pid, &status));
    return status;
}

/* Texts. */

static const char *read_file(struct world *w, const char *path)
{
    struct text *text = text_open();
    FILE *from = fopen(path, "re");

    for (int c; from && (c = fgetc(from)) != EOF;)
        fputc(c, text->to);
    if (from)
        fclose(from);
    return text_keep(w, text);
}

static json_t *parse(struct world *w, const char *text)
{
    json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);

    if (json)
        json_array_append_new(w->inner->jsons, json);
    return json;
}

static struct text *text_open(void)
{
    struct text *t = calloc(1, sizeof(*t));

    assert_non_null(t);
    t->to = open_memstream(&t->at, &t->len);
    assert_non_null(t->to);
    return t;
}

static const char *text_keep(struct world *w, struct text *t)
{
    const char *kept;

    fclose(t->to);
    kept = arena_copy(w->inner->arena, (struct span){t->at, t->len}).at;
    free(t->at);
    free(t);
    return kept;
}

/* Time. */

int64_t world_deadline(double seconds)
{
    return now_boot_us() + (int64_t)(seconds * (double)SECOND_US);
}

void world_look_again(int64_t until, const char *condition)
{
    static int64_t last;
    static unsigned looks;

    looks = until == last ? looks + 1 : 0;
    last = until;
    if (now_boot_us() > until)
        fail_msg("waited in vain until %s", condition);
    nanosleep(&(struct timespec){.tv_nsec = (looks < LOOKS_SOON ? LOOK_EVERY_US : LOOK_RARELY_US) * 1000},
              NULL);
}

void world_avoid_midnight(void)
{
    const int64_t day_us = 24 * 60 * MINUTE_US;

    world_until(2 * MIDNIGHT_S, now_wall_us() % day_us < day_us - MIDNIGHT_S * SECOND_US);
}

bool world_times_count(void)
{
    return getenv("SETTLE_TEST_LONG") && !TEST_SANITIZED;
}
