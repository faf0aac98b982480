-- Verify settle:handing_out on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'handing_out';
select user_id_str from settle.publish_open where false;
select external_post_id from settle.publish_leases where false;
select 1 / (to_regclass('settle.publish_open_tenant') is not null)::int;
select 1 / has_function_privilege('settle_tenant', 'settle.next_try(timestamptz, timestamptz, text)', 'execute')::int;
select 1 / has_function_privilege('settle_reconciler', 'settle.time_noted(text)', 'execute')::int;

rollback;
