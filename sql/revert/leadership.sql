-- Revert settle:leadership from pg
begin;

delete from settle.schema_version where change = 'leadership';
drop view settle.scheduler_leadership;
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
where status in ('active', 'failed');
comment on view settle.scheduler_jobs is
  'what is started again and again: the jobs (the loop that looks for due tasks is check_due_tasks) and the tasks that the loop finds';

commit;
