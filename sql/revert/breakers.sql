-- Revert settle:breakers from pg
begin;

delete from settle.schema_version where change = 'breakers';
drop table settle.breakers;

commit;
