#include "support/test.h"

#include "base/arena.h"
#include "base/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char *const no_environment[] = {NULL};

/* A file with that text; the path is static. */
static const char *file_with(const char *text)
{
    static char path[64];
    int fd;

    snprintf(path, sizeof(path), "/tmp/settle-config-XXXXXX");
    fd = mkstemp(path);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    return path;
}

static struct config *open_text(const char *text, struct err *err)
{
    const char *path = file_with(text);
    struct config *c = config_open(path, no_environment, NULL, 0, err);

    unlink(path);
    return c;
}

static struct config *must_open(const char *path, char *const *environment, const struct config_flag *flags,
                                size_t nflags)
{
    struct err err = {.text = ""};
    struct config *c = config_open(path, environment, flags, nflags, &err);

    if (!c)
        fail_msg("%s", err.text);
    return c;
}

static const char *printed(const struct config *c)
{
    static char text[8192];
    FILE *out = fmemopen(text, sizeof(text), "w");

    config_print(c, out);
    fclose(out);
    return text;
}

static void assert_defaults(const struct config *c)
{
    assert_string_equal(c->database.url, "");
    assert_true(c->database.prepare);
    assert_null(c->redis.url);
    assert_true(c->ingest.enabled && c->admin.enabled && c->monitor.enabled);
    assert_string_equal(c->ingest.listen.host, "0.0.0.0");
    assert_int_equal(c->ingest.listen.port, 8080);
    assert_null(c->ingest.listen.path);
    assert_int_equal(c->ingest.workers, 1);
    assert_int_equal(c->ingest.connections, 2);
    assert_int_equal(c->ingest.batch_rows, 64);
    assert_int_equal(c->ingest.queue, 4096);
    assert_int_equal(c->ingest.commit_timeout_ms, 2000);
    assert_int_equal(c->ingest.max_body_bytes, 1 << 20);
    assert_int_equal(c->ingest.max_connections, 2048);
    assert_int_equal(c->ingest.request_timeout_ms, 10000);
    assert_int_equal(c->ingest.linger_ms, 5000);
    assert_int_equal(c->ingest.max_connections_per_address, 64);
    assert_int_equal(c->ingest.trusted_proxies.n, 2);
    assert_int_equal(c->ingest.trusted_proxies.at[0].bits, 96 + 8);
    assert_int_equal(c->admin.listen.port, 8081);
    assert_null(c->admin.reconciler);
    assert_string_equal(c->admin.reconciler_database_url, "");
    assert_int_equal(c->monitor.listen.port, 9090);
    assert_int_equal(c->log.level, LOG_INFO);
    assert_null(c->platforms.folder);
    assert_int_equal(c->reconcile.since_minutes, 10);
    assert_int_equal(c->reconcile.evidence_age_minutes, 10);
    assert_int_equal(c->reconcile.batch_size, 1000);
    assert_int_equal(c->reconcile.ntimeouts, 0);
    assert_int_equal(c->reconcile.breaker.failure_threshold, 5);
    assert_int_equal(c->reconcile.breaker.open_cooldown_seconds, 300);
    assert_int_equal(c->reconcile.breaker.half_open_probe_count, 3);
    assert_int_equal(c->reconcile.nbreakers, 0);
    assert_false(c->fetch.allow_http);
    assert_int_equal(c->fetch.allow_private.n, 0);
    assert_int_equal(c->fetch.timeout_ms, 15000);
    assert_null(c->connections.key_file);
    assert_string_equal(c->ingest.public_url, "");
    assert_int_equal(c->refused.inserts_per_second, 10);
    assert_int_equal(c->refused.megabytes_per_source, 64);
    assert_int_equal(c->refused.keep_hours, 24);
    assert_int_equal(c->nsources, 0);
    assert_false(c->unsafe_ok);
}

static void test_without_anything_there_are_defaults(void **state)
{
    struct config *c = must_open(NULL, no_environment, NULL, 0);

    (void)state;
    assert_defaults(c);
    config_close(c);
}

