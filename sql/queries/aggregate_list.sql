-- aggregate_list: the aggregated days of a range, for verifying them.
-- $1 from date text, $2 to date text (null: from the first, to the last)
-- Rows, the oldest first: date text, whether raw rows have changed since, or may have, unmarked, as the day was not over, and
-- the next run will see to it boolean, whether it is not over yet boolean.
select date::text, is_partial or exists (select from settle.dirty_days as dirty where dirty.date = day.date),
       is_partial and date >= (now() at time zone 'UTC')::date
from settle.aggregate_days as day
where aggregated_at is not null
  and date >= coalesce($1::text::date, '-infinity')
  and date <= coalesce($2::text::date, 'infinity')
order by date
