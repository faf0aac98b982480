-- schedule_start: a job that is run once whenever somebody begins to lead is due now, unless it is at work or never is.
-- $1 job text
update settle.job_schedule
set next_due = now(),
    updated_at = now()
where job = $1::text
  and next_due > now()
  and running is null
