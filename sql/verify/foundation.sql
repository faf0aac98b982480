-- Verify settle:foundation on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'foundation';
select 1 / (
  has_schema_privilege('settle_gateway', 'settle', 'usage')
  and has_schema_privilege('settle_reconciler', 'settle', 'usage')
  and has_schema_privilege('settle_api', 'settle', 'usage')
  and has_schema_privilege('settle_maintain', 'settle', 'usage')
  and has_schema_privilege('settle_readonly', 'settle', 'usage'))::int;

rollback;
