#include "routes.h"

#define LOG_STATES     "scheduled pending processing retry success failed"
#define RECEIPT_STATES "matched unmatched late unparsed"
#define RUN_STATES     "running success failed skipped dead"
#define EVENT_TYPES                                                                                          \
    "check_cycle interval_adjustment start stop job_scheduled job_started job_cancelled job_completed "      \
    "job_failed"

/* Version 14 spoils rows of unequal length. */
/* clang-format off */
#define PLATFORM      {"platform", FROM_QUERY, PARAM_WORD, .min = 1, .max = 50}
#define SOURCE        {"source", FROM_QUERY, PARAM_WORD, .min = 1, .max = 64}
#define LIMIT         {"limit", FROM_QUERY, PARAM_INT, .min = 1, .max = 500, .standard = "50"}
#define CURSOR(parts) {"cursor", FROM_QUERY, PARAM_CURSOR, .words = (parts)}
#define OFFSET        {"offset", FROM_QUERY, PARAM_INT, .min = 0, .max = 100000, .standard = "0"}
#define WHOSE         {"user_id", FROM_QUERY, PARAM_TENANT, .min = 1, .max = 255}

/* It begins in the order of the enum in routes.h. */
static const struct param log_register[] = {
    {"id", FROM_SERVER, PARAM_NEW_ID},
    {"source", FROM_BODY, PARAM_WORD, .min = 1, .max = 64, .standard = "default"},
    {"platform", FROM_BODY, PARAM_WORD, .min = 1, .max = 50, .required = true},
    {"user_id_str", FROM_BODY, PARAM_TENANT, .min = 1, .max = 255, .required = true},
    {"clip_id", FROM_BODY, PARAM_UUID},
    {"social_account_id", FROM_BODY, PARAM_UUID},
    {"status", FROM_BODY, PARAM_CHOICE, .words = "pending processing scheduled", .standard = "processing"},
    {"external_post_id", FROM_BODY, PARAM_TEXT, .min = 1, .max = 255},
    {"external_url", FROM_BODY, PARAM_TEXT, .min = 1, .max = 2048},
    {"requested_at", FROM_BODY, PARAM_TIME},
    {"scheduled_for", FROM_BODY, PARAM_TIME},
    {"scheduled_window_end", FROM_BODY, PARAM_TIME},
    {"scheduled_by", FROM_BODY, PARAM_TEXT, .min = 1, .max = 100},
    {"max_retries", FROM_BODY, PARAM_INT, .min = 0, .max = 100, .standard = "3"},
    {"extra_metadata", FROM_BODY, PARAM_OBJECT, .standard = "{}"},
    {"idempotency-key", FROM_HEADER, PARAM_TEXT, .min = 1, .max = 255},
    {"body", FROM_BODY, PARAM_WHOLE},
    {"actor", FROM_SERVER, PARAM_ACTOR},
};

static const struct param log_list[] = {
    {"user_id_str", FROM_QUERY, PARAM_TENANT, .min = 1, .max = 255},
    {"status", FROM_QUERY, PARAM_CHOICE, .words = LOG_STATES},
    PLATFORM,
    SOURCE,
    {"older_than_minutes", FROM_QUERY, PARAM_INT, .min = 0, .max = 5256000}, /* ten years */
    CURSOR("id text"),
    LIMIT,
};

static const struct param log_claim[] = {
    {"platform", FROM_BODY, PARAM_WORD, .min = 1, .max = 50, .required = true},
    {"source", FROM_BODY, PARAM_WORD, .min = 1, .max = 64, .standard = "default"},
    {"limit", FROM_BODY, PARAM_INT, .min = 1, .max = 100, .standard = "10"},
    {"worker_id", FROM_BODY, PARAM_TEXT, .min = 1, .max = 100, .required = true},
    {"lease_s", FROM_BODY, PARAM_INT, .min = 5, .max = 86400, .standard = "300"},
    {"actor", FROM_SERVER, PARAM_ACTOR},
    {"words", FROM_SERVER, PARAM_WORDS},
};

static const struct param log_result[] = {
    {"id", FROM_PATH, PARAM_UUID},
    {"worker_id", FROM_BODY, PARAM_TEXT, .min = 1, .max = 100, .required = true},
    {"status", FROM_BODY, PARAM_CHOICE, .words = "processing success failed", .required = true},
    {"external_post_id", FROM_BODY, PARAM_TEXT, .min = 1, .max = 255},
    {"external_url", FROM_BODY, PARAM_TEXT, .min = 1, .max = 2048},
    {"error", FROM_BODY, PARAM_TEXT, .min = 1, .max = 1000},
    {"permanent", FROM_BODY, PARAM_BOOL, .standard = "false"},
    {"happened_at", FROM_BODY, PARAM_TIME},
    {"actor", FROM_SERVER, PARAM_ACTOR},
    {"report_id", FROM_SERVER, PARAM_NEW_ID},
};

