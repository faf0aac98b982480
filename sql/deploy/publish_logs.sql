-- Deploy settle:publish_logs to pg
-- One row is one attempt to publish something on one platform. Names are those of the tools that exist already.
-- Words that are keys, here and in the other tables, are compared by their bytes ("C"): faster, and an index stays right
-- when the system's idea of sorting changes.
begin;

create table settle.publish_logs (
  -- Programs bring a UUIDv7 of their own; whoever does not gets one too, so that ids sort by time.
  id uuid not null default encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
      placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6), 52, 1), 53, 1),
    'hex')::uuid,
  source text collate "C" not null default 'default' check (octet_length(source) between 1 and 64),
  platform text collate "C" not null check (octet_length(platform) between 1 and 50),
  user_id_str text collate "C" not null check (octet_length(user_id_str) between 1 and 255),
  clip_id uuid,
  social_account_id uuid,
  status text collate "C" not null default 'pending'
    check (status in ('scheduled', 'pending', 'processing', 'retry', 'success', 'failed')),
  external_post_id text collate "C" check (octet_length(external_post_id) between 1 and 255),
  external_url text check (octet_length(external_url) <= 2048),
  error_message text,
  requested_at timestamptz not null default now(),
  published_at timestamptz,
  settled_at timestamptz,
  retry_count integer not null default 0 check (retry_count >= 0),
  max_retries integer not null default 3 check (max_retries >= 0),
  last_retry_at timestamptz,
  next_retry_at timestamptz,
  schedule_type text not null default 'immediate' check (schedule_type in ('immediate', 'scheduled')),
  scheduled_for timestamptz,
  scheduled_window_end timestamptz,
  scheduled_by text check (octet_length(scheduled_by) <= 100),
  idempotency_key text collate "C" check (octet_length(idempotency_key) between 1 and 255),
  extra_metadata jsonb not null default '{}' check (jsonb_typeof(extra_metadata) = 'object'),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (id, source)
) with (fillfactor = 70);
comment on column settle.publish_logs.updated_at is
  'changes with every status change, result, override and registration; never by receipts; drives staleness';
comment on column settle.publish_logs.settled_at is 'when it came to success or failed';

-- The key by which receipts find it: another source's receipt never does.
create unique index publish_logs_post on settle.publish_logs (external_post_id, platform, source)
  where external_post_id is not null;
create unique index publish_logs_idempotency on settle.publish_logs (user_id_str, idempotency_key, source)
  where idempotency_key is not null;

-- The API's lists: a tenant's publications, newest first. No index names a column that changes when a publication is
-- settled, and pages keep room for the new version: such an update touches no index at all (HOT).
create index publish_logs_user on settle.publish_logs (user_id_str, id);

-- What the publications job walks: the open rows of publish_logs and when they changed last. Kept by the triggers below,
-- so that any tool may write publish_logs; nobody writes it by hand. An index on publish_logs would be simpler, but it
-- would have to name status and updated_at: measured, it costs 1.7 times as much for a settled row.
create table settle.publish_open (
  id uuid not null,
  source text collate "C" not null,
  platform text collate "C" not null,
  status text collate "C" not null,
  updated_at timestamptz not null,
  primary key (id, source)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
create index publish_open_walk on settle.publish_open (updated_at, id);

-- Runs with the rights of whoever writes publish_logs: they need the same on publish_open.
create function settle.publish_open_follow() returns trigger
language plpgsql
as $$
begin
  if tg_op = 'TRUNCATE' then
    truncate settle.publish_open;
    return null;
  end if;
  if tg_op <> 'DELETE' and new.status in ('pending', 'processing', 'retry') then
    insert into settle.publish_open as open (id, source, platform, status, updated_at)
    values (new.id, new.source, new.platform, new.status, new.updated_at)
    on conflict (id, source) do update
      set platform = excluded.platform,
          status = excluded.status,
          updated_at = excluded.updated_at;
  end if;
  if tg_op = 'DELETE' or tg_op = 'UPDATE' and
     (new.status not in ('pending', 'processing', 'retry') or (new.id, new.source) <> (old.id, old.source)) then
    delete from settle.publish_open where id = old.id and source = old.source;
  end if;
  return null;
end
$$;
revoke execute on function settle.publish_open_follow () from public;

create trigger publish_logs_inserted after insert on settle.publish_logs
for each row when (new.status in ('pending', 'processing', 'retry'))
execute function settle.publish_open_follow();

create trigger publish_logs_updated after update on settle.publish_logs
for each row when ((old.id, old.source, old.platform, old.status, old.updated_at)
                   is distinct from (new.id, new.source, new.platform, new.status, new.updated_at))
execute function settle.publish_open_follow();

create trigger publish_logs_deleted after delete on settle.publish_logs
for each row when (old.status in ('pending', 'processing', 'retry'))
execute function settle.publish_open_follow();

create trigger publish_logs_truncated after truncate on settle.publish_logs
for each statement
execute function settle.publish_open_follow();

grant select, insert, update on settle.publish_open to settle_api;
grant select, insert, update, delete on settle.publish_open to settle_reconciler;
grant select on settle.publish_open to settle_maintain, settle_readonly;

grant select, insert on settle.publish_logs to settle_api;
grant select on settle.publish_logs to settle_reconciler, settle_readonly;
grant update (status, external_url, error_message, published_at, settled_at, extra_metadata, updated_at)
  on settle.publish_logs to settle_reconciler;

insert into settle.schema_version (change) values ('publish_logs');

commit;
