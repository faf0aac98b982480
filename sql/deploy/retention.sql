-- Deploy settle:retention to pg
-- What retention reads in the order of time. Rights it has already, from where each table is made.
begin;

-- Ranges (BRIN) are no use to it: once the room of what was forgotten holds new rows, they all begin with the oldest.
create index social_sync_ledger_time on settle.social_sync_ledger (timestamp);
drop index settle.social_sync_ledger_timestamp;
create index job_runs_started on settle.job_runs (started_at);

insert into settle.schema_version (change) values ('retention');

commit;
