-- gauge_aggregates: how far daily aggregates have come and what is wrong with them, for the gauges.
-- No parameters.
-- One row: end of the newest day that was over when it was aggregated, in seconds since 1970 float8 (0: there is none), days
-- that do not hold against their raw rows float8, that have failed for the last time float8, and that are tried again float8.
-- The newest is found from the end of the key; the rest by an index of what is not finished.
select coalesce((select extract(epoch from (date + 1)::timestamp at time zone 'UTC')
                 from settle.aggregate_days
                 where aggregated_at is not null
                   and not is_partial
                   and date < (now() at time zone 'UTC')::date
                 order by date desc
                 limit 1), 0)::float8,
       count(*) filter (where verification_status = 'unverified')::float8,
       count(*) filter (where attempts = 3)::float8,
       count(*) filter (where attempts between 1 and 2)::float8
from settle.aggregate_days
where attempts > 0
   or is_partial
   or verification_status <> 'verified'
