-- Verify settle:run_totals on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'run_totals';
select job_name, kind, word, platform, n from settle.run_totals where false;
select 1 / (count(*) = 2)::int from pg_trigger
where tgrelid = 'settle.job_runs'::regclass and tgname in ('job_runs_skipped', 'job_runs_told');
select 1 / has_table_privilege('settle_maintain', 'settle.run_totals', 'update')::int;
select 'settle.job_runs_good'::regclass;

rollback;
