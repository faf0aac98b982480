-- Revert settle:analytics from pg
begin;

delete from settle.schema_version where change = 'analytics';
drop view settle.day_states;
drop policy tenant_reads on settle.dirty_days;
drop policy tenant on settle.aggregate_days;
drop policy programs on settle.aggregate_days;
alter table settle.aggregate_days disable row level security, no force row level security;
revoke select (date, aggregated_at, is_partial, verification_status, missing_rows, attempts) on settle.aggregate_days from settle_tenant;
revoke select (date) on settle.dirty_days from settle_tenant;
revoke select, delete on settle.cost_records from settle_maintain;
drop function settle.none_unseen (bigint);
drop function settle.csv_text (text);
drop function settle.month_projection (numeric, integer, integer);
alter table settle.cost_records reset (autovacuum_vacuum_scale_factor);
create index cost_records_timestamp on settle.cost_records (timestamp);
drop index settle.cost_records_time;
drop table settle.forgotten_costs;
alter table settle.aggregate_days drop column missing_rows;

commit;
