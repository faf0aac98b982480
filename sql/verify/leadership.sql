-- Verify settle:leadership on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'leadership';
select mode, identity, is_leader, execution_enabled, leader_since, lock_key, last_check, last_error
from settle.scheduler_leadership
where false;
select 1 / has_table_privilege('settle_tenant', 'settle.scheduler_leadership', 'select')::int;
select 1 / (pg_get_viewdef('settle.scheduler_jobs'::regclass) like '%job_runs%')::int;

rollback;
