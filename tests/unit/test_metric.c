#include "support/test.h"

#include "base/metric.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const platforms[] = {"instagram", "tik\"tok"};

/* Runs work in a child process that writes `slot`, and waits for it. */
static void in_child(size_t slot, void (*work)(void))
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        metric_slot(slot);
        work();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static const char *page(void)
{
    static char text[65536];
    FILE *to = fmemopen(text, sizeof(text), "w");

    metric_page(to);
    fputc('\0', to);
    fclose(to);
    return text;
}

static void assert_line(const char *line)
{
    const char *text = page(), *at = strstr(text, line);

    if (!at || (at != text && at[-1] != '\n') || at[strlen(line)] != '\n')
        fail_msg("no line \"%s\" in:\n%s", line, text);
}

static void a_worker(void)
{
    metric_add(RECEIPTS_STORED, 0, 0, 3);
    metric_add(WEBHOOK_REQUESTS, 1, 2, 1);
    metric_add(WEBHOOK_REQUESTS, METRIC_NO_PLATFORM, 4, 1);
    metric_set(CONNECTIONS, 0, 0, 7);
    metric_set(PUBLICATIONS, 0, 2, 41);
    metric_observe_us(WEBHOOK_ACK, 500);
    metric_observe_us(WEBHOOK_ACK, 501);
    metric_observe_us(WEBHOOK_ACK, 450000);
    metric_observe_us(WEBHOOK_ACK, 60000000);
}

static void nothing(void)
{
}

static void a_mirror(void)
{
    metric_set(RECONCILE_RESULTS, 0, 1, 7);
    metric_set(RECONCILE_RESULTS, 0, 2, 0);
}

static void test_nothing_breaks_before_open(void **state)
{
    (void)state;
    metric_slot(9);
    metric_add(RECEIPTS_STORED, 0, 0, 1);
    metric_set(CONNECTIONS, 0, 0, 1);
    metric_observe_us(WEBHOOK_ACK, 1);
    assert_string_equal(page(), "");
}

static void test_processes_add_up(void **state)
{
    struct err err;

    (void)state;
    assert_int_equal(metric_open(platforms, 2, 4, &err), OK);
    metric_slot(0);
    in_child(1, a_worker);
    in_child(2, a_worker);
    assert_line("settle_receipts_stored_total{platform=\"instagram\"} 6");
    assert_line("settle_receipts_stored_total{platform=\"tik\\\"tok\"} 0");
    assert_line("settle_webhook_requests_total{platform=\"tik\\\"tok\",cause=\"bad_signature\"} 2");
    assert_line("settle_webhook_requests_total{platform=\"\",cause=\"unknown_platform\"} 2");
    assert_line("settle_open_connections 14");
    assert_line("settle_publications{platform=\"instagram\",state=\"processing\"} 41");
    assert_line("settle_build_info{version=\"" SETTLE_VERSION "\"} 1");
}

static void test_a_restarted_worker_keeps_counters_and_drops_gauges(void **state)
{
    (void)state;
    in_child(1, nothing);
    assert_line("settle_receipts_stored_total{platform=\"instagram\"} 6");
    assert_line("settle_open_connections 7");
}

static void test_a_mirror_shows_nothing_before_it_is_known_and_outlives_its_process(void **state)
{
    (void)state;
    assert_null(strstr(page(), "\nsettle_reconcile_results_total{"));
    in_child(3, a_mirror);
    in_child(3, nothing);
    assert_line("settle_reconcile_results_total{platform=\"instagram\",result=\"failed\"} 7");
    assert_line("settle_reconcile_results_total{platform=\"instagram\",result=\"skipped\"} 0");
    assert_null(strstr(page(), "settle_reconcile_results_total{platform=\"instagram\",result=\"success\"}"));
    assert_null(strstr(page(), "settle_reconcile_results_total{platform=\"\""));
}

