-- Revert settle:scheduler_state from pg
begin;

delete from settle.schema_version where change = 'scheduler_state';
drop trigger job_runs_skipped on settle.job_runs;
create trigger job_runs_skipped after insert on settle.job_runs
for each row when (new.status <> 'running' and new.user_id_str is null)
execute function settle.run_totals_follow();
revoke execute on function settle.job_lease (timestamptz) from settle_tenant, settle_readonly;
revoke select (name, lease_until) on settle.job_fences from settle_tenant;
revoke select (job, cron, next_due, last_due, pace) on settle.job_schedule from settle_tenant;
revoke select on settle.scheduler_event_logs from settle_tenant;
revoke delete on settle.scheduler_event_logs from settle_operator;
drop view settle.scheduler_jobs;
drop view settle.scheduler_events;
drop policy tenant on settle.scheduler_event_logs;
create policy tenant on settle.scheduler_event_logs to settle_tenant using (user_id = settle.tenant());
do $$
declare
  name text;
begin
  foreach name in array array['job_schedule', 'job_fences']
  loop
    execute format('drop policy tenant on settle.%I', name);
    execute format('drop policy programs on settle.%I', name);
    execute format('alter table settle.%I disable row level security, no force row level security', name);
  end loop;
end
$$;
drop table settle.platform_insights_execution_logs;
-- Whose a monitoring task is, the policy of one says by the other.
drop policy tenant on settle.monitoring_tasks;
drop table settle.task_execution_logs;
drop table settle.monitoring_tasks;
drop function settle.tenant_number ();
drop index settle.scheduler_event_logs_user;
create index scheduler_event_logs_user on settle.scheduler_event_logs (user_id) where user_id is not null;
drop index settle.scheduler_event_logs_cycles;
drop index settle.scheduler_event_logs_pace;
drop index settle.scheduler_event_logs_type;
drop trigger scheduler_events_removed on settle.scheduler_event_logs;
drop trigger scheduler_events_added on settle.scheduler_event_logs;
drop function settle.scheduler_events_count ();
drop table settle.scheduler_stats_baseline;
drop table settle.scheduler_cumulative_stats;

commit;
