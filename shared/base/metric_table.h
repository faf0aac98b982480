/*
 * One row a metric: METRIC(id, name, kind, by platform, second label or NULL, its words or NULL, help).
 * Words are one string, split at blanks; their order is the order of the enum that indexes them.
 * No include guard: metric.h and metric.c each read this table in their own way.
 */
METRIC(WEBHOOK_REQUESTS, "settle_webhook_requests_total", COUNTER, true, "cause",
       "stored duplicate bad_signature unknown_source unknown_platform too_large malformed method "
       "store_unavailable overload internal dropped handshake handshake_refused rate_limited spooled "
       "clock_suspect",
       "Webhook requests answered, by platform and by what became of them.")
METRIC(SIGNATURE_REFUSALS, "settle_signature_refusals_total", COUNTER, true, "cause",
       "header_missing header_twice malformed_signature malformed_time too_old in_future bad_id bad_body "
       "no_match no_secret_in_force",
       "Requests to configured sources whose signature did not hold, by the rule that failed.")
METRIC(
    WEBHOOK_ACK, "settle_webhook_ack_duration_seconds", HISTOGRAM, false, NULL, NULL,
    "Time from the last byte of a webhook request to its answer; not of those for whom there was no place.")
METRIC(RECEIPTS_STORED, "settle_receipts_stored_total", COUNTER, true, NULL, NULL,
       "Receipts that were new and are durable in Postgres.")
METRIC(RECEIPTS_ID_REUSED, "settle_receipts_id_reused_total", COUNTER, true, NULL, NULL,
       "Receipts whose event id came shortly before with another body; both are stored.")
METRIC(BATCHES, "settle_batches_total", COUNTER, false, "result", "stored split failed",
       "Group commits, by result.")
METRIC(QUEUE_WAITING, "settle_queue_waiting_deliveries", GAUGE_SUM, false, NULL, NULL,
       "Verified deliveries that wait for their commit.")
METRIC(COMMIT_CAPACITY, "settle_commit_capacity_receipts", GAUGE_SUM, false, NULL, NULL,
       "Receipts a second that Postgres was seen to commit while others had to wait; 0: none had to of late.")
METRIC(
    SPOOL_ORPHANS, "settle_spool_orphan_files", GAUGE, false, NULL, NULL,
    "Files in the spool's folder that no worker has open (left by one that ended, or unreadable): what is in "
    "them is not among settle_spool_records. 1 until the folder has been read.")
METRIC(SPOOL_RECORDS, "settle_spool_records", GAUGE_SUM, false, NULL, NULL,
       "Acknowledged deliveries in the spool, which wait for Postgres.")
METRIC(SPOOL_STAYED, "settle_spool_stayed_records", GAUGE_SUM, false, NULL, NULL,
       "Those of them that Postgres could not be given: no such platform or source any more, refused, or "
       "damaged.")
METRIC(SPOOL_BYTES, "settle_spool_bytes", GAUGE_SUM, false, NULL, NULL, "What the spool takes of its cap.")
METRIC(SPOOL_CAPACITY, "settle_spool_capacity_bytes", GAUGE_SUM, false, NULL, NULL,
       "The cap, of all workers together; 0 without a spool.")
METRIC(SPOOL_OLDEST, "settle_spool_oldest_seconds", GAUGE, false, NULL, NULL,
       "Age of the oldest delivery in the spool; 0 if there is none.")
METRIC(SPOOL_WRITES, "settle_spool_writes_total", COUNTER, false, "result", "stored full failed late",
       "Deliveries handed to the spool, by what became of them.")
METRIC(SPOOL_DRAINED, "settle_spool_drained_total", COUNTER, false, NULL, NULL,
       "Deliveries of the spool whose receipts are all committed in Postgres.")
METRIC(CONNECTIONS, "settle_open_connections", GAUGE_SUM, false, NULL, NULL, "Open client connections.")
METRIC(CONNECTIONS_MAX, "settle_max_connections", GAUGE_SUM, false, NULL, NULL,
       "Connections of senders that the ingest workers will hold at once; beyond them new ones wait.")
METRIC(CONNECTIONS_REFUSED, "settle_connections_refused_total", COUNTER, false, NULL, NULL,
       "Connections closed at once because their address had as many open as it may.")
