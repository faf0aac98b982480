/* The samples for Kubernetes fit the programs. CronJobs: their commands, schedules and variables are ours, each job is there, and none
 * may be tried again, run twice at once, or do more than it must. The gateway: it can be reached and asked for its health, its spool
 * outlives it, and it has the time to end. */
#include "support/test.h"

#include "base/config.h"
#include "base/cron.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

enum { TEXT_BYTES = 256, OUTPUT_BYTES = 16384 };

static yaml_document_t sample;

static void load(const char *name)
{
    char path[512];
    yaml_parser_t parser;
    FILE *from;

    snprintf(path, sizeof(path), "%s/ops/kubernetes/%s", getenv("SETTLE_TOP"), name);
    from = fopen(path, "re");
    assert_non_null(from);
    assert_int_equal(yaml_parser_initialize(&parser), 1);
    yaml_parser_set_input_file(&parser, from);
    if (!yaml_parser_load(&parser, &sample))
        fail_msg("line %zu: %s", parser.problem_mark.line + 1, parser.problem);
    yaml_parser_delete(&parser);
    fclose(from);
}

static int load_cronjobs(void **state)
{
    (void)state;
    load("cronjobs.yaml");
    return 0;
}

static int unload(void **state)
{
    (void)state;
    yaml_document_delete(&sample);
    return 0;
}

static const char *text(const yaml_node_t *node)
{
    return node && node->type == YAML_SCALAR_NODE ? (const char *)node->data.scalar.value : "";
}

/* NULL: there is none. */
static yaml_node_t *element(const yaml_node_t *list, size_t nth)
{
    if (!list || list->type != YAML_SEQUENCE_NODE ||
        nth >= (size_t)(list->data.sequence.items.top - list->data.sequence.items.start))
        return NULL;
    return yaml_document_get_node(&sample, list->data.sequence.items.start[nth]);
}

static yaml_node_t *member(const yaml_node_t *map, const char *name)
{
    if (!map || map->type != YAML_MAPPING_NODE)
        return NULL;
    for (const yaml_node_pair_t *pair = map->data.mapping.pairs.start; pair < map->data.mapping.pairs.top;
         pair++)
        if (strcmp(text(yaml_document_get_node(&sample, pair->key)), name) == 0)
            return yaml_document_get_node(&sample, pair->value);
    return NULL;
}

/* By names and, in lists, places: "spec/containers/0/name". */
static yaml_node_t *at(yaml_node_t *node, const char *path)
{
    char names[TEXT_BYTES], *rest = NULL;

    snprintf(names, sizeof(names), "%s", path);
    for (const char *name = strtok_r(names, "/", &rest); name; name = strtok_r(NULL, "/", &rest))
        node = isdigit((unsigned char)*name) ? element(node, strtoul(name, NULL, 10)) : member(node, name);
    return node;
}

static yaml_node_t *job(size_t nth)
{
    return element(member(yaml_document_get_root_node(&sample), "items"), nth);
}

static yaml_node_t *container(size_t nth)
{
    return at(job(nth), "spec/jobTemplate/spec/template/spec/containers/0");
}

static void test_each_job_that_serve_starts_is_there(void **state)
{
    size_t jobs = 0, scheduled = 0;

    (void)state;
    while (job(jobs))
        jobs++;
    for (size_t i = 0; config_key(i); i++) {
        const char *name = strncmp(config_key(i), "schedules.", 10) == 0 ? config_key(i) + 10 : NULL;
        size_t nth = 0;

        if (!name)
            continue;
        scheduled++;
        while (job(nth) && strcmp(text(at(container(nth), "args/0")), name) != 0)
            nth++;
        if (!job(nth))
            fail_msg("there is no CronJob of %s", name);
    }
    assert_true(scheduled > 0);
    assert_int_equal(jobs, scheduled);
}

static const struct {
    const char *path, *want; /* of a CronJob; NULL: anything but nothing */
} rules[] = {
    {"apiVersion",                                                                                "batch/v1"         },
    {"kind",                                                                                      "CronJob"          },
    {"metadata/name",                                                                             NULL               },
    {"spec/timeZone",                                                                             "Etc/UTC"          },
    {"spec/concurrencyPolicy",                                                                    "Forbid"           },
    {"spec/startingDeadlineSeconds",                                                              NULL               },
    {"spec/jobTemplate/spec/backoffLimit",                                                        "0"                },
    {"spec/jobTemplate/spec/activeDeadlineSeconds",                                               NULL               },
    {"spec/jobTemplate/spec/template/spec/restartPolicy",                                         "Never"            },
    {"spec/jobTemplate/spec/template/spec/automountServiceAccountToken",                          "false"            },
    {"spec/jobTemplate/spec/template/spec/securityContext/runAsNonRoot",                          "true"             },
    {"spec/jobTemplate/spec/template/spec/containers/0/command/0",                                "settle-reconciler"},
    {"spec/jobTemplate/spec/template/spec/containers/0/resources/limits/memory",                  NULL               },
    {"spec/jobTemplate/spec/template/spec/containers/0/securityContext/readOnlyRootFilesystem",   "true"             },
    {"spec/jobTemplate/spec/template/spec/containers/0/securityContext/allowPrivilegeEscalation", "false"            },
    {"spec/jobTemplate/spec/template/spec/containers/0/securityContext/capabilities/drop/0",      "ALL"              },
    {"spec/jobTemplate/spec/template/spec/volumes/1/secret/optional",                             "true"             },
};

