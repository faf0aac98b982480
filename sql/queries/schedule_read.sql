-- schedule_read: when each job is due, and how the run stands that took its last due time.
-- No parameters.
-- Rows: job text, cron text, next_due timestamptz, running uuid, status text of that run (null: it has not begun),
-- holder text of it, bool whether its lock still holds, error text of it, pace text, now timestamptz, bool whether it waits
-- for nothing to do although receipts have come that it has not looked at, or insights tasks.
select s.job, s.cron, s.next_due, s.running, r.status, r.holder,
       r.status = 'running' and f.epoch = r.fencing_token and f.holder is not null
       and coalesce(settle.job_lease(f.lease_until) > now(), false) as alive,
       coalesce(r.error_message, r.error_code, r.outcome), s.pace, now(),
       s.pace = 'idle' and s.running is null
       and case s.job
             when 'insights' then exists (select from settle.platform_insights_tasks where status in ('active', 'failed'))
             else coalesce((select max(stored_at) from settle.webhook_receipts) > f.watermark - interval '30 seconds', false)
           end as wanted
from settle.job_schedule as s
left join settle.job_runs as r on r.id = s.running
left join settle.job_fences as f on f.name = s.job
