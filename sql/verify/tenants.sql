-- Verify settle:tenants on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'tenants';
select id, name, hash, user_id_str, scopes, created_at, created_by, expires_at, revoked_at, revoked_by, replaces
from settle.api_keys
where false;
select 1 / (relrowsecurity and relforcerowsecurity)::int from pg_class where oid = 'settle.publish_logs'::regclass;
select 1 / has_table_privilege('settle_tenant', 'settle.publish_logs', 'select')::int;
select 1 / (not has_table_privilege('settle_api', 'settle.publish_logs', 'select'))::int;

rollback;
