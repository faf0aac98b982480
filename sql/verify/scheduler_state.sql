-- Verify settle:scheduler_state on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'scheduler_state';
select total_check_cycles, cumulative_tasks_found, cumulative_tasks_executed, cumulative_tasks_failed, cumulative_tasks_skipped,
       cumulative_job_completed, cumulative_job_failed, last_check_cycle_id, last_check_cycle_number, repairs, last_updated, created_at, updated_at
from settle.scheduler_cumulative_stats
where false;
select 1 / count(*) from settle.scheduler_cumulative_stats where id = 1;
select events, check_cycles, tasks_found, tasks_executed, tasks_failed, tasks_skipped, job_completed, job_failed, newest, updated_at
from settle.scheduler_stats_baseline
where false;
select 1 / count(*) from settle.scheduler_stats_baseline where id = 1;
select id, task_id, execution_date, status, result_data, error_message, execution_time_ms, data_source, created_at
from settle.platform_insights_execution_logs
where false;
select id, strategy_id, component_name, task_title, task_description, assignee, frequency, metric, measurement_method,
       success_criteria, alert_threshold, status, last_executed, next_execution, created_at
from settle.monitoring_tasks
where false;
select id, task_id, user_id, user_id_str, execution_date, status, result_data, error_message, execution_time_ms, created_at
from settle.task_execution_logs
where false;
select event_data, error_message from settle.scheduler_events where false;
select id, trigger_type, next_run_time, user_id, task_id, platform from settle.scheduler_jobs where false;
select 1 / has_function_privilege('settle_tenant', 'settle.job_lease(timestamptz)', 'execute')::int;
select 1 / (count(*) = 2)::int
from pg_indexes
where schemaname = 'settle'
  and indexname in ('scheduler_event_logs_pace', 'platform_insights_execution_logs_date');
select 1 / count(*) from pg_trigger
where tgrelid = 'settle.scheduler_event_logs'::regclass and tgname = 'scheduler_events_added';
select 1 / count(*) from pg_trigger
where tgrelid = 'settle.scheduler_event_logs'::regclass and tgname = 'scheduler_events_removed';

rollback;
