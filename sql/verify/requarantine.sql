-- Verify settle:requarantine on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'requarantine';
select 1 / has_table_privilege('settle_requarantine', 'settle.refused_requests', 'delete')::int;
select 1 / has_table_privilege('settle_requarantine', 'settle.webhook_deliveries', 'insert')::int;
select 1 / has_column_privilege('settle_requarantine', 'settle.webhook_receipts', 'dedup_key', 'select')::int;

rollback;
