-- Verify settle:deliveries on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'deliveries';
select 1 / (
  has_column_privilege('settle_gateway', 'settle.webhook_receipts', 'delivery_id', 'select')
  and not has_column_privilege('settle_gateway', 'settle.webhook_receipts', 'body', 'select')
  and not has_any_column_privilege('settle_gateway', 'settle.webhook_deliveries', 'select'))::int;

rollback;
