-- schedule_start: a job that is run once whenever somebody begins to lead is due since then, unless it is at work or never is.
-- $1 job text  $2 when that was timestamptz
update settle.job_schedule
set next_due = $2::timestamptz,
    updated_at = now()
where job = $1::text
  and next_due > now()
  and running is null
