-- Verify settle:connections on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'connections';
select user_id_str, platform, account, token, key_id, expires_at, connected, created_at, updated_at
from settle.platform_connections
where false;
select 1 / (not has_column_privilege('settle_api', 'settle.platform_connections', 'token', 'select'))::int;

rollback;
