-- Revert settle:connections from pg
begin;

delete from settle.schema_version where change = 'connections';
drop table settle.platform_connections;

commit;
