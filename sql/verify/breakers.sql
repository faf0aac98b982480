-- Verify settle:breakers on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'breakers';
select platform, state, failures, opened_at, transitions, probes_until, version, changed_at, updated_at
from settle.breakers
where false;
select 1 / has_table_privilege('settle_reconciler', 'settle.breakers', 'update')::int;

rollback;
