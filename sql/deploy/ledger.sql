-- Deploy settle:ledger to pg
-- Who changed what, when, why. Append-only for every role that serves.
begin;

create table settle.social_sync_ledger (
  -- A UUIDv7, as in publish_logs.
  id uuid not null default encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
      placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6), 52, 1), 53, 1),
    'hex')::uuid,
  source text collate "C" not null default 'default',
  seq bigint generated always as identity,
  timestamp timestamptz not null default now(),
  event_type text not null check (octet_length(event_type) <= 100),
  severity text not null default 'info' check (severity in ('info', 'warn', 'error')),
  entity_type text collate "C" not null check (octet_length(entity_type) <= 50),
  entity_id text collate "C" not null check (octet_length(entity_id) <= 255),
  metadata jsonb not null default '{}',
  actor text,
  run_id uuid,
  receipt_id bytea,
  worker_id text,
  job_id uuid,
  clip_id uuid,
  primary key (id, source)
);
comment on column settle.social_sync_ledger.actor is 'the key, person or program that did it';
comment on column settle.social_sync_ledger.receipt_id is 'dedup_key of the receipt a decision rests on';

create index social_sync_ledger_entity on settle.social_sync_ledger (entity_id, entity_type);
create index social_sync_ledger_run on settle.social_sync_ledger (run_id) where run_id is not null;
create index social_sync_ledger_timestamp on settle.social_sync_ledger using brin (timestamp);

grant insert on settle.social_sync_ledger to settle_reconciler, settle_api;
grant select on settle.social_sync_ledger to settle_reconciler, settle_api, settle_readonly;
grant select, delete on settle.social_sync_ledger to settle_maintain;

insert into settle.schema_version (change) values ('ledger');

commit;
