-- event_run: a run begins or has ended. The end of one that `serve` has started is written by that.
-- $1 event_type text (job_started, job_completed, job_failed)  $2 job_id text  $3 id of the run uuid  $4 trigger text
-- $5 outcome text (null: it begins)  $6 error_message text (null: none)
-- Affects one row, or none: serve writes it.
insert into settle.scheduler_event_logs (event_type, job_id, job_type, check_duration_seconds, event_data, error_message)
select $1::text, $2::text, case when scheduled then 'recurring' else 'one_time' end,
       case when $5::text is not null then extract(epoch from now() - (select started_at from settle.job_runs where id = $3::uuid)) end,
       jsonb_strip_nulls(jsonb_build_object('run_id', $3::uuid, 'trigger', $4::text, 'outcome', $5::text)),
       $6::text
from (select exists (select from settle.job_schedule where running = $3::uuid) as scheduled) as by_whom
where $1 = 'job_started'
   or not scheduled
