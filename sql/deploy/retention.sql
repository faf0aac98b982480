-- Deploy settle:retention to pg
-- What retention reads in the order of time. Rights it has already, from where each table is made.
begin;

-- Ranges (BRIN) are no use to it: once the room of what was forgotten holds new rows, they all begin with the oldest.
create index social_sync_ledger_time on settle.social_sync_ledger (timestamp);
drop index settle.social_sync_ledger_timestamp;
create index job_runs_started on settle.job_runs (started_at);

-- As for receipts: what is forgotten lies at the old end of each index until it is vacuumed, and is read over again.
alter table settle.webhook_deliveries set (autovacuum_vacuum_scale_factor = 0.02);
alter table settle.publication_reports set (autovacuum_vacuum_scale_factor = 0.02);
alter table settle.social_sync_ledger set (autovacuum_vacuum_scale_factor = 0.02);
alter table settle.job_runs set (autovacuum_vacuum_scale_factor = 0.02);
alter table settle.scheduler_event_logs set (autovacuum_vacuum_scale_factor = 0.02);

insert into settle.schema_version (change) values ('retention');

commit;
