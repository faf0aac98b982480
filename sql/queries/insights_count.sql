-- insights_count: what waits to be done, for a round that begins.
-- One row of int8: tasks that are due, those of them at which somebody works, those of a paused platform; tasks that wait
-- for a person; tasks that are ever due.
with due as materialized (
  select id, platform
  from settle.platform_insights_tasks
  where status in ('active', 'failed')
    and (next_check is null or next_check <= now())
)
select (select count(*) from due),
       (select count(*) from due join settle.task_leases on task_key = 'platform_insights_' || id and expires_at > now()),
       (select count(*) from due join settle.platform_pauses using (platform)),
       (select count(*) from settle.platform_insights_tasks where status = 'needs_intervention'),
       (select count(*) from settle.platform_insights_tasks where status in ('active', 'failed'))
