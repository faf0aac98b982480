-- schedule_wake: a job that was to wait longer than its schedule says, because there was nothing to do or because the clock
-- by which it was planned was set back, goes on as scheduled.
-- $1 job text  $2 next_due as it was read timestamptz  $3 next_due from now on timestamptz
-- $4 $5 minutes between rounds before and from now on, numeric text (null: until the due times)
with before as (
  select job, pace
  from settle.job_schedule
  where job = $1::text
    and next_due = $2::timestamptz
    and next_due > $3::timestamptz
    and running is null
  for update
), woken as (
  update settle.job_schedule as s
  set next_due = $3,
      pace = 'schedule',
      updated_at = now()
  from before
  where s.job = before.job
  returning s.job, before.pace as pace_before, s.next_due
)
insert into settle.scheduler_event_logs (event_type, job_id, job_type, previous_interval_minutes, new_interval_minutes,
  event_data)
select 'interval_adjustment', job, 'recurring', coalesce($4::text::numeric, extract(epoch from $2 - now()) / 60),
       coalesce($5::text::numeric, extract(epoch from next_due - now()) / 60),
       jsonb_build_object('pace', 'schedule', 'previous_pace', pace_before, 'due', $2, 'next_due', next_due)
from woken
