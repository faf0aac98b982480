-- Deploy settle:jobs to pg
begin;

-- One execution of a reconciler job.
create table settle.job_runs (
  id uuid primary key,
  job_name text collate "C" not null,
  target_date date,
  scope jsonb not null default '{}',
  actor text not null,
  trigger text not null check (trigger in ('schedule', 'startup', 'backfill', 'manual', 'api')),
  status text not null check (status in ('running', 'success', 'failed', 'skipped', 'dead')),
  attempt integer not null default 1,
  holder text not null,
  fencing_token bigint,
  started_at timestamptz not null default now(),
  finished_at timestamptz,
  next_attempt_at timestamptz,
  records_read bigint,
  outcome text,
  source_hash text,
  error_code text,
  error_message text,
  report jsonb
);
comment on column settle.job_runs.outcome is
  'done, guard, lock_held, fence_lost, interrupted, failed; created, updated, unchanged for aggregates';
create index job_runs_newest on settle.job_runs (job_name, started_at desc);
-- Each run ends the rows of killed ones: a year of rows must not be read for that.
create index job_runs_running on settle.job_runs (job_name) where status = 'running';

-- The epoch that makes a stale holder harmless: every write transaction reads it for share.
create table settle.job_fences (
  name text collate "C" primary key,
  epoch bigint not null default 0,
  holder text,
  lease_until timestamptz not null default '-infinity',
  watermark timestamptz
);
comment on column settle.job_fences.watermark is
  'receipts stored before this have been looked at (read again with an overlap)';
insert into settle.job_fences (name, watermark) values ('publications', now());

grant select, insert, update on settle.job_runs to settle_reconciler;
grant select, update on settle.job_fences to settle_reconciler;
grant select on settle.job_runs, settle.job_fences to settle_api, settle_readonly;
grant select, delete on settle.job_runs to settle_maintain;

insert into settle.schema_version (change) values ('jobs');

commit;
