-- schedule_take: takes a due time for a run that is about to begin, unless somebody has: next_due moves on in the same
-- step, and what was missed in between is caught up by this one run.
-- $1 job text  $2 next_due as it was read timestamptz  $3 next_due from now on timestamptz  $4 id of the run uuid
-- $5 trigger text
-- Affects one row if it was taken.
with taken as (
  update settle.job_schedule
  set last_due = next_due,
      next_due = $3::timestamptz,
      running = $4::uuid,
      running_since = now(),
      updated_at = now()
  where job = $1::text
    and next_due = $2::timestamptz
    and next_due <= now()
    and running is null
  returning job, last_due, next_due, running
)
insert into settle.scheduler_event_logs (event_type, job_id, job_type, event_data)
select 'job_scheduled', job, 'recurring',
       jsonb_build_object('run_id', running, 'due', last_due, 'next_due', next_due, 'trigger', $5::text)
from taken
