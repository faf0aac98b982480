-- Revert settle:websub from pg
-- The role stays: it belongs to the whole cluster.
begin;

delete from settle.schema_version where change = 'websub';
drop table settle.websub_subscriptions;
revoke select on settle.schema_version from settle_subscribe;
revoke usage on schema settle from settle_subscribe;

commit;
