/* The sample of CronJobs fits the program: its commands, schedules and variables are ours, each job is there, and none may be
 * tried again, run twice at once, or do more than it must. */
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

static int load(void **state)
{
    char path[512];
    yaml_parser_t parser;
    FILE *from;

    (void)state;
    snprintf(path, sizeof(path), "%s/ops/kubernetes/cronjobs.yaml", getenv("SETTLE_TOP"));
    from = fopen(path, "re");
    assert_non_null(from);
    assert_int_equal(yaml_parser_initialize(&parser), 1);
    yaml_parser_set_input_file(&parser, from);
    if (!yaml_parser_load(&parser, &sample))
        fail_msg("line %zu: %s", parser.problem_mark.line + 1, parser.problem);
    yaml_parser_delete(&parser);
    fclose(from);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_job_that_serve_starts_is_there),
        cmocka_unit_test(test_each_keeps_the_rules),
        cmocka_unit_test(test_each_schedule_is_one),
        cmocka_unit_test(test_each_command_is_ours),
        cmocka_unit_test(test_each_variable_is_known_and_no_secret_stands_there),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