#define OF_TENANT {"user_id_str", FROM_QUERY, PARAM_TENANT, .min = 1, .max = 255}
#define DAYS                                                                                                 \
    {"start_date", FROM_QUERY, PARAM_DATE}, {"end_date", FROM_QUERY, PARAM_DATE}

static const struct param cost_record[] = {
    {"timestamp", FROM_BODY, PARAM_TIME, .required = true},
    {"cost", FROM_BODY, PARAM_AMOUNT, .max = 4, .min = 6, .required = true}, /* as its column: numeric(10, 6) */
    {"idempotency_key", FROM_BODY, PARAM_TEXT, .min = 1, .max = 255, .required = true},
    {"platform", FROM_BODY, PARAM_WORD, .min = 1, .max = 50},
    {"log_id", FROM_BODY, PARAM_UUID},
    {"provider", FROM_BODY, PARAM_TEXT, .min = 1, .max = 50},
    {"model", FROM_BODY, PARAM_TEXT, .min = 1, .max = 100},
    {"input_tokens", FROM_BODY, PARAM_INT, .min = 0, .max = INT64_MAX, .standard = "0"},
    {"output_tokens", FROM_BODY, PARAM_INT, .min = 0, .max = INT64_MAX, .standard = "0"},
};

static const struct param cost_add[] = {
    {"user_id_str", FROM_BODY, PARAM_TENANT, .min = 1, .max = 255, .required = true},
    {"records", FROM_BODY, PARAM_LIST, .min = 1, .max = 1000, .required = true, .of = cost_record, .nof = countof(cost_record)},
    {"cost_days", FROM_SERVER, PARAM_COST_DAYS},
    {"actor", FROM_SERVER, PARAM_ACTOR},
};

static const struct param aggregate_days[] = {
    OF_TENANT,
    PLATFORM,
    DAYS,
};

static const struct param by_id[] = {
    {"id", FROM_PATH, PARAM_UUID},
};

static const struct param by_key[] = {
    {"id", FROM_PATH, PARAM_KEY},
};

static const struct param refused_list[] = {
    {"state", FROM_QUERY, PARAM_ROUTE, .words = "refused"},
    PLATFORM,
    SOURCE,
    {"cause", FROM_QUERY, PARAM_WORD, .min = 1, .max = 64},
    CURSOR("time id"),
    LIMIT,
};

static const struct param receipt_list[] = {
    PLATFORM,
    SOURCE,
    {"external_post_id", FROM_QUERY, PARAM_TEXT, .min = 1, .max = 255},
    {"state", FROM_QUERY, PARAM_CHOICE, .words = RECEIPT_STATES},
    CURSOR("time key"),
    LIMIT,
};

static const struct param run_list[] = {
    {"job_name", FROM_QUERY, PARAM_WORD, .min = 1, .max = 64},
    {"status", FROM_QUERY, PARAM_CHOICE, .words = RUN_STATES},
    CURSOR("id"),
    LIMIT,
};

static const struct param alert_list[] = {
    {"status", FROM_QUERY, PARAM_CHOICE, .words = "OPEN RESOLVED"},
    {"type", FROM_QUERY, PARAM_TEXT, .min = 1, .max = 100},
    {"severity", FROM_QUERY, PARAM_CHOICE, .words = "LOW MEDIUM HIGH CRITICAL"},
    CURSOR("time id"),
    LIMIT,
};

/* The first three name what the token is sealed for (connections of the reconciler). */
static const struct param connection_set[] = {
    {"user_id", FROM_PATH, PARAM_TENANT, .min = 1, .max = 255},
    {"platform", FROM_PATH, PARAM_WORD, .min = 1, .max = 50},
    {"account", FROM_BODY, PARAM_TEXT, .min = 1, .max = 255, .standard = "default"},
    {"token", FROM_BODY, PARAM_SECRET, .min = 1, .max = 8192},
    {"expires_at", FROM_BODY, PARAM_TIME},
    {"connected", FROM_BODY, PARAM_BOOL, .standard = "true"},
    {"actor", FROM_SERVER, PARAM_ACTOR},
};

