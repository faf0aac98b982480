-- Verify settle:lease_ends on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'lease_ends';
select 1 / has_function_privilege('settle_tenant', 'settle.worker_lease(timestamptz)', 'execute')::int;
select 1 / has_function_privilege('settle_maintain', 'settle.job_lease(timestamptz)', 'execute')::int;

rollback;
