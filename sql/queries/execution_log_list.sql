-- execution_log_list: one page of what became of monitoring tasks, newest first. A row of the older kind is of the tenant whose
-- number it bears only where it names none. They are of other tools: a text is cut at 4,000 characters, and a result of more
-- than 16,384 bytes left out.
-- $1 user_id text (null: all)  $2 status text (null: any)  $3 limit int8  $4 offset int8
-- One row: HTTP status, JSON text, null.
with caller as materialized (
  select case when $1::text ~ '^(0|[1-9][0-9]{0,9})$' then $1::bigint end as number
), own as (
  select id, task_id, coalesce(user_id_str, user_id::text) as user_id, execution_date, status, error_message,
         execution_time_ms, result_data, created_at
  from settle.task_execution_logs
  where ($1 is null or user_id_str = $1 or user_id_str is null and user_id = (select number from caller))
    and ($2::text is null or status = $2)
), page as materialized (
  select *
  from own
  order by execution_date desc, id desc
  limit $3::bigint
  offset $4::bigint
), total as (
  select count(*) as n
  from own
)
select 200 as status,
       json_build_object(
         'logs', coalesce((
           select json_agg(json_build_object(
                    'id', page.id, 'task_id', page.task_id, 'user_id', page.user_id,
                    'execution_date', page.execution_date, 'status', page.status, 'error_message', left(page.error_message, 4000),
                    'execution_time_ms', page.execution_time_ms, 'result_data',
                    case
                      when octet_length(page.result_data::text) > 16384
                      then jsonb_build_object('left_out', octet_length(page.result_data::text))
                      else page.result_data
                    end,
                    'created_at', page.created_at,
                    'task', json_build_object('id', t.id, 'task_title', t.task_title, 'component_name', t.component_name,
                                              'metric', t.metric, 'frequency', t.frequency))
                  order by page.execution_date desc, page.id desc)
           from page
           join settle.monitoring_tasks as t on t.id = page.task_id), '[]'),
         'total_count', total.n,
         'limit', $3,
         'offset', $4,
         'has_more', $4 + $3 < total.n,
         'is_scheduler_logs', false)::text as body,
       null as cursor
from total
