-- Revert settle:closings from pg
begin;

delete from settle.schema_version where change = 'closings';
alter table settle.breakers drop column closings;

commit;
