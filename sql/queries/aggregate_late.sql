-- aggregate_late: marks the days of webhooks that were stored long after they came, since this was last looked at. The look
-- overlaps the last one by more than the longest statement that stores some. And forgets old marks of days that were never
-- aggregated: whoever does that first sees all that these speak of.
-- $1 looked at up to timestamptz (null: never)  $2 now timestamptz
with late as (
  insert into settle.dirty_days (date)
  select distinct (received_at at time zone 'UTC')::date
  from settle.webhook_receipts
  where (stored_at - received_at) not between interval '-1 hour' and interval '1 hour'
    and stored_at >= coalesce($1::timestamptz, '-infinity') - interval '10 minutes'
    and received_at < date_trunc('day', $2::timestamptz, 'UTC')
)
delete from settle.dirty_days
where marked_at < $2 - interval '1 day'
  and date not in (select date from settle.aggregate_days)
