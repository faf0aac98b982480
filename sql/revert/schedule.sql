-- Revert settle:schedule from pg
begin;

delete from settle.schema_version where change = 'schedule';
revoke insert, update on settle.job_runs from settle_maintain;
revoke select, update on settle.job_fences from settle_maintain;
delete from settle.job_fences where name in ('serve', 'maintain');
drop table settle.scheduler_event_logs, settle.job_schedule;

commit;
