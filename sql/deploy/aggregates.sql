-- Deploy settle:aggregates to pg
-- What was published, heard and spent on each UTC day, by tenant and platform, with the proof of its source: counted rows, a
-- hash over what they say, and whether a second count agreed.
begin;

create table settle.daily_aggregates (
  date date not null,
  user_id_str text collate "C" not null check (octet_length(user_id_str) <= 255),
  platform text collate "C" not null check (octet_length(platform) <= 50),
  publication_count bigint not null check (publication_count >= 0),
  success_count bigint not null check (success_count >= 0),
  failed_count bigint not null check (failed_count >= 0),
  settled_count bigint not null check (settled_count >= 0),
  avg_settle_ms bigint,
  webhook_count bigint not null check (webhook_count >= 0),
  cost_total numeric(14, 2) not null check (cost_total >= 0),
  source_count bigint not null check (source_count >= 0),
  source_hash text collate "C" not null,
  hash_version smallint not null,
  verification_status text collate "C" not null default 'pending'
    check (verification_status in ('pending', 'verified', 'unverified')),
  verified_at timestamptz,
  verify_diff jsonb,
  is_partial boolean not null default false,
  last_run_id uuid,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (date, user_id_str, platform),
  check ((verification_status = 'unverified') = (verify_diff is not null))
);
comment on column settle.daily_aggregates.user_id_str is 'empty: of webhooks that match no publication';
comment on column settle.daily_aggregates.platform is 'empty: of costs that name none';
comment on column settle.daily_aggregates.settled_count is 'publications that avg_settle_ms is the mean of';
comment on column settle.daily_aggregates.avg_settle_ms is 'mean of settled_at - requested_at; null: none is settled';
comment on column settle.daily_aggregates.source_count is 'raw rows that it was counted from, and are there';
comment on column settle.daily_aggregates.source_hash is
  'of their contents, in no order; two builds of Postgres may hash otherwise: hash_version';
comment on column settle.daily_aggregates.verify_diff is 'by column: what stands here, what the second count found';
comment on column settle.daily_aggregates.is_partial is 'the day was not over';
create index daily_aggregates_user on settle.daily_aggregates (user_id_str, date);

-- A day as a whole: that it was aggregated, also if nothing happened on it, and what came of the attempts since.
create table settle.aggregate_days (
  date date primary key,
  aggregated_at timestamptz,
  is_partial boolean not null default false,
  verification_status text collate "C" not null default 'pending'
    check (verification_status in ('pending', 'verified', 'unverified')),
  verified_at timestamptz,
  drift_rows integer not null default 0 check (drift_rows >= 0),
  attempts smallint not null default 0 check (attempts between 0 and 3),
  next_attempt_at timestamptz,
  failed_at timestamptz,
  error_code text,
  error_message text,
  last_run_id uuid,
  check ((attempts > 0) = (failed_at is not null))
);
comment on column settle.aggregate_days.aggregated_at is 'null: never, its attempts failed';
comment on column settle.aggregate_days.attempts is 'that failed in a row; 3: dead, until new data or an explicit backfill';
create index aggregate_days_unfinished on settle.aggregate_days (date)
where attempts > 0 or is_partial or verification_status <> 'verified';

