-- Revert settle:alerts from pg
begin;

delete from settle.schema_version where change = 'alerts';
drop table settle.alerts;

commit;
