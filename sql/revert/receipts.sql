-- Revert settle:receipts from pg
begin;

delete from settle.schema_version where change = 'receipts';
drop table settle.hint_key;
drop table settle.refused_requests;
drop table settle.webhook_deliveries;
drop table settle.webhook_receipts;

commit;
