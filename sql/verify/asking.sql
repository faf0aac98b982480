-- Verify settle:asking on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'asking';
select 1 / (to_regclass('settle.platform_connections_platform') is not null)::int;

rollback;
