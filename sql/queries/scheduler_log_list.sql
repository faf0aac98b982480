-- scheduler_log_list: the five newest runs of jobs, in the form of execution logs.
-- $1 user_id text (null: all): that tenant's and those that are nobody's
-- One row: HTTP status, JSON text, null. Of each type five are looked at, by the index of types or the tenant's own.
with type as (
  select *
  from (values ('job_scheduled', 'running'), ('job_cancelled', 'skipped'), ('job_completed', 'success'),
               ('job_failed', 'failed')) as t (event_type, status)
), newest as materialized (
  select e.*, type.status
  from type
  cross join lateral (
    (select *
     from settle.scheduler_events as e
     where e.event_type = type.event_type
       and ($1::text is null or e.user_id is null)
     order by event_date desc, id desc
     limit 5)
    union all
    (select *
     from settle.scheduler_events as e
     where $1 is not null
       and e.event_type = type.event_type
       and e.user_id = $1
     order by event_date desc, id desc
     limit 5)) as e
  order by event_date desc, id desc
  limit 5
)
select 200 as status,
       json_build_object(
         'logs', coalesce(json_agg(json_build_object(
                            'id', 'scheduler_event_' || id, 'task_id', null, 'user_id', user_id, 'execution_date', event_date,
                            'status', status, 'error_message', error_message,
                            'execution_time_ms', (check_duration_seconds * 1000)::bigint, 'result_data', null,
                            'created_at', created_at,
                            'task', json_build_object('id', null, 'task_title', job_id, 'component_name', 'Scheduler',
                                                      'metric', event_type, 'frequency', job_type),
                            'is_scheduler_log', true, 'event_type', event_type, 'job_id', job_id)
                          order by event_date desc, id desc), '[]'),
         'total_count', count(*),
         'limit', 5,
         'offset', 0,
         'has_more', false,
         'is_scheduler_logs', true)::text as body,
       null as cursor
from newest
