-- scheduler_metrics: the scheduler in numbers, of all tenants together; the totals as they are stored.
-- No parameters.
-- One row: HTTP status, JSON text, null.
with tasks as (
  select count(*) as n,
         count(*) filter (where status = 'active') as active,
         count(*) filter (where status = 'failed') as failed,
         count(*) filter (where status = 'paused') as paused,
         count(*) filter (where status = 'needs_intervention') as needs_intervention,
         count(*) filter (where status in ('active', 'failed') and coalesce(next_check <= now(), true)) as due
  from settle.platform_insights_tasks
), leases as (
  select count(*) filter (where expires_at > now()) as live, count(*) filter (where expires_at <= now()) as expired
  from settle.task_leases
)
select 200 as status,
       json_build_object(
         'service', 'settle',
         'metrics', json_build_object(
           'check_cycles', s.total_check_cycles,
           'tasks_found', s.cumulative_tasks_found,
           'tasks_executed', s.cumulative_tasks_executed,
           'tasks_failed', s.cumulative_tasks_failed,
           'tasks_skipped', s.cumulative_tasks_skipped,
           'jobs_completed', s.cumulative_job_completed,
           'jobs_failed', s.cumulative_job_failed,
           'stats_repairs', s.repairs,
           'tasks', tasks.n,
           'tasks_active', tasks.active,
           'tasks_failing', tasks.failed,
           'tasks_paused', tasks.paused,
           'tasks_needing_intervention', tasks.needs_intervention,
           'tasks_due', tasks.due,
           'active_executions', leases.live,
           'expired_leases', leases.expired),
         'last_updated', now())::text as body,
       null as cursor
from settle.scheduler_cumulative_stats as s, tasks, leases
where s.id = 1
