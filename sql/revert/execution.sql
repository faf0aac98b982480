-- Revert settle:execution from pg
begin;

delete from settle.schema_version where change = 'execution';
revoke update (status, failure_reason, consecutive_failures, failure_pattern, next_check, cool_off_until, failures_since,
  updated_at)
  on settle.platform_insights_tasks from settle_tenant, settle_operator;
delete from settle.job_fences where name = 'insights';
drop index settle.platform_insights_tasks_stuck;
drop index settle.platform_insights_execution_logs_failed;
alter table settle.platform_insights_tasks drop column failures_since;
drop table settle.task_leases;
drop function settle.is_site (text);

commit;
