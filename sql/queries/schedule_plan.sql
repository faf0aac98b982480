-- schedule_plan: what the settings say of one job. A due time that has passed and was not taken stays: it was missed, and
-- is caught up, whatever the schedule has become since.
-- $1 job text  $2 cron text  $3 next due by it timestamptz (null: never)
insert into settle.job_schedule as s (job, cron, next_due)
values ($1::text, $2::text, $3::timestamptz)
on conflict (job) do update
set cron = excluded.cron,
    next_due = case when excluded.next_due is not null and s.next_due <= now() then s.next_due else excluded.next_due end,
    pace = 'schedule',
    updated_at = now()
where s.cron <> excluded.cron
   or (s.next_due is null) <> (excluded.next_due is null)
