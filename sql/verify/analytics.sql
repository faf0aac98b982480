-- Verify settle:analytics on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'analytics';
select missing_rows from settle.aggregate_days where false;
select date, user_id_str, platform, n, cost from settle.forgotten_costs where false;
select date, is_partial, verification_status, misses_rows, is_dirty, is_stale from settle.day_states where false;
select settle.month_projection(1.5, 3, 30), settle.csv_text('a'), settle.none_unseen(0);
select 1 / count(*) from pg_indexes where schemaname = 'settle' and indexname = 'cost_records_time';

rollback;
