-- Deploy settle:deliveries to pg
-- Deliveries with several receipts: the gateway learns by RETURNING which of them had a receipt that was new.
begin;

grant select (delivery_id) on settle.webhook_receipts to settle_gateway;

insert into settle.schema_version (change) values ('deliveries');

commit;
