-- Revert settle:retention from pg
begin;

delete from settle.schema_version where change = 'retention';
alter table settle.webhook_deliveries reset (autovacuum_vacuum_scale_factor);
alter table settle.publication_reports reset (autovacuum_vacuum_scale_factor);
alter table settle.social_sync_ledger reset (autovacuum_vacuum_scale_factor);
alter table settle.job_runs reset (autovacuum_vacuum_scale_factor);
alter table settle.scheduler_event_logs reset (autovacuum_vacuum_scale_factor);
drop index settle.job_runs_started, settle.social_sync_ledger_time;
create index social_sync_ledger_timestamp on settle.social_sync_ledger using brin (timestamp);

commit;
