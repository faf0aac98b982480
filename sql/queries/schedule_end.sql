-- schedule_end: a run has ended; says when its job is due again if that is sooner or later than its schedule.
-- $1 job text  $2 id of the run uuid  $3 status text (success, failed, skipped)  $4 exit code bigint (null: not known)
-- $5 error text (null: none)  $6 pace text  $7 next_due timestamptz (null: as it stands)
-- $8 $9 minutes between rounds before and from now on, numeric text (null: until the due times)
-- Affects as many rows as events were written: one, two if the pace has changed, none if it had ended before.
with before as (
  select job, pace, next_due, running_since
  from settle.job_schedule
  where job = $1::text
    and running = $2::uuid
  for update
), ended as (
  update settle.job_schedule as s
  set running = null,
      running_since = null,
      last_run = $2,
      last_status = $3::text,
      last_ended = now(),
      pace = $6::text,
      next_due = coalesce($7::timestamptz, s.next_due),
      updated_at = now()
  from before
  where s.job = before.job
  returning s.job, before.running_since, before.pace as pace_before, before.next_due as due_before, s.next_due
)
insert into settle.scheduler_event_logs (event_type, job_id, job_type, check_duration_seconds, previous_interval_minutes,
  new_interval_minutes, event_data, error_message)
select case $3 when 'success' then 'job_completed' when 'skipped' then 'job_cancelled' else 'job_failed' end,
       job, 'recurring', extract(epoch from now() - running_since), null, null,
       jsonb_strip_nulls(jsonb_build_object('run_id', $2, 'exit_code', $4::bigint,
         'reason', case $3 when 'skipped' then 'lock_held' end)),
       case when $3 = 'failed' then $5::text end
from ended
union all
select 'interval_adjustment', job, 'recurring', null, coalesce($8::text::numeric, extract(epoch from due_before - now()) / 60),
       coalesce($9::text::numeric, extract(epoch from next_due - now()) / 60),
       jsonb_build_object('pace', $6, 'previous_pace', pace_before, 'due', due_before, 'next_due', next_due), null
from ended
where pace_before <> $6
