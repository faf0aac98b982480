-- Revert settle:jobs from pg
begin;

delete from settle.schema_version where change = 'jobs';
drop table settle.job_fences;
drop table settle.job_runs;

commit;
