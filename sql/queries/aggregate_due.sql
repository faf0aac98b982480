-- aggregate_due: the days over which a run goes: the last 7 complete ones, and of those that were aggregated, however old, the
-- marked and the unfinished, and the newest at the last run: what came over midnight bears no mark, and no run may have looked
-- since. Older ones that never were are for backfill: a run after a long pause must not run away. A day whose attempts failed
-- waits for its time, and after the third for raw rows that changed since.
-- $1 when the last run was that got through its days timestamptz (null: never)
-- Rows, the oldest first: date text, why text (missing, retry, dirty, recheck), attempts that failed before int8: 0 where
-- new data begins them anew.
with clock as materialized (
  select (now() at time zone 'UTC')::date as today
), marked as materialized (
  select date, max(marked_at) as marked_at
  from settle.dirty_days
  where date < (select today from clock)
  group by date
), candidate as (
  select today - n as date
  from clock, generate_series(1, 7) as n
  union
  select date
  from marked
  join settle.aggregate_days using (date)
  union
  select date
  from settle.aggregate_days
  where (attempts > 0 or is_partial or verification_status <> 'verified') -- as its index says
    and (attempts > 0 or is_partial or verification_status = 'pending')
    and date < (select today from clock)
  union
  select date
  from settle.aggregate_days
  where aggregated_at is not null
    and date >= ($1::timestamptz at time zone 'UTC')::date - 1
    and date < (select today from clock)
)
select candidate.date::text,
       case
         when day.aggregated_at is null and coalesce(day.attempts, 0) = 0 then 'missing'
         when day.attempts > 0 and marked.marked_at is null then 'retry'
         when marked.date is not null or day.is_partial then 'dirty'
         else 'recheck'
       end,
       case when marked.marked_at > day.failed_at then 0 else coalesce(day.attempts, 0) end::bigint
from candidate
left join settle.aggregate_days as day using (date)
left join marked using (date)
where coalesce(day.attempts, 0) = 0
   or marked.marked_at > day.failed_at
   or day.attempts < 3 and day.next_attempt_at <= now()
order by candidate.date