/* The sample says every default, so it must change none; and it names every key, set or in a comment. */
static void test_the_sample_file_names_every_key_with_its_default(void **state)
{
    struct config *c = must_open(SOURCE_ROOT "/ops/settle.yaml", no_environment, NULL, 0);
    FILE *file = fopen(SOURCE_ROOT "/ops/settle.yaml", "r");
    char text[16384] = "", section[64] = "", path[128], name[64];
    bool named[256] = {false};
    size_t n = 0;

    (void)state;
    assert_defaults(c);
    config_close(c);
    assert_non_null(file);
    while (fgets(text, sizeof(text), file)) {
        bool inside = strncmp(text, "  ", 2) == 0;
        if (sscanf(text, inside ? "  %*[# ]%63[a-z_]:" : "%63[a-z_]:", name) != 1 &&
            sscanf(text, " %63[a-z_]:", name) != 1)
            continue;
        snprintf(path, sizeof(path), "%s%s%s", inside ? section : "", inside ? "." : "", name);
        if (!inside)
            snprintf(section, sizeof(section), "%s", name);
        for (size_t i = 0; i < countof(named) && config_key(i); i++)
            named[i] |= strcmp(config_key(i), path) == 0;
    }
    fclose(file);
    for (; n < countof(named) && config_key(n); n++)
        if (!named[n])
            fail_msg("ops/settle.yaml does not name %s", config_key(n));
    assert_in_range(n, 20, countof(named) - 1); /* none is left out */
}

static void test_a_file_sets_what_it_names(void **state)
{
    struct err err = {.text = ""};
    struct config *c = open_text(
        "database: {url: \"host=/run dbname=x\", prepare: off}\n"
        "redis:\n  url: redis://:pw@h:1/0\n"
        "ingest: {enabled: false, listen: \"unix:/run/settle/in.sock\", workers: 64,"
        " public_url: \"https://hooks.example.com:8443/in\"}\n"
        "refused: {inserts_per_second: 1000, megabytes_per_source: 1024, keep_hours: 720}\n"
        "monitor: {listen: \"[::1]:0\"}\n"
        "log: {level: debug}\n"
        "reconcile:\n  since_minutes: 20\n  timeout_minutes:\n"
        "    - {platform: youtube, minutes: 60}\n"
        "  open_cooldown_seconds: 30\n"
        "  breakers: [{platform: x, failure_threshold: 1}, {platform: y, half_open_probe_count: 100}]\n"
        "fetch: {allow_http: true, allow_private: \"10.0.0.0/8 ::1\", max_answer_bytes: 1024}\n"
        "connections: {key_file: /k}\n"
        "sources:\n  - platform: tiktok\n    secret_file: /a\n"
        "  - {platform: tiktok, name: acme, secret_file: /b, verify_token_file: /t, topics: [x, y]}\n"
        "  - {platform: tiktok, name: own, secret_file: /c, tenant: anna}\n"
        "unsafe_ok: true\n",
        &err);

    (void)state;
    assert_string_equal(err.text, "");
    assert_string_equal(c->database.url, "host=/run dbname=x");
    assert_false(c->database.prepare);
    assert_string_equal(c->admin.reconciler_database_url, "host=/run dbname=x");
    assert_string_equal(c->redis.url, "redis://:pw@h:1/0");
    assert_false(c->ingest.enabled);
    assert_string_equal(c->ingest.listen.path, "/run/settle/in.sock");
    assert_int_equal(c->ingest.workers, 64);
    assert_string_equal(c->monitor.listen.host, "::1");
    assert_int_equal(c->monitor.listen.port, 0);
    assert_int_equal(c->log.level, LOG_DEBUG);
    assert_int_equal(c->reconcile.since_minutes, 20);
    assert_int_equal(c->reconcile.evidence_age_minutes, 20);
    assert_int_equal(c->reconcile.ntimeouts, 1);
    assert_string_equal(c->reconcile.timeouts[0].platform, "youtube");
    assert_int_equal(c->reconcile.timeouts[0].minutes, 60);
    assert_int_equal(c->reconcile.nbreakers, 2);
    assert_string_equal(c->reconcile.breakers[0].platform, "x");
    assert_int_equal(c->reconcile.breakers[0].failure_threshold, 1);
    assert_int_equal(c->reconcile.breakers[0].open_cooldown_seconds, 30); /* as every platform's */
    assert_int_equal(c->reconcile.breakers[0].half_open_probe_count, 3);
    assert_int_equal(c->reconcile.breakers[1].failure_threshold, 5);
    assert_int_equal(c->reconcile.breakers[1].half_open_probe_count, 100);
    assert_true(c->fetch.allow_http);
    assert_int_equal(c->fetch.allow_private.n, 2);
    assert_int_equal(c->fetch.max_answer_bytes, 1024);
    assert_string_equal(c->connections.key_file, "/k");
    assert_int_equal(c->nsources, 3);
    assert_string_equal(config_tenant_of(c, SPAN("tiktok"), SPAN("own")), "anna");
    assert_null(config_tenant_of(c, SPAN("tiktok"), SPAN("acme")));
    assert_null(config_tenant_of(c, SPAN("youtube"), SPAN("own")));
    assert_string_equal(c->sources[0].name, "default");
    assert_string_equal(c->sources[1].name, "acme");
    assert_string_equal(c->sources[1].secret_file, "/b");
    assert_null(c->sources[0].verify_token_file);
    assert_int_equal(c->sources[0].ntopics, 0);
    assert_string_equal(c->sources[1].verify_token_file, "/t");
    assert_int_equal(c->sources[1].ntopics, 2);
    assert_string_equal(c->sources[1].topics[1], "y");
    assert_string_equal(c->ingest.public_url, "https://hooks.example.com:8443/in");
    assert_int_equal(c->refused.inserts_per_second, 1000);
    assert_int_equal(c->refused.megabytes_per_source, 1024);
    assert_int_equal(c->refused.keep_hours, 720);
    assert_true(c->unsafe_ok);
    config_close(c);
}

