-- Verify settle:websub on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'websub';
select platform, source, topic, requested_at, accepted_at, lease_s, hub_status, error
from settle.websub_subscriptions
where false;
select 1 / has_table_privilege('settle_subscribe', 'settle.websub_subscriptions', 'insert')::int;

rollback;
