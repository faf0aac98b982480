-- Verify settle:patience on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'patience';
select platform, resumed_at from settle.platform_resumes where false;
select 1 / (pg_get_indexdef('settle.platform_connections_platform'::regclass) like '%token IS NOT NULL%')::int;
select 1 / has_table_privilege('settle_reconciler', 'settle.platform_resumes', 'update')::int;

rollback;
