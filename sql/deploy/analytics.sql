-- Deploy settle:analytics to pg
-- Aggregates are shown to whom they are about, each with its proof; costs are kept as long as they may be sent again.
begin;

-- What the second count of a day found and no aggregate tells of: a tenant cannot see whose it is, and must know of it.
alter table settle.aggregate_days add column missing_rows integer not null default 0 check (missing_rows >= 0);
comment on column settle.aggregate_days.missing_rows is 'of drift_rows those for which there is no aggregate';

-- Costs that retention has removed still count on their day.
create table settle.forgotten_costs (
  date date not null,
  user_id_str text collate "C" not null,
  platform text collate "C" not null,
  n bigint not null check (n > 0),
  cost numeric not null check (cost >= 0),
  primary key (date, user_id_str, platform)
);
comment on column settle.forgotten_costs.platform is 'empty: of costs that name none';

-- Retention goes on behind the last one that it saw; thousands may bear the same time.
create index cost_records_time on settle.cost_records (timestamp, id);
drop index settle.cost_records_timestamp;
alter table settle.cost_records set (autovacuum_vacuum_scale_factor = 0.02);

-- What the month is going to cost if it goes on so: (spent / days_elapsed) * days_in_month, half up to cents. In whole numbers:
-- a quotient of Postgres' is rounded before it could be rounded to cents. Null as long as no day is over.
create function settle.month_projection(spent numeric, days_elapsed integer, days_in_month integer) returns numeric
language sql immutable
as $$
  select div(200 * spent * days_in_month + days_elapsed, 2 * nullif(days_elapsed, 0)) * 0.01
$$;

-- A text as a field of RFC 4180. A spreadsheet takes what begins with certain signs for a formula: an apostrophe stands in
-- front of these, and of an apostrophe, so that it can be taken away again.
create function settle.csv_text(value text) returns text
language sql immutable
as $$
  select '"' || case when strpos(e'=+-@\t\r\n''\uff1d\uff0b\uff0d\uff20', left(value, 1)) > 0 and value <> '' then '''' else '' end
         || replace(value, '"', '""') || '"'
$$;

-- Ends a transaction that another one got ahead of: its snapshot cannot see what that one has stored. To be asked again.
create function settle.none_unseen(n bigint) returns boolean
language plpgsql
as $$
begin
  if n > 0 then
    raise exception 'another transaction has just stored % of these rows', n using errcode = 'serialization_failure';
  end if;
  return true;
end
$$;
revoke execute on function settle.month_projection (numeric, integer, integer), settle.csv_text (text), settle.none_unseen (bigint)
from public;
grant execute on function settle.month_projection (numeric, integer, integer), settle.csv_text (text), settle.none_unseen (bigint)
to settle_tenant, settle_operator;

-- How far a day's aggregates can be relied on. A day is everybody's: a tenant learns that something on it has changed, and
-- not whose it was.
create view settle.day_states with (security_invoker = true) as
select d.date,
       d.is_partial,
       d.verification_status,
       d.missing_rows > 0 as misses_rows,
       marked.is_dirty,
       marked.is_dirty or d.attempts > 0 or d.is_partial and d.date < (now() at time zone 'UTC')::date as is_stale
from settle.aggregate_days as d
cross join lateral (select exists (select from settle.dirty_days as m where m.date = d.date) as is_dirty offset 0) as marked
where d.aggregated_at is not null;
comment on view settle.day_states is 'each aggregated day: what its second count said, and whether anything has changed since';

do $$
begin
  alter table settle.aggregate_days enable row level security, force row level security;
  create policy tenant on settle.aggregate_days for select to settle_tenant using (settle.tenant() is not null);
  execute format('create policy programs on settle.aggregate_days to settle_reconciler, settle_operator, settle_maintain, '
                 'settle_readonly, %I using (true)', current_user);
  create policy tenant_reads on settle.dirty_days for select to settle_tenant using (settle.tenant() is not null);
  alter table settle.forgotten_costs enable row level security, force row level security;
  create policy tenant on settle.forgotten_costs to settle_tenant using (user_id_str = settle.tenant());
  execute format('create policy programs on settle.forgotten_costs to settle_reconciler, settle_operator, settle_maintain, '
                 'settle_readonly, %I using (true)', current_user);
end
$$;

grant select (date, aggregated_at, is_partial, verification_status, missing_rows, attempts) on settle.aggregate_days to settle_tenant;
grant select (date) on settle.dirty_days to settle_tenant;
grant select on settle.day_states to settle_tenant, settle_operator, settle_readonly;
grant select, delete on settle.cost_records to settle_maintain;
grant select, insert, update on settle.forgotten_costs to settle_maintain;
grant select on settle.forgotten_costs to settle_reconciler, settle_readonly;

insert into settle.schema_version (change) values ('analytics');

commit;
