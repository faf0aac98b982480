-- Verify settle:retention on pg
begin;

select 1 / count(*) from settle.schema_version where change = 'retention';
select 'settle.job_runs_started'::regclass, 'settle.social_sync_ledger_time'::regclass;

rollback;
