-- scheduler_job_list: what is started again and again, and what is being done once, as in scheduler_dashboard.
-- $1 user_id text (null: all): that tenant's and those that are nobody's
-- One row: HTTP status, JSON text, null. The thousand that come next.
with jobs as (
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
       json_build_object('jobs', jobs.shown, 'total_jobs', job.n, 'recurring_jobs', job.n - job.once,
                         'one_time_jobs', job.once)::text as body,
       null as cursor
from jobs, job
