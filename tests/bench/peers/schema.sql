-- What the peers of ops/bench store in: the columns that matter of settle's own tables, as an application has them.
-- psql variable posts: how many publications there are.
create schema peer;

create table peer.publish_logs (
  id uuid primary key default gen_random_uuid(),
  platform text not null,
  user_id_str text not null,
  status text not null,
  external_post_id text,
  external_url text,
  error_message text,
  extra_metadata jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
) with (fillfactor = 80);

create table peer.webhook_receipts (
  id bigint generated always as identity primary key,
  platform text not null,
  dedup_key bytea not null unique,
  external_post_id text,
  event_status text,
  url text,
  headers jsonb not null,
  body bytea not null,
  received_at timestamptz not null default now()
);

insert into peer.publish_logs (platform, user_id_str, status, external_post_id, extra_metadata)
select 'instagram', 'user_' || n % 5000, 'processing', 'p_' || lpad(n::text, 7, '0'), '{"campaign": "bench"}'
from generate_series(0, :posts - 1) n;

create unique index publish_logs_post on peer.publish_logs (external_post_id, platform);
vacuum analyze peer.publish_logs;
