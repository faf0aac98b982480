-- Revert settle:asking from pg
begin;

delete from settle.schema_version where change = 'asking';
drop index settle.platform_connections_platform;

commit;
