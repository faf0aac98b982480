-- Revert settle:run_totals from pg
begin;

delete from settle.schema_version where change = 'run_totals';
drop trigger job_runs_told on settle.job_runs;
drop trigger job_runs_skipped on settle.job_runs;
drop function settle.run_totals_follow();
drop index settle.job_runs_good;
drop table settle.run_totals;

commit;
