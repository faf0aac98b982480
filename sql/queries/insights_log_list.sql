-- insights_log_list: one page of what became of a tenant's insights tasks, newest first.
-- $1 user_id text  $2 task_id int8 (null: all of them)  $3 limit int8  $4 offset int8
-- One row: HTTP status, JSON text, null; none if a task is named that is not the tenant's.
with task as materialized (
  select id
  from settle.platform_insights_tasks
  where user_id = $1::text
    and ($2::bigint is null or id = $2)
), page as materialized (
  select newest.*
  from task
  cross join lateral (
    select id, task_id, execution_date, status, result_data, error_message, execution_time_ms, data_source, created_at
    from settle.platform_insights_execution_logs as l
    where l.task_id = task.id
    order by execution_date desc, l.id desc
    limit $4::bigint + $3::bigint) as newest
  order by execution_date desc, id desc
  limit $3
  offset $4
)
select 200 as status,
       json_build_object(
         'success', true,
         'logs', coalesce((select json_agg(page order by execution_date desc, id desc) from page), '[]'),
         'total_count', (select count(*)
                         from settle.platform_insights_execution_logs
                         where task_id in (select id from task)))::text as body,
       null as cursor
where $2 is null or exists (select from task)
