-- Revert settle:retention from pg
begin;

delete from settle.schema_version where change = 'retention';
drop index settle.job_runs_started, settle.social_sync_ledger_time;
create index social_sync_ledger_timestamp on settle.social_sync_ledger using brin (timestamp);

commit;
