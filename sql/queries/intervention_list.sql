-- intervention_list: a tenant's tasks that have failed so often that somebody must see to them.
-- $1 user_id text
-- One row: HTTP status, JSON text, null.
select 200 as status,
       json_build_object(
         'success', true,
         'user_id', $1::text,
         'tasks', coalesce(json_agg(json_build_object(
                             'task_id', id, 'task_type', 'platform_insights', 'user_id', user_id, 'platform', platform,
                             'site_url', site_url, 'status', status, 'consecutive_failures', consecutive_failures,
                             'failure_pattern', failure_pattern, 'failure_reason', failure_reason,
                             'last_failure', last_failure, 'cool_off_until', cool_off_until)
                           order by last_failure desc nulls last, id), '[]'),
         'count', count(*))::text as body,
       null as cursor
from settle.platform_insights_tasks
where user_id = $1
  and status = 'needs_intervention'