METRIC(STORE_UP, "settle_store_up", GAUGE_SUM, false, "store", "postgres redis",
       "Number of the ingest workers' connections to the store that work and take writes.")
METRIC(STORE_CONNECTS, "settle_store_connects_total", COUNTER, false, "store", "postgres redis",
       "Tries to connect to the store.")
METRIC(
    CLOCK_SKEW, "settle_clock_skew_seconds", GAUGE, false, NULL, NULL,
    "How far the gateway's wall clock and the database's are apart, either way; the largest of all workers'. "
    "Beyond 30 s a signature that looks too old or too new is answered 503 instead of 401.")
METRIC(HINTS, "settle_redis_hints_total", COUNTER, false, "result", "seen unseen unknown",
       "Duplicate hints asked of Redis, by answer; unknown means late, down or left alone.")
METRIC(REDIS_REFUSALS, "settle_redis_refusals_total", COUNTER, false, NULL, NULL,
       "Questions and notes that Redis answered with an error, such as OOM or READONLY.")
METRIC(SIGNATURE_STORM, "settle_signature_storm", GAUGE, true, NULL, NULL,
       "Sources that were fine and of whose requests more than half of the last minute's, or all of the last "
       "ten "
       "minutes', failed their signature.")
METRIC(RELOADS, "settle_reloads_total", COUNTER, false, "result", "done failed",
       "Readings of descriptors, sources and secrets at HUP, by the parent and by each ingest worker.")
METRIC(API_REQUESTS, "settle_api_requests_total", COUNTER, false, "code", "2xx 4xx 5xx",
       "Requests to the admin listener, by class of answer.")
METRIC(PUBLICATIONS, "settle_publications", GAUGE, true, "state",
       "pending scheduled processing retry success failed", "Publications, by platform and state.")
METRIC(PUBLICATIONS_OLDEST, "settle_publications_oldest_seconds", GAUGE, true, "state",
       "pending processing retry",
       "For how long the oldest open publication has not changed, by platform and state; 0: there is none.")
METRIC(PUBLICATIONS_STUCK, "settle_publications_stuck", GAUGE, true, NULL, NULL,
       "Publications in processing or retry that have not changed for more than 24 hours.")
METRIC(RECEIPTS_UNMATCHED, "settle_receipts_unmatched", GAUGE, true, NULL, NULL,
       "Receipts that came 72 to 96 hours ago and still name no publication that is registered; the newest "
       "5,000 of "
       "those hours are looked at, every five minutes.")
METRIC(RECONCILE_CHECKED, "settle_reconcile_checked_total", MIRROR, true, NULL, NULL,
       "Publications that all runs of the publications job have settled or skipped.")
METRIC(RECONCILE_RESULTS, "settle_reconcile_results_total", MIRROR, true, "result",
       "success failed skipped corrected retry",
       "What became of them, and of those corrected by later evidence or sent back to the workers.")
METRIC(RECONCILE_DECIDED, "settle_reconcile_decided_total", MIRROR, true, "reason",
       "webhook_confirmed webhook_reported_failure webhook_timeout late_webhook poll_confirmed "
       "poll_reported_failure "
       "worker_reported_success worker_reported_failure auto_retry manual_override",
       "What all runs of the publications job have written, by the reason for it.")
METRIC(RECONCILE_RUNS, "settle_reconcile_runs_total", MIRROR, false, "outcome",
       "done guard lock_held interrupted failed killed",
       "Runs of the publications job that ended, by outcome; killed: it was, or it lost its lock.")
METRIC(RECONCILE_LAST, "settle_reconcile_last_run_publications", GAUGE, true, "result",
       "checked success failed skipped corrected retry unclear",
       "What the newest run of the publications job that has ended did; unclear: of those skipped, a webhook "
       "came "
       "and does not say how it ended.")
METRIC(POLLS, "settle_polls_total", MIRROR, false, "result", "asked done working",
       "Publications that runs would have platforms asked about, and answers by what they say.")
METRIC(
    MISSING_REASON, "settle_missing_reason_total", MIRROR, false, "reason",
    "circuit_open half_open_probe_exhausted adapter_missing invalid_adapter_return rate_limited auth_error "
    "fetch_error timeout no_metrics platform_disabled",
    "Why nothing was learned from a platform about a publication: what kept a run from asking, or what came "
    "of it. "
    "platform_disabled: it is paused; adapter_missing: failed by time-out, or sent back, where no descriptor "
    "says "
    "how to ask.")
