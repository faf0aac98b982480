-- insights_status: a tenant's insights tasks. Only reads.
-- $1 user_id text
-- One row: HTTP status, JSON text, null.
select 200 as status,
       json_build_object(
         'tasks', coalesce(json_agg(json_build_object(
                             'id', id, 'platform', platform, 'site_url', site_url, 'status', status,
                             'last_check', last_check, 'last_success', last_success, 'last_failure', last_failure,
                             'failure_reason', failure_reason, 'next_check', next_check, 'created_at', created_at,
                             'updated_at', updated_at,
                             'metadata', json_build_object('consecutive_failures', consecutive_failures,
                                                           'failure_pattern', failure_pattern,
                                                           'cool_off_until', cool_off_until))
                           order by platform), '[]'),
         'total_tasks', count(*),
         'active_tasks', count(*) filter (where status = 'active'),
         'paused_tasks', count(*) filter (where status = 'paused'),
         'failed_tasks', count(*) filter (where status = 'failed'),
         'last_updated', max(updated_at))::text as body,
       null as cursor
from settle.platform_insights_tasks
where user_id = $1::text
