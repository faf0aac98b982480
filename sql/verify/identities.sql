-- Verify settle:identities on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'identities';
select 1 / count(*) from pg_constraint where conname = 'platform_insights_tasks_user_form';
select 1 / has_column_privilege('settle_maintain', 'settle.task_execution_logs', 'user_id_str', 'update')::int;
select 1 / (count(*) = 3)::int
from pg_class
where oid in ('settle.task_execution_logs'::regclass, 'settle.platform_insights_tasks'::regclass,
              'settle.platform_insights_execution_logs'::regclass)
  and relrowsecurity and relforcerowsecurity;

rollback;