static const struct param alert_resolve[] = {
    {"id", FROM_PATH, PARAM_UUID},
    {"notes", FROM_BODY, PARAM_TEXT, .min = 1, .max = 2000},
    {"actor", FROM_SERVER, PARAM_ACTOR},
};

static const struct param by_user[] = {
    {"user_id", FROM_PATH, PARAM_TENANT, .min = 1, .max = 255},
};

static const struct param insights_reconcile[] = {
    {"user_id", FROM_PATH, PARAM_TENANT, .min = 1, .max = 255},
    {"run_id", FROM_SERVER, PARAM_NEW_ID},
    {"actor", FROM_SERVER, PARAM_ACTOR},
};

static const struct param of_caller[] = {
    WHOSE,
};

static const struct param stats_reconcile[] = {
    {"dry_run", FROM_QUERY, PARAM_BOOL, .standard = "false"},
    {"run_id", FROM_SERVER, PARAM_NEW_ID},
    {"actor", FROM_SERVER, PARAM_ACTOR},
};

static const struct param event_list[] = {
    WHOSE,
    {"event_type", FROM_QUERY, PARAM_CHOICE, .words = EVENT_TYPES},
    {"days", FROM_QUERY, PARAM_INT, .min = 1, .max = 90},
    LIMIT,
    OFFSET,
};

static const struct param event_cleanup[] = {
    {"older_than_days", FROM_QUERY, PARAM_INT, .min = 1, .max = 365},
    {"days_to_keep", FROM_QUERY, PARAM_INT, .min = 1, .max = 365},
    {"dry_run", FROM_QUERY, PARAM_BOOL, .standard = "true"},
    {"run_id", FROM_SERVER, PARAM_NEW_ID},
    {"actor", FROM_SERVER, PARAM_ACTOR},
};

static const struct param execution_log_list[] = {
    WHOSE,
    {"status", FROM_QUERY, PARAM_CHOICE, .words = "success failed skipped running"},
    LIMIT,
    OFFSET,
};

static const struct param insights_log_list[] = {
    {"user_id", FROM_PATH, PARAM_TENANT, .min = 1, .max = 255},
    {"task_id", FROM_QUERY, PARAM_INT, .min = 1, .max = INT64_MAX},
    {"limit", FROM_QUERY, PARAM_INT, .min = 1, .max = 100, .standard = "10"},
    OFFSET,
};

/* In the order of the enum in routes.h. */
static const struct param reconcile[] = {
    {"since_minutes", FROM_QUERY, PARAM_INT, .min = 1, .max = 1440}, /* left out: as the settings say */
    {"platform", FROM_QUERY, PARAM_WORD, .min = 1, .max = 50},
    {"dry_run", FROM_QUERY, PARAM_BOOL, .standard = "false"},
    {"force", FROM_QUERY, PARAM_BOOL, .standard = "false"},
    {"run_id", FROM_SERVER, PARAM_NEW_ID},
    {"actor", FROM_SERVER, PARAM_ACTOR},
    {"prefer", FROM_HEADER, PARAM_TEXT, .max = 255},
};

static const struct param override[] = {
    {"id", FROM_PATH, PARAM_UUID},
    {"status", FROM_BODY, PARAM_CHOICE, .words = "success failed none", .required = true},
    {"reason", FROM_BODY, PARAM_TEXT, .min = 1, .max = 1000, .required = true},
    {"run_id", FROM_SERVER, PARAM_NEW_ID},
    {"actor", FROM_SERVER, PARAM_ACTOR},
};

static const struct param replay[] = {
    {"id", FROM_PATH, PARAM_KEY},
    {"dry_run", FROM_QUERY, PARAM_BOOL, .standard = "false"},
    {"run_id", FROM_SERVER, PARAM_NEW_ID},
    {"actor", FROM_SERVER, PARAM_ACTOR},
};

static const struct param task_trigger[] = {
    {"type", FROM_PATH, PARAM_WORD, .min = 1, .max = 50},
    {"id", FROM_PATH, PARAM_INT, .min = 1, .max = INT64_MAX},
    {"actor", FROM_SERVER, PARAM_ACTOR},
};

#define TAKES(table) .params = (table), .nparams = countof(table)

