-- schedule_read: when each job is due, and how the run stands that took its last due time.
-- No parameters.
-- Rows: job text, cron text, next_due timestamptz, running uuid, status text of that run (null: it has not begun),
-- holder text of it, bool whether its lock still holds, error text of it, pace text, now timestamptz.
select s.job, s.cron, s.next_due, s.running, r.status, r.holder,
       r.status = 'running' and f.epoch = r.fencing_token and f.holder is not null and f.lease_until > now(),
       coalesce(r.error_message, r.error_code, r.outcome), s.pace, now()
from settle.job_schedule as s
left join settle.job_runs as r on r.id = s.running
left join settle.job_fences as f on f.name = s.job
