-- Verify settle:schedule on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'schedule';
select job, cron, next_due, last_due, running, running_since, last_run, last_status, last_ended, pace, skipped, updated_at
from settle.job_schedule
where false;
select id, event_type, event_date, check_cycle_number, check_interval_minutes, previous_interval_minutes,
       new_interval_minutes, tasks_found, tasks_executed, tasks_failed, tasks_skipped, tasks_by_type, job_id, job_type,
       user_id, check_duration_seconds, active_strategies_count, active_executions, event_data, error_message, created_at
from settle.scheduler_event_logs
where false;
select 1 / (count(*) = 2)::int from settle.job_fences where name in ('serve', 'maintain');
select 1 / has_table_privilege('settle_maintain', 'settle.job_fences', 'update')::int;

rollback;
