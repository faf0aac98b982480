-- Verify settle:event_details on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'event_details';
select own_data, own_error from settle.scheduler_event_logs where false;
select 1 / (not has_column_privilege('settle_tenant', 'settle.scheduler_event_logs', 'event_data', 'select'))::int;
select settle.event_data(0), settle.event_error(0);

rollback;