METRIC(
    BREAKER_STATE, "settle_breaker_state", GAUGE, true, "state", "closed open half_open",
    "1 for the state of each platform's breaker, 0 for the others; not closed: it is not asked about posts.")
METRIC(BREAKER_TRANSITIONS, "settle_breaker_transitions_total", MIRROR, true, NULL, NULL,
       "Changes of state of each platform's breaker.")
METRIC(BREAKER_CLOSINGS, "settle_breaker_closings_total", MIRROR, true, NULL, NULL,
       "Times that each platform's breaker closed again; many in a short time: it flaps.")
METRIC(RUN_LAST_SUCCESS, "settle_reconcile_last_success_timestamp_seconds", GAUGE, false, NULL, NULL,
       "When the newest successful run of the publications job ended, Unix time; 0 if there is none.")
METRIC(RUN_DURATION, "settle_reconcile_run_duration_seconds", GAUGE, false, NULL, NULL,
       "How long that run took.")
METRIC(JOB_LAST_RUN, "settle_job_last_run_timestamp_seconds", GAUGE, false, "job_name",
       "publications maintain aggregates insights stats alerts",
       "When the newest run of each job ended, Unix time; 0 if there is none.")
METRIC(JOB_LAST_SUCCESS, "settle_job_last_success_timestamp_seconds", GAUGE, false, "job_name",
       "publications maintain aggregates insights stats alerts",
       "When the newest successful run of each job ended, Unix time; 0 if there is none.")
METRIC(JOB_CUT_SHORT, "settle_job_cut_short_total", MIRROR, false, "job_name",
       "publications maintain aggregates insights stats alerts",
       "Runs of each job that were killed or lost their lock.")
METRIC(JOB_LOCK_HELD, "settle_job_lock_held", GAUGE, false, "job_name",
       "publications maintain aggregates insights stats alerts serve",
       "1 while a run of the job is under way; of serve: while there is a leader.")
METRIC(JOB_LOCK_EXPIRED, "settle_job_lock_expired", GAUGE, false, "job_name",
       "publications maintain aggregates insights stats alerts serve",
       "1 while the job's lock is held by one that has not renewed it in time: killed, frozen or cut off.")
METRIC(ALERTS_OPEN, "settle_alerts_open", GAUGE, false, "type",
       "insights_reconcile_failed insights_reconcile_repeated insights_coverage scheduler_stats_drift other",
       "Alerts that are open, by the rule that opened them; of rules about tenants each has one at most. "
       "other: of "
       "runs, and of rules that are not named here.")
METRIC(STATS_DRIFT, "settle_scheduler_drift_cycles", GAUGE, false, NULL, NULL,
       "By how many check cycles the scheduler's total is off its events, either way, as settle-reconciler "
       "stats has "
       "measured it last.")
METRIC(
    AGGREGATES_LAST_SUCCESS, "settle_aggregates_last_success_timestamp_seconds", GAUGE, false, NULL, NULL,
    "End of the newest day that was over when it was aggregated, Unix time; 0 if there is none. Older days "
    "that are filled in do not move it.")
METRIC(
    AGGREGATES_DAYS, "settle_aggregates_dates", GAUGE, false, "state", "unverified dead failed",
    "Aggregated days that do not hold against their raw rows; days that failed for the last time, and days "
    "that failed and are tried again.")
METRIC(AGGREGATES_RUNS, "settle_aggregates_runs_total", MIRROR, false, "outcome",
       "done drift lock_held interrupted failed killed",
       "Runs of aggregates run, backfill and verify that ended, by outcome; drift: verify found a day that "
       "does not hold.")
METRIC(AGGREGATES_LOCK_SKIPS, "settle_aggregates_lock_skips_total", MIRROR, false, NULL, NULL,
       "Runs, and days of runs, that were left to another who had their lock.")
METRIC(WORKER_RESTARTS, "settle_worker_restarts_total", COUNTER, false, NULL, NULL,
       "Processes that ended unasked and were started again.")
METRIC(START_TIME, "settle_start_timestamp_seconds", GAUGE, false, NULL, NULL,
       "When the gateway started, Unix time.")
METRIC(BUILD_INFO, "settle_build_info", INFO, false, "version", SETTLE_VERSION,
       "Always 1; the version is the label.")
