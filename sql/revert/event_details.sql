-- Revert settle:event_details from pg
begin;

delete from settle.schema_version where change = 'event_details';
revoke select (id, event_type, event_date, check_cycle_number, check_interval_minutes, previous_interval_minutes,
               new_interval_minutes, tasks_found, tasks_executed, tasks_failed, tasks_skipped, tasks_by_type, job_id, job_type,
               user_id, check_duration_seconds, active_strategies_count, active_executions, created_at, own_data, own_error)
  on settle.scheduler_event_logs from settle_tenant;
grant select on settle.scheduler_event_logs to settle_tenant;
create or replace view settle.scheduler_events with (security_invoker = true) as
select id, event_type, event_date, check_cycle_number, check_interval_minutes, previous_interval_minutes, new_interval_minutes,
       tasks_found, tasks_executed, tasks_failed, tasks_skipped, tasks_by_type, job_id, job_type, user_id,
       check_duration_seconds, active_strategies_count, active_executions,
       case when user_id is null and current_user = 'settle_tenant' then '{}'::jsonb else event_data end as event_data,
       case when user_id is null and current_user = 'settle_tenant' then null else error_message end as error_message,
       created_at
from settle.scheduler_event_logs;
drop function settle.event_data (bigint);
drop function settle.event_error (bigint);
alter table settle.scheduler_event_logs drop column own_data, drop column own_error;

commit;
