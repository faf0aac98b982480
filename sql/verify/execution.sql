-- Verify settle:execution on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'execution';
select 1 / settle.is_site('sc-domain:example.com')::int;
select failures_since from settle.platform_insights_tasks where false;
select task_key, token, holder, run_id, taken_at, expires_at from settle.task_leases where false;
select 1 / (count(*) = 1)::int from settle.job_fences where name = 'insights';
select 1 / has_column_privilege('settle_tenant', 'settle.platform_insights_tasks', 'next_check', 'update')::int;
select 1 / (count(*) = 2)::int
from pg_indexes
where schemaname = 'settle'
  and indexname in ('platform_insights_execution_logs_failed', 'platform_insights_tasks_stuck');

rollback;