static void test_flag_goes_before_environment_before_file(void **state)
{
    char variable[100];
    char *environment[] = {variable, (char[]){"SETTLE_RECONCILE_BATCH_SIZE=200"},
                           (char[]){"SETTLE_LOG_LEVEL=warn"}, (char[]){"SETTLE_INGEST_WORKERS_OLD=9"}, NULL};
    const struct config_flag flags[] = {
        {"log.level",                      "error"},
        {"reconcile.evidence_age_minutes", "0"    }
    };
    const char *path = file_with("reconcile: {since_minutes: 30, batch_size: 300}\nlog: {level: debug}\n");
    struct config *c;

    (void)state;
    snprintf(variable, sizeof(variable), "SETTLE_CONFIG=%s", path);
    c = must_open(NULL, environment, flags, countof(flags));
    assert_int_equal(c->reconcile.since_minutes, 30);
    assert_int_equal(c->reconcile.batch_size, 200);
    assert_int_equal(c->reconcile.evidence_age_minutes, 0);
    assert_int_equal(c->log.level, LOG_ERROR);
    assert_int_equal(c->ingest.workers, 1);
    assert_non_null(strstr(printed(c), "  since_minutes: 30 # /tmp/settle-config-"));
    assert_non_null(strstr(printed(c), "  batch_size: 200 # SETTLE_RECONCILE_BATCH_SIZE\n"));
    assert_non_null(strstr(printed(c), "  level: error # flag\n"));
    assert_non_null(strstr(printed(c), "  workers: 1 # default\n"));
    unlink(path);
    config_close(c);
}

static void test_a_url_may_come_from_a_file(void **state)
{
    const char *path = file_with("host=/run password=geheim\n");
    char variable[100], *environment[] = {variable, NULL, NULL};
    struct err err;
    struct config *c;

    (void)state;
    snprintf(variable, sizeof(variable), "SETTLE_DATABASE_URL_FILE=%s", path);
    c = must_open(NULL, environment, NULL, 0);
    assert_string_equal(c->database.url, "host=/run password=geheim");
    config_close(c);

    environment[1] = (char[]){"SETTLE_DATABASE_URL=x"};
    assert_null(config_open(NULL, environment, NULL, 0, &err));
    assert_string_equal(
        err.text, "SETTLE_DATABASE_URL and SETTLE_DATABASE_URL_FILE are both set; one of them is enough");
    unlink(path);
    environment[1] = NULL;
    assert_null(config_open(NULL, environment, NULL, 0, &err));
    assert_non_null(strstr(err.text, "SETTLE_DATABASE_URL_FILE: file \"/tmp/settle-config-"));
}

