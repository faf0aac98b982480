-- Revert settle:requarantine from pg
-- The role stays: it belongs to the whole cluster.
begin;

delete from settle.schema_version where change = 'requarantine';
drop index settle.refused_requests_source;
revoke select (dedup_key, source, delivery_id) on settle.webhook_receipts from settle_requarantine;
revoke insert on settle.webhook_receipts, settle.webhook_deliveries from settle_requarantine;
revoke select, delete on settle.refused_requests from settle_requarantine;
revoke select on settle.schema_version from settle_requarantine;
revoke usage on schema settle from settle_requarantine;

commit;
