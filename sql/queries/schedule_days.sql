-- schedule_days: when the job of daily aggregates is due again for what its last run has left undone: for days that failed when
-- their next attempts are; for days that others held, and after a run that did not go to its end, in a while. That doubles with
-- each run in a row that failed, so that what always fails comes a few times a day.
-- $1 id of that run uuid  $2 whether it succeeded boolean  $3 the while interval text
-- One row: timestamptz (null: nothing is left).
with last_run as materialized (
  select not ($2::boolean or coalesce(error_code = 'days', false))
         or coalesce((report ->> 'put_off')::bigint + (report ->> 'lock_held')::bigint > 0, false) as left_undone
  from (values (1)) as one (row)
  left join settle.job_runs on id = $1::uuid
), failed as materialized (
  select count(*) as n
  from settle.job_runs
  where job_name = 'aggregates'
    and status = 'failed'
    and started_at > now() - interval '1 day'
    and started_at > coalesce((select max(started_at)
                               from settle.job_runs
                               where job_name = 'aggregates'
                                 and status = 'success'), '-infinity')
)
select least((select now() + $3::text::interval * power(2, least(greatest(n - 1, 0), 10))
              from last_run, failed
              where left_undone),
             (select greatest(next_attempt_at, now() + $3::text::interval)
              from settle.aggregate_days
              where attempts > 0
                and next_attempt_at is not null
                and date < (now() at time zone 'UTC')::date
              order by next_attempt_at
              limit 1))