static const struct {
    const char *why, *text, *message; /* behind the file's name */
} wrong[] = {
    {"an empty file",              "",                                                                     ": the file is empty"                                },
    {"comments alone",             "# x\n\n",                                                              ": the file is empty"                                },
    {"a second document",          "unsafe_ok: true\n---\nunsafe_ok: false\n",
     ":2:1: a second document; one file is one document"                                                                                                        },
    {"broken YAML",                "ingest: {workers: 1\n",                                                ":2:1: did not find expected ',' or '}'"             },
    {"a unit",                     "ingest:\n  workers: 10m\n",
     ":2:3: ingest.workers: \"10m\" is not a whole number from 1 to 64, without a unit"                                                                         },
    {"too many",                   "ingest: {workers: 65}\n",
     ":1:10: ingest.workers: \"65\" is not a whole number from 1 to 64"                                                                                         },
    {"too few",                    "reconcile: {since_minutes: 0}\n",
     ":1:13: reconcile.since_minutes: \"0\" is not a whole number from 1 to 1440"                                                                               },
    {"a leading zero",             "ingest: {workers: 010}\n",                                             "\"010\" is not a whole number"                      },
    {"a sign",                     "ingest: {workers: -1}\n",                                              "\"-1\" is not a whole number"                       },
    {"hexadecimal",                "ingest: {workers: 0x10}\n",                                            "\"0x10\" is not a whole number"                     },
    {"no number",                  "ingest: {workers: }\n",                                                "\"\" is not a whole number"                         },
    {"an overflow",                "ingest: {workers: 18446744073709551617}\n",                            "is not a whole number"                              },
    {"a half truth",               "unsafe_ok: yes\n",                                                     ":1:1: unsafe_ok: must be true or false"             },
    {"an unknown level",           "log: {level: loud}\n",                                                 ":1:7: log.level: must be debug, info, warn or error"},
    {"a half prepare",             "database: {prepare: on}\n",                                            ":1:12: database.prepare: must be auto or off"       },
    {"an unknown section",         "ingests: {workers: 1}\n",
     ":1:1: unknown key \"ingests\"; known here: database, redis, ingest,"                                                                                      },
    {"an unknown key",             "ingest:\n  listen: a:1\n  wrokers: 1\n",
     ":3:3: unknown key \"wrokers\"; known here: enabled, listen, workers,"                                                                                     },
    {"a key twice",                "ingest:\n  workers: 1\n  workers: 2\n",                                ":3:3: ingest.workers: the key is there twice"       },
    {"a list for a word",          "ingest: {workers: [1]}\n",
     ":1:10: ingest.workers: Expecting STRING, got event: SEQUENCE_START"                                                                                       },
    {"a word for a section",       "ingest: 1\n",                                                          ":1:1: ingest: Expecting MAPPING, got event: SCALAR" },
    {"a port too high",            "monitor: {listen: \"h:65536\"}\n",
     ":1:11: monitor.listen: must be host:port, [::1]:port or unix:/path"                                                                                       },
    {"no host",                    "monitor: {listen: \":80\"}\n",                                         "monitor.listen: must be host:port"                  },
    {"no port",                    "monitor: {listen: \"localhost\"}\n",                                   "monitor.listen: must be host:port"                  },
    {"a bare IPv6 address",        "monitor: {listen: \"::1:80\"}\n",                                      "monitor.listen: must be host:port"                  },
    {"a relative socket",          "monitor: {listen: \"unix:x.sock\"}\n",
     "monitor.listen: must be unix: and a full path"                                                                                                            },
    {"an alias",                   "log: &l {level: info}\nmonitor: *l\n",                                 ":2:10: an alias; write the value out"               },
    {"a source without secret",    "sources:\n  - {platform: tiktok}\n",
     "sources[0].platform: Missing required mapping field: secret_file"                                                                                         },
    {"a public URL with a slash",  "ingest: {public_url: \"https://h/\"}\n",
     ":1:10: ingest.public_url: must be https://host or http://host"                                                                                            },
    {"a public URL without host",  "ingest: {public_url: \"https://\"}\n",
     "ingest.public_url: must be https://host"                                                                                                                  },
    {"a public URL of a port",     "ingest: {public_url: \"https://:80\"}\n",
     "ingest.public_url: must be https://host"                                                                                                                  },
    {"a public URL with a query",  "ingest: {public_url: \"https://h/a?b\"}\n",
     "ingest.public_url: must be https://host"                                                                                                                  },
    {"a public URL with a blank",  "ingest: {public_url: \"https://h /a\"}\n",
     "ingest.public_url: must be https://host"                                                                                                                  },
    {"a public URL with a user",   "ingest: {public_url: \"https://u:p@h\"}\n",
     "ingest.public_url: must be https://host"                                                                                                                  },
    {"no scheme",                  "ingest: {public_url: hooks.example.com}\n",                            "ingest.public_url: must be https://host"            },
    {"more than a month",          "refused: {keep_hours: 721}\n",
     ":1:11: refused.keep_hours: \"721\" is not a whole number from 1 to 720"                                                                                   },
    {"none a second",              "refused: {inserts_per_second: 0}\n",
     "refused.inserts_per_second: \"0\" is not a whole number from 1 to 1000"                                                                                   },
    {"no room",                    "refused: {megabytes_per_source: 1025}\n",
     "refused.megabytes_per_source: \"1025\" is not a whole number from 1 to 1024"                                                                              },
    {"an unknown key of a source", "sources:\n  - {platform: tiktok, secret: x}\n",
     ":2:24: unknown key \"secret\"; known here: platform, name, secret_file"                                                                                   },
    {"a breaker that never opens", "reconcile:\n  breakers:\n    - {platform: x, failure_threshold: 0}\n",
     ":3:21: reconcile.breakers[0].failure_threshold: \"0\" is not a whole number from 1 to 1000"                                                               },
    {"a breaker of nobody",        "reconcile: {breakers: [{}]}\n",                                        "platform"                                           },
    {"a time-out with a unit",     "reconcile:\n  timeout_minutes:\n    - {platform: x, minutes: 1h}\n",
     ":3:21: reconcile.timeout_minutes[0].minutes: \"1h\" is not a whole number"                                                                                },
};

