-- Deploy settle:leadership to pg
-- Who leads, as far as whoever asks may know it; and among the jobs those that a person has begun.
begin;

-- Its columns are the members of the block, in their order. Who leads stands in the event with which he began: a tenant sees
-- neither that event's details nor the holder of a fence.
create view settle.scheduler_leadership with (security_invoker = true) as
select case when fence.leads then 'leader' else 'external' end as mode,
       began.event_data ->> 'holder' as identity,
       fence.leads as is_leader,
       fence.leads as execution_enabled,
       began.event_date as leader_since,
       'settle:lock:serve' as lock_key,
       (select event_date
        from settle.scheduler_events
        where event_type = 'check_cycle'
        order by event_date desc, id desc
        limit 1) as last_check,
       (select error_message
        from settle.scheduler_events
        where event_type = 'job_failed'
        order by event_date desc, id desc
        limit 1) as last_error
from (select coalesce(settle.job_lease(lease_until) > now(), false) as leads
      from settle.job_fences
      where name = 'serve') as fence
left join lateral (
  select event_date, event_data
  from settle.scheduler_events
  where event_type = 'start'
    and fence.leads
  order by event_date desc, id desc
  limit 1) as began on true;
comment on view settle.scheduler_leadership is
  'one row: who starts the jobs; without a leader cron, timers and persons do, of whose plans nothing is known';

-- A run that somebody has asked the API for is one of a kind, and nobody's, like the job that it is of: an operator sees it.
create or replace view settle.scheduler_jobs with (security_invoker = true) as
with job as (
  select name
  from settle.job_fences
  where name not in ('serve', 'insights', 'aggregates_backfill', 'aggregates_verify') -- the last two start by hand
    and strpos(name, ':') = 0 -- of a day
  union all
  select 'insights'
), planned as (
  select name, next_due,
         coalesce(cron, '') <> '' and exists (select from settle.job_fences where name = 'serve' and settle.job_lease(lease_until) > now()) as led
  from job
  left join settle.job_schedule on job_schedule.job = name
)
select case name when 'insights' then 'check_due_tasks' else name end as id,
       case when led then 'cron' else 'external' end as trigger_type,
       case when led then next_due end as next_run_time,
       null::text as user_id,
       null::bigint as task_id,
       null::text as platform
from planned
union all
select 'platform_insights_' || platform || '_' || user_id, 'interval', coalesce(next_check, now()), user_id, id, platform
from settle.platform_insights_tasks
where status in ('active', 'failed')
union all
select job_name || '_' || id, 'date', started_at, user_id_str, null, null
from settle.job_runs
where status = 'running'
  and trigger = 'api';
comment on view settle.scheduler_jobs is
  'what is started again and again: the jobs (the loop that looks for due tasks is check_due_tasks) and the tasks that the '
  'loop finds; and, of trigger_type date, what is being done once';

grant select on settle.scheduler_leadership to settle_tenant, settle_operator, settle_readonly;

insert into settle.schema_version (change) values ('leadership');

commit;
