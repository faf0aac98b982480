#include "support/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* A program in the reconciler's place, that does what --platform says. */
static const char script[] =
    "#!/bin/sh\n"
    "case \"$*\" in\n"
    "*--platform=tells*) printf '{\"outcome\":\"done\",\"variables\":\"%s\",\"arguments\":\"%s\"}'"
    " \"$(env | cut -d= -f1 | sort | tr '\\n' ' ')\" \"$*\" ;;\n"
    "*--platform=junk*) echo 'done' ;;\n"
    "*--platform=guard*) echo '{\"outcome\":\"guard\",\"stopped_by\":\"guard\"}'; exit 75 ;;\n"
    "*--platform=failed*) echo '{\"outcome\":\"failed\"}'; exit 69 ;;\n"
    "*--platform=held*) echo '{\"outcome\":\"lock_held\"}' ;;\n"
    "*--platform=big*) printf '{\"outcome\":\"done\",\"x\":\"'; head -c 3000000 /dev/zero | tr '\\0' x;"
    " printf '\"}' ;;\n"
    "*--platform=large*) printf '{\"outcome\":\"done\",\"x\":\"'; head -c 1000000 /dev/zero | tr '\\0' x;"
    " printf '\"}' ;;\n"
    "*--platform=killed*) echo '{\"outcome\":'; kill -KILL $$ ;;\n"
    "*--platform=slow*) while [ ! -e \"${0%/*}/go\" ]; do sleep 0.2; done; echo '{\"outcome\":\"done\"}' "
    ";;\n"
    "esac\n";

static int up(void **state)
{
    struct world *w = world_open();
    char path[128];
    FILE *to;

    *state = w;
    snprintf(path, sizeof(path), "%s/reconciler", w->dir);
    to = fopen(path, "w");
    assert_non_null(to);
    fputs(script, to);
    fclose(to);
    assert_int_equal(chmod(path, 0755), 0);
    setenv("SETTLE_ADMIN_RECONCILER", path, 1);
    setenv("PGAPPNAME", "passed-on", 1);
    setenv("SETTLE_RECONCILE_SINCE_MINUTES", "40", 1);
    return world_gateway(w, NULL);
}

static int down(void **state)
{
    world_close(*state);
    return 0;
}

static struct reply reconcile(struct world *w, const char *platform)
{
    char path[128];

    snprintf(path, sizeof(path), "/publishing/reconcile?since_minutes=7&platform=%s", platform);
    return world_api(w, "POST", path, NULL);
}

static void test_the_child_gets_what_it_needs_and_no_secret(void **state)
{
    struct reply r = reconcile(*state, "tells");
    const char *variables = json_string_value(json_object_get(r.json, "variables"));
    const char *arguments = json_string_value(json_object_get(r.json, "arguments"));

    assert_int_equal(r.status, 200);
    assert_non_null(getenv("SETTLE_SECRET_INSTAGRAM"));
    assert_null(strstr(variables, "SECRET"));
    assert_null(strstr(variables, "HOME"));
    assert_non_null(strstr(variables, "PATH "));
    assert_non_null(strstr(variables, "PGAPPNAME "));
    assert_non_null(strstr(variables, "SETTLE_DATABASE_URL "));
    assert_non_null(strstr(variables, "SETTLE_REDIS_URL "));
    assert_ptr_equal(strstr(arguments, "publications --json --trigger=api --actor=local --run-id="),
                     arguments);
    assert_non_null(strstr(arguments, " --since-minutes=7 --platform=tells"));
    assert_null(strstr(arguments, "--force"));
}

static void test_what_is_left_out_is_as_the_settings_say(void **state)
{
    struct reply r = world_api(*state, "POST", "/publishing/reconcile?platform=tells", NULL);

    assert_int_equal(r.status, 200);
    assert_null(strstr(json_string_value(json_object_get(r.json, "arguments")), "--since-minutes"));
    assert_non_null(
        strstr(json_string_value(json_object_get(r.json, "variables")), "SETTLE_RECONCILE_SINCE_MINUTES "));
}

static void test_how_it_ends_decides_the_answer(void **state)
{
    static const struct {
        const char *platform;
        long status;
        const char *cause;
    } cases[] = {
        {"guard",  200, NULL        },
        {"large",  200, NULL        },
        {"held",   409, "lock_held" },
        {"failed", 503, "run_failed"},
        {"junk",   503, "run_failed"},
        {"none",   503, "run_failed"},
        {"killed", 503, "run_failed"},
        {"big",    503, "run_failed"},
    };

    for (size_t i = 0; i < countof(cases); i++) {
        struct reply r = reconcile(*state, cases[i].platform);

        if (r.status != cases[i].status || (cases[i].cause && !strstr(r.body, cases[i].cause)))
            fail_msg("%s: %ld %.200s", cases[i].platform, r.status, r.body);
    }
}

#define FOUR(text) text text text text

static void test_runs_do_not_hold_up_other_requests_and_are_bounded(void **state)
{
    struct world *w = *state;
    char many[512];
    struct process all;
    struct outcome end;

    /* One echo is one write: curl alone would write digit by digit, between the others' digits. */
    snprintf(many, sizeof(many),
             "for i in $(seq 20); do echo $(curl -s -o /dev/null -w '%%{http_code}' -X POST"
             " -H 'Content-Type: application/json' '%s/publishing/reconcile?platform=slow') >&2 & done; wait",
             w->admin_url);
    all = world_spawn(w, "sh", "-c", many, NULL);
    world_until(60, world_said(w, all, FOUR("503\n"))); /* the others go on until they may end */
    assert_non_null(strstr(world_api(w, "GET", "/publishing/logs", NULL).body, "items"));
    world_wait(w, world_spawn(w, "touch", "go", NULL));
    end = world_wait(w, all);
    assert_string_equal(end.err, FOUR("503\n") FOUR(FOUR("200\n")));
}

static void test_a_program_that_is_not_there_is_our_fault(void **state)
{
    struct world *w = *state;
    struct reply r;
    char path[128];

    snprintf(path, sizeof(path), "%s/reconciler", w->dir);
    assert_int_equal(remove(path), 0);
    r = reconcile(w, "tells");
    assert_int_equal(r.status, 503);
    assert_non_null(strstr(r.body, "problem:internal"));
    assert_null(strstr(r.body, w->dir)); /* where our files lie is nobody's business */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_child_gets_what_it_needs_and_no_secret),
        cmocka_unit_test(test_what_is_left_out_is_as_the_settings_say),
        cmocka_unit_test(test_how_it_ends_decides_the_answer),
        cmocka_unit_test(test_runs_do_not_hold_up_other_requests_and_are_bounded),
        cmocka_unit_test(test_a_program_that_is_not_there_is_our_fault),
    };

    return cmocka_run_group_tests(tests, up, down);
}
