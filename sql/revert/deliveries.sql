-- Revert settle:deliveries from pg
begin;

delete from settle.schema_version where change = 'deliveries';
revoke select (delivery_id) on settle.webhook_receipts from settle_gateway;

commit;
