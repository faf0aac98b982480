-- insights_due: the tasks that a round would do, for a dry run.
-- $1 id of the only one int8 (null: all)  $2 limit int8
-- One row each, the longest due first: id int8, user_id, platform, status text, next_check timestamptz.
select id, user_id, platform, status, next_check
from settle.platform_insights_tasks as t
where (id = $1::bigint and status <> 'paused'
       or $1 is null and status in ('active', 'failed') and (next_check is null or next_check <= now()))
  and platform not in (select platform from settle.platform_pauses)
  and not exists (select
                  from settle.task_leases as l
                  where l.task_key = 'platform_insights_' || t.id
                    and l.expires_at > now())
order by next_check nulls first, id
limit $2::bigint
