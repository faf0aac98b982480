-- Deploy settle:alerts to pg
begin;

create table settle.alerts (
  id uuid primary key,
  source text not null,
  type text not null,
  category text not null check (category in ('DATA_QUALITY', 'FRAUD', 'SYSTEM_HEALTH')),
  severity text not null check (severity in ('LOW', 'MEDIUM', 'HIGH', 'CRITICAL')),
  dedupe_key text collate "C" not null,
  subject_type text,
  subject_id text,
  user_id_str text,
  title text not null,
  message text not null,
  payload jsonb not null default '{}',
  status text not null default 'OPEN' check (status in ('OPEN', 'RESOLVED')),
  occurrences bigint not null default 1,
  created_at timestamptz not null default now(),
  last_seen_at timestamptz not null default now(),
  resolved_at timestamptz,
  resolved_by text,
  resolution_notes text,
  check ((status = 'RESOLVED') = (resolved_at is not null))
);
-- One open alert a key: raising it again counts, it does not ring twice.
create unique index alerts_open on settle.alerts (dedupe_key) where status = 'OPEN';
-- One resolved just now keeps its key quiet for a while.
create index alerts_resolved on settle.alerts (dedupe_key, resolved_at) where status = 'RESOLVED';
create index alerts_created on settle.alerts (created_at);

grant select, insert, update on settle.alerts to settle_reconciler;
grant select, update (status, resolved_at, resolved_by, resolution_notes) on settle.alerts to settle_api;
grant select on settle.alerts to settle_readonly;
grant select, delete on settle.alerts to settle_maintain;

insert into settle.schema_version (change) values ('alerts');

commit;
