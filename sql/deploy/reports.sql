-- Deploy settle:reports to pg
-- What others than webhooks say of a publication: its platform when polled, its publishing worker, a person. And who is
-- at work on it: the worker that has it, the poll that is next.
begin;

-- Facts, as receipts are: inserted once, never updated.
create table settle.publication_reports (
  -- A UUIDv7, as in publish_logs.
  id uuid not null default encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
      placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6), 52, 1), 53, 1),
    'hex')::uuid,
  source text collate "C" not null,
  log_id uuid not null,
  platform text collate "C" not null,
  external_post_id text collate "C",
  witness text collate "C" not null check (witness in ('poll', 'worker', 'person')),
  status text not null check (octet_length(status) <= 100),
  decisive smallint not null check (decisive between -1 and 1),
  happened_at timestamptz,
  reported_at timestamptz not null default now(),
  url text check (octet_length(url) <= 2048),
  reason text check (octet_length(reason) <= 4000),
  extras text,
  before jsonb,
  actor text not null,
  run_id uuid,
  primary key (id, source)
);
comment on table settle.publication_reports is 'evidence that is no webhook: poll answers, workers'' results, overrides';
comment on column settle.publication_reports.external_post_id is 'of the attempt it speaks of; null: none was known';
comment on column settle.publication_reports.before is 'of an override: what the row was, for an undo';
create index publication_reports_log on settle.publication_reports (log_id, source);

-- A time that somebody wrote into extra_metadata; null if it is none.
create function settle.time_noted(word text) returns timestamptz
language plpgsql stable
as $$
begin
  return word::timestamptz;
exception
  when data_exception then
    return null;
end
$$;
revoke execute on function settle.time_noted (text) from public;
grant execute on function settle.time_noted (text) to settle_api;

-- The rows that publishing workers may take, in the order of their registration.
create index publish_open_claim on settle.publish_open (platform, source, id) where status in ('pending', 'retry');

-- Which worker has a publication, and until when it may be silent. Gone with its result.
create table settle.publish_leases (
  id uuid not null,
  source text collate "C" not null,
  platform text collate "C" not null,
  worker_id text not null check (octet_length(worker_id) between 1 and 100),
  taken_at timestamptz not null default now(),
  lease_until timestamptz not null,
  primary key (id, source)
);
create index publish_leases_over on settle.publish_leases (platform, source, lease_until);

-- When the platform was asked about a publication, what came of it, and when it may be asked again.
create table settle.publish_polls (
  id uuid not null,
  source text collate "C" not null,
  external_post_id text collate "C" not null,
  asked_at timestamptz not null,
  next_at timestamptz not null,
  outcome text collate "C" not null check (outcome in ('done', 'working', 'could_not_ask')),
  error_code text collate "C",
  tries integer not null,
  primary key (id, source)
);
comment on column settle.publish_polls.external_post_id is 'of the attempt that was asked about';
comment on column settle.publish_polls.error_code is 'why it could not be asked; a word of missing_reason';

-- How many requests an account's token has spent in a minute, by all runs.
create table settle.poll_budgets (
  user_id_str text collate "C" not null,
  platform text collate "C" not null,
  account text collate "C" not null,
  minute timestamptz not null,
  used integer not null,
  primary key (user_id_str, platform, account)
);

-- Platforms that an operator has paused: polls, time-outs and retries stop, webhooks go on.
create table settle.platform_pauses (
  platform text collate "C" primary key,
  paused_at timestamptz not null default now(),
  actor text not null,
  reason text not null check (octet_length(reason) between 1 and 1000)
);

grant select, insert on settle.publication_reports to settle_reconciler, settle_api;
grant select on settle.publication_reports to settle_readonly;
grant select, delete on settle.publication_reports to settle_maintain;

grant select, insert, update, delete on settle.publish_leases to settle_api;
grant select, delete on settle.publish_leases to settle_maintain;
grant select on settle.publish_leases to settle_reconciler, settle_readonly;

grant select, insert, update on settle.publish_polls to settle_reconciler;
grant select, delete on settle.publish_polls to settle_maintain;
grant select on settle.publish_polls to settle_api, settle_readonly;

grant select, insert, update on settle.poll_budgets to settle_reconciler;
grant select, delete on settle.poll_budgets to settle_maintain;

grant select, insert, delete on settle.platform_pauses to settle_reconciler;
grant select on settle.platform_pauses to settle_api, settle_readonly;

-- A publication may be sent back to the workers; a worker's result settles one.
grant update (retry_count, next_retry_at) on settle.publish_logs to settle_reconciler;
grant update (status, external_post_id, external_url, error_message, published_at, settled_at, retry_count, last_retry_at,
              next_retry_at, extra_metadata, updated_at) on settle.publish_logs to settle_api;
grant delete on settle.publish_open to settle_api;
grant execute on function settle.attempts_moved (jsonb) to settle_api;

comment on column settle.social_sync_ledger.receipt_id is
  'dedup_key of the receipt, or id of the report, that a decision rests on';

insert into settle.schema_version (change) values ('reports');

commit;
