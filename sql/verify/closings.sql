-- Verify settle:closings on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'closings';
select closings from settle.breakers where false;

rollback;