static void all_platforms(void)
{
    metric_set(RECONCILE_RESULTS, 1, 1, 5);
    metric_set(RECONCILE_CHECKED, 0, 0, 20);
    metric_set(RECONCILE_CHECKED, METRIC_NO_PLATFORM, 0, 2);
    metric_set(BREAKER_STATE, 0, 1, 1);
    metric_set(PUBLICATIONS, 0, 0, 9);  /* pending: for the workers */
    metric_set(PUBLICATIONS, 0, 2, 50); /* processing */
    metric_set(PUBLICATIONS, 1, 3, 5);  /* retry */
    metric_set(PUBLICATIONS, 1, 4, 700);
}

/* The names of the requirements, beside our own. */
static void test_aliases_show_the_same(void **state)
{
    static const char *const unknown[] = {"\nmarked_success ",
                                          "\nreconciliation_status_total{status=\"success\"}"};

    (void)state;
    assert_null(strstr(page(), "\ntotal_checked "));
    assert_line("marked_failed 7");
    in_child(3, all_platforms);
    assert_line("breaker_state_total{platform=\"instagram\",state=\"open\"} 1");
    assert_line("breaker_state_total{platform=\"tik\\\"tok\",state=\"open\"} 0");
    assert_line("reconciliation_status_total{status=\"failed\"} 12");
    assert_line("reconciliation_status_total{status=\"skipped\"} 0");
    assert_line("total_checked 22");
    assert_line("marked_failed 12");
    assert_line("skipped 0");
    assert_line("queue_depth 55");
    for (size_t i = 0; i < countof(unknown); i++) /* no run has said so */
        assert_null(strstr(page(), unknown[i]));
    in_child(3, nothing);
    assert_line("breaker_state_total{platform=\"instagram\",state=\"open\"} 0");
    assert_line("# TYPE reconciliation_status_total counter");
    assert_line("# TYPE marked_failed untyped");
    assert_line("# TYPE breaker_state_total untyped");
}

static void test_words_are_found(void **state)
{
    (void)state;
    assert_int_equal(metric_nwords(RECONCILE_RESULTS), 5);
    assert_int_equal(metric_find_word(RECONCILE_RESULTS, SPAN("failed")), 1);
    assert_int_equal(metric_find_word(RECONCILE_RESULTS, SPAN("fail")), SIZE_MAX);
    assert_int_equal(metric_nwords(RECONCILE_CHECKED), 1);
    assert_int_equal(metric_find_word(RECONCILE_CHECKED, SPAN("")), 0);
}

static void test_histogram_is_cumulative_and_complete(void **state)
{
    (void)state;
    assert_line("settle_webhook_ack_duration_seconds_bucket{le=\"0.0005\"} 2");
    assert_line("settle_webhook_ack_duration_seconds_bucket{le=\"0.001\"} 4");
    assert_line("settle_webhook_ack_duration_seconds_bucket{le=\"0.25\"} 4");
    assert_line("settle_webhook_ack_duration_seconds_bucket{le=\"0.45\"} 6"); /* what ingest promises */
    assert_line("settle_webhook_ack_duration_seconds_bucket{le=\"10\"} 6");
    assert_line("settle_webhook_ack_duration_seconds_bucket{le=\"+Inf\"} 8");
    assert_line("settle_webhook_ack_duration_seconds_sum 120.902002");
    assert_line("settle_webhook_ack_duration_seconds_count 8");
}

/* promtool is not installed everywhere: ops/test puts it on PATH, and then its word counts. */
static void test_promtool_accepts_the_page(void **state)
{
    FILE *to;

    (void)state;
    if (system("command -v promtool >/dev/null") != 0)
        skip();
    to = popen("promtool check metrics", "w");
    assert_non_null(to);
    metric_page(to);
    assert_int_equal(pclose(to), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_breaks_before_open),
        cmocka_unit_test(test_processes_add_up),
        cmocka_unit_test(test_a_restarted_worker_keeps_counters_and_drops_gauges),
        cmocka_unit_test(test_a_mirror_shows_nothing_before_it_is_known_and_outlives_its_process),
        cmocka_unit_test(test_aliases_show_the_same),
        cmocka_unit_test(test_words_are_found),
        cmocka_unit_test(test_histogram_is_cumulative_and_complete),
        cmocka_unit_test(test_promtool_accepts_the_page),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