static void test_each_keeps_the_rules(void **state)
{
    (void)state;
    for (size_t nth = 0; job(nth); nth++)
        for (size_t i = 0; i < countof(rules); i++) {
            const char *found = text(at(job(nth), rules[i].path));

            if (rules[i].want ? strcmp(found, rules[i].want) != 0 : !*found)
                fail_msg("job %zu: %s is \"%s\"", nth, rules[i].path, found);
        }
}

static void test_each_schedule_is_one(void **state)
{
    (void)state;
    for (size_t nth = 0; job(nth); nth++) {
        struct cron cron;
        struct err err;

        if (cron_parse(span_of(text(at(job(nth), "spec/schedule"))), &cron, &err))
            fail_msg("job %zu: %s", nth, err.text);
    }
}

/* The first lines of its help name what it takes: "aggregates [OPTION...] [run]". */
static void test_each_command_is_ours(void **state)
{
    (void)state;
    for (size_t nth = 0; job(nth); nth++) {
        static char output[OUTPUT_BYTES];
        const char *command = text(at(container(nth), "args/0")), *verb = text(at(container(nth), "args/1"));
        char line[2 * TEXT_BYTES], plain[TEXT_BYTES], usual[TEXT_BYTES];
        FILE *from;

        snprintf(plain, sizeof(plain), "%s [OPTION...]%s%s\n", command, *verb ? " " : "", verb);
        snprintf(usual, sizeof(usual), "%s [OPTION...] %s%s%s\n", command, *verb ? "[" : "", verb,
                 *verb ? "]" : "");
        snprintf(line, sizeof(line), "%s/reconciler/settle-reconciler %s --help", getenv("SETTLE_BUILD"),
                 command);
        from = popen(line, "re");
        assert_non_null(from);
        output[fread(output, 1, sizeof(output) - 1, from)] = '\0';
        if (pclose(from) != 0 || !(strstr(output, plain) || strstr(output, usual)))
            fail_msg("job %zu: the reconciler knows no %s %s", nth, command, verb);
        assert_null(at(container(nth), "args/2"));
    }
}

/* "ingest.batch_rows" is SETTLE_INGEST_BATCH_ROWS. */
static bool names_option(const char *variable, const char *key)
{
    if (strncmp(variable, "SETTLE_", 7) != 0)
        return false;
    for (variable += 7; *variable && *key; variable++, key++)
        if (*variable != (*key == '.' ? '_' : toupper((unsigned char)*key)))
            return false;
    return !*variable && !*key;
}

static bool is_known(const char *variable)
{
    for (size_t i = 0; config_key(i); i++)
        if (names_option(variable, config_key(i)))
            return true;
    return strcmp(variable, "SETTLE_CONFIG") == 0;
}

static void test_each_variable_is_known_and_no_secret_stands_there(void **state)
{
    (void)state;
    for (size_t nth = 0; job(nth); nth++) {
        yaml_node_t *env = at(container(nth), "env");
        size_t n = 0;

        for (; element(env, n); n++) {
            const char *name = text(at(element(env, n), "name"));
            bool secret = strstr(name, "_URL"),
                 kept = *text(at(element(env, n), "valueFrom/secretKeyRef/key"));

            if (!is_known(name) || kept != secret || kept == (bool)*text(at(element(env, n), "value")))
                fail_msg("job %zu: %s", nth, name);
        }
        assert_true(n >= 2);
    }
}

/* A list's element by its name. */
static yaml_node_t *named(const yaml_node_t *list, const char *name)
{
    size_t n = 0;

    while (element(list, n) && strcmp(text(member(element(list, n), "name")), name) != 0)
        n++;
    return element(list, n);
}

static const char *variable(const char *name)
{
    return text(member(named(at(job(0), "spec/template/spec/containers/0/env"), name), "value"));
}