/* Of rows for one path the first that fits is taken. Methods are GET, POST and PUT. */
const struct route routes[] = {
    {"POST", "/publishing/logs", ROUTE_WRITE, SCOPE_WRITE, SQL_LOG_REGISTER, TAKES(log_register),
     .location = "/publishing/logs/", .unseen = "post_taken"},
    {"GET", "/publishing/logs", ROUTE_READ, SCOPE_READ, SQL_LOG_LIST, TAKES(log_list)},
    {"POST", "/publishing/logs/claim", ROUTE_WRITE, SCOPE_WRITE, SQL_LOG_CLAIM, TAKES(log_claim)},
    {"GET", "/publishing/logs/{id}", ROUTE_READ, SCOPE_READ, SQL_LOG_GET, TAKES(by_id)},
    {"POST", "/publishing/logs/{id}/override", ROUTE_OVERRIDE, SCOPE_RECONCILE, SQL_LOG_OWNED, TAKES(override)},
    {"POST", "/publishing/logs/{id}/result", ROUTE_WRITE, SCOPE_WRITE, SQL_LOG_RESULT, TAKES(log_result),
     .unseen = "post_taken"},
    {"GET", "/publishing/receipts", ROUTE_READ, SCOPE_ADMIN, SQL_REFUSED_LIST, TAKES(refused_list),
     .only_with = "state=refused"},
    {"GET", "/publishing/receipts", ROUTE_READ, SCOPE_READ, SQL_RECEIPT_LIST, TAKES(receipt_list)},
    {"GET", "/publishing/receipts/{id}", ROUTE_READ, SCOPE_READ, SQL_RECEIPT_GET, TAKES(by_key)},
    {"GET", "/publishing/receipts/{id}", ROUTE_READ, SCOPE_ADMIN, SQL_REFUSED_GET, TAKES(by_id)},
    {"POST", "/publishing/receipts/{id}/replay", ROUTE_REPLAY, SCOPE_ADMIN, TAKES(replay)},
    {"GET", "/publishing/runs", ROUTE_READ, SCOPE_ADMIN, SQL_RUN_LIST, TAKES(run_list)},
    {"GET", "/publishing/runs/{id}", ROUTE_READ, SCOPE_ADMIN, SQL_RUN_GET, TAKES(by_id)},
    {"POST", "/publishing/reconcile", ROUTE_RECONCILE, SCOPE_ADMIN, TAKES(reconcile)},
    {"PUT", "/api/scheduler/platform-connections/{user_id}/{platform}", ROUTE_WRITE, SCOPE_WRITE, SQL_CONNECTION_SET,
     TAKES(connection_set)},
    {"GET", "/api/scheduler/platform-insights/status/{user_id}", ROUTE_READ, SCOPE_READ, SQL_INSIGHTS_STATUS,
     TAKES(by_user)},
    {"POST", "/api/scheduler/platform-insights/reconcile/{user_id}", ROUTE_WRITE, SCOPE_RECONCILE, SQL_INSIGHTS_RECONCILE,
     TAKES(insights_reconcile)},
    {"GET", "/api/scheduler/platform-insights/logs/{user_id}", ROUTE_READ, SCOPE_READ, SQL_INSIGHTS_LOG_LIST,
     TAKES(insights_log_list)},
    {"GET", "/api/scheduler/tasks-needing-intervention/{user_id}", ROUTE_READ, SCOPE_READ, SQL_INTERVENTION_LIST,
     TAKES(by_user)},
    {"POST", "/api/scheduler/tasks/{type}/{id}/manual-trigger", ROUTE_WRITE, SCOPE_RECONCILE, SQL_TASK_TRIGGER,
     TAKES(task_trigger)},
    {"GET", "/api/scheduler/dashboard", ROUTE_READ, SCOPE_READ, SQL_SCHEDULER_DASHBOARD, TAKES(of_caller)},
    {"POST", "/api/scheduler/dashboard/cumulative-stats/reconcile", ROUTE_WRITE, SCOPE_ADMIN, SQL_STATS_RECONCILE,
     TAKES(stats_reconcile)},
    {"GET", "/api/scheduler/event-history", ROUTE_READ, SCOPE_READ, SQL_SCHEDULER_EVENT_LIST, TAKES(event_list)},
    {"GET", "/api/scheduler/event-logs/stats", ROUTE_READ, SCOPE_READ, SQL_SCHEDULER_EVENT_STATS, TAKES(of_caller)},
    {"POST", "/api/scheduler/cleanup-event-logs", ROUTE_WRITE, SCOPE_ADMIN, SQL_SCHEDULER_EVENT_CLEANUP,
     TAKES(event_cleanup)},
    {"GET", "/api/scheduler/execution-logs", ROUTE_READ, SCOPE_READ, SQL_EXECUTION_LOG_LIST, TAKES(execution_log_list)},
    {"GET", "/api/scheduler/recent-scheduler-logs", ROUTE_READ, SCOPE_READ, SQL_SCHEDULER_LOG_LIST, TAKES(of_caller)},
    {"GET", "/api/scheduler/jobs", ROUTE_READ, SCOPE_READ, SQL_SCHEDULER_JOB_LIST, TAKES(of_caller)},
    {"GET", "/api/scheduler/status", ROUTE_READ, SCOPE_ADMIN, SQL_SCHEDULER_STATUS},
    {"GET", "/api/scheduler/health", ROUTE_READ, SCOPE_READ, SQL_SCHEDULER_HEALTH},
    {"GET", "/api/scheduler/metrics", ROUTE_READ, SCOPE_ADMIN, SQL_SCHEDULER_METRICS},
    {"GET", "/api/scheduler/config", ROUTE_CONFIG, SCOPE_ADMIN},
    {"GET", "/debug/circuit-breakers", ROUTE_READ, SCOPE_ADMIN, SQL_BREAKER_LIST},
    {"GET", "/alerts", ROUTE_READ, SCOPE_READ, SQL_ALERT_LIST, TAKES(alert_list)},
    {"GET", "/alerts/stats", ROUTE_READ, SCOPE_READ, SQL_ALERT_STATS},
    {"PUT", "/alerts/{id}/resolve", ROUTE_WRITE, SCOPE_ADMIN, SQL_ALERT_RESOLVE, TAKES(alert_resolve)},
    {"POST", "/analytics/costs", ROUTE_WRITE, SCOPE_WRITE, SQL_COST_ADD, TAKES(cost_add), .body_max = COSTS_BODY_MAX},
    {"GET", "/analytics/summary", ROUTE_READ, SCOPE_READ, SQL_AGGREGATE_SUMMARY, TAKES(aggregate_days)},
    {"GET", "/analytics/export", ROUTE_EXPORT, SCOPE_READ, SQL_AGGREGATE_EXPORT, TAKES(aggregate_days)},
    {"GET", "/api/openapi.yaml", ROUTE_DESCRIBE, SCOPE_READ},
};
/* clang-format on */
const size_t nroutes = countof(routes);

