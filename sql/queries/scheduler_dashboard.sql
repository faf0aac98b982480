-- scheduler_dashboard: what the scheduler does, and how it has fared. Only reads: totals that do not agree with the events are
-- counted anew for the answer, and stay as they are.
-- $1 user_id text (null: all)
-- One row: HTTP status, JSON text, null. Of jobs the thousand that come next. Who leads a tenant is not told.
with term as materialized (
  select coalesce((select event_date
                   from settle.scheduler_events
                   where event_type = 'start'
                   order by event_date desc
                   limit 1), '-infinity') as since
), cycles as materialized (
  select count(*) as n,
         coalesce(sum(tasks_found), 0) as found,
         coalesce(sum(tasks_executed), 0) as executed,
         coalesce(sum(tasks_failed), 0) as failed,
         count(*) filter (where event_date >= term.since) as term_n,
         coalesce(sum(tasks_found) filter (where event_date >= term.since), 0) as term_found,
         coalesce(sum(tasks_executed) filter (where event_date >= term.since), 0) as term_executed,
         coalesce(sum(tasks_failed) filter (where event_date >= term.since), 0) as term_failed,
         coalesce(sum(tasks_skipped) filter (where event_date >= term.since), 0) as term_skipped
  from settle.scheduler_event_logs
  cross join term
  where event_type = 'check_cycle'
), counted as (
  select b.check_cycles + c.n as total_check_cycles,
         b.tasks_found + c.found as tasks_found,
         b.tasks_executed + c.executed as tasks_executed,
         b.tasks_failed + c.failed as tasks_failed
  from settle.scheduler_stats_baseline as b
  cross join cycles as c
  where b.id = 1
), cumulative as (
  select s.total_check_cycles - counted.total_check_cycles as drift,
         s.last_updated,
         case when s.total_check_cycles = counted.total_check_cycles
              then json_build_array(s.total_check_cycles, s.cumulative_tasks_found, s.cumulative_tasks_executed,
                                    s.cumulative_tasks_failed)
              else json_build_array(counted.total_check_cycles, counted.tasks_found, counted.tasks_executed, counted.tasks_failed)
         end as n
  from settle.scheduler_cumulative_stats as s
  cross join counted
  where s.id = 1
), last_cycle as (
  select event_date, check_interval_minutes, active_strategies_count
  from settle.scheduler_events
  where event_type = 'check_cycle'
  order by event_date desc
  limit 1
), last_adjustment as (
  select event_date
  from settle.scheduler_events
  where event_type = 'interval_adjustment'
    and coalesce(job_id, 'insights') = 'insights' -- others are of jobs that have a pace of their own
  order by event_date desc
  limit 1
), leadership as (
  select is_leader as leads, row_to_json(l) as block
  from settle.scheduler_leadership as l
), jobs as (
  select coalesce(jsonb_agg(
           jsonb_build_object('id', id, 'name', id, 'trigger_type', trigger_type, 'next_run_time', next_run_time,
                              'user_id', user_id, 'job_store', 'default', 'user_job_store', 'default',
                              'is_database_task', task_id is not null)
           || case when task_id is null then '{}'
                   else jsonb_build_object('function_name', 'platform_insights', 'platform', platform, 'task_id', task_id,
                                           'frequency', 'Weekly', 'task_category', 'platform_insights')
              end order by task_id is not null, next_run_time, id), '[]') as shown
  from (select *
        from settle.scheduler_jobs
        where $1::text is null or user_id is null or user_id = $1
        order by task_id is not null, next_run_time, id
        limit 1000) as first
), job as (
  select count(*) as n, count(*) filter (where trigger_type = 'date') as once
  from settle.scheduler_jobs
  where $1 is null or user_id is null or user_id = $1
)
select 200 as status,
       json_build_object(
         'stats', json_build_object(
           'total_checks', cycles.term_n,
           'tasks_found', cycles.term_found,
           'tasks_executed', cycles.term_executed,
           'tasks_failed', cycles.term_failed,
           'tasks_skipped', cycles.term_skipped,
           'last_check', (select event_date from last_cycle),
           'last_update', cumulative.last_updated,
           'active_executions', (select count(*)
                                 from settle.task_leases as l
                                 join settle.platform_insights_tasks as t
                                   on t.id = case
                                               when l.task_key ~ '^platform_insights_\d{1,18}$'
                                               then substr(l.task_key, 19)::bigint
                                             end
                                 where l.expires_at > now()
                                   and ($1 is null or t.user_id = $1)),
           'running', leadership.leads,
           'check_interval_minutes', coalesce((select check_interval_minutes from last_cycle), 60),
           'min_check_interval_minutes', 15,
           'max_check_interval_minutes', 60,
           'intelligent_scheduling', leadership.leads,
           'active_strategies_count', coalesce((select active_strategies_count from last_cycle), 0),
           'last_interval_adjustment', (select event_date from last_adjustment),
           'registered_types', json_build_array('platform_insights'),
           'cumulative_total_check_cycles', cumulative.n -> 0,
           'cumulative_tasks_found', cumulative.n -> 1,
           'cumulative_tasks_executed', cumulative.n -> 2,
           'cumulative_tasks_failed', cumulative.n -> 3,
           'cumulative_drift_cycles', cumulative.drift,
           'cumulative_source', case when cumulative.drift = 0 then 'stored' else 'recomputed' end),
         'jobs', jobs.shown,
         'job_count', job.n,
         'recurring_jobs', job.n - job.once,
         'one_time_jobs', job.once,
         'registered_task_types', json_build_array('platform_insights'),
         'user_isolation', json_build_object('enabled', current_user = 'settle_tenant', 'current_user_id', $1),
         'leadership', leadership.block,
         'last_updated', now())::text as body,
       null as cursor
from cycles, cumulative, leadership, jobs, job
