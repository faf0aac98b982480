-- Verify settle:alert_rules on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'alert_rules';
select id, check_cycles, tasks_found, tasks_executed, tasks_failed, tasks_skipped, job_completed, job_failed,
       total_check_cycles, drifted_since, measured_at
from settle.scheduler_drift
where false;
select user_id_str, connected, active, since, seen_at from settle.insights_gaps where false;
select 1 / (count(*) / 6)
from pg_class
where relnamespace = 'settle'::regnamespace
  and relname in ('alerts_user', 'alerts_ended', 'job_runs_reconciles', 'job_runs_reconciles_failed', 'platform_connections_users', 'insights_gaps_pkey');
select 1 / (count(*) / 2) from settle.job_fences where name in ('alerts', 'stats');
select 1 / has_table_privilege('settle_reconciler', 'settle.insights_gaps', 'delete')::int;
select 1 / has_column_privilege('settle_reconciler', 'settle.scheduler_event_logs', 'tasks_skipped', 'select')::int;
select 1 / (relrowsecurity and relforcerowsecurity)::int from pg_class where oid = 'settle.insights_gaps'::regclass;

rollback;
