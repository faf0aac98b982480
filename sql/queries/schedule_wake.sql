-- schedule_wake: a job that was to wait because there was nothing to do goes on as scheduled.
-- $1 job text  $2 next_due as it was read timestamptz  $3 next_due from now on timestamptz
with woken as (
  update settle.job_schedule
  set next_due = $3::timestamptz,
      pace = 'schedule',
      updated_at = now()
  where job = $1::text
    and next_due = $2::timestamptz
    and next_due > $3
    and running is null
    and pace = 'idle'
  returning job, next_due
)
insert into settle.scheduler_event_logs (event_type, job_id, job_type, previous_interval_minutes, new_interval_minutes,
  event_data)
select 'interval_adjustment', job, 'recurring', extract(epoch from $2 - now()) / 60, extract(epoch from next_due - now()) / 60,
       jsonb_build_object('pace', 'schedule', 'previous_pace', 'idle', 'due', $2, 'next_due', next_due)
from woken