static void test_a_wrong_file_is_told_where_and_what_would_be_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(wrong); i++) {
        struct err err = {.text = ""};
        struct config *c = open_text(wrong[i].text, &err);
        if (c)
            fail_msg("%s is taken", wrong[i].why);
        if (err.code != INVALID || !strstr(err.text, wrong[i].message) ||
            strncmp(err.text, "/tmp/settle-config-", 19) != 0)
            fail_msg("%s: got \"%s\", want \"%s\"", wrong[i].why, err.text, wrong[i].message);
    }
}

static void test_a_misspelt_variable_is_named_and_what_others_mean_is_left(void **state)
{
    static const struct {
        const char *variable, *meant;
    } misspelt[] = {
        {"SETTLE_INGEST_COMMIT_TIMEOUT",    "SETTLE_INGEST_COMMIT_TIMEOUT_MS"},
        {"SETTLE_INGEST_COMIT_TIMEOUT_MS",  "SETTLE_INGEST_COMMIT_TIMEOUT_MS"},
        {"SETTLE_INGEST_COMMIT_TIMEOUT_SM", "SETTLE_INGEST_COMMIT_TIMEOUT_MS"},
        {"SETTLE_DATABASE_URL_FLE",         "SETTLE_DATABASE_URL_FILE"       },
        {"SETTLE_SPOOL_FOLDERS",            "SETTLE_SPOOL_FOLDER"            },
        {"SETTLE_REDISURL",                 "SETTLE_REDIS_URL"               },
        {"SETTLE_CONFG",                    "SETTLE_CONFIG"                  },
    };
    /* Of Kubernetes, beside a Service that is called settle or settle-admin; of ops/run; of a shell. */
    char *others[] = {(char[]){"SETTLE_SERVICE_HOST=10.0.0.1"},
                      (char[]){"SETTLE_PORT_9090_TCP=tcp://10.0.0.1:9090"},
                      (char[]){"SETTLE_ADMIN_SERVICE_PORT=9090"},
                      (char[]){"SETTLE_REDIS_PORT=tcp://10.0.0.1:6379"},
                      (char[]){"SETTLE_DATABASE_USER=me"},
                      (char[]){"SETTLE_INGEST_URL=http://h"},
                      (char[]){"SETTLE_ADMIN_URL=http://h"},
                      (char[]){"SETTLE_MONITOR_URL=http://h"},
                      (char[]){"SETTLE_CONFIG="},
                      (char[]){"SETTLE_="},
                      (char[]){"SETTLEINGEST_WORKERS=1"},
                      NULL};
    struct err err;

    (void)state;
    for (size_t i = 0; i < countof(misspelt); i++) {
        char variable[100], wanted[200], *environment[] = {variable, NULL};
        snprintf(variable, sizeof(variable), "%s=1", misspelt[i].variable);
        snprintf(wanted, sizeof(wanted), "%s: there is no such setting; %s is meant?", misspelt[i].variable,
                 misspelt[i].meant);
        assert_null(config_open(NULL, environment, NULL, 0, &err));
        assert_int_equal(err.code, INVALID);
        assert_string_equal(err.text, wanted);
    }
    config_close(must_open(NULL, others, NULL, 0));
}

static void test_a_wrong_variable_or_flag_is_named(void **state)
{
    char *environment[] = {(char[]){"SETTLE_INGEST_WORKERS=many"}, NULL};
    char *list[] = {(char[]){"SETTLE_SOURCES=tiktok"}, NULL};
    const struct config_flag unknown = {"ingest.wrokers", "1"}, bad = {"ingest.workers", "0"};
    struct err err;

    (void)state;
    assert_null(config_open(NULL, environment, NULL, 0, &err));
    assert_string_equal(err.text,
                        "SETTLE_INGEST_WORKERS: \"many\" is not a whole number from 1 to 64, without a unit");
    assert_null(config_open(NULL, list, NULL, 0, &err));
    assert_string_equal(err.text, "SETTLE_SOURCES: is a list: only a file can set it");
    assert_null(config_open(NULL, no_environment, &unknown, 1, &err));
    assert_string_equal(err.text, "ingest.wrokers: there is no such option");
    assert_null(config_open(NULL, no_environment, &bad, 1, &err));
    assert_string_equal(err.text, "ingest.workers: \"0\" is not a whole number from 1 to 64, without a unit");
    assert_null(config_open("/nowhere.yaml", no_environment, NULL, 0, &err));
    assert_string_equal(err.text, "file \"/nowhere.yaml\": No such file or directory");
}

