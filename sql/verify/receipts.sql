-- Verify settle:receipts on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'receipts';
select dedup_key, source, platform, delivery_id, external_post_id, event_status, decisive, happened_at, received_at, stored_at,
       url, reason, extras, parse_error, key_id, headers, body
from settle.webhook_receipts
where false;
select id, source, platform, received_at, stored_at, headers, body from settle.webhook_deliveries where false;
select id, source, platform, received_at, cause, detail, headers, body from settle.refused_requests where false;
select 1 / (octet_length(key) = 32)::int from settle.hint_key;
select 1 / (
  has_table_privilege('settle_gateway', 'settle.webhook_receipts', 'insert')
  and not has_table_privilege('settle_gateway', 'settle.webhook_receipts', 'update')
  and has_column_privilege('settle_gateway', 'settle.webhook_receipts', 'dedup_key', 'select')
  and has_table_privilege('settle_reconciler', 'settle.webhook_receipts', 'select'))::int;

rollback;
