-- scheduler_event_stats: how many of the scheduler's events there are, and what its cycles found.
-- $1 user_id text (null: all): that tenant's events and those that are nobody's
-- One row: HTTP status, JSON text, null.
with kinds as materialized (
  select event_type, count(*) as n, min(event_date) as oldest, max(event_date) as newest
  from settle.scheduler_event_logs
  where $1::text is null or user_id = $1 or user_id is null
  group by event_type
), cycles as (
  select avg(check_duration_seconds) as seconds,
         coalesce(sum(tasks_found), 0) as found,
         coalesce(sum(tasks_executed), 0) as executed,
         coalesce(sum(tasks_failed), 0) as failed,
         coalesce(sum(tasks_skipped), 0) as skipped
  from settle.scheduler_event_logs
  where event_type = 'check_cycle'
    and ($1 is null or user_id = $1 or user_id is null)
)
select 200 as status,
       json_build_object(
         'total_events', (select coalesce(sum(n), 0) from kinds),
         'events_by_type', (select coalesce(json_object_agg(event_type, n order by event_type), '{}') from kinds),
         'oldest_event', (select min(oldest) from kinds),
         'newest_event', (select max(newest) from kinds),
         'average_duration_seconds', round(cycles.seconds, 3),
         'totals', json_build_object('tasks_found', cycles.found, 'tasks_executed', cycles.executed,
                                     'tasks_failed', cycles.failed, 'tasks_skipped', cycles.skipped))::text as body,
       null as cursor
from cycles