-- Days on which raw rows have changed since they were aggregated. Added to by each transaction that changes some, never
-- updated: nobody waits for another. Whoever aggregates a day removes the marks that it saw, in the same statement.
create table settle.dirty_days (
  date date not null,
  marked_at timestamptz not null default clock_timestamp()
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
create index dirty_days_date on settle.dirty_days (date);

-- Webhooks that retention has removed still count on their day.
create table settle.forgotten_webhooks (
  date date not null,
  user_id_str text collate "C" not null,
  platform text collate "C" not null,
  n bigint not null check (n > 0),
  primary key (date, user_id_str, platform)
);

create table settle.cost_records (
  -- A UUIDv7, as in publish_logs.
  id uuid primary key default encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
      placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6), 52, 1), 53, 1),
    'hex')::uuid,
  user_id_str text collate "C" not null check (octet_length(user_id_str) between 1 and 255),
  platform text collate "C" check (octet_length(platform) between 1 and 50),
  log_id uuid,
  provider text check (octet_length(provider) <= 50),
  model text check (octet_length(model) <= 100),
  input_tokens bigint not null default 0 check (input_tokens >= 0),
  output_tokens bigint not null default 0 check (output_tokens >= 0),
  cost numeric(10, 6) not null check (cost >= 0),
  timestamp timestamptz not null default now(),
  idempotency_key text collate "C" not null check (octet_length(idempotency_key) between 1 and 255),
  created_at timestamptz not null default now(),
  unique (user_id_str, idempotency_key)
);
comment on table settle.cost_records is 'what publications and their preparation cost: raw rows of cost_total';
comment on column settle.cost_records.log_id is 'the publication that it was spent on, if any';
create index cost_records_timestamp on settle.cost_records (timestamp);

-- How the raw rows of a day are found. Receipts are found by stored_at, which has its index; the few that were stored long
-- after they came, or before by their own clock, by an index of their own: the accept path pays for no other.
create index publish_logs_requested on settle.publish_logs (requested_at);
create index webhook_receipts_late on settle.webhook_receipts (received_at)
where (stored_at - received_at) not between interval '-1 hour' and interval '1 hour';

-- Marks the days of what a statement has changed, before today: today is aggregated when it is over. One trigger a statement,
-- so that no writer can forget it; of 5,000 rows settled at once it costs less than can be measured. All run with the
-- rights of whoever writes.
create function settle.publish_logs_mark() returns trigger
language plpgsql
as $$
declare
  today timestamptz := date_trunc('day', now(), 'UTC');
begin
  if tg_op = 'INSERT' then
    insert into settle.dirty_days (date)
    select distinct (requested_at at time zone 'UTC')::date from new_rows where requested_at < today;
  elsif tg_op = 'DELETE' then
    insert into settle.dirty_days (date)
    select distinct (requested_at at time zone 'UTC')::date from old_rows where requested_at < today;
  else
    insert into settle.dirty_days (date)
    select (requested_at at time zone 'UTC')::date from old_rows where requested_at < today
    union
    select (requested_at at time zone 'UTC')::date from new_rows where requested_at < today;
  end if;
  return null;
end
$$;
create function settle.cost_records_mark() returns trigger
language plpgsql
as $$
declare
  today timestamptz := date_trunc('day', now(), 'UTC');
begin
  if tg_op = 'INSERT' then
    insert into settle.dirty_days (date)
    select distinct (timestamp at time zone 'UTC')::date from new_rows where timestamp < today;
  elsif tg_op = 'DELETE' then
    insert into settle.dirty_days (date)
    select distinct (timestamp at time zone 'UTC')::date from old_rows where timestamp < today;
  else
    insert into settle.dirty_days (date)
    select (timestamp at time zone 'UTC')::date from old_rows where timestamp < today
    union
    select (timestamp at time zone 'UTC')::date from new_rows where timestamp < today;
  end if;
  return null;
end
$$;
create function settle.all_days_mark() returns trigger
language plpgsql
as $$
begin
  insert into settle.dirty_days (date)
  select date from settle.aggregate_days;
  return null;
end
$$;
revoke execute on function settle.publish_logs_mark (), settle.cost_records_mark (), settle.all_days_mark () from public;

do $$
declare
  name text;