/* All that could hold a password, in whatever form; a copy that lives as long as the next call. */
static const char *shown_as_json(const struct config *c)
{
    static const char *const sections[] = {"database", "redis", "admin", "reconcile", "connections"};
    static char text[8192];
    struct arena *arena = arena_open(1024);

    snprintf(text, sizeof(text), "%.*s", SPAN_ARG(config_json(c, sections, countof(sections), arena)));
    arena_close(arena);
    return text;
}

static void test_no_password_is_printed(void **state)
{
    static const struct {
        const char *url, *shown;
    } urls[] = {
        {"postgresql://u:geheim@h/db",                    "postgresql://u:***@h/db"                },
        {"postgresql://u:ge@he/im@h/db?x=1",              "postgresql://u:***@h/db?x=1"            },
        {"postgresql://u@h/db?password=geheim&x=1",       "postgresql://u@h/db?password=***&x=1"   },
        {"postgresql://u:geheim@h/db?sslpassword=geheim", "postgresql://u:***@h/db?sslpassword=***"},
        {"redis://:geheim@h:6379/0",                      "redis://:***@h:6379/0"                  },
        {"host=h password=geheim user=u",                 "host=h password=*** user=u"             },
        {"host=h password = 'ge \\' heim' user=u",        "host=h password = *** user=u"           },
        {"password=geheim",                               "password=***"                           },
        {"host=h user=u",                                 "host=h user=u"                          },
        {"postgresql://h/db",                             "postgresql://h/db"                      },
        {"",                                              ""                                       },
    };

    (void)state;
    for (size_t i = 0; i < countof(urls); i++) {
        const struct config_flag flags[] = {
            {"database.url",                  urls[i].url},
            {"redis.url",                     urls[i].url},
            {"admin.reconciler_database_url", urls[i].url}
        };
        struct config *c = must_open(NULL, no_environment, flags, countof(flags));
        const char *text = printed(c), *line = strstr(text, "  url: \"") + strlen("  url: \"");
        if (strstr(text, "heim"))
            fail_msg("a password in: %s", text);
        if (strncmp(line, urls[i].shown, strlen(urls[i].shown)) != 0 || line[strlen(urls[i].shown)] != '"')
            fail_msg("%s is shown as %.60s", urls[i].url, line);
        assert_null(strstr(shown_as_json(c), "heim"));
        config_close(c);
    }
}

/* With what JSON has numbers for as numbers. */
static void test_sections_are_shown_as_json(void **state)
{
    static const char *const sections[] = {"insights", "schedules"};
    static const struct config_flag flags[] = {
        {"insights.at_once",   "7"        },
        {"schedules.insights", "0 4 * * 1"},
    };
    struct config *c = must_open(NULL, no_environment, flags, countof(flags));
    struct arena *arena = arena_open(1024);
    struct span text = config_json(c, sections, countof(sections), arena);

    (void)state;
    assert_string_equal(
        text.at,
        "{\"insights\":{\"at_once\":7,\"batch_seconds\":300,\"lease_seconds\":900,\"idle_minutes\":60},"
        "\"schedules\":{\"publications\":\"* * * * *\",\"maintain\":\"0 * * * *\","
        "\"insights\":\"0 4 * * 1\",\"aggregates\":\"5 0 * * *\",\"stats\":\"*/5 * * * *\","
        "\"alerts\":\"*/5 * * * *\"}}");
    assert_int_equal(text.len, strlen(text.at));
    arena_close(arena);
    config_close(c);
}