static bool path_fits(const struct route *r, struct span path, struct span ret_values[PATH_VALUES_MAX]);
static bool method_fits(const struct route *r, struct span method);
static bool query_fits(const struct route *r, struct span query);

const struct route *route_find(struct span method, struct span path, struct span query,
                               struct span ret_values[PATH_VALUES_MAX], const char **ret_allowed)
{
    static const char *const allowed[] = {NULL,  "GET, HEAD",      "POST",      "GET, HEAD, POST",
                                          "PUT", "GET, HEAD, PUT", "POST, PUT", "GET, HEAD, POST, PUT"};
    unsigned seen = 0;

    for (const struct route *r = routes; r < routes + nroutes; r++) {
        if (!path_fits(r, path, ret_values))
            continue;
        if (method_fits(r, method) && query_fits(r, query))
            return r;
        seen |= r->method[0] == 'G' ? 1 : strcmp(r->method, "POST") == 0 ? 2 : 4;
    }
    *ret_allowed = allowed[seen];
    return NULL;
}

static bool path_fits(const struct route *r, struct span path, struct span ret_values[PATH_VALUES_MAX])
{
    struct span want = span_of(r->path);
    const struct param *p = r->params;
    size_t n = 0;

    while (want.at && path.at) {
        struct span want_piece = span_cut(&want, '/'), piece = span_cut(&path, '/');

        if (!span_starts(want_piece, SPAN("{"))) {
            if (!span_eq(want_piece, piece))
                return false;
            continue;
        }
        while (p->from != FROM_PATH)
            p++;
        if (!param_fits(p++, piece))
            return false;
        ret_values[n++] = piece;
    }
    return !want.at && !path.at;
}

static bool method_fits(const struct route *r, struct span method)
{
    return span_eq(method, span_of(r->method)) || (r->method[0] == 'G' && span_eq(method, SPAN("HEAD")));
}

static bool query_fits(const struct route *r, struct span query)
{
    return !r->only_with || query_holds(query, r->only_with);
}

size_t route_body_max(struct span method, struct span path)
{
    struct span values[PATH_VALUES_MAX];
    const char *allowed;
    const struct route *r = route_find(method, path, SPAN_NONE, values, &allowed);

    return r && r->body_max ? r->body_max : BODY_MAX;
}

bool route_takes_secret(const struct route *r)
{
    for (size_t i = 0; i < r->nparams; i++)
        if (r->params[i].type == PARAM_SECRET)
            return true;
    return false;
}
