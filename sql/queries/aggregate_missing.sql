-- aggregate_missing: complete days before the last 7 that were never aggregated, from the oldest of which there is anything.
-- $1 how many to name bigint
-- One row: how many there are bigint, the names of the oldest text (null: none), separated by spaces.
with span as materialized (
  select least((select min(date) from settle.aggregate_days),
               (select (min(requested_at) at time zone 'UTC')::date from settle.publish_logs),
               (select (min(stored_at) at time zone 'UTC')::date from settle.webhook_receipts),
               (select (min(timestamp) at time zone 'UTC')::date from settle.cost_records)) as oldest,
         (now() at time zone 'UTC')::date - 8 as newest
), missing as (
  select date, row_number() over (order by date) as place
  from span
  cross join lateral (select oldest + n as date from generate_series(0, newest - oldest) as n) as days
  where not exists (select
                    from settle.aggregate_days as d
                    where d.date = days.date
                      and d.aggregated_at is not null)
)
select count(*), string_agg(date::text, ' ' order by date) filter (where place <= $1::bigint)
from missing