static const struct {
    const char *path, *want;
} gateway_rules[] = {
    {"kind",                                                                     "StatefulSet"   },
    {"spec/template/spec/automountServiceAccountToken",                          "false"         },
    {"spec/template/spec/securityContext/runAsNonRoot",                          "true"          },
    {"spec/template/spec/containers/0/command/0",                                "settle-gateway"},
    {"spec/template/spec/containers/0/args/0",                                   "serve"         },
    {"spec/template/spec/containers/0/livenessProbe/httpGet/path",               "/livez"        },
    {"spec/template/spec/containers/0/livenessProbe/httpGet/port",               "monitor"       },
    {"spec/template/spec/containers/0/readinessProbe/httpGet/path",              "/readyz"       },
    {"spec/template/spec/containers/0/readinessProbe/httpGet/port",              "monitor"       },
    {"spec/template/spec/containers/0/securityContext/readOnlyRootFilesystem",   "true"          },
    {"spec/template/spec/containers/0/securityContext/allowPrivilegeEscalation", "false"         },
    {"spec/template/spec/containers/0/securityContext/capabilities/drop/0",      "ALL"           },
    {"spec/template/spec/volumes/1/secret/optional",                             "true"          },
};

static void test_the_gateway_keeps_the_rules(void **state)
{
    (void)state;
    unload(NULL);
    load("gateway.yaml");
    for (size_t i = 0; i < countof(gateway_rules); i++) {
        const char *found = text(at(job(0), gateway_rules[i].path));

        if (strcmp(found, gateway_rules[i].want) != 0)
            fail_msg("%s is \"%s\"", gateway_rules[i].path, found);
    }
}

/* SETTLE_SECRET_... are of platforms, any option's value may come from a file. */
static void test_the_gateway_knows_each_variable(void **state)
{
    yaml_node_t *env = at(job(0), "spec/template/spec/containers/0/env");
    size_t n = 0;

    (void)state;
    for (; element(env, n); n++) {
        const char *name = text(member(element(env, n), "name"));
        bool url = strstr(name, "_URL"), kept = *text(at(element(env, n), "valueFrom/secretKeyRef/key"));

        if (!(is_known(name) || strncmp(name, "SETTLE_SECRET_", 14) == 0) || url != kept)
            fail_msg("%s", name);
    }
    assert_true(n >= 5);
}

/* On loopback neither the kubelet nor a service would reach it. */
static void test_the_gateway_can_be_reached(void **state)
{
    static const struct {
        const char *port, *variable; /* NULL: it is so by default */
        const char *listen;
    } listeners[] = {
        {"ingest",  NULL,                    "8080"        },
        {"admin",   "SETTLE_ADMIN_LISTEN",   "0.0.0.0:8081"},
        {"monitor", "SETTLE_MONITOR_LISTEN", "0.0.0.0:9090"},
    };
    static const char part[] = "app.kubernetes.io/component";
    yaml_node_t *ports = at(job(0), "spec/template/spec/containers/0/ports");

    (void)state;
    assert_string_equal(text(member(at(job(0), "spec/template/metadata/labels"), part)), "gateway");
    for (size_t i = 0; i < countof(listeners); i++) {
        if (listeners[i].variable)
            assert_string_equal(variable(listeners[i].variable), listeners[i].listen);
        assert_string_equal(text(member(named(ports, listeners[i].port), "containerPort")),
                            listeners[i].listen + strlen(listeners[i].listen) - 4);
    }
    for (size_t nth = 1; job(nth); nth++) {
        const char *target = text(at(job(nth), "spec/ports/0/targetPort"));

        assert_string_equal(text(member(job(nth), "kind")), "Service");
        assert_non_null(named(ports, target));
        assert_string_equal(text(member(at(job(nth), "spec/selector"), part)), "gateway");
    }
}

static void test_the_gateways_spool_outlives_it(void **state)
{
    yaml_node_t *mounts = at(job(0), "spec/template/spec/containers/0/volumeMounts");
    const char *volume = text(at(job(0), "spec/volumeClaimTemplates/0/metadata/name"));

    (void)state;
    assert_string_equal(text(member(named(mounts, volume), "mountPath")), variable("SETTLE_SPOOL_FOLDER"));
}

/* The wait before TERM, and what its end may take: 11 s. */
static void test_the_gateway_has_time_to_end(void **state)
{
    yaml_node_t *pod = at(job(0), "spec/template/spec");
    long pause = strtol(text(at(pod, "containers/0/lifecycle/preStop/exec/command/1")), NULL, 10);

    (void)state;
    assert_true(pause > 0);
    assert_true(strtol(text(member(pod, "terminationGracePeriodSeconds")), NULL, 10) > pause + 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_job_that_serve_starts_is_there),
        cmocka_unit_test(test_each_keeps_the_rules),
        cmocka_unit_test(test_each_schedule_is_one),
        cmocka_unit_test(test_each_command_is_ours),
        cmocka_unit_test(test_each_variable_is_known_and_no_secret_stands_there),
        cmocka_unit_test(test_the_gateway_keeps_the_rules),
        cmocka_unit_test(test_the_gateway_knows_each_variable),
        cmocka_unit_test(test_the_gateway_can_be_reached),
        cmocka_unit_test(test_the_gateways_spool_outlives_it),
        cmocka_unit_test(test_the_gateway_has_time_to_end),
    };

    return cmocka_run_group_tests(tests, load_cronjobs, unload);
}