static void test_what_is_printed_can_be_read_again(void **state)
{
    struct err err = {.text = ""};
    struct config *c =
        open_text("ingest: {listen: \"unix:/a \\\"b\\\"\", workers: 3}\nreconcile: {timeout_minutes: "
                  "[{platform: x, minutes: 5}], breakers: [{platform: x}]}\nsources: [{platform: y, "
                  "secret_file: \"o # p\"},"
                  " {platform: z, secret_file: s, verify_token_file: \"a, b\", topics: [\"[t]\", u], tenant: "
                  "\"a: b\"}]\n",
                  &err);
    char *first = strdup(strchr(printed(c), '\n'));
    const char *second;

    (void)state;
    config_close(c);
    c = open_text(first, &err);
    assert_string_equal(err.text, "");
    assert_string_equal(c->ingest.listen.path, "/a \"b\"");
    assert_int_equal(c->reconcile.nbreakers, 1);
    assert_int_equal(c->reconcile.breakers[0].open_cooldown_seconds, 300);
    assert_string_equal(c->sources[0].secret_file, "o # p");
    assert_string_equal(c->sources[1].verify_token_file, "a, b");
    assert_int_equal(c->sources[1].ntopics, 2);
    assert_string_equal(c->sources[1].topics[0], "[t]");
    assert_string_equal(c->sources[1].tenant, "a: b");
    second = strchr(printed(c), '\n');
    /* the same but for where each value came from */
    while (*first && *second) {
        size_t a = strcspn(first, "#\n"), b = strcspn(second, "#\n");
        assert_int_equal(a, b);
        assert_memory_equal(first, second, a);
        memmove(first, first + a + strcspn(first + a, "\n") + 1,
                strlen(first + a + strcspn(first + a, "\n")));
        second += b + strcspn(second + b, "\n") + 1;
    }
    assert_string_equal(first, second);
    free(first);
    config_close(c);
}

static void test_check_refuses_more_bodies_than_memory_holds(void **state)
{
    const struct config_flag flags[] = {
        {"ingest.max_body_bytes",  "4194304"},
        {"ingest.max_connections", "2049"   },
    };
    struct err err = {.text = ""};
    struct config *c = must_open(NULL, no_environment, flags, 2);

    (void)state;
    assert_int_equal(config_check(c, &err), INVALID);
    assert_non_null(strstr(err.text, "2049 bodies of 4194304 bytes"));
    config_close(c);
    c = must_open(NULL, no_environment, flags, 1);
    assert_int_equal(config_check(c, &err), OK);
    config_close(c);
}

static void test_check_wants_a_share_of_what_is_refused_to_hold_a_body(void **state)
{
    const struct config_flag flags[] = {
        {"ingest.workers",               "15"},
        {"refused.megabytes_per_source", "16"},
    };
    struct err err = {.text = ""};
    struct config *c = must_open(NULL, no_environment, flags, 2);

    (void)state;
    assert_int_equal(config_check(c, &err), OK);
    assert_int_equal(config_check_bodies(c, 3 * 1048576, &err), INVALID);
    assert_non_null(strstr(err.text, "refused.megabytes_per_source / ingest.workers: of 16 MiB each of 15 "));
    assert_non_null(strstr(err.text, "3145728 bytes"));
    config_close(c);
    c = must_open(NULL, no_environment, flags + 1, 1);
    assert_int_equal(config_check_bodies(c, 3 * 1048576, &err), OK);
    config_close(c);
}

static void test_what_only_a_restart_takes_up_is_named(void **state)
{
    static const struct {
        const char *text, *key;
    } cases[] = {
        {"ingest: {workers: 2}\n",                                          "ingest.workers"      },
        {"refused: {keep_hours: 1}\nunsafe_ok: true\n",                     "refused.keep_hours"  },
        {"platforms: {folder: /x}\n",                                       NULL                  },
        {"sources: [{platform: x, secret_file: /y}]\n",                     NULL                  },
        {"database: {url: x}\n",                                            NULL                  },
        {"ingest: {queue: 4096}\n",                                         NULL                  },
        {"reconcile: {since_minutes: 20}\n",                                NULL                  },
        {"schedules: {maintain: \"\"}\nserve: {busy_rows: 1}\n",            NULL                  },
        {"insights: {at_once: 1}\nfetch: {ca_file: /x}\n",                  NULL                  },
        {"retention: {receipt_days: 2, ledger_days: 2}\nunsafe_ok: true\n", "unsafe_ok"           },
        {"retention: {cost_days: 2}\n",                                     "retention.cost_days" },
        {"reconcile: {batch_size: 2}\nconnections: {key_file: /x}\n",       "connections.key_file"},
    };
    struct config *running = must_open(NULL, no_environment, NULL, 0);

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct err err = {.text = ""};
        struct config *fresh = open_text(cases[i].text, &err);
        const char *key = config_gateway_needs_restart(running, fresh);
        if (!key != !cases[i].key || (key && strcmp(key, cases[i].key) != 0))
            fail_msg("%s: %s", cases[i].text, key ? key : "none");
        config_close(fresh);
    }
    config_close(running);
}

