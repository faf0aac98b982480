-- Revert settle:alert_rules from pg
begin;

delete from settle.schema_version where change = 'alert_rules';
revoke select on settle.scheduler_stats_baseline from settle_reconciler;
revoke select (event_type, tasks_found, tasks_executed, tasks_failed, tasks_skipped) on settle.scheduler_event_logs from settle_reconciler;
delete from settle.job_fences where name in ('alerts', 'stats');
drop index settle.platform_connections_users;
drop index settle.job_runs_reconciles_failed;
drop index settle.job_runs_reconciles;
drop index settle.alerts_ended;
drop index settle.alerts_user;
alter table settle.alerts alter column id drop default;
drop table settle.insights_gaps;
drop table settle.scheduler_drift;

commit;
