-- Deploy settle:receipts to pg
-- What came in. Facts are inserted once and never updated; the gateway can do nothing else.
begin;

-- One event of a verified delivery. Its state (matched, unmatched, late, unparsed) is derived when shown.
create table settle.webhook_receipts (
  dedup_key bytea not null check (octet_length(dedup_key) = 32),
  source text collate "C" not null,
  platform text collate "C" not null,
  delivery_id uuid not null,
  external_post_id text collate "C",
  event_status text,
  decisive smallint not null check (decisive between -1 and 1),
  happened_at timestamptz,
  received_at timestamptz not null,
  stored_at timestamptz not null default now(),
  url text,
  reason text,
  extras text,
  parse_error text,
  key_id text,
  headers bytea,
  body bytea,
  primary key (dedup_key, source)
) with (autovacuum_vacuum_scale_factor = 0.02); -- a day's retention is 3 % of 35 days
comment on column settle.webhook_receipts.decisive is '1 success word, -1 failure word, 0 unclear';
comment on column settle.webhook_receipts.happened_at is 'the platform''s own time of the event; null if it gives none';
comment on column settle.webhook_receipts.extras is 'further named fields of the descriptor, as JSON text';
comment on column settle.webhook_receipts.key_id is 'which secret verified it; not the secret';
comment on column settle.webhook_receipts.headers is 'the headers that matter, name: value lines; null if in webhook_deliveries';
comment on column settle.webhook_receipts.body is 'the exact bytes; null if in webhook_deliveries';

create index webhook_receipts_post on settle.webhook_receipts (external_post_id, platform, source);
-- In the order of storing: for the reconciler, which follows what comes in, and for retention.
create index webhook_receipts_stored on settle.webhook_receipts (stored_at);
-- Retention keeps a delivery as long as one of its receipts.
create index webhook_receipts_delivery on settle.webhook_receipts (delivery_id) where body is null;

-- The bytes of a delivery that holds several events, once.
create table settle.webhook_deliveries (
  id uuid not null,
  source text collate "C" not null,
  platform text collate "C" not null,
  received_at timestamptz not null,
  stored_at timestamptz not null default now(),
  headers bytea not null,
  body bytea not null,
  primary key (id, source)
);

-- Requests that were turned away, kept a day to find a rotated key; never processed.
create table settle.refused_requests (
  id uuid not null,
  source text collate "C" not null,
  platform text collate "C" not null,
  received_at timestamptz not null,
  cause text not null,
  detail text,
  headers bytea not null,
  body bytea not null,
  primary key (id, source)
);
create index refused_requests_received on settle.refused_requests (received_at);

-- The key under which Redis hints are written: who can write to Redis cannot plant one.
create table settle.hint_key (
  one boolean primary key default true check (one),
  key bytea not null check (octet_length(key) = 32)
);
insert into settle.hint_key (key)
select decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex');

grant insert on settle.webhook_receipts, settle.webhook_deliveries, settle.refused_requests to settle_gateway;
grant select (dedup_key, source) on settle.webhook_receipts to settle_gateway;
grant select on settle.hint_key to settle_gateway;
grant select on settle.webhook_receipts to settle_reconciler, settle_api, settle_readonly;
grant select on settle.webhook_deliveries, settle.refused_requests to settle_api, settle_readonly;
grant select, delete on settle.webhook_receipts, settle.webhook_deliveries, settle.refused_requests to settle_maintain;
grant select on settle.publish_logs to settle_maintain;

insert into settle.schema_version (change) values ('receipts');

commit;
