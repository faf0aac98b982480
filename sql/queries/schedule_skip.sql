-- schedule_skip: gives up a due time that came while the run of an earlier one is still at work.
-- $1 job text  $2 next_due as it was read timestamptz  $3 next_due from now on timestamptz
with passed as (
  update settle.job_schedule
  set next_due = $3::timestamptz,
      skipped = skipped + 1,
      updated_at = now()
  where job = $1::text
    and next_due = $2::timestamptz
    and running is not null
  returning job, next_due, running
)
insert into settle.scheduler_event_logs (event_type, job_id, job_type, event_data)
select 'job_cancelled', job, 'recurring',
       jsonb_build_object('reason', 'still_running', 'run_id', running, 'due', $2::timestamptz, 'next_due', next_due)
from passed