begin
  foreach name in array array['publish_logs', 'cost_records']
  loop
    execute format('create trigger %1$s_mark_new after insert on settle.%1$I referencing new table as new_rows '
                   'for each statement execute function settle.%2$I()', name, name || '_mark');
    execute format('create trigger %1$s_mark after update on settle.%1$I referencing old table as old_rows new table as new_rows '
                   'for each statement execute function settle.%2$I()', name, name || '_mark');
    execute format('create trigger %1$s_mark_old after delete on settle.%1$I referencing old table as old_rows '
                   'for each statement execute function settle.%2$I()', name, name || '_mark');
    execute format('create trigger %1$s_mark_all after truncate on settle.%1$I '
                   'for each statement execute function settle.all_days_mark()', name);
  end loop;
end
$$;

create view settle.daily_totals with (security_invoker = true) as
select d.date,
       coalesce(sum(a.publication_count), 0)::bigint as publication_count,
       coalesce(sum(a.success_count), 0)::bigint as success_count,
       coalesce(sum(a.failed_count), 0)::bigint as failed_count,
       coalesce(sum(a.webhook_count), 0)::bigint as webhook_count,
       round(sum(a.avg_settle_ms * a.settled_count) / nullif(sum(a.settled_count), 0))::bigint as avg_settle_ms,
       coalesce(sum(a.cost_total), 0)::numeric(14, 2) as cost_total,
       d.verification_status,
       d.is_partial,
       d.attempts = 3 as is_dead,
       exists (select from settle.dirty_days as dirty where dirty.date = d.date) as is_stale
from settle.aggregate_days as d
left join settle.daily_aggregates as a using (date)
where d.aggregated_at is not null
group by d.date;
comment on view settle.daily_totals is 'each aggregated day, all tenants together';

-- Each run works on a day under that day's own lock: its fence is made when it is first taken.
insert into settle.job_fences (name) values ('aggregates'), ('aggregates_backfill'), ('aggregates_verify');
update settle.job_fences set watermark = now() where name = 'aggregates';

do $$
declare
  kept record;
begin
  for kept in
    select name::text as name, own
    from (values
      ('daily_aggregates', 'user_id_str = settle.tenant()'),
      ('cost_records', 'user_id_str = settle.tenant()'),
      ('forgotten_webhooks', 'user_id_str = settle.tenant()')
    ) as tables (name, own)
  loop
    execute format('alter table settle.%I enable row level security, force row level security', kept.name);
    execute format('create policy tenant on settle.%I to settle_tenant using (%s)', kept.name, kept.own);
    execute format('create policy programs on settle.%I to settle_reconciler, settle_operator, settle_maintain, settle_readonly, '
                   '%I using (true)', kept.name, current_user);
  end loop;
  -- A tenant's transaction marks days, and sees no mark.
  alter table settle.dirty_days enable row level security, force row level security;
  create policy tenant on settle.dirty_days for insert to settle_tenant with check (settle.tenant() is not null);
  execute format('create policy programs on settle.dirty_days to settle_reconciler, settle_operator, settle_maintain, settle_readonly, '
                 '%I using (true)', current_user);
end
$$;

grant select, insert, update, delete on settle.daily_aggregates to settle_reconciler;
grant select, insert, update on settle.aggregate_days to settle_reconciler;
grant select, insert, delete on settle.dirty_days to settle_reconciler;
grant select on settle.forgotten_webhooks, settle.cost_records, settle.daily_totals to settle_reconciler;
grant insert (name) on settle.job_fences to settle_reconciler;
grant insert on settle.dirty_days to settle_tenant, settle_operator, settle_maintain;
grant select, insert, update on settle.forgotten_webhooks to settle_maintain;
grant select on settle.aggregate_days to settle_maintain;
grant select, insert on settle.cost_records to settle_tenant, settle_operator;
grant select on settle.daily_aggregates to settle_tenant;
grant select on settle.daily_aggregates, settle.aggregate_days, settle.dirty_days, settle.daily_totals to settle_operator;
grant select on settle.daily_aggregates, settle.aggregate_days, settle.dirty_days, settle.daily_totals,
  settle.forgotten_webhooks, settle.cost_records
  to settle_readonly;

insert into settle.schema_version (change) values ('aggregates');

commit;