static void test_what_is_forgotten_is_nowhere(void **state)
{
    struct err err = {.text = ""};
    struct config *c =
        open_text("database: {url: one}\nadmin: {reconciler_database_url: \"host=/two\"}\n", &err);
    const char *text = c->admin.reconciler_database_url;

    (void)state;
    config_forget(c, "admin.reconciler_database_url");
    assert_string_equal(c->admin.reconciler_database_url, "");
    assert_memory_equal(text, "\0\0\0\0\0\0\0\0\0", 9);
    assert_null(strstr(printed(c), "two"));
    assert_string_equal(c->database.url, "one");
    config_close(c);
}

static void test_check_looks_at_the_files_of_tokens(void **state)
{
    struct err err = {.text = ""};
    struct config *c =
        open_text("sources: [{platform: x, secret_file: /dev/null, verify_token_file: /nowhere}]\n", &err);
    char room[8];
    struct span token;

    (void)state;
    assert_int_equal(config_check(c, &err), INVALID);
    assert_string_equal(err.text, "source \"default\" of x: file \"/nowhere\": No such file or directory");
    config_close(c);
    c = open_text("sources: [{platform: x, secret_file: /dev/null}]\n", &err);
    assert_int_equal(config_check(c, &err), OK);
    assert_int_equal(config_verify_token(&c->sources[0], room, sizeof(room), &token, &err), OK);
    assert_null(token.at);
    config_close(c);
}

static void test_check_looks_at_the_files_that_are_named(void **state)
{
    struct err err = {.text = ""};
    struct config *c = open_text("sources: [{platform: tiktok, secret_file: /nowhere}]\n", &err);
    const struct config_flag flags[] =
        {
            {"platforms.folder", "/nowhere"}
    },
                             program[] = {{"admin.reconciler", "/dev/null"}};
    char room[100];
    const char *path = file_with("secret\n");
    const struct config_source source = {.platform = "tiktok", .name = "default", .secret_file = path};
    struct span lines;

    (void)state;
    assert_int_equal(config_check(c, &err), INVALID);
    assert_string_equal(err.text,
                        "source \"default\" of tiktok: file \"/nowhere\": No such file or directory");
    config_close(c);
    c = must_open(NULL, no_environment, flags, 1);
    assert_int_equal(config_check(c, &err), INVALID);
    assert_string_equal(err.text, "platforms.folder: folder \"/nowhere\": No such file or directory");
    config_close(c);
    c = must_open(NULL, no_environment, program, 1);
    assert_int_equal(config_check(c, &err), INVALID);
    assert_string_equal(err.text, "admin.reconciler: \"/dev/null\" is no program that may be run");
    config_close(c);
    c = must_open(NULL, no_environment, NULL, 0);
    assert_int_equal(config_check(c, &err), OK);
    config_close(c);

    assert_int_equal(config_secret(&source, room, sizeof(room), &lines, &err), OK);
    assert_true(span_eq(lines, SPAN("secret\n")));
    assert_int_equal(config_secret(&source, room, 7, &lines, &err), INVALID);
    assert_non_null(strstr(err.text, "is longer than 6 bytes"));
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_anything_there_are_defaults),
        cmocka_unit_test(test_the_sample_file_names_every_key_with_its_default),
        cmocka_unit_test(test_a_file_sets_what_it_names),
        cmocka_unit_test(test_flag_goes_before_environment_before_file),
        cmocka_unit_test(test_a_url_may_come_from_a_file),
        cmocka_unit_test(test_a_wrong_file_is_told_where_and_what_would_be_right),
        cmocka_unit_test(test_a_misspelt_variable_is_named_and_what_others_mean_is_left),
        cmocka_unit_test(test_a_wrong_variable_or_flag_is_named),
        cmocka_unit_test(test_no_password_is_printed),
        cmocka_unit_test(test_sections_are_shown_as_json),
        cmocka_unit_test(test_what_is_printed_can_be_read_again),
        cmocka_unit_test(test_check_refuses_more_bodies_than_memory_holds),
        cmocka_unit_test(test_check_wants_a_share_of_what_is_refused_to_hold_a_body),
        cmocka_unit_test(test_what_only_a_restart_takes_up_is_named),
        cmocka_unit_test(test_what_is_forgotten_is_nowhere),
        cmocka_unit_test(test_check_looks_at_the_files_of_tokens),
        cmocka_unit_test(test_check_looks_at_the_files_that_are_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
